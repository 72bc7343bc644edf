//! Rows once in effect, over a connection that may lose the answer.

use std::collections::HashSet;
use std::ops::Range;

use serde_json::{Map, Value};

use super::super::record::Split;
use super::super::{Logged, StoreError};
use super::form::{Said, args, number};
use super::gateway::{Again, Done, Entries, Fault};
use super::{EvSys, series};
use crate::row::Metrics;

/// The numbers of one name that the server has of a run: step and bits.
#[derive(Debug)]
pub(super) struct Series {
    run_id: String,
    name: String,
    split: Split,
    values: HashSet<(u64, u64)>,
}

/// The argument that says when a row's step ended, in seconds since 1970.
const TIMESTAMP: &str = "timestamp";

/// Times that a clock which was set says: from 2001 to 9999.
const TIMES: Range<f64> = 1e9..253_402_300_800.0;

/// What numbers are of.
#[derive(Clone, Copy)]
pub(super) struct Of {
    pub step: u64,
    /// When it ended, in seconds since 1970, where that is known.
    pub time: Option<f64>,
    pub split: Split,
}

impl EvSys {
    /// Sends the numbers of a step but those that are undefined; the infinite ones in a call of their own.
    pub(super) fn log_step(
        &mut self,
        run_id: &str,
        of: Of,
        metrics: &Metrics,
        logged: &mut Logged,
    ) -> Result<(), StoreError> {
        let numbers = metrics.iter().filter(|(_, value)| !value.is_nan());
        // A server that takes no infinity is to refuse no other number for it.
        let (finite, infinite): (Vec<_>, Vec<_>) =
            numbers.partition(|(_, value)| value.is_finite());
        logged.nan += (metrics.len() - finite.len() - infinite.len()) as u64;
        let mut outcome = Ok(());
        for part in [finite, infinite] {
            match self.log_part(run_id, of, &part) {
                Ok(()) => logged.written += part.len() as u64,
                Err(error) if error.is_permanent() => outcome = outcome.and(Err(error)),
                Err(error) => {
                    // The whole row comes again, and of that some may be there already.
                    self.certain.remove(run_id);
                    return Err(error);
                }
            }
        }
        outcome
    }

    /// Sends numbers of one step: whole, or in halves where they are too many.
    fn log_part(&mut self, run_id: &str, of: Of, part: &[(&str, f64)]) -> Result<(), StoreError> {
        let values: Map<String, Value> = part
            .iter()
            .map(|(name, value)| ((*name).to_owned(), number(*value)))
            .collect();
        let time = of.time.filter(|time| TIMES.contains(time));
        let args = args([
            ("run_id", run_id.into()),
            ("step", of.step.into()),
            ("metrics", values.into()),
            ("split", of.split.as_str().into()),
            (TIMESTAMP, time.filter(|_| self.takes_times).into()),
        ]);
        match self.send_timed(run_id, of, part, &args) {
            Ok(()) => Ok(()),
            Err(Fault::Status { status: 413, .. }) if part.len() > 1 => {
                // An earlier process may have come as far as one half.
                self.certain.remove(run_id);
                let (first, second) = part.split_at(part.len() / 2);
                let first = self.log_part(run_id, of, first);
                if first.as_ref().is_err_and(|error| !error.is_permanent()) {
                    return first;
                }
                self.log_part(run_id, of, second).and(first)
            }
            Err(fault) => {
                self.bury("log_metrics", &args, &fault);
                Err(self.refused("log_metrics", &format!("run `{run_id}`"), fault))
            }
        }
    }

    /// Sends numbers with their time. A server that does not know that argument takes them without, and is not sent it again.
    fn send_timed(
        &mut self,
        run_id: &str,
        of: Of,
        part: &[(&str, f64)],
        args: &Map<String, Value>,
    ) -> Result<(), Fault> {
        let outcome = self.send(run_id, of, part, args);
        let Err(fault) = &outcome else {
            return outcome;
        };
        if !args.contains_key(TIMESTAMP) || !fault.may_be_of_an_argument() {
            return outcome;
        }
        let is_named = fault.to_string().contains(TIMESTAMP);
        let mut without = args.clone();
        without.remove(TIMESTAMP);
        let outcome = self.send(run_id, of, part, &without);
        if is_named || outcome.is_ok() {
            self.takes_times = false;
            tracing::info!(
                "{}: it takes no time with a row, so rows have the time at which they reach it",
                self.gateway.place
            );
        }
        outcome
    }

    /// Sends numbers once in effect: while it is not certain what the server has, it is asked first. The gateway takes the numbers of a
    /// call all or not at all, so the last of them speaks for the others.
    fn send(
        &mut self,
        run_id: &str,
        Of { step, split, .. }: Of,
        part: &[(&str, f64)],
        args: &Map<String, Value>,
    ) -> Result<(), Fault> {
        let Some((name, value)) = part.last() else {
            return Ok(());
        };
        let mut waits = self.gateway.waits();
        loop {
            if !self.certain.contains(run_id) && self.has(run_id, step, name, *value, split)? {
                return Ok(());
            }
            self.seen = None;
            let outcome: Result<Done, Fault> = self.gateway.once("log_metrics", args);
            let uncertain = outcome.as_ref().is_err_and(Fault::maybe_done);
            if uncertain {
                self.certain.remove(run_id);
            } else {
                self.certain.insert(run_id.to_owned());
            }
            let Err(fault) = outcome else {
                return Ok(());
            };
            self.gateway.wait("log_metrics", fault, &mut waits)?;
        }
    }

    /// Whether the server has this number. A process that died may have it under way still, so of a run that this one did not make the
    /// first that is missing is asked for twice.
    fn has(
        &mut self,
        run_id: &str,
        step: u64,
        name: &str,
        value: f64,
        split: Split,
    ) -> Result<bool, Fault> {
        let held = self.says(run_id, step, name, value, split)?;
        if held || !self.at_rest.insert(run_id.to_owned()) {
            return Ok(held);
        }
        self.gateway.await_others();
        self.seen = None;
        self.says(run_id, step, name, value, split)
    }

    /// What the server says of this number, or said since something was last sent.
    fn says(
        &mut self,
        run_id: &str,
        step: u64,
        name: &str,
        value: f64,
        split: Split,
    ) -> Result<bool, Fault> {
        let known = self.seen.as_ref().is_some_and(|seen| {
            (seen.run_id.as_str(), seen.name.as_str(), seen.split) == (run_id, name, split)
        });
        if !known {
            let args = series(run_id, Some(name), Some(split));
            let said: Entries<Said> = self.gateway.call("get_metrics", &args, Again::Always)?;
            let metrics = said.good.into_iter();
            let metrics = metrics.filter_map(|said| said.metric(Some(name), Some(split)));
            self.seen = Some(Series {
                run_id: run_id.to_owned(),
                name: name.to_owned(),
                split,
                values: metrics
                    .map(|metric| (metric.step, bits(metric.value)))
                    .collect(),
            });
        }
        let seen = self.seen.as_ref();
        Ok(seen.is_some_and(|seen| seen.values.contains(&(step, bits(value)))))
    }
}

/// No database counts further, and this much can be refused before anything is sent.
pub(super) fn can_be_counted(step: u64) -> Result<(), StoreError> {
    i64::try_from(step).map_or(Err(StoreError::Step { step }), |_| Ok(()))
}

/// A double's bits; a store may not keep the sign of a zero.
fn bits(value: f64) -> u64 {
    (value + 0.0).to_bits()
}
