//! Records made up to find out what hangs on what: every column that there is, with numbers that no two have in common.

use std::collections::BTreeMap;

use super::field::{Cells, Fields, Owned};
use super::record::Record;
use crate::batch::scalars::{FieldKind, Meta, Scalar, Scalars, Weighting};
use crate::batch::{ColumnInfo, ColumnKind, Columns, Shape};

/// Completions of each group.
const GROUPS: [usize; 4] = [4, 3, 4, 1];

/// A stream of numbers that its seed alone decides (Steele, Lea and Flood, 2014).
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: u32) -> u32 {
        let at = self.next() % u64::from(end.max(1));
        u32::try_from(at).unwrap_or_default()
    }

    /// Of some, so that both come about.
    fn bit(&mut self) -> bool {
        self.below(3) > 0
    }
}

impl Record {
    /// A record of one rank in which everything is given but the columns of these names; `scalars` and `weighting` are names too.
    pub(crate) fn probe(seed: u64, without: &[&str]) -> Self {
        let mut stream = Stream(seed);
        let n = GROUPS.iter().sum();
        // Some in every bucket of lengths, and one that is empty.
        let lengths: Vec<u32> = (0..n)
            .map(|nth| stream.below([3, 30, 60, 120, 240, 300][nth % 6]) + u32::from(nth > 0))
            .collect();
        let tokens = lengths.iter().map(|length| *length as usize).sum();
        let mut fields = Fields::new();
        for info in Columns::ALL {
            let column = column(info, &mut stream, &lengths, tokens);
            if let Some(column) = column.filter(|_| !without.contains(&info.name)) {
                fields.insert(info.name, column);
            }
        }
        let mut scalars = Scalars::default();
        for scalar in Scalar::ALL {
            let value = 0.1 + stream.share();
            if !without.contains(&"scalars") {
                scalars = scalars.with(*scalar, value);
            }
        }
        let weighting = weighting(&mut stream);
        Self {
            step: 1,
            rank: 0,
            world_size: 1,
            micro: 0,
            scalars,
            weighting: Some(weighting).filter(|_| !without.contains(&"weighting")),
            fields,
        }
    }

    /// The same of a trainer with another loss.
    pub(crate) fn with_another_loss(mut self, seed: u64) -> Self {
        let mut stream = Stream(!seed);
        let weighting = self.weighting.get_or_insert_default();
        for info in Weighting::FIELDS {
            let (FieldKind::Word(words) | FieldKind::Text(words)) = info.kind else {
                continue;
            };
            let nth = stream.next() % words.len().max(1) as u64;
            let word = usize::try_from(nth).ok().and_then(|nth| words.get(nth));
            if let Some(word) = word {
                // Its own words it knows.
                let _ = weighting.set_word(info.name, word);
            }
        }
        self
    }

    /// The names of its columns.
    pub(crate) fn columns_given(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.fields.keys().copied()
    }
}

/// A column; none for the other grouping, and for a mask of padded rows.
fn column(info: &ColumnInfo, stream: &mut Stream, lengths: &[u32], tokens: usize) -> Option<Owned> {
    let n = lengths.len();
    let cells = match info.shape {
        Shape::Group => GROUPS.len(),
        Shape::Completion => n,
        Shape::Token => tokens,
        Shape::Place => return None,
        Shape::Record => 1,
    };
    let mut numbers = |cells: usize| -> Vec<Option<f64>> {
        let each = (0..cells).map(|_| Some(stream.share() * 2.0 - 0.5));
        each.collect()
    };
    Some(match (info.name, info.kind) {
        ("group_sizes", _) => return None,
        ("group_ids", _) => {
            let ids = GROUPS.iter().zip(1..);
            Owned::Ids(ids.flat_map(|(size, id)| vec![id; *size]).collect())
        }
        ("completion_index", _) => {
            let places = GROUPS.iter().flat_map(|size| 0..*size);
            Owned::Naturals(
                places
                    .filter_map(|place| u32::try_from(place).ok())
                    .collect(),
            )
        }
        ("completion_lengths", _) => Owned::Naturals(lengths.to_vec()),
        // A group whose completions have the same reward is there too.
        ("rewards" | "advantages", _) => {
            let mut cells = numbers(cells);
            for same in cells.iter_mut().take(GROUPS[0]) {
                *same = Some(0.0);
            }
            Owned::Numbers(cells.into_iter().collect())
        }
        (_, ColumnKind::Numbers) => Owned::Numbers(numbers(cells).into_iter().collect()),
        (_, ColumnKind::Components) => {
            let (one, other) = (numbers(n), numbers(n));
            Owned::Components(BTreeMap::from([
                ("a".to_owned(), one.into_iter().collect()),
                ("entropy_bonus".to_owned(), other.into_iter().collect()),
            ]))
        }
        (_, ColumnKind::Number) => Owned::Number(stream.share()),
        (_, ColumnKind::Natural) => Owned::Natural(stream.below(200) + 60),
        // As many as may fail.
        ("tool_calls", _) => Owned::Naturals((0..cells).map(|_| stream.below(9) + 8).collect()),
        (_, ColumnKind::Naturals) => Owned::Naturals((0..cells).map(|_| stream.below(9)).collect()),
        (_, ColumnKind::Ids) => Owned::Ids((0..cells).map(|_| stream.next()).collect()),
        (_, ColumnKind::Bits) => Owned::Bits((0..cells).map(|_| stream.bit()).collect()),
        (_, ColumnKind::Texts) => {
            let texts = (0..cells).map(|_| format!("{} {}", stream.below(3), stream.below(5)));
            Owned::Texts(texts.collect())
        }
        #[allow(clippy::cast_possible_truncation)]
        (_, ColumnKind::Tokens) => {
            let cells = (0..cells).map(|_| -stream.share() as f32).collect();
            Owned::Tokens(Cells::flat(cells))
        }
        (_, ColumnKind::TokenBits) => {
            let cells = (0..cells).map(|_| u8::from(stream.bit())).collect();
            Owned::TokenBits(Cells::flat(cells))
        }
        (_, ColumnKind::TokenNaturals) => {
            let cells = (0..cells).map(|_| stream.below(9)).collect();
            Owned::TokenNaturals(Cells::flat(cells))
        }
    })
}

fn weighting(stream: &mut Stream) -> Weighting {
    let mut weighting = Weighting::default();
    for name in Weighting::NUMBERS {
        if let Some(number) = weighting.number_mut(name) {
            *number = Some(0.05 + stream.share() / 2.0);
        }
    }
    for name in Weighting::FLAGS {
        if let Some(flag) = weighting.flag_mut(name) {
            *flag = Some(false);
        }
    }
    let mut meta = Meta::default();
    for name in Meta::NUMBERS {
        if let Some(number) = meta.number_mut(name) {
            *number = Some(stream.share());
        }
    }
    weighting.meta = Some(meta);
    weighting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_has_every_column_but_those_it_is_to_be_without_and_they_fit_together() {
        for seed in 0..20 {
            let probe = Record::probe(seed, &[]);
            probe.batch().unwrap();
            assert_eq!(probe.columns_given().count(), Columns::ALL.len() - 2);
            let without = Record::probe(seed, &["advantages", "scalars", "weighting"]);
            without.batch().unwrap();
            assert_eq!(without.columns_given().count(), Columns::ALL.len() - 3);
            assert!(without.scalars.is_empty() && without.weighting.is_none());
            // What is left is the same.
            assert_eq!(without.fields["rewards"], probe.fields["rewards"]);
        }
    }
}
