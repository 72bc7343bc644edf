"""Logs with a fault in each, and one without, of a small recording: what `grpo-metrics audit` is to name, made apart from the crate.

    python tests/reference/audit.py            # writes tests/data/audit/{recording.jsonl,logs.json}
    python tests/reference/audit.py --check    # says whether they are as written

The recording is 8 steps of 2 ranks with 2 micro-batches each, none of which has as many completions or tokens as another, logged every
second step. Every number is a multiple of 1/32, so that single precision and JSON have it exactly; the definitions are those of TRL.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean, pstdev, stdev
from typing import Any

OUT = Path(__file__).parents[1] / "data" / "audit"
STEPS, EVERY, CAP, LOW, HIGH = 8, 2, 6, 0.2, 0.2
TRAINED_AGAIN = {3: 2}  # step 3 trains on the batch of step 2 once more

Record = dict[str, Any]
Records = list[Record]
Reduce = Callable[[Records], float]


def thirty_seconds(rng: random.Random, low: float, high: float) -> float:
    return round(rng.uniform(low, high) * 32) / 32


def record(rng: random.Random, step: int, rank: int, micro: int, earlier: Record | None) -> Record:
    groups = 1 + (step + 2 * rank + micro) % 3
    batch: dict[str, Any] = {"group_sizes": [4] * groups, "max_completion_length": CAP}
    if earlier is None:
        n = 4 * groups
        accuracy = [float(rng.random() < 0.4 + 0.2 * rank) for _ in range(n)]
        brevity = [thirty_seconds(rng, 0, 1 + micro) for _ in range(n)]
        rewards = [a + b for a, b in zip(accuracy, brevity)]
        means = [fmean(rewards[i - i % 4 : i - i % 4 + 4]) for i in range(n)]
        lengths = [rng.randint(1 + rank, CAP) for _ in range(n)]
        batch |= {
            "rewards": rewards,
            "reward_components": {"accuracy": accuracy, "brevity": brevity},
            "advantages": [round((r - m) * 32) / 32 for r, m in zip(rewards, means)],
            "completion_lengths": lengths,
            "terminated": [length < CAP or rng.random() < 0.3 for length in lengths],
        }
        # The first token always counts.
        batch["loss_mask"] = [int(at == 0 or rng.random() < 0.8) for length in lengths for at in range(length)]
    else:
        batch = dict(earlier["batch"])
    tokens = sum(batch["completion_lengths"])
    logps = [thirty_seconds(rng, -4, -0.1) for _ in range(tokens)]
    batch["token_logps"] = logps
    batch["old_token_logps"] = [p + thirty_seconds(rng, -0.4, 0.4) for p in logps]
    # Every eighth token is so unlikely under the policy that its k3 is above 10.
    batch["ref_token_logps"] = [p + (3.0 if rng.random() < 0.125 else thirty_seconds(rng, -1, 0.5 + micro / 2)) for p in logps]
    apart = random.Random(f"{step} {rank} {micro}")
    batch["sampling_token_logps"] = [p + thirty_seconds(apart, -0.2, 0.2 + micro / 4) for p in batch["old_token_logps"]]
    batch["token_entropies"] = [thirty_seconds(rng, 0.5, 2 + rank) for _ in range(tokens)]
    scalars = {"num_input_tokens": 100 * step * (1 + rank) + 7 * micro, "learning_rate": 0.001 / step, "loss": thirty_seconds(rng, -1, 1)}
    weighting = {"clip_range_low": LOW, "clip_range_high": HIGH, "beta": 0.04}
    return {"step": step, "rank": rank, "world_size": 2, "micro": micro, "batch": batch, "scalars": scalars, "weighting": weighting}


def recording() -> Records:
    rng = random.Random(18)
    made: dict[tuple[int, int, int], Record] = {}
    for step in range(1, STEPS + 1):
        for rank in (0, 1):
            for micro in (0, 1):
                earlier = made.get((TRAINED_AGAIN.get(step, 0), rank, micro))
                made[step, rank, micro] = record(rng, step, rank, micro, earlier)
    return list(made.values())


# What a number is over: every value of some records, in one list.


def column(name: str) -> Callable[[Records], list[Any]]:
    return lambda records: [value for r in records for value in r["batch"][name]]


def component(name: str) -> Callable[[Records], list[float]]:
    return lambda records: [value for r in records for value in r["batch"]["reward_components"][name]]


rewards, lengths, ended = column("rewards"), column("completion_lengths"), column("terminated")


def terminated(records: Records) -> list[int]:
    return [length for length, done in zip(lengths(records), ended(records)) if done]


def counted(values: Callable[[Records], list[Any]]) -> Callable[[Records], list[Any]]:
    """Those of tokens that the loss counts."""
    mask = column("loss_mask")
    return lambda records: [value for value, counts in zip(values(records), mask(records)) if counts]


def k3s(records: Records) -> list[float]:
    ref, now = column("ref_token_logps")(records), column("token_logps")(records)
    return [math.exp(q - p) - (q - p) - 1 for p, q in zip(now, ref)]


def ratios(records: Records) -> list[float]:
    old, now = column("old_token_logps")(records), column("token_logps")(records)
    return [math.exp(p - q) for p, q in zip(now, old)]


def kls(records: Records) -> list[float]:
    return [k3 * ratio for k3, ratio in zip(k3s(records), ratios(records))]


def k1s(records: Records) -> list[float]:
    return [p - q for p, q in zip(column("token_logps")(records), column("ref_token_logps")(records))]


def token_advantages(records: Records) -> list[float]:
    return [a for a, length in zip(column("advantages")(records), lengths(records)) for _ in range(length)]


def clipped(low: float, high: float, sides: str = "lh") -> Callable[[Records], list[bool]]:
    def found(records: Records) -> list[bool]:
        pairs = zip(ratios(records), token_advantages(records))
        return [("l" in sides and r < 1 - low and a < 0) or ("h" in sides and r > 1 + high and a > 0) for r, a in pairs]

    return found


def mean(values: Callable[[Records], Iterable[Any]]) -> Reduce:
    return lambda records: fmean(values(records))


def last_tokens(records: Records) -> float:
    """Of the last step: each rank's own as it last said it, added up."""
    step = max(r["step"] for r in records)
    said = {r["rank"]: r["scalars"]["num_input_tokens"] for r in records if r["step"] == step}
    return float(sum(said.values()))


