//! Every form that a bundle may have, and each rule of each version.

use serde_json::json;

use super::*;
use crate::pki::testing::{Key, Kind};
use crate::sigstore::testing::bundles::*;
use crate::sigstore::testing::{TestLog, base64, sha256};

fn read(bundle: &Value) -> Result<Signature, String> {
    Signature::from_bundle(bundle.to_string().as_bytes()).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(bundle: &Value, expected: &str) {
    let found = read(bundle).map(drop).expect_err(expected);
    assert!(found.contains(expected), "expected {expected:?}, found {found:?}");
}

/// A bundle with a change.
fn changed(mut bundle: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut bundle);
    bundle
}

fn keyless() -> Value {
    Keyless::new().message(ARTIFACT)
}

fn statement() -> Value {
    Keyless::new().statement(&statement_of(&["00"]))
}

fn key() -> &'static Key {
    Key::get(Kind::P256, 2)
}

#[test]
fn bundles_of_every_version_are_read() {
    let leaf = Keyless::new().certificate();
    let by = |signature: &Signature, count: usize| {
        let Material::Certificate { leaf: found, chain } = &signature.material else { panic!("{signature:?}") };
        found.key_fingerprint() == leaf.key_fingerprint() && chain.is_empty() && signature.entries.len() == count
    };
    let with_name = changed(keyless(), |it| {
        it["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.3");
    });
    for bundle in [keyless(), with_name, older(keyless(), "0.1"), older(keyless(), "0.2")] {
        let signature = read(&bundle).unwrap();
        assert!(by(&signature, 1), "{bundle}");
        let Content::Message { digest: Some(digest), .. } = signature.content else { panic!("{bundle}") };
        assert_eq!((digest.algorithm, digest.bytes), (HashName::Sha256, sha256(ARTIFACT).to_vec()));
    }
    let signature = read(&statement()).unwrap();
    assert!(by(&signature, 1) && signature.timestamps.is_empty());
    assert!(
        matches!(signature.content, Content::Dsse(Envelope { payload_type, .. }) if payload_type.contains("in-toto"))
    );
    let stamped = Keyless::new().stamped(|_| b"stamp".to_vec()).message(ARTIFACT);
    assert_eq!(read(&stamped).unwrap().timestamps, [b"stamp".to_vec()]);
}

#[test]
fn a_bundle_by_a_key_is_read_with_or_without_a_hint() {
    let hint = base64(sha256(&key().der()));
    let bundle = by_key(key(), ARTIFACT);
    assert_eq!(read(&bundle).unwrap().material, Material::Key { hint: Some(hint) });
    for nothing in [json!({}), json!({ "hint": "" }), json!({ "hint": null })] {
        let bundle = changed(bundle.clone(), |it| it["verificationMaterial"]["publicKey"] = nothing.clone());
        assert_eq!(read(&bundle).unwrap().material, Material::Key { hint: None });
    }
}

#[test]
fn what_other_writers_of_the_same_form_write_is_read() {
    let bundle = statement();
    let renamed =
        bundle.to_string().replace("mediaType", "media_type").replace("verificationMaterial", "verification_material");
    assert!(read(&serde_json::from_str(&renamed.replace("dsseEnvelope", "dsse_envelope")).unwrap()).is_ok());
    let nulls = changed(bundle.clone(), |it| {
        it["messageSignature"] = Value::Null;
        it["verificationMaterial"]["publicKey"] = Value::Null;
        it["verificationMaterial"]["timestampVerificationData"] = Value::Null;
    });
    assert!(read(&nulls).is_ok());
    let without_padding = changed(keyless(), |it| {
        let text = base64([0xff, 0xfe, 0xfd, 0xfb]);
        it["messageSignature"]["signature"] = json!(text.trim_end_matches('=').replace('/', "_").replace('+', "-"));
    });
    assert_eq!(read(&without_padding).unwrap().content.signature(), [0xff, 0xfe, 0xfd, 0xfb]);
    for number in [json!(1), json!("SHA2_256")] {
        let numbered = changed(keyless(), |it| it["messageSignature"]["messageDigest"]["algorithm"] = number.clone());
        assert!(read(&numbered).is_ok(), "{number}");
    }
    for (algorithm, length) in [("SHA2_384", 48), ("SHA2_512", 64)] {
        let digest = json!({ "algorithm": algorithm, "digest": base64(vec![1; length]) });
        let longer = changed(keyless(), |it| it["messageSignature"]["messageDigest"] = digest.clone());
        assert!(read(&longer).is_ok(), "{algorithm}");
    }
}

