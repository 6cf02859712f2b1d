//! `make bench`: what it costs to have a plugin asked, against a bare posix_spawn of the same program with the same
//! exchange, in one interleaved run; and the daemon's memory after very many plugins. The program does nothing but read
//! what it is asked and print a result, so that what is measured is all around it: the checks of its file, a folder of its
//! own with what it is asked about, the sandbox, the thread that looks after it, and its end. Needs root, as whoever runs
//! plugins as somebody else does.

pub mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use ratify::limits;
use ratify::runner::{Options, Program, Runner, Sandbox};
use ratify::verdict::Token;
use rustix::process::geteuid;
use tokio::time::Instant;

use common::asking::{self, runtime};
use common::{Bench, RESIDENT, memory, percentile, run, time};

/// How often each side runs.
const ROUNDS: usize = 2000;

/// Plugins after which the daemon's memory is looked at, and looked at again.
const FEW: usize = 100;
const MANY: usize = 10_000;

/// Connections to the daemon, and questions under way on each.
const KEPT: usize = 2;
const ON_EACH: usize = 2;

const TYPE: &str = "application/vnd.acme.report";

/// What both sides write to the program: as much as a request of Ratify's protocol has.
const INPUT: [u8; 700] = [b'x'; 700];

/// As whom plugins run.
const NOBODY: &str = "65534";

/// The program.
const SOURCE: &str = r#"
use std::io::{Read, Write};
fn main() {
    let mut request = Vec::new();
    std::io::stdin().read_to_end(&mut request).unwrap();
    std::io::stdout().write_all(b"{\"isSuccess\":true,\"message\":\"nothing to say\"}\n").unwrap();
}
"#;

fn main() {
    if !geteuid().is_root() {
        println!("The bench of plugins needs root.\n");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = compiled(folder.path());
    exchange(&program);
    growth(&program);
}

fn compiled(folder: &Path) -> PathBuf {
    let (source, program) = (folder.join("nothing.rs"), folder.join("nothing"));
    fs::write(&source, SOURCE).unwrap();
    let mut rustc = Command::new("rustc");
    rustc.args(["-O", "--edition", "2024", "-C", "panic=abort", "-C", "target-feature=+crt-static", "-o"]);
    run(rustc.arg(&program).arg(&source));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// One after the other, each beside the bare one.
fn exchange(program: &Path) {
    let options = Options { user: NOBODY.to_owned(), socket: PathBuf::new(), timeout: Duration::from_secs(5) };
    let (runtime, runner) = (runtime(), Runner::new(options));
    let layout = ["oras", "layout/oci-layout", "layout/index.json", "layout/blobs/sha256/00", "layout/blobs/sha256/01"];
    let files = layout.map(|name| (name.to_owned(), Bytes::from_static(&INPUT))).to_vec();
    let (mut bare, mut ours, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS + 100 {
        let sandboxed = |files: &[(String, Bytes)]| {
            let sandbox = Sandbox { files: files.to_vec(), network: false, strict: false };
            let program = Program { sandbox: Some(sandbox), ..Program::new(program.to_owned(), INPUT.to_vec()) };
            time(|| {
                let ran = runtime.block_on(runner.run(program, Instant::now() + Duration::from_secs(5))).unwrap();
                assert!(ran.0.code == Some(0) && ran.0.output.starts_with(b"{"));
            })
        };
        let times = [time(|| spawned(program)), sandboxed(&files), sandboxed(&[])];
        // The first ones warm up.
        if round >= 100 {
            for (all, time) in [&mut bare, &mut ours, &mut alone].into_iter().zip(times) {
                all.push(time);
            }
        }
    }
    println!("| a plugin that does nothing | median | p99 | ratio of medians | goal |\n|---|---|---|---|---|");
    let base = percentile(&bare, 50);
    for (what, times, goal) in [
        ("bare posix_spawn", &bare, ""),
        ("sandboxed, in an empty folder", &alone, "at most 2.0"),
        ("sandboxed, with five files laid out", &ours, ""),
    ] {
        let [median, p99] = [50, 99].map(|percent| percentile(times, percent));
        let ratio = median.as_secs_f64() / base.as_secs_f64();
        println!("| {what} | {} µs | {} µs | {ratio:.2} | {goal} |", median.as_micros(), p99.as_micros());
    }
    println!();
}

/// Without anything that must be done in the child the standard library takes posix_spawn.
fn spawned(program: &Path) {
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&INPUT).unwrap();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    child.stderr.take().unwrap().read_to_end(&mut errors).unwrap();
    assert!(child.wait().unwrap().success() && output.starts_with(b"{") && errors.is_empty());
}

/// Questions to a daemon that remembers no verdict, each of which a plugin judges.
fn growth(program: &Path) {
    let bench = Bench::start();
    let (image, other) = (bench.push(0), bench.push_to("other/image", 1));
    bench.refer(&image, TYPE, "{}", &serde_json::json!({}));
    let executors = format!(
        "unmatched = \"allow\"\n[[executors]]\nscopes = [\"{}/bench/*\"]\n[[executors.verifiers]]\nname = \"nothing\"\ntype = \"plugin\"\n\
         parameters.artifactTypes = [\"{TYPE}\"]\n",
        bench.registry
    );
    let folder = program.parent().unwrap();
    let more = format!(
        "[plugins]\npath = {folder:?}\nuser = \"{NOBODY}\"\n[remember]\nallow = \"0s\"\ndeny = \"0s\"\nreferrers = \"10m\"\n"
    );
    bench.configure_as(&executors, &more);
    let (daemon, socket, images) = (bench.daemon(), bench.socket(), [image]);
    // What the daemon keeps of the last verdicts, whoever judged, is there before.
    asking::over_kept_connections(&socket, &[other], 2 * limits::RECENT_VERDICTS, KEPT, ON_EACH);
    let after = |runs: usize| {
        let answers = asking::over_kept_connections(&socket, &images, runs, KEPT, ON_EACH);
        assert_eq!(answers.tokens().into_keys().collect::<Vec<_>>(), [Token::Allowed.as_str()]);
        (memory(&daemon.0, RESIDENT), answers.per_second())
    };
    let ((few, _), (many, rate)) = (after(FEW), after(MANY - FEW));
    println!("| the daemon's memory | | goal |\n|---|---|---|");
    println!("| after {FEW} plugins | {few:.1} MiB | |");
    println!("| after {MANY} plugins, {rate:.0} a second | {many:.1} MiB, {:.2} times | at most 1.10 |\n", many / few);
}
