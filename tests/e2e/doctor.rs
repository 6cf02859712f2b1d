//! What `ratifyctl doctor` says of a node that is set up, and of each way to break it, with a real containerd that has
//! CRI. In each the canary is really pulled.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::common::node::{Daemon, LINK, Node, executor, shim};
use super::common::notation::signers;
use super::common::registries::{Image, registries};
use super::common::tools::{Ran, run};
use super::needs;

const TRANSFER: &str = "ctr image pull";
const CRI: &str = "CRI: kubelet, crictl";
const PRESENT: &str = "images already there";

/// A node with CRI and a rule for the tests' registry; the image of its sandboxes is signed.
fn node() -> (Node, Image) {
    let registry = &registries().referrers;
    let sandbox = registry.image("pause");
    signers().trusted.sign(&sandbox.by_digest());
    let rules = executor(&format!("\"{}\"", registry.host), "", &signers().authority.certificate());
    (Node::with_cri(&rules, &sandbox), sandbox)
}

fn command(node: &Node, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
    command.arg("doctor").arg("--address").arg(node.containerd.socket()).arg("--socket").arg(node.daemon.socket());
    command.arg("--config").arg(node.daemon.config()).args(arguments).env("PATH", "/usr/bin:/bin");
    command
}

fn doctor(node: &Node, arguments: &[&str]) -> Ran {
    run(&mut command(node, arguments))
}

/// What it found, as the JSON document has it.
struct Found {
    code: Option<i32>,
    document: Value,
}

fn found(node: &Node, arguments: &[&str]) -> Found {
    read(&doctor(node, &[&["--output", "json"], arguments].concat()))
}

fn read(ran: &Ran) -> Found {
    let document = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    Found { code: ran.code, document }
}

impl Found {
    fn route(&self, name: &str) -> (&str, &str) {
        let routes = self.document["routes"].as_array().unwrap();
        let route = routes.iter().find(|route| route["route"] == name).unwrap_or_else(|| panic!("{:#}", self.document));
        (route["state"].as_str().unwrap(), route["why"].as_str().unwrap())
    }

    /// A route is in this state, for a reason with these words.
    #[track_caller]
    fn says(&self, route: &str, state: &str, words: &str) -> &Self {
        let (found, why) = self.route(route);
        assert!(found == state && why.contains(words), "{route}: {found}, {why}\n{:#}", self.document["problems"]);
        self
    }

    /// There is a problem of this severity with these words.
    #[track_caller]
    fn complains(&self, severity: &str, words: &str) -> &Self {
        let problems = self.document["problems"].as_array().unwrap();
        let is_it =
            |problem: &&Value| problem["severity"] == severity && problem["what"].as_str().unwrap().contains(words);
        let problem = problems.iter().find(is_it).unwrap_or_else(|| panic!("{problems:#?}"));
        assert!(!problem["mend"].as_str().unwrap().is_empty());
        self
    }

    #[track_caller]
    fn fails(&self) {
        assert_eq!((self.code, &self.document["met"]), (Some(1), &Value::Bool(false)), "{:#}", self.document);
    }

    #[track_caller]
    fn is_content(&self) {
        assert_eq!((self.code, &self.document["met"]), (Some(0), &Value::Bool(true)), "{:#}", self.document);
    }
}

#[test]
fn a_node_that_is_set_up_is_proven_to_be_and_the_canary_leaves_nothing() {
    needs!();
    let (node, _) = node();
    let text = doctor(&node, &[]);
    assert!(text.stdout.contains("yes: every image that is pulled onto this node is verified"), "{text:?}");
    let found = found(&node, &[]);
    found.says(TRANSFER, "prevented", "the canary was refused").says(CRI, "prevented", "the canary was refused");
    found.says(PRESENT, "absent", "").says("ctr image pull --local", "open", "").is_content();
    assert_eq!(found.document["problems"], Value::Array(Vec::new()));
    assert_eq!((node.containerd.images(), node.containerd.content()), (Vec::new(), Vec::new()));
    assert_eq!(node.containerd.kubelets_images(), [""; 0]);
    let canaries = node.daemon.verdicts().into_iter().filter(|line| line.contains("ratifyd/canary")).count();
    assert_eq!(canaries, 4, "twice by each of two ways:\n{}", node.daemon.log());
}

