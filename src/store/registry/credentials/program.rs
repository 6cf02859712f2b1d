//! Runs a credential program: some bytes in, bounded bytes out, within a time limit. Whatever it started goes with it,
//! at the end, past the limit, and when nobody waits any more. What it writes to stderr is not read: it may hold secrets.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::limits;
use crate::secret::Secret;
use crate::trust;

/// Runs programs, at most [`limits::PROGRAMS`] at once.
pub(super) struct Programs(Semaphore);

/// What to run.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
    /// Added to our own environment.
    pub(super) environment: Vec<(String, Secret)>,
}

/// What came of it.
pub(super) struct Ran {
    /// Whether it exited with 0.
    pub(super) success: bool,
    /// How it ended, in words.
    pub(super) ended: String,
    pub(super) output: Zeroizing<Vec<u8>>,
}

impl Programs {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(limits::PROGRAMS))
    }

    /// Runs a program that only root, or this user, can have put there.
    ///
    /// # Errors
    /// Why there is no whole answer; without anything that the program said.
    pub(super) async fn run(&self, program: Program, input: &[u8]) -> Result<Ran, String> {
        let _permit = self.0.acquire().await.map_err(|error| error.to_string())?;
        let path = program.path.clone();
        let checked = tokio::task::spawn_blocking(move || trust::check(&path)).await;
        checked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        match timeout(limits::PROGRAM_TIMEOUT, run(&program, input)).await {
            Ok(ran) => ran.map_err(|cause| format!("{}: {cause}", program.path.display())),
            Err(_) => {
                let limit = limits::PROGRAM_TIMEOUT.as_secs();
                Err(format!("{}: killed, it had not ended after {limit} s", program.path.display()))
            }
        }
    }
}

async fn run(program: &Program, input: &[u8]) -> Result<Ran, String> {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).envs(program.environment.iter().map(|(name, value)| (name, value.expose())));
    for name in SYSTEMD {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A group of its own, so that all that it starts can be killed with it.
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot be run: {error}"))?;
    let _group = Group::of(&child);
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program need not read what it is given.
            let _ = stdin.write_all(input).await;
        }
    };
    let read = async {
        let mut output = Zeroizing::new(Vec::with_capacity(4096));
        if let Some(stdout) = stdout {
            let mut stdout = stdout.take(limits::PROGRAM_OUTPUT_BYTES.saturating_add(1));
            stdout.read_to_end(&mut output).await.map_err(|error| format!("cannot be read from: {error}"))?;
        }
        Ok::<_, String>(output)
    };
    let ((), output) = tokio::join!(write, read);
    let output = output?;
    if u64::try_from(output.len()).map_or(true, |bytes| bytes > limits::PROGRAM_OUTPUT_BYTES) {
        return Err(format!("printed more than {} bytes", limits::PROGRAM_OUTPUT_BYTES));
    }
    let status = child.wait().await.map_err(|error| format!("cannot be waited for: {error}"))?;
    Ok(Ran { success: status.success(), ended: status.to_string(), output })
}

/// A process group that is killed when this goes out of scope.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // There is no such group any more where the program left nothing behind.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// The first program of this name in the absolute directories of a `PATH`.
pub(super) fn look_up(name: &str, path: &str) -> Option<PathBuf> {
    let folders = path.split(':').map(Path::new).filter(|folder| folder.is_absolute());
    let candidates = folders.map(|folder| folder.join(name));
    // Who may not run it learns that when it is run.
    candidates.into_iter().find(|candidate| candidate.is_file())
}

