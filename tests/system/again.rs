//! Daemons that come and go behind one listening socket, as under systemd, while pulls wait: each pull gets its answer
//! of one of them, and is asked no more often than it must.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use ratify::artifact::Descriptor;
use ratify::limits;
use ratify::wire::v1;
use ratify::wire::v1::image_verifier_server::{ImageVerifier, ImageVerifierServer};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

use crate::common::registry::{Registry, describe};
use crate::gate::Gate;
use crate::lifecycle::handed_over;
use crate::node::{Node, arguments, descriptor, executor, shim, signed};
use crate::programs::{Launch, Ran, SHIM, run_with_stdin, until};

/// A node whose socket outlives its daemons, and a registry behind a closed gate.
struct Held {
    node: Node,
    listener: UnixListener,
    gate: Gate,
    registry: Registry,
    image: Descriptor,
    name: String,
}

impl Held {
    async fn start() -> Self {
        let registry = Registry::start().await;
        let gate = Gate::before(&registry).await;
        let image = signed(&registry, "acme/web");
        let node = Node::down(&executor(&format!("{}/acme/*", gate.host()), ""));
        fs::create_dir(node.path("run")).unwrap();
        let listener = UnixListener::bind(node.socket()).unwrap();
        let name = format!("{}/acme/web:v1", gate.host());
        let mut held = Self { node, listener, gate, registry, image, name };
        held.launch();
        held
    }

    /// Starts a daemon on the socket.
    fn launch(&mut self) {
        let (script, stdin) = (handed_over("$$"), Some(OwnedFd::from(self.listener.try_clone().unwrap())));
        self.node.launch(Launch { wrapper: &["/bin/sh", "-c", &script, "sh"], stdin, ..Launch::default() });
    }

    /// Starts a pull.
    fn pull(&self) -> JoinHandle<Ran> {
        let (mut shim, stdin) = (self.node.shim(Path::new(SHIM), &self.name, &self.image), descriptor(&self.image));
        thread::spawn(move || run_with_stdin(&mut shim, &stdin))
    }

