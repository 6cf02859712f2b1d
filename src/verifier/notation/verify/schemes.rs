//! What is the same in both encodings: signing schemes, critical headers, plugins, times, and what is signed.

use serde_json::{Value, json};

use super::super::testing::*;
use super::*;
use crate::config::{Level, StoreType};
use crate::pki::testing::{
    DAY, INTERMEDIATE, Key, Kind, LEAF, NOW, ROOT, Template, algorithm, at, chain, chain_of, now,
};

const SCHEME: &str = "io.cncf.notary.signingScheme";
const SIGNING: &str = "io.cncf.notary.signingTime";
const AUTHENTIC: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRY: &str = "io.cncf.notary.expiry";
const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
const VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";

/// Trust in the root of a chain as one that signs for others.
fn authority(chain: &[Certificate]) -> Trust {
    Trust::of(vec![(StoreType::SigningAuthority, vec![chain.last().unwrap().clone()])], &[IDENTITY.to_owned()]).unwrap()
}

/// What both encodings of a draft come to, which must be the same.
#[track_caller]
fn judge_by(draft: &Draft, trust: &Trust, now: SystemTime) -> Outcome {
    let [jws, cose] =
        draft.both().map(|(media_type, bytes)| verify_envelope(media_type, &bytes, &subject(), trust, now));
    assert_eq!(jws, cose);
    jws
}

#[track_caller]
fn judge(draft: &Draft) -> Outcome {
    judge_by(draft, &trust(), now())
}

#[test]
fn a_sound_signature_of_either_scheme_passes_with_its_signer() {
    let pass = passed(judge(&Draft::new()));
    assert_eq!(pass.signer, Some(chain()[0].key_fingerprint()));
    assert_eq!(pass.valid_until, Some(NOW + 100 * DAY));
    let pass = passed(judge_by(&Draft::new().by_authority("2027-01-10T08:00:00Z"), &authority(&chain()), now()));
    assert_eq!(pass.detail, "signed by CN=signer,OU=build,O=acme,L=Seattle,ST=WA,C=US");
    // Its time is an authentic one: it holds when the certificates no longer do.
    assert_eq!(pass.valid_until, None);
}

#[test]
fn a_trust_store_of_one_type_never_serves_the_other_scheme() {
    let draft = Draft::new();
    let by_authority = draft.clone().by_authority("2027-01-10T08:00:00Z");
    for (draft, trust, scheme) in
        [(&draft, authority(&chain()), "notary.x509"), (&by_authority, trust(), "notary.x509.signingAuthority")]
    {
        let expected = format!("no certificate is trusted for signing scheme {scheme}");
        refused(judge_by(draft, &trust, now()), Stage::Authenticity, &expected);
    }
    // Nor does it where both types are there, each with another root.
    let key = Key::get(Kind::P256, 0);
    let other = vec![Template::ca(ROOT, ROOT).sign(key, key)];
    let root = vec![chain().remove(2)];
    for (draft, ca, signing_authority) in [(&draft, &other, &root), (&by_authority, &root, &other)] {
        let stores = vec![(StoreType::Ca, ca.clone()), (StoreType::SigningAuthority, signing_authority.clone())];
        let trust = Trust::of(stores, &[IDENTITY.to_owned()]).unwrap();
        refused(judge_by(draft, &trust, now()), Stage::Authenticity, "is not trusted: neither its root CN=root");
        let stores = vec![(StoreType::Ca, signing_authority.clone()), (StoreType::SigningAuthority, ca.clone())];
        passed(judge_by(draft, &Trust::of(stores, &[IDENTITY.to_owned()]).unwrap(), now()));
    }
}

