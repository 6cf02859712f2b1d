//! Trust that comes from elsewhere, a key vault or a TUF repository: read when it is first needed and again at an
//! interval, in a thread of its own, so that no pull waits for it. What its source no longer vouches for is trusted no
//! more from the next reading on; a source that cannot be reached leaves what was last read in force, for a while, as does
//! a reading that comes to no end. Nothing here knows what it is that is trusted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::limits;

/// By which terms something is trusted that comes from elsewhere.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What it is, for messages: `key vault https://...`.
    pub what: String,
    /// How often it is read.
    pub refresh: Duration,
    /// How long it is trusted when it cannot be read again.
    pub max_age: Duration,
}

impl Terms {
    /// Until when something is trusted that was last known to be so at `since`; none where that is over.
    fn until(&self, since: Instant, now: Instant) -> Option<Instant> {
        since.checked_add(self.max_age).filter(|until| now < *until)
    }

    /// How long after a reading the next one begins: before what was read is too old, with time left to read.
    fn pause(&self, was_read: bool) -> Duration {
        let in_time = self.max_age.saturating_sub(limits::REMOTE_RETRY).max(limits::REMOTE_RETRY);
        self.refresh.min(if was_read { in_time } else { limits::REMOTE_RETRY })
    }

    /// Why what was read is trusted no more, whatever the source may say. It may be told again later: then it is older.
    fn too_old(&self, age: Duration, problem: Option<&str>) -> String {
        let [age, limit] =
            [age, self.max_age].map(|time| humantime::format_duration(Duration::from_secs(time.as_secs())));
        let unread = format!("{} has not been read again", self.what);
        let problem = problem.unwrap_or(&unread);
        format!("{problem}; what was read last was {age} old when it was looked at, and maxTrustAge is {limit}")
    }
}

/// Something trusted that comes from elsewhere. The thread that reads it ends soon after this is dropped.
pub struct Remote<T> {
    terms: Terms,
    shared: Arc<Shared<T>>,
    opened: Instant,
    /// Has the thread read again before its time. Dropped with this: then the thread ends.
    wake: SyncSender<()>,
}

/// A reading that was asked for, by its number.
#[derive(Clone, Copy, Debug)]
pub struct Asked(u64);

/// Why there is nothing to be trusted.
#[derive(Debug, PartialEq, Eq)]
pub enum Unread {
    /// Its source says so.
    Gone(String),
    /// Its source said nothing of use.
    Unreachable(String),
    /// What its source names now is not taken, and the cause says so.
    Refused(String),
}

/// What was in force when it was taken. Another revision is to be asked for anew.
#[derive(Clone, Debug)]
pub struct Revision {
    now: Arc<AtomicU64>,
    taken: u64,
    /// From when on it is too old, unless it was known to be trusted later; none where nothing was in force.
    until: Option<Instant>,
}

impl Revision {
    /// Whether what was taken is what is trusted. What may have become too old is not.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.is_current_at(Instant::now())
    }

    fn is_current_at(&self, now: Instant) -> bool {
        self.now.load(Ordering::Acquire) == self.taken && self.until.is_none_or(|until| now < until)
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    read: Condvar,
    /// Grows whenever what is trusted changes, or whether it can be read.
    revision: Arc<AtomicU64>,
}

struct State<T> {
    /// What was last read, and when it was last known to be trusted; it may be too old since.
    held: Option<(Arc<T>, Instant)>,
    /// Why it could not be read, if so.
    problem: Option<String>,
    /// Whether there is an answer, if only that of an earlier process.
    answered: bool,
    /// How many readings were asked for.
    asked: u64,
    /// How many of these were asked for before the last reading began that came to an end.
    done: u64,
}

