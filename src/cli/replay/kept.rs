//! The run of an earlier replay of the same recording, by what it noted of it.

use serde_json::{Map, Value, json};

use crate::recording::Recording;
use crate::row::run::Status;
use crate::store::{
    OURS, RECORDING, Resume, Run, RunPatch, Sqlite, Store, StoreError, Stored, differing, noted,
};

/// What a recording is known by.
pub(super) struct Print {
    steps: usize,
    /// Of all steps.
    whole: String,
    /// Of all but the last, which may be being written.
    before_last: String,
}

impl Print {
    pub fn of(recording: &Recording) -> Self {
        let steps = recording.steps().count();
        Self {
            steps,
            whole: shown(recording.print(steps)),
            before_last: shown(recording.print(steps.saturating_sub(1))),
        }
    }

    /// As the run's configuration has it.
    fn note(&self) -> Value {
        json!({"steps": self.steps, "print": self.whole, "before_last": self.before_last})
    }

    /// Notes the recording with the run.
    pub fn keep(&self, store: &mut Sqlite, run: &Stored<Run>) -> Result<(), StoreError> {
        let config = run.run_config.clone();
        let patch = RunPatch {
            run_config: Some(noted(config, OURS, [(RECORDING.to_owned(), self.note())])),
            ..RunPatch::default()
        };
        store.update_run(&run.id, &patch).map(drop)
    }

    /// Whether the run holds all of this recording, and no step is left.
    fn is_whole_in(&self, run: &Run) -> bool {
        run.status == Status::Completed && recording_of(run) == Some(&self.note())
    }

    /// Whether the run is of this recording, as it is or as it was when it had fewer steps.
    fn is_of(&self, run: &Run, recording: &Recording) -> bool {
        let Some(noted) = recording_of(run) else {
            return false;
        };
        let steps = noted.get("steps").and_then(Value::as_u64);
        let steps = steps.and_then(|steps| usize::try_from(steps).ok());
        let Some(before) = steps.map(|steps| steps.saturating_sub(1)) else {
            return false;
        };
        before < self.steps
            && noted.get("before_last") == Some(&shown(recording.print(before)).into())
    }
}

fn recording_of(run: &Run) -> Option<&Value> {
    run.run_config.get(OURS)?.get(RECORDING)
}

fn shown(print: u64) -> String {
    format!("{print:016x}")
}

/// What an earlier replay left.
pub(super) enum Kept {
    /// Nothing to go on with. Why not, where a run has the name.
    Nothing(Option<String>),
    /// A run that is to be gone on with.
    Begun(String),
    /// A run that has everything.
    Whole(String),
}

impl Kept {
    /// The run to go on with among those of a name, the newest first: where nobody says which, one of the same recording and with
    /// the same options.
    pub fn find(
        store: &Sqlite,
        name: &str,
        resume: Option<Resume>,
        options: &Map<String, Value>,
        recording: (&Print, &Recording),
    ) -> Result<Self, StoreError> {
        let (print, recording) = recording;
        let mut why = None;
        let mut nearest = None;
        for run in store.runs_named(name)?.into_iter().rev() {
            let other = differing(&run.run_config, options);
            if other.is_none() && resume != Some(Resume::Never) && print.is_whole_in(&run) {
                return Ok(Self::Whole(run.id));
            }
            match (resume, other) {
                (Some(Resume::Never), _) => {}
                (Some(_), _) => return Ok(Self::Begun(run.id)),
                (None, Some((begun, _))) => {
                    why.get_or_insert(format!("run `{}` has {begun}", run.id));
                }
                (None, None) if print.is_of(&run, recording) => return Ok(Self::Begun(run.id)),
                (None, None) => {
                    nearest.get_or_insert(format!("run `{}` is of another recording", run.id));
                }
            }
        }
        Ok(Self::Nothing(nearest.or(why)))
    }
}
