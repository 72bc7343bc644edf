//! A record's columns from Python's keyword arguments.

use grpo_metrics::batch::group::GroupId;
use grpo_metrics::batch::scalars::{Meta, Scalars, Weighting};
use grpo_metrics::batch::tokens::{TokenColumn, TokenIds, TokenMask};
use grpo_metrics::batch::{Batch, Column, ColumnInfo, ColumnKind, Columns, Shape};
use grpo_metrics::engine::unknown_name;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyMapping, PySequence, PyString};

use crate::column::{Flat, Mask, Numbers, Read, Tokens, View, cells_of, kind_of, listed, number};
use crate::error;
use crate::interruption::Noted;

/// One column while it is borrowed from Python.
enum Held<'py> {
    Numbers(Numbers),
    Naturals(Flat<u32>),
    Ids(Vec<u64>),
    Bits(Flat<bool>),
    Texts(Vec<String>),
    Components(Vec<(String, Numbers)>),
    Tokens(Tokens<'py, f32>),
    TokenBits(Mask<'py>),
    TokenNaturals(Tokens<'py, u32>),
    Number(f64),
    Natural(u32),
}

impl<'py> Held<'py> {
    fn read(info: &ColumnInfo, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let name = info.name;
        Ok(match info.kind {
            ColumnKind::Numbers => Self::Numbers(Read::read(name, value)?),
            ColumnKind::Naturals => Self::Naturals(Read::read(name, value)?),
            ColumnKind::Ids => Self::Ids(ids(name, value)?),
            ColumnKind::Bits => Self::Bits(Read::read(name, value)?),
            ColumnKind::Texts => Self::Texts(Read::read(name, value)?),
            ColumnKind::Components => Self::Components(Read::read(name, value)?),
            ColumnKind::Tokens => Self::Tokens(Read::read(name, value)?),
            ColumnKind::TokenBits => Self::TokenBits(Read::read(name, value)?),
            ColumnKind::TokenNaturals => Self::TokenNaturals(Read::read(name, value)?),
            ColumnKind::Number => Self::Number(Read::read(name, value)?),
            ColumnKind::Natural => Self::Natural(Read::read(name, value)?),
        })
    }

    fn view(&self) -> Column<'_> {
        match self {
            Self::Numbers(numbers) => Column::Numbers(numbers.values()),
            Self::Naturals(cells) => Column::Naturals(cells.cells()),
            Self::Ids(cells) => Column::Ids(cells),
            Self::Bits(cells) => Column::Bits(cells.cells()),
            Self::Texts(texts) => Column::Texts(texts),
            Self::Components(named) => {
                let views = named.iter();
                let views = views.map(|(name, numbers)| (name.into(), numbers.values()));
                Column::Components(views.collect())
            }
            Self::Tokens(tokens) => Column::Tokens(match tokens.view() {
                View::Ragged(cells) => TokenColumn::Ragged(cells),
                View::Padded(rows) => TokenColumn::Padded(rows),
            }),
            Self::TokenBits(Mask(tokens)) => Column::TokenBits(match tokens.view() {
                View::Ragged(cells) => TokenMask::Ragged(cells),
                View::Padded(rows) => TokenMask::Padded(rows),
            }),
            Self::TokenNaturals(tokens) => Column::TokenNaturals(match tokens.view() {
                View::Ragged(cells) => TokenIds::Ragged(cells),
                View::Padded(rows) => TokenIds::Padded(rows),
            }),
            Self::Number(number) => Column::Number(*number),
            Self::Natural(natural) => Column::Natural(*natural),
        }
    }

    /// Nested lists have rows as long as the completions.
    fn check_rows(&self, info: &ColumnInfo, lengths: Option<&[u32]>) -> PyResult<()> {
        match self {
            _ if info.shape != Shape::Token => Ok(()),
            Self::Tokens(tokens) => tokens.check_rows(info.name, lengths),
            Self::TokenBits(Mask(tokens)) => tokens.check_rows(info.name, lengths),
            Self::TokenNaturals(tokens) => tokens.check_rows(info.name, lengths),
            _ => Ok(()),
        }
    }
}

/// Numbers, or texts: a list of them, or an array that holds texts or objects.
fn ids(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    let is_text = |cell: &Bound<'_, PyAny>| cell.is_instance_of::<PyString>();
    let cells = cells_of(&listed(value)?.unwrap_or_else(|| value.clone()));
    let cells = cells.filter(|cells| cells.iter().any(is_text));
    let Some(cells) = cells else {
        return Ok(Flat::read(name, value)?.into_cells());
    };
    let id = |cell: &Bound<'_, PyAny>| {
        let refuse = |_| expected(name, "whole numbers, or texts", cell);
        let Ok(text) = cell.cast::<PyString>() else {
            return cell
                .extract::<u64>()
                .noted()
                .map_err(refuse)
                .map(GroupId::from);
        };
        match text.to_str().noted() {
            Ok(text) => Ok(GroupId::from(text)),
            Err(_) => Err(expected(name, "texts that can be written as UTF-8", cell)),
        }
    };
    let ids = cells.iter().map(id).collect::<PyResult<Vec<_>>>()?;
    GroupId::numbers(&ids).map_err(error::column)
}

