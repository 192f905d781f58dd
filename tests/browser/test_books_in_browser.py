"""Journeys of finance and of an operator in a real browser, by keyboard alone: close a month and take its pack, correct a closed
month, approve a price change, forget a wrong answer."""

import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.utils.timezone import now

from billing.models import (
    BillingDetails,
    BillingPeriod,
    ManualEntry,
    PriceProposal,
    PriceRow,
    Statement,
    UsageRecord,
)
from billing.months.files import bytes_of
from caching.models import CacheEntry
from tenants.models import Tenant
from tests.books import eventually
from tests.browser.hands import Hands
from tests.browser.visits import IN_EACH, Window, judge, keep_picture, needs_chromium, visitor
from tests.world import Member, Operator, World

pytestmark = needs_chromium
# what is typed as the amount, and why
ENTRIES = {
    "adjustment": ("0.25", "A call of January that was not read"),
    "credit": ("0.5", "Goodwill for January"),
}


@pytest.fixture
def ended(world: World, make_tenant: Any) -> BillingPeriod:
    """The month of a tenant with calls, which ended a moment ago."""
    member: Member = make_tenant("ended")
    tenant = Tenant.objects.get(pk=member.id)
    period = BillingPeriod.objects.create(
        tenant=tenant, label="2020-01", timezone=tenant.timezone,
        starts_at=now() - timedelta(days=31), ends_at=now() + timedelta(seconds=15),
    )  # fmt: skip
    client = world.openai(member)
    for question in ("How do I top up my card?", "Where is my money?", "How do I top up my card?"):
        client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": question}], max_tokens=20, user="alice"
        )
    eventually(UsageRecord.objects.filter(period=period).count, until=lambda count: count == 3)
    BillingDetails.objects.create(
        tenant=tenant, legal_name="Ended GmbH", tax="reverse_charge", po_number="PO-7"
    )
    eventually(now, until=lambda moment: moment > period.ends_at)
    return period


@IN_EACH
def test_it_works(world: World, ended: BillingPeriod, operator_account: Operator, window: Window) -> None:
    """The month is closed, and everything in its pack says the same."""
    world.stack.start_celery()
    pack = close_and_download(world.stack.base_url, operator_account, window, ended.pk)
    statement = Statement.objects.get(period=ended)
    assert statement.issued_by is not None
    assert statement.issued_by.username == operator_account.name
    stored = {file.name: bytes_of(file) for file in statement.files.all()}
    assert pack == stored
    (told,) = (
        json.loads(data)
        for name, data in pack.items()
        if name.endswith(".json") and not name.endswith(".certificate.json")
    )
    (lines,) = (data for name, data in pack.items() if name.endswith(f"{statement.code}.csv"))
    rows = list(csv.DictReader(io.StringIO(lines.decode())))
    assert sum(Decimal(row["exact_usd"]) for row in rows) == statement.exact_usd > 0
    assert Decimal(told["totals"]["billed_cost_usd"]) == statement.exact_usd
    assert sum(Decimal(row["amount"]) for row in rows) == statement.total
    assert any(data.startswith(b"%PDF") for data in pack.values())


def close_and_download(base_url: str, operator: Operator, window: Window, period_id: int) -> dict[str, bytes]:
    pack = {}
    with visitor(base_url, operator, window) as page:
        hands = Hands(page)
        hands.open(f"/admin/billing/billingperiod/{period_id}/change/")
        hands.verb("close_month")
        page.get_by_text("Its statement is made from the ledger").wait_for()
        hands.confirm()
        page.get_by_text("late usage of 2020-01 is waited for").wait_for()
        hands.verb("close_month")
        hands.type(page.locator("#dialog [name=forced_reason]"), "the tenant leaves")
        hands.confirm()
        page.wait_for_url("**/billingperiod/reports/**")
        links = page.locator("a[href*='/statement/file/']")
        links.nth(7).wait_for(timeout=120_000)  # they come by themselves
        keep_picture(page, f"month-files-{window}")
        for number in range(links.count()):
            with page.expect_download() as download:
                hands.press(links.nth(number))
            pack[download.value.suggested_filename] = Path(download.value.path()).read_bytes()
    return pack


@IN_EACH
def test_a_closed_month_is_corrected_in_the_open_one(
    world: World, ended: BillingPeriod, operator_account: Operator, window: Window
) -> None:
    from billing.months.closing import close_period

    statement = close_period(ended, forced_reason="the tenant leaves")
    seen = enter(world.stack.base_url, operator_account, window, ended.tenant, statement.pk)
    entries = ManualEntry.objects.filter(tenant=ended.tenant).order_by("entered_at")
    assert [(one.kind, one.amount_usd, one.reason) for one in entries] == [
        ("adjustment", Decimal("0.25"), ENTRIES["adjustment"][1]),
        ("credit", Decimal("-0.5"), ENTRIES["credit"][1]),
    ]
    for entry in entries:
        assert entry.period != ended
        assert f"booked in {entry.period.label}" in seen
    was = statement.exact_usd
    statement.refresh_from_db()
    assert statement.exact_usd == was


