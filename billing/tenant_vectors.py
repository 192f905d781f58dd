"""Rates the tenant's side of a vector file: rate plans, savings, statements, sums, provider reports.

Invariant: each kind calls the code that the product uses for it; an unknown kind is an error, not a guess.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.exact import EXACT, TWELVE_PLACES
from billing.outcomes import ModelUnpriced, UnpricedMeter
from billing.prices import Price, PriceBook, Rates, rates_of
from billing.provider_reports import anthropic_amount_usd, openai_amount_usd
from billing.rate_plans import RateRule, RuleKind, cost_of, unit_price_of
from billing.rating import Rated, rate
from billing.savings import GATEWAY_CACHE, uncached
from billing.statement_money import print_amounts

Vector = Mapping[str, Any]
RateVector = Callable[[Vector], tuple[dict[str, int], Rated, Rates]]


def rate_tenant_vector(
    vector: Vector, by_id: Mapping[str, Vector], rate_vector: RateVector
) -> dict[str, Any]:
    """The result of one tenant vector, with the names its kind expects. Raises ValueError on an unknown kind."""
    kind = vector["kind"]
    if kind == "rate_plan":
        return _rate_plan(vector)
    if kind == "savings":
        return (
            _provider_cache_saving(by_id[vector["vector"]], rate_vector)
            if "vector" in vector
            else _hit(vector)
        )
    if kind == "statement_rounding":
        return _statement(vector)
    if kind == "sum":
        return _sum(vector)
    if kind == "unpriced_model":
        return _unpriced(vector)
    if kind == "reconcile_parse":
        return _parse_reports(vector)
    raise ValueError(f"unknown kind {kind!r}")


def _rules(vector: Vector) -> list[RateRule]:
    return [
        RateRule(
            RuleKind(rule["type"]),
            Decimal(str(rule.get("value") or 0)),
            rule.get("meter") or "",
            rule.get("provider") or "",
            rule.get("model") or "",
        )
        for rule in vector.get("rules") or ()
    ]


def _rate_plan(vector: Vector) -> dict[str, Any]:
    rules = _rules(vector)
    if "lines" not in vector:
        list_cost = Decimal(vector["list_cost_usd"])
        return _amounts(list_usd=list_cost, billed_usd=cost_of(list_cost, rules))
    contracted, list_usd, billed = [], Decimal(0), Decimal(0)
    for line in vector["lines"]:
        meter, quantity = line["meter"], int(line["quantity"])
        listed = Price(meter, Decimal(line["list_unit_price"]), per=int(line.get("per", 1_000_000)))
        unit_price = unit_price_of(listed.unit_price, rules, meter=meter)
        contract = Price(meter, unit_price, per=listed.per, book="contract")
        rated = rate({meter: quantity}, rates_of([listed, contract], provider="", model=""))
        contracted.append(
            {"meter": meter, "unit_price": f"{unit_price.normalize():f}", "usd": f"{rated.cost_usd:.12f}"}
        )
        list_usd, billed = list_usd + rated.list_cost_usd, billed + rated.cost_usd
    return {**_amounts(list_usd=list_usd, billed_usd=billed), "contracted": contracted}


def _hit(vector: Vector) -> dict[str, Any]:
    """A hit of our cache: nothing is bought; a policy may charge a share of what it would have cost."""
    would_be = Decimal(vector["usage_would_be_list_usd"])
    percent = Decimal((vector.get("gateway_cache_policy") or {}).get("charge_pct_of_list", "0"))
    billed = EXACT.quantize(EXACT.divide(EXACT.multiply(would_be, percent), Decimal(100)), TWELVE_PLACES)
    amounts = _amounts(saving_usd=would_be - billed, cost_usd=billed)
    nothing = {"provider_cost_usd": "0", "billed_usd": f"{billed.normalize():f}"}
    return {**amounts, **nothing, "saving_kind": GATEWAY_CACHE}


def _provider_cache_saving(vector: Vector, rate_vector: RateVector) -> dict[str, Any]:
    """What the provider's prompt cache saved on a call; negative where writing it cost more than reading gained."""
    meters, rated, rates = rate_vector(vector)
    plain = rate(uncached(meters), rates)
    return _amounts(saving_usd=plain.cost_usd - rated.cost_usd, cost_usd=rated.cost_usd)


def _statement(vector: Vector) -> dict[str, Any]:
    exact = [Decimal(amount) for amount in vector["ledger_by_line"]]
    rate_of_exchange = Decimal(str(vector.get("fx_rate") or 1))
    printed = print_amounts(exact, currency=vector.get("currency", "USD"), fx_rate=rate_of_exchange)
    return {
        "printed_lines": [str(line) for line in printed.lines],
        "rounding_line": str(printed.rounding),
        "total": str(printed.total),
    }


def _sum(vector: Vector) -> dict[str, Any]:
    return _amounts(total_usd=Decimal(vector["each_usd"]) * int(vector["count"]))


def _unpriced(vector: Vector) -> dict[str, Any]:
    """A model without a price is no free model: it has no cost, raises an alert, and its hold stays."""
    try:
        PriceBook({}).rates(vector.get("provider", ""), vector["model"], at=datetime.now(UTC))
    except (ModelUnpriced, UnpricedMeter):
        return {
            "status": "unpriced",
            "cost_usd": None,
            "alert": "unpriced_usage",
            "hold": "kept at the reserved amount",
        }
    raise AssertionError("an empty book prices nothing")


def _parse_reports(vector: Vector) -> dict[str, Any]:
    result = {}
    if "anthropic" in vector:
        result["anthropic_usd"] = f"{anthropic_amount_usd(vector['anthropic']):f}"
    if "openai" in vector:
        result["openai_usd"] = f"{openai_amount_usd(vector['openai']):f}"
    return result


def _amounts(**amounts: Decimal) -> dict[str, str]:
    return {name: f"{amount:.12f}" for name, amount in amounts.items()}
