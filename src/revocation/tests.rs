//! The rules of "Certificate Revocation Evaluation" (trust policy specification), over loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use x509_cert::ext::Extension;

use super::testing::{Reply, Server};
use super::*;
use crate::pki::testing::Key;
use crate::pki::testing::*;

const SECOND: Duration = Duration::from_secs(1);

fn key(number: usize) -> &'static Key {
    Key::get(Kind::P256, number)
}

/// A server, a root, and those who ask.
struct World {
    server: Server,
    root: Certificate,
    options: Options,
    metrics: Arc<Metrics>,
}

impl World {
    fn new() -> Self {
        let config =
            config::Revocation { ocsp_timeout: SECOND / 5, crl_timeout: SECOND / 5, ..config::Revocation::default() };
        Self {
            server: Server::start(),
            root: Template::ca(ROOT, ROOT).lists().sign(key(1), key(1)),
            options: Options { config, proxy: Proxy::default(), disk: None },
            metrics: Arc::default(),
        }
    }

    /// Who waits longer than any test takes.
    fn patient() -> Self {
        let mut world = Self::new();
        world.options.config.ocsp_timeout = 20 * SECOND;
        world.options.config.crl_timeout = 20 * SECOND;
        world
    }

    fn revocation(&self) -> Arc<Revocation> {
        Revocation::new(self.options.clone(), Arc::clone(&self.metrics))
    }

    /// A leaf that names these responders and lists, paths of the server or whole URLs.
    fn leaf(&self, responders: &[&str], points: &[&[&str]]) -> Certificate {
        self.leaf_with(responders, points, None)
    }

    fn leaf_with(&self, responders: &[&str], points: &[&[&str]], more: Option<Extension>) -> Certificate {
        let template = self.naming(Template::leaf(LEAF, ROOT).serial(7), responders, points);
        let template = more.into_iter().fold(template, Template::with);
        template.sign(key(0), key(1))
    }

    fn naming(&self, template: Template, responders: &[&str], points: &[&[&str]]) -> Template {
        let url = |text: &&str| if text.contains(':') { (*text).to_owned() } else { self.server.url(text) };
        let responders: Vec<String> = responders.iter().map(url).collect();
        let access: Vec<(&str, &str)> = responders.iter().map(|url| (OCSP, url.as_str())).collect();
        let points: Vec<Vec<String>> = points.iter().map(|urls| urls.iter().map(url).collect()).collect();
        let points: Vec<Vec<&str>> = points.iter().map(|urls| urls.iter().map(String::as_str).collect()).collect();
        let points: Vec<&[&str]> = points.iter().map(Vec::as_slice).collect();
        let template = if access.is_empty() { template } else { template.with(access_of(&access)) };
        if points.is_empty() { template } else { template.with(points_of(&points)) }
    }

    async fn check(&self, revocation: &Revocation, leaf: &Certificate) -> Result<Option<SystemTime>, NotGood> {
        self.check_at(revocation, leaf, None, now()).await
    }

    async fn check_at(
        &self,
        revocation: &Revocation,
        leaf: &Certificate,
        signed_at: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, NotGood> {
        let chain = [leaf.clone(), self.root.clone()];
        let deadline = Instant::now() + 20 * SECOND;
        revocation.check(Question { chain: &chain, signed_at, now, deadline }).await
    }

    /// Asks once, by somebody who knows nothing yet.
    async fn ask(&self, leaf: &Certificate) -> Result<Option<SystemTime>, NotGood> {
        self.check(&self.revocation(), leaf).await
    }

    fn crl(&self) -> CrlDraft {
        CrlDraft::new(ROOT)
    }

    fn put_crl(&self, path: &str, draft: &CrlDraft) {
        self.server.body(path, &draft.sign(key(1)));
    }

    fn ocsp<'a>(&'a self, leaf: &'a Certificate) -> OcspDraft<'a> {
        OcspDraft::new(leaf, &self.root)
    }
}

#[track_caller]
fn unknown(found: Result<Option<SystemTime>, NotGood>, expected: &str) {
    let _ = fault_of(found, expected);
}

#[track_caller]
fn fault_of(found: Result<Option<SystemTime>, NotGood>, expected: &str) -> Fault {
    match found {
        Err(NotGood::Unknown(fault)) => {
            assert!(fault.to_string().contains(expected), "{expected:?}: {fault}");
            fault
        }
        other => panic!("{expected:?}: {other:?}"),
    }
}

#[track_caller]
fn revoked(found: Result<Option<SystemTime>, NotGood>, expected: &str) {
    match found {
        Err(NotGood::Revoked(cause)) => assert!(cause.contains(expected), "{expected:?}: {cause}"),
        other => panic!("{expected:?}: {other:?}"),
    }
}

fn tomorrow() -> Option<SystemTime> {
    Some(at(NOW + DAY))
}

/// Waits for what another thread does.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..4000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited for: {what}");
}

