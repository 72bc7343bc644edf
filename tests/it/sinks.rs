//! One contract for every sink: rows come back in order, undefined stays absent, and every row is accounted for.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use grpo_metrics::row::{Metrics, Row};
use grpo_metrics::sink::{
    Console, Csv, Durable, Fanout, Jsonl, KINDS, Memory, Receipt, Repair, Sink, SinkError, Target,
    TargetError,
};
use serde_json::Value;
use tempfile::TempDir;

/// A row as it came back: its step, its entries by name, its text.
#[derive(Clone, Debug, PartialEq)]
struct Back {
    step: u64,
    entries: Vec<(String, f64)>,
    text: Vec<(String, String)>,
}

impl From<&Row> for Back {
    fn from(row: &Row) -> Self {
        let mut entries: Vec<_> = row.metrics.iter().map(|(k, v)| (k.to_owned(), v)).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let mut text = row.text.clone();
        text.sort();
        Self {
            step: row.step,
            entries,
            text,
        }
    }
}

/// A sink under test, and how to read back what it wrote.
struct Case {
    name: &'static str,
    sink: Box<dyn Sink>,
    read: Box<dyn Fn() -> Vec<Back>>,
    /// A table has no text. Nor has a store, which knows a run's, and it has no row without a number in it; its zero has no sign.
    keeps: Keeps,
}

#[derive(Clone, Copy, PartialEq)]
enum Keeps {
    Rows,
    Cells,
    Numbers,
}

fn cases(dir: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name, sink: Box<dyn Sink>, read: Box<dyn Fn() -> Vec<Back>>, keeps| {
        cases.push(Case {
            name,
            sink,
            read,
            keeps,
        });
    };

    let memory = Memory::new();
    case(
        "memory",
        Box::new(memory.clone()),
        of_memory(memory),
        Keeps::Rows,
    );

    let shared = Shared::default();
    let pretty = Console::pretty().to(shared.clone());
    let read = Box::new(move || of_json(&shared.text()));
    case("console", Box::new(pretty), read, Keeps::Rows);

    let path = dir.join("rows.jsonl");
    let sink = Jsonl::open(&path).unwrap();
    let read = Box::new(move || of_json(&fs::read_to_string(&path).unwrap()));
    case("jsonl", Box::new(sink), read, Keeps::Rows);

    let shared = Shared::default();
    let sink = Jsonl::to(shared.clone());
    let read = Box::new(move || of_json(&shared.text()));
    case("jsonl", Box::new(sink), read, Keeps::Rows);

    let path = dir.join("rows.csv");
    let sink = Csv::open(&path).unwrap();
    let read = Box::new(move || of_csv(&path));
    case("csv", Box::new(sink), read, Keeps::Cells);

    let path = dir.join("behind.csv");
    let sink = Durable::new(Csv::open(&path).unwrap(), dir.join("journal-4")).unwrap();
    let read = Box::new(move || of_csv(&path));
    case("durable", Box::new(sink), read, Keeps::Cells);

    let (first, second) = (Memory::new(), Memory::new());
    let sink = Fanout::new(vec![Box::new(first.clone())]).with(second.clone());
    let (first, second) = (of_memory(first), of_memory(second));
    let read = Box::new(move || {
        assert_eq!(first(), second());
        first()
    });
    case("fanout", Box::new(sink), read, Keeps::Rows);

    let memory = Memory::new();
    let sink = Durable::new(memory.clone(), dir.join("journal")).unwrap();
    case("durable", Box::new(sink), of_memory(memory), Keeps::Rows);

    let path = dir.join("behind.jsonl");
    let sink = Durable::new(Jsonl::open(&path).unwrap(), dir.join("journal-2")).unwrap();
    let read = Box::new(move || of_json(&fs::read_to_string(&path).unwrap()));
    case("durable", Box::new(sink), read, Keeps::Rows);

    #[cfg(feature = "sqlite")]
    {
        let path = dir.join("durable.db");
        let sink = grpo_metrics::store::StoreSink::open(&path, "run").unwrap();
        let sink = Durable::new(sink, dir.join("journal-3")).unwrap();
        let read = Box::new(move || of_store(&path));
        case("durable", Box::new(sink), read, Keeps::Numbers);

        let path = dir.join("runs.db");
        let sink = grpo_metrics::store::StoreSink::open(&path, "run").unwrap();
        let read = Box::new(move || of_store(&path));
        case("store", Box::new(sink), read, Keeps::Numbers);
    }
    cases
}

