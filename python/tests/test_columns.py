"""What a column may be, what is borrowed, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

import grpo_metrics as gm
from grpo_metrics import _core

N = 4
BASE = {"group_sizes": [2, 2], "rewards": [0.0, 1.0, 2.0, 3.0], "completion_lengths": [1, 2, 3, 2]}


def row(**columns):
    return gm.Shard.of(**{**BASE, **columns}).row(step=1)


LOGPS = [-0.5, -1.0, -0.25, -2.0, -1.5, -0.125, -0.75, -3.0]
REFS = [-0.25, -1.5, -0.5, -2.5, -1.0, -0.5, -0.25, -2.0]


def padded(flat, fill=9.0, width=5, start=0):
    rows = np.full((N, width), fill, dtype=np.float32)
    at = 0
    for i, length in enumerate(BASE["completion_lengths"]):
        rows[i, start : start + length] = flat[at : at + length]
        at += length
    return rows


class ArrayLike:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype=dtype)


class DLPackLike:
    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


TOKENS = {
    "float32": lambda x: np.asarray(x, dtype=np.float32),
    "float64": lambda x: np.asarray(x, dtype=np.float64),
    "float16": lambda x: np.asarray(x, dtype=np.float16),
    "strided": lambda x: np.repeat(np.asarray(x, dtype=np.float32), 2)[::2],
    "reversed": lambda x: np.asarray(x[::-1], dtype=np.float32)[::-1],
    "big endian": lambda x: np.asarray(x, dtype=">f4"),
    "read only": lambda x: np.broadcast_to(np.asarray(x, dtype=np.float32), (len(x),)),
    "unaligned": lambda x: np.frombuffer(b"\0" + np.asarray(x, dtype=np.float32).tobytes(), dtype=np.uint8)[1:].view(
        np.float32
    ),
    "list": list,
    "nested lists": lambda x: [x[:1], x[1:3], x[3:6], x[6:]],
    "list of arrays": lambda x: [np.asarray(part) for part in (x[:1], x[1:3], x[3:6], x[6:])],
    "__array__": lambda x: ArrayLike(np.asarray(x, dtype=np.float32)),
    "dlpack": lambda x: DLPackLike(np.asarray(x, dtype=np.float32)),
    "padded": padded,
    "padded float64": lambda x: padded(x).astype(np.float64),
    "padded with strided rows": lambda x: np.repeat(padded(x), 2, axis=0)[::2],
    "padded in Fortran order": lambda x: np.asfortranarray(padded(x)),
    "padded with stray cells": lambda x: padded(x, fill=math.nan),
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_column_may_be_any_array_or_list_and_gives_the_same_bits(kind):
    expected = row(token_logps=np.float32(LOGPS), ref_token_logps=np.float32(REFS))
    assert expected["train/kl"] > 0
    make = TOKENS[kind]
    assert row(token_logps=make(LOGPS), ref_token_logps=make(REFS)) == expected


def test_a_padding_mask_stands_for_the_lengths():
    mask = np.zeros((N, 5), dtype=bool)
    for i, length in enumerate(BASE["completion_lengths"]):
        mask[i, 2 : 2 + length] = True
    mask_of = {"bool": mask, "uint8": mask.astype(np.uint8), "int64": mask.astype(np.int64), "float": mask * 1.0}
    expected = row(token_logps=padded(LOGPS), ref_token_logps=padded(REFS))
    for given in mask_of.values():
        columns = {"token_logps": padded(LOGPS, start=2), "ref_token_logps": padded(REFS, start=2)}
        assert row(**columns, padding_mask=given, completion_lengths=None) == expected


@pytest.mark.parametrize(
    "rewards",
    [
        np.array(BASE["rewards"]),
        np.array(BASE["rewards"], dtype=np.float32),
        np.array([0, 1, 2, 3]),
        (0, 1, 2, 3),
        np.arange(8.0)[::2] / 2,
        ArrayLike(np.array(BASE["rewards"])),
    ],
)
def test_rewards_may_be_any_array_or_list(rewards):
    assert row(rewards=rewards) == row()


def test_none_and_masked_values_are_absent_and_words_are_the_numbers_that_json_lacks():
    for column in ([1.0, None, 3.0, None], np.ma.masked_array([1.0, 7.0, 3.0, 7.0], [0, 1, 0, 1]), np.array([1.0, None, 3.0, None])):
        assert row(reward_components={"a": column})["train/rewards/a/mean"] == 2.0
    with gm.Engine() as engine:
        engine.observe(**{**BASE, "rewards": [1.0, None, "NaN", "-Infinity"]})
        engine.step(1)
        assert engine.census()["rewards"] == {"seen": 4, "used": 1, "absent": 1, "nonfinite": 2}


def test_integer_columns_may_have_any_integer_type():
    for dtype in (np.int64, np.uint32, np.int16, np.float64):
        lengths = np.array(BASE["completion_lengths"], dtype=dtype)
        ids = np.arange(8, dtype=dtype)
        assert row(completion_lengths=lengths, token_ids=ids) == row(token_ids=list(range(8)))
    assert row(group_sizes=None, group_ids=[5, 5, 2**63, 2**63]) == row()
    # NumPy takes a list of both for doubles, in which the last two are one.
    apart, as_small = ({"group_sizes": None, "group_ids": ids, "extended": True} for ids in ([0, 2**63 + 1, 2**63 + 3, 0], [0, 1, 2, 0]))
    assert row(**apart) == row(**as_small)
    texts = ["prompt-1", "prompt-1", "\u00fc", "\u00fc"]
    for ids in (texts, tuple(texts), np.array(texts), np.array(texts, dtype=object)):
        assert row(group_sizes=None, group_ids=ids) == row()
    padded_ids = np.full((N, 5), -100)
    padded_ids[0, :1], padded_ids[1, :2], padded_ids[2, :3], padded_ids[3, :2] = [0], [1, 2], [3, 4, 5], [6, 7]
    assert row(token_ids=padded_ids) == row(token_ids=list(range(8)))


WRONG = {
    "a column too short": ({"advantages": [1.0]}, "`advantages`: expected 4 values .* found 1"),
    "an unknown column": ({"token_logprobs": LOGPS}, "unknown column( or option)? `token_logprobs`; did you mean `token_logps`"),
    "no grouping": ({"group_sizes": None}, "expected `group_sizes` or `group_ids`, found neither"),
    "texts and numbers as group ids": ({"group_sizes": None, "group_ids": ["a", "a", 1, "b"]}, r"`group_ids\[2\]`: expected a text as before it, found a number"),
    "a text that is no UTF-8 as a group's id": ({"group_sizes": None, "group_ids": ["a", "\ud800", "b", "b"]}, "`group_ids`: expected texts that can be"),
    "an id beyond 64 bits": ({"group_sizes": None, "group_ids": [2**64, 0, 0, 0]}, "`group_ids`: .* found 18446744073709551616 at 0"),
    "objects as group ids": ({"group_sizes": None, "group_ids": [object()] * 4}, "`group_ids`: expected numbers or texts, found object among"),
    "one text for group ids": ({"group_sizes": None, "group_ids": "abcd"}, "`group_ids`: expected "),
    "two groupings": ({"group_ids": [0, 0, 1, 1]}, "found both"),
    "no rewards": ({"rewards": None}, "`rewards` is missing"),
    "a text among the rewards": ({"rewards": [1, 2, "x", 4]}, r"`rewards\[2\]`: expected a number or None, found str"),
    "two dimensions of rewards": ({"rewards": np.zeros((4, 1))}, r"`rewards`: expected one dimension, .*\(4, 1\)"),
    "three dimensions of tokens": ({"token_logps": np.zeros((4, 5, 1))}, r"`token_logps`: .*\(4, 5, 1\)"),
    "texts as tokens": ({"token_logps": ["a"] * 8}, "`token_logps`: expected numbers, found an array of <U1"),
    "none among the tokens": ({"token_logps": [None] * 8}, "`token_logps`: expected numbers, found NoneType"),
    "a negative length": ({"completion_lengths": [1, -2, 3, 2]}, "`completion_lengths`: .* found -2 at 1"),
    "a fraction of a length": ({"completion_lengths": [1, 2.5, 3, 2]}, "`completion_lengths`: .* found 2.5 at 1"),
    "a mask of twos": ({"loss_mask": [2] * 8}, "`loss_mask`: .* found 2"),
    "a mask of floats": ({"loss_mask": [0.5] * 8}, "`loss_mask`: expected 0 or 1, found 0.5 at 0"),
    "rows unlike the lengths": ({"token_logps": [[0.0] * 2, [0.0], [0.0] * 3, [0.0] * 2]}, r"`token_logps\[0\]`: expected 1 .*found 2"),
    "a number among texts": ({"answers": ["a", "b", 3, "d"]}, r"`answers\[2\]`: expected a text that can be written as UTF-8, found int"),
    "none among texts": ({"stop_conditions": ["a", None, "b", "c"]}, r"`stop_conditions\[1\]`: expected a text that .*, found NoneType"),
    "a text for texts": ({"completions": "abcd"}, "`completions`: expected a list of texts, found str"),
    "a text for a number": ({"weighting": {"beta": "x"}}, "`weighting.beta`: expected a number, found str"),
    "a list for a dictionary": ({"reward_components": [1]}, "`reward_components`: expected a dictionary"),
    "a ragged padding mask": ({"padding_mask": [1, 0]}, "`padding_mask`: expected two dimensions"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_an_error_that_says_so(name):
    columns, message = WRONG[name]
    with pytest.raises(gm.ColumnError, match=message):
        row(**columns)


def test_every_error_is_a_value_error_of_one_family():
    for error in (gm.ColumnError, gm.OptionError, gm.StepError, gm.WireError, gm.SinkError, gm.StoreError):
        assert issubclass(error, gm.GrpoMetricsError) and issubclass(error, ValueError)


def test_a_large_token_matrix_is_borrowed_not_copied():
    tokens = np.zeros((8, 16), dtype=np.float32)
    values = np.zeros(16, dtype=np.float64)
    assert _core._address("token_logps", tokens) == tokens.ctypes.data
    assert _core._address("token_logps", tokens[::2]) == tokens.ctypes.data
    assert _core._address("token_logps", tokens[3]) == tokens[3].ctypes.data
    assert _core._address("token_logps", values) != values.ctypes.data