#[tokio::test]
async fn the_root_cannot_be_taken_back_and_nobody_is_asked_about_it() {
    let world = World::new();
    let named = world.naming(Template::ca(ROOT, ROOT).lists(), &["ocsp"], &[&["a.crl"]]).sign(key(1), key(1));
    for chain in [vec![named.clone()], vec![world.leaf(&[], &[]), named]] {
        let deadline = Instant::now() + SECOND;
        let question = Question { chain: &chain, signed_at: None, now: now(), deadline };
        assert_eq!(world.revocation().check(question).await, Ok(None));
    }
    assert!(world.server.asked().is_empty());
}

#[tokio::test]
async fn a_certificate_that_names_neither_responder_nor_list_stands() {
    let world = World::new();
    assert_eq!(world.ask(&world.leaf(&[], &[])).await, Ok(None));
    let issuers = access_of(&[("1.3.6.1.5.5.7.48.2", "http://ca.example/ca.crt")]);
    assert_eq!(world.ask(&world.leaf_with(&[], &[], Some(issuers))).await, Ok(None));
}

#[tokio::test]
async fn the_one_that_is_named_is_asked_and_of_both_ocsp() {
    let world = World::new();
    let (ocsp, crl) = (world.leaf(&["ocsp"], &[]), world.leaf(&[], &[&["a.crl"]]));
    let both = world.leaf(&["ocsp"], &[&["a.crl"]]);
    world.put_crl("a.crl", &world.crl().revoke(7, Some(1), None));
    for leaf in [&ocsp, &both] {
        world.server.body("ocsp", &world.ocsp(leaf).sign(key(1)));
        assert_eq!(world.ask(leaf).await, Ok(tomorrow()));
        assert_eq!(world.server.asked(), ["ocsp"]);
        world.server.body("ocsp", &world.ocsp(leaf).revoked(Some(1)).sign(key(1)));
        revoked(world.ask(leaf).await, "(keyCompromise), by its OCSP responder");
        assert_eq!(world.server.asked(), ["ocsp"]);
    }
    revoked(
        world.ask(&crl).await,
        "CN=signer,OU=build,O=acme,L=Seattle,ST=WA,C=US was revoked at 2027-01-15T07:00:00Z",
    );
    world.put_crl("a.crl", &world.crl());
    assert_eq!(world.ask(&crl).await, Ok(tomorrow()));
}

#[tokio::test]
async fn crls_are_asked_where_ocsp_cannot_tell_for_whatever_reason() {
    let world = World::new();
    let leaf = world.leaf(&["ocsp"], &[&["a.crl"]]);
    let expired = OcspDraft { next_update: Some(NOW - 1), ..world.ocsp(&leaf) }.sign(key(1));
    let good = world.ocsp(&leaf).sign(key(1));
    for (reply, class, cause) in [
        (Reply::Status(500), "status", "status 500"),
        (Reply::Status(404), "not_found", "status 404"),
        (Reply::Status(429), "throttled", "status 429"),
        (Reply::Never, "network", "no answer within 200ms"),
        (Reply::Endless, "malformed", "larger than the limit of 65536 bytes"),
        (Reply::Half(good), "network", ""),
        (Reply::Redirect("https://ocsp.example/".to_owned()), "network", "a redirect leads away from http"),
        (Reply::Redirect("http://169.254.169.254/".to_owned()), "network", "a redirect leads to a link-local address"),
        (Reply::Redirect("/ocsp".to_owned()), "network", "too many redirects"),
        (Reply::Body(b"<html></html>".to_vec()), "malformed", "it is no OCSP response in DER"),
        (Reply::Body(vec![0x30, 3, 10, 1, 3]), "malformed", "the responder answers tryLater"),
        (Reply::Body(expired), "malformed", "it expired at"),
        (Reply::Body(world.ocsp(&leaf).sign(key(2))), "malformed", "does not fit its content"),
        (Reply::Body(world.ocsp(&leaf).unknown().sign(key(1))), "unchecked", "does not know of the certificate"),
    ] {
        world.server.reply("ocsp", reply.clone());
        world.put_crl("a.crl", &world.crl());
        assert_eq!(world.ask(&leaf).await, Ok(tomorrow()), "{reply:?}");
        world.put_crl("a.crl", &world.crl().revoke(7, None, None));
        revoked(world.ask(&leaf).await, "by its CRL");
        let alone = world.leaf(&["ocsp"], &[]);
        let fault = fault_of(world.ask(&alone).await, cause);
        assert!(fault.to_string().contains("/ocsp: "), "{fault}");
        assert_eq!(fault.class().as_str(), class, "{fault}");
        world.server.reply("a.crl", Reply::Status(503));
        let fault = fault_of(world.ask(&leaf).await, cause);
        assert!(fault.to_string().contains("/a.crl: the answer has status 503"), "{fault}");
    }
}

