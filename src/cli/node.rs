//! `ratifyctl status`, `explain`, `flush`: questions to the running daemon.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::Instant;
use tonic::Code;

use crate::artifact::Descriptor;
use crate::cli::{Exit, NodeArguments, Output, Stop, draw, out};
use crate::client::{self, Unanswered};
use crate::limits;
use crate::report::Tree;
use crate::verdict::{Token, printable};
use crate::wire::v1::admin_client::AdminClient;
use crate::wire::v1::node_client::NodeClient;
use crate::wire::{self, v1};

/// How long the daemon may take.
const TIMEOUT: Duration = Duration::from_secs(10);

fn deadline() -> Instant {
    let now = Instant::now();
    now.checked_add(TIMEOUT).unwrap_or(now)
}

fn unanswered(error: Unanswered) -> Stop {
    Stop(Exit::Unavailable, error.to_string())
}

/// How the daemon is; the document of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    schema_version: u32,
    version: String,
    uptime_seconds: u64,
    config_path: String,
    config_current: bool,
    problems: Vec<String>,
    notes: Vec<String>,
    generation: String,
    verdicts: BTreeMap<String, u64>,
    not_enforced: u64,
    remembered: u64,
    trusted_roots: Vec<TrustedRoot>,
    fetched_plugins: Vec<FetchedPlugin>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FetchedPlugin {
    pub(super) name: String,
    pub(super) source: String,
    /// `verified`, `pinned` or `unverified`.
    trust: String,
    /// The digest in force; empty where none is.
    pub(super) artifact: String,
    /// In seconds since 1970.
    as_of: u64,
    /// What is wrong with it, or with what its source names now; empty where nothing is.
    pub(super) problem: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TrustedRoot {
    name: String,
    source: String,
    /// In seconds since 1970.
    as_of: u64,
}

impl From<v1::StatusReply> for Status {
    fn from(reply: v1::StatusReply) -> Self {
        Self {
            schema_version: 1,
            version: reply.version,
            uptime_seconds: reply.uptime_seconds,
            config_path: reply.config_path,
            config_current: reply.config_current,
            problems: reply.problems,
            notes: reply.notes,
            generation: reply.generation,
            verdicts: reply.verdicts.into_iter().collect(),
            not_enforced: reply.not_enforced,
            remembered: reply.remembered,
            trusted_roots: (reply.trusted_roots.into_iter())
                .map(|v1::TrustedRoot { name, source, as_of }| TrustedRoot { name, source, as_of })
                .collect(),
            fetched_plugins: reply.fetched_plugins.into_iter().map(FetchedPlugin::from).collect(),
        }
    }
}

impl From<v1::FetchedPlugin> for FetchedPlugin {
    fn from(v1::FetchedPlugin { name, source, trust, artifact, as_of, problem }: v1::FetchedPlugin) -> Self {
        Self { name, source, trust, artifact, as_of, problem }
    }
}

async fn ask(socket: &Path) -> Result<Status, Unanswered> {
    let deadline = deadline();
    let asked = client::call(socket, deadline, async |channel| {
        NodeClient::new(channel).status(client::request(v1::StatusRequest {}, deadline)).await
    });
    asked.await.map(Status::from)
}

/// What the daemon has fetched.
pub(super) async fn fetched_plugins(socket: &Path) -> Result<Vec<FetchedPlugin>, String> {
    ask(socket).await.map(|status| status.fetched_plugins).map_err(|error| error.to_string())
}

pub(super) async fn status(node: &NodeArguments) -> Result<Exit, Stop> {
    let status = ask(&node.socket).await.map_err(unanswered)?;
    match node.output {
        Output::Json => out::json(&status)?,
        Output::Text | Output::Sarif => out::text(status_text(&status))?,
    }
    Ok(Exit::Done)
}

/// How long ago a moment was, given in seconds since 1970.
fn age(as_of: u64) -> humantime::FormattedDuration {
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(as_of));
    let age = at.and_then(|at| at.elapsed().ok()).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(age.as_secs()))
}

fn status_text(status: &Status) -> String {
    let state = match (status.generation.is_empty(), status.config_current) {
        (true, _) => "nothing in force: every pull is answered MISCONFIGURED",
        (false, true) => "in force",
        (false, false) => "changed on disk and has problems; the one before it is in force",
    };
    let up = humantime::format_duration(Duration::from_secs(status.uptime_seconds));
    let mut lines = vec![
        format!("ratifyd {} up {up}", status.version),
        format!("configuration  {}: {state}", printable(&status.config_path)),
    ];
    if !status.generation.is_empty() {
        lines.push(format!("generation     {}", status.generation.chars().take(16).collect::<String>()));
    }
    let counted = |token: &Token| status.verdicts.get(token.as_str()).map(|count| format!("{token} {count}"));
    let counts: Vec<String> = Token::ALL.iter().filter_map(counted).collect();
    lines.push(format!("verdicts       {}", counts.join(", ")));
    if status.not_enforced > 0 {
        lines.push(format!(
            "not enforced   {} refusals of these: whoever asked lets the pull go on",
            status.not_enforced
        ));
    }
    lines.push(format!("remembered     {}", status.remembered));
    for TrustedRoot { name, source, as_of } in &status.trusted_roots {
        lines.push(format!("trusted root   {} ({}): as of {} ago", printable(name), printable(source), age(*as_of)));
    }
    for FetchedPlugin { name, source, trust, artifact, as_of, .. } in &status.fetched_plugins {
        let trust = if trust == "unverified" { "NOT VERIFIED, as allowUnverified says" } else { trust };
        let state = match artifact.as_str() {
            "" => "none in force".to_owned(),
            digest => format!("{digest}, {trust}, as of {} ago", age(*as_of)),
        };
        lines.push(format!("plugin         {} ({}): {}", printable(name), printable(source), printable(&state)));
    }
    lines.extend(status.problems.iter().map(|problem| format!("problem        {}", printable(problem))));
    lines.extend(status.notes.iter().map(|note| format!("note           {}", printable(note))));
    lines.join("\n") + "\n"
}

