//! Options that are words.

use std::str::FromStr;

use super::value::{Given, OptionKind, OptionValue, expected, listed, refuse};
use super::{OnFailure, Scope};
use crate::dialect::Dialect;
use crate::row::cadence::Strategy;
use crate::row::filter::Mode;
use crate::row::window::Windowing;
use crate::shard::{KlKind, Retain};

/// The words of a type, and what each stands for.
type Words<T> = [(&'static str, T)];

/// What `given` stands for: words of a command's line have hyphens, those of Python and files have underscores.
///
/// # Errors
/// If it is none of `words`.
pub(super) fn read<T: Copy>(words: &Words<T>, given: &Given) -> Result<T, String> {
    let found = match given {
        Given::Text(word) => {
            let word = word.replace('-', "_");
            words.iter().find(|(known, _)| *known == word)
        }
        _ => None,
    };
    found
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| expected(&listed(&names(words)), given))
}

pub(super) fn give<T: Copy + PartialEq>(words: &Words<T>, meaning: T) -> Given {
    let found = words.iter().find(|(_, known)| *known == meaning);
    found.map_or(Given::Nothing, |(word, _)| Given::Text((*word).to_owned()))
}

fn names<T>(words: &Words<T>) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}

/// Options of these types take these words; those that are `parsed`, other spellings of them as well.
macro_rules! words {
    ($($type:ident: $($word:literal $variant:ident),+ $(; $parsed:ident)?.)+) => {$(
        impl OptionValue for $type {
            type Told = Self;
            const KIND: OptionKind = OptionKind::Word {
                words: || vec![$($word),+],
                spelt: words!(@is $($parsed)?),
            };

            fn told(told: Self) -> Self {
                told
            }

            fn read(given: Given) -> Result<Self, String> {
                words!(@read given, [$($word $variant),+] $($parsed)?)
            }

            fn give(&self) -> Given {
                give(&[$(($word, Self::$variant)),+], *self)
            }
        }
    )+};
    (@is) => { false };
    (@is parsed) => { true };
    (@read $given:ident, [$($word:literal $variant:ident),+]) => {
        read(&[$(($word, Self::$variant)),+], &$given)
    };
    (@read $given:ident, $words:tt parsed) => {
        parse(&$given)
    };
}

/// # Errors
/// As the type's own reading says.
fn parse<T: OptionValue + FromStr<Err: ToString>>(given: &Given) -> Result<T, String> {
    match given {
        Given::Text(word) => word.parse().map_err(|error: T::Err| error.to_string()),
        _ => Err(refuse::<T>(given)),
    }
}

words! {
    Windowing: "mean" Mean, "pooled" Pooled.
    Scope: "global" Global, "local" Local.
    OnFailure: "fail" Fail, "go_on" GoOn.
    Retain: "exact" Exact, "sketch" Sketch.
    KlKind: "k1" K1, "abs" Abs, "k2" K2, "k3" K3.
    Mode: "full" Full, "slim" Slim; parsed.
    Strategy: "steps" Steps, "epoch" Epoch, "no" No; parsed.
}

impl OptionValue for Dialect {
    type Told = Self;
    const KIND: OptionKind = OptionKind::Word {
        words: || Self::ALL.iter().map(|dialect| dialect.name()).collect(),
        spelt: false,
    };

    fn told(told: Self) -> Self {
        told
    }

    fn read(given: Given) -> Result<Self, String> {
        parse(&given)
    }

    fn give(&self) -> Given {
        Given::Text(self.name().to_owned())
    }
}
