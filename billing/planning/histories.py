"""What was spent on each day, read from the days' sums: a row for each subject, a column for each day (UTC).

Invariant: one statement for any number of tenants, one for each scope of budgets; each names its tenants, and a year is never
read. Days are whole: today, which is not over, is apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np
from django.db import connection
from psycopg import sql

from billing.planning.patterns import WEEK, Calendar, Floats

# Half a year: six edges of months, and little enough to be read for many tenants at one time.
WEEKS_KEPT: Final = 26
DAYS_KEPT: Final = WEEKS_KEPT * WEEK

UNITS: Final = ("usd", "tokens", "requests")
# The dimension of the small sums that has a budget's subjects; a key's is its name.
_DIMENSIONS: Final = {
    "tenant": "total",
    "prepaid": "total",
    "key": "key",
    "feature": "feature",
    "project": "project",
    "cost_center": "team",
    "model": "model",
    "provider": "provider",
}

BY_TENANT = """
SELECT tenant_id, day, billed_cost
FROM billing_usagesum
WHERE dimension = 'total' AND tenant_id = ANY (%(tenants)s) AND day >= %(first)s AND day <= %(today)s
"""

OF_ALL = """
SELECT day, sum(billed_cost)
FROM billing_usagesum
WHERE dimension = 'total' AND tenant_id = ANY (%(tenants)s) AND day >= %(first)s AND day <= %(today)s
GROUP BY day
"""

_WANTED = """(SELECT DISTINCT * FROM unnest(%(tenants)s::bigint[], %(subjects)s::text[]) AS s (tenant_id, subject)) AS s"""
_SPAN = "d.tenant_id = ANY (%(tenants)s) AND d.day >= %(first)s AND d.day <= %(today)s"
# Users by an index: there may be more of them than small sums name.
BY_USER = f"""
SELECT d.tenant_id, s.subject, d.day, sum(d.billed_cost),
       sum(d.input_tokens + d.cache_read_tokens + d.cache_write_tokens + d.output_tokens), sum(d.requests)
FROM {_WANTED} JOIN billing_usagedaily AS d ON d.tenant_id = s.tenant_id AND d.user_id = s.subject
WHERE {_SPAN} GROUP BY d.tenant_id, s.subject, d.day
"""
BY_SUBJECT = f"""
SELECT d.tenant_id, s.subject, d.day, sum(d.billed_cost),
       sum(d.input_tokens + d.cache_read_tokens + d.cache_write_tokens + d.output_tokens), sum(d.requests)
FROM billing_usagesum AS d {{join}}
JOIN {_WANTED} ON s.tenant_id = d.tenant_id AND s.subject = {{subject}}
WHERE {_SPAN} AND d.dimension = %(dimension)s AND NOT d.is_rest GROUP BY d.tenant_id, s.subject, d.day
"""
_KEYS = "JOIN tenants_apikey AS k ON k.id::text = d.value AND k.tenant_id = d.tenant_id"


@dataclass(frozen=True, slots=True)
class Histories:
    """Whole days of subjects up to yesterday, and exact sums by day besides."""

    past: Floats
    days: Calendar
    exact: list[dict[date, Decimal]]

    def lived(self) -> Any:
        """For how many days each subject is known."""
        return (self.past.cumsum(1) > 0).sum(1)

    def rows(self, part: slice) -> "Histories":
        return Histories(self.past[part], self.days, self.exact[part])


def of_tenants(tenant_ids: Sequence[int], *, today: date) -> Histories:
    """USD of tenants, in their order: one statement."""
    with connection.cursor() as cursor:
        cursor.execute(BY_TENANT, {"tenants": list(tenant_ids), **_span(today)})
        found = cursor.fetchall()
    places = {tenant: number for number, tenant in enumerate(tenant_ids)}
    exact: list[dict[date, Decimal]] = [{} for _ in tenant_ids]
    for tenant, day, usd in found:
        exact[places[tenant]][day] = usd
    return _histories(exact, today)


def of_all(tenant_ids: Sequence[int], *, today: date) -> Histories:
    """USD of all these tenants together, as one subject: one statement."""
    with connection.cursor() as cursor:
        cursor.execute(OF_ALL, {"tenants": list(tenant_ids), **_span(today)})
        return _histories([dict(cursor.fetchall())], today)


def of_subjects(scope: str, wanted: Sequence[tuple[int, str, str]], *, today: date) -> Histories:
    """What the subjects of budgets of one scope used, as (tenant, subject, unit), in their order: one statement."""
    statement = (
        sql.SQL(BY_USER)
        if scope == "user"
        else sql.SQL(BY_SUBJECT).format(
            join=sql.SQL(_KEYS if scope == "key" else ""),
            subject=sql.SQL("k.name" if scope == "key" else "d.value"),
        )
    )
    tenants, subjects = [one[0] for one in wanted], [one[1] for one in wanted]
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            {"tenants": tenants, "subjects": subjects, "dimension": _DIMENSIONS.get(scope), **_span(today)},
        )
        found = cursor.fetchall()
    by_subject: dict[tuple[int, str], dict[date, tuple[Decimal, ...]]] = {}
    for tenant, subject, day, *measures in found:
        by_subject.setdefault((tenant, subject), {})[day] = tuple(measures)
    return _histories(
        [
            {day: row[UNITS.index(unit)] for day, row in by_subject.get((tenant, subject), {}).items()}
            for tenant, subject, unit in wanted
        ],
        today,
    )


def _span(today: date) -> dict[str, date]:
    return {"first": today - timedelta(days=DAYS_KEPT), "today": today}


def _histories(exact: list[dict[date, Decimal]], today: date) -> Histories:
    first = today - timedelta(days=DAYS_KEPT)
    past = np.zeros((len(exact), DAYS_KEPT))
    for row, days in zip(past, exact, strict=True):
        for day, amount in days.items():
            if first <= day < today:
                # credits may make a day negative: they are not used up again
                row[(day - first).days] = max(float(amount), 0.0)
    return Histories(past, Calendar.of(first, DAYS_KEPT), exact)
