//! Wakes the daemon when something changes where its files lie, so that health and the log tell early what the next
//! pull would find. Nothing that is decided rests on it: each pull looks at the files itself.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::sync::Notify;
use tracing::warn;

/// What happens to a file, or to a link to it, when it becomes another: written, replaced, removed, let in or shut out.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// The folders that are watched; none where the kernel gives no watches.
pub(super) struct Folders {
    events: Option<Arc<OwnedFd>>,
    changes: Arc<Notify>,
    watched: BTreeMap<PathBuf, i32>,
}

impl Folders {
    pub(super) fn new() -> Self {
        let changes = Arc::new(Notify::new());
        let events = start(Arc::clone(&changes)).inspect_err(|error| warn!("changes of files show late: {error}"));
        Self { events: events.ok(), changes, watched: BTreeMap::new() }
    }

    /// Watches these folders, or where one is missing the nearest above it, and no others.
    pub(super) fn watch(&mut self, folders: &[PathBuf]) {
        let Some(events) = &self.events else { return };
        let add = |folder: &Path| Some((folder.to_owned(), inotify::add_watch(events, folder, CHANGES).ok()?));
        let watched: BTreeMap<PathBuf, i32> =
            folders.iter().filter_map(|folder| folder.ancestors().find_map(add)).collect();
        for gone in self.watched.values().filter(|watch| !watched.values().any(|kept| kept == *watch)) {
            // A folder that was removed has taken its watch with it.
            let _ = inotify::remove_watch(events, *gone);
        }
        self.watched = watched;
    }

    /// Waits for the next change.
    pub(super) async fn changed(&self) {
        self.changes.notified().await;
    }
}

/// Starts a thread that waits for events, and ends with the process. What changed does not matter.
fn start(changes: Arc<Notify>) -> io::Result<Arc<OwnedFd>> {
    let events = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
    let incoming = Arc::clone(&events);
    let wait = move || {
        let mut buffer = [0; 4096];
        while matches!(rustix::io::read(&incoming, &mut buffer), Ok(_) | Err(Errno::INTR)) {
            changes.notify_one();
        }
    };
    thread::Builder::new().name("folders".to_owned()).spawn(wait)?;
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;
    use tokio::time::timeout;

    async fn is_quiet(folders: &Folders) -> bool {
        timeout(Duration::from_millis(300), folders.changed()).await.is_err()
    }

    /// Whether a change wakes, once or, as some come in several steps, more often. A busy machine is waited for.
    async fn wakes(folders: &Folders) -> bool {
        let woken = timeout(Duration::from_secs(30), folders.changed()).await.is_ok();
        while !is_quiet(folders).await {}
        woken
    }

    #[tokio::test]
    async fn whatever_becomes_of_a_file_wakes_and_silence_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let mut folders = Folders::new();
        folders.watch(&[folder.path().to_owned()]);
        assert!(is_quiet(&folders).await, "nothing has happened");
        fs::write(&file, "a").unwrap();
        assert!(wakes(&folders).await, "written");
        fs::write(folder.path().join("new"), "b").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert!(wakes(&folders).await, "replaced");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert!(wakes(&folders).await, "shut");
        fs::remove_file(&file).unwrap();
        assert!(wakes(&folders).await, "removed");
    }

    #[tokio::test]
    async fn a_folder_that_is_missing_wakes_once_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("trust/more");
        let mut folders = Folders::new();
        folders.watch(std::slice::from_ref(&inner));
        fs::create_dir_all(&inner).unwrap();
        assert!(wakes(&folders).await);
        folders.watch(std::slice::from_ref(&inner));
        fs::write(inner.join("root.pem"), "a").unwrap();
        assert!(wakes(&folders).await);
        fs::write(folder.path().join("other"), "a").unwrap();
        assert!(is_quiet(&folders).await, "no longer watched");
    }
}
