//! A record from its JSON: the objects, strictly. No field is unknown, given twice, or silently dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::cell::{
    Bit, Cell, Id, Many, Maybe, Natural, Natural64, Number, One, Reading, Single, Text, skip_array,
    take_cells,
};
use super::fault::{Fault, nearest};
use super::field::{COMPONENTS, Cells, Fields, Numbers, Owned};
use super::record::{Head, Record};
use crate::batch::group::GroupId;
use crate::batch::scalars::{Scalars, Weighting};
use crate::batch::{ColumnInfo, ColumnKind, Columns, Shape};

/// The members of a record's object, as far as they have been read.
#[derive(Debug, Default)]
pub(super) struct Members {
    world_size: Option<u32>,
    /// `None` until the field has been seen.
    pub fields: Option<Fields>,
    pub scalars: Scalars,
    pub weighting: Option<Weighting>,
    /// Whether to read over the columns and scalars: an index needs neither.
    skim: bool,
}

impl Members {
    /// Says which record it is.
    pub fn head(&self, reading: &Reading) -> Result<Head, Fault> {
        let missing = |field| Fault::Missing { field, of: "" };
        let rank = reading.rank.get();
        let head = Head {
            step: reading.step.get().ok_or(missing("step"))?,
            rank: rank.ok_or(missing("rank"))?,
            world_size: self.world_size.ok_or(missing("world_size"))?,
            micro: reading.micro.get().unwrap_or(0),
        };
        // From here on messages can name the default too.
        reading.micro.set(Some(head.micro));
        if head.rank >= head.world_size {
            return Err(Fault::Rank {
                rank: head.rank,
                world_size: head.world_size,
            });
        }
        Ok(head)
    }
}

/// Reads the whole record.
pub(super) fn record(json: &[u8], reading: &Reading) -> Result<Record, Fault> {
    let members = members(json, reading, false)?;
    let head = members.head(reading)?;
    let fields = members.fields.ok_or(Fault::Missing {
        field: "batch",
        of: "",
    })?;
    Record::from_parts(head, fields, members.scalars, members.weighting)
}

/// Reads which record it is, and its snapshot of the controller.
pub(super) fn head(json: &[u8], reading: &Reading) -> Result<(Head, Option<Weighting>), Fault> {
    let members = members(json, reading, true)?;
    let head = members.head(reading)?;
    if members.fields.is_none() {
        return Err(Fault::Missing {
            field: "batch",
            of: "",
        });
    }
    Ok((head, members.weighting))
}

/// Reads a record's object, complete or not.
pub(super) fn members(json: &[u8], reading: &Reading, skim: bool) -> Result<Members, Fault> {
    let mut members = Members {
        skim,
        ..Members::default()
    };
    let mut from = serde_json::Deserializer::from_slice(json);
    Object {
        reading,
        name: "record",
        members: &mut members,
    }
    .deserialize(&mut from)
    .and_then(|_| from.end())
    .map_err(|error| reading.fault().unwrap_or_else(|| broken(json, &error)))?;
    Ok(members)
}

fn broken(json: &[u8], error: &serde_json::Error) -> Fault {
    let text = error.to_string();
    let column = error.column();
    // serde_json counts lines from where it started, which is this one.
    let cause = text.split(" at line ").next().unwrap_or(&text);
    // The column is the word's, or the one before it where that is the sign.
    let from = |column: usize| json.get(column..).unwrap_or_default();
    let near = [
        from(column.saturating_sub(1)),
        from(column.saturating_sub(2)),
    ];
    let bare = near.iter().any(|at| {
        ["NaN", "Infinity", "-Infinity"]
            .iter()
            .any(|word| at.starts_with(word.as_bytes()))
    });
    let hint = if bare {
        r#" (a non-finite number is the text "NaN", "Infinity" or "-Infinity")"#
    } else {
        ""
    };
    Fault::Json {
        message: format!("{cause} at column {column}{hint}"),
    }
}

/// An object whose members are read one by one.
pub(super) trait ReadMembers {
    /// Reads the value of the member `name`.
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        from: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error>;
}

/// Reads an object into `members`; false if it was null.
struct Object<'c, M> {
    reading: &'c Reading,
    name: &'c str,
    members: &'c mut M,
}

impl<M> Object<'_, M> {
    fn take<E: de::Error>(self, cell: Cell<'_>) -> Result<bool, E> {
        if cell == Cell::Null {
            return Ok(false);
        }
        Err(self.reading.refuse(Fault::Cell {
            field: self.name.to_owned(),
            expected: "an object".to_owned(),
            found: cell.to_string(),
        }))
    }
}

impl<'de, M: ReadMembers> DeserializeSeed<'de> for Object<'_, M> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, M: ReadMembers> Visitor<'de> for Object<'_, M> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    take_cells!(bool);

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<bool, A::Error> {
        skip_array(array)?;
        self.take(Cell::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<bool, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(name) = from.next_key::<String>()? {
            if seen.contains(&name) {
                return Err(self.reading.refuse(Fault::Twice {
                    field: name,
                    of: self.name.to_owned(),
                }));
            }
            self.members.read(&name, &mut from, self.reading)?;
            seen.insert(name);
        }
        Ok(true)
    }
}

