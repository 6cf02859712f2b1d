//! Keyless signatures beside images in real registries: what the generator of the crate's own tests makes, at moments that
//! have passed when the real cosign looks at them, in the forms in which cosign leaves them. Shared by the end-to-end and
//! the differential tests, which hold the generator at the places where it looks for itself.

use std::time::{SystemTime, UNIX_EPOCH};

use const_oid::db::rfc5912;
use der::{Decode as _, Encode as _};
use serde_json::{Value, json};

use crate::common::registries::Image;
use crate::pki::rfc3339;
use crate::pki::testing::{DAY, at};
use crate::sigstore::testing::bundles::{Keyless, fulcio, older, statement_of};
use crate::sigstore::testing::{By, RootDraft, base64, bodies, pem, scts_extension};

/// What a statement says that is an image's signature.
pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The start of the run less a day: certificates of ten minutes have ended since.
pub fn yesterday() -> u64 {
    now() - DAY
}

/// This moment, in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// How a signature is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A bundle of this version, as a referrer.
    Bundle(&'static str),
    /// A simple signing payload at a tag, all else in annotations.
    Tag,
    /// The same as a referrer.
    Referrer,
}

/// What of the entries of a Rekor 1 is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All.
    All,
    /// The promise, which tells the time.
    Promise,
    /// The proof, which does not.
    Proof,
}

/// A signature of an image to be made.
#[derive(Clone)]
pub struct Draft {
    /// How it is kept.
    pub form: Form,
    /// Who signs, and who says what of it.
    pub keyless: Keyless,
    /// What of log entries is there.
    pub kept: Kept,
    /// `sha256:HEX` of the image that is signed.
    pub digest: String,
    /// The name under which it is signed, where the form has one.
    pub name: String,
    /// What is stated, where the form has it.
    pub predicate_type: String,
}

impl Draft {
    /// A good one.
    pub fn of(image: &Image, form: Form, keyless: Keyless) -> Self {
        let (digest, name) = (image.digest.clone(), image.repository.clone());
        let kept = if form == Form::Bundle("0.1") { Kept::Promise } else { Kept::All };
        Self { form, keyless: settled(keyless), kept, digest, name, predicate_type: SIGNATURE.to_owned() }
    }

    /// Makes it.
    pub fn make(&self) -> Made {
        match self.form {
            Form::Bundle(version) => self.bundle(version),
            Form::Tag | Form::Referrer => self.simple(),
        }
    }

    fn bundle(&self, version: &str) -> Made {
        let mut statement = statement_of(&[self.digest.strip_prefix("sha256:").unwrap()]);
        statement["predicateType"] = json!(self.predicate_type);
        let mut bundle = self.keyless.statement(&statement);
        for entry in entries(&mut bundle) {
            let entry = entry.as_object_mut().unwrap();
            match self.kept {
                Kept::All => {}
                Kept::Promise => drop(entry.remove("inclusionProof")),
                Kept::Proof => drop(entry.remove("inclusionPromise")),
            }
        }
        if version != "0.3" {
            bundle = older(bundle, version);
        }
        Made::Bundle { bundle, predicate_type: self.predicate_type.clone() }
    }

    fn simple(&self) -> Made {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": self.name },
                "image": { "docker-manifest-digest": self.digest },
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let payload = payload.to_string().into_bytes();
        let Keyless { key, at, logs, stamps, .. } = &self.keyless;
        let (signature, certificate) = (key.sign(&payload), self.keyless.certificate());
        let chain: String = fulcio(*at).iter().map(|it| pem("CERTIFICATE", it.der())).collect();
        let mut annotations = json!({
            "dev.cosignproject.cosign/signature": base64(&signature),
            "dev.sigstore.cosign/certificate": pem("CERTIFICATE", certificate.der()),
            "dev.sigstore.cosign/chain": chain,
        });
        if let Some(log) = logs.first() {
            let body = bodies::hashedrekord_001(&signature, By::Certificate(&certificate), &payload);
            annotations["dev.sigstore.cosign/bundle"] = json!(log.annotation(&body, *at).to_string());
        }
        if let Some(stamp) = stamps.first() {
            let stamp = json!({ "SignedRFC3161Timestamp": base64(stamp(&signature)) });
            annotations["dev.sigstore.cosign/rfc3161timestamp"] = json!(stamp.to_string());
        }
        Made::Layer { payload, annotations, as_referrer: self.form == Form::Referrer }
    }
}

/// A signature that was made.
#[derive(Clone, Debug)]
pub enum Made {
    /// A bundle, and the predicate that its manifest states.
    Bundle {
        /// The bundle.
        bundle: Value,
        /// The predicate.
        predicate_type: String,
    },
    /// A payload.
    Layer {
        /// What is signed.
        payload: Vec<u8>,
        /// All else.
        annotations: Value,
        /// Whether it refers to the image, and has no tag.
        as_referrer: bool,
    },
}

impl Made {
    /// Pushes it beside an image.
    pub fn push(&self, image: &Image) {
        match self {
            Self::Bundle { bundle, predicate_type } => image.attach_bundle(bundle, predicate_type),
            Self::Layer { payload, annotations, as_referrer } => {
                image.sign_at_tag(&[(payload.clone(), annotations.clone())], *as_referrer);
            }
        }
    }

    /// Its bundle.
    pub fn bundle(&mut self) -> &mut Value {
        match self {
            Self::Bundle { bundle, .. } => bundle,
            Self::Layer { .. } => panic!("it is no bundle"),
        }
    }
}

/// The log entries of a bundle.
pub fn entries(bundle: &mut Value) -> &mut [Value] {
    match &mut bundle["verificationMaterial"]["tlogEntries"] {
        Value::Array(entries) => entries,
        _ => &mut [],
    }
}

/// The same with one certificate, whatever is signed: SCTs are random.
fn settled(keyless: Keyless) -> Keyless {
    let Keyless { at, key, issuer, .. } = keyless;
    let Some(log) = keyless.ct_log.clone() else { return keyless };
    let before = x509_cert::Certificate::from_der(&keyless.leaf.der(key, issuer)).unwrap();
    let sct = log.sct(&before.tbs_certificate.to_der().unwrap(), issuer, at);
    let leaf = keyless.leaf.clone().with(scts_extension(&[sct]));
    Keyless { leaf, ct_log: None, ..keyless }
}

/// A trusted root whose keys and authorities count from a hundred days before a moment.
pub fn root(draft: &RootDraft, moment: u64) -> Value {
    let mut root = draft.json();
    let start = rfc3339(at(moment - 100 * DAY));
    each_validity(&mut root, &mut |validity| validity["start"] = json!(start));
    root
}

/// Goes through all `validFor` of a document.
pub fn each_validity(value: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each_validity(item, change)),
        Value::Object(members) => {
            for (name, member) in members {
                if name == "validFor" { change(member) } else { each_validity(member, change) }
            }
        }
        _ => {}
    }
}

/// The purpose of a signer's certificate.
pub const CODE_SIGNING: const_oid::ObjectIdentifier = rfc5912::ID_KP_CODE_SIGNING;
