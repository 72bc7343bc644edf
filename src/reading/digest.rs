//! What a series comes to, in four numbers.

/// The last value, and mean, min and max of the finite ones; NaN where there are none.
#[must_use]
pub fn digest(values: &[f64]) -> [f64; 4] {
    let last = values.last().copied().unwrap_or(f64::NAN);
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let count = finite().count() as f64;
    let mut mean = finite().sum::<f64>() / count;
    if !mean.is_finite() {
        // The sum of large values may be beyond a double where their mean is not.
        mean = finite().map(|value| value / count).sum();
    }
    let min = finite().fold(f64::NAN, f64::min);
    let max = finite().fold(f64::NAN, f64::max);
    if count == 0.0 {
        return [last, f64::NAN, f64::NAN, f64::NAN];
    }
    // It is rounded, and that of one number again and again is that number.
    [last, mean.clamp(min, max), min, max]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_stay_out_of_the_mean() {
        let [last, mean, min, max] = digest(&[1.0, f64::INFINITY, 3.0, f64::NEG_INFINITY]);
        assert_eq!((last, mean, min, max), (f64::NEG_INFINITY, 2.0, 1.0, 3.0));
        assert!(digest(&[f64::INFINITY])[1].is_nan());
        assert_eq!(digest(&[0.04; 24]), [0.04; 4]);
        assert!(digest(&[f64::MAX, f64::MAX])[1] >= f64::MAX);
    }
}
