//! Walks the graph of referrers of one image: list referrers, read each one's own manifest, ask the verifiers whose
//! findings the policy counts there, record what they found, go on to that referrer's referrers, and stop as soon as
//! the policy is satisfied or the time is spent. Called by admission; knows no mode and remembers nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use crate::artifact::{Descriptor, Manifest};
use crate::limits;
use crate::policy::Policy;
use crate::reference::{Reference, Repository};
use crate::report::{ArtifactId, Elsewhere, Fault, Finding, Listing, Outcome, Read, Report};
use crate::room::{Kind, Turn};
use crate::store::{self, Listed, Stale, Store};
use crate::verdict::{Class, Conclusion};
use crate::verifier::{Attempts, Candidate, Verifier};

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
        let (steps, attempts) = (VecDeque::new(), HashMap::new());
        let turn = Arc::default();
        let mut walk = Walk { executor: self, repository, now, deadline, report, steps, attempts, turn };
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
    /// List the referrers of an artifact, or look elsewhere for evidence on it.
    List(ArtifactId, Descriptor, Option<Elsewhere>),
    /// Read a referrer's own manifest and have it verified.
    Examine(ArtifactId, Examined, Vec<Asked>),
}

/// A candidate to be examined.
struct Examined {
    subject: Descriptor,
    referrer: Descriptor,
    /// Where it was found, if not on the list of the subject's referrers.
    found: Option<Elsewhere>,
    /// The turn of the walk's large manifests.
    turn: Arc<Turn>,
}

/// A verifier that is asked about a candidate, and what it has judged of the subject so far.
struct Asked {
    verifier: Arc<dyn Verifier>,
    attempts: Arc<Attempts>,
}

