"""Rows to what logs dictionaries: by a logger of our own, and by the real packages where they are installed, read back from their files."""

from __future__ import annotations

import json
import logging
import sqlite3
import struct
import sys
import time
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

import grpo_metrics as gm
from grpo_metrics.loggers import STEP, Names, Target

HOSTILE = ["pass@1", "pass_at_1", "pass@1/ci95/low", "a b", "a:b", "a_b", "a*", "*", "_step", "__x", "", "/", "/a//b/../c", "a/b/c", "λ", "x" * 400]
HOSTILE += ["x" * 400 + "y", "step", "metrics", "b", "b/c", "b/c/d", STEP, "e%", "run"]


class Logger:
    def __init__(self):
        self.calls = []

    def log(self, metrics, step=None):
        self.calls.append((metrics, step))


def run(logger, steps=2, between=lambda step: None, scalars=None, **options):
    """The rows of a small training, each of which the logger was handed; `between` is what others do before each."""
    engine = gm.Engine(sinks=[gm.LoggerSink(logger)], metadata={"git_sha": "abc"}, extended=True, **options)
    rows = []
    for step in range(1, steps + 1):
        between(step)
        engine.observe(group_sizes=[2], rewards=[0.0, float(step)])
        rows.append(engine.step(step, scalars=scalars))
    [receipt] = engine.finish()
    assert (receipt["written"], receipt["error"]) == (steps, None)
    return rows


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "grpo_metrics"]


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


def test_what_cannot_log_is_refused_with_what_to_hand_over_instead():
    for wrong, why in (
        (object(), "expected a logger with .*found object"),
        (None, "found NoneType"),
        (logging.getLogger(), "found RootLogger"),
        (ModuleType("wandb"), "found the module `wandb`: hand over what its `init` or `start_run` gave"),
    ):
        with pytest.raises(TypeError, match=why):
            gm.LoggerSink(wrong)


