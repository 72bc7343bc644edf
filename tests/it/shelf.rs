//! The journals of all trainings in one place, and what those that were killed have left there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use grpo_metrics::row::Row;
use grpo_metrics::row::run::{Ending, Status};
use grpo_metrics::sink::{
    Durable, DurableOptions, Jsonl, Meant, Memory, Receipt, Shelf, Sink, SinkError, Target,
};
use tempfile::TempDir;

fn row(step: u64) -> Row {
    Row {
        step,
        metrics: [("train/reward", step as f64)].into_iter().collect(),
        ..Row::default()
    }
}

/// A sink that takes nothing for now.
#[derive(Debug)]
struct Away;

impl Sink for Away {
    fn name(&self) -> &'static str {
        "away"
    }
    fn run(&self) -> Option<&str> {
        Some("r")
    }
    fn write(&mut self, _: &Row) -> Result<(), SinkError> {
        Err(SinkError::other("away"))
    }
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Receipt {
        Receipt::default()
    }
}

fn quick() -> DurableOptions {
    DurableOptions {
        patience: Duration::from_millis(200),
        ..DurableOptions::default()
    }
}

/// A training that could deliver nothing, and ended so: what it left for `meant` in the shelf's `folder`.
fn left(folder: &Path, meant: &Meant, steps: u64, ending: &Ending) -> PathBuf {
    let shelf = Shelf::at(folder, quick());
    let (mut sink, found) = shelf.before(Box::new(Away), "r", "s", meant).unwrap();
    assert!(found.is_none());
    for step in 1..=steps {
        sink.write(&row(step)).unwrap();
    }
    sink.ended(ending).unwrap();
    let receipt = sink.close();
    assert_eq!((receipt.sink.as_str(), receipt.pending), ("away", steps));
    let [dir] = &Durable::found_in(folder)[..] else {
        panic!("one journal")
    };
    dir.clone()
}

fn jsonl(path: &Path) -> Meant {
    Meant::Sink(Target::jsonl(path).unwrap())
}

fn lines(path: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).unwrap();
    let step =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64();
    text.lines().map(|line| step(line).unwrap()).collect()
}

#[test]
fn what_was_left_for_a_file_goes_before_the_rows_of_whoever_writes_to_it_next() {
    let dir = TempDir::new().unwrap();
    let (folder, path) = (dir.path().join("shelf"), dir.path().join("rows.jsonl"));
    left(&folder, &jsonl(&path), 40, &Ending::open());
    let shelf = Shelf::at(&folder, DurableOptions::default());
    let sink = Box::new(Jsonl::open(&path).unwrap());
    let (mut sink, found) = shelf.before(sink, "other", "s", &jsonl(&path)).unwrap();
    assert!(found.is_none(), "its own journal is new");
    let found = shelf.deliver_left(|_, _| panic!("the file is known"));
    assert_eq!(found[0].1.pending, 40);
    for step in 100..140 {
        sink.write(&row(step)).unwrap();
    }
    assert_eq!(sink.close().written, 40);
    assert_eq!(lines(&path), (1..=40).chain(100..140).collect::<Vec<_>>());
    assert!(!folder.exists(), "nothing is left lying about");
}

#[test]
fn what_was_left_is_opened_by_whoever_knows_its_place_and_is_told_how_the_run_ended() {
    use std::sync::{Arc, Mutex};
    struct Told(Memory, Arc<Mutex<Option<Ending>>>);
    impl Sink for Told {
        fn name(&self) -> &'static str {
            "told"
        }
        fn write(&mut self, row: &Row) -> Result<(), SinkError> {
            self.0.write(row)
        }
        fn flush(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn ended(&mut self, ending: &Ending) -> Result<(), SinkError> {
            *self.1.lock().unwrap() = Some(ending.clone());
            Ok(())
        }
        fn close(self: Box<Self>) -> Receipt {
            Box::new(self.0).close()
        }
    }
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("shelf");
    let meant = Meant::Object("somebody's".to_owned());
    let journal = left(&folder, &meant, 3, &Ending::failed("out of memory"));
    assert!(matches!(Meant::of(&journal), Meant::Object(name) if name == "somebody's"));

    let shelf = Shelf::at(&folder, DurableOptions::default());
    let (sink, _) = shelf
        .before(Box::new(Memory::default()), "other", "s", &meant)
        .unwrap();
    // Nobody here knows it: it stays.
    assert_eq!(shelf.deliver_left(|_, _| None).len(), 1);
    let _ = sink.close();
    assert_eq!(Durable::waiting_in(&journal).unwrap(), 3);

    let (memory, ending) = (Memory::default(), Arc::default());
    let shelf = Shelf::at(&folder, DurableOptions::default());
    let (sink, _) = shelf
        .before(Box::new(Memory::default()), "other", "s", &meant)
        .unwrap();
    let _ = shelf.deliver_left(|_, run| {
        assert_eq!(run, Some("r"));
        let told = Told(memory.clone(), Arc::clone(&ending));
        Some(Box::new(move || Ok(Box::new(told) as Box<dyn Sink>)))
    });
    let _ = sink.close();
    assert_eq!(memory.rows().len(), 3);
    let ending = ending.lock().unwrap().clone();
    assert_eq!(ending, Some(Ending::failed("out of memory")));
    assert!(!folder.exists());
}

