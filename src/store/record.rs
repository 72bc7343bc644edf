//! The records, as the gateway spells them.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StoreError;
use crate::row::run::Status;

/// A record as a store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored<T> {
    /// The id the store gave it.
    pub id: String,
    /// When it was created: UTC, as `2026-01-31T12:00:00.000Z`, if the store says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// The record itself. A `Stored` dereferences to it, so that its fields are read directly.
    #[serde(flatten)]
    pub record: T,
}

impl<T> Deref for Stored<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.record
    }
}

impl FromStr for Status {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| StoreError::Damaged {
            what: "status".to_owned(),
            expected: "one of pending running completed failed cancelled",
            found: text.to_owned(),
        })
    }
}

/// What a metric was measured on.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Training data.
    #[default]
    Train,
    /// Validation data: the keys under `eval/` of the rows that a [`StoreSink`](super::StoreSink) writes, and the
    /// results of a loop's evaluations.
    Val,
}

impl Split {
    /// The text form, the same in a store, in JSON and for a reader.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Split {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        match text {
            "train" => Ok(Self::Train),
            "val" => Ok(Self::Val),
            _ => Err(StoreError::Damaged {
                what: "split".to_owned(),
                expected: "one of train val",
                found: text.to_owned(),
            }),
        }
    }
}

/// A question that runs are to answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Experiment {
    /// The experiment's name. Two experiments may have the same; opening a run by name takes the oldest.
    pub experiment_name: String,
    /// The project that it belongs to, as an id of the gateway; `None` without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// What is expected to come out; `None` where nobody said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hypothesis: Option<String>,
    /// Words to find it by, in the order given; may be empty.
    pub tags: Vec<String>,
    /// Where the experiment stands; pending by default.
    pub status: Status,
    /// What it has shown; `None` until somebody says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<String>,
    /// What ended it, where it failed or was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// A change to an experiment; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExperimentPatch {
    /// The new hypothesis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hypothesis: Option<String>,
    /// The new tags, in place of all that are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Where the experiment stands now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What it has shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<String>,
    /// What ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// Runs of an experiment that belong together, such as the seeds of one setting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Group {
    /// The id of the experiment, which the store must have.
    pub experiment_id: String,
    /// The group's name.
    pub name: String,
    /// What its runs have in common; `None` where nobody said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// One training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// A label, which several runs may have; that of a run without one is its id, in the embedded store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Words to find it by, in the order given; may be empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What people have to say about it; `None` where nobody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The id of the experiment, which the store must have.
    pub experiment_id: String,
    /// The id of the group, which the store must have; `None` for a run without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// The data it trains on, as an id of the caller's own: the embedded store looks nothing up by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_id: Option<String>,
    /// The seed of its random numbers; `None` where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// The kind of recipe that it follows, in the caller's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe_kind: Option<String>,
    /// The run's configuration, any JSON; null where there is none.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub run_config: Value,
    /// Where the run stands; pending by default.
    pub status: Status,
    /// Why it failed or was cancelled; `None` where there is nothing to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// The same run on Weights & Biases; `None` where it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wandb_run_url: Option<String>,
}

/// A change to a run; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunPatch {
    /// The new label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The new tags, in place of all that are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// An empty text takes away the one that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The new configuration, in place of the whole of the old one. The embedded store leaves the old one for a null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_config: Option<Value>,
    /// Where the run stands now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// An empty text takes away the one that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// The same run on Weights & Biases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wandb_run_url: Option<String>,
}

/// One number of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The optimizer step that it is of.
    pub step: u64,
    /// The metric's key, as in the row.
    pub name: String,
    /// The number, which may be infinite; what is undefined (NaN) is not stored.
    pub value: f64,
    /// What it was measured on; train where JSON does not say.
    #[serde(default)]
    pub split: Split,
}

/// Weights that a run wrote down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    /// The id of the run that wrote it, which the store must have.
    pub run_id: String,
    /// Where the weights are: any address or path. No store opens it.
    pub uri: String,
    /// What people call it; `None` if it has no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The optimizer step after which it was written; `None` where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// The model that the training began with; `None` where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_model: Option<String>,
    /// Whether it is the training's last one.
    pub is_final: bool,
}

/// The result of a benchmark.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Eval {
    /// The id of the run, which the store must have.
    pub run_id: String,
    /// Which benchmark it was, in the caller's own words.
    pub benchmark_id: String,
    /// The id of the checkpoint that was evaluated, which the store must have; `None` where it was no stored one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_id: Option<String>,
    /// The model that was evaluated, in the caller's own words; `None` where nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_ref: Option<String>,
    /// The optimizer step that the model was at; `None` where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Any JSON; null where there is none.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub metrics: Value,
    /// Any JSON; null where there is none.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub breakdowns: Value,
    /// The program that recorded the result, with its version; `None` where it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk_version: Option<String>,
}

/// One output of a model, and what it was worth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prediction {
    /// The id of the run, which the store must have.
    pub run_id: String,
    /// What sort of output it is, in the caller's own words:
    /// [`Store::list_predictions`](super::Store::list_predictions) can ask for one sort.
    pub kind: String,
    /// The id of the evaluation that it is from, which the store must have; `None` for others, as samples of the
    /// training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_id: Option<String>,
    /// The task that was set, as an id of the caller's own; of a training's sample, the trajectory's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// What the model was asked; `None` where the text is not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// What the model answered; `None` where the text is not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_output: Option<String>,
    /// What it should have answered; `None` where there is no such text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// A NaN is stored as absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<f64>,
    /// A NaN is stored as absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advantage: Option<f64>,
    /// The optimizer step that the model was at; `None` where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Tells outputs of one step or task apart; of a sample table, the row, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_idx: Option<u64>,
    /// Any JSON; null where there is none.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
}
