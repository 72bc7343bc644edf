//! One row in the journal: `mark | length | sequence number | checksum | row`, little-endian.
//!
//! Every entry carries its number, so that what is missing between two entries can be counted, and a mark that a search for
//! the next whole entry can stop at. The checksum is over the length, the number and the row.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::row::Row;

/// What an entry begins with: bytes that no text in UTF-8 has.
const MARK: [u8; 4] = [0xF5, b'r', b'o', 0xF6];
/// Mark, length (u32), number (u64), checksum (u64).
pub(super) const HEAD: usize = 24;

/// How often a segment's bytes may be hashed for entries that are none. Damage makes such an entry now and then, of a length that was
/// hit; bytes that are made for it could do so at each of their marks, and reading them would take the square of their number.
const TRIES: u64 = 32;

/// A row as it is written: fields of [`Row`] by position, so a change of them is a new version of the journal.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    step: u64,
    timestamp: f64,
    #[serde(borrow)]
    metrics: Vec<(&'a str, f64)>,
    #[serde(borrow)]
    text: Vec<(&'a str, &'a str)>,
}

/// What came to [`Row`] later, behind the rest: an older program reads on without it, and of an older program's row it is missing.
#[derive(Default, Serialize, Deserialize)]
struct KeptSince {
    steps: u64,
    cut: bool,
}

/// What came to it later still.
#[derive(Default, Serialize, Deserialize)]
struct KeptAfter {
    again: bool,
}

/// Writes `row` under `number` into `buffer`, in place of what is there.
///
/// # Errors
/// If the row has 4 GiB or more.
pub(super) fn encode(number: u64, row: &Row, buffer: &mut Vec<u8>) -> Result<(), postcard::Error> {
    let kept = Kept {
        step: row.step,
        timestamp: row.timestamp,
        metrics: row.metrics.iter().collect(),
        text: row
            .text
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect(),
    };
    buffer.clear();
    buffer.extend([0; HEAD]);
    *buffer = postcard::to_extend(&kept, std::mem::take(buffer))?;
    let since = KeptSince {
        steps: row.steps,
        cut: row.cut,
    };
    *buffer = postcard::to_extend(&since, std::mem::take(buffer))?;
    if row.again {
        *buffer = postcard::to_extend(&KeptAfter { again: true }, std::mem::take(buffer))?;
    }
    let length = u32::try_from(buffer.len() - HEAD)
        .map_err(|_| postcard::Error::SerializeBufferFull)?
        .to_le_bytes();
    let number = number.to_le_bytes();
    let checksum = checksum(length, number, &buffer[HEAD..]);
    let head = [&MARK[..], &length, &number, &checksum.to_le_bytes()].concat();
    buffer[..HEAD].copy_from_slice(&head);
    Ok(())
}

/// An entry that stands in the journal.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) number: u64,
    /// `None` if the bytes are as they were written, but no row: another program's doing.
    pub(super) row: Option<Row>,
    /// Where the entry ends.
    pub(super) end: usize,
}

/// Bytes that may still be hashed for entries that are none.
#[derive(Debug, Default)]
pub(super) struct Budget(u64);

impl Budget {
    /// Enough for so many bytes of a segment more.
    pub(super) fn grow(&mut self, bytes: usize) {
        self.0 += bytes as u64 * TRIES;
    }
}

/// The first whole entry at `at` or after it, wherever it begins, with one of `numbers`; `None` if there is none, or none that the
/// budget could find.
pub(super) fn next(
    bytes: &[u8],
    at: usize,
    numbers: &Range<u64>,
    budget: &mut Budget,
) -> Option<Entry> {
    let mut at = at;
    loop {
        let rest = bytes.get(at..)?;
        at += rest.windows(MARK.len()).position(|window| window == MARK)?;
        match whole(&bytes[at..], numbers, budget) {
            Some((number, payload)) => {
                return Some(Entry {
                    number,
                    row: decode(payload),
                    end: at + HEAD + payload.len(),
                });
            }
            None => at += 1,
        }
    }
}

/// The length of the entry that stands first in `bytes` and says that it is `number`, if it is all there, sound or not.
pub(super) fn claimed(bytes: &[u8], number: u64) -> Option<usize> {
    let (length, found, _) = head(bytes)?;
    let end = HEAD + usize::try_from(u32::from_le_bytes(length)).ok()?;
    (bytes.starts_with(&MARK) && u64::from_le_bytes(found) == number && end <= bytes.len())
        .then_some(end)
}

