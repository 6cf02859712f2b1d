//! The seam to what judges one referrer. A verifier says what it finds of one artifact; whether that is enough
//! is the policy's business.

use std::time::SystemTime;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::artifact::{Descriptor, Manifest};
use crate::reference::Repository;
use crate::report::Outcome;
use crate::store::Store;

#[cfg(feature = "notation")]
pub mod notation;

/// One referrer to be judged, and all that may be used for it.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// Where it lies.
    pub store: &'a dyn Store,
    /// The repository.
    pub repository: &'a Repository,
    /// The artifact that it must speak of.
    pub subject: &'a Descriptor,
    /// The referrer.
    pub referrer: &'a Descriptor,
    /// The referrer's own manifest; its subject is [`Candidate::subject`] by digest.
    pub manifest: &'a Manifest,
    /// The moment of the verdict.
    pub now: SystemTime,
    /// When the verdict is due.
    pub deadline: Instant,
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

    /// Judges one referrer: fetches bounded bytes through the store, then decides without I/O.
    async fn verify(&self, candidate: Candidate<'_>) -> Outcome;
}
