//! Plugins that are fetched: who judges them, where they come from, and what is in force of them. What follows them has
//! stores of its own: connections belong to the thread that made them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::plugin::Held;
use super::{Assembly, Shared, credentials, environment, options};
use crate::artifact::Digest;
use crate::config::{self, Config, Mode, PluginSource, Proxy, RegistryStore, Remember, Spanned, VerifierKind};
use crate::executor::Executor;
use crate::limits;
use crate::metrics::AsOf;
use crate::plugin::source::{self, Installed, Settings, Vouched};
use crate::reference::Repository;
use crate::store::Store;
use crate::store::registry;
pub use crate::store::registry::Arrived;
pub use crate::store::registry::push::Pusher;
use crate::trust::{self, Stamp};

/// A plugin that is fetched.
#[derive(Clone)]
pub struct Fetched {
    /// Its name.
    pub name: String,
    /// The artifact, as configured.
    pub source: String,
    /// Why it may be run, in one word.
    pub trust: &'static str,
    /// The artifact in force, if one is.
    pub artifact: Option<Digest>,
    /// When that was last found to be the one that counts.
    pub as_of: AsOf,
    /// What is wrong with it, or with what its source names now.
    pub problem: Option<String>,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetched").field("name", &self.name).field("source", &self.source).finish_non_exhaustive()
    }
}

/// Who judges plugins.
struct Judge {
    executor: Arc<Executor>,
    vouched: Vouched,
    store: RegistryStore,
}

impl Assembly {
    /// The program in force of a plugin that is fetched, its SHA-256, and what it lies there as long as.
    ///
    /// # Errors
    /// Why there is none, in words; it is in the problems too, with its place.
    pub(super) fn fetched(
        &mut self,
        name: &str,
        source: &PluginSource,
        config: &Config,
    ) -> Result<(PathBuf, [u8; 32], Held), String> {
        let judge = match &source.trust {
            Some(trust) => Some(self.judge(trust, config)?),
            None => None,
        };
        let vouched = match &judge {
            Some(judge) => judge.vouched.clone(),
            None if source.allow_unverified => Vouched::Nobody,
            None => Vouched::Pinned,
        };
        let of_judge = judge.as_ref().map(|judge| judge.store.clone());
        let store = source.store.clone().or(of_judge).unwrap_or_default();
        let asked = source::Options {
            reference: source.reference.clone(),
            title: source.title.clone(),
            name: name.to_owned(),
            vouched,
            refresh: source.refresh,
            max_bytes: source.max_bytes,
            folder: self.kept.clone(),
            store: store.clone(),
            settings: Settings {
                revocation: config.revocation.clone(),
                plugins: config.plugins.clone(),
                remember: config.remember.clone(),
            },
        };
        let trust = asked.vouched.word();
        let made = self.source_store(&store, source.max_bytes, config);
        let made = made.inspect_err(|cause| self.problems.push(&source.artifact.place, cause.clone()))?;
        let plugin = self.remotes.plugin(asked, &self.proxy, made, judge.map(|judge| judge.executor));
        let now = plugin.now_within(self.patience.saturating_duration_since(std::time::Instant::now()));
        let found = self.take_now(&plugin, now, &source.artifact.place);
        let digest = found.and_then(|installed| self.installed_whole(&installed, &plugin, source));
        let age = Arc::clone(&plugin);
        self.fetched.push(Fetched {
            name: name.to_owned(),
            source: source.artifact.value.clone(),
            trust,
            artifact: digest.as_ref().ok().map(|(Installed { artifact, .. }, _)| artifact.clone()),
            as_of: Arc::new(move || SystemTime::now().checked_sub(age.age()?)),
            problem: digest.as_ref().err().cloned().or_else(|| plugin.problem()),
        });
        let (Installed { path, .. }, digest) = digest?;
        Ok((path, digest, Some(plugin)))
    }

    /// What was fetched and is as it was then, and its SHA-256.
    fn installed_whole(
        &mut self,
        installed: &Installed,
        plugin: &source::Source,
        source: &PluginSource,
    ) -> Result<(Installed, [u8; 32]), String> {
        let Installed { path, program, .. } = installed;
        self.stamps.push((path.clone(), Stamp::of(path)));
        let digest = whole(path, program).inspect_err(|cause| {
            self.trust_problems.push(&source.artifact.place, cause.clone());
            // So that it is fetched again.
            plugin.ask();
        })?;
        Ok((installed.clone(), digest))
    }

