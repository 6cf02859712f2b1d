//! Reads JSON into the tree, as strictly as RFC 8259 has it: no comments, no trailing commas, nothing after the value,
//! and no key twice. What can be stepped over (such a key, a broken escape, a huge integer) is reported together; the
//! first error of structure ends the reading, because what follows it is anybody's guess.

use crate::config::file::{Entries, Entry, INTEGER_TOO_LARGE, Lines, Node, Position, Value, too_deep};
use crate::config::problem::Problems;
use crate::limits;

/// Reads a whole document.
pub fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    let mut reader = Reader { text, at: 0, lines: Lines::new(text), problems };
    if text.starts_with('\u{feff}') {
        return reader.broken("JSON has no byte order mark");
    }
    reader.white_space();
    let root = reader.value(0)?;
    if reader.peek().is_some() {
        return reader.broken("nothing may follow the value");
    }
    reader.problems.is_empty().then_some(root)
}

/// Every method that answers `None` has left a problem.
struct Reader<'a> {
    text: &'a str,
    /// The offset of the next byte; always at the beginning of a character.
    at: usize,
    lines: Lines,
    problems: &'a mut Problems,
}

impl<'a> Reader<'a> {
    /// One value, and the white space after it.
    fn value(&mut self, depth: usize) -> Option<Node> {
        if depth > limits::CONFIG_DEPTH {
            return self.broken(&too_deep());
        }
        let position = self.position();
        let value = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        self.white_space();
        Some(Node { position, value })
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.step();
        let mut entries = Entries::default();
        if self.takes(b'}') {
            return Some(Value::Table(entries.entries));
        }
        loop {
            let position = self.position();
            if self.peek() != Some(b'"') {
                return self.broken("expected a key in double quotes");
            }
            let key = self.string()?;
            self.white_space();
            if !self.takes(b':') {
                return self.broken("expected \":\" after the key");
            }
            let node = self.value(depth + 1)?;
            entries.add(Entry { key, position, node }, self.problems);
            if self.takes(b'}') {
                return Some(Value::Table(entries.entries));
            }
            if !self.takes(b',') {
                return self.broken("expected \",\" or \"}\"");
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        self.step();
        let mut nodes = Vec::new();
        if self.takes(b']') {
            return Some(Value::Array(nodes));
        }
        loop {
            nodes.push(self.value(depth + 1)?);
            if self.takes(b']') {
                return Some(Value::Array(nodes));
            }
            if !self.takes(b',') {
                return self.broken("expected \",\" or \"]\"");
            }
        }
    }

    /// A string, its first quote ahead (RFC 8259, section 7).
    fn string(&mut self) -> Option<String> {
        let opening = self.position();
        self.step();
        let mut string = String::new();
        loop {
            let end = self.rest().find(|c: char| c == '"' || c == '\\' || c < ' ').unwrap_or(self.rest().len());
            string.push_str(self.take(end));
            match self.peek() {
                Some(b'"') => {
                    self.step();
                    return Some(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(_) => return self.broken("a control character in a string: write it as an escape"),
                None => {
                    self.problems.push(&opening.into(), "the string has no end");
                    return None;
                }
            }
        }
    }

    /// One escape, its backslash ahead. Half a surrogate pair stands for no character, and is stepped over.
    fn escape(&mut self) -> Option<char> {
        let position = self.position();
        let Some(letter) = self.text.as_bytes().get(self.at + 1) else { return self.broken("the string has no end") };
        let character = match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let Some(unit) = self.code_unit() else { return self.broken("expected four digits after \"\\u\"") };
                let pair = match unit {
                    0xD800..=0xDBFF => self.code_unit().map_or(vec![unit], |second| vec![unit, second]),
                    _ => vec![unit],
                };
                let mut characters = char::decode_utf16(pair);
                return match (characters.next(), characters.next()) {
                    (Some(Ok(character)), None) => Some(character),
                    _ => {
                        self.problems.push(&position.into(), "half of a surrogate pair without its other half");
                        Some(char::REPLACEMENT_CHARACTER)
                    }
                };
            }
            _ => return self.broken("unknown escape in a string: known are \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX"),
        };
        self.take(2);
        Some(character)
    }

    /// The number of a `\uXXXX`, if one is ahead.
    fn code_unit(&mut self) -> Option<u16> {
        let digits = self.rest().strip_prefix("\\u")?.get(..4)?;
        // The parser of numbers takes a sign, too.
        let unit = digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())??;
        self.take(6);
        Some(unit)
    }

    /// A number (RFC 8259, section 6). One with a fraction or an exponent is a float, whatever its value.
    fn number(&mut self) -> Option<Value> {
        let start = self.position();
        let begin = self.at;
        if self.peek() == Some(b'-') {
            self.step();
        }
        let first = self.peek();
        let integer_digits = self.digits()?;
        if first == Some(b'0') && integer_digits > 1 {
            self.problems.push(&start.into(), "a number must not begin with 0");
        }
        let end_of_integer = self.at;
        if self.peek() == Some(b'.') {
            self.step();
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.step();
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.step();
            }
            self.digits()?;
        }
        if self.at != end_of_integer {
            return Some(Value::Other("a float"));
        }
        let written = self.text.get(begin..end_of_integer).unwrap_or_default();
        Some(Value::Integer(written.parse().unwrap_or_else(|_| {
            self.problems.push(&start.into(), INTEGER_TOO_LARGE);
            0
        })))
    }

