//! Looks after a confined program from the thread that it was started from: how much memory and disk all of it takes
//! together, and that none of it is left. Landlock lets that thread signal nothing but what it started, whatever became of
//! its group and its parents, so that no other process is ever taken for the program's.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::limits;
use crate::runner::mappings::{BLOCK, Mapping};
use crate::runner::sandbox::Confined;

/// A program that is looked after.
pub(super) struct Kept {
    /// Its first process, which leads its group.
    pub leader: Pid,
    /// Whose it is.
    pub uid: u32,
    /// The folder that it writes into.
    pub folder: PathBuf,
    /// How far it is confined.
    pub confined: Confined,
    /// Whether this thread can signal nothing but what it started.
    alone: bool,
    /// The number that was given out last when it was last looked for; none once numbers say nothing any more.
    newest: Cell<Option<i32>>,
}

impl Kept {
    /// One that has just begun. `alone` says whether this thread could signal nobody before: see [`reaches_nobody`].
    pub fn new(leader: Pid, uid: u32, folder: PathBuf, confined: Confined, alone: bool) -> Self {
        Self { leader, uid, folder, confined, alone, newest: Cell::new(Some(leader.as_raw_nonzero().get())) }
    }

    /// Looks until nobody is there any more to be told, or until the program has taken too much, and says of what.
    pub fn watch(&self, ended: &Receiver<()>) -> Option<String> {
        // Soon at first: what goes wrong goes wrong fast.
        let mut next = limits::PLUGIN_WATCH / 16;
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(next) {
            let excess = self.excess();
            if excess.is_some() {
                return excess;
            }
            next = next.saturating_mul(2).min(limits::PLUGIN_WATCH);
        }
        None
    }

