"""The embedded store under EvSys's names."""

from __future__ import annotations

import logging
import math
import time

import pytest

import grpo_metrics as gm


@pytest.fixture
def store(tmp_path):
    return gm.Store(tmp_path / "runs.db")


@pytest.fixture
def run(store):
    experiment = store.create_experiment(experiment_name="e", project_id="p", hypothesis="h", tags=["a", "b"])
    group = store.create_group(experiment_id=experiment["id"], name="g", description="d")
    return store.create_run(
        experiment_id=experiment["id"], group_id=group["id"], seed=3, recipe_kind="grpo", run_config={"lr": 0.1}, status="running"
    )


def test_every_record_comes_back_as_it_went_in(store, run):
    [experiment] = store.list_experiments()
    assert (experiment["experiment_name"], experiment["tags"], experiment["status"]) == ("e", ["a", "b"], "pending")
    assert store.get_experiment(experiment_id=experiment["id"]) == experiment
    [group] = store.list_groups(experiment_id=experiment["id"])
    assert (group["name"], group["description"]) == ("g", "d")
    assert store.get_run(run_id=run["id"]) == run == store.list_runs(group_id=group["id"])[0]
    assert (run["seed"], run["run_config"], run["status"]) == (3, {"lr": 0.1}, "running")
    point = store.add_checkpoint(run_id=run["id"], uri="s3://x", label="l", step=4, base_model="m", is_final=True)
    assert store.list_checkpoints(run_id=run["id"]) == [point]
    evaluation = store.create_eval(
        run_id=run["id"], benchmark_id="b", checkpoint_id=point["id"], model_ref="m", step=4, metrics={"acc": 0.5}, sdk_version="1"
    )
    assert store.list_evals(run_id=run["id"]) == [evaluation] and evaluation["metrics"] == {"acc": 0.5}
    prediction = store.add_prediction(
        run_id=run["id"], kind="eval", eval_id=evaluation["id"], task_id="t", reward=math.nan, sample_idx=0, metadata={"k": [1]}
    )
    assert store.log_predictions([{"kind": "rollout", "step": 1}], run_id=run["id"]) == 1
    assert store.list_predictions(run_id=run["id"], kind="eval") == [prediction]
    assert len(store.list_predictions(run_id=run["id"])) == 2
    assert "reward" not in prediction and prediction["metadata"] == {"k": [1]}


def test_changes_may_come_as_a_patch_or_as_keywords(store, run):
    assert store.update_run(run_id=run["id"], patch={"status": "failed", "error_message": "oom"})["status"] == "failed"
    assert store.update_run(run["id"], status="completed")["error_message"] == "oom"
    [experiment] = store.list_experiments()
    assert store.update_experiment(experiment_id=experiment["id"], patch={"conclusion": "c"})["conclusion"] == "c"


def test_numbers_come_back_to_the_bit_and_a_nan_is_left_out_and_said(store, run, caplog):
    values = {"a": 0.1 + 0.2, "b": -1e-310, "c": math.inf, "d": math.nan}
    with caplog.at_level(logging.WARNING, "grpo_metrics"):
        rows = store.log_metrics(run_id=run["id"], step=1, metrics=values)
    assert "1 NaN left out" in caplog.text and [row["name"] for row in rows] == ["a", "b", "c"]
    store.log_metric(run_id=run["id"], step=1, name="a", value=2, split="val")
    stored = store.get_metrics(run_id=run["id"], split="train")
    assert {row["name"]: row["value"] for row in stored if row["name"] != "c"} == {"a": 0.1 + 0.2, "b": -1e-310}
    assert store.get_metrics(run_id=run["id"], name="c")[0]["value"] == math.inf
    assert store.get_metrics(run_id=run["id"], split="val") == [{"step": 1, "name": "a", "value": 2.0, "split": "val"}]


def test_a_run_is_opened_by_its_name_and_continued(store):
    first = store.open_run("r", experiment="e", group="g", seed=1, config={"a": 1})
    assert first["id"] == "r" and store.open_run("r", resume="allow") == first


def test_an_error_of_the_store_is_one_of_the_family(store, tmp_path):
    with pytest.raises(gm.StoreError, match="expected run `no`, found no such record"):
        store.get_run(run_id="no")
    with pytest.raises(gm.StoreError, match="expected"):
        store.create_run(experiment_id="no")
    with pytest.raises(gm.StoreError, match="found no such file"):
        gm.Store(tmp_path / "none.db", read_only=True)
    with pytest.raises(gm.StoreError, match="split|train val"):
        store.log_metrics(run_id="no", step=1, metrics={"a": 1.0}, split="test")


def test_what_the_store_has_no_place_for_is_said(store, caplog):
    with caplog.at_level(logging.WARNING, "grpo_metrics"):
        store.create_experiment(experiment_name="e", project_goal_id="x", owner="y")
    assert "project_goal_id, owner" in caplog.text


@pytest.mark.parametrize(("path", "found"), [("", "found nothing"), (":memory:", "gone when it is closed"), ("/dev/null", "no file")])
def test_a_path_that_keeps_nothing_is_no_store(path, found):
    for opened in (lambda: gm.Store(path), lambda: gm.Engine(store=path)):
        with pytest.raises(gm.StoreError, match=found):
            opened()


def test_a_database_that_is_deleted_under_the_run_has_every_row_in_the_end(tmp_path, caplog):
    engine = gm.Engine(store=tmp_path / "runs.db", run="r", journal=tmp_path / "journal")
    for step in range(1, 13):
        engine.observe(group_sizes=[2], rewards=[0.0, 1.0])
        engine.step(step)
        if step % 4 == 0:
            time.sleep(0.5)  # so that rows are in the file that goes
            (tmp_path / "runs.db").unlink()
    [receipt] = engine.finish()
    assert (receipt["written"], receipt["dropped"], receipt["pending"]) == (12, 0, 0)
    store = gm.Store(tmp_path / "runs.db", read_only=True)
    assert {m["step"] for m in store.get_metrics("r")} == set(range(1, 13))
    assert store.get_run("r")["status"] == "completed"
    assert any("it was deleted or replaced while it was being written" in r.getMessage() for r in caplog.records)


def test_runs_are_written_as_tables_by_the_ending_of_the_file(store, run, tmp_path):
    store.log_metrics(run_id=run["id"], step=1, metrics={"a": 0.5, "b": math.inf})
    store.log_metrics(run_id=run["id"], step=2, metrics={"a": -0.25})
    table, long = tmp_path / "t.csv", tmp_path / "long.jsonl"
    assert store.export(table) == 2
    header, *lines = table.read_text().splitlines()
    assert header == "run,step,split,time,a,b"
    assert [line.split(",")[4:] for line in lines] == [["0.5", "inf"], ["-0.25", ""]]
    assert store.export(long, [run["id"]], long=True) == 3
    assert store.export(tmp_path / "t.parquet") == 2
    assert (tmp_path / "t.parquet").read_bytes()[:4] == b"PAR1"
    for path, runs, message in [
        (table, None, "found one"),
        (tmp_path / "t.xls", None, r"ends in .parquet, .csv or .jsonl, found `xls`"),
        (tmp_path / "u.csv", ["nosuch"], "nosuch"),
    ]:
        with pytest.raises(gm.StoreError, match=message):
            store.export(path, runs)
    assert store.export(table, force=True) == 2
    assert sorted(path.name for path in tmp_path.iterdir() if "runs.db" not in path.name) == ["long.jsonl", "t.csv", "t.parquet"]
