//! Room in memory for large content while it is fetched and judged. What is small needs none. Of large content each pull
//! has one piece at a time and all pulls together a few, so that whoever sends much, or sends it slowly, takes neither the
//! memory nor the turn of others.

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::limits;
use crate::report::Fault;
use crate::verdict::Class;

/// What content is. Each kind has room of its own: whoever has a manifest in memory may wait for a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of a referrer.
    Manifest,
    /// What a manifest names.
    Blob,
}

/// The turn of one pull, or of one part of it.
#[derive(Debug)]
pub struct Turn(Semaphore);

/// The right to have a large piece of content in memory, for as long as it is held.
#[derive(Debug)]
pub struct Room<'a> {
    _turn: SemaphorePermit<'a>,
    _all: SemaphorePermit<'static>,
}

impl Default for Turn {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl Turn {
    /// Waits for room for content of so many bytes; none is needed for at most [`limits::LARGE_BYTES`].
    ///
    /// # Errors
    /// There was none in time.
    pub async fn room(&self, kind: Kind, size: u64, deadline: Instant) -> Result<Option<Room<'_>>, Fault> {
        if size <= limits::LARGE_BYTES {
            return Ok(None);
        }
        let all = match kind {
            Kind::Manifest => &MANIFESTS,
            Kind::Blob => &BLOBS,
        };
        let both = async { Ok(Room { _turn: self.0.acquire().await?, _all: all.acquire().await? }) };
        match timeout_at(deadline, both).await {
            Ok(room) => room.map(Some).map_err(|closed: tokio::sync::AcquireError| Fault::new(closed)),
            Err(_) => {
                let cause = format!(
                    "the time ran out before there was room for {size} bytes: other large content was under way"
                );
                Err(Fault::of(Class::Time, cause))
            }
        }
    }
}

static MANIFESTS: Semaphore = Semaphore::const_new(limits::LARGE_MANIFESTS);
static BLOBS: Semaphore = Semaphore::const_new(limits::LARGE_BLOBS);

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LARGE: u64 = limits::LARGE_BYTES + 1;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn large_content_of_one_pull_takes_turns_and_small_content_waits_for_nobody() {
        let (turn, other) = (Turn::default(), Turn::default());
        let held = turn.room(Kind::Manifest, LARGE, soon()).await.unwrap();
        assert!(held.is_some());
        assert!(turn.room(Kind::Manifest, limits::LARGE_BYTES, Instant::now()).await.unwrap().is_none());
        let cause = turn.room(Kind::Manifest, LARGE, Instant::now()).await.unwrap_err().to_string();
        assert!(cause.contains("the time ran out before there was room for 262145 bytes"), "{cause}");
        assert!(other.room(Kind::Manifest, LARGE, soon()).await.unwrap().is_some(), "another pull has its own turn");
        drop(held);
        assert!(turn.room(Kind::Manifest, LARGE, soon()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn all_pulls_together_have_so_much_large_content_and_no_more() {
        let turns: Vec<Turn> = (0..limits::LARGE_BLOBS).map(|_| Turn::default()).collect();
        let mut held = Vec::new();
        for turn in &turns {
            held.push(turn.room(Kind::Blob, LARGE, soon()).await.unwrap());
        }
        let late = Turn::default();
        assert!(late.room(Kind::Blob, LARGE, Instant::now()).await.is_err());
        assert!(late.room(Kind::Blob, 1, Instant::now()).await.unwrap().is_none());
        held.pop();
        assert!(late.room(Kind::Blob, LARGE, soon()).await.unwrap().is_some());
    }
}
