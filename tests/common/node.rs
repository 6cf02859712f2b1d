//! A node as operators have it: the real daemon with a configuration, the real shim, and a real containerd that
//! runs the shim for every pull.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::containerd::{Containerd, Options, Pull};
use super::registries::Image;
use super::tools::{Service, until};

/// The name of the shim in containerd's folder of verifiers.
pub const LINK: &str = "10-ratifyd";

/// The shim: the one that `RATIFYD_SHIM` names, which is the static build that is installed, else cargo's.
pub fn shim() -> PathBuf {
    std::env::var_os("RATIFYD_SHIM").map_or_else(|| env!("CARGO_BIN_EXE_ratify-image-verifier").into(), PathBuf::from)
}

/// A daemon and its files. It may be down.
pub struct Daemon {
    folder: TempDir,
    service: Option<Service>,
}

impl Daemon {
    /// Starts one with this configuration.
    pub fn start(config: &str) -> Self {
        let mut daemon = Self::down(config);
        daemon.restart();
        daemon
    }

    /// One that has not been started.
    pub fn down(config: &str) -> Self {
        let daemon = Self { folder: tempfile::tempdir().unwrap(), service: None };
        daemon.configure(config);
        daemon
    }

    /// Replaces its configuration, in one step.
    pub fn configure(&self, config: &str) {
        let new = self.folder.path().join("config.new");
        fs::write(&new, config).unwrap();
        fs::rename(new, self.config()).unwrap();
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("ratifyd.sock")
    }

    /// Starts it, anew if it runs, and waits until it answers.
    pub fn restart(&mut self) {
        self.service = None;
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratifyd"));
        command.arg("--config").arg(self.config()).arg("--socket").arg(self.socket()).env_remove("RUST_LOG");
        let service = Service::start(&command, &self.folder.path().join("log"));
        until("the daemon", || {
            assert!(!service.has_ended(), "the daemon has ended:\n{}", service.log());
            UnixStream::connect(self.socket()).is_ok()
        });
        self.service = Some(service);
    }

    /// Kills it, with no chance to say anything.
    pub fn kill(&mut self) {
        let service = self.service.take().unwrap();
        service.signal(Signal::KILL);
        until("the end of the daemon", || service.has_ended());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.service.as_ref().unwrap().signal(signal);
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.service.as_ref().unwrap().has_ended()
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The log lines of verdicts.
    pub fn verdicts(&self) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(" verdict ")).map(str::to_owned).collect()
    }
}

/// A daemon, a shim and a containerd.
pub struct Node {
    /// Who pulls.
    pub containerd: Containerd,
    /// Who decides.
    pub daemon: Daemon,
}

impl Node {
    /// A node whose daemon has this configuration.
    pub fn start(config: &str) -> Self {
        Self::over(Daemon::start(config), LINK, &[])
    }

    /// A node over a daemon, with the shim under this name and with more in its environment.
    pub fn over(daemon: Daemon, link: &str, environment: &[(&str, &str)]) -> Self {
        Self::with(daemon, link, environment, Duration::from_secs(10), None)
    }

    /// A node whose containerd has CRI too.
    pub fn with_cri(config: &str, sandbox: &Image) -> Self {
        Self::with(Daemon::start(config), LINK, &[], Duration::from_secs(10), Some(&sandbox.by_tag()))
    }

    /// A node for so many pulls at once that the machine is the bottleneck: nobody's time runs out.
    pub fn patient(config: &str) -> Self {
        Self::with(Daemon::start(config), LINK, &[("RATIFYD_TIMEOUT", "25s")], Duration::from_secs(30), None)
    }

    fn with(
        daemon: Daemon,
        link: &str,
        environment: &[(&str, &str)],
        timeout: Duration,
        sandbox: Option<&str>,
    ) -> Self {
        let socket = daemon.socket();
        let mut all = vec![("RATIFYD_SOCKET", socket.to_str().unwrap())];
        all.extend_from_slice(environment);
        let options = Options { verifier: &shim(), link, timeout, environment: &all, sandbox };
        Self { containerd: Containerd::start(&options), daemon }
    }

    /// Pulls by tag.
    pub fn pull(&self, image: &Image) -> Pull {
        self.containerd.pull(&image.by_tag())
    }

    /// Pulls by tag, which must be allowed with this token.
    #[track_caller]
    pub fn allows(&self, image: &Image, token: &str) -> String {
        self.allows_as(image, &image.by_tag(), token)
    }

    /// Pulls by this name, which must be allowed with this token; returns the reason.
    #[track_caller]
    pub fn allows_as(&self, image: &Image, reference: &str, token: &str) -> String {
        let pull = self.containerd.pull(reference);
        assert!(pull.allowed(), "{}\n{}", pull.ran.stderr, self.daemon.log());
        let reason = self.containerd.last_allow(reference);
        assert!(reason.starts_with(&format!("{token} ")), "{reason}");
        let stored = self.containerd.content();
        assert!(image.content.iter().all(|digest| stored.contains(digest)), "{image:?} is not whole in {stored:#?}");
        reason
    }

    /// Pulls by tag, which must be refused with this token and this in its cause, and leave nothing behind.
    #[track_caller]
    pub fn refuses(&self, image: &Image, token: &str, cause: &str) -> String {
        self.refuses_as(image, &image.by_tag(), token, cause)
    }

    /// Pulls by this name, which must be refused likewise; returns the reason.
    #[track_caller]
    pub fn refuses_as(&self, image: &Image, reference: &str, token: &str, cause: &str) -> String {
        let pull = self.containerd.pull(reference);
        assert!(!pull.allowed(), "{reference} was allowed\n{}", self.daemon.log());
        let reason = pull.refusal();
        assert!(reason.starts_with(&format!("{token} ")) && reason.contains(cause), "{reason}\n{}", self.daemon.log());
        self.holds_nothing_of(image);
        reason.to_owned()
    }

    /// Nothing of an image is stored.
    #[track_caller]
    pub fn holds_nothing_of(&self, image: &Image) {
        let (stored, images) = (self.containerd.content(), self.containerd.images());
        let left: Vec<_> = image.content.iter().filter(|digest| stored.contains(digest)).collect();
        assert!(left.is_empty(), "{left:?} of {image:?} is stored");
        let of_it = |name: &String| {
            name.starts_with(&image.repository) && name[image.repository.len()..].starts_with([':', '@'])
        };
        assert!(!images.iter().any(of_it), "{images:?}");
    }
}

/// An executor for scopes, as they stand in an array, with more keys, and one verifier that trusts an authority and
/// one identity.
pub fn executor(scopes: &str, keys: &str, certificate: &Path) -> String {
    format!(
        r#"[[executors]]
scopes = [{scopes}]
{keys}
[[executors.verifiers]]
name = "release"
type = "notation"
parameters.certificates = [{{ type = "ca", files = ["{}"] }}]
parameters.trustedIdentities = ["x509.subject: C=US, ST=WA, O=ratifyd test"]
"#,
        certificate.display()
    )
}
