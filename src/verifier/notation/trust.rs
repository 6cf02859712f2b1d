//! What a Notation verifier trusts: root certificates, identities and what of them is enforced, checked once when
//! configuration is assembled. Never reads a file: certificates come parsed from [`crate::pki::anchors_from_pem`].

use std::collections::BTreeMap;

use crate::config::{Level, StoreType, VerifyTimestamp};
use crate::pki::{Certificate, Name};

use super::envelope::Scheme;
use super::identity::{BadIdentity, Identities, Subject};

/// Roots, identities and level that belong together: what one statement of a trust policy says of the signatures that it
/// is about.
#[derive(Clone, Debug)]
pub struct Trust {
    authorities: Vec<Certificate>,
    signing_authorities: Vec<Certificate>,
    timestamp_authorities: Option<Vec<Certificate>>,
    /// Those of all these whose own key signed them.
    self_signed: Vec<Certificate>,
    identities: Identities,
    level: Level,
    verify_timestamp: VerifyTimestamp,
    annotations: BTreeMap<String, String>,
}

impl Trust {
    /// Certificates of type `ca` and who is trusted, at level `strict`.
    ///
    /// # Errors
    /// All problems at once.
    pub fn new(authorities: Vec<Certificate>, identities: &[String]) -> Result<Self, BadTrust> {
        Self::of(vec![(StoreType::Ca, authorities)], identities)
    }

    /// Certificates by their type and who is trusted, at level `strict`.
    ///
    /// # Errors
    /// All problems at once.
    pub fn of(stores: Vec<(StoreType, Vec<Certificate>)>, identities: &[String]) -> Result<Self, BadTrust> {
        let mut problems = Vec::new();
        let mut trust = Self {
            authorities: Vec::new(),
            signing_authorities: Vec::new(),
            timestamp_authorities: None,
            self_signed: Vec::new(),
            identities: Identities::Any,
            level: Level::STRICT,
            verify_timestamp: VerifyTimestamp::Always,
            annotations: BTreeMap::new(),
        };
        for (store_type, certificates) in stores {
            if certificates.is_empty() {
                problems.push(Problem::NoAnchor);
            }
            problems.extend(certificates.iter().filter_map(|anchor| check_anchor(store_type, anchor)));
            trust.self_signed.extend(certificates.iter().filter(|anchor| anchor.is_self_signed()).cloned());
            trust.store(store_type).extend(certificates);
        }
        if problems.is_empty() && trust.authorities.is_empty() && trust.signing_authorities.is_empty() {
            problems.push(Problem::NoAnchor);
        }
        trust.identities = read(identities, &mut problems);
        if problems.is_empty() { Ok(trust) } else { Err(BadTrust(problems)) }
    }

    /// The same, enforced as this says.
    #[must_use]
    pub fn at(self, level: Level, verify_timestamp: VerifyTimestamp) -> Self {
        Self { level, verify_timestamp, ..self }
    }

    /// The same for signatures that state these annotations (user metadata).
    #[must_use]
    pub fn stating(self, annotations: BTreeMap<String, String>) -> Self {
        Self { annotations, ..self }
    }

    fn store(&mut self, store_type: StoreType) -> &mut Vec<Certificate> {
        match store_type {
            StoreType::Ca => &mut self.authorities,
            StoreType::SigningAuthority => &mut self.signing_authorities,
            StoreType::Tsa => self.timestamp_authorities.get_or_insert_default(),
        }
    }

    /// Whether a certificate is trusted by itself: it is an anchor for signatures of this scheme, byte by byte. A store
    /// of one type never serves another ("Trust Stores" of the signing schemes).
    pub(super) fn anchors(&self, scheme: Scheme, certificate: &Certificate) -> bool {
        match scheme {
            Scheme::X509 => self.authorities.contains(certificate),
            Scheme::SigningAuthority => self.signing_authorities.contains(certificate),
        }
    }

    /// Whether there is any certificate for signatures of this scheme.
    pub(super) fn has_anchors(&self, scheme: Scheme) -> bool {
        match scheme {
            Scheme::X509 => !self.authorities.is_empty(),
            Scheme::SigningAuthority => !self.signing_authorities.is_empty(),
        }
    }

    /// Certificates that are known to be self-signed: it was checked once, when trust was read.
    pub(super) fn self_signed(&self) -> &[Certificate] {
        &self.self_signed
    }

    /// Who vouches for timestamps; none: no timestamp is asked for.
    pub(super) fn timestamp_authorities(&self) -> Option<&[Certificate]> {
        self.timestamp_authorities.as_deref()
    }