    /// The executor that a source names, put together for it alone.
    fn judge(&mut self, trust: &Spanned<String>, config: &Config) -> Result<Judge, String> {
        let mut mistake = |cause: String| {
            self.problems.push(&trust.place, cause.clone());
            cause
        };
        let name = &trust.value;
        let is_named = |of: &&config::Executor| of.name.as_ref().is_some_and(|named| named.value == *name);
        let of = config.executors.iter().find(is_named);
        let of = of.ok_or_else(|| {
            let names: Vec<_> =
                config.executors.iter().flat_map(|of| &of.name).map(|name| name.value.as_str()).collect();
            let known =
                if names.is_empty() { "none has any".to_owned() } else { format!("there are: {}", names.join(", ")) };
            mistake(format!("no executor has the name {name:?}, {known}"))
        })?;
        let checks = match &of.mode {
            Mode::Enforce(checks) | Mode::Audit(checks) => checks,
            Mode::Allow | Mode::Deny => {
                return Err(mistake(format!("executor {name:?} verifies nothing: its mode is allow or deny")));
            }
        };
        let follows =
            |kind: &VerifierKind| matches!(kind, VerifierKind::Plugin(plugin) if plugin.program.source.is_some());
        let fetched = matches!(&of.store, config::Store::Plugin(program) if program.source.is_some());
        if fetched || checks.verifiers.iter().any(|verifier| follows(&verifier.kind)) {
            let cause =
                format!("executor {name:?} has itself a plugin that is fetched: plugins are not judged by such");
            return Err(mistake(cause));
        }
        let mut own = Self {
            remotes: Arc::clone(&self.remotes),
            revocation: Shared::default().revocation(config),
            tuf_cache: self.tuf_cache.clone(),
            proxy: self.proxy.clone(),
            patience: self.patience,
            ..Self::new(Path::new(""))
        };
        // What decides of a plugin, and nothing else: another scope or pin costs no plugin.
        let written = serde_json::to_vec(&(&checks.verifiers, &checks.policy, &of.store, &config.revocation));
        own.absorb("executor", &written.map_err(|error| mistake(error.to_string()))?);
        // Lists are asked for anew each time: one that is remembered has signatures that were withdrawn.
        let remember =
            Remember { referrers: Duration::ZERO, stale_referrers: Duration::ZERO, ..config.remember.clone() };
        let config = &Config { remember, ..config.clone() };
        let store = own.store(of, config).ok_or_else(|| format!("the store of executor {name:?} cannot be made"))?;
        let executor = own.executor(checks, of, &store, config);
        // Its files may have changed since they were read for the executor itself.
        self.stamps.append(&mut own.stamps);
        self.taken.append(&mut own.taken);
        let executor = executor.map_err(|cause| format!("executor {name:?} cannot judge plugins: {cause}"))?;
        let store = match &of.store {
            config::Store::Registry(store) => store.clone(),
            config::Store::Layout(_) | config::Store::Plugin(_) => RegistryStore::default(),
        };
        let (trust, types) = (crate::pki::sha256(own.generation), of.plugin_types.clone());
        Ok(Judge { executor, vouched: Vouched::By { executor: name.clone(), trust, types }, store })
    }

    fn source_store(&self, store: &RegistryStore, most: u64, config: &Config) -> Result<Arc<dyn Store>, String> {
        let options = registry::Options {
            // What is fetched is kept on disk, as a program.
            memory: 0,
            max_blob_bytes: Some(most),
            metrics: Arc::clone(&self.metrics),
            ..options(store, &config.remember, &config.proxy)
        };
        Ok(Arc::new(registry::RegistryStore::new(options).map_err(|error| error.to_string())?))
    }
}

/// A store for tools that look into plugins. `arrived` is told how far a body has come.
///
/// # Errors
/// Why there is none.
pub fn plugin_store(config: Option<&Config>, arrived: Option<Arrived>) -> Result<Arc<dyn Store>, String> {
    let proxy = config.map_or_else(|| Proxy::from_environment(&environment), |config| Ok(config.proxy.clone()))?;
    let options = options(&RegistryStore::default(), &config::Remember::default(), &proxy);
    let options = registry::Options { arrived, max_blob_bytes: Some(limits::PLUGIN_FILE_BYTES), ..options };
    Ok(Arc::new(registry::RegistryStore::new(options).map_err(|error| error.to_string())?))
}

/// What pushes plugins, with the credentials that docker keeps.
///
/// # Errors
/// Why there is none.
pub async fn pusher(repository: &Repository, plain_http: bool, deadline: Instant) -> Result<Pusher, String> {
    let proxy = Proxy::from_environment(&environment)?;
    let chain = credentials::chain(&RegistryStore::default().credentials, &proxy);
    Pusher::new(repository, &chain, plain_http, deadline).await
}

