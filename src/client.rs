//! Asks the daemon over its unix socket: one answer, one deadline. Used by the shim and by `ratifyctl`. A question whose
//! connection breaks is asked again, a few times; one that was answered, whatever the answer, never is.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, TimeoutExpired};

use crate::limits;
use crate::verdict::Token;

/// Where the daemon listens, unless told otherwise.
pub const SOCKET: &str = "/run/ratifyd/ratifyd.sock";

/// The environment variable that tells otherwise.
pub const SOCKET_VARIABLE: &str = "RATIFYD_SOCKET";

/// The environment variable that tells the shim how long it may take, instead of [`crate::limits::SHIM_TIMEOUT`].
pub const TIMEOUT_VARIABLE: &str = "RATIFYD_TIMEOUT";

/// Why there is no answer. None of these ever allows anything.
#[derive(Debug)]
pub enum Unanswered {
    /// Nobody listens there.
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What connecting said.
        cause: String,
    },
    /// The deadline passed.
    Late {
        /// The socket.
        socket: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The connection ended without an answer, each time.
    Broken {
        /// The socket.
        socket: PathBuf,
        /// How the last one ended.
        cause: String,
        /// How often the question was asked.
        tries: u32,
    },
    /// The daemon refused the question.
    Refused(Status),
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { socket, cause } if cause.starts_with("Permission denied") => {
                let socket = socket.display();
                write!(f, "ratifyd cannot be reached at {socket}: {cause}; its owner and group alone may connect")
            }
            Self::Unreachable { socket, cause } => {
                write!(f, "ratifyd cannot be reached at {}: {cause}; is ratifyd.socket active?", socket.display())
            }
            Self::Late { socket, waited } => {
                let socket = socket.display();
                write!(f, "ratifyd at {socket} has not answered within {waited:.1?}; see systemctl status ratifyd")
            }
            Self::Broken { socket, cause, tries } => {
                let socket = socket.display();
                write!(f, "ratifyd at {socket} ended the connection without an answer (try {tries}): {cause}")?;
                f.write_str("; see journalctl -u ratifyd")
            }
            Self::Refused(status) => write!(f, "ratifyd refuses to answer: {}", status.message()),
        }
    }
}

impl Unanswered {
    /// What it is to those who wait for a verdict: who may not ask must be let in by an operator, the rest passes.
    #[must_use]
    pub fn token(&self) -> Token {
        match self {
            Self::Refused(status) if status.code() == Code::PermissionDenied => Token::Misconfigured,
            Self::Refused(_) | Self::Unreachable { .. } | Self::Late { .. } | Self::Broken { .. } => Token::Unavailable,
        }
    }
}

impl Error for Unanswered {}

/// Asks by `deadline`. `ask` is given a connection, and another one each time that the one before broke: a daemon that
/// was killed or replaced takes the connections that it has accepted with it, while systemd's socket stays. The request
/// that it sends should carry [`request`]'s deadline, so that the daemon knows how long it has.
///
/// # Errors
/// See [`Unanswered`].
pub async fn call<T>(
    socket: &Path,
    deadline: Instant,
    ask: impl AsyncFn(Channel) -> Result<Response<T>, Status>,
) -> Result<T, Unanswered> {
    let start = Instant::now();
    let mut pause = limits::ASK_PAUSE;
    let mut tries = 1;
    loop {
        let cause = match once(socket, start, deadline, &ask).await {
            Ok(answer) => return Ok(answer),
            Err(Ended::For(unanswered)) => return Err(unanswered),
            Err(Ended::Broke(cause)) => cause,
        };
        // Who waits out the pause in vain has no time left to ask in.
        if tries == limits::ASK_TRIES || timeout_at(deadline, sleep(pause)).await.is_err() {
            return Err(Unanswered::Broken { socket: socket.to_owned(), cause, tries });
        }
        pause = pause.saturating_mul(limits::ASK_PAUSE_GROWS);
        tries = tries.saturating_add(1);
    }
}

/// Why one try has come to nothing.
enum Ended {
    /// Another try would come to the same.
    For(Unanswered),
    /// The connection broke.
    Broke(String),
}

async fn once<T>(
    socket: &Path,
    start: Instant,
    deadline: Instant,
    ask: &impl AsyncFn(Channel) -> Result<Response<T>, Status>,
) -> Result<T, Ended> {
    let late = || Ended::For(Unanswered::Late { socket: socket.to_owned(), waited: start.elapsed() });
    let unreachable = |cause| Ended::For(Unanswered::Unreachable { socket: socket.to_owned(), cause });
    let endpoint = endpoint(socket).map_err(unreachable)?;
    let channel = timeout_at(deadline, endpoint.connect()).await.map_err(|_| late())?;
    let channel = channel.map_err(|error| unconnected(socket, &error))?;
    match timeout_at(deadline, ask(channel)).await {
        Err(_) => Err(late()),
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => match status.source() {
            // tonic keeps the request's own deadline too, and may notice first.
            Some(source) if root(source).is::<TimeoutExpired>() => Err(late()),
            None if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => Err(late()),
            // The daemon's own refusals come without a source; another was made here, of what became of the connection.
            Some(source) => Err(Ended::Broke(root_cause(source))),
            None => Err(Ended::For(Unanswered::Refused(status))),
        },
    }
}

/// What an error of connecting means: nobody listens, or somebody hung up at once.
fn unconnected(socket: &Path, error: &(dyn Error + 'static)) -> Ended {
    let io = root(error).downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    match io {
        Some(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted) => {
            Ended::Broke(root_cause(error))
        }
        _ => Ended::For(Unanswered::Unreachable { socket: socket.to_owned(), cause: root_cause(error) }),
    }
}

/// A request that tells the daemon how long the caller will wait.
pub fn request<T>(message: T, deadline: Instant) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    request
}

/// The unix socket as something to connect to.
///
/// # Errors
/// The path is none.
pub fn endpoint(socket: &Path) -> Result<Endpoint, String> {
    Endpoint::from_shared(format!("unix:{}", socket.display())).map_err(|error| root_cause(&error))
}

/// The innermost cause: "no such file or directory" rather than "transport error".
#[must_use]
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    root(error).to_string()
}

fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}
