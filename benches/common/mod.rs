//! What the benches share: a workplace on loopback with a real registry, images signed by the real notation with a
//! certificate that openssl's responder is asked about, daemons that trust it by notation's own trust policy and trust
//! store, and questions to these. Declare it as `pub mod common;`: what one bench has no use for is then no dead code.
//! All ends with the bench.

pub mod asking;
pub mod front;
#[path = "../../tests/common/notation.rs"]
pub mod notation;
#[path = "../../tests/common/revocation.rs"]
pub mod revocation;
#[path = "../../tests/common/tools.rs"]
pub mod tools;
#[path = "../../tests/common/tsa.rs"]
pub mod tsa;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ratify::artifact::{Algorithm, EMPTY_CONFIG, IMAGE_MANIFEST};
use ratify::store::digest_of;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use revocation::{Files, Issuer, Revocable};
use tools::Service;

/// Signatures made at once while a bench is prepared.
const SIGNERS: usize = 4;

/// Open files of the daemon at its start, as a login shell or a service without `LimitNOFILE=` gives.
const DAEMON_FILES: u32 = 1024;

/// What artifacts without a signature are: what a build and a nightly scan attach.
const OTHER_TYPES: [&str; 4] = [
    "application/spdx+json",
    "application/vnd.cyclonedx+json",
    "application/vnd.in-toto+json",
    "application/sarif+json",
];

/// A process that ends with the bench.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The programs named by `TOOLS`, `SHIM` and `BIN`, a folder, and a registry.
pub struct Bench {
    tools: PathBuf,
    shim: PathBuf,
    bin: PathBuf,
    work: tempfile::TempDir,
    /// Host and port.
    pub registry: String,
    _registry: Ended,
    issuer: Issuer,
    /// Who signs all images.
    signer: Revocable,
    /// Who is asked about the signer's certificate.
    responder: Option<Service>,
}

/// An image and what containerd would know of it.
#[derive(Clone, Debug)]
pub struct Image {
    /// Host and repository.
    pub name: String,
    pub digest: String,
    pub size: usize,
}

impl Image {
    /// The same image, as another host has it.
    pub fn at(&self, host: &str) -> Self {
        Self { name: format!("{host}/{}", self.repository()), ..self.clone() }
    }

    /// Its repository without the host.
    pub fn repository(&self) -> &str {
        self.name.split_once('/').unwrap().1
    }
}

impl Bench {
    /// A workplace with an empty registry, and a signer whom notation trusts there.
    pub fn start() -> Self {
        let variable = |name: &str| {
            PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run make bench")))
        };
        let (tools, shim, bin) = (variable("TOOLS"), variable("SHIM"), variable("BIN"));
        // Each shim of a crowd holds a few pipes.
        let files = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
        let (serving, registry) = registry(&tools);
        let (issuer, files) = (Issuer::create(), Files::serve());
        // As most public authorities do, it names a responder, and a list for whoever does not reach that.
        let (ocsp, crl) = (issuer.responder_url(), files.put("ca.crl", issuer.list()));
        let signer = issuer.signer(&format!("authorityInfoAccess=OCSP;URI:{ocsp}\ncrlDistributionPoints=URI:{crl}"));
        let work = tempfile::tempdir().unwrap();
        let responder = Some(issuer.responder());
        let bench = Self { tools, shim, bin, work, registry, _registry: serving, issuer, signer, responder };
        bench.trust(&bench.issuer.certificate());
        bench
    }

    /// Takes the signer's certificate back: who asks about it refuses from now on.
    pub fn revoke(&mut self) {
        self.issuer.revoke(&self.signer, "keyCompromise");
        // It reads what was taken back when it starts, and the port is one.
        self.responder = None;
        self.responder = Some(self.issuer.responder());
    }

