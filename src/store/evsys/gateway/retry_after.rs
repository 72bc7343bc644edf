//! When a server says to come again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `Retry-After`: seconds, or a date as RFC 9110, 5.6.7 prefers it (`Sun, 06 Nov 1994 08:49:37 GMT`).
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(date(value)?.saturating_sub(now)))
}

/// Seconds from the epoch to an HTTP date.
fn date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, text) = text.split_once(", ")?;
    let [day, month, year, time, "GMT"] = text.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let [hour, minute, second] = time.split(':').collect::<Vec<_>>()[..] else {
        return None;
    };
    let number = |text: &str| text.parse::<u64>().ok().filter(|n| *n < 10_000);
    let month = MONTHS.iter().position(|name| *name == month)? as u64;
    let year = number(year).filter(|year| *year >= 1970)?;
    // Years beginning in March: the leap day is then the last, and months are 153 days every five.
    let (year, month) = if month < 2 {
        (year - 1, month + 10)
    } else {
        (year, month - 2)
    };
    let days = 365 * year + year / 4 - year / 100
        + year / 400
        + (153 * month + 2) / 5
        + number(day)?.checked_sub(1)?;
    // From March of the year 0 to the epoch.
    let days = days.checked_sub(719_468)?;
    Some(days * 86_400 + number(hour)? * 3600 + number(minute)? * 60 + number(second)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_when_to_come_again_in_seconds_or_by_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let seconds = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:51:37 GMT"), Some(120));
        assert_eq!(seconds("Tue, 01 Nov 1994 08:51:37 GMT"), Some(0));
        for senseless in ["", "soon", "-1", "Sun, 06 Foo 1994 08:49:37 GMT", "a, b"] {
            assert_eq!(seconds(senseless), None, "{senseless}");
        }
        assert_eq!(date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(date("Fri, 01 Mar 2024 00:00:00 GMT"), Some(1_709_251_200));
        assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    }
}
