"""What a tenant pays for what the list says: from the rules to the ledger's four costs."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from billing.models import RateRule
from billing.prices.book import Price, PriceBook, load_price_book
from billing.prices.plan_editing import end_rule, set_rule
from billing.prices.plans import RateRule as Rule
from billing.prices.plans import RuleKind
from billing.prices.rating import rate
from tests.billing.shop import Shop

VECTORS = Path(__file__).parent.parent / "vectors" / "data" / "cost_vectors_public.json"
AT = datetime(2026, 11, 10, tzinfo=UTC)


def test_it_works(shop: Shop, last_month: datetime) -> None:
    since = last_month - timedelta(days=40)
    set_rule(
        shop.tenant,
        priority=1,
        kind="fixed_unit_price",
        value=Decimal("8.80"),
        meter="output",
        valid_from=since,
    )
    set_rule(shop.tenant, priority=2, kind="discount_pct", value=Decimal(12), valid_from=since)
    shop.price("input", "2", book="cost")
    shop.call(last_month)
    row = shop.rows()[0]
    assert row.list_cost == Decimal("0.0075")
    assert row.provider_cost == Decimal("0.007")  # input at our own price, output at the list's
    assert row.contracted_cost == row.billed_cost == Decimal("0.0066")
    assert row.saving == {"negotiated": "0.000900000000"}
    lines = {line.meter: (line.unit_price, line.list_cost, line.billed_cost) for line in shop.lines(row.id)}
    assert lines == {
        "input": (Decimal("2.2"), Decimal("0.0025"), Decimal("0.0022")),
        "output": (Decimal("8.8"), Decimal("0.005"), Decimal("0.0044")),
    }


def vectors() -> list[Any]:
    found = json.loads(VECTORS.read_text())["tenant_vectors"]
    return [
        pytest.param(vector, id=vector["id"])
        for vector in found
        if vector["kind"] == "rate_plan" and "lines" in vector
    ]


@pytest.mark.parametrize("vector", vectors())
def test_the_price_book_bills_as_the_vectors_say(vector: dict[str, Any]) -> None:
    rules = tuple(
        Rule(RuleKind(rule["type"]), Decimal(rule["value"]), rule.get("meter", ""))
        for rule in vector["rules"]
    )
    rows = tuple(Price(line["meter"], Decimal(line["list_unit_price"])) for line in vector["lines"])
    rates = PriceBook({("openai", "gpt-4o"): rows}, rules).rates("openai", "gpt-4o", at=AT)
    rated = rate({line["meter"]: line["quantity"] for line in vector["lines"]}, rates)
    assert rated.cost_usd == Decimal(vector["expected"]["billed_usd"])
    assert rated.list_cost_usd == Decimal(vector["expected"]["list_usd"])
    assert {line.meter: (line.unit_price, line.cost_usd) for line in rated.lines} == {
        line["meter"]: (Decimal(line["unit_price"]), Decimal(line["usd"]))
        for line in vector["expected"]["contracted"]
    }


def price(unit_price: str, *rules: Rule, **context: Any) -> Decimal:
    """What a million input tokens cost under rules."""
    rows = (Price("input", Decimal(unit_price)), Price("input", Decimal(unit_price) / 2, processing="batch"))
    book = PriceBook({("openai", "gpt-4o-mini"): rows}, rules)
    return rate({"input": 1_000_000}, book.rates("openai", "gpt-4o-mini", **{"at": AT} | context)).cost_usd


def test_the_first_rule_that_fits_counts_and_no_other() -> None:
    markup, half = Rule(RuleKind.MARKUP, Decimal(10)), Rule(RuleKind.DISCOUNT, Decimal(50))
    assert price("2", markup, half) == Decimal("2.2")
    assert price("2", half, markup) == Decimal("1")
    assert price("2", Rule(RuleKind.AS_LISTED, model="gpt-4o*"), half) == Decimal("2")
    assert price("2", Rule(RuleKind.AS_LISTED, model="gpt-5*"), half) == Decimal("1")
    assert price("2", Rule(RuleKind.AS_LISTED, provider="anthropic"), half) == Decimal("1")
    batch = Rule(RuleKind.DISCOUNT, Decimal(50), processing="batch")
    assert price("2", batch, markup) == Decimal("2.2")
    assert price("2", batch, markup, processing="batch") == Decimal("0.5")


def test_a_rule_counts_while_it_is_valid() -> None:
    rule = Rule(RuleKind.MARKUP, Decimal(10), valid_from=AT, valid_to=AT + timedelta(days=1))
    assert price("2", rule, at=AT - timedelta(seconds=1)) == 2
    assert price("2", rule, at=AT) == Decimal("2.2")
    assert price("2", rule, at=AT + timedelta(days=1)) == 2


def test_a_book_that_is_kept_still_sees_a_rule_begin_and_end() -> None:
    rule = Rule(RuleKind.MARKUP, Decimal(10), valid_from=AT, valid_to=AT + timedelta(days=1))
    book = PriceBook({("openai", "gpt-4o"): (Price("input", Decimal(2)),)}, (rule,))
    days = [book.rates("openai", "gpt-4o", at=AT + timedelta(days=day)) for day in (-1, 0, 1, 0, -1)]
    prices = [rates.price("input", input_tokens=1).billed.unit_price for rates in days]
    assert prices == [2, Decimal("2.2"), 2, Decimal("2.2"), 2]


def test_a_contract_goes_before_the_rules() -> None:
    rows = (Price("input", Decimal(2)), Price("input", Decimal("1.5"), book="contract"))
    book = PriceBook({("openai", "gpt-4o"): rows}, (Rule(RuleKind.MARKUP, Decimal(10)),))
    prices = book.rates("openai", "gpt-4o", at=AT).price("input", input_tokens=1)
    assert (prices.listed.unit_price, prices.billed.unit_price) == (2, Decimal("1.5"))


def test_a_rule_is_replaced_and_never_edited(shop: Shop) -> None:
    first = set_rule(shop.tenant, priority=1, kind="markup_pct", value=Decimal(10))
    assert set_rule(shop.tenant, priority=1, kind="markup_pct", value=Decimal(10)).pk == first.pk
    second = set_rule(shop.tenant, priority=1, kind="markup_pct", value=Decimal(20))
    first.refresh_from_db()
    assert first.valid_to == second.valid_from
    assert [rule.value for rule in load_price_book(shop.tenant.pk).rules] == [Decimal(10), Decimal(20)]
    with pytest.raises(IntegrityError, match="immutable"), transaction.atomic():
        RateRule.objects.filter(pk=first.pk).update(value=5)
    with pytest.raises(IntegrityError, match="immutable"), transaction.atomic():
        RateRule.objects.filter(pk=first.pk).delete()
    assert end_rule(second)
    assert not end_rule(second)
    assert RateRule.history.filter(id=second.pk).count() == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "pass_through", "value": Decimal(1)},
        {"kind": "markup_pct"},
        {"kind": "discount_pct", "value": Decimal(101)},
        {"kind": "fixed_unit_price", "value": Decimal(-1)},
        {"kind": "gift", "value": Decimal(1)},
    ],
)
def test_a_rule_that_says_nothing_sensible_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        set_rule(shop.tenant, priority=1, **wrong)


def test_two_rules_never_share_a_priority(shop: Shop) -> None:
    set_rule(shop.tenant, priority=1, kind="markup_pct", value=Decimal(10))
    with pytest.raises(IntegrityError), transaction.atomic():
        RateRule.objects.create(tenant=shop.tenant, priority=1, kind="pass_through", valid_from=now())


def test_rules_stand_in_the_configuration_file(shop: Shop) -> None:
    from llm.configuration import ConfigurationError, apply_configuration

    text = f"""
tenants:
  - slug: {shop.tenant.slug}
    rate_rules:
      - {{priority: 10, kind: fixed_unit_price, value: "8.80", model: "gpt-*", meter: output}}
      - {{priority: 20, kind: discount_pct, value: "12"}}
"""
    for expected in ("created", "unchanged"):
        changes = apply_configuration(text, source="rules.yaml", environ={})
        assert {change.action for change in changes.changes if change.kind == "rate rule"} == {expected}
    apply_configuration(text.replace('"12"', '"15"'), source="rules.yaml", environ={})
    live = RateRule.objects.filter(tenant=shop.tenant, valid_to=None).order_by("priority")
    assert [(rule.priority, rule.value) for rule in live] == [(10, Decimal("8.80")), (20, Decimal(15))]
    with pytest.raises(ConfigurationError, match=r"rules\.yaml:6"):
        apply_configuration(text.replace('value: "12"', ""), source="rules.yaml", environ={})
