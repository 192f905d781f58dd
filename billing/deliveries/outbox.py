"""The outbox between months and the places that their files go to.

Invariant: an occasion becomes one delivery (unique constraint), which is sent by the one worker whose conditional UPDATE claimed
it, in the one process that has the round's lock. A worker that dies after sending and before recording it is the only way to a
second copy; in a storage or a folder that replaces the first one. What is given up raises an alert.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from django.db import connection
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.timezone import now

from billing.deliveries import sending
from billing.deliveries.calendar import month_before, next_after, occasion_of, of_close
from billing.deliveries.parcels import NotMade, Parcel, gathered
from billing.deliveries.schedules import zone_of
from billing.ledger.periods import period_at
from billing.models import ReportDelivery, ReportSchedule
from billing.notices import notify_operators, notify_tenant

MAX_ATTEMPTS: Final = 8
FIRST_RETRY, LONGEST_RETRY = timedelta(seconds=30), timedelta(hours=1)
LOOK_AGAIN: Final = timedelta(seconds=30)  # whether the files are made
CLAIM: Final = timedelta(minutes=30)  # longer than any delivery may take
BATCH: Final = 10
MOST_OF_A_TENANT: Final = 2  # of those: whoever is slow delays the others once
MOST_DUE: Final = 500
CLOSES_LOOKED_AT: Final = timedelta(days=7)
KEPT_FOR: Final = timedelta(days=400)
PRUNED_AT_ONCE: Final = 10_000
_ROUND: Final = 0x5052  # class of advisory locks
SECRETS: Final = ("access_key", "secret_key")
METRIC: Final = "report_delivery"

# A close counts from when the schedule was made; one that was paused hears of the last days.
QUEUE_CLOSES: Final = """
INSERT INTO billing_reportdelivery (
    schedule_id, tenant_id, occasion, month, state, attempts, next_try_at, files, place, last_error, created_at)
SELECT s.id, s.tenant_id, %(prefix)s || p.label, p.label, 'waiting', 0, %(at)s, '[]', '', '', %(at)s
FROM billing_statement AS t
JOIN billing_billingperiod AS p ON p.id = t.period_id AND p.tenant_id = t.tenant_id
JOIN billing_reportschedule AS s ON s.tenant_id = t.tenant_id AND s.is_active AND s."when" = 'close'
WHERE t.issued_at > %(since)s AND t.issued_at > s.created_at
  AND NOT EXISTS (SELECT FROM billing_reportdelivery AS d WHERE d.schedule_id = s.id AND d.occasion = %(prefix)s || p.label)
ORDER BY t.issued_at LIMIT %(most)s
ON CONFLICT DO NOTHING
"""
# All tenants' month is closed when the last of them is.
QUEUE_PLATFORM_CLOSES: Final = """
INSERT INTO billing_reportdelivery (
    schedule_id, tenant_id, occasion, month, state, attempts, next_try_at, files, place, last_error, created_at)
SELECT s.id, NULL, %(prefix)s || m.label, m.label, 'waiting', 0, %(at)s, '[]', '', '', %(at)s
FROM billing_reportschedule AS s
JOIN (SELECT p.label, max(t.issued_at) AS issued_at FROM billing_statement AS t
      JOIN billing_billingperiod AS p ON p.id = t.period_id WHERE t.issued_at > %(since)s GROUP BY p.label) AS m
  ON m.issued_at > s.created_at
WHERE s.tenant_id IS NULL AND s.is_active AND s."when" = 'close'
  AND NOT EXISTS (SELECT FROM billing_billingperiod AS o WHERE o.label = m.label AND o.status <> 'closed')
  AND NOT EXISTS (SELECT FROM billing_reportdelivery AS d WHERE d.schedule_id = s.id AND d.occasion = %(prefix)s || m.label)
