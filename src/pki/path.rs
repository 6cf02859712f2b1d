//! Paths from a certificate to one that is trusted, for signatures that bring no chain of their own: the search, and the
//! rules of RFC 5280, section 6, for those who sign code. Called by Sigstore's checks; timestamps take the search alone.
//! Never decides who is trusted.

use std::time::SystemTime;

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc5912};
use x509_cert::ext::pkix::{KeyUsage, KeyUsages};

use super::chain::{Violation, basic_constraints, check_form, check_issuance, check_validity, purposes, says};
use super::element::Extension;
use super::{Certificate, Name};
use crate::limits;

/// Looks for a path from a signer's certificate to one of those that are trusted, which need not be roots: every
/// certificate was issued by the next one, may issue, may sign code, and is valid at a moment. `given` are certificates that
/// may stand between them. The path begins with the signer's certificate and ends with the trusted one.
///
/// # Errors
/// Why there is none.
pub fn find(
    signer: &Certificate,
    given: &[Certificate],
    anchors: &[Certificate],
    at: SystemTime,
) -> Result<Vec<Certificate>, NoPath> {
    let search = Search::new(given, anchors, |path: &[Certificate]| check(path, at));
    search.from(signer).map_err(|lost| match lost {
        Lost::Broken(cause) => cause,
        Lost::Missing(missing) => NoPath::Untrusted { subject: signer.subject(), missing },
    })
}

/// Why no path leads to a trusted certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPath {
    /// Nobody who is trusted issued it.
    #[error("certificate {subject} is not trusted: no trusted authority leads to it, as {missing} would")]
    Untrusted {
        /// The signer's certificate.
        subject: Name,
        /// The issuer that was not found.
        missing: Name,
    },
    /// A rule for all chains.
    #[error(transparent)]
    Rule(#[from] Violation),
    /// An issuer whose certificate does not say that it may issue.
    #[error("certificate {0} issues others: its basicConstraints must say cA, and its keyUsage keyCertSign")]
    NotAuthority(Name),
    /// An extendedKeyUsage that leaves out what the signer does.
    #[error("certificate {0}: its extendedKeyUsage does not say codeSigning")]
    Purpose(Name),
    /// An extension that must be understood, and is not (RFC 5280, section 4.2).
    #[error("certificate {subject}: its critical extension {extension} is not supported")]
    CriticalExtension {
        /// The certificate.
        subject: Name,
        /// The extension.
        extension: String,
    },
    /// Which names an authority may speak of is not asked here.
    #[error("certificate {0} has nameConstraints, which are not supported")]
    NameConstraints(Name),
}

impl NoPath {
    /// Whether all holds but for the moment.
    #[must_use]
    pub fn is_about_time(&self) -> bool {
        matches!(self, Self::Rule(Violation::NotYetValid { .. } | Violation::Expired { .. }))
    }
}

/// RFC 5280, sections 6.1.3 to 6.1.5, without policies and lists of revoked certificates.
fn check(path: &[Certificate], at: SystemTime) -> Result<(), NoPath> {
    path.iter().try_for_each(check_form)?;
    check_issuance(path)?;
    path.iter().skip(1).enumerate().try_for_each(|(below, issuer)| check_issuer(issuer, below))?;
    for certificate in path {
        if certificate.signs_code()? == Some(false) {
            return Err(NoPath::Purpose(certificate.subject()));
        }
        check_extensions(certificate)?;
    }
    Ok(check_validity(path, at)?)
}

/// An issuer with this many certificates between it and the signer's.
fn check_issuer(issuer: &Certificate, below: usize) -> Result<(), NoPath> {
    let not_authority = || NoPath::NotAuthority(issuer.subject());
    let (_, constraints) = basic_constraints(issuer)?.filter(|(_, found)| found.ca).ok_or_else(not_authority)?;
    if let Some(limit) = constraints.path_len_constraint.filter(|limit| below > usize::from(*limit)) {
        return Err(Violation::PathLength { subject: issuer.subject(), limit, found: below }.into());
    }
    match usage(issuer)? {
        Some(usage) if !usage.0.contains(KeyUsages::KeyCertSign) => Err(not_authority()),
        Some(_) | None => Ok(()),
    }
}

