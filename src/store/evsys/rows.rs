//! Rows once in effect, over a connection that may lose the answer.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::super::StoreError;
use super::super::record::Split;
use super::form::{Said, args, number};
use super::gateway::{Again, Done, Entries, Fault};
use super::{EvSys, series};

/// The numbers of one name that the server has of a run: step and bits.
#[derive(Debug)]
pub(super) struct Series {
    run_id: String,
    name: String,
    split: Split,
    values: HashSet<(u64, u64)>,
}

impl EvSys {
    /// Sends numbers of one step: whole, or in halves where they are too many.
    pub(super) fn log_part(
        &mut self,
        run_id: &str,
        step: u64,
        part: &[(&str, f64)],
        split: Split,
    ) -> Result<(), StoreError> {
        let values: Map<String, Value> = part
            .iter()
            .map(|(name, value)| ((*name).to_owned(), number(*value)))
            .collect();
        let args = args([
            ("run_id", run_id.into()),
            ("step", step.into()),
            ("metrics", values.into()),
            ("split", split.as_str().into()),
        ]);
        match self.send(run_id, step, part, split, &args) {
            Ok(()) => Ok(()),
            Err(Fault::Status { status: 413, .. }) if part.len() > 1 => {
                // An earlier process may have come as far as one half.
                self.certain.remove(run_id);
                let (first, second) = part.split_at(part.len() / 2);
                let first = self.log_part(run_id, step, first, split);
                if first.as_ref().is_err_and(|error| !error.is_permanent()) {
                    return first;
                }
                self.log_part(run_id, step, second, split).and(first)
            }
            Err(fault) => {
                self.bury("log_metrics", &args, &fault);
                Err(self.refused("log_metrics", &format!("run `{run_id}`"), fault))
            }
        }
    }

    /// Sends numbers once in effect: while it is not certain what the server has, it is asked first. The gateway takes the numbers of a
    /// call all or not at all, so the last of them speaks for the others.
    fn send(
        &mut self,
        run_id: &str,
        step: u64,
        part: &[(&str, f64)],
        split: Split,
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

/// A double's bits; a store may not keep the sign of a zero.
fn bits(value: f64) -> u64 {
    (value + 0.0).to_bits()
}