def last_rate(records: Records) -> float:
    return next(r for r in reversed(records) if r["rank"] == 0)["scalars"]["learning_rate"]


RIGHT: dict[str, Reduce] = {
    "reward": mean(rewards),
    "reward_std": lambda r: stdev(rewards(r)),
    "rewards/accuracy/mean": mean(component("accuracy")),
    "rewards/accuracy/std": lambda r: stdev(component("accuracy")(r)),
    "rewards/brevity/mean": mean(component("brevity")),
    "rewards/brevity/std": lambda r: stdev(component("brevity")(r)),
    "completions/mean_length": mean(lengths),
    "completions/min_length": lambda r: min(lengths(r)),
    "completions/max_length": lambda r: max(lengths(r)),
    "completions/clipped_ratio": lambda r: 1 - fmean(ended(r)),
    "completions/mean_terminated_length": mean(terminated),
    "kl": mean(counted(kls)),
    "entropy": mean(counted(column("token_entropies"))),
    "clip_ratio/low_mean": mean(counted(clipped(LOW, HIGH, "l"))),
    "clip_ratio/high_mean": mean(counted(clipped(LOW, HIGH, "h"))),
    "clip_ratio/region_mean": mean(counted(clipped(LOW, HIGH))),
    "num_tokens": last_tokens,
    "learning_rate": last_rate,
}

