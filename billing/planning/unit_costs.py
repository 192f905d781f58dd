"""What one of something costs a tenant: a request, an active user's day, an event that its product told of.

Invariant: reads sums by day only, and one tenant's; a few statements whatever the traffic. Amounts are exact; a division has
twelve places. Of nothing there is no unit cost: None.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from billing.money import EXACT, TWELVE_PLACES

MOST_EVENTS_SHOWN: Final = 100

TOTALS: Final = """
SELECT coalesce(sum(billed_cost), 0), coalesce(sum(requests), 0) FROM billing_usagesum
WHERE dimension = 'total' AND tenant_id = %(tenant)s AND day BETWEEN %(first)s AND %(last)s
"""
ACTIVE: Final = """
SELECT count(*), count(DISTINCT user_id) FROM (
    SELECT day, value AS user_id FROM billing_usagesum AS s
    WHERE dimension = 'user' AND tenant_id = %(tenant)s AND day BETWEEN %(first)s AND %(last)s
      AND value <> '' AND requests > 0 AND NOT is_rest
    UNION
    -- of days with more users than small sums name
    SELECT d.day, d.user_id FROM billing_usagedaily AS d
    WHERE d.tenant_id = %(tenant)s AND d.user_id <> '' AND d.requests > 0 AND d.day IN (
        SELECT day FROM billing_usagesum WHERE dimension = 'user' AND tenant_id = %(tenant)s
          AND day BETWEEN %(first)s AND %(last)s AND is_rest)) AS active
"""
# What an event costs is counted from the day of the first one on: before that nobody told of them.
EVENTS: Final = """
WITH told AS (
    SELECT name, feature, sum(events) AS events, sum(quantity) AS quantity, min(day) AS since
    FROM billing_featureday
    WHERE tenant_id = %(tenant)s AND day BETWEEN %(first)s AND %(last)s
    GROUP BY name, feature ORDER BY sum(events) DESC, name, feature LIMIT %(limit)s),
crowded AS (  -- days with more features than small sums name
    SELECT day FROM billing_usagesum WHERE dimension = 'feature' AND tenant_id = %(tenant)s
      AND day BETWEEN %(first)s AND %(last)s AND is_rest),
spent AS (
    SELECT value AS feature, day, billed_cost AS usd FROM billing_usagesum AS s
    WHERE dimension = 'feature' AND tenant_id = %(tenant)s AND day BETWEEN %(first)s AND %(last)s AND NOT is_rest
      AND value IN (SELECT feature FROM told WHERE feature <> '') AND day NOT IN (SELECT day FROM crowded)
    UNION ALL
    SELECT feature, day, sum(billed_cost) FROM billing_usagedaily
    WHERE tenant_id = %(tenant)s AND day IN (SELECT day FROM crowded)
      AND feature IN (SELECT feature FROM told WHERE feature <> '')
    GROUP BY feature, day
    UNION ALL
    SELECT '', day, billed_cost FROM billing_usagesum
    WHERE dimension = 'total' AND tenant_id = %(tenant)s AND day BETWEEN %(first)s AND %(last)s)
SELECT told.name, told.feature, told.events, told.quantity, told.since, coalesce(sum(spent.usd), 0)
FROM told LEFT JOIN spent ON spent.feature = told.feature AND spent.day >= told.since
GROUP BY told.name, told.feature, told.events, told.quantity, told.since
ORDER BY told.events DESC, told.name, told.feature
"""


@dataclass(frozen=True, slots=True)
class EventCost:
    """The events of one name and feature, and what the feature's calls cost since they are told of."""

    name: str
    feature: str
    events: int
    quantity: int
    since: date
    usd: Decimal

    @property
    def per_event(self) -> Decimal | None:
        return per(self.usd, self.events)

    @property
    def per_unit(self) -> Decimal | None:
        """For one of `quantity`."""
        return per(self.usd, self.quantity)


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """A tenant's spending over days, and what it is divided by. Users are those whom calls name."""

    usd: Decimal
    requests: int
    user_days: int
    users: int
    events: tuple[EventCost, ...]

    @property
    def per_request(self) -> Decimal | None:
        return per(self.usd, self.requests)

    @property
    def per_user_day(self) -> Decimal | None:
        """For each day on which a user was active."""
        return per(self.usd, self.user_days)


def unit_costs(tenant_id: int, *, first: date, last: date) -> UnitCosts:
    """The unit costs of a tenant's days (UTC), the last included: three statements."""
    span = {"tenant": tenant_id, "first": first, "last": last, "limit": MOST_EVENTS_SHOWN}
    ((usd, requests),) = _rows(TOTALS, span)
    ((user_days, users),) = _rows(ACTIVE, span)
    events = tuple(
        EventCost(name, feature, int(number), int(quantity), since, spent)
        for name, feature, number, quantity, since, spent in _rows(EVENTS, span)
    )
    return UnitCosts(usd, int(requests), user_days, users, events)


def per(usd: Decimal, number: Decimal | int) -> Decimal | None:
    """An amount divided by a number of things; None where there are none."""
    return EXACT.divide(usd, Decimal(number)).quantize(TWELVE_PLACES, context=EXACT) if number else None


def _rows(statement: str, arguments: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return list(cursor.fetchall())
