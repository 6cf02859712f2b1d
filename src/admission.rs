//! Decides one pull, top to bottom: canary, scope, mode, pins, memo, executor, verdict.
//!
//! [`Admission::decide`] returns a decision, never an error: every fault and every spent budget has become a
//! deny with its reason by then. Called by the service and by `ratifyctl verify`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::rand::GetRandomFlags;
use tokio::time::Instant;

use crate::artifact::{Descriptor, Digest};
use crate::config::{Remember, Unmatched};
use crate::executor::{Executor, Judged};
use crate::limits;
use crate::memo::{self, Asked, Memo};
use crate::reference::{Reference, Repository};
use crate::report::Tree;
use crate::scope::Scopes;
use crate::store::{self, Store};
use crate::verdict::{Class, Conclusion, Verdict};

/// One pull to be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The repository it comes from.
    pub repository: Repository,
    /// What would be pulled: containerd fetches by exactly this.
    pub descriptor: Descriptor,
}

/// The answer to a pull.
#[derive(Clone, Debug)]
#[must_use]
pub struct Decision {
    /// Allow or deny, and why.
    pub verdict: Verdict,
    /// What kind of cause stands behind it.
    pub class: Class,
    /// Names this decision in logs and for `ratifyctl explain`; a remembered one keeps its first id.
    pub id: String,
    /// What the walk found, where there was one; a remembered decision comes without it.
    pub report: Option<Arc<Tree>>,
    /// Whether it was known from before.
    pub remembered: bool,
}

/// What is done with the images of a scope.
pub enum Mode {
    /// Verified: refused, or in audit only reported, unless the policy is satisfied.
    Verify {
        /// Who verifies; or why nobody can, for an operator to mend.
        executor: Result<Arc<Executor>, String>,
        /// Whether what would be refused is allowed all the same.
        audit: bool,
    },
    /// Allowed without verification.
    Allow,
    /// Refused without verification.
    Deny,
}

/// What is in force for a set of scopes.
pub struct Rules {
    /// What is done.
    pub mode: Mode,
    /// Digests that are allowed without verification.
    pub pins: BTreeSet<Digest>,
    /// Where the artifacts lie.
    pub store: Arc<dyn Store>,
}

/// A SHA-256 over all that decides: configuration, trust data, platform. Another generation shares no verdicts.
pub type Generation = [u8; 32];

/// What a verdict depends on, and so all that it may be remembered by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    generation: Generation,
    repository: Repository,
    descriptor: Descriptor,
}

/// The verdicts of a process, over all generations.
pub type Verdicts = Memo<Key, Answer>;

/// A walk's answer as it is shared and remembered.
#[derive(Debug)]
pub struct Answer {
    conclusion: Conclusion,
    class: Class,
    id: String,
    report: Option<Arc<Tree>>,
    lifetime: Option<(Duration, Option<u64>)>,
    out_of_time: bool,
}

impl memo::Remember for Answer {
    fn lifetime(&self) -> Option<(Duration, Option<u64>)> {
        self.lifetime
    }

    /// Without the report: it is kept once, with the verdict as it was first given.
    fn kept(&self) -> Self {
        Self { conclusion: self.conclusion.clone(), id: self.id.clone(), report: None, ..*self }
    }

    fn out_of_time(&self) -> bool {
        self.out_of_time
    }
}

/// One configuration with its trust, ready to decide.
pub struct Admission {
    /// What is in force where.
    pub scopes: Scopes<Arc<Rules>>,
    /// What happens elsewhere.
    pub unmatched: Unmatched,
    /// How long verdicts are remembered.
    pub remember: Remember,
    /// Names this configuration and trust.
    pub generation: Generation,
}

/// Why [`crate::reference::CANARY`] is refused; `ratifyctl doctor` looks for it in containerd's error.
pub const CANARY_CAUSE: &str = "the canary of ratifyctl doctor never gets in";

