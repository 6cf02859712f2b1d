//! Writes an effective configuration as a file again, with every default written out. Read back, it means the same.
//! It shows no secret: a proxy's password and a registry's are masked.

mod cosign;
mod notation;
mod vault;

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use crate::artifact::Digest;
use crate::config::{
    Checks, Config, Confinement, CredentialSource, Direct, Executor, Folder, Listen, LogFormat, LogLevel, Mode,
    Password, PluginProgram, PluginSource, PluginVerifier, ProxyUrl, Realm, RegistryStore, Rule, Store, Unmatched,
    Verifier, VerifierKind,
};
use crate::secret::Secret;

/// The configuration as TOML.
///
/// # Errors
/// None that is known: every value of a configuration can be written.
pub fn to_toml(config: &Config) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(&file(config))
}

/// The configuration as JSON.
///
/// # Errors
/// None that is known: every value of a configuration can be written.
pub fn to_json(config: &Config) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&file(config))
}

fn file(config: &Config) -> File<'_> {
    File {
        unmatched: match config.unmatched {
            Unmatched::Deny => "deny",
            Unmatched::Allow => "allow",
        },
        access: AccessTable { uids: &config.access.uids },
        remember: RememberTable {
            allow: humantime::format_duration(config.remember.allow).to_string(),
            deny: humantime::format_duration(config.remember.deny).to_string(),
            referrers: humantime::format_duration(config.remember.referrers).to_string(),
            stale_referrers: humantime::format_duration(config.remember.stale_referrers).to_string(),
        },
        log: LogTable {
            format: match config.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            },
            level: match config.log.level {
                LogLevel::Error => "error",
                LogLevel::Warn => "warn",
                LogLevel::Info => "info",
                LogLevel::Debug => "debug",
                LogLevel::Trace => "trace",
            },
        },
        proxy: ProxyTable {
            https: proxy(config.proxy.https.as_ref()),
            http: proxy(config.proxy.http.as_ref()),
            no: &config.proxy.no,
        },
        cache: CacheTable {
            path: match &config.cache.path {
                Folder::Systemd => None,
                Folder::None => Some(String::new()),
                Folder::At(path) => Some(unexpanded(&path.to_string_lossy())),
            },
            disk: config.cache.disk,
            memory: config.cache.memory,
        },
        metrics: MetricsTable {
            listen: match &config.metrics.listen {
                None => String::new(),
                Some(Listen::Tcp(address)) => address.to_string(),
                Some(Listen::Unix(path)) => format!("unix:{}", unexpanded(&path.to_string_lossy())),
            },
        },
        revocation: RevocationTable {
            fetch: config.revocation.fetch,
            ocsp_timeout: humantime::format_duration(config.revocation.ocsp_timeout).to_string(),
            crl_timeout: humantime::format_duration(config.revocation.crl_timeout).to_string(),
            max_crl_bytes: config.revocation.max_crl_bytes,
            crl_folder: unexpanded(&config.revocation.crl_folder.as_deref().unwrap_or(Path::new("")).to_string_lossy()),
        },
        plugins: PluginsTable {
            path: unexpanded(&config.plugins.path.to_string_lossy()),
            kept: unexpanded(&config.plugins.kept.to_string_lossy()),
            user: &config.plugins.user,
            socket: unexpanded(&config.plugins.socket.to_string_lossy()),
            timeout: humantime::format_duration(config.plugins.timeout).to_string(),
            sandbox: match config.plugins.sandbox {
                Confinement::BestEffort => "best-effort",
                Confinement::Strict => "strict",
            },
        },
        executors: config.executors.iter().map(executor).collect(),
    }
}

/// None is written as such: left out, the environment would count.
fn proxy(proxy: Option<&ProxyUrl>) -> String {
    proxy.map(|proxy| unexpanded(&proxy.to_string())).unwrap_or_default()
}

fn executor(executor: &Executor) -> ExecutorTable<'_> {
    let (mode, checks) = match &executor.mode {
        Mode::Enforce(checks) => ("enforce", Some(checks)),
        Mode::Audit(checks) => ("audit", Some(checks)),
        Mode::Allow => ("allow", None),
        Mode::Deny => ("deny", None),
    };
    ExecutorTable {
        name: executor.name.as_ref().map(|name| name.value.as_str()),
        plugin_types: &executor.plugin_types,
        scopes: executor.scopes.iter().map(|scope| scope.value.as_str()).collect(),
        mode,
        digests: &executor.digests,
        checks: checks.map(checks_table),
        stores: [store(&executor.store)],
    }
}

