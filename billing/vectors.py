"""Rates a file of test vectors with the product's own code.

Invariant: a vector's price row stands in for the price table and nothing else is replaced: usage, meters and
lines go the way that every call goes. A vector that cannot be rated is told by the name of its error.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.outcomes import InvalidUsage, ModelUnpriced, UnpricedMeter
from billing.prices import SURCHARGE, Price, Rates, is_token_meter, rates_of
from billing.rating import Rated, meters_from_usage, rate
from billing.tenant_vectors import rate_tenant_vector
from billing.usage import fees_of_items, usage_of_stream

Vector = Mapping[str, Any]

TOKENS_PER, FEES_PER = 1_000_000, 1_000
# Our meters, and what a price row may call them.
OTHER_NAMES = {
    "cache_read_audio": ("cache_audio_read", "cached_input_audio", "input_audio_cached", "cached_audio"),
    "cache_read_image": ("cache_image_read", "cached_input_image", "input_image_cached", "cached_image"),
    "cache_write_5m": ("cache_write",),
    "cache_write": ("cache_write_5m",),
}
# How a price row or a context names the one factor there is: `token_multiplier`.
FACTOR = "multiplier"


def rate_file(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The result of each vector of a file, in its order."""
    providers = content.get("provider_vectors", ())
    by_id = {vector["id"]: vector for vector in providers}
    for vector in providers:
        yield _told(vector, lambda vector=vector: rate_provider_vector(vector))
    for vector in content.get("tenant_vectors", ()):
        yield _told(vector, lambda vector=vector: rate_tenant_vector(vector, by_id, rate_vector))


def rate_provider_vector(vector: Vector) -> dict[str, Any]:
    """Meters, lines and exact cost of a provider vector. Raises InvalidUsage, UnpricedMeter, ModelUnpriced."""
    meters, rated, _ = rate_vector(vector)
    return {
        "meters": meters,
        "lines": [line.to_receipt() for line in rated.lines],
        "cost_usd": f"{rated.cost_usd:.12f}",
    }


def rate_vector(vector: Vector) -> tuple[dict[str, int], Rated, Rates]:
    """The meters of a vector, what they cost, and at which rates."""
    usage = vector.get("usage")
    if usage is None and vector.get("stream_events") is not None:
        usage = usage_of_stream(vector["api"], vector["stream_events"])
    meters = meters_from_usage(vector["api"], usage, context=_context(vector))
    rates = _rates_of(vector)
    named = {_name_in(rates, meter): quantity for meter, quantity in meters.items()}
    return named, rate(named, rates), rates


def _context(vector: Vector) -> dict[str, Any]:
    """What the usage block does not say: the model, and how often tools that cost a fee ran."""
    context = dict(vector.get("context") or {})
    tool_calls = dict(vector.get("tool_calls") or context.get("tool_calls") or {})
    items = vector.get("output") or vector.get("output_items") or ()
    return context | {"model": vector.get("model"), "tool_calls": tool_calls or fees_of_items(items)}


def _rates_of(vector: Vector) -> Rates:
    """The rates that the vector's own price row makes."""
    usage = vector.get("usage") or {}
    provider, model = vector.get("provider", ""), vector.get("model", "")
    at = _moment(vector)
    row = vector.get("price_row") or {}
    prices = list(_prices(row))
    for other, other_row in (vector.get("price_rows") or row.get("models") or {}).items():
        mark = "" if other == model else f"@{other}"
        prices += _prices(other_row, mark=mark)
    factor = _factor(vector, row, usage)
    if factor is not None:
        prices.append(Price(SURCHARGE, factor, per=1))
    return rates_of([price for price in prices if price.holds(at)], provider=provider, model=model)


def _prices(row: Mapping[str, Any], *, mark: str = "") -> Iterator[Price]:
    tiers = [(0, row.get("rates") or {})]
    tiers += [(tier["above_input_tokens"], tier["rates"]) for tier in row.get("tiers") or ()]
    for above, rates in tiers:
        for meter, unit_price in rates.items():
            if unit_price is not None:
                yield Price(
                    meter + mark, Decimal(str(unit_price)), per=_per(row, meter), above_input_tokens=above
                )


def _per(row: Mapping[str, Any], meter: str) -> int:
    per = row.get("per") or {}
    if not isinstance(per, Mapping):
        return int(per)
    if meter in per:
        return int(per[meter])
    return int(per.get("tokens", TOKENS_PER)) if is_token_meter(meter) else FEES_PER


def _factor(vector: Vector, row: Mapping[str, Any], usage: Mapping[str, Any]) -> Decimal | None:
    context = vector.get("context") or {}
    region = usage.get("inference_geo") or context.get("inference_geo") or context.get("region")
    for place in (row, context, vector):
        for name, told in place.items():
            if not name.endswith(FACTOR):
                continue
            if isinstance(told, Mapping):  # by region, for tokens
                told = told.get(region, told.get("tokens"))
            if told is not None:
                return Decimal(str(told))
    return None


def _name_in(rates: Rates, meter: str) -> str:
    """The meter's name in the vector's own price row; its own where the row has none of it."""
    name, at, mark = meter.partition("@")
    for candidate in (name, *OTHER_NAMES.get(name, ())):
        if candidate + at + mark in rates.meters:
            return candidate + at + mark
    return meter


def _moment(vector: Vector) -> datetime:
    told = vector.get("occurred_at")
    return datetime.fromisoformat(told) if told else datetime.now(UTC)


def _told(vector: Vector, result: Any) -> dict[str, Any]:
    try:
        return {"id": vector["id"], **result()}
    except (InvalidUsage, UnpricedMeter, ModelUnpriced) as error:
        return {"id": vector["id"], "error": type(error).__name__, "detail": str(error)}
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        return {
            "id": vector.get("id"),
            "error": "InvalidVector",
            "detail": f"{type(error).__name__}: {error}",
        }
