"""The steps of a training: each is added to the running averages, and some are logged.

Of several ranks every one calls these functions; the main process has the numbers and the rows. What fails is a warning, and
no rank is left alone in a gather or at the barrier.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from .._core import OptionError, _accumulate, _kept
from .payload import build_training_metrics_dict, numbers_of, payload_of
from .reading import epoch_of, get, number, value_of
from .run import resolve_run_metadata
from .samples import log_samples, wants_samples
from .statistics import gathered, part_of

_log = logging.getLogger("grpo_metrics")
_STEP, _EPOCH = "train/global_step", "train/epoch"
_LAST = frozenset((_STEP, _EPOCH))


def accumulate_metrics(state: Any, metrics: Mapping[str, Any]) -> None:
    """Adds a step's numbers to the running averages; those that say which step it is, and what is no finite number, stay out."""
    _accumulate(state.metric_sums, state.metric_counts, metrics if type(metrics) is dict else dict(metrics), _LAST)


def flush_metric_averages(state: Any) -> dict[str, float]:
    """The averages since the last flush, which begin anew; empty where nothing was added."""
    averages = {key: total / max(state.metric_counts.get(key, 1), 1) for key, total in state.metric_sums.items()}
    state.metric_sums.clear()
    state.metric_counts.clear()
    return averages


def log_training_metrics(logging_cfg: Any, global_step: int, payload: Any) -> dict[str, Any]:
    """Names a payload's numbers, hands them to `logging_cfg.log_metrics` and flushes its writer; what was logged."""
    metrics = build_training_metrics_dict(payload, global_step)
    _told(global_step, lambda: logging_cfg.log_metrics(metrics, global_step))
    flush = get(get(logging_cfg, "metric_writer"), "flush")
    if callable(flush):
        _told(global_step, flush)
    return metrics


def log_local_step(
    ctx: Any,
    state: Any,
    prepared: Any,
    log_artifacts: Any,
    current_lr: float,
    *,
    reward_view: Any = None,
    weight_view: Any = None,
    emit: bool = True,
) -> None:
    """Adds this step to the running averages of the main process. Every rank calls it: it gathers, unless it has both views.

    With `log_like_grpo` the numbers are of the main process's completions alone, and it also logs the averages where a row is
    due, unless `emit` is false.
    """
    local = _is_local(ctx)
    metrics = _step_of(ctx, state, prepared, log_artifacts, current_lr, reward_view, weight_view)

    def add() -> None:
        # How many steps the averages are over, on every rank: it decides whether `log_training_step` has to gather.
        state.metric_counts[_STEP] = state.metric_counts.get(_STEP, 0) + 1
        if metrics is not None:
            accumulate_metrics(state, metrics)

    _told(_at(state), add)
    if local and emit and _is_logged(ctx, state, log_artifacts):
        averages = _flushed(state)
        _log_row(ctx, state, prepared, None if metrics is None else resolve_run_metadata() | metrics | averages)


def log_training_step(
    ctx: Any,
    state: Any,
    prepared: Any,
    log_artifacts: Any,
    current_lr: float,
    *,
    reward_view: Any = None,
    weight_view: Any = None,
) -> None:
    """Logs the averages since the last row where one is due, on the main process; without averages the step's own numbers.

    Every rank calls it. It gathers only where no step was added since the last row. With `log_like_grpo` it does nothing, for
    `log_local_step` has logged.
    """
    if _is_local(ctx) or not _is_logged(ctx, state, log_artifacts):
        return
    row: dict[str, Any] | None
    if get(state, "metric_counts"):
        row = _flushed(state)
        step = number(_at(state)) or 0.0
        epoch = number(get(log_artifacts, "epoch_progress"))
        schedule = get(get(ctx, "optimization"), "schedule")
        row |= {_STEP: step, _EPOCH: epoch_of(schedule, step) if epoch is None else epoch}
    else:
        row = _step_of(ctx, state, prepared, log_artifacts, current_lr, reward_view, weight_view)
        row = None if row is None else resolve_run_metadata() | row
    _log_row(ctx, state, prepared, row if _is_main(ctx) else None)


