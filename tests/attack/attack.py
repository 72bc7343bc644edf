"""Kills trainings and forwarders, breaks their stores under them, and counts what was lost: the table of docs/RELIABILITY.md.

    cargo build --features evsys --bin grpo-metrics --example victim
    python tests/attack/attack.py [--kills 1000] [--seed N] [ATTACK...]

Needs the Python package where the attacks on it are wanted (`python-...`, `fork`); leaves out with a line what this machine does not
allow. Nothing here is the crate's own: databases are read by Python's sqlite3, lines by json, and the gateway is a bare socket.
A step is acknowledged once the victim has said so after `step` came back, and it says so in one write to a pipe that outlives it.
Exit code 1 if anything acknowledged is missing, doubled or other than it was.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILT = Path(os.environ.get("GRPO_METRICS_BUILT", ROOT / "target" / "debug"))
COMMAND, VICTIM = BUILT / "grpo-metrics", BUILT / "examples" / "victim"
KEY = "sk-attack-0123456789"
REWARD = "train/reward"

LIFE = 40
"""Steps of a victim's life at most."""

Random = random.Random
Found = list[tuple[int, float]]
"""Every number under `REWARD` that a store holds, as (step, value), doubles and all."""


@dataclass
class Outcome:
    """A row of the table."""

    attack: str
    killed: int = 0
    acknowledged: int = 0
    missing: int = 0
    doubled: int = 0
    wrong: int = 0
    invented: int = 0
    told: str = ""

    @property
    def held(self) -> bool:
        return self.missing + self.doubled + self.wrong + self.invented == 0


@dataclass
class Seen:
    """What a run has said, over all its lives."""

    next: int = 1
    """The step to go on with: one that was begun is not begun again, as it may be stored already."""
    acknowledged: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    """Those that were told of their row's loss."""
    receipt: list[int] = field(default_factory=list)
    """Written, dropped and pending, once it came to its end."""

    def hears(self, line: str) -> None:
        what, *numbers = line.split()
        if what == "start":
            self.next = int(numbers[0]) + 1
        elif what == "ack":
            self.acknowledged.add(int(numbers[0]))
        elif what == "refused":
            self.refused.add(int(numbers[0]))
        elif what == "receipt":
            self.receipt = [int(number) for number in numbers]

    def judge(self, outcome: Outcome, found: Found, value_of: Callable[[int], float] = lambda step: step + 1.5) -> None:
        count = Counter(step for step, _ in found)
        outcome.acknowledged = len(self.acknowledged)
        outcome.missing = len(self.acknowledged - count.keys())
        outcome.doubled = sum(times - 1 for times in count.values())
        outcome.wrong = sum(value != value_of(step) for step, value in found)
        outcome.invented = sum(not 1 <= step < self.next for step in count)


def live(command: list[Any], seen: Seen, kill: tuple[int, float] | None, **environment: str) -> bool:
    """Lets a victim live until `kill`, as (acknowledged steps, seconds after them), or to its end; whether it was killed."""
    victim = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    lines = iter(victim.stdout.readline, "")
    if kill:
        steps, after = kill
        for _ in range(2 * steps):
            line = next(lines, None)
            if line is None:
                break
            seen.hears(line)
        time.sleep(after)
        victim.kill()
    for line in lines:  # what it said before it died is still in the pipe, and counts
        seen.hears(line)
    error = victim.stderr.read()
    code = victim.wait()
    if code not in ((0, -signal.SIGKILL) if kill else (0,)):
        raise SystemExit(f"{command}: exit code {code}\n{error}")
    return code != 0


def lethal(rng: Random) -> tuple[int, float]:
    """When to kill: as a life begins, some steps into it, or as it ends, at no particular moment of what it does then."""
    return (0, rng.random() * 0.08) if rng.random() < 0.2 else (rng.randint(1, LIFE), rng.random() * 0.01)


# What stores hold.


