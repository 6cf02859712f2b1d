//! The part of the schema that is about Cosign verifiers: trust policies, keys and identities.

use serde_json::{Value, json};

use crate::config::{TufInstance, TufSource};
use crate::limits;

use super::notation::{path, paths};
use super::{described, duration, literals, or_variable, table, with, with_default, word};

/// The parameters of a Cosign verifier.
pub(super) fn parameters() -> Value {
    let root = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name"],
        "anyOf": [
            { "required": ["file"], "properties": { "tuf": false } },
            { "required": ["tuf"], "properties": { "file": false } },
        ],
        "properties": {
            "name": described("Its name.", name()),
            "file": described("A trusted_root.json, by its absolute path.", or_variable(path())),
            "tuf": { "$ref": "#/$defs/tuf" },
        },
    });
    let parameters = table(
        "What is trusted, and what a signature must be bound to.",
        json!({
            "trustPolicies": {
                "description": "Who is trusted where; the most specific scope wins.",
                "type": "array",
                "minItems": 1,
                "items": { "$ref": "#/$defs/cosignPolicy" },
            },
            "trustedRoots": {
                "description": "What keyless signatures, logs and timestamps are judged by.",
                "type": "array",
                "items": root,
                "default": [],
            },
            "predicateTypes": described("The attestations that are asked for, by their predicate types; left out, signatures are.",
                with("items", json!({ "$ref": "#/$defs/predicateType" }), literals(""))),
            "dockerReference": word(&["exact", "repository", "ignore"], "repository", "Whether the name that a signature of the \
                older form states must be the image's repository, without or with a tag."),
            "remap": rewrites("Under which names images were signed that are pulled under others."),
            "signatureRepository": rewrites("Where signatures lie that are not beside their images."),
            "maxSignatures": {
                "description": "How many signatures of one image are judged at most.",
                "type": "integer",
                "minimum": 1,
                "maximum": limits::SIGNATURES_MAX,
                "default": limits::SIGNATURES,
            },
            "key": described("A file with the one public key that is trusted, by its absolute path (Ratify v1).", or_variable(path())),
        }),
    );
    let ways = json!([
        { "required": ["trustPolicies"], "properties": { "key": false } },
        { "required": ["key"], "properties": { "trustPolicies": false } },
    ]);
    with("anyOf", ways, parameters)
}

/// A TUF repository that a trusted root comes from.
pub(super) fn tuf() -> Value {
    let instance = json!({ "enum": TufInstance::ALL.map(|(word, _)| word) });
    let (refresh, max_age) = TufSource::TIMES;
    let mirror = json!({ "type": "string", "pattern": "^(/|https://|http://(localhost|127\\.|\\[::1\\]))" });
    let target = json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$", "maxLength": limits::PATH_BYTES });
    let repository = json!({
        "type": "object",
        "additionalProperties": false,
        "anyOf": [
            { "required": ["instance"], "properties": { "root": false } },
            { "required": ["root", "mirror"], "properties": { "instance": false } },
        ],
        "properties": {
            "instance": described("A well-known repository, whose first root comes with ratifyd.", or_variable(instance.clone())),
            "root": described("The root.json in which trust begins, by its absolute path.", or_variable(path())),
            "mirror": described("Where it is: an https URL, or the absolute path of a folder.", or_variable(mirror)),
            "target": with_default(json!(TufSource::TARGET), described("The file that is wanted.", or_variable(target))),
            "refreshInterval": duration(refresh, limits::TRUST_AGE_MAX, "How often it is asked for; at least 1m"),
            "maxTrustAge": duration(max_age, limits::TRUST_AGE_MAX, "How long it stays in force when it cannot be asked for again; at least refreshInterval"),
        },
    });
    json!({
        "description": "A repository of The Update Framework: the name of a well-known one, or where one is.",
        "anyOf": [or_variable(instance), repository],
    })
}

/// One of `trustPolicies`.
pub(super) fn policy() -> Value {
    let flag = |what: &str, default: Option<bool>| {
        let flag = json!({ "description": what, "type": "boolean" });
        default.map_or(flag.clone(), |default| with_default(json!(default), flag))
    };
    let mut policy = table(
        "Who is trusted, and what is asked for.",
        json!({
            "version": described("The version of its form (Ratify v1).", json!({ "enum": ["", "1.0.0"] })),
            "name": described("Its name.", name()),
            "scopes": {
                "description": "Patterns of repositories, as those of executors; left out, wherever the verifier is asked.",
                "type": "array",
                "items": { "$ref": "#/$defs/literal" },
            },
            "trustedRoots": literals("The trusted roots that count, by name; left out, all of them."),
            "annotations": {
                "description": "What every signature must state.",
                "type": "object",
                "additionalProperties": { "$ref": "#/$defs/literal" },
            },
            "keys": {
                "description": "The public keys that are trusted.",
                "anyOf": [
                    key_table(),
                    { "type": "array", "items": { "$ref": "#/$defs/cosignKey" } },
                    { "const": null },
                ],
            },
            "certificateChain": with("required", json!(["roots"]), table("An own authority, in place of a trusted root's.", json!({
                "roots": paths("Absolute paths of files with its roots."),
                "intermediates": { "description": "Absolute paths of files with those between.", "type": "array", "items": or_variable(path()) },
            }))),
            "identities": {
                "description": "Several identities that are trusted alike.",
                "type": "array",
                "minItems": 1,
                "items": { "$ref": "#/$defs/certificateIdentity" },
            },
            "keyless": {
                "anyOf": [
                    table("The identity that is trusted (Ratify v1).", keyless()),
                    { "const": null },
                ],
            },
            "ignoreTLog": flag("Whether a signature counts without a transparency log.", Some(false)),
            "tLogVerify": flag("The opposite (Ratify v1).", None),
            "ignoreCTLog": flag("Whether a certificate counts without a certificate transparency log; left out, under an own \
                authority alone.", None),
            "ignoreObserverTimestamps": flag("Whether a key's signature counts without anybody who says when it was made; left \
                out, where ignoreTLog is true.", None),
        }),
    );
    if let (Some(keys), Value::Object(own)) =
        (policy.get_mut("properties").and_then(Value::as_object_mut), identity_keys())
    {
        keys.extend(own);
    }
    policy
}

