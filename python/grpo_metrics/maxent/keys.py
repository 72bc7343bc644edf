"""Which attribute of the MaxEnt trainer's objects stands under which key, and what follows from others."""

from __future__ import annotations

from collections.abc import Callable

QUANTILES = ("p00", "p05", "p25", "p50", "p75", "p95", "p100")

RENAMED_SCALARS = {
    "ref_logp_mean": "ref_logp_mean",
    "avg_completion_tokens": "avg_completion_tokens",
    "num_completion_tokens": "num_completion_tokens",
    "num_input_tokens": "num_input_tokens",
    "current_lr": "learning_rate",
    "grad_norm_scalar": "grad_norm",
    "epoch_progress": "epoch",
    "vllm_latency_ms": "vllm_latency_ms",
    "policy_entropy": "policy_entropy",
    "entropy_bonus_coef": "entropy_bonus_coef",
    "entropy_bonus_reward_std": "entropy_bonus_reward_std",
}

_SAME = (
    "tau beta len_norm_ref q_temperature q_epsilon tau_lr tau_min tau_max tau_warmup_steps tau_target_entropy kl_target kl_horizon "
    "train_grpo_objective"
)

WEIGHTING = {name: name for name in _SAME.split()} | {
    "weight_norm_denom": "denom",
    "kl_step_size": "kl_ctl_step_size",
    "tau_log": "_tau_log",
    "tau_entropy_ema": "_tau_entropy_ema",
    "tau_lr_effective": "_tau_lr_effective",
    "prev_tau": "_prev_tau",
    "prev_beta": "_prev_beta",
}

FLAGS = ("len_norm_ref", "train_grpo_objective")

# Where a field of the snapshot of the controller above is looked for: one that begins with `_` is the controller's own.
META = {
    "enabled": ("enabled",),
    "learning_rate": ("learning_rate",),
    "update_interval": ("update_interval",),
    "truncation_steps": ("truncation_steps", "analytic_steps"),
    "use_hessian": ("use_hessian",),
    "last_tau_grad": ("_meta_last_tau_grad",),
    "last_beta_grad": ("_meta_last_beta_grad",),
    "last_loss": ("_meta_last_loss",),
    "tau_projected": ("_meta_tau_projected",),
    "beta_projected": ("_meta_beta_projected",),
}
META_FLAGS = ("enabled", "use_hessian", "tau_projected", "beta_projected")


def _depending(names: str) -> tuple[str, ...]:
    return tuple(f"train/{part}{name}" for name in names.split() for part in ("", "weighting/"))


# The keys that a field of the snapshot decides: without a number in it they have none.
DEPENDING = {name: _depending(name) for name in WEIGHTING} | {
    "tau": _depending("tau tau_log delta_tau delta_tau_abs"),
    "beta": (*_depending("beta delta_beta delta_beta_abs"), "train/kl_coeff"),
    "prev_tau": _depending("delta_tau delta_tau_abs"),
    "prev_beta": _depending("delta_beta delta_beta_abs"),
    "tau_lr_effective": _depending("tau_lr"),
    "tau_warmup_steps": _depending("tau_warmup_steps tau_schedule_active"),
    "tau_target_entropy": _depending("tau_target_entropy tau_target_enabled tau_schedule_active tau_loss"),
    "tau_entropy_ema": ("train/weight_entropy_ema",),
}
for _name, _part in (("kl_target", "target"), ("kl_horizon", "horizon"), ("kl_step_size", "step_size")):
    _parts = (_part, "enabled")
    DEPENDING[_name] = tuple(f"train/kl_controller{joined}{part}" for part in _parts for joined in ("_", "/"))
DEPENDING |= {f"meta/{name}": (f"train/meta/{name}",) for name in META} | {
    "meta/learning_rate": ("train/meta/lr",),
    "meta/last_tau_grad": ("train/meta/tau_grad", "train/meta/grad_norm"),
    "meta/last_beta_grad": ("train/meta/beta_grad", "train/meta/grad_norm"),
    "meta/last_loss": ("train/meta/loss",),
}

_STATS = ("mean", "std", "min", "max")

VIEWS = {
    "reward_stats": {
        "reward_mean": "train/reward",
        "reward_std": "train/reward_std",
        "frac_zero_std": "train/frac_reward_zero_std",
        **{f"q_entropy_{stat}": f"train/q_entropy_{stat}" for stat in _STATS},
        **{f"semantic_entropy_{stat}": f"train/seed_grpo/semantic_entropy_{stat}" for stat in _STATS},
        **{f"advantage_scale_{stat}": f"train/seed_grpo/advantage_scale_{stat}" for stat in ("mean", "min", "max")},
        "seed_alpha_effective": "train/seed_grpo/alpha_effective",
        "seed_max_possible_entropy": "train/seed_grpo/max_possible_entropy",
    },
    "weight_stats": {
        "entropy": "train/weight_entropy",
        "entropy_norm": "train/weight_entropy_norm",
        "entropy_min": "train/weight_entropy_min",
        "entropy_max": "train/weight_entropy_max",
        "advantage_entropy_mean": "train/advantage_entropy_mean",
        "advantage_entropy_std": "train/advantage_entropy_std",
    },
    "diagnostics": {
        "kl_value": "train/kl",
        "clip_ratio": "train/clip_ratio",
        "clip_ratio_low_mean": "train/clip_ratio/low_mean",
        "clip_ratio_low_min": "train/clip_ratio/low_min",
        "clip_ratio_high_mean": "train/clip_ratio/high_mean",
        "clip_ratio_high_max": "train/clip_ratio/high_max",
        "clip_ratio_region_mean": "train/clip_ratio/region_mean",
    },
    "length_stats": {
        **{f"{stat}_length": f"train/completions/{stat}_length_sampled" for stat in ("min", "mean", "max")},
        **{f"{stat}_terminated": f"train/completions/{stat}_length_terminated" for stat in ("min", "mean", "max")},
        "clipped_ratio": "train/completions/clipped_frac",
    },
}


def _kl_to_target(row: dict[str, float]) -> dict[str, float]:
    kl, target = row.get("train/kl"), row.get("train/kl_controller_target", 0.0)
    if kl is None or target <= 0:
        return {}
    return {"train/kl_error_to_target": kl - target, "train/kl_ratio_to_target": kl / max(target, 1e-8)}


def _entropy_to_target(row: dict[str, float]) -> dict[str, float]:
    entropy = row.get("train/weight_entropy")
    if entropy is None or not row.get("train/tau_target_enabled"):
        return {}
    error = entropy - row["train/tau_target_entropy"]
    derived = {"train/weight_entropy_error": error, "train/weight_entropy_abs_error": abs(error)}
    return derived | {"train/tau_loss": error * error / 2, "train/weighting/tau_loss": error * error / 2}


def _entropy_bonus(row: dict[str, float]) -> dict[str, float]:
    bonus, reward = row.get("train/rewards/entropy_bonus/mean"), row.get("train/reward")
    if bonus is None or reward is None:
        return {}
    return {
        "train/reward_with_entropy_bonus": reward,
        "train/reward_without_entropy_bonus": reward - bonus,
        "train/entropy_bonus_mean": bonus,
        "train/entropy_bonus_frac_of_base": bonus / max(abs(reward - bonus), 1e-8),
        "train/entropy_bonus_frac_of_total": bonus / max(abs(reward), 1e-8),
    }


DERIVED: tuple[Callable[[dict[str, float]], dict[str, float]], ...] = (_kl_to_target, _entropy_to_target, _entropy_bonus)