/// The SHA-256 of a program that is what it was when it was fetched.
fn whole(path: &Path, program: &Digest) -> Result<[u8; 32], String> {
    let own = rustix::process::geteuid().as_raw();
    let digest = trust::digest_program(path, own).map_err(|cause| format!("this plugin is not run: {cause}"))?;
    if crate::artifact::hex(&digest) == program.hex() {
        Ok(digest)
    } else {
        Err(format!("{}: it was changed since it was fetched, and is not run", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::assemble::{assemble, assemble_with, load};

    /// What is wrong with a configuration in which a plugin trusts the executor "judge", which has this in it.
    fn problems(judge: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        let text = format!(
            "[[executors]]\nscopes = [\"judge.example\"]\n{judge}\n[[executors]]\nscopes = [\"a.example\"]\n\
             [[executors.verifiers]]\nname = \"v\"\ntype = \"plugin\"\nparameters = {{ artifactTypes = [\"a/b\"], \
             source = {{ artifact = \"127.0.0.1:1/p:v1\", trust = \"judge\" }} }}\n"
        );
        fs::write(&config, text).unwrap();
        match assemble(&load(&config).unwrap(), &config) {
            Ok(assembled) => assembled.problems,
            Err(problems) => problems.lines(),
        }
    }

    #[test]
    fn who_judges_plugins_is_there_verifies_and_needs_no_fetched_plugin_itself() {
        let key = "trustPolicies = [{ keys = { files = [\"/x\"] }, ignoreTLog = true }]";
        let cosign = format!("[[executors.verifiers]]\nname = \"c\"\ntype = \"cosign\"\nparameters.{key}\n");
        let plugin = |source: &str| {
            format!(
                "name = \"judge\"\n[[executors.verifiers]]\nname = \"p\"\ntype = \"plugin\"\n\
                     parameters = {{ artifactTypes = [\"a/b\"]{source} }}\n"
            )
        };
        let fetched = "source = { artifact = \"127.0.0.1:1/q\", allowUnverified = true }";
        for (judge, cause) in [
            (format!("name = \"other\"\n{cosign}"), "no executor has the name \"judge\""),
            ("name = \"judge\"\nmode = \"allow\"".to_owned(), "executor \"judge\" verifies nothing"),
            ("name = \"judge\"\nmode = \"deny\"".to_owned(), "executor \"judge\" verifies nothing"),
            (plugin(&format!(", {fetched}")), "executor \"judge\" has itself a plugin that is fetched"),
            (
                plugin("")
                    + &format!(
                        "[[executors.stores]]\ntype = \"plugin\"\nparameters = {{ plugin = \"s\", {fetched} }}\n"
                    ),
                "executor \"judge\" has itself a plugin that is fetched",
            ),
            (plugin(""), "p: No such file"),
        ] {
            let found = problems(&judge);
            assert!(found.iter().any(|problem| problem.contains(cause)), "{cause}: {found:#?}");
        }
    }

    #[test]
    fn a_plugin_that_cannot_be_had_takes_out_its_own_scope_and_is_told() {
        let found = problems(
            "name = \"judge\"\n[[executors.verifiers]]\nname = \"c\"\ntype = \"notation\"\nparameters.certificates = [{ files = [\"/nowhere\"] }]\n",
        );
        assert!(found.iter().any(|problem| problem.contains("/nowhere")), "{found:#?}");
    }
    fn judged(more: &str, judge: &str) -> Vouched {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/notation/chain.pem");
        let text = format!(
            "{more}\n[[executors]]\n{judge}\nname = \"judge\"\n[[executors.verifiers]]\nname = \"n\"\ntype = \"notation\"\n\
             parameters.certificates = [{{ files = [\"{key}\"] }}]\n"
        );
        fs::write(&config, text).unwrap();
        let config = load(&config).unwrap_or_else(|problems| panic!("{:?}", problems.lines()));
        let trust = Spanned { value: "judge".to_owned(), place: crate::assemble::TOP.clone() };
        let mut work = Assembly::new(Path::new("x"));
        work.judge(&trust, &config).map(|judge| judge.vouched).unwrap()
    }

    #[test]
    fn another_way_to_ask_about_revocation_is_another_trust() {
        let scopes = "scopes = [\"a.example\"]";
        let before = judged("[revocation]\nfetch = false", scopes);
        let after = judged("[revocation]\nfetch = true", scopes);
        assert_ne!(before, after, "the judge of before goes on, and asks nobody");
    }

    #[test]
    fn another_scope_of_who_judges_is_the_same_trust() {
        let before = judged("", "scopes = [\"a.example\"]");
        let after = judged("", "scopes = [\"a.example\", \"b.example\"]");
        assert_eq!(before, after);
    }

    #[test]
    fn many_plugins_are_waited_for_together_and_by_no_pull() {
        // Takes connections and never answers.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let registry = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        let mut text = String::new();
        for number in 0..3 {
            text += &format!(
                "[[executors]]\nscopes = [\"a{number}.example\"]\n[[executors.verifiers]]\nname = \"v\"\ntype = \"plugin\"\n\
                 parameters = {{ artifactTypes = [\"a/b\"], source = {{ artifact = \"{registry}/p{number}:v1\", allowUnverified = true }} }}\n"
            );
        }
        fs::write(&config, text).unwrap();
        let (parsed, shared) = (load(&config).unwrap(), Shared::default());
        let took = |waits| {
            let start = std::time::Instant::now();
            let assembled =
                assemble_with(&parsed, &config, &shared, waits).unwrap_or_else(|problems| panic!("{problems}"));
            assert!(assembled.problems.iter().all(|problem| problem.contains("has not answered yet")));
            start.elapsed()
        };
        let (first, again) = (took(true), took(false));
        assert!(first >= limits::REMOTE_FIRST && first < 2 * limits::REMOTE_FIRST, "{first:?}");
        assert!(again < limits::REMOTE_FIRST, "{again:?}");
    }
}
