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
use tokio::task;

use super::answer::{Answer, Kind, answer};
use crate::store::{Sqlite, StoreError};
use ask::Ask;
use readers::Readers;
use refusal::Refusal;
use writer::Writer;

/// A body of more bytes is read on a thread that may take its time.
const LARGE: usize = 64 << 10;

/// The gateway over one store. Several may stand over the same one.
#[derive(Debug)]
pub struct Gateway {
    writer: Writer,
    readers: Readers,
}

impl Gateway {
    /// Opens the store, making it if need be, and starts the thread that writes to it. Dropped, it stores what it has taken, and
    /// waits for that.
    ///
    /// # Errors
    /// If the store cannot be opened, or no thread can be started.
    pub fn open(store: &Path) -> Result<Self, StoreError> {
        let mut opened = Sqlite::open(store)?;
        opened.lay_out_fields()?;
        Ok(Self {
            writer: Writer::start(opened, store)?,
            readers: Readers::of(store),
        })
    }

    /// What there is to say to one request of the owner of a key.
    pub async fn answer(&self, owner: &str, body: Bytes) -> Answer {
        let outcome = self.act(owner, body).await;
        outcome.unwrap_or_else(Refusal::answer)
    }

    async fn act(&self, owner: &str, body: Bytes) -> Result<Answer, Refusal> {
        let bytes = body.len();
        let ask = if bytes > LARGE {
            let parsed = task::spawn_blocking(move || Ask::of(&body)).await;
            parsed.map_err(|_| Refusal::Ended)??
        } else {
            Ask::of(&body)?
        };
        match ask {
            Ask::Write(write) => {
                let result = self.writer.store(owner, *write, bytes).await?;
                Ok(answer(StatusCode::OK, Kind::Json, result))
            }
            Ask::Read(read) => self.readers.answer(read).await,
        }
    }
}
