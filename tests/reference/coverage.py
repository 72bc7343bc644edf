"""Prints how often the 95 % intervals of pass@k hold what pass@k estimates: the table in docs/METRICS.md.

Needs NumPy and SciPy. Each prompt's chance of success is drawn from a beta distribution, its completions from that chance;
sizes are all 8, all 16, or drawn from 8 to 16. Beside the interval that is used stand two that were not: Student's t of
the groups' estimates cut off at 0 and 1, and (for k = 1) Clopper and Pearson's over completions.
"""

import numpy as np
from scipy import special, stats

STEPS = 4000
CHANCES = ((0.1, 0.1), (0.5, 0.5), (1, 1), (5, 5), (0.2, 1.8), (1, 9), (1, 99), (0.05, 0.95), (9, 1), (0.05, 0.005))
SIZES = {"8": (8, 8), "16": (16, 16), "8 to 16": (8, 16)}


def estimates(sizes, hits, k):
    # C(n-c, k) / C(n, k) as a product of k factors, none of which is below 0.
    left = np.maximum((sizes - hits)[..., None] - np.arange(k), 0)
    return 1 - (left / (sizes[..., None] - np.arange(k))).prod(-1)


def used(shares):
    groups = shares.shape[1]
    mean, ends = shares.mean(1), np.array([0.0, 1.0])
    padded = np.hstack([shares, np.broadcast_to(ends, (len(shares), 2))])
    trials = padded.mean(1) * (1 - padded.mean(1)) * (groups + 2) / padded.var(1, ddof=1)
    pull = stats.t.ppf(0.975, groups - 1) ** 2 / trials
    middle = (mean + pull / 2) / (1 + pull)
    half = np.sqrt(pull * (mean * (1 - mean) + pull / 4)) / (1 + pull)
    return middle - half - 1e-12, middle + half + 1e-12


def student(shares):
    half = stats.t.ppf(0.975, shares.shape[1] - 1) * shares.std(1, ddof=1) / np.sqrt(shares.shape[1])
    return np.maximum(shares.mean(1) - half, 0), np.minimum(shares.mean(1) + half, 1)


def clopper_pearson(sizes, hits):
    n, c = sizes.sum(1), hits.sum(1)
    low = np.where(c > 0, special.betaincinv(np.maximum(c, 1), n - c + 1, 0.025), 0)
    high = np.where(c < n, special.betaincinv(c + 1, np.maximum(n - c, 1), 0.975), 1)
    return low, high


def truth(a, b, k):
    """E of 1 - (1 - p)^k."""
    return 1 - np.exp(special.betaln(a, b + k) - special.betaln(a, b))


def main():
    rng = np.random.default_rng(5)
    found = {}
    for low, high in SIZES.values():
        for groups in (8, 16, 32, 64):
            for a, b in CHANCES:
                sizes = rng.integers(low, high + 1, (STEPS, groups))
                hits = rng.binomial(sizes, rng.beta(a, b, (STEPS, groups)))
                for k in (1, 2, 4, 8):
                    shares, right = estimates(sizes, hits, k), truth(a, b, k)
                    intervals = {"used": used(shares), "t": student(shares)}
                    if k == 1:
                        intervals["completions"] = clopper_pearson(sizes, hits)
                    for name, (least, most) in intervals.items():
                        covers = ((least <= right) & (right <= most)).mean()
                        found.setdefault((groups, name), []).append(covers)
    for (groups, name), covers in found.items():
        print(f"{groups:2} prompts, {name:11} least {min(covers):.3f}, median {np.median(covers):.3f}")


if __name__ == "__main__":
    main()
