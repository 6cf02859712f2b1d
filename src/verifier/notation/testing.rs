//! Signature envelopes for tests, made member by member: a test breaks one thing and keeps all others.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ARTIFACT_TYPE, NotationVerifier, Trust};
use crate::artifact::{Annotations, Descriptor, Digest, IMAGE_MANIFEST, Layer, Manifest};
use crate::limits;
use crate::pki::testing::{INTERMEDIATE, Key, Kind, LEAF, ROOT, Template, chain, now};
use crate::pki::timestamp::testing::Token;
use crate::pki::{Certificate, parse_rfc3339};
use crate::reference::{Reference, Repository};
use crate::report::{Outcome, Pass, Stage};
use crate::store::{Error, Listed, Store};
use crate::verifier::{Attempts, Candidate, Verifier as _};

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

    /// The same under the signing scheme `notary.x509.signingAuthority`, made at this time.
    pub(super) fn by_authority(self, time: &str) -> Self {
        self.set("io.cncf.notary.signingTime", Value::Null)
            .set("io.cncf.notary.signingScheme", json!("notary.x509.signingAuthority"))
            .critical("io.cncf.notary.authenticSigningTime", json!(time))
    }

    /// The same in either encoding: media type, envelope.
    pub(super) fn both(&self) -> [(&'static str, Vec<u8>); 2] {
        [("application/jose+json", self.sign()), ("application/cose", self.cose().sign())]
    }

    /// The same in COSE: times become numbers, base64 becomes bytes.
    pub(super) fn cose(&self) -> Cose {
        let protected: serde_json::Map<String, Value> = serde_json::from_str(&self.protected).unwrap();
        let protected = protected.iter().map(|(name, value)| match (name.as_str(), value.as_str()) {
            ("alg", Some(name)) => {
                let names = ["PS256", "PS384", "PS512", "ES256", "ES384", "ES512"];
                let number = [-37, -38, -39, -7, -35, -36][names.iter().position(|known| *known == name).unwrap()];
                (cbor::int(1), cbor::int(number))
            }
            ("crit", None) => (cbor::int(2), cbor::of(value)),
            ("cty", Some(text)) => (cbor::int(3), cbor::text(text)),
            (name, Some(text)) if name.ends_with("Time") || name.ends_with("expiry") => {
                (cbor::text(name), cbor::time(text))
            }
            _ => (cbor::text(name), cbor::of(value)),
        });
        let unprotected = self.header.as_object().unwrap().iter().map(|(name, value)| match name.as_str() {
            "x5c" => {
                let certificates = value
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|text| cbor::bytes(&STANDARD.decode(text.as_str().unwrap()).unwrap()));
                (cbor::int(33), cbor::list(&certificates.collect::<Vec<_>>()))
            }
            "io.cncf.notary.timestampSignature" => {
                (cbor::text(name), cbor::bytes(&STANDARD.decode(value.as_str().unwrap()).unwrap()))
            }
            _ => (cbor::text(name), cbor::of(value)),
        });
        Cose {
            kind: self.kind,
            payload: self.payload.as_bytes().to_vec(),
            protected: protected.collect(),
            unprotected: unprotected.collect(),
        }
    }
}

/// A COSE envelope to be made; all that is in it is CBOR already.
#[derive(Clone)]
pub(super) struct Cose {
    kind: Kind,
    payload: Vec<u8>,
    protected: Vec<(Vec<u8>, Vec<u8>)>,
    unprotected: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Cose {
    /// The same as [`Draft::new`].
    pub(super) fn new() -> Self {
        Draft::new().cose()
    }

    /// Sets a protected header; nothing takes it out.
    pub(super) fn set(mut self, label: Vec<u8>, value: impl Into<Option<Vec<u8>>>) -> Self {
        self.protected.retain(|(other, _)| *other != label);
        self.protected.extend(value.into().map(|value| (label, value)));
        self
    }

    /// Sets the list of critical headers beside the signing scheme, whatever they are.
    pub(super) fn critical(self, labels: &[Vec<u8>]) -> Self {
        let scheme = cbor::text("io.cncf.notary.signingScheme");
        self.set(cbor::int(2), cbor::list(&[&[scheme], labels].concat()))
    }

    /// Sets an unprotected header; nothing takes it out.
    pub(super) fn unprotected(mut self, label: Vec<u8>, value: impl Into<Option<Vec<u8>>>) -> Self {
        self.unprotected.retain(|(other, _)| *other != label);
        self.unprotected.extend(value.into().map(|value| (label, value)));
        self
    }

    /// An unprotected header's value.
    pub(super) fn header(&self, label: &[u8]) -> Vec<u8> {
        self.unprotected.iter().find(|(other, _)| other == label).unwrap().1.clone()
    }

    pub(super) fn sign(&self) -> Vec<u8> {
        self.sign_with(&cbor::map(&self.protected), &cbor::map(&self.unprotected))
    }

    /// Signed with these bytes in the place of the headers.
    pub(super) fn sign_with(&self, protected: &[u8], unprotected: &[u8]) -> Vec<u8> {
        [cbor::head(6, 18), cbor::list(&self.parts(protected, unprotected))].concat()
    }

    /// The four parts, signed.
    pub(super) fn parts(&self, protected: &[u8], unprotected: &[u8]) -> [Vec<u8>; 4] {
        let [protected, payload] = [protected, &self.payload].map(cbor::bytes);
        let signed = [cbor::text("Signature1"), protected.clone(), cbor::bytes(b""), payload.clone()];
        let signature = Key::get(self.kind, 0).sign_jws(&cbor::list(&signed));
        [protected, unprotected.to_vec(), payload, cbor::bytes(&signature)]
    }

    /// The headers, protected and unprotected.
    pub(super) fn headers(&self) -> [Vec<u8>; 2] {
        [cbor::map(&self.protected), cbor::map(&self.unprotected)]
    }
}

/// Writes CBOR, for [`Cose`].
pub(super) mod cbor {
    use super::*;

