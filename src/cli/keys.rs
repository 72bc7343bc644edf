//! `keys`: the key tables of the dialects.

mod like;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use super::grid::Grid;
use super::key::{complain_of, keys};
use super::screen::{self, columns};
use crate::dialect::{Dialect, Line};
use crate::reading::KeyError;
use crate::row::run::RUN_KEYS;
use crate::shard::Retain;

/// What `keys` is asked for.
#[derive(Args, Clone, Debug)]
pub struct KeysArgs {
    /// Only the keys of this dialect; all dialects without it
    #[arg(long, value_name = "DIALECT", value_parser = dialect_parser())]
    pub dialect: Option<Dialect>,
    /// As the keys are in a run that retains its rewards as: exact, or sketch
    #[arg(long, default_value = "exact", value_parser = retain_parser())]
    pub retain: Retain,
    /// Also the keys of the extended metrics, which `replay --extended` computes
    #[arg(long)]
    pub extended: bool,
    /// Only the keys that match, such as 'train/kl*' or '*reward*'; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub key: Vec<String>,
    /// Only the keys that stand for the same number as this one, in every dialect; the extended metrics among them
    #[arg(long, value_name = "KEY", conflicts_with = "extended")]
    pub like: Option<String>,
    /// As a JSON array of {dialect, key, unit, meaning, reduction, window}
    #[arg(long)]
    pub json: bool,
}

/// Takes a dialect's name; the help lists them.
pub(super) fn dialect_parser() -> impl TypedValueParser<Value = Dialect> {
    let names = Dialect::ALL.iter().map(|dialect| dialect.name());
    PossibleValuesParser::new(names).try_map(|word| word.parse::<Dialect>())
}

/// Takes the name of a way to retain rewards.
pub(super) fn retain_parser() -> impl TypedValueParser<Value = Retain> {
    PossibleValuesParser::new(["exact", "sketch"]).map(|word| match word.as_str() {
        "sketch" => Retain::Sketch,
        _ => Retain::Exact,
    })
}

/// One key, as a line of the table or an object of the array.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    /// None: the key is a text of the run, the same in every dialect.
    dialect: Option<&'static str>,
    key: &'static str,
    unit: &'static str,
    meaning: Cow<'static, str>,
    reduction: &'static str,
    /// What an averaged window has of its steps' numbers.
    window: &'static str,
}

/// What [`RUN_KEYS`] mean, in their order.
const RUN_MEANINGS: [&str; RUN_KEYS.len()] = [
    "commit of the training's code",
    "file that the training was configured by",
    "name of the training method",
    "family of methods that it belongs to",
    "trainer that ran it",
    "short name of the method, as in file names",
];

/// Why there are no keys to list.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Unlike(#[from] like::UnlikeError),
    #[error("could not write the keys: {0}")]
    Write(#[from] io::Error),
}

