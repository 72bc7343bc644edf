"""Writes tests/data/vectors/extended.jsonl: the extended metrics as NumPy and SciPy compute them.

Needs NumPy and SciPy. Inputs are made here from a fixed seed; quantiles of tokens are those that a sketch may miss by
1 %. Keys are without a dialect's prefix.
"""

import json
import random
import zlib
from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
from make_cases import NAN, TOKENS, VECTORS, agents, clips, groups, off_policies, own, poison, shared, without
from reference import View, behaviour_clips, clip_numbers, completion_tokens, dictionary, failed_calls, knows_old, off_policy, scalar, staleness, usable
from scipy import stats

HIGH = 0.1
# From where on a flag of health is up, and what it looks at; every bound is exclusive.
LIMITS = {
    "saturated_groups": 0.9,
    "zero_std": 0.7,
    "clipped": 0.1,
    "kl": 0.2,
    "length_at_cap": 0.3,
    "sampler_distance": 0.02,
    "sampler_probability": 0.01,
    "entropy": 0.05,
    "entropy_steps": 3,
}

# Keys, and what policies.py calls the numbers.
SAMPLER = {
    "kl_sampler/k1": "k1",
    "kl_sampler/k3": "k3",
    "kl_sampler/k3_back": "k3_back",
    "kl_sampler/js": "js",
    "sampler/mult_prob_error": "factor",
    **{f"sampler/seq_mult_prob_error/{name}": f"seq_factor/{name}" for name in ("mean", "min", "max")},
    **{f"sampler/{name}": name for name in ("ratio", "chi2", "seq_ratio", "seq_chi2", "ess", "above", "below")},
    **{f"sampler/{name}": name for name in ("seq_ess", "seq_above", "seq_below", "seq_geometric_above", "seq_geometric_below")},
    **{f"sampler/{name}": name for name in ("ppl", "sampler_ppl", "log_ppl", "sampler_log_ppl", "ppl_ratio")},
    **{f"sampler/log_ppl_diff/{name}": f"diff/{name}" for name in ("mean", "abs", "min", "max")},
}
STALENESS = ("newest", "versions/mean", "versions/max", "age/mean", "age/max", "stale", "kept")


def finite(values):
    return np.array([value for value in values if usable(value)], dtype=float)


def put(row, key, value):
    if value is not None and np.isfinite(value):
        row[key] = float(value)


def correlation(row, key, function, pairs):
    pairs = [pair for pair in pairs if all(map(usable, pair))]
    if len(pairs) > 1:
        x, y = np.array(pairs, dtype=float).T
        if x.min() < x.max() and y.min() < y.max():
            put(row, key, function(x, y)[0])


def sketched(row, prefix, values, percents):
    ordered = np.sort(finite(values))
    for percent in percents if len(ordered) else ():
        row[f"{prefix}p{percent:02}"] = float(ordered[int(np.floor(percent / 100 * (len(ordered) - 1) + 0.5))])


def differences(view, one, other):
    """log p - log q of counted tokens of records that have both."""
    rows = [completion.columns(one, other) or [] for completion in view.completions]
    return np.array([a - b for row in rows for a, b in row])


def rewards(row, view, members):
    used = finite(c.reward for c in view.completions)
    put(row, "reward_skewness", stats.skew(used) if len(set(used)) > 1 else None)
    clusters = [finite(c.reward for c in group) for group in members]
    clusters = [cluster for cluster in clusters if len(cluster)]
    if len(clusters) > 1:
        count, n, mean = len(clusters), len(used), used.mean()
        meat = sum((cluster - mean).sum() ** 2 for cluster in clusters)
        error = np.sqrt(count / (count - 1) * meat) / n
        put(row, "reward_stderr", error)
        low, high = stats.t.interval(0.95, count - 1, loc=mean, scale=error) if error else (mean, mean)
        put(row, "reward_ci95/low", low)
        put(row, "reward_ci95/high", high)
    whole = [finite(c.reward for c in group) for group in members if all(usable(c.reward) for c in group)]
    if whole:
        stds = np.array([group.std() for group in whole])
        put(row, "reward_group_std/mean", stds.mean())
        for percent in (5, 50, 95):
            put(row, f"reward_group_std/p{percent:02}", np.percentile(stds, percent))
        best = np.array([np.all(group == used.max()) for group in whole])
        worst = np.array([np.all(group == used.min()) for group in whole])
        put(row, "groups/all_max", best.mean())
        put(row, "groups/all_min", worst.mean())
        put(row, "groups/mixed", (~best & ~worst).mean())
    if len(used) and used.std() > 0:
        between = sum(len(cluster) * (cluster.mean() - used.mean()) ** 2 for cluster in clusters)
        put(row, "groups/reward_variance", between / ((used - used.mean()) ** 2).sum())


