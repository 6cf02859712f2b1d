//! Nodes that reach registries by way of a mirror, or reach nothing else: the same hosts.toml files for the real
//! containerd and for ratifyd, real registries behind them, and images of a registry that does not exist.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::common::node::{Node, executor};
use super::common::notation::signers;
use super::common::registries::{Image, Registry, registries};
use super::common::tools::{run, tool};
use super::needs;

/// Nobody listens there.
const DOWN: &str = "http://127.0.0.1:1";

/// A node whose containerd and ratifyd have the same hosts files.
struct Site {
    hosts: TempDir,
    node: Node,
}

impl Site {
    fn start() -> Self {
        let hosts = tempfile::tempdir().unwrap();
        let executor = executor("\"*.example.test\"", "", &signers().authority.certificate());
        let store = "[[executors.stores]]\ntype = \"registry-store\"\n";
        let remember = "[remember]\nallow = \"0s\"\ndeny = \"0s\"\nreferrers = \"0s\"\n";
        let config = format!("{executor}{store}parameters.configPath = {:?}\n{remember}", hosts.path());
        Self { node: Node::start(&config), hosts }
    }

    fn file(&self, registry: &str) -> PathBuf {
        let folder = self.hosts.path().join(registry);
        fs::create_dir_all(&folder).unwrap();
        folder.join("hosts.toml")
    }

    /// From now on this registry is reached so.
    fn reach(&self, registry: &str, hosts: &str) {
        fs::write(self.file(registry), hosts).unwrap();
    }

    /// Pulls an image under the name that it has in `registry`, which must be allowed.
    #[track_caller]
    fn lets_in(&self, registry: &str, image: &Image) {
        let name = image.at(registry).by_tag();
        let pull = self.node.containerd.pull_by_way_of(self.hosts.path(), &name);
        assert!(pull.allowed(), "{pull:?}\n{}", self.node.daemon.log());
        assert!(self.node.containerd.last_allow(&name).starts_with("ALLOWED "));
    }

    /// The same, which must be refused.
    #[track_caller]
    fn keeps_out(&self, registry: &str, image: &Image, token: &str, cause: &str) {
        let name = image.at(registry).by_tag();
        self.node.containerd.pull_by_way_of(self.hosts.path(), &name).refused(token, cause);
        let stored = self.node.containerd.content();
        assert!(!image.content.iter().any(|digest| stored.contains(digest)), "{image:?} is in {stored:#?}");
    }
}

/// An image that is signed, and one that is not.
fn images(registry: &Registry) -> [Image; 2] {
    let [signed, unsigned] = ["mirrors/signed", "mirrors/unsigned"].map(|place| registry.image(place));
    signers().trusted.sign(&signed.by_digest());
    [signed, unsigned]
}

/// Copies an image to the same place of another registry, with what refers to it or without.
fn mirrored(image: &Image, to: &Registry, with_referrers: bool) -> Image {
    let copy = image.at(&to.host);
    let recursive: &[&str] = if with_referrers { &["-r"] } else { &[] };
    let mut command = Command::new(tool("oras"));
    command.arg("cp").args(recursive).args(["--from-plain-http", "--to-plain-http"]);
    run(command.args([image.by_tag(), copy.by_tag()])).success();
    copy
}

#[test]
fn a_node_that_reaches_only_a_mirror_lets_in_what_is_signed_there() {
    needs!();
    let site = Site::start();
    // Names of their own: a change of a registry's file counts a second later.
    for (kind, registry) in [("api", &registries().referrers), ("tag", &registries().distribution)] {
        let [signed, unsigned] = images(registry);
        // The mirror alone: its list is the last word.
        let alone = format!("alone-{kind}.example.test");
        site.reach(&alone, &format!("server = 'http://{}'\n", registry.host));
        site.lets_in(&alone, &signed);
        site.keeps_out(&alone, &unsigned, "DENIED", super::UNSIGNED);
        // Before a registry that does not exist, which may know of signatures that the mirror has not heard of.
        let before = format!("before-{kind}.example.test");
        site.reach(&before, &format!("[host.'http://{}']\n", registry.host));
        site.lets_in(&before, &signed);
        site.keeps_out(&before, &unsigned, "UNAVAILABLE", &before);
    }
}

#[test]
fn a_mirror_that_is_down_is_passed_over_by_containerd_and_by_ratifyd() {
    needs!();
    let site = Site::start();
    let origin = &registries().referrers;
    let [signed, unsigned] = images(origin);
    site.reach("down.example.test", &format!("server = 'http://{}'\n[host.'{DOWN}']\n", origin.host));
    site.lets_in("down.example.test", &signed);
    site.keeps_out("down.example.test", &unsigned, "DENIED", super::UNSIGNED);
}

#[test]
fn a_mirror_that_has_no_signatures_is_not_the_last_word() {
    needs!();
    let site = Site::start();
    let origin = &registries().referrers;
    let [signed, unsigned] = images(origin);
    for (kind, mirror) in [("tag", &registries().distribution), ("crane", &registries().crane)] {
        let (empty, lonely) = (format!("empty-{kind}.example.test"), format!("lonely-{kind}.example.test"));
        let (bare, whole) = (mirrored(&signed, mirror, false), images(origin)[0].clone());
        let through = |server: &str| format!("server = '{server}'\n[host.'http://{}']\n", mirror.host);
        site.reach(&empty, &through(&format!("http://{}", origin.host)));
        site.lets_in(&empty, &bare);
        let copy = mirrored(&unsigned, mirror, false);
        site.keeps_out(&empty, &copy, "DENIED", super::UNSIGNED);
        // Without the registry nobody knows whether there is a signature.
        site.reach(&lonely, &through(DOWN));
        let other = mirrored(&images(origin)[1], mirror, false);
        site.keeps_out(&lonely, &other, "UNAVAILABLE", "127.0.0.1:1");
        // With its signatures it has all that is needed.
        let whole = mirrored(&whole, mirror, true);
        site.lets_in(&lonely, &whole);
    }
}
