//! One column from Python: token columns are borrowed where they lie in memory as the crate reads them, else converted once.
//!
//! Everything else is copied before anything is checked: another thread may write to an array at any time, and sizes, groups
//! and masks must be those that were checked when they are read again. Of numbers a token no size is ever made.

use std::mem::{align_of, size_of};

use grpo_metrics::batch::Values;
use numpy::ndarray::{ArrayView2, Dimension};
use numpy::{
    Element, PyArray, PyArrayMethods, PyReadonlyArray, PyReadonlyArray1, PyReadonlyArray2,
    PyUntypedArray, PyUntypedArrayMethods, ToPyArray,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyString, PyTuple};
use pyo3::{PyTypeInfo, intern};

use crate::error::{self, guarded};
use crate::interruption::Noted;

/// What can be read from a Python object that was handed in under a name.
pub trait Read<'py>: Sized {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self>;
}

/// Doubles, one a completion or group, some of which may be absent (`None`).
pub struct Numbers {
    values: Vec<f64>,
    /// Empty where none is.
    absent: Vec<bool>,
}

impl Numbers {
    pub fn values(&self) -> Values<'_> {
        Values::masked(&self.values, &self.absent)
    }
}

impl<'py> Read<'py> for Numbers {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Some(cells) = cells_of(value) {
            return numbers_of(name, &cells);
        }
        let whole = |values| Self {
            values,
            absent: Vec::new(),
        };
        if let Some(values) = copied(value) {
            return Ok(whole(values));
        }
        let converted = converted(name, value, f64::NAME)?;
        match cells_of(&converted) {
            Some(cells) => numbers_of(name, &cells),
            None => flat(name, &converted).map(whole),
        }
    }
}

/// Where the cells of a token column lie once it is read: where they lay before, if it is borrowed.
#[pyfunction]
pub fn _address(name: &str, column: &Bound<'_, PyAny>) -> PyResult<usize> {
    guarded(|| {
        let tokens = Tokens::<f32>::read(name, column)?;
        Ok(match tokens.view() {
            View::Ragged(cells) => cells.as_ptr().addr(),
            View::Padded(rows) => rows.as_ptr().addr(),
        })
    })
}

/// An array that holds texts or objects, as a list; `None` of anything else.
pub fn listed<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = value.py();
    let dtype = value.getattr_opt(intern!(py, "dtype"))?;
    let kind = match dtype {
        Some(dtype) => dtype.getattr_opt(intern!(py, "kind"))?,
        None => None,
    };
    let kind: Option<String> = kind.and_then(|kind| kind.extract().noted().ok());
    // Objects, texts of one length, texts of any.
    if kind.is_none_or(|kind| !["O", "U", "T"].contains(&kind.as_str())) {
        return Ok(None);
    }
    value.call_method0(intern!(py, "tolist")).map(Some)
}

/// A list or tuple.
pub fn cells_of<'py>(value: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyAny>>> {
    if let Ok(list) = value.cast::<PyList>() {
        return Some(list.iter().collect());
    }
    let tuple = value.cast::<PyTuple>().ok()?;
    Some(tuple.iter().collect())
}

