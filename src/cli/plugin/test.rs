//! `ratifyctl plugin test`: a verifier that is a plugin, run on each referrer of an image that it judges, as the daemon runs
//! it, with all that goes to it and comes of it. It shows no value of the daemon's environment, and no verdict on the image.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use crate::artifact::{Descriptor, Manifest};
use crate::assemble::{self, Exchange, PluginVerifier};
use crate::cli::source::Source;
use crate::cli::{Exit, ImageArguments, Output, Stop, out};
use crate::json;
use crate::report::Outcome;
use crate::runner::{Program, Ran};
use crate::store;
use crate::verdict::printable;
use crate::verifier::{Attempts, Candidate, Verifier as _};

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    image: ImageArguments,
    /// The verifier, by its name in the configuration
    #[arg(long, value_name = "NAME", required_unless_present = "plugin", conflicts_with = "plugin")]
    verifier: Option<String>,
    /// A plugin that the configuration need not name
    #[arg(long, value_name = "PATH", requires = "artifact_types")]
    plugin: Option<PathBuf>,
    /// What that one judges; "*" is all
    #[arg(long = "artifact-type", value_name = "TYPE", requires = "plugin")]
    artifact_types: Vec<String>,
    /// What that one is told: a JSON object
    #[arg(long, value_name = "JSON", requires = "plugin", value_parser = object)]
    plugin_config: Option<Told>,
    /// An image, or one of its referrers: `ghcr.io/acme/web:v1`, `oci-layout:DIR:TAG`
    #[arg(value_name = "REF")]
    reference: String,
}

/// What a plugin is told.
#[derive(Clone)]
struct Told(Map<String, Value>);

fn object(text: &str) -> Result<Told, String> {
    json::from_slice(text.as_bytes()).map(Told).map_err(|error| format!("it is no JSON object: {error}"))
}

/// The document of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u32,
    reference: &'a str,
    descriptor: &'a Descriptor,
    verifier: &'a str,
    /// The candidates that the plugin was not asked about, by their digests, and why.
    passed_over: &'a BTreeMap<String, String>,
    runs: &'a [Run],
}

/// What went over the wire for one referrer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    referrer: Descriptor,
    artifact_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Reply>,
    milliseconds: u64,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    plugin: PathBuf,
    /// By name; null where a value is the daemon's.
    environment: BTreeMap<String, Option<String>>,
    network: bool,
    stdin: Value,
    /// Bytes of each, by their paths in its folder.
    files: BTreeMap<String, usize>,
}

