"""prime-rl: a `Monitor`, which has each step's episodes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine import Engine
from ._host import Host
from ._rows import advantages, numbered, spans

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..given import Options

NAMES = {
    "step_time_sec": "time/step",
    "grad_norm": "optim/grad_norm",
    "learning_rate": "optim/lr",
    "total_loss": "loss/mean",
    "samples_dropped": "off_policy/dropped",
}
"""Our scalars by prime-rl's names."""


def install(*, engine: Engine | None = None, **options: Unpack[Options]) -> None:
    """Has `prime_rl.monitors.setup` register a `GrpoMetricsMonitor` beside those that are configured: called before the orchestrator's `main`.

    `options` are those of `Engine`, as in `grpo_metrics.trl`. Where `setup` registers none (another rank), ours is not registered either.
    """
    from prime_rl import monitors

    monitor, setup = GrpoMetricsMonitor(engine=engine, **options), monitors.setup

    async def setup_with_ours(*args: Any, **kwargs: Any) -> None:
        import os

        await setup(*args, **kwargs)
        if int(os.environ.get("RANK", os.environ.get("DP_RANK", "0"))) == 0:
            await monitor.init(config=kwargs.get("run_config"))
            monitors.MONITORS.append(monitor)

    monitors.setup = setup_with_ours


class GrpoMetricsMonitor:
    """What prime-rl logs, and each step's effective training episodes, in a store. It has the methods of a `Monitor`.

    A trace is a completion; of one with several branches each is a row of tokens, and the first has the reward. What is sampled counts, what
    an environment said does not. Evaluations' episodes are in prime-rl's own numbers alone. Nothing is computed in the event loop.
    """

    def __init__(self, *, engine: Engine | None = None, **options: Unpack[Options]) -> None:
        self.host = Host("prime-rl", ("prime-rl", "verl"), engine, options)

    async def init(self, config: Any = None, **others: Any) -> None:
        """The run begins; `config` is prime-rl's."""
        self.host.shielded("the configuration", lambda: self.host.configured(config.model_dump(mode="json") if config is not None else {}))

    async def log(self, data: Any, step: int, kind: str = "train", subset: str = "effective") -> None:
        """Takes numbers, an episode or several, as prime-rl hands them to every monitor."""
        if isinstance(data, dict):
            await self.log_metrics(data, step=step)
        else:
            await self.log_episodes(data if isinstance(data, list) else [data], step=step, kind=kind, subset=subset)

    async def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        """Takes numbers; with them the step whose episodes came before ends."""
        await asyncio.to_thread(self.host.logged, step, metrics, NAMES)

    async def log_episodes(self, episodes: list[Any], step: int, kind: str, subset: str) -> None:
        """Takes the episodes that a step trains on."""
        if kind == "train" and subset == "effective":
            await asyncio.to_thread(self.host.observe, step, lambda: self._columns(episodes))

    async def finalize(self) -> None:
        """The run is over."""
        self.host.finish()

    def _columns(self, episodes: list[Any]) -> dict[str, Any] | None:
        rows: list[dict[str, Any]] = []
        for episode in episodes:
            for trace in episode.traces:
                rows.extend(_rows_of(episode, trace))
        if not rows:
            return None
        columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0] if name not in ("group", "components", "token_advantages")}
        columns["group_ids"] = numbered(row["group"] for row in rows)
        names = dict.fromkeys(name for row in rows for name in row["components"])
        columns["reward_components"] = {name: [row["components"].get(name) for row in rows] for name in names}
        if all(row["token_advantages"] is not None for row in rows):
            masks = [mask.astype(np.uint8) for mask in columns["loss_mask"]]
            columns |= advantages([row["token_advantages"] for row in rows], masks)
        if any(row["sampling_token_logps"] is None for row in rows):
            del columns["sampling_token_logps"]
        return columns


def _rows_of(episode: Any, trace: Any) -> list[dict[str, Any]]:
    group = getattr(episode.group, "id", None) or episode.id
    # Without their weights, as of every trainer, and as its files are read; prime-rl logs them with.
    rewards = {name: reward.score for name, reward in trace.rewards.items() if reward is not None}
    rows: list[dict[str, Any]] = []
    for branch in trace.branches:
        mask, tokens = np.asarray(branch.sampled_mask, dtype=bool), np.asarray(branch.token_ids)
        if not mask.any():
            continue
        [(begin, end)] = spans(mask[None])
        logps, given = branch.logprobs, branch.advantages
        first = not rows
        rows.append(
            {
                # What another agent said in the same episode is no attempt at the same.
                "group": (group, getattr(trace.agent, "name", None)),
                "rewards": float(trace.reward) if first else None,
                "components": rewards if first else {},
                "completion_lengths": end - begin,
                "prompt_lengths": begin,
                "token_ids": tokens[begin:end],
                "loss_mask": mask[begin:end],
                "sampling_token_logps": np.asarray(logps)[begin:end] if logps is not None and any(logps) else None,
                "token_advantages": np.asarray(given)[begin:end] if given is not None else None,
                "terminated": not trace.is_truncated,
                "turns": int(trace.num_turns),
                "errors": bool(trace.has_error),
                "stop_conditions": str(trace.stop_condition),
                "tags": str(_env(episode)),
            }
        )
    return rows


def _env(episode: Any) -> Any:
    env = getattr(episode, "env", None)
    return getattr(env, "name", None) or getattr(env, "id", None) or "env"
