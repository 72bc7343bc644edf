"""Checks policies.py against verl's own `rollout_corr_helper.py`, on random batches: python verl_rollout.py SOURCE

SOURCE is a checkout of verl. Its module is loaded as it stands; of what it imports only the two masked reductions are looked at,
which are taken out of `torch_functional.py`, as importing that needs verl's engines. Batches are double, so that what
differs is not rounding; verl divides by the number of tokens and 1e-8 more.
"""

import ast
import random
import sys
import types
from pathlib import Path

import torch

import policies
from reference import CORRECTION

BATCHES = 200
STATISTICS = ("token_k1", "token_k2", "token_k3", "seq_sum_k1", "seq_sum_k2", "seq_sum_k3")
STATISTICS += ("seq_mean_k1", "seq_mean_k2", "seq_mean_k3", "seq_max_k2", "seq_max_k3")


def load(source):
    helper = source / "verl/trainer/ppo/rollout_corr_helper.py"
    functional = types.ModuleType("verl.utils.torch_functional")
    functional.torch = torch
    tree = ast.parse((source / "verl/utils/torch_functional.py").read_text())
    wanted = [node for node in tree.body if getattr(node, "name", "") in ("masked_sum", "masked_mean")]
    exec(compile(ast.Module(wanted, []), "torch_functional.py", "exec"), vars(functional))
    named = {"verl.utils.torch_functional": functional}
    for name, cls in (("protocol", "DataProto"), ("trainer.config.algorithm", "RolloutCorrectionConfig")):
        named["verl." + name] = types.ModuleType("verl." + name)
        setattr(named["verl." + name], cls, type(cls, (), {"from_dict": staticmethod(dict)}))
    named["verl.workers.config.actor"] = types.ModuleType("verl.workers.config.actor")
    named["verl.workers.config.actor"].PolicyLossConfig = dict
    for name in list(named):
        parts = name.split(".")
        for depth in range(1, len(parts)):
            named.setdefault(".".join(parts[:depth]), types.ModuleType(parts[depth - 1]))
    named["verl.utils"].torch_functional = functional
    sys.modules.update(named)
    module = types.ModuleType("rollout_corr_helper")
    exec(compile(helper.read_text(), str(helper), "exec"), vars(module))
    return module


def batch(rng):
    """Rows of (trained, sampled), the widest of them, and both as verl has them."""
    spread = rng.choice((0.02, 0.2, 1.0, 8.0))
    rows = []
    for _ in range(rng.randint(1, 9)):
        sampled = [rng.uniform(-6, -0.01) for _ in range(rng.randint(1, 20))]
        rows.append([(s + rng.gauss(0, spread), s) for s in sampled])
    width = max(map(len, rows)) + 2
    padded = [[[row[at][which] if at < len(row) else 0.0 for at in range(width)] for row in rows] for which in (0, 1)]
    mask = [[float(at < len(row)) for at in range(width)] for row in rows]
    return rows, [torch.tensor(values, dtype=torch.float64) for values in (*padded, mask)]


def criteria(rng):
    """Statistics with bounds, as policies.py takes them, and as verl does."""
    chosen = rng.sample(STATISTICS, rng.randint(1, 4))
    ours, told = {}, []
    for name in chosen:
        upper = round(10 ** rng.uniform(-2, 1), 6)
        if name.endswith("k1"):
            upper = round(1 + upper, 6)
            lower = round(rng.uniform(0.2, 1), 6)
            both = rng.random() < 0.5
            ours[name] = (lower, upper) if both else upper
            told.append(f"{lower}_{upper}" if both else str(upper))
        else:
            ours[name] = upper
            told.append(str(upper))
    return ours, {"rollout_rs": ",".join(chosen), "rollout_rs_threshold": ",".join(told)}


def compare(module, rng, counts):
    rows, (trained, sampled, mask) = batch(rng)
    ours, told = criteria(rng)
    cap = round(rng.uniform(1.05, 4), 6)
    *_, theirs = module.compute_rollout_correction_and_rejection_mask(
        trained, sampled, mask, rollout_is="token", rollout_is_threshold=cap, **told
    )
    apart = policies.off_policy(rows, cap)
    mine = {key: apart[name] for key, name in CORRECTION.items() if name in apart}
    mine |= {"rollout_rs_" + name: number for name, number in policies.rejection(rows, ours).items()}
    theirs = {key.removeprefix("rollout_corr/"): value for key, value in theirs.items()}
    faults = [(key, mine.get(key), theirs.get(key)) for key in theirs.keys() ^ mine.keys() if not key.endswith("seq_std")]
    for key in theirs.keys() & mine.keys():
        one, other = mine[key], theirs[key]
        # The 1e-8 in verl's divisor; in a deviation of what is all the same, or nearly, its square root.
        loose = (1e-3 if key.endswith("_std") else 2e-7) * (1 + abs(one))
        counts[key] = counts.get(key, 0) + 1
        if abs(one - other) > loose:
            faults.append((key, one, other))
    return [(ours, cap, len(rows), fault) for fault in faults]


def main(source):
    module, rng, counts, faults = load(Path(source)), random.Random(5), {}, []
    for _ in range(BATCHES):
        faults += compare(module, rng, counts)
    print(f"{BATCHES} batches, {len(counts)} keys, {sum(counts.values())} numbers, {len(faults)} that differ", *faults[:20], sep="\n  ")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
