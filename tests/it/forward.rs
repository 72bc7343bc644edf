//! The forwarder: which file, which rows, to which split; each row once, whatever happens to the file or the store.
#![cfg(feature = "sqlite")]
#![allow(clippy::type_complexity, reason = "a test reads better so")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::faulty::{Faulty, Mood};
use assert_cmd::Command;
use grpo_metrics::forward::{
    Event, Forward, Forwarded, METRICS_FILE, Recipient, forward_step_metrics,
};
use grpo_metrics::row::Row;
use grpo_metrics::store::{Logged, RunSpec, Split, Sqlite, Store, StoreError};
use tempfile::TempDir;

/// A folder of a run, and a store that can fail.
struct Scene {
    dir: TempDir,
    store: Faulty,
}

impl Scene {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        let mut store = Sqlite::open(dir.path().join("runs.db")).unwrap();
        store.open_run(&RunSpec::new("r")).unwrap();
        Self {
            dir,
            store: Faulty::over(store),
        }
    }

    /// A scene whose metrics file has these lines.
    fn with(lines: &str) -> Self {
        let scene = Self::new();
        fs::write(scene.file(), lines).unwrap();
        scene
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn file(&self) -> PathBuf {
        self.run_dir().join(METRICS_FILE)
    }

    fn append(&self, text: &str) {
        append(&self.file(), text);
    }

    fn mood(&self, mood: Mood) {
        *self.store.mood.lock().unwrap() = mood;
    }

    fn options(&self) -> Forward {
        Forward::new(self.run_dir(), "store", "r")
    }

    fn forward(&mut self) -> Forwarded {
        self.forward_seen().0
    }

    /// What became of it, and what was seen on the way but for the progress.
    fn forward_seen(&mut self) -> (Forwarded, Vec<String>) {
        let mut seen = Vec::new();
        let options = self.options();
        let done = options
            .once(&mut self.store, &mut |event| {
                seen.extend(said(&event));
            })
            .unwrap();
        (done, seen)
    }

    /// Sent, skipped, failed.
    fn counts(&mut self) -> (u64, u64, u64) {
        let done = self.forward();
        (done.sent, done.skipped, done.failed)
    }

    fn stored(&self) -> Vec<(u64, String, f64, Split)> {
        let metrics = self.store.get_metrics("r", None, None).unwrap();
        metrics
            .into_iter()
            .map(|m| (m.step, m.name, m.value, m.split))
            .collect()
    }

    fn steps(&self) -> Vec<u64> {
        self.stored().iter().map(|row| row.0).collect()
    }

    /// The calls of the store since this was last asked.
    fn calls(&self) -> Vec<(Vec<u64>, Split)> {
        std::mem::take(&mut *self.store.calls.lock().unwrap())
    }
}

fn append(path: &Path, text: &str) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn said(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Skipped { line, reason } => Some(format!("{line}: {reason}")),
        Event::Failed { line, error } => Some(format!("{line}: {error}")),
        Event::LeftOut {
            line,
            step,
            key,
            found,
        } => Some(format!("{line}: step {step}: {key} is {found}")),
        Event::Restarted { .. } => Some("restarted".to_owned()),
        Event::Forgot { .. } => Some("forgot".to_owned()),
        Event::Gone { .. } => Some("gone".to_owned()),
        Event::Progress { .. } => None,
    }
}

fn row(step: u64) -> String {
    format!("{{\"ts\": 1.0, \"step\": {step}, \"metrics\": {{\"loss\": 0.5}}}}\n")
}

fn rows(steps: std::ops::RangeInclusive<u64>) -> String {
    steps.map(row).collect()
}

#[test]
fn both_shapes_go_out_and_val_keys_as_a_second_call() {
    let mut scene = Scene::with(concat!(
        "{\"ts\": 1700000000.0, \"step\": 50, \"metrics\": {\"loss\": 0.42, \"val/acc\": 0.5}}\n",
        "{\"step\": 51, \"epoch\": 0, \"progress\": 0.5, \"train_mean_nll\": 0.25, \"ok\": true}\n",
        "{\"step\": 52, \"val/acc\": 0.75}\n",
    ));
    assert_eq!(scene.counts(), (4, 0, 0));
    let metric = |step, name: &str, value, split| (step, name.to_owned(), value, split);
    assert_eq!(
        scene.stored(),
        [
            metric(50, "loss", 0.42, Split::Train),
            metric(50, "val/acc", 0.5, Split::Val),
            metric(51, "ok", 1.0, Split::Train),
            metric(51, "train_mean_nll", 0.25, Split::Train),
            metric(52, "val/acc", 0.75, Split::Val),
        ]
    );
    let calls = [
        (vec![50], Split::Train),
        (vec![50], Split::Val),
        (vec![51], Split::Train),
        (vec![52], Split::Val),
    ];
    assert_eq!(scene.calls(), calls);
}

