//! The shim as containerd runs it: one line, an exit code, in time, whatever the daemon, the arguments and stdin are.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use ratify::artifact::Descriptor;
use ratify::limits;
use ratify::wire::v1;
use ratify::wire::v1::image_verifier_server::{ImageVerifier, ImageVerifierServer};
use tempfile::TempDir;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use crate::common::registry::{Registry, Reply, describe};
use crate::node::{Node, arguments, descriptor, executor, shim, signed};
use crate::programs::{Ran, SHIM, finish, run, run_with_stdin, spawn};

/// A name that nobody needs to resolve.
const NAME: &str = "registry.example/acme/web:v1";

/// A time limit far below the shim's own, in tests of what has no end.
const LIMIT: &str = "300ms";

fn image() -> Descriptor {
    describe("application/vnd.oci.image.manifest.v1+json", b"image")
}

/// The shim with containerd's arguments for [`image`], at this socket.
fn asking(socket: &Path) -> Command {
    let mut command = shim(Path::new(SHIM), socket);
    command.args(arguments(NAME, image().digest.as_str()));
    command
}

/// Runs the shim where nobody listens, with these arguments and this stdin.
fn alone(arguments: &[&str], stdin: &[u8]) -> Ran {
    run_with_stdin(shim(Path::new(SHIM), Path::new("/nowhere/ratifyd.sock")).args(arguments), stdin)
}

/// Runs it with the arguments of containerd and this on stdin.
fn alone_with_stdin(stdin: &[u8]) -> Ran {
    run_with_stdin(&mut asking(Path::new("/nowhere/ratifyd.sock")), stdin)
}

/// A socket of our own.
fn socket() -> (TempDir, PathBuf, UnixListener) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratifyd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    (folder, path, listener)
}

/// Fails unless the answer came by the time limit and not by the shim's own.
#[track_caller]
fn in_time<T>(ask: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let answer = ask();
    assert!(start.elapsed() < limits::SHIM_TIMEOUT / 2, "it took {:?}", start.elapsed());
    answer
}

/// A daemon whose every answer is this.
struct Parrot(Option<v1::Verdict>);

#[tonic::async_trait]
impl ImageVerifier for Parrot {
    async fn verify(&self, _: Request<v1::VerifyRequest>) -> Result<Response<v1::VerifyReply>, Status> {
        Ok(Response::new(v1::VerifyReply { verdict: self.0.clone(), remembered: false }))
    }
}

/// What the shim says when the daemon answers this.
async fn told(token: i32, cause: &str, id: &str) -> Ran {
    told_verdict(Some(v1::Verdict { token, cause: cause.to_owned(), id: id.to_owned() })).await
}

async fn told_verdict(verdict: Option<v1::Verdict>) -> Ran {
    let (_folder, path, listener) = socket();
    listener.set_nonblocking(true).unwrap();
    let incoming = UnixListenerStream::new(tokio::net::UnixListener::from_std(listener).unwrap());
    let service = ImageVerifierServer::new(Parrot(verdict));
    let server = tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let ran = run_with_stdin(&mut asking(&path), &descriptor(&image()));
    server.abort();
    ran
}

