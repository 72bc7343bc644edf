//! Single values of a record's JSON: what each field takes, and the word for what it found instead.

mod kind;

use std::cell::{Cell as Slot, RefCell};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fault::{At, Fault};
pub(super) use kind::{
    Bit, Id, Kind, Maybe, Natural, Natural64, Number, NumberOrBit, Single, Text,
};

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
