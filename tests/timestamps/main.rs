//! Timestamp countersignatures as the real notation makes them, at a real authority of openssl on loopback: ratifyd and
//! notation come to the same of each. Needs root and the tools of `tests/tools/fetch`; without them each test says that
//! it is skipped, and fails with `CI=true`.

#[path = "../common/mod.rs"]
pub mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::notation::{Authority, Key, Signer, TRUSTED, wait_past};
use common::tools::{Ran, run, shared_folder, tool};
use common::tsa::{Settings, TimestampAuthority};
use ratify::artifact::Descriptor;
use ratify::config::StoreType;
use ratify::pki::timestamp::{self, Timestamp};
use ratify::pki::{Certificate, anchors_from_pem};
use ratify::report::Outcome;
use ratify::verifier::notation::{Trust, verify_envelope};
use serde_json::{Value, json};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const SCOPE: &str = "localhost:5000/stamped";

/// An artifact in a layout of its own.
struct Layout {
    folder: PathBuf,
    subject: Value,
}

impl Layout {
    fn new() -> Self {
        let folder = shared_folder();
        fs::create_dir_all(folder.join("layout/blobs/sha256")).unwrap();
        let empty = blob(&folder, b"{}", EMPTY);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "artifactType": "application/x.stamped",
            "config": empty, "layers": [empty],
        });
        let subject = blob(&folder, manifest.to_string().as_bytes(), IMAGE);
        fs::write(folder.join("layout/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        fs::write(folder.join("layout/index.json"), json!({"schemaVersion": 2, "manifests": [subject]}).to_string())
            .unwrap();
        Self { folder, subject }
    }

    fn reference(&self) -> String {
        format!("{}@{}", self.folder.join("layout").display(), self.subject["digest"].as_str().unwrap())
    }

    fn blob(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
        self.folder.join("layout/blobs").join(digest)
    }

    fn read(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(&fs::read(self.blob(descriptor)).unwrap()).unwrap()
    }

    /// Its index, and in it the one signature.
    fn index(&self) -> (Value, usize) {
        let index: Value = serde_json::from_slice(&fs::read(self.folder.join("layout/index.json")).unwrap()).unwrap();
        let entries = index["manifests"].as_array().unwrap();
        let found = entries.iter().position(|entry| self.read(entry)["subject"].is_object()).unwrap();
        (index, found)
    }

    /// The one envelope in it.
    fn envelope(&self) -> PathBuf {
        let (index, found) = self.index();
        self.blob(&self.read(&index["manifests"][found])["layers"][0])
    }

    /// Puts another envelope in its place.
    fn replace_envelope(&self, envelope: &[u8]) {
        let (mut index, found) = self.index();
        let mut manifest = self.read(&index["manifests"][found]);
        manifest["layers"][0] = blob(&self.folder, envelope, manifest["layers"][0]["mediaType"].as_str().unwrap());
        let described = blob(&self.folder, manifest.to_string().as_bytes(), IMAGE);
        for name in ["digest", "size"] {
            index["manifests"][found][name] = described[name].clone();
        }
        fs::write(self.folder.join("layout/index.json"), index.to_string()).unwrap();
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor::parse(self.subject.to_string().as_bytes()).unwrap()
    }
}

fn blob(folder: &Path, bytes: &[u8], media_type: &str) -> Value {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(folder.join("layout/blobs/sha256").join(&hex), bytes).unwrap();
    json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() })
}

fn notation(home: &Path) -> Command {
    let mut command = Command::new(tool("notation"));
    command
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .env("XDG_CACHE_HOME", home)
        .env("NOTATION_EXPERIMENTAL", "1");
    command
}

/// Signs in a new layout, with a timestamp.
fn sign(signer: &Signer, authority: &TimestampAuthority, format: &str) -> Layout {
    let layout = Layout::new();
    let root = authority.root().display().to_string();
    run(notation(signer.home())
        .args(["sign", "--oci-layout", "--signature-format", format])
        .args(["--timestamp-url", &authority.url(), "--timestamp-root-cert", &root])
        .arg(layout.reference()))
    .success();
    layout
}

