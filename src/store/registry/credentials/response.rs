//! What a kubelet's credential provider answers (credentialprovider.kubelet.k8s.io, CredentialProviderResponse): which
//! registries it knows, and for which images its answer may be kept how long. Asked by `kubelet`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::json;
use crate::limits;
use crate::reference::DOCKER_HUB;
use crate::secret::Secret;
use crate::store::registry::credentials::glob::Glob;
use crate::store::registry::credentials::{Credential, Wanted};
use crate::trust::watched::json_cause;

/// A response.
#[derive(Debug)]
pub struct Response {
    /// For which images it may be kept.
    pub reach: Reach,
    /// How long it may be kept; none: as long as the provider's configuration says.
    pub keep: Option<Duration>,
    /// The first that matches counts: the kubelet goes through the patterns from the last to the first by their text,
    /// which brings the longer before the shorter.
    auth: Vec<(Glob, Credential)>,
}

/// For which images a response may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Reach {
    /// The image alone.
    Image,
    /// All of its registry.
    Registry,
    /// All images.
    Global,
}

impl Response {
    /// Reads a response to a request of an API version.
    ///
    /// # Errors
    /// It is none; without anything that it says.
    pub fn parse(bytes: &[u8], api_version: &str) -> Result<Self, String> {
        let file: File = json::from_slice(bytes).map_err(|error| format!("the response is {}", json_cause(&error)))?;
        if file.kind != "CredentialProviderResponse" || file.api_version != api_version {
            return Err(format!("the response is no CredentialProviderResponse of {api_version}"));
        }
        let keep = match file.cache_duration {
            Some(text) => Some(duration(&text).ok_or("the response's cacheDuration is no duration")?),
            None => None,
        };
        let mut entries = Vec::new();
        for (key, entry) in file.auth.unwrap_or_default() {
            let key = written(&key);
            let glob = Glob::parse(&key).map_err(|_| "the response's auth has a key that is no pattern of images")?;
            if !entry.password.is_empty() || !entry.username.is_empty() {
                let Entry { username, password } = entry;
                entries.push((key, glob, Credential::Basic { username, password }));
            }
        }
        entries.sort_by(|(a, ..), (b, ..)| b.cmp(a));
        let auth = entries.into_iter().map(|(_, glob, credential)| (glob, credential)).collect();
        Ok(Self { reach: file.cache_key_type, keep, auth })
    }

    /// The credential for an image.
    #[must_use]
    pub fn credential(&self, wanted: &Wanted<'_>) -> Option<Credential> {
        let of = |host: &str| {
            let found = self.auth.iter().find(|(glob, _)| glob.matches(host, wanted.path));
            found.map(|(_, credential)| credential.clone())
        };
        // The kubelet knows Docker Hub by its old name too.
        of(wanted.host).or_else(|| if wanted.host == DOCKER_HUB { of("index.docker.io") } else { None })
    }
}

/// A key without its scheme and the `/v1` or `/v2` of old clients, as the kubelet puts it into its keyring.
fn written(key: &str) -> String {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let Some((host, path)) = rest.split_once('/') else { return rest.to_owned() };
    match path.strip_prefix("v1/").or_else(|| path.strip_prefix("v2/")).unwrap_or(path) {
        "" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

/// A duration of Go, which this reader of durations understands; a day at most.
pub(super) fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().map(|duration| duration.min(limits::CREDENTIAL_KEPT_MAX))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    kind: String,
    api_version: String,
    cache_key_type: Reach,
    cache_duration: Option<String>,
    auth: Option<BTreeMap<String, Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default = "empty")]
    password: Secret,
}

