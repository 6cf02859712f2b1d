//! Ask once, share, remember for a while: cache and single flight in one type.
//!
//! The leader runs in a task of its own, so a caller who goes away harms nobody; once all have gone for a while it is
//! given up. A leader that panics wakes its
//! waiters with nothing, which they answer with a deny. Lifetimes run on the monotonic clock, validity on the
//! wall clock. Only what [`Remember`] allows is kept; the rest is shared by those who wait and forgotten.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::limits;

/// An answer that can be shared.
pub trait Remember: Send + Sync + Sized + 'static {
    /// How long it may be given again, and the second since 1970 from which on it may not; `None` keeps nothing.
    fn lifetime(&self) -> Option<(Duration, Option<u64>)>;

    /// What is kept of it: as much as those need who come later.
    #[must_use]
    fn kept(&self) -> Self;

    /// Whether it is what it is only because the leader's time ran out.
    fn out_of_time(&self) -> bool;
}

/// What asking brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked<V> {
    /// Found out for this question, or for one that came at the same time.
    Fresh(Arc<V>),
    /// Known from before.
    Remembered(Arc<V>),
    /// The asker's own deadline passed.
    Late,
    /// The task that was finding out ended without an answer.
    Lost,
}

/// Answers by question.
pub struct Memo<K, V> {
    state: Mutex<State<K, V>>,
    capacity: usize,
}

struct State<K, V> {
    slots: HashMap<K, Slot<V>>,
    /// How often all was forgotten: what was asked before is not remembered after.
    flushes: u64,
}

enum Slot<V> {
    Running { answer: watch::Receiver<Option<Arc<V>>>, deadline: Instant, task: Option<AbortHandle> },
    Kept { answer: Arc<V>, until: Instant, valid_until: Option<u64>, since: Instant },
}

