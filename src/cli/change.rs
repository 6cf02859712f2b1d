//! Changes to a node, planned before anything is touched: what is already so is no change, each one can be shown to a
//! person first, and each is made in one step or not at all. Used by `install`, `uninstall` and `doctor --fix`.
//!
//! A plan has a root, so that the image of a node can be set up while it is built; all paths are those of the node.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::cli::diff;
use crate::limits;
use crate::verdict::printable;

/// Changes, in the order in which they are made.
#[derive(Debug)]
pub(super) struct Plan {
    root: PathBuf,
    changes: Vec<Change>,
}

/// One change. The path is the node's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A folder is made, with those above it.
    Directory { path: PathBuf },
    /// A text file is written.
    Text { path: PathBuf, before: Option<String>, after: String, mode: u32 },
    /// A file is copied from elsewhere on this machine.
    Copy { path: PathBuf, from: PathBuf, mode: u32 },
    /// A symbolic link is made, or leads elsewhere.
    Link { path: PathBuf, target: PathBuf },
    /// A file or link gets another name in its folder.
    Rename { path: PathBuf, to: PathBuf },
    /// Permissions are set.
    Mode { path: PathBuf, before: u32, after: u32 },
    /// A file or link is removed.
    Remove { path: PathBuf },
    /// A folder is removed if nothing is left in it.
    RemoveEmpty { path: PathBuf },
    /// A folder is removed with all that is in it.
    RemoveAll { path: PathBuf },
    /// A command is run.
    Run { command: Vec<String>, why: String },
}

/// A change in words; how a plan is shown in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    /// What is done: `write`, `link`, `remove`, `run` and so on.
    action: &'static str,
    /// One line for people.
    line: String,
    /// The lines of a file that change.
    #[serde(skip_serializing_if = "String::is_empty")]
    diff: String,
}

