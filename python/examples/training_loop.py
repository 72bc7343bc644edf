"""A training loop of one's own: a toy policy over two answers learns the better one, and its run is stored.

    python training_loop.py [STORE]
"""

from __future__ import annotations

import math
import random
import sys

import grpo_metrics as gm

PROMPTS, GROUP = 8, 4


def advantages_of(rewards: list[float]) -> list[float]:
    """A reward less the mean of its group, in units of the group's deviation."""
    advantages: list[float] = []
    for start in range(0, len(rewards), GROUP):
        group = rewards[start : start + GROUP]
        mean = sum(group) / GROUP
        deviation = math.sqrt(sum((reward - mean) ** 2 for reward in group) / GROUP)
        advantages += [(reward - mean) / (deviation + 1e-4) for reward in group]
    return advantages


def train(store: str, run: str, learning_rate: float, steps: int = 40) -> float:
    """Trains, with a row every fourth step; the last row's mean reward."""
    chance, draw = 0.5, random.Random(0)
    with gm.Engine(dialect="trl", store=store, run=run, logging_steps=4, config={"learning_rate": learning_rate}) as engine:
        for step in range(1, steps + 1):
            # What was sampled, and how likely the policy thought it.
            right = [draw.random() < chance for _ in range(PROMPTS * GROUP)]
            logps = [math.log(chance if is_right else 1 - chance) for is_right in right]
            rewards = [float(is_right) for is_right in right]
            advantages = advantages_of(rewards)
            gradient = sum(a if is_right else -a for a, is_right in zip(advantages, right)) / len(right)
            chance = min(max(chance + learning_rate * gradient, 0.02), 0.98)

            engine.observe(
                group_sizes=[GROUP] * PROMPTS,
                rewards=rewards,
                reward_components={"right": rewards},
                advantages=advantages,
                completion_lengths=[1] * len(right),
                token_logps=[math.log(chance if is_right else 1 - chance) for is_right in right],
                old_token_logps=logps,
            )
            scalars: gm.Scalars = {"learning_rate": learning_rate, "grad_norm": abs(gradient)}
            row = engine.step(step, scalars=scalars)
            if row is not None:
                print(f"{engine.run}, step {step}: reward {row['reward']:.3f}, clipped {row['clip_ratio/region_mean']:.3f}")
        last = engine.last_row
    assert last is not None
    return last["reward"]


if __name__ == "__main__":
    store = sys.argv[1] if len(sys.argv) > 1 else "runs.db"
    assert train(store, "slow", 0.01) < train(store, "fast", 0.1)
