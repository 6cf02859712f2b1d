//! Reads YAML 1.2 into the tree, with the core schema's scalars: `yes`, `no`, `on` and `off` are strings. What makes
//! YAML say something else than what stands there (aliases, merge keys, tags of one's own, several documents) is
//! refused by its name, so that nothing is ever expanded; the first syntax error ends the reading.

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use crate::config::file::{Entries, Entry, INTEGER_TOO_LARGE, Node, Position, Value, too_deep};
use crate::config::problem::Problems;
use crate::limits;

/// Reads a whole document.
pub fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_anchor_events: true,
        emit_comments: false,
        // An unknown alias is refused like any other.
        emit_unresolved_aliases: true,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut tree = Tree { open: Vec::new(), root: None, problems };
    while let Some(next) = parser.next_event() {
        match next {
            Ok((event, span)) => tree.take(event, position(span.start))?,
            Err(error) => {
                tree.problems.push(&position(*error.marker()).into(), message(&error));
                return None;
            }
        }
    }
    let Tree { root, problems, .. } = tree;
    let nothing = Node { position: Position { line: 1, column: 1 }, value: Value::Other("null") };
    problems.is_empty().then(|| root.unwrap_or(nothing))
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// The parser's words, and better ones where its words do not tell the mend. None repeats what is written there.
fn message(error: &ScanError) -> String {
    match error.kind() {
        ErrorKind::MissingAnchorOrAliasName => "a string that begins with \"*\" or \"&\" needs quotes".to_owned(),
        ErrorKind::RecursionLimitExceeded => too_deep(),
        ErrorKind::DirectiveDisallowed => "directives are not supported: leave the line out".to_owned(),
        kind => kind.to_string(),
    }
}

/// The tree while it grows.
struct Tree<'p> {
    /// The collections that have begun and not ended, the innermost last.
    open: Vec<Open>,
    root: Option<Node>,
    problems: &'p mut Problems,
}

struct Open {
    position: Position,
    kind: Collection,
}

enum Collection {
    Sequence(Vec<Node>),
    /// The entries, and the key whose value comes next: where it stands, and itself unless it was refused.
    Mapping(Entries, Option<(Position, Option<String>)>),
}

