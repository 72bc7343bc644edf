//! What can be wrong with a recording, and where.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::batch::BatchError;

/// A fault and the place it was found at.
#[derive(Clone, Debug, Error)]
#[error("{at}: {fault}")]
pub struct RecordingError {
    pub at: Box<At>,
    #[source]
    pub fault: Fault,
}

/// A place in a recording, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct At {
    pub path: PathBuf,
    /// From 1; a `.safetensors` file has none.
    pub line: Option<u64>,
    pub step: Option<u64>,
    pub rank: Option<u32>,
    pub micro: Option<u32>,
}

impl At {
    /// A whole file or folder.
    pub(super) fn path(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    pub(super) fn error(self, fault: Fault) -> RecordingError {
        RecordingError {
            at: Box::new(self),
            fault,
        }
    }

    pub(super) fn io(self, act: &'static str, source: std::io::Error) -> RecordingError {
        self.error(Fault::Io {
            act,
            source: Arc::new(source),
        })
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        let numbers = [
            ("line", self.line),
            ("step", self.step),
            ("rank", self.rank.map(u64::from)),
            ("micro-batch", self.micro.map(u64::from)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                write!(f, ", {name} {number}")?;
            }
        }
        Ok(())
    }
}

/// What is wrong.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Fault {
    #[error("cannot {act}: {source}")]
    Io {
        act: &'static str,
        source: Arc<std::io::Error>,
    },
    #[error(
        "expected a file of records or a folder of .jsonl and .safetensors files, found nothing by this name"
    )]
    NotFound,
    #[error("expected records, found none (a recording's files end in .jsonl or .safetensors)")]
    NoRecords,
    #[error("broken JSON: {message}")]
    Json { message: String },
    #[error("`{field}` is missing{}", within(of))]
    Missing {
        field: &'static str,
        of: &'static str,
    },
    #[error("unknown field `{name}`{}; {}", within(of), closest(*known))]
    UnknownField {
        name: String,
        of: &'static str,
        known: Option<&'static str>,
    },
    #[error("`{field}` is given twice{}", within(of))]
    Twice { field: String, of: String },
    #[error("`{field}`: expected {expected}, found {found}")]
    Cell {
        field: String,
        expected: String,
        found: String,
    },
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("`rank`: expected less than the `world_size` of {world_size}, found {rank}")]
    Rank { rank: u32, world_size: u32 },
    #[error("`world_size`: expected {expected} as in {first}, found {found}")]
    WorldSize {
        expected: u32,
        found: u32,
        first: Box<At>,
    },
    #[error("a second record of this step, rank and micro-batch; the first is in {first}")]
    SecondRecord { first: Box<At> },
    #[error("expected records of all {world_size} ranks, found none of rank {missing}")]
    MissingRanks { world_size: u32, missing: String },
    #[error("not a whole safetensors file: {message}")]
    Safetensors { message: String },
    #[error("tensor `{field}`: expected dtype {expected}, found {found}")]
    Dtype {
        field: String,
        expected: &'static str,
        found: String,
    },
    #[error("tensor `{field}`: expected shape {expected}, found {found:?}")]
    Shape {
        field: String,
        expected: &'static str,
        found: Vec<usize>,
    },
    #[error("unknown tensor `{name}`; {}", closest(*known))]
    UnknownTensor {
        name: String,
        known: Option<&'static str>,
    },
    #[error(
        "`{field}` cannot be a tensor; expected it in the JSON under the metadata key `record`"
    )]
    NotATensor { field: &'static str },
    #[error("`{field}` is given both as a tensor and in the JSON under the metadata key `record`")]
    TensorAndJson { field: String },
}

fn within(of: &str) -> String {
    if of.is_empty() || of == "record" {
        String::new()
    } else {
        format!(" in `{of}`")
    }
}

fn closest(known: Option<&str>) -> String {
    known.map_or_else(
        || "no known one is close to it".to_owned(),
        |known| format!("the closest known one is `{known}`"),
    )
}

/// The known name that `name` was probably meant to be.
pub(super) fn nearest(
    name: &str,
    known: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    const ALIKE: f64 = 0.4;
    // Letters out of place, or parts of a longer name.
    let alike = |known: &str| {
        strsim::normalized_damerau_levenshtein(name, known).max(strsim::sorensen_dice(name, known))
    };
    known
        .into_iter()
        .map(|known| (alike(known), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_is_alike() {
        let known = ["rewards", "token_logps", "old_token_logps", "q"];
        assert_eq!(nearest("reward", known), Some("rewards"));
        assert_eq!(nearest("logps", known), Some("token_logps"));
        assert_eq!(nearest("old_logps", known), Some("old_token_logps"));
        assert_eq!(nearest("temperature", known), None);
    }
}
