//! The same for Cosign: the real `cosign verify --trusted-root` and ratifyd judge the same keyless signatures, each beside
//! an image of its own in a real registry on loopback. Every disagreement fails the test unless it stands in [`reviewed`].
//! What each question was made for is held against both: cosign must allow or refuse as is meant, and ratifyd must refuse
//! for the cause that is meant.

mod choices;
mod mistakes;
mod reviewed;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ratify::admission::Pull;
use ratify::memo::Memo;
use ratify::reference::Reference;
use ratify::{assemble, config};
use serde_json::{Value, json};

use super::common::cosign::command;
use super::common::registries::{Image, registries};
use super::common::tools::{run, shared_folder};
use super::keyless::{Made, SIGNATURE};
use reviewed::{Condition, Difference, REVIEWED, Reviewed};

/// What is asked about an image.
#[derive(Clone, Debug)]
struct Question {
    /// It tells one failure from another.
    name: String,
    /// What lies beside the image.
    signatures: Vec<Made>,
    /// The trusted root.
    root: Value,
    /// Who must have signed, and what must be there.
    asks: Asks,
    /// Whether cosign is expected to allow it.
    allows: bool,
    /// What ratifyd's cause is expected to say, where it refuses.
    cause: &'static str,
    /// What of it is known to make the two differ.
    condition: Option<Condition>,
}

/// What is asked of a signature.
#[derive(Clone, Debug)]
struct Asks {
    identity: Match,
    issuer: Match,
    /// `--certificate-github-workflow-repository`
    repository: Option<&'static str>,
    ignore_log: bool,
    ignore_sct: bool,
    /// Whether cosign is told to look at timestamps; ratifyd always does.
    stamps: bool,
}

