"""The compiled part. What has many keywords stands in engine.py, shard.py and _summarize.py, under their signatures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, final

from typing_extensions import Self, disjoint_base

from ._row import Row

__version__: str
__all__ = [
    "CallQueue",
    "ColumnError",
    "DIALECTS",
    "Engine",
    "Gateway",
    "GrpoMetricsError",
    "OptionError",
    "RefusedError",
    "Shard",
    "SinkError",
    "Sqlite3",
    "StepError",
    "Stopping",
    "StoreError",
    "WireError",
    "__version__",
    "_accumulate",
    "_address",
    "_command",
    "_compare",
    "_courses",
    "_forward",
    "_glance",
    "_in_order",
    "_names",
    "_kept",
    "_panic",
    "_run",
    "_runs",
    "_unknown_name",
    "_cancel_open",
    "_is_any_open",
    "_postponed",
    "normalised",
    "summarize",
]
DIALECTS: list[str]

class GrpoMetricsError(ValueError): ...
class ColumnError(GrpoMetricsError): ...
class OptionError(GrpoMetricsError): ...
class StepError(GrpoMetricsError): ...
class WireError(GrpoMetricsError): ...
class SinkError(GrpoMetricsError): ...
class StoreError(GrpoMetricsError): ...
class RefusedError(StoreError): ...

@disjoint_base
class Engine:
    """Computes a row of metrics every so many optimizer steps and hands it to its sinks."""

    def __new__(cls, **options: Any) -> Self: ...
    def observe(self, **columns: Any) -> None: ...
    def join(self, shard: Shard, missing: Mapping[int, str] | None = None) -> None:
        """Takes in what is a shard already, such as what a worker has returned: from then on it is as if its records had been observed
        here, for windows, sinks, the store and the flags of health. `shard` stays as it is.

        `missing` are the ranks whose shards were to come too, each with the reason: by the engine's `policy` the step fails of them, or
        its row says so. `grpo_metrics.ray.merge` gives both. A StepError where a record is there already, or was counted otherwise
        or in less detail than this engine counts."""

    def fail(self, reason: str) -> None:
        """Says that this rank has no part in the step that is not over, where there are other ranks."""

    def expect_clip_range(self, low: float, high: float) -> None:
        """Says what the tokens of the step now beginning are counted against, whatever its records' own snapshots say."""

    def step(
        self,
        step: int,
        *,
        scalars: Any = None,
        weighting: Any = None,
        goes_out: bool | None = None,
    ) -> Row | None: ...
    def rewind(self) -> Row | None:
        """Says that the training goes back within this process: to a checkpoint, or to the beginning of another one. The next step may have
        any number. The steps left over go out as a last row before it, which is given; rows of steps that were reached before are marked
        `"again"`."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hands the sinks numbers that were computed elsewhere as a row of their own; keys under `eval/` are stored in split val."""

    def samples(
        self,
        every: int = 50,
        *,
        at_most: int = 16,
        max_bytes: int = ...,
        store: bool | None = None,
        file: str | PathLike[str] | None = None,
        to: Sequence[object] | None = None,
    ) -> None:
        """Keeps completions to read: of every step whose number `every` divides, `at_most` of this rank's, with their texts, rewards, ranks
        and advantages, as far as `observe` has them. No step waits for it, and none fails for it.

        They go to the engine's store, if it has one and `store` is not False, as predictions of kind `train`; to `file`, as JSON lines; and to
        each of `to`: a run of W&B, trackio or MLflow, a tracker of accelerate, a `LoggerSink`, or an object with `samples(step, rows)`, of which
        a row is a dictionary. The texts of a step take `max_bytes` at most: a longer one than its part of them (`max_bytes` / `at_most` / 2) is
        cut. What became of them is in the receipts of `finish`, one for each place. An OptionError where it was called before, or they go nowhere."""

    @property
    def keeps_samples(self) -> bool:
        """Whether `samples` was called, so that texts are of use."""

    def computes(self, key: str) -> bool:
        """Whether rows have a number of this engine's own under `key`."""

    def finish(self, status: str = "completed", error: str | None = None) -> list[dict[str, Any]]:
        """Ends the run as `status` (completed, failed or cancelled): the steps left over go out as a last row, the sinks are closed. One receipt a sink."""

    def close(self) -> list[dict[str, Any]]:
        """`finish()`, by the name that files have for it."""

    def census(self) -> dict[str, dict[str, int]]:
        """What every family of columns has seen so far, also once the run has ended: name -> seen, used, absent, nonfinite."""

    @property
    def last_row(self) -> Row | None:
        """The last row that went out; None before the first."""

    @property
    def run(self) -> str | None:
        """The id of the run that rows are stored under: its name, with a number where another run has that. None without a store."""

    @property
    def recovered(self) -> list[dict[str, Any]]:
        """What its journals held of an earlier process: `journal`, `pending`, `torn_bytes`, `dropped`, `error`; one a journal that held anything."""

    def __enter__(self) -> Self: ...
    def __exit__(self, _kind: object = None, raised: object = None, _traceback: object = None) -> None:
        """Ends the run as what left the block says; what was raised goes on."""

