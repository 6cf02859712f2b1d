//! The entry of a transparency log as it comes with a signature: in a bundle (Sigstore, "protobuf-specs",
//! `TransparencyLogEntry`), or as Cosign's older signatures have it in an annotation. Called by the readers of signatures.
//! Takes nothing of it for true.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::artifact::hex;
use crate::{json, limits};

/// An entry that could be parsed. Nothing is known yet to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The log's identifier.
    pub(super) log_id: [u8; 32],
    /// The index in the log, over all its shards.
    pub(super) index: u64,
    /// When it was entered; not to be believed without a promise.
    pub(super) time: SystemTime,
    /// The same in seconds.
    seconds: u64,
    /// Its kind and version, where they stand beside it.
    pub(super) kind: Option<String>,
    /// What the log keeps.
    pub(super) body: Vec<u8>,
    /// The signature of the log's promise.
    pub(super) promise: Option<Vec<u8>>,
    pub(super) proof: Option<Proof>,
}

/// An inclusion proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// The index in the tree.
    pub(super) index: u64,
    /// How many leaves the tree has.
    pub(super) size: u64,
    /// The tree's hash.
    pub(super) root: [u8; 32],
    pub(super) hashes: Vec<[u8; 32]>,
    pub(super) checkpoint: String,
}

/// Why something is no log entry.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not JSON of the form that must stand there.
    #[error("it is not of the expected form: {0}")]
    Json(#[from] serde_json::Error),
    /// A field that must be there.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// Not base64.
    #[error("its {field} is not base64: {cause}")]
    Base64 {
        /// Where.
        field: &'static str,
        /// What is wrong with it.
        cause: base64::DecodeError,
    },
    /// Not a SHA-256.
    #[error("its {field} has {found} bytes, expected 32")]
    Hash {
        /// Where.
        field: &'static str,
        /// How many bytes there are.
        found: usize,
    },
    /// Not the hexadecimal digits of a SHA-256.
    #[error("its logID is {0:?}, expected 64 lowercase hexadecimal digits")]
    LogId(String),
    /// More than [`limits::LOG_BODY_BYTES`].
    #[error("its body has {0} bytes, the limit is {limit}", limit = limits::LOG_BODY_BYTES)]
    Body(usize),
    /// More than [`limits::LOG_PROOF_HASHES`].
    #[error("its inclusion proof has {0} hashes, the limit is {limit}", limit = limits::LOG_PROOF_HASHES)]
    Hashes(usize),
    /// A time that no clock shows.
    #[error("its integratedTime {0} is no time")]
    Time(u64),
}

impl LogEntry {
    /// Reads one of a bundle's `tlogEntries`. Who parsed the bundle has bounded its size.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse(entry: &Value) -> Result<Self, Malformed> {
        let written = Written::deserialize(entry)?;
        let log_id = written.log_id.and_then(|id| id.key_id).ok_or(Malformed::Missing("logId"))?;
        let log_id = hash("logId.keyId", decode("logId.keyId", &log_id)?)?;
        let kind = written.kind_version.ok_or(Malformed::Missing("kindVersion"))?;
        let body = written.canonicalized_body.filter(|body| !body.is_empty());
        let body = body.ok_or(Malformed::Missing("canonicalizedBody"))?;
        let promise = written.inclusion_promise.and_then(|promise| promise.signed_entry_timestamp);
        let promise = promise.filter(|promise| !promise.is_empty());
        let (seconds, time) = moment(written.integrated_time)?;
        Ok(Self {
            log_id,
            index: written.log_index,
            time,
            seconds,
            kind: Some(format!("{} {}", kind.kind, kind.version)),
            body: bounded(decode("canonicalizedBody", &body)?)?,
            promise: promise.map(|promise| decode("signedEntryTimestamp", &promise)).transpose()?,
            proof: written.inclusion_proof.map(Proof::read).transpose()?,
        })
    }

    /// Reads the annotation `dev.sigstore.cosign/bundle` of Cosign's older signatures (Cosign, "Signature Specification"):
    /// an entry with a promise.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn from_legacy(annotation: &[u8]) -> Result<Self, Malformed> {
        let written: Annotation = json::from_slice(annotation)?;
        let payload = written.payload;
        let log_id = unhex(&payload.log_id).ok_or(Malformed::LogId(payload.log_id))?;
        let (seconds, time) = moment(payload.integrated_time)?;
        Ok(Self {
            log_id,
            index: payload.log_index,
            time,
            seconds,
            kind: None,
            body: bounded(decode("body", &payload.body)?)?,
            promise: Some(decode("SignedEntryTimestamp", &written.signed_entry_timestamp)?),
            proof: None,
        })
    }

    /// Whether a promise of the log is there: it alone makes a time authentic.
    #[must_use]
    pub fn has_promise(&self) -> bool {
        self.promise.is_some()
    }

    /// Whether a proof is there.
    #[must_use]
    pub fn has_proof(&self) -> bool {
        self.proof.is_some()
    }

    /// Whether another entry is at the same place of the same log.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        (self.log_id, self.index) == (other.log_id, other.index)
    }

    /// What a promise signs, in canonical JSON: nothing in it needs escapes.
    pub(super) fn promised(&self) -> String {
        let (body, id) = (STANDARD.encode(&self.body), hex(&self.log_id));
        let (time, index) = (self.seconds, self.index);
        format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{id}","logIndex":{index}}}"#)
    }
}

