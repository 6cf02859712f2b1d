//! Verification plugins (Notary Project, plugin extensibility specification): finds the one that a signature demands,
//! asks what it can do, and has it make its checks. A plugin that is not there, or is not what the signature asks for,
//! is a reason to refuse the signature; one that breaks is a fault. Never decides what a finding is worth.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::envelope::Demand;
use crate::limits;
use crate::report::{Failure, Fault, Outcome, Stage};
use crate::runner::{NotRun, Program, Ran, Runner};
use crate::trust::Stamp;

mod message;
#[cfg(test)]
mod tests;

pub use message::{Capability, Metadata, error_of, read_answer};
pub(super) use message::{Findings, Question};

/// The plugins that one verifier may use.
#[derive(Debug)]
pub struct Plugins {
    folder: PathBuf,
    runner: Arc<Runner>,
    config: BTreeMap<String, String>,
    /// What each file said of itself, and in which state. As many as there are files.
    known: Mutex<HashMap<PathBuf, (Stamp, Metadata)>>,
}

/// A plugin that is what a signature demands.
#[derive(Debug)]
pub(super) struct Hired {
    path: PathBuf,
    /// What it can do.
    pub(super) capabilities: BTreeSet<Capability>,
}

impl Plugins {
    /// Those of a folder, with what is configured for them.
    #[must_use]
    pub fn new(folder: PathBuf, runner: Arc<Runner>, config: BTreeMap<String, String>) -> Self {
        Self { folder, runner, config, known: Mutex::default() }
    }

    /// Finds the plugin that a signature demands, and asks what it can do ("Verification workflow using plugin", 1).
    ///
    /// # Errors
    /// The outcome: there is none, it is another, or it cannot be asked.
    pub(super) async fn hire(&self, demand: &Demand, deadline: Instant) -> Result<Hired, Outcome> {
        let path = self.find(&demand.plugin).await?;
        let metadata = match self.known(&path).await {
            Some(metadata) => metadata,
            None => self.ask(&path, &demand.plugin, deadline).await?,
        };
        metadata
            .serves(demand.min_version.as_deref())
            .map_err(|cause| denied(format!("plugin {}: {cause}; install one that does", path.display())))?;
        Ok(Hired { path, capabilities: metadata.capabilities })
    }

    /// Has a plugin make its checks ("Verification workflow using plugin", 5 and 6).
    ///
    /// # Errors
    /// The outcome: it gave no whole answer, or left a critical attribute aside.
    pub(super) async fn verify(
        &self,
        hired: &Hired,
        question: Question<'_>,
        deadline: Instant,
    ) -> Result<Findings, Outcome> {
        let input = message::verify_request(question, &self.config);
        let (output, _) = self.run(&hired.path, "verify-signature", input, deadline).await?;
        let (name, attributes) = (&question.demand.plugin, question.demand.attributes.keys());
        let findings = message::findings(&output, name, question.checks, attributes)
            .map_err(|cause| fault(&hired.path, Fault::new(cause)))?;
        match &findings.unprocessed {
            Some(attribute) => Err(denied(format!(
                "the signature has the critical attribute {attribute:?}, and plugin {} did not process it",
                hired.path.display()
            ))),
            None => Ok(findings),
        }
    }

    /// What a file said of itself, if it still is as it was then. It is asked once for each state of the file, not for
    /// each signature: "expected to return only static data".
    async fn known(&self, path: &Path) -> Option<Metadata> {
        let (stamp, metadata) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()?;
        let path = path.to_owned();
        let is_current = tokio::task::spawn_blocking(move || stamp.is_current(&path)).await;
        is_current.unwrap_or_default().then_some(metadata)
    }

    async fn ask(&self, path: &Path, name: &str, deadline: Instant) -> Result<Metadata, Outcome> {
        let input = message::metadata_request(&self.config);
        let (output, stamp) = self.run(path, "get-plugin-metadata", input, deadline).await?;
        let metadata = Metadata::parse(&output, name)
            .map_err(|cause| denied(format!("plugin {}: {cause}; install another one", path.display())))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(path.to_owned(), (stamp, metadata.clone()));
        Ok(metadata)
    }

    async fn run(
        &self,
        path: &Path,
        command: &str,
        input: Vec<u8>,
        deadline: Instant,
    ) -> Result<(Vec<u8>, Stamp), Outcome> {
        let program = Program { arguments: vec![command.to_owned()], ..Program::new(path.to_owned(), input) };
        match self.runner.run(program, deadline).await {
            Ok((Ran { code: Some(0), output, .. }, stamp)) => Ok((output, stamp)),
            Ok((Ran { code, ended, errors, .. }, _)) => {
                let (cause, class) = error_of(code, &ended, &errors);
                Err(fault(path, Fault::of(class, format!("{command}: {cause}"))))
            }
            Err(NotRun::Untrusted(untrusted)) => {
                Err(denied(format!("the plugin that the signature demands must not be run: {untrusted}")))
            }
            Err(NotRun::Fault(fault)) => {
                Err(Outcome::Fault { cause: Fault::of(fault.class(), format!("plugin {fault}")) })
            }
        }
    }

    /// The file of a plugin: as notation has it, `NAME/notation-NAME`, or as Ratify has it, `notation-NAME`.
    async fn find(&self, name: &str) -> Result<PathBuf, Outcome> {
        if !is_name(name) {
            return Err(denied(format!("the signature demands the verification plugin {name:?}, which is no name")));
        }
        let file = format!("{PREFIX}{name}");
        let candidates = [self.folder.join(name).join(&file), self.folder.join(&file)];
        let found = tokio::task::spawn_blocking(move || {
            candidates.into_iter().find(|candidate| candidate.symlink_metadata().is_ok())
        });
        found.await.unwrap_or_default().ok_or_else(|| {
            denied(format!(
                "the signature demands the verification plugin {name:?}, which is not installed: put {file} into {}",
                self.folder.display()
            ))
        })
    }
}

/// Where the plugins of a folder lie, or would once its folders are filled. Blocks on files.
///
/// # Errors
/// The folder holds too much to be looked through.
pub fn files_of(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let Ok(entries) = folder.read_dir() else { return Ok(files) };
    for (count, entry) in entries.flatten().enumerate() {
        if count >= limits::PLUGIN_ENTRIES {
            let most = limits::PLUGIN_ENTRIES;
            return Err(format!("{} has more than {most} entries; keep plugins alone in it", folder.display()));
        }
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str() else { continue };
        if name.strip_prefix(PREFIX).is_some_and(is_name) {
            files.push(path.clone());
        }
        if is_name(name) && path.is_dir() {
            files.push(path.join(format!("{PREFIX}{name}")));
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a name stays in its folder and in one line: an envelope chooses it.
fn is_name(name: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=limits::PLUGIN_NAME_BYTES).contains(&name.len()) && name.chars().all(of_name) && !name.starts_with('.')
}

fn denied(cause: String) -> Outcome {
    Outcome::Failed(Failure { stage: Stage::Plugin, cause: super::verify::shown(&cause) })
}

fn fault(path: &Path, cause: Fault) -> Outcome {
    let words = super::verify::shown(&format!("plugin {}: {cause}", path.display()));
    Outcome::Fault { cause: Fault::of(cause.class(), words) }
}

/// What the file names of plugins begin with.
const PREFIX: &str = "notation-";