@disjoint_base
class Shard:
    """What some of a step's records know, to be joined with what others do."""

    def __new__(cls) -> Self: ...
    @classmethod
    def of(cls, *, step: int | None = None, replica: bool | None = None, **columns: Any) -> Self: ...
    def merge(self, other: Shard) -> None:
        """Joins what `other` knows; `other` stays as it is."""

    def to_bytes(self) -> bytes:
        """What it knows as bytes, with magic, version, length and checksum."""

    @classmethod
    def from_bytes(cls, data: bytes) -> Self: ...
    def row(self, *, step: int | None = None, **options: Any) -> Row: ...
    @property
    def step(self) -> int | None:
        """The step it was given, if it was."""

    @property
    def ranks(self) -> list[int]:
        """The ranks whose records it knows, ascending."""

    @property
    def completions(self) -> int:
        """How many completions it has seen."""

@final
class Sqlite3:
    """An embedded store; `grpo_metrics.Store` gives its operations their signatures."""

    def __new__(cls, path: str | PathLike[str], *, read_only: bool = False) -> Self: ...
    def call(self, op: str, args: str) -> str:
        """One operation of the gateway: its arguments and its result as JSON."""

    def log_metrics(self, run_id: str, step: int, metrics: Sequence[tuple[str, float]], split: str) -> int:
        """Writes metrics of one step; how many were NaN and left out."""

    def log_window(self, run_id: str, step: int, metrics: Sequence[tuple[str, float]], steps: int, cut: bool) -> int:
        """Writes an engine's row, which may be over several steps and cut short; how many were NaN and left out."""

    def export(self, path: str | PathLike[str], runs: Sequence[str] | None, long: bool, force: bool) -> int:
        """Writes runs as a table to a file; how many lines it has."""

    def get_metrics(self, run_id: str, name: str | None, split: str | None) -> list[tuple[int, str, float, str]]:
        """The numbers of a run: step, name, value, split."""

@final
class Gateway:
    """The EvSys gateway; `grpo_metrics.EvSys` gives its operations their signatures."""

    def __new__(
        cls,
        url: str | None = None,
        key: str | None = None,
        project: str | None = None,
        ca_file: str | PathLike[str] | None = None,
        dead_letters: str | PathLike[str] | None = None,
    ) -> Self: ...
    def call(self, op: str, args: str) -> str:
        """One operation: its arguments and its result as JSON."""

    def log_metrics(self, run_id: str, step: int, metrics: Sequence[tuple[str, float]], split: str) -> int:
        """Writes metrics of one step; how many were NaN and left out."""

    def log_window(self, run_id: str, step: int, metrics: Sequence[tuple[str, float]], steps: int, cut: bool) -> int:
        """Writes an engine's row; how many were NaN and left out."""

    def get_metrics(self, run_id: str, name: str | None, split: str | None) -> list[tuple[int, str, float, str]]:
        """The numbers of a run: step, name, value, split."""

@final
class Stopping:
    """Watches one metric; `grpo_metrics.EarlyStopping` hands it rows."""

    def __new__(cls, metric: str, patience: int, goal: str, min_delta: float) -> Self: ...
    def take(self, step: int, row: Mapping[str, float]) -> bool:
        """Takes a row of a step; whether the training is to stop."""

    @property
    def best(self) -> float | None:
        """The best value so far; None before the first."""

