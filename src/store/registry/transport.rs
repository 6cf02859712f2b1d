//! Speaks HTTP with registries: one bounded GET at a time, a bound on how many are under way to one registry, and
//! every way in which it can go wrong as a [`Error`]. Knows URLs and statuses, nothing of manifests; sends no
//! credentials, believes no header about the body's length or digest.
//!
//! Response headers are bounded by hyper: 100 fields and some 400 KiB over HTTP/1.1, 16 KiB over HTTP/2.

use std::error::Error as _;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use oci_client::errors::OciEnvelope;
use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};
use tokio::time::{Instant, timeout};
use tower::limit::ConcurrencyLimit;
use tower::{Service, ServiceExt as _};

use super::cache::Cache;
use super::redirect;
use crate::artifact::Descriptor;
use crate::config::{Proxy, ProxyUrl};
use crate::json;
use crate::limits;
use crate::reference::{DOCKER_HUB, Repository};
use crate::store::Error;

/// The one door to all registries.
pub(super) struct Transport {
    exchange: Exchange,
    /// One stack of services per registry: what bounds its requests lives in it.
    registries: Cache<String, ConcurrencyLimit<Exchange>>,
}

/// One GET.
pub(super) struct Get {
    pub(super) url: Url,
    pub(super) accept: &'static str,
    pub(super) bound: Bound,
    /// How the path of every redirect's target must end. Another redirect is the answer itself, as
    /// [`Error::Status`]. None: any target will do.
    pub(super) only_to: Option<String>,
}

/// How long a body may be.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    /// As long as its descriptor says.
    Exactly(u64),
    /// At most so long.
    AtMost(u64),
}

/// A whole answer of status 200.
pub(super) struct Answer {
    /// Where it came from, after redirects.
    pub(super) url: Url,
    /// What was asked of whom, for errors.
    pub(super) what: String,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Transport {
    pub(super) fn new(user_agent: &str, plain_http: bool, proxy: Proxy) -> Self {
        let exchange = Exchange { clients: Arc::new(Clients::new(user_agent, proxy)), plain_http };
        Self { exchange, registries: Cache::new(limits::REGISTRIES, None) }
    }

    /// The URL of something in a repository (OCI distribution specification, "Endpoints").
    pub(super) fn url(&self, repository: &Repository, kind: &str, name: &str) -> Result<Url, Error> {
        let scheme = if self.exchange.plain_http || is_plain(repository) { "http" } else { "https" };
        let host = match repository.registry() {
            // Docker Hub's registry has a host of its own.
            DOCKER_HUB => "registry-1.docker.io",
            host => host,
        };
        let url = format!("{scheme}://{host}/v2/{}/{kind}/{name}", repository.path());
        Url::parse(&url).map_err(|error| Error::Malformed { what: format!("GET {url}"), cause: error.to_string() })
    }

    /// Asks, as soon as fewer than [`limits::REGISTRY_REQUESTS`] requests to this registry are under way. Dropping
    /// the future ends the request and frees its place.
    pub(super) async fn get(&self, repository: &Repository, get: Get) -> Result<Answer, Error> {
        let registry = repository.registry().to_owned();
        let service = self.registries.get_or_insert(registry, 1, Instant::now(), || {
            ConcurrencyLimit::new(self.exchange.clone(), limits::REGISTRY_REQUESTS)
        });
        service.oneshot(get).await
    }
}

/// containerd's rule (core/remotes/docker/config): loopback speaks http unless the port is 443. The canonical host
/// has no port where it is 443.
fn is_plain(repository: &Repository) -> bool {
    let host = repository.registry();
    let after_address = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    repository.is_loopback() && after_address.contains(':')
}

/// The clients, one for http and one for https, made when they are first needed: a node that asks no registry over
/// https needs no CA certificates, and one that gets them later needs no restart.
struct Clients {
    user_agent: String,
    proxy: Arc<Proxy>,
    http: OnceLock<Client>,
    https: OnceLock<Client>,
}

impl Clients {
    fn new(user_agent: &str, proxy: Proxy) -> Self {
        let (http, https) = (OnceLock::new(), OnceLock::new());
        Self { user_agent: user_agent.to_owned(), proxy: Arc::new(proxy), http, https }
    }

