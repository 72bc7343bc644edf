"""Rows to whatever logs dictionaries."""

from __future__ import annotations

import pytest

import grpo_metrics as gm


class Logger:
    def __init__(self):
        self.calls = []

    def log(self, metrics, step=None):
        self.calls.append((metrics, step))


def run(logger):
    engine = gm.Engine(sinks=[gm.LoggerSink(logger)], metadata={"git_sha": "abc"})
    rows = []
    for step in (1, 2):
        engine.observe(group_sizes=[2], rewards=[0.0, float(step)])
        rows.append(engine.step(step))
    assert [r["written"] for r in engine.finish()] == [2]
    return rows


def test_a_logger_is_called_once_a_row_and_gets_the_texts_with_the_first():
    logger = Logger()
    rows = run(logger)
    (first, one), (second, two) = logger.calls
    assert (one, two) == (1, 2) and second == rows[1]
    assert first["run/git_sha"] == "abc" and {k: v for k, v in first.items() if not k.startswith("run/")} == rows[0]


def test_the_texts_go_to_the_config_of_a_logger_that_has_one():
    logger = Logger()
    logger.config = {}
    rows = run(logger)
    assert [metrics for metrics, _ in logger.calls] == rows and logger.config["run/git_sha"] == "abc"


def test_what_cannot_log_is_refused():
    with pytest.raises(TypeError, match="expected a logger"):
        gm.LoggerSink(object())
