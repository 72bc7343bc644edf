//! The members of groups that may go on in other records: what either family of group metrics needs of them, once.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::batch::{Batch, Place};
use crate::family::groups::diversity::token_set::TokenSet;
use crate::family::marked_values::MarkedValues;
use crate::family::thresholds::Success;

/// Where a completion stands in its group: by `completion_index` where given, else by rank, micro-batch and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    /// `u64::MAX` where no index is given, so that those come last.
    pub index: u64,
    pub place: Place,
    pub position: u32,
}

/// Columns of equal length, one cell a member.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Members {
    pub ids: Vec<u64>,
    pub slots: Vec<Slot>,
    pub rewards: MarkedValues,
    pub advantages: MarkedValues,
    pub q: MarkedValues,
    pub weights: MarkedValues,
    /// Empty, or one a member.
    pub tokens: Vec<Option<TokenSet>>,
    /// Where there are members and the extended metrics are counted.
    pub outcomes: Option<Outcomes>,
}

/// What the extended metrics need of members beside: columns as long as the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outcomes {
    /// 1 for a success, 0 for none.
    pub successes: MarkedValues,
    /// In tokens. Empty, or one a member.
    pub lengths: Vec<Option<u32>>,
    /// Empty, or one a member.
    pub tags: Vec<Option<Arc<str>>>,
    /// As [`answer`] has them. Empty, or one a member.
    pub answers: Vec<Option<u64>>,
}

/// An answer as a number: the 64-bit hash of its bytes. Two of a group's 1,000 answers share one with a chance of 3 in 10^14.
pub(super) fn answer(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

impl Members {
    /// The completions of a record; `success` where the extended metrics are counted.
    pub fn of(
        batch: &Batch<'_>,
        place: Place,
        ids: &[u64],
        tokens: Option<Vec<Option<TokenSet>>>,
        success: Option<&Success>,
    ) -> Self {
        let c = batch.columns();
        let n = ids.len();
        let slot = |i: usize| Slot {
            index: c.completion_index.map_or(u64::MAX, |index| index[i].into()),
            place,
            position: u32::try_from(i).unwrap_or(u32::MAX),
        };
        Self {
            ids: ids.to_vec(),
            slots: (0..n).map(slot).collect(),
            rewards: MarkedValues::of(Some(&c.rewards), n),
            advantages: MarkedValues::of(c.advantages.as_ref(), n),
            q: MarkedValues::of(c.q.as_ref(), n),
            weights: MarkedValues::of(c.weights.as_ref(), n),
            tokens: tokens.unwrap_or_default(),
            outcomes: success
                .filter(|_| n > 0)
                .map(|success| Outcomes::of(batch, success)),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn append(&mut self, other: Self) {
        let (mine, theirs) = (self.len(), other.len());
        let Self {
            ids,
            slots,
            rewards,
            advantages,
            q,
            weights,
            tokens,
            outcomes,
        } = other;
        append_padded(&mut self.tokens, tokens, mine, theirs);
        self.outcomes = match (self.outcomes.take(), outcomes) {
            (None, None) => None,
            (ours, other) => {
                let mut all = ours.unwrap_or_else(|| Outcomes::unknown(mine));
                let more = other.unwrap_or_else(|| Outcomes::unknown(theirs));
                all.append(more, mine, theirs);
                Some(all)
            }
        };
        self.ids.extend(ids);
        self.slots.extend(slots);
        self.rewards.append(&rewards);
        self.advantages.append(&advantages);
        self.q.append(&q);
        self.weights.append(&weights);
    }
}

impl Outcomes {
    fn of(batch: &Batch<'_>, success: &Success) -> Self {
        let (c, n) = (batch.columns(), batch.completions());
        let judged = MarkedValues::of(success.column(c), n);
        let mut last: Option<Arc<str>> = None;
        // A group's completions mostly have one tag.
        let mut shared = |tag: &String| match &last {
            Some(shared) if **shared == **tag => Arc::clone(shared),
            _ => Arc::clone(last.insert(Arc::from(tag.as_str()))),
        };
        Self {
            successes: judged.map(|x| f64::from(u8::from(x >= success.threshold))),
            lengths: match batch.lengths() {
                Some(lengths) => lengths.iter().copied().map(Some).collect(),
                None => Vec::new(),
            },
            tags: match c.tags {
                Some(tags) => tags.iter().map(|tag| Some(shared(tag))).collect(),
                None => Vec::new(),
            },
            answers: c
                .answers
                .unwrap_or_default()
                .iter()
                .map(|text| Some(answer(text)))
                .collect(),
        }
    }

    /// Of members of whom nothing of this was counted.
    fn unknown(members: usize) -> Self {
        Self {
            successes: MarkedValues::of(None, members),
            lengths: Vec::new(),
            tags: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn append(&mut self, other: Self, mine: usize, theirs: usize) {
        let Self {
            successes,
            lengths,
            tags,
            answers,
        } = other;
        self.successes.append(&successes);
        append_padded(&mut self.lengths, lengths, mine, theirs);
        append_padded(&mut self.tags, tags, mine, theirs);
        append_padded(&mut self.answers, answers, mine, theirs);
    }
}

/// Appends a column of so many cells, either of which may be empty for having none.
fn append_padded<T: Clone>(
    column: &mut Vec<Option<T>>,
    other: Vec<Option<T>>,
    mine: usize,
    theirs: usize,
) {
    if !column.is_empty() || !other.is_empty() {
        column.resize(mine, None);
        column.extend(other);
        column.resize(mine + theirs, None);
    }
}
