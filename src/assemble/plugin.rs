//! Verifiers and stores that are plugins: finds their files, and has all count that decides: the file, what it is told, and
//! the values of the variables that it gets.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Assembly, Shared, environment};
use crate::config::{self, Config, Confinement, Mode, Place, VerifierKind};
use crate::reference::Repository;
use crate::runner::ratify::Plugin;
use crate::runner::{self, Confined, Runner};
use crate::scope::{Pattern, Scopes};
use crate::store::plugin::PluginStore;
use crate::trust::Stamp;
pub use crate::verifier::plugin::{Exchange, PluginVerifier};

/// What a program that was fetched lies there as long as.
pub(super) type Held = Option<Arc<dyn Any + Send + Sync>>;

/// A program that was found, and what runs it.
struct Found {
    plugin: Plugin,
    runner: Arc<Runner>,
    /// Why it must not be run, if it must not.
    broken: Option<String>,
}

impl Assembly {
    /// A verifier that is a plugin.
    ///
    /// # Errors
    /// Why it cannot be run, in words; it is in the problems too, with its place.
    pub(super) fn plugin(
        &mut self,
        name: &str,
        verifier: &config::PluginVerifier,
        config: &Config,
    ) -> Result<PluginVerifier, String> {
        let config::PluginVerifier { artifact_types, program } = verifier;
        let Found { mut plugin, runner, broken } = self.program(program, config);
        if let Some(cause) = broken {
            return Err(cause);
        }
        introduce(&mut plugin.config, name, &program.plugin.value, artifact_types);
        Ok(PluginVerifier::new(name.to_owned(), artifact_types.clone(), plugin, runner))
    }

    /// A store that is a plugin, and why it cannot be run, if it cannot; that is in the problems too, with its place.
    pub(super) fn plugin_store(
        &mut self,
        program: &config::PluginProgram,
        config: &Config,
    ) -> (PluginStore, Option<String>) {
        let Found { mut plugin, runner, broken } = self.program(program, config);
        // Ratify looks a store's plugin up by its name.
        plugin.config.insert("name".to_owned(), Value::from(program.plugin.value.as_str()));
        (PluginStore::new(plugin, runner), broken)
    }

    fn program(&mut self, program: &config::PluginProgram, config: &Config) -> Found {
        let config::PluginProgram { plugin, source, config: told, environment: variables, network } = program;
        let (folder, runner) = self.plugins(&config.plugins);
        let strict = config.plugins.sandbox == Confinement::Strict;
        let installed = folder.join(&plugin.value);
        let found = match source {
            Some(source) => self.fetched(&plugin.value, source, config),
            None => {
                self.installed(installed.clone(), &plugin.place, &runner).map(|(path, digest)| (path, digest, None))
            }
        };
        let confined = self.confined(strict, &runner, &plugin.place);
        let (path, fetched, broken) = match found {
            Ok((path, digest, fetched)) => {
                self.absorb(&path.display().to_string(), &digest);
                (path, fetched, confined.err())
            }
            // Nothing comes of running what is not there.
            Err(cause) => {
                self.absorb("a plugin that is not run", cause.as_bytes());
                (installed, None, Some(cause))
            }
        };
        let variables = variables.iter().filter_map(|name| Some((name.clone(), environment(name)?)));
        let environment: BTreeMap<String, String> = variables.collect();
        for (name, value) in &environment {
            self.absorb(&format!("{name} of {}", path.display()), value.as_bytes());
        }
        let plugin = Plugin { path, fetched, config: told.clone(), environment, network: *network, strict };
        Found { plugin, runner, broken }
    }

    /// Whether plugins may be run on this kernel; where it confines them in part only, that is told.
    fn confined(&mut self, strict: bool, runner: &Runner, place: &Place) -> Result<(), String> {
        self.absorb("plugins.sandbox", if strict { b"strict" } else { b"best-effort" });
        match (runner.extent(), strict) {
            (Confined::Wholly, _) => Ok(()),
            (Confined::Partly, true) => {
                let cause = format!("this plugin is not run: {NOT_CONFINED}, and plugins.sandbox is \"strict\"");
                self.trust_problems.push(place, cause.clone());
                Err(cause)
            }
            (Confined::Partly, false) => {
                let note = format!(
                    "{NOT_CONFINED}: they run as another user with bounds and without rights, and \
                    plugins.sandbox = \"strict\" refuses to run them here"
                );
                self.notes.insert(note);
                Ok(())
            }
        }
    }

