//! The forwarder through rotations: real renames, real `gzip`, real `logrotate`; every row once and in order, and what is
//! gone is said.
#![cfg(all(feature = "sqlite", unix))]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::faulty::{Faulty, Mood};
use grpo_metrics::forward::{Event, Forward, Forwarded, METRICS_FILE, Recipient};
use grpo_metrics::row::Row;
use grpo_metrics::store::{Logged, RunSpec, Split, Sqlite, StoreError};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use tempfile::TempDir;

/// A folder that a training writes to, and what the store is sent.
struct Scene {
    dir: Rc<TempDir>,
    store: Faulty,
    gone: Vec<String>,
    rows: fn(RangeInclusive<u64>) -> String,
}

impl Scene {
    /// After a first forward of these steps.
    fn after(steps: RangeInclusive<u64>) -> Self {
        let mut scene = Self::empty();
        scene.write(steps.clone());
        assert_eq!(scene.sent(), steps.collect::<Vec<_>>());
        scene
    }

    fn empty() -> Self {
        let dir = Rc::new(TempDir::new().unwrap());
        fs::create_dir(dir.path().join("run")).unwrap();
        let mut store = Sqlite::open(dir.path().join("runs.db")).unwrap();
        store.open_run(&RunSpec::new("r")).unwrap();
        Self {
            dir,
            store: Faulty::over(store),
            gone: Vec::new(),
            rows,
        }
    }

    /// Another on the same files, for who writes them while a follower has this one.
    fn apart(self) -> (Self, Self) {
        let store = Sqlite::open(self.dir.path().join("other.db")).unwrap();
        let other = Self {
            dir: Rc::clone(&self.dir),
            store: Faulty::over(store),
            gone: Vec::new(),
            rows: self.rows,
        };
        (self, other)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("run").join(name)
    }

    /// Appends rows to the metrics file.
    fn write(&self, steps: RangeInclusive<u64>) {
        append(&self.path(METRICS_FILE), &(self.rows)(steps));
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// As logrotate does by default: each to the next number, the one without a number first in age.
    fn rotate(&self) {
        for number in (1..9).rev() {
            for end in ["", ".gz"] {
                let from = self.path(&format!("{METRICS_FILE}.{number}{end}"));
                let to = self.path(&format!("{METRICS_FILE}.{}{end}", number + 1));
                if from.exists() {
                    fs::rename(from, to).unwrap();
                }
            }
        }
        self.rename(METRICS_FILE, "metrics.jsonl.1");
    }

    fn gzip(&self, name: &str) {
        let done = Command::new("gzip").arg(self.path(name)).status().unwrap();
        assert!(done.success());
    }

    /// Packs a file into one that is written now, as `gzip --stdout x > x.gz; rm x` does.
    fn pack(&self, name: &str, more: &[&str]) {
        let packed = Command::new("gzip")
            .arg("--stdout")
            .args(more)
            .arg(self.path(name))
            .output()
            .unwrap();
        assert!(packed.status.success());
        let path = self.path(&format!("{name}.gz"));
        fs::write(&path, packed.stdout).unwrap();
        // Whatever the clock of the file system ticks in.
        let later = SystemTime::now() + Duration::from_secs(5);
        File::open(path).unwrap().set_modified(later).unwrap();
        fs::remove_file(self.path(name)).unwrap();
    }

    fn options(&self) -> Forward {
        Forward::new(self.path(""), "store", "r")
    }

    fn forward(&mut self) -> Forwarded {
        let options = self.options();
        let gone = &mut self.gone;
        let mut observe = |event: Event<'_>| gone.extend(said(&event));
        options.once(&mut self.store, &mut observe).unwrap()
    }

    /// The steps that a forward sends, in order.
    fn sent(&mut self) -> Vec<u64> {
        self.forward();
        self.calls()
    }

    fn calls(&self) -> Vec<u64> {
        let calls = std::mem::take(&mut *self.store.calls.lock().unwrap());
        calls.into_iter().flat_map(|(steps, _)| steps).collect()
    }
}

fn said(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Gone { path, line, why } => {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some(format!("{name} after line {line}: {why}"))
        }
        _ => None,
    }
}

