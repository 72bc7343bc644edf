"""How long a run page takes in Chromium, from navigation to drawn: ours, TensorBoard's and trackio's, showing the same data.

    python3 -m venv target/env/bars
    target/env/bars/bin/pip install tensorboard trackio google-crc32c pandas playwright
    GRPO_METRICS_COMMAND=target/release/grpo-metrics target/env/bars/bin/python tests/browser/bars.py

10 runs of 150 keys over 10,000 steps (`--runs`, `--keys`, `--steps`), made once under target/bars. Each page shows the same 12 keys of one
run, in a browser of its own profile, five times (`--times`); the first visit is told apart, as its server has read nothing yet.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright
from stores import COMMAND, TOP, Writer, command, replayed

PLACE = TOP / "target/bars"
BIN = Path(sys.executable).parent
PLOTS = 12
PATIENCE = 180  # seconds; what takes longer is told as that
SECOND = 1_700_000_000_000


def names(count: int) -> list[str]:
    """Real keys, so that the run page has what it shows first, and as many more as are asked for."""
    first = PLACE / "names.db"
    if not first.exists():
        replayed(first, "real", "--extended")
    keys = [one["key"] for one in json.loads(command("show", "real", "--store", first, "--all", "--json"))["metrics"]]
    return [*keys, *[f"own/{nth}" for nth in range(count)]][:count]


def course(run: int, key: int, steps: int) -> list[float]:
    """A noisy course, the same each time."""
    draw = random.Random(f"{run} {key}")
    return [math.tanh(3 * step / steps) + 0.2 * draw.random() for step in range(steps)]


def data(runs: int, keys: int, steps: int) -> Iterator[tuple[str, list[list[float]]]]:
    for run in range(runs):
        yield f"run-{run}", [course(run, key, steps) for key in range(keys)]


def fill_ours(place: Path, keys: list[str], asked: argparse.Namespace) -> None:
    replayed(place, "real", "--dialect", "trl")
    command("runs", "rm", "real", "--yes", "--store", place)
    writer = Writer(place)
    writer.connection.execute("PRAGMA synchronous = OFF")
    for run, columns in data(asked.runs, asked.keys, asked.steps):
        key = writer.run(run, status="completed")
        rows = ((step + 1, SECOND + 1000 * step, [column[step] for column in columns]) for step in range(asked.steps))
        writer.rows(key, keys, rows)
    writer.close()


def fill_tensorboard(place: Path, keys: list[str], asked: argparse.Namespace) -> None:
    import google_crc32c
    from tensorboard.compat.proto.event_pb2 import Event

    def checked(content: bytes) -> bytes:
        sum_ = google_crc32c.value(content)
        return struct.pack("<I", ((sum_ >> 15 | sum_ << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    for run, columns in data(asked.runs, asked.keys, asked.steps):
        (place / run).mkdir(parents=True)
        with (place / run / f"events.out.tfevents.{SECOND // 1000}.host").open("wb") as out:
            events = [Event(wall_time=SECOND / 1000, file_version="brain.Event:2")]
            for step in range(-1, asked.steps):
                event = events.pop() if step < 0 else Event(wall_time=SECOND / 1000 + step, step=step + 1)
                if step >= 0:
                    for key, column in zip(keys, columns, strict=True):
                        event.summary.value.add(tag=key, simple_value=column[step])
                content = event.SerializeToString()
                length = struct.pack("<Q", len(content))
                out.write(length + checked(length) + content + checked(content))


def fill_trackio(place: Path, keys: list[str], asked: argparse.Namespace) -> None:
    os.environ["TRACKIO_DIR"] = str(place)
    from trackio.sqlite_storage import SQLiteStorage

    for run, columns in data(asked.runs, asked.keys, asked.steps):
        for first in range(0, asked.steps, 1000):
            steps = range(first, min(first + 1000, asked.steps))
            rows = [dict(zip(keys, [column[step] for column in columns], strict=True)) for step in steps]
            SQLiteStorage.bulk_log(project="bars", run=run, metrics_list=rows, steps=[step + 1 for step in steps])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(arguments: list[str], address: str | None = None, **environment: str) -> Iterator[str]:
    """A server; its address is the one given, once it answers there, or what it prints first."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | environment)
    try:
        if address is None:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
        else:
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until:
                try:
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


OURS = """() => document.body.dataset.drawn !== undefined && document.querySelectorAll("[data-plot][data-drawn=true] canvas").length >= WANTED"""
# A card has its chart once the points are there, and a spinner until then. Its axes are taken for all of it, which is in its favour.
TENSORBOARD = """() => {
    const cards = [...document.querySelectorAll("scalar-card")];
    return cards.length >= WANTED && cards.slice(0, WANTED).every((card) => card.querySelector("mat-spinner") === null &&
        [...card.querySelectorAll("line-chart canvas, line-chart svg path")].some((one) => one.tagName === "CANVAS" || one.getAttribute("d")));
}"""
TRACKIO = """() => [...document.querySelectorAll("canvas, svg.marks, .vega-embed svg, .js-plotly-plot")].filter((one) => one.getBoundingClientRect().width > 150).length >= WANTED"""