#[test]
fn without_the_link_every_pull_is_open_and_the_canary_that_came_in_is_taken_away() {
    needs!();
    let (node, _) = node();
    fs::remove_file(node.containerd.verifiers().join(LINK)).unwrap();
    let found = found(&node, &[]);
    found.says(TRANSFER, "open", "the canary came in").says(TRANSFER, "open", "is empty or missing");
    found.says(CRI, "open", "the canary came in").fails();
    assert_eq!((node.containerd.images(), node.containerd.content()), (Vec::new(), Vec::new()));
    assert_eq!(node.containerd.kubelets_images(), [""; 0]);
}

#[test]
fn an_audit_name_lets_in_and_is_enough_only_where_detection_is_asked_for() {
    needs!();
    let (node, _) = node();
    let link = node.containerd.verifiers().join(LINK);
    fs::rename(&link, link.with_file_name("10-ratifyd-audit")).unwrap();
    let prevent = found(&node, &[]);
    prevent.says(TRANSFER, "detected", "the canary came in").says(CRI, "detected", "the canary came in");
    prevent.complains("unenforced", "10-ratifyd-audit is not enforcing").fails();
    found(&node, &["--require", "detect"]).is_content();
}

#[test]
fn what_refuses_every_pull_is_named() {
    needs!();
    let (mut node, _) = node();
    let link = node.containerd.verifiers().join(LINK);
    fs::remove_file(&link).unwrap();
    symlink("/nowhere/shim", &link).unwrap();
    let dangling = found(&node, &[]);
    dangling.says(TRANSFER, "prevented", "the canary was blocked: ").complains("error", "leads nowhere").fails();
    fs::remove_file(&link).unwrap();
    fs::write(&link, "no program").unwrap();
    found(&node, &[]).complains("error", "is no program").fails();
    fs::remove_file(&link).unwrap();
    symlink(shim(), &link).unwrap();
    node.daemon.kill();
    let down = found(&node, &[]);
    down.says(TRANSFER, "prevented", "UNAVAILABLE ratifyd cannot be reached");
    down.complains("error", "ratifyd cannot be reached").fails();
    node.daemon.restart();
    found(&node, &[]).is_content();
    node.daemon.configure("unmatchd = 1");
    found(&node, &[]).complains("error", "unmatchd").fails();
}

#[test]
fn a_folder_that_others_may_write_to_and_more_entries_than_containerd_runs_are_errors() {
    needs!();
    let (node, _) = node();
    let folder = node.containerd.verifiers();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    found(&node, &[]).complains("error", "decides what containerd runs as root").fails();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    // The tests' containerd runs one verifier at most.
    symlink("/bin/true", folder.join("00-first")).unwrap();
    let skipped = found(&node, &[]);
    skipped
        .says(TRANSFER, "open", "the canary came in: nothing in")
        .complains("error", "runs the first 1 only")
        .fails();
}

/// A change of containerd's configuration, the state of both routes after it, and what is said.
fn after(from: &str, to: &str) -> (Found, Node) {
    let (mut node, _) = node();
    node.containerd.reconfigure(|config| {
        let changed = config.replacen(from, to, 1);
        assert_ne!(changed, config, "{from}");
        changed
    });
    (found(&node, &[]), node)
}

