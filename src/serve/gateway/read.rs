//! What a request reads.

use std::io::Write;

use serde::Serialize;
use serde_json::Value;

use super::args::Args;
use super::record::{Record, loose_row, row};
use super::refusal::Refusal;
use super::row::Number;
use crate::row::run::Status;
use crate::store::{Experiment, Split, Sqlite, Store, StoreError, Stored};

/// A question.
#[derive(Debug)]
pub(super) enum Read {
    Metrics {
        run_id: String,
        name: Option<String>,
        split: Option<Split>,
    },
    Experiment {
        experiment_id: String,
    },
    Run {
        run_id: String,
    },
    Experiments(Which),
    Groups {
        experiment_id: String,
    },
    Runs {
        experiment_id: Option<String>,
        group_id: Option<String>,
    },
    Checkpoints {
        run_id: String,
    },
    Evals {
        run_id: String,
    },
    Predictions {
        run_id: String,
        kind: Option<String>,
    },
    Project {
        project_id: String,
    },
    Projects,
    Goals {
        project_id: String,
    },
    CurrentGoal {
        project_id: String,
    },
    Summaries(Which),
    Detail {
        experiment_id: String,
        metrics: bool,
    },
}

/// Which experiments are meant.
#[derive(Debug)]
pub(super) struct Which {
    project_id: Option<String>,
    /// Only those that did not fail and were not cancelled.
    valid_only: bool,
}

impl Which {
    fn of(args: &mut Args) -> Result<Self, Refusal> {
        Ok(Self {
            project_id: args.word("project_id")?,
            valid_only: args.flag("valid_only")?.unwrap_or_default(),
        })
    }

    fn has(&self, experiment: &Experiment) -> bool {
        let project = self.project_id.as_ref();
        let failed = matches!(experiment.status, Status::Failed | Status::Cancelled);
        project.is_none_or(|id| experiment.project_id.as_ref() == Some(id))
            && !(self.valid_only && failed)
    }
}

impl Read {
    /// The question that `op` is; `None` where it is none.
    pub fn of(op: &'static str, args: &mut Args) -> Result<Option<Self>, Refusal> {
        Ok(Some(match op {
            "get_metrics" => Self::Metrics {
                run_id: args.needed_text("run_id")?,
                name: args.text("name")?,
                split: args.split("split")?,
            },
            "get_experiment" => Self::Experiment {
                experiment_id: args.needed_text("experiment_id")?,
            },
            "get_run" => Self::Run {
                run_id: args.needed_text("run_id")?,
            },
            "list_experiments" => Self::Experiments(Which::of(args)?),
            "list_groups" => Self::Groups {
                experiment_id: args.needed_text("experiment_id")?,
            },
            "list_runs" => Self::Runs {
                experiment_id: args.text("experiment_id")?,
                group_id: args.text("group_id")?,
            },
            "list_checkpoints" => Self::Checkpoints {
                run_id: args.needed_text("run_id")?,
            },
            "list_evals" => Self::Evals {
                run_id: args.needed_text("run_id")?,
            },
            "list_predictions" => Self::Predictions {
                run_id: args.needed_text("run_id")?,
                kind: args.text("kind")?,
            },
            "get_project" => Self::Project {
                project_id: args.needed_text("project_id")?,
            },
            "list_projects" => Self::Projects,
            "list_goals" => Self::Goals {
                project_id: args.needed_text("project_id")?,
            },
            "current_goal" => Self::CurrentGoal {
                project_id: args.needed_text("project_id")?,
            },
            "experiment_summaries" => Self::Summaries(Which::of(args)?),
            "experiment_detail" => Self::Detail {
                experiment_id: args.needed_text("experiment_id")?,
                metrics: args.flag("include_metrics")?.unwrap_or_default(),
            },
            _ => return Ok(None),
        }))
    }

    /// The names of its arguments.
    pub fn known(&self) -> &'static [&'static str] {
        match self {
            Self::Metrics { .. } => &["run_id", "name", "split"],
            Self::Experiment { .. } | Self::Groups { .. } => &["experiment_id"],
            Self::Run { .. } | Self::Checkpoints { .. } | Self::Evals { .. } => &["run_id"],
            Self::Experiments(_) | Self::Summaries(_) => &["project_id", "valid_only"],
            Self::Runs { .. } => &["experiment_id", "group_id"],
            Self::Predictions { .. } => &["run_id", "kind"],
            Self::Project { .. } | Self::Goals { .. } | Self::CurrentGoal { .. } => &["project_id"],
            Self::Projects => &[],
            Self::Detail { .. } => &["experiment_id", "include_metrics"],
        }
    }

    /// Writes the whole answer. That nobody reads it any more is no error.
    pub fn tell(&self, store: &Sqlite, to: &mut impl Write) -> Result<(), StoreError> {
        let mut telling = Telling {
            store,
            to,
            gone: false,
        };
        telling.text("{\"result\":");
        self.told(&mut telling)?;
        telling.text("}");
        Ok(())
    }

    fn told<W: Write>(&self, to: &mut Telling<'_, W>) -> Result<(), StoreError> {
        let store = to.store;
        match self {
            Self::Metrics {
                run_id,
                name,
                split,
            } => to.metrics(run_id, name.as_deref(), *split)?,
            Self::Experiment { experiment_id } => to.one(store.get_experiment(experiment_id))?,
            Self::Run { run_id } => to.one(store.get_run(run_id))?,
            Self::Experiments(which) => {
                let mut all = store.list_experiments()?;
                all.retain(|experiment| which.has(experiment));
                to.list(&all)?;
            }
            Self::Groups { experiment_id } => to.list(&store.list_groups(experiment_id)?)?,
            Self::Runs {
                experiment_id,
                group_id,
            } => {
                let runs = store.list_runs(experiment_id.as_deref(), group_id.as_deref())?;
                to.list(&runs)?;
            }
            Self::Checkpoints { run_id } => to.list(&store.list_checkpoints(run_id)?)?,
            Self::Evals { run_id } => to.list(&store.list_evals(run_id)?)?,
            Self::Predictions { run_id, kind } => to.predictions(run_id, kind.as_deref())?,
            Self::Project { project_id } => {
                let mut all = store.loose("projects")?.into_iter();
                let found = all.find(|project| project.id == *project_id);
                to.value(&found.map(loose_row));
            }
            Self::Projects => {
                let all = store.loose("projects")?;
                let rows: Vec<Value> = all.into_iter().map(loose_row).collect();
                to.value(&rows);
            }
            Self::Goals { project_id } => to.value(&goals(store, project_id)?),
            Self::CurrentGoal { project_id } => to.value(&goals(store, project_id)?.pop()),
            Self::Summaries(which) => to.summaries(which)?,
            Self::Detail {
                experiment_id,
                metrics,
            } => to.detail(experiment_id, *metrics)?,
        }
        Ok(())
    }
}

