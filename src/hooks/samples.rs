//! The sample table of a step: its completions with their texts, rewards, ranks and weights, for people to read.

mod taker;
mod writer;

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use crate::batch::group::Grouping;
use crate::batch::{Batch, Values};
use crate::row::table::{Cell, Table};
use crate::stat::exact;
use crate::store::Prediction;
pub use taker::Taker;
pub use writer::{Samples, SamplesError};

/// How many rows of a step go to the sinks that show tables.
pub const SHOWN: usize = 4;

/// The kind under which a store keeps samples as predictions: completions that were trained on.
pub const PREDICTION_KIND: &str = "train";

/// The columns before those of the reward components (`reward/<name>`, sorted by name).
pub const COLUMNS: [&str; 12] = [
    "step",
    "prompt_index",
    "completion_index",
    "group_size",
    "reward_rank_desc",
    "prompt",
    "completion",
    "reward_total",
    "advantage",
    "q_mass",
    "update_weight_raw",
    "update_mass_proxy",
];

/// One completion. A number that is not known is NaN, a rank -1, a text empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Place of the group in the step, in order of first appearance.
    pub prompt_index: u64,
    /// Place of the completion within its group.
    pub completion_index: u64,
    /// Completions of the whole group, over all batches of the step.
    pub group_size: u64,
    /// 1 for the group's best reward; of equal ones the earlier completion is ahead. -1 without a number.
    pub reward_rank_desc: i64,
    /// The prompt's text; empty where the batch has none.
    pub prompt: String,
    /// The completion's text; empty where the batch has none.
    pub completion: String,
    /// The completion's total reward, as the batch has it; NaN where it has none.
    pub reward_total: f64,
    /// Its advantage, as the loss takes it; NaN where the batch has none.
    pub advantage: f64,
    /// The listwise target q.
    pub q_mass: f64,
    /// The update weight as given.
    pub update_weight_raw: f64,
    /// This completion's share of the group's update, see [`mass_proxy`].
    pub update_mass_proxy: f64,
    /// Its tokens; `None` where that is not known.
    pub length: Option<u32>,
    /// By reward component, in the order of [`SampleTable::components`].
    pub rewards: Vec<f64>,
    /// Empty where the record has none.
    pub trajectory_id: String,
}

/// The samples of one step, by group and place within the group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleTable {
    /// The optimizer step that the batches were of.
    pub step: u64,
    /// The names of the reward components, sorted.
    pub components: Vec<String>,
    /// One for each completion: groups in order of first appearance, and each group's completions in order of their
    /// places.
    pub samples: Vec<Sample>,
}