def enter(base_url: str, operator: Operator, window: Window, tenant: Tenant, statement_id: int) -> str:
    """A correction and a credit, and what the closed month says of both."""
    with visitor(base_url, operator, window) as page:
        hands, seen = Hands(page), ""
        for kind, (amount, reason) in ENTRIES.items():
            hands.open(f"/admin/billing/entryproposal/add/?tenant={tenant.pk}")
            hands.choose(page.locator("[name=kind]"), kind)
            hands.type(page.locator("[name=amount_usd]"), amount)
            hands.type(page.locator("[name=reason]"), reason)
            hands.press(page.locator("[name=_continue]"))
            page.get_by_text("Not saved yet").wait_for()
            assert judge(page) == []
            hands.press(page.get_by_role("button", name="Book it"))
            page.get_by_text(reason).first.wait_for()
            seen += str(page.inner_text("body"))
            keep_picture(page, f"{kind}-{window}")
        hands.open(f"/admin/billing/statement/{statement_id}/restated/")
        page.get_by_text("Booked for this month since").wait_for()
        keep_picture(page, f"restated-{window}")
    return seen


@IN_EACH
def test_a_price_change_is_seen_and_approved(
    world: World, make_deployment: Any, operator_account: Operator, window: Window
) -> None:
    deployment = make_deployment()
    old = PriceRow.objects.get(
        model=deployment.model, meter="output", processing="online", superseded_at=None
    )
    rate = {
        "provider": old.provider, "model": old.model, "meter": "output", "processing": old.processing,
        "service_tier": old.service_tier, "above_input_tokens": old.above_input_tokens,
        "unit_price": str(old.unit_price), "per": old.per,
        "valid_from": old.valid_from.isoformat(), "valid_to": None,
    }  # fmt: skip
    change = {"old": rate, "new": rate | {"unit_price": "12.5", "valid_from": now().isoformat()}}
    proposal = PriceProposal.objects.create(
        source="a list", digest=uuid4().hex * 2, diff={"changes": [change]}
    )
    approve(world.stack.base_url, operator_account, window, proposal.pk, deployment.model)
    proposal.refresh_from_db()
    assert proposal.status == "applied"
    assert proposal.decided_by is not None
    assert proposal.decided_by.username == operator_account.name
    live = PriceRow.objects.filter(model=old.model, meter="output", processing="online", superseded_at=None)
    assert live.get(valid_to=None).unit_price == Decimal("12.5")


def approve(base_url: str, operator: Operator, window: Window, proposal_id: int, model: str) -> None:
    with visitor(base_url, operator, window) as page:
        hands = Hands(page)
        hands.open(f"/admin/billing/priceproposal/{proposal_id}/change/")
        page.get_by_text("12.5 per").first.wait_for()
        assert model in page.inner_text("body")
        keep_picture(page, f"proposal-{window}")
        hands.verb("approve")
        page.get_by_text("A list's count from now on.").wait_for()
        hands.confirm()
        page.get_by_text("The rates count.").wait_for()


@IN_EACH
def test_a_wrong_answer_is_forgotten(
    world: World, make_tenant: Any, operator_account: Operator, window: Window
) -> None:
    member: Member = make_tenant("wrong", policy={"log_prompts": True})
    world.openai(member).chat.completions.create(
        model="gpt-4o-mini",
        messages=[
            {"role": "user", "content": "What are the steps that I need to take to activate a new card?"}
        ],
        max_tokens=300,  # an answer that is cut off is not kept
    )
    entries = CacheEntry.objects.filter(tenant=member.id)
    eventually(entries.count, until=lambda count: count == 1)
    forget(world.stack.base_url, operator_account, window, entries.get().pk)
    assert not entries.exists()


def forget(base_url: str, operator: Operator, window: Window, entry_id: int) -> None:
    with visitor(base_url, operator, window) as page:
        hands = Hands(page)
        hands.open(f"/admin/caching/cacheentry/{entry_id}/change/")
        page.get_by_text("What are the steps that I need to take to activate a new card?").first.wait_for()
        keep_picture(page, f"cached-{window}")
        hands.verb("forget_this")
        page.get_by_text("The next such question is asked anew").wait_for()
        hands.confirm()
        page.get_by_text("It is forgotten.").wait_for()
