//! How many questions each user has under way. Root is not counted: the node's own pulls are its.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::limits;

/// Counts by uid. Users without a question are not kept.
#[derive(Default)]
pub(super) struct Askers(Mutex<HashMap<u32, usize>>);

impl Askers {
    /// Takes one of the user's places; none is left when [`limits::CALLS_PER_USER`] are taken.
    pub(super) fn begin(self: &Arc<Self>, uid: u32) -> Option<Asking> {
        if uid != 0 {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(uid).or_default();
            if *count >= limits::CALLS_PER_USER {
                return None;
            }
            *count = count.saturating_add(1);
        }
        Some(Asking { askers: Arc::clone(self), uid, answered: false })
    }

    fn end(&self, uid: u32) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&uid);
            }
        }
    }
}

/// A place, given back when dropped: at once if the question was answered, and otherwise when what it set going has
/// been given up too.
pub(super) struct Asking {
    askers: Arc<Askers>,
    uid: u32,
    answered: bool,
}

impl Asking {
    /// Ends with an answer.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        match Handle::try_current() {
            Ok(runtime) if !self.answered && self.uid != 0 => {
                let (askers, uid) = (Arc::clone(&self.askers), self.uid);
                runtime.spawn(async move {
                    sleep(limits::ABANDONED_AFTER).await;
                    askers.end(uid);
                });
            }
            _ => self.askers.end(self.uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const USER: u32 = 1000;

    #[tokio::test(start_paused = true)]
    async fn a_user_has_so_many_questions_under_way_and_not_one_more() {
        let askers = Arc::new(Askers::default());
        let mut under_way: Vec<Asking> = (0..limits::CALLS_PER_USER).filter_map(|_| askers.begin(USER)).collect();
        assert_eq!(under_way.len(), limits::CALLS_PER_USER);
        assert!(askers.begin(USER).is_none());
        assert!(askers.begin(USER + 1).is_some(), "another user's are not counted");
        under_way.pop().unwrap().answered();
        assert!(askers.begin(USER).is_some_and(|asking| {
            asking.answered();
            true
        }));
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_has_the_place_back_only_when_the_walk_has_been_given_up() {
        let askers = Arc::new(Askers::default());
        for _ in 0..limits::CALLS_PER_USER {
            drop(askers.begin(USER).unwrap());
        }
        assert!(askers.begin(USER).is_none());
        sleep(limits::ABANDONED_AFTER + Duration::from_millis(1)).await;
        assert!(askers.begin(USER).is_some());
    }

    #[test]
    fn root_is_not_counted() {
        let askers = Arc::new(Askers::default());
        let under_way: Vec<Asking> = (0..=limits::CALLS_PER_USER).filter_map(|_| askers.begin(0)).collect();
        assert_eq!(under_way.len(), limits::CALLS_PER_USER + 1);
        drop(under_way);
        assert!(askers.0.lock().unwrap().is_empty());
    }
}
