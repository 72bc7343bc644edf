//! What completions are as conversations with an environment: turns, tool calls, and what came to nothing.

use serde::{Deserialize, Serialize};

use super::lengths::{LengthNumbers, Lengths, length_numbers};
use crate::batch::Batch;
use crate::family::marked_values::Mark;
use crate::family::moment::{part, share};
use crate::family::number_totals::{Share, count};

/// What the columns of agents add up to; nothing where they are not given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Agents {
    /// Turns of each completion.
    pub turns: Lengths,
    /// Tool calls of each completion.
    pub calls: Lengths,
    /// Completions that say how many of their calls failed, their calls, and those that did.
    pub told: u64,
    pub tried_calls: u64,
    pub failed_calls: u64,
    pub aborted: Share,
    pub errors: Share,
    /// Whether a completion was broken off, by `aborted`, or, in records without it, by being of no tokens at all.
    pub broken_off: Share,
    /// Lengths of completions that were not broken off, of those their records' caps, and those that reach theirs.
    pub kept: Lengths,
    pub kept_capped: u64,
    pub kept_at_cap: u64,
}

/// Whether a completion was broken off: by `aborted`, or, in records without it, by being of no tokens at all; `None` where
/// nothing says so.
pub fn is_broken_off(batch: &Batch<'_>, completion: usize) -> Option<bool> {
    let aborted = batch
        .columns()
        .aborted
        .and_then(|cells| cells.get(completion));
    let is_empty = || Some(*batch.lengths()?.get(completion)? == 0);
    aborted.copied().or_else(is_empty)
}

/// Whether any completion of the record was.
pub fn is_any_broken_off(batch: &Batch<'_>) -> bool {
    match (batch.columns().aborted, batch.lengths()) {
        (Some(aborted), _) => aborted.contains(&true),
        (None, lengths) => lengths.is_some_and(|lengths| lengths.contains(&0)),
    }
}

impl Agents {
    pub fn of(batch: &Batch<'_>) -> Self {
        let mut agents = Self::default();
        let c = batch.columns();
        for &turns in c.turns.unwrap_or_default() {
            agents.turns.add(turns);
        }
        for &calls in c.tool_calls.unwrap_or_default() {
            agents.calls.add(calls);
        }
        if let (Some(calls), Some(failures)) = (c.tool_calls, c.tool_failures) {
            let all = |cells: &[u32]| cells.iter().copied().map(u64::from).sum::<u64>();
            agents.told = calls.len() as u64;
            agents.tried_calls = all(calls);
            agents.failed_calls = all(failures);
        }
        for (given, counted) in [
            (c.aborted, &mut agents.aborted),
            (c.errors, &mut agents.errors),
        ] {
            for &is_so in given.unwrap_or_default() {
                counted.add(Mark::Finite, 1, || is_so);
            }
        }
        agents.add_broken_off(batch);
        agents
    }

    fn add_broken_off(&mut self, batch: &Batch<'_>) {
        let c = batch.columns();
        let lengths = batch.lengths();
        if c.aborted.is_none() && lengths.is_none() {
            return;
        }
        for completion in 0..batch.completions() {
            let length = lengths.map(|lengths| lengths[completion]);
            let broken_off = is_broken_off(batch, completion) == Some(true);
            self.broken_off.add(Mark::Finite, 1, || broken_off);
            let Some(length) = length.filter(|_| !broken_off) else {
                continue;
            };
            self.kept.add(length);
            if let Some(cap) = c.max_completion_length {
                self.kept_capped += 1;
                self.kept_at_cap += u64::from(length >= cap);
            }
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            turns,
            calls,
            told,
            tried_calls,
            failed_calls,
            aborted,
            errors,
            broken_off,
            kept,
            kept_capped,
            kept_at_cap,
        } = other;
        self.turns.merge(turns);
        self.calls.merge(calls);
        count(&mut self.told, *told);
        count(&mut self.tried_calls, *tried_calls);
        count(&mut self.failed_calls, *failed_calls);
        self.aborted.merge(aborted);
        self.errors.merge(errors);
        self.broken_off.merge(broken_off);
        self.kept.merge(kept);
        count(&mut self.kept_capped, *kept_capped);
        count(&mut self.kept_at_cap, *kept_at_cap);
    }
}

/// Completions as conversations with an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AgentNumbers {
    /// Turns of a completion; `None` where none are known.
    pub turns: Option<LengthNumbers>,
    /// Tool calls of a completion; `None` where none are known.
    pub tool_calls: Option<LengthNumbers>,
    /// Share of the tool calls that failed, 0 of no calls; `None` where no completion says how many of its calls failed.
    pub failed_calls: Option<f64>,
    /// Share of the completions that were broken off, of those whose record says so.
    pub aborted: Option<f64>,
    /// Share of the completions whose environment or reward failed, of those whose record says so.
    pub errors: Option<f64>,
    /// As `aborted`, where completions of no tokens are taken to be broken off in records that do not say.
    pub broken_off: Option<f64>,
    /// Lengths in tokens of completions that were not broken off in this sense; `None` where all were, or none has a length.
    pub kept_lengths: Option<LengthNumbers>,
    /// Share of them that are as long as their record's cap or longer; `None` without a cap.
    pub kept_at_cap: Option<f64>,
}

pub(crate) fn agent_numbers(agents: &Agents) -> AgentNumbers {
    AgentNumbers {
        turns: length_numbers(&agents.turns),
        tool_calls: length_numbers(&agents.calls),
        failed_calls: (agents.told > 0)
            .then(|| part(agents.failed_calls, agents.tried_calls).unwrap_or(0.0)),
        aborted: share(&agents.aborted),
        errors: share(&agents.errors),
        broken_off: share(&agents.broken_off),
        kept_lengths: length_numbers(&agents.kept),
        kept_at_cap: part(agents.kept_at_cap, agents.kept_capped),
    }
}