#[test]
fn each_scheme_has_its_own_signing_time() {
    let time = "2027-01-10T08:00:00Z";
    let authority = || Draft::new().by_authority(time);
    for (draft, expected) in [
        (Draft::new().set(SIGNING, Value::Null), "header io.cncf.notary.signingTime is missing"),
        (
            Draft::new().set(AUTHENTIC, json!(time)),
            "header io.cncf.notary.authenticSigningTime must not be given with signing scheme notary.x509",
        ),
        (
            Draft::new().critical(AUTHENTIC, json!(time)),
            "header io.cncf.notary.authenticSigningTime must not be given with signing scheme notary.x509",
        ),
        (
            authority().set(SIGNING, json!(time)),
            "header io.cncf.notary.signingTime must not be given with signing scheme notary.x509.signingAuthority",
        ),
        (authority().set(AUTHENTIC, Value::Null), "header io.cncf.notary.authenticSigningTime is missing"),
        (
            authority().set("crit", json!([SCHEME])),
            "header io.cncf.notary.authenticSigningTime must be marked critical",
        ),
        (Draft::new().set(SCHEME, Value::Null), "header io.cncf.notary.signingScheme is missing"),
        (
            Draft::new().set(SCHEME, json!("notary.x509.")),
            "is \"notary.x509.\", expected notary.x509 or notary.x509.sign",
        ),
        (Draft::new().set(SCHEME, json!("Notary.x509")), "is \"Notary.x509\""),
        (Draft::new().set(SCHEME, json!("")), "is \"\""),
        (
            authority().critical(EXPIRY, json!(time)),
            "the signature expires at 2027-01-10T08:00:00Z, which is not after its signing time 2027-01-10T08:00:00Z",
        ),
    ] {
        refused(judge(&draft), Stage::Form, expected);
    }
    let later = authority().critical(EXPIRY, json!("2027-01-15T08:00:01Z"));
    let pass = passed(judge_by(&later, &self::authority(&chain()), now()));
    assert_eq!(pass.valid_until, Some(NOW + 1));
}

#[test]
fn the_authentic_signing_time_lies_within_the_validity_of_every_certificate() {
    let whole = |template: Template| template;
    let short = |template: Template| Template { not_before: NOW - DAY, not_after: NOW - DAY + 1, ..template };
    type Change = fn(Template) -> Template;
    let rows: [(Change, Change, Change, &str); 3] = [
        (short, whole, whole, "CN=signer"),
        (whole, short, whole, "CN=intermediate"),
        (whole, whole, short, "CN=root"),
    ];
    for (leaf, intermediate, root, subject) in rows {
        let chain = chain_of(
            &leaf(Template::leaf(LEAF, INTERMEDIATE)),
            &intermediate(Template::ca(INTERMEDIATE, ROOT)),
            &root(Template::ca(ROOT, ROOT)),
        );
        let judge = |time: &str| {
            let draft = Draft::by(Kind::P256, "ES256", &chain).by_authority(time);
            judge_by(&draft, &authority(&chain), now())
        };
        passed(judge("2027-01-14T08:00:00Z"));
        passed(judge("2027-01-14T08:00:01Z"));
        refused(judge("2027-01-14T07:59:59Z"), Stage::Expiry, subject);
        refused(judge("2027-01-14T07:59:59Z"), Stage::Expiry, "is valid from 2027-01-14T08:00:00Z");
        refused(judge("2027-01-14T08:00:02Z"), Stage::Expiry, subject);
        refused(judge("2027-01-14T08:00:02Z"), Stage::Expiry, "expired at 2027-01-14T08:00:01Z");
    }
}

