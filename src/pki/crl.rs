//! Certificate revocation lists (RFC 5280, section 5): whether a list is its issuer's, speaks of a certificate, and what
//! it says of it. Called by `revocation` with the bytes of a list, and of the list of changes since where there is one.
//! A list may have 32 MiB, so it is gone through, never taken apart; asks no clock and fetches nothing.

use std::cmp::Ordering;
use std::time::SystemTime;

use der::asn1::BitStringRef;
use der::{Decode, Reader, SliceReader, Tag, TagNumber};
use spki::AlgorithmIdentifierOwned;
use x509_cert::ext::pkix::crl::dp::ReasonFlags;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{KeyUsage, KeyUsages};
use x509_cert::time::Time;

use super::element;
use super::points::{Coverage, Point, all_reasons};
use super::{Certificate, key, rfc3339};
use crate::limits;

mod extensions;
#[cfg(test)]
mod tests;

use extensions::{Extensions, Scope};
pub(super) use extensions::{enumerated, number};

/// A list whose form holds. Nothing is known yet of its signature.
#[derive(Clone, Debug)]
pub struct Crl<'a> {
    tbs: &'a [u8],
    algorithm: AlgorithmIdentifierOwned,
    signature: &'a [u8],
    issuer: &'a [u8],
    this_update: SystemTime,
    next_update: SystemTime,
    entries: &'a [u8],
    extensions: Extensions<'a>,
}

/// That a certificate was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// When.
    pub at: SystemTime,
    /// Why.
    pub reason: Reason,
    /// Since when its key is not to be believed; what was signed before still holds.
    pub invalid_from: Option<SystemTime>,
}

/// Why a certificate was taken back, by its number (RFC 5280, section 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u8);

/// What is known of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It stands.
    Good,
    /// It was taken back.
    Revoked(Revoked),
}

/// What a list says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// It.
    pub status: Status,
    /// For which reasons the list would have it.
    pub coverage: Coverage,
    /// Until when no newer list is there.
    pub fresh_until: SystemTime,
    /// Until when that counts.
    pub until: SystemTime,
}

/// A certificate that is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The certificate.
    pub certificate: &'a Certificate,
    /// The one that issued it, whose key made its signature.
    pub issuer: &'a Certificate,
    /// The places, named by the certificate, that the list may come from; one of them is enough.
    pub points: &'a [Point],
}

/// Why a list says nothing of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCrl {
    /// Not DER of a list.
    #[error("it is no X.509 CRL in DER: {0}")]
    Malformed(der::Error),
    /// Not version 2.
    #[error("it is no X.509 CRL of version 2")]
    Version,
    /// A list of extensions that is too long, or one that is too large.
    #[error("its extensions are larger than the limit")]
    Extensions,
    /// An extension is there twice.
    #[error("it has extension {0} twice")]
    Twice(String),
    /// A critical extension that is not understood (RFC 5280, section 5.2).
    #[error("it has the critical extension {0}, which is not understood")]
    Critical(String),
    /// An indirect list (RFC 5280, section 5.2.5).
    #[error("it is an indirect CRL, which is not supported")]
    Indirect,
    /// Without an end it would count for ever.
    #[error("it does not say when the next one comes (nextUpdate)")]
    Endless,
    /// The signed part states another signature algorithm than the part around it.
    #[error("it states two different signature algorithms")]
    TwoAlgorithms,
    /// Somebody else's.
    #[error("it is not the list of {0}")]
    Issuer(String),
    /// The issuer may not sign lists (RFC 5280, section 6.3.3 (f)).
    #[error("the keyUsage of {0} does not say cRLSign")]
    MayNotSign(String),
    /// A signature algorithm that is not taken.
    #[error("its signature algorithm is not supported: {0}")]
    Algorithm(String),
    /// Not the issuer's signature.
    #[error("its signature was not made by the key of {0}")]
    Signature(String),
    /// It does not speak of such certificates.
    #[error("it is not about this certificate: {0}")]
    Scope(&'static str),
    /// Not valid yet.
    #[error("it is valid from {}, and it is {}", rfc3339(*.0), rfc3339(*.1))]
    Early(SystemTime, SystemTime),
    /// Its successor is due.
    #[error("it expired at {}, and it is {}", rfc3339(*.0), rfc3339(*.1))]
    Expired(SystemTime, SystemTime),
    /// A list of changes stands in the place of a whole one.
    #[error("it is a delta CRL, not a whole one")]
    IsDelta,
    /// A whole list stands in the place of one of changes.
    #[error("it is no delta CRL")]
    IsNotDelta,
    /// It says where changes since can be had, and they decide.
    #[error("it names a delta CRL, which is missing")]
    NeedsDelta(Vec<Point>),
    /// Both do not fit together.
    #[error("the delta CRL does not fit the base CRL: {0}")]
    Mismatch(&'static str),
}

impl From<der::Error> for BadCrl {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error)
    }
}

