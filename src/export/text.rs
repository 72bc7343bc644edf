//! Comma-separated values.

use std::borrow::Cow;
use std::io::{self, Write};

use csv::Writer;

use super::cell::{Cell, Cells, Field, moment};
use super::table::Lines;
use crate::sink::csv_number;

pub(super) struct CsvLines<'a>(Writer<&'a mut (dyn Write + Send)>);

impl<'a> CsvLines<'a> {
    pub fn over(out: &'a mut (dyn Write + Send)) -> Self {
        Self(Writer::from_writer(out))
    }
}

impl Lines for CsvLines<'_> {
    fn begin(&mut self, fields: &[Field]) -> io::Result<()> {
        let names = fields.iter().map(|field| field.name.as_str());
        self.0.write_record(names).map_err(why)
    }

    fn part(&mut self, columns: &[Cells<'_>], lines: usize) -> io::Result<()> {
        for line in 0..lines {
            for column in columns {
                let cell = match column.at(line) {
                    Cell::Absent => Cow::Borrowed(""),
                    Cell::Text(text) => Cow::Borrowed(text),
                    Cell::Natural(number) => Cow::Owned(number.to_string()),
                    Cell::Time(time) => Cow::Owned(moment(time)),
                    Cell::Number(number) => Cow::Owned(csv_number(number)),
                };
                self.0.write_field(cell.as_bytes()).map_err(why)?;
            }
            self.0.write_record(None::<&[u8]>).map_err(why)?;
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The error underneath, so that who looks for a broken pipe finds it.
fn why(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
