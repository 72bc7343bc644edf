//! The members of spread groups on the wire: values as they are, whole numbers by their steps, a byte of marks a member; for
//! the extended metrics another byte of marks, lengths and tags in a few bytes each, and the answers' hashes.

use std::collections::BTreeMap;
use std::iter::repeat;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::members::{Members, Outcomes, Slot};
use crate::batch::Place;
use crate::family::groups::byte_columns::Bytes;
use crate::family::groups::diversity::token_set::TokenSet;
use crate::family::marked_values::{Mark, MarkedValues};

/// What [`Members`] travel as.
///
/// Every member has its byte of `marks`, so that no number in a few bytes can claim more members than there are bytes. `T` is a [`TokenSet`]:
/// borrowed to write, boxed to read, as a claim of many then makes room for pointers alone.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Members")]
struct MembersOnWire<T> {
    /// Two bits a column, rewards lowest.
    marks: Bytes,
    ids: Bytes,
    indexes: Bytes,
    ranks: Bytes,
    micros: Bytes,
    positions: Bytes,
    values: [Bytes; 4],
    tokens: Vec<Option<T>>,
    outcomes: Option<OutcomesOnWire>,
}

/// What [`Outcomes`] travel as.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Outcomes")]
struct OutcomesOnWire {
    /// A byte a member: two bits of the success, [`HIT`] for one, [`HAS_LENGTH`] and [`HAS_ANSWER`].
    marks: Bytes,
    /// Of the members that have one.
    lengths: Bytes,
    /// Each once, by first appearance.
    names: Vec<String>,
    /// For each member its tag's place among the names, from 1; 0 for none. Nothing where no member has one.
    tags: Bytes,
    /// Of the members that have one.
    answers: Bytes,
}

/// A success on the wire; a finite mark in its place is none.
const HIT: u8 = 3;
const HAS_LENGTH: u8 = 4;
const HAS_ANSWER: u8 = 8;

impl Members {
    fn columns(&self) -> [&MarkedValues; 4] {
        [&self.rewards, &self.advantages, &self.q, &self.weights]
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut marks = vec![0; self.ids.len()];
        for (place, column) in self.columns().iter().enumerate() {
            for (byte, mark) in marks.iter_mut().zip(column.marks()) {
                *byte |= bits(mark) << (2 * place);
            }
        }
        let slots = || self.slots.iter();
        MembersOnWire {
            marks: Bytes(marks),
            ids: Bytes::of_steps(self.ids.iter().copied()),
            indexes: Bytes::of_steps(slots().map(|slot| slot.index)),
            ranks: Bytes::of_steps(slots().map(|slot| slot.place.rank.into())),
            micros: Bytes::of_steps(slots().map(|slot| slot.place.micro.into())),
            positions: Bytes::of_steps(slots().map(|slot| slot.position.into())),
            values: self
                .columns()
                .map(|column| Bytes::of_doubles(column.finite())),
            tokens: self.tokens.iter().map(Option::as_ref).collect(),
            outcomes: self.outcomes.as_ref().map(OutcomesOnWire::from),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = MembersOnWire::deserialize(deserializer)?;
        unpack(found).map_err(D::Error::custom)
    }
}

impl From<&Outcomes> for OutcomesOnWire {
    fn from(outcomes: &Outcomes) -> Self {
        let mut hits = outcomes.successes.finite().iter().map(|&x| x > 0.0);
        let lengths = outcomes.lengths.iter().copied().chain(repeat(None));
        let answers = outcomes.answers.iter().copied().chain(repeat(None));
        let marks = outcomes.successes.marks().zip(lengths).zip(answers);
        let marks = marks.map(|((success, length), answer)| {
            let hit = success == Mark::Finite && hits.next() == Some(true);
            let success = if hit { HIT } else { bits(success) };
            let has_length = if length.is_some() { HAS_LENGTH } else { 0 };
            success | has_length | if answer.is_some() { HAS_ANSWER } else { 0 }
        });
        let marks = Bytes(marks.collect());
        let (mut names, mut places) = (Vec::new(), BTreeMap::new());
        let tags = outcomes.tags.iter().map(|tag| {
            let Some(tag) = tag.as_deref() else { return 0 };
            *places.entry(tag).or_insert_with(|| {
                names.push(tag.to_owned());
                names.len() as u64
            })
        });
        let tags = Bytes::of_steps(tags.collect::<Vec<_>>());
        let lengths = outcomes.lengths.iter().flatten();
        Self {
            marks,
            lengths: Bytes::of_numbers(lengths.map(|&length| length.into())),
            names,
            tags,
            answers: Bytes::of_numbers(outcomes.answers.iter().flatten().copied()),
        }
    }
}

fn unpack_outcomes(found: OutcomesOnWire, n: usize) -> Result<Outcomes, &'static str> {
    let OutcomesOnWire {
        marks: Bytes(marks),
        lengths,
        names,
        tags,
        answers,
    } = found;
    if marks.len() != n
        || marks
            .iter()
            .any(|byte| *byte > HIT | HAS_LENGTH | HAS_ANSWER)
    {
        return Err("expected marks of every member's success, length and answer");
    }
    let judged = |byte: &u8| match byte & 3 {
        HIT => Mark::Finite,
        code => mark(code),
    };
    let hits = marks.iter().filter(|byte| judged(byte) == Mark::Finite);
    let hits = hits.map(|byte| f64::from(u8::from(byte & 3 == HIT)));
    let successes = MarkedValues::of_parts(marks.iter().map(judged), hits.collect());
    let lengths = unpack_cells(&marks, HAS_LENGTH, &lengths)
        .ok_or("expected a length of 32 bits for every member that has one")?;
    let answers = unpack_cells(&marks, HAS_ANSWER, &answers)
        .ok_or("expected an answer for every member that has one")?;
    let names: Vec<Arc<str>> = names.into_iter().map(Arc::from).collect();
    let tag = |place: u64| match usize::try_from(place).ok()?.checked_sub(1) {
        None => Some(None),
        Some(place) => names.get(place).map(|name| Some(Arc::clone(name))),
    };
    let tags = if tags == Bytes::default() {
        Some(Vec::new())
    } else {
        let places = tags.steps(n);
        places.and_then(|places| places.into_iter().map(tag).collect())
    };
    Ok(Outcomes {
        successes: successes.ok_or("expected a mark of every member's success")?,
        lengths,
        tags: tags.ok_or("expected a tag among the names for every member that has one")?,
        answers,
    })
}

