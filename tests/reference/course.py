"""How often the flags over steps are up where nothing has changed, and how soon where something has.

Needs NumPy. A key's course is an AR(1) series of standard deviation 1; the statistics are those of docs/METRICS.md, with the
default limits. Prints the table that stands there.
"""

import numpy as np

STEPS, RECENT = 100, 20
LIMIT = 6.0
RUNS, LENGTH = 400, 1000


def series(rng, rho, runs, length):
    noise = rng.standard_normal((runs, length + 300)) * np.sqrt(1 - rho**2)
    values = np.zeros_like(noise)
    for at in range(1, noise.shape[1]):
        values[:, at] = rho * values[:, at - 1] + noise[:, at]
    return values[:, 300:]


def regressors():
    line = np.arange(STEPS) - (STEPS - 1) / 2
    step = (np.arange(STEPS) >= STEPS - RECENT) - RECENT / STEPS
    return {"trend": ([], line), "shift": ([line], step)}


def standardised(windows, others, regressor):
    """The regressor's coefficient, beside a mean and the others, over its error for residuals that are AR(1)."""
    for other in others:
        regressor = regressor - other * (regressor @ other) / (other @ other)
    values = windows - windows.mean(-1, keepdims=True)
    for other in others:
        values = values - (values @ other / (other @ other))[..., None] * other
    size = values @ regressor / (regressor @ regressor)
    rest = values - size[..., None] * regressor
    square = (rest**2).sum(-1)
    rho = (rest[..., 1:] * rest[..., :-1]).sum(-1) / square
    terms = 2 + len(others)
    rho = np.clip((rho + terms / STEPS) / (1 - 2 * terms / STEPS), 0, 0.95)
    error = np.sqrt(square / (STEPS - terms) / (regressor @ regressor) * (1 + rho) / (1 - rho))
    return size / error


def up(values, name):
    windows = np.lib.stride_tricks.sliding_window_view(values, STEPS, axis=1)
    return np.abs(standardised(windows, *regressors()[name])) > LIMIT


if __name__ == "__main__":
    rng = np.random.default_rng(18)
    print("| autocorrelation | flag | steps up | runs with one | a change of 4 found | of 8 found |\n| --- | --- | --- | --- | --- | --- |")
    for rho in (0.0, 0.5, 0.8, 0.9):
        for name in ("trend", "shift"):
            quiet = up(series(rng, rho, RUNS, LENGTH), name)
            found = []
            for size in (4, 8):
                # At once at step 150, or spread over the 100 steps from there on.
                change = np.arange(300) >= 150 if name == "shift" else np.clip((np.arange(300) - 150) / 100, 0, 1)
                found.append(up(series(rng, rho, RUNS, 300) + size * change, name)[:, 50:].any(1).mean())
            print(f"| {rho} | {name} | {quiet.mean():.5f} | {quiet.any(1).mean():.3f} | {found[0]:.2f} | {found[1]:.2f} |")
