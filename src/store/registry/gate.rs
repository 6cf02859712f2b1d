//! How many requests to one host are under way at once, and whose turn is next: that of the pull whose time is up first. So
//! a crowd of pulls is served one after the other, and not all of them too late. A host that asks to be asked less gets
//! fewer at once, and more again as it answers. Called by the door; knows nothing of HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::limits;

/// The bound on requests to a host.
pub(super) struct Gate {
    // Held for a few assignments, never across an await.
    state: Mutex<State>,
}

struct State {
    /// How many may be under way, and how many are.
    limit: usize,
    under_way: usize,
    /// How often the limit was lowered, and how many answers there were since it changed last.
    lowered: u64,
    answers: usize,
    /// Who waits, by deadline and then in the order in which they came.
    waiting: BTreeMap<(Instant, u64), oneshot::Sender<Turn>>,
    came: u64,
}

/// A request's leave to be under way. Dropped, the next one has it.
pub(super) struct Turn {
    gate: Arc<Gate>,
    /// How often the limit had been lowered by then.
    lowered: u64,
}

/// A place among those who wait, given up when dropped.
struct Place<'a> {
    gate: &'a Gate,
    key: (Instant, u64),
}

impl Gate {
    pub(super) fn new() -> Arc<Self> {
        let (limit, waiting) = (limits::REGISTRY_REQUESTS, BTreeMap::new());
        Arc::new(Self { state: Mutex::new(State { limit, under_way: 0, lowered: 0, answers: 0, waiting, came: 0 }) })
    }

    /// Waits for a turn.
    pub(super) async fn turn(self: &Arc<Self>, deadline: Instant) -> Turn {
        loop {
            let (_place, turn) = {
                let mut state = self.lock();
                if state.under_way < state.limit {
                    state.under_way = state.under_way.saturating_add(1);
                    return Turn { gate: Arc::clone(self), lowered: state.lowered };
                }
                state.came = state.came.saturating_add(1);
                let key = (deadline, state.came);
                let (sender, turn) = oneshot::channel();
                state.waiting.insert(key, sender);
                (Place { gate: self, key }, turn)
            };
            if let Ok(turn) = turn.await {
                return turn;
            }
        }
    }

    /// How many may be under way now.
    pub(super) fn limit(&self) -> usize {
        self.lock().limit
    }

    /// Gives turns to those who wait, as far as there are any.
    fn admit(self: &Arc<Self>) {
        loop {
            let (next, lowered) = {
                let mut state = self.lock();
                if state.under_way >= state.limit {
                    return;
                }
                let Some((_, next)) = state.waiting.pop_first() else { return };
                state.under_way = state.under_way.saturating_add(1);
                (next, state.lowered)
            };
            // Not under the lock: from one who has just gone it comes back here.
            drop(next.send(Turn { gate: Arc::clone(self), lowered }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The host has answered.
    pub(super) fn answered(self) {
        let mut state = self.gate.lock();
        state.answers = state.answers.saturating_add(1);
        if state.limit < limits::REGISTRY_REQUESTS && state.answers >= limits::THROTTLED_ANSWERS {
            state.limit = state.limit.saturating_add(1);
            state.answers = 0;
        }
        // Before the turn is dropped, which locks too.
        drop(state);
    }

    /// The host asks to be asked less. Those who were sent together are told so together, and that counts once.
    pub(super) fn throttled(self) {
        let mut state = self.gate.lock();
        if state.lowered == self.lowered {
            state.limit = state.limit.checked_div(limits::THROTTLED_SHARE).unwrap_or_default().max(1);
            state.lowered = state.lowered.saturating_add(1);
            state.answers = 0;
        }
        drop(state);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.under_way = state.under_way.saturating_sub(1);
        drop(state);
        self.gate.admit();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.gate.lock().waiting.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::time::Duration;

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    /// As many turns as there are.
    fn all(gate: &Arc<Gate>) -> Vec<Turn> {
        std::iter::from_fn(|| gate.turn(after(9)).now_or_never()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_under_way_and_not_one_more() {
        let gate = Gate::new();
        let mut turns = all(&gate);
        assert_eq!(turns.len(), limits::REGISTRY_REQUESTS);
        assert!(gate.lock().waiting.is_empty(), "who goes away waits no longer");
        turns.pop();
        assert_eq!(all(&gate).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whose_time_is_up_first_is_next_and_who_came_first_of_those() {
        let gate = Gate::new();
        let mut turns = all(&gate);
        let (order, due) = (Mutex::new(Vec::new()), Instant::now());
        let wait = |name: &'static str, seconds| {
            let (gate, order) = (&gate, &order);
            async move {
                let turn = gate.turn(due + Duration::from_secs(seconds)).await;
                order.lock().unwrap().push(name);
                drop(turn);
            }
        };
        let free = async {
            tokio::task::yield_now().await;
            turns.pop();
        };
        tokio::join!(wait("late", 7), wait("soon", 3), wait("soon too", 3), wait("latest", 8), free);
        assert_eq!(*order.lock().unwrap(), ["soon", "soon too", "late", "latest"]);
        drop(turns);
        assert_eq!(all(&gate).len(), limits::REGISTRY_REQUESTS, "no turn is lost");
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_with_a_turn_on_the_way_passes_it_on() {
        let gate = Gate::new();
        let mut turns = all(&gate);
        let mut gone = Box::pin(gate.turn(after(1)));
        let mut stays = Box::pin(gate.turn(after(2)));
        assert!((&mut gone).now_or_never().is_none() && (&mut stays).now_or_never().is_none());
        turns.pop();
        drop(gone);
        assert!(stays.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_throttles_gets_fewer_once_for_all_who_were_sent_together_and_more_as_it_answers() {
        let gate = Gate::new();
        all(&gate).into_iter().for_each(Turn::throttled);
        let few = limits::REGISTRY_REQUESTS / limits::THROTTLED_SHARE;
        assert_eq!((gate.limit(), all(&gate).len()), (few, few));
        for _ in 0..limits::THROTTLED_ANSWERS {
            gate.turn(after(1)).await.answered();
        }
        assert_eq!(all(&gate).len(), few + 1);
        for _ in 0..9 {
            gate.turn(after(1)).await.throttled();
        }
        assert_eq!(all(&gate).len(), 1, "never none");
        for _ in 0..limits::THROTTLED_ANSWERS * limits::REGISTRY_REQUESTS * 2 {
            gate.turn(after(1)).await.answered();
        }
        assert_eq!(all(&gate).len(), limits::REGISTRY_REQUESTS, "never more than the bound");
    }
}