    /// What is enforced.
    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// When a timestamp is asked for.
    pub(super) fn verify_timestamp(&self) -> VerifyTimestamp {
        self.verify_timestamp
    }

    /// What a signature must state.
    pub(super) fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// The trusted signers.
    pub(super) fn identities(&self) -> &Identities {
        &self.identities
    }
}

/// All that is wrong with what was configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
pub struct BadTrust(pub Vec<Problem>);

/// One thing that is wrong with what was configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No certificate.
    #[error("there is no trusted certificate")]
    NoAnchor,
    /// A certificate that is neither a CA's nor self-signed.
    #[error("certificate {subject} is neither a CA certificate nor self-signed: trust the root that issued it instead")]
    Leaf {
        /// The certificate.
        subject: Name,
    },
    /// A certificate that no timestamp's chain may end in.
    #[error("certificate {subject} is no root: trust stores of type tsa hold self-signed CA certificates alone")]
    NotRoot {
        /// The certificate.
        subject: Name,
    },
    /// No identity.
    #[error("there is no trusted identity: name at least one, or \"*\" for every signer of the trusted certificates")]
    NoIdentity,
    /// `*` beside others.
    #[error("trusted identity \"*\" must stand alone: it makes the others mean nothing")]
    AnyWithOthers,
    /// Not an identity.
    #[error("trusted identity {written:?}: {cause}")]
    Identity {
        /// As configured.
        written: String,
        /// What is wrong with it.
        cause: BadIdentity,
    },
    /// One identity allows all that another one allows.
    #[error("trusted identity {narrow:?} is already allowed by {wide:?}: keep one of them")]
    Overlap {
        /// The one that allows more.
        wide: String,
        /// The one that allows less, or the same.
        narrow: String,
    },
}

fn check_anchor(store_type: StoreType, anchor: &Certificate) -> Option<Problem> {
    match (store_type, anchor.is_ca(), anchor.is_self_signed()) {
        // "Timestamping Authority (TSA) root certificates" ("Trust Store").
        (StoreType::Tsa, true, true) => None,
        (StoreType::Tsa, _, _) => Some(Problem::NotRoot { subject: anchor.subject() }),
        // What is neither is a pinned leaf: nothing would ever say that its issuer took it back.
        (StoreType::Ca | StoreType::SigningAuthority, false, false) => {
            Some(Problem::Leaf { subject: anchor.subject() })
        }
        (StoreType::Ca | StoreType::SigningAuthority, _, _) => None,
    }
}

fn read(written: &[String], problems: &mut Vec<Problem>) -> Identities {
    if written.is_empty() {
        problems.push(Problem::NoIdentity);
    }
    if written.iter().any(|identity| identity == ANY) {
        if written.len() > 1 {
            problems.push(Problem::AnyWithOthers);
        }
        return Identities::Any;
    }
    let mut subjects: Vec<Subject> = Vec::new();
    for written in written {
        let subject = match Subject::parse(written) {
            Ok(subject) => subject,
            Err(cause) => {
                problems.push(Problem::Identity { written: written.clone(), cause });
                continue;
            }
        };
        for other in &subjects {
            let (wide, narrow) = match (other.covers(&subject), subject.covers(other)) {
                (true, _) => (other, &subject),
                (false, true) => (&subject, other),
                (false, false) => continue,
            };
            problems.push(Problem::Overlap { wide: wide.to_string(), narrow: narrow.to_string() });
        }
        subjects.push(subject);
    }
    Identities::Subjects(subjects)
}

