//! prime-rl's `rollouts/step_{N}/train/effective/traces.jsonl`: a line an episode, with the traces of its agents. A trace of an
//! agent that is trained is a completion; its tokens are those of its branches, each from the first that is trained to the last,
//! one branch after the other. The step is in the folder's name alone; a group is the episode's own, else its prompt. Of the versions
//! of the weights an episode notes the first and the last: its tokens count as of the first, as in prime-rl's own staleness.

pub(super) mod tokens;
mod trace;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

use serde_json::Value;

use super::super::cell::{Natural, Text};
use super::super::fault::Fault;
use super::super::field::{Cells, Fields, Numbers, Owned};
use super::advantages::Advantages;
use super::row::{Row, Rows, inside, list, one};
use super::{Wrong, group_of, group_of_tokens, number_in};
use crate::batch::scalars::{Scalar, Scalars};
use trace::{STREAMS, Trace};

pub(super) fn step(path: &Path) -> Result<u64, Fault> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folders = whole.ancestors().skip(1);
    let names = folders.filter_map(|folder| folder.file_name()?.to_str());
    let mut steps = names.filter_map(|name| number_in(name, "step_", ""));
    steps.next().ok_or(Fault::NoStepInName {
        expected: "a folder `step_` and a number above it, as prime-rl calls them",
    })
}

/// Step 1 trains version 0.
pub(super) fn scalars(step: u64) -> Scalars {
    let version = step.checked_sub(1);
    version.map_or_else(Scalars::default, |version| {
        Scalars::default().with(Scalar::WeightVersion, version as f64)
    })
}

pub(super) fn fields<R: BufRead>(rows: Rows<R>) -> Result<Fields, Wrong> {
    let mut columns = Columns {
        versions: Some(Vec::new()),
        ..Columns::default()
    };
    rows.each(|episode| columns.take(episode))?;
    Ok(columns.fields())
}

/// The version of the weights that the episode began with; `None` where its policy is not the one that is trained.
fn version(episode: &Row) -> Result<Option<u32>, Fault> {
    let start = within(episode, &["run", "work", "policy", "start"])?;
    let start = start.map(|start| one::<Natural>("run.work.policy.start", start));
    start.transpose()
}

/// What an episode's objects hold, one within the other; `None` where one is null or not there.
fn within<'e>(episode: &'e Row, names: &[&str]) -> Result<Option<&'e Value>, Fault> {
    let Some((first, names)) = names.split_first() else {
        return Ok(None);
    };
    let (mut at, mut field) = (episode.maybe(first), (*first).to_owned());
    for name in names {
        let Some(value) = at else {
            return Ok(None);
        };
        at = inside(&field, value, name)?;
        field = format!("{field}.{name}");
    }
    Ok(at)
}

/// Of a trace that does not say why it ended, where others do.
const UNSAID: &str = "unknown";

#[derive(Default)]
struct Columns {
    groups: Vec<u64>,
    rewards: Vec<Option<f64>>,
    components: BTreeMap<String, Vec<Option<f64>>>,
    terminated: Vec<bool>,
    turns: Vec<u32>,
    tool_calls: Vec<u32>,
    stops: Vec<Option<String>>,
    errors: Vec<Option<bool>>,
    names: Vec<String>,
    tags: Vec<String>,
    prompts: Vec<String>,
    completions: Vec<String>,
    lengths: Vec<u32>,
    prompt_lengths: Vec<u32>,
    tokens: Vec<u32>,
    mask: Vec<u8>,
    sampled: Vec<f32>,
    streams: [Vec<f32>; STREAMS.len()],
    advantages: Advantages,
    /// `None` where an episode says none: its policy is no version of what is trained.
    versions: Option<Vec<u32>>,
    /// A message was generated whose tokens are not there, or of which nothing is said in a stream.
    lacks_tokens: bool,
    lacks: [bool; STREAMS.len()],
}

impl Columns {
    fn take(&mut self, episode: &Row) -> Result<(), Fault> {
        let group = within(episode, &["group", "id"])?;
        let group = group.map(|id| one::<Text>("group.id", id)).transpose()?;
        let env = match within(episode, &["env", "name"])? {
            None => within(episode, &["env", "id"])?,
            name => name,
        };
        let env = env.map(|name| one::<Text>("env.name", name)).transpose()?;
        let env = env.unwrap_or_default();
        let version = version(episode)?;
        for (nth, trace) in list("traces", episode.member("traces")?)?
            .iter()
            .enumerate()
        {
            let trace = Trace::of(trace, nth)?;
            if trace.is_trained {
                self.add(trace, group.as_deref(), &env, version);
            }
        }
        Ok(())
    }

