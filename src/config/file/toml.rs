//! Reads TOML into the tree. All syntax errors are found at once; a text that has one yields no tree, because
//! what a recovering parser makes of it is not what its author wrote.

use std::ops::Range;
use std::thread;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::file::decoder::quote;
use crate::config::file::{Entry, INTEGER_TOO_LARGE, Lines, Node, Position, Value, too_deep};
use crate::config::problem::{Place, Problems};
use crate::limits;

/// Reads a whole document.
///
/// The parser bounds arrays, braces, headers and dotted keys each alone; together they nest thousands of levels,
/// and such a value is dropped by recursion. So it lives and dies on a thread with room for the deepest.
pub fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    let result = thread::scope(|scope| {
        let reader = thread::Builder::new().stack_size(limits::CONFIG_STACK_BYTES);
        reader.spawn_scoped(scope, || read_here(text, problems)).map(thread::ScopedJoinHandle::join)
    });
    let cause = match result {
        Ok(Ok(node)) => return node,
        Ok(Err(_)) => "the TOML parser gave up".to_owned(),
        Err(error) => format!("no thread to read it: {error}"),
    };
    problems.push(&Place { line: 1, column: 1, path: String::new() }, cause);
    None
}

fn read_here(text: &str, problems: &mut Problems) -> Option<Node> {
    let reader = Reader { lines: Lines::new(text) };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or_default();
        // Only a key is repeated in the message: other text may be a secret with its quotes left out.
        let message = match (error.message(), text.get(span.clone())) {
            ("duplicate key", Some(key)) => format!("key {} is given twice", quote(key.trim_matches(['"', '\'']))),
            (message, _) => message.to_owned(),
        };
        problems.push(&reader.place(span), message);
    }
    if !errors.is_empty() {
        return None;
    }
    let root = Position { line: 1, column: 1 };
    let value = reader.table(table.get_ref(), 0, problems)?;
    Some(Node { position: root, value })
}

struct Reader {
    lines: Lines,
}

impl Reader {
    fn position(&self, span: Range<usize>) -> Position {
        self.lines.position(span.start)
    }

    fn place(&self, span: Range<usize>) -> Place {
        self.position(span).into()
    }

    fn table(&self, table: &DeTable<'_>, depth: usize, problems: &mut Problems) -> Option<Value> {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let node = self.node(value, depth + 1, problems)?;
            entries.push(Entry { key: key.get_ref().to_string(), position: self.position(key.span()), node });
        }
        Some(Value::Table(entries))
    }

    /// One value, or a problem.
    fn node(&self, spanned: &Spanned<DeValue<'_>>, depth: usize, problems: &mut Problems) -> Option<Node> {
        if depth > limits::CONFIG_DEPTH {
            problems.push(&self.place(spanned.span()), too_deep());
            return None;
        }
        let value = match spanned.get_ref() {
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::String(value) => Value::String(value.to_string()),
            DeValue::Integer(written) => match i64::from_str_radix(written.as_str(), written.radix()) {
                Ok(value) => Value::Integer(value),
                Err(_) => {
                    problems.push(&self.place(spanned.span()), INTEGER_TOO_LARGE);
                    return None;
                }
            },
            DeValue::Float(_) => Value::Other("a float"),
            DeValue::Datetime(_) => Value::Other("a date or time"),
            DeValue::Array(array) => {
                let nodes = array.iter().map(|item| self.node(item, depth + 1, problems));
                Value::Array(nodes.collect::<Option<_>>()?)
            }
            DeValue::Table(table) => self.table(table, depth, problems)?,
        };
        Some(Node { position: self.position(spanned.span()), value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::tests::{self, outline};

    fn problems_of(text: &str) -> String {
        tests::problems_of(read, text)
    }

    #[test]
    fn every_key_and_value_has_its_position() {
        let text = "a = 0x_f\n".replace('_', "")
            + "b.c = [true, '\u{e9}', 1.5]\n[[d]]\ne = { f = 1_000 }\n[[d]]\n  [d.g]\n  h = 1979-05-27";
        let node = read(&text, &mut Problems::new("c")).unwrap();
        assert_eq!(
            outline(&node),
            "{a@1:1=15@1:5 b@2:1={c@2:3=[true@2:8 \"\u{e9}\"@2:14 a float@2:19]@2:7}@2:1 \
             d@3:3=[{e@4:1={f@4:7=1000@4:11}@4:5}@3:1 {g@6:6={h@7:3=a date or time@7:7}@6:3}@5:1]@3:1}@1:1"
        );
    }

    #[test]
    fn several_syntax_errors_are_found_at_once() {
        let shown = problems_of("a = \nb = 1\nb = 2\n\"c\" = hunter2\n");
        let places: Vec<_> = shown.lines().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(places, ["c:1:5", "c:3:1", "c:4:7"], "{shown}");
        assert!(shown.contains("c:3:1: key \"b\" is given twice"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_key_given_twice_is_told_in_one_short_printable_line() {
        let shown = problems_of("\"a\u{202e}\u{9b}\" = 1\n'a\u{202e}\u{9b}' = 2\n");
        assert_eq!(shown, r#"c:2:1: key "a\u{202e}\u{9b}" is given twice"#);
        let long = "k".repeat(1000);
        assert!(problems_of(&format!("{long} = 1\n{long} = 2\n")).len() < 200);
    }

    #[test]
    fn an_integer_that_does_not_fit_is_refused() {
        assert_eq!(problems_of("a = 9223372036854775807"), "");
        assert_eq!(problems_of("a = 9223372036854775808"), "c:1:5: the integer does not fit into 64 bits");
    }

    #[test]
    fn nesting_at_the_limit_and_one_past_it() {
        let nested = |levels: usize| format!("a = {}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(problems_of(&nested(limits::CONFIG_DEPTH)), "");
        assert!(problems_of(&nested(limits::CONFIG_DEPTH + 1)).contains("the limit of 64 levels"));
    }

    #[test]
    fn a_document_nested_by_every_means_ends_in_an_error() {
        // Tables nest by headers, dotted keys and braces at once; the parser bounds each of them alone.
        let key = ["a"; 79].join(".");
        let value = (0..79).fold("1".to_owned(), |inner, _| format!("{{ {key} = {inner} }}"));
        assert!(problems_of(&format!("[{key}]\n{key} = {value}")).contains("levels"));
        assert!(!problems_of(&["a"; 100_000].join(".")).is_empty());
        assert!(!problems_of(&"[".repeat(100_000)).is_empty());
    }
}