impl Tree<'_> {
    /// Takes one event. `None`: the reading ends here, and has left a problem.
    fn take(&mut self, event: Event<'_>, position: Position) -> Option<()> {
        if event.is_node() && self.open.len() > limits::CONFIG_DEPTH {
            return self.ends(position, &too_deep());
        }
        match event {
            Event::Scalar(text, style, _, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), position);
                let merge = style == ScalarStyle::Plain && text == "<<";
                self.put(Node { position, value }, merge);
            }
            Event::SequenceStart(_, _, tag) => {
                self.collection_tag(tag.as_deref(), "seq", position);
                self.open.push(Open { position, kind: Collection::Sequence(Vec::new()) });
            }
            Event::MappingStart(_, _, tag) => {
                self.collection_tag(tag.as_deref(), "map", position);
                self.open.push(Open { position, kind: Collection::Mapping(Entries::default(), None) });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { position, kind } = self.open.pop()?;
                let value = match kind {
                    Collection::Sequence(nodes) => Value::Array(nodes),
                    Collection::Mapping(entries, _) => Value::Table(entries.entries),
                };
                self.put(Node { position, value }, false);
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let hint = "write the value out; a string that begins with \"*\" needs quotes";
                self.problems.push_with_hint(&position.into(), "aliases are not supported", hint);
                self.put(Node { position, value: Value::Other("an alias") }, false);
            }
            Event::Anchor(..) => {
                let hint = "leave it out; a string that begins with \"&\" needs quotes";
                self.problems.push_with_hint(&position.into(), "anchors are not supported", hint);
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                return self.ends(position, "only one document is supported");
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => {}
            // The parser has no other; one that a later parser has could change what the text means.
            _ => return self.ends(position, "this is not supported"),
        }
        Some(())
    }

    /// Puts a whole value where it belongs. `merge`: it is a bare `<<`, as a key the merge key of YAML 1.1.
    fn put(&mut self, node: Node, merge: bool) {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(Collection::Sequence(nodes)) => nodes.push(node),
            Some(Collection::Mapping(entries, key)) => match key.take() {
                Some((position, Some(key))) => entries.add(Entry { key, position, node }, self.problems),
                Some((_, None)) => {}
                None => {
                    let position = node.position;
                    let text = match node.value {
                        Value::String(_) if merge => {
                            let hint = "write the keys out";
                            self.problems.push_with_hint(&position.into(), "merge keys are not supported", hint);
                            None
                        }
                        Value::String(text) => Some(text),
                        other => {
                            let message = format!("expected a string as key, found {}", other.kind());
                            self.problems.push_with_hint(&position.into(), message, "quote it");
                            None
                        }
                    };
                    *key = Some((position, text));
                }
            },
        }
    }

    /// What a scalar stands for (YAML 1.2.2, section 10.3.2).
    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, position: Position) -> Value {
        let Some(tag) = tag else {
            return if style == ScalarStyle::Plain {
                self.plain(text, position)
            } else {
                Value::String(text.to_owned())
            };
        };
        if tag.core_suffix() == Some("str") {
            return Value::String(text.to_owned());
        }
        let value = self.plain(text, position);
        let fits = match (tag.core_suffix(), &value) {
            (Some("bool"), Value::Bool(_)) | (Some("int"), Value::Integer(_)) => true,
            (Some("float"), Value::Other(kind)) => *kind == FLOAT,
            (Some("null"), Value::Other(kind)) => *kind == NULL,
            _ => false,
        };
        if !fits {
            self.tag_refused(tag, position);
        }
        value
    }

    /// What a scalar without quotes stands for.
    fn plain(&mut self, text: &str, position: Position) -> Value {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Value::Other(NULL),
            "true" | "True" | "TRUE" => return Value::Bool(true),
            "false" | "False" | "FALSE" => return Value::Bool(false),
            _ => {}
        }
        let Some((digits, radix)) = integer(text) else {
            return if is_float(text) { Value::Other(FLOAT) } else { Value::String(text.to_owned()) };
        };
        Value::Integer(i64::from_str_radix(digits, radix).unwrap_or_else(|_| {
            self.problems.push(&position.into(), INTEGER_TOO_LARGE);
            0
        }))
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, own: &str, position: Position) {
        if let Some(tag) = tag.filter(|tag| tag.core_suffix() != Some(own)) {
            self.tag_refused(tag, position);
        }
    }

    fn tag_refused(&mut self, tag: &Tag, position: Position) {
        let message = match tag.core_suffix() {
            Some(core) => format!("the value is none of the tag !!{core}"),
            None => "tags of one's own are not supported".to_owned(),
        };
        self.problems.push_with_hint(&position.into(), message, "a string that begins with \"!\" needs quotes");
    }

    fn ends(&mut self, position: Position, message: &str) -> Option<()> {
        self.problems.push(&position.into(), message);
        None
    }
}

/// The digits of an integer, with its sign, and their base.
fn integer(text: &str) -> Option<(&str, u32)> {
    let all = |digits: &str, radix| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, 8).then_some((digits, 8));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, 16).then_some((digits, 16));
    }
    // YAML 1.1 reads 010 as eight, 1.2 as ten: no reader may guess.
    let is_plain = all(unsigned(text), 10) && (unsigned(text).len() == 1 || !unsigned(text).starts_with('0'));
    is_plain.then_some((text, 10))
}