#[test]
fn other_media_types_are_refused_by_name() {
    for found in [
        "",
        "application/json",
        "application/vnd.dev.sigstore.bundle+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.4",
        "application/vnd.dev.sigstore.bundle.v0.1+json",
        "application/vnd.dev.sigstore.bundle.v0.4+json",
        "application/vnd.dev.sigstore.bundle.v0.3+json ",
    ] {
        let bundle = changed(keyless(), |it| it["mediaType"] = json!(found));
        refused(&bundle, &format!("states media type {found:?}"));
    }
    refused(&changed(keyless(), |it| drop(it.as_object_mut().unwrap().remove("mediaType"))), "states media type \"\"");
}

#[test]
fn each_version_has_what_it_asks_for() {
    let without = |bundle: Value, member: &str| {
        changed(bundle, |it| {
            drop(it["verificationMaterial"]["tlogEntries"][0].as_object_mut().unwrap().remove(member));
        })
    };
    let (promise, proof) = ("inclusionPromise", "inclusionProof");
    refused(&without(older(keyless(), "0.1"), promise), "version 0.1 has an inclusionPromise in each log entry");
    assert!(read(&without(older(keyless(), "0.1"), proof)).is_ok());
    for bundle in [older(keyless(), "0.2"), keyless()] {
        refused(&without(bundle.clone(), proof), "has an inclusionProof in each log entry");
        assert!(read(&without(bundle, promise)).is_ok());
    }
    let certificate = keyless()["verificationMaterial"]["certificate"].clone();
    let of = |version: &str| older(keyless(), version);
    let with_list = changed(of("0.2"), |it| it["mediaType"] = json!(V0_3));
    refused(&with_list, "one certificate and no x509CertificateChain");
    let alone = changed(of("0.2"), |it| {
        drop(it["verificationMaterial"].as_object_mut().unwrap().remove("x509CertificateChain"));
        it["verificationMaterial"]["certificate"] = certificate.clone();
    });
    refused(&alone, "version 0.2 has its certificate in x509CertificateChain");
}

#[test]
fn exactly_one_content_and_one_signer_are_taken() {
    let material = |change: fn(&mut serde_json::Map<String, Value>)| {
        changed(keyless(), |it| change(it["verificationMaterial"].as_object_mut().unwrap()))
    };
    let envelope = statement()["dsseEnvelope"].clone();
    refused(
        &changed(keyless(), |it| it["dsseEnvelope"] = envelope.clone()),
        "both a messageSignature and a dsseEnvelope",
    );
    refused(
        &changed(keyless(), |it| it["messageSignature"] = Value::Null),
        "neither a messageSignature nor a dsseEnvelope",
    );
    refused(&changed(keyless(), |it| it["verificationMaterial"] = Value::Null), "no verificationMaterial");
    refused(&material(|it| drop(it.remove("certificate"))), "neither a publicKey nor a certificate");
    refused(&material(|it| drop(it.insert("publicKey".into(), json!({})))), "more than one of publicKey");
    let empty = changed(older(keyless(), "0.1"), |it| it["verificationMaterial"]["x509CertificateChain"] = json!({}));
    refused(&empty, "no certificate in its x509CertificateChain");
    let broken = changed(keyless(), |it| it["verificationMaterial"]["certificate"]["rawBytes"] = json!("MAA="));
    refused(&broken, "certificate 1 of the bundle: it is no X.509 certificate");
    refused(&changed(keyless(), |it| it["messageSignature"]["signature"] = json!("")), "an empty signature");
}

#[test]
fn an_envelope_has_one_signature() {
    let with = |signatures: Value| changed(statement(), |it| it["dsseEnvelope"]["signatures"] = signatures);
    let one = statement()["dsseEnvelope"]["signatures"][0].clone();
    for signatures in [json!([]), json!([one, one]), Value::Null] {
        refused(&with(signatures), "a DSSE envelope with more or less than one signature");
    }
    refused(&with(json!([{ "sig": "" }])), "an empty signature");
}

#[test]
fn two_hints_at_two_keys_are_refused() {
    let envelope = envelope(key(), statement_of(&["00"]).to_string().as_bytes());
    let of = |hint: &str, keyid: &str| {
        let mut bundle = bundle(json!({ "publicKey": { "hint": hint } }), dsse_envelope(&envelope));
        bundle["dsseEnvelope"]["signatures"][0]["keyid"] = json!(keyid);
        bundle
    };
    for (hint, keyid) in [("a", "a"), ("a", ""), ("", "a"), ("", "")] {
        assert!(read(&of(hint, keyid)).is_ok());
    }
    refused(&of("a", "b"), "hints at key \"a\", and its envelope at \"b\"");
}

