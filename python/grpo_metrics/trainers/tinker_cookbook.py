"""tinker-cookbook: a logger among a `MultiplexLogger`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engine import Engine
from ._host import Host

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..given import Options


def install(*, engine: Engine | None = None, **options: Unpack[Options]) -> None:
    """Has `ml_log.setup_logging` put a `GrpoMetricsLogger` among the loggers that it makes: called before a recipe's `main`.

    `options` are those of `Engine`, as in `grpo_metrics.trl`.
    """
    from tinker_cookbook.utils import ml_log

    ours, setup = GrpoMetricsLogger(engine=engine, **options), ml_log.setup_logging

    def setup_with_ours(*args: Any, **kwargs: Any) -> Any:
        made = setup(*args, **kwargs)
        config = kwargs.get("config")
        if config is not None:
            ours.log_hparams(ml_log.dump_config(config))
        if not hasattr(made, "loggers"):
            made = ml_log.MultiplexLogger([made])
        made.loggers.append(ours)
        return made

    ml_log.setup_logging = setup_with_ours


class GrpoMetricsLogger:
    """What tinker-cookbook logs, in a store, under its names. It has the methods of its `Logger`.

    Its loggers are given numbers, no completions: none are counted.
    """

    store = None
    """Whatever looks for the store of a training's files does not find them here."""

    def __init__(self, *, engine: Engine | None = None, **options: Unpack[Options]) -> None:
        self.host = Host("tinker-cookbook", ("trl",), engine, options)
        self._step = 0

    def log_hparams(self, config: Any) -> None:
        """Takes the configuration, for the run."""
        self.host.shielded("the configuration", lambda: self.host.configured(config))

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Takes numbers of a step; without one, of the step before."""
        self._step = self._step if step is None else step
        self.host.logged(self._step, metrics)

    def log_long_text(self, key: str, text: str) -> None:
        """A text is not kept."""

    def sync(self) -> None:
        """Rows are on their way already."""

    def get_logger_url(self) -> str | None:
        """A store has no address."""
        return None

    def close(self) -> None:
        """The training is over."""
        self.host.finish()