#[tokio::test]
async fn responders_are_asked_in_turn_until_one_says_something() {
    let world = World::new();
    let leaf = world.leaf(&["https://ocsp.example", "first", "second", "third"], &[]);
    let good = world.ocsp(&leaf).sign(key(1));
    world.server.reply("first", Reply::Status(500));
    world.server.body("second", &good);
    assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
    assert_eq!(world.server.asked(), ["first", "second"]);
    world.server.body("second", &world.ocsp(&leaf).unknown().sign(key(1)));
    world.server.body("third", &good);
    let fault = fault_of(world.ask(&leaf).await, "/second: the responder does not know of the certificate");
    assert!(fault.to_string().contains("\"https://ocsp.example\" is not asked: only http is supported"), "{fault}");
    assert_eq!(world.server.asked(), ["first", "second"], "an answer is an answer");
}

#[tokio::test]
async fn the_places_of_a_list_are_asked_in_turn_until_one_has_it() {
    let world = World::new();
    world.server.reply("first", Reply::Status(404));
    world.server.body("second", b"<html></html>");
    world.put_crl("third", &world.crl());
    let names: [&[&str]; 2] = [&["ldap://crl.example/x", "first", "second"], &["third"]];
    for leaf in [world.leaf(&[], &names), world.leaf(&[], &[&["first", "second", "third"]])] {
        assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
        assert_eq!(world.server.asked(), ["first", "second", "third"]);
    }
    world.server.reply("third", Reply::Status(500));
    let fault = fault_of(world.ask(&world.leaf(&[], &names)).await, "/third: the answer has status 500");
    for cause in ["only http is supported", "/first: the answer has status 404", "/second: it is no X.509 CRL"] {
        assert!(fault.to_string().contains(cause), "{cause}: {fault}");
    }
}

#[tokio::test]
async fn addresses_at_the_limit_are_asked_and_one_past_it_is_not() {
    let world = World::new();
    let urls = |good: usize| -> Vec<String> {
        (0..=limits::REVOCATION_URLS).map(|n| if n == good { "good".into() } else { format!("bad{n}") }).collect()
    };
    for (place, found) in [(limits::REVOCATION_URLS - 1, true), (limits::REVOCATION_URLS, false)] {
        let urls = urls(place);
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        world.put_crl("good", &world.crl());
        assert_eq!(world.ask(&world.leaf(&[], &[&urls])).await.is_ok(), found);
        let leaf = world.leaf(&urls, &[]);
        world.server.body("good", &world.ocsp(&leaf).sign(key(1)));
        assert_eq!(world.ask(&leaf).await.is_ok(), found);
    }
}

#[tokio::test]
async fn a_list_at_the_limit_is_taken_and_one_byte_more_is_not() {
    let mut world = World::new();
    let list = world.crl().sign(key(1));
    world.server.body("a.crl", &list);
    let leaf = world.leaf(&[], &[&["a.crl"]]);
    world.options.config.max_crl_bytes = list.len() as u64;
    assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
    world.options.config.max_crl_bytes -= 1;
    unknown(world.ask(&leaf).await, "larger than the limit");
    world.server.reply("a.crl", Reply::Endless);
    unknown(world.ask(&leaf).await, "larger than the limit");
}

#[tokio::test]
async fn a_redirect_over_http_is_followed() {
    let world = World::new();
    world.put_crl("b.crl", &world.crl());
    world.server.reply("a.crl", Reply::Redirect("/b.crl".to_owned()));
    assert_eq!(world.ask(&world.leaf(&[], &[&["a.crl"]])).await, Ok(tomorrow()));
}

#[tokio::test]
async fn an_indirect_list_is_refused_clearly() {
    let world = World::new();
    world.put_crl("a.crl", &world.crl().with(scope_of(&[&[0x84, 1, 0xff]])));
    unknown(world.ask(&world.leaf(&[], &[&["a.crl"]])).await, "it is an indirect CRL, which is not supported");
}

#[tokio::test]
async fn without_the_list_of_changes_nothing_is_known() {
    let world = World::new();
    let base = || {
        world.crl().with(freshest_of(&["ldap://crl.example/x", &world.server.url("first"), &world.server.url("d.crl")]))
    };
    let leaf = world.leaf(&[], &[&["a.crl"]]);
    world.put_crl("a.crl", &base());
    let fault = fault_of(world.ask(&leaf).await, "/d.crl: the answer has status 404");
    assert!(fault.to_string().contains("only http is supported"), "{fault}");
    world.put_crl("d.crl", &CrlDraft::delta(ROOT).until(NOW + 60));
    assert_eq!(world.ask(&leaf).await, Ok(Some(at(NOW + 60))));
    let older = integer_of(const_oid::db::rfc5280::ID_CE_CRL_NUMBER, false, 4);
    world.put_crl("d.crl", &CrlDraft::delta(ROOT).with(older));
    unknown(world.ask(&leaf).await, "it is older than the base CRL");
    world.put_crl("d.crl", &CrlDraft::delta(ROOT).revoke(7, Some(1), None));
    revoked(world.ask(&leaf).await, "keyCompromise");
    world.put_crl("a.crl", &base().revoke(7, Some(6), None));
    world.put_crl("d.crl", &CrlDraft::delta(ROOT));
    revoked(world.ask(&leaf).await, "certificateHold");
    world.put_crl("d.crl", &CrlDraft::delta(ROOT).revoke(7, Some(8), None));
    assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
}

