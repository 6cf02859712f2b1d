//! How files that are trusted are opened and watched: the configuration, certificates, keys. A file counts only
//! if root, or the user this process runs as, wrote it and nobody else can change it or put another in its place.
//! Nothing here knows what is in a file.

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::limits;

pub mod remote;
pub mod watched;

/// Reads a trusted file of at most `limit` bytes. A symbolic link is followed; every directory and link on the
/// way is held to the same rules as the file.
///
/// # Errors
/// Why the file is not to be trusted or cannot be read, and the mend.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Untrusted> {
    let own = rustix::process::geteuid().as_raw();
    let physical = walk(path, |path, metadata| check_step(path, metadata, own))?;
    // `walk` followed all links.
    let mut file = open(&physical, OFlags::NOFOLLOW).map_err(|error| Untrusted::io(path, error))?;
    settled(path, || {
        let before = file.metadata().map_err(|error| Untrusted::io(path, error))?;
        check_file(&physical, &before, own, limit)?;
        let content = read_bounded(&mut file, &physical, limit)?;
        let after = file.metadata().map_err(|error| Untrusted::io(path, error))?;
        Ok((State::of(&before), content, State::of(&after)))
    })
}

/// Reads a file of at most `limit` bytes, whoever can change it: for what is judged by what it says. Links are followed.
///
/// # Errors
/// Why it cannot be read.
pub fn read_untrusted(path: &Path, limit: u64) -> Result<Vec<u8>, Untrusted> {
    let io = |error| Untrusted::io(path, error);
    let mut file = open(path, OFlags::empty()).map_err(io)?;
    if !file.metadata().map_err(io)?.is_file() {
        return Err(Untrusted::NotRegular { path: path.to_owned() });
    }
    read_bounded(&mut file, path, limit)
}

/// Opens a file to read it. Without `O_NONBLOCK`, opening a named pipe would wait for a writer.
fn open(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | more;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Checks who can change a file or directory, or put another in its place: nobody but root and this user.
///
/// # Errors
/// Who else can, and the mend; or that there is no such path.
pub fn check(path: &Path) -> Result<(), Untrusted> {
    let own = rustix::process::geteuid().as_raw();
    let physical = walk(path, |path, metadata| check_step(path, metadata, own))?;
    let metadata = physical.symlink_metadata().map_err(|error| Untrusted::io(path, error))?;
    check_owner(&physical, &metadata, own)?;
    check_mode(&physical, &metadata)
}

/// An entry of a trusted folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry of a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, whatever it leads to.
    Link,
    /// A pipe, a socket or a device.
    Other,
}

/// The entries of a folder in which nobody but root and this user can put any, at most `limit`, by their names.
///
/// # Errors
/// Why the folder is not to be trusted or cannot be read, and the mend.
pub fn list(path: &Path, limit: usize) -> Result<Vec<Entry>, Untrusted> {
    let io = |error| Untrusted::io(path, error);
    let own = rustix::process::geteuid().as_raw();
    let physical = walk(path, |path, metadata| check_step(path, metadata, own))?;
    let metadata = physical.symlink_metadata().map_err(io)?;
    if !metadata.is_dir() {
        return Err(Untrusted::NotFolder { path: physical });
    }
    check_owner(&physical, &metadata, own)?;
    // In a sticky folder others cannot replace an entry, but they can add one.
    check_mode(&physical, &metadata)?;
    let mut entries = Vec::new();
    for entry in physical.read_dir().map_err(io)? {
        let entry = entry.map_err(io)?;
        if entries.len() == limit {
            return Err(Untrusted::TooMany { path: physical, limit });
        }
        let kind = match entry.file_type().map_err(io)? {
            kind if kind.is_file() => EntryKind::File,
            kind if kind.is_dir() => EntryKind::Folder,
            kind if kind.is_symlink() => EntryKind::Link,
            _ => EntryKind::Other,
        };
        entries.push(Entry { name: entry.file_name(), kind });
    }
    entries.sort();
    Ok(entries)
}

