//! The JSON schema of a configuration, for editors and for whoever generates one: which keys there are, of which
//! kind, with their bounds and defaults. Tests hold it against the decoder, which alone decides. What a schema cannot
//! say, the decoder says: names and scopes given twice, rules that name no verifier, thresholds above their rules.

mod cosign;
mod credentials;
mod notation;
mod vault;

use std::time::Duration;

use serde_json::{Value, json};

use crate::limits;

/// The schema, in JSON Schema's draft 2020-12. `docs/config.schema.json` is this.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of ratifyd",
        "description": "Strings may hold ${NAME}, the environment variable NAME ($${ is a plain ${), unless said otherwise.",
        "type": "object",
        "additionalProperties": false,
        "required": ["executors"],
        "properties": {
            "unmatched": word(&["deny", "allow"], "deny", "What becomes of a pull that no scope matches."),
            "access": table("Who may ask the daemon to verify, besides root.", json!({
                "uids": {
                    "description": "User ids.",
                    "type": "array",
                    "items": { "type": "integer", "minimum": 0, "maximum": u32::MAX - 1 },
                    "default": [],
                },
            })),
            "remember": table("How long answers are remembered; \"0s\": not at all.", json!({
                "allow": duration(limits::REMEMBER_ALLOW, limits::REMEMBER_ALLOW_MAX, "An allow"),
                "deny": duration(limits::REMEMBER_DENY, limits::REMEMBER_DENY_MAX, "A deny"),
                "referrers": duration(limits::REMEMBER_REFERRERS, limits::REMEMBER_REFERRERS_MAX, "A list of referrers"),
                "staleReferrers": duration(Duration::ZERO, limits::STALE_REFERRERS_MAX, "The last known list of referrers, \
                    where the registry cannot be reached"),
            })),
            "log": table("How the daemon logs.", json!({
                "format": word(&["text", "json"], "text", "The form of a line."),
                "level": word(&["error", "warn", "info", "debug", "trace"], "info", "The least important level written."),
            })),
            "proxy": table("Through whom registries are asked. For a key that is left out the environment counts: HTTPS_PROXY, \
                HTTP_PROXY, NO_PROXY.", json!({
                "https": described("The proxy for https, http://[USER:PASSWORD@]HOST:PORT; empty: none.", or_variable(proxy_url())),
                "http": described("The proxy for http; empty: none.", or_variable(proxy_url())),
                "no": {
                    "description": "Hosts that are asked directly: a host with all below it, .DOMAIN for those below \
                        alone, an address, ADDRESS/BITS, each but that with or without :PORT, or *.",
                    "type": "array",
                    "items": or_variable(json!({ "type": "string", "pattern": PROXY_EXCEPTION })),
                },
            })),
            "cache": table("What is remembered of manifests and blobs, by their digests.", json!({
                "path": described("The folder, by its absolute path; left out: below systemd's cache folder; empty: none.",
                    or_variable(json!({ "type": "string", "pattern": "^(/|$)", "maxLength": limits::EXPANDED_BYTES }))),
                "disk": bytes(0, limits::DISK_BYTES, limits::DISK_BYTES_MAX, "Most bytes on disk."),
                "memory": bytes(0, limits::REMEMBERED_BYTES, limits::REMEMBERED_BYTES_MAX, "Most bytes in memory."),
            })),
            "metrics": table("Where the daemon tells its counters, in the text format of OpenMetrics.", json!({
                "listen": with_default(json!(""), described("An address of loopback with its port, or unix:PATH; empty: nowhere.",
                    or_variable(json!({ "type": "string", "pattern": METRICS_ADDRESS, "maxLength": limits::EXPANDED_BYTES })))),
            })),
            "revocation": table("How it is found out whether certificates were revoked.", json!({
                "fetch": { "description": "Whether OCSP responders are asked and CRLs fetched.", "type": "boolean", "default": true },
                "ocspTimeout": duration(limits::OCSP_TIMEOUT, limits::REVOCATION_TIMEOUT_MAX, "Longest wait for one OCSP responder"),
                "crlTimeout": duration(limits::CRL_TIMEOUT, limits::REVOCATION_TIMEOUT_MAX, "Longest wait for one CRL"),
                "maxCrlBytes": bytes(1, limits::CRL_BYTES, limits::CRL_BYTES, "Largest CRL."),
                "crlFolder": with_default(json!(""), described("A folder with CRLs, by its absolute path; empty: none.",
                    or_variable(json!({ "type": "string", "pattern": "^(/|$)", "maxLength": limits::EXPANDED_BYTES })))),
            })),
            "keyManagementProviders": notation::providers(),
            "plugins": table("Programs of others that have a say in verdicts: where they are, and how they are run.", json!({
                "path": with_default(json!("/usr/libexec/ratifyd/plugins"), described("Their folder, by its absolute path.", or_variable(path()))),
                "kept": with_default(json!("/var/lib/ratifyd/plugins"), described("The folder of those that are fetched, by its \
                    absolute path.", or_variable(path()))),
                "user": with_default(json!("ratifyd-plugins"), described("As whom they run where the daemon is root, by name or \
                    number; never root.", or_variable(json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]+$",
                    "maxLength": limits::USER_NAME_BYTES, "not": { "pattern": "^(root|0+)$" } })))),
                "socket": with_default(json!("/run/ratifyd/plugins.sock"), described("The socket of who runs them where it is not.",
                    or_variable(path()))),
                "timeout": duration(limits::PLUGIN_TIMEOUT, limits::PLUGIN_TIMEOUT_MAX, "How long each may take"),
                "sandbox": word(&["best-effort", "strict"], "best-effort", "Whether plugins of Ratify's protocol are not run where the kernel cannot confine them wholly."),
            })),
            "executors": {
                "description": "Who answers for which scopes.",
                "type": "array",
                "minItems": 1,
                "items": { "$ref": "#/$defs/executor" },
            },
        },
        "$defs": {
            "variable": { "description": "A string with ${NAME} in it: known once it is put in.", "type": "string", "pattern": r"\$\{" },
            "literal": { "description": "Variables are not put in here.", "type": "string", "not": { "pattern": r"\$\{" } },
            "pem": {
                "description": "Certificates or public keys in PEM; variables are not put in here.",
                "type": "string",
                "not": { "pattern": r"\$\{|PRIVATE KEY-----" },
            },
            "executor": executor(),
            "verifier": verifier(),
            "certificates": notation::certificates(),
            "trustPolicyDoc": notation::trust_policy_doc(),
            "trustPolicy": notation::trust_policy(),
            "cosignPolicy": cosign::policy(),
            "tuf": cosign::tuf(),
            "cosignKey": cosign::key(),
            "certificateIdentity": cosign::identity(),
            "told": { "type": "object", "additionalProperties": { "$ref": "#/$defs/toldValue" } },
            "toldValue": { "anyOf": [
                { "type": "string", "maxLength": limits::EXPANDED_BYTES },
                { "type": "integer" },
                { "type": "boolean" },
                { "type": "array", "items": { "$ref": "#/$defs/toldValue" } },
                { "$ref": "#/$defs/told" },
            ] },
            "predicateType": { "type": "string", "not": { "pattern": r"\$\{|^https://sigstore\.dev/cosign/sign/v1$" } },
            "store": store(),
            "registryStore": registry_store(),
            "pluginSource": plugin_source(),
            "credential": credentials::credential(),
            "vault": vault::vault("certificates"),
            "vaultOfKeys": vault::vault("keys"),
            "policyEnforcer": policy_enforcer(),
            "rule": rule(),
        },
    })
}