    /// Kills all of it, and waits for its end.
    pub fn sweep(&self) {
        let start = Instant::now();
        let mut calm = 0;
        // Where it is killed as a whole, nothing of it begins from then on.
        let needed = if self.kill_at_once() { 1 } else { CALM };
        while calm < needed && start.elapsed() <= limits::PLUGIN_LAST {
            let before = last();
            let left = self.tasks();
            if left.is_empty() {
                // Where nothing began meanwhile there is nothing. Else one may have started another and ended while it
                // was looked for: that is not so each time.
                calm = if before.is_some() && last() == before { CALM } else { calm.saturating_add(1) };
                continue;
            }
            calm = 0;
            // Whole groups first, which cannot outrun it. It may have ended by itself.
            let groups: HashSet<_> = left.iter().map(|task| task.group).collect();
            let led = |group: &&i32| left.iter().any(|task| task.process.as_raw_nonzero().get() == **group);
            for group in groups.iter().filter(led).copied().filter_map(Pid::from_raw) {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            for task in left {
                let _ = rustix::process::kill_process(task.process, Signal::KILL);
            }
            thread::park_timeout(limits::PLUGIN_WATCH / 100);
        }
    }

    /// Kills all of it in one step, which no fork outruns: every process that this thread may signal, which is all that the
    /// thread started and nothing else (kill(2), -1; landlock(7), `LANDLOCK_SCOPE_SIGNAL`). Tells whether it could.
    fn kill_at_once(&self) -> bool {
        // Nobody is killed by mistake: it was seen before that everybody is out of reach, and init still is.
        let is_out_of_reach = || rustix::process::test_kill_process(Pid::INIT) == Err(Errno::PERM);
        if !self.alone || self.confined != Confined::Wholly || !is_out_of_reach() {
            return false;
        }
        // This is how the crate writes it: minus one is the group of init.
        !matches!(rustix::process::kill_process_group(Pid::INIT, Signal::KILL), Err(error) if error != Errno::SRCH)
    }

    fn excess(&self) -> Option<String> {
        self.within().err()
    }

    fn within(&self) -> Result<(), String> {
        let tasks = self.tasks();
        if u64::try_from(tasks.len()).is_ok_and(|count| count > limits::PLUGIN_PROCESSES) {
            return Err(format!("killed, it started more than {} processes and threads", limits::PLUGIN_PROCESSES));
        }
        let Held { shared, unnamed } = self.held(&tasks)?;
        let shared = sum(shared.into_values().map(|(parts, whole)| parts.max(whole)));
        let most = limits::PLUGIN_MEMORY_BYTES.saturating_sub(shared);
        if shared > limits::PLUGIN_MEMORY_BYTES || sum(memory(&tasks).into_values()) > most && self.is_hungry(most) {
            return Err(format!("killed, it took more than {} bytes of memory", limits::PLUGIN_MEMORY_BYTES));
        }
        let (entries, bytes) = self.written()?;
        if entries > limits::PLUGIN_FOLDER_ENTRIES {
            return Err(format!("killed, it wrote more than {} files", limits::PLUGIN_FOLDER_ENTRIES));
        }
        if sum(unnamed.into_values().chain([bytes])) > limits::PLUGIN_FOLDER_BYTES {
            return Err(format!("killed, its files came to more than {} bytes", limits::PLUGIN_FOLDER_BYTES));
        }
        Ok(())
    }

    /// Whether it has more memory than that, each part of it counted once: what processes still have of their parent is
    /// shared among them. One that starts another has two processes with its memory for a moment, so more than one is looked at.
    fn is_hungry(&self, most: u64) -> bool {
        (0..HUNGRY_LOOKS).all(|_| {
            thread::park_timeout(limits::PLUGIN_WATCH / 32);
            let tasks = self.tasks();
            let of = memory(&tasks).into_iter().map(|(process, quick)| proportional(process).unwrap_or(quick));
            sum(of) > most
        })
    }

    fn held(&self, tasks: &[Task]) -> Result<Held, String> {
        let (mut held, mut parts, mut sizes) = (Held::default(), HashSet::new(), HashMap::new());
        let (mut looked, mut lists) = (HashSet::new(), 0_u64);
        for task in tasks {
            // Threads of one process have one memory. One that ends has none any more.
            if looked.contains(&task.process) {
                continue;
            }
            let (mappings, bytes) = self.looked_into(task.id, Mapping::of(task.id))?;
            lists = lists.saturating_add(bytes);
            if lists > limits::PLUGIN_MAPS_BYTES_IN_ALL {
                return Err("killed, it has more in its memory than can be looked through".to_owned());
            }
            if !mappings.is_empty() {
                looked.insert(task.process);
            }
            for mapping in mappings {
                let whole = *sizes.entry(mapping.file).or_insert_with(|| mapping.held(task.id));
                if mapping.is_memory {
                    let shared = held.shared.entry(mapping.file).or_default();
                    // A child has what its parent has.
                    let is_new = parts.insert((mapping.file, mapping.offset, mapping.length));
                    shared.0 = shared.0.saturating_add(if is_new { mapping.length } else { 0 });
                    shared.1 = shared.1.max(whole.unwrap_or(0));
                }
                if mapping.is_unnamed {
                    // Where nobody says how large it is, as large as it may be.
                    let bytes = whole.unwrap_or_else(|| mapping.length.max(limits::PLUGIN_WRITTEN_BYTES));
                    held.unnamed.insert(mapping.file, bytes);
                }
            }
        }
        // What is open is known better. A thread may have files open that no other thread of its process has.
        let mut open = 0_usize;
        for task in tasks {
            let (unnamed, files) = self.looked_into(task.id, task.unnamed())?;
            open = open.saturating_add(files);
            if open > limits::PLUGIN_OPEN_FILES_IN_ALL {
                return Err("killed, it has more files open than can be looked through".to_owned());
            }
            held.unnamed.extend(unnamed);
        }
        Ok(held)
    }

    /// What was found in a thread, which may have ended. One that cannot be looked into where others can hides something.
    fn looked_into<T: Default>(&self, task: Pid, found: io::Result<T>) -> Result<T, String> {
        found.or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(T::default()),
            _ if error.raw_os_error() == Some(libc::ESRCH) => Ok(T::default()),
            // To look into another user's takes a right that not every root has (CAP_SYS_PTRACE).
            io::ErrorKind::PermissionDenied if self.uid != rustix::process::geteuid().as_raw() => Ok(T::default()),
            // Once it has given up its memory it is root's, until it is gone.
            io::ErrorKind::PermissionDenied if Stat::of(task).is_none_or(|now| now.is_ending()) => Ok(T::default()),
            _ => Err(format!("killed, one of its processes cannot be looked into: {error}")),
        })
    }

    /// How many files and folders there are in its folder, and how many bytes they take; no more than is too many.
    fn written(&self) -> Result<(usize, u64), String> {
        let mut least = None;
        for _ in 0..limits::PLUGIN_FOLDER_LOOKS {
            let looked = self.look_through();
            match looked.map_err(|error| format!("killed, its folder cannot be looked into: {error}"))? {
                Some(Looked { entries, bytes, gone: 0 }) => return Ok((entries, bytes)),
                // What is not where it was may be where it was not looked for any more, and as large as a file can be.
                Some(Looked { entries, bytes, gone }) => {
                    let bytes = bytes.saturating_add(limits::PLUGIN_WRITTEN_BYTES.saturating_mul(gone));
                    least = least.into_iter().chain([(entries, bytes)]).min_by_key(|(_, bytes)| *bytes);
                }
                // It may be gone as a whole by now.
                None if !self.folder.exists() => return Ok((0, 0)),
                None => (),
            }
        }
        let faster = || "killed, its files come and go faster than they can be counted".to_owned();
        least.filter(|(_, bytes)| *bytes <= limits::PLUGIN_FOLDER_BYTES).ok_or_else(faster)
    }

    /// One look at its folder; none where a folder went away meanwhile, with whatever was in it.
    fn look_through(&self) -> io::Result<Option<Looked>> {
        let (mut entries, mut bytes, mut gone) = (0_usize, 0_u64, 0_u64);
        let mut several = HashSet::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            let Some(found) = still_there(fs::read_dir(folder))? else { return Ok(None) };
            for entry in found {
                entries = entries.saturating_add(1);
                if entries > limits::PLUGIN_FOLDER_ENTRIES {
                    return Ok(Some(Looked { entries, bytes, gone: 0 }));
                }
                let entry = entry?;
                let Some(found) = still_there(entry.metadata())? else {
                    if still_there(entry.file_type())?.is_none_or(|kind| kind.is_dir()) {
                        return Ok(None);
                    }
                    gone = gone.saturating_add(1);
                    continue;
                };
                // A file of several names has its bytes once.
                if found.nlink() > 1 && found.is_file() && !several.insert((found.dev(), found.ino())) {
                    continue;
                }
                bytes = bytes.saturating_add(found.blocks().saturating_mul(BLOCK));
                if found.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        Ok(Some(Looked { entries, bytes, gone }))
    }

    /// What there is of it, thread by thread: those of a process may go on when its first one has ended.
    fn tasks(&self) -> Vec<Task> {
        let own = rustix::process::getpid();
        let found = self.candidates().into_iter().filter_map(Pid::from_raw);
        let found = found.filter_map(|id| Task::look(id, self.uid)).filter(|task| task.process != own);
        found.filter(|task| self.is_its(task)).collect()
    }

    fn is_its(&self, task: &Task) -> bool {
        match self.confined {
            Confined::Wholly => rustix::process::test_kill_process(task.process).is_ok(),
            Confined::Partly => task.group == self.leader.as_raw_nonzero().get(),
        }
    }

    /// The threads that began after it: numbers are given in turn, to them as to processes.
    fn candidates(&self) -> Vec<i32> {
        let first = self.leader.as_raw_nonzero().get();
        // Once there were many, or numbers began again, those of now do not say where to look.
        let now = last().filter(|last| *last < first.saturating_add(MANY));
        self.newest.set(now.zip(self.newest.get()).filter(|(now, newest)| now >= newest).map(|(now, _)| now));
        match self.newest.get() {
            Some(last) => (first..=last).collect(),
            None => {
                let mut processes = numbers("/proc");
                processes.retain(|id| is_of(*id, self.uid));
                processes.into_iter().flat_map(|id| numbers(&format!("/proc/{id}/task"))).collect()
            }
        }
    }
}