#[tokio::test]
async fn the_invalidity_date_is_held_against_the_time_of_signing() {
    let world = World::new();
    let (crl, ocsp) = (world.leaf(&[], &[&["a.crl"]]), world.leaf(&["ocsp"], &[]));
    world.put_crl("a.crl", &world.crl().revoke(7, Some(1), Some(NOW - 9 * DAY)));
    let date = extension(const_oid::db::rfc5280::ID_CE_INVALIDITY_DATE, false, &time_of(NOW - 9 * DAY));
    let draft = OcspDraft { single_extensions: vec![date], ..world.ocsp(&ocsp).revoked(Some(1)) };
    world.server.body("ocsp", &draft.sign(key(1)));
    for leaf in [&crl, &ocsp] {
        let revocation = world.revocation();
        let check = |signed_at| world.check_at(&revocation, leaf, signed_at, now());
        assert_eq!(check(Some(at(NOW - 10 * DAY))).await, Ok(tomorrow()));
        revoked(check(Some(at(NOW - 9 * DAY))).await, "keyCompromise");
        revoked(check(Some(at(NOW - 8 * DAY))).await, "keyCompromise");
        revoked(check(None).await, "keyCompromise");
    }
    assert_eq!(world.server.asked(), ["a.crl", "ocsp"], "one answer serves every time of signing");
}

#[tokio::test]
async fn an_expired_list_revokes_and_lets_nothing_pass() {
    let world = World::new();
    let leaf = world.leaf(&[], &[&["a.crl"]]);
    world.put_crl("a.crl", &world.crl().until(NOW - 1));
    unknown(world.ask(&leaf).await, "it expired at");
    world.put_crl("a.crl", &world.crl().until(NOW - 1).revoke(7, Some(6), None));
    unknown(world.ask(&leaf).await, "it expired at");
    world.put_crl("a.crl", &world.crl().until(NOW - 1).revoke(7, Some(4), None));
    revoked(world.ask(&leaf).await, "superseded");
}

#[tokio::test]
async fn revoked_beats_unknown_and_every_certificate_below_the_root_is_asked_about() {
    let world = World::new();
    let intermediate = |serial: u8| {
        world
            .naming(Template::ca(INTERMEDIATE, ROOT).lists().serial(serial), &[], &[&["root.crl"]])
            .sign(key(2), key(1))
    };
    let leaf = world.naming(Template::leaf(LEAF, INTERMEDIATE).serial(7), &[], &[&["a.crl"]]).sign(key(0), key(2));
    let ask = async |serial| {
        let chain = [leaf.clone(), intermediate(serial), world.root.clone()];
        let deadline = Instant::now() + 20 * SECOND;
        world.revocation().check(Question { chain: &chain, signed_at: None, now: now(), deadline }).await
    };
    world.put_crl("root.crl", &world.crl().revoke(3, Some(2), None).until(NOW + 60));
    unknown(ask(4).await, "whether certificate CN=signer");
    revoked(ask(3).await, "certificate CN=intermediate,O=acme,ST=WA,C=US was revoked");
    world.server.body("a.crl", &CrlDraft::new(INTERMEDIATE).sign(key(2)));
    assert_eq!(ask(4).await, Ok(Some(at(NOW + 60))), "the first end counts");
    // A list of the root says nothing of what the intermediate issued.
    world.put_crl("a.crl", &world.crl());
    unknown(ask(4).await, "it is not the list of CN=intermediate");
}