#[test]
fn each_setting_that_has_cri_pull_by_itself_is_named_and_the_canary_comes_in_by_it() {
    needs!();
    const PINNED: &str = "[plugins.\"io.containerd.cri.v1.images\".pinned_images]";
    for setting in [
        "use_local_image_pull = true",
        "max_concurrent_downloads = 5",
        "discard_unpacked_layers = true",
        "disable_snapshot_annotations = false",
        "image_pull_with_sync_fs = true",
    ] {
        let (found, _node) = after(PINNED, &format!("[plugins.\"io.containerd.cri.v1.images\"]\n{setting}\n{PINNED}"));
        found.says(TRANSFER, "prevented", "the canary was refused");
        found.says(CRI, "open", "the canary came in").says(CRI, "open", setting).fails();
    }
    let mirrors = "[plugins.\"io.containerd.cri.v1.images\".registry.configs.\"ghcr.io\".auth]\nusername = \"u\"\n";
    let (found, _node) = after(PINNED, &format!("{mirrors}{PINNED}"));
    found.says(CRI, "open", "the canary came in").says(CRI, "open", "registry.configs").fails();
}

#[test]
fn what_containerd_passes_over_in_its_configuration_is_named() {
    needs!();
    let (found, _node) = after("bin_dir =", "bin_dirr =");
    found.complains("error", "io.containerd.image-verifier.v1.bindir: bin_dirr").fails();
    let (found, _node) = after("image-verifier.v1.bindir", "image-verifier.v1.bin_dir");
    found.complains("error", "containerd has no plugin io.containerd.image-verifier.v1.bin_dir").fails();
    let (found, _node) = after("max_verifiers = 1", "max_verifiers = 0");
    found.says(TRANSFER, "open", "max_verifiers is 0").fails();
    let (found, _node) = after("10000ms", "5s");
    found.complains("error", "per_verifier_timeout is 5s").says(TRANSFER, "prevented", "").fails();
}

#[test]
fn a_verifier_plugin_that_is_switched_off_is_named() {
    needs!();
    let (found, _node) =
        after("disabled_plugins = [", "disabled_plugins = [\"io.containerd.image-verifier.v1.bindir\", ");
    found.says(TRANSFER, "open", "the verifier plugin is switched off").fails();
}

#[test]
fn a_configuration_that_has_changed_since_containerd_started_is_told() {
    needs!();
    let (node, _) = node();
    let config = node.containerd.config();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    fs::File::options().append(true).open(&config).unwrap().set_modified(later).unwrap();
    found(&node, &[]).complains("warning", "has changed since containerd started").is_content();
}

#[test]
fn a_cri_that_runs_is_proven_though_the_file_has_it_switched_off_by_now() {
    needs!();
    let (node, _) = node();
    let path = node.containerd.config();
    let config = fs::read_to_string(&path).unwrap();
    let off = config.replacen("disabled_plugins = [", "disabled_plugins = [\"io.containerd.grpc.v1.cri\", ", 1);
    assert_ne!(off, config);
    fs::write(&path, off).unwrap();
    found(&node, &[]).says(CRI, "prevented", "the canary was refused");
    fs::remove_file(node.containerd.verifiers().join(LINK)).unwrap();
    found(&node, &[]).says(CRI, "open", "the canary came in").fails();
}

#[test]
fn a_configuration_that_lets_everything_in_is_no_prevention() {
    needs!();
    let (node, _) = node();
    let rules = fs::read_to_string(node.daemon.config()).unwrap();
    node.daemon.configure(&format!("unmatched = \"allow\"\n{rules}"));
    found(&node, &[]).complains("error", "unmatched = \"allow\"").fails();
    node.daemon.configure(&format!("{rules}[[executors]]\nscopes = [\"*\"]\nmode = \"allow\"\n"));
    found(&node, &[]).says(TRANSFER, "prevented", "").complains("error", "refuses nothing of *").fails();
    node.daemon.configure(&format!("{rules}[[executors]]\nscopes = [\"registry.k8s.io/*\"]\nmode = \"allow\"\n"));
    found(&node, &[]).complains("warning", "refuses nothing of registry.k8s.io/*").is_content();
    node.daemon.configure(&rules.replacen("scopes", "mode = \"audit\"\nscopes", 1));
    found(&node, &[]).complains("unenforced", "mode = \"audit\"").fails();
    found(&node, &["--require", "detect"]).is_content();
}

