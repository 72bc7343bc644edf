//! Numbers that come one after another, each somewhat like the one before: how far they change, and how sure that is.

/// Of fewer values nothing is said.
const LEAST: usize = 10;

/// A change along a series, and how far it may be off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// How large it is.
    pub size: f64,
    /// Its standard error, for numbers that hang together as an AR(1) series does; 0 where nothing is left unexplained.
    pub error: f64,
}

impl Change {
    /// The error is that of independent residuals times sqrt((1 + r)/(1 - r)), r their correlation from one to the next: what a fit of
    /// so many terms takes off it on average is added, and it is taken to be between 0 and 0.95. `weight` is the sum of squares of
    /// what the coefficient is of.
    fn of(size: f64, rest: &[f64], terms: f64, weight: f64) -> Option<Self> {
        let n = rest.len() as f64;
        let square = product(rest, rest);
        let next: f64 = rest.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let found = if square > 0.0 { next / square } else { 0.0 };
        let r = ((found + terms / n) / (1.0 - 2.0 * terms / n)).clamp(0.0, 0.95);
        let variance = square / (n - terms) / weight;
        let error = (variance * (1.0 + r) / (1.0 - r)).sqrt();
        (size.is_finite() && error.is_finite()).then_some(Self { size, error })
    }

    /// Whether it is more than so many errors from zero, on either side.
    #[must_use]
    pub fn exceeds(&self, errors: f64) -> bool {
        self.size.abs() > errors * self.error
    }
}

/// The mean of the values; `None` for fewer than 10.
#[cfg(feature = "sqlite")]
#[must_use]
pub fn average(values: &[f64]) -> Option<Change> {
    if values.len() < LEAST {
        return None;
    }
    let n = values.len() as f64;
    let size = values.iter().map(|x| x / n).sum::<f64>();
    let rest: Vec<f64> = values.iter().map(|x| x - size).collect();
    Change::of(size, &rest, 1.0, n)
}

/// The slope of the straight line through the values, for each step from one to the next; `None` for fewer than 10.
#[must_use]
pub fn trend(values: &[f64]) -> Option<Change> {
    change(values, &[], line(values.len()))
}

/// How much higher the last `recent` values lie than those before them, beyond a straight line through all of them; `None` for
/// fewer than 10, and where there are none on either side.
#[must_use]
pub fn shift(values: &[f64], recent: usize) -> Option<Change> {
    let n = values.len();
    let before = n.checked_sub(recent).filter(|before| *before > 0)?;
    let high = recent as f64 / n as f64;
    let step = |at: usize| if at < before { -high } else { 1.0 - high };
    (recent > 0).then(|| change(values, &[line(n)], (0..n).map(step).collect()))?
}

/// The places from the first to the last, about their middle.
fn line(n: usize) -> Vec<f64> {
    let middle = n.saturating_sub(1) as f64 / 2.0;
    (0..n).map(|at| at as f64 - middle).collect()
}

/// The coefficient of a regressor that adds up to zero, beside a mean and others such.
fn change(values: &[f64], others: &[Vec<f64>], mut regressor: Vec<f64>) -> Option<Change> {
    if values.len() < LEAST {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().map(|x| x / n).sum::<f64>();
    let mut rest: Vec<f64> = values.iter().map(|x| x - mean).collect();
    for other in others {
        take_off(&mut regressor, other);
        take_off(&mut rest, other);
    }
    let size = take_off(&mut rest, &regressor);
    let terms = 2.0 + others.len() as f64;
    Change::of(size, &rest, terms, product(&regressor, &regressor))
}

/// Takes the part of `values` that lies along `regressor` off them: its coefficient.
fn take_off(values: &mut [f64], regressor: &[f64]) -> f64 {
    let size = product(values, regressor) / product(regressor, regressor);
    for (value, x) in values.iter_mut().zip(regressor) {
        *value -= size * x;
    }
    size
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As independent as a series of sines can be.
    fn noise(at: u32) -> f64 {
        (f64::from(at) * 12.9898).sin() * 0.5 + (f64::from(at) * 78.233).cos() * 0.5
    }

    #[test]
    fn a_line_has_its_slope_and_no_shift_and_a_step_has_its_height() {
        let rising: Vec<f64> = (0..100)
            .map(|at| 3.0 + 0.25 * f64::from(at) + noise(at))
            .collect();
        let found = trend(&rising).expect("enough values");
        assert!(
            (found.size - 0.25).abs() < 0.01 && found.exceeds(6.0),
            "{found:?}"
        );
        assert!(!shift(&rising, 20).expect("enough values").exceeds(6.0));
        let step: Vec<f64> = (0..100_u32)
            .map(|at| if at < 80 { 0.0 } else { 5.0 } + noise(at))
            .collect();
        let found = shift(&step, 20).expect("enough values");
        assert!(
            (found.size - 5.0).abs() < 0.5 && found.exceeds(6.0),
            "{found:?}"
        );
        let still: Vec<f64> = (0..100).map(noise).collect();
        assert!(!trend(&still).expect("enough values").exceeds(6.0));
        assert_eq!(
            trend(&[0.5; 100]).map(|found| found.exceeds(6.0)),
            Some(false)
        );
    }

    #[test]
    fn sizes_and_errors_are_those_of_least_squares_by_numpy() {
        let value = |t: u32| {
            let x = f64::from(t);
            let step = if t >= 80 { 0.7 } else { 0.0 };
            3.0 + 0.02 * x + step + (x * 1.3).sin() * 0.4 + (x * x * 0.37).cos() * 0.3
        };
        let values: Vec<f64> = (0..100).map(value).collect();
        for (found, size, error) in [
            (
                trend(&values),
                0.024_786_621_166_741_5,
                0.002_003_304_064_447_219,
            ),
            (
                shift(&values, 20),
                0.661_192_557_633_097_9,
                0.149_533_262_349_815_48,
            ),
        ] {
            let found = found.expect("enough values");
            assert!((found.size / size - 1.0).abs() < 1e-10, "{found:?}");
            assert!((found.error / error - 1.0).abs() < 1e-10, "{found:?}");
        }
    }

    #[test]
    fn few_values_and_no_side_to_compare_say_nothing() {
        assert_eq!(trend(&[1.0; 9]), None);
        assert_eq!(shift(&[1.0; 20], 0), None);
        assert_eq!(shift(&[1.0; 20], 20), None);
        assert_eq!(trend(&[f64::MAX, -f64::MAX].repeat(10)), None);
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn a_mean_of_what_hangs_together_is_less_sure() {
        let alone: Vec<f64> = (0..100).map(|at| 2.0 + noise(at)).collect();
        let together: Vec<f64> = (0..100).map(|at| 2.0 + noise(at / 5)).collect();
        let error = |values: &[f64]| average(values).expect("enough values").error;
        assert!((average(&alone).expect("enough values").size - 2.0).abs() < 0.1);
        assert!(error(&together) > 2.0 * error(&alone));
        assert_eq!(average(&alone[..9]), None);
    }

    #[test]
    fn what_hangs_together_has_the_larger_error() {
        let alone: Vec<f64> = (0..200).map(noise).collect();
        let mut walk = vec![0.0];
        for at in 0..199 {
            walk.push(0.9 * walk[walk.len() - 1] + noise(at));
        }
        let naive = |values: &[f64]| trend(values).expect("enough values").error;
        assert!(naive(&walk) > 3.0 * naive(&alone));
    }
}
