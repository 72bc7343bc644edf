//! Durable delivery: nothing lost, nothing twice, and an account of every row, through faults, full disks and SIGKILL.
#![allow(clippy::similar_names, reason = "what was sent and what was seen")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grpo_metrics::row::Row;
use grpo_metrics::row::table::{Cell, Table};
use grpo_metrics::sink::{
    Delivery, Durable, DurableOptions, Fsync, Full, JournalError, Jsonl, Memory, Receipt, Sink,
    SinkError,
};
use tempfile::TempDir;

fn row(step: u64) -> Row {
    Row {
        step,
        timestamp: step as f64 + 0.5,
        metrics: (0..20)
            .map(|i| (format!("train/metric_{i}"), step as f64 / f64::from(i + 3)))
            .collect(),
        ..Row::default()
    }
}

fn quick() -> DurableOptions {
    DurableOptions {
        backoff: (Duration::from_millis(1), Duration::from_millis(10)),
        patience: Duration::from_secs(60),
        pace: Duration::ZERO,
        ..DurableOptions::default()
    }
}

fn steps(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(|row| row.step).collect()
}

fn numbers(receipt: &Receipt) -> (u64, u64, u64, u64) {
    assert_eq!(
        receipt.accepted,
        receipt.written + receipt.dropped + receipt.pending,
        "{receipt:?}"
    );
    (
        receipt.accepted,
        receipt.written,
        receipt.dropped,
        receipt.pending,
    )
}

/// A memory that does as it is told with each row: `Err` for now, a panic, or the row.
#[derive(Clone)]
struct Told {
    memory: Memory,
    /// How often it was asked, and what to do then.
    asked: Arc<Mutex<u64>>,
    act: fn(u64, &Row) -> Result<(), SinkError>,
}

impl Told {
    fn new(act: fn(u64, &Row) -> Result<(), SinkError>) -> Self {
        Self {
            memory: Memory::new(),
            asked: Arc::default(),
            act,
        }
    }
}

impl Sink for Told {
    fn name(&self) -> &'static str {
        "told"
    }
    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        let asked = {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            *asked
        };
        (self.act)(asked, row)?;
        self.memory.write(row)
    }
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Receipt {
        Receipt::default()
    }
}

fn not_now() -> Result<(), SinkError> {
    Err(SinkError::Store("not now".into()))
}

#[test]
fn a_sink_that_refuses_for_now_gets_every_row_once_and_in_order() {
    let dir = TempDir::new().unwrap();
    let told = Told::new(|asked, _| if asked % 3 == 0 { not_now() } else { Ok(()) });
    let mut sink = Box::new(Durable::with(told.clone(), dir.path(), quick()).unwrap());
    for step in 0..200 {
        sink.write(&row(step)).unwrap();
    }
    sink.flush().unwrap();
    let receipt = sink.close();
    assert_eq!(numbers(&receipt), (200, 200, 0, 0));
    assert!(receipt.error.unwrap().contains("not now"));
    let rows = told.memory.rows();
    assert_eq!(steps(&rows), (0..200).collect::<Vec<_>>());
    assert_eq!(rows[7], row(7));
}

