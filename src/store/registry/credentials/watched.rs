//! A file that is read when it is first needed and again whenever it has changed, so that what is rotated counts at
//! once. It is opened by the rules for trusted files; threads that wait for it are none of the runtime's own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::trust::{self, Stamp, Untrusted};

/// Makes a value of a file's bytes; errors hold nothing of what is written there.
pub type Parse<T> = fn(&Path, &[u8]) -> Result<T, String>;

/// A file and what was last read from it.
pub struct Watched<T> {
    path: PathBuf,
    limit: u64,
    parse: Parse<T>,
    last: Mutex<Option<(Stamp, Arc<T>)>>,
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
        Self { path, limit, parse, last: Mutex::new(None) }
    }

    /// What is in it now.
    ///
    /// # Errors
    /// See [`Unread`].
    pub async fn now(&self) -> Result<Arc<T>, Unread> {
        let (path, limit, parse, last) = (self.path.clone(), self.limit, self.parse, self.get());
        let read = tokio::task::spawn_blocking(move || {
            if let Some((stamp, value)) = last
                && stamp.is_current(&path)
            {
                return Ok((stamp, value));
            }
            // Taken before it is read: what changes from here on is seen as a change.
            let stamp = Stamp::of(&path);
            let bytes = Zeroizing::new(trust::read(&path, limit).map_err(unread)?);
            let value = parse(&path, &bytes).map_err(|cause| Unread::Bad(format!("{}: {cause}", path.display())))?;
            Ok((stamp, Arc::new(value)))
        });
        let read = read.await.unwrap_or_else(|error| Err(Unread::Bad(error.to_string())));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = read.as_ref().ok().cloned();
        read.map(|(_, value)| value)
    }

    /// What was last read from it, whatever is in it now.
    #[must_use]
    pub fn last(&self) -> Option<Arc<T>> {
        self.get().map(|(_, value)| value)
    }

    fn get(&self) -> Option<(Stamp, Arc<T>)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
    use std::time::Duration;

    use crate::store::registry::credentials::testing::Scripts;

    static READS: AtomicUsize = AtomicUsize::new(0);

    fn text(_: &Path, bytes: &[u8]) -> Result<String, String> {
        READS.fetch_add(1, Ordering::Relaxed);
        String::from_utf8(bytes.to_vec()).map_err(|_| "not UTF-8".to_owned())
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_changes_and_a_bad_one_does_not_leave_the_old_content_in_force() {
        let scripts = Scripts::new();
        let watched = Watched::new(scripts.path("file"), 5, text);
        let now = async || watched.now().await.map(|text| text.to_string());
        let absent = now().await.unwrap_err();
        assert!(matches!(&absent, Unread::Absent(cause) if cause.contains("create it")), "{absent:?}");
        let path = scripts.file("file", "one");
        assert_eq!(now().await, Ok("one".to_owned()));
        // Until a change of it must show, it is read each time.
        while !Stamp::of(&path).is_current(&path) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        now().await.unwrap();
        let reads = READS.load(Ordering::Relaxed);
        now().await.unwrap();
        assert_eq!(READS.load(Ordering::Relaxed), reads);
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
