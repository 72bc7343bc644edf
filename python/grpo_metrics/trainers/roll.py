"""ROLL: a tracker in its `tracker_registry`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._host import Host

if TYPE_CHECKING:
    from ..engine import Engine

NAME = "grpo_metrics"
"""What `track_with` calls it."""


def register() -> None:
    """Puts the tracker into ROLL's registry, so that `track_with: grpo_metrics` finds it: called before the pipeline is made.

    `tracker_kwargs` are the options of `grpo_metrics.Engine` (`store`, `run`, ...), and `beside` with `beside_kwargs` another of ROLL's trackers
    (`wandb`, ...) that has everything too.
    """
    from roll.utils.tracking import create_tracker, tracker_registry

    tracker_registry[NAME] = lambda config, **kwargs: GrpoMetricsTracker(config, create_tracker=create_tracker, **kwargs)


class GrpoMetricsTracker:
    """What ROLL logs, in a store, under its names without `@...`. It has the methods of a tracker.

    Trackers are given numbers, no completions: none are counted. ROLL's pipelines do not end their trackers: a run stays open until the
    program ends, and then nobody has said how.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        beside: str | None = None,
        beside_kwargs: Mapping[str, Any] | None = None,
        create_tracker: Any = None,
        engine: Engine | None = None,
        **options: Any,
    ) -> None:
        self.host = Host("roll", ("verl",), engine, options)
        self.host.shielded("the configuration", lambda: self.host.configured(dict(config or {})))
        self._other = create_tracker(beside, config, **(beside_kwargs or {})) if beside else None
        self._step = 0

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Takes numbers of a step."""
        self._step = self._step if step is None else step
        self.host.shielded("what the trainer logs", lambda: self.host.logged(self._step, {_plain(name): value for name, value in values.items()}))
        if self._other is not None:
            self._other.log(values, step, **kwargs)

    def finish(self) -> None:
        """The training is over."""
        self.host.finish()
        if self._other is not None:
            self._other.finish()


def _plain(name: Any) -> str:
    """A name without how ROLL folds it: `actor/pg_loss@sum` as `actor/pg_loss`."""
    return str(name).rpartition("@")[0] or str(name)
