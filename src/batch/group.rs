//! How completions form groups: one group is one prompt's completions.

use xxhash_rust::xxh3::xxh3_64;

use super::error::BatchError;

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

/// A group's id as a trainer has it: a number, or a text such as a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId {
    number: u64,
    word: &'static str,
}

impl From<u64> for GroupId {
    fn from(number: u64) -> Self {
        Self {
            number,
            word: "number",
        }
    }
}

/// A text is the XXH3 (64 bits) of its UTF-8 bytes: the same number in whichever rank and process has it.
impl From<&str> for GroupId {
    fn from(text: &str) -> Self {
        Self {
            number: id_of(text.as_bytes()),
            word: "text",
        }
    }
}

impl GroupId {
    /// The numbers that stand for a record's ids, as [`Grouping::Ids`] takes them.
    ///
    /// # Errors
    /// If some are texts and some are numbers: a trainer that means one group by both would have it counted as two.
    pub fn numbers(ids: &[Self]) -> Result<Vec<u64>, BatchError> {
        for (completion, pair) in (1..).zip(ids.windows(2)) {
            if let [before, id] = pair
                && before.word != id.word
            {
                return Err(BatchError::MixedIds {
                    completion,
                    expected: before.word,
                    found: id.word,
                });
            }
        }
        Ok(ids.iter().map(|id| id.number).collect())
    }
}

/// The id of a group that something else than a number names: the same for the same bytes, in whichever rank and process.
pub(crate) fn id_of(name: &[u8]) -> u64 {
    xxh3_64(name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_hash_of_its_bytes_and_texts_and_numbers_do_not_mix() {
        // What the Python package `xxhash` says of them.
        let ids = ["", "a", "\u{fc}"].map(GroupId::from);
        let numbers = GroupId::numbers(&ids).unwrap();
        assert_eq!(
            numbers,
            [
                0x2d06_8005_38d3_94c2,
                0xe6c6_32b6_1e96_4e1f,
                0x5da8_1d07_0ce0_9f6e
            ]
        );
        assert_eq!(GroupId::numbers(&[]), Ok(Vec::new()));
        let mixed = GroupId::numbers(&[GroupId::from(1), GroupId::from(2), GroupId::from("2")]);
        assert_eq!(
            mixed.unwrap_err().to_string(),
            "`group_ids[2]`: expected a number as before it, found a text"
        );
    }
}
