"""Rates a call: from leaf meters to exact USD.

Invariant: pure. Meters are disjoint: each token is in exactly one. A line costs unit price x quantity / per,
rounded half-even at 12 places, and the total is the sum of the lines. What contradicts itself is InvalidUsage
and what has no price is UnpricedMeter; neither is ever billed as zero.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from billing.errors import UnpricedMeter
from billing.money import EXACT, TWELVE_PLACES
from billing.prices.book import Rates, is_token_meter
from config.values import value_type

HOLD: Final = "hold"  # the meter of what is booked as a bound, because the usage is not known

# The order of lines, on receipts and in the ledger; meters that are not named follow by name.
METER_ORDER = {
    name: position
    for position, name in enumerate(
        (
            *("input", "cache_read", "cache_write", "cache_write_5m", "cache_write_1h"),
            *("input_audio", "cache_read_audio", "input_image", "cache_read_image"),
            *("output", "output_audio", "output_image", "web_search", "file_search"),
        )
    )
}


@value_type
class RatedLine:
    """One meter of a request, at the price that applies to it. `cost_usd` is what the tenant pays."""

    meter: str
    quantity: int
    unit_price: Decimal | None
    per: int
    price_id: int | None
    cost_usd: Decimal
    list_cost_usd: Decimal
    provider_cost_usd: Decimal

    def to_receipt(self) -> dict[str, Any]:
        """As the receipt and `manage.py rate` show it: amounts as exact decimal text, `unit_price` None without a price."""
        return {
            "meter": self.meter,
            "quantity": self.quantity,
            "unit_price": None if self.unit_price is None else f"{self.unit_price.normalize():f}",
            "per": self.per,
            "cost_usd": f"{self.cost_usd:.12f}",
        }


@value_type
class Rated:
    """A rated request. `is_bound`: the line `hold` fills it up to the most that it can cost, as far as is known;
    `is_lump`: because a meter had no price."""

    lines: tuple[RatedLine, ...]
    cost_usd: Decimal
    list_cost_usd: Decimal
    provider_cost_usd: Decimal
    is_lump: bool = False
    is_bound: bool = False
    unpriced: tuple[str, ...] = ()

    @classmethod
    def lump(cls, amount_usd: Decimal) -> "Rated":
        """The whole hold as one line, where no meter has a price: booked as unpriced, and an alert."""
        return cls((), Decimal(0), Decimal(0), Decimal(0)).filled_up(amount_usd, is_lump=True)

    @classmethod
    def bound(cls, amount_usd: Decimal) -> "Rated":
        """The whole hold as one line, where the usage is not known."""
        return cls((), Decimal(0), Decimal(0), Decimal(0)).filled_up(amount_usd)

    def filled_up(
        self, amount_usd: Decimal, *, is_lump: bool = False, unpriced: tuple[str, ...] = ()
    ) -> "Rated":
        """The same, with what it lacks to an amount as a line of its own, even if that is 0."""
        rest = max(Decimal(0), EXACT.quantize(amount_usd, TWELVE_PLACES) - self.cost_usd)
        line = RatedLine(HOLD, 1, None, 1, None, rest, rest, rest)
        return Rated(
            (*self.lines, line), self.cost_usd + rest, self.list_cost_usd + rest, self.provider_cost_usd + rest,
            is_lump=is_lump, is_bound=True, unpriced=unpriced,
        )  # fmt: skip


def rate(meters: Mapping[str, int], rates: Rates) -> Rated:
    """Price meters. Raises UnpricedMeter; a meter of quantity 0 makes no line. About 5 us."""
    return _rate(meters, rates, input_tokens(meters))


def rate_bound(
    meters: Mapping[str, int], rates: Rates, *, least_usd: Decimal, unread_tokens: int = 0
) -> Rated:
    """Price what has a price, and fill up to the most that the rest can cost: never less than `least_usd`, nor than
    what is priced and all other tokens at the highest price of any token."""
    total_input = input_tokens(meters)
    priced: dict[str, int] = {}
    unpriced: dict[str, int] = {}
    for meter, quantity in meters.items():
        try:
            rates.price(meter, input_tokens=total_input)
        except UnpricedMeter:
            unpriced[meter] = quantity
        else:
            priced[meter] = quantity
    rated = _rate(priced, rates, total_input)
    highest = highest_token_usd(rates, input_tokens=total_input)
    tokens = unread_tokens + sum(quantity for meter, quantity in unpriced.items() if is_token_meter(meter))
    most = rated.cost_usd + EXACT.multiply(highest, Decimal(tokens))
    return rated.filled_up(max(least_usd, most), is_lump=bool(unpriced), unpriced=tuple(unpriced))


def highest_token_usd(rates: Rates, *, input_tokens: int) -> Decimal:
    """What one token costs the tenant on the token meter with the highest price; 0 if no token has a price."""
    prices = [
        EXACT.divide(tier.billed.unit_price, Decimal(tier.billed.per))
        for meter, tiers in rates.meters.items()
        if is_token_meter(meter)
        for tier in tiers
        if tier.above_input_tokens == 0 or input_tokens > tier.above_input_tokens
    ]
    return EXACT.multiply(max(prices, default=Decimal(0)), rates.token_multiplier)


def _rate(meters: Mapping[str, int], rates: Rates, total_input: int) -> Rated:
    lines = []
    surcharge = rates.token_multiplier if rates.token_multiplier != 1 else None
    cost = listed = provider = Decimal(0)
    for meter in sorted(meters, key=_position):
        quantity = meters[meter]
        if not quantity:
            continue
        prices = rates.price(meter, input_tokens=total_input)
        multiplier = surcharge if surcharge is not None and is_token_meter(meter) else None
        billed = _line_cost(prices.billed.unit_price, prices.billed.per, quantity, multiplier)
        line_list = line_cost = billed
        if prices.listed is not prices.billed:
            line_list = _line_cost(prices.listed.unit_price, prices.listed.per, quantity, multiplier)
        if prices.cost is not prices.billed:
            line_cost = _line_cost(prices.cost.unit_price, prices.cost.per, quantity, multiplier)
        unit_price = prices.billed.unit_price
        if multiplier is not None:
            unit_price = EXACT.multiply(unit_price, multiplier)
        lines.append(
            RatedLine(
                meter,
                quantity,
                unit_price,
                prices.billed.per,
                prices.billed.price_id,
                billed,
                line_list,
                line_cost,
            )
        )
        cost, listed, provider = cost + billed, listed + line_list, provider + line_cost
    return Rated(tuple(lines), cost, listed, provider)


def input_tokens(meters: Mapping[str, int]) -> int:
    """All input, cached and written included: what long-context thresholds look at."""
    return sum(quantity for meter, quantity in meters.items() if meter.startswith(("input", "cache_")))


def output_tokens(meters: Mapping[str, int]) -> int:
    """All output, reasoning included."""
    return sum(quantity for meter, quantity in meters.items() if meter.startswith("output"))


def _line_cost(unit_price: Decimal, per: int, quantity: int, multiplier: Decimal | None) -> Decimal:
    exact = EXACT.multiply(unit_price, quantity)
    if multiplier is not None:
        exact = EXACT.multiply(exact, multiplier)
    return EXACT.quantize(EXACT.divide(exact, per), TWELVE_PLACES)


def _position(meter: str) -> tuple[int, str]:
    return METER_ORDER.get(meter, len(METER_ORDER)), meter