def test_a_summary_writer_is_refused_with_what_to_hand_over_instead(tmp_path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with closing(tensorboard.SummaryWriter(str(tmp_path))) as writer, pytest.raises(TypeError, match=r"found SummaryWriter; .*`write\(row\)`"):
        gm.LoggerSink(writer)


class Files(Target):
    """A logger whose names are like those of MLflow's folders, only narrower."""

    def fit(self, name):
        return name.replace("@", "_at_").replace("*", "_")

    def clash(self, name, given):
        return any(name.startswith(f"{other}/") or other.startswith(f"{name}/") for other in given)


def test_no_two_names_become_one_and_those_that_change_are_said_once(caplog):
    names = Names(Files(None))
    first = dict(names.of(["pass@1", "pass@1/ci95/low", "pass_at_1", "loss/total", "loss"]))
    assert first == {
        "pass_at_1": "pass_at_1",
        "pass@1": "pass_at_1_2",
        "pass@1/ci95/low": "pass_at_1.ci95.low",
        "loss": "loss",
        "loss/total": "loss.total",
    }
    names.of(first)
    [line] = said(caplog)
    assert "'pass@1' as 'pass_at_1_2'" in line and "'loss'" not in line
    later = names.of([*first, "loss.total", "*", "_"])
    assert {name: later[name] for name in first} == first
    assert (later["loss.total"], later["_"], later["*"]) == ("loss.total_2", "_", "__2")
    assert len(said(caplog)) == 2 and len(set(later.values())) == len(later)


# W&B


@pytest.fixture
def wandb_run(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(project="p", dir=str(tmp_path)) as made:
        yield made


def wandb_records(started):
    """What an offline run wrote, once it is all there: `finish` comes back before W&B's own process has written the last block."""
    path = started.settings.sync_file
    started.finish()
    for _ in range(300):
        records = [*wandb_frames(Path(path).read_bytes())]
        if records and records[-1].HasField("exit"):
            return records, path
        time.sleep(0.1)
    raise AssertionError(f"{path} has no end")


def wandb_frames(data):
    """Its protobuf records, in LevelDB's log format: blocks of 32 KiB, after seven bytes of W&B's own."""
    from wandb.proto import wandb_internal_pb2

    assert data[:4] == b":W&B"
    whole, at = b"", 7
    while at + 7 <= len(data):
        _crc, length, kind = struct.unpack_from("<IHB", data, at)
        left = 32768 - at % 32768
        if left < 7 or kind == 0:  # the rest of a block is empty
            at += left
            continue
        if at + 7 + length > len(data):
            return
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def wandb_rows(records):
    """The history, as W&B holds it."""
    history = [record.history for record in records if record.HasField("history")]
    return [{item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in row.item} for row in history]


def test_wandb_holds_every_row_while_another_logger_moves_its_counter(wandb_run):
    # As transformers' W&B callback does, which TRL logs through.
    wandb_run.define_metric("train/global_step")
    wandb_run.define_metric("*", step_metric="train/global_step", step_sync=True)

    def trl(step):
        for _ in range(3):
            wandb_run.log({"train/loss": 1.0, "train/global_step": step})

    rows = run(wandb_run, steps=8, between=trl)
    records, _ = wandb_records(wandb_run)
    held = wandb_rows(records)
    ours = [row for row in held if "train/reward" in row]
    assert len(ours) == 8 and len(held) == 8 + 24
    for step, (row, kept) in enumerate(zip(rows, ours), start=1):
        assert kept[STEP] == step and {name: kept[name] for name in row} == row
    over = {record.metric.name: record.metric.step_metric for record in records if record.HasField("metric")}
    assert over[STEP] == "" and {over[name] for row in rows for name in row} == {STEP}


def test_wandb_holds_every_row_while_transformers_own_callback_logs(wandb_run, tmp_path):
    transformers = pytest.importorskip("transformers")
    arguments = transformers.TrainingArguments(output_dir=str(tmp_path / "out"), report_to=[])
    state, callback = transformers.TrainerState(), transformers.integrations.WandbCallback()
    callback.setup(arguments, state, None)

    def trl(step):
        for more in range(3):
            state.global_step = 3 * step + more
            callback.on_log(arguments, state, None, logs={"loss": 1.0, "reward": 0.0})

    rows = run(wandb_run, steps=8, between=trl)
    held = wandb_rows(wandb_records(wandb_run)[0])
    assert sum("train/global_step" in row and row.get("train/loss") == 1.0 for row in held) == 24
    ours = {row[STEP]: row["train/reward_std"] for row in held if "train/reward_std" in row}
    assert ours == {step: row["train/reward_std"] for step, row in enumerate(rows, start=1)}


def test_wandb_takes_a_row_whose_texts_have_changed(wandb_run):
    wandb_run.config["run/git_sha"] = "before"
    run(wandb_run)
    assert wandb_run.config["run/git_sha"] == "abc"
    assert sum("train/reward" in row for row in wandb_rows(wandb_records(wandb_run)[0])) == 2


def test_wandb_holds_a_value_under_every_name_however_hostile(wandb_run, caplog):
    given = {name: float(i) for i, name in enumerate(HOSTILE)}
    sink = gm.LoggerSink(wandb_run)
    sink.write({"step": 5, "metrics": given})
    sink.write({"step": 6, "metrics": given})
    for row in wandb_rows(wandb_records(wandb_run)[0]):
        kept = {name: value for name, value in row.items() if not name.startswith("_") and name != STEP}
        assert sorted(kept.values()) == sorted(given.values())
        assert row["pass@1"] == given["pass@1"] and row["step"] == given["step"] and row["step_2"] == given["_step"]
    [line] = said(caplog)
    assert "'_step' as 'step_2'" in line


def test_wandb_records_are_read_here_as_by_its_own_reader(wandb_run):
    datastore = pytest.importorskip("wandb.sdk.internal.datastore", reason="this wandb has no reader in Python")
    run(wandb_run, steps=40)  # several blocks
    records, path = wandb_records(wandb_run)
    reader, theirs = datastore.DataStore(), []
    reader.open_for_scan(path)
    while (data := reader.scan_data()) is not None:
        theirs.append(data)
    assert len(theirs) > 40 and [record.SerializeToString(deterministic=True) for record in records] == [
        type(records[0]).FromString(data).SerializeToString(deterministic=True) for data in theirs
    ]


# trackio


@pytest.fixture(scope="session")
def trackio_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trackio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(folder))  # read when trackio is imported
        patch.setenv("HF_HUB_OFFLINE", "1")
        pytest.importorskip("trackio")
        yield folder


def trackio_rows(folder, project):
    with closing(sqlite3.connect(folder / f"{project}.db")) as database:
        return [(step, json.loads(text)) for step, text in database.execute("select step, metrics from metrics order by id")]


def test_trackio_holds_every_row_at_its_step_while_another_logger_moves_its_counter(trackio_folder, tmp_path):
    import trackio

    started = trackio.init(project="counter")
    # With a journal rows come from another thread.
    rows = run(started, steps=8, between=lambda step: [started.log({"loss": 1.0}) for _ in range(3)], journal=tmp_path / "journal")
    trackio.finish()
    held = trackio_rows(trackio_folder, "counter")
    ours = [(step, row) for step, row in held if "train/reward" in row]
    assert [step for step, _ in ours] == list(range(1, 9)) and len(held) == 8 + 24
    assert ours[0][1].pop("run/git_sha") == "abc"
    assert [{name: value for name, value in row.items() if not name.startswith("run/")} for _, row in ours] == rows


def test_trackio_holds_a_value_under_every_name_however_hostile(trackio_folder, caplog):
    import trackio

    started = trackio.init(project="names")
    given = {name: float(i) for i, name in enumerate(HOSTILE)}
    gm.LoggerSink(started).write({"step": 5, "metrics": given})
    trackio.finish()
    [(step, row)] = trackio_rows(trackio_folder, "names")
    assert step == 5 and sorted(row.values()) == sorted(given.values())
    assert row["pass@1"] == given["pass@1"] and row["step_"] == given["step"]
    assert len(said(caplog)) == 1 and not any(name.startswith("__") for name in row)


# MLflow


@pytest.fixture(scope="session")
def mlflow_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mlflow")  # one, as making a database takes MLflow half a minute


@pytest.fixture(params=["a database", "a folder"])
def mlflow_run(request, mlflow_folder, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    place = (mlflow_folder / "runs").as_uri() if request.param == "a folder" else f"sqlite:///{mlflow_folder}/mlflow.db"
    mlflow.set_tracking_uri(place)
    mlflow.set_experiment(request.node.name)
    with mlflow.start_run() as started:
        started.in_folder = request.param == "a folder"
        yield started


def mlflow_values(started):
    """By name, the numbers of each step, as MLflow's client reads them."""
    import mlflow

    client = mlflow.MlflowClient()
    names = client.get_run(started.info.run_id).data.metrics
    return {name: {m.step: m.value for m in client.get_metric_history(started.info.run_id, name)} for name in names}


def test_mlflow_holds_every_row_whole_pass_at_1_too(mlflow_run, tmp_path):
    import mlflow

    # With a journal rows come from another thread, where no run is active.
    rows = run(mlflow_run, steps=4, between=lambda step: mlflow.log_metric("loss", 1.0, step=step), journal=tmp_path / "journal")
    held = mlflow_values(mlflow_run)
    assert {len(row) for row in rows} == {len(held) - 1}
    for step, row in enumerate(rows, start=1):
        assert held["train/reward"][step] == row["train/reward"] and held["train/pass_at_1"][step] == row["train/pass@1"]
        assert sorted(values[step] for name, values in held.items() if name != "loss") == sorted(row.values())
    assert len(mlflow.search_runs()) == 1 and mlflow.get_run(mlflow_run.info.run_id).data.tags["run/git_sha"] == "abc"


def test_mlflow_in_a_folder_alone_changes_names_that_lie_under_another(mlflow_run):
    run(mlflow_run, scalars={"total_loss": 0.5})
    loss = {name for name in mlflow_values(mlflow_run) if name.startswith("train/loss") and name.endswith(("loss", "total"))}
    assert loss == {"train/loss", "train/loss.total" if mlflow_run.in_folder else "train/loss/total"}


def test_mlflow_holds_a_value_under_every_name_however_hostile(mlflow_run, caplog):
    given = {name: float(i) for i, name in enumerate([*HOSTILE, *(f"m{i}" for i in range(1500))])}
    sink = gm.LoggerSink(mlflow_run)
    sink.write({"step": 5, "metrics": given, "run": {"run/git_sha": "abc"}})
    sink.write({"step": 6, "metrics": given})
    held = mlflow_values(mlflow_run)
    assert len(held) == len(given) and {tuple(values) for values in held.values()} == {(5, 6)}
    assert sorted(values[6] for values in held.values()) == sorted(given.values())
    assert len(said(caplog)) == 1


# accelerate


@pytest.mark.parametrize("kind", ["wandb", "trackio", "mlflow", "tensorboard"])
def test_accelerates_trackers_hold_every_row_while_the_trainer_logs_through_them(kind, request, tmp_path, monkeypatch):
    accelerate = pytest.importorskip("accelerate")
    pytest.importorskip(kind)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    if kind == "trackio":
        folder = request.getfixturevalue("trackio_folder")
    if kind == "mlflow":
        sys.modules["mlflow"].set_tracking_uri(f"sqlite:///{request.getfixturevalue('mlflow_folder')}/mlflow.db")
    accelerator = accelerate.Accelerator(cpu=True, log_with=kind, project_dir=str(tmp_path / "log"))
    accelerator.init_trackers("accelerate", init_kwargs={"wandb": {"dir": str(tmp_path)}})
    with pytest.raises(TypeError, match="a sink of each of its `trackers`"):
        gm.LoggerSink(accelerator)
    [tracker] = accelerator.trackers
    started = tracker.tracker

    def trainer(step):
        for more in range(3):
            accelerator.log({"loss": 1.0}, step=3 * step + more)

    rewards = [row["train/reward"] for row in run(tracker, steps=8, between=trainer)]
    if kind == "wandb":
        records, _ = wandb_records(started)
        held = {row[STEP]: row["train/reward"] for row in wandb_rows(records) if "train/reward" in row}
    elif kind == "mlflow":
        held = mlflow_values(started)["train/reward"]
    accelerator.end_training()
    if kind == "trackio":
        held = {step: row["train/reward"] for step, row in trackio_rows(folder, "accelerate") if "train/reward" in row}
    elif kind == "tensorboard":
        events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        read = events.EventAccumulator(str(tmp_path / "log" / "accelerate")).Reload()
        held = {event.step: event.value for event in read.Scalars("train/reward")}
    assert held == dict(enumerate(rewards, start=1))
