"""Small trainings of one process, for test_trl.py: `trl_cases.py OUT CASE...` runs each and writes down what it logged.

A case's store is `OUT/CASE.db`, its run `r`; `OUT/CASE.json` has the log, the last step, the error that ended it and the warnings.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import warnings
from pathlib import Path
from types import MethodType
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import LlamaForSequenceClassification, TrainerCallback, set_seed
from trl_worker import WORDS, brevity, evens, model, tokenizer

from grpo_metrics.trl import GrpoMetricsCallback, instrument

PROMPTS = Dataset.from_dict({"prompt": [f"w{i % 29} w{i * 7 % 29}" for i in range(24)]})
PAIRS = Dataset.from_dict(
    {"prompt": ["w1 w2"] * 12, "chosen": [" w2 w4 w6"] * 12, "rejected": [" w1 w3"] * 12}
)
JUDGED = Dataset.from_dict({"prompt": ["w1 w2"] * 12, "completion": [f" w{i} w3" for i in range(12)], "label": [True, False] * 6})
TEXTS = Dataset.from_dict({"text": [f"w{i % 29} w2 w3 w4" for i in range(12)]})

COMMON: dict[str, Any] = {
    "use_cpu": True,
    "per_device_train_batch_size": 4,
    "learning_rate": 3e-3,
    "logging_steps": 1,
    "report_to": [],
    "save_strategy": "no",
    "seed": 7,
    "bf16": False,
    "gradient_checkpointing": False,
    "max_steps": 3,
}
SEEN: dict[str, Any] = {"eval_dataset": PROMPTS.select(range(4)), "per_device_eval_batch_size": 4}
ONLINE: dict[str, Any] = {"num_generations": 4, "max_completion_length": 6, "temperature": 1.0}


def noting(completions, log_metric, **_):
    """A reward function with a metric of its own, and one that has a name of the engine's."""
    log_metric("words", sum(len(text.split()) for text in completions) / len(completions))
    return evens(completions)


class Out:
    """A case's place on the disk."""

    def __init__(self, folder: Path, case: str) -> None:
        self.folder, self.case = folder, case
        self.store = folder / f"{case}.db"

    def arguments(self, config: type, **given: Any) -> Any:
        return config(output_dir=str(self.folder / self.case), **{**COMMON, **given})

    def grpo(
        self, rewards: Any = (evens, brevity), trainer: Any = None, options: Any = None, config: type = trl.GRPOConfig, **given: Any
    ) -> Any:
        given = {**ONLINE, **given}
        built = {name: given.pop(name) for name in ("eval_dataset", "callbacks", "train_dataset") if name in given}
        made = instrument(trainer or trl.GRPOTrainer, **{"store": self.store, "run": "r", **(options or {})})
        return made(
            model=model(self.folder / "model", 0),
            reward_funcs=list(rewards),
            args=self.arguments(config, **given),
            processing_class=tokenizer(),
            **{"train_dataset": PROMPTS, **built},
        )

    def other(self, trainer: type, config: type, data: Any, **given: Any) -> Any:
        """Another trainer; of what is `given`, what its configuration has not is for itself."""
        fields = {name: given.pop(name) for name in list(given) if name in config.__dataclass_fields__}  # type: ignore[attr-defined]
        built = {"model": model(self.folder / "model", 0), **given}
        made = instrument(trainer, store=self.store, run="r")
        return made(args=self.arguments(config, **fields), train_dataset=data, processing_class=tokenizer(), **built)

    def named(self, room: str, name: str, data: Any, **given: Any) -> Any:
        """A trainer that has been in `trl.experimental`, or still is."""
        found = trl if hasattr(trl, f"{name}Trainer") else importlib.import_module(f"trl.experimental.{room}")
        return self.other(getattr(found, f"{name}Trainer"), getattr(found, f"{name}Config"), data, **given)


def judge(out: Out) -> Any:
    from transformers import LlamaConfig

    set_seed(2)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0, num_labels=1
    )
    return out.other(trl.RewardTrainer, trl.RewardConfig, PAIRS, model=LlamaForSequenceClassification(config))


