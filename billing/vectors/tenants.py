"""Rates the tenant's side of a vector file: rate plans, savings, statements, sums, provider reports.

Invariant: each kind calls the code that the product uses for it; an unknown kind is an error, not a guess.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.errors import ModelUnpriced, UnpricedMeter
from billing.money import EXACT, TWELVE_PLACES
from billing.prices.book import Price, PriceBook, Rates, is_token_meter, rates_of
from billing.prices.plans import RateRule, RuleKind, cost_of, unit_price_of
from billing.prices.rating import Rated, rate
from billing.prices.savings import GATEWAY_CACHE, PROVIDER_CACHE, uncached
from billing.reconciliation.difference_kinds import tolerance_usd
from billing.reconciliation.provider_reports import anthropic_amount_usd, openai_amount_usd
from billing.vectors.months import correction, decimal, first, period, reservation, statement
from billing.vectors.prices import FEES_PER, TOKENS_PER, Vector

RateVector = Callable[[Vector], tuple[dict[str, int], Rated, Rates]]


def rate_tenant_vector(
    vector: Vector, by_id: Mapping[str, Vector], rate_vector: RateVector
) -> dict[str, Any]:
    """The result of one tenant vector, with the names its kind expects. Raises ValueError on an unknown kind."""
    kind = str(vector["kind"])
    results: tuple[tuple[tuple[str, ...], Callable[[], dict[str, Any]]], ...] = (
        (("rate_plan", "markup", "discount", "contract"), lambda: _rate_plan(vector, by_id, rate_vector)),
        (("saving",), lambda: _savings(vector, by_id, rate_vector)),
        (("rerat", "re_rat", "re-rat", "correct", "late"), lambda: correction(vector, rate_vector, by_id)),
        (("statement", "fx", "currency", "invoice", "rounding"), lambda: statement(vector)),
        (("dst", "period", "month", "timezone", "window"), lambda: period(vector)),
        (("reserv", "bound", "hold", "estimate"), lambda: reservation(vector, by_id)),
        (("unpriced",), lambda: _unpriced(vector)),
        (("reconcil", "cost_report"), lambda: _reconcile(vector)),
        (("sum",), lambda: _sum(vector, by_id, rate_vector)),
    )
    for words, result in results:
        if any(word in kind for word in words):
            return result()
    raise ValueError(f"unknown kind {kind!r}")


def _rules(vector: Vector) -> list[RateRule]:
    return [
        RateRule(
            RuleKind(rule["type"]),
            Decimal(str(rule.get("value") or 0)),
            rule.get("meter") or "",
            rule.get("provider") or "",
            rule.get("model") or rule.get("model_glob") or "",
            rule.get("processing") or "",
        )
        for rule in vector.get("rules") or ()
    ]


def _rate_plan(vector: Vector, by_id: Mapping[str, Vector], rate_vector: RateVector) -> dict[str, Any]:
    rules = _rules(vector)
    about = {name: str(vector.get(name) or "") for name in ("provider", "model", "processing")}
    lines = vector.get("lines")
    if lines is None and ("vector" in vector or "usage" in vector):
        called = {**by_id.get(str(vector.get("vector")), {}), **vector}
        about |= {name: str(called.get(name) or "") for name in ("provider", "model")}
        lines = [
            {
                "meter": line.meter,
                "quantity": line.quantity,
                "list_unit_price": line.unit_price,
                "per": line.per,
            }
            for line in rate_vector(called)[1].lines
        ]
    if lines is None:
        list_cost = decimal(vector["list_cost_usd"])
        billed = cost_of(list_cost, rules)
        return _amounts(list_usd=list_cost, billed_usd=billed, saving_usd=list_cost - billed)
    contracted, list_usd, billed = [], Decimal(0), Decimal(0)
    for line in lines:
        meter, quantity = line["meter"], int(line["quantity"])
        listed = Price(meter, decimal(line["list_unit_price"]), per=int(line.get("per") or _per(meter)))
        unit_price = unit_price_of(listed.unit_price, rules, meter=meter, **about)
        contract = Price(meter, unit_price, per=listed.per, book="contract")
        rated = rate({meter: quantity}, rates_of([listed, contract], provider="", model=""))
        contracted.append(
            {"meter": meter, "unit_price": f"{unit_price.normalize():f}", "usd": f"{rated.cost_usd:.12f}"}
        )
        list_usd, billed = list_usd + rated.list_cost_usd, billed + rated.cost_usd
    return {
        **_amounts(list_usd=list_usd, billed_usd=billed, saving_usd=list_usd - billed),
        "contracted": contracted,
    }


def _hit(vector: Vector, by_id: Mapping[str, Vector], rate_vector: RateVector) -> dict[str, Any]:
    """A hit of our cache: nothing is bought; a policy may charge a share of what it would have cost."""
    value = vector.get("usage_would_be_list_usd")
    stored = {**by_id.get(str(vector.get("vector")), {}), **vector}
    would_be = rate_vector(stored)[1].cost_usd if value is None else decimal(value)
    percent = decimal((vector.get("gateway_cache_policy") or {}).get("charge_pct_of_list", "0"))
    billed = EXACT.quantize(EXACT.divide(EXACT.multiply(would_be, percent), Decimal(100)), TWELVE_PLACES)
    amounts = _amounts(saving_usd=would_be - billed, cost_usd=billed)
    nothing = {"provider_cost_usd": "0", "billed_usd": f"{billed.normalize():f}"}
    return {**amounts, **nothing, "saving_kind": GATEWAY_CACHE}


def _provider_cache_saving(vector: Vector, rate_vector: RateVector) -> dict[str, Any]:
    """What the provider's prompt cache saved on a call; negative where writing it cost more than reading gained."""
    meters, rated, rates = rate_vector(vector)
    plain = rate(uncached(meters), rates)
    saving = _amounts(saving_usd=plain.cost_usd - rated.cost_usd, cost_usd=rated.cost_usd)
    return {**saving, "saving_kind": PROVIDER_CACHE}


