//! `ratifyctl plugin inspect`: what an artifact holds, and what of it would be run here.

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout_at;

use super::{deadline, pull, reference, unavailable};
use crate::artifact::{Annotations, Descriptor};
use crate::assemble;
use crate::cli::{Exit, Output, Stop, out};
use crate::plugin::select::{Found, NotFound, Platform, Wanted, find};
use crate::verdict::printable;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The plugin: `ghcr.io/acme/plugins/sbom:v1`
    #[arg(value_name = "REF")]
    reference: String,
    /// The title of the blob that is meant
    #[arg(long)]
    title: Option<String>,
    /// For another platform than this machine's: linux/arm64
    #[arg(long, value_name = "OS/ARCHITECTURE", value_parser = pull::platform)]
    platform: Option<Platform>,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// How long it may take
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// The document of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspected<'a> {
    schema_version: u32,
    reference: String,
    artifact: &'a Descriptor,
    platform: String,
    /// What would be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<Program<'a>>,
    /// Why nothing would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// How many artifacts refer to it: its signatures are among them.
    referrers: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Program<'a> {
    artifact_type: &'a str,
    title: Option<&'a str>,
    descriptor: &'a Descriptor,
    annotations: &'a Annotations,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Stop> {
    let (reference, deadline) = (reference(&arguments.reference)?, deadline(arguments.timeout)?);
    let name = reference.repository.path().rsplit('/').next().unwrap_or_default();
    let store = assemble::plugin_store(None, None).map_err(|cause| Stop(Exit::Misconfigured, cause))?;
    let platform = arguments.platform.unwrap_or_else(Platform::own);
    let read = timeout_at(deadline, async {
        let artifact = store.resolve(&reference, deadline).await.map_err(unavailable)?;
        let wanted = Wanted { title: arguments.title.as_deref(), names: [name, name], strict: false };
        let found = find(store.as_ref(), &reference.repository, &artifact, &wanted, &platform, deadline).await;
        let listed = store.referrers(&reference.repository, &artifact.digest, deadline).await.map_err(unavailable)?;
        Ok((artifact, found, listed.candidates.len()))
    });
    let (artifact, found, referrers) =
        read.await.map_err(|_| unavailable("the time ran out; --timeout gives more"))??;
    let (found, problem) = match found {
        Ok(found) => (Some(found), None),
        Err(NotFound::Unfit(cause)) => (None, Some(cause)),
        Err(NotFound::Store(error)) => return Err(unavailable(error)),
    };
    let program = found.as_ref().map(|Found { artifact_type, annotations, program, title }| Program {
        artifact_type,
        title: title.as_deref(),
        descriptor: program,
        annotations,
    });
    let fits = program.is_some();
    let (reference, platform) = (reference.to_string(), platform.to_string());
    let inspected =
        Inspected { schema_version: 1, reference, artifact: &artifact, platform, program, problem, referrers };
    match arguments.output {
        Output::Json => out::json(&inspected)?,
        Output::Text | Output::Sarif => out::text(text(&inspected))?,
    }
    Ok(if fits { Exit::Done } else { Exit::Denied })
}

fn text(inspected: &Inspected<'_>) -> String {
    let Inspected { reference, artifact, platform, program, problem, referrers, .. } = inspected;
    let mut lines = vec![
        reference.clone(),
        format!("digest         {}", artifact.digest),
        format!("media type     {}", printable(&artifact.media_type)),
        format!("referrers      {referrers}"),
    ];
    if let Some(Program { artifact_type, title, descriptor, annotations }) = program {
        lines.push(format!("artifact type  {}", printable(artifact_type)));
        lines.push(format!("for {platform}: {} ({} bytes)", descriptor.digest, descriptor.size));
        lines.extend(title.map(|title| format!("title          {}", printable(title))));
        let said = |(key, value): (&String, &String)| format!("  {} = {}", printable(key), printable(value));
        lines.extend(annotations.iter().map(said));
    }
    lines.extend(problem.as_ref().map(|problem| format!("for {platform}: none: {}", printable(problem))));
    lines.join("\n") + "\n"
}
