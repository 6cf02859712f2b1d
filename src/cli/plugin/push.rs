//! `ratifyctl plugin push`: an image manifest for each program, and an index over them where there are several.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{bar, deadline, reference, unavailable};
use crate::artifact::{Algorithm, Descriptor, Digest, EMPTY_CONFIG, IMAGE_INDEX, IMAGE_MANIFEST, PLUGIN};
use crate::assemble::{self, Pusher};
use crate::cli::{Exit, Stop, out};
use crate::limits;
use crate::plugin::select::{Platform, platform_of};
use crate::plugin::{CREATED, PROGRAM_TYPE, TITLE};
use crate::reference::Reference;
use crate::store::digest_of;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Where to: `ghcr.io/acme/plugins/sbom:v1`
    #[arg(value_name = "REF")]
    reference: String,
    /// The program; several, one for each platform
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The plugin's name, its file's title in the artifact; left out, the last part of REF's path
    #[arg(long)]
    name: Option<String>,
    /// What kind of artifact it is; an executor's pluginTypes must list it
    #[arg(long, value_name = "TYPE", default_value = PLUGIN)]
    artifact_type: String,
    /// What to say of it, such as org.opencontainers.image.version=1.2.0
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Speak http; loopback never needs it
    #[arg(long)]
    plain_http: bool,
    /// How long it may take in all
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// A program to be pushed.
struct Program {
    bytes: Bytes,
    /// None for a script.
    platform: Option<Platform>,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Stop> {
    let reference = reference(&arguments.reference)?;
    let tag = match (&reference.digest, &reference.tag) {
        (Some(_), _) => return Err(Stop(Exit::Misconfigured, "a digest cannot be pushed to: name a tag".to_owned())),
        (None, tag) => tag.clone().unwrap_or_else(|| "latest".to_owned()),
    };
    let programs = read(&arguments.files)?;
    let annotations = annotations(&arguments.annotation)?;
    let deadline = deadline(arguments.timeout)?;
    let pushed = timeout_at(deadline, async {
        let pusher =
            assemble::pusher(&reference.repository, arguments.plain_http, deadline).await.map_err(unavailable)?;
        let digest = push(&pusher, &reference, &tag, programs, &arguments, &annotations).await?;
        has(&Reference { tag: Some(tag), ..reference.clone() }, &digest, deadline).await?;
        Ok(digest)
    });
    let digest = pushed.await.map_err(|_| unavailable("the time ran out; --timeout gives more"))??;
    out::line(format_args!("{}@{digest}", reference.repository))?;
    Ok(Exit::Done)
}

async fn push(
    pusher: &Pusher,
    reference: &Reference,
    tag: &str,
    programs: Vec<Program>,
    arguments: &Arguments,
    annotations: &BTreeMap<String, String>,
) -> Result<Digest, Stop> {
    let name = arguments.name.as_deref().or_else(|| reference.repository.path().rsplit('/').next()).unwrap_or_default();
    let (kind, single) = (&arguments.artifact_type, programs.len() == 1);
    let mut entries = Vec::new();
    for Program { bytes, platform } in programs {
        let stated =
            platform.as_ref().map(|Platform { os, architecture }| json!({ "architecture": architecture, "os": os }));
        let config = match &stated {
            Some(stated) => blob(pusher, IMAGE_CONFIG, stated.to_string().into()).await?,
            None => blob(pusher, EMPTY_CONFIG, Bytes::from_static(b"{}")).await?,
        };
        let layer = with(&blob(pusher, PROGRAM_TYPE, bytes).await?, json!({ "annotations": { TITLE: name } }));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": kind, "config": config, "layers": [layer],
            "annotations": annotations,
        });
        let pushed = put(pusher, if single { Some(tag) } else { None }, IMAGE_MANIFEST, &manifest).await?;
        if single {
            return Ok(pushed.digest);
        }
        entries.push(with(&pushed, json!({ "artifactType": kind, "platform": stated })));
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": IMAGE_INDEX, "artifactType": kind, "manifests": entries, "annotations": annotations,
    });
    Ok(put(pusher, Some(tag), IMAGE_INDEX, &index).await?.digest)
}

