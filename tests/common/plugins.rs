//! Notation plugins as tests install them: scripts of the shell that speak the plugin contract. What they say is for
//! the tests to choose.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The capability to say who is trusted.
pub const IDENTITY: &str = "SIGNATURE_VERIFIER.TRUSTED_IDENTITY";

/// The capability to say what was taken back.
pub const REVOCATION: &str = "SIGNATURE_VERIFIER.REVOCATION_CHECK";

/// As whom plugins run where the daemon is root.
pub const NOBODY: &str = "65534";

/// Writes a program. Another process does: one that is still open for writing cannot be run.
pub fn install(path: &Path, text: &str) {
    let mut install = Command::new("install");
    install.args(["-D", "-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn().unwrap();
    install.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(install.wait().unwrap().success());
}

/// What a plugin says of itself.
pub fn metadata(name: &str, version: &str, capabilities: &[&str]) -> String {
    serde_json::json!({
        "name": name, "description": "for tests", "version": version, "url": "https://plugin.example",
        "supportedContractVersions": ["1.0"], "capabilities": capabilities,
    })
    .to_string()
}

/// A plugin that says this of itself, and does that for any other command; what it is asked is then in `$request`.
pub fn script(metadata: &str, does: &str) -> String {
    format!(
        "#!/bin/sh\nrequest=$(cat)\nif [ \"$1\" = get-plugin-metadata ]; then printf '%s\\n' '{metadata}'; exit; fi\n{does}\n"
    )
}
