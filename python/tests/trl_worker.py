"""One rank of a small GRPO training, for test_trl.py: `trl_worker.py OUT plain|instrumented|sparse`, sparse for few logs."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="", TOKENIZERS_PARALLELISM="false")

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

from grpo_metrics.trl import instrument  # noqa: E402

WORDS = ["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(29))]


def tokenizer():
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def model(folder, rank):
    """The same on every rank and in every training: rank 0 writes it down, for TRL asks for files by the model's name."""
    while rank and not folder.exists():
        time.sleep(0.1)
    if folder.exists():
        return LlamaForCausalLM.from_pretrained(folder)
    set_seed(1)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, pad_token_id=0, eos_token_id=1
    )
    config.initializer_range = 0.3
    LlamaForCausalLM(config).save_pretrained(f"{folder}.new")
    Path(f"{folder}.new").rename(folder)
    return LlamaForCausalLM.from_pretrained(folder)


def evens(completions, **_):
    return [sum(word[1:].isdigit() and int(word[1:]) % 2 == 0 for word in text.split()) / 10 for text in completions]


def brevity(completions, **_):
    return [None if i % 5 == 4 else 1 / (1 + len(text.split())) for i, text in enumerate(completions)]


def main(out: str, kind: str) -> None:
    torch.set_num_threads(1)
    folder = Path(out)
    rank = int(os.environ["RANK"])
    options = {"store": folder / "runs.db", "run": "r", "recorder": folder / "records"}
    trainer_class = GRPOTrainer if kind == "plain" else instrument(GRPOTrainer, **options)
    args = GRPOConfig(
        output_dir=out,
        use_cpu=True,
        max_steps=8,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=1,  # over several micro-batches TRL logs means of means
        num_generations=4,
        num_iterations=2,
        max_completion_length=12,
        beta=0.04,
        learning_rate=3e-3,
        temperature=1.0,
        logging_steps=3 if kind == "sparse" else 1,
        logging_first_step=True,
        report_to=[],
        save_strategy="no",
        seed=7,
        bf16=False,
        gradient_checkpointing=False,
    )
    prompts = Dataset.from_dict({"prompt": [f"w{i % 29} w{i * 7 % 29} w{i * 3 % 29}" for i in range(64)]})
    trainer = trainer_class(
        model=model(folder / "model", rank), reward_funcs=[evens, brevity], args=args, train_dataset=prompts, processing_class=tokenizer()
    )
    trainer.train()
    weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    said = {"log": trainer.state.log_history, "weights": weights.numpy().tobytes().hex()[:4096]}
    said["sum"] = weights.double().sum().item().hex()
    (folder / f"rank{rank}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
