//! `show`: the runs of a store, or the metrics of one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::sink::{compact, one_line};
use crate::store::{Metric, RunOverview, Split, Sqlite, Store, StoreError};

/// How many cells a sparkline has at most.
const SPARK_WIDTH: usize = 24;

/// What `show` is asked for.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The store to read.
    #[arg(default_value = "runs.db")]
    pub store: PathBuf,
    /// The run whose metrics to show; without one, all runs are listed.
    pub run: Option<String>,
    /// Show only the metrics that match, such as 'train/kl*' or '*reward*'; may be given several times.
    #[arg(long, value_name = "GLOB", requires = "run")]
    pub key: Vec<String>,
    /// Show only the last N steps of the run.
    #[arg(long, value_name = "N", requires = "run", value_parser = clap::value_parser!(u64).range(1..))]
    pub last: Option<u64>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has no run of this name.
    #[error("{store}: expected a run called `{run}`, found {}", found(.closest.as_deref(), .runs))]
    NoRun {
        store: String,
        run: String,
        /// The run whose name is most like it, if any is.
        closest: Option<String>,
        runs: Vec<String>,
    },
    #[error("--key {glob}: expected a glob pattern: {source}")]
    Glob {
        glob: String,
        source: globset::Error,
    },
    #[error("could not write the table: {0}")]
    Write(#[from] io::Error),
}

/// Writes the table that `args` asks for to `out`. Reads only, also while the store is being written.
///
/// # Errors
/// If there is no such store or run, the pattern is none, or `out` refuses.
pub fn run(args: &ShowArgs, out: &mut dyn Write) -> Result<(), ShowError> {
    let keys = globs(&args.key)?;
    let store = Sqlite::open_read_only(&args.store)?;
    let text = match &args.run {
        None => runs_table(&store.overview()?),
        Some(run) => {
            let runs = store.list_runs(None, None)?;
            if !runs.iter().any(|known| known.id == *run) {
                let runs: Vec<String> = runs.into_iter().map(|run| run.id).collect();
                return Err(ShowError::NoRun {
                    store: args.store.display().to_string(),
                    run: run.clone(),
                    closest: closest(run, &runs),
                    runs,
                });
            }
            let metrics = match args.last {
                Some(steps) => store.last_metrics(run, steps)?,
                None => store.get_metrics(run, None, None)?,
            };
            metrics_table(run, &metrics, |key| {
                args.key.is_empty() || keys.is_match(key)
            })
        }
    };
    out.write_all(text.as_bytes())?;
    Ok(())
}

fn globs(patterns: &[String]) -> Result<GlobSet, ShowError> {
    let refused = |glob: &str| {
        let glob = glob.to_owned();
        move |source| ShowError::Glob { glob, source }
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(refused(pattern))?);
    }
    set.build().map_err(refused(&patterns.join(" ")))
}

/// The name most like `run`, if one is like it at all.
fn closest(run: &str, runs: &[String]) -> Option<String> {
    let likeness = |name: &str| strsim::jaro_winkler(run, name);
    let best = runs
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.7).then(|| best.clone())
}

/// What was found instead of a run: the list, kept short.
fn found(closest: Option<&str>, runs: &[String]) -> String {
    const LISTED: usize = 10;
    let Some(last) = runs.last() else {
        return "no runs at all".to_owned();
    };
    let hint = closest.map_or(String::new(), |name| format!(" (did you mean `{name}`?)"));
    if runs.len() == 1 {
        return format!("only `{last}`{hint}");
    }
    let listed: Vec<_> = runs
        .iter()
        .rev()
        .take(LISTED)
        .map(|run| format!("`{run}`"))
        .collect();
    let more = runs.len() - listed.len();
    let more = if more > 0 {
        format!(" and {more} older")
    } else {
        String::new()
    };
    format!("{}{more}{hint}", listed.join(", "))
}

/// The runs, a line each.
fn runs_table(runs: &[RunOverview]) -> String {
    if runs.is_empty() {
        return "no runs\n".to_owned();
    }
    let mut table = bare_table(
        &[
            "run",
            "experiment",
            "status",
            "steps",
            "first",
            "last",
            "values",
            "created",
        ],
        3..7,
    );
    for run in runs {
        let end = |step: Option<u64>| step.map_or_else(|| "-".to_owned(), |step| step.to_string());
        table.add_row([
            one_line(&run.id),
            one_line(&run.experiment),
            run.status.to_string(),
            run.steps.to_string(),
            end(run.span.map(|(first, _)| first)),
            end(run.span.map(|(_, last)| last)),
            run.values.to_string(),
            // To the second, as a person reads it.
            run.created_at
                .chars()
                .take(19)
                .map(|c| if c == 'T' { ' ' } else { c })
                .collect(),
        ]);
    }
    printed(&table)
}

