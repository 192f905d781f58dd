"""Names the kind of a difference between a provider's report and the ledger.

Invariant: pure. A cell is one day, model and meter; quantities are compared first where both sides have them, then
USD. A cell gets one kind and the reason for it. Whether a difference is worth a person's time is
another question: the tolerance of the day and model answers it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from billing.prices.rating import HOLD

Key = tuple[date, str, str]  # day, model, meter
ModelDay = tuple[date, str]

LEAST_TOLERANCE_USD = Decimal("0.01")
TOLERATED_SHARE = Decimal("0.001")
DUST_USD = Decimal("1e-9")  # what a sum of floats may be off, far below any price of a token
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Side:
    """One side's figures of a cell; no quantity where it has none."""

    usd: Decimal = Decimal(0)
    quantity: Decimal | None = None

    @property
    def is_nothing(self) -> bool:
        return not self.usd and not self.quantity


@dataclass(frozen=True, slots=True)
class Cell:
    """Both sides of a day, model and meter."""

    ours: Side = Side()
    theirs: Side = Side()

    @property
    def usd(self) -> Decimal:
        """Theirs less ours."""
        return self.theirs.usd - self.ours.usd

    @property
    def quantity(self) -> Decimal | None:
        """Theirs less ours, where the provider reports quantities."""
        if self.theirs.quantity is None:
            return None
        return self.theirs.quantity - (self.ours.quantity or 0)

    @property
    def is_equal(self) -> bool:
        return abs(self.usd) <= DUST_USD and not self.quantity

    @property
    def is_excess(self) -> bool:
        """Whether the provider has more than we have."""
        return self.quantity > 0 if self.quantity else self.usd > 0


@dataclass(frozen=True, slots=True)
class UnreportedCalls:
    """Our calls of a day and model whose usage the provider did not report, and the most they can have cost."""

    unbooked: int = 0  # void or still open: the ledger has nothing of them
    unbooked_usd: Decimal = Decimal(0)
    estimated: int = 0  # counted by us
    estimated_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a difference is."""

    kind: str
    detail: str
    is_within_tolerance: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """What besides the figures helps to name a difference."""

    attempts: Mapping[ModelDay, UnreportedCalls] = field(default_factory=dict)
    # by our clock: what ended on the day and began before it, less what began on it and ended after it
    crossings: Mapping[Key, Side] = field(default_factory=dict)
    prices: Mapping[tuple[str, str], frozenset[Decimal]] = field(default_factory=dict)  # USD per unit
    days: frozenset[date] = frozenset()  # that reports cover


def name_differences(cells: Mapping[Key, Cell], evidence: Evidence) -> dict[Key, Verdict]:
    """A verdict for each cell."""
    at_boundary = {key: text for key in cells if (text := _boundary(key, cells, evidence))}
    days: dict[ModelDay, dict[str, Cell]] = defaultdict(dict)
    for key, cell in cells.items():
        if key not in at_boundary:
            days[key[:2]][key[2]] = cell
    verdicts = {key: Verdict("boundary", text, True) for key, text in at_boundary.items()}
    for (day, model), meters in days.items():
        is_within = within_tolerance(meters.values())
        for meter, cell in meters.items():
            kind, detail = _kind((day, model, meter), cell, meters, evidence)
            verdicts[day, model, meter] = Verdict(kind, detail, is_within)
    return verdicts


def within_tolerance(cells: Iterable[Cell]) -> bool:
    """Whether a model's day is close enough: 0.01 USD, or 0.1 % of what the provider bills."""
    cells = list(cells)
    theirs = sum((cell.theirs.usd for cell in cells), start=Decimal(0))
    difference = sum((cell.usd for cell in cells), start=Decimal(0))
    return abs(difference) <= tolerance_usd(theirs)


def tolerance_usd(billed_usd: Decimal) -> Decimal:
    """The difference that is accepted on a bill of so much."""
    return max(LEAST_TOLERANCE_USD, abs(billed_usd) * TOLERATED_SHARE)


