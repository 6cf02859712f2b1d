//! One program under way: started with nothing of ours but three pipes, bounded, and killed with all that it started, at
//! its end, past its time, and when nobody waits any more.

use std::fs::Permissions;
use std::future::pending;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::limits;
use crate::report::Fault;
use crate::runner::keeper::{self, Kept};
use crate::runner::sandbox::{self, Confined};
use crate::runner::user::User;
use crate::runner::{Program, Ran, Sandbox, environment, removal};
use crate::verdict::Class;

/// Runs a program until then. `user` is whom it runs as; none: this process's own, which is a runner's.
pub(super) async fn run(program: &Program, user: Option<User>, until: Instant) -> Result<Ran, Fault> {
    let start = Instant::now();
    let mut running = begin(program, user, until).await?;
    let (stdin, stdout, stderr) =
        (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program need not read what it is given.
            let _ = stdin.write_all(&program.input).await;
        }
        Ok(())
    };
    let (child, group) = (&mut running.child, &running.group);
    let (excess, over) = running.keeper.as_mut().map(|keeper| (&mut keeper.excess, &mut keeper.end)).unzip();
    let end = async {
        let status = child.wait().await.map_err(|error| Fault::new(format!("cannot be waited for: {error}")))?;
        // What it leaves behind would hold its output open.
        group.kill();
        drop(over.and_then(Option::take));
        Ok(status)
    };
    let excess = async {
        match excess {
            Some(excess) => match excess.await {
                Ok(excess) => excess,
                Err(_) => pending().await,
            },
            None => pending().await,
        }
    };
    let output = bounded(stdout, "printed", program.most_output.min(limits::PLUGIN_OUTPUT_MAX));
    let errors = bounded(stderr, "wrote to stderr", limits::PLUGIN_ERROR_BYTES);
    let ran = tokio::select! {
        biased;
        excess = excess => Ok(Err(Fault::of(Class::Malformed, excess))),
        ran = timeout_at(until, async { tokio::try_join!(end, write, output, errors) }) => ran,
    };
    let ran = match ran {
        Ok(Ok((status, (), output, errors))) => {
            Ok(Ran { code: status.code(), ended: in_words(status), output, errors })
        }
        Ok(Err(fault)) => Err(fault),
        Err(_) => {
            let took = start.elapsed().as_millis();
            Err(Fault::of(Class::Time, format!("killed, it had not ended after {took} ms")))
        }
    };
    running.clear().await;
    ran
}