/// One of `identities`.
pub(super) fn identity() -> Value {
    table("Whom a certificate must be for.", identity_keys())
}

fn identity_keys() -> Value {
    json!({
        "certificateIdentity": literal("The signer: an e-mail address or a URI."),
        "certificateIdentityRegex": literal("The same by a regular expression that matches the whole."),
        "certificateSubject": literal("Under an own authority: attributes that the certificate's subject has, such as CN=x,O=y."),
        "certificateOIDCIssuer": literal("Who vouched for the signer."),
        "certificateOIDCIssuerRegex": literal("The same by a regular expression that matches the whole."),
        "certificateExtensions": {
            "description": "What else the certificate must say: repository, workflow, ref, trigger, sha, or the names of \
                Fulcio's extensions; with Regex behind the name by a regular expression.",
            "type": "object",
            "additionalProperties": { "$ref": "#/$defs/literal" },
        },
    })
}

/// Ratify v1's `keyless`.
fn keyless() -> Value {
    json!({
        "ctLogVerify": { "description": "The opposite of ignoreCTLog.", "type": "boolean" },
        "certificateIdentity": literal("The signer."),
        "certificateIdentityRegExp": literal("The same by a regular expression that matches the whole."),
        "certificateOIDCIssuer": literal("Who vouched for the signer."),
        "certificateOIDCIssuerRegExp": literal("The same by a regular expression that matches the whole."),
        "certificateSubject": literal("Under an own authority: attributes that the certificate's subject has."),
        "certificateExtensions": { "description": "What else the certificate must say.", "type": "object",
            "additionalProperties": { "$ref": "#/$defs/literal" } },
    })
}

/// `keys` as a table.
fn key_table() -> Value {
    let mut keys = table(
        "Keys of one name.",
        json!({
            "name": described("Whose they are; keys of one name are one signer.", key_name()),
            "files": paths("Absolute paths of files with public keys in PEM."),
            "inline": inline(),
            "azurekeyvault": { "$ref": "#/$defs/vaultOfKeys" },
        }),
    );
    let sources = json!([{ "required": ["files"] }, { "required": ["inline"] }, { "required": ["azurekeyvault"] }]);
    keys = with("anyOf", sources, keys);
    keys
}

/// An item of `keys` as a list.
pub(super) fn key() -> Value {
    let key = table(
        "One source of keys.",
        json!({
            "name": described("Whose it is; of a provider, the key's name there.", json!({ "anyOf": [key_name(), { "const": "" }] })),
            "file": described("The file, by its absolute path.", or_variable(path())),
            "inline": inline(),
            "azurekeyvault": { "$ref": "#/$defs/vaultOfKeys" },
            "provider": literal("A key management provider (Ratify v1)."),
            "version": literal("The version of a provider's key."),
        }),
    );
    let sources = ["file", "inline", "azurekeyvault", "provider"].map(|source| json!({ "required": [source] }));
    with("anyOf", json!(sources), key)
}

/// Keys in PEM.
fn inline() -> Value {
    json!({
        "description": "Public keys in PEM.",
        "anyOf": [
            { "$ref": "#/$defs/pem" },
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["keys"],
                "properties": { "keys": { "$ref": "#/$defs/pem" } },
            },
        ],
    })
}

fn rewrites(what: &str) -> Value {
    let rewrite = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["from", "to"],
        "properties": {
            "from": literal("A pattern of repositories, as scopes are."),
            "to": literal("A repository; or one or a registry with /*, for what is below the pattern."),
        },
    });
    json!({ "description": what, "type": "array", "items": rewrite, "default": [] })
}

fn literal(what: &str) -> Value {
    json!({ "$ref": "#/$defs/literal", "description": what })
}

fn name() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": limits::VERIFIER_NAME_BYTES, "not": { "pattern": r"\$\{" } })
}

fn key_name() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": limits::KEY_NAME_BYTES, "not": { "pattern": r"\$\{" } })
}
