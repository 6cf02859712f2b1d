//! Keys that sign with the real cosign, in every form that it writes without a public service. It never reaches one: all
//! that is not on this machine is behind a proxy that nobody runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::notation::{Key, new_key};
use super::tools::{Ran, run, shared_folder, tool};

/// How cosign keeps what it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Sigstore bundle as a referrer, as cosign 3 does.
    Bundle,
    /// A manifest at a tag, as cosign did before.
    Tag,
    /// The same as a referrer.
    Referrer,
}

impl Form {
    /// Those in which images are signed.
    pub const ALL: [Self; 3] = [Self::Bundle, Self::Tag, Self::Referrer];

    fn arguments(self) -> &'static [&'static str] {
        // Without the second flag of each the other one would write to the public log.
        const OLD: [&str; 3] = ["--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format=false"];
        match self {
            Self::Bundle => &["--use-signing-config=false", "--tlog-upload=false"],
            Self::Tag => &OLD,
            Self::Referrer => &[OLD[0], OLD[1], OLD[2], "--registry-referrers-mode=oci-1-1"],
        }
    }
}

/// A key that signs.
pub struct Signer {
    folder: PathBuf,
}

/// Keys that all tests of a process share.
pub struct Keys {
    /// Trusted.
    pub trusted: Signer,
    /// Trusted too, of somebody else.
    pub second: Signer,
    /// Trusted by nobody.
    pub stranger: Signer,
}

/// The shared keys; they are made by whoever asks first.
pub fn keys() -> &'static Keys {
    static SHARED: OnceLock<Keys> = OnceLock::new();
    let key = || Signer::create(Key::Curve("P-256"));
    SHARED.get_or_init(|| Keys { trusted: key(), second: key(), stranger: key() })
}

impl Signer {
    /// A new key, which openssl makes and cosign imports.
    pub fn create(key: Key) -> Self {
        let signer = Self { folder: shared_folder() };
        new_key(&signer.folder.join("private.pem"), key);
        run(&mut signer.cosign(&["import-key-pair", "-y", "--key", "private.pem", "--output-key-prefix", "cosign"]))
            .success();
        signer
    }

    /// The same with the key of somebody who has a certificate of an own authority's.
    pub fn certified(signer: &super::notation::Signer) -> Self {
        let own = Self { folder: signer.folder().to_owned() };
        run(&mut own.cosign(&["import-key-pair", "-y", "--key", "leaf.key", "--output-key-prefix", "cosign"]))
            .success();
        let chain = fs::read_to_string(own.folder.join("leaf.chain")).unwrap();
        let leaf = fs::read_to_string(own.folder.join("leaf.crt")).unwrap();
        fs::write(own.folder.join("above.pem"), chain.strip_prefix(&leaf).unwrap()).unwrap();
        own
    }

    /// Signs an image in its registry, with the certificate beside the signature.
    pub fn sign_certified(&self, form: Form, reference: &str) {
        let certificate = ["--certificate", "leaf.crt", "--certificate-chain", "above.pem"];
        self.sign_with(form, reference, &certificate, None);
    }

    /// The file with its public key.
    pub fn public(&self) -> PathBuf {
        self.folder.join("cosign.pub")
    }

    /// Signs an image in its registry.
    pub fn sign(&self, form: Form, reference: &str) {
        self.sign_with(form, reference, &[], None);
    }

    /// Signs an image in its registry, with more arguments for cosign and with another repository for its signatures.
    pub fn sign_with(&self, form: Form, reference: &str, arguments: &[&str], repository: Option<&str>) {
        let mut cosign = self.cosign(&["sign", "-y", "--key", "cosign.key", "--allow-http-registry"]);
        cosign.args(form.arguments()).args(arguments).arg(reference);
        repository.map(|repository| cosign.env("COSIGN_REPOSITORY", repository));
        run(&mut cosign).success();
    }

    /// Attests something of an image in its registry: `https://spdx.dev/Document`.
    pub fn attest(&self, form: Form, reference: &str) {
        let predicate = self.folder.join("predicate.json");
        fs::write(&predicate, r#"{"spdxVersion":"SPDX-2.3"}"#).unwrap();
        let mut cosign = self.cosign(&["attest", "-y", "--key", "cosign.key", "--allow-http-registry"]);
        cosign.args(["--type", "spdxjson", "--predicate"]).arg(predicate).args(form.arguments()).arg(reference);
        run(&mut cosign).success();
    }

    /// Has cosign judge an image by this key alone.
    pub fn verify(&self, form: Form, reference: &str) -> Ran {
        let mut cosign =
            self.cosign(&["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", "--allow-http-registry"]);
        cosign.args((form != Form::Bundle).then_some("--new-bundle-format=false"));
        run(cosign.arg(reference))
    }

    fn cosign(&self, arguments: &[&str]) -> Command {
        command(&self.folder, arguments)
    }
}

/// The real cosign, which reaches this machine and nothing else.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut cosign = Command::new(tool("cosign"));
    cosign.current_dir(folder).env("HOME", folder).env("COSIGN_PASSWORD", "").env("COSIGN_EXPERIMENTAL", "1");
    for name in ["HTTPS_PROXY", "HTTP_PROXY"] {
        cosign.env(name, "http://127.0.0.1:1");
    }
    cosign.env("NO_PROXY", "127.0.0.1").env_remove("COSIGN_REPOSITORY").args(arguments);
    cosign
}