def _savings(vector: Vector, by_id: Mapping[str, Vector], rate_vector: RateVector) -> dict[str, Any]:
    if "usage_would_be_list_usd" in vector or "gateway_cache_policy" in vector:
        return _hit(vector, by_id, rate_vector)
    return _provider_cache_saving({**by_id.get(str(vector.get("vector")), {}), **vector}, rate_vector)


def _sum(vector: Vector, by_id: Mapping[str, Vector], rate_vector: RateVector) -> dict[str, Any]:
    if "vectors" in vector:
        costs = [rate_vector(by_id[name])[1].cost_usd for name in vector["vectors"]]
        return _amounts(total_usd=sum(costs, start=Decimal(0)))
    return _amounts(total_usd=decimal(vector["each_usd"]) * int(vector["count"]))


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


def _reconcile(vector: Vector) -> dict[str, Any]:
    """What the providers' reports say in dollars; and, next to our own figure, whether that is close enough."""
    result: dict[str, Any] = {}
    dollars = {}
    for name, read in (("anthropic", anthropic_amount_usd), ("openai", openai_amount_usd)):
        if name in vector:
            rows = vector[name] if isinstance(vector[name], list) else [vector[name]]
            dollars[name] = sum((read(row) for row in rows), start=Decimal(0))
            result[f"{name}_usd"] = f"{dollars[name]:f}"
    ours = first(vector, "ours_usd", "ledger_usd", "our_usd")
    theirs = first(vector, "theirs_usd", "provider_usd", "report_usd")
    if ours is not None and (theirs is not None or dollars):
        billed = decimal(theirs) if theirs is not None else sum(dollars.values(), start=Decimal(0))
        difference = billed - decimal(ours)
        is_within = abs(difference) <= tolerance_usd(billed)
        result |= {
            "difference_usd": f"{difference:.12f}",
            "tolerance_usd": f"{tolerance_usd(billed):f}",
            "within_tolerance": is_within,
            "accepted": is_within,
        }
    return result


def _per(meter: str) -> int:
    return TOKENS_PER if is_token_meter(meter) else FEES_PER


def _amounts(**amounts: Decimal) -> dict[str, str]:
    return {name: f"{amount:.12f}" for name, amount in amounts.items()}
