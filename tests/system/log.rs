//! The log: one line for each verdict, with all that an alert needs, in text and in JSON, and none is lost.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::thread;

use ratify::artifact::Descriptor;
use serde_json::Value;

use crate::common::registry::Registry;
use crate::node::{Node, executor, remember, signed};
use crate::programs::{Launch, until};

/// A node with this log, and its registry with a signed image.
async fn node(format: &str) -> (Registry, Node, Descriptor) {
    let registry = Registry::start().await;
    let image = signed(&registry, "acme/web");
    let executor = executor(&format!("{}/acme/*", registry.host()), "");
    let node = Node::start(&format!("{}{executor}[log]\nformat = \"{format}\"\n", remember("")));
    (registry, node, image)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_verdict_is_one_line_of_json_with_its_fields() {
    let (registry, node, image) = node("json").await;
    let names = [format!("{}/acme/web:v1", registry.host()), "a\nb\x1b[31m".to_owned(), "no.example/a:1".to_owned()];
    let ids = names.each_ref().map(|name| node.pull(name, &image).id().to_owned());
    node.pull(&names[0], &image).allows("ALLOWED", &ids[0]);
    let lines: Vec<Value> = node.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdicts: Vec<_> = lines.iter().filter(|line| line["message"] == "verdict").collect();
    let expected = [(0, "ALLOWED", false), (1, "DENIED", false), (2, "DENIED", false), (0, "ALLOWED", true)];
    assert_eq!(verdicts.len(), expected.len(), "{verdicts:#?}");
    for (line, (asked, token, remembered)) in verdicts.into_iter().zip(expected) {
        assert_eq!(line["name"], names[asked], "{line}");
        assert_eq!(line["id"], ids[asked], "{line}");
        assert_eq!(line["token"], token, "{line}");
        assert_eq!(line["digest"], image.digest.as_str(), "{line}");
        assert_eq!(line["remembered"], remembered, "{line}");
        assert_eq!(line["enforced"], true, "{line}");
        assert_eq!(line["level"], "INFO", "{line}");
        assert!(line["cause"].as_str().unwrap().len() > 10, "{line}");
        assert!(line["ms"].as_u64().unwrap() < 30_000, "{line}");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_verdict_is_one_line_of_text_with_its_fields() {
    let (registry, node, image) = node("text").await;
    let name = format!("{}/acme/web:v1", registry.host());
    let ran = node.pull(&name, &image);
    let log = node.log();
    let line = log.lines().find(|line| line.contains(" verdict ")).unwrap();
    let (digest, id) = (&image.digest, ran.id());
    for field in [
        format!("digest={digest}"),
        format!("name=\"{name}\""),
        "token=\"ALLOWED\" enforced=true ".to_owned(),
        "cause=\"acme: ".to_owned(),
        "ms=".to_owned(),
        format!("id=\"{id}\""),
        "remembered=false".to_owned(),
    ] {
        assert!(line.contains(&field), "{field} in {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_name_cannot_forge_a_line_or_steer_a_terminal() {
    for format in ["text", "json"] {
        let (_registry, node, image) = node(format).await;
        let before = node.log().lines().count();
        for name in ["a\n2027-01-01T00:00:00Z  INFO verdict token=\"ALLOWED\"", "\x1b]0;x\x07", "a\r\u{9b}2J"] {
            node.pull(name, &image).reason(1, "DENIED");
        }
        let log = node.log();
        assert_eq!(log.lines().count(), before + 3, "{log}");
        assert!(!log.contains(|c: char| c.is_ascii_control() && c != '\n'), "{log:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_verdict_is_lost_under_many_pulls_at_once() {
    const THREADS: usize = 4;
    const PULLS: usize = 8;
    let (registry, node, image) = node("json").await;
    let name = format!("{}/acme/web:v1", registry.host());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..PULLS).for_each(|_| node.pull(&name, &image).allows("ALLOWED", "acme: ")));
        }
    });
    assert_eq!(node.logged("\"verdict\""), THREADS * PULLS, "{}", node.log());
    assert_eq!(node.status()["verdicts"]["ALLOWED"], THREADS * PULLS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bad_configuration_is_logged_with_its_place() {
    let (registry, node, image) = node("text").await;
    node.configure("unmatched = 1\n");
    node.pull(&format!("{}/acme/web:v1", registry.host()), &image).reason(0, "ALLOWED");
    let place = format!("{}:1:13: unmatched: ", node.config().display());
    assert!(node.log().lines().any(|line| line.contains(" WARN ") && line.contains(&place)), "{}", node.log());
}

/// A node whose daemon is told that its log, or else another stream, is the journal.
fn before_the_journal(config: &str, is_log: bool) -> Node {
    let mut node = Node::down(config);
    let other = node.path("other");
    let stream = if is_log { node.path("log") } else { other };
    let stream = File::create(stream).unwrap().metadata().unwrap();
    let told = format!("JOURNAL_STREAM={}:{}", stream.dev(), stream.ino());
    node.launch(Launch { wrapper: &["env", &told], ..Launch::default() });
    node.configure("unmatched = 1\n");
    until("the complaint", || node.ctl(&["status"]).code == Some(0) && node.logged("unmatched: ") == 1);
    node
}

const OPEN: &str = "unmatched = \"allow\"\n[[executors]]\nscopes = [\"closed.example\"]\nmode = \"deny\"\n";

#[test]
fn lines_for_the_journal_begin_with_their_priority() {
    let log = before_the_journal(OPEN, true).log();
    let of = |word: &str| log.lines().find(|line| line.contains(word)).unwrap().get(..3).unwrap().to_owned();
    assert_eq!([of(" INFO listening"), of(" WARN "), of("unmatched: ")], ["<6>", "<4>", "<4>"], "{log}");
    assert!(log.lines().all(|line| line.starts_with(if line.contains(" WARN ") { "<4>2" } else { "<6>2" })), "{log}");
}

#[test]
fn lines_that_go_elsewhere_or_are_json_begin_with_no_priority() {
    let log = before_the_journal(OPEN, false).log();
    assert!(log.lines().count() > 2 && log.lines().all(|line| line.starts_with('2')), "{log}");
    let log = before_the_journal(&format!("log.format = \"json\"\n{OPEN}"), true).log();
    assert!(log.lines().count() > 2 && log.lines().all(|line| line.starts_with('{')), "{log}");
}

#[test]
fn what_ends_the_daemon_is_an_error_to_the_journal() {
    let node = Node::down(OPEN);
    fs::write(node.path("run"), "a file").unwrap();
    let stream = File::create(node.path("log")).unwrap().metadata().unwrap();
    let told = format!("JOURNAL_STREAM={}:{}", stream.dev(), stream.ino());
    let ended = node.spawn(Launch { wrapper: &["env", &told], ..Launch::default() }).ends();
    assert_eq!(ended.code(), Some(1));
    assert!(node.log().lines().any(|line| line.starts_with("<3>ratifyd: socket ")), "{}", node.log());
}