#[test]
fn what_must_be_critical_is_critical_and_given_once() {
    for (draft, expected) in [
        (Draft::new().set("crit", Value::Null), "header crit is missing"),
        (Draft::new().set("crit", json!([])), "at least one"),
        (
            Draft::new().set("crit", json!([SCHEME, SCHEME])),
            "\"io.cncf.notary.signingScheme\" is marked critical twice",
        ),
        (Draft::new().set("crit", json!([EXPIRY])), "\"io.cncf.notary.expiry\" is marked critical, but is not given"),
        (
            Draft::new().set(EXPIRY, json!("2027-01-16T08:00:00Z")),
            "header io.cncf.notary.expiry must be marked critical",
        ),
        (Draft::new().set(PLUGIN, json!("x")), "header io.cncf.notary.verificationPlugin must be marked critical"),
        (
            Draft::new().critical(PLUGIN, json!("x")).set(VERSION, json!("1.0.0")),
            "header io.cncf.notary.verificationPluginMinVersion must be marked critical",
        ),
        (Draft::new().critical("com.example.x", json!(1)), "\"com.example.x\" is marked critical, and this verifier"),
        (Draft::new().set("crit", json!([SCHEME, "com.example.x"])), "\"com.example.x\" is marked critical, and"),
        (Draft::new().set("crit", json!([SCHEME, "alg"])), "\"alg\" is marked critical, and"),
        (Draft::new().set("crit", json!([SCHEME, SIGNING])), "signingTime\" is marked critical, and"),
        // What is signed means nothing else where only one of two readers knows a header.
        (Draft::new().critical("b64", json!(false)), "\"b64\" is marked critical, and"),
    ] {
        refused(judge(&draft), Stage::Form, expected);
    }
}

/// What a signature demands, by both encodings.
fn demand(draft: &Draft) -> Demand {
    let [jws, cose] = draft.both().map(|(media_type, bytes)| {
        let sound = Sound::new(media_type, &bytes, &subject(), &trust(), now()).map(|sound| sound.demand().cloned());
        sound.unwrap().unwrap()
    });
    assert_eq!(jws, cose);
    jws
}

#[test]
fn critical_attributes_that_nobody_knows_are_the_demanded_plugins_to_process() {
    let draft = Draft::new().critical(PLUGIN, json!("com.example.plugin"));
    let bare = demand(&draft);
    assert_eq!((bare.plugin.as_str(), bare.min_version, bare.attributes.len()), ("com.example.plugin", None, 0));
    let full = draft
        .clone()
        .critical(VERSION, json!("1.2.3-rc.1+x"))
        .critical("com.example.text", json!("t\u{e9}xt"))
        .critical("com.example.number", json!(-7))
        .critical("com.example.flag", json!(true))
        .set("com.example.informative", json!({"not": ["critical"]}));
    let full = demand(&full);
    assert_eq!(full.min_version.as_deref(), Some("1.2.3-rc.1+x"));
    let expected = json!({ "com.example.flag": true, "com.example.number": -7, "com.example.text": "t\u{e9}xt" });
    assert_eq!(serde_json::to_value(&full.attributes).unwrap(), expected);

    for (draft, expected) in [
        (
            draft.clone().critical("com.example.x", json!([1])),
            "critical header \"com.example.x\" must be text, a number",
        ),
        (
            draft.clone().critical("com.example.x", json!({})),
            "critical header \"com.example.x\" must be text, a number",
        ),
        (draft.clone().set("crit", json!([SCHEME, PLUGIN, "com.example.x"])), "is marked critical, but is not given"),
        (draft.clone().set("crit", json!([SCHEME, PLUGIN, SIGNING])), "signingTime\" is marked critical, and this"),
        (draft.clone().critical("io.cncf.notary.other", json!(1)), "notary.other\" is marked critical, and this"),
        (draft.clone().set("crit", json!([SCHEME, PLUGIN, "alg"])), "\"alg\" is marked critical, and this"),
        (draft.clone().critical("b64", json!(false)), "\"b64\" is marked critical, and this"),
    ] {
        refused(judge(&draft), Stage::Form, expected);
    }
}