def visits(address: str, ready: str, wanted: int, times: int) -> tuple[list[float], str]:
    """Seconds from navigation to drawn, each visit in a browser that knows nothing; with what was not as it should be."""
    took = []
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        for _ in range(times):
            browser = playwright.chromium.launch(executable_path=os.environ.get("GRPO_METRICS_CHROMIUM", "/usr/bin/chromium"), args=sandbox)
            page: Page = browser.new_page(viewport={"width": 1600, "height": 4000})
            begun = time.monotonic()
            try:
                page.goto(address, wait_until="commit", timeout=PATIENCE * 1000)
                page.wait_for_function(ready.replace("WANTED", str(wanted)), timeout=PATIENCE * 1000, polling=10)
                took.append(time.monotonic() - begun)
            except Exception as error:  # noqa: BLE001 -- it is told
                page.screenshot(path=str(PLACE / "last.png"))
                browser.close()
                return took, f"not drawn within {PATIENCE} s ({type(error).__name__}; target/bars/last.png)"
            page.screenshot(path=str(PLACE / f"{ready is OURS and 'ours' or ready is TENSORBOARD and 'tensorboard' or 'trackio'}.png"))
            browser.close()
    return took, ""


def ours(asked: argparse.Namespace, place: Path, _: list[str]) -> tuple[list[float], str]:
    with running([COMMAND, "serve", "--store", str(place), "--port", "0", "--no-token"]) as address:
        return visits(f"{address}#/run/run-0", OURS, PLOTS, asked.times)


def tensorboard(asked: argparse.Namespace, place: Path, keys: list[str]) -> tuple[list[float], str]:
    port = free_port()
    home = f"http://127.0.0.1:{port}/"
    with running([str(BIN / "tensorboard"), "--logdir", str(place), "--port", str(port), "--reload_interval", "3600"], home) as address:
        # It reads in the background: its pages are timed once it has all.
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            tags = json.load(urllib.request.urlopen(f"{address}data/plugin/timeseries/tags"))
            found = tags.get("scalars", {}).get("runTagInfo", {})
            if len(found) == asked.runs and all(len(of) >= asked.keys for of in found.values()):
                break
            time.sleep(1)
        time.sleep(5)
        wanted = "|".join(f"^{key}$" for key in keys[:PLOTS])
        return visits(f"{address}?runFilter={quote('^run-0$')}&tagFilter={quote(wanted)}#timeseries", TENSORBOARD, PLOTS, asked.times)


def trackio(asked: argparse.Namespace, place: Path, keys: list[str]) -> tuple[list[float], str]:
    port = free_port()
    home = f"http://127.0.0.1:{port}/"
    program = "import trackio, time; trackio.show(project='bars', open_browser=False, block_thread=True)"
    with running([sys.executable, "-c", program], home, TRACKIO_DIR=str(place), GRADIO_SERVER_PORT=str(port), GRADIO_ANALYTICS_ENABLED="0", HF_HUB_OFFLINE="1") as address:
        return visits(f"{address}?project=bars&runs=run-0&metrics={quote(','.join(keys[:PLOTS]), safe='')}&sidebar=hidden", TRACKIO, PLOTS, asked.times)


SHOWN: dict[str, tuple[str, Callable[[Path, list[str], argparse.Namespace], None], Callable[[argparse.Namespace, Path, list[str]], tuple[list[float], str]]]] = {
    "grpo-metrics": ("runs.db", fill_ours, ours),
    "tensorboard": ("tensorboard", fill_tensorboard, tensorboard),
    "trackio": ("trackio", fill_trackio, trackio),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    for name, value in [("runs", 10), ("keys", 150), ("steps", 10_000), ("times", 5)]:
        arguments.add_argument(f"--{name}", type=int, default=value)
    arguments.add_argument("--only", choices=SHOWN, action="append")
    asked = arguments.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    keys = names(asked.keys)
    load = os.getloadavg()[0]
    lines = [f"{asked.runs} runs, {asked.keys} keys, {asked.steps} steps; {PLOTS} plots; load {load:.1f} on {os.cpu_count()} processors", "", "| page | first visit, s | later, median s | |", "| --- | --- | --- | --- |"]
    for name, (file, fill, show) in SHOWN.items():
        if asked.only and name not in asked.only:
            continue
        place = PLACE / f"{asked.runs}-{asked.keys}-{asked.steps}" / file
        done = place.with_name(f"{file}.made")
        if not done.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["rm", "-rf", str(place)], check=True)
            fill(place, keys, asked)
            done.touch()
        took, wrong = show(asked, place, keys)
        first = f"{took[0]:.2f}" if took else ""
        later = f"{statistics.median(took[1:]):.2f}" if len(took) > 1 else ""
        lines.append(f"| {name} | {first} | {later} | {wrong} |")
        print(lines[-1], file=sys.stderr, flush=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
