//! Sigstore bundles as they are written (protobuf specification, `sigstore_bundle.proto`, in the JSON of proto3): a signature
//! with all that is needed to judge it. Called by whatever reads a signature. Nothing of it is known to be true yet, and
//! nothing is checked here but the form.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use serde_json::Value;

use super::dsse::Envelope;
use super::log::{LogEntry, Malformed};
use crate::pki::{BadCertificate, Certificate};
use crate::{json, limits};

/// A signature and what comes with it.
#[derive(Clone, Debug)]
pub struct Signature {
    /// What was signed how.
    pub content: Content,
    /// By whom.
    pub material: Material,
    /// What transparency logs say of it.
    pub entries: Vec<LogEntry>,
    /// What timestamp authorities say of it: TimeStampResp each.
    pub timestamps: Vec<Vec<u8>>,
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An envelope, which holds what was signed.
    Dsse(Envelope),
    /// Something that lies elsewhere.
    Message {
        /// Its digest, as whoever made the bundle says.
        digest: Option<MessageDigest>,
        /// The signature over it.
        signature: Vec<u8>,
    },
}

impl Content {
    /// The bytes of the signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        match self {
            Self::Dsse(envelope) => &envelope.signature,
            Self::Message { signature, .. } => signature,
        }
    }
}

/// A digest by which whoever made the bundle names what was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageDigest {
    /// The hash function.
    pub algorithm: HashName,
    /// The digest.
    pub bytes: Vec<u8>,
}

/// A hash function that names what was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashName {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// What says who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// A key that must be known already.
    Key {
        /// What may help to find it; it proves nothing.
        hint: Option<String>,
    },
    /// A certificate.
    Certificate {
        /// The signer's.
        leaf: Certificate,
        /// Others that may lead to somebody trusted.
        chain: Vec<Certificate>,
    },
}

/// Why bytes are no bundle that can be judged.
#[derive(Debug, thiserror::Error)]
pub enum BadBundle {
    /// More than [`limits::BUNDLE_BYTES`].
    #[error("the bundle has {0} bytes, the limit is {limit}", limit = limits::BUNDLE_BYTES)]
    TooLarge(usize),
    /// Not JSON of the form that it must have.
    #[error("the bundle is not JSON of the expected form: {0}")]
    Json(serde_json::Error),
    /// Of another kind or version.
    #[error("the bundle states media type {0:?}, expected {V0_3:?}, or {BASE:?} with version 0.1, 0.2 or 0.3")]
    MediaType(String),
    /// Something is missing, or there is too much of it.
    #[error("the bundle has {found}, expected {expected}")]
    Form {
        /// What is there.
        found: String,
        /// What must be.
        expected: &'static str,
    },
    /// A version of bundles asks for something else.
    #[error("a bundle of version {version} has {expected}, and this one has not")]
    Version {
        /// The version.
        version: Version,
        /// What it must have.
        expected: &'static str,
    },
    /// A certificate that cannot be read.
    #[error("certificate {number} of the bundle: {cause}")]
    Certificate {
        /// Counted from 1.
        number: usize,
        /// Why not.
        cause: BadCertificate,
    },
    /// An entry of a log that cannot be read.
    #[error("log entry {number} of the bundle: {cause}")]
    Entry {
        /// Counted from 1.
        number: usize,
        /// Why not.
        cause: Malformed,
    },
    /// The key is named twice, in two ways.
    #[error("the bundle hints at key {hint:?}, and its envelope at {keyid:?}")]
    Hints {
        /// Beside the envelope.
        hint: String,
        /// In it.
        keyid: String,
    },
}

/// The version of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.1.
    V0_1,
    /// 0.2.
    V0_2,
    /// 0.3.
    V0_3,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_1 => "0.1",
            Self::V0_2 => "0.2",
            Self::V0_3 => "0.3",
        })
    }
}

impl Signature {
    /// Reads a bundle. What it does not know is refused, as other readers of this form do.
    ///
    /// # Errors
    /// See [`BadBundle`].
    pub fn from_bundle(bytes: &[u8]) -> Result<Self, BadBundle> {
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limits::BUNDLE_BYTES {
            return Err(BadBundle::TooLarge(bytes.len()));
        }
        let written: Written = json::from_slice_of(bytes, limits::BUNDLE_VALUES).map_err(BadBundle::Json)?;
        let media_type = written.media_type.unwrap_or_default();
        let version =
            version(&media_type).ok_or_else(|| BadBundle::MediaType(media_type.chars().take(200).collect()))?;
        let content = content(written.message_signature, written.dsse_envelope)?;
        let Some(material) = written.verification_material else {
            return Err(form("no verificationMaterial", "one"));
        };
        let entries = entries(version, material.tlog_entries.unwrap_or_default())?;
        let stamps = material.timestamp_verification_data.and_then(|data| data.rfc3161_timestamps).unwrap_or_default();
        if stamps.len() > limits::TIMESTAMPS {
            return Err(form(format!("{} timestamps", stamps.len()), "at most 32"));
        }
        let timestamps = stamps.into_iter().map(|stamp| stamp.signed_timestamp.unwrap_or_default().0).collect();
        let material = signer(version, material.public_key, material.certificate, material.x509_certificate_chain)?;
        check_hints(&material, &content)?;
        Ok(Self { content, material, entries, timestamps })
    }
}

