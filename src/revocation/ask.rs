//! Requests to OCSP responders and for CRLs, over http: what they carry is signed and public ("support only HTTP CRL
//! URLs", trust policy specification). Bounded in bytes and time, through the proxy that is configured.
//!
//! The URLs come from certificates that lead to trust; yet none leads to a link of this machine (metadata services of
//! clouds), and a redirect leads from elsewhere neither there nor to this machine.

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use tokio::time::timeout;
use url::Host;

use crate::config::{Proxy, ProxyUrl};
use crate::limits;
use crate::report::Fault;
use crate::verdict::Class;

/// Who asks.
pub(super) struct Asker {
    proxy: Proxy,
    client: OnceLock<Client>,
}

impl Asker {
    pub(super) fn new(proxy: Proxy) -> Self {
        Self { proxy, client: OnceLock::new() }
    }

    /// Asks an OCSP responder, by GET where the question is short, so that what stands between may remember the answer
    /// (RFC 6960, appendix A.1).
    pub(super) async fn ocsp(&self, url: &Url, question: Vec<u8>, wait: Duration) -> Result<Bytes, Fault> {
        let client = self.client()?;
        let short = Some(question.as_slice()).filter(|question| question.len() <= GET_BYTES && url.query().is_none());
        let request = match short.and_then(|question| get_url(url, question)) {
            Some(url) => client.get(url),
            None => client.post(url.clone()).header("content-type", "application/ocsp-request").body(question),
        };
        fetch(request, limits::OCSP_BYTES, wait).await
    }

    /// Fetches a CRL of at most `limit` bytes.
    pub(super) async fn list(&self, url: &Url, limit: u64, wait: Duration) -> Result<Bytes, Fault> {
        fetch(self.client()?.get(url.clone()), limit, wait).await
    }

