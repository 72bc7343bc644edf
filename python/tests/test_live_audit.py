"""What a trainer logs held against the engine's rows while it trains; with the real TRL in test_trl.py."""

import pytest

from grpo_metrics._audit import LiveAudit


@pytest.mark.parametrize(
    ("options", "steps", "said"),
    [
        ({}, 1, "step 6: the trainer logs `completions/min_length` as 1, it is 7.5 (-6.5)"),
        ({"window": "pooled"}, 3, "step 6: the trainer logs `completions/min_length` as 1, it is 7.5 (-6.5)"),
        ({}, 3, "step 6: the trainer logs `completions/min_length` as 1, its 3 steps' exact numbers have a mean of 7.5 (-6.5)"),
    ],
)
def test_a_row_over_several_steps_is_said_to_be_a_mean_where_it_is_one(caplog, options, steps, said):
    audit = LiveAudit({"dialect": "trl", **options}, 1)
    audit.compare(6, {"completions/min_length": 1.0, "reward": 0.5}, {"completions/min_length": 7.5, "reward": 0.5}, steps)
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == f"grpo_metrics: {said}"
    assert len(told) == 2 and told[1].startswith("grpo_metrics: how these came about")
