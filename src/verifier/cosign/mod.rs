//! The Cosign verifier: judges what `cosign sign` and `cosign attest` leave beside an image, in every form they have had,
//! by the trust policy that is about its repository. This file knows where that may lie and takes it out of the store; what
//! it then decides is [`judge()`], a pure function. Never asks a log or any other service: what these say comes with the
//! signature.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Semaphore;

use crate::artifact::{Digest, Layer};
use crate::config::DockerReference;
use crate::limits;
use crate::reference::Repository;
use crate::report::{Elsewhere, Failure, Fault, Outcome, Pass, Stage};
use crate::room::Kind as Content;
use crate::scope::Scopes;
use crate::sigstore::tag::Kind;
use crate::sigstore::verify::{Signers, Trust};
use crate::verifier::{Candidate, Verifier};

mod form;
mod judge;
mod names;
mod simple;
#[cfg(test)]
mod tests;

pub use form::{Form, Wants};
pub use judge::{Question, judge};
pub use names::Rewrites;
pub use simple::SimpleSigning;

/// Judges signatures or attestations of Cosign's by the trust policy that is about their repository.
#[derive(Debug)]
pub struct CosignVerifier {
    name: String,
    options: Options,
}

/// What a verifier trusts, and what it asks for.
#[derive(Debug)]
pub struct Options {
    /// Who is trusted where; the most specific pattern wins.
    pub policies: Scopes<Arc<TrustPolicy>>,
    /// What is asked for.
    pub wants: Wants,
    /// Whether the name that a signature states counts.
    pub docker_reference: DockerReference,
    /// Under which names images were signed that are pulled under others.
    pub remap: Rewrites,
    /// Where signatures lie that are not beside their images.
    pub signature_repository: Rewrites,
    /// Whether tags are looked at.
    pub tags: bool,
    /// How many signatures of one image are judged at most.
    pub max_signatures: usize,
}

/// Who is trusted, and what must be stated.
#[derive(Debug)]
pub struct TrustPolicy {
    /// Who is trusted.
    pub trust: Trust,
    /// What must be stated.
    pub annotations: BTreeMap<String, String>,
}

impl TrustPolicy {
    /// How many signers there can be: with so many found there is no other one to look for.
    fn most_signers(&self) -> usize {
        match &self.trust.signers {
            Signers::Keys(keys) => keys.len(),
            Signers::Keyless(_) | Signers::Chain { .. } => usize::MAX,
        }
    }
}

impl CosignVerifier {
    /// A verifier of this configured name.
    #[must_use]
    pub fn new(name: String, options: Options) -> Self {
        Self { name, options }
    }

    fn policy(&self, repository: &Repository) -> Result<&TrustPolicy, Failure> {
        self.options.policies.find(repository).map(|(_, policy)| policy.as_ref()).ok_or_else(|| {
            let cause = format!(
                "no trust policy applies to {repository}: name it in the scopes of one, or add one without scopes"
            );
            Failure { stage: Stage::Authenticity, cause }
        })
    }

    /// Judges all that a manifest holds.
    async fn judge_all(&self, candidate: Candidate<'_>) -> Result<Vec<Outcome>, Failure> {
        let policy = self.policy(candidate.repository)?;
        let pieces = form::pieces(candidate.manifest, &self.options.wants)?;
        let mut found = Found::default();
        let judge = |(form, layer)| -> BoxFuture<'_, _> { Box::pin(self.judge_one(form, layer, policy, candidate)) };
        let judged: Vec<_> = pieces.into_iter().map(judge).collect();
        let mut judged = stream::iter(judged).buffered(limits::CONCURRENCY);
        while let Some(outcome) = judged.next().await {
            found.take(outcome);
            if found.passes.len() >= policy.most_signers() {
                break;
            }
        }
        Ok(found.outcomes())
    }

