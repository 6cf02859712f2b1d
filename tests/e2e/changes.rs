//! What changes while pulls run: trust, rules, and the daemon itself.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;

use super::common::node::{Daemon, LINK, Node, executor};
use super::common::notation::{Authority, signers};
use super::common::registries::registries;
use super::common::tools::until;
use super::proxy::{Proxy, Rule};
use super::{UNSIGNED, needs};

#[test]
fn deleting_the_trusted_certificate_refuses_the_next_pull_and_putting_it_back_allows_it() {
    needs!();
    let registry = &registries().referrers;
    let image = || {
        let image = registry.image("deleted-trust");
        signers().trusted.sign(&image.by_digest());
        image
    };
    let folder = tempfile::tempdir().unwrap();
    let (kept, certificate) = (signers().authority.certificate(), folder.path().join("root.pem"));
    fs::copy(&kept, &certificate).unwrap();
    let node = Node::start(&executor(&format!("\"{}\"", registry.host), "", &certificate));
    let known = image();
    node.allows(&known, "ALLOWED");

    fs::remove_file(&certificate).unwrap();
    let again = node.pull(&known);
    let file = certificate.display().to_string();
    again.refused("MISCONFIGURED", &file);
    let fresh = image();
    node.refuses(&fresh, "MISCONFIGURED", &file);

    fs::copy(&kept, &certificate).unwrap();
    node.allows(&known, "ALLOWED");
    node.allows(&fresh, "ALLOWED");

    fs::write(&certificate, "").unwrap();
    node.pull(&known).refused("MISCONFIGURED", &file);
    node.refuses(&image(), "MISCONFIGURED", &file);

    // Another authority in its place: the file is in order, and nothing that it does not vouch for is allowed.
    fs::copy(Authority::create().certificate(), &certificate).unwrap();
    node.pull(&known).refused("DENIED", "is not trusted");
    node.refuses(&image(), "DENIED", "trusted");
}

#[test]
fn a_pull_in_flight_ends_under_the_rules_it_began_with_and_the_next_one_under_the_new() {
    needs!();
    let proxy = Proxy::start(&registries().referrers.host, Rule::HoldReferrers);
    let image = registries().referrers.image("in-flight");
    signers().trusted.sign(&image.by_digest());
    let image = image.at(&proxy.host);
    let scope = format!("\"{}\"", proxy.host);
    let strict = executor(&scope, "", &Authority::create().certificate());
    let node = Node::start(&executor(&scope, "", &signers().authority.certificate()));
    thread::scope(|threads| {
        let early = threads.spawn(|| node.pull(&image));
        until("the first pull's question to the registry", || proxy.requests("/referrers/").len() == 1);
        node.daemon.configure(&strict);
        let late = threads.spawn(|| node.pull(&image));
        until("the second pull's question to the registry", || proxy.requests("/referrers/").len() == 2);
        proxy.set(Rule::Pass);
        let (early, late) = (early.join().unwrap(), late.join().unwrap());
        assert!(early.allowed(), "{early:?}\n{}", node.daemon.log());
        late.refused("DENIED", "is not trusted");
    });
}

#[test]
fn no_pull_that_begins_after_a_reload_to_stricter_rules_follows_the_old_ones() {
    needs!();
    let registry = &registries().referrers;
    let image = registry.image("reload");
    signers().trusted.sign(&image.by_digest());
    let scope = format!("\"{}\"", registry.host);
    // Nothing is remembered, so that there is work under way at each moment.
    let remember = "remember = { allow = \"0s\", deny = \"0s\" }\n";
    let lenient = format!("{remember}{}", executor(&scope, "", &signers().authority.certificate()));
    let strict = format!("{remember}{}", executor(&scope, "", &Authority::create().certificate()));
    let node = Node::start(&lenient);
    for hangup in [true, false] {
        let (changed, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        let (before, after) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|threads| {
            let _stop = StopAtEnd(&stop);
            for _ in 0..3 {
                threads.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let began_after = changed.load(Ordering::SeqCst);
                        let pull = node.pull(&image);
                        if pull.allowed() {
                            assert!(!began_after, "the old rules decided\n{}", node.daemon.log());
                            before.fetch_add(1, Ordering::SeqCst);
                        } else {
                            pull.refused("DENIED", "is not trusted");
                            after.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
            until("pulls under the old rules", || before.load(Ordering::SeqCst) >= 5);
            assert_eq!(after.load(Ordering::SeqCst), 0, "{}", node.daemon.log());
            node.daemon.configure(&strict);
            if hangup {
                node.daemon.signal(Signal::HUP);
            }
            changed.store(true, Ordering::SeqCst);
            until("pulls under the new rules", || after.load(Ordering::SeqCst) >= 10);
        });
        node.daemon.configure(&lenient);
        node.allows(&image, "ALLOWED");
    }
}

#[test]
fn a_daemon_that_is_killed_again_and_again_never_lets_an_unsigned_image_through() {
    needs!();
    let registry = &registries().referrers;
    let signed = registry.image("killed");
    signers().trusted.sign(&signed.by_digest());
    let unsigned = registry.image("killed-unsigned");
    let rules = executor(&format!("\"{}\"", registry.host), "", &signers().authority.certificate());
    let rules = format!("remember = {{ allow = \"0s\", deny = \"0s\" }}\n{rules}");
    let mut node = Node::over(Daemon::down(&rules), LINK, &[]);
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let Node { containerd, daemon } = &mut node;
    thread::scope(|threads| {
        let _stop = StopAtEnd(&stop);
        for (image, verdict) in [(&unsigned, "DENIED"), (&unsigned, "DENIED"), (&signed, "ALLOWED")] {
            let (stop, refused, containerd) = (&stop, &refused, &*containerd);
            threads.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let pull = containerd.pull(&image.by_tag());
                    let token = if pull.allowed() { "ALLOWED" } else { pull.refusal().split(' ').next().unwrap() };
                    assert!(token == verdict || token == "UNAVAILABLE", "{pull:?}");
                    refused.fetch_add(usize::from(!pull.allowed()), Ordering::SeqCst);
                }
            });
        }
        let more = |than: usize| until("refusals", || refused.load(Ordering::SeqCst) > than);
        for _ in 0..5 {
            daemon.restart();
            more(refused.load(Ordering::SeqCst) + 3);
            daemon.kill();
            more(refused.load(Ordering::SeqCst) + 1);
        }
    });
    assert!(node.daemon.verdicts().iter().any(|line| line.contains("DENIED")), "{}", node.daemon.log());
    node.holds_nothing_of(&unsigned);
    node.daemon.restart();
    node.allows(&signed, "ALLOWED");
    node.refuses(&unsigned, "DENIED", UNSIGNED);
}

/// Tells threads to stop, also when the test fails before its end.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
