//! ratifyd's side: what `ratifyctl verify` does, in this process, by notation's own folder.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ratify::admission::Pull;
use ratify::assemble::{self, InLayout};
use ratify::config;
use ratify::memo::Memo;
use ratify::reference::Reference;
use ratify::report::{Outcome, Stage, Tree, Validation};
use serde_json::json;
use tokio::time::Instant;

use super::common::plugins::NOBODY;
use super::oracle::{Part, Said};
use super::trials::{SCOPE, Trial};

/// Asks ratifyd.
pub async fn ask(trial: &Trial) -> Said {
    let metadata: serde_json::Map<_, _> =
        trial.question.metadata.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let parameters = json!({ "notationConfig": trial.notation(), "userMetadata": metadata, "allowSkip": true });
    let text = json!({
        "executors": [{
            "scopes": [SCOPE],
            "verifiers": [{ "name": "notation", "type": "notation", "parameters": parameters }],
        }],
        "plugins": { "path": trial.notation().join("plugins"), "user": NOBODY },
    });
    let path = trial.folder.join("config.json");
    fs::write(&path, text.to_string()).unwrap();
    let refused = |words: String| Said { allows: false, part: Some(Part::Policy), logged: BTreeSet::new(), words };
    let config = match config::parse(&path.display().to_string(), &text.to_string(), &|_| None) {
        Ok(config) => config,
        Err(problems) => return refused(problems.lines().join("\n")),
    };
    let layout = assemble::layout(&format!("oci-layout:{}", trial.reference()));
    let InLayout { reference, store } = layout.unwrap().unwrap();
    let assembled = match assemble::assemble_over(&config, &path, Arc::clone(&store)) {
        Ok(assembled) => assembled,
        Err(problems) => return refused(problems.lines().join("\n")),
    };
    let named: Reference = SCOPE.parse().unwrap();
    let reference = Reference { repository: named.repository, ..reference };
    let deadline = Instant::now() + PATIENCE;
    let descriptor = store.resolve(&reference, deadline).await.unwrap();
    let pull = Pull { repository: reference.repository, descriptor };
    let decision = assembled.admission.decide(&Memo::new(1), &pull, SystemTime::now(), deadline).await;
    let allows = decision.verdict.token().allows();
    let mut words = format!("{} {}", decision.verdict.token(), decision.verdict.cause());
    let mut outcomes = Vec::new();
    if let Some(tree) = &decision.report {
        gather(tree, &mut outcomes);
        words = format!("{words}\n{outcomes:?}");
    }
    for problem in &assembled.problems {
        words = format!("{words}\n{problem}");
    }
    let logged = outcomes.iter().flat_map(logged).filter(|_| allows).collect();
    let parts: BTreeSet<Option<Part>> = outcomes.iter().filter_map(part).collect();
    let part = match parts.into_iter().collect::<Vec<_>>().as_slice() {
        [one] if !allows => *one,
        _ => None,
    };
    Said { allows, part, logged, words }
}

/// As long as the daemon has for a pull, twice over.
const PATIENCE: Duration = Duration::from_secs(15);

fn gather(tree: &Tree, outcomes: &mut Vec<Outcome>) {
    outcomes.extend(tree.findings.iter().map(|finding| finding.outcome.clone()));
    tree.referrers.iter().for_each(|referrer| gather(referrer, outcomes));
}

fn logged(outcome: &Outcome) -> Vec<Part> {
    let Outcome::Passed(pass) = outcome else { return Vec::new() };
    let part = |validation| match validation {
        Validation::Authenticity => Part::Authenticity,
        Validation::AuthenticTimestamp => Part::Timestamp,
        Validation::Expiry => Part::Expiry,
        Validation::Revocation => Part::Revocation,
    };
    pass.logged.iter().map(|logged| part(logged.validation)).collect()
}

/// The part that an outcome is about, where it tells; none for what passed.
fn part(outcome: &Outcome) -> Option<Option<Part>> {
    match outcome {
        Outcome::Passed(_) | Outcome::Skipped { .. } => None,
        Outcome::Fault { .. } => Some(None),
        Outcome::Failed(failure) => Some(Some(match failure.stage {
            Stage::Form | Stage::Integrity => Part::Integrity,
            Stage::Subject => Part::Subject,
            Stage::Authenticity => Part::Authenticity,
            Stage::Identity => Part::Identity,
            Stage::Metadata => Part::Metadata,
            Stage::Expiry if failure.cause.starts_with("the signature expired") => Part::Expiry,
            Stage::Expiry => Part::Timestamp,
            Stage::Revocation => Part::Revocation,
            Stage::Plugin => Part::Plugin,
            Stage::Limit => panic!("{failure:?}: of Notation's signatures none is too many"),
        })),
    }
}
