//! A run by what somebody calls it.

use std::path::Path;

use crate::store::{Sqlite, StoreError};

/// Why there is no such run to read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has no run of this name.
    #[error("{store}: expected a run called `{run}`, found {}", found(.closest.as_deref(), .runs))]
    NoRun {
        /// The store's file.
        store: String,
        /// What was asked for.
        run: String,
        /// The run whose name is most like it, if any is.
        closest: Option<String>,
        /// The ids of all runs, the oldest first.
        runs: Vec<String>,
    },
    /// They have one label.
    #[error("{store}: expected the id of a run, found `{run}`, the name of {}", ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", "))]
    Several {
        /// The store's file.
        store: String,
        /// What was asked for.
        run: String,
        /// The ids of the runs of that name, the oldest first.
        ids: Vec<String>,
    },
}

/// The id of the run that somebody calls `run`: by its id, else by its name.
///
/// # Errors
/// If the store at `path` has none, with the one that is most like it, or several of that name.
pub fn find(store: &Sqlite, path: &Path, run: &str) -> Result<String, FindError> {
    let runs = store.run_labels()?;
    if runs.iter().any(|(id, _)| id == run) {
        return Ok(run.to_owned());
    }
    let named: Vec<String> = runs
        .iter()
        .filter(|(_, name)| name == run)
        .map(|(id, _)| id.clone())
        .collect();
    if let [id] = named.as_slice() {
        return Ok(id.clone());
    }
    let (store, run) = (path.display().to_string(), run.to_owned());
    if !named.is_empty() {
        return Err(FindError::Several {
            store,
            run,
            ids: named,
        });
    }
    let all = runs.iter().flat_map(|(id, name)| [id, name]).cloned();
    let all: Vec<String> = all.filter(|name| !name.is_empty()).collect();
    Err(FindError::NoRun {
        closest: closest(&run, &all),
        store,
        run,
        runs: runs.into_iter().map(|(id, _)| id).collect(),
    })
}

/// The name most like `wanted`, if one is like it at all.
fn closest(wanted: &str, names: &[String]) -> Option<String> {
    let likeness = |name: &str| strsim::jaro_winkler(wanted, name);
    let best = names
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.7).then(|| best.clone())
}

/// What was found instead of a run: the list, kept short.
fn found(closest: Option<&str>, runs: &[String]) -> String {
    const LISTED: usize = 10;
    let Some(last) = runs.last() else {
        return "no runs at all".to_owned();
    };
    let hint = closest.map_or(String::new(), |name| format!(" (did you mean `{name}`?)"));
    if runs.len() == 1 {
        return format!("only `{last}`{hint}");
    }
    let listed: Vec<_> = runs
        .iter()
        .rev()
        .take(LISTED)
        .map(|run| format!("`{run}`"))
        .collect();
    let more = runs.len() - listed.len();
    let more = if more > 0 {
        format!(" and {more} older")
    } else {
        String::new()
    };
    format!("{}{more}{hint}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_brings_the_closest_and_the_list() {
        let runs: Vec<String> = ["trl-2rank", "trl-4rank"].map(str::to_owned).to_vec();
        let error = FindError::NoRun {
            store: "runs.db".to_owned(),
            run: "trl-2rnk".to_owned(),
            closest: closest("trl-2rnk", &runs),
            runs,
        };
        insta::assert_snapshot!(error, @"runs.db: expected a run called `trl-2rnk`, found `trl-4rank`, `trl-2rank` (did you mean `trl-2rank`?)");
        assert_eq!(found(None, &[]), "no runs at all");
    }
}
