//! Each step for each kind of signer, each cause by itself, and every byte of a bundle changed.

use const_oid::db::rfc5912;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::pki::testing::*;
use crate::pki::timestamp::testing::{Token, authority_chain};
use crate::sigstore::identity::{Extension, Matcher};
use crate::sigstore::testing::bundles::*;
use crate::sigstore::testing::{CtLog, ENTERED, RootDraft, TestLog, base64, hex, sha256, valid_for};

/// [`ENTERED`], and moments around it, as a timestamp writes them.
const ENTERED_TEXT: &str = "20270115070000Z";
const LATER_TEXT: &str = "20270115080000Z";

fn identity() -> Identity {
    Identity::new(Matcher::exact(SIGNER).unwrap(), Matcher::exact(ISSUER).unwrap())
}

fn roots(root: &RootDraft) -> Vec<Arc<TrustedRoot>> {
    vec![Arc::new(TrustedRoot::parse(&root.bytes()).unwrap())]
}

/// Trust in everybody of a root for [`SIGNER`], who must be in the logs.
fn trust(root: &RootDraft) -> Trust {
    Trust { signers: Signers::Keyless(vec![identity()]), roots: roots(root), log: true, sct: true, observer_time: true }
}

fn judge_over(bundle: &Value, message: &[u8], trust: &Trust) -> Result<Verified, Unmet> {
    let signature = Signature::from_bundle(bundle.to_string().as_bytes());
    let signature = signature.map_err(|cause| Unmet::new(Stage::Form, cause))?;
    verify(&signature, &Message::Bytes(message), trust, now())
}

fn judge(bundle: &Value, trust: &Trust) -> Result<Verified, Unmet> {
    judge_over(bundle, ARTIFACT, trust)
}

#[track_caller]
fn refused(found: Result<Verified, Unmet>, stage: Stage, expected: &str) {
    match found {
        Err(unmet) => {
            assert!(
                unmet.stage == stage && unmet.cause.contains(expected),
                "expected {stage:?} {expected:?}: {unmet:?}"
            );
        }
        Ok(verified) => panic!("expected {stage:?} {expected:?}: {verified:?}"),
    }
}

fn changed(mut bundle: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut bundle);
    bundle
}

/// A keyless signature whose entries tell no time, stamped at a time by an authority with this key.
fn stamped(kind: Kind, time: &'static str) -> Keyless {
    let stamp = move |signature: &[u8]| response(&Token::by(kind, signature).at(time).sign());
    Keyless::new().logged(&[TestLog::v2()]).stamped(stamp)
}

fn stamped_root(draft: &Keyless, kind: Kind) -> RootDraft {
    draft.root().timestamp_authority(&authority_chain(kind))
}

// --- keyless ----------------------------------------------------------------------------------------------------------

#[test]
fn a_keyless_signature_passes_in_every_form() {
    let draft = Keyless::new();
    let trust = trust(&draft.root());
    let statement = draft.statement(&statement_of(&["00"]));
    for bundle in
        [draft.message(ARTIFACT), statement.clone(), older(draft.message(ARTIFACT), "0.1"), older(statement, "0.2")]
    {
        let found = judge(&bundle, &trust).unwrap();
        assert_eq!(found.identity.as_deref(), Some(SIGNER));
        assert_eq!(found.signer, draft.certificate().key_fingerprint());
        assert!(found.detail.contains(ISSUER) && found.detail.contains("2027-01-15T07:00:00Z"), "{}", found.detail);
        assert_eq!(
            found.valid_until,
            Some(at(ENTERED + 100 * DAY)),
            "not until the leaf ends, but the authority above it"
        );
    }
}

#[test]
fn a_log_of_version_2_with_a_timestamp_by_either_kind_of_authority_passes() {
    for kind in [Kind::P256, Kind::P384, Kind::Rsa2048, Kind::Rsa4096] {
        let draft = stamped(kind, ENTERED_TEXT);
        let trust = trust(&stamped_root(&draft, kind));
        for bundle in [draft.message(ARTIFACT), draft.statement(&statement_of(&["00"]))] {
            let found = judge(&bundle, &trust).unwrap();
            assert!(
                found.detail.contains("the timestamp by https://timestamp.example of 2027-01-15T07:00:00Z"),
                "{found:?}"
            );
        }
    }
}

#[test]
fn a_timestamp_may_leave_out_the_certificates_that_the_root_names() {
    let chain = authority_chain(Kind::P256);
    for given in [vec![], vec![&chain[0]], vec![&chain[0], &chain[1]], vec![&chain[0], &chain[1], &chain[2]]] {
        let given: Vec<_> = given.into_iter().cloned().collect();
        let draft = Keyless::new().logged(&[TestLog::v2()]).stamped(move |signature| {
            let given: Vec<_> = given.iter().collect();
            response(&Token::over(signature).at(ENTERED_TEXT).with(&given).sign())
        });
        let trust = trust(&stamped_root(&draft, Kind::P256));
        assert!(judge(&draft.message(ARTIFACT), &trust).is_ok());
    }
    // A root may name less: then the token must bring the rest.
    let draft = stamped(Kind::P256, ENTERED_TEXT);
    for named in [&chain[1..2], &chain[1..], &chain[2..], &chain[..2]] {
        let trust = trust(&draft.root().timestamp_authority(named));
        assert!(judge(&draft.message(ARTIFACT), &trust).is_ok());
    }
}

