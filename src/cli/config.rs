//! `ratifyctl config`: all that is wrong with a configuration, each problem with its place; what counts of it; and its
//! schema.

use std::path::Path;

use clap::ValueEnum;

use crate::assemble;
use crate::cli::{Exit, Stop, out};
use crate::config;

/// The format in which a configuration is shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// TOML
    Toml,
    /// JSON
    Json,
}

/// Reports all problems of a configuration and of the trust files that it names.
pub(super) fn check(file: &Path) -> Result<Exit, Stop> {
    let (problems, notes) = match assemble::load(file).and_then(|config| assemble::assemble(&config, file)) {
        Ok(assembled) => (assembled.problems, assembled.notes),
        Err(problems) => (problems.lines(), Vec::new()),
    };
    for note in notes {
        out::line(format_args!("note: {note}"))?;
    }
    if problems.is_empty() {
        out::line(format_args!("{}: no problems", file.display()))?;
        return Ok(Exit::Done);
    }
    out::line(problems.join("\n"))?;
    Ok(Exit::Misconfigured)
}

/// Prints the effective configuration. Opens none of the files that it names.
pub(super) fn show(file: &Path, format: Format) -> Result<Exit, Stop> {
    let config = assemble::load(file).map_err(|problems| Stop(Exit::Misconfigured, problems.lines().join("\n")))?;
    let shown = match format {
        Format::Toml => config::to_toml(&config).map_err(|error| error.to_string()),
        Format::Json => config::to_json(&config).map_err(|error| error.to_string()),
    };
    let shown = shown.map_err(|error| Stop(Exit::Misconfigured, error))?;
    out::line(shown.trim_end())?;
    Ok(Exit::Done)
}

/// Prints the schema.
pub(super) fn schema() -> Result<Exit, Stop> {
    out::json(&config::schema())?;
    Ok(Exit::Done)
}
