"""The rates that a test vector's own price rows make.

Invariant: the rows replace the price table and nothing else: the product's own look-up decides which of them
counts. A row without a processing has the vector's own; rows with one are chosen as for calls.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.errors import ModelUnpriced
from billing.prices.book import GLOBAL, ONLINE, STANDARD, SURCHARGE, Price, Rates, is_token_meter, rates_of

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
PROCESSINGS = ("batch", "flex", "priority")
PLAIN_TIERS = ("", "default", "auto", "standard", "online", "standard_only")


def rates_of_vector(vector: Vector, usage: Mapping[str, Any]) -> Rates:
    """The rates of a vector's model in its context. Raises ModelUnpriced."""
    provider, model = vector.get("provider", ""), vector.get("model", "")
    at = moment(vector.get("occurred_at"))
    processing, tier = _asked(vector, usage)
    region = _region(vector, usage)
    rows = list(_rows(vector, model))
    prices = [price for row, mark in rows for price in _prices(row, mark)]
    is_labelled = any(price.processing != ONLINE or price.service_tier != STANDARD for price in prices)
    if not is_labelled:  # one row, which is meant for this very call
        processing, tier = ONLINE, STANDARD
    if tier != STANDARD and not any(price.service_tier == tier for price in prices):
        raise ModelUnpriced(f"The model '{model}' of {provider} has no price for tier {tier}.", param="model")
    factor = _factor(vector, [row for row, mark in rows if not mark], region)
    if factor is not None:
        prices.append(Price(SURCHARGE, factor, per=1))
    if not any(price.meter != SURCHARGE for price in prices):
        raise ModelUnpriced(f"The model '{model}' of {provider} has no price.", param="model")
    return rates_of(
        [price for price in prices if price.holds(at)],
        provider=provider,
        model=model,
        processing=processing,
        service_tier=tier,
        region=region,
    )


def name_in(rates: Rates, meter: str) -> str:
    """The meter's name in the vector's own price row; its own where the row has none of it."""
    name, at, mark = meter.partition("@")
    for candidate in (name, *OTHER_NAMES.get(name, ())):
        if candidate + at + mark in rates.meters:
            return candidate + at + mark
    return meter


def moment(value: str | None) -> datetime:
    """A vector's moment; one without a zone is UTC, and none is now."""
    if not value:
        return datetime.now(UTC)
    at = datetime.fromisoformat(value)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _rows(vector: Vector, model: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each price row with the mark of its meters: empty for the vector's model, `@name` for another."""
    single = vector.get("price_row") or {}
    several = vector.get("price_rows") or single.get("models") or ()
    if isinstance(several, Mapping):
        several = [{"model": name, **row} for name, row in several.items()]
    for row in (single, *several):
        if not row:
            continue
        names = (row.get("model") or model, *(row.get("aliases") or ()))
        if model in names:
            yield row, ""
        elif row is not single:  # no row is of a model by its name's beginning
            yield row, f"@{names[0]}"


def _prices(row: Mapping[str, Any], mark: str) -> Iterator[Price]:
    processing, tier = _label(row.get("processing") or row.get("service_tier") or row.get("speed"))
    since, until = (row.get(f"valid_{end}") or row.get(f"effective_{end}") for end in ("from", "to"))
    context: dict[str, Any] = {
        "processing": processing,
        "service_tier": tier,
        "region": row.get("region") or GLOBAL,
        **({"valid_from": moment(since)} if since else {}),
        **({"valid_to": moment(until)} if until else {}),
    }
    for above, rates in _tiers(row):
        for meter, unit_price in rates.items():
            if unit_price is not None:
                yield Price(
                    meter + mark,
                    Decimal(str(unit_price)),
                    per=_per(row, meter),
                    above_input_tokens=above,
                    **context,
                )


def _tiers(row: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    unit_price = row.get("unit_price", row.get("usd_per_million"))
    if row.get("meter") and unit_price is not None:
        yield int(row.get("above_input_tokens") or 0), {row["meter"]: unit_price}
        return
    yield 0, row.get("rates") or {}
    for tier in row.get("tiers") or ():
        yield int(tier["above_input_tokens"]), tier.get("rates") or {}


def _per(row: Mapping[str, Any], meter: str) -> int:
    per = row.get("per") or {}
    if not isinstance(per, Mapping):
        return int(per)
    if meter in per:
        return int(per[meter])
    return int(per.get("tokens", TOKENS_PER)) if is_token_meter(meter) else FEES_PER


def _label(value: object) -> tuple[str, str]:
    """What a word says: a processing of its own, or a service tier."""
    word = str(value or "").lower()
    if word in PROCESSINGS:
        return word, STANDARD
    return ONLINE, STANDARD if word in PLAIN_TIERS else word


def _asked(vector: Vector, usage: Mapping[str, Any]) -> tuple[str, str]:
    """The context of the call: how we submitted it, else the tier that was served, never the one that was asked for."""
    context = vector.get("context") or {}
    submitted = _label(context.get("processing") or vector.get("processing"))
    if submitted[0] != ONLINE:
        return submitted
    served = (vector.get("served_tier"), usage.get("service_tier"), context.get("service_tier"))
    value = next((word for word in served if word), None)
    processing, tier = _label(value)
    speed = usage.get("speed") or context.get("speed")
    return (processing, tier) if tier != STANDARD or not speed else (processing, _label(speed)[1])


def _region(vector: Vector, usage: Mapping[str, Any]) -> str:
    context = vector.get("context") or {}
    value = usage.get("inference_geo") or context.get("inference_geo") or context.get("region")
    return str(value or GLOBAL)


def _factor(vector: Vector, rows: list[Mapping[str, Any]], region: str) -> Decimal | None:
    for place in (*rows, vector.get("context") or {}, vector):
        for name, value in place.items():
            if not name.endswith(FACTOR):
                continue
            if isinstance(value, Mapping):  # by region, for tokens
                value = value.get(region, value.get("tokens"))
            if value is not None:
                return Decimal(str(value))
    return None
