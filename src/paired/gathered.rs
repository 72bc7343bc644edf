//! A recording's completions by number and prompt: sums that are exact, so that nothing hangs on ranks and micro-batches.

use std::collections::{BTreeMap, BTreeSet};

use super::number::Tagged;
use super::{Asked, By, Looked, Number, PairError, Side};
use crate::batch::{Batch, Columns, Values as Cells};
use crate::engine::no_component;
use crate::family::groups::attempts::{Tried, attempts};
use crate::family::reading::Reading;
use crate::recording::Fault;
use crate::shard::Success;
use crate::stat::ExactSum;

/// A number's values, prompt by prompt.
#[derive(Debug, Default)]
pub(super) struct Values {
    by_prompt: BTreeMap<u64, (ExactSum, u64)>,
    /// Finite values.
    pub used: u64,
    /// NaN and infinities.
    pub nonfinite: u64,
}

impl Values {
    fn add(&mut self, prompt: u64, value: f64) {
        if !value.is_finite() {
            self.nonfinite += 1;
            return;
        }
        self.used += 1;
        let (sum, count) = self.by_prompt.entry(prompt).or_default();
        sum.add_times(value, 1);
        *count += 1;
    }

    /// The mean of each prompt's values.
    pub fn means(&self) -> BTreeMap<u64, f64> {
        let means = self.by_prompt.iter();
        let means = means.map(|(prompt, (sum, count))| (*prompt, sum.divided(*count)));
        means.collect()
    }
}

/// A prompt's completions in a step.
#[derive(Debug, Default)]
struct Group {
    size: u64,
    successes: u64,
    /// Some could not be judged.
    is_unknown: bool,
}

/// What a recording comes to, prompt by prompt.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub numbers: BTreeMap<Number, Values>,
    pub prompts: BTreeSet<u64>,
    /// Of each prompt, its steps by how many completions it has there and how many of them succeed.
    tried: BTreeMap<u64, Tried>,
    steps: Vec<u64>,
    completions: u64,
    nameless: u64,
}

impl Gathered {
    /// The completions of a recording's steps.
    pub fn of(side: &Side<'_>, by: By, asked: &Asked) -> Result<Self, PairError> {
        let mut all = Self::default();
        let mut components = BTreeSet::new();
        for step in side.steps() {
            let mut groups = BTreeMap::new();
            for found in step.records() {
                let record = side.recording.load(found)?;
                let batch = record
                    .batch()
                    .map_err(|error| side.recording.wrong(found, Fault::Batch(error)))?;
                let names = by.names(&batch);
                all.count(&names);
                all.add(&batch, &names);
                all.add_tags(&batch, &names, &asked.success);
                judge(&mut groups, batch.columns(), &names, &asked.success);
                components.extend(record.reward_components().map(str::to_owned));
            }
            all.steps.push(step.step);
            all.close(groups);
        }
        if let Some(wanted) = &asked.success.component
            && !components.contains(wanted)
        {
            let there: Vec<&str> = components.iter().map(String::as_str).collect();
            return Err(PairError::NoComponent {
                name: side.name.clone(),
                text: no_component(wanted, &there),
            });
        }
        all.add_passes(asked);
        Ok(all)
    }

    pub fn looked(&self) -> Looked {
        let first = self.steps.first().copied().unwrap_or_default();
        let last = self.steps.last().copied().unwrap_or(first);
        Looked {
            steps: (self.steps.len() as u64, first..=last),
            completions: self.completions,
            nameless: self.nameless,
            prompts: self.prompts.len() as u64,
        }
    }

    fn count(&mut self, names: &[Option<u64>]) {
        let known = names.iter().flatten();
        let completions = known.clone().count();
        self.completions += completions as u64;
        self.nameless += (names.len() - completions) as u64;
        self.prompts.extend(known);
    }

