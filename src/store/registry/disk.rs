//! Manifests and blobs on disk, so that a restart does not fetch them again. It holds one file for each, named by a hash
//! of repository and descriptor; past its bounds the one longest unused goes first. Asked by the store between its
//! memory and the network.
//!
//! Nothing is believed because it lies here: what is read is checked against size and digest. Whatever is wrong with
//! the disk costs a fetch, a count and one warning, never a verdict, and a disk that hangs holds nobody up for longer
//! than [`limits::DISK_WAIT`].

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::artifact::{Descriptor, hex};
use crate::limits;
use crate::metrics::{Cache, Lookup, Metrics};
use crate::reference::Repository;
use crate::store::check;

/// A folder of content. All stores of a process share one.
pub struct Disk {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
}

struct Shared {
    folder: PathBuf,
    capacity: u64,
    // Never held while the disk is asked.
    index: Mutex<Index>,
    readers: Arc<Semaphore>,
    /// Whether the disk did not answer in time: as long as all seats are taken, nobody else waits for it.
    stuck: AtomicBool,
    /// Bytes that wait to be written.
    waiting: AtomicU64,
    temporary: AtomicU64,
    metrics: Arc<Metrics>,
    told: AtomicBool,
}

/// A file to be written.
struct Job {
    name: Name,
    bytes: Bytes,
}

/// The hash that names a file.
type Name = [u8; 32];

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("folder", &self.shared.folder).finish_non_exhaustive()
    }
}

impl Disk {
    /// A memory of at most `capacity` bytes in `folder`, which is made where it is not there. Asks the disk nothing
    /// yet: a thread of its own finds out what is there, and writes.
    #[must_use]
    pub fn open(folder: &Path, capacity: u64, metrics: Arc<Metrics>) -> Arc<Self> {
        let (disk, received) = Self::new(folder, capacity, metrics);
        let keeper = Arc::clone(&disk.shared);
        let keep = move || {
            keeper.begin();
            keeper.keep(received);
        };
        if let Err(error) = thread::Builder::new().name("disk".to_owned()).spawn(keep) {
            disk.shared.failed(&error.to_string());
        }
        Arc::new(disk)
    }

    fn new(folder: &Path, capacity: u64, metrics: Arc<Metrics>) -> (Self, Receiver<Job>) {
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            capacity,
            index: Mutex::default(),
            readers: Arc::new(Semaphore::new(limits::DISK_READS)),
            stuck: AtomicBool::new(false),
            waiting: AtomicU64::new(0),
            temporary: AtomicU64::new(0),
            metrics,
            told: AtomicBool::new(false),
        });
        let (jobs, received) = sync_channel(limits::DISK_WRITES);
        (Self { shared, jobs }, received)
    }

    /// What is remembered of a descriptor, by `deadline` and soon.
    pub(super) async fn get(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        deadline: Instant,
    ) -> Option<Bytes> {
        let name = name_of(repository, descriptor);
        let shared = &self.shared;
        if !shared.index().touch(&name) {
            shared.metrics.cache(Cache::Disk, Lookup::Miss);
            return None;
        }
        if shared.stuck.load(Ordering::Relaxed) && shared.readers.available_permits() == 0 {
            shared.metrics.cache(Cache::Disk, Lookup::Failed);
            return None;
        }
        let soon = Instant::now().checked_add(limits::DISK_WAIT).map_or(deadline, |soon| soon.min(deadline));
        let reading = async {
            let seat = Arc::clone(&shared.readers).acquire_owned().await.map_err(io::Error::other)?;
            let (shared, descriptor) = (Arc::clone(shared), descriptor.clone());
            let read = tokio::task::spawn_blocking(move || {
                let _seat = seat;
                let found = shared.read(&name, &descriptor);
                shared.stuck.store(false, Ordering::Relaxed);
                found
            });
            read.await.map_err(io::Error::other)?
        };
        match timeout_at(soon, reading).await {
            Ok(Ok(Some(bytes))) => {
                shared.metrics.cache(Cache::Disk, Lookup::Hit);
                return Some(bytes);
            }
            Ok(Ok(None)) => {
                shared.forget(&name);
                shared.metrics.cache(Cache::Disk, Lookup::Damaged);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                shared.forget(&name);
                shared.metrics.cache(Cache::Disk, Lookup::Miss);
            }
            Ok(Err(error)) => shared.failed(&error.to_string()),
            Err(_) => {
                shared.stuck.store(true, Ordering::Relaxed);
                shared.failed("the disk does not answer");
            }
        }
        None
    }

    /// Remembers what a descriptor names, as soon as the disk takes it. `bytes` were checked.
    pub(super) fn put(&self, repository: &Repository, descriptor: &Descriptor, bytes: &Bytes) {
        let length = length(bytes);
        if length > limits::DISK_ENTRY_BYTES || weight(length) > self.shared.capacity {
            return;
        }
        let name = name_of(repository, descriptor);
        if self.shared.index().touch(&name) {
            return;
        }
        // What does not fit into the queue is not remembered: the disk is slower than the registries.
        let before = self.shared.waiting.fetch_add(length, Ordering::Relaxed);
        let job = Job { name, bytes: bytes.clone() };
        if before.saturating_add(length) > limits::DISK_QUEUE_BYTES || self.jobs.try_send(job).is_err() {
            self.shared.waiting.fetch_sub(length, Ordering::Relaxed);
            self.shared.metrics.cache(Cache::Disk, Lookup::Failed);
        }
    }
}

