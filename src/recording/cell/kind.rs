//! What the fields of a record take.

use std::marker::PhantomData;

use super::Cell;
use crate::batch::group::GroupId;

/// What a field takes.
pub(in crate::recording) trait Kind {
    type Value;
    const EXPECTED: &'static str;
    const NULLABLE: bool = false;

    fn of(cell: Cell<'_>) -> Option<Self::Value>;
}

/// A double. JSON has no non-finite numbers: they are texts.
pub(in crate::recording) enum Number {}

impl Kind for Number {
    type Value = f64;
    const EXPECTED: &'static str = r#"a number, "NaN", "Infinity" or "-Infinity""#;

    #[inline]
    fn of(cell: Cell<'_>) -> Option<f64> {
        match cell {
            Cell::Float(x) => Some(x),
            Cell::Unsigned(x) => Some(x as f64),
            Cell::Negative(x) => Some(x as f64),
            Cell::Text("NaN") => Some(f64::NAN),
            Cell::Text("Infinity") => Some(f64::INFINITY),
            Cell::Text("-Infinity") => Some(f64::NEG_INFINITY),
            _ => None,
        }
    }
}

/// A double of a token column, rounded to the single that it is in memory, as `NumPy` rounds it.
pub(in crate::recording) enum Single {}

impl Kind for Single {
    type Value = f32;
    const EXPECTED: &'static str = Number::EXPECTED;

    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    fn of(cell: Cell<'_>) -> Option<f32> {
        Number::of(cell).map(|x| x as f32)
    }
}

/// A number that trainers also give as true (1) or false (0).
pub(in crate::recording) enum NumberOrBit {}

impl Kind for NumberOrBit {
    type Value = f64;
    const EXPECTED: &'static str = Number::EXPECTED;

    fn of(cell: Cell<'_>) -> Option<f64> {
        match cell {
            Cell::Bool(x) => Some(f64::from(u8::from(x))),
            cell => Number::of(cell),
        }
    }
}

/// A whole number from 0; 3.0 is one too.
pub(in crate::recording) enum Natural64 {}

impl Kind for Natural64 {
    type Value = u64;
    const EXPECTED: &'static str = "a whole number from 0 to 18446744073709551615";

    #[inline]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn of(cell: Cell<'_>) -> Option<u64> {
        // From here on not every whole number is a double, so one that is may have been another.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match cell {
            Cell::Unsigned(x) => Some(x),
            Cell::Float(x) if x.fract() == 0.0 && (0.0..EXACT).contains(&x) => Some(x as u64),
            _ => None,
        }
    }
}

/// A whole number from 0 that fits into 32 bits.
pub(in crate::recording) enum Natural {}

impl Kind for Natural {
    type Value = u32;
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";

    #[inline]
    fn of(cell: Cell<'_>) -> Option<u32> {
        Natural64::of(cell).and_then(|x| u32::try_from(x).ok())
    }
}

/// A group's id.
pub(in crate::recording) enum Id {}

impl Kind for Id {
    type Value = GroupId;
    const EXPECTED: &'static str = "a whole number from 0 to 18446744073709551615, or a text";

    #[inline]
    fn of(cell: Cell<'_>) -> Option<GroupId> {
        match cell {
            Cell::Text(text) => Some(text.into()),
            cell => Natural64::of(cell).map(GroupId::from),
        }
    }
}

/// True or false, or 1 or 0.
pub(in crate::recording) enum Bit {}

impl Kind for Bit {
    type Value = bool;
    const EXPECTED: &'static str = "true, false, 0 or 1";

    #[inline]
    fn of(cell: Cell<'_>) -> Option<bool> {
        match cell {
            Cell::Bool(x) => Some(x),
            cell => match Natural64::of(cell)? {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
        }
    }
}

pub(in crate::recording) enum Text {}

impl Kind for Text {
    type Value = String;
    const EXPECTED: &'static str = "a text";

    fn of(cell: Cell<'_>) -> Option<String> {
        match cell {
            Cell::Text(text) => Some(text.to_owned()),
            _ => None,
        }
    }
}

/// `K`, or null.
pub(in crate::recording) struct Maybe<K>(PhantomData<K>);

impl<K: Kind> Kind for Maybe<K> {
    type Value = Option<K::Value>;
    const EXPECTED: &'static str = K::EXPECTED;
    const NULLABLE: bool = true;

    #[inline]
    fn of(cell: Cell<'_>) -> Option<Option<K::Value>> {
        match cell {
            Cell::Null => Some(None),
            cell => K::of(cell).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_taken_whatever_their_spelling() {
        assert_eq!(Natural64::of(Cell::Unsigned(u64::MAX)), Some(u64::MAX));
        assert_eq!(Natural64::of(Cell::Float(3.0)), Some(3));
        assert_eq!(Natural64::of(Cell::Float(9_007_199_254_740_992.0)), None);
        assert_eq!(Natural64::of(Cell::Float(-1.0)), None);
        assert_eq!(Natural64::of(Cell::Bool(true)), None);
        assert_eq!(Natural::of(Cell::Unsigned(1 << 32)), None);
        assert_eq!(Bit::of(Cell::Float(1.0)), Some(true));
        assert_eq!(Bit::of(Cell::Unsigned(2)), None);
    }

    #[test]
    fn a_single_is_the_double_rounded() {
        // Rounded at once, this decimal is another single.
        let text = "7.038531e-26";
        let double: f64 = text.parse().unwrap();
        let at_once: f32 = text.parse().unwrap();
        let taken = Single::of(Cell::Float(double)).unwrap();
        assert_eq!(taken.to_bits(), 0x15ae_43fe);
        assert_eq!(at_once.to_bits(), 0x15ae_43fd);
    }
}
