//! Rows as an event file that `TensorBoard` reads.
//!
//! An event file is a sequence of records: the length of the data (8 bytes), a checksum of the length, the data, a checksum
//! of the data, all little-endian (`TFRecord`). The data is a protobuf message `tensorflow.Event`. Of its fields only these
//! are written, by hand: they are a dozen, and the format of what exists never changes.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Receipt, Sink, SinkError, Tally};
use crate::row::Row;

/// Bytes kept back before they go to the file; [`Sink::flush`] brings them there too.
const BUFFER: usize = 1 << 16;

/// Tells apart the files that one process opens within a second.
static OPENED: AtomicU32 = AtomicU32::new(0);

/// Writes rows to a new event file in a folder, one event a row: every metric a scalar under its key, with the row's time
/// and step. `TensorBoard` keeps 32-bit floats, so this is a view; keep the doubles elsewhere.
///
/// A write that fails leaves half a record, behind which `TensorBoard` reads nothing: the file is then cut back to its last
/// whole record.
pub struct TensorBoard {
    out: BufWriter<File>,
    path: PathBuf,
    /// Bytes of whole records that the file or the buffer has.
    len: u64,
    torn: bool,
    event: Vec<u8>,
    /// Rows written since the last flush: in the buffer, at least in part.
    buffered: u64,
    tally: Tally,
}

impl TensorBoard {
    /// Opens a new event file in `dir`, which is made if need be. Several files in a folder are one run to `TensorBoard`.
    ///
    /// # Errors
    /// If the folder or the file cannot be made.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, SinkError> {
        let dir = dir.as_ref();
        let seconds = now();
        let name = format!(
            // `TensorBoard` knows an event file by `tfevents` in its name, and reads a folder's in the order of their names.
            "events.out.tfevents.{:010}.grpo-metrics.{}.{}",
            seconds.trunc(),
            process::id(),
            OPENED.fetch_add(1, Ordering::Relaxed)
        );
        let path = dir.join(name);
        let open = || {
            fs::create_dir_all(dir)?;
            File::create_new(&path)
        };
        let file = open().map_err(io_error("open", &path))?;
        let mut sink = Self {
            out: BufWriter::with_capacity(BUFFER, file),
            path,
            len: 0,
            torn: false,
            event: Vec::new(),
            buffered: 0,
            tally: Tally::default(),
        };
        let mut event = Vec::new();
        double(&mut event, 1, seconds);
        bytes(&mut event, 3, b"brain.Event:2");
        sink.append(&event)?;
        Ok(sink)
    }

    /// The event file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a histogram of values, each with how often it occurs, under `tag`; its values need no order, and what is no
    /// finite number is left out. Nothing is written where there is none.
    ///
    /// # Errors
    /// If the file refuses.
    pub fn write_histogram(
        &mut self,
        step: u64,
        tag: &str,
        values: &[(f64, u64)],
    ) -> Result<(), SinkError> {
        let Some(histogram) = histogram(values) else {
            return Ok(());
        };
        let mut value = Vec::new();
        bytes(&mut value, 1, tag.as_bytes());
        bytes(&mut value, 5, &histogram);
        let mut summary = Vec::new();
        bytes(&mut summary, 1, &value);
        let mut event = Vec::new();
        double(&mut event, 1, now());
        integer(&mut event, 2, step);
        bytes(&mut event, 5, &summary);
        let outcome = self.append(&event);
        self.tally.note(outcome)
    }

    fn put(&mut self, row: &Row) -> Result<(), SinkError> {
        let mut event = std::mem::take(&mut self.event);
        event.clear();
        encode(row, &mut event);
        let outcome = self.append(&event);
        self.event = event;
        outcome
    }

    /// Writes one record.
    fn append(&mut self, data: &[u8]) -> Result<(), SinkError> {
        self.mend()?;
        let length = (data.len() as u64).to_le_bytes();
        let parts: [&[u8]; 4] = [&length, &masked(&length), data, &masked(data)];
        let outcome = parts.iter().try_for_each(|part| self.out.write_all(part));
        self.torn = outcome.is_err();
        outcome.map_err(io_error("write to", &self.path))?;
        self.len += data.len() as u64 + 16;
        Ok(())
    }

    /// Cuts off what a failed write left behind the whole records.
    fn mend(&mut self) -> Result<(), SinkError> {
        if !self.torn {
            return Ok(());
        }
        self.out.flush().map_err(io_error("write to", &self.path))?;
        let file = self.out.get_mut();
        file.set_len(self.len)
            .and_then(|()| io::Seek::seek(file, io::SeekFrom::Start(self.len)))
            .map_err(io_error("repair", &self.path))?;
        self.torn = false;
        Ok(())
    }

    fn bring(&mut self) -> Result<(), SinkError> {
        self.mend()?;
        self.out.flush().map_err(io_error("write to", &self.path))
    }
}

