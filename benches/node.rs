//! `make bench`: what a pull costs, against /bin/true and `notation verify`, in one interleaved run; then what very
//! many pulls at once cost, in time and in the daemon's memory.
//!
//! Both judge by the same trust policy and trust store, and ask openssl's responder about the same certificate: notation at
//! each call, the daemon once. Absolute times move with the machine; the ratios are the claim. Runs the release binaries named by `BIN` and
//! `SHIM` and the tools in `TOOLS`, all on loopback, registry included; ends by itself.

pub mod common;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use ratify::limits;
use rustix::process::geteuid;

use common::{Bench, Image, PEAK, RESIDENT, memory, output, percentile, run, time, without_image};

/// Images that are verified for the first time, one after the other; each counts once for each side.
const FIRST: usize = 200;

/// Rounds of the remembered verdict and of /bin/true, for each of these images.
const ROUNDS: usize = 5;

/// Images that are verified for the first time, all at once: more pulls than a node ever has under way. For root, as
/// containerd is.
const CROWD: usize = 1000;

/// Of these, how many notation verifies at once: 1000 of it take more memory than most machines have.
const NOTATION_CROWD: usize = 100;

fn main() {
    let mut bench = Node(Bench::start());
    let preparing = Instant::now();
    bench.0.configure("");
    // Others than root may not ask so much at once.
    let crowd = if geteuid().is_root() { CROWD } else { limits::CALLS_PER_USER };
    let images = bench.0.images(0, FIRST + 1 + crowd);
    println!("{} signed images made in {:.1?}\n", images.len(), preparing.elapsed());
    let (one_by_one, crowd) = images.split_at(FIRST + 1);
    bench.one_by_one(one_by_one);
    bench.at_once(crowd);
    bench.revoked(&images[0]);
}

struct Node(Bench);

impl Node {
    /// One pull after the other, each beside what it is compared with.
    fn one_by_one(&self, images: &[Image]) {
        let daemon = self.0.daemon();
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
        row("first verification, a new digest each time", first, "notation verify", notation, "0.4");
        println!("\n| daemon, resident | | goal |\n|---|---|---|");
        println!("| idle | {idle:.1} MiB | at most 20 MiB |");
        println!("| after {} verifications | {busy:.1} MiB | |\n", images.len());
    }

    /// All pulls at once, by a daemon of their own. Then fewer, by a new one that remembers nothing, and as many by
    /// notation.
    fn at_once(&self, images: &[Image]) {
        let daemon = self.0.daemon();
        let idle = memory(&daemon.0, RESIDENT);
        let shims = Crowd::run(images, |image| self.0.ask(image));
        let [peak, after] = [PEAK, RESIDENT].map(|line| memory(&daemon.0, line));
        let log = fs::read_to_string(self.0.log()).unwrap();
        drop(daemon);
        let (daemon, few) = (self.0.daemon(), &images[..NOTATION_CROWD.min(images.len())]);
        let few_shims = Crowd::run(few, |image| self.0.ask(image));
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

    /// What was measured is nothing, unless both ask.
    fn revoked(&mut self, image: &Image) {
        self.0.revoke();
        let _daemon = self.0.daemon();
        let refusal = self.0.ask(image).unwrap_err();
        assert!(refusal.contains("was revoked at"), "{refusal}");
        self.notation_verify(image).unwrap_err();
    }

    fn allow(&self, image: &Image) {
        self.0.ask(image).unwrap();
    }

    fn notation_verify(&self, image: &Image) -> Result<(), String> {
        let reference = format!("{}@{}", image.name, image.digest);
        output(self.0.tool("notation").args(["verify", "--insecure-registry", &reference])).map(drop)
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
                    *refusals.entry(without_image(reason, image)).or_default() += 1;
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

fn row(what: &str, times: Vec<Duration>, against: &str, others: Vec<Duration>, goal: &str) {
    let [median, p99] = [50, 99].map(|percent| percentile(&times, percent));
    let [other, other_p99] = [50, 99].map(|percent| percentile(&others, percent));
    let ratio = median.as_secs_f64() / other.as_secs_f64();
    println!(
        "| {what} | {median:.2?} | {p99:.2?} | {against} | {other:.2?} | {other_p99:.2?} | {ratio:.2} | at most {goal} |"
    );
}
