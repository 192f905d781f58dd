"""The parts of a month make the whole, however its calls are split, ordered or corrected."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.months.lines import PeriodLine, lines_of, printed
from billing.months.report import month_report
from billing.months.statements import restate
from tests.billing.shop import Shop, month_ago, open_shop

CALLS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(("input", "output")), st.integers(1, 10**9), min_size=1),
        st.sampled_from(("alice", "bob", "")),
        st.sampled_from(("4711", "")),
        st.integers(1, 27),
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def in_database(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        yield


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS, order=st.randoms(use_true_random=False))
def test_any_split_and_order_of_calls_makes_the_same_statement(in_database: None, calls: list, order) -> None:  # type: ignore[type-arg, no-untyped-def]
    month = month_ago()
    shuffled = list(calls)
    order.shuffle(shuffled)
    singly = [
        ({meter: quantity}, user, cost_center, day)
        for meters, user, cost_center, day in shuffled
        for meter, quantity in meters.items()
    ]
    statements = []
    for batch in (calls, singly):
        shop = open_shop()
        for meters, user, cost_center, day in batch:
            shop.call(month.replace(day=day), meters, user=user, cost_center=cost_center)
        statement = shop.close(month)
        report = month_report(shop.tenant, month=f"{month:%Y-%m}")
        lines = list(statement.lines.all())
        assert statement.exact_usd == shop.ledger_sum() == report.totals.billed_cost_usd
        assert sum(line.exact_usd for line in lines) == statement.exact_usd
        assert sum(line.amount for line in lines) == statement.total
        assert restate(statement).restated_usd == statement.exact_usd
        statements.append((statement.exact_usd, statement.total, [_told(line) for line in lines]))
    assert statements[0] == statements[1]


def _told(line: PeriodLine) -> tuple[object, ...]:
    return line.cost_center, line.user_id, line.meter, line.quantity, line.exact_usd, line.amount


@given(st.lists(st.decimals("-1000", "1000", places=12), max_size=60))
def test_printed_amounts_are_rounded_once_and_their_drift_is_told(amounts: list[Decimal]) -> None:
    lines = [_line(amount) for amount in amounts]
    shown, rounding, total = printed(lines)
    assert sum((line.amount for line in shown), start=Decimal(0)) == total
    assert sum((line.exact_usd for line in shown), start=Decimal(0)) == sum(amounts, start=Decimal(0))
    assert abs(total - sum(amounts, start=Decimal(0))) <= Decimal("0.005")
    assert len(shown) == len(amounts) + bool(rounding)


def _line(amount: Decimal) -> PeriodLine:
    return PeriodLine("usage", "", "", "", "", None, "", "", "", "", "input", 1, "tokens", 1, None, amount)


def test_a_month_of_many_kinds_of_rows_adds_up(shop: Shop, last_month: datetime) -> None:
    from billing.ledger.corrections import credit

    shop.price("input", "1.25", processing="batch")
    shop.price("output", "5", processing="batch")
    estimate = shop.call(last_month, {"output": 999}, usage_source="estimated")
    shop.call(last_month, {"output": 333}, attempt_id=estimate)
    shop.call(last_month, processing="batch")
    shop.hit(last_month)
    credit(shop.tenant, amount_usd=Decimal("0.5"), reason="goodwill")
    statement = shop.close(last_month)
    summed = lines_of(statement.period, timezone="UTC")
    lines, count = summed.lines, summed.row_count
    assert count == 4
    assert sum(line.exact_usd for line in lines) == shop.ledger_sum("period_id = %s", statement.period_id)
    assert {line.category for line in lines} == {"usage", "correction"}
