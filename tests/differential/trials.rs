//! One question for both judges: an image with its signatures in an OCI layout, and the trust policy and trust stores
//! by which it is judged. Everything lies in a folder of its own, as notation wants it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::common::plugins::install;
use super::common::registries::sha256;
use super::oracle::Expected;
use super::reviewed::Condition;

/// The repository that the policies are about.
pub const SCOPE: &str = "registry.example/acme/app";

/// A type of trust store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreType {
    /// For signers.
    Ca,
    /// For services that sign for others.
    SigningAuthority,
    /// For timestamps.
    Tsa,
}

impl StoreType {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::SigningAuthority => "signingAuthority",
            Self::Tsa => "tsa",
        }
    }
}

/// A statement of a trust policy.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Whose images.
    pub scopes: Vec<String>,
    /// The level.
    pub level: String,
    /// What differs from it.
    pub overrides: Vec<(String, String)>,
    /// When timestamps are looked at.
    pub verify_timestamp: Option<String>,
    /// The trust stores, with their certificates.
    pub stores: Vec<(StoreType, String, Vec<Vec<u8>>)>,
    /// Whose signatures count.
    pub identities: Vec<String>,
}

impl Statement {
    /// Strict, for everybody.
    pub fn strict(stores: Vec<(StoreType, String, Vec<Vec<u8>>)>) -> Self {
        Self {
            scopes: vec![SCOPE.to_owned()],
            level: "strict".to_owned(),
            overrides: Vec::new(),
            verify_timestamp: None,
            stores,
            identities: vec!["*".to_owned()],
        }
    }

    fn document(&self, name: &str) -> Value {
        let mut verification = Map::new();
        verification.insert("level".to_owned(), json!(self.level));
        if !self.overrides.is_empty() {
            let overrides: Map<String, Value> =
                self.overrides.iter().map(|(name, action)| (name.clone(), json!(action))).collect();
            verification.insert("override".to_owned(), Value::Object(overrides));
        }
        if let Some(when) = &self.verify_timestamp {
            verification.insert("verifyTimestamp".to_owned(), json!(when));
        }
        let mut document = json!({
            "name": name, "registryScopes": self.scopes, "signatureVerification": verification,
        });
        // A statement that skips has neither.
        if self.level != "skip" {
            let stores = self.stores.iter().map(|(kind, name, _)| format!("{}:{name}", kind.as_str()));
            document["trustStores"] = json!(stores.collect::<Vec<_>>());
            document["trustedIdentities"] = json!(self.identities);
        }
        document
    }
}

/// A signature as it is attached to an image.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The media type that its manifest states.
    pub media_type: String,
    /// The envelope.
    pub envelope: Vec<u8>,
    /// Whether the manifest is in the older form, with the type as its config's media type.
    pub legacy: bool,
    /// What is changed in the manifest.
    pub change: Option<fn(&mut Value)>,
}

impl Attached {
    /// As notation attaches it.
    pub fn new(media_type: &str, envelope: Vec<u8>) -> Self {
        Self { media_type: media_type.to_owned(), envelope, legacy: true, change: None }
    }
}

/// A question to be asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is asked, in words: it tells one failure from another.
    pub name: String,
    /// The signatures.
    pub signatures: Vec<Attached>,
    /// The trust policy.
    pub statements: Vec<Statement>,
    /// What signatures must state.
    pub metadata: Vec<(String, String)>,
    /// The trust policy's text, in place of the statements'.
    pub policy: Option<String>,
    /// A plugin that is installed: its name and its text.
    pub plugin: Option<(String, String)>,
    /// What else is done to notation's folder.
    pub disturb: Option<fn(&Path)>,
    /// What notation is expected to say.
    pub expected: Expected,
    /// What of it is known to make judges differ.
    pub conditions: Vec<Condition>,
}

