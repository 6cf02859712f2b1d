//! `make bench`: what a pull costs, against /bin/true and `notation verify`, in one interleaved run.
//!
//! Absolute times move with the machine; the ratios are the claim. Runs the release binaries named by `BIN` and
//! `SHIM` and the tools in `TOOLS`, all on loopback; ends by itself.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Images that are verified for the first time; each counts once for each side.
const FIRST: usize = 40;

/// Rounds of the remembered verdict and of /bin/true.
const ROUNDS: usize = 400;

/// A process that ends with the bench.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Bench {
    tools: PathBuf,
    shim: PathBuf,
    work: tempfile::TempDir,
    registry: String,
    _registry: Ended,
}

fn main() {
    let variable = |name: &str| {
        PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run make bench")))
    };
    let (tools, shim, bin) = (variable("TOOLS"), variable("SHIM"), variable("BIN"));
    let (serving, registry) = registry(&tools);
    let bench = Bench { tools, shim, work: tempfile::tempdir().unwrap(), registry, _registry: serving };

    let images: Vec<Image> = bench.images(FIRST + 1);
    bench.trust_policy();
    let daemon = bench.daemon(&bin);
    let idle = resident(&daemon.0);
    let remembered = &images[FIRST];
    bench.ask(remembered);

    let [mut first, mut notation, mut again, mut floor] = [const { Vec::new() }; 4];
    for image in &images[..FIRST] {
        first.push(time(|| bench.ask(image)));
        notation.push(time(|| bench.notation_verify(image)));
        for _ in 0..ROUNDS / FIRST {
            again.push(time(|| bench.ask(remembered)));
            floor.push(time(|| run(&mut Command::new("/bin/true"))));
        }
    }
    let busy = resident(&daemon.0);

    let [first, notation, again, floor] = [first, notation, again, floor].map(median);
    println!("| what | median | compared with | ratio | goal |");
    println!("|---|---|---|---|---|");
    row("shim, remembered verdict", again, "/bin/true", floor, "2.0");
    row("first verification, a new digest each time", first, "notation verify", notation, "0.5");
    println!("| daemon, resident, idle | {:.1} MiB | | | 20 MiB |", mebibytes(idle));
    println!("| daemon, resident, after {FIRST} verifications | {:.1} MiB | | | |", mebibytes(busy));
}

fn row(what: &str, median: Duration, against: &str, other: Duration, goal: &str) {
    let ratio = median.as_secs_f64() / other.as_secs_f64();
    println!("| {what} | {median:.2?} | {against} {other:.2?} | {ratio:.2} | at most {goal} |");
}

/// A signed image and what containerd would know of it.
struct Image {
    name: String,
    digest: String,
    size: usize,
}

impl Bench {
    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.tools.join(name));
        let folder = self.work.path();
        command
            .env("HOME", folder)
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .env("XDG_CACHE_HOME", folder.join("cache"));
        command
    }

    /// Small images, each signed by one test certificate.
    fn images(&self, count: usize) -> Vec<Image> {
        run(self.tool("notation").args(["cert", "generate-test", "--default", "bench"]));
        let image = |index: usize| {
            let name = format!("{}/bench/image{index}", self.registry);
            let layer = self.work.path().join("layer");
            fs::write(&layer, format!("image {index}")).unwrap();
            let archive = self.work.path().join("layer.tar");
            run(Command::new("tar").arg("-C").arg(self.work.path()).arg("-cf").arg(&archive).arg("layer"));
            run(self.tool("crane").args(["append", "--oci-empty-base", "-t", &name, "-f"]).arg(&archive));
            let digest = output(self.tool("crane").args(["digest", &name])).trim().to_owned();
            let size = output(self.tool("crane").args(["manifest", &name])).len();
            let reference = format!("{name}@{digest}");
            run(self.tool("notation").args(["sign", "--insecure-registry", "--force-referrers-tag=false", &reference]));
            Image { name, digest, size }
        };
        (0..count).map(image).collect()
    }

    /// The same trust for notation as the daemon's configuration gives.
    fn trust_policy(&self) {
        let policy = self.work.path().join("policy.json");
        let text = r#"{"version":"1.0","trustPolicies":[{"name":"bench","registryScopes":["*"],
            "signatureVerification":{"level":"strict"},"trustStores":["ca:bench"],"trustedIdentities":["*"]}]}"#;
        fs::write(&policy, text).unwrap();
        run(self.tool("notation").args(["policy", "import", "--force"]).arg(&policy));
    }

    fn daemon(&self, bin: &Path) -> Ended {
        let certificate = self.work.path().join("config/notation/truststore/x509/ca/bench/bench.crt");
        let text = format!(
            "[[executors]]\nscopes = [{:?}]\n[[executors.verifiers]]\nname = \"bench\"\ntype = \"notation\"\n\
             parameters.certificates = [{{ files = [{certificate:?}] }}]\n[access]\nuids = [{}]\n",
            self.registry,
            output(Command::new("id").arg("-u")).trim()
        );
        let config = self.work.path().join("config.toml");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(bin.join("ratifyd"));
        command.arg("--config").arg(&config).arg("--socket").arg(self.socket()).stderr(Stdio::null());
        let daemon = Ended(command.spawn().unwrap());
        let start = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "the daemon does not listen");
            std::thread::yield_now();
        }
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.work.path().join("ratifyd.sock")
    }

    /// Calls the shim as containerd does.
    fn ask(&self, image: &Image) {
        let mut child = Command::new(&self.shim)
            .args(["-name", &image.name, "-digest", &image.digest])
            .args(["-stdin-media-type", "application/vnd.oci.descriptor.v1+json"])
            .env("RATIFYD_SOCKET", self.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let descriptor = format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, image.digest, image.size);
        child.stdin.take().unwrap().write_all(descriptor.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{} is not allowed", image.name);
    }

    fn notation_verify(&self, image: &Image) {
        run(self.tool("notation").args(["verify", "--insecure-registry", &format!("{}@{}", image.name, image.digest)]));
    }
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

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn output(command: &mut Command) -> String {
    let output = command.stderr(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Resident memory of a process, in bytes.
fn resident(process: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes * 1024
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
