"""A gather over torch.distributed: what brings the ranks of a training together, once a step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any


class TorchGather:
    """Brings every rank's bytes to rank 0 of `group` (the default group without one), for `Engine(gather=...)`.

    Two collectives a step: the sizes to all, then the bytes to rank 0. They go over the group's own backend: gloo from the
    host's memory, NCCL from the current GPU's. A rank that does not answer within `deadline` seconds is an error on those that
    waited for it, after which torch may refuse the group; give the gather a group of its own (`torch.distributed.new_group()`)
    to keep the training's apart.

    With tensor, pipeline or context parallel ranks, `data_parallel_group` is this rank's group of ranks that hold different data. Of
    those groups each holds all of the data once, and the one with rank 0 of `group` counts: its ranks gather among themselves. Every
    other rank is a `replica`: nothing of it is counted, and it waits for nobody.
    """

    def __init__(self, group: Any = None, *, data_parallel_group: Any = None, deadline: float = 300.0) -> None:
        import torch.distributed as dist

        if not dist.is_initialized():
            raise ValueError("expected torch.distributed to be initialised (init_process_group), found that it is not")
        self.replica = False
        if data_parallel_group is not None:
            root = 0 if group is None else dist.get_global_rank(group, 0)
            self.replica = root not in dist.get_process_group_ranks(data_parallel_group)
            group = group if self.replica else data_parallel_group
        self.group, self.deadline = group, timedelta(seconds=deadline)
        self.rank: int = dist.get_rank(group)
        self.world_size: int = dist.get_world_size(group)
        # The root of a data parallel group is its own first rank, which need not be rank 0 of all.
        if data_parallel_group is not None and not self.replica and (self.rank == 0) != (dist.get_rank() == root):
            raise ValueError("expected rank 0 to be the first of its `data_parallel_group`, found that it is not")

    def gather(self, payload: bytes) -> list[bytes] | None:
        """Every rank's bytes at rank 0, in order of rank; `None` elsewhere. Called once a step on every rank."""
        if self.replica:
            return None
        import torch
        import torch.distributed as dist

        device = self._device()
        sizes = torch.zeros(self.world_size, dtype=torch.int64, device=device)
        own = torch.tensor([len(payload)], dtype=torch.int64, device=device)
        self._wait(dist.all_gather_into_tensor(sizes, own, group=self.group, async_op=True))
        longest = int(sizes.max())
        sent = torch.zeros(max(longest, 1), dtype=torch.uint8, device=device)
        if payload:
            sent[: len(payload)] = torch.frombuffer(bytearray(payload), dtype=torch.uint8).to(device)
        received = [torch.empty_like(sent) for _ in range(self.world_size)] if self.rank == 0 else None
        root = 0 if self.group is None else dist.get_global_rank(self.group, 0)
        self._wait(dist.gather(sent, received, dst=root, group=self.group, async_op=True))
        if received is None:
            return None
        return [bytes(part[:size].cpu().numpy()) for part, size in zip(received, sizes.tolist())]

    def _device(self) -> Any:
        import torch
        import torch.distributed as dist

        on_gpu = "nccl" in str(dist.get_backend(self.group))
        return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")

    def _wait(self, work: Any) -> None:
        if work is not None:
            work.wait(self.deadline)
