//! `ratifyctl install` and `uninstall`: node set-up without a package. Shows what it would change; changes it with
//! `--yes`. containerd is made to ask last of all, and only once the answers would be good ones.

use std::path::{Component, Path, PathBuf};

use crate::assemble;
use crate::cli::change::below;
use crate::cli::install::files::Layout;
use crate::cli::install::target::Target;
use crate::cli::install::work::Work;
use crate::cli::judge::{self, Judge};
use crate::cli::present::{self, Judged};
use crate::cli::{CONFIG, Exit, Output, Stop, cri};
use crate::client;
use crate::verdict::Token;

pub(super) mod files;
pub(super) mod hook;
mod show;
mod target;
pub(super) mod uninstall;
mod work;

/// What both commands are told.
#[derive(clap::Args)]
pub(super) struct Common {
    /// Make the changes; without this they are only shown
    #[arg(long)]
    yes: bool,
    /// Where the node's files lie, for an image of a node that is being built
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Where ratifyd lies [default: /usr, or /opt/ratifyd where /usr cannot be written to]
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// containerd's socket [default: the first of the usual ones that there is]
    #[arg(long, value_name = "PATH", env = "CONTAINERD_ADDRESS")]
    address: Option<PathBuf>,
    /// containerd's configuration file [default: that of the running one]
    #[arg(long, value_name = "FILE")]
    containerd_config: Option<PathBuf>,
    /// Restart containerd (or k3s, RKE2) where a change takes that; containers keep running
    #[arg(long)]
    restart_containerd: bool,
    /// How to write what is done
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Refuse nothing, only report what would be refused; a later install without this enforces
    #[arg(long)]
    audit: bool,
    /// No kubelet pulls on this node: go on though CRI asks no verifier, or would be refused the sandbox image
    #[arg(long)]
    without_cri: bool,
    /// The daemon's configuration file
    #[arg(long, value_name = "FILE", env = "RATIFYD_CONFIG", default_value = CONFIG)]
    config: PathBuf,
    /// The daemon's socket
    #[arg(long, value_name = "PATH", env = client::SOCKET_VARIABLE, default_value = client::SOCKET)]
    socket: PathBuf,
}

/// A command that ends with its work not done.
fn undone(cause: impl Into<String>) -> Stop {
    Stop(Exit::Denied, cause.into())
}

impl Common {
    /// Whether systemd runs on the node that is set up.
    fn booted(&self) -> bool {
        self.root == Path::new("/") && Path::new("/run/systemd/system").is_dir()
    }

    fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Only root can do what is to be done.
    fn check(&self) -> Result<(), Stop> {
        if self.yes && !rustix::process::geteuid().is_root() {
            return Err(undone("--yes is for root; without it everybody may look at what would be done"));
        }
        if !self.root.is_dir() || !self.root.is_absolute() {
            return Err(undone(format!("--root {} is no folder with an absolute path", self.root.display())));
        }
        match &self.prefix {
            Some(prefix) if !is_plain(prefix) => {
                Err(undone("--prefix takes an absolute path of letters, digits and ._-/ without .. in it"))
            }
            _ => Ok(()),
        }
    }

    /// The program of the tree that was asked for its configuration.
    fn ran(&self, target: &Target) -> Option<PathBuf> {
        target.program.clone().filter(|_| !self.is_live())
    }
}

/// Whether a path means the same to a unit's ExecStart= as to everybody else, and stays where it says.
fn is_plain(path: &Path) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-/".contains(byte);
    path.is_absolute()
        && path.as_os_str().as_encoded_bytes().iter().all(fits)
        && !path.components().any(|part| part == Component::ParentDir)
}

pub(super) async fn install(arguments: Arguments) -> Result<Exit, Stop> {
    let common = &arguments.common;
    common.check()?;
    let target = Target::find(&common.root, common.address.as_deref(), common.containerd_config.as_deref()).await;
    let mut work = Work::new(&common.root);
    work.ran = common.ran(&target);
    let layout = Layout::of(&common.root, common.prefix.as_deref());
    work.put(&layout, common)?;
    // Where the daemon will run once it is set up, it is asked then: it knows best what it would answer.
    let asks_daemon = common.yes && common.booted();
    if !asks_daemon {
        // Nobody starts it here: where a containerd runs, it must be there already.
        work.unready = unready(&arguments, common.yes && target.client.is_some()).await;
        work.look(&arguments, &target).await;
    }
    work.connect(&arguments, &target, &layout).await;
    work.show(common)?;
    if !common.yes {
        return Ok(work.exit());
    }
    work.make(common, &work.setup)?;
    if asks_daemon {
        work.unready = unready(&arguments, true).await;
        work.look(&arguments, &target).await;
        work.picture(common)?;
    }
    if work.is_ready() {
        work.make(common, &work.hook)?;
    }
    work.end(common)
}

