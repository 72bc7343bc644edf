//! The most that is read of each thing from outside, and why so much: beyond it something else is there than was meant, and
//! reading on would take the memory of the training beside.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

/// A row of a metrics file; a million keys of 16 bytes.
pub(crate) const ROW: usize = 16 << 20;

/// A record as a line of JSON: some 16 million tokens with four columns of log-probabilities. More is for `.safetensors`.
pub(crate) const RECORD_LINE: usize = 1 << 30;

/// A record as a `.safetensors` file: some 200 million tokens with five columns.
pub(crate) const RECORD_FILE: u64 = 4 << 30;

/// A trainer's whole log: ten million numbers.
pub(crate) const TRAINER_LOG: u64 = 512 << 20;

/// A shard: some hundred million values of one step.
#[cfg(feature = "cli")]
pub(crate) const SHARD: u64 = 1 << 30;

/// What a forward remembers of a file: two names and five numbers.
pub(crate) const FORWARD_STATE: u64 = 1 << 20;

/// A row that a store refused, as a forward keeps it: at most five bytes for one of the row's.
pub(crate) const KEPT_ROW: usize = 5 * ROW;

/// A row of a table, and its header, with the names of all columns.
pub(crate) const TABLE_LINE: usize = 16 << 20;

/// Certificates in PEM; all public authorities together are a quarter of a megabyte.
#[cfg(feature = "evsys")]
pub(crate) const CERTIFICATES: u64 = 16 << 20;

/// What a gateway says to rows that it took: each of its numbers as a record.
#[cfg(feature = "evsys")]
pub(crate) const ACKNOWLEDGEMENT: u64 = 64 << 20;

/// One record in a gateway's answer, with its configuration or texts.
#[cfg(feature = "evsys")]
pub(crate) const ENTRY: usize = 4 << 20;

/// A list in a gateway's answer: two million numbers, or a hundred thousand predictions with their texts.
#[cfg(feature = "evsys")]
pub(crate) const LIST: u64 = 256 << 20;

/// How much of a line is read before it is looked at: what is no text ends here.
const LOOK: usize = 1 << 20;

fn beyond(what: &str, most: u64) -> io::Error {
    let message = format!("expected {what} of at most {most} bytes, found more");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The whole of a file.
///
/// # Errors
/// If it cannot be read, or has more than `most` bytes.
pub(crate) fn whole(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(beyond("a file", most));
    }
    Ok(bytes)
}

/// Appends the next line, with its line break if it has one; its bytes, of which the end has none.
///
/// # Errors
/// If it cannot be read, has more than `most` bytes, or is long and holds what no line of text does.
pub(crate) fn line(from: &mut impl BufRead, most: usize, line: &mut Vec<u8>) -> io::Result<usize> {
    let mut read = 0;
    loop {
        let chunk = from.fill_buf()?;
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let part = end.map_or(chunk, |end| &chunk[..=end]);
        if read + part.len() > most {
            return Err(beyond("a line", most as u64));
        }
        if read > LOOK
            && let Some(byte) = part.iter().find(|byte| is_no_text(**byte))
        {
            let message = format!("expected a line of text, found the byte 0x{byte:02x} in it");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        line.extend_from_slice(part);
        let part = part.len();
        from.consume(part);
        read += part;
        if end.is_some() || part == 0 {
            return Ok(read);
        }
    }
}

/// Control characters but the blanks.
const fn is_no_text(byte: u8) -> bool {
    byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')
}

/// Opens a file to be read more than once, as a pipe or a device cannot be.
///
/// # Errors
/// If it cannot be opened, or is none.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    // Asked before it is opened, which waits for who writes to a pipe.
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_file() {
        return File::open(path);
    }
    let found = if kind.is_dir() {
        "a folder"
    } else {
        "a pipe or a device"
    };
    let message = format!("expected a file, found {found}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_its_limit_and_a_long_one_at_the_first_byte_that_is_no_text() {
        let read = |bytes: &[u8], most| {
            let (mut from, mut text) = (bytes, Vec::new());
            line(&mut from, most, &mut text).map_err(|error| error.to_string())
        };
        assert_eq!(read(b"abc\nd", 4), Ok(4));
        assert_eq!(read(b"abc", 3), Ok(3));
        assert_eq!(read(b"", 0), Ok(0));
        let refused = Err("expected a line of at most 3 bytes, found more".to_owned());
        assert_eq!(read(b"abc\n", 3), refused);
        // What a short line is made of is for its parser to say.
        assert_eq!(read(b"a\0\n", 9), Ok(3));
        let mut from = io::BufReader::new(io::repeat(0));
        let error = line(&mut from, usize::MAX, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().ends_with("found the byte 0x00 in it"));
    }
}
