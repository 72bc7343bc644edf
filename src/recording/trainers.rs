//! Files that trainers write of their own accord, told by what is in them and not by their names. Each is one step of all
//! ranks, and so one record; what it does not hold is not given.

mod advantages;
mod nemo_rl;
mod prime_rl;
mod row;
#[cfg(feature = "parquet")]
mod trl;
mod verl;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::fault::Fault;
use super::field::Fields;
use super::foreign;
use crate::batch::group::id_of;
use crate::limits;
use crate::numerals::with_bare_words_quoted;
use row::Rows;

/// How much of a file is looked at for the names that a record of ours begins with.
const LOOK: u64 = 4096;

/// What a trainer's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrainerFile {
    /// verl's `rollout_data_dir/{step}.jsonl`.
    Verl,
    /// NeMo-RL's `train_data_step{N}.jsonl`.
    NemoRl,
    /// prime-rl's `rollouts/step_{N}/train/effective/traces.jsonl`.
    PrimeRlTraces,
    /// prime-rl's `token_exports/step_{N}/rank_{R}.jsonl`.
    PrimeRlTokens,
    /// TRL's `completions/completions_{step}.parquet`.
    Trl,
}

/// What the beginning of a file says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Records, or nothing that is known here.
    Records,
    /// A trainer's.
    Trainer(TrainerFile),
    /// A trainer's, but of no training step: a folder may hold it beside the others.
    Aside(&'static str),
    /// What is not read, in words.
    Foreign(&'static str),
}

/// Which step a file is of, and which part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub step: u64,
    pub micro: u32,
}

/// What is wrong with a file, and in which of its lines, where it has such.
#[derive(Debug)]
pub(super) struct Wrong {
    pub line: Option<u64>,
    pub fault: Fault,
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self { line: None, fault }
    }
}

/// Names of members by which a line is told: it has all of them.
const LINES: [(&[&str], Told); 5] = [
    (
        &["input", "output", "gts", "score", "step"],
        Told::Trainer(TrainerFile::Verl),
    ),
    (
        &["rewards", "input_lengths", "token_loss_mask", "idx"],
        Told::Trainer(TrainerFile::NemoRl),
    ),
    (
        &["id", "env", "task", "ok", "traces"],
        Told::Trainer(TrainerFile::PrimeRlTraces),
    ),
    (
        &["schema_version", "export_sequence_idx", "trainer_logprobs"],
        Told::Trainer(TrainerFile::PrimeRlTokens),
    ),
    (
        &["content", "rewards", "idx"],
        Told::Aside("NeMo-RL's validation data, which is of no training step"),
    ),
];

/// What a file is, by its beginning. It is left where it was opened.
pub(super) fn told(file: &mut File) -> io::Result<Told> {
    let mut start = Vec::new();
    (&mut *file).take(LOOK).read_to_end(&mut start)?;
    file.rewind()?;
    if start.starts_with(b"PAR1") {
        return Ok(Told::Trainer(TrainerFile::Trl));
    }
    if let Some(found) = foreign::pickle(&start) {
        return Ok(Told::Foreign(found));
    }
    let ours = b"\"world_size\"";
    let is_ours = start.windows(ours.len()).any(|at| at == ours);
    let begins = start.iter().find(|byte| !byte.is_ascii_whitespace());
    if is_ours || begins != Some(&b'{') {
        return Ok(Told::Records);
    }
    let mut line = Vec::new();
    let read = limits::line(
        &mut BufReader::new(&mut *file),
        limits::RECORD_LINE,
        &mut line,
    );
    file.rewind()?;
    if read.is_err() {
        // What is wrong with the line is told where it is read.
        return Ok(Told::Records);
    }
    let names = names(&line);
    let known = LINES
        .iter()
        .find(|(of, _)| of.iter().all(|name| names.contains(*name)));
    Ok(known.map_or(Told::Records, |(_, told)| *told))
}

/// The names of an object's members.
fn names(line: &[u8]) -> BTreeSet<String> {
    let read = |text: &[u8]| {
        let mut from = serde_json::Deserializer::from_slice(text);
        from.deserialize_map(Names).ok()
    };
    read(line)
        .or_else(|| read(&with_bare_words_quoted(line)))
        .unwrap_or_default()
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = BTreeSet<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, _)) = from.next_entry::<String, IgnoredAny>()? {
            names.insert(name);
        }
        Ok(names)
    }
}

