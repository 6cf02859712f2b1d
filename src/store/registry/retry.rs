//! When a request is made again: only what may pass, only inside its deadline, only as often as the host's budget allows,
//! later each time and not at the same moment as others. A policy for tower's `Retry`.

use std::sync::Arc;
use std::time::Duration;

use rustix::rand::GetRandomFlags;
use tokio::time::{Instant, Sleep, sleep};
use tower::retry::Policy;
use tower::retry::budget::{Budget as _, TpsBudget};

use super::exchange::{Again, Answer, Failed, Get};
use crate::limits;
use crate::metrics::Metrics;

/// The patience with one request.
#[derive(Clone)]
pub(super) struct Patience {
    /// Shared by all requests to a host: when most of them fail, retries would be most of its load.
    budget: Arc<TpsBudget>,
    /// This try, and the most there are.
    tries: u32,
    most: u32,
    host: Arc<str>,
    metrics: Arc<Metrics>,
}

impl Patience {
    /// A request to `host` is made at most `most` times.
    pub(super) fn new(host: &str, most: u32, metrics: Arc<Metrics>) -> Self {
        let budget =
            TpsBudget::new(limits::RETRY_BUDGET_TIME, limits::RETRY_BUDGET_PER_SECOND, limits::RETRY_BUDGET_SHARE);
        Self { budget: Arc::new(budget), tries: 1, most, host: host.into(), metrics }
    }

    /// How long to wait before the next try; none if there is none.
    fn wait(&self, get: &Get, failed: &Failed) -> Option<Duration> {
        // What may do better over http is asked so, not in the same way again.
        if get.spare || failed.for_http || self.tries >= self.most {
            return None;
        }
        let growing = limits::RETRY_PAUSE.saturating_mul(2_u32.saturating_pow(self.tries.saturating_sub(1)));
        let wait = match failed.again {
            Again::No => return None,
            Again::Soon => growing,
            Again::Throttled(after) => after.unwrap_or_else(|| growing.max(limits::THROTTLED_PAUSE)),
        };
        let wait = wait.saturating_add(jitter(wait.max(limits::RETRY_PAUSE)));
        let in_time = Instant::now().checked_add(wait).is_some_and(|then| then < get.deadline);
        in_time.then_some(wait)
    }
}

impl Policy<Get, Answer, Failed> for Patience {
    type Future = Sleep;

    fn retry(&mut self, get: &mut Get, result: &mut Result<Answer, Failed>) -> Option<Sleep> {
        let Err(failed) = result else {
            self.budget.deposit();
            return None;
        };
        let wait = self.wait(get, failed)?;
        if !self.budget.withdraw() {
            return None;
        }
        self.tries = self.tries.saturating_add(1);
        self.metrics.retried(&self.host);
        Some(sleep(wait))
    }

    fn clone_request(&mut self, get: &Get) -> Option<Get> {
        Some(get.clone())
    }
}

/// Up to a half of a time, at random.
pub(super) fn jitter(of: Duration) -> Duration {
    let mut bytes = [0_u8; 4];
    // Without randomness all wait equally long, which is no reason not to wait.
    let _ = rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty());
    let share = f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX);
    of.mul_f64(share / 2.0)
}
