//! Timestamps of trusted authorities (RFC 3161, with RFC 5816): judges a token over some bytes. Pure, called by
//! verifiers. Never asks whether an authority's certificate was taken back, nor what the stamped time is good for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5911;
use der::{DateTime, Decode, Reader, SliceReader, Tag, TagNumber};
use spki::AlgorithmIdentifierRef;
use x509_cert::time::Time;

use super::chain::{Violation, check_timestamping, check_timestamping_under_anchor, check_validity};
use super::cms::{BadSignedData, SignedData, is_named, whole};
use super::element::{Elements, Extension, around, expect, instead, only, optional};
use super::key::Hash;
use super::path::{Lost, Search};
use super::{Certificate, Name, rfc3339};
use crate::limits;

/// What a trusted authority says: some bytes were there at a time between two others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// The stamped time itself.
    pub at: SystemTime,
    /// The earliest moment at which it was made (RFC 3161, section 2.4.2).
    pub earliest: SystemTime,
    /// The latest.
    pub latest: SystemTime,
    /// The authority's certificates, leaf first, root last: they keep the rules for timestamping chains, were valid at
    /// the stamped time, and the last one is trusted.
    pub chain: Vec<Certificate>,
}

/// Why a timestamp does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTimestamp {
    /// More than [`limits::TIMESTAMP_BYTES`].
    #[error("it has {0} bytes, the limit is {limit}", limit = limits::TIMESTAMP_BYTES)]
    TooLarge(usize),
    /// The signed data around it.
    #[error(transparent)]
    SignedData(#[from] BadSignedData),
    /// It is signed data about something else.
    #[error("it is no timestamp: its content is of another type")]
    NotTimestamp,
    /// What it says is not of the form that it must be.
    #[error("what it says (TSTInfo) cannot be read: {0}")]
    Malformed(der::Error),
    /// Another version than 1.
    #[error("the version of what it says (TSTInfo) is not 1")]
    Version,
    /// A time that is none, or of another form (RFC 3161, section 2.4.2).
    #[error("its time must be of the form 20261121155633.5Z")]
    Time,
    /// An accuracy that is none.
    #[error("its accuracy cannot be read: seconds, and from 0 to 999 milliseconds and microseconds")]
    Accuracy,
    /// A hash function that is not taken.
    #[error("the hash function {0} is not supported: SHA-256, SHA-384 or SHA-512")]
    Hash(String),
    /// It stamps other bytes.
    #[error("it stamps something else than this signature")]
    Imprint,
    /// An extension that must be understood, and is not.
    #[error("it has a critical extension that is not supported")]
    CriticalExtension,
    /// More than [`limits::TIMESTAMP_ELEMENTS`].
    #[error("it has more than {limit} extensions", limit = limits::TIMESTAMP_ELEMENTS)]
    TooManyExtensions,
    /// The authority refused to make one (RFC 3161, section 2.4.2).
    #[error("it is the answer of an authority that made no timestamp")]
    NotGranted,
    /// Another certificate than the one that is told.
    #[error("it was made by {0}, which is not the certificate of the trusted authority")]
    OtherSigner(Name),
    /// None of its certificates is the signer's.
    #[error("the certificate that its signing-certificate-v2 attribute names is not among its certificates")]
    NoSigner,
    /// The certificate that was signed for is not the one that is named beside it (RFC 5035, section 5).
    #[error("its signing-certificate-v2 attribute and its signer's name speak of two certificates")]
    TwoSigners,
    /// Nobody who is trusted.
    #[error("its authority {authority} is not trusted: no trusted root leads to it, as {missing} would")]
    Untrusted {
        /// The authority's certificate.
        authority: Name,
        /// The issuer that was not found.
        missing: Name,
    },
    /// A chain that leads to a trusted root breaks a rule.
    #[error("its authority: {0}")]
    Chain(Violation),
    /// A chain that leads to a trusted root was not valid.
    #[error("its authority, at {what} {}: {violation}", rfc3339(*at))]
    NotValid {
        /// Which time.
        what: &'static str,
        /// The time.
        at: SystemTime,
        /// What was not valid.
        violation: Violation,
    },
}

