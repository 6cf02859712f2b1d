//! Signatures with all that comes with them, for tests: a Fulcio of its own, certificates with SCTs, entries in logs, and the
//! bundles that hold them. Made step by step, so that a test can change one thing before what follows from it is made.

use std::rc::Rc;

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc5912};
use serde_json::{Value, json};

use super::{By, CtLog, ENTERED, RootDraft, TestLog, base64, bodies, issue};
use crate::pki::Certificate;
use crate::pki::testing::{DAY, Key, Kind, Template, constraints_of, extension, purposes_of, tlv};
use crate::sigstore::dsse::Envelope;

pub const SIGNER: &str = "signer@example.com";
pub const ISSUER: &str = "https://accounts.example.com";
pub const FULCIO_ROOT: &str = "CN=fulcio,O=acme";
pub const FULCIO_INTERMEDIATE: &str = "CN=fulcio intermediate,O=acme";

/// What is signed, unless a test says otherwise.
pub const ARTIFACT: &[u8] = b"an artifact";

/// Fulcio's intermediate certificate and its root, valid 100 days before and after a moment.
pub fn fulcio(at: u64) -> Vec<Certificate> {
    let [root, middle] = [0, 1].map(|number| Key::get(Kind::P384, number));
    let code = || purposes_of(false, &[rfc5912::ID_KP_CODE_SIGNING]);
    let around = |template: Template| Template { not_before: at - 100 * DAY, not_after: at + 100 * DAY, ..template };
    let intermediate =
        Template::ca(FULCIO_INTERMEDIATE, FULCIO_ROOT).with(code()).with(constraints_of(true, true, Some(0)));
    vec![around(intermediate).sign(middle, root), around(Template::ca(FULCIO_ROOT, FULCIO_ROOT)).sign(root, root)]
}

/// The key of the intermediate certificate.
pub fn fulcio_key() -> &'static Key {
    Key::get(Kind::P384, 1)
}

/// A certificate for [`SIGNER`] by the word of [`ISSUER`], for ten minutes from a minute before a moment.
pub fn fulcio_leaf(at: u64) -> Template {
    let template = Template::leaf("", FULCIO_INTERMEDIATE)
        .with(purposes_of(false, &[rfc5912::ID_KP_CODE_SIGNING]))
        .with(alternative_names(&[tlv(0x81, SIGNER.as_bytes())]))
        .with(fulcio_extension(1, ISSUER.as_bytes()))
        .with(fulcio_extension(8, &tlv(0x0c, ISSUER.as_bytes())));
    Template { not_before: at - 60, not_after: at + 540, ..template }
}

/// A critical subjectAltName of GeneralNames in DER.
pub fn alternative_names(names: &[Vec<u8>]) -> x509_cert::ext::Extension {
    extension(rfc5280::ID_CE_SUBJECT_ALT_NAME, true, &tlv(0x30, &names.concat()))
}

/// One of Fulcio's extensions, by the last arc of its type.
pub fn fulcio_extension(arc: u32, content: &[u8]) -> x509_cert::ext::Extension {
    let oid = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1").push_arc(arc).unwrap();
    extension(oid, false, content)
}

/// Makes the TimeStampResp for a signature.
pub type Stamp = Rc<dyn Fn(&[u8]) -> Vec<u8>>;

/// A token as an authority answers with it.
pub fn response(token: &[u8]) -> Vec<u8> {
    tlv(0x30, &[tlv(0x30, &tlv(2, &[0])), token.to_vec()].concat())
}

/// A keyless signature to be made.
#[derive(Clone)]
pub struct Keyless {
    /// When it is made.
    pub at: u64,
    /// The signer's certificate.
    pub leaf: Template,
    /// The signer's key, and who issues its certificate.
    pub key: &'static Key,
    pub issuer: &'static Key,
    /// The log that has the certificate.
    pub ct_log: Option<CtLog>,
    /// The logs that have the signature.
    pub logs: Vec<TestLog>,
    /// Who says when it was made.
    pub stamps: Vec<Stamp>,
}

impl Default for Keyless {
    fn default() -> Self {
        Self::new()
    }
}

impl Keyless {
    /// One in a log of Rekor's version 1, at [`ENTERED`].
    pub fn new() -> Self {
        Self::at(ENTERED)
    }

    /// The same at another time.
    pub fn at(at: u64) -> Self {
        let (key, issuer) = (Key::get(Kind::P256, 2), fulcio_key());
        let (ct_log, logs) = (Some(CtLog::new()), vec![TestLog::v1()]);
        Self { at, leaf: fulcio_leaf(at), key, issuer, ct_log, logs, stamps: Vec::new() }
    }

    /// In these logs.
    pub fn logged(self, logs: &[TestLog]) -> Self {
        Self { logs: logs.to_vec(), ..self }
    }

    /// With another timestamp.
    pub fn stamped(mut self, stamp: impl Fn(&[u8]) -> Vec<u8> + 'static) -> Self {
        self.stamps.push(Rc::new(stamp));
        self
    }

    /// With something else in its certificate.
    pub fn with(self, change: impl FnOnce(Template) -> Template) -> Self {
        Self { leaf: change(self.leaf), ..self }
    }

