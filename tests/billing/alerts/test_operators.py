"""What concerns the whole installation reaches the operators' channels, and nobody else's."""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.test import RequestFactory

from billing.admin.channels import AlertChannelAdmin
from billing.alerts.outbox import deliver_due
from billing.ledger import partitions
from billing.models import AlertChannel, AlertEvent
from billing.notices import notify_operators
from tests.billing.alerts.conftest import Desk, Receiver


@pytest.fixture
def operators(desk: Desk, receiver: Receiver) -> Iterator[AlertChannel]:
    """A channel of the operators; put out of use afterwards, as there is one installation for all tests."""
    channel = AlertChannel.objects.create(
        tenant=None, name=secrets.token_hex(4), kind="webhook", target=receiver.url, secret="hook-secret"
    )
    yield channel
    AlertChannel.objects.filter(pk=channel.pk).update(is_active=False)


def test_it_works(desk: Desk, receiver: Receiver, operators: AlertChannel) -> None:
    subject = secrets.token_hex(8)
    for _ in range(2):  # told once
        notify_operators("partitions", "Something is wrong", subject=subject)
    deliver_due()
    told = [json.loads(body) for _, body in receiver.requests]
    (mine,) = [event for event in told if event["subject"] == subject]
    assert (mine["tenant"], mine["message"]) == (None, "Something is wrong")


def test_a_tenants_event_is_not_the_operators(
    desk: Desk, receiver: Receiver, operators: AlertChannel
) -> None:
    event = desk.event()
    deliver_due()
    assert not event.deliveries.exists()


def test_the_operators_event_is_no_tenants(desk: Desk, receiver: Receiver) -> None:
    desk.channel("webhook", receiver.url)
    subject = secrets.token_hex(8)
    notify_operators("partitions", "Something is wrong", subject=subject)
    deliver_due()
    assert not AlertEvent.objects.get(subject_key=subject).deliveries.exists()


def test_they_hear_of_partitions_that_could_not_be_made(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    AlertEvent.objects.filter(tenant=None, metric="partitions", window_key=today).update(
        window_key=secrets.token_hex(4)
    )
    monkeypatch.setattr(partitions, "CREATE", "SELECT 1/0, %s")
    with pytest.raises(DatabaseError):
        partitions.ensure_partitions()
    event = AlertEvent.objects.get(tenant=None, metric="partitions", window_key=today)
    assert "division by zero" in event.message


def test_only_an_operator_makes_a_channel_without_a_tenant(desk: Desk) -> None:
    page = AlertChannelAdmin(AlertChannel, admin.site)
    request = RequestFactory().get("/")
    fields = {"name": "all", "kind": "email", "target": "ops@example.com", "is_active": "on"}
    for is_operator in (True, False):
        request.user = User(is_superuser=is_operator, is_staff=True, is_active=True)
        form = page.get_form(request)(fields)
        assert form.is_valid() == is_operator, form.errors
