//! Who we are to Azure: tokens of Microsoft Entra for one of its services, got by workload identity (RFC 7523, section
//! 2.2) or from the instance metadata service. Used by whoever asks a service of Azure; a token is handed to nobody else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use crate::cache::kept::Kept;
use crate::config::{AzureIdentity, Proxy};
use crate::json;
use crate::limits;
use crate::secret::Secret;
use crate::trust::watched::{Unread, Watched, json_cause};

#[cfg(test)]
pub(crate) mod testing;

/// Tokens of Entra for one service.
pub struct Entra {
    /// Or why there is none.
    identity: Result<Identity, String>,
    /// What the tokens are for.
    resource: String,
    /// Where the metadata service is; elsewhere in tests alone.
    metadata: String,
    clients: Clients,
    token: Kept<(), Secret>,
}

/// Who we are to Entra.
enum Identity {
    Workload { authority: String, tenant: String, client: String, token: Watched<Secret> },
    Managed { client: Option<String>, tenant: Option<String> },
}

/// What the configuration says of the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Which kind of it.
    pub identity: AzureIdentity,
    /// The application's id.
    pub client_id: Option<String>,
    /// The tenant's id.
    pub tenant_id: Option<String>,
}

impl Entra {
    /// What the configuration leaves out comes from the environment that Azure's webhook sets (`AZURE_CLIENT_ID`,
    /// `AZURE_TENANT_ID`, `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_AUTHORITY_HOST`). The metadata service is never asked
    /// through a proxy.
    #[must_use]
    pub fn new(who: &Who, resource: String, environment: &dyn Fn(&str) -> Option<String>, proxy: Proxy) -> Self {
        let authority = environment("AZURE_AUTHORITY_HOST").filter(|host| !host.is_empty());
        let authority = authority.unwrap_or_else(|| AUTHORITY.to_owned());
        let identity = if authority.starts_with("https://") {
            identity(who, authority, environment)
        } else {
            Err("AZURE_AUTHORITY_HOST is no https URL".to_owned())
        };
        Self { identity, resource, metadata: METADATA.to_owned(), clients: Clients::new(proxy), token: Kept::new() }
    }

    /// The same over plain http to an authority and a metadata service on loopback.
    #[cfg(test)]
    pub(crate) fn at(who: &Who, resource: String, host: &str, token: &Path) -> Self {
        let variables = |name: &str| (name == "AZURE_FEDERATED_TOKEN_FILE").then(|| token.display().to_string());
        let identity = identity(who, format!("http://{host}/"), &variables);
        let (metadata, clients) = (format!("http://{host}"), Clients::new(Proxy::default()));
        Self { identity, resource, metadata, clients, token: Kept::new() }
    }

    /// A token, kept for as long as it lives.
    ///
    /// # Errors
    /// Why there is none, in words that hold nothing secret.
    pub async fn token(&self) -> Result<Secret, String> {
        let identity = self.identity.as_ref().map_err(String::clone)?;
        self.token.get((), async || self.ask(identity).await).await
    }

    /// The next token is asked for anew.
    pub fn forget(&self) {
        self.token.forget(&());
    }

    /// The tenant that tokens are of, where it is known.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        match self.identity.as_ref().ok()? {
            Identity::Workload { tenant, .. } => Some(tenant),
            Identity::Managed { tenant, .. } => tenant.as_deref(),
        }
    }

    /// A client for the service that tokens are for: through the proxy, without redirects.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn client(&self) -> Result<&Client, String> {
        self.clients.outside().await
    }

    async fn ask(&self, identity: &Identity) -> Result<(Secret, Duration), String> {
        let (request, who) = match identity {
            Identity::Workload { authority, tenant, client, token } => {
                let assertion = token.now().await.map_err(Unread::into_cause)?;
                let scope = format!("{}/.default", self.resource);
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
                let mut pairs = vec![("api-version", "2018-02-01"), ("resource", self.resource.as_str())];
                pairs.extend(client.as_deref().map(|client| ("client_id", client)));
                let url = format!("{}/metadata/identity/oauth2/token?{}", self.metadata, encoded(&pairs));
                let client = self.clients.metadata().await?;
                (client.get(url).header("Metadata", "true"), "the instance metadata service")
            }
        };
        let Token { access_token, expires_in } = send(request, who).await?;
        let keep = expires_in.duration().unwrap_or_default().saturating_sub(MARGIN);
        Ok((access_token, keep))
    }
}

