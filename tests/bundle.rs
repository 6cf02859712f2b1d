//! `ratifyctl verify-bundle` as an operator calls it, over material of the generator that the crate's own tests use: the
//! line, the exit code, and what is asked for.

#[path = "../src/pki/testing/made.rs"]
pub mod certificates;
#[path = "../src/sigstore/testing.rs"]
pub mod signatures;

/// Where the generator looks for its crate.
pub mod pki {
    pub use crate::certificates as testing;
    pub use ratify::pki::*;
}
/// The same.
pub mod sigstore {
    pub use crate::signatures as testing;
    pub use ratify::sigstore::*;
}

use std::fs;
use std::path::Path;
use std::process::Command;

use certificates::{Key, Kind};
use serde_json::Value;
use signatures::bundles::{ARTIFACT, ISSUER, Keyless, SIGNER, by_key, statement_of};
use signatures::{hex, pem, sha256};
use tempfile::TempDir;

/// A folder with an artifact, a bundle of it, the trusted root and a key.
struct Folder(TempDir);

impl Folder {
    fn of(bundle: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("artifact"), ARTIFACT).unwrap();
        fs::write(folder.path().join("other"), b"another artifact").unwrap();
        fs::write(folder.path().join("bundle"), bundle.to_string()).unwrap();
        fs::write(folder.path().join("root"), Keyless::new().root().bytes()).unwrap();
        fs::write(folder.path().join("key"), pem("PUBLIC KEY", &Key::get(Kind::P256, 0).der())).unwrap();
        fs::write(folder.path().join("strange"), pem("PUBLIC KEY", &Key::get(Kind::P256, 1).der())).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Exit code and what is said.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
        command.current_dir(self.path()).args(["verify-bundle", "--bundle", "bundle"]).args(arguments);
        let output = command.env("NO_COLOR", "1").output().unwrap();
        let (said, complained) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        (output.status.code().unwrap(), said + &complained)
    }

    /// By [`SIGNER`], of the word of [`ISSUER`].
    fn keyless(&self, artifact: &str) -> (i32, String) {
        self.by(SIGNER, ISSUER, artifact)
    }

    fn by(&self, signer: &str, issuer: &str, artifact: &str) -> (i32, String) {
        let identity = ["--certificate-identity", signer, "--certificate-oidc-issuer", issuer];
        self.run(&[&identity[..], &["--trusted-root", "root", artifact]].concat())
    }
}

#[track_caller]
fn says((code, said): (i32, String), expected_code: i32, expected: &str) {
    assert!(code == expected_code && said.contains(expected), "expected {expected_code} {expected:?}: {code} {said}");
}

fn digest() -> String {
    format!("sha256:{}", hex(sha256(ARTIFACT)))
}

#[test]
fn a_keyless_bundle_of_a_file_or_of_its_digest_is_valid() {
    for bundle in
        [Keyless::new().message(ARTIFACT), Keyless::new().statement(&statement_of(&["00", &hex(sha256(ARTIFACT))]))]
    {
        let folder = Folder::of(&bundle);
        says(folder.keyless("artifact"), 0, "artifact: valid: signed by \"signer@example.com\"");
        says(folder.keyless(&digest()), 0, &format!("{}: valid", digest()));
        let (code, said) = folder.keyless("other");
        assert!(code == 1 && said.starts_with("other: not valid: ") && said.lines().count() == 1, "{said}");
        says(folder.keyless(&format!("sha256:{}", hex(sha256(b"another artifact")))), 1, "not valid");
    }
}

#[test]
fn another_signer_is_not_valid() {
    let folder = Folder::of(&Keyless::new().message(ARTIFACT));
    says(folder.by("other@example.com", ISSUER, "artifact"), 1, "not valid: the signer is \"signer@example.com\"");
    says(folder.by(SIGNER, "https://evil.example", "artifact"), 1, "not valid: the identity was vouched for by");
    let by_pattern = |signer: &str, issuer: &str| {
        let identity = ["--certificate-identity-regexp", signer, "--certificate-oidc-issuer-regexp", issuer];
        folder.run(&[&identity[..], &["--trusted-root", "root", "artifact"]].concat())
    };
    says(by_pattern(".*@example\\.com", "https://.*"), 0, "valid");
    says(by_pattern("signer", "https://.*"), 1, "not valid");
    says(by_pattern(".*", "https://.*"), 2, "--certificate-identity-regexp: every text matches it");
    says(by_pattern("(", "https://.*"), 2, "--certificate-identity-regexp: it is no regular expression");
    says(folder.run(&["--key", "key", "artifact"]), 1, "was not made over this content with key");
}

