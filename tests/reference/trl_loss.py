"""Writes tests/data/vectors/trl_loss.jsonl: what TRL's own loss logs of a micro-batch, by loss type, level and delta.

Needs `trl` and `torch` (written with TRL 1.16). The trainer's method is called as it is, over log-probabilities made here.
"""

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
from trl import GRPOTrainer
from trl.experimental.gmpo import GMPOTrainer

VECTORS = Path(__file__).resolve().parents[1] / "data" / "vectors"
KEYS = ("cispo_clip_ratio", "kl", "entropy", "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean")
KEYS += ("clip_ratio/low_min", "clip_ratio/high_max")
LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo", "gmpo")


def epsilon_high(loss):
    """Of CISPO the largest ratio itself."""
    return 1.1 if loss == "cispo" else 0.28


def trainer(made, loss, level, delta):
    args = SimpleNamespace(
        use_bias_correction_kl=True, delta=delta, sapo_temperature_pos=1.0, sapo_temperature_neg=1.05,
        vespo_k_pos=2.0, vespo_lambda_pos=3.0, vespo_k_neg=3.0, vespo_lambda_neg=2.0, steps_per_generation=1,
    )  # fmt: skip
    accelerator = SimpleNamespace(
        reduce=lambda x, reduction: x, gather=lambda x: x, gather_for_metrics=lambda x: x, num_processes=1, sync_gradients=True
    )
    given = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (made["token_logps"], made["token_entropies"], None),
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, importance_sampling_level=level,
        beta=0.04, args=args, loss_type=loss, epsilon_low=0.2, epsilon_high=epsilon_high(loss), use_vllm=False, accelerator=accelerator,
        model=SimpleNamespace(training=True), current_gradient_accumulation_steps=1, max_completion_length=8,
        _entropy_bonus_enabled=False, _metrics={"train": defaultdict(list)}, get_gamma_weights=GRPOTrainer.get_gamma_weights,
    )  # fmt: skip
    return given


def logged(made, loss, level, delta):
    given = trainer(made, loss, level, delta)
    inputs = {
        "prompt_ids": torch.zeros(6, 1, dtype=torch.long),
        "prompt_mask": torch.ones(6, 1, dtype=torch.long),
        "completion_ids": torch.zeros(6, 5, dtype=torch.long),
        "completion_mask": made["loss_mask"],
        "advantages": made["advantages"],
        "old_per_token_logps": made["old_token_logps"],
        "ref_per_token_logps": made["ref_token_logps"],
        "num_items_in_batch": made["loss_mask"].sum(),
    }
    owner = GMPOTrainer if loss == "gmpo" else GRPOTrainer
    owner._compute_loss(given, None, inputs)
    metrics = given._metrics["train"]
    return {key: metrics[key][0] for key in KEYS if key in metrics}


def cases():
    generator = torch.Generator().manual_seed(20263)
    normal = lambda *size: torch.randn(*size, generator=generator)
    for nth in range(3):
        base = -normal(6, 5).abs()
        drift = normal(6, 1) * 0.5
        made = {
            "token_logps": base + drift + normal(6, 5) * 0.2,
            "old_token_logps": base,
            "ref_token_logps": base + normal(6, 5) * 0.3,
            "token_entropies": normal(6, 5).abs(),
            "advantages": normal(6),
            "loss_mask": (torch.arange(5)[None] < torch.tensor([5, 4, 3, 5, 1, 2])[:, None]).long(),
        }
        for loss in LOSSES:
            for level in ("token",) if loss == "gmpo" else ("token", "sequence"):
                for delta in (None, 1.1, 1.5) if loss == "grpo" else (None,):
                    words = {"loss_type": loss, "importance_sampling_level": level, "clip_range_low": 0.2, "clip_range_high": epsilon_high(loss)}
                    batch = {"group_sizes": [6], "rewards": [0.0] * 6, "completion_lengths": [5] * 6}
                    batch |= {name: column.flatten().tolist() for name, column in made.items()}
                    yield {
                        "name": f"{loss} by {level}, delta {delta}, {nth}",
                        "record": {
                            "step": 1, "rank": 0, "world_size": 1, "batch": batch,
                            "weighting": words | ({} if delta is None else {"clip_delta": delta}),
                        },
                        "expected": logged(made, loss, level, delta),
                    }  # fmt: skip


if __name__ == "__main__":
    lines = [json.dumps(case, separators=(",", ":")) for case in cases()]
    (VECTORS / "trl_loss.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    print(len(lines), "cases")
