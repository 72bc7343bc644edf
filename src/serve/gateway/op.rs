//! The operations by name.

use super::refusal::Refusal;
use super::word::{nearest, said};

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
        op: said(op),
        closest: nearest(op, OPS).map_or_else(
            || "no known one is close to it".to_owned(),
            |known| format!("the closest one is `{known}`"),
        ),
    })
}
