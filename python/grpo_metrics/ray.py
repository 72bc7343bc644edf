"""Ray: shards that workers return, merged on their way to the driver; and a gather for actors that run an engine each."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import StepError
from ._merged import Merged, one_line
from .shard import Shard

_MISSES = 3
"""After so many steps in a row without its part a rank is waited for no longer, as in the gathers of Rust."""


_GRACE = 10.0
"""Seconds that a task, and the driver, wait longer for the tasks below than those wait themselves: Ray has to start them."""


class _Part(NamedTuple):
    shard: Shard
    missing: dict[int, str]
    conflict: str | None = None


def merge(refs: Sequence[Any] | Mapping[int, Any], *, deadline: float = 300.0, fan_in: int = 8) -> Merged:
    """What the shards behind these references come to, as merged by a tree of Ray tasks in which none takes more than `fan_in`: the
    driver's work and memory grow with their logarithm. The bits are those of one process, whatever the tree.

    `refs` are what workers' methods that return a `Shard` have given, in order of rank, or a mapping by rank. A worker that has died,
    has raised or does not answer within `deadline` seconds is in `missing` with the reason, and the others count: `Engine.join` takes
    both, and the engine's `policy` says whether the step fails then or goes on with a row that names the rank.

    A StepError where shards do not belong together, such as two of one rank and micro-batch. Tasks ask for no CPU, so that they run
    where the training has all of them.
    """
    by_rank = dict(refs) if isinstance(refs, Mapping) else dict(enumerate(refs))
    if fan_in < 2:
        raise ValueError(f"`fan_in`: expected at least 2, found {fan_in}")
    parts = [([rank], ref) for rank, ref in by_rank.items()]
    level = 0
    while len(parts) > fan_in:
        chunks = [parts[at : at + fan_in] for at in range(0, len(parts), fan_in)]
        patience = deadline + level * _GRACE
        parts = [([rank for ranks, _ in chunk for rank in ranks], _task().remote(chunk, patience)) for chunk in chunks]
        level += 1
    merged = _joined(parts, deadline + level * _GRACE)
    if merged.conflict is not None:
        raise StepError(merged.conflict)
    return Merged(merged.shard, dict(sorted(merged.missing.items())))


@functools.cache
def _task() -> Any:
    import ray

    return ray.remote(_joined).options(num_cpus=0)


def _joined(parts: list[tuple[list[int], Any]], deadline: float) -> _Part:
    """What these references give, each with the ranks behind it. What goes wrong is in what is returned, so that it is never lost."""
    import ray

    shard = Shard()
    missing: dict[int, str] = {}
    conflict: str | None = None
    refs = list(dict.fromkeys(ref for _, ref in parts))
    # All at once: one that tarries takes none of the others' time.
    here = set(ray.wait(refs, num_returns=len(refs), timeout=deadline)[0] if refs else ())
    for ranks, ref in parts:
        if ref not in here:
            missing |= dict.fromkeys(ranks, f"did not answer within {deadline:g} s")
            continue
        try:
            part = ray.get(ref)
        except Exception as error:  # whatever a worker has died of
            missing |= dict.fromkeys(ranks, _why(error))
            continue
        if isinstance(part, Shard):
            part = _Part(part, {})
        if not isinstance(part, _Part):
            missing |= dict.fromkeys(ranks, f"expected a Shard from its worker, found {type(part).__name__}")
            continue
        missing |= part.missing
        conflict = conflict or part.conflict
        try:
            shard.merge(part.shard)
        except StepError as error:
            conflict = conflict or str(error)
    return _Part(shard, missing, conflict)


def _why(error: Exception) -> str:
    """In one line, which actor or task it was and what became of it."""
    from ray import exceptions

    if isinstance(error, exceptions.RayTaskError):
        cause = getattr(error, "cause", None) or error
        return one_line(f"{type(cause).__name__}: {cause}")
    if isinstance(error, exceptions.RayActorError):
        actor = getattr(error, "actor_id", None)
        return one_line(f"actor {actor} has died: {error}" if actor else f"its actor has died: {error}")
    return one_line(f"{type(error).__name__}: {error}")


def gathers(world_size: int, *, deadline: float = 300.0) -> list[RayGather]:
    """A gather for each of so many actors that run an engine each, by rank: hand one to each, for `Engine(gather=...)`. The caller, such
    as the driver, keeps the place where they meet: it is gone when the caller is.
    """
    import ray

    meeting = ray.remote(_Meeting).options(num_cpus=0).remote(world_size)
    return [RayGather(meeting, rank, world_size, deadline) for rank in range(world_size)]


class RayGather:
    """One rank's part of `gathers`. A rank sends and goes on; rank 0 waits for the others, at most `deadline` seconds, for one whose
    actor has died not at all, and for one that has missed three steps in a row not until it is heard again.
    """

    def __init__(self, meeting: Any, rank: int, world_size: int, deadline: float) -> None:
        self.rank, self.world_size, self.deadline = rank, world_size, deadline
        self._meeting = meeting
        self._sequence: int | None = None
        self._sent: Any = None

    def gather(self, payload: bytes) -> list[bytes | str | None] | None:
        """Every rank's bytes at rank 0, or why there are none; `None` elsewhere. Called once a step on every rank."""
        import ray

        if self._sequence is None:
            actor = _this_actor()
            self._sequence = ray.get(self._meeting.enter.remote(self.rank, actor), timeout=self.deadline)
        self._sequence += 1
        if self.rank == 0:
            collected = self._meeting.collect.remote(self._sequence, self.deadline)
            parts: list[bytes | str | None] = ray.get(collected, timeout=self.deadline * 1.1 + 10)
            return parts
        if self._sent is not None and ray.wait([self._sent], timeout=0)[0]:
            ray.get(self._sent)  # raises where the ranks no longer meet
        self._sent = self._meeting.put.remote(self.rank, self._sequence, payload)
        return None


