//! How often the registry is asked for each kind of pull. A request more is a round trip for every pull of a node, and a
//! step towards the registry's limits: who adds one changes a number here, and says why.

use ratify::artifact::Descriptor;

use crate::common::registry::{Registry, Reply};
use crate::node::{Node, SIGNATURE, executor, remember, signed};

const NOTATION: &str = "application/vnd.cncf.notary.signature";

/// A node that remembers no verdict and no list, and a registry.
struct Site {
    registry: Registry,
    node: Node,
}

impl Site {
    fn of(registry: Registry) -> Self {
        let top = remember("allow = \"0s\"\ndeny = \"0s\"");
        let node = Node::start(&(top + &executor(&format!("{}/acme/*", registry.host()), "")));
        Self { registry, node }
    }

    /// What a pull asks for, in order: kinds of URLs, without what differs from one image to the next.
    #[track_caller]
    fn asked(&self, image: &Descriptor, code: i32, token: &str) -> Vec<String> {
        self.registry.forget();
        self.node.pull(&format!("{}/acme/web:v1", self.registry.host()), image).reason(code, token);
        let kinds = self.registry.requests().into_iter().map(|request| {
            let path = request.target.split('?').next().unwrap().to_owned();
            let kind = path.split('/').rev().nth(1).unwrap().to_owned();
            if path.contains("/manifests/sha256-") { "tag".to_owned() } else { kind }
        });
        kinds.collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_signed_image_takes_a_list_a_manifest_and_an_envelope_the_first_time_and_then_a_list() {
    let registry = Registry::start().await;
    let image = signed(&registry, "acme/web");
    let site = Site::of(registry);
    assert_eq!(site.asked(&image, 0, "ALLOWED"), ["referrers", "manifests", "blobs"]);
    assert_eq!(site.asked(&image, 0, "ALLOWED"), ["referrers"], "what a digest names is known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_registry_without_the_referrers_api_is_asked_for_the_tag_too() {
    let registry = Registry::start().await.without_referrers_api();
    let image = signed(&registry, "acme/web");
    let site = Site::of(registry);
    assert_eq!(site.asked(&image, 0, "ALLOWED"), ["referrers", "tag", "manifests", "blobs"]);
    let unsigned = site.registry.image("acme/web", "v2");
    assert_eq!(site.asked(&unsigned, 1, "DENIED"), ["referrers", "tag"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_unsigned_image_takes_one_request() {
    let registry = Registry::start().await;
    let image = registry.image("acme/web", "v1");
    assert_eq!(Site::of(registry).asked(&image, 1, "DENIED"), ["referrers"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_no_verifier_accepts_is_read_no_further_than_its_manifest() {
    let registry = Registry::start().await;
    let image = registry.image("acme/web", "v1");
    for number in 0..3 {
        registry.attach("acme/web", &image, "application/spdx+json", &[("text/plain", format!("{number}").as_bytes())]);
    }
    assert_eq!(Site::of(registry).asked(&image, 1, "DENIED"), ["referrers", "manifests", "manifests", "manifests"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_more_is_fetched_once_the_policy_is_satisfied() {
    let registry = Registry::start().await;
    let image = signed(&registry, "acme/web");
    for number in 0..40 {
        let layers = [("application/jose+json", SIGNATURE), ("text/plain", &[number][..])];
        registry.attach("acme/web", &image, NOTATION, &layers[..1 + usize::from(number > 0)]);
    }
    let site = Site::of(registry);
    site.node.configure(
        &(remember("allow = \"0s\"") + &executor(&format!("{}/acme/*", site.registry.host()), "concurrency = 1")),
    );
    assert_eq!(site.asked(&image, 0, "ALLOWED"), ["referrers", "manifests", "blobs"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn scopes_modes_and_pins_that_verify_nothing_ask_nobody() {
    let registry = Registry::start().await;
    let image = registry.image("acme/web", "v1");
    let site = Site::of(registry);
    let scope = format!("{}/acme/*", site.registry.host());
    for (keys, code, token) in [
        ("mode = \"allow\"".to_owned(), 0, "EXEMPT"),
        ("mode = \"deny\"".to_owned(), 1, "DENIED"),
        (format!("digests = [\"{}\"]", image.digest), 0, "EXEMPT"),
    ] {
        let text = executor(&scope, &keys);
        let text = if keys.starts_with("mode") { text.split("[[executors.verifiers]]").next().unwrap() } else { &text };
        site.node.configure(text);
        assert!(site.asked(&image, code, token).is_empty(), "{keys}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_registry_with_tokens_takes_two_requests_more_and_then_none() {
    let registry = Registry::start().await;
    let image = signed(&registry, "acme/web");
    let realm = format!(r#"Bearer realm="http://{}/auth/token",service="x""#, registry.host());
    registry.judge(move |request| {
        if request.target.starts_with("/auth/token") {
            return Some(Reply::ok("application/json", r#"{"token":"t"}"#));
        }
        (request.authorization != "Bearer t").then(|| Reply::status(401).header("WWW-Authenticate", &realm))
    });
    let site = Site::of(registry);
    assert_eq!(site.asked(&image, 0, "ALLOWED"), ["referrers", "auth", "referrers", "manifests", "blobs"]);
    let other = site.registry.image("acme/web", "v2");
    assert_eq!(site.asked(&other, 1, "DENIED"), ["referrers"]);
}
