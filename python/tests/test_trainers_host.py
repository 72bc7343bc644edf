"""What every adapter stands on, without a trainer."""

from __future__ import annotations

from rollouts import status, stored

from grpo_metrics.trainers._host import Host


def test_a_key_is_the_engines_and_where_its_row_lacks_it_for_want_of_columns_the_trainers(tmp_path):
    store = tmp_path / "runs.db"
    host = Host("skyrl", ("skyrl",), None, {"store": store, "run": "r"})
    for step in (1, 2):
        host.observe(step, lambda: {"group_sizes": [2], "rewards": [0.0, 1.0]})
        # No entropies were handed in; of the mean reward the engine knows better.
        host.logged(step, {"policy/policy_entropy": 1.5, "reward/avg_raw_reward": 9.0, "timing/x": 2.0})
    host.finish()
    for row in stored(store).values():
        told = (row["policy/policy_entropy"], row["reward/avg_raw_reward"], row["timing/x"])
        assert told == (1.5, 0.5, 2.0)
    assert len(stored(store)) == 2 and status(store) == "completed"
