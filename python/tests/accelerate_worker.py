"""One process of test_accelerate.py: summarises rewards over all of them by the real library."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from accelerate import Accelerator

from grpo_metrics.maxent import summarize_reward_stats


def main(out: str) -> None:
    accelerator = Accelerator(cpu=True)
    rank = accelerator.process_index
    rewards = [[0.0, 1.0], [5.0]][rank]
    view = summarize_reward_stats(accelerator, SimpleNamespace(total_utils=rewards))
    Path(out, f"{rank}.json").write_text(json.dumps([accelerator.num_processes, view.reward_mean]))


if __name__ == "__main__":
    main(*sys.argv[1:])
