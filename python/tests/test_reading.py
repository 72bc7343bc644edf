"""Reading a store: runs, metrics as arrays and tables, comparisons, what a notebook shows."""

from __future__ import annotations

import json
import math
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser

import numpy as np
import pytest

import grpo_metrics as gm

HOSTILE = "<script>alert('x')</script>\u202e\"&\n"


def log(store, run, steps=20, *, config=None, offset=0.0, key="train/reward"):
    """A run whose numbers are known."""
    store.open_run(run, config=config)
    for step in range(1, steps + 1):
        metrics = {key: offset + step / 10, "train/loss": 1 / step, "train/beta": 0.04, "train/other/a": float(step)}
        if step % 4 == 0:
            metrics["train/kl"] = step / 100
        store.log_metrics(run, step, metrics)
        if step % 10 == 0:
            store.log_metrics(run, step, {"eval/reward": 0.5, "train/reward": 0.25}, "val")


@pytest.fixture
def path(tmp_path):
    store = gm.Store(tmp_path / "runs.db")
    log(store, "a", config={"lr": 1e-5, "model": {"name": "small"}})
    log(store, "b", 10, config={"lr": 2e-5, "model": {"name": "small"}}, offset=1.0)
    store.open_run("empty")
    store.update_run("b", {"status": "completed", "tags": ["kept"], "note": "the second"})
    return tmp_path / "runs.db"


def by_sqlite(path, run, name, split="train"):
    """An outsider: what Python's own sqlite3 reads."""
    with sqlite3.connect(path) as db:
        sql = "select step, value from metrics where run_id = ? and name = ? and split = ? order by step"
        return db.execute(sql, (run, name, split)).fetchall()


