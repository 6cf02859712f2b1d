//! The part of the schema that is about Notation verifiers: trust policies and trust stores.

use serde_json::{Value, json};

use crate::limits;

use super::{described, literals, or_variable, table, with_default, word};

/// The parameters of a Notation verifier.
pub(super) fn parameters() -> Value {
    let path = |what: &str| described(what, or_variable(path()));
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "notationConfig": path("A folder laid out as notation's, by its absolute path: trustpolicy.oci.json or \
                trustpolicy.json, and truststore/x509/TYPE/NAME/."),
            "trustPolicyDoc": { "$ref": "#/$defs/trustPolicyDoc" },
            "trustPolicyFile": path("A file with a trust policy document in JSON, by its absolute path."),
            "certificates": {
                "description": "Trust stores, or parts of them: those of one type and name are one.",
                "type": "array",
                "minItems": 1,
                "items": { "$ref": "#/$defs/certificates" },
            },
            "verificationCerts": paths("Files and folders of certificates, by their absolute paths, that vouch for signers \
                under every name that no other trust store has (Ratify v1)."),
            "verificationCertStores": cert_stores(),
            "trustedIdentities": with_default(json!(["*"]), literals("Whose signatures count: x509.subject: and \
                attributes of the subject, or * for everybody whom the certificates vouch for.")),
            "signatureVerification": signature_verification(),
            "scopes": with_default(json!(["*"]), registry_scopes()),
            "userMetadata": {
                "description": "What every signature must state.",
                "type": "object",
                "additionalProperties": { "$ref": "#/$defs/literal" },
            },
            "pluginConfig": {
                "description": "What verification plugins are told: names and texts.",
                "type": "object",
                "maxProperties": limits::PLUGIN_CONFIG,
                "additionalProperties": { "type": "string", "maxLength": limits::EXPANDED_BYTES },
                "default": {},
            },
            "allowSkip": {
                "description": "Whether a trust policy of level skip exempts what it names; else it satisfies nothing.",
                "type": "boolean",
                "default": false,
            },
        },
        "anyOf": [
            {
                "required": ["notationConfig"],
                "properties": {
                    "trustPolicyDoc": false, "trustPolicyFile": false,
                    "certificates": false, "verificationCerts": false, "verificationCertStores": false,
                    "trustedIdentities": false, "signatureVerification": false, "scopes": false,
                },
            },
            {
                "required": ["trustPolicyDoc"],
                "properties": {
                    "notationConfig": false, "trustPolicyFile": false,
                    "trustedIdentities": false, "signatureVerification": false, "scopes": false,
                },
            },
            {
                "required": ["trustPolicyFile"],
                "properties": {
                    "notationConfig": false, "trustPolicyDoc": false,
                    "trustedIdentities": false, "signatureVerification": false, "scopes": false,
                },
            },
            {
                "description": "Without a document: one trust policy for all, of these keys.",
                "properties": {
                    "notationConfig": false, "trustPolicyDoc": false, "trustPolicyFile": false,
                    "signatureVerification": { "properties": { "level": { "enum": ["strict", "permissive", "audit"] } } },
                },
                "anyOf": [
                    { "required": ["certificates"] },
                    { "required": ["verificationCerts"] },
                    { "required": ["verificationCertStores"] },
                ],
            },
        ],
    })
}

/// One item of `certificates`.
pub(super) fn certificates() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "anyOf": [{ "required": ["files"] }, { "required": ["inline"] }, { "required": ["azurekeyvault"] }],
        "properties": {
            "type": word(&["ca", "signingAuthority", "tsa"], "ca", "The type of the trust store."),
            "name": with_default(json!("ratify"), described("Its name, as in ca:NAME of a trust policy.", store_name())),
            "azurekeyvault": { "$ref": "#/$defs/vault" },
            "files": paths("Absolute paths of files with certificates in PEM or DER, or of folders of such."),
            "inline": {
                "description": "Certificates in PEM.",
                "anyOf": [
                    { "$ref": "#/$defs/pem" },
                    {
                        "type": "object",
                        "additionalProperties": false,
                        "required": ["certs"],
                        "properties": { "certs": { "$ref": "#/$defs/pem" } },
                    },
                ],
            },
        },
    })
}

/// A trust policy document.
pub(super) fn trust_policy_doc() -> Value {
    json!({
        "description": "A trust policy document of the Notary Project; everything in it stands as written.",
        "type": "object",
        "additionalProperties": false,
        "required": ["version", "trustPolicies"],
        "properties": {
            "version": { "description": "The version of its form.", "const": "1.0" },
            "trustPolicies": {
                "description": "Each about other repositories.",
                "type": "array",
                "minItems": 1,
                "items": { "$ref": "#/$defs/trustPolicy" },
            },
        },
    })
}

