"""What is said of options, columns and scalars is what is taken, and a call that cannot be is a GrpoMetricsError."""

from __future__ import annotations

import copy
import inspect
import logging
import pickle
import pydoc
import threading
from types import SimpleNamespace

import grpo_metrics as gm
import pytest

TWO = {"group_sizes": [2], "rewards": [0.0, 1.0]}
FACES = {
    "Engine": gm.Engine,
    "observe": gm.Engine.observe,
    "summarize": gm.summarize,
    "Shard.of": gm.Shard.of,
    "Shard.row": gm.Shard.row,
}


@pytest.fixture
def engine():
    engine = gm.Engine(dialect="trl")
    engine.observe(**TWO)
    return engine


@pytest.mark.parametrize("name", FACES)
def test_every_parameter_has_a_line_in_the_help_and_is_taken(name):
    face = FACES[name]
    parameters = inspect.signature(face).parameters
    assert not any(p.kind is p.VAR_KEYWORD or p.kind is p.VAR_POSITIONAL for p in parameters.values())
    said = pydoc.plain(pydoc.render_doc(face))
    for parameter in set(parameters) - {"self", "records"}:
        assert f"{parameter}: " in said or f"`{parameter}`" in said, parameter
    of = {
        "Engine": lambda given: gm.Engine(**given),
        "observe": lambda given: gm.Engine().observe(**TWO | given),
        "summarize": lambda given: gm.summarize({"step": 1, "batch": TWO}, **given),
        "Shard.of": lambda given: gm.Shard.of(**TWO | given),
        "Shard.row": lambda given: gm.Shard.of(**TWO).row(**given),
    }[name]
    of({parameter: None for parameter in set(parameters) - {"self", "records", *TWO}})  # None counts as not given
    with pytest.raises(gm.GrpoMetricsError, match="unknown"):
        of({"nonsense": None})


def test_the_default_in_a_signature_is_what_holds_without_the_option(tmp_path):
    parameters = inspect.signature(gm.Engine).parameters.values()
    told = {p.name: p.default for p in parameters if p.default is not None}
    assert (told["dialect"], told["logging_steps"], told["success_threshold"]) == ("maxent", 1, 1.0)
    store = str(tmp_path / "runs.db")
    gm.Engine(store=store, run="r").finish()
    with gm.Engine(store=store, run="r", resume="must", **told) as again:  # refused, were one of them another
        assert again.run == "r"


def test_what_typed_dictionaries_name_is_what_is_known(engine, caplog):
    assert set(gm.Options.__annotations__) == set(inspect.signature(gm.Engine).parameters)
    own = {"scalars", "weighting", "rank", "micro", "self"}
    assert set(gm.Columns.__annotations__) == set(inspect.signature(gm.Engine.observe).parameters) - own
    for kind in (gm.Scalars, gm.Weighting, gm.Meta):
        assert all(f"{name}: " in kind.__doc__ for name in kind.__annotations__)
    words = {"loss_type": "grpo", "importance_sampling_level": "token", "scale_rewards": "group"}
    weighting = dict.fromkeys(gm.Weighting.__annotations__, 0.0) | words | {"meta": dict.fromkeys(gm.Meta.__annotations__, 0)}
    engine.step(1, scalars=dict.fromkeys(gm.Scalars.__annotations__, 0.5), weighting=weighting)
    assert "kept_out" not in engine.census()
    assert not [r for r in caplog.records if r.name == "grpo_metrics"]


