//! Whether anything has happened in the store since somebody looked last.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::error::ReadError;
use super::opened::Opened;
use crate::reading::standing;
use crate::row::run::Status;
use crate::store::{Progress, Sqlite, Standing};

/// How the store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Another number whenever a row, a sample or a run was stored, a run was changed or removed, or one stands otherwise than before: one
    /// of which nobody gives a sign any more has stopped, without anything being stored.
    pub state: u64,
    /// When the newest row's step ended, in milliseconds since 1970; `None` where no row says.
    pub newest: Option<i64>,
}

/// Looks at the store again and again, by a connection of its own.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Option<Seen>>);

#[derive(Debug)]
struct Seen {
    store: Sqlite,
    file: u64,
    version: i64,
    progress: Vec<Progress>,
    predictions: i64,
}

impl Watch {
    /// How the store stands now. It is read only where somebody has written to it since.
    pub fn change(&self, opened: &Opened) -> Result<Change, ReadError> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is gone is not held open.
        let last = seen.take();
        let file = opened.file()?;
        let still = last.filter(|seen| seen.file == file);
        let now = if let Some(mut now) = still {
            let version = now.store.data_version()?;
            if version != now.version {
                now.look(version)?;
            }
            now
        } else {
            let (store, file) = opened.connect()?;
            let version = store.data_version()?;
            let mut now = Seen {
                store,
                file,
                version,
                progress: Vec::new(),
                predictions: 0,
            };
            now.look(version)?;
            now
        };
        let change = now.change();
        *seen = Some(now);
        Ok(change)
    }
}

impl Seen {
    fn look(&mut self, version: i64) -> Result<(), ReadError> {
        let store = &self.store;
        (self.progress, self.predictions) = store.at_one_moment(|| {
            Ok::<_, ReadError>((store.progress(None)?, store.newest_prediction()?))
        })?;
        self.version = version;
        Ok(())
    }

    fn change(&self) -> Change {
        let mut hash = DefaultHasher::new();
        (self.file, self.predictions, self.progress.len()).hash(&mut hash);
        for run in &self.progress {
            (run.key, run.written, &run.run.id, &run.run.name).hash(&mut hash);
            (&run.run.tags, &run.run.note, standing(&run.run)).hash(&mut hash);
        }
        Change {
            state: hash.finish(),
            newest: self.progress.iter().filter_map(|run| run.newest).max(),
        }
    }
}

/// The runs that are being written now: those that say so and of which somebody has given a sign.
pub(super) fn live(progress: Vec<Progress>) -> impl Iterator<Item = Progress> {
    let now = SystemTime::now();
    progress
        .into_iter()
        .filter(move |run| run.run.standing(now) == Some(Standing::Noted(Status::Running)))
}
