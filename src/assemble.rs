//! Builds an admission from a configuration: opens trust files, compiles policies, joins verifiers and stores.
//! The one place where concrete makers are named.
//!
//! A mistake of the configuration is an error with its place. A trust file that is missing or not to be trusted
//! is not: the rest of the node goes on, and what depends on the file answers MISCONFIGURED.

use std::collections::{BTreeSet, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use aws_lc_rs::digest::{Context, SHA256};

use crate::admission::{Admission, Mode, Rules};
use crate::config::{self, Checks, Config, Log, Place, Problems, Proxy, VerifierKind};
use crate::executor::Executor;
use crate::limits;
use crate::metrics::Metrics;
use crate::policy::Policy;
#[cfg(feature = "layout")]
use crate::reference::Reference;
use crate::revocation::Revocation;
use crate::runner::{self, Runner};
use crate::scope::{Pattern, Scopes};
use crate::store::Store;
#[cfg(feature = "layout")]
use crate::store::layout::{self, LayoutReference, LayoutStore};
use crate::store::registry;
use crate::store::registry::disk::Disk;
use crate::trust::{self, Stamp, Untrusted};
use crate::verifier::Verifier;
use crate::verifier::notation::{NotationVerifier, Plugins, files_of};

mod cosign;
mod credentials;
mod notation;
mod plugin;
mod remotes;
mod shared;
mod source;
mod timed;

pub use plugin::{Exchange, PluginVerifier, plain_plugin, plugin_verifier};
pub use remotes::{Root, Taken};
pub use shared::Shared;
pub use source::{Arrived, Fetched, Pusher, plugin_store, pusher};

use remotes::Remotes;
use timed::Timed;

/// The configuration as a whole.
static TOP: Place = Place { line: 1, column: 1, path: String::new() };

/// Where the folder of plugins is named.
static PLUGINS: LazyLock<Place> = LazyLock::new(|| Place { line: 1, column: 1, path: "plugins.path".to_owned() });

/// What a configuration and its trust files came to.
pub struct Assembled {
    /// Ready to decide.
    pub admission: Admission,
    /// Every trust file, as it was before it was read.
    pub stamps: Vec<(PathBuf, Stamp)>,
    /// What was taken from elsewhere.
    pub taken: Vec<Taken>,
    /// The trusted roots of Sigstore, each as often as a verifier names it.
    pub roots: Vec<Root>,
    /// The plugins that are fetched, each as often as a verifier names it.
    pub fetched: Vec<Fetched>,
    /// What is wrong with trust files, one problem each.
    pub problems: Vec<String>,
    /// What is good to know: what was passed over in folders of trust files and may have been meant to count, and what the
    /// kernel lacks.
    pub notes: Vec<String>,
}

/// Reads and parses the configuration file. It decides what may run, so it is opened like a trust file.
///
/// # Errors
/// All problems, each with its place.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let file = path.display().to_string();
    let unreadable = |cause: String| {
        let mut problems = Problems::new(&file);
        problems.push(&TOP, cause);
        problems
    };
    let bytes = trust::read(path, limits::CONFIG_BYTES).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| unreadable(format!("the file is not UTF-8: {error}")))?;
    config::parse(&file, &text, &environment)
}

/// What the process's environment says.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// How the configuration wants the log, before anything else is done; the default where it cannot be read.
#[must_use]
pub fn log_of(path: &Path) -> Log {
    load(path).map(|config| config.log).unwrap_or_default()
}

/// Opens what a configuration names and joins it. `path` is the configuration's, for messages. Blocks on files.
///
/// # Errors
/// All mistakes of the configuration that its decoder cannot know, each with its place.
pub fn assemble(config: &Config, path: &Path) -> Result<Assembled, Problems> {
    assemble_with(config, path, &Shared::default(), true)
}

