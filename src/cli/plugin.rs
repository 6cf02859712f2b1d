//! `ratifyctl plugin`: plugins as OCI artifacts, pushed, fetched, looked into, and listed as they are on this node; and
//! tried out.

use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::assemble::Arrived;
use crate::cli::{Exit, Stop};
use crate::reference::Reference;

mod inspect;
mod list;
mod pull;
mod push;
mod test;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Push programs to a registry as one plugin, each for the platform that it is made for
    #[command(after_help = "Exit codes: 0 pushed, 2 wrong usage or no program, 3 the registry has not taken it\n\n\
        Media types: the artifact is application/vnd.ratifyd.plugin.v1, each program in it \
        application/vnd.ratifyd.plugin.v1.program. Sign what is printed: cosign sign NAME@DIGEST, notation sign NAME@DIGEST.")]
    Push(push::Arguments),
    /// Fetch the program of a plugin into a file, checked against its digest; who vouches for it is not asked
    #[command(after_help = "Exit codes: 0 fetched, 2 wrong usage, 3 not fetched: why")]
    Pull(pull::Arguments),
    /// List the plugins that the configuration names, and what is in force of them
    #[command(after_help = "Exit codes: 0 each is there, 1 one is not, 2 wrong usage or configuration")]
    List(list::Arguments),
    /// Show what a plugin's artifact holds, and which of it this machine would run
    #[command(
        after_help = "Exit codes: 0 this machine would run it, 1 it would not: why, 2 wrong usage, 3 it cannot be read"
    )]
    Inspect(inspect::Arguments),
    /// Run a plugin on an image's referrers as the daemon would, and show what goes over the wire
    #[command(
        after_help = "Exit codes: 0 it passed every referrer that it judges, 1 not, or there is none, 2 wrong usage \
        or configuration, 3 the image or its referrers could not be had"
    )]
    Test(test::Arguments),
}

pub(super) async fn run(command: Command) -> Result<Exit, Stop> {
    match command {
        Command::Push(arguments) => push::run(arguments).await,
        Command::Pull(arguments) => pull::run(arguments).await,
        Command::List(arguments) => list::run(arguments).await,
        Command::Inspect(arguments) => inspect::run(arguments).await,
        Command::Test(arguments) => test::run(arguments).await,
    }
}

fn reference(text: &str) -> Result<Reference, Stop> {
    Reference::with_host(text).map_err(|error| Stop(Exit::Misconfigured, error.to_string()))
}

fn deadline(timeout: Duration) -> Result<Instant, Stop> {
    let late = || Stop(Exit::Misconfigured, "--timeout is too long".to_owned());
    Instant::now().checked_add(timeout).ok_or_else(late)
}

fn unavailable(cause: impl ToString) -> Stop {
    Stop(Exit::Unavailable, cause.to_string())
}

/// A bar on the terminal, if stderr is one, and who tells it how far it is.
fn bar(what: &str) -> (ProgressBar, Arrived) {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what.to_owned());
    let told = bar.clone();
    (bar, Arc::new(move |bytes| told.set_position(bytes)))
}