#[test]
fn signers_of_every_kind_of_key_and_name_pass() {
    for kind in [Kind::P256, Kind::P384, Kind::P521, Kind::Rsa2048, Kind::Ed25519] {
        let draft = Keyless { key: Key::get(kind, 2), ..Keyless::new() };
        let found = judge(&draft.statement(&statement_of(&["00"])), &trust(&draft.root()));
        assert!(found.is_ok(), "{kind:?}: {found:?}");
    }
    let user = [const_oid_der("1.3.6.1.4.1.57264.1.7"), tlv(0xa0, &tlv(0x0c, b"who"))].concat();
    for (name, expected) in [
        (tlv(0x86, b"https://example.com/x"), "https://example.com/x"),
        (tlv(0x82, b"example.com"), "example.com"),
        (tlv(0xa0, &user), "who"),
    ] {
        let draft = Keyless::new().with(|leaf| leaf.with(alternative_names(&[name])));
        let identity = Identity::new(Matcher::exact(expected).unwrap(), Matcher::exact(ISSUER).unwrap());
        let trust = Trust { signers: Signers::Keyless(vec![identity]), ..trust(&draft.root()) };
        assert_eq!(judge(&draft.message(ARTIFACT), &trust).unwrap().identity.as_deref(), Some(expected));
    }
}

fn const_oid_der(oid: &str) -> Vec<u8> {
    der::Encode::to_der(&const_oid::ObjectIdentifier::new_unwrap(oid)).unwrap()
}

#[test]
fn another_identity_is_refused_by_what_it_is() {
    let draft = Keyless::new();
    let bundle = draft.message(ARTIFACT);
    let of = |subject: Matcher, issuer: Matcher| {
        let identity = Identity::new(subject, issuer);
        judge(&bundle, &Trust { signers: Signers::Keyless(vec![identity]), ..trust(&draft.root()) })
    };
    let (exact, pattern) = (|text| Matcher::exact(text).unwrap(), |text| Matcher::pattern(text).unwrap());
    assert!(of(pattern(r"[a-z]+@example\.com"), pattern("https://accounts\\..*")).is_ok());
    refused(of(exact("other@example.com"), exact(ISSUER)), Stage::Identity, "the signer is \"signer@example.com\"");
    refused(of(exact("example.com"), exact(ISSUER)), Stage::Identity, "expected \"example.com\"");
    refused(of(pattern("signer"), exact(ISSUER)), Stage::Identity, "expected one that matches \"signer\"");
    refused(
        of(exact(SIGNER), exact("https://accounts.example")),
        Stage::Identity,
        "vouched for by \"https://accounts.example.com\"",
    );
    refused(of(exact(SIGNER), pattern("accounts")), Stage::Identity, "vouched for by");
    let nobody = Trust { signers: Signers::Keyless(Vec::new()), ..trust(&draft.root()) };
    refused(judge(&bundle, &nobody), Stage::Identity, "no identity is trusted");
}

#[test]
fn the_issuer_is_read_in_its_new_form_and_else_in_the_old_one() {
    let judged = |change: fn(Template) -> Template| {
        let draft = Keyless::new().with(change);
        judge(&draft.message(ARTIFACT), &trust(&draft.root()))
    };
    let oid = |arc| const_oid::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1").push_arc(arc).unwrap();
    assert!(oid(8) != oid(1));
    assert!(judged(|leaf| leaf.without(FULCIO_ISSUER_V2)).is_ok());
    assert!(judged(|leaf| leaf.without(FULCIO_ISSUER_V1)).is_ok());
    refused(
        judged(|leaf| leaf.without(FULCIO_ISSUER_V1).without(FULCIO_ISSUER_V2)),
        Stage::Identity,
        "does not say who vouched",
    );
    refused(
        judged(|leaf| leaf.with(fulcio_extension(8, &tlv(0x0c, b"https://evil.example")))),
        Stage::Identity,
        "vouched for by \"https://evil.example\"",
    );
    refused(
        judged(|leaf| leaf.with(fulcio_extension(8, ISSUER.as_bytes()))),
        Stage::Integrity,
        "its extension 1.3.6.1.4.1.57264.1.8 is no text",
    );
}

const FULCIO_ISSUER_V1: const_oid::ObjectIdentifier = const_oid::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
const FULCIO_ISSUER_V2: const_oid::ObjectIdentifier = const_oid::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");

#[test]
fn what_fulcio_says_of_the_workflow_may_be_asked_for() {
    let draft = Keyless::new().with(|leaf| {
        leaf.with(fulcio_extension(5, b"acme/web"))
            .with(fulcio_extension(12, &tlv(0x0c, b"https://github.com/acme/web")))
    });
    let asked = |name: &str, expected: &str| {
        let identity = identity().and(Extension::by_name(name).unwrap(), Matcher::exact(expected).unwrap());
        judge(&draft.message(ARTIFACT), &Trust { signers: Signers::Keyless(vec![identity]), ..trust(&draft.root()) })
    };
    assert!(asked("githubWorkflowRepository", "acme/web").is_ok());
    assert!(asked("sourceRepositoryURI", "https://github.com/acme/web").is_ok());
    refused(
        asked("githubWorkflowRepository", "acme/other"),
        Stage::Identity,
        "githubWorkflowRepository is \"acme/web\"",
    );
    refused(asked("githubWorkflowRef", "refs/heads/main"), Stage::Identity, "does not say githubWorkflowRef");
}

