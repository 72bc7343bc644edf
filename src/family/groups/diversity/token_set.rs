//! What a completion's tokens contribute to the diversity of its group.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use xxhash_rust::xxh3::xxh3_64;

use crate::family::groups::byte_columns::Bytes;
use crate::stat::exact;

/// What the tokens are; a group is measured in one unit or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    Ids,
    Words,
}

/// The distinct tokens and pairs of neighbours of one completion.
///
/// A word stands as its 64-bit hash: two of a group's 10,000 words share one with a chance of 3 in 10^12.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenSet {
    unit: Unit,
    count: u64,
    /// The first and the last token, for the pairs that reach over completions laid end to end.
    ends: Option<(u64, u64)>,
    /// Sorted, each once.
    tokens: Vec<u64>,
    /// Sorted, each once.
    pairs: Vec<u64>,
}

impl TokenSet {
    pub fn of_ids(ids: &[u32]) -> Self {
        Self::of(Unit::Ids, ids.iter().map(|&id| u64::from(id)).collect())
    }

    pub fn of_text(text: &str) -> Self {
        Self::of(Unit::Words, words(text).collect())
    }

    fn of(unit: Unit, mut tokens: Vec<u64>) -> Self {
        let mut pairs: Vec<u64> = tokens.windows(2).map(|w| pair(unit, w[0], w[1])).collect();
        let count = tokens.len() as u64;
        let ends = tokens.first().copied().zip(tokens.last().copied());
        for set in [&mut tokens, &mut pairs] {
            set.sort_unstable();
            set.dedup();
        }
        Self {
            unit,
            count,
            ends,
            tokens,
            pairs,
        }
    }

    pub fn unit(&self) -> Unit {
        self.unit
    }
}

type TokenSetOnWire = (Unit, u64, Option<(u64, u64)>, Bytes, Bytes);

impl Serialize for TokenSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sets = [&self.tokens, &self.pairs].map(|set| Bytes::of_set(set));
        let [tokens, pairs] = sets;
        (self.unit, self.count, self.ends, tokens, pairs).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TokenSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (unit, count, ends, tokens, pairs) = TokenSetOnWire::deserialize(deserializer)?;
        let (Some(tokens), Some(pairs)) = (tokens.set(), pairs.set()) else {
            return Err(D::Error::custom(
                "expected sets of tokens as ascending gaps",
            ));
        };
        let distinct = |set: &[u64]| set.len() as u64;
        let fits = u32::try_from(count).is_ok()
            && (count == 0) == ends.is_none()
            && (count == 0) == tokens.is_empty()
            && distinct(&tokens) <= count
            && distinct(&pairs) <= count.saturating_sub(1);
        if !fits {
            return Err(D::Error::custom(
                "expected no more distinct tokens than there are tokens",
            ));
        }
        Ok(Self {
            unit,
            count,
            ends,
            tokens,
            pairs,
        })
    }
}

/// The words of a text, each as its hash, split at whitespace. The four separators U+001C to U+001F count as such: they do
/// for Python's `split`, which the definition means, but not for Unicode.
pub fn words(text: &str) -> impl Iterator<Item = u64> + '_ {
    text.split(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
        .filter(|word| !word.is_empty())
        .map(|word| xxh3_64(word.as_bytes()))
}

fn pair(unit: Unit, first: u64, second: u64) -> u64 {
    match unit {
        // Ids have 32 bits: the pair is exact.
        Unit::Ids => first << 32 | second,
        Unit::Words => {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&first.to_le_bytes());
            bytes[8..].copy_from_slice(&second.to_le_bytes());
            xxh3_64(&bytes)
        }
    }
}

/// A group's three measures, each in [0, 1].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Diversity {
    pub distinct_1: f64,
    pub distinct_2: f64,
    pub jaccard: f64,
}

impl Diversity {
    /// Of a group's completions in order, all in one unit (METRICS.md, Completions).
    pub fn of(group: &[&TokenSet]) -> Self {
        let count: u64 = group.iter().map(|set| set.count).sum();
        let tokens: Vec<u64> = group.iter().flat_map(|set| &set.tokens).copied().collect();
        let mut pairs: Vec<u64> = group.iter().flat_map(|set| &set.pairs).copied().collect();
        // Laid end to end, each completion that has tokens is followed by the next that has.
        let mut ends = group
            .iter()
            .filter_map(|set| set.ends.map(|ends| (set.unit, ends)));
        if let Some((unit, (_, mut last))) = ends.next() {
            for (_, (first, next_last)) in ends {
                pairs.push(pair(unit, last, first));
                last = next_last;
            }
        }
        let share = |distinct: usize, all: u64| {
            if all == 0 {
                0.0
            } else {
                distinct as f64 / all as f64
            }
        };
        Self {
            distinct_1: share(distinct(tokens), count),
            distinct_2: share(distinct(pairs), count.saturating_sub(1)),
            jaccard: jaccard(group),
        }
    }
}

fn distinct(mut values: Vec<u64>) -> usize {
    // Stable: it takes the sorted runs that the sets are as they come.
    values.sort_unstable();
    values.dedup();
    values.len()
}

/// Mean over pairs of completions of 1 - |A and B| / |A or B|.
fn jaccard(group: &[&TokenSet]) -> f64 {
    let mut distances = Vec::with_capacity(group.len() * group.len().saturating_sub(1) / 2);
    for (i, a) in group.iter().enumerate() {
        for b in &group[i + 1..] {
            let both = common(&a.tokens, &b.tokens);
            let either = a.tokens.len() + b.tokens.len() - both;
            distances.push(if either == 0 {
                0.0
            } else {
                1.0 - both as f64 / either as f64
            });
        }
    }
    if distances.is_empty() {
        return 0.0;
    }
    exact(&distances) / distances.len() as f64
}

/// How many values two sorted sets share.
fn common(a: &[u64], b: &[u64]) -> usize {
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        shared += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diversity_follows_its_definition_on_a_small_group() {
        // 1 2 1 | (nothing) | 2 3: laid end to end 1 2 1 2 3 -> 3 distinct of 5; pairs 12 21 12 23 -> 3 distinct of 4.
        let sets = [&[1, 2, 1][..], &[], &[2, 3]].map(TokenSet::of_ids);
        let group: Vec<_> = sets.iter().collect();
        let got = Diversity::of(&group);
        assert_eq!((got.distinct_1, got.distinct_2), (3.0 / 5.0, 3.0 / 4.0));
        // {1,2} {} : 1; {1,2} {2,3}: 1 - 1/3; {} {2,3}: 1.
        assert_eq!(got.jaccard, (1.0 + (1.0 - 1.0 / 3.0) + 1.0) / 3.0);
    }

    #[test]
    fn empty_groups_and_empty_completions_have_no_diversity() {
        assert_eq!(Diversity::of(&[]), Diversity::default());
        let empty = TokenSet::of_ids(&[]);
        assert_eq!(Diversity::of(&[&empty, &empty]), Diversity::default());
        let one = TokenSet::of_ids(&[7]);
        let got = Diversity::of(&[&one]);
        assert_eq!(
            (got.distinct_1, got.distinct_2, got.jaccard),
            (1.0, 0.0, 0.0)
        );
    }

    #[test]
    fn words_split_where_python_splits() {
        let set = TokenSet::of_text(" a\u{1c}b\u{a0}c\u{2003}d\u{1f}a\n");
        assert_eq!((set.count, set.tokens.len()), (5, 4));
    }
}
