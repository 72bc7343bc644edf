//! A row's numbers: ordered keys, each with one double; and what rows go through on their way out.

pub mod cadence;
pub mod filter;
pub mod health;
pub mod rename;
pub mod run;
pub mod table;
pub mod window;

use std::borrow::Cow;
use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};

use serde::ser::{Serialize, SerializeMap, Serializer};

/// The name of one metric. A dialect's own keys are static; those that carry a component's name are owned.
pub type Key = Cow<'static, str>;

/// An ordered dictionary of metrics: keys in the order their dialect lists them, each at most once.
///
/// An undefined number has no entry, so every value is finite or an infinity that arithmetic on finite
/// input gave; the empty dictionary is [`Metrics::default`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    entries: Vec<(Key, f64)>,
}

impl Metrics {
    /// An empty dictionary with room for `capacity` entries.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            entries: Vec::with_capacity(capacity),
        }
    }

    /// Appends an entry. The caller vouches that the key is new.
    pub fn push(&mut self, key: impl Into<Key>, value: f64) {
        self.entries.push((key.into(), value));
    }

    /// Gives each key that stands there a second time a name of its own (`a`, then `a_2`). Which those were, each with its
    /// new name.
    pub(crate) fn set_apart(&mut self) -> Vec<(String, String)> {
        let mut taken: HashSet<Key> = HashSet::with_capacity(self.entries.len());
        let mut again = Vec::new();
        for (at, (key, _)) in self.entries.iter().enumerate() {
            if !taken.insert(key.clone()) {
                again.push(at);
            }
        }
        let mut renamed = Vec::new();
        for at in again {
            let key = self.entries[at].0.to_string();
            let mut free = (2_u64..).map(|nth| format!("{key}_{nth}"));
            if let Some(own) = free.find(|own| !taken.contains(own.as_str())) {
                taken.insert(own.clone().into());
                self.entries[at].0 = own.clone().into();
                renamed.push((key, own));
            }
        }
        renamed
    }

    /// Sets the value of `key`, appending it if it is new.
    pub fn set(&mut self, key: impl Into<Key>, value: f64) {
        let key = key.into();
        match self.entries.iter_mut().find(|(k, _)| *k == key) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((key, value)),
        }
    }

    /// The value of `key`, or `None` where the row has no such key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<f64> {
        self.entries.iter().find(|(k, _)| k == key).map(|(_, v)| *v)
    }

    /// Whether the row has `key`.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Keeps the entries for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, f64) -> bool) {
        self.entries.retain(|(k, v)| keep(k, *v));
    }

    /// The entries in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, f64)> {
        self.entries.iter().map(|(k, v)| (k.as_ref(), *v))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<K: Into<Key>> FromIterator<(K, f64)> for Metrics {
    /// Later values of a key replace earlier ones.
    fn from_iter<I: IntoIterator<Item = (K, f64)>>(entries: I) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (key.into(), value));
        let mut entries: Vec<(Key, f64)> = entries.collect();
        let again = repeated(&entries);
        for (first, at) in &again {
            entries[*first].1 = entries[*at].1;
        }
        let mut again = again.into_iter().map(|(_, at)| at).peekable();
        let mut places = 0..;
        entries.retain(|_| {
            let at = places.next();
            again.next_if(|again| Some(*again) == at).is_none()
        });
        Self { entries }
    }
}

/// Where a key stands again, with where it stood first.
fn repeated(entries: &[(Key, f64)]) -> Vec<(usize, usize)> {
    let mut first: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
    let mut again = Vec::new();
    for (at, (key, _)) in entries.iter().enumerate() {
        match first.entry(key) {
            Entry::Vacant(place) => {
                place.insert(at);
            }
            Entry::Occupied(place) => again.push((*place.get(), at)),
        }
    }
    again
}

impl IntoIterator for Metrics {
    type Item = (Key, f64);
    type IntoIter = std::vec::IntoIter<(Key, f64)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

/// As a map; a non-finite value is `null` in JSON, which has no other word for it.
impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (key, value) in &self.entries {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// One emitted row: what goes to every sink.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The optimizer step that emitted the row.
    pub step: u64,
    /// Seconds since the Unix epoch.
    pub timestamp: f64,
    /// How many steps the row is over; 0 where nobody says.
    pub steps: u64,
    /// Whether the engine began or ended within the row's window, so that it may be over fewer steps than a row of this step from
    /// another start: a store then keeps the one over more.
    pub cut: bool,
    /// Whether the run had steps up to this one already when it was resumed: the row comes again, and replaces the one that a store
    /// has of its step.
    pub again: bool,
    /// The row's numbers. What is undefined over these steps has no entry.
    pub metrics: Metrics,
    /// What belongs to the run and is no number: `run/git_sha`, ... on a run's first row; `failed/step 7/rank 3` with the
    /// reason where a row went on without a rank. Empty on all others.
    pub text: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_keys_that_stand_there_twice_the_first_place_and_the_last_value_are_kept() {
        let entries = [
            ("b", 1.0),
            ("a", 2.0),
            ("b", 3.0),
            ("c", 4.0),
            ("b", 5.0),
            ("a", 6.0),
        ];
        let collected: Metrics = entries.into_iter().collect();
        assert_eq!(
            collected.entries,
            [("b".into(), 5.0), ("a".into(), 6.0), ("c".into(), 4.0)]
        );
        let mut set = Metrics::default();
        for (key, value) in entries {
            set.set(key, value);
        }
        assert_eq!(collected, set);
    }
}
