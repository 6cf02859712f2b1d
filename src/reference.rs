//! Image names: from the text that containerd or a person hands in to a canonical repository.
//!
//! Two names of one repository become equal here, so that a scope cannot be dodged by writing the host
//! in another way. The grammar is that of the OCI distribution specification ("Pulling manifests").

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::artifact::Digest;
use crate::limits;

/// Docker Hub under the name that people write.
pub const DOCKER_HUB: &str = "docker.io";

/// Other names of Docker Hub that clients put into references.
const DOCKER_HUB_ALIASES: [&str; 3] = ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

/// A repository: canonical registry host, as [`canonical_host`] writes it, and path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    path: String,
}

/// A name as handed in: repository, and what it asks for there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The repository.
    pub repository: Repository,
    /// The tag, if one is named. `latest` is never made up.
    pub tag: Option<String>,
    /// The digest, if one is named; it wins over the tag.
    pub digest: Option<Digest>,
}

/// Text that is no image name, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadReference {
    name: String,
    cause: String,
}

impl BadReference {
    fn new(name: &str, cause: impl Into<String>) -> Self {
        Self { name: name.chars().take(200).collect(), cause: cause.into() }
    }
}

impl fmt::Display for BadReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an image name: {}", self.name, self.cause)
    }
}

impl std::error::Error for BadReference {}

/// The repository whose images no configuration lets in from a registry on this machine: by pulling one, `ratifyctl
/// doctor` proves that pulls are verified.
pub const CANARY: &str = "ratifyd/canary";

impl Repository {
    /// The canonical host, with its port where that is not 443 or where nothing else tells that it is a host.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is [`CANARY`] on this machine.
    #[must_use]
    pub fn is_canary(&self) -> bool {
        self.path == CANARY && self.is_loopback()
    }

    /// Whether the registry is on this machine: `localhost` or a loopback address, whatever the port.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = host_without_port(&self.registry);
        host == "localhost"
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl Reference {
    /// Parses a name as containerd has it: its first component is always the host that is asked. A short name such
    /// as `acme/web`, which is Docker Hub's to people, would be another image there.
    ///
    /// # Errors
    /// No image name, or one without a host.
    pub fn with_host(name: &str) -> Result<Self, BadReference> {
        let reference = name.parse()?;
        if split_host(name).1.len() == name.len() {
            let cause = "it names no registry, so containerd and its user may mean different ones: write the host too";
            return Err(BadReference::new(name, cause));
        }
        Ok(reference)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = BadReference;

    /// Parses `[HOST/]PATH[:TAG][@DIGEST]`. Without a host it is Docker Hub's, and there a path of one
    /// component is in `library/`.
    fn from_str(name: &str) -> Result<Self, BadReference> {
        if name.len() > limits::NAME_BYTES {
            return Err(BadReference::new(name, format!("it is longer than {} bytes", limits::NAME_BYTES)));
        }
        let (host, rest) = split_host(name);
        let registry = canonical_host(host).map_err(|cause| BadReference::new(name, cause))?;
        let (rest, digest) = split(rest, '@');
        let (path, tag) = split(rest, ':');
        let library = registry == DOCKER_HUB && !path.is_empty() && !path.contains('/');
        let path = if library { format!("library/{path}") } else { path.to_owned() };
        check_path(&path).map_err(|cause| BadReference::new(name, cause))?;
        if let Some(tag) = tag {
            check_tag(tag).map_err(|cause| BadReference::new(name, cause))?;
        }
        let digest = match digest {
            Some(digest) => Some(digest.parse().map_err(|error| BadReference::new(name, format!("{error}")))?),
            None => None,
        };
        let tag = tag.map(str::to_owned);
        Ok(Self { repository: Repository { registry, path }, tag, digest })
    }
}

/// The text before a character, and the text after it where it is there.
fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Components of lowercase letters and digits, in which single separators stand: `.`, `_`, `__` or hyphens.
fn check_path(path: &str) -> Result<(), String> {
    if path.len() > limits::PATH_BYTES {
        return Err(format!("its path is longer than {} bytes", limits::PATH_BYTES));
    }
    let is_alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-');
    let is_component = |text: &str| {
        text.starts_with(is_alphanumeric)
            && text.ends_with(is_alphanumeric)
            && text.split(is_alphanumeric).all(is_separator)
    };
    match path.split('/').find(|component| !is_component(component)) {
        Some("") if path.is_empty() => Err("it names no repository".to_owned()),
        Some(component) => Err(format!("{component:?} cannot stand in a repository's path")),
        None => Ok(()),
    }
}

/// Letters, digits, `_`, `.` and `-`, the first one a letter, a digit or `_`.
fn check_tag(tag: &str) -> Result<(), String> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let is_tag = tag.bytes().next().is_some_and(is_word) && tag.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'));
    if tag.len() > limits::TAG_BYTES {
        Err(format!("its tag is longer than {} bytes", limits::TAG_BYTES))
    } else if is_tag {
        Ok(())
    } else {
        Err(format!("{tag:?} is not a tag"))
    }
}

/// Splits the host off, where the first component is one.
fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((host, rest)) if is_host(host) => (host, rest),
        _ => (DOCKER_HUB, name),
    }
}

