//! What the protected header of an envelope claims, whatever its encoding: the headers that must be there, those that
//! are critical, and what goes with which signing scheme. Called by the readers of encodings, [`super::jws`] and
//! [`super::cose`]. Never checks a signature or a time against the clock.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;

use super::envelope::{BadEnvelope, Demand, Scheme};
use crate::limits;
use crate::pki::{Certificate, rfc3339};

/// A protected header as an encoding writes it.
pub(super) trait Protected {
    /// The names of the critical headers; at least one.
    fn critical(&self) -> Result<Vec<&str>, BadEnvelope>;

    /// A header that is text.
    fn text(&self, name: &'static str) -> Result<Option<&str>, BadEnvelope>;

    /// A header that is a moment.
    fn time(&self, name: &'static str) -> Result<Option<SystemTime>, BadEnvelope>;

    /// A header that nobody here knows, as a primitive value of JSON; what is none is an error.
    fn attribute(&self, name: &str) -> Result<Option<Value>, BadEnvelope>;
}

/// What a protected header says beside the algorithm and the content type, which each encoding names in its own way.
#[derive(Debug)]
pub(super) struct Claims {
    /// By which rules the envelope was made.
    pub(super) scheme: Scheme,
    /// When it was made.
    pub(super) signing_time: SystemTime,
    /// From when on it is no longer to be believed.
    pub(super) expiry: Option<SystemTime>,
    /// The verification plugin that it demands.
    pub(super) demand: Option<Demand>,
}

impl Claims {
    /// Reads the claims of a protected header ("Standard attributes", "Extended attributes").
    pub(super) fn read(protected: &impl Protected) -> Result<Self, BadEnvelope> {
        let scheme = scheme(protected)?;
        let signing = protected.time(SIGNING_TIME)?;
        let authentic = protected.time(AUTHENTIC_SIGNING_TIME)?;
        let signing_time = match (scheme, signing, authentic) {
            (Scheme::X509, _, Some(_)) => Err(BadEnvelope::Misplaced { name: AUTHENTIC_SIGNING_TIME, scheme }),
            (Scheme::SigningAuthority, Some(_), _) => Err(BadEnvelope::Misplaced { name: SIGNING_TIME, scheme }),
            (Scheme::X509, signing, None) => signing.ok_or(BadEnvelope::Missing(SIGNING_TIME)),
            (Scheme::SigningAuthority, None, authentic) => {
                authentic.ok_or(BadEnvelope::Missing(AUTHENTIC_SIGNING_TIME))
            }
        }?;
        let expiry = protected.time(EXPIRY)?;
        if let Some(expiry) = expiry.filter(|expiry| *expiry <= signing_time) {
            let (signing, expiry) = (rfc3339(signing_time), rfc3339(expiry));
            return Err(BadEnvelope::ExpiryBeforeSigning { signing, expiry });
        }
        let mut demand = demand(protected)?;
        let min_version = demand.as_ref().and_then(|demand| demand.min_version.as_ref());
        let known = [
            (SIGNING_SCHEME, true),
            (AUTHENTIC_SIGNING_TIME, authentic.is_some()),
            (EXPIRY, expiry.is_some()),
            (PLUGIN, demand.is_some()),
            (PLUGIN_MIN_VERSION, min_version.is_some()),
        ];
        let unknown = check_critical(&protected.critical()?, &known)?;
        match &mut demand {
            Some(demand) => demand.attributes = attributes(protected, &unknown)?,
            // "Unknown critical attributes MUST cause signature verification to fail."
            None => {
                if let Some(name) = unknown.first() {
                    return Err(BadEnvelope::UnknownCritical(short(name)));
                }
            }
        }
        Ok(Self { scheme, signing_time, expiry, demand })
    }
}

/// "Supported Signing Scheme".
fn scheme(protected: &impl Protected) -> Result<Scheme, BadEnvelope> {
    let word = protected.text(SIGNING_SCHEME)?.ok_or(BadEnvelope::Missing(SIGNING_SCHEME))?;
    [Scheme::X509, Scheme::SigningAuthority]
        .into_iter()
        .find(|scheme| scheme.as_str() == word)
        .ok_or_else(|| unexpected(SIGNING_SCHEME, word, "notary.x509 or notary.x509.signingAuthority"))
}

/// The verification plugin that the signature demands ("Extended attributes for *Notation* Plugins"), without its
/// attributes.
fn demand(protected: &impl Protected) -> Result<Option<Demand>, BadEnvelope> {
    let (plugin, min_version) = (protected.text(PLUGIN)?, protected.text(PLUGIN_MIN_VERSION)?);
    let plugin = match (plugin, min_version) {
        (None, None) => return Ok(None),
        (plugin, _) => plugin.ok_or(BadEnvelope::Missing(PLUGIN))?,
    };
    if plugin.trim().is_empty() {
        return Err(BadEnvelope::Header { name: PLUGIN, expected: "the name of a plugin" });
    }
    if let Some(version) = min_version.filter(|version| !is_version(version)) {
        return Err(unexpected(PLUGIN_MIN_VERSION, version, "a version such as 1.2.3"));
    }
    Ok(Some(Demand {
        plugin: plugin.to_owned(),
        min_version: min_version.map(str::to_owned),
        attributes: BTreeMap::new(),
    }))
}

/// Checks the list of critical headers against those that are known and critical wherever they are given
/// (RFC 7515, section 4.1.11; RFC 9052, section 3.1). Returns the names that are not known.
fn check_critical<'a>(critical: &[&'a str], known: &[(&'static str, bool)]) -> Result<Vec<&'a str>, BadEnvelope> {
    let mut unknown = Vec::new();
    for (index, name) in critical.iter().enumerate() {
        if critical.iter().take(index).any(|other| other == name) {
            return Err(BadEnvelope::DuplicateCritical(short(name)));
        }
        match known.iter().find(|(known, _)| known == name) {
            Some((_, true)) => {}
            Some((_, false)) => return Err(BadEnvelope::AbsentCritical(short(name))),
            None => unknown.push(*name),
        }
    }
    match known.iter().find(|(name, is_given)| *is_given && !critical.contains(name)) {
        Some((name, _)) => Err(BadEnvelope::NotCritical(name)),
        None => Ok(unknown),
    }
}

/// Critical headers that a plugin must process (plugin specification, "Verification workflow using plugin": "Notation only
/// supports JSON primitive types for critical extended attributes").
fn attributes(protected: &impl Protected, names: &[&str]) -> Result<BTreeMap<String, Value>, BadEnvelope> {
    let read = |name: &&str| {
        // What the encoding or the specification itself gives a meaning is no plugin's to process.
        if RESERVED.contains(name) || name.starts_with(RESERVED_PREFIX) {
            return Err(BadEnvelope::UnknownCritical(short(name)));
        }
        match protected.attribute(name)? {
            Some(value) => Ok(((*name).to_owned(), value)),
            None => Err(BadEnvelope::AbsentCritical(short(name))),
        }
    };
    names.iter().map(read).collect()
}

/// Whether text is a version by Semantic Versioning 2.0.0.
fn is_version(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre_release) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = |part: &str| is_digits(part) && (part == "0" || !part.starts_with('0'));
    let is_word =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && pre_release
            .is_none_or(|pre| pre.split('.').all(|part| is_word(part) && (!is_digits(part) || is_number(part))))
        && build.is_none_or(|build| build.split('.').all(is_word))
}

/// Reads the certificates of an envelope, each given in a form of its encoding. One that is known, byte by byte, is not
/// read anew.
pub(super) fn chain<T>(
    name: &'static str,
    given: &[T],
    known: &[Certificate],
    der: impl Fn(&T) -> Result<Cow<'_, [u8]>, BadEnvelope>,
) -> Result<Vec<Certificate>, BadEnvelope> {
    if given.is_empty() {
        return Err(BadEnvelope::Header { name, expected: CHAIN_EXPECTED });
    }
    if given.len() > limits::CHAIN_CERTIFICATES {
        return Err(BadEnvelope::TooManyCertificates(given.len()));
    }
    let read = |(number, given)| {
        let der = der(given)?;
        match known.iter().find(|known| known.der() == der.as_ref()) {
            Some(known) => Ok(known.clone()),
            None => Certificate::from_der(&der).map_err(|cause| BadEnvelope::Certificate { number, cause }),
        }
    };
    (1..).zip(given).map(read).collect()
}

/// What the list of critical headers must be.
pub(super) const CRITICAL_EXPECTED: &str = "a list of header names, at least one";

/// What a header with certificates must be.
pub(super) const CHAIN_EXPECTED: &str = "a list of certificates, at least one";

/// That the payload is what it must be.
pub(super) fn check_content_type(name: &'static str, found: &str) -> Result<(), BadEnvelope> {
    if found == PAYLOAD_TYPE { Ok(()) } else { Err(unexpected(name, found, PAYLOAD_TYPE)) }
}

/// A header with another value than it must have.
pub(super) fn unexpected(name: &'static str, found: &str, expected: &'static str) -> BadEnvelope {
    BadEnvelope::Value { name, found: short(found), expected }
}

/// A foreign name or value, shortened to be shown.
pub(super) fn short(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

/// The unprotected header with a timestamp countersignature.
pub(super) const TIMESTAMP: &str = "io.cncf.notary.timestampSignature";

const SIGNING_SCHEME: &str = "io.cncf.notary.signingScheme";
const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC_SIGNING_TIME: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRY: &str = "io.cncf.notary.expiry";
const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
const PLUGIN_MIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";

/// The names that are the specification's own.
const RESERVED_PREFIX: &str = "io.cncf.notary.";

/// The names that JWS gives a meaning (RFC 7515, section 4.1; RFC 7797, section 3).
const RESERVED: [&str; 12] = ["alg", "b64", "crit", "cty", "jku", "jwk", "kid", "typ", "x5c", "x5t", "x5t#S256", "x5u"];

const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";

/// How much of a foreign value is shown.
const SHOWN_CHARS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_by_semantic_versioning() {
        for good in [
            "0.0.4",
            "1.2.3",
            "10.20.30",
            "1.1.2-prerelease+meta",
            "1.1.2+meta",
            "1.0.0-alpha.beta.1",
            "1.0.0-alpha0.valid",
            "1.0.0-alpha.0valid",
            "1.0.0-rc.1+build.1",
            "1.0.0+0.build.1-rc.10000aaa-kk-0.1",
            "1.0.0-0A.is.legal",
            "1.0.0--",
            "99999999999999999999999.999999999999999999.99999999999999999",
        ] {
            assert!(is_version(good), "{good}");
        }
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "v1.2.3",
            "01.1.1",
            "1.01.1",
            "1.1.01",
            "1.2.3-",
            "1.2.3-0123",
            "1.2.3-0123.0123",
            "1.1.2+.123",
            "1.2.3+",
            "1.2.3+a+b",
            "+invalid",
            "-1.0.0",
            "1.2.-3",
            " 1.2.3",
            "1.2.3 ",
            "1.2.3-a..b",
            "1.2.3-\u{e9}",
            "1.2.3+b_c",
            "\u{661}.2.3",
        ] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
