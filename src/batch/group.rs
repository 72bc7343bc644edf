//! How completions form groups: one group is one prompt's completions.

/// The groups of a record, in the one of the two ways that its trainer knows.
#[derive(Clone, Copy, Debug)]
pub enum Grouping<'a> {
    /// Completions per group, in order (`G` of them). These groups are whole and belong to this record alone; a size of 0
    /// is an empty group.
    Sizes(&'a [u32]),
    /// The group of each completion (`n` of them), unique in the step: a group may go on in other ranks and micro-batches.
    Ids(&'a [u64]),
}

/// No groups.
impl Default for Grouping<'_> {
    fn default() -> Self {
        Self::Sizes(&[])
    }
}

impl Grouping<'_> {
    /// `G`: how many groups the record names, the empty ones included.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Sizes(sizes) => sizes.len(),
            Self::Ids(ids) => first_appearances(ids).len(),
        }
    }
}

/// The distinct ids in order of first appearance: the order of a record's per-group columns.
#[must_use]
pub(crate) fn first_appearances(ids: &[u64]) -> Vec<u64> {
    let mut seen = std::collections::HashSet::new();
    let mut order = Vec::new();
    let mut last = None;
    for &id in ids {
        // Neighbours share their group nearly always; only a change of id is worth a look-up.
        if last != Some(id) && seen.insert(id) {
            order.push(id);
        }
        last = Some(id);
    }
    order
}
