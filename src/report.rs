//! What a walk found: the subject, its referrers, each verifier's finding. Grown beside the walk,
//! judged by the policy, drawn by `ratifyctl`. Plain data, no rules.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::artifact::Descriptor;
use crate::reference::Repository;
use crate::verdict::{self, Class};

/// A check that could not be made: network, throttled, malformed, unsupported. It counts as not satisfied
/// and is never invisible to the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
#[must_use]
pub struct Fault {
    cause: String,
    class: Class,
}

impl Fault {
    /// A fault with its cause in words, cut to [`crate::limits::CAUSE_BYTES`]: a hostile registry is quoted in it.
    pub fn new(cause: impl fmt::Display) -> Self {
        Self::of(Class::Unchecked, cause)
    }

    /// A fault of a known kind.
    pub fn of(class: Class, cause: impl fmt::Display) -> Self {
        Self { cause: verdict::brief(&cause.to_string()), class }
    }

    /// Of what kind it is, for counting.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }
}

impl From<String> for Fault {
    fn from(cause: String) -> Self {
        Self::new(cause)
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.cause
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

/// What one verifier says of one artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The verifier's configured name.
    pub verifier: String,
    /// What it came to.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    /// The artifact is what the verifier asks for.
    Passed(Pass),
    /// It was not looked at, because the configuration says so by name: no evidence is asked for.
    Skipped {
        /// What says so.
        cause: String,
    },
    /// It is not; another artifact may still be.
    Failed(Failure),
    /// It could not be checked.
    Fault {
        /// Why not.
        cause: Fault,
    },
}

/// A passed check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pass {
    /// What was found, in words: who signed, which level.
    pub detail: String,
    /// Who vouches, where the check is of a signature: one signer never counts for two rules of a policy.
    /// A key's fingerprint, so that two certificates of one key are one signer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signer: Option<String>,
    /// The name that the signer's certificate vouches for: two keys of one name are one signer too.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<String>,
    /// The first moment at which the finding no longer holds, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub valid_until: Option<u64>,
    /// What did not hold, and by the configuration is only logged.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub logged: Vec<Logged>,
}

/// A part of a check that did not hold and that the configuration does not enforce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Logged {
    /// The part.
    pub validation: Validation,
    /// Why it did not hold.
    pub cause: String,
}

/// The parts of checking a signature that a configuration may enforce or only log (Notary Project's "validations").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Validation {
    /// By someone who is trusted.
    Authenticity,
    /// Made while its certificates were valid.
    AuthenticTimestamp,
    /// Not past the end that the signer gave it.
    Expiry,
    /// By certificates that their issuers have not taken back.
    Revocation,
}

impl Validation {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authenticity => "authenticity",
            Self::AuthenticTimestamp => "authenticTimestamp",
            Self::Expiry => "expiry",
            Self::Revocation => "revocation",
        }
    }
}

/// A failed check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// How far the check came: of several failures the furthest is the most specific reason.
    pub stage: Stage,
    /// Why it failed, in words that name the thing and the mend.
    pub cause: String,
}

/// How far a check came before it failed, from "it could not even be read" to "all but the last rule held".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// The artifact is not of the form that its type promises.
    Form,
    /// The signature does not fit its own content, or its certificates break the rules.
    Integrity,
    /// It is sound, but says something about another artifact.
    Subject,
    /// It speaks of this artifact, but by nobody who is trusted.
    Authenticity,
    /// The signer is trusted, but not an identity that is asked for.
    Identity,
    /// The signer is trusted, but does not state what is asked for.
    Metadata,
    /// All of it held once, and no longer does.
    Expiry,
    /// A certificate was taken back by its issuer.
    Revocation,
    /// All that can be seen here held, but not what a plugin that the signature demands would have to see.
    Plugin,
    /// It was not judged: there are more candidates than are looked at.
    Limit,
}

/// Where an artifact stands in a [`Report`].
pub type ArtifactId = usize;

/// Where evidence on an artifact may lie besides the list of its referrers in its own repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Elsewhere {
    /// On the list of its referrers that another repository has.
    Referrers(Repository),
    /// At a tag. What is found there need not refer to anything: its content alone says what it speaks of.
    Tag(Repository, String),
}