/// A run's metrics, a line each, those of one family (what stands before the last `/`) together.
fn metrics_table(run: &str, metrics: &[Metric], shown: impl Fn(&str) -> bool) -> String {
    let mut families: BTreeMap<&str, BTreeMap<(&str, Split), Vec<f64>>> = BTreeMap::new();
    let mut steps: Vec<u64> = Vec::new();
    for metric in metrics.iter().filter(|metric| shown(&metric.name)) {
        let family = metric
            .name
            .rsplit_once('/')
            .map_or("", |(family, _)| family);
        let series = families.entry(family).or_default();
        series
            .entry((&metric.name, metric.split))
            .or_default()
            .push(metric.value);
        steps.push(metric.step);
    }
    // Metrics come by step.
    steps.dedup();
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return match metrics.len() {
            0 => format!("{run}: no metrics\n"),
            _ => format!("{run}: no metric matches\n"),
        };
    };
    let mut table = bare_table(
        &["key", "last", "mean", "min", "max", "over the steps"],
        1..5,
    );
    let mut infinite = 0;
    for (nth, series) in families.values().enumerate() {
        if nth > 0 {
            table.add_row([""]);
        }
        for ((name, split), values) in series {
            infinite += values.iter().filter(|value| !value.is_finite()).count();
            let [last, mean, min, max] = digest(values).map(compact);
            let key = match split {
                Split::Train => one_line(name),
                Split::Val => format!("{} (val)", one_line(name)),
            };
            table.add_row([key, last, mean, min, max, sparkline(values)]);
        }
    }
    let mut text = format!(
        "{run}: steps {first} to {last}, {} of them with metrics\n\n{}",
        steps.len(),
        printed(&table)
    );
    if infinite > 0 {
        let note = format!("\ninfinite values, left out of mean, min and max: {infinite}\n");
        text.push_str(&note);
    }
    text
}

/// The last value, and mean, min and max of the finite ones; NaN where there are none.
fn digest(values: &[f64]) -> [f64; 4] {
    let last = values.last().copied().unwrap_or(f64::NAN);
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let count = finite().count() as f64;
    // Each is divided first: the sum of large values may be beyond a double where their mean is not.
    let mean = if count > 0.0 {
        finite().map(|value| value / count).sum()
    } else {
        f64::NAN
    };
    let min = finite().fold(f64::NAN, f64::min);
    let max = finite().fold(f64::NAN, f64::max);
    [last, mean, min, max]
}

/// The course of a series in block characters, the lowest finite value lowest: `▁▂▅█`. A long series is shown by the means
/// of equal stretches; a stretch that has an infinity shows as an arrow, and a constant series is a level line.
fn sparkline(values: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let cells = values.len().min(SPARK_WIDTH);
    let stretches: Vec<f64> = (0..cells)
        .map(|cell| {
            mean_of(&values[cell * values.len() / cells..(cell + 1) * values.len() / cells])
        })
        .collect();
    let [_, _, low, high] = digest(&stretches);
    // The means of a constant series differ in their last bits.
    let level = high - low <= 1e-12 * high.abs().max(low.abs());
    let draw = |value: &f64| match *value {
        value if value.is_nan() => ' ',
        f64::INFINITY => '↑',
        f64::NEG_INFINITY => '↓',
        _ if level => BLOCKS[3],
        value => {
            // Halved, so that the widest range there is stays finite.
            let height = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
            let above = |block: &&usize| height * 8.0 < **block as f64;
            let block = [1, 2, 3, 4, 5, 6, 7]
                .iter()
                .find(above)
                .map_or(7, |next| next - 1);
            BLOCKS[block]
        }
    };
    stretches.iter().map(draw).collect()
}

fn mean_of(values: &[f64]) -> f64 {
    values.iter().map(|value| value / values.len() as f64).sum()
}

