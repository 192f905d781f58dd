"""The lines of a statement: the ledger of one month, summed per cost centre, user, key, model and meter.

Invariant: the lines' exact USD are the ledger's sum to the last digit. The printed amounts have six places; a cost centre owes
whole cents, and what its lines lack of them, less than a cent, is a line of its own. The cost centres make the total.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from decimal import Decimal
from typing import Any

from billing.models import BillingPeriod
from billing.months.amounts import divide_owed, line_amounts
from billing.months.cuts import (
    COSTS,
    OF_PERIOD,
    Cut,
    Unbalanced,
    read_cuts,
    read_whole,
    require_equal,
)
from billing.prices.book import is_token_meter
from tenants.models import ApiKey

CACHE_HIT = "gateway_cache_hit"
CATEGORIES = ("usage", "correction", "adjustment", "credit")
ROUNDING = "rounding"
BILLED = COSTS.index("billed_cost_usd")


class UnbalancedStatement(Unbalanced):
    """The lines of a statement do not make the ledger's sum."""


@dataclass(frozen=True, slots=True)
class PeriodLine:
    """One line of a statement. `amount` is printed; `exact_usd` is what the ledger says."""

    category: str
    charge_class: str
    charge_month: str
    cost_center: str
    user_id: str
    key_id: int | None
    key_name: str
    provider: str
    model: str
    processing: str
    meter: str
    quantity: int
    unit: str
    per: int
    unit_price: Decimal | None
    exact_usd: Decimal
    amount: Decimal = Decimal(0)
    text: str = ""
    certainty: str = ""  # of a line that the ledger knows; empty on statements that are older than it


# Who, which and why: what a line of a statement is cut by, besides its meter and its price, in SQL over a ledger row.
CUT = {
    "category": "r.kind",
    "charge_class": "r.charge_class",
    "charge_month": """CASE WHEN r.charge_class = '' THEN '' ELSE coalesce(
        (SELECT p.label FROM billing_billingperiod p
         WHERE p.tenant_id = r.tenant_id AND p.starts_at <= r.occurred_at AND p.ends_at > r.occurred_at),
        to_char(r.occurred_at AT TIME ZONE %(timezone)s, 'YYYY-MM')) END""",
    "cost_center": "r.cost_center",
    "user_id": "r.user_id",
    "key_id": "r.key_id",
    "provider": "r.provider",
    "model": "r.model",
    "processing": "CASE WHEN r.kind IN ('credit', 'adjustment') THEN '' ELSE r.processing END",
    "text": "CASE WHEN r.kind IN ('credit', 'adjustment') THEN r.reason ELSE '' END",
    "certainty": "known.certainty",
    "is_hit": "r.usage_source = 'gateway_cache'",
}


@dataclass(frozen=True, slots=True)
class PeriodLines:
    """The unprinted lines of a month, and how many ledger rows and requests they sum."""

    lines: list[PeriodLine]
    row_count: int
    request_count: int


def lines_of(period: BillingPeriod, *, timezone: str, rows: str = OF_PERIOD) -> PeriodLines:
    """Sum a month into lines; four queries.

    What no meter explains is on a line without one: a credit, an adjustment, the hits of our cache. Raises
    UnbalancedStatement unless the lines make the ledger's sum.
    """
    arguments: dict[str, Any] = {
        "tenant": period.tenant_id,
        "period": period.pk,
        "starts_at": period.starts_at,
        "ends_at": period.ends_at,
        "timezone": timezone,
    }
    key_names = dict(ApiKey.objects.filter(tenant_id=period.tenant_id).values_list("pk", "name"))
    lines = [line for cut in read_cuts(CUT, arguments, rows=rows) for line in _lines(cut, key_names)]
    totals = read_whole(arguments, rows=rows).figures
    made = sum((line.exact_usd for line in lines), start=Decimal(0))
    try:
        require_equal(str(period), made, totals["billed_cost_usd"])
    except Unbalanced as error:
        raise UnbalancedStatement(str(error)) from error
    return PeriodLines(sorted(lines, key=_place), totals["rows"], totals["requests"])


