"""Tiers, speeds and regions: billed at the price of what was served, or doubted."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.prices.book import Price, PriceBook, Rates
from billing.usage.served import Served, contexts, served

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def row(usd: str, meter: str = "input", **context: str) -> Price:
    return Price(meter, Decimal(usd), **context)


def book_of(*rows: Price) -> PriceBook:
    return PriceBook({("p", "m"): rows})


PLAIN = (row("3"), row("15", "output"))
PRIORITY = (row("6", processing="priority"), row("30", "output", processing="priority"))
US = (row("3.3", region="us"), row("16.5", "output", region="us"))
ULTRA = (row("9", service_tier="ultrafast"), row("45", "output", service_tier="ultrafast"))


def how(book: PriceBook, asked: str = "online", **context: Any) -> Served:
    return served(book, book.rates("p", "m", at=NOW, processing=asked), at=NOW, context=context)


def input_usd(rates: Rates) -> Decimal:
    return rates.price("input", input_tokens=1).billed.unit_price


@pytest.mark.parametrize(
    ("context", "usd", "tier", "region"),
    [
        ({}, "3", "standard", "global"),
        ({"service_tier": "default"}, "3", "standard", "global"),
        ({"service_tier": "priority"}, "6", "standard", "global"),
        ({"service_tier": "PRIORITY"}, "6", "standard", "global"),
        ({"speed": "fast", "service_tier": "standard"}, "6", "standard", "global"),
        ({"speed": "standard"}, "3", "standard", "global"),
        ({"inference_geo": "us"}, "3.3", "standard", "us"),
        ({"inference_geo": "global"}, "3", "standard", "global"),
        ({"inference_geo": "not_available"}, "3", "standard", "global"),
        ({"inference_geo": None, "service_tier": None}, "3", "standard", "global"),
        ({"service_tier": "ultrafast"}, "9", "ultrafast", "global"),
    ],
)
def test_it_works(context: dict[str, Any], usd: str, tier: str, region: str) -> None:
    found = how(book_of(*PLAIN, *PRIORITY, *US, *ULTRA), **context)
    assert (input_usd(found.rates), found.service_tier, found.region) == (Decimal(usd), tier, region)
    assert found.doubts == ()


@pytest.mark.parametrize(
    "context",
    [
        {"service_tier": "priority"}, {"service_tier": "ultrafast"}, {"service_tier": "scale"}, {"service_tier": "reserved"},
        {"service_tier": "flex"}, {"speed": "ludicrous"}, {"speed": "fast"}, {"inference_geo": "us"}, {"inference_geo": "eu"},
    ],
)  # fmt: skip
def test_what_has_no_price_is_never_silently_at_another_ones(context: dict[str, Any]) -> None:
    found = how(book_of(*PLAIN), **context)
    (doubt,) = found.doubts
    assert next(iter(context.values())) in doubt.detail or "priority" in doubt.detail


def test_a_region_that_was_asked_for_counts_where_none_is_told_and_it_has_a_price() -> None:
    book = book_of(*PLAIN, *US)
    asked = book.rates("p", "m", at=NOW)
    for told, wanted, region in (
        (None, "us", "us"),
        ("global", "us", "global"),
        (None, "mars", "global"),
        (None, 7, "global"),
    ):
        found = served(book, asked, at=NOW, context={"inference_geo": told}, asked_region=wanted)
        assert (found.region, found.doubts) == (region, ())


def test_a_tier_with_half_its_prices_is_doubted() -> None:
    assert how(book_of(*PLAIN, ULTRA[0]), service_tier="ultrafast").doubts


def test_asked_for_the_dear_one_and_served_the_plain_one() -> None:
    found = how(book_of(*PLAIN, *PRIORITY), "priority", service_tier="default")
    assert input_usd(found.rates) == 3
    assert input_usd(how(book_of(*PLAIN, *PRIORITY), "priority").rates) == 6


@pytest.mark.parametrize("told", ["batch", "default", "standard", ""])
def test_a_batch_is_a_batch_whatever_its_answers_say(told: str) -> None:
    book = book_of(*PLAIN, row("1.5", processing="batch"))
    found = how(book, "batch", service_tier=told)
    assert (input_usd(found.rates), found.doubts) == (Decimal("1.5"), ())


def test_a_hold_may_look_at_every_region() -> None:
    book = book_of(*PLAIN, *PRIORITY, *US)
    asked = book.rates("p", "m", at=NOW)
    held = [input_usd(rates) for rates in contexts(book, asked, at=NOW, processings=frozenset())]
    assert held == [3, Decimal("3.3")]
    left_to_it = contexts(book, asked, at=NOW, processings=frozenset({"priority"}))
    assert max(map(input_usd, left_to_it)) == 6
