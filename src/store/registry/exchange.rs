//! One exchange with one host: a request, its redirects, a bounded answer, and every way in which it can go wrong. Knows
//! URLs and statuses, nothing of manifests; believes no header about the body's length or digest. What a request shows of
//! credentials goes to the host that it is for, and to no host that it is sent on to.
//!
//! Response headers are bounded by hyper: 100 fields and some 400 KiB over HTTP/1.1, 16 KiB over HTTP/2.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use oci_client::errors::OciEnvelope;
use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Response, StatusCode, Url};
use tokio::time::{Instant, timeout_at};
use url::form_urlencoded;

use super::auth::challenge::{self, Challenge};
use super::clients::{Arrived, Clients, deepest};
use super::redirect;
use super::tls;
use crate::artifact::Descriptor;
use crate::config::ProxyUrl;
use crate::json;
use crate::limits;
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::store::Error;

/// One request.
#[derive(Clone)]
pub(super) struct Get {
    pub(super) url: Url,
    /// Path of the repository that it is about.
    pub(super) repository: Arc<str>,
    pub(super) accept: &'static str,
    pub(super) bound: Bound,
    pub(super) redirects: Redirects,
    /// A form that is posted instead; it holds credentials.
    pub(super) form: Option<Arc<Secret>>,
    /// When the answer is due.
    pub(super) deadline: Instant,
    /// Whether the host is a mirror of the registry that is meant.
    pub(super) is_mirror: bool,
    /// Whether another host can be asked instead: then nothing is waited for, and nothing is tried twice.
    pub(super) spare: bool,
}

/// Which redirects are followed; another one is the answer itself, as [`Error::Status`].
#[derive(Clone)]
pub(super) enum Redirects {
    /// All that are not dangerous.
    Any,
    /// Those to a path that ends so.
    OnlyTo(String),
    /// None.
    Never,
}

/// How long a body may be.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    /// As long as its descriptor says.
    Exactly(u64),
    /// At most so long.
    AtMost(u64),
}

impl Bound {
    /// How long the answer may take, at most: longer where it is known to be long.
    fn patience(self) -> Duration {
        let mebibytes = match self {
            Self::Exactly(size) => size >> 20,
            Self::AtMost(_) => 0,
        };
        limits::REQUEST_TIMEOUT
            .saturating_add(limits::MEBIBYTE_TIMEOUT.saturating_mul(mebibytes.try_into().unwrap_or(u32::MAX)))
    }
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

/// A request that brought nothing, and what may be done about it.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) again: Again,
    /// What the host wants to see.
    pub(super) challenges: Vec<Challenge>,
    /// Whether the host may do better over http.
    pub(super) for_http: bool,
    /// Whether it tells nothing of the host: it had too little time, or failed at another one.
    pub(super) tells_nothing: bool,
}

/// Whether the same request may do better later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It will not.
    No,
    /// It may, soon.
    Soon,
    /// The host wants to be asked less; where it says for how long, that is here.
    Throttled(Option<Duration>),
}

impl Failed {
    /// The same of another host than the one that was asked: it says nothing of that one's health or wishes.
    pub(super) fn elsewhere(self) -> Self {
        let again = if matches!(self.again, Again::Throttled(_)) { Again::Soon } else { self.again };
        Self { again, challenges: Vec::new(), for_http: false, tells_nothing: true, ..self }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, again: Again::No, challenges: Vec::new(), for_http: false, tells_nothing: false }
    }
}

/// What sends requests to one host.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) clients: Arc<Clients>,
    /// Whether redirects to http are followed, because the host is asked over http on the operator's word.
    pub(super) plain_http: bool,
    pub(super) metrics: Arc<Metrics>,
}

