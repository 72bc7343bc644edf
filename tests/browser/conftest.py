"""The page in Debian's Chromium, over stores that the command serves."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packed import member, packed
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from stores import COMMAND, Writer, replayed

CHROMIUM = os.environ.get("GRPO_METRICS_CHROMIUM", "/usr/bin/chromium")
AXE = ("axe-core", "4.14.1", "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745")
GUARD = 20_000  # ms: what has not come by then does not come


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: one of those that .ci/run leaves to .ci/full")


class Served:
    """A store that the command serves, at an address."""

    def __init__(self, store: Path, *, port: str = "0", token: bool = False) -> None:
        self.store = store
        self.process = subprocess.Popen([COMMAND, "serve", "--store", str(store), "--port", port, *([] if token else ["--no-token"])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http"), self.process.stderr and self.process.stderr.read()

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=20)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def runs_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three real runs: two that differ in their dialect and one that differs in its window; one has completions."""
    store = tmp_path_factory.mktemp("store") / "runs.db"
    replayed(store, "max-run", "--extended")
    replayed(store, "every-second", "--extended", "--every", "2")
    replayed(store, "verl-run", "--dialect", "verl")
    writer = Writer(store)
    for group, (first, second) in enumerate([(0.0, 1.0), (1.0, 1.0)]):
        writer.sample("max-run", 12, 0, prompt="What is 2 + 2?", text="It is 4.", reward=first, group=group)
        writer.sample("max-run", 12, 1, prompt="What is 2 + 2?", text="It is four.", reward=second, group=group)
    writer.close()
    return store


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Serves a store until the test is over."""
    served: list[Served] = []

    def of(store: Path, *, port: str = "0", token: bool = False) -> Served:
        served.append(Served(store, port=port, token=token))
        return served[-1]

    yield of
    for one in served:
        one.end()


@pytest.fixture(scope="session")
def served(runs_db: Path) -> Iterator[Served]:
    one = Served(runs_db)
    yield one
    one.end()


class Watched:
    """Pages in which nothing may go wrong that the test does not expect, and which may ask only the server they came from."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.contexts: list[BrowserContext] = []
        self.wrong: list[str] = []
        self.expected: list[str] = []

    def page(self, address: str, *, width: int = 1280, height: int = 900, scheme: str = "light", wait: bool = True) -> Page:
        context = self.browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        self.contexts.append(context)
        context.set_default_timeout(GUARD)
        page = context.new_page()
        home = urlsplit(address).netloc
        page.on("console", lambda message: self.wrong.append(f"console: {message.type}: {message.text}") if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.wrong.append(f"request to {request.url}") if urlsplit(request.url).scheme not in ("data", "blob") and urlsplit(request.url).netloc != home else None)
        page.goto(address)
        if wait:
            drawn(page)
        return page

    def expect(self, *texts: str) -> None:
        """What goes wrong and has one of these in its message is meant to."""
        self.expected += texts

    def close(self) -> None:
        for context in self.contexts:
            context.close()


def drawn(page: Page) -> None:
    """Waits until the view is drawn, and each plot of it that is to be seen."""
    page.wait_for_function("""() => {
        if (document.body.dataset.drawn === undefined || document.querySelector("main").ariaBusy === "true") return false;
        const seen = (plot) => { const box = plot.getBoundingClientRect(); return box.width > 0 && box.bottom > 0 && box.top < innerHeight; };
        return [...document.querySelectorAll("[data-plot]")].filter(seen).every((plot) => plot.dataset.drawn === "true");
    }""")


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    pages = Watched(browser)
    yield pages
    pages.close()
    wrong = [text for text in pages.wrong if not any(known in text for known in pages.expected)]
    assert wrong == []


@pytest.fixture(scope="session")
def axe() -> Callable[[Page], list[str]]:
    """What axe-core has to say against a page: contrast, labels, and the rest of what it looks for."""
    source = member(packed(*AXE), "axe.min.js").decode()

    def of(page: Page) -> list[str]:
        page.evaluate(source)
        found = page.evaluate("() => axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] })")
        return [f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}" for one in found["violations"]]

    return of


def unfold(page: Page) -> None:
    """Opens whatever is folded."""
    page.evaluate("() => document.querySelectorAll('main details:not([open])').forEach((one) => { one.open = true; })")


def until(holds: Callable[[], bool], within: float = 10.0) -> float:
    """How long it takes until something holds, in seconds."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < within, "it does not come to hold"
        time.sleep(0.02)
    return time.monotonic() - begun


def picture(page: Page) -> str:
    """What the plots that are to be seen look like, as a checksum of their pixels."""
    pixels = page.evaluate("() => [...document.querySelectorAll('[data-plot] canvas')].map((canvas) => canvas.toDataURL()).join()")
    return hashlib.sha256(pixels.encode()).hexdigest()
