//! Looks that many share: one serves all who asked before it began, and none who asked later. One runs at a time, on a
//! thread where it may block; it ends when nobody waits any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Those who wait for the next look.
pub(super) struct Looks<T>(Mutex<Waiting<T>>);

struct Waiting<T> {
    askers: Vec<oneshot::Sender<T>>,
    /// Whether somebody looks now, and will look again for those who wait.
    looking: bool,
}

impl<T> Default for Looks<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { askers: Vec::new(), looking: false }
    }
}

impl<T: Clone + Send + 'static> Looks<T> {
    /// What a look brings that begins after this was called; none if it ended without an answer.
    pub(super) async fn ask(self: &Arc<Self>, look: impl FnMut() -> T + Send + 'static) -> Option<T> {
        let (asker, answer) = oneshot::channel();
        let begin = {
            let mut waiting = self.lock();
            // Behind a look that hangs those who have given up must not heap up.
            if waiting.askers.len() == waiting.askers.capacity() {
                waiting.askers.retain(|asker| !asker.is_closed());
            }
            waiting.askers.push(asker);
            !std::mem::replace(&mut waiting.looking, true)
        };
        if begin {
            let looking = Looking { looks: Arc::clone(self), askers: Vec::new(), ended: false };
            tokio::task::spawn_blocking(move || looking.run(look));
        }
        answer.await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        // Held for a few assignments only.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever looks. Should that panic, those who wait are told, and the next one looks anew.
struct Looking<T: Clone + Send + 'static> {
    looks: Arc<Looks<T>>,
    /// Whom this look is for. Dropped after the next one has been made possible.
    askers: Vec<oneshot::Sender<T>>,
    ended: bool,
}

impl<T: Clone + Send + 'static> Looking<T> {
    fn run(mut self, mut look: impl FnMut() -> T) {
        while self.take() {
            let found = look();
            for asker in self.askers.drain(..) {
                // Who has gone needs no answer.
                drop(asker.send(found.clone()));
            }
        }
    }

    /// Takes those who have asked by now; if nobody has, whoever comes begins another.
    fn take(&mut self) -> bool {
        let mut waiting = self.looks.lock();
        self.askers = std::mem::take(&mut waiting.askers);
        self.ended = self.askers.is_empty();
        waiting.looking = !self.ended;
        waiting.looking
    }
}

impl<T: Clone + Send + 'static> Drop for Looking<T> {
    fn drop(&mut self) {
        if !self.ended {
            *self.looks.lock() = Waiting::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_look_serves_all_who_asked_before_it_began_and_none_who_asked_later() {
        let looks: Arc<Looks<usize>> = Arc::default();
        let (began, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let count = AtomicUsize::new(0);
        let mut first = Box::pin(looks.ask(move || {
            let number = count.fetch_add(1, Ordering::SeqCst);
            began.send(number).unwrap();
            ends.recv().unwrap();
            number
        }));
        let later = || looks.ask(|| unreachable!("the first one looks for all"));
        assert!(futures_util::poll!(&mut first).is_pending());
        assert_eq!(begins.recv().unwrap(), 0);
        // It is under way: whatever it sees, these must not go by it.
        let mut others: Vec<_> = (0..50).map(|_| Box::pin(later())).collect();
        for other in &mut others {
            assert!(futures_util::poll!(other).is_pending());
        }
        end.send(()).unwrap();
        assert_eq!(first.await, Some(0));
        assert_eq!(begins.recv().unwrap(), 1);
        end.send(()).unwrap();
        assert!(futures_util::future::join_all(others).await.iter().all(|found| *found == Some(1)));
        while looks.lock().looking {
            tokio::task::yield_now().await;
        }
        assert_eq!(looks.ask(|| 7).await, Some(7), "whoever comes when all have gone looks anew");
    }

    #[tokio::test]
    async fn who_waits_for_a_look_that_panics_is_told_and_the_next_one_looks_anew() {
        let looks: Arc<Looks<usize>> = Arc::default();
        assert_eq!(looks.ask(|| panic!("a defect")).await, None);
        assert_eq!(looks.ask(|| 1).await, Some(1));
    }

    #[tokio::test]
    async fn those_who_give_up_behind_a_look_that_hangs_do_not_heap_up() {
        let looks: Arc<Looks<()>> = Arc::default();
        let (end, ends) = mpsc::channel::<()>();
        let mut hangs = Box::pin(looks.ask(move || ends.recv().unwrap_or_default()));
        assert!(futures_util::poll!(&mut hangs).is_pending());
        for _ in 0..1000 {
            assert!(futures_util::poll!(Box::pin(looks.ask(|| ()))).is_pending());
        }
        assert!(looks.lock().askers.capacity() < 20);
        drop(end);
        hangs.await.unwrap();
    }
}
