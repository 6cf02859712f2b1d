//! Takes checked values out of the tree and collects every problem on the way, with its place. What it cannot
//! take is `None`, and then there is a problem: a configuration is only used when there is none.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde_json::{Map, Value as Json};

use crate::config::expand;
use crate::config::file::{Entry, Node, Position, Value};
use crate::config::problem::{Place, Problems, Spanned};
use crate::limits;

/// A value of the tree and the path of its key.
#[derive(Clone)]
pub struct Item<'a> {
    node: &'a Node,
    path: String,
}

/// A table whose keys are being taken. [`Decoder::finish`] reports those that nobody asked for.
pub struct Table<'a> {
    entries: &'a [Entry],
    place: Place,
    known: Vec<&'static str>,
}

/// Collects the problems of one file.
pub struct Decoder<'e> {
    environment: &'e dyn Fn(&str) -> Option<String>,
    /// What was found so far. Whoever finds more adds it here.
    pub problems: Problems,
}

impl<'a> Item<'a> {
    /// The whole file.
    pub fn root(node: &'a Node) -> Self {
        Self { node, path: String::new() }
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        place(self.node.position, self.path.clone())
    }

    /// The text of a string, as written.
    pub fn as_text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is an array without items.
    pub fn is_empty_array(&self) -> bool {
        matches!(&self.node.value, Value::Array(items) if items.is_empty())
    }

    /// Whether it is null, which some writers put for what they leave out.
    pub fn is_null(&self) -> bool {
        self.node.value == Value::Other("null")
    }

    /// Whether it is an array.
    pub fn is_array(&self) -> bool {
        matches!(self.node.value, Value::Array(_))
    }

    /// Whether it is a table.
    pub fn is_table(&self) -> bool {
        matches!(self.node.value, Value::Table(_))
    }
}

impl<'a> Table<'a> {
    /// The value of a key, if the key is there.
    pub fn optional(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Item { node: &entry.node, path: join(&self.place.path, key) })
    }

    /// Where the table stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where a key of the table would stand that is not there: its path, at the table's position.
    pub fn place_of(&self, key: &str) -> Place {
        Place { path: join(&self.place.path, key), ..self.place.clone() }
    }
}

impl<'e> Decoder<'e> {
    /// A decoder that has found nothing yet.
    pub fn new(file: &str, environment: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self { environment, problems: Problems::new(file) }
    }

