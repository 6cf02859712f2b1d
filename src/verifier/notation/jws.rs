//! Reads a JWS envelope (Notary Project, "JWS envelope format"; RFC 7515, flattened JSON). Called by
//! [`super::verify`]. Never checks a signature or a time against the clock, and never takes a document that two
//! readers could read in two ways: a key given twice, base64 with loose ends, a header in two places.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::envelope::{Algorithm, BadEnvelope, Demand, Envelope, Scheme};
use crate::json;
use crate::limits;
use crate::pki::{Certificate, parse_rfc3339, rfc3339};

/// Parses an envelope of the signing scheme `notary.x509`.
///
/// Unknown protected headers that are not critical and unknown unprotected headers are passed over, as notation
/// does; unknown members beside the four of the envelope are refused, as the specification says.
///
/// # Errors
/// See [`BadEnvelope`].
pub(super) fn parse(bytes: &[u8]) -> Result<Envelope, BadEnvelope> {
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limits::ENVELOPE_BYTES {
        return Err(BadEnvelope::TooLarge(bytes.len()));
    }
    let written: Written = json::from_slice(bytes).map_err(|cause| BadEnvelope::Json { part: "the JSON", cause })?;
    let protected = base64url("the protected header", &written.protected)?;
    let protected: Headers =
        json::from_slice(&protected).map_err(|cause| BadEnvelope::Json { part: "the protected header", cause })?;
    // RFC 7515, section 7.2.1: the names must be disjoint.
    if let Some(name) = written.header.keys().find(|name| protected.contains_key(*name)) {
        return Err(BadEnvelope::TwoHeaders(short(name)));
    }
    let claims = Claims::read(&protected)?;
    Ok(Envelope {
        algorithm: claims.algorithm,
        chain: chain(&written.header)?,
        payload: base64url("the payload", &written.payload)?,
        signature: base64url("the signature", &written.signature)?,
        // RFC 7515, section 5.1: the encoded parts as they came.
        signed: format!("{}.{}", written.protected, written.payload).into_bytes(),
        scheme: Scheme::X509,
        signing_time: claims.signing_time,
        expiry: claims.expiry,
        demand: claims.demand,
        timestamp: timestamp(&written.header)?,
    })
}

type Headers = Map<String, Value>;

/// "No additional top level fields are supported."
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    payload: String,
    protected: String,
    header: Headers,
    signature: String,
}

/// What the protected header says ("Protected Headers").
struct Claims {
    algorithm: Algorithm,
    signing_time: SystemTime,
    expiry: Option<SystemTime>,
    demand: Option<Demand>,
}

impl Claims {
    fn read(protected: &Headers) -> Result<Self, BadEnvelope> {
        let algorithm = string(protected, ALGORITHM)?;
        let algorithm = Algorithm::by_name(algorithm)
            .ok_or_else(|| unexpected(ALGORITHM, algorithm, "PS256, PS384, PS512, ES256, ES384 or ES512"))?;
        let content_type = string(protected, CONTENT_TYPE)?;
        if content_type != PAYLOAD_TYPE {
            return Err(unexpected(CONTENT_TYPE, content_type, PAYLOAD_TYPE));
        }
        match string(protected, SIGNING_SCHEME)? {
            SCHEME_X509 => {}
            SCHEME_SIGNING_AUTHORITY => return Err(BadEnvelope::SigningAuthority),
            other => return Err(unexpected(SIGNING_SCHEME, other, "notary.x509 or notary.x509.signingAuthority")),
        }
        if protected.contains_key(AUTHENTIC_SIGNING_TIME) {
            return Err(BadEnvelope::Misplaced { name: AUTHENTIC_SIGNING_TIME, scheme: SCHEME_X509 });
        }
        let signing = time(protected, SIGNING_TIME)?.ok_or(BadEnvelope::Missing(SIGNING_TIME))?;
        let expiry = time(protected, EXPIRY)?;
        if let Some(expiry) = expiry.filter(|expiry| *expiry <= signing) {
            return Err(BadEnvelope::ExpiryBeforeSigning { signing: rfc3339(signing), expiry: rfc3339(expiry) });
        }
        let demand = demand(protected)?;
        check_critical(protected)?;
        Ok(Self { algorithm, signing_time: signing, expiry, demand })
    }
}

/// The verification plugin that the signature demands (signature specification, "Extended attributes for *Notation*
/// Plugins").
fn demand(protected: &Headers) -> Result<Option<Demand>, BadEnvelope> {
    if !protected.contains_key(PLUGIN) && !protected.contains_key(PLUGIN_MIN_VERSION) {
        return Ok(None);
    }
    let name = string(protected, PLUGIN)?;
    if name.trim().is_empty() {
        return Err(BadEnvelope::Header { name: PLUGIN, expected: "the name of a plugin" });
    }
    Ok(Some(Demand { plugin: short(name), min_version: None, attributes: BTreeMap::new() }))
}

