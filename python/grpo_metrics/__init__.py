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
from ._row import Row
from ._store import Store
from .comparing import Comparison, compare
from .gateway import EvSys
from .loggers import LoggerSink
from .metrics import Metrics
from .reading import Run, RunList, RunStore, open
from .stopping import EarlyStopping

__all__ = [
    "DIALECTS",
    "ColumnError",
    "Comparison",
    "EarlyStopping",
    "Engine",
    "EvSys",
    "GrpoMetricsError",
    "LoggerSink",
    "Metrics",
    "OptionError",
    "RefusedError",
    "Row",
    "Run",
    "RunList",
    "RunStore",
    "Shard",
    "SinkError",
    "StepError",
    "Store",
    "StoreError",
    "WireError",
    "__version__",
    "compare",
    "normalised",
    "open",
    "summarize",
]
