//! What a query asks for, checked.

use super::Query;
use super::error::ReadError;

/// How many pixels a plot can be wide.
const WIDEST: usize = 16_384;

/// How many series one answer has at most.
const SERIES: usize = 1000;

/// What a series is drawn over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Step,
    /// Milliseconds since 1970.
    Time,
    /// Tokens seen so far.
    Tokens,
    /// Completions seen so far.
    Completions,
}

impl Axis {
    pub const ALL: [Self; 4] = [Self::Step, Self::Time, Self::Tokens, Self::Completions];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Time => "time",
            Self::Tokens => "tokens",
            Self::Completions => "completions",
        }
    }
}

/// Series, and how they are to be drawn.
#[derive(Debug)]
pub(super) struct Drawn<'a> {
    pub runs: Vec<&'a str>,
    pub keys: Vec<&'a str>,
    pub axis: Axis,
    /// In the axis' unit; both ends are in it.
    pub from: f64,
    pub to: f64,
    /// Pixels; `None` for every point.
    pub width: Option<usize>,
    /// In [0, 1).
    pub smooth: f64,
    /// Whether the runs' series are to be one, with a band.
    pub together: bool,
}

impl<'a> Drawn<'a> {
    pub fn of(query: &'a Query) -> Result<Self, ReadError> {
        let drawn = Self {
            runs: query.all("run").collect(),
            keys: query.all("key").collect(),
            axis: axis(query)?,
            from: number(query, "from", "a number", |_| true)?.unwrap_or(f64::NEG_INFINITY),
            to: number(query, "to", "a number", |_| true)?.unwrap_or(f64::INFINITY),
            width: width(query)?,
            smooth: number(
                query,
                "smooth",
                "a number from 0 to less than 1",
                |weight| (0.0..1.0).contains(&weight),
            )?
            .unwrap_or(0.0),
            together: query.first("together").is_some_and(|word| word == "1"),
        };
        if drawn.runs.is_empty() {
            return Err(missing("run", "the name or id of a run"));
        }
        if drawn.keys.is_empty() {
            return Err(missing("key", "a key of the run"));
        }
        if drawn.runs.len().saturating_mul(drawn.keys.len()) > SERIES {
            return Err(ReadError::Query {
                name: "key",
                expected: format!("at most {SERIES} series, keys times runs"),
                found: Some((drawn.runs.len() * drawn.keys.len()).to_string()),
            });
        }
        Ok(drawn)
    }

    /// Columns of the plot; as many as can be counted where every point is wanted.
    pub fn pixels(&self) -> usize {
        self.width.unwrap_or(usize::MAX / 4)
    }
}

/// The run of a query that is about one.
pub(super) fn run(query: &Query) -> Result<&str, ReadError> {
    query
        .first("run")
        .ok_or_else(|| missing("run", "the name or id of a run"))
}

/// The step of a query that is about one.
pub(super) fn step(query: &Query) -> Result<u64, ReadError> {
    let text = query.first("step");
    let step = text.and_then(|text| text.parse().ok());
    step.ok_or_else(|| ReadError::Query {
        name: "step",
        expected: "a step's number".to_owned(),
        found: text.map(str::to_owned),
    })
}

fn axis(query: &Query) -> Result<Axis, ReadError> {
    let Some(word) = query.first("x") else {
        return Ok(Axis::Step);
    };
    let found = Axis::ALL.into_iter().find(|axis| axis.name() == word);
    found.ok_or_else(|| ReadError::Query {
        name: "x",
        expected: format!("one of {}", Axis::ALL.map(Axis::name).join(" ")),
        found: Some(word.to_owned()),
    })
}

/// How many pixels a plot is wide, if the query says so.
pub(super) fn width(query: &Query) -> Result<Option<usize>, ReadError> {
    let Some(text) = query.first("width") else {
        return Ok(None);
    };
    let width = text.parse().ok();
    let width = width.filter(|width| (1..=WIDEST).contains(width));
    width.map(Some).ok_or_else(|| ReadError::Query {
        name: "width",
        expected: format!("a number of pixels from 1 to {WIDEST}"),
        found: Some(text.to_owned()),
    })
}

fn number(
    query: &Query,
    name: &'static str,
    expected: &str,
    is_one: impl Fn(f64) -> bool,
) -> Result<Option<f64>, ReadError> {
    let Some(text) = query.first(name) else {
        return Ok(None);
    };
    let number = text.parse().ok();
    let number = number.filter(|number: &f64| number.is_finite() && is_one(*number));
    number.map(Some).ok_or_else(|| ReadError::Query {
        name,
        expected: expected.to_owned(),
        found: Some(text.to_owned()),
    })
}

fn missing(name: &'static str, expected: &str) -> ReadError {
    ReadError::Query {
        name,
        expected: expected.to_owned(),
        found: None,
    }
}
