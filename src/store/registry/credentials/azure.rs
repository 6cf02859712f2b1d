//! Azure's registries: a token of Microsoft Entra, got by workload identity (RFC 7523, section 2.2) or from the instance
//! metadata service, is exchanged for a refresh token of the registry (ACR, "POST /oauth2/exchange"). The token of Entra
//! is shown to registries that match `endpoints`, over https, and to nobody else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Client, RequestBuilder, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use crate::config::{AzureIdentity, Proxy};
use crate::json;
use crate::limits;
use crate::secret::Secret;
use crate::store::registry::credentials::fixed;
use crate::store::registry::credentials::kept::Kept;
use crate::store::registry::credentials::watched::{Unread, Watched, json_cause};
use crate::store::registry::credentials::{Credential, Provider, Wanted};

/// The provider over one identity.
pub struct Azure {
    name: &'static str,
    /// Or why there is none.
    identity: Result<Identity, String>,
    /// Hosts, and `*.DOMAIN` for those one label below.
    endpoints: Vec<String>,
    doors: Doors,
    clients: Clients,
    /// Refresh tokens by registry.
    tokens: Kept<String, Secret>,
    /// The token of Entra.
    entra: Kept<(), Secret>,
}

/// Who we are to Entra.
enum Identity {
    Workload { authority: String, tenant: String, client: String, token: Watched<Secret> },
    Managed { client: Option<String>, tenant: Option<String> },
}

/// Where to ask; other places in tests alone.
struct Doors {
    metadata: String,
    /// The scheme of registries.
    scheme: &'static str,
}

/// What the configuration says of the identity.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its configured name.
    pub name: &'static str,
    /// Which kind of it.
    pub identity: AzureIdentity,
    /// The application's id.
    pub client_id: Option<String>,
    /// The tenant's id.
    pub tenant_id: Option<String>,
    /// Registries that may see its tokens.
    pub endpoints: Vec<String>,
}

impl Azure {
    /// What the configuration leaves out comes from the environment that Azure's webhook sets (`AZURE_CLIENT_ID`,
    /// `AZURE_TENANT_ID`, `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_AUTHORITY_HOST`). The metadata service is never asked
    /// through a proxy.
    #[must_use]
    pub fn new(options: Options, environment: &dyn Fn(&str) -> Option<String>, proxy: Proxy) -> Self {
        let doors = Doors { metadata: METADATA.to_owned(), scheme: "https" };
        let authority = environment("AZURE_AUTHORITY_HOST").filter(|host| !host.is_empty());
        let authority = authority.unwrap_or_else(|| AUTHORITY.to_owned());
        let identity = if authority.starts_with("https://") {
            identity(&options, authority, environment)
        } else {
            Err("AZURE_AUTHORITY_HOST is no https URL".to_owned())
        };
        Self::with(options, identity, doors, proxy)
    }

    fn with(options: Options, identity: Result<Identity, String>, doors: Doors, proxy: Proxy) -> Self {
        let Options { name, endpoints, .. } = options;
        let (clients, tokens, entra) = (Clients::new(proxy), Kept::new(), Kept::new());
        Self { name, identity, endpoints, doors, clients, tokens, entra }
    }

    fn is_endpoint(&self, host: &str) -> bool {
        let below = host.split_once('.').map(|(_, domain)| domain);
        self.endpoints.iter().any(|endpoint| match endpoint.strip_prefix("*.") {
            Some(domain) => below == Some(domain),
            None => endpoint == host,
        })
    }

    /// A refresh token of a registry, and how long it may be kept.
    async fn exchange(&self, identity: &Identity, host: &str) -> Result<(Secret, Duration), String> {
        let entra = self.entra.get((), async || self.entra(identity).await).await?;
        let mut pairs = vec![("grant_type", "access_token"), ("service", host), ("access_token", entra.expose())];
        if let Identity::Workload { tenant, .. } | Identity::Managed { tenant: Some(tenant), .. } = identity {
            pairs.push(("tenant", tenant));
        }
        let url = format!("{}://{host}/oauth2/exchange", self.doors.scheme);
        let request = post(self.clients.outside().await?, &url, &pairs);
        let Exchanged { refresh_token } = send(request, host).await?;
        let keep = lifetime(refresh_token.expose()).unwrap_or(UNKNOWN_LIFETIME).saturating_sub(MARGIN);
        Ok((refresh_token, keep))
    }

    /// A token of Entra for registries.
    async fn entra(&self, identity: &Identity) -> Result<(Secret, Duration), String> {
        let (request, who) = match identity {
            Identity::Workload { authority, tenant, client, token } => {
                let assertion = token.now().await.map_err(Unread::into_cause)?;
                let scope = format!("{RESOURCE}/.default");
                let pairs = [
                    ("grant_type", "client_credentials"),
                    ("client_id", client),
                    ("scope", &scope),
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ("client_assertion", assertion.expose()),
                ];
                let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/'));
                (post(self.clients.outside().await?, &url, &pairs), "Microsoft Entra")
            }
            Identity::Managed { client, .. } => {
                let mut pairs = vec![("api-version", "2018-02-01"), ("resource", RESOURCE)];
                pairs.extend(client.as_deref().map(|client| ("client_id", client)));
                let url = format!("{}/metadata/identity/oauth2/token?{}", self.doors.metadata, encoded(&pairs));
                let client = self.clients.metadata().await?;
                (client.get(url).header("Metadata", "true"), "the instance metadata service")
            }
        };
        let Entra { access_token, expires_in } = send(request, who).await?;
        let keep = expires_in.duration().unwrap_or_default().saturating_sub(MARGIN);
        Ok((access_token, keep))
    }
}

