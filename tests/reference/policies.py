"""Sampler against trainer, clipping beyond a second bound and staleness, written as their definitions read.

Plain Python. What is taken in are rows, one a completion: pairs of log-probabilities (trainer's, sampler's) of its counted tokens,
or versions of the weights. What verl bounds is bounded: a log-ratio by 20 where its square is taken.
"""

import math


def mean(values):
    return math.fsum(values) / len(values)


def bounded(value, bound=20.0):
    return min(max(value, -bound), bound)


def power(value):
    return math.exp(bounded(value, 60.0))


def deviation(values, ddof):
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - ddof))


def effective(weights):
    return mean(weights) ** 2 / mean([weight * weight for weight in weights])


def k3(d):
    return math.expm1(d) - d


def mixture(old, sampling):
    """Half the k3 of either policy to the mean of both, as NeMo-RL takes it: by the token's two probabilities."""
    middle = math.log((math.exp(old) + math.exp(sampling)) / 2)
    return (k3(old - middle) + k3(sampling - middle)) / 2


def off_policy(rows, cap=None, floor=None):
    """By name; nothing without a token."""
    rows = [row for row in rows if row]
    pairs = [pair for row in rows for pair in row]
    if not pairs:
        return {}
    apart = [bounded(old - sampled, 60.0) for old, sampled in pairs]
    by_row = [[old - sampled for old, sampled in row] for row in rows]
    perplexities = [[-mean([pair[which] for pair in row]) for row in rows] for which in (0, 1)]
    differences = [trained - sampled for trained, sampled in zip(*perplexities)]
    products = [power(bounded(math.fsum(row))) for row in by_row]
    factors = [mean([power(abs(d)) for d in row]) for row in by_row]
    found = {
        "k1": mean([sampled - old for old, sampled in pairs]),
        "k3": mean([k3(d) for d in apart]),
        "k3_back": mean([k3(-d) for d in apart]),
        "js": mean([mixture(old, sampled) for old, sampled in pairs]),
        "factor": mean([power(abs(d)) for d in apart]),
        "ratio": mean([power(d) for d in apart]),
        "chi2": mean([power(bounded(d)) ** 2 for d in apart]) - 1,
        "ppl": mean([power(value) for value in perplexities[0]]),
        "sampler_ppl": mean([power(value) for value in perplexities[1]]),
        "log_ppl": mean(perplexities[0]),
        "sampler_log_ppl": mean(perplexities[1]),
        "diff/mean": mean(differences),
        "diff/abs": mean([abs(value) for value in differences]),
        "diff/min": min(differences),
        "diff/max": max(differences),
        "ppl_ratio": mean([power(value) for value in differences]),
        "seq_ratio": mean(products),
        "seq_chi2": mean([product**2 for product in products]) - 1,
        "seq_factor/mean": mean(factors),
        "seq_factor/min": min(factors),
        "seq_factor/max": max(factors),
    }
    if cap is not None:
        found |= weights(by_row, products, cap, 1 / cap if floor is None else floor)
    return found


def weights(by_row, products, cap, floor):
    ratios = [[power(d) for d in row] for row in by_row]
    flat = [ratio for row in ratios for ratio in row]
    taken = [min(ratio, cap) for ratio in flat]
    means = [mean([min(ratio, cap) for ratio in row]) for row in ratios]
    found = {"mean": mean(taken), "min": min(taken), "max": max(taken), "std": deviation(taken, 0), "ess": effective(taken)}
    found |= {"seq_mean": mean(means), "seq_min": min(means), "seq_max": max(means)}
    found["seq_ess"] = effective([min(product, cap) for product in products])
    found["seq_deviation"] = max(abs(value - 1) for value in means)
    if len(means) > 1:
        found["seq_std"] = deviation(means, 1)
    for name, values in (
        ("", flat),
        ("seq_mean_", [mean(row) for row in ratios]),
        ("seq_geometric_", [power(mean(row)) for row in by_row]),
        ("seq_", products),
    ):
        found[name + "above"] = mean([float(value > cap) for value in values])
        found[name + "below"] = mean([float(value < floor) for value in values])
    return found


def bounds(statistic, given):
    """Of a k1 the logarithms of a lower and an upper ratio, of which one may say the other; of another nothing and an upper."""
    if not statistic.endswith("k1"):
        return 0.0, given
    lower, upper = given if isinstance(given, (list, tuple)) else (1 / given, given)
    return math.log(lower), math.log(upper)


def rejection(rows, criteria):
    """What verl's rejection sampling leaves out, by its names without `rollout_rs_`; `criteria`: statistics with their bounds."""
    rows = [[bounded(old - sampled) for old, sampled in row] for row in rows if row]
    if not rows or not criteria:
        return {}
    estimate = {"k1": lambda d: -d, "k2": lambda d: d * d / 2, "k3": k3}
    of_row = {"mean": mean, "sum": math.fsum, "max": max}
    found, left_out = {}, [[False for _ in row] for row in rows]
    for statistic, given in criteria.items():
        lower, upper = bounds(statistic, given)
        *level, kind = statistic.split("_")
        by_token = [[estimate[kind](d) for d in row] for row in rows]
        whole = level[0] == "seq"
        each = [of_row[level[1] if whole else "mean"](row) for row in by_token]
        if whole:
            by_token = [[own for _ in row] for own, row in zip(each, rows)]
        flat = [x for row in by_token for x in row]
        judged = each if whole else flat
        out = [[x > upper or x < lower for x in row] for row in by_token]
        left_out = [[a or b for a, b in zip(one, other)] for one, other in zip(left_out, out)]
        numbers = {
            "mean": mean(flat),
            "min": min(flat),
            "max": max(flat),
            "std": deviation([min(max(x, lower), upper) for x in flat], 0),
            "fraction_high": mean([float(x > upper) for x in judged]),
            "fraction_low": mean([float(x < lower) for x in judged]),
            "masked_fraction": mean([float(x) for row in out for x in row]),
            "seq_masked_fraction": mean([float(any(row)) for row in out]),
            "seq_mean": mean(each),
            "seq_min": min(each),
            "seq_max": max(each),
            "seq_max_deviation": max(abs(x) for x in each),
            "seq_fraction_high": mean([float(x > upper) for x in each]),
        }
        if len(each) > 1:
            numbers["seq_std"] = deviation(each, 1)
        if kind == "k1":
            numbers["seq_fraction_low"] = mean([float(x < lower) for x in each])
        found |= {f"{statistic}_{name}": number for name, number in numbers.items()}
    found["masked_fraction"] = mean([float(x) for row in left_out for x in row])
    found["seq_masked_fraction"] = mean([float(any(row)) for row in left_out])
    return found


def staleness(steps):
    """`steps`: for each, its weight_version or None, and one row a completion: the versions of its counted tokens."""
    steps = [(version, [row for row in rows if row]) for version, rows in steps]
    rows = [row for _, step in steps for row in step]
    if not rows:
        return {}
    found = {"newest": float(max(map(max, rows)))}
    known = [(version, row) for version, step in steps if version is not None for row in step]
    ages = [version - own for version, row in known for own in row]
    spreads = {
        "spans": [max(row) - min(row) + 1 for row in rows],
        "versions": [len(set(row)) for row in rows],
        "age": ages,
        "least": [version - max(row) for version, row in known],
        "most": [version - min(row) for version, row in known],
    }
    for name, values in spreads.items():
        if values:
            found |= {f"{name}/mean": mean(values), f"{name}/max": float(max(values)), f"{name}/min": float(min(values))}
    if ages and min(ages) >= 0:
        found["stale"] = mean([float(age > 0) for age in ages])
    return found