#[test]
fn each_rule_for_the_signers_certificate_is_asked() {
    let two = [tlv(0x81, SIGNER.as_bytes()), tlv(0x81, b"other@example.com")];
    let foreign = [const_oid_der("1.3.6.1.4.1.55555.1"), tlv(0xa0, &tlv(0x0c, b"who"))].concat();
    let vendor = const_oid::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1");
    for (change, expected) in [
        (
            Box::new(|leaf: Template| leaf.with(constraints_of(true, true, None))) as Box<dyn Fn(Template) -> Template>,
            "is an authority's",
        ),
        (Box::new(|leaf| leaf.without(const_oid::db::rfc5280::ID_CE_KEY_USAGE)), "does not say digitalSignature"),
        (Box::new(|leaf| leaf.with(usage_of(true, &[KEY_CERT_SIGN]))), "does not say digitalSignature"),
        (Box::new(|leaf| leaf.without(const_oid::db::rfc5280::ID_CE_EXT_KEY_USAGE)), "does not say codeSigning"),
        (Box::new(|leaf| leaf.with(purposes_of(true, &[rfc5912::ID_KP_CLIENT_AUTH]))), "does not say codeSigning"),
        (Box::new(|leaf| leaf.without(const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME)), "names 0 signers"),
        (Box::new(move |leaf| leaf.with(alternative_names(&two))), "names 2 signers"),
        (Box::new(|leaf| leaf.with(alternative_names(&[tlv(0x87, &[127, 0, 0, 1])]))), "names its signer by iPAddress"),
        (Box::new(move |leaf| leaf.with(alternative_names(&[tlv(0xa0, &foreign)]))), "by an otherName of another type"),
        (Box::new(|leaf| leaf.with(alternative_names(&[tlv(0x81, b"")]))), "by an empty text"),
        (Box::new(|leaf| leaf.with(fulcio_extension(6, b"\xff"))), "1.3.6.1.4.1.57264.1.6 is no text"),
        (Box::new(move |leaf| leaf.with(extension(vendor, true, b"x"))), "its critical extension 1.3.6.1.4.1.55555.1"),
    ] {
        let draft = Keyless::new().with(change);
        refused(judge(&draft.message(ARTIFACT), &trust(&draft.root())), Stage::Integrity, expected);
    }
}

#[test]
fn a_certificate_of_a_stranger_is_refused() {
    let draft = Keyless { issuer: Key::get(Kind::P384, 2), ..Keyless::new() };
    let mut root = draft.root();
    refused(
        judge(&draft.message(ARTIFACT), &trust(&root)),
        Stage::Integrity,
        "its signature was not made by the key of",
    );
    let named = Keyless::new().with(|leaf| Template { issuer: "CN=stranger".into(), ..leaf });
    refused(
        judge(&named.message(ARTIFACT), &trust(&root)),
        Stage::Authenticity,
        "no trusted authority leads to it, as CN=stranger would",
    );
    root.authorities.clear();
    refused(
        judge(&named.message(ARTIFACT), &trust(&root)),
        Stage::Authenticity,
        "names no authority that issues certificates",
    );
}

#[test]
fn an_intermediate_that_the_root_leaves_out_may_come_with_the_signature() {
    let draft = Keyless::new();
    let mut root = draft.root();
    let chain = fulcio(ENTERED);
    root.authorities = vec![crate::sigstore::testing::authority("https://fulcio.example", &chain[1..])];
    let bundle = older(draft.message(ARTIFACT), "0.2");
    refused(judge(&bundle, &trust(&root)), Stage::Authenticity, "no trusted authority leads to it");
    let with = |more: &[&Certificate]| {
        changed(bundle.clone(), |it| {
            let list = it["verificationMaterial"]["x509CertificateChain"]["certificates"].as_array_mut().unwrap();
            list.extend(more.iter().map(|it| json!({ "rawBytes": base64(it.der()) })));
        })
    };
    assert!(judge(&with(&[&chain[0]]), &trust(&root)).is_ok());
    assert!(judge(&with(&[&chain[0], &chain[1]]), &trust(&root)).is_ok(), "a root in it is passed over");
    let own = Template::ca(FULCIO_INTERMEDIATE, FULCIO_INTERMEDIATE).sign(fulcio_key(), fulcio_key());
    refused(judge(&with(&[&own]), &trust(&root)), Stage::Authenticity, "no trusted authority leads to it");
}

#[test]
fn an_intermediate_that_the_root_has_replaced_does_not_come_back_with_a_signature() {
    let draft = Keyless::new();
    let [old, anchor] = <[_; 2]>::try_from(fulcio(ENTERED)).unwrap();
    let (key, other) = (Key::get(Kind::P384, 2), Key::get(Kind::P384, 0));
    let new = Template::ca("CN=fulcio intermediate 2,O=acme", FULCIO_ROOT).sign(key, other);
    let mut root = draft.root();
    root.authorities = vec![crate::sigstore::testing::authority("https://fulcio.example", &[new, anchor])];
    let bundle = changed(older(draft.message(ARTIFACT), "0.2"), |it| {
        let list = it["verificationMaterial"]["x509CertificateChain"]["certificates"].as_array_mut().unwrap();
        list.push(json!({ "rawBytes": base64(old.der()) }));
    });
    refused(judge(&bundle, &trust(&root)), Stage::Authenticity, "no trusted authority leads to it");
}