    fn client(&self) -> Result<&Client, Fault> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let proxy = self.proxy.clone();
        let builder = Client::builder()
            .user_agent(concat!("ratifyd/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::custom(redirect))
            .proxy(reqwest::Proxy::custom(move |url| proxy.of(url).map(|proxy| proxy.secret().clone())))
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .pool_max_idle_per_host(0);
        // Nothing is asked over https but a proxy that is reached so.
        let needs_roots = self.proxy.http.as_ref().is_some_and(ProxyUrl::is_tls);
        let builder = if needs_roots { builder } else { builder.tls_certs_only([]) };
        let client =
            builder.build().map_err(|error| Fault::new(format!("no client can be made: {}", deepest(&error))))?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// A URL that may be asked.
///
/// # Errors
/// Why not.
pub(super) fn askable(text: &str) -> Result<Url, String> {
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    let url = Url::parse(text).map_err(|error| format!("{shown:?} cannot be asked: {error}"))?;
    let why = match url.scheme() {
        "http" if !url.username().is_empty() || url.password().is_some() => "it carries credentials",
        "http" if place(&url) == Place::ThisLink => "it leads to a link-local address",
        "http" => return Ok(url),
        _ => "only http is supported",
    };
    Err(format!("{shown:?} is not asked: {why}"))
}

async fn fetch(request: RequestBuilder, limit: u64, wait: Duration) -> Result<Bytes, Fault> {
    match timeout(wait, take(request, limit)).await {
        Ok(answer) => answer,
        Err(_) => Err(Fault::of(Class::Network, format!("no answer within {}", humantime::format_duration(wait)))),
    }
}

async fn take(request: RequestBuilder, limit: u64) -> Result<Bytes, Fault> {
    let broken = |error: reqwest::Error| Fault::of(Class::Network, deepest(&error));
    let too_large = || Fault::of(Class::Malformed, format!("the answer is larger than the limit of {limit} bytes"));
    let mut response = request.send().await.map_err(broken)?;
    let status = response.status();
    if status != StatusCode::OK {
        let class = match status {
            StatusCode::NOT_FOUND => Class::NotFound,
            StatusCode::TOO_MANY_REQUESTS => Class::Throttled,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Class::Refused,
            _ => Class::Status,
        };
        return Err(Fault::of(class, format!("the answer has status {}", status.as_u16())));
    }
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        let length = body.len().saturating_add(chunk.len());
        if u64::try_from(length).map_or(true, |length| length > limit) {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The URL that asks by GET: the question in base64, escaped, below the responder's.
fn get_url(url: &Url, question: &[u8]) -> Option<Url> {
    let mut escaped = String::new();
    for c in STANDARD.encode(question).chars() {
        match c {
            '+' => escaped.push_str("%2B"),
            '/' => escaped.push_str("%2F"),
            '=' => escaped.push_str("%3D"),
            other => escaped.push(other),
        }
    }
    // "GET requests [...] 255 bytes in total (after encoding)" (RFC 6960, appendix A.1).
    let short = Some(escaped).filter(|escaped| escaped.len() <= GET_BYTES)?;
    let base = url.as_str().split('#').next().unwrap_or_default().trim_end_matches('/');
    Url::parse(&format!("{base}/{short}")).ok()
}

fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let asked = attempt.previous().first().map_or(Place::Elsewhere, place);
    let why = match (attempt.url().scheme(), place(attempt.url())) {
        _ if attempt.previous().len() > limits::REDIRECTS => "too many redirects",
        ("http", Place::ThisMachine) if asked != Place::ThisMachine => "a redirect leads to this machine",
        ("http", Place::ThisLink) => "a redirect leads to a link-local address",
        ("http", _) if !attempt.url().username().is_empty() => "a redirect carries credentials",
        ("http", _) => return attempt.follow(),
        _ => "a redirect leads away from http",
    };
    attempt.error(why)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    ThisMachine,
    ThisLink,
    Elsewhere,
}

/// Where a URL leads, by the host as written.
fn place(url: &Url) -> Place {
    let (this_machine, this_link) = match url.host() {
        Some(Host::Ipv4(address)) => {
            (address.is_loopback() || address.octets().first() == Some(&0), address.is_link_local())
        }
        Some(Host::Ipv6(address)) => match address.to_ipv4() {
            // `::` and `::1` become 0.0.0.0 and 0.0.0.1.
            Some(mapped) => (mapped.is_loopback() || mapped.octets().first() == Some(&0), mapped.is_link_local()),
            None => (false, address.is_unicast_link_local()),
        },
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            (name == "localhost" || name.ends_with(".localhost"), false)
        }
        None => (false, false),
    };
    match (this_machine, this_link) {
        (true, _) => Place::ThisMachine,
        (false, true) => Place::ThisLink,
        (false, false) => Place::Elsewhere,
    }
}

/// The innermost cause.
fn deepest(error: &reqwest::Error) -> String {
    let mut deepest: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// Longest question that is asked by GET, once encoded (RFC 6960, appendix A.1; RFC 5019, section 5).
const GET_BYTES: usize = 255;

/// How much of a foreign value is shown.
const SHOWN_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_alone_is_asked_and_never_a_link_of_this_machine() {
        for good in
            ["http://crl.acme.example/a.crl", "HTTP://crl.acme.example", "http://127.0.0.1:8080/x", "http://10.0.0.1"]
        {
            assert!(askable(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("https://crl.acme.example/a.crl", "only http is supported"),
            ("ldap://crl.acme.example/cn=a", "only http is supported"),
            ("file:///etc/passwd", "only http is supported"),
            ("http://169.254.169.254/latest", "link-local"),
            ("http://[fe80::1]/", "link-local"),
            ("http://[::ffff:169.254.169.254]/", "link-local"),
            ("http://0xa9fea9fe/", "link-local"),
            ("http://user:secret@crl.acme.example/", "credentials"),
            ("crl.acme.example", "cannot be asked"),
            ("", "cannot be asked"),
        ] {
            let error = askable(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn a_short_question_stands_in_the_url_escaped_and_a_long_one_does_not() {
        let url = |text: &str| Url::parse(text).unwrap();
        let question = [0xfb, 0xff, 0xfe, 0x3e];
        for (base, expected) in [
            ("http://a.example", "http://a.example/%2B%2F%2FiPg%3D%3D"),
            ("http://a.example/ocsp/", "http://a.example/ocsp/%2B%2F%2FiPg%3D%3D"),
            ("http://a.example/ocsp#x", "http://a.example/ocsp/%2B%2F%2FiPg%3D%3D"),
        ] {
            let found = get_url(&url(base), &question).unwrap();
            // Four bytes make "+//+Pg==".
            assert_eq!(found.as_str(), expected.replace("iPg", "%2BPg"));
        }
        // 189 bytes make 252 characters, 192 make 256.
        assert!(get_url(&url("http://a.example"), &[0; 189]).is_some());
        assert!(get_url(&url("http://a.example"), &[0; 192]).is_none());
    }
}
