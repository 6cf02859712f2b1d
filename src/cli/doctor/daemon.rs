//! What doctor finds out about the daemon: does it answer, is its configuration in force, does that configuration leave
//! images unverified, does it come back after a reboot, and is there time for its answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::cli::doctor::Problem;
use crate::cli::doctor::facts::Facts;
use crate::cli::judge;
use crate::client;
use crate::limits;
use crate::scope::Pattern;
use crate::trust::{self, Untrusted};
use crate::verdict::printable;
use crate::wire::v1;

/// How long systemctl may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is wrong between containerd and the daemon, and with the daemon.
pub(super) async fn problems(facts: &Facts, socket: &Path) -> Vec<Problem> {
    let mut problems = between(facts, socket);
    problems.extend(forgeable(socket));
    match judge::status(socket).await {
        Ok(status) => problems.extend(configuration(&status)),
        Err(error) => {
            let mend = "systemctl enable --now ratifyd.socket; until then every pull is refused";
            problems.push(Problem::error(error.to_string(), mend));
        }
    }
    if is_enabled("ratifyd.socket").await == Some(false) {
        let what = "ratifyd.socket is not enabled: after the next boot every pull is refused";
        problems.push(Problem::warning(what, "systemctl enable ratifyd.socket ratifyd.service"));
    }
    problems
}

/// The shim's own time must end before containerd's, which then tells no reason; and both must mean one socket.
fn between(facts: &Facts, socket: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Ok(running) = &facts.running else { return problems };
    let own = running.process.variable(client::TIMEOUT_VARIABLE);
    let shim = match own.as_deref().map(humantime::parse_duration) {
        None => limits::SHIM_TIMEOUT,
        Some(Ok(timeout)) => timeout,
        Some(Err(error)) => {
            let what = format!("{} in containerd's environment is no duration: {error}", client::TIMEOUT_VARIABLE);
            problems.push(Problem::error(what, "write it as in 8s"));
            limits::SHIM_TIMEOUT
        }
    };
    if let Some(verifier) = facts.dump.as_ref().ok().and_then(|dump| dump.settings.verifier.as_ref())
        && verifier.timeout <= shim
    {
        let what = format!(
            "per_verifier_timeout is {:?}, no more than the shim's {shim:?}: containerd kills it before it can tell why",
            verifier.timeout
        );
        let mend = "raise per_verifier_timeout by two seconds or more, or set RATIFYD_TIMEOUT for containerd.service";
        problems.push(Problem::error(what, mend));
    }
    let asked = running.process.variable(client::SOCKET_VARIABLE).unwrap_or_else(|| client::SOCKET.to_owned());
    let place = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    if place(Path::new(&asked)) != place(socket) {
        let what = format!("the shim asks at {asked}, this command at {}: another daemon decides", socket.display());
        let mend = format!("set {} alike for containerd.service and here", client::SOCKET_VARIABLE);
        problems.push(Problem::error(what, mend));
    }
    problems
}

/// Who may put another socket in place answers the shim.
fn forgeable(socket: &Path) -> Option<Problem> {
    let untrusted = trust::check(socket.parent()?).err().filter(|error| !matches!(error, Untrusted::Io { .. }))?;
    let text = untrusted.to_string();
    let (what, mend) = text.split_once("; ").unwrap_or((&text, "let root alone write there"));
    Some(Problem::error(format!("{what}: whoever can write there can answer in ratifyd's place"), mend))
}

/// What the daemon says of its configuration, and what that configuration leaves unverified.
fn configuration(status: &v1::StatusReply) -> Vec<Problem> {
    let path = printable(&status.config_path);
    let check = format!("ratifyctl config check {path}");
    let mut problems: Vec<Problem> =
        status.problems.iter().map(|problem| Problem::error(printable(problem), check.clone())).collect();
    if status.generation.is_empty() && problems.is_empty() {
        problems.push(Problem::error("ratifyd has no configuration in force, and refuses every pull", check));
    }
    problems.extend(status.lenient.iter().filter_map(|lenient| lax(&printable(&lenient.scope), &lenient.mode, &path)));
    problems
}

/// What a configuration lets in unverified, by its author's word. Nothing is said of single repositories: to let those
/// in is a decision.
fn lax(scope: &str, mode: &str, path: &str) -> Option<Problem> {
    if scope.is_empty() {
        let what = format!("{path} lets in whatever no scope matches (unmatched = {mode:?})");
        return Some(Problem::error(what, "unmatched = \"deny\", once every registry has its scope"));
    }
    let what = format!("{path} refuses nothing of {scope} (mode = {mode:?})");
    if mode == "audit" {
        return Some(Problem::unenforced(what, "mode = \"enforce\", when the verdicts are as they should be"));
    }
    let narrower = "a narrower scope, or pins under `digests`";
    match Pattern::parse(scope) {
        Ok(Pattern::Registry(_) | Pattern::Domain(_)) => Some(Problem::warning(what, narrower)),
        Ok(Pattern::Repository(_) | Pattern::Namespace { .. }) => None,
        Ok(Pattern::Any) | Err(_) => Some(Problem::error(what, narrower)),
    }
}

/// The process of the daemon under its unit; none where it does not run under one.
pub(super) async fn pid() -> Option<u32> {
    let ran = systemctl(&["show", "--value", "-p", "MainPID", "ratifyd.service"]).await?;
    ran.parse().ok().filter(|pid| *pid != 0)
}

/// Whether a unit starts at boot; none where there is no such unit, or no systemd.
pub(super) async fn is_enabled(unit: &str) -> Option<bool> {
    match systemctl(&["is-enabled", unit]).await?.as_str() {
        "" | "not-found" => None,
        state => Some(state.starts_with("enabled") || state == "static"),
    }
}

/// What systemctl prints; none where there is no systemd.
async fn systemctl(arguments: &[&str]) -> Option<String> {
    if !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let mut command = Command::new("systemctl");
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let ran = timeout(TIMEOUT, command.output()).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
}