impl From<der::Error> for BadTimestamp {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error)
    }
}

/// Judges a TimeStampToken over `stamped`: whether an authority under one of these root certificates made it. Path
/// building takes the certificates in the token, and the roots, which the token may leave out.
///
/// What is passed over: the name of the authority beside the time (RFC 5816 binds the certificate by its hash), the
/// nonce, which only who asked for the timestamp knows, unsigned attributes, revocation lists, extensions of certificates
/// but for the three that the specification honours.
///
/// # Errors
/// See [`BadTimestamp`].
pub fn verify(token: &[u8], stamped: &[u8], anchors: &[Certificate]) -> Result<Timestamp, BadTimestamp> {
    judge(token, stamped, &Authority { signer: None, intermediates: &[], anchors }, check_timestamping)
}

/// An authority whose certificates are known beforehand, as Sigstore's roots of trust name them.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// Its own certificate, where that is told: then no other one makes its timestamps.
    pub signer: Option<&'a Certificate>,
    /// Certificates between its own and the trusted one, which a token may leave out.
    pub intermediates: &'a [Certificate],
    /// The trusted ones: they need not be roots.
    pub anchors: &'a [Certificate],
}

/// The same as [`verify`] for an authority that is known beforehand.
///
/// # Errors
/// See [`BadTimestamp`].
pub fn verify_by(token: &[u8], stamped: &[u8], authority: &Authority<'_>) -> Result<Timestamp, BadTimestamp> {
    judge(token, stamped, authority, check_timestamping_under_anchor)
}

/// The token of a TimeStampResp (RFC 3161, section 2.4.2), which is what an authority answers.
///
/// # Errors
/// See [`BadTimestamp`].
pub fn token(response: &[u8]) -> Result<&[u8], BadTimestamp> {
    if response.len() > limits::TIMESTAMP_BYTES {
        return Err(BadTimestamp::TooLarge(response.len()));
    }
    let mut fields = whole(response, Tag::Sequence)?;
    let mut status = SliceReader::new(expect(&mut fields, Tag::Sequence)?)?;
    // granted, and grantedWithMods; what else is said of the status is for people.
    match expect(&mut status, Tag::Integer)? {
        [0 | 1] if !fields.is_finished() => {}
        _ => return Err(BadTimestamp::NotGranted),
    }
    let token = fields.tlv_bytes()?;
    Ok(fields.finish(token)?)
}

fn judge(
    token: &[u8],
    stamped: &[u8],
    authority: &Authority<'_>,
    rules: fn(&[Certificate]) -> Result<(), Violation>,
) -> Result<Timestamp, BadTimestamp> {
    if token.len() > limits::TIMESTAMP_BYTES {
        return Err(BadTimestamp::TooLarge(token.len()));
    }
    let signed = SignedData::read(token)?;
    if signed.content_type != ID_CT_TST_INFO.as_bytes() {
        return Err(BadTimestamp::NotTimestamp);
    }
    let info = Info::read(signed.content)?;
    if info.hash.digest(stamped).as_ref() != info.imprint {
        return Err(BadTimestamp::Imprint);
    }
    let given: Vec<Certificate> =
        signed.certificates.iter().chain(authority.signer).chain(authority.intermediates).cloned().collect();
    let signer = signer(&signed, &given)?;
    if authority.signer.is_some_and(|named| named != signer) {
        return Err(BadTimestamp::OtherSigner(signer.subject()));
    }
    signed.check_signature(signer)?;
    let times = Times { stamped: info.at, signing: signing_time(&signed)? };
    let check = |chain: &[Certificate]| {
        rules(chain).map_err(BadTimestamp::Chain)?;
        times.check(chain)
    };
    let chain = Search::new(&given, authority.anchors, check).from(signer).map_err(|lost| match lost {
        Lost::Broken(cause) => cause,
        Lost::Missing(missing) => BadTimestamp::Untrusted { authority: signer.subject(), missing },
    })?;
    let earliest = info.at.checked_sub(info.accuracy).ok_or(BadTimestamp::Accuracy)?;
    let latest = info.at.checked_add(info.accuracy).ok_or(BadTimestamp::Accuracy)?;
    Ok(Timestamp { at: info.at, earliest, latest, chain })
}

