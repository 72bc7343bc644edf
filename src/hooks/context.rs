//! What hooks are told of where the training stands and what it belongs to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

use crate::store::Store;

/// A store that a training and its callbacks share.
pub type SharedStore = Arc<Mutex<dyn Store>>;

/// The ids that a store gave the records of a training: `experiment_id`, `group:<name>` and `run_id`.
///
/// A clone is the same list. A logger that works in the background writes an id when the store has given it, so that a
/// hook may come before the id does.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    own: Arc<Mutex<BTreeMap<String, String>>>,
    /// The experiment's ids, where these are a run's.
    outer: Option<Box<Ids>>,
}

impl Ids {
    /// The id called `name`, if it is known by now.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let own = self.lock().get(name).cloned();
        let outer = self.outer.as_ref().filter(|_| name != RUN_ID);
        own.or_else(|| outer.and_then(|outer| outer.get(name)))
    }

    /// Sets the id called `name`.
    pub fn set(&self, name: impl Into<String>, id: impl Into<String>) {
        self.lock().insert(name.into(), id.into());
    }

    /// Whether both are the same list.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.own, &other.own)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names of the ids of an experiment and of a run.
pub(super) const EXPERIMENT_ID: &str = "experiment_id";
pub(super) const RUN_ID: &str = "run_id";

/// What an experiment's or a run's hooks are told.
///
/// A clone shares `ids` and `store` with its original; a second run begins with [`LogContext::of_run`], whose ids are its own.
#[derive(Clone, Default)]
pub struct LogContext {
    /// The folder that the run writes to; `None` where nobody named one. The ready-made callbacks write nothing there.
    pub output_dir: Option<PathBuf>,
    /// The experiment's configuration. The store logger reads `metadata.name`, `metadata.hypothesis` and `metadata.tags`.
    pub config: Value,
    /// The store that the experiment itself writes to, if it does: a store logger then keeps still.
    pub store: Option<SharedStore>,
    /// What the experiment calls the run; empty in a context that is of no run. No id of a store: that one is in `ids`.
    pub run_key: String,
    /// The run's configuration. The store logger reads `recipe_kind` (else `recipe.kind`) and `seed`.
    pub run_config: Value,
    /// The name of the group that the run belongs to; `None` for a run without one.
    pub group_name: Option<String>,
    /// The ids that the store has given so far.
    pub ids: Ids,
    /// Whatever else callbacks tell each other. The store logger reads `wandb_url`.
    pub extras: Map<String, Value>,
}

impl LogContext {
    /// The context of a run of this experiment: it knows the ids of the experiment and its groups, also those that come
    /// later, and no other run's.
    #[must_use]
    pub fn of_run(&self, run_key: impl Into<String>, run_config: Value) -> Self {
        Self {
            run_key: run_key.into(),
            run_config,
            ids: Ids {
                own: Arc::default(),
                outer: Some(Box::new(self.ids.clone())),
            },
            ..self.clone()
        }
    }
}

impl fmt::Debug for LogContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A configuration may hold what should not be in a log.
        f.debug_struct("LogContext")
            .field("run_key", &self.run_key)
            .field("group_name", &self.group_name)
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

/// Where a training loop stands.
#[derive(Clone, Default)]
pub struct LoopState {
    /// The step that the loop is at: the loop keeps it up to date. A checkpoint that names no step counts as this
    /// one's.
    pub step: u64,
    /// How many steps there will be, if that is known.
    pub num_steps: Option<u64>,
    /// The folder that the loop writes to; `None` where nobody named one. The ready-made callbacks write nothing there.
    pub output_dir: Option<PathBuf>,
    /// The store that the loop logs to, if it has one of its own.
    pub log_store: Option<SharedStore>,
    /// What the loop's run belongs to: its ids, its configuration, its group.
    pub ctx: LogContext,
    stop_requested: bool,
}

impl LoopState {
    /// Before the first step, of a run's context.
    #[must_use]
    pub fn of(ctx: LogContext) -> Self {
        Self {
            ctx,
            ..Self::default()
        }
    }

    /// Asks the loop to end after this step; it looks at [`LoopState::stop_requested`].
    pub fn request_stop(&mut self) {
        self.stop_requested = true;
    }

    /// Whether a callback has asked the loop to end.
    #[must_use]
    pub fn stop_requested(&self) -> bool {
        self.stop_requested
    }
}

impl fmt::Debug for LoopState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopState")
            .field("step", &self.step)
            .field("num_steps", &self.num_steps)
            .field("stop_requested", &self.stop_requested)
            .field("ctx", &self.ctx)
            .finish_non_exhaustive()
    }
}
