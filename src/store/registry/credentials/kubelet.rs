//! The kubelet's credential providers: programs that know the node's credentials for the registries of clouds
//! (Kubernetes, "Kubelet credential provider"). They get the image's name and answer with users and passwords, which are
//! kept for as long and for as many images as they say. Those that need a pod's service account are passed over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cache::Cache;
use crate::cache::kept::Kept;
use crate::config::kubelet_providers;
use crate::limits;
use crate::store::registry::credentials::glob::Glob;
use crate::store::registry::credentials::program::{Program, Programs};
use crate::store::registry::credentials::response::{Reach, Response};
use crate::store::registry::credentials::{Credential, Provider, Wanted};
use crate::trust::watched::{Unread, Watched};

/// The provider over all that a kubelet's configuration names.
pub struct Kubelet {
    config: Watched<Vec<Plugin>>,
    folder: PathBuf,
    programs: Programs,
}

impl Kubelet {
    /// `config` is the kubelet's CredentialProviderConfig, `folder` where the programs lie.
    #[must_use]
    pub fn new(config: PathBuf, folder: PathBuf) -> Self {
        Self { config: Watched::new(config, limits::CREDENTIAL_FILE_BYTES, plugins), folder, programs: Programs::new() }
    }
}

#[async_trait]
impl Provider for Kubelet {
    fn name(&self) -> &'static str {
        "kubelet"
    }

    async fn credential(&self, wanted: &Wanted<'_>, _: Instant) -> Result<Option<Credential>, String> {
        let plugins = self.config.now().await.map_err(Unread::into_cause)?;
        let mut troubles = Vec::new();
        for plugin in plugins.iter().filter(|plugin| plugin.matches(wanted)) {
            match plugin.response(&self.folder, &self.programs, wanted).await {
                Ok(response) => {
                    if let Some(credential) = response.credential(wanted) {
                        return Ok(Some(credential));
                    }
                }
                Err(trouble) => troubles.push(trouble),
            }
        }
        if troubles.is_empty() { Ok(None) } else { Err(troubles.join("; ")) }
    }

    fn refused(&self, wanted: &Wanted<'_>) {
        for plugin in self.config.last().iter().flat_map(|plugins| plugins.iter()) {
            for key in keys(wanted) {
                plugin.answers.remove(&key);
            }
        }
    }
}

/// A program, and what it answered. When its configuration changes, both are new.
struct Plugin {
    program: Program,
    api_version: String,
    images: Vec<Glob>,
    default_keep: Duration,
    needs_service_account: bool,
    answers: Cache<Key, (Arc<Response>, Instant)>,
    /// The questions that are under way.
    asking: Kept<(String, String), Arc<Response>>,
    /// One question at a time per registry: its answer may do for all who want another image of it.
    turns: Cache<String, Arc<Mutex<()>>>,
}

/// For what an answer is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Image(String, String),
    Registry(String),
    Global,
}

fn keys(wanted: &Wanted<'_>) -> [Key; 3] {
    let host = wanted.host.to_owned();
    [Key::Image(host.clone(), wanted.path.to_owned()), Key::Registry(host), Key::Global]
}

impl Plugin {
    fn matches(&self, wanted: &Wanted<'_>) -> bool {
        self.images.iter().any(|glob| glob.matches(wanted.host, wanted.path))
    }

    async fn response(&self, folder: &Path, programs: &Programs, wanted: &Wanted<'_>) -> Result<Arc<Response>, String> {
        if self.needs_service_account {
            let name = self.program.path.display();
            return Err(format!(
                "{name} was not asked: it wants the token of a pod's service account, which only the kubelet has; give \
                 this daemon an identity of its own, by another provider"
            ));
        }
        if let Some(response) = self.kept(wanted) {
            return Ok(response);
        }
        let key = (wanted.host.to_owned(), wanted.path.to_owned());
        let ask = async || {
            let turn = self.turns.get_or_insert(wanted.host.to_owned(), 1, Instant::now(), Arc::default);
            let _turn = turn.lock().await;
            match self.kept(wanted) {
                Some(response) => Ok((response, Duration::ZERO)),
                None => Ok((self.ask(folder, programs, wanted).await?, Duration::ZERO)),
            }
        };
        self.asking.get(key, ask).await
    }

    fn kept(&self, wanted: &Wanted<'_>) -> Option<Arc<Response>> {
        let now = Instant::now();
        let kept =
            keys(wanted).into_iter().find_map(|key| self.answers.get(&key, now).filter(|(_, until)| now < *until));
        kept.map(|(response, _)| response)
    }

