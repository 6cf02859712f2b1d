//! What is down, hangs, vanishes or is written wrongly: nothing of it may allow a pull, and all of it is told.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::common::node::{Daemon, LINK, Node, executor, shim};
use super::common::notation::signers;
use super::common::registries::{Image, registries};
use super::common::tools::{run_with_stdin, until};
use super::proxy::{Proxy, Rule};
use super::{UNSIGNED, needs, steady_node};

/// An image that would be allowed, were all well.
fn signed(name: &str) -> Image {
    let image = registries().referrers.image(name);
    signers().trusted.sign(&image.by_digest());
    image
}

fn rules() -> String {
    rules_for(&registries().referrers.host)
}

fn rules_for(host: &str) -> String {
    executor(&format!("\"{host}\""), "", &signers().authority.certificate())
}

#[test]
fn a_daemon_that_is_down_refuses_and_one_that_is_back_allows() {
    needs!();
    let image = signed("down");
    let mut node = Node::over(Daemon::down(&rules()), LINK, &[]);
    node.refuses(&image, "UNAVAILABLE", "ratifyd cannot be reached");
    node.daemon.restart();
    node.allows(&image, "ALLOWED");
    let another = signed("down");
    node.daemon.kill();
    node.refuses(&another, "UNAVAILABLE", "ratifyd cannot be reached");
    node.daemon.restart();
    node.allows(&another, "ALLOWED");
}

#[test]
fn a_daemon_that_hangs_refuses_in_the_time_that_the_shim_is_given() {
    needs!();
    let image = signed("hung");
    let node = Node::over(Daemon::start(&rules()), LINK, &[("RATIFYD_TIMEOUT", "3s")]);
    node.daemon.signal(Signal::STOP);
    node.refuses(&image, "UNAVAILABLE", "has not answered within");
    node.daemon.signal(Signal::CONT);
    node.allows(&image, "ALLOWED");
}

#[test]
fn the_shim_answers_for_a_daemon_that_hangs_before_containerd_kills_it() {
    needs!();
    let image = signed("hung-by-default");
    let node = Node::start(&rules());
    node.daemon.signal(Signal::STOP);
    let start = Instant::now();
    node.refuses(&image, "UNAVAILABLE", "has not answered within");
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(7) && took < Duration::from_secs(10), "{took:?}");
    node.daemon.signal(Signal::CONT);
}

#[test]
fn a_registry_that_is_gone_after_the_name_was_resolved_refuses() {
    needs!();
    let proxy = Proxy::start(&registries().referrers.host, Rule::VanishAtReferrers);
    let image = signed("gone").at(&proxy.host);
    let node = Node::start(&rules_for(&proxy.host));
    node.refuses(&image, "UNAVAILABLE", &proxy.host);
    assert_eq!(proxy.requests("/referrers/").len(), 1);
    assert!(!proxy.requests("/manifests/v1").is_empty(), "containerd has resolved the name here");
}

#[test]
fn a_registry_that_hangs_after_the_name_was_resolved_refuses_in_time() {
    needs!();
    let proxy = Proxy::start(&registries().referrers.host, Rule::HoldReferrers);
    let image = signed("hanging").at(&proxy.host);
    let node = Node::over(Daemon::start(&rules_for(&proxy.host)), LINK, &[("RATIFYD_TIMEOUT", "3s")]);
    node.refuses(&image, "UNAVAILABLE", &proxy.host);
    proxy.set(Rule::Pass);
    node.allows(&image, "ALLOWED");
}

#[test]
fn a_daemon_that_is_killed_while_it_verifies_refuses_at_once() {
    needs!();
    let proxy = Proxy::start(&registries().referrers.host, Rule::HoldReferrers);
    let image = signed("killed-at-work").at(&proxy.host);
    let mut node = Node::start(&rules_for(&proxy.host));
    let Node { containerd, daemon } = &mut node;
    thread::scope(|threads| {
        let pull = threads.spawn(|| containerd.pull(&image.by_tag()));
        until("the daemon's question to the registry", || proxy.requests("/referrers/").len() == 1);
        daemon.kill();
        let pull = pull.join().unwrap();
        pull.refused("UNAVAILABLE", "ratifyd ");
    });
    node.holds_nothing_of(&image);
}