/// The same for a process that goes on with its counters and content on disk. `waits`: plugins that are fetched for the
/// first time are waited for, all of them together for at most [`limits::REMOTE_FIRST`]. In the path of a pull nobody waits
/// for them: they count once they are there.
///
/// # Errors
/// As [`assemble`].
pub fn assemble_with(config: &Config, path: &Path, shared: &Shared, waits: bool) -> Result<Assembled, Problems> {
    let disk = shared.disk(&config.cache);
    let revocation = shared.revocation(config);
    let (metrics, remotes) = (Arc::clone(shared.metrics()), Arc::clone(shared.remotes()));
    let (tuf_cache, kept) = (shared.tuf_cache(&config.cache), shared.plugins(&config.plugins));
    let mut work = Assembly { disk, revocation, metrics, remotes, tuf_cache, kept, ..Assembly::new(path) };
    if !waits {
        work.patience = Instant::now();
    }
    join(config, work)
}

/// The same, but every executor takes its artifacts from `store`, such as an OCI layout.
///
/// # Errors
/// As [`assemble`].
pub fn assemble_over(config: &Config, path: &Path, store: Arc<dyn Store>) -> Result<Assembled, Problems> {
    let revocation = Shared::default().revocation(config);
    join(config, Assembly { over: Some(store), revocation, ..Assembly::new(path) })
}

/// The store for a registry of which no scope speaks. `config` is the configuration, where there is one.
///
/// # Errors
/// Why there is none.
pub fn default_store(config: Option<&Config>) -> Result<Arc<dyn Store>, String> {
    let proxy = config.map_or_else(|| Proxy::from_environment(&environment), |config| Ok(config.proxy.clone()))?;
    let options = options(&config::RegistryStore::default(), &config::Remember::default(), &proxy);
    let store = registry::RegistryStore::new(options).map_err(|error| error.to_string())?;
    Ok(Arc::new(store))
}

/// The files below a folder of containerd's hosts files that a store would read, for whoever looks after them.
#[must_use]
pub fn host_files(folder: &Path) -> Vec<PathBuf> {
    registry::hosts::files_of(folder)
}

/// How a store asks registries, by its configuration.
fn options(store: &config::RegistryStore, remember: &config::Remember, proxy: &Proxy) -> registry::Options {
    registry::Options {
        host_folders: store.config_path.clone(),
        ca: store.ca.clone(),
        credentials: Arc::new(credentials::chain(&store.credentials, proxy)),
        allowed_realms: store.allowed_realms.iter().map(config::Realm::url).collect(),
        plain_http: store.plain_http,
        user_agent: store.user_agent.clone(),
        max_manifest_bytes: Some(store.max_manifest_bytes),
        max_blob_bytes: Some(store.max_blob_bytes),
        remember_referrers: remember.referrers,
        stale_referrers: remember.stale_referrers,
        proxy: proxy.clone(),
        ..registry::Options::default()
    }
}

/// An image in an OCI layout. Its reference has tag and digest; a layout knows of no repository.
#[cfg(feature = "layout")]
pub struct InLayout {
    /// What is asked for.
    pub reference: Reference,
    /// The layout.
    pub store: Arc<dyn Store>,
}

/// The layout that a text names, `oci-layout:PATH[:TAG|@DIGEST]`, opened, and what is asked for in it as a
/// reference; none for other texts. Blocks on files.
#[cfg(feature = "layout")]
#[must_use]
pub fn layout(text: &str) -> Option<Result<InLayout, String>> {
    text.starts_with(layout::PREFIX).then(|| {
        let LayoutReference { path, tag, digest } = text.parse()?;
        let store = LayoutStore::open(&path).map_err(|error| error.to_string())?;
        let nowhere: Reference = "layout.invalid/image".parse().map_err(|error| format!("{error}"))?;
        let store: Arc<dyn Store> = Arc::new(store);
        Ok(InLayout { reference: Reference { tag, digest, ..nowhere }, store })
    })
}

