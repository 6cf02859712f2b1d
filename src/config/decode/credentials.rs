//! Providers of credentials and allowed realms, as written in the file. What is written there may be a secret: no
//! message repeats a user or a password.

use std::path::PathBuf;

use url::Url;

use crate::config::file::decoder::{Decoder, Item, Table, quote, suggest};
use crate::config::{AzureIdentity, CredentialSource, Password, Realm, RegistryStore};
use crate::limits;
use crate::reference::canonical_host;
use crate::secret::Secret;

/// Who is asked, in this order: Ratify v2's one table, or ours of several. `any_host`: image names choose the host.
pub fn credentials(decoder: &mut Decoder<'_>, table: &mut Table<'_>, any_host: bool) -> Option<Vec<CredentialSource>> {
    let (one, several) = (table.optional("credential"), table.optional("credentials"));
    let sources = match (one, several) {
        (None, None) => return Some(RegistryStore::default().credentials),
        (Some(_), Some(several)) => {
            decoder.problems.push(&several.place(), "give credential or credentials, not both");
            return None;
        }
        (Some(one), None) => vec![source(decoder, &one, any_host)],
        (None, Some(several)) => {
            let items = bounded(decoder, &several, limits::CREDENTIAL_PROVIDERS)?;
            items.iter().map(|item| source(decoder, item, any_host)).collect()
        }
    };
    let sources: Option<Vec<_>> = sources.into_iter().collect();
    // An anonymous one adds nothing.
    Some(sources?.into_iter().flatten().collect())
}