def _step_of(
    ctx: Any, state: Any, prepared: Any, artifacts: Any, current_lr: float, reward_view: Any, weight_view: Any
) -> dict[str, Any] | None:
    """The step's numbers on the main process; `None` on the others, which have given their part, and where it failed."""
    local, parts = _is_local(ctx), []
    if local:
        reward_view = weight_view = None
        if not _is_main(ctx):
            return None
    if reward_view is None or weight_view is None:
        rewards = get(prepared, "reward_comp") if reward_view is None else None
        weights = get(prepared, "weight_stats") if weight_view is None else None
        parts = gathered(get(get(ctx, "runtime"), "accelerator"), part_of(rewards=rewards, weights=weights), local=local)
    if not _is_main(ctx):
        return None
    try:
        payload = payload_of(ctx, state, prepared, artifacts, current_lr, reward_view, weight_view)
        return numbers_of(payload, _at(state), parts)
    except Exception as error:
        _log.warning("step %s: its numbers could not be had: %s: %s", _at(state), type(error).__name__, error)
        return None


def _flushed(state: Any) -> dict[str, Any]:
    try:
        return dict(flush_metric_averages(state))
    except Exception as error:
        _log.warning("step %s: the averages could not be had: %s: %s", _at(state), type(error).__name__, error)
        return {}


def _log_row(ctx: Any, state: Any, prepared: Any, row: dict[str, Any] | None) -> None:
    """Hands the row of the main process to the writer, to W&B and to accelerate's trackers; then the samples, on every rank."""
    step = _at(state)
    if row:
        kept = _in_mode(row)
        handles, accelerator = get(ctx, "logging"), get(get(ctx, "runtime"), "accelerator")

        def write() -> None:
            with handles.step_logger(step, enabled=True) as logger:
                log = get(logger, "log")
                if callable(log):
                    log(dict(kept))
                else:
                    handles.log_metrics(dict(kept), step)

        def track() -> None:
            try:
                accelerator.log(dict(kept), step=step)
            except TypeError:  # it takes no step
                accelerator.log(dict(kept))

        _told(step, write)
        if (run := get(handles, "wandb_run")) is not None:
            _told(step, lambda: run.log(dict(kept), step=step))
        if callable(get(accelerator, "log")):
            _told(step, track)
    weighting = get(get(ctx, "scoring"), "weighting")
    if weighting is not None:
        _told(step, lambda: _remember(weighting, step))
    if wants_samples(get(ctx, "training_args")):
        log_samples(ctx, step, prepared, main=_is_main(ctx))


def _remember(weighting: Any, step: Any) -> None:
    """What the next row's `train/delta_*` are told from."""
    weighting._prev_tau, weighting._prev_beta = value_of(get(weighting, "tau")), value_of(get(weighting, "beta"))
    weighting._prev_step = step


def _in_mode(row: dict[str, Any]) -> dict[str, Any]:
    try:
        return _kept(row)
    except OptionError as error:  # a word that is no mode
        _log.warning("every metric is logged: %s", error)
        return row


def _told(step: Any, call: Callable[[], Any]) -> None:
    """Makes the call; where it fails, the log says so."""
    try:
        call()
    except Exception as error:  # a metric must not end a training
        _log.warning("step %s could not be logged: %s: %s", step, type(error).__name__, error)


def _at(state: Any) -> Any:
    return get(state, "global_step")


def _is_main(ctx: Any) -> bool:
    return get(get(get(ctx, "runtime"), "accelerator"), "is_main_process") is not False


def _is_local(ctx: Any) -> bool:
    return bool(get(get(ctx, "training_args"), "log_like_grpo"))


def _is_logged(ctx: Any, state: Any, artifacts: Any) -> bool:
    """Whether this step has a row (METRICS.md, "Windows and cadence"): the same on every rank."""
    args, step = get(ctx, "training_args"), number(_at(state)) or 0.0
    strategy = str(get(args, "logging_strategy") or "steps").lower().rsplit(".", 1)[-1]
    if strategy in ("no", "none", "off"):
        return False
    if strategy in ("epoch", "epochs"):
        reported = number(get(artifacts, "epoch_progress"))
        schedule, handles = get(get(ctx, "optimization"), "schedule"), get(ctx, "logging")
        epoch, before = math.floor(epoch_of(schedule, step) if reported is None else reported), get(handles, "_last_epoch")
        _told(step, lambda: setattr(handles, "_last_epoch", epoch))
        return before is not None and epoch > before
    if step == 0:
        return get(args, "logging_first_step") is not False
    return step % max(int(number(get(args, "logging_steps")) or 1), 1) == 0
