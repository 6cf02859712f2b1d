//! How a `trusted_root.json` is written, and how its logs and authorities are read from it. Called by
//! [`super::TrustedRoot::parse`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use const_oid::db::rfc5912;
use der::Encode as _;
use der::asn1::{Any, BitString, Null};
use serde::Deserialize;
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::super::key::PublicKey;
use super::super::sha256;
use super::{Authority, BadRoot, KEY_ID_BYTES, Log, Validity, checkpoint_key_id};
use crate::limits;
use crate::pki::{Certificate, parse_rfc3339};

/// The document. Fields that are not here are passed over: documents gain fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    pub(super) media_type: Option<String>,
    pub(super) tlogs: Option<Vec<WrittenLog>>,
    pub(super) ctlogs: Option<Vec<WrittenLog>>,
    pub(super) certificate_authorities: Option<Vec<WrittenAuthority>>,
    pub(super) timestamp_authorities: Option<Vec<WrittenAuthority>>,
}

/// Why an entry is not taken.
pub(super) enum Refusal {
    /// It is of a kind that others may take.
    Kind(String),
    /// It is damaged.
    Bad(String),
}

/// The entries of a list; those of other kinds are named in `passed_over`.
pub(super) fn all<W, T>(
    list: &'static str,
    written: Option<Vec<W>>,
    passed_over: &mut Vec<String>,
    read: impl Fn(W) -> Result<T, Refusal>,
) -> Result<Vec<T>, BadRoot> {
    let written = written.unwrap_or_default();
    if written.len() > limits::TRUSTED_ROOT_ENTRIES {
        return Err(BadRoot::TooMany { list, found: written.len() });
    }
    let mut taken = Vec::new();
    for (index, entry) in written.into_iter().enumerate() {
        match read(entry) {
            Ok(entry) => taken.push(entry),
            Err(Refusal::Kind(found)) => passed_over.push(format!("{list}[{index}]: {found}")),
            Err(Refusal::Bad(problem)) => {
                return Err(BadRoot::Entry { place: format!("{list}[{index}]"), problem });
            }
        }
    }
    Ok(taken)
}

/// TransparencyLogInstance.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenLog {
    base_url: Option<String>,
    hash_algorithm: Option<String>,
    public_key: Option<WrittenKey>,
    log_id: Option<WrittenId>,
    checkpoint_key_id: Option<WrittenId>,
    operator: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenKey {
    raw_bytes: Option<String>,
    key_details: Option<String>,
    valid_for: Option<WrittenRange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenId {
    key_id: Option<String>,
}

#[derive(Deserialize)]
struct WrittenRange {
    start: Option<String>,
    end: Option<String>,
}

/// CertificateAuthority.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenAuthority {
    uri: Option<String>,
    cert_chain: Option<WrittenChain>,
    valid_for: Option<WrittenRange>,
    operator: Option<String>,
}

#[derive(Deserialize)]
struct WrittenChain {
    certificates: Option<Vec<WrittenCertificate>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenCertificate {
    raw_bytes: Option<String>,
}

/// How a log's identifier is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// The hash of its key, or the key ID of its checkpoints.
    Rekor,
    /// The hash of its key alone (RFC 6962, section 3.2).
    CertificateLog,
}

