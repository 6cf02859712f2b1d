//! Who is asked about an image: this process, by the configuration that the daemon reads, or the running daemon.
//!
//! Used by `verify` and by all that judges what is on the node already. It decides nothing itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout_at};

use crate::admission::{Admission, Decision, Pull};
use crate::artifact::Descriptor;
use crate::cli::{Stop, source};
use crate::client;
use crate::memo::Memo;
use crate::reference::{Reference, Repository};
use crate::report::Tree;
use crate::verdict::{Class, Conclusion, Token};
use crate::wire::v1::image_verifier_client::ImageVerifierClient;
use crate::wire::v1::node_client::NodeClient;
use crate::wire::{self, v1};

/// Who judges.
pub(super) struct Judge {
    /// This process's reading of the configuration; or why there is none.
    admission: Result<Admission, Stop>,
    /// The socket of the daemon that is asked instead.
    daemon: Option<PathBuf>,
}

/// What is said of an image.
pub(super) struct Answer {
    pub(super) token: Token,
    pub(super) cause: String,
    pub(super) id: String,
    pub(super) report: Option<Arc<Tree>>,
}

impl Answer {
    /// An answer that nobody was asked for.
    pub(super) fn unasked(token: Token, cause: impl Into<String>) -> Self {
        Self { token, cause: cause.into(), id: String::new(), report: None }
    }
}

impl Judge {
    /// This process.
    pub(super) fn here(admission: Admission) -> Self {
        Self { admission: Ok(admission), daemon: None }
    }

    /// The daemon; names are resolved here.
    pub(super) fn daemon(socket: &Path, admission: Admission) -> Self {
        Self { admission: Ok(admission), daemon: Some(socket.to_owned()) }
    }

    /// The daemon where one answers, because it is what pulls will meet; else this process.
    ///
    /// # Errors
    /// No daemon answers, and there is no configuration to go by.
    pub(super) async fn find(socket: &Path, config: &Path) -> Result<Self, Stop> {
        match status(socket).await {
            Ok(_) => {
                let admission = source::load(config).map(|(admission, _)| admission);
                Ok(Self { admission, daemon: Some(socket.to_owned()) })
            }
            Err(_) => Ok(Self::here(source::load(config)?.0)),
        }
    }

    /// The scope that a repository is in, where there is one; an error where no configuration tells.
    pub(super) fn scope_of(&self, repository: &Repository) -> Result<Option<String>, ()> {
        let admission = self.admission.as_ref().map_err(|_| ())?;
        Ok(admission.scopes.find(repository).map(|(scope, _)| scope.to_string()))
    }

    /// Whether it is the daemon.
    pub(super) fn is_daemon(&self) -> bool {
        self.daemon.is_some()
    }

    /// Finds out what a reference names now; or what there is to say without.
    pub(super) async fn resolve(&self, reference: &Reference, deadline: Instant) -> Result<Descriptor, Answer> {
        let refused = |class: Class, conclusion: Conclusion| {
            let decision = Decision::unverified(class, conclusion, false);
            // The daemon could not explain an id that it has not given.
            let id = if self.is_daemon() { String::new() } else { decision.id };
            Answer { id, ..Answer::unasked(decision.verdict.token(), decision.verdict.cause()) }
        };
        let admission = match &self.admission {
            Ok(admission) => admission,
            Err(Stop(_, cause)) => return Err(refused(Class::Configuration, Conclusion::misconfigured(cause))),
        };
        match timeout_at(deadline, admission.resolve(reference, deadline)).await {
            Ok(Some(Ok(descriptor))) => Ok(descriptor),
            Ok(Some(Err(error))) => Err(refused(error.class(), Conclusion::unavailable(error.to_string()))),
            Ok(None) => Err(refused(Class::Unmatched, admission.without_scope(&reference.repository))),
            Err(_) => {
                let registry = reference.repository.registry();
                let cause = format!("the time ran out before {registry} had answered");
                Err(refused(Class::Time, Conclusion::unavailable(cause)))
            }
        }
    }

    /// Asks what would be said of a pull.
    pub(super) async fn judge(&self, reference: &Reference, descriptor: &Descriptor, deadline: Instant) -> Answer {
        match (&self.daemon, &self.admission) {
            (Some(socket), _) => by_daemon(socket, reference, descriptor, deadline).await,
            (None, Ok(admission)) => here(admission, reference, descriptor, deadline).await,
            (None, Err(Stop(_, cause))) => Answer::unasked(Token::Misconfigured, cause),
        }
    }
}

/// What is wrong with the configuration of the daemon that runs; nothing where all is well.
///
/// # Errors
/// None answers, and why.
pub(super) async fn problems(socket: &Path) -> Result<Vec<String>, String> {
    let status = status(socket).await.map_err(|unanswered| unanswered.to_string())?;
    if status.problems.is_empty() && status.generation.is_empty() {
        return Ok(vec![format!("ratifyd has no configuration in force: {}", status.config_path)]);
    }
    Ok(status.problems)
}

/// What the daemon says of itself.
///
/// # Errors
/// None answers, and why.
pub(super) async fn status(socket: &Path) -> Result<v1::StatusReply, client::Unanswered> {
    let now = Instant::now();
    let deadline = now.checked_add(PATIENCE).unwrap_or(now);
    client::call(socket, deadline, async |channel| {
        NodeClient::new(channel).status(client::request(v1::StatusRequest {}, deadline)).await
    })
    .await
}

/// Whether the daemon has lately been asked about a name, in these very letters.
pub(super) async fn was_asked(socket: &Path, name: &str) -> bool {
    let now = Instant::now();
    let deadline = now.checked_add(PATIENCE).unwrap_or(now);
    let asked = client::call(socket, deadline, async |channel| {
        NodeClient::new(channel).verdicts(v1::VerdictsRequest { watch: false }).await
    });
    let Ok(mut verdicts) = asked.await else { return false };
    while let Ok(Ok(Some(verdict))) = timeout_at(deadline, verdicts.message()).await {
        if verdict.name == name {
            return true;
        }
    }
    false
}

/// What one image was told is no answer for the next: it may lie in another place.
async fn here(admission: &Admission, reference: &Reference, descriptor: &Descriptor, deadline: Instant) -> Answer {
    let pull = Pull { repository: reference.repository.clone(), descriptor: descriptor.clone() };
    let decision = admission.decide(&Memo::new(1), &pull, SystemTime::now(), deadline).await;
    Answer {
        token: decision.verdict.token(),
        cause: decision.verdict.cause().to_owned(),
        id: decision.id,
        report: decision.report,
    }
}

async fn by_daemon(socket: &Path, reference: &Reference, descriptor: &Descriptor, deadline: Instant) -> Answer {
    // No pull hangs on it.
    let (name, audit) = (reference.to_string(), true);
    let request = v1::VerifyRequest { name, descriptor: Some(descriptor.clone().into()), audit };
    let asked = client::call(socket, deadline, async |channel| {
        ImageVerifierClient::new(channel).verify(client::request(request.clone(), deadline)).await
    });
    match asked.await.map(|reply| reply.verdict.unwrap_or_default()) {
        Ok(verdict) => match wire::token(&verdict) {
            Some(token) => Answer { token, cause: verdict.cause, id: verdict.id, report: None },
            None => {
                let cause = "ratifyd gives an answer that this ratifyctl does not know: install one version of both";
                Answer::unasked(Token::Misconfigured, cause)
            }
        },
        Err(unanswered) => Answer::unasked(unanswered.token(), unanswered.to_string()),
    }
}

/// How long a daemon may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(3);
