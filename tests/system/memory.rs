//! What the daemon remembers of content: on disk beyond its own life, and nothing that is wrong with the disk ever
//! changes a verdict.

use std::fs;
use std::path::Path;

use crate::common::registry::{Registry, Reply};
use crate::needs_root;
use crate::node::{Node, executor, remember, signed};
use crate::programs::{Launch, until};

/// Nothing is remembered but content, on disk in a folder of the node.
fn node(registry: &Registry, keys: &str) -> Node {
    let node = Node::down("");
    let path = node.path("cache");
    let text = executor(&format!("{}/acme/*", registry.host()), "") + &remember("allow = \"0s\"\ndeny = \"0s\"");
    node.configure(&format!("{text}[cache]\npath = {path:?}\n{keys}"));
    node
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// How many manifests and blobs were asked for.
fn fetches(registry: &Registry) -> usize {
    registry.count("/manifests/") + registry.count("/blobs/")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn signatures_are_not_fetched_again_after_a_restart_or_a_flush() {
    let registry = Registry::start().await;
    let (image, name) = (signed(&registry, "acme/web"), format!("{}/acme/web:v1", registry.host()));
    let mut node = node(&registry, "memory = 0");
    node.launch(Launch::default());
    node.pull(&name, &image).allows("ALLOWED", "acme:");
    assert_eq!(fetches(&registry), 2);
    until("content on disk", || files(&node.path("cache")) == 2);
    node.pull(&name, &image).allows("ALLOWED", "acme:");
    node.ctl(&["flush"]);
    node.pull(&name, &image).allows("ALLOWED", "acme:");
    assert_eq!(fetches(&registry), 2);
    node.daemon = None;
    node.launch(Launch::default());
    // Until the new daemon has found out what is there it may fetch.
    until("content from disk", || {
        let before = fetches(&registry);
        node.pull(&name, &image).allows("ALLOWED", "acme:");
        fetches(&registry) == before
    });
    // What lies there is not believed.
    for entry in fs::read_dir(node.path("cache")).unwrap() {
        fs::write(entry.unwrap().path(), "{}").unwrap();
    }
    let before = fetches(&registry);
    node.pull(&name, &image).allows("ALLOWED", "acme:");
    assert_eq!(fetches(&registry), before + 2);
    assert_eq!(node.logged("WARN"), 0, "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_place_that_is_none_is_told_once_and_costs_fetches_alone() {
    let registry = Registry::start().await;
    let (image, name) = (signed(&registry, "acme/web"), format!("{}/acme/web:v1", registry.host()));
    let mut node = node(&registry, "memory = 0");
    fs::write(node.path("cache"), "a file").unwrap();
    node.launch(Launch::default());
    for pulls in 1..4 {
        node.pull(&name, &image).allows("ALLOWED", "acme:");
        assert_eq!(fetches(&registry), 2 * pulls);
    }
    until("the warning", || node.logged("content on disk") > 0);
    assert_eq!(node.logged("content on disk"), 1, "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_disk_without_room_costs_fetches_alone() {
    needs_root!();
    let registry = Registry::start().await;
    let (image, name) = (signed(&registry, "acme/web"), format!("{}/acme/web:v1", registry.host()));
    let mut node = node(&registry, "memory = 0");
    fs::create_dir(node.path("cache")).unwrap();
    let script = format!("mount -t tmpfs -o nr_inodes=1 none {} && exec \"$@\"", node.path("cache").display());
    node.launch(Launch { wrapper: &["unshare", "-m", "/bin/sh", "-c", &script, "sh"], ..Launch::default() });
    for pulls in 1..4 {
        node.pull(&name, &image).allows("ALLOWED", "acme:");
        assert_eq!(fetches(&registry), 2 * pulls);
    }
    until("the warning", || node.logged("No space left on device") > 0);
    assert_eq!(node.logged("content on disk"), 1, "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_last_known_list_allows_what_it_allowed_and_refuses_nothing_for_good() {
    let registry = Registry::start().await;
    let image = signed(&registry, "acme/web");
    let unsigned = registry.image("acme/web", "v2");
    let name = |tag: &str| format!("{}/acme/web:{tag}", registry.host());
    let scope = executor(&format!("{}/acme/*", registry.host()), "");
    let keys = "allow = \"0s\"\ndeny = \"0s\"\nstaleReferrers = \"1h\"";
    let node = Node::start(&(scope + &remember(keys)));
    node.pull(&name("v1"), &image).allows("ALLOWED", "acme:");
    node.pull(&name("v2"), &unsigned).refuses("DENIED", "nothing refers to this image");
    registry.reply("/referrers/", Reply::status(503));
    let ran = node.pull(&name("v1"), &image);
    ran.allows("ALLOWED", "the list of referrers is ");
    let report = node.json(0, &["explain", ran.id()]).to_string();
    assert!(report.contains("the list of referrers is "), "{report}");
    node.pull(&name("v2"), &unsigned).refuses("UNAVAILABLE", "the list of referrers is ");
    registry.reply("/referrers/", Reply::status(403));
    node.pull(&name("v1"), &image).refuses("UNAVAILABLE", "403");
}
