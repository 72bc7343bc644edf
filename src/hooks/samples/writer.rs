//! Where sample tables go: files, a store, and the sinks that show tables.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{SHOWN, SampleTable};
use crate::row::table::Table;
use crate::store::{Store, StoreError};

/// Why a table could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SamplesError {
    /// The folder or the file cannot be written. The table of this step that was there before is still there.
    #[error("{path}: could not {act} the sample table: {source}")]
    Io {
        /// The table's file.
        path: String,
        /// What was tried, as a verb: `make a folder for`, `write`, `put in place`.
        act: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The table has no JSON form. Nothing was written.
    #[error("{path}: could not write the sample table as JSON: {source}")]
    Json {
        /// The table's file.
        path: String,
        /// What the JSON writer said.
        source: serde_json::Error,
    },
}

/// Writes sample tables, every so many steps, to `<output_dir>/rich_completions/<key>_step_<6 digits>.json`.
#[derive(Clone, Debug)]
pub struct Samples {
    dir: PathBuf,
    key: String,
    every: u64,
    enabled: bool,
}

impl Samples {
    /// Every step's table, under the key `completions`.
    #[must_use]
    pub fn new(output_dir: impl AsRef<Path>) -> Self {
        Self {
            dir: output_dir.as_ref().join("rich_completions"),
            key: "completions".to_owned(),
            every: 1,
            enabled: true,
        }
    }

    /// What the files' names begin with. A separator of paths in it becomes `_`, so that every file is in the one folder.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into().replace(['/', '\\'], "_");
        self
    }

    /// Steps between tables; 0 counts as 1.
    #[must_use]
    pub fn every(mut self, steps: u64) -> Self {
        self.every = steps.max(1);
        self
    }

    /// On or off; on by default.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Whether a table is wanted of this step.
    #[must_use]
    pub fn due(&self, step: u64) -> bool {
        self.enabled && step.is_multiple_of(self.every)
    }

    /// Writes the table, replacing that of the same step; the file, or `None` if none is due. A reader finds a whole
    /// file or none.
    ///
    /// # Errors
    /// If the folder or the file cannot be written.
    pub fn write(&self, table: &SampleTable) -> Result<Option<PathBuf>, SamplesError> {
        if !self.due(table.step) {
            return Ok(None);
        }
        let path = self
            .dir
            .join(format!("{}_step_{:06}.json", self.key, table.step));
        let shown = || path.display().to_string();
        let io = |act| {
            move |source| SamplesError::Io {
                path: shown(),
                act,
                source,
            }
        };
        let json = serde_json::to_vec(&table.table(&self.key)).map_err(|source| {
            let path = shown();
            SamplesError::Json { path, source }
        })?;
        fs::create_dir_all(&self.dir).map_err(io("make a folder for"))?;
        let partial = path.with_extension("json.partial");
        fs::write(&partial, json).map_err(io("write"))?;
        fs::rename(&partial, &path).map_err(io("put in place"))?;
        Ok(Some(path))
    }

    /// Records the table as predictions of a run; how many there were: 0 if none is due.
    ///
    /// # Errors
    /// If the store refuses; then it has none of them.
    pub fn record(
        &self,
        store: &mut dyn Store,
        run_id: &str,
        table: &SampleTable,
    ) -> Result<u64, StoreError> {
        if !self.due(table.step) || table.is_empty() {
            return Ok(0);
        }
        store.log_predictions(&table.predictions(run_id))
    }

    /// The first [`SHOWN`] rows, for the sinks that show tables (see `Engine::show`); `None` if none is due.
    #[must_use]
    pub fn shown(&self, table: &SampleTable) -> Option<Table> {
        self.due(table.step).then(|| table.head(&self.key, SHOWN))
    }
}
