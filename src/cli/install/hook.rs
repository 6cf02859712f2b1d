//! The link in containerd's folder of verifiers, by which it asks: planned to be made, to change its name between
//! auditing and enforcing in one step, and to be taken away.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::change::{Change, Plan};
use crate::cli::install::target::FOLDER;

/// The shim's file name, and the link's: by this name it refuses.
const ENFORCING: &str = "ratify-image-verifier";

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

/// The entries of a folder that lead to the shim.
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
    comes_to(plan, folder, &link, max)
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

fn is_auditing(path: &Path) -> bool {
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
