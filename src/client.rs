//! Asks the daemon over its unix socket: one call, one answer, one deadline. Used by the shim and by `ratifyctl`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

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
    /// The daemon refused the question, or is going away.
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
            Self::Refused(_) | Self::Unreachable { .. } | Self::Late { .. } => Token::Unavailable,
        }
    }
}

impl std::error::Error for Unanswered {}

/// Makes one call by `deadline`. `call` is given the connection; the request that it sends should carry
/// [`request`]'s deadline, so that the daemon knows how long it has.
///
/// # Errors
/// See [`Unanswered`].
pub async fn call<T, F>(socket: &Path, deadline: Instant, call: impl FnOnce(Channel) -> F) -> Result<T, Unanswered>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let start = Instant::now();
    let late = || Unanswered::Late { socket: socket.to_owned(), waited: start.elapsed() };
    let unreachable = |cause: String| Unanswered::Unreachable { socket: socket.to_owned(), cause };
    let endpoint = endpoint(socket).map_err(unreachable)?;
    let channel = match timeout_at(deadline, endpoint.connect()).await {
        Err(_) => return Err(late()),
        Ok(Err(error)) => return Err(unreachable(root_cause(&error))),
        Ok(Ok(channel)) => channel,
    };
    match timeout_at(deadline, call(channel)).await {
        Err(_) => Err(late()),
        // tonic keeps the request's own deadline too, and may notice first.
        Ok(Err(status)) if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => Err(late()),
        Ok(Err(status)) => Err(Unanswered::Refused(status)),
        Ok(Ok(response)) => Ok(response.into_inner()),
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
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