def _kind(key: Key, cell: Cell, meters: Mapping[str, Cell], evidence: Evidence) -> tuple[str, str]:
    day, model, meter = key
    attempts = evidence.attempts.get((day, model), UnreportedCalls())
    if cell.is_equal:
        return "match", ""
    if cell.quantity == 0:
        theirs = sum((each.theirs.usd for each in meters.values()), start=Decimal(0))
        if abs(cell.usd) <= tolerance_usd(theirs):
            return "rounding", "the quantities are equal"
        return "price", "the quantities are equal, the amounts are not"
    if cell.theirs.is_nothing:
        if meter == HOLD:
            return "quantity", "booked as a bound: the provider did not report the usage"
        return "missing_there", "the provider's report has nothing of it"
    if cell.quantity is None and (named := _without_quantity(key, cell, meters, attempts, evidence)):
        return named
    if cell.is_excess:
        return _excess(meters, attempts)
    return "quantity", "we booked more than the provider counted"


def _without_quantity(
    key: Key, cell: Cell, meters: Mapping[str, Cell], attempts: UnreportedCalls, evidence: Evidence
) -> tuple[str, str] | None:
    """Amounts alone: small is rounding, and a price shows if it is one we know, or if ours is the larger side."""
    theirs = sum((each.theirs.usd for each in meters.values()), start=Decimal(0))
    if abs(cell.usd) <= tolerance_usd(theirs) and within_tolerance(meters.values()):
        return "rounding", "amounts only: the report has no quantities"
    if cell.ours.quantity:
        for price in evidence.prices.get(key[1:], ()):
            if abs(price * cell.ours.quantity - cell.theirs.usd) <= DUST_USD:
                return (
                    "price",
                    f"our quantity at {(price * 1_000_000).normalize():f} USD per million, a price we know",
                )
    if not cell.is_excess and not attempts.estimated:
        return "price", "every quantity is the provider's own, and it bills less for them"
    return None


def _excess(meters: Mapping[str, Cell], attempts: UnreportedCalls) -> tuple[str, str]:
    """The provider has more: our own calls may explain it, up to what they can have cost."""
    if HOLD in meters:
        return "quantity", "part of what we booked as a bound"
    shifts = [each.quantity for each in meters.values() if each.quantity]
    if len(shifts) > 1 and sum(shifts) == 0:
        return "quantity", "the same tokens are on another meter here"
    excess = sum((each.usd for each in meters.values() if each.is_excess), start=Decimal(0))
    if attempts.estimated and excess <= attempts.estimated_usd:
        return "quantity", f"{attempts.estimated} calls were counted by us, not reported by the provider"
    if attempts.unbooked and excess <= attempts.unbooked_usd + attempts.estimated_usd:
        return "missing_here", f"{attempts.unbooked} of our calls went out and have no row in the ledger"
    return "bypass", "none of our attempts explains it: the account is used past the gateway"


def _boundary(key: Key, cells: Mapping[Key, Cell], evidence: Evidence) -> str:
    """Why a difference is a matter of midnight only; empty if it is not."""
    cell, (day, model, meter) = cells[key], key
    if cell.is_equal:
        return ""
    before, after = cells.get((day - DAY, model, meter)), cells.get((day + DAY, model, meter))
    crossing = evidence.crossings.get(key, Side())
    # if the next day's report is here, what left this day must be in it
    came_in = crossing.usd >= 0 or day + DAY not in evidence.days
    came_in = came_in or (after is not None and after.usd + crossing.usd >= -DUST_USD)
    if not crossing.is_nothing and came_in and _equals(cell, crossing):
        return "calls that began before midnight UTC and ended after it"
    for around in ((before,), (after,), (before, after)):
        group = [cell, *(each for each in around if each is not None and not each.is_equal)]
        if len(group) == len(around) + 1 and _nets_to_zero(group):
            return "nets to zero with the day next to it"
    return ""


def _equals(cell: Cell, side: Side) -> bool:
    if cell.quantity is not None and cell.quantity != (side.quantity or 0):
        return False
    return abs(cell.usd - side.usd) <= DUST_USD


def _nets_to_zero(cells: Iterable[Cell]) -> bool:
    cells = list(cells)
    quantities = [cell.quantity for cell in cells if cell.quantity is not None]
    if len(quantities) == len(cells) and sum(quantities) != 0:
        return False
    return abs(sum((cell.usd for cell in cells), start=Decimal(0))) <= DUST_USD * len(cells)
