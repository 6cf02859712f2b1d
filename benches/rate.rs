//! `make bench`: how many verdicts a daemon gives in a second, remembered ones and first ones, and how its costs grow.
//!
//! Rates move with the machine; those of first verifications are put beside what the same registry hands out to a bare
//! client. Runs the release binaries named by `BIN` and `SHIM` and the tools in `TOOLS`, all on loopback; ends by itself.

pub mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::{self, StreamExt as _};
use ratify::limits;
use ratify::memo::{Asked, Memo, Remember};
use ratify::verdict::Token;
use serde_json::Value;

use common::asking::{self, Answers, runtime};
use common::front::{Front, Manners};
use common::{Bench, Image, PEAK, memory, time};

/// Questions with a remembered answer.
const REMEMBERED: usize = 20_000;

/// Connections at once, of one question each and of those that are kept; questions under way on each of the latter.
const AT_ONCE: usize = 64;
const KEPT: usize = 8;
const ON_EACH: usize = 8;

/// Images that are verified for the first time.
const FIRST: usize = 400;

/// A crowd before a registry that takes its time. Of these not all can be served in time, by nobody.
const CROWD: usize = 1000;
const SLOW: Duration = Duration::from_millis(100);

/// Referrers on one image, and images of each.
const REFERRERS: [usize; 4] = [1, 10, 100, 1000];
const IMAGES: usize = 3;

/// Remembered verdicts, and lookups among them.
const VERDICTS: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
const LOOKUPS: usize = 200_000;

fn main() {
    let bench = Bench::start();
    bench.configure("");
    let images = bench.images(0, CROWD);
    remembered(&bench, &images[..10]);
    first(&bench, &images[..FIRST], &images[FIRST]);
    crowd(&bench, &images);
    referrers(&bench);
    memo();
}

fn all_allowed(answers: &Answers) {
    assert_eq!(answers.tokens().into_keys().collect::<Vec<_>>(), [Token::Allowed.as_str()], "not all were allowed");
}

fn remembered(bench: &Bench, images: &[Image]) {
    let (daemon, socket) = (bench.daemon(), bench.socket());
    all_allowed(&asking::over_a_connection_each(&socket, images, images.len(), 2));
    let each = asking::over_a_connection_each(&socket, images, REMEMBERED, AT_ONCE);
    let kept = asking::over_kept_connections(&socket, images, REMEMBERED, KEPT, ON_EACH);
    let peak = memory(&daemon.0, PEAK);
    println!(
        "| {REMEMBERED} remembered verdicts, client included | a second | goal | median | p99 |\n|---|---|---|---|---|"
    );
    for (what, goal, answers) in [
        (format!("a connection each, {AT_ONCE} at once"), 5_000, each),
        (format!("{KEPT} kept connections, {ON_EACH} at once on each"), 20_000, kept),
    ] {
        all_allowed(&answers);
        let [median, p99] = [50, 99].map(|percent| answers.percentile(percent));
        println!("| {what} | {:.0} | at least {goal} | {median:.2?} | {p99:.2?} |", answers.per_second());
    }
    println!("\nThe daemon's memory was at most {peak:.1} MiB.\n");
}

fn first(bench: &Bench, images: &[Image], warm: &Image) {
    let [mut bare, mut ours] = [f64::INFINITY; 2];
    for _ in 0..3 {
        bare = bare.min(time(|| runtime().block_on(bare_client(images))).as_secs_f64());
        let (daemon, socket) = (bench.daemon(), bench.socket());
        // A daemon's first question of all has its clients made.
        asking::over_a_connection_each(&socket, std::slice::from_ref(warm), 1, 2);
        let answers = asking::over_a_connection_each(&socket, images, images.len(), limits::REGISTRY_REQUESTS);
        all_allowed(&answers);
        ours = ours.min(answers.took.as_secs_f64());
        drop(daemon);
    }
    let [bare, ours] = [bare, ours].map(|seconds| images.len() as f64 / seconds);
    println!("| images for the first time, {} at once | a second |\n|---|---|", limits::REGISTRY_REQUESTS);
    println!("| requests of a bare client, nothing checked | {bare:.0} |\n| verdicts | {ours:.0} |");
    println!("| ratio | {:.2} |\n", ours / bare);
}

/// What a verdict takes of the registry: the list, the signature's manifest, the envelope.
async fn bare_client(images: &[Image]) {
    let client =
        reqwest::Client::builder().pool_max_idle_per_host(limits::IDLE_CONNECTIONS).tls_certs_only([]).build().unwrap();
    let get =
        async |url: String| client.get(url).send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
    let digest = |value: &Value| value["digest"].as_str().unwrap().to_owned();
    let read = async |image: &Image| {
        let base = format!("http://{}", image.name.replacen('/', "/v2/", 1));
        let list: Value = serde_json::from_slice(&get(format!("{base}/referrers/{}", image.digest)).await).unwrap();
        for referrer in list["manifests"].as_array().unwrap() {
            let manifest = get(format!("{base}/manifests/{}", digest(referrer))).await;
            let manifest: Value = serde_json::from_slice(&manifest).unwrap();
            black_box(get(format!("{base}/blobs/{}", digest(&manifest["layers"][0]))).await);
        }
    };
    stream::iter(images).map(read).buffer_unordered(limits::REGISTRY_REQUESTS).collect::<Vec<()>>().await;
}

