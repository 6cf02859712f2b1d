//! What a TUF repository said, as `sigstore-tuf` reads and writes it: on disk what was whole when a reading ended well, and
//! in memory what came since, so that nothing older is taken after it. Whoever lets a new timestamp through and nothing
//! that comes after it would else take away what a node without a network begins with. Nothing is believed because it
//! lies here: whoever reads it judges it anew. Where others could write, nothing is read or written.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sigstore_tuf::{FileStore, MetadataStore};
use tracing::warn;

use super::chain;
use crate::limits;
use crate::trust::{self, Untrusted};

/// What is known of one repository.
pub(super) struct Cache {
    folder: Option<PathBuf>,
    /// What is not on disk, by its name there.
    seen: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Cache {
    /// Nothing yet but what lies in a folder, if there is one.
    pub(super) fn new(folder: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { folder, seen: Mutex::default() })
    }

    /// The files for one reading.
    pub(super) fn files(self: &Arc<Self>) -> Files {
        let folder = self.folder.as_ref().and_then(|folder| match usable(folder) {
            Ok(()) => Some(folder.clone()),
            Err(cause) => {
                warn!("what is kept on disk of a TUF repository is not used: {cause}");
                None
            }
        });
        Files { folder, cache: Arc::clone(self), last_root: None }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of a repository, for one reading of it.
#[derive(Clone)]
pub(super) struct Files {
    /// Where they lie, if they may.
    folder: Option<PathBuf>,
    cache: Arc<Cache>,
    /// A root of a later version is none.
    last_root: Option<u64>,
}

impl Files {
    /// As they were when the repository was last read to its end, and when that was.
    pub(super) fn kept(mut self) -> Option<(Self, SystemTime)> {
        let text = String::from_utf8(self.load(REFRESHED).ok()??).ok()?;
        let mut words = text.split_whitespace();
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(words.next()?.parse().ok()?))?;
        // A later root may have replaced the keys by which the rest was judged then.
        self.last_root = words.next().map(str::parse).transpose().ok()?;
        Some((self, at))
    }

    /// Keeps on disk what was seen until now: the repository was read to its end, under the root of that version.
    pub(super) fn keep(&self, now: SystemTime, root: u64) {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if let Some(folder) = &self.folder
            && let Err(cause) = self.write_out(folder, &format!("{seconds} {root}"))
        {
            warn!("a TUF repository is not kept on disk: {cause}");
        }
    }

    fn write_out(&self, folder: &Path, refreshed: &str) -> Result<(), String> {
        let mut files = self.cache.seen().clone();
        files.retain(|name, bytes| read(folder, name).as_ref() != Some(bytes));
        let last = (REFRESHED.to_owned(), refreshed.as_bytes().to_vec());
        let files: Vec<_> = files.into_iter().chain([last]).collect();
        // A disk that is full leaves all of them as they were.
        let new = folder.join(NEW);
        for (name, bytes) in &files {
            write(&new, name, bytes)?;
            make_place(folder, name)?;
        }
        for (name, _) in &files {
            let path = folder.join(name);
            fs::rename(new.join(name), &path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        self.cache.seen().clear();
        Ok(())
    }
}

impl MetadataStore for Files {
    fn load(&self, name: &str) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        let version = name.strip_prefix(ROOTS).and_then(|rest| rest.strip_suffix(".root.json")?.parse::<u64>().ok());
        if version.zip(self.last_root).is_some_and(|(version, last)| version > last) {
            return Ok(None);
        }
        let seen = self.cache.seen().get(name).cloned();
        Ok(seen.or_else(|| read(self.folder.as_ref()?, name)))
    }

    fn store(&self, name: &str, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        // One of each version of a snapshot would fill a disk; the newest alone is asked for again.
        if name.ends_with(".snapshot.json") || self.load(name)?.as_deref() == Some(bytes) {
            return Ok(());
        }
        self.cache.seen().insert(name.to_owned(), bytes.to_vec());
        // The keys that a new root takes back must not count again, whatever else cannot be read (TUF specification,
        // section 5.3.8).
        if let Some(folder) = self.folder.as_ref().filter(|_| name.starts_with(ROOTS))
            && let Err(cause) = write(folder, name, bytes)
        {
            warn!("a root of a TUF repository is not kept on disk: {cause}");
        }
        Ok(())
    }
}

/// Makes a folder where there is none, and looks whether others could put something into it.
fn usable(folder: &Path) -> Result<(), String> {
    make(folder)?;
    trust::check(folder).map_err(|error| error.to_string())
}

fn read(folder: &Path, name: &str) -> Option<Vec<u8>> {
    match trust::read(&folder.join(name), limits::TUF_METADATA_BYTES) {
        Ok(bytes) => Some(bytes),
        Err(Untrusted::Io { error, .. }) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            warn!("what is kept on disk of a TUF repository is not used: {error}");
            None
        }
    }
}

/// A whole file or none.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), String> {
    make_place(folder, name)?;
    FileStore::new(folder).store(name, bytes).map_err(|error| chain(&error))
}

fn make_place(folder: &Path, name: &str) -> Result<(), String> {
    make(folder.join(name).parent().unwrap_or(folder))
}

fn make(folder: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| format!("{}: {error}", folder.display()))
}

/// Where the versions of the root lie.
const ROOTS: &str = "root_history/";

/// When the repository was last read to its end, in seconds since 1970, and the version of its root then.
const REFRESHED: &str = "refreshed";

/// The folder of what is not yet whole.
const NEW: &str = "new";