fn version(media_type: &str) -> Option<Version> {
    if media_type == V0_3 {
        return Some(Version::V0_3);
    }
    match media_type.strip_prefix(BASE)?.strip_prefix(";version=")? {
        "0.1" => Some(Version::V0_1),
        "0.2" => Some(Version::V0_2),
        "0.3" => Some(Version::V0_3),
        _ => None,
    }
}

fn content(message: Option<WrittenMessage>, envelope: Option<WrittenEnvelope>) -> Result<Content, BadBundle> {
    match (message, envelope) {
        (None, Some(envelope)) => envelope.read().map(Content::Dsse),
        (Some(message), None) => {
            let signature = message.signature.unwrap_or_default().0;
            if signature.is_empty() {
                return Err(form("an empty signature", "one"));
            }
            Ok(Content::Message { digest: message.message_digest.map(WrittenDigest::read).transpose()?, signature })
        }
        (None, None) => Err(form("neither a messageSignature nor a dsseEnvelope", "one of them")),
        (Some(_), Some(_)) => Err(form("both a messageSignature and a dsseEnvelope", "one of them")),
    }
}

/// Version 0.1 has a promise for each entry, all later ones a proof (`sigstore_bundle.proto`, `tlog_entries`).
fn entries(version: Version, written: Vec<Value>) -> Result<Vec<LogEntry>, BadBundle> {
    if written.len() > limits::LOG_ENTRIES {
        return Err(form(format!("{} log entries", written.len()), "at most 32"));
    }
    let mut entries: Vec<LogEntry> = Vec::new();
    for (number, entry) in (1..).zip(&written) {
        let entry = LogEntry::parse(entry).map_err(|cause| BadBundle::Entry { number, cause })?;
        if entries.iter().any(|other| other.is_same_as(&entry)) {
            return Err(form("one log entry twice", "each once"));
        }
        match version {
            Version::V0_1 if !entry.has_promise() => {
                return Err(BadBundle::Version { version, expected: "an inclusionPromise in each log entry" });
            }
            Version::V0_2 | Version::V0_3 if !entry.has_proof() => {
                return Err(BadBundle::Version { version, expected: "an inclusionProof in each log entry" });
            }
            _ => entries.push(entry),
        }
    }
    Ok(entries)
}

/// Version 0.3 has the signer's certificate alone, those before it a list that begins with it.
fn signer(
    version: Version,
    key: Option<WrittenKey>,
    certificate: Option<WrittenCertificate>,
    chain: Option<WrittenChain>,
) -> Result<Material, BadBundle> {
    match (key, certificate, chain) {
        (Some(key), None, None) => {
            let hint = key.hint.filter(|hint| !hint.is_empty());
            match hint.as_ref().map(String::len) {
                Some(length) if length > limits::KEY_HINT_BYTES => {
                    Err(form(format!("a hint of {length} bytes at its key"), "at most 512"))
                }
                _ => Ok(Material::Key { hint }),
            }
        }
        (None, Some(_), None) if version < Version::V0_3 => {
            Err(BadBundle::Version { version, expected: "its certificate in x509CertificateChain" })
        }
        (None, Some(certificate), None) => Ok(Material::Certificate { leaf: certificate.read(1)?, chain: Vec::new() }),
        (None, None, Some(_)) if version >= Version::V0_3 => {
            Err(BadBundle::Version { version, expected: "one certificate and no x509CertificateChain" })
        }
        (None, None, Some(chain)) => chain.read(),
        (None, None, None) => Err(form("neither a publicKey nor a certificate", "one of them")),
        _ => Err(form("more than one of publicKey, certificate and x509CertificateChain", "one of them")),
    }
}

/// "the key hints MUST be exactly the same in the verification material and in the DSSE envelope"; cosign leaves the
/// second one out.
fn check_hints(material: &Material, content: &Content) -> Result<(), BadBundle> {
    let (Material::Key { hint: Some(hint) }, Content::Dsse(Envelope { keyid: Some(keyid), .. })) = (material, content)
    else {
        return Ok(());
    };
    if hint == keyid {
        return Ok(());
    }
    Err(BadBundle::Hints { hint: hint.clone(), keyid: keyid.chars().take(limits::KEY_HINT_BYTES).collect() })
}

fn form(found: impl Into<String>, expected: &'static str) -> BadBundle {
    BadBundle::Form { found: found.into(), expected }
}

