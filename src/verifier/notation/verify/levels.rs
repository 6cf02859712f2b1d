//! What becomes of a validation that does not hold, at each level ("Signature Verification details").

use serde_json::json;

use super::super::testing::*;
use super::*;
use crate::config::{Level, StoreType};
use crate::pki::testing::{
    DAY, INTERMEDIATE, Key, Kind, LEAF, NOW, ROOT, Template, at, chain, chain_of, now, points_of,
};

const EVERY: [Validation; 4] =
    [Validation::Authenticity, Validation::AuthenticTimestamp, Validation::Expiry, Validation::Revocation];

/// A level that does with one validation what it says, and enforces all others.
fn only(validation: Validation, action: Action) -> Level {
    let mut level = Level::STRICT;
    match validation {
        Validation::Authenticity => level.authenticity = action,
        Validation::AuthenticTimestamp => level.authentic_timestamp = action,
        Validation::Expiry => level.expiry = action,
        Validation::Revocation => level.revocation = action,
    }
    level
}

/// What one validation has to say of one signature.
struct Case {
    validation: Validation,
    draft: Draft,
    trust: Trust,
    now: SystemTime,
    cause: &'static str,
}

impl Case {
    fn new(validation: Validation, draft: Draft, trust: Trust, cause: &'static str) -> Self {
        Self { validation, draft, trust, now: now(), cause }
    }

    fn at(&self, level: Level) -> Outcome {
        let trust = self.trust.clone().at(level, VerifyTimestamp::Always);
        verify_envelope(JWS, &self.draft.sign(), &subject(), &trust, self.now)
    }
}

/// A chain whose leaf says where to ask whether it was taken back.
fn revocable() -> Vec<Certificate> {
    let leaf = Template::leaf(LEAF, INTERMEDIATE).with(points_of(&[&["http://crl.example/a.crl"]]));
    chain_of(&leaf, &Template::ca(INTERMEDIATE, ROOT), &Template::ca(ROOT, ROOT))
}

/// One signature for each way in which a validation may not hold.
fn cases() -> Vec<Case> {
    let draft = Draft::new;
    let key = Key::get(Kind::P256, 0);
    let stranger = trust_in(&[Template::ca(ROOT, ROOT).sign(key, key)], &[IDENTITY]);
    let other_identity = trust_in(&chain(), &["x509.subject: C=US, ST=WA, O=other"]);
    let authority = || {
        let root = vec![chain().remove(2)];
        Trust::of(vec![(StoreType::SigningAuthority, root)], &[IDENTITY.to_owned()]).unwrap()
    };
    let expiring = draft().critical("io.cncf.notary.expiry", json!("2027-01-15T08:00:00Z"));
    let with_tsa = || {
        let root = || vec![chain().remove(2)];
        Trust::of(vec![(StoreType::Ca, root()), (StoreType::Tsa, root())], &[IDENTITY.to_owned()]).unwrap()
    };
    let expired =
        Case { now: at(NOW + 100 * DAY + 1), ..Case::new(EVERY[1], draft(), trust(), "expired at 2027-04-25") };
    vec![
        Case::new(Validation::Authenticity, draft(), stranger, "is not trusted: neither its root"),
        Case::new(Validation::Authenticity, draft(), authority(), "no certificate is trusted for signing scheme"),
        Case::new(Validation::Authenticity, draft(), other_identity, "is none of the trusted identities"),
        Case::new(Validation::Expiry, expiring, trust(), "the signature expired at 2027-01-15T08:00:00Z"),
        expired,
        Case { now: at(NOW - 100 * DAY - 1), ..Case::new(EVERY[1], draft(), trust(), "is valid from 2026-10-07") },
        Case::new(EVERY[1], draft(), with_tsa(), "has no timestamp countersignature"),
        Case::new(EVERY[1], draft().by_authority("2020-01-01T00:00:00Z"), authority(), "is valid from 2026-10-07"),
        Case::new(
            Validation::Revocation,
            Draft::by(Kind::P256, "ES256", &revocable()),
            trust(),
            "whether a certificate was revoked was not asked",
        ),
    ]
}