fn append(path: &Path, text: &str) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn rows(steps: RangeInclusive<u64>) -> String {
    let row = |step| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = now.as_secs_f64();
        format!("{{\"ts\": {now}, \"step\": {step}, \"metrics\": {{\"loss\": 0.5}}}}\n")
    };
    steps.map(row).collect()
}

/// That do not say when they were written.
fn timeless_rows(steps: RangeInclusive<u64>) -> String {
    let row = |step| format!("{{\"step\": {step}, \"loss\": 0.5}}\n");
    steps.map(row).collect()
}

fn steps(steps: RangeInclusive<u64>) -> Vec<u64> {
    steps.collect()
}

#[test]
fn a_file_that_is_rotated_after_a_forward_died_in_its_first_rows_is_sent_whole() {
    let mut scene = Scene::empty();
    scene.write(1..=10);
    *scene.store.mood.lock().unwrap() = Mood::Panics;
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene.sent()));
    assert!(died.is_err());
    *scene.store.mood.lock().unwrap() = Mood::Fine;
    scene.rename(METRICS_FILE, "metrics.jsonl.1");
    scene.write(11..=12);
    scene.store.calls.lock().unwrap().clear();
    assert_eq!(scene.sent(), (1..=12).collect::<Vec<_>>());
}

/// Does something else while it takes its first rows.
struct Slow<'a> {
    store: &'a mut Faulty,
    meanwhile: Option<Box<dyn FnOnce() + Send>>,
}

impl Recipient for Slow<'_> {
    fn log_rows(&mut self, run_id: &str, rows: &[Row], split: Split) -> Result<Logged, StoreError> {
        if let Some(act) = self.meanwhile.take() {
            act();
        }
        Recipient::log_rows(self.store, run_id, rows, split)
    }
}

#[test]
fn what_is_written_and_rotated_while_the_rows_before_it_are_sent_is_not_left_behind() {
    let mut scene = Scene::empty();
    scene.write(1..=3);
    let (file, rotated) = (scene.path(METRICS_FILE), scene.path("metrics.jsonl.1"));
    let meanwhile = move || {
        append(&file, &rows(4..=6));
        fs::rename(&file, rotated).unwrap();
        append(&file, &rows(7..=8));
    };
    let options = scene.options().batch(100);
    let mut slow = Slow {
        store: &mut scene.store,
        meanwhile: Some(Box::new(meanwhile)),
    };
    options.once(&mut slow, &mut |_| ()).unwrap();
    assert_eq!(scene.calls(), steps(1..=8));
}

#[test]
fn two_rotations_between_looks_lose_nothing_and_keep_the_order() {
    let mut scene = Scene::after(1..=50);
    scene.write(51..=60);
    scene.rotate();
    scene.write(61..=160);
    scene.rotate();
    scene.write(161..=170);
    assert_eq!(scene.sent(), steps(51..=170));
    assert_eq!(scene.sent(), [0_u64; 0]);
    assert_eq!(scene.gone, [""; 0]);
}

#[test]
fn a_rotated_file_that_was_gzipped_is_read_on_from_where_it_was_left() {
    let mut scene = Scene::after(1..=50);
    scene.write(51..=100);
    scene.rotate();
    scene.gzip("metrics.jsonl.1");
    scene.write(101..=110);
    scene.rotate();
    scene.gzip("metrics.jsonl.1");
    scene.write(111..=120);
    assert_eq!(scene.sent(), steps(51..=120));
    assert_eq!(scene.sent(), [0_u64; 0]);
    assert_eq!(scene.gone, [""; 0]);
}

#[test]
fn dates_and_another_middle_are_rotated_names_too() {
    for [first, second, third] in [
        [
            "metrics.jsonl-20261119",
            "metrics.jsonl-20261120",
            "metrics.jsonl-20261121",
        ],
        [
            "metrics-20261119.jsonl",
            "metrics-20261120.jsonl",
            "metrics-20261121.jsonl",
        ],
        ["metrics.3.jsonl", "metrics.2.jsonl", "metrics.1.jsonl"],
        [
            "metrics.jsonl.2026-11-21_09",
            "metrics.jsonl.2026-11-21_10",
            "metrics.jsonl.2026-11-21_11",
        ],
        [
            "metrics.jsonl.old",
            "metrics-20261120.jsonl",
            "metrics.jsonl.1",
        ],
    ] {
        let mut scene = Scene::after(1..=5);
        // Of other files and other trainings nothing is taken.
        for other in [
            "metrics_eval.jsonl",
            "metrics.jsonl.swp",
            "other-20261121.jsonl",
            "metrics-1.csv",
        ] {
            append(&scene.path(other), &rows(900..=901));
        }
        let mut step = 5;
        for name in [first, second, third] {
            scene.write(step + 1..=step + 5);
            scene.rename(METRICS_FILE, name);
            step += 5;
        }
        scene.write(step + 1..=step + 5);
        assert_eq!(scene.sent(), steps(6..=25), "{first}");
        assert_eq!(scene.gone, [""; 0]);
    }
}

