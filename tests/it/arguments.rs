//! What the command is given by mistake: it is told by name, with what was expected, and nothing is stored for it.
#![cfg(feature = "cli")]

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use grpo_metrics::store::{Split, Sqlite, Store};
use tempfile::TempDir;

fn recording() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/data/recordings/trl-2rank")
}

/// A folder, in which the command is called by mistake.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A scene with one file.
    fn with(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let scene = Self::new();
        fs::write(scene.path(name), bytes).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = assert_cmd::Command::new(crate::grpo_metrics());
        command
            .current_dir(&self.0)
            .env_remove("GRPO_METRICS_STORE")
            .env_remove("MAXENT_WANDB_METRICS_MODE")
            .env_remove("MAXENT_METRICS_MODE");
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// `replay` of a good recording.
    fn replay(&self, args: &[&str]) -> Output {
        let mut command = self.command();
        command.arg("replay").arg(recording()).args(args);
        command.output().unwrap()
    }

    /// Whether the call was refused with this in its message, and nothing was made.
    #[track_caller]
    fn refused(&self, output: &Output, message: &str) {
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(message), "{said}");
        assert!(!self.path("runs.db").exists());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn rows_every_0_or_fewer_steps_are_refused() {
    let scene = Scene::new();
    for found in ["0", "-1"] {
        let message =
            format!("`logging_steps`: expected a whole number, at least 1, found {found}");
        scene.refused(&scene.replay(&["--every", found]), &message);
    }
}

#[test]
fn a_limit_below_0_is_refused_by_its_name() {
    let scene = Scene::new();
    let out = scene.replay(&["--extended", "--limit", "kl=-1"]);
    scene.refused(&out, "`limits.kl`: expected a number, at least 0, found -1");
}

#[test]
fn a_success_that_no_record_has_is_refused_with_the_components_that_there_are() {
    let scene = Scene::new();
    let out = scene.replay(&["--extended", "--success", "acuracy"]);
    scene.refused(
        &out,
        "`success`: unknown reward component `acuracy`; did you mean `accuracy`? (there are `accuracy`, `brevity`, `digits`)",
    );
    // One that a later step brings is none.
    let record = |step, components| {
        format!(
            r#"{{"step": {step}, "rank": 0, "world_size": 1, "batch": {{"rewards": [1.0, 0.0], "group_sizes": [2]{components}}}}}"#
        )
    };
    let later = record(2, r#", "reward_components": {"solved": [1.0, 0.0]}"#);
    fs::write(scene.path("r.jsonl"), record(1, "") + "\n" + &later).unwrap();
    let args = [
        "replay",
        "r.jsonl",
        "--jsonl",
        "-",
        "--extended",
        "--success",
    ];
    let out = scene.call(&[&args[..], &["solved"]].concat());
    assert!(
        text(&out.stdout).contains("pass@1"),
        "{}",
        text(&out.stderr)
    );
    let out = scene.call(&[&args[..], &["nosuch"]].concat());
    scene.refused(
        &out,
        "unknown reward component `nosuch` (there is only `solved`)",
    );
}

#[test]
fn a_fold_of_a_key_that_has_its_own_is_refused() {
    let scene = Scene::new();
    for key in ["grad_norm", "train/kl", "train/rewards/accuracy/mean"] {
        let out = scene.replay(&["--fold", &format!("{key}=max")]);
        let message = format!("expected a metric of your own, found `{key}`, whose fold is given");
        scene.refused(&out, &message);
    }
}

#[test]
fn a_mode_that_there_is_not_names_the_variable_that_it_stands_in() {
    let scene = Scene::new();
    let mut command = scene.command();
    command.arg("replay").arg(recording());
    let out = command.env("MAXENT_METRICS_MODE", "fat").output().unwrap();
    scene.refused(
        &out,
        "the environment's `MAXENT_METRICS_MODE`: expected a mode",
    );
}

#[test]
fn a_file_that_is_no_recording_is_called_what_it_is() {
    for (bytes, message) in [
        (&b"\x89PNG\r\n\x1a\n\0\0"[..], "found a picture (PNG)"),
        (b"SQLite format 3\0", "found an SQLite database"),
        (b"\0\0\0\0\n", "found bytes that are no text"),
        (b"{\"step\": 1, \"loss\": NaN}\n", "`grpo-metrics forward`"),
        (
            b"{\"step\": 1, \"metrics\": {\"a\": 1}}\n",
            "`grpo-metrics forward`",
        ),
    ] {
        let scene = Scene::with("it.jsonl", bytes);
        let out = scene.call(&["replay", "it.jsonl"]);
        scene.refused(&out, "it.jsonl, line 1");
        scene.refused(&out, message);
    }
}

#[test]
fn a_run_without_a_name_is_refused_by_every_verb_that_writes_one() {
    let scene = Scene::with("metrics.jsonl", b"{\"step\": 1, \"loss\": 0.5}\n");
    let message = "expected the name of a run, found nothing";
    for name in ["", " "] {
        scene.refused(&scene.replay(&["--run", name]), message);
        scene.refused(&scene.call(&["forward", ".", "--run", name]), message);
        let deliver = ["deliver", ".", "--store", "runs.db", "--run", name];
        scene.refused(&scene.call(&deliver), message);
    }
}

#[test]
fn a_training_that_is_not_there_leaves_no_store_and_no_run() {
    let scene = Scene::with("file", "");
    fs::create_dir(scene.path("empty")).unwrap();
    for (folder, found) in [
        ("nowhere", "found no such folder"),
        ("empty", "found none"),
        ("file", "found a file in the place of the folder"),
    ] {
        let out = scene.call(&["forward", folder, "--run", "r"]);
        scene.refused(&out, found);
    }
}

#[test]
fn a_follower_makes_no_store_while_the_training_is_not_there() {
    let scene = Scene::new();
    let mut follower = std::process::Command::new(crate::grpo_metrics())
        .args([
            "forward", "later", "--run", "r", "--store", "runs.db", "--follow",
        ])
        .current_dir(&scene.0)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 20];
    let mut stderr = follower.stderr.take().unwrap();
    stderr.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"note: waiting for me");
    assert!(!scene.path("runs.db").exists());
    fs::create_dir(scene.path("later")).unwrap();
    fs::write(
        scene.path("later/metrics.jsonl"),
        "{\"step\": 1, \"loss\": 0.5}\n",
    )
    .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let stored = || {
        let store = Sqlite::open_read_only(scene.path("runs.db")).ok()?;
        let metrics = store.get_metrics("r", None, None).ok()?;
        (!metrics.is_empty()).then_some(metrics)
    };
    while stored().is_none() {
        assert!(Instant::now() < deadline, "nothing was forwarded");
        thread::sleep(Duration::from_millis(20));
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn an_empty_file_is_not_turned_into_a_store() {
    let scene = Scene::with("notes.txt", "");
    fs::write(
        scene.path("metrics.jsonl"),
        "{\"step\": 1, \"loss\": 0.5}\n",
    )
    .unwrap();
    let message = "notes.txt: expected a store of runs, found an empty file";
    scene.refused(&scene.replay(&["--store", "notes.txt"]), message);
    let forward = ["forward", ".", "--run", "r", "--store", "notes.txt"];
    scene.refused(&scene.call(&forward), message);
    assert_eq!(fs::read(scene.path("notes.txt")).unwrap(), b"");
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let scene = Scene::new();
    let into = |place: &str| format!("{place}a/b/it");
    for (flag, place, message) in [
        (
            "--store",
            "",
            "a/b/it: could not open: there is no folder a/b",
        ),
        (
            "--jsonl",
            "",
            "could not open a/b/it: there is no folder a/b",
        ),
        (
            "--sink",
            "csv:",
            "could not open a/b/it: there is no folder a/b",
        ),
    ] {
        let out = scene.replay(&[flag, &into(place)]);
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains(message), "{said}");
        assert!(!scene.path("a").exists() && !scene.path("runs.db").exists());
    }
}

#[test]
fn no_message_has_a_byte_that_acts_on_a_terminal() {
    // Red; the beginning of a sequence in one character; a line that writes over itself; text that runs backwards.
    const NAME: &str = "a\u{1b}[31m\u{9b}2J\r\u{202e}b";
    let scene = Scene::new();
    fs::create_dir(scene.path(NAME)).unwrap();
    let rows = r#"{"step": 1, "l\u001b[2Joss": NaN, "n\u001bote": "x"}
{"step": "\u001b"}
{"step": 2, "ok": 1}
"#;
    fs::write(scene.path(NAME).join("metrics.jsonl"), rows).unwrap();
    let file = format!("{NAME}/metrics.jsonl");
    let recording = recording();
    let recording = recording.to_str().unwrap();
    let fold = format!("{NAME}=max");
    let sink = format!("{NAME}:x");
    let calls: &[&[&str]] = &[
        &[NAME],
        &["replay", NAME],
        &["replay", "nowhere", NAME],
        &["replay", &file],
        &["replay", recording, "--jsonl", NAME],
        &["replay", recording, "--store", NAME],
        &["replay", recording, "--store", "s.db", "--run", NAME],
        &["replay", recording, "--store", "s.db", "--run", NAME],
        &["replay", recording, "--shards", "s.db"],
        &["replay", recording, "--config", NAME],
        &["replay", recording, "--fold", &fold],
        &["replay", recording, "--fold", NAME],
        &["replay", recording, "--sink", &sink],
        &["replay", recording, "--dialect", NAME],
        &["replay", recording, "--extended", "--success", NAME],
        &["forward", NAME, "--run", NAME, "--store", "s.db", "-v"],
        &[
            "forward", NAME, "--run", NAME, "--store", "s.db", "--file", NAME,
        ],
        &["deliver", NAME, "--store", "s.db"],
        &["merge", NAME],
        &["merge", &file],
        &["show", "--store", NAME],
        &["show", "--store", "s.db"],
        &["show", "--store", "s.db", NAME],
        &["show", "--store", "s.db", "nowhere\u{1b}"],
        &["show", "--store", "s.db", NAME, "--key", "\u{1b}["],
        &["keys", "--dialect", NAME],
    ];
    for args in calls {
        let mut command = scene.command();
        let out = command.env("GRPO_METRICS_STORE", NAME).args(*args);
        let out = out.output().unwrap();
        let all = text(&out.stdout) + &text(&out.stderr);
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!all.contains(acts), "{args:?}: {all:?}");
        assert!(!all.is_empty(), "{args:?}");
    }
}