/// Checks a program that decides something: nobody but root, and `owner` where it is another, can change it or put
/// another in its place, and it is no symbolic link. Returns its state before the check.
///
/// # Errors
/// Why it is not to be trusted or is no program, and the mend.
pub fn check_program(path: &Path, owner: u32) -> Result<Stamp, Untrusted> {
    let stamp = Stamp::of(path);
    let found = path.symlink_metadata().map_err(|error| Untrusted::io(path, error))?;
    if found.is_symlink() {
        return Err(Untrusted::Link { path: path.to_owned() });
    }
    let physical = walk(path, |path, metadata| check_step(path, metadata, owner))?;
    let metadata = physical.symlink_metadata().map_err(|error| Untrusted::io(path, error))?;
    check_file(&physical, &metadata, owner, limits::PLUGIN_FILE_BYTES)?;
    // Whoever runs it is another user, and none of its group.
    if metadata.mode() & 0o005 != 0o005 {
        return Err(Untrusted::NotExecutable { path: physical, mode: metadata.mode() & 0o7777 });
    }
    Ok(stamp)
}

/// The SHA-256 of a program, checked like [`check_program`], and the state that it was read in.
///
/// # Errors
/// As [`check_program`].
pub fn digest_program(path: &Path, owner: u32) -> Result<[u8; 32], Untrusted> {
    let io = |error| Untrusted::io(path, error);
    for _ in 0..limits::TRUST_READS {
        let stamp = check_program(path, owner)?;
        let mut context = Context::new(&SHA256);
        let mut file = File::open(path).map_err(io)?.take(limits::PLUGIN_FILE_BYTES);
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match file.read(&mut chunk).map_err(io)? {
                0 => break,
                bytes => context.update(chunk.get(..bytes).unwrap_or_default()),
            }
        }
        if stamp == Stamp::of(path) {
            return Ok(context.finish().as_ref().try_into().unwrap_or_default());
        }
    }
    Err(Untrusted::Changing { path: path.to_owned() })
}

/// The state of a path at one moment, to be compared with a later one: every directory and link on the way, and what
/// they lead to. Taken before a file is read, it tells whether what was read, or why it was not, may have changed since.
#[derive(Clone, Debug)]
pub struct Stamp {
    way: Vec<State>,
    target: Result<State, io::ErrorKind>,
    /// Whether the last change was so long before that a later one must show: file systems count time in ticks.
    settled: bool,
}

impl PartialEq for Stamp {
    /// Whether both are the same state, whenever they were taken.
    fn eq(&self, other: &Self) -> bool {
        self.way == other.way && self.target == other.target
    }
}

/// Longer than a tick of any file system's clock: Linux has 1 to 10 ms.
const TICK: Duration = Duration::from_millis(100);

impl Stamp {
    /// The state of a path now. A file that is missing, or cannot be looked at, has a state as well.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let mut way = Vec::new();
        let led = walk(path, |_, metadata| {
            way.push(if metadata.is_dir() { State::of_directory(metadata) } else { State::of(metadata) });
            Ok(())
        });
        let target = match led.map(|physical| physical.symlink_metadata()) {
            Ok(Ok(metadata)) => Ok(State::of(&metadata)),
            Ok(Err(error)) | Err(Untrusted::Io { error, .. }) => Err(error.kind()),
            Err(_) => Err(io::ErrorKind::Other),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let settled = way.iter().chain(&target).all(|state| !state.changed_within(TICK, now));
        Self { way, target, settled }
    }

    /// Whether the path still is as it was; a change that might not show counts as one.
    #[must_use]
    pub fn is_current(&self, path: &Path) -> bool {
        self.settled && *self == Self::of(path)
    }
}