fn join(config: &Config, mut work: Assembly) -> Result<Assembled, Problems> {
    work.proxy.clone_from(&config.proxy);
    work.notes.extend(old_switch(&environment));
    work.absorb("version", env!("CARGO_PKG_VERSION").as_bytes());
    work.absorb("platform", platform().as_bytes());
    // What decides, and nothing else: a log level costs no verdict, and neither does a proxy, which is trusted no more
    // than a registry is.
    match serde_json::to_vec(&(config.unmatched, &config.executors, &config.remember, &config.revocation)) {
        Ok(bytes) => work.absorb("configuration", &bytes),
        Err(error) => work.problems.push(&TOP, format!("the configuration cannot be written down: {error}")),
    }
    let mut scopes = Vec::new();
    let mut seen = HashSet::new();
    for executor in &config.executors {
        let Some(rules) = work.rules(executor, config).map(Arc::new) else { continue };
        for scope in &executor.scopes {
            match Pattern::parse(&scope.value) {
                Ok(pattern) if !seen.insert(pattern.clone()) => {
                    work.problems
                        .push(&scope.place, format!("scope {pattern} is given twice, here as {:?}", scope.value));
                }
                Ok(pattern) => scopes.push((pattern, Arc::clone(&rules))),
                Err(cause) => work.problems.push(&scope.place, cause),
            }
        }
    }
    if !work.problems.is_empty() {
        return Err(work.problems);
    }
    let admission = Admission {
        scopes: Scopes::new(scopes),
        unmatched: config.unmatched,
        remember: config.remember.clone(),
        generation: crate::pki::sha256(work.generation),
    };
    let mut problems = work.trust_problems.lines();
    problems.extend(work.document_problems);
    Ok(Assembled {
        admission,
        stamps: work.stamps,
        taken: work.taken,
        roots: work.roots,
        fetched: work.fetched,
        problems,
        notes: work.notes.into_iter().collect(),
    })
}

/// What the switch of Ratify v1 that allowed fetched plugins means here, where it is set.
fn old_switch(environment: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let switches = ["RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS", "RATIFY_DYNAMIC_PLUGINS"];
    let name = switches.into_iter().find(|name| environment(name).is_some())?;
    Some(format!(
        "{name} is set, and has no effect: Ratify v1 needed it to fetch plugins, which it ran unverified; here `source` needs \
         no switch, and says itself who vouches for a plugin (trust, a digest, or allowUnverified)"
    ))
}

#[cfg(feature = "layout")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature there is none")]
fn followed(path: &Path) -> Result<Arc<dyn Store>, String> {
    Ok(Arc::new(layout::FollowedLayout::new(path)))
}

#[cfg(not(feature = "layout"))]
fn followed(path: &Path) -> Result<Arc<dyn Store>, String> {
    Err(format!("this build cannot read the OCI layout {}", path.display()))
}