#[test]
fn what_was_there_before_the_file_that_was_left_is_not_sent() {
    let mut scene = Scene::empty();
    for steps in [1..=3, 4..=6] {
        scene.write(steps);
        scene.rotate();
    }
    scene.gzip("metrics.jsonl.2");
    scene.write(7..=9);
    assert_eq!(scene.sent(), steps(7..=9));
    scene.rotate();
    scene.gzip("metrics.jsonl.2");
    scene.write(10..=12);
    assert_eq!(scene.sent(), steps(10..=12));
}

#[test]
fn what_was_copied_and_truncated_is_read_from_the_copies() {
    let mut scene = Scene::after(1..=50);
    let copy_and_truncate = |scene: &Scene, name: &str| {
        fs::copy(scene.path(METRICS_FILE), scene.path(name)).unwrap();
        fs::write(scene.path(METRICS_FILE), "").unwrap();
    };
    scene.write(51..=60);
    copy_and_truncate(&scene, "metrics.jsonl.2");
    scene.write(61..=160);
    copy_and_truncate(&scene, "metrics.jsonl.1");
    scene.gzip("metrics.jsonl.2");
    scene.write(161..=165);
    assert_eq!(scene.sent(), steps(51..=165));
    // Once more, longer than what was read of it.
    copy_and_truncate(&scene, "metrics.jsonl.0");
    scene.write(166..=300);
    assert_eq!(scene.sent(), steps(166..=300));
    assert_eq!(scene.gone, [""; 0]);
}

#[test]
fn a_rotation_with_no_new_file_yet_is_read_from_the_rotated_one() {
    let mut scene = Scene::after(1..=3);
    // Another training's file below is not taken for it.
    fs::create_dir(scene.path("other")).unwrap();
    append(&scene.path("other/metrics.jsonl"), &rows(900..=901));
    scene.write(4..=6);
    scene.rotate();
    assert_eq!(scene.sent(), steps(4..=6));
    // A writer that was not told yet goes on in the old one, though the new one is made.
    append(&scene.path(METRICS_FILE), "");
    append(&scene.path("metrics.jsonl.1"), &rows(7..=8));
    assert_eq!(scene.sent(), steps(7..=8));
    append(&scene.path("metrics.jsonl.1"), &rows(9..=9));
    scene.write(10..=11);
    assert_eq!(scene.sent(), steps(9..=11));
    assert_eq!(scene.gone, [""; 0]);
}

#[test]
fn a_file_that_was_empty_when_it_was_left_is_read_under_its_rotated_names() {
    for gzipped in [false, true] {
        let mut scene = Scene::empty();
        append(&scene.path(METRICS_FILE), "");
        assert_eq!(scene.sent(), [0_u64; 0]);
        scene.write(1..=3);
        scene.rotate();
        scene.write(4..=6);
        scene.rotate();
        if gzipped {
            scene.gzip("metrics.jsonl.2");
        }
        scene.write(7..=8);
        assert_eq!(scene.sent(), steps(1..=8));
    }
}

#[test]
fn what_is_gone_is_said_and_counted_and_the_rest_is_sent() {
    let mut scene = Scene::after(1..=50);
    scene.write(51..=60);
    scene.rotate();
    scene.write(61..=70);
    scene.rotate();
    fs::remove_file(scene.path("metrics.jsonl.2")).unwrap();
    scene.write(71..=80);
    let done = scene.forward();
    assert_eq!((done.sent, done.gone), (20, 1));
    assert_eq!(scene.calls(), steps(61..=80));
    assert_eq!(
        scene.gone,
        [
            "metrics.jsonl after line 50: it was cut or replaced, and what it held is under no other name beside it"
        ]
    );
    assert_eq!(scene.forward().gone, 0);
}

