"""Minimum commitments: what is not used of them is charged when their last month is closed."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from billing.contracts.commitments import end_commitment, progress_of, set_commitment
from billing.contracts.entries import propose_entry
from billing.models import Commitment
from billing.months.closing import reopen_period
from billing.months.exports.focus.rows import charges
from billing.months.report import opened_month
from billing.months.statements import first_break, stored_lines
from tests.billing.shop import Shop

CALL = Decimal("0.0075")


def label(at: datetime) -> str:
    return f"{at:%Y-%m}"


def test_it_works(shop: Shop, last_month: datetime) -> None:
    set_commitment(shop.tenant, span="month", amount_usd=Decimal(1), first_month=label(last_month))
    shop.call(last_month)
    propose_entry(
        shop.tenant, kind="credit", amount_usd=Decimal("0.5"), reason="an outage", month=label(last_month)
    )
    statement = shop.close(last_month)
    (row,) = shop.rows(kind="commitment")
    assert (row.billed_cost, row.charge_class, row.period.label) == (1 - CALL, "", label(last_month))
    assert (
        row.reason == f"minimum of 1 USD for {label(last_month)} to {label(last_month)}: 0.0075 USD were used"
    )
    assert statement.exact_usd == Decimal("0.5")  # the commitment, less the credit
    (line,) = [line for line in stored_lines(statement) if line.category == "commitment"]
    assert (line.exact_usd, line.text) == (row.billed_cost, row.reason)
    with opened_month(shop.tenant, month=label(last_month)) as report:
        steps = {step.name: step.amount_usd for step in report.waterfall}
    assert (steps["commitments"], steps["credits"], steps["list_price"]) == (CALL - 1, Decimal("0.5"), CALL)
    assert report.totals.saved_usd == 0
    assert first_break(shop.tenant) is None


def test_in_files_it_is_no_usage(shop: Shop, last_month: datetime) -> None:
    set_commitment(shop.tenant, span="month", amount_usd=Decimal(1), first_month=label(last_month))
    shop.call(last_month)
    shop.close(last_month)
    with opened_month(shop.tenant, month=label(last_month)) as report:
        found = [row for row in charges(report) if "minimum of 1 USD" in row["ChargeDescription"]]
    assert [(row["ChargeCategory"], row["BilledCost"], row.get("ConsumedQuantity")) for row in found] == [
        ("Adjustment", 1 - CALL, None)
    ]


def test_a_quarter_is_charged_once_at_its_end(
    shop: Shop, last_month: datetime, month_before: datetime
) -> None:
    first = (month_before.replace(day=1) - timedelta(days=1)).replace(day=10)
    commitment = set_commitment(shop.tenant, span="quarter", amount_usd=Decimal(1), first_month=label(first))
    for at in (first, month_before, last_month):
        shop.call(at)
    for at in (first, month_before):
        shop.close(at)
        assert shop.rows(kind="commitment") == []
    so_far = progress_of(commitment, month=label(last_month))
    assert (so_far.counted_usd, so_far.unmet_usd) == (3 * CALL, 1 - 3 * CALL)
    shop.close(last_month)
    assert [row.billed_cost for row in shop.rows(kind="commitment")] == [1 - 3 * CALL]
    assert shop.ledger_sum() == 1


def test_a_commitment_that_is_met_charges_nothing(shop: Shop, last_month: datetime) -> None:
    set_commitment(shop.tenant, span="month", amount_usd=CALL, first_month=label(last_month))
    shop.call(last_month)
    shop.close(last_month)
    assert shop.rows(kind="commitment") == []


def test_a_month_that_is_opened_again_books_the_difference(
    shop: Shop, last_month: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    from billing.months import closing

    set_commitment(shop.tenant, span="month", amount_usd=Decimal(1), first_month=label(last_month))
    period = shop.period(last_month)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("the statement could not be made")

    with monkeypatch.context() as patch:
        patch.setattr(closing, "issue", fails)
        with pytest.raises(RuntimeError):
            shop.close(last_month)
    reopen_period(period)
    shop.call(last_month)
    shop.close(last_month)
    assert sorted(row.billed_cost for row in shop.rows(kind="commitment")) == [-CALL, Decimal(1)]
    assert shop.ledger_sum() == 1


def test_a_tenant_has_one_at_a_time(shop: Shop, last_month: datetime) -> None:
    one = set_commitment(
        shop.tenant, span="month", amount_usd=Decimal(1), first_month="2099-01", last_month="2099-03"
    )
    with pytest.raises(ValidationError, match="is in the way"):
        set_commitment(shop.tenant, span="year", amount_usd=Decimal(9), first_month="2099-03")
    with pytest.raises(IntegrityError), transaction.atomic():
        Commitment.objects.create(
            tenant=shop.tenant, span="year", amount_usd=Decimal(9), first_month="2099-03"
        )
    set_commitment(shop.tenant, span="quarter", amount_usd=Decimal(9), first_month="2099-04")
    assert end_commitment(one, last_month="2099-02").last_month == "2099-02"
    shop.call(last_month)
    shop.close(last_month)
    with pytest.raises(ValidationError, match="is closed"):
        set_commitment(
            shop.tenant,
            span="month",
            amount_usd=Decimal(1),
            first_month=label(last_month),
            last_month=label(last_month),
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"first_month": "2099-13"},
        {"last_month": "2099-02"},
        {"last_month": "2098-12"},
        {"amount_usd": Decimal(0)},
        {"span": "week"},
    ],
    ids=str,
)
def test_a_commitment_that_is_none_is_refused(shop: Shop, wrong: dict[str, object]) -> None:
    right = {"span": "quarter", "amount_usd": Decimal(1), "first_month": "2099-01", "last_month": "2099-06"}
    with pytest.raises(ValidationError):
        set_commitment(shop.tenant, **{**right, **wrong})
    assert set_commitment(shop.tenant, **right).last_month == "2099-06"


def test_commitments_stand_in_the_configuration_file(shop: Shop) -> None:
    from llm.configuration import apply_configuration

    text = f"""
tenants:
  - slug: {shop.tenant.slug}
    commitments:
      - {{each: quarter, usd: "3000", first_month: 2099-01, last_month: ""}}
"""
    for expected in ("created", "unchanged"):
        changes = apply_configuration(text, source="file.yaml", environ={})
        assert {change.action for change in changes.changes if change.kind == "commitment"} == {expected}
    apply_configuration(text.replace('""', "2099-12"), source="file.yaml", environ={})
    assert Commitment.objects.get(tenant=shop.tenant).last_month == "2099-12"
