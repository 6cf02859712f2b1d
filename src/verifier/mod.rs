//! The seam to what judges one referrer. A verifier says what it finds of one artifact; whether that is enough
//! is the policy's business.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::artifact::{Descriptor, Digest, Manifest};
use crate::reference::Repository;
use crate::report::{Elsewhere, Outcome};
use crate::room::Turn;
use crate::store::Store;

#[cfg(feature = "cosign")]
pub mod cosign;
#[cfg(feature = "notation")]
pub mod notation;
#[cfg(feature = "runner")]
pub mod plugin;

/// One referrer to be judged, and all that may be used for it.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// Where it lies.
    pub store: &'a dyn Store,
    /// The repository of the artifact that it must speak of.
    pub repository: &'a Repository,
    /// The artifact that it must speak of.
    pub subject: &'a Descriptor,
    /// The referrer.
    pub referrer: &'a Descriptor,
    /// Where it was found, if not on the list of the subject's referrers. Only who named that place is asked.
    pub found: Option<&'a Elsewhere>,
    /// The referrer's own manifest. Its subject is [`Candidate::subject`] by digest, unless it was found at a tag: then
    /// nothing of it is bound to the subject yet.
    pub manifest: &'a Manifest,
    /// What the verifier has begun to judge of this subject.
    pub attempts: &'a Attempts,
    /// The moment of the verdict.
    pub now: SystemTime,
    /// When the verdict is due.
    pub deadline: Instant,
}

impl Candidate<'_> {
    /// The repository that it lies in.
    #[must_use]
    pub fn lies_in(&self) -> &Repository {
        self.found.map_or(self.repository, Elsewhere::repository)
    }
}

/// How many pieces of evidence on one artifact a verifier has begun to judge, and whose turn it is.
#[derive(Debug, Default)]
pub struct Attempts {
    begun: AtomicUsize,
    /// The turn of large pieces.
    pub turn: Turn,
}

impl Attempts {
    /// Begins one more, unless there were `most` already.
    pub fn begin(&self, most: usize) -> bool {
        self.begun
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |begun| (begun < most).then(|| begun.saturating_add(1)))
            .is_ok()
    }
}

/// What judges referrers of one kind.
#[async_trait]
pub trait Verifier: Send + Sync {
    /// The configured name; policy rules name it.
    fn name(&self) -> &str;

    /// Whether artifacts of this type are its business.
    fn accepts(&self, artifact_type: &str) -> bool;

    /// What it says of every image of a repository, before anything is looked at: that it asks for no evidence there,
    /// or that no evidence could satisfy it. Most say nothing.
    fn foregone(&self, _repository: &Repository) -> Option<Outcome> {
        None
    }

    /// Where evidence on an artifact of a repository may lie besides the list of its referrers there. What is found in
    /// such a place is judged by those verifiers alone that named it; what is found at a tag whatever its type.
    fn elsewhere(&self, _repository: &Repository, _subject: &Digest) -> Vec<Elsewhere> {
        Vec::new()
    }

    /// Judges one referrer: fetches bounded bytes through the store, then decides without I/O. One outcome; or, where it
    /// holds good signatures of several signers, one for each.
    async fn verify(&self, candidate: Candidate<'_>) -> Vec<Outcome>;
}
