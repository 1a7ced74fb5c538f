"""A real browser: where one is on this machine, and what is wrong with a page as a person would see it there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, Playwright, sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
REQUIRED = "TENFOLD_BROWSER_TESTS"
"""Set to `required`, as .ci/run does, a missing browser is a failure."""

SEEN = (Path(__file__).parent / "seen.js").read_text(encoding="utf-8")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the machine's Chromium, or skip the test where there is none."""
    with sync_playwright() as playwright:
        found = [path for name in NAMES if (path := shutil.which(name))]
        own = playwright.chromium.executable_path
        found += [own] if Path(own).exists() else []
        browser, why = _started(playwright, found)
        if browser is None:
            assert os.environ.get(REQUIRED) != "required", why
            pytest.skip(why)
        yield browser
        browser.close()


def _started(playwright: Playwright, paths: Sequence[str]) -> tuple[Browser | None, str]:
    """Return the first browser that starts, else None and why: some systems have a stub by that name."""
    why = f"no Chromium on this machine: none of {', '.join(NAMES)}, nor Playwright's own; see `make browser`"
    for path in paths:
        try:
            return playwright.chromium.launch(executable_path=path, args=["--disable-gpu"]), ""
        except Error as error:
            why = f"{path} does not start: {error.message.splitlines()[0]}"
    return None, why


def flaws(page: Page) -> list[str]:
    """Return what overlaps, leaves its cell or drawing, or lies beyond the right edge, in words."""
    found: list[str] = page.evaluate(SEEN)
    return found
