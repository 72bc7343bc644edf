//! How far the delivery of a journal came.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

/// What its file is called.
pub(super) const FILE: &str = "delivered";

/// What the later of two slots says.
pub(super) fn settled(bytes: &[u8]) -> u64 {
    let slots = bytes.chunks_exact(Mark::SLOT);
    let settled = slots.filter_map(|slot| {
        let (settled, checksum) = slot.split_first_chunk::<8>()?;
        (xxh3_64(settled).to_le_bytes() == checksum).then(|| u64::from_le_bytes(*settled))
    });
    settled.max().unwrap_or(0)
}

/// How far delivery came: the number of the first entry that is not settled yet.
///
/// Two slots written in turn, so that a machine that dies while writing one leaves the other.
pub(in crate::sink::durable) struct Mark {
    file: File,
    pub(super) settled: u64,
    turn: bool,
}

impl Mark {
    pub(super) const SLOT: usize = 16;

    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(FILE))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut mark = Self {
            settled: settled(&bytes),
            file,
            turn: false,
        };
        if bytes.len() < 2 * Self::SLOT {
            // While there is room: progress can be noted on a full disk then.
            mark.advance(mark.settled)?;
            mark.advance(mark.settled)?;
        }
        Ok(mark)
    }

    pub(in crate::sink::durable) fn settled(&self) -> u64 {
        self.settled
    }

    /// Every entry before `settled` is delivered, or lost for good.
    pub(in crate::sink::durable) fn advance(&mut self, settled: u64) -> io::Result<()> {
        self.settled = settled;
        let slot = if self.turn { Self::SLOT as u64 } else { 0 };
        self.turn = !self.turn;
        let settled = settled.to_le_bytes();
        let checksum = xxh3_64(&settled).to_le_bytes();
        self.file.seek(SeekFrom::Start(slot))?;
        self.file.write_all(&[settled, checksum].concat())
    }

    pub(in crate::sink::durable) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
