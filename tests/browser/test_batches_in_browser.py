"""The pages of batches in a real browser: on a desk and on a telephone, by day and by night."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils.timezone import now

from llm.batches.operations.alerting import watch
from llm.models import Batch, BatchJob
from tenants.models import Tenant
from tests.browser.test_admin_in_browser import CHROMIUM, pytestmark
from tests.llm.batches.operations.making import make_batch
from tests.world import Operator, World

__all__ = ["pytestmark"]

SCREENS = {"desk": (1400, 1000), "telephone": (390, 844)}
NOBODY_LOOKS_BEFORE = now() + timedelta(days=1)  # so that no worker of another test takes these batches on
CANCEL = "a[hx-get*=cancel]"  # the button that opens the dialog
SHOTS = os.environ.get("SCREENSHOTS")


@pytest.fixture
def batches(world: World, make_tenant: Any) -> Iterator[list[Batch]]:
    """A stuck one, one that goes well, and one whose lines failed."""
    acme = Tenant.objects.get(pk=make_tenant("batched").id)
    waiting = {"next_look_at": NOBODY_LOOKS_BEFORE, "upstream_id": "batch_6741f2a0c1", "line_count": 40}
    refused = {"failures": 9, "last_error": "503 the provider is closed for the night, come back tomorrow"}
    made = [
        make_batch(
            acme,
            lines={"completed": 22, "failed": 6, "submitted": 12},
            jobs=[waiting | refused],
            user="alice",
        ),
        make_batch(
            acme,
            lines={"completed": 30, "submitted": 10},
            jobs=[waiting | {"upstream_status": "in_progress"}],
        ),
        make_batch(acme, status="completed", lines={"completed": 36, "expired": 4}, completed_at=now()),
    ]
    watch()
    yield made
    ids = [batch.pk for batch in made]
    BatchJob.objects.filter(batch__in=ids).update(state="finished")
    Batch.objects.filter(pk__in=ids).update(status="completed")


def test_it_works(world: World, batches: list[Batch], operator_account: Operator) -> None:
    names = [(batch.pk, batch.public_id) for batch in batches]
    assert look(world.stack.base_url, operator_account, names) == []
    statuses = [Batch.objects.get(pk=pk).status for pk, _ in names]
    assert statuses == ["in_progress", "cancelling", "completed"]


def look(base_url: str, operator: Operator, batches: list[tuple[int, str]]) -> list[str]:
    """Look at the list and the pages, and cancel the second batch; return what is wrong. Playwright owns the loop."""
    from playwright.sync_api import expect, sync_playwright

    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(90_000)
        page.on(
            "console",
            lambda message: (
                problems.append(f"{page.url}: {message.text}") if message.type == "error" else None
            ),
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{base_url}/admin/")
        page.fill("[name=username]", operator.name)
        page.fill("[name=password]", operator.password)
        page.click("button[type=submit]")
        stuck, well, _ = batches
        list_url = f"{base_url}/admin/llm/batch/?needs="
        for screen, (width, height) in SCREENS.items():
            page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                page.goto(list_url)
                expect(page.get_by_text("22 of 40, 6 failed").first).to_be_visible()
                _keep(page, f"list-{screen}-{scheme}", problems)
                page.goto(f"{base_url}/admin/llm/batch/{stuck[0]}/change/")
                state = page.locator("#batch-state")
                expect(state.get_by_role("alert")).to_contain_text("9 calls in a row to openai have failed")
                expect(state.get_by_text("28 of 40 lines are over")).to_be_visible()
                for part in ("answered: 55.00%", "failed: 15.00%"):
                    box = state.locator(f"[title='{part}']").bounding_box()
                    assert box is not None
                    assert box["width"] > 10, part
                _keep(page, f"stuck-{screen}-{scheme}", problems)
        page.set_viewport_size({"width": 1400, "height": 1000})
        page.goto(f"{base_url}/admin/llm/batch/{well[0]}/change/")
        expect(page.get_by_text("Look again now")).to_be_visible()
        page.locator(CANCEL).first.click()
        expect(page.locator("#dialog")).to_contain_text("their holds are given back")
        _keep(page, "cancelling", problems)
        page.locator("#dialog button[type=submit]").click()
        expect(page.get_by_text("It is being cancelled.")).to_be_visible()
        expect(page.locator(CANCEL)).to_have_count(0)
        page.goto(f"{base_url}/admin/llm/batch/{batches[2][0]}/change/")
        page.get_by_text("All its lines").click()
        expect(page.get_by_text("line-40", exact=True).first).to_be_visible()
        _keep(page, "lines", problems)
        browser.close()
    return [problem for problem in problems if "favicon" not in problem]


def _keep(page: Any, name: str, problems: list[str]) -> None:
    """Note a page that is wider than its window, and save how it looks, if wanted."""
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1"):
        problems.append(f"{name} is wider than its window")
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)
