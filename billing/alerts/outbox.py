"""Delivers alerts to people: the outbox between an event in the ledger's transaction and the channels.

Invariant: an event has at most one delivery per channel (unique constraint), and a delivery is sent by the
one worker whose conditional UPDATE claimed it. A worker that dies after sending and before recording it is the
only way to a second copy; it carries the same event id, by which receivers drop it.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from smtplib import SMTPException
from typing import Literal, TypedDict

import aiohttp
import structlog
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core.mail import EmailMultiAlternatives
from django.db import connection
from django.template.loader import render_to_string
from django.utils.timezone import now

from billing.alerts import operators as operator_alerts
from billing.alerts import webhook as alert_webhook
from billing.models import AlertDelivery, AlertEvent, Budget

MAX_ATTEMPTS = 8
FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
# Longer than any send takes: within it a claimed delivery belongs to its worker alone.
CLAIM = timedelta(minutes=5)
BATCH = 100

# An event older than this is not sent to channels any more; the admin still shows it.
FRESH = timedelta(days=1)

# An event of a rule goes to the rule's channels (if it has none, only the admin shows it); an event
# without a rule, such as a budget's share, goes to all channels of its tenant that were there when it happened. The
# operators' events and channels have no tenant.
QUEUE = """
INSERT INTO billing_alertdelivery (event_id, channel_id, status, attempts, next_try_at, last_error, created_at)
SELECT event.id, channel.id, 'pending', 0, %(at)s, '', %(at)s
FROM billing_alertevent AS event
JOIN billing_alertchannel AS channel
  ON channel.tenant_id IS NOT DISTINCT FROM event.tenant_id AND channel.is_active AND channel.created_at <= event.fired_at
WHERE event.fired_at > %(fresh_since)s
  AND (event.rule_id IS NULL OR EXISTS (
    SELECT FROM billing_alertrule_channels AS link
    WHERE link.alertrule_id = event.rule_id AND link.alertchannel_id = channel.id))
  AND NOT EXISTS (
    SELECT FROM billing_alertdelivery AS delivery
    WHERE delivery.event_id = event.id AND delivery.channel_id = channel.id)
ON CONFLICT (event_id, channel_id) DO NOTHING
"""

# The condition is what claims: of two workers one updates the row, and the other no longer finds it due.
CLAIM_DUE = """
UPDATE billing_alertdelivery SET attempts = attempts + 1, next_try_at = %(claimed_until)s
WHERE id IN (
    SELECT id FROM billing_alertdelivery WHERE status = 'pending' AND next_try_at <= %(at)s
    ORDER BY next_try_at, id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
) RETURNING id
"""

log = structlog.get_logger(__name__)
Status = AlertDelivery.Status


class AlertLimit(TypedDict):
    """The budget that an alert is about."""

    label: str
    scope: str
    value: str
    unit: str
    period: str
    amount: str
    mode: str


class AlertWindow(TypedDict):
    """The window of that budget, by its key, and the tenant's time zone."""

    key: str
    timezone: str


class AlertBody(TypedDict):
    """What is sent about an event: the webhook's JSON, and the e-mail's variables. Amounts are exact decimals as text;
    `tenant` is a slug, None for the operators' own; `link` the page of the admin that shows it, if there is one."""

    id: str
    type: Literal["alert"]
    tenant: str | None
    metric: str
    value: str
    threshold: str
    message: str
    link: str
    subject: str
    limit: AlertLimit | None
    window: AlertWindow
    fired_at: str


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of one claimed delivery; no error means delivered."""

    delivery: AlertDelivery
    error: str = ""


def deliver_due(*, at: datetime | None = None) -> int:
    """Queue the deliveries of new events, send what is due, and return how many arrived.

    Safe to run in any number of workers at the same time. Webhooks go out concurrently, so a slow receiver delays no
    other. Sends at most BATCH deliveries; call it again while it returns that many.
    """
    at = at or now()
    notice_shards()
    operator_alerts.pass_on(at=at, since=at - FRESH)
    queue_deliveries(at=at)
    claimed = claim_due(at=at)
    results = [*asyncio.run(_post_all([d for d in claimed if d.channel.kind == "webhook"], at=at))]
    results += [_mail(delivery) for delivery in claimed if delivery.channel.kind == "email"]
    for result in results:
        _record(result, at=at)
    return sum(not result.error for result in results)


def notice_shards() -> None:
    """Write the events of budgets whose shards passed a threshold together, none of them seeing the others."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_alert_shards()")


def queue_deliveries(*, at: datetime) -> int:
    """Insert a delivery for each channel of each new event, and return how many. A second run adds none."""
    with connection.cursor() as cursor:
        cursor.execute(QUEUE, {"at": at, "fresh_since": at - FRESH})
        return int(cursor.rowcount)