    /// The client for a URL.
    ///
    /// # Errors
    /// What keeps it from being made, in words.
    fn of(&self, url: &Url) -> Result<Client, String> {
        let is_http = url.scheme() == "http";
        let kept = if is_http { &self.http } else { &self.https };
        if let Some(client) = kept.get() {
            return Ok(client.clone());
        }
        let builder = self.builder();
        // Without roots the client for http loads no certificates, and trusts nobody should it ever be asked to; but
        // its proxy may be reached over TLS.
        let needs_roots = !is_http || self.proxy.http.as_ref().is_some_and(ProxyUrl::is_tls);
        let builder = if needs_roots { builder } else { builder.tls_certs_only([]) };
        let client = builder.build().map_err(|error| {
            format!("no https client can be made: {}; is the package ca-certificates installed?", deepest(&error))
        })?;
        Ok(kept.get_or_init(|| client).clone())
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder()
            .user_agent(&self.user_agent)
            // Redirects are followed here, one by one, under our own rules.
            .redirect(reqwest::redirect::Policy::none())
            // With a proxy of ours the client does not look for others in the environment: the configuration has.
            .proxy(reqwest::Proxy::custom({
                let proxy = Arc::clone(&self.proxy);
                move |url| proxy.of(url).map(|proxy| proxy.secret().clone())
            }))
            .connect_timeout(limits::CONNECT_TIMEOUT)
            // A registry may send us to many hosts, and each connection that is kept is a descriptor.
            .pool_idle_timeout(limits::IDLE_TIMEOUT)
            .pool_max_idle_per_host(limits::IDLE_CONNECTIONS)
    }
}

/// One request and its whole answer, redirects included.
#[derive(Clone)]
struct Exchange {
    clients: Arc<Clients>,
    plain_http: bool,
}

impl Service<Get> for Exchange {
    type Response = Answer;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Answer, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, get: Get) -> Self::Future {
        let exchange = self.clone();
        Box::pin(async move {
            match timeout(limits::REQUEST_TIMEOUT, exchange.run(&get)).await {
                Ok(answer) => answer,
                Err(_) => {
                    let cause = format!("no whole answer within {} s", limits::REQUEST_TIMEOUT.as_secs());
                    Err(Error::Network { what: exchange.what(&get, &get.url), cause })
                }
            }
        })
    }
}

impl Exchange {
    async fn run(&self, get: &Get) -> Result<Answer, Error> {
        let mut url = get.url.clone();
        for _ in 0..=limits::REDIRECTS {
            let proxy = self.clients.proxy.of(&url);
            let what = self.what(get, &url);
            let client = self.clients.of(&url).map_err(|cause| Error::Network { what: what.clone(), cause })?;
            let request = client.get(url.clone()).header(header::ACCEPT, get.accept);
            // Content is hashed as it comes, so it must come as it is.
            let request = request.header(header::ACCEPT_ENCODING, "identity");
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => return Err(Error::Network { what, cause: cause(&error, proxy) }),
            };
            if let Some(proxy) = proxy.filter(|_| response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED) {
                return Err(Error::Network { what, cause: unauthenticated(proxy) });
            }
            match self.next(get, &response, &what)? {
                Some(next) => url = next,
                None => return answer(response, what, get.bound, proxy).await,
            }
        }
        let limit = u64::try_from(limits::REDIRECTS).unwrap_or(u64::MAX);
        Err(Error::TooLarge { what: what(&get.url), limit, unit: "redirects" })
    }

    /// What is asked of whom, and by way of whom, for errors.
    fn what(&self, get: &Get, now: &Url) -> String {
        what_at(&get.url, now, self.clients.proxy.of(now))
    }

    /// Where an answer sends the request on to, if it does.
    fn next(&self, get: &Get, response: &Response, what: &str) -> Result<Option<Url>, Error> {
        let status = response.status();
        if !is_redirect(status) {
            return Ok(None);
        }
        let Some(location) = one_header(response.headers(), &header::LOCATION, what)? else {
            return Err(refusal(status, what, String::new()));
        };
        let malformed = |cause| Error::Malformed { what: what.to_owned(), cause };
        let next = redirect::target(&get.url, response.url(), location, self.plain_http).map_err(malformed)?;
        if get.only_to.as_ref().is_some_and(|end| !next.path().ends_with(end)) {
            return Err(refusal(status, what, String::new()));
        }
        Ok(Some(next))
    }
}

/// The redirects that keep a GET a GET (RFC 9110, section 15.4).
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn refusal(status: StatusCode, what: &str, said: String) -> Error {
    let (what, status) = (what.to_owned(), status.as_u16());
    match status {
        401 | 403 => Error::Refused { what, status, said },
        404 => Error::NotFound { what },
        429 => Error::Throttled { what, said },
        _ => Error::Status { what, status, said },
    }
}

/// What a registry says of its refusal (OCI distribution specification, "Error Codes"); nothing if it says it in
/// another way.
async fn said(response: Response) -> String {
    let bytes = body(response, "", Bound::AtMost(limits::REFUSAL_BYTES), None).await.unwrap_or_default();
    let envelope: Option<OciEnvelope> = json::from_slice(&bytes).ok();
    let first = envelope.and_then(|envelope| envelope.errors.into_iter().next());
    first.map(|error| brief(&error.message)).unwrap_or_default()
}

