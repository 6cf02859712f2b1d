//! The part of the schema that is about key vaults.

use serde_json::{Value, json};

use super::{described, duration, or_variable};
use crate::limits;

/// An Azure Key Vault that certificates come from, or keys.
pub(super) fn vault(entries: &str) -> Value {
    let mut vault = keys_of(&[entries]);
    vault = super::with("required", json!([entries]), vault);
    vault
}

/// An Azure Key Vault that certificates and keys may come from.
pub(super) fn vault_of_both() -> Value {
    let required = json!({ "anyOf": [{ "required": ["certificates"] }, { "required": ["keys"] }] });
    super::with("allOf", json!([required]), keys_of(&["certificates", "keys"]))
}

fn keys_of(entries: &[&str]) -> Value {
    let url = r"^https://[A-Za-z0-9-]{3,24}\.vault\.(azure\.net|azure\.cn|usgovcloudapi\.net)/?$";
    let url = or_variable(json!({ "type": "string", "pattern": url }));
    // Ratify v1's samples leave some keys without a value, which YAML reads as null.
    let or_null = |schema: Value| json!({ "anyOf": [schema, { "const": null }] });
    let id = || or_null(or_variable(json!({ "type": "string", "pattern": "^[A-Za-z0-9.-]*$", "maxLength": 253 })));
    let word = |pattern: &str| or_variable(json!({ "type": "string", "pattern": pattern, "maxLength": 127 }));
    let (refresh, max_age) = (limits::VAULT_REFRESH, limits::TRUST_AGE);
    let item = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name"],
        "properties": {
            "name": described("Its name in the vault.", word("^[A-Za-z0-9-]+$")),
            "version": described("Its version; left out, the newest ones.", or_null(word("^[A-Za-z0-9]*$"))),
            "versions": {
                "description": "How many of the newest versions that are not disabled are trusted.",
                "type": "integer",
                "minimum": 1,
                "maximum": limits::VAULT_ITEMS,
                "default": 1,
            },
        },
        "not": {
            "required": ["version", "versions"],
            "properties": { "version": { "type": "string", "pattern": "." } },
        },
    });
    let mut vault = json!({
        "description": "An Azure Key Vault.",
        "type": "object",
        "additionalProperties": false,
        "anyOf": [{ "required": ["vaultURL"] }, { "required": ["vaultURI"] }],
        "not": { "required": ["vaultURL", "vaultURI"] },
        "properties": {
            "vaultURL": described("https://NAME.vault.azure.net, or that of another cloud.", url.clone()),
            "vaultURI": described("The same, as Ratify v1 calls it.", url),
            "clientID": described("The application's id; left out, AZURE_CLIENT_ID.", id()),
            "tenantID": described("The tenant's id; left out, AZURE_TENANT_ID.", id()),
            "refreshInterval": duration(refresh, limits::TRUST_AGE_MAX, "How often they are read; at least 1m"),
            "maxTrustAge": duration(max_age, limits::TRUST_AGE_MAX, "How long they stay in force when they cannot be read again; at least refreshInterval"),
        },
    });
    if let Some(properties) = vault.get_mut("properties").and_then(Value::as_object_mut) {
        for entry in entries {
            let list = json!({
                "description": format!("The {entry} that are trusted."),
                "type": "array",
                "minItems": 1,
                "maxItems": limits::VAULT_ITEMS,
                "items": item,
            });
            properties.insert((*entry).to_owned(), list);
        }
    }
    vault
}