/// About what a proxy's URL looks like.
fn proxy_url() -> Value {
    let pattern = r"^((https?://)?([^/?#\s]*@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?)?$";
    json!({ "type": "string", "pattern": pattern, "maxLength": limits::EXPANDED_BYTES })
}

/// About what an entry of `NO_PROXY` looks like: its host has a character that is no separator.
const PROXY_EXCEPTION: &str = r"^\s*(\*|(\*?\.)?[^\s*/:\[\].][^\s*/:\[\]]*(:[0-9]{0,5})?|[0-9A-Fa-f:.]+/[0-9]{1,3}|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?(:[0-9]{0,5})?)\s*$";

/// What an address of loopback with a port looks like, or a socket's path.
const METRICS_ADDRESS: &str = r"^(|127(\.[0-9]{1,3}){3}:[0-9]{1,5}|\[[0:]*:0*1\]:[0-9]{1,5}|unix:/.*)$";

fn executor() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["scopes"],
        "properties": {
            "scopes": literals("Patterns of repositories: a repository, all below one (ghcr.io/acme/*), a registry, the \
                hosts one label below a domain (*.acme.example), or * for all. The most specific one wins."),
            "name": { "description": "Its name, by which the source of a plugin names it.", "type": "string", "pattern": "^[A-Za-z0-9._-]+$",
                "maxLength": limits::VERIFIER_NAME_BYTES },
            "pluginTypes": {
                "description": "The types of artifacts that are plugins to it, each by its name.",
                "type": "array", "minItems": 1, "maxItems": limits::PLUGIN_TYPES, "default": [crate::artifact::PLUGIN],
                "items": { "type": "string", "pattern": "^[!-+.-~-]+$", "maxLength": limits::NAME_BYTES, "not": { "pattern": r"\$\{|^\*$" } },
            },
            "mode": word(&["enforce", "audit", "allow", "deny"], "enforce", "enforce refuses what is not verified, audit reports it; allow and deny ask nobody."),
            "digests": {
                "description": "Images that are exempt from verification.",
                "type": "array",
                "items": or_variable(json!({ "type": "string", "pattern": "^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$" })),
                "default": [],
            },
            "concurrency": {
                "description": "Checks of one pull that are under way at once.",
                "type": "integer",
                "minimum": 1,
                "maximum": limits::CONCURRENCY_MAX,
                "default": limits::CONCURRENCY,
            },
            "verifiers": {
                "description": "Who verifies, each with a name of its own.",
                "type": "array",
                "items": { "$ref": "#/$defs/verifier" },
            },
            "stores": {
                "description": "Where artifacts lie; left out, a registry store with its defaults.",
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": { "$ref": "#/$defs/store" },
            },
            "policyEnforcer": { "$ref": "#/$defs/policyEnforcer" },
        },
        "anyOf": [
            { "required": ["verifiers"], "properties": { "verifiers": { "minItems": 1 } } },
            {
                "description": "Without checks the mode must ask nobody.",
                "required": ["mode"],
                "properties": {
                    "mode": or_variable(json!({ "enum": ["allow", "deny"] })),
                    "verifiers": { "maxItems": 0 },
                    "policyEnforcer": false,
                },
            },
        ],
    })
}

