"""verl: the whole batch that its `compute_data_metrics` sees, and a logger among those of its `Tracking`."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .._convert import Array, _array
from .._store import _finite
from ..engine import Engine
from ._host import Host, beside, known
from ._rows import advantages

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ..given import Options

NAMES = {"grad_norm": "actor/grad_norm", "learning_rate": "actor/lr", "step_time_sec": "perf/time_per_step"}
"""Our scalars by verl's names."""

FUNCTIONS, TRACKING = "verl.trainer.ppo.metric_utils", "verl.utils.tracking"

Call: TypeAlias = Callable[[str, int], Any]
"""A call's arguments, each by its name and its place."""


class _Host(Host):
    """What verl's workers say of their updates stands as they say it: how policies differ within a step, they alone know."""

    def _is_ours(self, name: str) -> bool:
        if name == "perf/throughput" and not self._options.get("devices"):
            return False
        return (not name.startswith("actor/") or name in NAMES.values()) and super()._is_ours(name)


class GrpoMetricsLogger:
    """Every step's whole batch and verl's own log in a store; made by `install`.

    `options` are those of `Engine`; an `engine` that is handed in is finished by its owner. verl's log has the row, too, as
    `grpo_metrics/...`. What a step is counted by is the batch that `compute_data_metrics` was called with before verl logs it; where
    that cannot be read, one warning says why, and what verl logs itself is stored.
    """

    def __init__(self, *, engine: Engine | None = None, **options: Unpack[Options]) -> None:
        self._host = _Host("verl", ("verl",), engine, options)
        self._named = {"run", "experiment"} & {name for name, given in options.items() if given is not None}
        self._batch: Any = None
        self._undo = contextlib.ExitStack()

    def log(self, data: Any, step: int, backend: Any = None) -> None:
        """verl logs a step: as a backend of `Tracking`, of which each is called so."""
        batch, self._batch = self._batch, None
        if batch is not None:
            self._host.observe(step, lambda: columns_of(batch, self._host.lack))
        row = self._host.logged(step, data, NAMES)
        self._host.shielded("the row in the trainer's log", lambda: data.update(beside(row)))

    def add_to(self, tracking: Any) -> None:
        """Puts this first among a `Tracking`'s loggers, so that the others have the row as well."""
        tracking.logger = {"grpo_metrics": self, **tracking.logger}

    def finish(self) -> None:
        """Ends the run, and lets go of verl's functions. `with install(...)` does so, too, and knows whether the training has failed."""
        self._undo.close()
        self._host.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.finish()

    def _sees(self, call: Call) -> None:
        self._batch = call("batch", 0)

    def _devices(self, call: Call) -> None:
        devices = call("n_gpus", 2)
        # An engine that was opened before, for a validation at the beginning, leaves the throughput to verl.
        if devices and self._host._engine is None:
            self._host._options.setdefault("devices", int(devices))

    def _tracked(self, tracking: Any, project: Any = None, experiment: Any = None, config: Any = None) -> None:
        """A `Tracking` is made: its names are the run's, where the user has given none."""
        self.add_to(tracking)
        for name, said in (("experiment", project), ("run", experiment)):
            if said and name not in self._named and self._host._options.get("store"):
                self._host._options[name] = str(said)
        self._host.configured(_plain(config))


def install(*, engine: Engine | None = None, **options: Unpack[Options]) -> GrpoMetricsLogger:
    """Has verl hand over each step's batch and log, from the process in which its trainer runs (`TaskRunner`), before `fit`:

        with grpo_metrics.trainers.verl.install(store="runs.db"):
            trainer.fit()

    `compute_data_metrics` and `compute_throughout_metrics` are wrapped wherever verl has them, and give what they gave; each `Tracking` that
    is made from then on has one logger more. With the end of the block all is as it was.
    """
    logger = GrpoMetricsLogger(engine=engine, **options)
    host = logger._host
    hooks = {"compute_data_metrics": logger._sees, "compute_throughout_metrics": logger._devices}
    for name, tell in hooks.items():
        hook = functools.partial(_after, host=host, tell=tell)
        for undo in host.shielded(f"`{name}`", functools.partial(_replaced, FUNCTIONS, name, hook)) or ():
            logger._undo.callback(undo)
    host.shielded("`Tracking`", lambda: _listen_to_tracking(logger))
    return logger


def _listen_to_tracking(logger: GrpoMetricsLogger) -> None:
    tracking = _module(TRACKING).Tracking
    original = tracking.__init__

    def tell(self: Any, call: Call) -> None:
        logger._tracked(self, call("project_name", 1), call("experiment_name", 2), call("config", 4))

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        logger._host.shielded("`Tracking`", lambda: tell(self, _argument((self, *args), kwargs)))

    tracking.__init__ = init
    logger._undo.callback(setattr, tracking, "__init__", original)


def _module(name: str) -> Any:
    import importlib

    return importlib.import_module(name)


