"""A TRL-like trainer whose log has the controller's numbers too, under the names of the dialect `maxent`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, TypeVar

from .._core import Shard, normalised
from .keys import DEPENDING
from .reading import get, number

_log = logging.getLogger("grpo_metrics")
_Trainer = TypeVar("_Trainer", bound=Callable[..., Any])
# By this name the trainer's own wrapper knows a class that has it already, and so does ours.
_MARK = "_MAXENT_WEIGHTING_LOGGING"
_CLIPPED = "completions/clipped_ratio"

# Which argument of the training stands in which field of the controller's snapshot.
_ARGUMENTS = {
    "q_temperature": "maxent_q_temperature",
    "q_epsilon": "maxent_q_epsilon",
    "tau_lr": "maxent_tau_lr",
    "tau_min": "maxent_tau_min",
    "tau_max": "maxent_tau_max",
    "tau_warmup_steps": "maxent_tau_warmup_steps",
    "tau_target_entropy": "maxent_target_weight_entropy",
    "kl_target": "kl_target",
    "kl_horizon": "kl_horizon",
    "kl_step_size": "kl_ctl_step_size",
}
_META = {
    "learning_rate": ("controller_meta_lr",),
    "update_interval": ("controller_meta_update_interval",),
    "truncation_steps": ("controller_meta_truncation_steps", "controller_meta_analytic_steps"),
    "use_hessian": ("controller_meta_use_hessian",),
}
_LOSSES = {"policy": "policy_loss", "clip": "clip_loss", "value": "value_loss"}


def ensure_weighting_logging(trainer_cls: _Trainer) -> _Trainer:
    """The trainer class, or the function that makes a trainer, so that what the trainer logs has the controller's numbers.

    Its `log` is handed `train/`-keyed numbers (METRICS.md, "Prefix normalisation"), with the controller's from the trainer's
    `tau`, `kl_ctl`, ... and its arguments, the losses that `compute_loss` gave beside the loss, and a clipped share within
    [0, 1]. A class that does so already is given back. Nothing of it raises in a step.
    """
    if getattr(trainer_cls, _MARK, False):
        return trainer_cls
    if isinstance(trainer_cls, type):
        return _logged(trainer_cls)  # type: ignore[return-value]

    def make(*args: Any, **kwargs: Any) -> Any:
        trainer = trainer_cls(*args, **kwargs)
        log = get(trainer, "log")
        if callable(log):
            trainer.log = lambda logs, *more, **named: log(_row(trainer, logs), *more, **named)
        return trainer

    setattr(make, _MARK, True)
    return make  # type: ignore[return-value]


def _logged(base: Any) -> type:
    class Logged(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            callbacks = get(get(self, "callback_handler"), "callbacks")
            if callbacks is not None and not any(isinstance(callback, Normaliser) for callback in callbacks):
                try:
                    self.add_callback(Normaliser())
                except Exception as error:
                    _log.warning("what a trainer logs past its `log` keeps its names: %s", error)

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            self._last_loss_scalar, self._last_loss_components = _loss_of(loss)
            return loss

        def log(self, logs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            return super().log(_row(self, logs), *args, **kwargs)

    setattr(Logged, _MARK, True)
    Logged.__name__, Logged.__qualname__ = f"WeightingLogged{base.__name__}", f"WeightingLogged{base.__qualname__}"
    return Logged


def _loss_of(loss: Any) -> tuple[float | None, dict[str, float]]:
    """The loss before a trainer rounds it, and what was given beside it."""
    whole, parts = (loss[0], loss[1]) if isinstance(loss, tuple) and len(loss) > 1 else (loss, None)
    named = {str(name): number(part) for name, part in parts.items()} if isinstance(parts, Mapping) else {}
    try:
        whole = whole.mean().item()
    except Exception:  # a number already
        pass
    return number(whole), {name: part for name, part in named.items() if part is not None}


def _row(trainer: Any, logs: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is handed to the trainer's own `log`; what it was handed, where something here fails."""
    given = dict(logs or {})
    try:
        row = _controller(trainer) | given
        precise = number(get(trainer, "_last_loss_scalar"))
        if precise is not None:
            row.setdefault("train/loss/total_raw", precise)
            if not number(row.get("loss")):  # rounded to nothing
                row["loss"] = precise
        for name, part in (get(trainer, "_last_loss_components") or {}).items():
            row.setdefault(f"train/loss/{name}", part)
        args, recorded = get(trainer, "args"), get(trainer, "_metrics")
        for numbers in recorded.values() if isinstance(recorded, Mapping) else ():
            _clamp_recorded(numbers, number(get(args, "num_generations")) or 1.0)
        row = _named(row, args)
        kl = next((x for key in ("train/kl", "train/loss/kl") if (x := number(row.get(key))) is not None), None)
        if kl is not None:
            trainer._last_train_kl_for_alpha = kl
        return row
    except Exception as error:  # a metric must not end a training
        _log.warning("a trainer's log stays without the controller's numbers: %s: %s", type(error).__name__, error)
        return given