#[test]
fn a_signature_over_something_else_is_refused() {
    let draft = Keyless::new();
    let trust = trust(&draft.root());
    let bundle = draft.message(ARTIFACT);
    refused(
        judge_over(&bundle, b"another artifact", &trust),
        Stage::Subject,
        &format!("of digest {}", hex(sha256(ARTIFACT))),
    );
    let of_other = changed(bundle.clone(), |it| {
        it["messageSignature"]["messageDigest"]["digest"] = json!(base64(sha256(b"another artifact")));
    });
    refused(judge(&of_other, &trust), Stage::Subject, "the bundle is of another artifact");
    assert!(judge_over(&of_other, b"another artifact", &trust).is_err());
    let untold = Trust { log: false, ..trust.clone() };
    let without = changed(bundle, |it| drop(it["messageSignature"].as_object_mut().unwrap().remove("messageDigest")));
    assert!(judge(&without, &trust).is_ok(), "it is only a hint");
    assert!(judge_over(&without, b"another artifact", &untold).is_err());
    let stamped = stamped(Kind::P256, ENTERED_TEXT).logged(&[]);
    let untold = Trust { log: false, ..self::trust(&stamped_root(&Keyless::new(), Kind::P256)) };
    let statement = changed(stamped.statement(&statement_of(&["00"])), |it| {
        it["dsseEnvelope"]["payload"] = json!(base64(statement_of(&["01"]).to_string()));
    });
    refused(
        judge(&statement, &untold),
        Stage::Integrity,
        "was not made over this content by the key of its certificate",
    );
}

// --- time -------------------------------------------------------------------------------------------------------------

#[test]
fn a_certificate_without_a_trusted_time_is_refused() {
    let draft = Keyless::new();
    let untimed = |bundle: Value| {
        changed(bundle, |it| {
            drop(it["verificationMaterial"]["tlogEntries"][0].as_object_mut().unwrap().remove("inclusionPromise"));
        })
    };
    let expired = untimed(draft.message(ARTIFACT));
    refused(
        judge(&expired, &trust(&draft.root())),
        Stage::Expiry,
        "expired at 2027-01-15T07:09:00Z, and no transparency log",
    );
    let fresh = Keyless::at(NOW);
    let bundle = untimed(fresh.message(ARTIFACT));
    refused(
        judge(&bundle, &trust(&fresh.root())),
        Stage::Expiry,
        "counts until 2027-01-15T08:09:00Z, and no transparency log",
    );
    let unasked = Trust { log: false, observer_time: false, ..trust(&fresh.root()) };
    refused(judge(&bundle, &unasked), Stage::Expiry, "and no transparency log");
}

#[test]
fn a_time_outside_of_the_certificate_is_refused() {
    for (not_before, not_after, expected) in [
        (ENTERED + 1, ENTERED + 600, "is valid from 2027-01-15T07:00:01Z"),
        (ENTERED - 600, ENTERED - 1, "expired at 2027-01-15T06:59:59Z"),
    ] {
        let draft = Keyless::new().with(|leaf| Template { not_before, not_after, ..leaf });
        let bundle = draft.message(ARTIFACT);
        refused(judge(&bundle, &trust(&draft.root())), Stage::Expiry, expected);
    }
    for (not_before, not_after) in [(ENTERED, ENTERED + 600), (ENTERED - 600, ENTERED)] {
        let draft = Keyless::new().with(|leaf| Template { not_before, not_after, ..leaf });
        assert!(judge(&draft.message(ARTIFACT), &trust(&draft.root())).is_ok());
    }
    let late = stamped(Kind::P256, LATER_TEXT);
    refused(
        judge(&late.message(ARTIFACT), &trust(&stamped_root(&late, Kind::P256))),
        Stage::Expiry,
        "the timestamp by https://timestamp.example is of 2027-01-15T08:00:00Z: certificate (empty name) expired",
    );
}

#[test]
fn every_time_that_somebody_tells_must_fit() {
    let stamp = |time: &'static str| move |signature: &[u8]| response(&Token::over(signature).at(time).sign());
    let both = Keyless::new().stamped(stamp(ENTERED_TEXT));
    assert!(judge(&both.message(ARTIFACT), &trust(&stamped_root(&both, Kind::P256))).is_ok());
    let late = both.stamped(stamp(LATER_TEXT));
    refused(
        judge(&late.message(ARTIFACT), &trust(&stamped_root(&late, Kind::P256))),
        Stage::Expiry,
        "the timestamp by https://timestamp.example is of 2027-01-15T08:00:00Z",
    );
}

#[test]
fn an_authority_counts_within_its_time_alone() {
    let draft = Keyless::new();
    let of = |start: u64, end: Option<u64>| {
        let mut root = draft.root();
        root.authorities[0]["validFor"] = valid_for(start, end);
        judge(&draft.message(ARTIFACT), &trust(&root))
    };
    assert!(of(ENTERED, Some(ENTERED)).is_ok());
    assert_eq!(of(ENTERED, Some(NOW + DAY)).unwrap().valid_until, Some(at(NOW + DAY)));
    let expected = "and authority https://fulcio.example counts";
    refused(of(ENTERED + 1, None), Stage::Expiry, expected);
    refused(of(ENTERED - 600, Some(ENTERED - 1)), Stage::Expiry, expected);
    // The same chain twice, as when a trusted root is renewed: one of both must count.
    let mut root = draft.root();
    let mut ended = root.authorities[0].clone();
    ended["validFor"] = valid_for(ENTERED - 600, Some(ENTERED - 1));
    root.authorities.insert(0, ended);
    assert!(judge(&draft.message(ARTIFACT), &trust(&root)).is_ok());
}

