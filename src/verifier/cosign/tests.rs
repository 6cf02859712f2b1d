//! Every form, with signatures by keys: good ones, and each of the ways in which they may be of something else. What
//! certificates, logs and timestamps add is tested where it is judged.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use der::Encode as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::artifact::{Annotations, Descriptor, IMAGE_MANIFEST, Manifest};
use crate::pki::Certificate;
use crate::pki::testing::{Key, Kind as KeyKind, now};
use crate::reference::Reference;
use crate::scope::Pattern;
use crate::sigstore::identity::{Identity, Matcher};
use crate::sigstore::key::PublicKey;
use crate::sigstore::testing::bundles::{self, ISSUER, Keyless, SIGNER, fulcio};
use crate::sigstore::testing::{By, pem};
use crate::sigstore::trusted_root::TrustedRoot;
use crate::sigstore::verify::NamedKey;
use crate::store::{Error, Listed, Store, digest_of};
use crate::verifier::Attempts;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const SPDX: &str = "https://spdx.dev/Document";

fn key(number: usize) -> &'static Key {
    Key::get(KeyKind::P256, number)
}

fn sign(key: &Key, message: &[u8]) -> String {
    STANDARD.encode(key.sign_certificate(&key.certificate_algorithm(), message))
}

fn public(key: &Key) -> PublicKey {
    PublicKey::from_der(&key.spki().to_der().unwrap()).unwrap()
}

fn image() -> Descriptor {
    descriptor(IMAGE_MANIFEST, b"the image")
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    let digest = digest_of(crate::artifact::Algorithm::Sha256, bytes);
    Descriptor { media_type: media_type.to_owned(), digest, size: bytes.len() as u64 }
}

/// A layer with its bytes.
#[derive(Clone)]
struct Piece {
    media_type: &'static str,
    bytes: Vec<u8>,
    annotations: Annotations,
}

fn simple_payload(reference: &str, digest: &str, optional: Value) -> Value {
    json!({
        "critical": {
            "identity": { "docker-reference": reference },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": optional,
    })
}

fn simple_of(key: &Key, payload: &Value) -> Piece {
    let bytes = payload.to_string().into_bytes();
    let annotations = [("dev.cosignproject.cosign/signature".to_owned(), sign(key, &bytes))].into();
    Piece { media_type: SIMPLE, bytes, annotations }
}

fn simple(key: &Key) -> Piece {
    simple_of(key, &simple_payload("r.io/a", image().digest.as_str(), Value::Null))
}

fn statement_of(predicate_type: &str, digest: &str, annotations: Value) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { "sha256": digest }, "annotations": annotations }],
        "predicateType": predicate_type,
        "predicate": {},
    })
}

fn envelope(key: &Key, payload_type: &str, payload: &Value) -> Value {
    let payload = payload.to_string();
    let pae = format!("DSSEv1 {} {payload_type} {} {payload}", payload_type.len(), payload.len());
    json!({
        "payload": STANDARD.encode(&payload),
        "payloadType": payload_type,
        "signatures": [{ "sig": sign(key, pae.as_bytes()) }],
    })
}

const IN_TOTO: &str = "application/vnd.in-toto+json";

fn bundle_of(key: &Key, statement: &Value) -> Piece {
    bundle(&envelope(key, IN_TOTO, statement))
}

fn bundle(envelope: &Value) -> Piece {
    let bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "x" } },
        "dsseEnvelope": envelope,
    });
    Piece { media_type: BUNDLE, bytes: bundle.to_string().into_bytes(), annotations: Annotations::new() }
}

fn signed(key: &Key) -> Piece {
    bundle_of(key, &statement_of(SIGN, image().digest.hex(), json!({})))
}

fn attested(key: &Key, predicate_type: &str) -> Piece {
    bundle_of(key, &statement_of(predicate_type, image().digest.hex(), json!({})))
}

fn options(keys: &[(&str, &Key)]) -> Options {
    let keys = keys.iter().map(|(name, key)| NamedKey { name: (*name).to_owned(), key: public(key) }).collect();
    let trust = Trust { signers: Signers::Keys(keys), roots: Vec::new(), log: false, sct: false, observer_time: false };
    let policy = TrustPolicy { trust, annotations: BTreeMap::new() };
    Options {
        policies: Scopes::new(vec![(Pattern::Any, Arc::new(policy))]),
        wants: Wants::Signature,
        docker_reference: DockerReference::Repository,
        remap: Rewrites::parse([]).unwrap(),
        signature_repository: Rewrites::parse([]).unwrap(),
        tags: true,
        max_signatures: 100,
    }
}

