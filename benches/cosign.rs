//! `make bench`: what verifying Cosign's bundles costs, by a key and keyless (certificate with an SCT, log entry with its
//! proof, timestamp), against `cosign verify` of the same on the same registry, in one interleaved run.
//!
//! Images are signed with the key by the real cosign; the keyless signatures are made by the generator of the crate's own
//! tests, under a Fulcio, logs and a timestamp authority of their own. cosign is given the trusted root and makes no other
//! request. Absolute times move with the machine; the ratios are the claim. All ends by itself.

pub mod common;

#[path = "../src/pki/testing/made.rs"]
pub mod certificates;
#[path = "../src/sigstore/testing.rs"]
pub mod signatures;

/// Where the generator looks for its crate.
pub mod pki {
    pub use crate::certificates as testing;
    pub use ratify::pki::*;
}
/// The same.
pub mod sigstore {
    pub use crate::signatures as testing;
    pub use ratify::sigstore::*;
}

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::tsa::{Settings, TimestampAuthority};
use common::{Bench, Image, PEAK, RESIDENT, memory, output, percentile, run, time};
use ratify::pki::anchors;
use serde_json::json;
use signatures::bundles::{ISSUER, Keyless, SIGNER, response, statement_of};

/// Images of each kind, verified one after the other, each for the first time.
const IMAGES: usize = 100;

/// The goal for each row: the daemon's part of cosign's time.
const GOAL: f64 = 0.1;

fn main() {
    let bench = Cosign::start();
    let kinds = [Kind::Key, Kind::Keyless];
    let images = kinds.map(|kind| (0..IMAGES).map(|number| bench.image(kind, number)).collect::<Vec<_>>());
    bench.configure();
    let daemon = bench.bench.daemon();
    let idle = memory(&daemon.0, RESIDENT);
    println!(
        "| {IMAGES} images, each for the first time | median | p99 | compared with | median | p99 | ratio of medians | goal |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (kind, images) in kinds.into_iter().zip(&images) {
        let [mut ours, mut theirs] = [const { Vec::new() }; 2];
        for image in images {
            ours.push(time(|| bench.bench.ask(image).unwrap()));
            theirs.push(time(|| drop(output(&mut bench.cosign_verify(kind, image)).unwrap())));
        }
        let [[median, p99], [other, other_p99]] =
            [ours, theirs].map(|times| [50, 99].map(|part| percentile(&times, part)));
        let ratio = median.as_secs_f64() / other.as_secs_f64();
        let what = kind.word();
        println!(
            "| bundle, {what} | {median:.2?} | {p99:.2?} | cosign verify | {other:.2?} | {other_p99:.2?} | {ratio:.3} | at most {GOAL} |"
        );
    }
    println!("\n| memory, peak | |\n|---|---|");
    println!("| daemon, idle | {idle:.1} MiB |");
    println!("| daemon, after {} verifications | {:.1} MiB |", 2 * IMAGES, memory(&daemon.0, PEAK));
    for (kind, images) in kinds.into_iter().zip(&images) {
        println!(
            "| cosign verify, one {} | {:.1} MiB |",
            kind.word(),
            peak(&mut bench.cosign_verify(kind, &images[0]))
        );
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Key,
    Keyless,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Key => "by key",
            Self::Keyless => "keyless",
        }
    }
}

/// The workplace, and who signs.
struct Cosign {
    bench: Bench,
    keyless: Keyless,
    folder: PathBuf,
    _authority: std::rc::Rc<TimestampAuthority>,
}

impl Cosign {
    fn start() -> Self {
        let bench = Bench::start();
        let folder = common::tools::shared_folder();
        run(cosign(&bench, &folder).args(["generate-key-pair"]));
        let authority = std::rc::Rc::new(TimestampAuthority::start(Settings::default()));
        let root = anchors(&fs::read(authority.root()).unwrap()).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let stamping = std::rc::Rc::clone(&authority);
        let keyless = Keyless::at(now).stamped(move |signature| response(&stamping.stamp(signature, "sha256")));
        let trusted_root = keyless.root().timestamp_authority(&root);
        fs::write(folder.join("trusted_root.json"), trusted_root.bytes()).unwrap();
        Self { bench, keyless, folder, _authority: authority }
    }

    /// An image with its signature.
    fn image(&self, kind: Kind, number: usize) -> Image {
        let repository = format!("{}/image{number}", kind.word().replace(' ', "-"));
        let image = self.bench.push_to(&repository, number);
        let reference = format!("{}@{}", image.name, image.digest);
        match kind {
            Kind::Key => {
                let flags = ["--use-signing-config=false", "--tlog-upload=false", "--key", "cosign.key", "-y"];
                run(cosign(&self.bench, &self.folder)
                    .args(["sign", "--allow-http-registry"])
                    .args(flags)
                    .arg(reference));
            }
            Kind::Keyless => {
                let hex = image.digest.split_once(':').unwrap().1;
                let bundle = self.keyless.statement(&statement_of(&[hex])).to_string();
                self.bench.refer(
                    &image,
                    BUNDLE,
                    &bundle,
                    &json!({
                        "dev.sigstore.bundle.content": "dsse-envelope",
                        "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
                    }),
                );
            }
        }
        image
    }

    fn configure(&self) {
        let (key, root) = (self.folder.join("cosign.pub"), self.folder.join("trusted_root.json"));
        let host = &self.bench.registry;
        let verifier = "[[executors.verifiers]]\nname = \"bench\"\ntype = \"cosign\"\n";
        let text = format!(
            "[[executors]]\nscopes = [\"{host}/by-key/*\"]\n{verifier}\
             parameters.trustPolicies = [{{ keys = {{ files = [{key:?}] }}, ignoreTLog = true }}]\n\
             [[executors]]\nscopes = [\"{host}/keyless/*\"]\n{verifier}\
             parameters.trustedRoots = [{{ name = \"bench\", file = {root:?} }}]\n\
             parameters.trustPolicies = [{{ certificateIdentity = {SIGNER:?}, certificateOIDCIssuer = {ISSUER:?} }}]\n"
        );
        self.bench.configure_as(&text, "");
    }

    fn cosign_verify(&self, kind: Kind, image: &Image) -> Command {
        let mut command = cosign(&self.bench, &self.folder);
        command.args(["verify", "--allow-http-registry", "--trusted-root", "trusted_root.json"]);
        match kind {
            Kind::Key => command.args(["--key", "cosign.pub", "--insecure-ignore-tlog"]),
            Kind::Keyless => command
                .args(["--certificate-identity", SIGNER, "--certificate-oidc-issuer", ISSUER])
                .arg("--use-signed-timestamps"),
        };
        command.arg(format!("{}@{}", image.name, image.digest));
        command
    }
}

/// The real cosign, which reaches this machine and nothing else.
fn cosign(bench: &Bench, folder: &PathBuf) -> Command {
    let mut command = bench.tool("cosign");
    command.current_dir(folder).env("COSIGN_PASSWORD", "").env("NO_PROXY", "127.0.0.1");
    for name in ["HTTPS_PROXY", "HTTP_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    command
}

/// The most memory that a program holds, in MiB: looked at until it ends.
#[expect(clippy::disallowed_methods, reason = "the peak is gone with its program: it is looked at until that ends")]
fn peak(command: &mut Command) -> f64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut most = 0.0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(PEAK));
        let found = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        most = found.map_or(most, |found| f64::max(most, found / 1024.0));
        thread::sleep(Duration::from_micros(200));
    }
    most
}

/// The artifact type of a bundle.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
