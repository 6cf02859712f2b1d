//! `ratifyctl verify`: the whole verification in this process, tag to verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::admission::{Admission, Decision, Pull, Verdicts};
use crate::artifact::Descriptor;
use crate::assemble;
use crate::cli::{CONFIG, Exit, Output, Stop, draw, print_json};
use crate::limits;
use crate::memo::Memo;
use crate::reference::Reference;
use crate::report::Tree;
use crate::verdict::Conclusion;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "RATIFYD_CONFIG", default_value = CONFIG)]
    config: PathBuf,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// How long one image may take, such as 30s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Images, by name with a tag or digest: `ghcr.io/acme/web:v1`
    #[arg(value_name = "REF", required = true)]
    references: Vec<String>,
}

/// The document of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u32,
    results: &'a [Verified],
}

/// One image's answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verified {
    reference: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptor: Option<Descriptor>,
    token: String,
    cause: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Arc<Tree>>,
    #[serde(skip)]
    exit: Exit,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Stop> {
    let references = parse(&arguments.references)?;
    let admission = load(&arguments.config)?;
    let verdicts = Memo::new(limits::MEMO_ENTRIES);
    let mut results = Vec::new();
    for reference in &references {
        let deadline = Instant::now().checked_add(arguments.timeout);
        let deadline = deadline.ok_or_else(|| Stop(Exit::Misconfigured, "--timeout is too long".to_owned()))?;
        let verified = verify(&admission, &verdicts, reference, deadline).await;
        if arguments.output == Output::Text {
            show(&verified);
        }
        results.push(verified);
    }
    if arguments.output == Output::Json {
        print_json(&Document { schema_version: 1, results: &results })?;
    }
    Ok(results.iter().map(|verified| verified.exit).max().unwrap_or(Exit::Done))
}

fn parse(references: &[String]) -> Result<Vec<Reference>, Stop> {
    let parsed = references.iter().map(|reference| reference.parse().map_err(|error| format!("{error}")));
    parsed.collect::<Result<_, String>>().map_err(|error| Stop(Exit::Misconfigured, error))
}

fn load(path: &Path) -> Result<Admission, Stop> {
    let assembled = assemble::load(path)
        .and_then(|config| assemble::assemble(&config, path))
        .map_err(|problems| Stop(Exit::Misconfigured, problems.lines().join("\n")))?;
    for problem in &assembled.problems {
        anstream::eprintln!("ratifyctl: {problem}");
    }
    Ok(assembled.admission)
}

async fn verify(admission: &Admission, verdicts: &Arc<Verdicts>, reference: &Reference, deadline: Instant) -> Verified {
    let resolved = match timeout_at(deadline, admission.resolve(reference)).await {
        Ok(Some(Ok(descriptor))) => Ok(descriptor),
        Ok(Some(Err(error))) => Err(Conclusion::unavailable(error.to_string())),
        Ok(None) => Err(admission.without_scope(&reference.repository)),
        Err(_) => Err(Conclusion::unavailable(format!(
            "the time ran out before {} had answered",
            reference.repository.registry()
        ))),
    };
    let (descriptor, decision) = match resolved {
        Ok(descriptor) => {
            let pull = Pull { repository: reference.repository.clone(), descriptor: descriptor.clone() };
            (Some(descriptor), admission.decide(verdicts, &pull, SystemTime::now(), deadline).await)
        }
        Err(conclusion) => (None, Decision::unverified(conclusion, false)),
    };
    Verified {
        reference: reference.to_string(),
        descriptor,
        token: decision.verdict.token().to_string(),
        cause: decision.verdict.cause().to_owned(),
        id: decision.id,
        report: decision.report,
        exit: Exit::from(decision.verdict.token()),
    }
}

fn show(verified: &Verified) {
    if let Ok(token) = verified.token.parse() {
        anstream::println!("{}", draw::line(token, &verified.cause, ""));
    }
    if let Some(report) = &verified.report {
        anstream::print!("{}", draw::tree(&verified.reference, report));
    }
}
