//! Walks the graph of referrers of one image: list referrers, read each one's own manifest, ask the verifiers whose
//! findings the policy counts there, record what they found, go on to that referrer's referrers, and stop as soon as
//! the policy is satisfied or the time is spent. Called by admission; knows no mode and remembers nothing.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use crate::artifact::{Descriptor, Manifest};
use crate::limits;
use crate::policy::Policy;
use crate::reference::Repository;
use crate::report::{ArtifactId, Fault, Finding, Listing, Outcome, Read, Report};
use crate::store::{self, Listed, Stale, Store};
use crate::verdict::{Class, Conclusion};
use crate::verifier::{Candidate, Verifier};

mod conclude;
#[cfg(test)]
mod tests;

/// Everything that one set of scopes asks for: where artifacts lie, who judges them, what is enough.
pub struct Executor {
    store: Arc<dyn Store>,
    verifiers: Vec<Arc<dyn Verifier>>,
    policy: Policy,
    concurrency: usize,
}

/// What a walk came to.
#[derive(Debug)]
pub struct Judged {
    /// The answer.
    pub conclusion: Conclusion,
    /// What was found.
    pub report: Report,
    /// The first moment at which a finding that passed no longer holds, in seconds since 1970.
    pub valid_until: Option<u64>,
    /// How long the lists that it rests on may still be used, where one of them is not of now.
    pub lists_last: Option<Duration>,
    /// What kind of cause stands behind the answer.
    pub class: Class,
    /// Whether the time ran out first: someone with more time may get another answer.
    pub out_of_time: bool,
}

impl Executor {
    /// An executor that makes at most `concurrency` checks of one image at once.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, verifiers: Vec<Arc<dyn Verifier>>, policy: Policy, concurrency: usize) -> Self {
        Self { store, verifiers, policy, concurrency }
    }

    /// Judges one image of a repository. `now` is the moment of the verdict, `deadline` that of the answer.
    pub async fn judge(
        &self,
        repository: &Repository,
        subject: Descriptor,
        now: SystemTime,
        deadline: Instant,
    ) -> Judged {
        let mut report = Report::new(subject);
        if let Some(subject) = report.get_mut(Report::SUBJECT) {
            subject.findings = self.foregone(repository);
        }
        let mut walk = Walk { executor: self, repository, now, deadline, report, steps: VecDeque::new() };
        let cut = timeout_at(deadline, walk.run()).await.is_err();
        // Requests end a little before, so that what they waited for is in the report.
        let out_of_time = cut || deadline.saturating_duration_since(Instant::now()) <= limits::REQUEST_MARGIN;
        conclude::conclude(&self.policy, repository, walk.report, out_of_time)
    }

    /// What verifiers say of every image of a repository.
    fn foregone(&self, repository: &Repository) -> Vec<Finding> {
        let found = |verifier: &Arc<dyn Verifier>| {
            verifier.foregone(repository).map(|outcome| Finding { verifier: verifier.name().to_owned(), outcome })
        };
        self.verifiers.iter().filter_map(found).collect()
    }
}

/// One thing to do that needs the network.
enum Step {
    /// List the referrers of an artifact.
    List(ArtifactId, Descriptor),
    /// Read a referrer's own manifest and have it verified.
    Examine { id: ArtifactId, subject: Descriptor, referrer: Descriptor, verifiers: Vec<Arc<dyn Verifier>> },
}

/// What a step brought.
enum Done {
    Listed(ArtifactId, Result<Listed, Fault>),
    Examined(ArtifactId, Read, Vec<Finding>),
}

/// A walk under way. Steps run concurrently and own what they need; only this struct writes to the report.
struct Walk<'a> {
    executor: &'a Executor,
    repository: &'a Repository,
    now: SystemTime,
    deadline: Instant,
    report: Report,
    steps: VecDeque<Step>,
}

impl<'a> Walk<'a> {
    async fn run(&mut self) {
        if self.executor.policy.is_satisfied(&self.report) {
            return;
        }
        self.ask_for_referrers(Report::SUBJECT);
        let mut under_way: FuturesUnordered<BoxFuture<'a, Done>> = FuturesUnordered::new();
        // A policy that can no longer hold has decided too, but what is left may still tell the user why.
        while !self.executor.policy.is_satisfied(&self.report) {
            while under_way.len() < self.executor.concurrency
                && let Some(step) = self.steps.pop_front()
            {
                under_way.push(self.start(step));
            }
            match under_way.next().await {
                Some(done) => self.record(done),
                None => break,
            }
        }
    }

