//! The page with its data in one file, which opens from a mail, offline.
//!
//! It has what the page would ask the server for, as the same reader answers it. A series has its axes from the run's rows, so that they
//! stand there once; of a long one the least and the greatest of each part of the run are kept, unless all is asked for.

mod document;
mod table;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use form_urlencoded::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::query::Query;
use super::read::{ReadError, Reader};
use table::Table;

/// Into how many parts a run is cut, of each of which a series keeps its least and its greatest value: 10,000 steps of 150 keys come to
/// less than 3 MB.
const PARTS: usize = 350;

/// How many bytes of steps with their completions a run has at most, unless all is asked for; its last step is always there.
const STEPS: usize = 256 << 10;

/// How many steps with completions are looked for, all asked for or not.
const MOST_STEPS: usize = 1000;

/// How wide the picture of the rewards' distribution is.
const WIDTH: usize = 600;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The store cannot be read, or has no such run.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The reader answered what this does not understand.
    #[error("expected an answer of the page's reader, found: {0}")]
    Answer(#[from] serde_json::Error),
    /// Somebody wished to stop.
    #[error("it was stopped before its end, and nothing is written")]
    Stopped,
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Runs of a store as a page in one file.
pub struct Report<'a> {
    reader: &'a Reader,
    runs: Vec<String>,
    is_full: bool,
    stop: &'a dyn Fn() -> bool,
}

/// What the page reads in a report.
#[derive(Serialize)]
struct Data<'a> {
    /// When it was made, in milliseconds since 1970.
    made: u128,
    /// How many points of a series there are at most; none for all.
    points: Option<usize>,
    answers: BTreeMap<String, Box<RawValue>>,
    series: BTreeMap<&'a str, Table>,
}

/// What is read of the answer about a run.
#[derive(Deserialize)]
struct RunAnswer {
    overview: Value,
    axes: Vec<String>,
    keys: BTreeMap<String, Value>,
}

impl<'a> Report<'a> {
    /// Of these runs by their ids; it is made until `stop` says so.
    pub fn of(
        reader: &'a Reader,
        runs: Vec<String>,
        is_full: bool,
        stop: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            reader,
            runs,
            is_full,
            stop,
        }
    }

    /// Writes it. The numbers of one run after the other are read, and all are held until they are written.
    ///
    /// # Errors
    /// If a run cannot be read, or `out` not be written.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), ReportError> {
        let mut answers = BTreeMap::new();
        let mut series = BTreeMap::new();
        answers.insert("store".to_owned(), self.raw("store", &[])?);
        answers.insert("runs".to_owned(), self.overviews()?);
        let runs: Vec<(&str, &str)> = self.runs.iter().map(|run| ("run", run.as_str())).collect();
        if runs.len() > 1 {
            answers.insert("compare".to_owned(), self.raw("compare", &runs)?);
        }
        for run in &self.runs {
            series.insert(run.as_str(), self.run(run, &mut answers)?);
        }
        let made = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let data = Data {
            made: made.as_millis(),
            points: (!self.is_full).then_some(2 * PARTS + 2),
            answers,
            series,
        };
        Ok(document::write(&data, out)?)
    }

    /// The answers about one run go to `answers`; its series are given.
    fn run(
        &self,
        run: &str,
        answers: &mut BTreeMap<String, Box<RawValue>>,
    ) -> Result<Table, ReportError> {
        let answer = self.raw("run", &[("run", run)])?;
        let of: RunAnswer = serde_json::from_str(answer.get())?;
        answers.insert(named("run", &[("run", run)]), answer);
        // The page asks for it without a width: it has what there is.
        let width = WIDTH.to_string();
        let distribution = self.raw("distribution", &[("run", run), ("width", &width)])?;
        answers.insert(named("distribution", &[("run", run)]), distribution);
        if let Some(last) = of.overview["last_step"].as_u64() {
            self.steps(run, last, answers)?;
        }
        let keys: Vec<&str> = of.keys.keys().map(String::as_str).collect();
        let width = (!self.is_full).then_some(PARTS);
        Table::of(run, &keys, &of.axes, width, &|query| {
            self.answer("series", query)
        })
    }

    /// All runs' overviews, of which those that are asked for are kept, in that order.
    fn overviews(&self) -> Result<Box<RawValue>, ReportError> {
        let all: Value = serde_json::from_slice(&self.answer("runs", &[])?)?;
        let all = all["runs"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let one = |run: &String| all.iter().find(|of| of["id"] == **run);
        let kept: Vec<&Value> = self.runs.iter().filter_map(one).collect();
        Ok(serde_json::value::to_raw_value(&json!({ "runs": kept }))?)
    }

    /// The last step, and those before it whose completions are stored, the newest first, as long as there is room. Each leads to the
    /// next that is there.
    fn steps(
        &self,
        run: &str,
        last: u64,
        answers: &mut BTreeMap<String, Box<RawValue>>,
    ) -> Result<(), ReportError> {
        let mut kept: Vec<(u64, Value)> = Vec::new();
        let mut bytes = 0;
        let mut next = Some(last);
        while let Some(step) = next.filter(|_| kept.len() < MOST_STEPS) {
            let answer = self.answer("step", &[("run", run), ("step", &step.to_string())])?;
            bytes += answer.len();
            if !kept.is_empty() && !self.is_full && bytes > STEPS {
                break;
            }
            let found: Value = serde_json::from_slice(&answer)?;
            next = found["previous_samples"]
                .as_u64()
                .filter(|before| *before < step);
            kept.push((step, found));
        }
        let steps: Vec<u64> = kept.iter().map(|(step, _)| *step).collect();
        for (at, (step, mut found)) in kept.into_iter().enumerate() {
            let later = at.checked_sub(1).and_then(|at| steps.get(at));
            let earlier = steps.get(at + 1);
            for (way, to) in [("previous", earlier), ("next", later)] {
                found[way] = json!(to);
                found[format!("{way}_samples")] = Value::Null;
            }
            let name = named("step", &[("run", run), ("step", &step.to_string())]);
            answers.insert(name, serde_json::value::to_raw_value(&found)?);
        }
        Ok(())
    }

    fn answer(&self, name: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, ReportError> {
        if (self.stop)() {
            return Err(ReportError::Stopped);
        }
        Ok(self.reader.answer(name, &Query::of(&query_of(query)))?)
    }

    fn raw(&self, name: &str, query: &[(&str, &str)]) -> Result<Box<RawValue>, ReportError> {
        Ok(serde_json::from_slice(&self.answer(name, query)?)?)
    }
}

/// What the page calls an answer by: as a browser would ask for it.
fn named(name: &str, query: &[(&str, &str)]) -> String {
    format!("{name}?{}", query_of(query))
}

fn query_of(query: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(query).finish()
}
