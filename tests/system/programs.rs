//! Runs programs for these tests: each one under a time limit, and none outlives the test that started it.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use ratify::limits;
use rustix::process::{Pid, Signal, geteuid, kill_process};

pub const DAEMON: &str = env!("CARGO_BIN_EXE_ratifyd");
pub const CTL: &str = env!("CARGO_BIN_EXE_ratifyctl");
pub const SHIM: &str = env!("CARGO_BIN_EXE_ratify-image-verifier");

/// A user who is nobody here.
pub const NOBODY: u32 = 65534;

/// Makes a program one of [`NOBODY`]'s.
pub const AS_NOBODY: [&str; 5] = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];

/// The longest that anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Ends the test, aloud, where it does not run as root; a failure with `CI=true`, where nothing is passed over.
#[macro_export]
macro_rules! needs_root {
    () => {
        if !$crate::programs::is_root() {
            return $crate::programs::skip("needs root");
        }
    };
}

pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Says that the calling test is skipped where the harness does not swallow it.
pub fn skip(lack: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "nothing is passed over in CI: {lack}");
    let name = thread::current().name().unwrap_or_default().to_owned();
    std::io::stderr().write_all(format!("SKIPPED {name}: {lack}\n").as_bytes()).unwrap();
}

/// What a program did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The output of a program that ended with this code.
    #[track_caller]
    pub fn ended(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// What a program complained about before it ended with this code.
    #[track_caller]
    pub fn complained(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        self.stderr
    }

    /// The shim's one line, which starts with this token and goes with this exit code.
    #[track_caller]
    pub fn reason(&self, code: i32, token: &str) -> &str {
        let line = self.stdout.strip_suffix('\n').unwrap_or_else(|| panic!("no whole line: {self:?}"));
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(line.starts_with(&format!("{token} ")), "{self:?}");
        assert!(!line.chars().any(char::is_control), "{self:?}");
        assert!(self.stdout.len() <= limits::REASON_BYTES, "{self:?}");
        assert_eq!(self.stderr, "", "{self:?}");
        line
    }

    /// A line of the shim that blocks the pull, and has this in it.
    #[track_caller]
    pub fn refuses(&self, token: &str, cause: &str) {
        let line = self.reason(1, token);
        assert!(line.contains(cause), "{line}");
    }

    /// A line of the shim that lets the pull go on, and has this in it.
    #[track_caller]
    pub fn allows(&self, token: &str, cause: &str) {
        let line = self.reason(0, token);
        assert!(line.contains(cause), "{line}");
    }

    /// The verdict's id at the end of the shim's line.
    #[track_caller]
    pub fn id(&self) -> &str {
        let id = self.stdout.trim_end().strip_suffix(']').and_then(|line| line.rsplit_once(" [")).map(|(_, id)| id);
        id.unwrap_or_else(|| panic!("no id: {self:?}"))
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Ran {
    run_with_stdin(command, b"")
}

/// Runs a program to its end, with this on its stdin.
pub fn run_with_stdin(command: &mut Command, stdin: &[u8]) -> Ran {
    let mut child = spawn(command.stdin(Stdio::piped()));
    // A program that does not read its stdin has its reasons.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    finish(child)
}

/// Starts a program whose output is kept.
pub fn spawn(command: &mut Command) -> Child {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    child.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Waits for a program's end, which also is the end of all that hold its output.
pub fn finish(child: Child) -> Ran {
    let pid = Pid::from_child(&child);
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(PATIENCE) else {
        let _ = kill_process(pid, Signal::KILL);
        panic!("a program has not ended within {PATIENCE:?}");
    };
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// Waits for a condition, and fails the test if it does not come about in time.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "the one place that waits between two looks, and it has a deadline")]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// How a daemon is started.
#[derive(Default)]
pub struct Launch<'a> {
    /// Options of setpriv.
    pub privileges: &'a [&'a str],
    /// What runs the daemon in its place.
    pub wrapper: &'a [&'a str],
    pub stdin: Option<OwnedFd>,
    /// Where the log goes, if not to the node's folder.
    pub log: Option<OwnedFd>,
}

/// A daemon under a service manager that is this test: it is told when the daemon is ready and when it stops. The
/// daemon ends when this is dropped, and when the test's thread ends in any other way.
pub struct Daemon {
    child: Child,
    notify: UnixDatagram,
    log: PathBuf,
}

impl Daemon {
    /// Starts a daemon whose other files are in `folder`.
    pub fn spawn(folder: &Path, arguments: &[&Path], launch: Launch<'_>) -> Self {
        let (address, log) = (folder.join("notify"), folder.join("log"));
        let _ = fs::remove_file(&address);
        let notify = UnixDatagram::bind(&address).unwrap();
        super::node::chmod(&address, 0o666);
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).args(launch.privileges).arg("--").args(launch.wrapper);
        command.arg(DAEMON).args(arguments).env("NOTIFY_SOCKET", address).stdout(Stdio::null());
        command.stderr(launch.log.map_or_else(|| Stdio::from(stderr), Stdio::from));
        for variable in ["RUST_LOG", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "RATIFYD_CONFIG", "RATIFYD_SOCKET"] {
            command.env_remove(variable);
        }
        command.stdin(launch.stdin.map_or_else(Stdio::null, Stdio::from));
        Self { child: command.spawn().unwrap(), notify, log }
    }

    /// Waits until the service manager is told this.
    #[track_caller]
    pub fn tells(&mut self, state: &str) {
        self.notify.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        until(state, || {
            let mut message = [0; 256];
            if let Ok(length) = self.notify.recv(&mut message) {
                return String::from_utf8_lossy(&message[..length]).lines().any(|line| line == state);
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon has ended: {}", fs::read_to_string(&self.log).unwrap());
            false
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ends(mut self) -> ExitStatus {
        let mut status = None;
        until("the end of the daemon", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