WRONG = {
    "no step": lambda engine: engine.step(),
    "a negative step": lambda engine: engine.step(-1),
    "a text for a step": lambda engine: engine.step("1"),
    "a number that is not whole": lambda engine: engine.step(1.5),
    "a truth": lambda engine: engine.step(True),
    "None": lambda engine: engine.step(None),
    "two steps": lambda engine: engine.step(1, 2),
    "scalars that are none": lambda engine: engine.step(1, scalars=[0.5]),
    "a scalar that is a text": lambda engine: engine.step(1, scalars={"total_loss": "low"}),
    "a snapshot that is none": lambda engine: engine.step(1, weighting=0.5),
    "goes_out that is no truth": lambda engine: engine.step(1, goes_out="yes"),
    "an unknown keyword of step": lambda engine: engine.step(1, scalar={}),
    "columns without names": lambda engine: engine.observe([2], [0.0, 1.0]),
    "no columns": lambda engine: engine.observe(),
    "an unknown column": lambda engine: engine.observe(group_sizes=[1], reward=[1.0]),
    "a rank that is a truth": lambda engine: engine.observe(**TWO, rank=True),
    "a rank that is negative": lambda engine: engine.observe(**TWO, rank=-1),
    "an option without a name": lambda engine: gm.Engine("trl"),
    "an unknown option": lambda engine: gm.Engine(dialekt="trl"),
    "a cadence that is a text": lambda engine: gm.Engine(logging_steps="often"),
    "a status that is none": lambda engine: engine.finish(7),
    "an unknown keyword of finish": lambda engine: engine.finish(state="failed"),
    "metrics that are none": lambda engine: engine.log(1, [1.0]),
    "a metric that is a text": lambda engine: engine.log(1, {"a": "b"}),
    "nothing to log": lambda engine: engine.log(1),
    "a clip range that is a text": lambda engine: engine.expect_clip_range("a", 0.2),
    "a reason that is none": lambda engine: engine.fail(3),
    "a key that is none": lambda engine: engine.computes(3),
    "records that are none": lambda engine: gm.summarize(3),
    "no records": lambda engine: gm.summarize(),
    "a record of a negative step": lambda engine: gm.summarize({"step": -1, "batch": TWO}),
    "a record of a true step": lambda engine: gm.summarize({"step": True, "batch": TWO}),
    "a shard's columns without names": lambda engine: gm.Shard.of([2]),
    "an unknown column of a shard": lambda engine: gm.Shard.of(**TWO, reward=1),
    "an option of a row that is none": lambda engine: gm.Shard.of(**TWO).row(extended=True),
    "a shard that is none": lambda engine: gm.Shard.of(**TWO).merge(3),
    "a rank below 0 that is missing": lambda engine: engine.join(gm.Shard(), missing={-1: "lost"}),
    "bytes that are a text": lambda engine: gm.Shard.from_bytes("a"),
}


@pytest.mark.parametrize("call", WRONG)
def test_a_call_that_cannot_be_is_a_grpo_metrics_error_and_the_engine_goes_on(engine, call):
    with pytest.raises(gm.GrpoMetricsError):
        WRONG[call](engine)
    assert engine.step(9)["reward"] == 0.5


@pytest.mark.parametrize(
    ("call", "closest"),
    [
        (lambda engine: engine.step(1, scalar={}), "did you mean `scalars`"),
        (lambda engine: engine.observe(**TWO, advantage=[0, 0]), "did you mean `advantages`"),
        (lambda engine: gm.Engine(extendet=True), "did you mean `extended`"),
        (lambda engine: gm.Shard.of(**TWO).row(extended=True), "`extended` is what records are counted by, .* an option of `Shard.of`"),
        (lambda engine: gm.summarize([], logging_step=1), "did you mean `logging_steps`"),
        (lambda engine: gm.Shard.of(**TWO, dialekt="trl"), "did you mean"),
        (lambda engine: engine.finish(state="failed"), "did you mean `status`"),
    ],
)
def test_an_unknown_keyword_is_refused_with_the_closest_known_one(engine, call, closest):
    with pytest.raises(gm.GrpoMetricsError, match=closest):
        call(engine)


def test_what_is_wrong_in_somebody_elses_code_is_not_taken_for_a_wrong_call():
    def sinks():
        raise TypeError("mine")
        yield

    with pytest.raises(TypeError, match="^mine$"):
        gm.Engine(sinks=sinks())
    with pytest.raises(gm.OptionError, match="`sinks`: expected a list"):
        gm.Engine(sinks=3)


