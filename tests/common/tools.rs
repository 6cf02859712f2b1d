//! Runs real programs for the tests: each call under a time limit, each long-running one bound to this process, so
//! that it ends with the test however the test ends. Only processes that were started here are ever ended.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// Ends the test, aloud, where root or a tool is missing; a failure with `CI=true`, where nothing is passed over.
#[macro_export]
macro_rules! needs {
    () => {
        if $crate::common::tools::pass_over() {
            return;
        }
    };
}

/// The longest that any real program may take for one call.
const PATIENCE: Duration = Duration::from_secs(60);

/// The programs that these tests drive, besides the host's own.
const PROGRAMS: [&str; 8] =
    ["approval", "containerd", "ctr", "notation", "cosign", "crane", "docker-registry", "referrers-registry"];

/// Whether the calling test cannot run here. Says so where the harness does not swallow it.
pub fn pass_over() -> bool {
    static LACK: OnceLock<Option<String>> = OnceLock::new();
    let Some(lack) = LACK.get_or_init(lack) else { return false };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "nothing is passed over in CI: {lack}");
    let name = thread::current().name().unwrap_or_default().to_owned();
    let mut terminal = std::io::stderr();
    terminal.write_all(format!("SKIPPED {name}: {lack}\n").as_bytes()).unwrap();
    true
}

fn lack() -> Option<String> {
    if !geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let missing: Vec<_> = PROGRAMS.into_iter().filter(|program| !tool(program).exists()).collect();
    (!missing.is_empty()).then(|| format!("needs {}; run tests/tools/fetch", missing.join(", ")))
}

/// The path of a fetched program.
pub fn tool(program: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let fetch = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/fetch");
        PathBuf::from(run(Command::new(fetch).arg("--print")).success().trim())
    });
    folder.join(program)
}

/// What a program did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Ran {
    /// The output of a program that must succeed.
    pub fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Ran {
    run_with_stdin(command, "")
}

/// Runs a program to its end, with this on its stdin.
pub fn run_with_stdin(command: &mut Command, stdin: &str) -> Ran {
    let name = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    // A program that does not read its stdin has its reasons.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let pid = pid_of(&child);
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(PATIENCE) {
        Ok(output) => {
            let Output { status, stdout, stderr } = output.unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
        }
        Err(RecvTimeoutError::Timeout) => {
            let _ = kill_process(pid, Signal::KILL);
            panic!("{name} has not ended within {PATIENCE:?}");
        }
        Err(RecvTimeoutError::Disconnected) => panic!("{name}: its output cannot be read"),
    }
}

/// Waits for a condition, and fails the test if it does not come about in time.
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_about(PATIENCE, condition), "waited {PATIENCE:?} for: {what}");
}

/// Whether a condition comes about in time.
#[expect(clippy::disallowed_methods, reason = "the one place that waits between two looks, and it has a deadline")]
fn comes_about(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        match (condition(), start.elapsed() < limit) {
            (true, _) => return true,
            (false, true) => thread::sleep(Duration::from_millis(5)),
            (false, false) => return false,
        }
    }
}

/// Waits for a value.
pub fn until_some<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, || {
        found = value();
        found.is_some()
    });
    found.unwrap()
}

/// A long-running program. It ends when this is dropped, and also when this process ends in any way: a shell that
/// waits on a pipe from here keeps it.
pub struct Service {
    keeper: Child,
    pipe: Option<ChildStdin>,
    pid: Pid,
    log: PathBuf,
}

/// Starts the program, tells its process id, waits for the pipe to close and ends the program. The shell reaps it
/// only then, so the id stays this program's until the end.
const KEEPER: &str = r#"log=$1; shift; "$@" >>"$log" 2>&1 & echo $!; read -r _; kill -9 $! 2>/dev/null; wait"#;

impl Service {
    /// Starts a program that writes its output to `log`.
    pub fn start(command: &Command, log: &Path) -> Self {
        let mut keeper = Command::new("/bin/sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(log).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => keeper.env(name, value),
                None => keeper.env_remove(name),
            };
        }
        let mut keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pipe = keeper.stdin.take();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        Self { keeper, pipe, pid, log: log.to_owned() }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero()))
            .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
    }

    /// Asks it to end, and gives it some time for that.
    pub fn stop(&self) {
        // Where it does not heed, it is killed in the end.
        let _ = kill_process(self.pid, Signal::TERM);
        comes_about(Duration::from_secs(10), || self.has_ended());
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for a word in its output and returns what follows it on that line.
    pub fn await_output(&self, word: &str) -> String {
        until_some(&format!("{word:?} in {}", self.log.display()), || {
            let log = self.log();
            assert!(!self.has_ended(), "the program has ended:\n{log}");
            let (_, rest) = log.split_once(word)?;
            rest.split_once('\n').map(|(line, _)| line.to_owned())
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.pipe.take();
        let _ = self.keeper.wait();
    }
}

/// A folder that outlives the tests which share it and is removed when this process ends.
pub fn shared_folder() -> PathBuf {
    static KEEPERS: std::sync::Mutex<Vec<Child>> = std::sync::Mutex::new(Vec::new());
    let folder = tempfile::tempdir().unwrap().keep();
    let keeper = Command::new("/bin/sh")
        .args(["-c", r#"read -r _; rm -rf -- "$1""#, "sh"])
        .arg(&folder)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    KEEPERS.lock().unwrap().push(keeper);
    folder
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}
