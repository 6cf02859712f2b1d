//! What containerd would make of its configuration if some files were other than they are: the very program is asked,
//! over a copy of them that nobody else sees and that goes away again.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::containerd::{imports, process};

/// A configuration that is not in force.
pub struct Draft<'a> {
    /// The main file, as the node names it.
    pub config: &'a Path,
    /// What it is to hold.
    pub text: &'a str,
    /// Another file that is to be there, and what it is to hold.
    pub dropin: Option<(&'a Path, &'a str)>,
    /// Where a file of the node lies on this machine.
    pub at: &'a dyn Fn(&Path) -> PathBuf,
}

impl Draft<'_> {
    /// The effective configuration, as a containerd prints it.
    ///
    /// # Errors
    /// Why containerd would not start with it, or cannot be asked.
    pub async fn effective(&self, program: &Path) -> Result<Table, String> {
        if self.text.starts_with('\u{feff}') {
            return Err(format!("{} begins with a byte order mark, take it out", self.config.display()));
        }
        let scratch = Scratch::new().map_err(|error| format!("a folder to try it in: {error}"))?;
        let mut main: Table = self.text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
        if let Some(Value::Array(list)) = main.get_mut("imports") {
            for (index, import) in list.iter_mut().enumerate() {
                let Some(pattern) = import.as_str() else { return Err("imports has what is no string".to_owned()) };
                *import = Value::String(self.copy(pattern, &scratch.0.join(index.to_string()))?);
            }
        }
        let config = scratch.0.join("config.toml");
        let text = toml::to_string(&main).map_err(|error| error.to_string())?;
        fs::write(&config, text).map_err(|error| error.to_string())?;
        let (printed, _) = process::print(program, &config).await?;
        printed.parse().map_err(|error: toml::de::Error| error.message().to_owned())
    }

    /// Copies what an import stands for into a folder, and names it there.
    fn copy(&self, import: &str, folder: &Path) -> Result<String, String> {
        fs::create_dir(folder).map_err(|error| error.to_string())?;
        let import = imports::resolve(self.config, import);
        let (Some(parent), Some(name)) = (import.parent(), import.file_name()) else {
            return Err(format!("{} is imported, and is no file", import.display()));
        };
        if parent.to_string_lossy().contains('*') {
            return Err(format!("{} is imported, whose folders cannot be told", import.display()));
        }
        let pattern = name.to_string_lossy().contains('*');
        let entries = fs::read_dir((self.at)(parent)).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| parent.join(entry.file_name())).collect();
        files.extend(self.dropin.map(|(path, _)| path.to_owned()).filter(|path| path.parent() == Some(parent)));
        for file in files.iter().filter(|file| imports::covers(self.config, &import.to_string_lossy(), file)) {
            let text = match self.dropin {
                Some((path, text)) if path == file => text.to_owned(),
                _ => fs::read_to_string((self.at)(file)).map_err(|error| format!("{}: {error}", file.display()))?,
            };
            if imports::of(&text).is_ok_and(|imports| !imports.is_empty()) {
                return Err(format!("{} is imported, and imports others", file.display()));
            }
            let name = file.file_name().unwrap_or_default();
            fs::write(folder.join(name), text).map_err(|error| error.to_string())?;
        }
        let name = if pattern { "*".as_ref() } else { name };
        Ok(folder.join(name).to_string_lossy().into_owned())
    }
}

/// A folder that only this user can look into: configurations may hold credentials.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        // Where root alone can write, and what is left after a loss of power goes.
        let run = Path::new("/run");
        if rustix::process::geteuid().is_root()
            && let Ok(scratch) = Self::below(run)
        {
            return Ok(scratch);
        }
        Self::below(&std::env::temp_dir())
    }

    fn below(folder: &Path) -> io::Result<Self> {
        sweep(folder);
        let mut last = io::ErrorKind::AlreadyExists.into();
        for number in 0..ATTEMPTS {
            let path = folder.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Removes what this user's processes have left that were killed.
fn sweep(folder: &Path) {
    let own = rustix::process::geteuid().as_raw();
    let is_left = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()?.strip_prefix(PREFIX)?.split_once('-'));
        let pid = name.and_then(|(pid, _)| pid.parse::<u32>().ok());
        let is_gone = pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        is_gone && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own)
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| is_left(path)) {
        // Nobody is left to tell.
        let _ = fs::remove_dir_all(path);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How the folders are called, with a process id and a number after it.
const PREFIX: &str = "ratifyctl-";

/// How many names are tried.
const ATTEMPTS: usize = 100;

/// Where two configurations differ: the keys, each as its path.
#[must_use]
pub fn differences(before: &Table, after: &Table) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    compare(before, after, &mut Vec::new(), &mut found);
    found
}

fn compare(before: &Table, after: &Table, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let added = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(added) {
        path.push(key.clone());
        match (before.get(key), after.get(key)) {
            (Some(Value::Table(before)), Some(Value::Table(after))) => compare(before, after, path, found),
            (before, after) if before == after => {}
            _ => found.push(path.clone()),
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_has_left_is_swept_and_what_another_uses_stays() {
        let folder = tempfile::tempdir().unwrap();
        // No process has an id this high (proc(5), pid_max).
        let (left, used) = ("ratifyctl-4194305-0", format!("ratifyctl-{}-0", std::process::id()));
        for name in [left, &used, "ratifyctl-x", "other"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join(left).join("config.toml"), "secret").unwrap();
        let scratch = Scratch::below(folder.path()).unwrap();
        assert!(scratch.0.ends_with(format!("ratifyctl-{}-1", std::process::id())));
        assert!(!folder.path().join(left).exists());
        assert!([&used, "ratifyctl-x", "other"].iter().all(|name| folder.path().join(name).exists()));
    }

    #[test]
    fn differences_are_the_keys_that_are_other_or_on_one_side_only() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let before = table("a = 1\nb = [1]\n[t]\nx = 1\ny = 2\n[t.u]\nz = 1\n");
        let after = table("a = 1\nb = [2]\n[t]\nx = 1\nw = 3\n[t.u]\nz = 2\n");
        let paths: Vec<String> = differences(&before, &after).iter().map(|path| path.join(".")).collect();
        assert_eq!(paths, ["b", "t.u.z", "t.y", "t.w"]);
        assert!(differences(&before, &before).is_empty());
    }
}
