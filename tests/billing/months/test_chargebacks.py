"""What the cost centres bear makes the statement, whatever was inherited, credited and divided."""

import csv
import io
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils.timezone import now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.ledger.corrections import adjust, credit
from billing.models import Attempt, ChargebackSheet
from billing.months import chargeback_sheets
from billing.months.chargebacks import Chargeback, Chargebacks, chargebacks_of
from billing.months.exports.chargeback_files import read_json
from billing.months.exports.focus.rows import charges
from billing.months.lines import opened_lines
from billing.months.report import opened_month
from billing.months.split_rules import end_split, rules_in_force, set_split
from tenants.allocation import SOURCES, resolve
from tests.billing.shop import Shop, open_shop

CENTERS = st.sampled_from(["", "4711", "4712", "ops"])
LEVELS = st.fixed_dictionaries(
    {
        source: st.fixed_dictionaries(
            {
                "cost_center": CENTERS,
                "project": st.sampled_from(["", "apollo"]),
                "env": st.sampled_from(["", "prod"]),
            }
        )
        for source in SOURCES
    }
)
CALLS = st.lists(st.tuples(LEVELS, st.integers(1, 100_000)), min_size=1, max_size=6)
ENTRIES = st.lists(
    st.tuples(st.sampled_from([credit, adjust]), st.decimals("0.000000000001", 50, places=12), CENTERS),
    max_size=3,
)
SOURCE_FACTS = st.sampled_from(
    [
        {"source": "cost_center", "value": "ops"},
        {"source": "project", "value": "apollo"},
        {"source": "tag", "tag": "env", "value": "prod"},
        *({"source": source} for source in ("unallocated", "credits", "fees")),
    ]
)
METHODS = st.sampled_from(
    [
        {"method": "even", "shares": []},
        {"method": "even", "shares": [["4711", ""], ["new", ""], ["ops", ""]]},
        {"method": "proportional", "shares": []},
        {"method": "fixed", "shares": [["4711", "33.333333"], ["4712", "66.666667"]]},
    ]
)
RULES = st.lists(st.tuples(SOURCE_FACTS, METHODS), max_size=4)


def call(shop: Shop, tags: dict[str, str], *, output: int, at: datetime) -> None:
    attempt_id = shop.open_attempt(at)
    others = {name: value for name, value in tags.items() if name != "cost_center"}
    dims = {"cost_center": tags.get("cost_center", ""), "project": tags.get("project", ""), "tags": others}
    Attempt.objects.filter(pk=attempt_id).update(dims=dims)
    shop.call(at, {"output": output}, attempt_id=attempt_id)


def items_of(made: Chargebacks) -> dict[str, Chargeback]:
    return {item.cost_center: item for item in made.items}


@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(calls=CALLS, entries=ENTRIES, rules=RULES)
def test_they_make_the_statement(committed: None, calls: Any, entries: Any, rules: Any) -> None:
    """Each digit of what is borne, and each minor unit of what is owed."""
    shop, at = open_shop(), now()
    for levels, output in calls:
        call(shop, dict(resolve([(name, levels[name]) for name in SOURCES]).tags), output=output, at=at)
    for book, amount, cost_center in entries:
        book(shop.tenant, amount_usd=amount, reason="drawn", cost_center=cost_center)
    for number, (source, method) in enumerate(rules):
        set_split(shop.tenant, name=f"rule {number}", place=number, first_month="2020-01", **source, **method)
    period = shop.period(at)
    made = chargebacks_of(period)
    with transaction.atomic(), opened_lines(period, timezone=period.timezone) as statement:
        pass
    assert sum(item.exact_usd for item in made.items) == made.exact_usd == shop.ledger_sum()
    assert sum(item.owed for item in made.items) == made.total == statement.total
    assert sum(item.own_usd for item in made.items) == shop.ledger_sum()
    if not rules:
        assert {item.cost_center: item.owed for item in made.items} == statement.owed


def test_a_closed_month_keeps_its_chargebacks(shop: Shop, last_month: datetime) -> None:
    call(shop, {"cost_center": "4711"}, output=300_000, at=last_month)
    call(shop, {"cost_center": "4712"}, output=100_000, at=last_month)
    call(shop, {"cost_center": "ops"}, output=200_001, at=last_month)
    rule = set_split(
        shop.tenant,
        name="platform",
        source="cost_center",
        value="ops",
        method="proportional",
        first_month="2020-01",
    )
    statement = shop.close(last_month)
    made = items_of(read_json(bytes(statement.chargeback_sheet.content)))
    assert {name: (item.exact_usd, item.owed) for name, item in made.items()} == {
        "4711": (Decimal("4.5000075"), Decimal("4.50")),
        "4712": (Decimal("1.5000025"), Decimal("1.50")),
        "ops": (Decimal(0), Decimal("0.00")),
    }
    assert sum(item.owed for item in made.values()) == statement.total
    end_split(rule, last_month="2020-01")
    set_split(
        shop.tenant, name="other", source="cost_center", value="4711", method="even", first_month="2020-01"
    )
    assert items_of(chargeback_sheets.of_month(statement.period)) == made
    with pytest.raises(IntegrityError), transaction.atomic():
        ChargebackSheet.objects.filter(pk=statement.chargeback_sheet.pk).update(sha256="x")
    with pytest.raises(IntegrityError), transaction.atomic():
        chargeback_sheets.seal(statement)


