//! The `EvSys` gateway as a store.

mod dead_letter;
mod form;
mod gateway;
mod request;
mod rows;
mod signs;
mod windows;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::record::{
    Checkpoint, Eval, Experiment, ExperimentPatch, Group, Metric, Prediction, Run, RunPatch, Split,
    Stored,
};
use super::{Logged, Store, StoreError};
use crate::row::{Metrics, Row};
use form::{Said, args, fields};
pub use gateway::Patience;
use gateway::{Again, Done, Gateway, Secret};
use rows::{Of, Series, can_be_counted};
use signs::Signs;

/// Where the gateway is if nobody says.
const DEFAULT_URL: &str = "http://localhost:8000";

/// The `EvSys` gateway, over HTTP(S) with kept connections and certificates checked.
///
/// What a server cannot do for now (no connection, no answer, 408, 425, 429, 5xx) is tried again, at growing intervals with
/// jitter or when the server says; then it is an error, and put behind a [`Durable`](crate::sink::Durable) sink it is tried on. Any other
/// 4xx is final: the record goes to a file of dead letters with the reason. A 413 is tried in halves first.
/// A redirect to the same host behind TLS is followed; any other is an error that says where it points, and is tried on.
///
/// A row whose answer was lost, and any first row of a run that this process sends, is asked for before it is sent (again): what the server has
/// is not sent twice. A new record (an experiment, a run, ...) that may have been made without an answer is not asked for
/// again, but an error.
///
/// The gateway takes a step at a time, so a call with several rows may write some of them. An infinity goes as the word
/// `"Infinity"` in a call of its own. The key shows in no error, log line or `Debug` text.
#[derive(Debug)]
pub struct EvSys {
    gateway: Gateway,
    project: Option<String>,
    dead_letters: PathBuf,
    /// The runs of which it is known that the server has what was sent, and nothing more.
    certain: HashSet<String>,
    /// The runs of which no other process has anything under way.
    at_rest: HashSet<String>,
    /// What the server has, as it said when last asked; forgotten with the next thing that is sent.
    seen: Option<Series>,
    /// Whether the server takes the time of a row; it is tried until it says otherwise.
    takes_times: bool,
    signs: Signs,
}

impl EvSys {
    /// The gateway at `url` (scheme, host, port, and perhaps a path before the gateway's own), as the owner of `key`. Nothing is asked of it yet.
    ///
    /// # Errors
    /// If `url` is no HTTP URL, or no header can carry the key.
    pub fn new(url: &str, key: impl Into<String>) -> Result<Self, StoreError> {
        let key = Secret::new(key.into()).ok_or(StoreError::Setting {
            name: "EVSYS_API_KEY",
            expected: "printable characters without a blank",
            found: "something else".to_owned(),
        })?;
        let host = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"));
        if host.is_none_or(str::is_empty) || url.parse::<ureq::http::Uri>().is_err() {
            return Err(StoreError::Setting {
                name: "EVSYS_API_URL",
                expected: "http://HOST or https://HOST",
                found: key.scrub(url),
            });
        }
        let gateway = Gateway::new(url, key);
        if gateway.in_the_clear() {
            tracing::warn!(
                "{}: the key is sent without TLS, for all on the way to read",
                gateway.place
            );
        }
        Ok(Self {
            gateway,
            project: None,
            dead_letters: "evsys-dead-letters.jsonl".into(),
            certain: HashSet::new(),
            at_rest: HashSet::new(),
            seen: None,
            takes_times: true,
            signs: Signs::Asked(0),
        })
    }

    /// The gateway that the environment describes: `EVSYS_API_URL` (or `http://localhost:8000`), `EVSYS_API_KEY` and
    /// `EVSYS_PROJECT_ID`; for one behind TLS also `SSL_CERT_FILE`, as [`EvSys::ca_file`] takes it.
    ///
    /// # Errors
    /// If there is no key, or one of them is not what it should be.
    pub fn from_env(environment: impl Fn(&str) -> Option<String>) -> Result<Self, StoreError> {
        let set = |name| environment(name).filter(|value| !value.is_empty());
        let key = set("EVSYS_API_KEY").ok_or(StoreError::Setting {
            name: "EVSYS_API_KEY",
            expected: "the key of the gateway",
            found: "nothing".to_owned(),
        })?;
        let url = set("EVSYS_API_URL").unwrap_or_else(|| DEFAULT_URL.to_owned());
        let mut store = Self::new(&url, key)?;
        store.project = set("EVSYS_PROJECT_ID");
        match set("SSL_CERT_FILE") {
            Some(path) if url.starts_with("https://") => store.ca_file(path),
            _ => Ok(store),
        }
    }

    /// The project that new experiments belong to where they name none.
    #[must_use]
    pub fn project(mut self, id: impl Into<String>) -> Self {
        self.project = Some(id.into());
        self
    }

