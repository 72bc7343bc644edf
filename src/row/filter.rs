//! Fewer keys: the modes `full` and `slim`.

use std::str::FromStr;

use thiserror::Error;

use crate::row::Metrics;

/// Which keys of a row are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// All of them.
    #[default]
    Full,
    /// Those that the slim rules of METRICS.md keep (they speak of `train/` keys).
    Slim,
}

/// A word that names no mode.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}expected a mode (full, all, default; slim, compact, minimal, lite), found `{found}`", variable.map(|name| format!("the environment's `{name}`: ")).unwrap_or_default())]
pub struct ModeError {
    /// The word, as it was given.
    pub found: String,
    /// The environment variable that holds it; `None` where it was given in code or among the options.
    pub variable: Option<&'static str>,
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word.trim().to_ascii_lowercase().as_str() {
            "" | "full" | "all" | "default" => Ok(Self::Full),
            "slim" | "compact" | "minimal" | "lite" => Ok(Self::Slim),
            _ => Err(ModeError {
                found: word.to_owned(),
                variable: None,
            }),
        }
    }
}

impl Mode {
    /// The mode chosen in code, else by `MAXENT_WANDB_METRICS_MODE`, else by `MAXENT_METRICS_MODE`, else full.
    ///
    /// # Errors
    /// If the variable that decides holds another word.
    pub fn resolve(
        chosen: Option<Self>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ModeError> {
        if let Some(mode) = chosen {
            return Ok(mode);
        }
        let variables = ["MAXENT_WANDB_METRICS_MODE", "MAXENT_METRICS_MODE"];
        let set = variables
            .into_iter()
            .find_map(|name| Some((name, environment(name)?)));
        let Some((name, word)) = set else {
            return Ok(Self::Full);
        };
        word.parse().map_err(|error| ModeError {
            variable: Some(name),
            ..error
        })
    }

    /// Leaves out of a row what the mode does not keep.
    pub fn apply(self, metrics: &mut Metrics) {
        match self {
            Self::Full => {}
            Self::Slim => {
                let row = RowFacts::of(metrics);
                metrics.retain(|key, _| row.keeps(key));
            }
        }
    }
}

/// The endings of a component's keys.
const COMPONENT_KEYS: [&str; 9] = [
    "mean", "std", "p00", "p05", "p25", "p50", "p75", "p95", "p100",
];

/// What the rules ask of the row as a whole.
struct RowFacts {
    /// The prefix of the only component, where it repeats `train/reward`.
    repeated_component: Option<String>,
    meta_off: bool,
    no_entropy_bonus: bool,
    /// `None` where the row does not say.
    maxent_objective: Option<bool>,
    no_tau: bool,
}

impl RowFacts {
    fn of(metrics: &Metrics) -> Self {
        let is_zero = |key: &str| metrics.get(key).is_none_or(|x| x == 0.0);
        Self {
            repeated_component: repeated_component(metrics),
            meta_off: metrics.get("train/meta/enabled") == Some(0.0),
            no_entropy_bonus: is_zero("train/entropy_bonus_coef"),
            maxent_objective: metrics.get("train/maxent_objective").map(|x| x != 0.0),
            no_tau: is_zero("train/tau"),
        }
    }