fn empty() -> Secret {
    Secret::new(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::registry::credentials::testing::basic;

    const V1: &str = "credentialprovider.kubelet.k8s.io/v1";

    /// A response with these members besides its type.
    fn parse(members: &str) -> Result<Response, String> {
        let text = format!(r#"{{"kind":"CredentialProviderResponse","apiVersion":"{V1}",{members}}}"#);
        Response::parse(text.as_bytes(), V1)
    }

    fn user(response: &Response, image: &str) -> Option<String> {
        let (host, path) = image.split_once('/').unwrap();
        match response.credential(&Wanted { host, path, is_mirror: false }) {
            Some(Credential::Basic { username, .. }) => Some(username),
            _ => None,
        }
    }

    #[test]
    fn the_most_specific_pattern_gives_the_credential() {
        let keys = ["*.io", "r.io", "r.io/team", "https://index.docker.io/v1/", "s.io:5000/", "https://t.io/v2/"];
        let auth: Vec<_> = keys.iter().map(|key| format!(r#""{key}":{{"username":"{key}","password":"p"}}"#)).collect();
        let response = parse(&format!(r#""cacheKeyType":"Global","auth":{{{}}}"#, auth.join(","))).unwrap();
        for (image, key) in [
            ("r.io/team/a", "r.io/team"),
            ("r.io/a", "r.io"),
            ("x.io/a", "*.io"),
            ("docker.io/library/a", "*.io"),
            ("s.io:5000/a", "s.io:5000/"),
            ("t.io/a", "https://t.io/v2/"),
        ] {
            assert_eq!(user(&response, image).as_deref(), Some(key), "{image}");
        }
        assert_eq!(user(&response, "r.com/a"), None);
        let hub =
            parse(r#""cacheKeyType":"Image","auth":{"index.docker.io":{"username":"u","password":"p"}}"#).unwrap();
        assert_eq!(user(&hub, "docker.io/library/a").as_deref(), Some("u"));
    }

    #[test]
    fn how_long_and_for_what_it_may_be_kept_is_read() {
        for (text, reach, keep) in [
            (r#""cacheKeyType":"Image""#, Reach::Image, None),
            (r#""cacheKeyType":"Registry","cacheDuration":"6h0m0s","auth":null"#, Reach::Registry, Some(6 * 3600)),
            (r#""cacheKeyType":"Global","cacheDuration":"0s","auth":{}"#, Reach::Global, Some(0)),
            (r#""cacheKeyType":"Global","cacheDuration":"0","x":1"#, Reach::Global, Some(0)),
            (r#""cacheKeyType":"Global","cacheDuration":"9000h""#, Reach::Global, Some(24 * 3600)),
        ] {
            let response = parse(text).unwrap();
            assert_eq!((response.reach, response.keep), (reach, keep.map(Duration::from_secs)), "{text}");
            assert_eq!(user(&response, "r.io/a"), None);
        }
        let empty = parse(r#""cacheKeyType":"Image","auth":{"r.io":{"username":"","password":""}}"#).unwrap();
        assert_eq!(user(&empty, "r.io/a"), None);
        let user = parse(r#""cacheKeyType":"Image","auth":{"r.io":{"username":"u","password":"hunter2"}}"#).unwrap();
        assert_eq!(user.credential(&Wanted { host: "r.io", path: "a", is_mirror: false }), Some(basic("u", "hunter2")));
        assert!(!format!("{user:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_no_response_is_refused_without_repeating_it() {
        let other =
            format!(r#"{{"kind":"CredentialProviderResponse","apiVersion":"{V1}beta1","cacheKeyType":"Image"}}"#);
        assert!(Response::parse(other.as_bytes(), V1).unwrap_err().contains(V1));
        for bad in [
            r#""cacheKeyType":"hunter2""#,
            r#""auth":{}"#,
            r#""cacheKeyType":"Image","cacheDuration":"hunter2""#,
            r#""cacheKeyType":"Image","cacheDuration":"-1s""#,
            r#""cacheKeyType":"Image","auth":{"[hunter2":{"username":"u","password":"hunter2"}}"#,
            r#""cacheKeyType":"Image","auth":{"r.io":"hunter2"}"#,
        ] {
            let error = parse(bad).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(Response::parse(b"hunter2", V1).is_err_and(|error| !error.contains("hunter2")));
    }
}
