//! Spares a host that is in trouble, and those who wait for it. A host that failed many times in a row is asked by one
//! request at a time until one succeeds; a host that asks to be asked less is left alone for as long. Whoever has the time
//! waits a moment, whoever has not, or can ask another host, is told at once; so is everybody once a try has shown that the
//! trouble lasts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::exchange::{Again, Failed};
use crate::limits;

/// What is known of a host's health.
#[derive(Default)]
pub(super) struct Breaker {
    // Held for a few assignments, never across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Failures since the last success.
    failures: u32,
    /// The last of them, in words.
    cause: String,
    /// While it is open: until when nobody asks, and whether someone tries now.
    open: Option<Open>,
    /// Until when the host wants to be left alone, and how often in a row it said so without a time.
    quiet: Option<Instant>,
    throttled: u32,
}

struct Open {
    until: Instant,
    times: u32,
    probing: bool,
}

/// What a request may do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Go ahead; the request tells how it went through the pass.
    Go,
    /// Ask again at this moment.
    Wait(Instant),
    /// Not in time.
    Refused(Why),
}

/// Why a host is not asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It failed too often; the last cause, and when it is tried again.
    Open(String, Duration),
    /// It wants to be left alone for so long.
    Quiet(Duration),
}

impl Breaker {
    /// Whether a request that is due at `deadline` may be made now. `spare`: another host can be asked instead.
    pub(super) fn ask(&self, now: Instant, deadline: Instant, spare: bool) -> Leave {
        let mut state = self.lock();
        let leave = state.leave(now, deadline, spare);
        if leave == Leave::Go
            && state.failures >= fewest(spare)
            && let Some(open) = &mut state.open
        {
            open.probing = true;
        }
        leave
    }

    /// The same for a request that has to wait for its turn before it asks.
    pub(super) fn look(&self, now: Instant, deadline: Instant, spare: bool) -> Leave {
        self.lock().leave(now, deadline, spare)
    }

    /// A request went well, or was answered: the host is there.
    pub(super) fn well(&self) {
        let mut state = self.lock();
        *state = State { quiet: state.quiet, ..State::default() };
    }

    /// A request failed.
    pub(super) fn failed(&self, failed: &Failed, now: Instant) {
        let mut state = self.lock();
        if let Again::Throttled(after) = failed.again {
            // Those who were sent together are told so together, and that counts once.
            let known = state.quiet.filter(|quiet| *quiet > now);
            let growing = limits::THROTTLED_PAUSE.saturating_mul(2_u32.saturating_pow(state.throttled.min(8)));
            let pause = after.or(known.is_none().then_some(growing)).unwrap_or_default();
            let until = now.checked_add(pause.min(limits::THROTTLED_PAUSE_MAX));
            let throttled = state.throttled.saturating_add(u32::from(known.is_none()));
            *state = State { quiet: known.max(until), throttled, ..State::default() };
            return;
        }
        // Asked in the wrong way or without time to answer, it is no wonder.
        if failed.for_http || failed.tells_nothing {
            drop(state);
            return self.abandoned();
        }
        if !failed.error.is_outage() {
            drop(state);
            return self.well();
        }
        state.failures = state.failures.saturating_add(1);
        state.cause = failed.error.to_string();
        if state.failures >= limits::BREAKER_FAILURES_SPARE {
            let times = state.open.as_ref().map_or(0, |open| open.times.saturating_add(u32::from(open.probing)));
            let pause = limits::BREAKER_PAUSE.saturating_mul(2_u32.saturating_pow(times.min(8)));
            let until = now.checked_add(pause.min(limits::BREAKER_PAUSE_MAX)).unwrap_or(now);
            state.open = Some(Open { until, times, probing: false });
        }
    }

    /// A request was given up before it was known how it would end.
    pub(super) fn abandoned(&self) {
        if let Some(open) = &mut self.lock().open {
            open.probing = false;
        }
    }