/// The processes, or threads, that have a folder there.
fn numbers(folder: &str) -> Vec<i32> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn is_of(task: i32, uid: u32) -> bool {
    fs::metadata(format!("/proc/{task}")).is_ok_and(|found| found.uid() == uid)
}

/// The bytes of memory of each process.
fn memory(tasks: &[Task]) -> HashMap<Pid, u64> {
    let mut memory = HashMap::new();
    for task in tasks {
        let most = memory.entry(task.process).or_default();
        *most = task.memory.max(*most);
    }
    memory
}

/// Whether this thread, which is confined and has not started anything yet, can signal nobody at all. Each process is
/// tried, the first time; it is the kernel that keeps to it, and does so from then on.
pub(super) fn reaches_nobody() -> bool {
    static NOBODY: OnceLock<bool> = OnceLock::new();
    let own = rustix::process::getpid();
    let others = || numbers("/proc").into_iter().filter_map(Pid::from_raw).filter(|id| *id != own);
    let denied = |id| matches!(rustix::process::test_kill_process(id), Err(Errno::PERM | Errno::SRCH));
    // Where /proc hides the others (hidepid), only who is not root need not see them: they are another user's.
    let sees = || !rustix::process::geteuid().is_root() || others().any(|id| id == Pid::INIT);
    *NOBODY.get_or_init(|| sees() && others().all(denied))
}

