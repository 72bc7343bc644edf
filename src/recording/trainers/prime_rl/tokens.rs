//! prime-rl's `token_exports/step_{N}/rank_{R}.jsonl`: a line a sequence as the trainer packed it, with what trainer and sampler
//! made of each token. It has no rewards. Ranks have a file each, and none says how many there are: each is a micro-batch here.

use std::io::BufRead;

use super::super::super::cell::{Bit, Maybe, Natural, Natural64, Single};
use super::super::super::fault::Fault;
use super::super::super::field::{Cells, Fields, Owned};
use super::super::advantages::Advantages;
use super::super::row::{Row, Rows, as_long_as, many, one};
use super::super::{Part, Wrong, group_of_tokens};

pub(in super::super) fn part<R: BufRead>(rows: &mut Rows<R>) -> Result<Part, Wrong> {
    rows.first(part_of)
}

fn part_of(row: &Row) -> Result<Part, Fault> {
    Ok(Part {
        step: one::<Natural64>("step", row.member("step")?)?,
        micro: one::<Natural>("rank", row.member("rank")?)?,
    })
}

#[derive(Default)]
struct Columns {
    groups: Vec<u64>,
    lengths: Vec<u32>,
    prompts: Vec<u32>,
    tags: Vec<String>,
    tokens: Vec<u32>,
    mask: Vec<u8>,
    current: Vec<f32>,
    sampled: Vec<f32>,
    entropies: Vec<f32>,
    advantages: Advantages,
}

pub(in super::super) fn fields<R: BufRead>(rows: Rows<R>) -> Result<Fields, Wrong> {
    let mut columns = Columns::default();
    let mut first = None;
    rows.each(|row| {
        let part = part_of(row)?;
        if *first.get_or_insert(part) != part {
            return Err(Fault::Cell {
                field: "step".to_owned(),
                expected: "step and rank of the first line".to_owned(),
                found: format!("step {}, rank {}", part.step, part.micro),
            });
        }
        columns.take(row)
    })?;
    let n = columns.lengths.len();
    let mut fields = Fields::from([
        ("group_ids", Owned::Ids(columns.groups)),
        ("rewards", Owned::Numbers((0..n).map(|_| None).collect())),
        ("completion_lengths", Owned::Naturals(columns.lengths)),
        ("prompt_lengths", Owned::Naturals(columns.prompts)),
        (
            "token_ids",
            Owned::TokenNaturals(Cells::flat(columns.tokens)),
        ),
        ("loss_mask", Owned::TokenBits(Cells::flat(columns.mask))),
        ("token_logps", Owned::Tokens(Cells::flat(columns.current))),
        (
            "sampling_token_logps",
            Owned::Tokens(Cells::flat(columns.sampled)),
        ),
        (
            "token_entropies",
            Owned::Tokens(Cells::flat(columns.entropies)),
        ),
    ]);
    if columns.tags.iter().any(|tag| !tag.is_empty()) {
        fields.insert("tags", Owned::Texts(columns.tags));
    }
    columns.advantages.into(&mut fields);
    Ok(fields)
}

impl Columns {
    fn take(&mut self, row: &Row) -> Result<(), Fault> {
        let tokens = many::<Natural>("token_ids", row.member("token_ids")?)?;
        let mask = many::<Bit>("loss_mask", row.member("loss_mask")?)?;
        as_long_as("loss_mask", mask.len(), "token_ids", tokens.len())?;
        let cells = |field: &'static str| {
            let cells = many::<Maybe<Single>>(field, row.member(field)?)?;
            as_long_as(field, cells.len(), "token_ids", tokens.len())?;
            // Null is what was not finite.
            let numbers = cells.into_iter().map(|x| x.unwrap_or(f32::NAN));
            Ok::<Vec<f32>, Fault>(numbers.collect())
        };
        let (current, sampled) = (cells("trainer_logprobs")?, cells("inference_logprobs")?);
        let (entropies, advantages) = (cells("entropy")?, cells("advantages")?);
        let first = mask
            .iter()
            .position(|marked| *marked)
            .unwrap_or(tokens.len());
        let end = mask
            .iter()
            .rposition(|marked| *marked)
            .map_or(first, |at| at + 1);
        let span = first..end;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.groups
            .push(group_of_tokens(tokens.get(..first).unwrap_or_default()));
        self.prompts.push(count(first));
        self.lengths.push(count(span.len()));
        let env = row.maybe("env_name").map(|_| row.text("env_name"));
        let env = env.transpose()?;
        self.tags.push(env.unwrap_or_default());
        let part = |cells: &[f32]| cells.get(span.clone()).unwrap_or_default().to_vec();
        let marked = mask.get(span.clone()).unwrap_or_default();
        let marked: Vec<u8> = marked.iter().copied().map(u8::from).collect();
        self.advantages.take(&part(&advantages), &marked);
        self.tokens
            .extend_from_slice(tokens.get(span.clone()).unwrap_or_default());
        self.mask.extend(marked);
        self.current.extend(part(&current));
        self.sampled.extend(part(&sampled));
        self.entropies.extend(part(&entropies));
        Ok(())
    }
}
