//! From the configured sources of credentials to the providers that are asked. Opens no file: the providers do when they
//! are asked, and again when a file changes.

use super::environment;
use crate::azure::Who;
use crate::config::{CredentialSource, Password, Proxy};
use crate::store::registry::credentials::azure::{Azure, Options};
use crate::store::registry::credentials::docker::DockerConfig;
use crate::store::registry::credentials::fixed::Fixed;
use crate::store::registry::credentials::kubelet::Kubelet;
use crate::store::registry::credentials::{Chain, Provider};

/// The providers in their order.
pub(super) fn chain(sources: &[CredentialSource], proxy: &Proxy) -> Chain {
    Chain::new(sources.iter().map(|source| provider(source, proxy)).collect())
}

fn provider(source: &CredentialSource, proxy: &Proxy) -> Box<dyn Provider> {
    match source {
        CredentialSource::DockerConfig(None) => Box::new(DockerConfig::at_usual_places(&environment)),
        CredentialSource::DockerConfig(Some(path)) => {
            Box::new(DockerConfig::of(path.clone(), environment("PATH").unwrap_or_default()))
        }
        CredentialSource::Kubelet { config, bin_dir } => Box::new(Kubelet::new(config.clone(), bin_dir.clone())),
        CredentialSource::Static { username, password, registries } => {
            let (username, registries) = (username.clone(), registries.clone());
            Box::new(match password {
                Password::Given(password) => Fixed::new(username, password.clone(), registries),
                Password::File(path) => Fixed::from_file(username, path.clone(), registries),
            })
        }
        CredentialSource::Azure { identity, client_id, tenant_id, endpoints } => {
            let options = Options {
                name: identity.provider(),
                who: Who { identity: *identity, client_id: client_id.clone(), tenant_id: tenant_id.clone() },
                endpoints: endpoints.clone(),
            };
            Box::new(Azure::new(options, &environment, proxy.clone()))
        }
    }
}
