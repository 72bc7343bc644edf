"""A sink over whatever has `.log(dict, step=...)`: a W&B run, trackio, an accelerate tracker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class LoggerSink:
    """Hands each row to `logger.log(metrics, step=step)`: one call a row, whatever the row holds.

    The texts of a run (`run/git_sha`, ...) go to `logger.config` where there is one to update, else into the first row.
    The logger is not closed: who made it ends it.
    """

    def __init__(self, logger: Any) -> None:
        if not callable(getattr(logger, "log", None)):
            raise TypeError(f"expected a logger with `log(dict, step=...)`, found {type(logger).__name__}")
        self.logger = logger

    def write(self, row: Mapping[str, Any]) -> None:
        """Logs one row, as an `Engine` hands it out: `step`, `metrics`, and `run` where it carries texts."""
        metrics = dict(row["metrics"])
        texts = row.get("run")
        if texts:
            update = getattr(getattr(self.logger, "config", None), "update", None)
            if callable(update):
                update(texts)
            else:
                metrics.update(texts)
        self.logger.log(metrics, step=row["step"])