#[test]
fn what_is_no_row_is_skipped_with_its_line_and_its_reason() {
    let mut scene = Scene::with(concat!(
        "{\"step\": 1, \"loss\": 1}\n",
        "dear diary\n",
        "\n",
        "{\"loss\": 1}\n",
        "{\"step\": 2, \"metrics\": {\"note\": \"x\"}}\n",
        "\u{0}\u{ff}\n",
        "{\"step\": 3, \"loss\": NaN, \"kl\": 1}\n",
    ));
    let (done, seen) = scene.forward_seen();
    assert_eq!((done.sent, done.skipped, done.nan), (2, 4, 1));
    let lines: Vec<&str> = seen.iter().map(|said| &said[..2]).collect();
    assert_eq!(lines, ["2:", "4:", "5:", "6:", "7:"]);
    assert_eq!(seen[4], "7: step 3: loss is NaN");
    assert_eq!(seen[1], "4: expected a `step`, found none");
    assert_eq!(seen[2], "5: expected metrics, found no number");
    assert_eq!(scene.steps(), [1, 3]);
}

#[test]
fn the_file_is_in_logs_else_in_the_folder_else_the_shallowest_below() {
    let mut scene = Scene::new();
    let mut step = 0;
    for place in ["b/c/deep", "z/y", "a/y", "", "logs"] {
        let dir = scene.run_dir().join(place);
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join(METRICS_FILE);
        step += 1;
        fs::write(&path, row(step)).unwrap();
        let done = scene.forward();
        // Each place goes before those of the round before; of z/y and a/y, equally deep, the first by path.
        assert_eq!(done.file, Some(path));
        assert_eq!(done.sent, 1);
    }
    assert_eq!(scene.steps(), [1, 2, 3, 4, 5]);
}

#[test]
fn what_is_missing_sends_nothing() {
    let mut scene = Scene::with(&row(1));
    let dir = scene.run_dir();
    let forward = |store: Option<&mut dyn Recipient>, run, dir: &Path, file| {
        forward_step_metrics(store, "store", run, dir, file)
    };
    assert_eq!(forward(None, "r", &dir, METRICS_FILE), 0);
    let store = &mut scene.store;
    assert_eq!(forward(Some(&mut *store), "", &dir, METRICS_FILE), 0);
    assert_eq!(
        forward(Some(&mut *store), "r", &dir.join("no"), METRICS_FILE),
        0
    );
    assert_eq!(forward(Some(&mut *store), "r", &dir, "other.jsonl"), 0);
    assert_eq!(forward(Some(&mut *store), "r", &dir, METRICS_FILE), 1);
}

#[test]
fn a_second_forward_sends_only_what_is_new() {
    let mut scene = Scene::with(&rows(1..=5));
    assert_eq!(scene.counts(), (5, 0, 0));
    scene.calls();
    assert_eq!(scene.counts(), (0, 0, 0));
    assert_eq!(scene.calls(), []);
    scene.append(&rows(6..=7));
    assert_eq!(scene.counts(), (2, 0, 0));
    assert_eq!(scene.calls().len(), 2);
}

#[test]
fn each_store_and_run_is_remembered_by_itself() {
    let mut scene = Scene::with(&rows(1..=2));
    scene.store.inner.open_run(&RunSpec::new("s")).unwrap();
    let dir = scene.run_dir();
    for (store, run, sent) in [
        ("a", "r", 2),
        ("b", "r", 2),
        ("a", "s", 2),
        ("a", "r", 0),
        ("b", "r", 0),
        ("a", "s", 0),
    ] {
        let forward = Forward::new(&dir, store, run);
        let done = forward.once(&mut scene.store, &mut |_| ()).unwrap();
        assert_eq!(done.sent, sent, "{store} {run}");
    }
}

