//! A record's columns from Python's keyword arguments.

use std::borrow::Cow;

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::scalars::{Meta, Scalars, Weighting};
use grpo_metrics::batch::tokens::{TokenColumn, TokenIds, TokenMask};
use grpo_metrics::batch::{Batch, Columns};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyMapping, PyString};

use crate::column::{Flat, Mask, Numbers, Read, Tokens, View, kind_of, number};
use crate::error;
use crate::interruption::Noted;

macro_rules! columns {
    ($($name:ident: $kind:ty,)*) => {
        /// The columns of one record while they are borrowed from Python, under the names of RECORDING.md; `None` where not given.
        #[derive(Default)]
        struct Held<'py> {
            $($name: Option<$kind>,)*
            rank: Option<u32>,
            micro: Option<u32>,
        }

        impl<'py> Held<'py> {
            const NAMES: &'static [&'static str] = &[$(stringify!($name),)* "rank", "micro"];

            fn set(&mut self, name: &str, value: &Bound<'py, PyAny>) -> PyResult<()> {
                match name {
                    $(stringify!($name) => self.$name = Some(Read::read(name, value)?),)*
                    "rank" => self.rank = Some(Read::read(name, value)?),
                    "micro" => self.micro = Some(Read::read(name, value)?),
                    _ => {
                        let known = Self::NAMES.iter().copied();
                        return Err(error::column(error::unknown("column", name, known)));
                    }
                }
                Ok(())
            }
        }
    };
}

columns! {
    group_sizes: Flat<u32>,
    group_ids: Flat<u64>,
    completion_index: Flat<u32>,
    rewards: Numbers,
    reward_components: Vec<(String, Numbers)>,
    advantages: Numbers,
    q: Numbers,
    weights: Numbers,
    completion_lengths: Flat<u32>,
    padding_mask: Mask<'py>,
    prompt_lengths: Flat<u32>,
    max_completion_length: u32,
    max_prompt_length: u32,
    terminated: Flat<bool>,
    token_logps: Tokens<'py, f32>,
    old_token_logps: Tokens<'py, f32>,
    ref_token_logps: Tokens<'py, f32>,
    sampling_token_logps: Tokens<'py, f32>,
    token_entropies: Tokens<'py, f32>,
    token_advantages: Tokens<'py, f32>,
    returns: Tokens<'py, f32>,
    values: Tokens<'py, f32>,
    loss_mask: Mask<'py>,
    token_ids: Tokens<'py, u32>,
    semantic_entropies: Numbers,
    advantage_scales: Numbers,
    seed_alpha_effective: f64,
    seed_max_possible_entropy: f64,
    prompts: Vec<String>,
    completions: Vec<String>,
    trajectory_ids: Vec<String>,
    tags: Vec<String>,
    scalars: Scalars,
    weighting: Weighting,
}

