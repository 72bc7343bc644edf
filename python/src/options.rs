//! An engine's options from Python's keyword arguments.

use std::env;
use std::path::PathBuf;

use grpo_metrics::batch::scalars::ClipRange;
use grpo_metrics::engine::{
    Engine, EngineBuilder, EngineOptions, Given, OPTIONS, OptionGroup, OptionInfo, unknown_name,
};
use grpo_metrics::recording::{Format, Recorder};
use grpo_metrics::sink::{DurableOptions, Journal, Queued, Recovered, Sink};
use grpo_metrics::store::{Resume, RunSpec, StoreSink};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping, PyString, PyTuple};

use crate::column::shown;
use crate::error;
use crate::gateway;
use crate::gather::PythonGather;
use crate::interruption::Noted;
use crate::json;
use crate::samples::Kept;
use crate::outputs::OUTPUTS;
use crate::sink::{self, PythonSink};

/// What `journal` is.
const JOURNAL: &str = "the path of a folder";

/// How often a store that is an object, and has no journal before it, is asked to take a row: for some seconds.
const TRIES: u32 = 6;

/// An engine in the making, and what its journals held when they were opened.
pub struct Opening {
    builder: EngineBuilder,
    pub recovered: Vec<(PathBuf, Recovered)>,
    /// The id of the run that rows are stored under, if they are.
    pub run: Option<String>,
    /// The store that has them.
    pub kept: Option<Kept>,
}

impl Opening {
    fn sink(self, sink: impl Sink + 'static) -> Self {
        Self {
            builder: self.builder.sink(sink),
            ..self
        }
    }

