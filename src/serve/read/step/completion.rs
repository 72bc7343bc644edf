//! Completions in their groups, as they are shown: with texts of which nothing is known but how long they may be.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::hooks::samples::{Sample, SampleTable};
use crate::store::{Beginning, Predicted};

/// How many characters, and bytes, of a text are shown.
pub(super) const TEXT: usize = 64 << 10;

/// How many bytes of texts one answer has.
const TEXTS: usize = 8 << 20;

/// A group of completions of one prompt.
#[derive(Debug, Serialize)]
pub(in super::super) struct Group {
    name: String,
    /// The standard deviation of its rewards; null where not all of them are here.
    spread: Option<f64>,
    prompt: Option<String>,
    completions: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    rank: Option<i64>,
    reward: Option<f64>,
    components: BTreeMap<String, f64>,
    advantage: Option<f64>,
    length: Option<u64>,
    text: Option<String>,
}

/// A completion on its way into its group.
#[derive(Debug)]
pub(in super::super) struct Completion {
    /// None where nobody says.
    group: Option<u64>,
    /// How many completions the whole group has.
    of: Option<u64>,
    prompt: Option<String>,
    shown: Shown,
}

/// How much room there is left for texts.
#[derive(Debug)]
pub(in super::super) struct Texts {
    left: usize,
}

impl Default for Texts {
    fn default() -> Self {
        Self { left: TEXTS }
    }
}

impl Texts {
    /// The text as far as there is room for it, and how much is missing.
    fn shown(&mut self, text: &str, characters: u64) -> String {
        let most = TEXT.min(self.left);
        let end = (0..=most.min(text.len())).rfind(|end| text.is_char_boundary(*end));
        let shown = text.get(..end.unwrap_or_default()).unwrap_or_default();
        self.left -= shown.len();
        let missing = characters.saturating_sub(shown.chars().count() as u64);
        if missing == 0 {
            return shown.to_owned();
        }
        format!("{shown}\u{2026} ({missing} more characters are stored)")
    }

    fn beginning(&mut self, text: Option<Beginning>) -> Option<String> {
        let text = text?;
        Some(self.shown(&text.text, text.characters))
    }

    fn whole(&mut self, text: &str) -> Option<String> {
        (!text.is_empty()).then(|| self.shown(text, text.chars().count() as u64))
    }
}

impl Completion {
    pub fn of_prediction(one: Predicted, texts: &mut Texts) -> Self {
        let number = |name: &str| one.metadata.get(name).and_then(Value::as_u64);
        let rank = one.metadata.get("reward_rank_desc").and_then(Value::as_i64);
        let rewards = one.metadata.get("rewards").and_then(Value::as_object);
        let components = rewards.into_iter().flatten();
        let group = number("prompt_index");
        Self {
            group,
            of: number("group_size"),
            prompt: texts.beginning(one.instruction),
            shown: Shown {
                rank: rank.filter(|rank| *rank > 0),
                reward: one.reward,
                components: components
                    .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
                    .collect(),
                advantage: one.advantage,
                length: number("length"),
                text: texts.beginning(one.model_output),
            },
        }
    }

    /// Those of a table, the first so many.
    pub fn of_table(table: &SampleTable, most: usize, texts: &mut Texts) -> Vec<Self> {
        let known = |value: f64| Some(value).filter(|value| !value.is_nan());
        let mut last_prompt = None;
        let completion = |sample: &Sample| {
            // Of a prompt that a group has in common, once is enough.
            let is_new = last_prompt.replace(sample.prompt_index) != Some(sample.prompt_index);
            Self {
                group: Some(sample.prompt_index),
                of: Some(sample.group_size),
                prompt: is_new.then(|| texts.whole(&sample.prompt)).flatten(),
                shown: Shown {
                    rank: Some(sample.reward_rank_desc).filter(|rank| *rank > 0),
                    reward: known(sample.reward_total),
                    components: table
                        .components
                        .iter()
                        .zip(&sample.rewards)
                        .filter(|(_, value)| !value.is_nan())
                        .map(|(name, value)| (name.clone(), *value))
                        .collect(),
                    advantage: known(sample.advantage),
                    length: sample.length.map(u64::from),
                    text: texts.whole(&sample.completion),
                },
            }
        };
        table.samples.iter().take(most).map(completion).collect()
    }
}

impl Group {
    pub fn len(&self) -> usize {
        self.completions.len()
    }
}

/// The completions in their groups: those without spread first, then in their order.
pub(super) fn groups(completions: Vec<Completion>) -> Vec<Group> {
    let mut groups: BTreeMap<(bool, u64), Vec<Completion>> = BTreeMap::new();
    for one in completions {
        let group = (one.group.is_none(), one.group.unwrap_or_default());
        groups.entry(group).or_default().push(one);
    }
    let mut shown: Vec<Group> = groups
        .into_iter()
        .map(|((is_unknown, group), members)| Group {
            name: if is_unknown {
                "of which nothing is known".to_owned()
            } else {
                group.to_string()
            },
            spread: if is_unknown { None } else { spread(&members) },
            prompt: members.iter().find_map(|one| one.prompt.clone()),
            completions: members.into_iter().map(|one| one.shown).collect(),
        })
        .collect();
    shown.sort_by_key(|group| group.spread != Some(0.0));
    shown
}

/// The population standard deviation of the group's rewards, where all of its completions are here.
fn spread(members: &[Completion]) -> Option<f64> {
    let size = members.iter().find_map(|one| one.of)?;
    let rewards: Vec<f64> = members
        .iter()
        .filter_map(|one| one.shown.reward)
        .filter(|reward| reward.is_finite())
        .collect();
    if rewards.len() as u64 != size || rewards.len() != members.len() {
        return None;
    }
    let (first, rest) = rewards.split_first()?;
    if rest.iter().all(|reward| reward == first) {
        return Some(0.0);
    }
    let count = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / count;
    let squares: f64 = rewards.iter().map(|reward| (reward - mean).powi(2)).sum();
    Some((squares / count).sqrt())
}