/// Why a file is not trusted, or not read.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// The file is not there, or it cannot be opened or read.
    #[error("{}: {error}{}", path.display(), mend_of(error))]
    Io {
        /// The file, as configured.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is a directory, a pipe, a socket or a device.
    #[error("{} is not a regular file; name a file", path.display())]
    NotRegular {
        /// What it is.
        path: PathBuf,
    },
    /// It is no folder.
    #[error("{} is not a folder; name a folder", path.display())]
    NotFolder {
        /// What it is.
        path: PathBuf,
    },
    /// It has more entries than the limit.
    #[error("{} has more than {limit} entries; take away what does not belong there", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// A symbolic link where none may be.
    #[error("{} is a symbolic link; put the file itself there", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A program that others cannot run.
    #[error("{} cannot be run by others (mode {mode:04o}); chmod 755 {0}", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Another user could change it.
    #[error("{} belongs to uid {uid}; chown -h root {0}", path.display())]
    Owner {
        /// The file, directory or link.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Others than its owner could change it.
    #[error("{} can be written by {by} (mode {mode:04o}); chmod go-w {0}", path.display())]
    Writable {
        /// The file or directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Who else may write.
        by: Others,
    },
    /// It is larger than the limit.
    #[error("{} is larger than the limit of {limit} bytes; split it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        limit: u64,
    },
    /// It changed each time while it was read.
    #[error("{} keeps changing while it is read; write to another file and rename it", path.display())]
    Changing {
        /// The file, as configured.
        path: PathBuf,
    },
}

/// Who may write besides the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// The members of a group.
    Group(u32),
    /// Everybody.
    Everybody,
}

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(gid) => write!(f, "group {gid}"),
            Self::Everybody => f.write_str("everybody"),
        }
    }
}

impl Untrusted {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

fn mend_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; create it, or name another file",
        io::ErrorKind::PermissionDenied => "; let the user that ratifyd runs as read it",
        _ => "",
    }
}

/// Follows a path to what it leads to, one component at a time, and visits every directory and link on the way: who
/// may change one of them may put another file in place.
fn walk(path: &Path, mut visit: impl FnMut(&Path, &Metadata) -> Result<(), Untrusted>) -> Result<PathBuf, Untrusted> {
    let io = |error| Untrusted::io(path, error);
    let absolute = std::path::absolute(path).map_err(io)?;
    let mut physical = PathBuf::from("/");
    let mut rest = components(&absolute);
    let mut links = 0;
    visit(&physical, &physical.symlink_metadata().map_err(io)?)?;
    while let Some(component) = rest.pop() {
        if component == Path::new("..") {
            physical.pop();
            continue;
        }
        let next = physical.join(&component);
        let metadata = next.symlink_metadata().map_err(io)?;
        if metadata.is_symlink() {
            links += 1;
            if links > limits::TRUST_LINKS {
                return Err(io(Errno::LOOP.into()));
            }
            visit(&next, &metadata)?;
            let target = next.read_link().map_err(io)?;
            if target.is_absolute() {
                physical = PathBuf::from("/");
            }
            rest.extend(components(&target));
            continue;
        }
        if metadata.is_dir() {
            visit(&next, &metadata)?;
        } else if !rest.is_empty() {
            return Err(io(Errno::NOTDIR.into()));
        }
        physical = next;
    }
    Ok(physical)
}

/// Checks a directory or link on the way to a file.
fn check_step(path: &Path, metadata: &Metadata, own: u32) -> Result<(), Untrusted> {
    check_owner(path, metadata, own)?;
    // A link has no mode of its own. In a sticky directory only its owner and the entry's may rename or remove an
    // entry (unlink(2)), and every entry on the way is checked for its own owner.
    if metadata.is_symlink() || metadata.mode() & STICKY != 0 { Ok(()) } else { check_mode(path, metadata) }
}

/// The names in a path, the last first; `..` stays.
fn components(path: &Path) -> Vec<PathBuf> {
    let named = path.components().filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir));
    let mut names: Vec<PathBuf> = named.map(|component| PathBuf::from(component.as_os_str())).collect();
    names.reverse();
    names
}

