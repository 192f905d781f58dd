"""The list prices of the installed genai-prices wheel, as rows of our own.

Invariant: pure and offline. One row for each leaf meter, context, threshold and span of time; a model is listed
under its exact names only. A model that is sold in units we do not meter is left out, and so stays unpriced,
rather than being sold at a part of its price.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Any

MILLION, THOUSAND = 1_000_000, 1_000
# Some of theirs went through floats: 0.27999999999999997.
NINE_PLACES = Decimal("1e-9")
# Where the list does not say since when: long before the first request.
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

# Their unit -> our meters. Cache writes have one name on OpenAI's wire and two on Anthropic's.
METERS = {
    "input_mtok": (("input",), MILLION),
    "cache_read_mtok": (("cache_read",), MILLION),
    "cache_write_mtok": (("cache_write", "cache_write_5m"), MILLION),
    "cache_write_1h_mtok": (("cache_write_1h",), MILLION),
    "output_mtok": (("output",), MILLION),
    "input_audio_mtok": (("input_audio",), MILLION),
    "cache_audio_read_mtok": (("cache_read_audio",), MILLION),
    "output_audio_mtok": (("output_audio",), MILLION),
    "input_image_mtok": (("input_image",), MILLION),
    "cache_image_read_mtok": (("cache_read_image",), MILLION),
    "output_image_mtok": (("output_image",), MILLION),
    "web_searches_kcount": (("web_search",), THOUSAND),
    "storage_searches_kcount": (("file_search",), THOUSAND),
}
# Our context -> what their lists call it.
CONTEXTS = {
    ("online", "standard"): {},
    ("batch", "standard"): {"processing": "batch"},
    ("flex", "standard"): {"service_tier": "flex"},
    ("priority", "standard"): {"service_tier": "priority"},
    ("online", "fast"): {"speed": "fast"},
}
HOURS = tuple(range(24))


@dataclass(frozen=True, slots=True)
class ListPrice:
    """One list price. `valid_to` is None for the one that holds."""

    provider: str
    model: str
    meter: str
    processing: str
    service_tier: str
    above_input_tokens: int
    unit_price: Decimal
    per: int
    valid_from: datetime
    valid_to: datetime | None

    @property
    def identity(self) -> tuple[str, str, str, str, str, int]:
        """What is priced: at any moment it has one price."""
        return (
            self.provider,
            self.model,
            self.meter,
            self.processing,
            self.service_tier,
            self.above_input_tokens,
        )

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        for name in ("valid_from", "valid_to"):
            values[name] = values[name] and values[name].isoformat()
        return values | {"unit_price": f"{self.unit_price.normalize():f}"}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ListPrice":
        times = {
            name: values[name] and datetime.fromisoformat(values[name]) for name in ("valid_from", "valid_to")
        }
        return cls(**values | times | {"unit_price": Decimal(values["unit_price"])})


@cache
def source_name() -> str:
    """The wheel and its version."""
    return f"genai-prices {version('genai-prices')}"


def read_list_prices(providers: Iterable[str] = ()) -> list[ListPrice]:
    """All list prices of the wheel, or those of some providers, in one order. Takes about a second."""
    from genai_prices.data import providers as listed  # noqa: PLC0415 it takes a second to load

    wanted = set(providers)
    prices = [
        price
        for provider in listed
        if not wanted or provider.id in wanted
        for price in _of_provider(provider)
    ]
    return sorted(prices, key=lambda price: (price.identity, price.valid_from))


def digest_of(prices: Iterable[ListPrice]) -> str:
    """The sha256 of prices in their order, as people compare two lists."""
    return hashlib.sha256(json.dumps([price.to_json() for price in prices]).encode()).hexdigest()


def _of_provider(provider: Any) -> Iterator[ListPrice]:
    taken = {model.id for model in provider.models}
    for model in provider.models:
        names = [model.id]
        for alias in _exact_names(model.match):
            if alias not in taken:
                taken.add(alias)
                names.append(alias)
        rows = list(_of_model(model))
        for name in names:
            for meter, processing, service_tier, above, unit_price, per, since, until in rows:
                yield ListPrice(
                    provider.id, name, meter, processing, service_tier, above, unit_price, per, since, until
                )


def _of_model(model: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of one model, neighbouring spans of the same price joined."""
    starts = sorted({LONG_AGO, *_start_dates(model)})
    ends: Sequence[datetime | None] = [*starts[1:], None]
    open_rows: dict[tuple[str, str, str, int], tuple[Decimal, int, datetime]] = {}
    for since, until in zip(starts, ends, strict=True):
        current: dict[tuple[str, str, str, int], tuple[Decimal, int]] = {}
        for (processing, service_tier), context in CONTEXTS.items():
            if context and not _is_offered(model, context, since):
                continue
            prices = _prices_at(model, since, context)
            if prices is None:
                return
            for meter, above, unit_price, per in prices:
                current[meter, processing, service_tier, above] = unit_price, per
        for key, (unit_price, per, began) in list(open_rows.items()):
            if current.get(key) != (unit_price, per):
                yield (*key, unit_price, per, began, since)
                del open_rows[key]
        for key, (unit_price, per) in current.items():
            open_rows.setdefault(key, (unit_price, per, since))
        if until is None:
            for key, (unit_price, per, began) in open_rows.items():
                yield (*key, unit_price, per, began, None)


def _prices_at(
    model: Any, at: datetime, context: dict[str, str]
) -> list[tuple[str, int, Decimal, int]] | None:
    """(meter, threshold, price, per) at a moment; None if part of the price is in units we do not meter.

    Where the price depends on the hour, the hour with the highest price counts.
    """
    found: dict[tuple[str, int], tuple[Decimal, int]] = {}
    for hour in HOURS if _depends_on_hour(model) else (0,):
        moment = datetime.combine(at.date(), time(hour), tzinfo=UTC)
        for unit, price in model.get_prices(moment, context or None).__dict__.items():
            if price is None:
                continue
            if unit not in METERS:
                return None
            meters, per = METERS[unit]
            tiers = [(0, price)] if isinstance(price, Decimal) else _tiers(price)
            for meter in meters:
                for above, unit_price in tiers:
                    amount = unit_price.quantize(NINE_PLACES).normalize()
                    known = found.get((meter, above))
                    if known is None or amount > known[0]:
                        found[meter, above] = amount, per
    return [(meter, above, amount, per) for (meter, above), (amount, per) in found.items()]


def _tiers(price: Any) -> list[tuple[int, Decimal]]:
    return [(0, price.base), *((tier.start, tier.price) for tier in price.tiers)]


def _is_offered(model: Any, context: dict[str, str], at: datetime) -> bool:
    """Whether the list has prices of its own for the context: it answers unknown ones with the standard price."""
    return any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(at))
        for variant in model.price_variants or ()
    )


def _start_dates(model: Any) -> Iterator[datetime]:
    conditional = [] if not isinstance(model.prices, list) else model.prices
    for part in (*conditional, *(model.price_variants or ())):
        start = getattr(part.constraint, "start_date", None)
        if start is not None:
            yield datetime.combine(start, time(), tzinfo=UTC)


def _depends_on_hour(model: Any) -> bool:
    conditional = [] if not isinstance(model.prices, list) else model.prices
    return any(
        hasattr(part.constraint, "start_time") for part in (*conditional, *(model.price_variants or ()))
    )


def _exact_names(match: Any) -> Iterator[str]:
    """The names a model is listed under letter by letter. Prefixes and patterns are guesses, and no names."""
    if hasattr(match, "equals"):
        yield match.equals
    for clause in getattr(match, "or_", None) or ():
        yield from _exact_names(clause)