impl Shared {
    /// Finds out what is there.
    fn begin(&self) {
        if let Err(error) = self.make_folder().and_then(|()| self.take_stock()) {
            self.failed(&error.to_string());
        }
    }

    /// Writes what comes, until nobody can bring more.
    fn keep(&self, jobs: impl IntoIterator<Item = Job>) {
        for Job { name, bytes } in jobs {
            let gone = self.index().make_room(weight(length(&bytes)), self.capacity);
            self.remove(&gone);
            match self.write(&name, &bytes) {
                Ok(()) => self.count(|index| index.insert(name, weight(length(&bytes)))),
                Err(error) => self.failed(&error.to_string()),
            }
            self.waiting.fetch_sub(length(&bytes), Ordering::Relaxed);
        }
    }

    fn make_folder(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    /// Takes what lies in the folder into the index, longest unused first, and removes what a crash left behind. What
    /// has no name of ours is not ours.
    fn take_stock(&self) -> io::Result<()> {
        let mut found: Vec<(SystemTime, Name, u64)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Some(file) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_file && is_temporary(&file) {
                fs::remove_file(entry.path())?;
            }
            let Some(name) = parse(&file).filter(|_| is_file) else { continue };
            let metadata = entry.metadata()?;
            if found.len() < limits::DISK_ENTRIES {
                found.push((metadata.modified()?, name, metadata.len()));
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        found.sort_unstable();
        for (_, name, length) in found {
            let gone = self.index().make_room(weight(length), self.capacity);
            self.remove(&gone);
            self.count(|index| index.insert(name, weight(length)));
        }
        Ok(())
    }

    /// A whole file or none: what is being written has another name until it is.
    fn write(&self, name: &Name, bytes: &[u8]) -> io::Result<()> {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!("{}.{}-{number}{TEMPORARY}", hex(name), std::process::id()));
        let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        let mut file = match open() {
            // Somebody emptied the place.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_folder().and_then(|()| open())?,
            opened => opened?,
        };
        let written = file.write_all(bytes).and_then(|()| fs::rename(&temporary, self.path(name)));
        written.inspect_err(|_| {
            // A disk that is full has room again without it; one that is broken keeps it until the next start.
            let _ = fs::remove_file(&temporary);
        })
    }

    /// The content of a file, or none where it is not what the descriptor says: then the file is removed.
    fn read(&self, name: &Name, descriptor: &Descriptor) -> io::Result<Option<Bytes>> {
        let path = self.path(name);
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
        let metadata = file.metadata()?;
        let mut bytes = Vec::new();
        if metadata.is_file() && metadata.len() == descriptor.size {
            (&file).take(descriptor.size.saturating_add(1)).read_to_end(&mut bytes)?;
        }
        if check("content on disk", descriptor, &bytes).is_err() {
            fs::remove_file(&path)?;
            return Ok(None);
        }
        used_now(&file);
        Ok(Some(Bytes::from(bytes)))
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(hex(name))
    }

    fn remove(&self, names: &[Name]) {
        for name in names {
            match fs::remove_file(self.path(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => self.failed(&error.to_string()),
                _ => {}
            }
        }
        self.count(|_| {});
    }

    fn forget(&self, name: &Name) {
        self.count(|index| index.remove(name));
    }

    /// Changes the index and tells by how much what it holds has changed since it was told last.
    fn count(&self, change: impl FnOnce(&mut Index)) {
        let mut index = self.index();
        change(&mut index);
        let grown = i64::try_from(index.used).unwrap_or(i64::MAX).saturating_sub(index.told);
        index.told = index.told.saturating_add(grown);
        self.metrics.cache_grew(Cache::Disk, grown);
    }

    /// Counts what went wrong, and tells the first time.
    fn failed(&self, cause: &str) {
        self.metrics.cache(Cache::Disk, Lookup::Failed);
        if !self.told.swap(true, Ordering::Relaxed) {
            let folder = self.folder.display();
            warn!(%folder, "content on disk: {cause}; what is missing there is fetched from registries again");
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Held for map operations only; a panic in one leaves at worst a file that nobody counts.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let told = self.index().told;
        self.metrics.cache_grew(Cache::Disk, 0_i64.saturating_sub(told));
    }
}

/// The files that are there, with their weights, by their last use.
#[derive(Default)]
struct Index {
    entries: HashMap<Name, (u64, u64)>,
    order: BTreeMap<u64, Name>,
    used: u64,
    tick: u64,
    /// What metrics were told of `used`.
    told: i64,
}

impl Index {
    /// Whether there is such a file; it counts as used now.
    fn touch(&mut self, name: &Name) -> bool {
        let Some((weight, _)) = self.entries.get(name).copied() else { return false };
        self.insert(*name, weight);
        true
    }

    fn insert(&mut self, name: Name, weight: u64) {
        self.remove(&name);
        self.tick = self.tick.saturating_add(1);
        self.used = self.used.saturating_add(weight);
        self.order.insert(self.tick, name);
        self.entries.insert(name, (weight, self.tick));
    }

    fn remove(&mut self, name: &Name) {
        if let Some((weight, tick)) = self.entries.remove(name) {
            self.used = self.used.saturating_sub(weight);
            self.order.remove(&tick);
        }
    }

    /// Forgets files until another of this weight has room, and says which.
    fn make_room(&mut self, weight: u64, capacity: u64) -> Vec<Name> {
        let mut gone = Vec::new();
        while self.used.saturating_add(weight) > capacity || self.entries.len() >= limits::DISK_ENTRIES {
            let Some((_, name)) = self.order.first_key_value() else { break };
            let name = *name;
            self.remove(&name);
            gone.push(name);
        }
        gone
    }
}

/// What names a file: each part with its length before it, so that no two keys make the same bytes. The repository is a
/// part of it: what one repository holds says nothing of another.
fn name_of(repository: &Repository, descriptor: &Descriptor) -> Name {
    let mut context = Context::new(&SHA256);
    let parts = [repository.registry(), repository.path(), &descriptor.media_type, descriptor.digest.as_str()];
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.update(&descriptor.size.to_be_bytes());
    let mut name = Name::default();
    for (to, from) in name.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    name
}

/// The hash that a file's name spells, if it is one of ours.
fn parse(file: &str) -> Option<Name> {
    let mut name = Name::default();
    if file.len() != HEX_LENGTH || !file.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (at, byte) in name.iter_mut().enumerate() {
        let from = at.saturating_mul(2);
        *byte = u8::from_str_radix(file.get(from..from.saturating_add(2))?, 16).ok()?;
    }
    Some(name)
}

fn is_temporary(file: &str) -> bool {
    file.ends_with(TEMPORARY) && file.split_once('.').is_some_and(|(name, _)| parse(name).is_some())
}

/// A use that outlives the process. Where it cannot be written down, the file only goes sooner.
fn used_now(file: &File) {
    let _ = file.set_modified(SystemTime::now());
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// What a file takes: whole blocks.
fn weight(length: u64) -> u64 {
    length.max(1).div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// The block of the usual file systems.
const BLOCK: u64 = 4096;

const HEX_LENGTH: usize = 64;

/// How the name of a file ends that is being written.
const TEMPORARY: &str = ".tmp";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Algorithm;
    use crate::reference::Reference;
    use crate::store::digest_of;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    /// A folder of content whose thread is the test.
    struct Bench {
        disk: Disk,
        received: Receiver<Job>,
        metrics: Arc<Metrics>,
    }

    impl Bench {
        fn open(folder: &Path, capacity: u64) -> Self {
            let metrics = Arc::new(Metrics::new());
            let (disk, received) = Disk::new(folder, capacity, Arc::clone(&metrics));
            disk.shared.begin();
            Self { disk, received, metrics }
        }

        fn keep(&self, content: &[u8]) -> Descriptor {
            let descriptor = describe(content);
            self.disk.put(&repository("r.example/a"), &descriptor, &Bytes::copy_from_slice(content));
            self.disk.shared.keep(self.received.try_iter());
            descriptor
        }

        async fn get(&self, descriptor: &Descriptor) -> Option<Bytes> {
            let deadline = Instant::now() + Duration::from_secs(5);
            self.disk.get(&repository("r.example/a"), descriptor, deadline).await
        }

        fn count(&self, result: &str) -> u64 {
            self.number(&format!("ratifyd_cache_total{{kind=\"disk\",result=\"{result}\"}} "))
        }

        fn number(&self, start: &str) -> u64 {
            let text = self.metrics.text().unwrap();
            text.lines().find_map(|line| line.strip_prefix(start)).map_or(0, |number| number.parse().unwrap())
        }

        fn path(&self, descriptor: &Descriptor) -> PathBuf {
            self.disk.shared.path(&name_of(&repository("r.example/a"), descriptor))
        }
    }

    fn repository(name: &str) -> Repository {
        name.parse::<Reference>().unwrap().repository
    }

    fn describe(content: &[u8]) -> Descriptor {
        let digest = digest_of(Algorithm::Sha256, content);
        Descriptor { media_type: "application/jose+json".to_owned(), digest, size: length(content) }
    }

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[tokio::test]
    async fn what_was_kept_is_there_after_a_restart_for_the_same_repository_and_descriptor_alone() {
        let folder = tempfile::tempdir().unwrap();
        let content = folder.path().join("made/when/needed");
        let descriptor = Bench::open(&content, 1 << 20).keep(b"a signature");
        let again = Bench::open(&content, 1 << 20);
        assert_eq!(again.get(&descriptor).await.unwrap(), "a signature");
        let deadline = Instant::now() + Duration::from_secs(5);
        assert_eq!(again.disk.get(&repository("r.example/b"), &descriptor, deadline).await, None);
        let other = Descriptor { media_type: "text/plain".to_owned(), ..descriptor.clone() };
        assert_eq!(again.get(&other).await, None);
        assert_eq!((again.count("hit"), again.count("miss")), (1, 2));
        assert_eq!(again.number("ratifyd_cache_bytes{kind=\"disk\"} "), BLOCK);
    }

    #[tokio::test]
    async fn a_damaged_file_is_a_miss_is_removed_and_can_be_kept_again() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::open(folder.path(), 1 << 20);
        let descriptor = bench.keep(b"a signature");
        let path = bench.path(&descriptor);
        for damage in [&b"b signature"[..], b"a signatur", b"a signature ", b""] {
            assert!(bench.get(&descriptor).await.is_some());
            fs::write(&path, damage).unwrap();
            assert_eq!(bench.get(&descriptor).await, None, "{damage:?}");
            assert!(!path.exists());
            bench.keep(b"a signature");
        }
        assert_eq!(bench.count("damaged"), 4);
    }

    #[tokio::test]
    async fn what_is_no_plain_file_is_not_followed_or_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::open(folder.path(), 1 << 20);
        let descriptor = bench.keep(b"a signature");
        let (path, elsewhere) = (bench.path(&descriptor), folder.path().join("elsewhere"));
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert_eq!(bench.get(&descriptor).await, None);
        assert_eq!(bench.count("failed"), 1);
        fs::remove_file(&path).unwrap();
        assert_eq!(bench.get(&descriptor).await, None);
        bench.keep(b"a signature");
        fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(bench.get(&descriptor).await, None);
    }

    #[test]
    fn leftovers_of_a_crash_are_removed_and_what_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let ours = "ab".repeat(32);
        let (leftover, others) = (format!("{ours}.17-0.tmp"), ["notes.tmp", "README", "ABCD", &ours.to_uppercase()]);
        fs::write(folder.path().join(&leftover), "half").unwrap();
        for other in others {
            fs::write(folder.path().join(other), "theirs").unwrap();
        }
        Bench::open(folder.path(), BLOCK).keep(b"a signature");
        assert!(!folder.path().join(&leftover).exists());
        assert!(others.iter().all(|other| folder.path().join(other).exists()));
        assert_eq!(files(folder.path()), others.len() + 1);
    }

    #[tokio::test]
    async fn a_full_memory_is_kept_and_one_block_more_pushes_out_the_longest_unused() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::open(folder.path(), 2 * BLOCK);
        let (first, second) = (bench.keep(b"first"), bench.keep(b"second"));
        assert!(bench.get(&second).await.is_some() && bench.get(&first).await.is_some());
        let third = bench.keep(b"third");
        assert_eq!(bench.get(&second).await, None);
        assert!(bench.get(&first).await.is_some() && bench.get(&third).await.is_some());
        assert_eq!(files(folder.path()), 2);
        // Uses are known after a restart, and a smaller memory then keeps the latest.
        let old = File::options().write(true).open(bench.path(&third)).unwrap();
        old.set_modified(SystemTime::now() - Duration::from_secs(100)).unwrap();
        let smaller = Bench::open(folder.path(), BLOCK);
        assert!(smaller.get(&first).await.is_some() && smaller.get(&third).await.is_none());
        assert_eq!(files(folder.path()), 1);
    }