/// The number of the process, or thread, that began last (proc_loadavg(5)).
pub(super) fn last() -> Option<i32> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().last()?.parse().ok()
}

/// What was found in a folder.
#[derive(Debug)]
struct Looked {
    entries: usize,
    bytes: u64,
    /// Files that were not there any more when it came to them.
    gone: u64,
}

/// So often in a row nothing is found of a program before it counts as gone, where other programs begin meanwhile.
const CALM: u32 = 4;

/// So often in a row it is found to have too much memory before it counts as having it.
const HUNGRY_LOOKS: u32 = 4;

/// Above so many processes the list of those that there are is the shorter one.
const MANY: i32 = 2000;

fn sum(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}

fn still_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Device and number of a file.
type FileId = (u64, u64);

/// What processes hold that nobody else can find, by file.
#[derive(Default)]
struct Held {
    /// Bytes of memory that they share: of the parts that they have, and in all as far as that is told.
    shared: HashMap<FileId, (u64, u64)>,
    /// Bytes of files that have no name any more, or never had one.
    unnamed: HashMap<FileId, u64>,
}

/// A thread of the program's.
struct Task {
    id: Pid,
    /// That it belongs to; its first thread has the same number.
    process: Pid,
    group: i32,
    /// Bytes of memory that its process alone can have: not of files, and not what is shared as such.
    memory: u64,
}

impl Task {
    /// One of this user that has not ended.
    fn look(id: Pid, uid: u32) -> Option<Self> {
        if !is_of(id.as_raw_nonzero().get(), uid) {
            return None;
        }
        let stat = Stat::of(id).filter(|stat| !stat.has_ended)?;
        let (process, memory) = status(id)?;
        Some(Self { id, process, group: stat.group, memory })
    }

    /// The files that it has open and that have no name any more, or never had one: device, number and bytes of each; and
    /// how many it has open in all.
    fn unnamed(&self) -> io::Result<(HashMap<FileId, u64>, usize)> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.id.as_raw_nonzero()))?;
        // One may be closed by now.
        let files: Vec<_> = open.filter_map(|entry| fs::metadata(entry.ok()?.path()).ok()).collect();
        let unnamed = files.iter().filter(|found| found.is_file() && found.nlink() == 0);
        let unnamed = unnamed.map(|found| ((found.dev(), found.ino()), found.blocks().saturating_mul(BLOCK)));
        Ok((unnamed.collect(), files.len()))
    }
}

