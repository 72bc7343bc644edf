//! A queue in memory before a sink: nobody waits, and every row is accounted for.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grpo_metrics::engine::Engine;
use grpo_metrics::row::Row;
use grpo_metrics::row::run::{Ending, Status};
use grpo_metrics::row::table::Table;
use grpo_metrics::sink::{
    Delivery, Durable, DurableOptions, Memory, Outlet, Queue, Queued, Receipt, Sink, SinkError,
};

fn row(step: u64) -> Row {
    Row {
        step,
        metrics: [("a", step as f64)].into_iter().collect(),
        ..Row::default()
    }
}

fn counts(receipt: &Receipt) -> (u64, u64, u64, u64) {
    assert_eq!(
        receipt.accepted,
        receipt.written + receipt.dropped + receipt.pending,
        "{receipt:?}"
    );
    let Receipt {
        accepted,
        written,
        dropped,
        pending,
        ..
    } = *receipt;
    (accepted, written, dropped, pending)
}

/// What a sink heard, in order.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Row(u64),
    Ended(Status),
    Closed,
}

/// Stands still at each row until it is let go on, and then does as `moods` says of its step, once each; else takes it.
struct Slow {
    go_on: Receiver<()>,
    moods: BTreeMap<u64, Vec<Mood>>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

#[derive(Clone, Copy)]
enum Mood {
    Away,
    Refuses,
    Panics,
}

impl Slow {
    fn new(
        moods: impl IntoIterator<Item = (u64, Vec<Mood>)>,
    ) -> (Self, Sender<()>, Arc<Mutex<Vec<Heard>>>) {
        let (send, go_on) = channel();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let slow = Self {
            go_on,
            moods: moods.into_iter().collect(),
            heard: Arc::clone(&heard),
        };
        (slow, send, heard)
    }
}

impl Sink for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        // An error once nobody is there any more to let it go on: it stands still no longer.
        let _ = self.go_on.recv();
        let mood = self.moods.get_mut(&row.step).and_then(Vec::pop);
        match mood {
            None => {
                self.heard.lock().unwrap().push(Heard::Row(row.step));
                Ok(())
            }
            Some(Mood::Away) => Err(SinkError::Io {
                sink: "slow",
                act: "reach",
                target: "the server".to_owned(),
                source: io::Error::other("away"),
            }),
            Some(Mood::Refuses) => Err(SinkError::Refused("never".into())),
            Some(Mood::Panics) => panic!("a bug in a sink"),
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn ended(&mut self, ending: &Ending) -> Result<(), SinkError> {
        self.heard.lock().unwrap().push(Heard::Ended(ending.status));
        Ok(())
    }

    fn close(self: Box<Self>) -> Receipt {
        self.heard.lock().unwrap().push(Heard::Closed);
        Receipt::default()
    }
}

#[test]
fn no_step_waits_for_a_sink_that_stands_still_and_the_end_waits_for_every_row() {
    let (slow, go_on, heard) = Slow::new([]);
    let mut engine = Engine::builder()
        .sink(Queued::new(slow).unwrap())
        .build()
        .unwrap();
    for step in 1..=20 {
        // Returns although the sink has not taken the first row.
        engine.step(step).unwrap();
    }
    assert_eq!(*heard.lock().unwrap(), []);
    drop(go_on);
    let (_, receipts) = engine.finish_as(&Ending::failed("out of memory"));
    assert_eq!(receipts[0].sink, "slow");
    assert_eq!(counts(&receipts[0]), (20, 20, 0, 0));
    let expected: Vec<Heard> = (1..=20)
        .map(Heard::Row)
        .chain([Heard::Ended(Status::Failed), Heard::Closed])
        .collect();
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[test]
fn what_is_away_is_asked_again_and_what_is_refused_for_good_costs_that_row_alone() {
    let moods = [(1, vec![Mood::Away, Mood::Away]), (2, vec![Mood::Refuses])];
    let (slow, go_on, heard) = Slow::new(moods);
    drop(go_on);
    let mut sink = Box::new(Queued::new(slow).unwrap());
    for step in 1..=3 {
        sink.write(&row(step)).unwrap();
    }
    let receipt = sink.close();
    assert_eq!(counts(&receipt), (3, 2, 1, 0));
    assert_eq!(receipt.error.as_deref(), Some("store: never"));
    let heard: Vec<Heard> = heard.lock().unwrap().clone();
    assert_eq!(heard, [Heard::Row(1), Heard::Row(3), Heard::Closed]);
}

#[test]
fn a_row_that_makes_the_sink_panic_costs_itself_alone() {
    // Once in whatever company, and once by itself.
    let (slow, go_on, heard) = Slow::new([(1, vec![Mood::Panics, Mood::Panics])]);
    drop(go_on);
    let mut sink = Box::new(Queued::new(slow).unwrap());
    sink.write(&row(1)).unwrap();
    sink.write(&row(2)).unwrap();
    let receipt = sink.close();
    assert_eq!(receipt.accepted, 2);
    assert!(receipt.written >= 1, "{receipt:?}");
    assert!(heard.lock().unwrap().contains(&Heard::Row(2)));
}

#[test]
fn without_room_a_row_is_dropped_told_of_and_counted() {
    let (slow, go_on, heard) = Slow::new([]);
    let mut sink = Box::new(Queued::new(slow).unwrap().capacity(2));
    sink.write(&row(1)).unwrap();
    sink.write(&row(2)).unwrap();
    let error = sink.write(&row(3)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "slow: expected room for a row, found 2 waiting to be delivered"
    );
    assert_eq!(counts(&sink.receipt()), (3, 0, 1, 2));
    drop(go_on);
    sink.flush().unwrap();
    sink.write(&row(4)).unwrap();
    assert_eq!(counts(&sink.close()), (4, 3, 1, 0));
    let heard: Vec<Heard> = heard.lock().unwrap().clone();
    assert_eq!(heard[..3], [Heard::Row(1), Heard::Row(2), Heard::Row(4)]);
}

#[test]
fn what_is_still_waiting_when_patience_ends_is_lost_and_said_so() {
    let (slow, _standing_still, heard) = Slow::new([]);
    let sink = Queued::new(slow).unwrap().patience(Duration::ZERO);
    let mut sink = Box::new(sink);
    for step in 1..=3 {
        sink.write(&row(step)).unwrap();
    }
    let flushed = sink.flush().unwrap_err().to_string();
    assert!(
        flushed.starts_with("slow: 3 rows are still waiting"),
        "{flushed}"
    );
    let receipt = sink.close();
    assert_eq!(counts(&receipt), (3, 0, 3, 0));
    assert_eq!(
        receipt.error.unwrap(),
        "slow: 3 rows were still waiting at the end, and are lost: no time left"
    );
    assert_eq!(*heard.lock().unwrap(), []);
}

#[test]
fn a_queue_that_is_dropped_delivers_and_says_that_the_run_has_not_ended() {
    let (slow, go_on, heard) = Slow::new([]);
    let mut sink = Queued::new(slow).unwrap();
    sink.write(&row(1)).unwrap();
    drop(go_on);
    drop(sink);
    let expected = [Heard::Row(1), Heard::Ended(Status::Running), Heard::Closed];
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[test]
fn a_table_is_shown_behind_the_rows() {
    struct Shows(Memory, Arc<Mutex<Vec<String>>>);
    impl Sink for Shows {
        fn name(&self) -> &'static str {
            "shows"
        }
        fn write(&mut self, row: &Row) -> Result<(), SinkError> {
            self.0.write(row)
        }
        fn show(&mut self, table: &Table) -> Result<(), SinkError> {
            let shown = format!("{} after {}", table.name, self.0.rows().len());
            self.1.lock().unwrap().push(shown);
            Ok(())
        }
        fn flush(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn close(self: Box<Self>) -> Receipt {
            Box::new(self.0).close()
        }
    }
    let shown = Arc::default();
    let mut sink = Box::new(Queued::new(Shows(Memory::new(), Arc::clone(&shown))).unwrap());
    sink.write(&row(1)).unwrap();
    sink.flush().unwrap();
    let table = Table {
        name: "samples".to_owned(),
        ..Table::default()
    };
    sink.show(&table).unwrap();
    assert_eq!(counts(&sink.close()), (1, 1, 0, 0));
    assert_eq!(*shown.lock().unwrap(), ["samples after 1"]);
}

/// The words of each call.
type Calls = Arc<Mutex<Vec<Vec<String>>>>;

/// Takes words, two of a first letter at a time; none while it is away, and never one that shouts.
struct Words {
    away: Arc<Mutex<u32>>,
    calls: Calls,
}

impl Outlet<String> for Words {
    fn name(&self) -> &'static str {
        "words"
    }

    fn take(&mut self, words: &[String]) -> Delivery {
        let alike = |words: &[String]| {
            let first = words[0].chars().next();
            let alike = words
                .iter()
                .take_while(|word| word.chars().next() == first)
                .count();
            alike.min(2)
        };
        Delivery::of(words, alike, |words| {
            let mut away = self.away.lock().unwrap();
            if *away > 0 {
                *away -= 1;
                return Err(SinkError::other("words: away"));
            }
            if words.iter().any(|word| word.ends_with('!')) {
                return Err(SinkError::refused("words: expected no shouting"));
            }
            self.calls.lock().unwrap().push(words.to_vec());
            Ok(())
        })
    }
}

/// A queue of words, how often it is away, and the calls.
fn words(away: u32) -> (Queue<String>, Arc<Mutex<u32>>, Calls) {
    let (away, calls) = (Arc::new(Mutex::new(away)), Calls::default());
    let outlet = Words {
        away: Arc::clone(&away),
        calls: Arc::clone(&calls),
    };
    let queue = Queue::new("words", 100);
    queue.start(outlet).unwrap();
    (queue, away, calls)
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn items_of_another_kind_go_together_and_one_that_is_refused_costs_itself_alone() {
    let (queue, _, calls) = words(0);
    let sent = ["ab", "ac", "ad!", "ae", "ba", "ca", "cb!"];
    queue.push(sent.map(str::to_owned)).unwrap();
    let receipt = queue.close(LONG);
    assert_eq!(counts(&receipt), (7, 5, 2, 0));
    assert_eq!(
        receipt.error.as_deref(),
        Some("words: expected no shouting")
    );
    let calls = calls.lock().unwrap().clone();
    assert_eq!(
        calls,
        [vec!["ab", "ac"], vec!["ae"], vec!["ba"], vec!["ca"]]
    );
}

#[test]
fn an_attempt_ends_with_what_fails_and_a_flush_does_not() {
    let (queue, away, calls) = words(u32::MAX);
    queue.push(["a".to_owned()]).unwrap();
    let receipt = queue.attempt(LONG, || true);
    assert_eq!(counts(&receipt), (1, 0, 0, 1));
    assert_eq!(receipt.error.as_deref(), Some("words: away"));
    // Somebody who is called off waits no longer, whatever comes.
    let mut asked = 0;
    let standing = Queue::new("not started", 1);
    standing.push(["b".to_owned()]).unwrap();
    let receipt = standing.attempt(LONG, || {
        asked += 1;
        asked < 3
    });
    assert_eq!((asked, counts(&receipt)), (3, (1, 0, 0, 1)));
    *away.lock().unwrap() = 3;
    assert_eq!(counts(&queue.flush(LONG)), (1, 1, 0, 0));
    assert_eq!(calls.lock().unwrap().len(), 1);
}

#[test]
fn what_failed_is_tried_again_soon_while_somebody_waits() {
    let (slow, go_on, _) = Slow::new([(1, vec![Mood::Away; 40])]);
    drop(go_on);
    let dir = tempfile::tempdir().unwrap();
    let policy = DurableOptions {
        // Doubled as often as it fails here, it would be years.
        backoff: (Duration::from_millis(1), Duration::MAX),
        ..DurableOptions::default()
    };
    let mut sink = Durable::with(slow, dir.path(), policy).unwrap();
    sink.write(&row(1)).unwrap();
    assert_eq!(counts(&sink.flush_within(LONG)), (1, 1, 0, 0));
}
