//! How exactly a logged number says what it says.

/// Where no number of a key has more significant digits than this, they were rounded: what comes out of arithmetic has more.
const ROUNDED: usize = 7;

/// So many decimals a rounded number may have, if it shows fewer: JSON writes 0.2500 as 0.25.
const DECIMALS: i32 = 4;

/// The share of a number that single precision may be off by, over a sum of many: some tens of units of 2^-23.
pub const SINGLE: f64 = 5e-6;

/// And what it may be off by where the number is a small difference of numbers near 1, as k3 of two policies that are nearly the same is:
/// 2^-22.
pub const DIFFERENCE: f64 = 2.4e-7;

/// How exactly the numbers of a key are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precision {
    /// Half a unit of the last decimal, of a key whose numbers are rounded; else 0.
    rounded: f64,
    /// What a number near 0 may be off by.
    floor: f64,
}

impl Precision {
    /// Of all of a key's numbers, as the log has them. What a trainer reports, such as its learning rate, is not computed, and so has no
    /// floor.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>, is_reported: bool) -> Self {
        let mut places = None;
        let mut is_rounded = true;
        for text in texts {
            let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
            let all: Vec<u8> = digits.bytes().filter(u8::is_ascii_digit).collect();
            let leading = all.iter().take_while(|digit| **digit == b'0').count();
            is_rounded &= all.len() - leading <= ROUNDED;
            if let Some((_, decimals)) = digits.split_once('.') {
                let shown = i32::try_from(decimals.len()).unwrap_or(i32::MAX);
                let exponent: i32 = exponent.parse().unwrap_or(0);
                let here = shown.max(DECIMALS).saturating_sub(exponent);
                places = places.max(Some(here));
            }
        }
        Self {
            rounded: match places.filter(|_| is_rounded) {
                Some(places) => 0.5 * 10_f64.powi(places.saturating_neg()),
                None => 0.0,
            },
            floor: if is_reported { 0.0 } else { DIFFERENCE },
        }
    }

    /// How far the number that was meant may be from this one.
    pub fn tolerance(self, value: f64) -> f64 {
        self.rounded.max(value.abs() * SINGLE).max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tolerance(texts: &[&str], value: f64) -> f64 {
        Precision::of(texts.iter().copied(), false).tolerance(value)
    }

    #[test]
    fn a_key_of_few_digits_is_meant_to_half_its_last_one() {
        assert_eq!(tolerance(&["0.1295", "0.25"], 0.1295), 0.5e-4);
        assert_eq!(tolerance(&["0.12951", "0.25"], 0.25), 0.5e-5);
        assert_eq!(tolerance(&["2.6875"], 2.6875), 0.5e-4);
        // But no finer than single precision is.
        assert_eq!(tolerance(&["22.6875"], 22.6875), 22.6875 * SINGLE);
    }

    #[test]
    fn one_number_of_many_digits_says_that_the_others_are_exact_too() {
        assert_eq!(tolerance(&["0.0", "0.028263347223401"], 0.0), DIFFERENCE);
        assert_eq!(
            tolerance(&["363.0", "362.123456789"], 363.0),
            363.0 * SINGLE
        );
    }

    #[test]
    fn what_is_reported_has_no_floor() {
        let texts = ["1e-06", "9.5e-07"];
        let precision = Precision::of(texts, true);
        assert!(precision.tolerance(1e-6) < 1e-11);
        assert_eq!(tolerance(&["363"], 363.0), 363.0 * SINGLE);
    }
}