def failing(kind: type[BaseException]) -> Any:
    def reward(completions, trainer_state, **_):
        if trainer_state.global_step == 2:
            raise kind("no reward today")
        return evens(completions)

    return reward


def resumed(out: Out) -> Any:
    out.grpo(max_steps=5, logging_steps=3, save_strategy="steps", save_steps=5).train()
    trainer = out.grpo(max_steps=9, logging_steps=3, save_strategy="steps", save_steps=5)
    return trainer, {"resume_from_checkpoint": True}


def cut(out: Out) -> Any:
    """A training that logged step 6 over three steps, and goes on from step 5."""
    saving = {"logging_steps": 3, "save_strategy": "steps", "save_steps": 5}
    first = out.grpo(max_steps=7, **saving)
    first.train()
    (out.folder / "before-cut.json").write_text(json.dumps(first.state.log_history))
    return out.grpo(max_steps=9, **saving), {"resume_from_checkpoint": str(out.folder / out.case / "checkpoint-5")}


def twice(out: Out) -> Any:
    """A training that dies between the steps of one generated batch, and goes on with the same trainer."""
    trainer = out.grpo(options={"resume": "allow"}, num_iterations=3, max_steps=4)
    step = trainer.training_step

    def dying(*args: Any, **kwargs: Any) -> Any:
        if trainer.state.global_step == 1:
            trainer.training_step = step
            raise RuntimeError("once")
        return step(*args, **kwargs)

    trainer.training_step = dying
    try:
        trainer.train()
    except RuntimeError:
        pass
    return trainer


def some(completions, **_):
    """A reward function that cannot score every completion; one group of four it cannot score at all."""
    return [None if i % 4 == 3 or i < 4 else 1.0 for i, _ in enumerate(completions)]


def by_loss(out: Out, rewards: Any = (evens, brevity), trainer: Any = None, **given: Any) -> Any:
    """Two steps a generation, so that ratios leave 1."""
    far = {"num_iterations": 2, "beta": 0.1, "epsilon": 0.001, "max_steps": 4, "learning_rate": 3e-2, "per_device_train_batch_size": 8}
    return out.grpo(rewards, trainer, **{**far, **given})


def geometric(out: Out) -> Any:
    return by_loss(out, trainer=importlib.import_module("trl.experimental.gmpo").GMPOTrainer)


def is_hidden(name: str, names: tuple[str, ...]) -> bool:
    """Whether the package asks, for whom these names are not there; the trainer itself goes on with them."""
    return name in names and str(sys._getframe(2).f_globals["__name__"]).startswith("grpo_metrics.")


def hiding(kind: type, *names: str) -> type:
    class Hiding(kind):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            if is_hidden(name, names):
                raise AttributeError(name)
            return super().__getattribute__(name)

    return Hiding


def moved(*names: str) -> Any:
    """A trainer of another TRL, which has none of these attributes where they are looked for."""
    return lambda out: by_loss(out, trainer=hiding(trl.GRPOTrainer, *names), config=hiding(trl.GRPOConfig, *names))


def renamed(key: str) -> Any:
    """A trainer of another TRL, whose batches have something under another key."""

    class Batch(dict):  # type: ignore[type-arg]
        def get(self, name: str, default: Any = None) -> Any:
            return default if is_hidden(name, (key,)) else super().get(name, default)

        def __contains__(self, name: object) -> bool:
            return not is_hidden(str(name), (key,)) and super().__contains__(name)

    class Renaming(trl.GRPOTrainer):  # type: ignore[misc]
        def _prepare_inputs(self, *args: Any, **kwargs: Any) -> Any:
            return Batch(super()._prepare_inputs(*args, **kwargs))

    return lambda out: by_loss(out, trainer=Renaming)


