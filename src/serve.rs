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

mod answer;
mod gateway;
mod query;
mod read;

pub(crate) use answer::{Answer, Kind};
pub use query::Query;
pub use read::{ReadError, Reader};