def _this_actor() -> Any:
    import ray

    try:
        return ray.get_runtime_context().current_actor
    except RuntimeError:  # the driver, or a task
        return None


class _Meeting:
    """Where the ranks' bytes wait for rank 0; an actor of its own, as a rank that trains answers nobody."""

    def __init__(self, world_size: int) -> None:
        self._world_size = world_size
        self._over = 0
        self._parts: dict[int, dict[int, bytes]] = {}
        self._actors: dict[int, Any] = {}
        self._watched: set[int] = set()
        self._dead: dict[int, str] = {}
        self._missed: dict[int, int] = {}
        self._changed = asyncio.Event()

    async def enter(self, rank: int, actor: Any) -> int:
        """The last step that is over for a rank that has started anew; a rank's first process begins with the first, be it late."""
        is_new = rank not in self._actors
        self._actors[rank] = actor
        self._dead.pop(rank, None)
        return 0 if is_new else self._over

    async def put(self, rank: int, sequence: int, payload: bytes) -> None:
        self._missed.pop(rank, None)
        if sequence > self._over:
            self._parts.setdefault(sequence, {})[rank] = payload
        self._changed.set()

    async def collect(self, sequence: int, deadline: float) -> list[bytes | str | None]:
        parts = self._parts.setdefault(sequence, {})
        until = time.monotonic() + deadline
        while waiting := [rank for rank in range(1, self._world_size) if rank not in parts and self._is_awaited(rank)]:
            for rank in waiting:
                self._watch(rank)
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), until - time.monotonic())
            except asyncio.TimeoutError:
                break
        self._over = sequence
        self._parts = {later: there for later, there in self._parts.items() if later > sequence}
        said: list[bytes | str | None] = [b""]
        for rank in range(1, self._world_size):
            said.append(parts[rank] if rank in parts else self._why(rank, deadline))
        return said

    def _is_awaited(self, rank: int) -> bool:
        return rank not in self._dead and self._missed.get(rank, 0) < _MISSES

    def _why(self, rank: int, deadline: float) -> str:
        if rank in self._dead:
            return self._dead[rank]
        missed = self._missed[rank] = self._missed.get(rank, 0) + 1
        if missed > _MISSES:
            return f"is left out until it is heard again: nothing of it came in time for {missed} steps"
        return f"did not answer within {deadline:g} s"

    def _watch(self, rank: int) -> None:
        """Asks its actor for a sign of life, once at a time: one that is busy answers later, one that has died at once."""
        if self._actors.get(rank) is not None and rank not in self._watched:
            self._watched.add(rank)
            asyncio.ensure_future(self._watching(rank, self._actors[rank]))

    async def _watching(self, rank: int, actor: Any) -> None:
        from ray import exceptions

        try:
            await actor.__ray_ready__.remote()
        except exceptions.ActorUnavailableError:
            await asyncio.sleep(1)  # it may come back
        except Exception as error:
            if self._actors.get(rank) is actor:
                self._dead[rank] = _why(error)
        else:
            await asyncio.sleep(0.2)
        finally:
            self._watched.discard(rank)
            self._changed.set()
