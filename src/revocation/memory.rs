//! What is known of certificates, in memory: one small answer for each, until it ends. A question is one look under a lock
//! that is held for nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Key;
use crate::limits;
use crate::pki::Certificate;
use crate::pki::crl::Status;
use crate::report::Fault;

/// What is known of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) status: Status,
    pub(super) by: By,
    pub(super) until: SystemTime,
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Ocsp,
    Crl,
    /// A CRL that the operator keeps.
    Folder,
}

/// A certificate, and the one whose key made its signature.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) certificate: Certificate,
    pub(super) issuer: Certificate,
}

/// A certificate about which is to be asked ahead.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) key: Key,
    pub(super) pair: Pair,
    /// The end of what is known.
    pub(super) until: SystemTime,
    /// What a clock shows now, by the last question.
    pub(super) now: SystemTime,
}

/// At most [`limits::REVOCATION_KEPT`] certificates.
#[derive(Default)]
pub(super) struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<Key, Slot>,
    /// What the clock showed at the last question.
    clock: Option<(SystemTime, Instant)>,
}

struct Slot {
    answer: Result<Known, Fault>,
    learned: Instant,
    used: Instant,
    ahead: Instant,
    /// Both certificates in DER: parsed they take three times as much.
    pair: Arc<[Box<[u8]>; 2]>,
}

impl Memory {
    /// What is known of a certificate now.
    pub(super) fn get(&self, key: &Key, now: SystemTime, at: Instant) -> Option<Result<Known, Fault>> {
        let mut inner = self.lock();
        inner.clock = Some((now, at));
        let slot = inner.slots.get_mut(key)?;
        slot.used = at;
        match &slot.answer {
            Ok(known) if now <= known.until => Some(Ok(*known)),
            Err(fault) if at < later(slot.learned, limits::REVOCATION_UNKNOWN_KEPT) => Some(Err(fault.clone())),
            Ok(_) | Err(_) => None,
        }
    }

    /// Keeps an answer, found for a question of `now`.
    pub(super) fn put(&self, key: Key, pair: &Pair, answer: Result<Known, Fault>, now: SystemTime, at: Instant) {
        let left = match &answer {
            Ok(known) => known.until.duration_since(now).unwrap_or_default(),
            Err(_) => Duration::ZERO,
        };
        let ahead = later(at, left.mul_f64(limits::PREFETCH_SHARE).max(limits::PREFETCH_PAUSE));
        let mut inner = self.lock();
        let used = inner.slots.get(&key).map_or(at, |slot| slot.used);
        if !inner.slots.contains_key(&key) && inner.slots.len() >= limits::REVOCATION_KEPT {
            let oldest = inner.slots.iter().min_by_key(|(_, slot)| slot.used).map(|(key, _)| *key);
            oldest.and_then(|oldest| inner.slots.remove(&oldest));
        }
        let pair = Arc::new([&pair.certificate, &pair.issuer].map(|certificate| certificate.der().into()));
        inner.slots.insert(key, Slot { answer, learned: at, used, ahead, pair });
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.lock().slots.clear();
    }

    /// The certificates about which is to be asked ahead now: their answers end soon, and they were of use lately.
    pub(super) fn due(&self, at: Instant) -> Vec<Due> {
        let mut inner = self.lock();
        let Some((now, then)) = inner.clock else { return Vec::new() };
        let now = now.checked_add(at.saturating_duration_since(then)).unwrap_or(now);
        let mut due = Vec::new();
        for (key, slot) in inner.slots.iter_mut().filter(|(_, slot)| slot.is_wanted(at) && slot.ahead <= at) {
            slot.ahead = later(at, limits::PREFETCH_PAUSE);
            let [certificate, issuer] = &*slot.pair;
            let parsed = (Certificate::from_der(certificate), Certificate::from_der(issuer), &slot.answer);
            if let (Ok(certificate), Ok(issuer), Ok(known)) = parsed {
                due.push(Due { key: *key, pair: Pair { certificate, issuer }, until: known.until, now });
            }
        }
        due
    }

