//! Which run is written: a new one, or one that is there.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::StoreError;
use super::record::{Run, Stored};

/// The key of a run's configuration under which stands what this crate notes of the run itself.
#[cfg(feature = "sqlite")]
pub(crate) const OURS: &str = "grpo_metrics";

/// The key in it for the options that decide the run's numbers.
#[cfg(feature = "sqlite")]
const OPTIONS: &str = "options";

/// The key in it for what a replayed recording is known by.
#[cfg(feature = "sqlite")]
pub(crate) const RECORDING: &str = "recording";

/// Which run to write, and where it belongs; from a text, the run of that name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunSpec {
    /// The run's name, by which people know it. Several runs may have the same, and each has an id of its own: the first has its name
    /// for one (`seed-0`), the next the name and a number (`seed-0-2`). Empty for a name that is made up, as
    /// `2026-11-21-1402-quiet-heron`.
    pub name: String,
    /// What becomes of the run where one of that name is there already.
    pub resume: Resume,
    /// The id of a run that is gone on with, whatever its name, and that must be there; `None` leaves it to the name.
    pub id: Option<String>,
    /// The experiment's name; the experiment is created if need be. Without one, a new run belongs to `default`, and any run of the
    /// name may be gone on with.
    pub experiment: Option<String>,
    /// The group's name, if the run belongs to one; the group is created if need be.
    pub group: Option<String>,
    /// The run's seed; `None` leaves that of a resumed run as it is.
    pub seed: Option<i64>,
    /// The run's configuration, any JSON; null leaves that of a resumed run as it is.
    pub config: Value,
    /// The options that decide the run's numbers, by name, as `EngineOptions::deciding` gives them. They are kept with the run, which
    /// is not resumed with others. Empty where nobody says: then nothing is held against those of before.
    pub options: Map<String, Value>,
}

impl RunSpec {
    /// The run called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// What becomes of the run where one of its name is there already.
    #[must_use]
    pub fn resume(mut self, resume: Resume) -> Self {
        self.resume = resume;
        self
    }
}

impl<T: Into<String>> From<T> for RunSpec {
    fn from(name: T) -> Self {
        Self::new(name)
    }
}

/// What becomes of a run of a name that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// It is left alone: the new run has an id of its own.
    #[default]
    Never,
    /// The newest of that name is gone on with, if there is one.
    Allow,
    /// The newest of that name is gone on with, and it is an error if there is none.
    Must,
}

impl Resume {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Never, Self::Allow, Self::Must];

    /// The word for it, the same on every surface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Allow => "allow",
            Self::Must => "must",
        }
    }
}

impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Resume {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let found = Self::ALL.into_iter().find(|word| word.as_str() == text);
        found.ok_or_else(|| StoreError::Damaged {
            what: "resume".to_owned(),
            expected: "one of never allow must",
            found: text.to_owned(),
        })
    }
}

/// A run that was opened to be written. It dereferences to the run.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenedRun {
    /// The run as it is stored now.
    pub run: Stored<Run>,
    /// Whether it was there before.
    pub begun: Begun,
}

/// Whether a run that was opened was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is new, and the first of its name.
    New,
    /// It is new, and its id is not its name, as that is another run's.
    Beside {
        /// Its name, which is the other run's id.
        name: String,
    },
    /// It was there.
    Before {
        /// The last step that it had, if it had any.
        last_step: Option<u64>,
    },
}

impl OpenedRun {
    /// The last step that it had when it was resumed, if it was.
    #[must_use]
    pub fn last_step(&self) -> Option<u64> {
        match self.begun {
            Begun::Before { last_step } => last_step,
            _ => None,
        }
    }

    /// What people should know of it, in a line; `None` where it is what they asked for and no more.
    #[must_use]
    pub fn said(&self) -> Option<String> {
        let id = &self.run.id;
        match &self.begun {
            Begun::New => None,
            Begun::Beside { name } => Some(format!(
                "run `{name}` is there already, so this one is `{id}`; with resume `allow` it would go on with the one that is there"
            )),
            Begun::Before {
                last_step: Some(step),
            } => Some(format!("run `{id}` goes on; it has steps up to {step}")),
            Begun::Before { last_step: None } => Some(format!("run `{id}` goes on")),
        }
    }
}

