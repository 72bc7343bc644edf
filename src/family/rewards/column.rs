//! Columns of rewards: one value a completion, kept so that quantiles can be read off.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::batch::Values;
use crate::stat::{Census, Finite, Moments, Order, Quantile, Sketch, Statistic};

/// How the values of reward columns are kept for their quantiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retain {
    /// Every value, equal ones with a count: quantiles are exact. 8 bytes a value.
    #[default]
    Exact,
    /// A [`Sketch`]: quantiles within 1 %, in memory that does not grow with the completions. Minimum and maximum stay exact.
    Sketch,
}

impl fmt::Display for Retain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Sketch => "sketched",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kept {
    Values(Order),
    Sketch(Sketch),
}

impl Default for Kept {
    fn default() -> Self {
        Self::Values(Order::default())
    }
}

/// A column with one value a completion: count, moments, and its values for quantiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub census: Census,
    pub moments: Moments,
    kept: Kept,
}

impl Column {
    pub fn of(values: &Values<'_>) -> Self {
        let mut column = Self::default();
        if let Some(values) = values.whole() {
            column.add(values);
        } else {
            let present: Vec<f64> = values.iter().flatten().collect();
            column.census.absent = (values.len() - present.len()) as u64;
            column.add(&present);
        }
        column
    }

    fn add(&mut self, samples: &[f64]) {
        if let Kept::Values(order) = &mut self.kept {
            order.reserve(samples.len());
        }
        let used = Finite::each(samples, |values| {
            self.moments.add_finite(values);
            match &mut self.kept {
                Kept::Values(order) => order.add_finite(values),
                Kept::Sketch(sketch) => sketch.add_finite(values),
            }
        });
        self.census.saw(used, samples.len() as u64 - used);
    }

    /// The values that the wire left out because the groups bring them.
    pub fn keep(&mut self, samples: &[f64]) {
        match &mut self.kept {
            Kept::Values(order) => order.add(samples),
            Kept::Sketch(sketch) => sketch.add(samples),
        }
    }

    /// The column less values that are kept elsewhere too; the column itself where it is a sketch.
    pub fn without(&self, values: impl Iterator<Item = f64>) -> Option<Self> {
        let kept = match &self.kept {
            Kept::Values(order) => Kept::Values(order.without(values)?),
            Kept::Sketch(_) => self.kept.clone(),
        };
        Some(Self {
            census: self.census,
            moments: self.moments.clone(),
            kept,
        })
    }

    /// How its values are kept; `None` where it has none, and so fits either way.
    pub fn retain(&self) -> Option<Retain> {
        match &self.kept {
            Kept::Values(order) => (!order.is_empty()).then_some(Retain::Exact),
            Kept::Sketch(_) => Some(Retain::Sketch),
        }
    }

    pub fn is_sketch(&self) -> bool {
        matches!(self.kept, Kept::Sketch(_))
    }

    /// Keeps a sketch of its values from here on.
    pub fn sketch(&mut self) {
        if let Kept::Values(order) = &self.kept
            && !order.is_empty()
        {
            let mut sketch = Sketch::default();
            for (value, count) in order.iter() {
                sketch.add_times(value, count);
            }
            self.kept = Kept::Sketch(sketch);
        }
    }

    /// Takes in `other`, whose values are kept alike; the caller has checked that.
    pub fn merge(&mut self, other: Self) {
        let Self {
            census,
            moments,
            kept,
        } = other;
        self.census.merge(&census);
        self.moments.merge(&moments);
        match (&mut self.kept, kept) {
            (Kept::Values(mine), Kept::Values(theirs)) => mine.append(theirs),
            (Kept::Sketch(mine), Kept::Sketch(theirs)) => mine.merge(&theirs),
            // The one of the two that holds values.
            (Kept::Values(_), kept @ Kept::Sketch(_)) => self.kept = kept,
            (Kept::Sketch(_), Kept::Values(_)) => {}
        }
    }

    /// Its values, where they are all kept.
    pub fn order(&self) -> Option<&Order> {
        match &self.kept {
            Kept::Values(order) => Some(order),
            Kept::Sketch(_) => None,
        }
    }

    /// One result a quantile; `None` when empty.
    pub fn quantiles(&self, wanted: &[Quantile]) -> Option<Vec<f64>> {
        match &self.kept {
            Kept::Values(order) => order.quantiles(wanted),
            Kept::Sketch(sketch) => wanted.iter().map(|&q| sketch.quantile(q)).collect(),
        }
    }

    /// Whether count, moments and values are of equally many values.
    pub fn is_consistent(&self) -> bool {
        let kept = match &self.kept {
            Kept::Values(order) => order.len(),
            Kept::Sketch(sketch) => sketch.count(),
        };
        self.census.used == self.moments.count() && self.census.used == kept
    }
}