/// What a timestamp says (TSTInfo; RFC 3161, section 2.4.2).
struct Info<'a> {
    hash: Hash,
    imprint: &'a [u8],
    at: SystemTime,
    accuracy: Duration,
}

impl<'a> Info<'a> {
    fn read(der: &'a [u8]) -> Result<Self, BadTimestamp> {
        let mut fields = whole(der, Tag::Sequence)?;
        if expect(&mut fields, Tag::Integer)? != [1] {
            return Err(BadTimestamp::Version);
        }
        let policy = expect(&mut fields, Tag::ObjectIdentifier)?;
        let mut imprint = SliceReader::new(expect(&mut fields, Tag::Sequence)?)?;
        let hash = imprint.decode::<AlgorithmIdentifierRef<'_>>()?;
        let hash = Hash::of(&hash).map_err(BadTimestamp::Hash)?;
        let hashed = expect(&mut imprint, Tag::OctetString)?;
        imprint.finish(())?;
        let _serial = expect(&mut fields, Tag::Integer)?;
        let at = time(expect(&mut fields, Tag::GeneralizedTime)?).ok_or(BadTimestamp::Time)?;
        let accuracy = match optional(&mut fields, Tag::Sequence)? {
            Some(stated) => accuracy(stated).ok_or(BadTimestamp::Accuracy)?,
            // "Retrieve the timestamp's accuracy."
            None if policy == BASELINE_POLICY.as_bytes() => Duration::from_secs(1),
            None => Duration::ZERO,
        };
        let _ordering = optional(&mut fields, Tag::Boolean)?;
        let _nonce = optional(&mut fields, Tag::Integer)?;
        let _authority = optional(&mut fields, around(TagNumber::N0))?;
        if let Some(extensions) = optional(&mut fields, around(TagNumber::N1))? {
            check_extensions(extensions)?;
        }
        fields.finish(())?;
        Ok(Self { hash, imprint: hashed, at, accuracy })
    }
}

/// "YYYYMMDDhhmmss[.s...]Z", where a fraction has no zeros at its end (RFC 3161, section 2.4.2).
fn time(text: &[u8]) -> Option<SystemTime> {
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 14 || !is_number(whole) {
        return None;
    }
    let part = |from: usize, to: usize| whole.get(from..to)?.parse::<u8>().ok();
    let year = whole.get(..4)?.parse::<u16>().ok()?;
    let at = DateTime::new(year, part(4, 6)?, part(6, 8)?, part(8, 10)?, part(10, 12)?, part(12, 14)?).ok()?;
    let nanos = match fraction {
        None => 0,
        Some(digits) if digits.is_empty() || digits.len() > 9 || !is_number(digits) || digits.ends_with('0') => {
            return None;
        }
        Some(digits) => format!("{digits:0<9}").parse::<u32>().ok()?,
    };
    UNIX_EPOCH.checked_add(at.unix_duration())?.checked_add(Duration::from_nanos(nanos.into()))
}

/// The content of an Accuracy. What is missing in it is zero (RFC 3161, section 2.4.2).
fn accuracy(stated: &[u8]) -> Option<Duration> {
    let mut reader = SliceReader::new(stated).ok()?;
    let seconds = optional(&mut reader, Tag::Integer).ok()?.map_or(Some(0), number)?;
    let millis = optional(&mut reader, instead(TagNumber::N0)).ok()?.map_or(Some(0), number)?;
    let micros = optional(&mut reader, instead(TagNumber::N1)).ok()?.map_or(Some(0), number)?;
    reader.finish(()).ok()?;
    if millis > 999 || micros > 999 {
        return None;
    }
    let fraction = Duration::from_millis(millis.into()).checked_add(Duration::from_micros(micros.into()))?;
    Duration::from_secs(seconds.into()).checked_add(fraction)
}