#[test]
fn a_gzipped_file_that_is_damaged_is_sent_as_far_as_it_reads() {
    let mut scene = Scene::after(1..=50);
    scene.rotate();
    scene.write(51..=600);
    scene.rotate();
    scene.gzip("metrics.jsonl.1");
    let path = scene.path("metrics.jsonl.1.gz");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    scene.write(601..=610);
    let done = scene.forward();
    let sent = scene.calls();
    assert!(
        sent.len() > 100 && done.gone == 1,
        "{}, {done:?}",
        sent.len()
    );
    assert_eq!(sent[..100], steps(51..=150));
    assert_eq!(sent[sent.len() - 10..], steps(601..=610));
    assert!(
        scene.gone[0].starts_with("metrics.jsonl.1.gz after line "),
        "{:?}",
        scene.gone
    );
    assert_eq!(scene.forward().gone, 0);
}

/// Packers that give a file a new time; of the one, the file itself says its old one.
const PACKERS: [&[&str]; 2] = [&[], &["--no-name"]];

#[test]
fn a_rotated_file_that_is_packed_with_a_new_time_keeps_its_place() {
    // The file that was left, each that came after it, and several.
    for packed in [&[3][..], &[2], &[1], &[2, 3], &[3, 2], &[1, 3], &[1, 2, 3]] {
        for packer in PACKERS {
            let mut scene = Scene::after(1..=3);
            scene.write(4..=5);
            scene.rotate();
            scene.write(6..=8);
            scene.rotate();
            scene.write(9..=10);
            scene.rotate();
            scene.write(11..=12);
            for number in packed {
                scene.pack(&format!("metrics.jsonl.{number}"), packer);
            }
            assert_eq!(scene.sent(), steps(4..=12), "{packed:?}");
            scene.write(13..=13);
            scene.rotate();
            scene.write(14..=14);
            assert_eq!(scene.sent(), steps(13..=14), "{packed:?}");
            assert_eq!(scene.gone, [""; 0]);
        }
    }
}

#[test]
fn what_was_sent_is_not_sent_again_when_it_is_packed_with_a_new_time_later() {
    let mut scene = Scene::after(1..=3);
    scene.rotate();
    scene.write(4..=6);
    assert_eq!(scene.sent(), steps(4..=6));
    scene.rotate();
    scene.write(7..=9);
    assert_eq!(scene.sent(), steps(7..=9));
    // While the last is being read.
    scene.write(10..=12);
    scene.pack("metrics.jsonl.1", PACKERS[1]);
    scene.pack("metrics.jsonl.2", PACKERS[1]);
    scene.rotate();
    scene.write(13..=15);
    scene.rotate();
    scene.pack("metrics.jsonl.2", PACKERS[1]);
    assert_eq!(scene.sent(), steps(10..=15));
    scene.write(16..=18);
    scene.pack("metrics.jsonl.1", PACKERS[1]);
    assert_eq!(scene.sent(), steps(16..=18));
    assert_eq!(scene.sent(), [0_u64; 0]);
    assert_eq!(scene.gone, [""; 0]);
}

#[test]
fn of_what_is_gone_only_what_began_after_it_is_sent_whatever_was_packed_since() {
    let mut scene = Scene::empty();
    scene.write(1..=3);
    scene.rotate();
    scene.write(4..=6);
    assert_eq!(scene.sent(), steps(4..=6));
    scene.write(7..=8);
    scene.rotate();
    scene.write(9..=10);
    scene.rotate();
    scene.write(11..=12);
    for name in ["metrics.jsonl.1", "metrics.jsonl.3"] {
        scene.pack(name, PACKERS[1]);
    }
    fs::remove_file(scene.path("metrics.jsonl.2")).unwrap();
    assert_eq!(scene.sent(), steps(9..=12));
    assert_eq!(scene.gone.len(), 1);
}

#[test]
fn a_file_that_is_packed_with_a_new_time_after_a_forward_died_in_its_first_rows_is_sent_whole() {
    let mut scene = Scene::empty();
    scene.write(1..=2);
    scene.rotate();
    scene.write(3..=6);
    *scene.store.mood.lock().unwrap() = Mood::Panics;
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene.sent()));
    assert!(died.is_err());
    *scene.store.mood.lock().unwrap() = Mood::Fine;
    scene.store.calls.lock().unwrap().clear();
    scene.rotate();
    scene.write(7..=8);
    scene.rotate();
    scene.write(9..=10);
    // What was rotated before is packed last.
    for number in 1..=3 {
        scene.pack(&format!("metrics.jsonl.{number}"), PACKERS[1]);
    }
    assert_eq!(scene.sent(), steps(3..=10));
}

