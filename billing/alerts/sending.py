"""Sends notices to channels: webhooks at the same time, e-mails one by one.

Invariant: a result for each notice, and no exception: what a receiver or a mail server does wrong is the result's text.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from smtplib import SMTPException

import aiohttp
from django.utils.timezone import now

from billing.alerts import messages
from billing.alerts import webhook as alert_webhook
from billing.alerts.messages import AlertBody
from billing.models import AlertChannel, AlertEvent

Kind = AlertChannel.Kind


@dataclass(frozen=True, slots=True)
class Letter:
    """One notice for one channel."""

    channel: AlertChannel
    message_id: str
    body: AlertBody


def send(letters: Sequence[Letter], *, at: datetime) -> list[str]:
    """Send letters; what was wrong with each of them, in their order, empty where it arrived."""
    posted = [letter for letter in letters if letter.channel.kind != Kind.EMAIL]
    answers = iter(asyncio.run(_post_all(posted, at=at)) if posted else ())
    return [_mail(letter) if letter.channel.kind == Kind.EMAIL else next(answers) for letter in letters]


def send_test(channel: AlertChannel) -> str:
    """Send a test to a channel now; what was wrong, empty if it arrived."""
    at = now()
    event = AlertEvent(
        tenant=channel.tenant, metric="test", value=Decimal(0), threshold=Decimal(0), subject_key="test", fired_at=at, last_at=at,
        message=f"The channel {channel.name} works: alerts arrive here",
    )  # fmt: skip
    body = messages.event_body(event, notice="test")
    return send([Letter(channel, f"test-{int(at.timestamp())}", body)], at=at)[0]


async def _post_all(letters: Sequence[Letter], *, at: datetime) -> list[str]:
    async with alert_webhook.open_session() as session:
        return list(await asyncio.gather(*(_post(session, letter, at=at) for letter in letters)))


async def _post(session: aiohttp.ClientSession, letter: Letter, *, at: datetime) -> str:
    is_slack = letter.channel.kind == Kind.SLACK
    content = messages.slack_body(letter.body) if is_slack else letter.body
    webhook = alert_webhook.Webhook(
        url=letter.channel.target,
        secret="" if is_slack else letter.channel.secret,
        event_id=letter.message_id,
        body=json.dumps(content, ensure_ascii=False).encode(),
    )
    try:
        await alert_webhook.post(session, webhook, at=int(at.timestamp()))
    except alert_webhook.WebhookFailed as failure:
        return str(failure) or type(failure).__name__
    return ""


def _mail(letter: Letter) -> str:
    message = messages.mail(letter.body, to=letter.channel.target, message_id=letter.message_id)
    try:
        message.send()
    except (OSError, SMTPException) as error:
        return str(error) or type(error).__name__
    return ""