impl Plan {
    /// An empty plan for the node whose files lie below `root`.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), changes: Vec::new() }
    }

    /// Where the node's files lie.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether all is already so.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes.
    pub(super) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Where a path of the node lies on this machine.
    pub(super) fn at(&self, path: &Path) -> PathBuf {
        below(&self.root, path)
    }

    /// The folder is there.
    pub(super) fn directory(&mut self, path: &Path) {
        if !self.at(path).is_dir() {
            self.changes.push(Change::Directory { path: path.to_owned() });
        }
    }

    /// The file has this text and these permissions.
    ///
    /// # Errors
    /// It cannot be read, or is no file.
    pub(super) fn text(&mut self, path: &Path, after: impl Into<String>, mode: u32) -> Result<(), String> {
        let (after, path) = (after.into(), path.to_owned());
        let before = read(&self.at(&path))?;
        match &before {
            Some(text) if *text == after => self.mode(&path, mode),
            _ => self.changes.push(Change::Text { path, before, after, mode }),
        }
        Ok(())
    }

    /// The file has this text, and keeps its permissions.
    ///
    /// # Errors
    /// It cannot be read, or is no file.
    pub(super) fn edit(&mut self, path: &Path, after: impl Into<String>) -> Result<(), String> {
        let mode = file(&self.at(path))?.map_or(0o644, |metadata| metadata.mode() & 0o7777);
        self.text(path, after, mode)
    }

    /// The file is a copy of another.
    ///
    /// # Errors
    /// One of them cannot be read, or is no file.
    pub(super) fn copy(&mut self, path: &Path, from: &Path, mode: u32) -> Result<(), String> {
        let at = self.at(path);
        if file(&at)?.is_some() && same(&at, from).map_err(|error| format!("{}: {error}", from.display()))? {
            self.mode(path, mode);
        } else {
            self.changes.push(Change::Copy { path: path.to_owned(), from: from.to_owned(), mode });
        }
        Ok(())
    }

    /// The path is a symbolic link to this.
    ///
    /// # Errors
    /// It is something else, which stays.
    pub(super) fn link(&mut self, path: &Path, target: &Path) -> Result<(), String> {
        let at = self.at(path);
        match fs::symlink_metadata(&at) {
            Ok(metadata) if !metadata.is_symlink() => Err(format!("{} is there and no link: move it", path.display())),
            Ok(_) if fs::read_link(&at).is_ok_and(|now| now == target) => Ok(()),
            _ => {
                self.changes.push(Change::Link { path: path.to_owned(), target: target.to_owned() });
                Ok(())
            }
        }
    }

    /// The entry has another name in its folder.
    pub(super) fn rename(&mut self, path: &Path, to: &Path) {
        self.changes.push(Change::Rename { path: path.to_owned(), to: to.to_owned() });
    }

    /// The permissions are these, where the file is there.
    pub(super) fn mode(&mut self, path: &Path, after: u32) {
        if let Ok(metadata) = fs::symlink_metadata(self.at(path)) {
            let before = metadata.mode() & 0o7777;
            if before != after {
                self.changes.push(Change::Mode { path: path.to_owned(), before, after });
            }
        }
    }

    /// The file or link is not there.
    pub(super) fn remove(&mut self, path: &Path) {
        if fs::symlink_metadata(self.at(path)).is_ok() {
            self.changes.push(Change::Remove { path: path.to_owned() });
        }
    }

    /// The folder is not there, unless something else is left in it.
    pub(super) fn remove_empty(&mut self, path: &Path) {
        let Ok(entries) = fs::read_dir(self.at(path)) else { return };
        let goes = |entry: &Path| {
            let gone = |change: &Change| match change {
                Change::Remove { path } | Change::RemoveEmpty { path } | Change::RemoveAll { path } => path == entry,
                _ => false,
            };
            self.changes.iter().any(gone)
        };
        let all_go = entries.flatten().all(|entry| goes(&path.join(entry.file_name())));
        if all_go {
            self.changes.push(Change::RemoveEmpty { path: path.to_owned() });
        }
    }

    /// The same for a folder that a command before this empties.
    pub(super) fn remove_emptied(&mut self, path: &Path) {
        if self.at(path).is_dir() {
            self.changes.push(Change::RemoveEmpty { path: path.to_owned() });
        }
    }

    /// The folder is not there, whatever it holds.
    pub(super) fn remove_all(&mut self, path: &Path) {
        if self.at(path).is_dir() {
            self.changes.push(Change::RemoveAll { path: path.to_owned() });
        }
    }

    /// A command has been run; that it must be is for the caller to know.
    pub(super) fn run(&mut self, command: &[&str], why: &str) {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        self.changes.push(Change::Run { command, why: why.to_owned() });
    }

    /// The changes in words.
    pub(super) fn told(&self) -> Vec<Told> {
        self.changes.iter().map(Change::told).collect()
    }

    /// Makes the changes and tells of each one once it is made. Ends at the first that cannot be made.
    ///
    /// # Errors
    /// What could not be done.
    pub(super) fn apply(&self, mut made: impl FnMut(&Change)) -> Result<(), String> {
        for change in &self.changes {
            self.make(change).map_err(|cause| format!("{}: {cause}", change.told().line))?;
            made(change);
        }
        Ok(())
    }

    fn make(&self, change: &Change) -> Result<(), String> {
        let told = |error: io::Error| error.to_string();
        match change {
            Change::Directory { path } => make_folder(&self.inside(path)?).map_err(told),
            Change::Text { path, before, after, mode } => {
                let at = self.inside(path)?;
                if read(&at)? != *before {
                    return Err("it has changed since it was looked at; run this again".to_owned());
                }
                replace(&at, *mode, &mut after.as_bytes()).map_err(told)
            }
            Change::Copy { path, from, mode } => {
                let mut from = File::open(from).map_err(told)?;
                replace(&self.inside(path)?, *mode, &mut from).map_err(told)
            }
            Change::Link { path, target } => relink(&self.inside(path)?, target).map_err(told),
            Change::Rename { path, to } => {
                let (from, to) = (self.inside(path)?, self.inside(to)?);
                fs::rename(&from, &to).and_then(|()| sync_folder(&to)).map_err(told)
            }
            Change::Mode { path, after, .. } => {
                fs::set_permissions(self.inside(path)?, Permissions::from_mode(*after)).map_err(told)
            }
            Change::Remove { path } => {
                let at = self.inside(path)?;
                fs::remove_file(&at).and_then(|()| sync_folder(&at)).map_err(told)
            }
            Change::RemoveEmpty { path } => match fs::remove_dir(self.inside(path)?) {
                // What something is left in stays, and what a command has removed is gone.
                Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                    Err(told(error))
                }
                _ => Ok(()),
            },
            Change::RemoveAll { path } => fs::remove_dir_all(self.inside(path)?).map_err(told),
            Change::Run { command, .. } => run(command),
        }
    }

    /// Where a path lies, once it is certain that links on its way lead to no place outside the root.
    fn inside(&self, path: &Path) -> Result<PathBuf, String> {
        let at = self.at(path);
        if self.root == Path::new("/") {
            return Ok(at);
        }
        let root = self.root.canonicalize().map_err(|error| format!("{}: {error}", self.root.display()))?;
        let folder = at.ancestors().skip(1).find_map(|folder| folder.canonicalize().ok());
        if folder.is_some_and(|folder| folder.starts_with(&root)) {
            return Ok(at);
        }
        Err(format!("a link on the way leads out of {}", self.root.display()))
    }
}