impl Exchange {
    /// Sends a request with these headers and takes in the whole answer, redirects included.
    pub(super) async fn run(&self, get: &Get, headers: &HeaderMap) -> Result<Answer, Failed> {
        let now = Instant::now();
        let patience = now.checked_add(get.bound.patience()).unwrap_or(get.deadline).min(get.deadline);
        match timeout_at(patience, self.follow(get, headers)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.metrics.request(get.url.authority(), None);
                let waited = patience.saturating_duration_since(now);
                let cause = format!("no whole answer within {:.1} s", waited.as_secs_f64());
                let error = Error::Network { what: self.what(get, &get.url), cause };
                Err(Failed { again: Again::Soon, tells_nothing: waited < limits::BREAKER_PATIENCE, ..error.into() })
            }
        }
    }

    async fn follow(&self, get: &Get, headers: &HeaderMap) -> Result<Answer, Failed> {
        let mut url = get.url.clone();
        let mut own = Some(headers.clone());
        for _ in 0..=limits::REDIRECTS {
            // What is shown to the host is shown to no other, and to no other page of it.
            let is_first = own.is_some();
            let shown = own.take().unwrap_or_default();
            let proxy = self.clients.proxy().of(&url);
            let what = self.what(get, &url);
            let client = self.clients.of(&url).map_err(|cause| Error::Network { what: what.clone(), cause })?;
            let request = match &get.form {
                Some(form) => client
                    .post(url.clone())
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.expose().to_owned()),
                None => client.get(url.clone()),
            };
            let secrets = secrets(&shown, get.form.as_deref());
            // Content is hashed as it comes, so it must come as it is.
            let request = request.headers(shown).header(header::ACCEPT, get.accept);
            let request = request.header(header::ACCEPT_ENCODING, "identity");
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => {
                    self.metrics.request(url.authority(), None);
                    let failed = broken(what, &error, proxy);
                    return Err(if is_first { failed } else { failed.elsewhere() });
                }
            };
            self.metrics.request(url.authority(), Some(response.status().as_u16()));
            if let Some(proxy) = proxy.filter(|_| response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED) {
                return Err(Error::Network { what, cause: unauthenticated(proxy) }.into());
            }
            match self.next(get, &response, &what)? {
                Some(next) => url = next,
                None => {
                    let answer =
                        answer(response, what, get.bound, proxy, &secrets, self.clients.arrived.as_ref()).await;
                    return if is_first { answer } else { answer.map_err(Failed::elsewhere) };
                }
            }
        }
        let limit = u64::try_from(limits::REDIRECTS).unwrap_or(u64::MAX);
        Err(Error::TooLarge { what: what(&get.url), limit, unit: "redirects" }.into())
    }

    /// What is asked of whom, and by way of whom, for errors.
    fn what(&self, get: &Get, now: &Url) -> String {
        what_at(&get.url, now, self.clients.proxy().of(now))
    }

    /// Where an answer sends the request on to, if it does.
    fn next(&self, get: &Get, response: &Response, what: &str) -> Result<Option<Url>, Error> {
        let status = response.status();
        if !is_redirect(status) {
            return Ok(None);
        }
        let Some(location) = one_header(response.headers(), &header::LOCATION, what)? else {
            return Err(refusal(status, what, String::new(), None));
        };
        let malformed = |cause| Error::Malformed { what: what.to_owned(), cause };
        let next = redirect::target(&get.url, response.url(), location, self.plain_http).map_err(malformed)?;
        let follow = match &get.redirects {
            Redirects::Any => true,
            Redirects::OnlyTo(end) => next.path().ends_with(end),
            Redirects::Never => false,
        };
        if follow { Ok(Some(next)) } else { Err(refusal(status, what, String::new(), None)) }
    }
}

/// The redirects that keep a GET a GET (RFC 9110, section 15.4).
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn refusal(status: StatusCode, what: &str, said: String, after: Option<Duration>) -> Error {
    let (what, status) = (what.to_owned(), status.as_u16());
    match status {
        401 | 403 => Error::Refused { what, status, said, shown: String::new() },
        404 => Error::NotFound { what },
        429 => Error::Throttled { what, said, after },
        _ => Error::Status { what, status, said },
    }
}

/// What a registry says of its refusal (OCI distribution specification, "Error Codes"); nothing if it says it in
/// another way.
async fn said(response: Response) -> String {
    let bytes = body(response, "", Bound::AtMost(limits::REFUSAL_BYTES), None, None).await.unwrap_or_default();
    let envelope: Option<OciEnvelope> = json::from_slice(&bytes).ok();
    let first = envelope.and_then(|envelope| envelope.errors.into_iter().next());
    first.map(|error| brief(&error.message)).unwrap_or_default()
}

async fn answer(
    response: Response,
    what: String,
    bound: Bound,
    proxy: Option<&ProxyUrl>,
    secrets: &[Secret],
    arrived: Option<&Arrived>,
) -> Result<Answer, Failed> {
    if response.status() != StatusCode::OK {
        return Err(refused(response, what, proxy, secrets).await);
    }
    let (url, headers) = (response.url().clone(), response.headers().clone());
    if let Some(encoding) = one_header(&headers, &header::CONTENT_ENCODING, &what)?
        && !encoding.eq_ignore_ascii_case("identity")
    {
        let cause = format!("the content is encoded ({:?}), which was not asked for", brief(encoding));
        return Err(Error::Malformed { what, cause }.into());
    }
    let body = body(response, &what, bound, proxy, arrived).await?;
    Ok(Answer { url, what, headers, body })
}

