//! The rules for the certificate chains of a Notary Project signature and of its timestamp (signature specification,
//! "Certificate Requirements"). Called with a chain in its order, leaf first. Never builds a path, and says nothing
//! about trust: a chain that holds may still end in a root that nobody trusts.

use std::time::SystemTime;

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc5912};
use der::Tag;
use der::flagset::FlagSet;
use x509_cert::Version;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};

use super::element::Elements;
use super::{Certificate, KeyKind, Name, rfc3339};
use crate::limits;

/// Checks a chain that signs code: every rule but the validity in time, which [`check_validity`] asks.
///
/// Only basicConstraints, keyUsage and extendedKeyUsage are looked at. Every other extension is passed over, a
/// critical one too: the specification says that they "MUST NOT be evaluated or honored".
///
/// `self_signed` are certificates that are known to be that: where the chain ends in one of them, byte by byte, its
/// signature is not checked again. It says nothing about trust either.
///
/// # Errors
/// A rule that is broken.
pub fn check_code_signing(chain: &[Certificate], self_signed: &[Certificate]) -> Result<(), Violation> {
    check(chain, Purpose::CodeSigning, self_signed)
}

/// Checks a chain that signs timestamps, by the same rules but for those that the specification gives to timestamping
/// certificates: an extendedKeyUsage that says timeStamping alone, and a keyUsage that need not be critical.
///
/// # Errors
/// A rule that is broken.
pub fn check_timestamping(chain: &[Certificate]) -> Result<(), Violation> {
    check(chain, Purpose::TimeStamping, &[])
}

/// The same of a chain whose last certificate is trusted as it is, be it a root or not: nobody need have signed it.
///
/// # Errors
/// A rule that is broken.
pub fn check_timestamping_under_anchor(chain: &[Certificate]) -> Result<(), Violation> {
    check_links(chain)?;
    check_purpose(chain, Purpose::TimeStamping)
}

/// What a chain's leaf signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    CodeSigning,
    TimeStamping,
}

fn check(chain: &[Certificate], purpose: Purpose, self_signed: &[Certificate]) -> Result<(), Violation> {
    let Some(root) = chain.last() else { return Err(Violation::Empty) };
    check_links(chain)?;
    if !root.names_as_issuer(root) {
        return Err(Violation::NotSelfSigned { subject: root.subject(), issuer: root.issuer() });
    }
    if !self_signed.contains(root) {
        check_signature(root, root)?;
    }
    check_purpose(chain, purpose)
}

/// That every certificate is of the form that is taken, and issued by the next one.
fn check_links(chain: &[Certificate]) -> Result<(), Violation> {
    if chain.len() > limits::CHAIN_CERTIFICATES {
        return Err(Violation::TooLong(chain.len()));
    }
    for certificate in chain {
        check_form(certificate)?;
        check_key(certificate)?;
    }
    check_issuance(chain)
}

/// That every certificate was issued by the next one. From the top down: nobody but who is trusted makes the link below
/// what is trusted, so what a stranger made up costs one signature, however long it is.
pub(super) fn check_issuance(chain: &[Certificate]) -> Result<(), Violation> {
    let links = chain.iter().zip(chain.iter().skip(1));
    links.rev().try_for_each(|(certificate, issuer)| check_issued(certificate, issuer))
}

/// That the leaf may do what it did, and the others may issue.
fn check_purpose(chain: &[Certificate], purpose: Purpose) -> Result<(), Violation> {
    let Some(leaf) = chain.first() else { return Err(Violation::Empty) };
    // A chain of one certificate is a leaf that is its own root, and the rules for leaves alone apply.
    match purpose {
        Purpose::CodeSigning => check_code_signer(leaf)?,
        Purpose::TimeStamping => check_timestamp_authority(leaf)?,
    }
    chain.iter().skip(1).enumerate().try_for_each(|(below, certificate)| check_ca(certificate, below, purpose))
}

/// Checks that every certificate of a chain is valid at a moment; its first and its last moment count.
///
/// # Errors
/// The first one that is not.
pub fn check_validity(chain: &[Certificate], at: SystemTime) -> Result<(), Violation> {
    for certificate in chain {
        let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
        if at < not_before {
            return Err(Violation::NotYetValid { subject: certificate.subject(), not_before, at });
        }
        if at > not_after {
            return Err(Violation::Expired { subject: certificate.subject(), not_after, at });
        }
    }
    Ok(())
}

