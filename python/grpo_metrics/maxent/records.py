"""The records that a trainer hands over and reads, with the names and fields of the trainer's own types.

Any object with the same attributes will do in their place. A number that is not defined is `None`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, Protocol


@dataclass
class LogStepArtifacts:
    """What the optimizer's step left behind."""

    loss_outputs: Any = None
    diagnostics: Any = None
    grad_norm_scalar: float | None = None
    epoch_progress: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Its fields by name; what they hold is not copied."""
        return {part.name: getattr(self, part.name) for part in fields(self)}


class MetricState(Protocol):
    """Where a training stands, and the sums that its running averages are made of."""

    global_step: int
    num_input_tokens_seen: float
    metric_sums: dict[str, float]
    metric_counts: dict[str, int]


class MetricWriter(Protocol):
    """What rows are written to."""

    def log(self, metrics: dict[str, Any], step: int) -> None:
        """Takes a step's row."""

    def flush(self) -> None:
        """Brings what was taken to where it is kept."""


@dataclass
class LoggingHandles:
    """Where a training's rows go, and when its checkpoints are saved."""

    metric_writer: MetricWriter
    save_checkpoint: Callable[[str], None]
    save_strategy: str
    save_steps: int
    wandb_run: Any
    checkpoint_state_ref: dict[str, Any] | None = None

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        """Hands a step's row to the writer."""
        self.metric_writer.log(metrics, step)

    def flush_metrics(self) -> None:
        """Flushes the writer, if it can be."""
        flush = getattr(self.metric_writer, "flush", None)
        if callable(flush):
            flush()

    @contextmanager
    def step_logger(self, step: int, *, enabled: bool = True) -> Iterator[StepLogger]:
        """A logger of this step's rows; the writer is flushed behind it. Not `enabled`, it takes rows and drops them."""
        try:
            yield StepLogger(self.metric_writer if enabled else None, step)
        finally:
            if enabled:
                self.flush_metrics()


@dataclass
class StepLogger:
    """A writer, if any, and the step that its rows are of."""

    writer: MetricWriter | None
    step: int

    def log(self, metrics: dict[str, Any]) -> None:
        """Writes the row."""
        if self.writer is not None:
            self.writer.log(metrics, self.step)


@dataclass
class LoggingConfigView:
    """The controller, the clipping and the schedule of a payload."""

    weighting: Any = None
    clipping: Any = None
    schedule: Any = None


@dataclass
class TokenUsageStats:
    """Tokens: of a completion on average, of the step's completions, and seen so far."""

    avg_completion_tokens: float | None = None
    num_completion_tokens: float | None = None
    num_input_tokens: float | None = None


