//! Where an engine's rows go: its store and sinks, and the journals before them.

use std::path::{Path, PathBuf, absolute};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, process};

use grpo_metrics::engine::{Engine, EngineBuilder};
use grpo_metrics::sink::{DurableOptions, Journal, Meant, Recovered, Shelf, Sink};
use grpo_metrics::store::{Resume, RunSpec, StoreSink};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};

use crate::error;
use crate::gateway;
use crate::given_store::{Given, Object, gateway_name, opener};
use crate::interruption::Noted;
use crate::json;
use crate::options::{Options, refuse};
use crate::samples::Kept;
use crate::sink::{self, PythonSink};

/// What `journal` is.
const JOURNAL: &str = "the path of a folder, or False";

/// Where journals are of what is written without an embedded store.
const FOLDER: &str = ".grpo-metrics";

/// An engine in the making, and what its journals held when they were opened.
pub struct Opening {
    builder: EngineBuilder,
    sinks: Vec<Box<dyn Sink>>,
    pub recovered: Vec<(PathBuf, Recovered)>,
    /// The id of the run that rows are stored under, if they are.
    pub run: Option<String>,
    /// The store that has them.
    pub kept: Option<Kept>,
}

impl Opening {
    pub fn of(builder: EngineBuilder) -> Self {
        Self {
            builder,
            sinks: Vec::new(),
            recovered: Vec::new(),
            run: None,
            kept: None,
        }
    }

    fn sink(&mut self, sink: impl Sink + 'static) {
        self.sinks.push(Box::new(sink));
    }

    pub fn engine(self) -> PyResult<Engine> {
        let builder = self
            .sinks
            .into_iter()
            .fold(self.builder, EngineBuilder::sink);
        builder.build().map_err(error::option)
    }
}

/// What stands before a sink, so that no step waits for it.
enum Waiting {
    /// A journal that lives as long as the training.
    Shelf(Shelf),
    /// A journal in a folder that the caller has named.
    Folder(PathBuf),
    /// Nothing: the sink is written in the step.
    Nothing,
}

