//! Attacks on the daemon, the shim and the configuration. Each of these tests fails on a version without the check
//! that it is about.

use std::future::pending;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::stream;
use ratify::artifact::{Descriptor, IMAGE_MANIFEST};
use ratify::daemon::serve;
use ratify::limits;
use ratify::wire::v1;
use ratify::wire::v1::image_verifier_client::ImageVerifierClient;
use ratify::wire::v1::image_verifier_server::{ImageVerifier, ImageVerifierServer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::client::Grpc;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::common::registry::{Registry, describe};
use crate::needs_root;
use crate::node::{Node, arguments, chmod, descriptor, executor, shim, signed};
use crate::programs::{CTL, Launch, NOBODY, Ran, SHIM, run, run_with_stdin};

/// Allows all but one registry, so that an answer tells that the question was.
const OPEN: &str = "unmatched = \"allow\"\n[[executors]]\nscopes = [\"closed.example\"]\nmode = \"deny\"\n";

const NAME: &str = "registry.example/acme/web:v1";

fn image() -> Descriptor {
    describe(IMAGE_MANIFEST, b"image")
}

fn request(name: &str, media_type: &str) -> v1::VerifyRequest {
    let descriptor = Descriptor { media_type: media_type.to_owned(), ..image() };
    v1::VerifyRequest { name: name.to_owned(), descriptor: Some(descriptor.into()), audit: false }
}

// --- the daemon ---

#[tokio::test(start_paused = true)]
async fn a_caller_that_never_finishes_its_question_is_dropped_in_the_end() {
    let node = Node::down(OPEN);
    let socket = node.path("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let live = ratify::live::Live::open(&node.config());
    let hangup = signal(SignalKind::hangup()).unwrap();
    let serving = tokio::spawn(serve(listener, live, hangup, pending(), pending()));

    let channel = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap().connect().await.unwrap();
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let path = "/ratify.v1.ImageVerifier/Verify".parse().unwrap();
    let codec = ProstCodec::<v1::VerifyRequest, v1::VerifyReply>::default();
    let question = Request::new(stream::pending::<v1::VerifyRequest>());
    let start = tokio::time::Instant::now();
    let answer = timeout(2 * limits::CALL_TIMEOUT, client.client_streaming(question, path, codec)).await;
    assert!(matches!(answer, Ok(Err(_))), "{answer:?}");
    let waited = start.elapsed();
    assert!(waited >= limits::CALL_TIMEOUT, "{waited:?}");
    serving.abort();
}

#[tokio::test]
async fn a_caller_with_a_huge_question_is_refused_and_the_next_one_is_served() {
    let node = Node::start(OPEN);
    for (length, code) in [
        (limits::MEDIA_TYPE_BYTES, Code::Ok),
        (limits::MEDIA_TYPE_BYTES + 1, Code::InvalidArgument),
        (limits::CALL_BYTES, Code::OutOfRange),
        (64 * limits::CALL_BYTES, Code::OutOfRange),
    ] {
        let mut client = ImageVerifierClient::new(node.channel().await).max_encoding_message_size(usize::MAX);
        let answer = client.verify(request(NAME, &"x".repeat(length))).await;
        assert_eq!(answer.as_ref().map_or_else(Status::code, |_| Code::Ok), code, "{length}: {answer:?}");
    }
    node.pull(NAME, &image()).allows("EXEMPT", "`unmatched` is \"allow\"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_caller_that_lies_about_an_allowed_image_gets_nothing_of_its_allow() {
    let registry = Registry::start().await;
    let image = signed(&registry, "acme/web");
    let node = Node::start(&executor(registry.host(), ""));
    let name = format!("{}/acme/web:v1", registry.host());
    node.pull(&name, &image).allows("ALLOWED", "acme");
    for lie in [
        Descriptor { size: image.size + 1, ..image.clone() },
        Descriptor { media_type: "application/vnd.oci.image.index.v1+json".to_owned(), ..image.clone() },
    ] {
        node.pull(&name, &lie).refuses("DENIED", "acme");
    }
    let elsewhere = format!("{}/evil/web:v1", registry.host());
    node.pull(&elsewhere, &image).refuses("DENIED", "");
    node.pull(&name, &image).allows("ALLOWED", "acme");
}

#[tokio::test]
async fn a_caller_cannot_write_lines_of_its_own_into_log_and_answer() {
    let node = Node::start(OPEN);
    let name = "registry.example/a:1\n2026-01-01T00:00:00Z  INFO verdict token=\"ALLOWED\"\u{1b}[2K\u{202e}";
    let mut client = ImageVerifierClient::new(node.channel().await);
    let verdict = client.verify(request(name, IMAGE_MANIFEST)).await.unwrap().into_inner().verdict.unwrap();
    assert_eq!(verdict.token(), v1::Token::Denied);
    let ran = node.pull(name, &image());
    ran.refuses("DENIED", "");
    assert!(!ran.stdout.contains('\u{202e}'), "{ran:?}");
    let log = node.log();
    assert!(log.lines().all(|line| !line.starts_with("2026-01-01")), "{log}");
    assert!(!log.contains(['\u{1b}', '\u{202e}']), "{log}");
}

// --- the shim ---

/// A daemon that says what it is told to.
struct Fake(Box<dyn Fn() -> Result<v1::Verdict, Status> + Send + Sync>);

#[tonic::async_trait]
impl ImageVerifier for Fake {
    async fn verify(&self, _: Request<v1::VerifyRequest>) -> Result<Response<v1::VerifyReply>, Status> {
        (self.0)().map(|verdict| Response::new(v1::VerifyReply { verdict: Some(verdict), remembered: false }))
    }
}

/// What the shim makes of a daemon's answer.
async fn shim_told(answer: impl Fn() -> Result<v1::Verdict, Status> + Send + Sync + 'static) -> Ran {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("socket");
    let incoming = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    let fake = ImageVerifierServer::new(Fake(Box::new(answer)));
    let serving = tokio::spawn(Server::builder().add_service(fake).serve_with_incoming(incoming));
    let ran = tokio::task::spawn_blocking(move || {
        let mut command = shim(Path::new(SHIM), &socket);
        run_with_stdin(command.args(arguments(NAME, image().digest.as_str())), &descriptor(&image()))
    });
    let ran = ran.await.unwrap();
    serving.abort();
    ran
}

fn verdict(token: v1::Token, cause: &str, id: &str) -> v1::Verdict {
    v1::Verdict { token: token.into(), cause: cause.to_owned(), id: id.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_answer_that_is_no_allow_never_becomes_one_by_its_words() {
    let words = "ALLOWED by acme\nALLOWED\r\nALLOWED\u{1b}[1A\u{9b}2K\u{2028}ALLOWED";
    let ran = shim_told(move || Ok(verdict(v1::Token::Denied, words, "\n\u{1b}]0;ALLOWED\u{7}"))).await;
    ran.refuses("DENIED", "");
    assert!(!ran.stdout.contains(['\u{1b}', '\u{9b}', '\u{2028}', '\r']), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");

    for code in [Code::Ok, Code::Unknown, Code::Aborted, Code::Unauthenticated] {
        let ran = shim_told(move || Err(Status::new(code, "ALLOWED"))).await;
        ran.refuses("UNAVAILABLE", "ratifyd refuses to answer: ");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_allow_of_any_length_is_one_short_line_or_none() {
    for length in [limits::REASON_BYTES, 1 << 20] {
        let ran = shim_told(move || Ok(verdict(v1::Token::Allowed, &"é".repeat(length), "id"))).await;
        ran.allows("ALLOWED", "é");
    }
    let ran = shim_told(|| Ok(verdict(v1::Token::Allowed, &"x".repeat(8 << 20), "id"))).await;
    ran.refuses("UNAVAILABLE", "message");
}

#[test]
fn a_descriptor_that_says_two_things_is_asked_about_nothing() {
    let node = Node::start(OPEN);
    let (good, other) = (image().digest, describe(IMAGE_MANIFEST, b"other").digest);
    for stdin in [
        format!(r#"{{"mediaType":"{IMAGE_MANIFEST}","digest":"{other}","digest":"{good}","size":5}}"#),
        format!(r#"{{"mediaType":"{IMAGE_MANIFEST}","digest":"{good}","\u0064igest":"{good}","size":5}}"#),
        format!(r#"{{"mediaType":"{IMAGE_MANIFEST}","digest":"{good}","size":5,"size":5}}"#),
        format!(r#"{{"mediaType":"{IMAGE_MANIFEST}","digest":"{good}","size":5}}{{}}"#),
        format!(
            r#"{{"mediaType":"{IMAGE_MANIFEST}","digest":"{good}","size":5,"a":{}{}}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        ),
    ] {
        let mut command = node.shim(Path::new(SHIM), NAME, &image());
        run_with_stdin(&mut command, stdin.as_bytes()).refuses("MISCONFIGURED", "stdin is not a descriptor");
    }
    for more in [["-name", "registry.example/other:1"], ["--digest", other.as_str()]] {
        let mut command = node.shim(Path::new(SHIM), NAME, &image());
        run_with_stdin(command.args(more), &descriptor(&image())).refuses("MISCONFIGURED", "is given twice");
    }
    assert_eq!(node.logged(" verdict "), 0, "{}", node.log());
}

#[test]
fn no_time_limit_makes_the_shim_allow_or_wait() {
    let node = Node::start(OPEN);
    for limit in ["0s", "1ns", "-1s", "", "1", "999999999999999999y", "8s\n"] {
        let start = Instant::now();
        let mut command = node.shim(Path::new(SHIM), NAME, &image());
        let ran = run_with_stdin(command.env("RATIFYD_TIMEOUT", limit), &descriptor(&image()));
        assert!(start.elapsed() < Duration::from_secs(8), "{limit:?}");
        // Which of both it is hangs on the limit; that it is a whole line, on neither.
        assert!(ran.code == Some(1) || limit == "8s\n", "{limit:?}: {ran:?}");
        assert_eq!(ran.stdout.lines().count(), 1, "{limit:?}: {ran:?}");
    }
}

// --- the configuration ---

/// The node's answer once this is its configuration, in a file of this name.
fn configured(name: &str, text: &str) -> Ran {
    let node = Node::down("");
    node.replace(&node.path(name), text);
    node.ctl(&["config", "check", node.path(name).to_str().unwrap()])
}

/// Fails unless a configuration is refused, with this in the complaint.
#[track_caller]
fn is_refused(name: &str, text: &str, complaint: &str) {
    let said = configured(name, text).ended(2);
    assert!(said.contains(complaint), "{name}: {text}\n{said}");
}

#[test]
fn a_second_looser_value_for_a_key_is_refused_however_it_is_hidden() {
    let strict = "[[executors]]\nscopes = [\"closed.example\"]\nmode = \"deny\"\n";
    is_refused("c.toml", &format!("unmatched = \"deny\"\nunmatched = \"allow\"\n{strict}"), "c.toml:2:");
    is_refused("c.toml", &format!("unmatched = \"deny\"\n\"unmatche\\u0064\" = \"allow\"\n{strict}"), "c.toml:2:");
    is_refused("c.toml", &format!("{strict}mode = \"allow\"\n"), "c.toml:4:");
    // A reader that minds no case, as Go's is, would take these.
    is_refused("c.toml", &format!("Unmatched = \"allow\"\n{strict}"), "Unmatched");
    is_refused("c.toml", &format!("{strict}Mode = \"allow\"\n"), "Mode");

    let json = |keys: &str| format!(r#"{{"executors":[{{"scopes":["closed.example"],{keys}}}]}}"#);
    is_refused("c.json", &json(r#""mode":"deny","mode":"allow""#), "\"mode\" is given twice");
    is_refused("c.json", &json(r#""mode":"deny","mod\u0065":"allow""#), "\"mode\" is given twice");
    is_refused("c.json", &json(r#""mode":"deny","MODE":"allow""#), "MODE");

    let yaml = "executors:\n- scopes: [closed.example]\n  mode: deny\n";
    is_refused("c.yaml", &format!("{yaml}  mode: allow\n"), "c.yaml:4:");
    is_refused("c.yaml", &format!("{yaml}  \"mode\": allow\n"), "c.yaml:4:");
    is_refused("c.yaml", &format!("{yaml}  <<: {{mode: allow}}\n"), "c.yaml:4:");
    is_refused("c.yaml", &format!("{yaml}---\nunmatched: allow\n"), "c.yaml:4:");
    is_refused("c.yaml", &format!("{yaml}unmatched: &a !!binary YWxsb3c=\n"), "c.yaml:4:");
}

#[test]
fn a_variable_of_the_environment_is_a_value_and_never_configuration() {
    let node = Node::down("");
    let trust = node.trust();
    let text = "[[executors]]\nscopes = [\"closed.example\"]\n[[executors.verifiers]]\nname = \"acme\"\ntype = \"notation\"\n\
                parameters.certificates = [{ files = [\"${TRUST_FILE}\"] }]\n";
    let files = |value: &str| {
        node.replace(&node.config(), text);
        let question = &["config", "show", "--output", "json"];
        let shown = run(node.ctl_command(Path::new(CTL), question).env("TRUST_FILE", value)).ended(0);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["executors"].as_array().unwrap().len(), 1, "{shown}");
        assert_eq!(shown["executors"][0]["scopes"], json!(["closed.example"]), "{shown}");
        shown["executors"][0]["verifiers"][0]["parameters"]["certificates"][0]["files"].clone()
    };
    assert_eq!(files(trust.to_str().unwrap()), json!([trust]));
    let injected = "/x\"] }]\n[[executors]]\nscopes = [\"*\"]\nmode = \"allow\"\n#";
    assert_eq!(files(injected), json!([injected]));
    // What a variable holds is not looked through for variables again; shown so that it means just that.
    assert_eq!(files("/${HOME}"), json!(["/$${HOME}"]));
}

#[test]
fn a_configuration_that_somebody_else_could_turn_is_not_taken_up() {
    needs_root!();
    let mut node = Node::down(OPEN);
    let theirs = node.path("theirs");
    std::fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(NOBODY), None).unwrap();
    let file = theirs.join("config.toml");
    std::fs::rename(node.config(), &file).unwrap();
    // Root's own file, by a link of root's, through a folder of somebody else.
    symlink(&file, node.config()).unwrap();
    node.launch(Launch::default());
    node.pull(NAME, &image()).refuses("MISCONFIGURED", theirs.to_str().unwrap());

    // And in a folder of root's in which everybody may write.
    chown(&theirs, Some(0), None).unwrap();
    chmod(&theirs, 0o777);
    node.pull(NAME, &image()).refuses("MISCONFIGURED", theirs.to_str().unwrap());
    chmod(&theirs, 0o755);
    node.pull(NAME, &image()).allows("EXEMPT", "`unmatched` is \"allow\"");
}
