//! A table to look at: named columns and rows of cells.

use serde::Serialize;
use serde::ser::Serializer;

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A whole number.
    Int(i64),
    /// Any other number; NaN where it is not known.
    Float(f64),
    /// A text, which may be empty.
    Text(String),
}

/// Named columns and rows of as many cells. As JSON it is `{"columns": [...], "data": [[...], ...]}`, which pandas reads as
/// `orient="split"`: a NaN is `null`, an infinity the text `"Infinity"` or `"-Infinity"` as in the recordings.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// What the table is called; not part of the JSON, like the step.
    #[serde(skip)]
    pub name: String,
    /// The optimizer step it is of.
    #[serde(skip)]
    pub step: u64,
    /// The columns' names, in order.
    pub columns: Vec<String>,
    /// The rows, in order, each with one cell a column.
    pub data: Vec<Vec<Cell>>,
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            Self::Float(value) if value.is_nan() => serializer.serialize_none(),
            Self::Float(value) if *value > 0.0 => serializer.serialize_str("Infinity"),
            Self::Float(_) => serializer.serialize_str("-Infinity"),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}
