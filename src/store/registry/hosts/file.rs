//! Reads a hosts.toml as containerd does (`core/remotes/docker/config/hosts.go`): bytes in, the hosts that it names
//! out, in the order in which they are asked. Called by `hosts`; opens no file, not even those that it names.
//!
//! What containerd refuses is refused, and what it passes over is passed over, with one exception: a capability that
//! is not known does not cost the file. TOML 1.1 is read where containerd reads 1.0.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{self, HeaderName, HeaderValue};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::order;
use crate::limits;
use crate::secret::Secret;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostsFile {
    /// The hosts in the order in which they are asked, the server last. Those that can never be asked are left out.
    pub entries: Vec<Entry>,
    /// What was passed over, in words for a log.
    pub notes: Vec<String>,
}

/// One host, or the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is; none: the registry itself, wherever that is.
    pub address: Option<Address>,
    /// What it may be asked for.
    pub capabilities: Capabilities,
    /// Files with certificates of its authorities, as written; that there is such a setting counts, even an empty one.
    pub ca: Option<Vec<PathBuf>>,
    /// Files with a client's certificate and its key, as written; both may be the same.
    pub clients: Vec<(PathBuf, PathBuf)>,
    /// Whether anybody's certificate will do; that it is written counts as well.
    pub skip_verify: Option<bool>,
    /// What is sent along with each request, by name.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Longest wait for a connection.
    pub dial_timeout: Option<Duration>,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            address: None,
            capabilities: Capabilities::ALL,
            ca: None,
            clients: Vec::new(),
            skip_verify: None,
            headers: Vec::new(),
            dial_timeout: None,
        }
    }
}

/// What a host may be asked for. Nothing is ever pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Manifests and blobs by digest.
    pub pull: bool,
    /// Which digest a tag has.
    pub resolve: bool,
    /// Lists of referrers.
    pub referrers: bool,
}

impl Capabilities {
    /// Those of a host of which the file says nothing.
    pub const ALL: Self = Self { pull: true, resolve: true, referrers: true };
}

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// What is spoken there.
    pub scheme: Scheme,
    /// The host with its port, as written.
    pub host: String,
    /// The path below which the API lies: empty, or with a slash at its start.
    pub path: String,
}

/// What is spoken with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// http
    Http,
    /// https
    Https,
}

impl Address {
    /// The URL of the place, over either.
    ///
    /// # Errors
    /// What makes it none, in words.
    pub fn url(&self, scheme: Scheme) -> Result<Url, String> {
        let scheme = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let url = format!("{scheme}://{}{}", self.host, self.path);
        Url::parse(&url).map_err(|error| format!("{url:?} is no URL: {error}"))
    }
}

/// Reads a file.
///
/// # Errors
/// Why containerd would take none of it, with the line where there is one. No value is repeated: it may be a secret.
pub fn parse(bytes: &[u8]) -> Result<HostsFile, String> {
    let text = str::from_utf8(bytes).map_err(|error| format!("byte {}: it is not UTF-8", error.valid_up_to()))?;
    let order = order::hosts(text)?;
    let mut reader = Reader { text, notes: Vec::new() };
    let root = DeTable::parse(text)
        .map_err(|error| reader.at(&error.span().unwrap_or_default(), error.message().to_owned()))?;
    let root = root.get_ref();
    let server = reader.string(root, "server")?.unwrap_or_default();
    let own = reader.section(root)?;
    let mut hosts = BTreeMap::new();
    if let Some(value) = get(root, "host") {
        for (name, value) in reader.table(value, "host")? {
            hosts.insert(name.get_ref().as_ref(), reader.section(reader.table(value, "a host")?)?);
        }
    }
    for name in hosts.keys().filter(|name| !order.iter().any(|listed| listed == *name)) {
        reader.notes.push(format!("{} is passed over: hosts are written as [host.\"URL\"]", shown(name)));
    }
    let mut entries = Vec::new();
    for name in &order {
        if let Some(section) = hosts.get(name.as_str()) {
            entries.extend(reader.entry(name, section, false)?);
        }
    }
    entries.extend(reader.entry(server, &own, true)?);
    reader.notes.truncate(limits::HOSTS);
    Ok(HostsFile { entries, notes: reader.notes })
}

