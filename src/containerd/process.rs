//! Finds the containerd that listens on a socket: its program, its configuration, when it started. Asks it for its
//! effective configuration by running the very same program.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::process::Command;
use tokio::time::timeout;

use crate::containerd::settings::Settings;
use crate::containerd::{SOCKETS, imports};

/// A running containerd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// Its configuration file.
    pub config: PathBuf,
}

/// What `containerd config dump` says.
#[derive(Clone, Debug)]
pub struct Dump {
    /// The effective configuration.
    pub settings: Settings,
    /// Keys that containerd does not know and passes over, as `plugin: key`.
    pub unknown: Vec<String>,
}

impl Process {
    /// Finds who listens on a socket.
    ///
    /// # Errors
    /// Nobody does, this user may not connect, it is another user's, or the process cannot be looked at.
    pub fn behind(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        let peer = rustix::net::sockopt::socket_peercred(stream.as_fd())?;
        // Its program is run to ask it for its configuration: what another user started is not run as root.
        if !peer.uid.is_root() && peer.uid != rustix::process::geteuid() {
            let cause = format!("uid {} listens there, and only root's containerd is looked at", peer.uid.as_raw());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, cause));
        }
        let pid = peer.pid.as_raw_nonzero().get().unsigned_abs();
        let arguments = fs::read(format!("/proc/{pid}/cmdline"))?;
        let arguments: Vec<OsString> =
            arguments.split(|&byte| byte == 0).map(|argument| OsString::from_vec(argument.to_vec())).collect();
        let config = config_of(&arguments).unwrap_or_else(|| PathBuf::from(CONFIG));
        let config =
            if config.is_relative() { fs::read_link(format!("/proc/{pid}/cwd"))?.join(config) } else { config };
        Ok(Self { pid, config })
    }

    /// Its effective configuration, as its files are now.
    ///
    /// # Errors
    /// Why it could not be found out.
    pub async fn dump(&self) -> Result<Dump, String> {
        dump(&self.program(), &self.config).await
    }

    /// The program that runs, even where its file has been replaced since.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.pid))
    }

    /// The variable of its environment, which verifiers inherit.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).ok()?;
        let mut variables = environment.split(|&byte| byte == 0).filter_map(|variable| str::from_utf8(variable).ok());
        variables.find_map(|variable| Some(variable.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    }

    /// The configuration files that have changed since it started; it reads them at its start only.
    #[must_use]
    pub fn changed_since(&self, settings: &Settings) -> Vec<PathBuf> {
        let Some(started) = started(self.pid) else { return Vec::new() };
        let limit = started.checked_add(CLOCK).unwrap_or(started);
        // Packages and copies may set the time of modification back; that of the change cannot be (stat(2)).
        let changed = |path: &PathBuf| {
            let Ok(metadata) = fs::metadata(path) else { return false };
            let times = [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())];
            times.into_iter().filter_map(moment).any(|at| at > limit)
        };
        files(&self.config, settings).into_iter().filter(changed).collect()
    }
}

/// The containerds that listen on [`SOCKETS`], in their order. A socket that one has left behind counts for nothing.
#[must_use]
pub fn listening() -> Vec<(PathBuf, Process)> {
    let found = SOCKETS.iter().map(PathBuf::from);
    found.filter_map(|socket| Process::behind(&socket).ok().map(|process| (socket, process))).collect()
}

/// The process ids of all containerds of this node, in order; those of containers, which have files of their own, are
/// other nodes'.
#[must_use]
pub fn all() -> Vec<u32> {
    let files = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let own = files("self");
    let is_one = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "containerd")
            && files(&pid.to_string()) == own
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut pids: Vec<u32> = pids.filter(is_one).collect();
    pids.sort_unstable();
    pids
}

/// Has a containerd say its effective configuration.
///
/// # Errors
/// Why it could not be found out.
pub async fn dump(program: &Path, config: &Path) -> Result<Dump, String> {
    let (printed, warnings) = print(program, config).await?;
    Ok(Dump { settings: Settings::parse(&printed)?, unknown: warnings.lines().filter_map(unknown_key).collect() })
}