impl TrainerFile {
    /// Whose files they are, in words.
    #[cfg(feature = "cli")]
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Verl => "verl's rollout data",
            Self::NemoRl => "NeMo-RL's train data",
            Self::PrimeRlTraces => "prime-rl's traces",
            Self::PrimeRlTokens => "prime-rl's token exports",
            Self::Trl => "TRL's completions",
        }
    }

    /// What is to be known of numbers that are not simply in the files.
    #[cfg(feature = "cli")]
    pub(crate) const fn note(self) -> Option<&'static str> {
        match self {
            Self::Trl => Some(
                "TRL does not write its reward_weights down: rewards are the sums of the reward columns where no step's advantages \
                 speak against it, else absent",
            ),
            Self::PrimeRlTokens => Some("token exports have no rewards; traces do"),
            _ => None,
        }
    }

    /// Which step the file is of.
    pub(super) fn part(self, path: &Path, file: &mut File) -> Result<Part, Wrong> {
        let whole = |step| Part { step, micro: 0 };
        match self {
            Self::Verl => verl::step(&mut first(file)?).map(whole),
            Self::NemoRl => Ok(whole(nemo_rl::step(path)?)),
            Self::PrimeRlTraces => Ok(whole(prime_rl::step(path)?)),
            Self::PrimeRlTokens => prime_rl::tokens::part(&mut first(file)?),
            #[cfg(feature = "parquet")]
            Self::Trl => trl::step(file).map(whole),
            #[cfg(not(feature = "parquet"))]
            Self::Trl => Err(Fault::WithoutParquet.into()),
        }
    }

    /// The columns of the whole file.
    pub(super) fn fields(self, file: File) -> Result<Fields, Wrong> {
        let lines = BufReader::new(file);
        match self {
            Self::Verl => verl::fields(Rows::over(lines)),
            Self::NemoRl => nemo_rl::fields(Rows::over(lines)),
            Self::PrimeRlTraces => prime_rl::fields(Rows::over(lines)),
            Self::PrimeRlTokens => prime_rl::tokens::fields(Rows::over(lines)),
            #[cfg(feature = "parquet")]
            Self::Trl => trl::fields(lines.into_inner()),
            #[cfg(not(feature = "parquet"))]
            Self::Trl => Err(Fault::WithoutParquet.into()),
        }
    }
}

/// The files of a run whose steps have folders of their own, as prime-rl's `rollouts` and `token_exports` have; in a folder of one
/// step, that step's.
pub(super) fn below(there: &[PathBuf]) -> Vec<PathBuf> {
    let of_step = |folder: &&PathBuf| {
        let name = folder.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| number_in(name, "step_", "").is_some())
    };
    let mut files = Vec::new();
    for folder in there.iter().filter(of_step) {
        let traces = folder.join("train/effective/traces.jsonl");
        if traces.is_file() {
            files.push(traces);
            continue;
        }
        let ranks = fs::read_dir(folder).into_iter().flatten().flatten();
        let ranks = ranks.map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| number_in(name, "rank_", ".jsonl").is_some())
        });
        let mut ranks: Vec<PathBuf> = ranks.collect();
        ranks.sort();
        files.extend(ranks);
    }
    files
}

/// The lines of a file of which the first is wanted.
fn first(file: &mut File) -> Result<Rows<BufReader<&mut File>>, Wrong> {
    file.rewind().map_err(Fault::read)?;
    Ok(Rows::over(BufReader::new(file)))
}

/// The number that a name has after `before`, if it is `before`, a number and `after`.
fn number_in(name: &str, before: &str, after: &str) -> Option<u64> {
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// The group that a text names: completions of equal texts are of one group.
fn group_of(text: &str) -> u64 {
    id_of(text.as_bytes())
}

/// The group of completions whose prompts are these tokens.
fn group_of_tokens(tokens: &[u32]) -> u64 {
    let bytes: Vec<u8> = tokens
        .iter()
        .flat_map(|token| token.to_le_bytes())
        .collect();
    id_of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_its_number_and_nothing_else_does() {
        let step = |name| number_in(name, "train_data_step", ".jsonl");
        assert_eq!(step("train_data_step12.jsonl"), Some(12));
        assert_eq!(step("train_data_step.jsonl"), None);
        assert_eq!(step("train_data_step+1.jsonl"), None);
        assert_eq!(step("train_data_step99999999999999999999.jsonl"), None);
    }
}