/// Lets `change` the position that the forward left beside the metrics file.
fn remember(scene: &Scene, change: impl Fn(&mut serde_json::Value)) {
    let mut files = fs::read_dir(scene.path("")).unwrap();
    let state = files.find_map(|file| {
        let path = file.unwrap().path();
        path.to_str()?.ends_with(".forwarded.json").then_some(path)
    });
    let state = state.unwrap();
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    change(&mut text["position"]);
    fs::write(&state, text.to_string()).unwrap();
}

#[test]
fn a_memory_of_a_time_before_first_rows_were_looked_at_is_gone_on_from() {
    for is_left in [true, false] {
        let mut scene = Scene::empty();
        scene.write(1..=3);
        scene.rotate();
        // Not within one tick of the clock.
        let before = SystemTime::now() - Duration::from_secs(1);
        let file = File::open(scene.path("metrics.jsonl.1")).unwrap();
        file.set_modified(before).unwrap();
        scene.write(4..=6);
        assert_eq!(scene.sent(), steps(4..=6));
        remember(&scene, |position| {
            let began = position.as_object_mut().unwrap().remove("began");
            assert!(began.unwrap().is_u64());
        });
        scene.rotate();
        scene.write(7..=8);
        scene.rotate();
        scene.write(9..=10);
        scene.pack("metrics.jsonl.1", PACKERS[1]);
        if !is_left {
            fs::remove_file(scene.path("metrics.jsonl.2")).unwrap();
        }
        assert_eq!(scene.sent(), steps(7..=10));
        assert_eq!(scene.gone.len(), usize::from(!is_left));
    }
}

#[test]
fn another_file_that_was_given_the_number_of_one_that_is_gone_is_not_taken_for_it() {
    let mut scene = Scene::empty();
    scene.write(1..=3);
    *scene.store.mood.lock().unwrap() = Mood::Panics;
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene.sent()));
    assert!(died.is_err());
    *scene.store.mood.lock().unwrap() = Mood::Fine;
    scene.store.calls.lock().unwrap().clear();
    scene.rotate();
    scene.pack("metrics.jsonl.1", PACKERS[1]);
    scene.write(4..=6);
    let inode = fs::metadata(scene.path(METRICS_FILE)).unwrap().ino();
    scene.rotate();
    scene.write(7..=8);
    remember(&scene, |position| {
        position["identity"]["inode"] = inode.into();
    });
    assert_eq!(scene.sent(), steps(1..=8));
}

#[test]
fn a_rotated_file_without_rows_moves_no_other_when_it_is_packed_with_a_new_time() {
    for text in ["", "\n", "{\"ts\": 17"] {
        let mut scene = Scene::after(1..=3);
        scene.rotate();
        append(&scene.path(METRICS_FILE), text);
        scene.rotate();
        scene.write(4..=6);
        scene.rotate();
        scene.pack("metrics.jsonl.2", PACKERS[1]);
        // Now it was read last.
        assert_eq!(scene.sent(), steps(4..=6), "{text:?}");
        scene.write(7..=8);
        scene.rotate();
        scene.write(9..=10);
        assert_eq!(scene.sent(), steps(7..=10), "{text:?}");
        scene.rotate();
        scene.write(11..=12);
        scene.rotate();
        assert_eq!(scene.sent(), steps(11..=12), "{text:?}");
    }
}

