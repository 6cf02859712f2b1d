//! Extensions of CRLs and of their entries (RFC 5280, sections 5.2 and 5.3): those that count, and none that is critical
//! and not understood. Called by the reader of lists. Judges nothing.

use std::time::SystemTime;

use const_oid::db::rfc5280;
use der::asn1::GeneralizedTime;
use der::{Decode, Tag};
use x509_cert::ext::pkix::crl::dp::IssuingDistributionPoint;
use x509_cert::time::Time;

use super::{BadCrl, Reason};
use crate::limits;
use crate::pki::element::{self, Elements, Extension};
use crate::pki::points::{self, Point};
use crate::pki::{CERTIFICATE_DEPTH, lists_are_short};

/// Extensions of a list as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Extensions<'a> {
    pub(super) number: Option<&'a [u8]>,
    /// The number of the list that a list of changes builds on.
    pub(super) base: Option<&'a [u8]>,
    pub(super) scope: Option<Scope<'a>>,
    pub(super) freshest: Vec<Point>,
    pub(super) next_publish: Option<SystemTime>,
}

#[derive(Clone, Debug)]
pub(super) struct Scope<'a> {
    pub(super) der: &'a [u8],
    pub(super) point: IssuingDistributionPoint,
}

impl<'a> Extensions<'a> {
    /// Reads those of a list.
    pub(super) fn read(content: &'a [u8]) -> Result<Self, BadCrl> {
        let mut read = Self::default();
        let mut seen: Vec<&[u8]> = Vec::new();
        let mut list = Elements::new(content);
        while !list.is_finished() {
            let extension = Extension::read(&mut list)?;
            if seen.len() >= limits::CERTIFICATE_ELEMENTS || extension.value.len() > limits::CERTIFICATE_BYTES {
                return Err(BadCrl::Extensions);
            }
            if seen.contains(&extension.oid) {
                return Err(BadCrl::Twice(extension.name()));
            }
            seen.push(extension.oid);
            read.take(extension)?;
        }
        Ok(read)
    }

    fn take(&mut self, extension: Extension<'a>) -> Result<(), BadCrl> {
        let value = extension.value;
        match extension.oid {
            _ if extension.is(rfc5280::ID_CE_CRL_NUMBER) => self.number = Some(positive(value)?),
            _ if extension.is(rfc5280::ID_CE_DELTA_CRL_INDICATOR) => self.base = Some(positive(value)?),
            _ if extension.is(rfc5280::ID_CE_ISSUING_DISTRIBUTION_POINT) => {
                if !lists_are_short(value, CERTIFICATE_DEPTH)? {
                    return Err(BadCrl::Extensions);
                }
                self.scope = Some(Scope { der: value, point: IssuingDistributionPoint::from_der(value)? });
            }
            _ if extension.is(rfc5280::ID_CE_FRESHEST_CRL) => self.freshest = points::read(value)?,
            NEXT_PUBLISH if !extension.critical => {
                self.next_publish = Some(Time::from_der(value)?.to_system_time());
            }
            _ if extension.critical => return Err(BadCrl::Critical(extension.name())),
            _ => {}
        }
        Ok(())
    }
}

/// Reason and invalidity date of an entry, where they are wanted; what is critical and not understood is refused in any.
pub(super) fn of_entry(content: &[u8], wanted: bool) -> Result<(Reason, Option<SystemTime>), BadCrl> {
    let (mut reason, mut invalid_from) = (Reason(0), None);
    let mut list = Elements::new(content);
    while !list.is_finished() {
        let extension = Extension::read(&mut list)?;
        let is_reason = extension.is(rfc5280::ID_CE_CRL_REASONS);
        let is_date = extension.is(rfc5280::ID_CE_INVALIDITY_DATE);
        if extension.is(rfc5280::ID_CE_CERTIFICATE_ISSUER) {
            return Err(BadCrl::Indirect);
        }
        if extension.critical && !is_reason && !is_date {
            return Err(BadCrl::Critical(extension.name()));
        }
        if wanted && is_reason {
            reason = Reason(enumerated(extension.value)?);
        }
        if wanted && is_date {
            invalid_from = Some(GeneralizedTime::from_der(extension.value)?.to_system_time());
        }
    }
    Ok((reason, invalid_from))
}

/// The one byte of an ENUMERATED.
pub(in crate::pki) fn enumerated(der: &[u8]) -> der::Result<u8> {
    match element::only(der, Tag::Enumerated)? {
        [value] => Ok(*value),
        _ => Err(Tag::Enumerated.value_error()),
    }
}

/// The content of an INTEGER that is not negative.
fn positive(der: &[u8]) -> der::Result<&[u8]> {
    let content = element::only(der, Tag::Integer)?;
    match content.first() {
        Some(first) if first & 0x80 == 0 => Ok(number(content)),
        _ => Err(Tag::Integer.value_error()),
    }
}

/// A number's bytes without zeros before it: some write more than they must.
pub(in crate::pki) fn number(content: &[u8]) -> &[u8] {
    let zeros = content.iter().take_while(|byte| **byte == 0).count();
    content.get(zeros..).unwrap_or_default()
}

/// The identifier of Microsoft's extension "Next CRL Publish", 1.3.6.1.4.1.311.21.4.
const NEXT_PUBLISH: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 21, 4];
