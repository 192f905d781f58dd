"""Past usage under a corrected price: proposed, approved once, booked where it may stand."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.utils.timezone import now

from billing.models import Budget, BudgetWindow, PriceRow, ReratingRow
from billing.months.files import bytes_of
from billing.months.statements import first_break, restate
from billing.prices.editing import set_price
from billing.rerating.proposals import (
    NothingToRerate,
    StaleProposal,
    approve_rerating,
    propose_for_price,
    propose_rerating,
    reject_rerating,
)
from tests.billing.shop import Shop


def correct(shop: Shop, meter: str, price: str, *, since: datetime | None = None) -> PriceRow:
    """A price turns out to have been another one."""
    row = PriceRow.objects.get(
        provider=shop.provider,
        model=shop.model,
        meter=meter,
        superseded_at=None,
        valid_to=None,
        processing="online",
    )
    return set_price(row, unit_price=Decimal(price), valid_from=since or row.valid_from)


def check_savings(shop: Shop) -> None:
    """Every row's list cost less its savings is what is billed, and its lines make its costs."""
    for row in shop.rows():
        saved = sum((Decimal(amount) for amount in row.saving.values()), start=Decimal(0))
        assert row.list_cost - saved == row.billed_cost, row
        lines = shop.lines(row.id)
        if lines:
            assert sum(line.billed_cost for line in lines) == row.billed_cost
            assert sum(line.provider_cost for line in lines) == row.provider_cost


def test_it_works(shop: Shop, last_month: datetime) -> None:
    record = shop.call(last_month)
    statement = shop.close(last_month)
    files = {file.format: bytes_of(file) for file in statement.files.all()}
    proposal = propose_for_price(correct(shop, "output", "12"))
    assert (proposal.record_count, proposal.billed_delta) == (1, Decimal("0.001"))
    assert len(shop.rows()) == 1
    assert approve_rerating(proposal) == 1
    original, correction = shop.rows()
    assert original.id == record
    assert (correction.kind, correction.charge_class, correction.corrects_id) == (
        "correction",
        "Correction",
        record,
    )
    assert correction.occurred_at == last_month
    assert correction.period.starts_at > last_month
    assert correction.billed_cost == Decimal("0.001")
    lines = [
        (line.meter, line.quantity, line.unit_price, line.billed_cost) for line in shop.lines(correction.id)
    ]
    assert lines == [
        ("output", -500, Decimal(10), Decimal("-0.005")),
        ("output", 500, Decimal(12), Decimal("0.006")),
    ]
    check_savings(shop)
    assert {file.format: bytes_of(file) for file in statement.files.all()} == files
    assert first_break(shop.tenant) is None
    assert restate(statement).restated_usd == Decimal("0.0085")