    /// When the next one is due.
    pub(super) fn next_due(&self, at: Instant) -> Option<Instant> {
        self.lock().slots.values().filter(|slot| slot.is_wanted(at)).map(|slot| slot.ahead).min()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Whether it is worth asking ahead. A file that the operator keeps is changed by the operator.
    fn is_wanted(&self, at: Instant) -> bool {
        let is_lately = at.saturating_duration_since(self.used) < limits::PREFETCH_USED;
        is_lately && self.answer.as_ref().is_ok_and(|known| known.by != By::Folder)
    }
}

fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{DAY, chain, now};

    fn pair() -> Pair {
        let [certificate, issuer] = [0, 1].map(|index| chain()[index].clone());
        Pair { certificate, issuer }
    }

    fn good(days: u64) -> Known {
        Known { status: Status::Good, by: By::Crl, until: now() + Duration::from_secs(days * DAY) }
    }

    fn key(number: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key
    }

    #[test]
    fn an_answer_counts_until_its_last_moment_and_a_fault_for_seconds() {
        let (memory, at) = (Memory::default(), Instant::now());
        memory.put(key(1), &pair(), Ok(good(1)), now(), at);
        let end = now() + Duration::from_secs(DAY);
        assert_eq!(memory.get(&key(1), end, at), Some(Ok(good(1))));
        assert_eq!(memory.get(&key(1), end + Duration::from_nanos(1), at), None);
        memory.put(key(2), &pair(), Err(Fault::new("broken")), now(), at);
        let gone = at + limits::REVOCATION_UNKNOWN_KEPT;
        assert_eq!(memory.get(&key(2), now(), gone - Duration::from_nanos(1)), Some(Err(Fault::new("broken"))));
        assert_eq!(memory.get(&key(2), now(), gone), None);
    }

    #[test]
    fn certificates_at_the_limit_are_kept_and_one_more_pushes_out_the_longest_unused() {
        let (memory, at, pair) = (Memory::default(), Instant::now(), pair());
        let second = |number: usize| at + Duration::from_secs(number as u64);
        for number in 0..limits::REVOCATION_KEPT {
            memory.put(key(number), &pair, Ok(good(1)), now(), second(number));
        }
        assert!(memory.get(&key(0), now(), second(limits::REVOCATION_KEPT)).is_some());
        memory.put(key(limits::REVOCATION_KEPT), &pair, Ok(good(1)), now(), second(limits::REVOCATION_KEPT));
        let is_kept = |number| memory.get(&key(number), now(), second(limits::REVOCATION_KEPT)).is_some();
        assert!(is_kept(0) && !is_kept(1) && is_kept(limits::REVOCATION_KEPT));
    }

    #[test]
    fn what_was_of_use_lately_is_due_at_three_quarters_of_its_time_and_nothing_else_is() {
        let (memory, at) = (Memory::default(), Instant::now());
        let hours = |hours: u64| at + Duration::from_secs(hours * 3600);
        memory.put(key(1), &pair(), Ok(good(1)), now(), at);
        memory.put(key(2), &pair(), Ok(good(8)), now(), at);
        memory.put(key(3), &pair(), Ok(Known { by: By::Folder, ..good(1) }), now(), at);
        memory.put(key(4), &pair(), Err(Fault::new("broken")), now(), at);
        let _ = memory.get(&key(1), now(), at);
        assert_eq!(memory.next_due(at), Some(hours(18)));
        assert!(memory.due(hours(18) - Duration::from_nanos(1)).is_empty());
        let due = memory.due(hours(18));
        assert_eq!(due.iter().map(|due| due.key).collect::<Vec<_>>(), [key(1)]);
        assert_eq!(due[0].now, now() + Duration::from_secs(18 * 3600), "the clock went on since it was seen");
        assert!(memory.due(hours(18)).is_empty(), "not twice at once");
        assert!(memory.due(hours(8 * 18)).is_empty(), "nobody asked about it for a day");
    }
}
