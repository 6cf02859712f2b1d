//! The folder whose entries containerd runs before it pulls: is ratifyd's shim among them, can somebody else change
//! that, and is there anything that refuses every pull.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::cli::doctor::Problem;
use crate::cli::install::hook::{ENFORCING as SHIM, is_auditing};
use crate::containerd::settings::Verifier;
use crate::trust::{self, Untrusted};

/// What is in the folder.
pub(super) struct Folder {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its entries in the order in which containerd runs them.
    pub(super) entries: Vec<Entry>,
    /// What is wrong with it.
    pub(super) problems: Vec<Problem>,
}

/// An entry of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path.
    pub(super) path: PathBuf,
    /// What it leads to.
    pub(super) target: PathBuf,
    /// What it does.
    pub(super) role: Role,
}

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// ratifyd's shim, which refuses.
    Enforcing,
    /// ratifyd's shim under a name that ends in `-audit`, which refuses nothing.
    Audit,
    /// Another verifier.
    Other,
    /// It cannot be run, so that every pull is refused.
    Broken,
    /// It stands behind as many as containerd runs.
    Skipped,
}

impl Folder {
    /// Looks at the folder.
    pub(super) fn look(verifier: &Verifier) -> Self {
        let path = &verifier.folder;
        let mut folder = Self { path: path.clone(), entries: Vec::new(), problems: Vec::new() };
        let mut names = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect::<Vec<_>>(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                let what = format!("{} cannot be listed: {error}; containerd refuses every pull", path.display());
                folder.problems.push(Problem::error(what, "make it a folder"));
                return folder;
            }
        };
        names.sort();
        let limit = usize::try_from(verifier.max).unwrap_or(usize::MAX);
        if names.len() > limit {
            let what = format!(
                "{} has {} entries, and containerd runs the first {limit} only (max_verifiers)",
                path.display(),
                names.len()
            );
            folder.problems.push(Problem::error(what, "take away what is no verifier, or raise max_verifiers"));
        }
        for (index, name) in names.into_iter().enumerate() {
            let entry = folder.entry(name, index >= limit);
            folder.entries.push(entry);
        }
        folder.look_at_permissions(path);
        folder
    }

    /// Whether ratifyd's shim is run, and refuses.
    pub(super) fn enforces(&self) -> bool {
        self.entries.iter().any(|entry| entry.role == Role::Enforcing)
    }

    /// Whether ratifyd's shim is run, and what it would refuse is let in.
    pub(super) fn audits(&self) -> bool {
        !self.enforces() && self.entries.iter().any(|entry| entry.role == Role::Audit)
    }

    /// Whether a verifier is run that is none of ratifyd's.
    pub(super) fn has_others(&self) -> bool {
        self.entries.iter().any(|entry| entry.role == Role::Other)
    }

    fn entry(&mut self, path: PathBuf, skipped: bool) -> Entry {
        let target = match fs::canonicalize(&path) {
            Ok(target) => target,
            Err(error) => {
                let what = format!("{} leads nowhere ({error}), so every pull is refused", path.display());
                self.problems.push(Problem::error(
                    what,
                    format!("remove it, or install what it leads to: rm {}", path.display()),
                ));
                return Entry { target: path.clone(), path, role: Role::Broken };
            }
        };
        let can_be_run = fs::metadata(&target)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
        let is_shim = target.file_name().is_some_and(|name| name == SHIM);
        let role = match () {
            () if skipped => Role::Skipped,
            () if !can_be_run => {
                let what = format!("{} is no program, so every pull is refused", path.display());
                self.problems.push(Problem::error(what, format!("take it away: rm -r {}", path.display())));
                Role::Broken
            }
            () if is_shim && is_auditing(&path) => Role::Audit,
            () if is_shim => Role::Enforcing,
            () => Role::Other,
        };
        if role == Role::Audit {
            let what = format!("{} is not enforcing: by that name the shim refuses nothing", path.display());
            let mend = format!(
                "when the verdicts are as they should be: mv {0} {1}",
                path.display(),
                enforcing(&path).display()
            );
            self.problems.push(Problem::unenforced(what, mend));
        }
        if role == Role::Other {
            let what = format!("{} is no verifier of ratifyd's, and containerd runs it too", path.display());
            self.problems.push(Problem::warning(what, "see that it is meant to be there"));
        }
        Entry { path, target, role }
    }

    /// Who may write to the folder, or to a program in it, decides what runs as root before each pull.
    fn look_at_permissions(&mut self, folder: &Path) {
        let programs = self.entries.iter().filter(|entry| entry.role != Role::Broken).map(|entry| entry.path.as_path());
        let mut found: Vec<String> = Vec::new();
        for path in programs.chain([folder]) {
            let Err(untrusted) = trust::check(path) else { continue };
            let text = untrusted.to_string();
            if !matches!(untrusted, Untrusted::Io { .. }) && !found.contains(&text) {
                found.push(text);
            }
        }
        for text in found {
            let (what, mend) = text.split_once("; ").unwrap_or((&text, "let root alone write there"));
            let what = format!("{what}: whoever can write there decides what containerd runs as root");
            self.problems.push(Problem::error(what, mend));
        }
    }
}