fn goals(store: &Sqlite, project_id: &str) -> Result<Vec<Value>, StoreError> {
    let rows = store.loose("goals")?.into_iter().map(loose_row);
    Ok(rows.filter(|row| row["project_id"] == project_id).collect())
}

/// An answer on its way.
struct Telling<'a, W> {
    store: &'a Sqlite,
    to: &'a mut W,
    /// Whether nobody reads it any more.
    gone: bool,
}

impl<W: Write> Telling<'_, W> {
    fn text(&mut self, text: &str) {
        if !self.gone {
            self.gone = self.to.write_all(text.as_bytes()).is_err();
        }
    }

    fn value(&mut self, value: &impl Serialize) {
        if !self.gone {
            self.gone = serde_json::to_writer(&mut *self.to, value).is_err();
        }
    }

    /// The record that was asked for, or null.
    fn one<T: Record>(&mut self, found: Result<Stored<T>, StoreError>) -> Result<(), StoreError> {
        match found {
            Ok(found) => self.value(&row(self.store, &found)?),
            Err(StoreError::Unknown { .. }) => self.value(&Value::Null),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn list<T: Record>(&mut self, records: &[Stored<T>]) -> Result<(), StoreError> {
        self.each(records, |telling, record| {
            telling.value(&row(telling.store, record)?);
            Ok(())
        })
    }

    /// A list, an item at a time.
    fn each<T>(
        &mut self,
        items: &[T],
        mut tell: impl FnMut(&mut Self, &T) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.text("[");
        for (at, item) in items.iter().enumerate() {
            self.text(if at > 0 { "," } else { "" });
            tell(self, item)?;
        }
        self.text("]");
        Ok(())
    }

    fn metrics(
        &mut self,
        run_id: &str,
        name: Option<&str>,
        split: Option<Split>,
    ) -> Result<(), StoreError> {
        self.text("[");
        let (store, mut before) = (self.store, "");
        store.each_metric(run_id, name, split, |step, name, value, split| {
            self.text(before);
            before = ",";
            self.value(&Number {
                run_id,
                step,
                name,
                value,
                split,
            });
            !self.gone
        })?;
        self.text("]");
        Ok(())
    }

    fn predictions(&mut self, run_id: &str, kind: Option<&str>) -> Result<(), StoreError> {
        self.text("[");
        let (store, mut before, mut outcome) = (self.store, "", Ok(()));
        store.each_prediction(run_id, kind, |prediction| {
            self.text(before);
            before = ",";
            match row(store, &prediction) {
                Ok(row) => self.value(&row),
                Err(error) => outcome = Err(error),
            }
            outcome.is_ok() && !self.gone
        })?;
        self.text("]");
        outcome
    }

    /// Experiments with how many groups and runs they have.
    fn summaries(&mut self, which: &Which) -> Result<(), StoreError> {
        let mut all = self.store.list_experiments()?;
        all.retain(|experiment| which.has(experiment));
        let runs = self.store.list_runs(None, None)?;
        self.each(&all, |telling, experiment| {
            let groups = telling.store.list_groups(&experiment.id)?;
            let runs = runs.iter().filter(|run| run.experiment_id == experiment.id);
            let mut row = row(telling.store, experiment)?;
            row["group_count"] = groups.len().into();
            row["run_count"] = runs.count().into();
            telling.value(&row);
            Ok(())
        })
    }

    /// The experiment with its groups and runs, and of each run what belongs to it.
    fn detail(&mut self, experiment_id: &str, metrics: bool) -> Result<(), StoreError> {
        let found = match self.store.get_experiment(experiment_id) {
            Ok(found) => row(self.store, &found)?,
            Err(StoreError::Unknown { .. }) => {
                self.value(&Value::Null);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.opened(&found);
        self.text(",\"groups\":");
        self.list(&self.store.list_groups(experiment_id)?)?;
        self.text(",\"runs\":");
        let runs = self.store.list_runs(Some(experiment_id), None)?;
        self.each(&runs, |telling, run| {
            let store = telling.store;
            telling.opened(&row(store, run)?);
            telling.text(",\"checkpoints\":");
            telling.list(&store.list_checkpoints(&run.id)?)?;
            telling.text(",\"evals\":");
            telling.list(&store.list_evals(&run.id)?)?;
            if metrics {
                telling.text(",\"metrics\":");
                telling.metrics(&run.id, None, None)?;
            }
            telling.text("}");
            Ok(())
        })?;
        self.text("}");
        Ok(())
    }

    /// An object without its end.
    fn opened(&mut self, object: &Value) {
        let text = object.to_string();
        self.text(text.strip_suffix('}').unwrap_or(&text));
    }
}
