//! Sums as two doubles, which hold most sums of a few values without an error.

/// The exact sum of some values: the nearest double, and what that leaves over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Twofold {
    pub sum: f64,
    pub rest: f64,
}

impl Twofold {
    /// `None` where two doubles do not hold the sum, or where it is beyond the range on the way.
    pub fn of(values: &[f64]) -> Option<Self> {
        let (mut sum, mut rest, mut lost) = (0.0, 0.0, 0.0);
        for &x in values {
            let (next, error) = two_sum(sum, x);
            let (more, left) = two_sum(rest, error);
            (sum, rest) = (next, more);
            lost += left.abs();
        }
        let (sum, rest) = two_sum(sum, rest);
        // What overflows leaves NaN.
        (lost == 0.0 && sum.is_finite()).then_some(Self { sum, rest })
    }
}

/// The rounded sum and its error, which is a double (Knuth, "The Art of Computer Programming" 2, section 4.2.2).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}
