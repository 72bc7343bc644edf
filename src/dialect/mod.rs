//! Names: each dialect is a table that says which key stands for which number of a [`Summary`]. Adding a key is adding a line.

mod extended;
#[cfg(feature = "sqlite")]
mod first;
#[cfg(feature = "sqlite")]
pub(crate) mod glance;
#[cfg(feature = "serve")]
mod groups;
mod known;
mod maxent;
mod nemo_rl;
mod openrlhf;
mod prime_rl;
mod row;
mod skyrl;
mod trl;
mod tunix;
mod verl;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use crate::batch::scalars::WindowFold;
use crate::summary::{
    Attempts, BestNumbers, BucketNumbers, Census, ConditionNumbers, Detail, Distribution,
    RejectedNumbers, Retain, Summary, TagNumbers,
};
pub use row::Named;
use thiserror::Error;

/// How the numbers of a key's samples become one, over ranks, micro-batches and a pooled window alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Mean over all samples (never over means).
    Mean,
    /// Standard deviation over all samples.
    Std,
    /// The smallest of all samples.
    Min,
    /// The largest of all samples.
    Max,
    /// Exact quantile over all samples.
    Quantile,
    /// Samples with a property, over all samples.
    Share,
    /// The sum of all samples.
    Sum,
    /// A reported scalar, as RECORDING.md declares its fold.
    Declared,
    /// Of the last step.
    Last,
    /// Computed from other numbers of the row.
    Derived,
}

impl Reduction {
    /// One word for the key table.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Std => "std",
            Self::Min => "min",
            Self::Max => "max",
            Self::Quantile => "quantile",
            Self::Share => "share",
            Self::Sum => "sum",
            Self::Declared => "declared",
            Self::Last => "last",
            Self::Derived => "derived",
        }
    }
}

/// Where a key's number comes from.
#[derive(Clone, Copy, Debug)]
pub enum Take {
    /// One number of the summary.
    Number(fn(&Summary) -> Option<f64>),
    /// One number a reward component; the key's `{name}` is the component's.
    Component(fn(&Distribution) -> Option<f64>),
    /// One number a length bucket; the key's `{bucket}` is the bucket's.
    Bucket(fn(&BucketNumbers) -> Option<f64>),
    /// A reward component's correlation with the total; `{name}` is the component's.
    Correlation,
    /// One number a k of pass@k; the key's `{k}` is that k.
    Attempts(fn(&Attempts) -> Option<f64>),
    /// One number a k of best@k; the key's `{k}` is that k.
    Best(fn(&BestNumbers) -> Option<f64>),
    /// One number a reason why completions ended; the key's `{condition}` is the reason.
    Condition(fn(&ConditionNumbers) -> Option<f64>),
    /// One number a statistic that tokens are rejected by; the key's `{statistic}` is its name.
    Rejected(fn(&RejectedNumbers) -> Option<f64>),
    /// One number a tag; the key's `{tag}` is the tag.
    Tag(fn(&TagNumbers) -> Option<f64>),
    /// One number a family of inputs; the key's `{family}` is its name.
    Family(fn(&Census) -> Option<f64>),
    /// How many of the users' own metrics bear a name that is taken.
    KeptOut,
}

/// One key of a dialect.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The key; `{name}`, `{bucket}`, `{k}`, `{statistic}`, `{tag}`, `{condition}` or `{family}` stand for what it is taken for.
    pub key: &'static str,
    /// What the number is in: `tokens`, `nats`, `share`, `0/1`; `1` for a number without a unit.
    pub unit: &'static str,
    /// What the number is, in a few words.
    pub meaning: &'static str,
    /// How many samples become one number.
    pub reduction: Reduction,
    /// What an averaged window has of its steps' numbers (a pooled one reduces their samples): mostly their mean.
    pub window: WindowFold,
    /// Where the number comes from.
    pub take: Take,
}

impl Line {
    const fn of(
        key: &'static str,
        unit: &'static str,
        meaning: &'static str,
        reduction: Reduction,
        take: Take,
    ) -> Self {
        Self {
            key,
            unit,
            meaning,
            reduction,
            window: WindowFold::Mean,
            take,
        }
    }

    /// The same, of which an averaged window has its last step's: it counts what has been seen so far, or says where the
    /// run stands.
    const fn last_of_window(mut self) -> Self {
        self.window = WindowFold::Last;
        self
    }

    /// What the key means in a run that retains its rewards so: from a sketch, quantiles are not exact.
    #[must_use]
    pub fn meaning_in(&self, retain: Retain) -> Cow<'static, str> {
        match (self.reduction, retain, self.window) {
            (Reduction::Quantile, Retain::Sketch, _) => {
                Cow::Owned(format!("{} (from a sketch: within 1 %)", self.meaning))
            }
            (_, _, WindowFold::Last) => {
                Cow::Owned(format!("{} (averaged window: the last)", self.meaning))
            }
            _ => Cow::Borrowed(self.meaning),
        }
    }
}

/// A line that takes one number of the summary.
const fn line(
    key: &'static str,
    unit: &'static str,
    meaning: &'static str,
    reduction: Reduction,
    take: fn(&Summary) -> Option<f64>,
) -> Line {
    Line::of(key, unit, meaning, reduction, Take::Number(take))
}