impl WrittenLog {
    pub(super) fn read(self, kind: Ids) -> Result<Log, Refusal> {
        let hash = self.hash_algorithm.unwrap_or_default();
        if hash != "SHA2_256" {
            return Err(Refusal::Kind(format!("its hashAlgorithm is {hash:?}, supported is SHA2_256")));
        }
        let written = self.public_key.ok_or_else(|| Refusal::Bad("it has no publicKey".to_owned()))?;
        let key = written.read()?;
        let valid_for = range(written.valid_for, "publicKey.validFor")?;
        let url = self.base_url.unwrap_or_default();
        let origins = if kind == Ids::Rekor { origins(&url) } else { Vec::new() };
        let mut ids = vec![sha256(&[key.der()])];
        ids.extend(origins.iter().map(|origin| checkpoint_key_id(&key, origin)));
        let log_id = bytes_of(self.log_id, "logId.keyId")?;
        let checkpoint_key_id = bytes_of(self.checkpoint_key_id, "checkpointKeyId.keyId")?;
        if log_id.is_none() && (checkpoint_key_id.is_none() || kind == Ids::CertificateLog) {
            return Err(Refusal::Bad("it has no logId".to_owned()));
        }
        for (field, declared) in [("logId.keyId", log_id), ("checkpointKeyId.keyId", checkpoint_key_id)] {
            // Key IDs of checkpoints are cut to four bytes, mostly.
            let is_own = |declared: &[u8]| {
                declared.len() >= KEY_ID_BYTES && ids.iter().any(|id| id.get(..declared.len()) == Some(declared))
            };
            if let Some(found) = declared.filter(|declared| !is_own(declared)) {
                let expected = ids.iter().map(|id| STANDARD.encode(id)).collect::<Vec<_>>().join(" or ");
                let found = STANDARD.encode(found);
                return Err(Refusal::Bad(format!("{field} is {found}, but its publicKey makes it {expected}")));
            }
        }
        Ok(Log { url, operator: self.operator.unwrap_or_default(), key, ids, origins, valid_for })
    }
}

impl WrittenKey {
    /// The key, by what keyDetails say of it.
    fn read(&self) -> Result<PublicKey, Refusal> {
        let bad = |problem: String| Refusal::Bad(format!("publicKey.rawBytes: {problem}"));
        let details = self.key_details.as_deref().unwrap_or_default();
        let Some((_, form, kind)) = KEY_DETAILS.iter().find(|(name, ..)| *name == details) else {
            return Err(Refusal::Kind(format!("its publicKey.keyDetails {details:?} are not supported")));
        };
        let bytes = decode(self.raw_bytes.as_deref()).map_err(bad)?;
        let key = match form {
            Form::Pkix => PublicKey::from_der(&bytes),
            Form::Pkcs1 => PublicKey::from_der(&around_pkcs1(&bytes).map_err(|error| bad(error.to_string()))?),
        };
        let key = key.map_err(|error| bad(error.to_string()))?;
        let found = key.to_string();
        let is_of_kind = if kind.ends_with('-') { found.starts_with(kind) } else { found == *kind };
        if is_of_kind { Ok(key) } else { Err(bad(format!("it is {found}, but keyDetails say {details}"))) }
    }
}

impl WrittenAuthority {
    pub(super) fn read(self) -> Result<Authority, Refusal> {
        let written = self.cert_chain.and_then(|chain| chain.certificates).unwrap_or_default();
        if written.is_empty() || written.len() > limits::CHAIN_CERTIFICATES {
            let limit = limits::CHAIN_CERTIFICATES;
            let found = written.len();
            return Err(Refusal::Bad(format!("its certChain has {found} certificates, expected 1 to {limit}")));
        }
        let mut chain = Vec::new();
        for (index, certificate) in written.into_iter().enumerate() {
            let place = format!("certChain.certificates[{index}]");
            let bytes = decode(certificate.raw_bytes.as_deref())
                .map_err(|problem| Refusal::Bad(format!("{place}.rawBytes: {problem}")))?;
            let certificate =
                Certificate::from_der(&bytes).map_err(|error| Refusal::Bad(format!("{place}: {error}")))?;
            if let Err(found) = certificate.key() {
                return Err(Refusal::Kind(format!("{place} has {found}, which is not supported")));
            }
            chain.push(certificate);
        }
        let valid_for = range(self.valid_for, "validFor")?;
        let (uri, operator) = (self.uri.unwrap_or_default(), self.operator.unwrap_or_default());
        Ok(Authority { uri, operator, chain, valid_for })
    }
}

fn decode(text: Option<&str>) -> Result<Vec<u8>, String> {
    let text = text.filter(|text| !text.is_empty()).ok_or("there is nothing in it")?;
    STANDARD.decode(text).map_err(|error| format!("it is not base64: {error}"))
}

