//! The Online Certificate Status Protocol (RFC 6960): the question about one certificate, and whether an answer is to it,
//! by whom the issuer lets answer, and what it says. Called by `revocation`. Asks no clock and sends nothing.

use std::time::SystemTime;

use aws_lc_rs::digest::{self, Algorithm};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc5912};
use der::asn1::{BitStringRef, GeneralizedTime};
use der::{Decode, Reader, SliceReader, Tag, TagNumber};
use spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef};

use super::chain::{self, Violation};
use super::crl::{self, Reason, Revoked};
use super::element::{self, Elements, Extension};
use super::{BadCertificate, Certificate, key, path, rfc3339};
use crate::limits;

/// What a responder says of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// It.
    pub status: Status,
    /// Until when that counts.
    pub until: SystemTime,
    /// Who answered in the issuer's place, if that one may have been taken back itself: its certificate does not say
    /// that it need not be asked about (RFC 6960, section 4.2.2.2.1).
    pub delegate: Option<Certificate>,
}

/// A certificate's status in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It stands.
    Good,
    /// It was taken back.
    Revoked(Revoked),
    /// The responder does not know of it.
    Unknown,
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Not DER of an answer.
    #[error("it is no OCSP response in DER: {0}")]
    Malformed(der::Error),
    /// The responder refuses (RFC 6960, section 4.2.1).
    #[error("the responder answers {0}")]
    Refused(&'static str),
    /// Not of the basic type.
    #[error("the OCSP response is of a type that is not known")]
    Type,
    /// A critical extension that is not understood.
    #[error("it has the critical extension {0}, which is not understood")]
    Critical(String),
    /// It speaks of others.
    #[error("it is about another certificate")]
    Other,
    /// Signed by nobody who may.
    #[error("it is signed neither by {0} nor by whom that one lets answer")]
    Signer(String),
    /// A certificate of who answered that does not serve.
    #[error("the certificate of who answered: {0}")]
    Delegate(String),
    /// A signature algorithm that is not taken.
    #[error("its signature algorithm is not supported: {0}")]
    Algorithm(String),
    /// Not the signature of who it says.
    #[error("its signature does not fit its content")]
    Signature,
    /// Without an end it could be said again for ever.
    #[error("it does not say when the next one comes (nextUpdate)")]
    Endless,
    /// Not valid yet.
    #[error("it is valid from {}, and it is {}", rfc3339(*.0), rfc3339(*.1))]
    Early(SystemTime, SystemTime),
    /// Too old.
    #[error("it expired at {}, and it is {}", rfc3339(*.0), rfc3339(*.1))]
    Expired(SystemTime, SystemTime),
}

impl From<der::Error> for BadAnswer {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error)
    }
}

impl From<BadCertificate> for BadAnswer {
    fn from(error: BadCertificate) -> Self {
        Self::Delegate(error.to_string())
    }
}

/// The question about a certificate. It names it by SHA-1, which alone every responder knows (RFC 5019, section 2.1.1);
/// the hash protects nothing. It holds no nonce: answers are made ahead, and end.
#[must_use]
pub fn request(certificate: &Certificate, issuer: &Certificate) -> Vec<u8> {
    let sha1 = element::write(0x30, &[&element::write(6, &[SHA1.as_bytes()]), &[5, 0]]);
    let [name, key] = hashes(&digest::SHA1_FOR_LEGACY_USE_ONLY, issuer).map(|hash| element::write(4, &[hash.as_ref()]));
    let id = element::write(0x30, &[&sha1, &name, &key, &element::write(2, &[certificate.serial()])]);
    let list = element::write(0x30, &[&element::write(0x30, &[&id])]);
    element::write(0x30, &[&element::write(0x30, &[&list])])
}

