//! Which plots a run has, in which order: what is looked at first, then the dialect's groups, then the trainer's own keys by family.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::quantiles::fan;
use crate::dialect::{Dialect, Line, Take};
use crate::reading::{Better, Keys, Name, family, select};

/// Plots under one title.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Section {
    title: String,
    /// Whether it is open before anybody asks.
    first: bool,
    plots: Vec<Plot>,
}

/// Keys that are drawn into one plot.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Plot {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    keys: Vec<String>,
}

/// The plots of a run with these names, each with what the page calls it.
pub(super) fn sections(dialect: Dialect, labelled: &[(String, Name)]) -> Vec<Section> {
    let mut left = Left::of(labelled);
    let mut sections = vec![Section {
        title: "First".to_owned(),
        first: true,
        plots: left.looked_at_first(dialect),
    }];
    for (title, table) in dialect.groups() {
        let mut of_names = Vec::new();
        let mut plots = Vec::new();
        for line in table {
            if line.key.contains('{') {
                of_names.push(line);
            } else {
                plots.extend(left.plot(line.key));
            }
        }
        sections.push(Section::of(title, plots));
        sections.extend(left.by_name(dialect, title, &of_names));
    }
    sections.extend(left.by_family());
    sections.retain(|section| !section.plots.is_empty());
    // A run of which nothing is known is shown whole, as far as that is one section.
    if let Some(section) = sections.first_mut() {
        section.first = true;
    }
    sections
}

impl Section {
    fn of(title: impl Into<String>, plots: Vec<Plot>) -> Self {
        Self {
            title: title.into(),
            first: false,
            plots,
        }
    }
}

impl Plot {
    fn fan(title: &str, keys: Vec<String>) -> Self {
        Self {
            title: Some(title.to_owned()),
            kind: Some("fan"),
            keys,
        }
    }

    fn together(title: &str, keys: Vec<String>) -> Self {
        Self {
            title: (keys.len() > 1).then(|| title.to_owned()),
            keys,
            ..Self::default()
        }
    }
}

/// The names that have no plot yet.
struct Left<'a> {
    names: Vec<Name>,
    labels: BTreeMap<&'a Name, &'a str>,
    /// By key.
    by_key: BTreeMap<&'a str, Vec<&'a Name>>,
}

impl<'a> Left<'a> {
    fn of(labelled: &'a [(String, Name)]) -> Self {
        let mut by_key: BTreeMap<&str, Vec<&Name>> = BTreeMap::new();
        for (_, name) in labelled {
            by_key.entry(&name.key).or_default().push(name);
        }
        Self {
            names: labelled.iter().map(|(_, name)| name.clone()).collect(),
            labels: labelled
                .iter()
                .map(|(label, name)| (name, label.as_str()))
                .collect(),
            by_key,
        }
    }

    /// Takes a key with both its splits: what they are called.
    fn take(&mut self, key: &str) -> Vec<String> {
        let names = self.by_key.remove(key).unwrap_or_default();
        names.into_iter().map(|name| self.label(name)).collect()
    }

    fn label(&self, name: &Name) -> String {
        self.labels
            .get(name)
            .copied()
            .unwrap_or_default()
            .to_owned()
    }

    /// The plot of a key, if it is left.
    fn plot(&mut self, key: &str) -> Option<Plot> {
        let keys = self.take(key);
        (!keys.is_empty()).then(|| Plot::together(key, keys))
    }

    /// What is looked at first, a fan of the reward's quantiles behind the reward, and all components in one plot. Flags are no plots
    /// here: they lie behind all of them.
    fn looked_at_first(&mut self, dialect: Dialect) -> Vec<Plot> {
        let Ok(all) = Keys::of("", &[]) else {
            return Vec::new();
        };
        let Ok(selected) = select(self.names.clone(), &all, false) else {
            return Vec::new();
        };
        let mut plots: Vec<Plot> = Vec::new();
        let mut has_reward = false;
        for name in &selected.first {
            let line = dialect.line(&name.key);
            let is_component = line.is_some_and(|line| matches!(line.take, Take::Component(_)));
            if line.is_some_and(Line::is_flag) || !self.by_key.contains_key(name.key.as_str()) {
                continue;
            }
            if is_component {
                const TITLE: &str = "reward components";
                let keys = self.take(&name.key);
                match plots
                    .iter_mut()
                    .find(|plot| plot.title.as_deref() == Some(TITLE))
                {
                    Some(plot) => plot.keys.extend(keys),
                    None => plots.push(Plot {
                        title: Some(TITLE.to_owned()),
                        keys,
                        ..Plot::default()
                    }),
                }
                continue;
            }
            plots.extend(self.plot(&name.key));
            if !has_reward && selected.better(&name.key) == Some(Better::Higher) {
                has_reward = true;
                plots.extend(self.fan(name, &format!("{}, quantiles", name.key)));
            }
        }
        plots
    }

    /// The fan around a key, whose keys have no other plot then.
    fn fan(&mut self, of: &Name, title: &str) -> Option<Plot> {
        let names: Vec<Name> = fan(of, &self.names).into_iter().cloned().collect();
        if names.is_empty() {
            return None;
        }
        for name in names.iter().filter(|name| *name != of) {
            if let Some(same) = self.by_key.get_mut(name.key.as_str()) {
                same.retain(|left| *left != name);
            }
        }
        self.by_key.retain(|_, names| !names.is_empty());
        Some(Plot::fan(
            title,
            names.iter().map(|name| self.label(name)).collect(),
        ))
    }