/// A verdict with its report; the document of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    schema_version: u32,
    id: String,
    time: String,
    reference: String,
    descriptor: Descriptor,
    token: String,
    enforced: bool,
    cause: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Tree>,
}

pub(super) async fn explain(node: &NodeArguments, id: String) -> Result<Exit, Stop> {
    let deadline = deadline();
    // People copy the id with the brackets of the reason line.
    let id = id.trim_matches(['[', ']']).to_owned();
    let asked = client::call(&node.socket, deadline, async |channel| {
        let mut node = NodeClient::new(channel).max_decoding_message_size(limits::EXPLAIN_BYTES);
        node.explain(client::request(v1::ExplainRequest { id: id.clone() }, deadline)).await
    });
    let reply = match asked.await {
        Ok(reply) => reply,
        Err(Unanswered::Refused(status)) if status.code() == Code::NotFound => {
            return Err(Stop(Exit::Unavailable, status.message().to_owned()));
        }
        Err(error) => return Err(unanswered(error)),
    };
    let verdict = reply.verdict.unwrap_or_default();
    let strange =
        |what: &str| Stop(Exit::Unavailable, format!("ratifyd's answer has {what}: install one version of both"));
    let token = wire::token(&verdict).ok_or_else(|| strange("no known token"))?;
    let descriptor = reply.descriptor.ok_or_else(|| strange("no descriptor"))?;
    let descriptor = Descriptor::try_from(descriptor).map_err(|error| strange(&error.to_string()))?;
    let report: Option<Tree> = match reply.report.as_str() {
        "" => None,
        report => Some(serde_json::from_str(report).map_err(|error| strange(&error.to_string()))?),
    };
    let explained = Explained {
        schema_version: 1,
        id: verdict.id,
        time: rfc3339(reply.time),
        reference: reply.name,
        descriptor,
        token: token.to_string(),
        enforced: !reply.audit,
        cause: verdict.cause,
        report,
    };
    match node.output {
        Output::Json => out::json(&explained)?,
        Output::Text | Output::Sarif => out::text(explained_text(token, &explained))?,
    }
    Ok(Exit::Done)
}

fn explained_text(token: Token, explained: &Explained) -> String {
    let line = draw::line(token, &explained.cause, &explained.id);
    let report = match &explained.report {
        Some(report) => draw::tree(&explained.reference, report),
        None => {
            format!("{}\n{}\nnothing was verified\n", printable(&explained.reference), explained.descriptor.digest)
        }
    };
    let enforced = if explained.enforced { "" } else { ", not enforced: the pull went on whatever the answer was" };
    format!("{line}\nat {}{enforced}\n{report}", explained.time)
}

/// A recent verdict, one line or one JSON object each.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    schema_version: u32,
    id: String,
    time: String,
    reference: String,
    digest: String,
    token: String,
    enforced: bool,
    cause: String,
}

pub(super) async fn verdicts(node: &NodeArguments, watch: bool) -> Result<Exit, Stop> {
    let deadline = deadline();
    let asked = client::call(&node.socket, deadline, async |channel| {
        // Without a deadline of its own: watching ends when the caller has seen enough.
        NodeClient::new(channel).verdicts(v1::VerdictsRequest { watch }).await
    });
    let mut verdicts = asked.await.map_err(unanswered)?;
    while let Some(reply) = verdicts.message().await.map_err(|status| unanswered(Unanswered::Refused(status)))? {
        let verdict = reply.verdict.unwrap_or_default();
        let token = wire::token(&verdict);
        let refuses = !token.is_some_and(Token::allows);
        let token = token.map(|token| token.to_string()).unwrap_or_default();
        let listed = Listed {
            schema_version: 1,
            id: verdict.id,
            time: rfc3339(reply.time),
            reference: reply.name,
            digest: reply.descriptor.unwrap_or_default().digest,
            token,
            enforced: !reply.audit,
            cause: verdict.cause,
        };
        match node.output {
            Output::Json => out::json_line(&listed)?,
            Output::Text | Output::Sarif => {
                let Listed { time, id, token, reference, enforced, cause, .. } = &listed;
                let passed = if refuses && !enforced { "not enforced: " } else { "" };
                out::line(format_args!("{time} {id} {token} {} {passed}{}", printable(reference), printable(cause)))?;
            }
        }
    }
    Ok(Exit::Done)
}

fn rfc3339(seconds: u64) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// What was forgotten; the document of `flush --output json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Flushed {
    schema_version: u32,
    forgotten: u64,
}

pub(super) async fn flush(node: &NodeArguments) -> Result<Exit, Stop> {
    let deadline = deadline();
    let asked = client::call(&node.socket, deadline, async |channel| {
        AdminClient::new(channel).flush(client::request(v1::FlushRequest {}, deadline)).await
    });
    let reply = asked.await.map_err(unanswered)?;
    match node.output {
        Output::Json => out::json(&Flushed { schema_version: 1, forgotten: reply.forgotten })?,
        Output::Text | Output::Sarif => out::line(format_args!("forgot {} verdicts", reply.forgotten))?,
    }
    Ok(Exit::Done)
}