fn checks_table(checks: &Checks) -> ChecksTable<'_> {
    ChecksTable {
        concurrency: checks.concurrency,
        verifiers: checks.verifiers.iter().map(verifier).collect(),
        policy_enforcer: Typed { r#type: "threshold-policy", parameters: PolicyTable { policy: rule(&checks.policy) } },
    }
}

fn verifier(verifier: &Verifier) -> VerifierTable<'_> {
    let (r#type, parameters) = match &verifier.kind {
        VerifierKind::Notation(notation) => ("notation", Parameters::Notation(notation::table(notation))),
        VerifierKind::Cosign(cosign) => ("cosign", Parameters::Cosign(cosign::table(cosign))),
        VerifierKind::Plugin(plugin) => ("plugin", Parameters::Plugin(plugin_table(plugin))),
    };
    VerifierTable { name: &verifier.name, r#type, parameters }
}

fn plugin_table(plugin: &PluginVerifier) -> PluginTable<'_> {
    let PluginVerifier { artifact_types, program } = plugin;
    PluginTable { artifact_types, program: program_table(program) }
}

fn program_table(program: &PluginProgram) -> ProgramTable<'_> {
    let PluginProgram { plugin, source, config, environment, network } = program;
    let config = unexpanded_json(&serde_json::Value::Object(config.clone()));
    let source = source.as_deref().map(source_table);
    ProgramTable { plugin: &plugin.value, source, environment, network: *network, config }
}

fn source_table(source: &PluginSource) -> SourceTable<'_> {
    SourceTable {
        artifact: unexpanded(&source.artifact.value),
        title: source.title.as_deref(),
        trust: source.trust.as_ref().map(|trust| trust.value.as_str()),
        allow_unverified: source.allow_unverified,
        refresh_interval: humantime::format_duration(source.refresh).to_string(),
        max_bytes: source.max_bytes,
        store: source.store.as_ref().map(registry_table),
    }
}

fn unexpanded_json(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(unexpanded(text)),
        Value::Array(items) => Value::Array(items.iter().map(unexpanded_json).collect()),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(key, value)| (key.clone(), unexpanded_json(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn store(store: &Store) -> Typed<StoreTable<'_>> {
    match store {
        Store::Registry(store) => Typed { r#type: "registry-store", parameters: registry_table(store) },
        Store::Layout(path) => Typed {
            r#type: "filesystem-oci-store",
            parameters: StoreTable::Layout { path: unexpanded(&path.value.to_string_lossy()) },
        },
        Store::Plugin(program) => {
            Typed { r#type: "plugin", parameters: StoreTable::Plugin(Box::new(program_table(program))) }
        }
    }
}

fn registry_table(store: &RegistryStore) -> StoreTable<'_> {
    // No folder has a colon in its name: it would have been two.
    let folders: Vec<_> = store.config_path.iter().map(|folder| folder.to_string_lossy()).collect();
    StoreTable::Registry {
        plain_http: store.plain_http,
        config_path: unexpanded(&folders.join(":")),
        ca_pem: store.ca.as_deref(),
        user_agent: store.user_agent.as_deref().map(unexpanded),
        max_blob_bytes: store.max_blob_bytes,
        max_manifest_bytes: store.max_manifest_bytes,
        allowed_realms: &store.allowed_realms,
        allow_cosign_tag: store.cosign_tags,
        credentials: store.credentials.iter().map(credential).collect(),
    }
}

fn credential(source: &CredentialSource) -> CredentialTable<'_> {
    let shown = |path: &std::path::PathBuf| Some(unexpanded(&path.to_string_lossy()));
    let table = CredentialTable::default();
    match source {
        CredentialSource::DockerConfig(path) => {
            CredentialTable { provider: "dockerConfig", config_path: path.as_ref().and_then(shown), ..table }
        }
        CredentialSource::Kubelet { config, bin_dir } => {
            CredentialTable { provider: "kubelet", config: shown(config), bin_dir: shown(bin_dir), ..table }
        }
        CredentialSource::Static { username, password, registries } => {
            let (password, password_file) = match password {
                Password::Given(password) => (Some(password), None),
                Password::File(path) => (None, shown(path)),
            };
            let username = Some(unexpanded(username)).filter(|username| !username.is_empty());
            let registries = Some(registries.as_slice()).filter(|registries| !registries.is_empty());
            CredentialTable { provider: "static", username, password, password_file, registries, ..table }
        }
        CredentialSource::Azure { identity, client_id, tenant_id, endpoints } => CredentialTable {
            provider: identity.provider(),
            client_id: client_id.as_deref(),
            tenant_id: tenant_id.as_deref(),
            endpoints: Some(endpoints),
            ..table
        },
    }
}

fn rule(written: &Rule) -> RuleTable<'_> {
    let has_rules = !written.rules.is_empty();
    RuleTable {
        verifier_name: written.verifier.as_deref(),
        threshold: has_rules.then_some(written.threshold),
        rules: has_rules.then(|| written.rules.iter().map(rule).collect()),
    }
}

/// A string that variables were put into, so that none is when it is read back.
fn unexpanded(text: &str) -> String {
    text.replace("${", "$${")
}

/// The file, its keys in the order in which they are shown.
#[derive(Serialize)]
struct File<'a> {
    unmatched: &'static str,
    access: AccessTable<'a>,
    remember: RememberTable,
    log: LogTable,
    proxy: ProxyTable<'a>,
    cache: CacheTable,
    metrics: MetricsTable,
    revocation: RevocationTable,
    plugins: PluginsTable<'a>,
    executors: Vec<ExecutorTable<'a>>,
}

