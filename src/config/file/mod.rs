//! The configuration file as written: one tree for every format, each value and key with its position.
//! The readers below make it, the decoder turns it into the effective configuration; nothing here knows a key.

pub mod decoder;
mod json;
mod toml;
mod yaml;

use std::collections::HashMap;
use std::path::Path;

use crate::config::file::decoder::quote;
use crate::config::problem::{Place, Problems};
use crate::limits;

/// Reads a whole file. Its ending tells the format, so that no text is ever read in two ways: `.json`, `.yaml` and
/// `.yml`, and TOML for `.toml` and every other name, such as the ones that systemd gives to credentials.
pub fn read(file: &str, text: &str, problems: &mut Problems) -> Option<Node> {
    match Path::new(file).extension().and_then(|ending| ending.to_str()) {
        Some("json") => json::read(text, problems),
        Some("yaml" | "yml") => yaml::read(text, problems),
        _ => toml::read(text, problems),
    }
}

/// Reads a whole file that is JSON, whatever its name.
pub fn read_json(text: &str, problems: &mut Problems) -> Option<Node> {
    json::read(text, problems)
}

/// Where something stands: line and column count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub position: Position,
    pub value: Value,
}

/// A value as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    Integer(i64),
    String(String),
    Array(Vec<Node>),
    /// Every key is there once: the readers refuse a key given twice.
    Table(Vec<Entry>),
    /// A kind of value that no key takes, by its name: a float, a date, null.
    Other(&'static str),
}

impl Value {
    /// What it is, with its article.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// A key of a table and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub position: Position,
    pub node: Node,
}

/// The entries of a table that is being read.
#[derive(Default)]
struct Entries {
    entries: Vec<Entry>,
    first: HashMap<String, Position>,
}

impl Entries {
    /// Adds an entry; a key given twice is a problem, because two readers of it need not agree which one counts.
    fn add(&mut self, entry: Entry, problems: &mut Problems) {
        match self.first.get(&entry.key) {
            Some(first) => {
                let hint = format!("first in line {}, column {}", first.line, first.column);
                problems.push_with_hint(
                    &entry.position.into(),
                    format!("key {} is given twice", quote(&entry.key)),
                    hint,
                );
            }
            None => {
                self.first.insert(entry.key.clone(), entry.position);
                self.entries.push(entry);
            }
        }
    }
}

/// What is said of an integer that [`Value::Integer`] cannot hold.
const INTEGER_TOO_LARGE: &str = "the integer does not fit into 64 bits";

/// What is said of a value deeper than [`limits::CONFIG_DEPTH`]. The tree is walked by recursion.
fn too_deep() -> String {
    format!("nested deeper than the limit of {} levels", limits::CONFIG_DEPTH)
}

impl From<Position> for Place {
    /// A place whose key is not known.
    fn from(position: Position) -> Self {
        Self { line: position.line, column: position.column, path: String::new() }
    }
}

/// Turns byte offsets of a text into positions.
pub struct Lines {
    /// The offset of each line's first byte.
    starts: Vec<usize>,
    /// The offsets of all bytes that only continue a character.
    continuations: Vec<usize>,
}

impl Lines {
    pub fn new(text: &str) -> Self {
        let bytes = || text.bytes().enumerate();
        let after_line_feeds = bytes().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset + 1);
        Self {
            starts: std::iter::once(0).chain(after_line_feeds).collect(),
            continuations: bytes().filter(|(_, byte)| byte & 0xC0 == 0x80).map(|(offset, _)| offset).collect(),
        }
    }

    pub fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|index| self.starts.get(index)).copied().unwrap_or_default();
        let continuations_before = |offset| self.continuations.partition_point(|at| *at < offset);
        let characters = (offset - start) - (continuations_before(offset) - continuations_before(start));
        Position { line, column: characters + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree, as `value@line:column` with keys.
    pub fn outline(node: &Node) -> String {
        let Position { line, column } = node.position;
        let inner = match &node.value {
            Value::Table(entries) => {
                let entry = |entry: &Entry| {
                    let Position { line, column } = entry.position;
                    format!("{}@{line}:{column}={}", entry.key, outline(&entry.node))
                };
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
            Value::Array(nodes) => format!("[{}]", nodes.iter().map(outline).collect::<Vec<_>>().join(" ")),
            Value::Integer(value) => value.to_string(),
            Value::String(value) => format!("{value:?}"),
            Value::Bool(value) => value.to_string(),
            Value::Other(kind) => (*kind).to_owned(),
        };
        format!("{inner}@{line}:{column}")
    }

    /// What a reader says of a text; no tree comes with a problem, and none is missing without one.
    pub fn problems_of(read: impl Fn(&str, &mut Problems) -> Option<Node>, text: &str) -> String {
        let mut problems = Problems::new("c");
        let node = read(text, &mut problems);
        assert_eq!(node.is_some(), problems.is_empty(), "{problems}");
        problems.to_string()
    }

    #[test]
    fn columns_count_characters_and_lines_end_with_a_line_feed() {
        let text = "a\u{e9}\u{1f511}b\r\n\nc";
        let lines = Lines::new(text);
        let position = |needle: &str| {
            let position = lines.position(text.find(needle).unwrap());
            (position.line, position.column)
        };
        assert_eq!(position("a"), (1, 1));
        assert_eq!(position("\u{1f511}"), (1, 3));
        assert_eq!(position("b"), (1, 4));
        assert_eq!(position("c"), (3, 1));
        let end = lines.position(text.len());
        assert_eq!((end.line, end.column), (3, 2));
        assert_eq!(Lines::new("").position(0), Position { line: 1, column: 1 });
    }
}
