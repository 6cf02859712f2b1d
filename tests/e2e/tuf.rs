//! A trusted root from a TUF repository, in a folder and over http: what its owner publishes counts on a node that runs on.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::common::node::Node;
use crate::common::tools::run;
use crate::drafts::{Draft, Form};
use crate::keyless::{IDENTITY, configuration, everybody, good, image};
use crate::needs;
use crate::repositories::{LATER, Repo, TARGET, served};

/// What `ratifyctl` says of the node.
fn ctl(node: &Node, command: &str) -> String {
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
    let ran = run(ctl.arg(command).arg("--socket").arg(node.daemon.socket()).env("NO_COLOR", "1"));
    assert!(matches!(ran.code, Some(0..=2)), "{ran:?}");
    ran.stdout + &ran.stderr
}

/// A node that trusts a repository by its first root.
fn node(folder: &Path, repo: &Repo, mirror: &str) -> Node {
    let root = folder.join("root.json");
    fs::write(&root, &repo.first_root).unwrap();
    let source = format!("tuf = {{ root = {root:?}, mirror = {mirror:?}, refreshInterval = \"1m\" }}");
    // What was read outlives the daemon below this.
    let cache = format!("[cache]\npath = {:?}\n", folder.join("cache"));
    Node::start(&(configuration(&source, IDENTITY, "") + &cache))
}

#[test]
fn what_a_tuf_repository_publishes_counts_without_a_restart() {
    needs!();
    for is_folder in [true, false] {
        let repo = Repo::of(everybody().to_string().as_bytes());
        let here = repo.folder.path().display().to_string();
        let mirror = if is_folder { here } else { served(repo.folder.path()) };
        let folder = tempfile::tempdir().unwrap();
        let mut node = node(folder.path(), &repo, &mirror);
        let [first, second, third] = [(); 3].map(|()| {
            let image = image("tuf");
            Draft::of(&image, Form::Bundle("0.3"), good()).make().push(&image);
            image
        });
        node.allows_as(&first, &first.by_digest(), "ALLOWED");
        let status = ctl(&node, "status");
        let line = status.lines().find(|line| line.starts_with("trusted root ")).unwrap_or_else(|| panic!("{status}"));
        assert!(
            line.contains(&format!("own ({mirror}")) && line.contains("): as of ") && line.ends_with(" ago"),
            "{line}"
        );

        // Its owner takes the authority's key back.
        let mut without = everybody();
        without["certificateAuthorities"] = json!([]);
        repo.publish(2, without.to_string().as_bytes(), LATER);
        ctl(&node, "flush");
        node.refuses(&second, "DENIED", "the trusted root names no authority that issues certificates to signers");

        // Who stands in the middle brings the older one back, in vain.
        repo.publish(1, everybody().to_string().as_bytes(), LATER);
        ctl(&node, "flush");
        node.refuses(&second, "DENIED", "the trusted root names no authority");
        let status = ctl(&node, "status");
        assert!(status.contains("problem ") && status.contains("rollback"), "{status}");

        repo.publish(3, everybody().to_string().as_bytes(), LATER);
        ctl(&node, "flush");
        node.allows_as(&second, &second.by_digest(), "ALLOWED");

        // The network is gone: what was read last counts on, also after a restart.
        fs::remove_file(repo.folder.path().join("timestamp.json")).unwrap();
        ctl(&node, "flush");
        assert!(ctl(&node, "status").contains("cannot be read"), "{}", node.daemon.log());
        node.daemon.restart();
        node.allows_as(&third, &third.by_digest(), "ALLOWED");
    }
}

#[test]
fn a_target_that_is_no_longer_listed_takes_the_trust_away() {
    needs!();
    let repo = Repo::of(everybody().to_string().as_bytes());
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path(), &repo, &repo.folder.path().display().to_string());
    let [first, second] = [(); 2].map(|()| {
        let image = image("tuf");
        Draft::of(&image, Form::Bundle("0.3"), good()).make().push(&image);
        image
    });
    node.allows_as(&first, &first.by_digest(), "ALLOWED");
    repo.publish_listing(2, &json!({}), LATER);
    ctl(&node, "flush");
    node.refuses(&second, "MISCONFIGURED", &format!("it no longer lists {TARGET}"));
}
