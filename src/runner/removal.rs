//! Takes away what a program has written, whatever that is: follows no link out of its folder, and takes the same few open
//! folders and the same stack however deep it goes.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, openat, renameat, statat, unlinkat};
use rustix::path::Arg;
use tempfile::TempDir;
use tracing::warn;

/// Removes a folder that has no more than so many files and folders; one that has more comes back. Blocks on files. One
/// that cannot be removed stays, and the log says so.
pub(super) fn remove(folder: TempDir, most: u64) -> Option<TempDir> {
    // One that is empty, which is most of them, takes one call.
    let removed = fs::remove_dir(folder.path())
        .or_else(|_| empty(folder.path(), most).and_then(|()| fs::remove_dir(folder.path())));
    match removed {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(folder),
        Err(error) => warn!(folder = %folder.path().display(), "what a plugin left cannot be removed: {error}"),
        Ok(()) => (),
    }
    // It is not there, or is to stay.
    let _ = folder.keep();
    None
}

/// So many are removed faster than another thread is found for it.
pub(super) const FEW: u64 = 64;

fn empty(folder: &Path, most: u64) -> io::Result<()> {
    let mut heap = Heap { beside: folder, made: None, moved: 0, most, left: most };
    let emptied = clear(open(CWD, folder)?.as_fd(), 0, &mut heap).and_then(|()| heap.clear());
    if emptied.is_err()
        && let Some((folder, _)) = heap.made.take()
    {
        // Whatever is left in it may be deeper than it could be removed by itself.
        let _ = folder.keep();
    }
    emptied
}

/// Where folders that lie too deep are moved to, to be gone through from there.
struct Heap<'a> {
    beside: &'a Path,
    made: Option<(TempDir, OwnedFd)>,
    /// How many were; each has its number for a name.
    moved: u64,
    /// How many files and folders there may be.
    most: u64,
    /// How many of these may come still.
    left: u64,
}

impl Heap<'_> {
    fn lift(&mut self, from: BorrowedFd<'_>, name: impl Arg) -> io::Result<()> {
        if self.most < u64::MAX {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (_, up) = match &mut self.made {
            Some(made) => made,
            none => {
                let parent = self.beside.parent().unwrap_or(Path::new("/"));
                let folder = tempfile::Builder::new().prefix("ratifyd-plugin-").tempdir_in(parent)?;
                let up = open(CWD, folder.path())?;
                none.insert((folder, up))
            }
        };
        renameat(from, name, up, self.moved.to_string())?;
        self.moved = self.moved.saturating_add(1);
        Ok(())
    }

    /// Goes through what was moved, of which more may be moved.
    fn clear(&mut self) -> io::Result<()> {
        let mut done = 0_u64;
        while done < self.moved {
            let name = done.to_string();
            let Some((_, up)) = &self.made else { break };
            clear(open(up.as_fd(), name.as_str())?.as_fd(), 0, self)?;
            let Some((_, up)) = &self.made else { break };
            unlinkat(up, name, AtFlags::REMOVEDIR)?;
            done = done.saturating_add(1);
        }
        Ok(())
    }
}

/// Removes what is in a folder.
fn clear(folder: BorrowedFd<'_>, depth: u32, heap: &mut Heap<'_>) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        heap.left = heap.left.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
        let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !FileType::from_raw_mode(found.st_mode).is_dir() {
            unlinkat(folder, name, AtFlags::empty())?;
        } else if depth < DEEP {
            let below = open(folder, name)?;
            clear(below.as_fd(), depth.saturating_add(1), heap)?;
            unlinkat(folder, name, AtFlags::REMOVEDIR)?;
        } else {
            openable(folder, name);
            heap.lift(folder, name)?;
        }
    }
    Ok(())
}

/// How deep the folders are that are gone through where they are: what is laid out is not deeper.
const DEEP: u32 = 8;

fn open(from: BorrowedFd<'_>, name: impl Arg + Copy) -> io::Result<OwnedFd> {
    openable(from, name);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(from, name, flags, Mode::empty()).map_err(Into::into)
}

/// Who is not root is kept out by modes of its own. This follows links: what may be at their end is of the same user.
fn openable(from: BorrowedFd<'_>, name: impl Arg) {
    if !rustix::process::geteuid().is_root() {
        // Where it cannot be, opening it says why.
        let _ = chmodat(from, name, Mode::RWXU, AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_deeper_than_any_path_and_any_stack_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let mut place = open(CWD, &path).unwrap();
        for number in 0..30_000 {
            rustix::fs::mkdirat(&place, "d", Mode::RWXU).unwrap();
            if number >= 100 && number % 100 == 0 {
                rustix::fs::mkdirat(&place, "0", Mode::RWXU).unwrap();
                openat(&place, "f", OFlags::CREATE | OFlags::RDWR, Mode::empty()).unwrap();
            }
            place = open(place.as_fd(), "d").unwrap();
        }
        let folder = remove(folder, 1).unwrap();
        let folder = remove(folder, FEW).unwrap();
        assert!(remove(folder, u64::MAX).is_none() && !path.exists());
    }

    #[test]
    fn nothing_outside_goes_with_it_and_names_of_any_kind_do() {
        use std::os::unix::ffi::OsStrExt as _;
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = folder.path().to_owned();
        fs::write(outside.path().join("file"), "x").unwrap();
        for below in ["0", "a/b/c", "a/0/1/2/3/4/5/6/7/8/9/10"] {
            let below = path.join(below);
            fs::create_dir_all(&below).unwrap();
            symlink(outside.path(), below.join("link")).unwrap();
            fs::write(below.join(std::ffi::OsStr::from_bytes(b"\xff\n")), "x").unwrap();
        }
        assert!(remove(folder, u64::MAX).is_none());
        assert!(!path.exists() && outside.path().join("file").exists());
    }
}
