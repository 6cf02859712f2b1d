//! `ratifyctl plugin pull`: the program of a plugin, whole or not at all.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout_at;

use super::{bar, deadline, reference, unavailable};
use crate::assemble;
use crate::cli::{Exit, Stop, out};
use crate::limits;
use crate::plugin::select::{Platform, Wanted, find, platform_of};

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The plugin: `ghcr.io/acme/plugins/sbom:v1`, better by its digest
    #[arg(value_name = "REF")]
    reference: String,
    /// Where to; left out, the title of its file, here
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The title of the blob that is meant
    #[arg(long)]
    title: Option<String>,
    /// For another platform than this machine's: linux/arm64
    #[arg(long, value_name = "OS/ARCHITECTURE", value_parser = platform)]
    platform: Option<Platform>,
    /// How long it may take in all
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

pub(super) fn platform(text: &str) -> Result<Platform, String> {
    let (os, architecture) = text.split_once('/').ok_or("expected OS/ARCHITECTURE, such as linux/arm64")?;
    Ok(Platform { os: os.to_owned(), architecture: architecture.to_owned() })
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Stop> {
    let (reference, deadline) = (reference(&arguments.reference)?, deadline(arguments.timeout)?);
    let name = reference.repository.path().rsplit('/').next().unwrap_or_default().to_owned();
    let (bar, arrived) = bar("pulling");
    let store = assemble::plugin_store(None, Some(arrived)).map_err(|cause| Stop(Exit::Misconfigured, cause))?;
    let platform = arguments.platform.unwrap_or_else(Platform::own);
    let pulled = timeout_at(deadline, async {
        let artifact = store.resolve(&reference, deadline).await.map_err(unavailable)?;
        let wanted = Wanted { title: arguments.title.as_deref(), names: [&name, &name], strict: false };
        let found = find(store.as_ref(), &reference.repository, &artifact, &wanted, &platform, deadline);
        let found = found.await.map_err(unavailable)?;
        bar.set_length(found.program.size);
        let limit = limits::PLUGIN_FILE_BYTES;
        let bytes = store.blob(&reference.repository, &found.program, limit, deadline).await.map_err(unavailable)?;
        Ok((artifact, found, bytes))
    });
    let pulled = pulled.await;
    bar.finish_and_clear();
    let (artifact, found, bytes) = pulled.map_err(|_| unavailable("the time ran out; --timeout gives more"))??;
    match platform_of(&bytes).map_err(unavailable)? {
        Some(own) if own != platform => {
            return Err(unavailable(format!("it is a program for {own}, not for {platform}")));
        }
        Some(_) | None => {}
    }
    let is_told = arguments.output.is_some();
    // A title is a registry's word: only its last part names a file, and none that is hidden or is there already.
    let title = found.title.as_deref().and_then(|title| Path::new(title).file_name()?.to_str());
    let title = title.filter(|title| !title.starts_with('.')).unwrap_or(&name);
    let path = arguments.output.unwrap_or_else(|| PathBuf::from(title));
    write(&path, &bytes, is_told).map_err(|error| {
        let mend = if error.kind() == std::io::ErrorKind::AlreadyExists { "; name another one by -o" } else { "" };
        unavailable(format!("{}: {error}{mend}", path.display()))
    })?;
    out::line(format_args!(
        "{}@{}\n{} {}",
        reference.repository,
        artifact.digest,
        found.program.digest,
        path.display()
    ))?;
    Ok(Exit::Done)
}

fn write(path: &Path, bytes: &[u8], replace: bool) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(0o755))?;
    file.as_file().sync_all()?;
    if replace {
        file.persist(path)?
    } else {
        file.persist_noclobber(path)?
    };
    Ok(())
}
