//! What is kept of a step's batches until it is known which step they were of.

use std::collections::HashMap;
use std::{iter, mem};

use super::{SampleTable, numbers};
use crate::batch::group::Grouping;
use crate::batch::{Batch, Columns, Place};

/// Takes samples every so many steps: at most so many completions of a step, and so many bytes of text.
///
/// Batches come before anybody says which step they are of. So it guesses the step from those before, and copies nothing of a batch
/// of which no samples are due.
#[derive(Debug)]
pub struct Taker {
    every: u64,
    at_most: usize,
    longest: usize,
    pieces: Vec<Piece>,
    groups: Groups,
    last: Option<u64>,
    /// How far the last step was from the one before.
    stride: Option<u64>,
}

/// A batch's part of the sample table.
#[derive(Debug)]
struct Piece {
    place: Option<Place>,
    sizes: Vec<u32>,
    ids: Option<Vec<u64>>,
    completion_index: Option<Vec<u32>>,
    lengths: Option<Vec<u32>>,
    rewards: Vec<f64>,
    components: Vec<(String, Vec<f64>)>,
    advantages: Option<Vec<f64>>,
    q: Option<Vec<f64>>,
    weights: Option<Vec<f64>>,
    prompts: Option<Vec<String>>,
    completions: Option<Vec<String>>,
    trajectory_ids: Option<Vec<String>>,
}

impl Taker {
    /// Of every step whose number `every` divides (0 counts as 1), `at_most` completions. A prompt or a completion has the same part of
    /// `max_bytes`, which is what the texts of a step may take: a longer one is cut, and ends in `...`.
    #[must_use]
    pub fn new(every: u64, at_most: usize, max_bytes: usize) -> Self {
        Self {
            every: every.max(1),
            at_most,
            longest: max_bytes / at_most.max(1) / 2,
            pieces: Vec::new(),
            groups: Groups::default(),
            last: None,
            stride: None,
        }
    }

    /// Copies what samples are made of, where some may be due; a batch without texts has none.
    pub fn observe(&mut self, batch: &Batch<'_>) {
        let columns = batch.columns();
        let has_texts = columns.prompts.is_some() || columns.completions.is_some();
        if has_texts && self.may_be_due() {
            let wanted = self.groups.wanted(&columns.grouping, self.at_most);
            let piece = Piece::of(batch, &wanted, self.longest);
            self.pieces.push(piece);
        }
    }

    /// The batches since the last call were of `step`: its samples, if they are due and there are any.
    pub fn step(&mut self, step: u64) -> Option<SampleTable> {
        self.stride = self.last.map(|last| step.saturating_sub(last));
        self.last = Some(step);
        let pieces = mem::take(&mut self.pieces);
        self.groups = Groups::default();
        if pieces.is_empty() || !step.is_multiple_of(self.every) {
            return None;
        }
        let batches = pieces.iter().filter_map(|piece| piece.batch().ok());
        let batches: Vec<Batch<'_>> = batches.collect();
        let mut table = SampleTable::of(step, &batches.iter().collect::<Vec<_>>());
        table.samples.truncate(self.at_most);
        Some(table)
    }

    /// Forgets what was observed of a step that is not to be.
    pub fn forget(&mut self) {
        self.pieces.clear();
        self.groups = Groups::default();
    }

    fn may_be_due(&self) -> bool {
        let next = self.last.zip(self.stride);
        let next = next.map(|(last, stride)| last.saturating_add(stride));
        next.is_none_or(|next| next.is_multiple_of(self.every))
    }
}

/// The groups of a step, in order of first appearance, as far as they have been seen.
#[derive(Debug, Default)]
struct Groups {
    members: Vec<usize>,
    by_id: HashMap<u64, usize>,
}

impl Groups {
    /// Which of a batch's completions may be among the first `at_most` of the step's table: those before whose groups there are fewer so
    /// far. What is observed later can only bring more.
    fn wanted(&mut self, grouping: &Grouping<'_>, at_most: usize) -> Vec<bool> {
        let mut groups = Vec::new();
        match grouping {
            Grouping::Sizes(sizes) => {
                for size in *sizes {
                    let size = *size as usize;
                    groups.extend(iter::repeat_n(self.members.len(), size));
                    self.members.push(size);
                }
            }
            Grouping::Ids(ids) => {
                for id in *ids {
                    let next = self.members.len();
                    let group = *self.by_id.entry(*id).or_insert(next);
                    if group == next {
                        self.members.push(0);
                    }
                    self.members[group] += 1;
                    groups.push(group);
                }
            }
        }
        let before = self.members.iter().scan(0, |before, members| {
            let so_far = *before;
            *before += members;
            Some(so_far)
        });
        let before: Vec<usize> = before.collect();
        groups
            .iter()
            .map(|group| before[*group] < at_most)
            .collect()
    }
}

impl Piece {
    /// All of a batch but texts that are not `wanted`.
    fn of(batch: &Batch<'_>, wanted: &[bool], longest: usize) -> Self {
        let c = batch.columns();
        let n = batch.completions();
        let texts = |texts: Option<&[String]>| {
            let kept = |(text, wanted): (&String, &bool)| match wanted {
                true => cut(text, longest),
                false => String::new(),
            };
            texts.map(|texts| texts.iter().zip(wanted).map(kept).collect())
        };
        let (sizes, ids) = match c.grouping {
            Grouping::Sizes(sizes) => (sizes.to_vec(), None),
            Grouping::Ids(ids) => (Vec::new(), Some(ids.to_vec())),
        };
        let components = c.reward_components.iter();
        Self {
            place: batch.place(),
            sizes,
            ids,
            completion_index: c.completion_index.map(<[u32]>::to_vec),
            lengths: batch.lengths().map(<[u32]>::to_vec),
            rewards: numbers(Some(&c.rewards), n),
            components: components
                .map(|(name, values)| (name.to_string(), numbers(Some(values), n)))
                .collect(),
            advantages: c.advantages.as_ref().map(|v| numbers(Some(v), n)),
            q: c.q.as_ref().map(|v| numbers(Some(v), n)),
            weights: c.weights.as_ref().map(|v| numbers(Some(v), n)),
            prompts: texts(c.prompts),
            completions: texts(c.completions),
            trajectory_ids: texts(c.trajectory_ids),
        }
    }

    fn batch(&self) -> Result<Batch<'_>, crate::batch::BatchError> {
        let grouping = match &self.ids {
            Some(ids) => Grouping::Ids(ids),
            None => Grouping::Sizes(&self.sizes),
        };
        let columns = Columns {
            completion_index: self.completion_index.as_deref(),
            completion_lengths: self.lengths.as_deref(),
            reward_components: self
                .components
                .iter()
                .map(|(name, values)| (name.into(), values.as_slice().into()))
                .collect(),
            advantages: self.advantages.as_deref().map(Into::into),
            q: self.q.as_deref().map(Into::into),
            weights: self.weights.as_deref().map(Into::into),
            prompts: self.prompts.as_deref(),
            completions: self.completions.as_deref(),
            trajectory_ids: self.trajectory_ids.as_deref(),
            ..Columns::new(grouping, self.rewards.as_slice())
        };
        let batch = Batch::of(columns)?;
        Ok(match self.place {
            Some(place) => batch.at(place.rank, place.micro),
            None => batch,
        })
    }
}

/// The text, or its beginning and `...`: `longest` bytes at most of it.
fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let room = longest.saturating_sub(3);
    let end = (0..=room).rfind(|end| text.is_char_boundary(*end));
    format!("{}...", &text[..end.unwrap_or_default()])
}
