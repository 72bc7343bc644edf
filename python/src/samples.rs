//! Samples: completions to read, of every so many steps, to a store, a file and whoever shows tables.
//!
//! Each of them has a queue in memory and a thread of its own, so that no step waits for any of them.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grpo_metrics::Batch;
use grpo_metrics::hooks::samples::{SampleTable, Taker};
use grpo_metrics::sink::{Delivery, Outlet, Queue, Receipt, SinkError};
use grpo_metrics::store::{Sqlite, Store};
use pyo3::prelude::*;
use serde_json::{Map, Value, json};

use crate::error::{self, RefusedError};
use crate::gateway;
use crate::interruption::Noted;

/// Samples that wait for one place at most.
const CAPACITY: u64 = 4096;

/// How long the end of a training waits for them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Samples as they are asked for, and where they go.
pub struct Samples {
    taker: Taker,
    places: Vec<Place>,
}

/// Where samples go.
struct Place {
    queue: Queue<One>,
    /// Whether it was said that there is no room. How many were dropped the receipt says.
    is_full: bool,
}

/// A sample: a row of its step's table.
struct One {
    table: Arc<SampleTable>,
    row: usize,
}

/// What rows of an engine are stored in, for what goes beside them.
pub enum Kept {
    /// An embedded store, by its file.
    File(PathBuf),
    /// A gateway, by its address.
    Gateway(String),
    /// An object with the gateway's methods.
    Object(Py<PyAny>),
}

impl Samples {
    pub fn new(every: u64, at_most: usize, max_bytes: usize) -> Self {
        Self {
            taker: Taker::new(every, at_most, max_bytes),
            places: Vec::new(),
        }
    }

    /// To the store that has the rows of `run`.
    pub fn add_store(&mut self, kept: &Kept, run: String) -> PyResult<()> {
        let open: Open = match kept {
            Kept::File(path) => {
                let path = path.clone();
                Box::new(move || {
                    let store = Sqlite::open(&path).map_err(|error| error.to_string())?;
                    Ok(Box::new(store))
                })
            }
            Kept::Gateway(url) => {
                let url = url.clone();
                Box::new(move || {
                    let store = gateway::open(&url).map_err(|error| error.to_string())?;
                    Ok(Box::new(store))
                })
            }
            Kept::Object(object) => {
                let object = Python::attach(|py| object.clone_ref(py));
                return self.start("samples to the store", ToObject { object, run });
            }
        };
        let store = None;
        self.start("samples to the store", ToStore { open, store, run })
    }

    /// To a file of JSON lines.
    pub fn add_file(&mut self, path: PathBuf) -> PyResult<()> {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|e| error::sink(format!("`file`: {}: {e}", path.display())))?;
        self.start("samples to a file", ToFile { path, file })
    }

    /// To an object's `samples(step, rows)`.
    pub fn add_tables(&mut self, object: Py<PyAny>) -> PyResult<()> {
        self.start("samples to a logger", ToTables { object })
    }

    fn start(&mut self, name: &'static str, outlet: impl Outlet<One> + 'static) -> PyResult<()> {
        let queue = Queue::new(name, CAPACITY);
        queue.start(outlet).map_err(error::sink)?;
        let is_full = false;
        self.places.push(Place { queue, is_full });
        Ok(())
    }

    /// Whether nobody takes them.
    pub fn go_nowhere(&self) -> bool {
        self.places.is_empty()
    }

    pub fn observe(&mut self, batch: &Batch<'_>) {
        self.taker.observe(batch);
    }

    /// The step's samples are on their way.
    pub fn step(&mut self, step: u64) {
        let Some(table) = self.taker.step(step) else {
            return;
        };
        let table = Arc::new(table);
        for place in &mut self.places {
            let table = &table;
            let items = (0..table.len()).map(|row| One {
                table: Arc::clone(table),
                row,
            });
            if let Err(error) = place.queue.push(items)
                && !place.is_full
            {
                place.is_full = true;
                tracing::warn!(
                    step,
                    "{error}; more that are dropped are counted in the receipts"
                );
            }
        }
    }

    /// A step that was not to be has no samples.
    pub fn forget(&mut self) {
        self.taker.forget();
    }

    /// Waits until they are where they go, for a while, or until `deadline`; what became of them, a receipt a place.
    pub fn close(self, deadline: Option<Instant>) -> Vec<Receipt> {
        let left = || deadline.map(|by| by.saturating_duration_since(Instant::now()));
        let places = self.places.iter();
        places
            .map(|place| {
                place
                    .queue
                    .close(left().map_or(PATIENCE, |left| left.min(PATIENCE)))
            })
            .collect()
    }
}

/// What shows tables: an object with `samples(step, rows)`, or a logger, as a sink of it.
pub fn showing(py: Python<'_>, object: Py<PyAny>) -> PyResult<Py<PyAny>> {
    if object.bind(py).hasattr("samples")? {
        return Ok(object);
    }
    let sinks = py.import("grpo_metrics.loggers")?;
    let sink = sinks.call_method1("LoggerSink", (object,)).noted();
    let sink = sink.map_err(|raised| error::option(format!("`to`: {}", raised.value(py))))?;
    Ok(sink.unbind())
}