fn identity(
    options: &Options,
    authority: String,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Identity, String> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    let client = options.client_id.clone().or_else(|| variable("AZURE_CLIENT_ID"));
    let tenant = options.tenant_id.clone().or_else(|| variable("AZURE_TENANT_ID"));
    let file = variable("AZURE_FEDERATED_TOKEN_FILE");
    let is_whole = client.is_some() && tenant.is_some() && file.is_some();
    match options.identity {
        AzureIdentity::Managed => return Ok(Identity::Managed { client: options.client_id.clone(), tenant }),
        // As in Ratify v2: workload identity where it is set up, else the machine's own.
        AzureIdentity::Any if !is_whole => return Ok(Identity::Managed { client: options.client_id.clone(), tenant }),
        AzureIdentity::Any | AzureIdentity::Workload => {}
    }
    let client = client.ok_or("there is no clientID, and AZURE_CLIENT_ID is not set")?;
    let tenant = tenant.ok_or("there is no tenantID, and AZURE_TENANT_ID is not set")?;
    let file = file.map(PathBuf::from).ok_or("AZURE_FEDERATED_TOKEN_FILE is not set")?;
    let token = Watched::new(file, limits::PASSWORD_FILE_BYTES, fixed::read);
    Ok(Identity::Workload { authority, tenant, client, token })
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
        let identity = self.identity.as_ref().map_err(String::clone)?;
        let ask = async || self.exchange(identity, wanted.host).await;
        self.tokens.get(wanted.host.to_owned(), ask).await.map(|token| Some(Credential::Identity(token)))
    }

    fn refused(&self, wanted: &Wanted<'_>) {
        if self.is_endpoint(wanted.host) {
            self.tokens.forget(&wanted.host.to_owned());
            self.entra.forget(&());
        }
    }
}

/// The clients, made when they are first needed.
struct Clients {
    proxy: Arc<Proxy>,
    outside: OnceCell<Client>,
    metadata: OnceCell<Client>,
}

impl Clients {
    fn new(proxy: Proxy) -> Self {
        Self { proxy: Arc::new(proxy), outside: OnceCell::new(), metadata: OnceCell::new() }
    }

    async fn outside(&self) -> Result<&Client, String> {
        let make = async || {
            let proxy = Arc::clone(&self.proxy);
            let proxy = reqwest::Proxy::custom(move |url| proxy.of(url).map(|proxy| proxy.secret().clone()));
            builder().proxy(proxy).build().map_err(|error| format!("no https client can be made: {}", deepest(&error)))
        };
        self.outside.get_or_try_init(make).await
    }

    /// Speaks http with a link-local address alone: directly, and without any roots.
    async fn metadata(&self) -> Result<&Client, String> {
        let make = async || {
            let builder = builder().no_proxy().tls_certs_only([]);
            builder.build().map_err(|error| format!("no client can be made: {}", deepest(&error)))
        };
        self.metadata.get_or_try_init(make).await
    }
}

fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(concat!("ratifyd/", env!("CARGO_PKG_VERSION")))
        // A redirect would take the token elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .pool_idle_timeout(limits::IDLE_TIMEOUT)
        .pool_max_idle_per_host(limits::IDLE_CONNECTIONS)
}

fn post(client: &Client, url: &str, pairs: &[(&str, &str)]) -> RequestBuilder {
    client.post(url).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(encoded(pairs))
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Sends a request and reads its answer; errors hold nothing of either but an error's code.
async fn send<T: DeserializeOwned>(request: RequestBuilder, who: &str) -> Result<T, String> {
    let exchange = async {
        let mut response = request.send().await.map_err(|error| format!("{who}: {}", deepest(&error)))?;
        let status = response.status();
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| format!("{who}: {}", deepest(&error)))? {
            body.extend_from_slice(&chunk);
            if u64::try_from(body.len()).map_or(true, |bytes| bytes > limits::TOKEN_REPLY_BYTES) {
                return Err(format!("{who}: an answer of more than {} bytes", limits::TOKEN_REPLY_BYTES));
            }
        }
        if status != StatusCode::OK {
            return Err(format!("{who} answered {status}{}", code(&body)));
        }
        json::from_slice(&body).map_err(|error| format!("{who}: the answer is {}", json_cause(&error)))
    };
    let limit = limits::REQUEST_TIMEOUT;
    timeout(limit, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("{who}: no whole answer within {} s", limit.as_secs())))
}

/// The code of an error (RFC 6749, section 5.2), and Entra's own numbers.
fn code(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        #[serde(default)]
        error_codes: Vec<u64>,
    }
    let Ok(Refusal { error, error_codes }) = json::from_slice(body) else { return String::new() };
    if error.len() > 64 || !error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
        return String::new();
    }
    let numbers: String = error_codes.iter().take(4).map(|number| format!(" AADSTS{number}")).collect();
    format!(": {error}{numbers}")
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

fn deepest(error: &reqwest::Error) -> String {
    let mut deepest: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[derive(Deserialize)]
struct Exchanged {
    refresh_token: Secret,
}

#[derive(Deserialize)]
struct Entra {
    access_token: Secret,
    expires_in: Seconds,
}

/// The metadata service writes numbers as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

impl Seconds {
    fn duration(&self) -> Option<Duration> {
        match self {
            Self::Number(seconds) => Some(*seconds),
            Self::Text(text) => text.parse().ok(),
        }
        .map(Duration::from_secs)
    }
}

/// Entra's public cloud.
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// The instance metadata service.
const METADATA: &str = "http://169.254.169.254";

/// What a token of Entra is for: registries, and nothing else.
const RESOURCE: &str = "https://containerregistry.azure.net";

/// Taken off a token's life, so that it does not end between us and the registry.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// What is believed of a refresh token that does not say how long it lives; they live for three hours.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests;