LIMIT %(most)s
ON CONFLICT DO NOTHING
"""
CLAIM_DUE: Final = """
UPDATE billing_reportdelivery SET attempts = attempts + 1, next_try_at = %(until)s
WHERE id IN (
    SELECT id FROM billing_reportdelivery WHERE state = 'pending' AND next_try_at <= %(at)s AND id IN (
        SELECT id FROM (
            SELECT d.id, d.next_try_at, row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.next_try_at, d.id) AS place
            FROM billing_reportdelivery AS d JOIN billing_reportschedule AS s ON s.id = d.schedule_id AND s.is_active
            WHERE d.state = 'pending' AND d.next_try_at <= %(at)s) AS due
        WHERE place <= %(most_of_a_tenant)s ORDER BY place, next_try_at, id LIMIT %(batch)s)
    FOR UPDATE SKIP LOCKED
) RETURNING id
"""

log = structlog.get_logger(__name__)
State, When = ReportDelivery.State, ReportSchedule.When


def deliver_due(*, at: datetime | None = None) -> int:
    """Find what is due, have its files made, send what has them; how many arrived. One process at a time does it."""
    moment = at or now()
    with _alone() as is_ours:
        if not is_ours:
            return 0
        queue_due(at=moment)
        ready = prepare(at=moment)
        return send_due(ready, at=moment)


def queue_due(*, at: datetime) -> None:
    """Insert the deliveries of occasions that are new. A second run adds none."""
    asked: dict[str, Any] = {
        "at": at,
        "since": at - CLOSES_LOOKED_AT,
        "prefix": of_close(""),
        "most": MOST_DUE,
    }
    with connection.cursor() as cursor:
        cursor.execute(QUEUE_CLOSES, asked)
        if ReportSchedule.objects.filter(tenant=None, is_active=True, when=When.CLOSE).exists():
            cursor.execute(QUEUE_PLATFORM_CLOSES, asked)
    due = (
        ReportSchedule.objects.filter(is_active=True, next_at__lte=at)
        .select_related("tenant")
        .defer(*SECRETS)
    )
    for schedule in due.order_by("next_at")[:MOST_DUE]:
        _queue_by_clock(schedule, at=at)


def ask_now(schedule: ReportSchedule, *, month: str, at: datetime | None = None) -> ReportDelivery:
    """Have a month delivered now, beside the schedule's own occasions."""
    moment = at or now()
    delivery, _ = ReportDelivery.objects.get_or_create(
        schedule=schedule, tenant=schedule.tenant, month=month, occasion=f"asked-{moment:%Y%m%dT%H%M%S}",
        defaults={"created_at": moment, "next_try_at": moment},
    )  # fmt: skip
    return delivery


def prepare(*, at: datetime) -> dict[int, list[Parcel]]:
    """Look for the files of deliveries that wait for them, which are pending then; those files, by delivery."""
    waiting = ReportDelivery.objects.filter(
        state=State.WAITING, next_try_at__lte=at, schedule__is_active=True
    )
    waiting = _with_schedules(waiting)
    ready = {}
    for delivery in waiting.order_by("next_try_at")[:MOST_DUE]:
        ours = ReportDelivery.objects.filter(pk=delivery.pk, state=State.WAITING)
        try:
            parcels = gathered(delivery)
        except NotMade as error:
            _give_up(delivery, f"no files: {error}")
            continue
        if parcels:
            ours.update(state=State.PENDING, next_try_at=at)
            ready[delivery.pk] = parcels
        else:
            ours.update(next_try_at=at + LOOK_AGAIN)
    return ready


def send_due(known: dict[int, list[Parcel]], *, at: datetime) -> int:
    """Send what is due, and record what came of it; how many arrived."""
    with connection.cursor() as cursor:
        cursor.execute(
            CLAIM_DUE, {"at": at, "until": at + CLAIM, "batch": BATCH, "most_of_a_tenant": MOST_OF_A_TENANT}
        )
        ids = [row[0] for row in cursor.fetchall()]
    rows = _with_schedules(ReportDelivery.objects.filter(pk__in=ids))
    letters: list[tuple[ReportDelivery, list[Parcel]]] = []
    for delivery in rows.order_by("pk"):
        try:
            parcels = known.get(delivery.pk) or gathered(delivery)
        except NotMade as error:
            _give_up(delivery, f"no files: {error}")
            continue
        if parcels:
            letters.append((delivery, parcels))
        else:  # its files were removed meanwhile, and are made again
            ReportDelivery.objects.filter(pk=delivery.pk).update(state=State.WAITING, next_try_at=at)
    outcomes = sending.send_all(letters)
    for (delivery, parcels), outcome in zip(letters, outcomes, strict=True):
        _record(delivery, parcels, outcome, at=at)
    return sum(outcome.has_arrived for outcome in outcomes)


def retry(delivery: ReportDelivery) -> bool:
    """Have a delivery that was given up tried again from the start. False if it was not given up."""
    dead = ReportDelivery.objects.filter(pk=delivery.pk, state=State.DEAD)
    moment = now()
    return bool(
        dead.update(
            state=State.WAITING, attempts=0, next_try_at=moment, created_at=moment, job=None, last_error=""
        )
    )


