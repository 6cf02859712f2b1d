//! `ratifyctl uninstall`: pulls first go past the shim, then all goes that `install` has put there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::change::{Plan, below};
use crate::cli::install::files::{self, Layout, UNITS};
use crate::cli::install::target::{self, Target};
use crate::cli::install::work::Work;
use crate::cli::install::{Common, SYSTEM, hook, undone};
use crate::cli::{Exit, Stop};
use crate::containerd::process::CONFIG;
use crate::containerd::{dropin, imports};

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Remove configuration, state and cache too
    #[arg(long)]
    purge: bool,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<Exit, Stop> {
    let common = &arguments.common;
    common.check()?;
    let target = Target::find(&common.root, common.address.as_deref(), common.containerd_config.as_deref()).await;
    let layout = Layout::of(&common.root, common.prefix.as_deref());
    let mut work = Work::new(&common.root);
    work.ran = common.ran(&target);
    certain(common, &target)?;
    unhook(&mut work, &target)?;
    disable(&mut work.setup, common);
    disconnect(&mut work, common, &target)?;
    match files::package(&common.root) {
        Some(command) => work.left.push(format!("{command}  # programs and units are a package's")),
        None => {
            let before = work.setup.changes().len();
            layout.take(&mut work.setup);
            if common.booted() && work.setup.changes().len() > before {
                work.setup.run(&["systemctl", "daemon-reload"], "the units are gone");
            }
        }
    }
    if arguments.purge {
        for folder in ["/etc/ratifyd", "/var/lib/ratifyd", "/var/cache/ratifyd"] {
            work.setup.remove_all(Path::new(folder));
        }
    }
    work.show(common)?;
    if !common.yes {
        return Ok(work.exit());
    }
    work.make(common, &work.setup)?;
    work.end(common)
}

/// A containerd that is named must be found: else a link in its folder would stay, and lead nowhere.
fn certain(common: &Common, target: &Target) -> Result<(), Stop> {
    let kept = "nothing is removed, as a link in its folder of verifiers would refuse every pull";
    match (&common.address, &common.containerd_config) {
        (_, Some(config)) if !below(&common.root, config).is_file() => {
            Err(undone(format!("--containerd-config {} is no file: {kept}", config.display())))
        }
        (Some(address), None) if common.is_live() && target.client.is_none() => Err(undone(format!(
            "no containerd answers on {}: {kept}; start it, or name its file by --containerd-config",
            address.display()
        ))),
        (None, None) => Ok(()),
        _ => match &target.settings {
            Err(cause) if target.program.is_some() => {
                Err(undone(format!("what containerd makes of {} is unknown: {cause}: {kept}", target.config.display())))
            }
            _ => Ok(()),
        },
    }
}

/// First of all: a link that leads nowhere refuses every pull.
fn unhook(work: &mut Work, target: &Target) -> Result<(), Stop> {
    let recorded = hook::recorded(&work.setup).map_err(undone)?;
    let mut folders = vec![PathBuf::from(target::FOLDER)];
    for folder in target.folder().into_iter().chain(recorded.iter().cloned()) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    for folder in folders {
        if let Err(error) = fs::read_dir(work.setup.at(&folder))
            && (error.kind() != io::ErrorKind::NotFound || recorded.contains(&folder))
        {
            return Err(undone(format!(
                "{}: {error}: nothing is removed, as a link in there would refuse every pull; if it is gone for \
                 good, take it out of {}",
                folder.display(),
                hook::RECORD
            )));
        }
        for link in hook::links(&work.setup, &folder) {
            work.setup.remove(&link);
            work.notes.push(format!("without {} pulls are no longer verified by ratifyd", link.display()));
        }
    }
    if !work.setup.is_empty() {
        for folder in Path::new(target::FOLDER).ancestors().take(FOLDERS) {
            work.setup.remove_empty(folder);
        }
    }
    work.setup.remove(Path::new(hook::RECORD));
    Ok(())
}

fn disable(plan: &mut Plan, common: &Common) {
    let wants = [("ratifyd.socket", "sockets.target.wants"), ("ratifyd.service", "multi-user.target.wants")];
    let links = wants.map(|(name, folder)| Path::new(SYSTEM).join(folder).join(name));
    if !common.booted() {
        for link in &links {
            plan.remove(link);
            if let Some(folder) = link.parent() {
                plan.remove_empty(folder);
            }
        }
        return;
    }
    let is_there =
        |name: &str| [SYSTEM, "/usr/lib/systemd/system"].iter().any(|folder| Path::new(folder).join(name).exists());
    let mut command = vec!["systemctl", "disable", "--now"];
    // Of a template there is nothing to disable.
    command.extend(UNITS.iter().map(|(name, _)| *name).filter(|name| !name.contains('@') && is_there(name)));
    if command.len() > 3 {
        plan.run(&command, "nothing asks the daemon any more");
        plan.remove_emptied(Path::new("/run/ratifyd"));
    }
}

/// Takes the drop-in away, and the import of it.
fn disconnect(work: &mut Work, common: &Common, target: &Target) -> Result<(), Stop> {
    let mut configs = vec![target.config.clone(), PathBuf::from(CONFIG)];
    configs.extend(RANCHERS.map(PathBuf::from));
    configs.sort();
    configs.dedup();
    let before = work.setup.changes().len();
    for config in configs {
        for folder in ["conf.d", "config-v3.toml.d", "config.toml.d"] {
            let folder = imports::resolve(&config, folder);
            let file = folder.join(dropin::FILE);
            if work.setup.at(&file).exists() {
                take_import(work, &config, &folder.join(dropin::PATTERN))?;
                work.setup.remove(&file);
                work.setup.remove_empty(&folder);
            }
        }
    }
    if work.setup.changes().len() > before {
        let unit = target.unit();
        if common.restart_containerd && common.booted() {
            work.setup
                .run(&["systemctl", "restart", unit], "it goes back to its own settings; containers keep running");
        } else if common.is_live() {
            work.left
                .push(format!("systemctl restart {unit}  # or at its next start it goes back to its own settings"));
        }
    }
    Ok(())
}

fn take_import(work: &mut Work, config: &Path, pattern: &Path) -> Result<(), Stop> {
    let Ok(text) = fs::read_to_string(work.setup.at(&work.setup.resolve(config))) else { return Ok(()) };
    match imports::remove(&text, &pattern.to_string_lossy()) {
        Ok(Some(edited)) => work.setup.edit(config, edited).map_err(undone),
        Ok(None) => Ok(()),
        // A pattern that fits nothing does no harm.
        Err(mend) => {
            work.notes.push(format!("{}: {mend}", config.display()));
            Ok(())
        }
    }
}

/// The configurations that k3s and RKE2 write.
const RANCHERS: [&str; 2] =
    ["/var/lib/rancher/k3s/agent/etc/containerd/config.toml", "/var/lib/rancher/rke2/agent/etc/containerd/config.toml"];

/// How many of containerd's folders go when they are empty: that of verifiers, and two above it.
const FOLDERS: usize = 3;
