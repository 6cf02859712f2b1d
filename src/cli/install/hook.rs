//! The link in containerd's folder of verifiers, by which it asks: planned to be made, to change its name between
//! auditing and enforcing in one step, and to be taken away.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::change::{Change, Plan};
use crate::cli::install::target::FOLDER;

/// The shim's file name, and the link's: by this name it refuses.
pub(in crate::cli) const ENFORCING: &str = "ratify-image-verifier";

/// By a name that ends so it refuses nothing.
const AUDITING: &str = "ratify-image-verifier-audit";

/// The folders with a link, one in a line, but for the one that is always looked at. Another containerd may have been
/// named then than when the links are to go. In a folder that root alone writes to.
pub(in crate::cli) const RECORD: &str = "/etc/ratifyd/verifier-folders";

/// How a link is called until it takes the place of another.
const LEFTOVER: &[u8] = b".new-";

/// The folders that have been recorded.
///
/// # Errors
/// The record cannot be read.
pub(in crate::cli) fn recorded(plan: &Plan) -> Result<Vec<PathBuf>, String> {
    let text = plan.read(Path::new(RECORD))?.unwrap_or_default();
    Ok(text.lines().filter(|line| line.starts_with('/')).map(PathBuf::from).collect())
}

/// The entries of a folder that lead to the shim, over whatever other links.
pub(in crate::cli) fn links(plan: &Plan, folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(plan.at(folder)).into_iter().flatten().flatten();
    let named = |path: &Path| path.file_name().is_some_and(|name| name == ENFORCING);
    let leads = |path: &PathBuf| {
        let target = fs::read_link(plan.at(path)).ok();
        target.is_some_and(|target| named(&target) || named(&plan.resolve(path)))
    };
    let mut links: Vec<PathBuf> = entries.map(|entry| folder.join(entry.file_name())).filter(leads).collect();
    links.sort();
    links
}

/// Plans that the folder has one link to the shim, auditing or enforcing.
///
/// # Errors
/// Something else has its name, or containerd would not come to it.
pub(in crate::cli) fn plan(plan: &mut Plan, folder: &Path, shim: &Path, audit: bool, max: i64) -> Result<(), String> {
    let links = links(plan, folder);
    let fits = |path: &&PathBuf| is_auditing(path) == audit;
    let wanted = folder.join(if audit { AUDITING } else { ENFORCING });
    let end = plan.resolve(shim);
    let leads = |path: &PathBuf| !is_leftover(path) && plan.resolve(path) == end;
    let own = || links.iter().filter(fits).filter(|path| leads(path));
    let own = own().find(|path| **path == wanted).or_else(|| own().next()).cloned();
    let other = links.iter().find(|path| !fits(path) && leads(path));
    let other = other.filter(|_| fs::symlink_metadata(plan.at(&wanted)).is_err()).cloned();
    comes_to(plan, folder, own.as_ref().unwrap_or(&wanted), max)?;
    if own.is_none() {
        plan.directory(folder);
    }
    record(plan, folder)?;
    let link = match own {
        Some(link) => link,
        None => {
            match other {
                Some(other) => plan.rename(&other, &wanted),
                None => plan.link(&wanted, shim)?,
            }
            wanted
        }
    };
    for other in &links {
        if *other != link && !is_renamed(plan, other) {
            plan.remove(other);
        }
    }
    Ok(())
}

/// Before there is a link: a record of a folder without one does no harm.
fn record(plan: &mut Plan, folder: &Path) -> Result<(), String> {
    let known = recorded(plan)?;
    if folder == Path::new(FOLDER) || known.iter().any(|known| known == folder) {
        return Ok(());
    }
    let Some(name) = folder.to_str().filter(|name| name.starts_with('/') && !name.contains('\n')) else {
        return Err(format!("{folder:?} is no path of a folder that can be found again: change containerd's bin_dir"));
    };
    let lines: String = known.iter().map(|known| format!("{}\n", known.display())).collect();
    let path = Path::new(RECORD);
    if let Some(folder) = path.parent() {
        plan.directory(folder);
    }
    plan.text(path, format!("{lines}{name}\n"), 0o644)
}

fn is_leftover(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(LEFTOVER))
}

/// Whether an entry has a name by which the shim refuses nothing.
pub(in crate::cli) fn is_auditing(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"-audit")
}

fn is_renamed(plan: &Plan, path: &Path) -> bool {
    plan.changes().iter().any(|change| matches!(change, Change::Rename { path: from, .. } if from == path))
}

/// containerd runs entries by the order of their names, and of more than `max` the first ones only.
fn comes_to(plan: &Plan, folder: &Path, link: &Path, max: i64) -> Result<(), String> {
    let Ok(max) = usize::try_from(max) else { return Ok(()) };
    let ours = links(plan, folder);
    let entries = fs::read_dir(plan.at(folder)).into_iter().flatten().flatten();
    let others = entries.map(|entry| folder.join(entry.file_name())).filter(|path| !ours.contains(path));
    let before = others.filter(|path| path.as_path() < link).count();
    if before < max {
        return Ok(());
    }
    Err(format!(
        "containerd runs the first {max} entries of {} only (max_verifiers), and would not come to {}: raise it, or \
         take others away",
        folder.display(),
        link.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder of verifiers and a shim beside it, on a node whose files are this machine's.
    fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let (folder, shim) = (place.path().join("bin"), place.path().join(ENFORCING));
        fs::create_dir(&folder).unwrap();
        fs::write(&shim, "").unwrap();
        (place, folder, shim)
    }

    #[test]
    fn a_link_that_leads_to_the_shim_by_another_name_is_found() {
        let (place, folder, shim) = folder();
        symlink(&shim, place.path().join("alternative")).unwrap();
        symlink("../alternative", folder.join("10-policy")).unwrap();
        symlink("/bin/true", folder.join("20-other")).unwrap();
        assert_eq!(links(&Plan::new(Path::new("/")), &folder), [folder.join("10-policy")]);
    }

    #[test]
    fn nothing_is_planned_where_containerd_would_not_come_to_the_link() {
        let (_place, folder, shim) = folder();
        fs::write(folder.join("00-first"), "").unwrap();
        for (max, fits) in [(0, false), (1, false), (2, true), (-1, true)] {
            let mut node = Plan::new(Path::new("/"));
            assert_eq!(plan(&mut node, &folder, &shim, false, max).is_ok(), fits, "{max}");
            assert_eq!(node.is_empty(), !fits, "{max}");
        }
    }
}