fn check_extensions(certificate: &Certificate) -> Result<(), NoPath> {
    for extension in certificate.extensions() {
        let subject = || certificate.subject();
        if extension.is(rfc5280::ID_CE_NAME_CONSTRAINTS) {
            return Err(NoPath::NameConstraints(subject()));
        }
        if extension.critical && !is_understood(&extension) {
            return Err(NoPath::CriticalExtension { subject: subject(), extension: extension.name() });
        }
    }
    Ok(())
}

fn usage(certificate: &Certificate) -> Result<Option<KeyUsage>, Violation> {
    Ok(certificate.known("keyUsage")?.map(|(_, usage)| usage))
}

impl Certificate {
    /// Whether its extendedKeyUsage says codeSigning, or any purpose; nothing where it has none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn signs_code(&self) -> Result<Option<bool>, Violation> {
        if self.extension(rfc5280::ID_CE_EXT_KEY_USAGE).is_none() {
            return Ok(None);
        }
        let purposes = purposes(self)?;
        Ok(Some(says(&purposes, rfc5912::ID_KP_CODE_SIGNING) || says(&purposes, rfc5280::ANY_EXTENDED_KEY_USAGE)))
    }

    /// Whether its keyUsage says digitalSignature; nothing where it has none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn signs(&self) -> Result<Option<bool>, Violation> {
        Ok(usage(self)?.map(|usage| usage.0.contains(KeyUsages::DigitalSignature)))
    }
}

/// Looks for a chain from a certificate to one that is trusted.
pub(super) struct Search<'a, E, C: Fn(&[Certificate]) -> Result<(), E>> {
    given: &'a [Certificate],
    anchors: &'a [Certificate],
    /// What a chain must be.
    rules: C,
    /// Certificates that were put on a path so far.
    pub(super) steps: usize,
    /// Chains that were checked so far.
    pub(super) chains: usize,
    /// Why the first of them does not hold.
    broken: Option<E>,
    /// The first issuer that was not found.
    missing: Option<Name>,
}

/// Why there is none.
pub(super) enum Lost<E> {
    /// The first chain that leads to a trusted certificate does not hold.
    Broken(E),
    /// None leads there: the first issuer that was not found.
    Missing(Name),
}

impl<'a, E, C: Fn(&[Certificate]) -> Result<(), E>> Search<'a, E, C> {
    pub(super) fn new(given: &'a [Certificate], anchors: &'a [Certificate], rules: C) -> Self {
        Self { given, anchors, rules, steps: 0, chains: 0, broken: None, missing: None }
    }

    /// The first chain that holds.
    pub(super) fn from(mut self, certificate: &'a Certificate) -> Result<Vec<Certificate>, Lost<E>> {
        if let Some(chain) = self.climb(&mut vec![certificate]) {
            return Ok(chain);
        }
        let missing = self.missing.unwrap_or_else(|| certificate.issuer());
        Err(self.broken.map_or(Lost::Missing(missing), Lost::Broken))
    }

