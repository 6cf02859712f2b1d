//! Reads JSON that others wrote, strictly: a key given twice is refused at every level, because two readers
//! of such a document need not agree on what it says. Depth is bounded by serde_json (128 levels), the number of
//! members by [`limits::JSON_MEMBERS`].

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::limits;

/// Parses one JSON document.
///
/// # Errors
/// Not JSON, bytes after its end, deeper than 128 levels, too many members, a key given twice, or not of the form
/// of `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut members = 0;
    let mut document = serde_json::Deserializer::from_slice(bytes);
    Walk { members: &mut members }.deserialize(&mut document)?;
    document.end()?;
    serde_json::from_slice(bytes)
}

/// A key of an object, copied only where it is written with escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Walks a document and keeps nothing of it but the number of its members.
struct Walk<'a> {
    members: &'a mut usize,
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
        let mut seen = BTreeSet::new();
        while let Some(Key(key)) = map.next_key()? {
            *self.members = self.members.saturating_add(1);
            if *self.members > limits::JSON_MEMBERS {
                return Err(de::Error::custom(format_args!("more than {} members", limits::JSON_MEMBERS)));
            }
            map.next_value_seed(Walk { members: self.members })?;
            if let Some(key) = seen.replace(key) {
                let key: String = key.chars().take(100).collect();
                return Err(de::Error::custom(format_args!("key {key:?} is given twice")));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Walk { members: self.members })?.is_some() {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_key_given_twice_is_refused_at_every_level() {
        for document in
            [r#"{"a":1,"a":2}"#, r#"{"x":{"a":1,"a":1}}"#, r#"[{"x":[{"a":1,"b":2,"a":3}]}]"#, r#"{"a":1,"\u0061":2}"#]
        {
            let error = from_slice::<Value>(document.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("\"a\" is given twice"), "{document}: {error}");
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
        assert!(from_slice::<Value>(nested(128).as_bytes()).is_err());
        assert!(from_slice::<Value>(nested(10_000).as_bytes()).is_err());
    }

    #[test]
    fn members_at_the_limit_and_one_past_it() {
        let document = |members: usize| {
            let members: Vec<String> = (0..members / 2).map(|index| format!(r#"{{"a{index}":1,"b":2}}"#)).collect();
            format!("[{}]", members.join(","))
        };
        assert!(from_slice::<Value>(document(limits::JSON_MEMBERS).as_bytes()).is_ok());
        let error = from_slice::<Value>(document(limits::JSON_MEMBERS + 2).as_bytes()).unwrap_err();
        assert!(error.to_string().contains("more than 65536 members"), "{error}");
    }

    #[test]
    fn bytes_after_the_document_are_refused() {
        assert!(from_slice::<Value>(b"{} {}").is_err());
        assert!(from_slice::<Value>(b"").is_err());
    }
}