#[derive(Serialize)]
struct AccessTable<'a> {
    uids: &'a BTreeSet<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RememberTable {
    allow: String,
    deny: String,
    referrers: String,
    stale_referrers: String,
}

#[derive(Serialize)]
struct CacheTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    disk: u64,
    memory: u64,
}

#[derive(Serialize)]
struct MetricsTable {
    listen: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RevocationTable {
    fetch: bool,
    ocsp_timeout: String,
    crl_timeout: String,
    max_crl_bytes: u64,
    crl_folder: String,
}

#[derive(Serialize)]
struct PluginsTable<'a> {
    path: String,
    kept: String,
    user: &'a str,
    socket: String,
    timeout: String,
    sandbox: &'static str,
}

#[derive(Serialize)]
struct LogTable {
    format: &'static str,
    level: &'static str,
}

#[derive(Serialize)]
struct ProxyTable<'a> {
    https: String,
    http: String,
    no: &'a [Direct],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecutorTable<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    plugin_types: &'a [String],
    scopes: Vec<&'a str>,
    mode: &'static str,
    digests: &'a BTreeSet<Digest>,
    #[serde(flatten)]
    checks: Option<ChecksTable<'a>>,
    stores: [Typed<StoreTable<'a>>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChecksTable<'a> {
    concurrency: usize,
    verifiers: Vec<VerifierTable<'a>>,
    policy_enforcer: Typed<PolicyTable<'a>>,
}

#[derive(Serialize)]
struct Typed<P> {
    r#type: &'static str,
    parameters: P,
}

#[derive(Serialize)]
struct VerifierTable<'a> {
    name: &'a str,
    r#type: &'static str,
    parameters: Parameters<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Parameters<'a> {
    Notation(notation::NotationTable<'a>),
    Cosign(cosign::CosignTable<'a>),
    Plugin(PluginTable<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PluginTable<'a> {
    artifact_types: &'a [String],
    #[serde(flatten)]
    program: ProgramTable<'a>,
}

#[derive(Serialize)]
struct ProgramTable<'a> {
    plugin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SourceTable<'a>>,
    environment: &'a [String],
    network: bool,
    config: serde_json::Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SourceTable<'a> {
    artifact: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust: Option<&'a str>,
    allow_unverified: bool,
    refresh_interval: String,
    max_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<StoreTable<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum StoreTable<'a> {
    #[serde(rename_all = "camelCase")]
    Registry {
        plain_http: bool,
        config_path: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        ca_pem: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_agent: Option<String>,
        max_blob_bytes: u64,
        max_manifest_bytes: u64,
        allowed_realms: &'a [Realm],
        allow_cosign_tag: bool,
        credentials: Vec<CredentialTable<'a>>,
    },
    Layout {
        path: String,
    },
    Plugin(Box<ProgramTable<'a>>),
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct CredentialTable<'a> {
    provider: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bin_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registries: Option<&'a [String]>,
    #[serde(rename = "clientID", skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(rename = "tenantID", skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<&'a [String]>,
}

#[derive(Serialize)]
struct PolicyTable<'a> {
    policy: RuleTable<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleTable<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    verifier_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Vec<RuleTable<'a>>>,
}