fn trusted() -> Options {
    options(&[("release", key(0))])
}

fn attesting(predicate_type: &str) -> Options {
    Options { wants: Wants::Attestation(vec![predicate_type.to_owned()]), ..trusted() }
}

fn stating(name: &str, value: &str) -> Options {
    let options = trusted();
    let (_, policy) = options.policies.find(&repository("r.io/a")).unwrap();
    let annotations = [(name.to_owned(), value.to_owned())].into();
    let policy = Arc::new(TrustPolicy { trust: policy.trust.clone(), annotations });
    Options { policies: Scopes::new(vec![(Pattern::Any, policy)]), ..options }
}

fn repository(name: &str) -> Repository {
    name.parse::<Reference>().unwrap().repository
}

/// Blobs by their digests; others cannot be had.
struct Blobs(HashMap<Digest, Vec<u8>>, AtomicUsize);

#[async_trait]
impl Store for Blobs {
    async fn resolve(&self, _: &Reference, _: Instant) -> Result<Descriptor, Error> {
        unreachable!("a verifier resolves nothing")
    }
    async fn referrers(&self, _: &Repository, _: &Digest, _: Instant) -> Result<Listed, Error> {
        unreachable!("a verifier lists nothing")
    }
    async fn manifest(&self, _: &Repository, _: &Descriptor, _: Instant) -> Result<Bytes, Error> {
        unreachable!("a verifier is given its manifest")
    }
    async fn blob(&self, _: &Repository, wanted: &Descriptor, _: u64, _: Instant) -> Result<Bytes, Error> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let fault = || Error::Network { what: "GET".to_owned(), cause: "refused".to_owned() };
        self.0.get(&wanted.digest).cloned().map(Bytes::from).ok_or_else(fault)
    }
}

/// What a verifier says of a manifest with these layers. Layers without bytes cannot be fetched.
async fn outcomes(options: Options, pieces: &[Piece]) -> (Vec<Outcome>, usize) {
    outcomes_by(options, pieces, &Attempts::default(), Instant::now() + Duration::from_secs(30)).await
}

async fn outcomes_by(
    options: Options,
    pieces: &[Piece],
    attempts: &Attempts,
    deadline: Instant,
) -> (Vec<Outcome>, usize) {
    let layer = |piece: &Piece| Layer {
        descriptor: descriptor(piece.media_type, &piece.bytes),
        annotations: piece.annotations.clone(),
    };
    let blobs = pieces.iter().filter(|piece| !piece.bytes.starts_with(b"lost"));
    let blobs = blobs.map(|piece| (descriptor(piece.media_type, &piece.bytes).digest, piece.bytes.clone())).collect();
    let store = Blobs(blobs, AtomicUsize::new(0));
    let manifest = Manifest {
        artifact_type: String::new(),
        subject: None,
        layers: pieces.iter().map(layer).collect(),
        annotations: Annotations::new(),
    };
    let candidate = Candidate {
        store: &store,
        repository: &repository("r.io/a"),
        subject: &image(),
        referrer: &descriptor(IMAGE_MANIFEST, b"the manifest"),
        found: None,
        manifest: &manifest,
        attempts,
        now: now(),
        deadline,
    };
    let found = CosignVerifier::new("v".to_owned(), options).verify(candidate).await;
    (found, store.1.load(Ordering::SeqCst))
}

async fn passes(options: Options, pieces: &[Piece]) -> Vec<Pass> {
    let passed = |outcome| match outcome {
        Outcome::Passed(pass) => pass,
        other => panic!("{other:?}"),
    };
    outcomes(options, pieces).await.0.into_iter().map(passed).collect()
}