/// Token services on other hosts than their registries'.
pub fn realms(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Vec<Realm>> {
    let Some(item) = table.optional("allowedRealms") else { return Some(Vec::new()) };
    let items = bounded(decoder, &item, limits::CREDENTIAL_HOSTS)?;
    items.iter().map(|item| realm(decoder, item)).collect()
}

fn realm(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Realm> {
    let text = decoder.string(item)?;
    let read = if text.contains("://") { realm_url(&text) } else { realm_url(&format!("https://{text}")) };
    // A path needs the scheme, so that it is clear what begins with it.
    let read = read.filter(|(_, path)| path.is_empty() || text.contains("://"));
    let Some((host, path)) = read else {
        let hint = "HOST, HOST:PORT or https://HOST/PATH";
        decoder.problems.push_with_hint(&item.place(), "this is no realm", hint);
        return None;
    };
    Some(Realm { host, path })
}

fn realm_url(text: &str) -> Option<(String, String)> {
    let url = Url::parse(text).ok()?;
    let is_bare =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = format!("{}{port}", url.host_str()?);
    // As it is written: a URL would take "5" for the address 0.0.0.5. Nor is the canonical one kept: to a token service
    // Docker Hub's names are different hosts.
    host_of(text.strip_prefix("https://")?.split('/').next()?)?;
    (url.scheme() == "https" && is_bare).then(|| (host, url.path().trim_end_matches('/').to_owned()))
}

/// A table with a provider, all of its keys taken. `Some(None)`: anonymous.
pub fn source(decoder: &mut Decoder<'_>, item: &Item<'_>, any_host: bool) -> Option<Option<CredentialSource>> {
    let mut table = decoder.table(item)?;
    let provider = decoder.required(&mut table, "provider")?;
    let word = decoder.string(&provider)?;
    if let Some((_, mend)) = REFUSED.iter().find(|(name, _)| *name == word) {
        decoder.problems.push(&provider.place(), format!("{word} is not available: {mend}"));
        return None;
    }
    let azure = AZURE.into_iter().find(|identity| identity.provider() == word);
    let allowed: &[&str] = match word.as_str() {
        "dockerConfig" => &["configPath"],
        "kubelet" => &["config", "binDir"],
        "static" => &["username", "password", "passwordFile", "registries"],
        _ if azure.is_some() => &["clientID", "tenantID", "endpoints"],
        _ => {
            let hint = suggest(&word, &PROVIDERS, "known");
            decoder.problems.push_with_hint(&provider.place(), format!("unknown provider {}", quote(&word)), hint);
            return None;
        }
    };
    decoder.refused(&mut table, "identityBinding", "identity bindings of AKS are not available: leave the key out");
    for (key, item) in KEYS.map(|key| (key, table.optional(key))) {
        if let Some(item) = item.filter(|_| !allowed.contains(&key)) {
            let hint = format!("it takes {}", allowed.join(", "));
            decoder.problems.push_with_hint(&item.place(), format!("not a key of provider {word}"), hint);
        }
    }
    let source = match (word.as_str(), azure) {
        ("dockerConfig", _) => docker_config(decoder, &mut table).map(Some),
        ("kubelet", _) => kubelet(decoder, &mut table).map(Some),
        (_, Some(identity)) => azure_source(decoder, &mut table, identity).map(Some),
        _ => fixed(decoder, &mut table, any_host),
    };
    decoder.finish(table);
    source
}

fn docker_config(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<CredentialSource> {
    let path = match table.optional("configPath") {
        Some(item) => Some(path(decoder, &item)?),
        None => None,
    };
    Some(CredentialSource::DockerConfig(path))
}

fn kubelet(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<CredentialSource> {
    let config = decoder.required(table, "config").and_then(|item| path(decoder, &item));
    let bin_dir = decoder.required(table, "binDir").and_then(|item| path(decoder, &item));
    Some(CredentialSource::Kubelet { config: config?, bin_dir: bin_dir? })
}

/// A user and a password; both empty, as in Ratify v2, is anonymous.
fn fixed(decoder: &mut Decoder<'_>, table: &mut Table<'_>, any_host: bool) -> Option<Option<CredentialSource>> {
    let username = match table.optional("username") {
        Some(item) => username(decoder, &item),
        None => Some(String::new()),
    };
    let registries = match table.optional("registries") {
        Some(item) => {
            let items = bounded(decoder, &item, limits::CREDENTIAL_HOSTS)?;
            if items.is_empty() {
                decoder.problems.push(&item.place(), "must not be empty");
            }
            items.iter().map(|item| host(decoder, item)).collect()
        }
        None => Some(Vec::new()),
    };
    let password = match (table.optional("password"), table.optional("passwordFile")) {
        (Some(_), Some(file)) => {
            decoder.problems.push(&file.place(), "give password or passwordFile, not both");
            return None;
        }
        (None, Some(file)) => Password::File(path(decoder, &file)?),
        (Some(item), None) => Password::Given(Secret::new(decoder.string(&item)?)),
        (None, None) => Password::Given(Secret::new(String::new())),
    };
    let (username, registries) = (username?, registries?);
    if password == Password::Given(Secret::new(String::new())) {
        if username.is_empty() {
            return Some(None);
        }
        decoder.problems.push(&table.place_of("password"), "there is a username, but no password");
        return None;
    }
    if any_host && registries.is_empty() {
        let hint = "registries = [\"HOST\"] says to whom it may be shown";
        let message = "scope \"*\" lets image names choose the host, and this password would be shown to any";
        decoder.problems.push_with_hint(&table.place_of("registries"), message, hint);
        return None;
    }
    Some(Some(CredentialSource::Static { username, password, registries }))
}

/// A user (RFC 7617, section 2: without colon and control characters).
fn username(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<String> {
    let text = decoder.string(item)?;
    if text.contains(|c: char| c == ':' || c.is_ascii_control()) {
        decoder.problems.push(&item.place(), "a user has no colon and no control characters");
        return None;
    }
    Some(text)
}

fn azure_source(decoder: &mut Decoder<'_>, table: &mut Table<'_>, identity: AzureIdentity) -> Option<CredentialSource> {
    let mut id = |key| match table.optional(key) {
        Some(item) => azure_id(decoder, &item),
        None => Some(None),
    };
    let (client_id, tenant_id) = (id("clientID"), id("tenantID"));
    let endpoints = match table.optional("endpoints") {
        Some(item) => {
            let items = bounded(decoder, &item, limits::CREDENTIAL_HOSTS)?;
            if items.is_empty() {
                decoder.problems.push(&item.place(), "must not be empty");
            }
            items.iter().map(|item| endpoint(decoder, item)).collect()
        }
        None => Some(ACR.map(str::to_owned).to_vec()),
    };
    Some(CredentialSource::Azure { identity, client_id: client_id?, tenant_id: tenant_id?, endpoints: endpoints? })
}

/// An id or a domain of Azure; an empty one is left out, as in Ratify v2.
fn azure_id(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Option<String>> {
    let text = decoder.string(item)?;
    let is_id = !text.starts_with(['.', '-']) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    if !is_id || text.len() > ID_BYTES {
        decoder.problems.push(&item.place(), format!("{} is no id", quote(&text)));
        return None;
    }
    Some(Some(text).filter(|text| !text.is_empty()))
}

/// A host, or all that are one label below a domain.
fn endpoint(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<String> {
    let text = decoder.string(item)?;
    let (star, name) = text.strip_prefix("*.").map_or(("", text.as_str()), |domain| ("*.", domain));
    // A domain of one label would be a whole top level.
    let host = host_of(name).filter(|host| star.is_empty() || host.trim_end_matches(|c: char| c != '.').len() > 1);
    let Some(host) = host else {
        let message = "this is no registry";
        decoder.problems.push_with_hint(&item.place(), message, "HOST, or *.DOMAIN for the hosts one label below");
        return None;
    };
    Some(format!("{star}{host}"))
}

fn host(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<String> {
    let text = decoder.string(item)?;
    let host = host_of(&text);
    if host.is_none() {
        decoder.problems.push_with_hint(&item.place(), "this is no registry", "HOST or HOST:PORT");
    }
    host
}

fn host_of(text: &str) -> Option<String> {
    canonical_host(text).ok()
}

fn path(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<PathBuf> {
    let text = decoder.string(item)?;
    if !text.starts_with('/') {
        decoder.problems.push(&item.place(), "this is not an absolute path");
        return None;
    }
    Some(PathBuf::from(text))
}

fn bounded<'a>(decoder: &mut Decoder<'_>, item: &Item<'a>, limit: usize) -> Option<Vec<Item<'a>>> {
    let items = decoder.array(item)?;
    if items.len() > limit {
        decoder.problems.push(&item.place(), format!("has {} items, the limit is {limit}", items.len()));
        return None;
    }
    Some(items)
}

/// All keys besides `provider`.
const KEYS: [&str; 10] = [
    "configPath",
    "config",
    "binDir",
    "username",
    "password",
    "passwordFile",
    "registries",
    "clientID",
    "tenantID",
    "endpoints",
];

const AZURE: [AzureIdentity; 3] = [AzureIdentity::Any, AzureIdentity::Workload, AzureIdentity::Managed];

const PROVIDERS: [&str; 6] =
    ["dockerConfig", "kubelet", "static", "azure", "azureWorkloadIdentity", "azureManagedIdentity"];

/// Providers of Ratify v1 that are not here, and what is used instead.
const REFUSED: [(&str, &str); 3] = [
    (
        "awsEcrBasic",
        "use provider \"kubelet\" with Amazon's ecr-credential-provider, or \"dockerConfig\" with \
         credHelpers = { \"ACCOUNT.dkr.ecr.REGION.amazonaws.com\": \"ecr-login\" }",
    ),
    ("alibabacloudAcrBasic", "use provider \"kubelet\" with Alibaba Cloud's credential provider"),
    (
        "k8Secrets",
        "a node has no business with a cluster's secrets: put the secret's .dockerconfigjson into a file and use provider \
         \"dockerConfig\" with its configPath, or \"kubelet\" for the node's own credentials",
    ),
];

/// Azure's registries, in all of its clouds.
const ACR: [&str; 3] = ["*.azurecr.io", "*.azurecr.us", "*.azurecr.cn"];

/// Longest id of Azure: a domain name.
const ID_BYTES: usize = 253;
