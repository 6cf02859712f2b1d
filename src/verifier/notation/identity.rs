//! Trusted identities: which signers an operator names (trust store and trust policy specification, "Trusted
//! Identities Constraints"). Read when configuration is assembled, asked for each signature. Never compares by
//! anything but whole values, byte by byte.

use std::fmt;

use crate::pki::Name;
use crate::pki::name::{AttributeType, BadName, Value, parse};

/// The signers that are trusted, among those whose chain is.
#[derive(Clone, Debug)]
pub(super) enum Identities {
    /// Any of them: `*`.
    Any,
    /// Those whose subject has all attributes of one of these.
    Subjects(Vec<Subject>),
}

/// One `x509.subject: ...` of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    written: String,
    attributes: Vec<(AttributeType, String)>,
}

/// Why text is no trusted identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// Another kind of identity, or none.
    #[error("expected \"x509.subject: C=..., ST=..., O=...\", or \"*\" alone")]
    UnknownKind,
    /// Not a distinguished name.
    #[error(transparent)]
    Name(BadName),
    /// An attribute type is there twice.
    #[error("{0} is given twice")]
    Duplicate(AttributeType),
    /// An attribute is missing that must be there.
    #[error("{0} is missing: an identity must name at least C, ST and O")]
    Missing(AttributeType),
}

impl Subject {
    /// Parses one identity; none is one of another kind, which no certificate has and a plugin may know.
    pub(super) fn parse(written: &str) -> Result<Option<Self>, BadIdentity> {
        let Some(name) = written.strip_prefix(X509_SUBJECT) else {
            return if is_other_kind(written) { Ok(None) } else { Err(BadIdentity::UnknownKind) };
        };
        let attributes = parse(name).map_err(BadIdentity::Name)?;
        for (index, (kind, _)) in attributes.iter().enumerate() {
            if attributes.iter().take(index).any(|(other, _)| other == kind) {
                return Err(BadIdentity::Duplicate(*kind));
            }
        }
        for required in [AttributeType::COUNTRY, AttributeType::STATE, AttributeType::ORGANIZATION] {
            if !attributes.iter().any(|(kind, _)| *kind == required) {
                return Err(BadIdentity::Missing(required));
            }
        }
        Ok(Some(Self { written: written.to_owned(), attributes }))
    }

    /// Whether every certificate that the other one allows is allowed by this one: then they overlap. This is what
    /// notation refuses. Two identities that only share some certificates overlap too by the specification's words,
    /// but do no harm, and notation takes them.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.attributes.iter().all(|attribute| other.attributes.contains(attribute))
    }

    fn allows(&self, subject: &Name) -> bool {
        self.attributes.iter().all(|(kind, expected)| {
            subject.attributes().iter().any(|(found, value)| found == kind && *value == Value::Text(expected.clone()))
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Identities {
    /// Whether a signer is trusted.
    ///
    /// # Errors
    /// Why not, in words. A subject with an attribute type twice is refused, as notation refuses it: two readers of
    /// it need not take the same one.
    pub(super) fn allow(&self, signer: &Name) -> Result<(), String> {
        let subjects = match self {
            Self::Any => return Ok(()),
            Self::Subjects(subjects) => subjects,
        };
        let attributes = signer.attributes();
        for (index, (kind, _)) in attributes.iter().enumerate() {
            let known = matches!(kind, AttributeType::Known(_));
            if known && attributes.iter().take(index).any(|(other, _)| other == kind) {
                return Err(format!(
                    "the signer {signer} has {kind} twice in its subject, so no identity can match it"
                ));
            }
        }
        if subjects.iter().any(|subject| subject.allows(signer)) {
            return Ok(());
        }
        if subjects.is_empty() {
            return Err(format!("no trusted identity is of a kind that the signer {signer} could have: x509.subject"));
        }
        let expected: Vec<String> = subjects.iter().map(Subject::to_string).collect();
        Err(format!("the signer {signer} is none of the trusted identities: {}", expected.join("; ")))
    }
}

/// "Other types of trusted identities may be supported, by using an alternate prefix": a word and a value, such as
/// `arn:aws:signer:...`. What looks like a slip of the pen in [`X509_SUBJECT`] is none.
fn is_other_kind(written: &str) -> bool {
    let of_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c);
    written.split_once(':').is_some_and(|(kind, value)| {
        let is_slip = kind.contains("509") || kind.contains("subj");
        !kind.is_empty() && kind.chars().all(of_word) && !is_slip && !value.trim().is_empty()
    })
}

const X509_SUBJECT: &str = "x509.subject:";