impl Change {
    /// The change in words.
    pub(super) fn told(&self) -> Told {
        let (action, line, diff) = match self {
            Self::Directory { path } => ("directory", format!("make folder {}", path.display()), String::new()),
            Self::Text { path, before: Some(before), after, .. } => {
                ("change", format!("change {}", path.display()), diff::lines(before, after))
            }
            Self::Text { path, after, .. } => {
                let lines = after.lines().count();
                // Configuration is for people to judge; units and the like are ratifyd's own.
                let is_judged = path.extension().is_some_and(|ending| ending == "toml");
                let shown = if is_judged { diff::lines("", after) } else { String::new() };
                ("write", format!("write {} ({lines} lines)", path.display()), shown)
            }
            Self::Copy { path, from, .. } => {
                ("copy", format!("copy {} to {}", from.display(), path.display()), String::new())
            }
            Self::Link { path, target } => {
                ("link", format!("link {} to {}", path.display(), target.display()), String::new())
            }
            Self::Rename { path, to } => {
                ("rename", format!("rename {} to {}", path.display(), to.display()), String::new())
            }
            Self::Mode { path, before, after } => {
                ("mode", format!("chmod {after:o} {} (was {before:o})", path.display()), String::new())
            }
            Self::Remove { path } => ("remove", format!("remove {}", path.display()), String::new()),
            Self::RemoveEmpty { path } => ("remove", format!("remove empty folder {}", path.display()), String::new()),
            Self::RemoveAll { path } => {
                ("remove", format!("remove folder {} and all in it", path.display()), String::new())
            }
            Self::Run { command, why } => ("run", format!("run {}: {why}", command.join(" ")), String::new()),
        };
        Told { action, line: printable(&line), diff }
    }
}

impl Told {
    /// One line.
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// The line, and the lines of the file below it.
    pub(super) fn text(&self) -> String {
        let mut text = format!("  {}\n", self.line);
        for line in self.diff.lines() {
            text.push_str("      ");
            text.push_str(&printable(line));
            text.push('\n');
        }
        text
    }
}

/// A path of a node whose files lie below `root`.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    let inside: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    root.join(inside)
}

/// Whether nothing can be written to the file system on which a path would lie, whoever asks.
pub(super) fn read_only(path: &Path) -> bool {
    let there = path.ancestors().find(|path| path.exists());
    let flags = there.and_then(|path| rustix::fs::statvfs(path).ok()).map(|fs| fs.f_flag);
    flags.is_some_and(|flags| flags.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// The metadata of a regular file; none where nothing is.
fn file(path: &Path) -> Result<Option<fs::Metadata>, String> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata)),
        Ok(metadata) if metadata.is_symlink() => {
            Err(format!("{} is a link: change what it leads to, or take it away", path.display()))
        }
        Ok(_) => Err(format!("{} is no file", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The text of a file that is changed or replaced; none where nothing is.
fn read(path: &Path) -> Result<Option<String>, String> {
    let Some(metadata) = file(path)? else { return Ok(None) };
    if metadata.len() > limits::CONFIG_BYTES {
        return Err(format!("{} is larger than {} bytes", path.display(), limits::CONFIG_BYTES));
    }
    fs::read_to_string(path).map(Some).map_err(|error| format!("{}: {error}", path.display()))
}

/// Whether two files hold the same.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    one.read_to_end(&mut first)?;
    other.read_to_end(&mut second)?;
    Ok(first == second)
}

/// Makes a folder, and those above it, as root's and readable for all.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make_folder(above)?;
    }
    DirBuilder::new().mode(0o755).create(path)?;
    // Whatever the umask says: others than root must be able to look through.
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    sync_folder(path)
}

