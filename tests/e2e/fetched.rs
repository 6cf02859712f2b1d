//! Plugins as OCI artifacts: pushed by the real oras, signed by the real cosign, named in `source`, and asked about images
//! that the real containerd pulls.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::common::cosign::{Form, keys};
use super::common::node::{Daemon, LINK, Node};
use super::common::plugins::NOBODY;
use super::common::registries::{Image, Registry, distribution_with_passwords, registries};
use super::common::tools::{Ran, run, tool};
use super::needs;
use super::proxy::{Proxy, Rule};

const PLUGIN: &str = "application/vnd.ratifyd.plugin.v1";
const SBOM: &str = "application/vnd.example.sbom";

/// A plugin that takes what says "fine".
const FINE: &str = r#"#!/bin/sh
request=$(cat)
if grep -q fine layout/blobs/sha256/*; then echo '{"isSuccess":true,"message":"it is fine"}'
else echo '{"isSuccess":false,"message":"it is not fine"}'; fi
"#;

/// The next version of it, which takes nothing.
const STERN: &str = "#!/bin/sh\ncat > /dev/null\necho '{\"isSuccess\":false,\"message\":\"nothing is fine enough\"}'\n";

fn oras(folder: &Path, arguments: &[&str]) -> String {
    let mut oras = Command::new(tool("oras"));
    run(oras.current_dir(folder).env("HOME", folder).args(arguments)).success()
}

/// A repository of plugins.
struct Plugins {
    repository: String,
    folder: TempDir,
}

impl Plugins {
    fn new(name: &str) -> Self {
        // A repository that nobody else uses: an image's own.
        let Image { repository, .. } = registries().referrers.image(&format!("fetched/{name}"));
        Self { repository, folder: tempfile::tempdir().unwrap() }
    }

    /// Pushes a program under a tag, and returns its reference by digest.
    fn push(&self, tag: &str, program: &str, more: &[&str]) -> String {
        self.push_as(tag, program, PLUGIN, more)
    }

    fn push_as(&self, tag: &str, program: &str, kind: &str, more: &[&str]) -> String {
        fs::write(self.folder.path().join("sbom"), program).unwrap();
        let reference = format!("{}:{tag}", self.repository);
        let format = ["--format", "go-template={{.digest}}"];
        let arguments = [&["push", "--plain-http", "--artifact-type", kind], more, &format, &[&reference, "sbom"]];
        let digest = oras(self.folder.path(), &arguments.concat());
        format!("{}@{}", self.repository, digest.trim())
    }

    /// The same by digest, signed by the trusted key.
    fn push_signed(&self, tag: &str, program: &str, more: &[&str]) -> String {
        let reference = self.push(tag, program, more);
        keys().trusted.sign(Form::Bundle, &reference);
        reference
    }

    fn tagged(&self, tag: &str) -> String {
        format!("{}:{tag}", self.repository)
    }
}

/// An image with a report that says this.
fn image(report: &str) -> Image {
    let image = registries().referrers.image("fetched-apps/app");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("report"), report).unwrap();
    oras(folder.path(), &["attach", "--plain-http", "--artifact-type", SBOM, &image.by_digest(), "report"]);
    image
}

/// A node whose images need a report that a plugin finds good, and its folder of fetched plugins.
fn node(source: &str, plugins: &str) -> (Node, TempDir) {
    let kept = tempfile::tempdir().unwrap();
    fs::set_permissions(kept.path(), Permissions::from_mode(0o755)).unwrap();
    let Registry { host, .. } = &registries().referrers;
    let trusted = keys().trusted.public();
    let config = format!(
        r#"
[plugins]
user = "{NOBODY}"
kept = "{kept}/plugins"

[remember]
allow = "0s"
deny = "0s"
# What decides of plugins is asked anew all the same.
referrers = "10m"

[[executors]]
name = "plugins"
scopes = ["nowhere.example"]
{plugins}
[[executors.verifiers]]
name = "release"
type = "cosign"
parameters.trustPolicies = [{{ keys = {{ files = [{trusted:?}] }}, ignoreTLog = true }}]

[[executors]]
scopes = ["{host}/fetched-apps/*"]
[[executors.verifiers]]
name = "report"
type = "plugin"
[executors.verifiers.parameters]
plugin = "sbom"
artifactTypes = ["{SBOM}"]
source = {{ {source}, refreshInterval = "30d" }}
"#,
        kept = kept.path().display()
    );
    (Node::over(Daemon::start(&config), LINK, &[]), kept)
}

fn trusting(plugins: &Plugins) -> (Node, TempDir) {
    node(&format!("artifact = \"{}\", trust = \"plugins\"", plugins.tagged("v1")), "")
}

fn ctl(node: &Node, arguments: &[&str]) -> String {
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
    let ran = run(ctl.args(arguments).arg("--socket").arg(node.daemon.socket()).env("NO_COLOR", "1"));
    assert!(matches!(ran.code, Some(0..=2)), "{ran:?}");
    ran.stdout + &ran.stderr
}

/// Has everything asked for again, and tells what the daemon says of its plugin.
fn again(node: &Node) -> String {
    ctl(node, &["flush"]);
    let status = ctl(node, &["status"]);
    status
        .lines()
        .filter(|line| line.starts_with("plugin ") || line.starts_with("problem "))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_plugin_that_oras_pushed_and_cosign_signed_allows_and_refuses_pulls_and_follows_its_tag() {
    needs!();
    let plugins = Plugins::new("followed");
    let first = plugins.push_signed("v1", FINE, &[]);
    let (node, _kept) = trusting(&plugins);
    node.allows(&image("all is fine"), "ALLOWED");
    node.refuses(&image("nothing"), "DENIED", "it is not fine");
    node.refuses(&registries().referrers.image("fetched-apps/app"), "DENIED", "report");
    let status = again(&node);
    let digest = first.split('@').nth(1).unwrap();
    assert!(status.contains(&format!("{digest}, verified, as of ")), "{status}");

    // The next version counts once it is signed.
    let second = plugins.push("v1", STERN, &[]);
    let status = again(&node);
    assert!(status.contains(digest) && status.contains("is refused by executor \"plugins\""), "{status}");
    node.allows(&image("all is fine"), "ALLOWED");
    keys().stranger.sign(Form::Bundle, &second);
    assert!(again(&node).contains("is refused by executor"));
    keys().trusted.sign(Form::Bundle, &second);
    let status = again(&node);
    assert!(status.contains(second.split('@').nth(1).unwrap()) && !status.contains("problem"), "{status}");
    node.refuses(&image("all is fine"), "DENIED", "nothing is fine enough");

    // Under its tag nobody brings the old one back.
    oras(plugins.folder.path(), &["tag", "--plain-http", &first, "v1"]);
    let status = again(&node);
    assert!(status.contains("a tag never goes back") && status.contains(second.split('@').nth(1).unwrap()), "{status}");
    node.refuses(&image("all is fine"), "DENIED", "nothing is fine enough");

    // Nor is it run once its signature is withdrawn.
    oras(plugins.folder.path(), &["tag", "--plain-http", &second, "v1"]);
    let format = "go-template={{range .referrers}}{{.reference}} {{end}}";
    let signatures = oras(plugins.folder.path(), &["discover", "--plain-http", "--format", format, &second]);
    for signature in signatures.split_whitespace() {
        oras(plugins.folder.path(), &["manifest", "delete", "--plain-http", "--force", signature]);
    }
    assert!(!signatures.is_empty() && again(&node).contains("none in force"));
    node.refuses(&image("all is fine"), "MISCONFIGURED", "nothing refers to this image");
}

#[test]
fn a_kept_plugin_runs_without_its_registry_and_after_a_restart_and_not_once_it_was_tampered_with() {
    needs!();
    let plugins = Plugins::new("kept");
    plugins.push_signed("v1", FINE, &[]);
    let proxy = Proxy::start(&registries().referrers.host, Rule::Pass);
    let path = plugins.repository.split_once('/').unwrap().1;
    let (mut node, kept) = node(&format!("artifact = \"{}/{path}:v1\", trust = \"plugins\"", proxy.host), "");
    node.allows(&image("all is fine"), "ALLOWED");
    drop(proxy);
    let status = again(&node);
    assert!(status.contains("verified, as of ") && status.contains("problem "), "{status}");
    node.allows(&image("all is fine"), "ALLOWED");
    node.daemon.restart();
    node.allows(&image("all is fine"), "ALLOWED");
    node.refuses(&image("nothing"), "DENIED", "it is not fine");

    let programs = fs::read_dir(kept.path().join("plugins/programs")).unwrap();
    let program = programs.map(|entry| entry.unwrap().path().join("sbom")).next().unwrap();
    assert_eq!(program.metadata().unwrap().permissions().mode() & 0o7777, 0o555);
    fs::write(&program, FINE.replace("grep -q fine", "true")).unwrap();
    node.refuses(&image("nothing"), "MISCONFIGURED", "it was changed since it was fetched, and is not run");
}

#[test]
fn what_nobody_vouches_for_and_what_is_no_plugin_is_not_run() {
    needs!();
    let (good, host) = (image("all is fine"), &registries().referrers.host);
    let refused = |source: &str, cause: &str| {
        let (node, kept) = self::node(source, "");
        node.refuses(&good, "MISCONFIGURED", cause);
        let programs = fs::read_dir(kept.path().join("plugins/programs")).map_or(0, Iterator::count);
        assert_eq!(programs, 0, "nothing of it is kept");
    };
    let trusted = |reference: &str| format!("artifact = {reference:?}, trust = \"plugins\"");
    let plugins = Plugins::new("unsigned");
    plugins.push("v1", FINE, &[]);
    refused(&trusted(&plugins.tagged("v1")), "is refused by executor \"plugins\"");
    let stranger = plugins.push("v2", STERN, &[]);
    keys().stranger.sign(Form::Bundle, &stranger);
    refused(&trusted(&plugins.tagged("v2")), "is refused by executor \"plugins\"");

    // Neither the executor's mode nor its pins vouch for a plugin.
    let unsigned = plugins.push("v0", FINE, &[]);
    let lenient = format!("mode = \"audit\"\ndigests = [{:?}]", unsigned.split_once('@').unwrap().1);
    let (lenient, _kept) = node(&trusted(&plugins.tagged("v0")), &lenient);
    lenient.refuses(&good, "MISCONFIGURED", "is refused by executor \"plugins\"");

    let app = registries().referrers.image("fetched/app");
    keys().trusted.sign(Form::Bundle, &app.by_digest());
    refused(&trusted(&app.by_tag()), "is an artifact of type \"application/vnd.oci.image.config.v1+json\"");
    let other = plugins.push_as("v3", FINE, "application/vnd.acme.script", &[]);
    keys().trusted.sign(Form::Bundle, &other);
    refused(
        &trusted(&plugins.tagged("v3")),
        "\"application/vnd.acme.script\", and pluginTypes of executor \"plugins\" has",
    );

    plugins.push_signed("v4", FINE, &["--artifact-platform", "linux/mips"]);
    refused(&trusted(&plugins.tagged("v4")), "it is for linux/mips, not for linux/");
    oras(
        plugins.folder.path(),
        &["manifest", "index", "create", "--plain-http", "--artifact-type", PLUGIN, &plugins.tagged("v5"), "v4"],
    );
    let index = oras(plugins.folder.path(), &["resolve", "--plain-http", &plugins.tagged("v5")]);
    keys().trusted.sign(Form::Bundle, &format!("{}@{}", plugins.repository, index.trim()));
    refused(&trusted(&plugins.tagged("v5")), "the index names linux/mips");
    plugins.push_signed("v6", "\u{7f}ELF\u{2}\u{1}\u{1}0000000000000000000000000", &[]);
    refused(&trusted(&plugins.tagged("v6")), "it is a program for linux/machine ");

    let path = plugins.repository.split_once('/').unwrap().1;
    plugins.push_signed("v7", FINE, &[]);
    let spoiling = Proxy::start(host, Rule::SpoilBlobs);
    refused(&trusted(&format!("{}/{path}:v7", spoiling.host)), "the content has digest");
    refused(&trusted(&format!("{}:gone", plugins.repository)), "not found");
    refused(&format!("{}, maxBytes = 10", trusted(&plugins.tagged("v7"))), "more than the limit of 10 bytes");
}

#[test]
fn a_pinned_plugin_needs_nobody_and_an_unverified_one_is_told_wherever_it_is_looked_for() {
    needs!();
    let plugins = Plugins::new("pinned");
    let pinned = plugins.push("v1", FINE, &[]);
    let other = plugins.push("v1", STERN, &[]);
    assert_ne!(pinned, other);
    let (node_pinned, _kept) = node(&format!("artifact = {pinned:?}"), "");
    node_pinned.allows(&image("all is fine"), "ALLOWED");
    assert!(again(&node_pinned).contains(", pinned, as of "));

    let source = format!("artifact = \"{}\", allowUnverified = true", plugins.tagged("v1"));
    let (node, _kept) = node(&source, "");
    node.refuses(&image("all is fine"), "DENIED", "nothing is fine enough");
    let status = again(&node);
    assert!(status.contains("NOT VERIFIED, as allowUnverified says"), "{status}");
    assert!(node.daemon.log().contains("plugin is used UNVERIFIED, as allowUnverified says"), "{}", node.daemon.log());
}

#[test]
fn platforms_under_one_name_and_types_that_an_executor_lists_are_taken() {
    needs!();
    let plugins = Plugins::new("platforms");
    let own = format!("linux/{}", if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" });
    plugins.push("own", FINE, &["--artifact-platform", &own]);
    plugins.push("other", STERN, &["--artifact-platform", "linux/mips"]);
    oras(
        plugins.folder.path(),
        &["manifest", "index", "create", "--plain-http", &plugins.tagged("v1"), "other", "own"],
    );
    let index = oras(plugins.folder.path(), &["resolve", "--plain-http", &plugins.tagged("v1")]);
    keys().trusted.sign(Form::Bundle, &format!("{}@{}", plugins.repository, index.trim()));
    let (node_of_all, _kept) = trusting(&plugins);
    node_of_all.allows(&image("all is fine"), "ALLOWED");

    let typed = plugins.push_as("v2", FINE, "application/vnd.acme.plugin", &[]);
    keys().trusted.sign(Form::Bundle, &typed);
    let source = format!("artifact = \"{}\", trust = \"plugins\"", plugins.tagged("v2"));
    let (node, _kept) = node(&source, "pluginTypes = [\"application/vnd.acme.plugin\"]");
    node.allows(&image("all is fine"), "ALLOWED");
}

/// `ratifyctl plugin`, with docker's configuration in a folder.
fn plugin(folder: &Path, arguments: &[&str]) -> Ran {
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
    let ctl = ctl.arg("plugin").args(arguments).current_dir(folder).env_clear().env("DOCKER_CONFIG", folder);
    run(ctl.env("HOME", folder).env("PATH", "/usr/bin:/bin"))
}

#[test]
fn what_ratifyctl_pushes_is_signed_followed_listed_and_pulled_again() {
    needs!();
    let plugins = Plugins::new("pushed");
    let folder = plugins.folder.path();
    fs::write(folder.join("report"), FINE).unwrap();
    let tag = plugins.tagged("v1");
    let pushed = plugin(
        folder,
        &["push", &tag, "report", "--name", "sbom", "--annotation", "org.opencontainers.image.version=1"],
    );
    let reference = pushed.success().trim().to_owned();
    let digest = reference.split_once('@').unwrap().1.to_owned();
    keys().trusted.sign(Form::Bundle, &reference);
    let (node, _kept) = trusting(&plugins);
    node.allows(&image("all is fine"), "ALLOWED");

    let (config, socket) = (node.daemon.config(), node.daemon.socket());
    let list = |more: &[&str]| {
        let at = ["list", "--config", config.to_str().unwrap(), "--socket", socket.to_str().unwrap()];
        plugin(folder, &[&at, more].concat())
    };
    // Without the daemon it is fetched for the occasion.
    let mut verify = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
    let good = image("all is fine").by_digest();
    let verified = run(verify.args(["verify", "--config"]).arg(&config).arg(&good)).success();
    assert!(verified.contains("ALLOWED") && verified.contains("it is fine"), "{verified}");
    let listed = list(&[]).success();
    assert!(listed.contains("sbom (verifier report)") && listed.contains("verified by executor plugins"), "{listed}");
    assert!(listed.contains(&digest), "{listed}");
    let listed: serde_json::Value = serde_json::from_str(&list(&["--output", "json"]).success()).unwrap();
    assert_eq!(listed["plugins"][0]["digest"].as_str(), Some(digest.as_str()));

    let inspected = plugin(folder, &["inspect", &tag, "--output", "json"]).success();
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["program"]["artifactType"].as_str(), Some(PLUGIN));
    assert_eq!(inspected["program"]["title"].as_str(), Some("sbom"));
    assert_eq!(inspected["program"]["annotations"]["org.opencontainers.image.version"].as_str(), Some("1"));
    assert_eq!(inspected["referrers"].as_u64(), Some(1));
    let pulled = plugin(folder, &["pull", &tag, "--output", "again"]).success();
    assert!(pulled.contains(&reference), "{pulled}");
    assert_eq!(fs::read_to_string(folder.join("again")).unwrap(), FINE);
    assert_eq!(folder.join("again").metadata().unwrap().permissions().mode() & 0o777, 0o755);
    // Left out, it is called by its title.
    plugin(folder, &["pull", &reference]).success();
    assert_eq!(fs::read_to_string(folder.join("sbom")).unwrap(), FINE);
}

#[test]
fn programs_of_several_platforms_are_pushed_as_one_plugin_and_what_is_none_is_not_pushed() {
    needs!();
    let plugins = Plugins::new("several");
    let folder = plugins.folder.path();
    let elf = |machine: u8| [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 11], &[machine, 0], b"..."].concat();
    for (name, content) in [("amd64", elf(62)), ("arm64", elf(183)), ("again", elf(62)), ("text", b"text".to_vec())] {
        fs::write(folder.join(name), content).unwrap();
    }
    fs::write(folder.join("script"), FINE).unwrap();
    let tag = plugins.tagged("v1");
    let reference = plugin(folder, &["push", &tag, "amd64", "arm64"]).success();
    for (platform, name) in [("linux/amd64", "amd64"), ("linux/arm64", "arm64")] {
        plugin(folder, &["pull", reference.trim(), "--platform", platform, "--output", "pulled"]).success();
        assert_eq!(fs::read(folder.join("pulled")).unwrap(), fs::read(folder.join(name)).unwrap());
    }
    let missing = plugin(folder, &["inspect", &tag, "--platform", "linux/s390x"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stdout.contains("the index names linux/amd64, linux/arm64"), "{missing:?}");
    for (files, cause) in [
        (&["text"][..], "text: it is neither an ELF program nor a script"),
        (&["amd64", "again"][..], "again: another one is for linux/amd64 too"),
        (&["amd64", "script"][..], "script: it is a script, which is for every platform"),
        (&["none"][..], "none: No such file"),
    ] {
        let refused = plugin(folder, &[&["push", &tag], files].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(cause), "{refused:?}");
    }
}

#[test]
fn a_plugin_is_pushed_with_the_credentials_that_docker_keeps() {
    needs!();
    let folder = tempfile::tempdir().unwrap();
    let htpasswd = folder.path().join("htpasswd");
    // The lowest cost of bcrypt: "hunter2".
    fs::write(&htpasswd, "acme:$2b$05$Bq3Nld8ihWBc5xYVAXJSp.u05Nx2rl4Ggxgrp31dxQ86P/oykS75u\n").unwrap();
    let (_open, closed) = distribution_with_passwords(folder.path(), &htpasswd);
    let tag = format!("{}/plugins/sbom:v1", closed.host);
    fs::write(folder.path().join("sbom"), FINE).unwrap();
    let refused = plugin(folder.path(), &["push", &tag, "sbom"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    // "acme:hunter2" in base64.
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"YWNtZTpodW50ZXIy"}}}}}}"#, closed.host);
    fs::write(folder.path().join("config.json"), config).unwrap();
    let pushed = plugin(folder.path(), &["push", &tag, "sbom"]);
    assert!(!format!("{pushed:?}").contains("hunter2"), "{pushed:?}");
    let reference = pushed.success();
    plugin(folder.path(), &["pull", reference.trim(), "--output", "pulled"]).success();
    assert_eq!(fs::read_to_string(folder.path().join("pulled")).unwrap(), FINE);
}
