//! TRL's `completions/completions_{step}.parquet`: a row a completion. Its columns of numbers are the reward functions, beside those
//! that `log_extra` adds and nothing tells apart; how the rewards are weighed is not in it. A group is known by the prompt's text.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Seek;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::super::fault::Fault;
use super::super::field::{Fields, Numbers, Owned};
use super::{Wrong, group_of};
use crate::limits;

/// What is no reward.
const OWN: [&str; 5] = [
    "step",
    "prompt",
    "completion",
    "advantage",
    "__index_level_0__",
];

pub(super) fn step(file: &mut File) -> Result<u64, Wrong> {
    file.rewind().map_err(Fault::read)?;
    let file = file.try_clone().map_err(Fault::read)?;
    let reader = open(file)?;
    let row = reader.get_row_iter(None).map_err(broken)?.next();
    let row = row.ok_or(Fault::NoRecords)?.map_err(broken)?;
    Ok(Row::of(&row).step()?)
}

fn open(file: File) -> Result<SerializedFileReader<File>, Fault> {
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let groups = reader.metadata().row_groups().iter();
    let size: i64 = groups
        .map(|group| group.total_byte_size().max(0))
        .fold(0, i64::saturating_add);
    if u64::try_from(size).is_ok_and(|size| size > limits::RECORD_FILE) {
        return Err(Fault::Parquet {
            message: format!(
                "expected at most {} bytes unpacked, found {size}",
                limits::RECORD_FILE
            ),
        });
    }
    let names = reader.metadata().file_metadata().schema_descr();
    let there = |name: &str| (0..names.num_columns()).any(|nth| names.column(nth).name() == name);
    for field in ["step", "prompt", "completion", "advantage"] {
        if !there(field) {
            return Err(Fault::Missing { field, of: "" });
        }
    }
    Ok(reader)
}

#[allow(clippy::needless_pass_by_value, reason = "what `map_err` hands on")]
fn broken(error: ParquetError) -> Fault {
    Fault::Parquet {
        message: error.to_string(),
    }
}

pub(super) fn fields(file: File) -> Result<Fields, Wrong> {
    let reader = open(file)?;
    let mut columns = Columns::default();
    let mut step = None;
    for (nth, row) in reader.get_row_iter(None).map_err(broken)?.enumerate() {
        let wrong = |fault| Wrong {
            line: Some(nth as u64 + 1),
            fault,
        };
        let row = row.map_err(|error| wrong(broken(error)))?;
        columns.take(&Row::of(&row), &mut step).map_err(wrong)?;
    }
    Ok(columns.fields())
}

/// A row's cells by the names of their columns.
struct Row<'r> {
    cells: BTreeMap<&'r str, &'r Field>,
}

impl<'r> Row<'r> {
    fn of(row: &'r parquet::record::Row) -> Self {
        let cells = row
            .get_column_iter()
            .map(|(name, cell)| (name.as_str(), cell));
        Self {
            cells: cells.collect(),
        }
    }

    fn step(&self) -> Result<u64, Fault> {
        let step = self.cells.get("step").and_then(|cell| number(cell).ok()?);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = step
            .filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x))
            .map(|x| x as u64);
        whole.ok_or_else(|| self.refuse("step", "a whole number from 0"))
    }

    fn text(&self, field: &'static str) -> Result<String, Fault> {
        match self.cells.get(field) {
            Some(Field::Str(text)) => Ok(text.clone()),
            _ => Err(self.refuse(field, "a text")),
        }
    }

    fn refuse(&self, field: &str, expected: &str) -> Fault {
        let found = self
            .cells
            .get(field)
            .map_or_else(|| "nothing".to_owned(), ToString::to_string);
        Fault::Cell {
            field: field.to_owned(),
            expected: expected.to_owned(),
            found: found.chars().take(40).collect(),
        }
    }
}

/// A number, or nothing; pandas writes what is absent as NaN.
fn number(cell: &Field) -> Result<Option<f64>, ()> {
    Ok(match cell {
        Field::Null => None,
        Field::Bool(x) => Some(f64::from(u8::from(*x))),
        Field::Byte(x) => Some(f64::from(*x)),
        Field::Short(x) => Some(f64::from(*x)),
        Field::Int(x) => Some(f64::from(*x)),
        Field::Long(x) => Some(*x as f64),
        Field::UByte(x) => Some(f64::from(*x)),
        Field::UShort(x) => Some(f64::from(*x)),
        Field::UInt(x) => Some(f64::from(*x)),
        Field::ULong(x) => Some(*x as f64),
        Field::Float(x) => Some(f64::from(*x)).filter(|x| !x.is_nan()),
        Field::Double(x) => Some(*x).filter(|x| !x.is_nan()),
        _ => return Err(()),
    })
}