fn of_memory(memory: Memory) -> Box<dyn Fn() -> Vec<Back>> {
    Box::new(move || memory.rows().iter().map(Back::from).collect())
}

/// Reads JSON rows, one line each or pretty; a null or any other surprise fails.
fn of_json(text: &str) -> Vec<Back> {
    let rows = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    rows.map(|row| {
        let row = row.unwrap();
        let row = row.as_object().unwrap();
        assert!(
            row.keys()
                .all(|key| ["ts", "step", "metrics", "run"].contains(&key.as_str()))
        );
        number(&row["ts"]);
        let text = row.get("run").map_or(Vec::new(), |run| {
            let run = run.as_object().unwrap();
            assert!(!run.is_empty());
            run.iter()
                .map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()))
                .collect()
        });
        let mut entries: Vec<_> = row["metrics"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.clone(), number(v)))
            .collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Back {
            step: row["step"].as_u64().unwrap(),
            entries,
            text,
        }
    })
    .collect()
}

/// Reads a table: a row a line, an empty cell for what it has not.
fn of_csv(path: &Path) -> Vec<Back> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let keys = reader.headers().unwrap().clone();
    let row = |record: csv::StringRecord| {
        let cells = keys.iter().zip(&record).skip(1);
        let filled = cells.filter(|(_, cell)| !cell.is_empty());
        let mut entries: Vec<_> = filled
            .map(|(key, cell)| (key.to_owned(), cell.parse().unwrap()))
            .collect();
        entries.sort_by(|a: &(String, f64), b| a.0.cmp(&b.0));
        Back {
            step: record[0].parse().unwrap(),
            entries,
            text: Vec::new(),
        }
    };
    reader
        .records()
        .map(|record| row(record.unwrap()))
        .collect()
}

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        Some("NaN") => f64::NAN,
        _ => value.as_f64().unwrap(),
    }
}

#[cfg(feature = "sqlite")]
fn of_store(path: &Path) -> Vec<Back> {
    use grpo_metrics::store::{Sqlite, Store};
    let store = Sqlite::open_read_only(path).unwrap();
    let mut rows: Vec<Back> = Vec::new();
    for metric in store.get_metrics("run", None, None).unwrap() {
        if rows.last().is_none_or(|row| row.step != metric.step) {
            rows.push(Back {
                step: metric.step,
                entries: Vec::new(),
                text: Vec::new(),
            });
        }
        rows.last_mut()
            .unwrap()
            .entries
            .push((metric.name, metric.value));
    }
    rows
}

/// A writer that several hold.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn row(step: u64, entries: impl IntoIterator<Item = (&'static str, f64)>) -> Row {
    Row {
        step,
        timestamp: 1_700_000_000.25,
        metrics: entries.into_iter().collect(),
        ..Row::default()
    }
}

/// Rows of every kind: doubles at the edges, infinities, odd keys, none, very many.
fn rows() -> Vec<Row> {
    let mut first = row(
        1,
        [
            ("loss", 0.1),
            ("kl", -0.0),
            ("tiny", 5e-324),
            ("huge", f64::MAX),
        ],
    );
    first.text = vec![
        ("run/git_sha".to_owned(), "abc".to_owned()),
        ("run/note".to_owned(), "a \"b\"\nc".to_owned()),
    ];
    let many: Metrics = (0..1500)
        .map(|i| (format!("many/{i:04}"), 1.0 / f64::from(i + 1)))
        .collect();
    vec![
        first,
        row(
            2,
            [
                ("up", f64::INFINITY),
                ("down", f64::NEG_INFINITY),
                ("third", 1.0 / 3.0),
            ],
        ),
        row(3, []),
        row(
            5,
            [
                ("train/q\"uote'd\\", 1.0),
                ("ключ/鍵/🔑", 2.0),
                ("a,b;c\t\n", 3.0),
                ("", 4.0),
                ("'); DROP TABLE metrics; --", 5.0),
            ],
        ),
        Row {
            metrics: many,
            ..row(1 << 40, [])
        },
    ]
}