/// The same as it prints it, and what it warns of.
pub(super) async fn print(program: &Path, config: &Path) -> Result<(String, String), String> {
    let mut command = Command::new(program);
    command.arg0("containerd").arg("--config").arg(config).args(["config", "dump"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ran = timeout(TIMEOUT, command.output()).await.map_err(|_| format!("it took longer than {TIMEOUT:?}"))?;
    let ran = ran.map_err(|error| format!("{}: {error}", program.display()))?;
    let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
    if !ran.status.success() {
        let last = errors.lines().last().unwrap_or("it says nothing");
        return Err(format!("containerd config dump: {last}"));
    }
    Ok((String::from_utf8_lossy(&ran.stdout).into_owned(), errors))
}

/// The key that a warning of containerd says it passes over.
fn unknown_key(line: &str) -> Option<String> {
    let (_, fields) = line.split_once("Ignoring unknown key in TOML for plugin")?;
    let field = |name: &str| Some(fields.split_once(name)?.1.split(' ').next()?.trim_matches('"').to_owned());
    Some(format!("{}: {}", field(" plugin=")?, field(" key=")?))
}

/// The configuration file that the arguments name.
fn config_of(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        let argument = argument.to_str()?;
        // containerd takes one dash and two.
        let flag = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        match flag?.split_once('=').unwrap_or((flag?, "")) {
            ("config" | "c", "") => return arguments.next().map(PathBuf::from),
            ("config" | "c", path) => return Some(PathBuf::from(path)),
            // The flags that take a value, which is no flag then.
            ("log-level" | "l" | "log-format" | "address" | "a" | "root" | "state", "") => {
                arguments.next();
            }
            _ => {}
        }
    }
    None
}

/// The configuration file and what it imports.
fn files(config: &Path, settings: &Settings) -> Vec<PathBuf> {
    let mut files = vec![config.to_owned()];
    for pattern in &settings.imports {
        let folder = imports::resolve(config, pattern);
        let entries = folder.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        files.extend(entries.map(|entry| entry.path()).filter(|path| imports::covers(config, pattern, path)));
    }
    files
}

/// Seconds and nanoseconds since 1970.
fn moment((seconds, nanoseconds): (i64, i64)) -> Option<SystemTime> {
    let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
    UNIX_EPOCH.checked_add(since)
}

/// When a process started, by this machine's clock as it is now (proc(5), `starttime` of `/proc/PID/stat`, which counts
/// from the boot).
fn started(pid: u32) -> Option<SystemTime> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; the fields after it are counted from 3.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let since = Duration::from_millis(ticks.checked_mul(1000)?.checked_div(rustix::param::clock_ticks_per_second())?);
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let up = Duration::new(u64::try_from(boot.tv_sec).ok()?, u32::try_from(boot.tv_nsec).ok()?);
    SystemTime::now().checked_sub(up.checked_sub(since)?)
}

/// The start of a process is counted in ticks of ten milliseconds, and may seem that much earlier than it was.
const CLOCK: Duration = Duration::from_millis(20);

/// The configuration file that containerd reads unless told otherwise.
pub const CONFIG: &str = "/etc/containerd/config.toml";

/// How long `config dump` may take: it starts no plugin.
const TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Option<PathBuf> {
        config_of(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_configuration_file_is_the_one_that_the_arguments_name() {
        for arguments in [
            &["containerd", "--config", "/a"][..],
            &["containerd", "-config=/a"],
            &["containerd", "-c", "/a"],
            &["containerd", "--address", "-c", "--log-level=debug", "-c=/a"],
        ] {
            assert_eq!(config(arguments), Some(PathBuf::from("/a")), "{arguments:?}");
        }
        assert_eq!(config(&["containerd", "--address", "/b", ""]), None);
    }

    #[test]
    fn a_key_that_containerd_passes_over_is_named_with_its_plugin() {
        let line = "time=\"2026-11-21T23:21:39Z\" level=warning msg=\"Ignoring unknown key in TOML for plugin\" \
            error=\"strict mode: fields in the document are missing in the target struct\" key=bin_dirr \
            plugin=io.containerd.image-verifier.v1.bindir";
        assert_eq!(unknown_key(line).as_deref(), Some("io.containerd.image-verifier.v1.bindir: bin_dirr"));
    }

    #[test]
    fn this_process_has_started_in_the_past_and_after_boot() {
        let started = started(std::process::id()).unwrap();
        let age = SystemTime::now().duration_since(started).unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");
    }

    #[test]
    fn a_file_from_before_a_process_started_has_not_changed_since_and_one_from_after_has() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::parse("").unwrap();
        let changed = |config: PathBuf| Process { pid: std::process::id(), config }.changed_since(&settings);
        assert_eq!(changed(std::env::current_exe().unwrap()), [""; 0].map(PathBuf::from));
        let config = folder.path().join("c.toml");
        let end = std::time::Instant::now() + Duration::from_secs(5);
        // This process may have started within the last ticks.
        while changed(config.clone()).is_empty() {
            assert!(std::time::Instant::now() < end, "a file that is written now is newer than this process");
            std::fs::write(&config, "").unwrap();
        }
    }
}
