//! What `doctor` goes by, gathered before anything is judged: the running containerd, its effective configuration, its
//! plugins, its verifier folder, and the other programs on this node that pull images.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::cli::doctor::folder::Folder;
use crate::containerd::process::{self, Dump, Process};
use crate::containerd::{Containerd, Plugin, SOCKET};

/// What there is on this node.
pub(super) struct Facts {
    /// The socket that was asked.
    pub(super) address: PathBuf,
    /// The containerd behind it, or why there is none.
    pub(super) running: Result<Running, String>,
    /// Its version, where it is known.
    pub(super) version: Option<Version>,
    /// The effective configuration, or why it is unknown.
    pub(super) dump: Result<Dump, String>,
    /// The verifier folder, where there is a verifier plugin.
    pub(super) folder: Option<Folder>,
    /// nerdctl's version, where it is installed.
    pub(super) nerdctl: Option<Version>,
    /// Sockets of other programs that pull by themselves: what they are called, and where they listen.
    pub(super) others: Vec<(&'static str, PathBuf)>,
    /// The process ids of other containerds.
    pub(super) siblings: Vec<u32>,
    /// Whether a person has named this containerd, and so asks of no other.
    pub(super) named: bool,
}

/// A containerd that runs.
pub(super) struct Running {
    /// Its process.
    pub(super) process: Process,
    /// A connection to it.
    pub(super) client: Containerd,
    /// Its version, as it says it.
    pub(super) version: String,
    /// Its plugins.
    pub(super) plugins: Vec<Plugin>,
    /// Configuration files that have changed since it started.
    pub(super) changed: Vec<PathBuf>,
}

/// The first two numbers of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl Version {
    /// Reads `2.1.9`, `v2.3.0-rc.1`, `2.1.9~ds1`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

impl Facts {
    /// Gathers them.
    pub(super) async fn gather(address: Option<&Path>) -> Self {
        let listening = process::listening();
        let named = address.is_some();
        let address = address.or(listening.first().map(|(socket, _)| socket.as_path())).unwrap_or(Path::new(SOCKET));
        let process = Process::behind(address).map_err(|error| format!("{}: {error}", address.display()));
        let own = process.as_ref().ok().map(|process| process.pid);
        let siblings = process::all().into_iter().filter(|pid| Some(*pid) != own).collect();
        let dump = match &process {
            Ok(process) => process.dump().await,
            // What would be in force if it ran.
            Err(_) => process::dump(Path::new("containerd"), Path::new(process::CONFIG)).await,
        };
        let running = match process {
            Ok(process) => Running::ask(address, process, dump.as_ref().ok()).await,
            Err(error) => Err(error),
        };
        let verifier = dump.as_ref().ok().and_then(|dump| dump.settings.verifier.as_ref());
        Self {
            folder: verifier.map(Folder::look),
            siblings,
            named,
            address: address.to_owned(),
            version: running.as_ref().ok().and_then(|running| Version::parse(&running.version)),
            running,
            dump,
            nerdctl: nerdctl().await,
            others: PULLERS
                .iter()
                .map(|&(name, socket)| (name, PathBuf::from(socket)))
                .filter(|(_, socket)| socket.exists())
                .collect(),
        }
    }
}

impl Running {
    async fn ask(address: &Path, process: Process, dump: Option<&Dump>) -> Result<Self, String> {
        let client = Containerd::connect(address).await.map_err(|error| error.to_string())?;
        let version = client.version().await.map_err(|error| error.to_string())?;
        let plugins = client.plugins().await.map_err(|error| error.to_string())?;
        let changed = dump.map(|dump| process.changed_since(&dump.settings)).unwrap_or_default();
        Ok(Self { process, client, version, plugins, changed })
    }

    /// Why a plugin did not come up; none if it did.
    pub(super) fn failed(&self, plugin: &str) -> Option<&str> {
        match self.plugins.iter().find(|found| found.uri == plugin) {
            None => Some("it is not loaded"),
            Some(found) => found.error.as_deref(),
        }
    }
}

/// The version of the first nerdctl that is found: in the path, which is short where a timer runs this, or where people
/// put it.
async fn nerdctl() -> Option<Version> {
    for program in ["nerdctl", "/usr/local/bin/nerdctl", "/usr/bin/nerdctl", "/opt/bin/nerdctl"] {
        let mut command = Command::new(program);
        command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let Ok(Ok(ran)) = timeout(Duration::from_secs(5), command.output()).await else { continue };
        // "nerdctl version 2.3.5"
        return Version::parse(String::from_utf8_lossy(&ran.stdout).split_whitespace().nth(2)?);
    }
    None
}

/// Programs that pull by themselves, past every verifier.
const PULLERS: [(&str, &str); 4] = [
    ("Docker Engine", "/run/docker.sock"),
    ("BuildKit", "/run/buildkit/buildkitd.sock"),
    ("CRI-O", "/run/crio/crio.sock"),
    ("Podman", "/run/podman/podman.sock"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_every_way_that_they_are_written() {
        for (text, version) in [("2.1.9", (2, 1)), ("v2.3.0-rc.1", (2, 3)), ("2.1.9~ds1", (2, 1)), ("1.7.27\n", (1, 7))]
        {
            assert_eq!(Version::parse(text), Some(Version(version.0, version.1)), "{text}");
        }
        for text in ["", "v", "2", "unknown", "x.y"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        assert!(Version(2, 10) > Version(2, 9));
    }
}
