//! Programs for tests, and a runner that runs them as nobody.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::runner::{Options, Runner};

/// A user who is nobody here.
pub(crate) const NOBODY: u32 = 65534;

/// Ends the test, aloud, where it does not run as root; a failure with `CI=true`, where nothing is passed over.
pub(crate) fn lacks_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root || std::env::var("CI").as_deref() != Ok("true"), "nothing is passed over in CI: needs root");
    if !is_root {
        eprintln!("SKIPPED: needs root");
    }
    !is_root
}

/// A folder of programs that everybody may look into.
pub(crate) struct Programs(tempfile::TempDir);

impl Programs {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        chmod(folder.path(), 0o755);
        Self(folder)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Writes a program. Another process does: a file that this one had open for writing might still be so in a child of
    /// another test, and could not be run (execve(2), ETXTBSY).
    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        let mut install = Command::new("install");
        install.args(["-D", "-m", "755", "/dev/stdin"]).arg(&path).stdin(Stdio::piped());
        let mut install = install.spawn().unwrap();
        install.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(install.wait().unwrap().success());
        path
    }

    /// A folder that everybody may write into.
    pub(crate) fn open_folder(&self) -> PathBuf {
        let path = self.0.path().join("open");
        fs::create_dir(&path).unwrap();
        chmod(&path, 0o777);
        path
    }
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// One that runs programs as nobody.
pub(crate) fn runner(timeout: Duration) -> Runner {
    let options = Options { user: NOBODY.to_string(), socket: "/nonexistent/plugins.sock".into(), timeout };
    Runner::new(options)
}
