"""A pytest plugin for the original's own tests: puts ours in the place of its logging functions.

The original is github.com/liv-daliberti/maxent-grpo at 7266e31. GRPO_METRICS_MAXENT_TYPES says whose types its tests get:
`theirs` (beside our functions) or `ours`. Its private names, which its tests call too, stand for what does the same here.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

from grpo_metrics import maxent
from grpo_metrics.maxent import run, samples, steps, trainer

FUNCTIONS = (
    "accumulate_metrics build_training_metrics_dict flush_metric_averages log_local_step log_training_metrics log_training_step "
    "summarize_reward_stats summarize_weight_stats"
).split()
TYPES = [name for name in maxent.__all__ if isinstance(getattr(maxent, name), type)]


def sample_table(prepared: Any, step: int, max_rows: int) -> Any:
    columns, rows = samples.table_of(prepared, step)
    return columns, rows[:max_rows]


def sidecar(*, output_dir: str, table_key: str, step: int, columns: Any, rows: Any) -> str:
    return str(samples.write_file(Path(output_dir), table_key, step, columns, rows))


def log_sample_table(ctx: Any, state: Any, prepared: Any) -> None:
    samples.log_samples(ctx, state.global_step, prepared, main=ctx.runtime.accelerator.is_main_process)


PRIVATE = {
    "_build_sample_table": sample_table,
    "_write_sample_table_sidecar": sidecar,
    "_log_sample_table": log_sample_table,
    "_rich_completion_wandb_enabled": samples.goes_to_wandb,
    "_rich_completion_sync_enabled": samples.synchronizes,
}


class Ours(types.ModuleType):
    """The original's module of logging functions, as ours; what hands rows out is ours under its name, to be replaced by tests."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_emit_metrics":
            steps._log_row = value
        super().__setattr__(name, value)


def put_ours_in_place(of_types: str) -> None:
    """Replaces the original's functions, and its types where `of_types` is `ours`."""
    import maxent_grpo.training as package
    import maxent_grpo.training.metrics as theirs
    import maxent_grpo.training.runtime.logging as runtime
    import maxent_grpo.training.telemetry.trl_logging as telemetry
    import maxent_grpo.training.types as all_types
    import maxent_grpo.training.types.logging
    import maxent_grpo.training.types.rewards
    import maxent_grpo.training.weighting
    import maxent_grpo.training.weighting.types

    ours = Ours("maxent_grpo.training.metrics")
    for name in TYPES:
        kept = getattr(maxent, name) if of_types == "ours" else getattr(theirs, name, getattr(all_types, name, None))
        setattr(ours, name, kept)
    for name in FUNCTIONS:
        setattr(ours, name, getattr(maxent, name))
    for name, function in (PRIVATE | {"_emit_metrics": steps._log_row}).items():
        setattr(ours, name, function)
    sys.modules[ours.__name__] = package.metrics = ours
    telemetry.ensure_weighting_logging = trainer.ensure_weighting_logging
    telemetry._WeightingLogCallback = trainer.Normaliser
    runtime.resolve_run_metadata, runtime.log_run_header = run.resolve_run_metadata, run.log_run_header
    runtime._RUN_META_CACHE = run._known
    if of_types == "ours":
        kinds = maxent_grpo.training.types, maxent_grpo.training.types.logging, maxent_grpo.training.types.rewards
        for module in (*kinds, maxent_grpo.training.weighting, maxent_grpo.training.weighting.types):
            for name in TYPES:
                if hasattr(module, name):
                    setattr(module, name, getattr(maxent, name))
    again = importlib.reload
    importlib.reload = lambda module: module if module is ours else again(module)


if wanted := os.environ.get("GRPO_METRICS_MAXENT_TYPES"):
    put_ours_in_place(wanted)
