//! CRLs and OCSP responses on disk, so that a restart asks for none anew: one file for each, named by a hash of where it
//! came from. Past its bounds the oldest go first. Nothing is believed because it lies here: what is read is judged as if
//! it had just come. Whatever is wrong with the disk costs a request, a count and one warning, never a verdict.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::warn;

use super::Key;
use crate::artifact::hex;
use crate::limits;
use crate::metrics::{Cache, Lookup, Metrics};

/// A folder of at most `capacity` bytes.
pub(super) struct Disk {
    folder: PathBuf,
    capacity: u64,
    /// Largest file.
    limit: u64,
    jobs: Arc<Semaphore>,
    number: AtomicU64,
    metrics: Arc<Metrics>,
    told: AtomicBool,
}

impl Disk {
    pub(super) fn new(folder: PathBuf, capacity: u64, limit: u64, metrics: Arc<Metrics>) -> Arc<Self> {
        let jobs = Arc::new(Semaphore::new(limits::REVOCATION_DISK_JOBS));
        let (number, told) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { folder, capacity, limit, jobs, number, metrics, told })
    }

    /// What lies under a name.
    pub(super) async fn get(self: &Arc<Self>, name: Key) -> Option<Bytes> {
        let seat = self.seat()?;
        let disk = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let _seat = seat;
            disk.read(&name)
        });
        let lookup = match timeout(limits::DISK_WAIT, read).await {
            Ok(Ok(Ok(bytes))) => {
                self.metrics.cache(Cache::RevocationDisk, Lookup::Hit);
                return Some(Bytes::from(bytes));
            }
            Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::NotFound => Lookup::Miss,
            Ok(Ok(Err(error))) => return self.failed(&error.to_string()),
            Ok(Err(error)) => return self.failed(&error.to_string()),
            Err(_) => return self.failed("the disk does not answer"),
        };
        self.metrics.cache(Cache::RevocationDisk, lookup);
        None
    }

    /// Keeps what was judged good, as soon as the disk takes it.
    pub(super) fn put(self: &Arc<Self>, name: Key, bytes: Bytes) {
        let is_small = u64::try_from(bytes.len()).is_ok_and(|length| length <= self.limit.min(self.capacity));
        let Some(seat) = self.seat().filter(|_| is_small) else { return };
        let disk = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let _seat = seat;
            if let Err(error) = disk.write(&name, &bytes) {
                disk.failed::<()>(&error.to_string());
            }
        });
    }

    /// A disk that hangs takes a few threads, and then is left alone.
    fn seat(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.jobs).try_acquire_owned().ok()
    }

    fn read(&self, name: &Key) -> io::Result<Vec<u8>> {
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.folder.join(hex(name)))?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut bytes = Vec::new();
        file.take(self.limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A whole file or none: what is being written has another name until it is.
    fn write(&self, name: &Key, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        self.make_room(&hex(name), u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!("{}.{}-{number}{TEMPORARY}", hex(name), std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let written = file.write_all(bytes).and_then(|()| fs::rename(&temporary, self.folder.join(hex(name))));
        written.inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    }

    /// Removes what a crash left behind, and the oldest files until there is room beside those for `length` bytes.
    fn make_room(&self, name: &str, length: u64) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Some(file) = entry.file_name().to_str().map(str::to_owned).filter(|file| file != name) else {
                continue;
            };
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() && is_left_behind(&file) {
                fs::remove_file(entry.path())?;
            } else if metadata.is_file() && is_name(&file) {
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        files.sort();
        let mut used = files.iter().fold(length, |used, (_, length, _)| used.saturating_add(*length));
        for (_, length, path) in files {
            if used <= self.capacity {
                break;
            }
            fs::remove_file(path)?;
            used = used.saturating_sub(length);
        }
        Ok(())
    }

    fn failed<T>(&self, cause: &str) -> Option<T> {
        self.metrics.cache(Cache::RevocationDisk, Lookup::Failed);
        if !self.told.swap(true, Ordering::Relaxed) {
            warn!(folder = %self.folder.display(), cause, "CRLs and OCSP responses cannot be kept on disk; they are asked for each time");
        }
        None
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn is_name(file: &str) -> bool {
    file.len() == 64 && file.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether another process was writing a file; it ended, or writes it again.
fn is_left_behind(file: &str) -> bool {
    let own = format!(".{}-", std::process::id());
    file.ends_with(TEMPORARY) && !file.contains(&own)
}

/// The end of the name of what is being written.
const TEMPORARY: &str = ".part";
