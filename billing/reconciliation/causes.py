"""What explains a difference to the last token: a cause is named only if its figures are exactly those of the difference.

Invariant: pure. A rule compares whole figures; none has a threshold but the dust of floats. What no rule explains is left to
`difference_kinds.py`, which says what may be.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from billing.models.reconciliation import Cause
from billing.reconciliation.sides import DUST_USD, HALF_A_CENT, Cell, Evidence, Key, Side

DAY = timedelta(days=1)
ONLINE: Final = "online"
FACTOR_DIGITS: Final = Decimal("1e-6")  # two ratios are the same if they differ by less
Named = tuple[str, str, str]  # kind, cause, the reason in words

__all__ = ["Cause", "Named", "days_of", "exact_cause"]


@dataclass(frozen=True, slots=True)
class AccountDay:
    """What all of an account's cells say of a day together, and of the same cells on the days beside it."""

    cells: Mapping[Key, Cell] = field(default_factory=dict)
    is_missing: bool = False  # the report has nothing, and we have something
    factor: Decimal | None = None  # by which the amounts of several models are off, all by the same
    twins: Mapping[Key, str] = field(default_factory=dict)  # the other model that has the same tokens


def days_of(cells: Mapping[Key, Cell], evidence: Evidence) -> dict[date, AccountDay]:
    """Each day of the account."""
    days: dict[date, dict[Key, Cell]] = {}
    for key, cell in cells.items():
        days.setdefault(key[0], {})[key] = cell
    return {
        day: AccountDay(
            cells,
            all(cell.theirs.is_nothing for cell in found.values())
            and any(not cell.ours.is_nothing for cell in found.values()),
            _common_factor(found),
            _twins(found, evidence),
        )
        for day, found in days.items()
    }


def exact_cause(
    key: Key, meters: Mapping[str, Cell], account: AccountDay, evidence: Evidence
) -> Named | None:
    """The cause of a difference, if it is exactly that."""
    cell = meters[key[2]]
    for rule in (_credit, _elsewhere, _day_missing, _repeated, _twin):
        if named := rule(key, cell, account, evidence):
            return named
    if named := _moved(key, meters):
        return named
    for rule in (_off_by_one, _unbilled, _rate, _part):
        if named := rule(key, cell, account, evidence):
            return named
    return None


def _credit(key: Key, cell: Cell, account: AccountDay, evidence: Evidence) -> Named | None:
    credits = [line for line in evidence.lines.get(key, ()) if line.is_credit]
    if not credits:
        return ("credit", Cause.CREDIT, "its amount is below zero") if cell.theirs.usd < 0 else None
    given = sum((line.usd for line in credits), start=Decimal(0))
    counted = sum((line.quantity or Decimal(0) for line in credits), start=Decimal(0))
    if abs(cell.usd - given) <= DUST_USD and cell.quantity in (None, 0, counted):
        return "credit", Cause.CREDIT, f"{len(credits)} lines below zero: {given.normalize():f} USD"
    return None


def _elsewhere(key: Key, cell: Cell, account: AccountDay, evidence: Evidence) -> Named | None:
    other = evidence.elsewhere.get(key)
    if other is None or other.is_nothing or not _is(cell, Side(-other.usd, _minus(other.quantity))):
        return None
    return "missing_there", Cause.PROJECT, "exactly this is in a project that is not the account's"


def _day_missing(key: Key, cell: Cell, account: AccountDay, evidence: Evidence) -> Named | None:
    if not account.is_missing:
        return None
    return "missing_there", Cause.DAY_MISSING, "the report has nothing of the whole day"


def _repeated(key: Key, cell: Cell, account: AccountDay, evidence: Evidence) -> Named | None:
    """Lines that are there word for word several times, whose copies are exactly what there is too much."""
    copied = [line for line in evidence.lines.get(key, ()) if line.copies > 1]
    extra = Side()
    for line in copied:
        share = Decimal(line.copies - 1) / line.copies
        extra += Side(line.usd * share, None if line.quantity is None else line.quantity * share)
    if copied and _is(cell, extra):
        return "quantity", Cause.REPEATED, "the report has a line several times"
    ours, theirs = cell.ours, cell.theirs
    if not ours.usd or not ours.quantity or not theirs.quantity or theirs.quantity % ours.quantity:
        return None
    times = theirs.quantity / ours.quantity
    if times >= 2 and abs(theirs.usd - times * ours.usd) <= DUST_USD * times:
        return "quantity", Cause.REPEATED, f"exactly {times.normalize():f} times what we have"
    return None


def _twin(key: Key, cell: Cell, account: AccountDay, evidence: Evidence) -> Named | None:
    other = account.twins.get(key)
    if not other:
        return None
    return "quantity", Cause.OTHER_MODEL, f"the same tokens are there under {other}"


def _moved(key: Key, meters: Mapping[str, Cell]) -> Named | None:
    """Tokens that are on another meter there: what one has too much, others lack."""
    own = meters[key[2]].quantity
    shifts = {meter: each.quantity for meter, each in meters.items() if each.quantity}
    if not own or len(shifts) < 2:
        return None
    opposite = next((meter for meter, shift in shifts.items() if shift == -own), "")
    if not opposite and sum(shifts.values(), start=Decimal(0)):
        return None
    if {key[2], opposite} == {"input", "cache_read"}:
        into, out = ("input", "cache_read") if shifts["input"] > 0 else ("cache_read", "input")
        cause = Cause.CACHE_AS_INPUT if into == "input" else Cause.OTHER_METER
        return "quantity", cause, f"the same tokens are {into} there, {out} here"
    return "quantity", Cause.OTHER_METER, "the same tokens are on another meter here"


