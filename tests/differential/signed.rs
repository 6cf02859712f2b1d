//! Signatures that the real `notation sign` makes, in both envelopes, by every kind of key, with what it can add:
//! an end, metadata, a timestamp of `openssl ts`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::authorities::authorities;
use super::certificates::Template;
use super::clock::days;
use super::common::tools::{run, shared_folder, tool, until};
use super::envelopes::Format;
use super::keys::{Key, Kind, pem};
use super::oracle::{Expected, Part};
use super::tokens::Stamper;
use super::trials::{Attached, Question, Statement, StoreType, Trial, image};

const LEAF: &str = "CN=signer,O=acme,ST=WA,C=US";
const ROOT: &str = "CN=signed root,O=acme,ST=WA,C=US";

/// A key as notation knows it, and its root.
struct Signer {
    kind: Kind,
    chain: Vec<Vec<u8>>,
}

impl Signer {
    fn until(kind: Kind, end: u64) -> Self {
        let (key, root_key) = (Key::get(kind, 0), Key::get(kind.issuer(), 1));
        let root = Template::ca(ROOT, ROOT, (days(-100), days(100))).sign(root_key, root_key);
        let leaf = Template::leaf(LEAF, ROOT, (days(-100), end)).sign(key, root_key);
        Self { kind, chain: vec![leaf, root] }
    }

    /// An envelope that notation makes.
    fn sign(&self, format: Format, arguments: &[&str]) -> Attached {
        // An image without signatures, and whatever policy: only the layout is used.
        let statement = Statement::strict(Vec::new());
        let trial =
            Trial::lay(Question::new("to be signed", Vec::new(), statement, Expected::allow()), &shared_folder(), 0);
        let path = |name: &str| trial.notation().join(name).display().to_string();
        fs::write(path("leaf.key"), Key::get(self.kind, 0).pem()).unwrap();
        let chain: String = self.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        fs::write(path("leaf.pem"), chain).unwrap();
        let keys = json!({
            "default": "leaf",
            "keys": [{ "name": "leaf", "keyPath": path("leaf.key"), "certPath": path("leaf.pem") }],
        });
        fs::write(path("signingkeys.json"), keys.to_string()).unwrap();
        let mut notation = Command::new(tool("notation"));
        let home = &trial.folder;
        notation.env("HOME", home).env("XDG_CONFIG_HOME", home).env("XDG_CACHE_HOME", home);
        notation.env("NOTATION_EXPERIMENTAL", "1").args(["sign", "--oci-layout", "--signature-format"]);
        notation.arg(if format == Format::Jws { "jws" } else { "cose" }).args(arguments).arg(trial.reference());
        run(&mut notation).success();
        envelope(&trial.path(), format)
    }

    fn trusted(&self, stamped: bool) -> Statement {
        let mut stores = vec![(StoreType::Ca, "acme".to_owned(), vec![self.chain[1].clone()])];
        if stamped {
            stores.push((StoreType::Tsa, "time".to_owned(), vec![Stamper::root()]));
        }
        Statement { identities: vec!["x509.subject: C=US, ST=WA, O=acme".to_owned()], ..Statement::strict(stores) }
    }
}

/// The envelope of the one signature in a layout.
fn envelope(layout: &Path, format: Format) -> Attached {
    let blob = |digest: &Value| {
        let (_, hex) = digest.as_str().unwrap().split_once(':').unwrap();
        fs::read(layout.join("blobs/sha256").join(hex)).unwrap()
    };
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    let signature = manifests.iter().find(|entry| entry["digest"] != image()["digest"]).unwrap();
    let manifest: Value = serde_json::from_slice(&blob(&signature["digest"])).unwrap();
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], json!(format.media_type()));
    Attached::new(format.media_type(), blob(&layer["digest"]))
}

/// All questions. Some certificates have expired when this returns.
pub fn questions() -> Vec<Question> {
    let mut questions = Vec::new();
    let root = shared_folder().join("time.pem");
    fs::write(&root, pem("CERTIFICATE", &Stamper::root())).unwrap();
    let root = root.display().to_string();
    for format in [Format::Jws, Format::Cose] {
        for kind in Kind::ALL {
            let signer = Signer::until(kind, days(100));
            let named = |what: &str| format!("notation sign, {kind:?} {format:?}, {what}");
            let ask = |what: &str, signature: &Attached, statement: Statement, expected: Expected| {
                Question::new(named(what), vec![signature.clone()], statement, expected)
            };
            let plain = signer.sign(format, &["--expiry", "24h", "--user-metadata", "build=7"]);
            questions.push(ask("with an end", &plain, signer.trusted(false), Expected::allow()));
            questions.push(ask("no timestamp", &plain, signer.trusted(true), Expected::deny(Part::Timestamp)));
            let other = Statement {
                identities: vec!["x509.subject: C=US, ST=WA, O=other".to_owned()],
                ..signer.trusted(false)
            };
            questions.push(ask("other identity", &plain, other, Expected::deny(Part::Identity)));
            for (value, expected) in [("7", Expected::allow()), ("8", Expected::deny(Part::Metadata))] {
                let metadata = vec![("build".to_owned(), value.to_owned())];
                questions.push(Question { metadata, ..ask("with metadata", &plain, signer.trusted(false), expected) });
            }
            for authority in ["rsa", "ec"] {
                let url = authorities().stamper(authority);
                let arguments = ["--timestamp-url", &url, "--timestamp-root-cert", &root];
                let stamped = signer.sign(format, &arguments);
                questions.push(ask("stamped", &stamped, signer.trusted(true), Expected::allow()));
                let mut stranger = signer.trusted(true);
                stranger.stores[1].2 = vec![Stamper::stranger().chain[1].clone()];
                questions.push(ask("stamped by a stranger", &stamped, stranger, Expected::deny(Part::Timestamp)));
            }
        }
    }
    questions.extend(expired(&root));
    questions
}

/// Signatures whose certificate has expired since they were made and stamped.
fn expired(root: &str) -> Vec<Question> {
    // Both keys of authorities are there before the seconds count.
    let urls = ["rsa", "ec"].map(|authority| authorities().stamper(authority));
    let end = seconds() + 3;
    let made: Vec<_> = [(Kind::P256, Format::Jws), (Kind::P384, Format::Cose)]
        .into_iter()
        .zip(&urls)
        .map(|((kind, format), url)| {
            let signer = Signer::until(kind, end);
            let signature = signer.sign(format, &["--timestamp-url", url, "--timestamp-root-cert", root]);
            (format!("notation sign, {kind:?} {format:?}, expired since"), signer, signature)
        })
        .collect();
    until("the end of certificates", || seconds() > end + 1);
    let mut questions = Vec::new();
    for (name, signer, signature) in made {
        let mut ask = |statement: Statement, expected: Expected| {
            questions.push(Question::new(name.clone(), vec![signature.clone()], statement, expected));
        };
        ask(signer.trusted(true), Expected::allow());
        ask(signer.trusted(false), Expected::deny(Part::Timestamp));
        let after = Statement { verify_timestamp: Some("afterCertExpiry".to_owned()), ..signer.trusted(true) };
        ask(after, Expected::allow());
    }
    questions
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
