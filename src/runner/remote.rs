//! The runner behind a socket: both ends. systemd starts one for each connection, under a user that exists for that long
//! (`ratifyd-plugins.socket`), so that a daemon without any rights can have programs run as somebody else.

use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits;
use crate::report::Fault;
use crate::runner::{Program, Ran, child, frames};
use crate::trust;
use crate::verdict::{Class, printable};

/// Has a program run behind a socket that root listens on.
pub(super) async fn ask(socket: &Path, program: &Program, until: Instant) -> Result<Ran, Fault> {
    let no_runner = |error: std::io::Error| {
        Fault::new(format!(
            "plugins never run as the user of ratifyd, and who runs them cannot be reached at {}: {error}; systemctl \
             start ratifyd-plugins.socket",
            socket.display()
        ))
    };
    let asked = timeout_at(until, async {
        let mut stream = UnixStream::connect(socket).await.map_err(no_runner)?;
        // Whoever listened first: systemd. Another one could answer whatever it likes.
        let peer = stream.peer_cred().map_err(no_runner)?.uid();
        if peer != 0 {
            let cause = format!("uid {peer} listens at {}, not root: nothing that it says counts", socket.display());
            return Err(Fault::new(cause));
        }
        let left = until.saturating_duration_since(Instant::now()).saturating_sub(limits::PLUGIN_MARGIN);
        let broken = |cause: String| Fault::new(format!("whoever runs plugins gave no whole answer: {cause}"));
        frames::request(&mut stream, program, left).await.map_err(broken)?;
        let replied = frames::replied(&mut stream, program.most_output).await;
        let ran = replied.map_err(|cause| broken(printable(&cause)))?;
        ran.map_err(|cause| Fault::new(printable(&cause)))
    });
    asked.await.unwrap_or_else(|_| Err(Fault::of(Class::Time, "whoever runs plugins did not answer in time")))
}

/// Takes one request on a socket, runs the program as this process's own user, and answers.
///
/// # Errors
/// Why there was nobody to answer.
pub async fn serve(mut stream: UnixStream) -> Result<(), String> {
    let asker = stream.peer_cred().map_err(|error| error.to_string())?.uid();
    let asked = timeout(limits::RUNNER_PATIENCE, frames::requested(&mut stream)).await;
    let ran = match asked {
        Err(_) => Err("the request did not come in time".to_owned()),
        Ok(Err(cause)) => Err(format!("the request cannot be read: {cause}")),
        Ok(Ok((program, limit))) => tokio::select! {
            ran = run(&program, asker, limit) => ran,
            () = gone(&mut stream) => return Err("whoever asked went away".to_owned()),
        },
    };
    match timeout(limits::RUNNER_PATIENCE, frames::reply(&mut stream, ran)).await {
        Ok(sent) => sent,
        Err(_) => Err("the answer was not taken in time".to_owned()),
    }
}

/// Runs a program that root alone can have put there, or whoever asks where it says so, whatever that one has checked.
async fn run(program: &Program, asker: u32, limit: Duration) -> Result<Ran, String> {
    let own = rustix::process::geteuid();
    if own.is_root() {
        return Err("the runner runs as root, and plugins must not: it needs a user of its own".to_owned());
    }
    let until = Instant::now().checked_add(limit).ok_or("the clock has no such time")?;
    let path = program.path.clone();
    let owner = if program.fetched { asker } else { 0 };
    let checked = tokio::task::spawn_blocking(move || trust::check_program(&path, owner)).await;
    checked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    child::run(program, None, until).await.map_err(|fault| fault.to_string())
}

/// Waits until the other end is closed. It has said all that it has to say.
async fn gone(stream: &mut UnixStream) {
    let mut byte = [0];
    let _ = stream.read(&mut byte).await;
}
