"""Trainings by the real TRL, recorded, with what TRL logged: tests/data/audit/trl-{accumulation,generation,window} were made so.

    RANK=0 python tests/reference/audit_trl.py OUT accumulation     # or generation
    python -m torch.distributed.run --nproc-per-node 2 tests/reference/audit_trl.py OUT window

Needs torch, TRL (1.16 was used) and this package; the toy model, its words and rewards are those of python/tests/trl_worker.py.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "python" / "tests"))

import torch  # noqa: E402
from trl_worker import Dataset, GRPOConfig, GRPOTrainer, brevity, evens, model, tokenizer  # noqa: E402

from grpo_metrics.trl import instrument  # noqa: E402

KINDS = {
    # Four micro-batches a step, each logged row over one.
    "accumulation": {"max_steps": 8, "gradient_accumulation_steps": 4, "num_iterations": 1, "logging_steps": 1},
    # Two micro-batches a step, every second step generates what both train on.
    "generation": {"max_steps": 8, "gradient_accumulation_steps": 2, "steps_per_generation": 4, "logging_steps": 1},
    # Two micro-batches a step, two steps on each generated batch, a logged row over three steps.
    "window": {"max_steps": 12, "gradient_accumulation_steps": 2, "num_iterations": 2, "logging_steps": 3},
}


def main(out: str, kind: str) -> None:
    torch.set_num_threads(1)
    folder, rank = Path(out), int(os.environ["RANK"])
    folder.mkdir(parents=True, exist_ok=True)
    args = GRPOConfig(
        output_dir=str(folder / "trainer"),
        use_cpu=True,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=12,
        beta=0.04,
        learning_rate=3e-3,
        temperature=1.0,
        report_to=[],
        save_strategy="no",
        seed=7,
        bf16=False,
        gradient_checkpointing=False,
        **KINDS[kind],
    )
    prompts = Dataset.from_dict({"prompt": [f"w{i % 29} w{i * 7 % 29} w{i * 3 % 29}" for i in range(64)]})
    trainer = instrument(GRPOTrainer, recorder=folder)(
        model=model(folder / "model", rank), reward_funcs=[evens, brevity], args=args, train_dataset=prompts, processing_class=tokenizer()
    )
    trainer.train()
    if rank == 0:
        log = [{key: value for key, value in row.items() if not key.startswith("grpo_metrics/")} for row in trainer.state.log_history]
        (folder / "trl_log_history.json").write_text(json.dumps(log) + "\n")
        for left in ("model", "trainer"):
            shutil.rmtree(folder / left, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