/// A table without lines, numbers to the right; as wide as it needs, since a pipe has no width.
fn bare_table(header: &[&str], numbers: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .force_no_tty()
        .set_header(header.to_vec());
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn printed(table: &Table) -> String {
    table
        .lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Row;
    use crate::sink::Sink;
    use crate::store::{Status, StoreSink};

    fn metric(step: u64, name: &str, value: f64) -> Metric {
        Metric {
            step,
            name: name.to_owned(),
            value,
            split: Split::Train,
        }
    }

    #[test]
    fn a_sparkline_spans_the_finite_values() {
        assert_eq!(
            sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
            "▁▂▃▄▅▆▇█"
        );
        assert_eq!(
            sparkline(&[1.0, f64::INFINITY, 2.0, f64::NEG_INFINITY, f64::NAN]),
            "▁↑█↓ "
        );
        assert_eq!(sparkline(&[f64::MAX, f64::MIN]), "█▁");
        assert_eq!(sparkline(&[5.0; 3]), "▄▄▄");
        assert_eq!(sparkline(&[0.1; 1000]), "▄".repeat(SPARK_WIDTH));
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn a_long_series_is_shown_by_the_means_of_its_stretches() {
        let rising: Vec<f64> = (0..1000).map(f64::from).collect();
        let line = sparkline(&rising);
        assert_eq!(line.chars().count(), SPARK_WIDTH);
        assert_eq!(line, "▁▁▁▂▂▂▃▃▃▄▄▄▅▅▅▆▆▆▇▇▇███");
    }

    #[test]
    fn infinities_stay_out_of_the_mean() {
        let [last, mean, min, max] = digest(&[1.0, f64::INFINITY, 3.0, f64::NEG_INFINITY]);
        assert_eq!((last, mean, min, max), (f64::NEG_INFINITY, 2.0, 1.0, 3.0));
        assert!(digest(&[f64::INFINITY])[1].is_nan());
        assert!(digest(&[f64::MAX, f64::MAX])[1] >= f64::MAX);
    }

    #[test]
    fn metrics_stand_by_family_with_their_course() {
        let metrics = [
            metric(1, "train/kl", 0.5),
            metric(1, "train/reward", 0.125),
            metric(1, "train/rewards/len/mean", -1.0),
            Metric {
                split: Split::Val,
                ..metric(1, "train/reward", 9.0)
            },
            metric(3, "train/kl", 0.25),
            metric(3, "train/reward", f64::INFINITY),
        ];
        insta::assert_snapshot!(metrics_table("r", &metrics, |_| true), @"
        r: steps 1 to 3, 2 of them with metrics

        key                     last   mean    min    max  over the steps
        train/kl                0.25  0.375   0.25    0.5  █▁
        train/reward             inf  0.125  0.125  0.125  ▄↑
        train/reward (val)         9      9      9      9  ▄

        train/rewards/len/mean    -1     -1     -1     -1  ▄

        infinite values, left out of mean, min and max: 1
        ");
    }

    #[test]
    fn a_key_that_speaks_to_the_terminal_is_shown_as_text() {
        let table = metrics_table("r", &[metric(1, "a\u{1b}[2J\nb", 1.0)], |_| true);
        assert!(table.contains("\na\\u{1b}[2J\\nb  "), "{table}");
    }

    #[test]
    fn a_pattern_that_nothing_matches_says_so() {
        assert_eq!(
            metrics_table("r", &[metric(1, "a", 1.0)], |_| false),
            "r: no metric matches\n"
        );
        assert_eq!(metrics_table("r", &[], |_| true), "r: no metrics\n");
    }

    #[test]
    fn runs_stand_with_what_they_hold() {
        let runs = [
            RunOverview {
                id: "trl-2rank".to_owned(),
                experiment: "default".to_owned(),
                status: Status::Completed,
                created_at: "2026-01-31T12:00:00.123Z".to_owned(),
                steps: 20,
                span: Some((1, 20)),
                values: 512,
            },
            RunOverview {
                id: "new".to_owned(),
                experiment: "default".to_owned(),
                status: Status::Running,
                created_at: "2026-02-01T12:00:00.000Z".to_owned(),
                steps: 0,
                span: None,
                values: 0,
            },
        ];
        insta::assert_snapshot!(runs_table(&runs), @"
        run        experiment  status     steps  first  last  values  created
        trl-2rank  default     completed     20      1    20     512  2026-01-31 12:00:00
        new        default     running        0      -     -       0  2026-02-01 12:00:00
        ");
    }

    #[test]
    fn a_key_pattern_matches_across_slashes() {
        let set = globs(&["train/kl*".to_owned(), "*reward*".to_owned()]).unwrap();
        assert!(set.is_match("train/kl_per_token_bucket/long"));
        assert!(set.is_match("train/rewards/len/mean"));
        assert!(!set.is_match("train/loss/kl"));
        assert!(matches!(
            globs(&["[".to_owned()]),
            Err(ShowError::Glob { .. })
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
            store: store.clone(),
            run: None,
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
        args.run = Some("first".to_owned());
        args.key = vec!["*loss".to_owned()];
        args.last = Some(4);
        insta::assert_snapshot!(shown(&args).unwrap(), @"
        first: steps 7 to 10, 4 of them with metrics

        key         last  mean  min  max  over the steps
        train/loss    10   8.5    7   10  ▁▃▆█
        ");
        args.run = Some("frist".to_owned());
        let error = shown(&args).unwrap_err().to_string();
        assert!(
            error.ends_with("found only `first` (did you mean `first`?)"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_name_brings_the_closest_and_the_list() {
        let runs: Vec<String> = ["trl-2rank", "trl-4rank"].map(str::to_owned).to_vec();
        let error = ShowError::NoRun {
            store: "runs.db".to_owned(),
            run: "trl-2rnk".to_owned(),
            closest: closest("trl-2rnk", &runs),
            runs,
        };
        insta::assert_snapshot!(error, @"runs.db: expected a run called `trl-2rnk`, found `trl-4rank`, `trl-2rank` (did you mean `trl-2rank`?)");
        assert_eq!(found(None, &[]), "no runs at all");
    }
}
