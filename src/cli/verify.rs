//! `ratifyctl verify`: the whole verification, tag to verdict, in this process or by the daemon.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use crate::artifact::Descriptor;
use crate::assemble::{self, InLayout};
use crate::cli::judge::Judge;
use crate::cli::{Exit, ImageArguments, Output, Stop, draw, out, sarif, source};
use crate::client;
use crate::reference::Reference;
use crate::report::Tree;
use crate::store::Store;
use crate::verdict::Token;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: ImageArguments,
    /// The name whose scope applies to images in OCI layouts, which have none of their own
    #[arg(long = "as", value_name = "NAME", value_parser = name)]
    name: Option<Reference>,
    /// Ask the running daemon instead
    #[arg(long)]
    daemon: bool,
    /// The daemon's socket
    #[arg(long, value_name = "PATH", env = client::SOCKET_VARIABLE, default_value = client::SOCKET)]
    socket: PathBuf,
    /// Images: `ghcr.io/acme/web:v1`, `oci-layout:DIR`, `oci-layout:FILE.tar:TAG`
    #[arg(value_name = "REF", required = true)]
    references: Vec<String>,
}

fn name(text: &str) -> Result<Reference, String> {
    text.parse().map_err(|error| format!("{error}"))
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
    pub(super) reference: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptor: Option<Descriptor>,
    pub(super) token: Token,
    pub(super) cause: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) report: Option<Arc<Tree>>,
    #[serde(skip)]
    exit: Exit,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Stop> {
    let images = open(&arguments)?;
    let (admission, config) = source::load(&arguments.image.config)?;
    let judge = match arguments.daemon {
        true => Judge::daemon(&arguments.socket, admission),
        false => Judge::here(admission),
    };
    let mut results = Vec::new();
    for image in &images {
        let deadline = arguments.image.deadline()?;
        let verified = match image {
            Image::InRegistry(reference) => verified(&judge, reference, deadline).await,
            Image::InLayout { written, reference, store } => {
                let over = assemble::assemble_over(&config, &arguments.image.config, Arc::clone(store));
                let over = over.map_err(|problems| Stop(Exit::Misconfigured, problems.lines().join("\n")))?;
                let verified = verified(&Judge::here(over.admission), reference, deadline).await;
                Verified { reference: written.clone(), ..verified }
            }
        };
        if arguments.image.output == Output::Text {
            show(&verified)?;
        }
        results.push(verified);
    }
    match arguments.image.output {
        Output::Text => {}
        Output::Json => out::json(&Document { schema_version: 1, results: &results })?,
        Output::Sarif => out::json(&sarif::log(&results))?,
    }
    Ok(results.iter().map(|verified| verified.exit).max().unwrap_or(Exit::Done))
}

/// An image that a person names.
enum Image {
    InRegistry(Reference),
    InLayout { written: String, reference: Reference, store: Arc<dyn Store> },
}

/// Reads all references before anything is verified.
fn open(arguments: &Arguments) -> Result<Vec<Image>, Stop> {
    let wrong = |cause: String| Stop(Exit::Misconfigured, cause);
    let open = |text: &String| match assemble::layout(text) {
        None => Ok(Image::InRegistry(text.parse().map_err(|error| wrong(format!("{error}")))?)),
        Some(_) if arguments.daemon => {
            Err(wrong(format!("{text}: the daemon verifies images in registries; leave --daemon out")))
        }
        Some(layout) => {
            let InLayout { reference, store } = layout.map_err(|cause| Stop(Exit::Unavailable, cause))?;
            let named = arguments.name.as_ref().ok_or_else(|| {
                wrong(format!(
                    "{text} has no name of its own: say with --as whose scope applies, as in --as ghcr.io/acme/web"
                ))
            })?;
            let reference = Reference { repository: named.repository.clone(), ..reference };
            Ok(Image::InLayout { written: text.clone(), reference, store })
        }
    };
    arguments.references.iter().map(open).collect()
}

/// Resolves an image and asks about it.
async fn verified(judge: &Judge, reference: &Reference, deadline: Instant) -> Verified {
    let (descriptor, answer) = match judge.resolve(reference, deadline).await {
        Ok(descriptor) => {
            let answer = judge.judge(reference, &descriptor, deadline).await;
            (Some(descriptor), answer)
        }
        Err(answer) => (None, answer),
    };
    Verified {
        reference: reference.to_string(),
        descriptor,
        token: answer.token,
        exit: Exit::from(answer.token),
        cause: answer.cause,
        id: answer.id,
        report: answer.report,
    }
}

fn show(verified: &Verified) -> Result<(), Stop> {
    let report = verified.report.as_ref().map(|report| draw::tree(&verified.reference, report)).unwrap_or_default();
    out::text(format_args!("{}\n{report}", draw::line(verified.token, &verified.cause, "")))
}
