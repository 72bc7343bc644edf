//! The words that an option takes, and what each stands for.

use grpo_metrics::batch::scalars::{Fold, WindowFold};
use grpo_metrics::engine::{OnFailure, Scope};
use grpo_metrics::row::window::Windowing;
use grpo_metrics::shard::{KlKind, Retain};
use pyo3::prelude::*;

use crate::error;

pub type Words<T> = [(&'static str, T)];

pub const WINDOWS: &Words<Windowing> = &[("mean", Windowing::Mean), ("pooled", Windowing::Pooled)];

pub const POLICIES: &Words<OnFailure> = &[("fail", OnFailure::Fail), ("go_on", OnFailure::GoOn)];

pub const RETAINS: &Words<Retain> = &[("exact", Retain::Exact), ("sketch", Retain::Sketch)];

pub const SCOPES: &Words<Scope> = &[("global", Scope::Global), ("local", Scope::Local)];

pub const KL_KINDS: &Words<KlKind> = &[
    ("k1", KlKind::K1),
    ("abs", KlKind::Abs),
    ("k2", KlKind::K2),
    ("k3", KlKind::K3),
];

pub const FOLDS: &Words<Fold> = &[
    ("mean_by_tokens", Fold::MeanByTokens),
    ("mean_by_completions", Fold::MeanByCompletions),
    ("mean", Fold::Mean),
    ("max", Fold::Max),
    ("min", Fold::Min),
    ("sum", Fold::Sum),
    ("sum_of_lasts", Fold::SumOfLasts),
    ("lowest_rank", Fold::LowestRank),
];

pub const WINDOW_FOLDS: &Words<WindowFold> = &[
    ("same", WindowFold::Same),
    ("mean", WindowFold::Mean),
    ("max", WindowFold::Max),
    ("min", WindowFold::Min),
    ("sum", WindowFold::Sum),
    ("last", WindowFold::Last),
];

/// What `word`, given as `option`, stands for.
///
/// # Errors
/// If it is none of `words`.
pub fn meaning<T: Copy>(option: &str, word: &str, words: &Words<T>) -> PyResult<T> {
    let known = words.iter().find(|(known, _)| *known == word);
    known.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        let known = match known.as_slice() {
            [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
            _ => known.concat(),
        };
        error::option(format!("`{option}`: expected {known}, found `{word}`"))
    })
}
