//! The example plugin of `examples/`, built as it stands and laid in as its README says: what it approves is pulled.

use std::fs;
use std::path::Path;
use std::process::Command;

use ratify::config::{self, Plugins};

use super::common::node::{Daemon, LINK, Node};
use super::common::plugins::NOBODY;
use super::common::registries::{Image, registries};
use super::common::tools::{run, tool};
use super::needs;

const APPROVAL: &str = "application/vnd.example.approval.v1";
const README: &str = include_str!("../../examples/plugin/README.md");
const DOCKERFILE: &str = include_str!("../../examples/Dockerfile");

/// An image that somebody has approved.
fn approved(by: &str) -> Image {
    let image = registries().referrers.image("example-apps/app");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("approval.json"), format!("{{\"approvedBy\":{by:?},\"reason\":\"REL-42\"}}")).unwrap();
    let mut oras = Command::new(tool("oras"));
    oras.current_dir(folder.path()).env("HOME", folder.path());
    let attach = ["attach", "--plain-http", "--artifact-type", APPROVAL, &image.by_digest(), "approval.json"];
    run(oras.args(attach)).success();
    image
}

/// The example in a folder of plugins.
fn installed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut install = Command::new("install");
    install.args(["-o", "root", "-g", "root", "-m", "755"]).arg(tool("approval")).arg(folder.path().join("approval"));
    run(&mut install).success();
    run(Command::new("chmod").arg("755").arg(folder.path())).success();
    folder
}

fn ctl(config: &Path, arguments: &[&str]) -> super::common::tools::Ran {
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
    run(ctl.args(arguments).env("RATIFYD_CONFIG", config).env("NO_COLOR", "1"))
}

#[test]
fn the_example_plugin_lets_in_what_was_approved_and_nothing_else() {
    needs!();
    let folder = installed();
    let host = &registries().referrers.host;
    let config = format!(
        "[plugins]\npath = {:?}\nuser = \"{NOBODY}\"\n[[executors]]\nscopes = [\"{host}/example-apps/*\"]\n\
         [[executors.verifiers]]\nname = \"approval\"\ntype = \"plugin\"\n[executors.verifiers.parameters]\n\
         artifactTypes = [\"{APPROVAL}\"]\nconfig = {{ approvers = [\"alice@acme.example\"] }}\n",
        folder.path()
    );
    let [good, bad] = [approved("alice@acme.example"), approved("mallory@acme.example")];
    let unapproved = registries().referrers.image("example-apps/app");
    let node = Node::over(Daemon::start(&config), LINK, &[]);
    node.allows(&good, "ALLOWED");
    node.refuses(&bad, "DENIED", "\"mallory@acme.example\" is none of the approvers");
    node.refuses(&unapproved, "DENIED", "nothing refers to this image");

    let test = ["plugin", "test", "--verifier", "approval"];
    let shown = ctl(&node.daemon.config(), &[&test[..], &[&good.by_digest()]].concat());
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("  passed  approved by one who may\n"), "{shown:?}");
    let path = folder.path().join("approval");
    let plain = ["plugin", "test", "--plugin", path.to_str().unwrap(), "--artifact-type", APPROVAL, "--plugin-config"];
    let shown = ctl(&node.daemon.config(), &[&plain[..], &["{}", &good.by_digest()]].concat());
    assert_eq!(shown.code, Some(1), "{shown:?}");
    assert!(shown.stdout.contains("the configuration names no approvers"), "{shown:?}");
}

#[test]
fn the_readme_and_the_dockerfile_say_what_holds() {
    let block = README.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = config::parse("config.toml", block, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.executors.len(), 1);
    let folder = Plugins::default().path.display().to_string();
    assert!(README.contains(&format!("{folder}/approval")), "{README}");
    let copies: Vec<&str> = DOCKERFILE.lines().filter(|line| line.starts_with("COPY --from")).collect();
    assert!(
        copies.len() == 2 && copies.iter().all(|copy| copy.ends_with(&format!("/go/bin/ {folder}/"))),
        "{copies:?}"
    );
    assert!(copies.iter().all(|copy| copy.contains("--chown=0:0 --chmod=755")), "{copies:?}");
    let build = "go build -trimpath -o ";
    assert!(README.contains(build) && DOCKERFILE.contains(build));
}