def wilson(estimates, mean=None):
    """The p at which (mean - p)^2 is t^2 p (1 - p) / trials, trials as the estimates and a 0 and a 1 beside them vary."""
    mean, padded = np.mean(estimates) if mean is None else mean, np.append(estimates, (0.0, 1.0))
    trials = padded.mean() * (1 - padded.mean()) / (padded.var(ddof=1) / len(padded))
    share = stats.t.ppf(0.975, len(estimates) - 1) ** 2 / trials
    return np.sort(np.roots([1 + share, -(2 * mean + share), mean**2]).real)


def passes(row, members, judge):
    tried = [[judge(c) for c in group] for group in members]
    tried = [group for group in tried if None not in group]
    k = 1
    while tried and k <= max(map(len, tried)):
        shares = [1 - comb(len(g) - sum(g), k) / comb(len(g), k) for g in tried if len(g) >= k]
        put(row, f"pass@{k}", np.mean(shares))
        put(row, f"pass@{k}/groups_short", len(tried) - len(shares))
        if len(shares) > 1:
            low, high = wilson(shares)
            put(row, f"pass@{k}/ci95/low", low)
            put(row, f"pass@{k}/ci95/high", high)
        k *= 2


def tokens(row, view):
    moved = differences(view, "token_logps", "old_token_logps")
    if len(moved):
        ratio = np.exp(moved)
        values = {"mean": ratio.mean(), "min": ratio.min(), "max": ratio.max()}
        values |= {"ess": ratio.mean() ** 2 / (ratio**2).mean(), "chi2": (ratio**2).mean() - 1}
        row.update((f"ratio/{name}", float(value)) for name, value in values.items())
        sketched(row, "ratio/", ratio, (1, 50, 99))
    given = view.weighting or {}
    if knows_old(view):
        sides = [flags for row_ in behaviour_clips(view, True) for flags in row_]
        if sides and given.get("loss_type") not in ("cispo", "sapo", "vespo"):
            row["clip/low"], row["clip/high"] = (float(np.mean([flags[side] for flags in sides])) for side in (0, 1))
        if given.get("importance_sampling_level") != "sequence":
            for name in ("outside", "dual"):
                put(row, f"clip/{name}", clip_numbers(view)[name])
    for name, d in (("kl_ref", differences(view, "token_logps", "ref_token_logps")), ("kl_old", -moved)):
        if len(d):
            terms = {"k1": d, "k2": d**2 / 2, "k3": np.expm1(-d) + d}
            row.update((f"{name}/{kind}", float(values.mean())) for kind, values in terms.items())
            if name == "kl_ref":
                # A sketch may count values within 2 % of the bound on either side.
                band = [float((terms["k3"] > HIGH * by).mean()) for by in (1.02, 1, 0.98)]
                row["kl_ref/high_frac"] = band[0] if band[0] == band[2] else band
    sketched(row, "token_entropy/", view.entropies(), (5, 50, 95))