#[test]
fn what_a_forward_leaves_out_is_counted_and_named() {
    let rows = concat!(
        "{\"step\": 1, \"time\": 1763700000.25, \"loss\": 0.5}\n",
        "{\"step\": 2, \"loss\": NaN, \"note\": \"x\", \"ids\": [1, 2], \"more\": {\"a\": 1}}\n",
        "{\"step\": 3, \"data\": {\"kl\": NaN, \"reward\": 1.5}}\n",
    );
    let scene = Scene::with("metrics.jsonl", rows);
    let forward = ["forward", ".", "--run", "r", "--store", "s.db"];
    let out = scene.call(&[&forward[..], &["-v"]].concat());
    insta::assert_snapshot!(text(&out.stdout), @"
    ./metrics.jsonl: sent 3, skipped 0, failed 0
    2 values were NaN, which a store leaves out (the first: line 2, step 2, `loss`; -v names each)
    3 values were left out, as no numbers of the row (the first: line 2, step 2, `ids`; -v names each)
    ");
    insta::assert_snapshot!(text(&out.stderr), @"
    line 2, step 2: `loss` is left out: NaN
    line 2, step 2: `ids` is left out: an array
    line 2, step 2: `more` is left out: an object
    line 2, step 2: `note` is left out: a text
    line 3, step 3: `kl` is left out: NaN
    ");
    let store = Sqlite::open_read_only(scene.path("s.db")).unwrap();
    let metrics = store.get_metrics("r", None, None).unwrap();
    let names: Vec<_> = metrics.iter().map(|m| (m.step, m.name.as_str())).collect();
    assert_eq!(names, [(1, "loss"), (3, "reward")]);
    let loss = store.series("r", "loss", Split::Train).unwrap();
    assert_eq!(loss[0].time, Some(1_763_700_000_250));
}
