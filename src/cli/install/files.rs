//! Which files ratifyd consists of on a node and where they lie: planned to be put there, and to be taken away.
//!
//! Programs come from where the running ratifyctl lies, an unpacked archive; units and user are written from this
//! program, with its paths in them. What a package has put there is the package's and not touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::change::{Plan, read_only};

/// Where the parts lie on the node.
pub(in crate::cli) struct Layout {
    prefix: PathBuf,
}

/// Where nothing else is asked for.
const USR: &str = "/usr";

/// Where /usr cannot be written to, as on Flatcar.
const OPT: &str = "/opt/ratifyd";

/// The programs below the prefix: where in the archive and on the node.
const PROGRAMS: [&str; 3] = ["bin/ratifyd", "bin/ratifyctl", SHIM];

/// The shim below the prefix.
const SHIM: &str = "libexec/ratifyd/ratify-image-verifier";

/// A package's way to take the link away, which knows of /usr alone.
const UNHOOK: &str = "libexec/ratifyd/unhook";

/// Folders below share/ that are ratifyd's alone.
const OWN: [&str; 2] = ["ratifyd", "doc/ratifyd"];

/// Folders below share/ with files of ratifyctl among others.
const COMMON: [&str; 4] =
    ["man/man1", "bash-completion/completions", "zsh/vendor-completions", "fish/vendor_completions.d"];

/// All folders below a prefix that is ratifyd's alone, the deepest first.
const FOLDERS: [&str; 12] = [
    "share/man/man1",
    "share/man",
    "share/bash-completion/completions",
    "share/bash-completion",
    "share/zsh/vendor-completions",
    "share/zsh",
    "share/fish/vendor_completions.d",
    "share/fish",
    "share/doc",
    "share",
    "libexec",
    "bin",
];

/// The units, as the packages have them.
pub(in crate::cli) const UNITS: [(&str, &str); 4] = [
    ("ratifyd.socket", include_str!("../../../systemd/ratifyd.socket")),
    ("ratifyd.service", include_str!("../../../systemd/ratifyd.service")),
    ("ratifyd-plugins.socket", include_str!("../../../systemd/ratifyd-plugins.socket")),
    ("ratifyd-plugins@.service", include_str!("../../../systemd/ratifyd-plugins@.service")),
];

/// The user.
const SYSUSERS: &str = include_str!("../../../systemd/ratifyd.sysusers");

impl Layout {
    /// The layout of a node: below this prefix, or where ratifyd lies already, or where it can.
    pub(in crate::cli) fn of(root: &Path, prefix: Option<&Path>) -> Self {
        let at = |path: &str| super::below(root, Path::new(path));
        let prefix = match prefix {
            Some(prefix) => prefix.to_owned(),
            None if at(OPT).join(SHIM).exists() => PathBuf::from(OPT),
            None if at(USR).join(SHIM).exists() || !read_only(&at(USR)) => PathBuf::from(USR),
            None => PathBuf::from(OPT),
        };
        Self { prefix }
    }

    /// The shim.
    pub(in crate::cli) fn shim(&self) -> PathBuf {
        self.prefix.join(SHIM)
    }

    /// The folder of units: the distribution's, or the administrator's where programs lie elsewhere.
    pub(in crate::cli) fn units(&self) -> PathBuf {
        if self.is_usual() { self.prefix.join("lib/systemd/system") } else { PathBuf::from("/etc/systemd/system") }
    }

    /// What makes the user.
    fn sysusers(&self) -> PathBuf {
        let folder = if self.is_usual() { "/usr/lib/sysusers.d" } else { "/etc/sysusers.d" };
        Path::new(folder).join("ratifyd.conf")
    }

