"""The lines of a statement: the ledger of one month, summed per cost centre, user, key, model and meter.

Invariant: the lines' exact USD are the ledger's sum to the last digit; each printed amount is rounded half up
once, and what the printed lines lack of the rounded total is a line of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from decimal import Decimal
from typing import Any

from django.db import connection

from billing.models import BillingPeriod
from billing.months.amounts import print_amounts
from billing.prices.book import is_token_meter
from tenants.models import ApiKey

CACHE_HIT = "gateway_cache_hit"
CATEGORIES = ("usage", "correction", "credit", "adjustment")


class UnbalancedStatement(Exception):
    """The lines of a statement do not make the ledger's sum."""


@dataclass(frozen=True, slots=True)
class Line:
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


# Which ledger rows stand on a statement, and which belong to the month by the time they happened.
OF_PERIOD = "r.tenant_id = %(tenant)s AND r.period_id = %(period)s"
OF_TIME = "r.tenant_id = %(tenant)s AND r.occurred_at >= %(starts_at)s AND r.occurred_at < %(ends_at)s"

# Who, which and why: what a line of a statement is cut by, besides its meter and its price.
DIMENSIONS = """
r.kind, r.charge_class,
CASE WHEN r.charge_class = '' THEN '' ELSE coalesce(
    (SELECT p.label FROM billing_billingperiod p
     WHERE p.tenant_id = r.tenant_id AND p.starts_at <= r.occurred_at AND p.ends_at > r.occurred_at),
    to_char(r.occurred_at AT TIME ZONE %(timezone)s, 'YYYY-MM')) END,
r.cost_center, r.user_id, r.key_id, r.provider, r.model,
CASE WHEN r.kind IN ('credit', 'adjustment') THEN '' ELSE r.processing END,
CASE WHEN r.kind IN ('credit', 'adjustment') THEN r.reason ELSE '' END,
r.usage_source = 'gateway_cache'"""
RECORDS = f"""
SELECT {DIMENSIONS}, count(*), sum(r.billed_cost)
FROM billing_usagerecord r WHERE {{rows}}
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
"""
METERS = f"""
SELECT {DIMENSIONS}, l.meter, l.per, l.unit_price, sum(l.quantity)::bigint, sum(l.billed_cost)
FROM billing_usagerecord r JOIN billing_usageline l ON l.record_id = r.id AND l.occurred_at = r.occurred_at
WHERE {{rows}}
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, l.meter, l.per, l.unit_price
"""
TOTAL = "SELECT count(*), coalesce(sum(r.billed_cost), 0) FROM billing_usagerecord r WHERE {rows}"


def lines_of(period: BillingPeriod, *, timezone: str, rows: str = OF_PERIOD) -> tuple[list[Line], int]:
    """The unprinted lines of a month and how many ledger rows they sum; four queries.

    What no meter explains stands on a line without one: a credit, an adjustment, the hits of our cache. Raises
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
    unexplained: dict[tuple[Any, ...], tuple[int, Decimal]] = {}
    lines = []
    with connection.cursor() as cursor:
        cursor.execute(RECORDS.format(rows=rows), arguments)
        for *dimensions, count, billed in cursor.fetchall():
            unexplained[tuple(dimensions)] = count, billed
        cursor.execute(METERS.format(rows=rows), arguments)
        for *dimensions, meter, per, unit_price, quantity, billed in cursor.fetchall():
            count, left = unexplained[tuple(dimensions)]
            unexplained[tuple(dimensions)] = count, left - billed
            unit = "tokens" if is_token_meter(meter) else "units"
            lines.append(_line(dimensions, key_names, meter, quantity, unit, per, unit_price, billed))
        for dimensions, (count, left) in unexplained.items():
            is_hit, is_manual = dimensions[-1], dimensions[0] in ("credit", "adjustment")
            if is_hit or is_manual or left:
                meter, unit = (CACHE_HIT, "hits") if is_hit else ("", "")
                lines.append(_line(dimensions, key_names, meter, count, unit, 1, None, left))
        cursor.execute(TOTAL.format(rows=rows), arguments)
        row_count, total = cursor.fetchone()
    made = sum((line.exact_usd for line in lines), start=Decimal(0))
    if made != total:
        raise UnbalancedStatement(f"{period}: the lines make {made} USD, the ledger says {total}")
    return sorted(lines, key=_place), row_count


def printed(
    lines: Sequence[Line], *, currency: str = "USD", fx_rate: Decimal = Decimal(1)
) -> tuple[list[Line], Decimal, Decimal]:
    """The lines with their printed amounts, that of their rounding last if there is one; the rounding and the total."""
    amounts = print_amounts([line.exact_usd for line in lines], currency=currency, fx_rate=fx_rate)
    shown = [replace(line, amount=amount) for line, amount in zip(lines, amounts.lines, strict=True)]
    if amounts.rounding:
        shown.append(rounding_line(amounts.rounding))
    return shown, amounts.rounding, amounts.total


def rounding_line(amount: Decimal) -> Line:
    """What the printed lines lack of the printed total. The ledger knows nothing of it."""
    text = "Each line is rounded by itself; this is what they lack of the rounded total"
    return Line(
        category="rounding", charge_class="", charge_month="", cost_center="", user_id="", key_id=None, key_name="",
        provider="", model="", processing="", meter="", quantity=0, unit="", per=1, unit_price=None,
        exact_usd=Decimal(0), amount=amount, text=text,
    )  # fmt: skip


def values_of(line: Line) -> tuple[object, ...]:
    """A line as the digest reads it."""
    return astuple(line)


def _line(
    dimensions: Sequence[Any],
    key_names: Mapping[int, str],
    meter: str,
    quantity: int,
    unit: str,
    per: int,
    unit_price: Decimal | None,
    exact_usd: Decimal,
) -> Line:
    category, charge_class, charge_month, cost_center, user_id, key_id, *which, text, _ = dimensions
    provider, model, processing = which
    return Line(
        category=category, charge_class=charge_class, charge_month=charge_month, cost_center=cost_center,
        user_id=user_id, key_id=key_id, key_name=key_names.get(key_id, ""), provider=provider, model=model,
        processing=processing, meter=meter, quantity=quantity, unit=unit, per=per, unit_price=unit_price,
        exact_usd=exact_usd, text=text,
    )  # fmt: skip


def _place(line: Line) -> tuple[object, ...]:
    """Where a line stands: usage first, then what corrects it, then by who and which."""
    return (
        CATEGORIES.index(line.category), line.charge_month, line.cost_center, line.user_id, line.key_name,
        line.key_id or 0, line.provider, line.model, line.processing, line.meter, line.unit_price or 0, line.per,
        line.charge_class, line.text,
    )  # fmt: skip
