"""Trainers that TRL's is beneath (axolotl, open-r1, Unsloth, ms-swift): their shapes over the real TRL, and their own source where it is there."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from rollouts import stored

pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from trl_cases import Out  # noqa: E402


class Mixin:
    """What axolotl puts before TRL's class: optimizers, schedulers, a name of its own."""

    def create_optimizer(self, *args, **kwargs):
        return super().create_optimizer(*args, **kwargs)


class AxolotlShaped(Mixin, trl.GRPOTrainer):
    _tag_names = ["trl", "grpo", "axolotl"]


class UnslothShaped(trl.GRPOTrainer):
    """Its loss scores the policy by itself, not by TRL's method."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        score = self._get_per_token_logps_and_entropies
        self._get_per_token_logps_and_entropies = lambda *args, **kwargs: trl.GRPOTrainer._get_per_token_logps_and_entropies(self, *args, **kwargs)
        try:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        finally:
            self._get_per_token_logps_and_entropies = score


class SwiftShaped(trl.GRPOTrainer):
    """It generates, scores and batches by itself: what its loss is given is no batch of TRL's."""

    def _prepare_inputs(self, inputs):
        made = trl.GRPOTrainer._generate_and_score_completions(self, inputs)
        return {"model_inputs": {}, "grpo_batch": made}

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return super().compute_loss(model, inputs["grpo_batch"], return_outputs, num_items_in_batch)


def train(tmp_path, trainer, caplog):
    Out(tmp_path, "case").grpo(trainer=trainer).train()
    said = [record.getMessage() for record in caplog.records if "grpo_metrics" in record.getMessage()]
    return stored(tmp_path / "case.db"), said


def test_axolotl_s_shape_is_observed_as_trl_s_own(tmp_path, caplog):
    rows, said = train(tmp_path, AxolotlShaped, caplog)
    assert all({"reward", "entropy", "clip_ratio/region_mean"} <= rows[step].keys() for step in (1, 2, 3)) and not said


def test_of_unsloth_s_shape_all_is_observed_but_the_policy_s_probabilities(tmp_path, caplog):
    rows, said = train(tmp_path, UnslothShaped, caplog)
    assert all({"reward", "reward_std", "completions/mean_length", "frac_reward_zero_std"} <= rows[step].keys() for step in (1, 2, 3))
    assert len(said) == 1 and "log-probabilities, entropies" in said[0]


def test_of_ms_swift_s_shape_one_warning_is_given_and_what_it_logs_is_stored(tmp_path, caplog):
    rows, said = train(tmp_path, SwiftShaped, caplog)
    assert len(said) == 1 and "only what the trainer logs itself is stored" in said[0]
    assert all("train/loss" in rows[step] or "loss" in rows[step] for step in (1, 2, 3))


def source(name, *places):
    """A file of a trainer's source, where GRPO_METRICS_{NAME}_SOURCE names it."""
    for root in os.environ.get(f"GRPO_METRICS_{name}_SOURCE", "").split(os.pathsep):
        for place in places:
            if root and (Path(root) / place).exists():
                return ast.parse((Path(root) / place).read_text())
    pytest.skip(f"GRPO_METRICS_{name}_SOURCE names no source")


def classes(tree):
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def test_axolotl_s_class_has_trl_s_beneath_and_changes_no_method_that_is_read():
    tree = source("AXOLOTL", "axolotl/core/trainers/grpo/trainer.py", "src/axolotl/core/trainers/grpo/trainer.py")
    own = classes(tree)["AxolotlGRPOTrainer"]
    assert "GRPOTrainer" in [ast.unparse(base) for base in own.bases]
    assert not {node.name for node in own.body if isinstance(node, ast.FunctionDef)} & {"compute_loss", "_calculate_rewards", "_generate_and_score_completions"}


def test_open_r1_takes_trl_s_class_by_a_name_of_its_module():
    tree = source("OPEN_R1", "src/open_r1/grpo.py", "open_r1/grpo.py")
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "trl" for alias in node.names]
    called = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert "GRPOTrainer" in imported and "GRPOTrainer" in called


def test_ms_swift_s_loss_is_given_what_its_shape_here_is_given():
    tree = source("MS_SWIFT", "swift/rlhf_trainers/grpo_trainer.py")
    own = classes(tree)["GRPOTrainer"]
    [loss] = [node for node in own.body if isinstance(node, ast.FunctionDef) and node.name == "compute_loss"]
    assert "inputs['grpo_batch']" in ast.unparse(loss) and "HFGRPOTrainer" in [ast.unparse(base) for base in own.bases]
