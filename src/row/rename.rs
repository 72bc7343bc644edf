//! Prefix normalisation: a trainer's own names brought under `train/` or `eval/`, where other runs keep theirs.

use crate::row::Metrics;

/// The dashboard that a dictionary belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dashboard {
    /// What was measured while training: keys under `train/`.
    Train,
    /// What was measured by an evaluation: keys under `eval/`.
    Eval,
}

impl Dashboard {
    /// The prefix of its keys.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Train => "train/",
            Self::Eval => "eval/",
        }
    }
}

/// The dictionary under the names of METRICS.md, "Prefix normalisation"; order is kept, aliases follow at the end.
///
/// Where two keys come to the same name, the one that had it before stands; among others the first.
#[must_use]
pub fn normalised(metrics: &Metrics, split: Dashboard) -> Metrics {
    let mut renamed = Metrics::with_capacity(metrics.len() * 2);
    let prefix = split.prefix();
    let mut add = |key: String, value: f64| {
        let unchanged = metrics.get(&key);
        if !renamed.contains(&key) {
            renamed.push(key, unchanged.unwrap_or(value));
        }
    };
    for (key, value) in metrics.iter() {
        for name in names(key, prefix) {
            add(name, value);
        }
    }
    let named: Vec<(String, f64)> = renamed
        .iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    for (key, value) in named {
        if let Some(alias) = key.strip_prefix(prefix).and_then(alias) {
            let alias = format!("{prefix}{alias}");
            if !renamed.contains(&alias) {
                renamed.push(alias, value);
            }
        }
    }
    renamed
}

/// The one or two names that a key gets.
fn names(key: &str, prefix: &str) -> Vec<String> {
    if key.starts_with("train/") || key.starts_with("eval/") {
        return vec![key.to_owned()];
    }
    if let Some(rest) = key.strip_prefix("eval_") {
        return vec![format!("eval/{rest}")];
    }
    if let Some(rest) = key.strip_prefix("train_") {
        return vec![format!("train/{rest}")];
    }
    let names: &[&str] = match key {
        "loss" => &["loss/total"],
        "kl" => &["kl", "loss/kl"],
        "frac_reward_zero_std" => &["reward/zero_fraction"],
        "beta" | "kl_coeff" | "kl_coef" | "kl_coefficient" => &["weighting/beta"],
        "tau" => &["weighting/tau"],
        _ => match key.strip_prefix("kl_controller_") {
            Some(rest) => return vec![format!("{prefix}kl_controller/{rest}")],
            None => return vec![format!("{prefix}{key}")],
        },
    };
    names.iter().map(|name| format!("{prefix}{name}")).collect()
}

/// The other name of a key (without prefix), where it has one.
fn alias(name: &str) -> Option<String> {
    let fixed = match name {
        "completions/mean_length" => "completions/mean_length_sampled",
        "completions/min_length" => "completions/min_length_sampled",
        "completions/max_length" => "completions/max_length_sampled",
        "completions/clipped_ratio" => "completions/clipped_frac",
        "completions/mean_terminated_length" => "completions/mean_length_terminated",
        "completions/min_terminated_length" => "completions/min_length_terminated",
        "completions/max_terminated_length" => "completions/max_length_terminated",
        "weighting/tau" => "tau",
        "weighting/beta" => "beta",
        _ => {
            return name
                .strip_prefix("diversity/")
                .map(|rest| format!("completions/diversity/{rest}"));
        }
    };
    Some(fixed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(keys: &[&'static str], split: Dashboard) -> Vec<String> {
        let metrics: Metrics = keys.iter().map(|key| (*key, 1.0)).collect();
        normalised(&metrics, split)
            .iter()
            .map(|(key, _)| key.to_owned())
            .collect()
    }

    #[test]
    fn every_rule_of_prefix_normalisation_holds() {
        assert_eq!(
            normal(&["train/x", "eval/y"], Dashboard::Eval),
            ["train/x", "eval/y"]
        );
        assert_eq!(
            normal(&["eval_x", "train_y"], Dashboard::Train),
            ["eval/x", "train/y"]
        );
        assert_eq!(normal(&["loss"], Dashboard::Eval), ["eval/loss/total"]);
        assert_eq!(
            normal(&["kl"], Dashboard::Train),
            ["train/kl", "train/loss/kl"]
        );
        assert_eq!(
            normal(&["frac_reward_zero_std"], Dashboard::Train),
            ["train/reward/zero_fraction"]
        );
        assert_eq!(
            normal(&["kl_coef"], Dashboard::Train),
            ["train/weighting/beta", "train/beta"]
        );
        assert_eq!(
            normal(&["tau"], Dashboard::Train),
            ["train/weighting/tau", "train/tau"]
        );
        assert_eq!(
            normal(&["kl_controller_horizon"], Dashboard::Train),
            ["train/kl_controller/horizon"]
        );
        assert_eq!(normal(&["entropy"], Dashboard::Eval), ["eval/entropy"]);
        assert_eq!(
            normal(&["completions/min_terminated_length"], Dashboard::Train),
            [
                "train/completions/min_terminated_length",
                "train/completions/min_length_terminated"
            ]
        );
        assert_eq!(
            normal(&["diversity/distinct_1"], Dashboard::Train),
            [
                "train/diversity/distinct_1",
                "train/completions/diversity/distinct_1"
            ]
        );
    }

    #[test]
    fn existing_keys_win_over_renamed_ones() {
        let metrics: Metrics = [
            ("tau", 1.0),
            ("train/tau", 2.0),
            ("beta", 3.0),
            ("train/weighting/beta", 4.0),
        ]
        .into_iter()
        .collect();
        let got = normalised(&metrics, Dashboard::Train);
        assert_eq!(got.get("train/tau"), Some(2.0));
        assert_eq!(got.get("train/weighting/tau"), Some(1.0));
        assert_eq!(got.get("train/weighting/beta"), Some(4.0));
        assert_eq!(got.get("train/beta"), Some(4.0));
    }
}
