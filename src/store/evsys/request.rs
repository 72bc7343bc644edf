//! Requests as the store makes them, and what their faults are to who asked.

use serde_json::{Map, Value};

use super::super::StoreError;
use super::gateway::{Again, Answer, Entries, Entry, Fault};
use super::{EvSys, dead_letter};

impl EvSys {
    /// A request of which nothing is kept if it is refused; `again` says whether it may be made twice.
    pub(super) fn ask<T: Answer>(
        &self,
        op: &'static str,
        args: &Map<String, Value>,
        what: &str,
        again: Again,
    ) -> Result<T, StoreError> {
        let answer = self.gateway.call(op, args, again);
        answer.map_err(|fault| self.refused(op, what, fault))
    }

    /// A request for a new record of a run, kept if it is refused for good.
    pub(super) fn add(
        &self,
        op: &'static str,
        args: &Map<String, Value>,
        what: &str,
    ) -> Result<Value, StoreError> {
        let answer = self.gateway.call(op, args, Again::IfNotDone);
        answer.map_err(|fault| {
            self.bury(op, args, &fault);
            self.refused(op, what, fault)
        })
    }

    pub(super) fn bury(&self, op: &str, args: &Map<String, Value>, fault: &Fault) {
        if !fault.is_transient() {
            dead_letter::keep(&self.dead_letters, op, args, &fault.to_string());
        }
    }

    /// A fault as an error; not found is `what` the request named.
    pub(super) fn refused(&self, op: &'static str, what: &str, fault: Fault) -> StoreError {
        let place = self.gateway.place.clone();
        match fault {
            Fault::Status {
                status: 404, text, ..
            } if !what.is_empty() => StoreError::Unknown {
                what: self.gateway.scrub(&format!("{what} at {place} ({text})")),
            },
            Fault::Status { status, text, .. } if !Fault::is_passing(status) => {
                StoreError::Refused {
                    place,
                    op,
                    status,
                    text,
                }
            }
            fault => StoreError::Backend {
                place,
                act: op,
                source: Box::new(fault),
            },
        }
    }

    pub(super) fn damaged(&self, op: &str) -> StoreError {
        StoreError::Damaged {
            what: format!("{}: the answer to {op}", self.gateway.place),
            expected: "the record, with an id",
            found: "something else".to_owned(),
        }
    }

    pub(super) fn list<T: Entry>(
        &self,
        op: &'static str,
        args: &Map<String, Value>,
    ) -> Result<Vec<T>, StoreError> {
        let list: Entries<T> = self.ask(op, args, "", Again::Always)?;
        if list.damaged {
            return Err(self.damaged(op));
        }
        Ok(list.good)
    }
}