def test_a_rule_changes_neither_the_ledger_nor_the_statement(committed: None, last_month: datetime) -> None:
    sums = []
    for with_rule in (False, True):
        shop = open_shop()
        call(shop, {"cost_center": "4711"}, output=1234, at=last_month)
        call(shop, {}, output=4321, at=last_month)
        if with_rule:
            set_split(shop.tenant, name="rest", source="unallocated", method="even", first_month="2020-01")
        statement = shop.close(last_month)
        lines = statement.lines.order_by("line_no").values_list(
            "cost_center", "quantity", "exact_usd", "amount"
        )
        sums.append((list(lines), statement.total, statement.exact_usd))
    assert sums[0] == sums[1]


def test_files_have_the_sums_of_the_statement(shop: Shop, last_month: datetime) -> None:
    for number, center in enumerate(("=4711", "müller; -1", "")):
        call(shop, {"cost_center": center}, output=333_333 + number, at=last_month)
    set_split(shop.tenant, name="@rest", source="unallocated", method="even", first_month="2020-01")
    statement = shop.close(last_month)
    name, content = chargeback_sheets.file_of(statement.period, format_name="csv")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert name == f"{shop.tenant.slug}-{statement.code}-chargeback.csv"
    assert sum(Decimal(row["exact_usd"]) for row in rows) == statement.exact_usd
    assert sum(Decimal(row["owed"]) for row in rows) == statement.total
    assert sum(int(row["records"]) for row in rows) == 3
    assert {row["cost_center"][0] for row in rows if row["cost_center"]} == {"'", "m"}
    _, pages = chargeback_sheets.file_of(statement.period, format_name="pdf", cost_center="=4711")
    assert pages.startswith(b"%PDF")
    assert chargeback_sheets.file_of(statement.period, format_name="pdf", cost_center="=4711")[1] == pages
    with pytest.raises(chargeback_sheets.NoSuchChargeback):
        chargeback_sheets.file_of(statement.period, format_name="json", cost_center="unknown")
    with pytest.raises(chargeback_sheets.NoSuchChargeback):
        chargeback_sheets.file_of(statement.period, format_name="pdf")


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"source": "project"}, "value"),
        ({"source": "unallocated", "value": "x"}, "value"),
        ({"source": "tag", "value": "x"}, "tag"),
        ({"method": "fixed", "shares": [["a", "60"], ["b", "39"]]}, "shares"),
        ({"method": "fixed", "shares": [["a", "100"], ["a", "0"]]}, "shares"),
        ({"method": "even", "shares": [["a", "50"]]}, "shares"),
        ({"method": "fixed", "shares": [["a", "NaN"]]}, "shares"),
        ({"shares": "a"}, "shares"),
        ({"first_month": "2026-13"}, "first_month"),
        ({"last_month": "2019-12"}, "last_month"),
        ({"source": "everything"}, "source"),
    ],
)
def test_rules_that_mean_nothing_are_refused(shop: Shop, facts: dict[str, Any], field: str) -> None:
    usual = {"name": "rule", "source": "unallocated", "method": "even", "first_month": "2020-01"}
    with pytest.raises(ValidationError) as refusal:
        set_split(shop.tenant, **usual | facts)
    assert field in refusal.value.message_dict


def test_a_rule_counts_in_its_months_alone(shop: Shop) -> None:
    rule = set_split(
        shop.tenant,
        name="rest",
        source="unallocated",
        method="even",
        first_month="2026-03",
        last_month="2026-05",
    )
    months = [
        month
        for month in ("2026-02", "2026-03", "2026-05", "2026-06")
        if rules_in_force(shop.tenant, month=month)
    ]
    assert months == ["2026-03", "2026-05"]
    with pytest.raises(ValidationError):
        end_split(rule, last_month="2026-01")
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE billing_splitrule SET last_month = '2026-01' WHERE id = %s", (rule.pk,))


def test_focus_says_of_each_charge_whose_it_becomes(shop: Shop, last_month: datetime) -> None:
    """The charges with their shares make the chargebacks, by rule and cost centre; of a closed month as it was kept."""
    for center, count in (("4711", 30), ("4712", 10), ("ops", 8), ("", 2)):
        for _ in range(count):
            shop.call(last_month, {"input": 1_000_003}, cost_center=center)
    month = f"{last_month:%Y-%m}"
    set_split(
        shop.tenant, name="ops", source="cost_center", value="ops", method="proportional", shares=[],
        first_month=month,
    )  # fmt: skip
    set_split(shop.tenant, name="rest", source="unallocated", method="even", shares=[], first_month=month)

    def moved() -> dict[tuple[str, str], Decimal]:
        found: dict[tuple[str, str], Decimal] = {}
        with opened_month(shop.tenant, month=month) as report:
            rows = list(charges(report))
        for row in rows:
            assert row["x_CostCenter"] == row["Tags"].get("cost_center")
            for center, share in (row.get("x_SplitShares") or {}).items():
                key = (row["x_SplitRule"], center)
                found[key] = found.get(key, Decimal(0)) + row["BilledCost"] * Decimal(share)
        assert {row.get("x_MissingTags") for row in rows if not row["x_CostCenter"]} <= {None, "cost_center"}
        return found

    def borne() -> dict[tuple[str, str], Decimal]:
        made = chargeback_sheets.of_month(shop.period(last_month))
        return {
            (one.rule, item.cost_center): one.usd for item in made.items for one in item.moved if one.usd > 0
        }

    is_near = Decimal("1e-9")
    for _ in range(2):
        found, wanted = moved(), borne()
        assert found.keys() == wanted.keys() == {(r, c) for r in ("ops", "rest") for c in ("4711", "4712")}
        assert all(abs(found[key] - wanted[key]) < is_near for key in wanted)
        shop.close(last_month)
    before = moved()
    set_split(
        shop.tenant, name="late", place=1, source="cost_center", value="4711", method="even",
        shares=[["9", ""]], first_month=month,
    )  # fmt: skip
    assert moved() == before
