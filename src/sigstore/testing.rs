//! Sigstore's services for tests: certificate transparency logs, Rekor logs of both versions with real Merkle trees, and
//! the trusted_root.json that names them. Everything is made as JSON, so that a test can break one thing and keep all
//! others. The trees and what the logs sign are made here anew, by their specifications alone.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use const_oid::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use serde_json::{Value, json};

use crate::pki::testing::*;
use crate::pki::{Certificate, rfc3339};
use crate::sigstore::dsse::Envelope;

#[path = "testing/bundles.rs"]
pub mod bundles;

/// The moment at which entries are made, unless a test says otherwise.
pub const ENTERED: u64 = NOW - 3600;

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap()
}

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One block of PEM.
pub fn pem(label: &str, der: &[u8]) -> String {
    let body = base64(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

impl Key {
    /// Its public key (SubjectPublicKeyInfo).
    pub fn der(&self) -> Vec<u8> {
        self.spki().to_der().unwrap()
    }

    /// Signs by the usual algorithm of its kind: ECDSA with the hash of its size, RSA by PKCS #1 with SHA-256, Ed25519.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_certificate(&self.certificate_algorithm(), message)
    }

    /// Its algorithm, as a trusted root names it.
    pub fn details(&self) -> &'static str {
        match self.kind {
            Kind::P256 => "PKIX_ECDSA_P256_SHA_256",
            Kind::P384 => "PKIX_ECDSA_P384_SHA_384",
            Kind::P521 => "PKIX_ECDSA_P521_SHA_512",
            Kind::Rsa2048 => "PKIX_RSA_PKCS1V15_2048_SHA256",
            Kind::Rsa3072 => "PKIX_RSA_PKCS1V15_3072_SHA256",
            Kind::Rsa4096 => "PKIX_RSA_PKCS1V15_4096_SHA256",
            Kind::Ed25519 => "PKIX_ED25519",
        }
    }
}

// --- Merkle trees (RFC 6962, section 2.1) ---------------------------------------------------------------------------

/// The hash of a tree.
pub fn tree_hash(leaves: &[Vec<u8>]) -> [u8; 32] {
    match leaves {
        [] => sha256(b""),
        [leaf] => sha256(&[&[0], leaf.as_slice()].concat()),
        leaves => {
            let (left, right) = leaves.split_at(split_of(leaves.len()));
            sha256(&[&[1][..], &tree_hash(left), &tree_hash(right)].concat())
        }
    }
}

/// The audit path of a leaf.
pub fn audit_path(index: usize, leaves: &[Vec<u8>]) -> Vec<[u8; 32]> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split_of(leaves.len()));
    let (mut path, other) = match index.checked_sub(left.len()) {
        None => (audit_path(index, left), right),
        Some(index) => (audit_path(index, right), left),
    };
    path.push(tree_hash(other));
    path
}

/// The largest power of two that is smaller.
fn split_of(size: usize) -> usize {
    size.next_power_of_two() / 2
}

// --- Rekor ----------------------------------------------------------------------------------------------------------

/// Which Rekor a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rekor {
    V1,
    V2,
}

/// A transparency log.
#[derive(Clone)]
pub struct TestLog {
    pub rekor: Rekor,
    pub key: &'static Key,
    /// Its name: the host of its URL.
    pub host: String,
    /// How many other entries stand before and after the one that is entered.
    pub before: usize,
    pub after: usize,
    /// Of version 1: how many entries the shards before this one have.
    pub older: u64,
}

impl TestLog {
    /// `rekor.example`, P-256, a shard that is not the first.
    pub fn v1() -> Self {
        let key = Key::get(Kind::P256, 0);
        Self { rekor: Rekor::V1, key, host: "rekor.example".to_owned(), before: 3, after: 3, older: 1000 }
    }

    /// `log2026-1.rekor.example`, Ed25519.
    pub fn v2() -> Self {
        let (key, host) = (Key::get(Kind::Ed25519, 0), "log2026-1.rekor.example".to_owned());
        Self { rekor: Rekor::V2, key, host, before: 3, after: 3, older: 0 }
    }

    pub fn with_key(self, key: &'static Key) -> Self {
        Self { key, ..self }
    }