#[test]
fn a_daemon_that_is_asked_to_stop_ends_the_pulls_in_flight_and_takes_no_more() {
    needs!();
    let proxy = Proxy::start(&registries().referrers.host, Rule::HoldReferrers);
    let image = signed("stopped-at-work").at(&proxy.host);
    let node = Node::start(&rules_for(&proxy.host));
    thread::scope(|threads| {
        let pull = threads.spawn(|| node.pull(&image));
        until("the daemon's question to the registry", || proxy.requests("/referrers/").len() == 1);
        node.daemon.signal(Signal::TERM);
        until("the daemon's word that it stops", || node.daemon.log().contains("stopping"));
        proxy.set(Rule::Pass);
        let pull = pull.join().unwrap();
        assert!(pull.allowed(), "{pull:?}\n{}", node.daemon.log());
    });
    until("the end of the daemon", || node.daemon.has_ended());
    let late = registries().referrers.image("stopped-at-work").at(&proxy.host);
    node.refuses(&late, "UNAVAILABLE", "ratifyd cannot be reached");
}

#[test]
fn a_configuration_that_is_wrong_at_the_start_is_answered_with_its_place_until_it_is_mended() {
    needs!();
    let image = signed("wrong-configuration");
    let node = Node::start(&format!("\nunmatchd = \"allow\"\n{}", rules()));
    let place = format!("{}:2:1", node.daemon.config().display());
    let reason = node.refuses(&image, "MISCONFIGURED", &place);
    assert!(reason.contains("unmatchd") && reason.contains("unmatched"), "{reason}");
    node.daemon.configure(&rules());
    node.allows(&image, "ALLOWED");
}

#[test]
fn a_missing_configuration_is_answered_until_it_is_there() {
    needs!();
    let image = signed("missing-configuration");
    let mut daemon = Daemon::down(&rules());
    fs::remove_file(daemon.config()).unwrap();
    daemon.restart();
    let node = Node::over(daemon, LINK, &[]);
    node.refuses(&image, "MISCONFIGURED", node.daemon.config().to_str().unwrap());
    node.daemon.configure(&rules());
    node.allows(&image, "ALLOWED");
}

#[test]
fn a_configuration_that_goes_wrong_later_leaves_the_old_one_in_force() {
    needs!();
    let node = Node::start(&rules());
    node.allows(&signed("wrong-later"), "ALLOWED");
    node.daemon.configure("unmatched = \"allow\"\nexecutors = [");
    node.allows(&signed("wrong-later"), "ALLOWED");
    node.refuses(&registries().referrers.image("wrong-later"), "DENIED", UNSIGNED);
    assert!(node.daemon.log().contains("config.toml:2"), "{}", node.daemon.log());
}

#[test]
fn the_shim_prints_one_line_and_leaves_no_child() {
    needs!();
    let node = steady_node();
    let socket = node.daemon.socket();
    let (allowed, refused) = (signed("one-line"), registries().referrers.image("one-line"));
    let mark = format!("RATIFYD_TEST_MARK={}", allowed.digest);
    let (variable, value) = mark.split_once('=').unwrap();
    for (image, link, code, token) in [
        (&allowed, "ratify-image-verifier", 0, "ALLOWED "),
        (&refused, "ratify-image-verifier", 1, "DENIED "),
        (&refused, "10-ratifyd-audit", 0, "AUDIT "),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(link);
        std::os::unix::fs::symlink(shim(), &program).unwrap();
        let ran = run_with_stdin(
            Command::new(&program)
                .args(["-name", &image.by_digest(), "-digest", &image.digest])
                .args(["-stdin-media-type", "application/vnd.oci.descriptor.v1+json"])
                .env("RATIFYD_SOCKET", &socket)
                .env(variable, value),
            &image.descriptor(),
        );
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stdout.starts_with(token) && ran.stdout.ends_with('\n'), "{ran:?}");
        assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
        assert_eq!(ran.stderr, "");
    }
    // A child, whatever session it went to, would have the environment.
    assert_eq!(processes_with(&mark), Vec::<String>::new());
    // And likewise below containerd, where no test holds a pull open.
    let own = Node::start(&rules());
    own.allows(&signed("one-line"), "ALLOWED");
    let socket = format!("RATIFYD_SOCKET={}", own.daemon.socket().display());
    let left = processes_with(&socket);
    let containerd = own.containerd.pid().as_raw_nonzero().to_string();
    assert!(left.contains(&containerd), "the search finds containerd itself: {left:?}");
    assert!(left.iter().all(|pid| *pid == containerd || parent_of(&containerd) == *pid), "{left:?}");
}

/// The processes that have this in their environment.
fn processes_with(variable: &str) -> Vec<String> {
    let folders = fs::read_dir("/proc").unwrap().flatten();
    let pids = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let has = |pid: &String| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
    };
    pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit())).filter(has).collect()
}

fn parent_of(pid: &str) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().to_owned()
}
