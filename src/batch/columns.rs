//! What a rank hands in: the columns of a record, borrowed and unchecked.

use std::borrow::Cow;

use ndarray::{ArrayView1, ArrayView2};

use crate::batch::group::Grouping;
use crate::batch::scalars::{Scalars, Weighting};
use crate::batch::tokens::{TokenColumn, TokenIds, TokenMask};

/// A per-completion (or per-group) column of doubles, borrowed. A non-finite value is counted and not used.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    values: ArrayView1<'a, f64>,
    /// True where the value does not apply; empty where every one does.
    pub(super) absent: &'a [bool],
}

impl<'a> Values<'a> {
    /// A column of which the values marked in `absent` do not apply (a `null` in a record). Both have the same length.
    #[must_use]
    pub fn masked(values: &'a [f64], absent: &'a [bool]) -> Self {
        Self {
            values: values.into(),
            absent,
        }
    }

    /// How many values there are, the absent ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The column as it lies in memory if nothing in it is absent and it has no stride.
    pub(crate) fn whole(&self) -> Option<&'a [f64]> {
        self.values
            .to_slice()
            .filter(|_| !self.absent.contains(&true))
    }

    /// The values in order, `None` where absent.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<f64>> + '_ {
        self.values.iter().enumerate().map(|(i, &value)| {
            let absent = self.absent.get(i).copied().unwrap_or(false);
            (!absent).then_some(value)
        })
    }
}

impl<'a> From<&'a [f64]> for Values<'a> {
    fn from(values: &'a [f64]) -> Self {
        Self::masked(values, &[])
    }
}

impl<'a> From<&'a Vec<f64>> for Values<'a> {
    fn from(values: &'a Vec<f64>) -> Self {
        Self::masked(values, &[])
    }
}

impl<'a, const N: usize> From<&'a [f64; N]> for Values<'a> {
    fn from(values: &'a [f64; N]) -> Self {
        Self::masked(values, &[])
    }
}

impl<'a> From<ArrayView1<'a, f64>> for Values<'a> {
    fn from(values: ArrayView1<'a, f64>) -> Self {
        Self {
            values,
            absent: &[],
        }
    }
}

/// The columns of a record, unchecked, as RECORDING.md names them. Start from [`Columns::new`] and set what is there.
///
/// `n` completions, `G` groups, `S` completion tokens.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // RECORDING.md's table is the documentation of the columns
pub struct Columns<'a> {
    pub grouping: Grouping<'a>,
    /// `n`: place of the completion within its group.
    pub completion_index: Option<&'a [u32]>,
    /// `n`: total utility.
    pub rewards: Values<'a>,
    /// `n` each, by name.
    pub reward_components: Vec<(Cow<'a, str>, Values<'a>)>,
    pub advantages: Option<Values<'a>>,
    /// `n`: listwise target distribution over a group's completions; for all completions or for none.
    pub q: Option<Values<'a>>,
    /// `n`: update weights over a group's completions.
    pub weights: Option<Values<'a>>,
    /// `n`: tokens. Token columns need it; padded ones may give `padding_mask` instead.
    pub completion_lengths: Option<&'a [u32]>,
    /// `[n, t]` of 0 and 1: where padded rows hold a token; one unbroken run a row.
    pub padding_mask: Option<ArrayView2<'a, u8>>,
    /// `n`: tokens of the prompts.
    pub prompt_lengths: Option<&'a [u32]>,
    /// Tokens: where prompts are cut.
    pub max_prompt_length: Option<u32>,
    /// Tokens: the generation cap.
    pub max_completion_length: Option<u32>,
    /// `n`: ended by itself.
    pub terminated: Option<&'a [bool]>,
    pub token_logps: Option<TokenColumn<'a>>,
    pub old_token_logps: Option<TokenColumn<'a>>,
    pub ref_token_logps: Option<TokenColumn<'a>>,
    pub sampling_token_logps: Option<TokenColumn<'a>>,
    pub token_entropies: Option<TokenColumn<'a>>,
    pub token_advantages: Option<TokenColumn<'a>>,
    pub returns: Option<TokenColumn<'a>>,
    pub values: Option<TokenColumn<'a>>,
    pub loss_mask: Option<TokenMask<'a>>,
    pub token_ids: Option<TokenIds<'a>>,
    /// `G`, with group ids in order of first appearance.
    pub semantic_entropies: Option<Values<'a>>,
    /// `G`, likewise.
    pub advantage_scales: Option<Values<'a>>,
    pub seed_alpha_effective: Option<f64>,
    pub seed_max_possible_entropy: Option<f64>,
    /// `n` texts each, for the sample table (and for diversity where no token ids are given).
    pub prompts: Option<&'a [String]>,
    pub completions: Option<&'a [String]>,
    pub trajectory_ids: Option<&'a [String]>,
    /// `n` texts: data source, task or environment, for metrics by tag.
    pub tags: Option<&'a [String]>,
    pub scalars: Scalars,
    pub weighting: Option<Weighting>,
}

impl<'a> Columns<'a> {
    /// The two columns that every record has, and nothing else.
    #[must_use]
    pub fn new(grouping: Grouping<'a>, rewards: impl Into<Values<'a>>) -> Self {
        Self {
            grouping,
            rewards: rewards.into(),
            completion_index: None,
            reward_components: Vec::new(),
            advantages: None,
            q: None,
            weights: None,
            completion_lengths: None,
            padding_mask: None,
            prompt_lengths: None,
            max_prompt_length: None,
            max_completion_length: None,
            terminated: None,
            token_logps: None,
            old_token_logps: None,
            ref_token_logps: None,
            sampling_token_logps: None,
            token_entropies: None,
            token_advantages: None,
            returns: None,
            values: None,
            loss_mask: None,
            token_ids: None,
            semantic_entropies: None,
            advantage_scales: None,
            seed_alpha_effective: None,
            seed_max_possible_entropy: None,
            prompts: None,
            completions: None,
            trajectory_ids: None,
            tags: None,
            scalars: Scalars::default(),
            weighting: None,
        }
    }

    pub(super) fn token_columns(&self) -> [(&'static str, Option<TokenColumn<'a>>); 8] {
        [
            ("token_logps", self.token_logps),
            ("old_token_logps", self.old_token_logps),
            ("ref_token_logps", self.ref_token_logps),
            ("sampling_token_logps", self.sampling_token_logps),
            ("token_entropies", self.token_entropies),
            ("token_advantages", self.token_advantages),
            ("returns", self.returns),
            ("values", self.values),
        ]
    }
}
