"""What a run says of itself in texts: its code's commit, its recipe and its method (METRICS.md, "Run metadata")."""

from __future__ import annotations

import logging
import os
import subprocess
from typing import Any

from .reading import get

_log = logging.getLogger("grpo_metrics")
_NAMES = ("git_sha", "recipe_path", "method_name", "method_family", "method_backend", "method_slug")
_known: dict[str, str] = {}

_FAMILIES = {
    "grpo": "GRPO",
    "grpo_entropy_bonus": "GRPO + entropy bonus",
    "seed_grpo": "SEED-GRPO",
    "maxent_entropy": "Entropy MaxEnt",
    "maxent_listwise": "Listwise MaxEnt",
}
_OBJECTIVES = {
    "baseline": "grpo",
    "grpo_native": "grpo",
    "entropy_bonus": "grpo_entropy_bonus",
    "maxent": "maxent_entropy",
    "entropy": "maxent_entropy",
    "listwise": "maxent_listwise",
}
_BACKENDS = {"grpo": "GRPO", "bnpo": "BNPO", "dr_grpo": "Dr.GRPO"}
_LOSS_TYPES = {"default": "bnpo", "native": "grpo", "dr": "dr_grpo", "drgrpo": "dr_grpo", "dr-grpo": "dr_grpo"}


def resolve_run_metadata(training_args: Any = None) -> dict[str, str]:
    """The texts of this process's run under `run/...`, "unknown" where not known; always the same dictionary.

    `training_args` may have `recipe_path`, `objective`, `grpo_loss_type` (else `loss_type`) and `seed_grpo_enabled`. What a call
    finds stays known to those after it. The commit is looked for once: MAXENT_GIT_SHA, else git in the current folder.
    """
    if not _known:
        _known.update({f"run/{name}": "unknown" for name in _NAMES})
        _known["run/git_sha"] = os.environ.get("MAXENT_GIT_SHA") or _head() or "unknown"
    recipe = get(training_args, "recipe_path") or os.environ.get("GRPO_RECIPE_USED") or os.environ.get("GRPO_RECIPE")
    if recipe:
        _known["run/recipe_path"] = str(recipe)
    if training_args is not None:
        _known.update(_method(training_args))
    return _known


def log_run_header(training_args: Any = None) -> dict[str, str]:
    """Says in the log, at INFO, what run this is, and gives its texts."""
    texts = resolve_run_metadata(training_args)
    _log.info("Run metadata | %s", " | ".join(f"{key.removeprefix('run/')}={text}" for key, text in texts.items()))
    return texts


def _head() -> str | None:
    """The commit that the current folder stands on, if git knows one."""
    try:
        said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True, timeout=10)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return said.stdout.strip() or None


def _method(args: Any) -> dict[str, str]:
    """The method by its objective and its loss; nothing where there is no objective, or one that is not known."""
    objective = str(get(args, "objective") or "").strip().lower()
    family = _OBJECTIVES.get(objective, objective)
    loss = str(get(args, "grpo_loss_type") or get(args, "loss_type") or "bnpo").strip().lower()
    backend = _LOSS_TYPES.get(loss, loss)
    if family not in _FAMILIES or backend not in _BACKENDS:
        return {}
    if family == "grpo" and str(get(args, "seed_grpo_enabled") or "").strip().lower() in ("1", "true", "t", "yes", "y", "on"):
        family = "seed_grpo"
    plain = {"grpo": "GRPO", "dr_grpo": "Dr.GRPO"} if family == "grpo" else {}
    name = plain.get(backend, f"{_FAMILIES[family]} ({_BACKENDS[backend]} loss)")
    return {
        "run/method_name": name,
        "run/method_family": family,
        "run/method_backend": backend,
        "run/method_slug": f"{family}__{backend}",
    }