/// Whether the first component of a name is a host, by the distribution grammar: it has a dot, a colon or an uppercase
/// letter, or is `localhost`.
fn is_host(component: &str) -> bool {
    component == "localhost" || component.contains(['.', ':']) || component.bytes().any(|b| b.is_ascii_uppercase())
}

/// The one way to write a registry's host: lowercase, no trailing dot, no port 443, Docker Hub's aliases as
/// `docker.io`. A host of one label keeps or gets its port 443: `acme/web` would be read as Docker Hub's. Patterns of
/// scopes go through here too.
///
/// # Errors
/// What is wrong with the host, in words.
pub fn canonical_host(host: &str) -> Result<String, String> {
    let lowered = host.to_ascii_lowercase();
    let name = host_without_port(&lowered);
    let port = lowered.get(name.len()..).unwrap_or_default();
    let name =
        canonical_name(name.strip_suffix('.').unwrap_or(name)).ok_or_else(|| format!("{host:?} is not a host"))?;
    let name = name.as_str();
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => "",
        None => return Err(format!("{host:?} is not a host")),
        Some("443") => "",
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|p| p > 0) => {
            port
        }
        Some(_) => return Err(format!("{host:?} has no port between 1 and 65535 after its colon")),
    };
    // A port with leading zeros is the same port to a connection, and must be to a scope.
    let port = port.strip_prefix(':').map(|digits| format!(":{}", digits.trim_start_matches('0'))).unwrap_or_default();
    if port == ":443" {
        return canonical_host(name);
    }
    if port.is_empty() && DOCKER_HUB_ALIASES.contains(&name) {
        return Ok(DOCKER_HUB.to_owned());
    }
    let port = if port.is_empty() && !is_host(name) { ":443" } else { &port };
    Ok(format!("{name}{port}"))
}

/// The part of a host before its port; a bracketed IPv6 address keeps its brackets.
fn host_without_port(host: &str) -> &str {
    let end = match host.find(']') {
        Some(bracket) if host.starts_with('[') => bracket + 1,
        _ => host.find(':').unwrap_or(host.len()),
    };
    host.get(..end).unwrap_or(host)
}

/// The one way to write a host without its port. An IPv6 address has many, and a mapped one (RFC 4291, section 2.5.5.2)
/// leads to the IPv4 address in it; what ends in a number is an IPv4 address to whoever connects (WHATWG URL, "ends in a
/// number checker"), so it must be written as one.
fn canonical_name(name: &str) -> Option<String> {
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        let address = address.parse::<Ipv6Addr>().ok()?;
        return Some(address.to_ipv4_mapped().map_or_else(|| format!("[{address}]"), |mapped| mapped.to_string()));
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if is_number {
        return name.parse::<Ipv4Addr>().ok().map(|address| address.to_string());
    }
    (name.len() <= 253 && name.split('.').all(is_label)).then(|| name.to_owned())
}

