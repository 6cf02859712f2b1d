//! `ratifyctl discover` and `resolve`: what a registry or layout holds, without a verdict on it.

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::artifact::{Descriptor, Manifest};
use crate::cli::source::Source;
use crate::cli::{Exit, ImageArguments, Output, Stop, draw, out};
use crate::limits;
use crate::reference::Reference;
use crate::report::Tree;
use crate::sigstore::tag::Kind;
use crate::store::Error;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: ImageArguments,
    /// An image: `ghcr.io/acme/web:v1`, `oci-layout:DIR:TAG`
    #[arg(value_name = "REF")]
    reference: String,
}

/// What a reference names; the document of `resolve --output json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resolved<'a> {
    schema_version: u32,
    reference: &'a str,
    descriptor: &'a Descriptor,
}

/// The document of `discover --output json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Discovered<'a> {
    schema_version: u32,
    reference: &'a str,
    descriptor: &'a Descriptor,
    referrers: &'a Tree,
}

pub(super) async fn resolve(arguments: Arguments) -> Result<Exit, Stop> {
    let (source, deadline) = open(&arguments)?;
    let descriptor = within(deadline, source.resolve(deadline)).await?;
    let reference = source.name();
    match arguments.image.output {
        Output::Json => out::json(&Resolved { schema_version: 1, reference: &reference, descriptor: &descriptor })?,
        Output::Text | Output::Sarif => out::line(&descriptor.digest)?,
    }
    Ok(Exit::Done)
}

pub(super) async fn discover(arguments: Arguments) -> Result<Exit, Stop> {
    let (source, deadline) = open(&arguments)?;
    let descriptor = within(deadline, source.resolve(deadline)).await?;
    let tree = within(deadline, async { Ok(walk(&source, descriptor.clone(), deadline).await) }).await?;
    let reference = source.name();
    match arguments.image.output {
        Output::Json => out::json(&Discovered {
            schema_version: 1,
            reference: &reference,
            descriptor: &descriptor,
            referrers: &tree,
        })?,
        Output::Text | Output::Sarif => {
            out::text(draw::tree(&reference, &tree))?;
            if tree.referrers.is_empty() && tree.note.is_none() {
                out::line("nothing refers to it")?;
            }
        }
    }
    Ok(if is_whole(&tree) { Exit::Done } else { Exit::Unavailable })
}

fn open(arguments: &Arguments) -> Result<(Source, Instant), Stop> {
    let source = Source::open(&arguments.reference, &arguments.image.config)?;
    Ok((source, arguments.image.deadline()?))
}

async fn within<T>(deadline: Instant, work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    let late = || Stop(Exit::Unavailable, "the time ran out; --timeout gives more".to_owned());
    timeout_at(deadline, work).await.map_err(|_| late())?
}

/// Everything that refers to an artifact, and to that, down to [`limits::DEPTH`] levels and [`limits::ARTIFACTS`].
async fn walk(source: &Source, subject: Descriptor, deadline: Instant) -> Tree {
    let mut root = leaf(&subject);
    // Paths into the tree, each with the descriptor that lies there.
    let mut open = vec![(Vec::new(), subject)];
    let mut count = 1_usize;
    while let Some((path, subject)) = open.pop() {
        let listed = source.store().referrers(source.repository(), &subject.digest, deadline).await;
        let Some(tree) = at(&mut root, &path) else { continue };
        let candidates = match listed {
            Ok(listed) => listed.candidates,
            Err(error) => {
                tree.note = Some(error.to_string());
                continue;
            }
        };
        if path.is_empty() {
            let (tagged, faults) = tagged(source, &subject, deadline).await;
            tree.referrers.extend(tagged);
            tree.note = (!faults.is_empty()).then(|| faults.join("; "));
        }
        count = count.saturating_add(candidates.len());
        if count > limits::ARTIFACTS || (path.len() >= limits::DEPTH && !candidates.is_empty()) {
            tree.note = Some("more referrers than are looked at".to_owned());
            continue;
        }
        for candidate in candidates {
            let read = read(source, Some(&subject), &candidate, deadline).await;
            if read.note.is_none() {
                open.push((path.iter().copied().chain([tree.referrers.len()]).collect(), candidate));
            }
            tree.referrers.push(read);
        }
    }
    root
}

/// What stands at the tags of an artifact, where Cosign keeps signatures and attestations without referrers, and why it
/// could not be told.
async fn tagged(source: &Source, subject: &Descriptor, deadline: Instant) -> (Vec<Tree>, Vec<String>) {
    let (mut trees, mut faults) = (Vec::new(), Vec::new());
    for kind in Kind::ALL {
        let repository = source.repository().clone();
        let reference = Reference { repository, tag: Some(kind.tag(&subject.digest)), digest: None };
        match source.store().resolve(&reference, deadline).await {
            Ok(found) => {
                let tree = read(source, None, &found, deadline).await;
                trees.push(Tree { found_at: Some(reference.to_string()), ..tree });
            }
            Err(Error::NotFound { .. }) => {}
            Err(error) => faults.push(error.to_string()),
        }
    }
    (trees, faults)
}

fn at<'a>(tree: &'a mut Tree, path: &[usize]) -> Option<&'a mut Tree> {
    path.iter().try_fold(tree, |tree, index| tree.referrers.get_mut(*index))
}

fn leaf(descriptor: &Descriptor) -> Tree {
    Tree { digest: descriptor.digest.to_string(), media_type: descriptor.media_type.clone(), ..Tree::default() }
}

/// A candidate by its own manifest, which must refer to a subject where one is given.
async fn read(source: &Source, subject: Option<&Descriptor>, candidate: &Descriptor, deadline: Instant) -> Tree {
    let mut tree = leaf(candidate);
    let manifest = match source.store().manifest(source.repository(), candidate, deadline).await {
        Ok(bytes) => Manifest::parse(&candidate.media_type, &bytes).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match manifest {
        Ok(manifest) => {
            let stated = manifest.subject.map(|stated| stated.digest);
            if subject.is_some_and(|subject| stated.as_ref() != Some(&subject.digest)) {
                tree.note = Some("listed, but its own manifest refers to something else".to_owned());
            }
            tree.artifact_type = manifest.artifact_type;
        }
        Err(cause) => tree.note = Some(cause),
    }
    tree
}

fn is_whole(tree: &Tree) -> bool {
    tree.note.is_none() && tree.referrers.iter().all(|referrer| referrer.note.is_none() && is_whole(referrer))
}
