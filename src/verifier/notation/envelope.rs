//! What every signature envelope says, whatever its encoding: made by the readers of encodings, judged by
//! [`super::verify`]. Never holds anything that was not signed, but for the certificates, which prove themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::signature::{self, VerificationAlgorithm};
use serde_json::Value;

use super::cbor::BadCbor;
use crate::limits;
use crate::pki::{BadCertificate, Certificate, Curve, KeyKind};

/// An envelope that could be read. Nothing of it is known to be true yet.
#[derive(Debug)]
pub(super) struct Envelope {
    /// The algorithm that it states.
    pub(super) algorithm: Algorithm,
    /// The signer's certificate, then its issuers up to the root; at least one.
    pub(super) chain: Vec<Certificate>,
    /// What the signature covers.
    pub(super) signed: Vec<u8>,
    /// The signature.
    pub(super) signature: Vec<u8>,
    /// The payload, a JSON document.
    pub(super) payload: Vec<u8>,
    /// By which rules it was made.
    pub(super) scheme: Scheme,
    /// When it was made: by the signer's own clock, or under [`Scheme::SigningAuthority`] an authentic time.
    pub(super) signing_time: SystemTime,
    /// From when on the signer no longer wants it to be believed.
    pub(super) expiry: Option<SystemTime>,
    /// The verification plugin without which it must not be believed.
    pub(super) demand: Option<Demand>,
    /// The timestamp countersignature, not signed by the signer.
    pub(super) timestamp: Option<Vec<u8>>,
}

/// A signing scheme of the specification ("Supported Signing Scheme").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `notary.x509`: by the signer.
    X509,
    /// `notary.x509.signingAuthority`: by a service that is trusted to sign for others.
    SigningAuthority,
}

impl Scheme {
    /// The word in envelopes.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::X509 => "notary.x509",
            Self::SigningAuthority => "notary.x509.signingAuthority",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A verification plugin that a signature demands ("Extended attributes for *Notation* Plugins").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    /// Its name.
    pub(super) plugin: String,
    /// The least version of it.
    pub(super) min_version: Option<String>,
    /// Critical attributes that only the plugin understands.
    pub(super) attributes: BTreeMap<String, Value>,
}

/// A signature algorithm of the specification ("Signature Algorithm Requirements").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on secp256r1 with SHA-256.
    Es256,
    /// ECDSA on secp384r1 with SHA-384.
    Es384,
    /// ECDSA on secp521r1 with SHA-512.
    Es512,
}

impl Algorithm {
    /// All of them.
    pub(super) const ALL: [Self; 6] = [Self::Ps256, Self::Ps384, Self::Ps512, Self::Es256, Self::Es384, Self::Es512];

    /// The one algorithm that a key may sign with ("Algorithm Selection").
    pub(super) fn of(key: KeyKind) -> Option<Self> {
        match key {
            KeyKind::Rsa { bits: 2048 } => Some(Self::Ps256),
            KeyKind::Rsa { bits: 3072 } => Some(Self::Ps384),
            KeyKind::Rsa { bits: 4096 } => Some(Self::Ps512),
            KeyKind::Rsa { .. } => None,
            KeyKind::Ec(Curve::P256) => Some(Self::Es256),
            KeyKind::Ec(Curve::P384) => Some(Self::Es384),
            KeyKind::Ec(Curve::P521) => Some(Self::Es512),
        }
    }

    /// The primitive; ECDSA signatures are `r || s` (RFC 7518, section 3.4).
    pub(super) fn primitive(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }

    /// The algorithm of a name as JWS writes it.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why bytes are no envelope that can be judged.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadEnvelope {
    /// More than [`limits::ENVELOPE_BYTES`].
    #[error("the signature envelope has {0} bytes, the limit is {limit}", limit = limits::ENVELOPE_BYTES)]
    TooLarge(usize),
    /// Not JSON of the form that must stand there.
    #[error("{part} of the signature envelope cannot be read: {cause}")]
    Json {
        /// Where.
        part: &'static str,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// Not a tagged COSE_Sign1 that holds its payload (RFC 9052, section 4.2).
    #[error(
        "the signature envelope is no COSE_Sign1_Tagged: a protected header, an unprotected header, the payload, the signature"
    )]
    NotSign1,
    /// Not CBOR of the form that must stand there.
    #[error("{part} of the signature envelope cannot be read: {cause}")]
    Cbor {
        /// Where.
        part: &'static str,
        /// What is wrong with it.
        cause: BadCbor,
    },
    /// Not base64 of the kind that must stand there.
    #[error("{part} of the signature envelope is not base64 as it must be: {cause}")]
    Base64 {
        /// Where.
        part: &'static str,
        /// What is wrong with it.
        cause: base64::DecodeError,
    },
    /// A header that must be there.
    #[error("header {0} is missing from the signature envelope")]
    Missing(&'static str),
    /// A header that must not be there under this signing scheme.
    #[error("header {name} must not be given with signing scheme {scheme}")]
    Misplaced {
        /// Its name.
        name: &'static str,
        /// The scheme.
        scheme: Scheme,
    },
    /// A header of another form.
    #[error("header {name} of the signature envelope must be {expected}")]
    Header {
        /// Its name.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A header with a value that must not stand there.
    #[error("header {name} of the signature envelope is {found:?}, expected {expected}")]
    Value {
        /// Its name.
        name: &'static str,
        /// What it is, shortened.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The same header protected and unprotected (RFC 7515, section 7.2.1).
    #[error("header {0:?} is given twice, protected and unprotected")]
    TwoHeaders(String),
    /// A critical header that is not known (signature specification, "Extended attributes").
    #[error(
        "header {0:?} is marked critical, and this verifier does not know it as such: the signature cannot be judged without it"
    )]
    UnknownCritical(String),
    /// A critical header that is not there.
    #[error("header {0:?} is marked critical, but is not given")]
    AbsentCritical(String),
    /// A critical header for a plugin that is no primitive value of JSON.
    #[error(
        "critical header {0:?} must be text, a number, true, false or null: no other value can be given to a plugin"
    )]
    Attribute(String),
    /// A header twice in the list of critical ones.
    #[error("header {0:?} is marked critical twice")]
    DuplicateCritical(String),
    /// A header that must be marked critical and is not.
    #[error("header {0} must be marked critical")]
    NotCritical(&'static str),
    /// More than [`limits::CHAIN_CERTIFICATES`].
    #[error("the signature envelope has {0} certificates, the limit is {limit}", limit = limits::CHAIN_CERTIFICATES)]
    TooManyCertificates(usize),
    /// Not a certificate.
    #[error("certificate {number} of the signature envelope: {cause}")]
    Certificate {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        cause: BadCertificate,
    },
    /// It would expire before it was made.
    #[error("the signature expires at {expiry}, which is not after its signing time {signing}")]
    ExpiryBeforeSigning {
        /// When it was made, RFC 3339.
        signing: String,
        /// When it expires, RFC 3339.
        expiry: String,
    },
}
