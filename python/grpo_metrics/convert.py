"""Recordings of what SkyRL and slime dump: ``python -m grpo_metrics.convert FILE... DIR``.

Both dump pickles, and who loads a pickle runs what is in it. Here nothing of it is run: slime's files are loaded by
``torch.load(weights_only=True)``, and SkyRL's by an unpickler that knows the one class that they hold and refuses every other name. What
is not in a dump is absent: SkyRL's has no rewards.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["RefusedDump", "convert", "main"]

Record = tuple[int, dict[str, Any]]


class RefusedDump(ValueError):
    """A file that is no dump of a training step, or that holds what is not read."""


# SkyRL: a TrainingInputBatch, which pickles its tensors as bytes.

_SKYRL_ROOM = "skyrl.backends.skyrl_train.training_batch"
_SKYRL_NAME = re.compile(r"global_step_(\d+)_training_input\.pkl")


class _SkyRL(pickle.Unpickler):
    """Makes no object of any class: a batch is its state."""

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            (_SKYRL_ROOM, "_rebuild_tensor_batch"): lambda _, state: state,
            (_SKYRL_ROOM, "TrainingInputBatch"): dict,
            ("torch", "device"): lambda *named: None,
        }
        if (module, name) not in known:
            raise RefusedDump(f"expected a TrainingInputBatch of SkyRL, found `{module}.{name}`, which is not loaded")
        return known[module, name]


def _array(held: dict[str, Any]) -> Any:
    import numpy as np

    if held.get("format") == "torch":
        import torch

        return torch.load(io.BytesIO(held["data"]), weights_only=True).float().numpy()
    dtype = np.dtype(held["dtype"])
    if dtype.hasobject:
        raise RefusedDump(f"expected numbers, found an array of {dtype}")
    return np.frombuffer(held["data"], dtype=dtype).reshape(held["shape"])


def _skyrl(path: Path) -> Record:
    named = _SKYRL_NAME.fullmatch(path.name)
    if named is None:
        raise RefusedDump("expected the name `global_step_N_training_input.pkl`, as SkyRL gives it: nothing in the file says its step")
    with path.open("rb") as file:
        state = _SkyRL(file).load()
    if not isinstance(state, dict) or "batch_dict" not in state:
        raise RefusedDump("expected a TrainingInputBatch of SkyRL, found something else")
    metadata = state.get("metadata") or {}
    arrays = {name: _array(held) for name, held in state["batch_dict"].items() if held is not None and held.get("format") != "tensor_list"}
    for needed in ("sequences", "attention_mask", "response_mask"):
        if needed not in arrays:
            raise RefusedDump(f"`{needed}` is missing")
    # Rows that only fill the batch up stand last.
    n = len(arrays["sequences"]) - int(metadata.get("pad_size") or 0)
    # Everything is aligned to the right.
    marked = arrays["response_mask"][:n] != 0
    lengths = marked.sum(axis=1).tolist()
    totals = (arrays["attention_mask"][:n] != 0).sum(axis=1).tolist()
    sequences = arrays["sequences"][:n].tolist()
    prompts = [row[len(row) - total : len(row) - length] for row, total, length in zip(sequences, totals, lengths, strict=True)]
    tokens = [row[len(row) - length :] for row, length in zip(sequences, lengths, strict=True)]
    batch: dict[str, Any] = {
        "group_ids": _skyrl_groups(metadata.get("policy_prompt_boundaries"), prompts),
        "rewards": [None] * n,
        "completion_lengths": lengths,
        "prompt_lengths": [len(prompt) for prompt in prompts],
        "token_ids": _flat(tokens),
    }
    if "rewards" in arrays:
        batch["rewards"] = [_number(total) for total in (arrays["rewards"][:n] * marked).sum(axis=1).tolist()]
    columns = {
        "loss_mask": "loss_mask",
        "action_log_probs": "old_token_logps",
        "base_action_log_probs": "ref_token_logps",
        "rollout_logprobs": "sampling_token_logps",
        "values": "values",
        "returns": "returns",
    }
    cells = {name: [row[mask].tolist() for row, mask in zip(arrays[name][:n], marked, strict=True)] for name in columns if name in arrays}
    for name, column in columns.items():
        if name in cells:
            batch[column] = [int(x != 0) for x in _flat(cells[name])] if column == "loss_mask" else [_number(x) for x in _flat(cells[name])]
    if "advantages" in arrays:
        rows = [row[mask].tolist() for row, mask in zip(arrays["advantages"][:n], marked, strict=True)]
        _advantages(batch, rows, cells.get("loss_mask"))
    return int(named[1]), batch


def _skyrl_groups(boundaries: Any, prompts: Sequence[Sequence[int]]) -> list[int]:
    """The groups that SkyRL says, else those of equal prompts."""
    whole = [(int(start), int(end)) for start, end in boundaries or ()]
    if [start for start, _ in whole] == [0, *(end for _, end in whole[:-1])] and whole and whole[-1][1] == len(prompts):
        return [group for group, (start, end) in enumerate(whole) for _ in range(start, end)]
    return _numbered(tuple(prompt) for prompt in prompts)


# slime: dictionaries of plain values and tensors, written by torch.save.


def _slime(path: Path, reward_key: str | None) -> Record:
    import torch

    if path.name.startswith("eval_"):
        raise RefusedDump("expected a dump of training, found one of evaluation")
    try:
        dump = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"`{found[1]}`" if found else "something else"
        raise RefusedDump(f"expected plain values and tensors, found {what}, which is not loaded, as that would run it") from None
    if not isinstance(dump, dict) or not isinstance(dump.get("samples"), list) or "rollout_id" not in dump:
        raise RefusedDump("expected a dump of slime's, with `rollout_id` and `samples`, found something else")
    samples = dump["samples"]
    if samples and "response_lengths" in samples[0]:
        return int(dump["rollout_id"]), _slime_trained(samples, dump.get("raw_reward"))
    return int(dump["rollout_id"]), _slime_sampled(samples, reward_key)


def _list(cells: Any) -> list[Any]:
    return cells.tolist() if hasattr(cells, "tolist") else list(cells)


def _slime_sampled(samples: list[dict[str, Any]], reward_key: str | None) -> dict[str, Any]:
    """``save_debug_rollout_data``: what was sampled and rewarded."""
    rewards: list[Any] = []
    components: dict[str, list[Any]] = {}
    for nth, sample in enumerate(samples):
        reward = sample.get("reward")
        if isinstance(reward, dict):
            if reward_key not in reward:
                raise RefusedDump(f"samples[{nth}].reward: expected --reward-key, one of {', '.join(map(str, reward))}")
            for name, part in reward.items():
                if isinstance(part, (bool, int, float)):
                    components.setdefault(str(name), [None] * nth).append(_number(part))
            reward = reward[reward_key]
        rewards.append(None if reward is None else _number(reward))
        for part in components.values():
            part.extend([None] * (nth + 1 - len(part)))
    ids = [sample.get("group_index") for sample in samples]
    prompts = [sample["prompt"] if isinstance(sample["prompt"], str) else json.dumps(sample["prompt"]) for sample in samples]
    lengths = [_natural(sample["response_length"], f"samples[{nth}].response_length") for nth, sample in enumerate(samples)]
    prompt_lengths, tokens = _split([_list(sample["tokens"]) for sample in samples], lengths)
    status = [sample.get("status") for sample in samples]
    masks = [sample.get("loss_mask") for sample in samples]
    logps = [sample.get("rollout_log_probs") for sample in samples]
    batch: dict[str, Any] = {
        "group_ids": _numbered(prompts if None in ids else ids),
        "rewards": rewards,
        "completion_lengths": lengths,
        "prompt_lengths": prompt_lengths,
        "terminated": [word == "completed" for word in status],
        "aborted": [word == "aborted" for word in status],
        "errors": [word == "failed" for word in status],
        "stop_conditions": [str(word) for word in status],
        "token_ids": tokens,
        "loss_mask": _by_token("loss_mask", ([1] * n if mask is None else _list(mask) for mask, n in zip(masks, lengths, strict=True)), lengths),
        "prompts": prompts,
        "completions": [str(sample.get("response", "")) for sample in samples],
    }
    if components:
        batch["reward_components"] = components
    if None not in logps:
        batch["sampling_token_logps"] = [_number(x) for x in _by_token("rollout_log_probs", map(_list, logps), lengths)]
    versions = [_versions(sample.get("weight_versions") or [], mask, n) for sample, mask, n in zip(samples, masks, lengths, strict=True)]
    if None not in versions:
        batch["weight_versions"] = _flat(versions)  # type: ignore[arg-type]
    elif any(sample.get("weight_versions") for sample in samples):
        unclear = sum(of is None for of in versions)
        warnings.warn(
            f"weight versions are left out: of {unclear} of {len(samples)} samples the dump does not say which token was sampled with which",
            stacklevel=2,
        )
    return batch


def _versions(said: Sequence[Any], mask: Any, length: int) -> list[int] | None:
    """The version that each token of a sample was sampled with. slime notes one for each call of its engine: where they differ, the stretches
    that the loss counts have to be as many. What comes between them has that of the one before."""
    if length == 0:
        return []
    if not said or not all(str(version).isdecimal() for version in said):
        return None
    numbers = [int(version) for version in said]
    if len(set(numbers)) == 1:
        return [numbers[0]] * length
    marks = [bool(mark) for mark in _list(mask)] if mask is not None else [True] * length
    begins = [at for at, mark in enumerate(marks) if mark and (at == 0 or not marks[at - 1])]
    if len(begins) != len(numbers):
        return None
    ends = [*begins[1:], length]
    return [numbers[0]] * begins[0] + [number for begin, end, number in zip(begins, ends, numbers, strict=True) for _ in range(end - begin)]


def _slime_trained(samples: list[dict[str, Any]], raw_reward: Any) -> dict[str, Any]:
    """``save_debug_train_data``: what was trained on, in the order of what was sampled."""
    lengths = [_natural(sample["response_lengths"], f"samples[{nth}].response_lengths") for nth, sample in enumerate(samples)]
    sequences = [_list(sample["tokens"]) for sample in samples]
    prompt_lengths, tokens = _split(sequences, lengths)
    places = [sample.get("rollout_position") for sample in samples]
    rewards: list[Any] = [None] * len(samples)
    if raw_reward is not None and all(isinstance(at, int) and 0 <= at < len(raw_reward) for at in places):
        rewards = [_number(raw_reward[at]) for at in places]
    prompts = [tuple(row[:length]) for row, length in zip(sequences, prompt_lengths, strict=True)]
    batch: dict[str, Any] = {
        "group_ids": _numbered(prompts),
        "rewards": rewards,
        "completion_lengths": lengths,
        "prompt_lengths": prompt_lengths,
        "token_ids": tokens,
    }
    if all("truncated" in sample for sample in samples):
        batch["terminated"] = [not sample["truncated"] for sample in samples]
    columns = {
        "log_probs": "old_token_logps",
        "ref_log_probs": "ref_token_logps",
        "rollout_log_probs": "sampling_token_logps",
        "entropy": "token_entropies",
        "returns": "returns",
        "values": "values",
    }
    for name, column in columns.items():
        if all(sample.get(name) is not None for sample in samples):
            batch[column] = [_number(x) for x in _by_token(name, (_list(sample[name]) for sample in samples), lengths)]
    masks = None
    if all(sample.get("loss_masks") is not None for sample in samples):
        masks = [_list(sample["loss_masks"]) for sample in samples]
        batch["loss_mask"] = [int(x != 0) for x in _by_token("loss_masks", masks, lengths)]
    if all(sample.get("advantages") is not None for sample in samples):
        rows = [_list(sample["advantages"]) for sample in samples]
        _by_token("advantages", rows, lengths)
        _advantages(batch, rows, masks)
    return batch


# What both have.


def _advantages(batch: dict[str, Any], rows: list[list[float]], masks: list[list[Any]] | None) -> None:
    """Those of the completions, where each one's counted tokens have one and the same."""
    counted = [[x for x, mark in zip(row, mask, strict=True) if mark] for row, mask in zip(rows, masks or rows, strict=True)] if masks else rows
    if any(len(set(row)) > 1 for row in counted):
        batch["token_advantages"] = [_number(x) for x in _flat(rows)]
    else:
        batch["advantages"] = [_number(row[0]) if row else None for row in counted]


