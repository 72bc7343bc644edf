"""Prints how often the 95 % intervals of a difference prompt by prompt hold the true one: the table in docs/METRICS.md.

Needs NumPy and SciPy. A prompt's chance of success in A is drawn from a beta distribution; in B its logit is shifted, by so much for all
prompts and by noise of its own. Beside the interval that is used stands Welch's, as if the prompts were not the same.
"""

import numpy as np
from scipy import stats

STEPS = 2000
CHANCES = ((0.5, 0.5), (1, 1), (5, 5), (0.2, 1.8), (1, 9), (9, 1), (0.05, 0.95))
SHIFTS = ((0, 0.3), (0.5, 0.5), (1, 1))
SIZES = ((1, 1), (4, 1), (8, 1), (4, 4), (8, 4))  # completions of a prompt, and the k of pass@k


def chances(rng, a, b, shift, noise, shape):
    ours = np.clip(rng.beta(a, b, shape), 1e-12, 1 - 1e-12)
    logit = np.log(ours / (1 - ours)) + shift + noise * rng.standard_normal(shape)
    return ours, 1 / (1 + np.exp(-logit))


def estimates(size, hits, k):
    left = np.maximum((size - hits)[..., None] - np.arange(k), 0)
    return 1 - (left / (size - np.arange(k))).prod(-1)


def half(error, freedom):
    return stats.t.ppf(0.975, np.maximum(np.floor(freedom), 1)) * error


def welch(ours, theirs):
    n = ours.shape[1]
    a, b = ours.var(1, ddof=1) / n, theirs.var(1, ddof=1) / n
    return half(np.sqrt(a + b), (a + b) ** 2 / np.maximum((a * a + b * b) / (n - 1), 1e-300))


def main():
    rng = np.random.default_rng(7)
    for prompts in (5, 10, 16, 32, 64, 256):
        paired, unpaired, missing, widths = [], [], [], []
        for a, b in CHANCES:
            for shift, noise in SHIFTS:
                p, q = chances(rng, a, b, shift, noise, 1_000_000)
                truth = {k: ((1 - p) ** k - (1 - q) ** k).mean() for k in (1, 4)}
                p, q = chances(rng, a, b, shift, noise, (STEPS, prompts))
                for size, k in SIZES:
                    ours, theirs = (estimates(size, rng.binomial(size, x), k) for x in (p, q))
                    apart = theirs - ours
                    error = apart.std(1, ddof=1) / np.sqrt(prompts)
                    off, used = np.abs(apart.mean(1) - truth[k]), half(error, np.array(prompts - 1.0))
                    varies, other = error > 0, welch(ours, theirs)
                    missing.append(1 - varies.mean())
                    # Of fewer there is nothing to tell.
                    if varies.sum() < STEPS / 10:
                        continue
                    paired.append((off <= used)[varies].mean())
                    unpaired.append((off <= other)[varies].mean())
                    widths.append(used[varies].mean() / other[varies].mean())
        shown = [f"{min(all):.3f}, {np.median(all):.3f}" for all in (paired, unpaired)]
        below = np.mean(np.array(paired) < 0.93)
        print(f"{prompts:3} prompts: paired {shown[0]}, below 0.93 in {below:.2f}; unpaired {shown[1]}; ", end="")
        print(f"width {np.median(widths):.2f} of unpaired; none in {np.median(missing):.3f}, {max(missing):.3f}", flush=True)


if __name__ == "__main__":
    main()
