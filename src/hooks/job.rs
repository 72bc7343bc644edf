//! What a store logger has to store, record by record.

use super::{EXPERIMENT_ID, Ids, RUN_ID};
use crate::row::Metrics;
use crate::store::{
    Checkpoint, Eval, Experiment, ExperimentPatch, Group, Prediction, Run, RunPatch, Split, Store,
    StoreError,
};

/// A record to store. The ids that it needs are looked up only when it is stored: jobs go in order, so that what a job
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
    Row(Split, u64, Metrics),
    Checkpoint(Checkpoint),
    /// Its id goes to the ids beside it, where its predictions find it.
    Eval(Eval, Ids),
    Prediction(Prediction, Ids),
    RunPatch(RunPatch),
    ExperimentPatch(ExperimentPatch),
}

const EVAL_ID: &str = "eval_id";

impl Job {
    /// How many of the first `jobs` are one call of the store: rows of a run and split, predictions of an evaluation.
    pub fn together(jobs: &[Self]) -> usize {
        let Some(first) = jobs.first() else {
            return 0;
        };
        let alike = |job: &&Self| match (&first.what, &job.what) {
            (What::Row(split, ..), What::Row(other, ..)) => {
                split == other && first.ids.is(&job.ids)
            }
            (What::Prediction(_, eval), What::Prediction(_, other)) => eval.is(other),
            _ => false,
        };
        jobs.iter().take_while(alike).count().max(1)
    }

    /// Stores `jobs`, which go together.
    pub fn store(jobs: &[Self], store: &mut dyn Store) -> Result<(), StoreError> {
        let Some(Self { ids, what }) = jobs.first() else {
            return Ok(());
        };
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
            What::Row(split, ..) => {
                let rows = jobs.iter().filter_map(|job| match &job.what {
                    What::Row(_, step, metrics) => Some((*step, metrics)),
                    _ => None,
                });
                let rows: Vec<(u64, &Metrics)> = rows.collect();
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
            What::Prediction(_, own) => {
                let (run_id, eval_id) = (known(ids, RUN_ID)?, known(own, EVAL_ID)?);
                let of_eval = |job: &Self| match &job.what {
                    What::Prediction(prediction, _) => Some(Prediction {
                        run_id: run_id.clone(),
                        eval_id: Some(eval_id.clone()),
                        ..prediction.clone()
                    }),
                    _ => None,
                };
                let predictions: Vec<_> = jobs.iter().filter_map(of_eval).collect();
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
