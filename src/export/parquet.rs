//! Parquet: row groups of some million cells, packed with zstd.

use std::io::{self, Write};
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::cell::{Cell, Cells, Field, Kind};
use super::table::Lines;

/// How many cells wait before they are written as a row group: 32 MiB of doubles.
const CELLS: usize = 4 << 20;

pub(super) struct RowGroups<'a> {
    /// `None` once it is closed.
    file: Option<SerializedFileWriter<&'a mut (dyn Write + Send)>>,
    waiting: Vec<Waiting>,
    lines: usize,
}

/// The cells of a column that are in no row group yet; without those that are absent, which `there` says.
enum Waiting {
    Texts(Vec<ByteArray>),
    Naturals(Vec<i64>),
    Times(Vec<i64>, There),
    Numbers(Vec<f64>, There),
}

/// 1 where there is a value, 0 where there is none.
type There = Vec<i16>;

impl<'a> RowGroups<'a> {
    pub fn over(out: &'a mut (dyn Write + Send), fields: &[Field]) -> io::Result<Self> {
        let types = fields.iter().map(type_of).map(|field| field.map(Arc::new));
        let types = types.collect::<Result<_, _>>().map_err(why)?;
        let schema = Type::group_type_builder("metrics").with_fields(types);
        let schema = Arc::new(schema.build().map_err(why)?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let file = SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(why)?;
        Ok(Self {
            file: Some(file),
            waiting: fields.iter().map(|field| Waiting::of(field.kind)).collect(),
            lines: 0,
        })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let Some(file) = self.file.as_mut().filter(|_| self.lines > 0) else {
            return Ok(());
        };
        let mut group = file.next_row_group()?;
        for column in &mut self.waiting {
            column.write(&mut group)?;
        }
        group.close()?;
        self.lines = 0;
        Ok(())
    }
}

fn type_of(field: &Field) -> Result<Type, ParquetError> {
    let (physical, logical, repetition) = match field.kind {
        Kind::Text => (
            Physical::BYTE_ARRAY,
            Some(LogicalType::String),
            Repetition::REQUIRED,
        ),
        Kind::Natural => (Physical::INT64, None, Repetition::REQUIRED),
        Kind::Time => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::MILLIS)),
            Repetition::OPTIONAL,
        ),
        Kind::Number => (Physical::DOUBLE, None, Repetition::OPTIONAL),
    };
    Type::primitive_type_builder(&field.name, physical)
        .with_logical_type(logical)
        .with_repetition(repetition)
        .build()
}

impl Waiting {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Texts(Vec::new()),
            Kind::Natural => Self::Naturals(Vec::new()),
            Kind::Time => Self::Times(Vec::new(), Vec::new()),
            Kind::Number => Self::Numbers(Vec::new(), Vec::new()),
        }
    }

    fn extend(&mut self, column: &Cells<'_>, lines: Range<usize>) {
        if let (Self::Texts(texts), Cells::Same(text)) = (&mut *self, column) {
            return texts.extend(iter::repeat_n(ByteArray::from(*text), lines.len()));
        }
        lines.for_each(|line| self.push(column.at(line)));
    }

    fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Texts(texts), Cell::Text(text)) => texts.push(text.into()),
            // No store has steps beyond that.
            (Self::Naturals(numbers), Cell::Natural(number)) => numbers.push(number.cast_signed()),
            (Self::Times(times, there), Cell::Time(time)) => {
                times.push(time);
                there.push(1);
            }
            (Self::Numbers(numbers, there), Cell::Number(number)) => {
                numbers.push(number);
                there.push(1);
            }
            (Self::Times(_, there) | Self::Numbers(_, there), _) => there.push(0),
            // A field's cells are of its kind.
            (Self::Texts(_) | Self::Naturals(_), _) => {}
        }
    }

    fn write<W: Write + Send>(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        match self {
            Self::Texts(texts) => column::<ByteArrayType, _>(group, texts, None),
            Self::Naturals(numbers) => column::<Int64Type, _>(group, numbers, None),
            Self::Times(times, there) => column::<Int64Type, _>(group, times, Some(there)),
            Self::Numbers(numbers, there) => column::<DoubleType, _>(group, numbers, Some(there)),
        }
    }
}

fn column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &mut Vec<T::T>,
    there: Option<&mut There>,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("a column too many".to_owned()));
    };
    let levels = there.as_ref().map(|there| there.as_slice());
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()?;
    values.clear();
    if let Some(there) = there {
        there.clear();
    }
    Ok(())
}

impl Lines for RowGroups<'_> {
    /// The columns stand in the file's end.
    fn begin(&mut self, _: &[Field]) -> io::Result<()> {
        Ok(())
    }

    fn part(&mut self, columns: &[Cells<'_>], lines: usize) -> io::Result<()> {
        let together = (CELLS / columns.len().max(1)).max(1);
        let mut from = 0;
        while from < lines {
            let to = lines.min(from + together - self.lines);
            for (waiting, column) in self.waiting.iter_mut().zip(columns) {
                waiting.extend(column, from..to);
            }
            self.lines += to - from;
            from = to;
            if self.lines >= together {
                self.write_group().map_err(why)?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.write_group().map_err(why)?;
        match self.file.take() {
            Some(file) => file.close().map(drop).map_err(why),
            None => Ok(()),
        }
    }
}

/// The error underneath, where the system gave one.
fn why(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::other(source),
        },
        other => io::Error::other(other),
    }
}