fn check_file(path: &Path, metadata: &Metadata, own: u32, limit: u64) -> Result<(), Untrusted> {
    if !metadata.is_file() {
        return Err(Untrusted::NotRegular { path: path.to_owned() });
    }
    check_owner(path, metadata, own)?;
    check_mode(path, metadata)?;
    if metadata.size() > limit {
        return Err(Untrusted::TooLarge { path: path.to_owned(), limit });
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &Metadata, own: u32) -> Result<(), Untrusted> {
    let uid = metadata.uid();
    if uid == 0 || uid == own { Ok(()) } else { Err(Untrusted::Owner { path: path.to_owned(), uid }) }
}

fn check_mode(path: &Path, metadata: &Metadata) -> Result<(), Untrusted> {
    let mode = metadata.mode() & 0o7777;
    let by = if mode & 0o002 != 0 {
        Others::Everybody
    } else if mode & 0o020 != 0 {
        // Root's group too: where there is an access control list, these bits are its mask (acl(5)), and speak of
        // others whom it names.
        Others::Group(metadata.gid())
    } else {
        return Ok(());
    };
    Err(Untrusted::Writable { path: path.to_owned(), mode, by })
}

fn read_bounded(file: &mut File, path: &Path, limit: u64) -> Result<Vec<u8>, Untrusted> {
    use std::io::Seek as _;
    let io = |error| Untrusted::io(path, error);
    file.rewind().map_err(io)?;
    let mut content = Vec::new();
    // One byte more than the limit tells a file that has grown since it was looked at.
    file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(io)?;
    if u64::try_from(content.len()).map_or(true, |bytes| bytes > limit) {
        return Err(Untrusted::TooLarge { path: path.to_owned(), limit });
    }
    Ok(content)
}

/// Repeats a read until the file was the same before and after it.
fn settled(
    path: &Path,
    mut read: impl FnMut() -> Result<(State, Vec<u8>, State), Untrusted>,
) -> Result<Vec<u8>, Untrusted> {
    for _ in 0..limits::TRUST_READS {
        let (before, content, after) = read()?;
        if before == after {
            return Ok(content);
        }
    }
    Err(Untrusted::Changing { path: path.to_owned() })
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Changes with the content, the owner and the permissions, and cannot be set back (stat(2), `st_ctim`).
    changed: (i64, i64),
    mode: u32,
    uid: u32,
    gid: u32,
}

impl State {
    /// Whether it last changed less than `span` before `now`, both counted from 1970.
    fn changed_within(&self, span: Duration, now: Duration) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else { return false };
        now.checked_sub(Duration::new(seconds, nanoseconds)).is_some_and(|age| age < span)
    }

    /// What says who may put another entry into a directory. What entries there are is none of its state.
    fn of_directory(metadata: &Metadata) -> Self {
        Self { size: 0, modified: (0, 0), changed: (0, 0), ..Self::of(metadata) }
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
        }
    }
}

