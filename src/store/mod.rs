//! Where a training's records live: experiments hold groups, groups hold runs, and runs hold metrics, checkpoints,
//! evaluations and predictions.

#[cfg(feature = "evsys")]
mod evsys;
mod heart;
#[cfg(feature = "sqlite")]
mod name;
mod record;
mod resolve;
mod sink;
mod spec;
#[cfg(feature = "sqlite")]
mod sqlite;
mod standing;

use std::error::Error;

pub use crate::row::run::Status;
use crate::row::{Metrics, Row};
use crate::sink::SinkError;

#[cfg(feature = "evsys")]
pub use evsys::{EvSys, Patience};
pub use record::{
    Checkpoint, Eval, Experiment, ExperimentPatch, Group, Metric, Prediction, Run, RunPatch, Split,
    Stored,
};
pub use resolve::resolve_store;
pub use sink::StoreSink;
pub use spec::{Begun, OpenedRun, Resume, RunSpec};
#[cfg(feature = "sqlite")]
pub(crate) use spec::{OURS, RECORDING};
#[cfg(feature = "cli")]
pub(crate) use spec::{differing, noted};
#[cfg(feature = "serve")]
pub(crate) use sqlite::{Beginning, Predicted, Progress};
#[cfg(feature = "sqlite")]
pub use sqlite::{Course, Courses, FileFacts, Point, RunOverview, SCHEMA, Sqlite, StoredRow};
#[cfg(feature = "serve")]
pub(crate) use sqlite::{Fields, Loose, Untogether};
pub use standing::Standing;
#[cfg(feature = "sqlite")]
pub(crate) use standing::moment;

/// A store of training records, with the operations of the `EvSys` gateway.
///
/// What is created comes back with the id that the store gave it. Every write either happens whole or not at all.
pub trait Store: Send {
    /// Creates an experiment.
    fn create_experiment(
        &mut self,
        experiment: &Experiment,
    ) -> Result<Stored<Experiment>, StoreError>;
    /// Changes what `patch` names.
    fn update_experiment(
        &mut self,
        id: &str,
        patch: &ExperimentPatch,
    ) -> Result<Stored<Experiment>, StoreError>;
    /// Creates a group within its experiment.
    fn create_group(&mut self, group: &Group) -> Result<Stored<Group>, StoreError>;
    /// Creates a run within its experiment and, where it has one, its group.
    fn create_run(&mut self, run: &Run) -> Result<Stored<Run>, StoreError>;
    /// Changes what `patch` names.
    fn update_run(&mut self, id: &str, patch: &RunPatch) -> Result<Stored<Run>, StoreError>;

    /// Notes that the run's writer is alive; whether the store notes such a thing. One that does not says so, and no writer of its runs
    /// gives a sign.
    ///
    /// # Errors
    /// If it could not be noted now.
    fn touch_run(&mut self, _id: &str) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Writes the rows of a run, all or none: each a step and its metrics. A number under the same run, step, split and
    /// name replaces the one before. A NaN is no number: it is left out and counted, and touches no other.
    fn log_rows(
        &mut self,
        run_id: &str,
        rows: &[(u64, &Metrics)],
        split: Split,
    ) -> Result<Logged, StoreError>;

    /// Writes rows of a training, all or none, as [`Store::log_rows`] does, with the time of each; but a row whose window was cut
    /// short ([`Row::cut`]) leaves a stored one of its step that is over more steps as it stands, and is none of those that are
    /// written. A store that does not know how many steps its rows are over writes every row.
    fn log_windows(
        &mut self,
        run_id: &str,
        rows: &[Row],
        split: Split,
    ) -> Result<Logged, StoreError> {
        let rows: Vec<_> = rows.iter().map(|row| (row.step, &row.metrics)).collect();
        self.log_rows(run_id, &rows, split)
    }

    /// How many rows one call of [`Store::log_rows`], or predictions one of [`Store::log_predictions`], can hold and still
    /// write all of them or none; any number by default.
    fn rows_at_once(&self) -> usize {
        usize::MAX
    }

    /// Writes metrics of one step; see [`Store::log_rows`].
    fn log_metrics(
        &mut self,
        run_id: &str,
        step: u64,
        metrics: &[(&str, f64)],
        split: Split,
    ) -> Result<Logged, StoreError> {
        let metrics: Metrics = metrics
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        self.log_rows(run_id, &[(step, &metrics)], split)
    }

    /// Writes one number; see [`Store::log_rows`].
    fn log_metric(
        &mut self,
        run_id: &str,
        step: u64,
        name: &str,
        value: f64,
        split: Split,
    ) -> Result<Logged, StoreError> {
        self.log_metrics(run_id, step, &[(name, value)], split)
    }

    /// The metrics of a run by step, split and name: all of them, or those of one name or split. None for a run without.
    fn get_metrics(
        &self,
        run_id: &str,
        name: Option<&str>,
        split: Option<Split>,
    ) -> Result<Vec<Metric>, StoreError>;

    /// Records a checkpoint of a run.
    fn add_checkpoint(&mut self, checkpoint: &Checkpoint)
    -> Result<Stored<Checkpoint>, StoreError>;
    /// Records the result of an evaluation.
    fn create_eval(&mut self, eval: &Eval) -> Result<Stored<Eval>, StoreError>;

    /// Records one prediction.
    fn add_prediction(&mut self, prediction: &Prediction)
    -> Result<Stored<Prediction>, StoreError>;
    /// Records predictions, all or none; how many there were.
    fn log_predictions(&mut self, predictions: &[Prediction]) -> Result<u64, StoreError>;

