//! What is asked of the registry and what is remembered, told by counting requests.

use std::thread;

use ratify::artifact::Descriptor;

use crate::common::registry::{Registry, Reply};
use crate::gate::Gate;
use crate::needs_root;
use crate::node::{Node, executor, remember, signed};

/// A node for one scope of one registry, a signed and an unsigned image there.
struct Shop {
    node: Node,
    registry: Registry,
    signed: Descriptor,
    unsigned: Descriptor,
}

impl Shop {
    /// `top` comes before the executor, `keys` into it.
    async fn start(top: &str, keys: &str) -> Self {
        let registry = Registry::start().await;
        let (signed, unsigned) = (signed(&registry, "acme/web"), registry.image("acme/web", "v2"));
        let node = Node::start(&(top.to_owned() + &executor(&format!("{}/acme/*", registry.host()), keys)));
        Self { node, registry, signed, unsigned }
    }

    fn name(&self) -> String {
        format!("{}/acme/web:v1", self.registry.host())
    }

    /// Pulls, which must be answered so; returns how many requests that took.
    #[track_caller]
    fn pull(&self, image: &Descriptor, code: i32, token: &str) -> usize {
        let before = self.registry.requests().len();
        self.node.pull(&self.name(), image).reason(code, token);
        self.registry.requests().len() - before
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_allow_is_remembered() {
    let shop = Shop::start(&remember(""), "").await;
    assert!(shop.pull(&shop.signed, 0, "ALLOWED") > 0);
    assert_eq!(shop.pull(&shop.signed, 0, "ALLOWED"), 0);
    assert_eq!(shop.node.status()["remembered"], 1);
    // By the same id, so that it can be explained as long as the first.
    let ids = [0, 1].map(|_| shop.node.pull(&shop.name(), &shop.signed).id().to_owned());
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_allow_is_not_remembered_where_that_is_switched_off() {
    let shop = Shop::start(&remember("allow = \"0s\""), "").await;
    shop.pull(&shop.signed, 0, "ALLOWED");
    assert!(shop.pull(&shop.signed, 0, "ALLOWED") > 0);
    assert_eq!(shop.node.status()["remembered"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_allow_is_remembered_for_its_repository_alone() {
    let shop = Shop::start(&remember(""), "").await;
    shop.pull(&shop.signed, 0, "ALLOWED");
    let elsewhere = format!("{}/acme/miner:v1", shop.registry.host());
    shop.node.pull(&elsewhere, &shop.signed).refuses("DENIED", "nothing refers to this image");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_allow_is_remembered_for_its_whole_descriptor_alone() {
    let shop = Shop::start(&remember(""), "").await;
    shop.pull(&shop.signed, 0, "ALLOWED");
    let larger = Descriptor { size: shop.signed.size + 1, ..shop.signed.clone() };
    assert!(shop.pull(&larger, 1, "DENIED") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_deny_is_remembered_for_a_while() {
    let shop = Shop::start(&remember(""), "").await;
    assert!(shop.pull(&shop.unsigned, 1, "DENIED") > 0);
    assert_eq!(shop.pull(&shop.unsigned, 1, "DENIED"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_deny_is_not_remembered_where_that_is_switched_off() {
    let shop = Shop::start(&remember("deny = \"0s\""), "").await;
    shop.pull(&shop.unsigned, 1, "DENIED");
    assert!(shop.pull(&shop.unsigned, 1, "DENIED") > 0);
    assert_eq!(shop.node.status()["remembered"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_could_not_be_checked_is_not_remembered() {
    let shop = Shop::start(&remember(""), "").await;
    shop.registry.reply("/referrers/", Reply::status(503));
    for _ in 0..2 {
        assert!(shop.pull(&shop.signed, 1, "UNAVAILABLE") > 0);
    }
    shop.registry.heal();
    shop.pull(&shop.signed, 0, "ALLOWED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn audit_reports_and_allows_and_remembers_no_refusal() {
    let shop = Shop::start(&remember(""), "mode = \"audit\"").await;
    for _ in 0..2 {
        assert!(shop.pull(&shop.unsigned, 0, "AUDIT") > 0);
    }
    assert_eq!(shop.node.status()["remembered"], 0);
    shop.registry.reply("/referrers/", Reply::status(503));
    let ran = shop.node.pull(&shop.name(), &shop.signed);
    ran.allows("AUDIT", "would be refused: UNAVAILABLE ");
    shop.registry.heal();
    shop.pull(&shop.signed, 0, "ALLOWED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_audit_saw_does_not_count_once_the_mode_is_enforce() {
    let shop = Shop::start(&remember(""), "mode = \"audit\"").await;
    shop.pull(&shop.unsigned, 0, "AUDIT");
    shop.node.configure(&executor(&format!("{}/acme/*", shop.registry.host()), "mode = \"enforce\""));
    shop.pull(&shop.unsigned, 1, "DENIED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_modes_allow_and_deny_ask_no_registry() {
    let registry = Registry::start().await;
    let (host, image) = (registry.host(), registry.image("acme/web", "v1"));
    let scope = |path: &str, mode: &str| format!("[[executors]]\nscopes = [\"{host}/{path}\"]\nmode = \"{mode}\"\n");
    let node = Node::start(&(scope("acme/web", "allow") + &scope("acme/*", "deny")));
    let allow = node.pull(&format!("{host}/acme/web:v1"), &image);
    allow.allows("EXEMPT", &format!("scope {host}/acme/web has mode \"allow\""));
    let deny = node.pull(&format!("{host}/acme/other:v1"), &image);
    deny.refuses("DENIED", &format!("scope {host}/acme/* has mode \"deny\""));
    assert_eq!(registry.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_no_scope_matches_is_as_unmatched_says_and_asks_no_registry() {
    for (unmatched, code, token, says) in [
        ("", 1, "DENIED", "deny"),
        ("unmatched = \"deny\"\n", 1, "DENIED", "deny"),
        ("unmatched = \"allow\"\n", 0, "EXEMPT", "allow"),
    ] {
        let shop = Shop::start(unmatched, "").await;
        let name = format!("{}/other/web:v1", shop.registry.host());
        let ran = shop.node.pull(&name, &shop.signed);
        let line = ran.reason(code, token);
        let cause = format!("no scope of the configuration matches {}/other/web", shop.registry.host());
        assert!(line.contains(&cause) && line.contains(&format!("`unmatched` is {says:?}")), "{line}");
        assert_eq!(shop.registry.requests().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_image_name_is_refused_even_where_unmatched_allows() {
    let shop = Shop::start("unmatched = \"allow\"\n", "").await;
    for name in [
        "registry.example/UPPER",
        "a b",
        "http://registry.example/a",
        "registry.example/",
        "registry.example/a@sha256:1",
    ] {
        shop.node.pull(name, &shop.signed).refuses("DENIED", "is not an image name");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pinned_digest_is_allowed_without_a_question_and_no_other_is() {
    let registry = Registry::start().await;
    let (pinned, other) = (registry.image("acme/web", "v1"), registry.image("acme/web", "v2"));
    let keys = format!("digests = [\"{}\"]", pinned.digest);
    let node = Node::start(&executor(&format!("{}/acme/*", registry.host()), &keys));
    let name = format!("{}/acme/web:v1", registry.host());
    node.pull(&name, &pinned).allows("EXEMPT", &format!("{} is pinned under `digests`", pinned.digest));
    assert_eq!(registry.requests().len(), 0);
    node.pull(&name, &other).refuses("DENIED", "nothing refers to this image");
    let elsewhere = format!("{}/other/web:v1", registry.host());
    node.pull(&elsewhere, &pinned).refuses("DENIED", "no scope of the configuration matches");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn pulls_of_one_image_at_one_time_share_one_walk() {
    const PULLS: usize = 6;
    let registry = Registry::start().await;
    let gate = Gate::before(&registry).await;
    let image = signed(&registry, "acme/web");
    let node = Node::start(&(remember("") + &executor(&format!("{}/acme/*", gate.host()), "")));
    let name = format!("{}/acme/web:v1", gate.host());
    thread::scope(|scope| {
        for _ in 0..PULLS {
            scope.spawn(|| node.pull(&name, &image).allows("ALLOWED", "acme: "));
        }
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(gate.came(1)));
        gate.open();
    });
    assert_eq!(registry.count("/referrers/"), 1);
    assert_eq!(node.logged("token=\"ALLOWED\""), PULLS, "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn flush_forgets_what_is_remembered_and_the_lists_too() {
    needs_root!();
    // Lists of referrers are kept as long as can be.
    let shop = Shop::start("[remember]\nreferrers = \"10m\"\n", "").await;
    shop.pull(&shop.signed, 0, "ALLOWED");
    shop.pull(&shop.unsigned, 1, "DENIED");
    let before = shop.registry.count("/referrers/");
    assert_eq!(shop.pull(&shop.signed, 0, "ALLOWED"), 0);
    assert_eq!(shop.node.json(0, &["flush"])["forgotten"], 2);
    assert_eq!(shop.node.status()["remembered"], 0);
    shop.pull(&shop.signed, 0, "ALLOWED");
    assert_eq!(shop.registry.count("/referrers/"), before + 1);
    assert_eq!(shop.node.ctl(&["flush"]).ended(0), "forgot 1 verdicts\n");
}
