//! The key vaults of a process: one for each set of options, whatever configuration is in force, so that a reload asks
//! nobody again.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::environment;
use crate::azure::Who;
use crate::config::{AzureIdentity, AzureVault, Proxy, VaultItem};
use crate::keyvault::{Item, Options, Vault};

/// A vault, and which revision of it was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    vault: Arc<Vault>,
    revision: u64,
}

impl Taken {
    pub(super) fn new(vault: Arc<Vault>, revision: u64) -> Self {
        Self { vault, revision }
    }

    /// Whether what was taken is what is trusted.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.vault.revision() == self.revision
    }
}

/// The vaults that anybody holds.
#[derive(Default)]
pub(super) struct Vaults {
    known: Mutex<Vec<(Options, Proxy, Weak<Vault>)>>,
}

impl Vaults {
    /// The vault of these options.
    pub(super) fn get(&self, vault: &AzureVault, proxy: &Proxy) -> Arc<Vault> {
        let options = options(vault);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, _, vault)| vault.strong_count() > 0);
        let same = known.iter().find(|(other, through, _)| *other == options && through == proxy);
        if let Some(vault) = same.and_then(|(_, _, vault)| vault.upgrade()) {
            return vault;
        }
        let vault = Arc::new(Vault::open(options.clone(), &environment, proxy.clone()));
        known.push((options, proxy.clone(), Arc::downgrade(&vault)));
        vault
    }
}

fn options(vault: &AzureVault) -> Options {
    let AzureVault { url, client_id, tenant_id, certificates, keys, refresh, max_age } = vault.clone();
    let item = |VaultItem { name, version, versions }| Item { name, version, versions };
    Options {
        url,
        // As in Ratify v2: workload identity where it is set up, else the machine's own.
        who: Who { identity: AzureIdentity::Any, client_id, tenant_id },
        certificates: certificates.into_iter().map(item).collect(),
        keys: keys.into_iter().map(item).collect(),
        refresh,
        max_age,
    }
}