/// Starts a program. One that somebody is still writing is tried again: whoever lays it in is about to be done.
async fn begin(program: &Program, user: Option<User>, until: Instant) -> Result<Running, Fault> {
    loop {
        let again = Instant::now().checked_add(limits::PLUGIN_BUSY).filter(|again| *again < until);
        match (start_as(program, user).await, again) {
            (Ok(running), _) => return Ok(running),
            (Err(error), Some(again)) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                sleep_until(again).await
            }
            (Err(error), _) if error.kind() == std::io::ErrorKind::NotFound && program.path.exists() => {
                return Err(Fault::new(
                    "cannot be run: what runs it is not on this node: the interpreter that its first line names, or its \
                     dynamic loader (link it statically)",
                ));
            }
            (Err(error), _) => return Err(Fault::new(format!("cannot be run: {error}"))),
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
    // In this order: the group goes before its leader is waited for, and what it has written after both.
    group: Group,
    child: Child,
    keeper: Option<Keeper>,
}

/// The thread that looks after a confined program, for as long as this is there.
struct Keeper {
    leader: Pid,
    /// What the program has taken too much of.
    excess: oneshot::Receiver<String>,
    /// Hung up once all of it is to be gone.
    end: Option<Sender<()>>,
    /// Hung up once it is.
    gone: Option<oneshot::Receiver<()>>,
    folder: Option<TempDir>,
}

impl Running {
    /// Kills what there is of it, and takes its folder away.
    async fn clear(mut self) {
        self.group.kill();
        if let Some(cleared) = self.keeper.as_mut().and_then(Keeper::clear) {
            cleared.await;
        }
    }
}

impl Keeper {
    /// What has it all gone, once.
    fn clear(&mut self) -> Option<impl Future<Output = ()> + use<>> {
        self.end.take();
        let (gone, folder, leader) = (self.gone.take()?, self.folder.take(), self.leader);
        Some(async move {
            // Where nothing began after it, nothing else of it is there to write into its folder.
            if keeper::last() != Some(leader.as_raw_nonzero().get()) {
                let _ = gone.await;
            }
            if let Some(folder) = folder.and_then(|folder| removal::remove(folder, removal::FEW)) {
                // Where it cannot be waited for it goes on by itself.
                let _ = spawn_blocking(move || removal::remove(folder, u64::MAX)).await;
            }
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Where nobody waits for it: whatever still runs would write into a folder that is being taken away.
        if let (Some(cleared), Ok(runtime)) = (self.clear(), Handle::try_current()) {
            runtime.spawn(cleared);
        }
    }
}

/// Makes a program's own folder, and lays out in it what it is given.
fn lay_out(sandbox: &Sandbox, user: Option<User>) -> std::io::Result<TempDir> {
    let folder =
        tempfile::Builder::new().prefix("ratifyd-plugin-").permissions(Permissions::from_mode(0o700)).tempdir()?;
    let own = |path: &Path| match user {
        Some(user) => chown(path, Some(user.uid), Some(user.gid)),
        None => Ok(()),
    };
    for (name, bytes) in &sandbox.files {
        let mut place = folder.path().to_owned();
        let mut parts = name.split('/').peekable();
        while let Some(part) = parts.next() {
            if part.is_empty() || part.starts_with('.') {
                return Err(std::io::Error::other(format!("{name:?} is no path below a plugin's folder")));
            }
            place.push(part);
            if parts.peek().is_some() && !place.is_dir() {
                std::fs::create_dir(&place)?;
                own(&place)?;
            }
        }
        std::fs::write(&place, bytes)?;
        own(&place)?;
    }
    own(folder.path())?;
    Ok(folder)
}

const NOT_CONFINED: &str =
    "the kernel cannot confine it wholly (it needs Landlock as of Linux 6.12), and plugins.sandbox is \"strict\"";

/// Starts a program from a thread of its own, which gives up every way to more rights first: that is passed on to what
/// it starts (prctl(2), `PR_SET_NO_NEW_PRIVS`), and to nothing else here. That thread looks after it to its end.
async fn start_as(program: &Program, user: Option<User>) -> std::io::Result<Running> {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).env_clear().envs(environment()).envs(&program.environment).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that all that it starts can be killed with it.
    command.process_group(0).kill_on_drop(true);
    if let Some(user) = user {
        // The standard library takes all other groups away with it.
        command.uid(user.uid).gid(user.gid);
    }
    let (tell, told) = oneshot::channel();
    let (lay, mut laid) = oneshot::channel();
    let runtime = Handle::current();
    let (path, sandbox) = (program.path.clone(), program.sandbox.clone());
    let nursery = sandbox.as_ref().and_then(|sandbox| nursery(sandbox.network));
    let has_calls = nursery.is_none();
    let work = move || {
        let _runtime = runtime.enter();
        // Where nobody waits any more, what was started goes with the message.
        let _ = match sandbox {
            None => tell.send(given_up().and_then(|()| spawn(&mut command))),
            Some(sandbox) => match confined(&mut command, &path, &sandbox, user, has_calls, lay) {
                Err(error) => tell.send(Err(error)),
                Ok((running, kept, looks)) => {
                    let told = tell.send(Ok(running));
                    looks.after(&kept);
                    told
                }
            },
        };
    };
    match nursery {
        // Where it is gone, the work goes, and there is nothing to be told.
        Some(nursery) => drop(nursery.send(Box::new(work))),
        None => drop(thread("plugin").spawn(work)?),
    }
    let told = told.await.map_err(|_| std::io::Error::other("there is no thread for it"))?;
    // Where nothing was started, its folder goes here: the thread that made it may not remove it any more.
    let folder = laid.try_recv().ok();
    told.map(|mut running| {
        if let Some(keeper) = &mut running.keeper {
            keeper.folder = folder;
        }
        running
    })
}

/// Where threads for programs are started, by whether these may reach others: threads that have given up already the calls
/// that such a program may not make. A thread hands that on to the threads that it starts, and having the kernel compile it
/// for each takes as long as a small program. None where the kernel cannot do it, or could not at first.
fn nursery(network: bool) -> Option<&'static Sender<Work>> {
    static ALONE: LazyLock<Option<Sender<Work>>> = LazyLock::new(|| found(false));
    static WITH_NETWORK: LazyLock<Option<Sender<Work>>> = LazyLock::new(|| found(true));
    if network { WITH_NETWORK.as_ref() } else { ALONE.as_ref() }
}

type Work = Box<dyn FnOnce() + Send>;

fn found(network: bool) -> Option<Sender<Work>> {
    let ((ask, asked), (tell, told)) = (channel::<Work>(), channel());
    let serve = move || {
        let _ = tell.send(given_up().and_then(|()| sandbox::refuse(network)).is_ok());
        for work in asked {
            // Where there is none, the work goes, and whoever waits for it is told.
            let _ = thread("plugin").spawn(work);
        }
    };
    thread("plugins").spawn(serve).ok()?;
    told.recv().ok()?.then_some(ask)
}

fn thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned())
}