    pub(in super::super) fn head(major: u8, argument: u64) -> Vec<u8> {
        let bytes = argument.to_be_bytes();
        let (info, length) = match argument {
            0..24 => return vec![major << 5 | bytes[7]],
            24..0x100 => (24, 1),
            0x100..0x1_0000 => (25, 2),
            0x1_0000..0x1_0000_0000 => (26, 4),
            _ => (27, 8),
        };
        [&[major << 5 | info], &bytes[8 - length..]].concat()
    }

    pub(in super::super) fn int(number: i64) -> Vec<u8> {
        if number < 0 { head(1, !number as u64) } else { head(0, number as u64) }
    }

    pub(in super::super) fn bytes(bytes: &[u8]) -> Vec<u8> {
        [&head(2, bytes.len() as u64), bytes].concat()
    }

    pub(in super::super) fn text(text: &str) -> Vec<u8> {
        [&head(3, text.len() as u64), text.as_bytes()].concat()
    }

    pub(in super::super) fn list(items: &[Vec<u8>]) -> Vec<u8> {
        [head(4, items.len() as u64), items.concat()].concat()
    }

    pub(in super::super) fn map(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let pairs_cbor: Vec<u8> =
            pairs.iter().flat_map(|(label, value)| [label.clone(), value.clone()].concat()).collect();
        [head(5, pairs.len() as u64), pairs_cbor].concat()
    }

    pub(in super::super) fn tag(tag: u64, item: &[u8]) -> Vec<u8> {
        [&head(6, tag), item].concat()
    }

    /// A moment as RFC 3339 writes it, in seconds under tag 1.
    pub(in super::super) fn time(text: &str) -> Vec<u8> {
        let since = parse_rfc3339(text).unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        tag(1, &int(since.as_secs() as i64))
    }

    /// JSON in CBOR.
    pub(in super::super) fn of(value: &Value) -> Vec<u8> {
        match value {
            Value::Null => vec![0xf6],
            Value::Bool(false) => vec![0xf4],
            Value::Bool(true) => vec![0xf5],
            Value::Number(number) => int(number.as_i64().unwrap()),
            Value::String(string) => text(string),
            Value::Array(items) => list(&items.iter().map(of).collect::<Vec<_>>()),
            Value::Object(members) => {
                map(&members.iter().map(|(name, value)| (text(name), of(value))).collect::<Vec<_>>())
            }
        }
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

/// A signed envelope, stamped with what is made of its signature.
pub(super) fn stamped(draft: &Draft, stamp: impl FnOnce(&[u8]) -> Token) -> Vec<u8> {
    let mut members = draft.members();
    let signature = URL_SAFE_NO_PAD.decode(members["signature"].as_str().unwrap()).unwrap();
    members["header"][HEADER] = STANDARD.encode(stamp(&signature).sign()).into();
    members.to_string().into_bytes()
}

/// The header of timestamps.
pub(super) const HEADER: &str = "io.cncf.notary.timestampSignature";

#[track_caller]
pub(super) fn passed(outcome: Outcome) -> Pass {
    match outcome {
        Outcome::Passed(pass) => pass,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(super) fn refused(outcome: Outcome, stage: Stage, expected: &str) {
    match outcome {
        Outcome::Failed(failure) => {
            assert!(failure.stage == stage && failure.cause.contains(expected), "{stage:?} {expected:?}: {failure:?}");
        }
        other => panic!("{stage:?} {expected:?}: {other:?}"),
    }
}

/// A store with one answer for every blob.
struct OneBlob(Result<Bytes, Error>);

#[async_trait]
impl Store for OneBlob {
    async fn resolve(&self, _: &Reference, _: Instant) -> Result<Descriptor, Error> {
        unreachable!("a verifier resolves nothing")
    }
    async fn referrers(&self, _: &Repository, _: &Digest, _: Instant) -> Result<Listed, Error> {
        unreachable!("a verifier lists nothing")
    }
    async fn manifest(&self, _: &Repository, _: &Descriptor, _: Instant) -> Result<Bytes, Error> {
        unreachable!("a verifier is given its manifest")
    }
    async fn blob(&self, _: &Repository, _: &Descriptor, limit: u64, _: Instant) -> Result<Bytes, Error> {
        assert_eq!(limit, limits::ENVELOPE_BYTES);
        self.0.clone()
    }
}

/// Has a verifier judge a signature manifest with layers of these media types, which all have this blob.
pub(super) async fn verify_by(verifier: &NotationVerifier, blob: Result<Bytes, Error>, layers: &[&str]) -> Outcome {
    let layer = |media_type: &&str| Layer {
        descriptor: Descriptor { media_type: (*media_type).into(), ..subject() },
        annotations: Annotations::new(),
    };
    let manifest = Manifest {
        artifact_type: ARTIFACT_TYPE.into(),
        subject: Some(subject()),
        layers: layers.iter().map(layer).collect(),
        annotations: Annotations::new(),
    };
    let reference: Reference = format!("registry.example/acme/app@{}", subject().digest).parse().unwrap();
    let candidate = Candidate {
        store: &OneBlob(blob),
        repository: &reference.repository,
        subject: &subject(),
        referrer: &Descriptor { media_type: IMAGE_MANIFEST.into(), ..subject() },
        found: None,
        manifest: &manifest,
        attempts: &Attempts::default(),
        now: now(),
        deadline: Instant::now() + Duration::from_secs(30),
    };
    verifier.verify(candidate).await.remove(0)
}
