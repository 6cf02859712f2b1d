//! What files and programs say of credentials: what is taken is taken the same way twice, errors are one printable line
//! that holds nothing of what was read, and no credential is kept for ever.

use std::time::Duration;

use ratify::config::kubelet_providers;
use ratify::limits;
use ratify::store::registry::credentials::docker::Config;
use ratify::store::registry::credentials::glob::Glob;
use ratify::store::registry::credentials::response::Response;
use ratify::store::registry::credentials::{Credential, Wanted, helper};

use super::{assert_one_line, parts, text_of};

/// docker's config.json, a host and a path.
pub fn docker_config(data: &[u8]) -> bool {
    let parts = parts(data);
    let (host, path) = (text_of(&parts, 1), text_of(&parts, 2));
    let found = Config::parse(parts[0]).and_then(|config| {
        let found = config.written(&Wanted { host, path });
        assert_eq!(Config::parse(parts[0]).unwrap().written(&Wanted { host, path }), found);
        found
    });
    told(&found.map(|found| found.iter().for_each(assert_hidden)))
}

/// Whether a credential helper exited with 0, and what it printed.
pub fn helper_answer(data: &[u8]) -> bool {
    let parts = parts(data);
    let answer = helper::answer(parts[0] == b"0", parts.get(1).copied().unwrap_or_default());
    told(&answer.map(|answer| answer.iter().for_each(assert_hidden)))
}

/// The response of a kubelet's credential provider, a host and a path.
pub fn kubelet_response(data: &[u8]) -> bool {
    let parts = parts(data);
    let wanted = Wanted { host: text_of(&parts, 1), path: text_of(&parts, 2) };
    let response = Response::parse(parts[0], "credentialprovider.kubelet.k8s.io/v1").map(|response| {
        assert!(response.keep.is_none_or(|keep| keep <= limits::CREDENTIAL_KEPT_MAX));
        response.credential(&wanted).iter().for_each(assert_hidden);
    });
    told(&response)
}

/// The kubelet's CredentialProviderConfig.
pub fn kubelet_config(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    match kubelet_providers("p.yaml", text) {
        Ok(providers) => {
            assert!(!providers.is_empty());
            for provider in providers {
                assert!(!provider.name.contains('/') && !provider.match_images.is_empty());
                assert!(provider.default_cache_duration <= Duration::from_secs(24 * 3600));
            }
            true
        }
        Err(problems) => {
            problems.lines().iter().for_each(|line| assert_one_line(line));
            false
        }
    }
}

/// A pattern of images, a host and a path; where it has none but stars, they are matched in the plain way too.
pub fn image_glob(data: &[u8]) -> bool {
    let parts = parts(data);
    let (text, host, path) = (text_of(&parts, 0), text_of(&parts, 1), text_of(&parts, 2));
    let glob = match Glob::parse(text) {
        Ok(glob) => glob,
        Err(cause) => {
            assert_one_line(&cause);
            return false;
        }
    };
    let matches = glob.matches(host, path);
    assert!(!matches || glob.matches_host(host));
    let (pattern, prefix) = text.split_once('/').unwrap_or((text, ""));
    if !text.contains(['?', '[', '\\', ':']) && !host.contains(':') {
        let (labels, names): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
        let is_host = labels.len() == names.len() && labels.iter().zip(&names).all(|(label, name)| stars(label, name));
        assert_eq!(matches, is_host && path.starts_with(prefix), "{text:?} {host:?} {path:?}");
    }
    true
}

/// Whether a text matches a pattern of stars and other characters: which beginnings of it do, character by character.
fn stars(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut begins = vec![false; text.len() + 1];
    begins[0] = true;
    for character in pattern.chars() {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = if character == '*' {
                begins[at] || (at > 0 && next[at - 1])
            } else {
                at > 0 && begins[at - 1] && text[at - 1] == character
            };
        }
        begins = next;
    }
    begins[text.len()]
}

fn told(result: &Result<(), String>) -> bool {
    if let Err(cause) = result {
        assert_one_line(cause);
    }
    result.is_ok()
}

/// Shown, a credential is masked.
fn assert_hidden(credential: &Credential) {
    let shown = format!("{credential:?}");
    assert!(shown.contains("***"), "{shown}");
    if let Credential::Identity(_) | Credential::Bearer(_) = credential {
        assert!(shown.len() < 20, "{shown}");
    }
}
