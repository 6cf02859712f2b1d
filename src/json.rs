//! Reads JSON that others wrote, strictly: a key given twice is refused at every level, because two readers
//! of such a document need not agree on what it says. Depth is bounded by serde_json (128 levels), the number of
//! values by [`limits::JSON_VALUES`]: a value of a few bytes takes hundreds of them in memory.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::limits;

/// Parses one JSON document.
///
/// # Errors
/// Not JSON, bytes after its end, deeper than 128 levels, too many values, a key given twice, or not of the form
/// of `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    read(bytes, None, limits::JSON_VALUES)
}

/// The same of at most so many values.
///
/// # Errors
/// As [`from_slice`].
pub fn from_slice_of<T: DeserializeOwned>(bytes: &[u8], most: usize) -> Result<T, serde_json::Error> {
    read(bytes, None, most)
}

/// The same for a `T` without the member `but`, whatever of it: that may have as many values as it likes, if no more of
/// them than the limit are members of the objects around any one place.
///
/// # Errors
/// As [`from_slice`].
pub fn from_slice_but<T: DeserializeOwned>(bytes: &[u8], but: &str) -> Result<T, serde_json::Error> {
    read(bytes, Some(but), limits::JSON_VALUES)
}

fn read<T: DeserializeOwned>(bytes: &[u8], but: Option<&str>, most: usize) -> Result<T, serde_json::Error> {
    let mut values = Values { found: 0, most };
    let mut document = serde_json::Deserializer::from_slice(bytes);
    Walk { values: &mut values, but, is_kept: true }.deserialize(&mut document)?;
    document.end()?;
    serde_json::from_slice(bytes)
}

/// Parses one JSON document that is an object and keeps all of it, in one pass: for what is read at every pull.
///
/// # Errors
/// As [`from_slice`], or not an object.
pub fn object(bytes: &[u8]) -> Result<Object<'_>, serde_json::Error> {
    let mut values = Values { found: 0, most: limits::JSON_VALUES };
    let mut document = serde_json::Deserializer::from_slice(bytes);
    let value = Keep { values: &mut values }.deserialize(&mut document)?;
    document.end()?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(de::Error::custom("expected an object")),
    }
}

/// The members of an object.
pub type Object<'a> = BTreeMap<Cow<'a, str>, Value<'a>>;

