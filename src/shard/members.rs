//! The members of spread groups on the wire: values as they are, whole numbers by their steps, a byte of marks a member.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::cells::{Cells, Mark};
use super::diversity::TokenSet;
use super::groups::{Members, Slot};
use super::packed::Bytes;
use crate::batch::Place;

/// What [`Members`] travel as.
///
/// Every member has its byte of `marks`, so that no number in a few bytes can claim more members than there are bytes. `T` is a [`TokenSet`]:
/// borrowed to write, boxed to read, as a claim of many then makes room for pointers alone.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Members")]
struct Packed<T> {
    /// Two bits a column, rewards lowest.
    marks: Bytes,
    ids: Bytes,
    indexes: Bytes,
    ranks: Bytes,
    micros: Bytes,
    positions: Bytes,
    values: [Bytes; 4],
    tokens: Vec<Option<T>>,
}

impl Members {
    fn columns(&self) -> [&Cells; 4] {
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
        Packed {
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
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = Packed::deserialize(deserializer)?;
        unpack(packed).map_err(D::Error::custom)
    }
}

fn unpack(packed: Packed<Box<TokenSet>>) -> Result<Members, &'static str> {
    let Bytes(marks) = packed.marks;
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
        packed.values[place]
            .doubles()
            .and_then(|finite| Cells::of_parts(marks, finite))
            .ok_or("expected a finite double for every cell marked as finite")
    };
    if !packed.tokens.is_empty() && packed.tokens.len() != n {
        return Err("expected tokens for every member or for none");
    }
    let places = small(&packed.ranks)?
        .into_iter()
        .zip(small(&packed.micros)?);
    let slots = whole(&packed.indexes)?
        .into_iter()
        .zip(places)
        .zip(small(&packed.positions)?)
        .map(|((index, (rank, micro)), position)| Slot {
            index,
            place: Place { rank, micro },
            position,
        })
        .collect();
    Ok(Members {
        ids: whole(&packed.ids)?,
        slots,
        rewards: cells(0)?,
        advantages: cells(1)?,
        q: cells(2)?,
        weights: cells(3)?,
        tokens: packed
            .tokens
            .into_iter()
            .map(|set| set.map(|set| *set))
            .collect(),
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