/// What the kernel tells everybody of a thread (proc_pid_stat(5)).
struct Stat {
    has_ended: bool,
    group: i32,
    /// Bytes of addresses in use; none once its memory is given up, which comes before it has ended.
    size: u64,
}

impl Stat {
    fn of(task: Pid) -> Option<Self> {
        let stat = text_of(task, "stat")?;
        // After the name: the state, its parent, its group, and as the 23rd the one about memory.
        let mut fields = stat.rsplit(')').next()?.split_whitespace();
        let has_ended = matches!(fields.next()?, "Z" | "X");
        let group = fields.nth(1)?.parse().ok()?;
        let size = fields.nth(17)?.parse().ok()?;
        Some(Self { has_ended, group, size })
    }

    fn is_ending(&self) -> bool {
        self.has_ended || self.size == 0
    }
}

/// The process of a thread, and the bytes of memory that this one alone can have, with the kernel's tables of it
/// (proc_pid_status(5)).
fn status(task: Pid) -> Option<(Pid, u64)> {
    let status = text_of(task, "status")?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()?;
    Some((Pid::from_raw(process)?, kibibytes(&status, &["RssAnon:", "VmSwap:", "VmPTE:"])))
}

/// The bytes of memory of a process, what it shares with others in equal parts (proc_pid_smaps(5), smaps_rollup); none
/// where it must not be looked into.
fn proportional(process: Pid) -> Option<u64> {
    let tables = kibibytes(&text_of(process, "status")?, &["VmPTE:"]);
    let found = text_of(process, "smaps_rollup")?;
    Some(kibibytes(&found, &["Pss_Anon:", "SwapPss:"]).saturating_add(tables))
}

