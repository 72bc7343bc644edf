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
    semantic_entropies: Column | None
    advantage_scales: Column | None
    seed_alpha_effective: float | None
    seed_max_possible_entropy: float | None
    prompts: Sequence[str] | None
    completions: Sequence[str] | None
    trajectory_ids: Sequence[str] | None
    tags: Sequence[str] | None
    # end of columns


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
    journal: str | PathLike[str] | None
    gather: object
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
    kl_penalty: float | None
    kl_penalty_kind: Literal["k1", "abs", "k2", "k3"] | None
    success: str | tuple[str | None, float] | None
    success_threshold: float | None
    retain: Literal["exact", "sketch"] | None
    scope: Literal["global", "local"] | None
    policy: Literal["fail", "go_on"] | None
    # end of options
