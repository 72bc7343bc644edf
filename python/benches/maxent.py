"""What a step of the MaxEnt trainer's logging costs, with the original's functions and with ours, in one process by turns.

`python benches/maxent.py CHECKOUT`, a checkout of github.com/liv-daliberti/maxent-grpo at 7266e31. Sizes are completions x reward
components, in groups of eight; a step is `log_local_step` and `log_training_step`. Times are of the processor, per step, least of
the rounds. The exit code is 1 where ours takes a larger share of the original's time than it may.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace as Obj
from typing import Any

import pytest  # noqa: F401  # without torch, the original makes do with a stand-in where pytest is loaded

from grpo_metrics import maxent

AT_MOST = {(64, 3): 0.8, (512, 3): 0.8, (4096, 4): 0.4}
GROUP = 8


def one_step(functions: Any, completions: int, components: int, logging_steps: int) -> Callable[[int], None]:
    """A training's step, whose rows go nowhere."""
    r = random.Random(0)
    groups = range(completions // GROUP)
    advantages = [[r.gauss(0, 1) for _ in range(GROUP)] for _ in groups]
    uniform = [[1 / GROUP] * GROUP for _ in groups]
    rewards = Obj(
        total_utils=[r.random() for _ in range(completions)],
        per_reward_values={f"r{i}": [r.random() for _ in range(completions)] for i in range(components)},
        advantage=Obj(grouped=advantages),
        advantage_samples=[x for group in advantages for x in group],
        q_grouped=uniform,
        entropy_bonus_scale=None,
        pairs=None,
    )
    weights = Obj(
        weights_grouped=uniform,
        weight_entropy=2.0,
        weight_entropy_min=2.0,
        weight_entropy_max=2.0,
        advantage_entropy=[0.0] * completions,
    )
    lengths = "min_length mean_length max_length clipped_ratio min_terminated mean_terminated max_terminated".split()
    clipping = {f"clip_ratio{name}": 0.1 for name in ("", "_low_mean", "_low_min", "_high_mean", "_high_max", "_region_mean")}
    buckets = {"kl_per_token_by_len_bucket": {"0-32": 0.1}, "kl_token_count_by_len_bucket": {"0-32": 100.0}}
    prepared = Obj(
        reward_comp=rewards,
        weight_stats=weights,
        ref_stats=Obj(ref_logp_mean=-1.0, avg_completion_tokens=20.0),
        num_completion_tokens=1000.0,
        length_stats=Obj(**dict.fromkeys(lengths, 1.0)),
        diversity_metrics=None,
    )
    losses = Obj(total_loss_scalar=1.0, policy_loss_scalar=1.0, kl_loss_scalar=0.1, weighted_kl_loss_scalar=0.01, clip_loss_scalar=None)
    numbers = {"tau": 0.2, "beta": 0.1, "denom": 1.0, "q_temperature": 1.0, "q_epsilon": 1e-6, "tau_lr": 0.0, "tau_min": 0.0}
    numbers |= {"tau_max": 1.0, "tau_warmup_steps": 0, "tau_target_entropy": 0.3, "kl_target": 0.1, "kl_horizon": 10}
    weighting = Obj(**numbers, kl_ctl_step_size=0.1, len_norm_ref=False, train_grpo_objective=False)

    @contextmanager
    def step_logger(step: int, enabled: bool = True) -> Any:
        yield Obj(log=lambda row: None)

    context = Obj(
        runtime=Obj(accelerator=Obj(num_processes=1, is_main_process=True)),
        training_args=Obj(logging_strategy="steps", logging_steps=logging_steps, log_completions=False),
        scoring=Obj(weighting=weighting, clipping=None),
        logging=Obj(step_logger=step_logger, wandb_run=None),
        generation=Obj(use_vllm=False, generation_stats={}),
        optimization=Obj(schedule=Obj(steps_per_epoch=100)),
    )
    state = Obj(global_step=0, metric_sums={}, metric_counts={}, num_input_tokens_seen=7.0)
    artifacts = functions.LogStepArtifacts(losses, Obj(kl_value=0.1, **clipping, **buckets), 1.0, 0.5)

    def step(number: int) -> None:
        state.global_step = number
        functions.log_local_step(context, state, prepared, artifacts, 1e-6)
        functions.log_training_step(context, state, prepared, artifacts, 1e-6)

    return step


def least(steps: list[Callable[[int], None]], rounds: int) -> list[float]:
    """Microseconds a step of each, in the best of the rounds of ten steps."""
    best = [float("inf")] * len(steps)
    for _ in range(rounds):
        for at, step in enumerate(steps):
            began = time.process_time()
            for number in range(1, 11):
                step(number)
            best[at] = min(best[at], (time.process_time() - began) * 1e5)
    return best


def main(checkout: str) -> int:
    sys.path.insert(0, str(Path(checkout) / "src"))
    os.environ.setdefault("MAXENT_GIT_SHA", "bench")
    from maxent_grpo.training import metrics as original

    over = 0
    for (completions, components), at_most in AT_MOST.items():
        for logging_steps in (1, 10):
            both = [one_step(functions, completions, components, logging_steps) for functions in (original, maxent)]
            theirs, ours = least(both, 100 if completions < 4096 else 15)
            over += ours > at_most * theirs
            size = f"{completions}x{components}, logging_steps {logging_steps}"
            print(f"{size:28} {theirs:7.0f} us, ours {ours:6.0f} us: {ours / theirs:.2f} (at most {at_most})")
    return int(over > 0)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