    /// The file for what the gateway refuses for good: JSON lines `{"ts", "op", "args", "reason"}`. `evsys-dead-letters.jsonl` in the
    /// working directory by default.
    #[must_use]
    pub fn dead_letters(mut self, path: impl Into<PathBuf>) -> Self {
        self.dead_letters = path.into();
        self
    }

    /// The certificates (a file in PEM) of the authorities that may vouch for the gateway, in place of the public ones: for a
    /// company that has its own.
    ///
    /// # Errors
    /// If the file cannot be read or holds no certificate.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let roots = gateway::certificates(path).map_err(|found| StoreError::Setting {
            name: "SSL_CERT_FILE",
            expected: "a file of certificates in PEM",
            found: format!("{}: {found}", path.display()),
        })?;
        self.gateway = self.gateway.trusting(roots);
        Ok(self)
    }

    /// How long to wait, and how often to try again.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.gateway = self.gateway.with(patience);
        self
    }
}

fn series(run_id: &str, name: Option<&str>, split: Option<Split>) -> Map<String, Value> {
    args([
        ("run_id", run_id.into()),
        ("name", name.into()),
        ("split", split.map(Split::as_str).into()),
    ])
}

impl Store for EvSys {
    fn create_experiment(
        &mut self,
        experiment: &Experiment,
    ) -> Result<Stored<Experiment>, StoreError> {
        let mut args = fields(experiment);
        if let (None, Some(project)) = (&experiment.project_id, &self.project) {
            args.insert("project_id".to_owned(), project.as_str().into());
        }
        let answer = self.ask("create_experiment", &args, "", Again::IfNotDone)?;
        form::stored(answer).ok_or_else(|| self.damaged("create_experiment"))
    }

    fn update_experiment(
        &mut self,
        id: &str,
        patch: &ExperimentPatch,
    ) -> Result<Stored<Experiment>, StoreError> {
        let args = args([
            ("experiment_id", id.into()),
            ("patch", fields(patch).into()),
        ]);
        let what = format!("experiment `{id}`");
        let answer = self.ask("update_experiment", &args, &what, Again::Always)?;
        form::stored(answer).ok_or_else(|| self.damaged("update_experiment"))
    }

    fn create_group(&mut self, group: &Group) -> Result<Stored<Group>, StoreError> {
        let what = format!("experiment `{}`", group.experiment_id);
        let answer = self.ask("create_group", &fields(group), &what, Again::IfNotDone)?;
        form::stored(answer).ok_or_else(|| self.damaged("create_group"))
    }

    fn create_run(&mut self, run: &Run) -> Result<Stored<Run>, StoreError> {
        let what = super::place(
            "experiment",
            &run.experiment_id,
            "group",
            run.group_id.as_deref(),
        );
        let answer = self.ask("create_run", &fields(run), &what, Again::IfNotDone)?;
        let created: Option<Stored<Run>> = form::stored(answer);
        let created = created.ok_or_else(|| self.damaged("create_run"))?;
        self.at_rest.insert(created.id.clone());
        Ok(created)
    }

    fn update_run(&mut self, id: &str, patch: &RunPatch) -> Result<Stored<Run>, StoreError> {
        let args = args([("run_id", id.into()), ("patch", fields(patch).into())]);
        let what = format!("run `{id}`");
        let answer = self.ask("update_run", &args, &what, Again::Always)?;
        form::stored(answer).ok_or_else(|| self.damaged("update_run"))
    }

    /// Our own gateway takes it.
    fn touch_run(&mut self, id: &str) -> Result<bool, StoreError> {
        if self.signs == Signs::NotTaken {
            return Ok(false);
        }
        let args = args([("run_id", id.into())]);
        let outcome: Result<Done, _> = self.gateway.once("touch_run", &args);
        self.signs = self.signs.after(&outcome);
        match outcome {
            Ok(Done) => Ok(true),
            Err(_) if self.signs == Signs::NotTaken => Ok(false),
            Err(fault) => Err(self.refused("touch_run", &format!("run `{id}`"), fault)),
        }
    }

    fn log_rows(
        &mut self,
        run_id: &str,
        rows: &[(u64, &Metrics)],
        split: Split,
    ) -> Result<Logged, StoreError> {
        for (step, _) in rows {
            can_be_counted(*step)?;
        }
        let mut logged = Logged::default();
        let mut outcome = Ok(());
        for (step, metrics) in rows {
            let of = Of {
                step: *step,
                time: None,
                split,
            };
            match self.log_step(run_id, of, metrics, &mut logged) {
                Ok(()) => {}
                Err(error) if error.is_permanent() => outcome = outcome.and(Err(error)),
                Err(error) => return Err(error),
            }
        }
        outcome.map(|()| logged)
    }

