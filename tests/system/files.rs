//! Configuration and trust files that are bad from the start, go bad, and are mended, while the daemon runs.

use std::fs;
use std::os::unix::fs::chown;
use std::time::Duration;

use ratify::artifact::Descriptor;
use tokio::time::{interval, timeout};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::common::registry::Registry;
use crate::needs_root;
use crate::node::{Node, chmod, executor, remember, signed};
use crate::programs::{AS_NOBODY, Launch, NOBODY, PATIENCE, Ran};

/// The name of the daemon's service in gRPC health.
const SERVICE: &str = "ratify.v1.ImageVerifier";

/// A node that trusts the signer of an image, and what to ask it.
struct Trusting {
    node: Node,
    registry: Registry,
    name: String,
    image: Descriptor,
}

impl Trusting {
    /// With its daemon down.
    async fn down() -> Self {
        let registry = Registry::start().await;
        let image = signed(&registry, "acme/web");
        let node = Node::down(&good(&registry));
        let name = format!("{}/acme/web:v1", registry.host());
        Self { node, registry, name, image }
    }

    async fn start() -> Self {
        let mut trusting = Self::down().await;
        trusting.node.launch(Launch::default());
        trusting
    }

    fn pull(&self) -> Ran {
        self.node.pull(&self.name, &self.image)
    }

    /// Waits for what gRPC health says of the daemon as a whole and of its service.
    async fn becomes(&self, status: ServingStatus) {
        let mut looks = interval(Duration::from_millis(20));
        for service in ["", SERVICE] {
            let known = timeout(PATIENCE, async {
                while self.node.health(service).await != status {
                    looks.tick().await;
                }
            });
            known.await.unwrap_or_else(|_| panic!("health of {service:?} did not become {status:?}"));
        }
    }
}