#[test]
fn a_sink_that_refuses_everything_leaves_everything_to_the_next_process() {
    let dir = TempDir::new().unwrap();
    let mut sink = Durable::with(Told::new(|_, _| not_now()), dir.path(), quick()).unwrap();
    for step in 0..50 {
        sink.write(&row(step)).unwrap();
    }
    let receipt = sink.flush_within(Duration::from_millis(50));
    assert_eq!(numbers(&receipt), (50, 0, 0, 50));
    drop(sink);

    let policy = DurableOptions {
        patience: Duration::from_millis(50),
        ..quick()
    };
    let mut sink =
        Box::new(Durable::with(Told::new(|_, _| not_now()), dir.path(), policy).unwrap());
    sink.write(&row(50)).unwrap();
    let error = sink.flush().unwrap_err();
    assert!(
        matches!(error, SinkError::Pending { rows: 51, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("not now"), "{error}");
    assert_eq!(numbers(&sink.close()), (51, 0, 0, 51));

    let memory = Memory::new();
    let sink = Box::new(Durable::with(memory.clone(), dir.path(), quick()).unwrap());
    assert_eq!(sink.recovered().pending, 51);
    assert_eq!(numbers(&sink.close()), (51, 51, 0, 0));
    assert_eq!(steps(&memory.rows()), (0..51).collect::<Vec<_>>());

    let memory = Memory::new();
    let sink = Box::new(Durable::with(memory.clone(), dir.path(), quick()).unwrap());
    assert_eq!(numbers(&sink.close()), (0, 0, 0, 0));
    assert!(memory.rows().is_empty());
}

#[test]
fn a_row_that_makes_the_sink_panic_costs_itself_alone() {
    let dir = TempDir::new().unwrap();
    let told = Told::new(|_, row| {
        assert!(row.step % 10 != 3, "out of luck");
        Ok(())
    });
    let mut sink = Box::new(Durable::with(told.clone(), dir.path(), quick()).unwrap());
    for step in 0..30 {
        sink.write(&row(step)).unwrap();
    }
    let receipt = sink.close();
    assert_eq!(numbers(&receipt), (30, 27, 3, 0));
    assert!(receipt.error.unwrap().contains("out of luck"));
    // What stood before it in a batch may have come twice: a sink that panics cannot be asked what it took.
    let mut found = steps(&told.memory.rows());
    found.sort_unstable();
    found.dedup();
    assert_eq!(
        found,
        (0..30).filter(|step| step % 10 != 3).collect::<Vec<_>>()
    );
}

#[test]
fn the_journal_grows_and_is_removed_again() {
    let dir = TempDir::new().unwrap();
    let policy = DurableOptions {
        segment_bytes: 4096,
        ..quick()
    };
    let files = || fs::read_dir(dir.path()).unwrap().count();
    let mut sink = Durable::with(Told::new(|_, _| not_now()), dir.path(), policy.clone()).unwrap();
    for step in 0..500 {
        sink.write(&row(step)).unwrap();
    }
    assert!(files() > 50, "{}", files());
    drop(sink);
    let memory = Memory::new();
    let mut sink = Box::new(Durable::with(memory.clone(), dir.path(), policy).unwrap());
    for step in 500..600 {
        sink.write(&row(step)).unwrap();
    }
    assert_eq!(numbers(&sink.close()), (600, 600, 0, 0));
    assert_eq!(steps(&memory.rows()), (0..600).collect::<Vec<_>>());
    // The lock and the mark stay.
    assert_eq!(files(), 2);
}

#[test]
fn with_a_limit_rows_are_dropped_and_counted() {
    let dir = TempDir::new().unwrap();
    let policy = DurableOptions {
        full: Full::Drop(10),
        patience: Duration::ZERO,
        ..quick()
    };
    let mut sink =
        Box::new(Durable::with(Told::new(|_, _| not_now()), dir.path(), policy).unwrap());
    for step in 0..25 {
        let outcome = sink.write(&row(step));
        assert_eq!(outcome.is_ok(), step < 10, "{step}");
        if let Err(error) = outcome {
            assert!(
                matches!(error, SinkError::Full { pending: 10, .. }),
                "{error}"
            );
        }
    }
    assert_eq!(numbers(&sink.close()), (25, 0, 15, 10));
}

#[test]
fn with_a_limit_the_caller_can_wait_instead() {
    let dir = TempDir::new().unwrap();
    let policy = DurableOptions {
        full: Full::Block(3),
        ..quick()
    };
    let told = Told::new(|asked, _| if asked % 2 == 0 { not_now() } else { Ok(()) });
    let mut sink = Box::new(Durable::with(told.clone(), dir.path(), policy).unwrap());
    for step in 0..100 {
        sink.write(&row(step)).unwrap();
        assert!(sink.receipt().pending <= 3);
    }
    assert_eq!(numbers(&sink.close()), (100, 100, 0, 0));
    assert_eq!(told.memory.rows().len(), 100);
}

#[test]
fn rows_of_quick_steps_go_together() {
    let dir = TempDir::new().unwrap();
    let calls = Told::new(|_, _| Ok(()));
    let policy = DurableOptions {
        pace: Duration::MAX,
        patience: Duration::MAX,
        batch: 10,
        ..quick()
    };
    let mut sink = Durable::with(calls.clone(), dir.path(), policy).unwrap();
    let delivered = |count: usize| {
        while calls.memory.rows().len() < count {
            std::thread::sleep(Duration::from_millis(1));
        }
        calls.memory.rows().len()
    };
    sink.write(&row(0)).unwrap();
    assert_eq!(delivered(1), 1);
    // Nine wait for a time that never comes, the tenth makes a batch.
    for step in 1..10 {
        sink.write(&row(step)).unwrap();
        assert_eq!(delivered(1), 1);
    }
    sink.write(&row(10)).unwrap();
    assert_eq!(delivered(11), 11);
    // Flushing and closing wait for nothing.
    sink.write(&row(11)).unwrap();
    assert_eq!(
        numbers(&sink.flush_within(Duration::from_secs(60))),
        (12, 12, 0, 0)
    );
    sink.write(&row(12)).unwrap();
    assert_eq!(numbers(&Box::new(sink).close()), (13, 13, 0, 0));
    assert_eq!(steps(&calls.memory.rows()), (0..13).collect::<Vec<_>>());
}

#[test]
fn a_damaged_entry_is_told_of_and_counted_and_the_rest_is_delivered() {
    let dir = TempDir::new().unwrap();
    let mut sink = Durable::with(Told::new(|_, _| not_now()), dir.path(), quick()).unwrap();
    for step in 0..10 {
        sink.write(&row(step)).unwrap();
    }
    drop(sink);
    let journal = dir.path().join(format!("{:020}.journal", 0));
    let mut bytes = fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&journal, bytes).unwrap();
    let memory = Memory::new();
    let sink = Box::new(Durable::with(memory.clone(), dir.path(), quick()).unwrap());
    let receipt = sink.close();
    assert_eq!(numbers(&receipt), (10, 9, 1, 0));
    assert_eq!(
        receipt.error.unwrap(),
        format!(
            "durable: expected whole entries in the journal {}, found 1 that are damaged or gone",
            dir.path().display()
        )
    );
    assert_eq!(steps(&memory.rows()).len(), 9);
}

#[test]
fn every_fsync_policy_delivers() {
    for fsync in [
        Fsync::Never,
        Fsync::Every(Duration::from_millis(1)),
        Fsync::Each,
    ] {
        let dir = TempDir::new().unwrap();
        let policy = DurableOptions { fsync, ..quick() };
        let path = dir.path().join("rows.jsonl");
        let told = Told::new(|asked, _| if asked < 20 { not_now() } else { Ok(()) });
        let mut sink =
            Box::new(Durable::with(told.clone(), dir.path().join("a"), policy.clone()).unwrap());
        let mut file = Box::new(
            Durable::with(Jsonl::open(&path).unwrap(), dir.path().join("b"), policy).unwrap(),
        );
        for step in 0..20 {
            sink.write(&row(step)).unwrap();
            file.write(&row(step)).unwrap();
        }
        assert_eq!(numbers(&sink.close()), (20, 20, 0, 0));
        assert_eq!(numbers(&file.close()), (20, 20, 0, 0));
        assert_eq!(told.memory.rows().len(), 20);
        assert_eq!(steps_of_jsonl(&path), (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn a_folder_that_is_in_use_is_refused() {
    let dir = TempDir::new().unwrap();
    let _first = Durable::new(Memory::new(), dir.path()).unwrap();
    let error = Durable::new(Memory::new(), dir.path()).unwrap_err();
    assert!(
        matches!(error, SinkError::Journal(JournalError::InUse { .. })),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        format!(
            "durable: expected the journal {} for this process alone, found it in use by process {}",
            dir.path().display(),
            std::process::id()
        )
    );
}

#[test]
fn a_place_that_is_no_folder_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Durable::new(Memory::new(), &file).unwrap_err();
    let expected = format!("durable: could not make the journal {}: ", file.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    // It would be the current folder.
    let error = Durable::new(Memory::new(), "").unwrap_err();
    let expected = "durable: expected the folder of a journal, found an empty path";
    assert_eq!(error.to_string(), expected);
}

/// The steps of the whole lines of a file, in order.
fn steps_of_jsonl(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    whole
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["step"]
                .as_u64()
                .unwrap()
        })
        .collect()
}

/// A process may die between a write to the file and the note that it was made: any number of rows may be there already.
#[test]
fn rows_that_the_file_has_are_not_written_again() {
    let whole = TempDir::new().unwrap();
    let path = whole.path().join("rows.jsonl");
    let mut file = Jsonl::open(&path).unwrap();
    for step in 0..10 {
        file.write(&row(step)).unwrap();
    }
    let lines = fs::read(&path).unwrap();
    for cut in (0..=lines.len()).step_by(97).chain([lines.len()]) {
        let dir = TempDir::new().unwrap();
        let journal = dir.path().join("journal");
        let mut sink = Durable::with(Told::new(|_, _| not_now()), &journal, quick()).unwrap();
        for step in 0..10 {
            sink.write(&row(step)).unwrap();
        }
        drop(sink);
        let path = dir.path().join("rows.jsonl");
        fs::write(&path, &lines[..cut]).unwrap();
        let sink = Box::new(Durable::with(Jsonl::open(&path).unwrap(), &journal, quick()).unwrap());
        assert_eq!(numbers(&sink.close()), (10, 10, 0, 0));
        assert_eq!(fs::read(&path).unwrap(), lines, "cut at {cut}");
    }
}

/// A sink that hangs must not hold its rows' account.
#[test]
fn a_sink_that_hangs_does_not_keep_close_from_telling_the_truth() {
    struct Hangs(std::sync::mpsc::Receiver<()>);
    impl Sink for Hangs {
        fn name(&self) -> &'static str {
            "hangs"
        }
        fn write(&mut self, _: &Row) -> Result<(), SinkError> {
            let _ = self.0.recv();
            Ok(())
        }
        fn write_batch(&mut self, rows: &[Row]) -> Delivery {
            let _ = self.0.recv();
            Delivery {
                written: rows.len(),
                ..Delivery::default()
            }
        }
        fn flush(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn close(self: Box<Self>) -> Receipt {
            Receipt::default()
        }
    }
    let dir = TempDir::new().unwrap();
    let (release, held) = std::sync::mpsc::channel();
    let policy = DurableOptions {
        patience: Duration::from_millis(20),
        ..quick()
    };
    let mut sink = Box::new(Durable::with(Hangs(held), dir.path(), policy).unwrap());
    for step in 0..5 {
        sink.write(&row(step)).unwrap();
    }
    assert_eq!(numbers(&sink.close()), (5, 0, 0, 5));
    drop(release);
}

/// This test's own program, to run one ignored test of it as another process.
/// What a sink for the eye was shown, and the rows it had by then.
#[derive(Clone, Default)]
struct Eye {
    memory: Memory,
    seen: Arc<Mutex<Vec<(u64, usize)>>>,
    /// Held by a test to keep the sink from ending a write.
    gate: Arc<Mutex<()>>,
}

impl Sink for Eye {
    fn name(&self) -> &'static str {
        "eye"
    }
    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        drop(self.gate.lock().unwrap());
        self.memory.write(row)
    }
    fn show(&mut self, table: &Table) -> Result<(), SinkError> {
        let rows = self.memory.rows().len();
        self.seen.lock().unwrap().push((table.step, rows));
        assert!(table.name != "unbearable", "cannot look at that");
        Ok(())
    }
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Receipt {
        Box::new(self.memory).close()
    }
}

fn table(step: u64) -> Table {
    Table {
        name: "completions".to_owned(),
        step,
        columns: vec!["step".to_owned()],
        data: vec![vec![Cell::Int(1)]],
    }
}

#[test]
fn a_table_is_shown_after_the_rows_before_it_and_counted_nowhere() {
    let dir = TempDir::new().unwrap();
    let eye = Eye::default();
    let mut sink = Box::new(Durable::with(eye.clone(), dir.path(), quick()).unwrap());
    sink.write(&row(0)).unwrap();
    sink.show(&table(0)).unwrap();
    sink.flush().unwrap();
    assert_eq!(*eye.seen.lock().unwrap(), [(0, 1)]);
    // The thread now waits for work, and a table alone is work.
    sink.show(&table(1)).unwrap();
    sink.flush().unwrap();
    // One that waits when the end comes is shown too.
    sink.show(&table(2)).unwrap();
    let receipt = sink.close();
    assert_eq!(numbers(&receipt), (1, 1, 0, 0));
    assert_eq!(*eye.seen.lock().unwrap(), [(0, 1), (1, 1), (2, 1)]);
}

#[test]
fn showing_tables_waits_for_no_sink_and_keeps_the_newest() {
    let dir = TempDir::new().unwrap();
    let eye = Eye::default();
    let mut sink = Box::new(Durable::with(eye.clone(), dir.path(), quick()).unwrap());
    let gate = eye.gate.lock().unwrap();
    sink.write(&row(0)).unwrap();
    for step in 0..20 {
        sink.show(&table(step)).unwrap();
    }
    drop(gate);
    sink.flush().unwrap();
    let seen: Vec<u64> = eye.seen.lock().unwrap().iter().map(|seen| seen.0).collect();
    assert_eq!(seen, (12..20).collect::<Vec<_>>());
    assert_eq!(numbers(&sink.close()), (1, 1, 0, 0));
}

#[test]
fn a_table_that_makes_the_sink_panic_costs_itself_alone() {
    let dir = TempDir::new().unwrap();
    let eye = Eye::default();
    let mut sink = Box::new(Durable::with(eye.clone(), dir.path(), quick()).unwrap());
    let mut unbearable = table(0);
    unbearable.name = "unbearable".to_owned();
    sink.show(&unbearable).unwrap();
    sink.show(&table(1)).unwrap();
    sink.write(&row(2)).unwrap();
    let receipt = sink.close();
    assert_eq!(numbers(&receipt), (1, 1, 0, 0));
    assert!(receipt.error.unwrap().contains("cannot look at that"));
    assert_eq!(eye.seen.lock().unwrap().len(), 2);
    assert_eq!(steps(&eye.memory.rows()), [2]);
}

fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        &format!("durable::{name}"),
        "--ignored",
        "--nocapture",
    ]);
    command
}