    fn kill(&mut self) {
        let daemon = self.node.daemon.take().unwrap();
        daemon.signal(Signal::KILL);
        daemon.ends();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_daemon_that_is_killed_costs_no_pull_that_it_had_in_hand() {
    let mut held = Held::start().await;
    let pulls = [held.pull(), held.pull(), held.pull()];
    held.gate.came(1).await;
    until("the pulls", || held.node.status()["uptimeSeconds"].is_u64() && connections(&held.node) >= 3);
    for lives in 1..3 {
        held.kill();
        held.launch();
        held.gate.came(1 + lives).await;
    }
    assert!(pulls.iter().all(|pull| !pull.is_finished()));
    held.gate.open();
    for pull in pulls {
        pull.join().unwrap().allows("ALLOWED", "acme: ");
    }
    // The dead gave no answer, and those who asked together were given one.
    assert_eq!(held.node.logged("token=\"ALLOWED\""), 3, "{}", held.node.log());
    assert!(held.registry.count("/referrers/") >= 1);
}

/// How many have connected to the node's socket.
fn connections(node: &Node) -> usize {
    let path = node.socket();
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    sockets.lines().filter(|line| line.ends_with(path.to_str().unwrap())).count() - 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_daemon_that_stops_at_once_costs_no_pull_that_it_had_in_hand() {
    let mut held = Held::start().await;
    let pull = held.pull();
    held.gate.came(1).await;
    let mut daemon = held.node.daemon.take().unwrap();
    daemon.signal(Signal::TERM);
    daemon.tells("STOPPING=1");
    daemon.signal(Signal::TERM);
    assert!(daemon.ends().success());
    held.launch();
    held.gate.came(2).await;
    held.gate.open();
    pull.join().unwrap().allows("ALLOWED", "acme: ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_daemon_that_stops_answers_what_it_has_in_hand_and_leaves_what_comes_to_the_next_one() {
    let mut held = Held::start().await;
    let first = held.pull();
    held.gate.came(1).await;
    let mut daemon = held.node.daemon.take().unwrap();
    daemon.signal(Signal::TERM);
    daemon.tells("STOPPING=1");
    let second = held.pull();
    until("the second pull", || connections(&held.node) >= 2);
    held.gate.open();
    first.join().unwrap().allows("ALLOWED", "acme: ");
    assert!(daemon.ends().success());
    assert!(!second.is_finished());
    held.launch();
    second.join().unwrap().allows("ALLOWED", "acme: ");
    assert_eq!(held.node.logged("token=\"ALLOWED\""), 2, "{}", held.node.log());
}

fn image() -> Descriptor {
    describe("application/vnd.oci.image.manifest.v1+json", b"image")
}

/// Asks at this socket, within this time if any is given.
fn ask(socket: &Path, limit: Option<&str>) -> Ran {
    let mut command = shim(Path::new(SHIM), socket);
    command.args(arguments("registry.example/a:1", image().digest.as_str()));
    run_with_stdin(command.envs(limit.map(|limit| ("RATIFYD_TIMEOUT", limit))), &descriptor(&image()))
}

/// A socket on which every connection is treated like this, and how many there were.
fn socket(treat: impl Fn(UnixStream) + Send + 'static) -> (TempDir, Arc<AtomicUsize>) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("sock")).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            treat(stream.unwrap());
        }
    });
    (folder, count)
}

#[test]
fn a_connection_that_breaks_again_and_again_refuses_the_pull_with_the_cause() {
    let at_once = |stream: UnixStream| drop(stream);
    let after_a_word = |mut stream: UnixStream| {
        // The client has begun to speak HTTP/2.
        let _ = stream.read(&mut [0; 16]);
    };
    let after_an_answer_begun = |mut stream: UnixStream| {
        let _ = stream.read(&mut [0; 4096]);
        // An empty frame of settings (RFC 9113, section 6.5), and the end.
        let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        let _ = stream.read(&mut [0; 4096]);
    };
    for treat in [at_once, after_a_word, after_an_answer_begun] as [fn(UnixStream); 3] {
        let (folder, count) = socket(treat);
        let start = Instant::now();
        let ran = ask(&folder.path().join("sock"), None);
        ran.refuses("UNAVAILABLE", &format!("ended the connection without an answer (try {})", limits::ASK_TRIES));
        assert!(ran.stdout.contains("see journalctl -u ratifyd"), "{ran:?}");
        // tonic may connect once more for each try, before the question is sent.
        let tries = limits::ASK_TRIES as usize;
        assert!((tries..=2 * tries).contains(&count.load(Ordering::SeqCst)), "{count:?}");
        assert!(start.elapsed() < limits::SHIM_TIMEOUT / 2, "{:?}", start.elapsed());
    }
}

#[test]
fn a_connection_that_breaks_again_and_again_is_given_up_at_the_deadline() {
    // The third pause alone is longer.
    let (folder, count) = socket(drop);
    let start = Instant::now();
    let ran = ask(&folder.path().join("sock"), Some("300ms"));
    ran.refuses("UNAVAILABLE", "ended the connection without an answer (try 3)");
    assert!((3..=6).contains(&count.load(Ordering::SeqCst)), "{count:?}");
    assert!(start.elapsed() < limits::SHIM_TIMEOUT / 2, "{:?}", start.elapsed());
}

#[test]
fn a_socket_that_nobody_owns_any_more_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    let gone = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(listener);
        drop(stream);
    });
    let ran = ask(&path, None);
    gone.join().unwrap();
    ran.refuses("UNAVAILABLE", "ratifyd cannot be reached");
    assert!(ran.stdout.contains("Connection refused"), "{ran:?}");
}

/// A daemon that has this to say, and counts how often it was asked.
struct Says(Arc<AtomicUsize>, Result<i32, Code>);

#[tonic::async_trait]
impl ImageVerifier for Says {
    async fn verify(&self, _: Request<v1::VerifyRequest>) -> Result<Response<v1::VerifyReply>, Status> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let token = self.1.map_err(|code| Status::new(code, "so it says"))?;
        let verdict = v1::Verdict { token, cause: "so it says".to_owned(), id: String::new() };
        Ok(Response::new(v1::VerifyReply { verdict: Some(verdict), remembered: false }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_daemon_that_answers_is_never_asked_twice() {
    let verdicts = (0..8).map(Ok);
    let refusals = (1..17).map(|code| Err(Code::from_i32(code)));
    for says in verdicts.chain(refusals) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let incoming = UnixListenerStream::new(tokio::net::UnixListener::bind(&path).unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let service = ImageVerifierServer::new(Says(Arc::clone(&asked), says));
        let server = tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let ran = ask(&path, None);
        server.abort();
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{says:?}: {ran:?}");
        assert_eq!(ran.code == Some(0), matches!(says, Ok(1..=3)), "{says:?}: {ran:?}");
    }
}
