"""What is sent about an alert: the JSON of signed webhooks, the text of Slack-compatible ones, and e-mails.

Invariant: pure functions of an alert and a notice. Every text says what, whose, how much, why, and where to look; texts that a
tenant chose are escaped, so that nobody is mentioned and no link is made by them.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypedDict
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse

from billing.alerts.metrics import facts_of, sentence_of, with_unit
from billing.models import AlertDelivery, AlertEvent, Budget

EVENT_ID_HEADER: Final = "x-purser-event-id"
LONGEST_SUBJECT: Final = 200
LONGEST_SLACK: Final = 2_900  # of one block's text

Notice = Literal["opened", "worse", "resolved", "test"]
_HEADS: Final[dict[str, str]] = {
    "opened": "Alert",
    "worse": "Ten times worse",
    "resolved": "Resolved",
    "test": "Test of this channel",
}


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
    """What is sent about an alert: the webhook's JSON, and the e-mail's variables. Amounts are exact decimals as text.

    `tenant` is a slug, None for the operators' own; `link` the page that shows what it is about, `alert_link` the alert's own,
    where it is acknowledged. `facts` are of the worst that was seen: request, user, key, model and so on.
    """

    id: str
    type: Literal["alert"]
    notice: str
    tenant: str | None
    metric: str
    title: str
    rule: str
    value: str
    value_text: str
    threshold: str
    message: str
    count: int
    link: str
    alert_link: str
    portal_link: str
    subject: str
    facts: dict[str, Any]
    limit: AlertLimit | None
    window: AlertWindow
    fired_at: str
    last_at: str
    resolved_at: str | None


def message_id(event: AlertEvent, *, notice: str, level: int) -> str:
    """The id of a notice: the same in every copy, by which receivers drop further ones."""
    return f"{event.pk}" if notice == "opened" else f"{event.pk}-{notice}{f'-{level}' if level else ''}"


def event_body(event: AlertEvent, *, notice: str = "opened") -> AlertBody:
    """What is sent about an alert."""
    return {
        "id": str(event.pk or notice),
        "type": "alert",
        "notice": notice,
        "tenant": event.tenant.slug if event.tenant else None,
        "metric": event.metric,
        "title": facts_of(event.metric).title or event.metric,
        "rule": sentence_of(event.metric, event.threshold),
        "value": _plain(event.value),
        "value_text": with_unit(event.metric, event.value),
        "threshold": _plain(event.threshold),
        "message": event.message,
        "count": event.count,
        "link": _absolute(_subject_page(event)),
        "alert_link": _absolute(_page(event)),
        "portal_link": _absolute(_portal_page(event)),
        "subject": event.subject_key,
        "facts": event.facts,
        "limit": _limit(event.budget) if event.budget else None,
        "window": {"key": event.window_key, "timezone": event.tenant.timezone if event.tenant else "UTC"},
        "fired_at": event.fired_at.isoformat(timespec="seconds"),
        "last_at": event.last_at.isoformat(timespec="seconds"),
        "resolved_at": event.resolved_at.isoformat(timespec="seconds") if event.resolved_at else None,
    }


def headline(body: AlertBody) -> str:
    """One line: what kind of notice, whose, and what."""
    times = f" ({body['count']:,} times)" if body["count"] > 1 else ""
    head = "" if body["notice"] == "opened" else f"{_HEADS[body['notice']]}: "
    return " ".join(f"[{body['tenant'] or 'operators'}] {head}{body['message']}{times}".split())


def slack_body(body: AlertBody) -> dict[str, Any]:
    """The same for Slack and what speaks like it; `text` is what a notification shows."""
    links = [
        f"<{url}|{label}>"
        for url, label in (
            (body["alert_link"], "Acknowledge"),
            (body["link"], "Look at it"),
            (body["portal_link"], "Portal"),
        )
        if url
    ]
    facts = [
        f"*{name}* {_for_slack(text)}"
        for name, text in (
            ("Whose", body["tenant"] or "operators"),
            ("Value", body["value_text"]),
            ("Why", body["rule"]),
            ("First seen", _on_the_clock(body["fired_at"], body)),
        )
        if text
    ]
    text = _for_slack(headline(body))[:LONGEST_SLACK]
    lines = "\n".join([*facts, " · ".join(links)])[:LONGEST_SLACK]
    return {
        "text": text,
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": f"*{text}*"}},
            {"type": "section", "text": {"type": "mrkdwn", "text": lines}},
        ],
    }


def mail(body: AlertBody, *, to: str, message_id: str) -> EmailMultiAlternatives:
    """The same as an e-mail."""
    written = {
        **body,
        "head": _HEADS[body["notice"]],
        "fired_at": _on_the_clock(body["fired_at"], body),
        "last_at": _on_the_clock(body["last_at"], body),
        "resolved_at": _on_the_clock(body["resolved_at"], body),
    }
    message = EmailMultiAlternatives(
        subject=headline(body)[:LONGEST_SUBJECT],
        body=render_to_string("email/alert.txt", written),
        to=[to],
        headers={EVENT_ID_HEADER: message_id},
    )
    html = render_to_string("email/alert.html", written)
    message.attach_alternative(html, "text/html")
    return message


def body_of(delivery: AlertDelivery) -> AlertBody:
    return event_body(delivery.event, notice=delivery.notice)


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


def _page(event: AlertEvent) -> str:
    return reverse("admin:billing_alertevent_change", args=(event.pk,)) if event.pk else ""


def _subject_page(event: AlertEvent) -> str:
    """The page of what it is about: a request's receipt, a budget, or what the alert itself names."""
    if event.link:
        return event.link
    if request_id := event.facts.get("request_id"):
        return reverse("admin:llm_requestlog_change", args=(request_id,))
    return reverse("admin:billing_budget_change", args=(event.budget_id,)) if event.budget_id else ""


def _portal_page(event: AlertEvent) -> str:
    """Where the tenant's own people look; the operators' alerts have no such page."""
    if event.tenant is None:
        return ""
    return reverse("portal:alerts", args=(event.tenant.slug,))


def _absolute(path: str) -> str:
    return f"{settings.SITE_URL}{path}" if path else ""


def _on_the_clock(at: str | None, body: AlertBody) -> str:
    """A moment for people: in UTC and, where the tenant's clock shows another time, by that."""
    if not at:
        return ""
    utc = datetime.fromisoformat(at).astimezone(UTC)
    local = utc.astimezone(ZoneInfo(body["window"]["timezone"]))
    form = "%H:%M %Z" if local.date() == utc.date() else "%Y-%m-%d %H:%M %Z"
    return f"{utc:%Y-%m-%d %H:%M} UTC{f' ({local.strftime(form)})' if local.utcoffset() else ''}"


def _for_slack(text: str) -> str:
    """Nothing in it is a mention, a link or a new line."""
    flat = " ".join(text.split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