impl<K: Eq + Hash + Clone + Send + Sync + 'static, V: Remember> Memo<K, V> {
    /// A memo that keeps at most `capacity` answers; the oldest goes first.
    #[must_use]
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { slots: HashMap::new(), flushes: 0 }), capacity })
    }

    /// Asks a question: remembered, joined to one under way, or found out by `lead`, which must end by `deadline`
    /// by itself. An asker whose deadline is later than that of a leader whose time ran out starts another.
    pub async fn ask<F, L>(self: &Arc<Self>, key: K, deadline: Instant, now: SystemTime, lead: L) -> Asked<V>
    where
        L: Fn() -> F,
        F: Future<Output = V> + Send + 'static,
    {
        loop {
            let (mut answer, leaders_deadline) = match self.look_up(&key, deadline, now, &lead) {
                Found::Kept(answer) => return Asked::Remembered(answer),
                Found::Running(answer, leaders_deadline) => (answer, leaders_deadline),
            };
            let answer = match timeout_at(deadline, answer.wait_for(Option::is_some)).await {
                Err(_) => return Asked::Late,
                Ok(Err(_)) => return Asked::Lost,
                Ok(Ok(answer)) => answer.clone(),
            };
            match answer {
                Some(answer) if answer.out_of_time() && leaders_deadline < deadline => {}
                Some(answer) => return Asked::Fresh(answer),
                None => return Asked::Lost,
            }
        }
    }

    /// Forgets all answers; questions under way go on for those who wait, and are not remembered. Says how many
    /// answers were forgotten.
    pub fn flush(&self) -> usize {
        let mut state = self.lock();
        let before = state.slots.len();
        state.slots.retain(|_, slot| matches!(slot, Slot::Running { .. }));
        state.flushes = state.flushes.wrapping_add(1);
        before.saturating_sub(state.slots.len())
    }

    /// How many answers are kept.
    pub fn kept(&self) -> usize {
        self.lock().slots.values().filter(|slot| matches!(slot, Slot::Kept { .. })).count()
    }

    fn look_up<F, L>(self: &Arc<Self>, key: &K, deadline: Instant, now: SystemTime, lead: &L) -> Found<V>
    where
        L: Fn() -> F,
        F: Future<Output = V> + Send + 'static,
    {
        let (answer, leader) = match self.open(key, deadline, now) {
            Opened::Found(found) => return found,
            Opened::Ours(answer, leader) => (answer, leader),
        };
        // Not under the lock: a runtime that is shutting down drops the task here, which opens the question again.
        let task = tokio::spawn(leader.run(lead()));
        if let Some(Slot::Running { task: handle, .. }) = self.lock().slots.get_mut(key) {
            *handle = Some(task.abort_handle());
        }
        Found::Running(answer, deadline)
    }

    /// Finds an answer or a leader, or takes the question for our own.
    fn open(self: &Arc<Self>, key: &K, deadline: Instant, now: SystemTime) -> Opened<K, V> {
        let mut state = self.lock();
        match state.slots.get(key) {
            Some(Slot::Kept { answer, until, valid_until, .. })
                if Instant::now() < *until && valid_until.is_none_or(|end| seconds(now) < end) =>
            {
                return Opened::Found(Found::Kept(Arc::clone(answer)));
            }
            // A leader that has ended is no leader any more, whatever became of its slot.
            Some(Slot::Running { answer, deadline, .. }) if answer.has_changed().is_ok() => {
                return Opened::Found(Found::Running(answer.clone(), *deadline));
            }
            _ => {}
        }
        let (sender, answer) = watch::channel(None);
        let leader = Leader { memo: Arc::downgrade(self), key: key.clone(), sender, flushes: state.flushes };
        state.slots.insert(key.clone(), Slot::Running { answer: answer.clone(), deadline, task: None });
        Opened::Ours(answer, leader)
    }

    /// Puts an answer in the place of its question, if it may be remembered.
    fn settle(&self, key: &K, answer: &Arc<V>, flushes: u64) {
        let mut state = self.lock();
        state.slots.remove(key);
        if state.flushes != flushes {
            return;
        }
        let Some((lifetime, valid_until)) = answer.lifetime() else { return };
        let since = Instant::now();
        let Some(until) = since.checked_add(lifetime).filter(|until| *until > since) else { return };
        if state.slots.len() >= self.capacity {
            make_room(&mut state.slots, self.capacity);
        }
        state.slots.insert(key.clone(), Slot::Kept { answer: Arc::new(answer.kept()), until, valid_until, since });
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        // Held for map operations only and never across an await; a panic in one leaves a map that is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Drop for Memo<K, V> {
    fn drop(&mut self) {
        for slot in self.state.get_mut().unwrap_or_else(PoisonError::into_inner).slots.values() {
            if let Slot::Running { task: Some(task), .. } = slot {
                task.abort();
            }
        }
    }
}

enum Opened<K: Eq + Hash + Clone + Send + Sync + 'static, V: Remember> {
    Found(Found<V>),
    Ours(watch::Receiver<Option<Arc<V>>>, Leader<K, V>),
}

enum Found<V> {
    Kept(Arc<V>),
    Running(watch::Receiver<Option<Arc<V>>>, Instant),
}

/// Drops what has ended, and if that is not enough the oldest eighth, so that the next answers find room at once.
fn make_room<K: Eq + Hash + Clone, V>(slots: &mut HashMap<K, Slot<V>>, capacity: usize) {
    let now = Instant::now();
    slots.retain(|_, slot| !matches!(slot, Slot::Kept { until, .. } if *until <= now));
    if slots.len() < capacity {
        return;
    }
    let mut ages: Vec<Instant> = slots.values().filter_map(kept_since).collect();
    let eighth = ages.len() / 8;
    if eighth < ages.len() {
        let (_, limit, _) = ages.select_nth_unstable(eighth);
        let limit = *limit;
        slots.retain(|_, slot| kept_since(slot).is_none_or(|since| since > limit));
    }
}

