//! verl's `rollout_data_dir/{step}.jsonl`: a line a completion, with its texts, its score and what the reward function said beside
//! it. A group is known by `uid` where it is there, else by the prompt's text.

use std::collections::BTreeMap;
use std::io::BufRead;

use serde_json::Value;

use super::super::cell::{Maybe, Natural64, NumberOrBit};
use super::super::fault::Fault;
use super::super::field::{Fields, Numbers, Owned};
use super::row::{Row, Rows, one};
use super::{Wrong, group_of};

/// What is no reward component: the file's own members, and names of the completion.
const OWN: [&str; 7] = [
    "input",
    "output",
    "gts",
    "score",
    "step",
    "uid",
    "request_id",
];

pub(super) fn step<R: BufRead>(rows: &mut Rows<R>) -> Result<u64, Wrong> {
    rows.first(step_of)
}

fn step_of(row: &Row) -> Result<u64, Fault> {
    one::<Natural64>("step", row.member("step")?)
}

pub(super) fn fields<R: BufRead>(rows: Rows<R>) -> Result<Fields, Wrong> {
    let mut step = None;
    let (mut prompts, mut completions) = (Vec::new(), Vec::new());
    let (mut groups, mut names, mut rewards) = (Vec::new(), Vec::new(), Vec::new());
    let mut components = Components::default();
    rows.each(|row| {
        let found = step_of(row)?;
        if *step.get_or_insert(found) != found {
            return Err(Fault::Cell {
                field: "step".to_owned(),
                expected: format!("{} as in the first line", step.unwrap_or(found)),
                found: found.to_string(),
            });
        }
        let prompt = row.text("input")?;
        let uid = named(row, "uid");
        groups.push(group_of(uid.as_deref().map_or(&prompt, prompt_of)));
        let name = uid.or_else(|| named(row, "request_id"));
        names.push(name.unwrap_or_default());
        rewards.push(row.number("score")?);
        components.take(row);
        completions.push(row.text("output")?);
        prompts.push(prompt);
        Ok(())
    })?;
    let mut fields = Fields::from([
        ("group_ids", Owned::Ids(groups)),
        ("rewards", Owned::Numbers(rewards.into_iter().collect())),
        ("prompts", Owned::Texts(prompts)),
        ("completions", Owned::Texts(completions)),
    ]);
    if names.iter().any(|name| !name.is_empty()) {
        fields.insert("trajectory_ids", Owned::Texts(names));
    }
    if let Some(components) = components.column() {
        fields.insert("reward_components", components);
    }
    Ok(fields)
}

/// A text, or a number as one.
fn named(row: &Row, field: &str) -> Option<String> {
    match row.maybe(field)? {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The prompt that a sample's key is of: `{prompt}_{session}_{output}`, or the key itself where it is none.
fn prompt_of(key: &str) -> &str {
    let parts: Vec<&str> = key.rsplitn(3, '_').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match parts[..] {
        [output, session, prompt] if [output, session].iter().all(is_number) => prompt,
        _ => key,
    }
}

/// What the reward function said beside the score, by name, as far as it is numbers.
#[derive(Default)]
struct Components {
    /// `None` where one is something else.
    by_name: BTreeMap<String, Option<Vec<Option<f64>>>>,
    rows: usize,
}

impl Components {
    fn take(&mut self, row: &Row) {
        for (name, value) in row.members().filter(|(name, _)| !OWN.contains(name)) {
            let rows = self.rows;
            let column = self.by_name.entry(name.to_owned());
            let column = column.or_insert_with(|| Some(vec![None; rows]));
            match (one::<Maybe<NumberOrBit>>(name, value), &mut *column) {
                (Ok(number), Some(column)) => column.push(number),
                (Err(_), column) => *column = None,
                (Ok(_), None) => {}
            }
        }
        self.rows += 1;
        for column in self.by_name.values_mut().flatten() {
            column.resize(self.rows, None);
        }
    }

    fn column(self) -> Option<Owned> {
        let numbers = self.by_name.into_iter().filter_map(|(name, column)| {
            let column = column.filter(|column| column.iter().any(Option::is_some))?;
            Some((name, column.into_iter().collect::<Numbers>()))
        });
        let numbers: BTreeMap<String, Numbers> = numbers.collect();
        (!numbers.is_empty()).then_some(Owned::Components(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_s_key_begins_with_its_prompt_s() {
        assert_eq!(prompt_of("6513270e-269e-0d37_0_0"), "6513270e-269e-0d37");
        assert_eq!(prompt_of("a_b_12_3"), "a_b");
        assert_eq!(prompt_of("a_b"), "a_b");
        assert_eq!(prompt_of("a_1_"), "a_1_");
        assert_eq!(prompt_of("plain"), "plain");
    }
}
