//! What is said of each key: exact, explained by a scheme, or not explained.

use std::collections::{BTreeMap, BTreeSet};

use super::AuditError;
use super::log::{Log, LoggedRow, Number};
use super::precision::{Precision, Rounding};
use super::scheme::{Cut, Scheme};
use super::window::Window;
use crate::batch::scalars::WindowFold;
use crate::dialect::{Dialect, Line, Reduction};

/// What an audit found.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Logged rows that had recorded steps behind them.
    pub rows: u64,
    /// Every logged key that could be computed.
    pub keys: Vec<AuditedKey>,
    /// Logged keys that could not: the dialect has no such number, or the records lack what it is made of.
    pub others: Vec<String>,
    /// By how much the log's steps are to be changed for most of what is wrong to be right, where that is so.
    pub shift: Option<i64>,
}

/// One key over all rows.
#[derive(Clone, Debug)]
pub struct AuditedKey {
    /// The key as it is logged.
    pub key: String,
    /// In how many rows it was held against its records.
    pub rows: u64,
    /// In how many of them it is not what it says, within what its digits can tell.
    pub wrong: u64,
    /// The row in which it is furthest off.
    pub worst: Worst,
    /// How it came about.
    pub verdict: Verdict,
}

/// A logged number beside the exact one.
#[derive(Clone, Copy, Debug)]
pub struct Worst {
    pub step: u64,
    pub logged: f64,
    pub exact: f64,
    /// How far off the logged one may be for all that its digits say.
    pub tolerance: f64,
}

/// How a key's logged numbers came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are what the key says.
    Exact,
    /// All are what this gives, and those after it as well, which here cannot be told from it.
    Explained(String, Vec<String>),
    /// No known scheme gives all of them.
    Unexplained,
}

impl Audit {
    /// Whether every number is what its key says.
    pub fn is_exact(&self) -> bool {
        self.keys.iter().all(|key| key.verdict == Verdict::Exact)
    }
}

impl Worst {
    fn off(&self) -> f64 {
        (self.logged - self.exact).abs()
    }
}

/// What stands before a dialect's key where the log has passed through a tracker.
const PREFIX: &str = "train/";

/// Our own numbers in the log of an instrumented trainer.
const OWN: &str = "grpo_metrics/";

/// The line that makes a logged key, and how the dialect has the key.
fn line_of(dialect: Dialect, key: &str) -> Option<(&'static Line, &str)> {
    let named = |key| Some((dialect.line(key)?, key));
    named(key).or_else(|| named(key.strip_prefix(PREFIX)?))
}

/// Whether a logged key is one of the dialect's.
pub fn is_known(dialect: Dialect, key: &str) -> bool {
    line_of(dialect, key).is_some()
}

/// Whether the dialect can say something of a row.
pub fn has_keys(dialect: Dialect, row: &LoggedRow) -> bool {
    row.numbers.keys().any(|key| is_known(dialect, key))
}

/// Whether a row says more than where the run stands: transformers puts `epoch` into an evaluation's too.
pub fn says_of_steps(dialect: Dialect, row: &LoggedRow) -> bool {
    row.numbers.keys().any(|key| is_of_steps(dialect, key))
}

/// Whether a key is the dialect's, and not of where the run stands alone.
fn is_of_steps(dialect: Dialect, key: &str) -> bool {
    line_of(dialect, key).is_some_and(|(line, _)| line.window != WindowFold::Last)
}

/// How the log's numbers of steps are rounded.
fn rounding(log: &Log, dialect: Dialect) -> Rounding {
    let numbers = log.rows.iter().flat_map(|row| &row.numbers);
    let of_steps = numbers.filter(|(key, _)| is_of_steps(dialect, key));
    Rounding::of(of_steps.map(|(_, number)| &*number.text))
}

/// Whether two numbers are one and the same: without a masked token the others are summed in other lanes.
fn is_one(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs()
}

/// An audit under way.
pub struct Judging {
    /// The first is the right one.
    schemes: Vec<Scheme>,
    keys: BTreeMap<String, Judged>,
    others: BTreeSet<String>,
    rows: u64,
}

struct Judged {
    /// As the dialect has it.
    name: String,
    line: &'static Line,
    precision: Precision,
    rows: u64,
    wrong: u64,
    worst: Option<Worst>,
    /// Which schemes have given every number so far; nothing is said of the right one.
    fits: Vec<bool>,
    /// Which of them have given what their plainer one did, every time.
    is_plain: Vec<bool>,
}

