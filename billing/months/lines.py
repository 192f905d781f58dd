"""The lines of a statement: the ledger of one month, summed per cost centre, user, key, model and meter.

Invariant: the lines' exact USD are the ledger's sum to the last digit; each printed amount is rounded half up
once, and what the printed lines lack of the rounded total is a line of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from decimal import Decimal
from typing import Any

from billing.models import BillingPeriod
from billing.months.amounts import print_amounts
from billing.months.cuts import (
    COSTS,
    OF_PERIOD,
    Cut,
    Unbalanced,
    read_cuts,
    read_totals,
    require_equal,
)
from billing.prices.book import is_token_meter
from tenants.models import ApiKey

CACHE_HIT = "gateway_cache_hit"
CATEGORIES = ("usage", "correction", "credit", "adjustment")
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
    totals = read_totals(arguments, rows=rows)
    made = sum((line.exact_usd for line in lines), start=Decimal(0))
    try:
        require_equal(str(period), made, totals["billed_cost_usd"])
    except Unbalanced as error:
        raise UnbalancedStatement(str(error)) from error
    return PeriodLines(sorted(lines, key=_place), totals["rows"], totals["calls"])


def printed(
    lines: Sequence[PeriodLine], *, currency: str = "USD", fx_rate: Decimal = Decimal(1)
) -> tuple[list[PeriodLine], Decimal, Decimal]:
    """The lines with their printed amounts, that of their rounding last if there is one; the rounding and the total."""
    amounts = print_amounts([line.exact_usd for line in lines], currency=currency, fx_rate=fx_rate)
    shown = [replace(line, amount=amount) for line, amount in zip(lines, amounts.lines, strict=True)]
    if amounts.rounding:
        shown.append(rounding_line(amounts.rounding))
    return shown, amounts.rounding, amounts.total


def rounding_line(amount: Decimal) -> PeriodLine:
    """What the printed lines lack of the printed total. The ledger knows nothing of it."""
    text = "Each line is rounded by itself; this is what they lack of the rounded total"
    return PeriodLine(
        category="rounding", charge_class="", charge_month="", cost_center="", user_id="", key_id=None, key_name="",
        provider="", model="", processing="", meter="", quantity=0, unit="", per=1, unit_price=None,
        exact_usd=Decimal(0), amount=amount, text=text,
    )  # fmt: skip


def values_of(line: PeriodLine) -> tuple[object, ...]:
    """A line as the digest reads it."""
    return astuple(line)


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
        line.charge_class, line.text,
    )  # fmt: skip
