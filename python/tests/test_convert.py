"""`python -m grpo_metrics.convert`: dumps of SkyRL and slime, made by their own writers (tests/data/trainers/README.md)."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from grpo_metrics.convert import RefusedDump, convert, main

DATA = Path(__file__).parents[2] / "tests/data/trainers"
SKYRL = DATA / "skyrl/global_step_3_training_input.pkl"


def record(path: Path, to: Path, **given) -> dict:
    assert convert([path], to, **given) == 1
    return json.loads((to / "rank0.jsonl").read_text())


def test_skyrl_s_batch_is_what_lies_at_the_right_of_its_tensors(tmp_path):
    pytest.importorskip("torch")
    found = record(SKYRL, tmp_path / "to")
    batch = found["batch"]
    assert (found["step"], found["rank"], found["world_size"]) == (3, 0, 1)
    assert batch["completion_lengths"] == [5, 2, 6, 4] and batch["prompt_lengths"] == [3, 3, 4, 4]
    assert batch["group_ids"] == [0, 0, 1, 1]
    assert batch["rewards"] == [None] * 4
    assert batch["advantages"] == [1.0, -1.0, 0.5, -0.5]
    # One token of the third is not trained on.
    assert [i for i, mark in enumerate(batch["loss_mask"]) if not mark] == [10]
    gaps = [old - ref for old, ref in zip(batch["old_token_logps"], batch["ref_token_logps"], strict=True)]
    assert gaps == pytest.approx([0.1] * 17, abs=1e-6)


def test_slime_s_samples_keep_their_groups_rewards_and_ends(tmp_path):
    pytest.importorskip("torch")
    sampled = record(DATA / "slime/rollout_data/4.pt", tmp_path / "sampled")["batch"]
    trained = record(DATA / "slime/train_data/4.pt", tmp_path / "trained")["batch"]
    assert sampled["group_ids"] == trained["group_ids"] == [0, 0, 0, 1, 1, 1]
    assert sampled["rewards"] == trained["rewards"]
    assert sampled["token_ids"] == trained["token_ids"]
    assert sampled["terminated"] == [True, True, False, True, False, True]
    assert sampled["aborted"] == [False, False, False, False, True, False]
    # Data-parallel ranks dumped every second sample each.
    assert trained["advantages"] == [reward - 0.5 for reward in trained["rewards"]]
    ratio = [old - new for old, new in zip(trained["old_token_logps"], trained["sampling_token_logps"], strict=True)]
    assert ratio == pytest.approx([0.01] * len(ratio), abs=1e-6)


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_what_a_pickle_would_run_is_not_run(tmp_path):
    torch = pytest.importorskip("torch")
    ran = tmp_path / "ran"
    skyrl, slime = tmp_path / "global_step_1_training_input.pkl", tmp_path / "1.pt"
    skyrl.write_bytes(pickle.dumps(Runs(ran)))
    torch.save({"rollout_id": 1, "samples": [Runs(ran)]}, slime)
    for path in (skyrl, slime):
        with pytest.raises(RefusedDump, match=r"posix\.mkdir"):
            convert([path], tmp_path / "to")
    assert not ran.exists() and not (tmp_path / "to").exists()


def test_bad_input_ends_with_exit_code_2_and_says_where(tmp_path, capsys):
    pytest.importorskip("torch")
    other = tmp_path / "batch.pkl"
    other.write_bytes(pickle.dumps({"a": 1}))
    cases = [
        ([other, tmp_path / "to"], "batch.pkl: expected the name `global_step_N_training_input.pkl`"),
        ([SKYRL, SKYRL, tmp_path / "to"], "a second one of step 3"),
        ([SKYRL, tmp_path], "expected a folder that is not there yet, or an empty one"),
        ([tmp_path / "gone.pt", tmp_path / "to"], "found nothing by this name"),
    ]
    for arguments, said in cases:
        assert main([str(argument) for argument in arguments]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_a_reward_of_parts_needs_to_be_told_which_is_the_reward(tmp_path):
    torch = pytest.importorskip("torch")
    dump = torch.load(DATA / "slime/rollout_data/4.pt", weights_only=True)
    for sample in dump["samples"]:
        sample["reward"] = {"score": sample["reward"], "format": 0.5}
    path = tmp_path / "4.pt"
    torch.save(dump, path)
    with pytest.raises(RefusedDump, match=r"expected --reward-key, one of score, format"):
        convert([path], tmp_path / "to")
    batch = record(path, tmp_path / "to", reward_key="score")["batch"]
    assert batch["reward_components"] == {"score": batch["rewards"], "format": [0.5] * 6}


def slime_with(tmp_path, versions: list[list[str]], masks: list[list[int]]) -> Path:
    """slime's fixture with what its `Sample.update_from_meta_info` appends for each call of the engine."""
    torch = pytest.importorskip("torch")
    dump = torch.load(DATA / "slime/rollout_data/4.pt", weights_only=True)
    for sample, said, mask in zip(dump["samples"], versions, masks, strict=False):
        sample["weight_versions"] = said
        sample["loss_mask"] = mask or sample["loss_mask"]
    path = tmp_path / "4.pt"
    torch.save(dump, path)
    return path


