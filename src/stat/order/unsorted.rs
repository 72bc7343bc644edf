//! Values that nobody has sorted yet, in the batches they came in.

use smallvec::SmallVec;

use crate::kernel::column::{Met, survey};

/// From so many values on, a batch is taken over as it is; fewer are copied to the end of the last one.
const BATCH: usize = 256;

/// Finite values in no order.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsorted {
    batches: SmallVec<[Vec<f64>; 1]>,
}

impl From<Vec<f64>> for Unsorted {
    fn from(values: Vec<f64>) -> Self {
        let mut unsorted = Self::default();
        unsorted.take(values);
        unsorted
    }
}

impl Unsorted {
    pub fn len(&self) -> usize {
        self.batches.iter().map(Vec::len).sum()
    }

    /// Whether there is no value; room made for values is none.
    pub fn is_empty(&self) -> bool {
        self.batches.iter().all(Vec::is_empty)
    }

    pub fn batches(&self) -> &[Vec<f64>] {
        &self.batches
    }

    pub fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        self.batches.iter().flatten().copied()
    }

    /// Makes room for values that are about to come.
    pub fn reserve(&mut self, values: usize) {
        match self.batches.last_mut() {
            Some(last) => last.reserve(values),
            None => self.batches.push(Vec::with_capacity(values)),
        }
    }

    pub fn extend(&mut self, values: &[f64]) {
        match self.batches.last_mut() {
            Some(last) => last.extend_from_slice(values),
            None => self.take(values.to_vec()),
        }
    }

    pub fn append(&mut self, other: Self) {
        other.batches.into_iter().for_each(|batch| self.take(batch));
    }

    fn take(&mut self, batch: Vec<f64>) {
        match self.batches.last_mut() {
            Some(last) if batch.len() < BATCH => last.extend(batch),
            _ => self.batches.push(batch),
        }
    }

    /// What they are within.
    pub fn met(&self) -> Met {
        let all = self.batches.iter().map(|batch| survey(batch));
        all.fold(survey(&[]), |a, b| Met {
            finite: a.finite && b.finite,
            low: a.low.min(b.low),
            high: a.high.max(b.high),
        })
    }
}
