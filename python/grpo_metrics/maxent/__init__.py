"""The logging functions of the MaxEnt trainer, by their names and signatures, over objects with the same attributes.

What is different on purpose:

- Statistics of several ranks are over all their completions, exactly, whatever the layout; gathering works with the real
  accelerate library, whose `Accelerator` has no `gather_object`, and happens on every rank, so that none waits for ever. A rank
  whose objects cannot be read says so in the log, and the numbers are over the others.
- One row a step goes out, on the main process: `log_local_step` adds a step to the running averages, and `log_training_step`
  logs them; with `log_like_grpo` it is `log_local_step` that logs.
- Nothing is raised in a step: what fails is a warning of the logger `grpo_metrics`.
- A NaN or an infinity is left out of every statistic and average instead of spreading through it, and no 0 is put in its place.
- Empty groups count for nothing, instead of as groups of entropy 0; what is undefined is `None`, and its key is left out.
- `train/epoch` of an averaged row is the reported epoch where there is one, and `logging_strategy` `epoch` has a row at the end
  of each epoch.
"""

from __future__ import annotations

from .payload import build_training_metrics_dict
from .records import (
    AdvantageStats,
    BatchDiagnostics,
    LengthStats,
    LoggingConfigView,
    LoggingHandles,
    LogStepArtifacts,
    MetricState,
    QDistribution,
    RewardComponentStats,
    RewardComputation,
    RewardLoggingView,
    TokenUsageStats,
    TrainingMetricsPayload,
    TrainingScalarStats,
    WeightLoggingView,
    WeightStats,
)
from .run import log_run_header, resolve_run_metadata
from .statistics import summarize_reward_stats, summarize_weight_stats
from .steps import accumulate_metrics, flush_metric_averages, log_local_step, log_training_metrics, log_training_step
from .trainer import ensure_weighting_logging

__all__ = [
    "AdvantageStats",
    "BatchDiagnostics",
    "LengthStats",
    "LogStepArtifacts",
    "LoggingConfigView",
    "LoggingHandles",
    "MetricState",
    "QDistribution",
    "RewardComponentStats",
    "RewardComputation",
    "RewardLoggingView",
    "TokenUsageStats",
    "TrainingMetricsPayload",
    "TrainingScalarStats",
    "WeightLoggingView",
    "WeightStats",
    "accumulate_metrics",
    "build_training_metrics_dict",
    "ensure_weighting_logging",
    "flush_metric_averages",
    "log_local_step",
    "log_run_header",
    "log_training_metrics",
    "log_training_step",
    "resolve_run_metadata",
    "summarize_reward_stats",
    "summarize_weight_stats",
]
