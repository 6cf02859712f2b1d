//! The last verdicts, in memory, for `ratifyctl explain`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::broadcast;

use crate::admission::Decision;
use crate::artifact::Descriptor;
use crate::limits;
use crate::report::Tree;
use crate::verdict::Verdict;

/// One verdict as it was given first.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// The image's name as asked.
    pub name: String,
    /// What was judged.
    pub descriptor: Descriptor,
    /// When.
    pub time: SystemTime,
    /// The answer.
    pub verdict: Verdict,
    /// Whether who first asked goes by it; otherwise it was only reported.
    pub enforced: bool,
    /// What the walk found, where there was one.
    pub report: Option<Arc<Tree>>,
}

impl Record {
    fn weight(&self) -> usize {
        self.report.as_ref().map_or(0, |report| report.weight())
    }

    pub(super) fn new(
        name: &str,
        descriptor: Descriptor,
        time: SystemTime,
        enforced: bool,
        decision: &Decision,
    ) -> Self {
        Self {
            id: decision.id.clone(),
            name: name.chars().take(limits::NAME_BYTES).collect(),
            descriptor,
            time,
            verdict: decision.verdict.clone(),
            enforced,
            report: decision.report.clone(),
        }
    }
}

/// A ring of at most [`limits::RECENT_VERDICTS`] records, with at most [`limits::RECENT_BYTES`] of reports.
pub(super) struct Recent {
    ring: Mutex<Ring>,
    /// Those who watch it grow.
    watchers: broadcast::Sender<Arc<Record>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { ring: Mutex::default(), watchers: broadcast::channel(limits::WATCH_BACKLOG).0 }
    }
}

#[derive(Default)]
struct Ring {
    records: VecDeque<Arc<Record>>,
    bytes: usize,
}

impl Recent {
    /// Keeps a record, unless one of its id is kept: those who asked together were given one verdict.
    pub(super) fn keep(&self, record: Record) {
        let mut ring = self.lock();
        if ring.records.iter().rev().any(|known| known.id == record.id) {
            return;
        }
        ring.bytes = ring.bytes.saturating_add(record.weight());
        let record = Arc::new(record);
        ring.records.push_back(Arc::clone(&record));
        // Nobody watching is no error.
        let _ = self.watchers.send(record);
        while ring.records.len() > limits::RECENT_VERDICTS || ring.bytes > limits::RECENT_BYTES {
            let Some(oldest) = ring.records.pop_front() else { break };
            ring.bytes = ring.bytes.saturating_sub(oldest.weight());
        }
    }

    /// All records, oldest first, and a receiver of each one that comes after them.
    pub(super) fn watch(&self) -> (Vec<Arc<Record>>, broadcast::Receiver<Arc<Record>>) {
        let ring = self.lock();
        (ring.records.iter().cloned().collect(), self.watchers.subscribe())
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Record>> {
        self.lock().records.iter().find(|record| record.id == id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Class, Conclusion};

    fn record(id: usize, report_bytes: usize) -> Record {
        let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let descriptor = Descriptor { media_type: String::new(), digest, size: 0 };
        let decision = Decision {
            verdict: Verdict::reach(Conclusion::denied("no"), false),
            class: Class::Policy,
            id: id.to_string(),
            report: Some(Arc::new(Tree { digest: "x".repeat(report_bytes), ..Tree::default() })),
            remembered: false,
        };
        Record::new("image", descriptor, SystemTime::UNIX_EPOCH, true, &decision)
    }

    #[test]
    fn the_oldest_verdicts_go_when_there_are_too_many() {
        let recent = Recent::default();
        (0..=limits::RECENT_VERDICTS).for_each(|id| recent.keep(record(id, 1)));
        assert!(recent.find("0").is_none() && recent.find("1").is_some());
    }

    #[test]
    fn the_oldest_verdicts_go_when_their_reports_are_too_large() {
        let recent = Recent::default();
        (0..5).for_each(|id| recent.keep(record(id, limits::RECENT_BYTES / 4)));
        assert!(recent.find("1").is_none() && recent.find("4").is_some());
    }

    #[test]
    fn a_verdict_given_again_is_kept_once() {
        let recent = Recent::default();
        recent.keep(record(1, 10));
        recent.keep(record(1, 0));
        assert_eq!(recent.lock().records.len(), 1);
        assert_eq!(recent.find("1").unwrap().report.as_ref().unwrap().digest.len(), 10);
    }
}