#[test]
fn a_configuration_that_only_the_daemon_can_read_is_judged_as_any() {
    needs!();
    let (node, _) = node();
    let rules = fs::read_to_string(node.daemon.config()).unwrap();
    let proxy = "[proxy]\nno = [\"${CARGO_PKG_NAME}.example\"]\n";
    node.daemon.configure(&format!("unmatched = \"allow\"\n{rules}{proxy}"));
    let mut without = command(&node, &["--output", "json"]);
    let found = read(&run(without.env_remove("CARGO_PKG_NAME")));
    found.complains("error", "unmatched = \"allow\"").fails();
}

#[test]
fn an_image_that_must_be_let_in_is_pulled_by_each_way_and_taken_away_again() {
    needs!();
    let (node, sandbox) = node();
    found(&node, &["--allowed", &sandbox.by_tag()]).is_content();
    assert_eq!(node.containerd.images(), [""; 0]);
    let unsigned = registries().referrers.image("unsigned");
    let refused = found(&node, &["--allowed", &unsigned.by_tag()]);
    refused
        .complains("error", "must be let in, and is not, by ctr")
        .complains("error", "must be let in, and is not, by CRI");
    refused.fails();
    node.pull(&sandbox);
    found(&node, &["--allowed", &sandbox.by_tag()])
        .says(PRESENT, "prevented", "none of 1 would be refused")
        .is_content();
    assert_eq!(node.containerd.images(), [sandbox.by_tag()], "what was there before stays");
    node.containerd.pull_for_kubelet(&sandbox.by_digest());
    let there = node.containerd.kubelets_images();
    found(&node, &["--allowed", &sandbox.by_tag()]).is_content();
    assert_eq!(node.containerd.kubelets_images(), there, "by another name too");
}

#[test]
fn images_that_are_there_and_would_be_refused_are_found_out() {
    needs!();
    let (node, _) = node();
    let unsigned = registries().referrers.image("earlier");
    let link = node.containerd.verifiers().join(LINK);
    fs::remove_file(&link).unwrap();
    assert!(node.pull(&unsigned).allowed());
    symlink(shim(), &link).unwrap();
    let found = found(&node, &[]);
    found.says(PRESENT, "detected", "1 of 1 would be refused").fails();
    let image = &found.document["images"].as_array().unwrap().iter().find(|image| image["token"] == "DENIED").unwrap()
        ["reference"];
    assert_eq!(image, &unsigned.by_tag());
    assert!(doctor(&node, &[]).stdout.contains(&unsigned.by_tag()));
}

#[test]
fn a_sandbox_that_would_be_refused_is_told_before_a_pod_meets_it() {
    needs!();
    let sandbox = registries().referrers.image("pause");
    let rules = executor(&format!("\"{}\"", registries().referrers.host), "", &signers().authority.certificate());
    let node = Node::with_cri(&rules, &sandbox);
    let severity = if Path::new("/var/lib/kubelet").exists() { "error" } else { "warning" };
    found(&node, &[]).complains(severity, "no pod starts, and it would be refused: DENIED no signature");
}

#[test]
fn no_containerd_is_an_error_and_not_a_node_without_routes() {
    needs!();
    let (node, _) = node();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
    command.args(["doctor", "--address", "/nowhere/c.sock", "--output", "json", "--socket"]).arg(node.daemon.socket());
    let found = read(&run(command.env("PATH", "/usr/bin:/bin")));
    found.complains("error", "containerd cannot be asked").says(TRANSFER, "open", "not proven").fails();
}