impl Reason {
    /// Taken back for a while only.
    pub const HOLD: Self = Self(6);
    /// No longer taken back, in a list of changes.
    pub const REMOVED: Self = Self(8);

    /// The specification's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self.0 {
            0 => "unspecified",
            1 => "keyCompromise",
            2 => "cACompromise",
            3 => "affiliationChanged",
            4 => "superseded",
            5 => "cessationOfOperation",
            6 => "certificateHold",
            8 => "removeFromCRL",
            9 => "privilegeWithdrawn",
            10 => "aACompromise",
            _ => "unknown reason",
        }
    }
}

impl Revoked {
    /// Whether it counts for what was signed at a moment that someone trusted tells: "if the invalidity date is before
    /// the timestamping date, the certificate is considered revoked" (trust policy specification, "Revocation Checking
    /// with CRL"). Without either date it counts.
    #[must_use]
    pub fn counts(&self, signed_at: Option<SystemTime>) -> bool {
        match (self.invalid_from, signed_at) {
            (Some(invalid_from), Some(signed_at)) => signed_at >= invalid_from,
            (None, _) | (_, None) => true,
        }
    }

    /// Whether that is for good.
    fn is_final(&self) -> bool {
        self.reason != Reason::HOLD && self.reason != Reason::REMOVED
    }
}

/// What a list, with the list of changes since where it names one, says of a certificate. "Revoked" is believed of a
/// list that has expired too, unless it may have been for a while only.
///
/// # Errors
/// Why it says nothing; see [`BadCrl`].
pub fn judge(base: &Crl<'_>, delta: Option<&Crl<'_>>, subject: Subject<'_>, now: SystemTime) -> Result<Judged, BadCrl> {
    if base.is_delta() {
        return Err(BadCrl::IsDelta);
    }
    let coverage = Coverage(base.covers(subject)?);
    base.check_signature(subject.issuer)?;
    let listed = base.find(subject.certificate.serial())?;
    let judged = Judged { status: Status::Good, coverage, fresh_until: base.fresh_until(), until: base.next_update };
    if let Some(revoked) = listed.filter(Revoked::is_final) {
        return Ok(Judged { status: Status::Revoked(revoked), ..judged });
    }
    base.check_time(now)?;
    let freshest = base.freshest(subject.certificate);
    let (status, judged) = match delta {
        None if freshest.is_empty() => (listed, judged),
        None => return Err(BadCrl::NeedsDelta(freshest)),
        Some(delta) => {
            delta.check_builds_on(base)?;
            delta.check_signature(subject.issuer)?;
            let changed = delta.find(subject.certificate.serial())?;
            if !changed.is_some_and(|changed| changed.is_final()) {
                delta.check_time(now)?;
            }
            let fresh_until = judged.fresh_until.min(delta.fresh_until());
            (changed.or(listed), Judged { fresh_until, until: judged.until.min(delta.next_update), ..judged })
        }
    };
    let status = status.filter(|revoked| revoked.reason != Reason::REMOVED).map_or(Status::Good, Status::Revoked);
    Ok(Judged { status, ..judged })
}