impl OpenedRun {
    /// Tells the log of it: a warning where it is not the run of that name that was there, as nobody may have wanted another.
    pub fn tell(&self) {
        match (&self.begun, self.said()) {
            (Begun::Beside { .. }, Some(said)) => tracing::warn!("{said}"),
            (_, Some(said)) => tracing::info!("{said}"),
            (_, None) => {}
        }
    }
}

impl Deref for OpenedRun {
    type Target = Stored<Run>;

    fn deref(&self) -> &Stored<Run> {
        &self.run
    }
}

/// `config` with `notes` under `key`. A configuration that is no object moves to `config`, so that both are kept.
pub(crate) fn noted(
    config: Value,
    key: &str,
    notes: impl IntoIterator<Item = (String, Value)>,
) -> Value {
    let mut object = match config {
        Value::Object(object) => object,
        Value::Null => Map::new(),
        other => Map::from_iter([("config".to_owned(), other)]),
    };
    let place = object
        .entry(key)
        .or_insert_with(|| Value::Object(Map::new()));
    if !place.is_object() {
        *place = Value::Object(Map::from_iter([(key.to_owned(), place.take())]));
    }
    if let Value::Object(place) = place {
        place.extend(notes);
    }
    object.into()
}

/// `config` with the options that decide the numbers.
#[cfg(feature = "sqlite")]
pub(super) fn with_options(config: Value, options: &Map<String, Value>) -> Value {
    if options.is_empty() {
        return config;
    }
    let options = Value::Object(options.clone());
    noted(config, OURS, [(OPTIONS.to_owned(), options)])
}

/// Where the options that a run was begun with are not these: each with its value then and now. `None` where all are the same, or
/// either side says nothing.
#[cfg(feature = "sqlite")]
pub(crate) fn differing(config: &Value, options: &Map<String, Value>) -> Option<(String, String)> {
    let before = config.get(OURS)?.get(OPTIONS)?.as_object()?;
    if options.is_empty() {
        return None;
    }
    let mut names: Vec<&String> = before.keys().chain(options.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| before.get(*name) != options.get(*name));
    if names.is_empty() {
        return None;
    }
    let listed = |of: &Map<String, Value>| {
        let value = |name: &&String| match of.get(*name) {
            Some(Value::String(word)) => format!("{name} {word}"),
            Some(value) => format!("{name} {value}"),
            None => format!("{name} as by default"),
        };
        names.iter().map(value).collect::<Vec<_>>().join(", ")
    };
    Some((listed(before), listed(options)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn notes_join_whatever_configuration_there_is() {
        let notes = || [("run/git_sha".to_owned(), Value::from("abc"))];
        let cases = [
            (json!(null), json!({"metadata": {"run/git_sha": "abc"}})),
            (
                json!({"lr": 1, "metadata": {"a": "b"}}),
                json!({"lr": 1, "metadata": {"a": "b", "run/git_sha": "abc"}}),
            ),
            (
                json!([1]),
                json!({"config": [1], "metadata": {"run/git_sha": "abc"}}),
            ),
            (
                json!({"metadata": 5}),
                json!({"metadata": {"metadata": 5, "run/git_sha": "abc"}}),
            ),
        ];
        for (config, expected) in cases {
            assert_eq!(noted(config, "metadata", notes()), expected);
        }
    }

    #[test]
    #[cfg(feature = "sqlite")]
    fn options_differ_where_one_was_begun_with_another_value_and_nowhere_where_nobody_said() {
        let options = |value: Value| value.as_object().cloned().unwrap_or_default();
        let trl = options(json!({"dialect": "trl", "logging_steps": 2}));
        let config = with_options(json!({"lr": 1}), &trl);
        assert_eq!(differing(&config, &trl), None);
        assert_eq!(differing(&json!({"lr": 1}), &trl), None);
        assert_eq!(differing(&config, &Map::new()), None);
        let verl = options(json!({"dialect": "verl", "extended": true}));
        let (before, now) = differing(&config, &verl).unwrap();
        assert_eq!(
            before,
            "dialect trl, extended as by default, logging_steps 2"
        );
        assert_eq!(
            now,
            "dialect verl, extended true, logging_steps as by default"
        );
    }
}
