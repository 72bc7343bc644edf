//! What the page calls a run's keys: as `show` does, and no two alike.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::reading::{Better, Name, glance};
use crate::store::{Sqlite, StoreError};

/// The names of a run's numbers, each with what it is called, in their order. Where two would be called alike, the later one is called
/// by a number more.
pub(super) fn labelled(names: Vec<Name>) -> Vec<(String, Name)> {
    let mut taken = HashSet::new();
    let label = |name: Name| {
        let plain = name.label();
        let mut label = plain.clone();
        let mut nth = 2_u64;
        while !taken.insert(label.clone()) {
            label = format!("{plain} #{nth}");
            nth += 1;
        }
        (label, name)
    };
    names.into_iter().map(label).collect()
}

/// The names of a run in the store's order.
pub(super) fn names(store: &Sqlite, run: &str) -> Result<Vec<Name>, StoreError> {
    let names = store.names(run)?;
    Ok(names
        .into_iter()
        .map(|(split, key)| Name { key, split })
        .collect())
}

/// Which key the reward is, for each set of names that was asked about: to find it takes longer than to read a series.
#[derive(Debug, Default)]
pub(super) struct Rewards(Mutex<HashMap<u64, Option<Name>>>);

impl Rewards {
    /// How many sets of names are remembered.
    const SETS: usize = 256;

    /// The key that is looked at first of those that get better upward, of training where both splits have it.
    pub fn of(&self, names: &[Name]) -> Option<Name> {
        let mut hash = DefaultHasher::new();
        for name in names {
            (&name.key, name.split).hash(&mut hash);
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Self::SETS {
            known.clear();
        }
        known
            .entry(hash.finish())
            .or_insert_with(|| reward(names))
            .clone()
    }
}

fn reward(names: &[Name]) -> Option<Name> {
    let keys: Vec<&str> = names.iter().map(|name| name.key.as_str()).collect();
    let mut glances = glance(&keys).into_iter();
    let key = glances.find(|glance| glance.better == Some(Better::Higher))?;
    let splits = names.iter().filter(|name| name.key == key.key);
    splits.min_by_key(|name| name.split).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Split;

    #[test]
    fn no_two_keys_are_called_alike() {
        let name = |key: &str, split| Name {
            key: key.to_owned(),
            split,
        };
        let names = vec![
            name("a (val)", Split::Train),
            name("b", Split::Train),
            name("a", Split::Val),
        ];
        let labels: Vec<String> = labelled(names)
            .into_iter()
            .map(|(label, _)| label)
            .collect();
        assert_eq!(labels, ["a (val)", "b", "a (val) #2"]);
    }
}