/// RFC 7515, section 4.1.11, and `crit` in "Protected Headers".
fn check_critical(protected: &Headers) -> Result<(), BadEnvelope> {
    let malformed = || BadEnvelope::Header { name: CRITICAL, expected: "a list of header names" };
    let names = protected.get(CRITICAL).ok_or(BadEnvelope::Missing(CRITICAL))?.as_array().ok_or_else(malformed)?;
    let names: Vec<&str> = names.iter().map(|name| name.as_str().ok_or_else(malformed)).collect::<Result<_, _>>()?;
    for (index, name) in names.iter().enumerate() {
        if names.iter().take(index).any(|other| other == name) {
            return Err(BadEnvelope::DuplicateCritical(short(name)));
        }
        if !CRITICAL_HEADERS.contains(name) {
            return Err(BadEnvelope::UnknownCritical(short(name)));
        }
        if !protected.contains_key(*name) {
            return Err(BadEnvelope::AbsentCritical(short(name)));
        }
    }
    match CRITICAL_HEADERS.iter().find(|name| protected.contains_key(**name) && !names.contains(name)) {
        Some(name) => Err(BadEnvelope::NotCritical(name)),
        None => Ok(()),
    }
}

/// The certificates in `x5c` ("Unprotected Headers"; standard base64, RFC 7515, section 4.1.6).
fn chain(header: &Headers) -> Result<Vec<Certificate>, BadEnvelope> {
    let malformed = || BadEnvelope::Header { name: CHAIN, expected: "a list of certificates, at least one" };
    let certificates = header.get(CHAIN).ok_or(BadEnvelope::Missing(CHAIN))?.as_array().ok_or_else(malformed)?;
    if certificates.is_empty() {
        return Err(malformed());
    }
    if certificates.len() > limits::CHAIN_CERTIFICATES {
        return Err(BadEnvelope::TooManyCertificates(certificates.len()));
    }
    let read = |(number, certificate): (usize, &Value)| {
        let text = certificate.as_str().ok_or_else(malformed)?;
        let der = STANDARD.decode(text).map_err(|cause| BadEnvelope::Base64 { part: CHAIN, cause })?;
        Certificate::from_der(&der).map_err(|cause| BadEnvelope::Certificate { number, cause })
    };
    (1..).zip(certificates).map(read).collect()
}

/// The timestamp countersignature ("Unprotected Headers"; standard base64).
fn timestamp(header: &Headers) -> Result<Option<Vec<u8>>, BadEnvelope> {
    let Some(value) = header.get(TIMESTAMP) else { return Ok(None) };
    let text = value.as_str().ok_or(BadEnvelope::Header { name: TIMESTAMP, expected: "a string" })?;
    STANDARD.decode(text).map(Some).map_err(|cause| BadEnvelope::Base64 { part: TIMESTAMP, cause })
}

/// Without padding, and without bits that say nothing ("Create the JWS Signing Input").
fn base64url(part: &'static str, text: &str) -> Result<Vec<u8>, BadEnvelope> {
    URL_SAFE_NO_PAD.decode(text).map_err(|cause| BadEnvelope::Base64 { part, cause })
}

fn string<'a>(protected: &'a Headers, name: &'static str) -> Result<&'a str, BadEnvelope> {
    let value = protected.get(name).ok_or(BadEnvelope::Missing(name))?;
    value.as_str().ok_or(BadEnvelope::Header { name, expected: "a string" })
}

fn time(protected: &Headers, name: &'static str) -> Result<Option<SystemTime>, BadEnvelope> {
    if !protected.contains_key(name) {
        return Ok(None);
    }
    let text = string(protected, name)?;
    let expected = "a time such as 2026-11-21T15:56:33Z";
    parse_rfc3339(text).map(Some).ok_or_else(|| unexpected(name, text, expected))
}

fn unexpected(name: &'static str, found: &str, expected: &'static str) -> BadEnvelope {
    BadEnvelope::Value { name, found: short(found), expected }
}

fn short(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

const ALGORITHM: &str = "alg";
const CONTENT_TYPE: &str = "cty";
const CRITICAL: &str = "crit";
const CHAIN: &str = "x5c";
const TIMESTAMP: &str = "io.cncf.notary.timestampSignature";
const SIGNING_SCHEME: &str = "io.cncf.notary.signingScheme";
const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC_SIGNING_TIME: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRY: &str = "io.cncf.notary.expiry";
const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
const PLUGIN_MIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";

/// The headers that are critical where they are given, and the only ones known as such.
const CRITICAL_HEADERS: [&str; 4] = [SIGNING_SCHEME, EXPIRY, PLUGIN, PLUGIN_MIN_VERSION];

const SCHEME_X509: &str = "notary.x509";
const SCHEME_SIGNING_AUTHORITY: &str = "notary.x509.signingAuthority";
const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";

/// How much of a foreign value is shown.
const SHOWN_CHARS: usize = 100;
