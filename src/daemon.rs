//! The daemon: start, serve, reload, stop.
//!
//! The listener and the reasons to stop are handed in to [`serve`], so systemd's socket, a socket of its own and
//! tests are one path. A daemon whose configuration is bad starts all the same and answers MISCONFIGURED: one that
//! exits would take its socket with it.

mod connections;
mod folders;
mod journal;
mod metrics;

use std::future::{Future, pending};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::assemble;
use crate::client;
use crate::config::{Log, LogFormat, LogLevel};
use crate::daemon::folders::Folders;
use crate::daemon::metrics::Endpoint;
use crate::limits;
use crate::live::Live;
use crate::runner;
use crate::service::Service;
use crate::wire::v1::admin_server::AdminServer;
use crate::wire::v1::image_verifier_server::ImageVerifierServer;
use crate::wire::v1::node_server::NodeServer;

/// The name under which gRPC health answers.
const HEALTH_NAME: &str = "ratify.v1.ImageVerifier";

/// How often files are looked at while nobody asks and no folder tells of a change, unless the watchdog wants to hear
/// from us more often.
const LOOK_AFTER: Duration = Duration::from_secs(15);

/// How long after a change files are looked at: some come in several steps, and a file system's clock has ticks.
const SETTLE: Duration = Duration::from_millis(150);

/// The longest that looking may take before the watchdog is told that we are alive all the same.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(name = "ratifyd", version, about = "Verifies container images for containerd's image-verifier shim")]
struct Arguments {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "RATIFYD_CONFIG", default_value = "/etc/ratifyd/config.toml")]
    config: PathBuf,
    /// Socket to listen on, unless systemd hands one over
    #[arg(long, value_name = "PATH", env = client::SOCKET_VARIABLE, default_value = client::SOCKET)]
    socket: PathBuf,
    #[command(subcommand)]
    errand: Option<Errand>,
}

/// What else this program is.
#[derive(Clone, Copy, clap::Subcommand)]
enum Errand {
    /// Run one plugin for the daemon, as ratifyd-plugins@.service does: the request comes on the socket that is stdin
    RunPlugin,
}