/// Writes a file beside and gives it the name: who opens it sees the old content or the new one, whole. It belongs to
/// whom it belonged before.
fn replace(path: &Path, mode: u32, content: &mut dyn io::Read) -> io::Result<()> {
    // Not by an ending that somebody reads all files of.
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let beside = path.with_file_name(name);
    let owner = fs::symlink_metadata(path).ok().map(|metadata| (metadata.uid(), metadata.gid()));
    let _ = fs::remove_file(&beside);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        io::copy(content, &mut file)?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
        file.set_permissions(Permissions::from_mode(mode))?;
        file.flush()?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_folder(path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Makes a link in one step. Beside another it first has a name that ends as its own: in containerd's folder of
/// verifiers the end tells whether the shim refuses.
fn relink(path: &Path, target: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_err() {
        return symlink(target, path).and_then(|()| sync_folder(path));
    }
    let mut name = OsString::from(".new-");
    name.push(path.file_name().unwrap_or_default());
    let beside = path.with_file_name(name);
    let _ = fs::remove_file(&beside);
    symlink(target, &beside)?;
    fs::rename(&beside, path)?;
    sync_folder(path)
}

/// Makes sure that a new name outlives a loss of power.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn run(command: &[String]) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let ran = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let ran = ran.map_err(|error| format!("{program}: {error}"))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    Err(format!("{}: {}", ran.status, said.trim().lines().last().unwrap_or("it says nothing")))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn node() -> (TempDir, Plan) {
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan::new(folder.path());
        (folder, plan)
    }

    fn show(plan: &Plan) -> String {
        plan.told().iter().map(Told::text).collect()
    }

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    /// Plans the same each time.
    fn wanted(folder: &Path) -> Plan {
        let mut plan = Plan::new(folder);
        let path = Path::new;
        plan.directory(path("/etc/a/b"));
        plan.text(path("/etc/a/b/text"), "one\ntwo\n", 0o640).unwrap();
        plan.copy(path("/etc/a/copy"), Path::new("/proc/self/exe"), 0o755).unwrap();
        plan.link(path("/etc/a/link"), path("/etc/a/copy")).unwrap();
        plan.remove(path("/etc/old"));
        plan
    }

    #[test]
    fn what_is_planned_is_made_and_then_there_is_nothing_to_plan() {
        let (folder, _) = node();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("etc")).unwrap();
        fs::write(at("etc/old"), "").unwrap();
        let plan = wanted(folder.path());
        assert!(!at("etc/a").exists() && at("etc/old").exists(), "a plan changes nothing");
        let mut made = Vec::new();
        plan.apply(|change| made.push(change.told().action)).unwrap();
        assert_eq!(made, ["directory", "write", "copy", "link", "remove"]);
        assert!(wanted(folder.path()).is_empty());
        assert_eq!(fs::read_to_string(at("etc/a/b/text")).unwrap(), "one\ntwo\n");
        assert_eq!(
            [mode_of(&at("etc/a/b/text")), mode_of(&at("etc/a/copy")), mode_of(&at("etc/a"))],
            [0o640, 0o755, 0o755]
        );
        assert!(same(&at("etc/a/copy"), Path::new("/proc/self/exe")).unwrap());
        assert_eq!(fs::read_link(at("etc/a/link")).unwrap(), Path::new("/etc/a/copy"));
        let left: Vec<_> = fs::read_dir(at("etc/a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "nothing is left beside: {left:?}");
    }

    #[test]
    fn a_file_keeps_its_permissions_when_it_is_edited_and_gets_them_back_when_they_are_other() {
        let (folder, mut plan) = node();
        let file = folder.path().join("c.toml");
        fs::write(&file, "a\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        plan.edit(Path::new("/c.toml"), "a\nb\n").unwrap();
        assert_eq!(show(&plan), "  change /c.toml\n       a\n      +b\n");
        plan.apply(|_| ()).unwrap();
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), mode_of(&file)), ("a\nb\n", 0o600));
        let mut plan = Plan::new(folder.path());
        plan.text(Path::new("/c.toml"), "a\nb\n", 0o644).unwrap();
        assert_eq!(show(&plan), "  chmod 644 /c.toml (was 600)\n");
        plan.apply(|_| ()).unwrap();
        assert_eq!(mode_of(&file), 0o644);
    }

    #[test]
    fn a_file_that_somebody_changes_meanwhile_is_left_to_them() {
        let (folder, mut plan) = node();
        let file = folder.path().join("c");
        fs::write(&file, "a").unwrap();
        plan.text(Path::new("/c"), "b", 0o644).unwrap();
        plan.text(Path::new("/d"), "b", 0o644).unwrap();
        fs::write(&file, "theirs").unwrap();
        let cause = plan.apply(|_| ()).unwrap_err();
        assert_eq!(cause, "change /c: it has changed since it was looked at; run this again");
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
        assert!(!folder.path().join("d").exists(), "nothing is done after what could not be done");
    }

    #[test]
    fn a_file_at_the_limit_is_edited_and_one_byte_more_is_refused() {
        let (folder, mut plan) = node();
        let bytes = usize::try_from(limits::CONFIG_BYTES).unwrap();
        fs::write(folder.path().join("c"), "x".repeat(bytes)).unwrap();
        assert_eq!(plan.edit(Path::new("/c"), "y"), Ok(()));
        fs::write(folder.path().join("c"), "x".repeat(bytes + 1)).unwrap();
        assert!(plan.edit(Path::new("/c"), "y").is_err_and(|cause| cause.contains("is larger than")));
    }

    #[test]
    fn a_link_is_led_elsewhere_in_one_step_and_what_is_no_link_stays() {
        let (folder, mut plan) = node();
        let path = Path::new("/link");
        symlink("/one", folder.path().join("link")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        plan.link(path, Path::new("/two")).unwrap();
        assert!(plan.link(Path::new("/file"), path).is_err_and(|cause| cause.contains("no link")));
        assert!(plan.text(path, "", 0o644).is_err_and(|cause| cause.contains("is a link")));
        plan.apply(|_| ()).unwrap();
        assert_eq!(fs::read_link(folder.path().join("link")).unwrap(), Path::new("/two"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_goes_when_all_that_is_in_it_goes() {
        let (folder, mut plan) = node();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/ours"), "").unwrap();
        fs::write(folder.path().join("a/theirs"), "").unwrap();
        plan.remove(Path::new("/a/b/ours"));
        for path in ["/a/b", "/a", "/missing"] {
            plan.remove_empty(Path::new(path));
        }
        plan.apply(|_| ()).unwrap();
        assert!(!folder.path().join("a/b").exists() && folder.path().join("a/theirs").exists());
    }

    #[test]
    fn no_link_leads_a_change_out_of_the_root() {
        let (folder, mut plan) = node();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), folder.path().join("etc")).unwrap();
        plan.text(Path::new("/etc/sub/file"), "x", 0o644).unwrap();
        let cause = plan.apply(|_| ()).unwrap_err();
        assert!(cause.contains("leads out of"), "{cause}");
        assert_eq!(plan.at(Path::new("/../../x")), folder.path().join("x"));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_command_that_fails_is_told_with_its_last_words() {
        let (_folder, mut plan) = node();
        plan.run(&["sh", "-c", "echo first >&2; echo last >&2; exit 3"], "because");
        let cause = plan.apply(|_| ()).unwrap_err();
        assert!(cause.ends_with("because: exit status: 3: last"), "{cause}");
    }
}
