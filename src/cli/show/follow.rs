//! A run that is being written: a line for each row, as it is stored.

use std::collections::HashMap;
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use super::ShowError;
use super::table::head;
use crate::cli::grid::GAP;
use crate::cli::interrupt;
use crate::cli::screen::{columns, shortened};
use crate::reading::{Keys, Name, ReadRun, Selected, select};
use crate::sink::{compact, lines, one_line};
use crate::store::{Split, Sqlite, Standing, Status, StoreError, StoredRow};

/// How long between two looks into the store, and between two at whether somebody wishes to stop.
const PAUSE: Duration = Duration::from_secs(1);
const BLINK: Duration = Duration::from_millis(50);

/// How many rows are shown to begin with, unless told.
const BEFORE: u64 = 10;

/// How many columns a number has at least, and a key on a terminal at most: more keys are better than whole ones.
const NUMBER: usize = 10;

/// How many columns the step has, with its split.
const STEP: usize = 8;

/// How many lines stand below a header before it is said again, where it would run out of the terminal.
const PAGE: usize = 20;

/// What is followed, and how far it has been shown.
struct Follower<'a> {
    store: &'a Sqlite,
    run: &'a str,
    keys: &'a Keys,
    all: bool,
    room: Option<usize>,
    /// The keys of the columns.
    shown: Vec<String>,
    /// The lines below the header.
    below: usize,
    /// What was written last of what was shown.
    written: u64,
}

/// Writes the last rows of a run to `out`, then each that is stored, until the run has ended.
///
/// # Errors
/// If the store cannot be read, no key matches, `out` refuses, or somebody interrupts.
pub fn follow(
    store: &Sqlite,
    run: &ReadRun<'_>,
    (keys, all, last): (&Keys, bool, Option<u64>),
    room: Option<usize>,
    out: &mut dyn Write,
) -> Result<(), ShowError> {
    interrupt::listen();
    let mut follower = Follower {
        store,
        run: &run.id,
        keys,
        all,
        room,
        shown: Vec::new(),
        below: 0,
        written: 0,
    };
    let mut left_out = None;
    loop {
        // Before the rows are read: those of a run that has ended are all there.
        let standing = follower.standing()?;
        let rows = store.rows_after(&run.id, follower.written)?;
        let shown = usize::try_from(last.unwrap_or(BEFORE)).unwrap_or(usize::MAX);
        let from = *left_out.get_or_insert_with(|| rows.len().saturating_sub(shown));
        left_out = Some(0);
        for row in &rows[from..] {
            follower.show(row, out)?;
        }
        follower.written = rows.last().map_or(follower.written, |row| row.written);
        out.flush()?;
        let goes_on = matches!(
            standing,
            Some(Standing::Noted(Status::Running | Status::Pending))
        );
        if !goes_on {
            let run = ReadRun::open(store, run.id.clone(), None)?;
            writeln!(out, "{}", head(&run))?;
            return Ok(());
        }
        for _ in 0..PAUSE.as_millis() / BLINK.as_millis() {
            if let Some(by) = interrupt::came() {
                return Err(ShowError::Interrupted {
                    run: run.id.clone(),
                    by,
                });
            }
            sleep(BLINK);
        }
    }
}

