//! `ratifyctl doctor`: can an image come onto this node unverified? Looks at each route, proves with an image that must
//! be refused, and names what is wrong with its mend. Changes nothing but by `--fix --yes`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::assemble;
use crate::cli::doctor::canary::{Aviary, Way};
use crate::cli::doctor::facts::{Facts, Running};
use crate::cli::doctor::fix::{Fix, Fixes};
use crate::cli::doctor::folder::Entry;
use crate::cli::doctor::hosts::Folders;
use crate::cli::doctor::reader::Reader;
use crate::cli::doctor::routes::{Proof, Route, State};
use crate::cli::judge::Judge;
use crate::cli::present::{self, Judged, Present};
use crate::cli::{CONFIG, Exit, Output, Stop};
use crate::client;
use crate::containerd::settings::CRI;
use crate::reference::Reference;

mod canary;
mod daemon;
mod facts;
mod fix;
mod folder;
mod hosts;
mod reader;
mod routes;
mod show;

/// The kubelet's folder, which is there once one has run.
const KUBELET: &str = "/var/lib/kubelet";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What every route must be, but for those that take root on this node
    #[arg(long, value_enum, default_value_t = Require::Prevent)]
    require: Require,
    /// An image that must be let in; it is pulled, and removed unless it was there before
    #[arg(long, value_name = "REF")]
    allowed: Option<Reference>,
    /// Show what would mend this, too
    #[arg(long)]
    fix: bool,
    /// Mend it, then look again
    #[arg(long, requires = "fix")]
    yes: bool,
    /// containerd's socket [default: the first of the usual ones that there is]
    #[arg(long, value_name = "PATH", env = "CONTAINERD_ADDRESS")]
    address: Option<PathBuf>,
    /// Configuration file, for what the daemon cannot be asked
    #[arg(long, value_name = "FILE", env = "RATIFYD_CONFIG", default_value = CONFIG)]
    config: PathBuf,
    /// The daemon's socket
    #[arg(long, value_name = "PATH", env = client::SOCKET_VARIABLE, default_value = client::SOCKET)]
    socket: PathBuf,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What is asked of the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Require {
    /// An image is verified before it comes in
    Prevent,
    /// An image that comes in unverified is at least found out
    Detect,
}

impl Require {
    fn tolerates(self, problem: &Problem) -> bool {
        match problem.severity {
            Severity::Error => false,
            Severity::Unenforced => self == Self::Detect,
            Severity::Warning => true,
        }
    }

    fn is_met_by(self, route: &Route) -> bool {
        match route.state {
            State::Prevented | State::Absent => true,
            State::Detected => self == Self::Detect,
            State::Open => route.root_only,
        }
    }
}

/// Something that is wrong, and its mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    severity: Severity,
    what: String,
    mend: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// Pulls are not verified, or refused for no good reason.
    Error,
    /// Pulls are verified, and what fails is let in and told.
    Unenforced,
    /// It may become an error, or is somebody's decision.
    Warning,
}

impl Problem {
    fn error(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Error, what: what.into(), mend: mend.into() }
    }

    fn unenforced(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Unenforced, ..Self::error(what, mend) }
    }

    fn warning(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(what, mend) }
    }
}

/// What doctor found; the document of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    require: Require,
    met: bool,
    containerd: Option<About>,
    hosts_folders: Folders,
    routes: Vec<Route>,
    problems: Vec<Problem>,
    images: Vec<Judged>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<Fixes>,
}

/// Which containerd was looked at.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct About {
    address: PathBuf,
    version: String,
    pid: u32,
    config: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    verifier_folder: Option<PathBuf>,
    verifiers: Vec<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Stop> {
    if !rustix::process::geteuid().is_root() {
        return Err(Stop(Exit::Denied, "doctor asks containerd and looks at its process: run it as root".to_owned()));
    }
    let mut facts = Facts::gather(arguments.address.as_deref()).await;
    let mut fixes = None;
    if arguments.fix {
        let fix = Fix::plan(&facts, &arguments).await;
        if arguments.yes {
            fix.apply().map_err(|cause| Stop(Exit::Denied, cause))?;
            facts = Facts::gather(arguments.address.as_deref()).await;
        }
        fixes = Some(fix.told(arguments.yes));
    }
    let report = Report { fix: fixes, ..examine(&facts, &arguments).await };
    show::show(&report, arguments.output)?;
    Ok(if report.met { Exit::Done } else { Exit::Denied })
}

