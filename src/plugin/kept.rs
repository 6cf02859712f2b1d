//! Where fetched programs are kept: by digest, readable and executable by everybody and writable by nobody, with a record
//! for each plugin of what it is and was. Nothing is used because it lies here: its digest is computed again, and its
//! record says by which trust it was taken.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempDir};

use crate::artifact::{Descriptor, Digest};
use crate::json;
use crate::limits;
use crate::trust::{self, Untrusted};

/// A folder of programs.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    /// Set where it goes with this process.
    _scratch: Option<TempDir>,
}

/// A plugin in force, by one trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// Its reference, as configured.
    pub reference: String,
    /// The artifact.
    pub artifact: Descriptor,
    /// The program in it.
    pub program: Digest,
    /// The program before it, which pulls may still run.
    pub before: Option<Digest>,
    /// When it was last found good, in seconds since 1970.
    pub at: u64,
}

/// What a reference has named, whoever vouched for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct History {
    /// The artifacts that were taken, the last one last.
    pub seen: Vec<Digest>,
    /// When the last one was made, as it says itself, and not later than it was taken.
    pub created: Option<String>,
}

impl History {
    /// With another artifact that is taken.
    #[must_use]
    pub fn with(mut self, artifact: &Digest, created: Option<&String>, now: SystemTime) -> Self {
        self.seen.retain(|digest| digest != artifact);
        self.seen.push(artifact.clone());
        self.seen.drain(..self.seen.len().saturating_sub(limits::PLUGIN_HISTORY));
        let created = created.and_then(|text| humantime::parse_rfc3339(text).ok());
        self.created = created.map(|at| humantime::format_rfc3339_seconds(at.min(now)).to_string());
        self
    }
}

impl Kept {
    /// Opens a folder, made where there is none; none: one that goes with this process.
    ///
    /// # Errors
    /// It cannot be made, or others could write into it.
    pub fn open(folder: Option<&Path>) -> Result<Self, String> {
        let scratch = match folder {
            Some(_) => None,
            None => Some(scratch().map_err(|error| error.to_string())?),
        };
        let folder = folder.map(Path::to_owned).or_else(|| scratch.as_ref().map(|folder| folder.path().to_owned()));
        let kept = Self { folder: folder.unwrap_or_default(), _scratch: scratch };
        let above = kept.folder.parent().map(|above| DirBuilder::new().recursive(true).mode(0o755).create(above));
        above.transpose().map_err(|error| format!("{}: {error}", kept.folder.display()))?;
        make(&kept.folder, 0o755)?;
        trust::check(&kept.folder).map_err(|error| error.to_string())?;
        kept.is_open()?;
        make(&kept.folder.join(PROGRAMS), 0o755)?;
        make(&kept.folder.join(RECORDS), 0o700)?;
        make(&kept.folder.join(HISTORIES), 0o700)?;
        Ok(kept)
    }

    /// Who runs plugins is another user, and none of its group.
    fn is_open(&self) -> Result<(), String> {
        let told = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        let mode = self.folder.metadata().map_err(told)?.permissions().mode() & 0o7777;
        if mode & 0o001 != 0 {
            return Ok(());
        }
        let folder = self.folder.display();
        Err(format!("{folder} is closed to whoever runs plugins (mode {mode:04o}); chmod 755 {folder}"))
    }

    /// Where a plugin's program lies, or would: under the plugin's own name, which its messages have.
    #[must_use]
    pub fn path(&self, name: &str, program: &Digest) -> PathBuf {
        self.place(program).join(name)
    }

    fn place(&self, program: &Digest) -> PathBuf {
        self.folder.join(PROGRAMS).join(program.as_str().replace(':', "-"))
    }

    /// Whether a program is there, whole.
    #[must_use]
    pub fn has(&self, name: &str, program: &Digest) -> bool {
        let own = rustix::process::geteuid().as_raw();
        let found = trust::digest_program(&self.path(name, program), own);
        found.is_ok_and(|found| Digest::from_hash("sha256", &found) == *program)
    }

