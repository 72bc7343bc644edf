//! What a shard's numbers are read with.

use std::collections::{BTreeMap, BTreeSet};

use super::schedule::Schedule;
use super::thresholds::KlKind;
use crate::batch::scalars::{Fold, WindowFold};

/// The folds of users' own metrics, by name; those not named fold by mean.
pub type DeclaredFolds = BTreeMap<String, (Fold, WindowFold)>;

/// The k3 to the reference, in nats, above which a token's KL counts as high, where nothing else is said.
pub const HIGH_KL: f64 = 0.1;

/// What a shard's numbers are read with: options that nothing was counted against, so that they can be told afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What the epoch follows from where none is reported.
    pub schedule: Schedule,
    /// Whether trl's `kl` is weighted by the ratio of current to behaviour policy.
    pub kl_bias_correction: bool,
    /// The estimator of verl's `actor/kl_loss`.
    pub kl_kind: KlKind,
    /// Devices that the step ran on, where known.
    pub devices: Option<u32>,
    /// The k3 to the reference, in nats, above which a token's KL counts as high.
    pub high_kl: f64,
    /// The k of pass@k: powers of two up to the largest group, where none are told.
    pub pass_k: Option<BTreeSet<u32>>,
    /// The folds of users' own metrics.
    pub folds: DeclaredFolds,
}

impl Default for Reading {
    /// As an engine reads that was told nothing.
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            kl_bias_correction: true,
            kl_kind: KlKind::default(),
            devices: None,
            high_kl: HIGH_KL,
            pass_k: None,
            folds: DeclaredFolds::new(),
        }
    }
}