    pub fn engine(self) -> PyResult<Engine> {
        self.builder.build().map_err(error::option)
    }
}

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

    fn get(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(given) = self.0 else {
            return Ok(None);
        };
        Ok(given.get_item(name)?.filter(|value| !value.is_none()))
    }

    fn read<T: for<'x> FromPyObject<'x, 'py>>(
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

    fn text(&self, name: &str) -> PyResult<Option<String>> {
        self.read(name, "a text")
    }

    /// An engine with these options, its sinks opened.
    pub fn open(&self) -> PyResult<Opening> {
        self.with_sinks(Opening {
            builder: self.builder()?,
            recovered: Vec::new(),
            run: None,
            kept: None,
        })
    }

    fn engine_options(&self) -> PyResult<EngineOptions> {
        let given = self.0.into_iter().flatten();
        engine_options(given.filter(|(name, _)| !is_own(name)))
    }

    fn builder(&self) -> PyResult<EngineBuilder> {
        let mut builder = Engine::builder().options(self.engine_options()?);
        if let Some(gather) = self.get("gather")? {
            builder = builder.gather(PythonGather::over(&gather)?);
        }
        // Before a sink is opened, and a run begun that nobody will end.
        builder.check().map_err(error::option)?;
        Ok(builder)
    }

    /// Rows are rank 0's, and so are the store, its run, the sinks and the journal: no other rank opens them.
    fn with_sinks(&self, mut opening: Opening) -> PyResult<Opening> {
        if self.place()?.0 != 0 {
            return Ok(opening);
        }
        if let Some(store) = self.get("store")? {
            self.warn_of_other_ranks()?;
            opening = self.with_store(opening, &store)?;
        }
        let Some(sinks) = self.get("sinks")? else {
            return Ok(opening);
        };
        let listed = sinks.try_iter().noted();
        let listed = match listed {
            Ok(listed) if !sinks.is_instance_of::<PyString>() => listed,
            _ => return Err(refuse("sinks", "a list of paths and sinks", &sinks)),
        };
        for (i, sink) in listed.enumerate() {
            let (sink, name) = (sink?, format!("sink{i}"));
            if let Some(target) = sink::target(&sink)? {
                let open = || target.open().map_err(error::sink);
                opening = self.add(opening, &name, open)?;
            } else if sink.hasattr("write")? {
                opening = self.add(opening, &name, || Ok(PythonSink::over(&sink)))?;
            } else {
                let expected = "paths of JSON lines, and sinks: texts as `csv:rows.csv`, or objects with `write(row)` (`LoggerSink` makes one of a logger)";
                return Err(refuse("sinks", expected, &sink));
            }
        }
        Ok(opening)
    }

    /// Adds a sink, behind a journal of its own where there is a folder for them: then no step waits for it. The journal comes first:
    /// where it is in use, nothing else is opened or made.
    fn add<S: Sink + 'static>(
        &self,
        mut opening: Opening,
        name: &str,
        open: impl FnOnce() -> PyResult<S>,
    ) -> PyResult<Opening> {
        let Some(folder) = self.get("journal")? else {
            return Ok(opening.sink(open()?));
        };
        let path: PathBuf = self.read("journal", JOURNAL)?.unwrap_or_default();
        if path.as_os_str().is_empty() {
            return Err(refuse("journal", JOURNAL, &folder));
        }
        let folder = path.join(name);
        let journal = Journal::open(&folder, DurableOptions::default()).map_err(error::sink)?;
        let durable = journal.before(open()?).map_err(error::sink)?;
        if *durable.recovered() != Recovered::default() {
            let found = (folder, durable.recovered().clone());
            opening.recovered.push(found);
        }
        Ok(opening.sink(durable))
    }

    /// A path is an embedded store; anything else an object with `EvSys`'s methods.
    fn with_store(&self, mut opening: Opening, store: &Bound<'py, PyAny>) -> PyResult<Opening> {
        let run = self.text("run")?;
        let resume = self.text("resume")?;
        let resume = resume.map(|word| word.parse::<Resume>()).transpose();
        let resume = resume.map_err(|error| error::option(format!("`resume`: {error}")))?;
        let text: Option<String> = store.extract().ok();
        let gateway = text.as_deref().and_then(gateway::address);
        if let (Ok(path), None) = (store.extract::<PathBuf>().noted(), &gateway) {
            let config = self.get("config")?;
            let spec = RunSpec {
                name: run.unwrap_or_default(),
                resume: resume.unwrap_or_default(),
                id: None,
                experiment: self.text("experiment")?,
                group: self.text("group")?,
                seed: self.read("seed", "a whole number")?,
                config: config
                    .as_ref()
                    .map(|config| json::value("config", config))
                    .transpose()?
                    .unwrap_or_default(),
                options: self.engine_options()?.deciding(),
            };
            // Wherever the process goes.
            let place = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
            opening.kept = Some(Kept::File(place));
            let mut opened = None;
            let open = || {
                let sink = StoreSink::open(path, spec).map_err(error::store)?;
                opened = Some(sink.run_id().to_owned());
                Ok(sink)
            };
            opening = self.add_store(opening, open)?;
            opening.run = opened;
            return Ok(opening);
        }
        let run = run.ok_or_else(|| {
            error::option(
                "`run` is missing: a store that is an object or a gateway needs the id of the run",
            )
        })?;
        if resume.is_some() {
            return Err(error::option(
                "`resume`: expected a store that is a path, found one whose run is that of the id that is given",
            ));
        }
        opening.run = Some(run.clone());
        if let Some(url) = gateway {
            opening.kept = Some(Kept::Gateway(url.clone()));
            let py = store.py();
            let open = || {
                // It is asked over the network.
                let opened = py.detach(|| {
                    let gateway = gateway::open(&url)?;
                    StoreSink::over(Box::new(gateway), run)
                });
                opened.map_err(error::store)
            };
            return self.add_store(opening, open);
        }
        opening.kept = Some(Kept::Object(store.clone().unbind()));
        let module = store.py().import("grpo_metrics._store")?;
        let sink = PythonSink::over(&module.call_method1("StoreSink", (store, &run))?).of_run(run);
        let tries = self.get("journal")?.is_none().then_some(TRIES);
        self.add_store(opening, || Ok(sink.giving_up_after(tries)))
    }

    /// Adds a store, behind its journal, else behind a queue in memory: no step waits for a disk or a server.
    fn add_store<S: Sink + 'static>(
        &self,
        opening: Opening,
        open: impl FnOnce() -> PyResult<S>,
    ) -> PyResult<Opening> {
        if self.get("journal")?.is_some() {
            return self.add(opening, "store", open);
        }
        Ok(opening.sink(Queued::new(open()?).map_err(error::sink)?))
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

    /// A launcher such as torchrun has started several processes, of which each takes itself for rank 0.
    fn warn_of_other_ranks(&self) -> PyResult<()> {
        let started = env::var("WORLD_SIZE").ok().and_then(|n| n.parse().ok());
        let started: u32 = started.unwrap_or(1);
        if started > 1 && self.get("gather")?.is_none() {
            tracing::warn!(
                "WORLD_SIZE is {started}, and an engine with `store` has no `gather`: each process takes itself for rank 0, and its rows are \
                 over its own data alone. Give every rank `gather=TorchGather()` (grpo_metrics.torch), or make the engine in one process"
            );
        }
        Ok(())
    }

    /// The recorder, if a path was given for one.
    pub fn recorder(&self) -> PyResult<Option<Recorder>> {
        let path: Option<PathBuf> = self.read("recorder", "the path of a folder")?;
        let create = |path| Recorder::create(path, Format::JsonLines).map_err(error::sink);
        path.map(create).transpose()
    }
}

fn refuse(name: &str, expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
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
