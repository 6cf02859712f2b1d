//! Has CRI pull by the transfer service, where settings of containerd's have it pull by itself and ask no verifier:
//! plans a drop-in and the import of it, and has containerd itself prove that they do this and nothing else.
//!
//! Used by `install` and `doctor --fix`. Plans only; a containerd that runs takes it up when it starts the next time.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::cli::change::{Plan, below, read_only};
use crate::containerd::draft::{self, Draft};
use crate::containerd::settings::{CRI, CRI_IMAGES, Images, Settings};
use crate::containerd::{dropin, imports};

/// A containerd whose configuration is looked at.
pub(super) struct Target<'a> {
    /// The configuration file, as the node names it.
    pub(super) config: &'a Path,
    /// The program that reads it, on this machine.
    pub(super) program: &'a Path,
}

/// What becomes of CRI's pulls.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// They go by the transfer service, or there is no CRI.
    Asks,
    /// They will, once the changes are made and containerd has started anew. What else then is other than before.
    Will(Vec<String>),
    /// They do not, because of this; and what an operator can do.
    Open { why: String, mend: String },
}

/// Plans what has CRI ask.
///
/// # Errors
/// The configuration cannot be read, or containerd does not say what it makes of it.
pub(super) async fn plan(plan: &mut Plan, target: &Target<'_>) -> Result<Route, String> {
    let root = plan.root().to_owned();
    let at = |path: &Path| below(&root, path);
    let text = match fs::read_to_string(at(&plan.resolve(target.config))) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: {error}", target.config.display())),
    };
    let now = Draft { config: target.config, text: &text, dropin: None, at: &at };
    let before = now.effective(target.program).await?;
    let settings = Settings::read(&before)?;
    let Some(images) = settings.images.as_ref().filter(|_| is_there(&settings)) else { return Ok(Route::Asks) };
    if number(&before, CRI_IMAGES, "use_local_image_pull").is_none() {
        return Ok(open(
            "before containerd 2.1 CRI asks no verifier, whatever is configured",
            "install containerd 2.1 or later",
        ));
    }
    if images.local.is_empty() {
        return Ok(Route::Asks);
    }
    if let Some(route) = registries(images, is_rancher(target.config)) {
        return Ok(route);
    }
    let version = imports::version(&text)?;
    let Some(dropin) = dropin::text(version, carried(&before)) else {
        let mend =
            format!("containerd --config {} config migrate prints it as the newest version", target.config.display());
        return Ok(open(&format!("{} is of version {version}", target.config.display()), &mend));
    };
    let (path, edited) = match place(target.config, &at(target.config), &text) {
        Ok(place) => place,
        Err(route) => return Ok(route),
    };
    let new = edited.as_deref().unwrap_or(&text);
    let then = Draft { config: target.config, text: new, dropin: Some((&path, &dropin)), at: &at };
    let after = then.effective(target.program).await?;
    if let Some(route) = unproven(&before, &after, &path)? {
        return Ok(route);
    }
    // Both or none: nothing imports a drop-in where the file cannot be edited.
    let mut both = Plan::new(&root);
    if let Some(folder) = path.parent() {
        both.directory(folder);
    }
    both.text(&path, dropin, 0o644)?;
    if let Some(edited) = edited {
        both.edit(target.config, edited)?;
    }
    plan.append(both);
    Ok(Route::Will(notes(images, &before)))
}

/// The same for a k3s or RKE2 that has not run yet, and so has written no configuration: it will have CRI pull by
/// itself, and a release that imports drop-ins will read this one.
///
/// # Errors
/// Something is in the way.
pub(super) fn unseen(plan: &mut Plan, config: &Path) -> Result<Route, String> {
    let which = if config.starts_with("/var/lib/rancher/rke2") { "rke2" } else { "k3s" };
    let registries = Path::new("/etc/rancher").join(which).join("registries.yaml");
    let known = fs::read_to_string(plan.at(&registries)).unwrap_or_default();
    if known.lines().any(|line| line.trim_start().starts_with("auth:")) {
        let why = format!("`auth` in {} has CRI pull by itself, which no drop-in can take away", registries.display());
        return Ok(open(&why, RANCHER_MEND));
    }
    let path = imports::resolve(config, "config-v3.toml.d").join(dropin::FILE);
    let Some(text) = dropin::text(RANCHER_VERSION, None) else { return Ok(Route::Asks) };
    if let Some(folder) = path.parent() {
        plan.directory(folder);
    }
    plan.text(&path, text, 0o644)?;
    let what = format!("whether this k3s or RKE2 reads {} shows when it has started: ratifyctl doctor", path.display());
    Ok(Route::Will(vec![what]))
}

fn open(why: &str, mend: &str) -> Route {
    Route::Open { why: why.to_owned(), mend: mend.to_owned() }
}

/// Whether a containerd has CRI at all.
pub(super) fn is_there(settings: &Settings) -> bool {
    settings.images.is_some() && !settings.is_disabled(CRI) && !settings.is_disabled(CRI_IMAGES)
}

/// Whether a configuration is one that k3s or RKE2 writes anew at each start.
pub(super) fn is_rancher(config: &Path) -> bool {
    config.ends_with("agent/etc/containerd/config.toml")
}

