//! What the page calls a run's keys: as `show` does, and no two alike.

use std::collections::HashSet;

use crate::reading::Name;
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