/// Why the daemon would answer MISCONFIGURED: what it says itself where it runs, as it must where it is set up; else
/// what is wrong with its files.
async fn unready(arguments: &Arguments, must_run: bool) -> Vec<String> {
    if arguments.audit {
        return Vec::new();
    }
    let path = below(&arguments.common.root, &arguments.config);
    if !path.exists() {
        let path = arguments.config.display();
        return vec![format!("{path} is not there: write it, or take --audit to begin without (docs/install.md)")];
    }
    if arguments.common.is_live() {
        match judge::problems(&arguments.socket).await {
            Ok(problems) => return problems,
            Err(cause) if must_run => return vec![cause],
            Err(_) => {}
        }
    }
    let config = match assemble::load(&path) {
        Ok(config) => config,
        Err(problems) => return problems.lines(),
    };
    if !arguments.common.is_live() {
        // Trust files are named as the node has them.
        return Vec::new();
    }
    match assemble::assemble(&config, &path) {
        Ok(assembled) => assembled.problems,
        Err(problems) => problems.lines(),
    }
}

impl Work {
    /// Plans programs, units, user and folders.
    fn put(&mut self, layout: &Layout, common: &Common) -> Result<(), Stop> {
        let upgraded = self.setup.at(&layout.shim()).exists();
        if files::package(&common.root).is_some() && common.prefix.is_none() {
            self.notes.push("programs and units are a package's, and stay as they are".to_owned());
        } else {
            let source = files::source().map_err(undone)?;
            layout.put(&mut self.setup, &source).map_err(undone)?;
        }
        let changed = !self.setup.is_empty();
        self.setup.directory(Path::new("/etc/ratifyd"));
        self.user(common);
        if !common.booted() {
            return self.wants(layout);
        }
        self.enable(changed, upgraded);
        Ok(())
    }

    /// Makes the user that the service needs. At a boot systemd does it only where it takes /usr for new
    /// (systemd-sysusers.service, `ConditionNeedsUpdate`).
    fn user(&mut self, common: &Common) {
        let passwd = std::fs::read_to_string(self.setup.at(Path::new("/etc/passwd")));
        if passwd.as_ref().is_ok_and(|passwd| passwd.lines().any(|line| line.starts_with("ratifyd:"))) {
            return;
        }
        let why = "the user that ratifyd runs as";
        let program = SYSUSERS.into_iter().find(|program| Path::new(program).exists());
        match program {
            Some(program) if common.is_live() => self.setup.run(&[program, SYSUSERS_FILE], why),
            Some(program) if passwd.is_ok() => {
                let root = format!("--root={}", common.root.display());
                self.setup.run(&[program, &root, SYSUSERS_FILE], why);
            }
            _ => self.notes.push("the service needs a user ratifyd: systemd-sysusers ratifyd.conf makes it".to_owned()),
        }
    }

    /// What `systemctl enable` does where no systemd runs.
    fn wants(&mut self, layout: &Layout) -> Result<(), Stop> {
        for (name, folder) in
            [("ratifyd.socket", "sockets.target.wants"), ("ratifyd.service", "multi-user.target.wants")]
        {
            let folder = Path::new(SYSTEM).join(folder);
            self.setup.directory(&folder);
            self.setup.link(&folder.join(name), &layout.units().join(name)).map_err(undone)?;
        }
        Ok(())
    }

    fn enable(&mut self, changed: bool, upgraded: bool) {
        if changed {
            self.setup.run(&["systemctl", "daemon-reload"], "the units are new");
        }
        let wanted = |folder: &str, name: &str| Path::new(SYSTEM).join(folder).join(name).exists();
        let listens = Path::new(client::SOCKET).exists();
        if !wanted("sockets.target.wants", "ratifyd.socket") || !listens {
            let why = "systemd listens, now and after each boot";
            self.setup.run(&["systemctl", "enable", "--now", "ratifyd.socket"], why);
        }
        if !wanted("multi-user.target.wants", "ratifyd.service") {
            self.setup.run(&["systemctl", "enable", "ratifyd.service"], "the daemon starts at boot");
        }
        if changed && upgraded {
            let why = "the programs are new; pulls wait meanwhile";
            self.setup.run(&["systemctl", "try-restart", "ratifyd.service"], why);
        }
    }

