"""Writes tests/data/bad: one recording a file, one fault each, after a first step that is good."""

import json
import struct
from copy import deepcopy
from pathlib import Path

BAD = Path(__file__).resolve().parents[1] / "data" / "bad"

GOOD = {
    "step": 1,
    "rank": 0,
    "world_size": 1,
    "micro": 0,
    "batch": {
        "group_sizes": [2, 1],
        "rewards": [1.0, 0.0, 0.5],
        "reward_components": {"accuracy": [1.0, 0.0, None]},
        "advantages": [0.5, -0.5, 0.0],
        "q": [0.7, 0.3, 1.0],
        "weights": [0.6, 0.4, 1.0],
        "completion_lengths": [2, 1, 3],
        "max_completion_length": 4,
        "token_logps": [-0.5, -0.25, -1.5, -2.0, -0.125, -1.0],
        "ref_token_logps": [-0.75, -0.25, -1.25, -2.5, -0.25, -1.0],
        "token_ids": [5, 6, 5, 7, 8, 9],
    },
    "scalars": {"total_loss": 0.25},
    "weighting": {"tau": 0.3, "beta": 0.04},
}
FAULTS = {}


def fault(meaning, names):
    """Registers a fault: a function that spoils a good record of step 2, on line 2 of its file."""

    def take(spoil):
        record = deepcopy(GOOD) | {"step": 2}
        lines = spoil(record, record["batch"])
        FAULTS[spoil.__name__] = ([GOOD, *(lines if isinstance(lines, list) else [record])], meaning, names)

    return take


@fault("`advantages` has 2 values for 3 completions", "line 2, step 2, rank 0, `advantages`, found 2, expected 3")
def column_too_short(_, batch):
    batch["advantages"].pop()


@fault("a component has 4 values for 3 completions", "line 2, step 2, rank 0, `reward_components`, `accuracy`, found 4, expected 3")
def component_too_long(_, batch):
    batch["reward_components"]["accuracy"].append(1.0)


@fault("`group_sizes` add up to 4, there are 3 completions", "line 2, step 2, rank 0, `group_sizes`, found 4, expected 3")
def group_sizes_that_do_not_add_up(_, batch):
    batch["group_sizes"] = [2, 2]


@fault("`group_ids` has 2 values for 3 completions", "line 2, step 2, rank 0, `group_ids`, found 2, expected 3")
def group_ids_too_short(_, batch):
    del batch["group_sizes"]
    batch["group_ids"] = [0, 0]


@fault("`semantic_entropies` has 3 values for 2 groups", "line 2, step 2, rank 0, `semantic_entropies`, found 3, expected 2")
def one_seed_value_too_many(_, batch):
    batch["semantic_entropies"] = [0.5, 0.5, 0.5]


@fault("`token_logp` in `batch`", "line 2, step 2, rank 0, `token_logp`, the closest `token_logps`")
def unknown_field_in_batch(_, batch):
    batch["token_logp"] = batch.pop("token_logps")


@fault("`clip_range_hi` in `weighting`", "line 2, step 2, rank 0, `clip_range_hi`, the closest `clip_range_high`")
def unknown_field_in_weighting(record, _):
    record["weighting"]["clip_range_hi"] = 0.3


@fault("`group_sizes` and `group_ids`", "line 2, step 2, rank 0, `group_sizes`, `group_ids`")
def both_groupings(_, batch):
    batch["group_ids"] = [0, 0, 1]


@fault("neither `group_sizes` nor `group_ids`", "line 2, step 2, rank 0, `group_sizes`, `group_ids`")
def no_grouping(_, batch):
    del batch["group_sizes"]


@fault("no `rewards`", "line 2, step 2, rank 0, `rewards`")
def no_rewards(_, batch):
    del batch["rewards"]


@fault("a null in `q`: given for 2 of 3 completions", "line 2, step 2, rank 0, `q`")
def q_for_some_completions(_, batch):
    batch["q"][1] = None


@fault("lengths add up to 6, `token_logps` has 5 values", "line 2, step 2, rank 0, `token_logps`, found 5, expected 6")
def lengths_that_do_not_add_up(_, batch):
    batch["token_logps"].pop()


@fault("token columns without `completion_lengths`", "line 2, step 2, rank 0, `completion_lengths`")
def tokens_without_lengths(_, batch):
    del batch["completion_lengths"]