#[test]
fn a_timestamp_authority_counts_within_its_time_alone() {
    let draft = stamped(Kind::P256, ENTERED_TEXT);
    let of = |start: u64, end: Option<u64>| {
        let mut root = stamped_root(&draft, Kind::P256);
        root.timestamp_authorities[0]["validFor"] = valid_for(start, end);
        judge(&draft.message(ARTIFACT), &trust(&root))
    };
    assert!(of(ENTERED, Some(ENTERED)).is_ok());
    for (start, end) in [(ENTERED + 1, None), (ENTERED - 600, Some(ENTERED - 1))] {
        refused(of(start, end), Stage::Expiry, "and authority https://timestamp.example counts");
    }
}

#[test]
fn a_timestamp_that_does_not_hold_is_refused() {
    let with = |stamp: fn(&[u8]) -> Vec<u8>| {
        let draft = Keyless::new().stamped(stamp);
        judge(&draft.message(ARTIFACT), &trust(&stamped_root(&draft, Kind::P256)))
    };
    let of_other = |_: &[u8]| response(&Token::over(b"another signature").at(ENTERED_TEXT).sign());
    refused(with(of_other), Stage::Expiry, "it stamps something else than this signature");
    refused(with(|signature| Token::over(signature).sign()), Stage::Expiry, "does not count");
    refused(with(|_| tlv(0x30, &tlv(0x30, &tlv(2, &[2])))), Stage::Expiry, "made no timestamp");
    refused(with(|_| b"x".to_vec()), Stage::Expiry, "does not count");
}

#[test]
fn a_timestamp_of_a_stranger_proves_nothing_and_harms_nobody() {
    let by_stranger = |signature: &[u8]| response(&Token::by(Kind::P384, signature).at(ENTERED_TEXT).sign());
    let by_friend = |signature: &[u8]| response(&Token::over(signature).at(ENTERED_TEXT).sign());
    let stranger = Keyless::new().logged(&[TestLog::v2()]).stamped(by_stranger);
    refused(
        judge(&stranger.message(ARTIFACT), &trust(&stamped_root(&stranger, Kind::P256))),
        Stage::Expiry,
        "which is not the certificate of the trusted authority",
    );
    let both = stranger.stamped(by_friend);
    let found = judge(&both.message(ARTIFACT), &trust(&stamped_root(&both, Kind::P256))).unwrap();
    assert_eq!(found.detail.matches("the timestamp by").count(), 1);
    let in_v1 = Keyless::new().stamped(by_stranger);
    assert!(judge(&in_v1.message(ARTIFACT), &trust(&in_v1.root())).is_ok(), "where no authority is trusted");
}

// --- logs -------------------------------------------------------------------------------------------------------------

#[test]
fn a_missing_or_foreign_sct_is_refused() {
    let foreign = CtLog { key: Key::get(Kind::P384, 2), ..CtLog::new() };
    for (log, name) in [(None, "missing"), (Some(foreign), "foreign")] {
        let draft = Keyless { ct_log: log, ..Keyless::new() };
        let bundle = draft.message(ARTIFACT);
        let found = judge(&bundle, &trust(&Keyless::new().root())).unwrap_err();
        assert_eq!(found.stage, Stage::Authenticity, "{name}: {found:?}");
        assert!(
            found.cause.to_lowercase().contains("sct") || found.cause.contains("certificate transparency"),
            "{found:?}"
        );
        let unasked = Trust { sct: false, ..trust(&Keyless::new().root()) };
        assert!(judge(&bundle, &unasked).is_ok(), "{name}");
    }
}

#[test]
fn an_entry_is_asked_for_and_must_be_of_a_known_log() {
    let draft = stamped(Kind::P256, ENTERED_TEXT);
    let root = stamped_root(&draft, Kind::P256);
    let unlogged = draft.clone().logged(&[]).message(ARTIFACT);
    refused(judge(&unlogged, &trust(&root)), Stage::Metadata, "no transparency log has the signature");
    assert!(judge(&unlogged, &Trust { log: false, ..trust(&root) }).is_ok());
    let elsewhere = draft.logged(&[TestLog::v2().with_host("other.example").with_key(Key::get(Kind::Ed25519, 1))]);
    let found = judge(&elsewhere.message(ARTIFACT), &trust(&root)).unwrap_err();
    assert_eq!(found.stage, Stage::Authenticity, "{found:?}");
}

#[test]
fn an_entry_of_another_signature_is_refused() {
    let draft = Keyless::new();
    let trust = trust(&draft.root());
    let bundle = draft.message(ARTIFACT);
    let other = draft.message(b"another artifact");
    for member in ["inclusionPromise", "inclusionProof", "canonicalizedBody"] {
        let mixed = changed(bundle.clone(), |it| {
            it["verificationMaterial"]["tlogEntries"][0][member] =
                other["verificationMaterial"]["tlogEntries"][0][member].clone();
        });
        assert!(judge(&mixed, &trust).is_err(), "{member}");
    }
    let whole = changed(bundle, |it| {
        it["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"].clone();
    });
    assert!(judge(&whole, &trust).is_err());
}

#[test]
fn a_checkpoint_of_another_log_is_refused() {
    let draft = Keyless::new();
    let foreign = TestLog::v1().with_key(Key::get(Kind::P384, 2));
    let other = draft.clone().logged(&[foreign]).message(ARTIFACT);
    let mixed = changed(draft.message(ARTIFACT), |it| {
        let checkpoint = &other["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"];
        it["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"] = checkpoint.clone();
    });
    let found = judge(&mixed, &trust(&draft.root())).unwrap_err();
    assert!(found.cause.contains("checkpoint"), "{found:?}");
}

