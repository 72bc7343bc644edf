//! NeMo-RL's `train_data_step{N}.jsonl`: a line a sample, each member a list of one. Its step is in its name alone. The completion
//! is what comes from the first generated token on, the environment's answers too; a group is known by the prompt's tokens.

use std::io::BufRead;
use std::path::Path;

use serde_json::Value;

use super::super::cell::{Maybe, Natural, Number, NumberOrBit, Single};
use super::super::fault::Fault;
use super::super::field::{Cells, Fields, Owned};
use super::advantages::Advantages;
use super::row::{Row, Rows, as_long_as, list, many, one};
use super::{Wrong, group_of_tokens, number_in};

pub(super) fn step(path: &Path) -> Result<u64, Fault> {
    let name = path.file_name().and_then(|name| name.to_str());
    let step = name.and_then(|name| number_in(name, "train_data_step", ".jsonl"));
    step.ok_or(Fault::NoStepInName {
        expected: "`train_data_step` and a number before `.jsonl`, as NeMo-RL calls its files",
    })
}

#[derive(Default)]
struct Columns {
    groups: Vec<u64>,
    rewards: Vec<Option<f64>>,
    lengths: Vec<u32>,
    prompts: Vec<u32>,
    tokens: Vec<u32>,
    mask: Vec<u8>,
    old: Vec<f32>,
    sampled: Vec<f32>,
    advantages: Advantages,
}

pub(super) fn fields<R: BufRead>(rows: Rows<R>) -> Result<Fields, Wrong> {
    let mut columns = Columns::default();
    rows.each(|row| columns.take(row))?;
    let mut fields = Fields::from([
        ("group_ids", Owned::Ids(columns.groups)),
        (
            "rewards",
            Owned::Numbers(columns.rewards.into_iter().collect()),
        ),
        ("completion_lengths", Owned::Naturals(columns.lengths)),
        ("prompt_lengths", Owned::Naturals(columns.prompts)),
        (
            "token_ids",
            Owned::TokenNaturals(Cells::flat(columns.tokens)),
        ),
        ("loss_mask", Owned::TokenBits(Cells::flat(columns.mask))),
        (
            "sampling_token_logps",
            Owned::Tokens(Cells::flat(columns.sampled)),
        ),
    ]);
    // NeMo-RL writes zeros where it skips them (`force_on_policy_ratio`).
    if columns.old.iter().any(|logp| *logp != 0.0) {
        fields.insert("old_token_logps", Owned::Tokens(Cells::flat(columns.old)));
    }
    columns.advantages.into(&mut fields);
    Ok(fields)
}

impl Columns {
    fn take(&mut self, row: &Row) -> Result<(), Fault> {
        // With dynamic sampling a line's `rewards` are of all samples in order, and everything else of those that were kept.
        let kept = row.maybe("filtered_rewards").is_some();
        let field = if kept { "filtered_rewards" } else { "rewards" };
        let Some(reward) = only(row, field)? else {
            return Ok(());
        };
        let length = one::<Natural>("input_lengths", needed(row, "input_lengths")?)? as usize;
        let mask = many::<Number>("token_loss_mask", needed(row, "token_loss_mask")?)?;
        let mask = mask.get(..length).ok_or_else(|| Fault::Cell {
            field: "input_lengths".to_owned(),
            expected: format!("at most {}, the tokens of the line", mask.len()),
            found: length.to_string(),
        })?;
        let counts = one::<NumberOrBit>("sample_loss_mask", needed(row, "sample_loss_mask")?)?;
        // Nothing was generated where no token is marked.
        let first = mask.iter().position(|x| *x != 0.0).unwrap_or(length);
        let span = first..length;
        let padded = |field: &'static str| {
            let value = needed(row, field)?;
            as_long_as(
                field,
                list(field, value)?.len(),
                "token_loss_mask",
                mask_len(row)?,
            )?;
            Ok::<_, Fault>(value)
        };
        let tokens = many::<Natural>("token_ids", padded("token_ids")?)?;
        let old = many::<Single>("prev_logprobs", padded("prev_logprobs")?)?;
        let sampled = many::<Single>("generation_logprobs", padded("generation_logprobs")?)?;
        let advantages = many::<Single>("advantages", padded("advantages")?)?;
        self.rewards.push(one::<Maybe<NumberOrBit>>(field, reward)?);
        self.groups
            .push(group_of_tokens(tokens.get(..first).unwrap_or_default()));
        self.prompts.push(u32::try_from(first).unwrap_or(u32::MAX));
        self.lengths
            .push(u32::try_from(span.len()).unwrap_or(u32::MAX));
        let marked = mask.get(span.clone()).unwrap_or_default();
        let marked = marked.iter().map(|x| u8::from(*x != 0.0 && counts != 0.0));
        let marked: Vec<u8> = marked.collect();
        let advantages = advantages.get(span.clone()).unwrap_or_default();
        self.advantages.take(advantages, &marked);
        self.mask.extend(marked);
        self.tokens
            .extend_from_slice(tokens.get(span.clone()).unwrap_or_default());
        self.old
            .extend_from_slice(old.get(span.clone()).unwrap_or_default());
        self.sampled
            .extend_from_slice(sampled.get(span).unwrap_or_default());
        Ok(())
    }
}

fn mask_len(row: &Row) -> Result<usize, Fault> {
    let mask = needed(row, "token_loss_mask")?;
    Ok(list("token_loss_mask", mask)?.len())
}

/// The one value of a member's list; `None` in a line beyond the samples that were kept.
fn only<'r>(row: &'r Row, field: &'static str) -> Result<Option<&'r Value>, Fault> {
    match list(field, row.member(field)?)? {
        [] => Ok(None),
        [value] => Ok(Some(value)),
        more => Err(Fault::Cell {
            field: field.to_owned(),
            expected: "a list of one".to_owned(),
            found: format!("one of {}", more.len()),
        }),
    }
}

fn needed<'r>(row: &'r Row, field: &'static str) -> Result<&'r Value, Fault> {
    only(row, field)?.ok_or_else(|| Fault::Cell {
        field: field.to_owned(),
        expected: "a list of one".to_owned(),
        found: "an empty one".to_owned(),
    })
}
