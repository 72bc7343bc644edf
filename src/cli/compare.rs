//! `compare`: two recordings beside each other, prompt by prompt.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};

use super::grid::Grid;
use super::key::{complain_of, keys};
use super::screen::{paragraph, shortened, width};
use crate::paired::{
    Asked, By, Difference, LEAST, Looked, Number, PairError, Paired, Side, Spread, paired,
};
use crate::reading::KeyError;
use crate::recording::{Recording, RecordingError};
use crate::shard::Success;
use crate::sink::{self, compact, one_line};

/// Hold a recording against another, prompt by prompt
///
/// Of rewards, pass@k, lengths, ends and tags: the mean over the prompts that both recordings have, the difference, and how far that may be
/// off. All completions of a prompt count together, in whichever steps, ranks and micro-batches they are. Prompts are known again by their
/// texts where both recordings have them, else by group ids.
#[derive(Args, Clone, Debug)]
#[command(after_help = super::EXIT_CODES)]
pub struct CompareArgs {
    /// The recording that the other is held against, A: a folder or file of records, or of what a trainer writes
    #[arg(value_name = "RECORDING")]
    pub first: PathBuf,
    /// The other, B
    #[arg(value_name = "RECORDING")]
    pub second: PathBuf,
    /// By what prompts are known again [default: prompts where both have them, else group-ids that are no counters]
    #[arg(long, value_name = "WHAT", value_parser = by_parser())]
    pub by: Option<By>,
    /// Only these steps, as 10..20, ..20, 10.. or 10; given twice, the first is A's and the second B's
    #[arg(long, value_name = "FIRST..LAST", value_parser = steps)]
    pub steps: Vec<RangeInclusive<u64>>,
    /// Reward component that says whether a completion succeeds, for pass@k [default: the total reward]
    #[arg(long, value_name = "NAME", visible_alias = "success-component")]
    pub success: Option<String>,
    /// From this value on a completion succeeds
    #[arg(long, value_name = "REWARD", default_value = "1", allow_negative_numbers = true, value_parser = threshold)]
    pub success_threshold: f64,
    /// The k of pass@k [default: 1, 2, 4, ... up to the most completions that a prompt has in a step]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub pass_k: Option<Vec<u32>>,
    /// Show only the numbers that match, such as 'pass@*' or 'tags/math/*'; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub key: Vec<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

fn by_parser() -> impl TypedValueParser<Value = By> {
    PossibleValuesParser::new(["prompts", "group-ids"]).map(|word| match word.as_str() {
        "prompts" => By::Prompts,
        _ => By::GroupIds,
    })
}

fn steps(text: &str) -> Result<RangeInclusive<u64>, String> {
    let refuse = || format!("expected steps as 10..20, ..20, 10.. or 10, found `{text}`");
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    if first.is_empty() && last.is_empty() {
        return Err(refuse());
    }
    let step = |end: &str, open: u64| match end.trim() {
        "" => Ok(open),
        digits => digits.parse().map_err(|_| refuse()),
    };
    let range = step(first, 0)?..=step(last, u64::MAX)?;
    if range.is_empty() {
        return Err(format!(
            "expected the first step before the last, found `{text}`"
        ));
    }
    Ok(range)
}

fn threshold(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|x| x.is_finite());
    number.ok_or_else(|| format!("expected a finite number, found `{text}`"))
}

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error(transparent)]
    Pair(#[from] PairError),
    #[error("--steps: expected steps once, or once for each recording, found them {0} times")]
    Steps(usize),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot write the comparison: {0}")]
    Write(#[from] io::Error),
}

/// Compares, and says how the recordings differ.
///
/// # Errors
/// If a recording cannot be used, or no prompt is in both.
pub fn run(args: &CompareArgs, out: &mut dyn Write) -> Result<(), CompareError> {
    let keys = keys(&args.key)?;
    let every = 0..=u64::MAX;
    let [of_a, of_b] = match args.steps.as_slice() {
        [] => [every.clone(), every],
        [both] => [both.clone(), both.clone()],
        [a, b] => [a.clone(), b.clone()],
        more => return Err(CompareError::Steps(more.len())),
    };
    let recordings = [
        Recording::open(&[&args.first])?,
        Recording::open(&[&args.second])?,
    ];
    let [a, b] = &recordings;
    let side = |path: &PathBuf, recording, steps| Side {
        name: path.display().to_string(),
        recording,
        steps,
    };
    let sides = [side(&args.first, a, of_a), side(&args.second, b, of_b)];
    let asked = Asked {
        by: args.by,
        success: Success {
            component: args.success.clone(),
            threshold: args.success_threshold,
        },
        pass_k: args
            .pass_k
            .as_ref()
            .map(|ks| ks.iter().copied().collect::<BTreeSet<u32>>()),
    };
    let mut found = paired(&sides, &asked)?;
    let names: Vec<String> = found.numbers.keys().map(Number::to_string).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    complain_of(&keys.idle(&all)?);
    found.numbers.retain(|name, _| keys.have(&name.to_string()));
    let names = sides.each_ref().map(|side| side.name.as_str());
    if args.json {
        let document = format!("{:#}\n", as_json(&found, names));
        out.write_all(sink::json(&document).as_bytes())?;
    } else {
        out.write_all(as_text(&found, names, width()).as_bytes())?;
    }
    Ok(())
}

/// How many columns a terminal has at least where prompts in one alone, and the unpaired interval, are shown too.
const WIDE: usize = 120;

/// The table's columns, and whether each is left out where a terminal is narrow.
const COLUMNS: [(&str, bool); 9] = [
    ("number", false),
    ("prompts", false),
    ("only A", true),
    ("only B", true),
    ("A", false),
    ("B", false),
    ("B - A", false),
    ("95 %", false),
    ("if unpaired", true),
];

/// The columns of a text that no terminal has asked for.
const ROOM: usize = 80;

/// The columns that a table has left for its numbers' names.
const NAME_ROOM: usize = 40;

fn as_text(found: &Paired, names: [&str; 2], room: Option<usize>) -> String {
    let mut text = String::new();
    for ((letter, name), side) in ["A", "B"].iter().zip(names).zip(&found.sides) {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{letter}: {}: {}", one_line(name), looked(side));
    }
    let alone = found
        .sides
        .each_ref()
        .map(|side| side.prompts - found.shared);
    let _ = writeln!(
        text,
        "prompts by {}: {} in both, {} in A alone, {} in B alone\n",
        found.by, found.shared, alone[0], alone[1]
    );
    let is_wide = room.is_none_or(|room| room >= WIDE);
    let header = COLUMNS.iter().filter(|(_, wide)| is_wide || !wide);
    let header: Vec<&str> = header.map(|(name, _)| *name).collect();
    let mut grid = Grid::new(&header, 1..header.len());
    for (name, number) in &found.numbers {
        let cells = COLUMNS.iter().zip(told(name, number));
        let cells = cells.filter(|((_, wide), _)| is_wide || !wide);
        grid.line(cells.map(|(_, cell)| cell));
    }
    text.push_str(&grid.text());
    for said in notes(&found.numbers) {
        text.push('\n');
        text.push_str(&paragraph(&said, room.unwrap_or(ROOM)));
    }
    text + "\n"
}

fn looked(side: &Looked) -> String {
    let (steps, range) = &side.steps;
    let of_steps = match steps {
        1 => format!("step {}", range.start()),
        _ => format!("steps {} to {}", range.start(), range.end()),
    };
    let nameless = match side.nameless {
        0 => String::new(),
        n => format!("; {n} more of unknown prompts left out"),
    };
    let counted = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "{of_steps}, {} of {}{nameless}",
        counted(side.completions, "completion"),
        counted(side.prompts, "prompt")
    )
}

