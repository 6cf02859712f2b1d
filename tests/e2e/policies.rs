//! Trust policies and trust stores as the real notation keeps them, read as they stand.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::common::node::Node;
use super::common::notation::signers;
use super::common::registries::{Image, registries};
use super::common::tools::{run, tool};
use super::needs;

/// What notation keeps for one user: `notation` in this folder is `{NOTATION_CONFIG}`.
struct User(TempDir);

impl User {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn notation(&self, arguments: &[&str]) {
        let mut notation = Command::new(tool("notation"));
        notation.env("HOME", self.0.path()).env("XDG_CONFIG_HOME", self.0.path()).env("XDG_CACHE_HOME", self.0.path());
        run(notation.args(arguments)).success();
    }

    fn import(&self, statements: &[Value]) {
        let file = self.0.path().join("policy.json");
        fs::write(&file, json!({ "version": "1.0", "trustPolicies": statements }).to_string()).unwrap();
        self.notation(&["policy", "import", "--force", file.to_str().unwrap()]);
    }

    fn trust(&self, store: &str, certificate: &Path) {
        self.notation(&["cert", "add", "--type", "ca", "--store", store, certificate.to_str().unwrap()]);
    }

    /// A configuration for a registry that names the folder, with more keys.
    fn configuration(&self, host: &str, more: &str) -> String {
        format!(
            "[[executors]]\nscopes = [{host:?}]\n[[executors.verifiers]]\nname = \"release\"\ntype = \"notation\"\n\
             parameters = {{ notationConfig = {:?}{more} }}\n",
            self.0.path().join("notation")
        )
    }
}

fn statement(name: &str, image: &Image, level: &str) -> Value {
    let mut statement =
        json!({ "name": name, "registryScopes": [image.repository], "signatureVerification": { "level": level } });
    if level != "skip" {
        statement["trustStores"] = json!(["ca:acme"]);
        statement["trustedIdentities"] = json!(["x509.subject: C=US, ST=WA, O=ratifyd test"]);
    }
    statement
}

#[test]
fn a_folder_of_notation_decides_as_it_stands() {
    needs!();
    let registry = &registries().referrers;
    let [signed, unsigned, stranger, other] =
        ["signed", "unsigned", "stranger", "other"].map(|name| registry.image(&format!("policy/{name}")));
    signers().trusted.sign(&signed.by_digest());
    signers().other_authority.sign(&stranger.by_digest());
    let user = User::new();
    user.trust("acme", &signers().authority.certificate());
    user.import(&[
        statement("signed", &signed, "strict"),
        statement("unsigned", &unsigned, "skip"),
        statement("stranger", &stranger, "strict"),
    ]);
    let node = Node::start(&user.configuration(&registry.host, ""));
    node.allows(&signed, "ALLOWED");
    node.refuses(&stranger, "DENIED", "is not trusted");
    node.refuses(&other, "DENIED", "no trust policy applies to");
    node.refuses(&unsigned, "DENIED", "level skip");
    node.daemon.configure(&user.configuration(&registry.host, ", allowSkip = true"));
    let reason = node.allows(&unsigned, "EXEMPT");
    assert!(reason.contains("trust policy \"unsigned\" has level skip"), "{reason}");
    node.refuses(&other, "DENIED", "no trust policy applies to");
    node.allows(&signed, "ALLOWED");
}

#[test]
fn a_policy_that_only_audits_lets_a_stranger_in_and_says_so_in_the_log_and_the_counters() {
    needs!();
    let registry = &registries().referrers;
    let [stranger, unsigned] = ["stranger", "unsigned"].map(|name| registry.image(&format!("audit/{name}")));
    signers().other_authority.sign(&stranger.by_digest());
    let user = User::new();
    user.trust("acme", &signers().authority.certificate());
    user.import(&[statement("a", &stranger, "audit"), statement("b", &unsigned, "audit")]);
    let socket = user.0.path().join("metrics.sock");
    let metrics = format!("[metrics]\nlisten = \"unix:{}\"\n", socket.display());
    let node = Node::start(&format!("{}{metrics}", user.configuration(&registry.host, "")));
    let reason = node.allows(&stranger, "ALLOWED");
    assert!(reason.contains("not enforced: authenticity"), "{reason}");
    node.refuses(&unsigned, "DENIED", "no signature for verifier");
    let log = node.daemon.log();
    assert!(
        log.lines().any(|line| line.contains("not enforced") && line.contains("validation=\"authenticity\"")),
        "{log}"
    );
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut counters = String::new();
    stream.read_to_string(&mut counters).unwrap();
    let line =
        counters.lines().find(|line| line.starts_with("ratifyd_validations_not_enforced_total")).unwrap_or(&counters);
    assert!(line.contains("validation=\"authenticity\"") && !line.ends_with(" 0"), "{line}");
    let mut explained = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
    explained.args(["verify", "--config"]).arg(node.daemon.config()).arg(stranger.by_digest());
    let tree = run(&mut explained).stdout;
    assert!(tree.contains("not enforced authenticity: the signer"), "{tree}");
}

#[test]
fn a_certificate_taken_out_of_a_trust_store_counts_at_the_next_pull() {
    needs!();
    let registry = &registries().referrers;
    let image = registry.image("store/two-authorities");
    signers().trusted.sign(&image.by_digest());
    let user = User::new();
    user.trust("acme", &signers().authority.certificate());
    let store = user.0.path().join("notation/truststore/x509/ca/acme");
    let [own] =
        fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>().try_into().unwrap();
    let other = super::common::notation::Authority::create();
    fs::copy(other.certificate(), store.join("other.pem")).unwrap();
    user.import(&[statement("all", &image, "strict")]);
    let node = Node::start(&user.configuration(&registry.host, ""));
    node.allows(&image, "ALLOWED");
    let kept = fs::read(&own).unwrap();
    fs::remove_file(&own).unwrap();
    node.pull(&image).refused("DENIED", "is not trusted");
    fs::write(&own, kept).unwrap();
    node.allows(&image, "ALLOWED");
    fs::remove_file(&own).unwrap();
    fs::remove_file(store.join("other.pem")).unwrap();
    node.pull(&image).refused("MISCONFIGURED", "holds no certificate");
}
