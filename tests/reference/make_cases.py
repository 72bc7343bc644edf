"""Writes tests/data/vectors/layout.jsonl and windows.jsonl: what the maxent vectors leave open.

Inputs are made here from a fixed seed, expected values by reference.py. Run it after a change to either.
"""

import json
import math
import random
from pathlib import Path

from reference import DIALECTS, dictionary, nonfinite, rows, slim

VECTORS = Path(__file__).resolve().parents[1] / "data" / "vectors"
LOGPS = ("token_logps", "old_token_logps", "ref_token_logps", "sampling_token_logps")
TOKEN_LEVEL = ("token_advantages", "returns", "values")
PER_COMPLETION = ("rewards", "advantages", "q", "weights")
TOKENS = ("token_logps", "old_token_logps", "ref_token_logps", "token_entropies", "token_ids")
NAN, INF, MINUS_INF = "NaN", "Infinity", "-Infinity"
NO_TOKENS = ()


# --- a step's completions, before anybody deals them to ranks ----------------------------------------------------------


def completion(rng, tokens, components, longest):
    length = rng.choice((0, 1, 2, rng.randint(1, longest), rng.randint(1, longest), longest))
    made = {
        "rewards": round(rng.gauss(0.3, 1), 6),
        "reward_components": {name: round(rng.gauss(0, 1), 6) for name in components},
        "advantages": round(rng.gauss(0, 1), 6),
        "completion_lengths": length,
    }
    base = [rng.uniform(-4, -0.05) for _ in range(length)]
    for name in tokens:
        if name in LOGPS:
            made[name] = [round(b + rng.gauss(0, 0.25), 5) for b in base]
        elif name == "token_ids":
            made[name] = [rng.randint(0, 9) for _ in base]
        elif name == "token_entropies":
            made[name] = [round(rng.uniform(0, 3), 5) for _ in base]
        elif name == "loss_mask":
            made[name] = [int(rng.random() < 0.7) for _ in base]
        else:
            made[name] = [round(rng.gauss(0, 1), 5) for _ in base]
    return made


def groups(rng, sizes=(3, 4, 2), tokens=TOKENS, components=("accuracy", "format"), longest=9):
    made = []
    for size in sizes:
        members = [completion(rng, tokens, components, longest) for _ in range(size)]
        for column in ("q", "weights"):
            raw = [math.exp(rng.gauss(0, 1)) for _ in members]
            for member, value in zip(members, raw):
                member[column] = round(value / sum(raw), 8)
        made.append(members)
    return made


# --- dealing -----------------------------------------------------------------------------------------------------------


def record(members, step=5, rank=0, world=1, micro=0, sizes=None, ids=None, index=None, cap=9):
    batch = {"group_sizes": list(sizes)} if sizes is not None else {"group_ids": list(ids)}
    if index is not None:
        batch["completion_index"] = list(index)
    flat_columns = [*PER_COMPLETION, "completion_lengths"]
    for column in flat_columns:
        batch[column] = [member[column] for member in members]
    if cap is not None:
        batch["max_completion_length"] = cap
    names = members[0]["reward_components"] if members else {}
    batch["reward_components"] = {name: [member["reward_components"][name] for member in members] for name in names}
    for column in members[0] if members else ():
        if column not in flat_columns and column != "reward_components":
            batch[column] = [value for member in members for value in member[column]]
    return {"step": step, "rank": rank, "world_size": world, "micro": micro, "batch": batch}


