//! The seam to where artifacts lie. A store answers four questions about one repository; it checks every byte
//! against its digest and every size against its bound, and decides nothing.

#[cfg(feature = "layout")]
pub mod layout;
#[cfg(feature = "runner")]
pub mod plugin;
#[cfg(feature = "registry")]
pub mod registry;

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest;
use bytes::Bytes;
use tokio::time::Instant;

use crate::artifact::{Algorithm, Descriptor, Digest};
use crate::reference::{Reference, Repository};
use crate::report::Fault;
use crate::verdict::Class;

/// Where artifacts lie: a registry, an OCI layout. An answer comes by `deadline`, or an error that says what was waited
/// for.
#[async_trait]
pub trait Store: Send + Sync {
    /// The descriptor of what a reference names now. The digest is computed over the bytes, never taken from a header.
    async fn resolve(&self, reference: &Reference, deadline: Instant) -> Result<Descriptor, Error>;

    /// The candidates for referrers of `subject`: all of them, or an error. Nothing that the list says of a
    /// candidate is to be believed: its own manifest decides its type and its subject.
    async fn referrers(&self, repository: &Repository, subject: &Digest, deadline: Instant) -> Result<Listed, Error>;

    /// The bytes of a manifest: they have the descriptor's digest and size.
    async fn manifest(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        deadline: Instant,
    ) -> Result<Bytes, Error>;

    /// The bytes of a blob: they have the descriptor's digest and size. A descriptor of more than `limit` bytes
    /// is refused before anything is asked for.
    async fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        limit: u64,
        deadline: Instant,
    ) -> Result<Bytes, Error>;
}

/// The candidates for referrers of one digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// All of them, each digest once.
    pub candidates: Vec<Descriptor>,
    /// Set where they are not what the registry says now, but what it said last.
    pub stale: Option<Stale>,
}

impl From<Vec<Descriptor>> for Listed {
    fn from(candidates: Vec<Descriptor>) -> Self {
        Self { candidates, stale: None }
    }
}

/// What is known of a list that could not be asked for again. What it names counts; what it does not name may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// How long ago it was asked for.
    pub age: Duration,
    /// How long it may still be used.
    pub left: Duration,
    /// Why there is no newer one.
    pub cause: Error,
}

/// Why a store could not answer. Each is a fault to the walk: the check could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The connection failed or ended early, or nothing came in time.
    #[error("{what}: {cause}")]
    Network {
        /// What was asked of whom.
        what: String,
        /// What went wrong.
        cause: String,
    },
    /// The registry asks to be asked less.
    #[error("{what}: the registry is throttling (429){}{}; try again later or raise its limits", says(said), asks(*after))]
    Throttled {
        /// What was asked of whom.
        what: String,
        /// What the registry says about it; empty if nothing.
        said: String,
        /// How long it wants to be left alone, where it says so.
        after: Option<Duration>,
    },
    /// The registry wants credentials, or other ones.
    #[error("{what}: the registry refuses access ({status}){}{}", says(said), also(shown))]
    Refused {
        /// What was asked of whom.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says about it; empty if nothing.
        said: String,
        /// What it was shown, in words that hold no secret, and the mend; empty if that is not known.
        shown: String,
    },
    /// There is no such thing.
    #[error("{what}: not found")]
    NotFound {
        /// What was asked of whom.
        what: String,
    },
    /// Another answer than the protocol knows.
    #[error("{what}: the registry answers with status {status}{}", says(said))]
    Status {
        /// What was asked of whom.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says about it; empty if nothing.
        said: String,
    },
    /// The bytes are not those that the digest names.
    #[error("{what}: the content has digest {found} instead of {expected}")]
    Digest {
        /// What was asked of whom.
        what: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// The content is longer or shorter than its descriptor says.
    #[error("{what}: the content has {found} bytes, its descriptor says {expected}")]
    Size {
        /// What was asked of whom.
        what: String,
        /// The size asked for, in bytes.
        expected: u64,
        /// The size of what came, in bytes; of an endless body, what was read.
        found: u64,
    },
    /// More than the bound.
    #[error("{what}: more than the limit of {limit} {unit}")]
    TooLarge {
        /// What was asked of whom.
        what: String,
        /// The bound.
        limit: u64,
        /// The unit of the bound.
        unit: &'static str,
    },
    /// A plugin that is a store was not run, or gave no answer.
    #[error("{what}: {cause}")]
    Plugin {
        /// What was asked of whom.
        what: String,
        /// What went wrong.
        cause: Fault,
    },
    /// An answer that cannot be read.
    #[error("{what}: {cause}")]
    Malformed {
        /// What was asked of whom.
        what: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl Error {
    /// Whether the registry could not be reached or is broken, so that what it said last may be better than nothing. A
    /// registry that answers is heard, whatever it says.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Network { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Throttled { .. }
            | Self::Refused { .. }
            | Self::NotFound { .. }
            | Self::Digest { .. }
            | Self::Size { .. }
            | Self::TooLarge { .. }
            | Self::Plugin { .. }
            | Self::Malformed { .. } => false,
        }
    }

    /// What kind of cause it is, for counting.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Network { .. } => Class::Network,
            Self::Throttled { .. } => Class::Throttled,
            Self::Refused { .. } => Class::Refused,
            Self::NotFound { .. } => Class::NotFound,
            Self::Status { .. } => Class::Status,
            Self::Plugin { cause, .. } => cause.class(),
            Self::Digest { .. } | Self::Size { .. } | Self::TooLarge { .. } | Self::Malformed { .. } => {
                Class::Malformed
            }
        }
    }
}

/// A registry's own words within a sentence of ours.
fn says(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" and says {said:?}") }
}

/// How long a registry wants to be left alone.
fn asks(after: Option<Duration>) -> String {
    after.map_or_else(String::new, |after| format!(" and asks to wait {} s", after.as_secs()))
}

fn also(shown: &str) -> String {
    if shown.is_empty() { String::new() } else { format!("; {shown}") }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::of(error.class(), error)
    }
}

/// The digest of some bytes, by the algorithm of another digest.
#[must_use]
pub fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let (name, algorithm) = match algorithm {
        Algorithm::Sha256 => ("sha256", &digest::SHA256),
        Algorithm::Sha512 => ("sha512", &digest::SHA512),
    };
    Digest::from_hash(name, digest::digest(algorithm, bytes).as_ref())
}

/// Checks that bytes are what a descriptor names: first the size, then the digest.
///
/// # Errors
/// [`Error::Size`] or [`Error::Digest`], with `what` as given.
pub fn check(what: &str, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), Error> {
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if found != descriptor.size {
        return Err(Error::Size { what: what.to_owned(), expected: descriptor.size, found });
    }
    let found = digest_of(descriptor.digest.algorithm(), bytes);
    if found != descriptor.digest {
        return Err(Error::Digest { what: what.to_owned(), expected: descriptor.digest.clone(), found });
    }
    Ok(())
}
