"""Several ranks, here as threads of one process: each observes its own completions, and rank 0 has the one row over all of them.

With torch.distributed or accelerate, a rank makes `gm.Engine(gather=TorchGather())` (grpo_metrics.torch), and the rest is the same.
"""

from __future__ import annotations

import threading

import grpo_metrics as gm


class Meeting:
    """Where the ranks' bytes come together at each step."""

    def __init__(self, world_size: int) -> None:
        self.payloads: list[bytes | None] = [None] * world_size
        self.all_here = threading.Barrier(world_size)


class Gather:
    """One rank's part: whatever has `rank`, `world_size` and `gather` will do."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.rank, self.world_size = meeting, rank, len(meeting.payloads)

    def gather(self, payload: bytes) -> list[bytes | None] | None:
        self.meeting.payloads[self.rank] = payload
        self.meeting.all_here.wait()
        gathered = list(self.meeting.payloads)
        self.meeting.all_here.wait()  # before anyone brings the next step's
        return gathered if self.rank == 0 else None


def train(gather: Gather, rows: list[dict[str, float]]) -> None:
    with gm.Engine(dialect="verl", gather=gather) as engine:
        for step in (1, 2):
            # Group 7 has members on every rank.
            engine.observe(group_ids=[7, 7], rewards=[float(gather.rank), float(step)])
            row = engine.step(step)
            assert (row is not None) == (gather.rank == 0)
            if row is not None:
                rows.append(row)


def main(world_size: int = 3) -> list[dict[str, float]]:
    meeting, rows = Meeting(world_size), list[dict[str, float]]()
    ranks = [threading.Thread(target=train, args=(Gather(meeting, rank), rows)) for rank in range(world_size)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    return rows


if __name__ == "__main__":
    first, second = main()
    assert (first["critic/score/mean"], second["critic/score/max"]) == (1.0, 2.0)
    print(first)
