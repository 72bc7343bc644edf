//! Single values of a record's JSON: what each field takes, and the word for what it found instead.

use std::cell::{Cell as Slot, RefCell};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fault::{At, Fault};

/// What the reading of one record has found out so far: where it is, and what is wrong with it.
///
/// serde carries errors as text; the fault itself waits here.
#[derive(Debug, Default)]
pub(super) struct Reading {
    fault: RefCell<Option<Fault>>,
    pub step: Slot<Option<u64>>,
    pub rank: Slot<Option<u32>>,
    pub micro: Slot<Option<u32>>,
}

impl Reading {
    /// Keeps the fault and gives serde something to stop at.
    pub fn refuse<E: de::Error>(&self, fault: Fault) -> E {
        *self.fault.borrow_mut() = Some(fault);
        E::custom("refused")
    }

    pub fn fault(&self) -> Option<Fault> {
        self.fault.take()
    }

    /// `at`, with what the record has said of itself.
    pub fn place(&self, at: At) -> At {
        At {
            step: self.step.get().or(at.step),
            rank: self.rank.get().or(at.rank),
            micro: self.micro.get().or(at.micro),
            ..at
        }
    }
}

/// One JSON value, as far as a message needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Text(&'a str),
    Array,
    Object,
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 40;
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(x) => write!(f, "{x}"),
            Self::Unsigned(x) => write!(f, "{x}"),
            Self::Negative(x) => write!(f, "{x}"),
            Self::Float(x) => write!(f, "{x:?}"),
            Self::Text(x) if x.chars().count() <= SHOWN => write!(f, "the text {x:?}"),
            Self::Text(x) => {
                let start: String = x.chars().take(SHOWN).collect();
                write!(f, "a text that starts with {start:?}")
            }
            Self::Array => f.write_str("an array"),
            Self::Object => f.write_str("an object"),
        }
    }
}

/// What a field takes.
pub(super) trait Kind {
    type Value;
    const EXPECTED: &'static str;
    const NULLABLE: bool = false;

    fn of(cell: Cell<'_>) -> Option<Self::Value>;
}

/// A double. JSON has no non-finite numbers: they are texts.
pub(super) enum Number {}

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
pub(super) enum Single {}

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
pub(super) enum NumberOrBit {}

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
pub(super) enum Natural64 {}

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
pub(super) enum Natural {}

impl Kind for Natural {
    type Value = u32;
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";

    #[inline]
    fn of(cell: Cell<'_>) -> Option<u32> {
        Natural64::of(cell).and_then(|x| u32::try_from(x).ok())
    }
}

/// True or false, or 1 or 0.
pub(super) enum Bit {}

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

pub(super) enum Text {}

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
pub(super) struct Maybe<K>(PhantomData<K>);

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

fn expected<K: Kind>() -> String {
    let null = if K::NULLABLE { ", or null" } else { "" };
    format!("{}{null}", K::EXPECTED)
}

/// Hands every value that is neither an array nor an object to `self.take`.
macro_rules! take_cells {
    ($value:ty) => {
        #[inline]
        fn visit_bool<E: de::Error>(self, x: bool) -> Result<$value, E> {
            self.take(Cell::Bool(x))
        }

        #[inline]
        fn visit_u64<E: de::Error>(self, x: u64) -> Result<$value, E> {
            self.take(Cell::Unsigned(x))
        }

        #[inline]
        fn visit_i64<E: de::Error>(self, x: i64) -> Result<$value, E> {
            self.take(u64::try_from(x).map_or(Cell::Negative(x), Cell::Unsigned))
        }

        #[inline]
        fn visit_f64<E: de::Error>(self, x: f64) -> Result<$value, E> {
            self.take(Cell::Float(x))
        }

        fn visit_str<E: de::Error>(self, x: &str) -> Result<$value, E> {
            self.take(Cell::Text(x))
        }

        fn visit_unit<E: de::Error>(self) -> Result<$value, E> {
            self.take(Cell::Null)
        }
    };
}
pub(super) use take_cells;

/// Reads over an array that nobody wants, so that what is wrong is the array and not what comes after it.
pub(super) fn skip_array<'de, A: SeqAccess<'de>>(mut array: A) -> Result<(), A::Error> {
    while array.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn skip_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<(), A::Error> {
    while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Reads one value of a field.
pub(super) struct One<'c, K> {
    reading: &'c Reading,
    field: &'c str,
    index: Option<usize>,
    kind: PhantomData<K>,
}

impl<'c, K: Kind> One<'c, K> {
    pub fn new(reading: &'c Reading, field: &'c str) -> Self {
        Self {
            reading,
            field,
            index: None,
            kind: PhantomData,
        }
    }

    #[inline]
    fn take<E: de::Error>(self, cell: Cell<'_>) -> Result<K::Value, E> {
        K::of(cell).ok_or_else(|| self.refuse(cell))
    }

    #[cold]
    fn refuse<E: de::Error>(&self, cell: Cell<'_>) -> E {
        let index = self.index.map(|index| format!("[{index}]"));
        self.reading.refuse(Fault::Cell {
            field: format!("{}{}", self.field, index.unwrap_or_default()),
            expected: expected::<K>(),
            found: cell.to_string(),
        })
    }
}

impl<'de, K: Kind> DeserializeSeed<'de> for One<'_, K> {
    type Value = K::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<K::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, K: Kind> Visitor<'de> for One<'_, K> {
    type Value = K::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(K::EXPECTED)
    }

    take_cells!(K::Value);

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<K::Value, A::Error> {
        skip_array(array)?;
        self.take(Cell::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<K::Value, A::Error> {
        skip_object(object)?;
        self.take(Cell::Object)
    }
}

/// Reads a column; a null one was not given.
pub(super) struct Many<'c, K> {
    reading: &'c Reading,
    field: &'c str,
    kind: PhantomData<K>,
}

impl<'c, K: Kind> Many<'c, K> {
    pub fn new(reading: &'c Reading, field: &'c str) -> Self {
        Self {
            reading,
            field,
            kind: PhantomData,
        }
    }

    fn take<E: de::Error>(self, cell: Cell<'_>) -> Result<Option<Vec<K::Value>>, E> {
        if cell == Cell::Null {
            return Ok(None);
        }
        Err(self.reading.refuse(Fault::Cell {
            field: self.field.to_owned(),
            expected: "an array, or null".to_owned(),
            found: cell.to_string(),
        }))
    }
}

impl<'de, K: Kind> DeserializeSeed<'de> for Many<'_, K> {
    type Value = Option<Vec<K::Value>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, K: Kind> Visitor<'de> for Many<'_, K> {
    type Value = Option<Vec<K::Value>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    take_cells!(Self::Value);

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut cells = Vec::new();
        while let Some(cell) = array.next_element_seed(One::<K> {
            reading: self.reading,
            field: self.field,
            index: Some(cells.len()),
            kind: PhantomData,
        })? {
            cells.push(cell);
        }
        Ok(Some(cells))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        skip_object(object)?;
        self.take(Cell::Object)
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