async fn answer(response: Response, what: String, bound: Bound, proxy: Option<&ProxyUrl>) -> Result<Answer, Error> {
    if response.status() != StatusCode::OK {
        let status = response.status();
        // A proxy that was shown a password could repeat it.
        let may_tell = !(response.url().scheme() == "http" && proxy.is_some_and(ProxyUrl::has_credentials));
        let said = if may_tell { said(response).await } else { String::new() };
        return Err(refusal(status, &what, said));
    }
    let (url, headers) = (response.url().clone(), response.headers().clone());
    if let Some(encoding) = one_header(&headers, &header::CONTENT_ENCODING, &what)?
        && !encoding.eq_ignore_ascii_case("identity")
    {
        let cause = format!("the content is encoded ({:?}), which was not asked for", brief(encoding));
        return Err(Error::Malformed { what, cause });
    }
    let body = body(response, &what, bound, proxy).await?;
    Ok(Answer { url, what, headers, body })
}

/// Reads a body and stops at the first byte too many. A promised length can only make the refusal earlier.
async fn body(mut response: Response, what: &str, bound: Bound, proxy: Option<&ProxyUrl>) -> Result<Bytes, Error> {
    let promised = response.content_length().unwrap_or_default();
    bound.check(what, promised)?;
    let mut body = BytesMut::new();
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|error| Error::Network { what: what.to_owned(), cause: cause(&error, proxy) })?;
        let Some(chunk) = chunk else { return Ok(body.freeze()) };
        bound.check(what, u64::try_from(body.len().saturating_add(chunk.len())).unwrap_or(u64::MAX))?;
        body.extend_from_slice(&chunk);
    }
}

impl Bound {
    fn check(self, what: &str, found: u64) -> Result<(), Error> {
        let what = || what.to_owned();
        match self {
            Self::Exactly(expected) if found > expected => Err(Error::Size { what: what(), expected, found }),
            Self::AtMost(limit) if found > limit => Err(Error::TooLarge { what: what(), limit, unit: "bytes" }),
            _ => Ok(()),
        }
    }
}

impl Answer {
    /// The media type that the registry states, without parameters, in lowercase.
    pub(super) fn content_type(&self) -> Result<Option<String>, Error> {
        let stated = self.header(&header::CONTENT_TYPE)?;
        Ok(stated.map(|stated| stated.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()))
    }

    /// Checks the stated media type, where one is stated, against a descriptor's.
    pub(super) fn check_type(&self, descriptor: &Descriptor) -> Result<(), Error> {
        match self.content_type()? {
            Some(stated) if stated != descriptor.media_type => Err(self.malformed(format!(
                "the registry states media type {:?}, the descriptor {:?}",
                brief(&stated),
                brief(&descriptor.media_type)
            ))),
            _ => Ok(()),
        }
    }

    /// The value of a header that may be there once.
    pub(super) fn header(&self, name: &HeaderName) -> Result<Option<&str>, Error> {
        one_header(&self.headers, name, &self.what)
    }

    /// The values of a header that may be there several times.
    pub(super) fn headers(&self, name: &HeaderName) -> Result<Vec<&str>, Error> {
        self.headers.get_all(name).iter().map(|value| text(value, name, &self.what)).collect()
    }

    pub(super) fn malformed(&self, cause: impl Into<String>) -> Error {
        Error::Malformed { what: self.what.clone(), cause: cause.into() }
    }
}

fn one_header<'a>(headers: &'a HeaderMap, name: &HeaderName, what: &str) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::Malformed { what: what.to_owned(), cause: format!("there are several {name} headers") });
    }
    text(value, name, what).map(Some)
}

fn text<'a>(value: &'a header::HeaderValue, name: &HeaderName, what: &str) -> Result<&'a str, Error> {
    value.to_str().map_err(|_| Error::Malformed {
        what: what.to_owned(),
        cause: format!("the {name} header has characters outside of ASCII"),
    })
}

/// What is asked of whom, for errors. The query is left out: it may carry what others must not see.
pub(super) fn what(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    format!("GET {url}")
}

fn what_at(asked: &Url, now: &Url, proxy: Option<&ProxyUrl>) -> String {
    let mut what = what(asked);
    if now.origin() != asked.origin() {
        what += &format!(" (sent on to {})", now.authority());
    }
    if let Some(proxy) = proxy {
        what += &format!(" (through proxy {})", proxy.address());
    }
    what
}

