"""Writes tests/data/vectors/exact.jsonl: statistics about a mean by exact fractions, rounded once at the end.

Needs nothing but Python. Values are ordinary, far from zero, next to the ends of the range of doubles, or of very unlike
sizes. Keys are those of the dialect `tunix` with the extended metrics, and of `trl` under `trl/`.
"""

import json
import random
from fractions import Fraction
from math import isqrt
from sys import float_info

from make_cases import VECTORS

TINY = 5e-324


def root(square):
    """The root of a fraction, within 2^-200 of it."""
    shift = max(0, 400 - (square.numerator.bit_length() - square.denominator.bit_length()))
    shift += shift % 2
    whole = (square.numerator << shift) // square.denominator
    return Fraction(isqrt(whole), 1 << (shift // 2))


def exact(values):
    return [Fraction(value) for value in values]


def mean(values):
    return sum(values) / len(values)


def squares(values):
    """The sum of squared deviations."""
    middle = mean(values)
    return sum((x - middle) ** 2 for x in values)


def skewness(values):
    n, middle = len(values), mean(values)
    third, second = sum((x - middle) ** 3 for x in values) / n, squares(values) / n
    return root(third**2 / second**3) * (1 if third > 0 else -1)


def pearson(x, y):
    together = sum((a - mean(x)) * (b - mean(y)) for a, b in zip(x, y))
    return root(together**2 / (squares(x) * squares(y))) * (1 if together > 0 else -1)


def ranks(values):
    return [Fraction(sum(y < x for y in values)) + Fraction(sum(y == x for y in values) + 1, 2) for x in values]


def quantile(values, hundredths):
    place = Fraction(hundredths, 100) * (len(values) - 1)
    ordered, below = sorted(values), int(place)
    above = min(below + 1, len(values) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def numbers(rewards, other, lengths, weights, groups):
    everything, clusters = [r for r in rewards if r is not None], {}
    for reward, group in zip(rewards, groups):
        if reward is not None:
            clusters.setdefault(group, []).append(reward)
    n, count, middle = len(everything), len(clusters), mean(everything)
    residuals = [sum(cluster) - len(cluster) * middle for cluster in clusters.values()]
    whole = [cluster for group, cluster in clusters.items() if len(cluster) == groups.count(group)]
    stds = [root(squares(cluster) / len(cluster)) for cluster in whole]
    shares = []
    for group in set(groups):
        w = [weight for weight, of in zip(weights, groups) if of == group]
        shares.append(sum(w) ** 2 / sum(x**2 for x in w) / len(w))
    between = sum(len(cluster) * (mean(cluster) - middle) ** 2 for cluster in clusters.values())
    present = [(r, o, length) for r, o, length in zip(rewards, other, lengths) if r is not None]
    rows = [[x for x in row if x is not None] for row in zip(rewards, other)]
    r, o, length = ([Fraction(x) for x in column] for column in zip(*present))
    row = {
        "reward_stderr": root(Fraction(count, count - 1) * sum(e**2 for e in residuals)) / n,
        "reward_skewness": skewness(everything),
        "reward_group_std/mean": mean(stds),
        "groups/reward_variance": between / squares(everything),
        "reward_by_length/pearson": pearson(r, length),
        "reward_by_length/spearman": pearson(ranks(r), ranks(length)),
        "rewards/other/corr_total": pearson(o, r),
        "advantage/std": root(squares(other) / len(other)),
        "weight/ess_mean": mean(shares),
        "weight/ess_min": min(shares),
        "tags/all/reward_std": root(squares(everything) / n),
        "rewards/sum": mean([sum(row) for row in rows]),
        "rewards/mean": mean([mean(row) for row in rows]),
        "trl/reward_std": root(squares(everything) / (n - 1)),
    }
    row |= {f"reward_group_std/p{q:02}": quantile(stds, q) for q in (5, 50, 95)}
    # What is itself beyond the range is no number to compare.
    return {key: float(value) for key, value in row.items() if abs(value) < Fraction(float_info.max)}


def records(rewards, other, lengths, weights, groups, spread):
    """Group after group in one record, or each group over all three."""
    for rank in range(3 if spread else 1):
        at = [i for i in range(len(rewards)) if not spread or i * 7 % 3 == rank]
        take = lambda column: [column[i] for i in at]
        batch = {
            "rewards": take(rewards),
            "advantages": take(other),
            "weights": take(weights),
            "reward_components": {"total": take(rewards), "other": take(other)},
            "completion_lengths": take(lengths),
            "tags": ["all"] * len(at),
        }
        if spread:
            batch["group_ids"] = take(groups)
        else:
            batch["group_sizes"] = [groups.count(group) for group in sorted(set(groups))]
        yield {"step": 1, "rank": rank, "world_size": 3 if spread else 1, "batch": batch}


def cases():
    rng = random.Random(6)
    kinds = {
        "ordinary": lambda: rng.uniform(-1, 2),
        "of few values": lambda: rng.choice([0.0, 0.1, 0.7, 1.0]),
        "hits and misses": lambda: float(rng.random() < 0.3),
        "1e8 from zero": lambda: 1e8 + rng.gauss(0, 1),
        "1e10 from zero": lambda: -1e10 + rng.gauss(0, 1),
        "1e15 from zero": lambda: 1e15 + rng.gauss(0, 1),
        "one unit in the last place apart": lambda: 1e16 + 2 * rng.randint(0, 1),
        "next to the largest double": lambda: 1.7e308 * rng.uniform(0.9, 1),
        "next to either end of the range": lambda: 1.7e308 * rng.uniform(-1, 1),
        "a few smallest doubles": lambda: TINY * rng.randint(0, 9),
        "subnormal": lambda: TINY * rng.randint(-(1 << 40), 1 << 40),
        "of every size": lambda: rng.uniform(-1, 1) * 10.0 ** rng.randint(-300, 300),
        "large ones that cancel": lambda: rng.choice([1e200, -1e200, 1.0, 1e-200]),
    }
    for name, draw in kinds.items():
        for spread in (False, True):
            for absent in (False, True):
                sizes = [rng.randint(2, 9) for _ in range(12)]
                groups = [group for group, size in enumerate(sizes) for _ in range(size)]
                n = len(groups)
                rewards, other = [draw() for _ in range(n)], [draw() for _ in range(n)]
                weights = [abs(draw()) or TINY for _ in range(n)]
                lengths = [rng.randint(1, 900) for _ in range(n)]
                if absent:
                    for at in rng.sample(range(n), 5):
                        rewards[at] = None
                columns = ([None if r is None else Fraction(r) for r in rewards], exact(other), lengths, exact(weights), groups)
                label = f"{name}{', groups over three records' if spread else ''}{', some absent' if absent else ''}"
                expected = numbers(*columns)
                yield label, list(records(rewards, other, lengths, weights, groups, spread)), expected


if __name__ == "__main__":
    lines = []
    for name, given, expected in cases():
        case = {"name": name, "records": given, "expected": expected}
        lines.append(json.dumps(case, allow_nan=False, separators=(",", ":")) + "\n")
    (VECTORS / "exact.jsonl").write_text("".join(lines), encoding="utf-8")
    print("exact.jsonl", len(lines), "cases,", sum(map(len, lines)), "bytes")