/// What is given beside columns.
const BESIDE: [&str; 4] = ["scalars", "weighting", "rank", "micro"];

/// Every name that a record's keywords may have.
pub fn names() -> impl Iterator<Item = &'static str> {
    Columns::ALL.iter().map(|info| info.name).chain(BESIDE)
}

/// What is known of one record while it is borrowed from Python; `None` where not given.
#[derive(Default)]
struct Record<'py> {
    columns: Vec<(&'static ColumnInfo, Held<'py>)>,
    scalars: Option<Scalars>,
    weighting: Option<Weighting>,
    rank: Option<u32>,
    micro: Option<u32>,
}

impl<'py> Record<'py> {
    /// What was given under this name; `None` counts as not given, of a name that is known.
    fn set(&mut self, name: &str, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let info = ColumnInfo::of(name);
        if info.is_none() && !BESIDE.contains(&name) {
            return Err(error::column(unknown_name("column", name, names())));
        }
        if value.is_none() {
            return Ok(());
        }
        match name {
            "scalars" => self.scalars = Some(Read::read(name, value)?),
            "weighting" => self.weighting = Some(Read::read(name, value)?),
            "rank" => self.rank = Some(Read::read(name, value)?),
            "micro" => self.micro = Some(Read::read(name, value)?),
            _ => {
                if let Some(info) = info {
                    self.columns.push((info, Held::read(info, value)?));
                }
            }
        }
        Ok(())
    }

    fn columns(&self) -> PyResult<Columns<'_>> {
        let given = self.columns.iter();
        let given = given.map(|(info, held)| (*info, held.view()));
        let mut columns = Columns::of(given).map_err(error::column)?;
        for (info, held) in &self.columns {
            held.check_rows(info, columns.completion_lengths)?;
        }
        columns.scalars = self.scalars.clone().unwrap_or_default();
        columns.weighting.clone_from(&self.weighting);
        Ok(columns)
    }
}

/// Checks the columns and hands them to `work` as a batch, without the GIL. Token columns are borrowed until it returns; what
/// another thread writes there meanwhile can make a number wrong and nothing else.
pub fn with_batch<T: Send>(
    py: Python<'_>,
    columns: Option<&Bound<'_, PyDict>>,
    work: impl FnOnce(Batch<'_>) -> PyResult<T> + Send,
) -> PyResult<T> {
    let mut record = Record::default();
    for (name, value) in columns.into_iter().flatten() {
        record.set(name.cast::<PyString>()?.to_str()?, &value)?;
    }
    let (rank, micro) = (record.rank, record.micro);
    let columns = record.columns()?;
    py.detach(|| {
        let batch = Batch::of(columns).map_err(error::column)?;
        work(match (rank, micro) {
            (None, None) => batch,
            (rank, micro) => batch.at(rank.unwrap_or(0), micro.unwrap_or(0)),
        })
    })
}

fn expected(name: &str, expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    error::column(format!(
        "`{name}`: expected {expected}, found {}",
        kind_of(found)
    ))
}

impl<'py> Read<'py> for u32 {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let refuse = || expected(name, "a whole number from 0 to 4294967295", value);
        if value.is_instance_of::<PyBool>() {
            return Err(refuse());
        }
        value.extract().noted().map_err(|_| refuse())
    }
}

impl<'py> Read<'py> for f64 {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        number(value).ok_or_else(|| expected(name, "a number", value))
    }
}

impl<'py> Read<'py> for Vec<String> {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyString>() {
            return Err(expected(name, "a list of texts", value));
        }
        value.extract().noted().map_err(|_| no_text(name, value))
    }
}

