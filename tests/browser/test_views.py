"""Each view once, on real runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import Served, Watched, drawn, unfold, until
from playwright.sync_api import Page, expect
from stores import Writer, command, replayed, shown

COMPARE = "#/compare?runs=" + quote('["max-run","every-second"]')
VIEWS = {"runs": "#/", "run": "#/run/max-run", "step": "#/run/max-run/step/12", "compare": COMPARE, "table": "#/run/max-run?table=1"}


def numbers(page: Page) -> dict[str, list[str]]:
    """The table of a run's keys: last, mean, min, max as they are, by the key."""
    return dict(page.evaluate("""() => [...document.querySelectorAll("main table tbody tr")].map((row) =>
        [row.cells[0].textContent, [1, 2, 3, 4].map((i) => row.cells[i].title)])"""))


def test_runs_are_filtered_ordered_and_chosen(served: Served, watched: Watched) -> None:
    page = watched.page(served.address)
    rows = page.locator(".runs tbody tr")
    expect(rows).to_have_count(3)
    assert rows.locator("polyline").count() == 3
    page.get_by_role("searchbox").fill("max-r")
    expect(rows).to_have_count(1)
    page.get_by_role("searchbox").fill("nothing like it")
    expect(page.locator(".empty")).to_contain_text("None of the 3 runs")
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="name").click()
    assert rows.locator("a").all_text_contents() == ["every-second", "max-run", "verl-run"]
    page.get_by_role("button", name="name").click()
    assert rows.locator("a").all_text_contents() == ["verl-run", "max-run", "every-second"]
    for run in ["max-run", "every-second"]:
        page.get_by_role("checkbox", name=f"choose {run}").check()
    page.get_by_role("link", name="compare 2 runs").click()
    expect(page.get_by_role("heading", name="Compare")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(2)


def test_a_run_shows_what_matters_first_and_finds_the_rest(served: Served, watched: Watched) -> None:
    page = watched.page(served.address + VIEWS["run"])
    first = page.locator("main details[open] [data-plot]")
    assert first.count() >= 5
    assert page.locator("[data-plot] canvas").count() >= 4
    page.get_by_role("searchbox").fill("entropy")
    drawn(page)
    found = page.locator("[data-plot]").evaluate_all("all => all.map((one) => one.textContent.toLowerCase())")
    assert found and all("entropy" in text for text in found)
    meaning = page.get_by_role("button", name="what ").first
    meaning.click()
    expect(page.locator(".explained").first).to_contain_text("nats")
    page.get_by_role("searchbox").fill("")
    page.locator("summary").filter(has_text="configuration").click()
    expect(page.get_by_role("group", name="configuration")).to_contain_text("grpo_metrics")


def test_a_range_that_is_dragged_a_smoothing_and_an_axis_are_in_the_address(served: Served, watched: Watched) -> None:
    page = watched.page(served.address + VIEWS["run"])
    over = page.locator("[data-plot] .u-over").first
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 60, steps=5)
    page.mouse.up()
    page.wait_for_function("() => location.hash.includes('from=')")
    page.get_by_label("smoothing").fill("0.6")
    page.keyboard.press("l")
    page.get_by_label("x axis").select_option("time")
    drawn(page)
    assert all(part in page.url for part in ["smooth=0.6", "log=1", "x=time"]), page.url
    assert "from=" not in page.url, "a range of steps is none of times"
    assert page.locator(".u-legend").first.text_content() is not None
    expect(page.locator(".u-legend").first).to_contain_text("(raw)")
    page.reload()
    drawn(page)
    expect(page.get_by_label("smoothing")).to_have_value("0.6")
    expect(page.get_by_label("x axis")).to_have_value("time")


def test_the_tables_numbers_are_those_that_show_prints(served: Served, watched: Watched) -> None:
    page = watched.page(served.address + VIEWS["table"])
    unfold(page)
    found = numbers(page)
    asked = shown(served.store, "max-run")["metrics"]
    assert set(found) == {one["key"] for one in asked}
    for one in asked:
        assert [float(text) for text in found[one["key"]]] == pytest.approx([one["last"], one["mean"], one["min"], one["max"]], rel=1e-12), one["key"]


def test_a_step_shows_its_groups_those_without_spread_first(served: Served, watched: Watched) -> None:
    page = watched.page(served.address + VIEWS["step"])
    groups = page.locator(".group")
    expect(groups).to_have_count(2)
    expect(groups.first).to_contain_text("no spread")
    expect(groups.nth(1)).to_contain_text("It is four.")
    assert page.locator("canvas.heat").count() == 1
    page.keyboard.press("ArrowRight")
    expect(page.locator("h1")).to_contain_text("step 13")
    expect(page.locator(".empty")).to_contain_text("its completions are shown here")


def test_runs_are_laid_over_each_other(served: Served, watched: Watched) -> None:
    page = watched.page(served.address + COMPARE)
    first = page.locator("[data-plot] .u-legend").first
    expect(first).to_contain_text("max-run")
    expect(first).to_contain_text("every-second")
    expect(page.get_by_role("region", name="last and best numbers")).to_contain_text("best")
    expect(page.get_by_role("region", name="configurations")).to_contain_text("2")


def test_a_report_opened_from_disk_shows_the_same_numbers(served: Served, watched: Watched, tmp_path: Path) -> None:
    report = tmp_path / "out.html"
    command("report", "max-run", "every-second", "--store", served.store, "--html", report)
    live = watched.page(served.address + VIEWS["table"])
    offline = watched.page(report.as_uri() + VIEWS["table"])
    assert numbers(offline) == numbers(live) != {}
    for view in [VIEWS["run"], VIEWS["step"], COMPARE]:
        pages = [live, offline]
        for page, home in zip(pages, [served.address, report.as_uri()], strict=True):
            page.goto(home + view)
            page.reload()
            drawn(page)
        legends = [page.locator(".u-legend").all_text_contents() for page in pages]
        assert legends[0] == legends[1]
        texts = [page.locator(".group").all_text_contents() for page in pages]
        assert texts[0] == texts[1]
    expect(offline.locator(".live")).to_contain_text("a report of")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_and_labels_are_right(served: Served, watched: Watched, axe: Callable[[Page], list[str]], scheme: str) -> None:
    page = watched.page(served.address, scheme=scheme)
    for view in VIEWS.values():
        page.goto(served.address + view)
        drawn(page)
        assert axe(page) == [], view


def test_a_row_appears_within_two_seconds_of_being_stored(serve: Callable[..., Served], watched: Watched, tmp_path: Path) -> None:
    store = tmp_path / "live.db"
    replayed(store, "done", "--dialect", "trl")
    writer = Writer(store)
    run = writer.run("going")
    writer.rows(run, ["reward", "kl"], [(step, 1_700_000_000_000 + 1000 * step, [step / 100, 0.1]) for step in range(1, 40)])
    page = watched.page(serve(store).address + "#/run/going")
    legend = page.locator("[data-plot='reward'] .u-legend")
    expect(legend).to_contain_text("0.39")
    for step in range(40, 45):
        writer.rows(run, ["reward", "kl"], [(step, 1_700_000_000_000 + 1000 * step, [step / 100, 0.1])])
        took = until(lambda: str(step / 100) in (legend.text_content() or ""))  # noqa: B023
        assert took < 2.0
    writer.close()
