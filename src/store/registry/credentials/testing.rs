//! What the tests of several providers need: executables, files, a question.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::secret::Secret;
use crate::store::registry::credentials::{Credential, Provider, Wanted};

/// A folder of executables and files.
pub(super) struct Scripts(tempfile::TempDir);

impl Scripts {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes an executable. Another process does: a file that this one had open for writing might still be so in a
    /// child of another test, and could not be run (execve(2), ETXTBSY).
    pub(super) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let mut install =
            Command::new("install").args(["-m", "755", "/dev/stdin"]).arg(&path).stdin(Stdio::piped()).spawn().unwrap();
        install.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(install.wait().unwrap().success());
        path
    }

    pub(super) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// How often scripts that write a line each into `log` have run.
    pub(super) fn runs(&self) -> usize {
        fs::read_to_string(self.path("log")).unwrap_or_default().lines().count()
    }
}

pub(super) fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic { username: username.to_owned(), password: Secret::new(password.to_owned()) }
}

/// Asks a provider for `HOST/PATH`.
pub(super) async fn ask(provider: &impl Provider, image: &str) -> Result<Option<Credential>, String> {
    let (host, path) = image.split_once('/').unwrap();
    provider.credential(&Wanted { host, path, is_mirror: false }, soon()).await
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}
