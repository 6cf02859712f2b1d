//! Who knows credentials for registries, as configured, and which token services may see them. Plain data for the
//! registry store; no secret in it is ever shown.

use std::path::PathBuf;

use serde::{Serialize, Serializer};
use url::Url;

use crate::secret::Secret;

/// One source of credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum CredentialSource {
    /// docker's config.json, at this path or at its usual places.
    DockerConfig(Option<PathBuf>),
    /// The kubelet's credential providers.
    Kubelet {
        /// The kubelet's CredentialProviderConfig.
        config: PathBuf,
        /// The folder of the programs.
        bin_dir: PathBuf,
    },
    /// One user and password.
    Static {
        /// The user; empty: the password is a refresh token.
        username: String,
        /// The password.
        password: Password,
        /// Canonical hosts that it is shown to; empty: all.
        registries: Vec<String>,
    },
    /// An identity of Azure.
    Azure {
        /// Which kind of it.
        identity: AzureIdentity,
        /// The application's id, unless the environment's.
        client_id: Option<String>,
        /// The tenant's id, unless the environment's.
        tenant_id: Option<String>,
        /// Registries that may see its tokens: hosts, and `*.DOMAIN` for those one label below.
        endpoints: Vec<String>,
    },
}

/// Where a password is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Password {
    /// In the configuration.
    Given(Secret),
    /// In a file.
    File(PathBuf),
}

/// Which identity of Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum AzureIdentity {
    /// Workload identity where it is set up, else the machine's own (Ratify v2's `azure`).
    Any,
    /// Workload identity.
    Workload,
    /// The machine's own.
    Managed,
}

impl AzureIdentity {
    /// The provider's name in the configuration.
    #[must_use]
    pub fn provider(self) -> &'static str {
        match self {
            Self::Any => "azure",
            Self::Workload => "azureWorkloadIdentity",
            Self::Managed => "azureManagedIdentity",
        }
    }
}

/// A token service that may see credentials of registries on other hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm {
    /// Its canonical host, with its port where that is not 443.
    pub host: String,
    /// How the path of its URL begins, in whole components; empty: any path.
    pub path: String,
}

impl Realm {
    /// Whether a URL belongs to it. Only https does.
    #[must_use]
    pub fn covers(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let is_host = crate::reference::canonical_host(&format!("{host}{port}")).is_ok_and(|host| host == self.host);
        let below = url.path().strip_prefix(self.path.as_str());
        url.scheme() == "https" && is_host && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl std::fmt::Display for Realm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() { f.write_str(&self.host) } else { write!(f, "https://{}{}", self.host, self.path) }
    }
}

impl Serialize for Realm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_covers_https_urls_of_its_host_below_its_path() {
        let realm = |host: &str, path: &str| Realm { host: host.to_owned(), path: path.to_owned() };
        let covers = |realm: &Realm, url: &str| realm.covers(&Url::parse(url).unwrap());
        let any = realm("auth.example", "");
        for url in ["https://auth.example", "https://AUTH.example:443/token?x=y", "https://auth.example./a"] {
            assert!(covers(&any, url), "{url}");
        }
        for url in
            ["http://auth.example/", "https://auth.example:444/", "https://x.auth.example/", "https://auth.example.x/"]
        {
            assert!(!covers(&any, url), "{url}");
        }
        let below = realm("auth.example:444", "/a/b");
        assert!(covers(&below, "https://auth.example:444/a/b/c") && covers(&below, "https://auth.example:444/a/b?q"));
        for url in [
            "https://auth.example:444/a/bc",
            "https://auth.example:444/a",
            "https://auth.example:444/a/b/../x",
            "https://auth.example/a/b",
        ] {
            assert!(!covers(&below, url), "{url}");
        }
        assert_eq!(
            (any.to_string(), below.to_string()),
            ("auth.example".to_owned(), "https://auth.example:444/a/b".to_owned())
        );
    }
}
