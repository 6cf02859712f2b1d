//! The drop-in that has CRI pull by the transfer service, which is what asks verifiers. Pure: the text, by the version
//! of the configuration that it is for.
//!
//! The version must be that of the main file. A higher one keeps containerd 2.3 from starting, and has 2.0 to 2.2 pass
//! over all that the main file says in the words of a lower one (containerd, cmd/containerd/server/config).

use std::fmt::Write as _;

use crate::containerd::settings::{CRI, CRI_IMAGES};

/// The plugin that pulls for CRI once CRI does not do it by itself.
pub const TRANSFER: &str = "io.containerd.transfer.v1.local";

/// The file's name: late in the alphabet, because of two files the later one counts.
pub const FILE: &str = "90-ratifyd.toml";

/// Imports the file, and nothing else that lies beside it. A pattern, because a file that is imported by its name and
/// is missing keeps containerd from starting.
pub const PATTERN: &str = "90-ratifyd*.toml";

/// What CRI must be told: containerd 2.1 and later, internal/cri/config. These are containerd's own defaults.
pub const KEYS: [(&str, &str); 5] = [
    ("use_local_image_pull", "false"),
    ("disable_snapshot_annotations", "true"),
    ("discard_unpacked_layers", "false"),
    ("image_pull_with_sync_fs", "false"),
    ("max_concurrent_downloads", "3"),
];

/// The text for a configuration of this version; none for version 1, of which too few are left. `parallel` is how many
/// layers the transfer service is to fetch at once, where that is not its default.
#[must_use]
pub fn text(version: i64, parallel: Option<i64>) -> Option<String> {
    if version < 2 {
        return None;
    }
    let mut text = format!(
        "# Has CRI pull by containerd's transfer service, which asks image verifiers. `ratifyctl uninstall` removes it.\n\
         version = {version}\n"
    );
    table(&mut text, &format!("[plugins.\"{CRI_IMAGES}\"]"), |_| true);
    if version == 2 {
        // Up to containerd 2.2 these win over their new names, from 2.3 on the new ones count.
        table(&mut text, &format!("[plugins.\"{CRI}\"]"), |key| {
            matches!(key, "image_pull_with_sync_fs" | "max_concurrent_downloads")
        });
        table(&mut text, &format!("[plugins.\"{CRI}\".containerd]"), |key| {
            matches!(key, "disable_snapshot_annotations" | "discard_unpacked_layers")
        });
    }
    if let Some(parallel) = parallel {
        let _ = write!(text, "\n# As CRI had it.\n[plugins.\"{TRANSFER}\"]\nmax_concurrent_downloads = {parallel}\n");
    }
    Some(text)
}

fn table(text: &mut String, header: &str, has: impl Fn(&str) -> bool) {
    let _ = write!(text, "\n{header}\n");
    for (key, value) in KEYS.iter().filter(|(key, _)| has(key)) {
        let _ = writeln!(text, "{key} = {value}");
    }
}

#[cfg(test)]
mod tests {
    use toml::Table;

    use super::*;

    #[test]
    fn the_drop_in_has_the_version_of_the_file_that_imports_it() {
        assert_eq!(text(1, None), None);
        for version in [2, 3, 4] {
            let parsed: Table = text(version, Some(8)).unwrap().parse().unwrap();
            assert_eq!(parsed["version"].as_integer(), Some(version));
            let plugins = parsed["plugins"].as_table().unwrap();
            assert_eq!(plugins.contains_key(CRI), version == 2);
            assert_eq!(plugins[CRI_IMAGES].as_table().unwrap().len(), KEYS.len());
            assert_eq!(plugins[TRANSFER]["max_concurrent_downloads"].as_integer(), Some(8));
        }
        assert!(!text(3, None).unwrap().contains(TRANSFER));
    }
}
