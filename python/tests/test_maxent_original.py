"""Beside the original, where GRPO_METRICS_MAXENT_ORIGINAL names a checkout of it: random cases, and its own tests on ours.

The original is github.com/liv-daliberti/maxent-grpo at 7266e31; `.ci/full maxent-original` fetches it.
"""

from __future__ import annotations

import importlib
import math
import os
import random
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace as Obj

import pytest

from grpo_metrics import maxent

CHECKOUT = os.environ.get("GRPO_METRICS_MAXENT_ORIGINAL")
CASES = int(os.environ.get("GRPO_METRICS_MAXENT_CASES", "3000"))
pytestmark = pytest.mark.skipif(not CHECKOUT, reason="GRPO_METRICS_MAXENT_ORIGINAL names no checkout of the original")

# Those of its tests that touch what ours stands for.
TESTS = [
    "tests/training/runtime/logging",
    "tests/training/test_training_metrics_unit.py",
    "tests/training/test_run_training_eval.py",
    "tests/training/pipeline/test_training_pipeline_collect_stats.py",
]


@pytest.fixture(scope="module")
def theirs():
    sys.path.insert(0, str(Path(CHECKOUT) / "src"))
    os.environ["MAXENT_GIT_SHA"] = "no-number"
    return importlib.import_module("maxent_grpo.training.metrics")