/// A signature by a key in a log of version 2, which says no time itself.
fn in_v2(stamps: &[Stamp]) -> Value {
    let (key, log) = (Key::get(Kind::P256, 0), TestLog::v2());
    let signature = key.sign(ARTIFACT);
    let by = crate::sigstore::testing::By::Key(key);
    let mut bundle = by_key(key, ARTIFACT);
    bundle["messageSignature"]["signature"] = json!(base64(&signature));
    let entry = log.enter(&log.body_of_message(&signature, by, ARTIFACT));
    attach(&mut bundle["verificationMaterial"], vec![entry], stamps, &signature);
    bundle
}

#[test]
fn a_log_counts_at_the_time_that_others_tell_or_else_now() {
    let draft = Keyless::new().logged(&[TestLog::v2()]);
    let of = |bundle: &Value, start: u64, end: Option<u64>| {
        let mut root = stamped_root(&draft, Kind::P256);
        root.logs[0]["publicKey"]["validFor"] = valid_for(start, end);
        let signers = Signers::Keys(vec![named("acme", Key::get(Kind::P256, 0))]);
        judge(bundle, &Trust { signers, roots: roots(&root), log: true, sct: false, observer_time: false })
    };
    let stamp: Stamp = std::rc::Rc::new(|signature: &[u8]| response(&Token::over(signature).at(ENTERED_TEXT).sign()));
    let (bare, stamped) = (in_v2(&[]), in_v2(&[stamp]));
    assert_eq!(of(&bare, ENTERED, Some(NOW)).unwrap().valid_until, Some(at(NOW)));
    refused(of(&bare, ENTERED, Some(NOW - 1)), Stage::Expiry, "it is 2027-01-15T08:00:00Z, and no transparency log");
    assert!(of(&stamped, ENTERED, Some(ENTERED)).is_ok());
    for (start, end) in [(ENTERED + 1, None), (ENTERED - 600, Some(ENTERED - 1))] {
        refused(of(&stamped, start, end), Stage::Expiry, "and log https://log2026-1.rekor.example counts");
    }
}

// --- keys -------------------------------------------------------------------------------------------------------------

fn named(name: &str, key: &Key) -> NamedKey {
    NamedKey { name: name.to_owned(), key: PublicKey::from_der(&key.der()).unwrap() }
}

fn keys(keys: &[NamedKey]) -> Trust {
    Trust { signers: Signers::Keys(keys.to_vec()), roots: Vec::new(), log: false, sct: false, observer_time: false }
}

#[test]
fn a_signature_by_a_known_key_needs_nobody_else() {
    for kind in [Kind::P256, Kind::P384, Kind::P521, Kind::Rsa2048, Kind::Rsa3072, Kind::Rsa4096, Kind::Ed25519] {
        let key = Key::get(kind, 0);
        let trust = keys(&[named("old", Key::get(kind, 1)), named("acme", key)]);
        let found = judge(&by_key(key, ARTIFACT), &trust).unwrap();
        assert_eq!((found.identity.as_deref(), found.valid_until), (Some("acme"), None));
        assert_eq!(found.signer, PublicKey::from_der(&key.der()).unwrap().fingerprint());
    }
    // With the digest alone, where the signature is over it.
    let key = Key::get(Kind::P256, 0);
    let signature = Signature::from_bundle(by_key(key, ARTIFACT).to_string().as_bytes()).unwrap();
    let message = Message::Sha256(sha256(ARTIFACT));
    assert!(verify(&signature, &message, &keys(&[named("acme", key)]), now()).is_ok());
}

#[test]
fn a_signature_by_another_key_is_refused_and_a_hint_never_helps_it() {
    let (own, other) = (Key::get(Kind::P256, 0), Key::get(Kind::P256, 1));
    let trust = keys(&[named("acme", own)]);
    refused(judge(&by_key(other, ARTIFACT), &trust), Stage::Authenticity, "the signature names another key, ");
    let hinted = |key: &Key, hint: &str| {
        changed(by_key(key, ARTIFACT), |it| it["verificationMaterial"]["publicKey"]["hint"] = json!(hint))
    };
    for hint in [base64(sha256(&own.der())), hex(sha256(&own.der()))] {
        refused(judge(&hinted(other, &hint), &trust), Stage::Authenticity, "names key acme, which did not make it");
    }
    assert!(judge(&hinted(own, "another"), &trust).is_ok(), "who signed is known without it");
    let silent = changed(by_key(other, ARTIFACT), |it| it["verificationMaterial"]["publicKey"] = json!({}));
    refused(judge(&silent, &trust), Stage::Authenticity, "was not made over this content with acme");
    refused(judge_over(&by_key(own, ARTIFACT), b"x", &trust), Stage::Subject, "of another artifact");
    let by_identity = Trust { signers: Signers::Keyless(vec![identity()]), ..trust };
    refused(judge(&by_key(own, ARTIFACT), &by_identity), Stage::Authenticity, "the signature brings no certificate");
}

