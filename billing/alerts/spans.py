"""Sums the ledger in spans of five minutes, for the watches that need more than days.

Invariant: a span equals the ledger as soon as nothing new comes for it. Each run sums what may still change: the last quarter
of an hour, once an hour the last three hours, because a long answer is booked at the moment its request came, and once a day
the last two days, because of corrections.
"""

import time
from datetime import datetime, timedelta
from typing import Final

from django.db import connection, transaction

from billing.ledger.measures import HIT, REQUEST, ledger
from billing.ledger.rollups import NO_NESTED_LOOP
from billing.models import UsageSpan, WatchClock

SPAN: Final = timedelta(minutes=5)
KEPT: Final = timedelta(days=45)
FILLED: Final = timedelta(days=15)  # of a new installation, or after a long pause
LONGEST_STEP: Final = timedelta(hours=12)  # of one run
UNSETTLED, LATE, CORRECTED = timedelta(minutes=15), timedelta(hours=3), timedelta(days=2)
MOST_SECONDS: Final = 30.0  # of one run
CLOCK: Final = "usage_spans"

LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtext('billing_usage_spans'))"
CLEAR: Final = "DELETE FROM billing_usagespan WHERE at >= %(since)s AND at < %(until)s"
_TIME: Final = "r.occurred_at >= %(since)s AND r.occurred_at < %(until)s"
SUM: Final = f"""
INSERT INTO billing_usagespan (tenant_id, at, billed_usd, dearest_usd, requests, hits, unread, unpriced)
SELECT r.tenant_id, date_bin('5 minutes', r.occurred_at, 'epoch'), sum(r.billed_cost), greatest(max(r.billed_cost), 0),
       count(*) FILTER (WHERE {REQUEST}), count(*) FILTER (WHERE {HIT}),
       count(*) FILTER (WHERE r.certainty = 'unread'), count(*) FILTER (WHERE r.price_status = 'unpriced')
FROM {ledger(_TIME)}
WHERE {_TIME}
GROUP BY 1, 2
"""


def catch_up(*, at: datetime) -> bool:
    """Sum up to a moment, in steps; False if it took too long, or another worker is at it: the next run goes on."""
    until = time.monotonic() + MOST_SECONDS
    while (done := refresh(at=at)) and done < at.replace(microsecond=0) and time.monotonic() < until:
        pass
    return done is not None and done >= at.replace(microsecond=0)


def refresh(*, at: datetime) -> datetime | None:
    """Sum what is new, one step of it; returns up to when the spans are complete, None while another worker is at it."""
    at = at.replace(microsecond=0)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK)
        if not cursor.fetchone()[0]:
            return None
        clock = WatchClock.objects.filter(name=CLOCK).first()
        done = max(clock.at, at - FILLED) if clock else at - FILLED
        changing = CORRECTED if done.date() != at.date() else LATE if done.hour != at.hour else UNSETTLED
        since = floor(min(done, at) - changing)
        until = max(done, since) + LONGEST_STEP
        until = at + SPAN if until >= at else until
        cursor.execute(NO_NESTED_LOOP)
        cursor.execute(CLEAR, {"since": since, "until": until})
        cursor.execute(SUM, {"since": since, "until": until})
        done = min(until, at)
        WatchClock.objects.update_or_create(name=CLOCK, defaults={"at": done})
        return done


def floor(at: datetime) -> datetime:
    """The first moment of a moment's span."""
    return at.replace(minute=at.minute - at.minute % 5, second=0, microsecond=0)


def prune(*, at: datetime) -> int:
    """Delete spans that no watch and no preview reads any more; how many."""
    return int(UsageSpan.objects.filter(at__lt=at - KEPT).delete()[0])
