//! Reads signed data of one signer (CMS, RFC 5652, section 5), as timestamps are made of, and says whether a certificate's
//! key signed it. Called by [`super::timestamp`]. Takes DER alone, and never asks who signed, or whether they may.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5911;
use der::asn1::Any;
use der::{Encode, Reader, SliceReader, Tag, TagNumber};
use spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef};

use super::element::{around, expect, only, optional};
use super::key::{self, Hash};
use super::{BadCertificate, Certificate};
use crate::limits;

/// Signed data that could be read. Nothing of it is known to be true yet.
pub(super) struct SignedData<'a> {
    /// The type of the content: an object identifier's content bytes.
    pub(super) content_type: &'a [u8],
    /// What was signed.
    pub(super) content: &'a [u8],
    /// Certificates that may be of use; nobody signed that they are all here, or belong here.
    pub(super) certificates: Vec<Certificate>,
    /// The one signer.
    pub(super) signer: SignerInfo<'a>,
}

/// What the signer says.
pub(super) struct SignerInfo<'a> {
    /// The issuer of the signer's certificate, in DER.
    issuer: &'a [u8],
    /// Its serial number, in DER.
    serial: &'a [u8],
    digest: AlgorithmIdentifierRef<'a>,
    attributes: Vec<Attribute<'a>>,
    /// The attributes as they were signed: a SET OF in DER (RFC 5652, section 5.4).
    signed: Vec<u8>,
    algorithm: AlgorithmIdentifierOwned,
    signature: &'a [u8],
}

struct Attribute<'a> {
    /// An object identifier's content bytes.
    kind: &'a [u8],
    /// Its values, one after the other.
    values: &'a [u8],
}

/// Why bytes are no signed data that can be judged, or why they were not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignedData {
    /// Not DER of the form that must stand there.
    #[error("it cannot be read as signed data (CMS) in DER: {0}")]
    Malformed(der::Error),
    /// Another kind of content (RFC 5652, section 3).
    #[error("it is no signed data (CMS)")]
    NotSignedData,
    /// A version that belongs to another form.
    #[error("the version of its {part} is not {expected}")]
    Version {
        /// The part.
        part: &'static str,
        /// What it must be.
        expected: u8,
    },
    /// More than [`limits::CHAIN_CERTIFICATES`].
    #[error("it has more than {limit} certificates", limit = limits::CHAIN_CERTIFICATES)]
    TooManyCertificates,
    /// One of its certificates cannot be read.
    #[error("its certificate {number}: {cause}")]
    Certificate {
        /// Counted from 1.
        number: usize,
        /// Why not.
        cause: BadCertificate,
    },
    /// Not exactly one signer (RFC 3161, section 2.4.2: the authority's signature and no other).
    #[error("it does not have exactly one signer")]
    Signers,
    /// No signed attributes (RFC 5652, section 5.3: required for what is not plain data).
    #[error("it has no signed attributes")]
    NoAttributes,
    /// More than [`limits::TIMESTAMP_ELEMENTS`].
    #[error("it has more than {limit} signed attributes", limit = limits::TIMESTAMP_ELEMENTS)]
    TooManyAttributes,
    /// A signed attribute that must be there.
    #[error("its signed attribute {0} is missing")]
    Missing(&'static str),
    /// A signed attribute twice, or with another number of values than one (RFC 5652, section 11).
    #[error("its signed attribute {0} must stand there once, with one value")]
    NotOne(&'static str),
    /// A signed attribute that says something else than what was signed.
    #[error("its signed attribute {0} does not fit its content")]
    Attribute(&'static str),
    /// A hash function that is not taken.
    #[error("the hash function {0} is not supported: SHA-256, SHA-384 or SHA-512")]
    Hash(String),
    /// A signature algorithm, or a key, that is not taken.
    #[error(
        "its signature algorithm is {0}: supported are RSA of 2048 to 8192 bits and EC P-256, P-384 or P-521, with SHA-256, SHA-384 or SHA-512"
    )]
    Algorithm(String),
    /// The signature is not by the key of the signer's certificate.
    #[error("its signature does not fit: it was changed, or not made by the key of its signer")]
    Signature,
}