/// A descriptor with more members.
fn with(descriptor: &Descriptor, more: Value) -> Value {
    let mut value = json!(descriptor);
    if let (Some(members), Value::Object(more)) = (value.as_object_mut(), more) {
        members.extend(more);
    }
    value
}

/// Looks whether a tag names what was pushed.
async fn has(tag: &Reference, digest: &Digest, deadline: Instant) -> Result<(), Stop> {
    let store = assemble::plugin_store(None, None).map_err(unavailable)?;
    let found = store.resolve(tag, deadline).await.map_err(unavailable)?;
    if found.digest == *digest {
        return Ok(());
    }
    Err(unavailable(format!("{tag} was pushed as {digest}, and names {}", found.digest)))
}

/// Pushes a blob, and describes it.
async fn blob(pusher: &Pusher, media_type: &str, bytes: Bytes) -> Result<Descriptor, Stop> {
    let descriptor = describe(media_type, &bytes);
    let (bar, left) = bar("pushing");
    bar.set_length(descriptor.size);
    let pushed = pusher.blob(&descriptor.digest, bytes, Some(left)).await;
    bar.finish_and_clear();
    pushed.map_err(unavailable)?;
    Ok(descriptor)
}

fn describe(media_type: &str, bytes: &[u8]) -> Descriptor {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Descriptor { media_type: media_type.to_owned(), digest: digest_of(Algorithm::Sha256, bytes), size }
}

/// Pushes a manifest, by its digest where it has no tag, and describes it.
async fn put(
    pusher: &Pusher,
    tag: Option<&str>,
    media_type: &'static str,
    content: &Value,
) -> Result<Descriptor, Stop> {
    let bytes = content.to_string().into_bytes();
    let descriptor = describe(media_type, &bytes);
    pusher.manifest(tag.unwrap_or(descriptor.digest.as_str()), media_type, bytes).await.map_err(unavailable)?;
    Ok(descriptor)
}

fn read(files: &[PathBuf]) -> Result<Vec<Program>, Stop> {
    let mut programs: Vec<Program> = Vec::new();
    for file in files {
        let wrong = |cause: String| Stop(Exit::Misconfigured, format!("{}: {cause}", file.display()));
        let bytes = bounded(file).map_err(wrong)?;
        let platform = platform_of(&bytes).map_err(wrong)?;
        if files.len() > 1 && platform.is_none() {
            return Err(wrong("it is a script, which is for every platform: push it alone".to_owned()));
        }
        if programs.iter().any(|other| other.platform == platform) {
            let platform = platform.map(|platform| platform.to_string()).unwrap_or_default();
            return Err(wrong(format!("another one is for {platform} too")));
        }
        programs.push(Program { bytes, platform });
    }
    Ok(programs)
}

fn bounded(file: &Path) -> Result<Bytes, String> {
    let mut bytes = Vec::new();
    let most = limits::PLUGIN_FILE_BYTES;
    let read = File::open(file).and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).map_or(true, |length| length > most) {
        return Err(format!("more than the limit of {most} bytes"));
    }
    Ok(bytes.into())
}

/// What is said of it, and when it was made: SOURCE_DATE_EPOCH, where it is set, so that a build can be repeated
/// (reproducible-builds.org, "SOURCE_DATE_EPOCH").
fn annotations(given: &[String]) -> Result<BTreeMap<String, String>, Stop> {
    let epoch = assemble::environment("SOURCE_DATE_EPOCH").and_then(|seconds| seconds.parse().ok());
    let epoch = epoch.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    let created = humantime::format_rfc3339_seconds(epoch.unwrap_or_else(SystemTime::now)).to_string();
    let mut annotations = BTreeMap::from([(CREATED.to_owned(), created)]);
    for given in given {
        let Some((key, value)) = given.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Stop(Exit::Misconfigured, format!("{given:?} is no annotation: KEY=VALUE")));
        };
        annotations.insert(key.to_owned(), value.to_owned());
    }
    Ok(annotations)
}

/// Says in an image's configuration for which platform it is, as oras does with `--artifact-platform`.
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