#[test]
fn rows_that_do_not_say_when_they_were_written_are_put_by_when_their_file_was() {
    for how in ["", "gzip", "gzip --stdout"] {
        let mut scene = Scene::empty();
        scene.rows = timeless_rows;
        scene.write(1..=3);
        assert_eq!(scene.sent(), steps(1..=3));
        // As if it had taken an hour each.
        let mut hour = SystemTime::now() - Duration::from_secs(6 * 3600);
        let mut rotate = |scene: &Scene| {
            hour += Duration::from_secs(3600);
            let file = File::open(scene.path(METRICS_FILE)).unwrap();
            file.set_modified(hour).unwrap();
            scene.rotate();
        };
        scene.write(4..=5);
        rotate(&scene);
        scene.write(6..=8);
        rotate(&scene);
        scene.write(9..=10);
        rotate(&scene);
        scene.write(11..=12);
        for name in ["metrics.jsonl.2", "metrics.jsonl.3"] {
            match how {
                "gzip" => scene.gzip(name),
                "gzip --stdout" => scene.pack(name, PACKERS[0]),
                _ => {}
            }
        }
        assert_eq!(scene.sent(), steps(4..=12), "{how}");
        rotate(&scene);
        scene.write(13..=14);
        assert_eq!(scene.sent(), steps(13..=14), "{how}");
        assert_eq!(scene.gone, [""; 0]);
    }
}

/// What a training, whoever rotates and packs its files, and a forwarder do in any order.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write,
    Rotate,
    CopyAndTruncate,
    Pack(u64, usize),
    Gzip(u64),
    Forward,
}

fn act() -> impl Strategy<Value = Act> {
    let packed = 1..6_u64;
    prop_oneof![
        4 => Just(Act::Write),
        2 => Just(Act::Rotate),
        1 => Just(Act::CopyAndTruncate),
        3 => (packed.clone(), 0..PACKERS.len()).prop_map(|(number, how)| Act::Pack(number, how)),
        1 => packed.prop_map(Act::Gzip),
        2 => Just(Act::Forward),
    ]
}

impl Act {
    /// Does it to the files, after `written` steps; the steps then.
    fn perform(self, scene: &Scene, written: u64) -> u64 {
        let rotated = |number| format!("metrics.jsonl.{number}");
        let is_there = |number| scene.path(&rotated(number)).exists();
        let may_rotate = scene.path(METRICS_FILE).exists()
            && !is_there(9)
            && !scene.path("metrics.jsonl.9.gz").exists();
        match self {
            Self::Write => {
                scene.write(written + 1..=written + 3);
                return written + 3;
            }
            Self::Rotate if may_rotate => scene.rotate(),
            Self::CopyAndTruncate if may_rotate => {
                scene.rotate();
                let aside = scene.path("metrics.jsonl.1");
                let copy = scene.path("copy");
                fs::copy(&aside, &copy).unwrap();
                scene.rename("metrics.jsonl.1", METRICS_FILE);
                scene.rename("copy", "metrics.jsonl.1");
                fs::write(scene.path(METRICS_FILE), "").unwrap();
            }
            Self::Pack(number, how) if is_there(number) => {
                scene.pack(&rotated(number), PACKERS[how]);
            }
            Self::Gzip(number) if is_there(number) => scene.gzip(&rotated(number)),
            _ => {}
        }
        written
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/tests/rotation.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn rows_are_sent_once_and_in_order_whatever_is_rotated_and_packed(
        acts in prop::collection::vec(act(), 1..30)
    ) {
        let mut scene = Scene::after(1..=3);
        let (mut written, mut sent) = (3, 3);
        for act in acts.into_iter().chain([Act::Forward]) {
            written = act.perform(&scene, written);
            if let Act::Forward = act {
                prop_assert_eq!(scene.sent(), steps(sent + 1..=written));
                sent = written;
            }
        }
        prop_assert!(scene.gone.is_empty(), "{:?}", scene.gone);
    }

    #[test]
    fn a_follower_sends_rows_once_and_in_order_whatever_is_rotated_and_packed(
        acts in prop::collection::vec(act(), 1..30)
    ) {
        let (mut scene, other) = Scene::after(1..=3).apart();
        let options = scene.options();
        let (mut written, mut gone) = (3, Vec::new());
        // It looks whenever it would forward, and as often again as there may be files.
        let looks = [Act::Forward; 12];
        let mut acts = acts.into_iter().chain(looks);
        options.follow(
            &mut scene.store,
            Duration::from_millis(1),
            &mut |event| gone.extend(said(&event)),
            &mut || {
                for act in acts.by_ref() {
                    written = act.perform(&other, written);
                    if let Act::Forward = act {
                        return false;
                    }
                }
                true
            },
        ).unwrap();
        prop_assert_eq!(scene.calls(), steps(4..=written));
        prop_assert!(gone.is_empty(), "{:?}", gone);
    }
}

#[test]
fn a_follower_goes_through_two_rotations_and_a_copy_between_two_looks() {
    let (mut scene, other) = Scene::after(1..=3).apart();
    let options = scene.options();
    let mut gone = Vec::new();
    let mut look = 0;
    let done = options
        .follow(
            &mut scene.store,
            Duration::from_millis(1),
            &mut |event| gone.extend(said(&event)),
            &mut || {
                match look {
                    0 => {
                        other.write(4..=6);
                        other.rotate();
                        other.write(7..=10);
                        other.rotate();
                        other.gzip("metrics.jsonl.1");
                        other.write(11..=12);
                    }
                    5 => {
                        other.write(13..=14);
                        fs::copy(other.path(METRICS_FILE), other.path("metrics.jsonl.0")).unwrap();
                        fs::write(other.path(METRICS_FILE), rows(15..=15)).unwrap();
                    }
                    10 => fs::write(other.path(METRICS_FILE), rows(21..=29)).unwrap(),
                    _ => {}
                }
                look += 1;
                look > 15
            },
        )
        .unwrap();
    // Two rows of step 15 and the nine, of which the file that was written anew says nothing of what was before.
    assert_eq!(scene.calls(), [steps(4..=15), steps(21..=29)].concat());
    assert_eq!((done.gone, gone.len()), (1, 1));
    assert!(
        gone[0].starts_with("metrics.jsonl after line 1: "),
        "{gone:?}"
    );
}

#[test]
fn the_verb_says_what_is_gone_and_exits_with_1() {
    let scene = Scene::empty();
    scene.write(1..=3);
    let forward = || {
        let mut command = assert_cmd::Command::new(crate::grpo_metrics());
        command
            .arg("forward")
            .arg(scene.path(""))
            .args(["--run", "new", "--store"]);
        command.arg(scene.dir.path().join("runs.db")).assert()
    };
    forward().code(0);
    fs::write(scene.path(METRICS_FILE), rows(7..=8)).unwrap();
    let output = forward().code(1).get_output().clone();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(
        out.contains("metrics.jsonl: sent 2, skipped 0, failed 0\n"),
        "{out}"
    );
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        err.contains(
            "metrics.jsonl: what was written after line 3 is gone: it was cut or replaced"
        ),
        "{err}"
    );
    forward().code(0);
}

