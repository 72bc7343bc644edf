//! When a server says to come again.

use std::time::{Duration, SystemTime};

/// `Retry-After`: seconds, or a date; no time of one that is past.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

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
        let since_epoch = |date| retry_after(date, UNIX_EPOCH).map(|wait| wait.as_secs());
        assert_eq!(
            since_epoch("Thu, 29 Feb 2024 00:00:00 GMT"),
            Some(1_709_164_800)
        );
        assert_eq!(
            since_epoch("Fri, 01 Mar 2024 00:00:00 GMT"),
            Some(1_709_251_200)
        );
        assert_eq!(since_epoch("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        // The two older forms, which a server may still send.
        assert_eq!(seconds("Sunday, 06-Nov-94 08:51:37 GMT"), Some(120));
        assert_eq!(seconds("Sun Nov  6 08:51:37 1994"), Some(120));
    }
}