def own(made, world=1, micros=1, step=5, cap=9):
    """Whole groups, dealt in turn; every rank has all its micro-batches, empty or not."""
    shares = [made[nth :: world * micros] for nth in range(world * micros)]
    return [
        record([m for g in part for m in g], step, nth // micros, world, nth % micros, [len(g) for g in part], cap=cap)
        for nth, part in enumerate(shares)
    ]


def shared(made, world=1, micros=1, step=5, cap=9, shuffle=None, first_id=0):
    """Groups by id, cut anywhere: in order, or (with a completion_index) in any order."""
    rows_ = [(first_id + 7 * g, at, member) for g, members in enumerate(made) for at, member in enumerate(members)]
    if shuffle is not None:
        shuffle.shuffle(rows_)
    parts = world * micros
    cuts = [len(rows_) * nth // parts for nth in range(parts + 1)]
    return [
        record(
            [member for _, _, member in part],
            step,
            nth // micros,
            world,
            nth % micros,
            ids=[g for g, _, _ in part],
            index=[at for _, at, _ in part] if shuffle is not None else None,
            cap=cap,
        )
        for nth, part in enumerate(rows_[a:b] for a, b in zip(cuts, cuts[1:]))
    ]


def weighting(**given):
    base = {"tau": 0.3, "beta": 0.04, "weight_norm_denom": 0.34, "q_temperature": 1.0, "q_epsilon": 1e-6}
    base |= {"clip_range_low": 0.2, "clip_range_high": 0.28, "loss_type": "bnpo", "train_grpo_objective": False}
    return base | given


def without(record_, *columns):
    for column in columns:
        record_["batch"].pop(column, None)


def poison(rng, cells, values):
    """Overwrites a few cells, each with one of the values."""
    for at, value in zip(rng.sample(range(len(cells)), min(len(values), len(cells))), values):
        cells[at] = value


# --- layout cases ------------------------------------------------------------------------------------------------------


def layout():
    """(name, options, records): each a feature, then all of them at random."""
    rng = random.Random(20261)
    make = lambda *args, **kw: groups(rng, *args, **kw)

    def split(record_, **kw):
        record_["weighting"] = weighting(**kw)
        return record_

    # Grouping
    yield "own groups on one rank", {}, own(make())
    yield "own groups over two ranks", {}, own(make((2, 3, 1, 4)), 2)
    yield "ids with whole groups on two ranks", {}, shared(make((3, 3)), 2)
    for world, micros in ((2, 1), (4, 1), (1, 3), (3, 2), (4, 3)):
        yield f"groups spread in order over {world} ranks of {micros} micro-batches", {}, shared(make((5, 4, 3, 1)), world, micros)
    shuffled = shared(make((4, 5, 3)), 3, 2, shuffle=rng)
    yield "spread groups ordered by completion_index", {}, shuffled
    both = shared(make((3, 3)), 2, first_id=0) + own(make((2, 2)), 2)
    for nth, one in enumerate(both):
        one["rank"], one["world_size"] = nth, 4
    yield "own groups beside ids of the same numbers", {}, both
    yield "groups of one", {}, own(make((1, 1, 1)), 2)
    yield "a single completion", {}, own(make((1,)))
    empty_groups = own(make((0, 3, 0, 2, 0)))
    empty_groups[0]["batch"] |= {"semantic_entropies": [0.5, 1.0, 0.25, 0.75, 2.0]}
    yield "empty groups with seed values", {}, empty_groups
    yield "an empty rank", {}, own(make((3, 2)), 4)
    lonely = own(make((3,)), 2)
    lonely[1]["batch"] = {"group_ids": [], "rewards": []}
    yield "an empty rank with ids and nothing else", {}, lonely
    yield "all ranks empty", {}, [split(one) for one in own([], 2)]
    records = shared(make((3, 0, 2)), 2)
    yield "records in any order", {}, records[::-1]

    # Completions
    records = own(make((3, 3)), 2)
    for one in records:
        one["batch"]["terminated"] = [rng.random() < 0.5 for _ in one["batch"]["rewards"]]
    yield "terminated decides, not the cap", {}, records
    records = own(make((3, 3)), 2)
    records[0]["batch"]["terminated"] = [True, False, True]
    yield "terminated on one rank and the cap on the other", {}, records
    records = own(make((3,)), cap=None)
    yield "nothing is clipped without a cap", {}, records
    records = own(make((2, 2)), 2)
    for one in records:
        one["batch"]["terminated"] = [False, False]
    yield "nothing terminated", {}, records
    yield "different caps on the ranks", {}, [
        one | {"batch": one["batch"] | {"max_completion_length": 3 + 6 * one["rank"]}} for one in own(make((4, 4)), 2)
    ]
    nothing = make((2, 2))
    for one in (m for g in nothing for m in g):
        one.update({name: [] for name in TOKENS}, completion_lengths=0)
    yield "completions of no tokens only", {}, own(nothing)
    records = own(make((2, 3), tokens=("token_logps", "ref_token_logps"), longest=290), 2, cap=300)
    records[1]["scalars"] = {"kl_loss": 0.5}
    yield "length buckets", {}, records
    exact = make((2, 4), tokens=("token_logps", "ref_token_logps"), longest=4)
    for member, length in zip((m for g in exact for m in g), (32, 33, 64, 65, 0, 31)):
        member["completion_lengths"] = length
        for name in ("token_logps", "ref_token_logps"):
            member[name] = [round(rng.uniform(-3, -0.1), 4) for _ in range(length)]
    yield "bucket edges", {}, own(exact, cap=64)

    # The loss mask
    masked = lambda *sizes: make(sizes or (3, 2, 3), tokens=(*TOKENS, "loss_mask", "sampling_token_logps"))
    yield "a loss mask", {}, shared(masked(), 2)
    for kind in ("bnpo", "grpo", "dr_grpo", "dapo"):
        yield f"loss type {kind} under a loss mask", {}, [split(one, loss_type=kind) for one in shared(masked(), 2)]
    yield "dr_grpo without a cap", {}, [split(one, loss_type="dr_grpo") for one in own(masked(), 2, cap=None)]
    hidden = masked(2, 2)
    hidden[0][0]["loss_mask"] = [0] * hidden[0][0]["completion_lengths"]
    yield "a completion without counted tokens", {}, [split(one, loss_type="grpo") for one in own(hidden)]
    for member in (m for g in hidden for m in g):
        member["loss_mask"] = [0] * member["completion_lengths"]
    records = own(hidden)
    records[0]["scalars"] = {"kl_loss": 0.02}
    yield "no counted tokens at all", {}, records
    records = own(masked(3, 3))
    batch = records[0]["batch"]
    for name in ("token_logps", "ref_token_logps", "token_entropies"):
        batch[name] = [value if flag else NAN for value, flag in zip(batch[name], batch["loss_mask"])]
    yield "non-finite values at masked tokens", {}, records
    records = own(masked(3, 3), 2)
    without(records[1], "loss_mask")
    yield "a loss mask on one rank", {}, records

    # Absent and non-finite values
    records = own(make((3, 4, 2)), 2)
    for one in records:
        for cells in one["batch"]["reward_components"].values():
            poison(rng, cells, [None, None])
    yield "components that do not apply", {}, records
    records = own(make((3, 2)), 2)
    for one in records:
        one["batch"]["reward_components"]["accuracy"] = [None for _ in one["batch"]["rewards"]]
    yield "a component that never applies", {}, records
    for column in PER_COMPLETION:
        if column != "q":  # given for some completions only is an error there
            records = own(make((3, 4, 2, 2)), 2)
            poison(rng, records[0]["batch"][column], [None])
            yield f"absent {column}", {}, records
        records = own(make((3, 4, 2, 2)), 2)
        poison(rng, records[0]["batch"][column], [NAN])
        poison(rng, records[1]["batch"][column], [INF])
        yield f"non-finite {column}", {}, records
    records = shared(make((4, 4)), 2)
    poison(rng, records[0]["batch"]["reward_components"]["format"], [NAN, MINUS_INF])
    poison(rng, records[1]["batch"]["reward_components"]["format"], [INF, None])
    yield "non-finite and absent component values", {}, records
    records = shared(make((4, 4), tokens=(*TOKENS, "sampling_token_logps")), 2)
    for one in records:
        for name in (*LOGPS, "token_entropies"):
            poison(rng, one["batch"][name], [NAN, MINUS_INF])
    yield "non-finite tokens", {}, records
    records = own(make((3,)))
    for column in PER_COMPLETION:
        records[0]["batch"][column] = [NAN] * 3
    for name in (*LOGPS[:3], "token_entropies"):
        records[0]["batch"][name] = [NAN for _ in records[0]["batch"][name]]
    yield "nothing finite", {}, [split(one) for one in records]
    records = shared(make((2, 2)), 2)
    records[0]["scalars"] = {"total_loss": NAN, "grad_norm": INF, "learning_rate": NAN, "kl_loss": None, "speed": NAN}
    records[1]["scalars"] = {"total_loss": 0.5, "grad_norm": 1.5, "learning_rate": 1e-5, "num_input_tokens": NAN, "speed": 3.0}
    records[0]["weighting"] = weighting(tau=NAN, kl_target=INF, tau_target_entropy=None)
    yield "non-finite scalars and controller", {}, records

    # Columns that differ by rank
    records = own(make((3, 2, 2)), 3)
    records[0]["batch"]["reward_components"] = {"accuracy": [1.0, 0.0, 1.0]}
    records[1]["batch"]["reward_components"] = {"style/tone": [0.25, None], "accuracy": [0.5, 0.5]}
    without(records[2], "reward_components")
    yield "components that differ by rank", {}, records
    for columns in (
        ("token_logps",),
        ("ref_token_logps",),
        ("old_token_logps",),
        ("token_entropies",),
        ("token_ids",),
        ("advantages",),
        ("q", "weights"),
        ("completion_lengths", "max_completion_length", *TOKENS),
    ):
        records = own(make((3, 2, 4)), 2)
        without(records[1], *columns)
        yield f"no {columns[0]} on one rank", {}, [split(one) for one in records]
    records = shared(make((4, 3)), 2)
    without(records[1], "advantages", "q", "weights", "token_ids")
    yield "half a group without its columns", {}, records

    # Scalars
    names = ("total_loss", "policy_loss", "kl_loss", "weighted_kl_loss", "clip_loss", "learning_rate", "epoch", "entropy_bonus_coef")
    names += ("grad_norm", "entropy_bonus_reward_std", "policy_entropy", "vf_clipfrac", "vllm_latency_ms", "actor_dequeue_time")
    names += ("step_time_sec", "ref_logp_mean", "avg_completion_tokens", "num_completion_tokens", "num_input_tokens")
    names += ("tflops_per_step", "model_params", "my/own metric", "lr_scale")

    def reported(records_, chance=1.0, leave=()):
        for one in records_:
            one["scalars"] = {
                name: float(rng.randint(1, 60)) if name.startswith("num") else round(rng.uniform(0.05, 2), 6)
                for name in names
                if name not in leave and rng.random() < chance
            }
        return records_

    yield "every scalar from every record", {}, reported(shared(make((5, 4, 3)), 3, 2))
    yield "losses without token counts", {}, reported(shared(make((5, 4, 3)), 2, 3), leave=("num_completion_tokens",))
    records = reported(shared(make((5, 4)), 2, 2))
    del records[1]["scalars"]["num_completion_tokens"]
    yield "one reporter without a token count", {}, records
    records = reported(shared(make((5, 4)), 2, 2))
    records[2]["scalars"] = {}
    del records[3]["scalars"]
    yield "fewer micro-batches report on one rank", {}, records
    records = reported(shared(make((5, 4)), 2, 2), leave=("num_completion_tokens",))
    records[0].pop("scalars")
    records[1]["scalars"] = {}
    yield "the lowest rank reports nothing", {}, records
    records = reported(shared(make((3, 3)), 2))
    for one in records:
        one["scalars"]["num_completion_tokens"] = 0.0
    yield "token counts of zero", {}, records
    records = reported(shared(make((3, 3)), 2, 2), leave=("tflops_per_step", "epoch"))
    yield "tflops from parameters and tokens", {"steps_per_epoch": 40}, records
    for nth in range(2):
        yield f"some records report some scalars {nth}", {}, reported(shared(make((5, 4, 3)), 4, 2), 0.5)
    records = shared(make((4, 5)), 3)
    for nth, one in enumerate(records):
        size = len(dict.fromkeys(one["batch"]["group_ids"]))
        one["batch"]["semantic_entropies"] = [round(rng.uniform(0, 2), 6) for _ in range(size)]
        one["batch"]["advantage_scales"] = [round(rng.uniform(0, 2), 6) for _ in range(size)]
        if nth:
            one["batch"]["seed_alpha_effective"] = round(rng.uniform(0, 1), 6)
        one["batch"]["seed_max_possible_entropy"] = round(rng.uniform(1, 2), 6)
    yield "seed values of spread groups", {}, records
    records = own(make((2, 2, 2, 2)), 2, 2)
    for one in records:
        one["batch"] |= {"semantic_entropies": [round(rng.uniform(0, 2), 6)], "seed_alpha_effective": round(rng.uniform(0, 1), 6)}
    records[1]["batch"]["semantic_entropies"] = [NAN]
    del records[3]["batch"]["seed_alpha_effective"]
    yield "seed values of micro-batches", {}, records

    # Controller, epoch, slim
    bare = own(make((2, 2), tokens=NO_TOKENS))
    bare[0]["batch"] = {key: bare[0]["batch"][key] for key in ("group_sizes", "rewards")}
    yield "rewards only", {}, bare
    yield "rewards and an empty snapshot", {}, [bare[0] | {"weighting": {}}]
    records = shared(make((3, 3)), 3, 2)
    records[2]["weighting"] = weighting(tau=0.1, clip_range_low=0.05, clip_range_high=0.05)
    records[3]["weighting"] = weighting(tau=0.2, clip_range_low=0.1, clip_range_high=0.1, loss_type="grpo")
    records[5]["weighting"] = weighting(tau=0.9, loss_type="dr_grpo")
    yield "the lowest reporting rank's last snapshot", {}, records
    full = {"tau_target_entropy": 0.9, "tau_warmup_steps": 2, "tau_lr": 0.01, "tau_lr_effective": 0.005, "tau_min": 0.01, "tau_max": 2.0}
    full |= {"kl_target": 0.05, "kl_horizon": 100, "kl_step_size": 0.1, "prev_tau": 0.25, "prev_beta": 0.05, "len_norm_ref": True}
    yield "the whole controller", {}, [split(one, **full) for one in own(make(), 2)]
    meta = {"enabled": True, "learning_rate": 0.01, "update_interval": 2, "truncation_steps": 3, "use_hessian": True}
    meta |= {"last_tau_grad": 0.3, "last_beta_grad": -0.4, "last_loss": 0.1, "tau_projected": True, "beta_projected": False}
    yield "the controller under meta", {}, [split(one, **full, meta=meta) for one in own(make(), 2)]
    yield "a target entropy of zero", {}, [split(one, tau_target_entropy=0.0, tau_warmup_steps=5) for one in own(make())]
    records = [split(one, train_grpo_objective=True, tau=0.0) for one in own(make())]
    yield "the grpo objective with tau 0", {}, records
    yield "the grpo objective with tau", {}, [split(one, train_grpo_objective=True, **full) for one in own(make())]
    records = [split(one, train_grpo_objective=True) for one in own(make())]
    without(records[0], "weights")
    yield "the grpo objective without weights", {}, records
    for coefficient in (0.0, 0.1):
        records = own(make((3, 3), components=("entropy_bonus", "code/p25", "a", "a/mean")), 2)
        for one in records:
            one["scalars"] = {"entropy_bonus_coef": coefficient}
        yield f"an entropy bonus with coefficient {coefficient}", {}, records
    records = [split(one) for one in own(make((3, 2), components=("only",)), 2)]
    for one in records:
        one["batch"]["reward_components"]["only"] = list(one["batch"]["rewards"])
    yield "one component equal to the reward", {}, records
    for options in (
        {"num_generations": 8},
        {"steps_per_epoch": 0, "num_generations": 0, "num_epochs": 3, "total_training_steps": 7},
        {"steps_per_epoch": 3, "num_generations": 8},
    ):
        yield "epoch by " + " ".join(options), options, own(make((2,), tokens=NO_TOKENS))

    # Clip, KL, sampler, token-level trainers
    many = (*TOKENS, "sampling_token_logps")
    yield "uncorrected kl and capped ratios", {"kl_bias_correction": False, "is_ratio_cap": 1.1}, shared(make((3, 3), tokens=many), 2)
    records = shared(make((3, 3), tokens=many), 2)
    without(records[1], "old_token_logps")
    yield "the sampler against current where there is no old", {"is_ratio_cap": 1.5}, records
    records = own(make((2, 2)))
    batch = records[0]["batch"]
    if not any(batch["completion_lengths"]):
        raise SystemExit("the case needs tokens")
    batch["ref_token_logps"] = [-90.0 if nth % 2 else -0.5 for nth, _ in enumerate(batch["token_logps"])]
    batch["token_logps"] = [-0.5 if nth % 2 else -90.0 for nth, _ in enumerate(batch["token_logps"])]
    without(records[0], "old_token_logps")
    yield "differences beyond the clamp", {}, records
    records = own(make((2, 2)))
    records[0]["batch"]["ref_token_logps"] = [value + 1 for value in records[0]["batch"]["token_logps"]]
    yield "every token below the range", {}, records
    records = own(make((3, 3), tokens=(*many, *TOKEN_LEVEL, "loss_mask")), 2)
    for column in TOKEN_LEVEL:
        poison(rng, records[0]["batch"][column], [NAN])
    without(records[1], "token_advantages")
    yield "token-level advantages on one rank", {}, records

    # Texts, magnitudes
    words = ["a b  a", "", "b\ta\nb c", " c ", "über straße", "a b a c"]
    records = shared(make((4, 2), tokens=NO_TOKENS), 2, shuffle=rng)
    for one in records:
        at = [index + 4 * bool(g) for g, index in zip(one["batch"]["group_ids"], one["batch"]["completion_index"])]
        one["batch"]["completions"] = [words[nth] for nth in at]
    yield "diversity of texts", {}, records
    records = own(make((2, 2)), 2)
    for one in records:
        one["batch"]["completions"] = ["same words here", "other words"]
    yield "token ids before texts", {}, records
    records = own(make((5,), tokens=NO_TOKENS))
    records[0]["batch"]["rewards"] = [1e15, 1e-15, -1e15, 3.5, 0.1]
    records[0]["batch"]["reward_components"] = {"huge": [1e200, -1e200, 1e-200, 0.0, 5e199], "equal": [0.1] * 5}
    records[0]["batch"]["advantages"] = [0.0, -9.9e-9, 9.9e-9, 0.0, 0.0]
    yield "huge beside tiny and equal values", {}, records
    records = shared(make((3, 3, 2)), 2)
    for one in records:
        one["batch"]["rewards"] = [0.1 if g == 0 else value for g, value in zip(one["batch"]["group_ids"], one["batch"]["rewards"])]
    yield "a group of equal rewards", {}, records

    # Everything at once
    for nth in range(8):
        sizes = [rng.randint(1, 4) for _ in range(rng.randint(2, 4))]
        made = make(sizes, tokens=(*many, "loss_mask"), components=rng.sample(["accuracy", "format", "x/y", "entropy_bonus"], 2))
        records = reported(shared(made, rng.randint(1, 4), rng.randint(1, 3), step=nth, shuffle=rng if nth % 2 else None), 0.6)
        for one in records:
            batch = one["batch"]
            for column in ("rewards", "advantages", "weights"):
                if rng.random() < 0.3:
                    poison(rng, batch[column], [rng.choice((None, NAN, INF))])
            for cells in batch["reward_components"].values():
                if rng.random() < 0.5:
                    poison(rng, cells, [rng.choice((None, NAN))])
            for column in ("terminated",):
                if rng.random() < 0.5:
                    batch[column] = [rng.random() < 0.7 for _ in batch["rewards"]]
            for column in ("old_token_logps", "loss_mask", "ref_token_logps", "advantages", "token_entropies"):
                if rng.random() < 0.15:
                    without(one, column)
            if rng.random() < 0.5:
                one["weighting"] = weighting(loss_type=rng.choice(("bnpo", "grpo", "dapo")), **full)
        yield f"everything at once {nth}", {"num_generations": 4}, records

    # What verl names
    trained = (*many, *TOKEN_LEVEL, "loss_mask")
    for nth, kind in enumerate(("k1", "abs", "k2", "k3")):
        records = shared(make((3, 2, 4), tokens=trained if nth % 2 else many), 2, 2, shuffle=rng)
        for one in records:
            one["batch"]["prompt_lengths"] = [rng.randint(0, 12) for _ in one["batch"]["rewards"]]
            one["batch"]["max_prompt_length"] = 10
            one["batch"]["terminated"] = [rng.random() < 0.7 for _ in one["batch"]["rewards"]]
            one["scalars"] = {"step_time_sec": round(rng.uniform(1, 9), 6), "timing_s/gen": round(rng.uniform(1, 9), 6)}
        poison(rng, records[0]["batch"]["rewards"], [NAN])
        poison(rng, records[1]["batch"]["ref_token_logps"], [NAN])
        options = {"kl_penalty": 0.05, "kl_penalty_kind": kind, "kl_kind": kind, "devices": 4}
        yield f"verl's penalty and loss by {kind}", options, records
    records = own(make((2, 3), tokens=(*TOKENS, "returns", "values")), 2)
    for one in records:
        one["batch"]["returns"] = [0.5] * len(one["batch"]["returns"])
        one["batch"]["prompt_lengths"] = [7] * len(one["batch"]["rewards"])
    without(records[1], "ref_token_logps")
    yield "constant returns, a penalty without a reference, prompts without a cap", {"kl_penalty": 0.1}, records


# --- windows -----------------------------------------------------------------------------------------------------------


def losses():
    """What the trainer says of its loss. A generator of its own, so that it adds cases without changing others."""
    rng = random.Random(20262)

    def given(made, **words):
        for record_ in made:
            record_["weighting"] = weighting(**words)
        return made

    tokens = (*TOKENS, "sampling_token_logps")
    make = lambda *args: groups(rng, *args, tokens=tokens)
    tight = {"clip_range_low": 0.02, "clip_range_high": 0.03, "importance_sampling_level": "sequence"}
    yield "a ratio of whole completions", {}, given(shared(make((3, 4, 2, 5)), 2, 2), **tight)
    yield "a ratio of whole completions without bias correction", {"kl_bias_correction": False}, given(own(make(), 2), **tight)
    hidden = groups(rng, tokens=(*TOKENS, "loss_mask"))
    for member in hidden[0]:
        member["loss_mask"] = [0] * len(member["loss_mask"])
    yield "a ratio of whole completions under a loss mask", {}, given(shared(hidden, 2), **tight)
    bare = own(make(), 2)
    for record_ in bare:
        without(record_, "old_token_logps")
    yield "a ratio of whole completions without old log-probabilities", {}, given(bare, **tight)
    broken = own(make(), 2)
    broken[0]["batch"]["old_token_logps"][0] = NAN
    broken[1]["batch"]["advantages"][0] = NAN
    yield "a ratio of whole completions with values that are no numbers", {}, given(broken, **tight)
    for delta in (1.28, 1.5, 1.02):
        yield f"ratios capped at {delta}", {}, given(own(make(), 2), clip_delta=delta)
    for kind in ("cispo", "sapo", "vespo", "gmpo", "luspo", "dapo", "some other"):
        yield f"the loss {kind}", {}, given(shared(make(), 2), loss_type=kind)
    level = make((4, 3, 4, 2, 1))
    for nth, members in enumerate(level):
        for at, member in enumerate(members):
            member["rewards"] = 1.0 if nth != 1 else float(at)
    for member in (level[0][1], level[2][0], level[2][1], level[2][2]):
        member["rewards"] = None
    level[3][0]["rewards"] = NAN
    for scale in ("group", "batch", "none", "other"):
        yield f"advantages scaled by {scale}, some rewards not there", {}, given(shared(level, 2), scale_rewards=scale)
    for members in level:
        for member in members:
            member["rewards"] = 0.5
    yield "advantages scaled by batch, all rewards equal", {}, given(shared(level, 2), scale_rewards="batch")


def aged(rng, records, newest=9, chance=0.4):
    """Weight versions: of each completion a run or two, ascending, of an early one and a later."""
    for one in records:
        versions = []
        for length in one["batch"]["completion_lengths"]:
            first = rng.randint(newest - 3, newest)
            cut = rng.randint(0, length) if rng.random() < chance else length
            versions += [first] * cut + [rng.randint(first, newest)] * (length - cut)
        one["batch"]["weight_versions"] = versions
    return records


def off_policies():
    """Samplers that are not the policy, and weights that are not the newest. A generator of its own."""
    rng = random.Random(20263)
    tokens = (*TOKENS, "sampling_token_logps", "loss_mask")
    make = lambda *sizes: groups(rng, sizes or (3, 4, 2), tokens=tokens, longest=14)
    for cap, floor in ((1.3, None), (2.0, 0.8), (1.05, 0.99), (5.0, 0.5)):
        options = {"is_ratio_cap": cap} | ({} if floor is None else {"is_ratio_floor": floor})
        yield f"ratios to the sampler from {floor} to {cap}", options, shared(make(), 2, 2)
    far = own(make(), 2)
    for record_ in far:
        old, sampled = (record_["batch"][name] for name in ("old_token_logps", "sampling_token_logps"))
        for at in range(0, len(old), 3):
            old[at], sampled[at] = rng.choice(((-0.5, -31.0), (-25.0, -0.25), (-2.0, -2.0), (-55.0, -1.0)))
    poison(rng, far[0]["batch"]["sampling_token_logps"], [NAN, MINUS_INF])
    yield "ratios to the sampler beyond every bound", {"is_ratio_cap": 2.0}, far
    bare = own(make(), 2)
    without(bare[0], "old_token_logps", "loss_mask")
    without(bare[1], "sampling_token_logps")
    yield "a sampler on one rank", {"is_ratio_cap": 1.5}, bare
    same = own(make(2, 2))
    same[0]["batch"]["sampling_token_logps"] = list(same[0]["batch"]["old_token_logps"])
    yield "a sampler that is the policy", {"is_ratio_cap": 2.0}, same
    for nth, (version, dropped) in enumerate(((9.0, 5.0), (12.0, None), (8.0, 0.0), (None, 3.0))):
        records = aged(rng, shared(make(), 2, 2))
        if nth == 1:
            without(records[2], "weight_versions")
        for at, one in enumerate(records):
            # One rank may speak for all, and some may lag behind it.
            one["scalars"] = {} if version is None or at == 1 else {"weight_version": version - at % 2}
            if dropped is not None:
                one["scalars"]["samples_dropped"] = dropped
            if nth == 0:
                one["scalars"]["samples_kept"] = float(len(one["batch"]["rewards"]))
        yield f"tokens of older weights {nth}", {}, records


def rejections():
    """Tokens and completions that are too far from their sampler. A generator of its own."""
    rng = random.Random(20265)
    tokens = (*TOKENS, "sampling_token_logps", "loss_mask")
    make = lambda *sizes: groups(rng, sizes or (3, 4, 2), tokens=tokens, longest=14)
    every = {"token_k1": [0.7, 1.5], "token_k2": 0.05, "token_k3": 0.04, "seq_sum_k1": 1.6, "seq_sum_k2": 0.3}
    every |= {"seq_sum_k3": 0.35, "seq_mean_k1": [0.9, 1.05], "seq_mean_k2": 0.06, "seq_mean_k3": 0.05}
    every |= {"seq_max_k2": 0.2, "seq_max_k3": 0.15}
    for name in every:
        yield f"rejection by {name}", {"rollout_rs": {name: every[name]}}, shared(make(), 2, 2)
    yield "rejection by every statistic", {"rollout_rs": every}, shared(make(5, 3, 4), 3, 2)
    yield "rejection by tokens and by completions", {"rollout_rs": {"token_k1": 1.4, "seq_mean_k3": 0.05}}, shared(make(5, 5), 2, 2)
    loose = {"token_k1": 1e9, "seq_max_k3": 1e9}
    yield "rejection of nothing", {"rollout_rs": loose}, own(make(), 2)
    records = own(make(), 2)
    old, sampled = (records[0]["batch"][name] for name in ("old_token_logps", "sampling_token_logps"))
    for at in range(0, len(old), 3):
        old[at], sampled[at] = rng.choice(((-0.5, -31.0), (-25.0, -0.25), (-2.0, -2.0)))
    poison(rng, sampled, [NAN, MINUS_INF])
    without(records[1], "old_token_logps", "loss_mask")
    yield "rejection beyond every bound and of the current policy", {"rollout_rs": {**every, "token_k1": 2.0}}, records
    one = own(make(1))
    yield "rejection of a single completion", {"rollout_rs": {"token_k2": 0.03, "seq_sum_k1": 1.2}}, one
    bare = own(make(2, 2), 2)
    for record_ in bare:
        without(record_, "sampling_token_logps")
    yield "rejection without a sampler", {"rollout_rs": every}, bare


def clips():
    """Ratios that leave the range, by the losses that clip them. A generator of its own."""
    rng = random.Random(20264)

    def far(records, **words):
        for nth, one in enumerate(records):
            batch = one["batch"]
            batch["old_token_logps"] = [
                round(value - rng.choice((0.0, 0.3, 0.9, 1.3, 2.5, -0.4, -2.0)), 5) for value in batch["token_logps"]
            ]
            one["weighting"] = weighting(**words)
        return records

    make = lambda tokens=(*TOKENS, "loss_mask"): groups(rng, (3, 4, 2), tokens=tokens, longest=12)
    yield "a dual clip", {}, far(shared(make(), 2, 2))
    yield "a dual clip at 2", {}, far(shared(make(), 2, 2), clip_ratio_c=2.0)
    yield "a dual clip at 5 beside a delta", {}, far(own(make(), 2), clip_ratio_c=5.0, clip_delta=4.0)
    yield "a delta without a dual clip", {}, far(own(make(), 2), clip_delta=2.2)
    for kind in ("cispo", "gmpo", "sapo", "vespo", "grpo"):
        yield f"far ratios under the loss {kind}", {}, far(shared(make(), 2), loss_type=kind)
    yield "far ratios of whole completions", {}, far(shared(make(), 2), importance_sampling_level="sequence")
    for kind in ("bnpo", "gmpo"):
        records = far(shared(make((*TOKENS, "token_advantages")), 2), loss_type=kind)
        poison(rng, records[0]["batch"]["token_advantages"], [NAN])
        poison(rng, records[0]["batch"]["old_token_logps"], [NAN])
        yield f"far ratios by tokens' own advantages under {kind}", {}, records
        without(records[1], "token_advantages")
        yield f"far ratios by tokens' own advantages on one rank under {kind}", {}, records
    records = far(shared(make(), 2))
    without(records[1], "old_token_logps")
    poison(rng, records[0]["batch"]["advantages"], [NAN, None])
    yield "far ratios where some have no advantage", {}, records


def weights():
    """Ratios that a loss caps as weights. A generator of its own."""
    rng = random.Random(20266)

    def far(tokens=(*TOKENS, "loss_mask"), **words):
        records = shared(groups(rng, (3, 4, 2), tokens=tokens, longest=12), 2, 2)
        for one in records:
            batch = one["batch"]
            batch["old_token_logps"] = [round(value - rng.choice((0.0, 0.3, 0.9, 1.3, -0.4)), 5) for value in batch["token_logps"]]
            one["weighting"] = weighting(loss_type="cispo", **words)
        return records

    yield "weights capped at 2", {}, far(clip_range_high=2.0)
    yield "weights of whole completions capped at 1.3", {}, far(clip_range_high=1.3, importance_sampling_level="sequence")
    records = far((*TOKENS, "token_advantages"), clip_range_high=1.5)
    poison(rng, records[0]["batch"]["token_advantages"], [NAN])
    poison(rng, records[0]["batch"]["old_token_logps"], [NAN])
    without(records[1], "token_advantages")
    poison(rng, records[1]["batch"]["advantages"], [NAN])
    yield "weights by tokens' own advantages where they are", {}, records
    records = far(clip_range_high=0.5)
    without(records[0], "old_token_logps")
    yield "weights capped below 1, some of the policy itself", {}, records
    for one in (bare := far(clip_range_high=0.5)):
        without(one, "old_token_logps")
    yield "weights of the policy itself", {}, bare


def windows():
    """(name, options, steps): the expected row is the last that is emitted."""
    rng = random.Random(20262)
    make = lambda *args, **kw: groups(rng, *args, **kw)

    def scalars(records_, **given):
        for one in records_:
            one["scalars"] = {"total_loss": round(rng.uniform(0, 1), 6), "learning_rate": round(rng.uniform(0, 1), 6)}
            one["scalars"] |= {"grad_norm": round(rng.uniform(0, 3), 6), "vllm_latency_ms": round(rng.uniform(9, 99), 6)}
            one["scalars"] |= {"num_completion_tokens": float(rng.randint(1, 60)), "num_input_tokens": float(rng.randint(100, 999))}
            one["scalars"] |= {"ref_logp_mean": round(rng.uniform(-3, 0), 6), "my metric": round(rng.uniform(0, 1), 6), **given}
        return records_

    def controlled(records_, **given):
        records_[0]["weighting"] = weighting(**given)
        return records_

    def steps(count, world=2, sizes=(3, 4), deal=own, first=1, **kw):
        return [controlled(scalars(deal(make(sizes, **kw), world, step=first + nth))) for nth in range(count)]

    every = lambda k: {"logging_steps": k}
    yield "two steps", every(2), steps(2)
    yield "four steps of different sizes", every(4), [
        controlled(scalars(own(make(sizes), 2, step=1 + nth))) for nth, sizes in enumerate(((2, 2), (5,), (1, 3, 2), (4,)))
    ]
    yield "spread groups whose ids return in every step", every(3), steps(3, 3, (4, 5), shared)
    made = steps(2) + [controlled(scalars(own(make(tokens=NO_TOKENS), 2, step=3)))]
    yield "a step without tokens", every(3), made
    yield "no step has tokens", every(2), steps(2, tokens=NO_TOKENS)
    made = steps(4)
    for records in made[1::2]:
        for one in records:
            batch = one["batch"]
            for column in PER_COMPLETION:
                batch[column] = [NAN for _ in batch[column]]
            for column in ("token_logps", "token_entropies"):
                batch[column] = [NAN for _ in batch[column]]
            for cells in batch["reward_components"].values():
                cells[:] = [NAN] * len(cells)
            one["scalars"] = {"total_loss": NAN, "grad_norm": INF, "learning_rate": 0.125}
    yield "half of the steps are not numbers", every(4), made
    made = steps(2)
    poison(rng, made[0][0]["batch"]["rewards"], [NAN, None])
    poison(rng, made[1][1]["batch"]["reward_components"]["format"], [INF, None])
    poison(rng, made[1][0]["batch"]["token_logps"], [NAN])
    yield "some values are not numbers", every(2), made
    yield "components that come and go", every(3), [
        controlled(scalars(own(make(components=names), 2, step=1 + nth)))
        for nth, names in enumerate((("a", "b"), ("b", "c/d"), ("entropy_bonus", "a")))
    ]
    yield "micro-batches and ranks that differ by step", every(3), [
        controlled(scalars(shared(make((4, 3)), 2, micros, step=1 + nth))) for nth, micros in enumerate((1, 3, 2))
    ]
    made = [controlled(scalars(own(make(), 2, step=nth)), tau=0.1 * nth, beta=0.02 * nth) for nth in range(1, 5)]
    yield "tau and beta since the last emitted step", every(2), made
    made = [controlled(scalars(own(make(), 2, step=nth)), tau=0.1 * nth, beta=0.02 * nth, prev_tau=0.05) for nth in range(1, 4)]
    yield "prev_tau of the snapshot, and a partial window", every(2), made
    yield "a partial window of three", every(10), steps(3)
    yield "a window after step 0", {"logging_steps": 2, "logging_first_step": True}, steps(3, first=0)
    yield "step 0 is not emitted of itself", {"logging_steps": 3, "logging_first_step": False}, steps(4, first=0)
    made = steps(3, tokens=(*TOKENS, "sampling_token_logps", "loss_mask"))
    for nth, records in enumerate(made):
        for one in records:
            one["batch"]["terminated"] = [rng.random() < 0.6 for _ in one["batch"]["rewards"]]
            one["batch"]["semantic_entropies"] = [round(rng.uniform(0, 2), 6) for _ in one["batch"]["group_sizes"]]
            one["batch"]["seed_alpha_effective"] = round(rng.uniform(0, 1), 6)
    del made[1][0]["batch"]["seed_alpha_effective"]
    yield "masks, seeds, sampler and the grpo loss", {**every(3), "is_ratio_cap": 1.2, "steps_per_epoch": 9}, [
        controlled(records, loss_type="grpo", tau_target_entropy=0.5, kl_target=0.1) for records in made
    ]
    yield "dr_grpo and an empty step", every(3), [
        controlled(scalars(own(made_, 2, step=1 + nth)), loss_type="dr_grpo") for nth, made_ in enumerate((make(), [], make((2,))))
    ]
    made = steps(2)
    for nth, records in enumerate(made):
        for one in records:
            del one["scalars"]["num_completion_tokens"]
    del made[1][1]["scalars"]["ref_logp_mean"]
    yield "losses without token counts", every(2), made


# --- writing -----------------------------------------------------------------------------------------------------------


def write(name, cases):
    lines = [json.dumps(case, ensure_ascii=False, allow_nan=False, separators=(",", ":")) for case in cases]
    (VECTORS / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    print(name, len(lines), "cases,", sum(map(len, lines)), "bytes")


def agents(rng, records):
    """What an environment says of completions; the last record says nothing."""
    for one in records[:-1]:
        many = len(one["batch"]["rewards"])
        calls = [rng.randint(0, 3) for _ in range(many)]
        one["batch"]["turns"] = [rng.randint(1, 5) for _ in range(many)]
        one["batch"]["tool_calls"] = calls
        one["batch"]["tool_failures"] = [rng.randint(0, most) for most in calls]
        for column in ("aborted", "errors"):
            one["batch"][column] = [rng.random() < 0.3 for _ in range(many)]
        one["batch"]["stop_conditions"] = [rng.choice(("stop", "length", "max_turns")) for _ in range(many)]
        one["batch"]["answers"] = [rng.choice(("1", "2", "")) for _ in range(many)]
    return records


def conversations():
    rng = random.Random(202618)
    for nth in range(3):
        made = groups(rng, (5, 4, 3), tokens=TOKENS if nth else NO_TOKENS)
        yield f"agents {nth}", {}, agents(rng, (shared if nth % 2 else own)(made, 3))
    records = agents(rng, own(groups(rng, (3, 3)), 2))
    for one in records[:1]:
        batch = one["batch"]
        batch["tool_calls"] = batch["tool_failures"] = [0] * len(batch["rewards"])
        without(one, "aborted", "completion_lengths", *TOKENS, "max_completion_length")
    yield "agents that call no tools", {}, records


def layout_cases():
    for name, options, records in [*layout(), *losses(), *off_policies(), *rejections(), *clips(), *weights(), *conversations()]:
        # What a case is built from may be shared with another: a copy makes each its own.
        records = json.loads(json.dumps(records))
        case = {"name": name, **({"options": options} if options else {}), "records": records}
        case["expected"] = {dialect: dictionary(records, dialect, options) for dialect in DIALECTS}
        case["slim"] = slim(case["expected"]["maxent"])
        if name != "non-finite values at masked tokens" and (counts := nonfinite([records])):
            case["nonfinite"] = counts
        yield case


def window_cases():
    for name, options, steps in windows():
        steps = json.loads(json.dumps(steps))
        expected = {
            reduction: {dialect: rows(steps, dialect, reduction, options)[-1][1] for dialect in ("maxent", "trl")}
            for reduction in ("mean", "pooled")
        }
        yield {"name": name, "options": options, "steps": steps, "expected": expected}


if __name__ == "__main__":
    write("layout.jsonl", layout_cases())
    write("windows.jsonl", window_cases())
