//! Two recordings held against each other prompt by prompt: prompts differ far more from one another than two policies do on the same
//! prompt, so that what is the prompt's falls out of the difference.
//!
//! ```text
//! recording -> completions, each with its prompt's name -> by number and prompt a mean -> pairs of means -> difference, interval
//! ```

mod difference;
mod gathered;
mod number;
mod prompt;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::recording::{Recording, RecordingError, Step};
use crate::shard::Success;

pub use difference::{Difference, LEAST, Spread};
use gathered::Gathered;
pub use number::Number;
pub use prompt::By;

/// A recording, and which of its steps are looked at.
#[derive(Clone, Debug)]
pub struct Side<'a> {
    /// What it is called where something is wrong with it.
    pub name: String,
    /// The recording.
    pub recording: &'a Recording,
    /// The first and the last step that count.
    pub steps: RangeInclusive<u64>,
}

impl<'a> Side<'a> {
    fn steps(&self) -> impl Iterator<Item = Step<'a>> {
        let recording = self.recording;
        let steps = recording.steps();
        steps.filter(|step| self.steps.contains(&step.step))
    }
}

/// What a comparison is told.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// By what prompts are known again; else by their texts where both recordings have them, else by group ids that are no counters.
    pub by: Option<By>,
    /// When a completion counts as a success, for pass@k.
    pub success: Success,
    /// The k of pass@k; else 1, 2, 4, ... up to the most completions that a prompt has in a step.
    pub pass_k: Option<BTreeSet<u32>>,
}

/// Why two recordings cannot be held against each other.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// One of them cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// None of the steps that were asked for is there.
    #[error("{name}: expected completions in some of the steps {expected}, found steps {found}")]
    NoSteps {
        name: String,
        expected: String,
        found: String,
    },
    /// Nothing says which prompt a completion is of.
    #[error("{name}: expected {expected}, found {found}")]
    Nameless {
        name: String,
        expected: &'static str,
        found: String,
    },
    /// Each names its prompts, but not by the same.
    #[error("expected prompts named alike in both, found texts in {a} and group ids in {b}")]
    Unlike {
        /// The one that has texts.
        a: String,
        b: String,
    },
    /// No prompt is in both.
    #[error(
        "expected prompts that are in both recordings, found none by {by}: {a} in one, {b} in the other{hint}"
    )]
    NoneShared {
        by: By,
        a: u64,
        b: u64,
        hint: &'static str,
    },
    /// The component that says what a success is; the text has those that there are.
    #[error("{name}: {text}")]
    NoComponent { name: String, text: String },
}

/// What was looked at of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// How many steps, and the first and the last of them.
    pub steps: (u64, RangeInclusive<u64>),
    /// Completions whose prompt is known.
    pub completions: u64,
    /// Completions whose prompt is not: they are in no number.
    pub nameless: u64,
    /// Prompts.
    pub prompts: u64,
}

/// Two recordings held against each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Paired {
    /// By what prompts are known again.
    pub by: By,
    /// What was looked at of each.
    pub sides: [Looked; 2],
    /// Prompts that are in both.
    pub shared: u64,
    /// Each number that one of them has.
    pub numbers: BTreeMap<Number, Difference>,
}

/// Holds the second recording against the first.
///
/// # Errors
/// If a recording cannot be read, or there is nothing by which its prompts are known in the other.
pub fn paired(sides: &[Side<'_>; 2], asked: &Asked) -> Result<Paired, PairError> {
    for side in sides {
        let missing = side.steps().find_map(|step| step.missing());
        let fault = side.recording.pending_error().cloned();
        if let Some(error) = fault.or(missing) {
            return Err(error.into());
        }
    }
    let by = prompt::by(sides, asked.by)?;
    let [a, b] = sides;
    let (a, b) = (Gathered::of(a, by, asked)?, Gathered::of(b, by, asked)?);
    if by == By::GroupIds && asked.by.is_none() {
        for (side, gathered) in sides.iter().zip([&a, &b]) {
            prompt::no_counters(&side.name, &gathered.prompts)?;
        }
    }
    let shared = a.prompts.intersection(&b.prompts).count() as u64;
    if shared == 0 {
        return Err(PairError::NoneShared {
            by,
            a: a.prompts.len() as u64,
            b: b.prompts.len() as u64,
            hint: by.hint(),
        });
    }
    let names: BTreeSet<&Number> = a.numbers.keys().chain(b.numbers.keys()).collect();
    let numbers = names.into_iter().map(|name| {
        let of = [&a, &b].map(|gathered| gathered.numbers.get(name));
        (name.clone(), Difference::between(of))
    });
    Ok(Paired {
        by,
        shared,
        numbers: numbers.collect(),
        sides: [a.looked(), b.looked()],
    })
}
