//! More connections than anybody needs: those who really ask are answered all the same.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use ratify::artifact::Descriptor;
use ratify::limits;
use ratify::wire::v1;
use ratify::wire::v1::node_client::NodeClient;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tonic::Request;

use crate::common::registry::describe;
use crate::needs_root;
use crate::node::Node;
use crate::programs::{Launch, until};

/// Allows all, so that an answer tells that the question was.
const OPEN: &str = "unmatched = \"allow\"\n[[executors]]\nscopes = [\"closed.example\"]\nmode = \"deny\"\n";

const NAME: &str = "registry.example/acme/web:v1";

/// How a client of HTTP/2 begins (RFC 9113, section 3.4), with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn image() -> Descriptor {
    describe("application/vnd.oci.image.manifest.v1+json", b"image")
}

fn let_this_process_open_many_files() {
    let files = getrlimit(Resource::Nofile);
    let many = Some(files.maximum.unwrap_or(u64::MAX).max(20_000));
    setrlimit(Resource::Nofile, Rlimit { current: Some(20_000), maximum: many }).unwrap();
}

/// Files that the daemon has open.
fn open_files(node: &Node) -> usize {
    let pid = node.daemon.as_ref().unwrap().pid();
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Connections that say nothing, nonsense, the start of HTTP/2, or all but the end of it, in turn.
fn idle(node: &Node, count: usize) -> Vec<UnixStream> {
    let connection = |index: usize| {
        let mut connection = UnixStream::connect(node.socket()).unwrap();
        let words = [&b""[..], b"GET / HTTP/1.1\r\n\r\n", PREFACE, &PREFACE[..20]][index % 4];
        // One that is closed already is no longer listened to.
        let _ = connection.write_all(words);
        connection
    };
    (0..count).map(connection).collect()
}

#[test]
fn ten_thousand_idle_connections_delay_no_pull_and_are_not_all_kept() {
    needs_root!();
    let_this_process_open_many_files();
    let node = Node::start(OPEN);
    let before = open_files(&node);

    let connections = idle(&node, 10_000);
    node.pull(NAME, &image()).allows("EXEMPT", "`unmatched` is \"allow\"");
    let kept = open_files(&node) - before;
    assert!(kept <= limits::CONNECTIONS + 16, "{kept} connections are open");
    assert!(node.logged("too many connections") > 0, "{}", node.log());
    assert!(node.logged("too many connections") < 20, "{}", node.log());

    drop(connections);
    until("the end of the connections", || open_files(&node) <= before + 16);
    node.pull(NAME, &image()).allows("EXEMPT", "`unmatched` is \"allow\"");
}

/// Connections that ask for answers without end and read none, so that the daemon cannot write any more.
fn stuck(node: &Node, count: usize) -> Vec<UnixStream> {
    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0ABCDEFGH";
    let connection = |_| {
        let mut connection = UnixStream::connect(node.socket()).unwrap();
        connection.set_nonblocking(true).unwrap();
        connection.write_all(PREFACE).unwrap();
        // Until the socket takes no more, or the daemon has closed it.
        while connection.write(PING).is_ok() {}
        connection
    };
    (0..count).map(connection).collect()
}

#[test]
fn connections_on_which_nobody_reads_answers_give_way_too() {
    needs_root!();
    let mut node = Node::down(OPEN);
    node.launch(Launch { wrapper: &["prlimit", "--nofile=100:100"], ..Launch::default() });
    let held = stuck(&node, 120);
    node.pull(NAME, &image()).allows("EXEMPT", "`unmatched` is \"allow\"");
    until("the end of those that gave way", || open_files(&node) <= 50 + 25);
    drop(held);
}

#[test]
fn as_many_connections_as_there_are_seats_are_all_kept() {
    needs_root!();
    let_this_process_open_many_files();
    let node = Node::start(OPEN);
    let silent: Vec<_> = (0..limits::CONNECTIONS).map(|_| UnixStream::connect(node.socket()).unwrap()).collect();
    // What else the daemon has open changes while it starts.
    until("all connections", || open_files(&node) > silent.len());

    assert_eq!(node.logged("too many connections"), 0, "{}", node.log());
    assert!(is_open(&silent[0]));

    node.pull(NAME, &image()).allows("EXEMPT", "`unmatched` is \"allow\"");
    until("the end of the oldest", || !is_open(&silent[0]));
    assert_eq!(node.logged("too many connections"), 1, "{}", node.log());
}

/// Whether its other end is still there.
fn is_open(mut connection: &UnixStream) -> bool {
    connection.set_nonblocking(true).unwrap();
    let mut bytes = [0; 64];
    loop {
        match connection.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn out_of_file_descriptors_the_daemon_lets_go_of_idle_connections() {
    needs_root!();
    let mut node = Node::down(OPEN);
    node.launch(Launch { wrapper: &["prlimit", "--nofile=24:24"], ..Launch::default() });
    let held = idle(&node, 64);
    node.pull(NAME, &image()).allows("EXEMPT", "`unmatched` is \"allow\"");
    assert!(node.logged("no connection can be accepted: Too many open files") > 0, "{}", node.log());
    assert!(node.logged("no connection can be accepted") <= held.len() + 1, "{}", node.log());
}

/// The settings with which the daemon greets a client (RFC 9113, section 6.5), by identifier.
fn settings(node: &Node) -> BTreeMap<u16, u32> {
    let mut connection = UnixStream::connect(node.socket()).unwrap();
    connection.write_all(PREFACE).unwrap();
    let mut head = [0; 9];
    connection.read_exact(&mut head).unwrap();
    let [0, 0, length, 4, ..] = head else { panic!("no settings: {head:?}") };
    let mut settings = vec![0; length.into()];
    connection.read_exact(&mut settings).unwrap();
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    let pair = |entry: &[u8]| (u16::try_from(number(&entry[..2])).unwrap(), number(&entry[2..]));
    settings.chunks(6).map(pair).collect()
}

#[test]
fn a_client_is_told_how_many_calls_and_bytes_the_daemon_takes() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    const INITIAL_WINDOW_SIZE: u16 = 4;
    const MAX_HEADER_LIST_SIZE: u16 = 6;
    let settings = settings(&Node::start(OPEN));
    assert_eq!(settings[&MAX_CONCURRENT_STREAMS], limits::CALLS_PER_CONNECTION);
    assert_eq!(settings[&MAX_HEADER_LIST_SIZE], limits::CALL_HEADER_BYTES);
    assert_eq!(settings[&INITIAL_WINDOW_SIZE], limits::CALL_WINDOW_BYTES);
}

#[tokio::test]
async fn a_call_with_more_headers_than_that_is_refused() {
    let node = Node::start(OPEN);
    // Names, overhead and gRPC's own headers take the rest of 1 KiB.
    let limit = usize::try_from(limits::CALL_HEADER_BYTES).unwrap();
    for (length, answered) in [(limit - 1024, true), (limit + 1, false)] {
        let mut request = Request::new(v1::StatusRequest {});
        request.metadata_mut().insert("padding", "x".repeat(length).parse().unwrap());
        let reply = NodeClient::new(node.channel().await).status(request).await;
        assert_eq!(reply.is_ok(), answered, "{length}: {reply:?}");
    }
}
