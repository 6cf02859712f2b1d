//! Takes a certificate in DER apart (RFC 5280, section 4.1). Called by [`Certificate::from_der`](super::Certificate::from_der).
//! What is signed and what is compared is kept byte by byte, never encoded anew. Judges nothing: a key or an algorithm that
//! is not taken is still a part.

use der::asn1::{BitString, BitStringRef};
use der::{Reader, SliceReader, Tag, TagMode, TagNumber};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::Version;
use x509_cert::ext::Extension;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Validity;

use super::{KeyKind, Name, element, key};

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
    pub(super) issuer: Named,
    pub(super) validity: Validity,
    pub(super) subject: Named,
    pub(super) key: Key,
    pub(super) extensions: Vec<Extension>,
    pub(super) algorithm: AlgorithmIdentifierOwned,
    pub(super) signature: BitString,
}

/// A name, and its DER.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) der: Vec<u8>,
    pub(super) name: Name,
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
    /// Reads one certificate, of which nothing is left over. Each list is read by a reader of its own: one that is nested
    /// in others asks all of them for every byte.
    pub(super) fn read(der: &[u8]) -> der::Result<Self> {
        let mut certificate = list(der)?;
        let (tbs, algorithm, signature) = (certificate.tlv_bytes()?, certificate.decode()?, certificate.decode()?);
        certificate.finish(())?;
        let mut fields = list(tbs)?;
        let parts = Self {
            tbs: tbs.to_vec(),
            version: fields.context_specific(TagNumber::N0, TagMode::Explicit)?.unwrap_or_default(),
            serial: serial(&mut fields)?,
            signed_algorithm: fields.decode()?,
            issuer: Named::read(&mut fields)?,
            validity: fields.decode()?,
            subject: Named::read(&mut fields)?,
            key: Key::read(&mut fields)?,
            extensions: extensions(&mut fields)?,
            algorithm,
            signature,
        };
        fields.finish(parts)
    }
}

/// A serial number has at most 20 bytes (section 4.1.2.2).
fn serial(fields: &mut SliceReader<'_>) -> der::Result<Vec<u8>> {
    let der = fields.tlv_bytes()?;
    let _checked: SerialNumber = der::Decode::from_der(der)?;
    Ok(element::only(der, Tag::Integer)?.to_vec())
}

impl Named {
    fn read(fields: &mut SliceReader<'_>) -> der::Result<Self> {
        let der = fields.tlv_bytes()?;
        Ok(Self { der: der.to_vec(), name: Name::read(der)? })
    }
}

impl Key {
    fn read(fields: &mut SliceReader<'_>) -> der::Result<Self> {
        let der = fields.tlv_bytes()?;
        let info: SubjectPublicKeyInfoOwned = der::Decode::from_der(der)?;
        Ok(Self { der: der.to_vec(), kind: key::kind(&info), bits: info.subject_public_key })
    }
}

/// The extensions, and before them what nobody uses: identifiers of issuer and subject.
fn extensions(fields: &mut SliceReader<'_>) -> der::Result<Vec<Extension>> {
    for identifier in [TagNumber::N1, TagNumber::N2] {
        fields.context_specific::<BitStringRef<'_>>(identifier, TagMode::Implicit)?;
    }
    let mut extensions = Vec::new();
    if let Some(explicit) = element::optional(fields, element::around(TagNumber::N3))? {
        let mut list = list(explicit)?;
        while !list.is_finished() {
            extensions.push(list.decode()?);
        }
    }
    Ok(extensions)
}

/// A reader of the list that some DER is.
fn list(der: &[u8]) -> der::Result<SliceReader<'_>> {
    SliceReader::new(element::only(der, Tag::Sequence)?)
}
