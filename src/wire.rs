//! Shards as bytes: what crosses a network or waits in a file.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | magic: `grpo-shd` for a shard, `grpo-prt` for a rank's part in a gather |
//! | 4 | format version, [`VERSION`] |
//! | 8 | length of the body |
//! | 8 | XXH3 (64 bits) of the body |
//! | | the body, in postcard's format |
//!
//! Numbers are little-endian. Doubles travel as their 8 bytes, so that every field survives bit for bit. Reading takes
//! nothing on trust: what is read costs memory in proportion to the bytes that are there (`tests/wire_memory.rs`: ten times for
//! values, 128 times for a member of whom nothing is known), and is checked to be something that writing could have written.

use std::fmt;
#[cfg(feature = "cli")]
use std::io::{self, Read as _};

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

#[cfg(feature = "cli")]
use crate::limits;
use crate::shard::Shard;

/// The version that this build writes, and the only one that it reads.
pub const VERSION: u32 = 5;

const HEADER: usize = 28;

/// What a message is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A shard, as [`write()`] makes bytes of it.
    Shard,
    /// [`crate::gather::Part`].
    Part,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shard => "shard",
            Self::Part => "rank's part of a step",
        })
    }
}

impl Kind {
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Shard => *b"grpo-shd",
            Self::Part => *b"grpo-prt",
        }
    }
}

/// Why bytes are not what they were read as.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// There are too few bytes to be a message.
    #[error("expected a header of {HEADER} bytes, found {found} bytes in all")]
    Header {
        /// How many bytes there are.
        found: usize,
    },
    /// The first 8 bytes are not those of such a message: it is of another kind, or something else.
    #[error("expected a message that begins with `{expected}`, found `{found}`")]
    Magic {
        /// The 8 bytes that such a message begins with.
        expected: String,
        /// The 8 bytes that are there, escaped as ASCII.
        found: String,
    },
    /// Another version of this program wrote it.
    #[error(
        "expected format version {expected}, found version {found}: let the same version of this program write and read"
    )]
    Version {
        /// [`VERSION`], the only one that this build reads.
        expected: u32,
        /// The version that the header says.
        found: u32,
    },
    /// The body is not as long as the header says.
    #[error(
        "expected a body of {expected} bytes, found {found}: the message was cut or run together with another"
    )]
    Length {
        /// The length that the header says, in bytes.
        expected: u64,
        /// How many bytes follow the header.
        found: u64,
    },
    /// The body is not the one that the header was written for.
    #[error(
        "expected a body with checksum {expected:016x}, found {found:016x}: the message was changed on its way"
    )]
    Checksum {
        /// The XXH3 (64 bits) that the header says.
        expected: u64,
        /// The XXH3 of the body that is there.
        found: u64,
    },
    /// The header says that the body is longer than what is read of a file.
    #[error("expected a body of at most {limit} bytes, found one of {found}")]
    TooLong {
        /// The most that is read, in bytes.
        limit: u64,
        /// The length that the header says, in bytes.
        found: u64,
    },
    /// The body arrived whole, but is not what writing could have written.
    #[error("expected the body of a {kind}, found bytes that are none: {reason}")]
    Body {
        /// What the message was read as.
        kind: Kind,
        /// What is wrong with it.
        reason: String,
    },
    /// The message cannot be written: it contradicts itself, which none does that came from batches and merges.
    #[error("cannot write this {kind}: {reason}")]
    Unwritable {
        /// What was to be written.
        kind: Kind,
        /// What is wrong with it.
        reason: String,
    },
}

/// A shard as bytes.
///
/// # Errors
/// If the shard contradicts itself, which none does that came from batches and merges.
pub fn write(shard: &Shard) -> Result<Vec<u8>, WireError> {
    seal(Kind::Shard, shard)
}

/// The shard that [`write()`] made these bytes of.
///
/// # Errors
/// If they are not, byte for byte, what this version writes.
pub fn read(bytes: &[u8]) -> Result<Shard, WireError> {
    open(Kind::Shard, bytes)
}

