//! A node without containerd: a folder with configuration, trust and socket, a daemon, and the programs that ask it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ratify::artifact::{Descriptor, IMAGE_MANIFEST};
use rustix::process::geteuid;
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::common::registry::Registry;
use crate::programs::{CTL, Daemon, Launch, Ran, SHIM, run, run_with_stdin};

/// A signature of the notation tool, what it signs, and its certificate.
pub const SIGNATURE: &[u8] = include_bytes!("../fixtures/notation/single.jws");
const SUBJECT: &str = include_str!("../fixtures/notation/subject.json");
pub const CERTIFICATE: &str = include_str!("../fixtures/notation/single.pem");

/// The manifest that the signature speaks of (tests/fixtures/notation/make).
pub const MANIFEST: &str = concat!(
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
    r#""artifactType":"application/x.fixture","config":{"mediaType":"application/vnd.oci.empty.v1+json","#,
    r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"#,
    r#""layers":[{"mediaType":"application/vnd.oci.empty.v1+json","#,
    r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}]}"#,
);

/// Stores the signed image and its signature in a repository, as `v1`.
pub fn signed(registry: &Registry, path: &str) -> Descriptor {
    let image = registry.manifest(path, Some("v1"), IMAGE_MANIFEST, MANIFEST.as_bytes());
    assert_eq!(image, Descriptor::parse(SUBJECT.as_bytes()).unwrap());
    let layers = [("application/jose+json", SIGNATURE)];
    registry.attach(path, &image, "application/vnd.cncf.notary.signature", &layers);
    image
}

/// An executor for a scope, with more keys, whose one verifier trusts the signer of [`signed`]: `TRUST` stands for
/// the node's trust file.
pub fn executor(scope: &str, keys: &str) -> String {
    format!(
        r#"[[executors]]
scopes = ["{scope}"]
{keys}
[[executors.verifiers]]
name = "acme"
type = "notation"
parameters.certificates = [{{ files = ["TRUST"] }}]
"#
    )
}

/// Nothing is remembered but what `keys` say, so that each pull's requests can be counted.
pub fn remember(keys: &str) -> String {
    format!("[remember]\nreferrers = \"0s\"\n{keys}\n")
}

pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A node. Its daemon may be down.
pub struct Node {
    folder: TempDir,
    pub daemon: Option<Daemon>,
}

impl Node {
    /// A node whose daemon has not been started.
    pub fn down(config: &str) -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap(), daemon: None };
        chmod(node.folder.path(), 0o755);
        node.replace(&node.trust(), CERTIFICATE);
        node.configure(config);
        node
    }

    /// A node whose daemon is ready.
    pub fn start(config: &str) -> Self {
        let mut node = Self::down(config);
        node.launch(Launch::default());
        node
    }

    /// Starts its daemon and waits until it is ready.
    pub fn launch(&mut self, launch: Launch<'_>) {
        let mut daemon = self.spawn(launch);
        daemon.tells("READY=1");
        self.daemon = Some(daemon);
    }

    /// Starts a daemon over its files.
    pub fn spawn(&self, launch: Launch<'_>) -> Daemon {
        let (config, socket) = (self.config(), self.socket());
        let arguments = [Path::new("--config"), &config, Path::new("--socket"), &socket];
        Daemon::spawn(self.folder.path(), &arguments, launch)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run").join("ratifyd.sock")
    }

    pub fn trust(&self) -> PathBuf {
        self.path("trust.pem")
    }

    /// Puts the trust file as it was at first.
    pub fn mend_trust(&self) {
        self.replace(&self.trust(), CERTIFICATE);
    }

    /// Replaces the configuration. Tests that are not root's may ask all the same.
    pub fn configure(&self, text: &str) {
        let mut text = text.replace("TRUST", self.trust().to_str().unwrap());
        if !geteuid().is_root() && !text.contains("[access]") {
            text += &format!("\n[access]\nuids = [{}]\n", geteuid().as_raw());
        }
        self.replace(&self.config(), &text);
    }

    /// Puts a file in place in one step.
    pub fn replace(&self, path: &Path, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        chmod(&new, 0o644);
        fs::rename(new, path).unwrap();
    }

    /// Everything that the daemon has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// How many lines of the log have this in them.
    pub fn logged(&self, part: &str) -> usize {
        self.log().lines().filter(|line| line.contains(part)).count()
    }

    /// The shim as containerd would run it for this image, by this path.
    pub fn shim(&self, program: &Path, name: &str, image: &Descriptor) -> Command {
        let mut command = shim(program, &self.socket());
        command.args(arguments(name, image.digest.as_str()));
        command
    }

    /// Asks as containerd would.
    pub fn pull(&self, name: &str, image: &Descriptor) -> Ran {
        let mut shim = self.shim(Path::new(SHIM), name, image);
        run_with_stdin(&mut shim, &descriptor(image))
    }

    /// ratifyctl, by this path.
    pub fn ctl_command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("RATIFYD_SOCKET", self.socket()).env("RATIFYD_CONFIG", self.config());
        for variable in ["RUST_LOG", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(variable);
        }
        command
    }

    pub fn ctl(&self, arguments: &[&str]) -> Ran {
        run(&mut self.ctl_command(Path::new(CTL), arguments))
    }

    /// The JSON document of a command of ratifyctl, which must end with this code.
    #[track_caller]
    pub fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let all: Vec<_> = arguments.iter().copied().chain(["--output", "json"]).collect();
        serde_json::from_str(&self.ctl(&all).ended(code)).unwrap()
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        self.json(0, &["status"])
    }

    /// A connection of another client than ours.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("unix:{}", self.socket().display())).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// What gRPC health says of a service.
    pub async fn health(&self, service: &str) -> ServingStatus {
        let mut client = HealthClient::new(self.channel().await);
        let reply = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        reply.into_inner().status()
    }
}

/// The shim at this socket, without arguments.
pub fn shim(program: &Path, socket: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("RATIFYD_SOCKET", socket).env_remove("RATIFYD_TIMEOUT");
    command
}

/// containerd's arguments.
pub fn arguments(name: &str, digest: &str) -> [String; 6] {
    let media_type = "application/vnd.oci.descriptor.v1+json";
    ["-name", name, "-digest", digest, "-stdin-media-type", media_type].map(str::to_owned)
}

/// What containerd writes to the shim's stdin.
pub fn descriptor(image: &Descriptor) -> Vec<u8> {
    serde_json::to_vec(image).unwrap()
}
