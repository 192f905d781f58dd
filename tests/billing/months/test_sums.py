"""The parts of a month make the whole, however its calls are split, ordered or corrected."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.months.exports.cells import UNGUARDED, cell, exact_texts
from billing.months.files import COLUMNS, write_statement
from billing.months.lines import PeriodLine, made_lines, opened_lines, print_charges
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


AMOUNTS = st.lists(
    st.tuples(st.sampled_from(("", "4711", "4712")), st.decimals("-1000", "1000", places=12)), max_size=60
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(AMOUNTS, st.sampled_from(("USD", "JPY", "KWD")), st.decimals("0.001", "1000", places=6))
def test_amounts_are_rounded_once_where_they_are_owed(
    in_database: None, amounts: list[tuple[str, Decimal]], currency: str, fx_rate: Decimal
) -> None:
    unit = {"USD": Decimal("0.01"), "JPY": Decimal(1), "KWD": Decimal("0.001")}[currency]
    shown = printed(amounts, currency=currency, fx_rate=fx_rate)
    exact = sum((amount for _, amount in amounts), start=Decimal(0)) * fx_rate
    assert sum((line.amount for line in shown.lines), start=Decimal(0)) == shown.total
    assert abs(shown.total - exact) <= unit / 2
    for center, owed in shown.owed.items():
        its = [line for line in shown.lines if line.cost_center == center]
        assert sum(line.amount for line in its) == owed == owed.quantize(unit)
        assert abs(owed - sum(line.exact_usd for line in its) * fx_rate) < unit
        assert sum(line.category == "rounding" for line in its) <= 1
        for line in its:
            wrong = abs(line.amount - line.exact_usd * fx_rate)
            assert wrong < (unit + unit / 10_000 if line.category == "rounding" else unit / 10_000)
            assert line.amount == line.amount.quantize(unit / 10_000)


@pytest.mark.django_db
def test_a_cent_is_owed_by_whom_it_is_nearest_to() -> None:
    """A hundred and fifty small users in five cost centres: no line says zero, and no rounding is a bill of its own."""
    shown = printed([(f"cc{number % 5}", Decimal("0.00225")) for number in range(150)])
    assert shown.total == Decimal("0.34")
    assert sorted(shown.owed.values()) == [*[Decimal("0.06")] * 1, *[Decimal("0.07")] * 4]
    assert max(abs(line.amount) for line in shown.lines if line.category == "rounding") < Decimal("0.01")
    assert {line.amount for line in shown.lines if line.category == "usage"} == {Decimal("0.00225")}


@dataclass
class Printed:
    lines: list[PeriodLine]
    owed: dict[str, Decimal]

    @property
    def total(self) -> Decimal:
        return sum(self.owed.values(), start=Decimal(0))


CHARGES = """
SELECT 'usage' AS category, '' AS charge_class, '' AS charge_month, cost_center, '' AS user_id, NULL::bigint AS key_id,
       '' AS key_name, '' AS provider, '' AS model, '' AS processing, '' AS text, 'exact' AS certainty, 'input' AS meter,
       1::bigint AS quantity, 'tokens' AS unit, 1 AS per, NULL::numeric AS unit_price, exact_usd
FROM unnest(%(centers)s::text[], %(amounts)s::numeric[]) AS charge (cost_center, exact_usd)
"""


def printed(
    amounts: list[tuple[str, Decimal]], *, currency: str = "USD", fx_rate: Decimal = Decimal(1)
) -> Printed:
    """Amounts by cost centre, printed as those of a statement are."""
    arguments = {"centers": [center for center, _ in amounts], "amounts": [amount for _, amount in amounts]}
    with transaction.atomic():
        owed, _ = print_charges(CHARGES, arguments, currency=currency, fx_rate=fx_rate)
        shown = Printed(list(made_lines()), owed)
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE month_line")
    return shown


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
    with transaction.atomic(), opened_lines(statement.period, timezone="UTC") as summed:
        lines, count = list(summed.lines), summed.row_count
    assert count == 4
    assert sum(line.exact_usd for line in lines) == shop.ledger_sum("period_id = %s", statement.period_id)
    assert {line.category for line in lines} - {"rounding"} == {"usage", "correction"}


def test_the_file_of_the_lines_is_the_one_that_python_would_write() -> None:
    """PostgreSQL writes its rows; a text that might start a formula is guarded, and told beside it as it is."""
    names = (
        "4711",
        "",
        "=1+1",
        "'=x",
        "a - b",
        "a;=1",
        'q"=1',
        '"',
        "a,b",
        "line\n=1",
        "\t",
        "Müller",
        "＝1",
        "x" * 300,
    )
    amounts = (
        Decimal("0.000000000001"),
        Decimal("-0.5"),
        Decimal("12.3"),
        Decimal(7),
        Decimal("1234567.891"),
    )
    arguments = {
        "centers": [name for name in names for _ in amounts],
        "amounts": list(amounts) * len(names),
    }
    found, expected = io.StringIO(newline=""), io.StringIO(newline="")
    with transaction.atomic():
        print_charges(CHARGES, arguments, currency="EUR", fx_rate=Decimal("0.91"))
        write_statement(found, code="ST-1", currency="EUR", fx_rate=Decimal("0.91"))
        writer = csv.writer(expected, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
        writer.writerow(("statement", "line_no", *COLUMNS, "currency", "rate_for_one_usd", UNGUARDED))
        for number, line in enumerate(made_lines(), 1):
            values = {name: getattr(line, name) for name in COLUMNS}
            writer.writerow(("ST-1", number, *map(cell, values.values()), "EUR", "0.91", exact_texts(values)))
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE month_line")
    assert found.getvalue() == expected.getvalue()
    rows = list(csv.DictReader(io.StringIO(found.getvalue(), newline="")))
    assert len(rows) >= len(names) * len(amounts)
    assert {
        json.loads(row[UNGUARDED])["cost_center"] if row[UNGUARDED] else row["cost_center"] for row in rows
    } == set(names)