def prune(*, at: datetime) -> int:
    """Forget the oldest deliveries that were kept long enough; how many."""
    old = ReportDelivery.objects.filter(
        created_at__lt=at - KEPT_FOR, state__in=(State.DELIVERED, State.DEAD)
    ).order_by("created_at")
    return ReportDelivery.objects.filter(
        pk__in=list(old.values_list("pk", flat=True)[:PRUNED_AT_ONCE])
    ).delete()[0]


def _with_schedules(rows: QuerySet[ReportDelivery]) -> QuerySet[ReportDelivery]:
    """Deliveries with what they need. A secret that cannot be read fails the one that it opens, and no other."""
    return rows.select_related("schedule__tenant", "tenant", "job").defer(
        *(f"schedule__{name}" for name in SECRETS)
    )


def _queue_by_clock(schedule: ReportSchedule, *, at: datetime) -> None:
    """Insert the newest occasion that is due, and set the clock on. What was missed while we were away is not made up for."""
    zone, due = zone_of(schedule), schedule.next_at
    if due is None:
        return
    facts: dict[str, Any] = {
        "when": schedule.when,
        "day": schedule.day,
        "hour": schedule.hour,
        "timezone": zone,
    }
    following = next_after(due, **facts)
    while following is not None and following <= at:
        due, following = following, next_after(following, **facts)
    ReportDelivery.objects.bulk_create(
        [
            ReportDelivery(
                schedule=schedule, tenant=schedule.tenant, month=_month_of(schedule, due),
                occasion=occasion_of(due, when=schedule.when, timezone=zone), created_at=at, next_try_at=at,
            )
        ],
        ignore_conflicts=True,
    )  # fmt: skip
    ReportSchedule.objects.filter(pk=schedule.pk, next_at=schedule.next_at).update(next_at=following)


def _month_of(schedule: ReportSchedule, due: datetime) -> str:
    local = due.astimezone(ZoneInfo(zone_of(schedule)))
    if schedule.when == When.MONTHLY:
        return month_before(local)
    return period_at(schedule.tenant, at=due).label if schedule.tenant else f"{local:%Y-%m}"


def _record(
    delivery: ReportDelivery, parcels: Sequence[Parcel], outcome: sending.Outcome, *, at: datetime
) -> None:
    """Write what came of an attempt, unless its claim ran out and another worker has it now."""
    if outcome.has_arrived:
        ours = ReportDelivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts, state=State.PENDING)
        files = [
            {"source": one.source, "id": one.id, "name": one.name, "bytes": one.size, "sha256": one.sha256}
            for one in parcels
        ]
        ours.update(
            state=State.DELIVERED, delivered_at=now(), files=files, place=outcome.place[:500], last_error=""
        )
        log.info("report_delivered", delivery=delivery.pk, tenant=delivery.tenant_id, files=len(files))
        return
    log.warning(
        "report_not_delivered", delivery=delivery.pk, attempts=delivery.attempts, error=outcome.problem
    )
    if delivery.attempts >= MAX_ATTEMPTS:
        _give_up(delivery, outcome.problem)
        return
    ReportDelivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts, state=State.PENDING).update(
        next_try_at=at + _pause(delivery.attempts), last_error=outcome.problem[:500]
    )


def _give_up(delivery: ReportDelivery, problem: str) -> None:
    """End a delivery, and tell those whose it is."""
    ours = ReportDelivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts)
    if not ours.filter(state__in=(State.WAITING, State.PENDING)).update(
        state=State.DEAD, last_error=problem[:500]
    ):
        return
    what = f"{delivery.schedule.name}, {delivery.month}, was not delivered: {problem}"[:500]
    link = reverse("admin:billing_reportdelivery_change", args=(delivery.pk,))
    subject = f"{METRIC}:{delivery.schedule_id}"
    window = f"{delivery.occasion}:{delivery.created_at:%Y%m%dT%H%M%S}"
    if delivery.tenant_id is None:
        notify_operators(METRIC, what, subject=subject, window=window, link=link)
        return
    notify_tenant(
        delivery.tenant_id, METRIC, what, subject=subject, window=window,
        value=Decimal(delivery.attempts), threshold=Decimal(0), link=link,
    )  # fmt: skip


def _pause(attempts: int) -> timedelta:
    """Exponential, with jitter, so that many deliveries to one dead receiver do not come back together."""
    pause = min(FIRST_RETRY * 2 ** min(attempts - 1, 20), LONGEST_RETRY)
    return timedelta(seconds=pause.total_seconds() * random.uniform(0.5, 1.0))


@contextmanager
def _alone() -> Iterator[bool]:
    """Whether this process is the one that delivers now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, 0)", [_ROUND])
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours and connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, 0)", [_ROUND])
