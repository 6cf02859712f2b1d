//! The mends that doctor can make itself, as a plan that is shown first: the link, a folder that others may write to,
//! CRI that pulls by itself, units that do not start at boot. What is a decision, such as to stop auditing or to take
//! another's verifier away, is left to the operator.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Serialize;

use crate::cli::change::{Plan, Told};
use crate::cli::doctor::facts::Facts;
use crate::cli::doctor::folder::Role;
use crate::cli::doctor::{Arguments, KUBELET, Severity, daemon, judged, routes};
use crate::cli::install::files::Layout;
use crate::cli::install::hook;
use crate::cli::{cri, judge};

/// What doctor would change, and what is left to do by hand.
pub(super) struct Fix {
    plan: Plan,
    left: Vec<String>,
}

/// The same in words.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fixes {
    /// Whether the changes were made.
    pub(super) applied: bool,
    /// The changes.
    pub(super) changes: Vec<Told>,
    /// What is left to do by hand.
    pub(super) left: Vec<String>,
}

impl Fix {
    /// Plans the mends.
    pub(super) async fn plan(facts: &Facts, arguments: &Arguments) -> Self {
        let mut fix = Self { plan: Plan::new(Path::new("/")), left: Vec::new() };
        fix.units().await;
        fix.permissions(facts);
        fix.link(facts, arguments).await;
        fix.cri(facts).await;
        fix
    }

    /// Makes the changes.
    pub(super) fn apply(&self) -> Result<(), String> {
        self.plan.apply(|_| {})
    }

    /// In words.
    pub(super) fn told(&self, applied: bool) -> Fixes {
        Fixes { applied, changes: self.plan.told(), left: self.left.clone() }
    }

    async fn units(&mut self) {
        for unit in ["ratifyd.socket", "ratifyd.service"] {
            if daemon::is_enabled(unit).await == Some(false) {
                self.plan.run(&["systemctl", "enable", unit], "after the next boot too");
            }
        }
    }

    /// Takes away what lets others than root write to the folder and what it runs.
    fn permissions(&mut self, facts: &Facts) {
        let Some(folder) = &facts.folder else { return };
        let programs = folder.entries.iter().filter(|entry| entry.role != Role::Broken);
        let programs = programs.map(|entry| entry.target.clone());
        // The folder itself may be a link, whose own mode says nothing.
        for path in programs.chain(fs::canonicalize(&folder.path)) {
            if let Ok(metadata) = fs::metadata(&path) {
                let mode = metadata.mode() & 0o7777;
                self.plan.mode(&path, mode & !0o022);
            }
        }
    }

    /// Has containerd ask, if the answers are good ones.
    async fn link(&mut self, facts: &Facts, arguments: &Arguments) {
        let verifier = facts.dump.as_ref().ok().and_then(|dump| dump.settings.verifier.as_ref());
        let (Some(folder), Some(verifier)) = (&facts.folder, verifier) else { return };
        if folder.enforces() || folder.audits() {
            return;
        }
        let shim = Layout::of(Path::new("/"), None).shim();
        if !shim.exists() {
            self.left.push("ratifyctl install  # ratifyd is not on this node".to_owned());
            return;
        }
        let problems = judge::problems(&arguments.socket).await.unwrap_or_else(|cause| vec![cause]);
        if let Some(problem) = problems.first() {
            self.left.push(format!(
                "ratifyctl config check  # no link is made before the daemon's answers are good: {problem}"
            ));
            return;
        }
        if let Ok(running) = &facts.running
            && let Ok(present) = judged(facts, running, arguments).await
            && let Some(sandbox) = routes::sandbox(&present, Path::new(KUBELET).exists())
            && sandbox.severity == Severity::Error
        {
            self.left.push(format!("{}  # no link is made before: {}", sandbox.mend, sandbox.what));
            return;
        }
        if let Err(cause) = hook::plan(&mut self.plan, &verifier.folder, &shim, false, verifier.max) {
            self.left.push(cause);
        }
    }

    /// Has CRI pull by the transfer service.
    async fn cri(&mut self, facts: &Facts) {
        let Ok(running) = &facts.running else { return };
        let program = running.process.program();
        let target = cri::Target { config: &running.process.config, program: &program };
        match cri::plan(&mut self.plan, &target).await {
            Ok(cri::Route::Asks) if running.changed.is_empty() => {}
            Ok(cri::Route::Asks) => self.restart(),
            Ok(cri::Route::Will(notes)) => {
                self.left.extend(notes.into_iter().map(|note| format!("to know: {note}")));
                self.restart();
            }
            Ok(cri::Route::Open { why, mend }) => self.left.push(format!("{mend}  # {why}")),
            Err(cause) => self.left.push(cause),
        }
    }

    fn restart(&mut self) {
        self.left.push(
            "restart containerd (or k3s, RKE2), which reads its configuration then; containers keep running".to_owned(),
        );
    }
}
