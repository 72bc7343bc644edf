//! New records, from arguments.

use serde_json::{Map, Value};

use super::args::Args;
use super::refusal::Refusal;
use crate::store::{Checkpoint, Eval, Experiment, Group, Prediction, Run};

/// What is the gateway's to say of a new record.
pub(super) const OWN: [&str; 2] = ["id", "created_at"];

/// A new record, and the fields that no column has.
#[derive(Debug)]
pub(super) struct Create {
    pub record: Record,
    pub fields: Map<String, Value>,
}

#[derive(Debug)]
pub(super) enum Record {
    Experiment(Experiment),
    Group(Group),
    Run(Run),
    Checkpoint(Checkpoint),
    Eval(Eval),
    Prediction(Prediction),
    /// All of it is fields.
    Project,
    Goal,
}

/// The record that `op` makes.
pub(super) fn record(op: &'static str, mut args: Args) -> Result<Create, Refusal> {
    let from = &mut args;
    let record = match op {
        "create_experiment" => Record::Experiment(experiment(from)?),
        "create_group" => Record::Group(Group {
            experiment_id: from.needed_text("experiment_id")?,
            name: from.needed_name("name")?,
            description: from.text("description")?,
        }),
        "create_run" => Record::Run(run(from)?),
        "add_checkpoint" => Record::Checkpoint(Checkpoint {
            run_id: from.needed_text("run_id")?,
            uri: from.needed_text("uri")?,
            label: from.name("label")?,
            step: from.count("step")?,
            base_model: from.text("base_model")?,
            is_final: from.flag("is_final")?.unwrap_or_default(),
        }),
        "create_eval" => Record::Eval(Eval {
            run_id: from.needed_text("run_id")?,
            benchmark_id: from.word("benchmark_id")?.unwrap_or_default(),
            checkpoint_id: from.text("checkpoint_id")?,
            model_ref: from.text("model_ref")?,
            step: from.count("step")?,
            metrics: from.json("metrics")?,
            breakdowns: from.json("breakdowns")?,
            sdk_version: from.text("sdk_version")?,
        }),
        "add_prediction" => Record::Prediction(prediction(from)?),
        "create_project" => Record::Project,
        _ => Record::Goal,
    };
    let mut fields = args.rest(&OWN)?;
    // The key says who it is.
    fields.remove("user_id");
    Ok(Create { record, fields })
}

fn experiment(from: &mut Args) -> Result<Experiment, Refusal> {
    Ok(Experiment {
        experiment_name: from.needed_name("experiment_name")?,
        project_id: from.word("project_id")?,
        hypothesis: from.text("hypothesis")?,
        tags: from.names("tags")?.unwrap_or_default(),
        status: from.status("status")?.unwrap_or_default(),
        conclusion: from.text("conclusion")?,
        error_message: from.text("error_message")?,
    })
}

fn run(from: &mut Args) -> Result<Run, Refusal> {
    Ok(Run {
        name: from.name("name")?,
        tags: from.names("tags")?.unwrap_or_default(),
        note: from.text("note")?,
        experiment_id: from.needed_text("experiment_id")?,
        group_id: from.text("group_id")?,
        dataset_id: from.word("dataset_id")?,
        seed: from.integer("seed")?,
        recipe_kind: from.text("recipe_kind")?,
        run_config: from.json("run_config")?,
        status: from.status("status")?.unwrap_or_default(),
        error_message: from.text("error_message")?,
        wandb_run_url: from.text("wandb_run_url")?,
    })
}

fn prediction(from: &mut Args) -> Result<Prediction, Refusal> {
    Ok(Prediction {
        run_id: from.needed_text("run_id")?,
        kind: from.name("kind")?.unwrap_or_default(),
        eval_id: from.text("eval_id")?,
        task_id: from.word("task_id")?,
        instruction: from.text("instruction")?,
        model_output: from.text("model_output")?,
        expected: from.text("expected")?,
        reward: from.number("reward")?,
        advantage: from.number("advantage")?,
        step: from.count("step")?,
        sample_idx: from.count("sample_idx")?,
        metadata: from.json("metadata")?,
    })
}
