//! What completions add up to: lengths, ends, and what of them stands by itself below.

pub mod advantages;
pub mod agents;
pub mod by_outcome;
pub mod compression;
pub mod effective;
pub mod lengths;
pub mod repetition;
pub mod stop_conditions;
pub mod tags;

use serde::{Deserialize, Serialize};

use super::number_totals::count;
use crate::batch::Batch;
use agents::Agents;
use lengths::Lengths;

/// How long completions are and how they ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Completions {
    pub seen: u64,
    pub lengths: Lengths,
    pub terminated: Lengths,
    /// Completions known to have been clipped, or not.
    pub judged: u64,
    pub clipped: u64,
    /// Completions whose record has a cap, and those that reach it, ended by themselves or not.
    pub capped: u64,
    pub at_cap: u64,
    /// Completions whose record has no cap but says how they ended, and those that did not end by themselves.
    pub uncapped: u64,
    pub uncapped_cut: u64,
    pub prompts: Lengths,
    /// Prompts whose record has a cap, and those that reach it.
    pub capped_prompts: u64,
    pub prompts_at_cap: u64,
    /// Completions of which both prompt and completion length are known, and their tokens.
    pub measured: u64,
    pub total_tokens: u64,
    /// The largest generation cap of any record.
    pub cap: Option<u32>,
    pub agents: Agents,
}

impl Completions {
    pub fn of(batch: &Batch<'_>) -> Self {
        let c = batch.columns();
        let mut completions = Self {
            seen: batch.completions() as u64,
            cap: c.max_completion_length,
            agents: Agents::of(batch),
            ..Self::default()
        };
        completions.add_caps(batch);
        completions.add_prompts(batch);
        completions.add_clipped(batch);
        completions
    }

    /// Completions at the cap, by their length where that can be told, else by `terminated`.
    fn add_caps(&mut self, batch: &Batch<'_>) {
        let c = batch.columns();
        if let (Some(lengths), Some(cap)) = (batch.lengths(), c.max_completion_length) {
            self.capped += lengths.len() as u64;
            self.at_cap += how_many(lengths, |length| length >= cap);
        } else if let Some(terminated) = c.terminated {
            self.uncapped += terminated.len() as u64;
            self.uncapped_cut += how_many(terminated, |terminated| !terminated);
        }
    }

    fn add_prompts(&mut self, batch: &Batch<'_>) {
        let c = batch.columns();
        let Some(prompts) = c.prompt_lengths else {
            return;
        };
        for &prompt in prompts {
            self.prompts.add(prompt);
        }
        if let Some(cap) = c.max_prompt_length {
            self.capped_prompts += prompts.len() as u64;
            self.prompts_at_cap += how_many(prompts, |prompt| prompt >= cap);
        }
        if let Some(lengths) = batch.lengths() {
            let tokens = |lengths: &[u32]| lengths.iter().copied().map(u64::from).sum::<u64>();
            self.measured += prompts.len() as u64;
            self.total_tokens += tokens(prompts) + tokens(lengths);
        }
    }

    fn add_clipped(&mut self, batch: &Batch<'_>) {
        let lengths = batch.lengths();
        if batch.columns().terminated.is_none() && lengths.is_none() {
            return;
        }
        for completion in 0..batch.completions() {
            // Without a cap nothing can have reached it.
            let clipped = batch.is_clipped(completion) == Some(true);
            self.add_judged(clipped, lengths.map(|lengths| lengths[completion]));
        }
    }

    fn add_judged(&mut self, clipped: bool, length: Option<u32>) {
        self.judged += 1;
        self.clipped += u64::from(clipped);
        let Some(length) = length else { return };
        self.lengths.add(length);
        if !clipped {
            self.terminated.add(length);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            seen,
            lengths,
            terminated,
            judged,
            clipped,
            capped,
            at_cap,
            uncapped,
            uncapped_cut,
            prompts,
            capped_prompts,
            prompts_at_cap,
            measured,
            total_tokens,
            cap,
            ref agents,
        } = *other;
        for (mine, theirs) in [
            (&mut self.seen, seen),
            (&mut self.judged, judged),
            (&mut self.clipped, clipped),
            (&mut self.capped, capped),
            (&mut self.at_cap, at_cap),
            (&mut self.uncapped, uncapped),
            (&mut self.uncapped_cut, uncapped_cut),
            (&mut self.capped_prompts, capped_prompts),
            (&mut self.prompts_at_cap, prompts_at_cap),
            (&mut self.measured, measured),
            (&mut self.total_tokens, total_tokens),
        ] {
            count(mine, theirs);
        }
        self.lengths.merge(&lengths);
        self.terminated.merge(&terminated);
        self.prompts.merge(&prompts);
        self.cap = self.cap.max(cap);
        self.agents.merge(agents);
    }
}
/// How many of a column are so.
fn how_many<T: Copy>(column: &[T], is_so: impl Fn(T) -> bool) -> u64 {
    column.iter().filter(|value| is_so(**value)).count() as u64
}
