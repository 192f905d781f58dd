"""Real traffic through the product, the provider's own bill, and what reconciliation makes of the two."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command

from billing.models import AlertEvent, CostComparison, CostReport, CostReportLine, UsageRecord
from billing.reconciliation.comparing import (
    StaleComparison,
    book_adjustment,
    compare,
    decide,
    tenants_of_comparison,
)
from llm.reconciliation.pulling import CannotPull, pull, pull_due
from tenants.models import Tenant
from tests.billing.reconciliation.conftest import LONG, Account, span
from tests.world import World

Status = CostComparison.Status


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_it_works(kind: str, make_account: Callable[..., Account]) -> None:
    """A day of plain and streamed calls, with a prompt cache, is the provider's bill to the last digit."""
    account = make_account(kind)
    for number in range(3):
        account.ask(max_tokens=20 + 10 * number)
    if kind == "openai":
        for _ in range(2):  # the second reads the provider's prompt cache
            account.world.openai().chat.completions.create(
                model=account.model,
                messages=[{"role": "system", "content": LONG}, {"role": "user", "content": "Hello"}],
                max_tokens=30,
                seed=_,
            )
    else:
        block = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
        for _ in range(2):
            account.ask(system=block)
    stream = account.ask(stream=True)
    list(stream)
    account.settled(6)
    done = account.reconcile()
    assert account.kinds(done) == {}
    assert {row.meter for row in done.comparisons} >= {"input", "cache_read", "output"}
    theirs = sum(row.their_usd for row in done.comparisons)
    assert theirs == sum(row.our_usd for row in done.comparisons) == account.booked_usd() > Decimal("0.01")
    assert all(row.their_quantity == row.our_quantity for row in done.comparisons)
    assert {row.status for row in done.comparisons} == {Status.EXPLAINED}
    assert not AlertEvent.objects.filter(metric="reconciliation", subject_key=account.name).exists()