#[derive(Clone, Copy, Debug)]
enum Match {
    Exact(&'static str),
    Pattern(&'static str),
}

impl Match {
    fn flag(self, name: &str) -> [String; 2] {
        match self {
            Self::Exact(text) => [format!("--{name}"), text.to_owned()],
            Self::Pattern(text) => [format!("--{name}-regexp"), text.to_owned()],
        }
    }

    fn key(self, policy: &mut Value, name: &str) {
        match self {
            Self::Exact(text) => policy[name] = json!(text),
            Self::Pattern(text) => policy[format!("{name}Regex")] = json!(text),
        }
    }
}

/// What a judge says.
#[derive(Clone, Debug)]
struct Said {
    allows: bool,
    words: String,
}

/// Of bundles before version 0.3 `cosign verify` takes none; as attestations outside of a registry it does.
fn ask_cosign(question: &Question, image: &Image, folder: &Path) -> Said {
    let asks = &question.asks;
    let outside = question.signatures.iter().find_map(|signature| match signature {
        Made::Bundle { bundle, .. } if bundle["mediaType"].as_str().is_some_and(|it| it.contains("version=")) => {
            Some(bundle)
        }
        _ => None,
    });
    let mut cosign = match outside {
        Some(bundle) => {
            fs::write(folder.join("bundle.json"), bundle.to_string()).unwrap();
            let digest = image.digest.strip_prefix("sha256:").unwrap();
            let of = ["--bundle", "bundle.json", "--type", SIGNATURE, "--digestAlg", "sha256", "--digest", digest];
            command(folder, &[&["verify-blob-attestation"], &of[..]].concat())
        }
        None => command(folder, &["verify", "--allow-http-registry", "--offline", "--experimental-oci11"]),
    };
    cosign.args(["--trusted-root", "root.json"]);
    cosign.args(asks.identity.flag("certificate-identity")).args(asks.issuer.flag("certificate-oidc-issuer"));
    if let Some(repository) = asks.repository {
        cosign.args(["--certificate-github-workflow-repository", repository]);
    }
    for (asked, flag) in [
        (asks.ignore_log, "--insecure-ignore-tlog"),
        (asks.ignore_sct, "--insecure-ignore-sct"),
        (asks.stamps, "--use-signed-timestamps"),
    ] {
        cosign.args(asked.then_some(flag));
    }
    cosign.args(outside.is_none().then(|| image.by_digest()));
    let ran = run(&mut cosign);
    assert!(ran.code.is_some(), "cosign ended with {ran:?}");
    Said { allows: ran.code == Some(0), words: ran.stderr }
}

async fn ask_ratifyd(question: &Question, image: &Image, folder: &Path) -> Said {
    let asks = &question.asks;
    let mut policy = json!({ "ignoreTLog": asks.ignore_log, "ignoreCTLog": asks.ignore_sct });
    asks.identity.key(&mut policy, "certificateIdentity");
    asks.issuer.key(&mut policy, "certificateOIDCIssuer");
    if let Some(repository) = asks.repository {
        policy["certificateExtensions"] = json!({ "repository": repository });
    }
    let parameters = json!({
        "trustedRoots": [{ "name": "test", "file": folder.join("root.json") }],
        "trustPolicies": [policy],
    });
    let verifier = json!({ "name": "release", "type": "cosign", "parameters": parameters });
    let text = json!({ "executors": [{ "scopes": ["*"], "verifiers": [verifier] }] }).to_string();
    let path = folder.join("config.json");
    fs::write(&path, &text).unwrap();
    let refused = |words: String| Said { allows: false, words };
    let config = match config::parse(&path.display().to_string(), &text, &|_| None) {
        Ok(config) => config,
        Err(problems) => return refused(problems.lines().join("\n")),
    };
    let assembled = match assemble::assemble(&config, &path) {
        Ok(assembled) => assembled,
        Err(problems) => return refused(problems.lines().join("\n")),
    };
    let reference: Reference = image.by_digest().parse().unwrap();
    let descriptor = serde_json::from_str(&image.descriptor()).unwrap();
    let pull = Pull { repository: reference.repository, descriptor };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let decision = assembled.admission.decide(&Memo::new(1), &pull, SystemTime::now(), deadline).await;
    let words = format!("{} {}\n{}", decision.verdict.token(), decision.verdict.cause(), assembled.problems.join("\n"));
    Said { allows: decision.verdict.token().allows(), words }
}

/// As long as the daemon has for a pull, twice over.
const PATIENCE: Duration = Duration::from_secs(15);

/// Makes a question about an image.
type Make = Box<dyn Fn(&Image) -> Question + Sync>;

/// Asks both about all questions, two at a time, each made for an image when its turn comes.
fn compare(what: &str, questions: &[Make]) {
    let (next, start, found) = (AtomicUsize::new(0), Instant::now(), Mutex::<Found>::default());
    let folder = shared_folder();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(make) = questions.get(number) else { break };
                    let image = registries().referrers.image("differential/cosign");
                    let question = make(&image);
                    question.signatures.iter().for_each(|signature| signature.push(&image));
                    let folder = folder.join(format!("{what}-{number}"));
                    fs::create_dir(&folder).unwrap();
                    fs::write(folder.join("root.json"), question.root.to_string()).unwrap();
                    let cosign = ask_cosign(&question, &image, &folder);
                    let ours = runtime.block_on(ask_ratifyd(&question, &image, &folder));
                    found.lock().unwrap().add(&question, &cosign, &ours);
                    fs::remove_dir_all(&folder).unwrap();
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    let (count, seconds) = (questions.len(), start.elapsed().as_secs_f64());
    println!("{what}: {count} questions in {seconds:.1} s, of which cosign allows {}", found.allowed);
    for (number, count) in &found.differ {
        let Reviewed { condition, difference, cosign, ratifyd, clause } = &REVIEWED[*number];
        println!("  {count} times {condition:?}, {difference:?}: cosign {cosign}, ratifyd {ratifyd}. {clause}");
    }
    let stale = found.stale().map(|condition| format!("{condition:?} no longer makes a difference"));
    let wrong: Vec<String> = stale.chain(found.wrong.iter().cloned()).collect();
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[derive(Default)]
struct Found {
    allowed: usize,
    conditions: BTreeSet<Condition>,
    /// Which of [`REVIEWED`] made the judges differ, and how often.
    differ: BTreeMap<usize, usize>,
    wrong: Vec<String>,
}

impl Found {
    fn add(&mut self, question: &Question, cosign: &Said, ours: &Said) {
        self.allowed += usize::from(cosign.allows);
        self.conditions.extend(question.condition);
        let mut wrong = Vec::new();
        if question.allows != cosign.allows {
            wrong.push(format!("cosign was expected to allow: {}", question.allows));
        }
        let difference = match (cosign.allows, ours.allows) {
            (false, true) => Some(Difference::Looser),
            (true, false) => Some(Difference::Stricter),
            _ => None,
        };
        if let Some(difference) = difference {
            let is_reviewed = |it: &Reviewed| Some(it.condition) == question.condition && it.difference == difference;
            match REVIEWED.iter().position(is_reviewed) {
                Some(number) => *self.differ.entry(number).or_default() += 1,
                None => wrong.push(format!("ratifyd differs: {difference:?}")),
            }
        }
        if !ours.allows && (question.cause.is_empty() || !ours.words.contains(question.cause)) {
            wrong.push(format!("ratifyd was expected to say {:?}", question.cause));
        }
        if !wrong.is_empty() {
            wrong.push(format!("cosign: {} {}", cosign.allows, cosign.words.lines().last().unwrap_or_default()));
            wrong.push(format!("ratifyd: {} {}", ours.allows, ours.words));
            self.wrong.push(format!("{}\n  {}", question.name, wrong.join("\n  ")));
        }
    }

    /// Conditions that were met, and made no difference.
    fn stale(&self) -> impl Iterator<Item = &Condition> {
        let made: BTreeSet<Condition> = self.differ.keys().map(|number| REVIEWED[*number].condition).collect();
        self.conditions.iter().filter(move |condition| !made.contains(condition))
    }
}

#[test]
fn cosign_and_ratifyd_say_the_same_of_every_kind_of_good_signature() {
    super::needs!();
    compare("choices", &choices::questions(super::is_complete()));
}

#[test]
fn cosign_and_ratifyd_say_the_same_of_every_mistake_in_a_keyless_signature() {
    super::needs!();
    compare("mistakes", &mistakes::questions(super::is_complete()));
}
