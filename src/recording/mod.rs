//! Records written down (RECORDING.md): from JSON lines and `.safetensors` files, and into them.
//!
//! Reading is strict: what is not a record is an error that names file, line, step, rank and field. Non-finite numbers are
//! no error; they are counted where they are used.

mod cell;
mod fault;
mod field;
mod foreign;
mod index;
mod json;
mod line;
#[cfg(feature = "cli")]
mod probe;
mod reader;
mod record;
mod reported;
mod safetensors;
mod trainers;
mod writer;

use std::path::Path;

pub use fault::{At, Fault, RecordingError};
pub use index::RecordRef;
pub use reader::{Recording, Step};
pub use record::Record;
pub use writer::Recorder;

#[cfg(feature = "cli")]
pub(crate) use trainers::TrainerFile;

/// How records are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One record a line.
    JsonLines,
    /// One record a file: its columns as tensors.
    Safetensors,
}

impl Format {
    /// The format that the file's name ends in.
    fn named(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "jsonl" => Some(Self::JsonLines),
            "safetensors" => Some(Self::Safetensors),
            _ => None,
        }
    }

    /// The format of a file that was named itself, whatever it is called.
    fn of(path: &Path) -> Self {
        Self::named(path).unwrap_or(Self::JsonLines)
    }
}

impl Record {
    /// Reads a record from its JSON, as a line of a recording has it, and checks its columns.
    ///
    /// # Errors
    /// As [`Recording::load`]; the place in the error has no file and no line.
    pub fn from_json(json: &str) -> Result<Self, RecordingError> {
        let reading = cell::Reading::default();
        json::record(json.as_bytes(), &reading)
            .and_then(|record| match record.batch() {
                Ok(_) => Ok(record),
                Err(error) => Err(error.into()),
            })
            .map_err(|fault| reading.place(At::path("JSON")).error(fault))
    }
}