#[derive(Default)]
struct Columns {
    prompts: Vec<String>,
    completions: Vec<String>,
    advantages: Vec<Option<f64>>,
    groups: Vec<u64>,
    /// `None` where one is no number.
    components: BTreeMap<String, Option<Vec<Option<f64>>>>,
}

impl Columns {
    fn take(&mut self, row: &Row<'_>, step: &mut Option<u64>) -> Result<(), Fault> {
        let found = row.step()?;
        if *step.get_or_insert(found) != found {
            return Err(row.refuse("step", "that of the first row"));
        }
        let prompt = row.text("prompt")?;
        let advantage = row
            .cells
            .get("advantage")
            .and_then(|cell| number(cell).ok());
        let advantage = advantage.ok_or_else(|| row.refuse("advantage", "a number"))?;
        self.groups.push(group_of(&prompt));
        self.prompts.push(prompt);
        self.completions.push(row.text("completion")?);
        self.advantages.push(advantage);
        for (name, cell) in row.cells.iter().filter(|(name, _)| !OWN.contains(name)) {
            let column = self.components.entry((*name).to_owned());
            let column = column.or_insert_with(|| Some(Vec::new()));
            match (number(cell), &mut *column) {
                (Ok(number), Some(column)) => column.push(number),
                (Err(()), column) => *column = None,
                (Ok(_), None) => {}
            }
        }
        Ok(())
    }

    fn fields(self) -> Fields {
        let n = self.groups.len();
        let used = self.components.into_iter().filter_map(|(name, column)| {
            let column = column.filter(|column| column.iter().any(Option::is_some))?;
            Some((name, column))
        });
        let components: BTreeMap<String, Vec<Option<f64>>> = used.collect();
        let sum = |nth: usize| {
            let cells = components.values().filter_map(|column| *column.get(nth)?);
            cells.fold(None, |sum: Option<f64>, x| Some(sum.unwrap_or(0.0) + x))
        };
        let sums: Vec<Option<f64>> = (0..n).map(sum).collect();
        let agree = agree(&self.groups, &sums, &self.advantages);
        let rewards = sums.into_iter().map(|sum| sum.filter(|_| agree)).collect();
        let mut fields = Fields::from([
            ("group_ids", Owned::Ids(self.groups)),
            ("rewards", Owned::Numbers(rewards)),
            (
                "advantages",
                Owned::Numbers(self.advantages.into_iter().collect()),
            ),
            ("prompts", Owned::Texts(self.prompts)),
            ("completions", Owned::Texts(self.completions)),
        ]);
        let components = components.into_iter();
        let components: BTreeMap<String, Numbers> = components
            .map(|(name, column)| (name, column.into_iter().collect()))
            .collect();
        if !components.is_empty() {
            fields.insert("reward_components", Owned::Components(components));
        }
        fields
    }
}

/// Whether within every group more reward is more advantage, as it is whatever advantages are scaled by.
fn agree(groups: &[u64], rewards: &[Option<f64>], advantages: &[Option<f64>]) -> bool {
    // Advantages are singles, and differences of nearly equal rewards are lost in them.
    const NEAR: f64 = 1e-5;
    let mut by_group: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for ((group, reward), advantage) in groups.iter().zip(rewards).zip(advantages) {
        if let (Some(reward), Some(advantage)) = (reward, advantage) {
            by_group
                .entry(*group)
                .or_default()
                .push((*reward, *advantage));
        }
    }
    by_group.values_mut().all(|members| {
        members.sort_by(|a, b| a.0.total_cmp(&b.0));
        members.windows(2).all(|pair| match pair {
            [(low, under), (high, over)] if high - low > NEAR => over - under > -NEAR,
            _ => true,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_that_a_group_s_advantages_contradict_are_no_rewards() {
        let some = |cells: [f64; 4]| cells.map(Some);
        let groups = [1, 1, 2, 2];
        let advantages = some([-0.7, 0.7, 0.0, 0.0]);
        assert!(agree(&groups, &some([0.0, 1.0, 5.0, 5.0]), &advantages));
        assert!(!agree(&groups, &some([1.0, 0.0, 5.0, 5.0]), &advantages));
        assert!(agree(&groups, &[None, Some(0.0), None, None], &advantages));
    }
}