fn kept_since<V>(slot: &Slot<V>) -> Option<Instant> {
    match slot {
        Slot::Kept { since, .. } => Some(*since),
        Slot::Running { .. } => None,
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Finds out, and leaves no slot behind whatever happens.
struct Leader<K: Eq + Hash + Clone + Send + Sync + 'static, V: Remember> {
    memo: Weak<Memo<K, V>>,
    key: K,
    sender: watch::Sender<Option<Arc<V>>>,
    flushes: u64,
}

impl<K: Eq + Hash + Clone + Send + Sync + 'static, V: Remember> Leader<K, V> {
    async fn run(self, work: impl Future<Output = V>) {
        let answer = tokio::select! {
            answer = work => Arc::new(answer),
            () = self.abandoned() => return,
        };
        if let Some(memo) = self.memo.upgrade() {
            memo.settle(&self.key, &answer, self.flushes);
        }
        self.sender.send_replace(Some(answer));
    }
}

impl<K: Eq + Hash + Clone + Send + Sync + 'static, V: Remember> Leader<K, V> {
    /// Ends when nobody has waited for the answer at two looks in a row. The question is open again by then: who comes
    /// later finds no leader that is about to give up.
    async fn abandoned(&self) {
        let mut lonely = false;
        loop {
            sleep(limits::ABANDONED_AFTER / 2).await;
            let alone = self.give_up_if_alone(lonely);
            if alone && lonely {
                return;
            }
            lonely = alone;
        }
    }

    /// Whether nobody waits; if so and `certain`, opens the question again.
    fn give_up_if_alone(&self, certain: bool) -> bool {
        let Some(memo) = self.memo.upgrade() else { return true };
        let mut state = memo.lock();
        // One receiver is the slot's own.
        let alone = self.sender.receiver_count() <= 1;
        if alone && certain {
            state.slots.remove(&self.key);
        }
        alone
    }
}

