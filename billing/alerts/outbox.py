"""Delivers alerts to people: the outbox between an alert and the channels.

Invariant: of each notice (it began, it is ten times worse, it is over) a channel gets at most one delivery (unique constraint),
and a delivery is sent by the one worker whose conditional UPDATE claimed it. A worker that dies after sending and before
recording it is the only way to a second copy; it carries the same id, by which receivers drop it. A channel that keeps failing
is left alone for a while, and then tried with one delivery: it delays no other channel.
"""

import random
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db import connection
from django.utils.timezone import now

from billing import incidents
from billing.alerts import sending
from billing.alerts.findings import count_findings
from billing.alerts.messages import body_of, message_id
from billing.alerts.metrics import METRICS
from billing.models import AlertChannel, AlertDelivery

MAX_ATTEMPTS = 8
FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
# Longer than any send takes: within it a claimed delivery belongs to its worker alone.
CLAIM = timedelta(minutes=5)
BATCH = 100
MOST_OF_A_CHANNEL: Final = 10  # of those
BREAKS_AFTER: Final = 5  # failures of a channel in a row
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)

# An alert older than this is not sent to channels any more; the admin still shows it.
FRESH = timedelta(days=1)
MOST_QUEUED: Final = 5_000

# An alert of a rule goes to the rule's channels (if it has none, only the admin shows it); one without a rule, such as a
# budget's share, goes to all channels of its tenant that were there when it happened. The operators' alerts and channels have
# no tenant. Nothing is sent of what is muted. That it is worse or over is told to those who were told that it began.
QUEUE_OPENED = """
INSERT INTO billing_alertdelivery (event_id, channel_id, notice, level, status, attempts, next_try_at, last_error, created_at)
SELECT event.id, channel.id, 'opened', 0, 'pending', 0, %(at)s, '', %(at)s
FROM billing_alertevent AS event
JOIN billing_alertchannel AS channel
  ON channel.tenant_id IS NOT DISTINCT FROM event.tenant_id AND channel.is_active AND channel.created_at <= event.fired_at
WHERE event.fired_at > %(fresh_since)s AND (event.muted_until IS NULL OR event.muted_until <= %(at)s)
  AND (event.rule_id IS NULL OR EXISTS (
    SELECT FROM billing_alertrule_channels AS link
    WHERE link.alertrule_id = event.rule_id AND link.alertchannel_id = channel.id))
  AND NOT EXISTS (
    SELECT FROM billing_alertdelivery AS delivery
    WHERE delivery.event_id = event.id AND delivery.channel_id = channel.id AND delivery.notice = 'opened')
ORDER BY event.id LIMIT %(most)s
ON CONFLICT DO NOTHING
"""
QUEUE_FURTHER = """
INSERT INTO billing_alertdelivery (event_id, channel_id, notice, level, status, attempts, next_try_at, last_error, created_at)
SELECT event.id, told.channel_id, further.notice, further.level, 'pending', 0, %(at)s, '', %(at)s
FROM billing_alertevent AS event
JOIN billing_alertdelivery AS told ON told.event_id = event.id AND told.notice = 'opened' AND told.status = 'delivered'
JOIN billing_alertchannel AS channel ON channel.id = told.channel_id AND channel.is_active
CROSS JOIN LATERAL (
    SELECT 'worse' AS notice, event.level WHERE event.level > 0 AND event.resolved_at IS NULL
    UNION ALL
    SELECT 'resolved', 0
    WHERE event.resolved_at > %(fresh_since)s AND (event.resolved_by_id IS NOT NULL OR event.metric <> ALL (%(quiet_ends)s))
) AS further
WHERE (event.last_at > %(fresh_since)s OR event.resolved_at > %(fresh_since)s)
  AND (event.muted_until IS NULL OR event.muted_until <= %(at)s)
  AND NOT EXISTS (
    SELECT FROM billing_alertdelivery AS delivery
    WHERE delivery.event_id = event.id AND delivery.channel_id = told.channel_id AND delivery.notice = further.notice
      AND delivery.level = further.level)
ORDER BY event.id LIMIT %(most)s
ON CONFLICT DO NOTHING
"""
QUIET_ENDS: Final = sorted(name for name, facts in METRICS.items() if not facts.says_end)

# The condition is what claims: of two workers one updates the row, and the other no longer finds it due. Of a channel that
# keeps failing one delivery at a time is tried.
CLAIM_DUE = """
UPDATE billing_alertdelivery SET attempts = attempts + 1, next_try_at = %(claimed_until)s
WHERE id IN (
    SELECT id FROM billing_alertdelivery WHERE status = 'pending' AND next_try_at <= %(at)s AND id IN (
        SELECT id FROM (
            SELECT d.id, d.next_try_at, c.failures,
                   row_number() OVER (PARTITION BY d.channel_id ORDER BY d.next_try_at, d.id) AS place
            FROM billing_alertdelivery d JOIN billing_alertchannel c ON c.id = d.channel_id
            WHERE d.status = 'pending' AND d.next_try_at <= %(at)s AND (c.paused_until IS NULL OR c.paused_until <= %(at)s)) due
        WHERE place <= CASE WHEN failures >= %(breaks_after)s THEN 1 ELSE %(most_of_a_channel)s END
        ORDER BY place, next_try_at, id LIMIT %(batch)s)
    FOR UPDATE SKIP LOCKED
) RETURNING id
"""

