//! The folders by which registries are reached (`hosts.toml`): those of containerd, those of ratifyd, whether both go the
//! same way, and whether the daemon's user can read what containerd reads as root.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::assemble::host_files;
use crate::cli::doctor::Problem;
use crate::cli::doctor::reader::Reader;
use crate::config::{Config, Store};

/// The folders that count, each list in the order in which it is looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Folders {
    /// CRI's, `registry.config_path`; none without CRI, where each client of containerd brings its own.
    containerd: Option<Vec<PathBuf>>,
    /// Those of ratifyd's registry stores, each different list once; empty where its configuration is not known.
    ratifyd: Vec<Vec<PathBuf>>,
}

impl Folders {
    /// Those in CRI's `registry.config_path`, which is a list separated by colons, and those of a configuration.
    pub(super) fn of(config_path: Option<&str>, config: Option<&Config>) -> Self {
        let split = |path: &str| path.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from).collect();
        let containerd = config_path.map(split);
        let stores = config.iter().flat_map(|config| &config.executors).map(|executor| &executor.store);
        let mut ratifyd = Vec::new();
        for store in stores {
            if let Store::Registry(store) = store
                && !ratifyd.contains(&store.config_path)
            {
                ratifyd.push(store.config_path.clone());
            }
        }
        Self { containerd, ratifyd }
    }

    /// What is wrong with them. `reader` is the daemon's user, where it is known.
    pub(super) fn problems(&self, reader: Option<&Reader>) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(containerd) = &self.containerd {
            let used = filled(containerd);
            // containerd issue 12808: the transfer service takes the list for one folder's name.
            if containerd.len() > 1 && !used.is_empty() {
                let what = format!(
                    "registry.config_path is {:?}, and pulls by the transfer service, as the kubelet's are, read no list",
                    joined(containerd)
                );
                problems.push(Problem::warning(what, "name one folder there, for its hosts.toml files to count"));
            }
            let others = self.ratifyd.iter().filter(|folders| filled(folders) != used);
            problems.extend(others.map(|folders| differ(containerd, folders)));
        }
        problems.extend(reader.and_then(|reader| self.unreadable(reader)));
        problems
    }

    /// For people: nothing where no folder has anything.
    pub(super) fn line(&self) -> Option<String> {
        let all: Vec<String> = self.ratifyd.iter().map(|folders| told(folders)).collect();
        let has_any = self.ratifyd.iter().chain(&self.containerd).any(|folders| !filled(folders).is_empty());
        let ratifyd = if all.is_empty() { "unknown".to_owned() } else { all.join("; ") };
        let containerd = self.containerd.as_deref().map_or_else(|| "unknown".to_owned(), told);
        has_any.then(|| format!("hosts.toml files: containerd's in {containerd}, ratifyd's in {ratifyd}"))
    }

    /// What containerd, as root, reads there and the daemon cannot.
    fn unreadable(&self, reader: &Reader) -> Option<Problem> {
        let folders = self.ratifyd.iter().flatten().flat_map(|folder| registries_in(folder));
        let mut files: Vec<String> = folders
            .flat_map(|folder| host_files(&folder))
            .filter(|file| !reader.can_read(file))
            .map(|file| file.display().to_string())
            .collect();
        files.sort();
        files.dedup();
        let what = format!(
            "ratifyd, as user {}, cannot read {}: what it would verify by way of that is UNAVAILABLE",
            reader.uid,
            files.join(", ")
        );
        let mend = "let the daemon's group read them (chgrp, chmod g+r; g+x for folders), or name copies handed over by \
                    systemd (LoadCredential=) in a configPath of its own";
        (!files.is_empty()).then(|| Problem::warning(what, mend))
    }
}

