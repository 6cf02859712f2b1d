//! The folders by which containerd finds mirrors (`hosts.toml`): which pulls read them, and that ratifyd asks the
//! registry itself.

use std::fs;
use std::path::Path;

use crate::cli::doctor::Problem;

/// What is to be known of the folders in CRI's `registry.config_path`, which is a list separated by colons.
pub(super) fn problems(config_path: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let folders = || config_path.split(':').filter(|folder| !folder.is_empty());
    let hosts: Vec<String> = folders().flat_map(|folder| with_hosts(Path::new(folder))).collect();
    if hosts.is_empty() {
        return problems;
    }
    // containerd issue 12808: the transfer service takes the list for one folder's name.
    if folders().count() > 1 {
        let what = format!("registry.config_path is {config_path:?}, and pulls by the transfer service read no list");
        problems.push(Problem::warning(what, "name one folder there, for its hosts.toml files to count"));
    }
    let what =
        format!("containerd has hosts.toml files for {}; ratifyd asks the registries themselves", hosts.join(", "));
    problems.push(Problem::warning(what, "let this node reach them, or give images the mirror's own name"));
    problems
}

/// The hosts that have a `hosts.toml` below a folder, in alphabetical order.
fn with_hosts(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let with = entries.filter(|entry| entry.path().join("hosts.toml").exists());
    let mut hosts: Vec<String> = with.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    hosts.sort();
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_told_and_a_list_of_folders_only_where_one_has_any() {
        let place = tempfile::tempdir().unwrap();
        let (first, second) = (place.path().join("certs.d"), place.path().join("docker"));
        let list = format!("{}:{}", first.display(), second.display());
        let said = |path: &str| problems(path).into_iter().map(|problem| problem.what).collect::<Vec<_>>().join("\n");
        assert_eq!((said(""), said(&list)), (String::new(), String::new()));
        fs::create_dir_all(first.join("ghcr.io")).unwrap();
        assert_eq!(said(&list), "", "a folder without the file");
        fs::write(first.join("ghcr.io/hosts.toml"), "").unwrap();
        assert!(said(&list).contains("read no list") && said(&list).contains("for ghcr.io;"), "{}", said(&list));
        let one = first.display().to_string();
        assert!(!said(&one).contains("read no list") && said(&one).contains("for ghcr.io;"));
    }
}
