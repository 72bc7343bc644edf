//! What is looked at first of a run: the keys of each dialect's `FIRST`, beside its table, or what is called like them.

pub use super::first::Better;
use super::first::{First, first};
use super::{Dialect, extended};

/// What numbers are called in no dialect, in the order in which they are looked at: a word of the key begins with the one and, if
/// there is another, some word with that.
const CALLED: [(&str, Option<&str>, Option<Better>); 12] = [
    ("reward", None, Some(Better::Higher)),
    ("score", None, Some(Better::Higher)),
    ("accuracy", None, Some(Better::Higher)),
    ("pass", None, Some(Better::Higher)),
    ("reward", Some("std"), None),
    ("kl", None, None),
    ("clip", None, None),
    ("entropy", None, None),
    ("len", None, None),
    ("loss", None, Some(Better::Lower)),
    ("grad", Some("norm"), None),
    ("health", None, Some(Better::Lower)),
];

/// How many keys are looked at first that are called alike: the shortest, as what is called least is said of the whole.
const ALIKE: usize = 3;

/// A key of a run that is looked at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance<'a> {
    /// The key.
    pub key: &'a str,
    /// None where either way may be good or bad.
    pub better: Option<Better>,
}

/// The keys of a run that are looked at first, in order. They are those of the dialect that has most of such, or, where none has
/// two, what is called like them.
#[must_use]
pub fn glance<'a>(keys: &[&'a str]) -> Vec<Glance<'a>> {
    // Of equal ones the last is taken, which is to be the default.
    let by_dialect = Dialect::ALL
        .iter()
        .rev()
        .map(|dialect| dialect.glance(keys));
    let most = by_dialect.max_by_key(Vec::len).unwrap_or_default();
    if most.len() >= 2 { most } else { called(keys) }
}

impl Dialect {
    /// What is looked at first in this dialect, in order.
    fn first(self) -> impl Iterator<Item = First> {
        let own = match self {
            Self::MaxEnt => super::maxent::FIRST,
            Self::Trl => super::trl::FIRST,
            Self::Tunix => super::tunix::FIRST,
            Self::Verl => super::verl::FIRST,
            Self::OpenRlhf => super::openrlhf::FIRST,
            Self::NemoRl => super::nemo_rl::FIRST,
            Self::SkyRl => super::skyrl::FIRST,
            Self::PrimeRl => super::prime_rl::FIRST,
        };
        let health = self.extended_lines().filter(|line| extended::is_flag(line));
        own.iter()
            .copied()
            .chain(health.map(|line| first(line.key).lower()))
    }

    fn glance<'a>(self, keys: &[&'a str]) -> Vec<Glance<'a>> {
        let firsts: Vec<First> = self.first().collect();
        let placed = keys.iter().filter_map(|key| {
            let line = self.line(key).map_or(*key, |line| line.key);
            let place = firsts.iter().position(|first| first.key == line)?;
            Some((
                place,
                Glance {
                    key,
                    better: firsts[place].better,
                },
            ))
        });
        let mut placed: Vec<_> = placed.collect();
        placed.sort_by_key(|(place, _)| *place);
        placed.into_iter().map(|(_, glance)| glance).collect()
    }
}

/// What no dialect names, by the words in it.
fn called<'a>(keys: &[&'a str]) -> Vec<Glance<'a>> {
    let mut alike: [Vec<&'a str>; CALLED.len()] = Default::default();
    for key in keys {
        let words = words(key);
        let has = |start: &str| words.iter().any(|word| word.starts_with(start));
        let is_called =
            |(word, other, _): &(&str, Option<&str>, _)| has(word) && other.is_none_or(has);
        // What has both words is called by them.
        let both = CALLED
            .iter()
            .position(|line| line.1.is_some() && is_called(line));
        if let Some(place) = both.or_else(|| CALLED.iter().position(is_called)) {
            alike[place].push(key);
        }
    }
    let shortest = |mut keys: Vec<&'a str>| {
        keys.sort_by_key(|key| key.len());
        keys.truncate(ALIKE);
        keys
    };
    CALLED
        .iter()
        .zip(alike)
        .flat_map(|((.., better), keys)| {
            let glance = |key| Glance {
                key,
                better: *better,
            };
            shortest(keys).into_iter().map(glance)
        })
        .collect()
}

/// The words of a key: `train/grad_norm` has three.
fn words(key: &str) -> Vec<String> {
    key.split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(glances: &[Glance<'_>]) -> Vec<String> {
        glances.iter().map(|glance| glance.key.to_owned()).collect()
    }

    #[test]
    fn what_is_looked_at_first_is_named_in_the_tables() {
        // verl reports its loss under a name of its own.
        let reported = ["actor/pg_loss"];
        for dialect in Dialect::ALL {
            let mut all: Vec<&str> = dialect.first().map(|first| first.key).collect();
            for key in &all {
                let line = dialect.lines().chain(dialect.extended_lines());
                let is_line = line.map(|line| line.key).any(|line| line == *key);
                assert!(is_line || reported.contains(key), "{dialect}: {key}");
            }
            assert!(all.len() >= 15, "{dialect}: {}", all.len());
            all.sort_unstable();
            all.dedup();
            assert_eq!(
                all.len(),
                dialect.first().count(),
                "{dialect} says one twice"
            );
        }
    }

    #[test]
    fn the_keys_of_a_dialect_come_in_its_order_and_components_where_they_stand() {
        let found = glance(&[
            "train/beta",
            "train/grad_norm",
            "train/health/kl",
            "train/kl",
            "train/loss",
            "train/reward",
            "train/reward_p50",
            "train/reward_std",
            "train/rewards/accuracy/mean",
            "train/rewards/accuracy/std",
            "train/rewards/brevity/mean",
        ]);
        assert_eq!(
            keys(&found),
            [
                "train/reward",
                "train/reward_std",
                "train/rewards/accuracy/mean",
                "train/rewards/brevity/mean",
                "train/kl",
                "train/loss",
                "train/grad_norm",
                "train/health/kl",
            ]
        );
        assert_eq!(found[0].better, Some(Better::Higher));
        assert_eq!(found[1].better, None);
        assert_eq!(found[5].better, Some(Better::Lower));
    }

    #[test]
    fn a_key_is_not_taken_for_a_component_that_is_a_line_of_its_own() {
        let found = glance(&["rewards/max", "rewards/exact", "score/mean", "loss/entropy"]);
        assert_eq!(
            keys(&found),
            ["score/mean", "rewards/exact", "loss/entropy"]
        );
    }

    #[test]
    fn what_no_dialect_names_is_found_by_its_words() {
        let found = glance(&[
            "entropy/mean",
            "loss/mean",
            "optim/grad_norm",
            "optim/lr",
            "perf/throughput",
            "reward/all/std",
            "reward/all/mean",
            "reward/math/mean",
            "reward/math/long/mean",
            "reward/math/short/mean",
            "seq_len/mean",
            "mismatch_kl/mean",
        ]);
        assert_eq!(
            keys(&found),
            [
                "reward/all/mean",
                "reward/math/mean",
                "reward/math/long/mean",
                "reward/all/std",
                "mismatch_kl/mean",
                "entropy/mean",
                "seq_len/mean",
                "loss/mean",
                "optim/grad_norm",
            ]
        );
        assert_eq!(found[0].better, Some(Better::Higher));
        assert_eq!(found[7].better, Some(Better::Lower));
        assert_eq!(glance(&["perf/throughput", "lr"]), []);
    }
}