/// The keys of one host, their kinds checked as far as containerd does for hosts that it then passes over, too.
struct Section<'a> {
    capabilities: Vec<&'a str>,
    ca: Option<&'a Spanned<DeValue<'a>>>,
    client: Option<&'a Spanned<DeValue<'a>>>,
    skip_verify: Option<bool>,
    header: Option<&'a DeTable<'a>>,
    override_path: bool,
    dial_timeout: &'a str,
}

struct Reader<'a> {
    text: &'a str,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn section<'a>(&self, table: &'a DeTable<'a>) -> Result<Section<'a>, String> {
        let capabilities = match get(table, "capabilities") {
            Some(value) => self.strings(value, "capabilities")?,
            None => Vec::new(),
        };
        let header = get(table, "header").map(|value| self.table(value, "header")).transpose()?;
        Ok(Section {
            capabilities,
            ca: get(table, "ca"),
            client: get(table, "client"),
            skip_verify: self.boolean(table, "skip_verify")?,
            header,
            override_path: self.boolean(table, "override_path")?.unwrap_or_default(),
            dial_timeout: self.string(table, "dial_timeout")?.unwrap_or_default(),
        })
    }

    /// A host, unless it can never be asked.
    fn entry(&mut self, url: &str, section: &Section<'_>, is_server: bool) -> Result<Option<Entry>, String> {
        let written = address(url, section.override_path)?;
        let name = match &written {
            Written::At(address) => shown(&address.host),
            _ if is_server => "server".to_owned(),
            _ => shown(url),
        };
        let capabilities = self.capabilities(&name, &section.capabilities);
        let ca = match section.ca {
            Some(value) if value.get_ref().is_str() => Some(vec![PathBuf::from(self.text_of(value, "ca")?)]),
            Some(value) => Some(self.strings(value, "ca")?.into_iter().map(PathBuf::from).collect()),
            None => None,
        };
        let clients = self.clients(section.client)?;
        if ca.as_ref().map_or(0, Vec::len).saturating_add(clients.len()) > limits::TLS_FILES {
            return Err(format!("{name} has more than {} files of certificates", limits::TLS_FILES));
        }
        let headers = self.headers(&name, section.header)?;
        let dial_timeout = match section.dial_timeout {
            "" => Some(Duration::ZERO),
            text => duration(text).ok_or_else(|| format!("dial_timeout of {name} is not a duration such as \"3s\""))?,
        };
        let why = match (written, headers, dial_timeout) {
            (Written::Elsewhere, ..) => "it is not reached over http or https",
            (Written::Nowhere, ..) if !is_server => "it names no host",
            (_, None, _) => "a header of it cannot be sent",
            (.., None) => "its dial_timeout is in the past",
            (written, Some(headers), Some(dial_timeout)) => {
                let address = match written {
                    Written::At(address) => Some(address),
                    Written::Nowhere | Written::Elsewhere => None,
                };
                let dial_timeout = Some(dial_timeout).filter(|timeout| !timeout.is_zero());
                let skip_verify = section.skip_verify;
                return Ok(Some(Entry { address, capabilities, ca, clients, skip_verify, headers, dial_timeout }));
            }
        };
        self.notes.push(format!("{name} is never asked: {why}"));
        Ok(None)
    }

    /// Left out or empty, all. One that is not known is none, and does not make the others unknown.
    fn capabilities(&mut self, name: &str, written: &[&str]) -> Capabilities {
        if written.is_empty() {
            return Capabilities::ALL;
        }
        let mut capabilities = Capabilities { pull: false, resolve: false, referrers: false };
        for word in written {
            match word.to_lowercase().as_str() {
                "pull" => capabilities.pull = true,
                "resolve" => capabilities.resolve = true,
                "referrers" => capabilities.referrers = true,
                "push" => {}
                _ => self.notes.push(format!(
                    "the capability {} of {name} is not known and passed over; containerd takes none of a file with \
                     a capability that it does not know",
                    shown(word)
                )),
            }
        }
        capabilities
    }

    /// A file, several files, or pairs of files.
    fn clients(&self, value: Option<&Spanned<DeValue<'_>>>) -> Result<Vec<(PathBuf, PathBuf)>, String> {
        let Some(value) = value else { return Ok(Vec::new()) };
        let same = |path: &str| (PathBuf::from(path), PathBuf::from(path));
        if value.get_ref().is_str() {
            return Ok(vec![same(self.text_of(value, "client")?)]);
        }
        let pairs = self.array(value, "client")?.iter().map(|item| {
            if item.get_ref().is_str() {
                return Ok(same(self.text_of(item, "client")?));
            }
            match self.strings(item, "client")?.as_slice() {
                // The certificate's file holds the key too.
                [certificate, ""] => Ok(same(certificate)),
                [certificate, key] => Ok((PathBuf::from(certificate), PathBuf::from(key))),
                _ => Err(self.at(&item.span(), "client: a pair is a certificate and its key".to_owned())),
            }
        });
        pairs.collect()
    }

    /// The headers by name; none if one of them can never be sent.
    fn headers(
        &mut self,
        host: &str,
        table: Option<&DeTable<'_>>,
    ) -> Result<Option<Vec<(HeaderName, Secret)>>, String> {
        let mut headers = Vec::new();
        let mut can_be_sent = true;
        for (name, value) in table.into_iter().flatten() {
            let values = match value.get_ref().is_str() {
                true => vec![self.text_of(value, "header")?],
                false => self.strings(value, "header")?,
            };
            let name = name.get_ref();
            match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) if OWN_HEADERS.contains(&name) => {
                    self.notes.push(format!("the header {name} of {host} is passed over: it is not the file's to set"));
                }
                Ok(name) if values.iter().all(|value| HeaderValue::from_str(value).is_ok()) => {
                    headers.extend(values.into_iter().map(|value| (name.clone(), Secret::new(value.to_owned()))));
                }
                _ => can_be_sent = false,
            }
        }
        headers.sort_by(|(left, _), (right, _)| left.as_str().cmp(right.as_str()));
        Ok(can_be_sent.then_some(headers))
    }

    fn string<'a>(&self, table: &'a DeTable<'a>, key: &str) -> Result<Option<&'a str>, String> {
        get(table, key).map(|value| self.text_of(value, key)).transpose()
    }

    fn boolean(&self, table: &DeTable<'_>, key: &str) -> Result<Option<bool>, String> {
        let boolean = |value: &Spanned<DeValue<'_>>| {
            value.get_ref().as_bool().ok_or_else(|| self.at(&value.span(), format!("{key} is neither true nor false")))
        };
        get(table, key).map(boolean).transpose()
    }

    fn strings<'a>(&self, value: &'a Spanned<DeValue<'a>>, key: &str) -> Result<Vec<&'a str>, String> {
        self.array(value, key)?.iter().map(|item| self.text_of(item, key)).collect()
    }

    fn array<'a>(&self, value: &'a Spanned<DeValue<'a>>, key: &str) -> Result<&'a DeArray<'a>, String> {
        value.get_ref().as_array().ok_or_else(|| self.at(&value.span(), format!("{key} is of the wrong kind")))
    }

    fn text_of<'a>(&self, value: &'a Spanned<DeValue<'a>>, key: &str) -> Result<&'a str, String> {
        value.get_ref().as_str().ok_or_else(|| self.at(&value.span(), format!("{key} is no string")))
    }

    fn table<'a>(&self, value: &'a Spanned<DeValue<'a>>, key: &str) -> Result<&'a DeTable<'a>, String> {
        value.get_ref().as_table().ok_or_else(|| self.at(&value.span(), format!("{key} is no table")))
    }

    fn at(&self, span: &Range<usize>, what: String) -> String {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        format!("line {}: {what}", before.split('\n').count())
    }
}

