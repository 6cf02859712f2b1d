//! An Azure Key Vault that certificates or keys come from.

use std::time::Duration;

use serde::Serialize;

use crate::limits;

/// A vault, and what of it is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AzureVault {
    /// Its URL, `https://NAME.vault.azure.net` or that of another of Azure's clouds.
    pub url: String,
    /// The application's id, unless the environment's.
    pub client_id: Option<String>,
    /// The tenant's id, unless the environment's.
    pub tenant_id: Option<String>,
    /// The certificates.
    pub certificates: Vec<VaultItem>,
    /// The keys; one of the two has at least one entry.
    pub keys: Vec<VaultItem>,
    /// How often they are read.
    pub refresh: Duration,
    /// How long they stay in force when they cannot be read again.
    pub max_age: Duration,
}

/// An entry of a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultItem {
    /// Its name.
    pub name: String,
    /// Its version; none: the newest ones that are not disabled.
    pub version: Option<String>,
    /// How many of these.
    pub versions: usize,
}

impl AzureVault {
    /// What holds unless it is configured.
    pub const DEFAULT: (Duration, Duration) = (limits::VAULT_REFRESH, limits::TRUST_AGE);
}
