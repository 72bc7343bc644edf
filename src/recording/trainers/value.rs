//! JSON as a value of which nothing is lost: no object has a member twice.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::super::fault::Fault;

/// Reads a line.
pub(super) fn value(json: &[u8]) -> Result<Value, Fault> {
    let twice = RefCell::new(None);
    let mut from = serde_json::Deserializer::from_slice(json);
    let read = Once { twice: &twice }
        .deserialize(&mut from)
        .and_then(|value| from.end().map(|()| value));
    read.map_err(|error| match twice.take() {
        Some(field) => Fault::Twice {
            field,
            of: String::new(),
        },
        None => Fault::Json {
            message: format!("{error}").replace(" at line 1 column", " at column"),
        },
    })
}

/// Any value.
#[derive(Clone, Copy)]
struct Once<'c> {
    /// The member that an object has twice.
    twice: &'c RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, x: bool) -> Result<Value, E> {
        Ok(x.into())
    }

    fn visit_u64<E: Error>(self, x: u64) -> Result<Value, E> {
        Ok(x.into())
    }

    fn visit_i64<E: Error>(self, x: i64) -> Result<Value, E> {
        Ok(x.into())
    }

    fn visit_f64<E: Error>(self, x: f64) -> Result<Value, E> {
        Ok(x.into())
    }

    fn visit_str<E: Error>(self, x: &str) -> Result<Value, E> {
        Ok(x.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut cells = Vec::new();
        while let Some(cell) = from.next_element_seed(self)? {
            cells.push(cell);
        }
        Ok(Value::Array(cells))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = from.next_key::<String>()? {
            if members.contains_key(&name) {
                *self.twice.borrow_mut() = Some(name);
                return Err(A::Error::custom("a member twice"));
            }
            members.insert(name, from.next_value_seed(self)?);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_as_it_is_written_and_no_member_is_lost() {
        let text = r#"{"a": [1, -2, 0.5, "x", null, true], "b": {"a": {}}}"#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(value(text.as_bytes()).unwrap(), expected);
        let said = |text: &str| value(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(said(r#"{"b": [{"a": 1, "a": 1}]}"#), "`a` is given twice");
        assert_eq!(
            said("{\"a\": 1"),
            "broken JSON: EOF while parsing an object at column 7"
        );
        assert!(said(&"[".repeat(200)).contains("recursion limit exceeded"));
    }
}