impl Held<'_> {
    fn columns(&self) -> PyResult<Columns<'_>> {
        let lengths = self.completion_lengths.as_ref().map(Flat::cells);
        let tokens = |name, column: &Option<Tokens<'_, f32>>| match column {
            Some(column) => column.check_rows(name, lengths),
            None => Ok(()),
        };
        tokens("token_logps", &self.token_logps)?;
        tokens("old_token_logps", &self.old_token_logps)?;
        tokens("ref_token_logps", &self.ref_token_logps)?;
        tokens("sampling_token_logps", &self.sampling_token_logps)?;
        tokens("token_entropies", &self.token_entropies)?;
        tokens("token_advantages", &self.token_advantages)?;
        tokens("returns", &self.returns)?;
        tokens("values", &self.values)?;
        if let Some(Mask(mask)) = &self.loss_mask {
            mask.check_rows("loss_mask", lengths)?;
        }
        if let Some(ids) = &self.token_ids {
            ids.check_rows("token_ids", lengths)?;
        }
        let rewards = self
            .rewards
            .as_ref()
            .ok_or_else(|| error::column("`rewards` is missing"))?;
        let padding_mask = match &self.padding_mask {
            None => None,
            Some(Mask(mask)) => Some(mask.padded().ok_or_else(|| {
                error::column("`padding_mask`: expected two dimensions, found one")
            })?),
        };
        let components = self.reward_components.as_deref().unwrap_or_default();
        Ok(Columns {
            completion_index: self.completion_index.as_ref().map(Flat::cells),
            reward_components: components
                .iter()
                .map(|(name, column)| (Cow::Borrowed(name.as_str()), column.values()))
                .collect(),
            advantages: self.advantages.as_ref().map(Numbers::values),
            q: self.q.as_ref().map(Numbers::values),
            weights: self.weights.as_ref().map(Numbers::values),
            completion_lengths: lengths,
            padding_mask,
            prompt_lengths: self.prompt_lengths.as_ref().map(Flat::cells),
            max_completion_length: self.max_completion_length,
            max_prompt_length: self.max_prompt_length,
            terminated: self.terminated.as_ref().map(Flat::cells),
            token_logps: singles(self.token_logps.as_ref()),
            old_token_logps: singles(self.old_token_logps.as_ref()),
            ref_token_logps: singles(self.ref_token_logps.as_ref()),
            sampling_token_logps: singles(self.sampling_token_logps.as_ref()),
            token_entropies: singles(self.token_entropies.as_ref()),
            token_advantages: singles(self.token_advantages.as_ref()),
            returns: singles(self.returns.as_ref()),
            values: singles(self.values.as_ref()),
            loss_mask: self
                .loss_mask
                .as_ref()
                .map(|Mask(column)| match column.view() {
                    View::Ragged(cells) => TokenMask::Ragged(cells),
                    View::Padded(rows) => TokenMask::Padded(rows),
                }),
            token_ids: self.token_ids.as_ref().map(|column| match column.view() {
                View::Ragged(cells) => TokenIds::Ragged(cells),
                View::Padded(rows) => TokenIds::Padded(rows),
            }),
            semantic_entropies: self.semantic_entropies.as_ref().map(Numbers::values),
            advantage_scales: self.advantage_scales.as_ref().map(Numbers::values),
            seed_alpha_effective: self.seed_alpha_effective,
            seed_max_possible_entropy: self.seed_max_possible_entropy,
            prompts: self.prompts.as_deref(),
            completions: self.completions.as_deref(),
            trajectory_ids: self.trajectory_ids.as_deref(),
            tags: self.tags.as_deref(),
            scalars: self.scalars.clone().unwrap_or_default(),
            weighting: self.weighting.clone(),
            ..Columns::new(self.grouping()?, rewards.values())
        })
    }

    fn grouping(&self) -> PyResult<Grouping<'_>> {
        match (&self.group_sizes, &self.group_ids) {
            (Some(sizes), None) => Ok(Grouping::Sizes(sizes.cells())),
            (None, Some(ids)) => Ok(Grouping::Ids(ids.cells())),
            (None, None) => Err(error::column(
                "expected `group_sizes` or `group_ids`, found neither",
            )),
            (Some(_), Some(_)) => Err(error::column(
                "expected `group_sizes` or `group_ids`, found both",
            )),
        }
    }
}

fn singles<'a>(column: Option<&'a Tokens<'_, f32>>) -> Option<TokenColumn<'a>> {
    column.map(|column| match column.view() {
        View::Ragged(cells) => TokenColumn::Ragged(cells),
        View::Padded(rows) => TokenColumn::Padded(rows),
    })
}

/// Checks the columns and hands them to `work` as a batch, without the GIL. Token columns are borrowed until it returns; what
/// another thread writes there meanwhile can make a number wrong and nothing else.
pub fn with_batch<T: Send>(
    py: Python<'_>,
    columns: Option<&Bound<'_, PyDict>>,
    work: impl FnOnce(Batch<'_>) -> PyResult<T> + Send,
) -> PyResult<T> {
    let mut held = Held::default();
    for (name, value) in columns.into_iter().flatten() {
        if !value.is_none() {
            held.set(name.cast::<PyString>()?.to_str()?, &value)?;
        }
    }
    let (rank, micro) = (held.rank, held.micro);
    let columns = held.columns()?;
    py.detach(|| {
        let batch = Batch::of(columns).map_err(error::column)?;
        work(match (rank, micro) {
            (None, None) => batch,
            (rank, micro) => batch.at(rank.unwrap_or(0), micro.unwrap_or(0)),
        })
    })
}

fn expected(name: &str, expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    error::column(format!(
        "`{name}`: expected {expected}, found {}",
        kind_of(found)
    ))
}

impl<'py> Read<'py> for u32 {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        value
            .extract()
            .noted()
            .map_err(|_| expected(name, "a whole number from 0 to 4294967295", value))
    }
}

