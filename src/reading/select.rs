//! Which keys are shown, and in which order.

use std::collections::HashMap;

use super::key::{KeyError, Keys};
use super::run::Name;
use crate::dialect::glance::{Better, Glance, glance};

/// The names of a run, or of several, in the order in which they are shown.
#[derive(Debug, Default)]
pub struct Selected {
    /// What is looked at first, if nobody has said which keys are meant.
    pub first: Vec<Name>,
    /// What else is shown, by family: what stands before the last `/`.
    pub rest: Vec<Name>,
    /// How many more there are.
    pub hidden: usize,
    /// Whether somebody named what is shown.
    pub is_asked_for: bool,
    /// The patterns that match nothing, as they are told of.
    pub idle: Vec<String>,
    better: HashMap<String, Better>,
}

impl Selected {
    /// Which way a key gets better, where that is known.
    #[must_use]
    pub fn better(&self, key: &str) -> Option<Better> {
        self.better.get(key).copied()
    }

    /// All of them, in order.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.first.iter().chain(&self.rest)
    }
}

/// Of these names those that `keys` have; where they are all, those that are looked at first and, with `all`, the others behind them.
///
/// # Errors
/// If `keys` match none of them.
pub fn select(mut names: Vec<Name>, keys: &Keys, all: bool) -> Result<Selected, KeyError> {
    let all_keys: Vec<String> = {
        names.sort_by(|a, b| (family(&a.key), a).cmp(&(family(&b.key), b)));
        names.dedup();
        let mut keys: Vec<String> = names.iter().map(|name| name.key.clone()).collect();
        keys.dedup();
        keys
    };
    let all_keys: Vec<&str> = all_keys.iter().map(String::as_str).collect();
    let idle = keys.idle(&all_keys)?;
    let glances = glance(&all_keys);
    let mut selected = Selected {
        idle,
        better: glances
            .iter()
            .filter_map(|glance| Some((glance.key.to_owned(), glance.better?)))
            .collect(),
        ..Selected::default()
    };
    if !keys.are_all() {
        selected.is_asked_for = true;
        selected.rest = names;
        selected.rest.retain(|name| keys.have(&name.key));
        return Ok(selected);
    }
    let place = |name: &Name| glances.iter().position(|g: &Glance<'_>| g.key == name.key);
    let (mut first, rest): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| place(name).is_some());
    first.sort_by_key(|name| (place(name), name.split));
    selected.first = first;
    // A run of which nothing is known is shown whole.
    if all || selected.first.is_empty() {
        selected.rest = rest;
    } else {
        selected.hidden = rest.len();
    }
    Ok(selected)
}

/// What stands before the last `/`.
#[must_use]
pub fn family(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(family, _)| family)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Split;

    fn keys(globs: &[&str]) -> Keys {
        Keys::of(
            "--key ",
            &globs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        )
        .unwrap()
    }

    #[test]
    fn what_is_looked_at_first_stands_first_and_the_rest_is_counted() {
        let name = |key: &str, split| Name {
            key: key.to_owned(),
            split,
        };
        let names = || {
            vec![
                name("train/beta", Split::Train),
                name("train/kl", Split::Train),
                name("train/reward", Split::Val),
                name("train/reward", Split::Train),
                name("train/rewards/a/p50", Split::Train),
            ]
        };
        let selected = select(names(), &keys(&[]), false).unwrap();
        let shown: Vec<_> = selected.names().map(Name::label).collect();
        assert_eq!(shown, ["train/reward", "train/reward (val)", "train/kl"]);
        assert_eq!(selected.hidden, 2);
        assert_eq!(selected.better("train/reward"), Some(Better::Higher));
        let selected = select(names(), &keys(&[]), true).unwrap();
        assert_eq!((selected.names().count(), selected.hidden), (5, 0));
        let selected = select(names(), &keys(&["*a*"]), false).unwrap();
        let shown: Vec<_> = selected.names().map(Name::label).collect();
        assert_eq!(selected.first, []);
        assert_eq!(shown.len(), 5, "{shown:?}");
    }
}