#[tokio::test]
async fn who_answers_in_the_issuers_place_is_asked_about_by_crl_unless_its_certificate_says_no() {
    let world = World::new();
    let leaf = world.leaf(&["ocsp"], &[]);
    let delegate = |responders: &[&str], points: &[&[&str]]| {
        let template =
            Template::leaf("CN=responder", ROOT).serial(9).with(purposes_of(false, &[rfc5912::ID_KP_OCSP_SIGNING]));
        world.naming(template, responders, points)
    };
    let answer = |delegate: Template| {
        let delegate = delegate.sign(key(2), key(1));
        world.server.body("ocsp", &world.ocsp(&leaf).by(&delegate).sign(key(2)));
    };
    let nocheck = extension(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5"), false, &[5, 0]);
    answer(delegate(&["own"], &[&["r.crl"]]).with(nocheck));
    assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
    assert_eq!(world.server.asked(), ["ocsp"]);
    answer(delegate(&["own"], &[&["r.crl"]]));
    unknown(world.ask(&leaf).await, "the certificate of who answered, CN=responder: CRL");
    world.put_crl("r.crl", &world.crl().until(NOW + 60));
    assert_eq!(world.ask(&leaf).await, Ok(Some(at(NOW + 60))));
    world.put_crl("r.crl", &world.crl().revoke(9, Some(1), None));
    unknown(world.ask(&leaf).await, "CN=responder: it was revoked");
    assert!(!world.server.asked().contains(&"own".to_owned()));
    answer(delegate(&[], &[]));
    assert_eq!(world.ask(&leaf).await, Ok(tomorrow()), "it cannot be taken back");
    answer(delegate(&["own"], &[]));
    unknown(world.ask(&leaf).await, "it names no CRL, and does not say");
}

#[tokio::test]
async fn lists_for_some_reasons_must_cover_all_of_them() {
    let world = World::new();
    let reasons = |bits: &[u8]| {
        let mut content = vec![0x83, bits.len() as u8];
        content.extend(bits);
        world.crl().with(scope_of(&[&content]))
    };
    let leaf = world.leaf(&[], &[&["some.crl"], &["rest.crl"]]);
    world.put_crl("some.crl", &reasons(&[6, 0x40]));
    unknown(world.ask(&leaf).await, "/rest.crl: the answer has status 404");
    world.put_crl("rest.crl", &reasons(&[6, 0x40]));
    unknown(world.ask(&leaf).await, "its CRLs do not cover all reasons");
    world.put_crl("rest.crl", &reasons(&[7, 0x3f, 0x80]));
    assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
    world.put_crl("rest.crl", &reasons(&[7, 0x3f, 0x80]).revoke(7, Some(4), None));
    revoked(world.ask(&leaf).await, "superseded");
}

#[tokio::test]
async fn a_hundred_who_wait_make_one_request_and_so_do_certificates_that_share_a_list() {
    let world = World::patient();
    let revocation = world.revocation();
    world.put_crl("a.crl", &world.crl());
    let leaves: Vec<Certificate> = (1..=10)
        .map(|serial| world.naming(Template::leaf(LEAF, ROOT).serial(serial), &[], &[&["a.crl"]]).sign(key(0), key(1)))
        .collect();
    let all = leaves.iter().cycle().take(100).map(|leaf| world.check(&revocation, leaf));
    let found = futures_util::future::join_all(all).await;
    assert!(found.iter().all(|found| *found == Ok(tomorrow())), "{found:?}");
    assert_eq!(world.server.asked(), ["a.crl"]);
    assert_eq!(world.check(&revocation, &leaves[0]).await, Ok(tomorrow()));
    assert!(world.server.asked().is_empty(), "it is remembered");
}

#[tokio::test]
async fn who_has_less_time_harms_nobody_and_finds_the_answer_the_next_time() {
    let world = World::patient();
    let revocation = world.revocation();
    let leaf = world.leaf(&["ocsp"], &[&["a.crl"]]);
    world.server.reply("ocsp", Reply::Never);
    world.put_crl("a.crl", &world.crl());
    let mut options = world.options.clone();
    options.config.ocsp_timeout = SECOND / 2;
    let revocation_of = Revocation::new(options, Arc::clone(&world.metrics));
    let chain = [leaf.clone(), world.root.clone()];
    let deadline = Instant::now() + SECOND / 10;
    let hasty = revocation_of.check(Question { chain: &chain, signed_at: None, now: now(), deadline });
    let patient = world.check(&revocation_of, &leaf);
    let (hasty, patient) = tokio::join!(hasty, patient);
    assert_eq!(fault_of(hasty, "the time ran out while its issuer was asked").class(), Class::Time);
    assert_eq!(patient, Ok(tomorrow()));
    assert_eq!(world.check(&revocation_of, &leaf).await, Ok(tomorrow()));
    assert_eq!(world.server.asked(), ["ocsp", "a.crl"]);
    drop(revocation);
}

#[tokio::test]
async fn an_answer_is_remembered_until_its_end_and_that_there_is_none_for_seconds() {
    let world = World::patient();
    let revocation = world.revocation();
    let leaf = world.leaf(&[], &[&["a.crl"]]);
    let check = |seconds| world.check_at(&revocation, &leaf, None, at(seconds));
    unknown(check(NOW).await, "404");
    world.put_crl("a.crl", &world.crl());
    unknown(check(NOW).await, "404");
    assert_eq!(world.server.asked(), ["a.crl"]);
    tokio::time::pause();
    tokio::time::advance(limits::REVOCATION_UNKNOWN_KEPT).await;
    tokio::time::resume();
    assert_eq!(check(NOW).await, Ok(tomorrow()));
    assert_eq!(check(NOW + DAY).await, Ok(tomorrow()));
    assert_eq!(world.server.asked(), ["a.crl"]);
    unknown(check(NOW + DAY + 1).await, "it expired at");
    assert_eq!(world.server.asked(), ["a.crl"]);
}

#[tokio::test]
async fn what_is_of_use_is_asked_for_ahead_and_holds_nobody_up() {
    let world = World::patient();
    let revocation = world.revocation();
    let leaf = world.leaf(&[], &[&["a.crl"]]);
    world.put_crl("a.crl", &world.crl());
    assert_eq!(world.check(&revocation, &leaf).await, Ok(tomorrow()));
    assert_eq!(world.server.asked(), ["a.crl"]);
    // The next list comes, and then the server goes away.
    world.put_crl("a.crl", &world.crl().until(NOW + 2 * DAY));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(DAY * 3 / 4)).await;
    tokio::time::resume();
    let mut asked = Vec::new();
    until("the next list", || {
        asked.extend(world.server.asked());
        !asked.is_empty()
    })
    .await;
    world.server.reply("a.crl", Reply::Status(500));
    let check = async || world.check_at(&revocation, &leaf, None, at(NOW + DAY + 1)).await;
    for _ in 0..1000 {
        if check().await == Ok(Some(at(NOW + 2 * DAY))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(check().await, Ok(Some(at(NOW + 2 * DAY))));
    // What cannot be had anew is not forgotten.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(DAY - 3600)).await;
    tokio::time::resume();
    until("another try", || !world.server.asked().is_empty()).await;
    assert_eq!(check().await, Ok(Some(at(NOW + 2 * DAY))));
}

#[tokio::test]
async fn everything_in_the_background_ends_with_its_owner() {
    let world = World::patient();
    let revocation = world.revocation();
    let inner = Arc::downgrade(&revocation.inner);
    world.server.reply("a.crl", Reply::Never);
    let leaf = world.leaf(&[], &[&["a.crl"]]);
    let chain = [leaf, world.root.clone()];
    let deadline = Instant::now() + SECOND / 10;
    unknown(
        revocation.check(Question { chain: &chain, signed_at: None, now: now(), deadline }).await,
        "the time ran out",
    );
    assert!(inner.strong_count() > 1);
    drop(revocation);
    until("the end", || inner.strong_count() == 0).await;
}

/// The one file that is kept.
fn stored(folder: &Path) -> Option<std::path::PathBuf> {
    let files: Vec<_> = fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path()).collect();
    files.into_iter().find(|path| path.extension().is_none())
}

#[tokio::test]
async fn a_restart_asks_for_nothing_that_still_counts() {
    for method in ["ocsp", "crl"] {
        let mut world = World::patient();
        let folder = tempfile::tempdir().unwrap();
        let at_disk = folder.path().join("revocation");
        world.options.disk = Some((at_disk.clone(), 1 << 20));
        let leaf = if method == "ocsp" { world.leaf(&["a"], &[]) } else { world.leaf(&[], &[&["a"]]) };
        let body = if method == "ocsp" { world.ocsp(&leaf).sign(key(1)) } else { world.crl().sign(key(1)) };
        world.server.body("a", &body);
        assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
        until("the file", || stored(&at_disk).is_some()).await;
        assert_eq!(world.server.asked(), ["a"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&at_disk), mode(&stored(&at_disk).unwrap())), (0o700, 0o600));
        world.server.reply("a", Reply::Status(500));
        assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
        assert!(world.server.asked().is_empty());
        // It is judged as if it had just come.
        unknown(world.check_at(&world.revocation(), &leaf, None, at(NOW + DAY + 1)).await, "status 500");
        fs::write(stored(&at_disk).unwrap(), b"damaged").unwrap();
        unknown(world.ask(&leaf).await, "status 500");
        let forged = if method == "ocsp" { world.ocsp(&leaf).sign(key(2)) } else { world.crl().sign(key(2)) };
        fs::write(stored(&at_disk).unwrap(), forged).unwrap();
        unknown(world.ask(&leaf).await, "status 500");
        world.server.body("a", &body);
        assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
        until("the mend", || fs::read(stored(&at_disk).unwrap()).unwrap() == body).await;
    }
}