impl<'py> Read<'py> for f64 {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        number(value).ok_or_else(|| expected(name, "a number", value))
    }
}

impl<'py> Read<'py> for Vec<String> {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyString>() {
            return Err(expected(name, "a list of texts", value));
        }
        value
            .extract()
            .noted()
            .map_err(|_| expected(name, "a list of texts", value))
    }
}

impl<'py> Read<'py> for Vec<(String, Numbers)> {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        members(name, value)?
            .into_iter()
            .map(|(member, column)| {
                let column = Numbers::read(&format!("{name}.{member}"), &column)?;
                Ok((member, column))
            })
            .collect()
    }
}

/// What a mapping holds, without what is `None`.
fn members<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    let refuse = |_| expected(name, "a dictionary with texts as keys", value);
    let mut members = Vec::new();
    if let Ok(dict) = value.cast::<PyDict>() {
        for (key, value) in dict {
            members.push((key.extract().noted().map_err(refuse)?, value));
        }
    } else {
        let mapping = value.cast::<PyMapping>().map_err(|e| refuse(e.into()))?;
        for item in mapping.items()? {
            let (key, value): (Bound<'py, PyAny>, _) = item.extract()?;
            members.push((key.extract().noted().map_err(refuse)?, value));
        }
    }
    members.retain(|(_, value)| !value.is_none());
    Ok(members)
}

impl<'py> Read<'py> for Scalars {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut scalars = Self::default();
        for (member, value) in members(name, value)? {
            scalars.set(&member, Read::read(&format!("{name}.{member}"), &value)?);
        }
        Ok(scalars)
    }
}

impl<'py> Read<'py> for bool {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(flag) = value.cast::<PyBool>() {
            return Ok(flag.is_true());
        }
        match number(value) {
            Some(0.0) => Ok(false),
            Some(1.0) => Ok(true),
            _ => Err(expected(name, "True or False", value)),
        }
    }
}

impl<'py> Read<'py> for Weighting {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut weighting = Self::default();
        for (member, value) in members(name, value)? {
            let field = format!("{name}.{member}");
            if Self::WORDS.contains(&member.as_str()) {
                let word: String = value
                    .extract()
                    .noted()
                    .map_err(|_| expected(&field, "a text", &value))?;
                if let Some(Err(unknown)) = weighting.set_word(&member, &word) {
                    return Err(error::column(format!("`{field}`: {unknown}")));
                }
            } else if member == "meta" {
                weighting.meta = Some(Read::read(&field, &value)?);
            } else if let Some(place) = weighting.number_mut(&member) {
                *place = Some(Read::read(&field, &value)?);
            } else if let Some(place) = weighting.flag_mut(&member) {
                *place = Some(Read::read(&field, &value)?);
            } else {
                let known = [Self::NUMBERS, Self::FLAGS, Self::WORDS, &["meta"]].concat();
                return Err(error::column(error::unknown(
                    "field of `weighting`",
                    &member,
                    known,
                )));
            }
        }
        Ok(weighting)
    }
}

impl<'py> Read<'py> for Meta {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut meta = Self::default();
        for (member, value) in members(name, value)? {
            let field = format!("{name}.{member}");
            if let Some(place) = meta.number_mut(&member) {
                *place = Some(Read::read(&field, &value)?);
            } else if let Some(place) = meta.flag_mut(&member) {
                *place = Some(Read::read(&field, &value)?);
            } else {
                let known = Self::NUMBERS.iter().chain(Self::FLAGS).copied();
                return Err(error::column(error::unknown(
                    "field of `weighting.meta`",
                    &member,
                    known,
                )));
            }
        }
        Ok(meta)
    }
}
