//! Runs programs that others wrote and that have a say in a verdict: plugins. Only what root put there and nobody else
//! can change, never as this process's own user, with bounded time, input and output, and nothing of this process's
//! environment or files. As root it changes to another user itself; without root it asks a runner that systemd starts
//! behind a socket ([`serve`]). What a program says is for the caller to judge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::limits;
use crate::report::Fault;
use crate::trust::{self, Stamp, Untrusted};
use crate::verdict::Class;

mod child;
mod frames;
mod remote;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod user;

pub use frames::{Head, Reply};
pub use remote::serve;
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
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it reads from stdin; at most [`limits::PLUGIN_INPUT_BYTES`].
    pub input: Vec<u8>,
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

impl Runner {
    /// A runner. Which way it goes is settled here: by the user that this process runs as.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let is_root = rustix::process::geteuid().is_root();
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
        let (path, owner) = (program.path.clone(), self.owner);
        let before = blocking(move || trust::check_program(&path, owner)).await?.map_err(NotRun::Untrusted)?;
        let path = program.path.clone();
        let ran = if self.is_root {
            let name = self.options.user.clone();
            let user = blocking(move || User::find(&name)).await?.map_err(fault)?;
            child::run(&program, Some(user), until).await
        } else {
            remote::ask(&self.options.socket, &program, until).await
        };
        let ran =
            ran.map_err(|fault| NotRun::Fault(Fault::of(fault.class(), format!("{}: {fault}", path.display()))))?;
        let looked = path.clone();
        if blocking(move || Stamp::of(&looked)).await? == before {
            Ok((ran, before))
        } else {
            Err(fault(format!("{}: it was replaced while it ran; try again", path.display())))
        }
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