impl Question {
    /// One statement, about some signatures.
    pub fn new(name: impl Into<String>, signatures: Vec<Attached>, statement: Statement, expected: Expected) -> Self {
        Self {
            name: name.into(),
            signatures,
            statements: vec![statement],
            metadata: Vec::new(),
            policy: None,
            plugin: None,
            disturb: None,
            expected,
            conditions: Vec::new(),
        }
    }
}

/// A question in its folder.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What is asked.
    pub question: Question,
    /// The folder.
    pub folder: PathBuf,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const SIGNATURE: &str = "application/vnd.cncf.notary.signature";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The image that everything is about, as a descriptor.
pub fn image() -> Value {
    descriptor(MANIFEST, &image_manifest())
}

fn image_config() -> Vec<u8> {
    json!({ "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": [] } })
        .to_string()
        .into_bytes()
}

fn image_manifest() -> Vec<u8> {
    let config = descriptor("application/vnd.oci.image.config.v1+json", &image_config());
    json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [] }).to_string().into_bytes()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": sha256(bytes), "size": bytes.len() })
}

impl Trial {
    /// Lays a question out below a folder.
    pub fn lay(question: Question, parent: &Path, number: usize) -> Self {
        let trial = Self { question, folder: parent.join(number.to_string()) };
        trial.layout();
        trial.trust();
        trial.install(parent);
        if let Some(disturb) = trial.question.disturb {
            disturb(&trial.notation());
        }
        trial
    }

    /// The layout's folder.
    pub fn path(&self) -> PathBuf {
        self.folder.join("layout")
    }

    /// The image in the layout, as notation takes it.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.path().display(), image()["digest"].as_str().unwrap())
    }

    /// notation's folder.
    pub fn notation(&self) -> PathBuf {
        self.folder.join("notation")
    }

    fn layout(&self) {
        let blobs = self.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let write = |bytes: &[u8]| fs::write(blobs.join(&sha256(bytes)["sha256:".len()..]), bytes).unwrap();
        let mut manifests = vec![image()];
        write(&image_config());
        write(&image_manifest());
        write(b"{}");
        for signature in &self.question.signatures {
            write(&signature.envelope);
            let mut manifest = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor(if signature.legacy { SIGNATURE } else { EMPTY }, b"{}"),
                "layers": [descriptor(&signature.media_type, &signature.envelope)],
                "subject": image(),
                "annotations": { "io.cncf.notary.x509chain.thumbprint#S256": "[]" },
            });
            if !signature.legacy {
                manifest["artifactType"] = json!(SIGNATURE);
            }
            if let Some(change) = signature.change {
                change(&mut manifest);
            }
            let bytes = manifest.to_string().into_bytes();
            write(&bytes);
            let mut entry = descriptor(MANIFEST, &bytes);
            entry["artifactType"] = json!(SIGNATURE);
            manifests.push(entry);
        }
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        fs::write(self.path().join("index.json"), index.to_string()).unwrap();
        fs::write(self.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }

    fn trust(&self) {
        let statements = self.question.statements.iter().zip(0..);
        let statements: Vec<Value> =
            statements.map(|(statement, number)| statement.document(&format!("statement-{number}"))).collect();
        let policy = json!({ "version": "1.0", "trustPolicies": statements });
        fs::create_dir_all(self.notation()).unwrap();
        let policy = self.question.policy.clone().unwrap_or_else(|| policy.to_string());
        fs::write(self.notation().join("trustpolicy.json"), policy).unwrap();
        for (kind, name, certificates) in self.question.statements.iter().flat_map(|statement| &statement.stores) {
            let store = self.notation().join("truststore/x509").join(kind.as_str()).join(name);
            fs::create_dir_all(&store).unwrap();
            for (certificate, number) in certificates.iter().zip(0..) {
                fs::write(store.join(format!("{number}.crt")), certificate).unwrap();
            }
        }
    }

    fn install(&self, parent: &Path) {
        if let Some((name, text)) = &self.question.plugin {
            // Another user runs it.
            fs::set_permissions(parent, Permissions::from_mode(0o711)).unwrap();
            install(&self.notation().join(format!("plugins/{name}/notation-{name}")), text);
        }
    }
}
