//! Keyless signatures by a Sigstore of the test's own (authority, logs, timestamp authority, trusted root), pulled as an
//! operator sees it: allowed for the right identity, refused for everything else, each for its own cause. And signers of an
//! own authority, by the real cosign.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::cosign::{Form as CosignForm, Signer, keys};
use crate::common::node::Node;
use crate::common::notation;
use crate::common::notation::{Authority, Key as OpensslKey, TRUSTED};
use crate::common::registries::{Image, registries, sha256};
use crate::common::tsa::{Settings, TimestampAuthority};
use crate::drafts::{Draft, Form, Kept, Made, entries, now, root, yesterday};
use crate::needs;
use crate::pki::testing::{Key, Kind, Template};
use crate::pki::{Certificate, anchors};
use crate::sigstore::testing::bundles::{ISSUER, Keyless, SIGNER, alternative_names, fulcio_leaf, response};
use crate::sigstore::testing::{CtLog, TestLog};

/// What keeps the material of a node.
pub struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    /// One whose trusted root knows everybody of a draft.
    pub fn of(root: &Value) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        site.trust(root);
        site
    }

    /// Replaces the trusted root.
    pub fn trust(&self, root: &Value) {
        let new = self.folder.path().join("new");
        fs::write(&new, root.to_string()).unwrap();
        fs::rename(new, self.root()).unwrap();
    }

    /// The trusted root's file.
    pub fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("trusted_root.json")
    }
}

/// Trusts [`SIGNER`] by the word of [`ISSUER`].
pub const IDENTITY: &str =
    "certificateIdentity = \"signer@example.com\", certificateOIDCIssuer = \"https://accounts.example.com\"";

/// The configuration of a node whose registry's images must be signed as a policy says, with more parameters.
pub fn configuration(source: &str, policy: &str, more: &str) -> String {
    let host = &registries().referrers.host;
    format!(
        "[remember]\nallow = \"0s\"\ndeny = \"0s\"\nreferrers = \"0s\"\n[[executors]]\nscopes = [{host:?}]\n\
         [[executors.verifiers]]\nname = \"release\"\ntype = \"cosign\"\n[executors.verifiers.parameters]\n\
         trustedRoots = [{{ name = \"own\", {source} }}]\ntrustPolicies = [{{ {policy} }}]\n{more}\n"
    )
}

fn from_file(path: &Path, policy: &str) -> String {
    configuration(&format!("file = {path:?}"), policy, "")
}

/// Whom all tests here trust: a Rekor of each version, a log of certificates, an authority.
pub fn everybody() -> Value {
    let draft = Keyless::at(yesterday()).logged(&[TestLog::v1(), TestLog::v2()]);
    root(&draft.root(), yesterday())
}

pub fn image(name: &str) -> Image {
    registries().referrers.image(&format!("keyless/{name}"))
}

/// A good one in Rekor 1.
pub fn good() -> Keyless {
    Keyless::at(yesterday())
}

const BUNDLE: Form = Form::Bundle("0.3");

#[test]
fn an_image_signed_by_the_right_identity_is_pulled_in_every_form() {
    needs!();
    let site = Site::of(&everybody());
    let node = Node::start(&from_file(&site.root(), IDENTITY));
    let pattern = "certificateIdentityRegex = \".*@example[.]com\", certificateOIDCIssuerRegex = \"https://.*\"";
    let by_pattern = Node::start(&from_file(&site.root(), pattern));
    for form in [BUNDLE, Form::Bundle("0.2"), Form::Bundle("0.1"), Form::Tag, Form::Referrer] {
        let signed = image("good");
        Draft::of(&signed, form, good()).make().push(&signed);
        let reason = node.allows(&signed, "ALLOWED");
        assert!(reason.contains("signed by \"signer@example.com\", by the word of \"https://accounts.example.com\""));
        by_pattern.allows(&signed, "ALLOWED");
    }
    node.refuses(&image("unsigned"), "DENIED", "no signature for verifier \"release\"");
}