@dataclass(frozen=True, slots=True)
class Printed:
    """The lines with their amounts, by cost centre, and at the end of each its rounding, if it has one."""

    lines: list[PeriodLine]
    owed: dict[str, Decimal]  # by cost centre

    @property
    def rounding(self) -> Decimal:
        return sum((line.amount for line in self.lines if line.category == ROUNDING), start=Decimal(0))

    @property
    def total(self) -> Decimal:
        return sum(self.owed.values(), start=Decimal(0))


def printed(lines: Iterable[PeriodLine], *, currency: str = "USD", fx_rate: Decimal = Decimal(1)) -> Printed:
    """Print amounts: rounded once where they are owed, by the largest remainder where they are divided."""
    centers: dict[str, list[PeriodLine]] = {}
    for line in lines:
        centers.setdefault(line.cost_center, []).append(line)
    exact = {
        center: sum((line.exact_usd for line in its), start=Decimal(0))
        for center, its in sorted(centers.items())
    }
    owed = divide_owed(exact, currency=currency, fx_rate=fx_rate)
    shown: list[PeriodLine] = []
    for center in exact:
        its = centers[center]
        amounts = line_amounts([line.exact_usd for line in its], currency=currency, fx_rate=fx_rate)
        shown += (replace(line, amount=amount) for line, amount in zip(its, amounts, strict=True))
        if rounding := owed[center] - sum(amounts, start=Decimal(0)):
            shown.append(rounding_line(center, rounding))
    return Printed(shown, owed)


def rounding_line(cost_center: str, amount: Decimal) -> PeriodLine:
    """What the printed lines of a cost centre lack of what it owes. The ledger knows nothing of it."""
    return PeriodLine(
        category=ROUNDING, charge_class="", charge_month="", cost_center=cost_center, user_id="", key_id=None, key_name="",
        provider="", model="", processing="", meter="", quantity=0, unit="", per=1, unit_price=None,
        exact_usd=Decimal(0), amount=amount, text="To the whole cents that the cost centre owes",
    )  # fmt: skip


def values_of(line: PeriodLine) -> tuple[object, ...]:
    """A line as the digest reads it: as it always was, and with a later column where that has a value."""
    *values, certainty = astuple(line)
    return (*values, certainty) if certainty else tuple(values)


def _lines(cut: Cut, key_names: Mapping[int, str]) -> Iterator[PeriodLine]:
    """The meters of a cut, and what none of them explains where there is anything to say."""
    values = dict(cut.values)
    is_hit, rest = values.pop("is_hit"), cut.unexplained[BILLED]
    values["key_name"] = key_names.get(values["key_id"], "")
    for meter in cut.meters:
        unit = "tokens" if is_token_meter(meter.name) else "units"
        yield PeriodLine(
            **values, meter=meter.name, quantity=meter.quantity, unit=unit, per=meter.per, unit_price=meter.unit_price,
            exact_usd=meter.costs[BILLED],
        )  # fmt: skip
    if is_hit or rest or values["category"] in ("credit", "adjustment"):
        meter_name, unit = (CACHE_HIT, "hits") if is_hit else ("", "")
        yield PeriodLine(
            **values,
            meter=meter_name,
            quantity=cut.figures["rows"],
            unit=unit,
            per=1,
            unit_price=None,
            exact_usd=rest,
        )


def _place(line: PeriodLine) -> tuple[object, ...]:
    """The order of lines: usage first, then its corrections, then by user and model."""
    return (
        CATEGORIES.index(line.category), line.charge_month, line.cost_center, line.user_id, line.key_name,
        line.key_id or 0, line.provider, line.model, line.processing, line.meter, line.unit_price or 0, line.per,
        line.charge_class, line.text, line.certainty,
    )  # fmt: skip
