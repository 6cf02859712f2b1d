//! One program under way: started with nothing of ours but three pipes, bounded, and killed with all that it started, at
//! its end, past its time, and when nobody waits any more.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::limits;
use crate::report::Fault;
use crate::runner::user::User;
use crate::runner::{Program, Ran, environment};
use crate::verdict::Class;

/// Runs a program until then. `user` is whom it runs as; none: this process's own, which is a runner's.
pub(super) async fn run(program: &Program, user: Option<User>, until: Instant) -> Result<Ran, Fault> {
    let start = Instant::now();
    let mut running = start_as(program, user).await.map_err(|error| Fault::new(format!("cannot be run: {error}")))?;
    let (stdin, stdout, stderr) =
        (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program need not read what it is given.
            let _ = stdin.write_all(&program.input).await;
        }
        Ok(())
    };
    let end = async {
        let status =
            running.child.wait().await.map_err(|error| Fault::new(format!("cannot be waited for: {error}")))?;
        // What it leaves behind would hold its output open.
        running.group.kill();
        Ok(status)
    };
    let output = bounded(stdout, "printed", limits::PLUGIN_OUTPUT_BYTES);
    let errors = bounded(stderr, "wrote to stderr", limits::PLUGIN_ERROR_BYTES);
    match timeout_at(until, async { tokio::try_join!(end, write, output, errors) }).await {
        Ok(Ok((status, (), output, errors))) => {
            Ok(Ran { code: status.code(), ended: in_words(status), output, errors })
        }
        Ok(Err(fault)) => Err(fault),
        Err(_) => {
            let took = start.elapsed().as_millis();
            Err(Fault::of(Class::Time, format!("killed, it had not ended after {took} ms")))
        }
    }
}

async fn bounded(stream: Option<impl AsyncRead + Unpin>, did: &str, limit: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let read = stream.take(limit.saturating_add(1)).read_to_end(&mut bytes).await;
        read.map_err(|error| Fault::new(format!("cannot be read from: {error}")))?;
    }
    if u64::try_from(bytes.len()).map_or(true, |bytes| bytes > limit) {
        return Err(Fault::of(Class::Malformed, format!("killed, it {did} more than {limit} bytes")));
    }
    Ok(bytes)
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// A program that was started. Killed when this goes out of scope.
struct Running {
    // In this order: the group goes before its leader is waited for.
    group: Group,
    child: Child,
}

/// Starts a program from a thread of its own, which gives up every way to more rights first: that is passed on to what
/// it starts (prctl(2), `PR_SET_NO_NEW_PRIVS`), and to nothing else here.
async fn start_as(program: &Program, user: Option<User>) -> std::io::Result<Running> {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).env_clear().envs(environment()).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that all that it starts can be killed with it.
    command.process_group(0).kill_on_drop(true);
    if let Some(user) = user {
        // The standard library takes all other groups away with it.
        command.uid(user.uid).gid(user.gid);
    }
    let (tell, told) = oneshot::channel();
    let runtime = Handle::current();
    std::thread::Builder::new().name("plugin".to_owned()).spawn(move || {
        let _runtime = runtime.enter();
        let started = rustix::thread::set_no_new_privs(true).map_err(Into::into).and_then(|()| command.spawn());
        let running = started.map(|child| {
            let group = Group::of(&child);
            group.limit();
            Running { group, child }
        });
        // Where nobody waits any more, what was started goes with the message.
        let _ = tell.send(running);
    })?;
    told.await.map_err(std::io::Error::other)?
}

/// A process group that is killed when this goes out of scope.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Bounds its leader, and with it whatever that one starts from here on.
    fn limit(&self) {
        let most = |most| Rlimit { current: Some(most), maximum: Some(most) };
        for (resource, bound) in [
            (Resource::Core, 0),
            (Resource::Data, limits::PLUGIN_MEMORY_BYTES),
            (Resource::Nofile, limits::PLUGIN_OPEN_FILES),
            // What escapes from its group ends by itself, sooner or later.
            (Resource::Cpu, limits::PLUGIN_TIMEOUT_MAX.as_secs()),
        ] {
            // It may have ended already.
            let _ = rustix::process::prlimit(self.0, resource, most(bound));
        }
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            // There is no such group any more where the program left nothing behind.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
