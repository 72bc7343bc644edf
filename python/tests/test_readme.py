"""The README's snippets on reading, samples, stopping and options run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import grpo_metrics as gm

README = (Path(__file__).parents[1] / "README.md").read_text()


def snippets(heading):
    """The Python of one section."""
    [section] = re.findall(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", README, re.S | re.M)
    return re.findall(r"```python\n(.*?)```", section, re.S)


def batch(step):
    n = 8
    return SimpleNamespace(
        group_sizes=[4, 4],
        rewards=[(i + step) % 3 / 2 for i in range(n)],
        accuracy=[float(i % 2) for i in range(n)],
        advantages=[i / n for i in range(n)],
        prompts=[f"question {i // 4}" for i in range(n)],
        completions=[f"answer {i}" for i in range(n)],
        loss=1 / step,
    )


def names():
    return {"gm": gm, "batches": [batch(step) for step in range(1, 21)]}


@pytest.mark.parametrize("heading", ["Samples", "Stop early", "Limits, success, a recording, other outputs"])
def test_the_snippets_of_a_section_run_as_they_stand(heading, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = names()
    found = snippets(heading)
    assert found
    for code in found:
        exec(code, given)
    if heading == "Samples":
        assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 16
        assert len(gm.open("runs.db")["with-samples"].samples()) == 16
    if heading.startswith("Limits"):
        for made in ("rows.csv", "tb/my-run", "recording"):
            assert (tmp_path / made).exists(), made


def test_the_snippets_on_reading_run_as_they_stand(tmp_path, monkeypatch):
    plotting = pytest.importorskip("matplotlib")
    plotting.use("Agg")
    monkeypatch.chdir(tmp_path)
    for run, rate in (("seed-0", 1e-5), ("seed-1", 2e-5)):
        store = gm.Store("runs.db")
        store.open_run(run, config={"optimizer": {"lr": rate}})
        for step in range(1, 21):
            store.log_metrics(run, step, {"train/reward": step / 20, "train/kl": 0.1, "train/loss": 1 / step})
    given = {}
    for code in snippets("Read what is stored"):
        exec(code, given)
    assert given["compared"].configs == {"optimizer.lr": [2e-05, 1e-05]}
    assert len(given["metrics"].step) == 20 and len(given["axes"].get_lines()) == 4
