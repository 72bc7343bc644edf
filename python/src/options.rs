//! An engine's options from Python's keyword arguments.

pub mod word;

use std::env;
use std::path::PathBuf;

use grpo_metrics::batch::scalars::ClipRange;
use grpo_metrics::engine::{Engine, EngineBuilder};
use grpo_metrics::recording::{Format, Recorder};
use grpo_metrics::row::cadence::Schedule;
use grpo_metrics::row::run::RunMetadata;
use grpo_metrics::shard::{KlKind, KlPenalty, Success};
use grpo_metrics::sink::{Durable, Jsonl, Queued, Recovered, Sink};
use grpo_metrics::store::{RunSpec, StoreSink};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::column::shown;
use crate::error;
use crate::gather::PythonGather;
use crate::interruption::Noted;
use crate::json;
use crate::sink::PythonSink;
use word::{Words, meaning};

/// Every option, as in METRICS.md, and where rows and records go.
const NAMES: &[&str] = &[
    "dialect",
    "mode",
    "window",
    "scope",
    "logging_strategy",
    "logging_steps",
    "logging_first_step",
    "emit_partial",
    "steps_per_epoch",
    "num_generations",
    "num_epochs",
    "total_training_steps",
    "kl_bias_correction",
    "is_ratio_cap",
    "clip_range",
    "extended",
    "success",
    "kl_penalty",
    "kl_penalty_kind",
    "kl_kind",
    "devices",
    "folds",
    "metadata",
    "store",
    "run",
    "experiment",
    "group",
    "seed",
    "config",
    "sinks",
    "gather",
    "policy",
    "retain",
    "journal",
    "recorder",
];

/// How often a store that is an object, and has no journal before it, is asked to take a row: for some seconds.
const TRIES: u32 = 6;

/// An engine in the making, and what its journals held when they were opened.
pub struct Opening {
    builder: EngineBuilder,
    pub recovered: Vec<(PathBuf, Recovered)>,
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
        for (name, _) in given.into_iter().flatten() {
            let name: String = name.extract()?;
            if !NAMES.contains(&name.as_str()) {
                let known = NAMES.iter().copied();
                return Err(error::option(error::unknown("option", &name, known)));
            }
        }
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

