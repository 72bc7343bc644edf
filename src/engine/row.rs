//! The end of the corridor: a summary becomes a row, and the sinks get it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Engine, EngineOptions, no_component, unknown_name};
use crate::batch::scalars::{FieldInfo, Meta, Scalar, Weighting};
use crate::dialect::Named;
use crate::row::run::RunMetadata;
use crate::row::window::Windowing;
use crate::row::{Metrics, Row};
use crate::shard::Retain;
use crate::sink::Sink;
use crate::summary::Summary;

impl Engine {
    /// A summary's row, filtered.
    pub(super) fn named(&mut self, summary: Summary) -> Metrics {
        let Named {
            metrics,
            kept_out,
            renamed,
        } = self.reader.name(summary);
        for name in kept_out {
            self.keep_out(why_not(&name));
        }
        for (key, own) in renamed {
            self.once.say(format!(
                "two numbers come to the key `{key}`: the later one is `{own}`"
            ));
        }
        metrics
    }

    /// Says so where no step so far has the component that says whether a completion succeeds: pass@k is left out of rows then.
    pub(super) fn look_for_success(&mut self) {
        const COMPONENT: &str = "reward_components/";
        let EngineOptions {
            extended, success, ..
        } = &self.options;
        let Some(name) = success.as_deref().filter(|_| *extended) else {
            return;
        };
        if self.census.contains_key(&format!("{COMPONENT}{name}")) {
            return;
        }
        let there = self.census.keys();
        let there: Vec<&str> = there.filter_map(|f| f.strip_prefix(COMPONENT)).collect();
        let message = no_component(name, &there);
        self.once.say(message);
    }

    /// The window's row goes out; `cut` if the engine began or ends within the window.
    pub(super) fn emit(&mut self, step: u64, cut: bool) -> Row {
        let metrics = match self.options.window {
            Windowing::Mean => {
                let EngineOptions { dialect, folds, .. } = &self.options;
                // A user's metric never bears a dialect's key.
                let declared = |key: &str| folds.get(key).map(|(_, window)| *window);
                self.averaged.take(|key| {
                    let of_dialect = dialect.window_fold(key);
                    of_dialect.or_else(|| declared(key)).unwrap_or_default()
                })
            }
            Windowing::Pooled => {
                let window = std::mem::take(&mut self.pooled);
                let summary = self.reader.read(&window, step);
                self.named(summary)
            }
        };
        if let Some(last) = &self.last_step {
            self.reader.emitted(last.tau, last.beta);
        }
        self.emitted = true;
        let row = Row {
            step,
            steps: std::mem::take(&mut self.steps),
            cut,
            metrics,
            ..Row::default()
        };
        self.hand_on(row)
    }

    /// Counts something that was reported and is in no row, and says why, once.
    fn keep_out(&mut self, why: String) {
        let count = self.census.entry("kept_out".to_owned()).or_default();
        count.absent(1);
        self.once.say(why);
    }

    /// Keeps out what a snapshot has under names that no field has.
    pub(super) fn keep_out_strange(&mut self, weighting: &Weighting) {
        for name in &weighting.strange {
            let (fields, of) = match name.strip_prefix("meta.") {
                Some(of) => (Meta::FIELDS, of),
                None => (Weighting::FIELDS, &**name),
            };
            let taken = |field: &&FieldInfo| field.also.contains(&of);
            let why = match fields.iter().find(taken) {
                Some(field) => format!("another name of `{}`, which is given too", field.name),
                None => unknown_name("field", of, fields.iter().map(|field| field.name)),
            };
            self.keep_out(format!("`weighting.{name}` is kept out: {why}"));
        }
    }

    /// Hands the sinks numbers that were computed elsewhere, such as a trainer's evaluation, as a row of their own. They have
    /// it when this returns; the window is not touched.
    pub fn log(&mut self, step: u64, metrics: Metrics) -> Row {
        self.hand_on(Row {
            step,
            metrics,
            ..Row::default()
        })
    }

    /// Whether rows have a number of this engine's own under `key`, so that nobody else's may stand there.
    #[must_use]
    pub fn computes(&self, key: &str) -> bool {
        self.options.dialect.knows(key, self.options.extended)
    }

