//! docker's config.json, which is also Kubernetes' `.dockerconfigjson`: passwords and tokens by registry, and the helper
//! programs that know others. The most specific entry wins; read again whenever it changes. Because it names programs
//! that run, it is opened by the rules for trusted files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::cache::kept::Kept;
use crate::json;
use crate::limits;
use crate::reference::canonical_host;
use crate::secret::Secret;
use crate::store::registry::credentials::glob::Glob;
use crate::store::registry::credentials::helper::{self, IDENTITY};
use crate::store::registry::credentials::program::Programs;
use crate::store::registry::credentials::{Credential, Provider, Wanted};
use crate::trust::watched::{Unread, Watched, json_cause};

/// The provider over one file, or over the first of several that is there.
pub struct DockerConfig {
    files: Vec<Watched<Config>>,
    /// Whether it is an error that none of them is there.
    required: bool,
    /// Where helpers are looked for.
    path: String,
    programs: Programs,
    answers: Kept<(String, String), Option<Credential>>,
}

impl DockerConfig {
    /// The provider over a file that must be there. `path` is the environment's `PATH`.
    #[must_use]
    pub fn of(file: PathBuf, path: String) -> Self {
        Self { required: true, ..Self::over(vec![file], path) }
    }

    /// The provider over the file at its usual places: systemd's credential `docker-config.json`, docker's own folder.
    #[must_use]
    pub fn at_usual_places(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let below = |variable: &str, name: &str| {
            let folder = environment(variable).map(PathBuf::from).filter(|folder| folder.is_absolute());
            folder.map(|folder| folder.join(name))
        };
        let docker = below("DOCKER_CONFIG", "config.json").or_else(|| below("HOME", ".docker/config.json"));
        let files = below("CREDENTIALS_DIRECTORY", "docker-config.json").into_iter().chain(docker).collect();
        Self::over(files, environment("PATH").unwrap_or_default())
    }

    fn over(files: Vec<PathBuf>, path: String) -> Self {
        let watched = |file| Watched::new(file, limits::CREDENTIAL_FILE_BYTES, |_, bytes| Config::parse(bytes));
        let files = files.into_iter().map(watched).collect();
        Self { files, required: false, path, programs: Programs::new(), answers: Kept::new() }
    }

    async fn helper(&self, name: &str, host: &str) -> Result<Option<Credential>, String> {
        let key = (name.to_owned(), host.to_owned());
        let ask = async || Ok((helper::ask(&self.programs, name, host, &self.path).await?, limits::HELPER_KEPT));
        self.answers.get(key, ask).await
    }

    /// A helper is asked first; what the file itself says counts where it knows nothing, as with podman, or where the
    /// file's entry is the more specific one.
    async fn look(&self, config: &Config, wanted: &Wanted<'_>) -> Result<Option<Credential>, String> {
        let written = config.entry(wanted);
        let depth = written.as_ref().map(|(key, _)| key.path.len());
        let Some(name) = config.helper(wanted, depth.unwrap_or_default()) else {
            return written.map_or(Ok(None), |(_, entry)| entry.credential());
        };
        let answer = self.helper(name, wanted.host).await;
        match (answer, written) {
            (Ok(None) | Err(_), Some((_, entry))) => entry.credential(),
            (answer, _) => answer,
        }
    }
}

#[async_trait]
impl Provider for DockerConfig {
    fn name(&self) -> &'static str {
        "dockerConfig"
    }

    async fn credential(&self, wanted: &Wanted<'_>, _: Instant) -> Result<Option<Credential>, String> {
        for file in &self.files {
            match file.now().await {
                Ok(config) => return self.look(&config, wanted).await,
                Err(Unread::Absent(_)) if !self.required => {}
                Err(unread) => return Err(unread.into_cause()),
            }
        }
        Ok(None)
    }

    fn refused(&self, wanted: &Wanted<'_>) {
        for config in self.files.iter().filter_map(Watched::last) {
            for name in config.helpers.iter().map(|(_, name)| name).chain(&config.store) {
                self.answers.forget(&(name.clone(), wanted.host.to_owned()));
            }
        }
    }
}

/// What is in a config.json, as far as it is about credentials.
#[derive(Debug)]
pub struct Config {
    entries: Vec<(Key, Entry)>,
    /// Programs for some registries; an empty name: none.
    helpers: Vec<(Key, String)>,
    /// The program for all others.
    store: Option<String>,
}

