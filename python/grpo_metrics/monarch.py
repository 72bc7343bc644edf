"""Monarch: shards that the endpoints of actors return, merged at the driver."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ._merged import Merged, one_line
from .shard import Shard


def merge(futures: Mapping[int, Any], *, deadline: float = 300.0) -> Merged:
    """What the shards of these futures come to, by rank: of an endpoint's calls, one for each actor.

        futures = {rank: workers.slice(gpus=rank).shard.call_one(step) for rank in range(8)}
        engine.join(*merge(futures))

    An actor that has died, has raised or does not answer within `deadline` seconds is in `missing` with the reason, and the others count.
    (One call of the whole mesh fails as a whole. And Monarch ends a driver whose actor has died unless
    `monarch.actor.unhandled_fault_hook` says otherwise.) A StepError where shards do not belong together.
    """
    merged = Merged(Shard(), {})
    until = time.monotonic() + deadline
    for rank, future in futures.items():
        try:
            shard = future.get(timeout=max(0.0, until - time.monotonic()))
        except TimeoutError:
            merged.missing[rank] = f"did not answer within {deadline:g} s"
            continue
        except Exception as error:  # whatever an actor has died of
            merged.missing[rank] = one_line(f"{type(error).__name__}: {error}")
            continue
        if isinstance(shard, Shard):
            merged.shard.merge(shard)
        else:
            merged.missing[rank] = f"expected a Shard from its actor, found {type(shard).__name__}"
    return merged
