//! What `store` is, of Python's engine.

use std::path::{PathBuf, absolute};

use grpo_metrics::sink::{Meant, Opener, Sink, SinkError};
use grpo_metrics::store::{Sqlite, Store, StoreError, StoreSink};
use pyo3::prelude::*;

use crate::gateway;
use crate::interruption::Noted;
use crate::samples::Kept;
use crate::sink::PythonSink;

/// What `store` is.
pub enum Given<'py> {
    /// The path of an embedded store.
    Path(PathBuf),
    /// A gateway's address.
    Gateway(String),
    Object(Object<'py>),
}

impl<'py> Given<'py> {
    pub fn of(store: &Bound<'py, PyAny>) -> PyResult<Self> {
        let text: Option<String> = store.extract().ok();
        if let Some(url) = text.as_deref().and_then(gateway::address) {
            return Ok(Self::Gateway(url));
        }
        match store.extract::<PathBuf>().noted() {
            Ok(path) => Ok(Self::Path(path)),
            Err(_) => Object::of(store).map(Self::Object),
        }
    }

    /// The file that it is, where it is one.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Path(path) => Some(path),
            Self::Gateway(_) => None,
            Self::Object(object) => object.path.as_ref(),
        }
    }

    pub fn kept(&self) -> Kept {
        match self {
            // Wherever the process goes from here.
            Self::Path(path) => Kept::File(absolute(path).unwrap_or_else(|_| path.clone())),
            Self::Gateway(url) => Kept::Gateway(url.clone()),
            Self::Object(object) => Kept::Object(object.store.clone().unbind()),
        }
    }
}

/// What a gateway is called in the notes of its journals. An address may name a user with a password, which is not to be remembered.
pub fn gateway_name(url: &str) -> String {
    let place = url.rsplit_once('@').map_or(url, |(_, place)| place);
    format!("the gateway at {place}")
}

/// A store that is an object.
pub struct Object<'py> {
    store: Bound<'py, PyAny>,
    /// What tells it from others, also in the next process.
    name: String,
    /// The file that it is, where it is a store of ours.
    path: Option<PathBuf>,
}

impl<'py> Object<'py> {
    fn of(store: &Bound<'py, PyAny>) -> PyResult<Self> {
        let module = store.py().import("grpo_metrics._objects")?;
        let path: Option<PathBuf> = module.call_method1("place_of", (store,))?.extract()?;
        Ok(Self {
            name: module.call_method1("name_of", (store,))?.extract()?,
            store: store.clone(),
            path,
        })
    }

    /// Writes the rows of `run`; where the run is over and only its rows come, that stays as it stands.
    pub fn sink(&self, run: &str, comes_after: bool) -> PyResult<PythonSink> {
        let module = self.store.py().import("grpo_metrics._objects")?;
        let sink = module.call_method1("StoreSink", (&self.store, run, comes_after))?;
        Ok(PythonSink::over(&sink).of_run(run.to_owned()))
    }

    pub fn meant(&self) -> Meant {
        match &self.path {
            Some(path) => Meant::Store(path.clone()),
            None => Meant::Object(self.name.clone()),
        }
    }
}

/// What the rows go to that an earlier training left for a store, of the run that it wrote.
pub fn opener(meant: &Meant, run: &str, store: Option<&Given<'_>>) -> Option<Opener> {
    match (meant, store) {
        (Meant::Store(path), _) => {
            let path = path.clone();
            Some(after(run, move || Ok(Box::new(Sqlite::open(path)?))))
        }
        (Meant::Object(name), Some(Given::Gateway(url))) if *name == gateway_name(url) => {
            let url = url.clone();
            Some(after(run, move || Ok(Box::new(gateway::open(&url)?))))
        }
        (Meant::Object(name), Some(Given::Object(object))) if *name == object.name => {
            let sink = object.sink(run, true).noted().ok()?;
            Some(Box::new(move || Ok(Box::new(sink) as Box<dyn Sink>)))
        }
        _ => None,
    }
}

/// What writes the rows of a run that is over to a store.
fn after(
    run: &str,
    open: impl FnOnce() -> Result<Box<dyn Store>, StoreError> + Send + 'static,
) -> Opener {
    let run = run.to_owned();
    Box::new(move || {
        let refused = |error| SinkError::refused(format!("{error}"));
        let sink = StoreSink::after(open().map_err(refused)?, run).map_err(refused)?;
        Ok(Box::new(sink) as Box<dyn Sink>)
    })
}
