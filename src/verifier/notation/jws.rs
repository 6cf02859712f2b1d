//! Reads a JWS envelope (Notary Project, "JWS envelope format"; RFC 7515, flattened JSON). Called by
//! [`super::verify`]. Never checks a signature or a time against the clock, and never takes a document that two
//! readers could read in two ways: a key given twice, base64 with loose ends, a header in two places.

use std::borrow::Cow;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::de::Error as _;
use serde_json::Error;

use super::claims::{self, CHAIN_EXPECTED, CRITICAL_EXPECTED, Claims, Protected, TIMESTAMP, short, unexpected};
use super::envelope::{Algorithm, BadEnvelope, Envelope};
use crate::json::{self, Value};
use crate::limits;
use crate::pki::{Certificate, parse_rfc3339};

/// Parses an envelope.
///
/// Unknown protected headers that are not critical and unknown unprotected headers are passed over, as notation
/// does; unknown members beside the four of the envelope are refused, as the specification says.
///
/// Certificates that are `known` are not read anew.
///
/// # Errors
/// See [`BadEnvelope`].
pub(super) fn parse(bytes: &[u8], known: &[Certificate]) -> Result<Envelope, BadEnvelope> {
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limits::ENVELOPE_BYTES {
        return Err(BadEnvelope::TooLarge(bytes.len()));
    }
    let written = Written::read(bytes).map_err(|cause| BadEnvelope::Json { part: "the JSON", cause })?;
    let protected = base64url("the protected header", &written.protected)?;
    let protected =
        json::object(&protected).map_err(|cause| BadEnvelope::Json { part: "the protected header", cause })?;
    // RFC 7515, section 7.2.1: the names must be disjoint.
    if let Some(name) = written.header.keys().find(|name| protected.contains_key(*name)) {
        return Err(BadEnvelope::TwoHeaders(short(name)));
    }
    let algorithm = algorithm(&protected)?;
    claims::check_content_type(CONTENT_TYPE, required(&protected, CONTENT_TYPE)?)?;
    let Claims { scheme, signing_time, expiry, demand } = Claims::read(&protected)?;
    Ok(Envelope {
        algorithm,
        chain: chain(&written.header, known)?,
        payload: base64url("the payload", &written.payload)?,
        signature: base64url("the signature", &written.signature)?,
        // RFC 7515, section 5.1: the encoded parts as they came.
        signed: format!("{}.{}", written.protected, written.payload).into_bytes(),
        scheme,
        signing_time,
        expiry,
        demand,
        timestamp: timestamp(&written.header)?,
    })
}

type Headers<'a> = json::Object<'a>;

/// "No additional top level fields are supported."
struct Written<'a> {
    payload: Cow<'a, str>,
    protected: Cow<'a, str>,
    header: Headers<'a>,
    signature: Cow<'a, str>,
}

impl<'a> Written<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        let mut members = json::object(bytes)?;
        let [payload, protected, header, signature] =
            MEMBERS.map(|name| members.remove(name).ok_or_else(|| Error::missing_field(name)));
        let text = |member| match member {
            Ok(Value::Text(text)) => Ok(text),
            Ok(_) => Err(Error::custom("payload, protected and signature must be strings")),
            Err(missing) => Err(missing),
        };
        if let Some(name) = members.keys().next() {
            return Err(Error::unknown_field(&short(name), &MEMBERS));
        }
        let header = match header? {
            Value::Object(header) => header,
            _ => return Err(Error::custom("header must be an object")),
        };
        Ok(Self { payload: text(payload)?, protected: text(protected)?, header, signature: text(signature)? })
    }
}

/// "Supported `alg` header values".
fn algorithm(protected: &Headers<'_>) -> Result<Algorithm, BadEnvelope> {
    let name = required(protected, ALGORITHM)?;
    Algorithm::by_name(name).ok_or_else(|| unexpected(ALGORITHM, name, "PS256, PS384, PS512, ES256, ES384 or ES512"))
}

/// The certificates in `x5c` ("Unprotected Headers"; standard base64, RFC 7515, section 4.1.6).
fn chain(header: &Headers<'_>, known: &[Certificate]) -> Result<Vec<Certificate>, BadEnvelope> {
    let malformed = || BadEnvelope::Header { name: CHAIN, expected: CHAIN_EXPECTED };
    let Value::List(given) = header.get(CHAIN).ok_or(BadEnvelope::Missing(CHAIN))? else { return Err(malformed()) };
    claims::chain(CHAIN, given, known, |certificate| match certificate {
        Value::Text(text) => base64(CHAIN, text).map(Cow::Owned),
        _ => Err(malformed()),
    })
}

/// The timestamp countersignature ("Unprotected Headers").
fn timestamp(header: &Headers<'_>) -> Result<Option<Vec<u8>>, BadEnvelope> {
    match header.get(TIMESTAMP) {
        None => Ok(None),
        Some(Value::Text(text)) => base64(TIMESTAMP, text).map(Some),
        Some(_) => Err(BadEnvelope::Header { name: TIMESTAMP, expected: "a string" }),
    }
}

fn base64(part: &'static str, text: &str) -> Result<Vec<u8>, BadEnvelope> {
    STANDARD.decode(text).map_err(|cause| BadEnvelope::Base64 { part, cause })
}

/// Without padding, and without bits that say nothing ("Create the JWS Signing Input").
fn base64url(part: &'static str, text: &str) -> Result<Vec<u8>, BadEnvelope> {
    URL_SAFE_NO_PAD.decode(text).map_err(|cause| BadEnvelope::Base64 { part, cause })
}

fn required<'a>(protected: &'a Headers<'_>, name: &'static str) -> Result<&'a str, BadEnvelope> {
    protected.text(name)?.ok_or(BadEnvelope::Missing(name))
}

impl Protected for Headers<'_> {
    fn critical(&self) -> Result<Vec<&str>, BadEnvelope> {
        let malformed = || BadEnvelope::Header { name: CRITICAL, expected: CRITICAL_EXPECTED };
        let Value::List(names) = self.get(CRITICAL).ok_or(BadEnvelope::Missing(CRITICAL))? else {
            return Err(malformed());
        };
        if names.is_empty() {
            return Err(malformed());
        }
        let names = names.iter().map(|name| match name {
            Value::Text(name) => Ok(name.as_ref()),
            _ => Err(malformed()),
        });
        names.collect()
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, BadEnvelope> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(BadEnvelope::Header { name, expected: "a string" }),
        }
    }

    fn time(&self, name: &'static str) -> Result<Option<SystemTime>, BadEnvelope> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let expected = "a time such as 2026-11-21T15:56:33Z";
        parse_rfc3339(text).map(Some).ok_or_else(|| unexpected(name, text, expected))
    }

    fn attribute(&self, name: &str) -> Result<Option<serde_json::Value>, BadEnvelope> {
        Ok(Some(match self.get(name) {
            None => return Ok(None),
            Some(Value::Null) => serde_json::Value::Null,
            Some(Value::Bool(bool)) => (*bool).into(),
            Some(Value::Number(number)) => number.clone().into(),
            Some(Value::Text(text)) => text.as_ref().into(),
            Some(Value::List(_) | Value::Object(_)) => return Err(BadEnvelope::Attribute(short(name))),
        }))
    }
}

/// The members of an envelope, all of which must be there.
const MEMBERS: [&str; 4] = ["payload", "protected", "header", "signature"];

const ALGORITHM: &str = "alg";
const CONTENT_TYPE: &str = "cty";
const CRITICAL: &str = "crit";
const CHAIN: &str = "x5c";
