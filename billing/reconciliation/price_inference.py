"""What a provider's bill says a unit costs: an interval for each meter and day, and whether it left the price table.

Invariant: pure. The interval is as wide as the rounding of the bill makes it. A price has left the table only if one price
explains two whole days or more up to the last, no other rate of the table does, and the account's other models do not move by
the same factor. Only days count whose tokens are equal on both sides: what was moved to another meter, or went past us, says
nothing of prices. Credits are left out, and each processing is inferred by itself; where several tiers or regions may have
priced the calls, our own mix of them stands in for the table.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from typing import Final

from billing.reconciliation.sides import DUST_USD, HALF_A_CENT, Evidence, Key, Line, Side

LEAST_DAYS: Final = 2
WIDEST: Final = Decimal(
    "0.01"
)  # of an interval, as a share of the price: with less quantity nothing is inferred
PER: Final = 1_000_000
ONLINE: Final = "online"
CHEAPER: Final = frozenset({"batch", "flex"})
Meter = tuple[str, str, str]  # model, meter, processing
Rates = Mapping[
    tuple[date, str, str, str], frozenset[Decimal]
]  # the table's, USD per unit, in force on a day


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends included."""

    low: Decimal
    high: Decimal

    def __contains__(self, value: Decimal) -> bool:
        return self.low <= value <= self.high

    def __and__(self, other: "Interval") -> "Interval":
        return Interval(max(self.low, other.low), min(self.high, other.high))

    @property
    def is_empty(self) -> bool:
        return self.low > self.high


@dataclass(frozen=True, slots=True)
class Inferred:
    """What a day's bill says of a meter: how many times the expected amount it is, and of how many units."""

    day: date
    factor: Interval
    quantity: Decimal
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Departure:
    """A meter whose price is not the table's any more. Prices are USD per million; `known` is the table's, if it is one."""

    model: str
    meter: str
    processing: str
    known: Decimal | None
    factor: Interval
    since: date
    days: tuple[Inferred, ...]

    @property
    def interval(self) -> Interval | None:
        """Between which prices it is; not known where several rates priced the calls."""
        if self.known is None:
            return None
        return Interval(self.factor.low * self.known, self.factor.high * self.known)

    @property
    def price(self) -> Decimal | None:
        """The roundest price of the interval: prices are written with few digits."""
        return None if self.interval is None else roundest(self.interval)


def departures(evidence: Evidence, rates: Rates) -> list[Departure]:
    """The meters whose price left the table."""
    days: dict[Meter, list[Inferred]] = defaultdict(list)
    tables: dict[Meter, frozenset[Decimal]] = {}
    for key in sorted(evidence.lines):
        for processing, lines in _by_processing(evidence.lines[key], evidence.parts.get(key, {})).items():
            table = rates.get((*key, processing)) or rates.get((*key, ONLINE), frozenset())
            part = evidence.parts.get(key, {}).get(processing, Side())
            if (found := _inferred(key, lines, part, table)) is not None:
                days[key[1], key[2], processing].append(found)
                tables[key[1], key[2], processing] = table
    common = _common_factors(days)
    left = []
    for meter, inferred in sorted(days.items()):
        run, table = _run(inferred), tables[meter]
        if len(run) < LEAST_DAYS:
            continue
        factor = _common(run)
        is_common = all(one.day in common and not (common[one.day] & factor).is_empty for one in run)
        if is_common or any(other in factor for other in _other_rates(meter, table, evidence)):
            continue
        known = next(iter(table)) * PER if len(table) == 1 else None
        left.append(Departure(*meter, known, factor, run[0].day, tuple(run)))
    return left


def roundest(interval: Interval) -> Decimal:
    """The number of an interval that is written with the fewest places."""
    for places in range(0, 18):
        step = Decimal(1).scaleb(-places)
        found = (interval.low / step).to_integral_value(ROUND_CEILING) * step
        if found in interval and found > 0:
            return found
    return (interval.low + interval.high) / 2


def _by_processing(lines: Sequence[Line], parts: Mapping[str, Side]) -> dict[str, list[Line]]:
    """A cell's lines without credits, by processing; none where the report leaves out the name of a processing that we used."""
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if not line.is_credit:
            found[line.processing or ONLINE].append(line)
    return {} if {name or ONLINE for name in parts} - found.keys() else dict(found)


def _inferred(key: Key, lines: Sequence[Line], part: Side, table: frozenset[Decimal]) -> Inferred | None:
    """What the lines say, if there is enough of it to say anything."""
    quantity = sum((line.quantity or Decimal(0) for line in lines), start=Decimal(0))
    usd = sum((line.usd for line in lines), start=Decimal(0))
    if quantity <= 0 or usd <= 0 or not table or part.quantity != quantity:
        return None
    # with tiers or regions only our own mix of them says what is expected
    expected = next(iter(table)) * quantity if len(table) == 1 else part.usd
    if expected <= 0:
        return None
    off = DUST_USD + sum((_rounding_of(line.usd) for line in lines if line.usd), start=Decimal(0))
    factor = Interval((usd - off) / expected, (usd + off) / expected)
    return Inferred(key[0], factor, quantity, usd) if factor.high - factor.low <= WIDEST else None


def _rounding_of(usd: Decimal) -> Decimal:
    """By how much an amount may be rounded: half a unit of its last place, and never more than half a cent."""
    exponent = usd.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return min(HALF_A_CENT, Decimal(1).scaleb(exponent) / 2)


def _run(days: Sequence[Inferred]) -> list[Inferred]:
    """The last days that one factor explains, which is not 1."""
    run: list[Inferred] = []
    for one in sorted(days, key=lambda each: each.day, reverse=True):
        if Decimal(1) in one.factor or (run and (_common(run) & one.factor).is_empty):
            break
        run.append(one)
    return run[::-1]


def _common(days: Iterable[Inferred]) -> Interval:
    first, *others = days
    factor = first.factor
    for one in others:
        factor &= one.factor
    return factor


def _common_factors(days: Mapping[Meter, Sequence[Inferred]]) -> dict[date, Interval]:
    """The days on which the bills of two models or more are all off by one factor: terms of the account, or a currency."""
    of_day: dict[date, list[tuple[str, Interval]]] = defaultdict(list)
    for (model, _, _), found in days.items():
        for one in found:
            of_day[one.day].append((model, one.factor))
    common: dict[date, Interval] = {}
    for day, each in of_day.items():
        factor = each[0][1]
        for _, other in each[1:]:
            factor &= other
        if len({model for model, _ in each}) > 1 and not factor.is_empty and Decimal(1) not in factor:
            common[day] = factor
    return common


def _other_rates(meter: Meter, table: frozenset[Decimal], evidence: Evidence) -> set[Decimal]:
    """How many times the table's a bill is where another rate was charged: another tier or region, or another processing.

    A batch may be billed as online, and what is online as priority; nobody bills what is online as a batch by mistake.
    """
    *name, processing = meter
    cheaper = frozenset[str]() if processing in CHEAPER else CHEAPER
    others = {
        price
        for other, prices in evidence.rates.get((name[0], name[1]), {}).items()
        if other != processing and other not in cheaper
        for price in prices
    }
    return {one / own for own in table if own > 0 for one in others | table if one != own}
