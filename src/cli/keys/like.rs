//! The same number in other dialects, found out by trying: lines that give the same for steps made up to tell numbers apart.

use std::collections::BTreeMap;

use crate::batch::{ColumnInfo, Columns, Shape};
use crate::cli::probed::probed;
use crate::dialect::{Dialect, Line};
use crate::recording::Record;

/// How many steps have everything; beside them there is one without each thing that can be absent.
const WHOLE: u64 = 12;

/// No key is called so.
#[derive(Debug, thiserror::Error)]
#[error("--like: no dialect has a key `{key}`; {}", closest(known.as_deref()))]
pub struct UnlikeError {
    key: String,
    known: Option<String>,
}

fn closest(known: Option<&str>) -> String {
    known.map_or_else(
        || "no known one is close to it".to_owned(),
        |known| format!("the closest known one is `{known}`"),
    )
}

/// What a line gave for each step, by the name in its key (`""` in one without).
type Given = Vec<BTreeMap<String, f64>>;

/// The lines of all dialects whose number is that of a line that is called `key`, among them that one.
///
/// Two are the same where they gave the same bits for every step for which both gave something, and not always the same. So a key
/// that stands for a constant where its inputs are absent is like one that is left out there.
///
/// # Errors
/// If no dialect has the key.
pub fn like(key: &str) -> Result<Vec<(Dialect, &'static Line)>, UnlikeError> {
    if Dialect::ALL
        .iter()
        .all(|dialect| dialect.line(key).is_none())
    {
        return Err(UnlikeError {
            key: key.to_owned(),
            known: nearest(key),
        });
    }
    Ok(alike(&tried(), key))
}

/// Every line of every dialect, and what it gave for the made-up steps.
fn tried() -> Vec<(Dialect, &'static Line, Given)> {
    let probes = probes();
    let mut all = Vec::new();
    for dialect in Dialect::ALL {
        let steps: Vec<_> = probes.iter().map(|probe| given(*dialect, probe)).collect();
        let lines = dialect.lines().chain(dialect.extended_lines());
        all.extend(lines.map(|line| {
            let of = |step: &BTreeMap<&str, BTreeMap<String, f64>>| {
                step.get(line.key).cloned().unwrap_or_default()
            };
            (*dialect, line, steps.iter().map(of).collect())
        }));
    }
    all
}

fn alike(all: &[(Dialect, &'static Line, Given)], key: &str) -> Vec<(Dialect, &'static Line)> {
    let is_meant = |dialect: Dialect, line: &Line| {
        let meant = dialect.line(key);
        meant.is_some_and(|meant| meant.key == line.key)
    };
    let meant = all.iter().filter(|(d, line, _)| is_meant(*d, line));
    let meant: Vec<&Given> = meant.map(|(_, _, given)| given).collect();
    let alike = all.iter().filter(|(dialect, line, given)| {
        is_meant(*dialect, line) || meant.iter().any(|other| same(given, other))
    });
    alike.map(|(dialect, line, _)| (*dialect, *line)).collect()
}

fn nearest(key: &str) -> Option<String> {
    const ALIKE: f64 = 0.4;
    let lines = Dialect::ALL
        .iter()
        .flat_map(|dialect| dialect.lines().chain(dialect.extended_lines()));
    let scored = lines.map(|line| {
        let alike = strsim::normalized_damerau_levenshtein(key, line.key)
            .max(strsim::sorensen_dice(key, line.key));
        (alike, line.key)
    });
    let best = scored
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, key)| key.to_owned())
}

/// Steps of all kinds.
fn probes() -> Vec<Record> {
    let whole = (0..WHOLE).map(|seed| Record::probe(seed, &[]).with_another_loss(seed));
    let names = Columns::ALL.iter().map(|info| info.name);
    let grouping = ["group_sizes", "group_ids", "rewards"];
    let names = names
        .chain(["scalars", "weighting"])
        .filter(|name| !grouping.contains(name));
    let lacking = (WHOLE..).zip(names).map(|(seed, name)| {
        let mut without = vec![name];
        if name == "completion_lengths" {
            let of_tokens = |info: &&ColumnInfo| info.shape == Shape::Token;
            without.extend(Columns::ALL.iter().filter(of_tokens).map(|info| info.name));
        }
        Record::probe(seed, &without)
    });
    whole.chain(lacking).collect()
}

