//! `make bench`: what a pull costs, against /bin/true and `notation verify`, in one interleaved run; then what very
//! many pulls at once cost, in time and in the daemon's memory.
//!
//! Absolute times move with the machine; the ratios are the claim. Runs the release binaries named by `BIN` and
//! `SHIM` and the tools in `TOOLS`, all on loopback, registry included; ends by itself.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use ratify::artifact::{Algorithm, EMPTY_CONFIG, IMAGE_MANIFEST};
use ratify::limits;
use ratify::store::digest_of;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

/// Images that are verified for the first time, one after the other; each counts once for each side.
const FIRST: usize = 200;

/// Rounds of the remembered verdict and of /bin/true, for each of these images.
const ROUNDS: usize = 5;

/// Images that are verified for the first time, all at once: more pulls than a node ever has under way. For root, as
/// containerd is.
const CROWD: usize = 1000;

/// Of these, how many notation verifies at once: 1000 of it take more memory than most machines have.
const NOTATION_CROWD: usize = 100;

/// Signatures made at once while the bench is prepared.
const SIGNERS: usize = 4;

/// Open files of the daemon at its start, as a login shell or a service without `LimitNOFILE=` gives.
const DAEMON_FILES: u32 = 1024;

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
    bin: PathBuf,
    work: tempfile::TempDir,
    registry: String,
    _registry: Ended,
}

fn main() {
    let variable = |name: &str| {
        PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run make bench")))
    };
    let (tools, shim, bin) = (variable("TOOLS"), variable("SHIM"), variable("BIN"));
    // Each shim of a crowd holds a few pipes.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    let (serving, registry) = registry(&tools);
    let bench = Bench { tools, shim, bin, work: tempfile::tempdir().unwrap(), registry, _registry: serving };

    let preparing = Instant::now();
    bench.configure();
    // Others than root may not ask so much at once.
    let crowd = if geteuid().is_root() { CROWD } else { limits::CALLS_PER_USER };
    let images = bench.images(FIRST + 1 + crowd);
    bench.trust_policy();
    println!("{} signed images made in {:.1?}\n", images.len(), preparing.elapsed());
    let (one_by_one, crowd) = images.split_at(FIRST + 1);
    bench.one_by_one(one_by_one);
    bench.at_once(crowd);
}

/// A signed image and what containerd would know of it.
struct Image {
    name: String,
    digest: String,
    size: usize,
}

impl Bench {
    /// One pull after the other, each beside what it is compared with.
    fn one_by_one(&self, images: &[Image]) {
        let daemon = self.daemon();
        let idle = memory(&daemon.0, RESIDENT);
        let (remembered, images) = images.split_first().unwrap();
        self.allow(remembered);
        let [mut first, mut notation, mut again, mut floor] = [const { Vec::new() }; 4];
        for image in images {
            first.push(time(|| self.allow(image)));
            notation.push(time(|| self.notation_verify(image).unwrap()));
            for _ in 0..ROUNDS {
                again.push(time(|| self.allow(remembered)));
                floor.push(time(|| run(&mut Command::new("/bin/true"))));
            }
        }
        let busy = memory(&daemon.0, RESIDENT);

        println!("| one after the other | median | p99 | compared with | median | p99 | ratio of medians | goal |");
        println!("|---|---|---|---|---|---|---|---|");
        row("shim, remembered verdict", again, "/bin/true", floor, "2.0");
        row("first verification, a new digest each time", first, "notation verify", notation, "0.5");
        println!("\n| daemon, resident | | goal |\n|---|---|---|");
        println!("| idle | {idle:.1} MiB | at most 20 MiB |");
        println!("| after {} verifications | {busy:.1} MiB | |\n", images.len());
    }