fn balanced(receipt: &Receipt) {
    assert_eq!(
        receipt.accepted,
        receipt.written + receipt.dropped,
        "{receipt:?}"
    );
    assert_eq!(receipt.pending, 0, "{receipt:?}");
}

fn bits(rows: &[Back], keeps: Keeps) -> Vec<u64> {
    let entries = rows.iter().flat_map(|row| &row.entries);
    let unsigned_zero = |value: f64| {
        if keeps == Keeps::Numbers {
            value + 0.0
        } else {
            value
        }
    };
    entries
        .map(|entry| unsigned_zero(entry.1).to_bits())
        .collect()
}

#[test]
fn rows_come_back_in_order_whole_and_to_the_last_bit() {
    let dir = TempDir::new().unwrap();
    for mut case in cases(dir.path()) {
        for row in rows() {
            case.sink.write(&row).unwrap();
        }
        case.sink.flush().unwrap();
        let expected: Vec<Back> = rows()
            .iter()
            .filter(|row| case.keeps != Keeps::Numbers || !row.metrics.is_empty())
            .map(|row| Back {
                text: if case.keeps == Keeps::Rows {
                    Back::from(row).text
                } else {
                    Vec::new()
                },
                ..Back::from(row)
            })
            .collect();
        let back = (case.read)();
        assert!(back == expected, "{}: {back:?}", case.name);
        assert_eq!(
            bits(&back, case.keeps),
            bits(&expected, case.keeps),
            "{}",
            case.name
        );

        let receipt = case.sink.close();
        assert_eq!(receipt.sink, case.name);
        assert_eq!(
            (receipt.accepted, receipt.written, receipt.dropped),
            (5, 5, 0),
            "{}",
            case.name
        );
        assert_eq!(receipt.error, None);
        assert!(
            (case.read)() == expected,
            "{}: closing changed the rows",
            case.name
        );
    }
}

#[test]
fn every_kind_that_a_text_names_takes_rows_by_itself_and_behind_a_journal() {
    let dir = TempDir::new().unwrap();
    for kind in KINDS {
        let is_console = kind.name == "console";
        let path = if is_console {
            "line".into()
        } else {
            dir.path().join(kind.name)
        };
        let target: Result<Target, TargetError> =
            format!("{}:{}", kind.name, path.display()).parse();
        let target = match target {
            Ok(target) => target,
            Err(error) => {
                let expected = format!("this program was built without `{}`", kind.name);
                assert_eq!(error.to_string(), expected);
                continue;
            }
        };
        let mut sink = target.open().unwrap();
        assert_eq!(sink.name(), kind.name);
        let journal = dir.path().join(format!("{}.journal", kind.name));
        for row in rows() {
            sink.write(&row).unwrap();
        }
        let receipt = sink.close();
        assert_eq!((receipt.accepted, receipt.written), (5, 5), "{receipt:?}");
        let mut durable = Box::new(Durable::new(target.open().unwrap(), journal).unwrap());
        durable.write(&row(1 << 41, [("loss", 0.5)])).unwrap();
        let receipt = durable.close();
        assert_eq!((receipt.accepted, receipt.written), (1, 1), "{receipt:?}");
        assert!(is_console || path.exists());
    }
}

#[test]
fn a_table_holds_the_very_rows_that_it_has_lines_of() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("rows.csv");
    let mut sink = Csv::open(&path).unwrap();
    for row in rows() {
        sink.write(&row).unwrap();
    }
    let mut again = Csv::open(&path).unwrap();
    for row in rows() {
        assert!(again.holds(&row).unwrap(), "{}", row.step);
    }
    let others = [
        row(6, [("loss", 0.1)]),
        row(1, [("loss", 0.1)]),
        row(3, [("new", 1.0)]),
    ];
    for other in others {
        assert!(!again.holds(&other).unwrap(), "{}", other.step);
    }
}

