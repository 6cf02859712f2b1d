//! Places in a configuration file and what is wrong there. The readers, the decoder and whoever checks the
//! effective configuration further add to one [`Problems`]; it is shown as a whole, sorted by place.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::limits;

/// A place in the file: line and column count from 1, columns in characters; `path` names the key, as in
/// `executors[0].scopes[1]`, and is empty for the whole file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// The key.
    pub path: String,
}

/// A value and where it is written. Only the value counts where configurations are compared by their bytes:
/// serialised, it has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it is written, or where it would be.
    pub place: Place,
}

impl<T: Serialize> Serialize for Spanned<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// One thing that is wrong, where, and the mend where one is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    place: Place,
    message: String,
    hint: Option<String>,
}

/// All that is wrong with one file. Shown as one line per problem, `FILE:LINE:COLUMN: KEY: MESSAGE (HINT)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    file: String,
    /// At most [`limits::CONFIG_PROBLEMS`], the first by place.
    list: BTreeSet<Problem>,
    left_out: usize,
}

impl Problems {
    /// None yet; `file` is how the file is called in what is shown.
    #[must_use]
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: BTreeSet::new(), left_out: 0 }
    }

    /// Adds a problem.
    pub fn push(&mut self, place: &Place, message: impl Into<String>) {
        self.insert(Problem { place: place.clone(), message: message.into(), hint: None });
    }

    /// Adds a problem and how to mend it.
    pub fn push_with_hint(&mut self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        self.insert(Problem { place: place.clone(), message: message.into(), hint: Some(hint.into()) });
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One line for each problem, as shown.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        if self.is_empty() { Vec::new() } else { self.to_string().lines().map(str::to_owned).collect() }
    }

    /// The first of them as shown, and how many more there are; empty where nothing is wrong.
    #[must_use]
    pub fn first(&self) -> String {
        match self.lines().as_slice() {
            [] => String::new(),
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        }
    }

    fn insert(&mut self, problem: Problem) {
        self.list.insert(problem);
        if self.list.len() > limits::CONFIG_PROBLEMS {
            self.list.pop_last();
            self.left_out += 1;
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.place.line, self.place.column)?;
        if !self.place.path.is_empty() {
            write!(f, "{}: ", self.place.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            let line_feed = if index == 0 { "" } else { "\n" };
            write!(f, "{line_feed}{}:{problem}", self.file)?;
        }
        if self.left_out > 0 {
            write!(f, "\n{}: and {} more", self.file, self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: usize, column: usize, path: &str) -> Place {
        Place { line, column, path: path.to_owned() }
    }

    #[test]
    fn problems_are_shown_by_place_one_per_line() {
        let mut problems = Problems::new("c.toml");
        assert!(problems.is_empty());
        problems.push(&place(10, 1, "b"), "wrong");
        problems.push_with_hint(&place(2, 7, "a[0]"), "unknown", "mend it");
        problems.push(&place(2, 3, ""), "no table");
        assert_eq!(
            problems.to_string(),
            "c.toml:2:3: no table\nc.toml:2:7: a[0]: unknown (mend it)\nc.toml:10:1: b: wrong"
        );
    }

    #[test]
    fn the_first_problems_are_kept_and_the_rest_is_counted() {
        let mut problems = Problems::new("c.toml");
        for line in (1..=limits::CONFIG_PROBLEMS).rev() {
            problems.push(&place(line, 1, ""), "wrong");
        }
        assert_eq!(problems.to_string().lines().count(), limits::CONFIG_PROBLEMS);
        assert!(!problems.to_string().contains("more"));
        problems.push(&place(1, 2, ""), "wrong too");
        let shown = problems.to_string();
        assert!(shown.contains("c.toml:1:2: wrong too\n"), "{shown}");
        assert!(shown.contains("c.toml:99:1: wrong\nc.toml: and 1 more"), "{shown}");
    }
}
