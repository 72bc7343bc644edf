"""The parts of a GRPO trainer that its completions are counted by: looked for by shape, for TRL moves them about between versions."""

from __future__ import annotations

import inspect
import logging
import operator
from collections.abc import Mapping
from typing import Any

_log = logging.getLogger("grpo_metrics")

METHODS = {"_calculate_rewards": "completion_ids_list", "_generate_and_score_completions": None, "compute_loss": "inputs"}
"""The methods that completions are observed in, each with the argument that is read."""

ESSENTIAL = {name: (name, f"args.{name}") for name in ("num_generations", "loss_type", "max_completion_length")}
"""What a GRPO trainer is told by, beside its methods: where each is looked for, the first place first."""

RATIOS = "KL, clipping and ratios of policies"
COMPONENTS = "reward components"
TOTAL = "the total reward, and groups without spread"
ENDS = "which completions came to their end, but by their length"

PLACES = {
    "reward_func_names": (("reward_func_names",), COMPONENTS),
    "reward_weights": (("reward_weights",), TOTAL),
    "eos_token_ids": (("eos_token_ids", "_tokenizer.eos_token_id", "eos_token_id"), ENDS),
    "pad_token_id": (("_tokenizer.pad_token_id", "pad_token_id"), ENDS),
    "beta": (("beta", "args.beta"), "the weight of KL"),
    "epsilon_low": (("epsilon_low", "args.epsilon"), RATIOS),
    "epsilon_high": (("epsilon_high", "args.epsilon_high", "args.epsilon"), RATIOS),
    "importance_sampling_level": (("importance_sampling_level", "args.importance_sampling_level"), RATIOS),
    "scale_rewards": (("scale_rewards", "args.scale_rewards"), "groups without spread"),
}
"""Where the other parts are looked for, and what is not counted without them."""


def without(trainer: type) -> str | None:
    """The first method that the class lacks, or has without the argument that is read."""
    for name, reads in METHODS.items():
        method = getattr(trainer, name, None)
        if not callable(method) or not (reads is None or reads in _parameters(method)):
            return name if reads is None else f"{name}({reads})"
    return None


def _parameters(method: Any) -> Mapping[str, Any]:
    try:
        return inspect.signature(method).parameters
    except (TypeError, ValueError):
        return {}


def argument(name: str, method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What a bound method was given as the argument of this name."""
    return inspect.signature(method).bind(*args, **kwargs).arguments[name]


def is_whole(trainer: Any) -> str | None:
    """The first of the `ESSENTIAL` parts that the trainer lacks."""
    return next((name for name, places in ESSENTIAL.items() if _first(trainer, places) is None), None)


def _first(trainer: Any, places: tuple[str, ...]) -> Any:
    for place in places:
        try:
            value = operator.attrgetter(place)(trainer)
        except AttributeError:
            continue
        if value is not None:
            return value
    return None


class Lacks:
    """What a trainer lacks of that which its completions are counted by: gathered, and told in one warning."""

    def __init__(self, trainer: str) -> None:
        self._trainer = trainer
        self.counts = True
        """Whether completions are counted at all."""
        self._lacks: dict[str, str] = {}
        self._told = 0

    def lack(self, what: str, uncounted: str) -> None:
        """Notes that `what` is not there, so that something is `uncounted`."""
        self._lacks.setdefault(what, uncounted)

    def lack_all(self, what: str) -> None:
        """Notes that no completion can be counted, for `what` is not there."""
        self.counts = False
        self.lack(what, "completions: only what the trainer logs itself is stored")

    def tell(self) -> None:
        """Says what is not there, once, and what is therefore not counted."""
        new = list(self._lacks.items())[self._told :]
        self._told = len(self._lacks)
        if new:
            by_loss: dict[str, list[str]] = {}
            for what, uncounted in new:
                by_loss.setdefault(uncounted, []).append(what)
            said = "; ".join(f"without {' and '.join(lacking)}, not counted: {uncounted}" for uncounted, lacking in by_loss.items())
            _log.warning("grpo_metrics: %s is not as known: %s", self._trainer, said)


class Parts(Lacks):
    """The parts of one trainer of TRL's."""

    def __init__(self, trainer: Any) -> None:
        super().__init__(type(trainer).__name__)
        self.trainer = trainer

    def of(self, name: str) -> Any:
        """A part by its name; `None` where the trainer has it in none of its places."""
        places, uncounted = PLACES[name] if name in PLACES else (ESSENTIAL[name], "")
        value = _first(self.trainer, places)
        if value is None:
            first, *others = (f"`{place}`" for place in places)
            self.lack(f"{first} (or {', '.join(others)})" if others else first, uncounted)
        return value

    def key(self, batch: Mapping[str, Any], name: str, uncounted: str) -> Any:
        """What a batch has under a key; `None` where it has nothing."""
        if batch.get(name) is None:
            self.lack(f"`{name}` in a batch", uncounted)
        return batch.get(name)

    def tell(self) -> None:
        """Says it at the rank that has the rows."""
        if self.trainer.accelerator.is_main_process:
            super().tell()