fn platform() -> String {
    format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// What grows while a configuration is gone through.
struct Assembly {
    problems: Problems,
    trust_problems: Problems,
    /// What is wrong with trust policy documents, each line with the document's own name.
    document_problems: Vec<String>,
    notes: BTreeSet<String>,
    stamps: Vec<(PathBuf, Stamp)>,
    taken: Vec<Taken>,
    roots: Vec<Root>,
    fetched: Vec<Fetched>,
    /// Where plugins that are fetched outlive this process.
    kept: Option<PathBuf>,
    /// Until when plugins are waited for that are fetched for the first time.
    patience: Instant,
    remotes: Arc<Remotes>,
    /// Where what TUF repositories said outlives this process.
    tuf_cache: Option<PathBuf>,
    proxy: Proxy,
    generation: Context,
    /// Stores with the same options are one, so that they share connections and bounds.
    stores: Vec<(config::Store, Made)>,
    /// The store that stands in for all of them.
    over: Option<Arc<dyn Store>>,
    metrics: Arc<Metrics>,
    disk: Option<Arc<Disk>>,
    revocation: Arc<Revocation>,
    /// Where plugins are, and who runs them.
    plugins: Option<(PathBuf, Arc<Runner>)>,
}

/// A store that was made.
#[derive(Clone)]
struct Made {
    store: Arc<dyn Store>,
    /// Why nothing can come of asking it, where that is known.
    broken: Option<String>,
}

impl Made {
    fn whole(store: Arc<dyn Store>) -> Self {
        Self { store, broken: None }
    }
}

impl Assembly {
    fn new(path: &Path) -> Self {
        Self {
            problems: Problems::new(&path.display().to_string()),
            trust_problems: Problems::new(&path.display().to_string()),
            document_problems: Vec::new(),
            notes: BTreeSet::new(),
            stamps: Vec::new(),
            taken: Vec::new(),
            roots: Vec::new(),
            fetched: Vec::new(),
            kept: None,
            patience: Instant::now().checked_add(limits::REMOTE_FIRST).unwrap_or_else(Instant::now),
            remotes: Arc::default(),
            tuf_cache: None,
            proxy: Proxy::default(),
            generation: Context::new(&SHA256),
            stores: Vec::new(),
            over: None,
            metrics: Arc::default(),
            disk: None,
            revocation: Arc::default(),
            plugins: None,
        }
    }

    /// Takes something that decides into the generation: what it is and its length go before it, so that no two
    /// configurations with their trust make the same bytes.
    fn absorb(&mut self, what: &str, bytes: &[u8]) {
        for part in [what.as_bytes(), bytes] {
            self.generation.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            self.generation.update(part);
        }
    }

    /// Who runs plugins. Each file that could be one is part of what decides.
    fn plugins(&mut self, plugins: &config::Plugins) -> (PathBuf, Arc<Runner>) {
        if let Some(known) = &self.plugins {
            return known.clone();
        }
        let config::Plugins { path, user, socket, timeout, .. } = plugins.clone();
        let runner = Arc::new(Runner::new(runner::Options { user, socket, timeout }));
        self.stamps.push((path.clone(), Stamp::of(&path)));
        let files = files_of(&path).unwrap_or_else(|cause| {
            self.trust_problems.push(&PLUGINS, cause);
            Vec::new()
        });
        for file in files {
            self.stamps.push((file.clone(), Stamp::of(&file)));
            let name = file.display().to_string();
            match runner.digest(&file) {
                Ok(digest) => self.absorb(&name, &digest),
                Err(Untrusted::Io { error, .. }) if error.kind() == ErrorKind::NotFound => {}
                Err(untrusted) => {
                    self.trust_problems.push(&PLUGINS, format!("this plugin is not run: {untrusted}"));
                    self.absorb(&name, untrusted.to_string().as_bytes());
                }
            }
        }
        self.plugins.insert((path, runner)).clone()
    }

    fn rules(&mut self, executor: &config::Executor, config: &Config) -> Option<Rules> {
        let made = self.store(executor, config)?;
        let mode = match &executor.mode {
            config::Mode::Allow => Mode::Allow,
            config::Mode::Deny => Mode::Deny,
            config::Mode::Enforce(checks) => {
                Mode::Verify { executor: self.executor(checks, executor, &made, config), audit: false }
            }
            config::Mode::Audit(checks) => {
                Mode::Verify { executor: self.executor(checks, executor, &made, config), audit: true }
            }
        };
        Some(Rules { mode, pins: executor.digests.clone(), store: made.store })
    }

    fn store(&mut self, executor: &config::Executor, config: &Config) -> Option<Made> {
        if let Some(store) = &self.over {
            return Some(Made::whole(Arc::clone(store)));
        }
        if let Some((_, made)) = self.stores.iter().find(|(options, _)| *options == executor.store) {
            return Some(made.clone());
        }
        let made = match &executor.store {
            config::Store::Registry(store) => self.registry(store, config).map(Made::whole),
            config::Store::Layout(path) => followed(&path.value).map(Made::whole),
            config::Store::Plugin(program) => {
                let (store, broken) = self.plugin_store(program, config);
                Ok(Made { store: Arc::new(store), broken })
            }
        };
        match made {
            Ok(Made { store: inner, broken }) => {
                let store: Arc<dyn Store> = Arc::new(Timed { metrics: Arc::clone(&self.metrics), inner });
                let made = Made { store, broken };
                self.stores.push((executor.store.clone(), made.clone()));
                Some(made)
            }
            Err(error) => {
                let place = executor.scopes.first().map(|scope| &scope.place);
                self.problems.push(place.unwrap_or(&TOP), format!("its store cannot be made: {error}"));
                None
            }
        }
    }

    fn registry(&self, store: &config::RegistryStore, config: &Config) -> Result<Arc<dyn Store>, String> {
        let options = registry::Options {
            memory: config.cache.memory,
            disk: self.disk.clone(),
            metrics: Arc::clone(&self.metrics),
            ..options(store, &config.remember, &config.proxy)
        };
        let store = registry::RegistryStore::new(options).map_err(|error| error.to_string())?;
        Ok(Arc::new(store))
    }

    /// The executor of a scope; or why nobody can verify there.
    fn executor(
        &mut self,
        checks: &Checks,
        of: &config::Executor,
        made: &Made,
        config: &Config,
    ) -> Result<Arc<Executor>, String> {
        let tags = match &of.store {
            config::Store::Registry(store) => store.cosign_tags,
            config::Store::Layout(_) => true,
            // It could not say that there is no such tag: its protocol knows failures of one kind only.
            config::Store::Plugin(_) => false,
        };
        let mut verifiers: Vec<Arc<dyn Verifier>> = Vec::new();
        let mut broken = made.broken.as_ref().map(|cause| format!("store: {cause}"));
        for verifier in &checks.verifiers {
            let made: Result<Arc<dyn Verifier>, String> = match &verifier.kind {
                VerifierKind::Notation(trusted) => self.notation(trusted).map(|policy| {
                    let (folder, runner) = self.plugins(&config.plugins);
                    let plugins = Plugins::new(folder, runner, trusted.plugin_config.clone());
                    let (name, revocation) = (verifier.name.clone(), Arc::clone(&self.revocation));
                    let made = NotationVerifier::new(name, policy, revocation).with_plugins(plugins);
                    of_any_kind(made)
                }),
                VerifierKind::Cosign(trusted) => self.cosign(&verifier.name, trusted, tags).map(of_any_kind),
                VerifierKind::Plugin(plugin) => self.plugin(&verifier.name, plugin, config).map(of_any_kind),
            };
            match made {
                Ok(inner) => verifiers.push(Arc::new(Timed { metrics: Arc::clone(&self.metrics), inner })),
                Err(cause) => broken = broken.or(Some(format!("verifier {:?}: {cause}", verifier.name))),
            }
        }
        let policy = Policy::new(checks.policy.clone())?;
        match broken {
            Some(cause) => Err(cause),
            None => Ok(Arc::new(Executor::new(Arc::clone(&made.store), verifiers, policy, checks.concurrency))),
        }
    }
}

fn of_any_kind(verifier: impl Verifier + 'static) -> Arc<dyn Verifier> {
    Arc::new(verifier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const FIXTURES: [&str; 2] =
        [include_str!("../tests/fixtures/notation/chain.pem"), include_str!("../tests/fixtures/notation/single.pem")];

    /// The certificates of a PEM text, one text each.
    fn certificates(pem: &str) -> Vec<String> {
        pem.split_inclusive("-----END CERTIFICATE-----\n")
            .map(str::to_owned)
            .filter(|part| part.contains("BEGIN"))
            .collect()
    }

    /// A folder with trust files, and a configuration that names them for two scopes.
    fn node(first: &str, second: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let mut text = String::new();
        for (index, pem) in [first, second].into_iter().enumerate() {
            let file = folder.path().join(format!("{index}.pem"));
            fs::write(&file, pem).unwrap();
            text += &format!(
                "[[executors]]\nscopes = [\"r{index}.example\"]\n[[executors.verifiers]]\nname = \"v\"\ntype = \"notation\"\n\
                 parameters.certificates = [{{ files = [{file:?}] }}]\n"
            );
        }
        let config = folder.path().join("config.toml");
        fs::write(&config, text).unwrap();
        (folder, config)
    }

    fn assembled(config: &Path) -> Assembled {
        assemble(&load(config).unwrap(), config).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn the_switch_of_old_that_allowed_fetched_plugins_is_explained() {
        let set = |name: &'static str| old_switch(&move |asked| (asked == name).then(|| "1".to_owned()));
        for name in ["RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS", "RATIFY_DYNAMIC_PLUGINS"] {
            let told = set(name).unwrap();
            assert!(told.starts_with(&format!("{name} is set, and has no effect")) && told.contains("allowUnverified"));
        }
        assert_eq!(set("RATIFY_LOG_LEVEL"), None);
    }

    #[test]
    fn moving_a_certificate_from_one_trust_file_to_another_is_another_generation() {
        let [x, y] = [&certificates(FIXTURES[1])[0], certificates(FIXTURES[0]).last().unwrap()].map(String::clone);
        let (folder, config) = node(&format!("{x}{y}"), &x);
        let before = assembled(&config);
        assert!(before.problems.is_empty(), "{:?}", before.problems);
        // One after the other the two files hold the same bytes as before.
        fs::write(folder.path().join("0.pem"), &x).unwrap();
        fs::write(folder.path().join("1.pem"), format!("{y}{x}")).unwrap();
        assert_ne!(assembled(&config).admission.generation, before.admission.generation);
    }

    #[test]
    fn who_may_ask_and_how_it_logs_keep_the_generation_and_what_decides_changes_it() {
        let (_folder, config) = node(FIXTURES[1], FIXTURES[1]);
        let before = assembled(&config).admission.generation;
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{text}[access]\nuids = [7]\n[log]\nlevel = \"debug\"\n")).unwrap();
        assert_eq!(assembled(&config).admission.generation, before);
        fs::write(&config, format!("unmatched = \"allow\"\n{text}")).unwrap();
        assert_ne!(assembled(&config).admission.generation, before);
    }

    #[test]
    fn a_plugin_that_comes_goes_or_changes_is_another_generation_and_one_that_others_can_change_a_problem() {
        use crate::runner::testing::{Programs, chmod, lacks_root};
        if lacks_root() {
            return;
        }
        let (_folder, config) = node(FIXTURES[0], FIXTURES[1]);
        let programs = Programs::new();
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{text}[plugins]\npath = {:?}\n", programs.folder())).unwrap();
        let stale = |found: &Assembled| found.stamps.iter().any(|(path, stamp)| *stamp != Stamp::of(path));
        let mut seen = vec![];
        let mut differs = |change: &dyn Fn(), before: &Assembled| {
            change();
            assert!(stale(before));
            let found = assembled(&config);
            assert!(!seen.contains(&found.admission.generation));
            seen.push(found.admission.generation);
            found
        };
        let first = assembled(&config);
        let found = differs(&|| drop(programs.put("notation-a", "#!/bin/sh\n")), &first);
        let found = differs(&|| drop(programs.put("notation-a", "#!/bin/sh\n\n")), &found);
        let found = differs(&|| drop(programs.put("b/notation-b", "#!/bin/sh\n")), &found);
        assert_eq!(found.problems, [""; 0]);
        let found = differs(&|| chmod(&programs.folder().join("b/notation-b"), 0o757), &found);
        let expected = "plugins.path: this plugin is not run: ";
        assert!(found.problems.len() == 1 && found.problems[0].contains(expected), "{:?}", found.problems);
        fs::remove_dir_all(programs.folder().join("b")).unwrap();
        fs::remove_file(programs.folder().join("notation-a")).unwrap();
        assert!(stale(&found));
        assert_eq!(assembled(&config).admission.generation, first.admission.generation);
        // What is no plugin decides nothing.
        programs.put("README", "");
        assert_eq!(assembled(&config).admission.generation, first.admission.generation);
    }

    #[test]
    fn a_plugin_that_is_missing_takes_out_what_depends_on_it_and_a_changed_one_is_another_generation() {
        use crate::runner::testing::{Programs, lacks_root};
        if lacks_root() {
            return;
        }
        let programs = Programs::new();
        let verifier =
            "name = \"v\"\ntype = \"plugin\"\nparameters = { plugin = \"judge\", artifactTypes = [\"a/b\"] }";
        let (_folder, config) = node(FIXTURES[1], FIXTURES[1]);
        let certificates = fs::read_to_string(&config).unwrap();
        let certificates = certificates.lines().find(|line| line.starts_with("parameters")).unwrap();
        let signed = format!("name = \"v\"\ntype = \"notation\"\n{certificates}");
        let text = format!(
            "[plugins]\npath = {:?}\n[[executors]]\nscopes = [\"r0.example\"]\n[[executors.verifiers]]\n{verifier}\n\
             [[executors]]\nscopes = [\"r1.example\"]\nstores = [{{ type = \"plugin\", parameters = {{ plugin = \"store\" }} }}]\n\
             [[executors.verifiers]]\n{signed}\n[[executors]]\nscopes = [\"r2.example\"]\n[[executors.verifiers]]\n{signed}\n",
            programs.folder(),
        );
        fs::write(&config, text).unwrap();
        let broken = |found: &Assembled| {
            ["r0.example/a", "r1.example/a", "r2.example/a"].map(|name| {
                let rules = found.admission.scopes.find(&name.parse::<Reference>().unwrap().repository).unwrap().1;
                matches!(rules.mode, Mode::Verify { executor: Err(_), .. })
            })
        };
        let missing = assembled(&config);
        assert_eq!(broken(&missing), [true, true, false]);
        let [of_verifier, of_store] = &missing.problems[..] else { panic!("{:?}", missing.problems) };
        for (problem, place, name) in [(of_verifier, "verifiers[0]", "judge"), (of_store, "stores[0]", "store")] {
            assert!(problem.contains(place) && problem.contains("this plugin is not run: "), "{problem}");
            assert!(problem.contains(&programs.folder().join(name).display().to_string()), "{problem}");
        }
        let mut seen = vec![missing.admission.generation];
        for (name, text) in
            [("judge", "#!/bin/sh\n"), ("store", "#!/bin/sh\n"), ("judge", "#!/bin/sh\n\n"), ("store", "")]
        {
            programs.put(name, text);
            let found = assembled(&config);
            assert!(!seen.contains(&found.admission.generation), "{name}");
            seen.push(found.admission.generation);
        }
        let whole = assembled(&config);
        assert_eq!((broken(&whole), whole.problems.len()), ([false; 3], 0));
        // What the kernel lacks is a note, or a problem where that is not to be borne.
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("[plugins]", "[plugins]\nsandbox = \"strict\"")).unwrap();
        let strict = assembled(&config);
        assert_ne!(strict.admission.generation, whole.admission.generation);
        let lacking = usize::from(!whole.notes.is_empty());
        assert_eq!((strict.problems.len(), strict.notes.len()), (2 * lacking, 0));
        assert_eq!(broken(&strict), [lacking == 1, lacking == 1, false]);
    }

    #[test]
    fn a_store_that_is_fetched_judges_no_plugins() {
        let (_folder, config) = node(FIXTURES[1], FIXTURES[1]);
        let text = fs::read_to_string(&config).unwrap();
        let source = "source = { artifact = \"r.example/p:v1\", trust = \"judge\" }";
        let named = format!(
            "[[executors]]\nname = \"judge\"\npluginTypes = [\"a/b\"]\n\
             stores = [{{ type = \"plugin\", parameters = {{ plugin = \"p\", {source} }} }}]"
        );
        fs::write(&config, text.replacen("[[executors]]", &named, 1)).unwrap();
        let problems = assemble(&load(&config).unwrap(), &config).err().unwrap().lines();
        let expected = "executor \"judge\" has itself a plugin that is fetched";
        assert!(problems[0].contains("source.trust: ") && problems[0].contains(expected), "{problems:?}");
    }

    #[test]
    fn certificates_may_stand_in_the_configuration_itself_and_a_bad_one_is_a_problem_with_its_place() {
        let (_folder, config) = node(FIXTURES[1], FIXTURES[1]);
        let text = |pem: &str| {
            format!(
                "[[executors]]\nscopes = [\"r.example\"]\n[[executors.verifiers]]\nname = \"v\"\ntype = \"notation\"\n\
                 parameters.certificates = [{{ inline = {pem:?} }}]\n"
            )
        };
        fs::write(&config, text(FIXTURES[1])).unwrap();
        let found = assembled(&config);
        // The folder of plugins alone is looked at.
        let stamps: Vec<_> = found.stamps.iter().map(|(path, _)| path.display().to_string()).collect();
        assert_eq!((found.problems, stamps), (Vec::new(), vec!["/usr/libexec/ratifyd/plugins".to_owned()]));
        let repository = "r.example/a".parse::<Reference>().unwrap().repository;
        let (_, rules) = found.admission.scopes.find(&repository).unwrap();
        assert!(matches!(rules.mode, Mode::Verify { executor: Ok(_), .. }));

        let other = certificates(FIXTURES[0]).pop().unwrap();
        fs::write(&config, text(&other)).unwrap();
        assert_ne!(assembled(&config).admission.generation, found.admission.generation);
        fs::write(&config, text("no certificate")).unwrap();
        let problems = assemble(&load(&config).unwrap(), &config).err().unwrap().lines();
        assert!(problems[0].contains("config.toml:6:") && problems[0].contains("no certificate in it"), "{problems:?}");
    }

    #[test]
    fn a_comment_in_the_configuration_keeps_the_generation() {
        let (_folder, config) = node(FIXTURES[1], FIXTURES[1]);
        let before = assembled(&config).admission.generation;
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("# a comment\n{text}")).unwrap();
        assert_eq!(assembled(&config).admission.generation, before);
    }

    #[test]
    fn a_missing_trust_file_takes_out_what_depends_on_it_and_nothing_else() {
        let (folder, config) = node(FIXTURES[1], FIXTURES[1]);
        fs::remove_file(folder.path().join("1.pem")).unwrap();
        let found = assembled(&config);
        assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
        assert!(
            found.problems[0].contains("config.toml:12:") && found.problems[0].contains("1.pem"),
            "{:?}",
            found.problems
        );
        let broken: Vec<bool> = ["r0.example/a", "r1.example/a"]
            .map(|name| {
                found.admission.scopes.find(&name.parse::<crate::reference::Reference>().unwrap().repository).unwrap().1
            })
            .iter()
            .map(|rules| matches!(rules.mode, Mode::Verify { executor: Err(_), .. }))
            .collect();
        assert_eq!(broken, [false, true]);
    }

    #[test]
    fn mistakes_that_other_modules_know_have_their_place_too() {
        let (_folder, config) = node(FIXTURES[1], FIXTURES[1]);
        let text = fs::read_to_string(&config).unwrap().replace("r0.example", "nginx").replace(
            "[[executors.verifiers]]",
            "[[executors.verifiers]]\nparameters.trustedIdentities = [\"x509.subject: C=US, O=ACME\"]",
        );
        fs::write(&config, text).unwrap();
        let problems = assemble(&load(&config).unwrap(), &config).err().unwrap().lines();
        assert!(
            problems[0].contains("config.toml:2:11: executors[0].scopes[0]: \"nginx\" names no registry"),
            "{problems:?}"
        );
        assert!(problems[1].contains("config.toml:4:") && problems[1].contains("ST"), "{problems:?}");
    }

    #[test]
    fn the_example_configuration_lacks_nothing_but_its_trust_files() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/config.toml");
        let config = config::parse("config.toml", &fs::read_to_string(&example).unwrap(), &|_| None).unwrap();
        let found = assemble(&config, &example).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(found.problems.len(), 3, "{:?}", found.problems);
        assert!(found.problems.iter().all(|problem| problem.contains("No such file")), "{:?}", found.problems);
    }
}
