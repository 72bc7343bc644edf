"""A sink of one's own: any object with `write(row)`. This one keeps the best step."""

from __future__ import annotations

from typing import TypedDict

import grpo_metrics as gm


class Row(TypedDict):
    """What a sink is handed."""

    ts: float
    step: int
    metrics: dict[str, float]


class Best:
    """Remembers where a metric was at its highest."""

    def __init__(self, key: str) -> None:
        self.key, self.step, self.value = key, -1, float("-inf")

    def write(self, row: Row) -> None:
        value = row["metrics"].get(self.key, float("-inf"))
        if value > self.value:
            self.step, self.value = row["step"], value


def main() -> Best:
    best = Best("reward")
    with gm.Engine(dialect="trl", sinks=[best]) as engine:
        for step, rewards in enumerate(([0.0, 0.5], [1.0, 0.5], [0.0, 1.0]), start=1):
            engine.observe(group_sizes=[2], rewards=rewards)
            engine.step(step)
    return best


if __name__ == "__main__":
    best = main()
    assert (best.step, best.value) == (2, 0.75)
    print(f"{best.key} was highest at step {best.step}: {best.value}")
