//! The journals of all trainings that write to one place, and what those that were killed have left in theirs.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::super::{Sink, SinkError, Target};
use super::journal::{self, JournalError};
use super::preceded::{Before, Leftover, Opener, Preceded};
use super::{Durable, DurableOptions, Journal, Queued, Recovered, notes};

/// Letters of a run's name that its folder is called by at most; what is longer ends in a checksum.
const LONGEST: usize = 120;

/// How the note of an object begins.
const OBJECT: &str = "object:";

/// A folder with a journal for each run and sink: `FOLDER/<run>/<sink>`. A journal lives as long as its training: once everything in it is
/// delivered it is removed, and so is the shelf once it is empty.
///
/// What a killed training left stays until somebody [delivers](Shelf::deliver_left) it. A journal that a living process uses is left to it.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    policy: DurableOptions,
    /// Whether somebody was told that a journal could not be made.
    told: Cell<bool>,
    /// Where the sinks write that journals of this shelf stand before, and what each is to deliver first.
    own: RefCell<Vec<(Option<String>, Before)>>,
}

/// A sink with a journal before it, and that journal with what it held of an earlier process, if it held anything.
pub type Placed = (Box<dyn Sink>, Option<(PathBuf, Recovered)>);

/// Where the rows of a journal were meant to go.
#[derive(Clone, Debug)]
pub enum Meant {
    /// To the embedded store at this path, beside which the shelf is.
    Store(PathBuf),
    /// To a sink that a text names.
    Sink(Target),
    /// To an object of the training's program, known by this name.
    Object(String),
    /// Nobody has noted it.
    Unknown,
}

impl Meant {
    /// Where the rows of the journal in `dir` were meant to go.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        match notes::meant(dir).unwrap_or_default() {
            Some(noted) => match noted.strip_prefix(OBJECT) {
                Some(name) => Self::Object(name.to_owned()),
                None => noted.parse().map_or(Self::Unknown, Self::Sink),
            },
            None => store_of(dir).map_or(Self::Unknown, Self::Store),
        }
    }

    /// As it is noted; what stands beside its store says it by its place.
    fn noted(&self) -> Option<String> {
        match self {
            Self::Sink(target) => {
                let path = std::path::absolute(target.path()).ok()?;
                Some(format!("{}:{}", target.kind().name, path.to_str()?))
            }
            Self::Object(name) => Some(format!("{OBJECT}{name}")),
            Self::Store(_) | Self::Unknown => None,
        }
    }
}

/// The store that the journal in `dir` lies beside, as [`Shelf::beside`] has it.
fn store_of(dir: &Path) -> Option<PathBuf> {
    let shelf = dir.parent()?.parent()?;
    let name = shelf.file_name()?.to_str()?.strip_suffix(".journal")?;
    (!name.is_empty()).then(|| shelf.with_file_name(name))
}

impl Shelf {
    /// The shelf of the embedded store at `store`: `<store>.journal`, beside it.
    #[must_use]
    pub fn beside(store: &Path, policy: DurableOptions) -> Self {
        let mut folder = store.as_os_str().to_owned();
        folder.push(".journal");
        Self::at(folder, policy)
    }

    /// The shelf in `folder`, which need not be there yet.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>, policy: DurableOptions) -> Self {
        Self {
            folder: folder.into(),
            policy,
            told: Cell::new(false),
            own: RefCell::default(),
        }
    }

    /// Puts a journal before `sink`, which is called `name` among those of `run`; what it held of an earlier process of that run, if it
    /// held anything, goes first. Where another process uses the run's journal, or it holds rows that were meant for another place, there
    /// is one beside it. Where the disk refuses a journal, rows wait in memory, and a warning says so, once.
    ///
    /// # Errors
    /// If no thread could be started.
    pub fn before(
        &self,
        sink: Box<dyn Sink>,
        run: &str,
        name: &str,
        meant: &Meant,
    ) -> Result<Placed, SinkError> {
        let (name_behind, own) = (sink.name(), sink.run().map(str::to_owned));
        let taken = self.take(run, name, meant).and_then(|journal| {
            let runs = journal.taken_over(own.as_deref())?;
            Ok((journal.passing(), runs))
        });
        let (sink, before) = Preceded::new(sink);
        self.own.borrow_mut().push((meant.noted(), before));
        let (journal, runs) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                if !self.told.replace(true) {
                    tracing::warn!(
                        "{error}: rows wait in memory instead, and a training that is killed loses those that wait then"
                    );
                }
                return Ok((Box::new(Queued::new(sink)?), None));
            }
        };
        let found = (journal.recovered() != &Recovered::default())
            .then(|| (journal.dir().to_owned(), journal.recovered().clone()));
        Ok((
            Box::new(journal.start(name_behind, Box::new(sink), runs)?),
            found,
        ))
    }

    fn take(&self, run: &str, name: &str, meant: &Meant) -> Result<Journal, SinkError> {
        let noted = meant.noted();
        let mut nth = 1;
        loop {
            let dir = self.folder.join(folder_of(run, nth)).join(name);
            nth += 1;
            let journal = match Journal::found(&dir, self.policy.clone()) {
                Err(SinkError::Journal(JournalError::InUse { .. })) => continue,
                other => other?,
            };
            let is_theirs = journal.recovered().pending > 0
                && notes::meant(&dir).map_err(journal::io_error("read beside", &dir))? != noted;
            if !is_theirs {
                journal.recovered().tell(&dir);
                return journal.meant_for(noted.as_deref());
            }
        }
    }

    /// Finds what trainings that are over have left, and has it delivered by the threads behind the journals that were put before sinks
    /// here: to the same sink where one writes to the same place, else to what `open` gives, or to the sink that is noted. What is found is
    /// said. A journal for which there is nothing stays as it is, and the log says what to do; one that holds nothing is removed; one that a
    /// living process uses is left to it. Where no sink has a journal of this shelf, nobody looks.
    pub fn deliver_left(
        &self,
        mut open: impl FnMut(&Meant, Option<&str>) -> Option<Opener>,
    ) -> Vec<(PathBuf, Recovered)> {
        let mut found = Vec::new();
        if self.own.borrow().is_empty() {
            return found;
        }
        for dir in Durable::found_in(&self.folder) {
            let journal = match Journal::found(&dir, self.policy.clone()) {
                Ok(journal) => journal.passing(),
                Err(SinkError::Journal(JournalError::InUse { .. })) => continue,
                Err(error) => {
                    tracing::warn!("{error}");
                    continue;
                }
            };
            journal.recovered().tell(&dir);
            if journal.recovered() != &Recovered::default() {
                found.push((dir.clone(), journal.recovered().clone()));
            }
            if journal.recovered().pending == 0 {
                journal.remove();
                continue;
            }
            let meant = Meant::of(&dir);
            let run = Durable::run_of(&dir).unwrap_or_default();
            let own = self.own.borrow();
            let noted = meant.noted();
            let same = own
                .iter()
                .find(|(own, _)| noted.is_some() && *own == noted)
                .filter(|_| matches!(meant, Meant::Sink(_)));
            let opener = match (&same, &meant) {
                (Some(_), _) => None,
                (None, Meant::Sink(target)) => {
                    let target = target.clone();
                    Some(Box::new(move || target.open()) as Opener)
                }
                (None, meant) => open(meant, run.as_deref()),
            };
            if let Some((_, before)) = same.or_else(|| own.first().filter(|_| opener.is_some())) {
                before.push(Leftover::new(journal, opener));
            } else {
                tracing::warn!("{}", left_alone(&dir, &meant, run.as_deref()));
            }
        }
        found
    }
}