impl Admission {
    /// Decides one pull by `deadline`. `now` is the moment of the verdict.
    pub async fn decide(&self, verdicts: &Arc<Verdicts>, pull: &Pull, now: SystemTime, deadline: Instant) -> Decision {
        if pull.repository.is_canary() {
            return Decision::unverified(Class::Canary, Conclusion::denied(CANARY_CAUSE), false);
        }
        let Some((scope, rules)) = self.scopes.find(&pull.repository) else {
            return Decision::unverified(Class::Unmatched, self.without_scope(&pull.repository), false);
        };
        if rules.pins.contains(&pull.descriptor.digest) {
            let cause = format!("{} is pinned under `digests` of scope {scope}", pull.descriptor.digest);
            return Decision::unverified(Class::Pinned, Conclusion::Exempt(cause), false);
        }
        let (executor, audit) = match &rules.mode {
            Mode::Allow => {
                let cause = format!("scope {scope} has mode \"allow\"");
                return Decision::unverified(Class::Mode, Conclusion::Exempt(cause), false);
            }
            Mode::Deny => {
                let cause = format!("scope {scope} has mode \"deny\"");
                return Decision::unverified(Class::Mode, Conclusion::denied(cause), false);
            }
            Mode::Verify { executor: Err(cause), audit } => {
                return Decision::unverified(Class::Configuration, Conclusion::misconfigured(cause), *audit);
            }
            Mode::Verify { executor: Ok(executor), audit } => (executor, *audit),
        };
        let key = Key {
            generation: self.generation,
            repository: pull.repository.clone(),
            descriptor: pull.descriptor.clone(),
        };
        let remember =
            Remember { deny: if audit { Duration::ZERO } else { self.remember.deny }, ..self.remember.clone() };
        // A little less than the asker has, so that its cause is heard before the asker's own time is up.
        let walk_until = deadline.checked_sub(limits::WALK_MARGIN).unwrap_or(deadline);
        let walk = || walk(Arc::clone(executor), pull.clone(), remember.clone(), now, walk_until);
        Decision::verified(verdicts.ask(key, deadline, now, walk).await, audit)
    }

    /// What a reference names now, as the store of its scope says; no scope, no store.
    pub async fn resolve(&self, reference: &Reference, deadline: Instant) -> Option<Result<Descriptor, store::Error>> {
        let (_, rules) = self.scopes.find(&reference.repository)?;
        Some(rules.store.resolve(reference, deadline).await)
    }

    /// The answer for a repository that no scope matches.
    pub fn without_scope(&self, repository: &Repository) -> Conclusion {
        let cause = format!("no scope of the configuration matches {repository}");
        match self.unmatched {
            Unmatched::Deny => Conclusion::denied(format!("{cause}, and `unmatched` is \"deny\"")),
            Unmatched::Allow => Conclusion::Exempt(format!("{cause}, and `unmatched` is \"allow\"")),
        }
    }
}

async fn walk(executor: Arc<Executor>, pull: Pull, remember: Remember, now: SystemTime, deadline: Instant) -> Answer {
    // Validity cannot be judged by a clock that is certainly wrong, and a wrong one revives what has expired.
    if now < limits::built_at() {
        let cause = "the clock stands before the day on which ratifyd was built: set it";
        let (id, conclusion) = (new_id(), Conclusion::unavailable(cause));
        return Answer { conclusion, class: Class::Clock, id, report: None, lifetime: None, out_of_time: false };
    }
    let Judged { conclusion, class, report, valid_until, lists_last, out_of_time } =
        executor.judge(&pull.repository, pull.descriptor, now, deadline).await;
    let lifetime = match &conclusion {
        Conclusion::Satisfied(_) => {
            Some((lists_last.map_or(remember.allow, |left| left.min(remember.allow)), valid_until))
        }
        Conclusion::Refused(deny) if deny.is_verified() => Some((remember.deny, None)),
        Conclusion::Refused(_) | Conclusion::Exempt(_) => None,
    };
    Answer { conclusion, class, id: new_id(), report: Some(Arc::new(report.tree())), lifetime, out_of_time }
}

impl Decision {
    /// A decision that no walk stands behind.
    pub fn unverified(class: Class, conclusion: Conclusion, audit: bool) -> Self {
        Self { verdict: Verdict::reach(conclusion, audit), class, id: new_id(), report: None, remembered: false }
    }

    fn verified(asked: Asked<Answer>, audit: bool) -> Self {
        let (answer, remembered) = match asked {
            Asked::Fresh(answer) => (answer, false),
            Asked::Remembered(answer) => (answer, true),
            Asked::Late => {
                let conclusion = Conclusion::unavailable("the time ran out; try again");
                return Self::unverified(Class::Time, conclusion, audit);
            }
            Asked::Lost => {
                let cause = "the verification ended without an answer: a defect of ratifyd, see its log";
                return Self::unverified(Class::Defect, Conclusion::unavailable(cause), audit);
            }
        };
        Self {
            verdict: Verdict::reach(answer.conclusion.clone(), audit),
            class: answer.class,
            id: answer.id.clone(),
            report: answer.report.clone(),
            remembered,
        }
    }
}

