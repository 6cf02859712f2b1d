//! ratifyctl: looking without a verdict, asking the daemon, layouts, SARIF, completions and man pages.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use ratify::artifact::{Descriptor, IMAGE_MANIFEST};
use serde_json::{Value, json};

use crate::common::registry::{Registry, Reply, describe};
use crate::mutation::signature_manifest;
use crate::node::{MANIFEST, Node, SIGNATURE, executor, signed};
use crate::programs::{CTL, run};

/// A registry with a signed image, `acme/web:v1`, and an unsigned one, `acme/web:v2`; a node with a daemon for them.
async fn shop() -> (Registry, Node, Descriptor) {
    let registry = Registry::start().await;
    let image = signed(&registry, "acme/web");
    registry.image("acme/web", "v2");
    let node = Node::start(&executor(&format!("{}/acme/*", registry.host()), ""));
    (registry, node, image)
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn resolve_prints_the_digest_that_a_name_has_now() {
    let (registry, node, image) = shop().await;
    let name = format!("{}/acme/web:v1", registry.host());
    assert_eq!(node.ctl(&["resolve", &name]).ended(0), format!("{}\n", image.digest));
    let document = parsed(&node.ctl(&["resolve", "--output", "json", &name]).ended(0));
    assert_eq!(document["descriptor"]["size"], json!(image.size));
    let missing = node.ctl(&["resolve", &format!("{}/acme/web:none", registry.host())]).complained(3);
    assert!(missing.contains("not found"), "{missing}");
    assert!(node.ctl(&["resolve", "not a name"]).complained(2).contains("is not an image name"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn discover_draws_what_refers_to_an_image_down_to_the_last() {
    let (registry, node, image) = shop().await;
    let sbom = registry.attach("acme/web", &image, "application/x.sbom", &[("text/plain", b"sbom")]);
    registry.attach("acme/web", &sbom, "application/x.of-sbom", &[("text/plain", b"of sbom")]);
    let name = format!("{}/acme/web:v1", registry.host());
    let text = node.ctl(&["discover", &name]).ended(0);
    let below = text.lines().position(|line| line.contains("application/x.sbom")).unwrap();
    assert!(text.lines().nth(below + 1).unwrap().contains("    └── application/x.of-sbom sha256:"), "{text}");
    assert!(text.contains("application/vnd.cncf.notary.signature"), "{text}");
    let document = parsed(&node.ctl(&["discover", "--output", "json", &name]).ended(0));
    assert_eq!(document["schemaVersion"], 1);
    assert_eq!(document["referrers"]["referrers"].as_array().unwrap().len(), 2);
    let unsigned = format!("{}/acme/web:v2", registry.host());
    assert!(node.ctl(&["discover", &unsigned]).ended(0).contains("nothing refers to it"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn discover_says_what_it_could_not_read_and_ends_with_code_3() {
    let (registry, node, _) = shop().await;
    registry.reply("/referrers/", Reply::status(503));
    let text = node.ctl(&["discover", &format!("{}/acme/web:v1", registry.host())]).ended(3);
    assert!(text.contains("the registry answers with status 503"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn verify_by_the_daemon_gives_the_daemons_answer_and_id() {
    let (registry, node, image) = shop().await;
    let [good, bad] = ["v1", "v2"].map(|tag| format!("{}/acme/web:{tag}", registry.host()));
    let document = parsed(&node.ctl(&["verify", "--daemon", "--output", "json", &good]).ended(0));
    let result = &document["results"][0];
    assert_eq!(
        (result["token"].as_str(), result["descriptor"]["digest"].as_str()),
        (Some("ALLOWED"), Some(image.digest.as_str()))
    );
    let explained = node.ctl(&["explain", result["id"].as_str().unwrap()]).ended(0);
    assert!(explained.contains("passed acme: "), "{explained}");
    assert!(node.ctl(&["verify", "--daemon", &bad]).ended(1).starts_with("DENIED "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn verify_by_a_daemon_that_is_down_ends_with_code_3() {
    let (registry, mut node, _) = shop().await;
    drop(node.daemon.take());
    let text = node.ctl(&["verify", "--daemon", &format!("{}/acme/web:v1", registry.host())]).ended(3);
    assert!(text.starts_with("UNAVAILABLE ratifyd cannot be reached"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sarif_has_a_result_for_each_image_that_is_not_allowed() {
    let (registry, node, _) = shop().await;
    let [good, bad] = ["v1", "v2"].map(|tag| format!("{}/acme/web:{tag}", registry.host()));
    let log = parsed(&node.ctl(&["verify", "--output", "sarif", &good, &bad]).ended(1));
    assert_eq!(log["version"], "2.1.0");
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 1, "{log}");
    assert_eq!((results[0]["ruleId"].as_str(), results[0]["level"].as_str()), (Some("DENIED"), Some("error")));
    let place = &results[0]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"];
    assert_eq!(place.as_str(), Some(bad.as_str()));
    let rules: Vec<&str> = log["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["id"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["ALLOWED", "AUDIT", "EXEMPT", "DENIED", "MISCONFIGURED", "UNAVAILABLE"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn verdicts_lists_what_was_decided_and_goes_on_when_watching() {
    let (registry, node, image) = shop().await;
    let name = format!("{}/acme/web:v1", registry.host());
    assert_eq!(node.ctl(&["verdicts"]).ended(0), "");
    let first = node.pull(&name, &image);
    node.pull(&name, &image);
    let text = node.ctl(&["verdicts"]).ended(0);
    assert_eq!(text.lines().count(), 1, "a remembered verdict is listed once: {text}");
    assert!(text.contains(&format!(" {} ALLOWED {name} acme: ", first.id())), "{text}");

    let mut command = Command::new(CTL);
    command.args(["verdicts", "--watch", "--output", "json", "--socket"]).arg(node.socket()).stdout(Stdio::piped());
    let mut watching = command.spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    assert_eq!(parsed(&lines.next().unwrap().unwrap())["id"].as_str(), Some(first.id()));
    let other = registry.image("acme/web", "v3");
    let second = node.pull(&format!("{}/acme/web:v3", registry.host()), &other);
    let told = parsed(&lines.next().unwrap().unwrap());
    assert_eq!((told["id"].as_str(), told["token"].as_str()), (Some(second.id()), Some("DENIED")));
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_image_in_a_layout_needs_a_name_whose_scope_applies() {
    let (_registry, node, _) = shop().await;
    let layout = node.path("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(layout.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    let reference = format!("oci-layout:{}:v1", layout.display());
    let unnamed = node.ctl(&["verify", &reference]).complained(2);
    assert!(unnamed.contains("say with --as whose scope applies"), "{unnamed}");
    let text = node.ctl(&["verify", "--as", "other.example/a", &reference]).ended(1);
    assert!(text.starts_with("DENIED no scope of the configuration matches other.example/a"), "{text}");
    assert!(node.ctl(&["verify", "--daemon", &reference]).complained(2).contains("leave --daemon out"));
    let none = format!("oci-layout:{}", node.path("none").display());
    assert!(node.ctl(&["verify", "--as", "other.example/a", &none]).complained(3).contains("No such file"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_one_image_was_told_is_no_answer_for_the_same_image_in_another_place() {
    let (registry, node, image) = shop().await;
    let layout = |name: &str, signed: bool| {
        let (folder, mut entries) = (node.path(name), vec![serde_json::to_value(&image).unwrap()]);
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        let put = |bytes: &[u8]| {
            let descriptor = describe(IMAGE_MANIFEST, bytes);
            fs::write(folder.join("blobs/sha256").join(descriptor.digest.hex()), bytes).unwrap();
            descriptor
        };
        put(MANIFEST.as_bytes());
        if signed {
            let envelope = Descriptor { media_type: "application/jose+json".to_owned(), ..put(SIGNATURE) };
            entries.push(serde_json::to_value(put(&signature_manifest(&image, &envelope))).unwrap());
        }
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        fs::write(folder.join("index.json"), json!({"schemaVersion": 2, "manifests": entries}).to_string()).unwrap();
        format!("oci-layout:{}", folder.display())
    };
    let (signed, bare) = (layout("signed", true), layout("bare", false));
    let name = format!("{}/acme/web", registry.host());
    let said = node.ctl(&["verify", "--as", &name, &signed, &bare]).ended(1);
    let tokens: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(tokens.contains(&"ALLOWED") && tokens.contains(&"DENIED"), "{said}");
}

#[test]
fn completions_and_man_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(Command::new(CTL).args(["completion", shell])).ended(0);
        assert!(
            ["verify", "discover", "verdicts", "plugin"].iter().all(|command| script.contains(command)),
            "{script}"
        );
    }
    let page = run(Command::new(CTL).arg("man")).ended(0);
    assert!(page.contains(".TH ratifyctl 1") && page.contains("verify"), "{page}");
    let page = run(Command::new(CTL).args(["man", "verify"])).ended(0);
    assert!(page.contains(".TH ratifyctl\\-verify 1") || page.contains(".TH ratifyctl-verify 1"), "{page}");
    assert!(run(Command::new(CTL).args(["man", "nothing"])).complained(2).contains("no command"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_machine_without_ca_certificates_verifies_where_none_are_needed_and_says_what_to_install() {
    let (registry, node, _) = shop().await;
    node.configure(&executor(&format!("{}/acme/*\", \"registry.invalid", registry.host()), ""));
    let without = |name: &str| {
        let mut command = node.ctl_command(CTL.as_ref(), &["verify", name]);
        run(command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent"))
    };
    assert!(without(&format!("{}/acme/web:v1", registry.host())).ended(0).starts_with("ALLOWED "));
    let text = without("registry.invalid/acme/web:v1").ended(3);
    assert!(
        text.starts_with("UNAVAILABLE GET https://registry.invalid/v2/acme/web/manifests/v1: no https client"),
        "{text}"
    );
    assert!(text.contains("is the package ca-certificates installed?"), "{text}");
}