    /// The signer's certificate, with its SCT.
    pub fn certificate(&self) -> Certificate {
        match &self.ct_log {
            Some(log) => issue(&self.leaf, self.key, self.issuer, |tbs| vec![log.sct(tbs, self.issuer, self.at)]),
            None => self.leaf.sign(self.key, self.issuer),
        }
    }

    /// Whom one trusts who takes it.
    pub fn root(&self) -> RootDraft {
        let root = RootDraft::default().authority(&fulcio(self.at));
        let root = self.ct_log.iter().fold(root, |root, log| root.ct_log(log));
        self.logs.iter().fold(root, |root, log| root.log(log))
    }

    /// A bundle of a message, whose digest it names.
    pub fn message(&self, message: &[u8]) -> Value {
        let signature = self.key.sign(message);
        let material = self.material(&signature, |log, by| log.body_of_message(&signature, by, message));
        bundle(material, message_signature(message, &signature))
    }

    /// A bundle of a statement in an envelope.
    pub fn statement(&self, statement: &Value) -> Value {
        let envelope = envelope(self.key, statement.to_string().as_bytes());
        let material = self.material(&envelope.signature, |log, by| log.body_of_envelope(&envelope, by));
        bundle(material, dsse_envelope(&envelope))
    }

    fn material(&self, signature: &[u8], body: impl Fn(&TestLog, By<'_>) -> Value) -> Value {
        let certificate = self.certificate();
        let entry = |log: &TestLog| log.enter_at(&body(log, By::Certificate(&certificate)), self.at);
        let mut material = json!({ "certificate": { "rawBytes": base64(certificate.der()) } });
        attach(&mut material, self.logs.iter().map(entry).collect(), &self.stamps, signature);
        material
    }
}

/// Puts entries and timestamps beside what says who signed.
pub fn attach(material: &mut Value, entries: Vec<Value>, stamps: &[Stamp], signature: &[u8]) {
    if !entries.is_empty() {
        material["tlogEntries"] = Value::Array(entries);
    }
    if !stamps.is_empty() {
        let stamps: Vec<_> =
            stamps.iter().map(|stamp| json!({ "signedTimestamp": base64(stamp(signature)) })).collect();
        material["timestampVerificationData"] = json!({ "rfc3161Timestamps": stamps });
    }
}

impl TestLog {
    /// What stands in an entry of a message's signature.
    pub fn body_of_message(&self, signature: &[u8], by: By<'_>, message: &[u8]) -> Value {
        match self.rekor {
            super::Rekor::V1 => bodies::hashedrekord_001(signature, by, message),
            super::Rekor::V2 => bodies::hashedrekord_002(signature, by, message),
        }
    }

    /// What stands in an entry of an envelope.
    pub fn body_of_envelope(&self, envelope: &Envelope, by: By<'_>) -> Value {
        match self.rekor {
            super::Rekor::V1 => bodies::dsse_001(envelope, by),
            super::Rekor::V2 => bodies::hashedrekord_002(&envelope.signature, by, &envelope.pae()),
        }
    }
}

/// A signed envelope of an in-toto statement.
pub fn envelope(key: &Key, statement: &[u8]) -> Envelope {
    let (payload_type, payload) = ("application/vnd.in-toto+json".to_owned(), statement.to_vec());
    let mut envelope = Envelope { payload_type, payload, signature: Vec::new(), keyid: None };
    envelope.signature = key.sign(&envelope.pae());
    envelope
}

/// A statement about artifacts of these SHA-256, as cosign signs images by it.
pub fn statement_of(digests: &[&str]) -> Value {
    let subjects: Vec<_> =
        digests.iter().map(|hex| json!({ "digest": { "sha256": hex }, "annotations": {} })).collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    })
}

/// The content of a bundle of a message.
pub fn message_signature(message: &[u8], signature: &[u8]) -> (&'static str, Value) {
    let digest = json!({ "algorithm": "SHA2_256", "digest": base64(super::sha256(message)) });
    ("messageSignature", json!({ "messageDigest": digest, "signature": base64(signature) }))
}

/// The content of a bundle of an envelope.
pub fn dsse_envelope(envelope: &Envelope) -> (&'static str, Value) {
    let content = json!({
        "payload": base64(&envelope.payload),
        "payloadType": envelope.payload_type,
        "signatures": [{ "sig": base64(&envelope.signature) }],
    });
    ("dsseEnvelope", content)
}

/// A bundle of version 0.3.
pub fn bundle(material: Value, (kind, content): (&str, Value)) -> Value {
    let mut bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": material,
    });
    bundle[kind] = content;
    bundle
}

/// A bundle of version 0.3 as one of an earlier version: "0.1" or "0.2".
pub fn older(mut bundle: Value, version: &str) -> Value {
    bundle["mediaType"] = json!(format!("application/vnd.dev.sigstore.bundle+json;version={version}"));
    let material = bundle["verificationMaterial"].as_object_mut().unwrap();
    if let Some(certificate) = material.remove("certificate") {
        material.insert("x509CertificateChain".to_owned(), json!({ "certificates": [certificate] }));
    }
    bundle
}

/// A bundle of a message by a key alone.
pub fn by_key(key: &Key, message: &[u8]) -> Value {
    let hint = base64(super::sha256(&key.der()));
    bundle(json!({ "publicKey": { "hint": hint } }), message_signature(message, &key.sign(message)))
}