impl Elsewhere {
    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        match self {
            Self::Referrers(repository) | Self::Tag(repository, _) => repository,
        }
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Referrers(repository) => write!(f, "{repository}"),
            Self::Tag(repository, tag) => write!(f, "{repository}:{tag}"),
        }
    }
}

/// One artifact of the walk.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// What it is.
    pub descriptor: Descriptor,
    /// The artifact that it refers to; none for the subject of the walk.
    pub parent: Option<ArtifactId>,
    /// Its own manifest's answer.
    pub manifest: Read,
    /// The list of its referrers.
    pub referrers: Listing,
    /// Where else evidence on it was looked for, each place once, and what was found there.
    pub elsewhere: Vec<(Elsewhere, Listing)>,
    /// Where it was found itself, if not on the list of its parent's referrers.
    pub found: Option<Elsewhere>,
    /// What verifiers said of it.
    pub findings: Vec<Finding>,
}

impl Artifact {
    /// Of all places where evidence on it may lie, what was found there.
    pub fn listings(&self) -> impl Iterator<Item = &Listing> {
        [&self.referrers].into_iter().chain(self.elsewhere.iter().map(|(_, listing)| listing))
    }

    /// What is known to be in any of these places.
    pub fn known(&self) -> impl Iterator<Item = ArtifactId> {
        self.listings().flat_map(Listing::known).copied()
    }

    /// Whether a verifier has said something of it.
    #[must_use]
    pub fn has_finding_by(&self, verifier: &str) -> bool {
        self.findings.iter().any(|finding| finding.verifier == verifier)
    }
}

/// Whether an artifact's own manifest was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Not yet.
    Pending,
    /// It was, and names this artifact type.
    Known(String),
    /// It was, and does not refer to the artifact whose list names it: no referrer, whatever the list says.
    Unrelated(String),
    /// It could not be.
    Fault(Fault),
}

/// The list of an artifact's referrers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Nobody needs it.
    NotAsked,
    /// Asked for, not there yet.
    Pending,
    /// All of it is known.
    Whole(Vec<ArtifactId>),
    /// What it was when the registry could last be asked. Nothing that rests on absence may use it: there may be more.
    Stale {
        /// What it named.
        known: Vec<ArtifactId>,
        /// How old it is, and why there is no newer one.
        fault: Fault,
        /// How long it may still be used.
        left: Duration,
    },
    /// It could not be had, or not all of it.
    Fault(Fault),
}

impl Listing {
    /// What is known to be on it.
    #[must_use]
    pub fn known(&self) -> &[ArtifactId] {
        match self {
            Self::Whole(known) | Self::Stale { known, .. } => known,
            Self::NotAsked | Self::Pending | Self::Fault(_) => &[],
        }
    }
}

/// The artifacts of one walk; the first is its subject.
#[derive(Clone, Debug)]
pub struct Report {
    artifacts: Vec<Artifact>,
}

impl Report {
    /// The id of the walk's subject.
    pub const SUBJECT: ArtifactId = 0;

    /// A report on a subject of which nothing is known yet.
    #[must_use]
    pub fn new(subject: Descriptor) -> Self {
        let subject = Artifact {
            descriptor: subject,
            parent: None,
            manifest: Read::Known(String::new()),
            referrers: Listing::NotAsked,
            elsewhere: Vec::new(),
            found: None,
            findings: Vec::new(),
        };
        Self { artifacts: vec![subject] }
    }

    /// Adds a candidate that a list of `parent`'s referrers names.
    pub fn add(&mut self, parent: ArtifactId, descriptor: Descriptor) -> ArtifactId {
        self.add_found(parent, descriptor, None)
    }

    /// Adds a candidate for evidence on `parent`, and where it was found if not on the list of its referrers.
    pub fn add_found(&mut self, parent: ArtifactId, descriptor: Descriptor, found: Option<Elsewhere>) -> ArtifactId {
        self.artifacts.push(Artifact {
            descriptor,
            parent: Some(parent),
            manifest: Read::Pending,
            referrers: Listing::NotAsked,
            elsewhere: Vec::new(),
            found,
            findings: Vec::new(),
        });
        self.artifacts.len() - 1
    }