    /// Has notation trust a root, by a trust policy and a trust store, which the daemons read as they stand.
    fn trust(&self, root: &Path) {
        run(self.tool("notation").args(["cert", "add", "--type", "ca", "--store", "bench"]).arg(root));
        let policy = self.work.path().join("policy.json");
        let text = r#"{"version":"1.0","trustPolicies":[{"name":"bench","registryScopes":["*"],
            "signatureVerification":{"level":"strict"},"trustStores":["ca:bench"],
            "trustedIdentities":["x509.subject: C=US, ST=WA, O=ratifyd test"]}]}"#;
        fs::write(&policy, text).unwrap();
        run(self.tool("notation").args(["policy", "import", "--force"]).arg(&policy));
    }

    /// One of the tools, with a home of its own.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.tools.join(name));
        let folder = self.work.path();
        command
            .env("HOME", folder)
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .env("XDG_CACHE_HOME", folder.join("cache"));
        command
    }

    /// Images `from` and those after it, of a manifest alone, each signed.
    pub fn images(&self, from: usize, count: usize) -> Vec<Image> {
        let images: Vec<Image> = (from..from + count).map(|number| self.push(number)).collect();
        thread::scope(|threads| {
            for share in images.chunks(count.div_ceil(SIGNERS)) {
                threads.spawn(|| share.iter().for_each(|image| self.sign(image)));
            }
        });
        images
    }

    /// Pushes an image. Nobody asks for what its manifest names, so nothing of that is there.
    pub fn push(&self, number: usize) -> Image {
        self.push_to(&format!("bench/image{number}"), number)
    }

    /// The same to a repository.
    pub fn push_to(&self, repository: &str, number: usize) -> Image {
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{IMAGE_MANIFEST}","config":{blob},"layers":[{blob}],"annotations":{{"image":"{number}"}}}}"#,
            blob = empty_blob()
        );
        let digest = self.put(repository, &manifest);
        Image { name: format!("{}/{repository}", self.registry), digest, size: manifest.len() }
    }

    /// Attaches so many artifacts that are no signatures.
    pub fn attach(&self, image: &Image, count: usize) {
        for (number, kind) in (0..count).zip(OTHER_TYPES.iter().cycle()) {
            let manifest = format!(
                r#"{{"schemaVersion":2,"mediaType":"{IMAGE_MANIFEST}","artifactType":"{kind}","config":{blob},"layers":[{blob}],"subject":{{"mediaType":"{IMAGE_MANIFEST}","digest":"{}","size":{}}},"annotations":{{"artifact":"{number}"}}}}"#,
                image.digest,
                image.size,
                blob = empty_blob()
            );
            self.put(image.repository(), &manifest);
        }
    }

    /// Attaches an artifact of one blob, of the blob's own type.
    pub fn refer(&self, image: &Image, kind: &str, blob: &str, annotations: &serde_json::Value) {
        let digest = digest_of(Algorithm::Sha256, blob.as_bytes()).to_string();
        let path = format!("/v2/{}/blobs/uploads/?digest={digest}", image.repository());
        self.send("POST", &path, "application/octet-stream", blob);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{IMAGE_MANIFEST}","artifactType":"{kind}","config":{config},"layers":[{{"mediaType":"{kind}","digest":"{digest}","size":{}}}],"subject":{{"mediaType":"{IMAGE_MANIFEST}","digest":"{}","size":{}}},"annotations":{annotations}}}"#,
            blob.len(),
            image.digest,
            image.size,
            config = empty_blob()
        );
        self.put(image.repository(), &manifest);
    }

    /// Pushes a manifest, and says its digest.
    fn put(&self, repository: &str, manifest: &str) -> String {
        let digest = digest_of(Algorithm::Sha256, manifest.as_bytes()).to_string();
        self.send("PUT", &format!("/v2/{repository}/manifests/{digest}"), IMAGE_MANIFEST, manifest);
        digest
    }

    /// Has the registry take something, over HTTP.
    fn send(&self, method: &str, path: &str, kind: &str, body: &str) {
        let mut stream = TcpStream::connect(&self.registry).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.registry,
            body.len()
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }

    fn sign(&self, image: &Image) {
        self.signer.signer.sign(&format!("{}@{}", image.name, image.digest));
    }

    /// The daemon's configuration: all images must be signed, by notation's trust policy. Written well before a daemon reads it: one that was
    /// written just now would be read again for each pull.
    pub fn configure(&self, more: &str) {
        let folder = self.work.path().join("config/notation");
        let executor = format!(
            "[[executors]]\nscopes = [\"*\"]\n[[executors.verifiers]]\nname = \"bench\"\ntype = \"notation\"\n\
             parameters.notationConfig = {folder:?}\n"
        );
        self.configure_as(&executor, more);
    }

    /// The same with other executors.
    pub fn configure_as(&self, executors: &str, more: &str) {
        let text = format!("{executors}[access]\nuids = [{}]\n{more}", rustix::process::geteuid().as_raw());
        fs::write(self.work.path().join("config.toml"), text).unwrap();
    }

    /// A daemon that remembers nothing yet, and listens.
    pub fn daemon(&self) -> Ended {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!(r#"ulimit -S -n {DAEMON_FILES} && exec "$0" "$@""#))
            .arg(self.bin.join("ratifyd"));
        command.arg("--config").arg(self.work.path().join("config.toml")).arg("--socket").arg(self.socket());
        let daemon = Ended(command.stderr(File::create(self.log()).unwrap()).spawn().unwrap());
        let start = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "the daemon does not listen");
            thread::yield_now();
        }
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        self.work.path().join("ratifyd.sock")
    }

    pub fn log(&self) -> PathBuf {
        self.work.path().join("ratifyd.log")
    }

    /// Calls the shim as containerd does.
    ///
    /// # Errors
    /// The reason line of an answer that does not allow.
    pub fn ask(&self, image: &Image) -> Result<(), String> {
        let mut child = Command::new(&self.shim)
            .args(["-name", &image.name, "-digest", &image.digest])
            .args(["-stdin-media-type", "application/vnd.oci.descriptor.v1+json"])
            .env("RATIFYD_SOCKET", self.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let descriptor =
            format!(r#"{{"mediaType":"{IMAGE_MANIFEST}","digest":"{}","size":{}}}"#, image.digest, image.size);
        child.stdin.take().unwrap().write_all(descriptor.as_bytes()).unwrap();
        let answer = child.wait_with_output().unwrap();
        if answer.status.success() { Ok(()) } else { Err(String::from_utf8(answer.stdout).unwrap()) }
    }
}

/// A reason without what is of this image alone.
pub fn without_image(reason: &str, image: &Image) -> String {
    let name = image.name.rsplit('/').next().unwrap();
    let reason = reason.replace(&format!("/{name}"), "/...");
    let mut parts = reason.split("sha256:");
    let head = parts.next().unwrap().to_owned();
    let without_digits = |part: &str| format!("sha256:...{}", part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    let reason = head + &parts.map(without_digits).collect::<String>();
    reason.split(" [").next().unwrap().trim().to_owned()
}

fn empty_blob() -> String {
    let empty = digest_of(Algorithm::Sha256, b"{}");
    format!(r#"{{"mediaType":"{EMPTY_CONFIG}","digest":"{empty}","size":2}}"#)
}

fn registry(tools: &Path) -> (Ended, String) {
    let mut command = Command::new(tools.join("referrers-registry"));
    let mut child =
        command.args(["-listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    (Ended(child), address)
}

/// Runs a program that must succeed.
pub fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// Runs a program; what it prints, or what it complains about.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// How long something takes.
pub fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The smallest of these times that so many percent of them do not exceed.
pub fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[(times.len() * percent).div_ceil(100) - 1]
}

/// What a process holds in memory now.
pub const RESIDENT: &str = "VmRSS:";

/// The most that it ever held.
pub const PEAK: &str = "VmHWM:";

/// A line of a process's status, in MiB.
pub fn memory(process: &Child, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes / 1024.0
}
