//! A body: an operation, and its arguments by name.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::refusal::Refusal;
use crate::numerals::with_bare_words_quoted;

/// What was asked for.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub op: String,
    #[serde(default)]
    pub args: Named<Box<RawValue>>,
}

impl Request {
    /// Python's `json` writes what is not finite bare; that is taken as it is meant.
    pub fn of(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body).or_else(|error| {
            let words = [&b"NaN"[..], b"Infinity"];
            let has = |word: &&[u8]| body.windows(word.len()).any(|part| part == *word);
            let quoted = words
                .iter()
                .any(has)
                .then(|| serde_json::from_slice(&with_bare_words_quoted(body)).ok());
            quoted.flatten().ok_or_else(|| Refusal::Body {
                found: error.to_string(),
            })
        })
    }
}

/// Entries by name, in their order. None stands there twice: nobody could say which of the two is meant.
#[derive(Debug)]
pub(super) struct Named<T>(pub Vec<(String, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Entries(Self::default()))
    }
}

struct Entries<T>(Named<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let entries = &mut self.0.0;
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        let mut names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let name: String = twice[0].chars().take(80).collect();
            return Err(A::Error::custom(format!("`{name}` stands there twice")));
        }
        Ok(self.0)
    }
}
