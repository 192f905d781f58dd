"""What a tenant's product did for its customers, as the tenant tells: the events that costs are divided by.

Invariant: an event counts once, however often it is sent; a day has a bounded number of events and of names. Known by the request
path: no ORM. The tenant's own connection writes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from config.values import value_type
from tenants.errors import ClientError
from tenants.rls import tenant_connection

MOST_AT_ONE_TIME: Final = 1_000
MOST_A_DAY: Final = 200_000
MOST_NAMES_A_DAY: Final = 200
OLDEST: Final = timedelta(days=7)
AHEAD: Final = timedelta(minutes=5)  # of a clock that is ahead of ours
# An event that is too old to be sent needs no id any more.
KEPT: Final = OLDEST + timedelta(days=2)
CHUNK: Final = 10_000


@value_type
class Event:
    """One thing that was done: `quantity` of `name`, by a feature of the product; `id` is the tenant's own."""

    id: str
    name: str
    feature: str
    quantity: int
    at: datetime


class TooManyEvents(ClientError):
    """A day has as many events, or names of events, as it may have."""

    status, code, type = 400, "invalid_request", "invalid_request_error"
    recurs = True


# Ordered as every writer orders them, so that two of them never wait for each other.
RECORD = """
WITH told AS (
    SELECT DISTINCT ON (t.id) t.* FROM unnest(
        %(ids)s::text[], %(days)s::date[], %(names)s::text[], %(features)s::text[], %(quantities)s::bigint[]
    ) AS t (id, day, name, feature, quantity) ORDER BY t.id),
new AS (
    INSERT INTO billing_featureevent (tenant_id, event_id, day)
    SELECT %(tenant)s, id, day FROM told ORDER BY id
    ON CONFLICT (tenant_id, event_id) DO NOTHING RETURNING event_id),
sums AS (
    SELECT told.day, told.name, told.feature, count(*) AS events, sum(told.quantity) AS quantity
    FROM told JOIN new ON new.event_id = told.id
    GROUP BY told.day, told.name, told.feature),
added AS (
    INSERT INTO billing_featureday AS d (tenant_id, day, name, feature, events, quantity)
    SELECT %(tenant)s, day, name, feature, events, quantity FROM sums ORDER BY day, name, feature
    ON CONFLICT (tenant_id, day, name, feature) DO UPDATE
        SET events = d.events + excluded.events, quantity = d.quantity + excluded.quantity
    RETURNING d.events)
SELECT count(*) FROM new
"""
FULLEST = """
SELECT day, sum(events), count(*) FROM billing_featureday
WHERE tenant_id = %(tenant)s AND day = ANY (%(days)s)
GROUP BY day HAVING sum(events) > %(most)s OR count(*) > %(most_names)s
ORDER BY day LIMIT 1
"""
PRUNE = """
DELETE FROM billing_featureevent WHERE (tenant_id, event_id) IN (
    SELECT tenant_id, event_id FROM billing_featureevent WHERE day < %(before)s LIMIT %(chunk)s)
"""


async def record(tenant_id: int, events: Sequence[Event]) -> int:
    """Count events that were not counted before, and return how many they are. All of them, or none with TooManyEvents."""
    days = sorted({event.at.astimezone(UTC).date() for event in events})
    told: dict[str, Any] = {
        "tenant": tenant_id,
        "ids": [event.id for event in events],
        "days": [event.at.astimezone(UTC).date() for event in events],
        "names": [event.name for event in events],
        "features": [event.feature for event in events],
        "quantities": [event.quantity for event in events],
    }
    bounds = {"tenant": tenant_id, "days": days, "most": MOST_A_DAY, "most_names": MOST_NAMES_A_DAY}
    async with tenant_connection(tenant_id) as connection:
        row = await (await connection.execute(RECORD, told)).fetchone()
        full = await (await connection.execute(FULLEST, bounds)).fetchone()
        if full is not None:  # and nothing of it is written
            what = f"{MOST_A_DAY:,} events" if full[1] > MOST_A_DAY else f"{MOST_NAMES_A_DAY} names of events"
            raise TooManyEvents(f"A day has at most {what}; {full[0]} would have more.")
    return int(row[0]) if row else 0


def prune(*, at: datetime) -> int:
    """Forget the ids of events that are too old to be sent again; their sums stay. How many."""
    from django.db import connection  # noqa: PLC0415 the request path knows no ORM

    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(PRUNE, {"before": (at - KEPT).date(), "chunk": CHUNK})
            if cursor.rowcount == 0:
                return total
            total += cursor.rowcount