/// Text from outside, short enough for an error.
pub(super) fn brief(text: &str) -> String {
    text.chars().take(200).collect()
}

/// The innermost cause.
fn deepest(error: &reqwest::Error) -> String {
    let mut deepest: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// What went wrong, in one sentence instead of a chain. Where a proxy was asked, it was the proxy that was or was not
/// reached, whatever the registry does.
fn cause(error: &reqwest::Error, proxy: Option<&ProxyUrl>) -> String {
    let mut source = error.source();
    let mut refused = false;
    while let Some(inner) = source {
        let io = inner.downcast_ref::<std::io::Error>();
        refused |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused);
        source = inner.source();
    }
    let detail = deepest(error);
    let (whose, owner) =
        if proxy.is_some() { ("the proxy's", "the registry or the proxy") } else { ("the host's", "the registry") };
    if error.is_timeout() {
        format!("no connection within {} s", limits::CONNECT_TIMEOUT.as_secs())
    } else if error.is_dns() {
        format!("{whose} name cannot be resolved: {detail}")
    } else if refused {
        let who = if proxy.is_some() { "no proxy" } else { "nothing" };
        format!("connection refused: {who} listens there")
    } else if let Some(words) = detail.strip_prefix(TUNNEL) {
        tunnel_cause(words, proxy)
    } else if detail.contains("invalid peer certificate") {
        format!("the certificate is not trusted: {detail}; install the CA of {owner} on this node")
    } else if detail.contains("InvalidContentType") {
        format!("{owner} does not speak TLS at this port")
    } else if error.is_connect() {
        format!("no connection: {detail}")
    } else if error.source().is_some() {
        format!("the answer ends early or is no HTTP: {detail}")
    } else {
        detail
    }
}

/// How hyper-util begins to say that a proxy has not connected us to the registry.
const TUNNEL: &str = "tunnel error: ";

fn tunnel_cause(words: &str, proxy: Option<&ProxyUrl>) -> String {
    match (words, proxy) {
        ("proxy authorization required", Some(proxy)) => unauthenticated(proxy),
        ("unsuccessful", _) => "the proxy does not connect to this host: its log tells why".to_owned(),
        _ => format!("the proxy ends the connection: {words}"),
    }
}

fn unauthenticated(proxy: &ProxyUrl) -> String {
    if proxy.has_credentials() {
        "the proxy refuses the user and password of its URL (407)".to_owned()
    } else {
        "the proxy demands authentication (407): write user and password into its URL".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;

    fn url(name: &str, plain_http: bool) -> String {
        let reference: Reference = name.parse().unwrap();
        let transport = Transport::new("test", plain_http, Proxy::default());
        transport.url(&reference.repository, "manifests", "x").unwrap().to_string()
    }

    #[test]
    fn loopback_with_a_port_is_asked_over_http_and_everything_else_over_https() {
        assert_eq!(url("localhost:5000/a", false), "http://localhost:5000/v2/a/manifests/x");
        assert_eq!(url("127.0.0.1:5000/a", false), "http://127.0.0.1:5000/v2/a/manifests/x");
        assert_eq!(url("[::1]:5000/a", false), "http://[::1]:5000/v2/a/manifests/x");
        for loopback_443 in ["localhost/a", "localhost:443/a", "127.0.0.1/a", "[::1]/a", "[::1]:443/a"] {
            assert!(url(loopback_443, false).starts_with("https://"), "{loopback_443}");
        }
        assert_eq!(url("ghcr.io/acme/web", false), "https://ghcr.io/v2/acme/web/manifests/x");
        assert_eq!(url("registry.example:5000/a", false), "https://registry.example:5000/v2/a/manifests/x");
        assert_eq!(url("registry.example:5000/a", true), "http://registry.example:5000/v2/a/manifests/x");
    }

    #[test]
    fn docker_hub_is_reached_at_the_host_of_its_registry() {
        assert_eq!(url("nginx", false), "https://registry-1.docker.io/v2/library/nginx/manifests/x");
    }

    #[test]
    fn errors_name_the_request_without_its_query() {
        let url = |text| Url::parse(text).unwrap();
        assert_eq!(what(&url("https://ghcr.io/v2/a?token=secret")), "GET https://ghcr.io/v2/a");
        let (asked, now) = (url("https://ghcr.io/v2/a"), url("https://cdn.example/x?sig=secret"));
        assert_eq!(what_at(&asked, &now, None), "GET https://ghcr.io/v2/a (sent on to cdn.example)");
        let proxy: ProxyUrl = "http://user:secret@proxy:3128".parse().unwrap();
        assert_eq!(what_at(&asked, &asked, Some(&proxy)), "GET https://ghcr.io/v2/a (through proxy http://proxy:3128)");
    }
}
