//! Azure's registries: a token of Microsoft Entra is exchanged for a refresh token of the registry (ACR, "POST
//! /oauth2/exchange"). The token of Entra is shown to registries that match `endpoints`, over https, and to nobody else.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use tokio::time::Instant;

use crate::azure::{Entra, MARGIN, Who, post, send};
use crate::cache::kept::Kept;
use crate::config::Proxy;
use crate::json;
use crate::secret::Secret;
use crate::store::registry::credentials::{Credential, Provider, Wanted};

/// The provider over one identity.
pub struct Azure {
    name: &'static str,
    entra: Entra,
    /// Hosts, and `*.DOMAIN` for those one label below.
    endpoints: Vec<String>,
    /// The scheme of registries; another in tests alone.
    scheme: &'static str,
    /// Refresh tokens by registry.
    tokens: Kept<String, Secret>,
}

/// What the configuration says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The provider's configured name.
    pub name: &'static str,
    /// Who we are.
    pub who: Who,
    /// Registries that may see its tokens.
    pub endpoints: Vec<String>,
}

impl Azure {
    /// What the configuration leaves out comes from the environment.
    #[must_use]
    pub fn new(options: Options, environment: &dyn Fn(&str) -> Option<String>, proxy: Proxy) -> Self {
        let entra = Entra::new(&options.who, RESOURCE.to_owned(), environment, proxy);
        Self::with(options, entra, "https")
    }

    fn with(options: Options, entra: Entra, scheme: &'static str) -> Self {
        let Options { name, endpoints, .. } = options;
        Self { name, entra, endpoints, scheme, tokens: Kept::new() }
    }

    fn is_endpoint(&self, host: &str) -> bool {
        let below = host.split_once('.').map(|(_, domain)| domain);
        self.endpoints.iter().any(|endpoint| match endpoint.strip_prefix("*.") {
            Some(domain) => below == Some(domain),
            None => endpoint == host,
        })
    }

    /// A refresh token of a registry, and how long it may be kept.
    async fn exchange(&self, host: &str) -> Result<(Secret, Duration), String> {
        let entra = self.entra.token().await?;
        let mut pairs = vec![("grant_type", "access_token"), ("service", host), ("access_token", entra.expose())];
        pairs.extend(self.entra.tenant().map(|tenant| ("tenant", tenant)));
        let url = format!("{}://{host}/oauth2/exchange", self.scheme);
        let request = post(self.entra.client().await?, &url, &pairs);
        let Exchanged { refresh_token } = send(request, host).await?;
        let keep = lifetime(refresh_token.expose()).unwrap_or(UNKNOWN_LIFETIME).saturating_sub(MARGIN);
        Ok((refresh_token, keep))
    }
}

#[async_trait]
impl Provider for Azure {
    fn name(&self) -> &str {
        self.name
    }

    async fn credential(&self, wanted: &Wanted<'_>, _: Instant) -> Result<Option<Credential>, String> {
        if !self.is_endpoint(wanted.host) {
            return Ok(None);
        }
        let ask = async || self.exchange(wanted.host).await;
        self.tokens.get(wanted.host.to_owned(), ask).await.map(|token| Some(Credential::Identity(token)))
    }

    fn refused(&self, wanted: &Wanted<'_>) {
        if self.is_endpoint(wanted.host) {
            self.tokens.forget(&wanted.host.to_owned());
            self.entra.forget();
        }
    }
}

/// How long a token lives from its issue (RFC 7519, section 4.1). It is not verified here: the registry will.
fn lifetime(token: &str) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
        iat: u64,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { exp, iat } = json::from_slice(&claims).ok()?;
    Some(Duration::from_secs(exp.saturating_sub(iat)))
}

#[derive(Deserialize)]
struct Exchanged {
    refresh_token: Secret,
}

/// What a token of Entra is for: registries, and nothing else.
const RESOURCE: &str = "https://containerregistry.azure.net";

/// What is believed of a refresh token that does not say how long it lives; they live for three hours.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests;
