//! The effective configuration: plain data with every default filled in and every rule checked that needs
//! nothing but the file. `assemble` builds an admission from it; no file is opened and nothing is decided here.
//!
//! Strings that other modules understand (scopes, identities, PEM) keep their place, so that what is wrong with
//! them is reported like any other problem.

mod cosign;
mod credentials;
mod decode;
mod expand;
mod file;
mod kubelet;
mod notation;
mod plugin;
mod problem;
mod proxy;
mod schema;
mod show;
mod tuf;
mod vault;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::artifact::Digest;
use crate::config::file::decoder::{Decoder, Item};
use crate::limits;

pub use cosign::{
    CertificateIdentity, Cosign, CosignKeys, CosignPolicy, CosignSigners, DockerReference, IdentityMatch, NamedRoot,
    Rewrite, RootSource,
};
pub use credentials::{AzureIdentity, CredentialSource, Password, Realm};
pub use kubelet::{KubeletProvider, kubelet_providers};
pub use notation::{
    Action, Asks, Level, Named, Notation, RegistryScopes, Statement, StoreName, StoreType, TrustPolicySource,
    TrustStore, Undefined, VerifyTimestamp,
};
pub use plugin::{Confinement, PluginProgram, PluginSource, PluginVerifier};
pub use problem::{Place, Problems, Spanned};
pub use proxy::{Direct, Proxy, ProxyUrl};
pub use schema::schema;
pub use show::{to_json, to_toml};
pub use tuf::{FirstRoot, TufInstance, TufMirror, TufSource};
pub use vault::{AzureVault, VaultItem};

/// Parses a configuration. `file` is its path, for messages, and its ending tells the format: TOML, JSON (`.json`) or
/// YAML (`.yaml`, `.yml`). `environment` answers for `${NAME}`.
///
/// # Errors
/// All problems at once.
pub fn parse(file: &str, text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, Problems> {
    let mut decoder = Decoder::new(file, environment);
    let config = if u64::try_from(text.len()).map_or(true, |bytes| bytes > limits::CONFIG_BYTES) {
        let message = format!("larger than the limit of {} bytes", limits::CONFIG_BYTES);
        decoder.problems.push(&Place { line: 1, column: 1, path: String::new() }, message);
        None
    } else {
        file::read(file, text, &mut decoder.problems).and_then(|root| decode::config(&mut decoder, &Item::root(&root)))
    };
    match config {
        Some(config) if decoder.problems.is_empty() => Ok(config),
        _ => Err(decoder.problems),
    }
}

/// Parses a trust policy document in a file of its own, which is JSON as notation has it. `file` is its path, for
/// messages.
///
/// # Errors
/// All problems at once.
pub fn trust_policy(file: &str, text: &str) -> Result<Vec<Statement>, Problems> {
    let mut decoder = Decoder::new(file, &|_| None);
    let statements = file::read_json(text, &mut decoder.problems)
        .and_then(|root| decode::trust_policy(&mut decoder, &Item::root(&root)));
    match statements {
        Some(statements) if decoder.problems.is_empty() => Ok(statements),
        _ => Err(decoder.problems),
    }
}

/// The whole configuration. Serialised, it is the same bytes for the same meaning, wherever its parts are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// What becomes of a pull that no scope matches.
    pub unmatched: Unmatched,
    /// Who answers for which scopes; at least one.
    pub executors: Vec<Executor>,
    /// Who may ask the daemon.
    pub access: Access,
    /// How long answers are remembered.
    pub remember: Remember,
    /// How the daemon logs.
    pub log: Log,
    /// Through whom registries are asked.
    pub proxy: Proxy,
    /// What is remembered by digest.
    pub cache: Cache,
    /// Where the daemon tells its counters.
    pub metrics: Metrics,
    /// How it is found out whether certificates were revoked.
    pub revocation: Revocation,
    /// Where plugins are, and how they are run.
    pub plugins: Plugins,
}

/// What becomes of a pull that no scope matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unmatched {
    /// It is refused.
    Deny,
    /// It is allowed without verification.
    Allow,
}