/// An id that names one decision on this node: 48 random bits as 12 hexadecimal digits.
fn new_id() -> String {
    let mut bytes = [0_u8; 8];
    // Without randomness the ids are not unique, which costs an explanation and never a verdict. The system's own: the
    // cryptographic library gathers randomness for 40 ms before it first gives any.
    let _ = rustix::rand::getrandom(bytes.split_at_mut(2).1, GetRandomFlags::empty());
    format!("{:012x}", u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::IMAGE_MANIFEST;
    use crate::config::Rule;
    use crate::policy::Policy;
    use crate::scope::Pattern;
    use async_trait::async_trait;
    use bytes::Bytes;

    /// A registry that holds nothing.
    struct Empty;

    #[async_trait]
    impl Store for Empty {
        async fn resolve(&self, _: &Reference, _: Instant) -> Result<Descriptor, store::Error> {
            Err(store::Error::NotFound { what: String::new() })
        }

        async fn referrers(&self, _: &Repository, _: &Digest, _: Instant) -> Result<store::Listed, store::Error> {
            Ok(Vec::new().into())
        }

        async fn manifest(&self, _: &Repository, _: &Descriptor, _: Instant) -> Result<Bytes, store::Error> {
            Err(store::Error::NotFound { what: String::new() })
        }

        async fn blob(&self, _: &Repository, _: &Descriptor, _: u64, _: Instant) -> Result<Bytes, store::Error> {
            Err(store::Error::NotFound { what: String::new() })
        }
    }

    fn pull() -> Pull {
        let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        let repository = "r.io/a".parse::<Reference>().unwrap().repository;
        Pull { repository, descriptor: Descriptor { media_type: IMAGE_MANIFEST.to_owned(), digest, size: 1 } }
    }

    fn admission(mode: Mode, pins: &[Digest], unmatched: Unmatched) -> Admission {
        let rules = Rules { mode, pins: pins.iter().cloned().collect(), store: Arc::new(Empty) };
        Admission {
            scopes: Scopes::new(vec![(Pattern::parse("r.io").unwrap(), Arc::new(rules))]),
            unmatched,
            remember: Remember::default(),
            generation: [0; 32],
        }
    }

    fn verifying(audit: bool) -> Mode {
        let leaf = Rule { verifier: Some("v".to_owned()), threshold: 0, rules: Vec::new() };
        let policy = Policy::new(Rule { verifier: None, threshold: 1, rules: vec![leaf] }).unwrap();
        Mode::Verify { executor: Ok(Arc::new(Executor::new(Arc::new(Empty), Vec::new(), policy, 1))), audit }
    }

    async fn decide(admission: &Admission, verdicts: &Arc<Verdicts>, pull: &Pull, now: SystemTime) -> (String, bool) {
        let deadline = Instant::now() + Duration::from_secs(8);
        let decision = admission.decide(verdicts, pull, now, deadline).await;
        (format!("{} {}", decision.verdict.token(), decision.verdict.cause()), decision.remembered)
    }

    async fn told(admission: &Admission) -> String {
        decide(admission, &Memo::new(8), &pull(), SystemTime::now()).await.0
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_before_the_day_of_the_build_is_unavailable_and_not_remembered() {
        let (admission, verdicts) = (admission(verifying(false), &[], Unmatched::Deny), Memo::new(8));
        let second = Duration::from_secs(1);
        let early = decide(&admission, &verdicts, &pull(), limits::built_at() - second).await;
        assert!(early.0.starts_with("UNAVAILABLE the clock stands before"), "{early:?}");
        let honest = decide(&admission, &verdicts, &pull(), limits::built_at()).await;
        assert!(honest.0.starts_with("DENIED no signature") && !honest.1, "{honest:?}");
    }

    /// A verifier's defect.
    struct Panicking;

    #[async_trait]
    impl Store for Panicking {
        async fn resolve(&self, _: &Reference, _: Instant) -> Result<Descriptor, store::Error> {
            panic!("a defect")
        }

        async fn referrers(&self, _: &Repository, _: &Digest, _: Instant) -> Result<store::Listed, store::Error> {
            panic!("a defect")
        }

        async fn manifest(&self, _: &Repository, _: &Descriptor, _: Instant) -> Result<Bytes, store::Error> {
            panic!("a defect")
        }

        async fn blob(&self, _: &Repository, _: &Descriptor, _: u64, _: Instant) -> Result<Bytes, store::Error> {
            panic!("a defect")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_on_the_way_ends_in_a_deny_that_says_so_and_the_next_pull_is_decided() {
        let leaf = Rule { verifier: Some("v".to_owned()), threshold: 0, rules: Vec::new() };
        let policy = Policy::new(Rule { verifier: None, threshold: 1, rules: vec![leaf] }).unwrap();
        let broken = Executor::new(Arc::new(Panicking), Vec::new(), policy, 1);
        let broken = admission(Mode::Verify { executor: Ok(Arc::new(broken)), audit: false }, &[], Unmatched::Deny);
        let verdicts = Memo::new(8);
        let (line, _) = decide(&broken, &verdicts, &pull(), SystemTime::now()).await;
        assert!(line.starts_with("UNAVAILABLE the verification ended without an answer"), "{line}");
        let (line, _) =
            decide(&admission(verifying(false), &[], Unmatched::Deny), &verdicts, &pull(), SystemTime::now()).await;
        assert!(line.starts_with("DENIED no signature"), "{line}");
    }

    #[tokio::test(start_paused = true)]
    async fn modes_pins_and_unmatched_decide_without_verification_and_say_so() {
        let pin = [pull().descriptor.digest];
        let tell = async |mode, pins: &[Digest]| told(&admission(mode, pins, Unmatched::Deny)).await;
        assert_eq!(tell(Mode::Allow, &[]).await, "EXEMPT scope r.io has mode \"allow\"");
        assert_eq!(tell(Mode::Deny, &[]).await, "DENIED scope r.io has mode \"deny\"");
        assert!(tell(verifying(false), &pin).await.starts_with("EXEMPT sha256:aaaa"));
        assert!(tell(Mode::Deny, &pin).await.starts_with("EXEMPT sha256:aaaa"));
        let broken = || Mode::Verify { executor: Err("a trust file is missing".to_owned()), audit: false };
        assert_eq!(tell(broken(), &[]).await, "MISCONFIGURED a trust file is missing");

        let elsewhere = Pull { repository: "x.io/a".parse::<Reference>().unwrap().repository, ..pull() };
        for (unmatched, token) in [(Unmatched::Deny, "DENIED no scope"), (Unmatched::Allow, "EXEMPT no scope")] {
            let admission = admission(Mode::Allow, &[], unmatched);
            let (line, _) = decide(&admission, &Memo::new(8), &elsewhere, SystemTime::now()).await;
            assert!(line.starts_with(token), "{line}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_canary_gets_in_under_no_configuration_and_only_on_this_machine_is_it_one() {
        let named = |name: &str| Pull { repository: name.parse::<Reference>().unwrap().repository, ..pull() };
        let pin = [pull().descriptor.digest];
        for (mode, pins) in [(Mode::Allow, &[][..]), (Mode::Deny, &pin), (verifying(true), &[])] {
            let rules = Rules { mode, pins: pins.iter().cloned().collect(), store: Arc::new(Empty) };
            let everywhere = Admission {
                scopes: Scopes::new(vec![(Pattern::parse("*").unwrap(), Arc::new(rules))]),
                ..admission(Mode::Allow, &[], Unmatched::Allow)
            };
            let told = async |name| decide(&everywhere, &Memo::new(8), &named(name), SystemTime::now()).await.0;
            assert_eq!(told("127.0.0.1:5000/ratifyd/canary").await, format!("DENIED {CANARY_CAUSE}"));
            assert_eq!(told("[::1]:5000/ratifyd/canary:v1").await, format!("DENIED {CANARY_CAUSE}"));
            assert!(!told("ghcr.io/ratifyd/canary").await.contains(CANARY_CAUSE));
            assert!(!told("127.0.0.1:5000/ratifyd/canary2").await.contains(CANARY_CAUSE));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deny_is_remembered_and_an_audited_one_is_not() {
        for (audit, remembered) in [(false, true), (true, false)] {
            let (admission, verdicts) = (admission(verifying(audit), &[], Unmatched::Deny), Memo::new(8));
            decide(&admission, &verdicts, &pull(), SystemTime::now()).await;
            let (line, again) = decide(&admission, &verdicts, &pull(), SystemTime::now()).await;
            assert_eq!(
                (again, line.starts_with("AUDIT would be refused: DENIED no signature")),
                (remembered, audit),
                "{line}"
            );
        }
    }

    /// A verifier that asks for nothing.
    struct Skipping;

    #[async_trait]
    impl crate::verifier::Verifier for Skipping {
        fn name(&self) -> &'static str {
            "v"
        }

        fn accepts(&self, _: &str) -> bool {
            false
        }

        fn foregone(&self, repository: &Repository) -> Option<crate::report::Outcome> {
            Some(crate::report::Outcome::Skipped { cause: format!("level skip for {repository}") })
        }

        async fn verify(&self, _: crate::verifier::Candidate<'_>) -> Vec<crate::report::Outcome> {
            unreachable!("it accepts nothing")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_skip_is_exempt_under_every_mode_that_verifies_and_never_remembered() {
        for audit in [false, true] {
            let leaf = Rule { verifier: Some("v".to_owned()), threshold: 0, rules: Vec::new() };
            let policy = Policy::new(Rule { verifier: None, threshold: 1, rules: vec![leaf] }).unwrap();
            let executor = Executor::new(Arc::new(Panicking), vec![Arc::new(Skipping)], policy, 1);
            let mode = Mode::Verify { executor: Ok(Arc::new(executor)), audit };
            let (admission, verdicts) = (admission(mode, &[], Unmatched::Deny), Memo::new(8));
            for _ in 0..2 {
                let decided = decide(&admission, &verdicts, &pull(), SystemTime::now()).await;
                assert_eq!(decided, ("EXEMPT v: level skip for r.io/a".to_owned(), false));
            }
        }
    }

    /// A registry whose image has one signature, on a list of this age.
    struct Signed {
        stale: Option<store::Stale>,
    }

    const SIGNATURE: &str = "application/x.signature";

    fn signature() -> (Descriptor, Bytes) {
        let subject = serde_json::to_string(&pull().descriptor).unwrap();
        let body = format!(r#"{{"schemaVersion":2,"artifactType":"{SIGNATURE}","subject":{subject},"layers":[]}}"#);
        let digest = store::digest_of(crate::artifact::Algorithm::Sha256, body.as_bytes());
        let size = body.len() as u64;
        (Descriptor { media_type: IMAGE_MANIFEST.to_owned(), digest, size }, Bytes::from(body))
    }

    #[async_trait]
    impl Store for Signed {
        async fn resolve(&self, _: &Reference, _: Instant) -> Result<Descriptor, store::Error> {
            unreachable!()
        }

        async fn referrers(&self, _: &Repository, _: &Digest, _: Instant) -> Result<store::Listed, store::Error> {
            Ok(store::Listed { candidates: vec![signature().0], stale: self.stale.clone() })
        }

        async fn manifest(&self, _: &Repository, _: &Descriptor, _: Instant) -> Result<Bytes, store::Error> {
            Ok(signature().1)
        }

        async fn blob(&self, _: &Repository, _: &Descriptor, _: u64, _: Instant) -> Result<Bytes, store::Error> {
            unreachable!()
        }
    }

    /// Finds that everything is signed, until some moment.
    struct Content(Option<u64>);

    #[async_trait]
    impl crate::verifier::Verifier for Content {
        fn name(&self) -> &str {
            "v"
        }

        fn accepts(&self, artifact_type: &str) -> bool {
            artifact_type == SIGNATURE
        }

        async fn verify(&self, _: crate::verifier::Candidate<'_>) -> Vec<crate::report::Outcome> {
            let (detail, signer) = ("signed".to_owned(), Some("k".to_owned()));
            vec![crate::report::Outcome::Passed(crate::report::Pass {
                detail,
                signer,
                identity: None,
                valid_until: self.0,
                logged: Vec::new(),
            })]
        }
    }

    fn satisfied(stale: Option<store::Stale>, valid_until: Option<u64>) -> Admission {
        let leaf = Rule { verifier: Some("v".to_owned()), threshold: 0, rules: Vec::new() };
        let policy = Policy::new(Rule { verifier: None, threshold: 1, rules: vec![leaf] }).unwrap();
        let executor = Executor::new(Arc::new(Signed { stale }), vec![Arc::new(Content(valid_until))], policy, 1);
        admission(Mode::Verify { executor: Ok(Arc::new(executor)), audit: false }, &[], Unmatched::Deny)
    }

    async fn passes(time: Duration) {
        tokio::time::advance(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_allow_lives_five_minutes_and_a_deny_ten_seconds() {
        let second = Duration::from_secs(1);
        for (admission, lifetime) in [
            (satisfied(None, None), limits::REMEMBER_ALLOW),
            (admission(verifying(false), &[], Unmatched::Deny), limits::REMEMBER_DENY),
        ] {
            let verdicts = Memo::new(8);
            let ask = async || decide(&admission, &verdicts, &pull(), SystemTime::now()).await;
            assert!(!ask().await.1);
            passes(lifetime - second).await;
            assert!(ask().await.1);
            passes(second).await;
            assert!(!ask().await.1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_allow_ends_with_the_first_finding_that_ends_though_its_time_is_not_up() {
        let end = limits::built_at() + Duration::from_secs(100);
        let seconds = end.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let (admission, verdicts) = (satisfied(None, Some(seconds)), Memo::new(8));
        let ask = async |before: u64| decide(&admission, &verdicts, &pull(), end - Duration::from_secs(before)).await;
        assert_eq!((ask(100).await.1, ask(1).await.1, ask(0).await.1), (false, true, false));
    }

    #[tokio::test(start_paused = true)]
    async fn an_allow_that_rests_on_the_last_known_list_ends_with_that_list() {
        let cause = store::Error::Network { what: "GET".to_owned(), cause: "refused".to_owned() };
        let left = Duration::from_secs(7);
        let stale = store::Stale { age: Duration::from_secs(53), left, cause };
        let (admission, verdicts) = (satisfied(Some(stale), None), Memo::new(8));
        let ask = async || decide(&admission, &verdicts, &pull(), SystemTime::now()).await;
        let (line, remembered) = ask().await;
        assert!(line.starts_with("ALLOWED v: signed; the list of referrers is 53s old") && !remembered, "{line}");
        passes(left - Duration::from_secs(1)).await;
        assert!(ask().await.1);
        passes(Duration::from_secs(1)).await;
        assert!(!ask().await.1);
    }

    #[tokio::test(start_paused = true)]
    async fn faults_exemptions_and_mistakes_of_the_configuration_are_never_remembered() {
        let leaf = Rule { verifier: Some("v".to_owned()), threshold: 0, rules: Vec::new() };
        let policy = Policy::new(Rule { verifier: None, threshold: 1, rules: vec![leaf] }).unwrap();
        let broken = Arc::new(Executor::new(Arc::new(Panicking), Vec::new(), policy, 1));
        for mode in [
            Mode::Allow,
            Mode::Deny,
            Mode::Verify { executor: Err("a trust file is missing".to_owned()), audit: false },
            Mode::Verify { executor: Ok(broken), audit: false },
        ] {
            let (admission, verdicts) = (admission(mode, &[], Unmatched::Deny), Memo::new(8));
            for _ in 0..2 {
                assert!(!decide(&admission, &verdicts, &pull(), SystemTime::now()).await.1);
            }
            assert_eq!(verdicts.kept(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_repository_size_or_media_type_shares_no_verdict() {
        let (admission, verdicts) = (satisfied(None, None), Memo::new(8));
        assert!(!decide(&admission, &verdicts, &pull(), SystemTime::now()).await.1);
        let descriptor = pull().descriptor;
        for other in [
            Pull { repository: "r.io/b".parse::<Reference>().unwrap().repository, ..pull() },
            Pull { descriptor: Descriptor { size: 2, ..descriptor.clone() }, ..pull() },
            Pull { descriptor: Descriptor { media_type: "application/x".to_owned(), ..descriptor }, ..pull() },
        ] {
            assert!(!decide(&admission, &verdicts, &other, SystemTime::now()).await.1, "{other:?}");
        }
        assert!(decide(&admission, &verdicts, &pull(), SystemTime::now()).await.1);
    }

    #[tokio::test(start_paused = true)]
    async fn another_generation_shares_no_verdict() {
        let (mut admission, verdicts) = (admission(verifying(false), &[], Unmatched::Deny), Memo::new(8));
        decide(&admission, &verdicts, &pull(), SystemTime::now()).await;
        admission.generation = [1; 32];
        assert!(!decide(&admission, &verdicts, &pull(), SystemTime::now()).await.1);
    }
}
