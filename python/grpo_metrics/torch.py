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
    """

    def __init__(self, group: Any = None, *, deadline: float = 300.0) -> None:
        import torch.distributed as dist

        if not dist.is_initialized():
            raise ValueError("expected torch.distributed to be initialised (init_process_group), found that it is not")
        self.group, self.deadline = group, timedelta(seconds=deadline)
        self.rank: int = dist.get_rank(group)
        self.world_size: int = dist.get_world_size(group)

    def gather(self, payload: bytes) -> list[bytes] | None:
        """Every rank's bytes at rank 0, in order of rank; `None` elsewhere. Called once a step on every rank."""
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
