"""Shards from elsewhere: joined by an engine, pickled small, and of replicas nothing."""

from __future__ import annotations

import copy
import pickle

import pytest

import grpo_metrics as gm

RANKS = 3


def record(rank, step):
    rewards = [(rank + i * step) % 3 / 2 for i in range(4)]
    return {
        "group_ids": [f"prompt-{(rank + i) // 2}" for i in range(4)],
        "rewards": rewards,
        "advantages": [reward - 0.5 for reward in rewards],
        "completion_lengths": [1, 2, 1, 3],
        "token_logps": [-0.1 * (i + rank) for i in range(7)],
        "old_token_logps": [-0.15 * i for i in range(7)],
        "scalars": {"total_loss": 0.25 * rank},
    }


class Rows(list):
    def write(self, row):
        self.append({key: value for key, value in row.items() if key != "ts"})


def rows(joins, tmp_path, **options):
    said = Rows()
    run, options = f"joins {joins}", {"extended": True, **options}
    with gm.Engine(store=tmp_path / "runs.db", run=run, sinks=[said], **options) as engine:
        for step in range(1, 6):
            whole = gm.Shard()
            for rank in range(RANKS):
                if joins:
                    whole.merge(gm.Shard.of(**record(rank, step), rank=rank, extended=True))
                else:
                    engine.observe(**record(rank, step), rank=rank, micro=0)
            engine.join(whole)
            engine.step(step)
    stored = gm.Store(tmp_path / "runs.db", read_only=True).get_metrics(run)
    return [dict(row) for row in said], [(each["step"], each["name"], each["value"]) for each in stored]


@pytest.mark.parametrize("window", ["mean", "pooled"])
def test_what_is_joined_reaches_windows_sinks_store_and_flags_as_if_it_had_been_observed(tmp_path, window):
    joined, observed = (rows(joins, tmp_path, window=window, logging_steps=2) for joins in (True, False))
    assert joined == observed
    assert any(name == "health/zero_std" or "health/" in name for _, name, _ in joined[1]), "flags are judged"
    assert {step for step, _, _ in joined[1]} >= {2, 4, 5}


def test_a_shard_that_is_joined_stays_as_it_is_and_a_second_time_is_an_error():
    shard = gm.Shard.of(**record(0, 1))
    before = shard.to_bytes()
    with gm.Engine() as engine:
        engine.join(shard)
        assert shard.to_bytes() == before
        with pytest.raises(gm.StepError, match="rank 0, micro-batch 0 is there twice"):
            engine.join(shard)
        assert engine.step(1)["train/reward"] == sum(record(0, 1)["rewards"]) / 4


def test_what_cannot_be_joined_says_why():
    with gm.Engine(extended=True) as engine:
        with pytest.raises(gm.StepError, match="rank 4: expected a shard with the extended metrics, .*`extended` of the engine"):
            engine.join(gm.Shard.of(**record(0, 1), rank=4))
        for wrong in ("shard", None, b""):
            with pytest.raises(gm.GrpoMetricsError, match="join"):
                engine.join(wrong)
        with pytest.raises(gm.GrpoMetricsError, match="missing"):
            engine.join(gm.Shard(), missing=[3])
        engine.join(gm.Shard.of(**record(0, 1), step=7, extended=True))
        with pytest.raises(gm.StepError, match="expected a shard of step 1, found one of step 7"):
            engine.step(1)


