//! A file that is read when it is first needed and again whenever it has changed, so that what is rotated counts at
//! once. It is opened by the rules for trusted files; threads that wait for it are none of the runtime's own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Digest, SHA256, digest};
use zeroize::Zeroizing;

use crate::trust::{self, Stamp, Untrusted};

/// Makes a value of a file's bytes; errors hold nothing of what is written there.
pub type Parse<T> = fn(&Path, &[u8]) -> Result<T, String>;

/// A file and what was last read from it.
pub struct Watched<T> {
    file: Arc<File<T>>,
    /// One reader at a time: a file system that hangs takes one thread.
    reading: Arc<tokio::sync::Mutex<()>>,
}

struct File<T> {
    path: PathBuf,
    limit: u64,
    parse: Parse<T>,
    last: Mutex<Option<Read<T>>>,
}

struct Read<T> {
    stamp: Stamp,
    /// Of the bytes: a file that was only touched keeps its value, and all that is kept with it.
    digest: Digest,
    value: Arc<T>,
}

impl<T> Clone for Read<T> {
    fn clone(&self) -> Self {
        Self { stamp: self.stamp.clone(), digest: self.digest, value: Arc::clone(&self.value) }
    }
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// There is no such file.
    Absent(String),
    /// It cannot be read, is not to be trusted, or makes no sense.
    Bad(String),
}

impl Unread {
    /// Why, in words.
    #[must_use]
    pub fn into_cause(self) -> String {
        match self {
            Self::Absent(cause) | Self::Bad(cause) => cause,
        }
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// A file of at most `limit` bytes. It is not opened yet.
    #[must_use]
    pub fn new(path: PathBuf, limit: u64, parse: Parse<T>) -> Self {
        let file = File { path, limit, parse, last: Mutex::new(None) };
        Self { file: Arc::new(file), reading: Arc::default() }
    }

    /// What is in it now.
    ///
    /// # Errors
    /// See [`Unread`].
    pub async fn now(&self) -> Result<Arc<T>, Unread> {
        let (file, reading) = (Arc::clone(&self.file), Arc::clone(&self.reading).lock_owned().await);
        let read = tokio::task::spawn_blocking(move || {
            let _one_at_a_time = reading;
            file.read()
        });
        read.await.unwrap_or_else(|error| Err(Unread::Bad(error.to_string())))
    }

    /// What was last read from it, whatever is in it now.
    #[must_use]
    pub fn last(&self) -> Option<Arc<T>> {
        self.file.last().as_ref().map(|read| Arc::clone(&read.value))
    }
}

impl<T> File<T> {
    fn last(&self) -> MutexGuard<'_, Option<Read<T>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads it, unless it is as it was.
    fn read(&self) -> Result<Arc<T>, Unread> {
        let last = self.last().clone();
        let read = self.read_after(last);
        // What is in force no more is not kept either.
        *self.last() = read.as_ref().ok().cloned();
        read.map(|read| read.value)
    }

    fn read_after(&self, last: Option<Read<T>>) -> Result<Read<T>, Unread> {
        let last = match last {
            Some(last) if last.stamp.is_current(&self.path) => return Ok(last),
            last => last,
        };
        // Taken before it is read: what changes from here on is seen as a change.
        let stamp = Stamp::of(&self.path);
        let bytes = Zeroizing::new(trust::read(&self.path, self.limit).map_err(unread)?);
        let digest = digest(&SHA256, &bytes);
        let value = match last {
            Some(last) if last.digest.as_ref() == digest.as_ref() => last.value,
            _ => {
                let value = (self.parse)(&self.path, &bytes);
                Arc::new(value.map_err(|cause| Unread::Bad(format!("{}: {cause}", self.path.display())))?)
            }
        };
        Ok(Read { stamp, digest, value })
    }
}

fn unread(error: Untrusted) -> Unread {
    let cause = error.to_string();
    match error {
        Untrusted::Io { error, .. }
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Unread::Absent(cause)
        }
        _ => Unread::Bad(cause),
    }
}

/// Where JSON is not as it should be. Its own message would quote what is written there.
#[must_use]
pub fn json_cause(error: &serde_json::Error) -> String {
    format!("not JSON of the expected form, at line {}, column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static PARSED: AtomicUsize = AtomicUsize::new(0);

    fn text(_: &Path, bytes: &[u8]) -> Result<String, String> {
        PARSED.fetch_add(1, Ordering::Relaxed);
        String::from_utf8(bytes.to_vec()).map_err(|_| "not UTF-8".to_owned())
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_changes_and_a_bad_one_does_not_leave_the_old_content_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let watched = Watched::new(path.clone(), 5, text);
        let now = async || watched.now().await.map(|text| text.to_string());
        let absent = now().await.unwrap_err();
        assert!(matches!(&absent, Unread::Absent(cause) if cause.contains("create it")), "{absent:?}");
        fs::write(&path, "one").unwrap();
        assert_eq!(now().await, Ok("one".to_owned()));
        let first = watched.now().await.unwrap();
        let all = futures_util::future::join_all((0..9).map(|_| watched.now())).await;
        assert!(all.into_iter().all(|text| Arc::ptr_eq(&text.unwrap(), &first)), "the same bytes are the same value");
        fs::write(&path, "one").unwrap();
        assert!(Arc::ptr_eq(&watched.now().await.unwrap(), &first));
        assert_eq!(PARSED.load(Ordering::Relaxed), 1);
        fs::write(&path, "two").unwrap();
        assert_eq!(now().await, Ok("two".to_owned()));
        fs::write(&path, b"\xff").unwrap();
        assert!(matches!(now().await, Err(Unread::Bad(cause)) if cause.ends_with("/file: not UTF-8")));
        assert_eq!(watched.last(), None);
        fs::write(&path, "12345").unwrap();
        assert_eq!(now().await, Ok("12345".to_owned()));
        fs::write(&path, "123456").unwrap();
        assert!(matches!(now().await, Err(Unread::Bad(cause)) if cause.contains("larger than the limit of 5 bytes")));
    }
}
