//! Runs of the embedded store as tables: Parquet, CSV and JSON lines, for what reads those.

mod cell;
mod json;
#[cfg(feature = "parquet")]
mod parquet;
mod place;
mod table;
mod text;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;

use crate::store::{Sqlite, Store, StoreError};
#[cfg(feature = "serve")]
pub(crate) use cell::moment;
#[cfg(feature = "serve")]
pub(crate) use place::Beside;
use table::Table;

/// What one line of a table is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// A row, with a column a key: `run`, `step`, `split`, `time`, and then the keys by name. By run, step and split.
    #[default]
    Wide,
    /// A number: `run`, `step`, `split`, `time`, `name`, `value`. By run, split, name and step.
    Long,
}

/// How a table is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Parquet, packed with zstd; needs the feature `parquet`.
    Parquet,
    /// Comma-separated values, with a header. What is absent is an empty cell; infinities are `inf` and `-inf`.
    Csv,
    /// A JSON object a line. What is absent is null; infinities are the texts `"Infinity"` and `"-Infinity"`.
    JsonLines,
}

impl Format {
    /// All of them, each with the ending of its files.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Parquet, "parquet"),
        (Self::Csv, "csv"),
        (Self::JsonLines, "jsonl"),
    ];
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.iter().find(|(format, _)| format == self);
        f.write_str(named.map_or("", |(_, name)| name))
    }
}

impl FromStr for Format {
    type Err = ExportError;

    /// By its ending.
    fn from_str(ending: &str) -> Result<Self, ExportError> {
        let named = Self::ALL.iter().find(|(_, name)| *name == ending);
        named
            .map(|(format, _)| *format)
            .ok_or_else(|| ExportError::Format(ending.to_owned()))
    }
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store cannot be read, or has no such run.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such format.
    #[error("expected a file that ends in .parquet, .csv or .jsonl, found `{0}`")]
    Format(String),
    /// This program was built without what the format needs.
    #[error("Parquet was asked for, but this program was built without `parquet`")]
    NotBuilt,
    /// A file is there already, and stays as it is.
    #[error("{path}: expected no file there, found one")]
    Exists {
        /// The path that was given.
        path: String,
    },
    /// Somebody wished to stop ([`Export::until`]).
    #[error("it was stopped before its end, and nothing is written")]
    Stopped,
    /// The file cannot be written.
    #[error("{path}: cannot write it: {source}")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl ExportError {
    /// Whether it is the output that failed, not what was asked for.
    #[must_use]
    pub fn is_output(&self) -> bool {
        match self {
            Self::Write { .. } => true,
            Self::Store(error) => !error.is_permanent(),
            _ => false,
        }
    }
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Lines of the table, without its header.
    pub rows: u64,
    /// Numbers in it.
    pub numbers: u64,
    /// Keys that a column of every table is called as well (`step`, `time`): each with its column.
    pub renamed: Vec<(String, String)>,
}

/// Writes runs of a store as one table. It holds the numbers of one run at a time, eight bytes each.
///
/// ```
/// use grpo_metrics::export::{Export, Format};
/// use grpo_metrics::row::Row;
/// use grpo_metrics::sink::Sink;
/// use grpo_metrics::store::{Sqlite, StoreSink};
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("runs.db");
///
/// let mut sink = StoreSink::open(&store, "my-run")?;
/// sink.write(&Row { step: 1, timestamp: 1.7e9, metrics: [("reward", 0.5)].into_iter().collect(), ..Row::default() })?;
/// let store = Sqlite::open_read_only(&store)?;
/// let mut table = Vec::new();
/// Export::of(&store, ["my-run"]).write(Format::Csv, &mut table)?;
/// assert_eq!(String::from_utf8(table)?, "run,step,split,time,reward\nmy-run,1,train,2023-11-14T22:13:20.000Z,0.5\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Export<'a> {
    store: &'a Sqlite,
    runs: Vec<String>,
    layout: Layout,
    keys: Box<dyn Fn(&str) -> bool + 'a>,
    stop: Box<dyn Fn() -> bool + 'a>,
}

impl fmt::Debug for Export<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("runs", &self.runs)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

impl<'a> Export<'a> {
    /// All numbers of these runs, by their ids and in this order; wide.
    pub fn of(store: &'a Sqlite, runs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            store,
            runs: runs.into_iter().map(Into::into).collect(),
            layout: Layout::Wide,
            keys: Box::new(|_| true),
            stop: Box::new(|| false),
        }
    }

    /// What a line is about.
    #[must_use]
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Only the keys for which `keep` says so. A wide table has all rows still.
    #[must_use]
    pub fn keys(mut self, keep: impl Fn(&str) -> bool + 'a) -> Self {
        self.keys = Box::new(keep);
        self
    }

    /// Ends early when `stop` says so, which is asked between two series.
    #[must_use]
    pub fn until(mut self, stop: impl Fn() -> bool + 'a) -> Self {
        self.stop = Box::new(stop);
        self
    }

    /// Writes the table to `out`, as it comes.
    ///
    /// # Errors
    /// If the store has no such run or cannot be read, or `out` refuses.
    pub fn write(
        &self,
        format: Format,
        out: &mut (dyn Write + Send),
    ) -> Result<Exported, ExportError> {
        let written = |source| ExportError::Write {
            path: "the table".to_owned(),
            source,
        };
        self.write_to(format, out, &written)
    }

    /// Writes the table to a file: beside it first, so that under its name is a whole one or none. One that is there already is
    /// replaced if `over` says so.
    ///
    /// # Errors
    /// As [`Export::write`], or if a file is there already.
    pub fn write_file(
        &self,
        format: Format,
        path: &Path,
        over: bool,
    ) -> Result<Exported, ExportError> {
        let written = |source| ExportError::Write {
            path: path.display().to_string(),
            source,
        };
        let mut file = place::Beside::open(path, over)?;
        let exported = self.write_to(format, &mut file, &written)?;
        file.take_place()?;
        Ok(exported)
    }

    fn write_to(
        &self,
        format: Format,
        out: &mut (dyn Write + Send),
        written: &dyn Fn(io::Error) -> ExportError,
    ) -> Result<Exported, ExportError> {
        for run in &self.runs {
            self.store.get_run(run)?;
        }
        let table = Table::of(self)?;
        match format {
            Format::Csv => table.write(&mut text::CsvLines::over(out), written),
            Format::JsonLines => table.write(&mut json::JsonLines::over(out), written),
            #[cfg(feature = "parquet")]
            Format::Parquet => {
                let mut file = parquet::RowGroups::over(out, table.fields()).map_err(written)?;
                table.write(&mut file, written)
            }
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => Err(ExportError::NotBuilt),
        }
    }
}
