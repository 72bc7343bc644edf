//! Columns of doubles, one a completion or group.

use ndarray::ArrayView1;

/// A per-completion (or per-group) column of doubles, borrowed. A non-finite value is counted and not used.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    values: ArrayView1<'a, f64>,
    /// True where the value does not apply; empty where every one does.
    pub(super) absent: &'a [bool],
}

impl<'a> Values<'a> {
    /// A column of which the values marked in `absent` do not apply (a `null` in a record). Both have the same length.
    #[must_use]
    pub fn masked(values: &'a [f64], absent: &'a [bool]) -> Self {
        Self {
            values: values.into(),
            absent,
        }
    }

    /// How many values there are, the absent ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The column as it lies in memory if nothing in it is absent and it has no stride.
    pub(crate) fn whole(&self) -> Option<&'a [f64]> {
        self.values
            .to_slice()
            .filter(|_| !self.absent.contains(&true))
    }

    /// The values in order, `None` where absent.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<f64>> + '_ {
        self.values.iter().enumerate().map(|(i, &value)| {
            let absent = self.absent.get(i).copied().unwrap_or(false);
            (!absent).then_some(value)
        })
    }
}

impl Default for Values<'_> {
    fn default() -> Self {
        Self::masked(&[], &[])
    }
}

impl<'a> From<&'a [f64]> for Values<'a> {
    fn from(values: &'a [f64]) -> Self {
        Self::masked(values, &[])
    }
}

impl<'a> From<&'a Vec<f64>> for Values<'a> {
    fn from(values: &'a Vec<f64>) -> Self {
        Self::masked(values, &[])
    }
}

impl<'a, const N: usize> From<&'a [f64; N]> for Values<'a> {
    fn from(values: &'a [f64; N]) -> Self {
        Self::masked(values, &[])
    }
}

impl<'a> From<ArrayView1<'a, f64>> for Values<'a> {
    fn from(values: ArrayView1<'a, f64>) -> Self {
        Self {
            values,
            absent: &[],
        }
    }
}
