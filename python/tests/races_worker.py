"""Observes columns again and again while a thread writes wild bytes to one of them; prints every error that is not ours."""

from __future__ import annotations

import array
import resource
import sys
import threading

import numpy as np

import grpo_metrics as gm

COMPLETIONS, TOKENS, ROUNDS = 256, 24, 25
# The abort was an allocation of 31 GB.
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))

rng = np.random.default_rng(0)
cells = COMPLETIONS * TOKENS
numbers = lambda n: rng.normal(size=n)  # noqa: E731
floats = lambda: numbers(cells).astype(np.float32) - 2  # noqa: E731
columns = {
    "group_sizes": np.full(COMPLETIONS // 8, 8, dtype=np.uint32),
    "completion_index": np.tile(np.arange(8, dtype=np.uint32), COMPLETIONS // 8),
    "rewards": numbers(COMPLETIONS),
    "advantages": numbers(COMPLETIONS),
    "q": np.full(COMPLETIONS, 1 / 8),
    "weights": np.full(COMPLETIONS, 1 / 8),
    "completion_lengths": np.full(COMPLETIONS, TOKENS, dtype=np.uint32),
    "prompt_lengths": np.full(COMPLETIONS, 7, dtype=np.uint32),
    "terminated": np.ones(COMPLETIONS, dtype=bool),
    "token_logps": floats(),
    "old_token_logps": floats(),
    "ref_token_logps": floats(),
    "sampling_token_logps": floats(),
    "loss_mask": np.ones(cells, dtype=np.uint8),
    "token_ids": rng.integers(0, 99, cells).astype(np.uint32),
}

name, _, kind = sys.argv[1].partition(":")
if name == "group_ids":
    del columns["group_sizes"]
    columns[name] = np.repeat(np.arange(COMPLETIONS // 8, dtype=np.uint64), 8)
if name == "padding_mask":
    del columns["completion_lengths"]
    columns[name] = np.ones((COMPLETIONS, TOKENS), dtype=np.uint8)
    flat = [key for key, column in columns.items() if column.shape == (cells,)]
    columns |= {key: columns[key].reshape(COMPLETIONS, TOKENS) for key in flat}
if kind == "int64":
    columns[name] = columns[name].astype(np.int64)
elif kind == "array":
    columns[name] = array.array("I", columns[name].tolist())
elif kind == "bytearray":
    columns[name] = np.frombuffer(bytearray(columns[name].tobytes()), dtype=columns[name].dtype)

memory = np.frombuffer(memoryview(columns[name]).cast("B"), dtype=np.uint8)
good, wild = memory.copy(), np.frombuffer(rng.bytes(memory.nbytes), dtype=np.uint8)
over = threading.Event()


def write() -> None:
    while not over.is_set():
        memory[...] = wild
        memory[...] = good


sys.setswitchinterval(1e-5)
thread = threading.Thread(target=write)
thread.start()
engine = gm.Engine(extended=True)
for step in range(1, ROUNDS + 1):
    try:
        engine.observe(**columns)
    except gm.ColumnError:
        pass  # what was read does not fit
    except gm.GrpoMetricsError as error:
        print("panicked:", error)
    engine.step(step)
over.set()
thread.join()