async fn examine(facts: &Facts, arguments: &Arguments) -> Report {
    let mut problems = as_configured(facts);
    problems.extend(daemon::problems(facts, &arguments.socket).await);
    let folders = hosts_folders(facts, &arguments.config);
    problems.extend(folders.problems(daemon::pid().await.and_then(Reader::of).as_ref()));
    let mut routes;
    let mut images = Vec::new();
    match &facts.running {
        Err(_) => routes = routes::judge(facts, &Proof::default()),
        Ok(running) => {
            let proof = prove(running, &arguments.socket, &mut problems).await;
            routes = routes::judge(facts, &proof);
            problems.extend(routes::after_a_restart(facts, &proof));
            match judged(facts, running, arguments).await {
                Ok(present) => {
                    routes.push(routes::images(&present));
                    problems.extend(routes::sandbox(&present, Path::new(KUBELET).exists()));
                    images = present.images;
                }
                Err(Stop(_, cause)) => routes.push(routes::unknown_images(&cause)),
            }
            if let Some(reference) = &arguments.allowed {
                problems.extend(refused(running, reference).await);
            }
        }
    }
    let require = arguments.require;
    let met = routes.iter().all(|route| require.is_met_by(route))
        && problems.iter().all(|problem| require.tolerates(problem));
    let containerd = About::of(facts);
    Report { schema_version: 1, require, met, containerd, hosts_folders: folders, routes, problems, images, fix: None }
}

/// The folders by which containerd and ratifyd reach registries.
fn hosts_folders(facts: &Facts, config: &Path) -> Folders {
    let images = facts.dump.as_ref().ok().and_then(|dump| dump.settings.images.as_ref());
    // What is wrong with the file is told by whoever judges by it.
    let config = assemble::load(config).ok();
    Folders::of(images.map(|images| images.hosts.as_str()), config.as_ref())
}

/// What is wrong by the look of containerd's configuration, folders and socket.
fn as_configured(facts: &Facts) -> Vec<Problem> {
    let mut problems = routes::problems(facts);
    problems.extend(facts.folder.iter().flat_map(|folder| folder.problems.iter().cloned()));
    problems.extend(folder::open_to_others(&facts.address).map(|who| {
        let what = format!("{who} may use {}, and is root by it", facts.address.display());
        Problem::warning(what, "set [grpc] gid back to 0, unless those are administrators")
    }));
    problems
}

impl About {
    fn of(facts: &Facts) -> Option<Self> {
        let running = facts.running.as_ref().ok()?;
        let verifier = facts.dump.as_ref().ok().and_then(|dump| dump.settings.verifier.as_ref());
        let entries = facts.folder.iter().flat_map(|folder| &folder.entries);
        Some(Self {
            address: facts.address.clone(),
            version: running.version.clone(),
            pid: running.process.pid,
            config: running.process.config.clone(),
            verifier_folder: verifier.map(|verifier| verifier.folder.clone()),
            verifiers: entries.map(|entry: &Entry| entry.path.clone()).collect(),
        })
    }
}

/// The ways by which this containerd pulls.
fn ways(running: &Running) -> Vec<Way> {
    if running.failed(CRI).is_none() { vec![Way::Transfer, Way::Cri] } else { vec![Way::Transfer] }
}

/// Has containerd pull the canary on every way.
async fn prove(running: &Running, socket: &Path, problems: &mut Vec<Problem>) -> Proof {
    let aviary = match Aviary::open().await {
        Ok(aviary) => aviary,
        Err(error) => {
            problems.push(Problem::error(format!("no canary can be served on loopback: {error}"), "free a port there"));
            return Proof::default();
        }
    };
    Aviary::sweep(&running.client).await;
    let mut proof = Proof::default();
    for way in ways(running) {
        let outcome = Some(aviary.try_route(&running.client, way, socket).await);
        match way {
            Way::Transfer => proof.transfer = outcome,
            Way::Cri => proof.cri = outcome,
        }
    }
    proof
}

/// What the policy says of the images that are there.
async fn judged(facts: &Facts, running: &Running, arguments: &Arguments) -> Result<Present, Stop> {
    let judge = Judge::find(&arguments.socket, &arguments.config).await?;
    let images = facts.dump.as_ref().ok().and_then(|dump| dump.settings.images.as_ref());
    let sandbox = images.and_then(|images| images.sandbox.as_deref());
    present::judged(&running.client, sandbox.filter(|_| ways(running).contains(&Way::Cri)), &judge).await
}

/// Why an image that must be let in is not.
async fn refused(running: &Running, reference: &Reference) -> Vec<Problem> {
    let mut problems = Vec::new();
    for way in ways(running) {
        let plain_http = reference.repository.is_loopback();
        let pulled = canary::try_allowed(&running.client, way, &reference.to_string(), plain_http).await;
        if let Err(cause) = pulled {
            let by = if way == Way::Cri { "CRI" } else { "ctr" };
            let mend = format!("see what is asked of it: ratifyctl verify {reference}");
            problems.push(Problem::error(format!("{reference} must be let in, and is not, by {by}: {cause}"), mend));
        }
    }
    problems
}