    /// One artifact. Ids come from this report alone, so there is always one.
    #[must_use]
    pub fn get(&self, id: ArtifactId) -> Option<&Artifact> {
        self.artifacts.get(id)
    }

    /// One artifact, to be added to.
    pub fn get_mut(&mut self, id: ArtifactId) -> Option<&mut Artifact> {
        self.artifacts.get_mut(id)
    }

    /// All artifacts, the subject first.
    #[must_use]
    pub fn artifacts(&self) -> &[Artifact] {
        &self.artifacts
    }

    /// How many artifacts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.artifacts.len()
    }

    /// Never: the subject is always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// How deep an artifact lies; the subject is at 0.
    #[must_use]
    pub fn depth(&self, id: ArtifactId) -> usize {
        std::iter::successors(self.get(id), |artifact| artifact.parent.and_then(|parent| self.get(parent)))
            .count()
            .saturating_sub(1)
    }

    /// All findings, with the artifact that each speaks of.
    pub fn findings(&self) -> impl Iterator<Item = (&Artifact, &Finding)> {
        self.artifacts.iter().flat_map(|artifact| artifact.findings.iter().map(move |finding| (artifact, finding)))
    }

    /// The report as a tree, to be shown or sent.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.branch(Self::SUBJECT)
    }

    fn branch(&self, id: ArtifactId) -> Tree {
        let Some(artifact) = self.get(id) else { return Tree::default() };
        let (artifact_type, fault) = match &artifact.manifest {
            Read::Known(artifact_type) => (artifact_type.clone(), None),
            Read::Pending => (String::new(), Some("not read: the answer was known before".to_owned())),
            Read::Unrelated(cause) => (String::new(), Some(cause.clone())),
            Read::Fault(fault) => (String::new(), Some(fault.to_string())),
        };
        let referrers = artifact.known().map(|child| self.branch(child)).collect();
        let pending =
            (artifact.referrers == Listing::Pending).then(|| "the list of referrers was not waited for".to_owned());
        let listings = artifact.listings().filter_map(|listing| match listing {
            Listing::Fault(fault) | Listing::Stale { fault, .. } => Some(fault.to_string()),
            Listing::Pending | Listing::Whole(_) | Listing::NotAsked => None,
        });
        let faults: Vec<String> = fault.into_iter().chain(pending).chain(listings).collect();
        Tree {
            digest: artifact.descriptor.digest.to_string(),
            media_type: artifact.descriptor.media_type.clone(),
            artifact_type,
            note: (!faults.is_empty()).then(|| faults.join("; ")),
            found_at: artifact.found.as_ref().map(Elsewhere::to_string),
            findings: artifact.findings.clone(),
            referrers,
        }
    }
}

/// A report as a tree: artifact, its findings, its referrers. This is the JSON of `ratifyctl --output json`
/// and `explain`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tree {
    /// The artifact's digest.
    pub digest: String,
    /// Its manifest's media type.
    pub media_type: String,
    /// Its artifact type; empty for the subject.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub artifact_type: String,
    /// Why it, or the list of its referrers, could not be read, where that is so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// Where it was found, if not on the list of referrers: a tag, or another repository.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub found_at: Option<String>,
    /// What verifiers said of it.
    pub findings: Vec<Finding>,
    /// Its referrers that were looked at.
    pub referrers: Vec<Tree>,
}

impl Tree {
    /// About how many bytes it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let findings = self.findings.iter().map(|finding| match &finding.outcome {
            Outcome::Passed(pass) => {
                pass.logged.iter().map(|logged| logged.cause.len()).fold(pass.detail.len(), usize::saturating_add)
            }
            Outcome::Skipped { cause } => cause.len(),
            Outcome::Failed(failure) => failure.cause.len(),
            Outcome::Fault { cause } => cause.cause.len(),
        });
        let own = [self.digest.len(), self.media_type.len(), self.artifact_type.len(), std::mem::size_of::<Self>()];
        let note = [&self.note, &self.found_at].into_iter().flatten().map(String::len).fold(0, usize::saturating_add);
        let below = self.referrers.iter().map(Self::weight);
        own.into_iter().chain([note]).chain(findings).chain(below).fold(0, usize::saturating_add)
    }
}
