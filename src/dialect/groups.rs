//! A dialect's keys in groups, as they are shown to people: its tables, each with a title.

use super::{Dialect, Line, extended};

/// Titles of the tables of the extended metrics.
const EXTENDED: [&str; 5] = [
    "Groups, advantages and weights",
    "By component, k and tag",
    "Ratios, divergences and lengths",
    "Sampler and staleness",
    "Health",
];

impl Dialect {
    /// The tables, those of the extended metrics too, in the order of a row.
    pub(crate) fn groups(self) -> impl Iterator<Item = (&'static str, &'static [Line])> {
        let titles: &[&str] = match self {
            Self::MaxEnt => &[
                "Optimizer",
                "Completions",
                "Rewards",
                "Weights",
                "Controller",
                "Meta-controller",
                "Policy",
            ],
            Self::Trl => &["Step", "Rewards", "Policy"],
            Self::Tunix => &["Step", "Rewards", "Tokens", "Sampler"],
            Self::Verl => &[
                "Critic",
                "Lengths",
                "Actor",
                "Rollout",
                "Rollout correction",
                "Rejection",
                "Staleness",
                "Throughput",
            ],
            Self::OpenRlhf => &["Rollout", "Actor"],
            Self::NemoRl => &["Rollout", "Sampler", "Step"],
            Self::SkyRl => &["Rollout", "Policy"],
            Self::PrimeRl => &["Rollout", "Trainer"],
        };
        let own = titles.iter().zip(self.tables());
        let extended = EXTENDED.iter().zip(self.extended_tables());
        own.chain(extended).map(|(title, table)| (*title, *table))
    }

    /// The dialect that knows most of these keys; the default where none knows any.
    pub(crate) fn of_keys(keys: &[&str]) -> Self {
        let known = |dialect: &Self| {
            keys.iter()
                .filter(|key| dialect.line(key).is_some())
                .count()
        };
        // Of equal ones the last is taken, which is to be the default.
        let most = Self::ALL.iter().rev().max_by_key(|dialect| known(dialect));
        most.copied().unwrap_or_default()
    }
}

impl Line {
    /// Whether it is a flag of health, which is up or not.
    pub(crate) fn is_flag(&self) -> bool {
        extended::is_flag(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_a_title() {
        for dialect in Dialect::ALL {
            let lines: usize = dialect.groups().map(|(_, table)| table.len()).sum();
            let all = dialect.lines().count() + dialect.extended_lines().count();
            assert_eq!(lines, all, "{dialect}");
        }
        assert_eq!(
            Dialect::of_keys(&["critic/score/mean", "actor/entropy", "loss"]),
            Dialect::Verl
        );
        assert_eq!(Dialect::of_keys(&["nobody's"]), Dialect::MaxEnt);
    }
}