/// The other ends of a [`Keeper`].
struct Looks {
    excess: oneshot::Sender<String>,
    end: Receiver<()>,
    _gone: oneshot::Sender<()>,
}

impl Looks {
    fn after(self, kept: &Kept) {
        if let Some(excess) = kept.watch(&self.end) {
            // Before it is killed: that it was says less.
            let _ = self.excess.send(excess);
        }
        kept.sweep();
    }
}

/// Starts a program that is confined, with this thread.
fn confined(
    command: &mut Command,
    path: &Path,
    sandbox: &Sandbox,
    user: Option<User>,
    has_calls: bool,
    lay: oneshot::Sender<TempDir>,
) -> std::io::Result<(Running, Kept, Looks)> {
    let folder = lay_out(sandbox, user)?;
    let place = folder.path().to_owned();
    lay.send(folder).map_err(|_| std::io::Error::other("nobody waits for it"))?;
    command.current_dir(&place).env("HOME", &place).env("TMPDIR", &place);
    given_up()?;
    let confined = sandbox::enter(path, &place, sandbox.network)?;
    if confined == Confined::Partly && sandbox.strict {
        return Err(std::io::Error::other(NOT_CONFINED));
    }
    if has_calls {
        sandbox::refuse(sandbox.network)?;
    }
    let alone = keeper::reaches_nobody();
    let running = spawn(command)?;
    let leader = running.group.0.ok_or_else(|| std::io::Error::other("it has no number"))?;
    let uid = user.map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid);
    let ((excess, exceeds), (hang_up, end), (gone, is_gone)) = (oneshot::channel(), channel(), oneshot::channel());
    let keeper = Keeper { leader, excess: exceeds, end: Some(hang_up), gone: Some(is_gone), folder: None };
    let kept = Kept::new(leader, uid, place, confined, alone);
    Ok((Running { keeper: Some(keeper), ..running }, kept, Looks { excess, end, _gone: gone }))
}

fn given_up() -> std::io::Result<()> {
    rustix::thread::set_no_new_privs(true).map_err(Into::into)
}

fn spawn(command: &mut Command) -> std::io::Result<Running> {
    let child = command.spawn()?;
    let group = Group::of(&child);
    group.limit();
    Ok(Running { group, child, keeper: None })
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
            (Resource::Fsize, limits::PLUGIN_WRITTEN_BYTES),
            (Resource::Nproc, limits::PLUGINS_PROCESSES),
            // What escapes from its group, where nobody looks after it, ends by itself, sooner or later.
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