fn verifier() -> Value {
    let name = format!("^[A-Za-z0-9._-]{{1,{}}}$", limits::VERIFIER_NAME_BYTES);
    let of_type = |name_of_type: &str, parameters: Value| {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["name", "type", "parameters"],
            "properties": {
                "name": or_variable(json!({ "type": "string", "pattern": name })),
                "type": or_variable(json!({ "enum": [name_of_type] })),
                "parameters": parameters,
            },
        })
    };
    json!({ "anyOf": [
        of_type("notation", notation::parameters()), of_type("cosign", cosign::parameters()), of_type("plugin", plugin(true)),
    ] })
}

/// The parameters of a plugin: of a verifier, or of a store.
fn plugin(of_verifier: bool) -> Value {
    let names = |what: &str, pattern: &str, least: usize| {
        json!({
            "description": what, "type": "array", "minItems": least, "maxItems": limits::PLUGIN_CONFIG,
            "items": { "type": "string", "pattern": pattern, "maxLength": limits::NAME_BYTES, "not": { "pattern": r"\$\{" } },
        })
    };
    let name = match of_verifier {
        true => "The name of its file in the folder of plugins; left out, the verifier's own.",
        false => "The name of its file in the folder of plugins.",
    };
    let mut properties = json!({
        "plugin": described(name, json!({
            "type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]*$", "maxLength": limits::PLUGIN_NAME_BYTES,
        })),
        "source": { "$ref": "#/$defs/pluginSource" },
        "config": described("What it is told, as written.", json!({ "$ref": "#/$defs/told" })),
        "environment": names("The variables of the daemon's environment that it gets.", "^[A-Za-z0-9_]+$", 0),
        "network": { "description": "Whether it may reach others over the network.", "type": "boolean", "default": false },
    });
    if of_verifier {
        let types = names("The types of artifacts that it judges; * is all.", "^[!-+.-~-]+$", 1);
        properties = with("artifactTypes", types, properties);
        let what = "Which program of Ratify's plugin protocol judges, what it judges, and how it is run.";
        return with("required", json!(["artifactTypes"]), table(what, properties));
    }
    let what = "Which program of Ratify's plugin protocol answers, and how it is run.";
    with("required", json!(["plugin"]), table(what, properties))
}

