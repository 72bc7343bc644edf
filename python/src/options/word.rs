//! The words that an option takes, and what each stands for.

use grpo_metrics::engine::{Policy, Scope};
use grpo_metrics::scalars::{Fold, WindowFold};
use grpo_metrics::shard::{KlKind, Retain};
use grpo_metrics::window::Reduction;
use pyo3::prelude::*;

use crate::error;

pub(super) fn reduction(word: &str) -> PyResult<Reduction> {
    match word {
        "mean" => Ok(Reduction::Mean),
        "pooled" => Ok(Reduction::Pooled),
        _ => Err(error::option(format!(
            "`window`: expected mean or pooled, found `{word}`"
        ))),
    }
}

pub(super) fn policy_of(word: &str) -> PyResult<Policy> {
    match word {
        "fail" => Ok(Policy::Fail),
        "go_on" => Ok(Policy::GoOn),
        _ => Err(error::option(format!(
            "`policy`: expected fail or go_on, found `{word}`"
        ))),
    }
}

pub(super) fn retain_of(word: &str) -> PyResult<Retain> {
    match word {
        "exact" => Ok(Retain::Exact),
        "sketch" => Ok(Retain::Sketch),
        _ => Err(error::option(format!(
            "`retain`: expected exact or sketch, found `{word}`"
        ))),
    }
}

pub(super) fn kl_kind(option: &str, word: &str) -> PyResult<KlKind> {
    match word {
        "k1" => Ok(KlKind::K1),
        "abs" => Ok(KlKind::Abs),
        "k2" => Ok(KlKind::K2),
        "k3" => Ok(KlKind::K3),
        _ => Err(error::option(format!(
            "`{option}`: expected k1, abs, k2 or k3, found `{word}`"
        ))),
    }
}

pub(super) fn scope_of(word: &str) -> PyResult<Scope> {
    match word {
        "global" => Ok(Scope::Global),
        "local" => Ok(Scope::Local),
        _ => Err(error::option(format!(
            "`scope`: expected global or local, found `{word}`"
        ))),
    }
}

pub(super) fn fold_of(word: &str) -> PyResult<Fold> {
    Ok(match word {
        "mean_by_tokens" => Fold::MeanByTokens,
        "mean_by_completions" => Fold::MeanByCompletions,
        "mean" => Fold::Mean,
        "max" => Fold::Max,
        "min" => Fold::Min,
        "sum" => Fold::Sum,
        "sum_of_lasts" => Fold::SumOfLasts,
        "lowest_rank" => Fold::LowestRank,
        _ => {
            return Err(error::option(format!(
                "`folds`: expected mean_by_tokens, mean_by_completions, mean, max, min, sum, sum_of_lasts or lowest_rank, found `{word}`"
            )));
        }
    })
}

pub(super) fn window_fold(word: &str) -> PyResult<WindowFold> {
    Ok(match word {
        "same" => WindowFold::Same,
        "mean" => WindowFold::Mean,
        "max" => WindowFold::Max,
        "min" => WindowFold::Min,
        "sum" => WindowFold::Sum,
        "last" => WindowFold::Last,
        _ => {
            return Err(error::option(format!(
                "`folds`: expected same, mean, max, min, sum or last for the window, found `{word}`"
            )));
        }
    })
}
