"""What the shards of workers come to, where some of the workers may be gone."""

from __future__ import annotations

from typing import NamedTuple

from .shard import Shard


class Merged(NamedTuple):
    """What workers' shards come to, for `engine.join(*merge(refs))`."""

    shard: Shard
    missing: dict[int, str]
    """The ranks whose shards are not in it, each with the reason."""


def one_line(text: str) -> str:
    """A reason, for a row: its beginning, without line breaks."""
    return " ".join(text.split())[:500]
