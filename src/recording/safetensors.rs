//! A record as a `.safetensors` file: columns as tensors, the rest as JSON under the metadata key `record`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo, TensorView};

use super::cell::Reading;
use super::fault::{Fault, nearest};
use super::field::{COMPONENTS, Cells, Fields, Numbers, Owned};
use super::json;
use super::line;
use super::record::{Head, Record};
use crate::batch::scalars::Weighting;
use crate::batch::{ColumnInfo, ColumnKind, Columns, Shape};
use crate::limits;

/// The metadata key of the JSON.
const RECORD: &str = "record";

/// Bytes of the number that a file starts with: the length of its header.
const PREFIX: usize = 8;

/// The longest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn torn(message: impl ToString) -> Fault {
    Fault::Safetensors {
        message: message.to_string(),
    }
}

fn rest(metadata: &Metadata) -> Result<&str, Fault> {
    let rest = metadata.metadata().as_ref().and_then(|m| m.get(RECORD));
    rest.map(String::as_str).ok_or(Fault::Missing {
        field: RECORD,
        of: "__metadata__",
    })
}

/// Reads which record a file of `len` bytes holds from its header alone.
pub(super) fn head(
    file: &mut File,
    len: u64,
    reading: &Reading,
) -> Result<(Head, Option<Weighting>), Fault> {
    if len > limits::RECORD_FILE {
        let most = limits::RECORD_FILE;
        return Err(torn(format!("expected at most {most} bytes, found {len}")));
    }
    let mut prefix = [0; PREFIX];
    file.read_exact(&mut prefix).map_err(torn)?;
    let size = u64::from_le_bytes(prefix);
    if size > MAX_HEADER || size > len.saturating_sub(PREFIX as u64) {
        return Err(torn(format!("a header of {size} bytes in a file of {len}")));
    }
    let mut header = Vec::new();
    file.take(size).read_to_end(&mut header).map_err(torn)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(torn)?;
    let members = json::members(rest(&metadata)?.as_bytes(), reading, true)?;
    let head = members.head(reading)?;
    let expected = PREFIX as u64 + size + metadata.data_len() as u64;
    if expected != len {
        return Err(torn(format!("expected {expected} bytes, found {len}")));
    }
    Ok((head, members.weighting))
}

/// Reads the whole record.
pub(super) fn record(bytes: &[u8], reading: &Reading) -> Result<Record, Fault> {
    let (size, metadata) = SafeTensors::read_metadata(bytes).map_err(torn)?;
    let data = &bytes[PREFIX + size..];
    let members = json::members(rest(&metadata)?.as_bytes(), reading, false)?;
    let head = members.head(reading)?;
    let mut fields = members.fields.unwrap_or_default();
    let mut names = metadata.offset_keys();
    names.sort();
    for name in &names {
        let Some(info) = metadata.info(name) else {
            continue;
        };
        let tensor = Tensor {
            name,
            info,
            data: data
                .get(info.data_offsets.0..info.data_offsets.1)
                .unwrap_or_default(),
        };
        tensor.read_into(&mut fields)?;
    }
    Record::from_parts(head, fields, members.scalars, members.weighting)
}

struct Tensor<'a> {
    name: &'a str,
    info: &'a TensorInfo,
    data: &'a [u8],
}