def _named(logs: Mapping[str, Any], args: Any) -> dict[str, Any]:
    """The numbers under their `train/` names; texts and what else is no number likewise."""
    numbers: dict[str, float] = {}
    others: dict[str, Any] = {}
    for key, value in logs.items():
        read = number(value)
        if read is None:
            others[key if key.startswith(("train/", "eval/")) else f"train/{key}"] = value
        elif _CLIPPED in key:
            numbers[key.replace("clipped_ratio", "clipped_frac")] = _share(read, number(get(args, "world_size")) or 1.0)
        else:
            numbers[key] = read
    for name, key in _LOSSES.items():
        value = next((numbers[k] for k in (key, f"loss/{name}", f"train/{key}") if k in numbers), None)
        if value is not None:
            numbers.setdefault(f"train/loss/{name}", value)
    return others | normalised(numbers)


def _share(ratio: float, ranks: float) -> float:
    """A clipped share within [0, 1]. A negative one is 1 less all ranks' completions over one rank's."""
    return min(max(1 - (1 - ratio) / ranks if ratio < 0 and ranks > 1 else ratio, 0.0), 1.0)


def _clamp_recorded(recorded: Any, generations: float) -> None:
    """What a trainer has recorded for its own log: negative counts of clipped completions become shares."""
    if not isinstance(recorded, MutableMapping):
        return
    for key, values in list(recorded.items()):
        if _CLIPPED in str(key) and isinstance(values, list):
            read = [x for value in values if (x := number(value)) is not None]
            recorded[key] = [min(max(-x / max(generations, 1.0) if x < 0 else x, 0.0), 1.0) for x in read]


def _controller(trainer: Any) -> dict[str, Any]:
    """The controller's numbers at this log, and how they have changed since the last; without those that nobody has set."""
    args = get(trainer, "args")
    tau = _first(trainer, ("tau", "maxent_tau")) or _first(args, ("maxent_tau",)) or 0.0
    control = get(trainer, "kl_ctl")
    beta = _first(control, ("value", "current_kl_coef", "kl_coef"))
    beta = _first(trainer, ("kl_coef", "kl_coefficient", "beta")) if beta is None else beta
    beta = (_first(args, ("beta",)) or 0.0) if beta is None else beta
    grpo = next((bool(x) for name in ("train_grpo_objective", "grpo_objective") if (x := get(args, name)) is not None), None)
    maxent = get(args, "maxent_objective")
    if grpo is None:
        grpo = True if maxent is None else not maxent
    denominator = _first(trainer, ("weight_norm_denom",))
    snapshot: dict[str, Any] = {
        "tau": tau,
        "beta": beta,
        "weight_norm_denom": max(tau + beta, 1.0) if denominator is None else denominator,
        "train_grpo_objective": grpo,
        "len_norm_ref": bool(get(args, "maxent_length_normalize_ref")),
    }
    snapshot["prev_tau"], snapshot["prev_beta"] = get(trainer, "_weighting_last_logged") or (tau, beta)
    trainer._weighting_last_logged = (tau, beta)
    unset: set[str] = set()
    for name, argument in _ARGUMENTS.items():
        if (value := number(get(args, argument))) is None:
            unset.update(DEPENDING[name])
        else:
            snapshot[name] = value
    if get(args, "controller_meta_enabled"):
        fields = {name: _first(args, places) for name, places in _META.items()}
        snapshot["meta"] = {"enabled": True} | {name: value for name, value in fields.items() if value is not None}
    step = max(int(number(get(get(trainer, "state"), "global_step")) or 0), 0)
    row = Shard.of(group_sizes=[], rewards=[], weighting=snapshot).row(step=step, mode="full")
    kept: dict[str, Any] = {key: value for key, value in row.items() if key in _CONTROLLED and key not in unset}
    for key in ("train/tau_target_enabled", "train/tau_schedule_active", "train/weighting/tau_schedule_active"):
        kept[key] = row[key]  # 0 says that there is no target
    if maxent is not None:
        kept["train/maxent_objective"] = 1.0 if maxent else 0.0
    switch = get(args, "grpo_beta_controller_enabled" if grpo else "maxent_beta_controller_enabled")
    for key in ("train/kl_controller_enabled", "train/kl_controller/enabled"):
        kept[key] = 0.0 if switch is not None and not switch else row[key]
    return kept


# The keys that a snapshot alone decides.
_CONTROLLED = frozenset(Shard.of(group_sizes=[], rewards=[], weighting={"tau": 1.0, "beta": 1.0}).row(step=0, mode="full")) - frozenset(
    Shard.of(group_sizes=[], rewards=[]).row(step=0, mode="full")
)


def _first(holder: Any, names: Iterable[str]) -> float | None:
    return next((x for name in names if (x := number(get(holder, name))) is not None), None)


class Normaliser:
    """A callback of a trainer that gives the names of METRICS.md to what is logged past the trainer's `log`."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> Any:
        """Renames within `logs`."""
        if logs is not None:
            named = _named(logs, args)
            logs.clear()
            logs.update(named)
        return control

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):  # every other event of a trainer
            return lambda args, state, control, **_: control
        raise AttributeError(name)
