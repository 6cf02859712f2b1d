//! Trusted certificates and public keys from an Azure Key Vault. What was taken out of the vault, or disabled there, is
//! trusted no more from the next reading on. Nothing here decides what a certificate or a key is trusted for.

use std::time::Duration;

use crate::azure::{Entra, Who};
use crate::config::Proxy;
use crate::trust::remote::{Remote, Terms};

mod jwk;
mod rest;

pub use rest::{Contents, Item};

use rest::Rest;

/// What is asked of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its URL, such as `https://NAME.vault.azure.net`.
    pub url: String,
    /// Who asks.
    pub who: Who,
    /// The certificates that are trusted.
    pub certificates: Vec<Item>,
    /// The keys that are trusted.
    pub keys: Vec<Item>,
    /// How often they are read.
    pub refresh: Duration,
    /// How long they are trusted when they cannot be read again.
    pub max_age: Duration,
}

/// A vault and what was last read of it.
pub type Vault = Remote<Contents>;

/// Begins to read a vault.
#[must_use]
pub fn open(options: Options, environment: &dyn Fn(&str) -> Option<String>, proxy: Proxy) -> Vault {
    let entra = Entra::new(&options.who, rest::audience(&options.url), environment, proxy);
    over(entra, options)
}

fn over(entra: Entra, options: Options) -> Vault {
    let Options { url, certificates, keys, refresh, max_age, .. } = options;
    let rest = Rest::new(entra, &url);
    let terms = Terms { what: format!("key vault {url}"), refresh, max_age };
    Remote::open(terms, None, async move || rest.contents(&certificates, &keys).await)
}

#[cfg(test)]
mod tests;