#[test]
#[ignore = "runs in a process of its own, whose files may not grow beyond a limit"]
fn the_process_with_a_full_disk() {
    let dir = std::env::var("FULL_DIR").unwrap();
    let policy = DurableOptions {
        patience: Duration::ZERO,
        ..quick()
    };
    let mut sink =
        Box::new(Durable::with(Told::new(|_, _| not_now()), Path::new(&dir), policy).unwrap());
    let mut taken = Vec::new();
    for step in 0..100 {
        match sink.write(&row(step)) {
            Ok(()) => taken.push(step),
            Err(error) => assert!(
                matches!(error, SinkError::Journal(JournalError::Io { .. })),
                "{error}"
            ),
        }
    }
    // A row that still fits is taken.
    let small = Row {
        step: 1000,
        ..Row::default()
    };
    if sink.write(&small).is_ok() {
        taken.push(1000);
    }
    let receipt = sink.close();
    let (accepted, written, dropped, pending) = numbers(&receipt);
    assert_eq!((accepted, written), (101, 0));
    assert_eq!(pending, taken.len() as u64);
    assert!(dropped > 0 && receipt.error.is_some());
    println!("taken {taken:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_the_rows_that_did_not_fit_and_no_other() {
    for blocks in [16, 24, 33] {
        let dir = TempDir::new().unwrap();
        let program = child("the_process_with_a_full_disk");
        let mut shell = Command::new("bash");
        // Beyond the limit a write is an error instead of the end.
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        shell
            .args(["-c", &script, "bash"])
            .arg(program.get_program())
            .args(program.get_args());
        let output = shell.env("FULL_DIR", dir.path()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        let taken = text
            .lines()
            .find_map(|line| line.split_once("taken "))
            .unwrap()
            .1;
        let taken: Vec<u64> = serde_json::from_str(taken).unwrap();
        assert!(taken.len() > 10 && taken.len() < 100, "{taken:?}");
        let memory = Memory::new();
        let sink = Box::new(Durable::with(memory.clone(), dir.path(), quick()).unwrap());
        assert_eq!(sink.recovered().torn_bytes, 0);
        assert_eq!(numbers(&sink.close()).1, taken.len() as u64);
        assert_eq!(steps(&memory.rows()), taken);
    }
}

/// Rows that are delivered, each at once or all but the last few: the journal of all would be many times the disk's size.
fn delivered_on_a_small_disk(rows: u64, each_at_once: bool) {
    let dir = std::env::var("FULL_DIR").unwrap();
    let policy = DurableOptions {
        full: Full::Block(30),
        ..quick()
    };
    let memory = Memory::new();
    let mut sink = Box::new(Durable::with(memory.clone(), Path::new(&dir), policy).unwrap());
    for step in 0..rows {
        sink.write(&row(step)).unwrap();
        if each_at_once {
            sink.flush().unwrap();
        }
    }
    assert_eq!(numbers(&sink.close()), (rows, rows, 0, 0));
    assert_eq!(steps(&memory.rows()), (0..rows).collect::<Vec<_>>());
    println!("all are there");
}

#[test]
#[ignore = "runs in a process of its own, whose files may not grow beyond a limit"]
fn the_process_whose_rows_are_delivered_before_its_disk_is_full() {
    delivered_on_a_small_disk(300, true);
}

#[test]
#[ignore = "runs in a process of its own, on a disk of its own"]
fn the_process_on_a_small_disk() {
    delivered_on_a_small_disk(3_000, false);
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_full_disk_what_is_delivered_makes_room_before_a_row_is_dropped() {
    // A limit on a file's size, which any user may set; then a disk of 256 KiB, which takes more rights than some have.
    let limit = "trap '' XFSZ; ulimit -f 16; exec \"$@\"";
    let disk = "unshare -rm bash -c 'mount -t tmpfs -o size=256k tmpfs \"$FULL_DIR\" || exit 77; exec \"$@\"' bash \"$@\" || exit $?";
    let cases = [
        (
            "the_process_whose_rows_are_delivered_before_its_disk_is_full",
            limit,
        ),
        ("the_process_on_a_small_disk", disk),
    ];
    for (name, script) in cases {
        let dir = TempDir::new().unwrap();
        let program = child(name);
        let output = Command::new("bash")
            .args(["-c", script, "bash"])
            .arg(program.get_program())
            .args(program.get_args())
            .env("FULL_DIR", dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let told = String::from_utf8_lossy(&output.stderr);
        if !text.contains("running 1 test") && (told.contains("unshare") || told.contains("mount"))
        {
            println!("skipped, no disk can be mounted here: {told}");
            continue;
        }
        assert!(
            output.status.success() && text.contains("all are there"),
            "{text}{told}"
        );
    }
}

#[cfg(feature = "sqlite")]
mod many {
    use super::*;
    use grpo_metrics::store::{Split, Sqlite, Store, StoreSink};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    /// How many rows each of four runs has: `GRPO_ROWS=100000` for the whole of it.
    fn rows_each() -> u64 {
        let set = std::env::var("GRPO_ROWS").ok();
        set.map_or(4_000, |rows| rows.parse().unwrap())
    }

    #[test]
    fn four_threads_and_two_readers_share_a_store_without_loss() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("runs.db");
        drop(Sqlite::open(&path).unwrap());
        let rows = rows_each();
        let over = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (path, over) = (path.clone(), Arc::clone(&over));
                thread::spawn(move || {
                    let store = Sqlite::open_read_only(&path).unwrap();
                    let mut reads = 0u64;
                    while !over.load(Ordering::SeqCst) {
                        store.overview().unwrap();
                        store.last_metrics("run-0", 50).unwrap();
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let begin = std::time::Instant::now();
        let writers: Vec<_> = (0..4)
            .map(|thread| {
                let (path, journal) = (path.clone(), dir.path().join(format!("journal-{thread}")));
                thread::spawn(move || {
                    let sink = StoreSink::open(&path, format!("run-{thread}")).unwrap();
                    let mut sink = Box::new(Durable::with(sink, journal, quick()).unwrap());
                    for step in 0..rows {
                        let row = Row {
                            step,
                            metrics: [("reward", step as f64), ("loss", 0.5)]
                                .into_iter()
                                .collect(),
                            ..Row::default()
                        };
                        sink.write(&row).unwrap();
                    }
                    sink.flush_within(Duration::from_secs(300));
                    sink.close()
                })
            })
            .collect();
        for writer in writers {
            let receipt = writer.join().unwrap();
            assert_eq!(numbers(&receipt), (rows, rows, 0, 0));
            // `busy` would stand here.
            assert_eq!(receipt.error, None);
        }
        let took = begin.elapsed();
        over.store(true, Ordering::SeqCst);
        let reads: u64 = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        println!("4 runs of {rows} rows in {took:?}, {reads} reads meanwhile");
        let store = Sqlite::open_read_only(&path).unwrap();
        for thread in 0..4 {
            let run = format!("run-{thread}");
            let metrics = store
                .get_metrics(&run, Some("reward"), Some(Split::Train))
                .unwrap();
            assert_eq!(metrics.len() as u64, rows);
            assert!(
                metrics
                    .iter()
                    .enumerate()
                    .all(|(n, m)| m.step == n as u64 && m.value == n as f64)
            );
        }
    }
}

#[cfg(all(feature = "evsys", feature = "sqlite"))]
mod kill {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;
    use std::thread;
    use std::time::{SystemTime, UNIX_EPOCH};

    use crate::gateway::{Fault, Gateway, KEY};
    use grpo_metrics::sink::{Csv, Fanout};
    use grpo_metrics::store::{EvSys, Patience, Resume, RunSpec, Split, Sqlite, Store, StoreSink};
    use rusqlite::Connection;

    const STEPS: u64 = 2_000;

    /// How often the run is killed: `GRPO_KILLS=50` for the whole of it.
    fn kills() -> u64 {
        let set = std::env::var("GRPO_KILLS").ok();
        set.map_or(10, |kills| kills.parse().unwrap())
    }

    fn say(line: &str) {
        let mut out = std::io::stdout().lock();
        out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    }

    #[test]
    #[ignore = "runs in a process of its own, which is killed"]
    fn the_process_that_is_killed() {
        let set = |name| std::env::var(name).unwrap();
        let dir = std::path::PathBuf::from(set("KILL_DIR"));
        let patience = Patience {
            answer: Duration::from_secs(5),
            retries: 3,
            backoff: (Duration::from_millis(1), Duration::from_millis(10)),
            under_way: Duration::from_millis(50),
            ..Patience::default()
        };
        let gateway = EvSys::new(&set("KILL_URL"), KEY)
            .unwrap()
            .patience(patience)
            .dead_letters(dir.join("dead.jsonl"));
        let gateway = StoreSink::over(Box::new(gateway), set("KILL_RUN")).unwrap();
        let again = RunSpec::new("run").resume(Resume::Allow);
        let mut sinks = Fanout::default()
            .with(StoreSink::open(dir.join("runs.db"), again).unwrap())
            .with(Jsonl::open(dir.join("rows.jsonl")).unwrap())
            .with(Durable::with(gateway, dir.join("journal"), quick()).unwrap())
            .with(
                Durable::with(
                    Jsonl::open(dir.join("behind.jsonl")).unwrap(),
                    dir.join("journal-2"),
                    quick(),
                )
                .unwrap(),
            )
            .with(
                Durable::with(
                    Csv::open(dir.join("behind.csv")).unwrap(),
                    dir.join("journal-3"),
                    quick(),
                )
                .unwrap(),
            );
        for step in set("KILL_FROM").parse().unwrap()..STEPS {
            say(&format!("start {step}"));
            sinks.write(&row(step)).unwrap();
            say(&format!("ack {step}"));
        }
        let receipts = sinks.close_each();
        assert!(
            receipts
                .iter()
                .all(|receipt| receipt.pending + receipt.dropped == 0),
            "{receipts:?}"
        );
        say("done");
    }

    /// Numbers from a seed (splitmix64).
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % n
        }
    }

    /// What the run had done when it was killed.
    #[derive(Default)]
    struct Seen {
        /// The step to go on with: one that was begun is not begun again, as it may be written already.
        next: u64,
        acknowledged: Vec<u64>,
        done: bool,
    }

    /// Everything acknowledged is there, in order, nothing is there twice, and nothing that was never begun.
    fn sound(what: &str, found: &[u64], seen: &Seen) {
        assert!(
            found.windows(2).all(|pair| pair[0] < pair[1]),
            "{what}: twice or out of order: {found:?}"
        );
        let missing: Vec<_> = seen
            .acknowledged
            .iter()
            .filter(|step| found.binary_search(step).is_err())
            .collect();
        assert!(missing.is_empty(), "{what}: missing {missing:?}");
        assert!(found.last().is_none_or(|last| *last < seen.next), "{what}");
    }

    fn check_files(dir: &Path, seen: &Seen) {
        sound("jsonl", &steps_of_jsonl(&dir.join("rows.jsonl")), seen);
        let database = dir.join("runs.db");
        let store = Sqlite::open_read_only(&database).unwrap();
        let metrics = store.get_metrics("run", None, Some(Split::Train)).unwrap();
        let mut steps = Vec::new();
        for of_step in metrics.chunk_by(|a, b| a.step == b.step) {
            let step = of_step[0].step;
            let expected = row(step);
            assert_eq!(of_step.len(), expected.metrics.len(), "step {step}");
            assert!(
                of_step
                    .iter()
                    .all(|m| expected.metrics.get(&m.name) == Some(m.value)),
                "step {step}"
            );
            steps.push(step);
        }
        sound("sqlite", &steps, seen);
        let checked: String = Connection::open(&database)
            .unwrap()
            .query_row("PRAGMA integrity_check", [], |line| line.get(0))
            .unwrap();
        assert_eq!(checked, "ok");
    }

    /// Lets the run live until `kill` says so after `acks` acknowledged steps, or until it is done.
    fn live(
        dir: &Path,
        gateway: &Gateway,
        run: &str,
        seen: &mut Seen,
        kill: Option<(u64, Duration)>,
    ) {
        let mut process = child("kill::the_process_that_is_killed")
            .env("KILL_DIR", dir)
            .env("KILL_URL", gateway.url())
            .env("KILL_RUN", run)
            .env("KILL_FROM", seen.next.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut acks = 0;
        if let Some((0, after)) = kill {
            thread::sleep(after);
            process.kill().unwrap();
        }
        while let Some(Ok(line)) = lines.next() {
            if let Some(step) = line.strip_prefix("start ") {
                seen.next = step.parse::<u64>().unwrap() + 1;
            } else if let Some(step) = line.strip_prefix("ack ") {
                seen.acknowledged.push(step.parse().unwrap());
                acks += 1;
                if let Some((at, after)) = kill
                    && acks == at
                {
                    thread::sleep(after);
                    // SIGKILL. What it said before that is still in the pipe, and counts.
                    process.kill().unwrap();
                }
            }
            seen.done |= line == "done";
        }
        let status = process.wait().unwrap();
        assert!(kill.is_some() || status.success(), "{status}");
    }

    #[test]
    fn a_run_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing() {
        let seed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_nanos();
        println!("seed {seed}");
        let mut random = Random(u64::from(seed));
        let dir = TempDir::new().unwrap();
        let gateway = Gateway::start();
        let run = gateway.run();
        gateway.script(|n, op, _| match n {
            _ if op != "log_metrics" => (n % 13 == 5).then_some(Fault::Lose),
            n if n % 7 == 3 => Some(Fault::Lose),
            n if n % 11 == 4 => Some(Fault::Status(500, "")),
            n if n % 17 == 6 => Some(Fault::Truncate),
            _ => None,
        });
        let mut seen = Seen::default();
        let kills = kills();
        let mut killed = 0;
        for kill in 0..kills {
            // So that the run lasts for all kills, and some of them hit it while it is coming up.
            let left = STEPS - seen.next;
            let fair = (2 * left / (kills - kill)).max(1);
            let most = left.saturating_sub(10 * (kills - kill)).max(1);
            let acks = if kill % 8 == 7 {
                0
            } else {
                (1 + random.below(fair)).min(most)
            };
            let after = Duration::from_micros(random.below(if acks == 0 { 60_000 } else { 3_000 }));
            live(dir.path(), &gateway, &run, &mut seen, Some((acks, after)));
            killed += u64::from(!seen.done);
            if seen.next > 0 {
                check_files(dir.path(), &seen);
            }
        }
        live(dir.path(), &gateway, &run, &mut seen, None);
        assert!(seen.done);
        check_files(dir.path(), &seen);
        sound("gateway", &gateway.steps(&run), &seen);
        assert_eq!(
            gateway.metrics(&run).len(),
            20 * gateway.steps(&run).len(),
            "a step came in part"
        );
        sound(
            "jsonl behind a journal",
            &steps_of_jsonl(&dir.path().join("behind.jsonl")),
            &seen,
        );
        let table = csv::Reader::from_path(dir.path().join("behind.csv")).unwrap();
        let steps = table
            .into_records()
            .map(|record| record.unwrap()[0].parse().unwrap());
        sound("csv behind a journal", &steps.collect::<Vec<u64>>(), &seen);
        println!(
            "killed {killed} times: {} of {STEPS} steps acknowledged; jsonl {}, gateway {}",
            seen.acknowledged.len(),
            steps_of_jsonl(&dir.path().join("rows.jsonl")).len(),
            gateway.steps(&run).len()
        );
        assert!(!dir.path().join("dead.jsonl").exists());
    }
}
