//! Pulls through sequences of faults drawn at random: whatever a registry does, in whatever order, what is not signed never
//! gets in, what is signed is allowed or could not be checked, the answer comes in time, and once the registry is well
//! again it is allowed.
//!
//! The seed is printed; `RATIFYD_SEED=...` repeats a run of sequences.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use ratify::artifact::{Descriptor, IMAGE_INDEX, IMAGE_MANIFEST};
use ratify::config::Rule;
use ratify::executor::Executor;
use ratify::pki;
use ratify::policy::Policy;
use ratify::reference::Repository;
use ratify::store::registry::{Options, RegistryStore};
use ratify::verdict::{Token, Verdict};
use ratify::verifier::Verifier;
use ratify::verifier::notation::{NotationVerifier, Trust};
use tokio::time::Instant;

use crate::common::registry::{Registry, Reply, Request, index};
use crate::entries;

const RUNS: u64 = 10_000;

/// Sequences under way at once.
const AT_ONCE: usize = 64;

/// The time that one pull has.
const PULL: Duration = Duration::from_secs(1);

/// How much longer its answer may take on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// What is signed is allowed by then once the registry is well: the breaker's longest pause, and time for the machine.
const RECOVERY: Duration = Duration::from_secs(30);

/// Who is refused for now comes back, as a kubelet does, only sooner.
const BACK_OFF: Duration = Duration::from_millis(50);

const SIGNATURE: &[u8] = include_bytes!("../fixtures/notation/single.jws");
const SUBJECT: &str = include_str!("../fixtures/notation/subject.json");
const CERTIFICATE: &[u8] = include_bytes!("../fixtures/notation/single.pem");
/// Of another signer.
const OTHER: &[u8] = include_bytes!("../fixtures/notation/p-256.jws");
const MANIFEST: &str = concat!(
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
    r#""artifactType":"application/x.fixture","config":{"mediaType":"application/vnd.oci.empty.v1+json","#,
    r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"#,
    r#""layers":[{"mediaType":"application/vnd.oci.empty.v1+json","#,
    r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}]}"#,
);

/// Numbers that look random (splitmix64): the same for the same seed, whatever else runs.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap() % sides
    }
}

