//! One look at values, for all the statistics that take them in.

use super::CHUNK;
use crate::kernel::column::{Met, survey};

/// Some finite values, few enough for fixed-size accumulators, and what they are within.
#[derive(Clone, Copy, Debug)]
pub struct Finite<'a> {
    values: &'a [f64],
    pub(super) met: Met,
}

impl<'a> Finite<'a> {
    /// Hands the finite values of `samples` to `take`, in order; says how many there were.
    pub(crate) fn each(samples: &[f64], mut take: impl FnMut(Finite<'_>)) -> u64 {
        let mut used = 0;
        for values in samples.chunks(CHUNK) {
            let met = survey(values);
            if met.finite {
                used += values.len() as u64;
                take(Finite { values, met });
                continue;
            }
            let mut kept = [0.0; CHUNK];
            let mut len = 0;
            for &x in values {
                kept[len] = x;
                len += usize::from(x.is_finite());
            }
            let values = &kept[..len];
            used += len as u64;
            take(Finite {
                values,
                met: survey(values),
            });
        }
        used
    }

    /// At most [`CHUNK`] values, not one of them NaN or infinite; the caller vouches for that.
    pub(super) fn known(values: &'a [f64]) -> Self {
        Self {
            values,
            met: survey(values),
        }
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &'a [f64] {
        self.values
    }
}
