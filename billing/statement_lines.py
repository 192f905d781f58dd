"""The lines of a statement: the ledger of one month, summed per cost centre, user, key, model and meter.

Invariant: the lines' exact USD are the ledger's sum to the last digit; each printed amount is rounded half up
once, and what the printed lines lack of the rounded total is a line of its own.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from decimal import Decimal
from typing import Any

from django.db import connection

from billing.models import BillingPeriod
from billing.prices import is_token_meter
from billing.statement_money import print_amounts

CACHE_HIT = "gateway_cache_hit"


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

# The meters of each row, and what no meter explains: a credit, an adjustment, a hit of our cache.
LINES = """
WITH record AS (
    SELECT r.*, CASE WHEN r.charge_class = '' THEN ''
                ELSE to_char(r.occurred_at AT TIME ZONE %(timezone)s, 'YYYY-MM') END AS charge_month
    FROM billing_usagerecord r WHERE {rows}
), line AS (
    SELECT l.record_id, l.meter, l.quantity, l.per, l.unit_price, l.billed_cost
    FROM record JOIN billing_usageline l ON l.record_id = record.id AND l.occurred_at = record.occurred_at
), piece AS (
    SELECT record_id, meter, quantity, per, unit_price, billed_cost FROM line
    UNION ALL
    SELECT record.id, CASE WHEN record.usage_source = 'gateway_cache' THEN 'gateway_cache_hit' ELSE '' END, 1, 1, NULL,
           record.billed_cost - coalesce(metered.billed_cost, 0)
    FROM record
    LEFT JOIN (SELECT record_id, sum(billed_cost) AS billed_cost FROM line GROUP BY record_id) metered
        ON metered.record_id = record.id
    WHERE metered.record_id IS NULL OR record.billed_cost <> metered.billed_cost
)
SELECT record.kind AS category, record.charge_class, record.charge_month, record.cost_center, record.user_id,
       record.key_id, coalesce(key.name, '') AS key_name, record.provider, record.model,
       CASE WHEN record.kind IN ('credit', 'adjustment') THEN '' ELSE record.processing END AS processing, piece.meter,
       sum(piece.quantity)::bigint AS quantity, piece.per, piece.unit_price, sum(piece.billed_cost) AS exact_usd,
       CASE WHEN record.kind IN ('credit', 'adjustment') THEN record.reason ELSE '' END AS text
FROM piece JOIN record ON record.id = piece.record_id
LEFT JOIN tenants_apikey AS key ON key.tenant_id = %(tenant)s AND key.id = record.key_id
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, piece.meter, piece.per, piece.unit_price, 16
ORDER BY CASE record.kind WHEN 'usage' THEN 0 WHEN 'correction' THEN 1 WHEN 'credit' THEN 2 ELSE 3 END,
         2, 3, 4, 5, key_name, record.key_id, 8, 9, 10, piece.meter, piece.unit_price, piece.per, 16
"""
TOTAL = "SELECT count(*), coalesce(sum(r.billed_cost), 0) FROM billing_usagerecord r WHERE {rows}"


def lines_of(period: BillingPeriod, *, timezone: str, rows: str = OF_PERIOD) -> tuple[list[Line], int]:
    """The unprinted lines of a month and how many ledger rows they sum; two queries.

    Raises UnbalancedStatement unless they make the ledger's sum.
    """
    arguments = {
        "tenant": period.tenant_id,
        "period": period.pk,
        "starts_at": period.starts_at,
        "ends_at": period.ends_at,
        "timezone": timezone,
    }
    with connection.cursor() as cursor:
        cursor.execute(LINES.format(rows=rows), arguments)
        names = [column.name for column in cursor.description]
        lines = [_line(dict(zip(names, row, strict=True))) for row in cursor.fetchall()]
        cursor.execute(TOTAL.format(rows=rows), arguments)
        count, total = cursor.fetchone()
    made = sum((line.exact_usd for line in lines), start=Decimal(0))
    if made != total:
        raise UnbalancedStatement(f"{period}: the lines make {made} USD, the ledger says {total}")
    return lines, count


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


def _line(row: dict[str, Any]) -> Line:
    meter = row["meter"]
    unit = (
        "" if not meter else "hits" if meter == CACHE_HIT else "tokens" if is_token_meter(meter) else "units"
    )
    return Line(**row, unit=unit)
