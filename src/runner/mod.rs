//! Runs programs that others wrote and that have a say in a verdict: plugins. Only what root put there and nobody else
//! can change, never as this process's own user, with bounded time, input and output, and nothing of this process's
//! environment or files. As root it changes to another user itself; without root it asks a runner that systemd starts
//! behind a socket ([`serve`]). What a program says is for the caller to judge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::limits;
use crate::report::Fault;
use crate::trust::{self, Stamp, Untrusted};
use crate::verdict::Class;

mod child;
mod frames;
mod keeper;
mod mappings;
mod remote;
mod removal;
mod sandbox;
pub mod ratify;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod user;

pub use frames::{Head, Reply};
pub use remote::serve;
pub use sandbox::Confined;
pub use user::{NoUser, User};

/// How programs are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// As whom, by name or number, where this process is root and can choose.
    pub user: String,
    /// The socket of the runner, where it is not.
    pub socket: PathBuf,
    /// How long each may take.
    pub timeout: Duration,
}

/// Runs programs, at most [`limits::PLUGINS`] at once.
#[derive(Debug)]
pub struct Runner {
    options: Options,
    /// Whether another user can be had without help.
    is_root: bool,
    /// Whose programs are run, besides root's.
    owner: u32,
    seats: Semaphore,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The executable, by its absolute path.
    pub path: PathBuf,
    /// Whether it was fetched: then it may belong to this process's user, and not to root alone.
    pub fetched: bool,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it reads from stdin; at most [`limits::PLUGIN_INPUT_BYTES`].
    pub input: Vec<u8>,
    /// Variables of its environment, besides those that every program gets.
    pub environment: BTreeMap<String, String>,
    /// What confines it; none: its user, its bounds and whatever systemd does.
    pub sandbox: Option<Sandbox>,
    /// Most bytes that it may print; no more than [`limits::PLUGIN_OUTPUT_MAX`] counts.
    pub most_output: u64,
}

/// A folder of its own, where it begins and which alone it may write into; gone when it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// What lies in the folder: paths below it, and bytes. At most [`limits::SANDBOX_FILES`] and
    /// [`limits::SANDBOX_BYTES`].
    pub files: Vec<(String, Bytes)>,
    /// Whether it may reach others over the network.
    pub network: bool,
    /// Whether it is not run where the kernel can confine it in part only.
    pub strict: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// How it ended, in words.
    pub ended: String,
    /// What it printed.
    pub output: Vec<u8>,
    /// What it wrote to stderr.
    pub errors: Vec<u8>,
}

/// Why a program was not run, or not to its end.
#[derive(Debug)]
pub enum NotRun {
    /// Somebody else could have changed it, or there is none.
    Untrusted(Untrusted),
    /// It was not run, or gave no whole answer.
    Fault(Fault),
}

impl Program {
    /// One without arguments, variables and sandbox, that prints no more than [`limits::PLUGIN_OUTPUT_BYTES`].
    #[must_use]
    pub fn new(path: PathBuf, input: Vec<u8>) -> Self {
        let (arguments, environment, most_output) = (Vec::new(), BTreeMap::new(), limits::PLUGIN_OUTPUT_BYTES);
        Self { path, fetched: false, arguments, input, environment, sandbox: None, most_output }
    }
}

impl Runner {
    /// A runner. Which way it goes is settled here: by the user that this process runs as.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            user::bound_processes();
        }
        Self { options, is_root, owner: 0, seats: Semaphore::new(limits::PLUGINS) }
    }

    /// Runs a program, and says in which state of its file it ran.
    ///
    /// # Errors
    /// See [`NotRun`].
    pub async fn run(&self, program: Program, deadline: Instant) -> Result<(Ran, Stamp), NotRun> {
        let now = Instant::now();
        let deadline = deadline.checked_sub(limits::PLUGIN_MARGIN).unwrap_or(now);
        let Ok(Ok(_seat)) = timeout_at(deadline, self.seats.acquire()).await else {
            let cause = format!("{}: the time ran out while other plugins ran", program.path.display());
            return Err(NotRun::Fault(Fault::of(Class::Time, cause)));
        };
        let until = deadline.min(Instant::now().checked_add(self.options.timeout).unwrap_or(deadline));
        let owner = if program.fetched { rustix::process::geteuid().as_raw() } else { self.owner };
        let (path, name) = (program.path.clone(), self.is_root.then(|| self.options.user.clone()));
        let look = move || (trust::check_program(&path, owner), name.map(|name| User::find(&name)).transpose());
        let (before, user) = blocking(look).await?;
        let path = program.path.clone();
        let nobody = |error| fault(format_args!("{}: {error}", path.display()));
        let (before, user) = (before.map_err(NotRun::Untrusted)?, user.map_err(nobody)?);
        let ran = match user {
            Some(user) => child::run(&program, Some(user), until).await,
            None => remote::ask(&self.options.socket, &program, until).await,
        };
        let ran =
            ran.map_err(|fault| NotRun::Fault(Fault::of(fault.class(), format!("{}: {fault}", path.display()))))?;
        // One look at a file that was only just read costs less here than on another thread.
        if Stamp::of(&path) == before {
            Ok((ran, before))
        } else {
            Err(fault(format!("{}: it was replaced while it ran; try again", path.display())))
        }
    }

    /// How far this kernel confines what is run.
    #[must_use]
    pub fn extent(&self) -> Confined {
        // Who asks a runner may be forbidden the very calls that would tell.
        if self.is_root { sandbox::extent() } else { sandbox::by_version() }
    }

    /// The SHA-256 of a program that may be run. Blocks on files.
    ///
    /// # Errors
    /// Why it may not.
    pub fn digest(&self, path: &Path) -> Result<[u8; 32], Untrusted> {
        trust::digest_program(path, self.owner)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NotRun> {
    tokio::task::spawn_blocking(work).await.map_err(fault)
}

fn fault(cause: impl std::fmt::Display) -> NotRun {
    NotRun::Fault(Fault::new(cause))
}

/// All that a program sees of an environment.
fn environment() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([("HOME", "/"), ("LANG", "C.UTF-8"), ("PATH", "/usr/local/bin:/usr/bin:/bin")])
}
