//! `SkyRL`'s `dumped_evals/global_step_{N}_evals/{data_source}.jsonl`: a line a completion of an evaluation, with its texts, its score
//! and why it ended. The step is in the folder's name alone; each data source has a file, which is a micro-batch here. A group is
//! known by the data source and the prompt's text.

use std::io::BufRead;
use std::path::Path;

use super::super::cell::{Number, NumberOrBit};
use super::super::fault::Fault;
use super::super::field::{Fields, Owned};
use super::row::{Row, Rows, many, one};
use super::{Part, Wrong, group_of, lines_in, name_of, number_in};

/// What an evaluation is called that is of no training.
const ALONE: &str = "eval_only";

fn step(folder: &Path) -> Option<u64> {
    let name = name_of(folder);
    let step = number_in(name, "global_step_", "_evals");
    step.or_else(|| (name == ALONE).then_some(0))
}

pub(super) fn is_evaluation(folder: &Path) -> bool {
    step(folder).is_some()
}

pub(super) fn part(path: &Path) -> Result<Part, Fault> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = whole.parent().and_then(|folder| {
        let step = step(folder)?;
        let beside = lines_in(folder);
        let nth = beside.iter().position(|file| *file == whole).unwrap_or(0);
        Some((step, u32::try_from(nth).unwrap_or(u32::MAX)))
    });
    let (step, micro) = found.ok_or(Fault::NoStepInName {
        expected: "a folder `global_step_`, a number and `_evals` that it is in, as SkyRL calls it, or `eval_only`",
    })?;
    Ok(Part { step, micro })
}

#[derive(Default)]
struct Columns {
    groups: Vec<u64>,
    rewards: Vec<Option<f64>>,
    prompts: Vec<String>,
    completions: Vec<String>,
    tags: Vec<String>,
    stops: Vec<Option<String>>,
}

pub(super) fn fields<R: BufRead>(rows: Rows<R>) -> Result<Fields, Wrong> {
    let mut columns = Columns::default();
    rows.each(|row| columns.take(row))?;
    let stops = columns.stops.into_iter().collect::<Option<Vec<String>>>();
    let mut fields = Fields::from([
        ("group_ids", Owned::Ids(columns.groups)),
        (
            "rewards",
            Owned::Numbers(columns.rewards.into_iter().collect()),
        ),
        ("prompts", Owned::Texts(columns.prompts)),
        ("completions", Owned::Texts(columns.completions)),
        ("tags", Owned::Texts(columns.tags)),
    ]);
    if let Some(stops) = stops {
        let ended = stops.iter().map(|stop| stop == "stop").collect();
        fields.insert("terminated", Owned::Bits(ended));
        fields.insert("stop_conditions", Owned::Texts(stops));
    }
    Ok(fields)
}

impl Columns {
    fn take(&mut self, row: &Row) -> Result<(), Fault> {
        let prompt = row.text("input_prompt")?;
        let source = row.maybe("data_source").map(|_| row.text("data_source"));
        let source = source.transpose()?.unwrap_or_else(|| "unknown".to_owned());
        let stop = row.maybe("stop_reason").map(|_| row.text("stop_reason"));
        // The zero byte keeps the two apart.
        self.groups.push(group_of(&format!("{source}\0{prompt}")));
        self.rewards.push(score(row)?);
        self.completions.push(row.text("output_response")?);
        self.prompts.push(prompt);
        self.tags.push(source);
        self.stops.push(stop.transpose()?);
        Ok(())
    }
}

/// A number, or one a token, which `SkyRL` adds up.
fn score(row: &Row) -> Result<Option<f64>, Fault> {
    let Some(score) = row.maybe("score") else {
        return Ok(None);
    };
    if score.is_array() {
        let cells = many::<Number>("score", score)?;
        return Ok(Some(cells.into_iter().sum()));
    }
    one::<NumberOrBit>("score", score).map(Some)
}