impl Follower<'_> {
    fn standing(&self) -> Result<Option<Standing>, StoreError> {
        let run = self.store.overview_of(self.run)?;
        Ok(run.and_then(|run| run.standing(SystemTime::now())))
    }

    fn show(&mut self, row: &StoredRow, out: &mut dyn Write) -> Result<(), ShowError> {
        let metrics = self.store.row_metrics(self.run, row.step, row.split)?;
        let numbers: HashMap<&str, f64> =
            metrics.iter().map(|m| (m.name.as_str(), m.value)).collect();
        let has_new = metrics
            .iter()
            .any(|metric| self.keys.have(&metric.name) && !self.shown.contains(&metric.name));
        if self.shown.is_empty() || (has_new && !self.is_full()) {
            let columns = self.columns()?;
            if columns != self.shown {
                self.shown = columns;
                self.below = 0;
            }
        }
        if self.below == 0 || (self.room.is_some() && self.below >= PAGE) {
            let header = self.line("step", &self.labels());
            out.write_all(lines(&header).as_bytes())?;
            self.below = 0;
        }
        let step = match row.split {
            Split::Train => row.step.to_string(),
            Split::Val => format!("{} val", row.step),
        };
        let cell = |key: &String| {
            let value = numbers.get(key.as_str());
            value.map_or_else(|| "-".to_owned(), |value| compact(*value))
        };
        let cells: Vec<String> = self.shown.iter().map(cell).collect();
        let line = self.line(&step, &cells);
        out.write_all(line.as_bytes())?;
        self.below += 1;
        Ok(())
    }

    /// The keys for which there is room.
    fn columns(&self) -> Result<Vec<String>, ShowError> {
        let names = self.store.names(self.run)?;
        let names = names.into_iter().map(|(split, key)| Name { key, split });
        let selected: Selected = select(names.collect(), self.keys, self.all)?;
        let mut keys: Vec<String> = Vec::new();
        for name in selected.names() {
            if !keys.contains(&name.key) {
                keys.push(name.key.clone());
            }
        }
        keys.truncate(self.most());
        Ok(keys)
    }

    /// How many keys there is room for.
    fn most(&self) -> usize {
        self.room.map_or(usize::MAX, |room| {
            (room.saturating_sub(STEP) / (NUMBER + GAP)).max(1)
        })
    }

    fn is_full(&self) -> bool {
        self.shown.len() >= self.most()
    }

    /// The keys as they stand above the columns: on a terminal without the family that all of them are of.
    fn labels(&self) -> Vec<String> {
        if self.room.is_none() {
            return self.shown.iter().map(|key| one_line(key)).collect();
        }
        let family = |key: &str| key.split_once('/').map(|(family, _)| family.to_owned());
        let first = self.shown.first().and_then(|key| family(key));
        let is_shared = |first: &String| {
            self.shown
                .iter()
                .all(|key| family(key).as_ref() == Some(first))
        };
        let start = first.filter(is_shared).map_or(0, |shared| shared.len() + 1);
        let keys: Vec<&str> = self.shown.iter().map(|key| &key[start..]).collect();
        let short = |key: &str| shortened(&one_line(key), NUMBER);
        let label = |key: &&str| {
            let is_like = |other: &&&str| short(other) == short(key);
            let alike: Vec<&str> = keys.iter().filter(is_like).copied().collect();
            short(&part_of_its_own(key, &alike))
        };
        keys.iter().map(label).collect()
    }

    fn line(&self, step: &str, cells: &[String]) -> String {
        let mut line = format!("{step:>STEP$}");
        for (cell, label) in cells.iter().zip(self.labels()) {
            let width = columns(&label).max(NUMBER) + GAP;
            line.push_str(&" ".repeat(width.saturating_sub(columns(cell))));
            line.push_str(cell);
        }
        line + "\n"
    }
}

/// The key without what all of `alike` begin and end with: of `rewards/accuracy/mean` beside `rewards/len/mean` that is `accuracy`. The
/// whole key where it is alone, or has nothing of its own.
fn part_of_its_own(key: &str, alike: &[&str]) -> String {
    let parts: Vec<&str> = key.split('/').collect();
    let all = |is_so: &dyn Fn(&[&str]) -> bool| {
        let mut others = alike
            .iter()
            .map(|other| other.split('/').collect::<Vec<_>>());
        others.all(|other| is_so(&other))
    };
    let start = (0..parts.len()).take_while(|&n| all(&|other| other.get(n) == Some(&parts[n])));
    let end = (1..=parts.len()).take_while(|&n| {
        all(&|other| other.len() >= n && other[other.len() - n] == parts[parts.len() - n])
    });
    let own = parts.get(start.count()..parts.len() - end.count());
    own.filter(|own| !own.is_empty())
        .map_or_else(|| key.to_owned(), |own| own.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_whose_labels_fall_together_are_told_apart_by_what_each_has_of_its_own() {
        let alike = ["rewards/accuracy/mean", "rewards/len/mean"];
        assert_eq!(part_of_its_own(alike[0], &alike), "accuracy");
        assert_eq!(part_of_its_own(alike[1], &alike), "len");
        let nested = ["a/b", "a/b/b"];
        assert_eq!(nested.map(|key| part_of_its_own(key, &nested)), nested);
        assert_eq!(part_of_its_own("a/len", &["a/len"]), "a/len");
    }
}