/// What systemd tells this process alone (sd_notify(3), sd_listen_fds(3)).
const SYSTEMD: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::{Duration, Instant};

    use crate::store::registry::credentials::testing::Scripts;

    async fn run(scripts: &Scripts, text: &str, input: &str) -> Result<(bool, String), String> {
        let path = scripts.put("program", text);
        let program = Program { path, arguments: vec!["get".to_owned()], environment: Vec::new() };
        let ran = Programs::new().run(program, input.as_bytes()).await?;
        Ok((ran.success, String::from_utf8_lossy(&ran.output).into_owned()))
    }

    #[tokio::test]
    async fn a_program_gets_its_arguments_and_input_and_its_output_comes_back_whatever_its_exit_code() {
        let scripts = Scripts::new();
        let echo = "#!/bin/sh\necho secret >&2\nread line\necho \"$1 $line\"\n";
        assert_eq!(run(&scripts, echo, "hello").await, Ok((true, "get hello\n".to_owned())));
        assert_eq!(run(&scripts, &format!("{echo}exit 3\n"), "x").await, Ok((false, "get x\n".to_owned())));
        assert_eq!(run(&scripts, "#!/bin/sh\nexit 0\n", &"x".repeat(200_000)).await, Ok((true, String::new())));
    }

    #[tokio::test]
    async fn output_at_the_limit_is_taken_and_one_byte_more_is_an_error_that_does_not_repeat_it() {
        let scripts = Scripts::new();
        let print = |bytes: u64| format!("#!/bin/sh\nhead -c {bytes} /dev/zero | tr '\\0' s\n");
        let (success, output) = run(&scripts, &print(limits::PROGRAM_OUTPUT_BYTES), "").await.unwrap();
        assert!(success && output.len() as u64 == limits::PROGRAM_OUTPUT_BYTES);
        let error = run(&scripts, &print(limits::PROGRAM_OUTPUT_BYTES + 1), "").await.unwrap_err();
        assert!(error.ends_with("program: printed more than 262144 bytes"), "{error}");
        let endless = "#!/bin/sh\nwhile :; do echo sssssssssssssssssss; done\n";
        assert!(run(&scripts, endless, "").await.unwrap_err().contains("printed more than"));
    }

    /// Waits until a process is gone; a test's runner ends it where that never happens.
    async fn gone(pid: &str) {
        let stat = format!("/proc/{pid}/stat");
        // Whoever waits for it may be late: a zombie is gone as well.
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_past_its_time_with_all_that_it_started() {
        let scripts = Scripts::new();
        let pids = scripts.path("pids");
        let hangs = format!("#!/bin/sh\nsleep 1000 &\necho $$ $! >{}\nwait\n", pids.display());
        let start = Instant::now();
        let error = run(&scripts, &hangs, "").await.unwrap_err();
        assert!(error.ends_with("program: killed, it had not ended after 5 s"), "{error}");
        assert!(start.elapsed() >= limits::PROGRAM_TIMEOUT && start.elapsed() < 2 * limits::PROGRAM_TIMEOUT);
        for pid in fs::read_to_string(&pids).unwrap().split_whitespace() {
            gone(pid).await;
        }
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_is_killed_and_so_is_all_of_it_when_nobody_waits_any_more() {
        let scripts = Scripts::new();
        let pids = scripts.path("pids");
        let leaves = format!("#!/bin/sh\nsleep 1000 >/dev/null 2>&1 &\necho $! >{}\necho done\n", pids.display());
        assert_eq!(run(&scripts, &leaves, "").await, Ok((true, "done\n".to_owned())));
        gone(fs::read_to_string(&pids).unwrap().trim()).await;

        let hangs = format!("#!/bin/sh\nsleep 1000 &\necho $$ $! >{}\nwait\n", pids.display());
        fs::remove_file(&pids).unwrap();
        let waits = run(&scripts, &hangs, "");
        let started = async {
            while fs::read_to_string(&pids).map_or(true, |text| !text.ends_with('\n')) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = waits => panic!("it hangs"),
            () = started => {}
        }
        for pid in fs::read_to_string(&pids).unwrap().split_whitespace() {
            gone(pid).await;
        }
    }

    #[tokio::test]
    async fn a_program_that_others_can_change_or_that_is_not_there_is_not_run() {
        use std::os::unix::fs::PermissionsExt as _;
        let scripts = Scripts::new();
        let path = scripts.put("program", "#!/bin/sh\necho ran\n");
        let program = Program { path: path.clone(), arguments: Vec::new(), environment: Vec::new() };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Programs::new().run(program.clone(), b"").await.err().unwrap();
        assert!(error.contains("can be written by everybody"), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(Programs::new().run(program, b"").await.err().unwrap().contains("No such file"));
    }

    #[test]
    fn programs_are_looked_up_in_absolute_directories_alone_and_the_first_one_counts() {
        let scripts = Scripts::new();
        let path = scripts.put("program", "");
        let folder = path.parent().unwrap().display().to_string();
        assert_eq!(look_up("program", &format!(":.:relative:/nonexistent:{folder}")), Some(path));
        assert_eq!(look_up("other", &folder), None);
        assert_eq!(look_up("program", "."), None);
    }
}