impl From<der::Error> for BadSignedData {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error)
    }
}

impl<'a> SignedData<'a> {
    /// Reads a ContentInfo of signed data.
    pub(super) fn read(der: &'a [u8]) -> Result<Self, BadSignedData> {
        let mut info = whole(der, Tag::Sequence)?;
        if expect(&mut info, Tag::ObjectIdentifier)? != rfc5911::ID_SIGNED_DATA.as_bytes() {
            return Err(BadSignedData::NotSignedData);
        }
        let mut fields = whole(expect(&mut info, around(TagNumber::N0))?, Tag::Sequence)?;
        info.finish(())?;
        // Version 3: the content is not plain data, and all certificates are plain ones (RFC 5652, section 5.1).
        check_version(&mut fields, "signed data", 3)?;
        // Which hash functions were used: the signer says it again.
        let _digests = expect(&mut fields, Tag::Set)?;
        let mut encapsulated = SliceReader::new(expect(&mut fields, Tag::Sequence)?)?;
        let content_type = expect(&mut encapsulated, Tag::ObjectIdentifier)?;
        let signed = only(expect(&mut encapsulated, around(TagNumber::N0))?, Tag::OctetString)?;
        encapsulated.finish(())?;
        let certificates = optional(&mut fields, around(TagNumber::N0))?.map(read_certificates).transpose()?;
        let _revocation = optional(&mut fields, around(TagNumber::N1))?;
        let mut signers = SliceReader::new(expect(&mut fields, Tag::Set)?)?;
        fields.finish(())?;
        if signers.is_finished() {
            return Err(BadSignedData::Signers);
        }
        let signer = expect(&mut signers, Tag::Sequence)?;
        if !signers.is_finished() {
            return Err(BadSignedData::Signers);
        }
        Ok(Self {
            content_type,
            content: signed,
            certificates: certificates.unwrap_or_default(),
            signer: SignerInfo::read(signer)?,
        })
    }

    /// Checks that the key of a certificate signed the content, by way of the signed attributes (RFC 5652, sections 5.4
    /// and 5.6).
    pub(super) fn check_signature(&self, certificate: &Certificate) -> Result<(), BadSignedData> {
        let signer = &self.signer;
        let content_type = signer.attribute(rfc5911::ID_CONTENT_TYPE, "content-type")?;
        if only(content_type, Tag::ObjectIdentifier)? != self.content_type {
            return Err(BadSignedData::Attribute("content-type"));
        }
        let hash = Hash::of(&signer.digest).map_err(BadSignedData::Hash)?;
        let digest = signer.attribute(rfc5911::ID_MESSAGE_DIGEST, "message-digest")?;
        if only(digest, Tag::OctetString)? != hash.digest(self.content).as_ref() {
            return Err(BadSignedData::Attribute("message-digest"));
        }
        let key = certificate.key().map_err(BadSignedData::Algorithm)?;
        let algorithm = key::signer_primitive(&signer.algorithm, hash, key).map_err(BadSignedData::Algorithm)?;
        if certificate.signed(algorithm, &signer.signed, signer.signature) {
            Ok(())
        } else {
            Err(BadSignedData::Signature)
        }
    }
}

