"""What takes longer: rows that come in, hostile texts, stores that are empty, large or gone, narrow windows and the keyboard."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import Served, Watched, drawn, picture, unfold, until
from playwright.sync_api import Page, expect
from stores import Writer, command, replayed
from test_views import COMPARE, VIEWS, numbers

pytestmark = pytest.mark.long

HOSTILE = {
    "a script": "<script>document.title = 'ran'; alert(1)</script><img src=x onerror=\"alert(2)\">",
    "a long one": "x" * 1_000_000,
    "ANSI": "\x1b[31mred\x1b[0m\x1b]0;title\x07\x9b31m\r gone",
    "right to left": "\u202eevil\u202c \u2066isolate\u200f \u061c",
    "not text": "\x00\ufffe\ud7ff zalgo\u0300\u0301\u0302",
}
SECOND = 1_700_000_000_000


def rows(first: int, last: int) -> list[tuple[int, int, list[float]]]:
    return [(step, SECOND + 1000 * step, [step / 100, 0.1, 0.0 - step]) for step in range(first, last + 1)]


KEYS = ["reward", "kl", "own/number"]


@pytest.fixture
def going(tmp_path: Path) -> tuple[Path, Writer, int]:
    """A store with a run that goes on."""
    store = tmp_path / "going.db"
    replayed(store, "done", "--dialect", "trl")
    writer = Writer(store)
    run = writer.run("going", config={"lr": 1e-6})
    writer.rows(run, KEYS, rows(1, 50))
    return store, writer, run


def wide(page: Page) -> list[str]:
    """What reaches beyond the window, other than within what is scrolled by itself."""
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), page.url
    return page.evaluate("""() => [...document.querySelectorAll("body *")].filter((one) => {
        const box = one.getBoundingClientRect();
        if (box.width === 0 || box.right <= innerWidth + 1 || getComputedStyle(one).position === "absolute") return false;
        for (let up = one.parentElement; up; up = up.parentElement) if (getComputedStyle(up).overflowX !== "visible") return false;
        return true;
    }).map((one) => one.outerHTML.slice(0, 120))""")


def test_rows_come_in_and_the_view_stays_as_it_is(serve: Callable[..., Served], watched: Watched, going: tuple[Path, Writer, int]) -> None:
    store, writer, run = going
    page = watched.page(serve(store).address + "#/run/going", height=500)
    page.locator("summary").filter(has_text="configuration").click()
    unfold(page)
    page.locator("[data-plot='own/number']").scroll_into_view_if_needed()
    drawn(page)
    page.get_by_role("button", name="what own/number means").focus()
    at = page.evaluate("scrollY")
    assert at > 0
    for step in range(51, 56):
        writer.rows(run, KEYS, rows(step, step))
        assert until(lambda: f"-{step}" in (page.locator("[data-plot='own/number'] .u-legend").text_content() or "")) < 2.0  # noqa: B023
    assert page.evaluate("scrollY") == at
    assert page.locator("main details:not([open])").count() == 0
    expect(page.get_by_role("button", name="what own/number means")).to_be_focused()
    # A key that comes later is shown as well.
    writer.rows(run, [*KEYS, "own/later"], [(56, SECOND, [0.5, 0.1, -56.0, 7.5])])
    page.get_by_role("searchbox").fill("later")
    expect(page.locator("[data-plot='own/later'] .u-legend")).to_contain_text("7.5")


def test_the_list_of_runs_goes_on_with_what_is_chosen_and_focused(serve: Callable[..., Served], watched: Watched, going: tuple[Path, Writer, int]) -> None:
    store, writer, run = going
    page = watched.page(serve(store).address)
    box = page.get_by_role("checkbox", name="choose going")
    box.check()
    box.focus()
    writer.rows(run, KEYS, rows(51, 51))
    expect(page.locator(".runs tbody tr").filter(has_text="going")).to_contain_text("51", timeout=2000)
    expect(box).to_be_checked()
    expect(box).to_be_focused()
    writer.run("a second")
    expect(page.locator(".runs tbody tr")).to_have_count(3, timeout=2000)


def test_a_run_that_has_stopped_says_so(serve: Callable[..., Served], watched: Watched, going: tuple[Path, Writer, int]) -> None:
    store, writer, _ = going
    run = writer.run("dead", seen="-1 hour")
    writer.rows(run, KEYS, rows(1, 3))
    writer.connection.execute("UPDATE runs SET seen_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 hour') WHERE key = ?", [run])
    page = watched.page(serve(store).address + "#/run/dead")
    expect(page.locator("h1 .status")).to_have_text("stopped")
    expect(page.locator("main")).to_contain_text("nobody has given a sign of it")


@pytest.mark.parametrize("view", VIEWS.values())
def test_a_link_shows_the_same(served: Served, watched: Watched, view: str) -> None:
    page = watched.page(served.address + view)
    if "run/max-run" in view and "step" not in view and "table" not in view:
        page.get_by_label("smoothing").fill("0.5")
        page.get_by_role("searchbox").fill("mean")
        page.keyboard.press("Escape")
        page.get_by_label("x axis").select_option("time")
    elif "compare" in view:
        page.get_by_label("smoothing").fill("0.5")
        page.get_by_role("searchbox").fill("reward")
    elif "#/" == view:
        page.get_by_role("checkbox", name="choose max-run").check()
        page.get_by_role("button", name="name").click()
    drawn(page)
    page.mouse.move(0, 0)
    other = watched.page(page.url)

    def text(of: Page) -> str:
        return re.sub(r"newest row .* ago", "", of.locator("main").inner_text())

    until(lambda: text(other) == text(page))
    until(lambda: picture(other) == picture(page))


def test_hostile_texts_run_nothing_and_break_nothing(serve: Callable[..., Served], watched: Watched, tmp_path: Path) -> None:
    store = tmp_path / "hostile.db"
    replayed(store, "done", "--dialect", "trl")
    writer = Writer(store)
    for nth, text in enumerate(HOSTILE.values()):
        short = text[:200].replace("\x00", "")
        run = writer.run(short, tags=[short], note=short, config={short: short}, status="completed")
        writer.rows(run, ["reward", short], [(1, SECOND, [0.5, 1.5]), (2, SECOND + 1000, [0.75, 2.5])])
        for place, one in enumerate(HOSTILE.values()):
            writer.sample(short, 1, place, prompt=one, text=one, reward=0.5 * place, group=nth, rewards={short: 1.0})
    writer.close()
    page = watched.page(serve(store).address, width=900)
    expect(page.locator(".runs tbody tr")).to_have_count(1 + len(HOSTILE))
    ids = [run["id"] for run in json.loads(command("runs", "--store", store, "--json")) if run["id"] != "done"]
    assert len(ids) == len(HOSTILE)
    home = page.url.split("#")[0]
    chosen = quote(json.dumps(ids))
    for view in ["#/", *[f"#/run/{quote(run, safe='')}" for run in ids], *[f"#/run/{quote(run, safe='')}/step/1" for run in ids], f"#/compare?runs={chosen}"]:
        page.goto(home + view)
        page.reload()
        drawn(page)
        assert page.locator(".failure").count() == 0, view[:80]
        assert "ran" != page.title() and page.evaluate("() => document.querySelectorAll('main img, main script').length") == 0
        shown = page.locator("main").inner_text()
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown), view[:80]
    page.goto(f"{home}#/run/{quote(ids[0], safe='')}/step/1")
    drawn(page)
    more = page.get_by_role("button", name="more characters").first
    expect(more).to_be_visible()
    more.click()
    assert len(page.locator(".text").filter(has_text="xxxxx").first.inner_text()) > 4000
    expect(page.locator("main")).to_contain_text("⟨U+001B⟩[31mred")
    report = tmp_path / "hostile.html"
    command("report", *ids, "--store", store, "--html", report)
    offline = watched.page(report.as_uri() + f"#/compare?runs={chosen}")
    assert offline.locator(".failure").count() == 0
    assert "ran" != offline.title()


def test_an_empty_store_says_that_a_run_appears_by_itself(serve: Callable[..., Served], watched: Watched, tmp_path: Path) -> None:
    store = tmp_path / "empty.db"
    replayed(store, "gone", "--dialect", "trl")
    command("runs", "rm", "gone", "--yes", "--store", store)
    page = watched.page(serve(store).address)
    expect(page.locator(".empty")).to_contain_text("no run in this store yet")
    replayed(store, "first", "--dialect", "trl")
    expect(page.locator(".runs tbody tr")).to_have_count(1, timeout=3000)


def test_a_store_that_vanishes_says_so_and_comes_back(serve: Callable[..., Served], watched: Watched, tmp_path: Path) -> None:
    store, aside = tmp_path / "runs.db", tmp_path / "aside.db"
    replayed(store, "first", "--dialect", "trl")
    watched.expect("503")
    page = watched.page(serve(store).address + "#/run/first")
    store.rename(aside)
    expect(page.locator("#said")).to_contain_text("not there", timeout=5000)
    page.goto(page.url.split("#")[0] + "#/")
    expect(page.locator(".failure")).to_contain_text("not there")
    shutil.copy(aside, store)
    expect(page.locator(".runs tbody tr")).to_have_count(1, timeout=5000)
    expect(page.locator("#said")).to_be_empty()


def test_a_server_that_ends_is_told_and_found_again(serve: Callable[..., Served], watched: Watched, going: tuple[Path, Writer, int]) -> None:
    store, _, _ = going
    one = serve(store)
    port = one.address.rstrip("/").rsplit(":", 1)[1]
    watched.expect("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
    page = watched.page(one.address)
    one.end()
    expect(page.locator(".live")).to_contain_text("not connected", timeout=5000)
    serve(store, port=port)
    expect(page.locator(".live")).to_contain_text("live", timeout=10_000)


@pytest.mark.parametrize("view", VIEWS.values())
def test_nothing_reaches_beyond_a_narrow_window(served: Served, watched: Watched, view: str) -> None:
    page = watched.page(served.address + view, width=360, height=740)
    unfold(page)
    drawn(page)
    assert wide(page) == []


def test_all_of_it_can_be_done_by_the_keyboard(served: Served, watched: Watched) -> None:
    page = watched.page(served.address)
    page.keyboard.press("/")
    page.keyboard.type("run")
    page.keyboard.press("Escape")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.ariaLabel") == "choose max-run":
            break
    page.keyboard.press("Space")
    expect(page.get_by_role("checkbox", name="choose max-run")).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    drawn(page)
    expect(page.locator("h1")).to_contain_text("max-run")
    page.keyboard.press("v")
    expect(page.get_by_label("as a table")).to_be_checked()
    page.keyboard.press("v")
    page.keyboard.press("+")
    expect(page.get_by_label("smoothing")).to_have_value("0.1")
    page.keyboard.press("x")
    expect(page.get_by_label("x axis")).to_have_value("time")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("logarithmic")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("t")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("s")
    drawn(page)
    expect(page.locator("h1")).to_contain_text("step 24")
    page.keyboard.press("ArrowLeft")
    drawn(page)
    expect(page.locator("h1")).to_contain_text("step 23")
    page.keyboard.press("u")
    drawn(page)
    page.keyboard.press("h")
    drawn(page)
    expect(page.locator("h1")).to_have_text("Runs")
    # The first stop of the tabulator leads past what stands above every view.
    page.reload()
    drawn(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "main"


def test_seeds_of_one_experiment_are_one_line_in_a_band(serve: Callable[..., Served], watched: Watched, tmp_path: Path) -> None:
    store = tmp_path / "seeds.db"
    replayed(store, "done", "--dialect", "trl")
    writer = Writer(store)
    for seed in range(3):
        run = writer.run(f"seed-{seed}", seed=seed, config={"lr": 1e-6}, status="completed")
        writer.rows(run, ["reward"], [(step, SECOND + step, [step + seed]) for step in range(1, 9)])
    writer.close()
    ids = [f"seed-{seed}" for seed in range(3)]
    home = serve(store).address
    report = tmp_path / "seeds.html"
    command("report", *ids, "--store", store, "--html", report)
    for address in [home, report.as_uri()]:
        page = watched.page(f"{address}#/compare?by=seed&runs={quote(json.dumps(ids))}")
        legend = page.locator("[data-plot='reward'] .u-legend")
        for part, value in [("greatest", "10"), ("least", "8"), ("mean", "9")]:
            expect(legend.locator("tr").filter(has_text=part)).to_contain_text(value)


def test_a_one_time_address_lets_one_browser_in(serve: Callable[..., Served], watched: Watched, runs_db: Path) -> None:
    one = serve(runs_db, token=True)
    watched.expect("401")
    page = watched.page(one.address)
    assert re.search(r"[0-9a-zA-Z_-]{20,}", one.address) and not re.search(r"[0-9a-zA-Z_-]{20,}", page.url.split("#")[0])
    expect(page.locator(".runs tbody tr")).to_have_count(3)
    other = watched.page(one.address, wait=False)
    assert other.locator(".runs").count() == 0


def test_a_long_runs_report_is_small_and_says_what_it_left_out(serve: Callable[..., Served], watched: Watched, tmp_path: Path) -> None:
    store = tmp_path / "long.db"
    replayed(store, "done", "--dialect", "trl")
    writer = Writer(store)
    run = writer.run("long", status="completed")
    keys = ["reward", "kl", *[f"own/{nth}" for nth in range(148)]]
    writer.rows(run, keys, [(step, SECOND + 1234 * step, [((step * (nth + 7919)) % 10_007) / 10_007 for nth in range(150)]) for step in range(1, 10_001)])
    writer.close()
    report, full = tmp_path / "long.html", tmp_path / "full.html"
    command("report", "long", "--store", store, "--html", report)
    command("report", "long", "--store", store, "--html", full, "--full")
    assert report.stat().st_size < 3_000_000 < full.stat().st_size
    live = watched.page(serve(store).address + "#/run/long?table=1")
    page = watched.page(report.as_uri() + "#/run/long?table=1")
    whole = watched.page(full.as_uri() + "#/run/long?table=1")
    assert numbers(page) == numbers(live) == numbers(whole)
    page.keyboard.press("v")
    expect(page.locator("main")).to_contain_text("at most 702 points")
    drawn(page)
    legend = page.locator("[data-plot='reward'] .u-legend")
    live.keyboard.press("v")
    drawn(live)
    expect(legend).to_have_text(live.locator("[data-plot='reward'] .u-legend").text_content() or "")


def test_every_view_of_a_report_asks_for_nothing(served: Served, watched: Watched, tmp_path: Path) -> None:
    report = tmp_path / "out.html"
    command("report", "max-run", "every-second", "--store", served.store, "--html", report)
    page = watched.page(report.as_uri())
    for view in VIEWS.values():
        page.goto(report.as_uri() + view)
        drawn(page)
        assert page.locator(".failure").count() == 0, view
    page.goto(report.as_uri() + COMPARE)
