//! A verifier that is a program: a plugin of Ratify v1's, unmodified. Gives it what it is asked about in a folder of its
//! own, runs it confined and as nobody, and takes its word for it. Never gives it credentials, and decides nothing itself.

use std::sync::Arc;

use async_trait::async_trait;

use crate::report::{Failure, Fault, Outcome, Pass, Stage};
use crate::room::Kind;
use crate::runner::ratify::{self, Plugin};
use crate::runner::{Program, Ran, Runner};
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
    /// The types of artifacts that it judges; `*` is all.
    artifact_types: Vec<String>,
    plugin: Plugin,
    runner: Arc<Runner>,
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
    /// A verifier of this configured name, for artifacts of these types; `*` is all.
    #[must_use]
    pub fn new(name: String, artifact_types: Vec<String>, plugin: Plugin, runner: Arc<Runner>) -> Self {
        Self { name, artifact_types, plugin, runner }
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
        outcome.map_err(|cause| ratify::fault(&self.plugin.path, Class::Malformed, &cause))
    }

    async fn program(&self, candidate: Candidate<'_>) -> Result<Program, Fault> {
        let files = evidence::collect(candidate).await?;
        let question = protocol::environment(candidate.lies_in(), &candidate.subject.digest);
        let input = protocol::request(&self.plugin.config, candidate.referrer, candidate.manifest);
        Ok(self.plugin.asked(question, input, files))
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
            let cause = format!("plugin {}: {words}", self.plugin.path.display());
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
        self.artifact_types.iter().any(|taken| taken == "*" || taken == artifact_type)
    }

    async fn verify(&self, candidate: Candidate<'_>) -> Vec<Outcome> {
        vec![self.judge(candidate, None).await.unwrap_or_else(|cause| Outcome::Fault { cause })]
    }
}