def repeated(completion):
    said = completion.ids if completion.ids is not None else (completion.text or "").split()
    grams = [tuple(said[at : at + 4]) for at in range(len(said) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else None


def completion_end(completion):
    """Its last 256 token ids as little-endian words, or the last 1024 bytes of its text."""
    if completion.ids is not None:
        return b"".join(token.to_bytes(4, "little") for token in completion.ids[-256:])
    return (completion.text or "").encode()[-1024:]


def compressed(row, view):
    """By zlib, whose bytes are not those of another compressor: within 8 %."""
    ratios = []
    for end in map(completion_end, view.completions):
        if len(end) >= 256:
            deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
            ratios.append(len(end) / len(deflate.compress(end) + deflate.flush()))
    if ratios:
        for name, value in (("mean", float(np.mean(ratios))), ("max", max(ratios))):
            row[f"end_compression/{name}"] = [0.92 * value, value, 1.08 * value]


def intraclass(clusters):
    """The estimator of the analysis of variance for clusters of unequal sizes."""
    clusters = [np.asarray(cluster, dtype=float) for cluster in clusters if len(cluster)]
    values = np.concatenate(clusters) if clusters else np.array([])
    count, n = len(clusters), len(values)
    if count < 2 or n <= count or values.min() == values.max():
        return None
    sizes = np.array([len(cluster) for cluster in clusters])
    among = sum(len(cluster) * (cluster.mean() - values.mean()) ** 2 for cluster in clusters) / (count - 1)
    within = sum(((cluster - cluster.mean()) ** 2).sum() for cluster in clusters) / (n - count)
    typical = (n - (sizes**2).sum() / n) / (count - 1)
    return (among - within) / (among + (typical - 1) * within)


def by_prompt(row, members, judge):
    put(row, "groups/reward_icc", intraclass([finite(c.reward for c in group) for group in members]))
    tried = [[judge(c) for c in group] for group in members]
    tried = [group for group in tried if None not in group]
    if tried:
        rates = np.array([np.mean(group) for group in tried])
        put(row, "groups/success_icc", intraclass(tried))
        put(row, "groups/solved_none", (rates == 0).mean())
        put(row, "groups/solved_some", ((rates > 0) & (rates < 1)).mean())
        put(row, "groups/solved_all", (rates == 1).mean())
        for low, high in ((0, 25), (25, 50), (50, 75), (75, 100)):
            inside = (rates > low / 100) & ((rates <= high / 100) if high < 100 else (rates < 1))
            put(row, f"pass_rate/{low}-{high}", inside.mean())
    whole = [[c.reward for c in group] for group in members if all(usable(c.reward) for c in group)]
    k = 2
    while large := [group for group in whole if len(group) >= k]:
        # Every draw of k, each as probable.
        draws = [list(combinations(group, k)) if comb(len(group), k) <= 5000 else None for group in large]
        for name, chosen in (("best", max), ("worst", min)):
            means = [
                np.mean([chosen(draw) for draw in drawn]) if drawn is not None else order_statistic(group, k, chosen)
                for group, drawn in zip(large, draws)
            ]
            put(row, f"{name}@{k}", np.mean(means))
        k *= 2


def order_statistic(group, k, chosen):
    ordered = sorted(group, reverse=chosen is min)
    return float(sum(Fraction(comb(place, k - 1), comb(len(group), k)) * Fraction(value) for place, value in enumerate(ordered)))


def majority(row, members, judge):
    groups_ = [group for group in members if all(c.answer is not None for c in group)]
    agreement, passed, rewarded = [], [], []
    for group in groups_:
        votes = Counter(c.answer for c in group)
        most = max(votes.values())
        chosen = [c for c in group if votes[c.answer] == most]
        agreement.append(most / len(group))
        if all(judge(c) is not None for c in group):
            passed.append(np.mean([judge(c) for c in chosen]))
        if all(usable(c.reward) for c in group):
            rewarded.append(np.mean([c.reward for c in chosen]))
    for name, values in (("agreement", agreement), ("pass", passed), ("reward", rewarded)):
        if values:
            put(row, f"maj@all/{name}", np.mean(values))


def by_outcome(row, view, judge):
    for name, wanted in (("success", True), ("failure", False)):
        chosen = [c for c in view.completions if judge(c) is wanted]
        lengths = [c.length for c in chosen if c.length is not None]
        entropies = [x for c in chosen for (x,) in c.columns("token_entropies") or []]
        apart = np.array([a - b for c in chosen for a, b in c.columns("token_logps", "ref_token_logps") or []])
        for key, values in (("mean_length", lengths), ("entropy", entropies), ("kl", np.expm1(-apart) + apart)):
            if len(values):
                put(row, f"{name}/{key}", np.mean(values))


def effective(row, view, members):
    whole = [group for group in members if all(usable(c.advantage) for c in group)]
    if whole:
        put(row, "effective/group_frac", np.mean([any(abs(c.advantage) >= 1e-8 for c in group) for group in whole]))
    values = []
    for completion in view.completions:
        if "token_advantages" in completion.tokens:
            values += [value for (value,) in completion.columns("token_advantages")]
        elif usable(completion.advantage) and completion.length is not None:
            values += [completion.advantage] * sum(completion.counted)
    if values:
        values = np.array(values)
        put(row, "effective/tokens", (np.abs(values) >= 1e-8).sum())
        put(row, "effective/token_frac", (np.abs(values) >= 1e-8).mean())
        put(row, "effective/positive_mass", values[values > 0].sum() / len(values))
        put(row, "effective/negative_mass", -values[values < 0].sum() / len(values))


def agents_numbers(row, view):
    for name, column in (("turns", "turns"), ("tool_calls", "calls")):
        if values := view.column(column):
            for suffix, statistic in (("mean", np.mean), ("min", min), ("max", max)):
                put(row, f"{name}/{suffix}", statistic(values))
    put(row, "tool_calls/failed_frac", failed_calls(view))
    for name, column in (("aborted_frac", "aborted"), ("error_frac", "error")):
        said = [getattr(c, column) for c in view.completions if getattr(c, column) is not None]
        if said:
            put(row, name, np.mean(said))
    said = [c for c in view.completions if c.condition is not None]
    for condition in {c.condition for c in said}:
        chosen = [c for c in said if c.condition == condition]
        put(row, f"stop_conditions/{condition}/frac", len(chosen) / len(said))
        for name, values in (("reward", finite(c.reward for c in chosen)), ("mean_length", [c.length for c in chosen if c.length is not None])):
            if len(values):
                put(row, f"stop_conditions/{condition}/{name}", np.mean(values))


def extended(records, options):
    view, row = View([records]), {}
    members = [group.members for group in view.groups.values() if group.members]
    named, threshold = options.get("success_component"), options.get("success_threshold", 1.0)

    def judge(completion):
        value = completion.reward if named is None else completion.components.get(named)
        return bool(value >= threshold) if usable(value) else None

    rewards(row, view, members)
    passes(row, members, judge)
    by_prompt(row, members, judge)
    majority(row, members, judge)
    by_outcome(row, view, judge)
    effective(row, view, members)
    agents_numbers(row, view)
    compressed(row, view)
    tokens(row, view)
    for name, function in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        correlation(row, f"reward_by_length/{name}", function, [(c.reward, c.length) for c in view.completions])
    for name in view.component_names():
        pairs = [(c.components.get(name), c.reward) for c in view.completions]
        correlation(row, f"rewards/{name}/corr_total", stats.pearsonr, pairs)
    advantages = finite(c.advantage for c in view.completions)
    if len(advantages):
        values = {"mean": advantages.mean(), "std": advantages.std(), "min": advantages.min(), "max": advantages.max()}
        values |= {f"p{p:02}": np.percentile(advantages, p) for p in (5, 25, 50, 75, 95)}
        values["zero_frac"] = (np.abs(advantages) < 1e-8).mean()
        values["positive_frac"] = (advantages >= 1e-8).mean()
        row.update((f"advantage/{name}", float(value)) for name, value in values.items())
    weights = [finite(c.weight for c in g) for g in members if all(usable(c.weight) for c in g)]
    if weights:
        sizes = [w.sum() ** 2 / (w**2).sum() / len(w) for w in weights]
        values = {"ess_mean": np.mean(sizes), "ess_min": min(sizes), "max": max(w.max() for w in weights)}
        row.update((f"weight/{name}", float(value)) for name, value in values.items())
    lengths = [c.length for c in view.completions if c.length is not None]
    if lengths:
        row.update((f"length/p{p:02}", float(np.percentile(lengths, p))) for p in (5, 50, 95, 99))
    shares = finite(map(repeated, view.completions))
    if len(shares):
        row["repeated_4grams/mean"], row["repeated_4grams/max"] = float(shares.mean()), float(shares.max())
    said, seconds = completion_tokens(view), scalar(view, "step_time_sec")
    if said is not None and seconds:
        row["tokens_per_sec"] = said / seconds
    apart, ages = off_policy(view, options), staleness(view)
    row.update((key, apart[name]) for key, name in SAMPLER.items() if name in apart)
    row.update(("staleness/" + name, ages[name]) for name in STALENESS if name in ages)
    tags(row, records, view, judge)
    health(row, records, view, options, solved(members, judge))
    return row


def tags(row, records, view, judge):
    given = {}
    for record in records:
        for position, tag in enumerate(record["batch"].get("tags") or []):
            given[(0, record["rank"], record.get("micro", 0), position)] = tag
    named = sorted(set(given.values()) - {"other"}, key=str.encode)[:64]
    of = {}
    for completion in view.completions:
        if (tag := given.get(completion.place)) is not None:
            of.setdefault(tag if tag in named else "other", []).append(completion)
    for tag, completions in of.items():
        values = finite(c.reward for c in completions)
        judged = [judge(c) for c in completions if judge(c) is not None]
        lengths = [c.length for c in completions if c.length is not None]
        grouped = [view.groups[c.group].members for c in completions]
        grouped = [finite(m.reward for m in g) for g in grouped if all(usable(m.reward) for m in g)]
        zero = [len(g) > 1 and g.std(ddof=0) <= 1e-8 for g in grouped]
        for name, part in (("reward", values), ("pass@1", judged), ("mean_length", lengths), ("zero_std_frac", zero)):
            if len(part):
                row[f"tags/{tag}/{name}"] = float(np.mean(part))
        if len(values):
            row[f"tags/{tag}/reward_std"] = float(values.std())
        clusters = {}
        for completion in completions:
            # Of the tags that are together under one name, each by itself.
            clusters.setdefault((completion.group, given[completion.place]), []).append(completion)
        rewards_ = [finite(c.reward for c in group) for group in clusters.values()]
        rewards_ = [cluster for cluster in rewards_ if len(cluster)]
        if len(rewards_) > 1:
            meat = sum((cluster - values.mean()).sum() ** 2 for cluster in rewards_)
            put(row, f"tags/{tag}/reward_stderr", np.sqrt(len(rewards_) / (len(rewards_) - 1) * meat) / len(values))
        shares = [[judge(c) for c in group if judge(c) is not None] for group in clusters.values()]
        shares = [np.mean(group) for group in shares if group]
        if len(shares) > 1:
            # Where groups' shares lie, around the share of all completions.
            low, high = wilson(shares, np.mean(judged))
            put(row, f"tags/{tag}/pass@1/ci95/low", min(low, np.mean(judged)))
            put(row, f"tags/{tag}/pass@1/ci95/high", max(high, np.mean(judged)))


def solved(members, judge):
    """Share of the groups of which every completion is judged that succeed to the last."""
    judged = [[judge(c) for c in group] for group in members]
    whole = [group for group in judged if None not in group]
    return sum(map(all, whole)) / len(whole) if whole else None


def cut_off(completion):
    """By its record's cap, or, without one, by whether it ended by itself."""
    if completion.length is not None and completion.cap is not None:
        return completion.length >= completion.cap
    return None if completion.terminated is None else not completion.terminated


def health(row, records, view, options, all_succeed):
    limits = LIMITS | options.get("limits", {})
    cut = [cut_off(c) for c in view.completions if cut_off(c) is not None]
    trl, tunix, verl = (dictionary(records, dialect) for dialect in ("trl", "tunix", "verl"))
    for name, limit, number in (
        ("reward_saturation", "saturated_groups", all_succeed),
        ("zero_std", "zero_std", trl.get("frac_reward_zero_std")),
        ("clipping", "clipped", tunix.get("pg_clipfrac")),
        ("kl", "kl", row.get("kl_ref/k2", scalar(view, "kl_loss"))),
        ("length_at_cap", "length_at_cap", float(np.mean(cut)) if cut else None),
        ("sampler_drift", "sampler_distance", trl.get("sampling/sampling_logp_difference/mean")),
        ("sampler_drift", "sampler_probability", verl.get("training/rollout_probs_diff_mean")),
    ):
        if number is not None:
            row[f"health/{name}"] = max(row.get(f"health/{name}", 0.0), float(number > limits[limit]))
    if (entropy := trl.get("entropy", scalar(view, "policy_entropy"))) is not None:
        # Of one step: it is up at once or needs more of them.
        row["health/entropy_collapse"] = float(entropy < limits["entropy"] and limits["entropy_steps"] <= 1)
    columns = {"rewards": [c.reward for c in view.completions], "advantages": [c.advantage for c in view.completions]}
    for name in view.component_names():
        columns[f"reward_components/{name}"] = [c.components.get(name) for c in view.completions]
    for name in (*(name for name in TOKENS if name != "token_ids"), "sampling_token_logps", "token_advantages", "returns", "values"):
        columns[name] = counted_tokens(view, name)
    for name, values in columns.items():
        absent = sum(value is None for value in values)
        used = sum(map(usable, values))
        counts = {"used": used, "absent": absent, "nonfinite": len(values) - used - absent}
        if used or counts["nonfinite"]:
            row.update((f"health/{name}/{kind}", float(count)) for kind, count in counts.items())
    row["health/kept_out"] = 0.0
    row["health/nonfinite"] = float(any(value in ("NaN", "Infinity", "-Infinity") for value in leaves(records)))


def counted_tokens(view, column):
    """Every counted token's value in a column; None where its record lacks the column."""
    values = []
    for completion in view.completions:
        if completion.counted is not None:
            row = completion.tokens.get(column) or [None] * len(completion.counted)
            values += [value for value, counts in zip(row, completion.counted) if counts]
    return values


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def cases():
    rng = random.Random(20267)
    many = (*TOKENS, "sampling_token_logps")
    scored = lambda records: [
        one["batch"].update(rewards=[float(rng.random() < 0.4) for _ in one["batch"]["rewards"]]) for one in records
    ]

    def tagged(records, names):
        for one in records:
            one["batch"]["tags"] = [rng.choice(names) for _ in one["batch"]["rewards"]]
        return records

    for nth in range(6):
        sizes = [rng.randint(1, 9) for _ in range(rng.randint(2, 7))]
        deal = shared if nth % 2 else own
        tokens_ = (*many, "loss_mask") if nth % 3 else many
        records = tagged(deal(groups(rng, sizes, tokens=tokens_, longest=30), 2, 2), ("math", "code", "chat", "other"))
        if nth > 1:
            scored(records)
        for one in records:
            one["scalars"] = {"step_time_sec": round(rng.uniform(1, 9), 6)}
        if nth > 3:
            for column in ("rewards", "advantages", "weights", "token_logps"):
                poison(rng, records[0]["batch"][column], [NAN])
            poison(rng, records[1]["batch"]["rewards"], [None])
            poison(rng, records[1]["batch"]["reward_components"]["format"], [None, NAN])
        options = {"success_component": "accuracy", "success_threshold": 0.5} if nth == 1 else {}
        if nth in (0, 2):
            # Everything is beyond them.
            options["limits"] = dict.fromkeys(LIMITS, -1.0) | {"entropy": 99.0, "entropy_steps": 1}
        yield f"everything {nth}", options, records
    records = own(groups(rng, (4, 4, 4), tokens=()))
    records[0]["batch"]["rewards"] = [1.0] * 8 + [0.0] * 4
    records[0]["batch"]["advantages"] = [0.0] * 12
    yield "groups that are all right or all wrong", {}, records
    records = own(groups(rng, (4, 4), tokens=()))
    records[0]["batch"]["rewards"] = [0.1] * 8
    yield "equal rewards", {}, records
    yield "one group", {}, own(groups(rng, (8,), tokens=()))
    yield "one completion", {}, own(groups(rng, (1,)))
    yield "nothing", {}, own([])
    records = own(groups(rng, (3, 3), tokens=()), 2)
    for nth, one in enumerate(records):
        without(one, "advantages", "weights", "completion_lengths", "reward_components")
        one["batch"]["rewards"] = [-1e100, 1e100, 5e99 * (1 + nth)]
    yield "huge rewards alone", {}, records
    records = own(groups(rng, (2, 2), tokens=()))
    records[0]["batch"]["completions"] = ["a b c d a b c d a b c d", "a b c", "x x x x x x", "a b c d e"]
    yield "texts that repeat themselves", {}, records
    others = random.Random(202618)
    for nth in range(4):
        sizes = [others.randint(1, 8) for _ in range(6)]
        columns = (*many, "loss_mask", "token_advantages") if nth == 3 else many if nth else ()
        records = agents(others, (shared if nth % 2 else own)(groups(others, sizes, tokens=columns, longest=90), 3))
        for one in records:
            if nth < 3:
                one["batch"]["rewards"] = [float(others.random() < 0.5) for _ in one["batch"]["rewards"]]
            if nth == 2:
                # Some groups teach nothing.
                one["batch"]["advantages"] = [0.0 if others.random() < 0.6 else x for x in one["batch"]["advantages"]]
                poison(others, one["batch"]["rewards"], [None, NAN])
        yield f"agents and answers {nth}", {}, records
    records = agents(others, own(groups(others, (16, 9, 2), tokens=()), 1) * 2)[:1]
    records[0]["batch"]["completions"] = [" ".join(others.choice(("one", "two", "again")) for _ in range(400)) for _ in range(27)]
    yield "a majority of many and ends of texts", {}, records
    yield "more tags than have numbers", {}, tagged(shared(groups(rng, (40, 40, 40), tokens=()), 3), [f"t{n:03}" for n in range(90)])


if __name__ == "__main__":
    lines = []
    for name, options, records in [*cases(), *off_policies(), *clips()]:
        records = json.loads(json.dumps(records))
        case = {"name": name, "options": options, "records": records, "expected": extended(records, options)}
        lines.append(json.dumps(case, allow_nan=False, separators=(",", ":")) + "\n")
    (VECTORS / "extended.jsonl").write_text("".join(lines), encoding="utf-8")
    print("extended.jsonl", len(lines), "cases,", sum(map(len, lines)), "bytes")