def test_slime_s_versions_are_those_of_the_calls_whose_tokens_the_mask_tells_apart(tmp_path):
    pytest.importorskip("torch")
    plain = record(DATA / "slime/rollout_data/4.pt", tmp_path / "plain")["batch"]
    assert "weight_versions" not in plain
    assert plain["stop_conditions"] == ["completed", "completed", "truncated", "completed", "aborted", "completed"]
    lengths = plain["completion_lengths"]
    assert lengths[0] == 4
    # Of the first the third token is a tool's.
    said = [["3", "5"], *([["4", "4"]] * 5)]
    path = slime_with(tmp_path, said, [[1, 1, 0, 1]] + [[]] * 5)
    batch = record(path, tmp_path / "to")["batch"]
    assert batch["weight_versions"] == [3, 3, 3, 5] + [4] * sum(lengths[1:])


@pytest.mark.parametrize("said", [["3", "5"], ["v1"], ["-1"], []])
def test_versions_that_nobody_can_give_to_tokens_are_left_out_and_that_is_said(tmp_path, said):
    path = slime_with(tmp_path, [said, *([["4"]] * 5)], [[]] * 6)
    with pytest.warns(UserWarning, match="weight versions are left out: of 1 of 6 samples"):
        batch = record(path, tmp_path / "to")["batch"]
    assert "weight_versions" not in batch and len(batch["token_ids"]) == sum(batch["completion_lengths"])


def test_a_damaged_dump_is_refused_with_what_is_wrong_and_nothing_is_written(tmp_path):
    torch = pytest.importorskip("torch")
    sampled, trained = DATA / "slime/rollout_data/4.pt", DATA / "slime/train_data/4.pt"

    def changed(path: Path, change) -> Path:
        dump = torch.load(path, weights_only=True)
        change(dump["samples"])
        torch.save(dump, tmp_path / "4.pt")
        return tmp_path / "4.pt"

    def shifted(samples):
        # As many cells as tokens in all, but not in each sample.
        samples[0]["rollout_log_probs"] = samples[0]["rollout_log_probs"] + [-1.0]
        samples[1]["rollout_log_probs"] = samples[1]["rollout_log_probs"][1:]

    cases = [
        (sampled, shifted, r"samples\[0\]\.rollout_log_probs: expected 4 cells, as many as the response's tokens, found 5"),
        (sampled, lambda s: s[2].update(response_length=-1), r"samples\[2\]\.response_length: expected a whole number from 0 to 4294967295, found -1"),
        (sampled, lambda s: s[0].update(loss_mask=[1, 1, 2, 1]), r"loss_mask\[2\]: expected 0 or 1, found 2"),
        (sampled, lambda s: s[0].update(tokens=[1, 2]), r"samples\[0\]\.tokens less the response: expected a whole number from 0 to 4294967295, found -2"),
        (trained, lambda s: s[1].update(tokens=[-5] * len(s[1]["tokens"])), r"token_ids\[\d\]: expected a whole number from 0 to 4294967295, found -5"),
        (trained, lambda s: s[0].update(response_lengths=float("inf")), r"found a broken one \(OverflowError"),
    ]
    for path, change, said in cases:
        with pytest.raises(RefusedDump, match=said):
            convert([changed(path, change)], tmp_path / "to")
    for whole in (SKYRL, sampled):
        torn = tmp_path / whole.name
        for end in (3, 100, whole.stat().st_size - 10):
            torn.write_bytes(whole.read_bytes()[:end])
            with pytest.raises(RefusedDump, match=whole.name):
                convert([torn], tmp_path / "to")
    assert not (tmp_path / "to").exists()
