//! What somebody gives as an option, whatever the surface, and how each type of option reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::batch::scalars::ClipRange;

/// A value as flags, a file, JSON or Python give it: read by the option that it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Given {
    /// Not given after all.
    Nothing,
    /// On or off.
    Switch(bool),
    /// A whole number.
    Whole(i64),
    /// Any number: NaN and infinities too, which the option refuses by its name.
    Number(f64),
    /// A text, or a word.
    Text(String),
    /// Several in their order: the sides of a range, a fold over ranks and one over a window.
    List(Vec<Given>),
    /// Several by their names: limits, folds, texts of the run.
    Table(BTreeMap<String, Given>),
}

/// What a type of option takes.
#[derive(Clone, Copy, Debug)]
pub enum OptionKind {
    /// True or false.
    Switch,
    /// A whole number.
    Whole,
    /// Any number.
    Number,
    /// Whole numbers, in a list.
    Wholes,
    /// Two numbers, low and high.
    Range,
    /// A reward component's name; with a threshold, two options at once.
    Component,
    /// One of these words.
    Word {
        /// Those that there are.
        words: fn() -> Vec<&'static str>,
        /// Whether other spellings of them are taken as well.
        spelt: bool,
    },
    /// Names, each with one of these.
    Table(&'static OptionKind),
    /// How a metric folds, in a word, or in two: over ranks and over a window.
    Fold,
    /// One bound, or a lower and an upper.
    Bounds,
    /// Any text.
    Text,
}

impl fmt::Display for OptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("true or false"),
            Self::Whole => f.write_str("a whole number"),
            Self::Number => f.write_str("a number"),
            Self::Wholes => f.write_str("a list of whole numbers"),
            Self::Range => f.write_str("two numbers, (low, high)"),
            Self::Component => f.write_str("a reward component, or (component or none, threshold)"),
            Self::Word { words, .. } => f.write_str(&listed(&words())),
            Self::Table(of) => write!(f, "names, each with {of}"),
            Self::Fold => f.write_str("a fold, or (fold, window fold)"),
            Self::Bounds => f.write_str("a bound, or (lower, upper)"),
            Self::Text => f.write_str("a text"),
        }
    }
}

/// `a, b or c`.
pub(super) fn listed(words: &[&str]) -> String {
    match words {
        [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => words.concat(),
    }
}

/// As a message shows what it found: texts between backticks.
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Switch(on) => write!(f, "{on}"),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "`{text}`"),
            Self::List(list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                write!(f, "({})", list.join(", "))
            }
            Self::Table(_) => f.write_str("a table"),
        }
    }
}

/// A type that options have.
pub trait OptionValue: Sized {
    /// How the builder is handed it: of an option that may be none, what it is otherwise.
    type Told;
    /// What it takes.
    const KIND: OptionKind;

    /// The option that the builder was handed.
    fn told(told: Self::Told) -> Self;

    /// The option that was given.
    ///
    /// # Errors
    /// What was expected, and what was found.
    fn read(given: Given) -> Result<Self, String>;

    /// What would be read as this.
    fn give(&self) -> Given;

    /// The number that must make sense, if it is one.
    fn number(&self) -> Option<f64> {
        None
    }
}

/// What was found is none of what the type takes.
pub(super) fn refuse<T: OptionValue>(found: &Given) -> String {
    expected(&T::KIND, found)
}

pub(super) fn expected(expected: &impl fmt::Display, found: &Given) -> String {
    format!("expected {expected}, found {found}")
}

impl<T: OptionValue> OptionValue for Option<T> {
    type Told = T::Told;
    const KIND: OptionKind = T::KIND;

    fn told(told: Self::Told) -> Self {
        Some(T::told(told))
    }

    fn read(given: Given) -> Result<Self, String> {
        match given {
            Given::Nothing => Ok(None),
            given => T::read(given).map(Some),
        }
    }

    fn give(&self) -> Given {
        self.as_ref().map_or(Given::Nothing, T::give)
    }

    fn number(&self) -> Option<f64> {
        self.as_ref().and_then(T::number)
    }
}

/// A type that the builder is handed as it is.
macro_rules! plain {
    ($type:ty, $kind:expr, $read:expr, $give:expr, $number:expr) => {
        impl OptionValue for $type {
            type Told = Self;
            const KIND: OptionKind = $kind;

            fn told(told: Self) -> Self {
                told
            }

            fn read(given: Given) -> Result<Self, String> {
                let read: fn(&Given) -> Option<Self> = $read;
                read(&given).ok_or_else(|| refuse::<Self>(&given))
            }

            fn give(&self) -> Given {
                let give: fn(&Self) -> Given = $give;
                give(self)
            }

            fn number(&self) -> Option<f64> {
                let number: fn(&Self) -> Option<f64> = $number;
                number(self)
            }
        }
    };
}

plain!(
    bool,
    OptionKind::Switch,
    |given| match given {
        Given::Switch(on) => Some(*on),
        _ => None,
    },
    |on| Given::Switch(*on),
    |_| None
);

plain!(
    i64,
    OptionKind::Whole,
    |given| match given {
        Given::Whole(number) => Some(*number),
        _ => None,
    },
    |number| Given::Whole(*number),
    |number| Some(*number as f64)
);

plain!(
    u32,
    OptionKind::Whole,
    |given| match given {
        Given::Whole(number) => u32::try_from(*number).ok(),
        _ => None,
    },
    |number| Given::Whole((*number).into()),
    |number| Some((*number).into())
);

plain!(
    f64,
    OptionKind::Number,
    |given| match given {
        Given::Number(number) => Some(*number),
        Given::Whole(number) => Some(*number as f64),
        _ => None,
    },
    |number| Given::Number(*number),
    |number| Some(*number)
);

plain!(
    BTreeSet<u32>,
    OptionKind::Wholes,
    |given| match given {
        Given::List(list) => {
            let numbers = list.iter().cloned().map(u32::read);
            numbers.collect::<Result<_, _>>().ok()
        }
        _ => None,
    },
    |list| Given::List(list.iter().map(OptionValue::give).collect()),
    |list| list.first().map(|least| (*least).into())
);

plain!(
    String,
    OptionKind::Component,
    |given| match given {
        Given::Text(text) => Some(text.clone()),
        _ => None,
    },
    |text| Given::Text(text.clone()),
    |_| None
);

plain!(
    ClipRange,
    OptionKind::Range,
    |given| match given {
        Given::List(sides) => match &sides[..] {
            [low, high] => {
                let side = |side: &Given| f64::read(side.clone()).ok();
                Some(Self::new(side(low)?, side(high)?))
            }
            _ => None,
        },
        _ => None,
    },
    |range| Given::List(vec![Given::Number(range.low), Given::Number(range.high)]),
    |_| None
);