/// Where a plugin is fetched from.
fn plugin_source() -> Value {
    let artifact = r"^([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:[0-9]+)?|[A-Za-z0-9-]+:[0-9]+|localhost|\[[0-9A-Fa-f:.]+\](:[0-9]+)?)/[a-z0-9]\S*$";
    let mut source = table(
        "A registry that the plugin is fetched from, and why it may be run. One of trust, a digest in artifact and \
         allowUnverified must be there.",
        json!({
            "artifact": described("Its reference, by tag or by digest.", or_variable(json!({
                "type": "string", "pattern": artifact, "maxLength": limits::EXPANDED_BYTES }))),
            "trust": { "$ref": "#/$defs/literal", "description": "The executor, by its name, whose policy it must satisfy." },
            "allowUnverified": { "description": "Whether it is run though nobody vouches for it.", "type": "boolean", "default": false },
            "title": { "$ref": "#/$defs/literal", "description": "The title of its blob; left out, the one called as the plugin, or the first." },
            "refreshInterval": duration(limits::PLUGIN_REFRESH, limits::PLUGIN_REFRESH_RANGE[1], "How often it is asked for"),
            "maxBytes": bytes(1, limits::PLUGIN_FETCH_BYTES, limits::PLUGIN_FILE_BYTES, "Largest program."),
            "authProvider": { "$ref": "#/$defs/credential" },
            "store": { "$ref": "#/$defs/registryStore" },
        }),
    );
    if let Some(members) = source.as_object_mut() {
        let allowed =
            json!({ "required": ["allowUnverified"], "properties": { "allowUnverified": { "const": true } } });
        let pinned = json!({ "properties": { "artifact": { "pattern": r"@|\$\{" } } });
        members.insert("required".to_owned(), json!(["artifact"]));
        members.insert("anyOf".to_owned(), json!([{ "required": ["trust"] }, pinned, allowed]));
        members.insert(
            "not".to_owned(),
            json!({ "required": ["trust", "allowUnverified"],
            "properties": { "allowUnverified": { "const": true } } }),
        );
    }
    source
}

fn store() -> Value {
    let layout = json!({
        "description": "Where the OCI layout is.",
        "type": "object",
        "additionalProperties": false,
        "required": ["path"],
        "properties": { "path": described("A folder or an archive, by its absolute path.", or_variable(path())) },
    });
    let of_type = |name: &str, required: Value, parameters: Value| {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": required,
            "properties": { "type": or_variable(json!({ "enum": [name] })), "parameters": parameters },
        })
    };
    json!({
        "anyOf": [
            of_type("registry-store", json!(["type"]), json!({ "$ref": "#/$defs/registryStore" })),
            of_type("filesystem-oci-store", json!(["type", "parameters"]), layout),
            of_type("plugin", json!(["type", "parameters"]), plugin(false)),
        ],
    })
}

/// The parameters of a registry store.
fn registry_store() -> Value {
    let user_agent = json!({ "type": "string", "maxLength": limits::USER_AGENT_BYTES, "pattern": "^[ -~]*$" });
    let folders = or_variable(
        json!({ "type": "string", "pattern": "^:*(/[^:]*(:+/[^:]*)*:*)?$", "maxLength": limits::EXPANDED_BYTES }),
    );
    let config_path = json!({ "anyOf": [folders, { "type": "array", "items": folders }] });
    let base64 = r"^[\r\n]*(([A-Za-z0-9+/][\r\n]*){4})*(([A-Za-z0-9+/][\r\n]*){2}=[\r\n]*=[\r\n]*|([A-Za-z0-9+/][\r\n]*){3}=[\r\n]*)?$";
    with(
        "not",
        json!({ "anyOf": [
        { "required": ["credential", "credentials"] }, { "required": ["allowCosignTag", "cosignEnabled"] },
    ] }),
        table(
            "How registries are asked.",
            json!({
                "plainHttp": {
                    "description": "Plain http for every registry of the executor; loopback never needs it.",
                    "type": "boolean",
                    "default": false,
                },
                "configPath": with_default(json!("/etc/containerd/certs.d:/etc/docker/certs.d"), described("Folders with containerd's \
                    hosts.toml files, joined by colons; empty: none.", config_path)),
                "caPem": { "$ref": "#/$defs/pem", "description": "Certificates that registries are judged by in place of the system's." },
                "caBase64": { "description": "The same in base64, if caPem is not there.", "type": "string", "pattern": base64 },
                "userAgent": described("What registries are told about who asks.", or_variable(user_agent)),
                "maxBlobBytes": bytes(1, limits::BLOB_BYTES, limits::BLOB_BYTES, "Largest blob."),
                "maxManifestBytes": bytes(1, limits::MANIFEST_BYTES, limits::MANIFEST_BYTES, "Largest manifest."),
                "allowCosignTag": {
                    "description": "Whether Cosign verifiers look at the tags where Cosign keeps signatures without referrers.",
                    "type": "boolean",
                    "default": true,
                },
                "cosignEnabled": { "description": "The same, as Ratify v1 calls it.", "type": "boolean" },
                "credential": { "$ref": "#/$defs/credential" },
                "credentials": credentials::credentials(),
                "allowedRealms": credentials::allowed_realms(),
            }),
        ),
    )
}