fn bytes_of(id: Option<WrittenId>, field: &str) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(text) = id.and_then(|id| id.key_id).filter(|text| !text.is_empty()) else { return Ok(None) };
    decode(Some(&text)).map(Some).map_err(|problem| Refusal::Bad(format!("{field}: {problem}")))
}

fn range(written: Option<WrittenRange>, field: &str) -> Result<Validity, Refusal> {
    let Some(written) = written else { return Ok(Validity { start: None, end: None }) };
    let moment = |name: &str, text: Option<String>| match text {
        None => Ok(None),
        Some(text) => parse_rfc3339(&text).map(Some).ok_or_else(|| {
            Refusal::Bad(format!("{field}.{name} is {text:?}, expected a time such as 2026-11-21T15:56:33Z"))
        }),
    };
    let range = Validity { start: moment("start", written.start)?, end: moment("end", written.end)? };
    match (range.start, range.end) {
        (Some(start), Some(end)) if end < start => Err(Refusal::Bad(format!("{field} ends before it begins: {range}"))),
        _ => Ok(range),
    }
}

/// The names under which a log of an address may sign: the address without its scheme, and its host ("protobuf-specs",
/// `TransparencyLogInstance.base_url`).
pub(super) fn origins(url: &str) -> Vec<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/');
    let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let mut origins = Vec::new();
    for name in [rest, authority, host] {
        if !name.is_empty() && !origins.iter().any(|known| known == name) {
            origins.push(name.to_owned());
        }
    }
    origins
}

/// An RSAPublicKey (RFC 8017, appendix A.1.1) as SubjectPublicKeyInfo.
fn around_pkcs1(key: &[u8]) -> der::Result<Vec<u8>> {
    let algorithm = AlgorithmIdentifierOwned { oid: rfc5912::RSA_ENCRYPTION, parameters: Some(Any::from(Null)) };
    SubjectPublicKeyInfoOwned { algorithm, subject_public_key: BitString::from_bytes(key)? }.to_der()
}

/// How a key is written.
enum Form {
    /// SubjectPublicKeyInfo.
    Pkix,
    /// RSAPublicKey.
    Pkcs1,
}

/// What keyDetails may say ("protobuf-specs", `PublicKeyDetails`), and the key that must then be there.
const KEY_DETAILS: [(&str, Form, &str); 16] = [
    ("PKIX_ECDSA_P256_SHA_256", Form::Pkix, "EC P-256"),
    ("PKIX_ECDSA_P384_SHA_384", Form::Pkix, "EC P-384"),
    ("PKIX_ECDSA_P384_SHA_256", Form::Pkix, "EC P-384"),
    ("PKIX_ECDSA_P521_SHA_512", Form::Pkix, "EC P-521"),
    ("PKIX_ECDSA_P521_SHA_256", Form::Pkix, "EC P-521"),
    ("PKIX_ED25519", Form::Pkix, "Ed25519"),
    ("PKIX_RSA_PKCS1V15_2048_SHA256", Form::Pkix, "RSA-2048"),
    ("PKIX_RSA_PKCS1V15_3072_SHA256", Form::Pkix, "RSA-3072"),
    ("PKIX_RSA_PKCS1V15_4096_SHA256", Form::Pkix, "RSA-4096"),
    ("PKIX_RSA_PSS_2048_SHA256", Form::Pkix, "RSA-2048"),
    ("PKIX_RSA_PSS_3072_SHA256", Form::Pkix, "RSA-3072"),
    ("PKIX_RSA_PSS_4096_SHA256", Form::Pkix, "RSA-4096"),
    // Deprecated, and in use still.
    ("PKIX_RSA_PKCS1V5", Form::Pkix, "RSA-"),
    ("PKIX_RSA_PSS", Form::Pkix, "RSA-"),
    ("PKCS1_RSA_PKCS1V5", Form::Pkcs1, "RSA-"),
    ("PKCS1_RSA_PSS", Form::Pkcs1, "RSA-"),
];