/// The sum of some lines, in bytes.
fn kibibytes(text: &str, names: &[&str]) -> u64 {
    let of = |line: &str| {
        let found = names.iter().find_map(|name| line.strip_prefix(name))?;
        found.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    sum(text.lines().filter_map(of)).saturating_mul(1024)
}

/// What the kernel tells of a thread in a file, in which its name may be any bytes.
fn text_of(task: Pid, file: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{}/{file}", task.as_raw_nonzero())).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FallocateFlags, fallocate};

    use super::*;

    /// A program without processes, whose folder this is.
    fn of(folder: &tempfile::TempDir) -> Kept {
        let leader = rustix::process::getpid();
        Kept::new(leader, 64_999, folder.path().to_owned(), Confined::Partly, false)
    }

    #[test]
    fn files_at_the_limit_are_let_and_one_more_is_too_many_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        fs::create_dir(&below).unwrap();
        for number in 1..limits::PLUGIN_FOLDER_ENTRIES {
            fs::write(below.join(number.to_string()), "").unwrap();
        }
        assert_eq!(of(&folder).excess(), None);
        fs::write(folder.path().join("more"), "").unwrap();
        assert_eq!(of(&folder).excess().unwrap(), "killed, it wrote more than 4096 files");
    }

    #[test]
    fn bytes_at_the_limit_are_let_and_one_more_is_too_many_and_none_are_for_what_lies_elsewhere() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let put = |name: &str, bytes| {
            let file = fs::File::create(folder.path().join(name)).unwrap();
            fallocate(file, FallocateFlags::empty(), 0, bytes).unwrap();
        };
        fs::write(elsewhere.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("link")).unwrap();
        // File systems take a few blocks of their own for it.
        let own = limits::PLUGIN_FOLDER_BYTES / 256;
        put("most", limits::PLUGIN_FOLDER_BYTES - own);
        assert_eq!(of(&folder).excess(), None);
        put("more", 1 + own);
        assert_eq!(of(&folder).excess().unwrap(), "killed, its files came to more than 268435456 bytes");
    }

    #[test]
    fn what_is_gone_by_now_is_nothing_and_what_cannot_be_looked_into_is_too_much() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = of(&folder);
        kept.folder = folder.path().join("gone");
        assert_eq!(kept.excess(), None);
        fs::write(&kept.folder, "").unwrap();
        assert_eq!(kept.excess().unwrap(), "killed, its folder cannot be looked into: Not a directory (os error 20)");
    }

    #[test]
    fn a_process_that_hides_is_too_much_only_for_who_may_look_into_others() {
        let folder = tempfile::tempdir().unwrap();
        let another = of(&folder);
        let own = Kept { uid: rustix::process::geteuid().as_raw(), ..of(&folder) };
        let here = rustix::process::getpid();
        let found = |kept: &Kept, error| kept.looked_into::<Vec<u8>>(here, Err(io::Error::from_raw_os_error(error)));
        for kept in [&another, &own] {
            assert_eq!(found(kept, libc::ENOENT), Ok(vec![]));
            assert_eq!(found(kept, libc::ESRCH), Ok(vec![]));
            assert!(found(kept, libc::EIO).is_err());
        }
        assert_eq!(found(&another, libc::EACCES), Ok(vec![]));
        assert!(found(&own, libc::EACCES).unwrap_err().contains("killed, one of its processes cannot be looked into"));
    }

    #[test]
    fn a_process_that_has_given_up_its_memory_ends_and_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let own = Kept { uid: rustix::process::geteuid().as_raw(), ..of(&folder) };
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = Pid::from_child(&child);
        while !Stat::of(ended).unwrap().has_ended {
            thread::yield_now();
        }
        // This is what it is told of a process that nobody has waited for, unless it may look into root's.
        let denied = || Err(io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(own.looked_into::<Vec<u8>>(ended, denied()), Ok(vec![]));
        child.wait().unwrap();
        assert_eq!(own.looked_into::<Vec<u8>>(ended, denied()), Ok(vec![]));
    }

    #[test]
    fn threads_of_one_process_have_its_memory_once() {
        let (one, other) = (Pid::from_raw(10).unwrap(), Pid::from_raw(20).unwrap());
        let task = |id: Pid, process, memory| Task { id, process, group: 10, memory };
        let tasks = [task(one, one, 0), task(Pid::from_raw(11).unwrap(), one, 7), task(other, other, 5)];
        assert_eq!(memory(&tasks), HashMap::from([(one, 7), (other, 5)]));
    }

    #[test]
    fn files_that_go_away_while_they_are_counted_are_counted_again_and_not_for_ever() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let kept = of(&folder);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let below = |number: u32| folder.path().join(number.to_string());
                fs::create_dir(below(0)).unwrap();
                for number in 0.. {
                    fs::rename(below(number), below(number + 1)).unwrap();
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            // Every look ends, with one answer or the other.
            let looks: Vec<_> = (0..50).map(|_| kept.written()).collect();
            is_over.store(true, Ordering::Relaxed);
            let faster = "killed, its files come and go faster than they can be counted";
            assert!(looks.iter().all(|look| look.as_ref().err().is_none_or(|cause| cause == faster)), "{looks:?}");
        });
        assert_eq!(kept.written().unwrap().0, 1);
    }

    #[test]
    fn what_is_of_a_program_is_found_by_its_user_and_group() {
        use std::os::unix::process::CommandExt as _;
        let mut child = std::process::Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let leader = Pid::from_child(&child);
        let uid = rustix::process::geteuid().as_raw();
        let kept = Kept::new(leader, uid, "/nonexistent".into(), Confined::Partly, false);
        // What it has only just begun to use may not be told yet.
        let start = Instant::now();
        let mut found = kept.tasks();
        while found.iter().all(|task| task.memory == 0) && start.elapsed().as_secs() < 10 {
            thread::yield_now();
            found = kept.tasks();
        }
        let seen: Vec<_> = found.iter().map(|task| (task.process, task.memory > 0)).collect();
        assert_eq!(seen, [(leader, true)]);
        assert!(Kept { uid: 64_999, ..kept }.tasks().is_empty());
        let kept = Kept::new(leader, uid, "/nonexistent".into(), Confined::Partly, false);
        kept.sweep();
        assert!(kept.tasks().is_empty() && !child.wait().unwrap().success());
    }
}
