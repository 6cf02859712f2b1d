//! The user that the daemon runs as, and which files that user can read, by their modes. Nothing is opened.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A user and its groups.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reader {
    /// Its number.
    pub(super) uid: u32,
    groups: Vec<u32>,
}

impl Reader {
    /// Whoever a process runs as; none where that is not known.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    /// Reads what the kernel says of a process (proc(5)): of each kind of id the second is the effective one.
    fn parse(status: &str) -> Option<Self> {
        let numbers = |name: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().map(|number| number.parse().ok()).collect()
        };
        let mut groups = numbers("Groups")?;
        groups.push(*numbers("Gid")?.get(1)?);
        Some(Self { uid: *numbers("Uid")?.get(1)?, groups })
    }

    /// Whether it can read a file that is there: search every folder on the way, and read the file.
    pub(super) fn can_read(&self, path: &Path) -> bool {
        // What is not there cannot be read by containerd either, which says so.
        let Ok(path) = fs::canonicalize(path) else { return true };
        path.ancestors().enumerate().all(|(above, part)| self.has(part, if above == 0 { 0o4 } else { 0o1 }))
    }

    fn has(&self, path: &Path, right: u32) -> bool {
        let Ok(metadata) = fs::metadata(path) else { return true };
        self.uid == 0 || self.mode_of(&metadata) & right == right || has_list(path)
    }

    /// The three bits of a mode that count for this user.
    fn mode_of(&self, metadata: &Metadata) -> u32 {
        match () {
            () if metadata.uid() == self.uid => metadata.mode() >> 6,
            () if self.groups.contains(&metadata.gid()) => metadata.mode() >> 3,
            () => metadata.mode(),
        }
    }
}

/// Whether a file has an access control list, which may let in more than its mode says. systemd hands over credentials so.
fn has_list(path: &Path) -> bool {
    rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0_u8; 0]).is_ok()
}

#[cfg(test)]
impl Reader {
    /// Somebody who owns nothing.
    pub(super) fn stranger() -> Self {
        Self { uid: 70_001, groups: vec![70_001] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_user_of_a_process_is_read_with_all_its_groups() {
        let status = "Name:\tratifyd\nUid:\t0\t998\t998\t998\nGid:\t0\t997\t997\t997\nGroups:\t5 12 \n";
        assert_eq!(Reader::parse(status), Some(Reader { uid: 998, groups: vec![5, 12, 997] }));
        assert_eq!(Reader::parse("Uid:\t0\n"), None);
        let own = Reader::of(std::process::id()).unwrap();
        assert_eq!(own.uid, rustix::process::geteuid().as_raw());
    }

    #[test]
    fn a_file_is_readable_by_owner_group_or_all_if_every_folder_above_can_be_searched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.key");
        fs::write(&file, "").unwrap();
        let metadata = fs::metadata(&file).unwrap();
        let (uid, gid) = (metadata.uid(), metadata.gid());
        let stranger = Reader::stranger();
        let member = Reader { groups: vec![gid], ..Reader::stranger() };
        for (above, mode, by_stranger, by_member) in [
            (0o755, 0o644, true, true),
            (0o755, 0o640, false, true),
            (0o750, 0o644, false, true),
            (0o700, 0o644, false, false),
        ] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(above)).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let can = (stranger.can_read(&file), member.can_read(&file));
            assert_eq!(can, (by_stranger, by_member), "{above:o} {mode:o}");
            assert!(Reader { uid, groups: Vec::new() }.can_read(&file));
        }
        assert!(stranger.can_read(&folder.path().join("none")));
    }
}
