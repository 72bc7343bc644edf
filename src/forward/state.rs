//! A trainer's state that is one JSON text, with its rows in a list: transformers' `trainer_state.json`, which a `Trainer` writes anew
//! with each checkpoint, and the list (`log_history`) by itself.

use std::fs::File;
use std::io::{self, BufRead, Cursor, Read, Seek};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::limits;
use crate::numerals::{BYTE_ORDER_MARK, with_bare_words_quoted};

/// How much of a file says whether it may be one: transformers sorts its members, and few come before the list.
const LOOK: u64 = 4096;

/// The rows of a state as lines, and the file that they were read from.
pub(super) struct State {
    pub file: File,
    /// Its length and when it was written, as it was read.
    as_read: (u64, Option<SystemTime>),
    /// Whether its writer had come to its end.
    is_whole: bool,
    pub lines: Cursor<Vec<u8>>,
}

impl State {
    /// Reads it; `None` where the file is none. It is left at its start.
    pub fn of(file: &mut File) -> io::Result<Option<Self>> {
        let mut start = Vec::new();
        Read::by_ref(file).take(LOOK).read_to_end(&mut start)?;
        file.rewind()?;
        if !may_be(&start) {
            return Ok(None);
        }
        let as_read = measured(file)?;
        let mut text = Vec::new();
        let most = limits::TRAINER_LOG;
        Read::by_ref(file).take(most + 1).read_to_end(&mut text)?;
        file.rewind()?;
        if text.len() as u64 > most {
            return Ok(None);
        }
        let Some(lines) = lines(&text) else {
            return Ok(None);
        };
        Ok(Some(Self {
            file: file.try_clone()?,
            as_read,
            is_whole: lines.last().is_none_or(|byte| *byte == b'\n'),
            lines: Cursor::new(lines),
        }))
    }

    pub fn len(&self) -> u64 {
        self.lines.get_ref().len() as u64
    }

    /// Whether there is another one in the file: it has been written since, to its end.
    pub fn is_outdated(&mut self) -> io::Result<bool> {
        if measured(&self.file)? == self.as_read {
            return Ok(false);
        }
        match Self::of(&mut self.file)? {
            Some(now) => Ok(now.is_whole),
            None => Ok(measured(&self.file)?.0 > 0),
        }
    }
}

fn measured(file: &File) -> io::Result<(u64, Option<SystemTime>)> {
    let metadata = file.metadata()?;
    Ok((metadata.len(), metadata.modified().ok()))
}

/// Whether a file that begins so may be one: no row is a list, ends behind its first brace, or names one.
fn may_be(start: &[u8]) -> bool {
    let name = b"\"log_history\"";
    let mut lines = unmarked(start).trim_ascii_start().lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    let first = first.trim_ascii_end();
    first.starts_with('[') || first == "{" || start.windows(name.len()).any(|at| at == name)
}

fn unmarked(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

#[derive(Deserialize)]
struct Members<'t> {
    #[serde(borrow)]
    log_history: Vec<&'t RawValue>,
}

/// The rows, a line each. What is still being written is a line without an end, for the next look; `None` of anything else.
fn lines(text: &[u8]) -> Option<Vec<u8>> {
    let text = unmarked(text);
    let quoted;
    let text = match rows(text) {
        // Python writes what is not finite as bare words.
        Err(error) if error.classify() == Category::Syntax => {
            quoted = with_bare_words_quoted(text);
            quoted.as_slice()
        }
        _ => text,
    };
    match rows(text) {
        Ok(rows) => {
            let mut lines = Vec::new();
            for row in rows {
                lines.extend(on_one_line(row.get().as_bytes()));
                lines.push(b'\n');
            }
            Some(lines)
        }
        Err(error) if error.classify() == Category::Eof => Some(on_one_line(text).collect()),
        Err(_) => None,
    }
}

fn rows(text: &[u8]) -> serde_json::Result<Vec<&RawValue>> {
    if text.trim_ascii_start().starts_with(b"[") {
        return serde_json::from_slice(text);
    }
    serde_json::from_slice::<Members<'_>>(text).map(|members| members.log_history)
}

/// No text in JSON has a line break as it is.
fn on_one_line(json: &[u8]) -> impl Iterator<Item = u8> {
    let bytes = json.iter().copied();
    bytes.map(|byte| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            byte
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let lines = may_be(text.as_bytes())
            .then(|| lines(text.as_bytes()))
            .flatten();
        lines.map(|lines| String::from_utf8(lines).unwrap())
    }

    #[test]
    fn the_rows_of_a_state_are_lines_and_a_row_is_no_state() {
        let state = "{\n  \"epoch\": 1.0,\n  \"log_history\": [\n    {\n      \"kl\": NaN,\n      \"step\": 1\n    },\n    {\"step\": 2}\n  ]\n}";
        let lines = read(state).unwrap();
        let (first, second) = lines.split_once('\n').unwrap();
        assert_eq!(
            first.split_whitespace().collect::<String>(),
            "{\"kl\":\"NaN\",\"step\":1}"
        );
        assert_eq!(second, "{\"step\": 2}\n");
        for list in ["[{\"step\": 1}]", "\u{feff}[{\"step\": 1}]"] {
            assert_eq!(read(list).unwrap(), "{\"step\": 1}\n");
        }
        for row in [
            "{\"step\": 1, \"loss\": 2}\n{\"step\": 2}",
            "",
            "{\n1}",
            "{\n\"a\": 1}",
        ] {
            assert_eq!(read(row), None, "{row}");
        }
    }

    #[test]
    fn what_is_still_being_written_is_half_a_line() {
        assert_eq!(
            read("{\n  \"log_history\": [\n    {\"st").unwrap(),
            "{   \"log_history\": [     {\"st"
        );
        assert_eq!(read("{\n").unwrap(), "{ ");
    }
}
