"""Sinks that a text names, and journals before them."""

import csv
import json
import subprocess
import sys

import grpo_metrics as gm
import pytest


def train(engine):
    with engine:
        for step in (1, 2, 3):
            engine.observe(group_sizes=[2], rewards=[0.0, float(step)])
            engine.step(step)
    return engine


@pytest.mark.parametrize("journal", [False, True])
def test_every_kind_is_reached_by_its_name_with_and_without_a_journal(tmp_path, journal):
    named = ["jsonl", "csv", "tensorboard"]
    sinks = [f"{name}:{tmp_path / name}" for name in named] + [tmp_path / "csv:x.jsonl", str(tmp_path / "plain.jsonl")]
    engine = gm.Engine(sinks=sinks, **({"journal": tmp_path / "journal"} if journal else {}))
    train(engine)
    receipts = engine.finish()
    assert [receipt["sink"] for receipt in receipts] == (["durable"] * 5 if journal else [*named, "jsonl", "jsonl"])
    assert all((r["accepted"], r["written"], r["error"]) == (3, 3, None) for r in receipts)
    lines = [json.loads(line) for line in (tmp_path / "jsonl").read_text().splitlines()]
    table = list(csv.DictReader((tmp_path / "csv").open()))
    for row, line in zip(table, lines, strict=True):
        numbers = {key: float(cell) for key, cell in row.items() if cell and key != "step"}
        assert int(row["step"]) == line["step"] and numbers == line["metrics"]
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert len((tmp_path / "plain.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sinks": ["cvs:rows"]}, r"`sinks`: expected a kind of sink \(jsonl, csv, tensorboard, console\), found `cvs`"),
        ({"sinks": ["csv:"]}, "`sinks`: csv: expected the path of a file"),
        ({"sinks": ["rows.jsonl"], "journal": ""}, "`journal`: expected the path of a folder, or False, found ''"),
        ({"store": "runs.db", "journal": ""}, "`journal`: expected the path of a folder, or False, found ''"),
    ],
)
def test_what_names_no_sink_and_no_journal_is_an_error_that_says_so(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(gm.OptionError, match=message):
        gm.Engine(**given)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_another_process_has_is_refused_before_a_store_is_made(tmp_path):
    program = "import grpo_metrics as gm, sys; e = gm.Engine(store=sys.argv[1], journal=sys.argv[2]); print('has it', flush=True); input()"
    given = [str(tmp_path / "theirs.db"), str(tmp_path / "journal")]
    with subprocess.Popen([sys.executable, "-c", program, *given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "has it\n"
        with pytest.raises(gm.SinkError, match="in use by process"):
            gm.Engine(store=tmp_path / "ours.db", journal=tmp_path / "journal")
        assert not (tmp_path / "ours.db").exists()
        other.communicate("let go\n")
