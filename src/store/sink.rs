//! A sink over a store: rows become a run's metrics.

use std::borrow::Cow;
use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::Path;

use serde_json::{Map, Value};

use super::{Logged, RunPatch, Split, Status, Store, StoreError};
use crate::row::Row;
use crate::row::run::Ending;
use crate::sink::{Delivery, Receipt, Sink, SinkError, Tally};

/// Which run to write, and where it belongs; from a text, the run of that name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunSpec {
    /// The run's name, which is its id in the embedded store. A run that is there already is continued.
    pub name: String,
    /// The experiment's name; the experiment is created if need be. Without one, a new run belongs to `default`.
    pub experiment: Option<String>,
    /// The group's name, if the run belongs to one; the group is created if need be.
    pub group: Option<String>,
    /// The run's seed; `None` leaves that of a continued run as it is.
    pub seed: Option<i64>,
    /// The run's configuration, any JSON; null leaves that of a continued run as it is.
    pub config: Value,
}

impl RunSpec {
    /// The run called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }
}

impl<T: Into<String>> From<T> for RunSpec {
    fn from(name: T) -> Self {
        Self::new(name)
    }
}

/// Writes rows as metrics of one run, a transaction each: keys under `eval/` in split val, all others in train. The run is
/// `running` until the sink is closed, then what [`Sink::ended`] said, with its error, or `completed`; one that is never
/// closed stays `running`.
///
/// A row that an engine's beginning or end cut short does not replace one of its step that is over more steps
/// ([`Store::log_windows`]): it counts as written, as that step's row is where it should be.
///
/// The text of a row (`run/git_sha`, ...) goes to the run's configuration, under `metadata`.
pub struct StoreSink {
    store: Box<dyn Store>,
    run_id: String,
    /// The run's text that is not stored yet.
    metadata: Vec<(String, String)>,
    nan: u64,
    tally: Tally,
    ending: Ending,
}

impl StoreSink {
    /// Opens the embedded store at `path`, making it if need be, and creates or continues `run`.
    ///
    /// # Errors
    /// If there is something else at `path`, it cannot be written, or the run is in another experiment or group.
    #[cfg(feature = "sqlite")]
    pub fn open(path: impl AsRef<Path>, run: impl Into<RunSpec>) -> Result<Self, StoreError> {
        let mut store = super::Sqlite::open(path)?;
        let run = store.open_run(&run.into())?;
        Self::over(Box::new(store), run.id)
    }

    /// Writes to a run that `store` has already.
    ///
    /// # Errors
    /// If the store has no such run or refuses.
    pub fn over(mut store: Box<dyn Store>, run_id: impl Into<String>) -> Result<Self, StoreError> {
        let run_id = run_id.into();
        let mut again = RunPatch {
            status: Some(Status::Running),
            ..RunPatch::default()
        };
        let run = store.update_run(&run_id, &again)?;
        if run
            .error_message
            .as_ref()
            .is_some_and(|text| !text.is_empty())
        {
            // How it ended before is not how it stands now.
            again.error_message = Some(String::new());
            store.update_run(&run_id, &again)?;
        }
        Ok(Self::of(store, run_id, Ending::completed()))
    }

    /// Writes rows that come after their run, which `store` has already, and leaves the run as it stands.
    ///
    /// # Errors
    /// If the store has no such run or cannot be asked.
    pub fn after(store: Box<dyn Store>, run_id: impl Into<String>) -> Result<Self, StoreError> {
        let run_id = run_id.into();
        store.get_run(&run_id)?;
        Ok(Self::of(store, run_id, Ending::open()))
    }

    fn of(store: Box<dyn Store>, run_id: String, ending: Ending) -> Self {
        Self {
            store,
            run_id,
            metadata: Vec::new(),
            nan: 0,
            tally: Tally::default(),
            ending,
        }
    }

    /// The id of the run.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    fn put(&mut self, rows: &[Row]) -> Result<(), SinkError> {
        let (rows, evaluated) = parted(rows);
        let mut logged = Logged::default();
        if !rows.is_empty() {
            logged = self.store.log_windows(&self.run_id, &rows, Split::Train)?;
        }
        if !evaluated.is_empty() {
            let parts = self
                .store
                .log_windows(&self.run_id, &evaluated, Split::Val)?;
            logged.nan += parts.nan;
        }
        if let (Some(first), true) = (rows.first(), logged.nan > 0) {
            tracing::warn!(
                "run `{}`, from step {}: {} NaN left out",
                self.run_id,
                first.step,
                logged.nan
            );
        }
        if let (Some(first), true) = (rows.first(), logged.surpassed > 0) {
            tracing::info!(
                "run `{}`, from step {}: {} rows over a part of their window left out, as those that stand are over more steps",
                self.run_id,
                first.step,
                logged.surpassed
            );
        }
        self.nan += logged.nan;
        Ok(())
    }

    /// Adds the text that is waiting to the run's configuration.
    fn put_metadata(&mut self) -> Result<(), StoreError> {
        if self.metadata.is_empty() {
            return Ok(());
        }
        let config = self.store.get_run(&self.run_id)?.record.run_config;
        let patch = RunPatch {
            run_config: Some(with_metadata(config, &self.metadata)),
            ..RunPatch::default()
        };
        self.store.update_run(&self.run_id, &patch)?;
        self.metadata.clear();
        Ok(())
    }
}

