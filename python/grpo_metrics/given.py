"""What is handed in, as types: for dictionaries that are made up before a call, and for whoever takes what an `Engine` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Protocol, TypeAlias, TypedDict


class HasArray(Protocol):
    """An array of NumPy, torch or jax, or what else can be made one."""

    @property
    def __array__(self) -> Callable[..., Any]: ...


class HasDLPack(Protocol):
    """A tensor that can be handed over by DLPack."""

    @property
    def __dlpack__(self) -> Callable[..., Any]: ...


Column: TypeAlias = HasArray | HasDLPack | Sequence[Any]
"""A list, in which None is absent, or an array. Columns by token are flat, one completion's tokens after the other's, nested lists, or
padded `[n, t]` with `completion_lengths` or a `padding_mask`."""


class Columns(TypedDict, total=False):
    """The columns of a micro-batch, for `engine.observe(**columns)`; each is told of in `help(Engine.observe)`."""

    # fields of columns: made from the table in src/batch/columns.rs, by UPDATE_DOCS=1 cargo test --test docs
    group_sizes: Column | None
    group_ids: Column | None
    completion_index: Column | None
    rewards: Column | None
    reward_components: Mapping[str, Column] | None
    penalised_rewards: Column | None
    advantages: Column | None
    q: Column | None
    weights: Column | None
    completion_lengths: Column | None
    padding_mask: Column | None
    max_completion_length: int | None
    prompt_lengths: Column | None
    max_prompt_length: int | None
    terminated: Column | None
    token_logps: Column | None
    old_token_logps: Column | None
    ref_token_logps: Column | None
    sampling_token_logps: Column | None
    token_entropies: Column | None
    token_advantages: Column | None
    returns: Column | None
    values: Column | None
    loss_mask: Column | None
    token_ids: Column | None
    weight_versions: Column | None
    semantic_entropies: Column | None
    advantage_scales: Column | None
    seed_alpha_effective: float | None
    seed_max_possible_entropy: float | None
    prompts: Sequence[str] | None
    completions: Sequence[str] | None
    trajectory_ids: Sequence[str] | None
    tags: Sequence[str] | None
    turns: Column | None
    tool_calls: Column | None
    tool_failures: Column | None
    aborted: Column | None
    errors: Column | None
    stop_conditions: Sequence[str] | None
    answers: Sequence[str] | None
    # end of columns


class Scalars(TypedDict, total=False):
    """Numbers of the step that the trainer knows: `scalars=` of `step` and `observe`. None is not reported; NaN is counted and not used.

    Any other name is a metric of your own, which stands in the row under that name (over ranks, micro-batches and steps by mean, or as
    the option `folds` says). A name that is one slip away from one of these is in no row: it is counted (`census()["kept_out"]`) and
    warned of once, unless `folds` declares it.

    Scalars, each with its unit:
    total_loss: number, in nats. The loss that the trainer minimises. Also `loss`.
    policy_loss: number, in nats. The part of the loss that comes from the policy gradient. Also `pg_loss`.
    kl_loss: number, in nats. The KL to the reference policy; stands in for `train/kl` without token columns.
    weighted_kl_loss: number, in nats. The KL loss times its weight.
    clip_loss: number, in nats. The loss's clip term.
    learning_rate: number. The optimizer's learning rate. Also `lr`.
    epoch: number, in epochs. The epoch that the step is in, with its fraction.
    entropy_bonus_coef: number. The coefficient of the entropy bonus.
    grad_norm: number. The norm of the gradient.
    entropy_bonus_reward_std: number, in reward. Standard deviation of the entropy bonus.
    policy_entropy: number, in nats a token. Mean entropy of the policy; where reported, `train/policy_entropy` is this.
    vf_clipfrac: number, in share. Share of the value losses that are clipped, 0 to 1.
    vllm_latency_ms: number, in ms. How long generation took.
    actor_dequeue_time: number, in s. How long the actor waited for data.
    step_time_sec: number, in s. How long the step took. Also `step_time`.
    ref_logp_mean: number, in nats a token. Mean log-probability under the reference policy; where reported, `train/ref_logp_mean` is this.
    avg_completion_tokens: number, in tokens. Mean length of completions; where reported, `train/avg_completion_tokens` is this.
    num_completion_tokens: number, in tokens. Tokens of the record's completions; weighs the losses where every report has it.
    num_input_tokens: number, in tokens. Prompt and completion tokens seen so far. Also `num_tokens`, `num_input_tokens_seen`.
    tflops_per_step: number, in 1e12 operations. Floating-point operations of the step.
    model_params: number, in parameters. How many parameters the model has.
    weight_version: number, in versions. Version of the weights that the step trains, counted as `weight_versions` counts.
    samples_kept: number, in completions. Sampled completions that the step trains on.
    samples_dropped: number, in completions. Sampled completions that were dropped before the step: too old, filtered out or failed.
    """

    # fields of scalars: made from the table in src/batch/scalars.rs, by UPDATE_DOCS=1 cargo test --test docs
    total_loss: float | None
    policy_loss: float | None
    kl_loss: float | None
    weighted_kl_loss: float | None
    clip_loss: float | None
    learning_rate: float | None
    epoch: float | None
    entropy_bonus_coef: float | None
    grad_norm: float | None
    entropy_bonus_reward_std: float | None
    policy_entropy: float | None
    vf_clipfrac: float | None
    vllm_latency_ms: float | None
    actor_dequeue_time: float | None
    step_time_sec: float | None
    ref_logp_mean: float | None
    avg_completion_tokens: float | None
    num_completion_tokens: float | None
    num_input_tokens: float | None
    tflops_per_step: float | None
    model_params: float | None
    weight_version: float | None
    samples_kept: float | None
    samples_dropped: float | None
    # end of scalars


class Meta(TypedDict, total=False):
    """What a meta-controller says of itself: `meta` of `Weighting`.

    Fields of the meta-controller, each with its type and unit:
    learning_rate: number. Its learning rate. Also `lr`.
    update_interval: number, in steps. Steps between its updates.
    truncation_steps: number, in steps. How many steps it unrolls.
    last_tau_grad: number. The last gradient by tau.
    last_beta_grad: number. The last gradient by beta.
    last_loss: number, in nats. Its last loss.
    tau_projected: number. tau as projected.
    beta_projected: number. beta as projected.
    enabled: true or false. Whether it is on; the schedule of tau and the KL controller then count as off.
    use_hessian: true or false. Whether it uses the Hessian.
    """

    # fields of the meta-controller: made from the table in src/batch/scalars/snapshot.rs, by UPDATE_DOCS=1 cargo test --test docs
    learning_rate: float | None
    update_interval: float | None
    truncation_steps: float | None
    last_tau_grad: float | None
    last_beta_grad: float | None
    last_loss: float | None
    tau_projected: float | None
    beta_projected: float | None
    enabled: bool | None
    use_hessian: bool | None
    # end of the meta-controller


class Weighting(TypedDict, total=False):
    """What a controller says of itself and of the loss: `weighting=` of `step` and `observe`. None is not given. A name that is none of
    these is left out, counted (`census()["kept_out"]`) and warned of once.

    Fields, each with its type and unit:
    tau: number. The temperature of the update weights.
    beta: number. The coefficient of the KL to the reference policy. Also `kl_coef`, `kl_coeff`, `kl_coefficient`.
    weight_norm_denom: number. What update weights are divided by to normalise them.
    q_temperature: number. The temperature of the target distribution q.
    q_epsilon: number. The floor of q.
    tau_lr: number. The learning rate of tau as configured.
    tau_lr_effective: number. The learning rate of tau as it took effect; `train/tau_lr` is this, else `tau_lr`.
    tau_min: number. The smallest that tau may become.
    tau_max: number. The largest that tau may become.
    tau_warmup_steps: number, in steps. Steps before tau moves.
    tau_target_entropy: number, in nats. The weight entropy that tau is steered to. Without it there is no target; a target of 0 is one.
    tau_log: number. The logarithm of tau. Without it `train/tau_log` is ln max(tau, 1e-8).
    tau_entropy_ema: number, in nats. The controller's moving average of the weight entropy.
    kl_target: number, in nats. The KL that beta is steered to; the KL controller counts as on only above 0.
    kl_horizon: number, in steps. The horizon of the KL controller; likewise.
    kl_step_size: number. The step size of the KL controller; likewise.
    prev_tau: number. tau before this step. Without it the engine's own, of the last row that went out.
    prev_beta: number. beta before this step. Without it the engine's own, of the last row that went out.
    clip_range_low: number. How far below 1 a ratio may be before it counts as clipped. Without it 0.2. Also `epsilon_low`,
        `clip_ratio_low`.
    clip_range_high: number. How far above 1 a ratio may be before it counts as clipped. Without it 0.2. Also `epsilon_high`,
        `clip_ratio_high`.
    clip_delta: number. The cap on ratios of TRL's two-sided clipping (`delta`). Without it no cap. Also `delta`.
    clip_ratio_c: number. The ratio beyond which the loss of a negative advantage is capped (dual clipping). Without it `clip_delta`, else
        3. Also `ratio_clip_c`.
    len_norm_ref: true or false. Whether the reference's scores are normalised by length.
    train_grpo_objective: true or false. Whether training is on the plain GRPO objective, not the maximum-entropy one. Without it, it is
        not.
    loss_type: text, as bnpo, grpo, dr_grpo, dapo, luspo, cispo, sapo, vespo, gmpo. What `train/kl` is averaged over, and what clipping is.
        Without it `bnpo`, which every other text counts as too.
    importance_sampling_level: token, sequence. Whether a ratio of the policies is a token's or a whole completion's (GSPO). Without it a
        token's.
    scale_rewards: group, batch, none, other. The deviation that advantages are divided by; `other`: of something that the rewards do not
        tell. Without it the group's.
    meta: a dictionary, see Meta. The meta-controller's own snapshot. Without it there is no meta-controller.
    """

    # fields of the snapshot: made from the table in src/batch/scalars/snapshot.rs, by UPDATE_DOCS=1 cargo test --test docs
    tau: float | None
    beta: float | None
    weight_norm_denom: float | None
    q_temperature: float | None
    q_epsilon: float | None
    tau_lr: float | None
    tau_lr_effective: float | None
    tau_min: float | None
    tau_max: float | None
    tau_warmup_steps: float | None
    tau_target_entropy: float | None
    tau_log: float | None
    tau_entropy_ema: float | None
    kl_target: float | None
    kl_horizon: float | None
    kl_step_size: float | None
    prev_tau: float | None
    prev_beta: float | None
    clip_range_low: float | None
    clip_range_high: float | None
    clip_delta: float | None
    clip_ratio_c: float | None
    len_norm_ref: bool | None
    train_grpo_objective: bool | None
    loss_type: str | None
    importance_sampling_level: Literal["token", "sequence"] | None
    scale_rewards: Literal["group", "batch", "none", "other"] | None
    meta: Meta | None
    # end of the snapshot


class Options(TypedDict, total=False):
    """Options for `Engine(**options)`; each is told of in `help(Engine)`. None counts as not given."""

    # fields of options: made from the tables in src/engine/options.rs and python/src/outputs.rs, by UPDATE_DOCS=1 cargo test --test docs
    store: str | PathLike[str] | object | None
    run: str | None
    resume: Literal["never", "allow", "must"] | None
    experiment: str | None
    group: str | None
    seed: int | None
    config: Any
    sinks: Iterable[str | PathLike[str] | object] | None
    journal: str | PathLike[str] | Literal[False] | None
    gather: object
    replica: bool | None
    recorder: str | PathLike[str] | None
    dialect: str | None
    mode: str | None
    steps_per_epoch: float | None
    num_generations: float | None
    num_epochs: float | None
    total_training_steps: float | None
    kl_bias_correction: bool | None
    kl_kind: Literal["k1", "abs", "k2", "k3"] | None
    devices: int | None
    high_kl: float | None
    pass_k: list[int] | tuple[int, ...] | None
    limits: Mapping[str, float] | None
    folds: Mapping[str, str | tuple[str, str]] | None
    logging_steps: int | None
    logging_strategy: str | None
    logging_first_step: bool | None
    emit_partial: bool | None
    window: Literal["mean", "pooled"] | None
    metadata: Mapping[str, str] | None
    extended: bool | None
    clip_range: tuple[float, float] | None
    is_ratio_cap: float | None
    is_ratio_floor: float | None
    rollout_rs: Mapping[str, float | tuple[float, float]] | None
    kl_penalty: float | None
    kl_penalty_kind: Literal["k1", "abs", "k2", "k3"] | None
    success: str | tuple[str | None, float] | None
    success_threshold: float | None
    retain: Literal["exact", "sketch"] | None
    scope: Literal["global", "local"] | None
    policy: Literal["fail", "go_on"] | None
    # end of options