/// The value of a key. containerd's decoder passes over the case of keys, but for `host` in headers of tables.
fn get<'a>(table: &'a DeTable<'a>, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
    table.get(key).or_else(|| {
        let mut others = table.iter().filter(|(name, _)| name.get_ref().to_lowercase() == key);
        others.next().map(|(_, value)| value)
    })
}

/// A name for a log, without what may be a secret in it.
fn shown(name: &str) -> String {
    let name = name.rsplit_once('@').map_or(name, |(_, host)| host);
    let name: String = name.split(['?', '#']).next().unwrap_or_default().chars().take(SHOWN_CHARACTERS).collect();
    format!("{name:?}")
}

/// What a URL in a file says.
enum Written {
    At(Address),
    /// No host is in it.
    Nowhere,
    /// Something is spoken there that is not spoken here.
    Elsewhere,
}

/// containerd's reading of a URL: https if nothing else is written, and `/v2` at the end of the path unless the path is
/// said to be whole. User, query and fragment count for nothing.
fn address(url: &str, is_whole: bool) -> Result<Written, String> {
    let with_scheme = if url.starts_with("http") { Cow::Borrowed(url) } else { Cow::Owned(format!("https://{url}")) };
    let Some((scheme, rest)) = with_scheme.split_once("://") else { return Ok(Written::Nowhere) };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() {
        return Ok(Written::Nowhere);
    }
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Ok(Written::Elsewhere),
    };
    let mut path = if path.is_empty() { String::new() } else { clean(path) };
    if !is_whole && !path.ends_with("/v2") {
        path.push_str("/v2");
    }
    let address = Address { scheme, host: host.to_owned(), path };
    match address.url(scheme) {
        // Some characters mean something to a browser and are an error to Go.
        Ok(_) if !host.contains('\\') && !url.contains(|c: char| c.is_ascii_control()) => Ok(Written::At(address)),
        _ => Err(format!("{} is no URL", shown(url))),
    }
}