def _natural(x: Any, what: str) -> int:
    """A whole number of a recording's, which are of 32 bits."""
    if int(x) == x and 0 <= x < 1 << 32:
        return int(x)
    raise RefusedDump(f"{what}: expected a whole number from 0 to 4294967295, found {x}")


def _split(sequences: Sequence[Sequence[int]], lengths: Sequence[int]) -> tuple[list[int], list[int]]:
    """The prompts' lengths, and the tokens of all responses, with which slime's sequences end."""
    prompts: list[int] = []
    tokens: list[int] = []
    for nth, (row, length) in enumerate(zip(sequences, lengths, strict=True)):
        prompts.append(_natural(len(row) - length, f"samples[{nth}].tokens less the response"))
        tokens += row[len(row) - length :]
    return prompts, tokens


def _by_token(name: str, rows: Iterable[Sequence[Any]], lengths: Sequence[int]) -> list[Any]:
    """The cells of all samples, of which each has one for each token of its response."""
    cells: list[Any] = []
    for nth, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if len(row) != length:
            raise RefusedDump(f"samples[{nth}].{name}: expected {length} cells, as many as the response's tokens, found {len(row)}")
        cells += row
    return cells


def _checked(step: int, batch: dict[str, Any]) -> None:
    """Refuses numbers that a recording does not take."""
    if not 0 <= step < 1 << 64:
        raise RefusedDump(f"expected a step from 0, found {step}")
    for name in ("completion_lengths", "prompt_lengths", "token_ids", "weight_versions"):
        for nth, cell in enumerate(batch.get(name, ())):
            _natural(cell, f"{name}[{nth}]")
    for nth, mark in enumerate(batch.get("loss_mask", ())):
        if mark not in (0, 1):
            raise RefusedDump(f"loss_mask[{nth}]: expected 0 or 1, found {mark}")


