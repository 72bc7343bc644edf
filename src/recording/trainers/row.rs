//! Lines of JSON as Python writes them, and their members by name and type.

use std::io::BufRead;

use serde_json::{Map, Value};

use super::super::cell::{Cell, Kind, Maybe, NumberOrBit, Text};
use super::super::fault::Fault;
use super::Wrong;
use super::value::value;
use crate::limits;
use crate::numerals::{BYTE_ORDER_MARK, with_bare_words_quoted};

/// The lines of a file, each an object.
pub(super) struct Rows<R> {
    from: R,
    line: u64,
    text: Vec<u8>,
}

impl<R: BufRead> Rows<R> {
    pub fn over(from: R) -> Self {
        Self {
            from,
            line: 0,
            text: Vec::new(),
        }
    }

    /// Reads every row.
    pub fn each(mut self, mut take: impl FnMut(&Row) -> Result<(), Fault>) -> Result<(), Wrong> {
        while let Some(row) = self.next()? {
            take(&row).map_err(|fault| self.wrong(fault))?;
        }
        Ok(())
    }

    /// Reads the first row alone.
    pub fn first<T>(&mut self, take: impl FnOnce(&Row) -> Result<T, Fault>) -> Result<T, Wrong> {
        let row = self.next()?.ok_or(Fault::NoRecords)?;
        take(&row).map_err(|fault| self.wrong(fault))
    }

    fn next(&mut self) -> Result<Option<Row>, Wrong> {
        loop {
            self.text.clear();
            self.line += 1;
            let read = limits::line(&mut self.from, limits::RECORD_LINE, &mut self.text);
            if read.map_err(|error| self.wrong(Fault::read(error)))? == 0 {
                return Ok(None);
            }
            let json = match self.text.strip_prefix(BYTE_ORDER_MARK) {
                Some(json) if self.line == 1 => json,
                _ => &self.text,
            };
            let json = json.trim_ascii();
            if !json.is_empty() {
                let row = object(json).map_err(|fault| self.wrong(fault))?;
                return Ok(Some(Row { members: row }));
            }
        }
    }

    fn wrong(&self, fault: Fault) -> Wrong {
        Wrong {
            line: Some(self.line),
            fault,
        }
    }
}

/// The object; Python writes non-finite numbers bare.
fn object(json: &[u8]) -> Result<Map<String, Value>, Fault> {
    let read = value(json).or_else(|fault| match fault {
        Fault::Json { .. } => value(&with_bare_words_quoted(json)),
        other => Err(other),
    })?;
    match read {
        Value::Object(members) => Ok(members),
        other => Err(Fault::Cell {
            field: "line".to_owned(),
            expected: "an object".to_owned(),
            found: cell(&other).to_string(),
        }),
    }
}

/// One line's object.
pub(super) struct Row {
    members: Map<String, Value>,
}

impl Row {
    pub fn members(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.members
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// A member that may be null or not there.
    pub fn maybe(&self, field: &str) -> Option<&Value> {
        self.members.get(field).filter(|value| !value.is_null())
    }

    /// A member that must be there.
    pub fn member(&self, field: &'static str) -> Result<&Value, Fault> {
        let missing = Fault::Missing { field, of: "" };
        self.members.get(field).ok_or(missing)
    }

    pub fn text(&self, field: &'static str) -> Result<String, Fault> {
        one::<Text>(field, self.member(field)?)
    }

    /// A number, or true or false; null is absent.
    pub fn number(&self, field: &'static str) -> Result<Option<f64>, Fault> {
        one::<Maybe<NumberOrBit>>(field, self.member(field)?)
    }
}

/// A value as what its field takes.
pub(super) fn one<K: Kind>(field: &str, value: &Value) -> Result<K::Value, Fault> {
    let found = cell(value);
    K::of(found).ok_or_else(|| refused::<K>(field.to_owned(), found))
}

/// A list of what its field takes.
pub(super) fn many<K: Kind>(field: &str, value: &Value) -> Result<Vec<K::Value>, Fault> {
    let cells = list(field, value)?.iter().enumerate();
    let each = cells.map(|(nth, value)| {
        let found = cell(value);
        K::of(found).ok_or_else(|| refused::<K>(format!("{field}[{nth}]"), found))
    });
    each.collect()
}

pub(super) fn list<'v>(field: &str, value: &'v Value) -> Result<&'v [Value], Fault> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| Fault::Cell {
            field: field.to_owned(),
            expected: "an array".to_owned(),
            found: cell(value).to_string(),
        })
}

/// A member that may be null or not there, of what has to be an object.
pub(super) fn inside<'v>(
    field: &str,
    value: &'v Value,
    name: &str,
) -> Result<Option<&'v Value>, Fault> {
    let member = members(field, value)?.get(name);
    Ok(member.filter(|value| !value.is_null()))
}

pub(super) fn members<'v>(field: &str, value: &'v Value) -> Result<&'v Map<String, Value>, Fault> {
    value.as_object().ok_or_else(|| Fault::Cell {
        field: field.to_owned(),
        expected: "an object".to_owned(),
        found: cell(value).to_string(),
    })
}

/// Refuses a list of another length than the tokens that it goes with.
pub(super) fn as_long_as(
    field: &str,
    found: usize,
    of: &str,
    expected: usize,
) -> Result<(), Fault> {
    if found == expected {
        return Ok(());
    }
    Err(Fault::Cell {
        field: field.to_owned(),
        expected: format!("{expected} cells, as `{of}` has"),
        found: found.to_string(),
    })
}

fn refused<K: Kind>(field: String, found: Cell<'_>) -> Fault {
    let null = if K::NULLABLE { ", or null" } else { "" };
    Fault::Cell {
        field,
        expected: format!("{}{null}", K::EXPECTED),
        found: found.to_string(),
    }
}

pub(super) fn cell(value: &Value) -> Cell<'_> {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(x) => Cell::Bool(*x),
        Value::Number(x) => match (x.as_u64(), x.as_i64()) {
            (Some(x), _) => Cell::Unsigned(x),
            (None, Some(x)) => Cell::Negative(x),
            _ => Cell::Float(x.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(x) => Cell::Text(x),
        Value::Array(_) => Cell::Array,
        Value::Object(_) => Cell::Object,
    }
}
