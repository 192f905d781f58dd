"""Rates a file of test vectors with the product's own code.

Invariant: a vector's price row replaces the price table and nothing else: usage, meters and
lines go the way that every call goes. For a vector that cannot be rated, the result is the name of its error.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from billing.errors import InvalidUsage, ModelUnpriced
from billing.prices.book import Rates
from billing.prices.rating import Rated, rate
from billing.usage.reading import fees_of_items, meters_from_usage, read_usage, usage_of_stream
from billing.vectors.prices import Vector, name_in, rates_of_vector
from billing.vectors.tenants import rate_tenant_vector


def rate_file(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The result of each vector of a file, in its order."""
    providers = content.get("provider_vectors", ())
    by_id = {vector["id"]: vector for vector in providers if "id" in vector}
    for vector in providers:
        yield _result_of(vector, partial(rate_provider_vector, vector))
    for vector in content.get("tenant_vectors", ()):
        yield _result_of(vector, partial(rate_tenant_vector, vector, by_id, rate_vector))


def rate_provider_vector(vector: Vector) -> dict[str, Any]:
    """Meters, lines and exact cost of a provider vector. Raises InvalidUsage, UnpricedMeter, ModelUnpriced."""
    meters, rated, _ = rate_vector(vector)
    unread = [
        doubt.detail for doubt in read_usage(vector["api"], _usage(vector), context=_context(vector)).doubts
    ]
    return {
        "meters": meters,
        "lines": [line.to_receipt() for line in rated.lines],
        "cost_usd": f"{rated.cost_usd:.12f}",
        **({"unread": unread} if unread else {}),
    }


def rate_vector(vector: Vector) -> tuple[dict[str, int], Rated, Rates]:
    """The meters of a vector, what they cost, and at which rates."""
    usage = _usage(vector)
    meters = meters_from_usage(vector["api"], usage, context=_context(vector))
    rates = rates_of_vector(vector, usage or {})
    named = {name_in(rates, meter): quantity for meter, quantity in meters.items()}
    return named, rate(named, rates), rates


def _usage(vector: Vector) -> Any:
    usage = vector.get("usage")
    if usage is None and vector.get("stream_events") is not None:
        return usage_of_stream(vector["api"], vector["stream_events"])
    return usage


def _context(vector: Vector) -> dict[str, Any]:
    """What the usage block does not say: the model, and how often tools that cost a fee ran."""
    context = dict(vector.get("context") or {})
    tool_calls = dict(vector.get("tool_calls") or context.get("tool_calls") or {})
    items = vector.get("output") or vector.get("output_items") or ()
    tool_usage = {"tool_usage": vector["tool_usage"]} if vector.get("tool_usage") else {}
    return (
        context
        | tool_usage
        | {"model": vector.get("model"), "tool_calls": tool_calls or fees_of_items(items)}
    )


def _result_of(vector: Vector, result: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    name = vector.get("id")
    try:
        return {"id": name, **result()}
    except InvalidUsage as error:
        return {"id": name, "error": "InvalidUsage", "detail": str(error)}
    except ModelUnpriced as error:  # and UnpricedMeter: never zero
        return {
            "id": name,
            "error": type(error).__name__,
            "detail": str(error),
            "status": "unpriced",
            "cost_usd": None,
        }
    except Exception as error:  # one odd vector is no reason to leave the others unrated
        return {"id": name, "error": "InvalidVector", "detail": f"{type(error).__name__}: {error}"}
