//! DSSE envelopes and the in-toto statements in them, as Cosign 3 signs images and as all versions attest. Called by
//! whatever reads a signature. Never checks a signature, and never takes an envelope with several: which of them would
//! count is a question that two readers may answer in two ways.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::artifact::Digest;
use crate::json;

/// An envelope with exactly one signature. Nothing of it is known to be true yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: String,
    /// What is signed, with its type.
    pub payload: Vec<u8>,
    /// The signature over [`Envelope::pae`].
    pub signature: Vec<u8>,
}

/// An envelope as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    payload_type: String,
    payload: String,
    signatures: Vec<WrittenSignature>,
}

#[derive(Deserialize)]
struct WrittenSignature {
    sig: String,
}

/// Why bytes are no envelope or statement that can be judged.
#[derive(Debug, thiserror::Error)]
pub enum BadEnvelope {
    /// Not JSON of the form that must stand there.
    #[error("the {part} is not JSON of the expected form: {cause}")]
    Json {
        /// Where.
        part: &'static str,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// Not base64.
    #[error("the {part} of the DSSE envelope is not base64: {cause}")]
    Base64 {
        /// Where.
        part: &'static str,
        /// What is wrong with it.
        cause: base64::DecodeError,
    },
    /// None, or more than one.
    #[error("the DSSE envelope has {0} signatures, expected one")]
    Signatures(usize),
    /// A payload of another kind.
    #[error("the DSSE envelope holds {0:?}, expected {PAYLOAD_TYPE:?}")]
    PayloadType(String),
    /// A statement of another kind.
    #[error("the statement is of type {0:?}, expected {V1:?} or {V0_1:?}")]
    StatementType(String),
}

impl Envelope {
    /// Parses an envelope. The caller has bounded its size.
    ///
    /// # Errors
    /// See [`BadEnvelope`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadEnvelope> {
        let written: Written =
            json::from_slice(bytes).map_err(|cause| BadEnvelope::Json { part: "DSSE envelope", cause })?;
        Self::of(written)
    }

    /// Decodes an envelope.
    ///
    /// # Errors
    /// See [`BadEnvelope`].
    pub fn of(written: Written) -> Result<Self, BadEnvelope> {
        let decode = |part, text: &str| STANDARD.decode(text).map_err(|cause| BadEnvelope::Base64 { part, cause });
        let [signature] = written.signatures.as_slice() else {
            return Err(BadEnvelope::Signatures(written.signatures.len()));
        };
        Ok(Self {
            payload: decode("payload", &written.payload)?,
            signature: decode("signature", &signature.sig)?,
            payload_type: written.payload_type,
        })
    }

    /// What is signed: the pre-authentication encoding (DSSE, "Signature Definition").
    #[must_use]
    pub fn pae(&self) -> Vec<u8> {
        let Self { payload_type, payload, .. } = self;
        let mut encoded = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
        encoded.extend_from_slice(payload);
        encoded
    }
}

/// An in-toto statement: something that is said of some artifacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What kind of thing is said.
    pub predicate_type: String,
    /// Of what.
    pub subjects: Vec<Subject>,
    /// What.
    pub predicate: Value,
}

/// An artifact that a statement speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Subject {
    /// Its name, where the signer gave one.
    #[serde(default)]
    pub name: String,
    /// Its digests: algorithm and lowercase hexadecimal digits.
    #[serde(default)]
    pub digest: BTreeMap<String, String>,
    /// What else the signer says of it.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenStatement {
    #[serde(rename = "_type")]
    statement_type: String,
    #[serde(default)]
    subject: Vec<Subject>,
    predicate_type: String,
    #[serde(default)]
    predicate: Value,
}

impl Statement {
    /// Reads the statement in an envelope.
    ///
    /// # Errors
    /// See [`BadEnvelope`].
    pub fn of(envelope: &Envelope) -> Result<Self, BadEnvelope> {
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(BadEnvelope::PayloadType(envelope.payload_type.clone()));
        }
        let written: WrittenStatement = json::from_slice(&envelope.payload)
            .map_err(|cause| BadEnvelope::Json { part: "in-toto statement", cause })?;
        if written.statement_type != V1 && written.statement_type != V0_1 {
            return Err(BadEnvelope::StatementType(written.statement_type));
        }
        Ok(Self { predicate_type: written.predicate_type, subjects: written.subject, predicate: written.predicate })
    }

    /// The subject that is the artifact of a digest.
    #[must_use]
    pub fn names(&self, digest: &Digest) -> Option<&Subject> {
        let (algorithm, hex) = digest.as_str().split_once(':')?;
        self.subjects.iter().find(|subject| subject.digest.get(algorithm).is_some_and(|found| found == hex))
    }
}

/// The payload type of in-toto statements (in-toto, "Envelope layer").
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Statements as they are written now.
const V1: &str = "https://in-toto.io/Statement/v1";

/// Statements as they were written first; Cosign attests so.
const V0_1: &str = "https://in-toto.io/Statement/v0.1";