/// What notation says of the signatures in a layout.
fn notation_verify(layout: &Layout, ca: &Path, tsa: &Path) -> Ran {
    let home = shared_folder();
    for (kind, file) in [("ca", ca), ("tsa", tsa)] {
        let store = home.join("notation/truststore/x509").join(kind).join("test");
        fs::create_dir_all(&store).unwrap();
        fs::copy(file, store.join("root.pem")).unwrap();
    }
    let policy = json!({
        "version": "1.0",
        "trustPolicies": [{
            "name": "test", "registryScopes": ["*"], "signatureVerification": { "level": "strict" },
            "trustStores": ["ca:test", "tsa:test"], "trustedIdentities": ["*"],
        }],
    });
    fs::write(home.join("notation/trustpolicy.json"), policy.to_string()).unwrap();
    run(notation(&home).args(["verify", "--oci-layout", "--scope", SCOPE]).arg(layout.reference()))
}

fn certificates(file: &Path) -> Vec<Certificate> {
    anchors_from_pem(&fs::read(file).unwrap()).unwrap()
}

/// What ratifyd says of the envelope in a layout.
fn ratify_verify(layout: &Layout, ca: &Path, tsa: &Path, now: SystemTime) -> Outcome {
    let stores = vec![(StoreType::Ca, certificates(ca)), (StoreType::Tsa, certificates(tsa))];
    let trust = Trust::of(stores, &["*".to_owned()]).unwrap();
    let envelope = fs::read(layout.envelope()).unwrap();
    verify_envelope("application/jose+json", &envelope, &layout.descriptor(), &trust, now)
}

