"""Stores to look at: made by the command, and written to by the tables that docs/STORE.md describes."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
COMMAND = os.environ.get("GRPO_METRICS_COMMAND") or str(TOP / "target/debug/grpo-metrics")
RECORDINGS = TOP / "tests/data/recordings"

# A number's id is its row's id and its series' place: four rows stand together, with room for 2^20 series between them.
ROWS_TOGETHER, ROOM = 2, 22


def command(*arguments: str | Path) -> str:
    """What the command says; a failure is one of the test."""
    return subprocess.run([COMMAND, *map(str, arguments)], check=True, capture_output=True, text=True, timeout=300).stdout


def replayed(store: Path, run: str, *options: str, recording: str = "trl-2rank") -> None:
    """A real run, as `replay` stores it."""
    command("replay", RECORDINGS / recording, "--store", store, "--run", run, "--quiet", *options)


def shown(store: Path, run: str) -> dict:
    """What `show` says of a run's keys: last, mean, min, max by the key."""
    return json.loads(command("show", run, "--store", store, "--all", "--json"))


class Writer:
    """Writes to a store beside whoever else does."""

    def __init__(self, store: Path) -> None:
        self.connection = sqlite3.connect(store, timeout=30, isolation_level=None)
        self.connection.execute("PRAGMA foreign_keys = ON")

    def close(self) -> None:
        self.connection.close()

    def run(self, name: str, *, status: str = "running", tags: Iterable[str] = (), note: str | None = None, seed: int | None = None, config: object = None, seen: str = "-0 seconds") -> int:
        """Begins a run, and gives its key."""
        experiment = self.connection.execute("SELECT id FROM experiments LIMIT 1").fetchone()[0]
        sign = f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '{seen}')"
        cursor = self.connection.execute(
            f"INSERT INTO runs (id, name, experiment_id, tags, note, seed, run_config, status, created_at, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, {sign}, {sign})",
            [name, name, experiment, json.dumps(list(tags)), note, seed, json.dumps(config or {}), status])
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def series(self, run: int, names: Iterable[str]) -> list[int]:
        """The places of a run's series, which it has from now on."""
        names = list(names)
        (last,) = self.connection.execute("SELECT coalesce(max(place), -4) FROM series WHERE run = ?", [run]).fetchone()
        known = dict(self.connection.execute("SELECT name, place FROM series WHERE run = ? AND split = 'train'", [run]))
        for name in names:
            if name not in known:
                last += 4
                known[name] = last
                self.connection.execute("INSERT INTO series (run, split, name, place) VALUES (?, 'train', ?, ?)", [run, name, last])
        return [known[name] for name in names]

    def rows(self, run: int, names: Iterable[str], rows: Iterable[tuple[int, int, Iterable[float]]]) -> None:
        """Stores rows of (step, time in milliseconds, a value a name) at once."""
        with self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            places = self.series(run, names)
            (written,) = self.connection.execute("SELECT coalesce(max(written), 0) FROM rows WHERE run = ?", [run]).fetchone()
            last = self.connection.execute("SELECT max(id) FROM rows").fetchone()[0]
            first = 0 if last is None else (last >> ROOM << ROWS_TOGETHER | last & 3) + 1

            def numbers() -> Iterator[tuple[int, float]]:
                for nth, (step, time, values) in enumerate(rows):
                    row = (first + nth) >> ROWS_TOGETHER << ROOM | (first + nth) & 3
                    self.connection.execute(
                        "INSERT INTO rows (id, run, step, split, time, steps, count, written) VALUES (?, ?, ?, 'train', ?, 1, ?, ?)",
                        [row, run, step, time, len(places), written + nth + 1])
                    yield from ((row + place, value) for place, value in zip(places, values, strict=True))

            self.connection.executemany("INSERT INTO numbers (id, value) VALUES (?, ?)", numbers())
            self.connection.execute("UPDATE runs SET seen_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE key = ?", [run])

    def sample(self, run: str, step: int, nth: int, *, prompt: str, text: str, reward: float, group: int = 0, rewards: dict[str, float] | None = None) -> None:
        """Stores a completion, as samples of a training are stored."""
        metadata = {"prompt_index": group, "group_size": 2, "completion_index": nth, "reward_rank_desc": nth, "length": len(text), "rewards": rewards or {"accuracy": reward}}
        self.connection.execute(
            "INSERT INTO predictions (id, run_id, kind, instruction, model_output, reward, advantage, step, sample_idx, metadata) VALUES (?, ?, 'train', ?, ?, ?, ?, ?, ?, ?)",
            [f"{run}-{step}-{group}-{nth}", run, prompt, text, reward, reward - 0.5, step, 10 * group + nth, json.dumps(metadata)])