#[test]
fn a_refusal_of_which_the_asked_daemon_knows_nothing_proves_nothing() {
    needs!();
    let (node, _) = node();
    // Another daemon than the one that the shim asks, and it would let everything in.
    let other = Daemon::start("unmatched = \"allow\"");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
    command.args(["doctor", "--output", "json", "--address"]).arg(node.containerd.socket());
    let ran = run(command.arg("--socket").arg(other.socket()).env("PATH", "/usr/bin:/bin"));
    let document = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let found = Found { code: ran.code, document };
    found.says(TRANSFER, "open", "was not asked").complains("error", "another daemon decides").fails();
}

#[test]
fn what_another_verifier_blocks_proves_nothing_and_is_named() {
    needs!();
    let (mut node, _) = node();
    let link = node.containerd.verifiers().join(LINK);
    fs::remove_file(&link).unwrap();
    symlink("/bin/false", &link).unwrap();
    found(&node, &[]).says(TRANSFER, "open", "another verifier may have blocked").fails();
    node.containerd.reconfigure(|config| config.replace("max_verifiers = 1", "max_verifiers = 10"));
    fs::remove_file(&link).unwrap();
    symlink(shim(), &link).unwrap();
    symlink("/bin/true", link.with_file_name("20-vendor")).unwrap();
    let beside = found(&node, &[]);
    beside
        .says(TRANSFER, "prevented", "the canary was refused")
        .complains("warning", "20-vendor is no verifier")
        .is_content();
}

#[test]
fn what_was_there_keeps_its_names_whatever_doctor_pulls() {
    needs!();
    let (node, sandbox) = node();
    let link = node.containerd.verifiers().join(LINK);
    node.pull(&sandbox);
    let before = node.containerd.images();
    // The names of one image are its own, whatever doctor pulls: by CRI it has three.
    let twin = sandbox.by_digest();
    found(&node, &["--allowed", &twin]).is_content();
    assert_eq!(node.containerd.images(), before);
    fs::remove_file(&link).unwrap();
    found(&node, &[]).fails();
    assert_eq!(node.containerd.images(), before);
}

#[test]
fn a_socket_in_a_folder_that_others_may_write_to_is_an_error() {
    needs!();
    let (node, _) = node();
    let folder = node.daemon.socket().parent().unwrap().to_owned();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let found = found(&node, &[]);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    found.complains("error", "can answer in ratifyd's place").fails();
}

#[test]
fn hosts_files_that_containerd_and_ratifyd_do_not_share_are_told_and_shared_ones_are_shown() {
    needs!();
    const PINNED: &str = "[plugins.\"io.containerd.cri.v1.images\".pinned_images]";
    let (mut node, _) = node();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("registry.example")).unwrap();
    fs::write(folder.path().join("registry.example/hosts.toml"), "server = 'https://mirror.example'\n").unwrap();
    let shown = folder.path().display().to_string();
    let told =
        |path: &str| format!("[plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = {path:?}\n{PINNED}");
    node.containerd.reconfigure(|config| config.replacen(PINNED, &told(&shown), 1));
    let apart = found(&node, &[]);
    apart.complains("warning", &format!("certificates in {shown}, ratifyd in no folder")).is_content();
    let rules = fs::read_to_string(node.daemon.config()).unwrap();
    let store = "[[executors.stores]]\ntype = \"registry-store\"\nparameters.configPath = ";
    node.daemon.configure(&format!("{rules}{store}{shown:?}\n"));
    let together = found(&node, &[]);
    together.is_content();
    assert_eq!(together.document["problems"], Value::Array(Vec::new()));
    assert_eq!(together.document["hostsFolders"]["containerd"][0], shown.as_str());
    let line = format!("hosts.toml files: containerd's in {shown}, ratifyd's in {shown}\n");
    let text = doctor(&node, &[]).stdout;
    assert!(text.contains(&line), "{text}");
    let list = format!("{shown}:/nowhere");
    node.containerd.reconfigure(|config| config.replacen(&format!("{shown:?}"), &format!("{list:?}"), 1));
    found(&node, &[]).complains("warning", "by the transfer service, as the kubelet's are, read no list").is_content();
}
