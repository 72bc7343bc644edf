//! Sinks as arguments, from the one table of kinds; and what becomes of runs that are there already.

use clap::builder::{PathBufValueParser, PossibleValuesParser, TypedValueParser};

use crate::sink::{KINDS, SinkKind, Target};
use crate::store::Resume;

/// A path of JSON lines, whatever its name looks like.
pub(super) fn jsonl_parser() -> impl TypedValueParser<Value = Target> {
    PathBufValueParser::new().try_map(Target::jsonl)
}

/// The words of `--resume`.
pub(super) fn resume_parser() -> impl TypedValueParser<Value = Resume> {
    PossibleValuesParser::new(Resume::ALL.map(Resume::as_str))
        .try_map(|word| word.parse::<Resume>())
}

/// What `--sink` says of itself: `lead`, and every kind.
pub(super) fn sinks_help(lead: &str) -> String {
    let kind = |kind: &SinkKind| {
        let (name, place, meaning) = (kind.name, kind.place, kind.meaning);
        format!("\n- {name}:{place}: {meaning}")
    };
    KINDS
        .iter()
        .map(kind)
        .fold(lead.to_owned(), |help, line| help + &line)
}