    /// Goes up by names alone; a whole chain is then checked in all. Certificates that lead nowhere cost steps, those
    /// that lead somewhere cost checks of signatures: both are bounded.
    pub(super) fn climb(&mut self, path: &mut Vec<&'a Certificate>) -> Option<Vec<Certificate>> {
        let last = *path.last()?;
        let (anchors, given) = (self.anchors, self.given);
        if path.len() > limits::CHAIN_CERTIFICATES || self.steps == limits::PATH_STEPS {
            return None;
        }
        self.steps += 1;
        if anchors.contains(last) {
            return self.check(path);
        }
        let issued = |issuer: &&Certificate| last.names_as_issuer(issuer);
        let is_anchor = |certificate: &&Certificate| anchors.contains(certificate);
        let is_new = |certificate: &Certificate| !path.contains(&certificate);
        let above: Vec<&Certificate> = (anchors.iter().filter(issued))
            .chain(given.iter().filter(issued).filter(|it| !is_anchor(it) && is_new(it)))
            .collect();
        if above.is_empty() && self.missing.is_none() {
            self.missing = Some(last.issuer());
        }
        for issuer in above {
            path.push(issuer);
            let found = self.climb(path);
            path.pop();
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn check(&mut self, path: &[&Certificate]) -> Option<Vec<Certificate>> {
        if self.chains == limits::PATH_CHAINS {
            return None;
        }
        self.chains += 1;
        let chain: Vec<Certificate> = path.iter().copied().cloned().collect();
        match (self.rules)(&chain) {
            Ok(()) => Some(chain),
            Err(cause) => {
                self.broken.get_or_insert(cause);
                None
            }
        }
    }
}

/// Whether an extension may be critical.
pub(super) fn is_understood(extension: &Extension<'_>) -> bool {
    UNDERSTOOD.iter().any(|known| extension.is(*known))
}

/// Extensions that may be critical: those that are asked above or by a caller, and policies, which restrict nothing
/// unless a policy is asked for (RFC 5280, section 6.1.1 (c)).
const UNDERSTOOD: [ObjectIdentifier; 5] = [
    rfc5280::ID_CE_BASIC_CONSTRAINTS,
    rfc5280::ID_CE_KEY_USAGE,
    rfc5280::ID_CE_EXT_KEY_USAGE,
    rfc5280::ID_CE_SUBJECT_ALT_NAME,
    rfc5280::ID_CE_CERTIFICATE_POLICIES,
];

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn judge(leaf: &Template, intermediate: &Template, root: &Template) -> Result<usize, String> {
        let chain = chain_of(leaf, intermediate, root);
        find(&chain[0], &chain[1..2], &chain[2..], now()).map(|path| path.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_path_is_found_by_way_of_given_certificates_whatever_their_order() {
        let chain = chain();
        let stranger =
            Template::ca("CN=stranger", "CN=stranger").sign(Key::get(Kind::P256, 1), Key::get(Kind::P256, 1));
        let given = [stranger.clone(), chain[2].clone(), chain[1].clone()];
        let anchors = [stranger.clone(), chain[2].clone()];
        assert_eq!(find(&chain[0], &given, &anchors, now()), Ok(chain.clone()));
        assert_eq!(find(&chain[0], &[], &chain[1..2], now()), Ok(chain[..2].to_vec()), "an anchor need not be a root");
        assert_eq!(find(&chain[2], &[], &chain[2..], now()), Ok(chain[2..].to_vec()));
        let missing = NoPath::Untrusted { subject: chain[0].subject(), missing: chain[1].subject() };
        assert_eq!(find(&chain[0], &[], &chain[2..], now()), Err(missing));
        let missing = NoPath::Untrusted { subject: chain[0].subject(), missing: chain[2].subject() };
        assert_eq!(find(&chain[0], &chain[1..2], &[stranger], now()), Err(missing));
    }

    #[test]
    fn what_the_specification_leaves_open_is_taken() {
        let code = purposes_of(false, &[rfc5912::ID_KP_CODE_SIGNING]);
        let policies = extension(rfc5280::ID_CE_CERTIFICATE_POLICIES, true, &tlv(0x30, &[]));
        for (what, leaf, intermediate, root) in [
            ("no purposes", leaf(), intermediate(), root()),
            (
                "code signing throughout",
                leaf().with(code.clone()),
                intermediate().with(code.clone()),
                root().with(code),
            ),
            ("not critical", leaf(), intermediate().with(constraints_of(false, true, Some(0))), root()),
            ("an issuer without keyUsage", leaf(), intermediate().without(rfc5280::ID_CE_KEY_USAGE), root()),
            ("policies", leaf().with(policies), intermediate(), root()),
            ("path lengths that suffice", leaf(), intermediate(), root().with(constraints_of(true, true, Some(1)))),
        ] {
            assert_eq!(judge(&leaf, &intermediate, &root), Ok(3), "{what}");
        }
    }

    #[test]
    fn each_rule_for_paths_is_asked() {
        let vendor = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1");
        let stamps = || purposes_of(true, &[rfc5912::ID_KP_TIME_STAMPING]);
        let names = || extension(rfc5280::ID_CE_NAME_CONSTRAINTS, false, &tlv(0x30, &[]));
        for (leaf, intermediate, root, expected) in [
            (leaf(), intermediate().with(constraints_of(true, false, None)), root(), "must say cA"),
            (leaf(), intermediate().without(rfc5280::ID_CE_BASIC_CONSTRAINTS), root(), "must say cA"),
            (leaf(), intermediate().with(usage_of(true, &[DIGITAL_SIGNATURE])), root(), "keyUsage keyCertSign"),
            (leaf(), intermediate(), root().with(constraints_of(true, true, Some(0))), "its pathLenConstraint is 0"),
            (
                leaf().with(stamps()),
                intermediate(),
                root(),
                "signer,OU=build,O=acme,L=Seattle,ST=WA,C=US: its extendedKeyUsage does not say codeSigning",
            ),
            (
                leaf(),
                intermediate().with(stamps()),
                root(),
                "certificate CN=intermediate,O=acme,ST=WA,C=US: its extendedKeyUsage",
            ),
            (
                leaf(),
                intermediate(),
                root().with(stamps()),
                "certificate CN=root,O=acme,ST=WA,C=US: its extendedKeyUsage",
            ),
            (
                leaf().with(extension(vendor, true, b"x")),
                intermediate(),
                root(),
                "its critical extension 1.3.6.1.4.1.55555.1",
            ),
            (leaf(), intermediate().with(extension(vendor, true, b"x")), root(), "its critical extension"),
            (leaf(), intermediate().with(names()), root(), "has nameConstraints"),
            (
                leaf(),
                intermediate().with(extension(rfc5280::ID_CE_KEY_USAGE, true, b"x")),
                root(),
                "keyUsage cannot be read",
            ),
            (
                leaf(),
                intermediate().with(extension(rfc5280::ID_CE_EXT_KEY_USAGE, true, b"x")),
                root(),
                "extendedKeyUsage cannot be read",
            ),
            (Template { version: x509_cert::Version::V1, ..leaf() }, intermediate(), root(), "version 1 instead of 3"),
        ] {
            refused(judge(&leaf, &intermediate, &root), expected);
        }
    }

    #[test]
    fn a_certificate_of_another_key_under_the_same_name_issues_nothing() {
        let chain = chain();
        let impostor = root().sign(Key::get(Kind::P256, 0), Key::get(Kind::P256, 0));
        let found = find(&chain[0], &chain[1..2], &[impostor], now()).unwrap_err();
        assert!(matches!(found, NoPath::Rule(Violation::Signature { .. })), "{found}");
    }

    #[test]
    fn every_certificate_is_valid_at_the_moment() {
        let (first, last) = (NOW - DAY, NOW + DAY);
        let short = |template: Template| Template { not_before: first, not_after: last, ..template };
        for (leaf, intermediate, root) in [
            (short(leaf()), intermediate(), root()),
            (leaf(), short(intermediate()), root()),
            (leaf(), intermediate(), short(root())),
        ] {
            let chain = chain_of(&leaf, &intermediate, &root);
            let judge = |moment| find(&chain[0], &chain[1..2], &chain[2..], at(moment));
            assert!(judge(first).is_ok() && judge(last).is_ok());
            for moment in [first - 1, last + 1] {
                assert!(judge(moment).unwrap_err().is_about_time());
            }
        }
    }
}
