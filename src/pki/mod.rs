//! X.509: certificates as signatures bring them and as operators trust them, and the rules for chains of them.
//! Called by verifiers. Never reads a file, asks no clock and no network, and decides nothing about trust.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{UnparsedPublicKey, VerificationAlgorithm};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::Decode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_cert::ext::pkix::BasicConstraints;

use crate::limits;

pub mod chain;
mod cms;
pub mod crl;
mod element;
mod extensions;
mod key;
pub mod name;
pub mod ocsp;
mod parts;
pub mod path;
mod pem;
mod points;
mod precertificate;
#[cfg(test)]
pub(crate) mod testing;
pub mod timestamp;

pub use cms::BadSignedData;
pub use extensions::AlternativeName;
pub use key::{Curve, KeyKind};
pub use name::Name;
pub use pem::{BadBundle, anchors, anchors_from_pem, blocks};
pub use points::{Coverage, Point, Unreadable};
pub use precertificate::Precertificate;

use chain::Violation;
use element::{Element, Elements, Extension};
use parts::Parts;

/// A certificate that could be parsed. Nothing is known yet of its signature, its time or its purpose.
/// Two are equal when their bytes are. A copy costs next to nothing.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: Arc<[u8]>,
    parts: Arc<Parts>,
}

/// Why bytes are no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// More than [`limits::CERTIFICATE_BYTES`].
    #[error("the certificate has {0} bytes, the limit is {limit}", limit = limits::CERTIFICATE_BYTES)]
    TooLarge(usize),
    /// Not DER of a certificate.
    #[error("it is no X.509 certificate in DER: {}", .0.kind())]
    Malformed(der::Error),
    /// A list of more than [`limits::CERTIFICATE_ELEMENTS`].
    #[error("the certificate has a list of more than {limit} elements", limit = limits::CERTIFICATE_ELEMENTS)]
    TooManyElements,
    /// An extension is there twice (RFC 5280, section 4.2).
    #[error("the certificate has extension {0} twice")]
    DuplicateExtension(String),
}

impl Certificate {
    /// Parses one certificate.
    ///
    /// # Errors
    /// See [`BadCertificate`].
    pub fn from_der(der: &[u8]) -> Result<Self, BadCertificate> {
        if der.len() > limits::CERTIFICATE_BYTES {
            return Err(BadCertificate::TooLarge(der.len()));
        }
        // Before the parser, which takes the square of a list's length to sort it.
        if !lists_are_short(der, CERTIFICATE_DEPTH).map_err(BadCertificate::Malformed)? {
            return Err(BadCertificate::TooManyElements);
        }
        let parts = Parts::read(der).map_err(BadCertificate::Malformed)?;
        let certificate = Self { der: der.into(), parts: Arc::new(parts) };
        let mut seen: Vec<&[u8]> = Vec::new();
        for extension in certificate.extensions() {
            if seen.contains(&extension.oid) {
                return Err(BadCertificate::DuplicateExtension(extension.name()));
            }
            seen.push(extension.oid);
        }
        Ok(certificate)
    }

    /// Its bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whom it speaks of.
    #[must_use]
    pub fn subject(&self) -> Name {
        Name::checked(&self.parts.subject)
    }

    /// Who made it.
    #[must_use]
    pub fn issuer(&self) -> Name {
        Name::checked(&self.parts.issuer)
    }