impl SampleTable {
    /// The samples of a step's batches: of all that may share a group, since ranks, sizes and masses are the whole group's.
    /// No batch, or only empty ones: an empty table.
    ///
    /// How the completions are split over the batches does not show, if their places ([`Batch::at`]) or their order says
    /// which comes first.
    #[must_use]
    pub fn of(step: u64, batches: &[&Batch<'_>]) -> Self {
        let mut batches = batches.to_vec();
        batches.sort_by_key(|batch| batch.place());
        let names: BTreeSet<&str> = batches
            .iter()
            .flat_map(|batch| &batch.columns().reward_components)
            .map(|(name, _)| name.as_ref())
            .collect();
        let mut groups = Groups::default();
        for batch in &batches {
            groups.take(batch, &names);
        }
        Self {
            step,
            components: names.into_iter().map(str::to_owned).collect(),
            samples: groups.finish(),
        }
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The whole table.
    #[must_use]
    pub fn table(&self, name: &str) -> Table {
        self.head(name, usize::MAX)
    }

    /// The table's first `rows` rows. `trajectory_id` is its last column where any sample has one.
    #[must_use]
    pub fn head(&self, name: &str, rows: usize) -> Table {
        let trajectories = self.samples.iter().any(|s| !s.trajectory_id.is_empty());
        let components = self.components.iter().map(|name| format!("reward/{name}"));
        let columns = COLUMNS.iter().map(|&column| column.to_owned());
        let last = trajectories.then(|| "trajectory_id".to_owned());
        let row = |sample: &Sample| {
            let mut cells = sample.cells(self.step);
            cells.extend(last.is_some().then(|| sample.trajectory_id.clone().into()));
            cells
        };
        Table {
            name: name.to_owned(),
            step: self.step,
            data: self.samples.iter().take(rows).map(row).collect(),
            columns: columns.chain(components).chain(last.clone()).collect(),
        }
    }

    /// The samples as objects: the columns of [`SampleTable::table`] by name, and `length` (tokens, null where that is not known).
    #[must_use]
    pub fn objects(&self) -> Vec<Map<String, Value>> {
        let table = self.table("");
        let object = |(cells, sample): (&Vec<Cell>, &Sample)| {
            let named = table
                .columns
                .iter()
                .cloned()
                .zip(cells.iter().map(|cell| json!(cell)));
            let length = ("length".to_owned(), json!(sample.length));
            named.chain([length]).collect()
        };
        table.data.iter().zip(&self.samples).map(object).collect()
    }

    /// The samples as predictions of a run, of kind [`PREDICTION_KIND`]; what has no field of its own is in the metadata.
    #[must_use]
    pub fn predictions(&self, run_id: &str) -> Vec<Prediction> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let prediction = |(row, sample): (usize, &Sample)| {
            // serde_json writes a NaN as null: not known.
            let rewards: serde_json::Map<_, _> = self
                .components
                .iter()
                .zip(&sample.rewards)
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect();
            Prediction {
                run_id: run_id.to_owned(),
                kind: PREDICTION_KIND.to_owned(),
                task_id: text(&sample.trajectory_id),
                instruction: text(&sample.prompt),
                model_output: text(&sample.completion),
                reward: known(sample.reward_total),
                advantage: known(sample.advantage),
                step: Some(self.step),
                sample_idx: Some(row as u64),
                metadata: json!({
                    "prompt_index": sample.prompt_index,
                    "completion_index": sample.completion_index,
                    "group_size": sample.group_size,
                    "length": sample.length,
                    "reward_rank_desc": sample.reward_rank_desc,
                    "q_mass": sample.q_mass,
                    "update_weight_raw": sample.update_weight_raw,
                    "update_mass_proxy": sample.update_mass_proxy,
                    "rewards": rewards,
                }),
                ..Prediction::default()
            }
        };
        self.samples.iter().enumerate().map(prediction).collect()
    }
}

impl Sample {
    fn cells(&self, step: u64) -> Vec<Cell> {
        let count = |value: u64| Cell::Int(i64::try_from(value).unwrap_or(i64::MAX));
        let mut cells = vec![
            count(step),
            count(self.prompt_index),
            count(self.completion_index),
            count(self.group_size),
            Cell::Int(self.reward_rank_desc),
            self.prompt.clone().into(),
            self.completion.clone().into(),
            Cell::Float(self.reward_total),
            Cell::Float(self.advantage),
            Cell::Float(self.q_mass),
            Cell::Float(self.update_weight_raw),
            Cell::Float(self.update_mass_proxy),
        ];
        cells.extend(self.rewards.iter().copied().map(Cell::Float));
        cells
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

fn known(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}

/// A group while its members come in: its samples, each with the completion index that its record gave.
type Members = Vec<(Option<u32>, Sample)>;

/// The groups of a step, in order of first appearance.
#[derive(Default)]
struct Groups {
    members: Vec<Members>,
    by_id: HashMap<u64, usize>,
}

impl Groups {
    fn take(&mut self, batch: &Batch<'_>, names: &BTreeSet<&str>) {
        let c = batch.columns();
        let component = |name: &&str| {
            let found = c.reward_components.iter().find(|(other, _)| other == name);
            numbers(found.map(|(_, values)| values), batch.completions())
        };
        let n = batch.completions();
        let components: Vec<Vec<f64>> = names.iter().map(component).collect();
        let rewards = numbers(Some(&c.rewards), n);
        let [advantages, q, weights] =
            [&c.advantages, &c.q, &c.weights].map(|column| numbers(column.as_ref(), n));
        let lengths = batch.lengths();
        let text = |texts: Option<&[String]>, i: usize| {
            texts.map_or_else(String::new, |texts| texts[i].clone())
        };
        for (i, group) in self.places(&c.grouping).into_iter().enumerate() {
            let sample = Sample {
                prompt_index: group as u64,
                completion_index: 0,
                group_size: 0,
                reward_rank_desc: -1,
                prompt: text(c.prompts, i),
                completion: text(c.completions, i),
                reward_total: rewards[i],
                advantage: advantages[i],
                q_mass: q[i],
                update_weight_raw: weights[i],
                update_mass_proxy: f64::NAN,
                length: lengths.map(|lengths| lengths[i]),
                rewards: components.iter().map(|column| column[i]).collect(),
                trajectory_id: text(c.trajectory_ids, i),
            };
            self.members[group].push((c.completion_index.map(|index| index[i]), sample));
        }
    }

    /// The group of each completion of a record; groups not seen before are added.
    fn places(&mut self, grouping: &Grouping<'_>) -> Vec<usize> {
        match grouping {
            Grouping::Sizes(sizes) => {
                let first = self.members.len();
                self.members
                    .resize_with(first + sizes.len(), Members::default);
                let group = |(g, &size): (usize, &u32)| (0..size).map(move |_| first + g);
                sizes.iter().enumerate().flat_map(group).collect()
            }
            Grouping::Ids(ids) => {
                let members = &mut self.members;
                let mut place = |id: &u64| {
                    *self.by_id.entry(*id).or_insert_with(|| {
                        members.push(Members::default());
                        members.len() - 1
                    })
                };
                ids.iter().map(&mut place).collect()
            }
        }
    }

    fn finish(self) -> Vec<Sample> {
        self.members.into_iter().flat_map(settled).collect()
    }
}

/// A whole group, in order, with what depends on all its members.
fn settled(mut members: Members) -> Vec<Sample> {
    if members.iter().all(|(given, _)| given.is_some()) {
        members.sort_by_key(|(given, _)| *given);
    }
    let size = members.len() as u64;
    let mut samples: Vec<Sample> = (0..)
        .zip(members)
        .map(|(position, (given, sample))| Sample {
            completion_index: given.map_or(position, u64::from),
            group_size: size,
            ..sample
        })
        .collect();
    let rewards: Vec<f64> = samples.iter().map(|s| s.reward_total).collect();
    let weights: Vec<f64> = samples.iter().map(|s| s.update_weight_raw).collect();
    let settled = ranks(&rewards).into_iter().zip(mass_proxy(&weights));
    for (sample, (rank, mass)) in samples.iter_mut().zip(settled) {
        (sample.reward_rank_desc, sample.update_mass_proxy) = (rank, mass);
    }
    samples
}

/// A column's numbers, NaN where there is none.
fn numbers(column: Option<&Values<'_>>, n: usize) -> Vec<f64> {
    column.map_or_else(
        || vec![f64::NAN; n],
        |values| values.iter().map(|x| x.unwrap_or(f64::NAN)).collect(),
    )
}

/// 1 for the largest; the sort is stable, so the earlier of two equal ones is ahead. -1 for a NaN.
fn ranks(rewards: &[f64]) -> Vec<i64> {
    let mut order: Vec<usize> = (0..rewards.len())
        .filter(|&i| !rewards[i].is_nan())
        .collect();
    // Adding 0 makes -0 and 0 the tie that they are.
    order.sort_by(|&a, &b| (rewards[b] + 0.0).total_cmp(&(rewards[a] + 0.0)));
    let mut ranks = vec![-1; rewards.len()];
    for (rank, i) in (1..).zip(order) {
        ranks[i] = rank;
    }
    ranks
}

/// Each completion's share of its group's update: the positive part of the weights over its sum; where nothing is positive,
/// the sizes of the weights over theirs; NaN where all are zero. A weight that is no finite number has no part in
/// the sums and no share.
#[must_use]
pub fn mass_proxy(weights: &[f64]) -> Vec<f64> {
    let finite: Vec<f64> = weights.iter().copied().filter(|w| w.is_finite()).collect();
    let positive = finite.iter().any(|&w| w > 0.0);
    let part = |w: f64| if positive { w.max(0.0) } else { w.abs() };
    let sum = exact(&finite.iter().map(|&w| part(w)).collect::<Vec<_>>());
    weights
        .iter()
        .map(|&w| match w {
            _ if !w.is_finite() => f64::NAN,
            // 0/0 where all are zero.
            _ => part(w) / sum,
        })
        .collect()
}
