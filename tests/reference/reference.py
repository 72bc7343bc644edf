"""The metrics of one step or window, written as their definitions read, to check the engine against.

Plain Python, standard library only, no thought of speed. A step is a list of records (dictionaries as they are
recorded, all ranks and micro-batches); a window is a list of steps. Nothing here is shared with the crate.

    dictionary(records, "maxent", options)     one step
    pooled(steps, "trl", options)              a window's completions summarised once
    averaged(steps, "maxent", options)         each key's plain mean over a window's steps
    rows(steps, dialect, reduction, options)   what a run emits, as (step, row)
    slim(row)                                  the keys that the slim mode keeps
"""

import math
import struct
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations

import policies

# --- numbers ---------------------------------------------------------------------------------------------------------


def number(value):
    """A recorded number: None is absent, a text names a non-finite one."""
    return None if value is None else float(value)


def single(value):
    """Token columns are float32; everything after that is double."""
    value = number(value)
    if value is None or not math.isfinite(value):
        return value
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def usable(value):
    return value is not None and math.isfinite(value)


def present(values):
    return [value for value in values if usable(value)]


def exact(values):
    return sum(map(Fraction, values), Fraction(0))


def total(values):
    return float(exact(values))


def root(square):
    """The square root of a fraction, right to the last bits even where the square is no double."""
    if square == 0:
        return 0.0
    shift = 200 + max(0, square.denominator.bit_length() - square.numerator.bit_length())
    shift += shift % 2
    whole = math.isqrt((square.numerator << shift) // square.denominator)
    return float(Fraction(whole, 1 << (shift // 2)))


def mean(values):
    return float(exact(values) / len(values)) if values else None


def squares(values):
    """Sum of squared deviations."""
    middle = exact(values) / len(values)
    return sum(((Fraction(value) - middle) ** 2 for value in values), Fraction(0))


def population_std(values):
    if not values:
        return None
    return root(squares(values) / len(values)) if len(values) > 1 else 0.0


def sample_std(values):
    return root(squares(values) / (len(values) - 1)) if len(values) > 1 else None


def lowest(values):
    return min(values) if values else None


def highest(values):
    return max(values) if values else None


def quantile(values, percent):
    """Hyndman-Fan type 7."""
    if not values:
        return None
    ordered = sorted(values)
    position = Fraction(percent, 100) * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    low, high = Fraction(ordered[below]), Fraction(ordered[above])
    return float(low + (high - low) * (position - below))


def share(flags):
    return sum(flags) / len(flags) if flags else None


def weighted_mean(values, weights):
    """A total weight of zero falls back to the plain mean."""
    if not values:
        return None
    whole = exact(weights)
    if whole == 0:
        return mean(values)
    return float(sum((Fraction(v) * Fraction(w) for v, w in zip(values, weights)), Fraction(0)) / whole)


def exp(value):
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


# --- the data --------------------------------------------------------------------------------------------------------

TOKEN_COLUMNS = (
    "token_logps",
    "old_token_logps",
    "ref_token_logps",
    "sampling_token_logps",
    "token_entropies",
    "token_advantages",
    "returns",
    "values",
)
PERCENTS = (0, 5, 25, 50, 75, 95, 100)
BUCKETS = (("0-32", 0, 32), ("33-64", 33, 64), ("65-128", 65, 128), ("129-256", 129, 256), ("257+", 257, math.inf))


@dataclass
class Completion:
    place: tuple  # (step, rank, micro, position)
    group: tuple
    index: int | None
    reward: float | None
    components: dict
    penalised: list | None  # of the one reward after penalties, in a record that has them
    advantage: float | None
    q: float | None
    weight: float | None
    length: int | None
    cap: int | None
    terminated: bool | None
    tokens: dict  # column -> this completion's values, only the columns the record has
    counted: list | None  # one flag a token
    ids: list | None
    text: str | None
    prompt: int | None = None
    prompt_cap: int | None = None
    turns: int | None = None
    calls: int | None = None
    failures: int | None = None
    aborted: bool | None = None
    error: bool | None = None
    condition: str | None = None
    answer: str | None = None

    def broken_off(self):
        """As verl takes it, unless the record says."""
        if self.aborted is not None:
            return self.aborted
        return None if self.length is None else self.length == 0
    versions: list | None = None

    def clipped(self):
        if self.terminated is not None:
            return not self.terminated
        if self.length is None:
            return None
        return self.cap is not None and self.length >= self.cap

    def columns(self, *names):
        """Counted tokens' values of these columns, where all are finite; None where the record lacks a column."""
        if any(name not in self.tokens for name in names):
            return None
        together = zip(self.counted, *(self.tokens[name] for name in names))
        return [row[1:] for row in together if row[0] and all(usable(value) for value in row[1:])]

    def behaviour(self):
        """The column that stands for old: the current one where there is none."""
        return "old_token_logps" if "old_token_logps" in self.tokens else "token_logps"


@dataclass
class Group:
    members: list = field(default_factory=list)
    semantic_entropy: float | None = None
    advantage_scale: float | None = None

    def ordered(self):
        if all(member.index is not None for member in self.members):
            return sorted(self.members, key=lambda member: (member.index, member.place))
        return sorted(self.members, key=lambda member: member.place)


def by_place(records):
    return sorted(records, key=lambda record: (record["rank"], record.get("micro", 0)))


class View:
    """All that one step, or the steps of a pooled window, hand in."""

    def __init__(self, steps):
        self.steps = [by_place(records) for records in steps]
        self.completions = []
        self.groups = {}
        for ordinal, records in enumerate(self.steps):
            for record in records:
                self.take(ordinal, record)
        self.step = self.steps[-1][0]["step"] if self.steps and self.steps[-1] else None
        self.weighting = self.snapshot()

    def take(self, ordinal, record):
        batch = record["batch"]
        place = (ordinal, record["rank"], record.get("micro", 0))
        if batch.get("group_ids") is not None:
            keys = [("shared", ordinal, identity) for identity in batch["group_ids"]]
            order = list(dict.fromkeys(keys))
        else:
            order = [("own", *place, nth) for nth in range(len(batch["group_sizes"]))]
            keys = [key for key, size in zip(order, batch["group_sizes"]) for _ in range(size)]
        for nth, key in enumerate(order):
            group = self.groups.setdefault(key, Group())
            for column, name in (("semantic_entropies", "semantic_entropy"), ("advantage_scales", "advantage_scale")):
                value = number(batch[column][nth]) if batch.get(column) is not None else None
                # Records come by rank and micro-batch: the first to report one is the lowest. One that is no number
                # takes the group out.
                if value is not None and (getattr(group, name) is None or not usable(value)):
                    setattr(group, name, value)
        at = 0
        for position, key in enumerate(keys):
            def value(column, of=number):
                cells = batch.get(column)
                return None if cells is None or cells[position] is None else of(cells[position])

            length = value("completion_lengths", int)
            span = slice(at, at + (length or 0))
            at += length or 0
            tokens = {name: [single(x) for x in batch[name][span]] for name in TOKEN_COLUMNS if batch.get(name) is not None}
            mask = batch.get("loss_mask")
            completion = Completion(
                place=(*place, position),
                group=key,
                index=value("completion_index", int),
                reward=value("rewards"),
                components={name: number(cells[position]) for name, cells in (batch.get("reward_components") or {}).items()},
                penalised=None if batch.get("penalised_rewards") is None else [value("penalised_rewards")],
                advantage=value("advantages"),
                q=value("q"),
                weight=value("weights"),
                length=length,
                cap=batch.get("max_completion_length"),
                terminated=value("terminated", bool),
                tokens=tokens,
                counted=[True] * (length or 0) if mask is None else [bool(flag) for flag in mask[span]],
                ids=batch["token_ids"][span] if batch.get("token_ids") is not None else None,
                text=value("completions", str),
                prompt=value("prompt_lengths", int),
                prompt_cap=batch.get("max_prompt_length"),
                turns=value("turns", int),
                calls=value("tool_calls", int),
                failures=value("tool_failures", int),
                aborted=value("aborted", bool),
                error=value("errors", bool),
                condition=value("stop_conditions", str),
                answer=value("answers", str),
                versions=batch["weight_versions"][span] if batch.get("weight_versions") is not None else None,
            )
            self.completions.append(completion)
            self.groups[key].members.append(completion)

    def snapshot(self):
        """Of the last step: the lowest reporting rank's last."""
        for records in reversed(self.steps):
            reporting = [record for record in records if record.get("weighting") is not None]
            if reporting:
                rank = reporting[0]["rank"]
                return [record for record in reporting if record["rank"] == rank][-1]["weighting"]
        return None

    def column(self, name):
        return present(getattr(completion, name) for completion in self.completions)

    def component(self, name):
        return present(completion.components.get(name) for completion in self.completions)

    def component_names(self):
        names = dict.fromkeys(name for completion in self.completions for name in completion.components)
        return [name for name in names if self.component(name)]

    def whole_groups(self, name):
        """Non-empty groups of which every member has the column, finite: their members' values."""
        groups = [[getattr(member, name) for member in group.members] for group in self.groups.values()]
        return [values for values in groups if values and all(map(usable, values))]

    def spelled_groups(self):
        """The tokens of each group, completion by completion, of groups in which every member has tokens."""
        spelled = []
        for group in self.groups.values():
            members = group.ordered()
            if members and all(member.ids is not None for member in members):
                spelled.append([member.ids for member in members])
            elif members and all(member.text is not None for member in members):
                spelled.append([member.text.split() for member in members])
        return spelled

    def per_completion(self, *columns):
        """(completion, its counted values) of every completion whose record has the columns."""
        rows = ((completion, completion.columns(*columns)) for completion in self.completions)
        return [(completion, values) for completion, values in rows if values is not None]

    def entropies(self):
        return [value for _, rows in self.per_completion("token_entropies") for (value,) in rows]


# --- scalars ---------------------------------------------------------------------------------------------------------

BY_TOKENS, BY_COMPLETIONS, MEAN, MAX, SUM, LOWEST, SUM_OF_LAST = range(7)
STEP_FOLD = {
    **dict.fromkeys(("total_loss", "policy_loss", "kl_loss", "weighted_kl_loss", "clip_loss"), BY_TOKENS),
    **dict.fromkeys(("learning_rate", "epoch", "entropy_bonus_coef", "model_params"), LOWEST),
    **dict.fromkeys(("grad_norm", "entropy_bonus_reward_std", "policy_entropy", "vf_clipfrac"), MEAN),
    **dict.fromkeys(("vllm_latency_ms", "actor_dequeue_time", "step_time_sec", "weight_version"), MAX),
    **dict.fromkeys(("ref_logp_mean", "avg_completion_tokens"), BY_COMPLETIONS),
    **dict.fromkeys(("num_completion_tokens", "tflops_per_step", "samples_kept", "samples_dropped"), SUM),
    "num_input_tokens": SUM_OF_LAST,
}
WINDOW_LAST = ("learning_rate", "epoch", "entropy_bonus_coef", "num_input_tokens", "model_params", "weight_version")


def completions_of(record):
    return len(record["batch"]["rewards"])


def reports(records, name):
    """(rank, value, record) of the records that report a finite value, by rank and micro-batch."""
    given = ((record["rank"], number((record.get("scalars") or {}).get(name)), record) for record in records)
    return [report for report in given if usable(report[1])]


def mean_of_reporters(reported):
    """A rank's micro-batches first, then the ranks."""
    ranks = dict.fromkeys(rank for rank, _, _ in reported)
    return mean([mean([value for rank, value, _ in reported if rank == one]) for one in ranks])


def last_of_ranks(reported):
    return {rank: value for rank, value, _ in reported}


def fold_step(reported, how):
    if how == LOWEST:
        return last_of_ranks(reported)[reported[0][0]]
    if how == SUM_OF_LAST:
        return total(last_of_ranks(reported).values())
    if how == MAX:
        return max(value for _, value, _ in reported)
    if how == SUM:
        return total(value for _, value, _ in reported)
    return mean_of_reporters(reported)


def scalar(view, name):
    steps = [reported for reported in (reports(records, name) for records in view.steps) if reported]
    if not steps:
        return None
    how = STEP_FOLD.get(name, MEAN)
    everywhere = [report for reported in steps for report in reported]
    values = [value for _, value, _ in everywhere]
    if how == BY_COMPLETIONS:
        weights = [completions_of(record) for _, _, record in everywhere]
        if sum(weights):
            return weighted_mean(values, weights)
    if how == BY_TOKENS:
        weights = [number(record["scalars"].get("num_completion_tokens")) for _, _, record in everywhere]
        if all(map(usable, weights)) and exact(weights) != 0:
            return weighted_mean(values, weights)
    folded = [fold_step(reported, how) for reported in steps]
    if name in WINDOW_LAST:
        return folded[-1]
    return total(folded) if name in ("num_completion_tokens", "samples_kept", "samples_dropped") else mean(folded)


def seed_scalar(view, name):
    """Mean over the ranks (of every step) that report one, each rank's last."""
    lasts = []
    for records in view.steps:
        given = [(record["rank"], number(record["batch"].get(name)), record) for record in records]
        lasts.extend(last_of_ranks([report for report in given if usable(report[1])]).values())
    return mean(lasts)


def completion_tokens(view):
    """As reported (0 too), else the sum of the lengths."""
    reported = scalar(view, "num_completion_tokens")
    if reported is not None:
        return reported
    lengths = view.column("length")
    return float(sum(lengths)) if lengths else None


def user_metrics(view):
    names = {name for records in view.steps for record in records for name in (record.get("scalars") or {})}
    return {name: scalar(view, name) for name in sorted(names - STEP_FOLD.keys())}


def epoch(view, options):
    reported = scalar(view, "epoch")
    if reported is not None:
        return reported
    if (options.get("steps_per_epoch") or 0) > 0:
        return view.step / options["steps_per_epoch"]
    if (options.get("num_generations") or 0) > 0:
        return view.step / options["num_generations"]
    if (options.get("total_training_steps") or 0) > 0 and options.get("num_epochs") is not None:
        return view.step * options["num_epochs"] / options["total_training_steps"]
    return float(view.step)


# --- formulas --------------------------------------------------------------------------------------------------------


def k3(current, reference):
    d = min(max(reference - current, -60.0), 60.0)
    return math.expm1(d) - d


def divergences(view):
    """(completion, k of its counted tokens) of the completions that have both columns."""
    both = view.per_completion("token_logps", "ref_token_logps")
    return [(completion, [k3(c, r) for c, r in rows]) for completion, rows in both]


def mean_of_means(rows):
    """Mean over completions of their tokens' mean; a completion without counted tokens is left out."""
    return mean([math.fsum(values) / len(values) for _, values in rows if values])


def divergence(view, loss_type):
    rows = divergences(view)
    ks = [k for _, values in rows for k in values]
    if not ks:
        return None
    if loss_type == "grpo":
        return mean_of_means(rows)
    if loss_type == "dr_grpo":
        caps = [completion.cap for completion, _ in rows if completion.cap is not None]
        longest = max(caps) if caps else max(completion.length for completion, _ in rows)
        return math.fsum(ks) / (len(rows) * longest) if longest else None
    return math.fsum(ks) / len(ks)


def q_entropy(q):
    return -math.fsum(max(m, 1e-12) * math.log(max(m, 1e-12)) for m in q)


def weight_entropy(weights):
    return -math.fsum(w * math.log(max(w, 1e-12)) for w in weights)


def normalised_entropy(weights):
    if len(weights) == 1:
        return 0.0
    floored = [max(w, 1e-12) for w in weights]
    whole = math.fsum(floored)
    return -math.fsum(w / whole * math.log(w / whole) for w in floored) / math.log(len(weights))


def distinct(members, k):
    tokens = [token for member in members for token in member]
    grams = [tuple(tokens[at : at + k]) for at in range(len(tokens) - k + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def jaccard(members):
    pairs = [(set(one), set(other)) for one, other in combinations(members, 2)]
    return mean([1 - len(one & other) / len(one | other) if one | other else 0.0 for one, other in pairs]) or 0.0


def ratio_and_advantage(view, token_level):
    """Per completion, (e^(c-old), advantage) of its counted tokens, where an advantage is known."""
    rows = []
    for completion in view.completions:
        old = completion.behaviour()
        if token_level and "token_advantages" in completion.tokens:
            values = completion.columns("token_logps", old, "token_advantages")
            if values is not None:
                rows.append([(exp(c - o), a) for c, o, a in values])
        elif usable(completion.advantage):
            values = completion.columns("token_logps", old)
            if values is not None:
                rows.append([(exp(c - o), completion.advantage) for c, o in values])
    return rows


def sampler_pairs(view):
    """(old, sampling) of counted tokens."""
    pairs = []
    for completion in view.completions:
        pairs.extend(completion.columns(completion.behaviour(), "sampling_token_logps") or [])
    return pairs


def off_policy(view, options):
    """Sampler against trainer, by the names of policies.py."""
    rows = [c.columns(c.behaviour(), "sampling_token_logps") or [] for c in view.completions]
    return policies.off_policy(rows, options.get("is_ratio_cap"), options.get("is_ratio_floor"))


def rejection(view, options):
    """What rejection sampling by the ratio to the sampler leaves out, by verl's names."""
    rows = [c.columns(c.behaviour(), "sampling_token_logps") or [] for c in view.completions]
    found = policies.rejection(rows, options.get("rollout_rs"))
    return {"rollout_corr/rollout_rs_" + name: number for name, number in found.items()}


def staleness(view):
    """How old the weights of counted tokens are, step by step."""
    steps = []
    for ordinal, records in enumerate(view.steps):
        reported = reports(records, "weight_version")
        own = [c for c in view.completions if c.place[0] == ordinal and c.versions is not None]
        rows = [[version for version, counts in zip(c.versions, c.counted) if counts] for c in own]
        steps.append((fold_step(reported, MAX) if reported else None, rows))
    found = policies.staleness(steps)
    if (dropped := scalar(view, "samples_dropped")) is not None:
        kept = scalar(view, "samples_kept")
        kept = len(view.completions) if kept is None else kept
        if kept + dropped > 0:
            found["kept"] = kept / (kept + dropped)
    return found


def pearson(pairs):
    if not pairs:
        return None
    xs, ys = zip(*((Fraction(x), Fraction(y)) for x, y in pairs))
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    across = sum((a - x) * (b - y) for a, b in zip(xs, ys))
    spread = sum((a - x) ** 2 for a in xs) * sum((b - y) ** 2 for b in ys)
    return math.copysign(root(across * across / spread), across) if spread else None


def clip_range(view):
    given = view.weighting or {}
    bounds = (number(given.get(name)) for name in ("clip_range_low", "clip_range_high"))
    return tuple(bound if usable(bound) else 0.2 for bound in bounds)


def behaviour_clips(view, token_level=False):
    """Per completion, (below the range with a negative, above it with a positive advantage) of its tokens."""
    if token_level and (view.weighting or {}).get("importance_sampling_level") == "sequence":
        counted = [len(completion.columns("token_logps", completion.behaviour()) or []) for completion in judged(view)]
        return [flags * tokens for flags, tokens in zip(completion_clips(view), (n for n in counted if n))]
    beyond = clipper(view)
    rows = ratio_and_advantage(view, token_level)
    return [[beyond(ratio, a) for ratio, a in row] for row in rows]


def clipper(view):
    """As TRL's losses: the ratio is capped at delta, then held against the range; GMPO's range is the log-ratio's."""
    low, high = clip_range(view)
    given = view.weighting or {}
    delta = number(given.get("clip_delta"))
    least, most = (math.exp(-low), math.exp(high)) if given.get("loss_type") == "gmpo" else (1 - low, 1 + high)

    def beyond(ratio, advantage):
        ratio = min(ratio, delta) if usable(delta) else ratio
        return ratio < least and advantage < 0, ratio > most and advantage > 0

    return beyond


def outside(view):
    """(outside of the range, advantage or None, whether the advantage is the token's own, ratio) of every token with a ratio."""
    beyond = clipper(view)
    found = []
    for completion in view.completions:
        own = "token_advantages" in completion.tokens
        names = ("token_logps", completion.behaviour(), *(("token_advantages",) if own else ()))
        for c, old in completion.columns(*names[:2]) or []:
            ratio = exp(within(c - old, 60.0))
            # Below the range or above it, by an advantage of either sign.
            out = beyond(ratio, -1.0)[0] or beyond(ratio, 1.0)[1]
            found.append((out, completion.advantage if not own and usable(completion.advantage) else None, False, ratio))
        if own:
            found += [(None, a, True, exp(within(c - old, 60.0))) for c, old, a in completion.columns(*names) or []]
    return found


def clip_numbers(view):
    """Shares of tokens outside of the clip range: of all, with an advantage of either sign, and beyond the dual clip."""
    given = view.weighting or {}
    bounds = (number(given.get(name)) for name in ("clip_ratio_c", "clip_delta"))
    dual = next((bound for bound in bounds if usable(bound)), 3.0)
    rows = outside(view)
    signed = [(a, ratio) for _, a, _, ratio in rows if a is not None]
    judged = [(out, a) for out, a, own, _ in rows if a is not None and not own]
    found = {"outside": share([out for out, *_ in rows if out is not None])}
    found["dual"] = share([a < 0 and ratio > dual for a, ratio in signed])
    if len(judged) == len(signed):
        found["negative"] = share([out and a < 0 for out, a in judged])
        found["positive"] = share([out and a > 0 for out, a in judged])
    return found


def verl_clips(view):
    """pg_clipfrac and pg_clipfrac_lower by the policy losses of verl's core_algos.py."""
    given = view.weighting or {}
    loss, whole = given.get("loss_type"), given.get("importance_sampling_level") == "sequence"
    by_sign = share([low or high for flags in behaviour_clips(view, True) for low, high in flags])
    found = clip_numbers(view)
    if loss in ("sapo", "vespo"):
        return None, None
    if loss == "gmpo":
        return found.get("positive"), found.get("negative")
    clipped = found["outside"] if loss == "cispo" else by_sign
    none = loss == "cispo" or whole
    return clipped, None if found["dual"] is None else (0.0 if none else found["dual"])


def knows_old(view):
    """Whether some token has a log-probability under the behaviour policy: without, nothing is known of what is clipped."""
    return any("old_token_logps" in c.tokens and any(c.counted) for c in view.completions)


def knows_ends(view):
    """Whether something says how completions ended."""
    return any(c.terminated is not None or (c.length is not None and c.cap is not None) for c in view.completions)


def judged(view):
    return [completion for completion in view.completions if usable(completion.advantage)]


def completion_ratio(completion):
    """e to the mean of current - old over its counted tokens (GSPO); none without such a token."""
    rows = completion.columns("token_logps", completion.behaviour())
    return exp(math.fsum(c - old for c, old in rows) / len(rows)) if rows else None


def completion_clips(view):
    """As behaviour_clips, one flag a completion, by the ratio of the whole completion."""
    beyond = clipper(view)
    ratios = [(completion_ratio(completion), completion.advantage) for completion in judged(view)]
    return [[beyond(ratio, advantage)] for ratio, advantage in ratios if ratio is not None]


def weight_caps(view, whole):
    """One flag a token, or a completion: an advantage above 0 and a ratio above eps_high itself, as TRL's CISPO has it."""
    _, most = clip_range(view)
    if whole:
        rows = [(completion_ratio(completion), completion.advantage) for completion in judged(view)]
        rows = [(ratio, a) for ratio, a in rows if ratio is not None]
    else:
        rows = [pair for row in ratio_and_advantage(view, True) for pair in row]
    return [ratio > most and a > 0 for ratio, a in rows]


def zero_std(view, rewards, scale):
    """TRL's: a deviation of fewer than two rewards is not a number, and not close to zero."""
    flat = lambda values: len(values) > 1 and sample_std(values) <= 1e-8
    if scale == "other":
        return None
    if scale == "batch":
        return float(flat(rewards)) if rewards else None
    groups = [[member.reward for member in group.members] for group in view.groups.values()]
    return share([flat([r for r in group if usable(r)]) for group in groups for _ in group])


# --- dialects --------------------------------------------------------------------------------------------------------


def defined(row):
    return {key: float(value) for key, value in row.items() if usable(value)}


def maxent(view, options):
    row = {}
    weighting = view.weighting
    given = weighting or {}

    def of(name):
        value = number(given.get(name))
        return value if usable(value) else None

    reported = lambda name: scalar(view, name)
    first = lambda *values: next((value for value in values if value is not None), None)
    meta = given.get("meta")
    meta_on = bool(meta and meta.get("enabled"))
    grpo = bool(given.get("train_grpo_objective"))

    # Optimizer and loss
    loss, kl_loss, tokens = reported("total_loss"), reported("kl_loss"), completion_tokens(view)
    for key in ("train/loss", "train/loss/total", "train/objective/minimize"):
        row[key] = loss
    row["train/objective/maximize"] = None if loss is None else -loss
    row["train/loss/policy"] = reported("policy_loss")
    row["train/loss/kl"] = kl_loss
    row["train/loss/weighted_kl"] = reported("weighted_kl_loss")
    row["train/loss/clip"] = reported("clip_loss")
    row["train/learning_rate"] = reported("learning_rate")
    row["train/epoch"] = epoch(view, options)
    row["train/global_step"] = view.step
    row["train/num_tokens"] = reported("num_input_tokens")
    row["train/avg_completion_tokens"] = first(reported("avg_completion_tokens"), mean(view.column("length")))
    reference = [(c, [r for (r,) in rows]) for c, rows in view.per_completion("ref_token_logps")]
    row["train/ref_logp_mean"] = first(reported("ref_logp_mean"), mean_of_means(reference))
    row["train/beta"] = row["train/kl_coeff"] = of("beta")
    row["train/tau"] = of("tau")
    if weighting is not None:
        row["train/grpo_objective"] = grpo
    if tokens is not None and tokens > 0:
        for key, value in (("train/kl_per_completion_token", kl_loss), ("train/loss_per_completion_token", loss)):
            row[key] = None if value is None else max(0.0, value / tokens)
    for name in ("grad_norm", "vllm_latency_ms", "entropy_bonus_coef", "entropy_bonus_reward_std"):
        row["train/" + name] = reported(name)
    entropies = view.entropies()
    row["train/policy_entropy"] = first(
        reported("policy_entropy"), math.fsum(entropies) / len(entropies) if entropies else None
    )

    # Rewards
    rewards = view.column("reward")
    row["train/reward"], row["train/reward_std"] = mean(rewards), population_std(rewards)
    for percent in PERCENTS:
        row[f"train/reward_p{percent:02}"] = quantile(rewards, percent)
    for name in view.component_names():
        values = view.component(name)
        row[f"train/rewards/{name}/mean"] = mean(values)
        row[f"train/rewards/{name}/std"] = population_std(values)
        for percent in PERCENTS:
            row[f"train/rewards/{name}/p{percent:02}"] = quantile(values, percent)
    row["train/frac_reward_zero_std"] = share(
        [all(abs(a) < 1e-8 for a in group) for group in view.whole_groups("advantage")]
    )
    entropy = [q_entropy(group) for group in view.whole_groups("q")]
    for suffix, statistic in (("mean", mean), ("std", population_std), ("min", lowest), ("max", highest)):
        row["train/q_entropy_" + suffix] = statistic(entropy)
        semantic = present(group.semantic_entropy for group in view.groups.values())
        row["train/seed_grpo/semantic_entropy_" + suffix] = first(statistic(semantic), 0.0)
    scales = present(group.advantage_scale for group in view.groups.values())
    row["train/seed_grpo/advantage_scale_mean"] = first(mean(scales), 0.0)
    row["train/seed_grpo/advantage_scale_min"] = first(lowest(scales), 1.0)
    row["train/seed_grpo/advantage_scale_max"] = first(highest(scales), 1.0)
    row["train/seed_grpo/alpha_effective"] = first(seed_scalar(view, "seed_alpha_effective"), 0.0)
    row["train/seed_grpo/max_possible_entropy"] = first(seed_scalar(view, "seed_max_possible_entropy"), 0.0)
    bonus, reward = mean(view.component("entropy_bonus")), mean(rewards)
    if bonus is not None:
        row["train/entropy_bonus_mean"] = bonus
        if reward is not None:
            base = reward - bonus
            row["train/reward_with_entropy_bonus"] = reward
            row["train/reward_without_entropy_bonus"] = base
            row["train/entropy_bonus_frac_of_base"] = bonus / max(abs(base), 1e-8)
            row["train/entropy_bonus_frac_of_total"] = bonus / max(abs(reward), 1e-8)

    # Completions
    lengths = view.column("length")
    ended = [c.length for c in view.completions if c.length is not None and not c.clipped()]
    for suffix, statistic in (("mean", mean), ("min", lowest), ("max", highest)):
        row[f"train/completions/{suffix}_length_sampled"] = statistic(lengths)
        if lengths:
            row[f"train/completions/{suffix}_length_terminated"] = first(statistic(ended), 0.0)
    row["train/completions/clipped_frac"] = share(present(c.clipped() for c in view.completions))
    spelled = view.spelled_groups()
    sizes = [len(members) for members in spelled]
    for key, measure in (
        ("distinct_1", lambda members: distinct(members, 1)),
        ("distinct_2", lambda members: distinct(members, 2)),
        ("jaccard", jaccard),
    ):
        values = [measure(members) for members in spelled]
        row["train/completions/diversity/" + key] = mean(values)
        row[f"train/completions/diversity/{key}_micro"] = weighted_mean(values, sizes)

    # Weights
    groups = view.whole_groups("weight")
    entropy = [weight_entropy(group) for group in groups]
    row["train/weight_entropy"] = mean(entropy)
    row["train/weight_entropy_min"], row["train/weight_entropy_max"] = lowest(entropy), highest(entropy)
    row["train/weight_entropy_norm"] = mean([normalised_entropy(group) for group in groups])
    excess = [w - 1 / len(group) for group in groups for w in group]
    row["train/advantage_entropy_mean"], row["train/advantage_entropy_std"] = mean(excess), population_std(excess)
    if grpo:
        for key in ("weight_entropy", "weight_entropy_min", "weight_entropy_max"):
            row["train/" + key] = 0.0
        row["train/advantage_entropy_mean"] = row["train/advantage_entropy_std"] = 0.0
    row["train/weight_entropy_ema"] = of("tau_entropy_ema")

    # Clip and KL
    row["train/kl"] = first(divergence(view, given.get("loss_type")), kl_loss)
    low, high = clip_range(view)
    below, above = math.log(max(1 - low, 1e-6)), math.log(max(1 + high, 1e-6))
    apart = [c - r for _, rows in view.per_completion("token_logps", "ref_token_logps") for c, r in rows]
    lows, highs = [d < below for d in apart], [d > above for d in apart]
    row["train/clip_ratio"] = first(share([l or h for l, h in zip(lows, highs)]), 0.0)
    row["train/clip_ratio/region_mean"] = row["train/clip_ratio"]
    row["train/clip_ratio/low_mean"], row["train/clip_ratio/high_mean"] = first(share(lows), 0.0), first(share(highs), 0.0)
    row["train/clip_ratio/low_min"], row["train/clip_ratio/high_max"] = first(lowest(lows), 0.0), first(highest(highs), 0.0)
    for name, least, most in BUCKETS:
        inside = [ks for completion, ks in divergences(view) if least <= completion.length <= most]
        if inside:
            ks = [k for values in inside for k in values]
            row["train/kl_per_token_bucket/" + name] = math.fsum(ks) / len(ks) if ks else None
            row["train/kl_per_token_bucket_tokens/" + name] = len(ks)

    if weighting is not None:
        row.update(controller(view, options, of, row, meta, meta_on, grpo))
    return row


def controller(view, options, of, row, meta, meta_on, grpo):
    zero = lambda value: 0.0 if value is None else value
    tau, target = of("tau"), of("tau_target_entropy")
    control = {name: zero(of(name)) for name in ("weight_norm_denom", "q_temperature", "q_epsilon", "tau_min", "tau_max")}
    control["tau_warmup_steps"] = zero(of("tau_warmup_steps"))
    control["tau_lr"] = zero(of("tau_lr") if of("tau_lr_effective") is None else of("tau_lr_effective"))
    control["tau_log"] = of("tau_log")
    if control["tau_log"] is None:
        control["tau_log"] = 0.0 if tau is None else math.log(max(tau, 1e-8))
    control["tau_target_entropy"] = zero(target)
    active = not meta_on and target is not None and view.step > max(0, zero(of("tau_warmup_steps")))
    control["tau_schedule_active"] = float(active)
    kept = options.get("prev") or {}
    for name in ("tau", "beta"):
        before = kept.get(name) if of("prev_" + name) is None else of("prev_" + name)
        delta = 0.0 if of(name) is None or before is None else of(name) - before
        control["delta_" + name], control[f"delta_{name}_abs"] = delta, abs(delta)
    out = {"train/" + name: value for name, value in control.items()}
    out.update({"train/weighting/" + name: value for name, value in control.items()})
    out["train/weighting/tau"], out["train/weighting/beta"] = zero(tau), zero(of("beta"))
    out["train/tau_target_enabled"] = target is not None
    out["train/len_norm_ref"] = bool(view.weighting.get("len_norm_ref"))
    out["train/maxent_objective"] = 1.0 - grpo

    goal, horizon, size = zero(of("kl_target")), zero(of("kl_horizon")), zero(of("kl_step_size"))
    steering = {"target": goal, "horizon": horizon, "step_size": size}
    steering["enabled"] = not meta_on and goal > 0 and horizon > 0 and size > 0
    for name, value in steering.items():
        out["train/kl_controller_" + name] = out["train/kl_controller/" + name] = value
    if goal > 0 and row["train/kl"] is not None:
        out["train/kl_error_to_target"] = row["train/kl"] - goal
        out["train/kl_ratio_to_target"] = row["train/kl"] / max(goal, 1e-8)
    out["train/weighting/tau_loss"] = 0.0
    if target is not None and row["train/weight_entropy"] is not None:
        error = row["train/weight_entropy"] - target
        out["train/weight_entropy_error"], out["train/weight_entropy_abs_error"] = error, abs(error)
        out["train/tau_loss"] = out["train/weighting/tau_loss"] = error * error / 2

    def learned(name):
        value = number((meta or {}).get(name))
        return value if usable(value) else 0.0

    for key, name in (
        ("lr", "learning_rate"),
        ("update_interval", "update_interval"),
        ("truncation_steps", "truncation_steps"),
        ("tau_grad", "last_tau_grad"),
        ("beta_grad", "last_beta_grad"),
        ("loss", "last_loss"),
        ("enabled", "enabled"),
        ("use_hessian", "use_hessian"),
        ("tau_projected", "tau_projected"),
        ("beta_projected", "beta_projected"),
    ):
        out["train/meta/" + key] = learned(name)
    out["train/meta/grad_norm"] = math.hypot(learned("last_tau_grad"), learned("last_beta_grad"))
    return out


def failed_calls(view):
    """Over the calls of completions that say how many failed."""
    tried = [(c.calls, c.failures) for c in view.completions if c.calls is not None and c.failures is not None]
    calls, failures = (sum(column) for column in zip(*tried)) if tried else (0, 0)
    return None if not tried else failures / calls if calls else 0.0


def trl(view, options):
    row = {"num_tokens": scalar(view, "num_input_tokens")}
    lengths = view.column("length")
    ended = [c.length for c in view.completions if c.length is not None and not c.clipped()]
    for suffix, statistic in (("mean", mean), ("min", lowest), ("max", highest)):
        row[f"completions/{suffix}_length"] = statistic(lengths)
        if lengths and knows_ends(view):
            row[f"completions/{suffix}_terminated_length"] = statistic(ended) if ended else 0.0
    if knows_ends(view):
        row["completions/clipped_ratio"] = share(present(c.clipped() for c in view.completions))
    row["tools/call_frequency"] = mean(view.column("calls"))
    row["tools/failure_frequency"] = failed_calls(view)
    for name in view.component_names():
        row[f"rewards/{name}/mean"] = mean(view.component(name))
        row[f"rewards/{name}/std"] = sample_std(view.component(name))
    rewards = view.column("reward")
    row["reward"], row["reward_std"] = mean(rewards), sample_std(rewards)
    given = view.weighting or {}
    row["frac_reward_zero_std"] = zero_std(view, rewards, given.get("scale_rewards"))

    ks = []
    whole = given.get("importance_sampling_level") == "sequence"
    corrected = options.get("kl_bias_correction", True) and given.get("loss_type") != "gmpo"
    for completion in view.completions:
        if corrected and whole:
            ratio = completion_ratio(completion)
            rows = completion.columns("token_logps", "ref_token_logps") or []
            ks.extend(k3(c, r) * ratio for c, r in rows if ratio is not None)
        elif corrected:
            rows = completion.columns("token_logps", "ref_token_logps", completion.behaviour()) or []
            ks.extend(k3(c, r) * exp(c - old) for c, r, old in rows)
        else:
            ks.extend(k3(c, r) for c, r in completion.columns("token_logps", "ref_token_logps") or [])
    row["kl"] = math.fsum(ks) / len(ks) if ks else None
    entropies = view.entropies()
    row["entropy"] = math.fsum(entropies) / len(entropies) if entropies else None

    clips = completion_clips(view) if whole else behaviour_clips(view)
    if given.get("loss_type") in ("cispo", "sapo", "vespo") or not knows_old(view):
        clips = []
    flags = [flag for row_ in clips for flag in row_]
    row["clip_ratio/low_mean"] = share([low for low, _ in flags])
    row["clip_ratio/high_mean"] = share([high for _, high in flags])
    row["clip_ratio/region_mean"] = share([low or high for low, high in flags])
    row["clip_ratio/low_min"] = lowest([share([low for low, _ in row_]) for row_ in clips if row_])
    row["clip_ratio/high_max"] = highest([share([high for _, high in row_]) for row_ in clips if row_])

    if given.get("loss_type") == "cispo" and knows_old(view):
        row["cispo_clip_ratio"] = share(weight_caps(view, whole))

    pairs = sampler_pairs(view)
    gaps = [abs(old - sampled) for old, sampled in pairs]
    cap = options.get("is_ratio_cap")
    ratios = [exp(old - sampled) if cap is None else min(exp(old - sampled), cap) for old, sampled in pairs]
    row["sampling/sampling_logp_difference/mean"] = mean(gaps)
    row["sampling/sampling_logp_difference/max"] = highest(gaps)
    for suffix, statistic in (("min", lowest), ("mean", mean), ("max", highest)):
        row["sampling/importance_sampling_ratio/" + suffix] = statistic(present(ratios))
    for key, name in (
        ("loss", "total_loss"),
        ("grad_norm", "grad_norm"),
        ("learning_rate", "learning_rate"),
        ("epoch", "epoch"),
        ("step_time", "step_time_sec"),
    ):
        row[key] = scalar(view, name)
    return row


def tunix(view, options):
    loss, seconds = scalar(view, "total_loss"), scalar(view, "step_time_sec")
    row = {"loss": loss, "learning_rate": scalar(view, "learning_rate"), "step_time_sec": seconds}
    row["perplexity"] = None if loss is None else exp(loss)
    row["steps_per_sec"] = 1 / seconds if seconds else None
    row["tflops_per_step"] = scalar(view, "tflops_per_step")
    parameters, tokens = scalar(view, "model_params"), completion_tokens(view)
    if row["tflops_per_step"] is None and parameters is not None and tokens is not None:
        row["tflops_per_step"] = 6 * parameters * tokens / 1e12

    scored = [values for c in view.completions if (values := present(c.components.values()))]
    row["rewards/sum"] = mean([total(values) for values in scored])
    row["rewards/mean"] = mean([mean(values) for values in scored])
    row["rewards/min"] = lowest([value for values in scored for value in values])
    row["rewards/max"] = highest([value for values in scored for value in values])
    for name in view.component_names():
        key = "rewards/" + name
        row[key if key not in row else key + "_2"] = mean(view.component(name))
    extremes = (("mean", mean), ("min", lowest), ("max", highest))
    advantages = []
    for completion in view.completions:
        if "token_advantages" in completion.tokens:
            advantages.extend(value for (value,) in completion.columns("token_advantages"))
        elif usable(completion.advantage):
            advantages.append(completion.advantage)
    columns = {"score": view.column("reward"), "advantages": advantages}
    for name in ("returns", "values"):
        columns[name] = [value for _, rows in view.per_completion(name) for (value,) in rows]
    for name, values in columns.items():
        for suffix, statistic in extremes:
            row[f"{name}/{suffix}"] = statistic(values)
    row["rewards/reward_kl_penalty"] = mean_of_means(divergences(view))
    if knows_old(view):
        row["pg_clipfrac"] = share([low or high for flags in behaviour_clips(view, True) for low, high in flags])
    row["vf_clipfrac"], row["actor_dequeue_time"] = scalar(view, "vf_clipfrac"), scalar(view, "actor_dequeue_time")
    entropies = view.entropies()
    row["loss/entropy"] = math.fsum(entropies) / len(entropies) if entropies else None
    for suffix, statistic in extremes:
        row[f"completions/{suffix}_length"] = statistic(view.column("length"))
    pairs = sampler_pairs(view)
    logs = [abs(old - sampled) for old, sampled in pairs]
    odds = [(exp(old), exp(sampled)) for old, sampled in pairs]
    for name, gaps in (("logp", logs), ("prob", [abs(old - sampled) for old, sampled in odds])):
        row[f"sampler_trainer/{name}_diff_mean"], row[f"sampler_trainer/{name}_diff_max"] = mean(gaps), highest(gaps)
    row["sampler_trainer/probs_pearson_corr"] = pearson(odds)
    return row


def within(value, bound):
    return min(max(value, -bound), bound)


# As verl's kl_penalty has them, which bounds k3 alone.
ESTIMATORS = {
    "k1": lambda d: d,
    "abs": abs,
    "k2": lambda d: d * d / 2,
    "k3": lambda d: within(k3(within(d, 20.0), 0.0), 10.0),
}


# verl's names (rollout_corr_helper.py), and what policies.py calls the numbers.
CORRECTION = {
    "training_ppl": "ppl",
    "training_log_ppl": "log_ppl",
    "kl": "k1",
    "k3_kl": "k3",
    "rollout_ppl": "sampler_ppl",
    "rollout_log_ppl": "sampler_log_ppl",
    "log_ppl_diff": "diff/mean",
    "log_ppl_abs_diff": "diff/abs",
    "log_ppl_diff_max": "diff/max",
    "log_ppl_diff_min": "diff/min",
    "ppl_ratio": "ppl_ratio",
    "chi2_token": "chi2",
    "chi2_seq": "seq_chi2",
    "rollout_is_mean": "mean",
    "rollout_is_std": "std",
    "rollout_is_min": "min",
    "rollout_is_max": "max",
    "rollout_is_eff_sample_size": "ess",
    "rollout_is_ratio_fraction_high": "above",
    "rollout_is_ratio_fraction_low": "below",
    "rollout_is_seq_mean": "seq_mean",
    "rollout_is_seq_std": "seq_std",
    "rollout_is_seq_max": "seq_max",
    "rollout_is_seq_min": "seq_min",
    "rollout_is_seq_max_deviation": "seq_deviation",
    "rollout_is_seq_fraction_high": "seq_mean_above",
    "rollout_is_seq_fraction_low": "seq_mean_below",
}


def by_token(view):
    """Each counted token's advantage, its own or its completion's."""
    advantages = []
    for completion in view.completions:
        if "token_advantages" in completion.tokens:
            advantages += [value for (value,) in completion.columns("token_advantages")]
        elif usable(completion.advantage) and completion.counted is not None:
            advantages += [completion.advantage] * sum(completion.counted)
    return advantages


def all_tokens(view):
    both = [c.prompt + c.length for c in view.completions if c.prompt is not None and c.length is not None]
    return sum(both) if both else None


def verl(view, options):
    row = {}
    extremes = (("mean", mean), ("max", highest), ("min", lowest))

    def three(key, values):
        row.update((f"{key}/{suffix}", statistic(values)) for suffix, statistic in extremes)

    def differences(completion, one, other):
        pairs = completion.columns(one, other)
        return None if pairs is None else [a - b for a, b in pairs]

    whole = [completion for completion in view.completions if not completion.broken_off()]
    scores = [completion.reward for completion in whole if usable(completion.reward)]
    three("critic/score", scores)
    coefficient = options.get("kl_penalty")
    if coefficient is None and all(completion.penalised is None for completion in view.completions):
        three("critic/rewards", scores)
    else:
        estimator = ESTIMATORS[options.get("kl_penalty_kind", "k1")]
        penalised = []
        for completion in whole:
            if completion.penalised is not None:
                penalised += filter(usable, completion.penalised)
                continue
            if coefficient is None:
                continue
            apart = differences(completion, completion.behaviour(), "ref_token_logps")
            # A reward has its penalty of all its counted tokens or is left out.
            if usable(completion.reward) and apart is not None and len(apart) == sum(completion.counted):
                penalised.append(completion.reward - coefficient * math.fsum(map(estimator, apart)))
        three("critic/rewards", penalised)
    three("critic/advantages", by_token(view))
    for name in ("returns", "values"):
        three("critic/" + name, [value for _, rows in view.per_completion(name) for (value,) in rows])
    judged = [pair for _, rows in view.per_completion("returns", "values") for pair in rows]
    if len(judged) > 1:
        error, spread = sample_std([r - v for r, v in judged]), sample_std([r for r, _ in judged])
        row["critic/vf_explained_var"] = 1 - error**2 / (spread**2 + 1e-5)

    lengths = [(c.length, c.cap) for c in view.completions if c.length is not None]
    prompts = [(c.prompt, c.prompt_cap) for c in view.completions if c.prompt is not None]
    for key, measured in (("response_length", lengths), ("prompt_length", prompts)):
        three(key, [length for length, _ in measured])
        row[key + "/clip_ratio"] = share([length >= cap for length, cap in measured if cap is not None])
    row["response/aborted_ratio"] = share([c.broken_off() for c in view.completions if c.broken_off() is not None])
    kept = [(c.length, c.cap) for c in view.completions if c.length is not None and not c.broken_off()]
    three("response_length_non_aborted", [length for length, _ in kept])
    row["response_length_non_aborted/clip_ratio"] = share([length >= cap for length, cap in kept if cap is not None])
    three("num_turns", view.column("turns"))
    three("tool_call_counts", view.column("calls"))

    if knows_old(view):
        row["actor/pg_clipfrac"], row["actor/pg_clipfrac_lower"] = verl_clips(view)
        moved = [differences(c, c.behaviour(), "token_logps") or [] for c in view.completions]
        row["actor/ppo_kl"] = mean([within(d, 20.0) for ds in moved for d in ds])
    row["actor/entropy"] = mean(view.entropies())
    apart = [differences(c, "token_logps", "ref_token_logps") or [] for c in view.completions]
    estimator = ESTIMATORS[options.get("kl_kind", "k3")]
    row["actor/kl_loss"] = mean([estimator(d) for ds in apart for d in ds])
    row["actor/grad_norm"], row["actor/lr"] = scalar(view, "grad_norm"), scalar(view, "learning_rate")

    odds = [(exp(old), exp(sampled)) for old, sampled in sampler_pairs(view)]
    gaps = [abs(old - sampled) for old, sampled in odds]
    key = "training/rollout_probs_diff_"
    row[key + "mean"], row[key + "max"], row[key + "std"] = mean(gaps), highest(gaps), sample_std(gaps)
    row["training/rollout_actor_probs_pearson_corr"] = pearson(odds)

    apart = off_policy(view, options)
    row.update(("rollout_corr/" + key, apart[name]) for key, name in CORRECTION.items() if name in apart)
    row.update(rejection(view, options))
    ages = staleness(view)
    for key, name in (("spans", "spans"), ("staleness", "least"), ("staleness_worst", "most")):
        for suffix in ("mean", "max", "min"):
            row[f"training/off_policy/trajectory_{key}/{suffix}"] = ages.get(f"{name}/{suffix}")

    tokens, seconds, devices = all_tokens(view), scalar(view, "step_time_sec"), options.get("devices")
    row["perf/total_num_tokens"] = tokens
    row["perf/time_per_step"] = seconds
    if tokens is not None and seconds and devices:
        row["perf/throughput"] = tokens / (seconds * devices)
    return row


def truncated(view):
    return share(present(c.clipped() for c in view.completions)) if knows_ends(view) else None


def reported(view, names):
    return {key: scalar(view, name) for key, name in names.items()}


def openrlhf(view, options):
    rewards = view.column("reward")
    row = {"train/rollout/reward_mean": mean(rewards)}
    row["train/rollout/reward_std"] = 0.0 if len(rewards) == 1 else sample_std(rewards)
    row["train/rollout/response_length_mean"] = mean(view.column("length"))
    row["train/rollout/truncated_rate"] = truncated(view)
    row["train/rollout/num_samples"] = len(view.completions)
    if knows_old(view):
        row["train/ppo_clip_ratio"] = share([low or high for flags in behaviour_clips(view, True) for low, high in flags])
    row["train/reward"], row["train/response_length"] = row["train/rollout/reward_mean"], row["train/rollout/response_length_mean"]
    row["train/truncated"], row["train/entropy_loss"] = truncated(view), mean(view.entropies())
    moved = [pairs for c in view.completions for pairs in c.columns("old_token_logps", "token_logps") or []]
    row["train/ppo_kl"] = mean([old - now for old, now in moved])
    row["train/vllm_kl"] = off_policy(view, options).get("k1")
    names = {"policy_loss": "policy_loss", "actor_lr": "learning_rate", "actor_grad_norm": "grad_norm"}
    return row | reported(view, {"train/" + key: name for key, name in names.items()})


SAMPLER_ERRORS = {
    "token_mult_prob_error": "factor",
    "gen_kl_error": "k3",
    "policy_kl_error": "k3_back",
    "js_divergence_error": "js",
    **{f"{name}_seq_mult_prob_error": f"seq_factor/{name}" for name in ("mean", "min", "max")},
}


def nemo_rl(view, options):
    row = {"train/reward": mean(view.column("reward")), "train/mean_prompt_length": mean(view.column("prompt"))}
    row["train/total_num_tokens"] = all_tokens(view)
    for suffix, statistic in (("mean", mean), ("max", highest), ("min", lowest)):
        row["train/advantages/" + suffix] = statistic(by_token(view))
    apart = off_policy(view, options)
    row.update(("train/" + key, apart[name]) for key, name in SAMPLER_ERRORS.items() if name in apart)
    return row | reported(view, {"train/loss": "total_loss", "train/grad_norm": "grad_norm", "train/lr": "learning_rate"})


def skyrl(view, options):
    row = {"reward/avg_raw_reward": mean(view.column("reward")), "policy/policy_entropy": mean(view.entropies())}
    row["generate/batch_num_seq"] = len(view.completions)
    for prefix, statistic in (("avg", mean), ("min", lowest), ("max", highest)):
        row[f"generate/{prefix}_num_tokens"] = statistic(view.column("length"))
    apart = [abs(old - sampled) for old, sampled in sampler_pairs(view)]
    key = "policy/rollout_train_logprobs_abs_diff_"
    row[key + "mean"], row[key + "max"] = mean(apart), highest(apart)
    if knows_old(view) and (view.weighting or {}).get("loss_type") not in ("cispo", "sapo", "vespo"):
        flags = [low or high for flags in behaviour_clips(view, True) for low, high in flags]
        row["policy/loss_metrics/clip_ratio"] = share(flags)
    names = {"final_loss": "total_loss", "policy_loss": "policy_loss", "policy_lr": "learning_rate", "grad_norm": "grad_norm"}
    return row | reported(view, {"policy/" + key: name for key, name in names.items()})


def prime_rl(view, options):
    row = {"entropy/all/mean": mean(view.entropies()), "train/agg/effective/agent/is_truncated/mean": truncated(view)}
    for suffix, statistic in (("mean", mean), ("max", highest), ("min", lowest)):
        row["train/agg/effective/agent/reward/" + suffix] = statistic(view.column("reward"))
        row["train/agg/effective/agent/num_turns/" + suffix] = statistic(view.column("turns"))
    names = {"loss/mean": "total_loss", "optim/lr": "learning_rate", "optim/grad_norm": "grad_norm", "time/step": "step_time_sec"}
    return row | reported(view, names)


DIALECTS = {
    "maxent": maxent,
    "trl": trl,
    "tunix": tunix,
    "verl": verl,
    "openrlhf": openrlhf,
    "nemo-rl": nemo_rl,
    "skyrl": skyrl,
    "prime-rl": prime_rl,
}

# --- rows ------------------------------------------------------------------------------------------------------------


def pooled(steps, dialect="maxent", options=None):
    view = View(steps)
    row = defined(DIALECTS[dialect](view, options or {}))
    return {**row, **defined(user_metrics(view))}


def dictionary(records, dialect="maxent", options=None):
    return pooled([records], dialect, options)


# Cumulative numbers, and those that say where the run stands.
LAST_OF_WINDOW = {
    "maxent": ("train/global_step", "train/epoch", "train/num_tokens"),
    "trl": ("num_tokens", "epoch", "learning_rate"),
}


def averaged(steps, dialect="maxent", options=None):
    dictionaries = [dictionary(records, dialect, options) for records in steps]
    row = {}
    for key in dict.fromkeys(key for one in dictionaries for key in one):
        row[key] = mean([one[key] for one in dictionaries if key in one])
    for key in LAST_OF_WINDOW[dialect]:
        if key in row:
            row[key] = [one[key] for one in dictionaries if key in one][-1]
    return row


REDUCTIONS = {"mean": averaged, "pooled": pooled}


def rows(steps, dialect="maxent", reduction="mean", options=None):
    """(step, row) of every row that the strategy `steps` emits, the partial one at the end included."""
    options = dict(options or {})
    every = max(1, options.get("logging_steps", 1))
    emitted, window, kept = [], [], {}
    for ordinal, records in enumerate(steps):
        step = records[0]["step"]
        window.append(records)
        due = step % every == 0 and (step != 0 or options.get("logging_first_step", True))
        left_over = ordinal == len(steps) - 1 and options.get("emit_partial", True)
        if not due and not left_over:
            continue
        emitted.append((step, REDUCTIONS[reduction](window, dialect, {**options, "prev": kept})))
        snapshot = View([records]).weighting or {}
        for name in ("tau", "beta"):
            if usable(number(snapshot.get(name))):
                kept[name] = number(snapshot[name])
        window = []
    return emitted


def nonfinite(steps):
    """Non-finite cells by column: per-completion values, counted tokens, scalars, seed values."""
    counts = Counter()
    view = View(steps)

    def count(name, value):
        counts[name] += value is not None and not math.isfinite(value)

    for completion in view.completions:
        for column, value in (
            ("rewards", completion.reward),
            ("advantages", completion.advantage),
            ("q", completion.q),
            ("weights", completion.weight),
        ):
            count(column, value)
        for name, value in completion.components.items():
            count("reward_components/" + name, value)
        for name, values in completion.tokens.items():
            for value, counted in zip(values, completion.counted):
                if counted:
                    count(name, value)
    for records in view.steps:
        for record in records:
            for name, value in (record.get("scalars") or {}).items():
                count("scalars/" + name, number(value))
            for column in ("semantic_entropies", "advantage_scales"):
                for value in record["batch"].get(column) or []:
                    count(column, number(value))
            for column in ("seed_alpha_effective", "seed_max_possible_entropy"):
                count(column, number(record["batch"].get(column)))
    return {name: n for name, n in sorted(counts.items()) if n}


# --- slim ------------------------------------------------------------------------------------------------------------

STATISTICS = ("mean", "std", *(f"p{percent:02}" for percent in PERCENTS))
DROPPED_FAMILIES = (
    "train/weighting/",
    "train/kl_controller/",
    "train/kl_per_token_bucket/",
    "train/kl_per_token_bucket_tokens/",
    "train/clip_ratio/",
)
DROPPED = (
    "loss/total objective/minimize objective/maximize kl_coeff grpo_objective maxent_objective len_norm_ref "
    "weight_norm_denom tau_log delta_tau_abs delta_beta_abs"
).split()
KEPT_COMPLETIONS = ("mean_length_sampled", "mean_length_terminated", "clipped_frac")
DROPPED_PERCENTS = ("p00", "p25", "p75", "p100")


def components_of(row):
    """A component is a name that has all nine statistics: names may contain `/`."""
    prefix, suffix = "train/rewards/", "/mean"
    names = [key[len(prefix) : -len(suffix)] for key in row if key.startswith(prefix) and key.endswith(suffix)]
    return [name for name in names if all(f"{prefix}{name}/{one}" in row for one in STATISTICS)]


def slim(row):
    dropped = set()

    def drop(*prefixes):
        dropped.update(key for key in row if key.startswith(prefixes))

    drop(*DROPPED_FAMILIES)
    dropped.update("train/" + name for name in DROPPED)
    for key in row:
        folder = "train/completions/"
        if key.startswith(folder) and not key.startswith(folder + "diversity/") and key[len(folder) :] not in KEPT_COMPLETIONS:
            dropped.add(key)
    components = components_of(row)
    dropped.update("train/reward_" + percent for percent in DROPPED_PERCENTS)
    dropped.update(f"train/rewards/{name}/{percent}" for name in components for percent in DROPPED_PERCENTS)
    if len(components) == 1 and row[f"train/rewards/{components[0]}/mean"] == row.get("train/reward"):
        drop(f"train/rewards/{components[0]}/")
    if row.get("train/meta/enabled") == 0:
        drop("train/meta/")
    if not row.get("train/entropy_bonus_coef"):
        drop("train/entropy_bonus", "train/reward_without_entropy_bonus", "train/reward_with_entropy_bonus")
        drop("train/rewards/entropy_bonus/")
    if row.get("train/maxent_objective") == 0:
        drop("train/weight_entropy", "train/advantage_entropy")
        if not row.get("train/tau"):
            drop("train/tau_")
            dropped.add("train/tau")
    elif "train/maxent_objective" in row:
        dropped.update("train/weight_entropy_" + name for name in ("min", "max", "ema"))
        dropped.update(("train/q_entropy_min", "train/q_entropy_max"))
    return [key for key in row if key not in dropped]