fn numbers_of(name: &str, cells: &[Bound<'_, PyAny>]) -> PyResult<Numbers> {
    let mut values = Vec::with_capacity(cells.len());
    let mut absent = vec![false; cells.len()];
    for (i, cell) in cells.iter().enumerate() {
        if cell.is_none() {
            absent[i] = true;
            values.push(0.0);
        } else {
            values.push(number(cell).ok_or_else(|| {
                error::column(format!(
                    "`{name}[{i}]`: expected a number or None, found {}",
                    kind_of(cell)
                ))
            })?);
        }
    }
    if !absent.contains(&true) {
        absent.clear();
    }
    Ok(Numbers { values, absent })
}

/// A number, or one of the words that a recording has for those that JSON lacks.
pub fn number(cell: &Bound<'_, PyAny>) -> Option<f64> {
    if let Ok(text) = cell.cast::<PyString>() {
        return match text.to_str().ok()? {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        };
    }
    cell.extract().noted().ok()
}

/// The name of an object's type, for a message.
pub fn kind_of(value: &Bound<'_, PyAny>) -> String {
    value
        .get_type()
        .name()
        .noted()
        .map_or_else(|_| "something else".to_owned(), |name| name.to_string())
}

/// An object as a message shows it: as itself where that is short, else by its type.
pub fn shown(value: &Bound<'_, PyAny>) -> String {
    match value.repr().noted() {
        Ok(repr) if !value.is_instance_of::<PyList>() && repr.len().unwrap_or(0) <= 80 => {
            repr.to_string()
        }
        _ => kind_of(value),
    }
}

/// One cell a completion or group; never absent.
pub struct Flat<T>(Vec<T>);

impl<T> Flat<T> {
    pub fn cells(&self) -> &[T] {
        &self.0
    }

    pub fn into_cells(self) -> Vec<T> {
        self.0
    }
}

impl<'py, T: Cell> Read<'py> for Flat<T> {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Some(cells) = copied(value) {
            return Ok(Self(cells));
        }
        let converted = converted(name, value, T::NAME)?;
        flat(name, &converted).map(Self)
    }
}

impl<'py> Read<'py> for Flat<bool> {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        // By its bytes, which may be others than the 0 and 1 of a `bool`.
        let bytes = converted(name, value, "bool")?.call_method1("view", ("uint8",))?;
        let bytes: Vec<u8> = flat(name, &bytes)?;
        Ok(Self(bytes.into_iter().map(|byte| byte != 0).collect()))
    }
}

/// One cell a token: flat, or padded rows. Nested lists are flat, and remember how long each row was.
pub struct Tokens<'py, T: Element> {
    layout: Layout<'py, T>,
    rows: Option<Vec<usize>>,
}

enum Layout<'py, T: Element> {
    Flat(PyReadonlyArray1<'py, T>),
    Padded(PyReadonlyArray2<'py, T>),
}

/// How the cells of a token column lie.
pub enum View<'a, T> {
    Ragged(&'a [T]),
    Padded(ArrayView2<'a, T>),
}

impl<T: Element> Tokens<'_, T> {
    pub fn view(&self) -> View<'_, T> {
        match &self.layout {
            Layout::Flat(array) => View::Ragged(array.as_slice().unwrap_or_default()),
            Layout::Padded(array) => View::Padded(array.as_array()),
        }
    }

    /// The rows of a nested list must be as long as the completions, or tokens would count for their neighbours.
    pub fn check_rows(&self, name: &str, lengths: Option<&[u32]>) -> PyResult<()> {
        let (Some(rows), Some(lengths)) = (&self.rows, lengths) else {
            return Ok(());
        };
        let differs = |(row, length): (&usize, &u32)| *row != *length as usize;
        match rows.iter().zip(lengths).position(differs) {
            Some(i) => Err(error::column(format!(
                "`{name}[{i}]`: expected {} cells (`completion_lengths[{i}]`), found {}",
                lengths[i], rows[i]
            ))),
            None => Ok(()),
        }
    }
}

impl<'py, T: Cell> Read<'py> for Tokens<'py, T> {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Some(layout) = layout(value) {
            return Ok(Self { layout, rows: None });
        }
        let (array, rows): (Bound<'py, PyAny>, Option<Vec<usize>>) =
            convert(name, value, intern!(value.py(), "tokens"), T::NAME)?.extract()?;
        match layout(&array) {
            Some(layout) => Ok(Self { layout, rows }),
            None => Err(shape_error(name, &array, "one or two dimensions")),
        }
    }
}

/// 0 or 1 a token, in an array that nobody else has.
pub struct Mask<'py>(pub Tokens<'py, u8>);

