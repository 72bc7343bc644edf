//! A store over the embedded one that can be told to fail, for the tests of what stands before a store.

// Each test file needs some of it.
#![allow(dead_code)]

use std::sync::{Arc, Mutex};

use grpo_metrics::row::Metrics;
use grpo_metrics::store::{
    Checkpoint, Eval, Experiment, ExperimentPatch, Group, Logged, Metric, Prediction, Run,
    RunPatch, Split, Sqlite, Store, StoreError, Stored,
};

/// What the store does with its next writes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Mood {
    #[default]
    Fine,
    /// Fails as a server that is away.
    Away,
    /// Fails whatever holds this step.
    NotStep(u64),
    /// Refuses for good whatever holds this step.
    RefusesStep(u64),
    Panics,
}

/// Each `log_rows`: the steps and the split, whatever came of it.
pub type Calls = Arc<Mutex<Vec<(Vec<u64>, Split)>>>;

pub struct Faulty {
    pub inner: Sqlite,
    pub mood: Arc<Mutex<Mood>>,
    /// One where nothing is in one transaction with anything, as at a gateway.
    pub at_once: usize,
    pub calls: Calls,
}

impl Faulty {
    pub fn over(inner: Sqlite) -> Self {
        Self {
            inner,
            mood: Arc::default(),
            at_once: usize::MAX,
            calls: Arc::default(),
        }
    }

    fn check(&self, steps: &[u64]) -> Result<(), StoreError> {
        let away = || StoreError::Backend {
            place: "the server".to_owned(),
            act: "be reached",
            source: "away".into(),
        };
        let refused = || StoreError::Unknown {
            what: "a better record".to_owned(),
        };
        // Copied, so that no panic poisons the lock.
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Away => Err(away()),
            Mood::NotStep(step) if steps.contains(&step) => Err(away()),
            Mood::RefusesStep(step) if steps.contains(&step) => Err(refused()),
            Mood::Panics => panic!("a bug in a store"),
            _ => Ok(()),
        }
    }
}

/// Writes that fail by mood alone.
macro_rules! writes {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $out:ty;)*) => {
        $(fn $name(&mut self, $($arg: $kind),*) -> Result<$out, StoreError> {
            self.check(&[])?;
            self.inner.$name($($arg),*)
        })*
    };
}

macro_rules! reads {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $out:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> Result<$out, StoreError> {
            self.inner.$name($($arg),*)
        })*
    };
}

impl Store for Faulty {
    fn log_rows(
        &mut self,
        run_id: &str,
        rows: &[(u64, &Metrics)],
        split: Split,
    ) -> Result<Logged, StoreError> {
        let steps: Vec<u64> = rows.iter().map(|(step, _)| *step).collect();
        self.calls.lock().unwrap().push((steps.clone(), split));
        self.check(&steps)?;
        self.inner.log_rows(run_id, rows, split)
    }

    fn rows_at_once(&self) -> usize {
        self.at_once
    }

    fn log_predictions(&mut self, predictions: &[Prediction]) -> Result<u64, StoreError> {
        let step = |prediction: &Prediction| prediction.step.unwrap_or_default();
        if self.at_once > 1 {
            self.check(&predictions.iter().map(step).collect::<Vec<_>>())?;
            return self.inner.log_predictions(predictions);
        }
        for prediction in predictions {
            self.check(&[step(prediction)])?;
            self.inner.add_prediction(prediction)?;
        }
        Ok(predictions.len() as u64)
    }

    writes! {
        create_experiment(experiment: &Experiment) -> Stored<Experiment>;
        update_experiment(id: &str, patch: &ExperimentPatch) -> Stored<Experiment>;
        create_group(group: &Group) -> Stored<Group>;
        create_run(run: &Run) -> Stored<Run>;
        update_run(id: &str, patch: &RunPatch) -> Stored<Run>;
        add_checkpoint(checkpoint: &Checkpoint) -> Stored<Checkpoint>;
        create_eval(eval: &Eval) -> Stored<Eval>;
        add_prediction(prediction: &Prediction) -> Stored<Prediction>;
    }

    reads! {
        get_metrics(run_id: &str, name: Option<&str>, split: Option<Split>) -> Vec<Metric>;
        get_experiment(id: &str) -> Stored<Experiment>;
        get_run(id: &str) -> Stored<Run>;
        list_experiments() -> Vec<Stored<Experiment>>;
        list_groups(experiment_id: &str) -> Vec<Stored<Group>>;
        list_runs(experiment_id: Option<&str>, group_id: Option<&str>) -> Vec<Stored<Run>>;
        list_checkpoints(run_id: &str) -> Vec<Stored<Checkpoint>>;
        list_evals(run_id: &str) -> Vec<Stored<Eval>>;
        list_predictions(run_id: &str, kind: Option<&str>) -> Vec<Stored<Prediction>>;
    }
}