/// What a failure or a fault says.
#[track_caller]
fn cause(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(failure) => failure.cause,
        Outcome::Fault { cause } => cause.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_fails_where_it_is_enforced_is_told_where_it_is_logged() {
    for case in cases() {
        let enforced = cause(case.at(only(case.validation, Action::Enforce)));
        assert!(enforced.contains(case.cause), "{}: {enforced}", case.cause);
        let pass = passed(case.at(only(case.validation, Action::Log)));
        assert_eq!(pass.logged, [Logged { validation: case.validation, cause: enforced }]);
        assert!(pass.detail.ends_with(&format!("; not enforced: {}", case.validation.as_str())), "{}", pass.detail);
        // And every other one being logged does not help.
        for other in EVERY.into_iter().filter(|other| *other != case.validation) {
            assert!(cause(case.at(only(other, Action::Log))).contains(case.cause), "{other:?}");
        }
    }
}

#[test]
fn each_level_enforces_what_the_specification_says() {
    for case in cases() {
        let is_authenticity = case.validation == Validation::Authenticity;
        assert!(cause(case.at(Level::STRICT)).contains(case.cause));
        if is_authenticity {
            assert!(cause(case.at(Level::PERMISSIVE)).contains(case.cause));
        } else {
            assert_eq!(passed(case.at(Level::PERMISSIVE)).logged.len(), 1);
        }
        assert_eq!(passed(case.at(Level::AUDIT)).logged.len(), 1, "{}", case.cause);
    }
    for level in [Level::STRICT, Level::PERMISSIVE, Level::AUDIT] {
        let pass = passed(Case::new(Validation::Expiry, Draft::new(), trust(), "").at(level));
        assert!(pass.logged.is_empty() && !pass.detail.contains("not enforced"), "{}", pass.detail);
    }
}

#[test]
fn nobody_can_take_a_root_back_not_even_one_that_names_whom_to_ask() {
    let root = Template::ca(ROOT, ROOT).with(points_of(&[&["http://crl.example/a.crl"]]));
    let chain = chain_of(&Template::leaf(LEAF, INTERMEDIATE), &Template::ca(INTERMEDIATE, ROOT), &root);
    let trust = trust_in(&chain, &[IDENTITY]);
    let case = Case::new(Validation::Revocation, Draft::by(Kind::P256, "ES256", &chain), trust, "");
    assert!(passed(case.at(Level::STRICT)).logged.is_empty());
}

#[test]
fn revocation_can_be_left_out() {
    let case = Case::new(Validation::Revocation, Draft::by(Kind::P256, "ES256", &revocable()), trust(), "");
    assert!(passed(case.at(only(Validation::Revocation, Action::Skip))).logged.is_empty());
}

#[test]
fn all_that_does_not_hold_is_told() {
    let draft =
        Draft::by(Kind::P256, "ES256", &revocable()).critical("io.cncf.notary.expiry", json!("2027-01-15T08:00:00Z"));
    let key = Key::get(Kind::P256, 0);
    let stranger = trust_in(&[Template::ca(ROOT, ROOT).sign(key, key)], &["x509.subject: C=US, ST=WA, O=other"]);
    let case = Case { now: at(NOW + 200 * DAY), ..Case::new(Validation::Expiry, draft, stranger, "") };
    let pass = passed(case.at(Level::AUDIT));
    let validations: Vec<Validation> = pass.logged.iter().map(|logged| logged.validation).collect();
    let [authenticity, timestamp, expiry, revocation] = EVERY;
    assert_eq!(validations, [authenticity, expiry, timestamp, authenticity, revocation]);
    for word in EVERY.map(Validation::as_str) {
        assert!(pass.detail.contains(word), "{}", pass.detail);
    }
}

#[test]
fn integrity_is_enforced_at_every_level() {
    let sign = |draft: Draft| draft.sign();
    let mut changed = Draft::new().members();
    changed["signature"] = json!("AAAA");
    let server = Template::leaf(LEAF, INTERMEDIATE)
        .with(crate::pki::testing::purposes_of(false, &[const_oid::db::rfc5912::ID_KP_SERVER_AUTH]));
    let server = chain_of(&server, &Template::ca(INTERMEDIATE, ROOT), &Template::ca(ROOT, ROOT));
    let other = json!({"targetArtifact": {"mediaType": subject().media_type, "digest": OTHER_DIGEST, "size": 401}});
    for (bytes, stage, expected) in [
        (b"{}".to_vec(), Stage::Form, "cannot be read"),
        (sign(Draft::new().set("cty", json!("text/plain"))), Stage::Form, "header cty"),
        (sign(Draft::new().critical("com.example.x", json!(1))), Stage::Form, "is marked critical"),
        (sign(Draft::new().payload("{}")), Stage::Form, "the signed payload cannot be read"),
        (sign(Draft::new().payload(&other.to_string())), Stage::Subject, "speaks of another artifact"),
        (changed.to_string().into_bytes(), Stage::Integrity, "does not fit its content"),
        (sign(Draft::by(Kind::P256, "ES384", &chain())), Stage::Integrity, "signs by ES256"),
        (sign(Draft::by(Kind::P256, "ES256", &server)), Stage::Integrity, "must not say serverAuth"),
        (sign(Draft::by(Kind::P256, "ES256", &chain()[..2])), Stage::Integrity, "the root certificate is missing"),
    ] {
        for level in [Level::STRICT, Level::PERMISSIVE, Level::AUDIT] {
            let trust = trust().at(level, VerifyTimestamp::Always);
            match verify_envelope(JWS, &bytes, &subject(), &trust, now()) {
                Outcome::Failed(failure) => {
                    assert!(failure.stage == stage && failure.cause.contains(expected), "{expected}: {failure:?}");
                }
                found => panic!("{expected}: {found:?}"),
            }
        }
    }
}

#[test]
fn signers_whom_nobody_trusts_count_as_one_where_that_is_only_logged() {
    let self_signed = |number: usize, subject: &str| {
        let key = Key::get(Kind::P256, number);
        vec![Template::leaf(subject, subject).sign(key, key)]
    };
    let audit = trust().at(Level::AUDIT, VerifyTimestamp::Always);
    let judge = |chain: &[Certificate], trust: &Trust| {
        passed(verify_envelope(JWS, &Draft::by(Kind::P256, "ES256", chain).sign(), &subject(), trust, now()))
    };
    let [one, two] = ["CN=one", LEAF].map(|subject| judge(&self_signed(0, subject), &audit));
    assert!(one.signer.is_some() && one.signer == two.signer);
    assert!(one.identity.is_none() && two.identity.is_none(), "not even by the trusted one's name");
    // Of a trusted root, and not of a trusted identity: the same.
    let other = trust_in(&chain(), &["x509.subject: C=US, ST=WA, O=other"]).at(Level::AUDIT, VerifyTimestamp::Always);
    assert_eq!(judge(&chain(), &other).signer, one.signer);
    let trusted = judge(&chain(), &audit);
    assert_eq!(trusted.signer, Some(chain()[0].key_fingerprint()));
    assert!(trusted.signer != one.signer && trusted.identity.is_some());
}

#[test]
fn how_long_it_holds_follows_what_is_enforced_alone() {
    let draft = Draft::new().critical("io.cncf.notary.expiry", json!("2027-01-16T08:00:00Z"));
    let case = Case::new(Validation::Expiry, draft, trust(), "");
    let (expiry, certificates) = (Some(NOW + DAY), Some(NOW + 100 * DAY));
    for (level, expected) in [
        (Level::STRICT, expiry),
        (only(Validation::Expiry, Action::Log), certificates),
        (only(Validation::AuthenticTimestamp, Action::Log), expiry),
        (only(Validation::Authenticity, Action::Log), expiry),
        (Level { expiry: Action::Log, ..only(Validation::AuthenticTimestamp, Action::Log) }, None),
        (Level::PERMISSIVE, None),
        (Level::AUDIT, None),
    ] {
        assert_eq!(passed(case.at(level)).valid_until, expected, "{level:?}");
    }
}

#[test]
fn a_timestamp_after_expiry_is_asked_for_once_a_certificate_has_expired() {
    let root = || vec![chain().remove(2)];
    let stores = || vec![(StoreType::Ca, root()), (StoreType::Tsa, root())];
    let trust = |verify| Trust::of(stores(), &[IDENTITY.to_owned()]).unwrap().at(Level::STRICT, verify);
    let judge = |trust: &Trust, now| verify_envelope(JWS, &Draft::new().sign(), &subject(), trust, now);
    let end = at(NOW + 100 * DAY);
    let after = trust(VerifyTimestamp::AfterCertExpiry);
    assert_eq!(passed(judge(&after, now())).valid_until, Some(NOW + 100 * DAY));
    passed(judge(&after, end));
    let past = end + std::time::Duration::from_nanos(1);
    assert!(cause(judge(&after, past)).contains("has no timestamp countersignature"));
    assert!(cause(judge(&after, at(NOW - 100 * DAY - 1))).contains("is valid from"));
    let always = trust(VerifyTimestamp::Always);
    assert!(cause(judge(&always, now())).contains("has no timestamp countersignature"));
    // Under the other scheme there is no timestamp to ask for, whatever the policy says.
    let stores = vec![(StoreType::SigningAuthority, root()), (StoreType::Tsa, root())];
    let authority = Trust::of(stores, &[IDENTITY.to_owned()]).unwrap();
    let draft = Draft::new().by_authority("2027-01-10T08:00:00Z");
    passed(verify_envelope(JWS, &draft.sign(), &subject(), &authority, past));
}