# The faults: what is done to a window's records before, or instead of, the right reduction.


def parts(*by: str) -> Callable[[Records], list[Records]]:
    def cut(records: Records) -> list[Records]:
        found: dict[tuple[int, ...], Records] = {}
        for r in records:
            found.setdefault(tuple(r[name] for name in by), []).append(r)
        return list(found.values())

    return cut


def averaged(reduce: Reduce, *by: str) -> Reduce:
    return lambda records: fmean(reduce(part) for part in parts(*by)(records))


def summed(reduce: Reduce, *by: str) -> Reduce:
    return lambda records: math.fsum(reduce(part) for part in parts(*by)(records))


def only(reduce: Reduce, keep: Callable[[Record], bool]) -> Reduce:
    return lambda records: reduce([r for r in records if keep(r)])


def last_step(reduce: Reduce) -> Reduce:
    return lambda records: only(reduce, lambda r: r["step"] == max(r["step"] for r in records))(records)


def twice(reduce: Reduce, rank: int) -> Reduce:
    return lambda records: reduce(records + [r for r in records if r["rank"] == rank])


def of_ended(values: Callable[[Records], list[float]]) -> Reduce:
    return lambda records: fmean(v for v, done in zip(values(records), ended(records)) if done)


def trained_lengths(records: Records) -> float:
    """Tokens that count, a completion."""
    return sum(column("loss_mask")(records)) / len(lengths(records))


def clamped(records: Records) -> float:
    return fmean(min(k3, 10.0) for k3 in counted(k3s)(records))


def anything(records: Records) -> float:
    return 1.01 * RIGHT["reward"](records) + 0.001 * records[0]["step"]


FAULTS: list[tuple[str, str, Reduce, str]] = [
    ("ranks", "completions/mean_length", averaged(RIGHT["completions/mean_length"], "rank"), "mean of ranks' numbers"),
    ("micro-batches", "kl", averaged(RIGHT["kl"], "micro"), "mean of micro-batches' numbers"),
    ("steps", "entropy", averaged(RIGHT["entropy"], "step"), "mean of steps' numbers"),
    ("rank 0", "reward", only(RIGHT["reward"], lambda r: r["rank"] == 0), "rank 0 alone"),
    ("population", "reward_std", lambda r: pstdev(rewards(r)), "population deviation"),
    ("replica", "completions/mean_length", twice(RIGHT["completions/mean_length"], 1), "rank 1 counted twice"),
    ("truncated out", "reward", of_ended(rewards), "completions that were cut off left out"),
    ("masked in", "entropy", mean(column("token_entropies")), "masked tokens counted"),
    ("cumulative", "num_tokens", averaged(last_tokens, "step"), "a cumulative number averaged over steps"),
    ("last", "rewards/brevity/mean", last_step(RIGHT["rewards/brevity/mean"]), "the last step alone"),
    ("clamp", "kl", clamped, "k3, a token's at most 10"),
    ("estimator", "kl", mean(counted(k1s)), "k1"),
    # And what also occurs: pairs of them, and others.
    ("all three", "kl", averaged(RIGHT["kl"], "step", "micro", "rank"), "mean of steps', micro-batches' and ranks' numbers"),
    ("rank 0 population", "reward_std", only(lambda r: pstdev(rewards(r)), lambda r: r["rank"] == 0), "rank 0 alone; population deviation"),
    ("sum", "kl", summed(RIGHT["kl"], "micro"), "sum of micro-batches' numbers"),
    ("again", "rewards/accuracy/mean", only(RIGHT["rewards/accuracy/mean"], lambda r: r["step"] not in TRAINED_AGAIN), "batches trained on again left out"),
    ("last micro-batch", "completions/clipped_ratio", only(RIGHT["completions/clipped_ratio"], lambda r: r["micro"] == 1), "the last micro-batch alone"),
    ("masked out", "completions/mean_length", trained_lengths, "masked tokens left out of completions"),
    ("clip range", "clip_ratio/region_mean", mean(counted(clipped(0.1, 0.1))), "a clip range of 0.1"),
    ("component's deviation", "rewards/brevity/std", averaged(lambda r: pstdev(component("brevity")(r)), "rank"), "mean of ranks' numbers; population deviation"),
    ("no known one", "reward", anything, "not explained"),
]  # fmt: skip