def claim_due(*, at: datetime) -> list[AlertDelivery]:
    """Take the due deliveries for this worker and count the attempt; no other worker gets them within CLAIM."""
    with connection.cursor() as cursor:
        cursor.execute(CLAIM_DUE, {"at": at, "claimed_until": at + CLAIM, "batch": BATCH})
        ids = [row[0] for row in cursor.fetchall()]
    deliveries = AlertDelivery.objects.select_related("event__tenant", "event__budget", "channel").order_by(
        "pk"
    )
    return list(deliveries.filter(pk__in=ids))


def acknowledge(event: AlertEvent, *, acting_user: AbstractBaseUser) -> bool:
    """Note who has acknowledged an alert. False if it was acknowledged before."""
    unseen = AlertEvent.objects.filter(pk=event.pk, acknowledged_at=None)
    return bool(unseen.update(acknowledged_at=now(), acknowledged_by=acting_user))


def retry(delivery: AlertDelivery) -> bool:
    """Have a dead delivery tried again from the start. False if it is not dead."""
    dead = AlertDelivery.objects.filter(pk=delivery.pk, status=Status.DEAD)
    return bool(dead.update(status=Status.PENDING, attempts=0, next_try_at=now()))


def event_body(event: AlertEvent) -> AlertBody:
    """What is sent about an event."""
    return {
        "id": str(event.pk),
        "type": "alert",
        "tenant": event.tenant.slug if event.tenant else None,
        "metric": event.metric,
        "value": _plain(event.value),
        "threshold": _plain(event.threshold),
        "message": event.message,
        "link": f"{settings.SITE_URL}{event.link}" if event.link else "",
        "subject": event.subject_key,
        "limit": _limit(event.budget) if event.budget else None,
        "window": {"key": event.window_key, "timezone": event.tenant.timezone if event.tenant else "UTC"},
        "fired_at": event.fired_at.isoformat(timespec="seconds"),
    }


def _limit(budget: Budget) -> AlertLimit:
    return {
        "label": str(budget),
        "scope": budget.scope,
        "value": budget.value,
        "unit": budget.unit,
        "period": budget.period,
        "amount": _plain(budget.limit_amount),
        "mode": budget.mode,
    }


async def _post_all(deliveries: Sequence[AlertDelivery], *, at: datetime) -> list[DeliveryResult]:
    if not deliveries:
        return []
    async with alert_webhook.open_session() as session:
        return list(await asyncio.gather(*(_post(session, delivery, at=at) for delivery in deliveries)))


async def _post(session: aiohttp.ClientSession, delivery: AlertDelivery, *, at: datetime) -> DeliveryResult:
    webhook = alert_webhook.Webhook(
        url=delivery.channel.target,
        secret=delivery.channel.secret,
        event_id=str(delivery.event_id),
        body=json.dumps(event_body(delivery.event), ensure_ascii=False).encode(),
    )
    try:
        await alert_webhook.post(session, webhook, at=int(at.timestamp()))
    except alert_webhook.WebhookFailed as failure:
        return DeliveryResult(delivery, str(failure))
    return DeliveryResult(delivery)


def _mail(delivery: AlertDelivery) -> DeliveryResult:
    body = event_body(delivery.event)
    message = EmailMultiAlternatives(
        subject=" ".join(f"[{body['tenant'] or 'operators'}] {body['message']}".split())[:200],
        body=render_to_string("email/alert.txt", body),
        to=[delivery.channel.target],
        headers={alert_webhook.EVENT_ID_HEADER: body["id"]},
    )
    message.attach_alternative(render_to_string("email/alert.html", body), "text/html")
    try:
        message.send()
    except (OSError, SMTPException) as error:
        return DeliveryResult(delivery, str(error) or type(error).__name__)
    return DeliveryResult(delivery)


def _record(result: DeliveryResult, *, at: datetime) -> None:
    """Write the result of a delivery, unless its claim ran out and another worker has it now."""
    delivery = result.delivery
    ours = AlertDelivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts, status=Status.PENDING)
    if not result.error:
        ours.update(status=Status.DELIVERED, delivered_at=at, last_error="")
        return
    is_dead = delivery.attempts >= MAX_ATTEMPTS
    ours.update(
        status=Status.DEAD if is_dead else Status.PENDING,
        next_try_at=at + _pause(delivery.attempts),
        last_error=result.error[:500],
    )
    log.warning(
        "alert_not_delivered",
        delivery=delivery.pk,
        channel=delivery.channel.name,
        attempts=delivery.attempts,
        is_dead=is_dead,
        error=result.error,
    )


def _pause(attempts: int) -> timedelta:
    """Exponential, with jitter, so that many deliveries to one dead receiver do not come back together."""
    pause = min(FIRST_RETRY * 2 ** (attempts - 1), LONGEST_RETRY)
    return timedelta(seconds=pause.total_seconds() * random.uniform(0.5, 1.0))


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