async fn failure(options: Options, pieces: &[Piece]) -> (Stage, String) {
    match outcomes(options, pieces).await.0.as_slice() {
        [Outcome::Failed(Failure { stage, cause })] => (*stage, cause.clone()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_signature_of_either_form_by_a_trusted_key_passes_and_says_whose() {
    for piece in [simple(key(0)), signed(key(0))] {
        let passes = passes(trusted(), &[piece]).await;
        assert_eq!(passes[0].signer, Some(public(key(0)).fingerprint()));
        assert_eq!(passes[0].identity.as_deref(), Some("release"));
        assert_eq!((passes.len(), passes[0].valid_until), (1, None));
        assert!(passes[0].detail.contains("release"), "{}", passes[0].detail);
    }
}

#[tokio::test]
async fn keys_of_every_kind_are_taken_in_either_form() {
    for kind in [KeyKind::P384, KeyKind::P521, KeyKind::Rsa2048, KeyKind::Rsa3072, KeyKind::Rsa4096, KeyKind::Ed25519] {
        let (key, other) = (Key::get(kind, 0), Key::get(kind, 1));
        for (good, bad) in [(simple(key), simple(other)), (signed(key), signed(other))] {
            assert_eq!(passes(options(&[("release", key)]), &[good]).await.len(), 1, "{kind:?}");
            assert_eq!(failure(options(&[("release", key)]), &[bad]).await.0, Stage::Authenticity, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_signature_by_another_key_fails_in_either_form() {
    for piece in [simple(key(1)), signed(key(1))] {
        assert_eq!(failure(trusted(), &[piece]).await.0, Stage::Authenticity);
    }
}

#[tokio::test]
async fn a_signature_of_another_image_fails_and_says_of_which() {
    let other = "0".repeat(64);
    let of_other = simple_of(key(0), &simple_payload("r.io/a", &format!("sha256:{other}"), Value::Null));
    for piece in [of_other, bundle_of(key(0), &statement_of(SIGN, &other, json!({})))] {
        let (stage, cause) = failure(trusted(), &[piece]).await;
        assert_eq!(stage, Stage::Subject);
        assert!(cause.contains(&other), "{cause}");
    }
    // The digest of the image by an algorithm of another name is not its digest.
    let mut statement = statement_of(SIGN, "", json!({}));
    statement["subject"] = json!([{ "digest": { "sha512": image().digest.hex() } }]);
    assert_eq!(failure(trusted(), &[bundle_of(key(0), &statement)]).await.0, Stage::Subject);
}

#[tokio::test]
async fn an_attestation_is_never_taken_for_a_signature_nor_the_other_way_round() {
    let (stage, cause) = failure(trusted(), &[attested(key(0), SPDX)]).await;
    assert_eq!(stage, Stage::Form);
    assert_eq!(cause, format!("it is an attestation ({SPDX:?}), not a signature"));
    assert_eq!(failure(trusted(), &[attested(key(0), "")]).await.0, Stage::Form);
    let (_, cause) = failure(attesting(SPDX), &[signed(key(0))]).await;
    assert_eq!(cause, "it is a signature, not an attestation");
    let (_, cause) = failure(attesting(SPDX), &[attested(key(0), "https://slsa.dev/provenance/v1")]).await;
    assert_eq!(cause, format!("it attests \"https://slsa.dev/provenance/v1\", expected {SPDX}"));
    assert_eq!(failure(attesting(SPDX), &[simple(key(0))]).await.0, Stage::Form);
}

#[tokio::test]
async fn an_attestation_of_either_form_passes_where_it_is_asked_for() {
    let statement = statement_of(SPDX, image().digest.hex(), json!({}));
    let bytes = envelope(key(0), IN_TOTO, &statement).to_string().into_bytes();
    let legacy = Piece {
        media_type: DSSE,
        bytes,
        annotations: [("dev.cosignproject.cosign/signature".to_owned(), String::new())].into(),
    };
    for piece in [legacy, attested(key(0), SPDX)] {
        let passes = passes(attesting(SPDX), std::slice::from_ref(&piece)).await;
        assert!(passes[0].detail.starts_with(&format!("attests {SPDX:?}, ")), "{}", passes[0].detail);
        assert_eq!(failure(options(&[("x", key(1))]), &[piece]).await.0, Stage::Form, "no signature is asked of it");
    }
}

#[tokio::test]
async fn an_envelope_of_another_payload_type_or_with_two_signatures_fails() {
    let statement = statement_of(SIGN, image().digest.hex(), json!({}));
    let other = bundle(&envelope(key(0), "text/plain", &statement));
    assert_eq!(failure(trusted(), &[other]).await.0, Stage::Form);
    let mut twice = envelope(key(0), IN_TOTO, &statement);
    let signature = twice["signatures"][0].clone();
    twice["signatures"].as_array_mut().unwrap().push(signature);
    let (stage, cause) = failure(trusted(), &[bundle(&twice)]).await;
    assert_eq!(stage, Stage::Form);
    assert!(cause.contains("signature, expected one"), "{cause}");
}

#[tokio::test]
async fn what_was_changed_after_it_was_signed_fails() {
    let mut changed = simple(key(0));
    changed.bytes =
        String::from_utf8(changed.bytes).unwrap().replace("\"optional\":null", "\"optional\":{}").into_bytes();
    assert_eq!(failure(trusted(), &[changed]).await.0, Stage::Authenticity);
    let mut envelope = envelope(key(0), IN_TOTO, &statement_of(SPDX, image().digest.hex(), json!({})));
    let statement = statement_of(SIGN, image().digest.hex(), json!({})).to_string();
    envelope["payload"] = json!(STANDARD.encode(statement));
    assert_eq!(failure(trusted(), &[bundle(&envelope)]).await.0, Stage::Authenticity);
}

#[tokio::test]
async fn the_name_that_was_signed_must_be_the_images_unless_it_does_not_count() {
    let piece = || simple_of(key(0), &simple_payload("r.io/b:v1", image().digest.as_str(), Value::Null));
    let (stage, cause) = failure(trusted(), &[piece()]).await;
    assert_eq!(
        (stage, cause.starts_with("it was signed as r.io/b, expected r.io/a")),
        (Stage::Metadata, true),
        "{cause}"
    );
    let ignoring = Options { docker_reference: DockerReference::Ignore, ..trusted() };
    assert_eq!(passes(ignoring, &[piece()]).await.len(), 1);
    let mapped = || Options { remap: Rewrites::parse([("r.io/a", "r.io/b")]).unwrap(), ..trusted() };
    assert_eq!(passes(mapped(), &[piece()]).await.len(), 1);
    let exact = Options { docker_reference: DockerReference::Exact, ..mapped() };
    assert_eq!(failure(exact, &[piece()]).await.0, Stage::Metadata);
    // A bundle states none.
    let exact = Options { docker_reference: DockerReference::Exact, ..trusted() };
    assert_eq!(passes(exact, &[signed(key(0))]).await.len(), 1);
}

#[tokio::test]
async fn what_must_be_stated_is_asked_of_either_form() {
    let simple = |optional| simple_of(key(0), &simple_payload("r.io/a", image().digest.as_str(), optional));
    let bundle = |annotations| bundle_of(key(0), &statement_of(SIGN, image().digest.hex(), annotations));
    for piece in [simple(json!({ "env": "prod", "x": 1 })), bundle(json!({ "env": "prod" }))] {
        assert_eq!(passes(stating("env", "prod"), &[piece]).await.len(), 1);
    }
    for (piece, found) in [
        (simple(json!({ "env": "test" })), "it states env = \"test\", expected \"prod\""),
        (simple(json!({ "env": true })), "it states env = true, expected \"prod\""),
        (simple(Value::Null), "it does not state env, expected \"prod\""),
        (bundle(json!({})), "it does not state env, expected \"prod\""),
        (bundle(Value::Null), "it does not state env, expected \"prod\""),
    ] {
        assert_eq!(failure(stating("env", "prod"), &[piece]).await, (Stage::Metadata, found.to_owned()));
    }
}

#[tokio::test]
async fn one_good_signature_in_a_manifest_is_enough_and_of_bad_ones_the_most_specific_reason_is_told() {
    let of_other = simple_of(key(0), &simple_payload("r.io/a", "sha256:0", Value::Null));
    let pieces = [of_other.clone(), simple(key(1)), simple(key(0)), simple(key(2))];
    assert_eq!(passes(trusted(), &pieces).await.len(), 1);
    let (stage, cause) = failure(trusted(), &[of_other, simple(key(1)), simple(key(2))]).await;
    assert_eq!(stage, Stage::Authenticity);
    assert!(cause.ends_with("(and 2 more signatures in it)"), "{cause}");
}

#[tokio::test]
async fn each_trusted_signer_of_a_manifest_counts_and_no_other_is_looked_for_once_all_are_found() {
    let both = || options(&[("a", key(0)), ("b", key(1))]);
    let pieces = [simple(key(2)), simple(key(0)), signed(key(0)), simple(key(1))];
    let signers: Vec<_> = passes(both(), &pieces).await.into_iter().map(|pass| pass.identity.unwrap()).collect();
    assert_eq!(signers, ["a", "b"]);
    let many: Vec<_> = (0..40).map(|_| simple(key(1))).collect();
    let (found, fetched) = outcomes(trusted(), &[vec![simple(key(0))], many].concat()).await;
    assert!(matches!(found.as_slice(), [Outcome::Passed(_)]), "{found:?}");
    assert!(fetched <= limits::CONCURRENCY, "{fetched}");
}

#[tokio::test]
async fn what_cannot_be_fetched_is_a_fault_beside_what_is_good() {
    let lost = Piece { media_type: SIMPLE, bytes: b"lost".to_vec(), annotations: Annotations::new() };
    let (found, _) = outcomes(trusted(), &[simple(key(1)), lost.clone()]).await;
    assert!(matches!(found.as_slice(), [Outcome::Fault { .. }]), "{found:?}");
    let both = options(&[("a", key(0)), ("b", key(1))]);
    let (found, _) = outcomes(both, &[simple(key(0)), lost]).await;
    assert!(matches!(found.as_slice(), [Outcome::Passed(_), Outcome::Fault { .. }]), "{found:?}");
}

#[tokio::test]
async fn signatures_at_the_limit_and_one_past_it() {
    let limited = || Options { max_signatures: 3, ..trusted() };
    let bad = |count| (0..count).map(|_| simple(key(1))).collect::<Vec<_>>();
    assert_eq!(failure(limited(), &bad(3)).await.0, Stage::Authenticity);
    let (stage, cause) = failure(limited(), &bad(4)).await;
    assert_eq!(stage, Stage::Limit);
    assert!(cause.starts_with("there are more than 3 signatures of it"), "{cause}");
    assert_eq!(passes(limited(), &[bad(2), vec![simple(key(0))]].concat()).await.len(), 1);
    assert_eq!(failure(limited(), &[bad(3), vec![simple(key(0))]].concat()).await.0, Stage::Limit);
}

#[tokio::test]
async fn where_else_evidence_lies_is_a_tag_and_another_repository_where_a_rule_says_so() {
    let digest = image().digest;
    let places = |options: Options, name: &str| {
        let verifier = CosignVerifier::new("v".to_owned(), options);
        verifier.elsewhere(&repository(name), &digest).iter().map(Elsewhere::to_string).collect::<Vec<_>>()
    };
    let tag = format!("sha256-{}", digest.hex());
    assert_eq!(places(trusted(), "r.io/a"), [format!("r.io/a:{tag}.sig")]);
    assert_eq!(places(attesting(SPDX), "r.io/a"), [format!("r.io/a:{tag}.att")]);
    assert_eq!(places(Options { tags: false, ..trusted() }, "r.io/a"), [""; 0]);
    let rule = || Rewrites::parse([("r.io/a", "s.io/sigs")]).unwrap();
    let moved = || Options { signature_repository: rule(), ..trusted() };
    assert_eq!(places(moved(), "r.io/a"), [format!("s.io/sigs:{tag}.sig"), "s.io/sigs".to_owned()]);
    assert_eq!(places(moved(), "r.io/b"), [format!("r.io/b:{tag}.sig")]);
    assert_eq!(places(Options { tags: false, ..moved() }, "r.io/a"), ["s.io/sigs"]);
}

#[tokio::test]
async fn an_image_that_no_trust_policy_is_about_fails_beforehand() {
    let (_, policy) = trusted().policies.find(&repository("r.io/a")).map(|(p, t)| (p.clone(), Arc::clone(t))).unwrap();
    let policies = Scopes::new(vec![(Pattern::parse("r.io/a").unwrap(), policy)]);
    let verifier = CosignVerifier::new("v".to_owned(), Options { policies, ..trusted() });
    assert_eq!(verifier.foregone(&repository("r.io/a")), None);
    let Some(Outcome::Failed(failure)) = verifier.foregone(&repository("r.io/b")) else { panic!("it says nothing") };
    assert!(failure.cause.starts_with("no trust policy applies to r.io/b"), "{}", failure.cause);
}

#[tokio::test]
async fn all_types_that_cosign_has_had_are_its_business_and_no_other() {
    let verifier = CosignVerifier::new("v".to_owned(), trusted());
    for accepted in [
        BUNDLE,
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle+json;version=0.2",
        "application/vnd.dev.cosign.artifact.sig.v1+json",
    ] {
        assert!(verifier.accepts(accepted), "{accepted}");
    }
    for other in ["", "application/vnd.cncf.notary.signature", "application/vnd.oci.image.config.v1+json"] {
        assert!(!verifier.accepts(other), "{other}");
    }
}

/// What stands in the annotations of an older keyless signature, without the signature itself.
fn keyless_annotations(draft: &Keyless, certificate: &Certificate, entry: &Value) -> Annotations {
    let block = |certificate: &Certificate| pem("CERTIFICATE", certificate.der());
    let chain: String = fulcio(draft.at).iter().map(block).collect();
    [
        ("dev.sigstore.cosign/certificate", block(certificate)),
        ("dev.sigstore.cosign/chain", chain),
        ("dev.sigstore.cosign/bundle", draft.logs[0].annotation(entry, draft.at).to_string()),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into()
}

fn keyless_simple(draft: &Keyless) -> Piece {
    let bytes = simple_payload("r.io/a", image().digest.as_str(), Value::Null).to_string().into_bytes();
    let (signature, certificate) = (draft.key.sign(&bytes), draft.certificate());
    let entry = draft.logs[0].body_of_message(&signature, By::Certificate(&certificate), &bytes);
    let mut annotations = keyless_annotations(draft, &certificate, &entry);
    annotations.insert("dev.cosignproject.cosign/signature".to_owned(), STANDARD.encode(signature));
    Piece { media_type: SIMPLE, bytes, annotations }
}

fn keyless_attestation(draft: &Keyless) -> Piece {
    let statement = statement_of(SPDX, image().digest.hex(), json!({}));
    let envelope = bundles::envelope(draft.key, statement.to_string().as_bytes());
    let certificate = draft.certificate();
    let entry = draft.logs[0].body_of_envelope(&envelope, By::Certificate(&certificate));
    let (_, written) = bundles::dsse_envelope(&envelope);
    let annotations = keyless_annotations(draft, &certificate, &entry);
    Piece { media_type: DSSE, bytes: written.to_string().into_bytes(), annotations }
}

fn keyless_bundle(draft: &Keyless) -> Piece {
    let bundle = draft.statement(&statement_of(SIGN, image().digest.hex(), json!({})));
    Piece { media_type: BUNDLE, bytes: bundle.to_string().into_bytes(), annotations: Annotations::new() }
}

/// Trusts an identity by the word of a draft's authority and logs.
fn trusting(draft: &Keyless, identity: &str, wants: Wants) -> Options {
    let identity = Identity::new(Matcher::exact(identity).unwrap(), Matcher::exact(ISSUER).unwrap());
    let roots = vec![Arc::new(TrustedRoot::parse(&draft.root().bytes()).unwrap())];
    let signers = Signers::Keyless(vec![identity]);
    let trust = Trust { signers, roots, log: true, sct: true, observer_time: true };
    let policy = TrustPolicy { trust, annotations: BTreeMap::new() };
    Options { policies: Scopes::new(vec![(Pattern::Any, Arc::new(policy))]), wants, ..trusted() }
}

fn spdx() -> Wants {
    Wants::Attestation(vec![SPDX.to_owned()])
}

#[tokio::test]
async fn a_keyless_signature_or_attestation_of_every_form_passes_by_its_identity_and_no_other() {
    let draft = Keyless::new();
    for (piece, wants) in [
        (keyless_simple(&draft), Wants::Signature),
        (keyless_bundle(&draft), Wants::Signature),
        (keyless_attestation(&draft), spdx()),
    ] {
        let found = passes(trusting(&draft, SIGNER, wants.clone()), std::slice::from_ref(&piece)).await;
        assert_eq!(found[0].identity.as_deref(), Some(SIGNER));
        assert!(found[0].valid_until.is_some());
        let (stage, cause) = failure(trusting(&draft, "signer@example.co", wants), &[piece]).await;
        assert_eq!(stage, Stage::Identity, "{cause}");
    }
}

#[tokio::test]
async fn what_stands_in_annotations_must_be_there_and_of_this_signature() {
    let draft = Keyless::new();
    let trust = |wants| trusting(&draft, SIGNER, wants);
    for (piece, wants) in [(keyless_simple(&draft), Wants::Signature), (keyless_attestation(&draft), spdx())] {
        let without = |name: &str| {
            let mut piece = piece.clone();
            piece.annotations.remove(name).unwrap();
            piece
        };
        for name in ["dev.sigstore.cosign/certificate", "dev.sigstore.cosign/bundle"] {
            failure(trust(wants.clone()), &[without(name)]).await;
        }
        // The trusted root has the authority's intermediate too.
        assert_eq!(passes(trust(wants.clone()), &[without("dev.sigstore.cosign/chain")]).await.len(), 1);
        for (name, text) in [
            ("dev.sigstore.cosign/certificate", "garbage"),
            ("dev.sigstore.cosign/bundle", "{}"),
            ("dev.sigstore.cosign/rfc3161timestamp", "{}"),
            ("dev.sigstore.cosign/rfc3161timestamp", "{\"SignedRFC3161Timestamp\":\"!\"}"),
        ] {
            let mut piece = piece.clone();
            piece.annotations.insert(name.to_owned(), text.to_owned());
            assert_eq!(failure(trust(wants.clone()), &[piece]).await.0, Stage::Form, "{name}");
        }
    }
    let mut other = keyless_simple(&draft);
    let entry = "dev.sigstore.cosign/bundle";
    other.annotations.insert(entry.to_owned(), keyless_attestation(&draft).annotations[entry].clone());
    failure(trust(Wants::Signature), &[other]).await;
}

#[tokio::test]
async fn certificates_in_annotations_at_the_limit_and_one_past_it() {
    let draft = Keyless::new();
    let own = fulcio(draft.at);
    let chain_of = |number: usize| {
        let mut piece = keyless_simple(&draft);
        let chain = pem("CERTIFICATE", own[0].der()).repeat(number);
        piece.annotations.insert("dev.sigstore.cosign/chain".to_owned(), chain);
        piece
    };
    let trust = || trusting(&draft, SIGNER, Wants::Signature);
    assert_eq!(passes(trust(), &[chain_of(limits::CHAIN_CERTIFICATES)]).await.len(), 1);
    let (stage, cause) = failure(trust(), &[chain_of(limits::CHAIN_CERTIFICATES + 1)]).await;
    assert!(stage == Stage::Form && cause.contains("there are 17, the limit is 16"), "{cause}");
}

#[tokio::test]
async fn a_large_attestation_waits_for_its_turn_and_is_not_fetched_before() {
    let of = |size: u64| {
        let bytes = vec![b' '; usize::try_from(size).unwrap()];
        Piece { media_type: BUNDLE, bytes, annotations: Annotations::new() }
    };
    let attempts = Attempts::default();
    let soon = Instant::now() + Duration::from_secs(30);
    let held = attempts.turn.room(Content::Blob, limits::LARGE_BYTES + 1, soon).await.unwrap();
    let fetched = async |size: u64| outcomes_by(attesting(SPDX), &[of(size)], &attempts, Instant::now()).await;
    let (outcomes, reads) = fetched(limits::LARGE_BYTES + 1).await;
    let waited =
        |outcome: &Outcome| matches!(outcome, Outcome::Fault { cause } if cause.to_string().contains("there was room"));
    assert!(outcomes.iter().all(waited) && reads == 0, "{outcomes:?}");
    assert_eq!(fetched(limits::LARGE_BYTES).await.1, 1, "small ones wait for nobody");
    drop(held);
    assert_eq!(outcomes_by(attesting(SPDX), &[of(limits::LARGE_BYTES + 1)], &attempts, soon).await.1, 1);
}

#[tokio::test]
async fn one_key_by_two_names_is_told_as_both() {
    let (first, mut found) = (passes(trusted(), &[simple(key(0))]).await.remove(0), Found::default());
    let renamed = Pass { identity: Some("another name".to_owned()), ..first.clone() };
    [&first, &renamed, &first].into_iter().for_each(|pass| found.take(Ok(Ok(pass.clone()))));
    assert_eq!(found.passes, [first, renamed]);
}

#[tokio::test]
async fn what_nobody_asks_for_is_not_read() {
    let mut piece = simple(key(0));
    piece.annotations.insert("dev.sigstore.cosign/bundle".to_owned(), "garbage".to_owned());
    piece.annotations.insert("dev.sigstore.cosign/certificate".to_owned(), "garbage".to_owned());
    assert_eq!(passes(trusted(), &[piece]).await.len(), 1);
}