#[test]
fn logs_and_timestamps_of_a_key_are_judged_where_they_are_asked_for() {
    let key = Key::get(Kind::P256, 0);
    let with = |logs: &[TestLog], stamps: &[Stamp]| {
        let mut bundle = by_key(key, ARTIFACT);
        let signature = key.sign(ARTIFACT);
        bundle["messageSignature"]["signature"] = json!(base64(&signature));
        let by = crate::sigstore::testing::By::Key(key);
        let entries = logs.iter().map(|log| log.enter(&log.body_of_message(&signature, by, ARTIFACT))).collect();
        attach(&mut bundle["verificationMaterial"], entries, stamps, &signature);
        bundle
    };
    let stamp: Stamp = std::rc::Rc::new(|signature: &[u8]| response(&Token::over(signature).at(LATER_TEXT).sign()));
    let draft = Keyless::new().logged(&[TestLog::v1(), TestLog::v2()]);
    let known = Trust { roots: roots(&stamped_root(&draft, Kind::P256)), ..keys(&[named("acme", key)]) };
    let (log, time) = (Trust { log: true, ..known.clone() }, Trust { observer_time: true, ..known.clone() });
    let found = judge(&with(&[TestLog::v1(), TestLog::v2()], &[]), &log).unwrap();
    assert!(found.detail.contains("in log") && found.detail.contains("2027-01-15T07:00:00Z"), "{found:?}");
    assert!(judge(&with(&[], std::slice::from_ref(&stamp)), &time).is_ok());
    refused(judge(&with(&[], &[stamp]), &log), Stage::Metadata, "no transparency log has the signature");
    refused(judge(&with(&[TestLog::v2()], &[]), &time), Stage::Expiry, "says when the signature was made");
    let strange = TestLog::v1().with_key(Key::get(Kind::P384, 2));
    assert!(judge(&with(&[TestLog::v1(), strange.clone()], &[]), &log).is_err(), "every entry must hold");
    assert!(judge(&with(&[strange], &[]), &known).is_ok(), "unless no log is asked for");
}

// --- an own authority ---------------------------------------------------------------------------------------------------

/// A signature by the leaf of [`chain`], with the chain below its root.
fn own(leaf: &Template, stamps: &[Stamp]) -> Value {
    let chain = chain_of(leaf, &Template::ca(INTERMEDIATE, ROOT), &Template::ca(ROOT, ROOT));
    let signature = Key::get(Kind::P256, 0).sign(ARTIFACT);
    let list: Vec<_> = chain[..2].iter().map(|it| json!({ "rawBytes": base64(it.der()) })).collect();
    let mut material = json!({ "x509CertificateChain": { "certificates": list } });
    attach(&mut material, Vec::new(), stamps, &signature);
    let mut bundle = bundle(material, message_signature(ARTIFACT, &signature));
    bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.2");
    bundle
}

fn leaf() -> Template {
    Template::leaf(LEAF, INTERMEDIATE).with(alternative_names(&[tlv(0x82, b"a.example"), tlv(0x81, SIGNER.as_bytes())]))
}

fn own_trust(identities: Vec<ChainIdentity>) -> Trust {
    let signers = Signers::Chain { roots: vec![chain().remove(2)], intermediates: Vec::new(), identities };
    Trust { signers, roots: Vec::new(), log: false, sct: false, observer_time: false }
}

fn by_name(name: &str) -> Trust {
    own_trust(vec![ChainIdentity::AlternativeName(Matcher::exact(name).unwrap())])
}

#[test]
fn a_signer_of_an_own_authority_is_named_by_any_alternative_name_or_by_its_subject() {
    let bundle = own(&leaf(), &[]);
    let found = judge(&bundle, &by_name(SIGNER)).unwrap();
    assert!(found.detail.contains(SIGNER), "{found:?}");
    assert_eq!(found.valid_until, Some(at(NOW + 100 * DAY)));
    // Whoever asks for another of his names must not count him twice.
    let person = found.identity;
    assert_eq!(person.as_deref(), Some("a.example, signer@example.com"));
    assert_eq!(judge(&bundle, &by_name("a.example")).unwrap().identity, person);
    let subject = |text: &str| own_trust(vec![ChainIdentity::subject(text).unwrap()]);
    let found = judge(&bundle, &subject("O=acme,OU=build")).unwrap();
    assert!(found.identity == person && found.detail.contains("CN=signer"), "{found:?}");
    let nameless = judge(&own(&Template::leaf(LEAF, INTERMEDIATE), &[]), &subject("O=acme,OU=build")).unwrap();
    assert!(nameless.identity.unwrap().contains("CN=signer"));
    for trust in [subject("O=acme,OU=test"), subject("OU=buil"), by_name("example"), own_trust(Vec::new())] {
        refused(judge(&bundle, &trust), Stage::Identity, "is none of the identities");
    }
    let purposes = leaf().with(purposes_of(false, &[rfc5912::ID_KP_TIME_STAMPING]));
    refused(judge(&own(&purposes, &[]), &by_name(SIGNER)), Stage::Integrity, "does not say codeSigning");
    let Signers::Chain { identities, intermediates, .. } = by_name(SIGNER).signers else { unreachable!() };
    let roots = vec![Template::ca("CN=other", "CN=other").sign(Key::get(Kind::P256, 2), Key::get(Kind::P256, 2))];
    let other = Trust { signers: Signers::Chain { roots, intermediates, identities }, ..by_name(SIGNER) };
    refused(judge(&bundle, &other), Stage::Authenticity, "no trusted authority leads to it");
    refused(
        judge_over(
            &changed(bundle, |it| it["messageSignature"]["messageDigest"] = Value::Null),
            b"x",
            &by_name(SIGNER),
        ),
        Stage::Integrity,
        "was not made over this content",
    );
}

