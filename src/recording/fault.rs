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
    /// Where it was found.
    pub at: Box<At>,
    /// What is wrong there.
    #[source]
    pub fault: Fault,
}

/// A place in a recording, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The file; the folder where the fault is of no single file.
    pub path: PathBuf,
    /// From 1; a `.safetensors` file has none.
    pub line: Option<u64>,
    /// The optimizer step; `None` where it could not be read, or the message that this place stands in names it
    /// already.
    pub step: Option<u64>,
    /// The rank; `None` as for `step`, and where a whole step is meant.
    pub rank: Option<u32>,
    /// The micro-batch of the rank; `None` as for `rank`.
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
    /// The system refused to open, read or write the file, or to make the folder.
    #[error("cannot {act}: {source}")]
    Io {
        /// What was tried, as a verb: `open it`, `read it`, `write to it`, ...
        act: &'static str,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// There is nothing at the path that was given.
    #[error(
        "expected a file of records or a folder of .jsonl and .safetensors files, found nothing by this name"
    )]
    NotFound,
    /// Something is there, but not one record is in it.
    #[error("expected records, found none (a recording's files end in .jsonl or .safetensors)")]
    NoRecords,
    /// The file is of another kind, as far as its beginning says.
    #[error("expected records, found {found}")]
    Foreign {
        /// What it is, in words.
        found: &'static str,
    },
    /// A trainer's file in Parquet, which only the feature `parquet` reads.
    #[error(
        "it is Parquet, which this build does not read: build with `--features parquet`, or use the command of the Python package"
    )]
    WithoutParquet,
    /// A trainer's file in Parquet that cannot be read.
    #[error("broken Parquet: {message}")]
    Parquet {
        /// What its reader said.
        message: String,
    },
    /// A trainer's file says its step in its name alone, and this one does not.
    #[error("expected {expected}: nothing in the file says its step")]
    NoStepInName {
        /// The name that the trainer gives it, in words.
        expected: &'static str,
    },
    /// The text is no JSON, or not all of it is.
    #[error("broken JSON: {message}")]
    Json {
        /// What the JSON reader said, with the column where it stopped.
        message: String,
    },
    /// A field that every record must have is not there.
    #[error("`{field}` is missing{}", within(of))]
    Missing {
        /// The field's name.
        field: &'static str,
        /// The object that it should be in, such as `batch`; empty for the record itself.
        of: &'static str,
    },
    /// The record has a field of no known name.
    #[error("unknown field `{name}`{}; {}", within(of), closest(*known))]
    UnknownField {
        /// The field's name.
        name: String,
        /// The object that it is in, such as `weighting.meta`; empty for the record itself.
        of: &'static str,
        /// The known name that is most like it; `None` where none is close.
        known: Option<&'static str>,
    },
    /// One object has two fields of the same name.
    #[error("`{field}` is given twice{}", within(of))]
    Twice {
        /// The field's name.
        field: String,
        /// The object that they are in; `record` for the record itself.
        of: String,
    },
    /// A value is none that its field takes.
    #[error("`{field}`: expected {expected}, found {found}")]
    Cell {
        /// The field's name, with the place where it is a list: `rewards[3]`.
        field: String,
        /// What the field takes, in words.
        expected: String,
        /// What is there; of a long text its beginning.
        found: String,
    },
    /// Each column can be read, but they do not fit together.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The record's rank is beyond its own `world_size`.
    #[error("`rank`: expected less than the `world_size` of {world_size}, found {rank}")]
    Rank {
        /// The record's rank; the first is 0.
        rank: u32,
        /// How many ranks the record says there are.
        world_size: u32,
    },
    /// The record says another number of ranks than the recording's first one.
    #[error("`world_size`: expected {expected} as in {first}, found {found}")]
    WorldSize {
        /// How many the first record says there are.
        expected: u32,
        /// How many this one says.
        found: u32,
        /// Where the first record is.
        first: Box<At>,
    },
    /// The place is taken: an earlier record has the same step, rank and micro-batch.
    #[error("a second record of this step, rank and micro-batch; the first is in {first}")]
    SecondRecord {
        /// Where that earlier record is.
        first: Box<At>,
    },
    /// The step is not complete, as ranks have no record of it at all.
    #[error("expected records of all {world_size} ranks, found none of rank {missing}")]
    MissingRanks {
        /// How many ranks the recording has.
        world_size: u32,
        /// The ranks that are missing, ascending, with commas between; after sixteen of them, three dots.
        missing: String,
    },
    /// The file is torn, too large, or its header cannot be read.
    #[error("not a whole safetensors file: {message}")]
    Safetensors {
        /// What is wrong with it, in words.
        message: String,
    },
    /// A tensor's numbers are of a type that its column does not take.
    #[error("tensor `{field}`: expected dtype {expected}, found {found}")]
    Dtype {
        /// The tensor's name.
        field: String,
        /// The types that the column takes, as the format spells them: `F32, BF16 or F16`.
        expected: &'static str,
        /// The tensor's own.
        found: String,
    },
    /// A tensor has another number of dimensions than its column.
    #[error("tensor `{field}`: expected shape {expected}, found {found:?}")]
    Shape {
        /// The tensor's name.
        field: String,
        /// The shapes that the column takes, in words.
        expected: &'static str,
        /// The tensor's own: its length along each dimension.
        found: Vec<usize>,
    },
    /// A tensor's name is no column's.
    #[error("unknown tensor `{name}`; {}", closest(*known))]
    UnknownTensor {
        /// The tensor's name.
        name: String,
        /// The column whose name is most like it; `None` where none is close.
        known: Option<&'static str>,
    },
    /// The column cannot be a tensor of its own: it holds texts, is a single number, or (`reward_components`) has a
    /// tensor a name.
    #[error(
        "`{field}` cannot be a tensor; expected it in the JSON under the metadata key `record`"
    )]
    NotATensor {
        /// The column's name.
        field: &'static str,
    },
    /// The column is there twice, and nobody knows which is meant.
    #[error("`{field}` is given both as a tensor and in the JSON under the metadata key `record`")]
    TensorAndJson {
        /// The tensor's name.
        field: String,
    },
}

impl Fault {
    /// The system refused to read on.
    pub(super) fn read(error: std::io::Error) -> Self {
        Self::Io {
            act: "read it",
            source: Arc::new(error),
        }
    }
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