    async fn judge_one(
        &self,
        form: Form,
        layer: &Layer,
        policy: &TrustPolicy,
        candidate: Candidate<'_>,
    ) -> Result<Result<Pass, Failure>, Fault> {
        let Options { wants, docker_reference, remap, max_signatures, .. } = &self.options;
        if !candidate.attempts.begin(*max_signatures) {
            let cause = format!(
                "there are more than {max_signatures} signatures of it: maxSignatures sets how many are judged"
            );
            return Ok(Err(Failure { stage: Stage::Limit, cause }));
        }
        let limit = match form::check_size(form, wants, layer) {
            Ok(limit) => limit,
            Err(failure) => return Ok(Err(failure)),
        };
        let size = layer.descriptor.size;
        let _room = candidate.attempts.turn.room(Content::Blob, size, candidate.deadline).await?;
        let bytes = candidate.store.blob(candidate.lies_in(), &layer.descriptor, limit, candidate.deadline).await?;
        let question = Question {
            trust: &policy.trust,
            annotations: &policy.annotations,
            wants,
            docker_reference: *docker_reference,
            remap,
            repository: candidate.repository,
            subject: &candidate.subject.digest,
            now: candidate.now,
        };
        // Once its bytes are there nobody is waited for but those who judge theirs.
        let _turn = match size > limits::LARGE_BYTES {
            true => JUDGED.acquire().await.ok(),
            false => None,
        };
        Ok(judge(form, layer, &bytes, question))
    }
}

#[async_trait]
impl Verifier for CosignVerifier {
    fn name(&self) -> &str {
        &self.name
    }

    fn accepts(&self, artifact_type: &str) -> bool {
        form::is_accepted(artifact_type)
    }

    fn foregone(&self, repository: &Repository) -> Option<Outcome> {
        self.policy(repository).err().map(Outcome::Failed)
    }

    fn elsewhere(&self, repository: &Repository, subject: &Digest) -> Vec<Elsewhere> {
        let other = self.options.signature_repository.apply(repository).filter(|other| other != repository);
        let home = other.as_ref().unwrap_or(repository);
        let kind = match self.options.wants {
            Wants::Signature => Kind::Signature,
            Wants::Attestation(_) => Kind::Attestation,
        };
        let tag = Some(kind.tag(subject)).filter(|tag| self.options.tags && tag.len() <= limits::TAG_BYTES);
        let tag = tag.map(|tag| Elsewhere::Tag(home.clone(), tag));
        tag.into_iter().chain(other.clone().map(Elsewhere::Referrers)).collect()
    }

    async fn verify(&self, candidate: Candidate<'_>) -> Vec<Outcome> {
        self.judge_all(candidate).await.unwrap_or_else(|failure| vec![Outcome::Failed(failure)])
    }
}

/// Large attestations are judged one after another: it takes a multiple of their size, and no other pull's worker.
static JUDGED: Semaphore = Semaphore::const_new(limits::LARGE_JUDGED);

/// Whether two signatures are by one key, and by the same name.
fn is_one_signer(one: &Pass, other: &Pass) -> bool {
    one.signer == other.signer && one.identity == other.identity
}

/// What came of the signatures in one manifest.
#[derive(Default)]
struct Found {
    /// Of each signer the first good one.
    passes: Vec<Pass>,
    fault: Option<Fault>,
    /// The most specific reason, and how many others there are.
    failure: Option<(Failure, usize)>,
}

impl Found {
    fn take(&mut self, judged: Result<Result<Pass, Failure>, Fault>) {
        match judged {
            Ok(Ok(pass)) if self.passes.iter().any(|known| is_one_signer(known, &pass)) => {}
            Ok(Ok(pass)) => self.passes.push(pass),
            Ok(Err(failure)) => {
                self.failure = Some(match self.failure.take() {
                    Some((known, others)) if known.stage >= failure.stage => (known, others.saturating_add(1)),
                    Some((_, others)) => (failure, others.saturating_add(1)),
                    None => (failure, 0),
                });
            }
            Err(fault) => {
                self.fault.get_or_insert(fault);
            }
        }
    }

    /// Good signatures, and what might have been another one; or else the reason why there is none.
    fn outcomes(self) -> Vec<Outcome> {
        let fault = self.fault.map(|cause| Outcome::Fault { cause });
        let outcomes: Vec<_> = self.passes.into_iter().map(Outcome::Passed).chain(fault).collect();
        match (outcomes.is_empty(), self.failure) {
            (true, Some((failure, 0))) => vec![Outcome::Failed(failure)],
            (true, Some((Failure { stage, cause }, others))) => {
                let cause = format!("{cause} (and {others} more signatures in it)");
                vec![Outcome::Failed(Failure { stage, cause })]
            }
            _ => outcomes,
        }
    }
}
