//! The command as its users meet it: what it prints, what it stores, what it exits with.
#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use assert_cmd::Command;
use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::OPTIONS;
use grpo_metrics::row::run::RUN_KEYS;
use grpo_metrics::shard::Retain;
use grpo_metrics::store::{Sqlite, Status, Store};
use serde_json::Value;
use tempfile::TempDir;

const TWO_RANKS: &str = "recordings/trl-2rank";
const FOUR_RANKS: &str = "recordings/trl-4rank-split";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// The command in a folder, whatever the environment of the test.
fn command(dir: &TempDir) -> Command {
    let mut command = assert_cmd::Command::new(crate::grpo_metrics());
    command
        .current_dir(dir)
        .env("MAXENT_GIT_SHA", "abc1234")
        .env_remove("MAXENT_WANDB_METRICS_MODE")
        .env_remove("MAXENT_METRICS_MODE")
        .env_remove("GRPO_RECIPE_USED")
        .env_remove("GRPO_RECIPE")
        .env_remove("GRPO_METRICS_STORE")
        .env_remove("COLUMNS");
    command
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn replay(dir: &TempDir, recording: &str, args: &[&str]) -> Output {
    let mut command = command(dir);
    command.arg("replay").arg(data(recording)).args(args);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What was said, without times and without the paths of this machine.
fn said(output: &Output) -> String {
    let data = data("");
    let text = text(&output.stderr).replace(data.to_str().unwrap(), "data/");
    text.lines()
        .map(|line| match line.split_once("median ") {
            Some((before, _)) => format!("{before}median _ ms, p99 _ ms\n"),
            None => format!("{line}\n"),
        })
        .collect()
}

fn rows(output: &[u8]) -> Vec<Value> {
    text(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn steps(rows: &[Value]) -> Vec<u64> {
    rows.iter()
        .map(|row| row["step"].as_u64().unwrap())
        .collect()
}

/// The steps that a run has metrics of, and the run's status and error.
fn stored(dir: &TempDir, run: &str) -> (Vec<u64>, Status, Option<String>) {
    let store = Sqlite::open_read_only(dir.path().join("runs.db")).unwrap();
    let mut steps: Vec<u64> = store
        .get_metrics(run, None, None)
        .unwrap()
        .iter()
        .map(|metric| metric.step)
        .collect();
    steps.dedup();
    let run = store.get_run(run).unwrap().record;
    (steps, run.status, run.error_message)
}

#[test]
fn help_says_what_the_verbs_do() {
    let out = command(&folder()).arg("--help").output().unwrap();
    // What only the feature `serve` has is looked for in `serve/command.rs` and `report.rs`.
    let help = text(&out.stdout);
    let of_serve = ["  report ", "  serve "];
    let always = help
        .lines()
        .filter(|line| !of_serve.iter().any(|verb| line.starts_with(verb)));
    let help: Vec<&str> = always.collect();
    insta::assert_snapshot!(help.join("\n"), @r#"
    The training metrics of GRPO runs, exact whatever the layout

    Usage: grpo-metrics <COMMAND>

    Commands:
      replay       Compute the metrics of a recorded run and store them
      keys         List the keys that a row can have, and what they mean
      merge        Merge shards of ranks into rows
      audit        Say which numbers of a trainer's own log are wrong, by how much, and why
      compare      Hold a recording against another, prompt by prompt
      record       Make recordings of other files
      forward      Send a training's metrics.jsonl to a store, each row once
      deliver      Deliver the rows that wait in journals to a store or a file
      show         Show a run's metrics, several runs beside each other, or the runs of a store
      runs         List the runs of a store, name, tag, note or remove them
      export       Write runs of a store as a table: Parquet, CSV or JSON lines
      doctor       Examine a store: is it sound, what is in it, what waits beside it
      completions  Write the completions of a shell to standard output
      man          Write the manual: to standard output, or a page for each verb to a folder
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Exit codes:
      0  done (also when the reader of the output goes away before the end)
      1  an output could not be written: a store, a file, a full disk
      2  what was given cannot be used: an argument, a recording, the name of a store or run
      130  stopped by Ctrl-C or SIGTERM; what is stored is whole
    "#);
    let version = command(&folder()).arg("--version").output().unwrap();
    assert_eq!(
        text(&version.stdout),
        format!("grpo-metrics {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn help_of_replay_says_where_rows_go_and_what_ends_it() {
    let out = command(&folder())
        .args(["replay", "--help"])
        .output()
        .unwrap();
    let help = text(&out.stdout);
    // Then come the options of every engine, which are made from their table.
    let (own, options) = help.split_at(help.find("What stands in a row:").unwrap());
    insta::assert_snapshot!(own, @r#"
    Compute the metrics of a recorded run and store them

    Reads the recording step by step, computes one row of metrics for every emitted step, and writes it
    to a store, to JSON lines, or to other sinks; with none of --store, --jsonl and --sink it is the
    store of the environment, or runs.db here. A store is made if need be.

    A replay that was stopped goes on when it is made again; one that is whole does nothing. Other
    options that change numbers make a run of their own, beside the one that is there.

    A fault in the recording ends the replay with exit code 2 and a message that names file, line, step,
    rank and field. The rows that went out before it stay, and the run in the store is marked failed.
    NaN and infinities are no fault: they are left out and counted, and the counts are shown at the end.

    Usage: grpo-metrics replay [OPTIONS] <PATH>...

    Arguments:
      <PATH>...
              Folders of .jsonl and .safetensors files, or files; together one recording

    Options:
          --allow-missing
              Accept steps that lack ranks

      -q, --quiet
              No summary, no notes, no warnings, no progress bar: only errors

          --config <FILE>
              Read options from this TOML file, under the names below with _ for -; flags go before it

      -h, --help
              Print help (see a summary with '-h')

    Outputs:
          --store <FILE>
              The embedded store [default: $GRPO_METRICS_STORE, else runs.db in the current folder]

          --run <NAME>
              Name of the run in the store [default: name of the folder, or of the file without its
              ending; of several PATHs, of the folder that they are all in]

          --resume <WORD>
              What becomes of a run of that name that is there already: never goes on with it, allow
              does if there is one, must needs one [default: go on with it if it is of the same
              recording and options, else a new run beside it]
              
              [possible values: never, allow, must]

          --jsonl <FILE>
              Append the rows to this file as JSON lines; - is standard output

          --sink <KIND:PATH>
              Write the rows to another kind of sink; may be given more than once:
              - jsonl:FILE: JSON lines, appended; - is standard output
              - csv:FILE: a table with a column a key, appended
              - tensorboard:FOLDER: an event file for TensorBoard, new in the folder each time
              - console:FORM: the terminal: `line` is a line a row, `pretty` every row whole

          --shards <DIR>
              Write each rank's shard of each step to DIR/step-N.rank-N.shard, for `merge`

    Ranks:
          --gather <GATHER>
              Where the ranks are: in this process, or mpi: each rank of `mpirun -n N` reads its own
              records, rank 0 writes
              
              [default: none]
              [possible values: none, mpi]

          --deadline <SECONDS>
              Seconds to wait for a rank's part of a step
              
              [default: 60]

          --scope <SCOPE>
              Whose data to use: all ranks', or rank 0's alone [default: global]
              
              [possible values: global, local]

          --policy <POLICY>
              What becomes of a step in which a rank has failed or was not heard: fail, or go on without
              the rank [default: fail]
              
              [possible values: fail, go-on]
    "#);
    for option in OPTIONS {
        let flag = option.name.replace('_', "-");
        let shown = [format!("      --{flag}"), format!("      --no-{flag}")];
        let shown = shown.iter().filter(|shown| help.contains(*shown)).count();
        assert_eq!(shown, 1, "{flag}");
    }
    insta::assert_snapshot!(options[..options.find("      --steps-per-epoch").unwrap()], @r#"
    What stands in a row:
          --dialect <DIALECT>
              Names of the metrics [default: maxent]
              
              [possible values: maxent, trl, tunix, verl, openrlhf, nemo-rl, skyrl, prime-rl]

          --mode <MODE>
              Keys to keep: full or slim [default: MAXENT_WANDB_METRICS_MODE, else MAXENT_METRICS_MODE,
              else full]
    "#);
}

#[test]
fn a_file_says_what_flags_say_and_flags_go_before_it() {
    let dir = folder();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPTIONS.md"));
    let page = page.unwrap();
    let (_, example) = page.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    fs::write(dir.path().join("run.toml"), example).unwrap();
    let metrics = |args: &[&str]| {
        let out = replay(&dir, TWO_RANKS, &[&["--jsonl", "-"], args].concat());
        assert!(out.status.success(), "{}", said(&out));
        let rows = rows(&out.stdout);
        rows.iter()
            .map(|row| row["metrics"].clone())
            .collect::<Vec<_>>()
    };
    let flags = [
        "--dialect=trl",
        "--every=10",
        "--window=pooled",
        "--extended",
        "--success=accuracy",
        "--success-threshold=0.5",
        "--clip-range=0.2,0.28",
        "--limit=kl=0.5",
        "--fold=my_metric=sum",
    ];
    let from_file = metrics(&["--config", "run.toml"]);
    assert_eq!((from_file.len(), &from_file), (3, &metrics(&flags)));
    let more = ["--no-extended", "--dialect", "maxent", "--every", "8"];
    let over = metrics(&[&["--config", "run.toml"], &more[..]].concat());
    assert_eq!(over, metrics(&["--window", "pooled", "--every", "8"]));
    let over = metrics(&["--config", "run.toml", "--limit", "kl=0"]);
    let [before, after] = [&from_file, &over].map(|rows| rows[0]["health/kl"].as_f64());
    assert_eq!((before, after), (Some(0.0), Some(1.0)));
    // What `--limit` says joins what the file says of the others.
    let joined = metrics(&["--config", "run.toml", "--limit", "clipped=0"]);
    let [before, after] = [&from_file, &joined].map(|rows| rows[0]["health/clipping"].as_f64());
    assert_eq!((before, after), (Some(0.0), Some(1.0)));
}

#[test]
fn what_a_file_cannot_say_is_refused_with_its_place() {
    let dir = folder();
    for (text, message) in [
        (
            "dialect = \"trl\"\nlogging_step = 3\n",
            "run.toml: line 2: unknown option `logging_step`; did you mean `logging_steps`?",
        ),
        (
            "\n\nevery = \"two\"\n",
            "run.toml: line 3: `logging_steps`: expected a whole number, found `two`",
        ),
        (
            "extended = true\n[limits]\nclip = 1\n",
            "run.toml: line 2: `limits`: unknown name `clip`; did you mean `clipped`?",
        ),
        (
            "every = 1\nlogging_steps = 1\n",
            "run.toml: line 2: `logging_steps` stands there under two names",
        ),
        ("dialect = trl\n", "run.toml: line 1: "),
        (
            "high_kl = nan\n",
            "`high_kl`: expected a finite number, found NaN",
        ),
    ] {
        fs::write(dir.path().join("run.toml"), text).unwrap();
        let out = replay(&dir, TWO_RANKS, &["--config", "run.toml"]);
        let said = said(&out);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains(message), "{said}");
    }
    let out = replay(&dir, TWO_RANKS, &["--config", "nowhere.toml"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        said(&out).contains("nowhere.toml: cannot read it"),
        "{}",
        said(&out)
    );
    assert!(!dir.path().join("runs.db").exists());
}

#[test]
fn tokens_are_counted_against_the_range_that_is_told_where_no_snapshot_says() {
    let dir = folder();
    let record = r#"{"step": 1, "rank": 0, "world_size": 1, "batch": {"rewards": [1.0], "group_sizes": [1], "completion_lengths": [2],
        "token_logps": [-1.0, -1.0], "ref_token_logps": [-1.0, -1.15]}}"#;
    fs::write(dir.path().join("one.jsonl"), record.replace('\n', "")).unwrap();
    let clipped = |args: &[&str]| {
        let out = replay(
            &dir,
            dir.path().join("one.jsonl").to_str().unwrap(),
            &[&["--jsonl", "-"], args].concat(),
        );
        rows(&out.stdout)[0]["metrics"]["train/clip_ratio"].as_f64()
    };
    assert_eq!(clipped(&[]), Some(0.0));
    assert_eq!(clipped(&["--clip-range", "0.1,0.1"]), Some(0.5));
}

#[test]
fn help_of_keys_and_show_says_what_they_take() {
    let help = |verb| {
        let out = command(&folder()).args([verb, "--help"]).output().unwrap();
        text(&out.stdout)
    };
    insta::assert_snapshot!(help("keys"), @r#"
    List the keys that a row can have, and what they mean

    A metric that a training reports under a name of its own appears under exactly that name, in every
    dialect.

    Usage: grpo-metrics keys [OPTIONS]

    Options:
          --dialect <DIALECT>
              Only the keys of this dialect; all dialects without it
              
              [possible values: maxent, trl, tunix, verl, openrlhf, nemo-rl, skyrl, prime-rl]

          --retain <RETAIN>
              As the keys are in a run that retains its rewards as: exact, or sketch
              
              [default: exact]
              [possible values: exact, sketch]

          --extended
              Also the keys of the extended metrics, which `replay --extended` computes

          --key <GLOB>
              Only the keys that match, such as 'train/kl*' or '*reward*'; may be given several times

          --like <KEY>
              Only the keys that stand for the same number as this one, in every dialect; the extended
              metrics among them

          --json
              As a JSON array of {dialect, key, unit, meaning, reduction, window}

      -h, --help
              Print help (see a summary with '-h')
    "#);
    insta::assert_snapshot!(help("show"), @"
    Show a run's metrics, several runs beside each other, or the runs of a store

    Of a run, first what is looked at first: reward, its spread and components, KL, clipping, entropy,
    lengths, loss, gradient norm and the flags of health that were computed. What is constant stands in
    one line. --csv and --json have every key, in full.

    Several runs are compared with the first: the last number of each, the best where it is known which
    way is better, and where their configurations differ.

    Usage: grpo-metrics show [OPTIONS] [RUN]...

    Arguments:
      [RUN]...
              The run whose metrics to show; several are compared; without one, the runs are listed

    Options:
          --store <FILE>
              The embedded store [default: $GRPO_METRICS_STORE, else runs.db in the current folder]

          --key <GLOB>
              Show only the keys that match, such as 'train/kl*' or '*reward*'; may be given several
              times

          --all
              Show all keys, those that are looked at first before the others

          --last <N>
              Show only the last N steps

          --follow
              Show a line for each row, the last 10 (or N) and then each that is stored, until the run
              has ended or Ctrl-C

          --csv
              As CSV: a line for each key, and run

          --json
              As JSON

      -h, --help
              Print help (see a summary with '-h')
    ");
}

#[test]
fn a_recording_is_stored_where_nothing_else_is_asked_for() {
    let dir = folder();
    let out = replay(&dir, TWO_RANKS, &[]);
    assert!(out.status.success());
    assert!(out.stdout.is_empty());
    insta::assert_snapshot!(said(&out), @"
    24 steps, 2 ranks, 768 completions, 11240 tokens, 24 rows
    engine's own time per step: median _ ms, p99 _ ms
    rows to runs.db, run `trl-2rank`
    ");
    let all: Vec<u64> = (1..=24).collect();
    assert_eq!(stored(&dir, "trl-2rank"), (all, Status::Completed, None));

    let out = replay(&dir, FOUR_RANKS, &["--dialect", "trl", "--run", "mine"]);
    insta::assert_snapshot!(said(&out), @"
    12 steps, 4 ranks, 192 completions, 3968 tokens, 12 rows
    engine's own time per step: median _ ms, p99 _ ms
    rows to runs.db, run `mine`
    ");
    assert_eq!(stored(&dir, "mine").0, (1..=12).collect::<Vec<u64>>());
}

#[test]
fn what_was_replayed_is_shown() {
    let dir = folder();
    replay(&dir, FOUR_RANKS, &["--dialect", "trl"]);
    let out = command(&dir).arg("show").output().unwrap();
    assert!(
        text(&out.stdout).contains("trl-4rank-split  default     completed     12      1    12")
    );
    let out = command(&dir)
        .args(["show", "trl-4rank-split", "--key", "reward*", "--last", "4"])
        .output()
        .unwrap();
    insta::assert_snapshot!(text(&out.stdout), @"
    trl-4rank-split: completed, steps 9 to 12

    key                       last     mean      min      max  over the steps
    reward                  0.3581   0.3587   0.3581   0.3593  ██▁▁
    reward_std              0.1287   0.1321   0.1287   0.1356  ██▁▁

    rewards/accuracy/mean  0.01562  0.02344  0.01562  0.03125  ██▁▁
    rewards/accuracy/std    0.0625  0.07395   0.0625  0.08539  ██▁▁

    rewards/brevity/mean    0.2477   0.2904   0.2477   0.3331  ██▁▁
    rewards/brevity/std     0.2576   0.2708   0.2576   0.2839  ██▁▁

    rewards/digits/mean     0.5859   0.5544   0.5228   0.5859  ▁▁██
    rewards/digits/std      0.1942   0.2181   0.1942    0.242  ██▁▁
    ");
    let out = command(&dir).args(["show", "trl-4rank"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    insta::assert_snapshot!(said(&out), @"error: runs.db: expected a run called `trl-4rank`, found only `trl-4rank-split` (did you mean `trl-4rank-split`?)");
}

#[test]
fn a_run_that_is_there_already_is_left_as_it_is_where_the_numbers_would_be_others() {
    let dir = folder();
    replay(&dir, TWO_RANKS, &["--quiet"]);
    let out = replay(&dir, TWO_RANKS, &["--every", "8"]);
    insta::assert_snapshot!(said(&out), @"
    note: runs.db: run `trl-2rank` has logging_steps as by default: this one is `trl-2rank-2`
    24 steps, 2 ranks, 768 completions, 11240 tokens, 3 rows
    engine's own time per step: median _ ms, p99 _ ms
    rows to runs.db, run `trl-2rank-2`
    ");
    assert_eq!(stored(&dir, "trl-2rank").0.len(), 24);
    assert_eq!(stored(&dir, "trl-2rank-2").0, [8, 16, 24]);
}

#[test]
fn rows_go_to_standard_output_or_a_file_and_nowhere_else_then() {
    let dir = folder();
    let out = replay(&dir, TWO_RANKS, &["--jsonl", "-"]);
    assert_eq!(steps(&rows(&out.stdout)), (1..=24).collect::<Vec<u64>>());
    assert_eq!(rows(&out.stdout)[0]["run"]["run/git_sha"], "abc1234");
    insta::assert_snapshot!(said(&out), @"
    24 steps, 2 ranks, 768 completions, 11240 tokens, 24 rows
    engine's own time per step: median _ ms, p99 _ ms
    rows to standard output
    ");
    assert!(!dir.path().join("runs.db").exists());

    let both = ["--jsonl", "rows.jsonl", "--store", "runs.db"];
    replay(&dir, TWO_RANKS, &both);
    let out = replay(&dir, FOUR_RANKS, &both);
    insta::assert_snapshot!(said(&out), @"
    note: rows.jsonl has rows already; the new ones are appended
    12 steps, 4 ranks, 192 completions, 3968 tokens, 12 rows
    engine's own time per step: median _ ms, p99 _ ms
    rows to runs.db, run `trl-4rank-split`
    rows to rows.jsonl
    ");
    let written = fs::read(dir.path().join("rows.jsonl")).unwrap();
    assert_eq!(rows(&written).len(), 24 + 12);
    assert_eq!(stored(&dir, "trl-2rank").0.len(), 24);
}

#[test]
fn rows_go_to_every_sink_that_a_text_names() {
    let dir = folder();
    let to = ["--sink", "csv:rows.csv", "--sink", "rows.jsonl", "-q"];
    let out = replay(&dir, TWO_RANKS, &to);
    assert!(out.status.success() && out.stderr.is_empty());
    assert!(!dir.path().join("runs.db").exists());
    let lines = rows(&fs::read(dir.path().join("rows.jsonl")).unwrap());
    let mut table = csv::Reader::from_path(dir.path().join("rows.csv")).unwrap();
    let keys = table.headers().unwrap().clone();
    let records: Vec<_> = table.records().map(Result::unwrap).collect();
    assert_eq!((records.len(), lines.len()), (24, 24));
    for (record, line) in records.iter().zip(&lines) {
        for (key, cell) in keys.iter().zip(record).skip(1) {
            assert_eq!(cell.parse().ok(), line["metrics"][key].as_f64(), "{key}");
        }
    }
    let refused = |sink| {
        let out = replay(&dir, TWO_RANKS, &["--sink", sink]);
        assert_eq!(out.status.code(), Some(2));
        said(&out)
    };
    assert!(
        refused("cvs:a")
            .contains("expected a kind of sink (jsonl, csv, tensorboard, console), found `cvs`")
    );
    assert!(refused("csv:").contains("csv: expected the path of a file"));
    if !cfg!(feature = "tensorboard") {
        assert!(refused("tensorboard:a").contains("built without `tensorboard`"));
    }
}

#[test]
fn every_steps_and_their_window_make_fewer_rows() {
    let dir = folder();
    let replayed = |args: &[&str]| {
        let out = replay(&dir, TWO_RANKS, &[args, &["-q", "--jsonl", "-"]].concat());
        assert!(out.stderr.is_empty());
        rows(&out.stdout)
    };
    let every = replayed(&[]);
    let mean = replayed(&["--every", "10"]);
    let pooled = replayed(&["--every", "10", "--window", "pooled"]);
    assert_eq!(steps(&mean), [10, 20, 24]);
    assert_eq!(steps(&pooled), [10, 20, 24]);
    let number = |row: &Value, key: &str| row["metrics"][key].as_f64().unwrap();
    let highest = |steps: &[Value]| {
        let values = steps.iter().map(|row| number(row, "train/reward_p100"));
        values.fold(f64::MIN, f64::max)
    };
    let average = |steps: &[Value]| {
        let values = steps.iter().map(|row| number(row, "train/reward_p100"));
        values.sum::<f64>() / steps.len() as f64
    };
    assert_eq!(
        number(&pooled[0], "train/reward_p100").to_bits(),
        highest(&every[..10]).to_bits()
    );
    let off = number(&mean[0], "train/reward_p100") - average(&every[..10]);
    assert!(off.abs() < 1e-12, "{off}");
    let none_left_over = replayed(&["--every", "10", "--no-emit-partial"]);
    assert_eq!(steps(&none_left_over), [10, 20]);
    assert_eq!(steps(&replayed(&["--logging-strategy", "no"])), [24]);
    let epochs = ["--logging-strategy", "epoch", "--no-emit-partial"];
    assert_eq!(steps(&replayed(&epochs)), [0; 0]);
}

#[test]
fn local_scope_is_rank_0_alone() {
    let dir = folder();
    let local = replay(&dir, TWO_RANKS, &["--scope", "local", "--jsonl", "-"]);
    assert!(said(&local).starts_with("24 steps, 1 rank, 384 completions, "));
    let alone = replay(
        &dir,
        "recordings/trl-2rank/rank0.jsonl",
        &["--allow-missing", "--jsonl", "-"],
    );
    let (local, alone) = (rows(&local.stdout), rows(&alone.stdout));
    assert_eq!(local.len(), 24);
    for (a, b) in local.iter().zip(&alone) {
        assert_eq!(a["metrics"], b["metrics"]);
    }
    // What the other ranks lack is nothing to rank 0.
    let out = replay(&dir, "bad/missing_ranks.jsonl", &["--scope", "local"]);
    assert!(out.status.success(), "{}", said(&out));
}

#[test]
fn extended_rows_of_both_recordings_have_the_same_keys_and_more_in_every_dialect() {
    let dir = folder();
    for recording in [TWO_RANKS, FOUR_RANKS] {
        for dialect in Dialect::ALL {
            let rows_of = |more: &[&str]| {
                let args = [&["--jsonl", "-", "--dialect", dialect.name()], more].concat();
                let out = replay(&dir, recording, &args);
                assert!(out.status.success(), "{}", said(&out));
                rows(&out.stdout)
            };
            let (plain, extended) = (rows_of(&[]), rows_of(&["--extended"]));
            assert_eq!(plain.len(), extended.len());
            for (plain, extended) in plain.iter().zip(&extended) {
                let [plain, extended] =
                    [plain, extended].map(|row| row["metrics"].as_object().unwrap());
                assert!(
                    plain
                        .iter()
                        .all(|(key, value)| extended.get(key) == Some(value))
                );
                for key in [
                    "reward_ci95/low",
                    "pass@1",
                    "kl_ref/k1",
                    "length/p99",
                    "health/nonfinite",
                ] {
                    let has = extended
                        .keys()
                        .any(|k| k.trim_start_matches("train/") == key);
                    assert!(has, "{dialect} {recording}: no {key}");
                }
            }
        }
    }
}

#[test]
fn what_verl_and_the_extended_metrics_are_told_is_in_their_keys() {
    let dir = folder();
    let all = |args: &[&str]| {
        let out = replay(
            &dir,
            TWO_RANKS,
            &[&["--jsonl", "-", "--dialect", "verl"], args].concat(),
        );
        assert!(out.status.success(), "{}", said(&out));
        rows(&out.stdout)
    };
    let first = |args: &[&str]| all(args)[0]["metrics"].clone();
    let (plain, extended) = (first(&[]), first(&["--extended"]));
    for (kind, key) in [
        ("k1", "kl_ref/k1"),
        ("k2", "kl_ref/k2"),
        ("k3", "kl_ref/k3"),
    ] {
        assert_eq!(first(&["--kl-kind", kind])["actor/kl_loss"], extended[key]);
    }
    // The policy leaves its reference with the steps.
    let penalised = all(&["--kl-penalty", "0.5", "--kl-penalty-kind", "k2"]);
    let last = &penalised.last().unwrap()["metrics"];
    let score = last["critic/score/mean"].as_f64();
    assert!(last["critic/rewards/mean"].as_f64() < score, "{last}");
    assert_eq!(plain["critic/rewards/mean"], plain["critic/score/mean"]);

    let recorded = std::fs::read_to_string(data(TWO_RANKS).join("rank0.jsonl")).unwrap()
        + &std::fs::read_to_string(data(TWO_RANKS).join("rank1.jsonl")).unwrap();
    let records = recorded
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let accuracy: Vec<f64> = records
        .filter(|record| record["step"] == 1)
        .flat_map(|record| {
            record["batch"]["reward_components"]["accuracy"]
                .as_array()
                .unwrap()
                .clone()
        })
        .map(|value| value.as_f64().unwrap())
        .collect();
    let right = accuracy.iter().filter(|x| **x >= 0.5).count();
    let told = first(&[
        "--extended",
        "--success",
        "accuracy",
        "--success-threshold",
        "0.5",
        "--high-kl",
        "-1",
        "--limit",
        "entropy=99",
        "--limit",
        "entropy-steps=1",
    ]);
    assert_eq!(
        told["pass@1"].as_f64().unwrap(),
        right as f64 / accuracy.len() as f64
    );
    assert_eq!(told["kl_ref/high_frac"], 1.0);
    assert_eq!(
        (
            &extended["health/entropy_collapse"],
            &told["health/entropy_collapse"]
        ),
        (&0.0.into(), &1.0.into())
    );

    // What only the extended metrics look at needs them.
    let out = replay(&dir, TWO_RANKS, &["--high-kl", "0.2"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("--extended"), "{}", said(&out));
}

#[test]
fn an_argument_that_makes_no_sense_as_a_number_is_refused_by_its_name_before_anything_is_stored() {
    const TRIED: [&str; 6] = ["NaN", "inf", "-1", "0", "1e300", "much"];
    const ANY: [bool; 6] = [false, false, true, true, true, false];
    const FROM_0: [bool; 6] = [false, false, false, true, true, false];
    const ABOVE_0: [bool; 6] = [false, false, false, false, true, false];
    let verl = &["--dialect", "verl", "--extended", "--success=accuracy"][..];
    let epochs = &["--num-epochs=2", "--total-training-steps=9"][..];
    let cases = [
        ("--is-ratio-cap=", "is_ratio_cap", ABOVE_0, &[][..]),
        ("--kl-penalty=", "kl_penalty", FROM_0, verl),
        ("--success-threshold=", "success_threshold", ANY, verl),
        ("--high-kl=", "high_kl", ANY, verl),
        (
            "--limit=kl=",
            "limits.kl",
            [false, true, false, true, true, false],
            verl,
        ),
        ("--limit=entropy-steps=", "entropy-steps", [false; 6], verl),
        ("--devices=", "devices", [false; 6], verl),
        ("--logging-steps=", "logging_steps", [false; 6], &[]),
        ("--steps-per-epoch=", "steps_per_epoch", ANY, &[]),
        ("--num-generations=", "num_generations", ANY, &[]),
        ("--num-epochs=", "num_epochs", ANY, &epochs[1..]),
        (
            "--total-training-steps=",
            "total_training_steps",
            ANY,
            &epochs[..1],
        ),
        ("--deadline=", "deadline", [false; 6], &[]),
    ];
    let dir = folder();
    for (flag, option, taken, beside) in cases {
        for (number, taken) in TRIED.into_iter().zip(taken) {
            let given = format!("{flag}{number}");
            let store = dir.path().join("refused.db");
            let args = ["--store", "refused.db", "--quiet", given.as_str()];
            let out = replay(&dir, TWO_RANKS, &[&args, beside].concat());
            if taken {
                assert!(out.status.success(), "{given}: {}", said(&out));
                std::fs::remove_file(&store).unwrap();
                continue;
            }
            assert_eq!(out.status.code(), Some(2), "{given}");
            let said = said(&out);
            let (flag, _) = flag.split_once('=').unwrap();
            let by_name = said.contains(&format!("`{option}`: expected ")) || said.contains(flag);
            assert!(by_name && !said.contains("panicked"), "{given}: {said}");
            assert!(!store.exists(), "{given}");
        }
    }
}

#[test]
fn a_flag_of_health_that_rises_is_one_warning_beside_the_rows() {
    let dir = folder();
    let run = |more: &[&str]| {
        let args = [&["--jsonl", "-", "--extended", "--limit", "kl=9"], more].concat();
        let out = replay(&dir, TWO_RANKS, &args);
        assert!(out.status.success(), "{}", said(&out));
        out
    };
    // The steps at which the flag was down before and is up.
    let rises = |out: &Output| -> Vec<u64> {
        let mut before = 0.0;
        let rows = rows(&out.stdout);
        let risen = rows.iter().filter(|row| {
            let now = row["metrics"]["train/health/clipping"].as_f64().unwrap();
            std::mem::replace(&mut before, now) < now
        });
        risen.map(|row| row["step"].as_u64().unwrap()).collect()
    };
    let warned = |out: &Output| -> Vec<String> {
        let said = said(out);
        let warnings = said.lines().filter(|line| line.starts_with("warning: "));
        warnings.map(ToOwned::to_owned).collect()
    };
    let metrics = |out: &Output| -> Vec<Value> {
        let rows = rows(&out.stdout);
        rows.iter().map(|row| row["metrics"].clone()).collect()
    };
    let out = run(&["--limit", "clipped=0.3"]);
    assert_eq!(rises(&out), [2]);
    insta::assert_snapshot!(warned(&out).join("\n"), @"warning: step 2: 0.3142 of the tokens are clipped, more than 0.3");

    let strict = run(&["--limit", "clipped=0.01"]);
    assert_eq!(rises(&strict), [2, 4, 6, 10, 12]);
    assert_eq!(warned(&strict).len(), 5);

    // What is said is beside the rows, not among them.
    let quiet = run(&["--limit", "clipped=0.3", "--quiet"]);
    assert!(quiet.stderr.is_empty(), "{}", said(&quiet));
    assert_eq!(metrics(&quiet), metrics(&out));
}

#[test]
fn slim_keeps_fewer_keys_and_the_environment_may_say_so() {
    let dir = folder();
    let keys = |out: Output| rows(&out.stdout)[0]["metrics"].as_object().unwrap().len();
    let full = keys(replay(&dir, TWO_RANKS, &["--jsonl", "-"]));
    let slim = keys(replay(&dir, TWO_RANKS, &["--jsonl", "-", "--mode", "slim"]));
    assert!(slim < full, "{slim} of {full}");
    let in_environment = |mode, args: &[&str]| {
        let mut command = command(&dir);
        command
            .env("MAXENT_METRICS_MODE", mode)
            .arg("replay")
            .arg(data(TWO_RANKS));
        command.args(["--jsonl", "-"]).args(args).output().unwrap()
    };
    assert_eq!(keys(in_environment("slim", &[])), slim);
    assert_eq!(keys(in_environment("slim", &["--mode", "full"])), full);
    let out = in_environment("slimm", &[]);
    assert_eq!(out.status.code(), Some(2));
    insta::assert_snapshot!(said(&out), @"error: the environment's `MAXENT_METRICS_MODE`: expected a mode (full, all, default; slim, compact, minimal, lite), found `slimm`");
}

#[test]
fn a_word_that_names_nothing_is_an_error_that_lists_what_there_is() {
    let dir = folder();
    for (args, listed) in [
        (["--dialect", "trll"], "[possible values: maxent, trl"),
        (
            ["--mode", "slimm"],
            "expected a mode (full, all, default; slim, compact, minimal, lite), found `slimm`",
        ),
        (["--window", "median"], "[possible values: mean, pooled]"),
        (["--scope", "world"], "[possible values: global, local]"),
        (
            ["--logging-strategy", "x"],
            "expected a logging strategy (steps; epoch, epochs; no, none, off), found `x`",
        ),
        (["--fold", "a=b"], "expected mean, min, max, sum, last"),
    ] {
        let out = replay(&dir, TWO_RANKS, &args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(said(&out).contains(listed), "{}", said(&out));
    }
    let out = replay(&dir, "recordings/none", &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("recordings/none: expected a file of records"));
    assert!(!dir.path().join("runs.db").exists());
}

/// What the table of faulty recordings says a message names, as the message says it.
fn named(what: &str, message: &str) -> bool {
    let found = |text: &str| message.contains(text);
    let after = |word: &str, text: &str| {
        let rest = message.split_once(word).map(|(_, rest)| rest);
        rest.is_some_and(|rest| rest.contains(text))
    };
    match what.split_once(' ') {
        Some((place @ ("line" | "step" | "rank"), number)) => {
            found(&format!(", {place} {number},")) || found(&format!(", {place} {number}:"))
        }
        Some(("micro", number)) => found(&format!(", micro-batch {number}:")),
        Some(("ranks", list)) => found(&format!("rank {}", list.replace(" and ", ", "))),
        Some(("world_size", number)) => found(&format!("`world_size` of {number}")),
        Some(("found", value)) => after("found", value),
        Some(("expected", value)) => after("expected", value),
        Some(("the", closest)) => found(&closest.replace("closest", "the closest known one is")),
        _ => {
            let word = what.trim_matches('`');
            let in_word = |c: char| c.is_alphanumeric() || c == '_';
            message.split(|c| !in_word(c)).any(|found| found == word)
        }
    }
}

#[test]
fn a_faulty_recording_is_an_error_that_names_the_place_and_keeps_what_was_stored() {
    let table = fs::read_to_string(data("bad/README.md")).unwrap();
    let lines = table
        .lines()
        .filter(|line| line.contains("| line ") || line.contains("| step "));
    let mut seen = 0;
    for line in lines {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (file, names) = (cells[1], cells[3]);
        let dir = folder();
        let out = replay(&dir, &format!("bad/{file}"), &["--quiet", "--run", "r"]);
        assert_eq!(out.status.code(), Some(2), "{file}");
        assert!(out.stdout.is_empty());
        let message = said(&out);
        assert!(
            message.starts_with(&format!("error: data/bad/{file}, ")),
            "{message}"
        );
        for what in names.split(", ") {
            assert!(
                named(what, &message),
                "{file} should name {what}: {message}"
            );
        }
        let (steps, status, error) = stored(&dir, "r");
        let before: &[u64] = if file.contains(".jsonl") { &[1] } else { &[] };
        assert_eq!(steps, before, "{file}");
        assert_eq!(status, Status::Failed, "{file}");
        assert!(message.contains(error.unwrap().rsplit('/').next().unwrap()));
        seen += 1;
    }
    assert_eq!(seen, fs::read_dir(data("bad")).unwrap().count() - 1);
}

#[test]
fn a_fault_leaves_out_the_window_that_was_not_full() {
    let dir = folder();
    let bad = "bad/column_too_short.jsonl";
    let out = replay(&dir, bad, &["--every", "2", "--run", "r"]);
    insta::assert_snapshot!(said(&out), @"
    1 step, 1 rank, 3 completions, 6 tokens, 0 rows
    engine's own time per step: median _ ms, p99 _ ms
    rows to runs.db, run `r`
    error: data/bad/column_too_short.jsonl, line 2, step 2, rank 0, micro-batch 0: `advantages`: expected 3 values (one for each of the completions), found 2
    ");
    assert_eq!(stored(&dir, "r").0, [0; 0]);
    // What is better is another recording.
    let better = ["--allow-missing", "--run", "r"];
    replay(&dir, "bad/missing_ranks.jsonl", &better);
    assert_eq!(stored(&dir, "r-2"), (vec![1, 2], Status::Completed, None));
    assert_eq!(stored(&dir, "r").1, Status::Failed);
}

#[test]
fn steps_that_lack_ranks_are_accepted_if_asked() {
    let dir = folder();
    let missing = "bad/missing_ranks.jsonl";
    let out = replay(&dir, missing, &["--jsonl", "-"]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(steps(&rows(&out.stdout)), [1]);
    insta::assert_snapshot!(said(&out), @"
    1 step, 3 ranks, 9 completions, 18 tokens, 1 row
    engine's own time per step: median _ ms, p99 _ ms
    rows to standard output
    error: data/bad/missing_ranks.jsonl, step 2: expected records of all 3 ranks, found none of rank 1, 2
    ");
    let out = replay(&dir, missing, &["--jsonl", "-", "--allow-missing"]);
    assert!(out.status.success());
    assert_eq!(steps(&rows(&out.stdout)), [1, 2]);
}

#[test]
fn nonfinite_values_are_no_fault_and_are_told() {
    let dir = folder();
    let record = r#"{"step": 1, "rank": 0, "world_size": 1, "batch": {"group_sizes": [4], "rewards": [1, "NaN", 3, "-Infinity"],
        "reward_components": {"a": [1, null, "Infinity", 2]}}}"#;
    let path = dir.path().join("one.jsonl");
    fs::write(&path, record.replace('\n', " ")).unwrap();
    let out = command(&dir).arg("replay").arg(&path).output().unwrap();
    assert!(out.status.success());
    insta::assert_snapshot!(said(&out), @"
    warning: step 1: `rewards`: 2 of 4 values are NaN or infinite and are left out; later ones are counted, and told of at the end
    warning: step 1: `reward_components/a`: 1 of 4 values are NaN or infinite and are left out; later ones are counted, and told of at the end
    1 step, 1 rank, 4 completions, 0 tokens, 1 row
    engine's own time per step: median _ ms, p99 _ ms
    rows to runs.db, run `one`
    NaN and infinities, left out and counted:
      family               used  absent  nonfinite  first at step
      reward_components/a     2       1          1              1
      rewards                 2       0          2              1
    ");
}

#[test]
fn every_record_of_a_step_is_counted_against_the_range_of_its_ruling_snapshot() {
    let dir = folder();
    let record = |rank: u32, weighting: &str| {
        format!(
            r#"{{"step": 1, "rank": {rank}, "world_size": 3, {weighting} "batch": {{"group_sizes": [1], "rewards": [1],
            "advantages": [1], "completion_lengths": [2], "old_token_logps": [0, 0], "token_logps": [0.3, 0.6]}}}}"#
        )
        .replace('\n', " ")
    };
    let lines = [
        record(0, ""),
        record(1, r#""weighting": {"clip_range_high": 0.5},"#),
        record(2, r#""weighting": {"clip_range_high": 0.1},"#),
    ];
    let path = dir.path().join("three.jsonl");
    fs::write(&path, lines.join("\n")).unwrap();
    let replayed = |scope| {
        let out = command(&dir)
            .arg("replay")
            .arg(&path)
            .args(["--dialect", "trl", "--jsonl", "-", "--scope", scope])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", said(&out));
        rows(&out.stdout)[0]["metrics"]["clip_ratio/high_mean"].as_f64()
    };
    // e^0.3 = 1.35 lies within 1.5, e^0.6 = 1.82 does not.
    assert_eq!(replayed("global"), Some(0.5));
    // Rank 0 has no snapshot: both lie beyond 1.2.
    assert_eq!(replayed("local"), Some(1.0));
}

#[test]
fn quiet_says_nothing_but_errors() {
    let dir = folder();
    replay(&dir, TWO_RANKS, &["--quiet"]);
    let out = replay(&dir, TWO_RANKS, &["--quiet"]);
    assert!(out.status.success());
    assert!(out.stderr.is_empty() && out.stdout.is_empty());
    let out = replay(&dir, "bad/broken_json.jsonl", &["-q"]);
    assert_eq!(said(&out).lines().count(), 1);
}

#[test]
fn a_reader_that_goes_away_ends_it_without_a_word() {
    let dir = folder();
    let started = |args: &[&str]| {
        let mut child = std::process::Command::new(crate::grpo_metrics())
            .current_dir(&dir)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        child.wait_with_output().unwrap()
    };
    let recording = data(TWO_RANKS);
    let recording = recording.to_str().unwrap();
    for args in [
        &["replay", recording, "--jsonl", "-"][..],
        &["keys"],
        &["keys", "--json"],
    ] {
        let out = started(args);
        assert_eq!(out.status.code(), Some(0), "{args:?}");
        assert_eq!(text(&out.stderr), "", "{args:?}");
    }
    // Another output goes on.
    let out = started(&["replay", recording, "--jsonl", "-", "--store", "runs.db"]);
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(stored(&dir, "trl-2rank").0.len(), 24);
}

#[test]
fn an_output_that_cannot_be_written_is_another_exit_code() {
    let dir = folder();
    fs::write(
        dir.path().join("text.db"),
        "this is not a database, but long enough to be one".repeat(20),
    )
    .unwrap();
    // That is the name of a store which is none.
    let out = replay(&dir, TWO_RANKS, &["--store", "text.db"]);
    assert_eq!(out.status.code(), Some(2));
    insta::assert_snapshot!(said(&out), @"error: text.db: expected a store of runs, found a file that is no SQLite database");
    let out = replay(&dir, TWO_RANKS, &["--jsonl", "no/such/folder.jsonl"]);
    assert_eq!(out.status.code(), Some(1));
    #[cfg(target_os = "linux")]
    {
        let full = ["--jsonl", "/dev/full", "--store", "runs.db"];
        let out = replay(&dir, TWO_RANKS, &full);
        assert_eq!(out.status.code(), Some(1));
        insta::assert_snapshot!(said(&out), @"
        24 steps, 2 ranks, 768 completions, 11240 tokens, 24 rows
        engine's own time per step: median _ ms, p99 _ ms
        rows to runs.db, run `trl-2rank`
        error: /dev/full has 0 of 1 rows: jsonl: could not write to /dev/full: No space left on device (os error 28)
        ");
        assert_eq!(stored(&dir, "trl-2rank").0.len(), 24);
    }
}

#[test]
fn keys_are_listed_by_dialect() {
    let out = command(&folder()).arg("keys").output().unwrap();
    let all = text(&out.stdout);
    for dialect in Dialect::ALL {
        let heading = format!("{dialect} ({} keys)", dialect.lines().count());
        let own = all.lines().skip_while(|line| *line != heading).skip(1);
        // Two dialects may have one key, and mean two numbers by it.
        let own: Vec<&str> = own.take_while(|line| !line.ends_with(" keys)")).collect();
        for line in dialect.lines() {
            let mut listed = own.iter();
            let listed = listed.find(|l| l.starts_with(&format!("{} ", line.key)));
            assert!(
                listed.is_some_and(|l| l.ends_with(&*line.meaning_in(Retain::Exact))),
                "{}",
                line.key
            );
        }
    }
    let out = command(&folder())
        .args(["keys", "--dialect", "trl"])
        .output()
        .unwrap();
    insta::assert_snapshot!(text(&out.stdout), @"
    trl (33 keys)
    key                                      unit    reduction  meaning
    loss                                     nats    declared   loss as reported
    grad_norm                                1       declared   gradient norm as reported
    learning_rate                            1       declared   learning rate as reported (averaged window: the last)
    num_tokens                               tokens  declared   prompt and completion tokens seen so far (averaged window: the last)
    completions/mean_length                  tokens  mean       mean completion length
    completions/min_length                   tokens  min        shortest completion
    completions/max_length                   tokens  max        longest completion
    completions/clipped_ratio                share   share      completions that did not end by themselves
    completions/mean_terminated_length       tokens  mean       mean length of completions that ended by themselves; 0 if none did
    completions/min_terminated_length        tokens  min        shortest of them; 0 if there are none
    completions/max_terminated_length        tokens  max        longest of them; 0 if there are none
    tools/call_frequency                     calls   mean       mean tool calls of a completion
    tools/failure_frequency                  share   share      tool calls that fail, over all of them; 0 of none
    rewards/{name}/mean                      reward  mean       mean of the component where it applies
    rewards/{name}/std                       reward  std        sample standard deviation of the component
    reward                                   reward  mean       mean reward
    reward_std                               reward  std        sample standard deviation of rewards
    frac_reward_zero_std                     share   share      completions whose group's rewards (the step's, by batch) have a sample std within 1e-8 of 0
    kl                                       nats    mean       k3 to the reference per token, weighted by the ratio to the behaviour policy (kl_bias_correction)
    entropy                                  nats    mean       mean policy entropy per token
    clip_ratio/low_mean                      share   share      tokens (by sequence: completions) with a ratio below 1 - eps_low and a negative advantage
    clip_ratio/low_min                       share   min        lowest such share of any completion
    clip_ratio/high_mean                     share   share      tokens (by sequence: completions) with a ratio above 1 + eps_high and a positive advantage
    clip_ratio/high_max                      share   max        highest such share of any completion
    clip_ratio/region_mean                   share   share      tokens (by sequence: completions) clipped on either side
    cispo_clip_ratio                         share   share      under the loss cispo: tokens (by sequence: completions) with a ratio above eps_high itself, where TRL caps it, and a positive advantage
    sampling/sampling_logp_difference/mean   nats    mean       mean distance of trainer's and sampler's log-probabilities
    sampling/sampling_logp_difference/max    nats    max        largest distance of any token
    sampling/importance_sampling_ratio/min   1       min        smallest ratio of trainer's to sampler's probability, capped (is_ratio_cap)
    sampling/importance_sampling_ratio/mean  1       mean       mean ratio over tokens, capped
    sampling/importance_sampling_ratio/max   1       max        largest ratio of any token, capped
    epoch                                    epochs  declared   epoch as reported (averaged window: the last)
    step_time                                s       declared   time of the step as reported

    every dialect, texts of the run (6 keys)
    key                 unit  reduction   meaning
    run/git_sha         text  once a run  commit of the training's code
    run/recipe_path     text  once a run  file that the training was configured by
    run/method_name     text  once a run  name of the training method
    run/method_family   text  once a run  family of methods that it belongs to
    run/method_backend  text  once a run  trainer that ran it
    run/method_slug     text  once a run  short name of the method, as in file names
    ");
}

#[test]
fn keys_as_json_are_one_array() {
    let out = command(&folder())
        .args(["keys", "--json"])
        .output()
        .unwrap();
    let keys: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    let expected: usize = Dialect::ALL.iter().map(|d| d.lines().count()).sum();
    assert_eq!(keys.len(), expected + RUN_KEYS.len());
    let reward = keys
        .iter()
        .find(|key| key["key"] == "train/reward")
        .unwrap();
    insta::assert_snapshot!(reward, @r#"{"dialect":"maxent","key":"train/reward","meaning":"mean reward","reduction":"mean","unit":"reward","window":"mean"}"#);
    let run: Vec<_> = keys.iter().filter(|key| key["dialect"].is_null()).collect();
    assert_eq!(run.len(), RUN_KEYS.len());
}