#[test]
fn a_demanded_plugin_has_a_name_and_its_version_is_one() {
    let draft = || Draft::new().critical(PLUGIN, json!("com.example.plugin"));
    for (draft, expected) in [
        (Draft::new().critical(PLUGIN, json!("")), "must be the name of a plugin"),
        (Draft::new().critical(PLUGIN, json!(" \t")), "must be the name of a plugin"),
        (Draft::new().critical(VERSION, json!("1.0.0")), "header io.cncf.notary.verificationPlugin is missing"),
        (
            draft().critical(VERSION, json!("")),
            "verificationPluginMinVersion of the signature envelope is \"\", expected a version",
        ),
        (draft().critical(VERSION, json!("v1.0.0")), "is \"v1.0.0\", expected a version such as 1.2.3"),
        (draft().critical(VERSION, json!("1.0")), "is \"1.0\", expected a version"),
        (draft().critical(VERSION, json!(" 1.0.0")), "expected a version"),
    ] {
        refused(judge(&draft), Stage::Form, expected);
    }
    let long = "x".repeat(1000);
    assert_eq!(demand(&Draft::new().critical(PLUGIN, json!(long))).plugin, long, "never another name");
}

#[test]
fn a_timestamp_is_taken_from_the_unprotected_header() {
    let draft = Draft::new().unprotected("io.cncf.notary.timestampSignature", json!("AQID"));
    for draft in [draft.clone(), draft.by_authority("2027-01-10T08:00:00Z")] {
        for (media_type, bytes) in draft.both() {
            assert_eq!(read(media_type, &bytes, &[]).unwrap().timestamp, Some(vec![1, 2, 3]));
        }
    }
    for (media_type, bytes) in Draft::new().both() {
        assert_eq!(read(media_type, &bytes, &[]).unwrap().timestamp, None);
    }
    let twice = Draft::new()
        .unprotected("io.cncf.notary.timestampSignature", json!("AQID"))
        .set("io.cncf.notary.timestampSignature", json!("AQID"));
    refused(judge(&twice), Stage::Form, "\"io.cncf.notary.timestampSignature\" is given twice");
}

#[test]
fn all_six_algorithms_pass_and_no_other_one_is_taken_for_them() {
    for (kind, algorithm) in [
        (Kind::Rsa2048, "PS256"),
        (Kind::Rsa3072, "PS384"),
        (Kind::Rsa4096, "PS512"),
        (Kind::P256, "ES256"),
        (Kind::P384, "ES384"),
        (Kind::P521, "ES512"),
    ] {
        passed(judge(&Draft::by(kind, algorithm, &chain_for(kind))));
        for other in ["PS256", "PS384", "PS512", "ES256", "ES384", "ES512"] {
            if other != algorithm {
                let expected = format!("signs by {algorithm}");
                refused(judge(&Draft::by(kind, other, &chain_for(kind))), Stage::Integrity, &expected);
            }
        }
    }
}

#[test]
fn a_key_of_a_size_without_an_algorithm_must_not_sign() {
    // The rules for certificates take it, "Algorithm Selection" does not.
    let modulus = [vec![0], vec![0xff; 257]].concat();
    let integers = [crate::pki::testing::tlv(2, &modulus), vec![2, 3, 1, 0, 1]].concat();
    let spki = spki::SubjectPublicKeyInfoOwned {
        algorithm: algorithm(const_oid::db::rfc5912::RSA_ENCRYPTION, Some(der::asn1::Any::from(der::asn1::Null))),
        subject_public_key: der::asn1::BitString::from_bytes(&crate::pki::testing::tlv(0x30, &integers)).unwrap(),
    };
    let leaf = Template { spki: Some(spki), ..Template::leaf(LEAF, INTERMEDIATE) };
    let chain = chain_of(&leaf, &Template::ca(INTERMEDIATE, ROOT), &Template::ca(ROOT, ROOT));
    let draft = Draft::by(Kind::Rsa2048, "PS256", &chain);
    refused(judge(&draft), Stage::Integrity, "RSA-2056 must not sign: RSA of 2048, 3072 or 4096 bits");
}