    /// What a table has for each component, bucket, tag or such: a section of plots of one kind for each of its lines. The quantiles of
    /// a component are one fan.
    fn by_name(&mut self, dialect: Dialect, title: &str, lines: &[&Line]) -> Vec<Section> {
        let mut fans = Vec::new();
        let means = lines
            .iter()
            .filter(|line| matches!(line.take, Take::Component(_)) && line.key.ends_with("/mean"));
        for line in means {
            for (of, name) in self.made_by(dialect, line, true) {
                fans.extend(self.fan(&name, &format!("{of}, quantiles")));
            }
        }
        let mut sections = vec![Section::of(format!("{title}: components"), fans)];
        for line in lines {
            let made = self.made_by(dialect, line, false);
            let plots: Vec<Plot> = made
                .into_iter()
                .filter_map(|(of, name)| {
                    let keys = self.take(&name.key);
                    (!keys.is_empty()).then(|| Plot {
                        title: Some(of),
                        keys,
                        ..Plot::default()
                    })
                })
                .collect();
            sections.push(Section::of(line.key, plots));
        }
        sections
    }

    /// The names that a line makes, each with what stands in its braces: of those that are left, or of all.
    fn made_by(&self, dialect: Dialect, line: &Line, of_all: bool) -> Vec<(String, Name)> {
        let keys: BTreeSet<&str> = if of_all {
            self.names.iter().map(|name| name.key.as_str()).collect()
        } else {
            self.by_key.keys().copied().collect()
        };
        let made = keys.into_iter().filter_map(|key| {
            let of = line.name_in(key)?;
            let is_it = dialect.line(key).is_some_and(|found| found.key == line.key);
            let name = self.names.iter().find(|name| name.key == key)?;
            is_it.then(|| (crate::sink::one_line(of), name.clone()))
        });
        made.collect()
    }

    /// What no dialect has a line for, by what stands before the last `/`.
    fn by_family(&mut self) -> Vec<Section> {
        let mut families: BTreeMap<String, Vec<Plot>> = BTreeMap::new();
        let keys: Vec<&str> = self.by_key.keys().copied().collect();
        for key in keys {
            if let Some(plot) = self.plot(key) {
                families
                    .entry(crate::sink::one_line(family(key)))
                    .or_default()
                    .push(plot);
            }
        }
        let title = |family: String| {
            if family.is_empty() {
                "Others".to_owned()
            } else {
                family
            }
        };
        let sections = families.into_iter();
        sections
            .map(|(family, plots)| Section::of(title(family), plots))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::labelled;
    use super::*;
    use crate::store::Split;

    fn shown(keys: &[(&str, Split)], dialect: Dialect) -> Vec<(String, Vec<Vec<String>>)> {
        let name = |(key, split): &(&str, Split)| Name {
            key: (*key).to_owned(),
            split: *split,
        };
        let labelled = labelled(keys.iter().map(name).collect());
        let sections = sections(dialect, &labelled);
        let plots = |section: Section| section.plots.into_iter().map(|plot| plot.keys).collect();
        sections
            .into_iter()
            .map(|section| (section.title.clone(), plots(section)))
            .collect()
    }

    #[test]
    fn what_is_looked_at_first_stands_first_and_each_key_is_in_one_plot_but_that_in_the_fan() {
        let train = [
            "train/loss",
            "train/reward",
            "train/reward_p05",
            "train/reward_p50",
            "train/reward_p95",
            "train/rewards/a/mean",
            "train/rewards/b/mean",
            "train/rewards/a/p05",
            "train/rewards/a/p50",
            "train/rewards/a/p95",
            "train/kl_per_token_bucket/0-64",
            "train/kl_per_token_bucket/64-128",
            "train/health/kl",
            "train/tau",
            "timing_s/gen",
            "timing_s/train",
            "mine",
        ];
        let mut keys: Vec<_> = train.into_iter().map(|key| (key, Split::Train)).collect();
        keys.push(("train/reward", Split::Val));
        let shown = shown(&keys, Dialect::MaxEnt);
        let titles: Vec<&str> = shown.iter().map(|(title, _)| title.as_str()).collect();
        let expected = [
            "First",
            "Optimizer",
            "Rewards: components",
            "train/kl_per_token_bucket/{bucket}",
            "Health",
            "Others",
            "timing_s",
        ];
        assert_eq!(titles, expected);
        let first = &shown[0].1;
        assert_eq!(first[0], ["train/reward", "train/reward (val)"]);
        assert_eq!(
            first[1],
            ["train/reward_p05", "train/reward_p50", "train/reward_p95"]
        );
        assert_eq!(first[2], ["train/rewards/a/mean", "train/rewards/b/mean"]);
        assert_eq!(first[3], ["train/loss"]);
        let mut all: Vec<&String> = shown
            .iter()
            .flat_map(|(_, plots)| plots.iter().flatten())
            .collect();
        assert_eq!(all.len(), keys.len());
        all.sort();
        all.dedup();
        assert_eq!(all.len(), keys.len());
    }

    #[test]
    fn a_run_of_which_nothing_is_known_is_shown_by_families() {
        let keys = [
            ("a/b/c", Split::Train),
            ("a/b/d", Split::Train),
            ("x", Split::Val),
        ];
        let shown = shown(&keys, Dialect::MaxEnt);
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0].0, "Others");
        assert_eq!(shown[1].1.len(), 2);
        assert_eq!(super::sections(Dialect::Trl, &[]), []);
    }
}
