"""Every figure of a month is the same in every format, page and answer, and the same as in SQL of the test's own."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import openpyxl
import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.ledger.rollups import rebuild_dirty
from billing.ledger.settlements import Settlement
from billing.models import RollupDirty, Statement, UsageRecord
from billing.months.exports import export
from billing.months.files import bytes_of
from billing.months.overview import month_overview
from billing.months.parts import Measures, MonthReport
from billing.months.report import month_report
from billing.months.statements import first_break
from billing.prices.book import load_price_book
from billing.prices.rating import rate_bound
from llm.views.usage import OF_BOUNDS, OF_PERIODS, usage_sql
from tests.billing.shop import Shop, month_ago, open_shop

USERS = ("alice", "=x", "'=x", "''=x", "+49 170", "semi;=1+1", "semi;'=1+1", "Müller", "a,b", 'q"=1', "")
METERS = st.dictionaries(st.sampled_from(("input", "output")), st.integers(1, 10**6), min_size=1)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ("call", "call", "hit", "hedge", "own", "estimate", "explained", "unread", "credit", "adjustment")
        ),
        METERS,
        st.sampled_from(USERS),
        st.sampled_from(("", "4711", "4712", "=4713")),
        st.integers(1, 27),
    ),
    min_size=1,
    max_size=14,
)
# The month in SQL that shares nothing with the product's.
OWN = """
WITH months AS (SELECT * FROM billing_usagerecord WHERE tenant_id = %(tenant)s AND period_id = %(period)s),
     asked AS (SELECT DISTINCT ON (request_id) * FROM months
               WHERE kind = 'usage' AND cache_state NOT IN ('check', 'judge', 'embed', 'refresh') ORDER BY request_id, id),
     explained AS (SELECT attempt_id FROM billing_usagerecord
                   WHERE tenant_id = %(tenant)s AND kind = 'correction' AND certainty = 'exact')
SELECT (SELECT count(*) FROM asked) AS requests,
       (SELECT count(*) FROM months WHERE kind = 'usage' AND usage_source <> 'gateway_cache') AS calls,
       (SELECT count(*) FROM asked WHERE usage_source = 'gateway_cache') AS cache_hits,
       (SELECT coalesce(sum(list_cost), 0) FROM asked) AS list_cost_usd,
       (SELECT coalesce(sum(billed_cost), 0) FROM months WHERE kind = 'correction') AS corrections_usd,
       (SELECT coalesce(sum(billed_cost), 0) FROM months WHERE kind = 'adjustment') AS adjustments_usd,
       (SELECT coalesce(sum(billed_cost), 0) FROM months WHERE kind = 'credit') AS credits_usd,
       (SELECT coalesce(sum(billed_cost), 0) FROM months) AS billed_cost_usd,
       (SELECT coalesce(sum(billed_cost), 0) FROM months
        WHERE certainty = 'estimated' AND attempt_id NOT IN (SELECT attempt_id FROM explained)) AS estimated_usd,
       (SELECT coalesce(sum(billed_cost), 0) FROM months
        WHERE certainty = 'unread' AND attempt_id NOT IN (SELECT attempt_id FROM explained)) AS unread_usd,
       (SELECT coalesce(sum(output_tokens), 0)::bigint FROM months) AS output_tokens