#[test]
fn who_goes_on_with_a_run_delivers_what_it_left_and_forgets_how_it_ended() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("shelf");
    let meant = Meant::Object("mine".to_owned());
    let journal = left(&folder, &meant, 3, &Ending::cancelled("enough"));
    let memory = Memory::default();
    let shelf = Shelf::at(&folder, DurableOptions::default());
    let (mut sink, found) = shelf
        .before(Box::new(memory.clone()), "r", "s", &meant)
        .unwrap();
    assert_eq!(found.unwrap().1.pending, 3);
    assert!(!journal.join("ended").exists());
    sink.write(&row(4)).unwrap();
    let _ = sink.close();
    let steps: Vec<u64> = memory.rows().iter().map(|row| row.step).collect();
    assert_eq!(steps, [1, 2, 3, 4]);
}

#[test]
fn rows_that_were_meant_for_another_place_are_not_taken_for_ones_own() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("shelf");
    let other = dir.path().join("other.jsonl");
    let journal = left(&folder, &jsonl(&other), 3, &Ending::open());
    let memory = Memory::default();
    let shelf = Shelf::at(&folder, DurableOptions::default());
    let mine = Meant::Object("mine".to_owned());
    let (mut sink, found) = shelf
        .before(Box::new(memory.clone()), "r", "s", &mine)
        .unwrap();
    assert!(found.is_none());
    assert_eq!(Durable::found_in(&folder).len(), 2);
    let _ = shelf.deliver_left(|_, _| None);
    sink.write(&row(9)).unwrap();
    let _ = sink.close();
    assert_eq!((memory.rows().len(), lines(&other)), (1, vec![1, 2, 3]));
    assert!(!journal.exists());
}

#[test]
fn an_end_that_is_in_a_hurry_waits_for_no_sink_beyond_its_deadline() {
    let dir = TempDir::new().unwrap();
    let shelf = Shelf::at(dir.path().join("shelf"), DurableOptions::default());
    let meant = Meant::Object("mine".to_owned());
    let (mut sink, _) = shelf.before(Box::new(Away), "r", "s", &meant).unwrap();
    sink.write(&row(1)).unwrap();
    let before = Instant::now();
    let receipt = sink.close_by(before + Duration::from_millis(300));
    // Its own patience is 10 s.
    assert!(before.elapsed() < Duration::from_secs(6));
    assert_eq!((receipt.pending, receipt.written), (1, 0));
}

#[cfg(feature = "sqlite")]
#[test]
fn rows_that_come_after_their_run_say_how_it_ended_where_nobody_else_has() {
    use grpo_metrics::store::{Sqlite, Store, StoreSink};
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("runs.db");
    let status = || Sqlite::open(&path).unwrap().get_run("r").unwrap().status;
    let after = |ending: &Ending| {
        let store = Box::new(Sqlite::open(&path).unwrap());
        let mut sink = StoreSink::after(store, "r").unwrap();
        sink.ended(ending).unwrap();
        let _ = Box::new(sink).close();
    };
    drop(StoreSink::open(&path, "r").unwrap());
    after(&Ending::open());
    assert_eq!(status(), Status::Running);
    after(&Ending::failed("out of memory"));
    assert_eq!(status(), Status::Failed);
    after(&Ending::completed());
    assert_eq!(status(), Status::Failed, "who said so first stands");
}
