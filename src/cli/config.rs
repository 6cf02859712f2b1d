//! `ratifyctl config`: all that is wrong with a configuration, each problem with its place.

use std::path::Path;

use crate::assemble;
use crate::cli::{Exit, Stop};

/// Reports all problems of a configuration and of the trust files that it names.
pub(super) fn check(file: &Path) -> Result<Exit, Stop> {
    let problems = match assemble::load(file).and_then(|config| assemble::assemble(&config, file)) {
        Ok(assembled) => assembled.problems,
        Err(problems) => problems.lines(),
    };
    if problems.is_empty() {
        anstream::println!("{}: no problems", file.display());
        return Ok(Exit::Done);
    }
    for problem in &problems {
        anstream::println!("{problem}");
    }
    Ok(Exit::Misconfigured)
}
