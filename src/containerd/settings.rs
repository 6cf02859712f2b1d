//! containerd's effective configuration, reduced to what decides whether a pull is verified. Pure: [`Settings::parse`]
//! reads what `containerd config dump` prints, with every default, import and migration already in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

/// The plugin that runs verifiers, as configurations name it.
pub const VERIFIER: &str = "io.containerd.image-verifier.v1.bindir";

/// The plugin by which the kubelet's images are pulled, as configurations name it.
pub const CRI_IMAGES: &str = "io.containerd.cri.v1.images";

/// The plugin that is CRI itself.
pub const CRI: &str = "io.containerd.grpc.v1.cri";

/// What decides whether pulls are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The patterns of files that it reads besides its own.
    pub imports: Vec<String>,
    /// Plugins that are switched off.
    pub disabled: Vec<String>,
    /// The verifier plugin; none before containerd 2.0.
    pub verifier: Option<Verifier>,
    /// Plugins that look like the verifier plugin misspelt.
    pub misspelt: Vec<String>,
    /// How CRI pulls; none where CRI is not there.
    pub images: Option<Images>,
}

/// The settings of the verifier plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    /// The folder whose entries are run.
    pub folder: PathBuf,
    /// How many of them at most; a negative number is no limit.
    pub max: i64,
    /// How long each may take.
    pub timeout: Duration,
}

/// How CRI pulls images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// The settings that have CRI pull by itself, as `key = value`; where there is one, no verifier is asked.
    pub local: Vec<String>,
    /// The image of every pod's sandbox.
    pub sandbox: Option<String>,
    /// The folders with `hosts.toml` files, separated by colons; empty: none.
    pub hosts: String,
}

impl Settings {
    /// Reads what `containerd config dump` printed.
    ///
    /// # Errors
    /// It is not TOML, or a verifier setting is of a kind that containerd would not have printed.
    pub fn parse(dump: &str) -> Result<Self, String> {
        Self::read(&dump.parse().map_err(|error: toml::de::Error| error.message().to_owned())?)
    }

    /// Reads the same once it is parsed.
    ///
    /// # Errors
    /// A verifier setting is of a kind that containerd would not have printed.
    pub fn read(dump: &Table) -> Result<Self, String> {
        let none = Table::new();
        let plugins = table(dump, "plugins").unwrap_or(&none);
        let disabled = texts(dump, "disabled_plugins");
        // Of one that is switched off containerd prints what the file has, without defaults.
        let verifier = table(plugins, VERIFIER).filter(|_| !is_among(&disabled, VERIFIER));
        let verifier = verifier.map(Verifier::read).transpose()?;
        let alike = |name: &&String| name.contains("verifier") && *name != VERIFIER;
        Ok(Self {
            imports: texts(dump, "imports"),
            disabled,
            verifier,
            misspelt: plugins.keys().filter(alike).cloned().collect(),
            images: table(plugins, CRI_IMAGES).map(Images::read),
        })
    }

    /// Whether a plugin is switched off, under its whole name or, as version 1 wrote it, its last part.
    #[must_use]
    pub fn is_disabled(&self, plugin: &str) -> bool {
        is_among(&self.disabled, plugin)
    }
}

fn is_among(disabled: &[String], plugin: &str) -> bool {
    disabled.iter().any(|name| name == plugin || plugin.rsplit('.').next() == Some(name))
}

impl Verifier {
    fn read(plugin: &Table) -> Result<Self, String> {
        let strange = |key: &str| format!("{key} of {VERIFIER} is of an unknown kind");
        let timeout = text(plugin, "per_verifier_timeout").and_then(duration);
        Ok(Self {
            folder: Path::new(text(plugin, "bin_dir").ok_or_else(|| strange("bin_dir"))?).to_owned(),
            max: plugin.get("max_verifiers").and_then(Value::as_integer).ok_or_else(|| strange("max_verifiers"))?,
            timeout: timeout.ok_or_else(|| strange("per_verifier_timeout"))?,
        })
    }
}

impl Images {
    fn read(plugin: &Table) -> Self {
        let none = Table::new();
        let registry = table(plugin, "registry").unwrap_or(&none);
        let flag = |key: &str| plugin.get(key).and_then(Value::as_bool);
        let filled = |key: &str| table(registry, key).is_some_and(|table| !table.is_empty());
        let parallel = plugin.get("max_concurrent_downloads").and_then(Value::as_integer);
        // containerd 2.1 and later, internal/cri/config: what the transfer service does not do.
        let mut local: Vec<String> = [
            ("use_local_image_pull", true),
            ("disable_snapshot_annotations", false),
            ("discard_unpacked_layers", true),
            ("image_pull_with_sync_fs", true),
        ]
        .into_iter()
        .filter(|(key, value)| flag(key) == Some(*value))
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
        local.extend(parallel.filter(|&count| count != 3).map(|count| format!("max_concurrent_downloads = {count}")));
        let tables = ["mirrors", "configs", "auths"].into_iter().filter(|key| filled(key));
        local.extend(tables.map(|key| format!("registry.{key}")));
        Self {
            local,
            sandbox: table(plugin, "pinned_images").and_then(|pinned| text(pinned, "sandbox")).map(str::to_owned),
            hosts: text(registry, "config_path").unwrap_or_default().to_owned(),
        }
    }
}

