//! The containerd of the node: the one that runs, or the one that will, by its files. What it makes of its
//! configuration is asked of the program itself wherever it can be run.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::cli::cri;
use crate::containerd::Containerd;
use crate::containerd::draft::Draft;
use crate::containerd::process::{self, CONFIG, Process};
use crate::containerd::settings::{Settings, VERIFIER};

/// A containerd.
pub(in crate::cli) struct Target {
    /// Its configuration file, as the node names it.
    pub(in crate::cli) config: PathBuf,
    /// The program on this machine.
    pub(in crate::cli) program: Option<PathBuf>,
    /// What it makes of its configuration, or why that is unknown.
    pub(in crate::cli) settings: Result<Settings, String>,
    /// A connection to it, where it runs.
    pub(in crate::cli) client: Option<Containerd>,
    /// Files that it has not taken up yet: it reads them when it starts.
    pub(in crate::cli) changed: Vec<PathBuf>,
    root: PathBuf,
}

impl Target {
    /// Finds it. Paths that are named by a person count.
    pub(in crate::cli) async fn find(root: &Path, address: Option<&Path>, config: Option<&Path>) -> Self {
        // Whatever runs on this machine is none of a node's that is being built.
        let running = match address {
            _ if root != Path::new("/") => None,
            Some(address) => Process::behind(address).ok().map(|process| (address.to_owned(), process)),
            None => process::listening().into_iter().next(),
        };
        let client = match &running {
            Some((socket, _)) => Containerd::connect(socket).await.ok(),
            None => None,
        };
        let process = running.map(|(_, process)| process);
        let running = process.as_ref().map(|process| process.config.clone());
        let config = config.map(Path::to_owned).or(running).unwrap_or_else(|| usual_config(root));
        let program = match &process {
            Some(process) => Some(process.program()),
            None => PROGRAMS.iter().map(|path| super::below(root, Path::new(path))).find(|path| path.is_file()),
        };
        let unknown = Err("no containerd is here to ask".to_owned());
        let mut target =
            Self { config, program, settings: unknown, client, changed: Vec::new(), root: root.to_owned() };
        match (&process, &target.program) {
            (Some(process), _) if process.config == target.config => {
                target.settings = process.dump().await.map(|dump| dump.settings);
                if let Ok(settings) = &target.settings {
                    target.changed = process.changed_since(settings);
                }
            }
            (_, Some(program)) => target.settings = target.effective(program).await,
            (_, None) => {}
        }
        target
    }

    async fn effective(&self, program: &Path) -> Result<Settings, String> {
        let at = |path: &Path| super::below(&self.root, path);
        let draft = Draft { config: &self.config, text: &self.text(), dropin: None, at: &at };
        Settings::read(&draft.effective(program).await?)
    }

    fn text(&self) -> String {
        fs::read_to_string(super::below(&self.root, &self.config)).unwrap_or_default()
    }

    /// Whether k3s or RKE2 has brought it along.
    pub(in crate::cli) fn is_rancher(&self) -> bool {
        cri::is_rancher(&self.config)
    }

    /// The folder whose entries it runs before a pull.
    ///
    /// # Errors
    /// It runs none.
    pub(in crate::cli) fn folder(&self) -> Result<PathBuf, String> {
        let Ok(settings) = &self.settings else {
            let table: Table = self.text().parse().unwrap_or_default();
            let named = table.get("plugins").and_then(|plugins| plugins.get(VERIFIER)?.get("bin_dir"));
            return Ok(named.and_then(Value::as_str).unwrap_or(FOLDER).into());
        };
        if settings.is_disabled(VERIFIER) {
            return Err(format!("containerd's verifiers are switched off: take {VERIFIER} out of disabled_plugins"));
        }
        match &settings.verifier {
            Some(verifier) => Ok(verifier.folder.clone()),
            None => Err("this containerd runs no verifiers: install 2.1 or later".to_owned()),
        }
    }

    /// How many entries of the folder it runs at most; a negative number is no limit.
    pub(in crate::cli) fn max(&self) -> i64 {
        let verifier = self.settings.as_ref().ok().and_then(|settings| settings.verifier.as_ref());
        verifier.map_or(MAX, |verifier| verifier.max)
    }

    /// The unit that starts it anew.
    pub(in crate::cli) fn unit(&self) -> &'static str {
        if !self.is_rancher() {
            return "containerd";
        }
        let has = |unit: &str| {
            UNIT_FOLDERS
                .iter()
                .any(|folder| super::below(&self.root, &Path::new(folder).join(format!("{unit}.service"))).exists())
        };
        RANCHER_UNITS.into_iter().find(|unit| has(unit)).unwrap_or("k3s")
    }
}

/// The configuration of a containerd that does not run.
fn usual_config(root: &Path) -> PathBuf {
    let is_there = |path: &str| super::below(root, Path::new(path)).exists();
    for (folder, program) in RANCHERS {
        let config = Path::new(folder).join("agent/etc/containerd/config.toml");
        if is_there(&config.to_string_lossy()) || is_there(folder) || is_there(program) {
            return config;
        }
    }
    PathBuf::from(CONFIG)
}

/// Where k3s and RKE2 keep their data, and their program.
const RANCHERS: [(&str, &str); 2] =
    [("/var/lib/rancher/k3s", "/usr/local/bin/k3s"), ("/var/lib/rancher/rke2", "/usr/local/bin/rke2")];

/// Their units.
const RANCHER_UNITS: [&str; 4] = ["k3s", "k3s-agent", "rke2-server", "rke2-agent"];

/// Where units lie.
const UNIT_FOLDERS: [&str; 4] =
    ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Where containerd's program lies.
const PROGRAMS: [&str; 5] = [
    "/usr/local/bin/containerd",
    "/usr/bin/containerd",
    "/opt/bin/containerd",
    "/var/lib/rancher/k3s/data/current/bin/containerd",
    "/var/lib/rancher/rke2/bin/containerd",
];

/// The folder where containerd looks unless told otherwise (plugins/imageverifier/path_unix.go).
pub(in crate::cli) const FOLDER: &str = "/opt/containerd/image-verifier/bin";

/// How many entries it runs unless told otherwise.
const MAX: i64 = 10;