    async fn ask(&self, folder: &Path, programs: &Programs, wanted: &Wanted<'_>) -> Result<Arc<Response>, String> {
        let program = Program { path: folder.join(&self.program.path), ..self.program.clone() };
        let path = program.path.display().to_string();
        let image = format!("{}/{}", wanted.host, wanted.path);
        let request =
            json!({ "kind": "CredentialProviderRequest", "apiVersion": self.api_version, "image": image }).to_string();
        let ran = programs.run(program, request.as_bytes()).await?;
        if !ran.success {
            return Err(format!(
                "{path}: the program had an error ({}); see what it says: echo '{request}' | {path}",
                ran.ended
            ));
        }
        let response = Response::parse(&ran.output, &self.api_version).map_err(|cause| format!("{path}: {cause}"))?;
        let response = Arc::new(response);
        let (now, [image, registry, global]) = (Instant::now(), keys(wanted));
        let key = match response.reach {
            Reach::Image => image,
            Reach::Registry => registry,
            Reach::Global => global,
        };
        let keep = response.keep.unwrap_or(self.default_keep);
        if !keep.is_zero() {
            let until = now.checked_add(keep).unwrap_or(now);
            self.answers.insert(key, (Arc::clone(&response), until), 1, now);
        }
        Ok(response)
    }
}

