//! Runs as columns, a run after the other.

use std::collections::{BTreeSet, HashMap};
use std::io;

use super::cell::{Cells, Field, Kind};
use super::{Export, ExportError, Exported, Layout};
use crate::store::{Split, StoredRow};

/// What a table is written by.
pub(super) trait Lines {
    /// Takes the columns, before any part.
    fn begin(&mut self, fields: &[Field]) -> io::Result<()>;
    /// Takes so many lines, a column for each field.
    fn part(&mut self, columns: &[Cells<'_>], lines: usize) -> io::Result<()>;
    /// Takes note that there are no more.
    fn end(&mut self) -> io::Result<()>;
}

/// Takes columns and how many lines they have.
type Part<'p> = dyn FnMut(&[Cells<'_>], usize) -> Result<(), ExportError> + 'p;

/// A table that is about to be written.
pub(super) struct Table<'a> {
    export: &'a Export<'a>,
    fields: Vec<Field>,
    /// The keys of a wide table, a column each.
    keys: Vec<String>,
    renamed: Vec<(String, String)>,
}

impl<'a> Table<'a> {
    pub fn of(export: &'a Export<'a>) -> Result<Self, ExportError> {
        let field = |name: &str, kind| Field {
            name: name.to_owned(),
            kind,
        };
        let mut fields = vec![
            field("run", Kind::Text),
            field("step", Kind::Natural),
            field("split", Kind::Text),
            field("time", Kind::Time),
        ];
        let (mut keys, mut renamed) = (BTreeSet::new(), Vec::new());
        match export.layout {
            Layout::Long => {
                fields.push(field("name", Kind::Text));
                fields.push(field("value", Kind::Number));
            }
            Layout::Wide => {
                for run in &export.runs {
                    keys.extend(series(export, run)?.into_iter().map(|(_, name)| name));
                }
                for key in &keys {
                    let is_taken = |name: &str| {
                        let first = fields.iter().take(4);
                        first.into_iter().any(|field| field.name == name)
                    };
                    let mut name = key.clone();
                    if is_taken(key) {
                        let mut free = (2_u64..).map(|nth| format!("{key}_{nth}"));
                        name = free.find(|own| !keys.contains(own)).unwrap_or(name);
                        renamed.push((key.clone(), name.clone()));
                    }
                    fields.push(field(&name, Kind::Number));
                }
            }
        }
        Ok(Self {
            export,
            fields,
            keys: keys.into_iter().collect(),
            renamed,
        })
    }

    #[cfg(feature = "parquet")]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub fn write(
        self,
        lines: &mut dyn Lines,
        written: &dyn Fn(io::Error) -> ExportError,
    ) -> Result<Exported, ExportError> {
        let mut exported = Exported {
            renamed: self.renamed.clone(),
            ..Exported::default()
        };
        lines.begin(&self.fields).map_err(written)?;
        for run in &self.export.runs {
            let rows = self.export.store.rows(run)?;
            let mut part = |columns: &[Cells<'_>], count: usize| {
                exported.rows += count as u64;
                exported.numbers += columns.iter().map(numbers).sum::<u64>();
                lines.part(columns, count).map_err(written)
            };
            match self.export.layout {
                Layout::Wide => self.wide(run, &rows, &mut part)?,
                Layout::Long => self.long(run, &rows, &mut part)?,
            }
        }
        lines.end().map_err(written)?;
        Ok(exported)
    }

    /// The columns of a run at once, those that it has no number for too.
    fn wide(&self, run: &str, rows: &[StoredRow], part: &mut Part<'_>) -> Result<(), ExportError> {
        let at = rows.iter().zip(0..);
        let at: HashMap<(u64, Split), usize> =
            at.map(|(row, at)| ((row.step, row.split), at)).collect();
        let mut numbers = vec![Vec::new(); self.keys.len()];
        for (split, name) in series(self.export, run)? {
            let Ok(nth) = self.keys.binary_search(&name) else {
                continue;
            };
            let column = &mut numbers[nth];
            column.resize(rows.len(), f64::NAN);
            for point in self.export.series(run, &name, split)? {
                if let Some(at) = at.get(&(point.step, split)) {
                    column[*at] = point.value;
                }
            }
        }
        let mut columns = vec![
            Cells::Same(run),
            Cells::Naturals(rows.iter().map(|row| row.step).collect()),
            Cells::Texts(rows.iter().map(|row| row.split.as_str()).collect()),
            Cells::Times(rows.iter().map(|row| row.time).collect()),
        ];
        columns.extend(numbers.into_iter().map(Cells::Numbers));
        part(&columns, rows.len())
    }

    /// A part a series.
    fn long(&self, run: &str, rows: &[StoredRow], part: &mut Part<'_>) -> Result<(), ExportError> {
        if rows.is_empty() {
            return Ok(());
        }
        for (split, name) in series(self.export, run)? {
            let points = self.export.series(run, &name, split)?;
            let columns = [
                Cells::Same(run),
                Cells::Naturals(points.iter().map(|point| point.step).collect()),
                Cells::Same(split.as_str()),
                Cells::Times(points.iter().map(|point| point.time).collect()),
                Cells::Same(&name),
                Cells::Numbers(points.iter().map(|point| point.value).collect()),
            ];
            part(&columns, points.len())?;
        }
        Ok(())
    }
}

impl Export<'_> {
    fn series(
        &self,
        run: &str,
        name: &str,
        split: Split,
    ) -> Result<Vec<crate::store::Point>, ExportError> {
        if (self.stop)() {
            return Err(ExportError::Stopped);
        }
        Ok(self.store.series(run, name, split)?)
    }
}

/// The series of a run that are wanted.
fn series(export: &Export<'_>, run: &str) -> Result<Vec<(Split, String)>, ExportError> {
    let mut all = export.store.names(run)?;
    all.retain(|(_, name)| (export.keys)(name));
    Ok(all)
}

fn numbers(column: &Cells<'_>) -> u64 {
    match column {
        Cells::Numbers(numbers) => numbers.iter().filter(|x| !x.is_nan()).count() as u64,
        _ => 0,
    }
}
