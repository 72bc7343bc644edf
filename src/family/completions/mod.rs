//! What completions add up to: lengths, ends, and what of them stands by itself below.

pub mod advantages;
pub mod lengths;
pub mod repetition;
pub mod tags;

use serde::{Deserialize, Serialize};

use super::number_totals::count;
use crate::batch::Batch;
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
}

impl Completions {
    pub fn of(batch: &Batch<'_>) -> Self {
        let c = batch.columns();
        let mut completions = Self {
            seen: batch.completions() as u64,
            cap: c.max_completion_length,
            ..Self::default()
        };
        for i in 0..batch.completions() {
            let length = batch.lengths().map(|lengths| lengths[i]);
            let prompt = c.prompt_lengths.map(|lengths| lengths[i]);
            completions.add_caps(batch, prompt, length, c.terminated.map(|ended| ended[i]));
            // Clipped: `terminated` says so, or, without that column, the length has reached the cap.
            let clipped = match (c.terminated, length) {
                (Some(terminated), _) => !terminated[i],
                (None, Some(length)) => c.max_completion_length.is_some_and(|cap| length >= cap),
                (None, None) => continue,
            };
            completions.judged += 1;
            completions.clipped += u64::from(clipped);
            if let Some(length) = length {
                completions.lengths.add(length);
                if !clipped {
                    completions.terminated.add(length);
                }
            }
        }
        completions
    }

    fn add_caps(
        &mut self,
        batch: &Batch<'_>,
        prompt: Option<u32>,
        length: Option<u32>,
        ended: Option<bool>,
    ) {
        let c = batch.columns();
        if let (Some(length), Some(cap)) = (length, c.max_completion_length) {
            self.capped += 1;
            self.at_cap += u64::from(length >= cap);
        } else if let Some(terminated) = ended {
            self.uncapped += 1;
            self.uncapped_cut += u64::from(!terminated);
        }
        let Some(prompt) = prompt else { return };
        self.prompts.add(prompt);
        if let Some(cap) = c.max_prompt_length {
            self.capped_prompts += 1;
            self.prompts_at_cap += u64::from(prompt >= cap);
        }
        if let Some(length) = length {
            self.measured += 1;
            self.total_tokens += u64::from(prompt) + u64::from(length);
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
    }
}