#[test]
fn a_certificate_of_an_own_authority_is_valid_now_unless_somebody_says_when_it_signed() {
    let ended = Template { not_after: NOW - 1, ..leaf() };
    refused(
        judge(&own(&ended, &[]), &by_name(SIGNER)),
        Stage::Expiry,
        "and no transparency log and no timestamp authority",
    );
    let early = Template { not_before: NOW + 1, ..leaf() };
    refused(judge(&own(&early, &[]), &by_name(SIGNER)), Stage::Expiry, "is valid from");
    let stamp: Stamp = std::rc::Rc::new(|signature: &[u8]| response(&Token::over(signature).at(ENTERED_TEXT).sign()));
    let root = RootDraft::default().timestamp_authority(&authority_chain(Kind::P256));
    let trust = Trust { roots: roots(&root), observer_time: true, ..by_name(SIGNER) };
    let found = judge(&own(&ended, std::slice::from_ref(&stamp)), &trust).unwrap();
    assert_eq!(found.valid_until, Some(at(NOW + 100 * DAY)), "the leaf has ended, its authority has not");
    refused(judge(&own(&leaf(), &[]), &trust), Stage::Expiry, "says when the signature was made");
    let late = Template { not_before: NOW - 60, ..leaf() };
    refused(judge(&own(&late, &[stamp]), &trust), Stage::Expiry, "is valid from");
}

#[test]
fn a_stranger_is_told_so_before_what_he_heaps_up_is_looked_at() {
    let garbage: Stamp = std::rc::Rc::new(|_: &[u8]| b"no timestamp".to_vec());
    let root = RootDraft::default().timestamp_authority(&authority_chain(Kind::P256));
    let own_root = Trust { roots: roots(&root), ..by_name("somebody else") };
    refused(judge(&own(&leaf(), &vec![garbage.clone(); 32]), &own_root), Stage::Identity, "is none of the identities");

    let draft = Keyless::new().stamped(|_| b"no timestamp".to_vec());
    let known = trust(&stamped_root(&draft, Kind::P256));
    refused(judge(&draft.message(ARTIFACT), &known), Stage::Expiry, "a timestamp with the signature does not count");
    let stranger = Keyless { issuer: Key::get(Kind::P256, 2), ..draft };
    refused(judge(&stranger.message(ARTIFACT), &known), Stage::Integrity, "signature");
    let other = Identity::new(Matcher::exact("x@y.z").unwrap(), Matcher::exact(ISSUER).unwrap());
    let asks_for_another = Trust { signers: Signers::Keyless(vec![other]), ..known.clone() };
    let draft = Keyless::new().stamped(|_| b"no timestamp".to_vec());
    refused(judge(&draft.message(ARTIFACT), &asks_for_another), Stage::Identity, SIGNER);
    refused(judge_over(&draft.message(ARTIFACT), b"other", &known), Stage::Subject, "of another artifact");
    let unlogged = Keyless { logs: Vec::new(), ..draft };
    refused(judge(&unlogged.message(ARTIFACT), &known), Stage::Metadata, "no transparency log has the signature");
}

// --- mutation -----------------------------------------------------------------------------------------------------------

/// Every string of a document, by where it stands.
fn strings(value: &Value, path: String, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => found.push((path, text.clone())),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| strings(item, format!("{path}/{at}"), found))
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, item)| strings(item, format!("{path}/{name}"), found))
        }
        _ => {}
    }
}

/// Whatever byte of a valid bundle is changed, it is refused, or says the same: so it is with the list of hash functions
/// before a timestamp, which its signer says again, and with the name beside the signature of a checkpoint, where the key
/// decides.
#[test]
fn every_byte_of_a_keyless_bundle_that_counts_is_held() {
    for draft in [Keyless::new(), stamped(Kind::P256, ENTERED_TEXT)] {
        let trust = trust(&stamped_root(&draft, Kind::P256));
        for bundle in [draft.message(ARTIFACT), draft.statement(&statement_of(&["00"]))] {
            let truth = judge(&bundle, &trust).unwrap();
            let mut found = Vec::new();
            strings(&bundle, String::new(), &mut found);
            let mut tried = 0;
            for (path, text) in found {
                let decoded = STANDARD.decode(&text).ok().filter(|bytes| bytes.len() > 8);
                let changes: Vec<String> = match &decoded {
                    Some(bytes) => (0..bytes.len()).map(|at| base64(flipped(bytes, at))).collect(),
                    None => {
                        (0..text.len()).filter_map(|at| String::from_utf8(flipped(text.as_bytes(), at)).ok()).collect()
                    }
                };
                for (index, change) in changes.into_iter().enumerate() {
                    let mut bundle = bundle.clone();
                    *bundle.pointer_mut(&path).unwrap() = json!(change);
                    tried += 1;
                    if let Ok(found) = judge(&bundle, &trust) {
                        assert_eq!(found, truth, "{path} byte {index}");
                        assert!(UNSIGNED.iter().any(|end| path.ends_with(end)), "{path} byte {index}");
                    }
                }
            }
            assert!(tried > 1000, "{tried}");
        }
    }
}

/// Where a change may go unnoticed: see above.
const UNSIGNED: [&str; 2] = ["/signedTimestamp", "/checkpoint/envelope"];

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_bundle_never_passes_for_another(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..5),
    ) {
        let draft = Keyless::new();
        let trust = trust(&draft.root());
        let bundle = draft.message(ARTIFACT);
        let truth = judge(&bundle, &trust).unwrap();
        let mut bytes = bundle.to_string().into_bytes();
        for (index, byte, kind) in edits {
            let index = index.index(bytes.len());
            match kind {
                0 => bytes[index] = byte,
                1 => bytes.insert(index, byte),
                _ => drop(bytes.remove(index)),
            }
        }
        if let Ok(signature) = Signature::from_bundle(&bytes)
            && let Ok(found) = verify(&signature, &Message::Bytes(ARTIFACT), &trust, now())
        {
            prop_assert_eq!(found, truth);
        }
    }
}