/// Who may ask the daemon to verify, besides uid 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Access {
    /// Their user ids.
    pub uids: BTreeSet<u32>,
}

/// How long answers are remembered. Zero: not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remember {
    /// An allow.
    pub allow: Duration,
    /// A deny.
    pub deny: Duration,
    /// A list of referrers.
    pub referrers: Duration,
    /// A list of referrers, from its last good fetch on, where the registry cannot be reached.
    pub stale_referrers: Duration,
}

impl Default for Remember {
    fn default() -> Self {
        Self {
            allow: limits::REMEMBER_ALLOW,
            deny: limits::REMEMBER_DENY,
            referrers: limits::REMEMBER_REFERRERS,
            stale_referrers: Duration::ZERO,
        }
    }
}

/// What is remembered of manifests and blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// Where on disk.
    pub path: Folder,
    /// Most bytes on disk; zero: none.
    pub disk: u64,
    /// Most bytes in memory, of each store; zero: none.
    pub memory: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { path: Folder::Systemd, disk: limits::DISK_BYTES, memory: limits::REMEMBERED_BYTES }
    }
}

/// Where the daemon keeps content on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Folder {
    /// Below the folder that systemd gives it, if it does.
    Systemd,
    /// Nowhere.
    None,
    /// Here, by its absolute path.
    At(PathBuf),
}

/// Where the daemon tells its counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// The address; none: nowhere.
    pub listen: Option<Listen>,
}

/// How it is found out whether certificates were revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revocation {
    /// Whether responders are asked and CRLs fetched.
    pub fetch: bool,
    /// Longest wait for one OCSP responder.
    pub ocsp_timeout: Duration,
    /// Longest wait for one CRL.
    pub crl_timeout: Duration,
    /// Largest CRL, in bytes.
    pub max_crl_bytes: u64,
    /// Where the operator keeps CRLs, by its absolute path.
    pub crl_folder: Option<PathBuf>,
}

impl Default for Revocation {
    fn default() -> Self {
        Self {
            fetch: true,
            ocsp_timeout: limits::OCSP_TIMEOUT,
            crl_timeout: limits::CRL_TIMEOUT,
            max_crl_bytes: limits::CRL_BYTES,
            crl_folder: None,
        }
    }
}

/// Where plugins are, and how they are run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plugins {
    /// Their folder, by its absolute path.
    pub path: PathBuf,
    /// The folder of those that are fetched, by its absolute path.
    pub kept: PathBuf,
    /// As whom they are run where the daemon is root, by name or number.
    pub user: String,
    /// The socket of who runs them where it is not.
    pub socket: PathBuf,
    /// How long each may take.
    pub timeout: Duration,
    /// What becomes of them where the kernel cannot confine them wholly.
    pub sandbox: Confinement,
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/usr/libexec/ratifyd/plugins"),
            kept: PathBuf::from("/var/lib/ratifyd/plugins"),
            user: "ratifyd-plugins".to_owned(),
            socket: PathBuf::from("/run/ratifyd/plugins.sock"),
            timeout: limits::PLUGIN_TIMEOUT,
            sandbox: Confinement::BestEffort,
        }
    }
}

/// An address on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Listen {
    /// Of loopback.
    Tcp(SocketAddr),
    /// A socket, by its absolute path.
    Unix(PathBuf),
}

/// How the daemon logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// The least important level that is written.
    pub level: LogLevel,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something may break.
    Warn,
    /// What happens.
    Info,
    /// Why it happens.
    Debug,
    /// Everything.
    Trace,
}

/// Who answers for some scopes, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Executor {
    /// Patterns of repositories, at least one, as written; no string stands twice in a configuration.
    pub scopes: Vec<Spanned<String>>,
    /// What happens to a pull.
    pub mode: Mode,
    /// Images that are exempt from verification.
    pub digests: BTreeSet<Digest>,
    /// Where artifacts lie.
    pub store: Store,
    /// Its name, by which the source of a plugin may name it.
    pub name: Option<Spanned<String>>,
    /// What kinds of artifacts are plugins to it.
    pub plugin_types: Vec<String>,
}