impl<'a> Crl<'a> {
    /// Reads the form of a list.
    ///
    /// # Errors
    /// See [`BadCrl`].
    pub fn parse(der: &'a [u8]) -> Result<Self, BadCrl> {
        let mut list = SliceReader::new(element::only(der, Tag::Sequence)?)?;
        let tbs = list.tlv_bytes()?;
        let outer = list.tlv_bytes()?;
        let signature = list.decode::<BitStringRef<'a>>()?.as_bytes().unwrap_or_default();
        list.finish(())?;

        let mut fields = SliceReader::new(element::only(tbs, Tag::Sequence)?)?;
        // Extensions are in version 2 alone, and it must have some (RFC 5280, section 5.1.2.1).
        if element::optional(&mut fields, Tag::Integer)? != Some(&[1]) {
            return Err(BadCrl::Version);
        }
        if fields.tlv_bytes()? != outer {
            return Err(BadCrl::TwoAlgorithms);
        }
        let issuer = fields.tlv_bytes()?;
        let this_update = fields.decode::<Time>()?.to_system_time();
        let next_update = match fields.peek_tag() {
            Ok(Tag::UtcTime | Tag::GeneralizedTime) => Some(fields.decode::<Time>()?.to_system_time()),
            _ => None,
        };
        let entries = element::optional(&mut fields, Tag::Sequence)?.unwrap_or_default();
        let extensions = match element::optional(&mut fields, element::around(TagNumber::N0))? {
            Some(list) => Extensions::read(element::only(list, Tag::Sequence)?)?,
            None => Extensions::default(),
        };
        fields.finish(())?;
        let next_update = next_update.ok_or(BadCrl::Endless)?;
        let algorithm = AlgorithmIdentifierOwned::from_der(outer)?;
        Ok(Self { tbs, algorithm, signature, issuer, this_update, next_update, entries, extensions })
    }

    /// The name of who made it, in DER.
    #[must_use]
    pub fn issuer(&self) -> &[u8] {
        self.issuer
    }

    /// Since when it counts.
    #[must_use]
    pub fn this_update(&self) -> SystemTime {
        self.this_update
    }

    /// Until when it counts.
    #[must_use]
    pub fn next_update(&self) -> SystemTime {
        self.next_update
    }

    /// Until when none newer is there: "a new CRL is retrieved if the current time is past the time in the NextPublish
    /// field" (trust policy specification, "Revocation Checking with CRL").
    #[must_use]
    pub fn fresh_until(&self) -> SystemTime {
        self.extensions.next_publish.map_or(self.next_update, |publish| publish.min(self.next_update))
    }

    /// Whether it has changes since another list only.
    #[must_use]
    pub fn is_delta(&self) -> bool {
        self.extensions.base.is_some()
    }

    /// Checks that it is the list of an issuer, and signed by it.
    fn check_signature(&self, issuer: &Certificate) -> Result<(), BadCrl> {
        let name = || issuer.subject().to_string();
        if self.issuer != issuer.subject_der() {
            return Err(BadCrl::Issuer(name()));
        }
        let may_sign = match issuer.decode::<KeyUsage>() {
            Ok(Some((_, usage))) => usage.0.contains(KeyUsages::CRLSign),
            Ok(None) => true,
            Err(_) => false,
        };
        if !may_sign {
            return Err(BadCrl::MayNotSign(name()));
        }
        let primitive =
            issuer.key().and_then(|kind| key::primitive(&self.algorithm, kind)).map_err(BadCrl::Algorithm)?;
        if issuer.signed(primitive, self.tbs, self.signature) { Ok(()) } else { Err(BadCrl::Signature(name())) }
    }

    fn check_time(&self, now: SystemTime) -> Result<(), BadCrl> {
        if now.checked_add(limits::CLOCK_SKEW).is_some_and(|latest| latest < self.this_update) {
            return Err(BadCrl::Early(self.this_update, now));
        }
        if now > self.next_update { Err(BadCrl::Expired(self.next_update, now)) } else { Ok(()) }
    }

    /// For which reasons it speaks of a certificate (RFC 5280, section 6.3.3 (b) and (d)).
    fn covers(&self, subject: Subject<'_>) -> Result<ReasonFlags, BadCrl> {
        let Some(Scope { point: scope, .. }) = &self.extensions.scope else {
            return Ok(named(subject.points, None)?.unwrap_or_else(all_reasons));
        };
        if scope.indirect_crl {
            return Err(BadCrl::Indirect);
        }
        let is_ca = subject.certificate.is_ca();
        if scope.only_contains_attribute_certs {
            return Err(BadCrl::Scope("it lists attribute certificates only"));
        }
        if scope.only_contains_user_certs && is_ca {
            return Err(BadCrl::Scope("it lists end entities only"));
        }
        if scope.only_contains_ca_certs && !is_ca {
            return Err(BadCrl::Scope("it lists certificate authorities only"));
        }
        let some = scope.only_some_reasons.map_or_else(all_reasons, |reasons| reasons & all_reasons());
        match &scope.distribution_point {
            None => Ok(named(subject.points, None)?.unwrap_or_else(all_reasons) & some),
            Some(DistributionPointName::FullName(names)) => match named(subject.points, Some(names))? {
                Some(reasons) => Ok(reasons & some),
                None => Err(BadCrl::Scope("the certificate names another list")),
            },
            Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => {
                Err(BadCrl::Scope("its place is named relative to its issuer, which is not supported"))
            }
        }
    }