fn good(registry: &Registry) -> String {
    remember("") + &executor(&format!("{}/acme/*", registry.host()), "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn started_with_a_bad_configuration_it_says_where_and_recovers_when_it_is_mended() {
    needs_root!();
    let mut trusting = Trusting::down().await;
    let node = &mut trusting.node;
    node.configure(&format!("unmatched = \"deny\"\nunmatchd = 1\n{}", good(&trusting.registry)));
    node.launch(Launch::default());
    let place = format!("{}:2:1: ", node.config().display());
    trusting.pull().refuses("MISCONFIGURED", &place);
    trusting.becomes(ServingStatus::NotServing).await;
    trusting.node.configure(&good(&trusting.registry));
    trusting.pull().allows("ALLOWED", "acme: ");
    trusting.becomes(ServingStatus::Serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn started_without_a_configuration_it_waits_for_one() {
    let mut trusting = Trusting::down().await;
    fs::remove_file(trusting.node.config()).unwrap();
    trusting.node.launch(Launch::default());
    trusting.becomes(ServingStatus::NotServing).await;
    trusting.pull().reason(1, if crate::programs::is_root() { "MISCONFIGURED" } else { "UNAVAILABLE" });
    trusting.node.configure(&good(&trusting.registry));
    trusting.pull().allows("ALLOWED", "acme: ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn health_tells_of_a_mended_configuration_before_anybody_pulls() {
    let mut trusting = Trusting::down().await;
    trusting.node.configure("nonsense");
    trusting.node.launch(Launch::default());
    trusting.becomes(ServingStatus::NotServing).await;
    trusting.node.configure(&good(&trusting.registry));
    trusting.becomes(ServingStatus::Serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_configuration_that_goes_bad_leaves_the_last_good_one_in_force() {
    let trusting = Trusting::start().await;
    let node = &trusting.node;
    trusting.pull().allows("ALLOWED", "acme: ");
    let before = node.status();
    assert_eq!((before["configCurrent"].as_bool(), &before["problems"]), (Some(true), &serde_json::json!([])));
    node.configure(
        &good(&trusting.registry).replace("acme/*", "other/*").replace("other/*\"]", "other/*\"]\nmod = \"deny\""),
    );
    trusting.pull().allows("ALLOWED", "acme: ");
    let status = node.status();
    assert_eq!(status["configCurrent"], false, "{status}");
    assert_eq!(status["generation"], before["generation"], "{status}");
    let problem = status["problems"][0].as_str().unwrap();
    assert!(problem.starts_with(&format!("{}:", node.config().display())) && problem.contains("mod"), "{problem}");
    let text = node.ctl(&["status"]).ended(0);
    assert!(text.contains("the one before it is in force") && text.contains("problem        "), "{text}");
    // Health is about pulls, and those are decided.
    trusting.becomes(ServingStatus::Serving).await;
    node.configure(&good(&trusting.registry).replace("acme/*", "other/*"));
    trusting.pull().refuses("DENIED", "no scope of the configuration matches");
    assert_eq!(node.status()["configCurrent"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_configuration_that_vanishes_leaves_the_last_good_one_in_force() {
    let trusting = Trusting::start().await;
    fs::remove_file(trusting.node.config()).unwrap();
    trusting.pull().allows("ALLOWED", "acme: ");
    let problems = trusting.node.status()["problems"].to_string();
    assert!(problems.contains("No such file"), "{problems}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bad_configuration_does_not_keep_a_vanished_root_trusted() {
    let trusting = Trusting::start().await;
    trusting.node.configure("nonsense");
    trusting.pull().allows("ALLOWED", "acme: ");
    fs::remove_file(trusting.node.trust()).unwrap();
    trusting.pull().refuses("MISCONFIGURED", "No such file");
    trusting.node.mend_trust();
    trusting.pull().allows("ALLOWED", "acme: ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_trust_file_that_is_deleted_counts_at_the_next_pull_and_put_back_too() {
    let trusting = Trusting::start().await;
    for _ in 0..3 {
        // Remembered or not, its word is gone with it.
        trusting.pull().allows("ALLOWED", "acme: ");
        trusting.pull().allows("ALLOWED", "acme: ");
        fs::remove_file(trusting.node.trust()).unwrap();
        let missing = format!("verifier \"acme\": {}: No such file or directory", trusting.node.trust().display());
        trusting.pull().refuses("MISCONFIGURED", &missing);
        trusting.node.mend_trust();
    }
    trusting.pull().allows("ALLOWED", "acme: ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_trust_file_without_a_certificate_is_refused() {
    let trusting = Trusting::start().await;
    for text in ["", "nonsense\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        trusting.node.replace(&trusting.node.trust(), text);
        trusting.pull().refuses("MISCONFIGURED", trusting.node.trust().to_str().unwrap());
    }
    trusting.node.mend_trust();
    trusting.pull().allows("ALLOWED", "acme: ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_trust_file_that_others_can_change_is_refused_with_the_mend() {
    let trusting = Trusting::start().await;
    let trust = trusting.node.trust();
    let refused = |mend: &str| {
        trusting.pull().refuses("MISCONFIGURED", &format!("{mend} {}", trust.display()));
        trusting.node.mend_trust();
        trusting.pull().allows("ALLOWED", "acme: ");
    };
    chmod(&trust, 0o666);
    refused("can be written by everybody (mode 0666); chmod go-w");
    if crate::programs::is_root() {
        chown(&trust, None, Some(NOBODY)).unwrap();
        chmod(&trust, 0o664);
        refused("can be written by group 65534 (mode 0664); chmod go-w");
        chown(&trust, Some(NOBODY), None).unwrap();
        refused("belongs to uid 65534; chown -h root");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_trust_file_in_a_folder_that_others_can_write_to_is_refused() {
    let trusting = Trusting::start().await;
    let folder = trusting.node.path("open");
    fs::create_dir(&folder).unwrap();
    fs::copy(trusting.node.trust(), folder.join("root.pem")).unwrap();
    let config = good(&trusting.registry).replace("TRUST", folder.join("root.pem").to_str().unwrap());
    trusting.node.configure(&config);
    trusting.pull().allows("ALLOWED", "acme: ");
    chmod(&folder, 0o777);
    // Nothing about the file itself has changed: this is seen when the files are read again.
    trusting.node.configure(&(config + "# again\n"));
    trusting.pull().refuses("MISCONFIGURED", &format!("{} can be written by everybody", folder.display()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_trust_file_is_another_generation_and_nothing_of_the_old_one_is_remembered() {
    let trusting = Trusting::start().await;
    let node = &trusting.node;
    trusting.pull().allows("ALLOWED", "acme: ");
    let before = node.status()["generation"].clone();
    assert_eq!(before.as_str().unwrap().len(), 64);
    let certificates = include_str!("../fixtures/notation/chain.pem");
    node.replace(&node.trust(), certificates);
    trusting.pull().refuses("DENIED", "acme: ");
    assert_ne!(node.status()["generation"], before);
    node.mend_trust();
    assert_eq!(node.status()["generation"], before);
    trusting.pull().allows("ALLOWED", "acme: ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_trust_file_that_the_daemons_user_cannot_read_is_refused_with_the_mend() {
    needs_root!();
    let mut trusting = Trusting::down().await;
    let node = &mut trusting.node;
    fs::create_dir(node.path("run")).unwrap();
    chown(node.path("run"), Some(NOBODY), None).unwrap();
    chmod(&node.trust(), 0o600);
    node.launch(Launch { privileges: &AS_NOBODY, ..Launch::default() });
    trusting.pull().refuses("MISCONFIGURED", "let the user that ratifyd runs as read it");
    chmod(&trusting.node.trust(), 0o644);
    trusting.pull().allows("ALLOWED", "acme: ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_configuration_of_another_user_is_not_taken_up() {
    needs_root!();
    let trusting = Trusting::start().await;
    let (node, theirs) = (&trusting.node, trusting.node.path("theirs"));
    fs::write(&theirs, "unmatched = \"allow\"\n").unwrap();
    chown(&theirs, Some(NOBODY), None).unwrap();
    fs::rename(&theirs, node.config()).unwrap();
    node.pull(&format!("{}/other/web:v1", trusting.registry.host()), &trusting.image).refuses("DENIED", "no scope");
    let status = node.status();
    let problem = status["problems"][0].as_str().unwrap();
    assert!(problem.contains("belongs to uid 65534; chown -h root"), "{problem}");
    assert_eq!(status["configCurrent"], false);
}