#[test]
fn a_file_that_is_no_table_of_ours_is_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("theirs.csv");
    for theirs in ["epoch,loss\n1,0.5\n2,0.", "no table", "steps,loss\n1"] {
        fs::write(&path, theirs).unwrap();
        let error = Csv::open(&path).unwrap_err().to_string();
        assert!(error.contains("first column is `step`"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), theirs);
    }
    // Its own, torn at any byte.
    let whole = "step,loss\n1,0.5\n";
    for end in 0..=whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let mut sink = Csv::open(&path).unwrap();
        sink.write(&row(2, [("loss", 0.25)])).unwrap();
        let expected = if end == whole.len() { 2 } else { 1 };
        assert_eq!(of_csv(&path).len(), expected, "{end}");
    }
    let error = Csv::open(dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("csv: could not open"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_table_that_is_deleted_is_put_back_and_one_that_is_cut_replaced_or_moved_goes_on() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("rows.csv");
    let steps = |path: &Path| of_csv(path).iter().map(|row| row.step).collect::<Vec<_>>();
    let mut sink = Box::new(Csv::open(&path).unwrap());
    let mut write = |step| sink.write(&row(step, [("loss", 0.5)])).unwrap();
    write(1);
    fs::remove_file(&path).unwrap();
    write(2);
    assert_eq!(steps(&path), [1, 2]);
    let moved = dir.path().join("moved.csv");
    fs::rename(&path, &moved).unwrap();
    write(3);
    assert_eq!((steps(&moved), steps(&path)), (vec![1, 2], vec![3]));
    fs::write(&path, "").unwrap();
    write(4);
    assert_eq!(steps(&path), [4]);
    let other = dir.path().join("other.csv");
    fs::write(&other, "step,kl\n9,0.25\n").unwrap();
    fs::rename(&other, &path).unwrap();
    write(5);
    assert_eq!(steps(&path), [9, 5]);
    fs::remove_file(&path).unwrap();
    let receipt = sink.close();
    assert_eq!((receipt.accepted, receipt.written), (5, 5));
    assert_eq!(steps(&path), [9, 5]);
}

#[test]
fn what_is_undefined_stays_absent_in_every_sink() {
    let dir = TempDir::new().unwrap();
    for mut case in cases(dir.path()) {
        case.sink.write(&row(1, [("a", 1.0), ("b", 2.0)])).unwrap();
        case.sink.write(&row(2, [("a", 3.0)])).unwrap();
        balanced(&case.sink.close());
        let back = (case.read)();
        assert_eq!(back[1].entries, [("a".to_owned(), 3.0)], "{}", case.name);
    }
}

#[test]
fn a_sink_that_took_nothing_accounts_for_nothing() {
    let dir = TempDir::new().unwrap();
    for case in cases(dir.path()) {
        let receipt = case.sink.close();
        assert_eq!(
            (receipt.accepted, receipt.written, receipt.dropped),
            (0, 0, 0)
        );
        assert_eq!(receipt.error, None);
        assert!((case.read)().is_empty());
    }
}

/// A writer that refuses every second write.
#[derive(Clone, Default)]
struct Moody(Shared, Arc<Mutex<u32>>);

impl Write for Moody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut calls = self.1.lock().unwrap();
        *calls += 1;
        if calls.is_multiple_of(2) {
            return Err(io::Error::other("not now"));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_goes_on_after_a_row_it_could_not_take() {
    let sinks: [fn(Moody) -> Box<dyn Sink>; 3] = [
        |out| Box::new(Console::line().to(out)),
        |out| Box::new(Console::pretty().to(out)),
        |out| Box::new(Fanout::default().with(Console::line().to(out))),
    ];
    for sink in sinks {
        let out = Moody::default();
        let mut sink = sink(out.clone());
        let outcomes: Vec<bool> = (1..=4)
            .map(|step| sink.write(&row(step, [("a", 1.0)])).is_ok())
            .collect();
        assert_eq!(outcomes, [true, false, true, false]);
        assert!(!out.0.text().is_empty());
        let receipt = sink.close();
        assert_eq!(
            (receipt.accepted, receipt.written, receipt.dropped),
            (4, 2, 2)
        );
        assert!(receipt.error.unwrap().contains("not now"));
    }
}

#[test]
fn a_console_line_has_the_step_and_the_metrics_of_its_row_only() {
    let out = Shared::default();
    let mut sink = Box::new(Console::line().to(out.clone()));
    sink.write(&row(
        1,
        [("train/reward", 0.5), ("train/kl", f64::INFINITY)],
    ))
    .unwrap();
    sink.write(&row(2, [])).unwrap();
    sink.write(&row(3, [("reward", 0.25)])).unwrap();
    balanced(&sink.close());
    assert_eq!(
        out.text(),
        "step 1  reward 0.5  kl inf\nstep 2\nstep 3  reward 0.25\n"
    );
}

#[test]
fn a_jsonl_row_is_one_write_of_one_line() {
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<String>>>);
    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .unwrap()
                .push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let writes = Writes::default();
    let mut sink = Box::new(Jsonl::to(writes.clone()));
    for row in rows() {
        sink.write(&row).unwrap();
    }
    balanced(&sink.close());
    let writes = writes.0.lock().unwrap();
    assert_eq!(writes.len(), rows().len());
    for write in writes.iter() {
        assert_eq!(write.find('\n'), Some(write.len() - 1));
    }
    assert!(
        writes[1].starts_with(
            r#"{"ts":1700000000.25,"step":2,"metrics":{"up":"Infinity","down":"-Infinity","#
        ),
        "{}",
        writes[1]
    );
    assert!(!writes[1].contains("run"));
}

fn jsonl_file(content: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("rows.jsonl");
    fs::write(&path, content).unwrap();
    (dir, path)
}

#[test]
fn a_torn_last_row_is_cut_off_and_reported_when_the_file_is_opened_again() {
    let whole = "{\"ts\":1.0,\"step\":1,\"metrics\":{\"é\":1.0}}\n";
    let next = "{\"ts\":2.0,\"step\":2,\"metrics\":{\"é\":2.0}}";
    for torn in 1..next.len() {
        let bytes = [whole.as_bytes(), &next.as_bytes()[..torn]].concat();
        let (_dir, path) = jsonl_file("");
        fs::write(&path, bytes).unwrap();
        let mut sink = Box::new(Jsonl::open(&path).unwrap());
        assert_eq!(sink.repaired(), Repair::Truncated(torn as u64));
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        sink.write(&row(3, [("a", 1.0)])).unwrap();
        balanced(&sink.close());
        let steps: Vec<u64> = of_json(&fs::read_to_string(&path).unwrap())
            .iter()
            .map(|row| row.step)
            .collect();
        assert_eq!(steps, [1, 3]);
    }
}

#[test]
fn a_whole_last_row_without_its_line_break_gets_it() {
    let (_dir, path) = jsonl_file("{\"ts\":1.0,\"step\":1,\"metrics\":{}}");
    let mut sink = Box::new(Jsonl::open(&path).unwrap());
    assert_eq!(sink.repaired(), Repair::Completed);
    sink.write(&row(2, [])).unwrap();
    balanced(&sink.close());
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert_eq!(of_json(&text).len(), 2);
}

#[test]
fn reopening_a_whole_file_appends_to_it() {
    let (_dir, path) = jsonl_file("");
    for step in 1..=3 {
        let mut sink = Box::new(Jsonl::open(&path).unwrap());
        assert_eq!(sink.repaired(), Repair::None);
        sink.write(&row(step, [("a", 0.5)])).unwrap();
        balanced(&sink.close());
    }
    let steps: Vec<u64> = of_json(&fs::read_to_string(&path).unwrap())
        .iter()
        .map(|row| row.step)
        .collect();
    assert_eq!(steps, [1, 2, 3]);
}

#[test]
fn a_file_that_holds_no_rows_is_left_as_it_is() {
    let (_dir, path) = jsonl_file("my notes\nnever finished");
    let error = Jsonl::open(&path).unwrap_err();
    assert!(matches!(error, SinkError::NotRows { at: 9, .. }));
    assert!(error.to_string().contains("never finished"), "{error}");
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "my notes\nnever finished"
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let error = Jsonl::open("/no/such/folder/rows.jsonl").unwrap_err();
    assert!(
        error.to_string().contains("/no/such/folder/rows.jsonl"),
        "{error}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_rows_and_counts_them() {
    let mut sink = Box::new(Jsonl::open("/dev/full").unwrap());
    assert!(sink.write(&row(1, [])).is_err());
    assert!(sink.write(&row(2, [])).is_err());
    let receipt = sink.close();
    assert_eq!(
        (receipt.accepted, receipt.written, receipt.dropped),
        (2, 0, 2)
    );
    assert!(receipt.error.is_some());
}

/// A sink that fails or panics as told.
struct Bad(fn() -> Result<(), SinkError>, u64);

fn refuses() -> Result<(), SinkError> {
    Err(SinkError::Store("refused".into()))
}

fn panics() -> Result<(), SinkError> {
    panic!("out of luck")
}

impl Sink for Bad {
    fn name(&self) -> &'static str {
        "bad"
    }
    fn write(&mut self, _: &Row) -> Result<(), SinkError> {
        self.1 += 1;
        self.0()
    }
    fn flush(&mut self) -> Result<(), SinkError> {
        self.0()
    }
    fn close(self: Box<Self>) -> Receipt {
        let _ = self.0();
        Receipt {
            sink: "bad".to_owned(),
            accepted: self.1,
            dropped: self.1,
            ..Receipt::default()
        }
    }
}

#[test]
fn a_bad_sink_stops_no_other() {
    for (bad, said) in [(refuses as fn() -> _, "refused"), (panics, "out of luck")] {
        let (before, after) = (Memory::new(), Memory::new());
        let build = || {
            Fanout::default()
                .with(before.clone())
                .with(Bad(bad, 0))
                .with(after.clone())
        };
        let mut sink = build();
        for step in 1..=3 {
            let error = sink.write(&row(step, [("a", 1.0)])).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        assert!(sink.flush().is_err());
        assert_eq!((before.rows().len(), after.rows().len()), (3, 3));
        let receipts = sink.close_each();
        let counts: Vec<_> = receipts
            .iter()
            .map(|r| (r.accepted, r.written, r.dropped))
            .collect();
        assert_eq!(counts, [(3, 3, 0), (3, 0, 3), (3, 3, 0)]);
        assert!(receipts[1].error.as_ref().unwrap().contains(said));
        assert_eq!(receipts[0].error, None);

        let mut sink = Box::new(build());
        sink.write(&row(4, [])).unwrap_err();
        let receipt = sink.close();
        assert_eq!(
            (receipt.accepted, receipt.written, receipt.dropped),
            (1, 0, 1)
        );
        assert!(receipt.error.unwrap().contains(said));
    }
}

#[test]
fn several_bad_sinks_are_all_told_of() {
    let mut sink = Fanout::default().with(Bad(refuses, 0)).with(Bad(panics, 0));
    let SinkError::Several(errors) = sink.write(&row(1, [])).unwrap_err() else {
        panic!("expected several errors");
    };
    assert_eq!(errors.len(), 2);
}

#[test]
fn a_fanout_over_nothing_takes_rows() {
    let mut sink = Box::new(Fanout::default());
    assert!(sink.is_empty());
    sink.write(&row(1, [])).unwrap();
    let receipt = sink.close();
    assert_eq!(
        (receipt.accepted, receipt.written, receipt.dropped),
        (1, 1, 0)
    );
}

#[test]
fn a_memory_can_be_read_while_it_is_written() {
    let memory = Memory::new();
    assert_eq!(memory.last(), None);
    let mut sink: Box<dyn Sink> = Box::new(memory.clone());
    sink.write(&row(7, [("a", 1.0)])).unwrap();
    assert_eq!(memory.last().unwrap().step, 7);
    balanced(&sink.close());
    assert_eq!(memory.rows().len(), 1);
}