    /// The first moment of its validity.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.parts.validity.not_before.to_system_time()
    }

    /// The last moment of its validity.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.parts.validity.not_after.to_system_time()
    }

    /// The kind of its public key.
    ///
    /// # Errors
    /// What it is instead, in words, when it is none that is taken.
    pub fn key(&self) -> Result<KeyKind, String> {
        self.parts.key.kind.clone()
    }

    /// The fingerprint of its public key: two certificates of one key have the same.
    #[must_use]
    pub fn key_fingerprint(&self) -> String {
        fingerprint(&self.parts.key.der)
    }

    /// Whether its key made a signature over a message. The caller has chosen the algorithm by [`Self::key`].
    #[must_use]
    pub fn signed(&self, algorithm: &'static dyn VerificationAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        let key = self.parts.key.bits.as_bytes();
        key.is_some_and(|key| UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok())
    }

    /// Whether it names itself as issuer and its own key signed it.
    #[must_use]
    pub fn is_self_signed(&self) -> bool {
        self.names_as_issuer(self) && self.signature_is_by(self).is_ok_and(|signed| signed)
    }

    /// Whether its basicConstraints extension says that it is a certificate authority's.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.decode::<BasicConstraints>().is_ok_and(|found| found.is_some_and(|(_, constraints)| constraints.ca))
    }

    /// The content of its serial number, byte by byte.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.parts.serial
    }

    /// Its subject in DER.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        &self.parts.subject
    }

    /// Its public key in DER (SubjectPublicKeyInfo).
    #[must_use]
    pub fn key_der(&self) -> &[u8] {
        &self.parts.key.der
    }

    /// What tells it, as issued by the key of `issuer`, from all others.
    #[must_use]
    pub fn id(&self, issuer: &Self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&issuer.parts.key.der);
        context.update(&self.der);
        sha256(context)
    }

    /// Whether the issuer it names is that certificate's subject, byte by byte.
    fn names_as_issuer(&self, issuer: &Self) -> bool {
        self.parts.issuer == issuer.parts.subject
    }

    /// Whether an issuer's key made its signature; an error says why that cannot be asked: an algorithm or a key
    /// that is not taken.
    fn signature_is_by(&self, issuer: &Self) -> Result<bool, String> {
        let algorithm = key::primitive(&self.parts.algorithm, issuer.key()?)?;
        let signature = self.parts.signature.as_bytes().unwrap_or_default();
        Ok(issuer.signed(algorithm, &self.parts.tbs, signature))
    }

    fn extensions(&self) -> impl Iterator<Item = Extension<'_>> {
        let mut list = Elements::new(&self.parts.extensions);
        // All were read before, so that an error is the end.
        std::iter::from_fn(move || Extension::read(&mut list).ok())
    }

    fn extension(&self, oid: ObjectIdentifier) -> Option<Extension<'_>> {
        self.extensions().find(|extension| extension.is(oid))
    }

    /// An extension, and whether it is critical.
    fn decode<'a, T: Decode<'a> + AssociatedOid>(&'a self) -> der::Result<Option<(bool, T)>> {
        let Some(extension) = self.extension(T::OID) else { return Ok(None) };
        // Its names are sorted.
        if !lists_are_short(extension.value, CERTIFICATE_DEPTH)? {
            return Err(der::ErrorKind::Overlength.into());
        }
        Ok(Some((extension.critical, T::from_der(extension.value)?)))
    }

    /// The same of one that a rule is about.
    fn known<'a, T>(&'a self, name: &'static str) -> Result<Option<(bool, T)>, Violation>
    where
        T: Decode<'a> + AssociatedOid,
    {
        self.decode().map_err(|_| Violation::Extension { subject: self.subject(), extension: name })
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

/// What a SHA-256 comes to.
pub(crate) fn sha256(context: digest::Context) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// What tells a public key in DER (SubjectPublicKeyInfo) from all others.
#[must_use]
pub fn fingerprint(key: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, key);
    let digits = hash.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut text = "spki-sha256:".to_owned();
    text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    text
}

/// Whether no list in some DER has more than [`limits::CERTIFICATE_ELEMENTS`] elements, `depth` levels down. Reads tags
/// and lengths alone.
fn lists_are_short(der: &[u8], depth: usize) -> der::Result<bool> {
    let mut rest = Elements::new(der);
    for _ in 0..limits::CERTIFICATE_ELEMENTS {
        if rest.is_finished() {
            return Ok(true);
        }
        let Element { tag, content, .. } = rest.read()?;
        let is_list = tag & CONSTRUCTED != 0 && !content.is_empty();
        let is_short = match depth.checked_sub(1) {
            _ if !is_list => true,
            Some(below) => lists_are_short(content, below)?,
            None => false,
        };
        if !is_short {
            return Ok(false);
        }
    }
    Ok(rest.is_finished())
}