@pytest.mark.parametrize("types", ["theirs", "ours"])
def test_its_own_tests_pass_on_ours(types):
    folder = Path(__file__).parent
    places = [str(folder), str(Path(maxent.__file__).parents[2]), str(Path(CHECKOUT) / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"GRPO_METRICS_MAXENT_TYPES": types, "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "maxent_original", "-p", "no:cacheprovider", *TESTS]
    said = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=900)
    assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", said.stdout)[1]) >= 73


class Ranks:
    """Processes as threads, with a gather that waits for all of them."""

    def __init__(self, count):
        self.count, self.slots = count, [None] * count
        self.barrier = threading.Barrier(count, timeout=60)

    def gather(self, rank, own):
        self.slots[rank] = own
        self.barrier.wait()
        together = list(self.slots)
        self.barrier.wait()
        return together

    def run(self, work):
        """What `work(accelerator)` gives on each rank."""
        results, failures = [None] * self.count, []

        def one(rank):
            accelerator = Obj(num_processes=self.count, process_index=rank, is_main_process=rank == 0)
            accelerator.gather_object = lambda own: self.gather(rank, own)
            try:
                results[rank] = work(accelerator)
            except BaseException as error:
                failures.append(error)
                self.barrier.abort()

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return results


def grouped(r, sizes, draw):
    return [[draw(r) for _ in range(size)] for size in sizes]


def share(r, sizes):
    raw = grouped(r, sizes, lambda r: r.random() + 1e-3)
    return [[x / sum(group) for x in group] for group in raw]


def rank_of(r, names, grpo):
    """What one rank's trainer has of a step."""
    sizes = [r.randint(1, 5) for _ in range(r.randint(1, 5))]
    n = sum(sizes)
    advantages = grouped(r, sizes, lambda r: 0.0 if r.random() < 0.3 else r.gauss(0, 1))
    of_q = sizes if r.random() < 0.8 else [r.randint(1, 4) for _ in range(r.randint(1, 6))]
    weights = share(r, sizes)
    entropies = [-sum(w * math.log(max(w, 1e-12)) for w in group) for group in weights]
    seeds = [r.random() for _ in sizes] if r.random() < 0.5 else None
    rewards = Obj(
        total_utils=[r.choice([0.0, 1.0, r.gauss(0, 3)]) for _ in range(n)],
        per_reward_values={name: [r.gauss(0, 1) for _ in range(n if r.random() < 0.8 else r.randint(1, 9))] for name in names},
        advantage=Obj(grouped=advantages),
        advantage_samples=[x for group in advantages for x in group],
        q_grouped=share(r, of_q),
        seed_semantic_entropies=seeds,
        seed_advantage_scales=seeds if r.random() < 0.5 else [r.random() for _ in range(r.randint(1, 4))],
        seed_alpha_effective=r.random() if r.random() < 0.5 else None,
        seed_max_possible_entropy=r.random() if r.random() < 0.5 else None,
        entropy_bonus_scale=r.random() if r.random() < 0.5 else None,
        pairs=None,
    )
    told = (0.0, 0.0, 0.0) if grpo else (sum(entropies) / len(entropies), min(entropies), max(entropies))
    weight_stats = Obj(
        weights_grouped=weights,
        weight_entropy=told[0],
        weight_entropy_min=told[1],
        weight_entropy_max=told[2],
        advantage_entropy=[] if grpo else [w - 1 / len(group) for group in weights for w in group],
    )
    return rewards, weight_stats


class Tensor(list):
    """As much of a tensor as the trainer's scores are read for."""

    def detach(self):
        return self

    float = cpu = detach

    def sum(self):
        return Number(sum(self))


class Number(float):
    def cpu(self):
        return self

    def item(self):
        return float(self)


def step_of(r, names, grpo, ranks):
    """The objects of one step, of each rank, and those that the main process alone looks at."""
    own = [rank_of(r, names, grpo) for _ in range(ranks)]
    maybe = lambda value, chance=0.7: value if r.random() < chance else None  # noqa: E731
    kl = r.random()
    prepared = Obj(
        reward_comp=own[0][0],
        weight_stats=own[0][1],
        ref_stats=Obj(ref_logp_mean=r.gauss(-1, 1), avg_completion_tokens=r.random() * 100),
        num_completion_tokens=r.choice([0.0, 100.0, 257.0]),
        length_stats=Obj(
            min_length=1.0,
            mean_length=r.random() * 9 + 1,
            max_length=10.0,
            clipped_ratio=r.choice([-3.0, 0.25, 4.0]),
            min_terminated=1.0,
            mean_terminated=2.0,
            max_terminated=3.0,
        ),
        diversity_metrics=maybe({"distinct_1": r.random(), "jaccard": r.random()}),
        scores=maybe(Obj(policy_entropy_sum=Tensor([r.random() for _ in range(4)]), denom_tok_tensor=Tensor([3.0, 1.0, 5.0]))),
    )
    buckets = [name for name in ("0-32", "33-64", "257+") if r.random() < 0.5]
    artifacts = dict(
        loss_outputs=Obj(
            total_loss_scalar=r.gauss(0, 1),
            policy_loss_scalar=r.gauss(0, 1),
            kl_loss_scalar=kl,
            weighted_kl_loss_scalar=kl * 0.1,
            clip_loss_scalar=maybe(r.random()),
            scalars=Obj(kl_loss=kl),
        ),
        diagnostics=Obj(
            kl_value=maybe(r.random()),
            **{f"clip_ratio{name}": r.random() for name in ("", "_low_mean", "_low_min", "_high_mean", "_high_max", "_region_mean")},
            kl_per_token_by_len_bucket={name: r.random() for name in buckets},
            kl_token_count_by_len_bucket={name: r.randint(1, 99) * 1.0 for name in buckets if r.random() < 0.8},
        ),
        grad_norm_scalar=maybe(r.random()),
    )
    return own, prepared, artifacts


def weighting_of(r, grpo):
    maybe = lambda value, chance=0.5: value if r.random() < chance else None  # noqa: E731
    weighting = Obj(
        tau=r.choice([0.0, r.random()]),
        beta=r.random(),
        denom=r.random() + 0.5,
        q_temperature=r.random() + 0.1,
        q_epsilon=1e-6,
        tau_lr=r.random(),
        tau_min=0.0,
        tau_max=1.0,
        tau_warmup_steps=r.choice([-1, 0, 2, 100]),
        tau_target_entropy=maybe(r.choice([0.0, 0.4])),
        kl_target=r.choice([0.0, 0.1]),
        kl_horizon=r.choice([0, 10]),
        kl_ctl_step_size=r.choice([0.0, 0.2]),
        len_norm_ref=r.random() < 0.5,
        train_grpo_objective=grpo,
    )
    if r.random() < 0.5:
        meta = dict(enabled=r.random() < 0.5, learning_rate=r.random(), update_interval=3, use_hessian=r.random() < 0.5)
        meta |= r.choice([{"truncation_steps": 2}, {"analytic_steps": 4}, {}])
        weighting.controller_meta = Obj(**meta)
    if r.random() < 0.5:
        weighting._meta_last_tau_grad, weighting._meta_last_beta_grad, weighting._meta_last_loss = r.random(), r.random(), r.random()
        weighting._meta_tau_projected, weighting._meta_beta_projected = r.random() < 0.5, r.random() < 0.5
    if r.random() < 0.5:
        weighting._tau_log, weighting._tau_entropy_ema, weighting._tau_lr_effective = r.gauss(0, 1), r.random(), r.random()
    return weighting


class Training:
    """A training whose rows are kept, with the original's functions or ours."""

    def __init__(self, functions, weighting, args, schedule):
        self.functions, self.rows, self.wandb, self.tracked = functions, [], [], []
        self.state = Obj(metric_sums={}, metric_counts={}, global_step=0, num_input_tokens_seen=0.0)
        self.ctx = Obj(
            training_args=Obj(log_completions=False, **args),
            scoring=Obj(weighting=weighting, clipping=None, policy_entropy_bonus_coef=0.25),
            generation=Obj(use_vllm=True, generation_stats={"vllm_last_latency_ms": 4.0}),
            optimization=Obj(schedule=schedule),
            logging=Obj(step_logger=self.step_logger, wandb_run=Obj(log=lambda row, step: self.wandb.append((step, dict(row))))),
        )

    @contextmanager
    def step_logger(self, step, enabled=True):
        yield Obj(log=lambda row: self.rows.append((step, dict(row))))

    def step(self, step, accelerator, of_step, own, views):
        _, prepared, artifacts = of_step
        self.state.global_step, self.state.num_input_tokens_seen = step, step * 11.0
        ctx = Obj(**vars(self.ctx), runtime=Obj(accelerator=accelerator))
        accelerator.log = lambda row, step: self.tracked.append((step, dict(row)))
        prepared = Obj(**(vars(prepared) | {"reward_comp": own[0], "weight_stats": own[1]}))
        schedule = ctx.optimization.schedule
        artifacts = self.functions.LogStepArtifacts(**artifacts, epoch_progress=step / schedule.steps_per_epoch)
        views = dict(zip(("reward_view", "weight_view"), views)) if views else {}
        self.functions.log_local_step(ctx, self.state, prepared, artifacts, 1e-4, **views)
        self.functions.log_training_step(ctx, self.state, prepared, artifacts, 1e-4, **views)


def same(a, b):
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return abs(a - b) <= 1e-12 + 1e-9 * max(abs(a), abs(b))


def differences(ours, original):
    original = {re.sub("^train/run/", "run/", key): x for key, x in original.items() if x is not None}
    keys = [key for key in sorted(ours.keys() | original.keys()) if key not in ours or key not in original]
    return keys + [key for key in sorted(ours.keys() & original.keys()) if not same(ours[key], original[key])]


def one_case(theirs, seed):
    """Three steps on the original's functions and on ours: where their rows differ."""
    r = random.Random(seed)
    grpo, ranks, local = r.random() < 0.4, r.randint(1, 3), r.random() < 0.3
    names = r.sample(["accuracy", "format", "entropy_bonus", "a/b"], r.randint(0, 4))
    args = {"logging_strategy": "steps", "logging_steps": r.choice([1, 2, 3]), "log_like_grpo": local}
    schedule = Obj(steps_per_epoch=r.choice([3, 7]), num_generations=0, num_epochs=1, total_training_steps=10)
    weightings = [weighting_of(random.Random(f"{seed} weighting"), grpo) for _ in range(3)]
    # The original, ours with the views that a trainer makes first, and ours without them.
    trainings = [Training(f, w, args, schedule) for f, w in zip((theirs, maxent, maxent), weightings)]
    taus = [r.random() for _ in range(3)]
    for step in range(1, 4):
        of_step = step_of(r, names, grpo, ranks)
        for at, training in enumerate(trainings):
            training.ctx.scoring.weighting.tau = taus[step - 1]
            training.ctx.scoring.weighting.beta = taus[step - 1] / 2

            def work(accelerator, training=training, at=at, of_step=of_step, step=step):
                own = of_step[0][accelerator.process_index]
                views = None
                if at < 2:
                    rewards = training.functions.summarize_reward_stats(accelerator, own[0])
                    views = rewards, training.functions.summarize_weight_stats(accelerator, own[1])
                    if not accelerator.is_main_process:  # the original's others are not called for
                        return views
                elif not accelerator.is_main_process:
                    other = Training(maxent, Obj(), args, schedule)
                    other.state = others.setdefault(accelerator.process_index, other.state)
                    return other.step(step, accelerator, of_step, own, None)
                training.step(step, accelerator, of_step, own, views)
                return views

            others = training.__dict__.setdefault("others", {})
            Ranks(ranks).run(work)
    original = trainings[0]
    for kind, training in zip(("with views", "without"), trainings[1:]):
        for place in ("wandb", "tracked"):
            ours, expected = getattr(training, place), getattr(original, place)
            if [step for step, _ in ours] != [step for step, _ in expected]:
                return f"{kind}, {place}: rows of {[s for s, _ in ours]}, expected {[s for s, _ in expected]}"
            for (step, row), (_, wanted) in zip(ours, expected):
                if found := differences(row, wanted):
                    told = {key: (row.get(key), wanted.get(key)) for key in found[:8]}
                    return f"{kind}, {place}, step {step}: {told}"
    return None


@pytest.mark.parametrize("mode", ["", "slim"])
def test_every_key_of_every_row_agrees_over_random_cases(theirs, monkeypatch, mode):
    monkeypatch.setenv("MAXENT_METRICS_MODE", mode)
    found = {seed: told for seed in range(CASES if not mode else CASES // 10) if (told := one_case(theirs, seed))}
    assert found == {}
