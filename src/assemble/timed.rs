//! Stores and verifiers whose answers are timed, for the counters; they change nothing else. Put around each by
//! `assemble`, so that nothing below looks at a clock.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;

use crate::artifact::{Descriptor, Digest};
use crate::metrics::{Metrics, Step};
use crate::reference::{Reference, Repository};
use crate::report::{Elsewhere, Logged, Outcome};
use crate::store::{Error, Listed, Store};
use crate::verifier::{Candidate, Verifier};

/// Something that is asked, and where the time is counted that it takes.
pub(super) struct Timed<T: ?Sized> {
    pub(super) metrics: Arc<Metrics>,
    pub(super) inner: Arc<T>,
}

impl<T: ?Sized> Timed<T> {
    async fn time<A>(&self, step: Step, answer: impl Future<Output = A>) -> A {
        let start = Instant::now();
        let answer = answer.await;
        self.metrics.took(step, start.elapsed());
        answer
    }
}

#[async_trait]
impl Store for Timed<dyn Store> {
    async fn resolve(&self, reference: &Reference, deadline: Instant) -> Result<Descriptor, Error> {
        self.inner.resolve(reference, deadline).await
    }

    async fn referrers(&self, repository: &Repository, subject: &Digest, deadline: Instant) -> Result<Listed, Error> {
        self.time(Step::List, self.inner.referrers(repository, subject, deadline)).await
    }

    async fn manifest(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        self.time(Step::Manifest, self.inner.manifest(repository, descriptor, deadline)).await
    }

    async fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        limit: u64,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        self.time(Step::Blob, self.inner.blob(repository, descriptor, limit, deadline)).await
    }
}

#[async_trait]
impl Verifier for Timed<dyn Verifier> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn accepts(&self, artifact_type: &str) -> bool {
        self.inner.accepts(artifact_type)
    }

    fn foregone(&self, repository: &Repository) -> Option<Outcome> {
        self.inner.foregone(repository)
    }

    fn elsewhere(&self, repository: &Repository, subject: &Digest) -> Vec<Elsewhere> {
        self.inner.elsewhere(repository, subject)
    }

    async fn verify(&self, candidate: Candidate<'_>) -> Vec<Outcome> {
        let outcomes = self.time(Step::Verify, self.inner.verify(candidate)).await;
        for outcome in &outcomes {
            let Outcome::Passed(pass) = outcome else { continue };
            for Logged { validation, cause } in &pass.logged {
                self.metrics.not_enforced(*validation);
                let (verifier, image, validation) = (self.name(), candidate.repository, validation.as_str());
                warn!(verifier, %image, signature = %candidate.referrer.digest, validation, cause, "not enforced");
            }
        }
        outcomes
    }
}