    /// All pulls at once, by a daemon of their own. Then fewer, by a new one that remembers nothing, and as many by
    /// notation.
    fn at_once(&self, images: &[Image]) {
        let daemon = self.daemon();
        let idle = memory(&daemon.0, RESIDENT);
        let shims = Crowd::run(images, |image| self.ask(image));
        let [peak, after] = [PEAK, RESIDENT].map(|line| memory(&daemon.0, line));
        let log = fs::read_to_string(self.log()).unwrap();
        drop(daemon);
        let (daemon, few) = (self.daemon(), &images[..NOTATION_CROWD.min(images.len())]);
        let few_shims = Crowd::run(few, |image| self.ask(image));
        drop(daemon);
        let notations = Crowd::run(few, |image| self.notation_verify(image));

        println!("| at once, one kind after the other | allowed | median | p99 | all | all / count |");
        println!("|---|---|---|---|---|---|");
        shims.row("first verification by the shim");
        few_shims.row("first verification by the shim");
        notations.row("notation verify");
        println!("\n| daemon, {} first verifications at once | |\n|---|---|", images.len());
        println!("| resident, before | {idle:.1} MiB |");
        println!("| resident, peak | {peak:.1} MiB |");
        println!("| resident, afterwards | {after:.1} MiB |");
        for (reason, count) in &shims.refusals {
            println!("\n{count} refused: {reason}");
        }
        log.lines().filter(|line| line.contains("ERROR")).take(5).for_each(|line| println!("{line}"));
        assert!(shims.refusals.is_empty() && few_shims.refusals.is_empty(), "not all were allowed");
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.tools.join(name));
        let folder = self.work.path();
        command
            .env("HOME", folder)
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .env("XDG_CACHE_HOME", folder.join("cache"));
        command
    }

    /// Images of a manifest alone, each signed by one test certificate.
    fn images(&self, count: usize) -> Vec<Image> {
        run(self.tool("notation").args(["cert", "generate-test", "--default", "bench"]));
        let images: Vec<Image> = (0..count).map(|number| self.push(number)).collect();
        thread::scope(|threads| {
            for share in images.chunks(count.div_ceil(SIGNERS)) {
                threads.spawn(|| share.iter().for_each(|image| self.sign(image)));
            }
        });
        images
    }

    /// Pushes a manifest over HTTP. Nobody asks for what it names, so nothing of that is there.
    fn push(&self, number: usize) -> Image {
        let empty = digest_of(Algorithm::Sha256, b"{}");
        let blob = format!(r#"{{"mediaType":"{EMPTY_CONFIG}","digest":"{empty}","size":2}}"#);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{IMAGE_MANIFEST}","config":{blob},"layers":[{blob}],"annotations":{{"image":"{number}"}}}}"#
        );
        let digest = digest_of(Algorithm::Sha256, manifest.as_bytes()).to_string();
        let mut stream = TcpStream::connect(&self.registry).unwrap();
        let head = format!(
            "PUT /v2/bench/image{number}/manifests/{digest} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {IMAGE_MANIFEST}\r\nContent-Length: {}\r\n\r\n",
            self.registry,
            manifest.len()
        );
        stream.write_all((head + &manifest).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        Image { name: format!("{}/bench/image{number}", self.registry), digest, size: manifest.len() }
    }

    fn sign(&self, image: &Image) {
        let reference = format!("{}@{}", image.name, image.digest);
        run(self.tool("notation").args(["sign", "--insecure-registry", "--force-referrers-tag=false", &reference]));
    }

    /// The same trust for notation as the daemon's configuration gives.
    fn trust_policy(&self) {
        let policy = self.work.path().join("policy.json");
        let text = r#"{"version":"1.0","trustPolicies":[{"name":"bench","registryScopes":["*"],
            "signatureVerification":{"level":"strict"},"trustStores":["ca:bench"],"trustedIdentities":["*"]}]}"#;
        fs::write(&policy, text).unwrap();
        run(self.tool("notation").args(["policy", "import", "--force"]).arg(&policy));
    }

    /// Written well before a daemon reads it: one that was written just now would be read again for each pull.
    fn configure(&self) {
        let certificate = self.work.path().join("config/notation/truststore/x509/ca/bench/bench.crt");
        let text = format!(
            "[[executors]]\nscopes = [{:?}]\n[[executors.verifiers]]\nname = \"bench\"\ntype = \"notation\"\n\
             parameters.certificates = [{{ files = [{certificate:?}] }}]\n[access]\nuids = [{}]\n",
            self.registry,
            output(Command::new("id").arg("-u")).unwrap().trim()
        );
        fs::write(self.config(), text).unwrap();
    }

    fn daemon(&self) -> Ended {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!(r#"ulimit -S -n {DAEMON_FILES} && exec "$0" "$@""#))
            .arg(self.bin.join("ratifyd"));
        command.arg("--config").arg(self.config()).arg("--socket").arg(self.socket());
        let daemon = Ended(command.stderr(File::create(self.log()).unwrap()).spawn().unwrap());
        let start = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "the daemon does not listen");
            thread::yield_now();
        }
        daemon
    }

    fn config(&self) -> PathBuf {
        self.work.path().join("config.toml")
    }

    fn socket(&self) -> PathBuf {
        self.work.path().join("ratifyd.sock")
    }

    fn log(&self) -> PathBuf {
        self.work.path().join("ratifyd.log")
    }

    /// Calls the shim as containerd does.
    ///
    /// # Errors
    /// The reason line of an answer that does not allow.
    fn ask(&self, image: &Image) -> Result<(), String> {
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

    fn allow(&self, image: &Image) {
        self.ask(image).unwrap();
    }

    fn notation_verify(&self, image: &Image) -> Result<(), String> {
        let reference = format!("{}@{}", image.name, image.digest);
        output(self.tool("notation").args(["verify", "--insecure-registry", &reference])).map(drop)
    }
}