/// The bit of a tag that says that elements are its content.
const CONSTRUCTED: u8 = 0x20;

/// How deep a certificate's DER is nested at most; names and extensions lie six levels down.
const CERTIFICATE_DEPTH: usize = 16;

/// A moment as RFC 3339 writes it, to the second.
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    let seconds = match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).ok(),
        Err(before) => i64::try_from(before.duration().as_secs()).ok().map(|seconds| -seconds),
    };
    seconds
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "a time that no calendar has".to_owned())
}

/// Reads a moment as RFC 3339 writes it, with the capital T and Z that its section 5.6 recommends; a fraction of a
/// second is kept.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    // The parser takes any byte between date and time.
    if text.as_bytes().get(10) != Some(&b'T') || text.ends_with('z') {
        return None;
    }
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let fraction = Duration::from_nanos(at.nanosecond().into());
    let seconds = at.unix_timestamp();
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let at =
        if seconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(whole) } else { SystemTime::UNIX_EPOCH.checked_add(whole) };
    at?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn lists_in_a_certificate_at_the_limit_and_one_past_it() {
        let null = [5, 0];
        let list = |elements: usize| {
            let content = null.repeat(elements);
            [vec![0x30, 0x81, content.len() as u8], content].concat()
        };
        assert_eq!(lists_are_short(&list(limits::CERTIFICATE_ELEMENTS), CERTIFICATE_DEPTH), Ok(true));
        assert_eq!(lists_are_short(&list(limits::CERTIFICATE_ELEMENTS + 1), CERTIFICATE_DEPTH), Ok(false));
        let nested = |levels: usize| {
            (0..levels).fold(null.to_vec(), |content, _| [vec![0x31, content.len() as u8], content].concat())
        };
        assert_eq!(lists_are_short(&nested(CERTIFICATE_DEPTH), CERTIFICATE_DEPTH), Ok(true));
        assert_eq!(lists_are_short(&nested(CERTIFICATE_DEPTH + 1), CERTIFICATE_DEPTH), Ok(false));
        for malformed in [
            &[0x30][..],
            &[0x30, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 2, 5, 0],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x3f, 1, 0],
            &[0x30, 2, 5, 1],
        ] {
            assert!(lists_are_short(malformed, CERTIFICATE_DEPTH).is_err(), "{malformed:02x?}");
        }
        let refused = Certificate::from_der(&list(limits::CERTIFICATE_ELEMENTS + 1));
        assert_eq!(refused.unwrap_err(), BadCertificate::TooManyElements);
    }

    #[test]
    fn a_certificate_is_taken_byte_by_byte() {
        let der = chain().remove(0).der().to_vec();
        assert!(Certificate::from_der(&der).is_ok());
        assert!(Certificate::from_der(&[der.as_slice(), &[0]].concat()).is_err(), "bytes after its end");
        assert!(Certificate::from_der(&der[..der.len() - 1]).is_err(), "cut short");
        assert!(Certificate::from_der(b"").is_err());
    }

    #[test]
    fn extensions_of_any_identifier_are_taken() {
        let key = Key::get(Kind::P256, 0);
        let vendor = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1");
        let der = Template::leaf(LEAF, LEAF).with(extension(vendor, true, b"x")).der(key, key);
        let place = der.windows(9).position(|bytes| bytes == vendor.as_bytes()).unwrap();
        let with = |oid: [u8; 9]| {
            Certificate::from_der(&[&der[..place], &oid, &der[place + 9..]].concat())
                .map(|it| it.extensions().map(|it| (it.critical, it.name())).collect::<Vec<_>>())
        };
        for (oid, name) in [
            ([0x69, 0x84, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "2.25.2814749767106559"),
            ([0x88, 0x37, 1, 1, 1, 1, 1, 1, 1], "2.999.1.1.1.1.1.1.1"),
        ] {
            assert_eq!(with(oid).unwrap(), [(true, "2.5.29.15".to_owned()), (true, name.to_owned())]);
        }
        assert!(with([0x69, 0x80, 1, 1, 1, 1, 1, 1, 1]).is_err(), "zeros before a number");
        assert!(with([0x69, 1, 1, 1, 1, 1, 1, 1, 0x81]).is_err(), "a number without an end");
    }

    #[test]
    fn size_at_the_limit_and_one_past_it() {
        // RSA, because all its signatures have one length.
        let key = Key::get(Kind::Rsa2048, 0);
        let vendor = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1");
        let of =
            |filling: usize| Template::leaf(LEAF, LEAF).with(extension(vendor, false, &vec![0; filling])).der(key, key);
        let filling = limits::CERTIFICATE_BYTES - 2000;
        let at_limit = of(filling + limits::CERTIFICATE_BYTES - of(filling).len());
        assert_eq!(at_limit.len(), limits::CERTIFICATE_BYTES);
        assert!(Certificate::from_der(&at_limit).is_ok());
        let past = [at_limit, vec![0]].concat();
        assert_eq!(Certificate::from_der(&past).unwrap_err(), BadCertificate::TooLarge(limits::CERTIFICATE_BYTES + 1));
    }

    #[test]
    fn a_key_has_one_fingerprint_in_all_its_certificates() {
        let [one, two] = [Key::get(Kind::P256, 0), Key::get(Kind::P256, 1)];
        let first = Template::leaf(LEAF, LEAF).sign(one, one).key_fingerprint();
        let renewed = Template::leaf("CN=other", ROOT).sign(one, two).key_fingerprint();
        let other = Template::leaf(LEAF, LEAF).sign(two, two).key_fingerprint();
        assert_eq!(first, renewed);
        assert_ne!(first, other);
        assert!(first.starts_with("spki-sha256:") && first.len() == "spki-sha256:".len() + 64, "{first}");
    }

    #[test]
    fn times_are_read_and_written_as_rfc_3339() {
        let seconds = |text: &str| parse_rfc3339(text).map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
        assert_eq!(seconds("2027-01-15T08:00:00Z"), Some(Duration::from_secs(NOW)));
        assert_eq!(seconds("2027-01-15T10:30:00+02:30"), Some(Duration::from_secs(NOW)));
        assert_eq!(seconds("2027-01-15T00:00:00-08:00"), Some(Duration::from_secs(NOW)));
        assert_eq!(seconds("2027-01-15T08:00:00.25Z"), Some(Duration::from_millis(NOW * 1000 + 250)));
        let early = parse_rfc3339("1969-12-31T23:59:58.5Z").unwrap();
        assert_eq!(SystemTime::UNIX_EPOCH.duration_since(early).unwrap(), Duration::from_millis(1500));
        assert!(parse_rfc3339("0001-01-01T00:00:00Z").is_some_and(|at| at < SystemTime::UNIX_EPOCH));
        for bad in [
            "",
            "2027-01-15",
            "2027-01-15T08:00:00",
            "2027-01-15 08:00:00Z",
            "2027-01-15t08:00:00Z",
            "2027-01-15T08:00:00z",
            "2027-02-30T08:00:00Z",
            "2027-01-15T25:00:00Z",
            "2027-01-15T08:00:00Z ",
            " 2027-01-15T08:00:00Z",
            "20270115T080000Z",
            "2027-01-15T08:00Z",
            "1800000000",
            "2027-01-15é08:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad:?}");
        }
        assert_eq!(rfc3339(now()), "2027-01-15T08:00:00Z");
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1969-12-31T23:59:59Z");
        assert!(rfc3339(at(1 << 50)).contains("no calendar"));
    }
}