#[test]
fn a_bundle_by_a_key_is_valid_with_that_key() {
    let folder = Folder::of(&by_key(Key::get(Kind::P256, 0), ARTIFACT));
    says(folder.run(&["--key", "key", "artifact"]), 0, "artifact: valid: signed with key key");
    says(folder.run(&["--key", "key", "--trusted-root", "root", &digest()]), 0, "valid");
    says(folder.run(&["--key", "key", "other"]), 1, "not valid: the bundle is of another artifact");
    says(folder.run(&["--key", "strange", "artifact"]), 1, "not valid: the signature names another key");
    says(folder.keyless("artifact"), 1, "not valid: the signature brings no certificate");
}

#[test]
fn entries_of_a_bundle_by_a_key_are_judged_where_a_trusted_root_is_given() {
    let key = Key::get(Kind::P256, 0);
    let mut bundle = by_key(key, ARTIFACT);
    let elsewhere = Keyless::new().message(b"another artifact")["verificationMaterial"]["tlogEntries"].clone();
    bundle["verificationMaterial"]["tlogEntries"] = elsewhere;
    let folder = Folder::of(&bundle);
    says(folder.run(&["--key", "key", "artifact"]), 0, "valid");
    says(folder.run(&["--key", "key", "--trusted-root", "root", "artifact"]), 1, "not valid");
}

#[test]
fn a_certificate_log_must_have_the_certificate_where_the_root_names_one() {
    let untold = Keyless { ct_log: None, ..Keyless::new() };
    let folder = Folder::of(&untold.message(ARTIFACT));
    says(folder.keyless("artifact"), 1, "SCT");
    fs::write(folder.path().join("root"), untold.root().bytes()).unwrap();
    says(folder.keyless("artifact"), 0, "valid: ");
    // A certificate that some log was told of is not one of an authority that tells none.
    let folder = Folder::of(&Keyless::new().message(ARTIFACT));
    fs::write(folder.path().join("root"), untold.root().bytes()).unwrap();
    says(folder.keyless("artifact"), 1, "of a log that is not trusted");
}

#[test]
fn wrong_usage_says_what_is_missing_and_the_public_root_knows_no_stranger() {
    let folder = Folder::of(&Keyless::new().message(ARTIFACT));
    let identity = ["--certificate-identity", SIGNER, "--certificate-oidc-issuer", ISSUER];
    says(folder.run(&[&identity[..], &["artifact"]].concat()), 1, "not valid: ");
    says(folder.run(&["artifact"]), 2, "--certificate-identity");
    says(
        folder.run(&["--certificate-identity", SIGNER, "--trusted-root", "root", "artifact"]),
        2,
        "--certificate-oidc-issuer",
    );
    says(folder.run(&[&identity[..], &["--key", "key", "artifact"]].concat()), 2, "cannot be used with");
    says(folder.run(&["--key", "key"]), 2, "FILE|sha256:HEX");
    says(folder.run(&["--key", "key", "missing"]), 2, "the file missing: ");
    says(folder.run(&["--key", "missing", "artifact"]), 2, "the key missing: ");
    says(folder.run(&["--key", "root", "artifact"]), 2, "root: there are 0 keys in it");
    says(folder.run(&["--key", "key", "--trusted-root", "key", "artifact"]), 2, "key: it is not JSON");
    says(folder.run(&["--key", "key", "sha256:00"]), 2, "\"sha256:00\" is no digest");
    fs::write(folder.path().join("bundle"), "{}").unwrap();
    says(folder.run(&["--key", "key", "artifact"]), 1, "not valid: the bundle states media type \"\"");
    fs::remove_file(folder.path().join("bundle")).unwrap();
    says(folder.run(&["--key", "key", "artifact"]), 2, "the bundle bundle: ");
}