/// What happens to a pull that an executor answers for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Mode {
    /// It is verified, and the answer counts.
    Enforce(Checks),
    /// It is verified, reported, and allowed in any case.
    Audit(Checks),
    /// It is allowed without verification.
    Allow,
    /// It is refused.
    Deny,
}

/// What is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checks {
    /// Who verifies; at least one, each with a name of its own.
    pub verifiers: Vec<Verifier>,
    /// What must be found: the root of the rules. It names every verifier, and no other.
    pub policy: Rule,
    /// How many checks of one pull are under way at once.
    pub concurrency: usize,
}

/// A verifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verifier {
    /// Its name, of letters, digits, dots, underscores and hyphens.
    pub name: String,
    /// What it verifies, and by what.
    pub kind: VerifierKind,
}

/// What a verifier verifies, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum VerifierKind {
    /// Notary Project signatures.
    Notation(Notation),
    /// Signatures or attestations of Cosign's.
    Cosign(Cosign),
    /// Whatever a program judges.
    Plugin(PluginVerifier),
}

/// Where certificates or keys come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum KeyMaterial {
    /// A file, or a folder of files, by its absolute path.
    Path(Spanned<PathBuf>),
    /// PEM in the configuration itself, as written.
    Inline(Spanned<String>),
    /// Entries of a key vault.
    Vault(Spanned<AzureVault>),
}

impl KeyMaterial {
    /// Where it is named.
    #[must_use]
    pub fn place(&self) -> &Place {
        match self {
            Self::Path(path) => &path.place,
            Self::Inline(pem) => &pem.place,
            Self::Vault(vault) => &vault.place,
        }
    }
}

/// Where artifacts lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Store {
    /// In the registries that the images come from.
    Registry(RegistryStore),
    /// In an OCI layout, a folder or an archive, by its absolute path.
    Layout(Spanned<PathBuf>),
    /// Wherever a program finds them.
    Plugin(PluginProgram),
}

impl Default for Store {
    fn default() -> Self {
        Self::Registry(RegistryStore::default())
    }
}

/// How a registry is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegistryStore {
    /// Whether plain http is used for every registry of the executor.
    pub plain_http: bool,
    /// Folders with a folder for each registry, as containerd has them (`hosts.toml`), in the order in which they are
    /// looked into.
    pub config_path: Vec<PathBuf>,
    /// Certificates, in PEM, that registries are judged by in place of the system's.
    pub ca: Option<String>,
    /// What it is told about who asks, unless the default.
    pub user_agent: Option<String>,
    /// Largest blob, in bytes.
    pub max_blob_bytes: u64,
    /// Largest manifest, in bytes.
    pub max_manifest_bytes: u64,
    /// Who is asked for credentials, in this order; none: every registry is asked anonymously.
    pub credentials: Vec<CredentialSource>,
    /// Token services that may see credentials, besides those that belong to a registry.
    pub allowed_realms: Vec<Realm>,
    /// Whether Cosign verifiers look at the tags where Cosign keeps signatures without referrers.
    pub cosign_tags: bool,
}

impl Default for RegistryStore {
    fn default() -> Self {
        Self {
            plain_http: false,
            config_path: CONFIG_PATH.map(PathBuf::from).to_vec(),
            ca: None,
            user_agent: None,
            max_blob_bytes: limits::BLOB_BYTES,
            max_manifest_bytes: limits::MANIFEST_BYTES,
            credentials: vec![CredentialSource::DockerConfig(None)],
            allowed_realms: Vec::new(),
            cosign_tags: true,
        }
    }
}

/// Where containerd looks for hosts files, unless it is told otherwise (`registry.config_path`).
const CONFIG_PATH: [&str; 2] = ["/etc/containerd/certs.d", "/etc/docker/certs.d"];

/// A rule of a threshold policy. It has a verifier, or rules, or both; the root has rules only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The verifier that must find a referrer valid; its own rules are then about that one's referrers.
    pub verifier: Option<String>,
    /// How many of the rules must hold: 1 to their number, 0 where there are none.
    pub threshold: usize,
    /// The rules below.
    pub rules: Vec<Rule>,
}