/// The sticky bit of a directory (stat(2), `S_ISVTX`).
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    /// An id that is neither root's nor this user's.
    const OTHER: u32 = 12_345;

    fn own() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        chmod(folder.path(), 0o755);
        folder
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn file(folder: &Path, name: &str, content: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        chmod(&path, 0o644);
        path
    }

    fn refusal(path: &Path) -> String {
        read(path, 100).unwrap_err().to_string()
    }

    /// Gives a path to a group that is not root's. Whoever is not root has none to give but their own.
    fn to_other_group(path: &Path) {
        if own() == 0 {
            chown(path, None, Some(OTHER)).unwrap();
        }
    }

    #[test]
    fn a_file_at_the_limit_is_read_and_one_past_it_is_refused() {
        let folder = folder();
        assert_eq!(read(&file(folder.path(), "a", ""), 0).unwrap(), b"");
        let path = file(folder.path(), "b", "12345");
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(
            read(&path, 4).unwrap_err().to_string(),
            format!("{} is larger than the limit of 4 bytes; split it", path.display())
        );
        let mut grown = File::open(&path).unwrap();
        assert!(matches!(read_bounded(&mut grown, &path, 4), Err(Untrusted::TooLarge { .. })));
        assert_eq!(read_bounded(&mut grown, &path, 5).unwrap(), b"12345");
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let folder = folder();
        let path = file(folder.path(), "a", "x");
        to_other_group(&path);
        for mode in [0o400, 0o440, 0o444, 0o640, 0o755] {
            chmod(&path, mode);
            assert!(read(&path, 1).is_ok(), "{mode:o}");
        }
        for mode in [0o602, 0o646, 0o666, 0o622] {
            chmod(&path, mode);
            let expected = format!("can be written by everybody (mode {mode:04o}); chmod go-w {}", path.display());
            assert!(refusal(&path).ends_with(&expected), "{}", refusal(&path));
        }
        chmod(&path, 0o664);
        if fs::metadata(&path).unwrap().gid() != 0 {
            assert!(refusal(&path).contains("can be written by group"), "{}", refusal(&path));
        }
        if own() == 0 {
            chown(&path, None, Some(0)).unwrap();
            assert!(refusal(&path).contains("can be written by group 0"), "the mask of an access control list");
        }
    }

    /// A credential of systemd is the service's own file in a folder of its own (systemd 252, ramfs), or root's with
    /// an access control list that lets the service read (later ones, tmpfs).
    #[test]
    fn a_credential_of_systemd_is_trusted_and_no_list_that_lets_somebody_write() {
        let folder = folder();
        let inner = folder.path().join("ratifyd.service");
        fs::create_dir(&inner).unwrap();
        let path = file(&inner, "acme.pem", "x");
        chmod(&inner, 0o500);
        chmod(&path, 0o400);
        assert_eq!(read(&path, 1).unwrap(), b"x");
        // A file system without such lists has no more to show.
        if !grant(&inner, 0o5) || !grant(&path, 0o4) {
            return;
        }
        assert_eq!([&inner, &path].map(|path| fs::metadata(path).unwrap().mode() & 0o777), [0o550, 0o440]);
        assert_eq!(read(&path, 1).unwrap(), b"x");
        grant(&path, 0o6);
        assert!(refusal(&path).contains("acme.pem can be written by group"), "{}", refusal(&path));
        grant(&path, 0o4);
        grant(&inner, 0o7);
        assert!(refusal(&path).contains("ratifyd.service can be written by group"), "{}", refusal(&path));
    }

    /// Gives another user these permissions by an access control list, and the owner them without writing. False
    /// where the file system has none.
    fn grant(path: &Path, permissions: u16) -> bool {
        // acl(5): each entry is a tag, permissions and an id; the mask bounds what the user has.
        let [owner, user, group, mask, others] = [0x01_u16, 0x02, 0x04, 0x10, 0x20];
        let entries = [(owner, permissions & 0o5), (user, permissions), (group, 0), (mask, permissions), (others, 0)];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, allowed) in entries {
            let id = if tag == user { OTHER } else { u32::MAX };
            list.extend(tag.to_le_bytes().into_iter().chain(allowed.to_le_bytes()).chain(id.to_le_bytes()));
        }
        let set = rustix::fs::setxattr(path, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty());
        assert!(matches!(set, Ok(()) | Err(Errno::OPNOTSUPP)), "{set:?}");
        set.is_ok()
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let folder = folder();
        let path = file(folder.path(), "a", "x");
        if own() == 0 {
            chown(&path, Some(OTHER), None).unwrap();
            assert!(refusal(&path).ends_with(&format!("belongs to uid 12345; chown -h root {}", path.display())));
        }
        let metadata = fs::metadata(&path).unwrap();
        assert!(matches!(check_file(&path, &metadata, OTHER + 1, 1), Err(Untrusted::Owner { .. })) || own() == 0);
        assert!(check_file(&path, &metadata, metadata.uid(), 1).is_ok(), "the user that the daemon runs as");
    }

    #[test]
    fn a_directory_in_which_others_can_put_another_file_is_refused() {
        let folder = folder();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let path = file(&inner, "a", "x");
        chmod(&inner, 0o777);
        assert!(refusal(&path).contains("inner can be written by everybody (mode 0777)"), "{}", refusal(&path));
        chmod(&inner, 0o1777);
        assert!(read(&path, 1).is_ok(), "as in /tmp, where nobody else can replace the file");
        chmod(&inner, 0o770);
        to_other_group(&inner);
        if fs::metadata(&inner).unwrap().gid() != 0 {
            assert!(refusal(&path).contains("inner can be written by group"), "{}", refusal(&path));
        }
        chmod(&inner, 0o755);
        assert!(read(&path, 1).is_ok());
        if own() == 0 {
            chown(&inner, Some(OTHER), None).unwrap();
            assert!(refusal(&path).contains("inner belongs to uid 12345"), "{}", refusal(&path));
        }
    }

    #[test]
    fn a_folder_is_listed_by_name_and_kind_at_the_limit_and_refused_one_past_it() {
        let folder = folder();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        file(&inner, "b.pem", "x");
        symlink("b.pem", inner.join("a.pem")).unwrap();
        fs::create_dir(inner.join("c")).unwrap();
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, inner.join("d"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let found: Vec<_> =
            list(&inner, 4).unwrap().into_iter().map(|entry| (entry.name.into_string().unwrap(), entry.kind)).collect();
        let kinds = [EntryKind::Link, EntryKind::File, EntryKind::Folder, EntryKind::Other];
        assert_eq!(found, ["a.pem", "b.pem", "c", "d"].map(str::to_owned).into_iter().zip(kinds).collect::<Vec<_>>());
        let refused = list(&inner, 3).unwrap_err().to_string();
        assert!(refused.ends_with("inner has more than 3 entries; take away what does not belong there"), "{refused}");
        symlink("inner", folder.path().join("link")).unwrap();
        assert_eq!(list(&folder.path().join("link"), 4).unwrap().len(), 4, "a link on the way is held to the rules");
    }

    #[test]
    fn a_folder_in_which_others_can_put_a_file_is_not_listed() {
        let folder = folder();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        // Sticky or not: a file more is a certificate more.
        for mode in [0o777, 0o1777] {
            chmod(&inner, mode);
            let refused = list(&inner, 1).unwrap_err().to_string();
            assert!(refused.contains("inner can be written by everybody"), "{refused}");
        }
        chmod(&inner, 0o755);
        assert_eq!(list(&inner, 1).unwrap(), []);
        let refused = list(&file(folder.path(), "a", "x"), 1).unwrap_err().to_string();
        assert!(refused.ends_with("a is not a folder; name a folder"), "{refused}");
        assert!(list(&folder.path().join("none"), 1).unwrap_err().to_string().contains("No such file"));
        if own() == 0 {
            chown(&inner, Some(OTHER), None).unwrap();
            assert!(list(&inner, 1).unwrap_err().to_string().contains("inner belongs to uid 12345"));
        }
    }

    #[test]
    fn a_stamp_of_a_folder_tells_a_file_more_and_a_file_less() {
        let folder = folder();
        let before = Stamp::of(folder.path());
        let path = file(folder.path(), "a.pem", "x");
        let with = Stamp::of(folder.path());
        assert_ne!(before, with);
        fs::remove_file(&path).unwrap();
        assert_ne!(Stamp::of(folder.path()), with);
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
        let folder = folder();
        let pipe = folder.path().join("pipe");
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for path in [pipe.as_path(), folder.path()] {
            assert_eq!(refusal(path), format!("{} is not a regular file; name a file", path.display()));
        }
        assert!(refusal(Path::new("/dev/null")).contains("not a regular file"));
    }

    #[test]
    fn a_missing_file_is_named_with_the_mend() {
        let folder = folder();
        let path = folder.path().join("none.pem");
        let shown = refusal(&path);
        assert!(shown.starts_with(&format!("{}: No such file", path.display())), "{shown}");
        assert!(shown.ends_with("create it, or name another file"), "{shown}");
        let below_a_file = file(folder.path(), "a", "x").join("b");
        assert!(refusal(&below_a_file).contains("Not a directory"), "{}", refusal(&below_a_file));
    }

    #[test]
    fn a_link_is_followed_but_not_out_of_a_place_where_others_could_turn_it() {
        let folder = folder();
        let target = file(folder.path(), "target", "x");
        let [open, closed] = ["open", "closed"].map(|name| {
            let inner = folder.path().join(name);
            fs::create_dir(&inner).unwrap();
            symlink(&target, inner.join("absolute")).unwrap();
            symlink("../closed/../target", inner.join("relative")).unwrap();
            inner
        });
        for name in ["absolute", "relative"] {
            assert_eq!(read(&closed.join(name), 1).unwrap(), b"x");
        }
        chmod(&open, 0o777);
        for name in ["absolute", "relative"] {
            assert!(refusal(&open.join(name)).contains("open can be written by everybody"));
        }
        let through = folder.path().join("through");
        symlink("open/absolute", &through).unwrap();
        assert!(refusal(&through).contains("open can be written by everybody"), "a link on the way counts as well");
        if own() == 0 {
            chmod(&open, 0o1777);
            std::os::unix::fs::lchown(open.join("absolute"), Some(OTHER), None).unwrap();
            assert!(refusal(&through).contains("absolute belongs to uid 12345"), "{}", refusal(&through));
        }
    }

    #[test]
    fn links_at_the_limit_and_one_past_it() {
        let folder = folder();
        file(folder.path(), "0", "x");
        for link in 1..=limits::TRUST_LINKS + 1 {
            symlink((link - 1).to_string(), folder.path().join(link.to_string())).unwrap();
        }
        let chain = |links: usize| read(&folder.path().join(links.to_string()), 1);
        // Links on the way to the temporary folder count as well.
        let extra = usize::from(folder.path().canonicalize().unwrap() != folder.path());
        assert!(chain(limits::TRUST_LINKS - extra).is_ok());
        assert!(chain(limits::TRUST_LINKS + 1).unwrap_err().to_string().contains("symbolic links"));
        symlink("loop", folder.path().join("loop")).unwrap();
        assert!(refusal(&folder.path().join("loop")).contains("symbolic links"));
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_read_again_and_then_given_up() {
        let folder = folder();
        let path = file(folder.path(), "a", "x");
        let state = |size| State { size, ..State::of(&fs::metadata(&path).unwrap()) };
        let mut reads = 0;
        let content = settled(&path, || {
            reads += 1;
            Ok((state(1), vec![u8::try_from(reads).unwrap()], state(if reads < limits::TRUST_READS { 2 } else { 1 })))
        });
        assert_eq!(content.unwrap(), [u8::try_from(limits::TRUST_READS).unwrap()]);
        let mut reads = 0;
        let given_up = settled(&path, || {
            reads += 1;
            Ok((state(1), Vec::new(), state(2)))
        });
        assert!(given_up.unwrap_err().to_string().contains("keeps changing"));
        assert_eq!(reads, limits::TRUST_READS);
    }

    #[test]
    fn a_stamp_taken_right_after_a_change_does_not_count_as_current() {
        let folder = folder();
        let path = file(folder.path(), "a", "x");
        let fresh = Stamp::of(&path);
        // Within one tick of the file system's clock the next change of the same size would not show.
        assert!(!fresh.is_current(&path), "{fresh:?}");
        let old = Stamp { settled: true, ..fresh };
        assert!(old.is_current(&path));
        let state = State::of(&fs::metadata(&path).unwrap());
        let changed = Duration::new(state.changed.0 as u64, state.changed.1 as u32);
        assert!(state.changed_within(TICK, changed + TICK - Duration::from_nanos(1)));
        assert!(!state.changed_within(TICK, changed + TICK));
    }

    #[test]
    fn a_stamp_tells_a_changed_a_replaced_and_a_vanished_file() {
        let folder = folder();
        let path = file(folder.path(), "a", "x");
        let mut stamps = vec![Stamp::of(&path)];
        assert_eq!(Stamp::of(&path), stamps[0]);
        let mut differs = |what: &str| {
            let stamp = Stamp::of(&path);
            assert!(!stamps.contains(&stamp), "{what}");
            stamps.push(stamp);
        };
        fs::write(&path, "xy").unwrap();
        differs("another content");
        fs::rename(file(folder.path(), "b", "xy"), &path).unwrap();
        differs("another file of the same size");
        chmod(&path, 0o600);
        differs("other permissions");
        fs::write(&path, "").unwrap();
        differs("emptied");
        fs::remove_file(&path).unwrap();
        differs("gone");
        assert_eq!(Stamp::of(&path), Stamp::of(&folder.path().join("never")));
        symlink("b", &path).unwrap();
        differs("a link to nothing");
        file(folder.path(), "b", "xyz");
        differs("a link to a file");
        file(folder.path(), "b", "xyz1");
        differs("a link to a changed file");
        chmod(folder.path(), 0o777);
        differs("a folder in which everybody may write");
        fs::hard_link(folder.path().join("b"), folder.path().join("c")).unwrap();
        fs::remove_file(&path).unwrap();
        symlink("c", &path).unwrap();
        differs("another link to the same file");
    }
}