/// A bundle as it is written. A member that is null is one that is not there (ProtoJSON, "JSON Options"); names may be
/// those of the fields as well.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(alias = "media_type")]
    media_type: Option<String>,
    #[serde(alias = "verification_material")]
    verification_material: Option<WrittenMaterial>,
    #[serde(alias = "message_signature")]
    message_signature: Option<WrittenMessage>,
    #[serde(alias = "dsse_envelope")]
    dsse_envelope: Option<WrittenEnvelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenMaterial {
    #[serde(alias = "public_key")]
    public_key: Option<WrittenKey>,
    #[serde(alias = "x509_certificate_chain")]
    x509_certificate_chain: Option<WrittenChain>,
    certificate: Option<WrittenCertificate>,
    #[serde(alias = "tlog_entries")]
    tlog_entries: Option<Vec<Value>>,
    #[serde(alias = "timestamp_verification_data")]
    timestamp_verification_data: Option<WrittenStamps>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    hint: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenChain {
    certificates: Option<Vec<WrittenCertificate>>,
}

impl WrittenChain {
    /// Roots in it are passed over: "Verifiers SHOULD handle ... superfluous ... certificates by ... ignoring them".
    fn read(self) -> Result<Material, BadBundle> {
        let written = self.certificates.unwrap_or_default();
        if written.len() > limits::CHAIN_CERTIFICATES {
            return Err(form(format!("{} certificates", written.len()), "at most 16"));
        }
        let mut certificates = (1..).zip(&written).map(|(number, certificate)| certificate.read(number));
        let leaf = certificates.next().ok_or_else(|| form("no certificate in its x509CertificateChain", "one"))??;
        Ok(Material::Certificate { leaf, chain: certificates.collect::<Result<_, _>>()? })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenCertificate {
    #[serde(alias = "raw_bytes")]
    raw_bytes: Option<Bytes>,
}

impl WrittenCertificate {
    fn read(&self, number: usize) -> Result<Certificate, BadBundle> {
        let der = self.raw_bytes.as_ref().map(|bytes| bytes.0.as_slice()).unwrap_or_default();
        Certificate::from_der(der).map_err(|cause| BadBundle::Certificate { number, cause })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenStamps {
    #[serde(alias = "rfc3161_timestamps")]
    rfc3161_timestamps: Option<Vec<WrittenStamp>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenStamp {
    #[serde(alias = "signed_timestamp")]
    signed_timestamp: Option<Bytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenMessage {
    #[serde(alias = "message_digest")]
    message_digest: Option<WrittenDigest>,
    signature: Option<Bytes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDigest {
    algorithm: Option<Value>,
    digest: Option<Bytes>,
}

impl WrittenDigest {
    /// An enum by its name or its number (`sigstore_common.proto`, `HashAlgorithm`).
    fn read(self) -> Result<MessageDigest, BadBundle> {
        let name = self.algorithm.as_ref().and_then(Value::as_str);
        let number = self.algorithm.as_ref().and_then(Value::as_u64);
        let (algorithm, length) = match (name, number) {
            (Some("SHA2_256"), _) | (_, Some(1)) => (HashName::Sha256, 32),
            (Some("SHA2_384"), _) | (_, Some(2)) => (HashName::Sha384, 48),
            (Some("SHA2_512"), _) | (_, Some(3)) => (HashName::Sha512, 64),
            _ => return Err(form("a messageDigest by another hash function", "SHA2_256, SHA2_384 or SHA2_512")),
        };
        let bytes = self.digest.unwrap_or_default().0;
        if bytes.len() != length {
            return Err(form("a messageDigest of another length than its hash function's", "the digest"));
        }
        Ok(MessageDigest { algorithm, bytes })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenEnvelope {
    payload: Option<Bytes>,
    payload_type: Option<String>,
    signatures: Option<Vec<WrittenSignature>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSignature {
    sig: Option<Bytes>,
    keyid: Option<String>,
}

impl WrittenEnvelope {
    /// "DSSE envelopes in a bundle MUST have exactly one signature."
    fn read(self) -> Result<Envelope, BadBundle> {
        let mut signatures = self.signatures.unwrap_or_default();
        let (Some(signature), None) = (signatures.pop(), signatures.pop()) else {
            return Err(form("a DSSE envelope with more or less than one signature", "one"));
        };
        let bytes = signature.sig.unwrap_or_default().0;
        if bytes.is_empty() {
            return Err(form("an empty signature", "one"));
        }
        Ok(Envelope {
            payload_type: self.payload_type.unwrap_or_default(),
            payload: self.payload.unwrap_or_default().0,
            signature: bytes,
            keyid: signature.keyid.filter(|keyid| !keyid.is_empty()),
        })
    }
}

/// Bytes as ProtoJSON writes them: base64 of either alphabet, with or without padding.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(BytesVisitor)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
        let decoded = match (text.contains(['-', '_']), text.len().is_multiple_of(4)) {
            (false, true) => STANDARD.decode(text),
            (false, false) => STANDARD_NO_PAD.decode(text),
            (true, true) => URL_SAFE.decode(text),
            (true, false) => URL_SAFE_NO_PAD.decode(text),
        };
        decoded.map(Bytes).map_err(|error| E::custom(format_args!("no base64: {error}")))
    }
}

/// What bundles say they are now.
const V0_3: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// What they said before, in front of their version.
const BASE: &str = "application/vnd.dev.sigstore.bundle+json";

#[cfg(test)]
mod tests;
