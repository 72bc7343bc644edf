//! A record as JSON: the text that reads back to the same bits.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::field::{Fields, Owned};
use super::record::Record;
use crate::batch::Columns;
use crate::batch::scalars::{Meta, Scalars, Weighting};

/// The record's JSON, without a line break.
pub(super) fn json(record: &Record) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Line(record))
}

struct Line<'a>(&'a Record);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let record = self.0;
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("step", &record.step)?;
        map.serialize_entry("rank", &record.rank)?;
        map.serialize_entry("world_size", &record.world_size)?;
        map.serialize_entry("micro", &record.micro)?;
        map.serialize_entry("batch", &Batch(&record.fields))?;
        if !record.scalars.is_empty() {
            map.serialize_entry("scalars", &Reported(&record.scalars))?;
        }
        if let Some(weighting) = &record.weighting {
            map.serialize_entry("weighting", &Snapshot(weighting))?;
        }
        map.end()
    }
}

struct Batch<'a>(&'a Fields);

impl Serialize for Batch<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for info in Columns::ALL {
            if let Some(column) = self.0.get(info.name) {
                map.serialize_entry(info.name, column)?;
            }
        }
        map.end()
    }
}

impl Serialize for Owned {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Numbers(numbers) => to.collect_seq(numbers.iter().map(|x| x.map(Double))),
            Self::Naturals(cells) => cells.serialize(to),
            Self::Ids(cells) => cells.serialize(to),
            Self::Bits(cells) => cells.serialize(to),
            Self::Tokens(tokens) => to.collect_seq(tokens.cells.iter().map(|x| Single(*x))),
            Self::TokenBits(tokens) => tokens.cells.serialize(to),
            Self::TokenNaturals(tokens) => tokens.cells.serialize(to),
            Self::Texts(texts) => texts.serialize(to),
            Self::Number(x) => Double(*x).serialize(to),
            Self::Natural(x) => x.serialize(to),
            Self::Components(components) => {
                to.collect_map(components.iter().map(|(name, numbers)| {
                    let cells: Vec<_> = numbers.iter().map(|x| x.map(Double)).collect();
                    (name, cells)
                }))
            }
        }
    }
}

/// A double, or the text that stands for a non-finite one.
struct Double(f64);

impl Serialize for Double {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            x if x.is_finite() => to.serialize_f64(x),
            x if x.is_nan() => to.serialize_str("NaN"),
            x if x > 0.0 => to.serialize_str("Infinity"),
            _ => to.serialize_str("-Infinity"),
        }
    }
}

/// A single, as the shortest decimal that a reader of doubles rounds back to it.
struct Single(f32);

impl Serialize for Single {
    #[allow(clippy::cast_possible_truncation)]
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let exact = f64::from(self.0);
        // The single's own shortest decimal may lie so close to the middle between two singles that the double next to
        // it is that middle, which rounds to the wrong one.
        let short = self.0.to_string().parse().unwrap_or(exact);
        let same = (short as f32).to_bits() == self.0.to_bits();
        Double(if same { short } else { exact }).serialize(to)
    }
}

struct Reported<'a>(&'a Scalars);

impl Serialize for Reported<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, x)| (name, Double(x))))
    }
}

struct Snapshot<'a>(&'a Weighting);

impl Serialize for Snapshot<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (name, x) in self.0.numbers() {
            map.serialize_entry(name, &Double(x))?;
        }
        for (name, flag) in self.0.flags() {
            map.serialize_entry(name, &flag)?;
        }
        for (name, word) in self.0.words() {
            map.serialize_entry(name, word)?;
        }
        if let Some(meta) = &self.0.meta {
            map.serialize_entry("meta", &MetaSnapshot(meta))?;
        }
        map.end()
    }
}

struct MetaSnapshot<'a>(&'a Meta);

impl Serialize for MetaSnapshot<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (name, x) in self.0.numbers() {
            map.serialize_entry(name, &Double(x))?;
        }
        for (name, flag) in self.0.flags() {
            map.serialize_entry(name, &flag)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_is_written_short_unless_that_would_read_back_as_its_neighbour() {
        let text = |x: f32| serde_json::to_string(&Single(x)).unwrap();
        assert_eq!(text(0.1), "0.1");
        assert_eq!(text(-0.0), "-0.0");
        assert_eq!(text(f32::NEG_INFINITY), "\"-Infinity\"");
        let awkward = f32::from_bits(0x15ae_43fd);
        assert_eq!(awkward.to_string().parse(), Ok(awkward));
        assert_eq!(text(awkward), "7.038530691851209e-26");
    }
}