def uncalled(method: str, within: str) -> Any:
    """A trainer of another TRL, in which a method does its work without one that is looked at."""

    class Direct(trl.GRPOTrainer):  # type: ignore[misc]
        pass

    def direct(self: Any, *args: Any, **kwargs: Any) -> Any:
        setattr(self, method, MethodType(getattr(trl.GRPOTrainer, method), self))
        try:
            return getattr(trl.GRPOTrainer, within)(self, *args, **kwargs)
        finally:
            delattr(self, method)

    setattr(Direct, within, direct)
    return lambda out: by_loss(out, trainer=Direct)


def unlike(out: Out) -> Any:
    """A trainer of another TRL, whose rewards are a column a completion."""

    class Rewards(torch.Tensor):
        @property
        def shape(self) -> Any:  # type: ignore[override]
            found = super().shape
            return found[::-1] if is_hidden("shape", ("shape",)) else found

    class Turned(trl.GRPOTrainer):  # type: ignore[misc]
        def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list).as_subclass(Rewards)

    return by_loss(out, trainer=Turned)


def beside(out: Out) -> Any:
    callback = GrpoMetricsCallback(out.store, run="r")
    return out.grpo(callbacks=[callback])


def audited(out: Out, options: Any = None, **given: Any) -> Any:
    """Four micro-batches a step, of which TRL averages the averages of tokens."""
    return out.grpo(options={"audit": True, **(options or {})}, beta=0.04, gradient_accumulation_steps=4, max_steps=4, **given)


class Doubling(trl.GRPOTrainer):  # type: ignore[misc]
    """A trainer that logs twice its reward."""

    def _generate_and_score_completions(self, *args: Any, **kwargs: Any) -> Any:
        output = super()._generate_and_score_completions(*args, **kwargs)
        self._metrics["train"]["reward"][-1] *= 2
        return output


def failing_audit(out: Out) -> Any:
    """An audit that fails wherever it is asked."""

    def fails(self: Any, *given: Any) -> None:
        raise ValueError("no audit today")

    trainer = audited(out)
    trainer.add_callback(Begins(lambda: vars(trainer._grpo_metrics.audit).update(observed=fails.__get__(0), compare=fails.__get__(0))))
    return trainer


class Begins(TrainerCallback):  # type: ignore[misc]
    """Does something when a step begins."""

    def __init__(self, does: Any) -> None:
        self.does = does

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.does()


