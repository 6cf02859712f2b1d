//! Builds an admission from a configuration: opens trust files, compiles policies, joins verifiers and stores.
//! The one place where concrete makers are named.
//!
//! A mistake of the configuration is an error with its place. A trust file that is missing or not to be trusted
//! is not: the rest of the node goes on, and what depends on the file answers MISCONFIGURED.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use crate::admission::{Admission, Generation, Mode, Rules};
use crate::config::{
    self, Checks, Config, KeyMaterial, Log, Notation, Place, Problems, RegistryStore, Remember, VerifierKind,
};
use crate::executor::Executor;
use crate::limits;
use crate::pki::{self, Certificate};
use crate::policy::Policy;
use crate::scope::{Pattern, Scopes};
use crate::store::Store;
use crate::store::registry;
use crate::trust::{self, Stamp};
use crate::verifier::Verifier;
use crate::verifier::notation::{BadTrust, NotationVerifier, Problem, Trust};

/// The configuration as a whole.
static TOP: Place = Place { line: 1, column: 1, path: String::new() };

/// What a configuration and its trust files came to.
pub struct Assembled {
    /// Ready to decide.
    pub admission: Admission,
    /// Every trust file, as it was before it was read.
    pub stamps: Vec<(PathBuf, Stamp)>,
    /// What is wrong with trust files, one problem each.
    pub problems: Vec<String>,
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
    config::parse(&file, &text, &|name| std::env::var(name).ok())
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
    join(config, Assembly::new(path))
}

/// The same, but every executor takes its artifacts from `store`, such as an OCI layout.
///
/// # Errors
/// As [`assemble`].
pub fn assemble_over(config: &Config, path: &Path, store: Arc<dyn Store>) -> Result<Assembled, Problems> {
    join(config, Assembly { over: Some(store), ..Assembly::new(path) })
}

fn join(config: &Config, mut work: Assembly) -> Result<Assembled, Problems> {
    work.generation.update(env!("CARGO_PKG_VERSION").as_bytes());
    work.generation.update(platform().as_bytes());
    work.generation.update(&serde_json::to_vec(config).unwrap_or_default());
    let mut scopes = Vec::new();
    let mut seen = HashSet::new();
    for executor in &config.executors {
        let Some(rules) = work.rules(executor, &config.remember).map(Arc::new) else { continue };
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
        generation: finish(work.generation),
    };
    Ok(Assembled { admission, stamps: work.stamps, problems: work.trust_problems.lines() })
}

fn platform() -> String {
    format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH)
}

fn finish(generation: Context) -> Generation {
    let mut bytes = [0_u8; 32];
    for (to, from) in bytes.iter_mut().zip(generation.finish().as_ref()) {
        *to = *from;
    }
    bytes
}

/// What grows while a configuration is gone through.
struct Assembly {
    problems: Problems,
    trust_problems: Problems,
    stamps: Vec<(PathBuf, Stamp)>,
    generation: Context,
    /// Stores with the same options are one, so that they share connections and bounds.
    stores: Vec<(RegistryStore, Arc<dyn Store>)>,
    /// The store that stands in for all of them.
    over: Option<Arc<dyn Store>>,
}

impl Assembly {
    fn new(path: &Path) -> Self {
        Self {
            problems: Problems::new(&path.display().to_string()),
            trust_problems: Problems::new(&path.display().to_string()),
            stamps: Vec::new(),
            generation: Context::new(&SHA256),
            stores: Vec::new(),
            over: None,
        }
    }

    fn rules(&mut self, executor: &config::Executor, remember: &Remember) -> Option<Rules> {
        let store = self.store(executor, remember)?;
        let mode = match &executor.mode {
            config::Mode::Allow => Mode::Allow,
            config::Mode::Deny => Mode::Deny,
            config::Mode::Enforce(checks) => Mode::Verify { executor: self.executor(checks, &store), audit: false },
            config::Mode::Audit(checks) => Mode::Verify { executor: self.executor(checks, &store), audit: true },
        };
        Some(Rules { mode, pins: executor.digests.clone(), store })
    }

