//! Where a certificate says that it can be asked whether it was taken back: OCSP responders (RFC 5280, section 4.2.2.1)
//! and places of revocation lists (section 4.2.1.13). Called by `revocation`. Asks nobody.

use const_oid::db::{rfc5280, rfc5912};
use der::Decode;
use x509_cert::ext::pkix::AuthorityInfoAccessSyntax;
use x509_cert::ext::pkix::crl::dp::{DistributionPoint, ReasonFlags, Reasons};
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};

use super::{CERTIFICATE_DEPTH, Certificate, lists_are_short};

/// A place of a revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    pub(super) names: Vec<GeneralName>,
    pub(super) reasons: ReasonFlags,
    /// Whether somebody else than the certificate's issuer makes the list.
    pub(super) is_indirect: bool,
}

/// For which reasons a certificate would be known to be taken back. All lists together must say it for every reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage(pub(super) ReasonFlags);

impl Coverage {
    /// For none.
    #[must_use]
    pub fn none() -> Self {
        Self(ReasonFlags::empty())
    }

    /// For those of either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it is every reason.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.0.contains(all_reasons())
    }
}

/// An extension that must be read and cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its extension {0} cannot be read")]
pub struct Unreadable(&'static str);

impl Point {
    /// The URLs of its one list, in their order, of whatever scheme.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(url)
    }

    /// Whether somebody else than the certificate's issuer makes the list (RFC 5280, section 4.2.1.13: cRLIssuer).
    #[must_use]
    pub fn is_indirect(&self) -> bool {
        self.is_indirect
    }
}

impl Certificate {
    /// The URLs of its OCSP responders, in their order, of whatever scheme.
    ///
    /// # Errors
    /// If the extension is there and cannot be read.
    pub fn responders(&self) -> Result<Vec<String>, Unreadable> {
        let access = self.decode::<AuthorityInfoAccessSyntax>().map_err(|_| Unreadable("authorityInfoAccess"))?;
        let access = access.map(|(_, access)| access.0).unwrap_or_default();
        let ocsp = access.iter().filter(|access| access.access_method == rfc5912::ID_AD_OCSP);
        Ok(ocsp.map(|access| url(&access.access_location).unwrap_or_default().to_owned()).collect())
    }

    /// The places of revocation lists, in their order.
    ///
    /// # Errors
    /// If the extension is there and cannot be read.
    pub fn points(&self) -> Result<Vec<Point>, Unreadable> {
        self.points_of(rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS, "cRLDistributionPoints")
    }

    /// The places of lists of changes since (RFC 5280, section 4.2.1.15).
    ///
    /// # Errors
    /// If the extension is there and cannot be read.
    pub fn freshest(&self) -> Result<Vec<Point>, Unreadable> {
        self.points_of(rfc5280::ID_CE_FRESHEST_CRL, "freshestCRL")
    }

    /// Whether it names where to ask if it was taken back: a responder (OCSP) or a list (CRL). One that names something
    /// that cannot be read does.
    #[must_use]
    pub fn may_be_revoked(&self) -> bool {
        let names_none =
            self.responders().is_ok_and(|urls| urls.is_empty()) && self.points().is_ok_and(|points| points.is_empty());
        !names_none
    }

    fn points_of(&self, oid: const_oid::ObjectIdentifier, name: &'static str) -> Result<Vec<Point>, Unreadable> {
        let Some(extension) = self.extension(oid) else { return Ok(Vec::new()) };
        read(extension.value).map_err(|_| Unreadable(name))
    }
}

/// Reads a list of places.
pub(super) fn read(value: &[u8]) -> der::Result<Vec<Point>> {
    if !lists_are_short(value, CERTIFICATE_DEPTH)? {
        return Err(der::ErrorKind::Overlength.into());
    }
    Ok(Vec::<DistributionPoint>::from_der(value)?.into_iter().map(point).collect())
}

fn point(read: DistributionPoint) -> Point {
    let names = match read.distribution_point {
        Some(DistributionPointName::FullName(names)) => names,
        Some(DistributionPointName::NameRelativeToCRLIssuer(_)) | None => Vec::new(),
    };
    Point {
        names,
        reasons: read.reasons.map_or_else(all_reasons, |reasons| reasons & all_reasons()),
        is_indirect: read.crl_issuer.is_some(),
    }
}

/// Every reason for which a certificate may be taken back (RFC 5280, section 6.3.3: "all-reasons").
pub(super) fn all_reasons() -> ReasonFlags {
    ReasonFlags::full() - Reasons::Unused
}

fn url(name: &GeneralName) -> Option<&str> {
    match name {
        GeneralName::UniformResourceIdentifier(url) => Some(url.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::limits;

    #[test]
    fn responders_and_lists_are_named_in_their_order_whatever_their_scheme() {
        let leaf = Template::leaf(LEAF, ROOT)
            .with(access_of(&[
                ("1.3.6.1.5.5.7.48.2", "http://ca.example/ca.crt"),
                (OCSP, "http://a.example"),
                (OCSP, "https://b.example"),
            ]))
            .with(points_of(&[&["ldap://c.example/x", "http://c.example/1.crl"], &["http://d.example/2.crl"]]))
            .sign(Key::get(Kind::P256, 0), Key::get(Kind::P256, 1));
        assert_eq!(leaf.responders().unwrap(), ["http://a.example", "https://b.example"]);
        let points = leaf.points().unwrap();
        let urls: Vec<Vec<&str>> = points.iter().map(|point| point.urls().collect()).collect();
        assert_eq!(urls, [vec!["ldap://c.example/x", "http://c.example/1.crl"], vec!["http://d.example/2.crl"]]);
        assert!(points.iter().all(|point| !point.is_indirect() && point.reasons == all_reasons()));
        assert!(leaf.freshest().unwrap().is_empty() && leaf.may_be_revoked());
    }

    #[test]
    fn a_certificate_that_names_neither_responder_nor_list_may_not_be_revoked_and_one_that_cannot_be_read_may() {
        let sign = |template: Template| template.sign(Key::get(Kind::P256, 0), Key::get(Kind::P256, 1));
        let leaf = || Template::leaf(LEAF, ROOT);
        assert!(!sign(leaf()).may_be_revoked());
        assert!(!sign(leaf().with(access_of(&[("1.3.6.1.5.5.7.48.2", "http://ca.example/ca.crt")]))).may_be_revoked());
        for oid in [rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS, rfc5280::ID_PE_AUTHORITY_INFO_ACCESS] {
            assert!(sign(leaf().with(extension(oid, false, b"x"))).may_be_revoked());
        }
        // A place without a name is one all the same: nothing says that the certificate cannot be taken back.
        let nameless = sign(leaf().with(extension(rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS, false, &[0x30, 2, 0x30, 0])));
        assert!(nameless.may_be_revoked() && nameless.points().unwrap()[0].urls().next().is_none());
    }

    #[test]
    fn responders_at_the_limit_of_a_list_and_one_past_it() {
        let of = |count: usize| {
            let access = access_of(&vec![(OCSP, "http://a.example"); count]);
            Template::leaf(LEAF, ROOT).with(access).sign(Key::get(Kind::P256, 0), Key::get(Kind::P256, 1))
        };
        assert_eq!(
            of(limits::CERTIFICATE_ELEMENTS).responders().map(|urls| urls.len()),
            Ok(limits::CERTIFICATE_ELEMENTS)
        );
        let past = of(limits::CERTIFICATE_ELEMENTS + 1);
        assert_eq!(past.responders(), Err(Unreadable("authorityInfoAccess")));
        assert!(past.may_be_revoked());
    }
}