const ANY: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{Key, Kind, LEAF, ROOT, Template, chain};

    fn problems(anchors: Vec<Certificate>, identities: &[&str]) -> Vec<String> {
        let identities: Vec<String> = identities.iter().map(|identity| (*identity).to_owned()).collect();
        match Trust::new(anchors, &identities) {
            Ok(_) => Vec::new(),
            Err(BadTrust(problems)) => problems.iter().map(Problem::to_string).collect(),
        }
    }

    fn root() -> Vec<Certificate> {
        chain().split_off(2)
    }

    #[test]
    fn ca_certificates_and_self_signed_leaves_may_be_trusted() {
        let key = Key::get(Kind::P256, 0);
        assert_eq!(problems(chain().split_off(1), &["*"]), [""; 0]);
        assert_eq!(problems(vec![Template::leaf(LEAF, LEAF).sign(key, key)], &["*"]), [""; 0]);
    }

    #[test]
    fn a_leaf_that_somebody_else_issued_may_not() {
        let key = Key::get(Kind::P256, 0);
        let forged = Template::leaf(LEAF, LEAF).sign(key, Key::get(Kind::P256, 1));
        let found = problems(vec![chain().remove(0), forged], &["*"]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("CN=signer") && found[0].contains("neither a CA certificate nor self-signed"));
        assert_eq!(problems(vec![], &["*"]), ["there is no trusted certificate"]);
    }

    #[test]
    fn only_roots_vouch_for_timestamps() {
        let of = |certificates: Vec<Certificate>| {
            let stores = vec![(StoreType::Ca, root()), (StoreType::Tsa, certificates)];
            match Trust::of(stores, &["*".to_owned()]) {
                Ok(trust) => Ok(trust.timestamp_authorities().map(<[_]>::len)),
                Err(BadTrust(problems)) => Err(problems.iter().map(Problem::to_string).collect::<Vec<_>>()),
            }
        };
        let key = Key::get(Kind::P256, 0);
        assert_eq!(of(root()), Ok(Some(1)));
        let forged = Template::ca(ROOT, ROOT).sign(key, Key::get(Kind::P256, 1));
        let leaf = Template::leaf(LEAF, LEAF).sign(key, key);
        for wrong in [leaf, forged, chain().remove(1), chain().remove(0)] {
            let found = of(vec![root().remove(0), wrong]).unwrap_err();
            assert!(found.len() == 1 && found[0].contains("is no root: trust stores of type tsa"), "{found:?}");
        }
        assert_eq!(of(vec![]), Err(vec!["there is no trusted certificate".to_owned()]));
    }

    #[test]
    fn only_those_whose_own_key_signed_them_are_known_to_be_self_signed() {
        let [one, two] = [Key::get(Kind::P256, 0), Key::get(Kind::P256, 1)];
        let new_with_old = Template::ca(ROOT, ROOT).sign(one, two);
        let root = chain().remove(2);
        let stores = vec![
            (StoreType::Ca, vec![new_with_old, root.clone()]),
            (StoreType::SigningAuthority, vec![chain().remove(1)]),
        ];
        assert_eq!(Trust::of(stores, &["*".to_owned()]).unwrap().self_signed(), [root]);
    }

    #[test]
    fn identities_of_the_specification() {
        for identities in [
            &["*"][..],
            &["x509.subject: C=US, ST=WA, L=Seattle, O=acme-rockets.io, OU=Finance, CN=SecureBuilder"],
            &["x509.subject: C=US, ST=WA, O=wabbit-networks.io, OU=Security Tools"],
            &["x509.subject: C=US, S=WA, O=wabbit-networks.io"],
            &["x509.subject:C=US,ST=WA,O=a", "x509.subject:C=US,ST=WA,O=b"],
            &[r"x509.subject: C=US, ST=WA, O=Acme\, Inc."],
            // They share certificates, and notation takes them.
            &["x509.subject: C=US, ST=WA, O=a, OU=x", "x509.subject: C=US, ST=WA, O=a, L=y"],
        ] {
            assert_eq!(problems(root(), identities), [""; 0], "{identities:?}");
        }
    }

    #[test]
    fn each_rule_for_identities_is_asked() {
        let full = "x509.subject: C=US, ST=WA, O=acme, OU=x";
        for (identities, expected) in [
            (&[][..], "there is no trusted identity"),
            (&["*", full], "must stand alone"),
            (&["*", "*"], "must stand alone"),
            (&[""], "expected \"x509.subject:"),
            (&[" *"], "expected \"x509.subject:"),
            (&["C=US, ST=WA, O=acme"], "expected \"x509.subject:"),
            (&["x509.Subject: C=US, ST=WA, O=acme"], "expected \"x509.subject:"),
            (&["x509.SUBJECT : C=US, ST=WA, O=acme"], "expected \"x509.subject:"),
            (&[": C=US, ST=WA, O=acme"], "expected \"x509.subject:"),
            (&["x509.subject:"], "expected TYPE=VALUE"),
            (&["x509.subject: ST=WA, O=acme"], "C is missing"),
            (&["x509.subject: C=US, O=acme"], "ST is missing"),
            (&["x509.subject: C=US, ST=WA"], "O is missing"),
            (&["x509.subject: C=US, ST=WA, O="], "O has no value"),
            (&["x509.subject: C=US, ST=WA, O=a, O=b"], "O is given twice"),
            (&["x509.subject: C=US, ST=WA, S=WA, O=a"], "ST is given twice"),
            (&["x509.subject: C=US, ST=WA, O=a+OU=b"], "joined by +"),
            (&["x509.subject: C=US, ST=WA, O=#0c0178"], "hexadecimal DER"),
            (&["x509.subject: C=US, ST=WA, O=*, UID=x"], "\"UID\" is not an attribute type"),
            (&[full, full], "is already allowed by"),
            (&[full, "x509.subject: ST=WA, C=US, O=acme"], "is already allowed by \"x509.subject: ST=WA"),
            (&["x509.subject: S=WA, C=US, O=acme", full], "is already allowed by \"x509.subject: S=WA"),
        ] {
            let found = problems(root(), identities);
            assert!(found.len() == 1 && found[0].contains(expected), "{identities:?}: {found:?}");
        }
    }

    #[test]
    fn identities_of_another_kind_are_taken_and_match_nobody_here() {
        let key = Key::get(Kind::P256, 0);
        let full = "x509.subject: C=US, ST=WA, O=acme";
        let texts = |identities: &[&str]| identities.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        for identities in [&["did:web:acme"][..], &["did:web:acme", "did:web:acme"], &["did:web:acme", full]] {
            assert_eq!(problems(root(), identities), [""; 0], "{identities:?}");
            let trust = Trust::new(root(), &texts(identities)).unwrap();
            let allowed = trust.identities().allow(&Template::leaf("O=acme,ST=WA,C=US", ROOT).sign(key, key).subject());
            assert_eq!(allowed.is_ok(), identities.contains(&full), "{allowed:?}");
        }
        assert_eq!(problems(root(), &["*", "did:web:acme"]).len(), 1, "* stands alone all the same");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let found = problems(vec![], &["x509.subject: C=US", "nobody", "x509.subject: CN=x"]);
        assert_eq!(found.len(), 4, "{found:?}");
        let text = Trust::new(vec![], &[]).unwrap_err().to_string();
        assert!(text.contains("no trusted certificate; there is no trusted identity"), "{text}");
    }

    #[test]
    fn an_identity_matches_whole_values_of_the_signers_subject() {
        let key = Key::get(Kind::P256, 0);
        let allowed = |identities: &[&str], subject: &str| {
            let identities: Vec<String> = identities.iter().map(|identity| (*identity).to_owned()).collect();
            let trust = Trust::new(root(), &identities).unwrap();
            trust.identities().allow(&Template::leaf(subject, ROOT).sign(key, key).subject())
        };
        let acme = "x509.subject: C=US, S=WA, O=acme, OU=build";
        for (identities, subject) in [
            (&["*"][..], "CN=whoever"),
            (&[acme], "OU=build,O=acme,ST=WA,C=US"),
            (&[acme], "C=US,ST=WA,O=acme,OU=build,CN=x,L=y"),
            (&["x509.subject: C=US, ST=WA, O=other", acme], "OU=build,O=acme,ST=WA,C=US"),
            // Types that no identity can name do not matter; notation refuses such a subject.
            (&[acme], "DC=com,DC=acme,emailAddress=a@b.c,OU=build,O=acme,ST=WA,C=US"),
            // One RDN of two attributes.
            (&[acme], "OU=build+O=acme,ST=WA,C=US"),
            (&[r"x509.subject: C=US, ST=WA, O=a\, b"], r"O=a\, b,ST=WA,C=US"),
        ] {
            assert_eq!(allowed(identities, subject), Ok(()), "{subject}");
        }
        for subject in [
            "OU=build,O=acme,ST=WA",
            "OU=Build,O=acme,ST=WA,C=US",
            "OU=build ,O=acme inc,ST=WA,C=US",
            "OU=builder,O=acme,ST=WA,C=US",
            "OU=x,O=acme,ST=WA,C=US",
            "CN=build,O=acme,ST=WA,C=US",
            "O=x,OU=acme,ST=WA,C=US",
            r"O=acme\, OU\=build,ST=WA,C=US",
        ] {
            let found = allowed(&[acme], subject).unwrap_err();
            assert!(found.contains("is none of the trusted identities: x509.subject: C=US, S=WA"), "{found}");
        }
        for subject in
            ["OU=build,OU=x,O=acme,ST=WA,C=US", "OU=x,OU=build,O=acme,ST=WA,C=US", "OU=build+OU=x,O=acme,ST=WA,C=US"]
        {
            let found = allowed(&[acme], subject).unwrap_err();
            assert!(found.contains("has OU twice in its subject"), "{found}");
        }
    }
}
