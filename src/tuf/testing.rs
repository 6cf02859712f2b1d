//! A TUF repository for tests: written into a folder, signed by keys of its own, and mirrored over http. Beside the crate's
//! own tests it serves the end-to-end ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use sigstore_tuf::canonical_json;

/// A repository that is written into a folder.
pub struct Repo {
    pub folder: tempfile::TempDir,
    pub keys: BTreeMap<&'static str, Ed25519KeyPair>,
    pub first_root: Vec<u8>,
}

pub const ROLES: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];
pub const TARGET: &str = "trusted_root.json";
pub const LATER: &str = "2999-01-01T00:00:00Z";

impl Repo {
    /// One whose first version has a target.
    pub fn of(target: &[u8]) -> Self {
        let key = || Ed25519KeyPair::generate().unwrap();
        let keys = ROLES.map(|role| (role, key())).into();
        let mut repo = Self { folder: tempfile::tempdir().unwrap(), keys, first_root: Vec::new() };
        repo.first_root = repo.signed(&repo.root(1), &["root"]);
        repo.publish(1, target, LATER);
        repo
    }

    pub fn root(&self, version: u64) -> Value {
        let keys = self.keys.iter().map(|(role, key)| {
            let public: String = key.public_key().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            (id(role, key), json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": public } }))
        });
        let keys: BTreeMap<_, _> = keys.collect();
        let roles: BTreeMap<_, _> = (self.keys.iter())
            .map(|(role, key)| (*role, json!({ "keyids": [id(role, key)], "threshold": 1 })))
            .collect();
        json!({
            "_type": "root", "spec_version": "1.0.31", "version": version, "expires": LATER,
            "consistent_snapshot": true, "keys": keys, "roles": roles,
        })
    }

    fn signed(&self, signed: &Value, by: &[&str]) -> Vec<u8> {
        let by: Vec<_> = by.iter().map(|role| (id(role, &self.keys[role]), &self.keys[role])).collect();
        sign(signed, &by)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Publishes a version of everything but the root.
    pub fn publish(&self, version: u64, target: &[u8], expires: &str) {
        let hash = hex(target);
        self.write(&format!("targets/{hash}.{TARGET}"), target);
        let listing = json!({ TARGET: { "length": target.len(), "hashes": { "sha256": hash } } });
        self.publish_listing(version, &listing, expires);
    }

    pub fn publish_listing(&self, version: u64, targets: &Value, expires: &str) {
        let role = |kind: &str, rest: Value| {
            let mut role = json!({ "_type": kind, "spec_version": "1.0.31", "version": version, "expires": expires });
            role.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            self.signed(&role, &[kind])
        };
        let meta = |name: &str| json!({ "meta": { name: { "version": version } } });
        self.write(&format!("{version}.targets.json"), &role("targets", json!({ "targets": targets })));
        self.write(&format!("{version}.snapshot.json"), &role("snapshot", meta("targets.json")));
        // What is read first comes last: whoever reads meanwhile sees one version or the other.
        self.write("timestamp.json", &role("timestamp", meta("snapshot.json")));
    }
}

pub fn id(role: &str, key: &Ed25519KeyPair) -> String {
    format!("{role}-{}", &hex(key.public_key().as_ref())[..8])
}

/// The SHA-256, in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn sign(signed: &Value, by: &[(String, &Ed25519KeyPair)]) -> Vec<u8> {
    let message = canonical_json::to_canonical_bytes(signed).unwrap();
    let signatures: Vec<_> = (by.iter())
        .map(|(id, key)| {
            let signature: String = key.sign(&message).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "keyid": id, "sig": signature })
        })
        .collect();
    serde_json::to_vec(&json!({ "signatures": signatures, "signed": signed })).unwrap()
}

/// Mirrors a folder over http until the process ends, and says where. A file that holds `broken` is none that it can serve.
pub fn served(folder: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, folder) = (format!("http://{}/mirror", listener.local_addr().unwrap()), folder.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4096];
            let Ok(length) = stream.read(&mut request) else { continue };
            let line = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches("/mirror/");
            let (status, body) = match fs::read(folder.join(path)) {
                Ok(body) if body == b"broken" => ("500 Broken", Vec::new()),
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            // Whoever asked may have gone.
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    url
}