/// The name under which the shim refuses.
fn enforcing(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix("-audit"));
    path.with_file_name(name.filter(|name| !name.is_empty()).unwrap_or(SHIM))
}

/// Whether a socket may be used by others than root: who may use containerd's is root.
pub(super) fn open_to_others(socket: &Path) -> Option<String> {
    let metadata = fs::metadata(socket).ok()?;
    let mode = metadata.permissions().mode();
    if mode & 0o002 != 0 {
        Some("everybody".to_owned())
    } else if mode & 0o020 != 0 && metadata.gid() != 0 {
        Some(format!("group {}", metadata.gid()))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    /// A verifier folder, and beside it the shim and another program.
    fn folder(max: i64) -> (tempfile::TempDir, Verifier) {
        let place = tempfile::tempdir().unwrap();
        for name in [SHIM, "other"] {
            fs::write(place.path().join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(place.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let folder = place.path().join("bin");
        fs::create_dir(&folder).unwrap();
        (place, Verifier { folder, max, timeout: Duration::from_secs(10) })
    }

    fn roles(folder: &Folder) -> Vec<Role> {
        folder.entries.iter().map(|entry| entry.role).collect()
    }

    fn errors(folder: &Folder) -> String {
        // The temporary folder's own way is everybody's.
        let own = folder.problems.iter().filter(|problem| !problem.what.contains("decides what containerd runs"));
        own.map(|problem| problem.what.as_str()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_link_to_the_shim_enforces_whatever_it_is_called_and_an_audit_name_does_not() {
        let (place, verifier) = folder(10);
        assert!(!Folder::look(&verifier).enforces(), "an empty folder");
        symlink(place.path().join(SHIM), verifier.folder.join("10-policy-audit")).unwrap();
        let looked = Folder::look(&verifier);
        assert_eq!((roles(&looked), looked.enforces()), (vec![Role::Audit], false));
        assert!(errors(&looked).contains("10-policy-audit is not enforcing"));
        symlink(place.path().join(SHIM), verifier.folder.join("20-policy")).unwrap();
        assert!(Folder::look(&verifier).enforces());
        assert_eq!(enforcing(Path::new("/v/10-policy-audit")), Path::new("/v/10-policy"));
        assert_eq!(enforcing(Path::new("/v/-audit")), Path::new("/v").join(SHIM));
    }

    #[test]
    fn what_cannot_be_run_refuses_every_pull_and_is_named() {
        let (_place, verifier) = folder(10);
        symlink("/nowhere/shim", verifier.folder.join("a")).unwrap();
        fs::write(verifier.folder.join("README"), "").unwrap();
        fs::create_dir(verifier.folder.join("sub")).unwrap();
        let looked = Folder::look(&verifier);
        assert_eq!(roles(&looked), [Role::Broken; 3]);
        for words in ["/a leads nowhere", "README is no program", "sub is no program"] {
            assert!(errors(&looked).contains(words), "{}", errors(&looked));
        }
    }

    #[test]
    fn behind_as_many_as_containerd_runs_nothing_enforces() {
        let (place, verifier) = folder(1);
        symlink(place.path().join(SHIM), verifier.folder.join("shim")).unwrap();
        assert!(Folder::look(&verifier).enforces());
        symlink(place.path().join("other"), verifier.folder.join("first")).unwrap();
        let looked = Folder::look(&verifier);
        assert_eq!((roles(&looked), looked.enforces()), (vec![Role::Other, Role::Skipped], false));
        assert!(errors(&looked).contains("runs the first 1 only"));
        assert!(Folder::look(&Verifier { max: -1, ..verifier }).enforces(), "a negative number is no limit");
    }

    #[test]
    fn a_missing_folder_enforces_nothing_and_a_file_in_its_place_refuses_every_pull() {
        let (place, verifier) = folder(10);
        let missing = Folder::look(&Verifier { folder: place.path().join("none"), ..verifier.clone() });
        assert_eq!((missing.enforces(), errors(&missing).as_str()), (false, ""));
        let file = Folder::look(&Verifier { folder: place.path().join("other"), ..verifier });
        assert!(errors(&file).contains("containerd refuses every pull"), "{}", errors(&file));
    }
}
