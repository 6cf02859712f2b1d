//! One search at a time for each thing, however many want it. A search runs in a task of its own, by its own time: whoever
//! waits does so within their own deadline, and one that nobody waits for any more still finds out for the next. Ends
//! with who owns it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// The searches that are under way.
pub(super) struct Flights<K: Eq + Hash, V> {
    under_way: Mutex<HashMap<K, Flight<V>>>,
}

struct Flight<V> {
    answer: watch::Receiver<Option<V>>,
    task: Option<AbortHandle>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The time of who waits ran out.
    Time,
    /// The search ended without one.
    Defect,
}

impl<K: Eq + Hash + Clone + Send + 'static, V: Clone + Send + Sync + 'static> Flights<K, V> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { under_way: Mutex::default() })
    }

    /// The answer of the search for a thing, by `deadline`. `search` is begun if none is under way.
    pub(super) async fn ask<F>(
        self: &Arc<Self>,
        key: K,
        deadline: Instant,
        search: impl FnOnce() -> F,
    ) -> Result<V, NoAnswer>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut answer = self.join(key, search);
        match timeout_at(deadline, answer.wait_for(Option::is_some)).await {
            Err(_) => Err(NoAnswer::Time),
            Ok(Ok(answer)) => answer.clone().ok_or(NoAnswer::Defect),
            Ok(Err(_)) => Err(NoAnswer::Defect),
        }
    }

    /// Begins the search for a thing, if none is under way.
    pub(super) fn join<F>(self: &Arc<Self>, key: K, search: impl FnOnce() -> F) -> watch::Receiver<Option<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut under_way = self.lock();
        // One that has ended is in nobody's way, whatever became of its entry.
        if let Some(flight) = under_way.get(&key).filter(|flight| flight.answer.has_changed().is_ok()) {
            return flight.answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        under_way.insert(key.clone(), Flight { answer: answer.clone(), task: None });
        let (search, landing) = (search(), Landing { flights: Arc::clone(self), key: key.clone() });
        let task = tokio::spawn(async move {
            let found = search.await;
            // Before the waiters wake: who comes later finds what was found in memory.
            drop(landing);
            sender.send_replace(Some(found));
        });
        if let Some(flight) = under_way.get_mut(&key) {
            flight.task = Some(task.abort_handle());
        }
        answer
    }

    /// Ends all of them.
    pub(super) fn end(&self) {
        let tasks: Vec<AbortHandle> = self.lock().values().filter_map(|flight| flight.task.clone()).collect();
        tasks.iter().for_each(AbortHandle::abort);
    }
}

impl<K: Eq + Hash, V> Flights<K, V> {
    /// A panic of another holder leaves at worst an entry that has ended, which is passed over.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<V>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a search off the list when it ends, however it does.
struct Landing<K: Eq + Hash, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::time::sleep;

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_who_want_the_same_search_once_and_each_waits_within_its_own_deadline() {
        let flights = Flights::new();
        let asked = Arc::new(AtomicUsize::new(0));
        let search = || {
            let asked = Arc::clone(&asked);
            async move {
                sleep(Duration::from_secs(5)).await;
                asked.fetch_add(1, Ordering::SeqCst)
            }
        };
        let hasty = flights.ask("a", after(1), search);
        let patient = futures_util::future::join_all((0..100).map(|_| flights.ask("a", after(8), search)));
        let (hasty, patient) = tokio::join!(hasty, patient);
        assert_eq!(hasty, Err(NoAnswer::Time));
        assert!(patient.iter().all(|answer| *answer == Ok(0)), "who began it had less time: {patient:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_search_that_panics_leaves_no_answer_and_lets_the_next_one_try() {
        let flights: Arc<Flights<&str, usize>> = Flights::new();
        assert_eq!(flights.ask("a", after(9), || async { panic!("a defect") }).await, Err(NoAnswer::Defect));
        assert_eq!(flights.ask("a", after(9), || async { 3 }).await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn searches_end_with_their_owner() {
        let flights: Arc<Flights<&str, usize>> = Flights::new();
        let answer = flights.join("a", std::future::pending);
        flights.end();
        assert!(answer.clone().wait_for(Option::is_some).await.is_err());
        assert!(flights.lock().is_empty());
    }
}
