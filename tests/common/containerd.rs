//! A real containerd of a test's own: own configuration, root, state and socket in a temporary folder, and one
//! image verifier.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Pid;
use tempfile::TempDir;

use super::tools::{Ran, Service, run, tool, until};

/// A running containerd.
pub struct Containerd {
    service: Service,
    socket: PathBuf,
    folder: TempDir,
    command: Command,
}

/// What a containerd is started with.
pub struct Options<'a> {
    /// The program that verifies.
    pub verifier: &'a Path,
    /// The name of the symbolic link to it.
    pub link: &'a str,
    /// When containerd kills it.
    pub timeout: Duration,
    /// What containerd, and so the verifier, has in its environment.
    pub environment: &'a [(&'a str, &'a str)],
    /// The image of its pods' sandboxes, if it is to have CRI too.
    pub sandbox: Option<&'a str>,
}

impl Containerd {
    /// Starts one and waits until it answers.
    pub fn start(options: &Options<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("v")).unwrap();
        symlink(options.verifier, path("v").join(options.link)).unwrap();
        fs::write(path("c.toml"), config(folder.path(), options)).unwrap();
        let mut command = Command::new(tool("containerd"));
        command.arg("--config").arg(path("c.toml")).envs(options.environment.iter().copied());
        let service = Service::start(&command, &path("log"));
        let containerd = Self { service, socket: path("c.sock"), folder, command };
        containerd.wait();
        containerd
    }

    fn wait(&self) {
        until("containerd", || {
            assert!(!self.service.has_ended(), "containerd has ended:\n{}", self.service.log());
            self.socket.exists() && self.ctr(&["version"]).code == Some(0)
        });
    }

    /// Changes its configuration and starts it anew.
    pub fn reconfigure(&mut self, change: impl FnOnce(String) -> String) {
        let path = self.folder.path().join("c.toml");
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
        self.service.stop();
        self.service = Service::start(&self.command, &self.folder.path().join("log"));
        self.wait();
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("c.toml")
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The folder with its verifiers.
    pub fn verifiers(&self) -> PathBuf {
        self.folder.path().join("v")
    }

    /// Pulls an image.
    pub fn pull(&self, reference: &str) -> Pull {
        Pull { ran: self.ctr(&["image", "pull", reference]), reference: reference.to_owned() }
    }

    /// Pulls an image by way of the hosts files in a folder.
    pub fn pull_by_way_of(&self, hosts: &Path, reference: &str) -> Pull {
        let hosts = hosts.to_str().unwrap();
        Pull { ran: self.ctr(&["image", "pull", "--hosts-dir", hosts, reference]), reference: reference.to_owned() }
    }

    /// Pulls an image with a user and a password, as `user:password`.
    pub fn pull_as(&self, user: &str, reference: &str) -> Pull {
        Pull { ran: self.ctr(&["image", "pull", "--user", user, reference]), reference: reference.to_owned() }
    }

    /// The digests of all that it stores.
    pub fn content(&self) -> Vec<String> {
        self.ctr(&["content", "ls", "-q"]).success().lines().map(str::to_owned).collect()
    }

    /// The names of the images that it knows.
    pub fn images(&self) -> Vec<String> {
        self.ctr(&["image", "ls", "-q"]).success().lines().map(str::to_owned).collect()
    }

    /// The names of the images that it knows for the kubelet.
    pub fn kubelets_images(&self) -> Vec<String> {
        self.ctr(&["-n", "k8s.io", "image", "ls", "-q"]).success().lines().map(str::to_owned).collect()
    }

    /// Pulls an image for the kubelet.
    pub fn pull_for_kubelet(&self, reference: &str) {
        self.ctr(&["-n", "k8s.io", "image", "pull", reference]).success();
    }

    /// What the verifier said when it last allowed a pull of this name; containerd tells it to its log alone.
    pub fn last_allow(&self, reference: &str) -> String {
        let log = self.service.log();
        let name = format!("name=\"{reference}\"");
        let allowed = |line: &&str| line.contains("Image verifier allowed pull") && line.contains(&name);
        let line = log.lines().rfind(allowed).unwrap_or_else(|| panic!("no allow of {reference} in\n{log}"));
        let (_, reason) = line.split_once(" => ").unwrap();
        reason.rsplit_once("\" verifier=").map_or(reason, |(reason, _)| reason).replace("\\\"", "\"")
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.service.pid()
    }

    fn ctr(&self, arguments: &[&str]) -> Ran {
        run(Command::new(tool("ctr")).arg("--address").arg(&self.socket).args(arguments))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Killed, it may leave mounts behind.
        self.service.stop();
    }
}

/// One pull.
#[derive(Clone, Debug)]
pub struct Pull {
    /// What was pulled.
    pub reference: String,
    /// What ctr did.
    pub ran: Ran,
}

impl Pull {
    /// Whether containerd pulled the image.
    pub fn allowed(&self) -> bool {
        self.ran.code == Some(0)
    }

    /// The reason line with which the verifier refused.
    ///
    /// # Panics
    /// Unless the verifier did.
    pub fn refusal(&self) -> &str {
        assert_eq!(self.ran.code, Some(1), "{self:?}");
        let (_, reason) = self
            .ran
            .stderr
            .split_once("rejected image (exit code 1): ")
            .unwrap_or_else(|| panic!("not refused by the verifier: {self:?}"));
        reason.trim_end()
    }

    /// It must have been refused so.
    #[track_caller]
    pub fn refused(&self, token: &str, cause: &str) {
        let reason = self.refusal();
        assert!(reason.starts_with(&format!("{token} ")) && reason.contains(cause), "{token} {cause}: {reason}");
    }
}

fn config(folder: &Path, options: &Options<'_>) -> String {
    let folder = folder.display();
    let disabled = DISABLED.iter().chain(CRI.iter().filter(|_| options.sandbox.is_none()));
    let disabled: Vec<String> = disabled.map(|plugin| format!("\"io.containerd.{plugin}\"")).collect();
    let disabled = disabled.join(", ");
    let pinned = "[plugins.\"io.containerd.cri.v1.images\".pinned_images]\n  sandbox = ";
    let sandbox = options.sandbox.map(|image| format!("{pinned}{image:?}\n")).unwrap_or_default();
    format!(
        r#"version = 3
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [{disabled}]
[grpc]
  address = "{folder}/c.sock"
[ttrpc]
  address = "{folder}/t.sock"
[debug]
  level = "debug"
[plugins."io.containerd.image-verifier.v1.bindir"]
  bin_dir = "{folder}/v"
  max_verifiers = 1
  per_verifier_timeout = "{}ms"
{sandbox}"#,
        options.timeout.as_millis()
    )
}

/// Plugins that no pull by ctr needs, as configurations name them.
pub fn disabled() -> Vec<String> {
    DISABLED.iter().chain(&CRI).map(|plugin| format!("io.containerd.{plugin}")).collect()
}

/// Plugins that no pull needs and that touch the system outside the folder, or take time to start.
const DISABLED: [&str; 8] = [
    "nri.v1.nri",
    "internal.v1.opt",
    "differ.v1.erofs",
    "snapshotter.v1.btrfs",
    "snapshotter.v1.zfs",
    "snapshotter.v1.devmapper",
    "snapshotter.v1.blockfile",
    "snapshotter.v1.erofs",
];

/// Plugins that make up CRI.
const CRI: [&str; 5] = [
    "grpc.v1.cri",
    "cri.v1.images",
    "cri.v1.runtime",
    "podsandbox.controller.v1.podsandbox",
    "grpc.v1.sandbox-controllers",
];