/// A line for every reward component.
const fn component(
    key: &'static str,
    meaning: &'static str,
    reduction: Reduction,
    take: fn(&Distribution) -> Option<f64>,
) -> Line {
    Line::of(key, "reward", meaning, reduction, Take::Component(take))
}

/// A line for every length bucket that holds a completion.
const fn bucket(
    key: &'static str,
    unit: &'static str,
    meaning: &'static str,
    reduction: Reduction,
    take: fn(&BucketNumbers) -> Option<f64>,
) -> Line {
    Line::of(key, unit, meaning, reduction, Take::Bucket(take))
}

/// The vocabularies that a row can be written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `maxent`: the dictionary of MaxEnt-GRPO, keyed `train/`.
    #[default]
    MaxEnt,
    /// `trl`: the names and definitions of TRL's `GRPOTrainer`.
    Trl,
    /// `tunix`: the names and definitions of Tunix.
    Tunix,
    /// `verl`: the names and definitions of verl's data metrics and of its actor's own.
    Verl,
    /// `openrlhf`: the names of `OpenRLHF` for what it defines as here.
    OpenRlhf,
    /// `nemo-rl`: the names of `NeMo-RL`, likewise.
    NemoRl,
    /// `skyrl`: the names of `SkyRL`, likewise.
    SkyRl,
    /// `prime-rl`: the names of prime-rl, likewise, for an environment with one agent.
    PrimeRl,
}

impl Dialect {
    /// All of them, the default first.
    pub const ALL: &[Self] = &[
        Self::MaxEnt,
        Self::Trl,
        Self::Tunix,
        Self::Verl,
        Self::OpenRlhf,
        Self::NemoRl,
        Self::SkyRl,
        Self::PrimeRl,
    ];

    /// The dialect's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxEnt => "maxent",
            Self::Trl => "trl",
            Self::Tunix => "tunix",
            Self::Verl => "verl",
            Self::OpenRlhf => "openrlhf",
            Self::NemoRl => "nemo-rl",
            Self::SkyRl => "skyrl",
            Self::PrimeRl => "prime-rl",
        }
    }

    /// The tables of the dialect, in the order of a row.
    #[must_use]
    pub fn tables(self) -> &'static [&'static [Line]] {
        match self {
            Self::MaxEnt => maxent::TABLES,
            Self::Trl => trl::TABLES,
            Self::Tunix => tunix::TABLES,
            Self::Verl => verl::TABLES,
            Self::OpenRlhf => openrlhf::TABLES,
            Self::NemoRl => nemo_rl::TABLES,
            Self::SkyRl => skyrl::TABLES,
            Self::PrimeRl => prime_rl::TABLES,
        }
    }

    /// Every key of the dialect but the extended metrics.
    pub fn lines(self) -> impl Iterator<Item = &'static Line> {
        self.tables().iter().copied().flatten()
    }

    /// The keys of the extended metrics.
    pub fn extended_lines(self) -> impl Iterator<Item = &'static Line> {
        self.extended_tables().iter().copied().flatten()
    }

    /// How much of the completions must be counted for its keys to have their numbers, those of the extended metrics
    /// too where they are wanted.
    #[must_use]
    pub const fn detail(self, extended: bool) -> Detail {
        match self {
            _ if extended => Detail::Extended,
            Self::Verl | Self::OpenRlhf | Self::NemoRl => Detail::Policy,
            _ => Detail::Plain,
        }
    }

    /// What an averaged window has of the steps' numbers of one of the dialect's keys; `None` for a key that is none of
    /// its own, or that holds a name.
    #[must_use]
    pub fn window_fold(self, key: &str) -> Option<WindowFold> {
        self.lines()
            .find(|line| line.key == key)
            .map(|line| line.window)
    }

    /// The tables of the extended metrics, under the dialect's prefix.
    #[must_use]
    pub fn extended_tables(self) -> &'static [&'static [Line]] {
        // A key must outlive every row, so the prefixed ones are made once and kept.
        static PREFIXED: LazyLock<Vec<&'static [Line]>> = LazyLock::new(|| {
            extended::TABLES
                .iter()
                .map(|table| prefixed(table))
                .collect()
        });
        match self {
            Self::MaxEnt => &PREFIXED,
            _ => extended::TABLES,
        }
    }
}

/// The lines under `train/`.
fn prefixed(table: &[Line]) -> &'static [Line] {
    let prefixed = |line: &Line| Line {
        key: format!("train/{}", line.key).leak(),
        ..*line
    };
    table.iter().map(prefixed).collect::<Vec<_>>().leak()
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no dialect.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a dialect ({}), found `{found}`", Dialect::ALL.iter().map(|d| d.name()).collect::<Vec<_>>().join(", "))]
pub struct DialectError {
    /// The word.
    pub found: String,
}

impl FromStr for Dialect {
    type Err = DialectError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|dialect| dialect.name() == word)
            .ok_or_else(|| DialectError {
                found: word.to_owned(),
            })
    }
}
