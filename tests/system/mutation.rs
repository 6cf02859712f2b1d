//! Every single byte of what makes an image trusted, changed: denied, or provably without meaning.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ratify::artifact::{Algorithm, Descriptor, Digest, IMAGE_MANIFEST, Manifest};
use ratify::config::Rule;
use ratify::executor::Executor;
use ratify::pki;
use ratify::policy::Policy;
use ratify::reference::{Reference, Repository};
use ratify::report::Outcome;
use ratify::store::{Error, Listed, Store, digest_of};
use ratify::verdict::{Token, Verdict};
use ratify::verifier::Verifier;
use ratify::verifier::notation::{NotationVerifier, Trust, verify_envelope};
use serde_json::Value;
use tokio::time::Instant;

use crate::node::{CERTIFICATE, MANIFEST, SIGNATURE};

/// A registry that says whatever an attacker wants: content by the digest that it is asked for, true or not.
#[derive(Clone, Default)]
struct Hostile {
    contents: HashMap<Digest, Bytes>,
    list: Vec<Descriptor>,
}

impl Hostile {
    /// Puts content in the place of a descriptor's.
    fn serve(&mut self, descriptor: &Descriptor, bytes: &[u8]) {
        self.contents.insert(descriptor.digest.clone(), Bytes::copy_from_slice(bytes));
    }

    /// Adds content under its own digest.
    fn add(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = describe(media_type, bytes);
        self.serve(&descriptor, bytes);
        descriptor
    }
}

#[async_trait]
impl Store for Hostile {
    async fn resolve(&self, _: &Reference, _: Instant) -> Result<Descriptor, Error> {
        Err(Error::NotFound { what: "nothing".to_owned() })
    }

    async fn referrers(&self, _: &Repository, _: &Digest, _: Instant) -> Result<Listed, Error> {
        Ok(self.list.clone().into())
    }

    async fn manifest(&self, _: &Repository, descriptor: &Descriptor, _: Instant) -> Result<Bytes, Error> {
        self.contents.get(&descriptor.digest).cloned().ok_or(Error::NotFound { what: descriptor.digest.to_string() })
    }

    async fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        _: u64,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        let bytes = self.manifest(repository, descriptor, deadline).await?;
        // What every store promises: the bytes are those that the descriptor names.
        ratify::store::check("blob", descriptor, &bytes).map(|()| bytes)
    }
}

fn describe(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest_of(Algorithm::Sha256, bytes),
        size: bytes.len() as u64,
    }
}

const JWS: &str = "application/jose+json";
const COSE: &str = "application/cose";

/// The same signature as [`SIGNATURE`], in COSE.
const IN_COSE: &[u8] = include_bytes!("../fixtures/notation/single.cose");

/// The fixture's image, its signature's manifest, and a registry that holds them.
fn honest() -> (Descriptor, Vec<u8>, Hostile) {
    signed(JWS, SIGNATURE)
}

fn signed(media_type: &str, envelope: &[u8]) -> (Descriptor, Vec<u8>, Hostile) {
    let mut registry = Hostile::default();
    let image = describe(IMAGE_MANIFEST, MANIFEST.as_bytes());
    let manifest = signature_manifest(&image, &registry.add(media_type, envelope));
    registry.list = vec![registry.add(IMAGE_MANIFEST, &manifest)];
    (image, manifest, registry)
}

pub fn signature_manifest(subject: &Descriptor, envelope: &Descriptor) -> Vec<u8> {
    let json = |descriptor: &Descriptor| serde_json::to_string(descriptor).unwrap();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE_MANIFEST}","artifactType":"application/vnd.cncf.notary.signature","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}},"layers":[{}],"subject":{},"annotations":{{"k":"v"}}}}"#,
        json(envelope),
        json(subject)
    )
    .into_bytes()
}

fn trust() -> Trust {
    let anchors = pki::anchors_from_pem(CERTIFICATE.as_bytes()).unwrap();
    Trust::new(anchors, &["*".to_owned()]).unwrap()
}

async fn judge(registry: &Hostile, image: &Descriptor) -> Token {
    let verifier: Arc<dyn Verifier> = Arc::new(NotationVerifier::new("acme".to_owned(), trust(), Arc::default()));
    let leaf = Rule { verifier: Some("acme".to_owned()), threshold: 0, rules: Vec::new() };
    let policy = Policy::new(Rule { verifier: None, threshold: 1, rules: vec![leaf] }).unwrap();
    let executor = Executor::new(Arc::new(registry.clone()), vec![verifier], policy, 4);
    let repository = "r.example/a".parse::<Reference>().unwrap().repository;
    let deadline = Instant::now() + Duration::from_secs(60);
    let judged = executor.judge(&repository, image.clone(), SystemTime::now(), deadline).await;
    Verdict::reach(judged.conclusion, false).token()
}