impl Judging {
    pub fn of(log: &Log, dialect: Dialect, schemes: Vec<Scheme>) -> Self {
        let mut judging = Self {
            schemes,
            keys: BTreeMap::new(),
            others: log.words.clone(),
            rows: 0,
        };
        let rounding = rounding(log, dialect);
        for key in log.keys().into_iter().filter(|key| !key.starts_with(OWN)) {
            let Some((line, name)) = line_of(dialect, key) else {
                judging.others.insert(key.to_owned());
                continue;
            };
            let texts = log.rows.iter().filter_map(|row| row.numbers.get(key));
            let is_reported = line.reduction == Reduction::Declared;
            let schemes = judging.schemes.iter();
            let judged = Judged {
                name: name.to_owned(),
                line,
                precision: Precision::of(texts.map(|number| &*number.text), is_reported, rounding),
                rows: 0,
                wrong: 0,
                worst: None,
                fits: schemes.map(|scheme| scheme.concerns(line)).collect(),
                is_plain: vec![true; judging.schemes.len()],
            };
            judging.keys.insert(key.to_owned(), judged);
        }
        judging
    }

    /// Holds a row against the exact numbers of its window.
    pub fn row(&mut self, window: &mut Window<'_>, row: &LoggedRow) -> Result<(), AuditError> {
        let exact = window.row(&Scheme::default())?;
        for (key, judged) in &mut self.keys {
            let Some(Number { value: logged, .. }) = row.numbers.get(key) else {
                continue;
            };
            let Some(exact) = exact.get(&judged.name) else {
                self.others.insert(key.clone());
                continue;
            };
            let found = Worst {
                step: row.step,
                logged: *logged,
                exact,
                tolerance: judged.precision.tolerance(*logged),
            };
            judged.rows += 1;
            judged.wrong += u64::from(found.off().is_nan() || found.off() > found.tolerance);
            // A NaN is further off than anything.
            let is_worse = |worst: &Worst| found.off().is_nan() || found.off() > worst.off();
            if judged.worst.as_ref().is_none_or(is_worse) {
                judged.worst = Some(found);
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Whether there is something to explain.
    pub fn has_wrong(&self) -> bool {
        self.keys.values().any(|judged| judged.wrong > 0)
    }

    /// Holds the wrong keys of a row against every scheme that has given all of their numbers so far.
    pub fn explain(&mut self, window: &mut Window<'_>, row: &LoggedRow) -> Result<(), AuditError> {
        let exact = window.row(&Scheme::default())?;
        for nth in 1..self.schemes.len() {
            let scheme = self.schemes[nth];
            let wrong = self.keys.iter_mut().filter(|(_, judged)| judged.wrong > 0);
            let mut open: Vec<_> = wrong
                .filter(|(_, judged)| judged.fits[nth] && exact.get(&judged.name).is_some())
                .filter_map(|(key, judged)| Some((judged, row.numbers.get(key)?)))
                .collect();
            if open.is_empty() {
                continue;
            }
            let numbers = window.row(&scheme)?;
            let plain = match scheme.plain() {
                plain if plain == scheme => None,
                plain => Some(window.row(&plain)?),
            };
            for (judged, logged) in &mut open {
                let tolerance = judged.precision.tolerance(logged.value);
                let found = numbers.get(&judged.name);
                let gives = |value: f64| (logged.value - value).abs() <= tolerance;
                judged.fits[nth] = found.is_some_and(gives);
                let plainly = plain.as_ref().and_then(|plain| plain.get(&judged.name));
                judged.is_plain[nth] &= plainly.zip(found).is_some_and(|(a, b)| is_one(a, b));
            }
        }
        Ok(())
    }

    /// What was found; none where no logged key could be computed.
    pub fn ended(self) -> Option<Audit> {
        let Self {
            schemes,
            keys,
            mut others,
            rows,
        } = self;
        let mut audited = Vec::new();
        for (key, judged) in keys {
            let verdict = judged.verdict(&schemes);
            match judged.worst {
                Some(worst) => {
                    others.remove(&key);
                    audited.push(AuditedKey {
                        key,
                        rows: judged.rows,
                        wrong: judged.wrong,
                        worst,
                        verdict,
                    });
                }
                None => _ = others.insert(key),
            }
        }
        (!audited.is_empty()).then(|| Audit {
            rows,
            keys: audited,
            others: others.into_iter().collect(),
            shift: None,
        })
    }
}

impl Judged {
    fn verdict(&self, schemes: &[Scheme]) -> Verdict {
        if self.wrong == 0 {
            return Verdict::Exact;
        }
        let all = schemes.iter().zip(&self.fits).zip(&self.is_plain).skip(1);
        let fitting = all.filter(|((_, fits), is_plain)| **fits && !**is_plain);
        let mut said = fitting.map(|((scheme, _), _)| self.said(scheme));
        match said.next() {
            Some(first) => Verdict::Explained(first, said.collect()),
            None => Verdict::Unexplained,
        }
    }

    /// A scheme in words; of what counts all that was seen so far, in the words that fit that.
    fn said(&self, scheme: &Scheme) -> String {
        let is_cumulative = self.line.window == WindowFold::Last;
        let averaged = Scheme {
            cut: Cut {
                steps: true,
                ..Cut::default()
            },
            ..Scheme::default()
        };
        if is_cumulative && *scheme == averaged {
            return "a cumulative number averaged over steps".to_owned();
        }
        scheme.to_string()
    }
}
