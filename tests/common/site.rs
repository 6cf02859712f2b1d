//! A node that is being set up without a package: the unpacked archive, and the folder with the node's files.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An unpacked archive, and the files of a node.
pub struct Site {
    folder: TempDir,
}

impl Site {
    /// Programs and some files in the archive; on the node the folders that every node has.
    pub fn unpack() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        mode(site.folder.path(), 0o755);
        for (program, to) in [
            (env!("CARGO_BIN_EXE_ratifyd"), "bin/ratifyd"),
            (env!("CARGO_BIN_EXE_ratifyctl"), "bin/ratifyctl"),
            (env!("CARGO_BIN_EXE_ratify-image-verifier"), "libexec/ratifyd/ratify-image-verifier"),
        ] {
            let to = site.archive().join(to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::hard_link(program, &to).or_else(|_| fs::copy(program, &to).map(|_| ())).unwrap();
        }
        for file in
            ["share/ratifyd/config.toml", "share/man/man1/ratifyctl-install.1.gz", "share/doc/ratifyd/README.md"]
        {
            let to = site.archive().join(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, file).unwrap();
        }
        for folder in
            ["etc/containerd", "etc/systemd/system", "usr/bin", "usr/lib/systemd/system", "usr/share/man/man1", "opt"]
        {
            fs::create_dir_all(site.root().join(folder)).unwrap();
        }
        for folder in ["usr/libexec", "usr/lib/sysusers.d", "usr/share/doc"] {
            fs::create_dir(site.root().join(folder)).unwrap();
        }
        site.write("usr/share/man/man1/other.1.gz", "other");
        site.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nratifyd:x:999:999::/var/lib/ratifyd:/usr/sbin/nologin\n");
        site
    }

    /// The archive's usr/.
    pub fn archive(&self) -> PathBuf {
        self.folder.path().join("archive/usr")
    }

    /// The node's files.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A path of the node, without its first slash.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Writes a file of the node.
    pub fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
        mode(&self.at(path), 0o644);
    }

    /// ratifyctl of the archive over the node's files.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.archive().join("bin/ratifyctl"));
        command.args(arguments).arg("--root").arg(self.root());
        for variable in ["RATIFYD_CONFIG", "RATIFYD_SOCKET", "CONTAINERD_ADDRESS"] {
            command.env_remove(variable);
        }
        command
    }

    /// Everything below the root, with what it is.
    pub fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut tree = BTreeMap::new();
        let mut folders = vec![self.root()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.symlink_metadata().unwrap();
                let content = if metadata.is_dir() {
                    folders.push(path.clone());
                    String::new()
                } else if metadata.is_symlink() {
                    fs::read_link(&path).unwrap().display().to_string()
                } else {
                    format!("{:?}", aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &fs::read(&path).unwrap()))
                };
                tree.insert(path, format!("{:o} {content}", metadata.mode()));
            }
        }
        tree
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