/// What each of the dialect's lines gives for a step.
fn given(dialect: Dialect, probe: &Record) -> BTreeMap<&'static str, BTreeMap<String, f64>> {
    let mut by_line: BTreeMap<&'static str, BTreeMap<String, f64>> = BTreeMap::new();
    for (key, x) in probed(probe, dialect, true).iter() {
        if let Some(line) = dialect.line(key) {
            let name = line.name_in(key).unwrap_or_default().to_owned();
            by_line.entry(line.key).or_default().insert(name, x);
        }
    }
    by_line
}

fn same(one: &Given, other: &Given) -> bool {
    let mut seen: Vec<u64> = Vec::new();
    for (one, other) in one.iter().zip(other) {
        for (name, x) in one {
            let Some(y) = other.get(name) else { continue };
            if x.to_bits() != y.to_bits() {
                return false;
            }
            seen.push(x.to_bits());
        }
    }
    seen.windows(2).any(|pair| matches!(pair, [a, b] if a != b))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    fn keys(key: &str) -> Vec<(&'static str, &'static str)> {
        static TRIED: LazyLock<Vec<(Dialect, &'static Line, Given)>> = LazyLock::new(tried);
        let like = alike(&TRIED, key).into_iter();
        like.map(|(dialect, line)| (dialect.name(), line.key))
            .collect()
    }

    #[test]
    fn a_number_is_found_under_its_other_names_and_no_other_number_is() {
        let lengths = keys("completions/mean_length");
        for expected in [
            ("maxent", "train/completions/mean_length_sampled"),
            ("trl", "completions/mean_length"),
            ("tunix", "completions/mean_length"),
            ("verl", "response_length/mean"),
        ] {
            assert!(lengths.contains(&expected), "{lengths:?}");
        }
        // Sample and population deviation are not the same number.
        assert!(!keys("reward_std").contains(&("maxent", "train/reward_std")));
        let rewards = keys("reward");
        assert!(rewards.contains(&("skyrl", "reward/avg_raw_reward")));
        // verl leaves out completions that were broken off.
        assert!(!rewards.contains(&("verl", "critic/score/mean")));
        // With a name in it, and by the name of one.
        let components = keys("rewards/accuracy/mean");
        assert!(
            components.contains(&("maxent", "train/rewards/{name}/mean")),
            "{components:?}"
        );
        assert!(components.contains(&("tunix", "rewards/{name}")));
        // A KL of another kind is another number, and one among the extended metrics is the same in each dialect.
        let kl = keys("actor/ppo_kl");
        assert!(
            kl.contains(&("trl", "kl_old/k1")) && !kl.contains(&("trl", "kl")),
            "{kl:?}"
        );
    }

    #[test]
    fn every_key_is_like_itself_and_likeness_goes_both_ways() {
        for (key, other) in [
            ("kl", "train/kl"),
            ("actor/entropy", "entropy"),
            ("grad_norm", "actor/grad_norm"),
        ] {
            let of = |asked: &str, found: &str| keys(asked).iter().any(|(_, key)| *key == found);
            assert!(of(key, key) && of(other, other));
            assert_eq!(of(key, other), of(other, key), "{key}, {other}");
        }
    }

    #[test]
    fn a_misspelt_key_is_told_the_closest_one() {
        let told = like("train/rewrad_std").unwrap_err().to_string();
        assert_eq!(
            told,
            "--like: no dialect has a key `train/rewrad_std`; the closest known one is `train/reward_std`"
        );
        assert!(
            like("9")
                .unwrap_err()
                .to_string()
                .ends_with("no known one is close to it")
        );
    }
}