/// Both are there, and lead elsewhere.
fn differ(containerd: &[PathBuf], ratifyd: &[PathBuf]) -> Problem {
    let what = format!(
        "containerd finds hosts.toml files and certificates in {}, ratifyd in {}: they reach registries by different ways",
        told(&filled(containerd)),
        told(&filled(ratifyd))
    );
    let mend =
        format!("configPath = {:?} in ratifyd's registry store, or registry.config_path alike", joined(containerd));
    Problem::warning(what, mend)
}

/// Those of the folders that lead somewhere.
fn filled(folders: &[PathBuf]) -> Vec<PathBuf> {
    let has_any = |folder: &&PathBuf| registries_in(folder).iter().any(|registry| !host_files(registry).is_empty());
    folders.iter().filter(has_any).cloned().collect()
}

/// The folders of registries in a folder.
fn registries_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn joined(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(":")
}

fn told(folders: &[PathBuf]) -> String {
    if folders.is_empty() { "no folder".to_owned() } else { joined(folders) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn said(folders: &Folders, reader: Option<&Reader>) -> String {
        folders.problems(reader).into_iter().map(|problem| problem.what).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_list_of_folders_and_ways_that_differ_are_told_once_a_folder_leads_somewhere() {
        let place = tempfile::tempdir().unwrap();
        let (first, second) = (place.path().join("certs.d"), place.path().join("docker"));
        let list = format!("{}:{}", first.display(), second.display());
        let one = first.display().to_string();
        let with = |containerd: &str, ratifyd: &[&PathBuf]| Folders {
            ratifyd: vec![ratifyd.iter().map(|path| (*path).clone()).collect()],
            ..Folders::of(Some(containerd), None)
        };
        let both = with(&list, &[&second]);
        assert_eq!(
            (said(&Folders::of(Some(""), None), None), said(&both, None), both.line()),
            (String::new(), String::new(), None)
        );
        fs::create_dir_all(first.join("ghcr.io")).unwrap();
        assert_eq!(said(&both, None), "", "a folder without a file");
        fs::write(first.join("ghcr.io/hosts.toml"), "").unwrap();
        let found = said(&both, None);
        assert!(found.contains("read no list") && found.contains("ratifyd in no folder"), "{found}");
        assert_eq!(said(&with(&one, &[&first]), None), "");
        assert_eq!(said(&with(&one, &[&first, &second]), None), "", "the other leads nowhere");
        let found = said(&with("", &[&first]), None);
        assert!(found.contains("in no folder, ratifyd in") && !found.contains("read no list"), "{found}");
        assert_eq!(said(&Folders::of(Some(&one), None), None), "", "ratifyd's configuration is not known");
        let alone = Folders { containerd: None, ..with("", &[&first]) };
        assert_eq!((said(&alone, None).as_str(), alone.line().is_some()), ("", true), "no CRI");
        let line = with(&one, &[&first, &second]).line().unwrap();
        assert_eq!(line, format!("hosts.toml files: containerd's in {one}, ratifyd's in {list}"));
    }

    #[test]
    fn what_the_daemon_cannot_read_is_named_with_the_keys_that_a_file_points_to() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let registry = place.path().join("r.example");
        fs::create_dir(&registry).unwrap();
        fs::write(registry.join("hosts.toml"), "client = [['c.pem', 'c.key']]").unwrap();
        for name in ["c.pem", "c.key", "other.key"] {
            fs::write(registry.join(name), "").unwrap();
        }
        for name in ["c.key", "other.key"] {
            fs::set_permissions(registry.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let path = place.path().display().to_string();
        let folders = Folders { ratifyd: vec![vec![place.path().to_owned()]], ..Folders::of(Some(&path), None) };
        let found = said(&folders, Some(&Reader::stranger()));
        assert!(found.contains("r.example/c.key:") && !found.contains("other") && !found.contains("c.pem"), "{found}");
        fs::set_permissions(registry.join("c.key"), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(said(&folders, Some(&Reader::stranger())), "");
        assert_eq!(said(&folders, None), "");
    }
}
