//! Where a flag of health was up.

use serde::Serialize;
use serde_json::Value;

use crate::dialect::{Dialect, Line};
use crate::row::health::Limits;
use crate::store::OURS;

/// How many stretches of a flag are told; of more, those nearest to each other are one.
const SPANS: usize = 200;

/// A flag that was up.
#[derive(Debug, Serialize)]
pub(super) struct Flag<P> {
    pub key: String,
    pub reason: String,
    /// From the first to the last row at which it was up.
    pub spans: Vec<[P; 2]>,
}

/// The limits that each flag is held against, by the end of its key.
const LIMITS: [(&str, &[&str]); 14] = [
    (
        "entropy_collapse",
        &["entropy", "entropy_share", "entropy_first", "entropy_steps"],
    ),
    ("reward_saturation", &["saturated_groups"]),
    ("zero_std", &["zero_std"]),
    ("clipping", &["clipped"]),
    ("kl", &["kl"]),
    ("length_at_cap", &["length_at_cap"]),
    (
        "sampler_drift",
        &["sampler_distance", "sampler_probability"],
    ),
    ("nonfinite", &[]),
    ("reward_trend", &["course_steps", "trend"]),
    ("reward_shift", &["course_steps", "shift"]),
    ("entropy_trend", &["course_steps", "trend", "entropy"]),
    ("entropy_shift", &["course_steps", "shift"]),
    ("kl_trend", &["course_steps", "trend", "kl"]),
    ("kl_shift", &["course_steps", "shift"]),
];

/// The flag that a key is of, if it is one.
pub(super) fn flag_of(dialect: Dialect, key: &str) -> Option<&'static Line> {
    dialect.line(key).filter(|line| line.is_flag())
}

/// Why a flag is up, with the limits of the run.
pub(super) fn reason(line: &Line, config: &Value) -> String {
    let told = config.pointer(&format!("/{OURS}/options/limits"));
    let limits = Limits::default().numbers();
    let last = line.key.rsplit('/').next().unwrap_or_default();
    let names = LIMITS.iter().find(|(flag, _)| *flag == last);
    let limit = |name: &&str| {
        let (_, default, _) = limits.iter().find(|(known, ..)| known == name)?;
        let limit = told.and_then(|told| told.get(*name)?.as_f64());
        Some(format!("{name} {}", limit.unwrap_or(*default)))
    };
    let limits: Vec<String> = names
        .into_iter()
        .flat_map(|(_, names)| names.iter())
        .filter_map(limit)
        .collect();
    let meaning = line
        .meaning
        .replace(" (averaged window: share of steps)", "");
    if limits.is_empty() {
        return meaning;
    }
    format!("{meaning} ({})", limits.join(", "))
}

/// The stretches of rows at which a flag was up, by place. Where it has no number it stays as it was.
pub(super) fn stretches(values: &[f64]) -> Vec<[usize; 2]> {
    let mut found: Vec<[usize; 2]> = Vec::new();
    let mut is_up = false;
    for (at, value) in values.iter().enumerate() {
        if value.is_nan() {
            continue;
        }
        match (is_up, *value > 0.0, found.last_mut()) {
            (true, true, Some(last)) => last[1] = at,
            (_, true, _) => found.push([at, at]),
            _ => {}
        }
        is_up = *value > 0.0;
    }
    let mut gap = 1;
    while found.len() > SPANS {
        gap *= 2;
        let mut joined: Vec<[usize; 2]> = Vec::with_capacity(found.len());
        for span in found {
            match joined.last_mut() {
                Some(last) if span[0] - last[1] <= gap => last[1] = span[1],
                _ => joined.push(span),
            }
        }
        found = joined;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_flag_is_up_from_its_first_row_to_its_last_and_stays_where_it_has_no_number() {
        let none = f64::NAN;
        assert_eq!(
            stretches(&[0.0, 1.0, none, 0.5, 0.0, none, 1.0]),
            [[1, 3], [6, 6]]
        );
        assert_eq!(stretches(&[1.0, none, none]), [[0, 0]]);
        assert_eq!(stretches(&[]), [[0; 2]; 0]);
        let flapping: Vec<f64> = (0..5000)
            .map(|at| f64::from(u8::from(at % 2 == 0)))
            .collect();
        let joined = stretches(&flapping);
        assert!(joined.len() <= SPANS);
        assert_eq!((joined[0][0], joined[joined.len() - 1][1]), (0, 4998));
    }

    #[test]
    fn a_reason_has_the_limits_of_the_run() {
        let flag = flag_of(Dialect::MaxEnt, "train/health/kl").unwrap();
        let said = reason(
            flag,
            &json!({"grpo_metrics": {"options": {"limits": {"kl": 0.5}}}}),
        );
        assert!(said.ends_with("above its limit (kl 0.5)"), "{said}");
        assert!(reason(flag, &Value::Null).ends_with("(kl 0.2)"));
        assert!(flag_of(Dialect::Trl, "health/rewards/used").is_none());
        for dialect in Dialect::ALL {
            for line in dialect.extended_lines().filter(|line| line.is_flag()) {
                let is_known = |flag: &str| line.key.ends_with(&format!("/{flag}"));
                assert!(
                    LIMITS.iter().any(|(flag, _)| is_known(flag)),
                    "{}",
                    line.key
                );
            }
        }
        let limits = Limits::default().numbers();
        let told = LIMITS.iter().flat_map(|(_, names)| names.iter());
        let told: std::collections::BTreeSet<_> = told.collect();
        assert_eq!(told.len(), limits.len());
    }
}