/// Why a chain breaks the rules. Each names the certificate by its subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// No certificate.
    #[error("the certificate chain is empty")]
    Empty,
    /// More than [`limits::CHAIN_CERTIFICATES`].
    #[error("the certificate chain has {0} certificates, the limit is {limit}", limit = limits::CHAIN_CERTIFICATES)]
    TooLong(usize),
    /// Not X.509 version 3.
    #[error("certificate {subject}: X.509 version {found} instead of 3")]
    Version {
        /// The certificate.
        subject: Name,
        /// Its version.
        found: u8,
    },
    /// A key that is not taken.
    #[error("certificate {subject}: {found} is not supported: RSA of 2048 to 8192 bits, or EC P-256, P-384 or P-521")]
    Key {
        /// The certificate.
        subject: Name,
        /// What it has.
        found: String,
    },
    /// A signature algorithm that is not taken.
    #[error(
        "certificate {subject}: signature algorithm {found} is not supported: RSA or ECDSA with SHA-256, SHA-384 or SHA-512"
    )]
    SignatureAlgorithm {
        /// The certificate.
        subject: Name,
        /// What it states.
        found: String,
    },
    /// The signed part states another signature algorithm than the part around it (RFC 5280, section 4.1.1.2).
    #[error("certificate {subject}: it states two different signature algorithms")]
    TwoAlgorithms {
        /// The certificate.
        subject: Name,
    },
    /// The next certificate of the chain is not its issuer.
    #[error("certificate {subject} was issued by {issuer}, but the next certificate in the chain is {next}")]
    NotIssuedBy {
        /// The certificate.
        subject: Name,
        /// The issuer it names.
        issuer: Name,
        /// The subject of the next certificate.
        next: Name,
    },
    /// The signature of a certificate is not its issuer's.
    #[error("certificate {subject}: its signature was not made by the key of {issuer}")]
    Signature {
        /// The certificate.
        subject: Name,
        /// The subject of the certificate with the key.
        issuer: Name,
    },
    /// The last certificate is no root.
    #[error(
        "the certificate chain ends with {subject}, issued by {issuer}: the root certificate is missing from the envelope"
    )]
    NotSelfSigned {
        /// The last certificate.
        subject: Name,
        /// The issuer it names.
        issuer: Name,
    },
    /// A root before the end.
    #[error("certificate {subject} is self-signed, but more certificates follow it in the chain")]
    SelfSigned {
        /// The certificate.
        subject: Name,
    },
    /// An extension that must be read and cannot be.
    #[error("certificate {subject}: extension {extension} cannot be read")]
    Extension {
        /// The certificate.
        subject: Name,
        /// The extension.
        extension: &'static str,
    },
    /// An issuer without critical basicConstraints that say `cA`.
    #[error("certificate {subject} issues others: its basicConstraints must be present, critical, and say cA")]
    NotCa {
        /// The certificate.
        subject: Name,
    },
    /// A leaf whose basicConstraints say `cA`.
    #[error("certificate {subject} is a leaf: its basicConstraints must not say cA")]
    LeafIsCa {
        /// The certificate.
        subject: Name,
    },
    /// More certificates stand between an issuer and the leaf than it allows.
    #[error(
        "certificate {subject}: {found} intermediate certificates follow below it, its pathLenConstraint is {limit}"
    )]
    PathLength {
        /// The certificate.
        subject: Name,
        /// How many it allows.
        limit: u8,
        /// How many there are.
        found: usize,
    },
    /// No keyUsage, or not critical where it must be.
    #[error("certificate {subject}: its keyUsage must be {must}")]
    KeyUsage {
        /// The certificate.
        subject: Name,
        /// What it must be.
        must: &'static str,
    },
    /// A bit of keyUsage that must be set.
    #[error("certificate {subject}: its keyUsage must say {missing}")]
    KeyUsageMissing {
        /// The certificate.
        subject: Name,
        /// The bit.
        missing: &'static str,
    },
    /// Bits of keyUsage that a leaf must not have.
    #[error("certificate {subject}: its keyUsage must not say {}", found.join(", "))]
    KeyUsageForbidden {
        /// The certificate.
        subject: Name,
        /// The bits.
        found: Vec<&'static str>,
    },
    /// Purposes in extendedKeyUsage that a leaf must not have.
    #[error("certificate {subject} signs code: its extendedKeyUsage must not say {}", found.join(", "))]
    ExtendedKeyUsage {
        /// The certificate.
        subject: Name,
        /// The purposes.
        found: Vec<&'static str>,
    },
    /// A timestamp authority's extendedKeyUsage is another than the one that it must be (RFC 3161, section 2.3).
    #[error(
        "certificate {subject} signs timestamps: its extendedKeyUsage must be present, critical, and say timeStamping alone"
    )]
    NotTimeStamping {
        /// The certificate.
        subject: Name,
    },
    /// A timestamp authority's key that must not sign ("Algorithm Selection").
    #[error("certificate {subject}: {key} must not sign timestamps: RSA of 2048, 3072 or 4096 bits, or EC")]
    TimeStampingKey {
        /// The certificate.
        subject: Name,
        /// Its key.
        key: KeyKind,
    },
    /// An issuer's extendedKeyUsage leaves out what the leaf does.
    #[error("certificate {subject}: its extendedKeyUsage does not allow what it issues to sign timestamps")]
    CaPurpose {
        /// The certificate.
        subject: Name,
    },
    /// Its validity begins later.
    #[error("certificate {subject} is valid from {}, and it is {}", rfc3339(*not_before), rfc3339(*at))]
    NotYetValid {
        /// The certificate.
        subject: Name,
        /// When its validity begins.
        not_before: SystemTime,
        /// The moment asked for.
        at: SystemTime,
    },
    /// Its validity has ended.
    #[error("certificate {subject} expired at {}, and it is {}", rfc3339(*not_after), rfc3339(*at))]
    Expired {
        /// The certificate.
        subject: Name,
        /// When its validity ended.
        not_after: SystemTime,
        /// The moment asked for.
        at: SystemTime,
    },
}

/// What holds for every certificate of a chain.
pub(super) fn check_form(certificate: &Certificate) -> Result<(), Violation> {
    let parts = &certificate.parts;
    // Extensions exist in version 3 alone (RFC 5280, section 4.1.2.1).
    let found = match parts.version {
        Version::V3 => 3,
        Version::V2 => 2,
        Version::V1 => 1,
    };
    if found != 3 {
        return Err(Violation::Version { subject: certificate.subject(), found });
    }
    if parts.signed_algorithm != parts.algorithm {
        return Err(Violation::TwoAlgorithms { subject: certificate.subject() });
    }
    Ok(())
}

fn check_key(certificate: &Certificate) -> Result<(), Violation> {
    certificate.key().map(|_| ()).map_err(|found| Violation::Key { subject: certificate.subject(), found })
}

/// A certificate and the next one, which must be its only issuer.
fn check_issued(certificate: &Certificate, issuer: &Certificate) -> Result<(), Violation> {
    if !certificate.names_as_issuer(issuer) {
        return Err(Violation::NotIssuedBy {
            subject: certificate.subject(),
            issuer: certificate.issuer(),
            next: issuer.subject(),
        });
    }
    check_signature(certificate, issuer)?;
    if certificate.is_self_signed() {
        return Err(Violation::SelfSigned { subject: certificate.subject() });
    }
    Ok(())
}

fn check_signature(certificate: &Certificate, issuer: &Certificate) -> Result<(), Violation> {
    match certificate.signature_is_by(issuer) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Violation::Signature { subject: certificate.subject(), issuer: issuer.subject() }),
        Err(found) => Err(Violation::SignatureAlgorithm { subject: certificate.subject(), found }),
    }
}

/// "Root and Intermediate CA Certificates". `below` is the number of certificates between it and the leaf.
fn check_ca(certificate: &Certificate, below: usize, purpose: Purpose) -> Result<(), Violation> {
    let subject = || certificate.subject();
    let constraints = basic_constraints(certificate)?;
    let Some((true, BasicConstraints { ca: true, path_len_constraint })) = constraints else {
        return Err(Violation::NotCa { subject: subject() });
    };
    if let Some(limit) = path_len_constraint.filter(|limit| below > usize::from(*limit)) {
        return Err(Violation::PathLength { subject: subject(), limit, found: below });
    }
    if !key_usage(certificate, purpose)?.contains(KeyUsages::KeyCertSign) {
        return Err(Violation::KeyUsageMissing { subject: subject(), missing: "keyCertSign" });
    }
    // An authority may have been told to issue for other purposes alone; notation asks this of timestamps too.
    if purpose == Purpose::TimeStamping && certificate.extension(rfc5280::ID_CE_EXT_KEY_USAGE).is_some() {
        let purposes = purposes(certificate)?;
        let allowed = [rfc5912::ID_KP_TIME_STAMPING, rfc5280::ANY_EXTENDED_KEY_USAGE];
        if !allowed.iter().any(|oid| says(&purposes, *oid)) {
            return Err(Violation::CaPurpose { subject: subject() });
        }
    }
    Ok(())
}