/// What is to be done about rows that nobody here can deliver.
fn left_alone(dir: &Path, meant: &Meant, run: Option<&str>) -> String {
    let dir = dir.display();
    let of = run.map_or(String::new(), |run| format!(" of run `{run}`"));
    let to = match meant {
        Meant::Object(name) => format!("an object of that training's program ({name})"),
        Meant::Store(path) => format!("the store {}", path.display()),
        Meant::Sink(target) => target.to_string(),
        Meant::Unknown => "a place that is not noted".to_owned(),
    };
    format!(
        "journal {dir}: its rows{of} were meant for {to} and stay there: `grpo-metrics deliver {dir} --jsonl FILE` puts them into a file, and \
         whoever goes on with that run delivers them"
    )
}

impl Durable {
    /// The journals in `folder` and in the folders in those, or the one that it is itself, in order of their paths.
    #[must_use]
    pub fn found_in(folder: &Path) -> Vec<PathBuf> {
        fn look(folder: &Path, depth: u8, found: &mut Vec<PathBuf>) {
            if Durable::is_in(folder) {
                found.push(folder.to_owned());
            } else if depth > 0 {
                for entry in folder.read_dir().into_iter().flatten().flatten() {
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        look(&entry.path(), depth - 1, found);
                    }
                }
            }
        }
        let mut found = Vec::new();
        look(folder, 2, &mut found);
        found.sort();
        found
    }
}

/// What the folder of a run is called: as the run, with every letter in hexadecimal that a path could take amiss. The `nth` of a run has a
/// number behind it.
fn folder_of(run: &str, nth: u32) -> String {
    let mut name = String::new();
    for (at, byte) in run.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if is_plain && (at > 0 || byte != b'.') {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02X}"); // writing to a text cannot fail
        }
    }
    if name.is_empty() {
        name.push('%');
    }
    if name.len() > LONGEST {
        name.truncate(LONGEST);
        let _ = write!(name, "%{:016x}", xxh3_64(run.as_bytes()));
    }
    if nth > 1 {
        let _ = write!(name, "+{nth}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_folder_is_called_as_the_run_and_is_a_folder_whatever_that_is() {
        assert_eq!(
            folder_of("2026-11-21-1402-quiet-heron", 1),
            "2026-11-21-1402-quiet-heron"
        );
        assert_eq!(folder_of("seed-0", 3), "seed-0+3");
        assert_eq!(folder_of("../a b+2", 1), "%2E.%2Fa%20b%2B2");
        assert_eq!(folder_of("", 1), "%");
        let [long, other] = ["a", "b"].map(|end| folder_of(&("ä".repeat(300) + end), 1));
        assert!(long.len() < 200 && long != other, "{long}");
    }

    #[test]
    fn a_place_beside_a_store_is_known_by_where_it_is() {
        let of = |path: &str| match Meant::of(Path::new(path)) {
            Meant::Store(store) => Some(store.display().to_string()),
            _ => None,
        };
        assert_eq!(
            of("/a/runs.db.journal/r/store").as_deref(),
            Some("/a/runs.db")
        );
        assert_eq!(of("runs.db.journal/r/store").as_deref(), Some("runs.db"));
        assert_eq!(of("/a/.grpo-metrics/r/store"), None);
        assert_eq!(of(".journal/r/store"), None);
        assert_eq!(of("store"), None);
    }
}