    /// Whether the prefix is ratifyd's alone, by its name: /usr/local has empty folders of the distribution's.
    fn is_own(&self) -> bool {
        self.prefix.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"ratifyd"))
    }

    fn is_usual(&self) -> bool {
        self.prefix == Path::new(USR)
    }

    /// A text with the paths of this layout in it.
    fn placed(&self, text: &str) -> String {
        text.replace("/usr/bin/ratifyd", &self.prefix.join("bin/ratifyd").to_string_lossy())
    }

    /// Plans all files; `source` is the prefix of what is unpacked.
    ///
    /// # Errors
    /// A program is neither there nor among what is unpacked, or something is in the way.
    pub(in crate::cli) fn put(&self, plan: &mut Plan, source: &Path) -> Result<(), String> {
        let in_place = plan.at(&self.prefix).canonicalize().is_ok_and(|prefix| prefix == source);
        for program in PROGRAMS {
            let (from, to) = (source.join(program), self.prefix.join(program));
            if !in_place && from.is_file() {
                copy(plan, &from, &to, 0o755)?;
            } else if !plan.at(&to).is_file() {
                let what = format!("{} is not there: run the ratifyctl of the unpacked archive", from.display());
                return Err(what);
            }
        }
        if !in_place {
            if self.is_usual() && source.join(UNHOOK).is_file() {
                copy(plan, &source.join(UNHOOK), &self.prefix.join(UNHOOK), 0o755)?;
            }
            for file in shared(source) {
                copy(plan, &source.join(&file), &self.prefix.join(&file), 0o644)?;
            }
        }
        for (name, text) in UNITS {
            write(plan, &self.units().join(name), self.placed(text))?;
        }
        write(plan, &self.sysusers(), SYSUSERS.to_owned())
    }

    /// Plans that none of them is there.
    pub(in crate::cli) fn take(&self, plan: &mut Plan) {
        let at = plan.at(&self.prefix);
        for (name, _) in UNITS {
            plan.remove(&self.units().join(name));
        }
        plan.remove(&self.sysusers());
        for file in shared(&at) {
            plan.remove(&self.prefix.join(file));
        }
        for folder in OWN {
            plan.remove_empty(&self.prefix.join("share").join(folder));
        }
        for program in PROGRAMS.into_iter().chain([UNHOOK]) {
            plan.remove(&self.prefix.join(program));
        }
        plan.remove_empty(&self.prefix.join("libexec/ratifyd"));
        if self.is_own() {
            for folder in FOLDERS {
                plan.remove_empty(&self.prefix.join(folder));
            }
            plan.remove_empty(&self.prefix);
        }
    }
}

/// Files below share/, as paths from the prefix.
fn shared(prefix: &Path) -> Vec<PathBuf> {
    let list = |folder: &str, own: bool| -> Vec<PathBuf> {
        let folder = Path::new("share").join(folder);
        let entries = fs::read_dir(prefix.join(&folder)).into_iter().flatten().flatten();
        let named = |name: &str| own || name.trim_start_matches('_').starts_with("ratifyctl");
        let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        let mut files: Vec<PathBuf> = files
            .filter(|entry| entry.file_name().to_str().is_some_and(named))
            .map(|entry| folder.join(entry.file_name()))
            .collect();
        files.sort();
        files
    };
    OWN.iter()
        .flat_map(|folder| list(folder, true))
        .chain(COMMON.iter().flat_map(|folder| list(folder, false)))
        .collect()
}

fn copy(plan: &mut Plan, from: &Path, to: &Path, mode: u32) -> Result<(), String> {
    if let Some(folder) = to.parent() {
        plan.directory(folder);
    }
    plan.copy(to, from, mode)
}

fn write(plan: &mut Plan, path: &Path, text: String) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        plan.directory(folder);
    }
    plan.text(path, text, 0o644)
}

/// The prefix of the unpacked archive that this program is part of.
pub(super) fn source() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("where this program lies is unknown: {error}"))?;
    let prefix = own.parent().and_then(Path::parent).ok_or("this program lies in no folder")?;
    Ok(prefix.to_owned())
}

/// How a package that has put ratifyd there is removed. A list outlives a removal: the shim tells.
pub(in crate::cli) fn package(root: &Path) -> Option<&'static str> {
    if !super::below(root, &Path::new(USR).join(SHIM)).is_file() {
        return None;
    }
    if super::below(root, Path::new("/var/lib/dpkg/info/ratifyd.list")).exists() {
        return Some("apt remove ratifyd");
    }
    if root != Path::new("/") || !Path::new("/usr/bin/rpm").exists() {
        return None;
    }
    let asked = Command::new("/usr/bin/rpm").args(["-q", "ratifyd"]).stdin(Stdio::null()).output();
    asked.is_ok_and(|asked| asked.status.success()).then_some("dnf remove ratifyd")
}