def test_a_call_past_the_gateway_is_a_bypass_and_an_alert(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.ask()
    account.settled(1)
    account.bypass()
    done = account.reconcile()
    assert set(account.kinds(done).values()) == {"bypass"}
    assert {row.status for row in done.comparisons if row.kind == "bypass"} == {Status.OPEN}
    (event,) = AlertEvent.objects.filter(metric="reconciliation", subject_key=account.name).exclude(
        tenant=None
    )
    assert event.tenant_id == account.world.acme.id
    assert "bypass" in event.message
    account.reconcile()
    told = AlertEvent.objects.filter(metric="reconciliation", subject_key=account.name)
    # the tenant and the operators, once each
    assert {event.tenant_id for event in told} == {account.world.acme.id, None}
    assert len(told) == 2


def test_an_account_nobody_calls_through_us_shows_a_bypass_too(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.bypass()
    assert set(account.kinds().values()) == {"bypass"}


def test_another_price_is_named(make_account: Callable[..., Account]) -> None:
    account = make_account(prices={"input": "5"})
    account.ask(LONG)
    account.settled(1)
    assert account.kinds() == {(account.model, "input"): "price"}


def test_a_price_off_by_a_hair_is_rounding(make_account: Callable[..., Account]) -> None:
    account = make_account(prices={"input": "2.501"})
    account.ask()
    account.settled(1)
    done = account.reconcile()
    assert account.kinds(done) == {(account.model, "input"): "rounding"}
    assert {row.status for row in done.comparisons} == {Status.EXPLAINED}


def test_calls_the_provider_forgot_are_missing_there(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.ask(LONG)
    account.settled(1)
    account.world.control("POST", "/reset", {"match": {"key": account.digest}})
    assert set(account.kinds().values()) == {"missing_there"}


def test_a_smaller_bill_is_a_quantity(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.ask(LONG, user="bob")
    account.ask(LONG)
    account.settled(2)
    call = account.books.calls(key=account.digest)[0]
    account.world.control("POST", "/reset", {"match": {"id": call["id"]}})
    assert set(account.kinds().values()) == {"quantity"}


def test_what_we_counted_ourselves_may_differ_in_quantity(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.world.fault(fault="missing_usage", match={"key": account.digest}, times=1)
    account.ask(LONG)
    account.settled(1)
    row = UsageRecord.objects.get(provider=account.name)
    assert row.usage_source == "estimated"
    assert set(account.kinds().values()) <= {"quantity"}


def test_what_was_booked_as_free_but_billed_is_missing_here(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.world.fault(fault="status:400", billed=True, match={"key": account.digest}, times=1)
    with pytest.raises(Exception, match="400"):
        account.ask(LONG)
    account.settled(1)
    assert not UsageRecord.objects.filter(provider=account.name).exists()
    assert set(account.kinds().values()) == {"missing_here"}


def test_a_call_booked_on_the_next_day_is_the_boundary(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.ask(LONG)
    account.settled(1)
    first, _, at = span()
    tomorrow = at.date()
    account.world.control("POST", "/settings", {"booked_after_s": 86400})
    try:
        done = pull(account.provider, first=first, last=tomorrow, at=at + timedelta(days=1))
    finally:
        account.world.control("POST", "/settings", {"booked_after_s": 0})
    assert set(account.kinds(done).values()) == {"boundary"}
    assert sum(row.difference_usd for row in done.comparisons) == 0
    assert {row.status for row in done.comparisons} == {Status.EXPLAINED}


def test_a_fetch_supersedes_the_one_before(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.ask()
    account.settled(1)
    before = account.reconcile()
    lines = CostReportLine.objects.filter(provider=account.name)
    live = set(lines.filter(superseded_at=None).values_list("pk", flat=True))
    account.bypass()
    after = account.reconcile()
    assert CostReport.objects.filter(provider=account.name).count() == 2
    assert set(lines.exclude(superseded_at=None).values_list("pk", flat=True)) == live
    assert {line.report_id for line in lines.filter(superseded_at=None)} == {after.report.pk}
    assert after.report.total_usd > before.report.total_usd
    assert account.kinds(after)


def test_comparing_again_changes_nothing(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.ask()
    account.bypass()
    account.settled(1)
    first, last, at = span()
    account.reconcile()
    rows = list(CostComparison.objects.filter(provider=account.name).values())
    history = CostComparison.history.filter(provider=account.name).count()
    compare(account.name, first=first, last=last, at=at)
    assert list(CostComparison.objects.filter(provider=account.name).values()) == rows
    assert CostComparison.history.filter(provider=account.name).count() == history


def test_an_adjustment_is_one_row_and_the_day_matches_then(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.ask()
    account.settled(1)
    account.bypass()
    done = account.reconcile()
    _, _, at = span()
    billed = {row.pk: row.billed_cost for row in UsageRecord.objects.filter(provider=account.name)}
    row = next(row for row in done.comparisons if row.meter == "input" and row.kind == "bypass")
    (tenant,) = tenants_of_comparison(row)
    booked = book_adjustment(row, tenant=tenant, reason="a notebook used our key", at=at)
    again = book_adjustment(row, tenant=tenant, reason="a notebook used our key", at=at)
    assert again == booked
    adjustment = UsageRecord.objects.get(provider=account.name, kind="adjustment")
    assert adjustment.pk == booked
    assert (adjustment.usage_source, adjustment.provider_cost) == ("provider_invoice", row.difference_usd)
    assert (adjustment.list_cost, adjustment.billed_cost, adjustment.model) == (0, 0, account.model)
    kept = UsageRecord.objects.filter(provider=account.name).exclude(pk=booked)
    assert {each.pk: each.billed_cost for each in kept} == billed
    fresh = CostComparison.objects.get(pk=row.pk)
    assert (fresh.kind, fresh.status, fresh.reason) == ("match", Status.RESOLVED, "a notebook used our key")
    assert (fresh.adjustment_id, fresh.adjusted_usd) == (booked, row.difference_usd)
    assert account.kinds(account.reconcile()) == {(account.model, "output"): "bypass"}


def test_an_adjustment_may_be_charged(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.bypass()
    _, _, at = span()
    row = next(row for row in account.reconcile().comparisons if row.meter == "input")
    tenant = Tenant.objects.get(pk=account.world.outsider.id)
    book_adjustment(row, tenant=tenant, reason="theirs", is_charged=True, at=at)
    adjustment = UsageRecord.objects.get(provider=account.name)
    assert adjustment.billed_cost == adjustment.provider_cost == row.difference_usd
    assert adjustment.tenant_id == tenant.pk


def test_figures_that_moved_are_not_booked(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.bypass()
    _, _, at = span()
    row = next(row for row in account.reconcile().comparisons if row.meter == "input")
    account.bypass()
    account.reconcile()
    tenant = Tenant.objects.get(pk=account.world.acme.id)
    with pytest.raises(StaleComparison):
        book_adjustment(row, tenant=tenant, reason="as I saw it", at=at)
    with pytest.raises(ValidationError, match="not over"):
        book_adjustment(row, tenant=tenant, reason="too early")
    assert not UsageRecord.objects.filter(provider=account.name).exists()


def test_a_decision_stands_until_the_figures_change(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.bypass()
    row = next(row for row in account.reconcile().comparisons if row.meter == "input")
    with pytest.raises(ValidationError):
        decide(row, status=Status.EXPLAINED, reason=" ")
    decide(row, status=Status.EXPLAINED, reason="the migration of last night")
    account.reconcile()
    kept = CostComparison.objects.get(pk=row.pk)
    assert (kept.status, kept.reason) == (Status.EXPLAINED, "the migration of last night")
    account.bypass()
    account.reconcile()
    reopened = CostComparison.objects.get(pk=row.pk)
    assert (reopened.status, reopened.reason) == (Status.OPEN, "")
    assert "the migration of last night" in reopened.history.values_list("reason", flat=True)


def test_another_account_is_not_touched(make_account: Callable[..., Account]) -> None:
    one, other = make_account(), make_account()
    for account in (one, other):
        account.ask()
    one.settled(2)
    one.bypass()
    other.reconcile()
    before = list(CostComparison.objects.filter(provider=other.name).values())
    assert other.kinds() == {}
    assert set(one.kinds().values()) == {"bypass"}
    assert list(CostComparison.objects.filter(provider=other.name).values()) == before


def test_two_models_of_one_upstream_are_compared_together(
    make_account: Callable[..., Account], world: World
) -> None:
    from llm.models import LanguageModel

    account = make_account()
    twin = LanguageModel.objects.get(name=account.model)
    twin.pk, twin.name = None, f"{account.model}-twin"
    twin.save()
    account.ask()
    account.settled(1)
    done = account.reconcile()
    assert account.kinds(done) == {}
    assert {row.model for row in done.comparisons} == {"gpt-4o"}


def test_the_report_comes_in_pages(make_account: Callable[..., Account]) -> None:
    account = make_account("anthropic")
    account.ask()
    account.settled(1)
    done = account.reconcile(first=span()[0] - timedelta(days=200))
    assert (done.report.last_day - done.report.first_day).days > 180
    assert account.kinds(done) == {}


def test_a_refusal_is_told_in_the_providers_words(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.world.fault(fault="status:403", match={"path": "/v1/organization/costs"}, message="No admin key")
    with pytest.raises(CannotPull, match="403: No admin key"):
        account.reconcile()
    assert not CostReport.objects.filter(provider=account.name).exists()
    provider = account.provider
    provider.admin_api_key = ""
    provider.save()
    with pytest.raises(CannotPull, match="no admin key"):
        account.reconcile()


def test_a_moment_of_weakness_is_tried_again(make_account: Callable[..., Account], monkeypatch: Any) -> None:
    monkeypatch.setattr("llm.reconciliation.pulling.FIRST_PAUSE_SECONDS", 0.01)
    account = make_account()
    account.ask()
    account.settled(1)
    account.world.fault(fault="status:503", match={"path": "/v1/organization/costs"}, times=2)
    assert account.kinds() == {}


def test_the_daily_task_pulls_what_has_an_admin_key(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.ask()
    account.settled(1)
    _, _, at = span()
    assert pull_due(at=at) >= 1
    report = CostReport.objects.get(provider=account.name)
    assert report.last_day == at.date() - timedelta(days=1)
    assert CostComparison.objects.filter(provider=account.name, kind="match").count() == 2


def test_the_command_tells_what_does_not_match(make_account: Callable[..., Account], capsys: Any) -> None:
    account = make_account()
    account.bypass()
    first, last, _ = span()
    call_command("reconcile", "--provider", account.name, "--from", str(first), "--to", str(last))
    told = capsys.readouterr().out
    assert f"{account.model} input: bypass +0.0" in told