/// What a step brought.
enum Done {
    Listed(ArtifactId, Option<Elsewhere>, Result<Listed, Fault>),
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
    /// By the artifact that is spoken of, and the verifier's name.
    attempts: HashMap<(ArtifactId, String), Arc<Attempts>>,
    turn: Arc<Turn>,
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
            Step::List(id, subject, place) => Box::pin(async move {
                let listed = list(store, repository, &subject, place.as_ref(), deadline).await;
                Done::Listed(id, place, listed.map_err(Fault::from))
            }),
            Step::Examine(id, examined, asked) => Box::pin(async move {
                let (read, findings) = examine(store, repository, &examined, &asked, now, deadline).await;
                Done::Examined(id, read, findings)
            }),
        }
    }

    fn record(&mut self, done: Done) {
        match done {
            Done::Listed(id, place, listed) => self.record_list(id, place, listed),
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

    fn record_list(&mut self, id: ArtifactId, place: Option<Elsewhere>, listed: Result<Listed, Fault>) {
        let listing = match listed {
            Ok(Listed { candidates, .. }) if self.report.len().saturating_add(candidates.len()) > limits::ARTIFACTS => {
                let cause = format!("more than {} artifacts refer to the image", limits::ARTIFACTS);
                Listing::Fault(Fault::of(Class::Malformed, cause))
            }
            Ok(Listed { candidates, stale }) => {
                let known = candidates.into_iter().map(|candidate| self.add(id, candidate, place.as_ref())).collect();
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
        let Some(artifact) = self.report.get_mut(id) else { return };
        match place {
            None => artifact.referrers = listing,
            Some(place) => {
                artifact
                    .elsewhere
                    .iter_mut()
                    .filter(|(known, _)| *known == place)
                    .for_each(|(_, at)| *at = listing.clone());
            }
        }
    }

    /// Takes a candidate into the report and onto the list of things to do.
    fn add(&mut self, parent: ArtifactId, referrer: Descriptor, found: Option<&Elsewhere>) -> ArtifactId {
        let id = self.report.add_found(parent, referrer.clone(), found.cloned());
        let Some(subject) = self.report.get(parent).map(|artifact| artifact.descriptor.clone()) else { return id };
        let is_asked = |verifier: &Arc<dyn Verifier>| {
            found.is_none_or(|place| verifier.elsewhere(self.repository, &subject.digest).contains(place))
        };
        let asked: Vec<_> = self.verifiers_below(parent).into_iter().filter(is_asked).collect();
        let asked = asked.into_iter().map(|verifier| {
            let attempts = self.attempts.entry((parent, verifier.name().to_owned())).or_default();
            Asked { attempts: Arc::clone(attempts), verifier }
        });
        let asked = asked.collect();
        let examined = Examined { subject, referrer, found: found.cloned(), turn: Arc::clone(&self.turn) };
        self.steps.push_back(Step::Examine(id, examined, asked));
        id
    }

    /// The verifiers whose findings on the referrers of an artifact count.
    fn verifiers_below(&self, id: ArtifactId) -> Vec<Arc<dyn Verifier>> {
        let wanted: HashSet<&str> = self.executor.policy.verifiers_below(&self.report, id).into_iter().collect();
        // Who has said something of every image here has nothing to say of one.
        let said = |name: &str| self.report.get(Report::SUBJECT).is_some_and(|subject| subject.has_finding_by(name));
        let counts = |verifier: &&Arc<dyn Verifier>| wanted.contains(verifier.name()) && !said(verifier.name());
        self.executor.verifiers.iter().filter(counts).cloned().collect()
    }

    /// Asks for the list of an artifact's referrers and looks wherever else evidence on it may lie, all at once.
    fn ask_for_referrers(&mut self, id: ArtifactId) {
        let too_deep = self.report.depth(id) >= limits::DEPTH;
        let verifiers = self.verifiers_below(id);
        let Some(artifact) = self.report.get_mut(id) else { return };
        if too_deep {
            artifact.referrers =
                Listing::Fault(Fault::new(format!("referrers are nested more than {} levels deep", limits::DEPTH)));
            return;
        }
        artifact.referrers = Listing::Pending;
        self.steps.push_back(Step::List(id, artifact.descriptor.clone(), None));
        for place in verifiers.iter().flat_map(|it| it.elsewhere(self.repository, &artifact.descriptor.digest)) {
            if artifact.elsewhere.iter().all(|(known, _)| *known != place) {
                artifact.elsewhere.push((place.clone(), Listing::Pending));
                self.steps.push_back(Step::List(id, artifact.descriptor.clone(), Some(place)));
            }
        }
    }
}

/// What a place names. A tag that is not there names nothing.
async fn list(
    store: &dyn Store,
    repository: &Repository,
    subject: &Descriptor,
    place: Option<&Elsewhere>,
    deadline: Instant,
) -> Result<Listed, store::Error> {
    match place {
        None => store.referrers(repository, &subject.digest, deadline).await,
        Some(Elsewhere::Referrers(other)) => store.referrers(other, &subject.digest, deadline).await,
        Some(Elsewhere::Tag(repository, tag)) => {
            let tag = Reference { repository: repository.clone(), tag: Some(tag.clone()), digest: None };
            match store.resolve(&tag, deadline).await {
                Ok(found) => Ok(vec![found].into()),
                Err(store::Error::NotFound { .. }) => Ok(Vec::new().into()),
                Err(error) => Err(error),
            }
        }
    }
}

/// Reads a candidate's own manifest, which alone decides its type and its subject, and has it verified. What stands at a
/// tag has no subject: who named the tag knows how it is bound.
async fn examine(
    store: &dyn Store,
    repository: &Repository,
    examined: &Examined,
    asked: &[Asked],
    now: SystemTime,
    deadline: Instant,
) -> (Read, Vec<Finding>) {
    let Examined { subject, referrer, found, turn } = examined;
    let lies_in = found.as_ref().map_or(repository, Elsewhere::repository);
    let _room = match turn.room(Kind::Manifest, referrer.size, deadline).await {
        Ok(room) => room,
        Err(fault) => return (Read::Fault(fault), Vec::new()),
    };
    let manifest = match read(store, lies_in, referrer, deadline).await {
        Ok(manifest) => manifest,
        Err(fault) => return (Read::Fault(fault), Vec::new()),
    };
    let is_tagged = matches!(found, Some(Elsewhere::Tag(..)));
    match &manifest.subject {
        _ if is_tagged => {}
        Some(stated) if stated.digest == subject.digest => {}
        Some(stated) => return (Read::Unrelated(format!("its own manifest refers to {}", stated.digest)), Vec::new()),
        None => return (Read::Unrelated("its own manifest refers to nothing".to_owned()), Vec::new()),
    }
    let accepting = asked.iter().filter(|asked| is_tagged || asked.verifier.accepts(&manifest.artifact_type));
    let findings = join_all(accepting.map(async |Asked { verifier, attempts }| {
        let (manifest, found) = (&manifest, found.as_ref());
        let candidate = Candidate { store, repository, subject, referrer, found, manifest, attempts, now, deadline };
        let name = verifier.name();
        let finding = |outcome: Outcome| Finding { verifier: name.to_owned(), outcome };
        verifier.verify(candidate).await.into_iter().map(finding).collect::<Vec<_>>()
    }));
    let findings = findings.await.concat();
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