fn told(name: &Number, number: &Difference) -> [String; COLUMNS.len()] {
    let shown = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), compact);
    let signed = |x: f64| format!("{}{}", if x > 0.0 { "+" } else { "" }, compact(x));
    let between = |(low, high): (f64, f64)| format!("[{}, {}]", compact(low), compact(high));
    let spread = |of: fn(&Spread) -> (f64, f64)| {
        number
            .spread
            .as_ref()
            .map_or_else(|| "-".to_owned(), |spread| between(of(spread)))
    };
    [
        shortened(&one_line(&name.to_string()), NAME_ROOM),
        number.prompts.to_string(),
        number.alone[0].to_string(),
        number.alone[1].to_string(),
        shown(number.means.map(|[a, _]| a)),
        shown(number.means.map(|[_, b]| b)),
        number.size.map_or_else(|| "-".to_owned(), signed),
        spread(|spread| spread.interval),
        spread(|spread| spread.unpaired),
    ]
}

/// What is to be known of the numbers that are shown.
fn notes(shown: &BTreeMap<Number, Difference>) -> Vec<String> {
    let mut said = vec![
        "A, B: mean over the prompts in both, each of which weighs the same; 95 %: of B - A, by Student's t over prompts".to_owned(),
    ];
    if shown.values().any(|number| number.spread.is_none()) {
        said.push(format!(
            "-: fewer than {LEAST} prompts, or their differences are all the same, and say nothing of how far B - A may be off"
        ));
    }
    for (name, number) in shown {
        let [a, b] = number.nonfinite;
        if a + b > 0 {
            let name = one_line(&name.to_string());
            said.push(format!(
                "{name}: NaN or infinite, and left out: {a} of A, {b} of B"
            ));
        }
    }
    said
}

fn as_json(found: &Paired, names: [&str; 2]) -> Value {
    let side = |nth: usize| {
        let looked = &found.sides[nth];
        let (steps, range) = &looked.steps;
        json!({
            "recording": names[nth], "steps": steps, "first_step": range.start(), "last_step": range.end(),
            "completions": looked.completions, "nameless": looked.nameless, "prompts": looked.prompts,
        })
    };
    let number = |(name, number): (&Number, &Difference)| {
        let of = |nth: usize| {
            json!({
                "mean": number.means.map(|means| finite(means[nth])), "prompts_alone": number.alone[nth],
                "values": number.values[nth], "nonfinite": number.nonfinite[nth],
            })
        };
        let pair = |(low, high): (f64, f64)| [finite(low), finite(high)];
        json!({
            "number": name.to_string(), "prompts": number.prompts, "a": of(0), "b": of(1),
            "difference": number.size.map(finite),
            "standard_error": number.spread.map(|spread| finite(spread.error)),
            "interval": number.spread.map(|spread| pair(spread.interval)),
            "unpaired_interval": number.spread.map(|spread| pair(spread.unpaired)),
        })
    };
    json!({
        "by": match found.by { By::Prompts => "prompts", By::GroupIds => "group-ids" },
        "a": side(0), "b": side(1), "prompts": found.shared,
        "numbers": found.numbers.iter().map(number).collect::<Vec<_>>(),
    })
}

/// A number in full; one beyond the range of doubles as the text that recordings have for it.
fn finite(value: f64) -> Value {
    serde_json::to_value(sink::Number(value)).unwrap_or_default()
}