def test_a_store_that_is_not_there_is_an_error_and_is_not_made(tmp_path):
    with pytest.raises(gm.StoreError, match="no such file"):
        gm.open(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("not a store at all")
    with pytest.raises(gm.StoreError):
        gm.open(tmp_path / "text.db")
    assert sorted(os.listdir(tmp_path)) == ["text.db"]


def test_the_store_is_the_one_that_the_environment_names_and_else_runs_db(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    assert len(gm.open()) == 3
    monkeypatch.setenv("GRPO_METRICS_STORE", str(path.parent / "other.db"))
    with pytest.raises(gm.StoreError, match=r"other\.db"):
        gm.open()


def test_runs_come_newest_first_and_are_found_by_what_is_known_of_them(path):
    store = gm.open(path)
    assert [run.id for run in store] == ["empty", "b", "a"]
    assert [run.id for run in store.runs(status="completed")] == ["b"]
    assert [run.id for run in store.runs(status=["completed", "pending"], tag="kept")] == ["b"]
    assert store.runs(experiment="nothing") == []
    assert len(store.runs(since="1h")) == 3
    assert len(store.runs(since=datetime.now(timezone.utc) - timedelta(hours=1))) == 3
    assert store.runs(since=datetime.now(timezone.utc) + timedelta(hours=1)) == []
    for wrong in ({"status": "finished"}, {"since": "yesterday"}, {"tag": [1]}):
        with pytest.raises(gm.OptionError):
            store.runs(**wrong)
    assert "a" in store and "z" not in store and len(store) == 3


def test_a_run_says_what_is_known_of_it(path):
    run = gm.open(path)["b"]
    assert (run.id, run.name, run.status, run.steps, run.first_step, run.last_step) == ("b", "b", "completed", 10, 1, 10)
    assert (run.tags, run.note, run.config["lr"], run.error) == (["kept"], "the second", 2e-5, None)
    assert abs((run.created_at - datetime.now(timezone.utc)).total_seconds()) < 3600
    with pytest.raises(gm.StoreError, match="did you mean `empty`"):
        gm.open(path)["emty"]


def test_a_run_that_nobody_hears_of_has_stopped_as_the_command_says_it(path):
    with sqlite3.connect(path) as db:
        db.execute("update runs set status = 'running', seen_at = '2026-01-31T12:03:00.000Z' where id = 'a'")
    run = gm.open(path)["a"]
    assert run.status == "stopped (no sign since 2026-01-31 12:03)"
    assert [run.id for run in gm.open(path).runs(status="stopped")] == ["a"]


def test_metrics_are_arrays_of_one_length_with_the_numbers_that_sqlite_reads(path):
    metrics = gm.open(path)["a"].metrics()
    assert metrics.step.dtype == np.int64 and metrics.step.tolist() == list(range(1, 21))
    assert metrics.time.dtype == np.dtype("datetime64[ms]") and not np.isnat(metrics.time).any()
    assert {len(array) for array in metrics.values()} == {20}
    for key, name, split in [
        ("train/reward", "train/reward", "train"),
        ("train/kl", "train/kl", "train"),
        ("train/reward (val)", "train/reward", "val"),
        ("eval/reward", "eval/reward", "val"),
    ]:
        known = ~np.isnan(metrics[key])
        read = list(zip(metrics.step[known].tolist(), metrics[key][known].tolist()))
        assert read == by_sqlite(path, "a", name, split), key
        assert read
    # What is looked at first stands first.
    assert list(metrics)[:4] == ["step", "time", "train/reward", "train/reward (val)"]
    with pytest.raises(KeyError):
        metrics["train/nothing"]


def test_one_key_is_a_series_and_a_pattern_is_several(path):
    run = gm.open(path)["a"]
    series = run.metrics("train/kl")
    assert list(series) == ["step", "time", "train/kl"]
    assert list(zip(series.step.tolist(), series["train/kl"].tolist())) == by_sqlite(path, "a", "train/kl")
    assert set(run.metrics(["train/o*", "train/kl"])) == {"step", "time", "train/kl", "train/other/a"}
    assert run.keys("train/o*") == ["train/other/a"]
    assert list(run.metrics(split="val").step) == [10, 20]
    with pytest.raises(gm.OptionError, match="the closest: `train/kl`"):
        run.metrics("train/klx")
    for wrong in ("[", "a{b,c}", 3, ["train/kl", 3]):
        with pytest.raises(gm.OptionError):
            run.metrics(wrong)
    with pytest.raises(gm.OptionError, match="train val"):
        run.metrics(split="test")


def test_a_run_without_numbers_has_empty_arrays(path):
    run = gm.open(path)["empty"]
    metrics = run.metrics()
    assert (list(metrics), metrics.step.tolist(), run.keys()) == (["step", "time"], [], [])
    assert (run.steps, run.last_step) == (0, None)
    assert "no metrics" in run._repr_html_() and "no metrics" in repr(run)


def test_a_key_that_is_called_as_a_column_has_another_name(tmp_path):
    store = gm.Store(tmp_path / "runs.db")
    store.open_run("a")
    store.log_metrics("a", 1, {"step": 7.0, "time": 8.0, "x": math.inf})
    metrics = gm.open(tmp_path / "runs.db")["a"].metrics()
    assert metrics["step"].tolist() == [1] and metrics["step_2"].tolist() == [7.0] and metrics["time_2"].tolist() == [8.0]
    assert metrics["x"].tolist() == [math.inf]


def test_a_run_is_read_while_another_process_writes_it(path, tmp_path):
    ready = tmp_path / "ready"
    writer = (
        "import sys, pathlib, grpo_metrics as gm\n"
        f"store = gm.Store({str(path)!r})\n"
        "for step in range(1000, 100000):\n"
        "    store.log_metrics('a', step, {'train/reward': 1.0, 'train/loss': 2.0})\n"
        f"    pathlib.Path({str(ready)!r}).touch()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", writer], env=os.environ)
    try:
        run, seen = gm.open(path)["a"], []
        while len(set(seen)) < 5 and process.poll() is None:
            if ready.exists():
                metrics = run.metrics()
                late = metrics.step >= 1000
                # Rows are whole: a step that is there has all its numbers.
                assert not np.isnan(metrics["train/reward"][late]).any() and not np.isnan(metrics["train/loss"][late]).any()
                seen.append(int(late.sum()))
        assert process.poll() is None and sorted(seen) == seen
    finally:
        process.kill()
        process.wait()


def test_other_threads_run_while_a_run_is_read(path):
    store = gm.Store(path)
    for step in range(100, 600):
        store.log_metrics("a", step, {f"train/k{n}": 1.0 for n in range(60)})
    run, counted, over = gm.open(path)["a"], [0], threading.Event()

    def count():
        while not over.is_set():
            counted[0] += 1
            time.sleep(0.0005)  # whoever wakes up waits to be let in

    held = sys.getswitchinterval()
    thread = threading.Thread(target=count)
    try:
        sys.setswitchinterval(1000)  # nobody is switched to who is not let in
        thread.start()
        before = counted[0]
        for _ in range(500):
            run.metrics()
            if counted[0] > before:
                break
        else:
            raise AssertionError("nobody was let in")
    finally:
        sys.setswitchinterval(held)
        over.set()
        thread.join()


def test_tables_of_other_libraries_have_the_same_numbers(path):
    metrics = gm.open(path)["a"].metrics()
    expected = by_sqlite(path, "a", "train/kl")
    for package, make in [("pandas", metrics.to_pandas), ("polars", metrics.to_polars), ("pyarrow", metrics.to_arrow)]:
        pytest.importorskip(package)
        table = make()
        if package == "pandas":
            assert list(table.columns) == list(metrics) and str(table["time"].dtype) == "datetime64[ms]"
            read = table.dropna(subset="train/kl")[["step", "train/kl"]].values.tolist()
        elif package == "polars":
            assert table["train/kl"].null_count() == 15
            read = table.drop_nulls("train/kl").select("step", "train/kl").rows()
        else:
            assert table.column("train/kl").null_count == 15 and str(table.schema.field("time").type) == "timestamp[ms]"
            read = [(row["step"], row["train/kl"]) for row in table.to_pylist() if row["train/kl"] is not None]
        assert [tuple(row) for row in read] == expected, package


@pytest.mark.parametrize("package, method", [("pandas", "to_pandas"), ("polars", "to_polars"), ("pyarrow", "to_arrow")])
def test_what_is_not_installed_is_named(path, monkeypatch, package, method):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(gm.GrpoMetricsError, match=f"pip install {package}"):
        getattr(gm.open(path)["a"].metrics(), method)()


def test_compared_runs_have_the_numbers_that_the_command_shows(path, command):
    store = gm.open(path)
    compared = gm.compare([store["a"], store["b"]], all=True)
    told = subprocess.run([*command, "show", "a", "b", "--store", path, "--json"], capture_output=True, check=True, text=True)
    told = json.loads(told.stdout)
    assert len(compared.keys) == len(told["metrics"]) == 7
    for ours, theirs in zip(compared.keys, told["metrics"]):
        assert (ours["key"], ours["split"], ours["better"]) == (theirs["key"], theirs["split"], theirs["better"])
        for mine, run in zip(ours["runs"], theirs["runs"]):
            assert mine["last"] == run["last"] and mine["best"] == run["best"] and mine["difference"] == run["difference"]
            assert mine["common_steps"] == run["common_steps"] and mine["mean_difference"] == run["mean_difference"]
    assert compared.configs == {"lr": [1e-5, 2e-5]}
    assert compared["train/reward"]["runs"][1]["difference"] == pytest.approx(0.0)
    assert compared["train/reward"]["runs"][0]["best"] == 2.0 and compared["train/reward"]["runs"][0]["best_step"] == 20
    first = gm.compare([store["a"], store["b"]])
    assert first.hidden == 3 and [line["key"] for line in first.keys][0] == "train/reward"


def test_runs_of_two_stores_are_compared_and_what_is_no_run_is_refused(path, tmp_path):
    other = gm.Store(tmp_path / "other.db")
    log(other, "c", 5)
    compared = gm.compare([gm.open(path)["a"], gm.open(tmp_path / "other.db")["c"]], "train/loss")
    assert [told["last"] for told in compared["train/loss"]["runs"]] == [1 / 20, 1 / 5]
    with pytest.raises(gm.OptionError):
        compared["train/kl"]
    for wrong in ([], ["a"]):
        with pytest.raises(gm.OptionError, match="expected runs"):
            gm.compare(wrong)


class Page(HTMLParser):
    """Which elements a page has, and what of it is text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.said, self.attributes = [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.said += data


def test_a_notebook_shows_tables_and_small_plots_and_nothing_of_what_names_say_acts(tmp_path):
    store = gm.Store(tmp_path / "runs.db")
    for run in (HOSTILE, "b"):
        log(store, run, config={HOSTILE: run}, key=f"train/rewards/{HOSTILE}/mean", offset=float(run == "b"))
        store.update_run(run, {"tags": [HOSTILE], "note": HOSTILE})
    runs = gm.open(tmp_path / "runs.db").runs()
    row = gm.Row({f"train/rewards/{HOSTILE}/mean": 0.5, "train/reward": 0.5} | {f"k{n}": 1.0 for n in range(40)})
    shown = [row, *runs, runs, gm.compare(runs, all=True), runs[0].metrics(), gm.open(tmp_path / "runs.db")]
    for what in shown:
        page = Page(what._repr_html_())
        assert set(page.tags) <= {"div", "table", "thead", "tbody", "tr", "th", "td", "svg", "polyline", "circle", "details", "summary"}
        assert "table" in page.tags and "script" not in page.tags
        assert "\u202e" not in page.said and "\n" not in page.said
        assert "<script>alert('x')</script>\\u{202e}\"&\\n" in page.said, type(what)
        # Nothing is fetched, and nothing is drawn in a colour of its own.
        assert not any("http" in (value or "") and name != "xmlns" or name.startswith("on") for name, value in page.attributes)
        assert "#" not in "".join(value or "" for name, value in page.attributes)
    assert "polyline" in Page(runs[0]._repr_html_()).tags
    assert Page(gm.compare(runs, all=True)._repr_html_()).said.count(HOSTILE[:8]) >= 4


def test_small_plots_span_what_is_finite():
    from grpo_metrics._html import sparkline

    assert sparkline(np.array([])) == "" and sparkline(np.array([np.nan, np.inf])) == ""
    assert sparkline(np.array([1.0, 2.0, np.inf, 1.0])).count("<polyline") == 1  # and a point behind the gap
    assert sparkline(np.array([1.0, 2.0, np.inf, 1.0])).count("<circle") == 1
    assert "nan" not in sparkline(np.array([np.finfo(float).max, -np.finfo(float).max, 0.0]))
    assert "nan" not in sparkline(np.full(5000, 0.1)) and len(sparkline(np.arange(100_000.0))) < 3000


def test_a_row_is_a_dictionary_that_can_be_read():
    engine = gm.Engine(dialect="trl")
    engine.observe(group_sizes=[2], rewards=[0.0, 1.0])
    row = engine.step(1)
    assert isinstance(row, gm.Row) and isinstance(row, dict) and row == dict(row)
    assert pickle.loads(pickle.dumps(row)) == row and json.loads(json.dumps(row)).keys() == row.keys()
    assert type(engine.last_row) is gm.Row and row["reward"] == 0.5
    assert isinstance(gm.summarize({"step": 1, "rank": 0, "world_size": 1, "batch": {"group_sizes": [1], "rewards": [1.0]}}), gm.Row)
    small = gm.Row({"loss": 0.5})
    assert repr(small) == "{'loss': 0.5}"
    large = gm.Row({"train/zebra": 1.0, **{f"k{n}": float(n) for n in range(150)}, "train/reward": 0.5, "train/kl": 0.1})
    assert repr(large) == "{'train/reward': 0.5, 'train/kl': 0.1, ... 151 more}"
    assert "train/zebra" in large._repr_html_() and gm.Row()._repr_html_()


def test_a_run_is_plotted(path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    run = gm.open(path)["a"]
    axes = run.plot("train/kl")
    (line,) = axes.get_lines()
    assert list(zip(line.get_xdata().tolist(), line.get_ydata().tolist())) == by_sqlite(path, "a", "train/kl")
    assert axes.get_xlabel() == "step" and axes.get_ylabel() == "train/kl" and axes.get_legend() is None
    assert run.plot().get_lines()[0].get_ydata().tolist() == run.metrics("train/reward", split="train")["train/reward"].tolist()
    mine = pyplot.figure().add_subplot()
    assert run.plot(["train/loss", "train/o*"], x="time", smooth=5, ax=mine, linestyle="--") is mine
    assert len(mine.get_lines()) == 4 and mine.get_legend() is not None
    smooth = mine.get_lines()[0].get_ydata()
    values = run.metrics("train/loss")["train/loss"]
    assert smooth.tolist() == pytest.approx([values[max(0, i - 4) : i + 1].mean() for i in range(len(values))])
    assert np.issubdtype(mine.get_lines()[0].get_xdata().dtype, np.datetime64)
    for wrong in ({"x": "epoch"}, {"smooth": 0}, {"smooth": 1.5}, {"key": "zzz"}):
        with pytest.raises(gm.OptionError):
            run.plot(**wrong)
    pyplot.close("all")


def test_a_plot_without_matplotlib_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(gm.GrpoMetricsError, match="pip install matplotlib"):
        gm.open(path)["a"].plot("train/loss")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_to_open_its_own(path):
    store = gm.open(path)
    child = os.fork()
    if child == 0:
        try:
            store.runs()
            os._exit(1)
        except gm.StoreError:
            os._exit(0 if len(gm.open(path)) == 3 else 2)
    assert os.waitpid(child, 0)[1] == 0