impl fmt::Debug for StoreSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSink")
            .field("run_id", &self.run_id)
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

impl Sink for StoreSink {
    fn name(&self) -> &'static str {
        "store"
    }

    fn run(&self) -> Option<&str> {
        Some(&self.run_id)
    }

    /// The row's text is kept until the store takes it: if that fails, the row's metrics still count as written.
    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        let outcome = self.put(std::slice::from_ref(row));
        self.metadata.extend(row.text.iter().cloned());
        if let Err(error) = self.put_metadata() {
            tracing::warn!("run `{}`: its text is not stored yet: {error}", self.run_id);
        }
        self.tally.count(outcome)
    }

    /// As many rows in a transaction as the store can hold in one. If it refuses them for good, they go one by one, so that
    /// the one at fault costs no other. The rows' text goes first, as a row that is settled is not handed over again.
    fn write_batch(&mut self, rows: &[Row]) -> Delivery {
        for text in rows.iter().flat_map(|row| &row.text) {
            if !self.metadata.contains(text) {
                self.metadata.push(text.clone());
            }
        }
        let noted = self.put_metadata().map_err(SinkError::from);
        if noted.as_ref().is_err_and(|error| !error.is_permanent()) {
            return Delivery {
                error: noted.err(),
                ..Delivery::default()
            };
        }
        let at_once = self.store.rows_at_once();
        let mut delivery = Delivery::of(rows, |_| at_once, |batch| self.put(batch));
        delivery.error = delivery.error.or(noted.err());
        self.tally.count_batch(&delivery);
        delivery
    }

    /// Rows are on the disk once written; what can wait is the run's text.
    fn flush(&mut self) -> Result<(), SinkError> {
        let outcome = self.put_metadata().map_err(SinkError::from);
        self.tally.note(outcome)
    }

    fn ended(&mut self, ending: &Ending) -> Result<(), SinkError> {
        self.ending = ending.clone();
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Receipt {
        // What fails here is in the receipt.
        let _ = self.flush();
        if self.ending.status.is_final() {
            let patch = RunPatch {
                status: Some(self.ending.status),
                error_message: self.ending.error_message.take(),
                ..RunPatch::default()
            };
            let noted = self.store.update_run(&self.run_id, &patch);
            let _ = self.tally.note(noted.map(drop).map_err(SinkError::from));
        }
        let mut receipt = self.tally.receipt("store");
        if self.nan > 0 && receipt.error.is_none() {
            receipt.error = Some(format!(
                "store: {} NaN values of the rows were left out",
                self.nan
            ));
        }
        receipt
    }
}

/// The rows without an evaluation's keys, and the evaluations by step.
fn parted(rows: &[Row]) -> (Cow<'_, [Row]>, Vec<Row>) {
    let is_evaluated = |key: &str| key.starts_with("eval/");
    let any = |row: &Row| row.metrics.iter().any(|(key, _)| is_evaluated(key));
    if !rows.iter().any(any) {
        return (Cow::Borrowed(rows), Vec::new());
    }
    let (mut trained, mut evaluated) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let (mut row, mut part) = (row.clone(), row.clone());
        row.metrics.retain(|key, _| !is_evaluated(key));
        part.metrics.retain(|key, _| is_evaluated(key));
        // An evaluation is of the weights, not of the steps that the row is over.
        (part.steps, part.cut) = (0, false);
        if !part.metrics.is_empty() {
            evaluated.push(part);
        }
        if !row.metrics.is_empty() {
            trained.push(row);
        }
    }
    (Cow::Owned(trained), evaluated)
}

/// `config` with `text` under `metadata`. A configuration that is no object moves to `config`, so that both are kept.
fn with_metadata(config: Value, text: &[(String, String)]) -> Value {
    let mut object = match config {
        Value::Object(object) => object,
        Value::Null => Map::new(),
        other => Map::from_iter([("config".to_owned(), other)]),
    };
    let metadata = object
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    if !metadata.is_object() {
        *metadata = Value::Object(Map::from_iter([("metadata".to_owned(), metadata.take())]));
    }
    if let Value::Object(metadata) = metadata {
        metadata.extend(
            text.iter()
                .map(|(key, text)| (key.clone(), Value::from(text.as_str()))),
        );
    }
    object.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_joins_whatever_configuration_there_is() {
        let text = [("run/git_sha".to_owned(), "abc".to_owned())];
        let cases = [
            (json!(null), json!({"metadata": {"run/git_sha": "abc"}})),
            (
                json!({"lr": 1, "metadata": {"a": "b"}}),
                json!({"lr": 1, "metadata": {"a": "b", "run/git_sha": "abc"}}),
            ),
            (
                json!([1]),
                json!({"config": [1], "metadata": {"run/git_sha": "abc"}}),
            ),
            (
                json!({"metadata": 5}),
                json!({"metadata": {"metadata": 5, "run/git_sha": "abc"}}),
            ),
        ];
        for (config, expected) in cases {
            assert_eq!(with_metadata(config, &text), expected);
        }
    }
}