# The same of dialects whose trainers have other names: what is right in each, and what else there is under its keys.


def of_pairs(one: str, other: str, number: Callable[[float], float]) -> Callable[[Records], list[float]]:
    """Of counted tokens: a number of the difference of two log-probabilities."""
    return counted(lambda r: [number(p - q) for p, q in zip(column(one)(r), column(other)(r))])


def apart(number: Callable[[float], float]) -> Callable[[Records], list[float]]:
    """By old less sampler's."""
    return of_pairs("old_token_logps", "sampling_token_logps", number)


def k3(d: float) -> float:
    return math.exp(d) - d - 1


def at_cap(records: Records) -> float:
    return fmean(length >= CAP for length in lengths(records))


def probability_differences(records: Records) -> list[float]:
    pairs = zip(column("old_token_logps")(records), column("sampling_token_logps")(records))
    return [abs(math.exp(p) - math.exp(q)) for p, q in pairs]


REWARD, REWARD_STD, LENGTH, TRUNCATED = (RIGHT[key] for key in ("reward", "reward_std", "completions/mean_length", "completions/clipped_ratio"))
ENTROPY, CLIPPED = RIGHT["entropy"], RIGHT["clip_ratio/region_mean"]
PPO_KL = mean(of_pairs("old_token_logps", "token_logps", float))
AGENT = "train/agg/effective/agent/"

DIALECTS: dict[str, tuple[dict[str, Reduce], list[tuple[str, Reduce, str]]]] = {
    "openrlhf": (
        {
            "train/rollout/reward_mean": REWARD,
            "train/rollout/reward_std": REWARD_STD,
            "train/rollout/response_length_mean": LENGTH,
            "train/rollout/truncated_rate": TRUNCATED,
            "train/truncated": TRUNCATED,
            "train/ppo_clip_ratio": CLIPPED,
            "train/ppo_kl": PPO_KL,
            "train/vllm_kl": mean(apart(lambda d: -d)),
            "train/entropy_loss": ENTROPY,
        },
        [
            ("train/rollout/reward_std", lambda r: pstdev(rewards(r)), "population deviation"),
            ("train/rollout/truncated_rate", at_cap, "share of completions as long as the cap"),
            ("train/truncated", at_cap, "share of completions as long as the cap"),
            ("train/ppo_clip_ratio", mean(counted(clipped(0.3, 0.3))), "a clip range of 0.3"),
            ("train/ppo_kl", mean(of_pairs("token_logps", "old_token_logps", k3)), "k3"),
            ("train/ppo_kl", averaged(PPO_KL, "micro"), "mean of micro-batches' numbers"),
            ("train/vllm_kl", mean(apart(k3)), "k3"),
        ],
    ),
    "nemo-rl": (
        {
            "train/reward": REWARD,
            "train/advantages/mean": mean(counted(token_advantages)),
            "train/token_mult_prob_error": mean(apart(lambda d: math.exp(abs(d)))),
            "train/gen_kl_error": mean(apart(k3)),
            "train/policy_kl_error": mean(apart(lambda d: k3(-d))),
        },
        [
            ("train/reward", only(REWARD, lambda r: r["rank"] == 0), "rank 0 alone"),
            ("train/advantages/mean", mean(column("advantages")), "mean over completions of their advantages"),
            ("train/token_mult_prob_error", averaged(mean(apart(lambda d: math.exp(abs(d)))), "micro"), "mean of micro-batches' numbers"),
            ("train/gen_kl_error", mean(apart(lambda d: -d)), "k1"),
            ("train/gen_kl_error", mean(apart(lambda d: k3(-d))), "k3 of policy to sampler"),
            ("train/policy_kl_error", mean(apart(float)), "k1"),
            ("train/policy_kl_error", mean(apart(k3)), "k3 of sampler to policy"),
        ],
    ),
    "skyrl": (
        {
            "reward/avg_raw_reward": REWARD,
            "generate/avg_num_tokens": LENGTH,
            "policy/policy_entropy": ENTROPY,
            "policy/loss_metrics/clip_ratio": CLIPPED,
            "policy/rollout_train_logprobs_abs_diff_mean": mean(apart(abs)),
            "policy/rollout_train_logprobs_abs_diff_max": lambda r: max(apart(abs)(r)),
        },
        [
            ("generate/avg_num_tokens", trained_lengths, "masked tokens left out of completions"),
            ("policy/policy_entropy", averaged(ENTROPY, "micro", "rank"), "mean of micro-batches' and ranks' numbers"),
            ("policy/loss_metrics/clip_ratio", mean(counted(clipped(0.1, 0.1))), "a clip range of 0.1"),
            ("policy/rollout_train_logprobs_abs_diff_mean", mean(counted(probability_differences)), "differences of probabilities"),
            ("policy/rollout_train_logprobs_abs_diff_max", lambda r: max(counted(probability_differences)(r)), "differences of probabilities"),
        ],
    ),
    "prime-rl": (
        {
            AGENT + "reward/mean": REWARD,
            AGENT + "reward/max": lambda r: max(rewards(r)),
            AGENT + "is_truncated/mean": TRUNCATED,
            "entropy/all/mean": ENTROPY,
        },
        [
            (AGENT + "reward/mean", last_step(REWARD), "the last step alone"),
            (AGENT + "is_truncated/mean", at_cap, "share of completions as long as the cap"),
            ("entropy/all/mean", averaged(ENTROPY, "rank"), "mean of ranks' numbers"),
        ],
    ),
}  # fmt: skip