#[test]
fn timestamps_of_rsa_and_ec_authorities_tell_when_something_in_rekor_2_was_signed() {
    needs!();
    for key in [OpensslKey::Rsa(3072), OpensslKey::Curve("P-256"), OpensslKey::Curve("P-384")] {
        let stamper = std::rc::Rc::new(TimestampAuthority::start(Settings { key, ..Settings::default() }));
        let certificates: Vec<Certificate> = ["tsa.pem", "root.pem"]
            .map(|name| fs::read(stamper.root().with_file_name(name)).unwrap())
            .iter()
            .flat_map(|pem| anchors(pem).unwrap())
            .collect();
        let at = now();
        let stamp = {
            let stamper = std::rc::Rc::clone(&stamper);
            move |signature: &[u8]| response(&stamper.stamp(signature, "sha256"))
        };
        let draft = Keyless::at(at).logged(&[TestLog::v2()]).stamped(stamp.clone());
        let site = Site::of(&root(&draft.root().timestamp_authority(&certificates), at));
        let node = Node::start(&from_file(&site.root(), IDENTITY));
        let signed = image("stamped");
        Draft::of(&signed, BUNDLE, draft.clone()).make().push(&signed);
        node.allows(&signed, "ALLOWED");
        let without = image("stamped");
        Draft::of(&without, BUNDLE, Keyless { stamps: Vec::new(), ..draft.clone() }).make().push(&without);
        node.refuses(
            &without,
            "DENIED",
            "and no transparency log and no timestamp authority that is trusted says when",
        );
        let late = image("stamped");
        let early_leaf = Keyless { leaf: shifted(at, -7200), ..draft };
        Draft::of(&late, BUNDLE, early_leaf).make().push(&late);
        node.refuses(&late, "DENIED", "certificate (empty name) expired at");
    }
}

/// A signer's certificate that begins so many seconds after a moment.
fn shifted(moment: u64, seconds: i64) -> Template {
    let start = moment.checked_add_signed(seconds).unwrap();
    Template { not_before: start, not_after: start + 600, ..fulcio_leaf(moment) }
}

/// What a denial is made of, and the words of its cause.
type Denial = (&'static str, fn(&Image) -> Made, &'static str);

fn bundle_of(image: &Image, keyless: Keyless) -> Made {
    Draft::of(image, BUNDLE, keyless).make()
}

/// A bundle of an image, with its first entry changed; the other entry is of another image, by the same signer.
fn with_entry(image: &Image, change: fn(&mut Value, &Value)) -> Made {
    let draft = Draft::of(image, BUNDLE, good());
    let (mut made, mut other) = (draft.make(), Draft { digest: sha256(b"another image"), ..draft }.make());
    let other = entries(other.bundle())[0].clone();
    change(&mut entries(made.bundle())[0], &other);
    made
}

fn stating(image: &Image, predicate_type: &str) -> Made {
    Draft { predicate_type: predicate_type.to_owned(), ..Draft::of(image, BUNDLE, good()) }.make()
}

fn named(name: &[u8]) -> Keyless {
    good().with(|leaf| leaf.with(alternative_names(&[crate::pki::testing::tlv(0x81, name)])))
}