class _OfTokens:
    """A field that stands in `tokens`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, holder: Any, owner: type | None = None) -> Any:
        return self if holder is None else getattr(holder.tokens, self.name)

    def __set__(self, holder: Any, value: float | None) -> None:
        setattr(holder.tokens, self.name, value)


@dataclass
class TrainingScalarStats:
    """Numbers of the step."""

    ref_logp_mean: float | None = None
    tokens: TokenUsageStats = field(default_factory=TokenUsageStats)
    current_lr: float | None = None
    grad_norm_scalar: float | None = None
    epoch_progress: float | None = None
    vllm_latency_ms: float | None = None
    policy_entropy: float | None = None
    entropy_bonus_coef: float | None = None
    entropy_bonus_reward_std: float | None = None

    avg_completion_tokens = _OfTokens()
    num_completion_tokens = _OfTokens()
    num_input_tokens = _OfTokens()


@dataclass
class RewardComponentStats:
    """Mean and population standard deviation of one reward component."""

    mean: float
    std: float


@dataclass
class RewardLoggingView:
    """Rewards of all ranks, summarised."""

    reward_mean: float | None = None
    reward_std: float | None = None
    frac_zero_std: float | None = None
    advantage_mean: float | None = None
    advantage_std: float | None = None
    advantage_count: int = 0
    per_reward: dict[str, RewardComponentStats] = field(default_factory=dict)
    q_entropy_mean: float | None = None
    q_entropy_std: float | None = None
    q_entropy_min: float | None = None
    q_entropy_max: float | None = None
    semantic_entropy_mean: float | None = 0.0
    semantic_entropy_std: float | None = 0.0
    semantic_entropy_min: float | None = 0.0
    semantic_entropy_max: float | None = 0.0
    advantage_scale_mean: float | None = 1.0
    advantage_scale_min: float | None = 1.0
    advantage_scale_max: float | None = 1.0
    seed_alpha_effective: float | None = 0.0
    seed_max_possible_entropy: float | None = 0.0
    reward_quantiles: dict[str, float] = field(default_factory=dict)
    per_reward_quantiles: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class WeightLoggingView:
    """Update weights of all ranks, summarised."""

    entropy: float | None = 0.0
    entropy_norm: float | None = 0.0
    entropy_min: float | None = 0.0
    entropy_max: float | None = 0.0
    advantage_entropy_mean: float | None = 0.0
    advantage_entropy_std: float | None = 0.0


@dataclass
class WeightStats:
    """The update weights of a rank's completions, by group, and what the trainer knows of their entropy."""

    weights_grouped: list[list[float]]
    flat_weights: list[float]
    weight_entropy: float
    weight_entropy_min: float
    weight_entropy_max: float
    advantage_entropy: list[float]


@dataclass
class LengthStats:
    """Completion lengths in tokens: of all, of those that ended by themselves, and the share of the others."""

    min_length: float
    mean_length: float
    max_length: float
    clipped_ratio: float
    min_terminated: float
    mean_terminated: float
    max_terminated: float


@dataclass
class BatchDiagnostics:
    """KL and clip fractions of the step, and KL a token by completion length."""

    kl_value: float | None
    clip_ratio: float
    clip_ratio_low_mean: float
    clip_ratio_low_min: float
    clip_ratio_high_mean: float
    clip_ratio_high_max: float
    clip_ratio_region_mean: float
    kl_per_token_by_len_bucket: dict[str, float]
    kl_token_count_by_len_bucket: dict[str, float]


@dataclass
class AdvantageStats:
    """Advantages, one a completion: by group, and flat."""

    grouped: list[list[float]]
    samples: list[float]


@dataclass
class QDistribution:
    """q, one a completion: by group, and flat."""

    grouped: list[list[float]]
    samples: list[float]


@dataclass
class RewardComputation:
    """A rank's rewards: one a completion in total and by component, and what was made of them."""

    total_utils: Sequence[float]
    per_reward_values: Mapping[str, Sequence[float]]
    advantage: Any
    pairs: Any
    q_distribution: Any
    moments: Any
    ref_logprob_meta: list[Any] | None = None
    completion_metadata: list[dict[str, Any]] | None = None
    entropy_bonus_scale: float | None = None
    seed_semantic_entropies: list[float] | None = None
    seed_advantage_scales: list[float] | None = None
    seed_alpha_effective: float | None = None
    seed_max_possible_entropy: float | None = None

    @property
    def advantage_samples(self) -> Any:
        """Advantages, one a completion."""
        return self.advantage.samples

    @property
    def q_grouped(self) -> Any:
        """q by group."""
        return self.q_distribution.grouped

    @property
    def train_reward_mean(self) -> Any:
        """The mean reward that the trainer has found."""
        return self.moments.mean

    @property
    def train_reward_std(self) -> Any:
        """The standard deviation that the trainer has found."""
        return self.moments.std


@dataclass
class TrainingMetricsPayload:
    """What `build_training_metrics_dict` names."""

    reward_stats: Any = None
    weight_stats: Any = None
    loss_outputs: Any = None
    diagnostics: Any = None
    length_stats: Any = None
    config: Any = None
    scalars: Any = None
    diversity_metrics: Mapping[str, float] | None = None
