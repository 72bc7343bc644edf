//! What stands in a table: columns, their kinds, and a part of their cells.

/// A column.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub name: String,
    #[cfg_attr(
        not(feature = "parquet"),
        expect(dead_code, reason = "a text says nothing of kinds")
    )]
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Natural,
    /// Milliseconds since 1970, UTC; may be absent.
    Time,
    /// May be absent.
    Number,
}

/// Some cells of a column.
#[derive(Clone, Debug)]
pub(super) enum Cells<'a> {
    /// All of them this.
    Same(&'a str),
    Texts(Vec<&'static str>),
    Naturals(Vec<u64>),
    Times(Vec<Option<i64>>),
    /// A NaN is absent: no store has any.
    Numbers(Vec<f64>),
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Absent,
    Text(&'a str),
    Natural(u64),
    Time(i64),
    Number(f64),
}

impl Cells<'_> {
    /// The cell of a line; absent behind the last.
    pub fn at(&self, line: usize) -> Cell<'_> {
        let found = match self {
            Self::Same(text) => Some(Cell::Text(text)),
            Self::Texts(texts) => texts.get(line).map(|text| Cell::Text(text)),
            Self::Naturals(numbers) => numbers.get(line).map(|number| Cell::Natural(*number)),
            Self::Times(times) => times.get(line).copied().flatten().map(Cell::Time),
            Self::Numbers(numbers) => {
                let number = numbers.get(line).filter(|number| !number.is_nan());
                number.map(|number| Cell::Number(*number))
            }
        };
        found.unwrap_or(Cell::Absent)
    }
}

/// A time as stores and JSON have it: `2026-11-22T03:05:15.250Z`.
pub(crate) fn moment(millis: i64) -> String {
    const DAY: i64 = 24 * 3600 * 1000;
    let (days, rest) = (millis.div_euclid(DAY), millis.rem_euclid(DAY));
    // Years that begin in March end with the day that some of them have more; 400 of them have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    let millis = rest % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_a_store_does() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_795_316_715_250, "2026-11-22T03:05:15.250Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(moment(millis), text);
        }
    }
}
