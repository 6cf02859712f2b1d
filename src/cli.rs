//! `ratifyctl`, the operator's tool: arguments in, text or JSON and an exit code out.
//!
//! `verify` runs the whole verification in this process, with the configuration that the daemon reads; the other
//! commands ask the running daemon.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use tokio::time::Instant;

use crate::client;
use crate::verdict::Token;

mod bundle;
mod change;
mod config;
mod cri;
mod diff;
mod discover;
mod doctor;
mod draw;
mod install;
mod judge;
mod node;
mod out;
mod plugin;
mod present;
mod sarif;
mod source;
mod verify;

/// How a command ended. The numbers are part of the contract; of several the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exit {
    /// Done; for `verify`: allowed.
    Done = 0,
    /// For `verify`: denied. For `doctor`: not as required. For `install`: not done.
    Denied = 1,
    /// Wrong usage or configuration.
    Misconfigured = 2,
    /// It could not be found out.
    Unavailable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Denied => Self::from(1),
            Exit::Misconfigured => Self::from(2),
            Exit::Unavailable => Self::from(3),
        }
    }
}

impl From<Token> for Exit {
    fn from(token: Token) -> Self {
        match token {
            Token::Allowed | Token::Audit | Token::Exempt => Self::Done,
            Token::Denied => Self::Denied,
            Token::Misconfigured => Self::Misconfigured,
            Token::Unavailable => Self::Unavailable,
        }
    }
}

/// Why a command stops before its work is done: the exit code, and what to tell if anything.
struct Stop(Exit, String);

#[derive(Parser)]
#[command(name = "ratifyctl", version, about = "Verify images and look into ratifyd", infer_subcommands = false)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Verify an image in this process, without the daemon
    #[command(
        after_help = "Exit codes: 0 allowed (ALLOWED, AUDIT, EXEMPT), 1 DENIED, 2 wrong usage, configuration or \
        MISCONFIGURED, 3 UNAVAILABLE; of several images the greatest"
    )]
    Verify(verify::Arguments),
    /// Verify one Sigstore bundle against a file or a digest, without any request
    #[command(after_help = "Exit codes: 0 valid, 1 not valid, 2 wrong usage or a file that cannot be read")]
    VerifyBundle(bundle::Arguments),
    /// Draw what refers to an image, without a verdict on it
    #[command(after_help = "Exit codes: 0 all of it was read, 2 wrong usage or configuration, 3 some of it was not")]
    Discover(discover::Arguments),
    /// Print the digest that a name has now
    Resolve(discover::Arguments),
    /// Look at a configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Show how the daemon is
    Status(NodeArguments),
    /// Show a recent verdict of the daemon with its whole report
    Explain {
        /// The id from a reason line
        id: String,
        #[command(flatten)]
        node: NodeArguments,
    },
    /// List the daemon's recent verdicts, oldest first
    Verdicts {
        /// Go on with new ones until interrupted
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        node: NodeArguments,
    },
    /// Say for each route by which an image can come onto this node whether it is verified, and prove it
    #[command(after_help = "Exit codes: 0 every route is as required and nothing is wrong, 1 not")]
    Doctor(doctor::Arguments),
    /// Plugins as OCI artifacts: push, pull, list, look into, try out
    Plugin {
        #[command(subcommand)]
        command: plugin::Command,
    },
    /// Print shell completions
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a man page: of ratifyctl, or of one of its commands
    Man {
        /// The command
        command: Option<String>,
    },
    /// Set this node up without a package; shows what it would change unless told --yes
    #[command(after_help = "Exit codes: 0 all is as it should be or would be, 1 something is not done: why\n\n\
        containerd asks ratifyd by one symbolic link in its folder of verifiers. It is made last, and only once the \
        configuration has no problem; with --audit at once, and then nothing is refused.")]
    Install(install::Arguments),
    /// Take away what install has set up: pulls are no longer verified; configuration and state stay
    #[command(after_help = "Exit codes: 0 all is gone or would be, 1 something is not done: why")]
    Uninstall(install::uninstall::Arguments),
    /// Make the daemon forget what it remembers and read all trust again (root only); content on disk stays, kept by digest
    Flush(NodeArguments),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Report all problems of a configuration, each with its place; trust files too
    Check {
        /// Configuration file
        #[arg(value_name = "FILE", env = "RATIFYD_CONFIG", default_value = CONFIG)]
        file: PathBuf,
    },
    /// Print the configuration as it counts, with every default, as a file that means the same
    Show {
        /// Configuration file
        #[arg(value_name = "FILE", env = "RATIFYD_CONFIG", default_value = CONFIG)]
        file: PathBuf,
        /// In which format
        #[arg(long, value_enum, default_value_t = config::Format::Toml)]
        output: config::Format,
    },
    /// Print the JSON schema of the configuration
    Schema,
}