@fault("`loss_mask` has a 2", "line 2, step 2, rank 0, `loss_mask`")
def loss_mask_of_two(_, batch):
    batch["loss_mask"] = [1, 1, 2, 1, 0, 1]


@fault("a text that is no number in `rewards`", "line 2, step 2, rank 0, `rewards`")
def word_for_a_number(_, batch):
    batch["rewards"][0] = "high"


@fault("two records of step 2, rank 0, micro 0", "line 3, step 2, rank 0, micro 0")
def same_record_twice(record, _):
    return [record, deepcopy(record)]


@fault("rank 1 of a world of 1", "line 2, step 2, rank 1, world_size 1")
def rank_outside_the_world(record, _):
    record["rank"] = 1


@fault("world_size 1, then 2", "line 2, step 2, rank 0, `world_size`, found 2, expected 1")
def world_size_that_changes(record, _):
    record["world_size"] = 2
    return [record, deepcopy(record) | {"rank": 1}]


@fault("step 2 of a world of 3 has rank 0 only (no fault with --allow-missing); step 1 is whole", "step 2, ranks 1 and 2")
def missing_ranks(record, _):
    return []


def whole_world(lines):
    """A recording of three ranks whose second step has one."""
    world = [deepcopy(line) | {"world_size": 3, "rank": rank} for line in lines for rank in range(3)]
    return [*world, world[0] | {"step": 2}]


def tensors(path, record, columns):
    """The safetensors layout: header length, JSON header, the values."""
    header, body = {"__metadata__": {"record": json.dumps(record)}}, b""
    for name, (dtype, code, shape, values) in columns.items():
        data = struct.pack(f"<{len(values)}{code}", *values)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def main():
    BAD.mkdir(exist_ok=True)
    FAULTS["missing_ranks"] = (whole_world([GOOD]), *FAULTS["missing_ranks"][1:])
    table = []
    for name, (lines, meaning, names) in FAULTS.items():
        (BAD / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        table.append((f"{name}.jsonl", meaning, names))

    second = json.dumps(GOOD | {"step": 2})
    (BAD / "broken_json.jsonl").write_text(json.dumps(GOOD) + "\n" + second.replace('"rewards": [1.0,', '"rewards": [1.0,,') + "\n")
    table.append(("broken_json.jsonl", "two commas on line 2", "line 2"))
    (BAD / "torn_last_line.jsonl").write_text(json.dumps(GOOD) + "\n" + second[:200])
    table.append(("torn_last_line.jsonl", "line 2 ends in the middle", "line 2"))

    rest = deepcopy(GOOD)
    logps = rest["batch"].pop("token_logps")
    for name, spec, meaning, names in (
        ("tensor_of_wrong_dtype", ("I64", "q", [6], [1] * 6), "`token_logps` of I64", "step 1, rank 0, `token_logps`, found I64, expected F32"),
        ("tensor_of_wrong_shape", ("F32", "f", [5], logps[:5]), "`token_logps` of shape [5]", "step 1, rank 0, `token_logps`, found 5, expected 6"),
        ("tensor_of_two_dimensions", ("F32", "f", [2, 3], logps), "`token_logps` of shape [2, 3], which reads as 2 padded completions", "step 1, rank 0, `token_logps`, found 2, expected 3"),
        ("tensor_of_unknown_name", None, "a tensor `token_logprobs`", "step 1, rank 0, `token_logprobs`, the closest `token_logps`"),
    ):
        columns = {"token_logps": spec} if spec else {"token_logprobs": ("F32", "f", [6], logps)}
        tensors(BAD / f"{name}.safetensors", rest, columns)
        table.append((f"{name}.safetensors", meaning, names))

    lines = ["# Faulty recordings", ""]
    lines.append("Written by `tests/reference/make_bad.py`. Each file is one recording with one fault. Step 1 of a `.jsonl` file is good and")
    lines.append("stays stored; the replay ends with exit code 2 and an error that names the file and what the last column lists.")
    lines += ["", "| file | fault | the error names |", "| --- | --- | --- |"]
    lines += ["| " + " | ".join(row) + " |" for row in table]
    (BAD / "README.md").write_text("\n".join(lines) + "\n")
    print(len(table), "files")


if __name__ == "__main__":
    main()