def test_a_step_that_comes_twice_or_goes_back_is_a_step_error_unless_the_training_goes_back(engine):
    assert engine.step(3) is not None
    for step in (3, 2, 0):
        engine.observe(**TWO)
        with pytest.raises(gm.StepError, match="call `rewind` first"):
            engine.step(step)
    assert engine.rewind() is None
    engine.observe(group_sizes=[1], rewards=[7.0])
    assert engine.step(2)["reward"] == 7.0


@pytest.mark.parametrize("stray", [-1, "2", 1, None, 2.5])
def test_a_rank_whose_step_is_wrong_errs_and_leaves_nobody_in_the_gather(stray):
    meeting, payloads = threading.Barrier(2, timeout=30), [b"", b""]

    def gather(rank, payload):
        payloads[rank] = payload
        meeting.wait()
        gathered = list(payloads)
        meeting.wait()
        return gathered if rank == 0 else None

    rows, errors = [], []

    def train(rank):
        place = SimpleNamespace(rank=rank, world_size=2, gather=lambda payload: gather(rank, payload))
        engine = gm.Engine(gather=place, policy="go_on", dialect="trl")
        for step in (1, 2, 3):
            engine.observe(group_sizes=[1], rewards=[float(rank)])
            try:
                row = engine.step(stray if (rank, step) == (1, 2) else step)
            except gm.StepError as error:
                errors.append((rank, step, str(error)))
            else:
                rows.append(row and row["reward"]) if rank == 0 else None

    ranks = [threading.Thread(target=train, args=(rank,)) for rank in (0, 1)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert [error[:2] for error in errors] == [(1, 2)]
    assert rows == [0.5, 0.0, 0.5]


def told(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "grpo_metrics"]


def test_another_name_of_a_scalar_is_taken_and_a_slip_is_kept_out_counted_and_said_once(caplog):
    caplog.set_level(logging.WARNING)
    engine = gm.Engine(dialect="trl")
    for step in (1, 2):
        engine.observe(**TWO, weighting={"epsilon_high": 0.3, "bata": 0.1})
        row = engine.step(step, scalars={"loss": 0.5, "lr": 1e-3, "step_time": 2.0, "totl_loss": 9.0, "mine": 3.0})
        assert (row["loss"], row["learning_rate"], row["step_time"], row["mine"]) == (0.5, 1e-3, 2.0, 3.0)
        assert "totl_loss" not in row
    assert engine.census()["kept_out"]["absent"] == 4
    slip, field = sorted(told(caplog), key=lambda line: "weighting" in line)
    assert "`totl_loss`" in slip and "did you mean `total_loss`?" in slip
    assert "`weighting.bata` is kept out" in field and "did you mean `beta`?" in field


def test_a_recording_has_the_names_that_were_given_and_gives_the_same_row(tmp_path):
    import json

    engine = gm.Engine(dialect="trl", recorder=tmp_path / "records")
    engine.observe(**TWO)
    row = engine.step(1, scalars={"loss": 0.5, "totl_loss": 9.0})
    engine.finish()
    [file] = (tmp_path / "records").glob("*.jsonl")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert gm.summarize(records, dialect="trl") == row == {"loss": 0.5, "reward": 0.5} | row


def test_a_shard_is_of_the_class_that_is_public_whichever_way_it_came(engine):
    empty, one = gm.Shard(), gm.Shard.of(**TWO)
    empty.merge(one)
    for shard in (empty, one, pickle.loads(pickle.dumps(one)), copy.copy(one), gm.Shard.from_bytes(one.to_bytes())):
        assert type(shard) is gm.Shard
        assert shard.row(step=1, dialect="trl") == engine.step(1) if shard is empty else shard.row(dialect="trl")["reward"] == 0.5
