//! How much is said of what goes wrong behind the caller's back: enough for somebody who reads the log, and no line for every row.

use std::time::{Duration, Instant};

use super::super::SinkError;

/// How long a fault that stays is not spoken of again.
const RARELY: Duration = Duration::from_secs(300);

/// Says the first fault at once, those that follow rarely, and once that they are over.
pub(super) struct Voice {
    /// What the sink behind is called.
    name: &'static str,
    /// Attempts that failed since something was last taken, and since when.
    failed: u64,
    since: Instant,
    failing: Rarely,
    dropping: Rarely,
    /// Rows dropped that nobody was told of.
    untold: u64,
    otherwise: Rarely,
}

impl Voice {
    pub(super) fn of(name: &'static str) -> Self {
        Self {
            name,
            failed: 0,
            since: Instant::now(),
            failing: Rarely::default(),
            dropping: Rarely::default(),
            untold: 0,
            otherwise: Rarely::default(),
        }
    }

    /// An attempt failed, and there will be another.
    pub(super) fn failed(&mut self, error: &SinkError, pending: u64) {
        if self.failed == 0 {
            self.since = Instant::now();
        }
        self.failed += 1;
        if self.failing.may_speak() {
            let (attempts, rows) = (counted(self.failed, "attempt"), counted(pending, "row"));
            tracing::warn!("{error} ({attempts} so far; {rows} wait and are tried on)");
        }
    }

    /// Something was taken.
    pub(super) fn works(&mut self) {
        if self.failed > 0 {
            let (name, attempts) = (self.name, counted(self.failed, "attempt"));
            let seconds = self.since.elapsed().as_secs_f64();
            tracing::warn!("{name}: takes rows again, after {attempts} in {seconds:.1} s");
        }
        self.failed = 0;
        self.failing = Rarely::default();
    }

    /// Rows are lost for good.
    pub(super) fn dropped(&mut self, rows: u64, error: &str) {
        self.untold += rows;
        if self.dropping.may_speak() {
            let rows = counted(std::mem::take(&mut self.untold), "row");
            tracing::warn!("{rows} dropped for good: {error}");
        }
    }

    /// Something else went wrong, which cost no row.
    pub(super) fn otherwise(&mut self, error: &SinkError) {
        if self.otherwise.may_speak() {
            tracing::warn!("{error}");
        }
    }

    /// What was not said yet.
    pub(super) fn end(&mut self) {
        if self.untold > 0 {
            let rows = counted(std::mem::take(&mut self.untold), "more row");
            tracing::warn!("{}: {rows} dropped for good", self.name);
        }
    }
}

#[derive(Default)]
struct Rarely(Option<Instant>);

impl Rarely {
    fn may_speak(&mut self) -> bool {
        let silent = self.0.is_some_and(|last| last.elapsed() < RARELY);
        if !silent {
            self.0 = Some(Instant::now());
        }
        !silent
    }
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::event::logged::logged;

    #[test]
    fn a_store_that_is_away_for_299_steps_is_two_lines_and_so_are_299_rows_that_are_dropped() {
        let away = SinkError::Store("away".into());
        let mut lines = logged(|| {
            let mut voice = Voice::of("store");
            for _ in 0..299 {
                voice.failed(&away, 3);
            }
            voice.works();
            voice.works();
        });
        let said = lines.pop().unwrap();
        assert!(
            said.starts_with("WARN: store: takes rows again, after 299 attempts in "),
            "{said}"
        );
        assert_eq!(
            lines,
            ["WARN: store: away (1 attempt so far; 3 rows wait and are tried on)"]
        );
        let lines = logged(|| {
            let mut voice = Voice::of("store");
            for _ in 0..299 {
                voice.dropped(1, "store: never");
            }
            voice.end();
        });
        assert_eq!(
            lines,
            [
                "WARN: 1 row dropped for good: store: never",
                "WARN: store: 298 more rows dropped for good",
            ]
        );
    }

    #[test]
    fn a_second_outage_is_told_of_as_the_first_was() {
        let lines = logged(|| {
            let mut voice = Voice::of("store");
            for _ in 0..2 {
                voice.failed(&SinkError::Store("away".into()), 1);
                voice.works();
            }
        });
        assert_eq!(lines.len(), 4, "{lines:?}");
    }
}