/// What a configuration names.
fn plugins(file: &Path, bytes: &[u8]) -> Result<Vec<Plugin>, String> {
    let text = str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let providers =
        kubelet_providers(&file.display().to_string(), text).map_err(|problems| problems.lines().join("; "))?;
    let plugin = |provider: crate::config::KubeletProvider| {
        let images = provider.match_images.iter().map(|image| {
            Glob::parse(&image.value)
                .map_err(|error| format!("line {}: {}: {error}", image.place.line, image.place.path))
        });
        Ok(Plugin {
            images: images.collect::<Result<_, String>>()?,
            program: Program {
                path: PathBuf::from(provider.name),
                arguments: provider.args,
                environment: provider.env,
            },
            api_version: provider.api_version,
            default_keep: provider.default_cache_duration,
            needs_service_account: provider.needs_service_account,
            answers: Cache::new(limits::CREDENTIALS_KEPT, None),
            asking: Kept::new(),
            turns: Cache::new(limits::CREDENTIALS_KEPT, None),
        })
    };
    providers.into_iter().map(plugin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use futures_util::future::join_all;

    use crate::store::registry::credentials::testing::{Scripts, ask, basic};

    /// A folder with a program `p` that answers with these members, writing each request into `log`, and a
    /// configuration for `*.r.io` and `s.io/team` that names it.
    fn node(members: &str) -> (Scripts, Kubelet) {
        let scripts = Scripts::new();
        let log = scripts.path("log");
        let text = format!(
            "#!/bin/sh\nread request\necho \"$* $VARIABLE $request\" >>{}\ncat <<'END'\n\
             {{\"kind\":\"CredentialProviderResponse\",\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",{members}}}\nEND\n",
            log.display()
        );
        let program = scripts.put("p", &text);
        let config = scripts.file("config.yaml", config(""));
        let kubelet = Kubelet::new(config, program.parent().unwrap().to_owned());
        (scripts, kubelet)
    }

    fn config(more: &str) -> String {
        format!(
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: p\n  \
             matchImages: ['*.r.io', s.io/team]\n  defaultCacheDuration: 1h\n  \
             apiVersion: credentialprovider.kubelet.k8s.io/v1\n  args: [get]\n  env: [{{name: VARIABLE, value: v}}]\n{more}"
        )
    }

    const AUTH: &str = r#""auth":{"*.r.io":{"username":"u","password":"p"},"s.io":{"username":"s","password":"p"}}"#;

    #[tokio::test]
    async fn a_program_is_asked_as_the_kubelet_asks_it_and_only_for_its_images() {
        let (scripts, kubelet) = node(&format!(r#""cacheKeyType":"Image","cacheDuration":"0s",{AUTH}"#));
        assert_eq!(ask(&kubelet, "a.r.io/team/x").await, Ok(Some(basic("u", "p"))));
        assert_eq!(ask(&kubelet, "s.io/team/x").await, Ok(Some(basic("s", "p"))));
        for other in ["r.io/a", "a.b.r.io/a", "s.io/other", "a.r.io:5000/a"] {
            assert_eq!(ask(&kubelet, other).await, Ok(None), "{other}");
        }
        let log = fs::read_to_string(scripts.path("log")).unwrap();
        let (words, request) = log.lines().next().unwrap().split_once(" {").unwrap();
        assert_eq!(words, "get v");
        let request: serde_json::Value = serde_json::from_str(&format!("{{{request}")).unwrap();
        let expected = json!({
            "kind": "CredentialProviderRequest",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "image": "a.r.io/team/x",
        });
        assert_eq!((request, log.lines().count()), (expected, 2));
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_the_images_and_the_time_that_it_names() {
        // Each list of images, and how often the program runs for it.
        let images = ["a.r.io/x", "a.r.io/x", "a.r.io/y", "b.r.io/x"];
        for (members, runs) in [
            (r#""cacheKeyType":"Image","cacheDuration":"5m""#, 3),
            (r#""cacheKeyType":"Image""#, 3),
            (r#""cacheKeyType":"Registry","cacheDuration":"5m""#, 2),
            (r#""cacheKeyType":"Global","cacheDuration":"5m""#, 1),
            (r#""cacheKeyType":"Global","cacheDuration":"0s""#, 4),
        ] {
            let (scripts, kubelet) = node(&format!("{members},{AUTH}"));
            for image in images {
                assert_eq!(ask(&kubelet, image).await, Ok(Some(basic("u", "p"))));
            }
            assert_eq!(scripts.runs(), runs, "{members}");
            kubelet.refused(&Wanted { host: "b.r.io", path: "x", is_mirror: false });
            ask(&kubelet, "b.r.io/x").await.unwrap();
            assert_eq!(scripts.runs(), runs + 1, "{members}");
        }
    }

    #[tokio::test]
    async fn the_program_runs_once_for_all_images_of_a_registry_that_are_wanted_at_once() {
        let (scripts, kubelet) = node(&format!(r#""cacheKeyType":"Registry",{AUTH}"#));
        let images: Vec<String> = (0..20).map(|index| format!("a.r.io/{}", index % 5)).collect();
        let answers = join_all(images.iter().map(|image| ask(&kubelet, image))).await;
        assert!(answers.iter().all(|answer| *answer == Ok(Some(basic("u", "p")))), "{answers:?}");
        assert_eq!(scripts.runs(), 1);
    }

    #[tokio::test]
    async fn a_changed_configuration_counts_at_once_and_a_broken_one_is_told_with_its_place() {
        let (scripts, kubelet) = node(&format!(r#""cacheKeyType":"Global",{AUTH}"#));
        ask(&kubelet, "a.r.io/x").await.unwrap();
        scripts.file("config.yaml", config("").replace("args: [get]", "args: [other]"));
        ask(&kubelet, "a.r.io/x").await.unwrap();
        assert!(fs::read_to_string(scripts.path("log")).unwrap().contains("\nother v "));
        scripts.file("config.yaml", config("").replace("'*.r.io'", "'[.r.io'"));
        let error = ask(&kubelet, "a.r.io/x").await.unwrap_err();
        assert!(error.contains("line 5: providers[0].matchImages[0]: \"[.r.io\" is no pattern"), "{error}");
    }

    #[tokio::test]
    async fn one_that_needs_a_service_account_is_passed_over_and_the_reason_told() {
        let (scripts, kubelet) = node(&format!(r#""cacheKeyType":"Global",{AUTH}"#));
        let tokens = "  tokenAttributes: {serviceAccountTokenAudience: x, requireServiceAccount: true}\n";
        let second = "- {name: q, matchImages: [a.r.io], defaultCacheDuration: 0s, apiVersion: credentialprovider.kubelet.k8s.io/v1}\n";
        scripts.file("config.yaml", config(tokens));
        let error = ask(&kubelet, "a.r.io/x").await.unwrap_err();
        assert!(error.contains("p was not asked: it wants the token of a pod's service account"), "{error}");
        let script = format!("#!/bin/sh\nexec {}\n", scripts.path("p").display());
        scripts.put("q", &script);
        scripts.file("config.yaml", config(&format!("{tokens}{second}")));
        assert_eq!(ask(&kubelet, "a.r.io/x").await, Ok(Some(basic("u", "p"))));
    }

    #[tokio::test]
    async fn a_program_that_fails_is_told_without_what_it_said() {
        let (scripts, kubelet) = node(&format!(r#""cacheKeyType":"Global",{AUTH}"#));
        for (text, cause) in [
            ("#!/bin/sh\necho hunter2\necho hunter2 >&2\nexit 7\n", "exit status: 7"),
            ("#!/bin/sh\necho hunter2\n", "the response is not JSON of the expected form"),
            ("#!/bin/sh\nhead -c 300000 /dev/zero\n", "printed more than 262144 bytes"),
        ] {
            scripts.put("p", text);
            let error = ask(&kubelet, "a.r.io/x").await.unwrap_err();
            assert!(error.contains(cause) && !error.contains("hunter2"), "{error}");
        }
        fs::remove_file(scripts.path("p")).unwrap();
        assert!(ask(&kubelet, "a.r.io/x").await.unwrap_err().contains("No such file"));
    }
}