impl<'a> SignerInfo<'a> {
    /// Reads the content of a SignerInfo (RFC 5652, section 5.3).
    fn read(content_of: &'a [u8]) -> Result<Self, BadSignedData> {
        let mut fields = SliceReader::new(content_of)?;
        // Version 1: the certificate is named by its issuer and its serial number; notation reads no other.
        check_version(&mut fields, "signer", 1)?;
        let mut name = SliceReader::new(expect(&mut fields, Tag::Sequence)?)?;
        let (issuer, serial) = (name.tlv_bytes()?, name.tlv_bytes()?);
        name.finish(())?;
        let digest = fields.decode()?;
        let attributes = optional(&mut fields, around(TagNumber::N0))?.ok_or(BadSignedData::NoAttributes)?;
        let algorithm = fields.decode()?;
        let signature = expect(&mut fields, Tag::OctetString)?;
        let _unsigned = optional(&mut fields, around(TagNumber::N1))?;
        fields.finish(())?;
        let mut elements = Vec::new();
        let mut reader = SliceReader::new(attributes)?;
        while !reader.is_finished() {
            if elements.len() == limits::TIMESTAMP_ELEMENTS {
                return Err(BadSignedData::TooManyAttributes);
            }
            elements.push(reader.tlv_bytes()?);
        }
        let attributes = elements.iter().map(|element| Attribute::read(element)).collect::<der::Result<_>>()?;
        // A SET OF in DER is in order, whatever the order in which it came.
        elements.sort_unstable();
        let signed = Any::new(Tag::Set, elements.concat())?.to_der()?;
        Ok(Self { issuer, serial, digest, attributes, signed, algorithm, signature })
    }

    /// Whether this certificate is the one that the signer names.
    pub(super) fn names(&self, certificate: &Certificate) -> bool {
        is_named(certificate, self.issuer, self.serial)
    }

    /// The one value of a signed attribute, in DER.
    pub(super) fn attribute(&self, kind: ObjectIdentifier, name: &'static str) -> Result<&'a [u8], BadSignedData> {
        self.find(kind, name)?.ok_or(BadSignedData::Missing(name))
    }

    /// The same of one that may be missing.
    pub(super) fn find(&self, kind: ObjectIdentifier, name: &'static str) -> Result<Option<&'a [u8]>, BadSignedData> {
        let mut found = self.attributes.iter().filter(|attribute| attribute.kind == kind.as_bytes());
        let Some(attribute) = found.next() else { return Ok(None) };
        let mut values = SliceReader::new(attribute.values)?;
        if found.next().is_some() || values.is_finished() {
            return Err(BadSignedData::NotOne(name));
        }
        let value = values.tlv_bytes()?;
        if values.is_finished() { Ok(Some(value)) } else { Err(BadSignedData::NotOne(name)) }
    }
}

impl<'a> Attribute<'a> {
    fn read(der: &'a [u8]) -> der::Result<Self> {
        let mut fields = whole(der, Tag::Sequence)?;
        let kind = expect(&mut fields, Tag::ObjectIdentifier)?;
        let values = expect(&mut fields, Tag::Set)?;
        fields.finish(Self { kind, values })
    }
}

/// Whether a certificate has this issuer, byte by byte, and this serial number, both in DER.
pub(super) fn is_named(certificate: &Certificate, issuer: &[u8], serial: &[u8]) -> bool {
    certificate.parts.issuer == issuer && only(serial, Tag::Integer) == Ok(certificate.serial())
}

fn read_certificates(set: &[u8]) -> Result<Vec<Certificate>, BadSignedData> {
    let mut reader = SliceReader::new(set)?;
    let mut certificates = Vec::new();
    while !reader.is_finished() {
        if certificates.len() == limits::CHAIN_CERTIFICATES {
            return Err(BadSignedData::TooManyCertificates);
        }
        let number = certificates.len() + 1;
        let certificate = Certificate::from_der(reader.tlv_bytes()?);
        certificates.push(certificate.map_err(|cause| BadSignedData::Certificate { number, cause })?);
    }
    Ok(certificates)
}

fn check_version(fields: &mut SliceReader<'_>, part: &'static str, expected: u8) -> Result<(), BadSignedData> {
    let version = expect(fields, Tag::Integer)?;
    if version == [expected] { Ok(()) } else { Err(BadSignedData::Version { part, expected }) }
}

/// A reader of the content of the one element that some DER is.
pub(super) fn whole(der: &[u8], tag: Tag) -> der::Result<SliceReader<'_>> {
    SliceReader::new(only(der, tag)?)
}
