//! The operations by name.

use super::refusal::Refusal;

/// Those that there are.
pub(super) const OPS: [&str; 28] = [
    "create_experiment",
    "update_experiment",
    "create_group",
    "create_run",
    "update_run",
    "touch_run",
    "log_metrics",
    "log_metric",
    "get_metrics",
    "add_checkpoint",
    "create_eval",
    "add_prediction",
    "get_experiment",
    "get_run",
    "list_experiments",
    "list_groups",
    "list_runs",
    "list_checkpoints",
    "list_evals",
    "list_predictions",
    "create_project",
    "get_project",
    "set_goal",
    "list_goals",
    "current_goal",
    "delete_experiment",
    "experiment_summaries",
    "experiment_detail",
];

/// What nobody has needed yet: data sets and benchmarks, and their rows.
fn is_not_there(op: &str) -> bool {
    let of = |kind: &str| {
        let acts = ["create_*", "add_*_rows", "get_*", "list_*s", "get_*_rows"];
        acts.iter().any(|act| act.replace('*', kind) == op)
    };
    of("dataset") || of("benchmark")
}

/// The operation of this name, if it is one.
pub(super) fn known(op: &str) -> Result<&'static str, Refusal> {
    if is_not_there(op) {
        return Err(Refusal::NotThere { op: op.to_owned() });
    }
    let known = OPS.into_iter().find(|known| *known == op);
    known.ok_or_else(|| Refusal::UnknownOp {
        op: super::args::said(op),
        closest: nearest(op, OPS).map_or_else(
            || "no known one is close to it".to_owned(),
            |known| format!("the closest one is `{known}`"),
        ),
    })
}

/// The known name that `name` was probably meant to be. One of a megabyte was meant to be none.
pub(super) fn nearest(
    name: &str,
    known: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    const ALIKE: f64 = 0.6;
    if name.len() > 100 {
        return None;
    }
    let alike = |known: &str| strsim::normalized_damerau_levenshtein(name, known);
    known
        .into_iter()
        .map(|known| (alike(known), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