    /// Whether the host is not asked because it failed.
    pub(super) fn is_open(&self) -> bool {
        let state = self.lock();
        state.failures >= limits::BREAKER_FAILURES
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn leave(&self, now: Instant, deadline: Instant, spare: bool) -> Leave {
        if let Some(quiet) = self.quiet.filter(|quiet| *quiet > now) {
            let remains = quiet.saturating_duration_since(now);
            return if spare || quiet >= deadline { Leave::Refused(Why::Quiet(remains)) } else { Leave::Wait(quiet) };
        }
        if self.failures < fewest(spare) {
            return Leave::Go;
        }
        let cause = self.cause.clone();
        let Some(open) = &self.open else { return Leave::Go };
        // One that tries now ends within the longest time of a request; then the next may.
        let next = if open.probing { now.checked_add(limits::BREAKER_LOOK).unwrap_or(now) } else { open.until };
        if next > now {
            let remains = next.saturating_duration_since(now);
            return if spare || next >= deadline || open.times > 0 {
                Leave::Refused(Why::Open(cause, remains))
            } else {
                Leave::Wait(next)
            };
        }
        Leave::Go
    }
}

/// Failures after which a host is not asked as ever.
fn fewest(spare: bool) -> u32 {
    if spare { limits::BREAKER_FAILURES_SPARE } else { limits::BREAKER_FAILURES }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Error;

    const MINUTE: Duration = Duration::from_secs(60);

    fn broken() -> Failed {
        Error::Network { what: "GET https://r.example".to_owned(), cause: "no route".to_owned() }.into()
    }

    fn throttled(after: Option<Duration>) -> Failed {
        let error = Error::Throttled { what: "GET https://r.example".to_owned(), said: String::new(), after };
        Failed { again: Again::Throttled(after), ..error.into() }
    }

    fn after(times: u32, now: Instant) -> Breaker {
        let breaker = Breaker::default();
        (0..times).for_each(|_| breaker.failed(&broken(), now));
        breaker
    }

    #[test]
    fn so_many_failures_in_a_row_are_borne_and_one_more_is_not() {
        let now = Instant::now();
        assert_eq!(after(limits::BREAKER_FAILURES - 1, now).ask(now, now + MINUTE, false), Leave::Go);
        let breaker = after(limits::BREAKER_FAILURES, now);
        assert_eq!(breaker.ask(now, now + MINUTE, false), Leave::Wait(now + limits::BREAKER_PAUSE));
        assert!(breaker.is_open() && !after(limits::BREAKER_FAILURES - 1, now).is_open());
        assert_eq!(after(limits::BREAKER_FAILURES_SPARE - 1, now).ask(now, now + MINUTE, true), Leave::Go);
        let spare = after(limits::BREAKER_FAILURES_SPARE, now).ask(now, now + MINUTE, true);
        assert!(matches!(spare, Leave::Refused(Why::Open(cause, _)) if cause.contains("no route")));
    }

    #[test]
    fn an_answer_in_between_begins_the_count_anew_whatever_it_says() {
        let now = Instant::now();
        for answer in [None, Some(Error::NotFound { what: String::new() })] {
            let breaker = after(limits::BREAKER_FAILURES - 1, now);
            match answer {
                None => breaker.well(),
                Some(error) => breaker.failed(&error.into(), now),
            }
            breaker.failed(&broken(), now);
            assert_eq!(breaker.ask(now, now + MINUTE, false), Leave::Go);
        }
    }

    #[test]
    fn after_the_pause_one_tries_and_the_others_wait_for_it() {
        let now = Instant::now();
        let breaker = after(limits::BREAKER_FAILURES, now);
        let then = now + limits::BREAKER_PAUSE;
        assert_eq!(breaker.ask(then, then + MINUTE, false), Leave::Go);
        assert_eq!(breaker.ask(then, then + MINUTE, false), Leave::Wait(then + limits::BREAKER_LOOK));
        breaker.well();
        assert_eq!(breaker.ask(then, then + MINUTE, false), Leave::Go);
        assert!(!breaker.is_open());
    }

    #[test]
    fn once_a_try_has_failed_nobody_waits_and_pauses_grow_to_their_limit() {
        let mut now = Instant::now();
        let breaker = after(limits::BREAKER_FAILURES, now);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            now += limits::BREAKER_PAUSE_MAX;
            assert_eq!(breaker.ask(now, now + MINUTE, false), Leave::Go);
            breaker.failed(&broken(), now);
            match breaker.ask(now, now + MINUTE, false) {
                Leave::Refused(Why::Open(_, pause)) => pauses.push(pause),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pauses[..2], [limits::BREAKER_PAUSE * 2, limits::BREAKER_PAUSE * 4]);
        assert_eq!(pauses[5], limits::BREAKER_PAUSE_MAX);
    }

    #[test]
    fn a_try_that_is_given_up_lets_the_next_one_try() {
        let now = Instant::now();
        let breaker = after(limits::BREAKER_FAILURES, now);
        let then = now + limits::BREAKER_PAUSE;
        assert_eq!(breaker.ask(then, then + MINUTE, false), Leave::Go);
        breaker.abandoned();
        assert_eq!(breaker.ask(then, then + MINUTE, false), Leave::Go);
    }

    #[test]
    fn a_request_without_time_for_an_answer_says_nothing_of_the_host() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        (0..40).for_each(|_| breaker.failed(&Failed { tells_nothing: true, ..broken() }, now));
        assert_eq!(breaker.ask(now, now + MINUTE, true), Leave::Go);
    }

    #[test]
    fn a_host_that_wants_to_be_left_alone_is_until_then_and_no_longer_than_the_limit() {
        let now = Instant::now();
        let quiet = |after: Option<Duration>, times: u32| {
            let breaker = Breaker::default();
            let mut at = now;
            for _ in 0..times {
                // Once the pause before it is over: those who were sent together are told so together.
                at += limits::THROTTLED_PAUSE_MAX;
                (0..5).for_each(|_| breaker.failed(&throttled(after), at));
            }
            match breaker.ask(at, at + 2 * limits::THROTTLED_PAUSE_MAX, false) {
                Leave::Wait(then) => then - at,
                other => panic!("{other:?}"),
            }
        };
        let second = Duration::from_secs(1);
        assert_eq!(quiet(Some(second), 1), second);
        assert_eq!(quiet(Some(limits::THROTTLED_PAUSE_MAX + second), 1), limits::THROTTLED_PAUSE_MAX);
        assert_eq!(quiet(None, 1), limits::THROTTLED_PAUSE);
        assert_eq!(quiet(None, 2), limits::THROTTLED_PAUSE * 2);
        assert_eq!(quiet(None, 40), limits::THROTTLED_PAUSE_MAX);
        let breaker = Breaker::default();
        breaker.failed(&throttled(Some(second)), now);
        assert_eq!(breaker.ask(now, now + second, false), Leave::Refused(Why::Quiet(second)));
        assert_eq!(breaker.ask(now, now + MINUTE, true), Leave::Refused(Why::Quiet(second)));
        assert_eq!(breaker.ask(now + second, now + MINUTE, true), Leave::Go);
    }
}