/// Every byte changed to every other value.
fn changes(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len()).flat_map(move |at| (1..=u8::MAX).map(move |bits| (at, changed(bytes, at, bits))))
}

/// Every byte with its lowest, its case and its highest bit turned.
fn samples(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len()).flat_map(move |at| [0x01, 0x20, 0x80].map(|bits| changed(bytes, at, bits)))
}

fn changed(bytes: &[u8], at: usize, bits: u8) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at] ^= bits;
    changed
}

#[tokio::test]
async fn the_unchanged_image_is_allowed() {
    for (media_type, envelope) in [(JWS, SIGNATURE), (COSE, IN_COSE)] {
        let (image, _, registry) = signed(media_type, envelope);
        assert_eq!(judge(&registry, &image).await, Token::Allowed);
    }
}

#[tokio::test]
async fn a_changed_signature_manifest_under_the_old_digest_is_never_believed() {
    let (image, manifest, honest) = honest();
    for changed in samples(&manifest) {
        let mut registry = honest.clone();
        registry.serve(&honest.list[0], &changed);
        assert_eq!(judge(&registry, &image).await, Token::Unavailable);
    }
}

/// All that is used of a signature's manifest: what it is, where the envelope lies, and the digest of what is signed.
fn says(manifest: &Manifest) -> (&str, Vec<&Descriptor>, Option<&Digest>) {
    let layers = manifest.layers.iter().map(|layer| &layer.descriptor).collect();
    (&manifest.artifact_type, layers, manifest.subject.as_ref().map(|subject| &subject.digest))
}

#[tokio::test]
async fn a_changed_signature_manifest_under_its_own_digest_is_refused_or_means_the_same() {
    let (image, manifest, honest) = honest();
    let original = Manifest::parse(IMAGE_MANIFEST, &manifest).unwrap();
    let mut meaningless = 0;
    for (at, changed) in changes(&manifest) {
        let means = Manifest::parse(IMAGE_MANIFEST, &changed);
        if means.as_ref().is_ok_and(|means| says(means) == says(&original)) {
            meaningless += 1;
        } else if means.is_ok() || changed[at] ^ manifest[at] == 1 {
            let mut registry = honest.clone();
            registry.list = vec![registry.add(IMAGE_MANIFEST, &changed)];
            let changed = String::from_utf8_lossy(&changed);
            assert!(!judge(&registry, &image).await.allows(), "byte {at}: {changed}");
        }
    }
    // Annotations, the config's digest and the like: some 150 bytes that can be other text.
    assert!((1..=200 * 255).contains(&meaningless), "{meaningless}");
}

/// The name and the value of the one header that is not signed and says nothing: who made the envelope.
fn signing_agent() -> Range<usize> {
    let text = str::from_utf8(SIGNATURE).unwrap();
    let agent = text.find("io.cncf.notary.signingAgent").unwrap();
    agent..agent + text[agent..].find('}').unwrap()
}

/// The same in COSE, where each is text: a byte that tells its length, or two, and the bytes.
fn signing_agent_in_cose() -> Range<usize> {
    let name = b"io.cncf.notary.signingAgent";
    let agent = IN_COSE.windows(name.len()).position(|window| window == name).unwrap();
    let value = agent + name.len();
    let length = usize::from(IN_COSE[value] & 0x1f);
    assert!(IN_COSE[value] >> 5 == 3 && length < 24);
    agent - 2..value + 1 + length
}

fn verify(envelope: &[u8], image: &Descriptor, trust: &Trust) -> bool {
    verify_in(JWS, envelope, image, trust)
}

fn verify_in(media_type: &str, envelope: &[u8], image: &Descriptor, trust: &Trust) -> bool {
    let outcome = verify_envelope(media_type, envelope, image, trust, SystemTime::now());
    matches!(outcome, Outcome::Passed(_))
}

#[test]
fn every_changed_byte_of_the_envelope_is_refused() {
    let (image, trust, agent) = (honest().0, trust(), signing_agent());
    assert!(verify(SIGNATURE, &image, &trust));
    for (at, changed) in changes(SIGNATURE) {
        let changed_text = String::from_utf8_lossy(&changed);
        assert!(agent.contains(&at) || !verify(&changed, &image, &trust), "byte {at}: {changed_text}");
    }
}