/// What an answer says of a certificate.
///
/// # Errors
/// Why it says nothing; see [`BadAnswer`].
pub fn judge(
    der: &[u8],
    certificate: &Certificate,
    issuer: &Certificate,
    now: SystemTime,
) -> Result<Answer, BadAnswer> {
    let basic = Basic::parse(basic_of(der)?)?;
    let delegate = basic.check_signer(issuer, now)?;
    let mut worst: Option<Single> = None;
    let mut singles = SliceReader::new(basic.singles)?;
    while !singles.is_finished() {
        let single = element::expect(&mut singles, Tag::Sequence)?;
        if let Some(single) = Single::read(single, certificate, issuer)? {
            let is_worse = worst.as_ref().is_none_or(|other| single.weight() > other.weight());
            worst = if is_worse { Some(single) } else { worst };
        }
    }
    let Single { status, this_update, next_update } = worst.ok_or(BadAnswer::Other)?;
    if now.checked_add(limits::CLOCK_SKEW).is_some_and(|latest| latest < this_update) {
        return Err(BadAnswer::Early(this_update, now));
    }
    let next_update = next_update.ok_or(BadAnswer::Endless)?;
    if now > next_update {
        return Err(BadAnswer::Expired(next_update, now));
    }
    let until = delegate.as_ref().map_or(next_update, |delegate| delegate.not_after().min(next_update));
    let delegate = delegate.filter(|delegate| delegate.extension(OCSP_NOCHECK).is_none());
    Ok(Answer { status, until, delegate })
}

/// The BasicOCSPResponse in an OCSPResponse (RFC 6960, section 4.2.1).
fn basic_of(der: &[u8]) -> Result<&[u8], BadAnswer> {
    let mut response = SliceReader::new(element::only(der, Tag::Sequence)?)?;
    let status = crl::enumerated(response.tlv_bytes()?)?;
    let refused = match status {
        0 => None,
        1 => Some("malformedRequest"),
        2 => Some("internalError"),
        3 => Some("tryLater"),
        5 => Some("sigRequired"),
        6 => Some("unauthorized"),
        _ => Some("with a status that is not known"),
    };
    if let Some(refused) = refused {
        return Err(BadAnswer::Refused(refused));
    }
    let bytes = element::expect(&mut response, element::around(TagNumber::N0))?;
    response.finish(())?;
    let mut bytes = SliceReader::new(element::only(bytes, Tag::Sequence)?)?;
    if bytes.decode::<ObjectIdentifier>()? != OCSP_BASIC {
        return Err(BadAnswer::Type);
    }
    let basic = element::expect(&mut bytes, Tag::OctetString)?;
    Ok(bytes.finish(basic)?)
}

/// A BasicOCSPResponse whose form holds.
struct Basic<'a> {
    tbs: &'a [u8],
    algorithm: AlgorithmIdentifierOwned,
    signature: &'a [u8],
    certificates: &'a [u8],
    responder: Responder<'a>,
    singles: &'a [u8],
}

