//! Names, digests, patterns, documents: what parses says the same when it is written down and read again, and keeps
//! within its bounds.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ratify::artifact::{
    ARTIFACT_MANIFEST, Algorithm, DOCKER_LIST, DOCKER_MANIFEST, Digest, IMAGE_INDEX, IMAGE_MANIFEST, Manifest,
};
use ratify::json::{from_slice, from_slice_but};
use ratify::limits;
use ratify::reference::{DOCKER_HUB, Reference, Repository, canonical_host};
use ratify::report::Tree;
use ratify::scope::{Pattern, Scopes};
use ratify::verdict::{Conclusion, Token, Verdict, brief, reason_line};
use reqwest::Url;
use serde_json::Value;

use super::{assert_one_line, parts, text_of};

/// A content digest: exactly what is written, in text and in JSON.
pub fn digest(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let in_json = serde_json::from_value::<Digest>(Value::String(text.to_string()));
    match text.parse::<Digest>() {
        Ok(digest) => {
            assert_eq!(digest.to_string(), text);
            assert_eq!(in_json.unwrap(), digest);
            let digits = match digest.algorithm() {
                Algorithm::Sha256 => 64,
                Algorithm::Sha512 => 128,
            };
            assert!(digest.hex().len() == digits && digest.hex().bytes().all(|b| b"0123456789abcdef".contains(&b)));
            true
        }
        Err(error) => {
            assert_one_line(&error.to_string());
            assert!(in_json.is_err());
            false
        }
    }
}

/// An image name: written canonically it is itself, and the URL that is made of it leads to the same registry.
pub fn reference(data: &[u8]) -> bool {
    let name = String::from_utf8_lossy(data);
    let reference = match name.parse::<Reference>() {
        Ok(reference) => reference,
        Err(error) => {
            assert_one_line(&error.to_string());
            assert!(Reference::with_host(&name).is_err());
            return false;
        }
    };
    assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
    assert!(reference.tag.as_ref().is_none_or(|tag| (1..=128).contains(&tag.len()) && name.contains(tag)));
    assert!(reference.digest.as_ref().is_none_or(|digest| name.ends_with(digest.as_str())));
    assert_canonical(&reference.repository);
    if let Ok(with_host) = Reference::with_host(&name) {
        assert_eq!(with_host, reference);
        let host = name.split('/').next().unwrap();
        let (written, canonical) = (url(host), url(reference.repository.registry()));
        let is_alias = reference.repository.registry() == DOCKER_HUB;
        assert!(is_alias || place(written.as_ref()) == place(canonical.as_ref()), "{host} leads elsewhere");
    }
    true
}

/// The URL that a registry's host makes. A host that no URL takes, such as broken punycode, is nobody.
fn url(host: &str) -> Option<Url> {
    Url::parse(&format!("https://{host}/")).ok()
}

/// The host and port that a URL leads to; a mapped address is the IPv4 address in it.
fn place(url: Option<&Url>) -> Option<(String, u16)> {
    let (host, port) = (url?.host_str()?, url?.port_or_known_default()?);
    let host = host.strip_suffix('.').unwrap_or(host);
    let address = host.trim_matches(['[', ']']).parse::<Ipv6Addr>().ok();
    let mapped = address.and_then(|address| address.to_ipv4_mapped());
    Some((mapped.map_or_else(|| host.to_owned(), |mapped| mapped.to_string()), port))
}

fn assert_canonical(repository: &Repository) {
    let (registry, path) = (repository.registry(), repository.path());
    assert_eq!(canonical_host(registry).as_deref(), Ok(registry));
    assert!((1..=255).contains(&path.len()), "{path}");
    assert!(path.split('/').all(|part| !part.is_empty() && !part.starts_with('.')), "{path}");
    assert!(path.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"/._-".contains(&b)), "{path}");
    if let Ok(url) = Url::parse(&format!("https://{registry}/v2/{path}/tags")) {
        let (host, port) = place(Some(&url)).unwrap();
        let is_plain = port == 443 && (host == "localhost" || host.contains(['.', ':']));
        let shown = if is_plain { host.clone() } else { format!("{host}:{port}") };
        assert_eq!((shown.as_str(), url.path()), (registry, format!("/v2/{path}/tags").as_str()));
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_loopback = address.map_or(host == "localhost", |address| address.is_loopback());
        assert_eq!(repository.is_loopback(), is_loopback, "{registry}");
    }
}

/// A pattern and a name: the pattern written canonically is itself, and takes exactly the names that it says.
pub fn scope(data: &[u8]) -> bool {
    let parts = parts(data);
    let written = text_of(&parts, 0);
    let pattern = match Pattern::parse(written) {
        Ok(pattern) => pattern,
        Err(error) => {
            assert_one_line(&error);
            return false;
        }
    };
    let shown = pattern.to_string();
    assert_eq!(Pattern::parse(&shown), Ok(pattern.clone()), "{written}");
    if let Ok(Reference { repository, .. }) = text_of(&parts, 1).parse::<Reference>() {
        let scopes = Scopes::new(vec![(pattern, ())]);
        assert_eq!(scopes.find(&repository).is_some(), is_within(&shown, &repository), "{shown} of {repository}");
    }
    true
}

