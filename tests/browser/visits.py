"""A visitor of the admin in a real Chromium: logs in, opens pages in a window of some size and colour, and judges them.

Invariant: no ORM in here, because Playwright owns the event loop.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.world import Operator

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
needs_chromium = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]
needs_axe = pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: make npm-clients")

# looks for what people with disabilities could not use; only what is serious
JUDGE = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
    .filter(found => ["serious", "critical"].includes(found.impact))
    .map(found => `${found.id}: ${found.nodes[0].html.slice(0, 160)}`)"""
# a list wider than its frame, which then has a scroll bar
OVERHANG = """() => {
    const list = document.querySelector("#result_list");
    return list ? list.scrollWidth - list.closest(".simplebar-content-wrapper, div").clientWidth : 0;
}"""


@dataclass(frozen=True)
class Window:
    """How somebody looks at a page."""

    width: int
    height: int
    colour: str

    def __str__(self) -> str:
        return f"{self.width}-{self.colour}"


DESKTOP, NARROW = (Window(1440, 900, "light"), Window(390, 844, "light"))
DESKTOP_DARK, NARROW_DARK = (Window(1440, 900, "dark"), Window(390, 844, "dark"))
# a run of the suite sees both widths and both colours; `make test-browser` every journey in all four windows
WINDOWS = (
    (DESKTOP, NARROW, DESKTOP_DARK, NARROW_DARK)
    if os.environ.get("WINDOWS") == "all"
    else (DESKTOP, NARROW_DARK)
)
IN_EACH = pytest.mark.parametrize("window", WINDOWS, ids=str)


@contextmanager
def visitor(
    base_url: str, operator: Operator | None, window: Window = DESKTOP, *, bypass_csp: bool = True
) -> Iterator[Any]:
    """A page of a browser, logged in; `bypass_csp` lets axe be put into it and nothing else."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(
            base_url=base_url,
            viewport={"width": window.width, "height": window.height},
            color_scheme=window.colour,
            bypass_csp=bypass_csp,
        )
        page = context.new_page()
        page.set_default_timeout(90_000)
        if operator is not None:
            page.goto("/admin/login/")
            page.fill("[name=username]", operator.name)
            page.fill("[name=password]", operator.password)
            page.keyboard.press("Enter")
            page.wait_for_url("**/admin/")
        yield page
        browser.close()


def paths_of(page: Any) -> list[str]:
    """Every list of the sidebar, the first row of each, and the form that adds one."""
    links = page.locator("#nav-sidebar a[href^='/admin/']")
    lists = list(dict.fromkeys(links.nth(number).get_attribute("href") for number in range(links.count())))
    forms = []
    for path in lists:
        page.goto(path)
        row = page.locator("#result_list tbody a[href*='/change/']").first
        forms += [row.get_attribute("href")] if row.count() else []
        forms += [f"{path}add/"] if page.locator(f"a[href^='{path}add/']").count() else []
    return [*lists, *forms]


def judge(page: Any) -> list[str]:
    """What is seriously wrong with the page for somebody, once a navigation that is under way has ended."""
    page.wait_for_load_state("load")
    page.evaluate(AXE.read_text())
    return [f"{page.url}: {found}" for found in page.evaluate(JUDGE)]


def keep_picture(page: Any, name: str) -> None:
    """For a person to look at, if SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