#[test]
fn the_payload_is_of_the_one_content_type_and_about_this_artifact() {
    for (media_type, bytes) in Draft::new().set("cty", json!("application/json")).both() {
        let outcome = verify_envelope(media_type, &bytes, &subject(), &trust(), now());
        refused(outcome, Stage::Form, "is \"application/json\", expected application/vnd.cncf.notary.payload.v1+json");
    }
    let of = |media_type: &str, digest: &str, size: u64| {
        let target = json!({"mediaType": media_type, "digest": digest, "size": size});
        Draft::new().payload(&json!({ "targetArtifact": target }).to_string())
    };
    let media_type = subject().media_type;
    passed(judge(&of(&media_type, DIGEST, 401)));
    refused(judge(&of(&media_type, OTHER_DIGEST, 401)), Stage::Subject, "digest");
    refused(judge(&of("application/json", DIGEST, 401)), Stage::Subject, "media type");
    refused(judge(&of(&media_type, DIGEST, 402)), Stage::Subject, "size");
    refused(judge(&Draft::new().payload("")), Stage::Form, "the signed payload cannot be read");
    let twice = Draft::new().payload.replacen(r#""size""#, r#""size":1,"size""#, 1);
    refused(judge(&Draft::new().payload(&twice)), Stage::Form, "\"size\" is given twice");
}

#[test]
fn required_annotations_are_all_stated_with_their_values() {
    let stating = |annotations: Value| {
        let mut payload: Value = serde_json::from_str(&Draft::new().payload).unwrap();
        payload["targetArtifact"]["annotations"] = annotations;
        Draft::new().payload(&payload.to_string())
    };
    let asks = |wanted: &[(&str, &str)], level: Level| {
        let wanted = wanted.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        trust().at(level, VerifyTimestamp::Always).stating(wanted)
    };
    let both = [("build", "123"), ("branch", "main")];
    passed(judge_by(&stating(json!({"build": "123", "branch": "main"})), &asks(&both, Level::STRICT), now()));
    passed(judge_by(&stating(json!({"build": "123", "branch": "main", "x": ""})), &asks(&both, Level::STRICT), now()));
    passed(judge_by(&stating(json!({})), &asks(&[], Level::STRICT), now()));
    passed(judge_by(&Draft::new(), &asks(&[], Level::STRICT), now()));
    // No level leaves them out.
    for level in [Level::STRICT, Level::PERMISSIVE, Level::AUDIT] {
        for (annotations, expected) in [
            (json!({"build": "123"}), "the signature does not state branch = \"main\", which is asked for"),
            (json!({"branch": "main", "Build": "123"}), "the signature does not state build = \"123\""),
            (json!({"build": "1234", "branch": "main"}), "states build = \"1234\", and \"123\" is asked for"),
            (json!({"build": "12", "branch": "main"}), "states build = \"12\", and \"123\" is asked for"),
            (json!({"build": "", "branch": "main"}), "states build = \"\", and \"123\" is asked for"),
        ] {
            refused(judge_by(&stating(annotations), &asks(&both, level), now()), Stage::Metadata, expected);
        }
        refused(judge_by(&Draft::new(), &asks(&both, level), now()), Stage::Metadata, "does not state");
        refused(judge(&stating(json!({"build": 123}))), Stage::Form, "the signed payload cannot be read");
        refused(judge(&stating(json!([]))), Stage::Form, "the signed payload cannot be read");
    }
}

#[test]
fn a_signature_expires_with_the_second_of_its_expiry() {
    let draft = Draft::new().critical(EXPIRY, json!("2027-01-15T08:00:00Z"));
    passed(judge_by(&draft, &trust(), at(NOW) - std::time::Duration::from_nanos(1)));
    refused(judge_by(&draft, &trust(), at(NOW)), Stage::Expiry, "the signature expired at 2027-01-15T08:00:00Z");
    assert_eq!(passed(judge_by(&draft, &trust(), at(NOW - 1))).valid_until, Some(NOW));
}
