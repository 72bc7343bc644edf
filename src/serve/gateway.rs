//! `EvSys`'s endpoint over the embedded store, so that the runs of many machines come to one place.
//!
//! ```text
//! body -> request -> ask -+-> writer    one thread: all that wait are one transaction, on the disk before anybody hears of it
//!                         +-> readers   connections of their own: what was acknowledged is seen
//! ```

mod args;
mod ask;
mod change;
mod create;
mod long;
mod op;
mod read;
mod readers;
mod record;
mod refusal;
mod request;
mod row;
#[cfg(test)]
mod tests;
mod word;
mod write;
mod writer;

use std::path::Path;

use hyper::StatusCode;
use hyper::body::Bytes;

use super::answer::{Answer, refusal};
use crate::store::StoreError;

#[derive(Debug)]
pub struct Gateway;

impl Gateway {
    pub fn open(_: &Path) -> Result<Self, StoreError> {
        Ok(Self)
    }

    pub async fn answer(&self, _: &str, _: Bytes) -> Answer {
        refusal(StatusCode::NOT_IMPLEMENTED, "no op is known yet")
    }
}
