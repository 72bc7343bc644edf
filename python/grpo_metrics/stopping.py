"""Ending a training that no longer gets better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._core import GrpoMetricsError, Stopping

if TYPE_CHECKING:
    from transformers import TrainerCallback as _TrainerCallback


class EarlyStopping:
    """Says when a metric has come `patience` rows in a row without getting better.

    ```python
    stopping = gm.EarlyStopping("train/reward", 50)
    for step, batch in enumerate(batches, start=1):
        ...
        if stopping.update(step, engine.step(step)):
            break
    ```

    Better is better than the best so far by more than `min_delta` (same unit as the metric); `goal` is max or min. A value that is no finite
    number is no better; a row without the metric, and no row (None), does not count. A `patience` of 0 counts as 1. An OptionError where
    `goal` is neither. `callback()` makes a transformers callback of it.
    """

    def __init__(self, metric: str, patience: int, *, goal: str = "max", min_delta: float = 0.0) -> None:
        self.metric = metric
        self._watch = Stopping(metric, patience, goal, min_delta)
        self.stopped = False
        """Whether it has said that the training is to stop."""

    def update(self, step: int, row: Mapping[str, float] | None) -> bool:
        """Takes the row of a step; whether the training is to stop, which it stays."""
        if row:
            self.stopped = self._watch.take(step, {self.metric: row[self.metric]} if self.metric in row else {})
        return self.stopped

    def callback(self) -> _TrainerCallback:
        """The same as a callback of a transformers trainer, which sees what the trainer logs, under the trainer's own names (`reward`,
        `eval_loss`, `grpo_metrics/reward`); an error names what to install where transformers is missing."""
        try:
            from transformers import TrainerCallback
        except ImportError:
            raise GrpoMetricsError("callback() needs transformers, which is not installed here: pip install transformers") from None
        stopping = self

        class StoppingCallback(TrainerCallback):  # type: ignore[misc]
            def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
                numbers = {name: float(value) for name, value in (logs or {}).items() if isinstance(value, (int, float))}
                if stopping.update(int(state.global_step), numbers):
                    control.should_training_stop = True

        return StoppingCallback()

    @property
    def best(self) -> float | None:
        """The best value so far; None before the first."""
        return self._watch.best