impl fmt::Debug for TensorBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorBoard")
            .field("path", &self.path)
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

impl Sink for TensorBoard {
    fn name(&self) -> &'static str {
        "tensorboard"
    }

    fn write(&mut self, row: &Row) -> Result<(), SinkError> {
        let outcome = self.put(row);
        self.buffered += u64::from(outcome.is_ok());
        self.tally.count(outcome)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let outcome = self.bring();
        if outcome.is_ok() {
            self.buffered = 0;
        }
        self.tally.note(outcome)
    }

    fn close(mut self: Box<Self>) -> Receipt {
        let flushed = self.flush().is_ok();
        let mut receipt = self.tally.receipt("tensorboard");
        if !flushed {
            // Of these nobody can say that the file has them.
            receipt.written -= self.buffered;
            receipt.dropped += self.buffered;
        }
        receipt
    }
}

fn io_error(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SinkError {
    let target = path.display().to_string();
    move |source| SinkError::Io {
        sink: "tensorboard",
        act,
        target,
        source,
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// The checksum as `TFRecord` masks it: a checksum of data that holds checksums would else be weak.
fn masked(data: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(data);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// `Event { wall_time = 1, step = 2, summary = 5 }` of a `Summary { value = 1 }` of `Value { tag = 1, simple_value = 2 }`
/// each.
fn encode(row: &Row, event: &mut Vec<u8>) {
    double(event, 1, row.timestamp);
    integer(event, 2, row.step);
    // A value is two fields: the tag, and five bytes of a float.
    let size_of = |key: &str| length_of(key.len()) + 5;
    let summary: usize = row
        .metrics
        .iter()
        .map(|(key, _)| length_of(size_of(key)))
        .sum();
    tag(event, 5, LENGTH);
    varint(event, summary as u64);
    for (key, value) in row.metrics.iter() {
        tag(event, 1, LENGTH);
        varint(event, size_of(key) as u64);
        bytes(event, 1, key.as_bytes());
        tag(event, 2, FLOAT);
        // What is beyond a float's range becomes an infinity, as in every 32-bit view.
        #[allow(clippy::cast_possible_truncation)]
        event.extend_from_slice(&(value as f32).to_le_bytes());
    }
}

/// `HistogramProto { min = 1, max = 2, num = 3, sum = 4, sum_squares = 5, bucket_limit = 6, bucket = 7 }`.
fn histogram(values: &[(f64, u64)]) -> Option<Vec<u8>> {
    /// `TensorBoard` shows about as many.
    const BUCKETS: u32 = 30;
    let finite = || {
        values
            .iter()
            .filter(|(x, count)| x.is_finite() && *count > 0)
    };
    let extreme = |pick: fn(f64, f64) -> f64| finite().map(|(x, _)| *x).reduce(pick);
    let (min, max) = (extreme(f64::min)?, extreme(f64::max)?);
    // Halved, so that no range overflows.
    let width = (max / 2.0 - min / 2.0) / f64::from(BUCKETS) * 2.0;
    // The last limit is the maximum itself: a reader draws up to it.
    let limit = |i: u32| {
        if i + 1 == BUCKETS {
            max
        } else {
            min + width * f64::from(i + 1)
        }
    };
    let limits: Vec<f64> = if width > 0.0 {
        (0..BUCKETS).map(limit).collect()
    } else {
        vec![max]
    };
    let mut buckets = vec![0.0; limits.len()];
    for (x, count) in finite() {
        let bucket = limits.partition_point(|limit| limit < x);
        buckets[bucket.min(limits.len() - 1)] += *count as f64;
    }
    let total = |of: fn(f64) -> f64| {
        finite()
            .map(|(x, count)| of(*x) * *count as f64)
            .sum::<f64>()
    };
    let mut histogram = Vec::new();
    for (field, value) in (1..).zip([min, max, total(|_| 1.0), total(|x| x), total(|x| x * x)]) {
        double(&mut histogram, field, value);
    }
    for (field, column) in [(6, &limits), (7, &buckets)] {
        let packed: Vec<u8> = column.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes(&mut histogram, field, &packed);
    }
    Some(histogram)
}

/// The wire types of protobuf that are needed here.
const VARINT: u32 = 0;
const DOUBLE: u32 = 1;
const LENGTH: u32 = 2;
const FLOAT: u32 = 5;

fn tag(out: &mut Vec<u8>, field: u32, kind: u32) {
    varint(out, u64::from(field << 3 | kind));
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn integer(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, VARINT);
    varint(out, value);
}

fn double(out: &mut Vec<u8>, field: u32, value: f64) {
    tag(out, field, DOUBLE);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    tag(out, field, LENGTH);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Bytes of a field of so many bytes: its tag (of fields up to 15 one byte), its length and itself.
fn length_of(bytes: usize) -> usize {
    let bits = usize::BITS - (bytes | 1).leading_zeros();
    1 + bits.div_ceil(7) as usize + bytes
}
