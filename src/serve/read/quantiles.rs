//! Which of a run's keys are quantiles of another.

use crate::reading::Name;

/// Quantiles of what `of` is the mean of: the share that lies below each and its name, ascending. They are called as it is, with
/// `_p05` or `/p05` behind or in the place of its `/mean`.
pub(super) fn quantiles<'a>(of: &Name, names: &'a [Name]) -> Vec<(f64, &'a Name)> {
    let whole = of.key.strip_suffix("/mean").unwrap_or(&of.key);
    let share = |name: &Name| {
        let rest = name.key.strip_prefix(whole)?;
        let digits = rest
            .strip_prefix("_p")
            .or_else(|| rest.strip_prefix("/p"))?;
        let percent: u8 = digits.parse().ok()?;
        (percent <= 100 && digits.len() >= 2).then_some(f64::from(percent) / 100.0)
    };
    let same = names.iter().filter(|name| name.split == of.split);
    let mut found: Vec<(f64, &Name)> = same.filter_map(|name| Some((share(name)?, name))).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.dedup_by(|a, b| a.0 == b.0);
    found
}

/// What encloses it: its quantiles, or else its least and greatest with itself between; the lowest first. None where there are too few.
pub(super) fn fan<'a>(of: &'a Name, names: &'a [Name]) -> Vec<&'a Name> {
    let found = quantiles(of, names);
    if found.len() >= 3 {
        return found.into_iter().map(|(_, name)| name).collect();
    }
    let Some(whole) = of.key.strip_suffix("/mean") else {
        return Vec::new();
    };
    let end = |end: &str| {
        let mut same = names.iter().filter(|name| name.split == of.split);
        same.find(|name| name.key.strip_prefix(whole) == Some(end))
    };
    match (end("/min"), end("/max")) {
        (Some(low), Some(high)) => vec![low, of, high],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Split;

    #[test]
    fn a_reward_has_the_quantiles_that_are_called_as_it_is() {
        let name = |key: &str| Name {
            key: key.to_owned(),
            split: Split::Train,
        };
        let keys = [
            "train/reward",
            "train/reward_p100",
            "train/reward_p05",
            "train/reward_p50",
            "train/reward_p5",
            "train/reward_penalty",
            "train/rewards/a/p05",
            "score/mean",
            "score/min",
            "score/max",
        ];
        let names: Vec<Name> = keys.into_iter().map(name).collect();
        let found = quantiles(&names[0], &names);
        let found: Vec<(f64, &str)> = found
            .into_iter()
            .map(|(p, name)| (p, name.key.as_str()))
            .collect();
        let expected = [
            (0.05, "train/reward_p05"),
            (0.5, "train/reward_p50"),
            (1.0, "train/reward_p100"),
        ];
        assert_eq!(found, expected);
        assert_eq!(fan(&names[0], &names).len(), 3);
        assert_eq!(quantiles(&names[7], &names), []);
        let around: Vec<&str> = fan(&names[7], &names)
            .into_iter()
            .map(|name| name.key.as_str())
            .collect();
        assert_eq!(around, ["score/min", "score/mean", "score/max"]);
        assert_eq!(fan(&names[8], &names), Vec::<&Name>::new());
    }
}
