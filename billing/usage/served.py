"""Finds the prices at which a call is billed: those of the tier, speed and region that its provider says it served.

Invariant: pure. What was served and has no price of its own, or is no tier that we know, is never billed silently at
another one's price: it is a doubt.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from billing.errors import ModelUnpriced
from billing.prices.book import GLOBAL, ONLINE, STANDARD, PriceBook, Rates, is_token_meter
from billing.usage.blocks.doubts import Doubt, Doubts
from config.values import value_type

# The providers' own words for how they work. `auto` is the account's choice; servers with one tier only send it, too.
PROCESSINGS: Final = {
    **dict.fromkeys(("default", "standard", "auto", "standard_only", "on_demand", "online"), ONLINE),
    "flex": "flex",
    "batch": "batch",
    "priority": "priority",
    "fast": "priority",
}
PLAIN_SPEEDS: Final = frozenset({"", "standard", "normal"})
NO_REGION: Final = frozenset({"", GLOBAL, "not_available"})


@value_type
class Served:
    """How a call was served, and the prices of that; those asked for, and a doubt, where it has none."""

    rates: Rates
    service_tier: str = STANDARD
    region: str = GLOBAL
    doubts: tuple[Doubt, ...] = ()


def processing_asked(service_tier: str) -> str:
    """The processing whose prices a call is held at, by the tier it asks for."""
    return PROCESSINGS.get(service_tier, ONLINE)


def served(
    book: PriceBook, asked: Rates, *, at: datetime, context: Mapping[str, Any], asked_region: object = None
) -> Served:
    """What the context (`service_tier`, `speed`, `inference_geo`) says was served, of a call that was held at `asked`; where it
    names no region, the one that was asked for, if that has a price."""
    doubts = Doubts()
    tier, speed = _word(context, "service_tier"), _word(context, "speed")
    region = _word(context, "inference_geo")
    if (
        not region
        and isinstance(asked_region, str)
        and book.has(asked.provider, asked.model, region=asked_region)
    ):
        region = asked_region
    region = GLOBAL if region in NO_REGION else region
    if speed not in PLAIN_SPEEDS and speed != "fast":
        doubts.unread(f"the speed {speed!r:.40}", speed)
    service_tier, processing = STANDARD, asked.processing
    if speed == "fast" and tier not in ("batch", "flex"):
        processing = PROCESSINGS[speed]
    elif tier in PROCESSINGS and not (asked.processing == "batch" and PROCESSINGS[tier] == ONLINE):
        processing = PROCESSINGS[tier]  # of a batch, not every provider says that it is one
    if tier and tier not in PROCESSINGS:
        service_tier = tier
    if processing == asked.processing and (service_tier, region) == (STANDARD, GLOBAL):
        return Served(asked, doubts=tuple(doubts.found.values()))
    if service_tier != STANDARD and not book.has(asked.provider, asked.model, service_tier=service_tier):
        doubts.unread(f"the tier {tier!r:.40}", f"{tier}, without a price")
        service_tier = STANDARD
    if region != GLOBAL and not book.has(asked.provider, asked.model, region=region):
        doubts.unread(f"the region {region!r:.40}", f"{region}, without a price")
        region = GLOBAL
    try:
        rates = book.rates(
            asked.provider,
            asked.model,
            at=at,
            processing=processing,
            service_tier=service_tier,
            region=region,
        )
    except ModelUnpriced:
        doubts.unread(f"the tier {processing!r}", f"{processing}, without a price")
        rates = asked
    if service_tier != STANDARD and not _is_of(rates, service_tier):
        doubts.unread(f"the tier {tier!r:.40}", f"{tier}, without a price for every token")
    return Served(rates, service_tier, region, tuple(doubts.found.values()))


def contexts(book: PriceBook, asked: Rates, *, at: datetime, processings: frozenset[str]) -> Iterator[Rates]:
    """The rates of every region, at each of the processings, that a call may turn out to have been served in; those asked
    for come first."""
    yield asked
    for processing in sorted(processings | {asked.processing}):
        for region in sorted(book.regions(asked.provider, asked.model)):
            if (processing, region) == (asked.processing, GLOBAL):
                continue
            try:
                yield book.rates(asked.provider, asked.model, at=at, processing=processing, region=region)
            except ModelUnpriced:
                continue


def _is_of(rates: Rates, service_tier: str) -> bool:
    """Whether every token has a price of that very tier."""
    return all(
        price.listed.service_tier == service_tier
        for meter, tiers in rates.meters.items()
        if is_token_meter(meter) and "@" not in meter
        for price in tiers
    )


def _word(context: Mapping[str, Any], name: str) -> str:
    value = context.get(name)
    return value.strip().lower()[:64] if isinstance(value, str) else ""
