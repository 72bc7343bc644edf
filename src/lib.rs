//! Every optimizer step of a GRPO run as one dictionary of metrics, the same whatever the layout, handed to stores that
//! lose nothing.
//!
//! Three laws hold. *Layout does not show*: the same completions give the same bits for any split over ranks,
//! micro-batches, threads, merge order and vector unit. *Nothing poisons, nothing vanishes*: every value is used, absent or
//! non-finite, and counted; every row is written, pending or reported dropped. *Training never waits and never dies for a
//! metric.*
//!
//! ```text
//!  one rank                 all ranks                 one step                          many steps
//! +---------+ of  +---------+ merge +---------+ from +---------+ name +---------+ apply +--------+ push +--------+ write +------+
//! |  Batch  |---->|  Shard  |------>|  Shard  |----->| Summary |----->| Metrics |------>| Filter |----->| Window |------>| Sink |
//! +---------+     +---------+       +---------+      +---------+      +---------+       +--------+      +--------+       +------+
//!  borrowed        joinable          joinable         numbers          ordered keys      fewer keys      fewer rows       bytes
//!  checked         no names          over the wire    no names         from a dialect
//!         beneath them all: stat/ - arithmetic that knows neither GRPO nor I/O; kernel/ - the loops over millions of values
//! ```
//!
//! [`Engine`] walks the corridor; each room can be used by itself. The README has an example that does; what stands where, and what
//! happens to rows when something breaks, is in `docs/` of the repository.

#[cfg(feature = "cli")]
mod audit;
pub mod batch;
#[cfg(feature = "cli")]
pub mod cli;
pub mod dialect;
pub mod engine;
#[cfg(feature = "sqlite")]
pub mod export;
mod family;
pub mod forward;
pub mod gather;
pub mod hooks;
mod kernel;
mod limits;
mod numerals;
#[cfg(feature = "cli")]
mod paired;
#[cfg(feature = "sqlite")]
pub mod reading;
pub mod recording;
pub mod row;
#[cfg(feature = "serve")]
pub mod serve;
pub mod shard;
pub mod sink;
pub mod stat;
pub mod store;
pub mod summary;
pub mod wire;

pub use batch::group::Grouping;
pub use batch::{Batch, Columns};
pub use dialect::Dialect;
pub use engine::Engine;
#[doc(hidden)] // For the test that every one gives the same bits.
pub use kernel::Path as KernelPath;
pub use row::{Metrics, Row};
pub use shard::Shard;
pub use sink::Sink;
pub use store::Store;
pub use summary::Summary;
// Their types stand in columns.
pub use {half, ndarray};

/// The documents' examples run as tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/SCALE.md")]
    struct Scale;
    #[doc = include_str!("../docs/STORE.md")]
    struct Store;
}