#[derive(Serialize)]
struct Reply {
    ended: String,
    stdout: String,
    stderr: String,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<Exit, Stop> {
    let source = Source::open(&arguments.reference, &arguments.image.config)?;
    let verifier = verifier(&arguments, &source)?;
    let deadline = arguments.image.deadline()?;
    let late = |_| Stop(Exit::Unavailable, "the time ran out; --timeout gives more".to_owned());
    let subject = timeout_at(deadline, source.resolve(deadline)).await.map_err(late)??;
    let (runs, passed_over) = runs(&source, &verifier, &subject, deadline).await?;
    let reference = source.name();
    match arguments.image.output {
        Output::Json => out::json(&Document {
            schema_version: 1,
            reference: &reference,
            descriptor: &subject,
            verifier: verifier.name(),
            passed_over: &passed_over,
            runs: &runs,
        })?,
        Output::Text | Output::Sarif => {
            let name = verifier.name();
            let mut text = format!("{} {}\n", printable(&reference), subject.digest);
            for (digest, cause) in &passed_over {
                let _ = writeln!(text, "not asked about {digest}: {}", printable(cause));
            }
            runs.iter().for_each(|run| write_run(&mut text, run));
            if runs.is_empty() {
                let _ = writeln!(text, "nothing refers to it that {name} judges");
            }
            out::text(text)?;
        }
    }
    let passed = |run: &Run| matches!(run.outcome, Outcome::Passed(_));
    Ok(if !runs.is_empty() && runs.iter().all(passed) { Exit::Done } else { Exit::Denied })
}

fn verifier(arguments: &Arguments, source: &Source) -> Result<PluginVerifier, Stop> {
    let wrong = |cause: String| Stop(Exit::Misconfigured, cause);
    let path = &arguments.image.config;
    let load = || assemble::load(path).map_err(|problems| wrong(problems.lines().join("\n")));
    let Some(file) = &arguments.plugin else {
        let name = arguments.verifier.as_deref().unwrap_or_default();
        return assemble::plugin_verifier(&load()?, path, name, source.repository()).map_err(wrong);
    };
    let file = std::path::absolute(file).map_err(|error| wrong(error.to_string()))?;
    let config = if path.exists() { Some(load()?) } else { None };
    let told = arguments.plugin_config.clone().map(|Told(told)| told).unwrap_or_default();
    Ok(assemble::plain_plugin(file, arguments.artifact_types.clone(), told, config.as_ref()))
}

/// Runs the plugin on each referrer that it judges, one after the other.
async fn runs(
    source: &Source,
    verifier: &PluginVerifier,
    subject: &Descriptor,
    deadline: Instant,
) -> Result<(Vec<Run>, BTreeMap<String, String>), Stop> {
    let listed = source.store().referrers(source.repository(), &subject.digest, deadline).await;
    let listed = listed.map_err(|error| Stop(Exit::Unavailable, error.to_string()))?;
    let (mut runs, mut passed_over) = (Vec::new(), BTreeMap::new());
    for referrer in listed.candidates {
        let manifest = match read(source, subject, &referrer, deadline).await {
            Ok(manifest) if verifier.accepts(&manifest.artifact_type) => manifest,
            Ok(manifest) => {
                passed_over.insert(referrer.digest.to_string(), format!("it is of type {:?}", manifest.artifact_type));
                continue;
            }
            Err(cause) => {
                passed_over.insert(referrer.digest.to_string(), cause);
                continue;
            }
        };
        let candidate = Candidate {
            store: source.store(),
            repository: source.repository(),
            subject,
            referrer: &referrer,
            found: None,
            manifest: &manifest,
            attempts: &Attempts::default(),
            now: SystemTime::now(),
            deadline,
        };
        let start = Instant::now();
        let Exchange { asked, ran, outcome } = verifier.exchange(candidate).await;
        runs.push(Run {
            referrer,
            artifact_type: manifest.artifact_type,
            request: asked.map(request),
            reply: ran.map(reply),
            milliseconds: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            outcome,
        });
    }
    Ok((runs, passed_over))
}

/// A candidate's own manifest, if it refers to the subject.
async fn read(
    source: &Source,
    subject: &Descriptor,
    referrer: &Descriptor,
    deadline: Instant,
) -> Result<Manifest, String> {
    let bytes = source.store().manifest(source.repository(), referrer, deadline).await;
    let bytes = bytes.map_err(|error| error.to_string())?;
    store::check("manifest", referrer, &bytes).map_err(|error| error.to_string())?;
    let manifest = Manifest::parse(&referrer.media_type, &bytes).map_err(|error| error.to_string())?;
    match &manifest.subject {
        Some(stated) if stated.digest == subject.digest => Ok(manifest),
        _ => Err("its own manifest refers to something else".to_owned()),
    }
}

fn request(program: Program) -> Request {
    let Program { path, environment, input, sandbox, .. } = program;
    // The protocol's own tell nothing that is not shown anyway; values of others may be secrets.
    let shown = |(name, value): (String, String)| {
        let own = name.starts_with("RATIFY_").then_some(value);
        (name, own)
    };
    let sandbox = sandbox.unwrap_or_default();
    Request {
        plugin: path,
        environment: environment.into_iter().map(shown).collect(),
        network: sandbox.network,
        stdin: serde_json::from_slice(&input).unwrap_or(Value::Null),
        files: sandbox.files.into_iter().map(|(path, bytes)| (path, bytes.len())).collect(),
    }
}

fn reply(Ran { ended, output, errors, .. }: Ran) -> Reply {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Reply { ended, stdout: text(&output), stderr: text(&errors) }
}

fn write_run(text: &mut String, run: &Run) {
    let _ = writeln!(text, "\n{} {}", printable(&run.artifact_type), run.referrer.digest);
    if let Some(Request { plugin, environment, network, stdin, files }) = &run.request {
        let _ = writeln!(text, "  plugin  {}", printable(&plugin.display().to_string()));
        for (name, value) in environment {
            let value = value.as_deref().map_or_else(|| "(not shown)".to_owned(), printable);
            let _ = writeln!(text, "  env     {name}={value}");
        }
        let _ = writeln!(text, "  network {}", if *network { "yes" } else { "no" });
        for (path, bytes) in files {
            let _ = writeln!(text, "  file    {path} ({bytes} bytes)");
        }
        write_lines(text, "stdin", &serde_json::to_string_pretty(stdin).unwrap_or_default());
    }
    if let Some(Reply { ended, stdout, stderr }) = &run.reply {
        let _ = writeln!(text, "  ended   {ended}");
        write_lines(text, "stdout", stdout);
        write_lines(text, "stderr", stderr);
    }
    let took = Duration::from_millis(run.milliseconds);
    let _ = writeln!(text, "  took    {}", humantime::format_duration(took));
    let (word, words) = match &run.outcome {
        Outcome::Passed(pass) => ("passed", pass.detail.clone()),
        Outcome::Failed(failure) => ("failed", failure.cause.clone()),
        Outcome::Fault { cause } => ("fault", cause.to_string()),
        Outcome::Skipped { cause } => ("skipped", cause.clone()),
    };
    let _ = writeln!(text, "  {word:7} {}", printable(&words));
}

fn write_lines(text: &mut String, name: &str, lines: &str) {
    for line in lines.lines() {
        let _ = writeln!(text, "  {name:7} {}", printable(line));
    }
}
