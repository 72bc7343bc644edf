"""Every optimizer step of a GRPO run as one dictionary of metrics: exact whatever the layout, never waiting, never losing a row."""

from ._core import (
    DIALECTS,
    ColumnError,
    GrpoMetricsError,
    OptionError,
    RefusedError,
    SinkError,
    StepError,
    StoreError,
    WireError,
    __version__,
    normalised,
)
from ._row import Row
from ._store import Store
from ._summarize import summarize
from .comparing import Comparison, compare
from .engine import Engine
from .gateway import EvSys
from .given import Column, Columns, Meta, Options, Scalars, Weighting
from .loggers import LoggerSink
from .metrics import Metrics
from .reading import Run, RunList, RunStore, open
from .shard import Shard
from .stopping import EarlyStopping

__all__ = [
    "Column",
    "ColumnError",
    "Columns",
    "Comparison",
    "DIALECTS",
    "EarlyStopping",
    "Engine",
    "EvSys",
    "GrpoMetricsError",
    "LoggerSink",
    "Meta",
    "Metrics",
    "OptionError",
    "Options",
    "RefusedError",
    "Row",
    "Run",
    "RunList",
    "RunStore",
    "Scalars",
    "Shard",
    "SinkError",
    "StepError",
    "Store",
    "StoreError",
    "Weighting",
    "WireError",
    "__version__",
    "compare",
    "normalised",
    "open",
    "summarize",
]
