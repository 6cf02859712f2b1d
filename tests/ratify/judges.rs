//! The two judges: Ratify's command line, and ratifyctl by a configuration of the same meaning. Both find the plugins in
//! the same folder, and schemas below /opt, which stands for a folder of these tests while they run.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::cases::Case;
use super::common::plugins::NOBODY;
use super::common::registries::Image;
use super::common::tools::{run, shared_folder, tool};

const PLUGINS: [&str; 5] = ["licensechecker", "sample", "sbom", "schemavalidator", "vulnerabilityreport"];

/// What a judge says of one referrer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it is good.
    pub good: bool,
    /// Whether the plugin broke before it could say anything.
    pub broke: bool,
    /// The plugin's words, or what is said of it.
    pub words: String,
}

impl Said {
    /// Whether this is said.
    pub fn says(&self, good: bool, words: &str) -> bool {
        self.good == good && self.words.contains(words)
    }

    /// Whether it is what Ratify says. Words of what broke are each one's own.
    pub fn is_as(&self, theirs: &Self) -> bool {
        (self.good, self.broke) == (theirs.good, theirs.broke) && (self.broke || self.words.contains(&theirs.words))
    }
}

/// Fails where Ratify's programs are missing.
pub fn installs() {
    let programs = PLUGINS.map(|name| format!("ratify-{name}"));
    let missing: Vec<&String> = programs.iter().filter(|name| !tool(name).exists()).collect();
    assert!(missing.is_empty() && tool("ratify").exists(), "needs {missing:?}; run tests/tools/fetch");
}

/// A folder of these tests, that everybody may look into.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = shared_folder();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        for name in ["plugins", "opt", "with-store", "without-store"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        for name in PLUGINS {
            fs::copy(tool(&format!("ratify-{name}")), folder.join("plugins").join(name)).unwrap();
            fs::set_permissions(folder.join("plugins").join(name), Permissions::from_mode(0o755)).unwrap();
        }
        // What a plugin without a store in it looks for where it begins, as ratifyd lays it out.
        fs::write(folder.join("with-store/oras"), "").unwrap();
        folder
    })
}

/// Where the plugins are.
pub fn installed() -> PathBuf {
    folder().join("plugins")
}

/// Writes a schema, and says where it is for a plugin.
pub fn schema(name: &str, text: &str) -> String {
    fs::write(folder().join("opt").join(name), text).unwrap();
    format!("file:///opt/{name}")
}

/// Runs a program that finds the schemas below /opt.
fn with_schemas(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$1\" /opt && shift && exec \"$@\"";
    command.args(["-m", "/bin/sh", "-c", script, "sh"]).arg(folder().join("opt")).arg(program);
    command
}

/// What Ratify says. Its cache is its own for each question.
pub fn judged_by_ratify(case: &Case, image: &Image) -> Said {
    let home = tempfile::tempdir().unwrap();
    let mut verifier = json!({ "name": case.plugin, "artifactTypes": case.taken() });
    verifier.as_object_mut().unwrap().extend(case.config.as_object().unwrap().clone());
    let config = json!({
        "executor": {},
        "store": {
            "version": "1.0.0",
            "plugins": [{ "name": "oras", "useHttp": true, "localCachePath": home.path().join("cache") }],
        },
        "policy": { "version": "1.0.0", "plugin": { "name": "configPolicy" } },
        "verifier": { "version": "1.0.0", "pluginBinDirs": [installed()], "plugins": [verifier] },
    });
    let file = home.path().join("config.json");
    fs::write(&file, config.to_string()).unwrap();
    let mut ratify = with_schemas(&tool("ratify"));
    ratify.args(["verify", "--subject"]).arg(image.by_digest()).arg("--config").arg(file);
    let place = if case.lacks_store { "without-store" } else { "with-store" };
    ratify.env("HOME", home.path()).current_dir(folder().join(place));
    let said = run(&mut ratify).success();
    let said: Value = serde_json::from_str(&said[said.find("\n{").map_or(0, |at| at + 1)..]).unwrap();
    let report = &said["verifierReports"][0];
    assert_eq!(said["verifierReports"].as_array().map(Vec::len), Some(1), "{said:#}");
    // False is left out of the whole, and stands in its parts.
    assert_eq!(said["isSuccess"] == true, report["isSuccess"] == true, "{said:#}");
    let text = |name: &str| report[name].as_str().unwrap_or_default();
    let broke = text("errorReason").contains("plugin failed with error");
    let words = if broke { text("errorReason") } else { text("message") };
    Said { good: report["isSuccess"] == true, broke, words: without_addresses(words) }
}

/// What ratifyd says.
pub fn judged_by_ratifyd(case: &Case, image: &Image) -> Said {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.toml");
    let plugins = format!("\n[plugins]\npath = {:?}\nuser = \"{NOBODY}\"\n", installed());
    fs::write(&file, written(case, image) + &plugins).unwrap();
    let mut ratifyctl = with_schemas(Path::new(env!("CARGO_BIN_EXE_ratifyctl")));
    ratifyctl.args(["verify", "--output", "json", "--config"]).arg(file).arg(image.by_digest());
    let ran = run(&mut ratifyctl);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let result = &said["results"][0];
    let finding = finding(&result["report"]).unwrap_or_else(|| panic!("{said:#}"));
    let (good, broke) = (finding["outcome"] == "passed", finding["outcome"] == "fault");
    assert_eq!(result["token"] == "ALLOWED", good, "{said:#}");
    let words = finding["detail"].as_str().or(finding["cause"].as_str()).unwrap_or_default();
    Said { good, broke, words: without_addresses(words) }
}

/// Words as every run has them: plugins print addresses in memory.
fn without_addresses(words: &str) -> String {
    regex::Regex::new("0x[0-9a-f]+").unwrap().replace_all(words, "0x").into_owned()
}

/// An executor for an image.
pub fn written(case: &Case, image: &Image) -> String {
    let verifier = json!({
        "name": case.plugin,
        "type": "plugin",
        "parameters": { "artifactTypes": [case.taken()], "config": case.config, "network": case.network },
    });
    toml::to_string(&json!({ "executors": [{ "scopes": [image.repository], "verifiers": [verifier] }] })).unwrap()
}

/// The one finding of a report.
fn finding(report: &Value) -> Option<&Value> {
    match report {
        Value::Object(members) if members.contains_key("outcome") => Some(report),
        Value::Object(members) => members.values().find_map(finding),
        Value::Array(items) => items.iter().find_map(finding),
        _ => None,
    }
}