fn table<'a>(table: &'a Table, key: &str) -> Option<&'a Table> {
    table.get(key)?.as_table()
}

fn text<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key)?.as_str()
}

fn texts(table: &Table, key: &str) -> Vec<String> {
    let items = table.get(key).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A duration as Go prints one: `10s`, `1m30s`, `1.5s`.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" || text == "0s" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at_checked(digits)?;
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let (unit, after) = unit.split_at_checked(end)?;
        let second = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * second).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "
        version = 3
        imports = ['/etc/containerd/conf.d/*.toml']
        disabled_plugins = []
        [plugins.'io.containerd.cri.v1.images']
        disable_snapshot_annotations = true
        discard_unpacked_layers = false
        max_concurrent_downloads = 3
        image_pull_with_sync_fs = false
        use_local_image_pull = false
        [plugins.'io.containerd.cri.v1.images'.pinned_images]
        sandbox = 'registry.k8s.io/pause:3.10'
        [plugins.'io.containerd.cri.v1.images'.registry]
        config_path = ''
        [plugins.'io.containerd.image-verifier.v1.bindir']
        bin_dir = '/opt/containerd/image-verifier/bin'
        max_verifiers = 10
        per_verifier_timeout = '10s'
        ";

    fn local(from: &str, to: &str) -> Vec<String> {
        let dump = DUMP.replacen(from, to, 1);
        assert_ne!(dump, DUMP, "{from} is in the dump");
        Settings::parse(&dump).unwrap().images.unwrap().local
    }

    #[test]
    fn the_defaults_have_a_verifier_folder_and_cri_pulls_by_the_transfer_service() {
        let settings = Settings::parse(DUMP).unwrap();
        let folder = PathBuf::from("/opt/containerd/image-verifier/bin");
        assert_eq!(settings.verifier, Some(Verifier { folder, max: 10, timeout: Duration::from_secs(10) }));
        let images = settings.images.unwrap();
        assert_eq!(images.local, [""; 0]);
        assert_eq!(images.sandbox.as_deref(), Some("registry.k8s.io/pause:3.10"));
    }

    #[test]
    fn every_setting_that_has_cri_pull_by_itself_is_seen() {
        for (from, to) in [
            ("use_local_image_pull = false", "use_local_image_pull = true"),
            ("disable_snapshot_annotations = true", "disable_snapshot_annotations = false"),
            ("discard_unpacked_layers = false", "discard_unpacked_layers = true"),
            ("image_pull_with_sync_fs = false", "image_pull_with_sync_fs = true"),
            ("max_concurrent_downloads = 3", "max_concurrent_downloads = 4"),
            ("max_concurrent_downloads = 3", "max_concurrent_downloads = 0"),
        ] {
            assert_eq!(local(from, to), [to]);
        }
        for key in ["mirrors", "configs", "auths"] {
            let to =
                format!("config_path = ''\n[plugins.'io.containerd.cri.v1.images'.registry.{key}.'ghcr.io']\nx = 1");
            assert_eq!(local("config_path = ''", &to), [format!("registry.{key}")]);
            let to = format!("config_path = ''\n[plugins.'io.containerd.cri.v1.images'.registry.{key}]");
            assert_eq!(local("config_path = ''", &to), [""; 0], "an empty table is none");
        }
    }

    #[test]
    fn a_misspelt_verifier_plugin_and_a_disabled_one_are_seen() {
        let settings =
            Settings::parse(&DUMP.replace("[]", "['io.containerd.image-verifier.v1.bindir', 'cri']")).unwrap();
        assert!(settings.is_disabled(VERIFIER) && settings.is_disabled(CRI) && !settings.is_disabled(CRI_IMAGES));
        // As containerd 2.3 prints it.
        let off =
            DUMP.replace("disabled_plugins = []", "disabled_plugins = ['io.containerd.image-verifier.v1.bindir']");
        let off = off.replace("max_verifiers = 10", "").replace("per_verifier_timeout = '10s'", "");
        assert_eq!(Settings::parse(&off).unwrap().verifier, None);
        let settings = Settings::parse(&DUMP.replace("v1.bindir", "v1.bin_dir")).unwrap();
        assert_eq!(
            (settings.verifier, settings.misspelt),
            (None, vec!["io.containerd.image-verifier.v1.bin_dir".to_owned()])
        );
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, milliseconds) in
            [("10s", 10_000), ("1m30s", 90_000), ("1.5s", 1500), ("0s", 0), ("1h0m0.25s", 3_600_250)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "10", "s", "1x", "-1s", "1..5s", "10s ", "9999999999999999999999s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