def _after(original: Callable[..., Any], host: Host, tell: Callable[[Call], None]) -> Callable[..., Any]:
    @functools.wraps(original)
    def calls(*args: Any, **kwargs: Any) -> Any:
        given = original(*args, **kwargs)
        host.shielded(f"what `{original.__name__}` was given", lambda: tell(_argument(args, kwargs)))
        return given

    return calls


def _argument(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    return lambda name, place: kwargs.get(name, args[place] if len(args) > place else None)


def _replaced(module: str, name: str, wrapped: Callable[[Any], Any]) -> list[Callable[[], None]]:
    """Puts `wrapped` in the place of a function in every module that has it; how to undo each."""
    original = getattr(_module(module), name)
    made = wrapped(original)
    places = [place for place in list(sys.modules.values()) if getattr(place, "__dict__", {}).get(name) is original]
    for place in places:
        setattr(place, name, made)
    return [functools.partial(setattr, place, name, original) for place in places]


def columns_of(batch: Any, lack: Callable[[str, str], None] = lambda what, uncounted: None) -> dict[str, Any]:
    """The columns of a `DataProto` with rewards and advantages, as `Engine.observe` and `Shard.of` take them: the driver's batch, or a
    worker's part of it. `lack` is told what the batch does not have, and what is not counted without it.
    """
    tensors, texts, said = batch.batch, batch.non_tensor_batch, batch.meta_info or {}
    n, width = tensors["responses"].shape
    columns: dict[str, Any] = {
        "rewards": _sums(tensors["token_level_scores"]),
        "penalised_rewards": _sums(tensors["token_level_rewards"]) if "token_level_rewards" in tensors else None,
        "max_completion_length": width,
    }
    if "prompt_length" in tensors and "response_length" in tensors:
        prompts, responses = _array(tensors["prompt_length"]), _array(tensors["response_length"])
    else:
        attention = _array(tensors["attention_mask"])
        prompts, responses = attention[:, :-width].sum(axis=1), attention[:, -width:].sum(axis=1)
        columns["padding_mask"] = attention[:, -width:].astype(bool)
    columns |= {
        "completion_lengths": responses,
        "prompt_lengths": prompts,
        "max_prompt_length": tensors["prompts"].shape[-1] if "prompts" in tensors else None,
        "aborted": responses == 0,
        "loss_mask": tensors["response_mask"].bool(),
    }
    for ours, theirs in TOKENS.items():
        columns[ours] = tensors[theirs] if theirs in tensors else None
    columns |= _advantages(tensors, n)
    columns |= _of_completions(texts, said, n, lack)
    return known(columns)


TOKENS = {
    # The policy's as the step begins. How far the updates within it go is known to the workers alone: there is no ratio.
    "old_token_logps": "old_log_probs",
    "ref_token_logps": "ref_log_prob",
    "sampling_token_logps": "rollout_log_probs",
    "token_entropies": "entropys",
    "returns": "returns",
    "values": "values",
    "token_ids": "responses",
}
"""Columns by token, by verl's names."""


def _sums(tensor: Any) -> Array:
    return _array(tensor).sum(axis=1, dtype=np.float64)


def _advantages(tensors: Any, n: int) -> dict[str, Any]:
    """By token as verl has them, and by completion as well where its tokens have one in common."""
    if "advantages" not in tensors:
        return {}
    matrix, masks = _array(tensors["advantages"]), _array(tensors["response_mask"]).astype(bool)
    common = advantages(list(matrix), list(masks)).get("advantages")
    return {"token_advantages": matrix, "advantages": common}


def _of_completions(texts: Mapping[str, Any], said: Mapping[str, Any], n: int, lack: Callable[[str, str], None]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if "uid" in texts:
        columns["group_ids"] = [str(uid) for uid in texts["uid"]]
    else:
        lack("`uid` in a batch", "groups, each completion being one of its own")
        columns["group_sizes"] = [1] * n
    if "data_source" in texts:
        columns["tags"] = [str(source) for source in texts["data_source"]]
    if "__num_turns__" in texts:
        columns["turns"] = _whole(texts["__num_turns__"])
    if "tool_call_counts" in texts:
        columns["tool_calls"] = _whole(texts["tool_call_counts"])
    components = {}
    for key in said.get("reward_extra_keys") or ():
        cells = [_number(cell) for cell in texts.get(key, ())]
        if any(cell is not None for cell in cells):
            components[str(key)] = cells
    columns["reward_components"] = components or None
    return columns


def _whole(cells: Any) -> list[int]:
    return [int(cell) for cell in cells]


def _number(cell: Any) -> float | None:
    return float(cell) if isinstance(cell, (bool, int, float, np.number, np.bool_)) else None


def _plain(config: Any) -> Any:
    """What verl was configured with; OmegaConf's as a dictionary."""
    if config is None or isinstance(config, dict):
        return config
    try:
        from omegaconf import OmegaConf

        return _finite(OmegaConf.to_container(config, resolve=True))
    except Exception:  # of another kind, or with what cannot be resolved here
        return dict(config) if isinstance(config, Mapping) else None
