//! Through which proxy a registry is asked, and which hosts are asked directly: the rules of Go's net/http, which
//! containerd and Ratify go by, so that one `NO_PROXY` means the same to all of them. Read by the decoder, asked by the
//! registry store. A proxy's password is never shown.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};
use url::{Host, Url};

use crate::limits;

/// Which requests go through which proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proxy {
    /// Whom requests over https go through.
    pub https: Option<ProxyUrl>,
    /// Whom requests over http go through.
    pub http: Option<ProxyUrl>,
    /// What is asked directly all the same.
    pub no: Vec<Direct>,
}

impl Proxy {
    /// What the environment asks for.
    ///
    /// # Errors
    /// A variable that names no proxy, in words that do not repeat its value.
    pub fn from_environment(environment: Environment<'_>) -> Result<Self, String> {
        Ok(Self { https: Self::https(environment)?, http: Self::http(environment)?, no: Self::no(environment) })
    }

    /// What the environment asks for over https.
    ///
    /// # Errors
    /// As [`Proxy::from_environment`].
    pub fn https(environment: Environment<'_>) -> Result<Option<ProxyUrl>, String> {
        variable(environment, &["HTTPS_PROXY", "https_proxy"])
    }

    /// What the environment asks for over http.
    ///
    /// # Errors
    /// As [`Proxy::from_environment`].
    pub fn http(environment: Environment<'_>) -> Result<Option<ProxyUrl>, String> {
        // In a CGI program HTTP_PROXY is the header `Proxy` of whoever asks (RFC 3875, section 4.1.18).
        let is_cgi = environment("REQUEST_METHOD").is_some_and(|method| !method.is_empty());
        variable(environment, if is_cgi { &["http_proxy"] } else { &["HTTP_PROXY", "http_proxy"] })
    }

    /// What the environment exempts. What cannot be read exempts nothing: other programs may understand it.
    #[must_use]
    pub fn no(environment: Environment<'_>) -> Vec<Direct> {
        let list = first(environment, &["NO_PROXY", "no_proxy"]).map(|(_, list)| list).unwrap_or_default();
        list.split(',').filter_map(|entry| entry.parse().ok()).collect()
    }

    /// The proxy for a request; none where the host is asked directly. This machine always is.
    #[must_use]
    pub fn of(&self, url: &Url) -> Option<&ProxyUrl> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            "http" => self.http.as_ref(),
            _ => None,
        }?;
        let (host, port) = (url.host()?, url.port_or_known_default());
        let is_direct = is_loopback(&host) || self.no.iter().any(|direct| direct.rule.covers(&host, port));
        (!is_direct).then_some(proxy)
    }
}

/// Answers for the variables of an environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The first of these variables that is not empty.
fn first(environment: Environment<'_>, names: &[&'static str]) -> Option<(&'static str, String)> {
    let mut set = names.iter().filter_map(|name| Some((*name, environment(name)?)));
    set.find(|(_, value)| !value.is_empty())
}

fn variable(environment: Environment<'_>, names: &[&'static str]) -> Result<Option<ProxyUrl>, String> {
    let Some((name, value)) = first(environment, names) else { return Ok(None) };
    value.parse().map(Some).map_err(|error| format!("environment variable {name} {error}"))
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.to_canonical().is_loopback(),
    }
}

/// Where a proxy is, and who may use it. Shown, it is without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

/// Why a text is no proxy's URL. It does not repeat the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a proxy's URL")]
pub struct BadProxyUrl;

impl BadProxyUrl {
    /// How to write one.
    pub const HINT: &'static str = "for example \"http://proxy.example:3128\"; http:// or https://, user and password percent-encoded before the host";
}

impl FromStr for ProxyUrl {
    type Err = BadProxyUrl;

    /// Reads `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT]`. A path or query is refused: it is what an unencoded password
    /// makes of the rest.
    fn from_str(text: &str) -> Result<Self, BadProxyUrl> {
        let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
        let url = url.map_err(|_| BadProxyUrl)?;
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        // A host that the HTTP client cannot take would be passed over by it, and the registry asked directly.
        let is_host = match url.host() {
            Some(Host::Domain(name)) => name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
            None => false,
        };
        let is_proxy = matches!(url.scheme(), "http" | "https") && is_bare && is_host && url.port() != Some(0);
        if is_proxy && text.len() <= limits::EXPANDED_BYTES { Ok(Self(url)) } else { Err(BadProxyUrl) }
    }
}

impl ProxyUrl {
    /// All of it, password included: for the HTTP client alone.
    #[must_use]
    pub fn secret(&self) -> &Url {
        &self.0
    }

