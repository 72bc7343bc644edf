//! One step: its numbers, and its groups with their completions, from samples in the store or from the run's recording beside it.

mod completion;
mod recorded;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Query;
use super::asked;
use super::error::ReadError;
use super::held::Kept;
use super::names::{labelled, names};
use super::opened::Opened;
use crate::hooks::samples::PREDICTION_KIND;
use crate::store::{Predicted, Split, Sqlite, Store};
use completion::{Completion, Group, Texts, groups};
pub(super) use recorded::Recordings;

/// How many completions of a step are read, and how many of its numbers.
const COMPLETIONS: usize = 4096;
const NUMBERS: usize = 5000;

/// What is answered to `step`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Answer {
    /// The run's steps beside this one.
    previous: Option<u64>,
    next: Option<u64>,
    /// Those of which the store has samples.
    previous_samples: Option<u64>,
    next_samples: Option<u64>,
    /// Where the completions come from.
    source: Option<&'static str>,
    /// Why there are none, and how to have them; empty where there are.
    missing: String,
    completions: usize,
    groups: Vec<Group>,
    metrics: Vec<(String, f64)>,
}

/// What the store says of a step.
struct Stored {
    answer: Answer,
    predicted: Vec<Predicted>,
    config: Value,
}

pub(super) fn step(
    opened: &Opened,
    held: &Kept,
    recordings: &Recordings,
    query: &Query,
) -> Result<Answer, ReadError> {
    let run = asked::run(query)?;
    let step = asked::step(query)?;
    let Stored {
        mut answer,
        predicted,
        config,
    } = opened.read(|store, file| stored(store, opened, held, file, run, step))?;
    let mut texts = Texts::default();
    let sampled = sampled(predicted, &mut texts);
    if !sampled.is_empty() {
        answer.tell("the samples in the store", groups(sampled));
        return Ok(answer);
    }
    match recordings.completions(opened.path(), &config, step, &mut texts) {
        Ok(found) if !found.is_empty() => {
            answer.tell("the run's recording beside the store", groups(found));
        }
        Ok(_) => answer.missing = without(&answer),
        Err(why) => answer.missing = why.to_string(),
    }
    Ok(answer)
}

impl Answer {
    fn tell(&mut self, source: &'static str, groups: Vec<Group>) {
        self.source = Some(source);
        self.completions = groups.iter().map(Group::len).sum();
        self.groups = groups;
    }
}

fn stored(
    store: &Sqlite,
    opened: &Opened,
    held: &Kept,
    file: u64,
    run: &str,
    step: u64,
) -> Result<Stored, ReadError> {
    let id = opened.find(store, run)?;
    let steps = held.numbers(store, file, &id, &[])?.steps;
    let (before, after) = (
        steps.partition_point(|at| *at < step),
        steps.partition_point(|at| *at <= step),
    );
    let [previous_samples, next_samples] = store.predicted_around(&id, PREDICTION_KIND, step)?;
    let labels: BTreeMap<_, _> = labelled(names(store, &id)?)
        .into_iter()
        .map(|(label, name)| ((name.split, name.key), label))
        .collect();
    let mut metrics = Vec::new();
    for split in [Split::Train, Split::Val] {
        let numbers = if i64::try_from(step).is_ok() {
            store.row_metrics(&id, step, split)?
        } else {
            Vec::new()
        };
        let told = numbers.into_iter().take(NUMBERS);
        metrics.extend(
            told.filter_map(|number| {
                Some((labels.get(&(split, number.name))?.clone(), number.value))
            }),
        );
    }
    let predicted =
        store.predicted_at(&id, PREDICTION_KIND, step, COMPLETIONS, completion::TEXT)?;
    Ok(Stored {
        config: store
            .get_run(&id)
            .map(|run| run.record.run_config)
            .unwrap_or_default(),
        predicted,
        answer: Answer {
            previous: before.checked_sub(1).and_then(|at| steps.get(at).copied()),
            next: steps.get(after).copied(),
            previous_samples,
            next_samples,
            metrics,
            ..Answer::default()
        },
    })
}

/// Of a completion that was stored again, by a training that was resumed, the newest.
fn sampled(predicted: Vec<Predicted>, texts: &mut Texts) -> Vec<Completion> {
    let mut by_place = BTreeMap::new();
    for (nth, one) in predicted.into_iter().enumerate() {
        let number = |name: &str| one.metadata.get(name).and_then(Value::as_u64);
        let place = number("prompt_index").zip(number("completion_index"));
        // One that says nothing of its place is alike no other.
        let place = place.map_or((None, nth as u64), |(group, at)| (Some(group), at));
        by_place.insert(place, one);
    }
    by_place
        .into_values()
        .map(|one| Completion::of_prediction(one, texts))
        .collect()
}

/// How to have completions, where there are none.
fn without(answer: &Answer) -> String {
    const HOW: &str = "A training stores some with `engine.samples(every=50)`, called once before it begins, where `observe` is given `prompts` and `completions`";
    if answer.metrics.is_empty() && answer.previous_samples.or(answer.next_samples).is_none() {
        return format!("The run has no row of this step, and no completions are stored. {HOW}.");
    }
    match (answer.previous_samples, answer.next_samples) {
        (None, None) => format!(
            "No completions are stored of this run. {HOW}; those of a replayed run are read from its recording, where it lies beside the store."
        ),
        (Some(step), None) | (None, Some(step)) => {
            format!("No completions are stored of this step; of step {step} there are some.")
        }
        (Some(before), Some(after)) => {
            format!(
                "No completions are stored of this step; of steps {before} and {after} there are some."
            )
        }
    }
}
