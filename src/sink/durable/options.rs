//! How a journal or a queue behaves where there is a choice.

use std::time::Duration;

/// How a [`Durable`](super::Durable) behaves where there is a choice.
#[derive(Clone, Debug, PartialEq)]
pub struct DurableOptions {
    /// What happens to a row when many are waiting.
    pub full: Full,
    /// What a dying machine may cost; a dying process costs nothing whatever this says.
    pub fsync: Fsync,
    /// How long [`Sink::flush`](crate::Sink::flush) and [`Sink::close`](crate::Sink::close) try to deliver what is waiting; 10 s.
    pub patience: Duration,
    /// Rows handed on at a time at most; 256.
    pub batch: usize,
    /// From one delivery to the next at least; 250 ms. Quick steps' rows then go together: a store brings each delivery to the
    /// disk, and meanwhile the file system lets the journal's next row wait. Without effect on flushing and closing, with
    /// [`DurableOptions::batch`] rows waiting, and where a limit of [`Full`] is set.
    pub pace: Duration,
    /// The wait after a first failure, which doubles up to the second: 100 ms, 30 s.
    pub backoff: (Duration, Duration),
    /// Bytes after which the journal begins a new file, and removes the old one once it is delivered; 8 MiB.
    pub segment_bytes: u64,
}

impl Default for DurableOptions {
    fn default() -> Self {
        Self {
            full: Full::default(),
            fsync: Fsync::default(),
            patience: Duration::from_secs(10),
            batch: 256,
            pace: Duration::from_millis(250),
            backoff: (Duration::from_millis(100), Duration::from_secs(30)),
            segment_bytes: 8 << 20,
        }
    }
}

/// What happens to a row when many are waiting to be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Full {
    /// The journal grows, for as long as the disk has room.
    #[default]
    Spill,
    /// The caller waits while this many rows are waiting: training then stands still while the sink behind does.
    Block(u64),
    /// A row is dropped, counted and told of while this many are waiting.
    Drop(u64),
}

/// When the journal is brought from the kernel's memory to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// When the kernel sees fit.
    Never,
    /// Every so often, on a thread of its own, while rows are waiting. A dying machine costs the rows of that time at most, and
    /// of those that a sink behind it took but had not brought to the disk itself. Every second by default.
    Every(Duration),
    /// Before `write` returns, and the sink behind before a row counts as delivered: a dying machine costs nothing, and
    /// every step waits for the disk.
    Each,
}

impl Default for Fsync {
    fn default() -> Self {
        Self::Every(Duration::from_secs(1))
    }
}
