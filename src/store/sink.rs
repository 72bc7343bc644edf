//! A sink over a store: rows become a run's metrics.

use std::borrow::Cow;
use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::Path;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;

use super::heart::{self, Heart, Shared};
use super::spec;
use super::spec::OpenedRun;
#[cfg(feature = "sqlite")]
use super::spec::RunSpec;
use super::{Logged, RunPatch, Split, Status, Store, StoreError};
use crate::row::Row;
use crate::row::run::Ending;
use crate::sink::{Delivery, Receipt, Sink, SinkError, Tally};

/// Writes rows as metrics of one run, a transaction each: keys under `eval/` in split val, all others in train. The run is
/// `running` until the sink is closed, then what [`Sink::ended`] said, with its error, or `completed`; one that is never
/// closed stays `running`. Until then a thread notes every 15 s that somebody writes, where the store keeps such a note
/// ([`Store::touch_run`]): so a run whose process was killed is known to have stopped.
///
/// A row that an engine's beginning or end cut short does not replace one of its step that is over more steps
/// ([`Store::log_windows`]): it counts as written, as that step's row is where it should be.
///
/// The text of a row (`run/git_sha`, ...) goes to the run's configuration, under `metadata`.
pub struct StoreSink {
    store: Shared,
    run_id: String,
    /// The process that opened the store.
    process: u32,
    heart: Heart,
    /// The run that rows go to for now, where an earlier process has left some of another ([`Sink::turn_to`]).
    turned_to: Option<String>,
    /// The run's text that is not stored yet.
    metadata: Vec<(String, String)>,
    nan: u64,
    /// The last step that the run had when it was resumed, if it was.
    resumed_after: Option<u64>,
    again: Again,
    tally: Tally,
    ending: Ending,
    /// Whether the run is over already, and only its rows come.
    comes_after: bool,
}

impl StoreSink {
    /// Opens the embedded store at `path`, making it if need be, and in it `run`: one that is there, or a new one
    /// ([`RunSpec::resume`]). Where it has another id than its name, or goes on, the log says so.
    ///
    /// # Errors
    /// If there is something else at `path`, it cannot be written, or there is no such run to go on with ([`Sqlite::open_run`]).
    ///
    /// [`Sqlite::open_run`]: super::Sqlite::open_run
    #[cfg(feature = "sqlite")]
    pub fn open(path: impl AsRef<Path>, run: impl Into<RunSpec>) -> Result<Self, StoreError> {
        let mut store = super::Sqlite::open(path)?;
        let opened = store.open_run(&run.into())?;
        opened.tell();
        Self::opened(Box::new(store), opened)
    }

    /// Writes to a run that was opened in `store`.
    ///
    /// # Errors
    /// If the store refuses.
    pub fn opened(store: Box<dyn Store>, opened: OpenedRun) -> Result<Self, StoreError> {
        let last_step = opened.last_step();
        let mut sink = Self::over(store, opened.run.id)?;
        sink.resumed_after = last_step;
        Ok(sink)
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
        let mut sink = Self::of(store, run_id, Ending::completed());
        sink.heart = Heart::of(&sink.store, &sink.run_id);
        Ok(sink)
    }

    /// Writes rows that come after their run, which `store` has already, and leaves the run as it stands; where [`Sink::ended`] says how it
    /// ended, that is noted of a run of which nobody else has said so.
    ///
    /// # Errors
    /// If the store has no such run or cannot be asked.
    pub fn after(store: Box<dyn Store>, run_id: impl Into<String>) -> Result<Self, StoreError> {
        let run_id = run_id.into();
        store.get_run(&run_id)?;
        let mut sink = Self::of(store, run_id, Ending::open());
        sink.comes_after = true;
        Ok(sink)
    }

    fn of(store: Box<dyn Store>, run_id: String, ending: Ending) -> Self {
        Self {
            store: Arc::new(Mutex::new(store)),
            run_id,
            process: process::id(),
            heart: Heart::still(),
            turned_to: None,
            metadata: Vec::new(),
            nan: 0,
            resumed_after: None,
            again: Again::default(),
            tally: Tally::default(),
            ending,
            comes_after: false,
        }
    }

    /// How the run stands is to be noted at the end, if it is.
    fn note_ending(&mut self) -> Result<(), SinkError> {
        let patch = RunPatch {
            status: Some(self.ending.status),
            error_message: self.ending.error_message.take(),
            ..RunPatch::default()
        };
        let mut store = self.store()?;
        let stands = |store: &dyn Store| Ok::<_, StoreError>(store.get_run(&self.run_id)?.status);
        if !self.comes_after || !stands(store.as_ref())?.is_final() {
            store.update_run(&self.run_id, &patch)?;
        }
        Ok(())
    }

