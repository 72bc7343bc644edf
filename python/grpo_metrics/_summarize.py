"""The row of one step without an engine of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, Literal

from . import _core
from ._face import stands_for
from ._row import Row


@stands_for(_core.summarize)
def summarize(
    records: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    *,
    # options: made from the tables in src/engine/options.rs and python/src/outputs.rs, by UPDATE_DOCS=1 cargo test --test docs
    store: str | PathLike[str] | object | None = None,
    run: str | None = None,
    resume: Literal["never", "allow", "must"] | None = None,
    experiment: str | None = None,
    group: str | None = None,
    seed: int | None = None,
    config: Any = None,
    sinks: Iterable[str | PathLike[str] | object] | None = None,
    journal: str | PathLike[str] | Literal[False] | None = None,
    gather: object = None,
    replica: bool | None = None,
    recorder: str | PathLike[str] | None = None,
    dialect: str | None = "maxent",
    mode: str | None = None,
    steps_per_epoch: float | None = None,
    num_generations: float | None = None,
    num_epochs: float | None = None,
    total_training_steps: float | None = None,
    kl_bias_correction: bool | None = True,
    kl_kind: Literal["k1", "abs", "k2", "k3"] | None = "k3",
    devices: int | None = None,
    high_kl: float | None = 0.1,
    pass_k: list[int] | tuple[int, ...] | None = None,
    limits: Mapping[str, float] | None = None,
    folds: Mapping[str, str | tuple[str, str]] | None = None,
    logging_steps: int | None = 1,
    logging_strategy: str | None = "steps",
    logging_first_step: bool | None = True,
    emit_partial: bool | None = True,
    window: Literal["mean", "pooled"] | None = "mean",
    metadata: Mapping[str, str] | None = None,
    extended: bool | None = False,
    clip_range: tuple[float, float] | None = None,
    is_ratio_cap: float | None = None,
    is_ratio_floor: float | None = None,
    rollout_rs: Mapping[str, float | tuple[float, float]] | None = None,
    kl_penalty: float | None = None,
    kl_penalty_kind: Literal["k1", "abs", "k2", "k3"] | None = "k1",
    success: str | tuple[str | None, float] | None = None,
    success_threshold: float | None = 1.0,
    retain: Literal["exact", "sketch"] | None = "exact",
    scope: Literal["global", "local"] | None = "global",
    policy: Literal["fail", "go_on"] | None = "fail",
    # end of options
) -> Row:
    """The row of one step: its records, or the one that there is, of all ranks and micro-batches.

    A record is a dictionary with `step`, `batch` (the columns of `Engine.observe`), and where there are any `rank`, `micro`,
    `world_size`, `scalars` and `weighting`. No records give the row of a step in which nothing was seen. A ColumnError where a record
    is none, a StepError where they are of several steps, an OptionError where an option makes no sense.

    Options, each with what it takes, its unit, and what holds without it:
    store: Where rows are stored: the path of a store (one SQLite file), or an object with EvSys's methods. Without it: no store.
    run: The name of the run that the store has the rows under; of a store that is an object, the run's id. Without it: a name of the time:
        `2026-11-21-1402-quiet-heron`.
    resume: Whether rows go on with the newest run of that name, of a store that is a path. Without it: never: a run of its own, with a
        number behind the name where it is taken.
    experiment: The experiment that the run is one of. Without it: none.
    group: The group of runs within the experiment. Without it: none.
    seed: The run's seed, a whole number. Without it: none.
    config: What else the store is to know of the run: anything that JSON can say. Without it: nothing.
    sinks: Where rows go besides: paths of JSON lines, texts as `csv:rows.csv`, objects with `write(row)`. Without it: nowhere.
    journal: A folder in which rows wait for sinks and store; False: nothing before them, each is written in the step. Without it: a folder
        of each run's beside the store, else under `.grpo-metrics`.
    gather: What joins the ranks: `TorchGather()`, or an object with `rank`, `world_size` and `gather`. Without it: this process is the only
        rank.
    replica: Whether this rank holds a copy of another's data (of tensor, pipeline or context parallel ranks all but one): nothing of it is
        counted, and it gathers all the same. Without it: as the gather says; else it holds data of its own.
    recorder: A folder in which every record is written down, for `grpo-metrics replay`. Without it: no recording.
    dialect: maxent, trl, tunix, verl, openrlhf, nemo-rl, skyrl or prime-rl. Names of the metrics. Without it: maxent.
    mode: full or slim. Keys to keep: full or slim. Without it: MAXENT_WANDB_METRICS_MODE, else MAXENT_METRICS_MODE, else full.
    steps_per_epoch: a finite number, in steps. Epoch, where none is reported: step / this. Without it: not known.
    num_generations: a finite number, in steps. Epoch, else: step / this. Without it: not known.
    num_epochs: a finite number, in epochs. Epoch, else: step * this / `total_training_steps`. Without it: not known. Only with
        `total_training_steps`.
    total_training_steps: a finite number, in steps. The divisor for `num_epochs`. Without it: not known. Only with `num_epochs`.
    kl_bias_correction: true or false. The ratio to the behaviour policy as a weight in trl's kl. Without it: true.
    kl_kind: k1, abs, k2 or k3. Estimator of verl's `actor/kl_loss`. Without it: k3.
    devices: a whole number, at least 1. How many devices train, for verl's `perf/throughput`. Without it: not known: the key is left out.
    high_kl: a finite number, in nats. From where on a token's KL to the reference (k3) counts as high. Without it: 0.1. Only with
        `extended`.
    pass_k: whole numbers, each at least 1. The k of pass@k. Without it: 1, 2, 4, ... up to the largest group. Only with `extended`.
    limits: names, each with a number. Beyond which number a flag of health rises. Without it: clipped=0.1, course_steps=100, entropy=0.05,
        entropy_first=20, entropy_share=0.2, entropy_steps=3, kl=0.2, length_at_cap=0.3, sampler_distance=0.02, sampler_probability=0.01,
        saturated_groups=0.9, shift=6, trend=6, zero_std=0.7. Only with `extended`. Also `limit`.
    folds: names, each with a fold, or (fold, window fold). How a metric of your own folds over ranks and windows: mean, min, max, sum,
        last, `mean_by_tokens`, `mean_by_completions`; or two folds, one over ranks and one over a window. Without it: each by mean. Also
        `fold`.
    logging_steps: a whole number, at least 1, in steps. Steps between rows. Without it: 1. Also `every`.
    logging_strategy: steps, epoch or no. What decides that a row goes out: steps, epoch, no. Without it: steps.
    logging_first_step: true or false. A row at step 0. Without it: true.
    emit_partial: true or false. A last row for the steps left over at the end. Without it: true.
    window: mean or pooled. How the steps between two rows become one. Without it: mean.
    metadata: names, each with a text. Texts of the run, which go out with its first row: `git_sha`, `recipe_path`, `method_name`,
        `method_family`, `method_backend`, `method_slug`. Without it: none; of the command, what the environment and git say.
    extended: true or false. The extended metrics too: distributions, uncertainty, splits by tag, health. Without it: false.
    clip_range: two numbers, (low, high). Below and above 1, where a token's ratio counts as clipped, if no snapshot of a controller says
        so. Without it: 0.2 either side.
    is_ratio_cap: a finite number above 0. Cap of the importance ratio to the sampler. Without it: no cap.
    is_ratio_floor: a finite number above 0. Below it that ratio counts as too low: of a loss that leaves such tokens out, where it begins
        to. Without it: 1 / `is_ratio_cap`. Only with `is_ratio_cap`.
    rollout_rs: bounds by name, each a finite number above 0. What a rejection by the sampler's ratio leaves out, by verl's names: of a k1
        the lower and upper ratio of the sampler's to the trained probability, of another the upper bound. Without it: nothing is left out.
    kl_penalty: a finite number, at least 0. Coefficient of the KL penalty that the training takes off its rewards, for verl's
        `critic/rewards`. Without it: no penalty.
    kl_penalty_kind: k1, abs, k2 or k3. Estimator of that penalty. Without it: k1. Only with `kl_penalty`.
    success: a reward component, or (component or none, threshold). Reward component that says whether a completion succeeds, for pass@k.
        Without it: the total reward. Only with `extended`. Also `success_component`.
    success_threshold: a finite number, in reward. From this value on a completion succeeds. Without it: 1. Only with `extended`.
    retain: exact or sketch. How rewards are kept for their quantiles: exact, or sketch (within 1 %, in memory that does not grow). Without
        it: exact.
    scope: global or local. Whose data to use: all ranks', or rank 0's alone. Without it: global.
    policy: fail or go_on. What becomes of a step in which a rank has failed or was not heard: fail, or go on without the rank. Without it:
        fail.
    """
    raise NotImplementedError