/// One way to go wrong, and whether it hides what the registry has.
fn fault(dice: &mut Dice) -> (Reply, bool) {
    let sound = |body: &str| Reply::ok(IMAGE_INDEX, body);
    let number = dice.roll(1_000);
    let faults = [
        (Reply::status(401), false),
        (Reply::status(401).header("WWW-Authenticate", r#"Bearer realm="http://127.0.0.1:1/token""#), false),
        (Reply::status(401).header("WWW-Authenticate", "Basic"), false),
        (Reply::status(403), false),
        (Reply::status(404), true),
        (Reply::status(406), true),
        (Reply::status(418), false),
        (Reply::status(429), false),
        (Reply::status(429).header("Retry-After", "0"), false),
        (Reply::status(429).header("Retry-After", "1"), false),
        (Reply::status(500), false),
        (Reply::status(502), false),
        (Reply::status(503), false),
        (Reply::status(503).header("Retry-After", "0"), false),
        (Reply::status(504), false),
        (Reply::status(204), false),
        (Reply::raw(""), false),
        (Reply::raw("HTTP/1.1 2"), false),
        (Reply::raw("garbage\r\n\r\n"), false),
        (Reply::silence(), false),
        (sound("{").early(), false),
        (sound("{").stalled(), false),
        (sound("").endless(), false),
        (sound("garbage"), false),
        (sound("{}").header("Content-Encoding", "gzip"), false),
        (sound("{}").header("Content-Type", "text/html"), false),
        (Reply::ok(IMAGE_MANIFEST, MANIFEST), false),
        (Reply::ok("application/octet-stream", OTHER), false),
        (Reply::ok("application/octet-stream", SIGNATURE).header("Docker-Content-Digest", "sha256:00"), false),
        (Reply::list(&[]), true),
        (Reply::list(&entries(number % 40)), true),
        (Reply::list(&entries(1)).header("Link", &format!("<?page={number}>; rel=\"next\"")), false),
        (Reply::list(&[]).header("Link", "</elsewhere>; rel=\"next\""), false),
        (Reply::redirect(307, "?again"), false),
        (Reply::redirect(302, "http://169.254.169.254/"), true),
        (Reply::redirect(302, "ftp://elsewhere.example/"), false),
        (Reply::ok(IMAGE_INDEX, index(&entries(2))), true),
    ];
    let which = dice.roll(faults.len());
    faults.into_iter().nth(which).unwrap()
}

/// What is left of each run's faults: whether it hid something, and the faults by the number of the request.
#[derive(Default)]
struct Plan {
    asked: usize,
    faults: HashMap<usize, (Reply, bool)>,
    hid: bool,
    well: bool,
}

type Plans = Arc<Mutex<HashMap<u64, Plan>>>;

/// The run that a request belongs to: its repository is `rN/...`.
fn run_of(request: &Request) -> Option<u64> {
    request.target.strip_prefix("/v2/r")?.split('/').next()?.parse().ok()
}

fn judge(plans: &Plans) -> impl FnMut(&Request) -> Option<Reply> + Send + 'static {
    let plans = Arc::clone(plans);
    move |request| {
        let mut plans = plans.lock().unwrap();
        let plan = plans.get_mut(&run_of(request)?)?;
        plan.asked += 1;
        let (reply, hides) = plan.faults.get(&plan.asked).filter(|_| !plan.well)?.clone();
        // A manifest or a blob that is not there is no secret: it is on the list.
        plan.hid |= hides && (request.target.contains("/referrers/") || request.target.contains("/manifests/sha256-"));
        Some(reply)
    }
}

struct Run {
    number: u64,
    executor: Executor,
    repository: Repository,
}

impl Run {
    fn new(number: u64, registry: &Registry) -> Self {
        let store = RegistryStore::new(Options {
            plain_http: true,
            host_folders: Vec::new(),
            remember_referrers: Duration::ZERO,
            ..Options::default()
        });
        let anchors = pki::anchors_from_pem(CERTIFICATE).unwrap();
        let trust = Trust::new(anchors, &["*".to_owned()]).unwrap();
        let verifier: Arc<dyn Verifier> = Arc::new(NotationVerifier::new("acme".to_owned(), trust, Arc::default()));
        let leaf = Rule { verifier: Some("acme".to_owned()), threshold: 0, rules: Vec::new() };
        let policy = Policy::new(Rule { verifier: None, threshold: 1, rules: vec![leaf] }).unwrap();
        let executor = Executor::new(Arc::new(store.unwrap()), vec![verifier], policy, 4);
        Self { number, executor, repository: registry.repository(&format!("r{number}/web")) }
    }

    /// The answer to a pull, and its cause.
    async fn pull(&self, image: &Descriptor) -> (Token, String) {
        let start = Instant::now();
        let judged = self.executor.judge(&self.repository, image.clone(), SystemTime::now(), start + PULL).await;
        assert!(start.elapsed() < PULL + SLACK, "run {}: answered after {:?}", self.number, start.elapsed());
        let verdict = Verdict::reach(judged.conclusion, false);
        (verdict.token(), verdict.cause().to_owned())
    }

    async fn go(&self, plans: &Plans, [signed, unsigned, foreign]: &[Descriptor; 3]) {
        let number = self.number;
        for (image, name) in [(signed, "signed"), (unsigned, "unsigned"), (foreign, "signed by another")] {
            let (token, cause) = self.pull(image).await;
            let hid = plans.lock().unwrap()[&number].hid;
            let right = match token {
                Token::Allowed => name == "signed",
                Token::Unavailable => !cause.is_empty(),
                Token::Denied => name != "signed" || hid,
                Token::Audit | Token::Exempt | Token::Misconfigured => false,
            };
            assert!(right, "run {number}: {name}: {token} {cause}");
        }
        plans.lock().unwrap().get_mut(&number).unwrap().well = true;
        for (image, expected) in [(signed, Token::Allowed), (unsigned, Token::Denied), (foreign, Token::Denied)] {
            self.pulls_until(image, expected).await;
        }
    }

    /// Pulls again while it could not be checked.
    async fn pulls_until(&self, image: &Descriptor, expected: Token) {
        let start = Instant::now();
        loop {
            let (token, cause) = self.pull(image).await;
            if token == expected {
                return;
            }
            assert_eq!(token, Token::Unavailable, "run {}: {cause}", self.number);
            assert!(start.elapsed() < RECOVERY, "run {}: the registry is well: {cause}", self.number);
            tokio::time::sleep(BACK_OFF).await;
        }
    }
}

/// Three images in a run's repository: signed, unsigned, signed by somebody else.
fn stock(registry: &Registry, number: u64) -> [Descriptor; 3] {
    let path = format!("r{number}/web");
    let signed = registry.manifest(&path, None, IMAGE_MANIFEST, MANIFEST.as_bytes());
    assert_eq!(signed, Descriptor::parse(SUBJECT.as_bytes()).unwrap());
    registry.attach(&path, &signed, "application/vnd.cncf.notary.signature", &[("application/jose+json", SIGNATURE)]);
    let [unsigned, foreign] = ["unsigned", "foreign"].map(|tag| registry.image(&path, tag));
    registry.attach(&path, &foreign, "application/vnd.cncf.notary.signature", &[("application/jose+json", OTHER)]);
    [signed, unsigned, foreign]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_registry_does_nothing_gets_in_unsigned_and_a_later_pull_succeeds() {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed: u64 = std::env::var("RATIFYD_SEED").map_or(clock, |seed| seed.parse().unwrap());
    println!("RATIFYD_SEED={seed}");
    let registry = Arc::new(Registry::start().await);
    let plans = Plans::default();
    registry.judge(judge(&plans));
    let runs = futures_util::stream::iter(0..RUNS).map(|number| {
        let (registry, plans) = (Arc::clone(&registry), Arc::clone(&plans));
        tokio::spawn(async move {
            let mut dice = Dice(seed.wrapping_add(number << 20));
            let images = stock(&registry, number);
            let count = dice.roll(8);
            let faults = (0..count).map(|_| (1 + dice.roll(14), fault(&mut dice))).collect();
            plans.lock().unwrap().insert(number, Plan { faults, ..Plan::default() });
            let run = Run::new(number, &registry);
            run.go(&plans, &images).await;
            plans.lock().unwrap().remove(&number);
            registry.remove(&format!("/v2/r{number}/"));
        })
    });
    runs.buffer_unordered(AT_ONCE).for_each(|run| async { run.unwrap() }).await;
}
