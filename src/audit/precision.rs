//! How exactly a logged number says what it says.

/// Where no number of a key has more significant digits than this, they were rounded: what comes out of arithmetic has more.
const ROUNDED: i32 = 7;

/// So many decimals a rounded number may have, if it shows fewer: JSON writes 0.2500 as 0.25.
const DECIMALS: i32 = 4;

/// And so many a whole log is taken to be rounded to at least.
const FEWEST: i32 = 2;

/// So many significant digits are the fewest that a log's numbers are taken to be rounded to.
const SIGNIFICANT: i32 = 3;

/// So many numbers that go as far as any say that a whole log was rounded: what happens to be 0.5 is not many.
const MANY: usize = 20;

/// The share of a number that single precision may be off by, over a sum of many: some tens of units of 2^-23.
pub const SINGLE: f64 = 5e-6;

/// And what it may be off by where the number is a small difference of numbers near 1, as k3 of two policies that are nearly the same is:
/// 2^-22.
pub const DIFFERENCE: f64 = 2.4e-7;

/// Half a unit, and what a tie that was rounded in binary may be more than that.
const HALF: f64 = 0.5 * (1.0 + 1e-6);

/// A number's digits as it is written.
#[derive(Clone, Copy, Debug)]
struct Digits {
    significant: i32,
    /// Behind the point, if there is one.
    decimals: Option<i32>,
    exponent: i32,
}

impl Digits {
    fn of(text: &str) -> Self {
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let all = digits.bytes().filter(u8::is_ascii_digit);
        let count = |digits: usize| i32::try_from(digits).unwrap_or(i32::MAX);
        let decimals = digits.split_once('.');
        Self {
            significant: count(all.skip_while(|digit| *digit == b'0').count()),
            decimals: decimals.map(|(_, decimals)| count(decimals.len())),
            exponent: exponent.parse().unwrap_or(0),
        }
    }

    /// The place of the last digit that is shown, or would be if so many decimals were.
    fn last(self, at_least: i32) -> Option<i32> {
        let decimals = self.decimals?.max(at_least);
        Some(decimals.saturating_sub(self.exponent))
    }
}

/// How all of a log's numbers are rounded, where they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    /// To so many significant digits, as `%.4g` writes.
    significant: Option<i32>,
    /// To so many decimals at least.
    decimals: i32,
}

impl Rounding {
    /// Of the numbers of all keys.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        // As 3.0 a count is written too, rounded or not.
        let all = texts.into_iter().filter(|text| !text.ends_with(".0"));
        let all = all.map(Digits::of);
        let all: Vec<Digits> = all.filter(|digits| digits.decimals.is_some()).collect();
        let places = |digits: &Digits| digits.last(0);
        let significant = all.iter().map(|digits| digits.significant).max();
        let decimals = all.iter().filter_map(places).max();
        let (Some(significant), Some(decimals)) = (significant, decimals) else {
            return Self::none();
        };
        let full = all
            .iter()
            .filter(|digits| digits.significant == significant);
        let full: Vec<i32> = full.filter_map(places).collect();
        let far = all.iter().filter(|digits| places(digits) == Some(decimals));
        // As many digits at every size, and not as many decimals.
        let at_every_size = full.iter().any(|places| Some(places) != full.first());
        if at_every_size && full.len() >= MANY {
            let is_few = (SIGNIFICANT..=ROUNDED).contains(&significant);
            return Self {
                significant: is_few.then_some(significant),
                ..Self::none()
            };
        }
        Self {
            decimals: if far.count() >= MANY {
                decimals.clamp(FEWEST, DECIMALS)
            } else {
                DECIMALS
            },
            ..Self::none()
        }
    }

    const fn none() -> Self {
        Self {
            significant: None,
            decimals: DECIMALS,
        }
    }
}

/// How exactly the numbers of a key are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precision {
    /// Half a unit of the last decimal, of a key whose numbers are rounded; else 0.
    rounded: f64,
    /// How many significant digits its numbers are rounded to, where they are.
    significant: Option<i32>,
    /// What a number near 0 may be off by.
    floor: f64,
}

