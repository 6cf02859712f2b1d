//! One fetch at a time for each thing, however many pulls want it: the others wait for its answer, each within its own
//! deadline. Remembers nothing: when the last of them has its answer, nothing is left. Asked by the store.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::store::Error;

/// The fetches that are under way.
pub(super) struct Flights<K: Eq + Hash + Clone, V> {
    under_way: Mutex<HashMap<K, Flight<V>>>,
}

struct Flight<V> {
    answer: watch::Receiver<Option<Result<V, Error>>>,
    deadline: Instant,
}

impl<K: Eq + Hash + Clone, V: Clone> Flights<K, V> {
    pub(super) fn new() -> Self {
        Self { under_way: Mutex::default() }
    }

    /// The answer of `fetch`, or that of the same fetch under way. One that goes away lets the next asker try, and so
    /// does one that failed for an asker with a longer deadline: it may have failed because its time ran out.
    pub(super) async fn ask(
        &self,
        key: K,
        what: &str,
        deadline: Instant,
        fetch: impl Future<Output = Result<V, Error>>,
    ) -> Result<V, Error> {
        loop {
            let (mut answer, its_deadline) = match self.board(&key, deadline) {
                Place::Lead(leader) => {
                    let answer = fetch.await;
                    leader.answer.send_replace(Some(answer.clone()));
                    return answer;
                }
                Place::Wait(answer, its_deadline) => (answer, its_deadline),
            };
            let answer = match timeout_at(deadline, answer.wait_for(Option::is_some)).await {
                Err(_) => {
                    let cause = "the time ran out while another pull was asking for the same".to_owned();
                    return Err(Error::Network { what: what.to_owned(), cause });
                }
                Ok(Err(_)) => None,
                Ok(Ok(answer)) => answer.clone(),
            };
            match answer {
                None => {}
                Some(Err(_)) if its_deadline < deadline => {}
                Some(answer) => return answer,
            }
        }
    }

    fn board(&self, key: &K, deadline: Instant) -> Place<'_, K, V> {
        let mut under_way = self.lock();
        // One that has ended is in nobody's way, whatever became of its entry.
        if let Some(flight) = under_way.get(key).filter(|flight| flight.answer.has_changed().is_ok()) {
            return Place::Wait(flight.answer.clone(), flight.deadline);
        }
        let (sender, answer) = watch::channel(None);
        under_way.insert(key.clone(), Flight { answer, deadline });
        Place::Lead(Leader { flights: self, key: key.clone(), answer: sender })
    }

    /// A panic of another holder leaves at worst an entry that has ended, which is passed over.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<V>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Place<'a, K: Eq + Hash + Clone, V: Clone> {
    Lead(Leader<'a, K, V>),
    Wait(watch::Receiver<Option<Result<V, Error>>>, Instant),
}

/// Whoever fetches; gone, its place is free.
struct Leader<'a, K: Eq + Hash + Clone, V: Clone> {
    flights: &'a Flights<K, V>,
    key: K,
    answer: watch::Sender<Option<Result<V, Error>>>,
}

impl<K: Eq + Hash + Clone, V: Clone> Drop for Leader<'_, K, V> {
    fn drop(&mut self) {
        // Before the waiters wake: the next of them finds the place free. Nobody else takes it while the sender lives.
        self.flights.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::time::sleep;

    type Answers = Arc<Flights<&'static str, usize>>;

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    fn broken() -> Error {
        Error::NotFound { what: "it".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_who_want_the_same_ask_once_and_others_are_not_held_up() {
        let (flights, asked) = (Flights::new(), AtomicUsize::new(0));
        let fetch = || async {
            sleep(Duration::from_secs(1)).await;
            Ok(asked.fetch_add(1, Ordering::SeqCst))
        };
        let same = futures_util::future::join_all((0..50).map(|_| flights.ask("a", "it", after(5), fetch())));
        let other = flights.ask("b", "it", after(5), async { Ok(7) });
        let (same, other) = tokio::join!(same, other);
        assert!(same.iter().all(|answer| *answer == Ok(0)), "{same:?}");
        assert_eq!((other, asked.load(Ordering::SeqCst)), (Ok(7), 1));
        assert!(flights.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_away_or_panics_lets_the_next_one_try() {
        let flights: Answers = Arc::new(Flights::new());
        let first = tokio::spawn({
            let flights = Arc::clone(&flights);
            async move { flights.ask("a", "it", after(60), std::future::pending()).await }
        });
        let second = tokio::spawn({
            let flights = Arc::clone(&flights);
            async move { flights.ask("a", "it", after(60), async { panic!("a defect") }).await }
        });
        let third = {
            let flights = Arc::clone(&flights);
            async move { flights.ask("a", "it", after(60), async { Ok(3) }).await }
        };
        tokio::task::yield_now().await;
        first.abort();
        assert!(second.await.unwrap_err().is_panic());
        assert_eq!(third.await, Ok(3));
        assert!(flights.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_does_so_within_its_own_deadline() {
        let flights: Answers = Arc::new(Flights::new());
        let slow = flights.ask("a", "it", after(60), async {
            sleep(Duration::from_secs(50)).await;
            Ok(1)
        });
        let hasty = flights.ask("a", "GET it", after(2), async { Ok(2) });
        let started = Instant::now();
        let (slow, (hasty, took)) = tokio::join!(slow, async { (hasty.await, started.elapsed()) });
        assert_eq!((slow, took), (Ok(1), Duration::from_secs(2)));
        assert!(hasty.unwrap_err().to_string().starts_with("GET it: the time ran out"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_unless_the_time_of_who_asked_was_shorter() {
        let flights: Answers = Arc::new(Flights::new());
        let fails = || {
            flights.ask("a", "it", after(2), async {
                sleep(Duration::from_secs(1)).await;
                Err(broken())
            })
        };
        let same = flights.ask("a", "it", Instant::now() + Duration::from_secs(2), async { Ok(2) });
        let (first, same, patient) = tokio::join!(fails(), same, flights.ask("a", "it", after(9), async { Ok(3) }));
        assert_eq!((first, same, patient), (Err(broken()), Err(broken()), Ok(3)));
    }
}
