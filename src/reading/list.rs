//! Which runs of a store are meant, by what is known of them.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::store::{RunOverview, Status, moment};

/// What a run is called that says it is running, and of which nobody hears.
const STOPPED: &str = "stopped";

/// Which runs are meant: all, but for what is given.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// Runs that stand in one of these ways ([`Which::statuses`]).
    pub status: Vec<String>,
    /// Runs with each of these tags.
    pub tag: Vec<String>,
    /// Runs that were created since.
    pub since: Option<Since>,
    /// Runs of the experiment of this name.
    pub experiment: Option<String>,
}

impl Which {
    /// The ways in which a run can stand, as words.
    pub fn statuses() -> impl Iterator<Item = &'static str> + Clone {
        let words = Status::ALL.iter().map(|status| status.as_str());
        words.chain([STOPPED])
    }

    /// Of all runs of a store, the oldest first, those that are meant: the newest first.
    #[must_use]
    pub fn of(&self, mut runs: Vec<RunOverview>) -> Vec<RunOverview> {
        runs.retain(|run| self.has(run));
        runs.reverse();
        runs
    }

    fn has(&self, run: &RunOverview) -> bool {
        let stands = || {
            let standing = standing(run);
            let word = standing.split(' ').next().unwrap_or_default();
            self.status.iter().any(|status| status == word)
        };
        let since = self.since.as_ref();
        self.tag.iter().all(|tag| run.tags.contains(tag))
            && since.is_none_or(|since| since.is_before(&run.created_at))
            && self
                .experiment
                .as_ref()
                .is_none_or(|name| run.experiment == *name)
            && (self.status.is_empty() || stands())
    }
}

/// A moment in the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// As the store writes it, or its beginning.
    At(String),
    /// So long ago.
    Ago(Duration),
}

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as 2026-01-31, '2026-01-31 12:00', 12h or 7d, found `{0}`")]
pub struct SinceError(String);

impl FromStr for Since {
    type Err = SinceError;

    fn from_str(text: &str) -> Result<Self, SinceError> {
        let text = text.trim();
        let unit = match text.chars().last() {
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 24 * 3600,
            Some('w') => 7 * 24 * 3600,
            _ => 0,
        };
        let ago = text
            .get(..text.len().saturating_sub(1))
            .and_then(|count| count.parse::<u64>().ok());
        if let (Some(ago), 1..) = (ago, unit) {
            return Ok(Since::Ago(Duration::from_secs(ago.saturating_mul(unit))));
        }
        // Whole to the second, it must be a time.
        let at = text.trim_end_matches('Z').replacen(' ', "T", 1);
        let whole = "0000-01-01T00:00:00";
        let rest = whole.get(at.len()..).unwrap_or_default();
        if at.len() >= 10 && moment(&format!("{at}{rest}Z")).is_some() {
            return Ok(Since::At(at));
        }
        Err(SinceError(text.to_owned()))
    }
}

impl Since {
    fn is_before(&self, created_at: &str) -> bool {
        match self {
            Self::At(text) => created_at >= text.as_str(),
            Self::Ago(ago) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let then = now.unwrap_or_default().saturating_sub(*ago);
                moment(created_at).is_none_or(|created| created >= then)
            }
        }
    }
}

/// What is known of a run as an object, for programs.
#[must_use]
pub fn run_json(run: &RunOverview) -> Value {
    json!({
        "id": run.id, "name": run.name, "experiment": run.experiment, "status": standing(run), "steps": run.steps,
        "first_step": run.span.map(|span| span.0), "last_step": run.span.map(|span| span.1), "values": run.values,
        "tags": run.tags, "note": run.note, "created_at": run.created_at, "seen_at": run.seen_at, "ended_at": run.ended_at,
    })
}

/// How a run stands, as it is told: `?` where that cannot be read.
#[must_use]
pub fn standing(run: &RunOverview) -> String {
    let standing = run.standing(SystemTime::now());
    standing.map_or_else(|| "?".to_owned(), |standing| standing.to_string())
}
