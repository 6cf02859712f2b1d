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

/// One identity of the configuration: `x509.subject: ...`, or another kind, which only a plugin could match.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    written: String,
    /// None: of another kind.
    attributes: Option<Vec<(AttributeType, String)>>,
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
    /// An attribute is missing that must be there.
    #[error("{0} is missing: an identity must name at least C, ST and O")]
    Missing(AttributeType),
}

impl Subject {
    /// Parses one identity.
    pub(super) fn parse(written: &str) -> Result<Self, BadIdentity> {
        let (kind, name) = written.split_once(':').ok_or(BadIdentity::UnknownKind)?;
        if kind != X509_SUBJECT {
            // One in another case matches nobody, and is hardly meant so.
            return if kind.trim().is_empty() || kind.trim().eq_ignore_ascii_case(X509_SUBJECT) {
                Err(BadIdentity::UnknownKind)
            } else {
                Ok(Self { written: written.to_owned(), attributes: None })
            };
        }
        let attributes = parse(name).map_err(BadIdentity::Name)?;
        for required in [AttributeType::COUNTRY, AttributeType::STATE, AttributeType::ORGANIZATION] {
            if !attributes.iter().any(|(kind, _)| *kind == required) {
                return Err(BadIdentity::Missing(required));
            }
        }
        Ok(Self { written: written.to_owned(), attributes: Some(attributes) })
    }

    /// Whether every certificate that the other one allows is allowed by this one: then they overlap. This is what
    /// notation refuses. Two identities that only share some certificates overlap too by the specification's words,
    /// but do no harm, and notation takes them.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (&self.attributes, &other.attributes) {
            (Some(wide), Some(narrow)) => wide.iter().all(|attribute| narrow.contains(attribute)),
            _ => false,
        }
    }

    fn allows(&self, subject: &Name) -> bool {
        let Some(attributes) = &self.attributes else { return false };
        attributes.iter().all(|(kind, expected)| {
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

const X509_SUBJECT: &str = "x509.subject";
