//! What is shown of a configuration: everything, and a file that means the same.

use super::*;
use crate::config::tests::formats::meaning;

/// Checks that what is shown of a configuration means the same where there are no variables.
pub fn reads_back(config: &Config) {
    let shown = [
        ("c.toml", to_toml(config).unwrap()),
        ("c.json", to_json(config).unwrap()),
        ("c.yaml", formats::yaml(&serde_json::from_str(&to_json(config).unwrap()).unwrap())),
    ];
    for (file, text) in shown {
        let again = parse(file, &text, &|_| None).unwrap_or_else(|problems| panic!("{problems}\nin\n{text}"));
        assert_eq!(meaning(&again), meaning(config), "{file}:\n{text}");
    }
}

#[test]
fn every_default_is_shown() {
    assert_eq!(
        to_toml(&good(&executor(""))).unwrap(),
        r#"unmatched = "deny"

[access]
uids = []

[remember]
allow = "5m"
deny = "10s"
referrers = "10s"
staleReferrers = "0s"

[log]
format = "text"
level = "info"

[proxy]
https = ""
http = ""
no = []

[cache]
disk = 268435456
memory = 8388608

[metrics]
listen = ""

[revocation]
fetch = true
ocspTimeout = "2s"
crlTimeout = "5s"
maxCrlBytes = 33554432
crlFolder = ""

[plugins]
path = "/usr/libexec/ratifyd/plugins"
kept = "/var/lib/ratifyd/plugins"
user = "ratifyd-plugins"
socket = "/run/ratifyd/plugins.sock"
timeout = "5s"
sandbox = "best-effort"

[[executors]]
pluginTypes = ["application/vnd.ratifyd.plugin.v1"]
scopes = ["a.io"]
mode = "enforce"
digests = []
concurrency = 8

[[executors.verifiers]]
name = "v"
type = "notation"

[executors.verifiers.parameters]
allowSkip = false
scopes = ["*"]
trustedIdentities = ["*"]

[executors.verifiers.parameters.signatureVerification]
level = "strict"
verifyTimestamp = "always"

[[executors.verifiers.parameters.certificates]]
type = "ca"
name = "ratify"
files = ["/t/ca.pem"]

[executors.policyEnforcer]
type = "threshold-policy"

[executors.policyEnforcer.parameters.policy]
threshold = 1

[[executors.policyEnforcer.parameters.policy.rules]]
verifierName = "v"

[[executors.stores]]
type = "registry-store"

[executors.stores.parameters]
plainHttp = false
configPath = "/etc/containerd/certs.d:/etc/docker/certs.d"
maxBlobBytes = 33554432
maxManifestBytes = 4194304
allowedRealms = []
allowCosignTag = true

[[executors.stores.parameters.credentials]]
provider = "dockerConfig"
"#
    );
}

#[test]
fn what_variables_came_to_is_shown_and_not_expanded_again() {
    let config = good(&verifier("certificates = [{ files = [\"${DIR}/$${DIR}/$$$${x.pem\"] }]"));
    let shown = to_json(&config).unwrap();
    assert!(shown.contains("\"/etc/trust/$${DIR}/$$$${x.pem\""), "{shown}");
}

#[test]
fn checks_of_a_mode_that_asks_nobody_are_not_in_force_and_not_shown() {
    let shown = to_toml(&good(&executor("mode = \"deny\""))).unwrap();
    assert!(shown.contains("mode = \"deny\"") && !shown.contains("verifiers"), "{shown}");
}

#[test]
fn a_proxys_password_is_masked() {
    let config = good(&format!("proxy.https = \"http://u:hunter2@p.example:3128\"\n{}", executor("")));
    for shown in [to_toml(&config).unwrap(), to_json(&config).unwrap(), meaning(&config), format!("{config:?}")] {
        assert!(shown.contains("http://u:***@p.example:3128") && !shown.contains("hunter2"), "{shown}");
    }
}