    /// Whether the proxy is told who asks.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        !self.0.username().is_empty() || self.0.password().is_some()
    }

    /// Whether the proxy itself is reached over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Where it is, without user and password.
    #[must_use]
    pub fn address(&self) -> String {
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.0.scheme(), self.0.host_str().unwrap_or_default())
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address();
        let (scheme, place) = address.split_once("://").unwrap_or_default();
        match (self.0.username(), self.0.password()) {
            ("", None) => f.write_str(&address),
            // A name without a password may be a token.
            (_, None) => write!(f, "{scheme}://***@{place}"),
            (user, Some(_)) => write!(f, "{scheme}://{user}:***@{place}"),
        }
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ProxyUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Hosts that are asked directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    written: String,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    All,
    Network(IpNet),
    Address {
        address: IpAddr,
        port: Option<u16>,
    },
    /// Names that end in `below`, which starts with a dot; and the name without it, if `itself`.
    Names {
        below: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Rule {
    fn covers(&self, host: &Host<&str>, port: Option<u16>) -> bool {
        let at = |rule: &Option<u16>| rule.is_none() || *rule == port;
        match (self, host) {
            (Self::All, _) => true,
            (Self::Names { below, itself, port }, Host::Domain(name)) => {
                let is_itself = *itself && below.strip_prefix('.') == Some(*name);
                (is_itself || name.ends_with(below.as_str())) && at(port)
            }
            (Self::Names { .. }, _) | (_, Host::Domain(_)) => false,
            (Self::Network(network), Host::Ipv4(address)) => network.contains(&IpAddr::from(*address)),
            (Self::Network(network), Host::Ipv6(address)) => network.contains(&address.to_canonical()),
            (Self::Address { address, port }, Host::Ipv4(host)) => *address == IpAddr::from(*host) && at(port),
            (Self::Address { address, port }, Host::Ipv6(host)) => *address == host.to_canonical() && at(port),
        }
    }
}

/// Why a text exempts no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("names no hosts")]
pub struct BadDirect;

impl BadDirect {
    /// How to write one.
    pub const HINT: &'static str = "a host with all below it, .DOMAIN for those below alone, an address, ADDRESS/BITS, each but that with or \
         without :PORT, or *";
}

impl FromStr for Direct {
    type Err = BadDirect;

    /// Reads one entry of `NO_PROXY`.
    fn from_str(text: &str) -> Result<Self, BadDirect> {
        let written = text.trim().to_lowercase();
        if written == "*" {
            return Ok(Self { written, rule: Rule::All });
        }
        if let Ok(network) = written.parse() {
            return Ok(Self { written, rule: Rule::Network(network) });
        }
        let (host, port) = split_port(&written).ok_or(BadDirect)?;
        let rule = match host.parse::<IpAddr>() {
            Ok(address) => Rule::Address { address: address.to_canonical(), port },
            Err(_) => {
                let name = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
                let (name, itself) = name.strip_prefix('.').map_or((name, true), |below| (below, false));
                Rule::Names { below: format!(".{}", domain(name).ok_or(BadDirect)?), itself, port }
            }
        };
        Ok(Self { written, rule })
    }
}

/// Parts `HOST:PORT`, `[ADDRESS]:PORT` and either without a port; an address of IPv6 needs no brackets then.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None if text.matches(':').count() == 1 => text.split_at(text.find(':')?),
        None => (text, ""),
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        Some("") => Some((host, None)),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some((host, Some(digits.parse().ok()?))),
        _ => None,
    }
}

/// A name as it stands in a URL.
fn domain(name: &str) -> Option<String> {
    if name.is_ascii() {
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        return is_name.then(|| name.to_owned());
    }
    match Host::parse(name) {
        Ok(Host::Domain(name)) => Some(name),
        _ => None,
    }
}

impl fmt::Display for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Serialize for Direct {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directly(list: &str, url: &str) -> bool {
        let environment = |name: &str| match name {
            "HTTP_PROXY" | "HTTPS_PROXY" => Some("proxy.example:3128".to_owned()),
            "NO_PROXY" => Some(list.to_owned()),
            _ => None,
        };
        Proxy::from_environment(&environment).unwrap().of(&Url::parse(url).unwrap()).is_none()
    }

    #[test]
    fn every_host_is_asked_as_go_asks_it() {
        let cases = include_str!("../../tests/fixtures/proxy/cases.tsv");
        for case in cases.lines() {
            let [list, url, says] = case.split('\t').collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(directly(list, url), says == "direct", "{case}");
        }
        assert!(cases.lines().count() > 900);
    }

    #[test]
    fn an_entry_that_no_host_can_match_is_told() {
        for entry in ["", " ", "10.0.0.0/33", "10.*", "a b", "https://a", "a/b", ":443", "a:b", "a:65536", ".", "*."] {
            assert_eq!(entry.parse::<Direct>(), Err(BadDirect), "{entry:?}");
        }
        for entry in
            ["*", "a", ".a.b", "*.a", "a:1", "::1", "[::1]:1", "[::1]", "10.0.0.0/8", "fd00::/8", "b\u{fc}cher"]
        {
            assert!(entry.parse::<Direct>().is_ok(), "{entry:?}");
        }
    }