/// As [`read`], of what a reader gives to its end: of what does not begin as a shard no more than the beginning is read, and of
/// what does no more than its header says, one GiB at most.
///
/// # Errors
/// The outer one if `from` cannot be read, the inner one as [`read`]. Of bytes that are left over only the first is counted.
#[cfg(feature = "cli")]
pub(crate) fn read_from(mut from: impl io::Read) -> io::Result<Result<Shard, WireError>> {
    let mut bytes = Vec::new();
    from.by_ref().take(HEADER as u64).read_to_end(&mut bytes)?;
    let (found, limit) = match header(Kind::Shard, &bytes) {
        Ok((length, ..)) => (length, limits::SHARD),
        Err(error) => return Ok(Err(error)),
    };
    if found > limit {
        return Ok(Err(WireError::TooLong { limit, found }));
    }
    from.take(found + 1).read_to_end(&mut bytes)?;
    Ok(read(&bytes))
}

pub(crate) fn seal<T: Serialize>(kind: Kind, message: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes =
        postcard::to_extend(message, vec![0; HEADER]).map_err(|e| WireError::Unwritable {
            kind,
            reason: e.to_string(),
        })?;
    let (header, body) = bytes.split_at_mut(HEADER);
    header[..8].copy_from_slice(&kind.magic());
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&(body.len() as u64).to_le_bytes());
    header[20..].copy_from_slice(&xxh3_64(body).to_le_bytes());
    Ok(bytes)
}

/// The length and the checksum that the body is to have, and the body.
fn header(kind: Kind, bytes: &[u8]) -> Result<(u64, u64, &[u8]), WireError> {
    let short = WireError::Header { found: bytes.len() };
    let (magic, rest) = bytes.split_first_chunk().ok_or(short.clone())?;
    if *magic != kind.magic() {
        return Err(WireError::Magic {
            expected: kind.magic().escape_ascii().to_string(),
            found: magic.escape_ascii().to_string(),
        });
    }
    let (version, rest) = rest.split_first_chunk().ok_or(short.clone())?;
    let found = u32::from_le_bytes(*version);
    if found != VERSION {
        return Err(WireError::Version {
            expected: VERSION,
            found,
        });
    }
    let (length, rest) = rest.split_first_chunk().ok_or(short.clone())?;
    let (checksum, body) = rest.split_first_chunk().ok_or(short)?;
    let (length, checksum) = (u64::from_le_bytes(*length), u64::from_le_bytes(*checksum));
    Ok((length, checksum, body))
}

pub(crate) fn open<T: DeserializeOwned + Serialize>(
    kind: Kind,
    bytes: &[u8],
) -> Result<T, WireError> {
    let (expected, checksum, body) = header(kind, bytes)?;
    let found = body.len() as u64;
    if expected != found {
        return Err(WireError::Length { expected, found });
    }
    let (expected, found) = (checksum, xxh3_64(body));
    if expected != found {
        return Err(WireError::Checksum { expected, found });
    }
    let refuse = |reason: String| WireError::Body { kind, reason };
    match postcard::take_from_bytes(body) {
        Ok((message, [])) if is_written(&message, body) => Ok(message),
        Ok((_, [])) => Err(refuse("writing would have put them otherwise".to_owned())),
        Ok((_, rest)) => Err(refuse(format!("{} bytes are left over", rest.len()))),
        Err(error) => Err(refuse(error.to_string())),
    }
}

/// Whether these bytes are what writing `message` gives: postcard reads a number also from more bytes than it needs, and a map from
/// any order.
fn is_written<T: Serialize>(message: &T, body: &[u8]) -> bool {
    matches!(
        postcard::serialize_with_flavor(message, Expected(body)),
        Ok(Expected([]))
    )
}

/// Takes nothing but these bytes, one after the other.
struct Expected<'a>(&'a [u8]);

impl Flavor for Expected<'_> {
    type Output = Self;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let rest = self.0.strip_prefix(bytes);
        self.0 = rest.ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Self> {
        Ok(self)
    }
}
