//! `ratifyctl verify`: the whole verification in this process, tag to verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::admission::{Admission, Decision, Pull};
use crate::artifact::Descriptor;
use crate::assemble::{self, InLayout};
use crate::cli::{Exit, ImageArguments, Output, Stop, draw, out, sarif, source};
use crate::client;
use crate::memo::Memo;
use crate::reference::Reference;
use crate::report::Tree;
use crate::store::Store;
use crate::verdict::{Conclusion, Token, Verdict};
use crate::wire::v1::image_verifier_client::ImageVerifierClient;
use crate::wire::{self, v1};

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
    let mut results = Vec::new();
    for image in &images {
        let deadline = arguments.image.deadline()?;
        let verified = match image {
            Image::InRegistry(reference) if arguments.daemon => {
                by_daemon(&arguments.socket, &admission, reference, deadline).await
            }
            Image::InRegistry(reference) => here(&admission, reference, deadline).await,
            Image::InLayout { written, reference, store } => {
                let over = assemble::assemble_over(&config, &arguments.image.config, Arc::clone(store));
                let over = over.map_err(|problems| Stop(Exit::Misconfigured, problems.lines().join("\n")))?;
                let verified = here(&over.admission, reference, deadline).await;
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

/// Finds out what a reference names now, or what there is to say without.
async fn resolve(admission: &Admission, reference: &Reference, deadline: Instant) -> Result<Descriptor, Conclusion> {
    match timeout_at(deadline, admission.resolve(reference)).await {
        Ok(Some(Ok(descriptor))) => Ok(descriptor),
        Ok(Some(Err(error))) => Err(Conclusion::unavailable(error.to_string())),
        Ok(None) => Err(admission.without_scope(&reference.repository)),
        Err(_) => {
            let registry = reference.repository.registry();
            Err(Conclusion::unavailable(format!("the time ran out before {registry} had answered")))
        }
    }
}

/// Verifies in this process. What one image was told is no answer for the next: it may lie in another place.
async fn here(admission: &Admission, reference: &Reference, deadline: Instant) -> Verified {
    let verdicts = Memo::new(1);
    let (descriptor, decision) = match resolve(admission, reference, deadline).await {
        Ok(descriptor) => {
            let pull = Pull { repository: reference.repository.clone(), descriptor: descriptor.clone() };
            (Some(descriptor), admission.decide(&verdicts, &pull, SystemTime::now(), deadline).await)
        }
        Err(conclusion) => (None, Decision::unverified(conclusion, false)),
    };
    Verified {
        reference: reference.to_string(),
        descriptor,
        token: decision.verdict.token(),
        cause: decision.verdict.cause().to_owned(),
        id: decision.id,
        report: decision.report,
        exit: Exit::from(decision.verdict.token()),
    }
}

/// Asks the daemon about what a reference names now.
async fn by_daemon(socket: &Path, admission: &Admission, reference: &Reference, deadline: Instant) -> Verified {
    let answer = |token: Token, cause: String, id: String, descriptor| Verified {
        reference: reference.to_string(),
        descriptor,
        token,
        cause,
        id,
        report: None,
        exit: Exit::from(token),
    };
    let descriptor = match resolve(admission, reference, deadline).await {
        Ok(descriptor) => descriptor,
        Err(conclusion) => {
            let verdict = Verdict::reach(conclusion, false);
            return answer(verdict.token(), verdict.cause().to_owned(), String::new(), None);
        }
    };
    // No pull hangs on it.
    let (name, audit) = (reference.to_string(), true);
    let request = v1::VerifyRequest { name, descriptor: Some(descriptor.clone().into()), audit };
    let asked = client::call(socket, deadline, async |channel| {
        ImageVerifierClient::new(channel).verify(client::request(request.clone(), deadline)).await
    });
    match asked.await.map(|reply| reply.verdict.unwrap_or_default()) {
        Ok(verdict) => match wire::token(&verdict) {
            Some(token) => answer(token, verdict.cause, verdict.id, Some(descriptor)),
            None => {
                let cause = "ratifyd gives an answer that this ratifyctl does not know: install one version of both";
                answer(Token::Misconfigured, cause.to_owned(), String::new(), Some(descriptor))
            }
        },
        Err(unanswered) => answer(unanswered.token(), unanswered.to_string(), String::new(), Some(descriptor)),
    }
}

fn show(verified: &Verified) -> Result<(), Stop> {
    let report = verified.report.as_ref().map(|report| draw::tree(&verified.reference, report)).unwrap_or_default();
    out::text(format_args!("{}\n{report}", draw::line(verified.token, &verified.cause, "")))
}