    /// Whoever answers for environment variables.
    pub fn environment(&self) -> &'e dyn Fn(&str) -> Option<String> {
        self.environment
    }

    /// A table.
    pub fn table<'a>(&mut self, item: &Item<'a>) -> Option<Table<'a>> {
        match &item.node.value {
            Value::Table(entries) => Some(Table { entries, place: item.place(), known: Vec::new() }),
            _ => self.unexpected(item, "a table"),
        }
    }

    /// The value of a key that must be there.
    pub fn required<'a>(&mut self, table: &mut Table<'a>, key: &'static str) -> Option<Item<'a>> {
        let item = table.optional(key);
        if item.is_none() {
            self.problems.push(&table.place_of(key), "required key is missing");
        }
        item
    }

    /// Refuses a key that Ratify v2 knows and that cannot be heeded here: ignoring it could widen what is allowed.
    /// Says whether it is there.
    pub fn refused(&mut self, table: &mut Table<'_>, key: &'static str, why: &str) -> bool {
        let Some(entry) = table.entries.iter().find(|entry| entry.key == key) else { return false };
        self.problems.push(&place(entry.position, join(&table.place.path, key)), why);
        table.known.push(key);
        true
    }

    /// Reports the keys of a table that nobody asked for.
    pub fn finish(&mut self, table: Table<'_>) {
        for entry in table.entries.iter().filter(|entry| !table.known.contains(&entry.key.as_str())) {
            let place = place(entry.position, join(&table.place.path, &entry.key));
            let hint = suggest(&entry.key, &table.known, "known here");
            self.problems.push_with_hint(&place, "unknown key", hint);
        }
    }

    /// The items of an array.
    pub fn array<'a>(&mut self, item: &Item<'a>) -> Option<Vec<Item<'a>>> {
        match &item.node.value {
            Value::Array(nodes) => {
                let indexed = nodes.iter().enumerate();
                Some(indexed.map(|(index, node)| Item { node, path: format!("{}[{index}]", item.path) }).collect())
            }
            _ => self.unexpected(item, "an array"),
        }
    }

    /// The keys of a table that takes any, each with where it stands and its value.
    pub fn entries<'a>(&mut self, item: &Item<'a>) -> Option<Vec<(Spanned<String>, Item<'a>)>> {
        match &item.node.value {
            Value::Table(entries) => Some(
                entries
                    .iter()
                    .map(|entry| {
                        let path = join(&item.path, &entry.key);
                        let key = Spanned { value: entry.key.clone(), place: place(entry.position, path.clone()) };
                        (key, Item { node: &entry.node, path })
                    })
                    .collect(),
            ),
            _ => self.unexpected(item, "a table"),
        }
    }

    /// The items of an array that must have one.
    pub fn filled_array<'a>(&mut self, item: &Item<'a>) -> Option<Vec<Item<'a>>> {
        let items = self.array(item)?;
        if items.is_empty() {
            self.problems.push(&item.place(), "must not be empty");
            return None;
        }
        Some(items)
    }

    /// A string with the environment's variables put in.
    pub fn string(&mut self, item: &Item<'_>) -> Option<String> {
        let Some(text) = item.as_text() else { return self.unexpected(item, "a string") };
        match expand::expand(text, self.environment) {
            Ok(expanded) if expanded.len() > limits::EXPANDED_BYTES => {
                let message = format!("longer than the limit of {} bytes", limits::EXPANDED_BYTES);
                self.problems.push(&item.place(), message);
                None
            }
            Ok(expanded) => Some(expanded),
            Err(causes) => {
                for cause in causes {
                    self.problems.push_with_hint(&item.place(), cause, "write $${ for a plain ${");
                }
                None
            }
        }
    }

    /// A table of values of any kind that JSON has, with the environment's variables put into strings.
    pub fn object(&mut self, item: &Item<'_>) -> Option<Map<String, Json>> {
        let entries = self.entries(item)?;
        let values: Vec<_> = entries.iter().map(|(key, item)| Some((key.value.clone(), self.json(item)?))).collect();
        values.into_iter().collect()
    }

    fn json(&mut self, item: &Item<'_>) -> Option<Json> {
        match &item.node.value {
            Value::Bool(value) => Some(Json::Bool(*value)),
            Value::Integer(value) => Some(Json::from(*value)),
            Value::String(_) => self.string(item).map(Json::String),
            Value::Array(_) => {
                let items: Vec<_> = self.array(item)?.iter().map(|item| self.json(item)).collect();
                items.into_iter().collect::<Option<_>>().map(Json::Array)
            }
            Value::Table(_) => self.object(item).map(Json::Object),
            Value::Other(_) => self.unexpected(item, "a string, a whole number, a boolean, an array or a table"),
        }
    }

    /// A string as written: a pattern, a name in a policy, PEM. A variable in it is a mistake, not text.
    pub fn literal(&mut self, item: &Item<'_>) -> Option<Spanned<String>> {
        let Some(text) = item.as_text() else { return self.unexpected(item, "a string") };
        if text.contains("${") {
            self.problems
                .push(&item.place(), "variables are not put in here: patterns, policies and PEM stand as written");
            return None;
        }
        Some(Spanned { value: text.to_owned(), place: item.place() })
    }

    /// One of several words, as written.
    pub fn literal_choice<T: Copy>(&mut self, item: &Item<'_>, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.literal(item)?.value;
        self.one_of(item, &text, choices)
    }

    /// A boolean.
    pub fn boolean(&mut self, item: &Item<'_>) -> Option<bool> {
        match item.node.value {
            Value::Bool(value) => Some(value),
            _ => self.unexpected(item, "a boolean"),
        }
    }

    /// An integer within bounds.
    pub fn integer(&mut self, item: &Item<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        let Value::Integer(value) = item.node.value else { return self.unexpected(item, "an integer") };
        let within = u64::try_from(value).ok().filter(|value| range.contains(value));
        if within.is_none() {
            let hint = format!("{} to {}", range.start(), range.end());
            self.problems.push_with_hint(&item.place(), format!("{value} is out of range"), hint);
        }
        within
    }

    /// One of several words.
    pub fn choice<T: Copy>(&mut self, item: &Item<'_>, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.string(item)?;
        self.one_of(item, &text, choices)
    }

    fn one_of<T: Copy>(&mut self, item: &Item<'_>, text: &str, choices: &[(&'static str, T)]) -> Option<T> {
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let hint = suggest(text, &words, "known");
            self.problems.push_with_hint(&item.place(), format!("unknown value {}", quote(text)), hint);
        }
        found
    }

    fn unexpected<T>(&mut self, item: &Item<'_>, expected: &str) -> Option<T> {
        let message = format!("expected {expected}, found {}", item.node.value.kind());
        self.problems.push(&item.place(), message);
        None
    }
}

/// The nearest known word, or all of them where none is near.
pub fn suggest(word: &str, known: &[&str], label: &str) -> String {
    let known: BTreeSet<&str> = known.iter().copied().collect();
    let lower: String = word.to_lowercase().chars().take(limits::VERIFIER_NAME_BYTES + 1).collect();
    // One slip for every three letters, so that a short word is not taken for any other.
    let near = known.iter().filter_map(|candidate| {
        let distance = strsim::osa_distance(&lower, &candidate.to_lowercase());
        (distance <= (candidate.len() + 1) / 3).then_some((distance, candidate))
    });
    match near.min() {
        Some((_, nearest)) => format!("did you mean {nearest:?}?"),
        None => format!("{label}: {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

/// Text from the file for a message: quoted, on one line, and not long.
pub fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(100).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    format!("{shown:?}")
}

fn place(position: Position, path: String) -> Place {
    Place { line: position.line, column: position.column, path }
}

/// The path of a key in a table; a key that TOML would not take bare is quoted.
fn join(path: &str, key: &str) -> String {
    let bare =
        !key.is_empty() && key.len() <= 64 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let key = if bare { key.to_owned() } else { quote(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