    /// Looks at what is on the node already.
    async fn look(&mut self, arguments: &Arguments, target: &Target) {
        if !arguments.common.is_live() {
            return;
        }
        let Some(client) = &target.client else {
            self.notes.push("no containerd runs here that could be asked for its images".to_owned());
            return;
        };
        let images = target.settings.as_ref().ok().and_then(|settings| settings.images.as_ref());
        let has_cri = target.settings.as_ref().is_ok_and(cri::is_there);
        let sandbox = images.and_then(|images| images.sandbox.as_deref()).filter(|_| has_cri);
        let judge = match Judge::find(&arguments.socket, &arguments.config).await {
            Ok(judge) => judge,
            Err(Stop(_, cause)) => {
                let cause = cause.lines().next().unwrap_or_default().to_owned();
                self.notes.push(format!("what the policy says of the images here is unknown: {cause}"));
                return;
            }
        };
        match present::judged(client, sandbox, &judge).await {
            Ok(present) => {
                self.pictured = show::images(&present, &judge);
                let pins = show::pins(&present, &judge);
                if !pins.is_empty() {
                    self.pictured += &format!("\nTo let them in, add to {}:\n\n{pins}", arguments.config.display());
                }
                let fatal = present.images.iter().find(|image| image.sandbox && is_final(image));
                if let Some(image) = fatal.filter(|_| !arguments.audit && !arguments.without_cri) {
                    let reference = &image.reference;
                    self.refused.push(format!(
                        "{reference} would be refused, and no pod starts without it: give its repository a scope, pin \
                         it under `digests`, or take --without-cri where no pods are to run"
                    ));
                }
                self.images = present.images;
            }
            Err(Stop(_, cause)) => self.notes.push(cause),
        }
    }

    /// Plans what has containerd ask.
    async fn connect(&mut self, arguments: &Arguments, target: &Target, layout: &Layout) {
        let common = &arguments.common;
        match self.route(target).await {
            Ok(cri::Route::Asks) if target.changed.is_empty() => {}
            Ok(cri::Route::Asks) => self.restart(common, target),
            Ok(cri::Route::Will(notes)) => {
                self.notes.extend(notes);
                self.restart(common, target);
            }
            Ok(cri::Route::Open { why, mend }) if arguments.without_cri => {
                self.notes.push(format!("CRI pulls are not verified: {why}; {mend}"));
            }
            Ok(cri::Route::Open { why, mend }) => {
                self.refused.push(format!("CRI pulls would not be verified: {why}; {mend}; or take --without-cri"));
            }
            // A tree without a containerd gets one that nobody can ask yet.
            Err(cause) if target.program.is_some() && !arguments.without_cri => {
                let unknown = "whether CRI pulls are verified is unknown";
                self.refused.push(format!("{unknown}: {cause}; mend it, or take --without-cri"));
            }
            Err(cause) => self.notes.push(format!("whether CRI pulls are verified is unknown: {cause}")),
        }
        let hooked = target
            .folder()
            .and_then(|folder| hook::plan(&mut self.hook, &folder, &layout.shim(), arguments.audit, target.max()));
        self.refused.extend(hooked.err());
    }

    /// containerd reads its configuration when it starts.
    fn restart(&mut self, common: &Common, target: &Target) {
        let unit = target.unit();
        if common.restart_containerd && common.booted() {
            let why = "it takes up its configuration; containers keep running";
            self.hook.run(&["systemctl", "restart", unit], why);
        } else if common.is_live() {
            let what = "containerd takes up its configuration then; containers keep running";
            self.left.push(format!("systemctl restart {unit}  # {what}"));
        }
    }

    async fn route(&mut self, target: &Target) -> Result<cri::Route, String> {
        match &target.program {
            Some(program) => {
                let found = cri::Target { config: &target.config, program };
                cri::plan(&mut self.hook, &found).await
            }
            None if target.is_rancher() => cri::unseen(&mut self.hook, &target.config),
            None => Err("no containerd is here to ask; ratifyctl doctor tells it on the node".to_owned()),
        }
    }
}

/// Whether a verdict stays as it is until an operator acts.
fn is_final(image: &Judged) -> bool {
    matches!(image.token, Token::Denied | Token::Misconfigured)
}

/// What makes users, and the name of the file that it goes by.
const SYSUSERS: [&str; 2] = ["/usr/bin/systemd-sysusers", "/bin/systemd-sysusers"];
const SYSUSERS_FILE: &str = "ratifyd.conf";

/// The administrator's units.
const SYSTEM: &str = "/etc/systemd/system";