    /// The rules 1 to 8 of METRICS.md, in order.
    fn keeps(&self, key: &str) -> bool {
        let Some(name) = key.strip_prefix("train/") else {
            return true;
        };
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let is = |names: &[&str]| names.contains(&name);
        if begins(&[
            "weighting/",
            "kl_controller/",
            "kl_per_token_bucket/",
            "kl_per_token_bucket_tokens/",
            "clip_ratio/",
        ]) {
            return false;
        }
        if is(&[
            "loss/total",
            "objective/minimize",
            "objective/maximize",
            "kl_coeff",
            "grpo_objective",
            "maxent_objective",
            "len_norm_ref",
            "weight_norm_denom",
            "tau_log",
            "delta_tau_abs",
            "delta_beta_abs",
        ]) {
            return false;
        }
        if let Some(name) = name.strip_prefix("completions/") {
            let kept = [
                "mean_length_sampled",
                "mean_length_terminated",
                "clipped_frac",
            ];
            return kept.contains(&name) || name.starts_with("diversity/");
        }
        let quantile = name
            .strip_prefix("rewards/")
            .and_then(|name| name.rsplit_once('/').map(|(_, ending)| ending))
            .or(name.strip_prefix("reward_"));
        if quantile.is_some_and(|ending| ["p00", "p25", "p75", "p100"].contains(&ending)) {
            return false;
        }
        if self
            .repeated_component
            .as_ref()
            .is_some_and(|prefix| key.starts_with(prefix))
        {
            return false;
        }
        if self.meta_off && begins(&["meta/"]) {
            return false;
        }
        if self.no_entropy_bonus
            && begins(&[
                "entropy_bonus",
                "reward_without_entropy_bonus",
                "reward_with_entropy_bonus",
                "rewards/entropy_bonus/",
            ])
        {
            return false;
        }
        match self.maxent_objective {
            Some(false) => {
                let weights = begins(&["weight_entropy", "advantage_entropy"]);
                let tau = self.no_tau && (is(&["tau"]) || begins(&["tau_"]));
                !(weights || tau)
            }
            Some(true) => !is(&[
                "weight_entropy_min",
                "weight_entropy_max",
                "weight_entropy_ema",
                "q_entropy_min",
                "q_entropy_max",
            ]),
            None => true,
        }
    }
}

/// Rule 5: exactly one component, with the mean of all rewards. Names may hold `/`, so a component is a prefix that has
/// all of a component's keys.
fn repeated_component(metrics: &Metrics) -> Option<String> {
    let mut prefixes = metrics.iter().filter_map(|(key, _)| {
        let prefix = key.strip_suffix("mean")?;
        let of_component = prefix
            .strip_prefix("train/rewards/")
            .is_some_and(|name| name.len() > 1);
        let whole = || {
            COMPONENT_KEYS
                .iter()
                .all(|ending| metrics.contains(&format!("{prefix}{ending}")))
        };
        (prefix.ends_with('/') && of_component && whole()).then(|| prefix.to_owned())
    });
    let only = prefixes.next()?;
    let mean = metrics.get(&format!("{only}mean"));
    (prefixes.next().is_none() && mean.is_some() && mean == metrics.get("train/reward"))
        .then_some(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_mode_lists_the_known_ones() {
        let error = "slimm".parse::<Mode>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected a mode (full, all, default; slim, compact, minimal, lite), found `slimm`"
        );
    }

    #[test]
    fn code_goes_before_the_environment_and_wandb_before_the_general_variable() {
        let environment = |name: &str| match name {
            "MAXENT_WANDB_METRICS_MODE" => Some("lite".to_owned()),
            _ => Some("nonsense".to_owned()),
        };
        assert_eq!(Mode::resolve(None, environment), Ok(Mode::Slim));
        assert_eq!(Mode::resolve(Some(Mode::Full), environment), Ok(Mode::Full));
        assert_eq!(Mode::resolve(None, |_| None), Ok(Mode::Full));
        let general = |name: &str| (name == "MAXENT_METRICS_MODE").then(|| "nonsense".to_owned());
        assert!(Mode::resolve(None, general).is_err());
    }

    #[test]
    fn the_only_component_goes_where_it_repeats_the_reward() {
        let component = |name: &str, mean: f64| {
            let name = name.to_owned();
            COMPONENT_KEYS.map(move |ending| (format!("train/rewards/{name}/{ending}"), mean))
        };
        let row = |components: Vec<[(String, f64); 9]>| {
            let mut metrics: Metrics = components.into_iter().flatten().collect();
            metrics.push("train/reward", 0.5);
            Mode::Slim.apply(&mut metrics);
            metrics.len()
        };
        assert_eq!(row(vec![component("code/p25", 0.5)]), 1);
        assert_eq!(row(vec![component("code", 0.25)]), 1 + 5);
        // `a` and `a/mean` are two components, although one's keys begin like the other's.
        assert_eq!(
            row(vec![component("a", 0.5), component("a/mean", 0.5)]),
            1 + 10
        );
    }
}