/// What a pattern says, by its text alone.
fn is_within(pattern: &str, repository: &Repository) -> bool {
    let name = repository.to_string();
    match (pattern, pattern.strip_prefix("*."), pattern.strip_suffix('*')) {
        ("*", ..) => true,
        (_, Some(domain), _) => repository.registry().split_once('.').is_some_and(|(_, parent)| parent == domain),
        (_, _, Some(prefix)) => name.starts_with(prefix) && name.len() > prefix.len(),
        _ if pattern.contains('/') => name == pattern,
        _ => repository.registry() == pattern,
    }
}

/// The strict JSON reader: takes nothing that the ordinary one refuses, and refuses beyond that only what is
/// repeated or too much.
pub fn json(data: &[u8]) -> bool {
    let lax = serde_json::from_slice::<Value>(data);
    match (from_slice::<Value>(data), lax) {
        (Ok(strict), Ok(lax)) => {
            assert_eq!(strict, lax);
            assert!(values(&strict) <= limits::JSON_VALUES);
            assert!(from_slice_but::<Value>(data, "a").is_ok());
            true
        }
        (Ok(_), Err(error)) => panic!("taken, though it is no JSON: {error}"),
        (Err(error), Ok(_)) => {
            let error = error.to_string();
            assert_one_line(&error);
            assert!(error.contains("is given twice") || error.contains("values"), "{error}");
            false
        }
        (Err(_), Err(_)) => false,
    }
}

fn values(value: &Value) -> usize {
    match value {
        Value::Object(object) => object.len() + object.values().map(values).sum::<usize>(),
        Value::Array(items) => items.len() + items.iter().map(values).sum::<usize>(),
        _ => 0,
    }
}

/// A media type and a body: a manifest keeps within its bounds and can be read in one way only.
pub fn manifest(data: &[u8]) -> bool {
    let parts = parts(data);
    let (media_type, body) = (text_of(&parts, 0), parts.get(1).copied().unwrap_or_default());
    let read = |media_type| Manifest::parse(media_type, body);
    let manifest = match read(media_type) {
        Ok(manifest) => manifest,
        Err(error) => {
            assert_one_line(&error.to_string());
            return false;
        }
    };
    assert!(manifest.layers.len() <= limits::LAYERS && manifest.artifact_type.len() <= limits::MEDIA_TYPE_BYTES);
    let (image, index) = (read(IMAGE_MANIFEST), read(IMAGE_INDEX));
    if let (Ok(image), Ok(index)) = (&image, &index) {
        let kept = |name| from_slice::<Value>(body).unwrap().get(name).is_some_and(|member| !member.is_null());
        assert_eq!(image, index);
        assert!(["mediaType", "layers", "config", "manifests"].iter().all(|name| !kept(name)));
    }
    if matches!(media_type, IMAGE_INDEX | DOCKER_LIST) {
        assert!(manifest.layers.is_empty());
    } else {
        assert!(matches!(media_type, IMAGE_MANIFEST | DOCKER_MANIFEST | ARTIFACT_MANIFEST), "{media_type}");
    }
    true
}

/// A token, a cause and an id: the reason line is one printable line within its bound, and its first word the token.
pub fn reason(data: &[u8]) -> bool {
    let parts = parts(data);
    let token = Token::ALL[usize::from(data.first().copied().unwrap_or_default()) % Token::ALL.len()];
    let (cause, id) = (text_of(&parts, 1), text_of(&parts, 2));
    let line = reason_line(token, cause, id);
    assert_one_line(&line);
    assert!(line.len() < limits::REASON_BYTES, "{} bytes", line.len());
    let first = line.split(' ').next().unwrap();
    assert_eq!(Token::ALL.iter().find(|token| token.as_str() == first), Some(&token));
    assert!(id.is_empty() || line.ends_with(']'));
    let short = brief(cause);
    assert!(short.len() <= limits::CAUSE_BYTES && cause.starts_with(short.trim_end_matches('.')));
    for refusal in [Conclusion::denied(cause), Conclusion::misconfigured(cause), Conclusion::unavailable(cause)] {
        assert!(!Verdict::reach(refusal.clone(), false).allows());
        assert_eq!(Verdict::reach(refusal, true).token(), Token::Audit);
    }
    true
}

/// A report as the daemon sends it: written and read again it is the same.
pub fn report(data: &[u8]) -> bool {
    let Ok(tree) = serde_json::from_slice::<Tree>(data) else { return false };
    assert_eq!(serde_json::from_slice::<Tree>(&serde_json::to_vec(&tree).unwrap()).unwrap(), tree);
    assert!(tree.weight() >= verifiers(&tree).len());
    true
}

fn verifiers(tree: &Tree) -> BTreeSet<&str> {
    let own = tree.findings.iter().map(|finding| finding.verifier.as_str());
    own.chain(tree.referrers.iter().flat_map(verifiers)).collect()
}