    fn log_windows(
        &mut self,
        run_id: &str,
        rows: &[Row],
        split: Split,
    ) -> Result<Logged, StoreError> {
        self.send_windows(run_id, rows, split)
    }

    fn rows_at_once(&self) -> usize {
        1
    }

    fn get_metrics(
        &self,
        run_id: &str,
        name: Option<&str>,
        split: Option<Split>,
    ) -> Result<Vec<Metric>, StoreError> {
        let args = series(run_id, name, split);
        let said: Vec<Said> = self.list("get_metrics", &args)?;
        let metrics = said.into_iter().map(|said| said.metric(name, split));
        let metrics: Option<Vec<Metric>> = metrics.collect();
        let mut metrics = metrics.ok_or_else(|| self.damaged("get_metrics"))?;
        // The last of a step, split and name is the one that counts: the sort keeps their order.
        metrics.sort_by(|a, b| (a.step, a.split, &a.name).cmp(&(b.step, b.split, &b.name)));
        metrics.reverse();
        metrics.dedup_by(|a, b| (a.step, a.split, &a.name) == (b.step, b.split, &b.name));
        metrics.reverse();
        Ok(metrics)
    }

    fn add_checkpoint(
        &mut self,
        checkpoint: &Checkpoint,
    ) -> Result<Stored<Checkpoint>, StoreError> {
        let what = format!("run `{}`", checkpoint.run_id);
        let answer = self.add("add_checkpoint", &fields(checkpoint), &what)?;
        form::stored(answer).ok_or_else(|| self.damaged("add_checkpoint"))
    }

    fn create_eval(&mut self, eval: &Eval) -> Result<Stored<Eval>, StoreError> {
        let what = super::place(
            "run",
            &eval.run_id,
            "checkpoint",
            eval.checkpoint_id.as_deref(),
        );
        let answer = self.add("create_eval", &fields(eval), &what)?;
        form::stored(answer).ok_or_else(|| self.damaged("create_eval"))
    }

    fn add_prediction(
        &mut self,
        prediction: &Prediction,
    ) -> Result<Stored<Prediction>, StoreError> {
        let what = super::place(
            "run",
            &prediction.run_id,
            "evaluation",
            prediction.eval_id.as_deref(),
        );
        let answer = self.add("add_prediction", &form::prediction(prediction), &what)?;
        form::stored_prediction(answer).ok_or_else(|| self.damaged("add_prediction"))
    }

    /// The gateway takes a prediction at a time: those before the first that fails are there.
    fn log_predictions(&mut self, predictions: &[Prediction]) -> Result<u64, StoreError> {
        for prediction in predictions {
            self.add_prediction(prediction)?;
        }
        Ok(predictions.len() as u64)
    }

    /// The gateway has no such question, so it is asked for all.
    fn get_experiment(&self, id: &str) -> Result<Stored<Experiment>, StoreError> {
        let found = self.list_experiments()?.into_iter().find(|e| e.id == id);
        found.ok_or_else(|| StoreError::Unknown {
            what: format!("experiment `{id}` at {}", self.gateway.place),
        })
    }

    fn get_run(&self, id: &str) -> Result<Stored<Run>, StoreError> {
        let what = format!("run `{id}`");
        let args = args([("run_id", id.into())]);
        let answer: Value = self.ask("get_run", &args, &what, Again::Always)?;
        if answer.is_null() {
            return Err(StoreError::Unknown { what });
        }
        form::stored(answer).ok_or_else(|| self.damaged("get_run"))
    }

    fn list_experiments(&self) -> Result<Vec<Stored<Experiment>>, StoreError> {
        self.list("list_experiments", &args([]))
    }

    fn list_groups(&self, experiment_id: &str) -> Result<Vec<Stored<Group>>, StoreError> {
        let args = args([("experiment_id", experiment_id.into())]);
        self.list("list_groups", &args)
    }

    fn list_runs(
        &self,
        experiment_id: Option<&str>,
        group_id: Option<&str>,
    ) -> Result<Vec<Stored<Run>>, StoreError> {
        let args = args([
            ("experiment_id", experiment_id.into()),
            ("group_id", group_id.into()),
        ]);
        self.list("list_runs", &args)
    }

    fn list_checkpoints(&self, run_id: &str) -> Result<Vec<Stored<Checkpoint>>, StoreError> {
        self.list("list_checkpoints", &args([("run_id", run_id.into())]))
    }

    fn list_evals(&self, run_id: &str) -> Result<Vec<Stored<Eval>>, StoreError> {
        self.list("list_evals", &args([("run_id", run_id.into())]))
    }

    fn list_predictions(
        &self,
        run_id: &str,
        kind: Option<&str>,
    ) -> Result<Vec<Stored<Prediction>>, StoreError> {
        let args = args([("run_id", run_id.into()), ("kind", kind.into())]);
        self.list("list_predictions", &args)
    }
}