/// What no drop-in can take away: tables of registries that are not empty.
fn registries(images: &Images, rancher: bool) -> Option<Route> {
    let tables: Vec<&str> =
        images.local.iter().map(String::as_str).filter(|setting| setting.starts_with("registry.")).collect();
    if tables.is_empty() {
        return None;
    }
    let why = format!("CRI pulls by itself because of {}, which no drop-in can take away", tables.join(", "));
    let mend = if rancher {
        RANCHER_MEND
    } else {
        "move mirrors and TLS into hosts.toml files below registry.config_path, credentials to the kubelet \
         (imagePullSecrets, or a credential provider)"
    };
    Some(open(&why, mend))
}

/// Where the drop-in goes, and the main file's text if it must import it first.
fn place(config: &Path, at: &Path, text: &str) -> Result<(PathBuf, Option<String>), Route> {
    let folder = if !is_rancher(config) {
        "conf.d"
    } else if imports::version(text) == Ok(2) {
        "config.toml.d"
    } else {
        "config-v3.toml.d"
    };
    let folder = imports::resolve(config, folder);
    let path = folder.join(dropin::FILE);
    let known = imports::of(text).unwrap_or_default();
    if known.iter().any(|import| imports::covers(config, import, &path)) {
        return Ok((path, None));
    }
    let file = config.display();
    if is_rancher(config) {
        let why = format!("CRI pulls by itself, and {file}, which k3s or RKE2 writes, imports no drop-in");
        let mend = format!(
            "upgrade it to a release whose file imports {0}/*.toml, or have a whole template of your own import that",
            folder.display()
        );
        return Err(open(&why, &mend));
    }
    if text.lines().take(GENERATED_LINES).any(is_generated) {
        let why = format!("CRI pulls by itself, and {file} is written by another program");
        return Err(open(&why, &format!("have that program import {}/*.toml", folder.display())));
    }
    if read_only(at) {
        let why = format!("CRI pulls by itself, and {file} cannot be written to");
        return Err(open(&why, "have containerd read a copy of it in /etc/containerd, then run this again"));
    }
    match imports::add(text, &folder.join(dropin::PATTERN).to_string_lossy()) {
        Ok(edited) => Ok((path, Some(edited))),
        Err(mend) => Err(open(&format!("{file} imports no drop-in, and no small edit has it do so"), &mend)),
    }
}

/// Whether a line says that a file is made anew by a program: k0s, and many by habit.
fn is_generated(line: &str) -> bool {
    line.starts_with('#') && (line.contains("k0s_managed=true") || line.contains("DO NOT EDIT"))
}

/// How many layers CRI fetched at once, where the transfer service has nothing of its own.
fn carried(before: &Table) -> Option<i64> {
    let count = |plugin| number(before, plugin, "max_concurrent_downloads").and_then(Value::as_integer);
    let own = count(CRI_IMAGES).filter(|&count| count != DOWNLOADS)?;
    (count(dropin::TRANSFER) == Some(DOWNLOADS)).then_some(own)
}

fn number<'a>(dump: &'a Table, plugin: &str, key: &str) -> Option<&'a Value> {
    dump.get("plugins")?.get(plugin)?.get(key)
}

/// What keeps the changes from being made: they would not do, or do something else too.
fn unproven(before: &Table, after: &Table, path: &Path) -> Result<Option<Route>, String> {
    let settings = Settings::read(after)?;
    let left = settings.images.map(|images| images.local).unwrap_or_default();
    if !left.is_empty() {
        let why = format!("CRI pulls by itself because of {}, also with {}", left.join(", "), path.display());
        return Ok(Some(open(&why, "mend what another file that containerd imports says of it")));
    }
    let others: Vec<String> = draft::differences(before, after)
        .into_iter()
        .filter(|path| !is_meant(path))
        .map(|path| path.join("."))
        .collect();
    if others.is_empty() {
        return Ok(None);
    }
    let why = format!("CRI pulls by itself, and {} would also change {}", path.display(), others.join(", "));
    Ok(Some(open(&why, "set in containerd's configuration what docs/kubernetes.md says of CRI")))
}

/// Whether a key is one that the drop-in is there for.
fn is_meant(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["imports"] | ["plugins", dropin::TRANSFER, "max_concurrent_downloads"] => true,
        ["plugins", CRI_IMAGES, key] => dropin::KEYS.iter().any(|(meant, _)| meant == key),
        _ => false,
    }
}

/// What an operator may miss afterwards.
fn notes(images: &Images, before: &Table) -> Vec<String> {
    let mut notes = Vec::new();
    for setting in &images.local {
        match setting.split(' ').next() {
            Some("disable_snapshot_annotations") => notes.push(format!(
                "{setting} is overridden: a snapshotter that pulls lazily (stargz, nydus, SOCI) then needs \
                 enable_remote_snapshot_annotations = \"true\" in its proxy_plugins.*.exports"
            )),
            Some("discard_unpacked_layers") => {
                notes.push(format!("{setting} is overridden: packed layers stay on disk"));
            }
            Some("max_concurrent_downloads") if carried(before).is_some() => {
                notes.push(format!("{setting} is carried over to {}", dropin::TRANSFER));
            }
            _ => {}
        }
    }
    notes
}

/// How many layers CRI and the transfer service fetch at once unless told otherwise.
const DOWNLOADS: i64 = 3;

/// What k3s makes of `auth`, and how to do without.
const RANCHER_MEND: &str = "take `auth` out of registries.yaml and give the credentials to the kubelet \
    (imagePullSecrets, or a credential provider); mirrors may stay";

/// The version of the files in config-v3.toml.d.
const RANCHER_VERSION: i64 = 3;

/// Where a program says that a file is its own.
const GENERATED_LINES: usize = 5;