    fn add(&mut self, trace: Trace, group: Option<&str>, env: &str, version: Option<u32>) {
        self.groups.push(match group {
            Some(id) => group_of(id),
            None if trace.prompt_tokens.is_empty() => group_of(&trace.prompt),
            None => group_of_tokens(&trace.prompt_tokens),
        });
        let nth = self.rewards.len();
        self.rewards.push(trace.reward);
        for (name, score) in trace.scores {
            let column = self.components.entry(name).or_default();
            column.resize(nth, None);
            column.push(score);
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.terminated.push(!trace.is_truncated);
        self.turns.push(trace.turns);
        self.tool_calls.push(trace.tool_calls);
        self.stops.push(trace.stopped);
        self.errors.push(trace.is_ok.map(|ok| !ok));
        match (&mut self.versions, version) {
            (Some(cells), Some(version)) => cells.resize(cells.len() + trace.tokens.len(), version),
            (cells, _) => *cells = None,
        }
        self.names.push(trace.id);
        self.tags.push(env.to_owned());
        self.prompts.push(trace.prompt);
        self.completions.push(trace.completion);
        self.lengths.push(count(trace.tokens.len()));
        self.prompt_lengths.push(count(trace.prompt_tokens.len()));
        self.advantages.take(&trace.advantages, &trace.mask);
        self.tokens.extend(trace.tokens);
        self.mask.extend(trace.mask);
        self.sampled.extend(trace.sampled);
        for (all, stream) in self.streams.iter_mut().zip(trace.streams) {
            all.extend(stream);
        }
        self.lacks_tokens |= trace.lacks_tokens;
        for (all, lacks) in self.lacks.iter_mut().zip(trace.lacks) {
            *all |= lacks;
        }
    }

    fn fields(self) -> Fields {
        let n = self.rewards.len();
        let has_tags = self.tags.iter().any(|tag| !tag.is_empty());
        let mut fields = Fields::from([
            ("group_ids", Owned::Ids(self.groups)),
            (
                "rewards",
                Owned::Numbers(self.rewards.into_iter().collect()),
            ),
            ("terminated", Owned::Bits(self.terminated)),
            ("turns", Owned::Naturals(self.turns)),
            ("tool_calls", Owned::Naturals(self.tool_calls)),
            ("trajectory_ids", Owned::Texts(self.names)),
            ("prompts", Owned::Texts(self.prompts)),
            ("completions", Owned::Texts(self.completions)),
        ]);
        if has_tags {
            fields.insert("tags", Owned::Texts(self.tags));
        }
        if self.stops.iter().any(Option::is_some) {
            let stops = self.stops.into_iter();
            let stops = stops.map(|stop| stop.unwrap_or_else(|| UNSAID.to_owned()));
            fields.insert("stop_conditions", Owned::Texts(stops.collect()));
        }
        if let Some(errors) = self.errors.into_iter().collect::<Option<Vec<bool>>>() {
            fields.insert("errors", Owned::Bits(errors));
        }
        let components = self.components.into_iter().map(|(name, mut column)| {
            column.resize(n, None);
            (name, column.into_iter().collect::<Numbers>())
        });
        let components: BTreeMap<String, Numbers> = components.collect();
        if !components.is_empty() {
            fields.insert("reward_components", Owned::Components(components));
        }
        if self.lacks_tokens || self.tokens.is_empty() {
            return fields;
        }
        fields.insert("completion_lengths", Owned::Naturals(self.lengths));
        fields.insert("prompt_lengths", Owned::Naturals(self.prompt_lengths));
        fields.insert("token_ids", Owned::TokenNaturals(Cells::flat(self.tokens)));
        fields.insert("loss_mask", Owned::TokenBits(Cells::flat(self.mask)));
        if let Some(versions) = self.versions {
            let versions = Owned::TokenNaturals(Cells::flat(versions));
            fields.insert("weight_versions", versions);
        }
        let sampled = Owned::Tokens(Cells::flat(self.sampled));
        fields.insert("sampling_token_logps", sampled);
        let streams = STREAMS.iter().zip(self.streams).zip(self.lacks);
        for (((_, column), stream), _) in streams.filter(|(_, lacks)| !lacks) {
            fields.insert(column, Owned::Tokens(Cells::flat(stream)));
        }
        self.advantages.into(&mut fields);
        fields
    }
}