/// The signature and the token in a JWS or COSE envelope.
fn parts(envelope: &[u8], format: &str) -> (Vec<u8>, Vec<u8>) {
    if format == "jws" {
        let envelope: Value = serde_json::from_slice(envelope).unwrap();
        let token = envelope["header"]["io.cncf.notary.timestampSignature"].as_str().unwrap();
        let signature = envelope["signature"].as_str().unwrap();
        return (URL_SAFE_NO_PAD.decode(signature).unwrap(), STANDARD.decode(token).unwrap());
    }
    // COSE_Sign1 (RFC 9052, section 4.2): the signature is the last byte string. ES256: 64 bytes, 0x58 0x40 before them.
    let (head, signature) = envelope.split_at(envelope.len() - 64);
    assert!(head.ends_with(&[0x58, 0x40]));
    let name = b"io.cncf.notary.timestampSignature";
    let at = envelope.windows(name.len()).position(|bytes| bytes == name).unwrap() + name.len();
    // A byte string with two bytes of length (RFC 8949, section 3).
    let [0x59, high, low] = envelope[at..at + 3] else { panic!("{:?}", &envelope[at..at + 3]) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    (signature.to_vec(), envelope[at + 3..at + 3 + length].to_vec())
}

fn passed(outcome: Outcome) {
    assert!(matches!(outcome, Outcome::Passed(_)), "{outcome:?}");
}

fn refused(outcome: Outcome, expected: &str) {
    match outcome {
        Outcome::Failed(failure) => assert!(failure.cause.contains(expected), "{expected:?}: {failure:?}"),
        other => panic!("{expected:?}: {other:?}"),
    }
}

const KEYS: [(Key, &str); 6] = [
    (Key::Rsa(2048), "sha256"),
    (Key::Rsa(3072), "sha384"),
    (Key::Rsa(4096), "sha512"),
    (Key::Curve("P-256"), "sha256"),
    (Key::Curve("P-384"), "sha384"),
    (Key::Curve("P-521"), "sha512"),
];

#[test]
fn stamped_signatures_of_notation_pass_by_authorities_of_every_kind_of_key() {
    needs!();
    let authority = Authority::create();
    let signer = authority.signer(Key::Curve("P-256"), TRUSTED);
    let stranger = TimestampAuthority::start(Settings::default());
    for (key, digest) in KEYS {
        let tsa = TimestampAuthority::start(Settings { key, digest, ..Settings::default() });
        for format in ["jws", "cose"] {
            let layout = sign(&signer, &tsa, format);
            notation_verify(&layout, &authority.certificate(), &tsa.root()).success();
            let other = notation_verify(&layout, &authority.certificate(), &stranger.root());
            assert_ne!(other.code, Some(0), "{other:?}");
            let (signature, token) = parts(&fs::read(layout.envelope()).unwrap(), format);
            let found = timestamp::verify(&token, &signature, &certificates(&tsa.root())).unwrap();
            assert_eq!(
                found.latest.duration_since(found.earliest).unwrap(),
                Duration::from_secs(2),
                "{key:?} {format}"
            );
            assert!(timestamp::verify(&token, &signature, &certificates(&stranger.root())).is_err());
            assert!(timestamp::verify(&token, b"something else", &certificates(&tsa.root())).is_err());
            if format == "jws" {
                let now = SystemTime::now();
                passed(ratify_verify(&layout, &authority.certificate(), &tsa.root(), now));
                let other = ratify_verify(&layout, &authority.certificate(), &stranger.root(), now);
                refused(other, "the timestamp countersignature does not count: its authority");
            }
        }
    }
}

#[test]
fn a_stamped_signature_outlives_its_certificate_for_notation_and_for_ratifyd() {
    needs!();
    let authority = Authority::create();
    let tsa = TimestampAuthority::start(Settings { accuracy: "", ..Settings::default() });
    let (signer, end) = authority.brief_signer(TRUSTED);
    let layout = sign(&signer, &tsa, "jws");
    wait_past(end);
    notation_verify(&layout, &authority.certificate(), &tsa.root()).success();
    passed(ratify_verify(&layout, &authority.certificate(), &tsa.root(), SystemTime::now()));
}

#[test]
fn a_signature_that_may_have_been_made_after_its_certificate_ended_is_refused_by_notation_and_by_ratifyd() {
    needs!();
    let authority = Authority::create();
    let (signer, _) = authority.brief_signer(TRUSTED);
    // So inaccurate that the end of the certificate lies within.
    let tsa = TimestampAuthority::start(Settings { accuracy: "secs:600", ..Settings::default() });
    let layout = sign(&signer, &tsa, "jws");
    let said = notation_verify(&layout, &authority.certificate(), &tsa.root());
    assert_ne!(said.code, Some(0), "{said:?}");
    let found = ratify_verify(&layout, &authority.certificate(), &tsa.root(), SystemTime::now());
    refused(found, "by its timestamp, and certificate");
}

#[test]
fn a_timestamp_of_another_signature_is_refused_by_notation_and_by_ratifyd() {
    needs!();
    let authority = Authority::create();
    let tsa = TimestampAuthority::start(Settings::default());
    let signer = authority.signer(Key::Curve("P-256"), TRUSTED);
    let layout = sign(&signer, &tsa, "jws");
    let put = |token: &[u8]| {
        let mut envelope: Value = serde_json::from_slice(&fs::read(layout.envelope()).unwrap()).unwrap();
        envelope["header"]["io.cncf.notary.timestampSignature"] = STANDARD.encode(token).into();
        layout.replace_envelope(envelope.to_string().as_bytes());
        let found = ratify_verify(&layout, &authority.certificate(), &tsa.root(), SystemTime::now());
        (notation_verify(&layout, &authority.certificate(), &tsa.root()).code, found)
    };
    let (signature, truth) = parts(&fs::read(layout.envelope()).unwrap(), "jws");
    let (code, found) = put(&tsa.stamp(b"another signature", "sha256"));
    assert_ne!(code, Some(0));
    refused(found, "it stamps something else than this signature");
    for digest in ["sha256", "sha384", "sha512"] {
        let token = tsa.stamp(&signature, digest);
        assert!(timestamp::verify(&token, &signature, &certificates(&tsa.root())).is_ok(), "{digest}");
    }
    let (code, found) = put(&truth);
    assert_eq!(code, Some(0));
    passed(found);
}

#[test]
fn what_a_timestamp_says_makes_the_range() {
    needs!();
    let baseline = "0.4.0.2023.1.1";
    for (policy, accuracy, expected) in [
        ("1.3.6.1.4.1.55555.2", "", Duration::ZERO),
        (baseline, "", Duration::from_secs(1)),
        (baseline, "secs:3", Duration::from_secs(3)),
        (baseline, "millisecs:999,microsecs:999", Duration::from_micros(999_999)),
        ("1.3.6.1.4.1.55555.2", "secs:86400", Duration::from_secs(86400)),
    ] {
        let tsa = TimestampAuthority::start(Settings { policy, accuracy, ..Settings::default() });
        let before = SystemTime::now() - Duration::from_secs(1);
        let token = tsa.stamp(b"stamped", "sha256");
        let Timestamp { at, earliest, latest, chain } =
            timestamp::verify(&token, b"stamped", &certificates(&tsa.root())).unwrap();
        assert_eq!(latest.duration_since(earliest).unwrap(), expected * 2, "{policy} {accuracy}");
        assert_eq!(at, earliest + expected);
        assert!(before <= at && at <= SystemTime::now(), "{at:?}");
        assert_eq!(chain.len(), 2);
    }
}
