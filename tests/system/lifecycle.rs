//! How the daemon starts, what it tells systemd, whose socket it takes, and how it stops.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ratify::artifact::Descriptor;
use ratify::limits;
use rustix::process::Signal;

use crate::common::registry::{Registry, describe};
use crate::gate::Gate;
use crate::node::{Node, descriptor, executor, signed};
use crate::programs::{DAEMON, Launch, Ran, SHIM, run, run_with_stdin, until};

/// Allows all, so that an answer tells that there is a daemon.
const OPEN: &str = "unmatched = \"allow\"\n[[executors]]\nscopes = [\"closed.example\"]\nmode = \"deny\"\n";

fn image() -> Descriptor {
    describe("application/vnd.oci.image.manifest.v1+json", b"image")
}

#[test]
fn the_watchdog_hears_of_the_daemon_again_and_again() {
    let mut node = Node::down(OPEN);
    node.launch(Launch { wrapper: &["env", "WATCHDOG_USEC=200000"], ..Launch::default() });
    for _ in 0..3 {
        node.daemon.as_mut().unwrap().tells("WATCHDOG=1");
    }
}

/// Fails unless this node's daemon answers now.
#[track_caller]
fn answers(node: &Node) {
    node.pull("registry.example/acme/web:v1", &image()).allows("EXEMPT", "`unmatched` is \"allow\"");
}

/// Runs a second daemon over a node's files, which must end by itself; returns what it says.
fn second(node: &Node) -> String {
    let mut command = Command::new(DAEMON);
    command.arg("--config").arg(node.config()).arg("--socket").arg(node.socket());
    for variable in ["NOTIFY_SOCKET", "RUST_LOG", "LISTEN_PID", "LISTEN_FDS"] {
        command.env_remove(variable);
    }
    run(&mut command).complained(1)
}

/// A node that verifies through a closed gate, the registry behind it, and a pull that waits there.
struct Held {
    node: Node,
    gate: Gate,
    registry: Registry,
    pull: thread::JoinHandle<Ran>,
    name: String,
    image: Descriptor,
}

impl Held {
    async fn start() -> Self {
        let registry = Registry::start().await;
        let gate = Gate::before(&registry).await;
        let image = signed(&registry, "acme/web");
        let node = Node::start(&executor(&format!("{}/acme/*", gate.host()), ""));
        let name = format!("{}/acme/web:v1", gate.host());
        let (mut shim, stdin) = (node.shim(Path::new(SHIM), &name, &image), descriptor(&image));
        let pull = thread::spawn(move || run_with_stdin(&mut shim, &stdin));
        gate.came(1).await;
        Self { node, gate, registry, pull, name, image }
    }
}

#[test]
fn systemd_is_told_when_it_answers_and_when_it_stops() {
    for stop in [Signal::TERM, Signal::INT] {
        let mut node = Node::down(OPEN);
        let mut daemon = node.spawn(Launch::default());
        daemon.tells("READY=1");
        UnixStream::connect(node.socket()).unwrap();
        daemon.signal(stop);
        daemon.tells("STOPPING=1");
        assert!(daemon.ends().success());
        assert!(node.log().contains("stopped"), "{}", node.log());
        // And it can be started again.
        node.launch(Launch::default());
        answers(&node);
    }
}

#[test]
fn its_own_socket_is_for_its_user_and_group_whatever_the_umask_is() {
    for umask in ["000", "077"] {
        let mut node = Node::down(OPEN);
        let script = format!("umask {umask}; exec \"$@\"");
        node.launch(Launch { wrapper: &["/bin/sh", "-c", &script, "sh"], ..Launch::default() });
        let mode = fs::metadata(node.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o660, "{mode:o}");
    }
}

#[test]
fn its_own_socket_goes_with_it() {
    let mut node = Node::start(OPEN);
    assert!(node.socket().exists());
    let daemon = node.daemon.take().unwrap();
    daemon.signal(Signal::TERM);
    assert!(daemon.ends().success());
    assert!(!node.socket().exists());
}

#[test]
fn what_took_the_place_of_its_socket_stays() {
    let mut node = Node::start(OPEN);
    fs::remove_file(node.socket()).unwrap();
    let listener = UnixListener::bind(node.socket()).unwrap();
    let daemon = node.daemon.take().unwrap();
    daemon.signal(Signal::TERM);
    assert!(daemon.ends().success());
    assert!(node.socket().exists());
    drop(listener);
}

/// Passes its stdin on as systemd does: as file descriptor 3, for the process whose id it names.
pub fn handed_over(pid: &str) -> String {
    format!("export LISTEN_PID={pid} LISTEN_FDS=1; exec \"$@\" 3<&0 </dev/null")
}

#[test]
fn a_socket_that_systemd_hands_over_is_served_and_left_in_place() {
    let mut node = Node::down(OPEN);
    fs::create_dir(node.path("run")).unwrap();
    let listener = UnixListener::bind(node.socket()).unwrap();
    let (script, stdin) = (handed_over("$$"), Some(OwnedFd::from(listener.try_clone().unwrap())));
    node.launch(Launch { wrapper: &["/bin/sh", "-c", &script, "sh"], stdin, ..Launch::default() });
    answers(&node);
    let daemon = node.daemon.take().unwrap();
    daemon.signal(Signal::TERM);
    assert!(daemon.ends().success());
    // systemd still holds it: who connects waits for the next daemon.
    UnixStream::connect(node.socket()).unwrap();
    drop(listener);
}