    /// A program in the folder of plugins, and its SHA-256.
    fn installed(&mut self, path: PathBuf, place: &Place, runner: &Runner) -> Result<(PathBuf, [u8; 32]), String> {
        self.stamps.push((path.clone(), Stamp::of(&path)));
        let digest = runner.digest(&path).map_err(|cause| format!("this plugin is not run: {cause}"));
        let digest = digest.inspect_err(|cause| self.trust_problems.push(place, cause.clone()))?;
        Ok((path, digest))
    }
}

/// A verifier of a configuration that is a plugin, for whoever tries it out. Where several executors have one of this name,
/// that of the repository's scope is meant.
///
/// # Errors
/// There is none, or it cannot be run.
pub fn plugin_verifier(
    config: &Config,
    path: &Path,
    name: &str,
    repository: &Repository,
) -> Result<PluginVerifier, String> {
    let mut found = Vec::new();
    let mut scopes = Vec::new();
    for (index, executor) in config.executors.iter().enumerate() {
        let (Mode::Enforce(checks) | Mode::Audit(checks)) = &executor.mode else { continue };
        let plugins = checks.verifiers.iter().filter_map(|verifier| match &verifier.kind {
            VerifierKind::Plugin(plugin) if verifier.name == name => Some(plugin),
            _ => None,
        });
        found.extend(plugins.map(|plugin| (index, plugin)));
        let patterns = executor.scopes.iter().filter_map(|scope| Pattern::parse(&scope.value).ok());
        scopes.extend(patterns.map(|pattern| (pattern, index)));
    }
    let plugin = match found.as_slice() {
        [] => return Err(format!("no verifier of type \"plugin\" is called {name:?} in {}", path.display())),
        [(_, only)] => only,
        several => {
            let scopes = Scopes::new(scopes);
            let of_scope = scopes.find(repository).and_then(|(_, of)| several.iter().find(|(index, _)| index == of));
            let cause =
                || format!("several executors have a verifier {name:?}, and the scope of none has {repository}");
            of_scope.map(|(_, plugin)| plugin).ok_or_else(cause)?
        }
    };
    let shared = Shared::default();
    let kept = shared.plugins(&config.plugins);
    let remotes = Arc::clone(shared.remotes());
    let mut work = Assembly { remotes, kept, proxy: config.proxy.clone(), ..Assembly::new(path) };
    work.plugin(name, plugin, config)
}

/// A verifier that is a plugin which no configuration names. `config` says how it is run, where there is one.
#[must_use]
pub fn plain_plugin(
    file: PathBuf,
    artifact_types: Vec<String>,
    mut told: Map<String, Value>,
    config: Option<&Config>,
) -> PluginVerifier {
    let plugins = config.map_or_else(config::Plugins::default, |config| config.plugins.clone());
    let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    introduce(&mut told, &name, &name, &artifact_types);
    let config::Plugins { user, socket, timeout, sandbox, .. } = plugins;
    let plugin = Plugin {
        path: file,
        fetched: None,
        config: told,
        environment: BTreeMap::new(),
        network: false,
        strict: sandbox == Confinement::Strict,
    };
    let runner = Runner::new(runner::Options { user, socket, timeout });
    PluginVerifier::new(name, artifact_types, plugin, Arc::new(runner))
}

/// As Ratify hands it on: what the host knows of a verifier stands beside what it is told.
fn introduce(told: &mut Map<String, Value>, name: &str, plugin: &str, artifact_types: &[String]) {
    told.insert("name".to_owned(), Value::from(name));
    told.insert("type".to_owned(), Value::from(plugin));
    told.insert("artifactTypes".to_owned(), Value::from(artifact_types.join(",")));
}

const NOT_CONFINED: &str = "this kernel confines plugins in part only (Landlock as of Linux 6.12 is asked for)";