const DENIALS: &[Denial] = &[
    (
        "an identity that only contains the wanted one",
        |image| bundle_of(image, named(b"signer@example.com.evil.example")),
        "the signer is \"signer@example.com.evil.example\", expected \"signer@example.com\"",
    ),
    (
        "another identity",
        |image| bundle_of(image, named(b"other@example.com")),
        "the signer is \"other@example.com\", expected \"signer@example.com\"",
    ),
    (
        "an expired certificate with no trusted time",
        |image| Draft { kept: Kept::Proof, ..Draft::of(image, BUNDLE, good()) }.make(),
        "the signer's certificate expired at",
    ),
    (
        "a time before the certificate",
        |image| bundle_of(image, Keyless { leaf: shifted(yesterday(), 60), ..good() }),
        "is valid from",
    ),
    (
        "a time after the certificate",
        |image| bundle_of(image, Keyless { leaf: shifted(yesterday(), -700), ..good() }),
        "certificate (empty name) expired at",
    ),
    (
        "no SCT",
        |image| bundle_of(image, Keyless { ct_log: None, ..good() }),
        "the certificate has no signed certificate timestamp (SCT) in it",
    ),
    (
        "an SCT of a foreign log",
        |image| {
            let log = CtLog { key: Key::get(Kind::P256, 0), ..CtLog::new() };
            bundle_of(image, Keyless { ct_log: Some(log), ..good() })
        },
        "the certificate's signed certificate timestamp (SCT) is of a log that is not trusted",
    ),
    (
        "the SET of another entry",
        |image| with_entry(image, |entry, other| entry["inclusionPromise"] = other["inclusionPromise"].clone()),
        "its inclusion promise (SET) is not signed by https://rekor.example over this body, time, log and index",
    ),
    (
        "the proof of another entry",
        |image| with_entry(image, |entry, other| entry["inclusionProof"] = other["inclusionProof"].clone()),
        "its body's way through the inclusion proof is",
    ),
    (
        "the entry of another signature",
        |image| with_entry(image, |entry, other| *entry = other.clone()),
        "an entry of a transparency log does not count: it is of another",
    ),
    (
        "a checkpoint of another log",
        |image| {
            with_entry(image, |entry, _| {
                let proof = &mut entry["inclusionProof"];
                let note = proof["checkpoint"]["envelope"].as_str().unwrap();
                let text = note.split("\n\n").next().unwrap().to_owned() + "\n";
                let other = TestLog::v1().with_key(Key::get(Kind::P256, 1)).with_host("other.example");
                proof["checkpoint"]["envelope"] = json!(format!("{text}\n{}", other.note_signature(&text)));
            })
        },
        "its checkpoint is not signed by https://rekor.example",
    ),
    (
        "an entry of a log that nobody trusts",
        |image| bundle_of(image, good().logged(&[TestLog::v1().with_key(Key::get(Kind::P256, 1))])),
        "it is of a log that is not trusted",
    ),
    (
        "no entry",
        |image| Draft { kept: Kept::All, ..Draft::of(image, BUNDLE, good().logged(&[])) }.make(),
        "no transparency log has the signature",
    ),
    (
        "a bundle of another image",
        |image| Draft { digest: sha256(b"another image"), ..Draft::of(image, BUNDLE, good()) }.make(),
        ", not of this image",
    ),
    (
        "a payload of another image",
        |image| Draft { digest: sha256(b"another image"), ..Draft::of(image, Form::Tag, good()) }.make(),
        ", not this image",
    ),
    (
        "an attestation in place of a signature",
        |image| stating(image, "https://spdx.dev/Document"),
        "it is an attestation (\"https://spdx.dev/Document\"), not a signature",
    ),
    (
        "an unknown predicate",
        |image| stating(image, "https://example.com/unknown"),
        "it is an attestation (\"https://example.com/unknown\"), not a signature",
    ),
    (
        "two DSSE signatures",
        |image| {
            let mut made = bundle_of(image, good());
            let signatures = made.bundle()["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
            signatures.push(signatures[0].clone());
            made
        },
        "a DSSE envelope with more or less than one signature",
    ),
    (
        "an authority that nobody trusts",
        |image| {
            let leaf = |leaf: Template| Template { issuer: "CN=another".to_owned(), ..leaf };
            bundle_of(image, Keyless { issuer: Key::get(Kind::P384, 2), ..good().with(leaf) })
        },
        "no trusted authority leads to it",
    ),
    (
        "a signature that does not fit",
        |image| {
            let draft = Draft::of(image, BUNDLE, good().logged(&[TestLog::v1()]));
            let mut made = draft.make();
            let mut other = Draft { digest: sha256(b"another image"), ..draft }.make();
            let signature = other.bundle()["dsseEnvelope"]["signatures"].clone();
            made.bundle()["dsseEnvelope"]["signatures"] = signature;
            made
        },
        "the signature does not fit: it was not made over this content",
    ),
];

#[test]
fn everything_that_is_wrong_is_refused_for_its_own_cause() {
    needs!();
    let site = Site::of(&everybody());
    let node = Node::start(&from_file(&site.root(), IDENTITY));
    for (what, make, cause) in DENIALS {
        println!("{what}");
        let image = image("denied");
        make(&image).push(&image);
        node.refuses(&image, "DENIED", cause);
    }
}

#[test]
fn another_issuer_or_a_wrong_key_is_refused_and_says_so() {
    needs!();
    let site = Site::of(&everybody());
    let signed = image("wrong");
    Draft::of(&signed, BUNDLE, good()).make().push(&signed);
    let issuer = format!("certificateIdentity = {SIGNER:?}, certificateOIDCIssuer = \"https://evil.example\"");
    let vouched = format!("the identity was vouched for by {ISSUER:?}, expected \"https://evil.example\"");
    Node::start(&from_file(&site.root(), &issuer)).refuses(&signed, "DENIED", &vouched);
    let key = format!("keys = [{{ name = \"release\", file = {:?} }}], ignoreTLog = true", keys().trusted.public());
    let node = Node::start(&from_file(&site.root(), &key));
    node.refuses(&signed, "DENIED", "the signature was not made over this content with release");
    let by_key = image("wrong");
    keys().stranger.sign(CosignForm::Bundle, &by_key.by_digest());
    node.refuses(&by_key, "DENIED", "and was not made over this content with release");
    Node::start(&from_file(&site.root(), IDENTITY)).refuses(&by_key, "DENIED", "the signature brings no certificate");
}

#[test]
fn more_signatures_than_the_limit_are_refused_and_say_so() {
    needs!();
    let site = Site::of(&everybody());
    let source = format!("file = {:?}", site.root());
    let node = Node::start(&configuration(&source, IDENTITY, "maxSignatures = 2"));
    let image = image("many");
    let bad = || bundle_of(&image, named(b"other@example.com"));
    (0..2).for_each(|_| bad().push(&image));
    node.refuses_as(&image, &image.by_digest(), "DENIED", "the signer is \"other@example.com\"");
    bad().push(&image);
    node.refuses_as(&image, &image.by_digest(), "DENIED", "there are more than 2 signatures of it");
}

#[test]
fn what_cosign_signs_with_a_key_and_enters_nowhere_is_refused_where_a_log_is_asked_for() {
    needs!();
    let site = Site::of(&everybody());
    let signer = &keys().trusted;
    let node = Node::start(&from_file(&site.root(), &format!("keys = {{ files = [{:?}] }}", signer.public())));
    for form in [CosignForm::Bundle, CosignForm::Tag] {
        let image = image("unlogged");
        signer.sign(form, &image.by_digest());
        node.refuses(&image, "DENIED", "no transparency log has the signature, and the policy asks for one");
    }
}

#[test]
fn a_trusted_root_that_loses_somebody_counts_at_the_next_pull() {
    needs!();
    let site = Site::of(&everybody());
    let node = Node::start(&from_file(&site.root(), IDENTITY));
    let signed = image("changed");
    Draft::of(&signed, BUNDLE, good()).make().push(&signed);
    let next = image("changed");
    Draft::of(&next, BUNDLE, good()).make().push(&next);
    node.allows_as(&signed, &signed.by_digest(), "ALLOWED");
    let mut without = everybody();
    without["certificateAuthorities"] = json!([]);
    site.trust(&without);
    node.refuses(&next, "DENIED", "the trusted root names no authority that issues certificates to signers");
    fs::remove_file(site.root()).unwrap();
    node.refuses(&next, "MISCONFIGURED", "trusted_root.json");
    site.trust(&json!({ "mediaType": everybody()["mediaType"] }));
    node.refuses(&next, "MISCONFIGURED", "there is no log and no authority in it");
    site.trust(&everybody());
    node.allows(&next, "ALLOWED");
}

#[test]
fn signers_of_an_own_authority_are_taken_by_subject_as_the_real_cosign_signs() {
    needs!();
    let (authority, stranger) = (Authority::create(), Authority::create());
    let key = notation::Key::Curve("P-256");
    let trusted = Signer::certified(&authority.signer(key, TRUSTED));
    let other = Signer::certified(&authority.signer(key, notation::OTHER));
    let foreign = Signer::certified(&stranger.signer(key, TRUSTED));
    let (brief, end) = authority.brief_signer(TRUSTED);
    let brief = Signer::certified(&brief);
    let host = &registries().referrers.host;
    let policy = format!(
        "certificateChain = {{ roots = [{:?}] }}, certificateSubject = \"O=ratifyd test,CN=release\", ignoreTLog = true",
        authority.certificate()
    );
    let node = Node::start(&format!(
        "[[executors]]\nscopes = [{host:?}]\n[[executors.verifiers]]\nname = \"release\"\ntype = \"cosign\"\n\
         parameters.trustPolicies = [{{ {policy} }}]\n"
    ));
    let ended: Vec<Image> = [CosignForm::Tag, CosignForm::Bundle]
        .map(|form| {
            let image = image("own");
            brief.sign_certified(form, &image.by_digest());
            image
        })
        .into();
    for form in CosignForm::ALL {
        for (signer, expected) in [
            (&trusted, None),
            (&other, Some("is none of the identities")),
            (&foreign, Some("its signature was not made by the key of")),
        ] {
            let image = image("own");
            signer.sign_certified(form, &image.by_digest());
            match expected {
                None => drop(node.allows(&image, "ALLOWED")),
                Some(cause) => drop(node.refuses(&image, "DENIED", cause)),
            }
        }
    }
    notation::wait_past(end);
    for image in ended {
        node.refuses(&image, "DENIED", "and no transparency log and no timestamp authority that is trusted says when");
    }
}