fn is_float(text: &str) -> bool {
    if matches!(text, ".nan" | ".NaN" | ".NAN") || matches!(unsigned(text), ".inf" | ".Inf" | ".INF") {
        return true;
    }
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match unsigned(text).split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(unsigned(exponent))),
        None => (unsigned(text), None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let any = !whole.is_empty() || !fraction.is_empty();
    any && digits(whole)
        && digits(fraction)
        && exponent.is_none_or(|digits_of| !digits_of.is_empty() && digits(digits_of))
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

const FLOAT: &str = "a float";
const NULL: &str = "null";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::tests::{self, outline};

    fn problems_of(text: &str) -> String {
        tests::problems_of(read, text)
    }

    fn tree(text: &str) -> String {
        let mut problems = Problems::new("c");
        outline(&read(text, &mut problems).unwrap_or_else(|| panic!("{problems}\nin\n{text}")))
    }

    #[test]
    fn every_key_and_value_has_its_position() {
        let text = "# \u{e9}\na: 0xF\n\u{1f511}: [true, '\u{e9}', 1.5]\nd:\n- e: {f: 1000, \"g\": }\n-   h: |\n      x\n    i:\n  \n";
        assert_eq!(
            tree(text),
            "{a@2:1=15@2:4 \u{1f511}@3:1=[true@3:5 \"\u{e9}\"@3:11 a float@3:16]@3:4 \
             d@4:1=[{e@5:3={f@5:7=1000@5:10 g@5:16=null@5:19}@5:6}@5:3 {h@6:5=\"x\\n\"@7:7 i@8:5=null@8:6}@6:5]@5:3}@2:1"
        );
        assert_eq!(tree(""), "null@1:1");
        assert_eq!(tree("# nothing\n"), "null@1:1");
        assert_eq!(tree("---\na: 1\n...\n"), "{a@2:1=1@2:4}@2:1");
        assert_eq!(tree("\u{feff}a: 1\r\nb: 2\r\n"), "{a@1:1=1@1:4 b@2:1=2@2:4}@1:1");
    }

    #[test]
    fn scalars_are_those_of_the_core_schema() {
        let value = |text: &str| tree(text).rsplit_once('@').unwrap().0.to_owned();
        for text in [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "Yes",
            "NO",
            "nULL",
            "tRUE",
            "1_000",
            "1:30",
            "0b1",
            "1979-05-27",
            "+",
            ".",
            "0x",
            "0o8",
            "-0x1",
            "1e",
            "e1",
            "1.2.3",
            "-.",
            ".inf.",
            "nan",
        ] {
            assert_eq!(value(&format!("[{text}]")), format!("[{text:?}@1:2]"));
        }
        for (text, expected) in [
            ("~", "null"),
            ("Null", "null"),
            ("NULL", "null"),
            ("true", "true"),
            ("TRUE", "true"),
            ("False", "false"),
            ("12", "12"),
            ("-12", "-12"),
            ("+12", "12"),
            ("0o10", "8"),
            ("0x1f", "31"),
            ("1.", "a float"),
            (".5", "a float"),
            ("-1.5e+3", "a float"),
            ("1e3", "a float"),
            ("-.INF", "a float"),
            (".NaN", "a float"),
            ("\"12\"", "\"12\""),
            ("'true'", "\"true\""),
            ("!!str 12", "\"12\""),
            ("!!int 12", "12"),
            ("!!float 1.5", "a float"),
            ("!!null ~", "null"),
            ("!!bool true", "true"),
            ("!!seq []", "[]"),
            ("!!map {}", "{}"),
            ("\"\\u00e9\\ud83d\\ude00\"", "\"\u{e9}\u{1f600}\""),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn what_could_say_something_else_than_what_stands_there_is_refused_by_its_name() {
        for (text, expected) in [
            (
                "a: &x 1\nb: *x",
                "c:1:4: anchors are not supported (leave it out; a string that begins with \"&\" needs quotes)\n\
              c:2:4: aliases are not supported (write the value out; a string that begins with \"*\" needs quotes)",
            ),
            (
                "a: [*.acme.example, *y ]",
                "c:1:5: aliases are not supported (write the value out; a string that begins with \"*\" needs quotes)\n\
              c:1:21: aliases are not supported (write the value out; a string that begins with \"*\" needs quotes)",
            ),
            ("a: [*]", "c:1:5: a string that begins with \"*\" or \"&\" needs quotes"),
            ("- *\n", "c:1:3: a string that begins with \"*\" or \"&\" needs quotes"),
            (
                "<<: {a: 1}\nb: {<<: 2}",
                "c:1:1: merge keys are not supported (write the keys out)\nc:2:5: merge keys are not supported (write the keys out)",
            ),
            (
                "a: !mine 1\nb: !!binary x\nc: !!set {}\nd: ! 1",
                "c:1:10: tags of one's own are not supported (a string that begins with \"!\" needs quotes)\n\
              c:2:13: tags of one's own are not supported (a string that begins with \"!\" needs quotes)\n\
              c:3:10: tags of one's own are not supported (a string that begins with \"!\" needs quotes)\n\
              c:4:6: tags of one's own are not supported (a string that begins with \"!\" needs quotes)",
            ),
            ("a: !!int x", "c:1:10: the value is none of the tag !!int (a string that begins with \"!\" needs quotes)"),
            (
                "a: !!map []",
                "c:1:10: the value is none of the tag !!map (a string that begins with \"!\" needs quotes)",
            ),
            ("a: 1\n---\nb: 2\n", "c:2:1: only one document is supported"),
            ("a: 1\n...\n---\n", "c:3:1: only one document is supported"),
            ("%YAML 1.1\n---\na: 1", "c:1:1: directives are not supported: leave the line out"),
            (
                "1: a\ntrue: b\n~: c\n? [x]\n: d\n? {y: z}\n: e",
                "c:1:1: expected a string as key, found an integer (quote it)\n\
              c:2:1: expected a string as key, found a boolean (quote it)\nc:3:1: expected a string as key, found null (quote it)\n\
              c:4:3: expected a string as key, found an array (quote it)\nc:6:3: expected a string as key, found a table (quote it)",
            ),
        ] {
            assert_eq!(problems_of(text), expected, "{text}");
        }
        assert_eq!(problems_of("'<<': 1\n'1': 2\n'*a': '&b'\nc: '!d'\n"), "");
    }

    #[test]
    fn an_integer_that_readers_of_other_versions_take_for_octal_is_none() {
        for text in ["a: 010\n", "a: -08\n", "a: 00\n"] {
            assert_eq!(tree(text), "{a@1:1=a float@1:4}@1:1", "{text}");
        }
        assert_eq!(tree("a: 0o10\n"), tree("a: 8\n"));
    }

    #[test]
    fn keys_given_twice_are_all_found_with_both_places() {
        assert_eq!(
            problems_of("a: 1\n\"a\": 2\nb: {c: 1, d: 2, c: 3}\n"),
            "c:2:1: key \"a\" is given twice (first in line 1, column 1)\n\
             c:3:17: key \"c\" is given twice (first in line 3, column 5)"
        );
    }

    #[test]
    fn a_broken_text_is_refused_with_its_place_and_not_repeated() {
        let cases = [
            ("a: hunter2: b", "1:11"),
            ("a: [hunter2", "1:4"),
            ("a: \"hunter2", "1:4"),
            ("a:\n\t- hunter2", "2:2"),
            ("a: b\n c: hunter2", "2:3"),
            ("a: @hunter2", "1:4"),
            ("a: `hunter2", "1:4"),
            ("a: ]", "1:4"),
            ("- a\nb: hunter2", "2:1"),
            ("a: \"\\ud83d hunter2\"", "1:4"),
            ("a: \"\\x\"", "1:4"),
            ("a: \u{1}hunter2", "1:4"),
            ("{---", "1:1"),
            ("a: \0", "1:4"),
        ];
        let shown = cases.map(|(text, _)| (text, problems_of(text)));
        assert!(!shown.iter().any(|(_, shown)| shown.is_empty() || shown.contains("hunter2")), "{shown:?}");
        let places = shown.each_ref().map(|(text, shown)| (*text, &shown[2..shown.find(": ").unwrap()]));
        assert_eq!(places, cases, "{shown:#?}");
    }

    #[test]
    fn integers_at_their_limits_and_past_them() {
        assert_eq!(problems_of("[9223372036854775807, -9223372036854775808]"), "");
        assert_eq!(problems_of("- 9223372036854775808"), "c:1:3: the integer does not fit into 64 bits");
        assert_eq!(problems_of("- 0x8000000000000000"), "c:1:3: the integer does not fit into 64 bits");
    }

    #[test]
    fn nesting_at_the_limit_and_one_past_it() {
        for nested in [
            |levels: usize| format!("a: {}{}", "[".repeat(levels), "]".repeat(levels)),
            |levels: usize| format!("a:\n {}1", "- ".repeat(levels - 1)),
            |levels: usize| (0..levels).map(|level| format!("{}a:\n", " ".repeat(level))).collect(),
        ] {
            assert_eq!(problems_of(&nested(limits::CONFIG_DEPTH)), "");
            let shown = problems_of(&nested(limits::CONFIG_DEPTH + 1));
            assert!(shown.ends_with("nested deeper than the limit of 64 levels"), "{shown}");
        }
    }

    #[test]
    fn a_text_of_the_greatest_length_nested_or_broken_by_every_means_ends_in_an_error() {
        let bytes = usize::try_from(limits::CONFIG_BYTES).unwrap();
        for piece in [
            "[", "{", "- ", "? ", "a: ", "{a: ", "[? ", "&a ", "!a ", "*a ", "-\n", "\"", "'", "|\n", "\n ", "#",
            "---\n", "\t", ":", ",", "%a\n", "[a:",
        ] {
            let text = piece.repeat(bytes / piece.len());
            problems_of(&text);
        }
        let deeper: String = (0..1400).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        assert!(problems_of(&deeper).ends_with("levels"));
    }
}