#[test]
fn half_a_line_waits_for_its_other_half() {
    let mut scene = Scene::with(&rows(1..=1));
    scene.append("{\"step\": 2, \"lo");
    let first = scene.forward();
    assert_eq!((first.sent, first.skipped, first.torn), (1, 0, true));
    scene.append("ss\": 1}");
    let second = scene.forward();
    assert_eq!((second.sent, second.skipped, second.torn), (1, 0, false));
    // Its line break comes later, and is no row.
    scene.append("\n");
    scene.append(&row(3));
    assert_eq!(scene.counts(), (1, 0, 0));
    assert_eq!(scene.steps(), [1, 2, 3]);
}

#[test]
fn a_row_that_the_store_refuses_does_not_stop_the_rest_and_is_sent_again() {
    let mut scene = Scene::with(&rows(1..=4));
    scene.mood(Mood::NotStep(2));
    let (done, seen) = scene.forward_seen();
    assert_eq!((done.sent, done.failed), (3, 1));
    assert_eq!(seen, ["2: the server: could not be reached: away"]);
    // Still refused: still kept.
    assert_eq!(scene.counts(), (0, 0, 1));
    scene.mood(Mood::Fine);
    scene.append(&row(5));
    assert_eq!(scene.counts(), (2, 0, 0));
    assert_eq!(scene.steps(), [1, 2, 3, 4, 5]);
    scene.calls();
    assert_eq!(scene.counts(), (0, 0, 0));
    assert_eq!(scene.calls(), []);
}

#[test]
fn what_failed_is_kept_though_the_file_is_gone() {
    let mut scene =
        Scene::with("{\"step\": 1, \"a\": \"Infinity\", \"b\": 0.1, \"val/c\": -0.5}\n");
    scene.mood(Mood::Away);
    assert_eq!(scene.counts(), (0, 0, 2));
    fs::write(scene.file(), "").unwrap();
    scene.mood(Mood::Fine);
    assert_eq!(scene.counts(), (2, 0, 0));
    let values: Vec<f64> = scene.stored().iter().map(|row| row.2).collect();
    assert_eq!(values, [f64::INFINITY, 0.1, -0.5]);
}

#[test]
fn a_batch_goes_out_together_and_one_by_one_if_it_is_refused() {
    let mut scene = Scene::with(&rows(1..=5));
    scene.mood(Mood::NotStep(4));
    let options = scene.options().batch(3);
    let done = options.once(&mut scene.store, &mut |_| ()).unwrap();
    assert_eq!((done.sent, done.failed), (4, 1));
    let steps: Vec<Vec<u64>> = scene.calls().into_iter().map(|call| call.0).collect();
    assert_eq!(steps, [vec![1, 2, 3], vec![4, 5], vec![4], vec![5]]);
    assert_eq!(scene.steps(), [1, 2, 3, 5]);
}

#[test]
fn a_file_that_was_cut_or_written_anew_is_read_from_its_start() {
    let mut scene = Scene::with(&rows(1..=5));
    scene.forward();
    fs::write(scene.file(), rows(11..=12)).unwrap();
    let (done, seen) = scene.forward_seen();
    assert_eq!((done.sent, done.gone), (2, 1));
    assert_eq!(seen, ["gone", "restarted"]);
    // As long as what was read, and other rows.
    fs::write(scene.file(), rows(21..=29)).unwrap();
    assert_eq!(scene.counts(), (9, 0, 0));
}

#[test]
fn a_file_that_was_copied_to_its_place_is_the_same() {
    let mut scene = Scene::with(&rows(1..=500));
    scene.forward();
    let copy = scene.run_dir().join("copy");
    fs::copy(scene.file(), &copy).unwrap();
    append(&copy, &row(501));
    fs::rename(&copy, scene.file()).unwrap();
    assert_eq!(scene.counts(), (1, 0, 0));
}

#[cfg(unix)]
#[test]
fn the_rest_of_a_file_that_was_moved_aside_is_sent_first() {
    let mut scene = Scene::with(&rows(1..=3));
    scene.forward();
    scene.append(&rows(4..=5));
    scene.append("{\"step\": 6, \"lo");
    fs::rename(scene.file(), scene.run_dir().join("metrics.jsonl.1")).unwrap();
    scene.append(&rows(7..=8));
    scene.calls();
    assert_eq!(scene.counts(), (4, 1, 0));
    let steps: Vec<u64> = scene.calls().into_iter().flat_map(|call| call.0).collect();
    assert_eq!(steps, [4, 5, 7, 8]);
    assert_eq!(scene.counts(), (0, 0, 0));
}