impl<T: PartialEq + Send + Sync + 'static> Remote<T> {
    /// Begins to read it. `kept` is what was read by an earlier process, and how long ago; older than the terms say, it is
    /// nothing.
    #[must_use]
    pub fn open<R>(terms: Terms, kept: Option<(T, Duration)>, mut read: R) -> Self
    where
        R: AsyncFnMut() -> Result<T, Unread> + Send + 'static,
    {
        // One that waits is enough: it begins after all who asked.
        let (wake, woken) = sync_channel(1);
        let held = kept.filter(|(_, age)| *age < terms.max_age).and_then(|(value, age)| {
            let since = Instant::now().checked_sub(age)?;
            Some((Arc::new(value), since))
        });
        let answered = held.is_some();
        let state = State { held, problem: None, answered, asked: 0, done: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), read: Condvar::new(), revision: Arc::default() });
        let reader = Reader { terms: terms.clone(), shared: Arc::clone(&shared) };
        let work = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return reader.take(Err(Unread::Unreachable(error.to_string())), u64::MAX),
            };
            loop {
                let asked = reader.shared.lock().asked;
                let found = runtime.block_on(read());
                let next = reader.terms.pause(found.is_ok());
                reader.take(found, asked);
                match woken.recv_timeout(next) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("trust".to_owned()).spawn(work) {
            let mut state = shared.lock();
            (state.answered, state.done) = (true, u64::MAX);
            state.problem = Some(format!("no thread can be made: {error}"));
        }
        Self { terms, shared, opened: Instant::now(), wake }
    }

    /// Has it read now, whenever it was to be read next.
    pub fn ask(&self) -> Asked {
        let mut state = self.shared.lock();
        state.asked = state.asked.saturating_add(1);
        let asked = Asked(state.asked);
        drop(state);
        // Where it is full somebody else has just asked; where nobody reads any more nothing is trusted.
        let _ = self.wake.try_send(());
        asked
    }

    /// Waits until a reading that was asked for has come to an end, for at most so long; blocks.
    pub fn await_reading(&self, Asked(number): Asked, limit: Duration) {
        let state = self.shared.lock();
        drop(self.shared.read.wait_timeout_while(state, limit, |state| state.done < number));
    }

    /// What is trusted now, and which revision that is. Waits for the first answer until [`limits::REMOTE_FIRST`] after
    /// this was opened, so that those that were opened together are waited for together; blocks.
    ///
    /// # Errors
    /// Why nothing is.
    pub fn now(&self) -> (Result<Arc<T>, String>, Revision) {
        self.now_within(limits::REMOTE_FIRST.saturating_sub(self.opened.elapsed()))
    }

    /// The same, but the first answer is waited for no longer than that; blocks.
    pub fn now_within(&self, left: Duration) -> (Result<Arc<T>, String>, Revision) {
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .read
            .wait_timeout_while(state, left, |state| !state.answered)
            .unwrap_or_else(PoisonError::into_inner);
        self.judge(&state, Instant::now())
    }

    /// What of a state is trusted at a moment.
    fn judge(&self, state: &State<T>, now: Instant) -> (Result<Arc<T>, String>, Revision) {
        let until = state.held.as_ref().and_then(|(_, since)| self.terms.until(*since, now));
        let value = match (&state.held, &state.problem) {
            (Some((value, _)), _) if until.is_some() => Ok(Arc::clone(value)),
            (Some((_, since)), problem) => {
                Err(self.terms.too_old(now.saturating_duration_since(*since), problem.as_deref()))
            }
            (None, Some(problem)) => Err(problem.clone()),
            (None, None) => Err(format!("{} has not answered yet", self.terms.what)),
        };
        let current = Arc::clone(&self.shared.revision);
        // Changed under the lock alone.
        let taken = current.load(Ordering::Acquire);
        (value, Revision { now: current, taken, until })
    }

    /// Why it could not be read the last time, if so.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.shared.lock().problem.clone()
    }

    /// How long ago what was last read was last known to be trusted.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.shared.lock().held.as_ref().map(|(_, since)| since.elapsed())
    }
}

impl<T> fmt::Debug for Remote<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("what", &self.terms.what).finish_non_exhaustive()
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread has.
struct Reader<T: PartialEq> {
    terms: Terms,
    shared: Arc<Shared<T>>,
}

impl<T: PartialEq> Reader<T> {
    /// Takes what a reading brought, before which so many had been asked for.
    fn take(&self, found: Result<T, Unread>, asked: u64) {
        let (now, what) = (Instant::now(), &self.terms.what);
        let in_force = |held: &Option<(Arc<T>, Instant)>| {
            let (value, since) = held.as_ref()?;
            self.terms.until(*since, now).map(|_| Arc::clone(value))
        };
        let mut state = self.shared.lock();
        let before = state.held.take();
        let (was_well, first) = (state.problem.is_none(), !state.answered);
        let was = in_force(&before);
        (state.held, state.problem) = match found {
            Ok(value) => (Some((Arc::new(value), now)), None),
            Err(Unread::Gone(cause)) => (None, Some(format!("{what}: {cause}"))),
            Err(Unread::Unreachable(cause)) => (before, Some(format!("{what} cannot be read: {cause}"))),
            Err(Unread::Refused(cause)) => (before, Some(format!("{what}: {cause}"))),
        };
        if let Some(problem) = &state.problem {
            warn!("{problem}");
        }
        let is = in_force(&state.held);
        if is != was || state.problem.is_none() != was_well || first {
            self.shared.revision.fetch_add(1, Ordering::Release);
            info!(source = what, in_force = is.is_some(), "trust from elsewhere");
        }
        (state.answered, state.done) = (true, asked);
        drop(state);
        self.shared.read.notify_all();
    }
}

