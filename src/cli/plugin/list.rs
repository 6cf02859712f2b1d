//! `ratifyctl plugin list`: the plugins that a configuration names, and what of each is there.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::artifact::hex;
use crate::assemble;
use crate::cli::{CONFIG, Exit, Output, Stop, node, out};
use crate::client;
use crate::config::{Checks, Config, Mode, PluginProgram, Store, VerifierKind};
use crate::trust;
use crate::verdict::printable;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "RATIFYD_CONFIG", default_value = CONFIG)]
    config: PathBuf,
    /// The daemon's socket: it knows what it has fetched
    #[arg(long, value_name = "PATH", env = client::SOCKET_VARIABLE, default_value = client::SOCKET)]
    socket: PathBuf,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// The document of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    schema_version: u32,
    plugins: Vec<Listed>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    /// Who asks it: a verifier, or the store of some scopes.
    asked_by: String,
    plugin: String,
    /// Its file, or the artifact that it is fetched from.
    from: String,
    /// `installed`, or why a fetched one may be run: `verified`, `pinned`, `unverified`.
    trust: String,
    /// Of the file; of what is fetched, the artifact's. None: it is not there.
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Stop> {
    let config = assemble::load(&arguments.config);
    let config = config.map_err(|problems| Stop(Exit::Misconfigured, problems.lines().join("\n")))?;
    let named = named(&config);
    let fetched = if named.iter().any(|(_, plugin)| plugin.source.is_some()) {
        node::fetched_plugins(&arguments.socket).await
    } else {
        Ok(Vec::new())
    };
    let plugins: Vec<_> = named.iter().map(|(asked_by, plugin)| listed(asked_by, plugin, &config, &fetched)).collect();
    let all = plugins.iter().all(|plugin| plugin.digest.is_some());
    match arguments.output {
        Output::Json => out::json(&List { schema_version: 1, plugins })?,
        Output::Text | Output::Sarif if plugins.is_empty() => out::line("the configuration names no plugin")?,
        Output::Text | Output::Sarif => out::text(plugins.iter().map(text).collect::<String>())?,
    }
    Ok(if all { Exit::Done } else { Exit::Denied })
}

/// The plugins of a configuration, each with who asks it.
fn named(config: &Config) -> Vec<(String, &PluginProgram)> {
    let mut named = Vec::new();
    for executor in &config.executors {
        let checks = match &executor.mode {
            Mode::Enforce(checks) | Mode::Audit(checks) => Some(checks),
            Mode::Allow | Mode::Deny => None,
        };
        if let Store::Plugin(program) = &executor.store {
            let scopes: Vec<_> = executor.scopes.iter().map(|scope| scope.value.as_str()).collect();
            named.push((format!("store of {}", scopes.join(", ")), program));
        }
        for verifier in checks.iter().flat_map(|Checks { verifiers, .. }| verifiers) {
            if let VerifierKind::Plugin(plugin) = &verifier.kind {
                named.push((format!("verifier {}", verifier.name), &plugin.program));
            }
        }
    }
    named
}

fn listed(
    asked_by: &str,
    plugin: &PluginProgram,
    config: &Config,
    fetched: &Result<Vec<node::FetchedPlugin>, String>,
) -> Listed {
    let (asked_by, name) = (asked_by.to_owned(), plugin.plugin.value.clone());
    let Some(source) = &plugin.source else {
        let path = config.plugins.path.join(&name);
        let (digest, problem) = match digest(&path) {
            Ok(digest) => (Some(digest), None),
            Err(cause) => (None, Some(cause)),
        };
        let (from, trust) = (path.display().to_string(), "installed".to_owned());
        return Listed { asked_by, plugin: name, from, trust, digest, problem };
    };
    let from = source.artifact.value.clone();
    let trust = match (&source.trust, source.allow_unverified) {
        (Some(executor), _) => format!("verified by executor {}", executor.value),
        (None, true) => "unverified".to_owned(),
        (None, false) => "pinned".to_owned(),
    };
    let (digest, problem) = match fetched {
        Err(cause) => (None, Some(cause.clone())),
        Ok(fetched) => match fetched.iter().find(|known| known.name == name && known.source == from) {
            Some(node::FetchedPlugin { artifact, problem, .. }) => {
                let told = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
                (told(artifact), told(problem))
            }
            None => (None, Some("the daemon does not know it: it runs by another configuration".to_owned())),
        },
    };
    Listed { asked_by, plugin: name, from, trust, digest, problem }
}

fn digest(path: &Path) -> Result<String, String> {
    let digest = trust::digest_program(path, 0).map_err(|cause| cause.to_string())?;
    Ok(format!("sha256:{}", hex(&digest)))
}

fn text(Listed { asked_by, plugin, from, trust, digest, problem }: &Listed) -> String {
    let [asked_by, plugin, from, trust] = [asked_by, plugin, from, trust].map(|text| printable(text));
    let digest = digest.iter().map(|digest| format!("  {}\n", printable(digest)));
    let problem = problem.iter().map(|problem| format!("  problem: {}\n", printable(problem)));
    let state: String = digest.chain(problem).collect();
    format!("{plugin} ({asked_by})\n  from   {from}\n  trust  {trust}\n{state}")
}
