"""The portal in a real browser: every page for every role, and the journeys of a developer and an owner."""

from typing import Any

import pytest

from tests.browser.portal import Firm, firm, shoot
from tests.browser.visits import WINDOWS, Window, judge, needs_axe, needs_chromium

__all__ = ["firm"]
pytestmark = needs_chromium


@needs_axe
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_it_works(firm: Firm, window: Window) -> None:
    """Every page of every role: nothing serious for axe, and nothing wider than its window."""
    problems: list[str] = []
    for name in ("alice", "bob", "fay"):
        with firm.visit(name, window) as page:
            paths = pages_of(page)
            assert len(paths) > 3
            for path in paths:
                response = page.goto(path)
                assert response.status == 200, path
                width = page.evaluate("document.documentElement.scrollWidth")
                if width > window.width:
                    problems.append(f"{path} is {width} px wide in a window of {window.width}")
                problems += judge(page)
                shoot(page, f"{name}-{path.split('/', 4)[4].strip('/').replace('/', '-') or 'home'}-{window}")
    assert problems == []


def pages_of(page: Any) -> list[str]:
    """Every page of the navigation, and the first of each kind that it leads to."""
    links = page.locator(".q-nav a")
    paths = [links.nth(number).get_attribute("href") for number in range(links.count())]
    found: dict[str, str] = {}
    for path in paths:
        page.goto(path)
        inner = page.locator("main a[href^='/portal/t/']:not([download])")
        for number in range(min(inner.count(), 40)):
            address = str(inner.nth(number).get_attribute("href"))
            kind = "".join(
                "#" if any(map(str.isdigit, part)) else part for part in address.split("?")[0].split("/")[4:]
            )
            found.setdefault(kind, address)
    return [*paths, *(path for path in found.values() if path not in paths)]