/// One statement of a document.
pub(super) fn trust_policy() -> Value {
    let name = r"^(ca|signingAuthority|tsa):([A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*|\.{3,})$";
    let or_null = |schema: Value| json!({ "anyOf": [schema, { "const": null }] });
    let stores = json!({ "type": "array", "items": { "type": "string", "pattern": name } });
    let identities = json!({ "type": "array", "items": { "$ref": "#/$defs/literal" } });
    let verifies = json!({ "properties": { "level": { "enum": ["strict", "permissive", "audit"] } } });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "registryScopes", "signatureVerification"],
        "properties": {
            "name": { "description": "Its name.", "type": "string", "pattern": r"^(?s:.)+$", "not": { "pattern": r"\$\{" } },
            "registryScopes": registry_scopes(),
            "signatureVerification": signature_verification(),
            "trustStores": described("The trust stores, each as TYPE:NAME.", or_null(stores)),
            "trustedIdentities": described("Whose signatures count.", or_null(identities)),
        },
        "anyOf": [
            {
                "properties": {
                    "signatureVerification": verifies,
                    "trustStores": { "type": "array", "minItems": 1 },
                    "trustedIdentities": { "type": "array", "minItems": 1 },
                },
                "required": ["trustStores", "trustedIdentities"],
            },
            {
                "description": "Level skip names repositories, and trusts nobody.",
                "properties": {
                    "registryScopes": { "not": { "const": ["*"] } },
                    "signatureVerification": { "properties": { "level": { "const": "skip" } } },
                    "trustStores": { "anyOf": [{ "const": null }, { "const": [] }] },
                    "trustedIdentities": { "anyOf": [{ "const": null }, { "const": [] }] },
                },
            },
        ],
    })
}

fn registry_scopes() -> Value {
    let repository = r"^[^\s/@*$]+/[a-z0-9]([a-z0-9._/-]*[a-z0-9])?$";
    json!({
        "description": "Whole repositories with their registry, or * alone for all that no other trust policy names.",
        "anyOf": [
            { "const": ["*"] },
            { "type": "array", "minItems": 1, "items": { "type": "string", "pattern": repository } },
        ],
    })
}

fn signature_verification() -> Value {
    let described_enum = |what: &str, words: Value| json!({ "description": what, "enum": words });
    let log = json!(["enforce", "log"]);
    let mut verification = table(
        "What is enforced.",
        json!({
            "level": described_enum("The level.", json!(["strict", "permissive", "audit", "skip"])),
            "override": table("What differs from the level.", json!({
                "authenticity": described_enum("That the signer is trusted.", log.clone()),
                "authenticTimestamp": described_enum("That it was signed while its certificates were valid.", log.clone()),
                "expiry": described_enum("That the signature has not expired.", log),
                "revocation": described_enum("That no certificate was taken back.", json!(["enforce", "log", "skip"])),
            })),
            "verifyTimestamp": with_default(json!("always"), described_enum("When a timestamp is asked for, if a trust store \
                of type tsa is named.", json!(["always", "afterCertExpiry"]))),
        }),
    );
    if let Some(keys) = verification.as_object_mut() {
        keys.insert("required".to_owned(), json!(["level"]));
        keys.insert(
            "anyOf".to_owned(),
            json!([
                { "properties": { "level": { "enum": ["strict", "permissive", "audit"] } } },
                { "properties": { "override": { "const": {} } } },
            ]),
        );
    }
    verification
}

/// Names of key management providers by trust store.
fn cert_stores() -> Value {
    let stores = json!({
        "type": "object",
        "propertyNames": store_name(),
        "additionalProperties": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/literal" } },
    });
    let mut legacy = stores.clone();
    if let Some(keys) = legacy.as_object_mut() {
        keys.insert("minProperties".to_owned(), json!(1));
    }
    json!({
        "description": "Trust stores as lists of keyManagementProviders, by type and name; without types they are of type ca \
            (Ratify v1).",
        "anyOf": [
            {
                "type": "object",
                "additionalProperties": false,
                "minProperties": 1,
                "properties": { "ca": stores, "signingAuthority": stores, "tsa": stores },
            },
            legacy,
        ],
    })
}

/// `keyManagementProviders`.
pub(super) fn providers() -> Value {
    let name = format!("^[A-Za-z0-9._/-]{{1,{}}}$", limits::PROVIDER_NAME_BYTES);
    let parameters = table(
        "Its certificates, or its public key.",
        json!({
            "contentType": or_variable(json!({ "enum": ["certificate", "key"] })),
            "value": { "$ref": "#/$defs/pem" },
        }),
    );
    let of_type = |name_of_type: &str, parameters: Value| {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["name", "type", "parameters"],
            "properties": {
                "name": { "type": "string", "pattern": name },
                "type": or_variable(json!({ "enum": [name_of_type] })),
                "parameters": parameters,
            },
        })
    };
    json!({
        "description": "Certificates that verificationCertStores name, and keys that trust policies name (Ratify v1).",
        "type": "array",
        "items": {
            "anyOf": [
                of_type("inline", super::with("required", json!(["contentType", "value"]), parameters)),
                of_type("azurekeyvault", super::vault::vault_of_both()),
            ],
        },
    })
}

fn store_name() -> Value {
    json!({ "type": "string", "pattern": r"^([A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*|\.{3,})$" })
}

pub(super) fn path() -> Value {
    json!({ "type": "string", "pattern": "^/", "maxLength": limits::EXPANDED_BYTES })
}

pub(super) fn paths(what: &str) -> Value {
    json!({ "description": what, "type": "array", "minItems": 1, "items": or_variable(path()) })
}