#[test]
fn what_is_not_known_is_refused_as_other_readers_refuse_it() {
    refused(&changed(keyless(), |it| it["extra"] = json!(1)), "unknown field `extra`");
    refused(&changed(keyless(), |it| it["verificationMaterial"]["extra"] = json!(1)), "unknown field `extra`");
    refused(&changed(statement(), |it| it["dsseEnvelope"]["extra"] = json!(1)), "unknown field `extra`");
    refused(&changed(keyless(), |it| it["messageSignature"]["signature"] = json!("not base64!")), "no base64");
    refused(&changed(keyless(), |it| it["messageSignature"]["signature"] = json!("ab=c")), "no base64");
    for (algorithm, expected) in [("SHA3_256", "another hash function"), ("SHA2_512", "another length")] {
        let bundle = changed(keyless(), |it| it["messageSignature"]["messageDigest"]["algorithm"] = json!(algorithm));
        refused(&bundle, expected);
    }
    let twice = keyless().to_string().replacen('{', r#"{"mediaType":"x","#, 1);
    assert!(Signature::from_bundle(twice.as_bytes()).unwrap_err().to_string().contains("given twice"));
    let again = keyless().to_string().replacen('{', r#"{"media_type":"x","#, 1);
    assert!(Signature::from_bundle(again.as_bytes()).unwrap_err().to_string().contains("duplicate field"));
    for bytes in [&b""[..], b"[]", b"null", b"\"x\""] {
        assert!(Signature::from_bundle(bytes).is_err());
    }
}

#[test]
fn each_number_at_its_limit_and_one_past_it() {
    let entry = keyless()["verificationMaterial"]["tlogEntries"][0].clone();
    let numbered = |number: usize| changed(entry.clone(), |it| it["logIndex"] = json!(number));
    let entries = |count: usize| {
        let entries: Vec<_> = (0..count).map(numbered).collect();
        changed(keyless(), |it| it["verificationMaterial"]["tlogEntries"] = json!(entries))
    };
    assert_eq!(read(&entries(limits::LOG_ENTRIES)).unwrap().entries.len(), limits::LOG_ENTRIES);
    refused(&entries(limits::LOG_ENTRIES + 1), "33 log entries, expected at most 32");
    let stamps = |count: usize| {
        let stamps = vec![json!({ "signedTimestamp": "AA==" }); count];
        changed(keyless(), |it| {
            it["verificationMaterial"]["timestampVerificationData"] = json!({ "rfc3161Timestamps": stamps });
        })
    };
    assert!(read(&stamps(limits::TIMESTAMPS)).is_ok());
    refused(&stamps(limits::TIMESTAMPS + 1), "33 timestamps, expected at most 32");
    let certificate = keyless()["verificationMaterial"]["certificate"].clone();
    let chain = |count: usize| {
        let list = json!({ "certificates": vec![certificate.clone(); count] });
        changed(older(keyless(), "0.2"), |it| it["verificationMaterial"]["x509CertificateChain"] = list)
    };
    assert!(read(&chain(limits::CHAIN_CERTIFICATES)).is_ok());
    refused(&chain(limits::CHAIN_CERTIFICATES + 1), "17 certificates, expected at most 16");
    let hint =
        |length: usize| bundle(json!({ "publicKey": { "hint": "x".repeat(length) } }), message_signature(b"", b"s"));
    assert!(read(&hint(limits::KEY_HINT_BYTES)).is_ok());
    refused(&hint(limits::KEY_HINT_BYTES + 1), "a hint of 513 bytes");
    let hashes = |more: usize| {
        changed(entries(limits::LOG_ENTRIES), |it| {
            for (number, entry) in
                it["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap().iter_mut().enumerate()
            {
                let count = if number == 0 { more } else { 200 };
                entry["inclusionProof"]["hashes"] = json!(vec![base64([0; 32]); count]);
            }
        })
    };
    let too_many = |more: usize| {
        let error = Signature::from_bundle(hashes(more).to_string().as_bytes()).err().map(|error| error.to_string());
        error.is_some_and(|error| error.contains("more than 8192 values"))
    };
    let counts: Vec<usize> = (0..limits::BUNDLE_VALUES).collect();
    let first = counts.partition_point(|more| !too_many(*more));
    assert!(first > 500 && !too_many(first - 1) && too_many(first), "{first}");
    let limit = usize::try_from(limits::BUNDLE_BYTES).unwrap();
    let mut bytes = keyless().to_string().into_bytes();
    bytes.resize(limit, b' ');
    assert!(Signature::from_bundle(&bytes).is_ok());
    bytes.push(b' ');
    assert!(matches!(Signature::from_bundle(&bytes), Err(BadBundle::TooLarge(found)) if found == limit + 1));
}

#[test]
fn one_entry_twice_is_refused() {
    let bundle = changed(keyless(), |it| {
        let entries = it["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap();
        entries.push(entries[0].clone());
    });
    refused(&bundle, "one log entry twice");
}

#[test]
fn an_entry_that_cannot_be_read_is_named_by_its_number() {
    let bundle = Keyless::new().logged(&[TestLog::v1(), TestLog::v1().with_host("other.example")]).message(ARTIFACT);
    refused(
        &changed(bundle, |it| it["verificationMaterial"]["tlogEntries"][1]["canonicalizedBody"] = json!("!")),
        "log entry 2 of the bundle",
    );
}