/// Which of a list of texts is none.
fn no_text(name: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let cells = value.cast::<PySequence>().ok();
    let mut cells = cells.into_iter().flat_map(|cells| cells.try_iter());
    let strange = cells.next().and_then(|cells| {
        let mut cells = cells.flatten().enumerate();
        cells.find(|(_, cell)| cell.extract::<String>().is_err())
    });
    match strange {
        Some((at, cell)) => {
            let expects = "a text that can be written as UTF-8";
            expected(&format!("{name}[{at}]"), expects, &cell)
        }
        None => expected(name, "a list of texts", value),
    }
}

impl<'py> Read<'py> for Vec<(String, Numbers)> {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        members(name, value)?
            .into_iter()
            .map(|(member, column)| {
                let column = Numbers::read(&format!("{name}.{member}"), &column)?;
                Ok((member, column))
            })
            .collect()
    }
}

/// What a mapping holds, without what is `None`.
fn members<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    let refuse = |_| expected(name, "a dictionary with texts as keys", value);
    let mut members = Vec::new();
    if let Ok(dict) = value.cast::<PyDict>() {
        for (key, value) in dict {
            members.push((key.extract().noted().map_err(refuse)?, value));
        }
    } else {
        let mapping = value.cast::<PyMapping>().map_err(|e| refuse(e.into()))?;
        for item in mapping.items()? {
            let (key, value): (Bound<'py, PyAny>, _) = item.extract()?;
            members.push((key.extract().noted().map_err(refuse)?, value));
        }
    }
    members.retain(|(_, value)| !value.is_none());
    Ok(members)
}

impl<'py> Read<'py> for Scalars {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut scalars = Self::default();
        for (member, value) in members(name, value)? {
            scalars.set(&member, Read::read(&format!("{name}.{member}"), &value)?);
        }
        Ok(scalars)
    }
}

impl<'py> Read<'py> for bool {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(flag) = value.cast::<PyBool>() {
            return Ok(flag.is_true());
        }
        match number(value) {
            Some(0.0) => Ok(false),
            Some(1.0) => Ok(true),
            _ => Err(expected(name, "True or False", value)),
        }
    }
}

/// The members of a snapshot by their fields, what bears a field's own name before what is taken for it. Names that no field has, and
/// second names of one, are told `strange`.
fn fields<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
    field: impl Fn(&str) -> Option<&'static str>,
    mut strange: impl FnMut(String),
) -> PyResult<Vec<(&'static str, Bound<'py, PyAny>)>> {
    let members = members(name, value)?.into_iter();
    let (own, others): (Vec<_>, Vec<_>) =
        members.partition(|(member, _)| field(member) == Some(member));
    let mut known: Vec<(&str, Bound<'py, PyAny>)> = Vec::new();
    for (member, value) in own.into_iter().chain(others) {
        let is_new = |field: &&str| known.iter().all(|(there, _)| there != field);
        match field(&member).filter(is_new) {
            Some(field) => known.push((field, value)),
            None => strange(member),
        }
    }
    Ok(known)
}

impl<'py> Read<'py> for Weighting {
    /// A name that no field has is in [`Weighting::strange`]: the engine warns of it, and no step fails of it.
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut weighting = Self::default();
        let mut strange = Vec::new();
        for (member, value) in fields(name, value, Self::field, |name| strange.push(name))? {
            let field = format!("{name}.{member}");
            if Self::WORDS.contains(&member) {
                let word: String = value
                    .extract()
                    .noted()
                    .map_err(|_| expected(&field, "a text", &value))?;
                if let Some(Err(unknown)) = weighting.set_word(member, &word) {
                    return Err(error::column(format!("`{field}`: {unknown}")));
                }
            } else if member == "meta" {
                let meta = weighting.meta.insert(Meta::default());
                let of_meta = |name: String| strange.push(format!("meta.{name}"));
                for (member, value) in fields(&field, &value, Meta::field, of_meta)? {
                    let field = format!("{field}.{member}");
                    if let Some(place) = meta.number_mut(member) {
                        *place = Some(Read::read(&field, &value)?);
                    } else if let Some(place) = meta.flag_mut(member) {
                        *place = Some(Read::read(&field, &value)?);
                    }
                }
            } else if let Some(place) = weighting.number_mut(member) {
                *place = Some(Read::read(&field, &value)?);
            } else if let Some(place) = weighting.flag_mut(member) {
                *place = Some(Read::read(&field, &value)?);
            }
        }
        weighting.strange = strange;
        Ok(weighting)
    }
}
