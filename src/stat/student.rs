//! Student's t.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The probability on either side of a 95 % interval.
const TAIL: f64 = 0.025;

/// So many standard errors on either side make a 95 % interval, with so many degrees of freedom (at least 1).
pub fn student(freedom: u64) -> Option<f64> {
    /// The normal distribution's quantile at 1 - [`TAIL`], and from how many degrees of freedom on the series is the better.
    const Z: f64 = 1.959_963_984_540_054;
    const MANY: f64 = 500.0;
    let freedom = freedom as f64;
    if freedom < MANY {
        let t = StudentsT::new(0.0, 1.0, freedom).ok()?;
        return Some(t.inverse_cdf(1.0 - TAIL));
    }
    // Abramowitz and Stegun 26.7.5; the term that is left out is below 1e-10.
    let z = |power: i32| Z.powi(power);
    let terms = [
        (z(3) + z(1)) / 4.0,
        (5.0 * z(5) + 16.0 * z(3) + 3.0 * z(1)) / 96.0,
        (3.0 * z(7) + 19.0 * z(5) + 17.0 * z(3) - 15.0 * z(1)) / 384.0,
    ];
    let tail = terms
        .iter()
        .rev()
        .fold(0.0, |sum, term| (sum + term) / freedom);
    Some(Z + tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_student_are_those_of_scipy() {
        // scipy.stats.t.ppf(0.975, freedom)
        for (freedom, quantile) in [
            (1, 12.706_204_736_174_694),
            (7, 2.364_624_251_592_784),
            (499, 1.964_729_390_987_688_6),
            (511, 1.964_617_222_330_403_3),
            (1_000_000, 1.959_966_356_814_107),
        ] {
            let found = student(freedom).unwrap();
            assert!((found / quantile - 1.0).abs() < 1e-9, "{freedom}: {found}");
        }
    }
}