/// Samples of one step go together.
fn together(items: &[One]) -> usize {
    let Some(first) = items.first() else {
        return 0;
    };
    let same = |item: &&One| Arc::ptr_eq(&item.table, &first.table);
    items.iter().take_while(same).count().max(1)
}

/// Of what a table comes to, what these rows have.
fn rows<T>(items: &[One], all: impl FnOnce(&SampleTable) -> Vec<T>) -> Vec<T> {
    let Some(first) = items.first() else {
        return Vec::new();
    };
    let wanted: Vec<usize> = items.iter().map(|item| item.row).collect();
    let all = all(&first.table).into_iter().enumerate();
    all.filter(|(row, _)| wanted.contains(row))
        .map(|(_, one)| one)
        .collect()
}

/// The samples of a table, each as a line of JSON, its members in the order of the table's columns.
fn objects(table: &SampleTable) -> Vec<String> {
    let columns = table.table("").columns;
    let line = |object: &Map<String, Value>| {
        let named = columns.iter().map(String::as_str).chain(["length"]);
        let members = named.filter_map(|name| Some((Value::from(name), object.get(name)?)));
        let members: Vec<String> = members
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        format!("{{{}}}\n", members.join(","))
    };
    table.objects().iter().map(line).collect()
}

fn delivered(items: &[One], act: impl FnMut(&[One]) -> Result<(), SinkError>) -> Delivery {
    Delivery::of(items, together, act)
}

type Open = Box<dyn FnMut() -> Result<Box<dyn Store>, String> + Send>;

struct ToStore {
    open: Open,
    /// Opened at the first need.
    store: Option<Box<dyn Store>>,
    run: String,
}

impl Outlet<One> for ToStore {
    fn name(&self) -> &'static str {
        "samples"
    }

    fn take(&mut self, items: &[One]) -> Delivery {
        delivered(items, |items| {
            let store = match &mut self.store {
                Some(store) => store,
                none => none.insert((self.open)().map_err(SinkError::other)?),
            };
            let predictions = rows(items, |table| table.predictions(&self.run));
            Ok(store.log_predictions(&predictions).map(drop)?)
        })
    }
}

struct ToFile {
    path: PathBuf,
    file: File,
}

impl Outlet<One> for ToFile {
    fn name(&self) -> &'static str {
        "samples"
    }

    fn take(&mut self, items: &[One]) -> Delivery {
        delivered(items, |items| {
            let text = rows(items, objects).concat();
            self.file
                .write_all(text.as_bytes())
                .map_err(|source| SinkError::Io {
                    sink: "samples",
                    act: "write to",
                    target: self.path.display().to_string(),
                    source,
                })
        })
    }
}

struct ToTables {
    object: Py<PyAny>,
}

impl Outlet<One> for ToTables {
    fn name(&self) -> &'static str {
        "samples"
    }

    fn take(&mut self, items: &[One]) -> Delivery {
        delivered(items, |items| {
            let step = items.first().map_or(0, |item| item.table.step);
            let told = format!("[{}]", rows(items, objects).join(","));
            // Who shows tables has no way to say that another time would do.
            called(|py| {
                let rows = py.import("json")?.call_method1("loads", (told,))?;
                self.object
                    .call_method1(py, "samples", (step, rows))
                    .map(drop)
            })
            .map_err(|raised| SinkError::refused(raised.0))
        })
    }
}

struct ToObject {
    object: Py<PyAny>,
    run: String,
}

impl Outlet<One> for ToObject {
    fn name(&self) -> &'static str {
        "samples"
    }

    fn take(&mut self, items: &[One]) -> Delivery {
        delivered(items, |items| {
            let told = json!(rows(items, |table| table.predictions(&self.run)));
            let outcome = called(|py| {
                let rows = py
                    .import("json")?
                    .call_method1("loads", (told.to_string(),))?;
                self.object
                    .call_method1(py, "log_predictions", (rows,))
                    .map(drop)
            });
            outcome.map_err(|(said, is_final)| {
                if is_final {
                    SinkError::refused(said)
                } else {
                    SinkError::other(said)
                }
            })
        })
    }
}

/// Calls Python; where that raises, what it said, and whether it would whenever it was called.
fn called(call: impl FnOnce(Python<'_>) -> PyResult<()>) -> Result<(), (String, bool)> {
    let done = Python::try_attach(|py| {
        call(py).noted().map_err(|raised| {
            let is_final = raised.is_instance_of::<RefusedError>(py)
                || raised.is_instance_of::<pyo3::exceptions::PyTypeError>(py)
                || raised.is_instance_of::<pyo3::exceptions::PyAttributeError>(py);
            (raised.to_string(), is_final)
        })
    });
    done.unwrap_or_else(|| Err(("the interpreter has ended".to_owned(), true)))
}