/// A label of a host name (RFC 1123, section 2.1; 63 bytes by RFC 1035, section 2.3.4).
pub fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> String {
        name.parse::<Reference>().map_or_else(|error| format!("error: {error}"), |reference| reference.to_string())
    }

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn every_way_to_write_a_registry_is_one_repository() {
        for name in [
            "nginx",
            "library/nginx",
            "docker.io/nginx",
            "docker.io/library/nginx",
            "DOCKER.io/library/nginx",
            "docker.io./library/nginx",
            "docker.io:443/library/nginx",
            "docker.io:0443/library/nginx",
            "index.docker.io/library/nginx",
            "registry-1.docker.io:443/nginx",
        ] {
            assert_eq!(parse(name), "docker.io/library/nginx");
        }
        assert_eq!(parse("GHCR.IO.:443/acme/web:v1"), "ghcr.io/acme/web:v1");
        assert_eq!(parse("registry.example:5000/a/b/c"), "registry.example:5000/a/b/c");
        assert_eq!(parse("[::1]:5000/a"), "[::1]:5000/a");
    }

    #[test]
    fn a_host_of_one_label_is_never_shown_as_a_name_of_docker_hub() {
        for name in ["ACME/web", "acme:443/web", "acme./web", "Acme.:0443/web"] {
            assert_eq!(parse(name), "acme:443/web");
        }
        assert_eq!(parse("acme/web"), "docker.io/acme/web");
        assert_eq!(parse("acme:5000/web"), "acme:5000/web");
        assert_eq!(parse("localhost:443/web"), "localhost/web");
    }

    #[test]
    fn a_tag_and_a_digest_are_kept_as_written_and_latest_is_not_made_up() {
        assert_eq!(parse("ghcr.io/acme/web"), "ghcr.io/acme/web");
        assert_eq!(parse("ghcr.io/acme/web:latest"), "ghcr.io/acme/web:latest");
        assert_eq!(parse(&format!("ghcr.io/acme/web@{DIGEST}")), format!("ghcr.io/acme/web@{DIGEST}"));
        assert_eq!(parse(&format!("ghcr.io/acme/web:v1@{DIGEST}")), format!("ghcr.io/acme/web:v1@{DIGEST}"));
    }

    #[test]
    fn an_address_has_one_way_to_be_written() {
        for name in ["[fd00::5]:5000/a", "[fd00:0::5]:5000/a", "[FD00:0:0:0:0:0:0:5]:5000/a", "[fd00::0005]:05000/a"] {
            assert_eq!(parse(name), "[fd00::5]:5000/a");
        }
        for name in
            ["10.0.0.1:5000/a", "[::ffff:10.0.0.1]:5000/a", "[::FFFF:a00:1]:5000/a", "[0:0:0:0:0:ffff:a00:1]:5000/a"]
        {
            assert_eq!(parse(name), "10.0.0.1:5000/a");
        }
        for name in ["127.1/a", "0x7f.1/a", "127.0.0.01/a", "2130706433.0x1/a", "10.0.0.256:5000/a", "example.1/a"] {
            assert!(parse(name).starts_with("error: "), "{name}: {}", parse(name));
        }
    }

    #[test]
    fn containerd_takes_the_first_component_for_the_host_so_a_name_without_one_is_refused() {
        let full = |name: &str| Reference::with_host(name).map_err(|error| error.to_string());
        assert!(full("ghcr.io/acme/web").is_ok() && full("localhost/a").is_ok() && full("reg:5000/a").is_ok());
        for short in ["nginx", "acme/web:1", "library/nginx"] {
            assert!(full(short).is_err_and(|error| error.contains("names no registry")), "{short}");
        }
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let long = format!("ghcr.io/{}", "a".repeat(limits::NAME_BYTES));
        for name in [
            "",
            "/",
            "ghcr.io/",
            "ghcr.io/ACME/web",
            "ghcr.io/acme//web",
            "ghcr.io/../web",
            "ghcr.io/acme/web:",
            "ghcr.io/acme/web@sha256:1",
            "ghcr.io/acme/web:a b",
            "ghcr.io:0/acme/web",
            "ghcr.io:65536/acme/web",
            "ghcr.io:x/acme/web",
            "-x.io/a",
            "a..io/a",
            "ghcr.io@evil/a",
            "user:pass@ghcr.io/a",
            "https://ghcr.io/a",
            "[::1/a",
            "[zz]:1/a",
            "[::1]x/a",
            "[::1].example/a",
            "[::1]5000/a",
            "ghcr.io/acme/web\n",
            "ghcr.io/acme/web%2f",
            "ghcr.io/acme/w\u{e9}b",
            &long,
        ] {
            assert!(parse(name).starts_with("error: "), "{name:?} parsed as {}", parse(name));
        }
    }

    #[test]
    fn paths_and_tags_at_the_limit_and_one_past_it() {
        let name = |path: usize, tag: usize| format!("ghcr.io/{}:{}", "a".repeat(path), "t".repeat(tag));
        let at_limit = name(limits::PATH_BYTES, limits::TAG_BYTES);
        assert_eq!(parse(&at_limit), at_limit);
        assert!(parse(&name(limits::PATH_BYTES + 1, 1)).contains("its path is longer than 255 bytes"));
        assert!(parse(&name(1, limits::TAG_BYTES + 1)).contains("its tag is longer than 128 bytes"));
    }

    #[test]
    fn paths_and_tags_are_of_the_grammar_and_nothing_else() {
        for name in ["a.b_c__d-e---f/0/1.2", "a:_", "a:A.b-C_9", "a--b", "a/b/c/d/e/f"] {
            assert_eq!(parse(&format!("ghcr.io/{name}")), format!("ghcr.io/{name}"));
        }
        let bad = "a..b a._b a___b a.-b a-_b -a a- .a a. _a a__ a/ /a a//b A a:.b a:-b a:b:c a:b/c a: a@ a:b@ :b @";
        for name in bad.split(' ').chain(["a b", "a:v\u{e9}", "a\u{661}", "a:\u{661}"]) {
            assert!(parse(&format!("ghcr.io/{name}")).starts_with("error: "), "{name:?}");
        }
    }

    #[test]
    fn a_path_of_docker_hub_is_bounded_with_what_is_put_before_it() {
        for (length, is_read) in [(255 - "library/".len(), true), (256 - "library/".len(), false)] {
            let path = "a".repeat(length);
            for name in [path.clone(), format!("docker.io/{path}"), format!("docker.io/library/{path}")] {
                assert_eq!(!parse(&name).starts_with("error: "), is_read, "{name}");
            }
        }
    }

    #[test]
    fn loopback_is_told_by_host_alone() {
        let loopback = |name: &str| name.parse::<Reference>().unwrap().repository.is_loopback();
        assert!(
            loopback("localhost:5000/a")
                && loopback("127.0.0.1:5000/a")
                && loopback("127.9.9.9/a")
                && loopback("[::1]:5/a")
        );
        assert!(!loopback("localhost.example/a") && !loopback("10.0.0.1:5000/a") && !loopback("127.0.0.1.example/a"));
    }
}