    pub fn with_host(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    /// Another size of its tree.
    pub fn sized(self, before: usize, after: usize) -> Self {
        Self { before, after, ..self }
    }

    /// Its identifier: of version 1 the hash of its key (RFC 6962, section 3.2), of version 2 the key ID of its
    /// checkpoints, not cut (C2SP, "signed-note", "Signatures").
    pub fn id(&self) -> [u8; 32] {
        let named = |kind: &[u8], key: &[u8]| sha256(&[self.host.as_bytes(), b"\n", kind, key].concat());
        match (self.rekor, self.key.kind) {
            (Rekor::V2, Kind::Ed25519) => named(&[1], self.key.spki().subject_public_key.raw_bytes()),
            (Rekor::V2, Kind::Rsa2048 | Kind::Rsa3072 | Kind::Rsa4096) => {
                named(b"\xffPKIX-RSA-PKCS#1v1.5", &self.key.der())
            }
            _ => sha256(&self.key.der()),
        }
    }

    /// As a trusted root names it (TransparencyLogInstance).
    pub fn instance(&self) -> Value {
        let mut instance = log_instance(&format!("https://{}", self.host), self.key, &self.id());
        if self.rekor == Rekor::V2 {
            instance["checkpointKeyId"] = json!({"keyId": base64(&self.id()[..4])});
            instance["operator"] = json!("example");
        }
        instance
    }

    /// Its note about a tree, signed.
    pub fn checkpoint(&self, size: usize, root: &[u8; 32]) -> String {
        let origin = match self.rekor {
            Rekor::V1 => format!("{} - 1193050959916656506", self.host),
            Rekor::V2 => self.host.clone(),
        };
        let text = format!("{origin}\n{size}\n{}\n", base64(root));
        format!("{text}\n{}", self.note_signature(&text))
    }

    /// A line with its signature under a note.
    pub fn note_signature(&self, text: &str) -> String {
        let signature = [&self.id()[..4], &self.key.sign(text.as_bytes())].concat();
        format!("\u{2014} {} {}\n", self.host, base64(signature))
    }

    /// Its promise to enter a body (SignedEntryTimestamp).
    pub fn promise(&self, body: &[u8], at: u64) -> Vec<u8> {
        let (body, id, index) = (base64(body), hex(self.id()), self.older + self.before as u64);
        self.key
            .sign(format!(r#"{{"body":"{body}","integratedTime":{at},"logID":"{id}","logIndex":{index}}}"#).as_bytes())
    }

    /// An entry (TransparencyLogEntry) at [`ENTERED`]: of version 1 with promise and proof, of version 2 with a proof.
    pub fn enter(&self, body: &Value) -> Value {
        self.enter_at(body, ENTERED)
    }

    /// An entry at a time.
    pub fn enter_at(&self, body: &Value, at: u64) -> Value {
        let bytes = serde_json::to_vec(body).unwrap();
        let other = |number: usize| format!("entry {number}").into_bytes();
        let mut leaves: Vec<Vec<u8>> = (0..self.before).map(other).collect();
        leaves.push(bytes.clone());
        leaves.extend((0..self.after).map(|number| other(1000 + number)));
        let (root, path) = (tree_hash(&leaves), audit_path(self.before, &leaves));
        let mut entry = json!({
            "logIndex": (self.older + self.before as u64).to_string(),
            "logId": {"keyId": base64(self.id())},
            "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
            "inclusionProof": {
                "logIndex": self.before.to_string(),
                "rootHash": base64(root),
                "treeSize": leaves.len().to_string(),
                "hashes": path.iter().map(base64).collect::<Vec<_>>(),
                "checkpoint": {"envelope": self.checkpoint(leaves.len(), &root)},
            },
            "canonicalizedBody": base64(&bytes),
        });
        if self.rekor == Rekor::V1 {
            entry["integratedTime"] = json!(at.to_string());
            entry["inclusionPromise"] = json!({"signedEntryTimestamp": base64(self.promise(&bytes, at))});
        }
        entry
    }

    /// The value of the annotation `dev.sigstore.cosign/bundle`.
    pub fn annotation(&self, body: &Value, at: u64) -> Value {
        let bytes = serde_json::to_vec(body).unwrap();
        json!({
            "SignedEntryTimestamp": base64(self.promise(&bytes, at)),
            "Payload": {
                "body": base64(&bytes),
                "integratedTime": at,
                "logIndex": self.older + self.before as u64,
                "logID": hex(self.id()),
            },
        })
    }
}

/// Who made a signature, as an entry names them.
#[derive(Clone, Copy)]
pub enum By<'a> {
    Certificate(&'a Certificate),
    Key(&'a Key),
}

impl By<'_> {
    pub fn pem(self) -> String {
        match self {
            Self::Certificate(certificate) => pem("CERTIFICATE", certificate.der()),
            Self::Key(key) => pem("PUBLIC KEY", &key.der()),
        }
    }

    fn verifier(self) -> Value {
        match self {
            Self::Certificate(certificate) => json!({
                "keyDetails": self.details(),
                "x509Certificate": {"rawBytes": base64(certificate.der())},
            }),
            Self::Key(key) => json!({"keyDetails": self.details(), "publicKey": {"rawBytes": base64(key.der())}}),
        }
    }

    /// The algorithm of its key, told by how long the key is in DER.
    fn details(self) -> &'static str {
        let certificate = match self {
            Self::Certificate(certificate) => certificate,
            Self::Key(key) => return key.details(),
        };
        match certificate.key_der().len() {
            44 => "PKIX_ED25519",
            91 => "PKIX_ECDSA_P256_SHA_256",
            120 => "PKIX_ECDSA_P384_SHA_384",
            158 => "PKIX_ECDSA_P521_SHA_512",
            294 => "PKIX_RSA_PKCS1V15_2048_SHA256",
            422 => "PKIX_RSA_PKCS1V15_3072_SHA256",
            550 => "PKIX_RSA_PKCS1V15_4096_SHA256",
            other => unreachable!("a key of {other} bytes"),
        }
    }

    /// The hash function of that algorithm over a message.
    fn digest(self, message: &[u8]) -> Value {
        let (name, function) = match self.details() {
            "PKIX_ECDSA_P384_SHA_384" => ("SHA2_384", &digest::SHA384),
            "PKIX_ECDSA_P521_SHA_512" => ("SHA2_512", &digest::SHA512),
            _ => ("SHA2_256", &digest::SHA256),
        };
        json!({"algorithm": name, "digest": base64(digest::digest(function, message))})
    }
}

/// The bodies of entries, as Rekor stores them.
pub mod bodies {
    use super::*;

    fn body(kind: &str, version: &str, spec: Value) -> Value {
        json!({"apiVersion": version, "kind": kind, "spec": spec})
    }

    /// `message` is what was signed: of an envelope its PAE.
    pub fn hashedrekord_001(signature: &[u8], by: By<'_>, message: &[u8]) -> Value {
        let spec = json!({
            "data": {"hash": {"algorithm": "sha256", "value": hex(sha256(message))}},
            "signature": {"content": base64(signature), "publicKey": {"content": base64(by.pem())}},
        });
        body("hashedrekord", "0.0.1", spec)
    }

    /// `message` is what was signed: of an envelope its PAE.
    pub fn hashedrekord_002(signature: &[u8], by: By<'_>, message: &[u8]) -> Value {
        let record = json!({
            "data": by.digest(message),
            "signature": {"content": base64(signature), "verifier": by.verifier()},
        });
        body("hashedrekord", "0.0.2", json!({"hashedRekordV002": record}))
    }

    pub fn dsse_001(envelope: &Envelope, by: By<'_>) -> Value {
        let spec = json!({
            "envelopeHash": {"algorithm": "sha256", "value": hex(sha256(b"the envelope as it was sent"))},
            "payloadHash": {"algorithm": "sha256", "value": hex(sha256(&envelope.payload))},
            "signatures": [{"signature": base64(&envelope.signature), "verifier": base64(by.pem())}],
        });
        body("dsse", "0.0.1", spec)
    }

    pub fn dsse_002(envelope: &Envelope, by: By<'_>) -> Value {
        let record = json!({
            "payloadHash": {"algorithm": "SHA2_256", "digest": base64(sha256(&envelope.payload))},
            "signatures": [{"content": base64(&envelope.signature), "verifier": by.verifier()}],
        });
        body("dsse", "0.0.2", json!({"dsseV002": record}))
    }

    pub fn intoto_001(envelope: &Envelope, by: By<'_>) -> Value {
        let written = format!(
            r#"{{"payloadType":"{}","payload":"{}","signatures":[{{"keyid":"{}","sig":"{}"}}]}}"#,
            envelope.payload_type,
            base64(&envelope.payload),
            envelope.keyid.as_deref().unwrap_or_default(),
            base64(&envelope.signature)
        );
        let content = json!({
            "hash": {"algorithm": "sha256", "value": hex(sha256(written.as_bytes()))},
            "payloadHash": {"algorithm": "sha256", "value": hex(sha256(&envelope.payload))},
        });
        body("intoto", "0.0.1", json!({"content": content, "publicKey": base64(by.pem())}))
    }

    pub fn intoto_002(envelope: &Envelope, by: By<'_>) -> Value {
        let signature = json!({"publicKey": base64(by.pem()), "sig": base64(base64(&envelope.signature))});
        let content = json!({
            "envelope": {"payloadType": envelope.payload_type, "signatures": [signature]},
            "hash": {"algorithm": "sha256", "value": hex(sha256(b"the envelope as it was sent"))},
            "payloadHash": {"algorithm": "sha256", "value": hex(sha256(&envelope.payload))},
        });
        body("intoto", "0.0.2", json!({"content": content}))
    }
}

// --- Certificate transparency (RFC 6962) ------------------------------------------------------------------------------

/// The extension that holds SCTs.
pub const SCT_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// A log of certificates.
#[derive(Clone)]
pub struct CtLog {
    pub key: &'static Key,
    pub host: String,
}

impl Default for CtLog {
    fn default() -> Self {
        Self::new()
    }
}

impl CtLog {
    /// `ctfe.example`, P-256.
    pub fn new() -> Self {
        Self { key: Key::get(Kind::P256, 1), host: "ctfe.example".to_owned() }
    }

    pub fn id(&self) -> [u8; 32] {
        sha256(&self.key.der())
    }

    /// As a trusted root names it.
    pub fn instance(&self) -> Value {
        log_instance(&format!("https://{}", self.host), self.key, &self.id())
    }

    /// An SCT over what an authority will sign, without the extension (section 3.2).
    pub fn sct(&self, tbs: &[u8], issuer: &Key, at: u64) -> Vec<u8> {
        let time = (at * 1000).to_be_bytes();
        let length = &(tbs.len() as u32).to_be_bytes()[1..];
        let signed = [&[0, 0], &time[..], &[0, 1], &sha256(&issuer.der()), length, tbs, &[0, 0]].concat();
        let signature = self.key.sign(&signed);
        let algorithm = if matches!(self.key.kind, Kind::Rsa2048 | Kind::Rsa3072 | Kind::Rsa4096) { 1 } else { 3 };
        let size = (signature.len() as u16).to_be_bytes();
        [&[0], &self.id()[..], &time, &[0, 0], &[4, algorithm], &size, &signature].concat()
    }

    /// A certificate with its SCT of [`ENTERED`], the last of its extensions.
    pub fn issue(&self, template: &Template, subject: &Key, issuer: &Key) -> Certificate {
        issue(template, subject, issuer, |tbs| vec![self.sct(tbs, issuer, ENTERED)])
    }
}

/// A certificate with SCTs that are made of what will be signed.
pub fn issue(
    template: &Template,
    subject: &Key,
    issuer: &Key,
    scts: impl FnOnce(&[u8]) -> Vec<Vec<u8>>,
) -> Certificate {
    let before = x509_cert::Certificate::from_der(&template.der(subject, issuer)).unwrap();
    let scts = scts(&before.tbs_certificate.to_der().unwrap());
    template.clone().with(scts_extension(&scts)).sign(subject, issuer)
}

/// The extension (section 3.3).
pub fn scts_extension(scts: &[Vec<u8>]) -> x509_cert::ext::Extension {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let list: Vec<u8> = scts.iter().flat_map(|sct| sized(sct)).collect();
    extension(SCT_LIST, false, &tlv(4, &sized(&list)))
}

// --- trusted_root.json ------------------------------------------------------------------------------------------------

fn log_instance(url: &str, key: &Key, id: &[u8]) -> Value {
    json!({
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": base64(key.der()),
            "keyDetails": key.details(),
            "validFor": valid_for(NOW - 100 * DAY, None),
        },
        "logId": {"keyId": base64(id)},
    })
}

/// A TimeRange.
pub fn valid_for(start: u64, end: Option<u64>) -> Value {
    let mut range = json!({"start": rfc3339(at(start))});
    if let Some(end) = end {
        range["end"] = json!(rfc3339(at(end)));
    }
    range
}

/// A CertificateAuthority: its chain, without the leaf, root last.
pub fn authority(url: &str, chain: &[Certificate]) -> Value {
    let certificates: Vec<Value> = chain.iter().map(|it| json!({"rawBytes": base64(it.der())})).collect();
    json!({
        "subject": {"organization": "acme", "commonName": "root"},
        "uri": url,
        "certChain": {"certificates": certificates},
        "validFor": valid_for(NOW - 100 * DAY, None),
    })
}

/// A trusted root to be made.
#[derive(Clone, Default)]
pub struct RootDraft {
    pub logs: Vec<Value>,
    pub ct_logs: Vec<Value>,
    pub authorities: Vec<Value>,
    pub timestamp_authorities: Vec<Value>,
}

impl RootDraft {
    pub fn log(mut self, log: &TestLog) -> Self {
        self.logs.push(log.instance());
        self
    }

    pub fn ct_log(mut self, log: &CtLog) -> Self {
        self.ct_logs.push(log.instance());
        self
    }

    pub fn authority(mut self, chain: &[Certificate]) -> Self {
        self.authorities.push(authority("https://fulcio.example", chain));
        self
    }

    pub fn timestamp_authority(mut self, chain: &[Certificate]) -> Self {
        self.timestamp_authorities.push(authority("https://timestamp.example", chain));
        self
    }

    pub fn json(&self) -> Value {
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": self.logs,
            "certificateAuthorities": self.authorities,
            "ctlogs": self.ct_logs,
            "timestampAuthorities": self.timestamp_authorities,
        })
    }

    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.json()).unwrap()
    }
}