/// Runs the daemon until it is asked to stop.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Errand::RunPlugin) = arguments.errand {
        return run_plugin();
    }
    // Whoever shares this uid must not read the memory of what decides.
    let undumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let outcome = tokio::runtime::Builder::new_multi_thread().enable_all().build().and_then(|runtime| {
        let outcome = runtime.block_on(run(&arguments));
        // Whoever is still at work has had the grace period.
        runtime.shutdown_background();
        outcome
    });
    if let Err(error) = undumpable {
        warn!("the process can be traced by its own user: {error}");
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let priority = if journal::is_stderr() { journal::ERROR } else { "" };
            // Nobody is left to tell when that fails too.
            let _ = writeln!(io::stderr(), "{priority}ratifyd: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves one request of another daemon, and ends.
fn run_plugin() -> ExitCode {
    // The program that it runs has the same user, and must not look into it.
    let outcome = set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| error.to_string());
    let outcome = outcome.and_then(|()| {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
        let stream = std::os::unix::net::UnixStream::from(stdin);
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(async {
            let stream = tokio::net::UnixStream::from_std(stream).map_err(|error| error.to_string())?;
            runner::serve(stream).await
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            // Nobody is left to tell when that fails too.
            let _ = writeln!(io::stderr(), "ratifyd run-plugin: {cause}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> io::Result<()> {
    let config = arguments.config.clone();
    let live = tokio::task::spawn_blocking(move || {
        start_log(&assemble::log_of(&config));
        Live::open(&config)
    })
    .await?;
    let (listener, own) = listen(&arguments.socket)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // Before systemd is told: from then on it may send one, which would end a process that does not listen for it.
    let hangup = signal(SignalKind::hangup())?;
    let stop = async move || {
        tokio::select! {
            _ = terminate.recv() => {},
            _ = interrupt.recv() => {},
        }
        (terminate, interrupt)
    };
    let (asked, at_once) = two_signals(stop());
    let first = async move {
        asked.await;
        if let Some(own) = own {
            own.remove();
        }
    };
    info!(version = env!("CARGO_PKG_VERSION"), socket = %arguments.socket.display(), "listening");
    tell_systemd(NotifyState::Ready);
    serve(listener, live, hangup, first, at_once).await
}

/// Turns signals into the two reasons to stop: the first asks, the second insists.
fn two_signals(
    first: impl Future<Output = (Signal, Signal)> + Send + 'static,
) -> (impl Future<Output = ()> + Send + 'static, impl Future<Output = ()> + Send + 'static) {
    let (count, mut asked) = watch::channel(0_u8);
    let mut insisted = asked.clone();
    tokio::spawn(async move {
        let (mut terminate, mut interrupt) = first.await;
        count.send_replace(1);
        tokio::select! {
            _ = terminate.recv() => {},
            _ = interrupt.recv() => {},
        }
        count.send_replace(2);
    });
    let reached = async |asked: &mut watch::Receiver<u8>, goal: u8| {
        if asked.wait_for(|count| *count >= goal).await.is_err() {
            pending::<()>().await;
        }
    };
    (async move { reached(&mut asked, 1).await }, async move { reached(&mut insisted, 2).await })
}

/// Serves until `stop`; then accepts nothing new and gives calls in flight [`limits::STOP_GRACE`], less if
/// `at_once` comes.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: UnixListener,
    live: Arc<Live>,
    mut hangup: Signal,
    stop: impl Future<Output = ()> + Send + 'static,
    at_once: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let connections = seats();
    let (health, health_service) = tonic_health::server::health_reporter();
    let looking_after = tokio::spawn(look_after(Arc::clone(&live), health));
    let reloading = tokio::spawn({
        let live = Arc::clone(&live);
        async move {
            while hangup.recv().await.is_some() {
                live.reload().await;
            }
        }
    });
    let (stopping, mut stopped) = watch::channel(false);
    let service = Service::new(live);
    let server = Server::builder()
        // Whoever begins a call and never ends it is not waited for; an answer that streams may take longer.
        .timeout(limits::CALL_TIMEOUT)
        .max_concurrent_streams(limits::CALLS_PER_CONNECTION)
        .initial_stream_window_size(limits::CALL_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(limits::CALL_HEADER_BYTES)
        .add_service(ImageVerifierServer::new(service.clone()).max_decoding_message_size(limits::CALL_BYTES))
        .add_service(NodeServer::new(service.clone()).max_decoding_message_size(limits::CALL_BYTES))
        .add_service(AdminServer::new(service).max_decoding_message_size(limits::CALL_BYTES))
        .add_service(health_service)
        .serve_with_incoming_shutdown(connections::accept(listener, connections), async move {
            stop.await;
            info!("stopping: no new calls, those in flight may end");
            tell_systemd(NotifyState::Stopping);
            stopping.send_replace(true);
        });
    let grace_over = async move {
        if stopped.wait_for(|stopping| *stopping).await.is_err() {
            pending::<()>().await;
        }
        if timeout(limits::STOP_GRACE, at_once).await.is_ok() {
            warn!("stopping at once: asked a second time");
        } else {
            warn!(seconds = limits::STOP_GRACE.as_secs(), "stopping: calls in flight did not end in time");
        }
    };
    let outcome = tokio::select! {
        outcome = server => outcome.map_err(io::Error::other),
        () = grace_over => Ok(()),
    };
    looking_after.abort();
    reloading.abort();
    info!("stopped");
    outcome
}

/// How many connections may be open at once: [`limits::CONNECTIONS`], or half of what the kernel lets the process
/// open, so that registries and files always find room.
fn seats() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // The usual soft limit of 1024 is there for programs that call select(2).
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
            warn!("the limit of open files cannot be raised: {error}");
        }
    }
    let open = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    open.map_or(limits::CONNECTIONS, |files| (files / 2).clamp(1, limits::CONNECTIONS))
}

/// Looks at the files now and then, has metrics told where they say, and tells health whether pulls can be decided, and the watchdog that we are alive.
async fn look_after(live: Arc<Live>, health: HealthReporter) {
    let mut ticks = interval(sd_notify::watchdog_enabled().map_or(LOOK_AFTER, |limit| LOOK_AFTER.min(limit / 2)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut folders = Folders::new();
    let mut endpoint = Endpoint::new(Arc::clone(live.metrics()));
    let mut known = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {},
            () = folders.changed() => sleep(SETTLE).await,
        }
        if let Ok(force) = timeout(LOOK_TIMEOUT, live.current()).await {
            folders.watch(&force.folders);
            endpoint.follow(force.config.as_ref().and_then(|config| config.metrics.listen.as_ref()));
            let serving = force.admission.is_ok();
            if known.replace(serving) != Some(serving) {
                let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
                for name in [HEALTH_NAME, ""] {
                    health.set_service_status(name, status).await;
                }
            }
        }
        if sd_notify::watchdog_enabled().is_some() {
            tell_systemd(NotifyState::Watchdog);
        }
    }
}

/// The socket that systemd hands over, or one of its own, which is its to remove.
fn listen(path: &Path) -> io::Result<(UnixListener, Option<OwnSocket>)> {
    let (listener, own) = match listenfd::ListenFd::from_env().take_unix_listener(0)? {
        Some(listener) => (listener, None),
        None => (bind(path)?, Some(OwnSocket::at(path)?)),
    };
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, own))
}

/// A socket that this process made.
struct OwnSocket {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl OwnSocket {
    fn at(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }

    /// Removes it, unless something else took its place. Called while it still listens: until then no other daemon
    /// takes its place unasked, and its inode's number is nobody else's.
    fn remove(&self) {
        let stands = Self::at(&self.path).is_ok_and(|now| (now.device, now.inode) == (self.device, self.inode));
        if stands && let Err(error) = std::fs::remove_file(&self.path) {
            warn!("socket {} cannot be removed: {error}", self.path.display());
        }
    }
}

/// Binds a socket that its owner and group alone may connect to. A socket that a daemon left behind is replaced;
/// one that answers is not.
fn bind(path: &Path) -> io::Result<StdListener> {
    let explain = |error: io::Error| io::Error::new(error.kind(), format!("socket {}: {error}", path.display()));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(explain)?;
    }
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(explain(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else at this path")));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(explain(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another ratifyd answers there; stop it first",
            )));
        }
        std::fs::remove_file(path).map_err(explain)?;
    }
    let before = umask(Mode::RWXO | Mode::XUSR | Mode::XGRP);
    let bound = StdListener::bind(path).map_err(explain);
    umask(before);
    bound
}

fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        error!("systemd cannot be told: {error}");
    }
}

/// Writes the log to stderr, as configured; `RUST_LOG` overrides the level.
fn start_log(log: &Log) {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A line that cannot be written (a full disk) would be complained about on stderr too, and panic there.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let started = match log.format {
        LogFormat::Text if journal::is_stderr() => {
            lines.with_ansi(false).with_target(false).map_event_format(journal::Prioritised).try_init()
        }
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    // Started twice in one process, as tests do, the first log stays.
    let _ = started;
}