def _off_by_one(key: Key, cell: Cell, account: AccountDay, evidence: Evidence) -> Named | None:
    """A single unit, with its price or without."""
    if cell.quantity is None or abs(cell.quantity) != 1 or not cell.ours.quantity:
        return None
    worth = {Decimal(0), cell.ours.usd / cell.ours.quantity, *evidence.prices.get(key[1:], ())}
    if all(abs(abs(cell.usd) - usd) > DUST_USD for usd in worth):
        return None
    return "quantity", Cause.OFF_BY_ONE, "a single unit"


def _unbilled(key: Key, cell: Cell, account: AccountDay, evidence: Evidence) -> Named | None:
    """The provider counted it and has no amount, or the amount and another count."""
    if cell.quantity == 0 and not cell.theirs.usd:
        return "missing_there", Cause.LINE_MISSING, "the provider counted it, and its bill has no amount"
    if cell.quantity and abs(cell.usd) <= DUST_USD and cell.ours.usd:
        return "quantity", Cause.QUANTITY_ONLY, "the amounts are equal, the quantities are not"
    return None


def _rate(key: Key, cell: Cell, account: AccountDay, evidence: Evidence) -> Named | None:
    """Equal quantities at other prices."""
    if cell.quantity != 0 or not cell.ours.quantity:
        return None
    rates = evidence.rates.get(key[1:], {})
    for processing, part in evidence.parts.get(key, {}).items():
        for other, prices in rates.items():
            if other == processing or not part.quantity:
                continue
            if any(abs(part.quantity * price - part.usd - cell.usd) <= DUST_USD for price in prices):
                cause = Cause.BATCH_DISCOUNT if processing == "batch" else Cause.PROCESSING
                return "price", cause, f"what went out as {processing} is billed as {other}"
    if account.factor is not None and cell.ours.usd and _ratio(cell) == account.factor:
        return (
            "price",
            Cause.ONE_FACTOR,
            f"all amounts of the day are ours times {account.factor.normalize():f}: a currency, or terms of the account",
        )
    if abs(cell.usd) <= HALF_A_CENT * max(1, len(evidence.lines.get(key, ()))):
        return None
    for price in evidence.prices.get(key[1:], ()):
        if abs(price * cell.ours.quantity - cell.theirs.usd) <= DUST_USD:
            return (
                "price",
                Cause.KNOWN_PRICE,
                f"at {(price * 1_000_000).normalize():f} USD per million, a price we know",
            )
    for beside in (key[0] + DAY, key[0] - DAY):
        there = account.cells.get((beside, *key[1:]), Cell())
        if not cell.ours.usd or not there.ours.usd or there.is_equal or there.quantity != 0:
            continue
        now, then = _ratio(cell), _ratio(there)
        if min(Decimal(1), then) < now < max(Decimal(1), then):
            return "price", Cause.PRICE_IN_THE_DAY, "between our price and the one of the day beside it"
    return None


def _part(key: Key, cell: Cell, account: AccountDay, evidence: Evidence) -> Named | None:
    """All of what went out in one way is missing."""
    parts = evidence.parts.get(key, {})
    if len(parts) < 2:
        return None
    for processing, part in parts.items():
        if not part.is_nothing and _is(cell, Side(-part.usd, _minus(part.quantity))):
            return "missing_there", Cause.LINE_MISSING, f"all of what went out as {processing} is missing"
    return None


def _common_factor(cells: Mapping[Key, Cell]) -> Decimal | None:
    """By what all amounts of a day are off, of at least two models, all by the same factor; None if that is not so."""
    compared = {key: cell for key, cell in cells.items() if cell.ours.usd and cell.quantity == 0}
    ratios = {_ratio(cell) for cell in compared.values()}
    if len({model for _, model, _ in compared}) < 2 or len(ratios) != 1:
        return None
    factor = ratios.pop()
    return None if factor in (0, 1) else factor


def _twins(cells: Mapping[Key, Cell], evidence: Evidence) -> dict[Key, str]:
    """Cells that only one side has, whose tokens the other side has under another model: by cell, that model."""
    here, there = {}, {}
    for key, cell in cells.items():
        if cell.theirs.is_nothing and cell.ours.quantity:
            here[key] = cell.ours.quantity
        elif cell.ours.is_nothing and cell.theirs.quantity:
            there[key] = cell.theirs.quantity
    twins: dict[Key, str] = {}
    for key, quantity in here.items():
        same = [each for each, found in there.items() if each[2] == key[2] and found == quantity]
        if len(same) == 1 and same[0] not in twins:
            twins[key], twins[same[0]] = same[0][1] or "no model", key[1] or "no model"
    return twins


def _is(cell: Cell, difference: Side) -> bool:
    """Whether a cell's difference is exactly this one."""
    if abs(cell.usd - difference.usd) > DUST_USD:
        return False
    return cell.quantity is None or difference.quantity is None or cell.quantity == difference.quantity


def _ratio(cell: Cell) -> Decimal:
    return (cell.theirs.usd / cell.ours.usd).quantize(FACTOR_DIGITS)


def _minus(quantity: Decimal | None) -> Decimal | None:
    return None if quantity is None else -quantity
