//! The last verdicts, in memory, for `ratifyctl explain`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
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
    /// What the walk found, where there was one.
    pub report: Option<Arc<Tree>>,
}

impl Record {
    pub(super) fn new(name: &str, descriptor: Descriptor, time: SystemTime, decision: &Decision) -> Self {
        Self {
            id: decision.id.clone(),
            name: name.chars().take(limits::NAME_BYTES).collect(),
            descriptor,
            time,
            verdict: decision.verdict.clone(),
            report: decision.report.clone(),
        }
    }
}

/// A ring of [`limits::RECENT_VERDICTS`] records, and those who watch it grow.
pub(super) struct Recent {
    records: Mutex<VecDeque<Arc<Record>>>,
    watchers: broadcast::Sender<Arc<Record>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { records: Mutex::default(), watchers: broadcast::channel(limits::WATCH_BACKLOG).0 }
    }
}

impl Recent {
    /// Keeps a record, unless it is one that is kept already: a remembered verdict has its first id.
    pub(super) fn keep(&self, record: Record) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.iter().rev().any(|known| known.id == record.id) {
            return;
        }
        if records.len() >= limits::RECENT_VERDICTS {
            records.pop_front();
        }
        let record = Arc::new(record);
        records.push_back(Arc::clone(&record));
        // Nobody watching is no error.
        let _ = self.watchers.send(record);
    }

    /// All records, oldest first, and a receiver of each one that comes after them.
    pub(super) fn watch(&self) -> (Vec<Arc<Record>>, broadcast::Receiver<Arc<Record>>) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        (records.iter().cloned().collect(), self.watchers.subscribe())
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Record>> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().find(|record| record.id == id).cloned()
    }
}