    fn store(&mut self, executor: &config::Executor, remember: &Remember) -> Option<Arc<dyn Store>> {
        if let Some(store) = &self.over {
            return Some(Arc::clone(store));
        }
        if let Some((_, store)) = self.stores.iter().find(|(options, _)| *options == executor.store) {
            return Some(Arc::clone(store));
        }
        let options = registry::Options {
            plain_http: executor.store.plain_http,
            user_agent: executor.store.user_agent.clone(),
            max_manifest_bytes: Some(executor.store.max_manifest_bytes),
            max_blob_bytes: Some(executor.store.max_blob_bytes),
            remember_referrers: remember.referrers,
        };
        match registry::RegistryStore::new(options) {
            Ok(store) => {
                let store: Arc<dyn Store> = Arc::new(store);
                self.stores.push((executor.store.clone(), Arc::clone(&store)));
                Some(store)
            }
            Err(error) => {
                let place = executor.scopes.first().map(|scope| &scope.place);
                self.problems.push(place.unwrap_or(&TOP), format!("its store cannot be made: {error}"));
                None
            }
        }
    }

    /// The executor of a scope; or why nobody can verify there.
    fn executor(&mut self, checks: &Checks, store: &Arc<dyn Store>) -> Result<Arc<Executor>, String> {
        let mut verifiers: Vec<Arc<dyn Verifier>> = Vec::new();
        let mut broken = None;
        for verifier in &checks.verifiers {
            let VerifierKind::Notation(notation) = &verifier.kind;
            match self.notation(notation) {
                Ok(trust) => verifiers.push(Arc::new(NotationVerifier::new(verifier.name.clone(), trust))),
                Err(cause) => broken = broken.or(Some(format!("verifier {:?}: {cause}", verifier.name))),
            }
        }
        let policy = Policy::new(checks.policy.clone())?;
        match broken {
            Some(cause) => Err(cause),
            None => Ok(Arc::new(Executor::new(Arc::clone(store), verifiers, policy, checks.concurrency))),
        }
    }

    /// What a Notation verifier trusts. All of its sources must be whole: a root that is silently left out is an
    /// outage, and one that should have gone and has not is a breach.
    fn notation(&mut self, notation: &Notation) -> Result<Trust, String> {
        let mut anchors = Vec::new();
        let mut causes = Vec::new();
        for material in &notation.certificate_authorities {
            match self.anchors(material) {
                Ok(found) => anchors.extend(found),
                Err(cause) => causes.push(cause),
            }
        }
        let identities: Vec<String> =
            notation.trusted_identities.iter().map(|identity| identity.value.clone()).collect();
        match Trust::new(anchors, &identities) {
            Ok(trust) if causes.is_empty() => return Ok(trust),
            Ok(_) => {}
            Err(BadTrust(problems)) => {
                for problem in problems {
                    self.bad_trust(notation, &problem, &mut causes);
                }
            }
        }
        Err(causes.join("; "))
    }

    /// Tells a mistake in the configuration from a trust file that cannot serve.
    fn bad_trust(&mut self, notation: &Notation, problem: &Problem, causes: &mut Vec<String>) {
        match problem {
            Problem::NoAnchor if !causes.is_empty() => {}
            Problem::NoAnchor | Problem::Leaf { .. } => {
                let place = notation.certificate_authorities.first().map_or(&TOP, KeyMaterial::place);
                self.trust_problems.push(place, problem.to_string());
                causes.push(problem.to_string());
            }
            _ => {
                let place = notation.trusted_identities.first().map_or(&TOP, |identity| &identity.place);
                self.problems.push(place, problem.to_string());
            }
        }
    }

    fn anchors(&mut self, material: &KeyMaterial) -> Result<Vec<Certificate>, String> {
        match material {
            KeyMaterial::Inline(pem) => {
                self.generation.update(pem.value.as_bytes());
                pki::anchors_from_pem(pem.value.as_bytes()).map_err(|error| {
                    self.problems.push(&pem.place, error.to_string());
                    error.to_string()
                })
            }
            KeyMaterial::File(path) => {
                // Stamped before it is read: what changes from here on is seen as a change.
                self.stamps.push((path.value.clone(), Stamp::of(&path.value)));
                self.trust_file(&path.value).inspect_err(|cause| self.trust_problems.push(&path.place, cause.clone()))
            }
        }
    }

    fn trust_file(&mut self, path: &Path) -> Result<Vec<Certificate>, String> {
        let bytes = trust::read(path, limits::TRUST_FILE_BYTES).map_err(|error| error.to_string())?;
        self.generation.update(&bytes);
        pki::anchors_from_pem(&bytes).map_err(|error| format!("{}: {error}", path.display()))
    }
}