@final
class CallQueue:
    """Makes calls in order on a thread of its own. One that raises is made again, at growing intervals; but one whose error `is_final` is dropped.

    In a process that was forked from the queue's own, calls are not taken and nothing is waited for.
    """

    def __new__(cls, is_final: Callable[[BaseException], bool] | None = None) -> Self: ...
    def push(self, calls: Sequence[Callable[[], object]]) -> None:
        """Takes calls; those that find no room (100,000 wait) are dropped."""

    def attempt(self, seconds: float) -> bool:
        """Waits until every call is made, one of them fails, or the time is over; whether all are made."""

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the queue's own."""

    @property
    def pending(self) -> int:
        """Calls that have not succeeded yet."""

    @property
    def dropped(self) -> int:
        """Calls that were dropped."""

    @property
    def error(self) -> str | None:
        """The last error, if there was one."""

def summarize(records: Mapping[str, Any] | Iterable[Mapping[str, Any]], **options: Any) -> Row: ...
def normalised(metrics: Mapping[str, float], split: str = "train") -> dict[str, float]:
    """The names of a trainer's own dictionary as METRICS.md's "Prefix normalisation" has them; `split` is train or eval."""

def _accumulate(sums: dict[str, float], counts: dict[str, int], row: dict[str, Any], last: frozenset[str]) -> None:
    """Adds a row's finite numbers to sums and counts by key, but those of the keys in `last`; texts stay out."""

def _kept(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the dialect `maxent` without what the environment's mode does not keep; the same row where that is nothing. An
    OptionError where the mode is none."""

def _forward(store: Any, name: str, run_id: Any, run_dir: str | PathLike[str], metrics_file: str) -> int:
    """Forwards what is new in a metrics file to a `Sqlite3` or an object with `log_metrics`; the rows that it took."""

def _runs(store: Sqlite3, status: Sequence[str], tag: Sequence[str], since: str | None, experiment: str | None) -> str:
    """The runs that are meant, the newest first, as a JSON list."""

def _run(store: Sqlite3, path: str | PathLike[str], run: str) -> str:
    """What is known of one run, by its id or name, as a JSON object."""

def _names(store: Sqlite3, run: str, keys: Sequence[str]) -> list[tuple[str, str]]:
    """The keys of a run that are meant, each with its split, in the order in which they are looked at."""

def _in_order(keys: Sequence[str]) -> tuple[list[str], int]:
    """The keys of a row in the order in which they are looked at, and how many of them stand first."""

def _courses(store: Sqlite3, run: str, keys: Sequence[str], split: str | None) -> dict[str, Any]:
    """`step`, `time` in milliseconds since 1970, and `courses`: key, split and numbers, NaN where there is none."""

def _glance(store: Sqlite3, run: str, keys: Sequence[str], all: bool) -> tuple[list[dict[str, Any]], int]:
    """What is looked at first of a run, and how many keys there are besides."""

def _compare(runs: Sequence[tuple[Sqlite3, str]], keys: Sequence[str], all: bool) -> dict[str, Any]:
    """Runs beside each other: what became of each key, and where configurations differ, with their values as JSON."""

def _unknown_name(what: str, name: str, known: Sequence[str]) -> str:
    """That `name` is none of `known`, and which of them it may have been meant for; `what` is what they are names of."""

def _cancel_open(reason: str) -> None:
    """Ends the runs of all open engines as cancelled for that reason."""

def _postponed() -> bool:
    """Whether this thread is in the middle of a call; `_termination.resume` is called once that is over."""

def _is_any_open() -> bool:
    """Whether there is an engine that nobody has finished."""

def _address(name: str, column: Any) -> int:
    """Where the cells of a token column lie once it is read: where they lay before, if it is borrowed."""

def _command(arguments: Sequence[str]) -> int:
    """Runs the command `grpo-metrics` with these arguments, the first its own name; its exit code."""

def _panic(reason: str) -> None:
    """Panics, to show what Python sees of a panic."""
