"""Writes tests/data/vectors/paired.jsonl: two recordings of partly the same prompts, and what `compare` says of them, by SciPy.

Needs NumPy and SciPy. Of each prompt the mean of its values, then `ttest_rel` over prompts; pass@k by going through every draw.
"""

import itertools
import json
import math
import random

import numpy as np
from make_cases import NAN, VECTORS
from scipy import stats

COMPONENTS = ("accuracy", "format")


def completion(rng, prompt, skill, scale, gaps):
    """What one completion of the prompt is, of a policy with this skill."""
    hard = random.Random(prompt).uniform(-1, 1)
    length = rng.randint(1, 40)
    accuracy = float(rng.random() < 1 / (1 + math.exp(2 * hard - skill)))
    made = {
        "rewards": scale * round(accuracy + 0.3 * rng.random() - 0.2 * hard, 6),
        "accuracy": accuracy,
        "format": round(rng.gauss(hard, 1), 6),
        "completion_lengths": length,
        "terminated": rng.random() < 0.8,
        "tags": "math" if hard > 0 else "code",
    }
    if rng.random() < gaps:
        made["format"] = None
    if rng.random() < gaps / 4:
        made["rewards"] = NAN
    return made


def recording(rng, prompts, skill, *, steps, ranks, sizes, by, scale=1.0, gaps=0.0, capped=False):
    """Each prompt's completions in some of the steps, dealt to ranks in any order; a cap in the place of `terminated`."""
    records = []
    for step in range(1, steps + 1):
        asked = [p for nth, p in enumerate(prompts) if nth % steps == step - 1 or rng.random() < 0.3]
        made = [(p, completion(rng, p, skill, scale, gaps)) for p in asked for _ in range(rng.choice(sizes))]
        rng.shuffle(made)
        for rank in range(ranks):
            own = made[rank::ranks]
            batch = {"rewards": [c["rewards"] for _, c in own], "tags": [c["tags"] for _, c in own]}
            batch["completion_lengths"] = [c["completion_lengths"] for _, c in own]
            batch["reward_components"] = {name: [c[name] for _, c in own] for name in COMPONENTS}
            if capped:
                batch["max_completion_length"] = 30
            else:
                batch["terminated"] = [c["terminated"] for _, c in own]
            names = [f"prompt {p}" for p, _ in own]
            # Where the prompts are there, group ids only count.
            counted = {p: nth for nth, p in enumerate(asked)}
            batch |= {"group_ids": names} if by == "ids" else {"prompts": names, "group_ids": [counted[p] for p, _ in own]}
            records.append({"step": step, "rank": rank, "world_size": ranks, "micro": 0, "batch": batch})
    return records


def number(cell):
    return math.nan if cell == NAN else cell


def values(records, success, threshold):
    """Every number's values by prompt; of pass@k the steps' groups."""
    found, groups = {}, {}

    def add(name, prompt, value):
        if value is not None and math.isfinite(value):
            found.setdefault(name, {}).setdefault(prompt, []).append(float(value))

    for record in records:
        batch, step = record["batch"], record["step"]
        prompts = batch.get("prompts") or batch["group_ids"]
        for nth, prompt in enumerate(prompts):
            reward, tag, length = number(batch["rewards"][nth]), batch["tags"][nth], batch["completion_lengths"][nth]
            components = {name: cells[nth] for name, cells in batch["reward_components"].items()}
            judged = components[success] if success else reward
            add("reward", prompt, reward)
            for name, cell in components.items():
                add(f"rewards/{name}", prompt, cell)
            add("completions/length", prompt, length)
            ended = batch["terminated"][nth] if "terminated" in batch else length < batch["max_completion_length"]
            add("completions/clipped", prompt, not ended)
            add(f"tags/{tag}/reward", prompt, reward)
            add(f"tags/{tag}/length", prompt, length)
            if math.isfinite(judged):
                add(f"tags/{tag}/pass@1", prompt, judged >= threshold)
            groups.setdefault(prompt, {}).setdefault(step, []).append(judged)
    return found, groups


def passes(groups, ks, threshold):
    found = {}
    for prompt, steps in groups.items():
        whole = [group for group in steps.values() if all(map(math.isfinite, group))]
        for k in ks or [1 << n for n in range(10)]:
            for group in whole:
                draws = [any(x >= threshold for x in draw) for draw in itertools.combinations(group, k)]
                if draws:
                    found.setdefault(f"pass@{k}", {}).setdefault(prompt, []).append(float(np.mean(draws)))
    return found


def compared(a, b):
    both = sorted(a.keys() & b.keys())
    said = {"prompts": len(both), "alone": [len(a.keys() - b.keys()), len(b.keys() - a.keys())]}
    if not both:
        return said
    one, other = (np.array([math.fsum(of[p]) / len(of[p]) for p in both]) for of in (a, b))
    said |= {"a": one.mean(), "b": other.mean(), "difference": (other - one).mean()}
    if len(both) < 10 or np.ptp(other - one) == 0:
        return said
    paired = stats.ttest_rel(other, one).confidence_interval(0.95)
    welch = stats.ttest_ind(other, one, equal_var=False)
    half = stats.t.ppf(0.975, math.floor(welch.df + 1e-9)) * math.hypot(stats.sem(one), stats.sem(other))
    said |= {"interval": [paired.low, paired.high]}
    said |= {"unpaired": [said["difference"] - half, said["difference"] + half]}
    return said


def case(name, a, b, success=None, threshold=1.0, ks=None):
    args = [f"--success-threshold={threshold}"]
    if success:
        args.append(f"--success={success}")
    if ks:
        args.append(f"--pass-k={','.join(map(str, ks))}")
    numbers = []
    for records in (a, b):
        found, groups = values(records, success, threshold)
        numbers.append(found | passes(groups, ks, threshold))
    keys = sorted(numbers[0].keys() | numbers[1].keys())
    expected = {key: compared(numbers[0].get(key, {}), numbers[1].get(key, {})) for key in keys}
    return {"name": name, "args": args, "a": a, "b": b, "expected": expected}


def main():
    rng = random.Random(11)
    both = dict(steps=2, ranks=2, sizes=(2, 3, 4), by="prompts", gaps=0.2)
    plain = [recording(rng, range(14), 0.0, **both), recording(rng, range(2, 17), 1.0, **both)]
    named = dict(steps=1, ranks=1, sizes=(4,), by="ids", capped=True)
    ids = [recording(rng, range(24), 0.0, **named), recording(rng, range(24), 0.5, **named | {"ranks": 3})]
    few = [recording(rng, range(9), 0.0, **both), recording(rng, range(9), 1.0, **both)]
    far = dict(steps=1, ranks=1, sizes=(1, 2), by="prompts", scale=1e-9)
    tiny = [recording(rng, range(12), 0.0, **far), recording(rng, range(12), 1.0, **far | {"scale": 1e9})]
    cases = [
        case("prompts by their texts, several steps, gaps", *plain),
        case("prompts by text group ids, a cap", *ids, success="accuracy", threshold=0.5, ks=[1, 3]),
        case("fewer than ten prompts", *few, success="accuracy", threshold=0.5),
        case("rewards of very unlike sizes", *tiny, success="accuracy"),
    ]
    with (VECTORS / "paired.jsonl").open("w") as file:
        for made in cases:
            file.write(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