#[test]
fn a_state_that_does_not_read_is_set_aside_and_the_file_is_read_from_its_start() {
    let mut scene = Scene::with(&rows(1..=2));
    scene.forward();
    let state = |kind: &str| {
        let mut entries = fs::read_dir(scene.run_dir()).unwrap();
        let path = entries.find_map(|entry| {
            let path = entry.unwrap().path();
            path.to_string_lossy().ends_with(kind).then_some(path)
        });
        path.unwrap()
    };
    let path = state(".forwarded.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"store\":\"store\",\"run\":\"r\""), "{text}");
    for damage in ["{", "", "[1]", &"9".repeat(2 << 20)] {
        fs::write(&path, damage).unwrap();
        let (done, seen) = scene.forward_seen();
        assert_eq!((done.sent, seen), (2, vec!["forgot".to_owned()]));
        let aside = fs::read_to_string(path.with_extension("json.damaged")).unwrap();
        assert_eq!(aside, damage);
        assert_eq!(scene.counts(), (0, 0, 0));
    }
    assert_eq!(scene.steps(), [1, 2]);
}

#[test]
fn a_recipient_that_is_over_is_handed_no_more_and_the_rest_is_for_the_next_forward() {
    /// Takes so many rows.
    struct Tired(Vec<u64>, usize);
    impl Recipient for Tired {
        fn log_rows(&mut self, _: &str, rows: &[Row], _: Split) -> Result<Logged, StoreError> {
            self.0.extend(rows.iter().map(|row| row.step));
            Ok(Logged::default())
        }

        fn is_over(&self) -> bool {
            self.0.len() >= self.1
        }
    }
    let scene = Scene::with(&rows(1..=5));
    let mut sent = Vec::new();
    for most in [2, 1, 9] {
        let mut tired = Tired(Vec::new(), most);
        let done = scene.options().once(&mut tired, &mut |_| ()).unwrap();
        assert_eq!(done.sent, tired.0.len() as u64);
        sent.push(tired.0);
    }
    assert_eq!(sent, [vec![1, 2], vec![3], vec![4, 5]]);
}

#[test]
fn a_line_that_is_longer_than_any_row_is_skipped() {
    let mut scene = Scene::with(&row(1));
    scene.append(&format!(
        "{{\"step\": 2, \"note\": \"{}\"}}\n",
        "x".repeat(17 << 20)
    ));
    scene.append(&row(3));
    assert_eq!(scene.counts(), (2, 1, 0));
}

/// Something that happens to the file.
type Act<'a> = Box<dyn FnOnce(&Path) + 'a>;

/// Follows while `acts` happen to the file, one after each look.
fn follow(scene: &mut Scene, acts: Vec<Act<'_>>) -> (Forwarded, Vec<String>) {
    let path = scene.file();
    let options = scene.options();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut acts = acts.into_iter();
    // After the last act there are two more looks.
    let mut left = 3;
    let done = options
        .follow(
            &mut scene.store,
            Duration::from_millis(1),
            &mut |event| seen.lock().unwrap().extend(said(&event)),
            &mut || {
                match acts.next() {
                    Some(act) => act(&path),
                    None => left -= 1,
                }
                left == 0
            },
        )
        .unwrap();
    let seen = seen.lock().unwrap().clone();
    (done, seen)
}

#[test]
fn a_follower_waits_for_the_file_and_sends_what_is_appended() {
    let mut scene = Scene::new();
    let (done, seen) = follow(
        &mut scene,
        vec![
            Box::new(|_| ()),
            Box::new(|path| append(path, &rows(1..=2))),
            Box::new(|path| append(path, "{\"step\": 3, ")),
            Box::new(|path| append(path, "\"loss\": 1}\n")),
        ],
    );
    assert_eq!((done.sent, done.skipped, seen.len()), (3, 0, 0));
    assert_eq!(scene.steps(), [1, 2, 3]);
}