/// Writes the key tables that `args` asks for to `out`: beside each other where the terminal is wide enough or there is none,
/// else with the meaning below its key.
///
/// # Errors
/// If no key is as it is asked for, or `out` refuses.
pub fn run(args: &KeysArgs, out: &mut dyn Write) -> Result<(), KeysError> {
    let keys = keys(&args.key)?;
    let asked = |dialect: &&Dialect| args.dialect.is_none_or(|only| only == **dialect);
    let mut sections: Vec<(&str, Vec<Entry>)> = Dialect::ALL
        .iter()
        .filter(asked)
        .map(|dialect| (dialect.name(), entries(*dialect, args)))
        .collect();
    match &args.like {
        Some(key) => {
            let like = like::like(key)?;
            for (name, entries) in &mut sections {
                entries.retain(|entry| {
                    like.iter()
                        .any(|(of, line)| of.name() == *name && line.key == entry.key)
                });
            }
        }
        None => sections.push(("every dialect, texts of the run", run_entries())),
    }
    let all: Vec<&str> = sections
        .iter()
        .flat_map(|(_, entries)| entries)
        .map(|e| e.key)
        .collect();
    complain_of(&keys.idle(&all)?);
    for (_, entries) in &mut sections {
        entries.retain(|entry| keys.have(entry.key));
    }
    sections.retain(|(_, entries)| !entries.is_empty());
    if args.json {
        let all: Vec<Entry> = sections.into_iter().flat_map(|(_, keys)| keys).collect();
        serde_json::to_writer_pretty(&mut *out, &all).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    let text = rendered(&sections, screen::width());
    out.write_all(text.as_bytes())?;
    Ok(())
}

fn entries(dialect: Dialect, args: &KeysArgs) -> Vec<Entry> {
    let entry = |line: &Line| Entry {
        dialect: Some(dialect.name()),
        key: line.key,
        unit: line.unit,
        meaning: line.meaning_in(args.retain),
        reduction: line.reduction.label(),
        window: line.window.label(),
    };
    let with_extended = args.extended || args.like.is_some();
    let extended = dialect.extended_lines().filter(|_| with_extended);
    dialect.lines().chain(extended).map(entry).collect()
}

fn run_entries() -> Vec<Entry> {
    let entry = |(key, meaning)| Entry {
        dialect: None,
        key,
        unit: "text",
        meaning: Cow::Borrowed(meaning),
        reduction: "once a run",
        window: "first",
    };
    RUN_KEYS.into_iter().zip(RUN_MEANINGS).map(entry).collect()
}

/// The sections under their names, for a terminal of `width` columns or, without one, for a pipe.
fn rendered(sections: &[(&str, Vec<Entry>)], width: Option<usize>) -> String {
    let mut text = String::new();
    for (nth, (name, keys)) in sections.iter().enumerate() {
        let gap = if nth > 0 { "\n" } else { "" };
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{gap}{name} ({} keys)", keys.len());
        let table = table(keys);
        let fits = |width: usize| table.lines().all(|line| columns(line) <= width);
        match width {
            Some(width) if !fits(width) => text.push_str(&stacked(keys, width)),
            _ => text.push_str(&table),
        }
    }
    text
}

fn table(keys: &[Entry]) -> String {
    let mut table = Grid::new(&["key", "unit", "reduction", "meaning"], 0..0);
    for entry in keys {
        let cells = [entry.key, entry.unit, entry.reduction, &*entry.meaning];
        table.line(cells.map(str::to_owned));
    }
    table.text()
}

/// Each key with what is said of it below, within `width` columns where words allow.
fn stacked(keys: &[Entry], width: usize) -> String {
    const INDENT: &str = "    ";
    let mut text = String::new();
    for entry in keys {
        text.push_str(entry.key);
        let about = format!("{} ({}, {})", entry.meaning, entry.unit, entry.reduction);
        let mut column = width;
        for word in about.split(' ') {
            let length = word.chars().count();
            if column + 1 + length > width {
                text.push('\n');
                text.push_str(INDENT);
                column = INDENT.len();
            } else {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += length;
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: [Entry; 2] = [
        Entry {
            dialect: Some("d"),
            key: "train/a",
            unit: "nats",
            meaning: Cow::Borrowed("the first of two"),
            reduction: "mean",
            window: "mean",
        },
        Entry {
            dialect: Some("d"),
            key: "train/a/longer",
            unit: "1",
            meaning: Cow::Borrowed("second"),
            reduction: "max",
            window: "mean",
        },
    ];

    #[test]
    fn keys_stand_in_columns_where_they_fit_and_else_above_their_meaning() {
        let sections = [("d", TWO.to_vec()), ("e", TWO[..1].to_vec())];
        let columns = rendered(&sections, None);
        insta::assert_snapshot!(columns, @"
        d (2 keys)
        key             unit  reduction  meaning
        train/a         nats  mean       the first of two
        train/a/longer  1     max        second

        e (1 keys)
        key      unit  reduction  meaning
        train/a  nats  mean       the first of two
        ");
        assert_eq!(rendered(&sections, Some(80)), columns);
        insta::assert_snapshot!(rendered(&sections[..1], Some(30)), @"
        d (2 keys)
        train/a
            the first of two (nats,
            mean)
        train/a/longer
            second (1, max)
        ");
    }

    #[test]
    fn all_keys_fit_a_terminal_of_80_columns() {
        let args = KeysArgs {
            dialect: None,
            retain: Retain::Exact,
            extended: true,
            key: Vec::new(),
            like: None,
            json: false,
        };
        for dialect in Dialect::ALL {
            let sections = [(dialect.name(), entries(*dialect, &args))];
            let text = rendered(&sections, Some(80));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(80), "{dialect}: {widest:?}");
        }
    }
}