impl<K: Eq + Hash + Clone + Send + Sync + 'static, V: Remember> Drop for Leader<K, V> {
    /// Runs on a panic too: the question must be open again before the waiters wake.
    fn drop(&mut self) {
        if self.sender.borrow().is_some() {
            return;
        }
        if let Some(memo) = self.memo.upgrade() {
            let mut state = memo.lock();
            let ours = |slot: &Slot<V>| match slot {
                Slot::Running { answer, .. } => answer.same_channel(&self.sender.subscribe()),
                Slot::Kept { .. } => false,
            };
            if state.slots.get(&self.key).is_some_and(ours) {
                state.slots.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Answer {
        text: &'static str,
        lifetime: Option<u64>,
        valid_until: Option<u64>,
        late: bool,
    }

    impl Remember for Answer {
        fn lifetime(&self) -> Option<(Duration, Option<u64>)> {
            self.lifetime.map(|seconds| (Duration::from_secs(seconds), self.valid_until))
        }

        fn kept(&self) -> Self {
            self.clone()
        }

        fn out_of_time(&self) -> bool {
            self.late
        }
    }

    fn answer(text: &'static str, lifetime: Option<u64>) -> Answer {
        Answer { text, lifetime, valid_until: None, late: false }
    }

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    fn text(asked: &Asked<Answer>) -> (&'static str, bool) {
        match asked {
            Asked::Fresh(answer) => (answer.text, false),
            Asked::Remembered(answer) => (answer.text, true),
            Asked::Late => ("late", false),
            Asked::Lost => ("lost", false),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_askers_at_once_find_out_once() {
        let (memo, asked) = (Memo::new(10), Arc::new(AtomicUsize::new(0)));
        let questions = (0..50).map(|_| {
            let asked = Arc::clone(&asked);
            memo.ask("image", after(8), SystemTime::now(), move || {
                let asked = Arc::clone(&asked);
                async move {
                    asked.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_secs(1)).await;
                    answer("yes", None)
                }
            })
        });
        let answers = futures_util::future::join_all(questions).await;
        assert!(answers.iter().all(|asked| text(asked) == ("yes", false)));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_remembered_for_its_lifetime_and_not_longer() {
        let memo = Memo::new(10);
        let ask = |text: &'static str| {
            memo.ask("image", after(8), SystemTime::now(), move || async move { answer(text, Some(10)) })
        };
        assert_eq!(text(&ask("one").await), ("one", false));
        sleep(Duration::from_millis(9_999)).await;
        assert_eq!(text(&ask("two").await), ("one", true));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(text(&ask("three").await), ("three", false));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_never_outlives_its_validity_on_the_wall_clock() {
        let memo = Memo::new(10);
        let at = |second: u64| UNIX_EPOCH + Duration::from_secs(second);
        let ask = |now: u64| {
            memo.ask("image", after(8), at(now), || async {
                Answer { valid_until: Some(1_000), ..answer("yes", Some(300)) }
            })
        };
        assert_eq!(text(&ask(900).await), ("yes", false));
        assert_eq!(text(&ask(999).await), ("yes", true));
        assert_eq!(text(&ask(1_000).await), ("yes", false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_not_be_remembered_is_found_out_again() {
        let memo = Memo::new(10);
        for _ in 0..2 {
            let asked = memo.ask("image", after(8), SystemTime::now(), || async { answer("no idea", None) }).await;
            assert_eq!(text(&asked), ("no idea", false));
        }
        assert_eq!(memo.kept(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_panics_wakes_its_waiters_and_the_next_asker_tries_again() {
        let memo: Arc<Memo<&str, Answer>> = Memo::new(10);
        let broken = || memo.ask("image", after(8), SystemTime::now(), || async { panic!("a defect") });
        let (one, two) = tokio::join!(broken(), broken());
        assert_eq!((text(&one), text(&two)), (("lost", false), ("lost", false)));
        let asked = memo.ask("image", after(8), SystemTime::now(), || async { answer("yes", None) }).await;
        assert_eq!(text(&asked), ("yes", false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_goes_away_harms_nobody() {
        let memo = Memo::new(10);
        let slow = || async {
            sleep(Duration::from_secs(2)).await;
            answer("yes", None)
        };
        let first = memo.ask("image", after(8), SystemTime::now(), slow);
        assert!(tokio::time::timeout(Duration::from_secs(1), first).await.is_err());
        let second = memo.ask("image", after(8), SystemTime::now(), || async { answer("asked twice", None) });
        assert_eq!(text(&second.await), ("yes", false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_nobody_waits_for_any_more_is_given_up_and_can_be_asked_again() {
        let memo = Memo::new(10);
        let ended = Arc::new(AtomicUsize::new(0));
        let slow = || {
            let ended = Arc::clone(&ended);
            async move {
                sleep(Duration::from_secs(20)).await;
                ended.fetch_add(1, Ordering::SeqCst);
                answer("yes", None)
            }
        };
        for waits in [Duration::from_millis(1), Duration::from_secs(5)] {
            let gone = memo.ask("image", after(30), SystemTime::now(), slow);
            assert!(tokio::time::timeout(waits, gone).await.is_err());
            sleep(limits::ABANDONED_AFTER + Duration::from_millis(1)).await;
            assert!(memo.lock().slots.is_empty(), "{waits:?}");
        }
        let again = memo.ask("image", after(30), SystemTime::now(), || async { answer("asked again", None) }).await;
        assert_eq!(text(&again), ("asked again", false));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(ended.load(Ordering::SeqCst), 0, "the walks have ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_others_wait_for_is_not_given_up() {
        let memo = Memo::new(10);
        let slow = || async {
            sleep(Duration::from_secs(20)).await;
            answer("yes", None)
        };
        let first = memo.ask("image", after(30), SystemTime::now(), slow);
        assert!(tokio::time::timeout(Duration::from_secs(1), first).await.is_err());
        let second = memo.ask("image", after(30), SystemTime::now(), || async { answer("asked twice", None) });
        assert_eq!(text(&second.await), ("yes", false));
    }

    #[tokio::test(start_paused = true)]
    async fn an_asker_with_more_time_than_a_late_leader_starts_another() {
        let memo = Memo::new(10);
        let rounds = Arc::new(AtomicUsize::new(0));
        let lead = || {
            let round = rounds.fetch_add(1, Ordering::SeqCst);
            async move {
                sleep(Duration::from_secs(1)).await;
                Answer { late: round == 0, ..answer(if round == 0 { "too late" } else { "yes" }, None) }
            }
        };
        let hasty = memo.ask("image", after(1), SystemTime::now(), lead);
        let patient = memo.ask("image", after(8), SystemTime::now(), lead);
        let (hasty, patient) = tokio::join!(hasty, patient);
        assert!(matches!(text(&hasty).0, "too late" | "late"));
        assert_eq!(text(&patient), ("yes", false));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_past_their_own_deadline() {
        let memo = Memo::new(10);
        let asked = memo.ask("image", after(1), SystemTime::now(), || async {
            sleep(Duration::from_secs(60)).await;
            answer("yes", None)
        });
        assert_eq!(text(&asked.await), ("late", false));
    }

    #[tokio::test(start_paused = true)]
    async fn at_its_capacity_the_oldest_answers_go() {
        let memo = Memo::new(8);
        for key in 0..9 {
            let _ = memo.ask(key, after(8), SystemTime::now(), || async { answer("yes", Some(300)) }).await;
            sleep(Duration::from_secs(1)).await;
            assert!(memo.kept() <= 8);
        }
        assert_eq!(memo.kept(), 7);
        let kept = |key: i32| memo.ask(key, after(8), SystemTime::now(), || async { answer("again", None) });
        assert_eq!(text(&kept(0).await), ("again", false));
        assert_eq!(text(&kept(8).await), ("yes", true));
    }

    #[tokio::test(start_paused = true)]
    async fn flushing_forgets_all_answers() {
        let memo = Memo::new(10);
        let ask = |text: &'static str| {
            memo.ask("image", after(8), SystemTime::now(), move || async move { answer(text, Some(300)) })
        };
        assert_eq!(text(&ask("one").await), ("one", false));
        assert_eq!(memo.flush(), 1);
        assert_eq!(text(&ask("two").await), ("two", false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_before_a_flush_is_not_remembered_after_it() {
        let memo = Memo::new(10);
        let asked = memo.ask("image", after(8), SystemTime::now(), || async {
            sleep(Duration::from_secs(1)).await;
            answer("old", Some(300))
        });
        let (asked, ()) = tokio::join!(asked, async {
            sleep(Duration::from_millis(500)).await;
            memo.flush();
        });
        assert_eq!((text(&asked), memo.kept()), (("old", false), 0));
    }

    /// What a leader does after so many milliseconds: answers, comes too late, or panics.
    #[derive(Clone, Copy, Debug)]
    enum Leads {
        Answers(u64),
        Late(u64),
        Panics(u64),
    }

    async fn lead(leads: Leads) -> Answer {
        let (Leads::Answers(after) | Leads::Late(after) | Leads::Panics(after)) = leads;
        sleep(Duration::from_millis(after)).await;
        match leads {
            Leads::Answers(_) => answer("yes", Some(1)),
            Leads::Late(_) => Answer { late: true, ..answer("too late", None) },
            Leads::Panics(_) => panic!("a defect"),
        }
    }

    fn leaders() -> impl Strategy<Value = Leads> {
        prop_oneof![
            (0..4000_u64).prop_map(Leads::Answers),
            (0..4000_u64).prop_map(Leads::Late),
            (0..4000_u64).prop_map(Leads::Panics)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn whatever_leaders_do_every_asker_is_answered_by_their_own_deadline(
            leaders in proptest::collection::vec(leaders(), 1..5),
            askers in proptest::collection::vec((0..3000_u64, 1..5000_u64), 1..12),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let (memo, next) = (Memo::new(4), AtomicUsize::new(0));
            let asked = askers.iter().map(async |(start, patience)| {
                sleep(Duration::from_millis(*start)).await;
                let deadline = Instant::now() + Duration::from_millis(*patience);
                let asked = memo.ask("image", deadline, SystemTime::now(), || {
                    lead(leaders[next.fetch_add(1, Ordering::SeqCst) % leaders.len()])
                });
                let asked = timeout_at(deadline + Duration::from_millis(1), asked).await;
                asked.is_ok_and(|asked| Instant::now() <= deadline + Duration::from_millis(1) && !text(&asked).0.is_empty())
            });
            let answered = runtime.block_on(futures_util::future::join_all(asked));
            prop_assert!(answered.iter().all(|answered| *answered), "{answered:?}");
        }
    }
}