    /// Takes digits, at least one, and counts them.
    fn digits(&mut self) -> Option<usize> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.take(count);
        if count == 0 { self.broken("expected a digit") } else { Some(count) }
    }

    /// `true`, `false` or `null`.
    fn word(&mut self) -> Option<Value> {
        let length = self.rest().bytes().take_while(u8::is_ascii_alphanumeric).count();
        let value = match self.rest().get(..length).unwrap_or_default() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Other("null"),
            // What is written there may be a secret without its quotes, and is not repeated.
            _ => return self.broken("expected a value: {, [, a string in double quotes, a number, true or false"),
        };
        self.take(length);
        Some(value)
    }

    fn white_space(&mut self) {
        let count = self.rest().bytes().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.take(count);
    }

    /// Takes a sign of structure and the white space after it, if it is ahead.
    fn takes(&mut self, sign: u8) -> bool {
        let ahead = self.peek() == Some(sign);
        if ahead {
            self.step();
        }
        ahead
    }

    /// Takes one ASCII character; after a sign of structure, the white space goes with it.
    fn step(&mut self) {
        let sign = self.peek();
        self.take(1);
        if matches!(sign, Some(b'{' | b'[' | b'}' | b']' | b',' | b':')) {
            self.white_space();
        }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let taken = self.rest().get(..bytes).unwrap_or_default();
        self.at += taken.len();
        taken
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn position(&self) -> Position {
        self.lines.position(self.at)
    }

    /// The text cannot be read past this place.
    fn broken<T>(&mut self, message: &str) -> Option<T> {
        let position = self.position();
        if self.peek().is_none() {
            self.problems.push(&position.into(), format!("{message}, found the end of the file"));
        } else {
            self.problems.push(&position.into(), message);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::file::tests::{self, outline};

    fn problems_of(text: &str) -> String {
        tests::problems_of(read, text)
    }

    fn string(written: &str) -> String {
        match read(written, &mut Problems::new("c")).unwrap().value {
            Value::String(string) => string,
            value => panic!("{value:?}"),
        }
    }

    #[test]
    fn every_key_and_value_has_its_position() {
        let text = "{\n\t\"a\\u00e9\": [ true, \"\u{1f511}\", 1.5 ,null],\r\n  \"b\": {\"c\":-0, \"d\": [] }}\n";
        let node = read(text, &mut Problems::new("c")).unwrap();
        assert_eq!(
            outline(&node),
            "{a\u{e9}@2:2=[true@2:15 \"\u{1f511}\"@2:21 a float@2:26 null@2:31]@2:13 b@3:3={c@3:9=0@3:13 d@3:17=[]@3:22}@3:8}@1:1"
        );
    }

    #[test]
    fn escapes_stand_for_their_characters() {
        assert_eq!(string(r#""\"\\\/\b\f\n\r\t\u0041\uD83D\ude00\u00e9""#), "\"\\/\u{8}\u{c}\n\r\tA\u{1f600}\u{e9}");
        assert_eq!(string("\"\u{7f}\u{1f600}\""), "\u{7f}\u{1f600}");
    }

    #[test]
    fn half_a_surrogate_pair_is_refused_with_its_place() {
        let half = "half of a surrogate pair without its other half";
        for (text, place) in [
            (r#"["\ud83d"]"#, "1:3"),
            (r#"["\ude00"]"#, "1:3"),
            (r#"["ab\ud83dx\ude00"]"#, "1:5"),
            (r#"["\ud83d\ud83d"]"#, "1:3"),
            (r#"["\ud83d\u0041"]"#, "1:3"),
        ] {
            assert!(problems_of(text).starts_with(&format!("c:{place}: {half}")), "{text}: {}", problems_of(text));
        }
    }

    #[test]
    fn problems_that_can_be_stepped_over_come_together() {
        assert_eq!(
            problems_of(
                "{\"a\": 1, \"b\": 012,\n \"\\u0061\": 2, \"c\": {\"d\": 1,\n\"d\": 99999999999999999999}, \"a\": \"\\udead\"}"
            ),
            "c:1:15: a number must not begin with 0\n\
             c:2:2: key \"a\" is given twice (first in line 1, column 2)\n\
             c:3:1: key \"d\" is given twice (first in line 2, column 21)\n\
             c:3:6: the integer does not fit into 64 bits\n\
             c:3:29: key \"a\" is given twice (first in line 1, column 2)\n\
             c:3:35: half of a surrogate pair without its other half"
        );
    }

    #[test]
    fn a_broken_text_is_refused_at_the_place_where_it_breaks_and_not_repeated() {
        let value = "expected a value: {, [, a string in double quotes, a number, true or false";
        for (text, expected) in [
            ("", format!("1:1: {value}, found the end of the file")),
            (" \n", format!("2:1: {value}, found the end of the file")),
            ("\u{feff}{}", "1:1: JSON has no byte order mark".to_owned()),
            ("{\"a\": hunter2}", format!("1:7: {value}")),
            ("[tru]", format!("1:2: {value}")),
            ("[True]", format!("1:2: {value}")),
            ("[1,]", format!("1:4: {value}")),
            ("{\"a\": 1,}", "1:9: expected a key in double quotes".to_owned()),
            ("{a: 1}", "1:2: expected a key in double quotes".to_owned()),
            ("{\"a\" 1}", "1:6: expected \":\" after the key".to_owned()),
            ("{\"a\": 1 \"b\": 2}", "1:9: expected \",\" or \"}\"".to_owned()),
            ("[1 2]", "1:4: expected \",\" or \"]\"".to_owned()),
            ("[1", "1:3: expected \",\" or \"]\", found the end of the file".to_owned()),
            ("[1} ", "1:3: expected \",\" or \"]\"".to_owned()),
            ("{} {}", "1:4: nothing may follow the value".to_owned()),
            ("{} // no", "1:4: nothing may follow the value".to_owned()),
            ("[-]", "1:3: expected a digit".to_owned()),
            ("[1.]", "1:4: expected a digit".to_owned()),
            ("[1e+]", "1:5: expected a digit".to_owned()),
            ("[.5]", format!("1:2: {value}")),
            ("[+5]", format!("1:2: {value}")),
            ("[0x1F]", "1:3: expected \",\" or \"]\"".to_owned()),
            ("['a']", format!("1:2: {value}")),
            ("[\"a\n\"]", "1:4: a control character in a string: write it as an escape".to_owned()),
            ("[1, \"hunter2", "1:5: the string has no end".to_owned()),
            ("[\"hunter2\\", "1:10: the string has no end".to_owned()),
            (r#"["\u12G4"]"#, "1:3: expected four digits after \"\\u\"".to_owned()),
            (r#"["\u+123"]"#, "1:3: expected four digits after \"\\u\"".to_owned()),
            (
                r#"["\x41"]"#,
                "1:3: unknown escape in a string: known are \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX".to_owned(),
            ),
        ] {
            assert_eq!(problems_of(text), format!("c:{expected}"), "{text}");
        }
    }

    #[test]
    fn integers_at_their_limits_and_past_them() {
        for good in ["9223372036854775807", "-9223372036854775808", "0", "-0"] {
            assert_eq!(problems_of(good), "");
        }
        for bad in ["9223372036854775808", "-9223372036854775809"] {
            assert_eq!(problems_of(bad), "c:1:1: the integer does not fit into 64 bits");
        }
    }

    #[test]
    fn nesting_at_the_limit_and_one_past_it() {
        let nested = |levels: usize| format!("{{\"a\": {}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(problems_of(&nested(limits::CONFIG_DEPTH)), "");
        assert_eq!(problems_of(&nested(limits::CONFIG_DEPTH + 1)), "c:1:71: nested deeper than the limit of 64 levels");
        for endless in ["[", "{\"a\":"] {
            assert!(problems_of(&endless.repeat(100_000)).contains("levels"));
        }
    }

    fn as_serde_has_it(node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Bool(value) => (*value).into(),
            // The judge takes -0 for a float.
            Value::Integer(0) => serde_json::Value::Null,
            Value::Integer(value) => (*value).into(),
            Value::String(value) => value.as_str().into(),
            Value::Array(nodes) => nodes.iter().map(as_serde_has_it).collect(),
            Value::Table(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), as_serde_has_it(&entry.node))).collect()
            }
            Value::Other(_) => serde_json::Value::Null,
        }
    }

    /// Floats are all alike to the tree.
    fn without_floats(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Number(number) if number.as_i64().is_none_or(|integer| integer == 0) => {
                *value = serde_json::Value::Null
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(without_floats),
            serde_json::Value::Object(values) => values.values_mut().for_each(without_floats),
            _ => {}
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// Another reader of JSON is the judge; this one refuses some things more, each by its name.
        #[test]
        fn what_is_json_is_not_for_this_reader_to_decide(pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\":", "\"", "1", "-", "0", ".5", "e1", "true", "null", " ",
                "\n", "\\u0041", "\\ud83d", "\\ude00", "\\n", "\\x", "\u{e9}", "\u{b}", "\"\\ud83d\\ude00\"", "99999999999999999999",
            ]), 0..14)) {
            let text = pieces.concat();
            let mut problems = Problems::new("c");
            let read = read(&text, &mut problems);
            prop_assert_eq!(read.is_some(), problems.is_empty());
            match (read, serde_json::from_str::<serde_json::Value>(&text)) {
                (Some(node), Ok(mut value)) => {
                    without_floats(&mut value);
                    prop_assert_eq!(as_serde_has_it(&node), value);
                }
                (Some(node), Err(error)) => {
                    // A float beyond all floats is not its business; here it is a float like any other.
                    prop_assert!(error.to_string().starts_with("number out of range"), "{error}: {}", outline(&node));
                }
                (None, Ok(_)) => {
                    let shown = problems.to_string();
                    prop_assert!(shown.contains("is given twice") || shown.contains("64 bits"), "{text}: {shown}");
                }
                (None, Err(_)) => {}
            }
        }
    }
}
