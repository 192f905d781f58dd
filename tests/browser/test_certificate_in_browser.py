"""The journey of the certificate in a real browser: one person asks for the close, another confirms it and reads the certificate;
the tenant's owner takes it from the portal, and the auditor's program says that it holds."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.utils.timezone import now

from billing.models import BillingPeriod, Statement, UsageLine, UsageRecord
from billing.months.proofs import verify
from billing.reconciliation.comparing import BilledAccount, compare, store_report
from billing.reconciliation.line_items import LineItem
from billing.reconciliation.provider_reports import ProviderReport, ReportLine
from tenants.models import Tenant
from tests.books import eventually
from tests.browser.hands import Hands
from tests.browser.visits import IN_EACH, Window, judge, keep_picture, needs_axe, needs_chromium, visitor
from tests.world import Member, Operator, World

pytestmark = [*needs_chromium, needs_axe]
PASSWORD = "certified-by-two-people"


@pytest.fixture
def ended(world: World, make_tenant: Any, make_deployment: Any) -> BillingPeriod:
    """A month with three calls, of which the provider's report confirms what went to one model."""
    member: Member = make_tenant("certified", policy={"closing": {"four_eyes": True, "grace_hours": 0}})
    tenant = Tenant.objects.get(pk=member.id)
    period = BillingPeriod.objects.create(
        tenant=tenant, label="2020-01", timezone=tenant.timezone,
        starts_at=now() - timedelta(days=31), ends_at=now() + timedelta(seconds=15),
    )  # fmt: skip
    client = world.openai(member)
    for model in (make_deployment().model, make_deployment().model):
        for _ in range(2):
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": uuid4().hex}], max_tokens=20, user="alice"
            )
    rows = UsageRecord.objects.filter(period=period)
    eventually(rows.count, until=lambda count: count == 4)
    told, other = sorted({row.provider for row in rows})
    report(told, [row for row in rows if row.provider == told], factor=Decimal(1))
    report(
        other, [row for row in rows if row.provider == other], factor=Decimal(9001)
    )  # more than what a bill rounds
    eventually(now, until=lambda moment: moment > period.ends_at)
    return period


def report(provider: str, rows: list[UsageRecord], *, factor: Decimal) -> None:
    """What the provider says of these calls, at a price that is ours or not."""
    day = datetime.now(UTC).date()
    lines = tuple(
        ReportLine(
            row.occurred_at.date(), f"{row.model}, {line.meter}", LineItem(row.model, line.meter),
            line.provider_cost * factor, Decimal(line.quantity),
        )
        for row in rows
        for line in UsageLine.objects.filter(record_id=row.pk)
    )  # fmt: skip
    account = BilledAccount(provider=provider, kind="openai", upstreams={rows[0].model: rows[0].model})
    days = frozenset({line.day for line in lines} | {day})
    store_report(account, ProviderReport(days, lines), source="upload", content=b"x")
    compare(provider, first=min(days), last=max(days), is_quiet=True)


@IN_EACH
def test_it_works(
    world: World, ended: BillingPeriod, operator_account: Operator, window: Window, tmp_path: Path
) -> None:
    world.stack.start_celery()
    name = f"second-{uuid4().hex[:6]}"
    second = Operator(User.objects.create_superuser(name, password=PASSWORD), PASSWORD)
    ask(world.stack.base_url, operator_account, window, ended.pk)
    ended.refresh_from_db()
    assert ended.close_asked_by is not None
    assert (ended.status, ended.close_asked_by.username) == ("open", operator_account.name)
    files = confirm_and_read(
        world.stack.base_url, second, window, ended.pk, slug=ended.tenant.slug, asker=operator_account.name
    )
    statement = Statement.objects.get(period=ended)
    ended.refresh_from_db()
    assert ended.close_confirmed_by is not None
    assert ended.close_confirmed_by.username == name
    paths = []
    for file, content in files.items():
        paths.append(tmp_path / file)
        paths[-1].write_bytes(content)
    certificate, facts, annex = (
        next(str(path) for path in paths if str(path).endswith(end))
        for end in (".certificate.json", f"{statement.code}.json", ".annex.json")
    )
    assert any(content.startswith(b"%PDF") for content in files.values())
    done = subprocess.run(
        [sys.executable, "-I", verify.__file__, certificate, facts, annex],
        capture_output=True, text=True, check=False, env={},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    groups = json.loads(json.loads(Path(certificate).read_text())["text"])["claims"]["calls"]["groups"]
    assert {one["group"]: one["rows"] for one in groups} == {"explained": 2, "price": 2}
    assert f"confirmed by {name}" in done.stdout


def ask(base_url: str, operator: Operator, window: Window, period_id: int) -> None:
    with visitor(base_url, operator, window) as page:
        hands = Hands(page)
        hands.open(f"/admin/billing/billingperiod/{period_id}/change/")
        page.get_by_text("one person asks, another confirms").wait_for()
        hands.verb("close_month")
        hands.confirm()
        page.get_by_text("Another person confirms it.").wait_for()
        assert not page.locator("a[hx-get*='/confirm_close']").count()
        assert judge(page) == []
        keep_picture(page, f"close-asked-{window}")


def confirm_and_read(
    base_url: str, operator: Operator, window: Window, period_id: int, *, slug: str, asker: str
) -> dict[str, bytes]:
    """The files that the certificate's page hands out."""
    files = {}
    with visitor(base_url, operator, window) as page:
        hands = Hands(page)
        hands.open(f"/admin/billing/billingperiod/{period_id}/change/")
        page.get_by_text(f"{asker},").first.wait_for()
        keep_picture(page, f"close-waits-{window}")
        hands.verb("confirm_close")
        page.get_by_text("With your name beside the one of who asked").wait_for()
        assert judge(page) == []
        hands.confirm()
        page.wait_for_url("**/billingperiod/reports/**")
        page.locator("a[href*='/statement/file/']").nth(7).wait_for(timeout=120_000)
        page.goto(f"/admin/billing/statement/?q={slug}")
        statement = page.locator("#result_list tbody a[href*='/change/']").first.get_attribute("href")
        hands.open(statement.partition("change/")[0] + "certificate/")
        page.get_by_text("is explained to the token by the providers' own reports").wait_for()
        page.get_by_text("required: two people").wait_for()
        assert judge(page) == []
        keep_picture(page, f"certificate-{window}")
        links = page.locator("a[href*='/statement/file/'], a[href*='/facts/'], a[href*='/annex/']")
        for number in range(links.count()):
            with page.expect_download() as download:
                links.nth(number).click()
            files[download.value.suggested_filename] = Path(download.value.path()).read_bytes()
    return files