/// "Leaf Certificates", for codesigning.
fn check_code_signer(certificate: &Certificate) -> Result<(), Violation> {
    check_leaf(certificate, Purpose::CodeSigning)?;
    let purposes = purposes(certificate)?;
    let found: Vec<_> =
        LEAF_FORBIDDEN_PURPOSES.iter().filter(|(oid, _)| says(&purposes, *oid)).map(|(_, name)| *name).collect();
    if !found.is_empty() {
        return Err(Violation::ExtendedKeyUsage { subject: certificate.subject(), found });
    }
    Ok(())
}

/// "Leaf Certificates", for timestamping.
fn check_timestamp_authority(certificate: &Certificate) -> Result<(), Violation> {
    check_leaf(certificate, Purpose::TimeStamping)?;
    let subject = || certificate.subject();
    let is_critical = certificate.extension(rfc5280::ID_CE_EXT_KEY_USAGE).is_some_and(|extension| extension.critical);
    let purposes = purposes(certificate)?;
    if !is_critical || purposes.len() != 1 || !says(&purposes, rfc5912::ID_KP_TIME_STAMPING) {
        return Err(Violation::NotTimeStamping { subject: subject() });
    }
    match certificate.key() {
        Ok(KeyKind::Ec(_) | KeyKind::Rsa { bits: 2048 | 3072 | 4096 }) => Ok(()),
        Ok(key @ KeyKind::Rsa { .. }) => Err(Violation::TimeStampingKey { subject: subject(), key }),
        Err(found) => Err(Violation::Key { subject: subject(), found }),
    }
}

/// What "Leaf Certificates" asks of every leaf.
fn check_leaf(certificate: &Certificate, purpose: Purpose) -> Result<(), Violation> {
    let subject = || certificate.subject();
    if basic_constraints(certificate)?.is_some_and(|(_, constraints)| constraints.ca) {
        return Err(Violation::LeafIsCa { subject: subject() });
    }
    let usage = key_usage(certificate, purpose)?;
    if !usage.contains(KeyUsages::DigitalSignature) {
        return Err(Violation::KeyUsageMissing { subject: subject(), missing: "digitalSignature" });
    }
    let found: Vec<_> =
        LEAF_FORBIDDEN_USAGES.iter().filter(|(bit, _)| usage.contains(*bit)).map(|(_, name)| *name).collect();
    if !found.is_empty() {
        return Err(Violation::KeyUsageForbidden { subject: subject(), found });
    }
    Ok(())
}

pub(super) fn basic_constraints(certificate: &Certificate) -> Result<Option<(bool, BasicConstraints)>, Violation> {
    certificate.known("basicConstraints")
}

/// The keyUsage of a certificate: present, and critical in a chain that signs code. For timestamping it only "SHOULD be
/// marked critical".
fn key_usage(certificate: &Certificate, purpose: Purpose) -> Result<FlagSet<KeyUsages>, Violation> {
    let must = match purpose {
        Purpose::CodeSigning => "present and critical",
        Purpose::TimeStamping => "present",
    };
    match certificate.known::<KeyUsage>("keyUsage")? {
        Some((is_critical, usage)) if is_critical || purpose == Purpose::TimeStamping => Ok(usage.0),
        Some(_) | None => Err(Violation::KeyUsage { subject: certificate.subject(), must }),
    }
}

/// The purposes in extendedKeyUsage: the content of their object identifiers.
pub(super) fn purposes(certificate: &Certificate) -> Result<Vec<&[u8]>, Violation> {
    let Some(extension) = certificate.extension(rfc5280::ID_CE_EXT_KEY_USAGE) else { return Ok(Vec::new()) };
    read_purposes(extension.value)
        .map_err(|_| Violation::Extension { subject: certificate.subject(), extension: "extendedKeyUsage" })
}

/// Whether purposes hold one.
pub(super) fn says(purposes: &[&[u8]], purpose: ObjectIdentifier) -> bool {
    purposes.contains(&purpose.as_bytes())
}

fn read_purposes(value: &[u8]) -> der::Result<Vec<&[u8]>> {
    let mut list = Elements::of(value, Tag::Sequence)?;
    let mut purposes = Vec::new();
    while !list.is_finished() {
        purposes.push(list.oid()?);
    }
    Ok(purposes)
}

const LEAF_FORBIDDEN_USAGES: [(KeyUsages, &str); 7] = [
    (KeyUsages::KeyEncipherment, "keyEncipherment"),
    (KeyUsages::DataEncipherment, "dataEncipherment"),
    (KeyUsages::KeyAgreement, "keyAgreement"),
    (KeyUsages::KeyCertSign, "keyCertSign"),
    (KeyUsages::CRLSign, "cRLSign"),
    (KeyUsages::EncipherOnly, "encipherOnly"),
    (KeyUsages::DecipherOnly, "decipherOnly"),
];

