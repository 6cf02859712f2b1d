//! Sigstore's logs: no entry passes but one that a trusted log signed, of the very signature, signer and content; no
//! certificate but one that a trusted log has seen, byte by byte; and no trusted root is empty.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ratify::pki::Certificate;
use ratify::sigstore::dsse::Envelope;
use ratify::sigstore::key::{Message, PublicKey};
use ratify::sigstore::log::{BadEntry, Entered, LogEntry, SignedBy, What, Witness};
use ratify::sigstore::sct::check as check_scts;
use ratify::sigstore::trusted_root::TrustedRoot;
use serde_json::{Value, json};

use super::made::{COMMON_NAME, Draft, OF_CA, SEQUENCE, element, known_key, name, sign_der};
use super::{assert_one_line, parts, text_of};

/// A trusted root. What is taken has something in it, and each log is known by its own key.
pub fn trusted_root(data: &[u8]) -> bool {
    let root = match TrustedRoot::parse(data) {
        Ok(root) => root,
        Err(error) => {
            assert_one_line(&error.to_string());
            return false;
        }
    };
    root.passed_over().iter().for_each(|note| assert_one_line(note));
    let authorities = || root.authorities().iter().chain(root.timestamp_authorities());
    for log in root.logs().iter().chain(root.ct_logs()) {
        assert!(log.is(sha256(log.key().der()).as_slice()) && !log.is(&[]));
        assert_one_line(&log.valid_for().to_string());
    }
    assert!(authorities().all(|authority| !authority.chain().is_empty()));
    assert!(authorities().next().is_some() || !root.logs().is_empty() || !root.ct_logs().is_empty());
    true
}

/// An entry of a bundle, or the annotation of an older signature: its body is entered anew by the log of the known key,
/// so that what it says is reached. Taken is one of the signature, the signer and the content that are fixed here.
pub fn log_entry(data: &[u8]) -> bool {
    let value = serde_json::from_slice::<Value>(data).unwrap_or_default();
    let is_older = value.get("Payload").is_some();
    let entry = if is_older { LogEntry::from_legacy(data) } else { LogEntry::parse(&value) };
    let entry = match entry {
        Ok(entry) => entry,
        Err(error) => {
            assert_one_line(&error.to_string());
            return false;
        }
    };
    assert!(told(entry.check(&[], &entered(b"signature"))).is_none(), "a log that nobody trusts");
    let body = if is_older { &value["Payload"]["body"] } else { &value["canonicalizedBody"] };
    let body = STANDARD.decode(body.as_str().unwrap_or_default()).unwrap();
    let entry = LogEntry::from_legacy(annotation(&body).to_string().as_bytes()).unwrap();
    let of = |signature: &'static [u8]| [entered(signature), entered_envelope(signature)];
    let found = of(b"signature").map(|of| told(entry.check(roots(), &of)));
    for of in of(b"another") {
        assert!(told(entry.check(roots(), &of)).is_none(), "another signature");
    }
    let [message, envelope] = found;
    assert!(message.is_none() || envelope.is_none(), "two contents");
    message.or(envelope).is_some_and(|witness| witness.time.is_some())
}

/// The text of a checkpoint, and what follows the log's signature below it.
pub fn checkpoint(data: &[u8]) -> bool {
    let parts = parts(data);
    let (text, more) = (text_of(&parts, 0), text_of(&parts, 1));
    let line = |signature: &[u8]| {
        let signature = [&sha256(known_key())[..4], signature].concat();
        format!("\u{2014} {HOST} {}\n", STANDARD.encode(signature))
    };
    let signature = sign_der(text.as_bytes());
    let judge = |note: &str| {
        let entry = LogEntry::parse(&proven(note)).unwrap();
        told(entry.check(roots(), &entered(b"signature")))
    };
    let Some(witness) = judge(&format!("{text}\n{}{more}", line(&signature))) else { return false };
    assert_eq!(witness.time, None, "a time that nobody signed");
    let root = STANDARD.encode(root_hash());
    let mut lines = text.lines();
    let origin = lines.next().unwrap();
    assert!(origin == HOST || origin.rsplit_once(" - ").is_some_and(|(_, tree)| tree.parse::<u64>().is_ok()));
    assert_eq!((lines.next(), lines.next()), (Some("1"), Some(root.as_str())));
    assert!(judge(&format!("{text}\n{more}")).is_none(), "nobody signed it");
    assert!(judge(&format!("{text}more\n\n{}{more}", line(&signature))).is_none(), "signed was something else");
    assert!(judge(&format!("{text}\n{}{more}", line(b"signature"))).is_none(), "a broken signature");
    true
}

