"""People acknowledge, mute and resolve alerts once, and it is written down who did."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils.timezone import now

from billing.incidents import KEPT, acknowledge, mute, prune, resolve, resolve_ended, unmute
from billing.models import AlertDelivery, AlertEvent
from tests.billing.alerts.conftest import Desk, Receiver


@pytest.fixture
def user(desk: Desk) -> User:
    return User.objects.create(username=f"person-of-{desk.tenant.slug}")


def test_it_works(desk: Desk, user: User) -> None:
    event = desk.event()
    assert acknowledge(event, acting_user=user)
    assert not acknowledge(event, acting_user=user)
    assert mute(event, until=now() + timedelta(hours=1), acting_user=user)
    assert unmute(event, acting_user=user)
    assert resolve(event, acting_user=user, text="the job was stopped")
    for verb in (lambda: resolve(event, acting_user=user), lambda: acknowledge(event, acting_user=user)):
        assert not verb()
    steps = [(step.verb, step.by, step.text) for step in event.steps.order_by("pk")]
    assert [verb for verb, _, _ in steps] == ["acknowledged", "muted", "unmuted", "resolved"]
    assert {by for _, by, _ in steps} == {user}
    assert steps[-1][2] == "the job was stopped"
    event.refresh_from_db()
    assert (event.state, event.resolved_by) == ("resolved", user)


@pytest.mark.parametrize("days", [-1, 0, 400])
def test_a_mute_ends_some_day(desk: Desk, user: User, days: int) -> None:
    with pytest.raises(ValueError, match="within 365 days"):
        mute(desk.event(), until=now() + timedelta(days=days), acting_user=user)


def test_a_budgets_alert_ends_with_its_window(desk: Desk) -> None:
    event = desk.event(metric="budget_percent", ends_at=now() + timedelta(hours=1))
    resolve_ended(at=now() + timedelta(minutes=30))
    event.refresh_from_db()
    assert event.state == "open"
    resolve_ended(at=now() + timedelta(hours=2))
    event.refresh_from_db()
    assert event.state == "resolved"
    assert event.steps.get().text == "its time is over"


def test_what_nobody_cares_for_ends_after_a_month(desk: Desk) -> None:
    event = desk.event(last_at=now() - timedelta(days=31))
    resolve_ended()
    event.refresh_from_db()
    assert event.state == "resolved"


def test_it_is_kept_for_half_a_year(desk: Desk, receiver: Receiver) -> None:
    channel = desk.channel("webhook", receiver.url)
    old, young, unresolved = desk.event(), desk.event(), desk.event()
    AlertDelivery.objects.create(event=old, channel=channel)
    at = now()
    AlertEvent.objects.filter(pk=old.pk).update(resolved_at=at - KEPT - timedelta(days=1))
    AlertEvent.objects.filter(pk=young.pk).update(resolved_at=at - KEPT + timedelta(days=1))
    prune(at=at)
    kept = AlertEvent.objects.filter(tenant=desk.tenant).order_by("pk")
    assert list(kept) == [young, unresolved]