/// The specification's list, and OCSPSigning, which notation refuses too.
const LEAF_FORBIDDEN_PURPOSES: [(ObjectIdentifier, &str); 6] = [
    (rfc5280::ANY_EXTENDED_KEY_USAGE, "anyExtendedKeyUsage"),
    (rfc5912::ID_KP_SERVER_AUTH, "serverAuth"),
    (rfc5912::ID_KP_CLIENT_AUTH, "clientAuth"),
    (rfc5912::ID_KP_EMAIL_PROTECTION, "emailProtection"),
    (rfc5912::ID_KP_TIME_STAMPING, "timeStamping"),
    (rfc5912::ID_KP_OCSP_SIGNING, "OCSPSigning"),
];

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use const_oid::db::rfc5912;
    use der::asn1::{Any, Null};
    use x509_cert::serial_number::SerialNumber;

    fn check(leaf: &Template, intermediate: &Template, root: &Template) -> Result<(), Violation> {
        check_code_signing(&chain_of(leaf, intermediate, root), &[])
    }

    #[test]
    fn a_chain_that_keeps_all_rules_is_taken() {
        assert_eq!(check(&leaf(), &intermediate(), &root()), Ok(()));
        assert_eq!(check_code_signing(&chain(), &[]), Ok(()));
    }

    #[test]
    fn what_the_specification_leaves_open_is_taken() {
        let vendor = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1");
        // Longer than the type for object identifiers holds.
        let long = [vec![6, 50, 0x2b], vec![0x81; 48], vec![1]].concat();
        let long = extension(rfc5280::ID_CE_EXT_KEY_USAGE, false, &tlv(0x30, &long));
        for (what, leaf, intermediate, root) in [
            (
                "leaf: basicConstraints cA false",
                leaf().with(constraints_of(false, false, None)),
                intermediate(),
                root(),
            ),
            (
                "leaf: codeSigning",
                leaf().with(purposes_of(true, &[rfc5912::ID_KP_CODE_SIGNING])),
                intermediate(),
                root(),
            ),
            ("leaf: private purpose", leaf().with(purposes_of(false, &[vendor])), intermediate(), root()),
            ("leaf: long private purpose", leaf().with(long), intermediate(), root()),
            ("leaf: contentCommitment", leaf().with(usage_of(true, &[DIGITAL_SIGNATURE, 1])), intermediate(), root()),
            ("leaf: critical unknown extension", leaf().with(extension(vendor, true, b"x")), intermediate(), root()),
            (
                "CA: critical malformed nameConstraints",
                leaf(),
                intermediate().with(extension(rfc5280::ID_CE_NAME_CONSTRAINTS, true, b"x")),
                root(),
            ),
            (
                "CA: also digitalSignature and cRLSign",
                leaf(),
                intermediate().with(usage_of(true, &[DIGITAL_SIGNATURE, KEY_CERT_SIGN, 6])),
                root(),
            ),
            (
                "CA: purpose serverAuth",
                leaf(),
                intermediate().with(purposes_of(false, &[rfc5912::ID_KP_SERVER_AUTH])),
                root(),
            ),
            (
                "path lengths that suffice",
                leaf(),
                intermediate().with(constraints_of(true, true, Some(0))),
                root().with(constraints_of(true, true, Some(1))),
            ),
            (
                "validity that does not nest",
                leaf(),
                Template { not_before: NOW - DAY, not_after: NOW + DAY, ..intermediate() },
                root(),
            ),
        ] {
            assert_eq!(check(&leaf, &intermediate, &root), Ok(()), "{what}");
        }
    }

    #[test]
    fn odd_serial_numbers_are_taken() {
        for serial in [vec![2, 1, 0], vec![2, 1, 0xff], vec![2, 1, 0x80]] {
            let serial = <SerialNumber as der::Decode>::from_der(&serial).unwrap();
            assert_eq!(check(&Template { serial, ..leaf() }, &intermediate(), &root()), Ok(()));
        }
    }

    #[test]
    fn each_rule_for_a_leaf_is_asked() {
        let usage = |bits: &[usize]| leaf().with(usage_of(true, bits));
        for (leaf, expected) in [
            (Template { version: Version::V1, ..leaf() }, "X.509 version 1 instead of 3"),
            (Template { version: Version::V2, ..leaf() }, "X.509 version 2 instead of 3"),
            (leaf().with(constraints_of(true, true, None)), "must not say cA"),
            (leaf().with(extension(rfc5280::ID_CE_BASIC_CONSTRAINTS, true, b"x")), "basicConstraints cannot be read"),
            (leaf().without(rfc5280::ID_CE_KEY_USAGE), "keyUsage must be present and critical"),
            (leaf().with(usage_of(false, &[DIGITAL_SIGNATURE])), "keyUsage must be present and critical"),
            (leaf().with(extension(rfc5280::ID_CE_KEY_USAGE, true, b"x")), "keyUsage cannot be read"),
            (usage(&[1]), "must say digitalSignature"),
            (usage(&[0, 2]), "must not say keyEncipherment"),
            (usage(&[0, 3]), "must not say dataEncipherment"),
            (usage(&[0, 4]), "must not say keyAgreement"),
            (usage(&[0, 5]), "must not say keyCertSign"),
            (usage(&[0, 6]), "must not say cRLSign"),
            (usage(&[0, 7]), "must not say encipherOnly"),
            (usage(&[0, 8]), "must not say decipherOnly"),
            (usage(&[0, 2, 8]), "must not say keyEncipherment, decipherOnly"),
            (leaf().with(extension(rfc5280::ID_CE_EXT_KEY_USAGE, false, b"x")), "extendedKeyUsage cannot be read"),
            (
                leaf().with(extension(rfc5280::ID_CE_EXT_KEY_USAGE, false, &tlv(0x30, &[2, 1, 1]))),
                "extendedKeyUsage cannot be read",
            ),
        ] {
            refused(check(&leaf, &intermediate(), &root()), expected);
        }
        for (purpose, name) in [
            (rfc5280::ANY_EXTENDED_KEY_USAGE, "anyExtendedKeyUsage"),
            (rfc5912::ID_KP_SERVER_AUTH, "serverAuth"),
            (rfc5912::ID_KP_CLIENT_AUTH, "clientAuth"),
            (rfc5912::ID_KP_EMAIL_PROTECTION, "emailProtection"),
            (rfc5912::ID_KP_TIME_STAMPING, "timeStamping"),
            (rfc5912::ID_KP_OCSP_SIGNING, "OCSPSigning"),
        ] {
            let leaf = leaf().with(purposes_of(false, &[rfc5912::ID_KP_CODE_SIGNING, purpose]));
            refused(check(&leaf, &intermediate(), &root()), &format!("extendedKeyUsage must not say {name}"));
        }
    }

    #[test]
    fn each_rule_for_an_issuer_is_asked_of_intermediates_and_roots() {
        type Change = fn(Template) -> Template;
        let rows: [(Change, &str); 8] = [
            (|ca| Template { version: Version::V2, ..ca }, "X.509 version 2"),
            (
                |ca| ca.without(rfc5280::ID_CE_BASIC_CONSTRAINTS),
                "basicConstraints must be present, critical, and say cA",
            ),
            (|ca| ca.with(constraints_of(false, true, None)), "basicConstraints must be present, critical, and say cA"),
            (|ca| ca.with(constraints_of(true, false, None)), "basicConstraints must be present, critical, and say cA"),
            (|ca| ca.with(extension(rfc5280::ID_CE_BASIC_CONSTRAINTS, true, b"x")), "basicConstraints cannot be read"),
            (|ca| ca.without(rfc5280::ID_CE_KEY_USAGE), "keyUsage must be present and critical"),
            (|ca| ca.with(usage_of(false, &[KEY_CERT_SIGN])), "keyUsage must be present and critical"),
            (|ca| ca.with(usage_of(true, &[DIGITAL_SIGNATURE, 6])), "keyUsage must say keyCertSign"),
        ];
        for (change, expected) in rows {
            refused(check(&leaf(), &change(intermediate()), &root()), expected);
            refused(check(&leaf(), &intermediate(), &change(root())), expected);
        }
    }

    #[test]
    fn a_path_length_is_kept_at_the_limit_and_one_past_it() {
        // CN=0 is the leaf, CN=3 the root.
        let check = |limited: usize, limit: u8| {
            let key = Key::get(Kind::P256, 0);
            let ca = |number: usize| {
                let issuer = (number + 1).min(3);
                let ca = Template::ca(&format!("CN={number}"), &format!("CN={issuer}"));
                if number == limited { ca.with(constraints_of(true, true, Some(limit))) } else { ca }
            };
            let leaf = Template::leaf("CN=0", "CN=1").sign(key, key);
            let chain: Vec<_> = std::iter::once(leaf).chain((1..=3).map(|number| ca(number).sign(key, key))).collect();
            check_code_signing(&chain, &[])
        };
        for (limited, below) in [(1, 0), (2, 1), (3, 2)] {
            assert_eq!(check(limited, below), Ok(()));
            assert_eq!(check(limited, u8::MAX), Ok(()));
            if let Some(less) = below.checked_sub(1) {
                let expected =
                    format!("{below} intermediate certificates follow below it, its pathLenConstraint is {less}");
                refused(check(limited, less), &expected);
            }
        }
    }

    #[test]
    fn a_root_that_is_known_to_be_self_signed_is_compared_and_not_checked_again() {
        let [root_key, other_key] = [2, 0].map(|number| Key::get(Kind::P256, number));
        let forged = root().sign(root_key, other_key);
        let mut chain = chain();
        let good = chain[2].clone();
        chain[2] = forged.clone();
        let not_made_by = |known: &[Certificate]| {
            refused(check_code_signing(&chain, known), "its signature was not made by the key of");
        };
        not_made_by(&[]);
        // Of the same name and key, and not the same certificate.
        not_made_by(std::slice::from_ref(&good));
        assert_eq!(check_code_signing(&chain, &[good.clone(), forged]), Ok(()));
        // All other rules are asked all the same.
        let known = [Template::ca(ROOT, INTERMEDIATE).sign(root_key, root_key)];
        let ends = [chain[0].clone(), chain[1].clone(), known[0].clone()];
        refused(check_code_signing(&ends, &known), "the root certificate is missing");
        refused(
            check_code_signing(&[chain[0].clone(), good.clone()], &[good]),
            "but the next certificate in the chain is CN=root",
        );
    }

    #[test]
    fn the_order_of_the_chain_is_kept() {
        let [leaf, intermediate, root] = <[Certificate; 3]>::try_from(chain()).unwrap();
        let stranger =
            Template::ca("CN=stranger", "CN=stranger").sign(Key::get(Kind::P256, 0), Key::get(Kind::P256, 0));
        let of =
            |certificates: &[&Certificate]| -> Vec<Certificate> { certificates.iter().copied().cloned().collect() };
        for (chain, expected) in [
            (of(&[]), "the certificate chain is empty"),
            (
                of(&[&leaf, &root]),
                "was issued by CN=intermediate,O=acme,ST=WA,C=US, but the next certificate in the chain is CN=root",
            ),
            (of(&[&root, &intermediate, &leaf]), "but the next certificate in the chain is"),
            (of(&[&intermediate, &leaf, &root]), "but the next certificate in the chain is"),
            (of(&[&leaf]), "the root certificate is missing"),
            (of(&[&leaf, &intermediate]), "the root certificate is missing"),
            (of(&[&leaf, &intermediate, &root, &stranger]), "but the next certificate in the chain is CN=stranger"),
            (of(&[&leaf, &intermediate, &root, &root]), "is self-signed, but more certificates follow"),
            (of(&[&leaf, &intermediate, &intermediate, &root]), "but the next certificate in the chain is"),
        ] {
            refused(check_code_signing(&chain, &[]), expected);
        }
    }

    #[test]
    fn every_signature_of_the_chain_is_checked() {
        let [leaf_key, intermediate_key, root_key] = [0, 1, 2].map(|number| Key::get(Kind::P256, number));
        let good = chain();
        let mut forged_leaf = good.clone();
        forged_leaf[0] = leaf().sign(leaf_key, leaf_key);
        let mut forged_intermediate = good.clone();
        forged_intermediate[1] = intermediate().sign(intermediate_key, intermediate_key);
        let mut forged_root = good;
        forged_root[2] = root().sign(root_key, leaf_key);
        for chain in [forged_leaf, forged_intermediate, forged_root] {
            refused(check_code_signing(&chain, &[]), "its signature was not made by the key of");
        }
    }

    #[test]
    fn what_a_stranger_put_below_a_trusted_certificate_costs_one_signature() {
        let [leaf_key, own_key, root_key] = [0, 1, 2].map(|number| Key::get(Kind::P256, number));
        let root = root().sign(root_key, root_key);
        // Two links that do not hold: the one at the top is the one that was looked at.
        let below = leaf().sign(leaf_key, leaf_key);
        let forged = intermediate().sign(own_key, own_key);
        let of = |chain: &[Certificate]| check_issuance(chain).unwrap_err();
        let expected = Violation::Signature { subject: forged.subject(), issuer: root.subject() };
        assert_eq!(of(&[below, forged, root.clone()]), expected);
        // Of the trusted one's own name, and signed by itself: that is asked once the signature is the trusted one's.
        let same_name = Template::ca(ROOT, ROOT).sign(own_key, own_key);
        let expected = Violation::Signature { subject: root.subject(), issuer: root.subject() };
        assert_eq!(of(&[same_name.clone(), same_name, root]), expected);
    }

    #[test]
    fn a_single_self_signed_leaf_is_a_chain() {
        let key = Key::get(Kind::P256, 0);
        let single = |template: Template| vec![template.sign(key, key)];
        let check = |chain: Vec<Certificate>| check_code_signing(&chain, &[]);
        assert_eq!(check(single(Template::leaf(LEAF, LEAF))), Ok(()));
        refused(check(single(Template::ca(LEAF, LEAF))), "must not say cA");
        refused(check(single(Template::leaf(LEAF, ROOT))), "the root certificate is missing");
        let foreign = Template::leaf(LEAF, LEAF).sign(key, Key::get(Kind::P256, 1));
        refused(check(vec![foreign]), "its signature was not made by the key of");
        // A self-signed leaf must stand alone, even if its root has the same name and key.
        let root = Template::ca(LEAF, LEAF).sign(key, key);
        refused(
            check(vec![Template::leaf(LEAF, LEAF).sign(key, key), root]),
            "is self-signed, but more certificates follow",
        );
    }

    #[test]
    fn length_at_the_limit_and_one_past_it() {
        let key = Key::get(Kind::P256, 0);
        let chain = |length: usize| -> Vec<Certificate> {
            let name = |number: usize| format!("CN={number}");
            let leaf = Template::leaf(&name(0), &name(1)).sign(key, key);
            let cas = (1..length)
                .map(|number| Template::ca(&name(number), &name((number + 1).min(length - 1))).sign(key, key));
            std::iter::once(leaf).chain(cas).collect()
        };
        assert_eq!(check_code_signing(&chain(limits::CHAIN_CERTIFICATES), &[]), Ok(()));
        let past = chain(limits::CHAIN_CERTIFICATES + 1);
        assert_eq!(check_code_signing(&past, &[]), Err(Violation::TooLong(limits::CHAIN_CERTIFICATES + 1)));
    }

    /// A chain of a leaf and a root whose key is of another kind, with this signature algorithm on the leaf.
    fn signed_by(kind: Kind, outer: Option<spki::AlgorithmIdentifierOwned>) -> Result<(), Violation> {
        let (key, issuer) = (Key::get(Kind::P256, 0), Key::get(kind, 0));
        let leaf = Template { outer, ..Template::leaf(LEAF, ROOT) }.sign(key, issuer);
        check_code_signing(&[leaf, root().sign(issuer, issuer)], &[])
    }

    #[test]
    fn the_signature_algorithms_of_the_specification_are_taken() {
        use rfc5912::*;
        let null = || Some(Any::from(Null));
        for kind in [Kind::P256, Kind::P384, Kind::P521, Kind::Rsa2048, Kind::Rsa3072, Kind::Rsa4096] {
            assert_eq!(signed_by(kind, None), Ok(()), "{kind:?}");
        }
        for (kind, outer) in [
            (Kind::P521, algorithm(ECDSA_WITH_SHA_384, None)),
            (Kind::Rsa2048, algorithm(SHA_256_WITH_RSA_ENCRYPTION, None)),
            (Kind::Rsa2048, algorithm(SHA_384_WITH_RSA_ENCRYPTION, null())),
            (Kind::Rsa2048, algorithm(SHA_512_WITH_RSA_ENCRYPTION, null())),
            (Kind::Rsa2048, pss(ID_SHA_256, ID_MGF_1, ID_SHA_256, Some(32), None)),
            (Kind::Rsa2048, pss(ID_SHA_384, ID_MGF_1, ID_SHA_384, Some(48), Some(1))),
            (Kind::Rsa2048, pss(ID_SHA_512, ID_MGF_1, ID_SHA_512, Some(64), None)),
        ] {
            assert_eq!(signed_by(kind, Some(outer.clone())), Ok(()), "{outer:?}");
        }
    }

    #[test]
    fn what_openssl_signs_by_any_of_them_is_taken() {
        let bundle = include_bytes!("../../tests/fixtures/notation/self-signed.pem");
        let certificates = super::super::anchors_from_pem(bundle).unwrap();
        assert_eq!(certificates.len(), 15);
        for certificate in certificates {
            assert_eq!(certificate.signature_is_by(&certificate), Ok(true), "{}", certificate.subject());
        }
    }

    #[test]
    fn other_signature_algorithms_are_refused() {
        use rfc5912::*;
        let null = || Some(Any::from(Null));
        let sha1 = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
        for (kind, outer) in [
            (Kind::Rsa2048, algorithm(SHA_1_WITH_RSA_ENCRYPTION, null())),
            (Kind::Rsa2048, algorithm(MD_5_WITH_RSA_ENCRYPTION, null())),
            (Kind::Rsa2048, algorithm(SHA_224_WITH_RSA_ENCRYPTION, null())),
            (Kind::P256, algorithm(ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"), None)),
            (Kind::P256, algorithm(ECDSA_WITH_SHA_224, None)),
            (Kind::P256, algorithm(ECDSA_WITH_SHA_256, Some(Any::from(SECP_256_R_1)))),
            (Kind::P256, algorithm(SHA_256_WITH_RSA_ENCRYPTION, null())),
            (Kind::Rsa2048, algorithm(ECDSA_WITH_SHA_256, None)),
            (Kind::Rsa2048, algorithm(ID_RSASSA_PSS, None)),
            (Kind::Rsa2048, algorithm(ID_RSASSA_PSS, null())),
            (Kind::Rsa2048, pss(sha1, ID_MGF_1, sha1, Some(20), None)),
            (Kind::Rsa2048, pss(ID_SHA_256, ID_MGF_1, ID_SHA_512, Some(32), None)),
            (Kind::Rsa2048, pss(ID_SHA_256, ID_MGF_1, ID_SHA_256, Some(20), None)),
            (Kind::Rsa2048, pss(ID_SHA_256, ID_MGF_1, ID_SHA_256, None, None)),
            (Kind::Rsa2048, pss(ID_SHA_256, ID_MGF_1, ID_SHA_256, Some(32), Some(2))),
            (Kind::Rsa2048, pss(ID_SHA_256, ID_SHA_256, ID_SHA_256, Some(32), None)),
        ] {
            let found = signed_by(if kind == Kind::P256 { Kind::P256 } else { Kind::Rsa2048 }, Some(outer.clone()));
            refused(found, "is not supported: RSA or ECDSA with");
        }
    }

    #[test]
    fn other_keys_are_refused_wherever_they_stand() {
        let ed = Key::get(Kind::Ed25519, 0);
        let key = Key::get(Kind::P256, 0);
        let self_signed = |template: Template, key: &Key| check_code_signing(&[template.sign(key, key)], &[]);
        refused(self_signed(Template::leaf(LEAF, LEAF), ed), "a key of type id-Ed25519 is not supported");
        refused(signed_by(Kind::Ed25519, None), "a key of type id-Ed25519 is not supported");
        let issued = [Template::leaf(LEAF, ROOT).sign(ed, key), root().sign(key, key)];
        assert!(matches!(check_code_signing(&issued, &[]), Err(Violation::Key { .. })));

        let small = tlv(0x30, &[tlv(2, &[vec![0], vec![0xff; 128]].concat()), vec![2, 3, 1, 0, 1]].concat());
        let huge = tlv(0x30, &[tlv(2, &[vec![0], vec![0xff; 1025]].concat()), vec![2, 3, 1, 0, 1]].concat());
        let almost = tlv(0x30, &[tlv(2, &[vec![0x7f], vec![0xff; 255]].concat()), vec![2, 3, 1, 0, 1]].concat());
        let rsa = |bytes: &[u8], parameters| spki::SubjectPublicKeyInfoOwned {
            algorithm: algorithm(rfc5912::RSA_ENCRYPTION, parameters),
            subject_public_key: der::asn1::BitString::from_bytes(bytes).unwrap(),
        };
        let null = || Some(Any::from(Null));
        let point = |curve, bytes: &[u8]| spki::SubjectPublicKeyInfoOwned {
            algorithm: algorithm(rfc5912::ID_EC_PUBLIC_KEY, curve),
            subject_public_key: der::asn1::BitString::from_bytes(bytes).unwrap(),
        };
        let p256 = key.spki();
        let uncompressed = p256.subject_public_key.raw_bytes();
        let compressed = [&[2], &uncompressed[1..33]].concat();
        let hybrid = [&[6], &uncompressed[1..]].concat();
        let secp256k1 = ObjectIdentifier::new_unwrap("1.3.132.0.10");
        let secp224r1 = ObjectIdentifier::new_unwrap("1.3.132.0.33");
        for (spki, expected) in [
            (rsa(&small, null()), "an RSA key of 1024 bits"),
            (rsa(&almost, null()), "an RSA key of 2047 bits"),
            (rsa(&huge, null()), "an RSA key of 8200 bits"),
            (rsa(&small, None), "an RSA key without NULL parameters"),
            (rsa(b"x", null()), "an RSA key that cannot be read"),
            (point(Some(Any::from(secp256k1)), uncompressed), "an EC key on 1.3.132.0.10"),
            (point(Some(Any::from(secp224r1)), &uncompressed[..57]), "an EC key on secp224r1"),
            (point(None, uncompressed), "an EC key without a named curve"),
            (point(Some(Any::from(rfc5912::SECP_384_R_1)), uncompressed), "an EC key that is no uncompressed point"),
            (point(Some(Any::from(rfc5912::SECP_256_R_1)), &hybrid), "an EC key that is no uncompressed point"),
            (point(Some(Any::from(rfc5912::SECP_256_R_1)), &compressed), "an EC key that is no uncompressed point"),
            (
                spki::SubjectPublicKeyInfoOwned { algorithm: algorithm(rfc5912::ID_RSASSA_PSS, None), ..p256.clone() },
                "a key of type id-RSASSA-PSS",
            ),
        ] {
            let template = Template { spki: Some(spki), ..Template::leaf(LEAF, LEAF) };
            refused(self_signed(template, key), expected);
        }
    }

    #[test]
    fn two_signature_algorithms_in_one_certificate_are_refused() {
        let inner = Some(algorithm(rfc5912::ECDSA_WITH_SHA_384, None));
        refused(check(&Template { inner, ..leaf() }, &intermediate(), &root()), "two different signature algorithms");
    }

    fn tsa() -> Template {
        leaf().with(purposes_of(true, &[rfc5912::ID_KP_TIME_STAMPING]))
    }

    fn check_tsa(leaf: &Template, intermediate: &Template, root: &Template) -> Result<(), Violation> {
        check_timestamping(&chain_of(leaf, intermediate, root))
    }

    #[test]
    fn a_timestamping_chain_that_keeps_all_rules_is_taken() {
        let stamps = rfc5912::ID_KP_TIME_STAMPING;
        assert_eq!(check_tsa(&tsa(), &intermediate(), &root()), Ok(()));
        for (leaf, intermediate, root) in [
            // "SHOULD be marked critical".
            (tsa().with(usage_of(false, &[DIGITAL_SIGNATURE])), intermediate(), root()),
            (tsa(), intermediate().with(usage_of(false, &[KEY_CERT_SIGN])), root()),
            (tsa(), intermediate(), root().with(usage_of(false, &[KEY_CERT_SIGN]))),
            (tsa().with(constraints_of(false, false, None)), intermediate(), root()),
            (tsa().with(usage_of(true, &[DIGITAL_SIGNATURE, 1])), intermediate(), root()),
            (tsa(), intermediate().with(purposes_of(true, &[stamps])), root()),
            (tsa(), intermediate().with(purposes_of(false, &[rfc5912::ID_KP_SERVER_AUTH, stamps])), root()),
            (tsa(), intermediate(), root().with(purposes_of(false, &[rfc5280::ANY_EXTENDED_KEY_USAGE]))),
            (tsa(), intermediate().with(constraints_of(true, true, Some(0))), root()),
        ] {
            assert_eq!(check_tsa(&leaf, &intermediate, &root), Ok(()));
        }
    }

    #[test]
    fn each_rule_for_timestamping_is_asked() {
        let stamps = rfc5912::ID_KP_TIME_STAMPING;
        let alone = "its extendedKeyUsage must be present, critical, and say timeStamping alone";
        let vendor = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1");
        for (leaf, expected) in [
            (leaf(), alone),
            (tsa().with(purposes_of(false, &[stamps])), alone),
            (tsa().with(purposes_of(true, &[])), alone),
            (tsa().with(purposes_of(true, &[stamps, stamps])), alone),
            (tsa().with(purposes_of(true, &[stamps, vendor])), alone),
            (tsa().with(purposes_of(true, &[rfc5912::ID_KP_CODE_SIGNING])), alone),
            (tsa().with(purposes_of(true, &[rfc5280::ANY_EXTENDED_KEY_USAGE])), alone),
            (tsa().with(extension(rfc5280::ID_CE_EXT_KEY_USAGE, true, b"x")), "extendedKeyUsage cannot be read"),
            (tsa().without(rfc5280::ID_CE_KEY_USAGE), "its keyUsage must be present"),
            (tsa().with(usage_of(true, &[1])), "its keyUsage must say digitalSignature"),
            (tsa().with(usage_of(true, &[DIGITAL_SIGNATURE, 2])), "must not say keyEncipherment"),
            (tsa().with(usage_of(false, &[DIGITAL_SIGNATURE, KEY_CERT_SIGN])), "must not say keyCertSign"),
            (tsa().with(constraints_of(true, true, None)), "its basicConstraints must not say cA"),
        ] {
            refused(check_tsa(&leaf, &intermediate(), &root()), expected);
        }
        let purpose = "its extendedKeyUsage does not allow what it issues to sign timestamps";
        let server = || purposes_of(false, &[rfc5912::ID_KP_SERVER_AUTH]);
        for (intermediate, root, expected) in [
            (intermediate().with(server()), root(), purpose),
            (intermediate(), root().with(server()), purpose),
            (intermediate().without(rfc5280::ID_CE_KEY_USAGE), root(), "its keyUsage must be present"),
            (intermediate().with(usage_of(true, &[DIGITAL_SIGNATURE])), root(), "its keyUsage must say keyCertSign"),
            (intermediate().with(constraints_of(false, true, None)), root(), "present, critical, and say cA"),
            (intermediate().without(rfc5280::ID_CE_BASIC_CONSTRAINTS), root(), "present, critical, and say cA"),
            (intermediate(), root().with(constraints_of(true, true, Some(0))), "its pathLenConstraint is 0"),
        ] {
            refused(check_tsa(&tsa(), &intermediate, &root), expected);
        }
        assert_eq!(check_timestamping(&[]), Err(Violation::Empty));
        let chain = chain_of(&tsa(), &intermediate(), &root());
        assert!(matches!(check_timestamping(&chain[..2]), Err(Violation::NotSelfSigned { .. })));
        assert!(matches!(check_code_signing(&chain, &[]), Err(Violation::ExtendedKeyUsage { .. })));
    }

    #[test]
    fn keys_of_the_specification_alone_sign_timestamps() {
        let root_key = Key::get(Kind::P256, 2);
        let check = |key: &Key| {
            let leaf = Template { issuer: ROOT.to_owned(), ..tsa() }.sign(key, root_key);
            check_timestamping(&[leaf, root().sign(root_key, root_key)])
        };
        for kind in [Kind::P256, Kind::P384, Kind::P521, Kind::Rsa2048, Kind::Rsa3072, Kind::Rsa4096] {
            assert_eq!(check(Key::get(kind, 0)), Ok(()), "{kind:?}");
        }
        refused(check(Key::get(Kind::Ed25519, 0)), "is not supported");
        // One byte more than 2048 bits.
        let modulus = tlv(2, &[vec![1], vec![0xff; 256]].concat());
        let odd = spki::SubjectPublicKeyInfoOwned {
            algorithm: algorithm(rfc5912::RSA_ENCRYPTION, Some(Any::from(Null))),
            subject_public_key: der::asn1::BitString::from_bytes(&tlv(0x30, &[modulus, vec![2, 3, 1, 0, 1]].concat()))
                .unwrap(),
        };
        let leaf = Template { issuer: ROOT.to_owned(), spki: Some(odd), ..tsa() }.sign(root_key, root_key);
        let found = check_timestamping(&[leaf, root().sign(root_key, root_key)]);
        refused(found, "RSA-2049 must not sign timestamps");
    }

    #[test]
    fn a_self_signed_timestamp_authority_keeps_the_rules_for_leaves() {
        let key = Key::get(Kind::P256, 0);
        let alone = Template { issuer: LEAF.to_owned(), ..tsa() }.sign(key, key);
        assert_eq!(check_timestamping(&[alone]), Ok(()));
    }

    #[test]
    fn sha_1_is_refused_anywhere_in_a_timestamping_chain() {
        let sha1 = Some(algorithm(rfc5912::SHA_1_WITH_RSA_ENCRYPTION, Some(Any::from(Null))));
        let [leaf_key, root_key] = [Key::get(Kind::P256, 0), Key::get(Kind::Rsa2048, 2)];
        let of = |outer, root_outer| {
            let leaf = Template { issuer: ROOT.to_owned(), outer, ..tsa() }.sign(leaf_key, root_key);
            let root = Template { outer: root_outer, ..root() }.sign(root_key, root_key);
            check_timestamping(&[leaf, root])
        };
        assert_eq!(of(None, None), Ok(()));
        refused(of(sha1.clone(), None), "signature algorithm sha1WithRSAEncryption is not supported");
        refused(of(None, sha1), "signature algorithm sha1WithRSAEncryption is not supported");
    }

    #[test]
    fn an_extension_given_twice_is_refused() {
        let mut twice = leaf();
        twice.extensions.push(usage_of(true, &[DIGITAL_SIGNATURE]));
        let der = twice.der(Key::get(Kind::P256, 0), Key::get(Kind::P256, 1));
        let found = Certificate::from_der(&der).unwrap_err();
        assert_eq!(found.to_string(), "the certificate has extension 2.5.29.15 twice");
    }

    #[test]
    fn validity_includes_its_first_and_last_second() {
        let chain = chain();
        let (from, until) = (NOW - 100 * DAY, NOW + 100 * DAY);
        for seconds in [from, NOW, until] {
            assert_eq!(check_validity(&chain, at(seconds)), Ok(()), "{seconds}");
        }
        let early = check_validity(&chain, at(from - 1)).unwrap_err().to_string();
        assert!(early.contains("CN=signer") && early.contains("is valid from 2026-10-07T08:00:00Z"), "{early}");
        let late = check_validity(&chain, at(until) + std::time::Duration::from_millis(1)).unwrap_err().to_string();
        assert!(late.contains("expired at 2027-04-25T08:00:00Z"), "{late}");
    }

    #[test]
    fn validity_is_asked_of_every_certificate() {
        let old = |template: Template| Template { not_after: NOW - DAY, ..template };
        for (chain, subject) in [
            (chain_of(&old(leaf()), &intermediate(), &root()), "CN=signer"),
            (chain_of(&leaf(), &old(intermediate()), &root()), "CN=intermediate"),
            (chain_of(&leaf(), &intermediate(), &old(root())), "CN=root"),
        ] {
            assert_eq!(check_code_signing(&chain, &[]), Ok(()));
            let found = check_validity(&chain, now()).unwrap_err().to_string();
            assert!(found.contains(subject) && found.contains("expired at"), "{found}");
        }
    }
}
