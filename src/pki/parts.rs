//! Takes a certificate in DER apart (RFC 5280, section 4.1). Called by [`Certificate::from_der`](super::Certificate::from_der).
//! What is signed and what is compared is kept byte by byte, never encoded anew. Judges nothing: a key or an algorithm that
//! is not taken is still a part.

use const_oid::ObjectIdentifier;
use der::asn1::{Any, BitString};
use der::{Decode, Tag, TagNumber};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::Version;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

use super::element::{self, Element, Elements, Extension, around, instead};
use super::{KeyKind, key, name};

/// The parts of a certificate.
#[derive(Debug)]
pub(super) struct Parts {
    /// What the signature covers.
    pub(super) tbs: Vec<u8>,
    pub(super) version: Version,
    /// The content of the INTEGER.
    pub(super) serial: Vec<u8>,
    /// The signature's algorithm where it is signed too.
    pub(super) signed_algorithm: AlgorithmIdentifierOwned,
    /// A name in DER.
    pub(super) issuer: Vec<u8>,
    pub(super) validity: Validity,
    /// A name in DER.
    pub(super) subject: Vec<u8>,
    pub(super) key: Key,
    /// The content of their list; each of them was read.
    pub(super) extensions: Vec<u8>,
    pub(super) algorithm: AlgorithmIdentifierOwned,
    pub(super) signature: BitString,
}

/// A public key, and the DER of its SubjectPublicKeyInfo.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) der: Vec<u8>,
    pub(super) bits: BitString,
    /// Its kind; what it is instead, in words, when it is none that is taken.
    pub(super) kind: Result<KeyKind, String>,
}

impl Parts {
    /// Reads one certificate, of which nothing is left over.
    pub(super) fn read(der: &[u8]) -> der::Result<Self> {
        let mut certificate = Elements::of(der, Tag::Sequence)?;
        let tbs = certificate.expect(Tag::Sequence)?;
        let (algorithm, signature) = (algorithm(&mut certificate)?, certificate.bits()?);
        certificate.finish(())?;
        let mut fields = tbs.elements();
        let parts = Self {
            tbs: tbs.der.to_vec(),
            version: version(&mut fields)?,
            serial: serial(&mut fields)?,
            signed_algorithm: self::algorithm(&mut fields)?,
            issuer: name(&mut fields)?,
            validity: validity(&mut fields)?,
            subject: name(&mut fields)?,
            key: Key::read(&mut fields)?,
            extensions: extensions(&mut fields)?,
            algorithm,
            signature,
        };
        fields.finish(parts)
    }
}

fn version(fields: &mut Elements<'_>) -> der::Result<Version> {
    let version = fields.optional(around(TagNumber::N0))?;
    version.map_or(Ok(Version::default()), |version| Version::from_der(version.content))
}

/// A serial number has at most 20 bytes (section 4.1.2.2).
fn serial(fields: &mut Elements<'_>) -> der::Result<Vec<u8>> {
    let Element { der, content, .. } = fields.expect(Tag::Integer)?;
    SerialNumber::<x509_cert::certificate::Rfc5280>::from_der(der)?;
    Ok(content.to_vec())
}

/// Section 4.1.1.2.
fn algorithm(fields: &mut Elements<'_>) -> der::Result<AlgorithmIdentifierOwned> {
    let mut members = fields.expect(Tag::Sequence)?.elements();
    let oid = ObjectIdentifier::from_bytes(members.oid()?)?;
    let parameters = if members.is_finished() { None } else { Some(Any::from(members.any()?)) };
    members.finish(AlgorithmIdentifierOwned { oid, parameters })
}

fn name(fields: &mut Elements<'_>) -> der::Result<Vec<u8>> {
    let der = fields.expect(Tag::Sequence)?.der;
    name::check(der)?;
    Ok(der.to_vec())
}

fn validity(fields: &mut Elements<'_>) -> der::Result<Validity> {
    let mut times = fields.expect(Tag::Sequence)?.elements();
    let [not_before, not_after] = [times.read()?, times.read()?].map(|time| Time::from_der(time.der));
    times.finish(Validity { not_before: not_before?, not_after: not_after? })
}

impl Key {
    fn read(fields: &mut Elements<'_>) -> der::Result<Self> {
        let info = fields.expect(Tag::Sequence)?;
        let (der, mut members) = (info.der, info.elements());
        let info =
            SubjectPublicKeyInfoOwned { algorithm: algorithm(&mut members)?, subject_public_key: members.bits()? };
        members.finish(Self { der: der.to_vec(), kind: key::kind(&info), bits: info.subject_public_key })
    }
}

/// The content of the list of extensions, and before it what nobody uses: identifiers of issuer and subject.
fn extensions(fields: &mut Elements<'_>) -> der::Result<Vec<u8>> {
    for identifier in [TagNumber::N1, TagNumber::N2] {
        fields.optional(instead(identifier))?.map(element::bits).transpose()?;
    }
    let Some(explicit) = fields.optional(around(TagNumber::N3))? else { return Ok(Vec::new()) };
    let content = element::only(explicit.content, Tag::Sequence)?;
    let mut list = Elements::new(content);
    while !list.is_finished() {
        Extension::read(&mut list)?;
    }
    Ok(content.to_vec())
}