    /// The experiment of this id.
    fn get_experiment(&self, id: &str) -> Result<Stored<Experiment>, StoreError>;
    /// The run of this id.
    fn get_run(&self, id: &str) -> Result<Stored<Run>, StoreError>;
    /// All experiments, the oldest first.
    fn list_experiments(&self) -> Result<Vec<Stored<Experiment>>, StoreError>;
    /// The groups of an experiment, the oldest first.
    fn list_groups(&self, experiment_id: &str) -> Result<Vec<Stored<Group>>, StoreError>;
    /// The runs, the oldest first: all, or those of one experiment or group.
    fn list_runs(
        &self,
        experiment_id: Option<&str>,
        group_id: Option<&str>,
    ) -> Result<Vec<Stored<Run>>, StoreError>;
    /// The checkpoints of a run, the oldest first.
    fn list_checkpoints(&self, run_id: &str) -> Result<Vec<Stored<Checkpoint>>, StoreError>;
    /// The evaluations of a run, the oldest first.
    fn list_evals(&self, run_id: &str) -> Result<Vec<Stored<Eval>>, StoreError>;
    /// The predictions of a run, the oldest first: all, or those of one kind.
    fn list_predictions(
        &self,
        run_id: &str,
        kind: Option<&str>,
    ) -> Result<Vec<Stored<Prediction>>, StoreError>;
}

/// What became of the numbers of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// Numbers now in the store.
    pub written: u64,
    /// Values that were NaN, left out.
    pub nan: u64,
    /// Rows left out, as those that stand are over more steps.
    pub surpassed: u64,
}

/// Why a store refused, or could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nothing is there to read. Reading never makes a store.
    #[error("{path}: expected a store of runs, found no such file")]
    Missing {
        /// The path that was given.
        path: String,
    },
    /// Something else is there.
    #[error("{path}: expected a store of runs, found {found}")]
    NotAStore {
        /// The path that was given.
        path: String,
        /// What is there, in words.
        found: String,
    },
    /// A newer version of this program wrote the store.
    #[error(
        "{path}: expected a store of schema version {known} or older, found version {found}: a newer grpo-metrics wrote it"
    )]
    Newer {
        /// The store's file.
        path: String,
        /// The schema version of the file.
        found: i64,
        /// The newest version that this program knows.
        known: u32,
    },
    /// A record that another should belong to, or that should be read or changed, is not there.
    #[error("expected {what}, found no such record")]
    Unknown {
        /// The kind and the id of the record, as in "run `a`"; of a record that belongs to several, all of them.
        what: String,
    },
    /// The run is there already, elsewhere.
    #[error("run `{run}`: expected it in {expected}, found it in {found}")]
    Elsewhere {
        /// The run's name.
        run: String,
        /// The experiment or group that was asked for, by name.
        expected: String,
        /// The one that the run is in, if it is in any.
        found: String,
    },
    /// The run was begun with other options, which decide its numbers.
    #[error(
        "run `{run}`: expected {begun}, as it was begun with, found {found}: a run keeps what decides its numbers"
    )]
    Otherwise {
        /// The run's id.
        run: String,
        /// Those of its options that are other now, each with its value.
        begun: String,
        /// The same options, as they are given now.
        found: String,
    },
    /// The step is beyond what a store can count.
    #[error("expected a step up to {max}, found {step}", max = i64::MAX)]
    Step {
        /// The step that was given.
        step: u64,
    },
    /// A stored record does not read as what it should be.
    #[error("{what}: expected {expected}, found `{found}`")]
    Damaged {
        /// What was read: a column, or a server's answer.
        what: String,
        /// What it should be, in words.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A setting is not what it should be.
    #[error("{name}: expected {expected}, found {found}")]
    Setting {
        /// The setting: a variable of the environment.
        name: &'static str,
        /// What it should hold, in words.
        expected: &'static str,
        /// What it holds; never the key.
        found: String,
    },
    /// This program was built without what is asked for.
    #[error("{wanted}, but this program was built without `{feature}`")]
    NotBuilt {
        /// What was asked for, as the beginning of the message.
        wanted: &'static str,
        /// The feature of this crate that it needs.
        feature: &'static str,
    },
    /// The record, or the one that it changes, cannot be stored or read, whenever that is tried.
    #[error("{place}: could not {act}: {reason}")]
    Unfit {
        /// The file.
        place: String,
        /// What was tried: a verb.
        act: &'static str,
        /// What is wrong with the record.
        reason: String,
    },
    /// The server refused for good.
    #[error("{place}: refused {op} with status {status}: {text}")]
    Refused {
        /// The server's address, without a user or the key.
        place: String,
        /// The operation that was asked for, as the gateway calls it.
        op: &'static str,
        /// The HTTP status of the answer.
        status: u16,
        /// The beginning of the answer, without the key.
        text: String,
    },
    /// What the store stands on (a file, a database, a server) failed.
    #[error("{place}: could not {act}: {source}")]
    Backend {
        /// The file, or the server's address without a user or the key.
        place: String,
        /// What was tried: a verb of the file, or an operation of the gateway.
        act: &'static str,
        /// What failed underneath.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// What a record belongs to: always `whole`, and `part` where it names one.
#[cfg(any(feature = "sqlite", feature = "evsys"))]
fn place(whole: &str, id: &str, part: &str, part_id: Option<&str>) -> String {
    match part_id {
        Some(part_id) => format!("{whole} `{id}` and {part} `{part_id}`"),
        None => format!("{whole} `{id}`"),
    }
}

impl StoreError {
    /// Whether the same write would be refused again, whenever it came; what a store stands on may recover.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Backend { .. })
    }
}

impl From<StoreError> for SinkError {
    fn from(error: StoreError) -> Self {
        if error.is_permanent() {
            Self::Refused(Box::new(error))
        } else {
            Self::Store(Box::new(error))
        }
    }
}
