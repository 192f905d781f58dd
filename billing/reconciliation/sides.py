"""What both sides say of a day, model and meter, and what else is known of it: the figures that differences are named by.

Invariant: pure values. Where a side has no quantity it is None, which is not zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

Key = tuple[date, str, str]  # day, model, meter
ModelDay = tuple[date, str]

DUST_USD = Decimal("1e-9")  # what a sum of floats may be off, far below any price of a token
HALF_A_CENT = Decimal("0.005")


@dataclass(frozen=True, slots=True)
class Side:
    """One side's figures of a cell; no quantity where it has none."""

    usd: Decimal = Decimal(0)
    quantity: Decimal | None = None

    @property
    def is_nothing(self) -> bool:
        return not self.usd and not self.quantity

    def __add__(self, other: "Side") -> "Side":
        known = [side.quantity for side in (self, other) if side.quantity is not None]
        return Side(self.usd + other.usd, sum(known, start=Decimal(0)) if known else None)


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
class Line:
    """A line of a provider's report. One that the report has several times, word for word, is their sum, and says how often."""

    usd: Decimal
    quantity: Decimal | None = None
    processing: str = ""
    copies: int = 1
    is_credit: bool = False


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
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What besides the figures helps to name a difference."""

    attempts: Mapping[ModelDay, UnreportedCalls] = field(default_factory=dict)
    # by our clock: what ended on the day and began before it, less what began on it and ended after it
    crossings: Mapping[Key, Side] = field(default_factory=dict)
    prices: Mapping[tuple[str, str], frozenset[Decimal]] = field(default_factory=dict)  # USD per unit
    days: frozenset[date] = frozenset()  # that reports cover
    rates: Mapping[tuple[str, str], Mapping[str, frozenset[Decimal]]] = field(
        default_factory=dict
    )  # prices, by processing
    lines: Mapping[Key, tuple[Line, ...]] = field(default_factory=dict)  # of the report
    parts: Mapping[Key, Mapping[str, Side]] = field(default_factory=dict)  # of our side, by processing
    elsewhere: Mapping[Key, Side] = field(
        default_factory=dict
    )  # in projects of the provider that are not the account's
    models: frozenset[str] = frozenset()  # that we call, as they are compared
