//! The part of the schema that is about credentials.

use serde_json::{Map, Value, json};

use super::{described, or_variable, with_default};
use crate::limits;

/// Who is asked, in order.
pub(super) fn credentials() -> Value {
    let list = json!({
        "description": "Who is asked for credentials, in this order; the first who has one counts. None: anonymous.",
        "type": "array",
        "maxItems": limits::CREDENTIAL_PROVIDERS,
        "items": { "$ref": "#/$defs/credential" },
    });
    with_default(json!([{ "provider": "dockerConfig" }]), list)
}

/// One provider: its keys, and in the alternatives which of them belong together.
pub(super) fn credential() -> Value {
    let username = json!({ "type": "string", "pattern": r"^[^:\x00-\x1f\x7f]*$", "maxLength": limits::EXPANDED_BYTES });
    let id = json!({ "type": "string", "pattern": "^([A-Za-z0-9][A-Za-z0-9.-]*)?$", "maxLength": 253 });
    let endpoint =
        json!({ "type": "string", "pattern": format!(r"^({HOST}|\*\.([A-Za-z0-9-]+\.)+{NAME}(:[0-9]{{1,5}})?)$") });
    json!({
        "description": "Who knows credentials for registries.",
        "type": "object",
        "additionalProperties": false,
        "required": ["provider"],
        "properties": {
            "provider": described("Who is asked.", or_variable(json!({ "enum": PROVIDERS }))),
            "configPath": path("docker's config.json; left out, systemd's credential docker-config.json, else docker's own."),
            "config": path("The kubelet's CredentialProviderConfig."),
            "binDir": path("The folder of the kubelet's credential providers."),
            "username": described("The user; empty: the password is a refresh token.", or_variable(username)),
            "password": described("The password; with neither user nor password: anonymous.", or_variable(json!({ "type": "string", "maxLength": limits::EXPANDED_BYTES }))),
            "passwordFile": path("A file with the password, read again when it changes."),
            "registries": list("Hosts that it is shown to; left out, all.", json!({ "type": "string", "pattern": format!("^{HOST}$") })),
            "clientID": described("The application's id; left out, AZURE_CLIENT_ID.", or_variable(id.clone())),
            "tenantID": described("The tenant's id; left out, AZURE_TENANT_ID.", or_variable(id)),
            "endpoints": list("Registries that may see the identity's tokens: hosts, or *.DOMAIN.", endpoint),
        },
        "anyOf": [
            only(&["dockerConfig"], &["configPath"], &[], json!({})),
            only(&["kubelet"], &["config", "binDir"], &["config", "binDir"], json!({})),
            only(&["static"], &["username", "password", "registries"], &["password"], json!({ "password": { "pattern": r"[\s\S]" } })),
            only(&["static"], &["username", "passwordFile", "registries"], &["passwordFile"], json!({})),
            only(&["static"], &["username", "password", "registries"], &[], json!({ "username": { "const": "" }, "password": { "const": "" } })),
            only(&["azure", "azureWorkloadIdentity", "azureManagedIdentity"], &["clientID", "tenantID", "endpoints"], &[], json!({})),
        ],
    })
}

/// An alternative: these providers, these keys and no others, those that must be there, and what else some must be.
fn only(providers: &[&str], allowed: &[&str], required: &[&str], narrowed: Value) -> Value {
    let others = KEYS.iter().filter(|key| !allowed.contains(key)).map(|key| ((*key).to_owned(), json!(false)));
    let mut properties: Map<String, Value> = others.collect();
    properties.insert("provider".to_owned(), or_variable(json!({ "enum": providers })));
    if let Value::Object(narrowed) = narrowed {
        properties.extend(narrowed);
    }
    json!({ "required": required, "properties": properties })
}

/// Token services on hosts of their own.
pub(super) fn allowed_realms() -> Value {
    let realm = json!({ "type": "string", "pattern": format!(r"^({HOST}|https://{HOST}(/[^?#\s]*)?)$") });
    let list = json!({
        "description": "Token services that may see credentials besides a registry's own: hosts, or https URLs whose path is a prefix.",
        "type": "array",
        "maxItems": limits::CREDENTIAL_HOSTS,
        "items": or_variable(realm),
    });
    with_default(json!([]), list)
}

fn path(what: &str) -> Value {
    described(what, or_variable(json!({ "type": "string", "pattern": "^/", "maxLength": limits::EXPANDED_BYTES })))
}

fn list(what: &str, item: Value) -> Value {
    json!({
        "description": what,
        "type": "array",
        "minItems": 1,
        "maxItems": limits::CREDENTIAL_HOSTS,
        "items": or_variable(item),
    })
}

const PROVIDERS: [&str; 6] =
    ["dockerConfig", "kubelet", "static", "azure", "azureWorkloadIdentity", "azureManagedIdentity"];

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

/// About what the last label of a host looks like: it is no number.
const NAME: &str = "[0-9-]*[A-Za-z][A-Za-z0-9-]*";

/// About what a registry's host looks like.
const HOST: &str =
    r"(([A-Za-z0-9-]+\.)*[0-9-]*[A-Za-z][A-Za-z0-9-]*\.?|[0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?";
