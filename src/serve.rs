//! A page over a store: what `grpo-metrics serve` answers, and the same page in one file.
//!
//! ```text
//! socket -> listen -> access -> route -+-> page      the page itself: HTML, scripts, styles
//!                                      +-> read      answers about runs, in JSON, for the page and for Prometheus
//!                                      +-> events    that rows were stored
//!                                      +-> gateway   EvSys's operations, where it is on
//! ```
//!
//! The store is only read, but by the gateway. Answers are made on threads that may block; the sockets have one of their own.

mod access;
mod answer;
mod ending;
mod events;
mod gateway;
mod keys;
mod listen;
mod page;
mod query;
mod rate;
mod read;
mod route;
mod secret;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::store::StoreError;
pub use keys::{KeyEntry, Keys, KeysError};
pub use listen::Server;
pub use query::Query;
pub use read::{Change, ReadError, Reader};
