"""What a month consists of for those who read it: its figures, its sections, its lines, its invoice.

Invariant: values only, and of what there is for each user or call, a way to read it (`Streamed`). `report` makes them of the
ledger and checks that they add up; `exports` writes them, and never calculates a figure of its own.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar

from config.values import value_type

NOTHING = Decimal(0)
T = TypeVar("T")


class Streamed(Collection[T]):
    """Parts of a month that are read from the database each time that they are gone through, some at a time.

    `sums` has their sums by name, so that nobody needs to go through them to prove that they add up.
    """

    __slots__ = ("_count", "_read", "sums")

    def __init__(self, read: Callable[[], Iterator[T]], *, count: int, sums: Mapping[str, Any]) -> None:
        self._read, self._count, self.sums = read, count, sums

    def __iter__(self) -> Iterator[T]:
        return self._read()

    def __len__(self) -> int:
        return self._count

    def __contains__(self, part: object) -> bool:
        return any(one == part for one in self)


@value_type
class Measures:
    """What is counted of any group of ledger rows (billing/ledger/measures.py). Each adds up over the groups of a section.

    list - saved + corrections + adjustments + credits + commitments = billed = exact + estimated + unread.
    """

    requests: int = 0
    calls: int = 0
    further_calls: int = 0
    own_calls: int = 0
    cache_hits: int = 0
    estimated_requests: int = 0
    unallocated_requests: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    saved_tokens: int = 0
    list_cost_usd: Decimal = NOTHING
    saved_usd: Decimal = NOTHING
    contracted_cost_usd: Decimal = NOTHING
    corrections_usd: Decimal = NOTHING
    adjustments_usd: Decimal = NOTHING
    credits_usd: Decimal = NOTHING
    commitments_usd: Decimal = NOTHING
    billed_cost_usd: Decimal = NOTHING
    exact_usd: Decimal = NOTHING
    estimated_usd: Decimal = NOTHING
    unread_usd: Decimal = NOTHING
    least_usd: Decimal = NOTHING
    most_usd: Decimal = NOTHING
    unallocated_usd: Decimal = NOTHING  # of the billed cost, what lacks a required tag


@dataclass(frozen=True, slots=True)
class Sure:
    """How much of a sum is known in one way: `exact`, `estimated` or `unread`, with its bounds."""

    certainty: str
    records: int
    amount_usd: Decimal
    least_usd: Decimal
    most_usd: Decimal


@value_type
class Group:
    """One row of a section: its labels, one for each dimension of the section, and its measures."""

    labels: tuple[str, ...]
    measures: Measures


@dataclass(frozen=True, slots=True)
class Section:
    """The whole month cut along one dimension; `wholes` times, where its first label says along which (the tags)."""

    name: str
    title: str
    dimensions: tuple[str, ...]
    groups: Collection[Group]
    wholes: int = 1


@dataclass(frozen=True, slots=True)
class WaterfallStep:
    """One step from what the month would have cost without us to what is paid: what it takes off, or with a minus puts on."""

    name: str
    amount_usd: Decimal


@value_type
class DetailLine:
    """The finest cut: one meter of one day and of one value of every dimension, which `labels` names (DETAIL_LABELS).

    Requests, calls and savings stand once for all lines of a cut: on its `request` line, and once more in the `charge_`
    fields of its first charge, for files that have no other lines. `own_list_usd` is the list price of this very line.
    """

    day: date
    labels: Mapping[str, str]
    meter: str
    quantity: int
    requests: int
    calls: int
    rows: int
    per: int
    unit_price_usd: Decimal | None
    list_cost_usd: Decimal
    contracted_cost_usd: Decimal
    billed_cost_usd: Decimal
    saved_usd: Decimal
    tags: Mapping[str, str]
    own_list_usd: Decimal = NOTHING
    charge_requests: int = 0
    charge_saved_usd: Decimal = NOTHING
    tenant: str = ""  # in the month of all tenants: whose


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """From what happened in the month (`/v1/usage`) to what is booked in it (the statement).

    `by_time_usd` - `booked_later_usd` + `of_earlier_months_usd` = `booked_usd`.
    """

    by_time_usd: Decimal
    booked_later_usd: Decimal
    of_earlier_months_usd: Decimal
    booked_usd: Decimal


@dataclass(frozen=True, slots=True)
class Terms:
    """The parties, the tax and the date of payment. Texts are empty, and `due_on` is None, where nobody has entered them."""

    issuer_name: str
    issuer_address: str = ""
    issuer_vat_id: str = ""
    payment_text: str = ""
    legal_name: str = ""
    address: str = ""
    vat_id: str = ""
    email: str = ""
    po_number: str = ""
    vat_percent: Decimal = NOTHING
    tax_note: str = ""
    due_on: date | None = None
    set_off: Decimal = (
        NOTHING  # of what is owed, what was paid ahead and used in the month; in the statement's currency
    )


@dataclass(frozen=True, slots=True)
class Invoice:
    """What a closed month is asked for: the statement's code and, by cost centre, what is owed in its currency, and the tax."""

    code: str
    issuer: str
    currency: str
    owed: Mapping[str, Decimal]
    issued_at: datetime
    tax: Decimal = NOTHING
    terms: Terms | None = None  # a statement that is older than them has none
    fx_rate: Decimal = Decimal(1)  # units of the currency for one USD, of a day, as `fx_source` says
    fx_day: date | None = None
    fx_source: str = ""

    @property
    def total(self) -> Decimal:
        """Without tax."""
        return sum(self.owed.values(), start=NOTHING)

    @property
    def payable(self) -> Decimal:
        """With tax."""
        return self.total + self.tax

    @property
    def set_off(self) -> Decimal:
        """What was paid ahead of it."""
        return self.terms.set_off if self.terms else NOTHING

    @property
    def due(self) -> Decimal:
        """What is still to be paid."""
        return self.payable - self.set_off


@dataclass(frozen=True, slots=True)
class RateOfNow:
    """In which currency a month that is open will be asked for, and the newest rate: units of it for one USD."""

    currency: str
    rate: Decimal
    day: date | None
    source: str


@dataclass(frozen=True, slots=True)
class SharedCost:
    """What a split rule takes, and which part of it each cost centre bears: of the first rule that names a charge, `source` says
    how (`models.SplitRule.Source`)."""

    rule: str
    source: str
    tag: str
    value: str
    shares: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Margin:
    """What a tenant pays for a model, and what its provider asks for that. No tenant sees it."""

    tenant: str
    provider: str
    model: str
    billed_usd: Decimal
    provider_cost_usd: Decimal
    margin_usd: Decimal


@dataclass(frozen=True, slots=True)
class MonthReport:
    """The month: its bounds, the ledger's totals, and every cut of them."""

    tenant_slug: str
    tenant_name: str
    month: str
    timezone: str
    starts_at: datetime
    ends_at: datetime
    period_status: str
    made_at: datetime
    totals: Measures
    certainty: tuple[Sure, ...]
    waterfall: tuple[WaterfallStep, ...]
    reconciliation: Reconciliation
    sections: tuple[Section, ...]
    detail: Collection[DetailLine]
    invoice: Invoice | None = None  # of a closed month
    rate: RateOfNow | None = None  # of an open month in another currency than USD
    shared: tuple[SharedCost, ...] = ()  # in the order in which the rules take
    margins: tuple[Margin, ...] = ()  # of all tenants together only, as is what follows
    tenants: tuple["MonthReport", ...] = ()
