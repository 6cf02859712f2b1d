//! The walk and the rule that tells DENIED from UNAVAILABLE, over a store and verifiers made for the purpose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use super::*;
use crate::artifact::{Algorithm, Digest, IMAGE_MANIFEST};
use crate::config::Rule;
use crate::reference::Reference;
use crate::report::{Failure, Pass, Stage};
use crate::store::{Error, digest_of};
use crate::verdict::Verdict;

/// Artifacts in memory, with the faults that a test asks for.
#[derive(Default)]
struct Memory {
    manifests: HashMap<Digest, Bytes>,
    lists: HashMap<Digest, Result<Vec<Descriptor>, Error>>,
    stale: HashMap<Digest, Stale>,
    /// What stands at a name, `REPOSITORY:TAG`, and the list of the image's referrers that a repository has.
    tags: HashMap<String, Result<Descriptor, Error>>,
    elsewhere: HashMap<String, Result<Vec<Descriptor>, Error>>,
    slow: Option<Duration>,
    reads: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

fn fault() -> Error {
    Error::Throttled { what: "GET https://r.io/v2/a".to_owned(), said: String::new(), after: None }
}

impl Memory {
    /// Adds an artifact that refers to `subject`, and to the list of its referrers. `content` tells the verifiers
    /// below what to find.
    fn attach(&mut self, subject: &Descriptor, content: &str) -> Descriptor {
        self.attach_claiming(subject, subject, content)
    }

    fn attach_claiming(&mut self, listed: &Descriptor, stated: &Descriptor, content: &str) -> Descriptor {
        let body = format!(
            r#"{{"schemaVersion":2,"artifactType":"{content}","subject":{{"mediaType":"{}","digest":"{}","size":{}}},"layers":[]}}"#,
            stated.media_type, stated.digest, stated.size
        );
        let descriptor = describe(&body);
        self.manifests.insert(descriptor.digest.clone(), Bytes::from(body));
        if let Ok(list) = self.lists.entry(listed.digest.clone()).or_insert_with(|| Ok(Vec::new())) {
            list.push(descriptor.clone());
        }
        descriptor
    }
}

fn describe(body: &str) -> Descriptor {
    Descriptor {
        media_type: IMAGE_MANIFEST.to_owned(),
        digest: digest_of(Algorithm::Sha256, body.as_bytes()),
        size: body.len() as u64,
    }
}

#[async_trait]
impl Store for Memory {
    async fn resolve(&self, reference: &Reference, _: Instant) -> Result<Descriptor, Error> {
        if let Some(delay) = self.slow {
            sleep(delay).await;
        }
        let what = reference.to_string();
        self.tags.get(&what).cloned().unwrap_or(Err(Error::NotFound { what }))
    }

    async fn referrers(&self, repository: &Repository, subject: &Digest, _: Instant) -> Result<Listed, Error> {
        if repository.to_string() != "r.io/a" {
            return self.elsewhere.get(&repository.to_string()).cloned().unwrap_or(Ok(Vec::new())).map(Listed::from);
        }
        let candidates = self.lists.get(subject).cloned().unwrap_or_else(|| Ok(Vec::new()))?;
        Ok(Listed { candidates, stale: self.stale.get(subject).cloned() })
    }

    async fn manifest(&self, _: &Repository, descriptor: &Descriptor, _: Instant) -> Result<Bytes, Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        if let Some(delay) = self.slow {
            sleep(delay).await;
        }
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        self.manifests.get(&descriptor.digest).cloned().ok_or_else(fault)
    }

    async fn blob(&self, _: &Repository, _: &Descriptor, _: u64, _: Instant) -> Result<Bytes, Error> {
        Err(fault())
    }
}