/// A value whose texts are copied only where they are written with escapes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<Value<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// A key of an object, copied only where it is written with escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Walks a document and keeps nothing of it but the keys of the objects that it stands in.
struct Walk<'a> {
    /// How many values there are, of what the reader keeps; and of what it does not, how many keys are held here.
    values: &'a mut Values,
    /// The member of this object that the reader does not keep.
    but: Option<&'a str>,
    /// Whether the reader may keep this.
    is_kept: bool,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { values, but, is_kept } = self;
        let mut seen = BTreeSet::new();
        while let Some(Key(key)) = map.next_key()? {
            count(values)?;
            let is_kept = is_kept && but.is_none_or(|but| but != key);
            map.next_value_seed(Walk { values: &mut *values, but: None, is_kept })?;
            if let Some(key) = seen.replace(key) {
                return Err(twice(&key));
            }
        }
        if !is_kept {
            values.found = values.found.saturating_sub(seen.len());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { values, is_kept, .. } = self;
        while seq.next_element_seed(Walk { values: &mut *values, but: None, is_kept })?.is_some() {
            if is_kept {
                count(values)?;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a document and keeps it.
struct Keep<'a> {
    values: &'a mut Values,
}

impl<'de> DeserializeSeed<'de> for Keep<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keep<'_> {
    type Value = Value<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut object = Object::new();
        while let Some(Key(key)) = map.next_key()? {
            count(self.values)?;
            let value = map.next_value_seed(Keep { values: &mut *self.values })?;
            match object.entry(key) {
                Entry::Occupied(entry) => return Err(twice(entry.key())),
                Entry::Vacant(entry) => entry.insert(value),
            };
        }
        Ok(Value::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(Keep { values: &mut *self.values })? {
            count(self.values)?;
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value<'de>, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number that is none"))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(text.to_owned().into()))
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }
}

/// How many values there are, and may be.
struct Values {
    found: usize,
    most: usize,
}

/// One value more, a member or an element.
fn count<E: de::Error>(values: &mut Values) -> Result<(), E> {
    values.found = values.found.saturating_add(1);
    if values.found > values.most {
        return Err(E::custom(format_args!("more than {} values", values.most)));
    }
    Ok(())
}

fn twice<E: de::Error>(key: &str) -> E {
    let key: String = key.chars().take(100).collect();
    E::custom(format_args!("key {key:?} is given twice"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The same in both ways of reading.
    fn refused(document: &str) -> String {
        let [one, other] =
            [from_slice::<Value>(document.as_bytes()).unwrap_err(), object(document.as_bytes()).unwrap_err()];
        assert_eq!(one.to_string(), other.to_string());
        one.to_string()
    }

    #[test]
    fn a_key_given_twice_is_refused_at_every_level() {
        for document in
            [r#"{"a":1,"a":2}"#, r#"{"x":{"a":1,"a":1}}"#, r#"[{"x":[{"a":1,"b":2,"a":3}]}]"#, r#"{"a":1,"\u0061":2}"#]
        {
            let error = refused(document);
            assert!(error.contains("\"a\" is given twice"), "{document}: {error}");
        }
    }

    #[test]
    fn the_same_key_in_two_objects_is_fine() {
        assert!(from_slice::<Value>(br#"[{"a":1},{"a":2,"b":{"a":null}}, 1.5, -1, true, "s"]"#).is_ok());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(from_slice::<Value>(nested(127).as_bytes()).is_ok());
        refused(&nested(128));
        refused(&nested(10_000));
    }

    #[test]
    fn values_at_the_limit_and_one_past_it() {
        type Make = fn(usize) -> String;
        let members: Make = |number| {
            let members: Vec<String> = (0..number).map(|index| format!(r#""{index}":1"#)).collect();
            format!("{{{}}}", members.join(","))
        };
        let elements: Make = |number| format!(r#"{{"a":[{}]}}"#, vec!["0"; number - 1].join(","));
        let objects: Make = |number| format!(r#"{{"a":[{}]}}"#, vec![r#"{"":0}"#; (number - 1) / 2].join(","));
        let nested: Make = |number| format!(r#"{{"a":[{}]}}"#, vec!["[[[]]]"; (number - 1) / 3].join(","));
        for (make, least) in [(members, 1), (elements, 1), (objects, 2), (nested, 3)] {
            let within = make(limits::JSON_VALUES);
            assert!(from_slice::<Value>(within.as_bytes()).is_ok() && object(within.as_bytes()).is_ok());
            let error = refused(&make(limits::JSON_VALUES + least));
            assert!(error.contains("more than 65536 values"), "{error}");
        }
    }

    #[test]
    fn what_is_not_kept_may_be_long_and_not_wide() {
        #[derive(Debug, Deserialize)]
        struct Statement {
            kind: u8,
        }
        let read = |predicate: &str, but: &str| {
            let document = format!(r#"{{"predicate":{predicate},"kind":1}}"#);
            from_slice_but::<Statement>(document.as_bytes(), but).map(|statement| statement.kind)
        };
        let long = format!("[{}]", vec![r#"{"a":[1,{"b":{}}]}"#; limits::JSON_VALUES].join(","));
        assert_eq!(read(&long, "predicate").unwrap(), 1);
        assert!(read(&long, "other").unwrap_err().to_string().contains("more than 65536 values"));
        assert!(read(&format!(r#"{{"predicate":{long}}}"#), "predicate").is_ok(), "all that is below it");
        let wide = |members: usize| {
            let members: Vec<String> = (0..members).map(|index| format!(r#""{index}":[]"#)).collect();
            format!(r#"[{{{}}}]"#, members.join(","))
        };
        assert!(read(&wide(limits::JSON_VALUES - 1), "predicate").is_ok());
        assert!(read(&wide(limits::JSON_VALUES), "predicate").is_err());
        assert!(read(r#"[{"a":1,"a":1}]"#, "predicate").unwrap_err().to_string().contains("given twice"));
        let elsewhere = format!(r#"{{"kind":1,"a":{{"predicate":{long}}}}}"#);
        assert!(from_slice_but::<Statement>(elsewhere.as_bytes(), "predicate").is_err());
    }

    #[test]
    fn bytes_after_the_document_are_refused() {
        refused("{} {}");
        refused("");
    }

    #[test]
    fn an_object_is_kept_whole_and_nothing_else_is_one() {
        let document = r#"{"a":"b","\u0061\n":"\u00e9","c":[null,true,-1,18446744073709551615,1.5,{"d":{}}]}"#;
        let number = |value: Value| super::Value::Number(value.as_number().unwrap().clone());
        let mut found = object(document.as_bytes()).unwrap();
        assert!(matches!(found.remove("a"), Some(super::Value::Text(Cow::Borrowed("b")))));
        assert_eq!(found.remove("a\n"), Some(super::Value::Text("\u{e9}".into())));
        let inner = super::Value::Object([("d".into(), super::Value::Object(Object::new()))].into());
        let list = vec![
            super::Value::Null,
            super::Value::Bool(true),
            number(json!(-1)),
            number(json!(u64::MAX)),
            number(json!(1.5)),
            inner,
        ];
        assert_eq!(found, [("c".into(), super::Value::List(list))].into());
        for document in ["[]", "\"\"", "1", "null"] {
            let error = object(document.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), "expected an object", "{document}");
        }
    }
}