#[test]
fn every_changed_byte_of_a_cose_envelope_is_refused() {
    let (image, trust, agent) = (honest().0, trust(), signing_agent_in_cose());
    assert!(verify_in(COSE, IN_COSE, &image, &trust));
    let mut meaningless = 0;
    // Each bit of each byte: without base64 every change gets as far as the signatures.
    for (at, bit) in (0..IN_COSE.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let passes = verify_in(COSE, &changed(IN_COSE, at, 1 << bit), &image, &trust);
        assert!(agent.contains(&at) || !passes, "byte {at}, bit {bit}");
        meaningless += usize::from(passes);
    }
    assert!(meaningless > 0);
}

#[test]
fn every_changed_byte_of_the_payload_and_of_the_signed_header_is_refused() {
    let (image, trust) = (honest().0, trust());
    let envelope: Value = serde_json::from_slice(SIGNATURE).unwrap();
    for member in ["payload", "protected"] {
        let signed = URL_SAFE_NO_PAD.decode(envelope[member].as_str().unwrap()).unwrap();
        for (at, changed) in changes(&signed) {
            let mut forged = envelope.clone();
            forged[member] = URL_SAFE_NO_PAD.encode(&changed).into();
            let forged = serde_json::to_vec(&forged).unwrap();
            assert!(!verify(&forged, &image, &trust), "{member}, byte {at}: {}", String::from_utf8_lossy(&changed));
        }
    }
}

#[tokio::test]
async fn a_changed_envelope_is_refused_under_either_digest() {
    for (media_type, envelope, agent) in [(JWS, SIGNATURE, signing_agent()), (COSE, IN_COSE, signing_agent_in_cose())] {
        let (image, _, honest) = signed(media_type, envelope);
        for (index, changed) in samples(envelope).enumerate().step_by(7) {
            let mut registry = honest.clone();
            registry.serve(&describe(media_type, envelope), &changed);
            assert!(!judge(&registry, &image).await.allows(), "{media_type}, old digest, byte {}", index / 3);

            let mut registry = honest.clone();
            let own = registry.add(media_type, &changed);
            let manifest = signature_manifest(&image, &own);
            registry.list = vec![registry.add(IMAGE_MANIFEST, &manifest)];
            let allowed = judge(&registry, &image).await.allows();
            assert!(agent.contains(&(index / 3)) || !allowed, "{media_type}, own digest, byte {}", index / 3);
        }
    }
}

#[tokio::test]
async fn an_envelope_under_the_other_ones_media_type_is_refused() {
    for (media_type, envelope) in [(COSE, SIGNATURE), (JWS, IN_COSE)] {
        let (image, _, registry) = signed(media_type, envelope);
        assert_eq!(judge(&registry, &image).await, Token::Denied);
    }
}

#[tokio::test]
async fn a_changed_image_manifest_is_refused_however_the_signature_is_attached() {
    let (original, manifest, honest) = honest();
    // What is decided hangs on the descriptor alone, and each change gives another.
    assert!(changes(MANIFEST.as_bytes()).all(|(_, changed)| describe(IMAGE_MANIFEST, &changed) != original));

    let envelope = describe(JWS, SIGNATURE);
    for changed in samples(MANIFEST.as_bytes()) {
        let image = describe(IMAGE_MANIFEST, &changed);
        // The old signature's manifest, listed for the changed image; and one that names the changed image.
        assert_eq!(judge(&honest, &image).await, Token::Denied);
        let mut registry = honest.clone();
        let forged = signature_manifest(&image, &envelope);
        assert_ne!(forged, manifest);
        registry.list = vec![registry.add(IMAGE_MANIFEST, &forged)];
        assert_eq!(judge(&registry, &image).await, Token::Denied);
    }
}

#[tokio::test]
async fn an_image_whose_size_or_media_type_is_lied_about_is_refused() {
    let (image, _, registry) = honest();
    for lie in [
        Descriptor { size: image.size + 1, ..image.clone() },
        Descriptor { size: 0, ..image.clone() },
        Descriptor { media_type: "application/vnd.oci.image.index.v1+json".to_owned(), ..image.clone() },
        Descriptor { media_type: String::new(), ..image.clone() },
    ] {
        assert_eq!(judge(&registry, &lie).await, Token::Denied, "{lie:?}");
    }
}
