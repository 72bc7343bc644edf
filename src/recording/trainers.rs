//! Files that trainers write of their own accord, told by what is in them and not by their names. Each is one step of all
//! ranks, and so one record; what it does not hold is not given.

mod advantages;
mod nemo_rl;
mod prime_rl;
mod row;
mod skyrl;
#[cfg(feature = "parquet")]
mod trl;
mod value;
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
use crate::batch::scalars::Scalars;
use crate::limits;
use crate::numerals::{BYTE_ORDER_MARK, with_bare_words_quoted};
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
    /// `SkyRL`'s `dumped_evals/global_step_{N}_evals/{data_source}.jsonl`.
    SkyRlEvaluation,
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
const LINES: [(&[&str], Told); 7] = [
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
        &["input_prompt", "output_response", "score", "env_class"],
        Told::Trainer(TrainerFile::SkyRlEvaluation),
    ),
    (
        &["eval/all/avg_score"],
        Told::Aside("SkyRL's numbers of an evaluation, which are no completions"),
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
    let start = start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&start);
    let is_ours = names(start).contains("world_size");
    if is_ours || start.trim_ascii_start().first() != Some(&b'{') {
        return Ok(Told::Records);
    }
    let line = first_line(file);
    file.rewind()?;
    // What is wrong with the line is told where it is read.
    let names = names(&line.unwrap_or_default());
    let known = LINES
        .iter()
        .find(|(of, _)| of.iter().all(|name| names.contains(*name)));
    Ok(known.map_or(Told::Records, |(_, told)| *told))
}

/// The first line that is not blank, without the mark that some programs put before a text.
fn first_line(file: &mut File) -> io::Result<Vec<u8>> {
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = limits::line(&mut lines, limits::RECORD_LINE, &mut line)?;
        let text = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line);
        if read == 0 || !text.trim_ascii().is_empty() {
            return Ok(text.to_vec());
        }
    }
}

/// The names of an object's members, up to where it breaks off.
fn names(line: &[u8]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut read = |text: &[u8]| {
        let mut from = serde_json::Deserializer::from_slice(text);
        from.deserialize_map(Names(&mut names)).is_ok()
    };
    if !read(line) {
        read(&with_bare_words_quoted(line));
    }
    names
}

struct Names<'n>(&'n mut BTreeSet<String>);

impl<'de> Visitor<'de> for Names<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        while let Some(name) = from.next_key::<String>()? {
            self.0.insert(name);
            from.next_value::<IgnoredAny>()?;
        }
        Ok(())
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
            Self::SkyRlEvaluation => "SkyRL's evaluations",
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
            Self::PrimeRlTraces => Some(
                "prime-rl's traces say which version of the weights an episode began with, and not which each token was sampled with: all of \
                 its tokens count as of that one, as in prime-rl's own `off_policy/*`, and `staleness/versions/*` is 1",
            ),
            Self::SkyRlEvaluation => {
                Some("these completions were generated to evaluate; none was trained on")
            }
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
            Self::SkyRlEvaluation => Ok(skyrl::part(path)?),
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
            Self::SkyRlEvaluation => skyrl::fields(Rows::over(lines)),
            #[cfg(feature = "parquet")]
            Self::Trl => trl::fields(lines.into_inner()),
            #[cfg(not(feature = "parquet"))]
            Self::Trl => Err(Fault::WithoutParquet.into()),
        }
    }

    /// The numbers of the step that are known with its columns.
    pub(super) fn scalars(self, step: u64, fields: &Fields) -> Scalars {
        match self {
            Self::PrimeRlTraces if fields.contains_key("weight_versions") => {
                prime_rl::scalars(step)
            }
            _ => Scalars::default(),
        }
    }
}

/// The files of a run whose steps have folders of their own, as prime-rl's `rollouts` and `token_exports` have, and `SkyRL`'s
/// `dumped_evals`; in a folder of one step, that step's.
pub(super) fn below(there: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in there {
        let named = |before, after| number_in(name_of(folder), before, after).is_some();
        let (is_step, is_evaluation) = (named("step_", ""), skyrl::is_evaluation(folder));
        let traces = folder.join("train/effective/traces.jsonl");
        if is_step && traces.is_file() {
            files.push(traces);
            continue;
        }
        let within = |path: &PathBuf| match number_in(name_of(path), "rank_", ".jsonl") {
            Some(_) => is_step || is_evaluation,
            None => is_evaluation,
        };
        files.extend(lines_in(folder).into_iter().filter(within));
    }
    files
}

/// The `.jsonl` files of a folder, by name; none of what is no folder.
fn lines_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl") && path.is_file())
        .collect();
    files.sort();
    files
}

/// Empty where it is no text.
fn name_of(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str());
    name.unwrap_or_default()
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