#[test]
fn a_socket_that_was_meant_for_another_process_is_not_taken() {
    let mut node = Node::down(OPEN);
    let listener = UnixListener::bind(node.path("other.sock")).unwrap();
    let (script, stdin) = (handed_over("1"), Some(OwnedFd::from(listener)));
    node.launch(Launch { wrapper: &["/bin/sh", "-c", &script, "sh"], stdin, ..Launch::default() });
    answers(&node);
}

#[test]
fn a_second_daemon_does_not_take_the_socket_of_one_that_answers() {
    let node = Node::start(OPEN);
    let complaint = second(&node);
    assert!(complaint.contains("another ratifyd answers there; stop it first"), "{complaint}");
    assert!(complaint.contains(node.socket().to_str().unwrap()), "{complaint}");
    answers(&node);
}

#[test]
fn a_socket_that_a_killed_daemon_left_is_replaced() {
    let mut node = Node::start(OPEN);
    node.daemon.take().unwrap().signal(Signal::KILL);
    assert!(node.socket().exists());
    node.launch(Launch::default());
    answers(&node);
}

#[test]
fn what_is_no_socket_is_not_replaced() {
    let node = Node::down(OPEN);
    fs::create_dir(node.path("run")).unwrap();
    for make in [|path| fs::write(path, "precious").unwrap(), |path| fs::create_dir(path).unwrap()] {
        let make: fn(std::path::PathBuf) = make;
        make(node.socket());
        let complaint = second(&node);
        assert!(complaint.contains("there is something else at this path"), "{complaint}");
        assert!(node.socket().exists());
        let _ = fs::remove_file(node.socket());
    }
}

#[test]
fn a_socket_that_cannot_be_made_ends_the_start_with_its_path() {
    let node = Node::down(OPEN);
    fs::write(node.path("run"), "a file").unwrap();
    let complaint = second(&node);
    assert!(complaint.contains(&format!("ratifyd: socket {}: ", node.socket().display())), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn asked_to_stop_it_ends_the_pull_in_flight_and_takes_no_new_one() {
    let Held { mut node, gate, registry: _registry, pull, name, image } = Held::start().await;
    let mut daemon = node.daemon.take().unwrap();
    daemon.signal(Signal::TERM);
    daemon.tells("STOPPING=1");
    node.pull(&name, &image).refuses("UNAVAILABLE", "ratifyd cannot be reached");
    assert!(!pull.is_finished());
    gate.open();
    pull.join().unwrap().allows("ALLOWED", "acme: ");
    assert!(daemon.ends().success());
    assert_eq!(node.logged("token=\"ALLOWED\""), 1, "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn asked_a_second_time_it_ends_at_once() {
    let Held { mut node, gate: _gate, registry: _registry, pull, .. } = Held::start().await;
    let mut daemon = node.daemon.take().unwrap();
    let start = Instant::now();
    daemon.signal(Signal::TERM);
    daemon.tells("STOPPING=1");
    daemon.signal(Signal::TERM);
    assert!(daemon.ends().success());
    assert!(start.elapsed() < limits::STOP_GRACE / 2, "{:?}", start.elapsed());
    pull.join().unwrap().reason(1, "UNAVAILABLE");
    assert!(node.log().contains("asked a second time"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_daemon_that_takes_over_keeps_its_socket_when_the_old_one_has_ended() {
    let Held { mut node, gate, registry: _registry, pull, .. } = Held::start().await;
    let mut old = node.daemon.take().unwrap();
    old.signal(Signal::TERM);
    old.tells("STOPPING=1");
    node.configure(OPEN);
    node.launch(Launch::default());
    answers(&node);
    gate.open();
    pull.join().unwrap().allows("ALLOWED", "acme: ");
    assert!(old.ends().success());
    answers(&node);
}

#[test]
fn killed_while_a_call_waits_the_pull_is_refused() {
    // The daemon's end of a connection that it never looked at.
    let mut node = Node::start(OPEN);
    let daemon = node.daemon.take().unwrap();
    daemon.signal(Signal::STOP);
    let (mut shim, stdin) = (node.shim(Path::new(SHIM), "registry.example/a:1", &image()), descriptor(&image()));
    let pull = thread::spawn(move || run_with_stdin(&mut shim, &stdin));
    let connected = || fs::read_to_string("/proc/net/unix").unwrap().matches(node.socket().to_str().unwrap()).count();
    until("the shim's connection", || connected() > 1);
    daemon.signal(Signal::KILL);
    let start = Instant::now();
    pull.join().unwrap().reason(1, "UNAVAILABLE");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn hangup_makes_it_read_its_files_again() {
    let node = Node::start(OPEN);
    let in_force = "configuration and trust in force";
    assert_eq!(node.logged(in_force), 1, "{}", node.log());
    for readings in 2..4 {
        node.daemon.as_ref().unwrap().signal(Signal::HUP);
        until("another reading", || node.logged(in_force) == readings);
        answers(&node);
    }
}