impl Proof {
    fn read(written: WrittenProof) -> Result<Self, Malformed> {
        let root = written.root_hash.ok_or(Malformed::Missing("inclusionProof.rootHash"))?;
        let checkpoint = written.checkpoint.and_then(|checkpoint| checkpoint.envelope);
        let hashes = written.hashes.unwrap_or_default();
        if hashes.len() > limits::LOG_PROOF_HASHES {
            return Err(Malformed::Hashes(hashes.len()));
        }
        let hash_of = |field, text: &str| hash(field, decode(field, text)?);
        Ok(Self {
            index: written.log_index,
            size: written.tree_size,
            root: hash_of("inclusionProof.rootHash", &root)?,
            hashes: hashes.iter().map(|text| hash_of("inclusionProof.hashes", text)).collect::<Result<_, _>>()?,
            checkpoint: checkpoint.ok_or(Malformed::Missing("inclusionProof.checkpoint"))?,
        })
    }
}

/// A bundle's entry. Fields that are not here are passed over: documents gain fields. A zero may be left out
/// (ProtoJSON, "Presence and default-values").
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default, deserialize_with = "number")]
    log_index: u64,
    log_id: Option<WrittenId>,
    kind_version: Option<WrittenKind>,
    #[serde(default, deserialize_with = "number")]
    integrated_time: u64,
    inclusion_promise: Option<WrittenPromise>,
    inclusion_proof: Option<WrittenProof>,
    canonicalized_body: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenId {
    key_id: Option<String>,
}

#[derive(Deserialize)]
struct WrittenKind {
    kind: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPromise {
    signed_entry_timestamp: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenProof {
    #[serde(default, deserialize_with = "number")]
    log_index: u64,
    root_hash: Option<String>,
    #[serde(default, deserialize_with = "number")]
    tree_size: u64,
    hashes: Option<Vec<String>>,
    checkpoint: Option<WrittenCheckpoint>,
}

#[derive(Deserialize)]
struct WrittenCheckpoint {
    envelope: Option<String>,
}

/// An older signature's annotation.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Annotation {
    signed_entry_timestamp: String,
    payload: Payload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    body: String,
    #[serde(deserialize_with = "number")]
    integrated_time: u64,
    #[serde(deserialize_with = "number")]
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// An int64 that counts something: a string of digits, or a number.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Plain(u64),
        Text(String),
    }
    let bad = |found: Unexpected<'_>| D::Error::invalid_value(found, &"a whole number from 0 to 2^63 - 1");
    let number = match Number::deserialize(deserializer)? {
        Number::Plain(number) => number,
        Number::Text(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_err(|_| bad(Unexpected::Str(&text)))?
        }
        Number::Text(text) => return Err(bad(Unexpected::Str(&text))),
    };
    if i64::try_from(number).is_ok() { Ok(number) } else { Err(bad(Unexpected::Unsigned(number))) }
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, Malformed> {
    STANDARD.decode(text).map_err(|cause| Malformed::Base64 { field, cause })
}

fn hash(field: &'static str, bytes: Vec<u8>) -> Result<[u8; 32], Malformed> {
    let found = bytes.len();
    bytes.try_into().map_err(|_| Malformed::Hash { field, found })
}

fn bounded(body: Vec<u8>) -> Result<Vec<u8>, Malformed> {
    if body.len() > limits::LOG_BODY_BYTES { Err(Malformed::Body(body.len())) } else { Ok(body) }
}

fn moment(seconds: u64) -> Result<(u64, SystemTime), Malformed> {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    time.map(|time| (seconds, time)).ok_or(Malformed::Time(seconds))
}

/// The bytes that lowercase hexadecimal digits stand for.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok()
}
