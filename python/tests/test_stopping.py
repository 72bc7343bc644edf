"""Early stopping, in a plain loop and in a transformers trainer."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

import grpo_metrics as gm


def test_a_metric_that_no_longer_gets_better_says_so_and_stays_by_it():
    stopping = gm.EarlyStopping("reward", 3, min_delta=0.1)
    rows = [0.5, 0.55, 1.0, None, 1.05, math.nan, {}, 0.9]
    said = []
    for step, value in enumerate(rows, start=1):
        row = value if isinstance(value, dict) else None if value is None else {"reward": value, "other": 1.0}
        said.append(stopping.update(step, row))
    # 1.05 is no better by 0.1; a row without the metric does not count; the third is enough.
    assert said == [False] * 7 + [True] and stopping.best == 1.0 and stopping.stopped
    assert stopping.update(9, {"reward": 5.0})


def test_the_smaller_may_be_the_better():
    stopping = gm.EarlyStopping("loss", 1, goal="min")
    assert [stopping.update(step, {"loss": loss}) for step, loss in enumerate([3.0, 2.0, 2.5])] == [False, False, True]
    with pytest.raises(gm.OptionError, match="max or min"):
        gm.EarlyStopping("loss", 1, goal="best")


def test_a_loop_ends_by_the_rows_of_an_engine():
    engine, stopping, steps = gm.Engine(dialect="trl"), gm.EarlyStopping("reward", 2), 0
    for step, reward in enumerate([0.0, 0.5, 0.5, 0.5, 0.5], start=1):
        engine.observe(group_sizes=[1], rewards=[reward])
        steps = step
        if stopping.update(step, engine.step(step)):
            break
    assert steps == 4


def test_a_transformers_trainer_is_asked_to_stop():
    pytest.importorskip("transformers")
    callback = gm.EarlyStopping("reward", 2).callback()
    control = SimpleNamespace(should_training_stop=False)
    for step, reward in enumerate([1.0, 1.0, 0.5], start=1):
        assert not control.should_training_stop
        callback.on_log(None, SimpleNamespace(global_step=step), control, logs={"reward": reward, "note": "text"})
    assert control.should_training_stop


def test_without_transformers_it_is_said_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(gm.GrpoMetricsError, match="pip install transformers"):
        gm.EarlyStopping("reward", 2).callback()
