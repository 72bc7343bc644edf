//! Changes to records, from a patch.

use serde_json::{Map, Value};

use super::args::Args;
use super::create::OWN;
use super::refusal::Refusal;
use crate::store::{ExperimentPatch, RunPatch};

/// A change to one record.
#[derive(Debug)]
pub(super) struct Change {
    pub id: String,
    pub patch: Patch,
    /// Columns that the patch of the store has no word for, and those that are taken away.
    pub columns: Vec<(&'static str, Option<String>)>,
    /// Fields that no column has; null takes one away.
    pub fields: Map<String, Value>,
}

#[derive(Debug)]
pub(super) enum Patch {
    Experiment(ExperimentPatch),
    Run(RunPatch),
}

/// What may be taken away with a null.
const OF_EXPERIMENT: [&str; 4] = ["project_id", "hypothesis", "conclusion", "error_message"];
const OF_RUN: [&str; 8] = [
    "note",
    "group_id",
    "dataset_id",
    "seed",
    "recipe_kind",
    "run_config",
    "error_message",
    "wandb_run_url",
];

pub(super) fn experiment(mut args: Args) -> Result<Change, Refusal> {
    let id = args.needed_text("experiment_id")?;
    let mut from = args.object("patch", "patch.")?;
    let mut columns = taken_away(&mut from, &OF_EXPERIMENT);
    let patch = ExperimentPatch {
        hypothesis: from.text("hypothesis")?,
        tags: from.names("tags")?,
        status: from.status("status")?,
        conclusion: from.text("conclusion")?,
        error_message: from.text("error_message")?,
    };
    set(
        &mut columns,
        "experiment_name",
        from.name("experiment_name")?,
    );
    set(&mut columns, "project_id", from.word("project_id")?);
    Ok(Change {
        id,
        patch: Patch::Experiment(patch),
        columns,
        fields: rest(args, from, &OWN)?,
    })
}

pub(super) fn run(mut args: Args) -> Result<Change, Refusal> {
    let id = args.needed_text("run_id")?;
    let mut from = args.object("patch", "patch.")?;
    let mut columns = taken_away(&mut from, &OF_RUN);
    let config = from.json("run_config")?;
    let patch = RunPatch {
        name: from.name("name")?,
        tags: from.names("tags")?,
        note: from.text("note")?,
        run_config: Some(config).filter(|config| !config.is_null()),
        status: from.status("status")?,
        error_message: from.text("error_message")?,
        wandb_run_url: from.text("wandb_run_url")?,
    };
    set(&mut columns, "group_id", from.text("group_id")?);
    set(&mut columns, "dataset_id", from.word("dataset_id")?);
    let seed = from.integer("seed")?.map(|seed| seed.to_string());
    set(&mut columns, "seed", seed);
    set(&mut columns, "recipe_kind", from.text("recipe_kind")?);
    Ok(Change {
        id,
        patch: Patch::Run(patch),
        columns,
        fields: rest(args, from, &["id", "created_at", "experiment_id"])?,
    })
}

fn set(
    columns: &mut Vec<(&'static str, Option<String>)>,
    column: &'static str,
    value: Option<String>,
) {
    if value.is_some() {
        columns.push((column, value));
    }
}

fn taken_away(from: &mut Args, columns: &[&'static str]) -> Vec<(&'static str, Option<String>)> {
    let away = columns.iter().filter(|column| from.take_null(column));
    away.map(|column| (*column, None)).collect()
}

/// What is left of the patch, and beside it.
fn rest(args: Args, patch: Args, own: &[&str]) -> Result<Map<String, Value>, Refusal> {
    let mut fields = args.rest(own)?;
    fields.extend(patch.rest(own)?);
    fields.remove("user_id");
    Ok(fields)
}
