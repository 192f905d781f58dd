"""Names the kind of a difference between a provider's report and the ledger.

Invariant: pure. A cell is one day, model and meter; quantities are compared first where both sides have them, then
USD. A cell gets one kind, its cause and the reason for it: what explains the figures exactly (`causes.py`) goes before what only
may. Whether a difference is worth a person's time is another question: the tolerance of the day and model answers it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal

from billing.prices.rating import HOLD
from billing.reconciliation.causes import Cause, Named, days_of, exact_cause
from billing.reconciliation.sides import (
    DUST_USD,
    HALF_A_CENT,
    Cell,
    Evidence,
    Key,
    ModelDay,
    Side,
    UnreportedCalls,
    Verdict,
)

LEAST_TOLERANCE_USD = Decimal("0.01")
TOLERATED_SHARE = Decimal("0.001")
DAY = timedelta(days=1)


def name_differences(cells: Mapping[Key, Cell], evidence: Evidence) -> dict[Key, Verdict]:
    """A verdict for each cell."""
    at_boundary = {key: said for key in cells if (said := _boundary(key, cells, evidence))}
    days: dict[ModelDay, dict[str, Cell]] = defaultdict(dict)
    for key, cell in cells.items():
        if key not in at_boundary:
            days[key[:2]][key[2]] = cell
    verdicts = {key: Verdict("boundary", text, True, cause) for key, (cause, text) in at_boundary.items()}
    accounts = days_of(cells, evidence)
    for (day, model), meters in days.items():
        is_within = within_tolerance(meters.values())
        for meter, cell in meters.items():
            key = day, model, meter
            kind, cause, detail = (
                ("match", "", "")
                if cell.is_equal
                else exact_cause(key, meters, accounts[day], evidence) or _kind(key, meters, evidence)
            )
            verdicts[key] = Verdict(kind, detail, is_within, cause)
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


def _kind(key: Key, meters: Mapping[str, Cell], evidence: Evidence) -> Named:
    """What may explain a difference that nothing explains exactly."""
    day, model, meter = key
    cell, attempts = meters[meter], evidence.attempts.get((day, model), UnreportedCalls())
    if cell.quantity == 0:
        if abs(cell.usd) <= _rounding_usd(key, meters, evidence):
            return "rounding", Cause.ROUNDING, "the quantities are equal"
        return "price", Cause.PRICE, "the quantities are equal, the amounts are not"
    if cell.theirs.is_nothing:
        if meter == HOLD:
            return "quantity", Cause.BOUND, "booked as a bound: the provider did not report the usage"
        return "missing_there", Cause.LINE_MISSING, "the provider's report has nothing of it"
    if cell.quantity is None and (named := _without_quantity(key, cell, meters, attempts, evidence)):
        return named
    if cell.is_excess:
        return _excess(key, meters, attempts, evidence)
    return "quantity", Cause.COUNTED, "we booked more than the provider counted"


def _rounding_usd(key: Key, meters: Mapping[str, Cell], evidence: Evidence) -> Decimal:
    """What rounding to cents can make: half a cent a line; where the lines are not known, the tolerance."""
    if lines := evidence.lines.get(key):
        return HALF_A_CENT * len(lines)
    return tolerance_usd(sum((each.theirs.usd for each in meters.values()), start=Decimal(0)))


def _without_quantity(
    key: Key, cell: Cell, meters: Mapping[str, Cell], attempts: UnreportedCalls, evidence: Evidence
) -> Named | None:
    """Amounts alone: small is rounding, and a price shows if it is one we know, or if ours is the larger side."""
    theirs = sum((each.theirs.usd for each in meters.values()), start=Decimal(0))
    if abs(cell.usd) <= tolerance_usd(theirs) and within_tolerance(meters.values()):
        return "rounding", Cause.ROUNDING, "amounts only: the report has no quantities"
    if cell.ours.quantity:
        for price in evidence.prices.get(key[1:], ()):
            if abs(price * cell.ours.quantity - cell.theirs.usd) <= DUST_USD:
                return (
                    "price",
                    Cause.KNOWN_PRICE,
                    f"our quantity at {(price * 1_000_000).normalize():f} USD per million, a price we know",
                )
    if not cell.is_excess and not attempts.estimated:
        return "price", Cause.PRICE, "every quantity is the provider's own, and it bills less for them"
    return None


def _excess(key: Key, meters: Mapping[str, Cell], attempts: UnreportedCalls, evidence: Evidence) -> Named:
    """The provider has more: our own calls may explain it, up to what they can have cost."""
    if HOLD in meters:
        return "quantity", Cause.BOUND, "part of what we booked as a bound"
    excess = sum((each.usd for each in meters.values() if each.is_excess), start=Decimal(0))
    if attempts.estimated and excess <= attempts.estimated_usd:
        counted = f"{attempts.estimated} calls were counted by us, not reported by the provider"
        return "quantity", Cause.COUNTED_HERE, counted
    if attempts.unbooked and excess <= attempts.unbooked_usd + attempts.estimated_usd:
        unbooked = f"{attempts.unbooked} of our calls went out and have no row in the ledger"
        return "missing_here", Cause.NOT_BOOKED, unbooked
    if key[1] and evidence.models and key[1] not in evidence.models:
        return (
            "bypass",
            Cause.UNKNOWN_MODEL,
            "no model of ours has this name: the account is used past the gateway",
        )
    return "bypass", Cause.PAST_US, "none of our attempts explains it: the account is used past the gateway"


def _boundary(key: Key, cells: Mapping[Key, Cell], evidence: Evidence) -> tuple[str, str] | None:
    """Why a difference is a matter of midnight only, cause and words; None if it is not."""
    cell, (day, model, meter) = cells[key], key
    if cell.is_equal:
        return None
    before, after = cells.get((day - DAY, model, meter)), cells.get((day + DAY, model, meter))
    crossing = evidence.crossings.get(key, Side())
    # if the next day's report is here, what left this day must be in it
    came_in = crossing.usd >= 0 or day + DAY not in evidence.days
    came_in = came_in or (after is not None and after.usd + crossing.usd >= -DUST_USD)
    if not crossing.is_nothing and came_in and _equals(cell, crossing):
        return Cause.MIDNIGHT, "calls that began before midnight UTC and ended after it"
    for around in ((before,), (after,), (before, after)):
        group = [cell, *(each for each in around if each is not None and not each.is_equal)]
        if len(group) == len(around) + 1 and _nets_to_zero(group):
            return Cause.LATE, "nets to zero with the day next to it"
    return None


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