/// The cells of the members whose byte has this mark; none at all where no member's has.
fn unpack_cells<T: TryFrom<u64>>(marks: &[u8], has: u8, numbers: &Bytes) -> Option<Vec<Option<T>>> {
    let mut numbers = numbers.numbers()?.into_iter().map(T::try_from);
    if numbers.len() == 0 {
        return marks.iter().all(|byte| byte & has == 0).then(Vec::new);
    }
    let cells = marks.iter().map(|byte| {
        if byte & has == 0 {
            return Some(None);
        }
        Some(Some(numbers.next()?.ok()?))
    });
    let cells = cells.collect::<Option<Vec<_>>>()?;
    numbers.next().is_none().then_some(cells)
}

fn unpack(found: MembersOnWire<Box<TokenSet>>) -> Result<Members, &'static str> {
    let Bytes(marks) = found.marks;
    let n = marks.len();
    if marks
        .iter()
        .any(|byte| (0..4).any(|place| byte >> (2 * place) & 3 == 3))
    {
        return Err("expected a member's marks to be finite, absent or non-finite");
    }
    let whole = |column: &Bytes| column.steps(n).ok_or("expected a number for every member");
    let small = |column: &Bytes| {
        let fits = |x: u64| u32::try_from(x).map_err(|_| "expected numbers of 32 bits");
        whole(column)?
            .into_iter()
            .map(fits)
            .collect::<Result<Vec<_>, _>>()
    };
    let cells = |place: usize| {
        let marks = marks.iter().map(|byte| mark(byte >> (2 * place)));
        found.values[place]
            .doubles()
            .and_then(|finite| MarkedValues::of_parts(marks, finite))
            .ok_or("expected a finite double for every cell marked as finite")
    };
    if !found.tokens.is_empty() && found.tokens.len() != n {
        return Err("expected tokens for every member or for none");
    }
    let places = small(&found.ranks)?.into_iter().zip(small(&found.micros)?);
    let slots = whole(&found.indexes)?
        .into_iter()
        .zip(places)
        .zip(small(&found.positions)?)
        .map(|((index, (rank, micro)), position)| Slot {
            index,
            place: Place { rank, micro },
            position,
        })
        .collect();
    Ok(Members {
        ids: whole(&found.ids)?,
        slots,
        rewards: cells(0)?,
        advantages: cells(1)?,
        q: cells(2)?,
        weights: cells(3)?,
        tokens: found
            .tokens
            .into_iter()
            .map(|set| set.map(|set| *set))
            .collect(),
        outcomes: found
            .outcomes
            .map(|outcomes| unpack_outcomes(outcomes, n))
            .transpose()?,
    })
}

fn bits(mark: Mark) -> u8 {
    match mark {
        Mark::Finite => 0,
        Mark::Absent => 1,
        Mark::NonFinite => 2,
    }
}

fn mark(bits: u8) -> Mark {
    match bits & 3 {
        0 => Mark::Finite,
        1 => Mark::Absent,
        _ => Mark::NonFinite,
    }
}