fn crowd(bench: &Bench, images: &[Image]) {
    let front = Front::start(&bench.registry, Manners { rate: None, retry_after: true, delay: SLOW, tokens: false });
    let images: Vec<Image> = images.iter().map(|image| image.at(&front.host)).collect();
    let daemon = bench.daemon();
    let answers = asking::over_a_connection_each(&bench.socket(), &images, images.len(), images.len());
    let peak = memory(&daemon.0, PEAK);
    let (asked, tokens) = (front.asked().len(), answers.tokens());
    println!("| {CROWD} images for the first time at once, from a registry that takes {SLOW:?} | |\n|---|---|");
    for (token, count) in &tokens {
        println!("| {token} | {count} |");
    }
    let most = limits::SHIM_TIMEOUT.saturating_sub(limits::ANSWER_MARGIN).as_secs_f64() / SLOW.as_secs_f64();
    println!(
        "| what {} requests at once would come to | {:.0} |",
        limits::REGISTRY_REQUESTS,
        most * limits::REGISTRY_REQUESTS as f64 / 3.0
    );
    println!("| requests | {asked} |\n| all | {:.2?} |\n| daemon, peak | {peak:.1} MiB |\n", answers.took);
    let fail = tokens.keys().find(|token| ![Token::Allowed.as_str(), Token::Unavailable.as_str()].contains(token));
    assert_eq!(fail, None, "whoever had no turn is UNAVAILABLE");
    if let Some((_, answer)) = answers.each.iter().find(|(_, answer)| answer.token != Some(Token::Allowed)) {
        println!("{}\n", answer.cause);
    }
}

fn referrers(bench: &Bench) {
    println!("| referrers of one image, all read | first verification | for each referrer |\n|---|---|---|");
    let warm = bench.push(CROWD);
    for (row, count) in REFERRERS.into_iter().enumerate() {
        let images: Vec<Image> = (0..IMAGES).map(|number| bench.push(CROWD + 1 + row * IMAGES + number)).collect();
        images.iter().for_each(|image| bench.attach(image, count));
        let polite = Manners { rate: None, retry_after: true, delay: Duration::ZERO, tokens: false };
        let front = Front::start(&bench.registry, polite);
        let images: Vec<Image> = images.iter().map(|image| image.at(&front.host)).collect();
        // The first daemon's questions make the front know all that it will be asked. The first question of each daemon
        // has its keys made, and finds out how the host wants to be spoken to.
        let ask = || {
            let _daemon = bench.daemon();
            asking::over_a_connection_each(&bench.socket(), &[warm.at(&front.host)], 1, 2);
            let answers = asking::over_a_connection_each(&bench.socket(), &images, images.len(), 2);
            assert_eq!(answers.tokens().into_keys().collect::<Vec<_>>(), [Token::Denied.as_str()]);
            answers.percentile(50)
        };
        ask();
        let took = ask();
        println!("| {count} | {took:.2?} | {:.2?} |", took / u32::try_from(count).unwrap());
    }
    println!();
}

/// A verdict as far as the memo is concerned.
struct Kept;

impl Remember for Kept {
    fn lifetime(&self) -> Option<(Duration, Option<u64>)> {
        Some((Duration::from_secs(3600), None))
    }

    fn kept(&self) -> Self {
        Self
    }

    fn out_of_time(&self) -> bool {
        false
    }
}

fn memo() {
    println!("| verdicts remembered | remembering one | finding one |\n|---|---|---|");
    for count in VERDICTS {
        let (remember, find) = runtime().block_on(async {
            let memo: Arc<Memo<[u8; 32], Kept>> = Memo::new(count);
            let (now, deadline) = (SystemTime::now(), tokio::time::Instant::now() + Duration::from_secs(600));
            let key = |number: usize| {
                let mut key = [0; 32];
                key[..8].copy_from_slice(&number.to_be_bytes());
                key
            };
            let start = Instant::now();
            for number in 0..count {
                memo.ask(key(number), deadline, now, async || Kept).await;
            }
            let remember = start.elapsed() / u32::try_from(count).unwrap();
            assert_eq!(memo.kept(), count);
            let start = Instant::now();
            for number in 0..LOOKUPS {
                let found = memo.ask(key(number.wrapping_mul(7919) % count), deadline, now, async || Kept).await;
                assert!(matches!(black_box(found), Asked::Remembered(_)));
            }
            (remember, start.elapsed() / u32::try_from(LOOKUPS).unwrap())
        });
        println!("| {count} | {remember:.2?} | {find:.2?} |");
    }
}