/// Who answered.
enum Responder<'a> {
    /// By its subject.
    Name(&'a [u8]),
    /// By the SHA-1 of its key.
    Key(&'a [u8]),
}

impl<'a> Basic<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, BadAnswer> {
        let mut basic = SliceReader::new(element::only(der, Tag::Sequence)?)?;
        let tbs = basic.tlv_bytes()?;
        let algorithm = basic.decode::<AlgorithmIdentifierOwned>()?;
        let signature = basic.decode::<BitStringRef<'a>>()?.as_bytes().unwrap_or_default();
        let certificates = match element::optional(&mut basic, element::around(TagNumber::N0))? {
            Some(list) => element::only(list, Tag::Sequence)?,
            None => &[],
        };
        basic.finish(())?;

        let mut data = SliceReader::new(element::only(tbs, Tag::Sequence)?)?;
        if let Some(version) = element::optional(&mut data, element::around(TagNumber::N0))?
            && element::only(version, Tag::Integer)? != [0]
        {
            return Err(BadAnswer::Type);
        }
        let responder = match element::read(&mut data)? {
            (tag, name) if tag == element::around(TagNumber::N1) => Responder::Name(name),
            (tag, key) if tag == element::around(TagNumber::N2) => {
                Responder::Key(element::only(key, Tag::OctetString)?)
            }
            (tag, _) => return Err(tag.unexpected_error(None).into()),
        };
        let _produced = data.decode::<GeneralizedTime>()?;
        let singles = element::expect(&mut data, Tag::Sequence)?;
        if let Some(extensions) = element::optional(&mut data, element::around(TagNumber::N1))? {
            find_extension(element::only(extensions, Tag::Sequence)?, None)?;
        }
        data.finish(())?;
        Ok(Self { tbs, algorithm, signature, certificates, responder, singles })
    }

    /// Checks that the issuer signed it, or somebody whom it lets answer, who is returned: "the OCSP signing certificate
    /// must be issued by the same CA as the certificate being verified or the OCSP response must be signed by the issuing
    /// CA" (trust policy specification, "Revocation Checking with OCSP").
    fn check_signer(&self, issuer: &Certificate, now: SystemTime) -> Result<Option<Certificate>, BadAnswer> {
        // Somebody of the issuer's name may have another key than the issuer.
        let mut fault = match self.is_responder(issuer).then(|| self.is_signed_by(issuer)) {
            Some(Ok(true)) => return Ok(None),
            Some(Ok(false)) => BadAnswer::Signature,
            Some(Err(unasked)) => unasked,
            None => BadAnswer::Signer(issuer.subject().to_string()),
        };
        let mut certificates = SliceReader::new(self.certificates)?;
        for _ in 0..limits::OCSP_CERTIFICATES {
            if certificates.is_finished() {
                break;
            }
            match Certificate::from_der(certificates.tlv_bytes()?) {
                Ok(delegate) if self.is_responder(&delegate) && delegate != *issuer => {
                    match self.check_delegate(&delegate, issuer, now) {
                        Ok(()) => return Ok(Some(delegate)),
                        Err(why) => fault = why,
                    }
                }
                Ok(_) => {}
                // Another one may be the one that counts.
                Err(why) => fault = why.into(),
            }
        }
        Err(fault)
    }

    /// Checks that the issuer lets a certificate answer, and that its key did (RFC 6960, section 4.2.2.2).
    fn check_delegate(&self, delegate: &Certificate, issuer: &Certificate, now: SystemTime) -> Result<(), BadAnswer> {
        let refuse = |why: String| Err(BadAnswer::Delegate(why));
        let subject = delegate.subject();
        let bad = |why: Violation| BadAnswer::Delegate(why.to_string());
        chain::check_form(delegate).map_err(bad)?;
        if !delegate.names_as_issuer(issuer) || !delegate.signature_is_by(issuer).map_err(BadAnswer::Algorithm)? {
            return refuse(format!("{subject} was not issued by {}", issuer.subject()));
        }
        if !chain::says(&chain::purposes(delegate).map_err(bad)?, rfc5912::ID_KP_OCSP_SIGNING) {
            return refuse(format!("{subject}: its extendedKeyUsage does not say OCSPSigning"));
        }
        if delegate.signs().map_err(bad)? == Some(false) {
            return refuse(format!("{subject}: its keyUsage does not say digitalSignature"));
        }
        let is_known = |extension: &Extension<'_>| path::is_understood(extension) || extension.is(OCSP_NOCHECK);
        if let Some(extension) = delegate.extensions().find(|it| it.critical && !is_known(it)) {
            return refuse(format!("{subject}: its critical extension {} is not supported", extension.name()));
        }
        chain::check_validity(std::slice::from_ref(delegate), now).map_err(bad)?;
        if self.is_signed_by(delegate)? { Ok(()) } else { Err(BadAnswer::Signature) }
    }

    fn is_responder(&self, certificate: &Certificate) -> bool {
        match self.responder {
            Responder::Name(name) => name == certificate.subject_der(),
            Responder::Key(key) => {
                let [_, hash] = hashes(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate);
                hash.as_ref() == key
            }
        }
    }

    fn is_signed_by(&self, certificate: &Certificate) -> Result<bool, BadAnswer> {
        let primitive = certificate.key().and_then(|kind| key::primitive(&self.algorithm, kind));
        Ok(certificate.signed(primitive.map_err(BadAnswer::Algorithm)?, self.tbs, self.signature))
    }
}

/// One certificate's part of an answer.
struct Single {
    status: Status,
    this_update: SystemTime,
    next_update: Option<SystemTime>,
}

