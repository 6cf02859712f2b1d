//! Writes answers to stdout. An answer that cannot be written is no success: scripts go by the exit code.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use crate::cli::{Exit, Stop};
use crate::verdict::printable;

/// Prints text as it is, all of it at once. Where the output is no terminal, colours are taken away.
pub(super) fn text(text: impl Display) -> Result<(), Stop> {
    let mut stdout = anstream::stdout();
    write!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| {
        match error.kind() {
            // Who closed the pipe has seen enough, and wants to read of it least of all.
            ErrorKind::BrokenPipe => Stop(Exit::Unavailable, String::new()),
            _ => Stop(Exit::Unavailable, format!("the answer cannot be written: {error}")),
        }
    })
}

/// Prints a line.
pub(super) fn line(line: impl Display) -> Result<(), Stop> {
    text(format_args!("{line}\n"))
}

/// Prints one JSON document.
pub(super) fn json(document: &impl Serialize) -> Result<(), Stop> {
    line(serde_json::to_string_pretty(document).map_err(unwritable)?)
}

/// Prints one JSON document on one line, for lists that go on.
pub(super) fn json_line(document: &impl Serialize) -> Result<(), Stop> {
    line(serde_json::to_string(document).map_err(unwritable)?)
}

/// Tells the user on stderr. Nobody is left to tell when that fails too.
pub(super) fn complain(message: &str) {
    let _ = writeln!(anstream::stderr(), "ratifyctl: {}", told(message));
}

/// A message for the terminal: it may quote what an archive or a registry says.
fn told(message: &str) -> String {
    message.lines().map(printable).collect::<Vec<_>>().join("\n")
}

fn unwritable(error: serde_json::Error) -> Stop {
    Stop(Exit::Unavailable, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_archive_says_cannot_move_the_operators_cursor() {
        assert_eq!(told("a.tar: not a number: \u{1b}[2J\u{9b}\r1\nb\u{202e}"), "a.tar: not a number:  [2J  1\nb ");
    }
}