log = structlog.get_logger(__name__)
Status = AlertDelivery.Status


def deliver_due(*, at: datetime | None = None) -> int:
    """Count what settlements found, queue the notices that are new, send what is due, and return how many arrived.

    Safe to run in any number of workers at the same time. Webhooks go out concurrently, so a slow receiver delays no
    other. Sends at most BATCH deliveries; call it again while it returns that many.
    """
    at = at or now()
    notice_shards()
    count_findings()
    incidents.resolve_ended(at=at)
    queue_deliveries(at=at)
    claimed = claim_due(at=at)
    letters = [
        sending.Letter(one.channel, message_id(one.event, notice=one.notice, level=one.level), body_of(one))
        for one in claimed
    ]
    problems = sending.send(letters, at=at)
    for delivery, problem in zip(claimed, problems, strict=True):
        _record(delivery, problem, at=at)
    return problems.count("")


def notice_shards() -> None:
    """Write the events of budgets whose shards passed a threshold together, none of them seeing the others."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_alert_shards()")


def queue_deliveries(*, at: datetime) -> int:
    """Insert the deliveries of notices that are new, and return how many. A second run adds none."""
    asked: dict[str, Any] = {
        "at": at,
        "fresh_since": at - FRESH,
        "quiet_ends": QUIET_ENDS,
        "most": MOST_QUEUED,
    }
    with connection.cursor() as cursor:
        cursor.execute(QUEUE_OPENED, asked)
        opened = cursor.rowcount
        cursor.execute(QUEUE_FURTHER, asked)
        return int(opened + cursor.rowcount)


def claim_due(*, at: datetime) -> list[AlertDelivery]:
    """Take the due deliveries for this worker and count the attempt; no other worker gets them within CLAIM."""
    asked: dict[str, Any] = {
        "at": at,
        "claimed_until": at + CLAIM,
        "batch": BATCH,
        "breaks_after": BREAKS_AFTER,
        "most_of_a_channel": MOST_OF_A_CHANNEL,
    }
    with connection.cursor() as cursor:
        cursor.execute(CLAIM_DUE, asked)
        ids = [row[0] for row in cursor.fetchall()]
    deliveries = AlertDelivery.objects.select_related("event__tenant", "event__budget", "channel").order_by(
        "pk"
    )
    return list(deliveries.filter(pk__in=ids))


def retry(delivery: AlertDelivery) -> bool:
    """Have a dead delivery tried again from the start, also if its channel is left alone. False if it is not dead."""
    dead = AlertDelivery.objects.filter(pk=delivery.pk, status=Status.DEAD)
    if not dead.update(status=Status.PENDING, attempts=0, next_try_at=now()):
        return False
    AlertChannel.objects.filter(pk=delivery.channel_id).update(paused_until=None)
    return True


def _record(delivery: AlertDelivery, problem: str, *, at: datetime) -> None:
    """Write the result of a delivery, unless its claim ran out and another worker has it now."""
    _judge(delivery.channel, problem, at=at)
    ours = AlertDelivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts, status=Status.PENDING)
    if not problem:
        ours.update(status=Status.DELIVERED, delivered_at=at, last_error="")
        return
    is_dead = delivery.attempts >= MAX_ATTEMPTS
    ours.update(
        status=Status.DEAD if is_dead else Status.PENDING,
        next_try_at=at + _pause(delivery.attempts, first=FIRST_RETRY, longest=LONGEST_RETRY),
        last_error=problem[:500],
    )
    log.warning(
        "alert_not_delivered",
        delivery=delivery.pk,
        channel=delivery.channel.name,
        attempts=delivery.attempts,
        is_dead=is_dead,
        error=problem,
    )


def _judge(channel: AlertChannel, problem: str, *, at: datetime) -> None:
    """Count the failures of a channel in a row, and leave it alone for a while when there are too many."""
    channels = AlertChannel.objects.filter(pk=channel.pk)
    if not problem:
        channels.exclude(failures=0).update(failures=0, paused_until=None)
        return
    failures = min(channel.failures + 1, 1_000)  # those that were sent together count as one
    beyond, paused_until = failures - BREAKS_AFTER, None
    if beyond >= 0:
        paused_until = at + _pause(beyond + 1, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
    channels.update(failures=failures, paused_until=paused_until)


def _pause(attempts: int, *, first: timedelta, longest: timedelta) -> timedelta:
    """Exponential, with jitter, so that many deliveries to one dead receiver do not come back together."""
    pause = min(first * 2 ** min(attempts - 1, 20), longest)
    return timedelta(seconds=pause.total_seconds() * random.uniform(0.5, 1.0))