    fn start(&self, step: Step) -> BoxFuture<'a, Done> {
        let (store, repository) = (self.executor.store.as_ref(), self.repository);
        let (now, deadline) = (self.now, self.deadline);
        match step {
            Step::List(id, subject) => Box::pin(async move {
                Done::Listed(id, store.referrers(repository, &subject.digest, deadline).await.map_err(Fault::from))
            }),
            Step::Examine { id, subject, referrer, verifiers } => Box::pin(async move {
                let (read, findings) = examine(store, repository, &subject, &referrer, &verifiers, now, deadline).await;
                Done::Examined(id, read, findings)
            }),
        }
    }

    fn record(&mut self, done: Done) {
        match done {
            Done::Listed(id, listed) => self.record_list(id, listed),
            Done::Examined(id, read, findings) => {
                if let Some(artifact) = self.report.get_mut(id) {
                    artifact.manifest = read;
                    artifact.findings = findings;
                }
                if self.executor.policy.wants_referrers(&self.report, id) {
                    self.ask_for_referrers(id);
                }
            }
        }
    }

    fn record_list(&mut self, id: ArtifactId, listed: Result<Listed, Fault>) {
        let listing = match listed {
            Ok(Listed { candidates, .. }) if self.report.len().saturating_add(candidates.len()) > limits::ARTIFACTS => {
                let cause = format!("more than {} artifacts refer to the image", limits::ARTIFACTS);
                Listing::Fault(Fault::of(Class::Malformed, cause))
            }
            Ok(Listed { candidates, stale }) => {
                let known = candidates.into_iter().map(|candidate| self.add(id, candidate)).collect();
                match stale {
                    None => Listing::Whole(known),
                    Some(Stale { age, left, cause }) => {
                        let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
                        let fault = format!("the list of referrers is {age} old, because {cause}");
                        Listing::Stale { known, fault: Fault::of(cause.class(), fault), left }
                    }
                }
            }
            Err(fault) => Listing::Fault(fault),
        };
        if let Some(artifact) = self.report.get_mut(id) {
            artifact.referrers = listing;
        }
    }

    /// Takes a candidate into the report and onto the list of things to do.
    fn add(&mut self, parent: ArtifactId, referrer: Descriptor) -> ArtifactId {
        let id = self.report.add(parent, referrer.clone());
        let wanted: HashSet<&str> = self.executor.policy.verifiers_for(&self.report, id).into_iter().collect();
        // Who has said something of every image here has nothing to say of one.
        let said = |name: &str| self.report.get(Report::SUBJECT).is_some_and(|subject| subject.has_finding_by(name));
        let asked = |verifier: &&Arc<dyn Verifier>| wanted.contains(verifier.name()) && !said(verifier.name());
        let verifiers: Vec<_> = self.executor.verifiers.iter().filter(asked).cloned().collect();
        if let Some(subject) = self.report.get(parent).map(|artifact| artifact.descriptor.clone()) {
            self.steps.push_back(Step::Examine { id, subject, referrer, verifiers });
        }
        id
    }

    fn ask_for_referrers(&mut self, id: ArtifactId) {
        let too_deep = self.report.depth(id) >= limits::DEPTH;
        let Some(artifact) = self.report.get_mut(id) else { return };
        if too_deep {
            artifact.referrers =
                Listing::Fault(Fault::new(format!("referrers are nested more than {} levels deep", limits::DEPTH)));
        } else {
            artifact.referrers = Listing::Pending;
            self.steps.push_back(Step::List(id, artifact.descriptor.clone()));
        }
    }
}

/// Reads a candidate's own manifest, which alone decides its type and its subject, and has it verified.
async fn examine(
    store: &dyn Store,
    repository: &Repository,
    subject: &Descriptor,
    referrer: &Descriptor,
    verifiers: &[Arc<dyn Verifier>],
    now: SystemTime,
    deadline: Instant,
) -> (Read, Vec<Finding>) {
    let manifest = match read(store, repository, referrer, deadline).await {
        Ok(manifest) => manifest,
        Err(fault) => return (Read::Fault(fault), Vec::new()),
    };
    match &manifest.subject {
        Some(stated) if stated.digest == subject.digest => {}
        Some(stated) => return (Read::Unrelated(format!("its own manifest refers to {}", stated.digest)), Vec::new()),
        None => return (Read::Unrelated("its own manifest refers to nothing".to_owned()), Vec::new()),
    }
    let candidate = Candidate { store, repository, subject, referrer, manifest: &manifest, now, deadline };
    let accepting = verifiers.iter().filter(|verifier| verifier.accepts(&manifest.artifact_type));
    let findings = join_all(accepting.map(async |verifier| {
        let outcome: Outcome = verifier.verify(candidate).await;
        Finding { verifier: verifier.name().to_owned(), outcome }
    }));
    let findings = findings.await;
    (Read::Known(manifest.artifact_type.clone()), findings)
}

async fn read(
    store: &dyn Store,
    repository: &Repository,
    referrer: &Descriptor,
    deadline: Instant,
) -> Result<Manifest, Fault> {
    let bytes = store.manifest(repository, referrer, deadline).await?;
    // Whatever the store is, what is judged has the digest that it was asked for by.
    store::check("manifest", referrer, &bytes)?;
    Manifest::parse(&referrer.media_type, &bytes).map_err(Fault::new)
}
