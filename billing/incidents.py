"""What becomes of an alert that is open: people acknowledge, mute or resolve it, or it ends by itself.

Invariant: each verb is one conditional UPDATE and one step of the alert's history, in one transaction; of two people who press
at the same time one is told that it was done.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q
from django.utils.timezone import now

from billing.models import AlertDelivery, AlertEvent, AlertStep
from tenants.people import audit

Verb = AlertStep.Verb
STATES: Final = ("open", "acknowledged", "muted", "resolved")
LONGEST_MUTE: Final = timedelta(days=365)
STALE: Final = timedelta(days=30)  # nobody took care of it, and nothing came again
KEPT: Final = timedelta(days=180)  # after it was resolved
CHUNK: Final = 1_000

# Of what is over by itself the step says why.
RESOLVE_ENDED: Final = """
WITH ended AS (
    UPDATE billing_alertevent SET resolved_at = %(at)s
    WHERE id IN (
        SELECT id FROM billing_alertevent
        WHERE resolved_at IS NULL AND coalesce(ends_at, last_at + make_interval(days => %(stale_days)s)) <= %(at)s
        ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id, tenant_id, is_grouped, last_at)
INSERT INTO billing_alertstep (event_id, tenant_id, at, verb, text)
SELECT id, tenant_id, %(at)s, 'resolved', CASE WHEN is_grouped
    THEN 'not seen since ' || to_char(last_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC' ELSE 'its time is over' END
FROM ended
"""


def in_state(state: str) -> Q:
    """The alerts whose `state` is this."""
    is_muted = Q(muted_until__gt=now())
    match state:
        case "resolved":
            return Q(resolved_at__isnull=False)
        case "muted":
            return Q(resolved_at=None) & is_muted
        case "acknowledged":
            return Q(resolved_at=None, acknowledged_at__isnull=False) & ~is_muted
        case "open":
            return Q(resolved_at=None, acknowledged_at=None) & ~is_muted
    raise ValueError(f"An alert is {', '.join(STATES)}.")


def acknowledge(event: AlertEvent, *, acting_user: User) -> bool:
    """Note who takes care of an alert. False if somebody did before, or it is over."""
    return _step(
        event,
        Q(acknowledged_at=None, resolved_at=None),
        Verb.ACKNOWLEDGED,
        by=acting_user,
        acknowledged_at=now(),
        acknowledged_by=acting_user,
    )


def resolve(event: AlertEvent, *, acting_user: User | None, text: str = "") -> bool:
    """End an alert. While its condition goes on it is not opened again. False if it was over."""
    return _step(
        event,
        Q(resolved_at=None),
        Verb.RESOLVED,
        by=acting_user,
        text=text,
        resolved_at=now(),
        resolved_by=acting_user,
    )


def mute(event: AlertEvent, *, until: datetime, acting_user: User) -> bool:
    """Send nothing about this rule and subject until then, also when it ends and comes again. False if it is over."""
    at = now()
    if until <= at or until > at + LONGEST_MUTE:
        raise ValueError(f"A mute ends in the future, within {LONGEST_MUTE.days} days.")
    text = f"until {until:%Y-%m-%d %H:%M} UTC"
    return _step(event, Q(resolved_at=None), Verb.MUTED, by=acting_user, text=text, muted_until=until)


def unmute(event: AlertEvent, *, acting_user: User) -> bool:
    """Send notices about it again. False if it is not muted."""
    return _step(event, Q(muted_until__gt=now()), Verb.UNMUTED, by=acting_user, muted_until=None)


def resolve_ended(*, at: datetime | None = None) -> int:
    """Resolve what was not seen for its quiet time, whose window is over, or that is stale; how many, at most CHUNK."""
    with connection.cursor() as cursor:
        cursor.execute(RESOLVE_ENDED, {"at": at or now(), "stale_days": STALE.days, "limit": CHUNK})
        return int(cursor.rowcount)


def resolve_where(condition: Q, *, text: str) -> int:
    """Resolve by itself what a watch found to be over; how many, at most CHUNK."""
    over = AlertEvent.objects.filter(condition, resolved_at=None).order_by("pk")[:CHUNK]
    return sum(resolve(event, acting_user=None, text=text) for event in over)


def prune(*, at: datetime | None = None) -> int:
    """Delete alerts that were resolved long ago, with their deliveries; how many."""
    before, total = (at or now()) - KEPT, 0
    while pks := list(AlertEvent.objects.filter(resolved_at__lt=before).values_list("pk", flat=True)[:CHUNK]):
        with transaction.atomic():
            AlertDelivery.objects.filter(event__in=pks).delete()
            total += AlertEvent.objects.filter(pk__in=pks).delete()[1].get(AlertEvent._meta.label, 0)
    return total


@transaction.atomic
def _step(
    event: AlertEvent,
    condition: Q,
    verb: str,
    *,
    by: User | None,
    text: str = "",
    **changes: Any,
) -> bool:
    if not AlertEvent.objects.filter(condition, pk=event.pk).update(**changes):
        return False
    AlertStep.objects.create(event=event, tenant_id=event.tenant_id, verb=verb, by=by, text=text[:300])
    if by is not None:
        audit.changed_in_bulk(event, person=by, reason=text, **changes)
    return True
