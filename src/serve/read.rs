//! Answers about runs, in JSON for the page and as text for Prometheus, over a store that others write meanwhile.
//!
//! ```text
//! query -> asked  -> opened (the file, read-only) -> held (a run's numbers, kept) -> course (smoothed, decimated) -> JSON
//!          checked
//! ```

mod asked;
mod axis;
mod change;
mod compare;
mod course;
mod distribution;
mod error;
mod exposition;
mod flags;
mod held;
mod line;
mod names;
mod opened;
mod quantiles;
mod run;
mod runs;
mod sections;
mod series;
mod step;
mod together;

use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

pub use super::query::Query;
pub use change::Change;
use change::Watch;
pub use error::ReadError;
use held::Kept;
use opened::Opened;

/// Reads a store for the page: blocking, from any number of threads at once.
///
/// It opens nothing until it is asked, and never writes or makes a store. One that vanishes is an error for as long as it is gone; what
/// comes in its place, or comes back, is read from then on.
#[derive(Debug)]
pub struct Reader {
    opened: Opened,
    kept: Kept,
    watch: Watch,
    recordings: step::Recordings,
}

/// The answers that there are.
const ANSWERS: [&str; 7] = [
    "compare",
    "distribution",
    "run",
    "runs",
    "series",
    "step",
    "store",
];

impl Reader {
    /// Of the store at this path, which need not be there yet.
    #[must_use]
    pub fn new(store: PathBuf) -> Self {
        Self {
            opened: Opened::new(store),
            kept: Kept::of(held::BYTES),
            watch: Watch::default(),
            recordings: step::Recordings::default(),
        }
    }

    /// What `api/NAME` answers, as JSON.
    ///
    /// # Errors
    /// If there is no such answer or run, the query asks for what cannot be, or the store cannot be read.
    pub fn answer(&self, name: &str, query: &Query) -> Result<Vec<u8>, ReadError> {
        match name {
            "compare" => {
                compare::compare(&self.opened, &self.kept, query).and_then(|found| written(&found))
            }
            "distribution" => distribution::distribution(&self.opened, &self.kept, query)
                .and_then(|found| written(&found)),
            "run" => run::run(&self.opened, &self.kept, query).and_then(|run| written(&run)),
            "runs" => runs::runs(&self.opened, &self.kept).and_then(|runs| written(&runs)),
            "series" => {
                series::series(&self.opened, &self.kept, query).and_then(|series| written(&series))
            }
            "step" => step::step(&self.opened, &self.kept, &self.recordings, query)
                .and_then(|found| written(&found)),
            "store" => written(&json!({"name": self.opened.name()})),
            _ => Err(ReadError::NoAnswer {
                found: name.to_owned(),
                known: &ANSWERS,
            }),
        }
    }

    /// The newest row of each run that is being written, in Prometheus' text format (version 0.0.4); nothing where there is none.
    ///
    /// # Errors
    /// If the store cannot be read, or is not there.
    pub fn exposition(&self) -> Result<String, ReadError> {
        exposition::exposition(&self.opened)
    }

    /// How the store stands, for who wants to know whether to ask again. Cheap where nothing was written since.
    ///
    /// # Errors
    /// If the store cannot be read, or is not there.
    pub fn change(&self) -> Result<Change, ReadError> {
        self.watch.change(&self.opened)
    }
}

fn written(answer: &impl Serialize) -> Result<Vec<u8>, ReadError> {
    serde_json::to_vec(answer).map_err(|error| ReadError::Unwritten(error.to_string()))
}
