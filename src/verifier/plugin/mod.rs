//! A verifier that is a program: a plugin of Ratify v1's, unmodified. Gives it what it is asked about in a folder of its
//! own, runs it confined and as nobody, and takes its word for it. Never gives it credentials, and decides nothing itself.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::report::{Failure, Fault, Outcome, Pass, Stage};
use crate::room::Kind;
use crate::runner::{Program, Ran, Runner, Sandbox, ratify};
use crate::verdict::Class;
use crate::verifier::{Candidate, Verifier};

mod evidence;
mod protocol;
#[cfg(test)]
mod tests;

pub use protocol::{Said, read_result};

/// Has a plugin judge referrers of some types.
#[derive(Debug)]
pub struct PluginVerifier {
    name: String,
    options: Options,
    runner: Arc<Runner>,
}

/// Which plugin, and how it is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The executable, by its absolute path.
    pub path: PathBuf,
    /// Set where it was fetched: then it belongs to this process's user, and lies there for as long as somebody has this.
    pub fetched: Option<Arc<dyn Any + Send + Sync>>,
    /// The types of artifacts that it judges; `*` is all.
    pub artifact_types: Vec<String>,
    /// Its configuration, as written.
    pub config: Map<String, Value>,
    /// Variables of this process's environment that it gets, with their values.
    pub environment: BTreeMap<String, String>,
    /// Whether it may reach others over the network.
    pub network: bool,
    /// Whether it is not run where the kernel cannot confine it wholly.
    pub strict: bool,
}

/// What went to a plugin and came of it, for whoever writes one.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What was run; none where there was nothing to ask.
    pub asked: Option<Program>,
    /// How it ended, where it did.
    pub ran: Option<Ran>,
    /// What was understood.
    pub outcome: Outcome,
}

#[derive(Default)]
struct Seen {
    asked: Option<Program>,
    ran: Option<Ran>,
}

impl PluginVerifier {
    /// A verifier of this configured name.
    #[must_use]
    pub fn new(name: String, options: Options, runner: Arc<Runner>) -> Self {
        Self { name, options, runner }
    }

    /// Asks the plugin as [`Verifier::verify`] does, and tells what went to and fro.
    pub async fn exchange(&self, candidate: Candidate<'_>) -> Exchange {
        let mut seen = Seen::default();
        let outcome = self.judge(candidate, Some(&mut seen)).await.unwrap_or_else(|cause| Outcome::Fault { cause });
        Exchange { asked: seen.asked, ran: seen.ran, outcome }
    }

    async fn judge(&self, candidate: Candidate<'_>, mut seen: Option<&mut Seen>) -> Result<Outcome, Fault> {
        let size = candidate.manifest.layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.descriptor.size));
        let _room = candidate.attempts.turn.room(Kind::Blob, size, candidate.deadline).await?;
        let program = self.program(candidate).await?;
        if let Some(seen) = &mut seen {
            seen.asked = Some(program.clone());
        }
        let ran = ratify::run(&self.runner, program, candidate.deadline).await?;
        let outcome = self.outcome(&ran);
        if let Some(seen) = &mut seen {
            seen.ran = Some(ran);
        }
        outcome.map_err(|cause| ratify::fault(&self.options.path, Class::Malformed, &cause))
    }

    async fn program(&self, candidate: Candidate<'_>) -> Result<Program, Fault> {
        let Options { path, fetched, config, environment, network, strict, .. } = &self.options;
        let files = evidence::collect(candidate).await?;
        let sandbox = Sandbox { files, network: *network, strict: *strict };
        let mut environment = environment.clone();
        environment.extend(protocol::environment(candidate.lies_in(), &candidate.subject.digest));
        let input = protocol::request(config, candidate.referrer, candidate.manifest);
        let fetched = fetched.is_some();
        Ok(Program { environment, fetched, sandbox: Some(sandbox), ..Program::new(path.clone(), input) })
    }

    fn outcome(&self, ran: &Ran) -> Result<Outcome, String> {
        if ran.code != Some(0) {
            return Err(ratify::failure(ran));
        }
        let Said { is_success, words } = read_result(&ran.output)?;
        Ok(if is_success {
            let (signer, identity, valid_until, logged) = (None, None, None, Vec::new());
            Outcome::Passed(Pass { detail: words, signer, identity, valid_until, logged })
        } else {
            let cause = format!("plugin {}: {words}", self.options.path.display());
            Outcome::Failed(Failure { stage: Stage::Plugin, cause })
        })
    }
}

#[async_trait]
impl Verifier for PluginVerifier {
    fn name(&self) -> &str {
        &self.name
    }

    fn accepts(&self, artifact_type: &str) -> bool {
        self.options.artifact_types.iter().any(|taken| taken == "*" || taken == artifact_type)
    }

    async fn verify(&self, candidate: Candidate<'_>) -> Vec<Outcome> {
        vec![self.judge(candidate, None).await.unwrap_or_else(|cause| Outcome::Fault { cause })]
    }
}
