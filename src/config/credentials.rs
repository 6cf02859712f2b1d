//! Who knows credentials for registries, as configured, and which token services may see them. Plain data for the
//! registry store; no secret in it is ever shown.

use std::path::PathBuf;

use serde::{Serialize, Serializer};

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
    /// Its host, with its port where that is not 443.
    pub host: String,
    /// How the path of its URL begins, in whole components; empty: any path.
    pub path: String,
}

impl Realm {
    /// What its URLs begin with.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}{}", self.host, self.path)
    }
}

impl std::fmt::Display for Realm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.path.is_empty() { self.host.clone() } else { self.url() }.as_str())
    }
}

impl Serialize for Realm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