/// Finds what the artifact's type says: `NAME/pass/KEY` or `NAME/pass/KEY=IDENTITY`, `NAME/fail/STAGE`, `NAME/fault`, for a verifier `NAME`;
/// `any/...` for every verifier.
struct Told(&'static str);

#[async_trait]
impl Verifier for Told {
    fn name(&self) -> &str {
        self.0
    }

    fn accepts(&self, artifact_type: &str) -> bool {
        artifact_type.split('/').next().is_some_and(|name| name == self.0 || name == "any")
    }

    async fn verify(&self, candidate: Candidate<'_>) -> Vec<Outcome> {
        let words: Vec<&str> = candidate.manifest.artifact_type.split('/').collect();
        vec![match words[1] {
            "pass" => Outcome::Passed(Pass {
                detail: "fine".to_owned(),
                signer: words.get(2).map(|signer| signer.split('=').next().unwrap().to_owned()),
                identity: words.get(2).and_then(|signer| signer.split_once('=')).map(|(_, name)| name.to_owned()),
                valid_until: words.get(3).map(|until| until.parse().unwrap()),
                logged: Vec::new(),
            }),
            "fail" => Outcome::Failed(Failure {
                stage: if words[2] == "form" { Stage::Form } else { Stage::Identity },
                cause: format!("bad {}", words[2]),
            }),
            "panic" => panic!("a defect"),
            _ => Outcome::Fault { cause: Fault::new("no network") },
        }]
    }
}

/// The same, and looks elsewhere too.
struct Pointing(&'static str, &'static [&'static str]);

/// `REPOSITORY:TAG`, or the referrers in `REPOSITORY`.
fn place(written: &str) -> Elsewhere {
    let Reference { repository, tag, .. } = written.parse().unwrap();
    match tag {
        Some(tag) => Elsewhere::Tag(repository, tag),
        None => Elsewhere::Referrers(repository),
    }
}

#[async_trait]
impl Verifier for Pointing {
    fn name(&self) -> &str {
        self.0
    }

    fn accepts(&self, artifact_type: &str) -> bool {
        Told(self.0).accepts(artifact_type)
    }

    fn elsewhere(&self, _: &Repository, _: &Digest) -> Vec<Elsewhere> {
        self.1.iter().map(|written| place(written)).collect()
    }

    async fn verify(&self, candidate: Candidate<'_>) -> Vec<Outcome> {
        Told(self.0).verify(candidate).await
    }
}

/// Says the same of every image, and of each referrer that it is asked about after all.
struct Foregone(&'static str, Outcome);

#[async_trait]
impl Verifier for Foregone {
    fn name(&self) -> &str {
        self.0
    }

    fn accepts(&self, _: &str) -> bool {
        true
    }

    fn foregone(&self, _: &Repository) -> Option<Outcome> {
        Some(self.1.clone())
    }

    async fn verify(&self, _: Candidate<'_>) -> Vec<Outcome> {
        panic!("it has said what it has to say")
    }
}

fn skip() -> Outcome {
    Outcome::Skipped { cause: "level skip".to_owned() }
}

/// With verifiers of which some have their outcome beforehand.
async fn judge_foregone(store: Memory, root: Rule, foregone: &[(&'static str, Outcome)]) -> Judged {
    let verifiers = ["a", "b", "sbom"].map(|name| match foregone.iter().find(|(found, _)| *found == name) {
        Some((_, outcome)) => Arc::new(Foregone(name, outcome.clone())) as Arc<dyn Verifier>,
        None => Arc::new(Told(name)),
    });
    let executor = Executor::new(Arc::new(store), verifiers.to_vec(), Policy::new(root).unwrap(), 3);
    let repository = "r.io/a".parse::<Reference>().unwrap().repository;
    let deadline = Instant::now() + Duration::from_secs(8);
    executor.judge(&repository, image(), SystemTime::UNIX_EPOCH, deadline).await
}

fn holding(types: &[&str]) -> Memory {
    let mut store = Memory::default();
    types.iter().for_each(|content| drop(store.attach(&image(), content)));
    store
}

/// A registry that answers nothing.
fn down() -> Memory {
    let mut store = Memory::default();
    store.lists.insert(image().digest, Err(fault()));
    store
}

fn leaf(verifier: &str) -> Rule {
    Rule { verifier: Some(verifier.to_owned()), threshold: 0, rules: Vec::new() }
}

fn group(threshold: usize, rules: Vec<Rule>) -> Rule {
    Rule { verifier: None, threshold, rules }
}

fn image() -> Descriptor {
    describe("the image")
}

fn executor(store: Memory, root: Rule) -> (Executor, Arc<Memory>) {
    let store = Arc::new(store);
    let verifiers = ["a", "b", "sbom"].map(|name| Arc::new(Told(name)) as Arc<dyn Verifier>).to_vec();
    (Executor::new(Arc::clone(&store) as Arc<dyn Store>, verifiers, Policy::new(root).unwrap(), 3), store)
}

async fn judge_with(store: Memory, root: Rule, seconds: u64) -> Judged {
    let (executor, _) = executor(store, root);
    let repository = "r.io/a".parse::<Reference>().unwrap().repository;
    let deadline = Instant::now() + Duration::from_secs(seconds);
    executor.judge(&repository, image(), SystemTime::UNIX_EPOCH, deadline).await
}

async fn judge(store: Memory, root: Rule) -> String {
    line(judge_with(store, root, 8).await)
}

fn line(judged: Judged) -> String {
    let verdict = Verdict::reach(judged.conclusion, false);
    format!("{} {}", verdict.token(), verdict.cause())
}

async fn judge_types(types: &[&str], root: Rule) -> String {
    let mut store = Memory::default();
    for content in types {
        store.attach(&image(), content);
    }
    judge(store, root).await
}

#[tokio::test(start_paused = true)]
async fn one_good_signature_among_bad_ones_is_enough_in_any_order() {
    for types in [
        ["a/pass/k", "a/fail/form", "a/fault"],
        ["a/fault", "a/pass/k", "a/fail/form"],
        ["a/fail/form", "a/fault", "a/pass/k"],
    ] {
        assert_eq!(judge_types(&types, group(1, vec![leaf("a")])).await, "ALLOWED a: fine");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_nothing_refers_to_is_denied() {
    let line = judge_types(&[], group(1, vec![leaf("a")])).await;
    assert_eq!(line, "DENIED no signature for verifier \"a\": nothing refers to this image");
}

#[tokio::test(start_paused = true)]
async fn an_image_with_other_referrers_only_is_denied_and_says_which() {
    let line = judge_types(&["x/y"], group(1, vec![leaf("a")])).await;
    assert!(
        line.starts_with("DENIED no signature for verifier \"a\": what refers to this image is of type x/y"),
        "{line}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_most_specific_failure_is_the_reason() {
    for types in [["a/fail/form", "a/fail/identity"], ["a/fail/identity", "a/fail/form"]] {
        let line = judge_types(&types, group(1, vec![leaf("a")])).await;
        assert!(
            line.starts_with("DENIED a: bad identity (signature sha256:") && line.ends_with("(and 1 more failed)"),
            "{line}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_could_have_been_a_good_signature_is_unavailable() {
    let line = judge_types(&["a/fault", "a/fail/identity"], group(1, vec![leaf("a")])).await;
    assert_eq!(line, "UNAVAILABLE a: no network");
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_could_not_have_helped_leaves_it_denied() {
    let line = judge_types(&["a/fault", "b/fail/identity"], group(2, vec![leaf("a"), leaf("b")])).await;
    assert!(line.starts_with("DENIED b: bad identity"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_had_never_allows_and_is_unavailable() {
    let mut store = Memory::default();
    store.lists.insert(image().digest, Err(fault()));
    let line = judge(store, group(1, vec![leaf("a")])).await;
    assert!(line.starts_with("UNAVAILABLE GET https://r.io/v2/a: the registry is throttling"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_referrer_whose_manifest_cannot_be_read_is_a_fault() {
    let mut store = Memory::default();
    let gone = store.attach(&image(), "a/pass/k");
    store.manifests.clear();
    let line = judge(store, group(1, vec![leaf("a")])).await;
    assert!(line.starts_with(&format!("UNAVAILABLE referrer {}: ", gone.digest)), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_listed_artifact_that_refers_to_something_else_is_no_referrer() {
    let mut store = Memory::default();
    store.attach_claiming(&image(), &describe("another image"), "a/pass/k");
    let line = judge(store, group(1, vec![leaf("a")])).await;
    assert!(line.starts_with("DENIED no signature for verifier \"a\": nothing refers to this image (1 listed that refer to something else)"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_returns_other_bytes_is_not_believed() {
    let mut store = Memory::default();
    let listed = store.attach(&image(), "a/pass/k");
    let other = store.manifests.get(&listed.digest).unwrap().to_vec();
    let other = String::from_utf8(other).unwrap().replace("pass/k", "pass/l");
    store.manifests.insert(listed.digest, Bytes::from(other));
    let line = judge(store, group(1, vec![leaf("a")])).await;
    assert!(line.starts_with("UNAVAILABLE") && line.contains("instead of sha256:"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn one_signer_never_counts_for_two_rules() {
    let two = || group(2, vec![leaf("a"), leaf("b")]);
    let line = judge_types(&["any/pass/k"], two()).await;
    assert!(
        line.starts_with("DENIED what passed is not enough for the policy, which counts each signer once"),
        "{line}"
    );
    assert_eq!(judge_types(&["any/pass/k", "any/pass/l"], two()).await, "ALLOWED a: fine; b: fine");
    let (alice, renewed, bob) = ("any/pass/k=alice", "any/pass/l=alice", "any/pass/m=bob");
    assert!(judge_types(&[alice, renewed], two()).await.starts_with("DENIED"), "one person with two keys");
    assert!(judge_types(&[alice, "any/pass/k=bob"], two()).await.starts_with("DENIED"), "one key under two names");
    assert!(judge_types(&[alice, renewed, bob], two()).await.starts_with("ALLOWED"));
}

#[tokio::test(start_paused = true)]
async fn a_nested_rule_asks_for_a_referrer_of_the_referrer() {
    let root = || group(1, vec![Rule { verifier: Some("sbom".to_owned()), threshold: 1, rules: vec![leaf("a")] }]);
    let mut unsigned = Memory::default();
    unsigned.attach(&image(), "sbom/pass");
    assert!(judge(unsigned, root()).await.starts_with("DENIED "));

    let mut signed = Memory::default();
    let sbom = signed.attach(&image(), "sbom/pass");
    signed.attach(&sbom, "a/pass/k");
    assert_eq!(judge(signed, root()).await, "ALLOWED a: fine; sbom: fine");

    // The signature of a bad SBOM is not looked for, and one of the image does not stand in for it.
    let mut elsewhere = Memory::default();
    let bad = elsewhere.attach(&image(), "sbom/fail/form");
    elsewhere.attach(&bad, "a/pass/k");
    elsewhere.attach(&image(), "a/pass/k");
    assert!(judge(elsewhere, root()).await.starts_with("DENIED sbom: bad form"));
}

#[tokio::test(start_paused = true)]
async fn a_skip_satisfies_its_leaf_and_exempts_without_a_request() {
    for root in [
        group(1, vec![leaf("a")]),
        group(1, vec![leaf("a"), leaf("b")]),
        group(1, vec![group(1, vec![leaf("a")]), leaf("b")]),
    ] {
        let judged = judge_foregone(down(), root, &[("a", skip())]).await;
        assert_eq!((judged.class, judged.valid_until), (Class::Skipped, None));
        assert_eq!(line(judged), "EXEMPT a: level skip");
    }
    let both = judge_foregone(down(), group(2, vec![leaf("a"), leaf("b")]), &[("a", skip()), ("b", skip())]).await;
    assert_eq!(line(both), "EXEMPT a: level skip; b: level skip");
}

#[tokio::test(start_paused = true)]
async fn a_skip_satisfies_no_other_leaf_and_what_others_are_asked_for_is_still_asked() {
    let root = || group(2, vec![leaf("a"), leaf("b")]);
    let skipped = [("a", skip())];
    assert_eq!(line(judge_foregone(holding(&["any/pass/k"]), root(), &skipped).await), "EXEMPT a: level skip; b: fine");
    let unsigned = line(judge_foregone(holding(&[]), root(), &skipped).await);
    assert_eq!(unsigned, "DENIED no signature for verifier \"b\": nothing refers to this image");
    let failed = line(judge_foregone(holding(&["b/fail/identity"]), root(), &skipped).await);
    assert!(failed.starts_with("DENIED b: bad identity"), "{failed}");
    let unknown = line(judge_foregone(down(), root(), &skipped).await);
    assert!(unknown.starts_with("UNAVAILABLE"), "{unknown}");
    let three = group(2, vec![leaf("a"), leaf("b"), leaf("sbom")]);
    assert!(line(judge_foregone(holding(&[]), three, &skipped).await).starts_with("DENIED"));
}

#[tokio::test(start_paused = true)]
async fn a_skip_satisfies_no_rule_that_has_rules_below_it() {
    let nested = || group(1, vec![Rule { verifier: Some("sbom".to_owned()), threshold: 1, rules: vec![leaf("a")] }]);
    for attached in [false, true] {
        let mut store = Memory::default();
        if attached {
            let sbom = store.attach(&image(), "sbom/pass");
            store.attach(&sbom, "a/pass/k");
        }
        let line = line(judge_foregone(store, nested(), &[("sbom", skip())]).await);
        let expected = "DENIED sbom: level skip, and the rules below it are about what it would have verified";
        assert_eq!(line, expected);
    }
    // Nor is a skip of what stands below the image one of what stands below a referrer.
    let mut store = Memory::default();
    store.attach(&image(), "sbom/pass");
    let line = line(judge_foregone(store, nested(), &[("a", skip())]).await);
    assert!(line.starts_with("DENIED"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_skip_said_of_a_referrer_means_nothing() {
    let mut report = Report::new(image());
    let referrer = report.add(Report::SUBJECT, describe("a signature"));
    let finding = Finding { verifier: "a".to_owned(), outcome: skip() };
    let artifact = report.get_mut(referrer).unwrap();
    artifact.manifest = Read::Known("x".to_owned());
    artifact.findings = vec![finding.clone()];
    report.get_mut(Report::SUBJECT).unwrap().referrers = Listing::Whole(vec![referrer]);
    let policy = Policy::new(group(1, vec![leaf("a")])).unwrap();
    assert!(!policy.is_satisfied(&report));
    assert_eq!(policy.standing(&report), crate::policy::Standing::Failed);
    report.get_mut(Report::SUBJECT).unwrap().findings = vec![finding];
    assert!(policy.is_satisfied(&report));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_foregone_is_the_reason_whatever_refers_to_the_image() {
    let failure = Failure { stage: Stage::Authenticity, cause: "no trust policy applies".to_owned() };
    let foregone = [("a", Outcome::Failed(failure))];
    for types in [&[][..], &["a/pass/k", "a/fail/form"]] {
        let line = line(judge_foregone(holding(types), group(1, vec![leaf("a")]), &foregone).await);
        assert_eq!(line, "DENIED a: no trust policy applies");
    }
    let line = line(judge_foregone(holding(&["b/pass/k"]), group(1, vec![leaf("a"), leaf("b")]), &foregone).await);
    assert_eq!(line, "ALLOWED b: fine");
}

#[tokio::test(start_paused = true)]
async fn the_walk_stops_as_soon_as_the_policy_has_decided() {
    let mut store = Memory::default();
    store.attach(&image(), "a/pass/k");
    for index in 0..100 {
        store.attach(&image(), &format!("a/fail/form{index}"));
    }
    let (executor, store) = executor(store, group(1, vec![leaf("a")]));
    let repository = "r.io/a".parse::<Reference>().unwrap().repository;
    let judged =
        executor.judge(&repository, image(), SystemTime::UNIX_EPOCH, Instant::now() + Duration::from_secs(8)).await;
    assert_eq!(line(judged), "ALLOWED a: fine");
    assert!(store.reads.load(Ordering::SeqCst) <= 3, "read {:?}", store.reads);
}

/// The same manifest with blanks behind it, so that it is a large one.
fn enlarge(store: &mut Memory, small: &Descriptor) {
    let body = store.manifests.remove(&small.digest).unwrap();
    let blanks = " ".repeat(usize::try_from(limits::LARGE_BYTES).unwrap());
    let body = String::from_utf8(body.to_vec()).unwrap() + &blanks;
    let large = describe(&body);
    store.manifests.insert(large.digest.clone(), Bytes::from(body));
    let list = store.lists.get_mut(&image().digest).unwrap().as_mut().unwrap();
    list.iter_mut().filter(|listed| *listed == small).for_each(|listed| *listed = large.clone());
}

#[tokio::test(start_paused = true)]
async fn large_manifests_of_one_image_are_read_one_after_another() {
    let mut store = Memory { slow: Some(Duration::from_secs(1)), ..Memory::default() };
    for index in 0..4 {
        let small = store.attach(&image(), &format!("a/fail/form{index}"));
        enlarge(&mut store, &small);
    }
    let (executor, store) = executor(store, group(1, vec![leaf("a")]));
    let (repository, start) = ("r.io/a".parse::<Reference>().unwrap().repository, Instant::now());
    let judged = executor.judge(&repository, image(), SystemTime::UNIX_EPOCH, start + Duration::from_secs(60)).await;
    assert!(line(judged).starts_with("DENIED"));
    assert_eq!((store.most_at_once.load(Ordering::SeqCst), start.elapsed().as_secs()), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn checks_run_concurrently_up_to_the_bound() {
    let mut store = Memory { slow: Some(Duration::from_secs(1)), ..Memory::default() };
    for index in 0..9 {
        store.attach(&image(), &format!("a/fail/form{index}"));
    }
    let (executor, store) = executor(store, group(1, vec![leaf("a")]));
    let (repository, start) = ("r.io/a".parse::<Reference>().unwrap().repository, Instant::now());
    let judged = executor.judge(&repository, image(), SystemTime::UNIX_EPOCH, start + Duration::from_secs(60)).await;
    assert!(line(judged).starts_with("DENIED"));
    assert_eq!((store.most_at_once.load(Ordering::SeqCst), start.elapsed().as_secs()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn when_the_time_runs_out_the_answer_is_unavailable_and_not_worth_sharing() {
    let mut store = Memory { slow: Some(Duration::from_secs(60)), ..Memory::default() };
    store.attach(&image(), "a/pass/k");
    let judged = judge_with(store, group(1, vec![leaf("a")]), 8).await;
    assert!(judged.out_of_time);
    assert_eq!(line(judged), "UNAVAILABLE the time ran out before r.io had answered; try again");
}

#[tokio::test(start_paused = true)]
async fn an_allow_holds_no_longer_than_its_shortest_finding() {
    let mut store = Memory::default();
    store.attach(&image(), "a/pass/k/2000");
    store.attach(&image(), "b/pass/l/1000");
    let judged = judge_with(store, group(2, vec![leaf("a"), leaf("b")]), 8).await;
    assert_eq!(judged.valid_until, Some(1000));
}

#[tokio::test(start_paused = true)]
async fn artifacts_at_the_limit_and_one_past_it() {
    for (count, token) in [(limits::ARTIFACTS - 1, "ALLOWED"), (limits::ARTIFACTS, "UNAVAILABLE")] {
        let mut store = Memory::default();
        store.attach(&image(), "a/pass/k");
        for index in 1..count {
            store.attach(&image(), &format!("x/{index}"));
        }
        let line = judge(store, group(1, vec![leaf("a")])).await;
        assert!(line.starts_with(token), "{count}: {line}");
    }
}

#[tokio::test(start_paused = true)]
async fn nesting_at_the_limit_and_one_past_it() {
    // `levels` referrers deep, each judged by a rule below the one before.
    for (levels, token) in [(limits::DEPTH, "ALLOWED"), (limits::DEPTH + 1, "UNAVAILABLE")] {
        let mut store = Memory::default();
        let mut subject = image();
        for _ in 0..levels {
            subject = store.attach(&subject, "a/pass");
        }
        let mut rule = leaf("a");
        for _ in 1..levels {
            rule = Rule { verifier: Some("a".to_owned()), threshold: 1, rules: vec![rule] };
        }
        let line = judge(store, group(1, vec![rule])).await;
        assert!(line.starts_with(token), "{levels}: {line}");
    }
}

/// With verifier "a" looking in these places too.
async fn judge_pointing(store: Memory, root: Rule, places: &'static [&'static str]) -> Judged {
    let verifiers: Vec<Arc<dyn Verifier>> =
        vec![Arc::new(Pointing("a", places)), Arc::new(Told("b")), Arc::new(Told("sbom"))];
    let executor = Executor::new(Arc::new(store), verifiers, Policy::new(root).unwrap(), 8);
    let repository = "r.io/a".parse::<Reference>().unwrap().repository;
    let deadline = Instant::now() + Duration::from_secs(8);
    executor.judge(&repository, image(), SystemTime::UNIX_EPOCH, deadline).await
}

impl Memory {
    /// Puts an artifact at a tag, which refers to nothing.
    fn tag(&mut self, name: &str, content: &str) {
        let body = format!(r#"{{"schemaVersion":2,"artifactType":"{content}","layers":[]}}"#);
        let descriptor = describe(&body);
        self.manifests.insert(descriptor.digest.clone(), Bytes::from(body));
        self.tags.insert(name.to_owned(), Ok(descriptor));
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_at_a_tag_that_a_verifier_names_is_judged_by_it_and_by_no_other() {
    let at_tag = |content: &str| {
        let mut store = Memory::default();
        store.tag("r.io/a:sig", content);
        store
    };
    let one = || group(1, vec![leaf("a")]);
    let judged = judge_pointing(at_tag("a/pass/k"), one(), &["r.io/a:sig"]).await;
    let tree = judged.report.tree();
    assert_eq!(tree.referrers[0].found_at.as_deref(), Some("r.io/a:sig"));
    assert_eq!(line(judged), "ALLOWED a: fine");
    // Whatever its type: who named the tag knows.
    assert_eq!(line(judge_pointing(at_tag("x/pass/k"), one(), &["r.io/a:sig"]).await), "ALLOWED a: fine");
    let both = group(2, vec![leaf("a"), leaf("b")]);
    let line_of_both = line(judge_pointing(at_tag("any/pass/k"), both, &["r.io/a:sig"]).await);
    assert!(line_of_both.starts_with("DENIED no signature for verifier \"b\""), "{line_of_both}");
    let nobody = line(judge_pointing(at_tag("a/pass/k"), one(), &[]).await);
    assert_eq!(nobody, "DENIED no signature for verifier \"a\": nothing refers to this image");
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_not_there_is_nothing_there_and_is_told() {
    let line = line(judge_pointing(Memory::default(), group(1, vec![leaf("a")]), &["r.io/a:sig", "s.io/b:sig"]).await);
    let expected = "DENIED no signature for verifier \"a\": nothing refers to this image, and there is nothing at \
                    r.io/a:sig and s.io/b:sig";
    assert_eq!(line, expected);
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_cannot_be_asked_for_is_unavailable_unless_another_place_has_enough() {
    let faulty = |contents: &[&str]| {
        let mut store = holding(contents);
        store.tags.insert("r.io/a:sig".to_owned(), Err(fault()));
        store
    };
    let one = || group(1, vec![leaf("a")]);
    for contents in [&[][..], &["a/fail/identity"], &["b/pass/k"]] {
        let judged = judge_pointing(faulty(contents), one(), &["r.io/a:sig"]).await;
        assert_eq!(judged.class, Class::Throttled);
        let line = line(judged);
        assert!(line.starts_with("UNAVAILABLE GET https://r.io/v2/a: the registry is throttling"), "{line}");
    }
    assert_eq!(line(judge_pointing(faulty(&["a/pass/k"]), one(), &["r.io/a:sig"]).await), "ALLOWED a: fine");
    // And the other way round.
    let mut store = down();
    store.tag("r.io/a:sig", "a/pass/k");
    let judged = judge_pointing(store, one(), &["r.io/a:sig"]).await;
    assert_eq!(line(judged), "ALLOWED a: fine");
    let mut store = down();
    store.tag("r.io/a:sig", "a/fail/identity");
    assert!(line(judge_pointing(store, one(), &["r.io/a:sig"]).await).starts_with("UNAVAILABLE"));
}

#[tokio::test(start_paused = true)]
async fn one_signer_at_two_places_is_one_signer() {
    let mut store = holding(&["a/pass/k"]);
    store.tag("r.io/a:sig", "a/pass/k");
    let two = || group(2, vec![leaf("a"), leaf("a")]);
    assert!(line(judge_pointing(store, two(), &["r.io/a:sig"]).await).starts_with("DENIED what passed is not enough"));
    let mut store = holding(&["a/pass/k"]);
    store.tag("r.io/a:sig", "a/pass/l");
    assert_eq!(line(judge_pointing(store, two(), &["r.io/a:sig"]).await), "ALLOWED a: fine");
}

#[tokio::test(start_paused = true)]
async fn what_another_repository_lists_must_refer_to_the_image_and_is_judged_by_who_named_it() {
    let listing = |stated: &Descriptor, content: &str| {
        let mut store = Memory::default();
        let found = store.attach_claiming(stated, stated, content);
        store.lists.clear();
        store.elsewhere.insert("s.io/b".to_owned(), Ok(vec![found]));
        store
    };
    let one = |name: &str| group(1, vec![leaf(name)]);
    let good = judge_pointing(listing(&image(), "a/pass/k"), one("a"), &["s.io/b"]).await;
    assert_eq!(line(good), "ALLOWED a: fine");
    for (store, root) in [
        (listing(&describe("another image"), "a/pass/k"), one("a")),
        (listing(&image(), "b/pass/k"), one("a")),
        (listing(&image(), "b/pass/k"), one("b")),
    ] {
        assert!(line(judge_pointing(store, root, &["s.io/b"]).await).starts_with("DENIED"));
    }
    let mut store = holding(&[]);
    store.elsewhere.insert("s.io/b".to_owned(), Err(fault()));
    assert!(line(judge_pointing(store, one("a"), &["s.io/b"]).await).starts_with("UNAVAILABLE"));
}

#[tokio::test(start_paused = true)]
async fn all_places_are_asked_at_once() {
    let mut store = Memory { slow: Some(Duration::from_secs(1)), ..Memory::default() };
    store.tag("r.io/a:sig", "a/pass/k");
    let start = Instant::now();
    let judged = judge_pointing(store, group(1, vec![leaf("a")]), &["r.io/a:sig", "r.io/a:att", "s.io/b:sig"]).await;
    // The tag, then the manifest that stands there.
    assert_eq!((line(judged).as_str(), start.elapsed().as_secs()), ("ALLOWED a: fine", 2));
}

#[tokio::test(start_paused = true)]
async fn a_signature_of_a_referrer_may_stand_at_a_tag_too() {
    let root = || group(1, vec![Rule { verifier: Some("sbom".to_owned()), threshold: 1, rules: vec![leaf("a")] }]);
    let mut store = Memory::default();
    store.attach(&image(), "sbom/pass");
    store.tag("r.io/a:sig", "a/pass/k");
    let judged = judge_pointing(store, root(), &["r.io/a:sig"]).await;
    assert!(judged.report.get(Report::SUBJECT).unwrap().elsewhere.is_empty(), "of the image nobody asks for one");
    assert_eq!(line(judged), "ALLOWED a: fine; sbom: fine");
}

fn broken() -> Stale {
    let cause = Error::Status { what: "GET https://r.io/v2/a".to_owned(), status: 503, said: String::new() };
    Stale { age: Duration::from_millis(62_900), left: Duration::from_secs(37), cause }
}

#[tokio::test(start_paused = true)]
async fn an_allow_that_rests_on_the_last_known_list_says_so_and_ends_with_it() {
    let mut store = Memory::default();
    store.attach(&image(), "a/pass/k");
    store.stale.insert(image().digest, broken());
    let judged = judge_with(store, group(1, vec![leaf("a")]), 8).await;
    assert_eq!(judged.lists_last, Some(Duration::from_secs(37)));
    let note = judged.report.tree().note.unwrap();
    assert!(note.starts_with("the list of referrers is 1m 2s old, because GET https://r.io/v2/a: "), "{note}");
    assert!(note.contains("503"), "{note}");
    assert_eq!(judged.report.tree().referrers.len(), 1);
    assert_eq!(line(judged), format!("ALLOWED a: fine; {note}"));
}

#[tokio::test(start_paused = true)]
async fn what_the_last_known_list_does_not_hold_may_be_on_a_newer_one() {
    for types in [&[][..], &["a/fail/identity"], &["x/y"]] {
        let mut store = Memory::default();
        types.iter().for_each(|content| drop(store.attach(&image(), content)));
        store.stale.insert(image().digest, broken());
        let judged = judge_with(store, group(1, vec![leaf("a")]), 8).await;
        assert_eq!(judged.class, Class::Status);
        let line = line(judged);
        assert!(line.starts_with("UNAVAILABLE the list of referrers is 1m 2s old"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_known_list_of_a_referrers_referrers_counts_alike() {
    let root = || group(1, vec![Rule { verifier: Some("sbom".to_owned()), threshold: 1, rules: vec![leaf("a")] }]);
    for (content, token) in [("a/pass/k", "ALLOWED"), ("a/fail/form", "UNAVAILABLE")] {
        let mut store = Memory::default();
        let sbom = store.attach(&image(), "sbom/pass");
        store.attach(&sbom, content);
        store.stale.insert(sbom.digest, broken());
        let judged = judge_with(store, root(), 8).await;
        assert_eq!(judged.lists_last, Some(Duration::from_secs(37)));
        let line = line(judged);
        assert!(line.starts_with(token), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_kind_of_cause_that_is_counted_is_that_of_the_answer() {
    let network = || Error::Network { what: "GET".to_owned(), cause: "refused".to_owned() };
    let listed = |list| async {
        let mut store = Memory::default();
        store.lists.insert(image().digest, list);
        judge_with(store, group(1, vec![leaf("a")]), 8).await.class
    };
    assert_eq!(listed(Err(fault())).await, Class::Throttled);
    assert_eq!(listed(Err(network())).await, Class::Network);
    assert_eq!(listed(Ok(vec![])).await, Class::Policy);
    let of_types = |types: &'static [&'static str]| async move {
        let mut store = Memory::default();
        types.iter().for_each(|content| drop(store.attach(&image(), content)));
        judge_with(store, group(1, vec![leaf("a")]), 8).await.class
    };
    assert_eq!(of_types(&["a/pass/k"]).await, Class::Satisfied);
    assert_eq!(of_types(&["a/fault"]).await, Class::Unchecked);
    let mut slow = Memory { slow: Some(Duration::from_secs(60)), ..Memory::default() };
    slow.attach(&image(), "a/pass/k");
    assert_eq!(judge_with(slow, group(1, vec![leaf("a")]), 8).await.class, Class::Time);
}

/// What one referrer may be in the property tests.
fn evidence() -> impl Strategy<Value = Vec<String>> {
    let kind = prop_oneof![
        Just("pass/k"),
        Just("pass/l"),
        Just("pass/k=alice"),
        Just("pass/l=alice"),
        Just("pass/m=bob"),
        Just("fail/identity"),
        Just("fault")
    ];
    let who = prop_oneof![Just("a"), Just("b"), Just("any")];
    proptest::collection::btree_set((who, kind).prop_map(|(who, kind)| format!("{who}/{kind}")), 0..8)
        .prop_map(|set| set.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

fn policies() -> impl Strategy<Value = Rule> {
    prop_oneof![
        Just(group(1, vec![leaf("a")])),
        Just(group(1, vec![leaf("a"), leaf("b")])),
        Just(group(2, vec![leaf("a"), leaf("b")])),
        Just(group(2, vec![group(1, vec![leaf("a"), leaf("b")]), leaf("b")])),
        Just(group(2, vec![leaf("a"), leaf("a"), leaf("b")])),
    ]
}

fn token(types: &[String], root: &Rule) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let types: Vec<&str> = types.iter().map(String::as_str).collect();
    let line = runtime.block_on(judge_types(&types, root.clone()));
    line.split(' ').next().unwrap().to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_order_of_results_never_changes_a_verdict(types in evidence(), root in policies(), at in any::<prop::sample::Index>()) {
        let mut turned = types.clone();
        if !turned.is_empty() {
            let middle = at.index(turned.len());
            turned.rotate_left(middle);
        }
        prop_assert_eq!(token(&types, &root), token(&turned, &root));
        turned.reverse();
        prop_assert_eq!(token(&types, &root), token(&turned, &root));
    }

    #[test]
    fn taking_evidence_away_never_turns_deny_into_allow(types in evidence(), root in policies(), at in any::<prop::sample::Index>()) {
        prop_assume!(!types.is_empty());
        let mut fewer = types.clone();
        fewer.remove(at.index(types.len()));
        if token(&types, &root) != "ALLOWED" {
            prop_assert_ne!(token(&fewer, &root), "ALLOWED");
        }
    }

    #[test]
    fn a_check_that_did_not_pass_never_helps(types in evidence(), root in policies()) {
        let passed: Vec<String> = types.iter().filter(|content| content.contains("pass")).cloned().collect();
        prop_assert_eq!(token(&types, &root) == "ALLOWED", token(&passed, &root) == "ALLOWED");
    }

    #[test]
    fn a_skip_is_worth_one_leaf_that_asks_for_nothing_and_no_more(types in evidence(), root in policies()) {
        fn free(rule: &Rule) -> Rule {
            match rule.verifier.as_deref() {
                Some("a") => leaf("sbom"),
                _ => Rule { rules: rule.rules.iter().map(free).collect(), ..rule.clone() },
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        let skipped = line(runtime.block_on(judge_foregone(holding(&types), root.clone(), &[("a", skip())])));
        let others: Vec<&str> = types.into_iter().filter(|content| !content.starts_with("a/")).chain(["sbom/pass"]).collect();
        let expected = runtime.block_on(judge_types(&others, free(&root)));
        prop_assert_eq!(skipped.starts_with("EXEMPT"), expected.starts_with("ALLOWED"), "{} {}", skipped, expected);
        prop_assert!(!skipped.starts_with("ALLOWED"), "{}", skipped);
    }

    #[test]
    fn the_last_known_list_allows_what_it_would_allow_fresh_and_denies_nothing(types in evidence(), root in policies()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let mut store = Memory::default();
        for content in &types {
            store.attach(&image(), content);
        }
        store.stale.insert(image().digest, broken());
        let line = runtime.block_on(judge(store, root.clone()));
        let expected = if token(&types, &root) == "ALLOWED" { "ALLOWED" } else { "UNAVAILABLE" };
        prop_assert!(line.starts_with(expected), "{line}");
    }

    #[test]
    fn no_fault_cut_list_or_spent_budget_ever_gives_an_allow(types in evidence(), root in policies(), spent in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let mut store = Memory { slow: spent.then_some(Duration::from_secs(60)), ..Memory::default() };
        for content in &types {
            store.attach(&image(), content);
        }
        if !spent {
            // Cut short after whatever was found.
            store.lists.insert(image().digest, Err(Error::TooLarge { what: "list".to_owned(), limit: 1, unit: "pages" }));
        }
        let line = runtime.block_on(judge(store, root));
        prop_assert!(!line.starts_with("ALLOWED"), "{line}");
        prop_assert!(types.is_empty() || line.starts_with("UNAVAILABLE") || line.starts_with("DENIED"), "{line}");
    }
}