fn identity(who: &Who, authority: String, environment: &dyn Fn(&str) -> Option<String>) -> Result<Identity, String> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    let client = who.client_id.clone().or_else(|| variable("AZURE_CLIENT_ID"));
    let tenant = who.tenant_id.clone().or_else(|| variable("AZURE_TENANT_ID"));
    let file = variable("AZURE_FEDERATED_TOKEN_FILE");
    let is_whole = client.is_some() && tenant.is_some() && file.is_some();
    match who.identity {
        AzureIdentity::Managed => return Ok(Identity::Managed { client: who.client_id.clone(), tenant }),
        // As in Ratify v2: workload identity where it is set up, else the machine's own.
        AzureIdentity::Any if !is_whole => return Ok(Identity::Managed { client: who.client_id.clone(), tenant }),
        AzureIdentity::Any | AzureIdentity::Workload => {}
    }
    let client = client.ok_or("there is no clientID, and AZURE_CLIENT_ID is not set")?;
    let tenant = tenant.ok_or("there is no tenantID, and AZURE_TENANT_ID is not set")?;
    let file = file.map(PathBuf::from).ok_or("AZURE_FEDERATED_TOKEN_FILE is not set")?;
    let token = Watched::new(file, limits::PASSWORD_FILE_BYTES, assertion);
    Ok(Identity::Workload { authority, tenant, client, token })
}

/// The token that the platform keeps in a file.
fn assertion(_: &Path, bytes: &[u8]) -> Result<Secret, String> {
    let text = str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?.trim_ascii_end();
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(Secret::new(text.to_owned())) }
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

/// A form to be sent.
pub fn post(client: &Client, url: &str, pairs: &[(&str, &str)]) -> RequestBuilder {
    client.post(url).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(encoded(pairs))
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Sends a request and reads its answer, which must be JSON and 200.
///
/// # Errors
/// In words that hold nothing of either but an error's code.
pub async fn send<T: DeserializeOwned>(request: RequestBuilder, who: &str) -> Result<T, String> {
    let (status, body) = exchange(request, who, limits::TOKEN_REPLY_BYTES).await?;
    if status != StatusCode::OK {
        return Err(format!("{who} answered {status}{}", code(&body)));
    }
    json::from_slice(&body).map_err(|error| format!("{who}: the answer is {}", json_cause(&error)))
}

/// Sends a request and reads an answer of at most `limit` bytes, whatever its status is.
///
/// # Errors
/// Why there is none, in words that hold nothing of the request.
pub async fn exchange(
    request: RequestBuilder,
    who: &str,
    limit: u64,
) -> Result<(StatusCode, Zeroizing<Vec<u8>>), String> {
    let exchange = async {
        let mut response = request.send().await.map_err(|error| format!("{who}: {}", deepest(&error)))?;
        let status = response.status();
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| format!("{who}: {}", deepest(&error)))? {
            body.extend_from_slice(&chunk);
            if u64::try_from(body.len()).map_or(true, |bytes| bytes > limit) {
                return Err(format!("{who}: an answer of more than {limit} bytes"));
            }
        }
        Ok((status, body))
    };
    let time = limits::REQUEST_TIMEOUT;
    timeout(time, exchange).await.unwrap_or_else(|_| Err(format!("{who}: no whole answer within {} s", time.as_secs())))
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

fn deepest(error: &reqwest::Error) -> String {
    let mut deepest: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[derive(Deserialize)]
struct Token {
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

/// Taken off a token's life, so that it does not end between us and the registry.
pub const MARGIN: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_workload_identity_is_not_set_up_the_machine_speaks_for_itself() {
        let who = |identity| Who { identity, client_id: None, tenant_id: None };
        let none = |_: &str| None;
        let any = identity(&who(AzureIdentity::Any), AUTHORITY.to_owned(), &none);
        assert!(matches!(any, Ok(Identity::Managed { client: None, tenant: None })));
        let workload = identity(&who(AzureIdentity::Workload), AUTHORITY.to_owned(), &none);
        assert!(workload.is_err_and(|cause| cause == "there is no clientID, and AZURE_CLIENT_ID is not set"));
    }

    #[test]
    fn the_token_of_the_platform_is_read_without_the_line_feed_at_its_end() {
        let read = |bytes: &[u8]| assertion(Path::new("/x"), bytes).map(|secret| secret.expose().to_owned());
        assert_eq!(read(b"abc\n"), Ok("abc".to_owned()));
        assert_eq!(read(b"\n"), Err("it is empty".to_owned()));
        assert_eq!(read(b"\xff"), Err("not UTF-8".to_owned()));
    }
}