impl Single {
    /// Reads a SingleResponse, if it is about that certificate.
    fn read(content: &[u8], certificate: &Certificate, issuer: &Certificate) -> Result<Option<Self>, BadAnswer> {
        let mut single = SliceReader::new(content)?;
        let is_it = names(element::expect(&mut single, Tag::Sequence)?, certificate, issuer)?;
        let (tag, status) = element::read(&mut single)?;
        let this_update = single.decode::<GeneralizedTime>()?.to_system_time();
        let next_update = match element::optional(&mut single, element::around(TagNumber::N0))? {
            Some(time) => Some(GeneralizedTime::from_der(time)?.to_system_time()),
            None => None,
        };
        let invalid_from = match element::optional(&mut single, element::around(TagNumber::N1))? {
            Some(list) => find_extension(element::only(list, Tag::Sequence)?, Some(rfc5280::ID_CE_INVALIDITY_DATE))?,
            None => None,
        };
        single.finish(())?;
        if !is_it {
            return Ok(None);
        }
        let invalid_from = invalid_from.map(GeneralizedTime::from_der).transpose()?.map(|time| time.to_system_time());
        let status = match tag {
            tag if tag == element::instead(TagNumber::N0) && status.is_empty() => Status::Good,
            tag if tag == element::around(TagNumber::N1) => Status::Revoked(revoked(status, invalid_from)?),
            tag if tag == element::instead(TagNumber::N2) && status.is_empty() => Status::Unknown,
            tag => return Err(tag.value_error().into()),
        };
        Ok(Some(Self { status, this_update, next_update }))
    }

    /// Of two parts about one certificate the worse one counts.
    fn weight(&self) -> u8 {
        match self.status {
            Status::Good => 0,
            Status::Unknown => 1,
            Status::Revoked(_) => 2,
        }
    }
}

fn revoked(content: &[u8], invalid_from: Option<SystemTime>) -> Result<Revoked, BadAnswer> {
    let mut info = SliceReader::new(content)?;
    let at = info.decode::<GeneralizedTime>()?.to_system_time();
    let reason = match element::optional(&mut info, element::around(TagNumber::N0))? {
        Some(reason) => Reason(crl::enumerated(reason)?),
        None => Reason(0),
    };
    info.finish(())?;
    Ok(Revoked { at, reason, invalid_from })
}

/// Whether a CertID names that certificate.
fn names(content: &[u8], certificate: &Certificate, issuer: &Certificate) -> Result<bool, BadAnswer> {
    let mut id = SliceReader::new(content)?;
    let algorithm = id.decode::<AlgorithmIdentifierRef<'_>>()?;
    let name = element::expect(&mut id, Tag::OctetString)?;
    let key = element::expect(&mut id, Tag::OctetString)?;
    let serial = element::expect(&mut id, Tag::Integer)?;
    id.finish(())?;
    let algorithm = match algorithm.oid {
        SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        rfc5912::ID_SHA_256 => &digest::SHA256,
        _ => return Ok(false),
    };
    let [name_hash, key_hash] = hashes(algorithm, issuer);
    Ok(crl::number(serial) == crl::number(certificate.serial())
        && name == name_hash.as_ref()
        && key == key_hash.as_ref())
}

/// The hashes of an issuer's name and of its key, without the tag, length and unused bits before it (RFC 6960, section
/// 4.1.1).
fn hashes(algorithm: &'static Algorithm, issuer: &Certificate) -> [digest::Digest; 2] {
    [issuer.subject_der(), issuer.parts.key.bits.raw_bytes()].map(|bytes| digest::digest(algorithm, bytes))
}

/// The value of the extension that is looked for. Critical ones besides are refused.
fn find_extension(list: &[u8], wanted: Option<ObjectIdentifier>) -> Result<Option<&[u8]>, BadAnswer> {
    let mut found = None;
    let mut list = Elements::new(list);
    while !list.is_finished() {
        let extension = Extension::read(&mut list)?;
        if wanted.is_some_and(|wanted| extension.is(wanted)) {
            found = Some(extension.value);
        } else if extension.critical {
            return Err(BadAnswer::Critical(extension.name()));
        }
    }
    Ok(found)
}

/// SHA-1.
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

/// id-pkix-ocsp-basic.
const OCSP_BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// id-pkix-ocsp-nocheck.
const OCSP_NOCHECK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5");

#[cfg(test)]
mod tests;
