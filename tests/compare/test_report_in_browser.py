"""The report as a person meets it in a browser: at a desk, on a phone, light and dark, printed, without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tenfold.compare.report import write_report
from tests.compare.browser import chromium, flaws
from tests.compare.comparisons import WAYS, hostile, large

A4 = {"width": 718, "height": 1047}
"""The pixels of A4 between margins of 10 mm, at 96 to an inch."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser lives no longer than this file: its event loop would be in the way of other tests."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def reports(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    for comparison in (hostile, large):
        write_report(comparison(folder / comparison.__name__), folder / f"{comparison.__name__}.html")
    return {path.stem: path for path in folder.glob("*.html")}


@pytest.fixture
def page(browser: Browser, reports: dict[str, Path]) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.goto(reports["large"].as_uri())
    yield opened
    opened.close()


def column(page: Page, table: str, number: int) -> list[str]:
    cells: list[str] = page.locator(f"{table} tbody tr > :nth-child({number})").all_inner_texts()
    return [" ".join(cell.split()) for cell in cells]


@pytest.mark.parametrize("report", ["hostile", "large"])
def test_the_page_loads_nothing_and_the_console_is_silent(
    browser: Browser, reports: dict[str, Path], report: str
) -> None:
    page = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(reports[report].as_uri(), wait_until="networkidle")
    for button in page.locator("thead button:visible").all():
        button.click()
    assert asked == [reports[report].as_uri()]
    assert said == []
    page.close()


def test_hostile_text_becomes_no_element(browser: Browser, reports: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto(reports["hostile"].as_uri())
    assert page.locator("img, iframe, object, a, form, input, link").count() == 0
    assert page.locator("script").count() == 1
    names = page.evaluate("[...document.querySelectorAll('*')].flatMap(each => each.getAttributeNames())")
    assert not [name for name in names if name.startswith("on")]
    assert page.locator("main").inner_text().count("<script>alert(2)</script>") >= 10
    page.close()


def test_no_script_but_the_pages_own_runs(page: Page) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = true'}))")
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for text in said)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("report", ["hostile", "large"])
def test_nothing_overlaps_and_nothing_leaves_its_place(
    browser: Browser, reports: dict[str, Path], report: str, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(reports[report].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert flaws(page) == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser: Browser, reports: dict[str, Path], scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(reports["large"].as_uri())
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert luminance(paper) > 0.9 if scheme == "light" else luminance(paper) < 0.1
    for name in ("h1", ".note", "thead button", ".figure", "footer", "svg .tick", "svg .label"):
        kind = "fill" if name.startswith("svg") else "color"
        ink = page.locator(name).first.evaluate(f"each => getComputedStyle(each).{kind}")
        lighter, darker = sorted((luminance(ink), luminance(paper)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, f"{name}: {ink} on {paper}"
    page.close()


def luminance(colour: str) -> float:
    """Return the relative luminance of `rgb(r, g, b)`. Source: WCAG 2.2."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_click_on_a_header_sorts_up_then_down_then_as_it_was(page: Page) -> None:
    head = page.locator("#leaderboard .board thead th").nth(1)
    written = column(page, "#leaderboard .board", 2)
    values = [float(text.split()[0]) for text in written]
    orders = []
    for _ in range(3):
        head.click()
        orders.append(head.get_attribute("aria-sort"))
        shown = [float(text.split()[0]) for text in column(page, "#leaderboard .board", 2)]
        wanted = {"ascending": sorted(values), "descending": sorted(values, reverse=True)}
        assert shown == wanted.get(str(orders[-1]), values)
    assert orders == ["ascending", "descending", "none"]
    assert column(page, "#leaderboard .board", 2) == written


def test_enter_on_a_header_sorts_by_names_and_one_column_at_a_time_says_so(page: Page) -> None:
    heads = page.locator("#leaderboard .board thead th")
    heads.nth(3).click()
    heads.nth(0).locator("button").focus()
    page.keyboard.press("Enter")
    names = [name.split(maxsplit=1)[1] for name in column(page, "#leaderboard .board", 1)]
    assert names == sorted(names) and len(names) == len(WAYS)
    assert [heads.nth(place).get_attribute("aria-sort") for place in (0, 1, 3)] == ["ascending", "none", "none"]
    assert heads.nth(2).locator("button").count() == 0, "bars are sorted by the figures beside them"


def test_costs_sort_by_what_they_are_not_by_how_they_are_told_and_the_unknown_comes_last(page: Page) -> None:
    heads = page.locator("#cost thead th")
    names = heads.all_inner_texts()
    for name, least in (("training", "9 s"), ("on disk", "37 kB"), ("search", "3 min")):
        place = next(n for n, text in enumerate(names) if text.startswith(name))
        heads.nth(place).click()
        told = column(page, "#cost", place + 1)
        assert told[0] == least
        heads.nth(place).click()
        assert column(page, "#cost", place + 1)[-1] == ("–" if name == "search" else least)


@pytest.mark.parametrize("section", ["#leaderboard", "#cost", "#retention", "#tasks", "#classes"])
def test_tables_sort_on_a_phone_too(page: Page, section: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    head = page.locator(f"{section} table.sorts thead th:visible").last
    head.click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert flaws(page) == []


def test_without_scripts_everything_is_there_and_nothing_offers_to_sort(
    browser: Browser, reports: dict[str, Path]
) -> None:
    texts = []
    for is_on in (True, False):
        context = browser.new_context(java_script_enabled=is_on)
        page = context.new_page()
        page.goto(reports["large"].as_uri())
        texts.append(" ".join(page.locator("main").inner_text().split()))
        assert (page.locator("thead button").count() > 0) is is_on
        context.close()
    assert texts[0] == texts[1]


def test_in_print_all_columns_stand_on_the_paper_black_on_white(browser: Browser, reports: dict[str, Path]) -> None:
    page = browser.new_page(viewport=A4, color_scheme="dark")  # type: ignore[arg-type]
    page.goto(reports["large"].as_uri())
    page.emulate_media(media="print")
    assert flaws(page) == []
    assert page.locator(".wide").evaluate_all("all => all.every(e => e.scrollWidth <= e.clientWidth)")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    good = page.locator(".chip.good").first.evaluate("each => getComputedStyle(each).color")
    assert luminance(good) < 0.2, "signs are printed in the colours for white paper"
    page.close()