#[cfg(unix)]
#[test]
fn a_follower_goes_through_rotation() {
    let mut scene = Scene::with(&rows(1..=2));
    let aside = scene.run_dir().join("metrics.jsonl.1");
    let other = aside.clone();
    let (done, seen) = follow(
        &mut scene,
        vec![
            Box::new(|path| append(path, &row(3))),
            // Moved aside, with more rows on the way and no new file yet.
            Box::new(move |path| {
                append(path, &row(4));
                fs::rename(path, &other).unwrap();
            }),
            Box::new(move |path| {
                append(&aside, &row(5));
                append(path, &row(6));
            }),
            Box::new(|path| append(path, &row(7))),
            Box::new(|_| ()),
        ],
    );
    assert_eq!((done.sent, done.skipped), (7, 0));
    assert_eq!(seen, ["restarted"]);
    assert_eq!(scene.steps(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(scene.counts(), (0, 0, 0));
}

#[test]
fn a_follower_goes_through_truncation() {
    let mut scene = Scene::with(&rows(1..=3));
    let (done, seen) = follow(
        &mut scene,
        vec![
            // Shorter than what was read, then longer: only its content tells.
            Box::new(|path| fs::write(path, row(11)).unwrap()),
            Box::new(|path| fs::write(path, rows(21..=25)).unwrap()),
        ],
    );
    assert_eq!(done.sent, 3 + 1 + 5);
    // What else was written before each cut, nobody knows.
    assert_eq!(seen, ["gone", "restarted", "gone", "restarted"]);
}

/// What transformers' `TrainerState.save_to_json` wrote.
fn state() -> String {
    fs::read_to_string("tests/data/trainers/trl-state/trainer_state.json").unwrap()
}

#[test]
fn the_rows_of_a_trainer_s_state_go_out_as_they_were_logged() {
    let mut scene = Scene::with(&state());
    let (done, seen) = scene.forward_seen();
    assert_eq!((done.sent, done.skipped, done.failed), (5, 0, 0));
    assert_eq!(seen, ["2: step 2: kl is NaN"]);
    let logged: serde_json::Value = serde_json::from_str(&state().replace("NaN", "null")).unwrap();
    let mut expected = 0;
    let stored = scene.stored();
    for row in logged["log_history"].as_array().unwrap() {
        for (key, value) in row.as_object().unwrap() {
            let Some(value) = value.as_f64().filter(|_| key != "step" && key != "epoch") else {
                continue;
            };
            let found = (
                row["step"].as_u64().unwrap(),
                key.clone(),
                value,
                Split::Train,
            );
            assert!(stored.contains(&found), "{found:?}");
            expected += 1;
        }
    }
    assert_eq!(stored.len(), expected);
    assert_eq!(scene.counts(), (0, 0, 0));
    // The list by itself, as Python writes it.
    let list = serde_json::to_string(&logged["log_history"]).unwrap();
    assert_eq!(Scene::with(&list).counts(), (5, 0, 0));
}

#[test]
fn of_a_state_that_is_written_anew_the_rows_that_it_has_more_are_sent() {
    let whole = state();
    let end = whole.find("\"eval_reward\"").unwrap();
    let end = whole[..end].rfind('{').unwrap();
    let earlier = whole[..end].trim_end().trim_end_matches(',').to_owned() + "]}";
    let half = &whole[..end + 40];
    let mut scene = Scene::with(half);
    let (done, seen) = follow(
        &mut scene,
        vec![
            // Half of it had been written.
            Box::new(|path| fs::write(path, &earlier).unwrap()),
            Box::new(|_| ()),
            Box::new(|path| fs::write(path, half).unwrap()),
            Box::new(|path| fs::write(path, &whole).unwrap()),
            Box::new(|_| ()),
        ],
    );
    assert_eq!((done.sent, done.skipped, done.gone), (5, 0, 0));
    assert_eq!(seen, ["restarted", "2: step 2: kl is NaN"]);
    assert_eq!(scene.counts(), (0, 0, 0));
}

fn command() -> Command {
    Command::new(crate::grpo_metrics())
}

#[test]
fn the_verb_forwards_each_row_once_and_says_how_many() {
    let scene = Scene::with(&(rows(1..=3) + "oops\n"));
    let forward = || {
        let mut command = command();
        command
            .arg("forward")
            .arg(scene.run_dir())
            .args(["--run", "new", "-v", "--store"])
            .arg(scene.dir.path().join("runs.db"));
        command.assert().success().get_output().clone()
    };
    let first = forward();
    let out = String::from_utf8(first.stdout).unwrap();
    assert!(
        out.ends_with("metrics.jsonl: sent 3, skipped 1, failed 0\n"),
        "{out}"
    );
    let err = String::from_utf8(first.stderr).unwrap();
    assert!(
        err.starts_with("line 4: skipped: expected a JSON object"),
        "{err}"
    );
    let out = String::from_utf8(forward().stdout).unwrap();
    assert!(out.ends_with("sent 0, skipped 0, failed 0\n"), "{out}");
    let metrics = scene.store.get_metrics("new", None, None).unwrap();
    assert_eq!(metrics.len(), 3);
}

#[test]
fn of_two_forwards_at_once_the_second_is_refused_and_names_the_file() {
    let scene = Scene::with("{\"step\": 1, \"a\": 1}\n");
    let forward = |run: &str, more: &[&str]| {
        let mut command = std::process::Command::new(crate::grpo_metrics());
        command.arg("forward").arg(scene.run_dir());
        command.arg("--store").arg(scene.dir.path().join("o.db"));
        command.args(["--run", run]).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let ended = |child: std::process::Child| child.wait_with_output().unwrap();
    let mut first = forward("r", &["--follow"]);
    let is_remembered = || {
        let mut files = fs::read_dir(scene.run_dir()).unwrap();
        files.any(|file| {
            file.unwrap()
                .path()
                .to_str()
                .unwrap()
                .ends_with(".forwarded.json")
        })
    };
    while !is_remembered() {
        assert!(first.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = ended(forward("r", &[]));
    let err = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(2), "{err}");
    let owner = format!("already, by process {}", first.id());
    assert!(
        err.contains("metrics.jsonl: ") && err.contains(&owner),
        "{err}"
    );
    // How the run stands is the first one's to say.
    let store = Sqlite::open_read_only(scene.dir.path().join("o.db")).unwrap();
    let run = Store::get_run(&store, "r").unwrap();
    assert_eq!(run.status, grpo_metrics::store::Status::Running);
    // For another run nobody is in the way, and after a kill nobody is either.
    assert_eq!(ended(forward("other", &[])).status.code(), Some(0));
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(ended(forward("r", &[])).status.code(), Some(0));
}

#[test]
fn a_forward_in_the_same_process_is_refused_while_another_sends() {
    let scene = Scene::with("{\"step\": 1, \"a\": 1}\n");
    let options = Forward::new(scene.run_dir(), "s", "r");
    let mut store = Sqlite::open(scene.dir.path().join("o.db")).unwrap();
    store.open_run(&RunSpec::new("r")).unwrap();
    let mut other = Sqlite::open(scene.dir.path().join("p.db")).unwrap();
    other.open_run(&RunSpec::new("r")).unwrap();
    let mut refused = None;
    let mut meddle = |_: Event<'_>| {
        let outcome = options.once(&mut other, &mut |_| ());
        refused.get_or_insert(outcome.unwrap_err().to_string());
    };
    assert_eq!(options.once(&mut store, &mut meddle).unwrap().sent, 1);
    assert!(refused.unwrap().contains("being forwarded"));
    // It is free again, and all is sent.
    assert_eq!(options.once(&mut other, &mut |_| ()).unwrap().sent, 0);
}

#[test]
fn the_verb_says_what_is_missing() {
    let scene = Scene::new();
    let mut forward = command();
    let store = scene.dir.path().join("runs.db");
    forward
        .arg("forward")
        .arg(scene.run_dir())
        .args(["--run", "r", "--store"])
        .arg(store);
    let output = forward.assert().code(2).get_output().clone();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        err.contains("expected a file called `metrics.jsonl`"),
        "{err}"
    );
}

#[cfg(not(feature = "evsys"))]
#[test]
fn a_command_without_evsys_says_so() {
    let scene = Scene::with(&row(1));
    let mut forward = command();
    forward
        .arg("forward")
        .arg(scene.run_dir())
        .args(["--run", "r", "--evsys"]);
    let output = forward.assert().code(2).get_output().clone();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(err, "error: built without `evsys`\n");
}