impl<'py> Options<'_, 'py> {
    /// An engine with these options, its sinks opened. Rows are rank 0's, and so are the store, its run, the sinks and the journals: no
    /// other rank opens them.
    pub fn open(&self) -> PyResult<Opening> {
        let mut opening = Opening::of(self.builder()?);
        if self.place()?.0 != 0 {
            return Ok(opening);
        }
        let store = self.get("store")?;
        if store.is_some() {
            self.warn_of_other_ranks()?;
        }
        let store = store.as_ref().map(Given::of).transpose()?;
        let waiting = self.waiting(store.as_ref().and_then(Given::file))?;
        match &store {
            Some(Given::Path(path)) => self.add_path(&mut opening, &waiting, path)?,
            Some(Given::Gateway(url)) => self.add_gateway(&mut opening, &waiting, url)?,
            Some(Given::Object(object)) => self.add_object(&mut opening, &waiting, object)?,
            None => {}
        }
        opening.kept = store.as_ref().map(Given::kept);
        self.add_sinks(&mut opening, &waiting)?;
        if let Waiting::Shelf(shelf) = &waiting {
            let left = shelf.deliver_left(|meant, run| opener(meant, run?, store.as_ref()));
            opening.recovered.extend(left);
        }
        Ok(opening)
    }

    /// Journals are beside the embedded store, if there is one.
    fn waiting(&self, store: Option<&PathBuf>) -> PyResult<Waiting> {
        if let Some(given) = self.get("journal")? {
            if given.cast::<PyBool>().is_ok_and(|switch| !switch.is_true()) {
                return Ok(Waiting::Nothing);
            }
            let path: PathBuf = self.read("journal", JOURNAL)?.unwrap_or_default();
            if path.as_os_str().is_empty() {
                return Err(refuse("journal", JOURNAL, &given));
            }
            return Ok(Waiting::Folder(path));
        }
        let policy = DurableOptions::default();
        Ok(Waiting::Shelf(match store {
            // Wherever the process goes from here.
            Some(store) => {
                Shelf::beside(&absolute(store).unwrap_or_else(|_| store.clone()), policy)
            }
            None => Shelf::at(absolute(FOLDER).map_err(error::sink)?, policy),
        }))
    }

    fn add_sinks(&self, opening: &mut Opening, waiting: &Waiting) -> PyResult<()> {
        let Some(sinks) = self.get("sinks")? else {
            return Ok(());
        };
        let listed = sinks.try_iter().noted();
        let listed = match listed {
            Ok(listed) if !sinks.is_instance_of::<PyString>() => listed,
            _ => return Err(refuse("sinks", "a list of paths and sinks", &sinks)),
        };
        let run = match &opening.run {
            Some(run) => run.clone(),
            None => self.text("run")?.unwrap_or_else(made_up),
        };
        for (i, sink) in listed.enumerate() {
            let (sink, name) = (sink?, format!("sink{i}"));
            if let Some(target) = sink::target(&sink)? {
                let open = || target.open().map_err(error::sink);
                if target.is_immediate() {
                    opening.sink(open()?);
                } else {
                    let meant = Meant::Sink(target.clone());
                    add(opening, waiting, (&run, &name), &meant, open)?;
                }
            } else if sink.hasattr("write")? {
                let kind = sink.get_type().fully_qualified_name()?.to_string();
                let open = || Ok(Box::new(PythonSink::over(&sink)) as Box<dyn Sink>);
                add(opening, waiting, (&run, &name), &Meant::Object(kind), open)?;
            } else {
                let expected = "paths of JSON lines, and sinks: texts as `csv:rows.csv`, or objects with `write(row)` (`LoggerSink` makes one of a logger)";
                return Err(refuse("sinks", expected, &sink));
            }
        }
        Ok(())
    }

    /// A path is an embedded store.
    fn add_path(&self, opening: &mut Opening, waiting: &Waiting, path: &Path) -> PyResult<()> {
        let config = self.get("config")?;
        let spec = RunSpec {
            name: self.text("run")?.unwrap_or_default(),
            resume: self.resume()?.unwrap_or_default(),
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
        let mut opened = None;
        let open = || {
            let sink = StoreSink::open(path, spec).map_err(error::store)?;
            opened = Some(sink.run_id().to_owned());
            Ok(Box::new(sink) as Box<dyn Sink>)
        };
        add(
            opening,
            waiting,
            ("", "store"),
            &Meant::Store(path.to_owned()),
            open,
        )?;
        opening.run = opened;
        Ok(())
    }

    /// An address is that of an `EvSys` gateway.
    fn add_gateway(&self, opening: &mut Opening, waiting: &Waiting, url: &str) -> PyResult<()> {
        let run = self.run_by_id()?;
        let open = || {
            // It is asked over the network.
            let opened = Python::attach(|py| {
                py.detach(|| {
                    let gateway = gateway::open(url)?;
                    StoreSink::over(Box::new(gateway), run.as_str())
                })
            });
            Ok(Box::new(opened.map_err(error::store)?) as Box<dyn Sink>)
        };
        let meant = Meant::Object(gateway_name(url));
        add(opening, waiting, (&run, "store"), &meant, open)?;
        opening.run = Some(run);
        Ok(())
    }

    /// Anything else is an object with `EvSys`'s methods.
    fn add_object(
        &self,
        opening: &mut Opening,
        waiting: &Waiting,
        object: &Object<'py>,
    ) -> PyResult<()> {
        let run = self.run_by_id()?;
        let open = || Ok(Box::new(object.sink(&run, false)?) as Box<dyn Sink>);
        add(opening, waiting, (&run, "store"), &object.meant(), open)?;
        opening.run = Some(run);
        Ok(())
    }

    /// The run of a store in which somebody else has made it.
    fn run_by_id(&self) -> PyResult<String> {
        let run = self.text("run")?.ok_or_else(|| {
            error::option(
                "`run` is missing: a store that is an object or a gateway needs the id of the run",
            )
        })?;
        if self.resume()?.is_some() {
            return Err(error::option(
                "`resume`: expected a store that is a path, found one whose run is that of the id that is given",
            ));
        }
        Ok(run)
    }

    fn resume(&self) -> PyResult<Option<Resume>> {
        let word = self.text("resume")?;
        let resume = word.map(|word| word.parse::<Resume>()).transpose();
        resume.map_err(|error| error::option(format!("`resume`: {error}")))
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
}

/// Adds a sink, called `name` among those of `run` (a store says itself which run that is), behind what rows wait in. A journal in a folder
/// that the caller has named comes before the sink: where it is in use, nothing else is opened or made.
fn add(
    opening: &mut Opening,
    waiting: &Waiting,
    (run, name): (&str, &str),
    meant: &Meant,
    open: impl FnOnce() -> PyResult<Box<dyn Sink>>,
) -> PyResult<()> {
    match waiting {
        Waiting::Nothing => opening.sink(open()?),
        Waiting::Folder(folder) => {
            let folder = folder.join(name);
            let journal = Journal::open(&folder, DurableOptions::default()).map_err(error::sink)?;
            let durable = journal.before(open()?).map_err(error::sink)?;
            if *durable.recovered() != Recovered::default() {
                let found = (folder, durable.recovered().clone());
                opening.recovered.push(found);
            }
            opening.sink(durable);
        }
        Waiting::Shelf(shelf) => {
            let sink = open()?;
            let run = sink.run().unwrap_or(run).to_owned();
            let placed = shelf.before(sink, &run, name, meant).map_err(error::sink)?;
            let (sink, recovered) = placed;
            opening.recovered.extend(recovered);
            opening.sink(sink);
        }
    }
    Ok(())
}

/// A name for a run that nobody has named, and that no store keeps: it sorts by time.
fn made_up() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    format!("{seconds}-{}", process::id())
}
