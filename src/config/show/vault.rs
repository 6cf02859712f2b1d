//! Writes a key vault.

use serde::Serialize;

use crate::config::{AzureVault, VaultItem};

/// The keys of `azurekeyvault`.
pub(super) fn table(vault: &AzureVault) -> VaultTable<'_> {
    let item = |item: &VaultItem| VaultItemTable {
        name: item.name.clone(),
        version: item.version.clone(),
        versions: item.version.is_none().then_some(item.versions),
    };
    VaultTable {
        vault_url: &vault.url,
        client_id: vault.client_id.as_deref(),
        tenant_id: vault.tenant_id.as_deref(),
        certificates: vault.certificates.iter().map(item).collect(),
        keys: vault.keys.iter().map(item).collect(),
        refresh_interval: humantime::format_duration(vault.refresh).to_string(),
        max_trust_age: humantime::format_duration(vault.max_age).to_string(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VaultTable<'a> {
    #[serde(rename = "vaultURL")]
    vault_url: &'a str,
    #[serde(rename = "clientID", skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(rename = "tenantID", skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<VaultItemTable>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<VaultItemTable>,
    refresh_interval: String,
    max_trust_age: String,
}

#[derive(Serialize)]
struct VaultItemTable {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<usize>,
}