def windows(records: Records) -> list[tuple[int, Records]]:
    ends = range(EVERY, STEPS + 1, EVERY)
    return [(end, [r for r in records if end - EVERY < r["step"] <= end]) for end in ends]


def logs() -> dict[str, Any]:
    found = windows(recording())
    right = [{"step": step, **{key: reduce(window) for key, reduce in RIGHT.items()}} for step, window in found]
    faults = []
    for name, key, reduce, said in FAULTS:
        wrong = [reduce(window) for _, window in found]
        faults.append({"fault": name, "key": key, "said": said, "numbers": wrong})
    both = [RIGHT["reward"](window + found[at + 1][1]) if at % 2 == 0 else None for at, (_, window) in enumerate(found)]
    said = "all of the generated batch, which later steps train on too"
    faults.append({"fault": "generation", "key": "reward", "said": said, "numbers": both})
    return {"right": right, "faults": faults, "dialects": {name: of_dialect(*told, found) for name, told in DIALECTS.items()}}


def of_dialect(right: dict[str, Reduce], faults: list[tuple[str, Reduce, str]], found: list[tuple[int, Records]]) -> dict[str, Any]:
    return {
        "right": [{"step": step, **{key: float(reduce(window)) for key, reduce in right.items()}} for step, window in found],
        "faults": [{"key": key, "said": said, "numbers": [reduce(window) for _, window in found]} for key, reduce, said in faults],
    }


def main() -> None:
    made = {
        "recording.jsonl": "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in recording()),
        "logs.json": json.dumps(logs(), indent=1) + "\n",
    }
    for name, text in made.items():
        path = OUT / name
        if "--check" in sys.argv[1:]:
            if path.read_text() != text:
                sys.exit(f"{path}: not as the script writes it")
        else:
            path.write_text(text)


if __name__ == "__main__":
    main()