impl Precision {
    /// Of all of a key's numbers, as the log has them. What a trainer reports, such as its learning rate, is not computed, and so has no
    /// floor.
    pub fn of<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        is_reported: bool,
        log: Rounding,
    ) -> Self {
        let mut places = None;
        let mut is_rounded = true;
        for digits in texts.into_iter().map(Digits::of) {
            is_rounded &= digits.significant <= ROUNDED;
            places = places.max(digits.last(log.decimals));
        }
        Self {
            rounded: match places.filter(|_| is_rounded) {
                Some(places) => HALF * 10_f64.powi(places.saturating_neg()),
                None => 0.0,
            },
            significant: log.significant.filter(|_| is_rounded),
            floor: if is_reported { 0.0 } else { DIFFERENCE },
        }
    }

    /// How far the number that was meant may be from this one.
    /// Nothing is near a number that is none.
    pub fn tolerance(self, value: f64) -> f64 {
        if !value.is_finite() {
            return 0.0;
        }
        let size = value.abs();
        let of_digits = match self.significant {
            Some(digits) if size > 0.0 => {
                HALF * 10_f64.powf(size.log10().floor() + f64::from(1 - digits))
            }
            _ => 0.0,
        };
        let rounded = self.rounded.max(of_digits);
        rounded.max(size * SINGLE).max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tolerance(texts: &[&str], value: f64) -> f64 {
        let log = Rounding::none();
        Precision::of(texts.iter().copied(), false, log).tolerance(value)
    }

    #[test]
    fn a_key_of_few_digits_is_meant_to_half_its_last_one() {
        assert_eq!(tolerance(&["0.1295", "0.25"], 0.1295), HALF * 1e-4);
        assert_eq!(tolerance(&["0.12951", "0.25"], 0.25), HALF * 1e-5);
        assert_eq!(tolerance(&["2.6875"], 2.6875), HALF * 1e-4);
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
    fn a_tie_is_within_half_a_digit_whichever_way_it_was_rounded() {
        let off: f64 = 0.054_688 - 0.054_687_5;
        assert!(off > 0.5e-6 && off < tolerance(&["0.054688", "0.109375"], 0.054_688));
    }

    /// Numbers of all sizes, as this writes them.
    fn log(written: fn(f64) -> String) -> Rounding {
        let numbers = (1..60).map(|nth| 1.7_f64.powi(nth - 30) * 1.234_567_891_2);
        let texts: Vec<String> = numbers.map(written).collect();
        Rounding::of(texts.iter().map(String::as_str))
    }

    #[test]
    fn a_log_of_as_many_significant_digits_at_every_size_is_meant_to_half_the_last() {
        let of = log(|number| format!("{number:.3e}"));
        let precision = Precision::of(["2.466", "2.5"], false, of);
        assert_eq!(precision.tolerance(2.466), HALF * 1e-3);
        let precision = Precision::of(["3.125e-02", "1.024e+05"], false, of);
        assert_eq!(precision.tolerance(102_400.0), HALF * 1e2);
        // A key that has more digits than that was not rounded.
        let precision = Precision::of(["2.46651332", "2.5"], false, of);
        assert_eq!(precision.tolerance(2.5), 2.5 * SINGLE);
        assert_eq!(log(|number| format!("{number}")), Rounding::none());
    }

    #[test]
    fn a_log_of_few_decimals_is_meant_to_half_the_last() {
        let of = log(|number| format!("{number:.3}"));
        let precision = Precision::of(["2.47", "2.5"], false, of);
        assert_eq!(precision.tolerance(2.47), HALF * 1e-3);
        assert_eq!(
            log(|number| format!("{:.1}", number.round())),
            Rounding::none()
        );
        // Five numbers that have no more are no sign of it.
        let few = Rounding::of(["0.125", "0.5", "0.625", "12.375", "3.875"]);
        assert_eq!(few, Rounding::none());
    }

    #[test]
    fn nothing_is_near_an_infinity() {
        assert_eq!(tolerance(&["Infinity"], f64::INFINITY), 0.0);
    }

    #[test]
    fn what_is_reported_has_no_floor() {
        let texts = ["1e-06", "9.5e-07"];
        let precision = Precision::of(texts, true, Rounding::none());
        assert!(precision.tolerance(1e-6) < 1e-11);
        assert_eq!(tolerance(&["363"], 363.0), 363.0 * SINGLE);
    }
}
