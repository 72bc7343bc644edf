"""AReaL: its `StatsLogger`, heard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..engine import Engine
from ._host import Host, wrapped

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..given import Options


def attach(stats_logger: Any, *, engine: Engine | None = None, **options: Unpack[Options]) -> Any:
    """Has everything that a `StatsLogger` commits stored as well, under AReaL's names and at its steps: `attach(trainer.stats_logger, ...)`.

    `options` are those of `Engine`, as in `grpo_metrics.trl`. What is committed are numbers, no completions: none are counted. Of several
    ranks the first alone stores, as the first alone logs. Gives the logger back.
    """
    host = Host("areal", ("verl",), engine, options)

    def committed(_: Any, *args: Any, **kwargs: Any) -> None:
        if _is_first():
            host.shielded("what the trainer logs", lambda: _take(host, stats_logger, *args, **kwargs))

    host.shielded("the configuration", lambda: host.configured(_config(stats_logger)))
    if not wrapped(stats_logger, "commit", committed):
        host.lack("`commit`", "anything: it is no `StatsLogger`")
    wrapped(stats_logger, "close", lambda *_, **__: host.finish())
    host.tell()
    return stats_logger


def _take(host: Host, stats_logger: Any, epoch: int, step: int, global_step: int, data: Mapping[str, Any] | list[Mapping[str, Any]]) -> None:
    items = [data] if isinstance(data, Mapping) else list(data)
    # A step that commits several takes several of the log's steps; the last is known once it has.
    last = getattr(stats_logger, "_last_commit_step", global_step + len(items) - 1)
    for i, item in enumerate(items):
        host.logged(last - len(items) + 1 + i, {name: value for name, value in item.items() if not name.endswith("__count")})


def _is_first() -> bool:
    try:
        import torch.distributed as dist
    except ImportError:
        return True
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def _config(stats_logger: Any) -> Any:
    from dataclasses import asdict

    return asdict(stats_logger.exp_config)