    #[tokio::test]
    async fn an_entry_at_the_limit_is_kept_and_one_byte_more_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::open(folder.path(), 1 << 30);
        let limit = usize::try_from(limits::DISK_ENTRY_BYTES).unwrap();
        let (fits, large) = (bench.keep(&vec![b'x'; limit]), bench.keep(&vec![b'x'; limit + 1]));
        assert!(bench.get(&fits).await.is_some() && bench.get(&large).await.is_none());
    }

    #[test]
    fn files_at_their_limit_are_kept_and_one_more_pushes_one_out() {
        let mut index = Index::default();
        for number in 0..limits::DISK_ENTRIES {
            let mut name = Name::default();
            name[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
            assert_eq!(index.make_room(1, u64::MAX), Vec::<Name>::new());
            index.insert(name, 1);
        }
        assert_eq!(index.make_room(1, u64::MAX), [Name::default()]);
    }

    #[test]
    fn what_waits_to_be_written_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::open(folder.path(), 1 << 30);
        let large = vec![b'x'; usize::try_from(limits::DISK_ENTRY_BYTES).unwrap()];
        let put = |content: &[u8]| {
            let bytes = Bytes::copy_from_slice(content);
            bench.disk.put(&repository("r.example/a"), &describe(content), &bytes);
        };
        put(&large);
        put(&large);
        assert_eq!(bench.count("failed"), 0);
        put(b"x");
        assert_eq!(bench.count("failed"), 1);
        bench.disk.shared.keep(bench.received.try_iter());
        for number in 0..=limits::DISK_WRITES {
            put(number.to_string().as_bytes());
        }
        assert_eq!(bench.count("failed"), 2);
        bench.disk.shared.keep(bench.received.try_iter());
        assert_eq!(bench.disk.shared.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_used_costs_counts_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let bench = Bench::open(&file.join("content"), 1 << 20);
        let descriptor = bench.keep(b"a signature");
        assert_eq!(bench.get(&descriptor).await, None);
        assert_eq!((bench.count("failed"), bench.count("miss")), (2, 1));
        assert!(bench.disk.shared.told.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_folder_that_is_emptied_meanwhile_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let content = folder.path().join("content");
        let bench = Bench::open(&content, 1 << 20);
        let descriptor = bench.keep(b"a signature");
        fs::remove_dir_all(&content).unwrap();
        assert_eq!(bench.get(&descriptor).await, None);
        bench.keep(b"a signature");
        assert!(bench.get(&descriptor).await.is_some());
        assert_eq!(bench.count("failed"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_holds_one_read_up_for_a_moment_and_the_next_ones_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::open(folder.path(), 1 << 20);
        let descriptor = bench.keep(b"a signature");
        let all = u32::try_from(limits::DISK_READS).unwrap();
        let hanging = Arc::clone(&bench.disk.shared.readers).acquire_many_owned(all).await.unwrap();
        for expected in [limits::DISK_WAIT, Duration::ZERO] {
            let started = Instant::now();
            assert_eq!(bench.get(&descriptor).await, None);
            assert_eq!(started.elapsed(), expected);
        }
        drop(hanging);
        assert!(bench.get(&descriptor).await.is_some());
    }

    #[test]
    fn no_digest_and_no_media_type_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let content = folder.path().join("content");
        let bench = Bench::open(&content, 1 << 20);
        let bytes = Bytes::from_static(b"a signature");
        for media_type in ["../../etc/passwd", "/etc/passwd", "a\0b", "..", ""] {
            let descriptor = Descriptor { media_type: media_type.to_owned(), ..describe(&bytes) };
            bench.disk.put(&repository("r.example/a"), &descriptor, &bytes);
        }
        bench.disk.shared.keep(bench.received.try_iter());
        assert_eq!((files(folder.path()), files(&content)), (1, 5));
        for entry in fs::read_dir(&content).unwrap() {
            assert!(parse(entry.unwrap().file_name().to_str().unwrap()).is_some());
        }
    }
}