/// Where the configuration lies, unless told otherwise.
const CONFIG: &str = "/etc/ratifyd/config.toml";

#[derive(Args)]
struct NodeArguments {
    /// The daemon's socket
    #[arg(long, value_name = "PATH", env = client::SOCKET_VARIABLE, default_value = client::SOCKET)]
    socket: PathBuf,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What every question about an image can be told.
#[derive(Args)]
struct ImageArguments {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "RATIFYD_CONFIG", default_value = CONFIG)]
    config: PathBuf,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// How long one image may take, such as 30s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl ImageArguments {
    /// When the answer must be there.
    fn deadline(&self) -> Result<Instant, Stop> {
        let deadline = Instant::now().checked_add(self.timeout);
        deadline.ok_or_else(|| Stop(Exit::Misconfigured, "--timeout is too long".to_owned()))
    }
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// One JSON document, described in docs/report.md
    Json,
    /// One SARIF 2.1.0 log (verify only; elsewhere as text)
    Sarif,
}

/// Runs one command.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out::complain(&error.to_string());
            return Exit::Unavailable.into();
        }
    };
    let outcome = runtime.block_on(async {
        match arguments.command {
            Command::Verify(arguments) => verify::run(arguments).await,
            Command::VerifyBundle(arguments) => bundle::run(&arguments),
            Command::Discover(arguments) => discover::discover(arguments).await,
            Command::Resolve(arguments) => discover::resolve(arguments).await,
            Command::Verdicts { watch, node } => node::verdicts(&node, watch).await,
            Command::Doctor(arguments) => doctor::run(arguments).await,
            Command::Plugin { command } => plugin::run(command).await,
            Command::Completion { shell } => complete(shell),
            Command::Man { command } => man(command.as_deref()),
            Command::Config { command: ConfigCommand::Check { file } } => config::check(&file),
            Command::Config { command: ConfigCommand::Show { file, output } } => config::show(&file, output),
            Command::Config { command: ConfigCommand::Schema } => config::schema(),
            Command::Install(arguments) => install::install(arguments).await,
            Command::Uninstall(arguments) => install::uninstall::run(arguments).await,
            Command::Status(node) => node::status(&node).await,
            Command::Explain { id, node } => node::explain(&node, id).await,
            Command::Flush(node) => node::flush(&node).await,
        }
    });
    runtime.shutdown_background();
    match outcome {
        Ok(exit) => exit.into(),
        Err(Stop(exit, message)) => {
            if !message.is_empty() {
                out::complain(&message);
            }
            exit.into()
        }
    }
}

fn complete(shell: clap_complete::Shell) -> Result<Exit, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "ratifyctl", &mut script);
    out::text(String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

fn man(name: Option<&str>) -> Result<Exit, Stop> {
    let command = Arguments::command();
    let command = match name {
        None => command,
        Some(name) => {
            let found = command.get_subcommands().find(|command| command.get_name() == name).cloned();
            let found =
                found.ok_or_else(|| Stop(Exit::Misconfigured, format!("{name:?} is no command of ratifyctl")))?;
            found.name(format!("ratifyctl-{name}"))
        }
    };
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut page);
    rendered.map_err(|error| Stop(Exit::Unavailable, error.to_string()))?;
    out::text(String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}