"""


@pytest.fixture(scope="module")
def in_database(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        yield


# a failure is a few rows already: making it smaller takes longer than to read it
@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(events=EVENTS)
def test_every_figure_is_the_same_everywhere(in_database: None, events: list[Any]) -> None:
    shop, month = open_shop(), month_ago()
    shop.call(month)  # a month has a period
    for kind, meters, user, center, day in events:
        WRITERS[kind](shop, month.replace(day=day), meters, user, center)
    own = own_figures(shop, month)
    own["saved_usd"] = own["list_cost_usd"] - (
        own["billed_cost_usd"] - own["corrections_usd"] - own["adjustments_usd"] - own["credits_usd"]
    )
    own["exact_usd"] = own["billed_cost_usd"] - own["estimated_usd"] - own["unread_usd"]

    report = month_report(shop.tenant, month=f"{month:%Y-%m}")
    assert told(report.totals, own) == own
    while rebuild_dirty():
        pass
    overview = month_overview(shop.tenant, month=f"{month:%Y-%m}", shown=1000)
    assert overview.totals == report.totals
    assert overview.certainty == report.certainty
    assert overview.waterfall == report.waterfall
    assert overview.reconciliation == report.reconciliation
    for section in overview.sections:
        for name in own:
            parts = sum(getattr(group.measures, name) for group in section.groups)
            assert parts == own[name], (section.title, name)
    for rows in (OF_PERIODS, OF_BOUNDS):
        api = usage_of(shop, month, rows)
        assert {name: api[name.replace("billed_cost", "cost")] for name in own} == own
    statement = shop.close(month)
    check_files(statement, report, own)
    shop.call(month, {"input": 9})  # late: it is the next month's, and changes nothing that was handed out
    again = month_report(shop.tenant, month=f"{month:%Y-%m}")
    for name in ("csv", "focus"):
        out = io.BytesIO()
        export(again, name, out)
        assert out.getvalue() == bytes_of(statement.files.get(format=name)), name
    assert first_break(shop.tenant) is None


def check_files(statement: Statement, report: MonthReport, own: dict[str, Any]) -> None:
    files = {file.format: bytes_of(file) for file in statement.files.all()}
    detail, focus, lines = (read(files[name]) for name in ("csv", "focus", "statement"))
    for name in ("requests", "calls", "list_cost_usd", "saved_usd", "billed_cost_usd"):
        assert sum(Decimal(row[name]) for row in detail) == own[name], name
    assert (
        sum(Decimal(row["billed_cost_usd"]) for row in detail if row["kind"] == "credit")
        == own["credits_usd"]
    )
    for certainty in ("exact", "estimated", "unread"):
        for rows, column in ((detail, "billed_cost_usd"), (lines, "exact_usd")):
            its = [Decimal(row[column]) for row in rows if row["certainty"] == certainty]
            assert sum(its) == own[f"{certainty}_usd"], certainty
    assert sum(Decimal(row["exact_usd"]) for row in lines) == own["billed_cost_usd"] == statement.exact_usd
    assert sum(Decimal(row["amount"]) for row in lines) == statement.total

    assert {row["InvoiceId"] for row in focus} == {statement.code}
    assert sum(Decimal(row["BilledCost"]) for row in focus) == statement.total
    exact = [row for row in focus if row["x_UsageSource"] != "rounding"]
    assert sum(Decimal(row["BilledCost"]) for row in exact) == own["billed_cost_usd"]
    assert sum(int(row["x_Requests"]) for row in focus) == own["requests"]
    assert sum(Decimal(row["x_Saving"]) for row in focus) == own["saved_usd"]
    outputs = [Decimal(row["ConsumedQuantity"]) for row in focus if row["SkuMeter"] == "Output Tokens"]
    assert sum(outputs) == own["output_tokens"]
    prices: dict[str, set[str]] = {}
    for row in focus:
        prices.setdefault(row["SkuPriceId"], set()).add(row["ListUnitPrice"])
    assert all(len(its) == 1 for its in prices.values())

    users = set(UsageRecord.objects.filter(tenant=statement.tenant).values_list("user_id", flat=True))
    for rows, column, name in ((detail, "user", "exact_texts"), (focus, "SubAccountId", "x_ExactTexts")):
        its = [row for row in rows if row.get("x_UsageSource") != "rounding"]
        assert {exact_text(row, column, "user", name) for row in its} == users
        assert len({row[column] for row in its}) == len(users)
        for row in rows:
            assert not any(starts_a_formula(cell) for cell in row.values()), row

    sheet = openpyxl.load_workbook(io.BytesIO(files["xlsx"]), read_only=True)["Summary"]
    cells = {row[0]: row[2] for row in sheet.iter_rows(values_only=True) if len(row) > 2 and row[0]}
    for name in Measures.__dataclass_fields__:
        heading = name.replace("_", " ").capitalize().replace("usd", "USD")
        assert Decimal(cells[heading]) == getattr(report.totals, name), name


def starts_a_formula(cell: str) -> bool:
    """As spreadsheets read it that split at a comma, a semicolon, a tab or a bar; figures are none."""
    try:
        Decimal(cell)
    except ArithmeticError:
        parts = cell.replace(";", "\t").replace("|", "\t").replace(",", "\t").split("\t")
        return any(part.strip(' "')[:1] in tuple("=+-@") for part in parts if part.strip(' "'))
    return False


def exact_text(row: dict[str, str], column: str, name: str, texts: str) -> str:
    return json.loads(row[texts] or "{}").get(name, row[column])


def read(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def told(measures: Measures, names: Any) -> dict[str, Any]:
    return {name: getattr(measures, name) for name in names}


def own_figures(shop: Shop, month: datetime) -> dict[str, Any]:
    return one_row(OWN, {"tenant": shop.tenant.pk, "period": shop.period(month).pk})


def usage_of(shop: Shop, month: datetime, rows: str) -> dict[str, Any]:
    """The API's own query over the month, its groups added up."""
    period = shop.period(month)
    arguments = {
        "tenant": shop.tenant.pk, "periods": [period.pk], "starts_at": period.starts_at, "ends_at": period.ends_at
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(usage_sql(group="user", rows=rows), arguments)
        names = [column.name for column in cursor.description]
        groups = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return {name: sum(group[name] for group in groups) for name in names if name != "group"}


def one_row(sql: str, arguments: dict[str, Any]) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        return dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))