/// The content of an INTEGER from 0 to 2^31 - 1. No authority's clock is off by 68 years.
fn number(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || bytes.len() > 4 || bytes.first().is_some_and(|byte| *byte >= 0x80) {
        return None;
    }
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// All extensions are unknown here, and an unknown one must not be critical (RFC 5280, section 4.2).
fn check_extensions(extensions: &[u8]) -> Result<(), BadTimestamp> {
    let mut list = Elements::new(extensions);
    for _ in 0..limits::TIMESTAMP_ELEMENTS {
        if list.is_finished() {
            return Ok(());
        }
        if Extension::read(&mut list)?.critical {
            return Err(BadTimestamp::CriticalExtension);
        }
    }
    if list.is_finished() { Ok(()) } else { Err(BadTimestamp::TooManyExtensions) }
}

/// The signer's certificate: the one that the signer signed for, by its hash, in signing-certificate-v2 (RFC 5035,
/// section 3), and the one that the signer's name and the attribute's own, if there is one, speak of. The attribute of
/// old, signing-certificate with SHA-1, counts for nothing: "When missing, fail this step".
fn signer<'a>(signed: &SignedData<'_>, given: &'a [Certificate]) -> Result<&'a Certificate, BadTimestamp> {
    let attribute = signed.signer.attribute(rfc5911::ID_AA_SIGNING_CERTIFICATE_V_2, "signing-certificate-v2")?;
    // The first one named is the signer's (RFC 5035, section 3).
    let mut list = SliceReader::new(expect(&mut whole(attribute, Tag::Sequence)?, Tag::Sequence)?)?;
    let mut named = SliceReader::new(expect(&mut list, Tag::Sequence)?)?;
    let hash = match named.peek_tag()? {
        Tag::Sequence => Hash::of(&named.decode()?).map_err(BadTimestamp::Hash)?,
        _ => Hash::Sha256,
    };
    let digest = expect(&mut named, Tag::OctetString)?;
    let issuer_serial = optional(&mut named, Tag::Sequence)?;
    named.finish(())?;
    let found = given.iter().find(|certificate| hash.digest(certificate.der()).as_ref() == digest);
    let certificate = found.ok_or(BadTimestamp::NoSigner)?;
    let fits = match issuer_serial {
        Some(names) => fits(certificate, names)?,
        None => true,
    };
    if fits && signed.signer.names(certificate) { Ok(certificate) } else { Err(BadTimestamp::TwoSigners) }
}

/// Whether the content of an IssuerSerial speaks of a certificate: its issuer alone, and its serial number.
fn fits(certificate: &Certificate, issuer_serial: &[u8]) -> der::Result<bool> {
    let mut fields = SliceReader::new(issuer_serial)?;
    let issuer = only(expect(&mut fields, Tag::Sequence)?, around(DIRECTORY_NAME))?;
    let serial = fields.tlv_bytes()?;
    fields.finish(is_named(certificate, issuer, serial))
}

/// When the signer says that it signed, if it does.
fn signing_time(signed: &SignedData<'_>) -> Result<Option<SystemTime>, BadTimestamp> {
    let Some(value) = signed.signer.find(rfc5911::ID_SIGNING_TIME, "signing-time")? else { return Ok(None) };
    Ok(Some(Time::from_der(value)?.to_system_time()))
}

/// The moments at which an authority's certificates must be valid.
#[derive(Clone, Copy)]
struct Times {
    /// The stamped time itself.
    stamped: SystemTime,
    /// The time of the signature over it; notation asks for it too.
    signing: Option<SystemTime>,
}

impl Times {
    fn check(self, chain: &[Certificate]) -> Result<(), BadTimestamp> {
        let valid =
            |what, at| check_validity(chain, at).map_err(|violation| BadTimestamp::NotValid { what, at, violation });
        valid("the stamped time", self.stamped)?;
        self.signing.map_or(Ok(()), |at| valid("its signing-time", at))
    }
}

/// id-ct-TSTInfo (RFC 3161, section 2.4.2).
const ID_CT_TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");

/// The baseline time-stamp policy, whose accuracy is one second (RFC 3628, section 5.2).
const BASELINE_POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.4.0.2023.1.1");

/// The choice of GeneralName for a distinguished name (RFC 5280, section 4.2.1.6).
const DIRECTORY_NAME: TagNumber = TagNumber::N4;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
