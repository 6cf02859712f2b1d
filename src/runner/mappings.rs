//! What a process has in its memory that others may have too, or that has no name any more (proc_pid_maps(5)): read for the
//! keeper, which counts it. Never reads more than its bound, and never what lies in that memory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;

use rustix::process::Pid;

use crate::limits;
use crate::runner::sandbox::SYSTEM;

/// A part of a file, or of shared memory, which is one without a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mapping {
    /// Device and number of its file.
    pub file: (u64, u64),
    /// Where in its file it begins.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// Whether it is memory that goes on for as long as anybody has a part of it, read or not.
    pub is_memory: bool,
    /// Whether it is of a file that only whoever has it can find.
    pub is_unnamed: bool,
    /// From where to where it lies, as the kernel writes it.
    range: String,
}

impl Mapping {
    /// Those of a process that count, and how many bytes its list has.
    ///
    /// # Errors
    /// It must not be looked into, or there are more than can be.
    pub fn of(process: Pid) -> io::Result<(Vec<Self>, u64)> {
        Self::among(File::open(format!("/proc/{}/maps", process.as_raw_nonzero()))?)
    }

    /// How many bytes its file takes, parts that nobody has there any more too; none where the kernel does not tell, which
    /// is a right of its own (proc_pid_map_files(5)).
    pub fn held(&self, process: Pid) -> Option<u64> {
        let place = format!("/proc/{}/map_files/{}", process.as_raw_nonzero(), self.range);
        let found = fs::metadata(place).ok()?;
        Some(found.blocks().saturating_mul(BLOCK))
    }

    fn among(list: impl Read) -> io::Result<(Vec<Self>, u64)> {
        let mut text = Vec::new();
        list.take(limits::PLUGIN_MAPS_BYTES.saturating_add(1)).read_to_end(&mut text)?;
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if bytes > limits::PLUGIN_MAPS_BYTES {
            return Err(io::Error::other("it has more in its memory than can be looked through"));
        }
        // Line ends in names are written in another way.
        Ok((String::from_utf8_lossy(&text).lines().filter_map(Self::read).collect(), bytes))
    }

    fn read(line: &str) -> Option<Self> {
        // From and to, rights, where in the file, its device, its number, its name.
        let mut fields = line.splitn(6, ' ');
        let (range, rights, offset, device, number) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let name = fields.next().unwrap_or_default().trim_start();
        let ((from, to), (major, minor)) = (range.split_once('-')?, device.split_once(':')?);
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let length = hex(to)?.saturating_sub(hex(from)?);
        let device = rustix::fs::makedev(hex(major)?.try_into().ok()?, hex(minor)?.try_into().ok()?);
        let is_memory = is_shared_memory(name) || (rights.contains('w') && rights.ends_with('s'));
        let is_unnamed = name.ends_with(GONE) && !is_shared_memory(name) && !lies_in_system(name);
        let (file, offset) = ((device, number.parse().ok()?), hex(offset)?);
        (is_memory || is_unnamed).then(|| Self { file, offset, length, is_memory, is_unnamed, range: range.to_owned() })
    }
}

/// Memory that was asked for as such, whatever may be done with it by now.
fn is_shared_memory(name: &str) -> bool {
    name == "/dev/zero (deleted)" || name.starts_with("[anon_shmem:")
}

/// Nothing there can be the program's own. An update of the system leaves such files.
fn lies_in_system(name: &str) -> bool {
    SYSTEM.iter().any(|folder| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
}

/// What the kernel writes after a name that is no more.
const GONE: &str = " (deleted)";

/// What blocks are counted in (stat(2), `st_blocks`).
pub(super) const BLOCK: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<(u64, bool, bool)> {
        Mapping::read(line).map(|found| (found.length, found.is_memory, found.is_unnamed))
    }

    #[test]
    fn shared_memory_counts_whatever_may_be_done_with_it_and_files_that_are_gone_do() {
        for (line, expected) in [
            ("7f00000000-7f00001000 rw-s 00000000 00:01 1024   /dev/zero (deleted)", Some((4096, true, false))),
            ("7f00000000-7f00001000 ---s 00000000 00:01 1024   /dev/zero (deleted)", Some((4096, true, false))),
            ("7f00000000-7f00002000 r--s 00000000 00:01 1024   [anon_shmem:x]", Some((8192, true, false))),
            ("7f00000000-7f00001000 rw-s 00000000 00:01 7   /memfd:x y (deleted)", Some((4096, true, true))),
            ("7f00000000-7f00001000 r--p 00000000 00:01 7   /memfd:x (deleted)", Some((4096, false, true))),
            ("7f00000000-7f00001000 rw-s 00001000 fe:00 12   /tmp/x/f", Some((4096, true, false))),
            ("7f00000000-7f00001000 r--s 00000000 fe:00 12   /tmp/x/f\\012 (deleted)", Some((4096, false, true))),
            ("7f00000000-7f00001000 r-xp 00000000 fe:00 12   /usrx/lib (deleted)", Some((4096, false, true))),
            ("7f00000000-7f00001000 r-xp 00000000 fe:00 12   /usr/lib/libc.so.6 (deleted)", None),
            ("7f00000000-7f00001000 r-xp 00000000 fe:00 12   /usr/lib/libc.so.6", None),
            ("7f00000000-7f00001000 r--s 00000000 fe:00 12   /tmp/x/f", None),
            ("7f00000000-7f00001000 rw-p 00000000 00:00 0", None),
            ("7f00000000-7f00001000 rw-p 00000000 00:00 0   [heap]", None),
            ("", None),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
    }

    #[test]
    fn a_list_at_the_limit_is_read_and_one_byte_more_is_too_many() {
        let most = usize::try_from(limits::PLUGIN_MAPS_BYTES).unwrap();
        assert_eq!(Mapping::among(&vec![b'\n'; most][..]).unwrap(), (vec![], limits::PLUGIN_MAPS_BYTES));
        let error = Mapping::among(&vec![b'\n'; most + 1][..]).unwrap_err();
        assert!(error.to_string().contains("more in its memory than can be looked through"));
    }
}
