//! A layout that may change while the daemon runs: before each answer its index is compared with what it was when it
//! was read, and read again if it is another. A layout that is missing or damaged is an error for whoever asks it, and
//! serves again once it is mended.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{INDEX, Layout, LayoutStore};
use crate::artifact::{Descriptor, Digest};
use crate::limits;
use crate::reference::{Reference, Repository};
use crate::store::{Error, Listed, Store};
use crate::trust::Stamp;

/// The layout at a path, as it is now.
pub struct FollowedLayout {
    path: PathBuf,
    open: Arc<Mutex<Option<Opened>>>,
    /// A disk that hangs takes no more threads than this.
    seats: Arc<Semaphore>,
}

struct Opened {
    /// The path itself is an archive, or a folder with an index.
    stamps: [(PathBuf, Stamp); 2],
    layout: Result<Arc<Layout>, Error>,
}

impl FollowedLayout {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: Arc::default(), seats: Arc::new(Semaphore::new(limits::LAYOUT_READS)) }
    }

    /// Asks the layout as it is now.
    async fn ask<T: Send + 'static>(
        &self,
        deadline: Instant,
        question: impl FnOnce(&Layout) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let failed = |cause: String| Error::Network { what: format!("layout {}", self.path.display()), cause };
        let answer = async {
            let seat = Arc::clone(&self.seats).acquire_owned().await.map_err(|error| failed(error.to_string()))?;
            let (path, open) = (self.path.clone(), Arc::clone(&self.open));
            let ask = tokio::task::spawn_blocking(move || {
                let _seat = seat;
                question(&*current(&path, &open)?)
            });
            ask.await.unwrap_or_else(|error| Err(failed(error.to_string())))
        };
        let late = |_| Err(failed("the disk does not answer".to_owned()));
        timeout_at(deadline, answer).await.unwrap_or_else(late)
    }
}

fn current(path: &Path, open: &Mutex<Option<Opened>>) -> Result<Arc<Layout>, Error> {
    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(opened) =
        open.as_ref().filter(|opened| opened.stamps.iter().all(|(path, stamp)| stamp.is_current(path)))
    {
        return opened.layout.clone();
    }
    // Stamped before it is read: what changes from here on is seen as a change.
    let stamps = [path.to_owned(), path.join(INDEX)].map(|path| {
        let stamp = Stamp::of(&path);
        (path, stamp)
    });
    let layout = LayoutStore::open(path).map(|store| store.inner);
    *open = Some(Opened { stamps, layout: layout.clone() });
    layout
}

#[async_trait]
impl Store for FollowedLayout {
    async fn resolve(&self, reference: &Reference, deadline: Instant) -> Result<Descriptor, Error> {
        let (tag, digest) = (reference.tag.clone(), reference.digest.clone());
        self.ask(deadline, move |layout| layout.find(tag.as_deref(), digest.as_ref())).await
    }

    async fn referrers(&self, _: &Repository, subject: &Digest, deadline: Instant) -> Result<Listed, Error> {
        let subject = subject.clone();
        self.ask(deadline, move |layout| layout.candidates(&subject).map(Listed::from)).await
    }

    async fn manifest(&self, _: &Repository, descriptor: &Descriptor, deadline: Instant) -> Result<Bytes, Error> {
        let descriptor = descriptor.clone();
        self.ask(deadline, move |layout| layout.blob(&descriptor, limits::MANIFEST_BYTES)).await
    }

    async fn blob(
        &self,
        _: &Repository,
        descriptor: &Descriptor,
        limit: u64,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        let descriptor = descriptor.clone();
        self.ask(deadline, move |layout| layout.blob(&descriptor, limit)).await
    }
}
