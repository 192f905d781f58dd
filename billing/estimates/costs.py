"""What a call may cost at most, and what it will probably cost.

Invariant: pure. A hold is an upper bound: every input token at the highest rate that may apply,
`n` answers as long as the limit lets them be, long-context rates where the bound reaches them.
"""

from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from billing.budgets.balances import Balance
from billing.money import EXACT, TWELVE_PLACES
from billing.prices.book import Rates
from billing.prices.rating import Rated, rate

# Only text is counted ahead; its tokens may be read plain, from the cache, or written to it.
INPUT_METERS = ("input", "cache_read", "cache_write", "cache_write_5m", "cache_write_1h")


def hold_for(
    rates: Rates,
    *,
    input_tokens: int,
    max_output_tokens: int,
    n: int = 1,
    input_meters: tuple[str, ...] = INPUT_METERS,
    fees_usd: Decimal = Decimal(0),
) -> Decimal:
    """The most a call can cost, rounded up at 12 places.

    `input_meters` may leave out what cannot happen (no cache is written where none is asked for), `fees_usd` is
    the bound of its tools' fees.
    """
    cost = _bound(rates, input_meters, input_tokens, input_tokens=input_tokens)
    cost += _bound(rates, ("output",), max_output_tokens * n, input_tokens=input_tokens)
    return (cost + fees_usd).quantize(TWELVE_PLACES, rounding=ROUND_CEILING, context=EXACT)


def bound_of_many(
    rates: Rates,
    *,
    input_tokens: int,
    output_tokens: int,
    longest_input: int,
    input_meters: tuple[str, ...] = INPUT_METERS,
) -> Decimal:
    """The most that many calls can cost together: the sum of their holds. `longest_input` is the longest of them, in whose
    tier of prices all are."""
    cost = _bound(rates, input_meters, input_tokens, input_tokens=longest_input)
    cost += _bound(rates, ("output",), output_tokens, input_tokens=longest_input)
    return cost.quantize(TWELVE_PLACES, rounding=ROUND_CEILING, context=EXACT)


def expected_of_many(rates: Rates, *, input_tokens: int, output_tokens: int, longest_input: int) -> Rated:
    """What many calls cost together when nothing is cached, and what they would at list prices. Raises UnpricedMeter."""
    tiers = {
        meter: (replace(rates.price(meter, input_tokens=longest_input), above_input_tokens=0),)
        for meter, tokens in (("input", input_tokens), ("output", output_tokens))
        if tokens
    }
    of_tier = replace(rates, meters=tiers)
    return rate({"input": input_tokens, "output": output_tokens}, of_tier)


def expected_cost(rates: Rates, *, input_tokens: int, output_tokens: int) -> Decimal:
    """What a call of that size costs when nothing is cached. Raises UnpricedMeter."""
    return rate({"input": input_tokens, "output": output_tokens}, rates).cost_usd


def affordable_output_tokens(rates: Rates, *, balance: Balance, input_tokens: int, n: int = 1) -> int:
    """How long each of `n` answers may be within what a budget has left; 0 if it cannot even pay the input."""
    left = max(balance.remaining, Decimal(0))
    if balance.unit == "requests":
        return 0
    if balance.unit == "tokens":
        return max(0, (int(left) - input_tokens) // n)
    left -= hold_for(rates, input_tokens=input_tokens, max_output_tokens=0)
    each = _bound(rates, ("output",), n, input_tokens=input_tokens)
    if left <= 0:
        return 0
    if not each:
        return 10**9
    return int((left / each).to_integral_value(rounding=ROUND_FLOOR))


def output_tokens_for(balance: Balance, *, rates: Rates, input_tokens: int) -> int:
    """How many more output tokens what a budget has left would pay for, the input being paid."""
    left = max(balance.remaining, Decimal(0))
    if balance.unit == "tokens":
        return int(left)
    each = _bound(rates, ("output",), 1, input_tokens=input_tokens)
    return int((left / each).to_integral_value(rounding=ROUND_FLOOR)) if each else 10**9


def _bound(rates: Rates, meters: tuple[str, ...], quantity: int, *, input_tokens: int) -> Decimal:
    """The cost of a quantity at the highest of the meters' prices, in any tier the input may reach."""
    if not quantity:
        return Decimal(0)
    prices = [
        EXACT.divide(tier.billed.unit_price, Decimal(tier.billed.per))
        for meter in meters
        for tier in rates.meters.get(meter, ())
        if tier.above_input_tokens == 0 or input_tokens > tier.above_input_tokens
    ]
    if not prices:
        rates.price(meters[0], input_tokens=input_tokens)  # raises UnpricedMeter
    return max(prices) * quantity * rates.token_multiplier
