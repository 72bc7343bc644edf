//! How a run stands now: a process that was killed could not say so, and its run is still called running.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::row::run::Status;

/// How long after its last sign a run that is called running counts as stopped: four signs that did not come.
const SILENCE: Duration = Duration::from_secs(60);

/// Where a run stands, and whether that can still be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As it was last noted.
    Noted(Status),
    /// It is noted as running, but nobody has written to it, nor given a sign of life, for more than a minute.
    Stopped {
        /// When the last sign came: the time of day, and the day where it was another. UTC.
        since: String,
    },
}

impl Standing {
    /// Of a run with this status whose last sign of life came at `seen_at` (UTC, as `2026-01-31T12:00:00.000Z`). One that never gave a
    /// sign, as its writer gives none, stands as it is noted; and so does one whose sign is from a clock that is ahead of ours.
    #[must_use]
    pub fn of(status: Status, seen_at: Option<&str>, now: SystemTime) -> Self {
        let seen = seen_at.and_then(|text| Some((text, moment(text)?)));
        match seen {
            Some((text, seen)) if status == Status::Running => {
                let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
                if now.saturating_sub(seen) <= SILENCE {
                    return Self::Noted(status);
                }
                let same_day = now.as_secs() / DAY == seen.as_secs() / DAY;
                let since = if same_day {
                    text[11..16].to_owned()
                } else {
                    format!("{} {}", &text[..10], &text[11..16])
                };
                Self::Stopped { since }
            }
            _ => Self::Noted(status),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noted(status) => status.fmt(f),
            Self::Stopped { since } => f.pad(&format!("stopped (no sign since {since})")),
        }
    }
}

const DAY: u64 = 24 * 3600;

/// The time since 1970 of a text as a store writes it; `None` where it is no such text.
pub(crate) fn moment(text: &str) -> Option<Duration> {
    let shaped = text.is_ascii() && text.len() >= 19 && text.ends_with('Z');
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !shaped || year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March end with the day that some of them have more; five months of them have 153 days.
    let years = if month > 2 { year } else { year - 1 };
    let months = (month + 9) % 12;
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day;
    let since = days.checked_sub(719_469)?;
    Some(Duration::from_secs(
        since * DAY + hour * 3600 + minute * 60 + second,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_moment_is_what_its_text_says() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799),
            ("2000-03-01T00:00:00.000Z", 951_868_800),
            ("2026-11-22T03:05:15.250Z", 1_795_316_715),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(moment(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "now", "2026-13-01T00:00:00.000Z", "2026-11-22 ..."] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn a_run_without_a_sign_for_a_minute_has_stopped_and_says_since_when() {
        let seen = Some("2026-11-22T03:05:15.250Z");
        let last = 1_795_316_715;
        let of = |status, seconds| Standing::of(status, seen, at(seconds)).to_string();
        assert_eq!(of(Status::Running, last + 60), "running");
        assert_eq!(
            of(Status::Running, last + 61),
            "stopped (no sign since 03:05)"
        );
        assert_eq!(
            of(Status::Running, last + DAY),
            "stopped (no sign since 2026-11-22 03:05)"
        );
        assert_eq!(
            of(Status::Running, last - 3600),
            "running",
            "another machine's clock"
        );
        for status in Status::ALL.into_iter().filter(|s| *s != Status::Running) {
            assert_eq!(of(status, last + DAY), status.as_str());
        }
        let unseen = Standing::of(Status::Running, None, at(last));
        assert_eq!(unseen, Standing::Noted(Status::Running));
    }
}
