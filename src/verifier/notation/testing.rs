//! Signature envelopes for tests, made member by member: a test breaks one thing and keeps all others.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Trust;
use crate::artifact::{Descriptor, IMAGE_MANIFEST};
use crate::pki::Certificate;
use crate::pki::testing::{INTERMEDIATE, Key, Kind, LEAF, ROOT, Template, chain};

pub(super) const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
pub(super) const OTHER_DIGEST: &str = "sha256:9f85bc320205d4ad3e2872e85f115eb75b7da8f116bce843fe5db30a3731cc6b";
pub(super) const IDENTITY: &str = "x509.subject: C=US, ST=WA, O=acme, CN=signer";

/// The artifact that envelopes speak of.
pub(super) fn subject() -> Descriptor {
    Descriptor { media_type: IMAGE_MANIFEST.into(), digest: DIGEST.parse().unwrap(), size: 401 }
}

/// Trust in the root of [`chain`], for its signer.
pub(super) fn trust() -> Trust {
    trust_in(&chain(), &[IDENTITY])
}

/// Trust in the last certificate of a chain.
pub(super) fn trust_in(chain: &[Certificate], identities: &[&str]) -> Trust {
    let identities: Vec<String> = identities.iter().map(|identity| (*identity).to_owned()).collect();
    Trust::new(vec![chain.last().unwrap().clone()], &identities).unwrap()
}

/// An envelope to be made.
#[derive(Clone)]
pub(super) struct Draft {
    /// Who signs.
    pub(super) kind: Kind,
    pub(super) payload: String,
    pub(super) protected: String,
    pub(super) header: Value,
}

impl Draft {
    /// By the signer of [`chain`].
    pub(super) fn new() -> Self {
        Self::by(Kind::P256, "ES256", &chain())
    }

    pub(super) fn by(kind: Kind, algorithm: &str, chain: &[Certificate]) -> Self {
        let payload = json!({ "targetArtifact": subject() });
        let protected = json!({
            "alg": algorithm,
            "crit": ["io.cncf.notary.signingScheme"],
            "cty": "application/vnd.cncf.notary.payload.v1+json",
            "io.cncf.notary.signingScheme": "notary.x509",
            "io.cncf.notary.signingTime": "2027-01-10T08:00:00Z",
        });
        let chain: Vec<String> = chain.iter().map(|certificate| STANDARD.encode(certificate.der())).collect();
        let header = json!({ "io.cncf.notary.signingAgent": "notation-go/1.3.2", "x5c": chain });
        Self { kind, payload: payload.to_string(), protected: protected.to_string(), header }
    }

    pub(super) fn payload(mut self, payload: &str) -> Self {
        self.payload = payload.to_owned();
        self
    }

    /// Replaces the protected header.
    pub(super) fn protected(mut self, protected: &str) -> Self {
        self.protected = protected.to_owned();
        self
    }

    /// Sets a protected header; null takes it out.
    pub(super) fn set(mut self, name: &str, value: Value) -> Self {
        let mut protected: serde_json::Map<String, Value> = serde_json::from_str(&self.protected).unwrap();
        protected.remove(name);
        if !value.is_null() {
            protected.insert(name.to_owned(), value);
        }
        self.protected = Value::Object(protected).to_string();
        self
    }

    /// Sets a critical protected header.
    pub(super) fn critical(self, name: &str, value: Value) -> Self {
        let protected: Value = serde_json::from_str(&self.protected).unwrap();
        let mut critical = protected["crit"].clone();
        critical.as_array_mut().unwrap().push(name.into());
        self.set("crit", critical).set(name, value)
    }

    /// Sets an unprotected header; null takes it out.
    pub(super) fn unprotected(mut self, name: &str, value: Value) -> Self {
        let header = self.header.as_object_mut().unwrap();
        header.remove(name);
        if !value.is_null() {
            header.insert(name.to_owned(), value);
        }
        self
    }

    /// The members of the envelope, signed.
    pub(super) fn members(&self) -> Value {
        let payload = URL_SAFE_NO_PAD.encode(&self.payload);
        let protected = URL_SAFE_NO_PAD.encode(&self.protected);
        let signature = Key::get(self.kind, 0).sign_jws(format!("{protected}.{payload}").as_bytes());
        json!({
            "payload": payload,
            "protected": protected,
            "header": self.header,
            "signature": URL_SAFE_NO_PAD.encode(signature),
        })
    }

    pub(super) fn sign(&self) -> Vec<u8> {
        self.members().to_string().into_bytes()
    }
}

/// A signer's key of this kind, and a chain of P-256 issuers above it.
pub(super) fn chain_for(kind: Kind) -> Vec<Certificate> {
    let [intermediate_key, root_key] = [1, 2].map(|number| Key::get(Kind::P256, number));
    vec![
        Template::leaf(LEAF, INTERMEDIATE).sign(Key::get(kind, 0), intermediate_key),
        Template::ca(INTERMEDIATE, ROOT).sign(intermediate_key, root_key),
        Template::ca(ROOT, ROOT).sign(root_key, root_key),
    ]
}
