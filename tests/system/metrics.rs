//! The metrics endpoint of the real daemon: what it tells after real pulls, to whom, and that nothing rests on it.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ratify::limits;

use crate::common::registry::{Registry, Reply};
use crate::node::{Node, executor, signed};
use crate::programs::until;

/// A node that verifies the images of a registry and tells its counters at `NAME` in its folder.
fn node(registry: &Registry, name: &str) -> Node {
    let node = Node::start(&executor(&format!("{}/acme/*", registry.host()), ""));
    listen(&node, registry, &format!("unix:{}", node.path(name).display()));
    node
}

fn listen(node: &Node, registry: &Registry, address: &str) {
    let text = executor(&format!("{}/acme/*", registry.host()), "");
    node.configure(&format!("{text}[metrics]\nlisten = {address:?}\n"));
}

fn ask(socket: &Path, head: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "{head} HTTP/1.1\r\nHost: here\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What the endpoint tells, as soon as there is one.
fn told(socket: &Path) -> String {
    let mut answer = None;
    until("metrics", || {
        answer = ask(socket, "GET /metrics").ok();
        answer.is_some()
    });
    answer.unwrap()
}

/// The value of a series.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn pulls_are_counted_by_token_and_cause_and_no_name_is_told() {
    let registry = Registry::start().await;
    let image = signed(&registry, "acme/web");
    let name = |tag: &str| format!("{}/acme/web:{tag}", registry.host());
    let node = node(&registry, "metrics.sock");
    let socket = node.path("metrics.sock");
    let before = told(&socket);
    assert!(before.starts_with("HTTP/1.1 200 OK\r\n") && before.ends_with("# EOF\n"), "{before}");
    assert!(
        before.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{before}"
    );
    node.pull(&name("v1"), &image).allows("ALLOWED", "acme:");
    node.pull(&name("v1"), &image).allows("ALLOWED", "acme:");
    let unsigned = registry.image("acme/web", "v2");
    node.pull(&name("v2"), &unsigned).refuses("DENIED", "nothing refers");
    node.pull("elsewhere.example/a:v1", &unsigned).refuses("DENIED", "no scope");
    registry.reply("/referrers/", Reply::status(429));
    node.pull(&name("v3"), &registry.image("acme/web", "v3")).refuses("UNAVAILABLE", "429");
    let text = told(&socket);
    let verdicts = |token: &str, cause: &str, answer: &str| {
        let labels = format!("token=\"{token}\",cause=\"{cause}\",answer=\"{answer}\"");
        value(&text, &format!("ratifyd_verdicts_total{{{labels}}}"))
    };
    assert_eq!(verdicts("ALLOWED", "satisfied", "fresh"), Some(1.0), "{text}");
    assert_eq!(verdicts("ALLOWED", "satisfied", "remembered"), Some(1.0), "{text}");
    assert_eq!(verdicts("DENIED", "policy", "fresh"), Some(1.0), "{text}");
    assert_eq!(verdicts("DENIED", "unmatched", "fresh"), Some(1.0), "{text}");
    assert_eq!(verdicts("UNAVAILABLE", "throttled", "fresh"), Some(1.0), "{text}");
    for (step, count) in [("whole", 5.0), ("list", 3.0), ("manifest", 1.0), ("blob", 1.0), ("verify", 1.0)] {
        let name = "ratifyd_verification_duration_seconds_count";
        assert_eq!(value(&text, &format!("{name}{{step=\"{step}\"}}")), Some(count), "{step}: {text}");
    }
    let cache =
        |kind: &str, result: &str| value(&text, &format!("ratifyd_cache_total{{kind=\"{kind}\",result=\"{result}\"}}"));
    assert_eq!((cache("lists", "miss"), cache("memory", "miss")), (Some(3.0), Some(2.0)), "{text}");
    assert!(value(&text, "ratifyd_cache_bytes{kind=\"memory\"}") > Some(4000.0), "{text}");
    assert!(value(&text, "ratifyd_trust_read_timestamp_seconds") > Some(1.7e9), "{text}");
    assert_eq!(value(&text, "ratifyd_reloads_total{result=\"good\"}"), Some(1.0), "{text}");
    let requests = |status: &str| {
        let labels = format!("host=\"{}\",status=\"{status}\"", registry.host());
        value(&text, &format!("ratifyd_registry_requests_total{{{labels}}}"))
    };
    assert!(requests("200") >= Some(4.0) && requests("429") >= Some(1.0), "{text}");
    for word in ["acme", "elsewhere", "sha256", "v1", image.digest.hex()] {
        assert!(!text.contains(word), "{word} in {text}");
    }
    let documented = include_str!("../../docs/metrics.md");
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(documented.contains(family), "{family} is not in docs/metrics.md");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_endpoint_answers_one_question_and_follows_the_configuration() {
    let registry = Registry::start().await;
    let node = node(&registry, "one.sock");
    let (one, two) = (node.path("one.sock"), node.path("two.sock"));
    assert!(told(&one).contains("200 OK"));
    assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(ask(&one, "GET /").unwrap().starts_with("HTTP/1.1 404 "));
    assert!(ask(&one, "POST /metrics").unwrap().starts_with("HTTP/1.1 405 "));
    assert!(ask(&one, "HEAD /metrics").unwrap().starts_with("HTTP/1.1 200 "));
    listen(&node, &registry, &format!("unix:{}", two.display()));
    assert!(told(&two).contains("200 OK"));
    until("the end of the first", || UnixStream::connect(&one).is_err());
    listen(&node, &registry, "");
    until("the end of the second", || UnixStream::connect(&two).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_endpoint_that_cannot_listen_is_told_once_and_costs_no_verdict() {
    let registry = Registry::start().await;
    let image = signed(&registry, "acme/web");
    let node = node(&registry, "config.toml/metrics.sock");
    until("the warning", || node.logged("metrics are told nowhere") > 0);
    node.pull(&format!("{}/acme/web:v1", registry.host()), &image).allows("ALLOWED", "acme:");
    node.ctl(&["flush"]);
    node.pull(&format!("{}/acme/web:v1", registry.host()), &image).allows("ALLOWED", "acme:");
    assert_eq!(node.logged("metrics are told nowhere"), 1, "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn connections_at_the_limit_are_served_and_the_next_one_waits_for_its_turn() {
    let registry = Registry::start().await;
    let node = node(&registry, "metrics.sock");
    let socket = node.path("metrics.sock");
    told(&socket);
    let idle = |count: usize| (0..count).map(|_| UnixStream::connect(&socket).unwrap()).collect::<Vec<_>>();
    let fewer = idle(limits::METRICS_CONNECTIONS - 1);
    assert!(ask(&socket, "GET /metrics").unwrap().contains("200 OK"));
    drop(fewer);
    // All seats taken by those who say nothing: their time is up after a while, and a pull is in nobody's way.
    let all = idle(limits::METRICS_CONNECTIONS);
    let unsigned = registry.image("acme/web", "v2");
    node.pull(&format!("{}/acme/web:v2", registry.host()), &unsigned).refuses("DENIED", "nothing refers");
    assert!(ask(&socket, "GET /metrics").unwrap().contains("200 OK"));
    drop(all);
}