/// What nobody reads any more is not trusted for ever: a reader that dies takes it along.
impl<T: PartialEq> Drop for Reader<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let cause = "reading it ended without an answer: a defect of ratifyd, see its log".to_owned();
            self.take(Err(Unread::Gone(cause)), u64::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, sync_channel};

    fn terms() -> Terms {
        Terms { what: "vault x".to_owned(), refresh: Duration::from_millis(1), max_age: Duration::from_secs(3600) }
    }

    /// Something that is read from what a test sends; it waits while nothing is sent.
    fn remote(terms: Terms, kept: Option<(u8, Duration)>) -> (Remote<u8>, std::sync::mpsc::SyncSender<Reading>) {
        let (send, receive): (_, Receiver<Reading>) = sync_channel(0);
        let read = async move || match receive.recv() {
            Ok(Reading::Of(found)) => found,
            Ok(Reading::Panic) => panic!("as a defect would"),
            Err(_) => Err(Unread::Unreachable("over".to_owned())),
        };
        (Remote::open(terms, kept, read), send)
    }

    enum Reading {
        Of(Result<u8, Unread>),
        Panic,
    }

    fn of(value: u8) -> Reading {
        Reading::Of(Ok(value))
    }

    fn unreachable() -> Reading {
        Reading::Of(Err(Unread::Unreachable("no route".to_owned())))
    }

    /// What is trusted after some readings; the last is repeated, so that the one before has been taken.
    fn after(
        remote: &Remote<u8>,
        send: &std::sync::mpsc::SyncSender<Reading>,
        readings: [Reading; 2],
    ) -> Result<u8, String> {
        readings.into_iter().for_each(|reading| send.send(reading).unwrap());
        remote.now().0.map(|value| *value)
    }

    #[test]
    fn the_first_answer_is_waited_for_and_a_change_is_another_revision() {
        let (remote, send) = remote(terms(), None);
        assert_eq!(after(&remote, &send, [of(1), of(1)]), Ok(1));
        let (_, first) = remote.now();
        assert_eq!(after(&remote, &send, [of(1), of(1)]), Ok(1));
        assert!(first.is_current() && remote.age().is_some());
        assert_eq!(after(&remote, &send, [of(2), of(2)]), Ok(2));
        assert!(!first.is_current());
    }

    #[test]
    fn what_cannot_be_reached_stays_in_force_and_is_told_and_what_is_gone_goes_at_once() {
        let (remote, send) = remote(terms(), None);
        assert_eq!(after(&remote, &send, [of(1), of(1)]), Ok(1));
        let (_, before) = remote.now();
        assert_eq!(after(&remote, &send, [unreachable(), unreachable()]), Ok(1));
        assert_eq!(remote.problem().as_deref(), Some("vault x cannot be read: no route"));
        assert!(!before.is_current(), "that it cannot be read is a change");
        let gone = || Reading::Of(Err(Unread::Gone("disabled".to_owned())));
        assert_eq!(after(&remote, &send, [gone(), gone()]), Err("vault x: disabled".to_owned()));
        assert_eq!(remote.age(), None);
    }

    #[test]
    fn what_cannot_be_reached_is_trusted_until_the_last_reading_is_as_old_as_may_be() {
        let old = Duration::from_secs(100);
        let until = |max_age| Terms { max_age, ..terms() };
        let (remote, send) = remote(until(old + Duration::from_secs(3600)), Some((7, old)));
        assert_eq!(remote.now().0.map(|value| *value), Ok(7), "nobody waits for what was kept");
        assert_eq!(after(&remote, &send, [unreachable(), unreachable()]), Ok(7));
        assert!(remote.age().is_some_and(|age| age >= old));
        let (remote, send) = self::remote(until(old), Some((7, old)));
        let cause = "vault x cannot be read: no route".to_owned();
        assert_eq!(after(&remote, &send, [unreachable(), unreachable()]), Err(cause));
    }

    #[test]
    fn what_is_read_no_more_is_trusted_until_it_is_too_old_whatever_becomes_of_the_reading() {
        let terms = Terms { refresh: Duration::from_secs(30 * 86_400), ..terms() };
        // The reading that it begins with comes to no end.
        let (remote, _send) = remote(terms, Some((7, Duration::from_secs(600))));
        let at = |seconds: u64| {
            let (value, revision) = remote.judge(&remote.shared.lock(), remote.opened + Duration::from_secs(seconds));
            (value.map(|value| *value), revision)
        };
        let (value, taken) = at(2990);
        assert_eq!(value, Ok(7));
        let over = remote.opened + Duration::from_secs(3000);
        assert!(taken.is_current_at(over - Duration::from_secs(10)) && !taken.is_current_at(over));
        let (value, after) = at(3000);
        let cause = "vault x has not been read again; what was read last was 1h old when it was looked at, and \
                     maxTrustAge is 1h";
        assert_eq!(value, Err(cause.to_owned()));
        assert!(
            after.is_current_at(over) && after.is_current_at(over + Duration::from_secs(86_400)),
            "nothing changes"
        );
        remote.shared.lock().problem = Some("vault x cannot be read: no route".to_owned());
        assert!(at(7200).0.unwrap_err().starts_with("vault x cannot be read: no route; what was read last was 2h"));
    }

    #[test]
    fn what_was_too_old_and_is_read_again_is_another_revision_though_it_is_the_same() {
        let (remote, send) = remote(Terms { max_age: Duration::from_millis(20), ..terms() }, None);
        let deadline = Instant::now() + Duration::from_secs(60);
        let wait = |until: &dyn Fn() -> bool| {
            while !until() && Instant::now() < deadline {
                std::thread::yield_now();
            }
            assert!(until());
        };
        send.send(of(1)).unwrap();
        wait(&|| remote.age().is_some() && remote.now().0.is_err());
        let (_, over) = remote.now();
        assert!(over.is_current(), "nothing more is to be learned");
        send.send(of(1)).unwrap();
        wait(&|| !over.is_current());
    }

    #[test]
    fn it_is_read_again_before_it_is_too_old_and_never_without_a_pause() {
        let pause = |refresh: u64, max_age: u64, was_read| {
            let [refresh, max_age] = [refresh, max_age].map(Duration::from_secs);
            Terms { refresh, max_age, ..terms() }.pause(was_read).as_secs()
        };
        assert_eq!(pause(30 * 86_400, 3600, true), 3570);
        assert_eq!(pause(600, 86_400, true), 600);
        assert_eq!(pause(60, 60, true), 30);
        assert_eq!(pause(60, 0, true), 30);
        assert_eq!(pause(600, 86_400, false), 30);
        assert_eq!(pause(10, 86_400, false), 10);
    }

    #[test]
    fn who_asks_gets_a_reading_that_began_after_he_asked() {
        let value = Arc::new(AtomicU64::new(1));
        let read = {
            let value = Arc::clone(&value);
            async move || Ok(value.load(Ordering::SeqCst))
        };
        let terms = Terms { refresh: Duration::from_secs(3600), ..terms() };
        let remote = Remote::open(terms, None, read);
        let now = || remote.now().0.map(|value| *value);
        assert_eq!(now(), Ok(1));
        for next in 2..20 {
            value.store(next, Ordering::SeqCst);
            let asked = [remote.ask(), remote.ask(), remote.ask()];
            asked.into_iter().for_each(|asked| remote.await_reading(asked, Duration::from_secs(60)));
            assert_eq!(now(), Ok(next));
        }
    }

    #[test]
    fn who_asks_waits_for_no_more_than_his_time() {
        let (remote, send) = remote(terms(), None);
        assert_eq!(after(&remote, &send, [of(1), of(1)]), Ok(1));
        remote.await_reading(remote.ask(), Duration::from_millis(1));
        assert_eq!(remote.now().0.map(|value| *value), Ok(1), "nothing was sent");
    }

    #[test]
    fn what_nobody_reads_any_more_is_not_trusted() {
        let (remote, send) = remote(terms(), None);
        assert_eq!(after(&remote, &send, [of(1), of(1)]), Ok(1));
        let (_, before) = remote.now();
        send.send(Reading::Panic).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while before.is_current() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let cause = remote.now().0.unwrap_err();
        assert!(cause.contains("ended without an answer"), "{cause}");
    }
}
