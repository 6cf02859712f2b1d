//! Answers that are kept for as long as they may be, by key: one question at a time per key, however many wait, and all
//! who waited get its answer, an error too. Whoever stops waiting ends only a question of its own.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cache::Cache;
use crate::limits;

/// At most [`limits::CREDENTIALS_KEPT`] answers; the one longest unused goes first.
pub struct Kept<K, V> {
    slots: Cache<K, Arc<Slot<V>>>,
}

struct Slot<V> {
    /// How many questions were answered: who waited sees that one was since.
    answered: AtomicU64,
    /// Held while a question is asked.
    answer: Mutex<Option<Answer<V>>>,
}

struct Answer<V> {
    value: Result<V, String>,
    until: Instant,
}

impl<K: Clone + Eq + Hash + Debug, V: Clone> Default for Kept<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Eq + Hash + Debug, V: Clone> Kept<K, V> {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new() -> Self {
        Self { slots: Cache::new(limits::CREDENTIALS_KEPT, None) }
    }

    /// The answer that is kept, else the one that `ask` gets, with how long it may be kept.
    ///
    /// # Errors
    /// As `ask` says.
    pub async fn get<F>(&self, key: K, ask: impl FnOnce() -> F) -> Result<V, String>
    where
        F: Future<Output = Result<(V, Duration), String>>,
    {
        let slot = self.slots.get_or_insert(key, 1, Instant::now(), || {
            Arc::new(Slot { answered: AtomicU64::new(0), answer: Mutex::new(None) })
        });
        let before = slot.answered.load(Ordering::Acquire);
        let mut kept = slot.answer.lock().await;
        if let Some(answer) = kept.as_ref()
            && (Instant::now() < answer.until || slot.answered.load(Ordering::Acquire) != before)
        {
            return answer.value.clone();
        }
        *kept = None;
        let (value, keep) = match ask().await {
            Ok((value, keep)) => (Ok(value), keep.min(limits::CREDENTIAL_KEPT_MAX)),
            Err(error) => (Err(error), Duration::ZERO),
        };
        let now = Instant::now();
        *kept = Some(Answer { value: value.clone(), until: now.checked_add(keep).unwrap_or(now) });
        slot.answered.fetch_add(1, Ordering::AcqRel);
        value
    }

    /// Forgets an answer. A question that is under way is not disturbed.
    pub fn forget(&self, key: &K) {
        self.slots.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_its_time_and_asked_for_anew_when_it_is_over_or_forgotten() {
        let (kept, asked) = (Kept::new(), Cell::new(0));
        let get = || {
            kept.get("a", async || {
                asked.set(asked.get() + 1);
                Ok((asked.get(), 2 * SECOND))
            })
        };
        assert_eq!((get().await, get().await), (Ok(1), Ok(1)));
        advance(2 * SECOND).await;
        assert_eq!((get().await, get().await), (Ok(2), Ok(2)));
        kept.forget(&"a");
        assert_eq!(get().await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_wait_one_question_is_asked_and_all_get_its_answer_even_one_that_may_not_be_kept() {
        for answer in [Ok(7), Err("broken".to_owned())] {
            let (kept, asked) = (Kept::new(), Cell::new(0));
            let get = || {
                kept.get("a", async || {
                    asked.set(asked.get() + 1);
                    sleep(SECOND).await;
                    answer.clone().map(|value| (value, Duration::ZERO))
                })
            };
            let answers = join_all((0..50).map(|_| get())).await;
            assert!(answers.iter().all(|given| *given == answer), "{answers:?}");
            assert_eq!(asked.get(), 1);
            assert_eq!(get().await, answer);
            assert_eq!(asked.get(), 2, "what may not be kept is not");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_takes_nothing_from_the_others_and_keys_do_not_wait_for_each_other() {
        let kept = Kept::new();
        let slow = |key| {
            kept.get(key, move || async move {
                sleep(SECOND).await;
                Ok((key, SECOND))
            })
        };
        let given_up = async { tokio::time::timeout(SECOND / 2, slow("a")).await.is_err() };
        let start = Instant::now();
        assert_eq!(tokio::join!(given_up, slow("a"), slow("b")), (true, Ok("a"), Ok("b")));
        assert_eq!(start.elapsed(), SECOND * 3 / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_kept_longer_than_a_day() {
        let (kept, asked) = (Kept::new(), Cell::new(0));
        let get = || {
            kept.get("a", async || {
                asked.set(asked.get() + 1);
                Ok((asked.get(), Duration::MAX))
            })
        };
        assert_eq!(get().await, Ok(1));
        advance(limits::CREDENTIAL_KEPT_MAX - SECOND).await;
        assert_eq!(get().await, Ok(1));
        advance(SECOND).await;
        assert_eq!(get().await, Ok(2));
    }

    #[tokio::test]
    async fn answers_at_the_limit_are_kept_and_one_more_pushes_out_the_longest_unused() {
        let kept = Kept::new();
        for key in 0..limits::CREDENTIALS_KEPT {
            kept.get(key, async || Ok((1, SECOND * 100))).await.unwrap();
        }
        let first = |_: ()| kept.get(0, async || Ok((2, SECOND * 100)));
        assert_eq!(first(()).await, Ok(1));
        kept.get(limits::CREDENTIALS_KEPT, async || Ok((1, SECOND * 100))).await.unwrap();
        assert_eq!((first(()).await, kept.get(1, async || Ok((2, SECOND))).await), (Ok(1), Ok(2)));
    }
}
