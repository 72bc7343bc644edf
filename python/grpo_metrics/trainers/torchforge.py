"""torchforge: a backend of its metric logger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._host import Host

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = "grpo_metrics"
"""What the configuration of `metric_logging` calls it."""


def register() -> None:
    """Has torchforge know the backend `grpo_metrics`: called in every process that logs, before `init_backends`.

    In the configuration: `grpo_metrics: {logging_mode: global_reduce, store: runs.db, run: seed-0}`; beside `logging_mode` and
    `per_rank_share_run` these are the options of `grpo_metrics.Engine`.
    """
    from forge.observability import metric_actors, metrics

    known = metrics.get_logger_backend_class

    def get_logger_backend_class(name: str) -> Any:
        return GrpoMetricsBackend if name == NAME else known(name)

    metrics.get_logger_backend_class = get_logger_backend_class
    metric_actors.get_logger_backend_class = get_logger_backend_class


class GrpoMetricsBackend:
    """What torchforge logs, in a store, under its names. It has the methods of a `LoggerBackend`.

    Backends are given numbers, no completions: none are counted. With a mode by rank each rank has a run of its own, named after its process.
    """

    def __init__(self, *, logging_mode: Any = None, per_rank_share_run: bool = False, **options: Any) -> None:
        self.logging_mode, self.per_rank_share_run = logging_mode, per_rank_share_run
        self._options = options
        self.host = Host("torchforge", ("trl",), None, options)

    async def init(self, role: Any, controller_logger_metadata: dict[str, Any] | None = None, process_name: str | None = None) -> None:
        """The backend's process is known."""
        if str(getattr(role, "value", role)) == "local" and process_name and self._options.get("run"):
            self.host = Host("torchforge", ("trl",), None, {**self._options, "run": f"{self._options['run']}-{process_name}"})

    async def log_batch(self, metrics: Iterable[Any], global_step: int, *args: Any, **kwargs: Any) -> None:
        """Takes the numbers of a step."""
        self.host.shielded("what the trainer logs", lambda: self.host.logged(global_step, {metric.key: metric.value for metric in metrics}))

    def log_stream(self, metric: Any, global_step: int, *args: Any, **kwargs: Any) -> None:
        """Takes one number as it comes."""
        self.host.shielded("what the trainer logs", lambda: self.host.logged(global_step, {metric.key: metric.value}))

    def get_metadata_for_secondary_ranks(self) -> dict[str, Any] | None:
        """Other ranks need to know nothing of this one."""
        return None

    async def finish(self) -> None:
        """The training is over."""
        self.host.finish()