    /// The id of the run.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The store.
    ///
    /// # Errors
    /// In another process than the one that opened it.
    fn store(&self) -> Result<MutexGuard<'_, Box<dyn Store>>, SinkError> {
        if self.process != process::id() {
            return Err(SinkError::Inherited {
                sink: "store",
                owner: self.process,
            });
        }
        Ok(heart::lock(&self.store))
    }

    /// The run that rows go to.
    fn target(&self) -> &str {
        self.turned_to.as_deref().unwrap_or(&self.run_id)
    }

    fn put(&mut self, rows: &[Row]) -> Result<(), SinkError> {
        let again: Vec<u64> = rows.iter().filter(|r| r.again).map(|r| r.step).collect();
        let goes_on = again.len() < rows.len();
        let (rows, evaluated) = parted(rows);
        let run = self.target();
        let mut logged = Logged::default();
        {
            let mut store = self.store()?;
            if !rows.is_empty() {
                logged = store.log_windows(run, &rows, Split::Train)?;
            }
            if !evaluated.is_empty() {
                logged.nan += store.log_windows(run, &evaluated, Split::Val)?.nan;
            }
        }
        if let (Some(first), true) = (rows.first(), logged.nan > 0) {
            tracing::warn!(
                "run `{run}`, from step {}: {} NaN left out",
                first.step,
                logged.nan
            );
        }
        if let (Some(first), true) = (rows.first(), logged.surpassed > 0) {
            tracing::info!(
                "run `{run}`, from step {}: {} rows over a part of their window left out, as those that stand are over more steps",
                first.step,
                logged.surpassed
            );
        }
        self.nan += logged.nan;
        self.again.count(&again);
        if goes_on {
            self.again.tell(&self.run_id);
        }
        Ok(())
    }

    /// Adds the text that is waiting to the run's configuration.
    fn put_metadata(&mut self) -> Result<(), SinkError> {
        if self.metadata.is_empty() {
            return Ok(());
        }
        let run = self.target();
        let mut store = self.store()?;
        let config = store.get_run(run)?.record.run_config;
        let text = self.metadata.iter();
        let text = text.map(|(key, text)| (key.clone(), Value::from(text.as_str())));
        let patch = RunPatch {
            run_config: Some(spec::noted(config, "metadata", text)),
            ..RunPatch::default()
        };
        store.update_run(run, &patch)?;
        drop(store);
        self.metadata.clear();
        Ok(())
    }
}

/// Rows of steps that the run had when it was resumed, and that were written again.
#[derive(Debug, Default)]
struct Again {
    rows: u64,
    first: u64,
    last: u64,
}

impl Again {
    fn count(&mut self, steps: &[u64]) {
        for step in steps {
            let first = if self.rows == 0 { *step } else { self.first };
            (self.first, self.last) = (first.min(*step), self.last.max(*step));
            self.rows += 1;
        }
    }

    /// Says it once, when it is over.
    fn tell(&mut self, run: &str) {
        let Self { rows, first, last } = std::mem::take(self);
        if rows > 0 {
            tracing::warn!(
                "run `{run}`: rows of steps that were there already are written again: {rows}, of steps {first} to {last}"
            );
        }
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

    fn resumed_after(&self) -> Option<u64> {
        self.resumed_after
    }

    /// Rows of a run that the store does not have, or will not tell of, go to its own, with a warning.
    fn turn_to(&mut self, run: Option<&str>) -> Result<(), SinkError> {
        self.put_metadata()?;
        self.turned_to = match run.filter(|run| *run != self.run_id) {
            None => None,
            Some(run) => {
                let found = self.store()?.get_run(run);
                match found {
                    Ok(_) => Some(run.to_owned()),
                    Err(error) if error.is_permanent() => {
                        tracing::warn!(
                            "rows that were left of run `{run}` go to run `{}`: {error}",
                            self.run_id
                        );
                        None
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        Ok(())
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
        let noted = self.put_metadata();
        if noted.as_ref().is_err_and(|error| !error.is_permanent()) {
            return Delivery {
                error: noted.err(),
                ..Delivery::default()
            };
        }
        let at_once = self.store().map_or(1, |store| store.rows_at_once());
        let mut delivery = Delivery::of(rows, |_| at_once, |batch| self.put(batch));
        delivery.error = delivery.error.or(noted.err());
        self.tally.count_batch(&delivery);
        delivery
    }

    /// Rows are on the disk once written; what can wait is the run's text.
    fn flush(&mut self) -> Result<(), SinkError> {
        let outcome = self.put_metadata();
        self.tally.note(outcome)
    }

    fn ended(&mut self, ending: &Ending) -> Result<(), SinkError> {
        self.ending = ending.clone();
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Receipt {
        // No sign of life comes behind the end.
        self.heart = Heart::still();
        // What fails here is in the receipt.
        let _ = self.flush();
        self.again.tell(&self.run_id);
        if self.ending.status.is_final() {
            let noted = self.note_ending();
            let _ = self.tally.note(noted);
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