#[tokio::test]
async fn the_disk_is_bounded_and_one_that_is_broken_costs_a_request() {
    let mut world = World::patient();
    let folder = tempfile::tempdir().unwrap();
    let list = world.crl().sign(key(1));
    world.options.disk = Some((folder.path().to_owned(), 2 * list.len() as u64));
    let revocation = world.revocation();
    for path in ["a", "b", "c"] {
        world.server.body(path, &list);
        let leaf = world.leaf(&[], &[&[path]]);
        assert_eq!(world.check(&revocation, &leaf).await, Ok(tomorrow()));
        let name = fs::read_dir(folder.path()).unwrap().count().max(1);
        until("the file", || fs::read_dir(folder.path()).unwrap().count() >= name).await;
    }
    until("two files", || fs::read_dir(folder.path()).unwrap().count() == 2).await;
    world.options.disk = Some((Path::new("/dev/null/revocation").to_owned(), 1 << 20));
    assert_eq!(world.ask(&world.leaf(&[], &[&["a"]])).await, Ok(tomorrow()));
}

#[tokio::test]
async fn past_next_publish_a_newer_list_is_fetched_and_the_old_one_serves_if_there_is_none() {
    let mut world = World::patient();
    let folder = tempfile::tempdir().unwrap();
    world.options.disk = Some((folder.path().to_owned(), 1 << 20));
    let publish = |seconds| extension(ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.21.4"), false, &time_of(seconds));
    let leaf = world.leaf(&[], &[&["a.crl"]]);
    world.put_crl("a.crl", &world.crl().with(publish(NOW + 60)));
    assert_eq!(world.ask(&leaf).await, Ok(Some(at(NOW + 60))));
    until("the file", || stored(folder.path()).is_some()).await;
    world.server.reply("a.crl", Reply::Status(500));
    assert_eq!(world.ask(&leaf).await, Ok(Some(at(NOW + 60))));
    world.server.asked();
    let later = at(NOW + 61);
    let soon = later + limits::REVOCATION_OLD_KEPT;
    assert_eq!(world.check_at(&world.revocation(), &leaf, None, later).await, Ok(Some(soon)));
    assert_eq!(world.server.asked(), ["a.crl"]);
    world.put_crl("a.crl", &world.crl().revoke(7, None, None));
    revoked(world.check_at(&world.revocation(), &leaf, None, later).await, "by its CRL");
}

#[tokio::test]
async fn who_may_ask_nobody_asks_nobody() {
    let mut world = World::new();
    world.options.config.fetch = false;
    unknown(world.ask(&world.leaf(&["ocsp"], &[&["a.crl"]])).await, "revocation.fetch = false");
    assert_eq!(world.ask(&world.leaf(&[], &[])).await, Ok(None));
    let default = Revocation::default();
    unknown(world.check(&default, &world.leaf(&["ocsp"], &[])).await, "revocation.fetch = false");
    assert!(world.server.asked().is_empty());
}

#[tokio::test]
async fn proxies_are_gone_through() {
    let mut world = World::new();
    let address = world.server.address;
    let environment = move |name: &str| (name == "HTTP_PROXY").then(|| format!("http://{address}"));
    world.options.proxy = Proxy::from_environment(&environment).unwrap();
    world.put_crl("a.crl", &world.crl());
    assert_eq!(world.ask(&world.leaf(&[], &[&["http://crl.example/a.crl"]])).await, Ok(tomorrow()));
    assert_eq!(world.server.asked(), ["a.crl"]);
}

#[tokio::test]
async fn what_was_asked_is_counted() {
    let world = World::patient();
    let revocation = world.revocation();
    let leaf = world.leaf(&["ocsp"], &[&["a.crl"]]);
    world.server.reply("ocsp", Reply::Status(500));
    world.put_crl("a.crl", &world.crl());
    for _ in 0..3 {
        assert_eq!(world.check(&revocation, &leaf).await, Ok(tomorrow()));
    }
    let text = world.metrics.text().unwrap();
    for line in [
        "ratifyd_revocation_requests_total{method=\"ocsp\",result=\"status\"} 1",
        "ratifyd_revocation_requests_total{method=\"crl\",result=\"good\"} 1",
        "ratifyd_cache_total{kind=\"revocation\",result=\"miss\"} 1",
        "ratifyd_cache_total{kind=\"revocation\",result=\"hit\"} 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

/// A node that reaches nobody, with a folder of CRLs.
struct AirGapped {
    world: World,
    folder: tempfile::TempDir,
}

impl AirGapped {
    fn new() -> Self {
        let mut world = World::patient();
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        world.options.config.fetch = false;
        world.options.config.crl_folder = Some(folder.path().to_owned());
        Self { world, folder }
    }

    fn put(&self, file: &str, content: &[u8]) {
        let path = self.folder.path().join(file);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", lines.join("\n"))
}

/// Lets the folder be looked at again.
async fn a_second_passes() {
    tokio::time::pause();
    tokio::time::advance(limits::CRL_FOLDER_LOOK).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_node_that_reaches_nobody_judges_by_the_crls_in_its_folder() {
    let node = AirGapped::new();
    let (world, leaf) = (&node.world, node.world.leaf(&["ocsp"], &[&["a.crl"]]));
    unknown(world.ask(&leaf).await, "no CRL in a folder says it");
    let list = world.crl().sign(key(1));
    let other = CrlDraft::new(INTERMEDIATE).sign(key(2));
    for (file, content) in [
        ("a.crl", list.clone()),
        ("a.pem", pem(&list).into_bytes()),
        ("a.DER", list.clone()),
        ("all.pem", format!("all of them\n{}{}", pem(&other), pem(&list)).into_bytes()),
    ] {
        node.put(file, &content);
        assert_eq!(world.ask(&leaf).await, Ok(tomorrow()), "{file}");
        fs::remove_file(node.folder.path().join(file)).unwrap();
    }
    // Whatever the certificate names.
    node.put("a.crl", &world.crl().revoke(7, Some(1), None).sign(key(1)));
    for leaf in [world.leaf(&[], &[]), world.leaf(&["ocsp"], &[]), leaf] {
        revoked(world.ask(&leaf).await, "(keyCompromise), by a CRL in the folder");
    }
    assert!(world.server.asked().is_empty());
}

#[tokio::test]
async fn a_change_in_the_folder_counts_within_a_second() {
    let node = AirGapped::new();
    let (world, leaf) = (&node.world, node.world.leaf(&["ocsp"], &[]));
    let revocation = world.revocation();
    node.put("a.crl", &world.crl().sign(key(1)));
    assert_eq!(world.check(&revocation, &leaf).await, Ok(tomorrow()));
    node.put("b.crl", &CrlDraft { this_update: NOW - 60, ..world.crl() }.revoke(7, None, None).sign(key(1)));
    a_second_passes().await;
    revoked(world.check(&revocation, &leaf).await, "by a CRL in the folder");
    fs::remove_file(node.folder.path().join("b.crl")).unwrap();
    a_second_passes().await;
    assert_eq!(world.check(&revocation, &leaf).await, Ok(tomorrow()));
    fs::remove_file(node.folder.path().join("a.crl")).unwrap();
    a_second_passes().await;
    unknown(world.check(&revocation, &leaf).await, "no CRL in a folder says it");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_not_one_that_is_not_there() {
    let node = AirGapped::new();
    let (world, leaf) = (&node.world, node.world.leaf(&[], &[]));
    node.put("notes.txt", b"nothing");
    node.put(".hidden.crl", b"nothing");
    assert!(world.ask(&leaf).await.is_ok());
    node.put("a.crl", b"nothing");
    unknown(world.ask(&leaf).await, "a.crl: there is no -----BEGIN X509 CRL----- block in it");
    node.put("a.crl", &CrlDraft::new(ROOT).sign(key(2)));
    unknown(world.ask(&leaf).await, "its signature was not made by the key of CN=root");
    let list = world.crl().sign(key(1));
    for broken in
        [pem(&list).replace("END X509", "END"), pem(&list).replace("-----END X509 CRL-----", ""), pem(b"nothing")]
    {
        node.put("a.crl", broken.as_bytes());
        assert!(matches!(world.ask(&leaf).await, Err(NotGood::Unknown(_))), "{broken}");
    }
    node.put("a.crl", &list);
    assert!(world.ask(&leaf).await.is_ok());
    fs::set_permissions(node.folder.path().join("a.crl"), fs::Permissions::from_mode(0o666)).unwrap();
    unknown(world.ask(&leaf).await, "can be written by everybody");
    fs::remove_dir_all(node.folder.path()).unwrap();
    unknown(world.ask(&leaf).await, "No such file");
}

#[tokio::test]
async fn lists_of_changes_lie_in_the_folder_too_and_the_newest_list_counts() {
    let node = AirGapped::new();
    let (world, leaf) = (&node.world, node.world.leaf(&[], &[&["a.crl"]]));
    node.put(
        "a.crl",
        &world.crl().revoke(7, Some(6), None).with(freshest_of(&["http://crl.example/d.crl"])).sign(key(1)),
    );
    unknown(world.ask(&leaf).await, "it names a delta CRL, which is missing");
    node.put("d.crl", &CrlDraft::delta(ROOT).revoke(7, Some(8), None).sign(key(1)));
    assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
    node.put("old.crl", &CrlDraft { this_update: NOW - 9 * DAY, ..world.crl() }.revoke(7, Some(6), None).sign(key(1)));
    assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
    node.put("older.crl", &CrlDraft { this_update: NOW - 9 * DAY, ..world.crl() }.until(NOW - 1).sign(key(1)));
    assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
}

#[tokio::test]
async fn files_in_the_folder_at_the_limit_and_one_past_it() {
    let node = AirGapped::new();
    let list = node.world.crl().sign(key(1));
    for number in 0..limits::CRL_FILES {
        node.put(&format!("{number}.crl"), &list);
    }
    let leaf = node.world.leaf(&[], &[&["a.crl"]]);
    assert_eq!(node.world.ask(&leaf).await, Ok(tomorrow()));
    node.put("more.crl", &list);
    unknown(node.world.ask(&leaf).await, "has more than 256 CRLs");
}

#[tokio::test]
async fn with_a_folder_the_network_is_asked_for_what_it_does_not_hold() {
    let mut node = AirGapped::new();
    node.world.options.config.fetch = true;
    let (world, leaf) = (&node.world, node.world.leaf(&["ocsp"], &[]));
    world.server.body("ocsp", &world.ocsp(&leaf).sign(key(1)));
    assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
    assert_eq!(world.server.asked(), ["ocsp"]);
    node.put("a.crl", &world.crl().until(NOW - 1).sign(key(1)));
    assert_eq!(world.ask(&leaf).await, Ok(tomorrow()));
    assert_eq!(world.server.asked(), ["ocsp"], "its list has expired");
    node.put("a.crl", &world.crl().until(NOW + 60).sign(key(1)));
    assert_eq!(world.ask(&leaf).await, Ok(Some(at(NOW + 60))));
    assert!(world.server.asked().is_empty());
}