    /// The sinks get a row; the run's texts go with the first.
    fn hand_on(&mut self, mut row: Row) -> Row {
        let metadata = self.options.metadata.as_ref().filter(|_| self.rows == 0);
        let mut text = metadata.map(RunMetadata::text).unwrap_or_default();
        let sketched = self.sketched || self.options.retain == Retain::Sketch;
        if sketched && self.rows == 0 {
            let sketched = "sketch: quantiles of rewards are within 1 %";
            text.push(("run/retain".to_owned(), sketched.to_owned()));
        }
        text.append(&mut self.lost);
        row.text = text;
        row.timestamp = now();
        row.again = self.resumed_after.is_some_and(|last| row.step <= last);
        self.rows += 1;
        if let Err(error) = self.sinks.write(&row) {
            tracing::warn!(step = row.step, %error, "a sink could not take the row");
            self.sink_error = Some(error);
        }
        row
    }
}

/// Why nothing reported under this name is in the row.
fn why_not(name: &str) -> String {
    let why = if let Some(scalar) = Scalar::of(name) {
        format!(
            "`{name}` is another name of `{}`, which is reported too",
            scalar.name()
        )
    } else if let Some(scalar) = Scalar::meant_by(name) {
        let known = scalar.name();
        format!(
            "`{name}` is no known scalar; did you mean `{known}`? (Declare a metric of your own in `folds`)"
        )
    } else {
        format!("`{name}` is one of the row's own keys")
    };
    format!("{why}: a number reported under that name is kept out of the row")
}