/// What came of many at once.
struct Crowd {
    /// From the first one's start to each one's end: who waits for a processor waits.
    times: Vec<Duration>,
    /// How many were refused, by reason without what differs from one image to the next.
    refusals: BTreeMap<String, usize>,
}

impl Crowd {
    fn run(images: &[Image], ask: impl Fn(&Image) -> Result<(), String> + Sync) -> Self {
        let ready = Barrier::new(images.len());
        thread::scope(|threads| {
            let start = |image| {
                let (ready, ask) = (&ready, &ask);
                threads.spawn(move || {
                    ready.wait();
                    (Instant::now(), ask(image), Instant::now())
                })
            };
            let asking: Vec<_> = images.iter().map(start).collect();
            let runs: Vec<_> = asking.into_iter().map(|asking| asking.join().unwrap()).collect();
            let first = runs.iter().map(|(start, _, _)| *start).min().unwrap();
            let mut refusals = BTreeMap::new();
            for (image, (_, answer, _)) in images.iter().zip(&runs) {
                if let Err(reason) = answer {
                    *refusals.entry(common(reason, image)).or_default() += 1;
                }
            }
            Self { times: runs.iter().map(|(_, _, end)| *end - first).collect(), refusals }
        })
    }

    fn row(&self, what: &str) {
        let (count, refused) = (self.times.len(), self.refusals.values().sum::<usize>());
        let [median, p99, all] = [50, 99, 100].map(|percent| percentile(&self.times, percent));
        let each = all / u32::try_from(count).unwrap();
        println!("| {what}, {count} | {} | {median:.2?} | {p99:.2?} | {all:.2?} | {each:.2?} |", count - refused);
    }
}

/// A reason without what is of this image alone.
fn common(reason: &str, image: &Image) -> String {
    let name = image.name.rsplit('/').next().unwrap();
    let reason = reason.replace(&format!("/{name}"), "/...");
    let mut parts = reason.split("sha256:");
    let head = parts.next().unwrap().to_owned();
    let without_digits = |part: &str| format!("sha256:...{}", part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    let reason = head + &parts.map(without_digits).collect::<String>();
    reason.split(" [").next().unwrap().trim().to_owned()
}

fn row(what: &str, times: Vec<Duration>, against: &str, others: Vec<Duration>, goal: &str) {
    let [median, p99] = [50, 99].map(|percent| percentile(&times, percent));
    let [other, other_p99] = [50, 99].map(|percent| percentile(&others, percent));
    let ratio = median.as_secs_f64() / other.as_secs_f64();
    println!(
        "| {what} | {median:.2?} | {p99:.2?} | {against} | {other:.2?} | {other_p99:.2?} | {ratio:.2} | at most {goal} |"
    );
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

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The smallest of these times that so many percent of them do not exceed.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[(times.len() * percent).div_ceil(100) - 1]
}

/// What a process holds in memory now.
const RESIDENT: &str = "VmRSS:";

/// The most that it ever held.
const PEAK: &str = "VmHWM:";

/// A line of a process's status, in MiB.
fn memory(process: &Child, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes / 1024.0
}