def _numbered(names: Iterable[Any]) -> list[int]:
    """A number for each name, in the order in which they come."""
    known: dict[Any, int] = {}
    return [known.setdefault(name, len(known)) for name in names]


def _flat(rows: Iterable[Iterable[Any]]) -> list[Any]:
    return [cell for row in rows for cell in row]


def _number(x: Any) -> Any:
    """As a recording writes it: JSON has no word for what is not finite."""
    x = float(x)
    if math.isfinite(x):
        return x
    return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"


def convert(files: Iterable[str | Path], folder: str | Path, *, reward_key: str | None = None) -> int:
    """Writes a recording of the dumps into a folder that is not there yet, or is empty; how many steps it has.

    Args:
        files: SkyRL's ``global_step_N_training_input.pkl``, slime's ``rollout_data/N.pt`` or ``train_data/N.pt``, each a step of its own.
        folder: The recording. It is there whole or not at all.
        reward_key: Which part of slime's rewards is the reward, where they have several.

    Raises:
        RefusedDump: If a file is none of these, or holds what cannot be read without running it.
        OSError: If a file cannot be read, or the recording cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RefusedDump(f"{folder}: expected a folder that is not there yet, or an empty one")
    seen: dict[int, Path] = {}
    lines = []
    for path in map(Path, files):
        try:
            # The archive that torch.save makes; a pickle may end in one that is a tensor's.
            with path.open("rb") as file:
                is_archive = file.read(4) == b"PK\x03\x04"
            step, batch = _slime(path, reward_key) if is_archive else _skyrl(path)
            _checked(step, batch)
        except RefusedDump as error:
            raise RefusedDump(f"{path}: {error}") from None
        except ModuleNotFoundError as error:
            raise RefusedDump(f"{path}: expected {error.name} to be installed, which reads it") from None
        except OSError as error:
            # What the system refuses has the file's name; what reads an archive has none.
            if error.filename is not None:
                raise
            raise RefusedDump(f"{path}: expected a dump of SkyRL's or slime's, found a broken one ({error})") from None
        except (pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, MemoryError) as error:
            raise RefusedDump(f"{path}: expected a dump of SkyRL's or slime's, found a broken one ({type(error).__name__}: {error})") from None
        if step in seen:
            raise RefusedDump(f"{path}: expected one dump a step, found a second one of step {step}; the first is {seen[step]}")
        seen[step] = path
        lines.append(json.dumps({"step": step, "rank": 0, "world_size": 1, "micro": 0, "batch": batch}, allow_nan=False))
    if not lines:
        raise RefusedDump("expected a dump, found none")
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / "rank0.jsonl.part"
    beside.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    beside.rename(folder / "rank0.jsonl")
    return len(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; its exit code, 2 for bad input and 1 where nothing could be written."""
    parser = argparse.ArgumentParser(prog="python -m grpo_metrics.convert", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path, help="SkyRL's dumped_data/*.pkl, or slime's rollout_data/*.pt or train_data/*.pt")
    parser.add_argument("folder", metavar="DIR", type=Path, help="the recording; it must not be there yet, or be empty")
    parser.add_argument("--reward-key", metavar="KEY", help="which part of slime's rewards is the reward, where they have several")
    given = parser.parse_args(arguments)
    try:
        steps = convert(given.files, given.folder, reward_key=given.reward_key)
    except RefusedDump as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FileNotFoundError as error:
        print(f"error: {error.filename}: expected a dump, found nothing by this name", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{steps} steps to {given.folder}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