impl Tensor<'_> {
    fn read_into(&self, fields: &mut Fields) -> Result<(), Fault> {
        let twice = || Fault::TensorAndJson {
            field: self.name.to_owned(),
        };
        if let Some(component) = self.name.strip_prefix("reward_components.") {
            let numbers = self.numbers()?;
            let components = fields
                .entry(COMPONENTS)
                .or_insert_with(|| Owned::Components(BTreeMap::new()));
            if let Owned::Components(components) = components
                && components.insert(component.to_owned(), numbers).is_some()
            {
                return Err(twice());
            }
            return Ok(());
        }
        let Some(info) = ColumnInfo::of(self.name) else {
            return Err(Fault::UnknownTensor {
                name: self.name.to_owned(),
                known: nearest(self.name, Columns::ALL.iter().map(|info| info.name)),
            });
        };
        match fields.insert(info.name, self.column(info)?) {
            Some(_) => Err(twice()),
            None => Ok(()),
        }
    }

    fn column(&self, info: &'static ColumnInfo) -> Result<Owned, Fault> {
        Ok(match info.kind {
            ColumnKind::Numbers => Owned::Numbers(self.numbers()?),
            ColumnKind::Naturals => Owned::Naturals(self.line().and_then(|()| self.integers())?),
            ColumnKind::Ids => Owned::Ids(self.line().and_then(|()| self.integers())?),
            ColumnKind::Bits => Owned::Bits(self.line().and_then(|()| self.bits())?),
            ColumnKind::Tokens => Owned::Tokens(self.cells(self.singles()?)?),
            ColumnKind::TokenBits if info.shape == Shape::Place => {
                Owned::TokenBits(self.rows(self.bytes()?)?)
            }
            ColumnKind::TokenBits => Owned::TokenBits(self.cells(self.bytes()?)?),
            ColumnKind::TokenNaturals => Owned::TokenNaturals(self.cells(self.integers()?)?),
            ColumnKind::Texts
            | ColumnKind::Number
            | ColumnKind::Natural
            | ColumnKind::Components => {
                return Err(Fault::NotATensor { field: info.name });
            }
        })
    }

    fn numbers(&self) -> Result<Numbers, Fault> {
        self.line()?;
        Ok(match self.info.dtype {
            Dtype::F64 => self.read(|x| Some(f64::from_le_bytes(x))).collect(),
            Dtype::F32 => self
                .read(|x| Some(f64::from(f32::from_le_bytes(x))))
                .collect(),
            _ => return Err(self.dtype("F64 or F32")),
        })
    }

    fn singles(&self) -> Result<Vec<f32>, Fault> {
        Ok(match self.info.dtype {
            Dtype::F32 => self.read(f32::from_le_bytes).collect(),
            Dtype::BF16 => self.read(|x| bf16::from_le_bytes(x).to_f32()).collect(),
            Dtype::F16 => self.read(|x| f16::from_le_bytes(x).to_f32()).collect(),
            _ => return Err(self.dtype("F32, BF16 or F16")),
        })
    }

    fn integers<T: TryFrom<i128>>(&self) -> Result<Vec<T>, Fault> {
        match self.info.dtype {
            Dtype::I64 => self.fitting(|x| i64::from_le_bytes(x).into()),
            Dtype::I32 => self.fitting(|x| i32::from_le_bytes(x).into()),
            Dtype::U64 => self.fitting(|x| u64::from_le_bytes(x).into()),
            Dtype::U32 => self.fitting(|x| u32::from_le_bytes(x).into()),
            _ => Err(self.dtype("I64, I32, U64 or U32")),
        }
    }

    fn fitting<const N: usize, T: TryFrom<i128>>(
        &self,
        of: impl Fn([u8; N]) -> i128,
    ) -> Result<Vec<T>, Fault> {
        let bits = 8 * size_of::<T>();
        let fit = |(index, x): (usize, i128)| {
            T::try_from(x).map_err(|_| {
                let expected = format!("a whole number from 0 that fits into {bits} bits");
                self.cell(index, expected, x)
            })
        };
        self.read(of).enumerate().map(fit).collect()
    }

    fn bits(&self) -> Result<Vec<bool>, Fault> {
        let bit = |(index, x)| match x {
            0 => Ok(false),
            1 => Ok(true),
            x => Err(self.cell(index, "0 or 1".to_owned(), x.into())),
        };
        self.bytes()?.into_iter().enumerate().map(bit).collect()
    }

    fn bytes(&self) -> Result<Vec<u8>, Fault> {
        match self.info.dtype {
            Dtype::BOOL | Dtype::U8 => Ok(self.data.to_vec()),
            _ => Err(self.dtype("BOOL or U8")),
        }
    }

    /// Its numbers, of `N` bytes each.
    fn read<'a, const N: usize, T>(
        &'a self,
        of: impl Fn([u8; N]) -> T + 'a,
    ) -> impl Iterator<Item = T> + 'a {
        self.data.as_chunks::<N>().0.iter().map(move |x| of(*x))
    }

    /// Token cells: flat, or one padded row a completion.
    fn cells<T>(&self, cells: Vec<T>) -> Result<Cells<T>, Fault> {
        match self.info.shape[..] {
            [_] => Ok(Cells::flat(cells)),
            [_, _] => self.rows(cells),
            _ => Err(self.shape("[tokens] or [completions, t]")),
        }
    }

    fn rows<T>(&self, cells: Vec<T>) -> Result<Cells<T>, Fault> {
        match self.info.shape[..] {
            [rows, width] => Ok(Cells {
                cells,
                rows: Some([rows, width]),
            }),
            _ => Err(self.shape("[completions, t]")),
        }
    }

    /// Refuses a column that is not one line of cells.
    fn line(&self) -> Result<(), Fault> {
        match self.info.shape[..] {
            [_] => Ok(()),
            _ => Err(self.shape("of one dimension")),
        }
    }

    fn dtype(&self, expected: &'static str) -> Fault {
        Fault::Dtype {
            field: self.name.to_owned(),
            expected,
            found: format!("{:?}", self.info.dtype),
        }
    }

    fn shape(&self, expected: &'static str) -> Fault {
        Fault::Shape {
            field: self.name.to_owned(),
            expected,
            found: self.info.shape.clone(),
        }
    }

    fn cell(&self, index: usize, expected: String, found: i128) -> Fault {
        Fault::Cell {
            field: format!("{}[{index}]", self.name),
            expected,
            found: found.to_string(),
        }
    }
}

