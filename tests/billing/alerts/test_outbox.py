"""Alerts reach each channel once: signed webhooks and e-mails, to real receivers."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import time

from django.contrib.auth.models import User
from django.db import connections
from django.utils.timezone import now

from billing.alerts import messages
from billing.alerts.findings import Finding, report
from billing.alerts.outbox import BREAKS_AFTER, MAX_ATTEMPTS, deliver_due, queue_deliveries, retry
from billing.alerts.sending import send_test
from billing.incidents import acknowledge, mute
from billing.models import AlertDelivery, Budget
from tests.billing.alerts.conftest import Desk, Mailbox, Receiver
from tests.billing.alerts.receiving import verify


def test_it_works(desk: Desk, receiver: Receiver, mailbox: Mailbox) -> None:
    desk.channel("webhook", receiver.url)
    desk.channel("email", "ops@example.com")
    event = desk.event(subject_key="0197a3a0-0000-7000-8000-000000000001")

    assert deliver_due() == 2

    [(headers, body)] = receiver.requests
    assert headers["x-purser-event-id"] == str(event.pk)
    assert headers["content-type"] == "application/json"
    assert verify(headers["x-purser-signature"], body, secret="hook-secret", now=int(time()))
    told = json.loads(body)
    assert told["tenant"] == desk.tenant.slug
    assert (told["metric"], told["value"], told["threshold"]) == ("request_cost", "0.73", "0.5")
    assert told["message"] == event.message
    assert told["subject"] == "0197a3a0-0000-7000-8000-000000000001"
    assert told["window"] == {"key": event.window_key, "timezone": "UTC"}
    assert told["rule"] == "One request costs more than 0.5 USD."
    assert told["alert_link"].endswith(f"/admin/billing/alertevent/{event.pk}/change/")

    [mail] = mailbox.messages
    assert mail["to"] == "ops@example.com"
    assert event.message in mail["subject"]
    assert mail["x-purser-event-id"] == str(event.pk)
    assert event.message in mail.get_body(("plain",)).get_content()
    assert "<table" in mail.get_body(("html",)).get_content()
    assert set(event.deliveries.values_list("status", "attempts")) == {("delivered", 1)}


def test_it_delivers_once_with_several_deliverers(desk: Desk, receiver: Receiver, mailbox: Mailbox) -> None:
    desk.channel("webhook", receiver.url)
    desk.channel("email", "ops@example.com")
    events = [desk.event() for _ in range(20)]
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(3):
            deliver_due()
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    ids = sorted(str(event.pk) for event in events)
    assert sorted(headers["x-purser-event-id"] for headers, _ in receiver.requests) == ids
    assert sorted(mail["x-purser-event-id"] for mail in mailbox.messages) == ids
    statuses = AlertDelivery.objects.filter(event__in=events).values_list("status", "attempts")
    assert list(statuses) == [("delivered", 1)] * 40


def test_it_tells_of_the_budget(desk: Desk, receiver: Receiver) -> None:
    desk.channel("webhook", receiver.url)
    budget = Budget.objects.create(
        tenant=desk.tenant, scope="tenant", unit="usd", period="day", limit_amount="5", mode="hard"
    )
    desk.event(
        metric="budget_percent", budget=budget, threshold="80", value="81.25", window_key="7@2026-11-21"
    )
    deliver_due()
    told = json.loads(receiver.requests[0][1])
    assert told["limit"]["amount"] == "5"
    assert (told["limit"]["scope"], told["limit"]["unit"], told["limit"]["period"]) == (
        "tenant",
        "usd",
        "day",
    )


def test_it_sends_a_rules_event_to_the_rules_channels_only(desk: Desk, receiver: Receiver) -> None:
    chosen, _other = desk.channel("webhook", receiver.url), desk.channel("webhook", f"{receiver.url}/other")
    desk.event(rule=desk.rule(chosen))
    deliver_due()
    assert list(
        AlertDelivery.objects.filter(event__tenant=desk.tenant).values_list("channel", flat=True)
    ) == [chosen.pk]


def test_an_event_without_a_channel_stands_in_the_admin_only(desk: Desk, receiver: Receiver) -> None:
    desk.channel("webhook", receiver.url)
    event = desk.event(rule=desk.rule())
    deliver_due()
    assert not event.deliveries.exists()
    assert receiver.requests == []


def test_it_skips_inactive_channels_and_other_tenants(desk: Desk, receiver: Receiver) -> None:
    desk.channel("webhook", receiver.url, is_active=False)
    event = desk.event()
    deliver_due()
    assert not event.deliveries.exists()


def test_it_tries_again_later_with_the_same_event_id(desk: Desk, receiver: Receiver) -> None:
    desk.channel("webhook", receiver.url)
    event = desk.event()
    receiver.statuses = [503]
    assert deliver_due() == 0
    delivery = event.deliveries.get()
    assert (delivery.status, delivery.attempts) == ("pending", 1)
    assert "503" in delivery.last_error
    assert deliver_due() == 0  # not due yet
    assert deliver_due(at=delivery.next_try_at) == 1
    assert [headers["x-purser-event-id"] for headers, _ in receiver.requests] == [str(event.pk)] * 2


def test_it_follows_no_redirect(desk: Desk, receiver: Receiver) -> None:
    desk.channel("webhook", receiver.url)
    event = desk.event()
    receiver.statuses = [302]
    assert deliver_due() == 0
    assert len(receiver.requests) == 1
    assert "302" in event.deliveries.get().last_error


def test_it_gives_up_and_can_be_retried(desk: Desk, receiver: Receiver) -> None:
    desk.channel("webhook", receiver.url)
    event = desk.event()
    queue_deliveries(at=now())
    receiver.statuses = [500] * MAX_ATTEMPTS
    for days in range(1, MAX_ATTEMPTS + 2):
        deliver_due(at=now() + timedelta(days=days))
        AlertDelivery.objects.filter(event=event, status="pending").update(next_try_at=now())
    delivery = event.deliveries.get()
    assert (delivery.status, delivery.attempts) == ("dead", MAX_ATTEMPTS)
    assert len(receiver.requests) == MAX_ATTEMPTS
    assert retry(delivery)
    assert deliver_due() == 1


def test_a_worker_that_died_loses_its_claim(desk: Desk, receiver: Receiver) -> None:
    from billing.alerts.outbox import CLAIM, claim_due

    desk.channel("webhook", receiver.url)
    event = desk.event()
    at = now()
    queue_deliveries(at=at)
    assert [delivery.event_id for delivery in claim_due(at=at)] == [event.pk]
    assert deliver_due(at=at + CLAIM - timedelta(seconds=1)) == 0
    assert deliver_due(at=at + CLAIM) == 1


def test_it_never_sends_to_a_private_address_unless_allowed(desk: Desk, receiver: Receiver, settings) -> None:
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    desk.channel("webhook", receiver.url)
    desk.channel("webhook", receiver.url.replace("127.0.0.1", "localhost"))
    event = desk.event()
    assert deliver_due() == 0
    assert receiver.requests == []
    assert all(
        "not a public address" in error for error in event.deliveries.values_list("last_error", flat=True)
    )


def test_a_receiver_that_is_not_there_delays_nobody(desk: Desk, receiver: Receiver, mailbox: Mailbox) -> None:
    desk.channel("webhook", "http://127.0.0.1:9/")
    desk.channel("webhook", receiver.url)
    desk.channel("email", "ops@example.com")
    desk.event()
    assert deliver_due() == 2


def test_mail_that_cannot_be_sent_is_kept(desk: Desk, mailbox: Mailbox, settings) -> None:
    settings.EMAIL_PORT = 9
    desk.channel("email", "ops@example.com")
    event = desk.event()
    assert deliver_due() == 0
    assert event.deliveries.get().status == "pending"


def test_an_alert_is_acknowledged_once(desk: Desk) -> None:
    event, first, second = (
        desk.event(),
        *(User.objects.create(username=f"{n}-{desk.tenant.slug}") for n in "ab"),
    )
    assert acknowledge(event, acting_user=first)
    assert not acknowledge(event, acting_user=second)
    event.refresh_from_db()
    assert event.acknowledged_by == first


def test_a_channel_that_keeps_failing_is_left_alone_and_then_tried_with_one(
    desk: Desk, receiver: Receiver
) -> None:
    channel = desk.channel("webhook", receiver.url)
    for _ in range(3):
        desk.event()
    queue_deliveries(at=now())
    receiver.statuses = [500] * 100
    at = now()
    for _ in range(BREAKS_AFTER):  # what is sent together counts as one
        at += timedelta(hours=2)
        deliver_due(at=at)
    channel.refresh_from_db()
    assert (channel.failures, channel.paused_until > at) == (BREAKS_AFTER, True)
    asked = len(receiver.requests)
    AlertDelivery.objects.filter(channel=channel).update(next_try_at=at)
    deliver_due(at=at)
    assert len(receiver.requests) == asked  # nothing within the pause
    receiver.statuses = []
    assert deliver_due(at=channel.paused_until) == 1  # the one that tries it
    assert deliver_due(at=channel.paused_until) == 2


def test_ten_times_worse_and_its_end_are_told_to_who_heard_of_it(desk: Desk, receiver: Receiver) -> None:
    desk.channel("webhook", receiver.url)
    found = Finding(desk.tenant.pk, "error_percent", "tenant", Decimal(4), Decimal(3), "4 % failed", now())
    report([found])
    deliver_due()
    report([replace(found, value=Decimal(9), at=now())])
    deliver_due()
    report([replace(found, value=Decimal(45), message="45 % failed", at=now())])
    for _ in range(2):
        deliver_due()
    deliver_due(at=now() + timedelta(minutes=20))
    told = [json.loads(body) for _, body in receiver.requests]
    assert [(one["notice"], one["message"]) for one in told] == [
        ("opened", "4 % failed"),
        ("worse", "45 % failed"),
        ("resolved", "45 % failed"),
    ]
    ids = [headers["webhook-id"] for headers, _ in receiver.requests]
    assert len(set(ids)) == 3
    assert ids[1] == f"{told[0]['id']}-worse-1"


def test_nothing_is_sent_of_what_is_muted(desk: Desk, receiver: Receiver) -> None:
    desk.channel("webhook", receiver.url)
    event, user = desk.event(), User.objects.create(username=f"m-{desk.tenant.slug}")
    assert mute(event, until=now() + timedelta(hours=1), acting_user=user)
    assert deliver_due() == 0
    assert deliver_due(at=now() + timedelta(hours=2)) == 1


def test_slack_gets_a_text_in_which_nobody_is_mentioned(desk: Desk, receiver: Receiver) -> None:
    desk.channel("slack", receiver.url)
    event = desk.event(message="A request cost 0.73 USD (user <!channel> & co)")
    assert deliver_due() == 1
    [(headers, body)] = receiver.requests
    told = json.loads(body)
    assert "&lt;!channel&gt; &amp; co" in told["text"]
    assert f"/admin/billing/alertevent/{event.pk}/change/|Acknowledge>" in told["blocks"][1]["text"]["text"]
    assert "webhook-signature" not in headers


def test_people_read_when_it_was_by_both_clocks(desk: Desk) -> None:
    desk.tenant.timezone = "Asia/Tokyo"
    event = desk.event(
        fired_at=datetime(2026, 11, 30, 0, 30, tzinfo=UTC), last_at=datetime(2026, 11, 30, 20, 30, tzinfo=UTC)
    )
    event.refresh_from_db(fields=["threshold", "value"])
    body = messages.event_body(event)
    message = messages.mail(body, to="ops@example.com", message_id="1")
    assert "First seen: 2026-11-30 00:30 UTC (09:30 JST)" in message.body
    assert "Last seen:  2026-11-30 20:30 UTC (2026-12-01 05:30 JST)" in message.body
    assert "2026-11-30 00:30 UTC (09:30 JST)" in message.alternatives[0].content
    assert (
        "*First seen* 2026-11-30 00:30 UTC (09:30 JST)"
        in messages.slack_body(body)["blocks"][1]["text"]["text"]
    )
    assert body["fired_at"] == "2026-11-30T00:30:00+00:00"  # programs read it as ever


def test_a_channel_is_tested_at_once(desk: Desk, receiver: Receiver, mailbox: Mailbox) -> None:
    channel = desk.channel("webhook", receiver.url)
    assert send_test(channel) == ""
    assert json.loads(receiver.requests[0][1])["notice"] == "test"
    receiver.statuses = [404]
    assert "404" in send_test(channel)
    assert send_test(desk.channel("email", "ops@example.com")) == ""
    assert len(mailbox.messages) == 1