def call(shop: Shop, at: datetime, meters: dict[str, int], user: str, center: str) -> None:
    shop.call(at, meters, user=user, cost_center=center, removed_input_tokens=7)


def hit(shop: Shop, at: datetime, meters: dict[str, int], user: str, center: str) -> None:
    shop.hit(at)


def hedge(shop: Shop, at: datetime, meters: dict[str, int], user: str, center: str) -> None:
    request_id = uuid4()
    for number in (1, 2):
        shop.call(at, meters, user=user, cost_center=center, request_id=request_id, attempt_no=number)


def own_call(shop: Shop, at: datetime, meters: dict[str, int], user: str, center: str) -> None:
    shop.call(at, meters, user="", cost_center="", cache_state="judge")


def estimate(shop: Shop, at: datetime, meters: dict[str, int], user: str, center: str) -> None:
    shop.call(at, meters, user=user, cost_center=center, usage_source="estimated")


def explained(shop: Shop, at: datetime, meters: dict[str, int], user: str, center: str) -> None:
    attempt = shop.call(at, {"output": 999}, user=user, cost_center=center, usage_source="estimated")
    shop.call(at, meters, attempt_id=attempt)


def unread(shop: Shop, at: datetime, meters: dict[str, int], user: str, center: str) -> None:
    attempt = shop.open_attempt(at, user=user, cost_center=center)
    rates = load_price_book(shop.tenant.pk).rates(shop.provider, shop.model, at=at)
    rated = rate_bound(meters, rates, least_usd=Decimal("0.5"))
    shop.settle(Settlement(attempt, "estimated", rated, meters, rated.cost_usd, certainty="unread"))


def by_hand(kind: str) -> Callable[..., None]:
    """An entry of its month, as people book it into the one that runs."""

    def write(shop: Shop, at: datetime, meters: dict[str, int], user: str, center: str) -> None:
        amount = -Decimal("0.123456789012") if kind == "credit" else Decimal("1.000000000003")
        UsageRecord.objects.create(
            id=uuid4(), occurred_at=at, tenant=shop.tenant, period=shop.period(at), kind=kind, usage_source="manual",
            reason="=goodwill", user_id=user, cost_center=center, list_cost=amount, contracted_cost=amount, billed_cost=amount,
        )  # fmt: skip
        RollupDirty.objects.create(tenant=shop.tenant, day=at.date())

    return write


WRITERS: dict[str, Callable[..., None]] = {
    "call": call,
    "hit": hit,
    "hedge": hedge,
    "own": own_call,
    "estimate": estimate,
    "explained": explained,
    "unread": unread,
    "credit": by_hand("credit"),
    "adjustment": by_hand("adjustment"),
}
