//! What Ratify v1's plugins have in common, whatever they are asked (plugin protocol 1.0.0): how they fail, and what they
//! want logged. Called by the verifier and the store that are plugins; what an answer means is theirs to say.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::Level;

use crate::json;
use crate::report::Fault;
use crate::runner::{NotRun, Program, Ran, Runner, Sandbox};
use crate::verdict::{Class, printable};

/// The version of the protocol. Plugins hold it against the ones they know, letter by letter.
pub const VERSION: &str = "1.0.0";

/// A plugin, and how it is run.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The executable, by its absolute path.
    pub path: PathBuf,
    /// Set where it was fetched: then it belongs to this process's user, and lies there for as long as somebody has this.
    pub fetched: Option<Arc<dyn Any + Send + Sync>>,
    /// Its configuration, as written.
    pub config: Map<String, Value>,
    /// Variables of this process's environment that it gets, with their values.
    pub environment: BTreeMap<String, String>,
    /// Whether it may reach others over the network.
    pub network: bool,
    /// Whether it is not run where the kernel cannot confine it wholly.
    pub strict: bool,
}

impl Plugin {
    /// A run of it, which is asked this, and has these files in its folder.
    pub fn asked(&self, question: BTreeMap<String, String>, input: Vec<u8>, files: Vec<(String, Bytes)>) -> Program {
        let Self { path, fetched, network, strict, .. } = self;
        let mut environment = self.environment.clone();
        environment.extend(question);
        let sandbox = Some(Sandbox { files, network: *network, strict: *strict });
        Program { environment, fetched: fetched.is_some(), sandbox, ..Program::new(path.clone(), input) }
    }
}

/// Runs a plugin and logs what it wants logged. What goes wrong names it; an exit code says nothing yet.
///
/// # Errors
/// It was not run, or not to its end.
pub async fn run(runner: &Runner, program: Program, deadline: Instant) -> Result<Ran, Fault> {
    let path = program.path.clone();
    match runner.run(program, deadline).await {
        Ok((ran, _)) => {
            log(&path, &ran.errors);
            Ok(ran)
        }
        Err(NotRun::Untrusted(cause)) => Err(fault(&path, Class::Unchecked, &format!("must not be run: {cause}"))),
        // It names the program already.
        Err(NotRun::Fault(fault)) => Err(Fault::of(fault.class(), format!("plugin {fault}"))),
    }
}

/// What is wrong with a plugin.
pub fn fault(path: &Path, class: Class, cause: &str) -> Fault {
    Fault::of(class, format!("plugin {}: {cause}", path.display()))
}

/// Why a plugin that ended otherwise gave no result: what it says itself, or what it wrote last.
#[must_use]
pub fn failure(Ran { ended, output, errors, .. }: &Ran) -> String {
    let said = json::from_slice::<WrittenError>(output).ok().map(|WrittenError { code, msg, details }| {
        let details = details.filter(|details| !details.is_empty()).map(|details| format!(": {details}"));
        format!("{msg} (error {code}){}", details.unwrap_or_default())
    });
    let last = || {
        [errors, output]
            .into_iter()
            .find(|text| !text.trim_ascii().is_empty())
            .map_or_else(|| shown(&[]), |it| shown(it))
    };
    format!("it ended with {ended}: {}", printable(&said.unwrap_or_else(last)))
}

/// The beginning of some output.
#[must_use]
pub fn shown(output: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(output).trim().chars().take(200).collect();
    if text.is_empty() { "nothing at all".to_owned() } else { format!("{:?}", printable(&text)) }
}

fn log(path: &Path, errors: &[u8]) {
    for (level, line) in log_lines(errors) {
        let (plugin, line) = (path.display(), printable(&line));
        match level {
            Level::WARN => tracing::warn!(%plugin, "{line}"),
            Level::DEBUG => tracing::debug!(%plugin, "{line}"),
            _ => tracing::info!(%plugin, "{line}"),
        }
    }
}

/// What a plugin wrote to stderr, by lines: its logger puts the level before each.
fn log_lines(errors: &[u8]) -> Vec<(Level, String)> {
    let text = String::from_utf8_lossy(errors);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let read = |line: &str| {
        let (word, rest) = line.split_once(':').unwrap_or(("", line));
        match word.to_ascii_lowercase().as_str() {
            "warn" => (Level::WARN, rest.trim().to_owned()),
            "debug" => (Level::DEBUG, rest.trim().to_owned()),
            "info" => (Level::INFO, rest.trim().to_owned()),
            _ => (Level::INFO, line.to_owned()),
        }
    };
    lines.map(read).collect()
}

#[derive(Deserialize)]
struct WrittenError {
    code: u64,
    msg: String,
    details: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_the_log_keep_their_level_and_their_words() {
        let lines = log_lines(b"INFO: one\nWARN: two: three\n\ndebug: x\nlevel=info msg=\"y\"\nhttp://a: b\n\xff\n");
        let expected = [
            (Level::INFO, "one"),
            (Level::WARN, "two: three"),
            (Level::DEBUG, "x"),
            (Level::INFO, "level=info msg=\"y\""),
            (Level::INFO, "http://a: b"),
            (Level::INFO, "\u{fffd}"),
        ];
        assert_eq!(lines, expected.map(|(level, text)| (level, text.to_owned())));
    }
}
