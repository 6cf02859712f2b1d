//! `make load`: Ratify's published load test, on one node. So many pulls of ten images with five referrers each, and of one
//! that nobody signed, by a daemon that knows nothing yet, from a registry that asks for tokens and throttles.
//!
//! Ends badly when a promise is broken: an answer that is wrong, one that is missing because of the throttling, something
//! asked for twice, or more memory than there should be. Runs the release binaries named by `BIN` and `SHIM` and the tools
//! in `TOOLS`, all on loopback; ends by itself.

pub mod common;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ratify::verdict::Token;

use common::asking::{self, Answer, Answers};
use common::front::{Front, Manners};
use common::{Bench, Image, PEAK, memory, without_image};

/// Pulls of one run each.
const PULLS: [usize; 3] = [200, 2_000, 10_000];

/// Signed images, and what is attached to each besides the signature.
const IMAGES: usize = 10;
const OTHERS: usize = 4;

/// Questions under way at once.
const AT_ONCE: usize = 256;

/// Shims under way at once, where the shims themselves ask.
const SHIMS: usize = 64;

/// Requests that the registry answers in a second, and at once after a while without any.
const RATE: (f64, f64) = (25.0, 20.0);

/// Causes of wrong and missing answers that are shown.
const CAUSES: usize = 5;

/// The most memory of the daemon, in MiB.
const MEMORY: f64 = 64.0;

fn main() -> ExitCode {
    let bench = Bench::start();
    // A refusal is remembered for longer than a run takes, so that nothing has to be asked for twice.
    bench.configure("[remember]\ndeny = \"5m\"\n");
    let mut images = bench.images(0, IMAGES);
    images.push(bench.push(IMAGES));
    images.iter().for_each(|image| bench.attach(image, OTHERS));

    println!(
        "| pulls of {IMAGES} images and one unsigned, by | the registry says when to come again | wrong verdicts | failed, of throttling | failed otherwise | objects | requests for them | tokens | challenges | 429 | p50 | p95 | max | all | daemon, peak |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut kept = true;
    for retry_after in [true, false] {
        for pulls in PULLS {
            kept &= Run::new(&bench, &images, retry_after).row(&format!("{pulls}, client"), |images| {
                asking::over_a_connection_each(&bench.socket(), images, pulls, AT_ONCE)
            });
        }
    }
    kept &=
        Run::new(&bench, &images, true).row(&format!("{}, shim", PULLS[0]), |images| shims(&bench, images, PULLS[0]));
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One run: a registry and a daemon of its own.
struct Run<'a> {
    bench: &'a Bench,
    images: Vec<Image>,
    front: Front,
    retry_after: bool,
}

impl<'a> Run<'a> {
    fn new(bench: &'a Bench, images: &[Image], retry_after: bool) -> Self {
        let manners = Manners { rate: Some(RATE), retry_after, delay: Duration::ZERO, tokens: true };
        let front = Front::start(&bench.registry, manners);
        let images = images.iter().map(|image| image.at(&front.host)).collect();
        Self { bench, images, front, retry_after }
    }

    /// Runs it, prints its row and says whether all promises were kept.
    fn row(&self, what: &str, ask: impl FnOnce(&[Image]) -> Answers) -> bool {
        let daemon = self.bench.daemon();
        let answers = ask(&self.images);
        let peak = memory(&daemon.0, PEAK);
        drop(daemon);
        let verdicts = self.verdicts(&answers);
        let requests = Requests::count(&self.front);
        let [p50, p95, max] = [50, 95, 100].map(|percent| answers.percentile(percent));
        println!(
            "| {what} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {p50:.2?} | {p95:.2?} | {max:.2?} | {:.2?} | {peak:.1} MiB |",
            if self.retry_after { "yes" } else { "no" },
            verdicts.wrong,
            verdicts.throttled,
            verdicts.failed,
            requests.objects,
            requests.for_objects,
            requests.tokens,
            requests.challenges,
            requests.throttled,
            answers.took,
        );
        for (cause, count) in verdicts.causes.iter().take(CAUSES) {
            eprintln!("{count}: {cause}");
        }
        let repositories = self.images.len();
        verdicts.wrong + verdicts.throttled + verdicts.failed == 0
            && requests.for_objects <= requests.objects
            && requests.tokens <= repositories
            && requests.challenges <= 1
            && peak <= MEMORY
    }

    fn verdicts(&self, answers: &Answers) -> Verdicts {
        let mut verdicts = Verdicts::default();
        for (number, Answer { token, cause, .. }) in &answers.each {
            let right = if *number < IMAGES { Token::Allowed } else { Token::Denied };
            match token {
                Some(token) if *token == right => continue,
                Some(Token::Unavailable) if cause.contains("429") || cause.contains("asks to wait") => {
                    verdicts.throttled += 1;
                }
                Some(Token::Unavailable) | None => verdicts.failed += 1,
                Some(_) => verdicts.wrong += 1,
            }
            let token = token.map_or("no answer", Token::as_str);
            let cause = format!("{token} {}", without_image(cause, &self.images[*number]));
            *verdicts.causes.entry(cause).or_default() += 1;
        }
        verdicts
    }
}

/// Answers that are not what they should be.
#[derive(Default)]
struct Verdicts {
    wrong: usize,
    throttled: usize,
    failed: usize,
    causes: BTreeMap<String, usize>,
}

/// What the registry was asked.
#[derive(Default)]
struct Requests {
    /// Different things, and how often they were handed out.
    objects: usize,
    for_objects: usize,
    /// Tokens that were given, and requests that were told to get one.
    tokens: usize,
    challenges: usize,
    throttled: usize,
}

impl Requests {
    fn count(front: &Front) -> Self {
        let (mut requests, mut objects) = (Self::default(), BTreeMap::<String, usize>::new());
        for (target, status) in front.asked().iter() {
            match status {
                429 => requests.throttled += 1,
                401 => requests.challenges += 1,
                _ if target.starts_with("/token") => requests.tokens += 1,
                _ => *objects.entry(target.clone()).or_default() += 1,
            }
        }
        Self { objects: objects.len(), for_objects: objects.values().sum(), ..requests }
    }
}

/// The same questions by real shims, as many at once as threads find room.
fn shims(bench: &Bench, images: &[Image], pulls: usize) -> Answers {
    let (start, next, each) = (Instant::now(), Mutex::new(0..pulls), Mutex::new(Vec::new()));
    thread::scope(|threads| {
        for _ in 0..SHIMS {
            threads.spawn(|| {
                loop {
                    let Some(pull) = next.lock().unwrap().next() else { break };
                    let (number, start) = (pull % images.len(), Instant::now());
                    let (token, cause) = match bench.ask(&images[number]) {
                        Ok(()) => (Some(Token::Allowed), String::new()),
                        Err(line) => {
                            let token = Token::ALL.into_iter().find(|token| line.starts_with(token.as_str()));
                            (token, line)
                        }
                    };
                    each.lock().unwrap().push((number, Answer { token, cause, took: start.elapsed() }));
                }
            });
        }
    });
    Answers { each: each.into_inner().unwrap(), took: start.elapsed() }
}