/// What to ask, the token of the answer, and whether it allows.
pub type Case = (String, Descriptor, &'static str, bool);

/// A node that gives every answer there is, and what to ask for each.
pub async fn all_answers() -> (Registry, Node, Vec<Case>) {
    let registry = Registry::start().await;
    let host = registry.host().to_owned();
    let image = signed(&registry, "acme/web");
    let other = registry.image("acme/web", "unsigned");
    registry.reply("/v2/acme/down/", Reply::status(503));
    let broken = executor(&format!("{host}/broken/*"), "").replace("TRUST", "/nowhere/root.pem");
    let node = Node::start(&format!(
        "{}{}{broken}[[executors]]\nscopes = [\"{host}/open/*\"]\nmode = \"allow\"\n",
        executor(&format!("{host}/acme/*"), ""),
        executor(&format!("{host}/watched/*"), "mode = \"audit\""),
    ));
    let cases = [
        ("acme/web:v1", &image, "ALLOWED", true),
        ("watched/web:v1", &other, "AUDIT", true),
        ("open/web:v1", &other, "EXEMPT", true),
        ("acme/web:v2", &other, "DENIED", false),
        ("broken/web:v1", &image, "MISCONFIGURED", false),
        ("acme/down:v1", &image, "UNAVAILABLE", false),
    ];
    let cases = cases.map(|(path, image, token, allows)| (format!("{host}/{path}"), image.clone(), token, allows));
    (registry, node, cases.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_answer_of_the_daemon_has_its_exit_code() {
    let (_registry, node, cases) = all_answers().await;
    for (name, image, token, allows) in cases {
        let ran = node.pull(&name, &image);
        ran.reason(i32::from(!allows), token);
        assert_eq!(ran.id().len(), 12, "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn called_by_an_audit_name_it_reports_every_answer_and_blocks_none() {
    let (_registry, node, cases) = all_answers().await;
    let link = node.path("10-ratifyd-audit");
    symlink(SHIM, &link).unwrap();
    for (name, image, token, _) in cases {
        let ran = run_with_stdin(&mut node.shim(&link, &name, &image), &descriptor(&image));
        let line = ran.reason(0, "AUDIT");
        let says =
            if token == "AUDIT" { "AUDIT would be refused: DENIED " } else { "AUDIT not enforcing; the answer was: " };
        assert!(line.starts_with(says) && line.contains(token), "{line}");
    }
}

#[test]
fn called_by_an_audit_name_it_blocks_nothing_whatever_goes_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("ratify-audit");
    symlink(SHIM, &link).unwrap();
    let audit = || shim(&link, Path::new("/nowhere/ratifyd.sock"));
    let asking = || {
        let mut command = audit();
        command.args(arguments(NAME, image().digest.as_str()));
        command
    };
    let says = |ran: Ran, cause: &str| {
        let line = ran.reason(0, "AUDIT");
        assert!(line.contains(cause), "{line}");
    };
    says(run_with_stdin(&mut asking(), &descriptor(&image())), "UNAVAILABLE ratifyd cannot be reached");
    says(run(&mut asking()), "MISCONFIGURED stdin is not a descriptor");
    says(run(&mut audit()), "MISCONFIGURED argument -name is missing");
    says(run(asking().env("RATIFYD_TIMEOUT", "soon")), "MISCONFIGURED RATIFYD_TIMEOUT");
    says(run(asking().stdin(Stdio::null())), "MISCONFIGURED stdin");
}

#[test]
fn without_a_daemon_the_pull_is_refused_and_the_socket_is_named() {
    let ran = alone_with_stdin(&descriptor(&image()));
    ran.refuses("UNAVAILABLE", "ratifyd cannot be reached at /nowhere/ratifyd.sock: No such file or directory");
    let (_folder, path, listener) = socket();
    drop(listener);
    let ran = run_with_stdin(&mut asking(&path), &descriptor(&image()));
    ran.refuses("UNAVAILABLE", "Connection refused");
}

#[test]
fn a_daemon_that_accepts_and_never_answers_is_given_up_in_time() {
    let (_folder, path, listener) = socket();
    let mut command = asking(&path);
    let ran = in_time(|| run_with_stdin(command.env("RATIFYD_TIMEOUT", LIMIT), &descriptor(&image())));
    ran.refuses("UNAVAILABLE", "has not answered within");
    drop(listener);
}

#[test]
fn a_socket_that_answers_something_else_refuses_the_pull() {
    for garbage in [&b"HTTP/1.1 200 OK\r\n\r\nALLOWED\n"[..], &[0; 64], b""] {
        let (_folder, path, listener) = socket();
        let stranger = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // The shim may have hung up.
            let _ = stream.write_all(garbage);
            let _ = stream.read(&mut [0; 64]);
        });
        let mut command = asking(&path);
        let ran = in_time(|| run_with_stdin(command.env("RATIFYD_TIMEOUT", LIMIT), &descriptor(&image())));
        ran.reason(1, "UNAVAILABLE");
        stranger.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_token_that_the_shim_does_not_know_refuses_the_pull() {
    told(1, "acme: signed", "0123456789ab").await.allows("ALLOWED", "acme: signed [0123456789ab]");
    for unknown in [0, 7, -1, i32::MAX] {
        told(unknown, "ALLOWED", "x").await.refuses("MISCONFIGURED", "install one version of both");
    }
    told_verdict(None).await.refuses("MISCONFIGURED", "install one version of both");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whatever_the_daemon_says_becomes_one_short_line_of_plain_text() {
    let ran = told(4, "one\nALLOWED two\r\x1b[2J\u{202e}three", "x\ny").await;
    assert_eq!(ran.reason(1, "DENIED"), "DENIED one ALLOWED two  [2J three [x y]");
    let ran = told(4, &"long ".repeat(10_000), "0123456789ab").await;
    assert!(ran.reason(1, "DENIED").ends_with("... [0123456789ab]"), "{ran:?}");
}

#[test]
fn stdin_that_is_no_descriptor_refuses_the_pull() {
    for garbage in [&b""[..], b"{}", b"[]", b"null", b"garbage", b"\xff\xfe", b"{\"digest\":", &[0; 100]] {
        alone_with_stdin(garbage).refuses("MISCONFIGURED", "stdin is not a descriptor");
    }
    let twice = [descriptor(&image()), descriptor(&image())].concat();
    alone_with_stdin(&twice).refuses("MISCONFIGURED", "stdin is not a descriptor");
}

#[test]
fn stdin_without_an_end_refuses_the_pull() {
    let mut command = asking(Path::new("/nowhere/ratifyd.sock"));
    let child = spawn(command.stdin(File::open("/dev/zero").unwrap()));
    in_time(|| finish(child)).refuses("MISCONFIGURED", "stdin has more than 65536 bytes");
}

#[test]
fn stdin_at_its_limit_is_read_and_one_byte_more_is_not() {
    let mut padded = descriptor(&image());
    padded.resize(limits::STDIN_BYTES, b' ');
    alone_with_stdin(&padded).refuses("UNAVAILABLE", "ratifyd cannot be reached");
    padded.push(b' ');
    alone_with_stdin(&padded).refuses("MISCONFIGURED", "stdin has more than 65536 bytes");
}

#[test]
fn stdin_that_stays_open_is_given_up_in_time() {
    for written in [&b""[..], &descriptor(&image())] {
        let mut command = asking(Path::new("/nowhere/ratifyd.sock"));
        let mut child = spawn(command.env("RATIFYD_TIMEOUT", LIMIT).stdin(Stdio::piped()));
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(written).unwrap();
        in_time(|| finish(child)).refuses("UNAVAILABLE", "containerd has not written the descriptor to stdin in time");
        drop(stdin);
    }
}

#[test]
fn stdin_that_comes_byte_by_byte_does_not_prolong_the_time() {
    let mut command = asking(Path::new("/nowhere/ratifyd.sock"));
    let mut child = spawn(command.env("RATIFYD_TIMEOUT", LIMIT).stdin(Stdio::piped()));
    let mut stdin = child.stdin.take().unwrap();
    let (done, ended) = channel::<()>();
    let drip = thread::spawn(move || {
        while ended.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
            let _ = stdin.write_all(b" ");
        }
    });
    in_time(|| finish(child)).refuses("UNAVAILABLE", "containerd has not written the descriptor to stdin in time");
    drop(done);
    drip.join().unwrap();
}

#[test]
fn without_stdin_the_pull_is_refused() {
    let child = spawn(asking(Path::new("/nowhere/ratifyd.sock")).stdin(Stdio::null()));
    finish(child).refuses("MISCONFIGURED", "stdin is not a descriptor");
    // containerd always gives a stdin; a shell need not.
    let mut closed = Command::new("/bin/sh");
    closed.args(["-c", "exec \"$@\" <&-", "sh", SHIM]).args(arguments(NAME, image().digest.as_str()));
    run(&mut closed).refuses("MISCONFIGURED", "stdin");
}

#[test]
fn another_media_type_of_stdin_is_refused() {
    let mut other = arguments(NAME, image().digest.as_str());
    other[5] = "application/vnd.oci.descriptor.v2+json".to_owned();
    let ran = alone(&other.each_ref().map(String::as_str), &descriptor(&image()));
    ran.refuses("MISCONFIGURED", "stdin has media type \"application/vnd.oci.descriptor.v2+json\"");
}

#[test]
fn a_descriptor_of_another_digest_than_the_argument_is_refused() {
    let other = describe("application/vnd.oci.image.manifest.v1+json", b"another");
    let ran = alone_with_stdin(&descriptor(&other));
    ran.refuses("MISCONFIGURED", "but the descriptor on stdin has sha256:");
}

#[test]
fn a_missing_argument_is_named() {
    let all = arguments(NAME, image().digest.as_str());
    let all = all.each_ref().map(String::as_str);
    alone(&[], b"").refuses("MISCONFIGURED", "argument -name is missing");
    alone(&all[2..], b"").refuses("MISCONFIGURED", "argument -name is missing");
    alone(&all[..2], b"").refuses("MISCONFIGURED", "argument -digest is missing");
    alone(&all[..4], b"").refuses("MISCONFIGURED", "argument -stdin-media-type is missing");
    alone(&all[..5], b"").refuses("MISCONFIGURED", "argument -stdin-media-type has no value");
    alone(&[&all[..], &["-name", "other"]].concat(), b"").refuses("MISCONFIGURED", "argument -name is given twice");
}

#[test]
fn an_argument_that_is_no_text_is_refused() {
    let bad = OsStr::from_bytes(b"registry.example/\xff\xfe");
    let mut command = shim(Path::new(SHIM), Path::new("/nowhere/ratifyd.sock"));
    command.arg("-name").arg(bad).args(&arguments(NAME, image().digest.as_str())[2..]);
    run_with_stdin(&mut command, &descriptor(&image())).refuses("MISCONFIGURED", "argument -name has no value");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn arguments_that_containerd_may_come_to_give_are_passed_over() {
    let (_registry, node, cases) = all_answers().await;
    let (name, image, _, _) = &cases[0];
    let [n, name, d, digest, s, media_type] = arguments(name, image.digest.as_str());
    let mut command = shim(Path::new(SHIM), &node.socket());
    command.args([
        "-operation",
        "pull",
        "--labels=a=b",
        &format!("-{n}={name}"),
        "-v",
        &d,
        &digest,
        "--",
        &s,
        &media_type,
    ]);
    run_with_stdin(&mut command, &descriptor(image)).allows("ALLOWED", "acme: ");
}

#[test]
fn a_time_limit_that_is_no_duration_is_refused() {
    for text in ["soon", "", "-1s", "8", "99999999999999999999y"] {
        let mut command = asking(Path::new("/nowhere/ratifyd.sock"));
        let ran = run_with_stdin(command.env("RATIFYD_TIMEOUT", text), &descriptor(&image()));
        ran.refuses("MISCONFIGURED", &format!("RATIFYD_TIMEOUT is {text:?}, no duration"));
    }
}

#[test]
fn the_longest_time_limit_that_can_be_written_is_no_crash() {
    let mut command = asking(Path::new("/nowhere/ratifyd.sock"));
    let longest = format!("{}s", u64::MAX);
    let ran = in_time(|| run_with_stdin(command.env("RATIFYD_TIMEOUT", longest), &descriptor(&image())));
    assert_eq!((ran.code, ran.stdout.lines().count(), ran.stderr.as_str()), (Some(1), 1, ""), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_name_that_would_steer_a_terminal_comes_out_as_plain_text() {
    let (_registry, node, cases) = all_answers().await;
    for name in ["\x1b[31mred", "a\nALLOWED b", "a\r\u{202e}b", "\u{9b}31m", "\x07"] {
        node.pull(name, &cases[0].1).refuses("DENIED", "is not an image name");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_name_of_any_length_is_refused_in_one_short_line() {
    let (_registry, node, cases) = all_answers().await;
    let image = &cases[0].1;
    node.pull(&"a".repeat(limits::NAME_BYTES + 1), image).refuses("DENIED", "it is longer than 640 bytes");
    // More than the daemon's socket takes.
    node.pull(&"a".repeat(100_000), image).reason(1, "UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_exit_code_holds_where_nobody_reads_the_line() {
    let (_registry, node, cases) = all_answers().await;
    for (name, image, token, allows) in cases {
        let mut child = spawn(node.shim(Path::new(SHIM), &name, &image).stdin(Stdio::piped()));
        drop(child.stdout.take());
        child.stdin.take().unwrap().write_all(&descriptor(&image)).unwrap();
        assert_eq!(finish(child).code, Some(i32::from(!allows)), "{token}");
    }
}

#[test]
fn it_leaves_no_process_behind() {
    let (_folder, path, listener) = socket();
    let mark = format!("RATIFYD_TEST_MARK={}", path.display());
    let (name, value) = mark.split_once('=').unwrap();
    let mut command = asking(&path);
    let mut child = spawn(command.env(name, value).env("RATIFYD_TIMEOUT", "1s").stdin(Stdio::piped()));
    child.stdin.take().unwrap().write_all(&descriptor(&image())).unwrap();
    // While it waits for an answer it is alone, and then nobody is left.
    let (_stream, _) = listener.accept().unwrap();
    assert_eq!(marked(&mark), [child.id()]);
    finish(child).reason(1, "UNAVAILABLE");
    assert_eq!(marked(&mark), [0; 0]);
}

/// The processes that have this in their environment, as all children have of the one that is given it.
fn marked(mark: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        let id = entry.file_name().to_str()?.parse().ok()?;
        // Processes end at any moment.
        let environment = fs::read(entry.path().join("environ")).ok()?;
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()).then_some(id)
    });
    processes.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_name_that_asks_for_another_digest_than_would_be_pulled_is_refused() {
    let (_registry, node, cases) = all_answers().await;
    let image = &cases[0].1;
    let other = format!("sha256:{}", "0".repeat(64));
    node.pull(&format!("registry.example/a@{other}"), image).refuses("DENIED", "would be pulled");
    node.pull("acme/web:v1", image).refuses("DENIED", "names no registry");
}
