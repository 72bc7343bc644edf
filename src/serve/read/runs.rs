//! All runs, as the page lists them.

use std::collections::HashMap;
use std::time::SystemTime;

use serde::Serialize;

use super::course::kept;
use super::error::ReadError;
use super::held::{Kept, Numbers};
use super::names::{labelled, names};
use super::opened::Opened;
use crate::reading::Name;
use crate::row::run::Status;
use crate::store::{Progress, Run, RunOverview, Sqlite, Standing, Store, Stored, moment};

/// How many pixels the course of a run's reward is wide in a list, so that it has at most 60 points.
const COURSE: usize = 29;

/// What is answered to `runs`.
#[derive(Debug, Serialize)]
pub(super) struct Runs {
    runs: Vec<Overview>,
}

/// A run in a list of runs.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    pub id: String,
    pub name: String,
    /// One word.
    pub standing: &'static str,
    pub said: String,
    /// Milliseconds since 1970, as all times.
    pub created: Option<i64>,
    /// Milliseconds.
    pub took: Option<i64>,
    pub last_time: Option<i64>,
    pub first_step: Option<u64>,
    pub last_step: Option<u64>,
    pub written: u64,
    pub tags: Vec<String>,
    pub note: Option<String>,
    pub experiment: String,
    pub group: Option<String>,
    pub seed: Option<i64>,
    pub reward: Option<Reward>,
}

/// How a run's reward has gone.
#[derive(Debug, Serialize)]
pub(super) struct Reward {
    key: String,
    last: f64,
    course: Vec<f64>,
}

pub(super) fn runs(opened: &Opened, held: &Kept) -> Result<Runs, ReadError> {
    opened.read(|store, file| {
        let mut groups = HashMap::new();
        let progress = store.progress(None)?;
        let runs = progress.into_iter().map(|run| {
            let (run, record) = with_record(store, run);
            overview(store, held, file, run, record.as_ref(), &mut groups)
        });
        Ok(Runs {
            runs: runs.collect::<Result<_, _>>()?,
        })
    })
}

/// A run with its record, or with what cannot be read of that.
pub(super) fn with_record(
    store: &Sqlite,
    progress: Progress,
) -> (RunOverview, Option<Stored<Run>>) {
    let mut run = progress.run;
    let record = store.get_run(&run.id);
    if let Err(error) = &record {
        tracing::debug!("{error}");
        run.fault = Some(
            "part of its record cannot be read: `grpo-metrics doctor` looks the store through"
                .to_owned(),
        );
    }
    (run, record.ok())
}

/// What is known of a run. `groups` are the names of groups by their ids, as far as they have been read.
pub(super) fn overview(
    store: &Sqlite,
    held: &Kept,
    file: u64,
    run: RunOverview,
    record: Option<&Stored<Run>>,
    groups: &mut HashMap<String, String>,
) -> Result<Overview, ReadError> {
    let names = names(store, &run.id)?;
    let key = held.rewards.of(&names);
    let wanted: Vec<Name> = key.clone().into_iter().collect();
    let numbers = held.numbers(store, file, &run.id, &wanted)?;
    let reward = key.and_then(|name| {
        let label = labelled(names).into_iter().find(|(_, of)| *of == name)?.0;
        course(label, numbers.columns.first()?.as_ref()?)
    });
    let group = record.and_then(|record| {
        let id = record.group_id.as_ref()?;
        if !groups.contains_key(id) {
            let found = store.list_groups(&record.experiment_id).unwrap_or_default();
            groups.extend(found.into_iter().map(|group| (group.id, group.record.name)));
        }
        groups.get(id).cloned()
    });
    let (standing, said) = stands(&run, record);
    let last_time = whole(
        numbers
            .times
            .iter()
            .rev()
            .copied()
            .find(|time| time.is_finite()),
    );
    Ok(Overview {
        standing,
        said,
        created: milliseconds(&run.created_at),
        took: took(&run, &numbers),
        last_time,
        first_step: numbers.steps.first().copied(),
        last_step: numbers.steps.last().copied(),
        written: numbers.written,
        group,
        seed: record.and_then(|record| record.seed),
        reward,
        id: run.id,
        name: run.name,
        tags: run.tags,
        note: run.note,
        experiment: run.experiment,
    })
}

fn course(key: String, values: &[f64]) -> Option<Reward> {
    let numbers: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    let places: Vec<f64> = (0..numbers.len()).map(|place| place as f64).collect();
    let course = kept(&places, &numbers, COURSE);
    Some(Reward {
        key,
        last: *numbers.last()?,
        course: course
            .into_iter()
            .filter_map(|at| numbers.get(at).copied())
            .collect(),
    })
}

/// How a run stands: in one word, and as a sentence.
fn stands(run: &RunOverview, record: Option<&Stored<Run>>) -> (&'static str, String) {
    let error = record.and_then(|record| record.error_message.as_deref());
    let (word, mut said) = match run.standing(SystemTime::now()) {
        None => ("unknown", "how it stands cannot be read".to_owned()),
        Some(Standing::Stopped { since }) => (
            "stopped",
            format!(
                "it says that it is running, but nobody has given a sign of it since {since} (UTC)"
            ),
        ),
        Some(Standing::Noted(status)) => {
            let why = match (status, error) {
                (Status::Failed | Status::Cancelled, Some(error)) => format!(": {error}"),
                _ => String::new(),
            };
            (status.as_str(), format!("{status}{why}"))
        }
    };
    if let Some(fault) = &run.fault {
        said = format!("{said}; {fault}");
    }
    (word, said)
}

/// From its creation to its end or, as long as it has none, to its last row. Of rows that are older than the store's run, as those of a
/// replay, from the first to the last.
fn took(run: &RunOverview, numbers: &Numbers) -> Option<i64> {
    let times = || {
        numbers
            .times
            .iter()
            .copied()
            .filter(|time| time.is_finite())
    };
    let last = whole(times().next_back());
    let begun = milliseconds(&run.created_at);
    let ended = run.ended_at.as_deref().and_then(milliseconds).or(last);
    let took = ended?.checked_sub(begun?)?;
    if took >= 0 {
        return Some(took);
    }
    last?
        .checked_sub(whole(times().next())?)
        .filter(|took| *took >= 0)
}

fn milliseconds(text: &str) -> Option<i64> {
    i64::try_from(moment(text)?.as_millis()).ok()
}

#[allow(clippy::cast_possible_truncation, reason = "it was an integer before")]
fn whole(time: Option<f64>) -> Option<i64> {
    time.map(|time| time as i64)
}