/// Seconds since the Unix epoch; 0 on a machine whose clock stands before it.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::group::Grouping;
    use crate::batch::scalars::Scalars;
    use crate::batch::{Batch, Columns};
    use crate::dialect::Dialect;
    use crate::engine::EngineError;
    use crate::hooks::event::logged::logged;
    use crate::sink::Memory;

    #[test]
    fn names_that_fall_together_are_each_said_once_in_a_run() {
        let said = logged(|| {
            let builder = Engine::builder().dialect(Dialect::Tunix);
            let mut engine = builder.build().expect("no mode is named");
            for step in 1..=3 {
                let mut columns = Columns::new(Grouping::Sizes(&[2]), &[0.0, 1.0]);
                columns.reward_components = ["sum", "f", "f"]
                    .map(|name| (name.into(), (&[0.0, 1.0]).into()))
                    .to_vec();
                columns.scalars.set("score/mean", 3.0);
                let batch = Batch::of(columns).expect("the columns fit");
                engine.observe(&batch).expect("one rank");
                engine.step(step).expect("one rank");
            }
        });
        assert_eq!(
            said,
            [
                "WARN: two reward components are named `f`: the later one is `f_2`",
                "WARN: `score/mean` is one of the row's own keys: a number reported under that name is kept out of the row",
                "WARN: two numbers come to the key `rewards/sum`: the later one is `rewards/sum_2`",
            ]
        );
    }

    fn step(engine: &mut Engine, step: u64, goes_out: Option<bool>) -> Option<Row> {
        let rewards = [step as f64];
        let batch = Batch::of(Columns::new(Grouping::Sizes(&[1]), &rewards)).unwrap();
        engine.observe(&batch).unwrap();
        engine.step_told(step, goes_out).unwrap()
    }

    #[test]
    fn a_row_goes_out_when_the_caller_says_so_over_the_steps_since_the_last() {
        let mut engine = Engine::builder().logging_steps(2).build().unwrap();
        let told = [false, false, true, false, true];
        let rows: Vec<_> = (1..=5)
            .zip(told)
            .filter_map(|(at, told)| step(&mut engine, at, Some(told)))
            .map(|row| (row.step, row.metrics.get("train/reward").unwrap()))
            .collect();
        assert_eq!(rows, [(3, 2.0), (5, 4.5)]);
        assert!(
            step(&mut engine, 6, None).is_some(),
            "the cadence decides again"
        );
    }

    #[test]
    fn numbers_computed_elsewhere_are_a_row_of_their_own_and_leave_the_window_as_it_is() {
        let sink = Memory::default();
        let rows = sink.clone();
        let mut engine = Engine::builder().sink(sink).build().unwrap();
        assert!(step(&mut engine, 1, Some(false)).is_none());
        let said: Metrics = [("eval/reward", 9.0)].into_iter().collect();
        engine.log(1, said.clone());
        let row = step(&mut engine, 2, Some(true)).unwrap();
        assert_eq!(row.metrics.get("train/reward"), Some(1.5));
        assert!(!row.metrics.contains("eval/reward"));
        assert_eq!(rows.rows()[0].metrics, said);
        assert_eq!(rows.rows()[1], row);
        assert!(engine.computes("train/reward") && !engine.computes("train/cispo_clip_ratio"));
    }

    /// A collective that a forked child would take part in for its parent.
    #[derive(Debug)]
    struct Never;

    impl crate::gather::Gather for Never {
        fn rank(&self) -> u32 {
            0
        }
        fn world_size(&self) -> u32 {
            2
        }
        fn gather(
            &mut self,
            _: &mut dyn FnMut(Vec<crate::gather::Answer>) -> Vec<u8>,
        ) -> Result<Option<Vec<crate::gather::Answer>>, crate::gather::GatherError> {
            panic!("a child has taken its parent's place")
        }
    }

    #[test]
    fn a_forked_child_gathers_nothing_in_its_parents_place() {
        let mut engine = Engine::builder().gather(Never).build().unwrap();
        engine.process += 1;
        let error = engine.step(7).unwrap_err();
        assert!(matches!(error, EngineError::Inherited { step: 7, .. }));
    }

    /// How long this thread has had a processor, in nanoseconds: what else the machine has to do does not count.
    #[cfg(target_os = "linux")]
    fn on_processor() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split(' ').next()?.parse().ok()
    }

    /// What two steps of one window take, the second with a key less, whose row is then logged; `keys` numbers of the user's own in
    /// each. `None` where the system does not say.
    #[cfg(target_os = "linux")]
    fn steps(keys: usize) -> Option<u64> {
        let mut engine = Engine::builder()
            .logging_steps(2)
            .logging_first_step(false)
            .build()
            .unwrap();
        let names: Vec<String> = (0..keys).map(|i| format!("own/{i:07}")).collect();
        let scalars = |names: &[String]| {
            let mut scalars = Scalars::default();
            for name in names {
                scalars.set(name, 1.0);
            }
            scalars
        };
        let (first, second) = (scalars(&names), scalars(&names[1..]));
        let since = on_processor()?;
        engine.report(first, None);
        assert!(engine.step(1).unwrap().is_none());
        engine.report(second, None);
        let row = engine.step(2).unwrap().unwrap();
        let logged = engine.log(2, row.metrics.into_iter().collect());
        let took = on_processor()? - since;
        assert!(logged.metrics.len() >= keys);
        Some(took)
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_step_takes_as_long_as_it_has_keys_and_not_their_square() {
        let least = |keys| (0..3).filter_map(|_| steps(keys)).min();
        let (Some(few), Some(many)) = (least(4_000), least(32_000)) else {
            eprintln!("skipped: the system does not say how long a thread ran");
            return;
        };
        // Eight times the keys: eight times the work, where the square would be 64 times. The system counts in ticks of some milliseconds.
        let tick = 4_000_000;
        assert!(
            many < (few + tick) * 28,
            "{few} ns for 4,000 keys, {many} ns for 32,000"
        );
    }

    #[test]
    fn where_every_rank_is_a_replica_that_is_said_once() {
        let rewards = [0.0, 1.0];
        let said = |is_one| {
            logged(|| {
                let mut engine = Engine::builder().replica(is_one).build().unwrap();
                for step in 1..=2 {
                    let columns = Columns::new(Grouping::Sizes(&[2]), &rewards);
                    engine.observe(&Batch::of(columns).unwrap()).unwrap();
                    engine.step(step).unwrap();
                }
            })
        };
        assert_eq!(said(false), [""; 0]);
        let lines = said(true);
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].ends_with("is every rank said to be one?"),
            "{lines:?}"
        );
    }
}
