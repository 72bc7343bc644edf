//! What a store logger has to store, one record (or a few of a kind) at a time.

use super::{EXPERIMENT_ID, Ids, RUN_ID};
use crate::row::Metrics;
use crate::store::{
    Checkpoint, Eval, Experiment, ExperimentPatch, Group, Prediction, Run, RunPatch, Split, Store,
    StoreError,
};

/// Something to store. The ids that it needs are looked up only when it is stored: jobs go in order, so that what a job
/// belongs to has its id by then.
#[derive(Debug)]
pub(super) struct Job {
    pub ids: Ids,
    pub what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Experiment(Experiment),
    /// Of this name.
    Group(String),
    /// In the group of this name, if any; the experiment is created if the context has none yet.
    Run(Run, Option<String>, Experiment),
    Rows(Split, Vec<(u64, Metrics)>),
    Checkpoint(Checkpoint),
    /// Its id goes to the ids beside it, where its predictions find it.
    Eval(Eval, Ids),
    Predictions(Vec<Prediction>, Ids),
    RunPatch(RunPatch),
    ExperimentPatch(ExperimentPatch),
}

const EVAL_ID: &str = "eval_id";

impl Job {
    /// How many records it is.
    pub fn records(&self) -> u64 {
        match &self.what {
            What::Rows(_, rows) => rows.len() as u64,
            What::Predictions(predictions, _) => predictions.len() as u64,
            _ => 1,
        }
    }

    /// Stores it.
    pub fn deliver(&self, store: &mut dyn Store) -> Result<(), StoreError> {
        let Self { ids, what } = self;
        match what {
            What::Experiment(experiment) => {
                ids.set(EXPERIMENT_ID, store.create_experiment(experiment)?.id);
            }
            What::Group(name) => {
                let group = Group {
                    experiment_id: known(ids, EXPERIMENT_ID)?,
                    name: name.clone(),
                    description: None,
                };
                ids.set(group_id(name), store.create_group(&group)?.id);
            }
            What::Run(run, group, experiment) => {
                if ids.get(EXPERIMENT_ID).is_none() {
                    ids.set(EXPERIMENT_ID, store.create_experiment(experiment)?.id);
                }
                let run = Run {
                    experiment_id: known(ids, EXPERIMENT_ID)?,
                    group_id: group.as_deref().and_then(|name| ids.get(&group_id(name))),
                    ..run.clone()
                };
                ids.set(RUN_ID, store.create_run(&run)?.id);
            }
            What::Rows(split, rows) => {
                let rows: Vec<(u64, &Metrics)> = rows
                    .iter()
                    .map(|(step, metrics)| (*step, metrics))
                    .collect();
                let run_id = known(ids, RUN_ID)?;
                let logged = store.log_rows(&run_id, &rows, *split)?;
                if logged.nan > 0 {
                    tracing::warn!("run `{run_id}`: {} NaN left out", logged.nan);
                }
            }
            What::Checkpoint(checkpoint) => {
                let checkpoint = Checkpoint {
                    run_id: known(ids, RUN_ID)?,
                    ..checkpoint.clone()
                };
                store.add_checkpoint(&checkpoint)?;
            }
            What::Eval(eval, own) => {
                let eval = Eval {
                    run_id: known(ids, RUN_ID)?,
                    ..eval.clone()
                };
                own.set(EVAL_ID, store.create_eval(&eval)?.id);
            }
            What::Predictions(predictions, own) => {
                let (run_id, eval_id) = (known(ids, RUN_ID)?, known(own, EVAL_ID)?);
                let of_eval = |prediction: &Prediction| Prediction {
                    run_id: run_id.clone(),
                    eval_id: Some(eval_id.clone()),
                    ..prediction.clone()
                };
                let predictions: Vec<_> = predictions.iter().map(of_eval).collect();
                store.log_predictions(&predictions)?;
            }
            What::RunPatch(patch) => {
                store.update_run(&known(ids, RUN_ID)?, patch)?;
            }
            What::ExperimentPatch(patch) => {
                store.update_experiment(&known(ids, EXPERIMENT_ID)?, patch)?;
            }
        }
        Ok(())
    }

    /// The same rows one by one, so that one that the store will never take does not cost the others; `None` for what is one
    /// record or must stay whole.
    pub fn apart(&mut self) -> Option<Vec<Self>> {
        let What::Rows(split, rows) = &mut self.what else {
            return None;
        };
        if rows.len() < 2 {
            return None;
        }
        let single = |row| Self {
            ids: self.ids.clone(),
            what: What::Rows(*split, vec![row]),
        };
        Some(rows.drain(..).map(single).collect())
    }
}

fn group_id(name: &str) -> String {
    format!("group:{name}")
}

/// The id of what a record belongs to, which must have been stored before it.
fn known(ids: &Ids, name: &str) -> Result<String, StoreError> {
    ids.get(name).ok_or_else(|| StoreError::Unknown {
        what: format!("`{name}` among the ids of the context"),
    })
}
