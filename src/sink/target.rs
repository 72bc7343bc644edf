//! Sinks by name: what the command's `--sink` and Python's `sinks=` open.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

#[cfg(feature = "tensorboard")]
use super::TensorBoard;
use super::{Console, Csv, Jsonl, Sink, SinkError};

/// A kind of sink that a text can name.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SinkKind {
    /// What stands before the colon; so is the feature called without which it is not there.
    pub name: &'static str,
    /// What stands behind it.
    pub place: &'static str,
    /// What becomes of a row, in a line.
    pub meaning: &'static str,
    /// `None` where this program was built without it.
    open: Option<Open>,
}

type Open = fn(&Path) -> Result<Box<dyn Sink>, SinkError>;

/// Every kind of sink that a text can name. The first is that of a text which names none.
pub const KINDS: &[SinkKind] = &[
    SinkKind {
        name: "jsonl",
        place: "FILE",
        meaning: "JSON lines, appended; - is standard output",
        open: Some(|path| {
            Ok(if path == Path::new("-") {
                Box::new(Jsonl::to(io::stdout()))
            } else {
                Box::new(Jsonl::open(path)?)
            })
        }),
    },
    SinkKind {
        name: "csv",
        place: "FILE",
        meaning: "a table with a column a key, appended",
        open: Some(|path| Ok(Box::new(Csv::open(path)?))),
    },
    SinkKind {
        name: "tensorboard",
        place: "FOLDER",
        meaning: "an event file for TensorBoard, new in the folder each time",
        #[cfg(feature = "tensorboard")]
        open: Some(|folder| Ok(Box::new(TensorBoard::open(folder)?))),
        #[cfg(not(feature = "tensorboard"))]
        open: None,
    },
    SinkKind {
        name: CONSOLE,
        place: "FORM",
        meaning: "the terminal: `line` is a line a row, `pretty` every row whole",
        open: Some(|form| match form.to_str() {
            Some("line") => Ok(Box::new(Console::line())),
            Some("pretty") => Ok(Box::new(Console::pretty())),
            _ => Err(SinkError::other(format!(
                "console: expected line or pretty, found {}",
                form.display()
            ))),
        }),
    },
];

/// The kind that writes to the terminal.
const CONSOLE: &str = "console";

/// A sink that a text names: `csv:rows.csv`, `tensorboard:runs/7`, or just `rows.jsonl`.
///
/// ```
/// use grpo_metrics::sink::{Sink, Target};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("rows.csv");
/// # /*
/// let path = "rows.csv";
/// # */
/// # let path = path.display();
///
/// let target: Target = format!("csv:{path}").parse()?;
/// assert_eq!(target.open()?.name(), "csv");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Target {
    kind: &'static SinkKind,
    open: Open,
    path: PathBuf,
}

impl Target {
    /// JSON lines at `path`, whatever its name looks like.
    ///
    /// # Errors
    /// If it is empty.
    pub fn jsonl(path: impl Into<PathBuf>) -> Result<Self, TargetError> {
        Self::of(&KINDS[0], path.into())
    }

    fn of(kind: &'static SinkKind, path: PathBuf) -> Result<Self, TargetError> {
        let (sink, place) = (kind.name, kind.place);
        if path.as_os_str().is_empty() {
            return Err(TargetError::Nowhere { sink, place });
        }
        let open = kind.open.ok_or(TargetError::NotBuilt { sink })?;
        Ok(Self { kind, open, path })
    }

    /// What kind of sink it is.
    #[must_use]
    pub fn kind(&self) -> &'static SinkKind {
        self.kind
    }

    /// Where it writes.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it writes to standard output.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        let is_dash = self.kind.name == KINDS[0].name && self.path == Path::new("-");
        is_dash || self.kind.name == CONSOLE
    }

    /// Whether it waits for nothing, and somebody looks at it as it comes: it needs no journal.
    #[must_use]
    pub fn is_immediate(&self) -> bool {
        self.is_stdout()
    }

    /// Opens the sink.
    ///
    /// # Errors
    /// If the file or folder cannot be opened, or is not the sink's to write to.
    pub fn open(&self) -> Result<Box<dyn Sink>, SinkError> {
        (self.open)(&self.path)
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let Some((name, path)) = text.split_once(':') else {
            return Self::jsonl(text);
        };
        if let Some(kind) = KINDS.iter().find(|kind| kind.name == name) {
            return Self::of(kind, path.into());
        }
        // A folder, an ending or a drive is before the colon of a path.
        let is_word = name.len() > 1 && name.bytes().all(|byte| byte.is_ascii_lowercase());
        if !is_word {
            return Self::jsonl(text);
        }
        Err(TargetError::Unknown {
            found: name.to_owned(),
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_stdout() {
            return f.write_str("standard output");
        }
        write!(f, "{}", self.path.display())
    }
}

/// Why a text names no sink.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// There is no such kind.
    #[error(
        "expected a kind of sink ({}), found `{found}`; a file of JSON lines with such a name is `jsonl:{text}`",
        KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
    )]
    Unknown {
        /// What stands before the colon.
        found: String,
        /// The whole text.
        text: String,
    },
    /// It says no path.
    #[error("{sink}: expected the path of a {}, found none", .place.to_lowercase())]
    Nowhere {
        /// The kind of sink.
        sink: &'static str,
        /// What it writes to.
        place: &'static str,
    },
    /// This program was built without it.
    #[error("this program was built without `{sink}`")]
    NotBuilt {
        /// The kind of sink, and the feature that brings it.
        sink: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Result<(&str, PathBuf), String> {
        let target: Result<Target, _> = text.parse();
        let target = target.map_err(|error| error.to_string())?;
        Ok((target.kind().name, target.path().to_owned()))
    }

    fn named_open(text: &str) -> Result<&'static str, String> {
        let target: Target = text.parse().map_err(|e: TargetError| e.to_string())?;
        let opened = target.open().map_err(|error| error.to_string())?;
        Ok(opened.name())
    }

    #[test]
    fn a_text_names_a_kind_and_a_path_and_a_path_alone_is_of_json_lines() {
        let is = |kind, path: &str| Ok((kind, PathBuf::from(path)));
        assert_eq!(named("csv:a/b.csv"), is("csv", "a/b.csv"));
        assert_eq!(named("jsonl:csv:x"), is("jsonl", "csv:x"));
        assert_eq!(named("a/rows.jsonl"), is("jsonl", "a/rows.jsonl"));
        assert_eq!(named("./run:1"), is("jsonl", "./run:1"));
        assert_eq!(named("C:\\rows"), is("jsonl", "C:\\rows"));
    }

    #[test]
    fn what_names_no_sink_is_told_apart() {
        assert_eq!(
            named("cvs:a").unwrap_err(),
            "expected a kind of sink (jsonl, csv, tensorboard, console), found `cvs`; a file of JSON lines with such a name is `jsonl:cvs:a`"
        );
        assert_eq!(
            named("csv:").unwrap_err(),
            "csv: expected the path of a file, found none"
        );
        let error = named_open("console:short").unwrap_err();
        assert_eq!(error, "console: expected line or pretty, found short");
        assert_eq!(
            named("").unwrap_err(),
            "jsonl: expected the path of a file, found none"
        );
        let board = named("tensorboard:a");
        if cfg!(feature = "tensorboard") {
            assert_eq!(board, Ok(("tensorboard", PathBuf::from("a"))));
        } else {
            let error = "this program was built without `tensorboard`";
            assert_eq!(board.unwrap_err(), error);
        }
    }
}
