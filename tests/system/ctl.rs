//! ratifyctl: its text, its JSON, its exit codes.

use std::fs;
use std::path::Path;
use std::process::Command;

use ratify::artifact::Descriptor;
use serde_json::{Value, json};

use crate::common::registry::{Registry, Reply};
use crate::node::{Node, executor, signed};
use crate::programs::{CTL, Ran, run, skip};

/// A registry with a signed image, `acme/web:v1`, and an unsigned one, `acme/web:v2`; a node that verifies them and
/// whose daemon is down.
async fn shop() -> (Registry, Node, Descriptor) {
    let registry = Registry::start().await;
    let image = signed(&registry, "acme/web");
    registry.image("acme/web", "v2");
    let node = Node::down(&executor(&format!("{}/acme/*", registry.host()), ""));
    (registry, node, image)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn verify_shows_the_reason_and_the_tree() {
    let (registry, node, image) = shop().await;
    let name = format!("{}/acme/web:v1", registry.host());
    let text = node.ctl(&["verify", &name]).ended(0);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("ALLOWED acme: "), "{text}");
    assert_eq!(lines[1..3], [name.as_str(), image.digest.as_str()], "{text}");
    assert!(lines[3].starts_with("└── application/vnd.cncf.notary.signature sha256:"), "{text}");
    assert!(lines[4].starts_with("    └── passed acme: "), "{text}");
    assert_eq!(lines.len(), 5, "{text}");
    let by_digest = format!("{}/acme/web@{}", registry.host(), image.digest);
    let text = node.ctl(&["verify", &by_digest]).ended(0);
    assert_eq!(text.lines().nth(1), Some(by_digest.as_str()), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn verify_writes_the_json_that_is_documented() {
    let (registry, node, image) = shop().await;
    let names = ["v1", "v2"].map(|tag| format!("{}/acme/web:{tag}", registry.host()));
    let document = node.json(1, &["verify", &names[0], &names[1]]);
    assert_eq!(document["schemaVersion"], 1);
    let [allowed, denied] = document["results"].as_array().unwrap().as_slice() else { panic!("{document}") };
    assert_eq!((&allowed["reference"], &allowed["token"]), (&json!(names[0]), &json!("ALLOWED")), "{allowed}");
    assert_eq!(allowed["descriptor"], json!(image), "{allowed}");
    assert_eq!(allowed["id"].as_str().unwrap().len(), 12, "{allowed}");
    let report = &allowed["report"];
    assert_eq!(report["digest"], image.digest.as_str(), "{report}");
    let signature = &report["referrers"][0];
    assert_eq!(signature["artifactType"], "application/vnd.cncf.notary.signature", "{report}");
    let finding = &signature["findings"][0];
    assert_eq!((&finding["verifier"], &finding["outcome"]), (&json!("acme"), &json!("passed")), "{report}");
    assert!(finding["signer"].is_string() && finding["validUntil"].is_u64(), "{report}");
    assert_eq!((&denied["reference"], &denied["token"]), (&json!(names[1]), &json!("DENIED")), "{denied}");
    assert!(denied["cause"].as_str().unwrap().contains("nothing refers to this image"), "{denied}");
    assert!(denied["report"]["referrers"].as_array().is_none_or(Vec::is_empty), "{denied}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn verify_ends_with_the_code_of_the_worst_answer() {
    let (registry, node, _) = shop().await;
    let host = registry.host();
    let broken = executor(&format!("{host}/broken/*"), "").replace("TRUST", "/nowhere/root.pem");
    let open = format!("[[executors]]\nscopes = [\"{host}/open/*\"]\nmode = \"allow\"\n");
    let watched = executor(&format!("{host}/watched/*"), "mode = \"audit\"");
    node.configure(&(executor(&format!("{host}/acme/*"), "") + &broken + &open + &watched));
    for path in ["broken/web", "open/web", "watched/web"] {
        registry.image(path, "v1");
    }
    registry.reply("/v2/acme/down/", Reply::status(503));
    let [allowed, audit, exempt, denied, unmatched, misconfigured, unavailable, unknown] = [
        "acme/web:v1",
        "watched/web:v1",
        "open/web:v1",
        "acme/web:v2",
        "other/web:v1",
        "broken/web:v1",
        "acme/down:v1",
        "acme/web:none",
    ]
    .map(|path| format!("{host}/{path}"));
    for (names, code, tokens) in [
        (&[&allowed, &audit, &exempt][..], 0, &["ALLOWED", "AUDIT", "EXEMPT"][..]),
        (&[&denied], 1, &["DENIED"]),
        (&[&unmatched], 1, &["DENIED"]),
        (&[&denied, &allowed], 1, &["DENIED", "ALLOWED"]),
        (&[&misconfigured, &denied], 2, &["MISCONFIGURED", "DENIED"]),
        (&[&unavailable, &misconfigured, &allowed], 3, &["UNAVAILABLE", "MISCONFIGURED", "ALLOWED"]),
        (&[&unknown], 3, &["UNAVAILABLE"]),
    ] {
        let arguments: Vec<_> = ["verify"].into_iter().chain(names.iter().map(|name| name.as_str())).collect();
        let text = node.ctl(&arguments).ended(code);
        let said = text
            .lines()
            .filter_map(|line| line.split(' ').next())
            .filter(|word| ratify::verdict::Token::ALL.iter().any(|token| token.as_str() == *word));
        assert_eq!(said.collect::<Vec<_>>(), tokens, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn verify_gives_up_when_its_time_is_over() {
    let (registry, node, _) = shop().await;
    registry.reply("/v2/", Reply::silence());
    let text = node.ctl(&["verify", "--timeout", "200ms", &format!("{}/acme/web:v1", registry.host())]).ended(3);
    assert!(text.starts_with("UNAVAILABLE GET ") && text.contains("no whole answer within 0."), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn wrong_usage_and_a_bad_configuration_end_with_code_2() {
    let (registry, node, _) = shop().await;
    let name = format!("{}/acme/web:v1", registry.host());
    node.ctl(&[]).complained(2);
    node.ctl(&["verify"]).complained(2);
    node.ctl(&["verify", "--output", "xml", &name]).complained(2);
    node.ctl(&["verify", "--timeout", "soon", &name]).complained(2);
    assert!(node.ctl(&["verify", "not a name"]).complained(2).contains("is not an image name"));
    let absent = node.ctl(&["verify", "--config", "/nowhere/config.toml", &name]).complained(2);
    assert!(absent.contains("/nowhere/config.toml"), "{absent}");
    node.configure("unmatched = 1\nexecutor = 2\n");
    let complaint = node.ctl(&["verify", &name]).complained(2);
    assert!(complaint.contains("config.toml:1:13: ") && complaint.contains("config.toml:2:1: "), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn explain_shows_the_report_behind_a_reason_line() {
    let (registry, mut node, image) = shop().await;
    node.launch(crate::programs::Launch::default());
    let name = format!("{}/acme/web:v1", registry.host());
    let ran = node.pull(&name, &image);
    let id = ran.id();
    let text = node.ctl(&["explain", id]).ended(0);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], ran.reason(0, "ALLOWED"), "{text}");
    assert!(lines[1].starts_with("at 20") && lines[1].ends_with('Z'), "{text}");
    assert_eq!(lines[2], name, "{text}");
    assert!(text.contains("    └── passed acme: "), "{text}");
    assert_eq!(node.ctl(&["explain", &format!("[{id}]")]).ended(0), text);
    // A remembered verdict has the same id and the same report.
    assert_eq!(node.pull(&name, &image).id(), id);
    assert_eq!(node.ctl(&["explain", id]).ended(0), text);
    let document = node.json(0, &["explain", id]);
    assert_eq!(document["schemaVersion"], 1);
    assert_eq!((&document["id"], &document["token"]), (&json!(id), &json!("ALLOWED")), "{document}");
    assert_eq!((&document["reference"], &document["descriptor"]), (&json!(name), &json!(image)), "{document}");
    assert_eq!(document["report"]["referrers"][0]["findings"][0]["outcome"], "passed", "{document}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn explain_tells_where_nothing_was_verified() {
    let (_registry, mut node, image) = shop().await;
    node.launch(crate::programs::Launch::default());
    let ran = node.pull("registry.example/other:v1", &image);
    let text = node.ctl(&["explain", ran.id()]).ended(0);
    let rest = format!("\nregistry.example/other:v1\n{}\nnothing was verified\n", image.digest);
    assert!(text.starts_with("DENIED no scope") && text.ends_with(&rest), "{text}");
    assert_eq!(node.json(0, &["explain", ran.id()]).get("report"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn explain_of_an_unknown_id_ends_with_code_3() {
    let (_registry, mut node, _) = shop().await;
    node.launch(crate::programs::Launch::default());
    for id in ["000000000000", "", "\x1b[31m", &"x".repeat(1000)] {
        let complaint = node.ctl(&["explain", id]).complained(3);
        assert!(complaint.contains("no verdict ") && !complaint.contains('\x1b'), "{complaint}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn status_tells_what_is_in_force_and_what_was_decided() {
    let (registry, mut node, image) = shop().await;
    node.launch(crate::programs::Launch::default());
    node.pull(&format!("{}/acme/web:v1", registry.host()), &image).reason(0, "ALLOWED");
    node.pull("registry.example/other:v1", &image).reason(1, "DENIED");
    let status = node.status();
    assert_eq!(status["schemaVersion"], 1);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["configPath"], node.config().to_str().unwrap());
    assert_eq!((&status["configCurrent"], &status["problems"]), (&json!(true), &json!([])), "{status}");
    assert_eq!(
        status["verdicts"],
        json!({
            "ALLOWED": 1, "AUDIT": 0, "DENIED": 1, "EXEMPT": 0, "MISCONFIGURED": 0, "UNAVAILABLE": 0,
        })
    );
    assert_eq!(status["remembered"], 1, "{status}");
    assert!(status["uptimeSeconds"].as_u64().unwrap() < 600, "{status}");
    let text = node.ctl(&["status"]).ended(0);
    let generation = &status["generation"].as_str().unwrap()[..16];
    for part in [
        format!("ratifyd {} up ", env!("CARGO_PKG_VERSION")),
        format!("configuration  {}: in force\n", node.config().display()),
        format!("generation     {generation}\n"),
        "verdicts       ALLOWED 1, AUDIT 0, EXEMPT 0, DENIED 1, MISCONFIGURED 0, UNAVAILABLE 0\n".to_owned(),
        "remembered     1\n".to_owned(),
    ] {
        assert!(text.contains(&part), "{part:?} in {text}");
    }
    assert!(!text.contains("problem"), "{text}");
    fs::remove_file(node.trust()).unwrap();
    let text = node.ctl(&["status"]).ended(0);
    assert!(text.contains("problem        ") && text.contains("No such file"), "{text}");
    assert!(text.contains(": in force\n"), "the configuration is: {text}");
}

#[test]
fn status_of_a_daemon_without_a_configuration_says_so() {
    crate::needs_root!();
    let node = Node::start("nonsense");
    let text = node.ctl(&["status"]).ended(0);
    assert!(text.contains("nothing in force: every pull is answered MISCONFIGURED"), "{text}");
    assert!(text.contains("problem        ") && text.contains("config.toml:1:"), "{text}");
    assert_eq!(node.status()["generation"], "");
}

#[test]
fn without_a_daemon_questions_to_it_end_with_code_3() {
    let node = Node::down("");
    for question in [&["status"][..], &["explain", "000000000000"], &["flush"]] {
        let complaint = node.ctl(question).complained(3);
        let says = format!("ratifyctl: ratifyd cannot be reached at {}: ", node.socket().display());
        assert!(complaint.starts_with(&says), "{complaint}");
    }
}

fn check(node: &Node, file: &Path) -> Ran {
    run(&mut node.ctl_command(Path::new(CTL), &["config", "check", file.to_str().unwrap()]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn config_check_finds_nothing_wrong_with_a_good_configuration() {
    let (_registry, node, _) = shop().await;
    let all_is_well = format!("{}: no problems\n", node.config().display());
    assert_eq!(check(&node, &node.config()).ended(0), all_is_well);
    // The file may be left out.
    assert_eq!(node.ctl(&["config", "check"]).ended(0), all_is_well);
}

#[test]
fn config_check_reports_all_problems_with_their_places_in_order() {
    let node = Node::down("");
    let bad = r#"unmatched = "dney"

[[executors]]
scopes = ["ghcr.io/acme/*", "acme"]
mod = "enforce"

[[executors.verifiers]]
name = "acme"
type = "notaton"

[remember]
deny = "1h"
"#;
    node.replace(&node.config(), bad);
    let text = check(&node, &node.config()).ended(2);
    let places: Vec<_> = text
        .lines()
        .map(|line| {
            let rest = line.strip_prefix(&format!("{}:", node.config().display())).unwrap();
            let mut parts = rest.splitn(3, ':');
            (parts.next().unwrap().parse::<usize>().unwrap(), parts.next().unwrap().parse::<usize>().unwrap())
        })
        .collect();
    assert_eq!(places, [(1, 13), (5, 1), (9, 8), (12, 8)], "{text}");
    for part in ["dney", "mod", "notaton", "deny"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn config_check_looks_into_trust_files() {
    let (_registry, node, _) = shop().await;
    fs::remove_file(node.trust()).unwrap();
    let text = check(&node, &node.config()).ended(2);
    let place = format!("{}:7:", node.config().display());
    assert!(text.starts_with(&place) && text.contains(": No such file"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// As `cosign generate-key-pair` writes it.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEO3dK0TN8rCjJ47r4ybKHlCMi78ts\n\
    DzgU0ZM4ZkjQG4oNrTHMDNFzRcu6sfmNbq+VL6wztdNC/OEy/HYciURwJA==\n\
    -----END PUBLIC KEY-----\n";

#[test]
fn the_example_configuration_lacks_its_trust_files_and_nothing_else() {
    let node = Node::down("");
    let example = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/config.toml")).unwrap();
    let folder = node.path("trust");
    fs::create_dir(&folder).unwrap();
    node.replace(&node.config(), &example.replace("/etc/ratifyd/trust", folder.to_str().unwrap()));
    let text = check(&node, &node.config()).ended(2);
    let certificate = fs::read_to_string(node.trust()).unwrap();
    let files =
        [("acme-root.pem", &*certificate), ("release.pub", PUBLIC_KEY), ("acme-internal-root.pem", &*certificate)];
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), files.len(), "{text}");
    for (line, (name, content)) in lines.iter().zip(files) {
        let file = folder.join(name);
        assert!(line.contains(&format!("{}: No such file", file.display())), "{line}");
        fs::write(file, content).unwrap();
    }
    check(&node, &node.config()).ended(0);
}

/// Runs a command line on a terminal; returns what it shows there.
fn on_a_terminal(node: &Node, arguments: &[&str], no_color: bool) -> String {
    let quoted: Vec<_> = [CTL].iter().chain(arguments).map(|word| format!("'{word}'")).collect();
    let mut command = node.ctl_command(Path::new("script"), &["-qec", &quoted.join(" "), "/dev/null"]);
    command.env("TERM", "xterm");
    if no_color {
        command.env("NO_COLOR", "1");
    }
    run(&mut command).ended(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn colours_are_for_terminals_and_not_where_they_are_unwanted() {
    let (registry, node, _) = shop().await;
    let name = format!("{}/acme/web:v1", registry.host());
    let question = ["verify", name.as_str()];
    let plain = node.ctl(&question).ended(0);
    assert!(plain.contains("ALLOWED") && !plain.contains('\x1b'), "{plain:?}");
    if Command::new("script").arg("--version").output().is_err() {
        return skip("needs script");
    }
    let coloured = on_a_terminal(&node, &question, false);
    assert!(coloured.contains("\x1b[32mALLOWED\x1b[39m"), "{coloured:?}");
    assert_eq!(on_a_terminal(&node, &question, true).replace("\r\n", "\n"), plain);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn json_has_no_colours_on_a_terminal() {
    let (registry, node, _) = shop().await;
    if Command::new("script").arg("--version").output().is_err() {
        return skip("needs script");
    }
    let name = format!("{}/acme/web:v1", registry.host());
    let text = on_a_terminal(&node, &["verify", &name, "--output", "json"], false);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["schemaVersion"], 1, "{text:?}");
}