/// The bytes of the record's file. A column with absent values is in the JSON, as a tensor has no null; the others are
/// flat tensors: F64 per completion or group, F32 per token, U32 and U64, BOOL, and U8 for `loss_mask`.
pub(super) fn bytes(mut record: Record) -> Result<Vec<u8>, String> {
    let mut tensors = Vec::new();
    let mut put = |name: String, dtype, cells: usize, data| {
        tensors.push((name, dtype, vec![cells], data));
    };
    record.fields.retain(|name, column| {
        let name = (*name).to_owned();
        match column {
            Owned::Numbers(numbers) => match numbers.whole() {
                Some(x) => put(name, Dtype::F64, x.len(), le(x, f64::to_le_bytes)),
                None => return true,
            },
            Owned::Naturals(x) => put(name, Dtype::U32, x.len(), le(x, u32::to_le_bytes)),
            Owned::Ids(x) => put(name, Dtype::U64, x.len(), le(x, u64::to_le_bytes)),
            Owned::Bits(x) => put(name, Dtype::BOOL, x.len(), le(x, |x| [u8::from(x)])),
            Owned::Tokens(t) => {
                put(
                    name,
                    Dtype::F32,
                    t.cells.len(),
                    le(&t.cells, f32::to_le_bytes),
                );
            }
            Owned::TokenBits(t) => put(name, Dtype::U8, t.cells.len(), t.cells.clone()),
            Owned::TokenNaturals(t) => {
                put(
                    name,
                    Dtype::U32,
                    t.cells.len(),
                    le(&t.cells, u32::to_le_bytes),
                );
            }
            Owned::Components(components) => {
                components.retain(|component, numbers| match numbers.whole() {
                    Some(x) => {
                        let name = format!("{COMPONENTS}.{component}");
                        put(name, Dtype::F64, x.len(), le(x, f64::to_le_bytes));
                        false
                    }
                    None => true,
                });
                return !components.is_empty();
            }
            Owned::Texts(_) | Owned::Number(_) | Owned::Natural(_) => return true,
        }
        false
    });
    let json = line::json(&record).map_err(|error| error.to_string())?;
    let json = String::from_utf8(json).map_err(|error| error.to_string())?;
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        Ok((name, TensorView::new(*dtype, shape.clone(), data)?))
    });
    let views = views
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| error.to_string())?;
    let metadata = HashMap::from([(RECORD.to_owned(), json)]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

/// Cells as little-endian bytes.
fn le<T: Copy, const N: usize>(cells: &[T], of: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    cells.iter().flat_map(|x| of(*x)).collect()
}