impl<'py> Read<'py> for Mask<'py> {
    fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let tokens = Tokens::read(name, value)?;
        let layout = match tokens.view() {
            View::Ragged(cells) => Layout::Flat(cells.to_pyarray(value.py()).readonly()),
            View::Padded(rows) => Layout::Padded(rows.to_pyarray(value.py()).readonly()),
        };
        let rows = tokens.rows;
        Ok(Self(Tokens { layout, rows }))
    }
}

fn layout<'py, T: Cell>(value: &Bound<'py, PyAny>) -> Option<Layout<'py, T>> {
    if let Some(array) = borrowed(value) {
        return is_contiguous(&array).then_some(Layout::Flat(array));
    }
    let array = borrowed(value)?;
    is_contiguous(&array).then_some(Layout::Padded(array))
}

/// The cells of a column, by `NumPy`'s name.
pub trait Cell: Element + Copy {
    const NAME: &'static str;
}

impl Cell for f64 {
    const NAME: &'static str = "float64";
}
impl Cell for f32 {
    const NAME: &'static str = "float32";
}
impl Cell for u32 {
    const NAME: &'static str = "uint32";
}
impl Cell for u64 {
    const NAME: &'static str = "uint64";
}
impl Cell for u8 {
    const NAME: &'static str = "uint8";
}

/// The array as it is, if it is one of this type and dimension and aligned. A subclass is not: it may mean more than its cells.
fn borrowed<'py, T: Element, D: Dimension>(
    value: &Bound<'py, PyAny>,
) -> Option<PyReadonlyArray<'py, T, D>> {
    if !value.get_type().is(PyUntypedArray::type_object(value.py())) {
        return None;
    }
    let array = value.cast::<PyArray<T, D>>().ok()?;
    let aligned = array.data().addr().is_multiple_of(align_of::<T>())
        && array
            .strides()
            .iter()
            .all(|stride| stride.unsigned_abs().is_multiple_of(size_of::<T>()));
    aligned.then(|| array.try_readonly().ok()).flatten()
}

/// Whether the cells of each row lie side by side.
fn is_contiguous<T: Element, D: Dimension>(array: &PyReadonlyArray<'_, T, D>) -> bool {
    let (Some(&width), Some(&stride)) = (array.shape().last(), array.strides().last()) else {
        return false;
    };
    width <= 1 || stride.cast_unsigned() == size_of::<T>()
}

/// The cells of an array of this type and one dimension.
fn copied<T: Cell>(array: &Bound<'_, PyAny>) -> Option<Vec<T>> {
    let array: PyReadonlyArray1<'_, T> = borrowed(array)?;
    Some(array.as_array().iter().copied().collect())
}

fn flat<T: Cell>(name: &str, array: &Bound<'_, PyAny>) -> PyResult<Vec<T>> {
    copied(array).ok_or_else(|| shape_error(name, array, "one dimension"))
}

fn shape_error(name: &str, array: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    let shape = array
        .getattr(intern!(array.py(), "shape"))
        .noted()
        .map_or_else(|_| "none".to_owned(), |shape| shape.to_string());
    error::column(format!(
        "`{name}`: expected {expected}, found an array of shape {shape}"
    ))
}

fn converted<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
    dtype: &str,
) -> PyResult<Bound<'py, PyAny>> {
    convert(name, value, intern!(value.py(), "flat"), dtype)
}

/// Hands the column to `grpo_metrics/_convert.py`, which knows what other libraries have for arrays.
fn convert<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
    function: &Bound<'py, PyString>,
    dtype: &str,
) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let py = value.py();
    let module =
        MODULE.get_or_try_init(py, || py.import("grpo_metrics._convert").map(Bound::unbind))?;
    module
        .bind(py)
        .call_method1(function, (value, dtype))
        .noted()
        .map_err(|error| error::column(format!("`{name}`: {}", error.value(py))))
}