/// The shortest way to write an absolute path (Go's `path.Clean`), the root as the empty path.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.iter().fold(String::new(), |path, part| path + "/" + part)
}

/// A duration of Go (`time.ParseDuration`), to the nanosecond; the inner none is one in the past.
fn duration(text: &str) -> Option<Option<Duration>> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Some(Duration::ZERO));
    }
    let mut sum: u128 = 0;
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    loop {
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, nanoseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        // What is beyond a nanosecond of an hour has no effect.
        let fraction = fraction.get(..fraction.len().min(FRACTION_DIGITS)).unwrap_or_default();
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        let part =
            whole.checked_mul(*nanoseconds)?.checked_add(fraction.checked_mul(*nanoseconds)?.checked_div(scale)?)?;
        sum = sum.checked_add(part)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    // Go counts in 64 bits with a sign.
    let nanoseconds = u64::try_from(i64::try_from(sum).ok()?).ok()?;
    Some((!is_negative || sum == 0).then(|| Duration::from_nanos(nanoseconds)))
}

const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const FRACTION_DIGITS: usize = 18;

/// How much of a name is shown in a log.
const SHOWN_CHARACTERS: usize = 100;

/// Headers that HTTP itself sets, or that are between us and the next hop (RFC 9110, section 7.6.1).
const OWN_HEADERS: [HeaderName; 8] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::PROXY_AUTHORIZATION,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> HostsFile {
        parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn bad(text: &str) -> String {
        parse(text.as_bytes()).map_or_else(|error| error, |file| panic!("{text}: {file:?}"))
    }

    /// The hosts of a file as URLs, the registry itself as a hyphen.
    fn asked(text: &str) -> Vec<String> {
        let place =
            |address: &Address| format!("{:?}://{}{}", address.scheme, address.host, address.path).to_lowercase();
        let entries = good(text).entries;
        entries.iter().map(|entry| entry.address.as_ref().map_or_else(|| "-".to_owned(), place)).collect()
    }

    /// The one host of a file that has these keys.
    fn host(keys: &str) -> Entry {
        good(&format!("[host.\"https://m\"]\n{keys}")).entries.swap_remove(0)
    }

    #[test]
    fn hosts_are_asked_in_the_order_of_their_tables_and_the_server_last() {
        let text = "server = 'https://z.example'\n[host.'https://y.example']\n[host.\"http://a.example:5000\"]\n\
            [host.\"http://a.example:5000\".header]\nx = 'y'\n[host.b]\n";
        let expected = ["https://y.example/v2", "http://a.example:5000/v2", "https://b/v2", "https://z.example/v2"];
        assert_eq!(asked(text), expected);
        assert_eq!(asked("[host.b]\n[host.'a.example'.header]\n"), ["https://b/v2", "https://a.example/v2", "-"]);
        assert_eq!(asked("# nothing\n"), ["-"]);
        assert_eq!(asked("server = ''"), ["-"]);
    }

    #[test]
    fn a_host_whose_tables_stand_apart_is_asked_again_as_by_containerd() {
        let text = "[host.a]\n[host.b]\n[host.a.header]\nx = 'y'\n";
        assert_eq!(asked(text), ["https://a/v2", "https://b/v2", "https://a/v2", "-"]);
        assert!(good(text).entries.iter().filter(|entry| !entry.headers.is_empty()).count() == 2);
    }

    #[test]
    fn hosts_that_containerd_does_not_see_are_passed_over_aloud() {
        for text in [
            "host = { \"https://m\" = { capabilities = ['pull'] } }",
            "[host]\n\"https://m\" = {}",
            "host.\"https://m\".skip_verify = true",
            "[Host.\"https://m\"]",
        ] {
            assert_eq!(asked(text), ["-"], "{text}");
            assert!(good(text).notes[0].starts_with("\"https://m\" is passed over"), "{text}");
        }
    }

    #[test]
    fn a_url_is_read_as_containerd_reads_it() {
        for (url, read) in [
            ("m.example", "https://m.example/v2"),
            ("m.example:5000", "https://m.example:5000/v2"),
            ("http://m.example", "http://m.example/v2"),
            ("HTTPS://m.example", "https://https:/m.example/v2"),
            ("httpS://M.example", "https://m.example/v2"),
            ("https://m.example/", "https://m.example/v2"),
            ("https://m.example/v2/", "https://m.example/v2"),
            ("https://m.example/us", "https://m.example/us/v2"),
            ("https://m.example/v2/us", "https://m.example/v2/us/v2"),
            ("https://m.example//a/./b/../v2", "https://m.example/a/v2"),
            ("https://m.example/../..", "https://m.example/v2"),
            ("https://u:p@m.example/a?b#c", "https://m.example/a/v2"),
            ("https://[::1]:5000", "https://[::1]:5000/v2"),
        ] {
            assert_eq!(asked(&format!("[host.\"{url}\"]")), [read, "-"], "{url}");
            assert_eq!(asked(&format!("server = \"{url}\"")), [read], "{url}");
        }
        for (url, read) in [
            ("https://m.example", "https://m.example"),
            ("https://m.example/", "https://m.example"),
            ("https://m.example/v2/us/", "https://m.example/v2/us"),
        ] {
            assert_eq!(asked(&format!("[host.\"{url}\"]\noverride_path = true")), [read, "-"], "{url}");
        }
    }

    #[test]
    fn what_can_never_be_asked_is_left_out_aloud() {
        for (text, why) in [
            ("[host.\"httpx://m\"]", "not reached over http"),
            ("[host.\"\"]", "names no host"),
            ("[host.\"https:///v2\"]", "names no host"),
            ("[host.\"httpm\"]", "names no host"),
            ("[host.m]\ndial_timeout = '-1s'", "in the past"),
            ("[host.m.header]\n'a b' = 'c'", "cannot be sent"),
            ("[host.m.header]\na = \"b\\nc\"", "cannot be sent"),
        ] {
            assert_eq!(asked(text), ["-"], "{text}");
            assert!(good(text).notes[0].contains(why), "{text}: {:?}", good(text).notes);
        }
        assert_eq!(asked("server = 'httpm'"), ["-"]);
        let file = good("server = 'httpx://m'");
        assert!(file.entries.is_empty() && file.notes[0].contains("server is never asked"), "{file:?}");
    }

    #[test]
    fn every_key_counts_for_the_server_too_and_its_case_does_not() {
        let keys = "capabilities = ['PULL', 'resolve']\nCA = 'ca.pem'\nclient = ['c.pem']\nSkip_Verify = false\n\
            dial_timeout = '3s'\n";
        let expected = Entry {
            address: None,
            capabilities: Capabilities { pull: true, resolve: true, referrers: false },
            ca: Some(vec!["ca.pem".into()]),
            clients: vec![("c.pem".into(), "c.pem".into())],
            skip_verify: Some(false),
            headers: vec![(HeaderName::from_static("x-a"), Secret::new("b".to_owned()))],
            dial_timeout: Some(Duration::from_secs(3)),
        };
        assert_eq!(good(&format!("{keys}[header]\nX-A = 'b'\n")).entries, std::slice::from_ref(&expected));
        let mut of_host = host(&format!("{keys}header = {{ X-A = ['b'] }}"));
        assert!(of_host.address.take().is_some());
        assert_eq!(of_host, expected);
        assert_eq!(Entry { address: None, ..host("") }, Entry::default());
    }

    #[test]
    fn an_unknown_capability_does_not_cost_the_file_and_is_none() {
        assert_eq!(host("capabilities = []").capabilities, Capabilities::ALL);
        let file = good("[host.m]\ncapabilities = ['pull', 'delete']");
        assert_eq!(file.entries[0].capabilities, Capabilities { pull: true, resolve: false, referrers: false });
        assert!(file.notes[0].contains("\"delete\" of \"m\""), "{:?}", file.notes);
        let none = Capabilities { pull: false, resolve: false, referrers: false };
        assert_eq!(
            (host("capabilities = ['x']").capabilities, host("capabilities = ['push']").capabilities),
            (none, none)
        );
        let referrers = host("capabilities = ['referrers']").capabilities;
        assert_eq!(referrers, Capabilities { referrers: true, ..none });
    }

    #[test]
    fn certificates_are_a_file_or_several_and_clients_pairs_too() {
        let ca = |text: &str| host(text).ca;
        assert_eq!(ca(""), None);
        assert_eq!(ca("ca = []"), Some(Vec::new()));
        assert_eq!(ca("ca = 'a'"), Some(vec!["a".into()]));
        assert_eq!(ca("ca = ['a', '/b']"), Some(vec!["a".into(), "/b".into()]));
        let clients = |text: &str| {
            let pair = |(certificate, key): (PathBuf, PathBuf)| format!("{} {}", certificate.display(), key.display());
            host(text).clients.into_iter().map(pair).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(clients("client = 'a'"), "a a");
        assert_eq!(clients("client = ['a', 'b']"), "a a, b b");
        assert_eq!(clients("client = [['a', 'b'], ['c', ''], 'd']"), "a b, c c, d d");
        assert_eq!(clients("client = []"), "");
        let files = |number: usize| format!("[host.m]\nca = [{}]\nclient = 'c'", "'a', ".repeat(number - 1));
        assert_eq!(good(&files(limits::TLS_FILES)).entries.len(), 2);
        assert!(bad(&files(limits::TLS_FILES + 1)).contains("more than 64 files"));
    }

    #[test]
    fn headers_are_kept_secret_and_those_of_http_itself_are_passed_over() {
        let file = good("[host.m.header]\nX-B = ['1', '2']\nauthorization = 'Basic hunter2'\nHost = 'evil'\n");
        let headers = &file.entries[0].headers;
        let sent: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.expose())).collect();
        assert_eq!(sent, ["authorization: Basic hunter2", "x-b: 1", "x-b: 2"]);
        assert!(file.notes[0].contains("the header host of \"m\""), "{:?}", file.notes);
        assert!(!format!("{file:?}").contains("hunter2"));
    }

    #[test]
    fn a_file_that_containerd_refuses_is_refused_with_its_line_and_without_its_values() {
        for (text, expected) in [
            ("\u{0}", "line 1: "),
            ("a = 1\na = 2", "line 2: duplicate key"),
            ("x = 'hunter2", "line 1: "),
            ("\nserver = 1", "line 2: server is no string"),
            ("host = 'hunter2'", "line 1: host is no table"),
            ("[host]\nm = 'hunter2'", "line 2: a host is no table"),
            ("[[host.m]]", "a host is no table"),
            ("capabilities = 'hunter2'", "capabilities is of the wrong kind"),
            ("capabilities = [1]", "capabilities is no string"),
            ("skip_verify = 'hunter2'", "skip_verify is neither true nor false"),
            ("override_path = 1", "override_path is neither"),
            ("ca = 1", "ca is of the wrong kind"),
            ("ca = [1]", "ca is no string"),
            ("client = true", "client is of the wrong kind"),
            ("client = [1]", "client is of the wrong kind"),
            ("client = [['hunter2']]", "client: a pair is"),
            ("client = [['a', 'b', 'hunter2']]", "client: a pair is"),
            ("client = [['a', 1]]", "client is no string"),
            ("header = 'hunter2'", "header is no table"),
            ("header = { a = 1 }", "header is of the wrong kind"),
            ("header = { a = ['hunter2', 1] }", "header is no string"),
            ("dial_timeout = 3", "dial_timeout is no string"),
            ("dial_timeout = 'hunter2'", "dial_timeout of server is not a duration"),
            ("server = 'https://u:hunter2@m:x/'", "is no URL"),
            ("[host.'https://[zz]']", "is no URL"),
            ("[host.'m\\evil']", "is no URL"),
            ("[host.\"m\\n\"]", "is no URL"),
        ] {
            let found = bad(text);
            assert!(found.contains(expected) && !found.contains("hunter2"), "{text}: {found}");
        }
        assert!(parse(b"server = '\xff'").unwrap_err().contains("byte 10: it is not UTF-8"));
        // What is wrong in a host that containerd passes over costs the file only where its decoder minds.
        assert_eq!(asked("host.m.ca = 1"), ["-"]);
        assert!(bad("host.m.skip_verify = 1").contains("skip_verify"));
    }

    #[test]
    fn unknown_keys_and_tables_are_passed_over() {
        let text = "x = 1\n[host.m]\ny = [1]\n[host.m.rewrite]\n'^a' = 'b'\n[[z]]\nw = {}\n";
        assert_eq!(asked(text), ["https://m/v2", "-"]);
        assert!(good(text).notes.is_empty());
    }

    #[test]
    fn nesting_and_hosts_at_the_limit_and_one_past_it() {
        let braces = |depth: usize| format!("x = {}{}", "[".repeat(depth), "]".repeat(depth));
        let dotted = |depth: usize| format!("{} = 1", vec!["x"; depth].join("."));
        let header = |depth: usize| format!("[{}]", vec!["x"; depth].join("."));
        for text in [braces, dotted, header].map(|nest| nest(limits::HOSTS_DEPTH)) {
            good(&text);
        }
        for nest in [braces, dotted, header] {
            for depth in [limits::HOSTS_DEPTH + 1, 10_000] {
                assert!(bad(&nest(depth)).contains("deeper than 8 levels"));
            }
        }
        let hosts = |number: usize| (0..number).map(|host| format!("[host.m{host}]\n")).collect::<String>();
        assert_eq!(good(&hosts(limits::HOSTS - 1)).entries.len(), limits::HOSTS);
        assert!(bad(&hosts(limits::HOSTS)).contains("more than 64 hosts"));
    }

    #[test]
    fn durations_are_those_of_go() {
        let read = |text: &str| duration(text).flatten().map(|duration| duration.as_nanos());
        for (text, nanoseconds) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("3s", 3_000_000_000),
            ("+1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1us1\u{b5}s1\u{3bc}s1ns", 3001),
            ("100ms", 100_000_000),
            ("0.3333333333333333333333h", 1_199_999_999_999),
            ("9223372036854775807ns", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(read(text), Some(nanoseconds), "{text}");
        }
        for text in ["", "-", "+", "3", "s", ".s", "1 s", "1d", "1S", "3s4", "--1s", "1s-1s", "9223372036854775808ns"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration("-1s"), Some(None));
    }
}