    /// Where the changes since can be had, by the list or else by the certificate (RFC 5280, section 6.3.3 (c)).
    fn freshest(&self, certificate: &Certificate) -> Vec<Point> {
        if self.extensions.freshest.is_empty() {
            // One that cannot be read is one all the same.
            return certificate.freshest().unwrap_or_else(|_| vec![Point::nowhere()]);
        }
        self.extensions.freshest.clone()
    }

    /// Checks that it has the changes since `base` (RFC 5280, sections 5.2.4 and 6.3.3 (c)).
    fn check_builds_on(&self, base: &Crl<'_>) -> Result<(), BadCrl> {
        let Some(least) = self.extensions.base else { return Err(BadCrl::IsNotDelta) };
        let mismatch = |why| Err(BadCrl::Mismatch(why));
        let scope = |list: &Crl<'_>| list.extensions.scope.as_ref().map(|scope| scope.der.to_vec());
        if self.issuer != base.issuer || scope(self) != scope(base) {
            return mismatch("they are not about the same certificates");
        }
        let (Some(number), Some(of_base)) = (self.extensions.number, base.extensions.number) else {
            return mismatch("one of them has no number");
        };
        if compare(number, of_base) == Ordering::Less {
            return mismatch("it is older than the base CRL");
        }
        if compare(least, of_base) == Ordering::Greater {
            return mismatch("it builds on a newer base CRL");
        }
        Ok(())
    }

    /// What it says of the certificate with a serial number. All of it is gone through: an entry that cannot be read, or
    /// says something critical that is not understood, may be about any certificate (RFC 5280, section 5.3).
    fn find(&self, serial: &[u8]) -> Result<Option<Revoked>, BadCrl> {
        let serial = number(serial);
        let mut found: Option<Revoked> = None;
        let mut entries = SliceReader::new(self.entries)?;
        while !entries.is_finished() {
            let mut entry = SliceReader::new(element::expect(&mut entries, Tag::Sequence)?)?;
            let is_it = number(element::expect(&mut entry, Tag::Integer)?) == serial;
            let date = entry.tlv_bytes()?;
            let extensions = element::optional(&mut entry, Tag::Sequence)?.unwrap_or_default();
            entry.finish(())?;
            let (reason, invalid_from) = extensions::of_entry(extensions, is_it)?;
            if is_it {
                let revoked = Revoked { at: Time::from_der(date)?.to_system_time(), reason, invalid_from };
                found = Some(found.map_or(revoked, |other| heavier(other, revoked)));
            }
        }
        Ok(found)
    }
}

impl Point {
    /// A place that cannot be asked.
    fn nowhere() -> Self {
        Self { names: Vec::new(), reasons: all_reasons(), is_indirect: false }
    }
}

/// For which reasons the list of one of these places would have a certificate; places with another name than all of
/// `names` do not count. None: no place does, or the certificate names none.
fn named(points: &[Point], names: Option<&[GeneralName]>) -> Result<Option<ReasonFlags>, BadCrl> {
    let fits = |point: &&Point| names.is_none_or(|names| point.names.iter().any(|name| names.contains(name)));
    let mut fitting = points.iter().filter(fits).peekable();
    let is_named = fitting.peek().is_some();
    let direct: Vec<&Point> = fitting.filter(|point| !point.is_indirect).collect();
    if direct.is_empty() && is_named {
        return Err(BadCrl::Indirect);
    }
    Ok(direct.into_iter().map(|point| point.reasons).reduce(|one, other| one | other))
}

/// Of two entries for one certificate in one list: what is for good counts, of the others the later one, and of two at
/// one time the one that is not in its favour.
fn heavier(one: Revoked, other: Revoked) -> Revoked {
    let weight = |revoked: &Revoked| (revoked.is_final(), revoked.at, revoked.reason == Reason::HOLD);
    match (one.is_final() && other.is_final(), weight(&one) >= weight(&other)) {
        // The one that counts for more signatures.
        (true, _) => match (one.invalid_from, other.invalid_from) {
            (Some(first), Some(second)) if second < first => other,
            (Some(_), None) => other,
            _ => one,
        },
        (false, true) => one,
        (false, false) => other,
    }
}

fn compare(one: &[u8], other: &[u8]) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}