CASES: dict[str, Any] = {
    "grpo": lambda out: out.grpo(),
    "gmpo": lambda out: out.named("gmpo", "GMPO", PROMPTS, reward_funcs=[evens], **ONLINE),
    "rloo": lambda out: out.other(trl.RLOOTrainer, trl.RLOOConfig, PROMPTS, reward_funcs=[evens], **ONLINE),
    "a2po": lambda out: out.named("a2po", "A2PO", PROMPTS, reward_funcs=[evens], max_completion_length=6),
    "sdpo": lambda out: out.named("sdpo", "SDPO", PROMPTS, reward_funcs=[evens], **ONLINE),
    "online_dpo": lambda out: out.named("online_dpo", "OnlineDPO", PROMPTS, reward_funcs=[evens]),
    "distillation": lambda out: out.named("distillation", "Distillation", PROMPTS, teacher_model=model(out.folder / "model", 0)),
    "cpo": lambda out: out.named("cpo", "CPO", PAIRS),
    "orpo": lambda out: out.named("orpo", "ORPO", PAIRS),
    "tpo": lambda out: out.named("tpo", "TPO", PAIRS.add_column("reference", [" w2"] * 12)),
    "dpo": lambda out: out.other(trl.DPOTrainer, trl.DPOConfig, PAIRS),
    "sft": lambda out: out.other(trl.SFTTrainer, trl.SFTConfig, TEXTS),
    "kto": lambda out: out.other(trl.KTOTrainer, trl.KTOConfig, JUDGED),
    "reward": judge,
    "failed": lambda out: out.grpo([failing(ValueError)], logging_steps=2, max_steps=4),
    "cancelled": lambda out: out.grpo([failing(KeyboardInterrupt)], max_steps=4),
    "beside": beside,
    "evaluated": lambda out: out.grpo([noting], loss_type="cispo", eval_strategy="steps", eval_steps=2, max_steps=4, **SEEN),
    "evaluated-later": lambda out: out.grpo(**SEEN),
    "first": lambda out: out.grpo(logging_first_step=True, logging_steps=3, max_steps=8),
    "fraction": lambda out: out.grpo(logging_steps=0.25, max_steps=8),
    "epoch": lambda out: out.grpo(logging_strategy="epoch", max_steps=-1, num_train_epochs=2, train_dataset=PROMPTS.select(range(3))),
    "no": lambda out: out.grpo(logging_strategy="no"),
    "own": lambda out: out.grpo(logging_steps=3, max_steps=4, options={"logging_steps": 2}),
    "loss-token": by_loss,
    "loss-sequence": lambda out: by_loss(out, importance_sampling_level="sequence"),
    "loss-delta": lambda out: by_loss(out, loss_type="grpo", delta=1.0005),
    "loss-cispo": lambda out: by_loss(out, loss_type="cispo", epsilon_high=1.0005),
    "loss-sapo": lambda out: by_loss(out, loss_type="sapo"),
    "loss-gmpo": geometric,
    "loss-unscored": lambda out: by_loss(out, [some]),
    "loss-batch": lambda out: by_loss(out, [some], scale_rewards="batch"),
    "lacks-ends": moved("eos_token_ids", "eos_token_id", "pad_token_id", "_tokenizer"),
    "lacks-weights": moved("reward_weights"),
    "lacks-names": moved("reward_func_names"),
    "lacks-beta": moved("beta"),
    "lacks-clip": moved("epsilon_low", "epsilon_high", "epsilon"),
    "lacks-level": moved("importance_sampling_level"),
    "lacks-scale": moved("scale_rewards"),
    "lacks-longest": moved("max_completion_length"),
    "lacks-loss": moved("loss_type"),
    "lacks-advantages": renamed("advantages"),
    "lacks-mask": renamed("completion_mask"),
    "lacks-ids": renamed("completion_ids"),
    "lacks-reference": renamed("ref_per_token_logps"),
    "lacks-old": renamed("old_per_token_logps"),
    "lacks-rows": renamed("grpo_metrics_row"),
    "lacks-logps": uncalled("_get_per_token_logps_and_entropies", within="_compute_loss"),
    "lacks-rewards": uncalled("_calculate_rewards", within="_generate_and_score_completions"),
    "lacks-shape": unlike,
    "same-name": lambda out: out.grpo([evens, brevity, evens]),
    "audit": audited,
    "audit-plain": lambda out: audited(out, {"audit": False}),
    "audit-right": lambda out: out.grpo(options={"audit": True}, beta=0.04),
    "audit-double": lambda out: out.grpo(trainer=Doubling, options={"audit": True}),
    "audit-maxent": lambda out: audited(out, {"dialect": "maxent"}),
    "audit-failing": failing_audit,
    "samples": lambda out: out.grpo(options={"samples": {"every": 2, "at_most": 3}}),
    "resumed": resumed,
    "cut": cut,
    "twice": twice,
}  # fmt: skip


def run(folder: Path, case: str) -> None:
    heard: list[str] = []
    listening = logging.Handler()
    listening.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("grpo_metrics").addHandler(listening)
    out, error, log, step = Out(folder, case), None, [], None
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        try:
            made = CASES[case](out)
            trainer, given = made if isinstance(made, tuple) else (made, {})
            try:
                trainer.train(**given)
                if case == "evaluated-later":
                    trainer.evaluate()
            finally:
                log, step = trainer.state.log_history, trainer.state.global_step
        except BaseException as caught:
            error = f"{type(caught).__name__}: {caught}"
    logging.getLogger("grpo_metrics").removeHandler(listening)
    warned = [str(warning.message) for warning in raised if "stored" in str(warning.message)]
    said = {"log": log, "step": step, "error": error, "warned": warned + heard}
    (folder / f"{case}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in sys.argv[2:]:
        run(Path(sys.argv[1]), case)
