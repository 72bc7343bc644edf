//! An engine's options from Python's keyword arguments.

use std::env;
use std::path::PathBuf;

use grpo_metrics::batch::scalars::ClipRange;
use grpo_metrics::engine::{
    Engine, EngineBuilder, EngineOptions, Given, OPTIONS, OptionGroup, OptionInfo, unknown_name,
};
use grpo_metrics::recording::{Format, Recorder};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping, PyString, PyTuple};

use crate::column::shown;
use crate::error;
use crate::gather::PythonGather;
use crate::interruption::Noted;
use crate::outputs::OUTPUTS;

/// Options that were given; `None` counts as not given.
pub struct Options<'a, 'py>(Option<&'a Bound<'py, PyDict>>);

impl<'a, 'py> Options<'a, 'py> {
    /// # Errors
    /// If one is unknown.
    pub fn of(given: Option<&'a Bound<'py, PyDict>>) -> PyResult<Self> {
        let own = || OUTPUTS.iter().map(|output| output.name);
        let known = || own().chain(names(&OptionGroup::ALL));
        check_names(given, known)?;
        Ok(Self(given))
    }

    pub fn get(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(given) = self.0 else {
            return Ok(None);
        };
        Ok(given.get_item(name)?.filter(|value| !value.is_none()))
    }

    pub fn read<T: for<'x> FromPyObject<'x, 'py>>(
        &self,
        name: &str,
        expected: &str,
    ) -> PyResult<Option<T>> {
        let Some(value) = self.get(name)? else {
            return Ok(None);
        };
        value
            .extract()
            .map(Some)
            .map_err(Into::into)
            .noted()
            .map_err(|_| refuse(name, expected, &value))
    }

    pub fn text(&self, name: &str) -> PyResult<Option<String>> {
        self.read(name, "a text")
    }

    pub fn engine_options(&self) -> PyResult<EngineOptions> {
        let given = self.0.into_iter().flatten();
        engine_options(given.filter(|(name, _)| !is_own(name)))
    }

    pub fn builder(&self) -> PyResult<EngineBuilder> {
        let builder = Engine::builder().options(self.engine_options()?);
        let mut builder = builder.replica(self.is_replica()?);
        if let Some(gather) = self.get("gather")? {
            builder = builder.gather(PythonGather::over(&gather)?);
        }
        // Before a sink is opened, and a run begun that nobody will end.
        builder.check().map_err(error::option)?;
        Ok(builder)
    }

    /// Whether this rank holds a copy of another's data: as it was told, else as the gather says.
    pub fn is_replica(&self) -> PyResult<bool> {
        const EXPECTED: &str = "True or False";
        if let Some(told) = self.read("replica", EXPECTED)? {
            return Ok(told);
        }
        let gather = self.get("gather")?;
        let said = gather
            .map(|gather| gather.getattr_opt("replica"))
            .transpose()?;
        match said.flatten() {
            None => Ok(false),
            Some(said) => said
                .extract()
                .noted()
                .map_err(|_| refuse("gather.replica", EXPECTED, &said)),
        }
    }

    /// This rank and how many there are, as the gather has them.
    pub fn place(&self) -> PyResult<(u32, u32)> {
        match self.get("gather")? {
            Some(gather) => Ok((
                gather.getattr("rank")?.extract()?,
                gather.getattr("world_size")?.extract()?,
            )),
            None => Ok((0, 1)),
        }
    }

    /// The recorder, if a path was given for one.
    pub fn recorder(&self) -> PyResult<Option<Recorder>> {
        let path: Option<PathBuf> = self.read("recorder", "the path of a folder")?;
        let create = |path| Recorder::create(path, Format::JsonLines).map_err(error::sink);
        path.map(create).transpose()
    }
}

pub fn refuse(name: &str, expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    let found = shown(found);
    error::option(format!("`{name}`: expected {expected}, found {found}"))
}

/// A clip range that was given as an argument.
pub fn clip_range(low: f64, high: f64) -> PyResult<ClipRange> {
    ClipRange::checked(low, high).map_err(|e| error::option(format!("`clip_range`: {e}")))
}

/// The names of these groups' options, and those that are taken for them.
pub fn names(groups: &[OptionGroup]) -> impl Iterator<Item = &'static str> {
    let options = OPTIONS
        .iter()
        .filter(|option| groups.contains(&option.group));
    options.flat_map(OptionInfo::names)
}

/// # Errors
/// If a keyword is none of those known.
pub fn check_names<K: IntoIterator<Item = &'static str>>(
    given: Option<&Bound<'_, PyDict>>,
    known: impl Fn() -> K,
) -> PyResult<()> {
    for (name, _) in given.into_iter().flatten() {
        let name: String = name.extract()?;
        if !known().into_iter().any(|known| known == name) {
            return Err(error::option(unknown_name("option", &name, known())));
        }
    }
    Ok(())
}

/// # Errors
/// If an option is one that records are counted by, where they are counted already.
pub fn refuse_counting(given: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
    for (name, _) in given.into_iter().flatten() {
        let name: String = name.extract()?;
        if names(&[OptionGroup::Counting]).any(|counting| counting == name) {
            return Err(error::option(format!(
                "`{name}` is what records are counted by, and a shard's are counted: it is an option of `Shard.of`"
            )));
        }
    }
    Ok(())
}

fn is_own(name: &Bound<'_, PyAny>) -> bool {
    name.cast::<PyString>()
        .is_ok_and(|name| OUTPUTS.iter().any(|own| *name == *own.name))
}

/// The engine's options of keywords that are no others.
pub fn engine_options<'py>(
    given: impl Iterator<Item = (Bound<'py, PyAny>, Bound<'py, PyAny>)>,
) -> PyResult<EngineOptions> {
    let given = given.map(|(name, value)| {
        let name: String = name.extract()?;
        let read = self::given(&value).ok_or_else(|| {
            let kind = OptionInfo::named(&name).map(|option| option.kind.to_string());
            refuse(&name, &kind.unwrap_or_default(), &value)
        })?;
        Ok((name, read))
    });
    let given: Vec<(String, Given)> = given.collect::<PyResult<_>>()?;
    let mut options = EngineOptions::default()
        .with(given)
        .map_err(error::option)?;
    let metadata = options.metadata.take();
    options.metadata = metadata.map(|texts| texts.resolve(|name| env::var(name).ok()));
    Ok(options)
}

/// A Python object as an option is given; `None` for one that no option could read.
fn given(value: &Bound<'_, PyAny>) -> Option<Given> {
    if value.is_none() {
        return Some(Given::Nothing);
    }
    if let Ok(text) = value.cast::<PyString>() {
        return text
            .to_str()
            .noted()
            .ok()
            .map(|text| Given::Text(text.to_owned()));
    }
    if let Ok(table) = value.cast::<PyMapping>() {
        let items = table.items().noted().ok()?;
        let entries = items.iter().map(|item| {
            let (name, value): (String, Bound<'_, PyAny>) = item.extract().noted().ok()?;
            Some((name, given(&value)?))
        });
        return entries.collect::<Option<_>>().map(Given::Table);
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let items = value.try_iter().noted().ok()?;
        let list = items.map(|item| given(&item.noted().ok()?));
        return list.collect::<Option<_>>().map(Given::List);
    }
    let switch = value.extract().noted().ok().map(Given::Switch);
    let whole = || value.extract().noted().ok().map(Given::Whole);
    let number = || value.extract().noted().ok().map(Given::Number);
    switch.or_else(whole).or_else(number)
}