    fn add(&mut self, batch: &Batch<'_>, names: &[Option<u64>]) {
        let c = batch.columns();
        self.take(Number::Reward, names, c.rewards.iter());
        for (name, values) in &c.reward_components {
            self.take(Number::Component(name.to_string()), names, values.iter());
        }
        if let Some(penalised) = &c.penalised_rewards {
            self.take(Number::Penalised, names, penalised.iter());
        }
        for (number, counts) in [
            (Number::Length, batch.lengths()),
            (Number::Turns, c.turns),
            (Number::ToolCalls, c.tool_calls),
            (Number::ToolFailures, c.tool_failures),
        ] {
            let counts = counts.into_iter().flatten();
            self.take(number, names, counts.map(|count| Some(f64::from(*count))));
        }
        let clipped = (0..batch.completions()).map(|nth| batch.is_clipped(nth));
        let clipped: Option<Vec<bool>> = clipped.collect();
        for (number, bits) in [
            (Number::Clipped, clipped.as_deref()),
            (Number::Aborted, c.aborted),
            (Number::Errors, c.errors),
        ] {
            let bits = bits.into_iter().flatten();
            self.take(number, names, bits.map(|bit| Some(one_if(*bit))));
        }
    }

    /// One cell a completion, or none at all.
    fn take(
        &mut self,
        number: Number,
        names: &[Option<u64>],
        cells: impl Iterator<Item = Option<f64>>,
    ) {
        let mut cells = names
            .iter()
            .zip(cells)
            .filter_map(|(name, cell)| Some(((*name)?, cell?)))
            .peekable();
        if cells.peek().is_some() {
            let values = self.numbers.entry(number).or_default();
            cells.for_each(|(name, cell)| values.add(name, cell));
        }
    }

    fn add_tags(&mut self, batch: &Batch<'_>, names: &[Option<u64>], success: &Success) {
        let c = batch.columns();
        let Some(tags) = c.tags else { return };
        let rewards: Vec<Option<f64>> = c.rewards.iter().collect();
        let judged: Vec<Option<f64>> = success
            .column(c)
            .map_or_else(Vec::new, |values| values.iter().collect());
        let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (nth, tag) in tags.iter().enumerate() {
            members.entry(tag).or_default().push(nth);
        }
        for (tag, members) in members {
            let of = |nth: &usize| names.get(*nth).copied().flatten();
            let names: Vec<Option<u64>> = members.iter().map(of).collect();
            let number = |of| Number::Tagged(tag.to_owned(), of);
            let cells = members.iter().map(|nth| *rewards.get(*nth)?);
            self.take(number(Tagged::Reward), &names, cells);
            let passes = members.iter().map(|nth| {
                let value = (*judged.get(*nth)?)?;
                // What is no number cannot be judged, and stays one.
                let pass = one_if(value >= success.threshold);
                Some(if value.is_finite() { pass } else { value })
            });
            self.take(number(Tagged::Pass), &names, passes);
            let lengths = members.iter().map(|nth| {
                let length = batch.lengths()?.get(*nth)?;
                Some(f64::from(*length))
            });
            self.take(number(Tagged::Length), &names, lengths);
        }
    }

    /// The step is through: its groups are whole.
    fn close(&mut self, groups: BTreeMap<u64, Group>) {
        for (prompt, group) in groups {
            if !group.is_unknown {
                let tried = self.tried.entry(prompt).or_default();
                *tried.entry((group.size, group.successes)).or_default() += 1;
            }
        }
    }

    /// pass@k of each prompt: the mean of its steps' estimates.
    fn add_passes(&mut self, asked: &Asked) {
        let reading = Reading {
            pass_k: asked.pass_k.clone(),
            ..Reading::default()
        };
        for (prompt, tried) in &self.tried {
            for attempt in attempts(tried, &reading) {
                let values = self.numbers.entry(Number::Pass(attempt.k)).or_default();
                values.add(*prompt, attempt.pass);
            }
        }
    }
}

/// Adds a record's completions to their groups, as far as the step has come.
fn judge(
    groups: &mut BTreeMap<u64, Group>,
    columns: &Columns<'_>,
    names: &[Option<u64>],
    success: &Success,
) {
    let mut judged = success.column(columns).map(Cells::iter);
    for name in names {
        let value = judged.as_mut().and_then(|values| values.next().flatten());
        let Some(name) = name else { continue };
        let group = groups.entry(*name).or_default();
        group.size += 1;
        match value.filter(|value| value.is_finite()) {
            Some(value) => group.successes += u64::from(value >= success.threshold),
            None => group.is_unknown = true,
        }
    }
}

fn one_if(bit: bool) -> f64 {
    f64::from(u8::from(bit))
}
