"""Every optimizer step of a GRPO run as one dictionary of metrics: exact whatever the layout, never waiting, never losing a row."""

from ._core import (
    DIALECTS,
    ColumnError,
    Engine,
    GrpoMetricsError,
    OptionError,
    RefusedError,
    Shard,
    SinkError,
    StepError,
    StoreError,
    WireError,
    __version__,
    normalised,
    summarize,
)
from ._store import Store
from .loggers import LoggerSink

__all__ = [
    "DIALECTS",
    "ColumnError",
    "Engine",
    "GrpoMetricsError",
    "LoggerSink",
    "OptionError",
    "RefusedError",
    "Shard",
    "SinkError",
    "StepError",
    "Store",
    "StoreError",
    "WireError",
    "__version__",
    "normalised",
    "summarize",
]