/// Runs real `logrotate` over the metrics file; false where there is none.
fn logrotate(scene: &Scene, rules: &str) -> bool {
    let config = scene.dir.path().join("logrotate.conf");
    let file = scene.path(METRICS_FILE);
    fs::write(&config, format!("\"{}\" {{\n{rules}\n}}\n", file.display())).unwrap();
    let state = scene.dir.path().join("logrotate.state");
    let run = Command::new("logrotate")
        .arg("--force")
        .arg("--state")
        .arg(state)
        .arg(&config)
        .stderr(Stdio::piped())
        .output();
    match run {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            true
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("skipped: there is no logrotate here");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn rows_survive_what_logrotate_does_by_number_date_copy_and_compression() {
    for rules in [
        "rotate 9\nmissingok",
        "rotate 9\ncreate",
        "rotate 9\ncompress",
        "rotate 9\ncompress\ndelaycompress",
        "rotate 9\ncopytruncate",
        "rotate 9\ncopytruncate\ncompress",
        "rotate 9\nextension .jsonl",
        "rotate 9\nextension .jsonl\ncompress",
        "rotate 9\ndateext\ndateformat -%Y%m%d-%H%M%S\ncompress",
    ] {
        let mut scene = Scene::after(1..=5);
        let mut expected = 6;
        let mut written = 5;
        // As many rotations between two forwards as have a name: dates are by the second.
        let rotations = if rules.contains("dateext") {
            vec![1, 1]
        } else {
            vec![2, 0, 3, 1]
        };
        for times in rotations {
            for _ in 0..times {
                scene.write(written + 1..=written + 20);
                written += 20;
                if !logrotate(&scene, rules) {
                    return;
                }
                if rules.contains("dateext") {
                    std::thread::sleep(Duration::from_millis(1100));
                }
            }
            scene.write(written + 1..=written + 3);
            written += 3;
            assert_eq!(scene.sent(), steps(expected..=written), "{rules}");
            expected = written + 1;
        }
        assert_eq!(scene.gone, [""; 0], "{rules}");
    }
}