impl Config {
    /// Reads a file. Unknown keys are not ours.
    ///
    /// # Errors
    /// Not JSON of its form; in words that hold nothing of what is written there.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: File = json::from_slice(bytes).map_err(|error| json_cause(&error))?;
        fn keyed<T>(table: Option<BTreeMap<String, T>>) -> Vec<(Key, T)> {
            let keyed = table.unwrap_or_default().into_iter();
            keyed.filter_map(|(key, value)| Some((Key::parse(&key)?, value))).collect()
        }
        let entries = keyed(file.auths).into_iter().filter_map(|(key, entry)| Some((key, entry?)));
        Ok(Self {
            entries: entries.filter(|(_, entry)| !entry.is_empty()).collect(),
            helpers: keyed(file.creds_helpers),
            store: file.creds_store.filter(|name| !name.is_empty()),
        })
    }

    /// What the file itself says of a registry, whatever helpers know.
    ///
    /// # Errors
    /// An entry that cannot be read.
    pub fn written(&self, wanted: &Wanted<'_>) -> Result<Option<Credential>, String> {
        self.entry(wanted).map_or(Ok(None), |(_, entry)| entry.credential())
    }

    fn entry(&self, wanted: &Wanted<'_>) -> Option<(&Key, &Entry)> {
        best(&self.entries, wanted)
    }

    /// The helper to ask, unless something of the file is `deeper` in the path.
    fn helper(&self, wanted: &Wanted<'_>, deeper: usize) -> Option<&str> {
        let (depth, name) = match best(&self.helpers, wanted) {
            Some((key, name)) => (key.path.len(), Some(name)),
            None => (0, self.store.as_ref()),
        };
        name.map(String::as_str).filter(|name| !name.is_empty() && depth >= deeper)
    }
}

/// The most specific of what is meant for a registry.
fn best<'a, T>(table: &'a [(Key, T)], wanted: &Wanted<'_>) -> Option<(&'a Key, &'a T)> {
    let matching = table.iter().filter(|(key, _)| key.matches(wanted));
    matching.max_by_key(|(key, _)| key.rank()).map(|(key, value)| (key, value))
}

/// For which registry, and which repositories of it, something is meant.
#[derive(Debug)]
struct Key {
    host: Host,
    /// A prefix in whole components; empty: everything.
    path: String,
    /// It has neither a scheme nor a trailing slash: docker's own way to write it.
    is_plain: bool,
}

#[derive(Debug)]
enum Host {
    Exactly(String),
    Like(Glob),
}

impl Key {
    /// Reads `[SCHEME://]HOST[/PATH]`. docker has written `/v1/` and `/v2/` for whole registries.
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let has_scheme = rest.len() != text.len();
        let path = match path.split_once('/') {
            Some(("v1" | "v2", below)) => below,
            None if has_scheme && matches!(path, "v1" | "v2") => "",
            _ => path,
        };
        let host = match canonical_host(host) {
            Ok(host) => Host::Exactly(host),
            Err(_) => Host::Like(Glob::parse(host).ok()?),
        };
        let path = path.trim_end_matches('/').to_owned();
        Some(Self { host, path, is_plain: !has_scheme && !text.ends_with('/') })
    }

    fn matches(&self, wanted: &Wanted<'_>) -> bool {
        let is_host = match &self.host {
            Host::Exactly(host) => host == wanted.host,
            Host::Like(glob) => glob.matches_host(wanted.host),
        };
        let below = wanted.path.strip_prefix(&self.path);
        is_host && (self.path.is_empty() || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// A host by its name before a pattern, then the longest path, then docker's own way to write it.
    fn rank(&self) -> (bool, usize, bool) {
        (matches!(self.host, Host::Exactly(_)), self.path.len(), self.is_plain)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    auths: Option<BTreeMap<String, Option<Entry>>>,
    #[serde(rename = "credHelpers")]
    creds_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

/// One registry's entry.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "lowercase")]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

impl Entry {
    fn is_empty(&self) -> bool {
        let secrets = [&self.auth, &self.password, &self.identitytoken, &self.registrytoken];
        self.username.as_ref().is_none_or(String::is_empty)
            && secrets.into_iter().all(|secret| filled(secret).is_none())
    }

    /// docker's order: an access token, an identity token, a user and a password.
    fn credential(&self) -> Result<Option<Credential>, String> {
        if let Some(token) = filled(&self.registrytoken) {
            return Ok(Some(Credential::Bearer(token.clone())));
        }
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Credential::Identity(token.clone())));
        }
        let (username, password) = match filled(&self.auth) {
            Some(auth) => decode(auth.expose()).ok_or("an entry's auth is not the base64 of USER:PASSWORD")?,
            None => (self.username.clone().unwrap_or_default(), filled(&self.password).cloned().unwrap_or_else(empty)),
        };
        Ok(match (username.as_str(), password.is_empty()) {
            ("", _) => None,
            (IDENTITY, false) => Some(Credential::Identity(password)),
            _ => Some(Credential::Basic { username, password }),
        })
    }
}

