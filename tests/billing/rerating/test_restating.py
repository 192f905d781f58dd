"""Corrections and credits stand in the open month; the closed one is seen with them beside what was issued."""

from datetime import datetime
from decimal import Decimal
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError
from django.utils.timezone import now

from billing.ledger.corrections import adjust, credit
from billing.models import ManualEntry
from billing.months.files import bytes_of
from billing.months.statements import first_break, restate
from tests.billing.shop import Shop


def test_it_works(shop: Shop, last_month: datetime) -> None:
    attempt = shop.open_attempt(last_month, hold=Decimal(1))
    shop.call(last_month)
    statement = shop.close(last_month, forced_reason="late")
    files = {file.format: bytes_of(file) for file in statement.files.all()}
    shop.call(last_month, {"input": 400}, attempt_id=attempt)
    shop.call(now())
    view = restate(statement)
    assert view.issued_usd == Decimal("0.0075")
    assert view.later_usd == Decimal("0.001")
    assert view.restated_usd == Decimal("0.0085")
    assert sum(line.exact_usd for line in view.lines) == view.restated_usd
    assert {file.format: bytes_of(file) for file in statement.files.all()} == files
    assert first_break(shop.tenant) is None


def test_what_a_month_carried_for_an_earlier_one_is_taken_out(
    shop: Shop, month_before: datetime, last_month: datetime
) -> None:
    attempt = shop.open_attempt(month_before)
    shop.call(month_before)
    shop.call(last_month)
    first = shop.close(month_before, forced_reason="late")
    shop.call(month_before, {"input": 400}, attempt_id=attempt)
    second = shop.close(last_month)
    assert second.exact_usd == Decimal("0.0085")
    carried = second.lines.get(charge_class="Correction")
    assert (carried.charge_month, carried.exact_usd) == (f"{month_before:%Y-%m}", Decimal("0.001"))
    views = [restate(first), restate(second)]
    assert [view.restated_usd for view in views] == [Decimal("0.0085"), Decimal("0.0075")]
    assert views[1].carried_usd == Decimal("0.001")
    assert sum(view.restated_usd for view in views) == first.exact_usd + second.exact_usd == shop.ledger_sum()


def test_usage_after_an_estimate_corrects_it_in_the_open_month(shop: Shop, last_month: datetime) -> None:
    attempt = shop.call(last_month, {"output": 1000}, usage_source="estimated")
    statement = shop.close(last_month)
    shop.call(last_month, {"output": 400}, attempt_id=attempt)
    row = shop.rows(kind="correction")[0]
    assert (row.charge_class, row.billed_cost, row.corrects_id) == ("Correction", Decimal("-0.006"), attempt)
    assert row.period_id != statement.period_id
    assert restate(statement).restated_usd == Decimal("0.004")


def test_a_credit_stands_in_the_month_that_runs(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    closed = shop.close(last_month)
    entry = credit(shop.tenant, amount_usd=Decimal("5"), reason="goodwill", cost_center="4711")
    row = shop.rows(kind="credit")[0]
    assert (row.id, row.billed_cost, row.charge_class, row.reason) == (entry.pk, Decimal(-5), "", "goodwill")
    assert row.period_id == entry.period_id != closed.period_id
    assert (row.list_cost, row.contracted_cost, row.provider_cost) == (Decimal(0), Decimal(-5), Decimal(0))


def test_an_adjustment_may_go_either_way(shop: Shop) -> None:
    adjust(shop.tenant, amount_usd=Decimal("1.25"), reason="a support plan")
    adjust(shop.tenant, amount_usd=Decimal("-0.000000000001"), reason="the last digit")
    assert shop.ledger_sum() == Decimal("1.249999999999")


def test_an_entry_is_booked_once_and_says_why(shop: Shop) -> None:
    entry_id = uuid4()
    for _ in range(2):
        credit(shop.tenant, amount_usd=Decimal(5), reason="goodwill", entry_id=entry_id)
    assert shop.ledger_sum() == Decimal(-5)
    with pytest.raises(ValidationError, match="another entry"):
        credit(shop.tenant, amount_usd=Decimal(6), reason="goodwill", entry_id=entry_id)
    with pytest.raises(ValidationError, match="give a reason"):
        credit(shop.tenant, amount_usd=Decimal(5), reason=" ")
    with pytest.raises(ValidationError, match="above zero"):
        credit(shop.tenant, amount_usd=Decimal(-5), reason="goodwill")
    with pytest.raises(ValidationError, match="12 places"):
        adjust(shop.tenant, amount_usd=Decimal("1e-13"), reason="dust")
    with pytest.raises(DatabaseError):
        ManualEntry.objects.filter(pk=entry_id).update(amount_usd=0)