def test_an_open_month_takes_its_own_corrections(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    approve_rerating(propose_for_price(correct(shop, "input", "3")))
    row = shop.rows(kind="correction")[0]
    assert (row.charge_class, row.period.label) == ("", f"{last_month:%Y-%m}")
    assert shop.close(last_month).exact_usd == Decimal("0.008")


def test_twice_is_as_once(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    price = correct(shop, "input", "3")
    proposal = propose_for_price(price)
    assert propose_for_price(price).pk == proposal.pk
    assert approve_rerating(proposal) == 1
    assert approve_rerating(proposal) == 0
    with pytest.raises(NothingToRerate):
        propose_for_price(price)
    assert len(shop.rows()) == 2


def test_a_price_corrected_twice_is_booked_as_the_difference(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    for price in ("3", "1", "2.5"):
        approve_rerating(propose_for_price(correct(shop, "input", price)))
        check_savings(shop)
    deltas = [row.billed_cost for row in shop.rows(kind="correction")]
    assert deltas == [Decimal("0.0005"), Decimal("-0.002"), Decimal("0.0015")]
    assert shop.ledger_sum() == Decimal("0.0075")


def test_only_the_span_of_the_correction_is_touched(shop: Shop, last_month: datetime) -> None:
    early, late = shop.call(last_month), shop.call(last_month + timedelta(days=2))
    price = correct(shop, "input", "3", since=last_month + timedelta(days=1))
    proposal = propose_for_price(price)
    assert [row.record_id for row in proposal.rows.all()] == [late]
    assert early


def test_another_tenants_contract_is_not_touched(shop: Shop, last_month: datetime) -> None:
    shop.price("input", "1", book="contract", tenant=shop.tenant)
    shop.call(last_month)
    approve_rerating(propose_for_price(correct_list(shop, "3")))
    row = shop.rows(kind="correction")[0]
    assert (row.billed_cost, row.contracted_cost) == (0, 0)
    assert row.provider_cost == row.list_cost == Decimal("0.0005")
    assert Decimal(row.saving["negotiated"]) == Decimal("0.0005")


def correct_list(shop: Shop, price: str) -> PriceRow:
    row = PriceRow.objects.get(
        provider=shop.provider, model=shop.model, meter="input", book="list", superseded_at=None
    )
    return set_price(row, unit_price=Decimal(price), valid_from=row.valid_from)


def test_savings_add_up_after_a_correction(shop: Shop, last_month: datetime) -> None:
    shop.price("cache_read", "1.25")
    shop.price("input", "1.25", processing="batch")
    shop.price("output", "5", processing="batch")
    shop.call(last_month, {"input": 100, "cache_read": 900, "output": 50}, removed_input_tokens=300)
    shop.call(last_month, processing="batch")
    proposal = propose_for_price(correct(shop, "input", "4"))
    assert approve_rerating(proposal) == 1  # the batch has a price of its own
    check_savings(shop)
    row = shop.rows(kind="correction")[0]
    assert Decimal(row.saving["provider_cache"]) == Decimal("0.00135")


def test_a_proposal_that_is_not_true_any_more_books_nothing(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    proposal = propose_for_price(correct(shop, "input", "3"))
    correct(shop, "input", "4")
    with pytest.raises(StaleProposal):
        approve_rerating(proposal)
    assert len(shop.rows()) == 1


def test_a_rejected_proposal_stays_rejected(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    proposal = propose_for_price(correct(shop, "input", "3"))
    assert reject_rerating(proposal)
    assert not reject_rerating(proposal)
    with pytest.raises(ValidationError, match="rejected"):
        approve_rerating(proposal)
    with pytest.raises(DatabaseError), transaction.atomic():
        ReratingRow.objects.filter(rerating=proposal).update(billed_delta=0)


def test_an_estimate_that_was_rerated_is_still_corrected_by_its_usage(
    shop: Shop, last_month: datetime
) -> None:
    attempt = shop.call(last_month, {"output": 1000}, usage_source="estimated")
    approve_rerating(propose_for_price(correct(shop, "output", "12")))
    shop.call(last_month, {"output": 400}, attempt_id=attempt)
    assert shop.ledger_sum() == Decimal("0.0048")
    check_savings(shop)
    meters: dict[str, int] = {}
    for row in shop.rows():
        for line in shop.lines(row.id):
            meters[line.meter] = meters.get(line.meter, 0) + line.quantity
    assert meters == {"output": 400}
    with pytest.raises(NothingToRerate):
        propose_rerating(
            starts_at=last_month, ends_at=now(), reason="again", provider=shop.provider, model=shop.model
        )


def test_a_lump_cannot_be_rated_and_is_counted(shop: Shop, last_month: datetime) -> None:
    from billing.ledger.settlements import Settlement
    from billing.prices.rating import Rated

    attempt = shop.open_attempt(last_month, hold=Decimal("0.5"))
    shop.settle(
        Settlement(
            attempt_id=attempt, usage_source="estimated", rated=Rated.bound(Decimal("0.5")), meters={},
            list_cost_usd=Decimal("0.5"),
        )
    )  # fmt: skip
    shop.call(last_month)
    proposal = propose_for_price(correct(shop, "input", "3"))
    assert (proposal.record_count, proposal.skipped_count) == (1, 1)


def test_usage_without_a_price_is_rated_once_there_is_one(shop: Shop, last_month: datetime) -> None:
    from billing.ledger.settlements import Settlement
    from billing.prices.rating import Rated

    attempt = shop.open_attempt(last_month, hold=Decimal("0.5"))
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 400},
    }
    shop.settle(
        Settlement(
            attempt_id=attempt, usage_source="provider", rated=Rated.lump(Decimal("0.5")),
            meters={"input": 600, "cache_read": 400, "output": 100}, list_cost_usd=Decimal("0.5"), raw_usage=usage,
        )
    )  # fmt: skip
    proposal = propose_for_price(shop.price("cache_read", "1.25"))
    assert proposal.billed_delta == Decimal("0.003") - Decimal("0.5")
    approve_rerating(proposal)
    assert shop.ledger_sum() == Decimal("0.003")
    check_savings(shop)


def test_the_budget_counts_the_difference(shop: Shop, last_month: datetime) -> None:
    budget = Budget.objects.create(
        tenant=shop.tenant, scope="tenant", unit="usd", period="month", limit_amount=Decimal(100)
    )
    window = BudgetWindow.objects.create(
        budget=budget, tenant=shop.tenant, subject="", starts_at=last_month.replace(day=1), unit="usd",
        held=0, spent=0, overrun=0,
    )  # fmt: skip
    shop.call(last_month, windows=(window.pk,))
    window.refresh_from_db()
    assert window.spent == Decimal("0.0075")
    approve_rerating(propose_for_price(correct(shop, "input", "3")))
    window.refresh_from_db()
    assert window.spent == shop.ledger_sum() == Decimal("0.008")


def test_the_command_proposes_and_books(
    shop: Shop, last_month: datetime, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.call(last_month)
    price = correct(shop, "input", "3")
    call_command("rerate", "--price", str(price.pk))
    assert "1 calls, billed +0.000500000000 USD" in capsys.readouterr().out
    call_command("rerate", "--price", str(price.pk), "--approve")
    assert "booked 1 corrections" in capsys.readouterr().out
    call_command("rerate", "--price", str(price.pk), "--approve")
    assert "nothing to re-rate" in capsys.readouterr().out
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM billing_rollupdirty WHERE tenant_id = %s AND day = %s",
            (shop.tenant.pk, last_month.date()),
        )
        assert cursor.fetchone()[0] >= 1