    fn environment(variables: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        move |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn proxies(variables: &'static [(&'static str, &'static str)]) -> [String; 2] {
        let proxy = Proxy::from_environment(&environment(variables)).unwrap();
        [proxy.https, proxy.http].map(|proxy| proxy.map(|proxy| proxy.to_string()).unwrap_or_default())
    }

    #[test]
    fn variables_count_in_upper_and_then_in_lower_case_and_empty_ones_do_not() {
        assert_eq!(proxies(&[]), ["", ""]);
        assert_eq!(
            proxies(&[("HTTPS_PROXY", "a"), ("https_proxy", "b"), ("http_proxy", "c")]),
            ["http://a", "http://c"]
        );
        assert_eq!(
            proxies(&[("HTTPS_PROXY", ""), ("https_proxy", "b"), ("HTTP_PROXY", "c")]),
            ["http://b", "http://c"]
        );
        assert_eq!(proxies(&[("ALL_PROXY", "a")]), ["", ""]);
        let no = |variables| Proxy::no(&environment(variables)).iter().map(Direct::to_string).collect::<Vec<_>>();
        assert_eq!(no(&[("NO_PROXY", "A,,b/c"), ("no_proxy", "d")]), ["a"]);
        assert_eq!(no(&[("no_proxy", "d, .E")]), ["d", ".e"]);
    }

    #[test]
    fn a_cgi_programs_caller_sets_no_proxy() {
        let cgi = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "evil"), ("HTTPS_PROXY", "a")];
        assert_eq!(proxies(Box::leak(Box::new(cgi))), ["http://a", ""]);
    }

    #[test]
    fn a_variable_that_names_no_proxy_is_told_without_its_value() {
        let error = Proxy::from_environment(&environment(&[("https_proxy", "http://u:hunter2@")])).unwrap_err();
        assert_eq!(error, "environment variable https_proxy is not a proxy's URL");
    }

    #[test]
    fn proxies_are_read_with_and_without_a_scheme() {
        for (text, shown) in [
            ("proxy.example:3128", "http://proxy.example:3128"),
            ("proxy", "http://proxy"),
            ("HTTP://Proxy.Example:80/", "http://proxy.example"),
            ("https://proxy.example:3128", "https://proxy.example:3128"),
            ("[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
            ("http://10.0.0.1:3128", "http://10.0.0.1:3128"),
        ] {
            let proxy: ProxyUrl = text.parse().unwrap();
            assert_eq!(proxy.to_string(), shown, "{text}");
            assert!(!proxy.has_credentials(), "{text}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        let long = format!("http://{}@proxy", "a".repeat(limits::EXPANDED_BYTES - "http://@proxy".len()));
        assert!(long.parse::<ProxyUrl>().is_ok());
        for text in [
            "",
            " ",
            "/",
            "http://",
            "socks5://proxy:1080",
            "ftp://proxy",
            "http://proxy:x",
            "http://proxy:65536",
            "http://proxy:0",
            "http://proxy/path",
            "http://proxy?x",
            "http://proxy#x",
            "http://u:pa/ss@proxy",
            "http://u:12/ss@proxy",
            "http://u:12?s@proxy",
            "http://u:12#s@proxy",
            "http://pro xy",
            "http://pro{x}y",
            "unix:///run/proxy.sock",
            &format!("{long}x"),
        ] {
            assert_eq!(text.parse::<ProxyUrl>(), Err(BadProxyUrl), "{text:?}");
        }
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        for (text, shown) in [
            ("http://user:hunter2@proxy:3128", "http://user:***@proxy:3128"),
            ("http://user:p%40ss:hunter2%2F@proxy:3128", "http://user:***@proxy:3128"),
            ("http://:hunter2@proxy", "http://:***@proxy"),
            ("hunter2@proxy", "http://***@proxy"),
        ] {
            let proxy: ProxyUrl = text.parse().unwrap();
            assert!(proxy.has_credentials());
            let config = Proxy { https: Some(proxy.clone()), ..Proxy::default() };
            for printed in [proxy.to_string(), format!("{proxy:?}"), serde_json::to_string(&proxy).unwrap()] {
                assert_eq!(printed.trim_matches('"'), shown);
            }
            assert!(!format!("{config:?}{}", proxy.address()).contains("hunter2"));
        }
    }

    #[cfg(feature = "wire")]
    proptest::proptest! {
        // A proxy that the HTTP client cannot read would be passed over by it, and the registry asked directly.
        #[test]
        fn every_proxy_that_is_taken_is_one_to_the_http_client_too(
            text in "(https?://)?([!-~\u{e9}]{0,6}(:[!-~\u{e9}]{0,6})?@)?([!-~\u{e9}]{1,8}|\\[[0-9a-f:]{2,8}\\])(:[0-9]{1,5})?/?"
        ) {
            if let Ok(proxy) = text.parse::<ProxyUrl>() {
                let uri: tonic::codegen::http::Uri = proxy.secret().as_str().parse().unwrap();
                let authority = uri.authority().unwrap().as_str();
                let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
                let bare: tonic::codegen::http::uri::Authority = place.parse().unwrap();
                proptest::prop_assert_eq!(format!("{}://{bare}", uri.scheme_str().unwrap()), proxy.address());
                proptest::prop_assert_eq!(authority.matches('@').count(), usize::from(proxy.has_credentials()));
            }
        }
    }
}
