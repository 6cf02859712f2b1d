//! The configuration file as written: one tree for every format, each value and key with its position.
//! The readers below make it, the decoder turns it into the effective configuration; nothing here knows a key.

pub mod decoder;
pub mod toml;

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
    /// A kind of value that no key takes, by its name: a float, a date.
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