def test_ranks_that_are_missing_fail_the_step_or_stand_in_its_row():
    def stepped(**options):
        said = Rows()
        with gm.Engine(sinks=[said], **options) as engine:
            engine.join(gm.Shard.of(**record(0, 1)), {2: "its actor has died", 5: "did not answer"})
            engine.step(1)
        return said

    with pytest.raises(gm.StepError, match="step 1: rank 2: its actor has died; rank 5: did not answer"):
        stepped()
    (row,) = stepped(policy="go_on")
    assert row["run"] == {"failed/step 1/rank 2": "its actor has died", "failed/step 1/rank 5": "did not answer"}


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_shard_pickles_to_its_bytes_and_little_more(protocol):
    for shard in (gm.Shard(), gm.Shard.of(**record(0, 1), step=3, extended=True, dialect="verl")):
        pickled = pickle.dumps(shard, protocol)
        if protocol > 2:  # which has bytes only as a text
            assert len(pickled) <= len(shard.to_bytes()) + 200
        again = pickle.loads(pickled)
        assert type(again) is gm.Shard and again.to_bytes() == shard.to_bytes()


def test_copies_are_shards_of_their_own():
    shard = gm.Shard.of(**record(0, 1))
    before = shard.to_bytes()
    for made in (copy.copy(shard), copy.deepcopy(shard), copy.deepcopy([shard])[0]):
        assert made.to_bytes() == before
        made.merge(gm.Shard.of(**record(1, 1), rank=1))
        assert shard.to_bytes() == before != made.to_bytes()


def test_a_pickle_that_holds_no_shard_is_an_error_that_says_so():
    made, (body,) = gm.Shard.of(**record(0, 1)).__reduce__()
    wrong = [b"", b"garbage", body[:-1], body + b"\0", bytes(len(body)), body[:40] + bytes([body[40] ^ 1]) + body[41:]]
    wrong += [body[:at] + bytes([body[at] ^ 0x40]) + body[at + 1 :] for at in range(0, len(body), 7)]
    for bad in wrong:
        # What `__reduce__` gives, with another body.
        class Hostile:
            def __reduce__(self, bad=bad):
                return made, (bad,)

        with pytest.raises(gm.WireError, match="expected"):
            pickle.loads(pickle.dumps(Hostile()))


class Two:
    """A gather of two ranks in one thread: rank 1 steps first."""

    sent: bytes

    def __init__(self, rank, other=None, **says):
        self.rank, self.world_size, self.other = rank, 2, other
        self.__dict__ |= says

    def gather(self, payload):
        if self.rank == 1:
            self.sent = payload
            return None
        return [payload, self.other.sent]


@pytest.mark.parametrize("says", ["the engine", "its gather"])
def test_a_replica_is_checked_and_not_counted_and_neither_is_what_it_reports_or_joins(tmp_path, says):
    by_option = says == "the engine"
    copy_of = Two(1, **({} if by_option else {"replica": True}))
    root = gm.Engine(gather=Two(0, copy_of), extended=True)
    replica = gm.Engine(gather=copy_of, extended=True, recorder=tmp_path / "record", **({"replica": True} if by_option else {}))
    with root, replica:
        for engine in (root, replica):
            engine.observe(**record(0, 1))
        with pytest.raises(gm.ColumnError):
            replica.observe(rewards=[1.0])
        replica.join(gm.Shard.of(**record(2, 1), rank=2, extended=True))
        assert replica.step(1, scalars={"grad_norm": 9.0}) is None
        row = root.step(1)
    assert not (tmp_path / "record").exists()
    with gm.Engine(extended=True) as alone:
        alone.observe(**record(0, 1))
        assert row == alone.step(1)


def test_a_replicas_shard_knows_nothing_and_joins_anything():
    replica = gm.Shard.of(**record(0, 1), rank=1, replica=True, step=1)
    assert (replica.completions, replica.ranks) == (0, [])
    shard = gm.Shard.of(**record(0, 1), step=1)
    before = shard.to_bytes()
    shard.merge(replica)
    assert shard.to_bytes() == before
    with pytest.raises(gm.ColumnError):
        gm.Shard.of(rewards=[1.0], replica=True)


def test_what_says_whether_it_is_a_replica_is_true_or_false():
    for given in ({"replica": "x"}, {"gather": Two(0, replica="x")}):
        with pytest.raises(gm.OptionError, match="replica`: expected True or False"):
            gm.Engine(**given)