/// The number and the row's bytes of the entry that stands first in `bytes`, if it is all there, as it was written and one of
/// `numbers`.
fn whole<'a>(
    bytes: &'a [u8],
    numbers: &Range<u64>,
    budget: &mut Budget,
) -> Option<(u64, &'a [u8])> {
    let (length, own, expected) = head(bytes)?;
    let number = u64::from_le_bytes(own);
    let size = u32::from_le_bytes(length);
    let payload = bytes[HEAD..].get(..usize::try_from(size).ok()?)?;
    let left = budget.0.checked_sub(HEAD as u64 + u64::from(size))?;
    if !numbers.contains(&number) {
        return None;
    }
    if checksum(length, own, payload) == expected {
        return Some((number, payload));
    }
    budget.0 = left;
    None
}

fn head(bytes: &[u8]) -> Option<([u8; 4], [u8; 8], u64)> {
    let (length, rest) = bytes.get(MARK.len()..HEAD)?.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (checksum, _) = rest.split_first_chunk::<8>()?;
    Some((*length, *number, u64::from_le_bytes(*checksum)))
}

fn checksum(length: [u8; 4], number: [u8; 8], payload: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&length);
    hash.update(&number);
    hash.update(payload);
    hash.digest()
}

fn decode(payload: &[u8]) -> Option<Row> {
    let (kept, rest): (Kept<'_>, _) = postcard::take_from_bytes(payload).ok()?;
    let (since, rest) = part::<KeptSince>(rest)?;
    let (after, _) = part::<KeptAfter>(rest)?;
    let mut row = Row {
        step: kept.step,
        timestamp: kept.timestamp,
        steps: since.steps,
        cut: since.cut,
        again: after.again,
        ..Row::default()
    };
    // Pushed, not set: the row's keys were each there once, and a search for each would be quadratic.
    for (key, value) in kept.metrics {
        row.metrics.push(key.to_owned(), value);
    }
    row.text = kept
        .text
        .into_iter()
        .map(|(key, text)| (key.to_owned(), text.to_owned()))
        .collect();
    Some(row)
}

/// The next part of a row, and what is behind it; of an older program's row it is missing.
fn part<T: Default + DeserializeOwned>(bytes: &[u8]) -> Option<(T, &[u8])> {
    if bytes.is_empty() {
        return Some((T::default(), bytes));
    }
    postcard::take_from_bytes(bytes).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(step: u64) -> Row {
        Row {
            step,
            timestamp: 0.1,
            steps: 3,
            cut: true,
            again: true,
            metrics: [
                ("a", -0.0),
                ("ключ", f64::INFINITY),
                ("tiny", 5e-324),
                ("nan", f64::NAN),
            ]
            .into_iter()
            .collect(),
            text: vec![("run/git_sha".to_owned(), "a\nb".to_owned())],
        }
    }

    fn journal(rows: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = Vec::new();
        for number in 0..rows {
            encode(number, &row(number), &mut buffer).unwrap();
            bytes.extend(&buffer);
        }
        bytes
    }

    fn budget(bytes: &[u8]) -> Budget {
        let mut budget = Budget::default();
        budget.grow(bytes.len());
        budget
    }

    fn first(bytes: &[u8]) -> Option<Entry> {
        next(bytes, 0, &(0..u64::MAX), &mut budget(bytes))
    }

    fn read(bytes: &[u8]) -> Vec<u64> {
        let (mut at, mut least, mut found) = (0, 0, Vec::new());
        let mut budget = budget(bytes);
        while let Some(entry) = next(bytes, at, &(least..u64::MAX), &mut budget) {
            assert_eq!(entry.row.unwrap().step, entry.number);
            found.push(entry.number);
            (at, least) = (entry.end, entry.number + 1);
        }
        found
    }

    #[test]
    fn a_row_comes_back_whole_and_to_the_last_bit() {
        let mut buffer = Vec::new();
        encode(7, &row(3), &mut buffer).unwrap();
        let entry = first(&buffer).unwrap();
        assert_eq!((entry.number, entry.end), (7, buffer.len()));
        let (found, expected) = (entry.row.unwrap(), row(3));
        let bits = |row: &Row| -> Vec<(String, u64)> {
            row.metrics
                .iter()
                .map(|(k, v)| (k.to_owned(), v.to_bits()))
                .collect()
        };
        assert_eq!(bits(&found), bits(&expected));
        assert_eq!(
            (
                found.step,
                found.timestamp,
                found.steps,
                found.cut,
                found.text
            ),
            (
                expected.step,
                expected.timestamp,
                expected.steps,
                expected.cut,
                expected.text
            )
        );
    }

    #[test]
    fn a_row_of_an_older_program_says_nothing_of_its_window_and_an_older_program_reads_a_row_of_ours()
     {
        let mut buffer = Vec::new();
        encode(0, &row(3), &mut buffer).unwrap();
        let ours = &buffer[HEAD..];
        // The three bytes behind it are what came since.
        let older = &ours[..ours.len() - 3];
        let found = decode(older).unwrap();
        assert_eq!((found.step, found.steps, found.cut), (3, 0, false));
        let (older, found) = (&ours[..ours.len() - 1], row(3));
        let found = Row {
            again: false,
            ..found
        };
        assert_eq!(
            decode(older).map(|row| (row.steps, row.cut, row.again)),
            Some((found.steps, found.cut, found.again))
        );
        let kept: Kept<'_> = postcard::from_bytes(ours).unwrap();
        assert_eq!((kept.step, kept.metrics.len()), (3, 4));
    }

    #[test]
    fn an_empty_row_is_an_entry_too() {
        let mut buffer = Vec::new();
        encode(0, &Row::default(), &mut buffer).unwrap();
        assert_eq!(first(&buffer).unwrap().row, Some(Row::default()));
        assert_eq!(first(&[]), None);
    }

    #[test]
    fn a_torn_entry_at_any_byte_costs_that_entry_alone() {
        let bytes = journal(3);
        let size = bytes.len() / 3;
        for end in 2 * size..bytes.len() {
            assert_eq!(read(&bytes[..end]), [0, 1]);
            assert_eq!(claimed(&bytes[2 * size..end], 2), None);
        }
        assert_eq!(claimed(&bytes[2 * size..], 2), Some(size));
    }

    #[test]
    fn bytes_that_are_all_marks_are_hashed_so_often_at_most_however_long_they_claim_to_be() {
        let size = 8 << 20;
        let mut crafted = Vec::with_capacity(size);
        while crafted.len() + HEAD <= size {
            let rest = u32::try_from(size - crafted.len() - HEAD).unwrap();
            crafted.extend(MARK);
            crafted.extend(rest.to_le_bytes());
            crafted.extend(1u64.to_le_bytes());
            crafted.extend(7u64.to_le_bytes());
        }
        let numbers = 0..crafted.len() as u64 / HEAD as u64;
        let mut left = budget(&crafted);
        let whole = left.0;
        let mut at = 0;
        while let Some(entry) = next(&crafted, at, &numbers, &mut left) {
            at = entry.end;
        }
        let hashed = whole - left.0;
        assert!(hashed <= TRIES * crafted.len() as u64, "{hashed}");
        // And it had enough to find what came before.
        let honest = journal(3);
        let both = [honest.as_slice(), &crafted].concat();
        assert_eq!(read(&both), [0, 1, 2]);
    }

    #[test]
    fn lengths_that_were_hit_cost_their_own_entries_alone() {
        let mut bytes = journal(2_000);
        let hit: Vec<u64> = (0..50).map(|n| 7 + n * 31).collect();
        let mut at = 0;
        for number in 0..2_000 {
            let size = claimed(&bytes[at..], number).unwrap();
            if hit.contains(&number) {
                // It now claims some 64 KiB more, which are there.
                bytes[at + MARK.len() + 2] ^= 1;
            }
            at += size;
        }
        let expected: Vec<u64> = (0..2_000).filter(|number| !hit.contains(number)).collect();
        assert_eq!(read(&bytes), expected);
    }

    proptest! {
        #[test]
        fn a_flipped_bit_anywhere_costs_its_entry_alone(at in 0usize..10_000, bit in 0u8..8) {
            let mut bytes = journal(4);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let hit = (at / (bytes.len() / 4)) as u64;
            let expected: Vec<u64> = (0..4).filter(|number| *number != hit).collect();
            prop_assert_eq!(read(&bytes), expected);
        }

        #[test]
        fn no_bytes_make_the_search_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..300) {
            let _ = next(&bytes, at, &(0..u64::MAX), &mut budget(&bytes));
            let marked = [&MARK[..], &bytes].concat();
            let _ = (first(&marked), claimed(&marked, 0), decode(&bytes));
        }
    }
}
