//! A number's difference over the prompts that both recordings have it of, and how far it may be off.

use super::gathered::Values;
use crate::stat::{ExactSum, Moments, Statistic, student};

/// Over fewer prompts nothing is said of how far a difference may be off.
pub const LEAST: u64 = 10;

/// A number of two recordings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// Prompts that both have it of.
    pub prompts: u64,
    /// Prompts that only one of them has it of.
    pub alone: [u64; 2],
    /// Finite values of each: completions', or of pass@k prompts'.
    pub values: [u64; 2],
    /// Values of each that are NaN or infinite.
    pub nonfinite: [u64; 2],
    /// Its mean over the prompts in both, all of which weigh the same, in each; `None` without such prompts.
    pub means: Option<[f64; 2]>,
    /// Mean over these prompts of the second's less the first's; `None` without such prompts.
    pub size: Option<f64>,
    /// How far that may be off; `None` over fewer than [`LEAST`] prompts, and where they do not differ in their differences.
    pub spread: Option<Spread>,
}

/// How far a difference may be off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The standard error of the difference.
    pub error: f64,
    /// 95 % for it, by Student's t over prompts.
    pub interval: (f64, f64),
    /// 95 % as it would be if the prompts had not been the same (Welch's, its degrees of freedom rounded down).
    pub unpaired: (f64, f64),
}

impl Difference {
    pub(super) fn between([a, b]: [Option<&Values>; 2]) -> Self {
        let of = |values: Option<&Values>, read: fn(&Values) -> u64| values.map_or(0, read);
        let [ours, theirs] = [a, b].map(|values| values.map(Values::means).unwrap_or_default());
        let pairs: Vec<[f64; 2]> = ours
            .iter()
            .filter_map(|(prompt, mean)| Some([*mean, *theirs.get(prompt)?]))
            .collect();
        let prompts = pairs.len() as u64;
        let counted = Self {
            prompts,
            alone: [&ours, &theirs].map(|all| all.len() as u64 - prompts),
            values: [a, b].map(|values| of(values, |values| values.used)),
            nonfinite: [a, b].map(|values| of(values, |values| values.nonfinite)),
            ..Self::default()
        };
        if prompts == 0 {
            return counted;
        }
        let column = |side: usize| pairs.iter().map(|pair| pair[side]).collect::<Vec<f64>>();
        let sides = [column(0), column(1)];
        let sums = sides.each_ref().map(|values| ExactSum::of(values));
        let mut apart = sums[1].clone();
        apart.add(&sides[0].iter().map(|x| -x).collect::<Vec<f64>>());
        let size = apart.divided(prompts);
        Self {
            means: Some(sums.map(|sum| sum.divided(prompts))),
            size: Some(size),
            spread: spread(size, &pairs, &sides),
            ..counted
        }
    }
}

fn spread(size: f64, pairs: &[[f64; 2]], sides: &[Vec<f64>; 2]) -> Option<Spread> {
    let differences: Vec<f64> = pairs.iter().map(|[a, b]| b - a).collect();
    let n = pairs.len() as u64;
    // Two numbers of opposite sign next to the end of the range differ by more than it has.
    if n < LEAST || !differences.iter().all(|x| x.is_finite()) {
        return None;
    }
    let error_of = |values: &[f64]| {
        let mut moments = Moments::default();
        moments.add(values);
        Some(moments.sample_std()? / (n as f64).sqrt())
    };
    let error = error_of(&differences).filter(|error| *error > 0.0)?;
    let around = |error: f64, freedom: u64| {
        let half = student(freedom)? * error;
        Some((size - half, size + half))
    };
    let [a, b] = [error_of(&sides[0])?, error_of(&sides[1])?];
    Some(Spread {
        error,
        interval: around(error, n - 1)?,
        unpaired: around(a.hypot(b), welch(a, b, n))?,
    })
}

/// The degrees of freedom of the difference of two means of n numbers each, by their standard errors (Welch, "The generalization of
/// Student's problem when several different population variances are involved", 1947), rounded down: from n - 1, where one does not
/// vary, to 2 (n - 1).
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn welch(a: f64, b: f64, n: u64) -> u64 {
    let others = n - 1;
    // Of equal errors 1; the ratio keeps squares within the range.
    let ratio = (a.min(b) / a.max(b)).powi(2);
    let freedom = (1.0 + ratio).powi(2) / (1.0 + ratio * ratio) * others as f64;
    (freedom.floor() as u64).clamp(others, 2 * others)
}