    /// Keeps a program: whole, or not at all.
    ///
    /// # Errors
    /// It cannot be written, in words.
    pub fn put(&self, name: &str, program: &Digest, bytes: &[u8]) -> Result<(), String> {
        let (place, path) = (self.place(program), self.path(name, program));
        make(&place, 0o755)?;
        write(&place, &path, bytes, 0o555).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// What is in force of a plugin.
    ///
    /// # Errors
    /// There is something that cannot be read.
    pub fn record(&self, name: &str) -> Result<Option<Record>, String> {
        read(&self.path_of(RECORDS, name))
    }

    /// What a reference has named.
    ///
    /// # Errors
    /// There is something that cannot be read: then nobody knows what was in force.
    pub fn history(&self, name: &str) -> Result<History, String> {
        read(&self.path_of(HISTORIES, name)).map(Option::unwrap_or_default)
    }

    /// Keeps what is in force of a plugin, and lets go of programs that no plugin names.
    ///
    /// # Errors
    /// It cannot be written, in words.
    pub fn keep(&self, name: &str, record: &Record) -> Result<(), String> {
        self.write_json(RECORDS, name, record)?;
        self.sweep();
        Ok(())
    }

    /// Keeps what a reference has named.
    ///
    /// # Errors
    /// It cannot be written, in words.
    pub fn keep_history(&self, name: &str, history: &History) -> Result<(), String> {
        self.write_json(HISTORIES, name, history)
    }

    /// Says that a plugin is still in use, though it could not be asked for.
    pub fn touch(&self, name: &str) {
        // Where it cannot be said it is found out the next time.
        let _ = fs::File::open(self.path_of(RECORDS, name)).and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Nothing of a plugin is in force any more.
    ///
    /// # Errors
    /// That cannot be written down, in words.
    pub fn forget(&self, name: &str) -> Result<(), String> {
        let path = self.path_of(RECORDS, name);
        fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn path_of(&self, folder: &str, name: &str) -> PathBuf {
        self.folder.join(folder).join(format!("{name}.json"))
    }

    fn write_json(&self, folder: &str, name: &str, value: &impl Serialize) -> Result<(), String> {
        let path = self.path_of(folder, name);
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        let bytes = serde_json::to_vec_pretty(value).map_err(|error| told(error.into()))?;
        write(&self.folder.join(folder), &path, &bytes, 0o600).map_err(told)
    }

    /// Removes records that nobody has used for long, and programs that none names. What cannot be read may name anything:
    /// then no program goes.
    fn sweep(&self) {
        let Some(names) = self.names() else { return };
        let mut named = Vec::new();
        for name in names {
            let path = self.path_of(RECORDS, &name);
            if is_older(&path, limits::PLUGIN_UNUSED) {
                // Another process may have been quicker.
                let _ = fs::remove_file(path);
                continue;
            }
            let Ok(record) = self.record(&name) else { return };
            let programs = record.into_iter().flat_map(|record| [Some(record.program), record.before]).flatten();
            named.extend(programs.map(|program| self.place(&program)));
        }
        for entry in fs::read_dir(self.folder.join(PROGRAMS)).into_iter().flatten().flatten() {
            let place = entry.path();
            if is_older(&place, limits::PLUGIN_LEFT) && !named.contains(&place) {
                let _ = fs::remove_dir_all(place);
            }
        }
    }

    /// The names of all records; none where there are too many, or they cannot be listed.
    fn names(&self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.folder.join(RECORDS)).ok()? {
            let name = entry.ok()?.file_name().into_string().ok()?;
            names.extend(name.strip_suffix(".json").map(str::to_owned));
            if names.len() > limits::PLUGIN_ENTRIES {
                return None;
            }
        }
        Some(names)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let unreadable =
        |cause: &dyn std::fmt::Display| format!("{} cannot be read: {cause}; remove it to begin anew", path.display());
    match trust::read(path, limits::PLUGIN_RECORD_BYTES) {
        Ok(bytes) => json::from_slice(&bytes).map(Some).map_err(|error| unreadable(&error)),
        Err(Untrusted::Io { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&error)),
    }
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|found| found > age))
}

/// A folder that whoever runs plugins may look into.
fn scratch() -> std::io::Result<TempDir> {
    tempfile::Builder::new().prefix("ratify-plugins-").permissions(Permissions::from_mode(0o755)).tempdir()
}

const PROGRAMS: &str = "programs";
const RECORDS: &str = "records";
const HISTORIES: &str = "histories";

/// Makes a folder with a mode, whatever the process's mask.
fn make(folder: &Path, mode: u32) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    match DirBuilder::new().mode(mode).create(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(told),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(told(error)),
    }
}

fn write(folder: &Path, path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(folder)?.sync_all()
}