/// The extensions before and after the SCTs of a certificate, and SCTs before the one of the log of the known key. That
/// one holds whatever stands around it.
pub fn sct(data: &[u8]) -> bool {
    let parts = parts(data);
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    let (before, after, more) = (part(0), part(1), part(2));
    let [leaf, root] = [&b"leaf"[..], b"root"].map(|text| name(&[(COMMON_NAME, text)]));
    let issuer = Certificate::from_der(&Draft::known(&root, &root, OF_CA).sign()).unwrap();
    let made = |scts: &[u8]| Certificate::from_der(&Draft::known(&leaf, &root, &[before, scts, after].concat()).sign());
    let own = own_sct(&Draft::known(&leaf, &root, &[before, after].concat()).tbs());
    let Some(list) = sized(&own).and_then(|own| sized(&[more, &own].concat())) else { return false };
    let Ok(certificate) = made(&element(SEQUENCE, &[SCT_LIST, &element(4, &[&element(4, &[&list])])])) else {
        return false;
    };
    if let Err(error) = check_scts(&certificate, &issuer, roots()) {
        assert_one_line(&error.to_string());
        assert!(!more.is_empty(), "{error}: {data:02x?}");
        return false;
    }
    assert!(check_scts(&certificate, &issuer, &[]).is_err(), "a log that nobody trusts");
    assert!(made(&[]).is_ok_and(|plain| check_scts(&plain, &issuer, roots()).is_err()), "none is there");
    let precertificate = certificate.precertificate().unwrap().unwrap();
    assert_eq!(precertificate.tbs, Draft::known(&leaf, &root, &[before, after].concat()).tbs());
    true
}

fn told(found: Result<Witness, BadEntry>) -> Option<Witness> {
    found.inspect_err(|error| assert_one_line(&error.to_string())).ok()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

/// A log of signatures and one of certificates, both of the known key.
fn roots() -> &'static [Arc<TrustedRoot>] {
    static ROOTS: OnceLock<[Arc<TrustedRoot>; 1]> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let log = json!({
            "baseUrl": format!("https://{HOST}"),
            "hashAlgorithm": "SHA2_256",
            "publicKey": {"rawBytes": STANDARD.encode(known_key()), "keyDetails": "PKIX_ECDSA_P256_SHA_256"},
            "logId": {"keyId": STANDARD.encode(sha256(known_key()))},
        });
        let media_type = "application/vnd.dev.sigstore.trustedroot.v0.2+json";
        let root = json!({"mediaType": media_type, "tlogs": [log], "ctlogs": [log]});
        [Arc::new(TrustedRoot::parse(root.to_string().as_bytes()).unwrap())]
    })
}

fn signer() -> SignedBy<'static> {
    static SIGNER: OnceLock<PublicKey> = OnceLock::new();
    SignedBy::Key(SIGNER.get_or_init(|| PublicKey::from_der(known_key()).unwrap()))
}

/// The known key's signature over a message.
fn entered(signature: &[u8]) -> Entered<'_> {
    Entered { signature, by: signer(), content: What::Message(&Message::Bytes(b"message")) }
}

/// The known key's signature over an envelope.
fn entered_envelope(signature: &'static [u8]) -> Entered<'static> {
    static ENVELOPE: OnceLock<Envelope> = OnceLock::new();
    let envelope = ENVELOPE.get_or_init(|| Envelope {
        payload_type: "application/vnd.in-toto+json".to_owned(),
        payload: b"payload".to_vec(),
        signature: b"signature".to_vec(),
        keyid: None,
    });
    Entered { signature, by: signer(), content: What::Dsse(envelope) }
}

/// An entry with a promise of the known key.
fn annotation(body: &[u8]) -> Value {
    let id: String = sha256(known_key()).iter().map(|byte| format!("{byte:02x}")).collect();
    let body = STANDARD.encode(body);
    let signed = format!(r#"{{"body":"{body}","integratedTime":1800000000,"logID":"{id}","logIndex":5}}"#);
    json!({
        "SignedEntryTimestamp": STANDARD.encode(sign_der(signed.as_bytes())),
        "Payload": {"body": body, "integratedTime": 1_800_000_000, "logIndex": 5, "logID": id},
    })
}

/// The only entry of a log.
fn proven(note: &str) -> Value {
    json!({
        "logId": {"keyId": STANDARD.encode(sha256(known_key()))},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
        "inclusionProof": {"rootHash": STANDARD.encode(root_hash()), "treeSize": 1, "checkpoint": {"envelope": note}},
        "canonicalizedBody": STANDARD.encode(body()),
    })
}

/// The body of the known key's signature over a message.
fn body() -> Vec<u8> {
    let record = json!({
        "data": {"algorithm": "SHA2_256", "digest": STANDARD.encode(sha256(b"message"))},
        "signature": {
            "content": STANDARD.encode("signature"),
            "verifier": {"publicKey": {"rawBytes": STANDARD.encode(known_key())}},
        },
    });
    let body = json!({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": record}});
    body.to_string().into_bytes()
}

/// The hash of a tree with that body alone (RFC 6962, section 2.1).
fn root_hash() -> [u8; 32] {
    sha256(&[&[0], body().as_slice()].concat())
}

/// RFC 6962, section 3.2.
fn own_sct(tbs: &[u8]) -> Vec<u8> {
    let time = 1_800_000_000_000_u64.to_be_bytes();
    let length = &u32::try_from(tbs.len()).unwrap().to_be_bytes()[1..];
    let signed = [&[0, 0], &time[..], &[0, 1], &sha256(known_key()), length, tbs, &[0, 0]].concat();
    let signature = sized(&sign_der(&signed)).unwrap();
    [&[0], &sha256(known_key())[..], &time, &[0, 0, 4, 3], &signature].concat()
}

/// Bytes behind their number (RFC 5246, section 4.3).
fn sized(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(bytes.len()).ok()?.to_be_bytes();
    Some([&length, bytes].concat())
}

const HOST: &str = "rekor.example";

/// The identifier of the extension with SCTs.
const SCT_LIST: &[u8] = b"\x06\x0a\x2b\x06\x01\x04\x01\xd6\x79\x02\x04\x02";