fn policy_enforcer() -> Value {
    json!({
        "description": "Left out, every verifier must find a valid referrer.",
        "type": "object",
        "additionalProperties": false,
        "required": ["type", "parameters"],
        "properties": {
            "type": or_variable(json!({ "enum": ["threshold-policy"] })),
            "parameters": {
                "type": "object",
                "additionalProperties": false,
                "required": ["policy"],
                "properties": {
                    "policy": {
                        "description": format!("The root of the rules; {} rules and {} levels at most.", limits::POLICY_RULES, limits::DEPTH),
                        "type": "object",
                        "additionalProperties": false,
                        "required": ["rules"],
                        "properties": { "threshold": threshold(), "rules": rules() },
                    },
                },
            },
        },
    })
}

fn rule() -> Value {
    let name = json!({ "$ref": "#/$defs/literal", "description": "The verifier that must find a referrer valid." });
    json!({
        "description": "Below a verifierName, rules are about the referrers of the referrer it found valid.",
        "type": "object",
        "additionalProperties": false,
        "anyOf": [{ "required": ["verifierName"] }, { "required": ["rules"] }],
        "properties": { "verifierName": name, "threshold": threshold(), "rules": rules() },
    })
}

fn rules() -> Value {
    json!({ "type": "array", "minItems": 1, "maxItems": limits::POLICY_RULES, "items": { "$ref": "#/$defs/rule" } })
}

fn threshold() -> Value {
    json!({
        "description": "How many of the rules must hold; 0, the default, stands for all.",
        "type": "integer",
        "minimum": 0,
        "maximum": limits::POLICY_RULES,
        "default": 0,
    })
}

/// An absolute path.
fn path() -> Value {
    json!({ "type": "string", "pattern": "^/", "maxLength": limits::EXPANDED_BYTES })
}

/// A number of bytes.
fn bytes(least: u64, default: u64, most: u64, what: &str) -> Value {
    json!({ "description": what, "type": "integer", "minimum": least, "maximum": most, "default": default })
}

/// A table whose keys may all be left out.
fn table(description: &str, properties: Value) -> Value {
    json!({ "description": description, "type": "object", "additionalProperties": false, "properties": properties })
}

/// One of several words.
fn word(words: &[&str], default: &str, description: &str) -> Value {
    with_default(json!(default), described(description, or_variable(json!({ "enum": words }))))
}

/// A duration as `humantime` reads it.
fn duration(default: Duration, max: Duration, what: &str) -> Value {
    let unit = "(nanos|nsec|ns|usec|us|\u{b5}s|millis|msec|ms|seconds|second|secs|sec|s|minutes|minute|mins|min|m|hours|\
                hour|hrs|hr|h|days|day|d|weeks|week|wks|wk|w|months|month|M|years|year|yrs|yr|y)";
    let pattern = format!(r"^(0|\s*([0-9][0-9\s]*(\.[0-9\s]+)?{unit}\s*)+)$");
    let description = format!("{what}, such as \"90s\" or \"1h 30m\"; at most {}.", humantime::format_duration(max));
    let default = json!(humantime::format_duration(default).to_string());
    with_default(default, described(&description, or_variable(json!({ "type": "string", "pattern": pattern }))))
}

/// An array of strings that take no variables, with at least one.
fn literals(description: &str) -> Value {
    json!({ "description": description, "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/literal" } })
}

/// A string that variables are put into before it is judged.
fn or_variable(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "$ref": "#/$defs/variable" }] })
}

fn described(description: &str, schema: Value) -> Value {
    with("description", json!(description), schema)
}

fn with_default(default: Value, schema: Value) -> Value {
    with("default", default, schema)
}

fn with(key: &str, value: Value, mut schema: Value) -> Value {
    if let Some(keys) = schema.as_object_mut() {
        keys.insert(key.to_owned(), value);
    }
    schema
}