def of_lines(path: Path) -> Found:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["step"], row["metrics"][REWARD]) for row in rows]


def of_database(path: Path, name: str = REWARD) -> Found:
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    (sound,) = database.execute("PRAGMA integrity_check").fetchone()
    if sound != "ok":
        raise SystemExit(f"{path}: {sound}")
    return database.execute("SELECT step, value FROM metrics WHERE name = ?", (name,)).fetchall()


class Gateway:
    """A server that appends what it is told, so that a number that comes twice is seen twice, and that loses, tears or refuses answers."""

    def __init__(self, rng: Random, faults: float = 0.08) -> None:
        self.rng, self.faults = rng, faults
        self.metrics: dict[str, list[tuple[int, float, str]]] = {}
        """By name: step, value and split, as they came."""
        self.lock = threading.Lock()
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def found(self, name: str = REWARD) -> Found:
        return [(step, value) for step, value, _ in self.metrics.get(name, [])]

    def rest(self) -> None:
        """Waits until what the last victim had under way is done: whoever asks before cannot be told of it."""
        calm = 0
        while calm < 3:
            time.sleep(0.005)
            calm = 0 if self.connections else calm + 1

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            self._answers(connection)
        finally:
            with self.lock:
                self.connections -= 1

    def _answers(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as asked:
            try:
                while head := list(_head(asked)):
                    length = next(int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length:"))
                    if not self._answer(connection, json.loads(asked.read(length))):
                        return
            except (OSError, ValueError, StopIteration):
                return  # its victim died in the middle of a request

    def _answer(self, connection: socket.socket, asked: dict[str, Any]) -> bool:
        """Does what is asked, or not; whether the connection stays."""
        with self.lock:
            fault = self.rng.choice(("refuse", "hang up", "lose", "tear", "after all")) if self.rng.random() < self.faults else None
            if fault == "hang up":
                return False
            if fault == "refuse":
                _respond(connection, 503, {"error": "busy"})
                return True
            result = self._do(asked["op"], asked["args"])
        if fault == "lose":
            return False
        _respond(connection, 500 if fault == "after all" else 200, {"result": result}, torn=fault == "tear")
        return fault != "tear"

    def _do(self, op: str, args: dict[str, Any]) -> Any:
        if op == "log_metrics":
            for name, value in args["metrics"].items():
                self.metrics.setdefault(name, []).append((args["step"], value, args["split"]))
            return None
        if op == "get_metrics":
            named = self.metrics.get(args["name"], [])
            return [{"step": step, "value": value} for step, value, split in named if split == args["split"]]
        return {"id": args.get("run_id", "run"), "experiment_id": "experiment", "status": "running"}


def _head(asked: BinaryIO) -> Iterator[bytes]:
    """The lines of a request's head; none once the victim is gone."""
    while (line := asked.readline()) not in (b"", b"\r\n"):
        yield line


def _respond(connection: socket.socket, status: int, answer: Any, torn: bool = False) -> None:
    text = json.dumps(answer).encode()
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n".encode()
    connection.sendall(head + (text[: len(text) // 2] if torn else text))


# The attacks. Each takes its random numbers, an empty folder and a number of kills, and says what it did.

ATTACKS: dict[str, tuple[float, Callable[[Random, Path, int], Outcome]]] = {}
"""By name: the share of all kills, and the attack."""


def attack(name: str, share: float) -> Callable[[Callable[[Random, Path, int], Outcome]], Callable[[Random, Path, int], Outcome]]:
    def listed(act: Callable[[Random, Path, int], Outcome]) -> Callable[[Random, Path, int], Outcome]:
        ATTACKS[name] = share, act
        return act

    return listed


def killed(
    name: str,
    rng: Random,
    kills: int,
    command: Callable[[Seen, int], list[Any]],
    rest: Callable[[], None] = lambda: None,
    **environment: str,
) -> tuple[Outcome, Seen]:
    """Kills a victim again and again, with a `rest` after each life, and lets it come to its end in its last one."""
    outcome, seen = Outcome(name), Seen()
    while outcome.killed < kills:
        outcome.killed += live(command(seen, seen.next + LIFE), seen, lethal(rng), **environment)
        rest()
    for _ in range(60):  # a store that refuses leaves rows to the next life
        live(command(seen, seen.next + 1), seen, None, **environment)
        if not seen.receipt[2]:
            break
    _, dropped, pending = seen.receipt
    outcome.told = f"at the end {dropped} dropped, {pending} pending"
    return outcome, seen


def on_victim(kind: str, folder: Path) -> Callable[[Seen, int], list[Any]]:
    return lambda seen, until: [VICTIM, kind, folder, seen.next, until]


@attack("JSON lines", 0.15)
def json_lines(rng: Random, folder: Path, kills: int) -> Outcome:
    outcome, seen = killed("JSON lines", rng, kills, on_victim("jsonl", folder))
    seen.judge(outcome, of_lines(folder / "rows.jsonl"))
    return outcome


@attack("SQLite", 0.15)
def sqlite(rng: Random, folder: Path, kills: int) -> Outcome:
    outcome, seen = killed("SQLite", rng, kills, on_victim("sqlite", folder))
    seen.judge(outcome, of_database(folder / "runs.db"))
    return outcome


@attack("journal, then JSON lines", 0.15)
def journal_json_lines(rng: Random, folder: Path, kills: int) -> Outcome:
    outcome, seen = killed("journal, then JSON lines", rng, kills, on_victim("journal-jsonl", folder))
    seen.judge(outcome, of_lines(folder / "rows.jsonl"))
    return outcome


@attack("journal, then SQLite", 0.15)
def journal_sqlite(rng: Random, folder: Path, kills: int) -> Outcome:
    outcome, seen = killed("journal, then SQLite", rng, kills, on_victim("journal-sqlite", folder))
    seen.judge(outcome, of_database(folder / "runs.db"))
    return outcome


@attack("journal, then a gateway that lies", 0.15)
def journal_gateway(rng: Random, folder: Path, kills: int) -> Outcome:
    gateway = Gateway(rng)
    environment = {"EVSYS_API_URL": gateway.url, "EVSYS_API_KEY": KEY, "EVSYS_RUN": "run"}
    outcome, seen = killed("journal, then a gateway that lies", rng, kills, on_victim("journal-gateway", folder), gateway.rest, **environment)
    seen.judge(outcome, gateway.found())
    return outcome


class Log:
    """A training's metrics file, written and rotated by a thread while it is followed."""

    def __init__(self, rng: Random, folder: Path, pause: float) -> None:
        self.rng, self.file, self.seen, self.pause = rng, folder / "metrics.jsonl", Seen(), pause
        self.rotations = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._over.is_set():
            for _ in range(self.rng.randint(1, 30)):
                step = self.seen.next
                line = json.dumps({"ts": time.time(), "step": step, "metrics": {REWARD: step + 1.5}}).encode() + b"\n"
                with self.file.open("ab", buffering=0) as file:
                    half = self.rng.randrange(len(line))  # a writer may be caught between two writes
                    file.write(line[:half])
                    file.write(line[half:])
                self.seen.acknowledged.add(step)
                self.seen.next += 1
            # Before a forwarder has seen the file, nobody can know that what is rotated was to be forwarded.
            if self.rng.random() < 0.1 and any(self.file.parent.glob(".metrics.jsonl.*.forwarded.json")):
                self._rotate()
            time.sleep(self.pause)

    def _rotate(self) -> None:
        """As logrotate does; but some are packed, later, earlier or never, into files that are newer than those after them. None is removed."""
        self.rotations += 1
        aside = [path for path in self.file.parent.glob("metrics.jsonl.*") if not path.name.endswith(".partial")]
        for path in sorted(aside, key=lambda path: -int(path.name.split(".")[2])):
            number = int(path.name.split(".")[2])
            packed = path.name.endswith(".gz")
            moved = path.rename(path.with_name(f"metrics.jsonl.{number + 1}" + (".gz" if packed else "")))
            if number >= 2 and not packed and self.rng.random() < 0.5:
                partial = moved.with_name(f"metrics.jsonl.{number + 1}.gz.partial")
                partial.write_bytes(gzip.compress(moved.read_bytes()))
                partial.rename(moved.with_name(moved.name + ".gz"))
                moved.unlink()
        self.file.rename(self.file.with_name("metrics.jsonl.1"))


def followed(
    name: str,
    rng: Random,
    folder: Path,
    kills: int,
    store: list[Any],
    longest: float = 0.3,
    rest: Callable[[], None] = lambda: None,
    **environment: str,
) -> tuple[Outcome, Log]:
    """Kills followers, of `longest` seconds' life, of a file that grows and is rotated; the last one looks once more and ends."""
    log = Log(Random(rng.random()), folder, longest / 10)
    outcome = Outcome(name)
    command = [COMMAND, "forward", folder, "--run", "run", *store]
    for _ in range(kills):
        follower = subprocess.Popen(
            [str(part) for part in (*command, "--follow")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | environment,
        )
        time.sleep(0.02 + rng.random() * longest)
        follower.kill()
        outcome.killed += follower.wait() == -signal.SIGKILL
        rest()
    log.end()
    for _ in range(20):  # rows that a lying gateway refused are sent again by the next forward
        last = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=os.environ | environment)
        if last.returncode == 0:
            break
    outcome.told = f"{log.rotations} rotations; last forward: exit code {last.returncode}"
    return outcome, log


@attack("forward, then SQLite", 0.1)
def forward_sqlite(rng: Random, folder: Path, kills: int) -> Outcome:
    outcome, log = followed("forward, then SQLite", rng, folder, kills, ["--store", folder / "runs.db"])
    log.seen.judge(outcome, of_database(folder / "runs.db"))
    return outcome


@attack("forward, then a gateway that lies", 0.05)
def forward_gateway(rng: Random, folder: Path, kills: int) -> Outcome:
    gateway = Gateway(rng, faults=0.05)
    environment = {"EVSYS_API_URL": gateway.url, "EVSYS_API_KEY": KEY}
    # Its first missing row is asked for again after a second.
    outcome, log = followed("forward, then a gateway that lies", rng, folder, kills, ["--evsys"], 2.5, gateway.rest, **environment)
    log.seen.judge(outcome, gateway.found())
    return outcome


def on_python(folder: Path, behind: str) -> Callable[[Seen, int], list[Any]]:
    return lambda seen, until: [sys.executable, HERE / "victim.py", behind, folder, seen.next, until]


@attack("Python: journal, then SQLite", 0.06)
def python_sqlite(rng: Random, folder: Path, kills: int) -> Outcome:
    outcome, seen = killed("Python: journal, then SQLite", rng, kills, on_python(folder, "sqlite"))
    seen.judge(outcome, of_database(folder / "runs.db"))
    return outcome


@attack("Python: journal, SQLite; forked children", 0.04)
def python_forks(rng: Random, folder: Path, kills: int) -> Outcome:
    """Children step the parent's engine, leave its block, or outlive it, as a DataLoader's workers do."""
    outcome, seen = killed("Python: journal, SQLite; forked children", rng, kills, on_python(folder, "forks"))
    seen.judge(outcome, of_database(folder / "runs.db"))
    return outcome


@attack("outages of 1 s: a locked database", 0)
def locked_database(rng: Random, folder: Path, kills: int) -> Outcome:
    """Nobody is killed; another process holds the database every other second."""
    outcome, seen = Outcome("outages of 1 s: a locked database"), Seen()
    live([VICTIM, "journal-sqlite", folder, 1, 2], seen, None)
    over, held = threading.Event(), [0]

    def hold() -> None:
        database = sqlite3.connect(folder / "runs.db", timeout=30, isolation_level=None)
        while not over.is_set():
            database.execute("BEGIN IMMEDIATE")
            over.wait(1)
            database.execute("COMMIT")
            held[0] += 1
            over.wait(0.2)

    holder = threading.Thread(target=hold)
    holder.start()
    longest = 0.0
    for _ in range(5):
        began, before = time.monotonic(), seen.next
        live([VICTIM, "journal-sqlite", folder, seen.next, seen.next + 500], seen, None)
        longest = max(longest, time.monotonic() - began)
        assert seen.next == before + 500
    over.set()
    holder.join()
    live([VICTIM, "journal-sqlite", folder, seen.next, seen.next + 1], seen, None)
    seen.judge(outcome, of_database(folder / "runs.db"))
    outcome.told = f"held {held[0]} times; 500 steps and their delivery took {longest:.1f} s at most"
    return outcome


@attack("a full disk under journal and JSON lines", 0)
def full_disk(rng: Random, folder: Path, kills: int) -> Outcome:
    """A disk that a neighbour has filled up but for 64 KiB, and frees again in every other life while the victim steps."""
    outcome, seen = Outcome("a full disk under journal and JSON lines"), Seen()
    disk = folder / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], capture_output=True).returncode:
        outcome.told = "left out: no mount is allowed here"
        return outcome
    try:
        ballast = disk / "ballast"
        for life in range(20):
            with ballast.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(1 << 16)):
                        pass
                except OSError:
                    file.truncate(file.tell() - (64 << 10))  # enough to come up
            freed = threading.Timer(rng.random() * 0.05, ballast.unlink, [True])
            if life % 2 == 0:
                freed.cancel()
            freed.start()
            outcome.killed += live([VICTIM, "journal-jsonl", disk, seen.next, seen.next + LIFE], seen, (rng.randint(1, LIFE), 0.0))
            freed.cancel()
            freed.join()
            ballast.unlink(missing_ok=True)
        live([VICTIM, "journal-jsonl", disk, seen.next, seen.next + 1], seen, None)
        seen.judge(outcome, of_lines(disk / "rows.jsonl"))
        outcome.told = f"{len(seen.refused)} steps were told that their row is dropped"
    finally:
        subprocess.run(["umount", disk], check=True)
    return outcome


def table(outcomes: list[Outcome]) -> Iterator[str]:
    columns = ("killed", "acknowledged", "missing", "doubled", "wrong", "invented")
    yield "| attack | " + " | ".join(columns) + " | |"
    yield "| --- |" + " ---: |" * len(columns) + " --- |"
    for outcome in outcomes:
        numbers = " | ".join(f"{getattr(outcome, column):,}" for column in columns)
        yield f"| {outcome.attack} | {numbers} | {outcome.told} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, help="over all attacks; 1000")
    parser.add_argument("--seed", type=int, default=None, help="of the random numbers; the clock's by default")
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help="all, unless named: " + "; ".join(ATTACKS))
    given = parser.parse_args()
    if unknown := set(given.attacks) - ATTACKS.keys():
        parser.error(f"expected one of {list(ATTACKS)}, found {sorted(unknown)}")
    seed = time.time_ns() if given.seed is None else given.seed
    print(f"seed {seed}", file=sys.stderr)
    outcomes = []
    for name, (share, act) in ATTACKS.items():
        if given.attacks and name not in given.attacks:
            continue
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            outcomes.append(act(Random(f"{seed} {name}"), Path(folder), round(share * given.kills)))
            print(f"{name}: {time.monotonic() - began:.0f} s, {outcomes[-1]}", file=sys.stderr)
    print("\n".join(table(outcomes)))
    return not all(outcome.held for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