    fn word<T>(&self, name: &str) -> PyResult<Option<T>>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let word = self.text(name)?;
        let read = |word: String| {
            word.parse()
                .map_err(|e| error::option(format!("`{name}`: {e}")))
        };
        word.map(read).transpose()
    }

    /// One of `words`.
    fn choice<T: Copy>(&self, name: &str, words: &Words<T>) -> PyResult<Option<T>> {
        let word = self.text(name)?;
        word.map(|word| meaning(name, &word, words)).transpose()
    }

    /// An engine with these options, its sinks opened.
    pub fn open(&self) -> PyResult<Opening> {
        self.with_sinks(Opening {
            builder: self.builder()?,
            recovered: Vec::new(),
        })
    }

    fn builder(&self) -> PyResult<EngineBuilder> {
        let mut builder = Engine::builder().schedule(Schedule {
            steps_per_epoch: self.read("steps_per_epoch", "a number")?,
            num_generations: self.read("num_generations", "a number")?,
            num_epochs: self.read("num_epochs", "a number")?,
            total_training_steps: self.read("total_training_steps", "a number")?,
        });
        if let Some(dialect) = self.word("dialect")? {
            builder = builder.dialect(dialect);
        }
        if let Some(mode) = self.word("mode")? {
            builder = builder.mode(mode);
        }
        if let Some(window) = self.choice("window", word::WINDOWS)? {
            builder = builder.window(window);
        }
        if let Some(scope) = self.choice("scope", word::SCOPES)? {
            builder = builder.scope(scope);
        }
        if let Some(strategy) = self.word("logging_strategy")? {
            builder = builder.logging_strategy(strategy);
        }
        if let Some(steps) = self.read("logging_steps", "a whole number")? {
            builder = builder.logging_steps(steps);
        }
        if let Some(first) = self.read("logging_first_step", "True or False")? {
            builder = builder.logging_first_step(first);
        }
        if let Some(emit) = self.read("emit_partial", "True or False")? {
            builder = builder.emit_partial(emit);
        }
        if let Some(correct) = self.read("kl_bias_correction", "True or False")? {
            builder = builder.kl_bias_correction(correct);
        }
        if let Some(cap) = self.read("is_ratio_cap", "a number")? {
            builder = builder.ratio_cap(cap);
        }
        if let Some((low, high)) = self.read("clip_range", "two numbers, (low, high)")? {
            builder = builder.clip_range(clip_range(low, high)?);
        }
        if let Some(extended) = self.read("extended", "True or False")? {
            builder = builder.extended(extended);
        }
        let success = self.read("success", "(component or None, threshold)")?;
        if let Some((component, threshold)) = success {
            builder = builder.success(Success {
                component,
                threshold,
            });
        }
        if let Some(coefficient) = self.read("kl_penalty", "a number")? {
            let kind = self.choice("kl_penalty_kind", word::KL_KINDS)?;
            let kind = kind.unwrap_or(KlKind::K1);
            builder = builder.kl_penalty(KlPenalty { coefficient, kind });
        }
        if let Some(kind) = self.choice("kl_kind", word::KL_KINDS)? {
            builder = builder.kl_kind(kind);
        }
        if let Some(devices) = self.read("devices", "a whole number")? {
            builder = builder.devices(devices);
        }
        if let Some(policy) = self.choice("policy", word::POLICIES)? {
            builder = builder.policy(policy);
        }
        if let Some(retain) = self.choice("retain", word::RETAINS)? {
            builder = builder.retain(retain);
        }
        if let Some(gather) = self.get("gather")? {
            builder = builder.gather(PythonGather::over(&gather)?);
        }
        if let Some(metadata) = self.get("metadata")? {
            builder = builder.metadata(metadata_of(&metadata)?);
        }
        // Before a sink is opened, and a run begun that nobody will end.
        builder.check().map_err(error::option)?;
        self.with_folds(builder)
    }

    fn with_folds(&self, mut builder: EngineBuilder) -> PyResult<EngineBuilder> {
        let expected = "a dictionary of name: (fold, window fold)";
        let folds: Option<std::collections::BTreeMap<String, (String, String)>> =
            self.read("folds", expected)?;
        for (name, (fold, window)) in folds.unwrap_or_default() {
            let fold = meaning("folds", &fold, word::FOLDS)?;
            let window = meaning("folds (window)", &window, word::WINDOW_FOLDS)?;
            builder = builder.fold(name, fold, window);
        }
        Ok(builder)
    }

    /// Rows are rank 0's, and so are the store, its run, the sinks and the journal: no other rank opens them.
    fn with_sinks(&self, mut opening: Opening) -> PyResult<Opening> {
        if self.place()?.0 != 0 {
            return Ok(opening);
        }
        if let Some(store) = self.get("store")? {
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
            if let Ok(path) = sink.extract::<PathBuf>().noted() {
                opening = self.add(opening, &name, Jsonl::open(path).map_err(error::sink)?)?;
            } else if sink.hasattr("write")? {
                opening = self.add(opening, &name, PythonSink::over(&sink))?;
            } else {
                let expected = "paths of JSON lines, and sinks: objects with `write(row)` (`LoggerSink` makes one of a logger)";
                return Err(refuse("sinks", expected, &sink));
            }
        }
        Ok(opening)
    }

    /// Adds a sink, behind a journal of its own where there is a folder for them: then no step waits for it.
    fn add(
        &self,
        mut opening: Opening,
        name: &str,
        sink: impl Sink + 'static,
    ) -> PyResult<Opening> {
        let folder: Option<PathBuf> = self.read("journal", "the path of a folder")?;
        let Some(folder) = folder else {
            return Ok(opening.sink(sink));
        };
        let folder = folder.join(name);
        let durable = Durable::new(sink, &folder).map_err(error::sink)?;
        if *durable.recovered() != Recovered::default() {
            let found = (folder, durable.recovered().clone());
            opening.recovered.push(found);
        }
        Ok(opening.sink(durable))
    }

    /// A path is an embedded store; anything else an object with `EvSys`'s methods.
    fn with_store(&self, opening: Opening, store: &Bound<'py, PyAny>) -> PyResult<Opening> {
        let run = self.text("run")?;
        if let Ok(path) = store.extract::<PathBuf>().noted() {
            let config = self.get("config")?;
            let spec = RunSpec {
                name: run.unwrap_or_else(|| "default".to_owned()),
                experiment: self.text("experiment")?,
                group: self.text("group")?,
                seed: self.read("seed", "a whole number")?,
                config: config
                    .as_ref()
                    .map(|config| json::value("config", config))
                    .transpose()?
                    .unwrap_or_default(),
            };
            let sink = StoreSink::open(path, spec).map_err(error::store)?;
            return self.add_store(opening, sink);
        }
        let run = run.ok_or_else(|| {
            error::option("`run` is missing: a store that is an object needs the id of the run")
        })?;
        let module = store.py().import("grpo_metrics._store")?;
        let sink = PythonSink::over(&module.call_method1("StoreSink", (store, &run))?).of_run(run);
        if self.get("journal")?.is_some() {
            return self.add_store(opening, sink);
        }
        self.add_store(opening, sink.giving_up_after(TRIES))
    }

    /// Adds a store, behind its journal, else behind a queue in memory: no step waits for a disk or a server.
    fn add_store(&self, opening: Opening, sink: impl Sink + 'static) -> PyResult<Opening> {
        if self.get("journal")?.is_some() {
            return self.add(opening, "store", sink);
        }
        Ok(opening.sink(Queued::new(sink).map_err(error::sink)?))
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

fn refuse(name: &str, expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    let found = shown(found);
    error::option(format!("`{name}`: expected {expected}, found {found}"))
}

/// A clip range that was given as an option or argument.
pub fn clip_range(low: f64, high: f64) -> PyResult<ClipRange> {
    ClipRange::checked(low, high).map_err(|e| error::option(format!("`clip_range`: {e}")))
}

fn metadata_of(given: &Bound<'_, PyAny>) -> PyResult<RunMetadata> {
    let texts: std::collections::BTreeMap<String, String> = given
        .extract()
        .noted()
        .map_err(|_| refuse("metadata", "a dictionary of texts", given))?;
    let mut metadata = RunMetadata::default();
    for (name, text) in texts {
        let place = match name.as_str() {
            "git_sha" => &mut metadata.git_sha,
            "recipe_path" => &mut metadata.recipe_path,
            "method_name" => &mut metadata.method_name,
            "method_family" => &mut metadata.method_family,
            "method_backend" => &mut metadata.method_backend,
            "method_slug" => &mut metadata.method_slug,
            _ => {
                let known = grpo_metrics::row::run::RUN_KEYS.iter();
                let known = known.map(|key| key.trim_start_matches("run/"));
                return Err(error::option(error::unknown(
                    "field of `metadata`",
                    &name,
                    known,
                )));
            }
        };
        *place = Some(text);
    }
    Ok(metadata.resolve(|name| env::var(name).ok()))
}