/// An answer of another status than 200.
async fn refused(response: Response, what: String, proxy: Option<&ProxyUrl>, secrets: &[Secret]) -> Failed {
    let status = response.status();
    let after = retry_after(response.headers());
    let again = match status.as_u16() {
        429 => Again::Throttled(after),
        503 if after.is_some() => Again::Throttled(after),
        408 | 500 | 502..=504 => Again::Soon,
        _ => Again::No,
    };
    let fields = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
    let challenges = challenge::parse(fields.filter_map(|field| field.to_str().ok()));
    // A proxy that was shown a password could repeat it.
    let may_tell = !(response.url().scheme() == "http" && proxy.is_some_and(ProxyUrl::has_credentials));
    let said = if may_tell { said(response).await } else { String::new() };
    // Nor is what we have shown told by way of the registry's words.
    let said = if secrets.iter().any(|secret| said.contains(secret.expose())) { String::new() } else { said };
    Failed { again, challenges, ..refusal(status, &what, said, after).into() }
}

/// What a request shows that nobody else may see: the values of its headers, what credentials they are made of, its form.
fn secrets(headers: &HeaderMap, form: Option<&Secret>) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for value in headers.values().filter_map(|value| value.to_str().ok()) {
        let (scheme, token) = value.split_once(' ').unwrap_or(("", value));
        secrets.push(Secret::new(token.to_owned()));
        if scheme == "Basic"
            && let Some(pair) = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok())
        {
            // The user too: some put their token there.
            secrets.extend(pair.splitn(2, ':').map(|part| Secret::new(part.to_owned())));
        }
    }
    let fields = form.map_or(&b""[..], |form| form.expose().as_bytes());
    let tokens = form_urlencoded::parse(fields).filter(|(name, _)| name == "refresh_token");
    secrets.extend(tokens.map(|(_, token)| Secret::new(token.into_owned())));
    secrets.retain(|secret| secret.expose().len() >= limits::SECRET_BYTES);
    secrets
}

/// How long a host wants to be left alone (RFC 9110, section 10.2.3). A date counts from the answer's own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let after = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let (then, now) = (httpdate::parse_http_date(after).ok()?, httpdate::parse_http_date(text(header::DATE)?).ok()?);
    Some(then.duration_since(now).unwrap_or_default())
}

/// Reads a body and stops at the first byte too many. A promised length can only make the refusal earlier.
async fn body(
    mut response: Response,
    what: &str,
    bound: Bound,
    proxy: Option<&ProxyUrl>,
    arrived: Option<&Arrived>,
) -> Result<Bytes, Failed> {
    let promised = response.content_length().unwrap_or_default();
    bound.check(what, promised)?;
    let mut body = BytesMut::new();
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|error| broken(what.to_owned(), &error, proxy))?;
        let Some(chunk) = chunk else { return Ok(body.freeze()) };
        let length = u64::try_from(body.len().saturating_add(chunk.len())).unwrap_or(u64::MAX);
        bound.check(what, length)?;
        body.extend_from_slice(&chunk);
        if let Some(arrived) = arrived {
            arrived(length);
        }
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

/// A request that failed on the way.
fn broken(what: String, error: &reqwest::Error, proxy: Option<&ProxyUrl>) -> Failed {
    let (cause, again) = cause(error, proxy);
    let for_http = tls::is_for_http(error, error.url().is_some_and(|url| url.port().is_some()));
    Failed { again, for_http, ..Error::Network { what, cause }.into() }
}

/// What went wrong, in one sentence instead of a chain, and whether it may pass. Where a proxy was asked, it was the proxy
/// that was or was not reached, whatever the registry does.
fn cause(error: &reqwest::Error, proxy: Option<&ProxyUrl>) -> (String, Again) {
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
        (format!("no connection within {} s", limits::CONNECT_TIMEOUT.as_secs()), Again::Soon)
    } else if error.is_dns() {
        // getaddrinfo(3): EAI_AGAIN may pass, a name that is not known is not known.
        let again = if detail.contains("Temporary failure") { Again::Soon } else { Again::No };
        (format!("{whose} name cannot be resolved: {detail}"), again)
    } else if refused {
        let who = if proxy.is_some() { "no proxy" } else { "nothing" };
        (format!("connection refused: {who} listens there"), Again::Soon)
    } else if let Some(words) = detail.strip_prefix(TUNNEL) {
        (tunnel_cause(words, proxy), Again::No)
    } else if detail.contains("invalid peer certificate") {
        (format!("the certificate is not trusted: {detail}; install the CA of {owner} on this node"), Again::No)
    } else if detail.contains("CertificateRequired") {
        (format!("{owner} wants to see a client's certificate: name one as client in its hosts.toml"), Again::No)
    } else if detail.contains("InvalidContentType") {
        (format!("{owner} does not speak TLS at this port"), Again::No)
    } else if error.is_connect() {
        (format!("no connection: {detail}"), Again::Soon)
    } else if error.source().is_some() {
        (format!("the answer ends early or is no HTTP: {detail}"), Again::Soon)
    } else {
        (detail, Again::No)
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
