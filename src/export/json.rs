//! A JSON object a line.

use std::io::{self, BufWriter, Write};

use super::cell::{Cell, Cells, Field, moment};
use super::table::Lines;

pub(super) struct JsonLines<'a> {
    out: BufWriter<&'a mut (dyn Write + Send)>,
    /// As JSON.
    names: Vec<String>,
}

impl<'a> JsonLines<'a> {
    pub fn over(out: &'a mut (dyn Write + Send)) -> Self {
        Self {
            out: BufWriter::new(out),
            names: Vec::new(),
        }
    }

    fn put(&mut self, cell: Cell<'_>) -> io::Result<()> {
        let out = &mut self.out;
        let written = match cell {
            Cell::Absent => serde_json::to_writer(out, &()),
            Cell::Text(text) => serde_json::to_writer(out, text),
            Cell::Natural(number) => serde_json::to_writer(out, &number),
            Cell::Time(time) => serde_json::to_writer(out, &moment(time)),
            // As every JSON of this crate says it.
            Cell::Number(f64::INFINITY) => serde_json::to_writer(out, "Infinity"),
            Cell::Number(f64::NEG_INFINITY) => serde_json::to_writer(out, "-Infinity"),
            Cell::Number(number) => serde_json::to_writer(out, &number),
        };
        Ok(written?)
    }
}

impl Lines for JsonLines<'_> {
    fn begin(&mut self, fields: &[Field]) -> io::Result<()> {
        let names = fields
            .iter()
            .map(|field| serde_json::to_string(&field.name));
        self.names = names.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn part(&mut self, columns: &[Cells<'_>], lines: usize) -> io::Result<()> {
        for line in 0..lines {
            for (nth, column) in columns.iter().enumerate() {
                let before = if nth == 0 { "{" } else { ", " };
                write!(self.out, "{before}{}: ", self.names[nth])?;
                self.put(column.at(line))?;
            }
            self.out.write_all(b"}\n")?;
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