fn filled(secret: &Option<Secret>) -> Option<&Secret> {
    secret.as_ref().filter(|secret| !secret.is_empty())
}

fn empty() -> Secret {
    Secret::new(String::new())
}

/// The user and password in an `auth`. docker cuts zero bytes off the password.
fn decode(auth: &str) -> Option<(String, Secret)> {
    let bytes = Zeroizing::new(BASE64.decode(auth).ok()?);
    let (username, password) = str::from_utf8(&bytes).ok()?.split_once(':')?;
    Some((username.to_owned(), Secret::new(password.trim_matches('\0').to_owned())))
}

/// Others than docker leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::store::registry::credentials::testing::{Scripts, ask, basic};

    fn encoded(text: &str) -> String {
        BASE64.encode(text)
    }

    /// What a file says of an image.
    fn of(file: &str, image: &str) -> Result<Option<Credential>, String> {
        let (host, path) = image.split_once('/').unwrap();
        Config::parse(file.as_bytes()).unwrap().written(&Wanted { host, path, is_mirror: false })
    }

    #[test]
    fn every_kind_of_entry_is_read() {
        let entry = |entry: &str| of(&format!(r#"{{"auths":{{"r.io":{entry}}}}}"#), "r.io/a");
        let token = |text: &str| Secret::new(text.to_owned());
        assert_eq!(entry(&format!(r#"{{"auth":"{}"}}"#, encoded("u:p:q\0\0"))), Ok(Some(basic("u", "p:q"))));
        assert_eq!(entry(r#"{"auth":"dTpw","username":"x","password":"y"}"#), Ok(Some(basic("u", "p"))));
        assert_eq!(entry(r#"{"username":"x","password":"y","email":"e","auth":""}"#), Ok(Some(basic("x", "y"))));
        assert_eq!(entry(r#"{"auth":"dTpw","identitytoken":"i"}"#), Ok(Some(Credential::Identity(token("i")))));
        assert_eq!(entry(r#"{"username":"<token>","password":"i"}"#), Ok(Some(Credential::Identity(token("i")))));
        assert_eq!(entry(r#"{"registrytoken":"b","identitytoken":"i"}"#), Ok(Some(Credential::Bearer(token("b")))));
        // Padding or none: "u:pw" has six characters without it.
        assert_eq!(entry(r#"{"auth":"dTpwdw"}"#), Ok(Some(basic("u", "pw"))));
        for nothing in ["{}", "null", r#"{"auth":""}"#, r#"{"auth":null,"email":"e"}"#] {
            assert_eq!(entry(nothing), Ok(None), "{nothing}");
        }
        for bad in [r#"{"auth":"hunter2!"}"#, r#"{"auth":"aHVudGVyMg=="}"#] {
            let error = entry(bad).unwrap_err();
            assert!(error.contains("base64 of USER:PASSWORD") && !error.contains("hunter2"), "{error}");
        }
    }

    /// A file with these keys, each with itself as user.
    fn keys(keys: &[&str]) -> String {
        let entry = |key: &&str| format!(r#""{key}":{{"username":"{key}","password":"p"}}"#);
        format!(r#"{{"auths":{{{}}}}}"#, keys.iter().map(entry).collect::<Vec<_>>().join(","))
    }

    /// The key whose entry is found.
    fn found(file: &str, image: &str) -> Option<String> {
        match of(file, image).unwrap() {
            Some(Credential::Basic { username, .. }) => Some(username),
            _ => None,
        }
    }

    #[test]
    fn the_most_specific_key_wins() {
        let file = keys(&[
            "r.io",
            "r.io/team",
            "r.io/team/app",
            "*.io",
            "*.io/team",
            "https://s.io",
            "https://r.io/v2/",
            "http://t.io:5000/v1/",
            "[fd00::1]:5000",
            "v.io/v1x",
            "https://w.io/v2",
        ]);
        for (image, key) in [
            ("r.io/other", "r.io"),
            ("r.io/team", "r.io/team"),
            ("r.io/team/x", "r.io/team"),
            ("r.io/teams", "r.io"),
            ("r.io/team/app/x", "r.io/team/app"),
            ("s.io/team/a", "https://s.io"),
            ("u.io/a", "*.io"),
            ("u.io/team/a", "*.io/team"),
            ("t.io:5000/a", "http://t.io:5000/v1/"),
            ("[fd00::1]:5000/a", "[fd00::1]:5000"),
            ("v.io/v1x/a", "v.io/v1x"),
            ("w.io/a", "https://w.io/v2"),
        ] {
            assert_eq!(found(&file, image).as_deref(), Some(key), "{image}");
        }
        assert_eq!(found(&keys(&["r.io", "*.io"]), "r.io:5000/a"), None);
        assert_eq!(found(&keys(&["r.io/team"]), "r.io/other"), None);
    }

    #[test]
    fn docker_hub_is_known_by_all_its_names() {
        for key in [
            "https://index.docker.io/v1/",
            "index.docker.io/v1/",
            "docker.io",
            "registry-1.docker.io",
            "https://index.docker.io",
        ] {
            assert_eq!(found(&keys(&[key]), "docker.io/library/nginx").as_deref(), Some(key));
        }
        assert_eq!(
            found(&keys(&["docker.io", "https://index.docker.io/v1/"]), "docker.io/a/b").as_deref(),
            Some("docker.io")
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_by_its_place_and_not_by_its_content() {
        for bad in
            ["hunter2", r#"{"auths":{"r.io":"hunter2"}}"#, r#"{"auths":["hunter2"]}"#, r#"{"auths":{},"auths":{}}"#]
        {
            let error = Config::parse(bad.as_bytes()).unwrap_err();
            assert!(error.contains("at line 1, column") && !error.contains("hunter2"), "{error}");
        }
        let other =
            r#"{"HttpHeaders":{"a":"b"},"psFormat":"x","auths":null,"credHelpers":null,"credsStore":"","proxies":{}}"#;
        assert_eq!(of(other, "r.io/a"), Ok(None));
        assert_eq!(of("{}", "r.io/a"), Ok(None));
        let shown =
            format!("{:?}", Config::parse(br#"{"auths":{"r.io":{"username":"u","password":"hunter2"}}}"#).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    /// A helper `NAME` that knows every registry, says who it is, and writes a line into the log.
    fn helper(scripts: &Scripts, name: &str, answer: &str) -> String {
        let log = scripts.path("log").display().to_string();
        let text = format!("#!/bin/sh\nread s\necho \"{name} $s\" >>{log}\n{answer}\n");
        let script = scripts.put(&format!("docker-credential-{name}"), &text);
        format!("{}:/usr/bin:/bin", script.parent().unwrap().display())
    }

    const KNOWS: &str = r#"echo '{"Username":"helper","Secret":"s"}'"#;
    const KNOWS_NOT: &str = "echo credentials not found in native keychain\nexit 1";

    #[tokio::test]
    async fn a_registrys_own_helper_comes_before_the_one_for_all_and_an_entry_deeper_in_the_path_before_both() {
        let scripts = Scripts::new();
        let path = helper(&scripts, "own", r#"echo '{"Username":"own","Secret":"s"}'"#);
        helper(&scripts, "all", r#"echo '{"Username":"all","Secret":"s"}'"#);
        helper(&scripts, "none", KNOWS_NOT);
        let file = r#"{
            "credsStore": "all",
            "credHelpers": { "own.io": "own", "none.io": "none", "off.io": "" },
            "auths": { "own.io": {"username":"x","password":"x"}, "own.io/team": {"username":"team","password":"p"},
                       "none.io": {"username":"written","password":"p"}, "off.io": {"username":"off","password":"p"},
                       "other.io": {} }
        }"#;
        let provider = DockerConfig::of(scripts.file("config.json", file), path);
        for (image, user, password) in [
            ("own.io/a", "own", "s"),
            ("own.io/team/a", "team", "p"),
            ("none.io/a", "written", "p"),
            ("off.io/a", "off", "p"),
            ("other.io/a", "all", "s"),
            ("docker.io/library/a", "all", "s"),
        ] {
            assert_eq!(ask(&provider, image).await, Ok(Some(basic(user, password))), "{image}");
        }
    }

    #[tokio::test]
    async fn a_helper_is_asked_once_a_minute_and_anew_once_its_answer_was_refused() {
        let scripts = Scripts::new();
        let path = helper(&scripts, "x", KNOWS);
        let provider = DockerConfig::of(scripts.file("config.json", r#"{"credsStore":"x"}"#), path);
        let all = futures_util::future::join_all((0..20).map(|_| ask(&provider, "r.io/a"))).await;
        assert!(all.iter().all(|answer| *answer == Ok(Some(basic("helper", "s")))), "{all:?}");
        ask(&provider, "r.io/b").await.unwrap();
        assert_eq!(scripts.runs(), 1);
        provider.refused(&Wanted { host: "s.io", path: "a", is_mirror: false });
        ask(&provider, "r.io/a").await.unwrap();
        assert_eq!(scripts.runs(), 1);
        provider.refused(&Wanted { host: "r.io", path: "a", is_mirror: false });
        ask(&provider, "r.io/a").await.unwrap();
        assert_eq!(scripts.runs(), 2);
    }

    #[tokio::test]
    async fn a_helper_that_fails_is_an_error_only_where_the_file_itself_knows_nothing() {
        let scripts = Scripts::new();
        let path = helper(&scripts, "x", "exit 3");
        let file = r#"{"credsStore":"x","auths":{"r.io":{"username":"u","password":"p"}}}"#;
        let provider = DockerConfig::of(scripts.file("config.json", file), path);
        assert_eq!(ask(&provider, "r.io/a").await, Ok(Some(basic("u", "p"))));
        assert!(ask(&provider, "s.io/a").await.unwrap_err().contains("exit status: 3"));
    }

    #[tokio::test]
    async fn a_password_that_is_rotated_counts_at_once() {
        let scripts = Scripts::new();
        let file = |password: &str| {
            scripts.file("config.json", format!(r#"{{"auths":{{"r.io":{{"username":"u","password":"{password}"}}}}}}"#))
        };
        let provider = DockerConfig::of(file("old"), String::new());
        assert_eq!(ask(&provider, "r.io/a").await, Ok(Some(basic("u", "old"))));
        file("new");
        assert_eq!(ask(&provider, "r.io/a").await, Ok(Some(basic("u", "new"))));
    }

    #[tokio::test]
    async fn systemds_credential_comes_before_dockers_own_file_and_that_neither_is_there_is_no_error() {
        let scripts = Scripts::new();
        let home = scripts.path("home");
        fs::create_dir_all(home.join(".docker")).unwrap();
        let folder = scripts.path("").display().to_string();
        let at = |variables: Vec<(&'static str, String)>| {
            DockerConfig::at_usual_places(&move |name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
            })
        };
        let all = || {
            let home = home.display().to_string();
            at(vec![("CREDENTIALS_DIRECTORY", folder.clone()), ("DOCKER_CONFIG", folder.clone()), ("HOME", home)])
        };
        let user = async |provider: DockerConfig| match ask(&provider, "r.io/a").await.unwrap() {
            Some(Credential::Basic { username, .. }) => username,
            _ => String::new(),
        };
        let text = |user: &str| format!(r#"{{"auths":{{"r.io":{{"username":"{user}","password":"p"}}}}}}"#);
        assert_eq!(user(all()).await, "");
        fs::write(home.join(".docker/config.json"), text("home")).unwrap();
        assert_eq!(user(at(vec![("HOME", home.display().to_string())])).await, "home");
        assert_eq!(user(at(vec![("HOME", "relative".to_owned())])).await, "");
        scripts.file("config.json", text("docker"));
        assert_eq!(user(all()).await, "docker");
        scripts.file("docker-config.json", text("systemd"));
        assert_eq!(user(all()).await, "systemd");
        let required = DockerConfig::of(scripts.path("other.json"), String::new());
        assert!(ask(&required, "r.io/a").await.unwrap_err().contains("other.json"));
    }

    #[tokio::test]
    async fn a_file_that_others_can_change_is_not_read_and_one_at_the_limit_is() {
        use std::os::unix::fs::PermissionsExt as _;
        let scripts = Scripts::new();
        let limit = usize::try_from(limits::CREDENTIAL_FILE_BYTES).unwrap();
        let path = scripts.file("config.json", format!("{{}}{}", " ".repeat(limit - 2)));
        let provider = DockerConfig::of(path.clone(), String::new());
        assert_eq!(ask(&provider, "r.io/a").await, Ok(None));
        fs::write(&path, format!("{{}}{}", " ".repeat(limit - 1))).unwrap();
        assert!(ask(&provider, "r.io/a").await.unwrap_err().contains("larger than the limit"));
        fs::write(&path, "{}").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(ask(&provider, "r.io/a").await.unwrap_err().contains("can be written by everybody"));
    }
}
