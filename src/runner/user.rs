//! As whom plugins run where this process is root. Never root, and never a user whom nobody named.

use std::fs::File;
use std::io::Read as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits;

/// Another user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// Its group, and the only one that a program gets.
    pub gid: u32,
}

/// Why nobody can run a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoUser {
    /// There is none of this name.
    #[error("there is no user {0:?} for plugins: make it (useradd --system {0}), or set plugins.user")]
    Unknown(String),
    /// It is root, or of root's group.
    #[error("{0:?} is root or of root's group, and no plugin runs as that: set plugins.user to a user of their own")]
    Root(String),
    /// The list of users cannot be read.
    #[error("{PASSWD} cannot be read: {0}")]
    Unreadable(String),
}

impl User {
    /// The user of a name or number, as the machine's own list has it.
    ///
    /// # Errors
    /// See [`NoUser`].
    pub fn find(name: &str) -> Result<Self, NoUser> {
        let mut list = String::new();
        let file = File::open(PASSWD).map_err(|error| NoUser::Unreadable(error.to_string()))?;
        file.take(PASSWD_BYTES).read_to_string(&mut list).map_err(|error| NoUser::Unreadable(error.to_string()))?;
        Self::among(&list, name)
    }

    fn among(list: &str, name: &str) -> Result<Self, NoUser> {
        let number: Option<u32> = name.parse().ok();
        // passwd(5): name, password, uid, gid, comment, home, shell.
        let entries = list.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (known, uid, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            Some((known, Self { uid, gid }))
        });
        let listed = entries.into_iter().find(|(known, user)| *known == name || Some(user.uid) == number);
        let user = listed.map(|(_, user)| user).or(number.map(|id| Self { uid: id, gid: id }));
        match user {
            None => Err(NoUser::Unknown(name.to_owned())),
            // The last id is no user: it stands for "none" (chown(2)).
            Some(Self { uid: 0 | u32::MAX, .. } | Self { gid: 0 | u32::MAX, .. }) => Err(NoUser::Root(name.to_owned())),
            Some(user) => Ok(user),
        }
    }
}

/// Bounds how many processes another user may have that is started from here, before it has begun: to bind another user's
/// process takes a right that not every root has, and comes when it runs already. Root itself is not bound by it
/// (getrlimit(2), `RLIMIT_NPROC`).
pub(super) fn bound_processes() {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    // Root of a user namespace is somebody else outside of it (user_namespaces(7)).
    if map.split_whitespace().eq(["0", "0", "4294967295"]) {
        let most = getrlimit(Resource::Nproc).maximum.unwrap_or(u64::MAX).min(limits::PLUGINS_PROCESSES);
        // It is never more than it was, so there is nothing that could refuse it.
        let _ = setrlimit(Resource::Nproc, Rlimit { current: Some(most), maximum: Some(most) });
    }
}

const PASSWD: &str = "/etc/passwd";

/// Far above any list of users.
const PASSWD_BYTES: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nwheel:x:7:0::/:/bin/sh\n+\n\
        plugins:x:990:989::/nonexistent:/usr/sbin/nologin\n";

    #[test]
    fn plugins_run_as_the_user_of_a_name_or_number_with_its_group() {
        let plugins = Ok(User { uid: 990, gid: 989 });
        assert_eq!(User::among(LIST, "plugins"), plugins);
        assert_eq!(User::among(LIST, "990"), plugins);
        assert_eq!(User::among(LIST, "65534"), Ok(User { uid: 65534, gid: 65534 }));
    }

    #[test]
    fn plugins_never_run_as_root_or_as_nobody_whom_a_name_could_mean() {
        for root in ["root", "0", "toor", "wheel", "7", "4294967295"] {
            assert_eq!(User::among(LIST, root), Err(NoUser::Root(root.to_owned())));
        }
        for unknown in ["", "+", "ratifyd-plugins", "-1", "4294967296", "990:989"] {
            let error = User::among(LIST, unknown).unwrap_err();
            assert_eq!(error, NoUser::Unknown(unknown.to_owned()));
            assert!(error.to_string().contains("plugins.user"), "{error}");
        }
    }
}