/// Reads the member object `name`; null is not given.
pub(super) fn object<'de, A: MapAccess<'de>, M: ReadMembers + Default>(
    name: &str,
    from: &mut A,
    reading: &Reading,
) -> Result<Option<M>, A::Error> {
    let mut members = M::default();
    let given = from.next_value_seed(Object {
        reading,
        name,
        members: &mut members,
    })?;
    Ok(given.then_some(members))
}

pub(super) fn unknown<E: de::Error>(
    reading: &Reading,
    name: &str,
    of: &'static str,
    known: impl IntoIterator<Item = &'static str>,
) -> E {
    reading.refuse(Fault::UnknownField {
        name: name.to_owned(),
        of,
        known: nearest(name, known),
    })
}

impl ReadMembers for Members {
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        from: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        const KNOWN: [&str; 7] = [
            "step",
            "rank",
            "world_size",
            "micro",
            "batch",
            "scalars",
            "weighting",
        ];
        match name {
            "step" => {
                let step = from.next_value_seed(One::<Natural64>::new(reading, name))?;
                reading.step.set(Some(step));
            }
            "rank" => {
                let rank = from.next_value_seed(One::<Natural>::new(reading, name))?;
                reading.rank.set(Some(rank));
            }
            "world_size" => {
                let size = from.next_value_seed(One::<Natural>::new(reading, name))?;
                self.world_size = Some(size);
            }
            "micro" => {
                let micro = from.next_value_seed(One::<Maybe<Natural>>::new(reading, name))?;
                reading.micro.set(micro);
            }
            "batch" if self.skim => {
                from.next_value::<IgnoredAny>()?;
                self.fields = Some(Fields::new());
            }
            "batch" => self.fields = object(name, from, reading)?,
            "scalars" if self.skim => {
                from.next_value::<IgnoredAny>()?;
            }
            "scalars" => self.scalars = object(name, from, reading)?.unwrap_or_default(),
            "weighting" => self.weighting = object(name, from, reading)?,
            _ => return Err(unknown(reading, name, "", KNOWN)),
        }
        Ok(())
    }
}

impl ReadMembers for Fields {
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        from: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        // JSON has no padding.
        let known = |info: &ColumnInfo| info.shape != Shape::Place;
        let Some(info) = ColumnInfo::of(name).filter(|info| known(info)) else {
            let columns = Columns::ALL.iter().filter(|info| known(info));
            let names = columns.map(|info| info.name);
            return Err(unknown(reading, name, "batch", names));
        };
        if let Some(column) = column(info.name, info.kind, from, reading)? {
            self.insert(info.name, column);
        }
        Ok(())
    }
}

/// Reads one column; null is not given.
fn column<'de, A: MapAccess<'de>>(
    name: &str,
    kind: ColumnKind,
    from: &mut A,
    reading: &Reading,
) -> Result<Option<Owned>, A::Error> {
    macro_rules! many {
        ($kind:ty) => {
            from.next_value_seed(Many::<$kind>::new(reading, name))?
        };
    }
    Ok(match kind {
        ColumnKind::Numbers => {
            many!(Maybe<Number>).map(|x| Owned::Numbers(x.into_iter().collect()))
        }
        ColumnKind::Naturals => many!(Natural).map(Owned::Naturals),
        ColumnKind::Ids => {
            let ids = many!(Id).map(|ids| GroupId::numbers(&ids)).transpose();
            ids.map_err(|mixed| reading.refuse(mixed.into()))?
                .map(Owned::Ids)
        }
        ColumnKind::Bits => many!(Bit).map(Owned::Bits),
        ColumnKind::Tokens => many!(Single).map(|x| Owned::Tokens(Cells::flat(x))),
        ColumnKind::TokenBits => {
            many!(Bit).map(|x| Owned::TokenBits(Cells::flat(x.into_iter().map(u8::from).collect())))
        }
        ColumnKind::TokenNaturals => many!(Natural).map(|x| Owned::TokenNaturals(Cells::flat(x))),
        ColumnKind::Texts => many!(Text).map(Owned::Texts),
        ColumnKind::Number => from
            .next_value_seed(One::<Maybe<Number>>::new(reading, name))?
            .map(Owned::Number),
        ColumnKind::Natural => from
            .next_value_seed(One::<Maybe<Natural>>::new(reading, name))?
            .map(Owned::Natural),
        ColumnKind::Components => {
            let given: Option<Components> = object(name, from, reading)?;
            given
                .filter(|components| !components.0.is_empty())
                .map(|components| Owned::Components(components.0))
        }
    })
}

/// `reward_components`: any name.
#[derive(Default)]
struct Components(BTreeMap<String, Numbers>);

impl ReadMembers for Components {
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        from: &mut A,
        reading: &Reading,
    ) -> Result<(), A::Error> {
        let field = format!("{COMPONENTS}.{name}");
        let column = from.next_value_seed(Many::<Maybe<Number>>::new(reading, &field))?;
        if let Some(column) = column {
            self.0.insert(name.to_owned(), column.into_iter().collect());
        }
        Ok(())
    }
}
