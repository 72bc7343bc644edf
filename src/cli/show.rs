//! `show`: the runs of a store, or the metrics of one.

mod course;
mod table;

use std::io::{self, Write};

use clap::Args;
use glob::{Pattern, PatternError};

use super::store::{FindError, StoreArg, find};
use crate::sink::lines;
use crate::store::{Sqlite, Store, StoreError};
use table::{metrics_table, runs_table};

/// What `show` is asked for.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The run whose metrics to show; without one, all runs are listed.
    #[arg(value_name = "RUN", num_args = 0..=2)]
    pub runs: Vec<String>,
    #[command(flatten)]
    pub store: StoreArg,
    /// Show only the metrics that match, such as 'train/kl*' or '*reward*'; may be given several times.
    #[arg(long, value_name = "GLOB", requires = "runs")]
    pub key: Vec<String>,
    /// Show only the last N steps of the run.
    #[arg(long, value_name = "N", requires = "runs", value_parser = clap::value_parser!(u64).range(1..))]
    pub last: Option<u64>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Run(#[from] FindError),
    #[error("--key {glob}: expected a pattern of *, ? and [...]: {source}")]
    Glob { glob: String, source: PatternError },
    /// No key has any, and nothing would match.
    #[error(
        "--key {glob}: expected a pattern of *, ? and [...], found braces: give --key once for each"
    )]
    Braces { glob: String },
    #[error("could not write the table: {0}")]
    Write(#[from] io::Error),
}

/// Writes the table that `args` asks for to `out`. Reads only, also while the store is being written.
///
/// # Errors
/// If there is no such store or run, the pattern is none, or `out` refuses.
pub fn run(args: &ShowArgs, out: &mut dyn Write) -> Result<(), ShowError> {
    let keys = Keys::of(&args.key)?;
    let (path, runs) = args.store.with_runs(&args.runs);
    let store = Sqlite::open_read_only(&path)?;
    let text = match runs.first() {
        None => runs_table(&store.overview()?),
        Some(run) => {
            let run = &find(&store, &path, run)?;
            let metrics = match args.last {
                Some(steps) => store.last_metrics(run, steps)?,
                None => store.get_metrics(run, None, None)?,
            };
            metrics_table(run, &metrics, |key| keys.have(key))
        }
    };
    out.write_all(lines(&text).as_bytes())?;
    Ok(())
}

/// Which keys are shown.
struct Keys(Vec<Pattern>);

impl Keys {
    fn of(globs: &[String]) -> Result<Self, ShowError> {
        let pattern = |glob: &String| {
            if glob.contains(['{', '}']) {
                return Err(ShowError::Braces { glob: glob.clone() });
            }
            Pattern::new(glob).map_err(|source| ShowError::Glob {
                glob: glob.clone(),
                source,
            })
        };
        globs
            .iter()
            .map(pattern)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// All where none was named.
    fn have(&self, key: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob.matches(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Row;
    use crate::sink::Sink;
    use crate::store::StoreSink;

    #[test]
    fn a_key_pattern_matches_across_slashes() {
        let keys =
            |globs: &[&str]| Keys::of(&globs.iter().map(ToString::to_string).collect::<Vec<_>>());
        let some = keys(&["train/kl*", "*reward*"]).unwrap();
        assert!(some.have("train/kl_per_token_bucket/long"));
        assert!(some.have("train/rewards/len/mean"));
        assert!(!some.have("train/loss/kl"));
        assert!(keys(&[]).unwrap().have("train/loss/kl"));
        assert!(matches!(keys(&["["]), Err(ShowError::Glob { .. })));
        assert!(matches!(
            keys(&["train/{kl,loss}"]),
            Err(ShowError::Braces { .. })
        ));
    }

    fn shown(args: &ShowArgs) -> Result<String, ShowError> {
        let mut out = Vec::new();
        run(args, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_store_shows_while_it_is_being_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("runs.db");
        let mut args = ShowArgs {
            runs: Vec::new(),
            store: StoreArg {
                store: Some(store.clone()),
            },
            key: Vec::new(),
            last: None,
        };
        let error = shown(&args).unwrap_err();
        assert!(matches!(
            error,
            ShowError::Store(StoreError::Missing { .. })
        ));
        assert!(!store.exists());

        let mut sink = StoreSink::open(&store, "first").unwrap();
        for step in 1..=10 {
            let row = Row {
                step,
                metrics: [("train/loss", step as f64), ("train/kl", 0.5)]
                    .into_iter()
                    .collect(),
                ..Row::default()
            };
            sink.write(&row).unwrap();
        }
        assert!(
            shown(&args)
                .unwrap()
                .contains("first  default     running     10      1    10      20")
        );
        args.runs = vec!["first".to_owned()];
        args.key = vec!["*loss".to_owned()];
        args.last = Some(4);
        insta::assert_snapshot!(shown(&args).unwrap(), @"
        first: steps 7 to 10, 4 of them with metrics

        key         last  mean  min  max  over the steps
        train/loss    10   8.5    7   10  ▁▃▆█
        ");
        args.runs = vec!["frist".to_owned()];
        let error = shown(&args).unwrap_err().to_string();
        assert!(
            error.ends_with("found only `first` (did you mean `first`?)"),
            "{error}"
        );
    }
}
