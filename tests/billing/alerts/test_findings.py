"""Of one rule and subject one alert is open, however often and by how many it is found."""

import threading
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, connections
from django.utils.timezone import now

from billing.alerts.findings import MOST_OPEN, OTHERS, Finding, count_findings, report
from billing.incidents import mute, resolve, resolve_ended
from billing.models import AlertEvent, AlertFinding
from tests.billing.alerts.conftest import Desk


def dear(desk: Desk, **changes: Any) -> Finding:
    found = Finding(
        desk.tenant.pk, "request_cost", "key:7", Decimal("0.6"), Decimal("0.5"), "A request cost 0.6 USD", now(), count=1,
        facts={"user": "alice"},
    )  # fmt: skip
    return replace(found, **changes)


def test_it_works(desk: Desk) -> None:
    assert report([dear(desk)]) == 1
    assert (
        report([dear(desk, value=Decimal("0.9"), message="dearer", facts={"user": "bob"}), dear(desk)]) == 0
    )
    event = AlertEvent.objects.get(tenant=desk.tenant)
    assert (event.count, event.value, event.message, event.facts) == (
        3,
        Decimal("0.9"),
        "dearer",
        {"user": "bob"},
    )
    assert (event.state, event.is_grouped, event.first_value) == ("open", True, Decimal("0.6"))


def test_a_million_dear_requests_are_one_alert(desk: Desk) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_alertfinding (tenant_id, metric, subject_key, value, threshold, count, message)"
            " SELECT %s, 'request_cost', 'key:7', 0.6, 0.5, 50, 'dear' FROM generate_series(1, 20000)",
            [desk.tenant.pk],
        )
    assert count_findings() == 1
    event = AlertEvent.objects.get(tenant=desk.tenant)
    assert event.count == 1_000_000
    assert event.level == 0 + len(str(1_000_000 // event.first_count)) - 1
    assert not AlertFinding.objects.filter(tenant=desk.tenant).exists()


def test_several_who_count_lose_nothing_and_open_one(desk: Desk) -> None:
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(5):
            report([dear(desk)])
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AlertEvent.objects.get(tenant=desk.tenant).count == 20


def test_a_condition_that_goes_on_is_one_occurrence(desk: Desk) -> None:
    for minute in range(5):
        report([dear(desk, metric="error_percent", count=0, at=now() + timedelta(minutes=minute))])
    assert AlertEvent.objects.get(tenant=desk.tenant).count == 1


def test_it_ends_by_itself_and_comes_again_as_a_new_one(desk: Desk) -> None:
    report([dear(desk)])
    assert resolve_ended(at=now() + timedelta(minutes=59)) == 0 or not AlertEvent.objects.filter(
        tenant=desk.tenant, resolved_at__isnull=False
    )
    resolve_ended(at=now() + timedelta(minutes=61))
    report([dear(desk, at=now() + timedelta(minutes=62))])
    first, second = AlertEvent.objects.filter(tenant=desk.tenant).order_by("pk")
    assert (first.state, second.state) == ("resolved", "open")
    (step,) = first.steps.all()
    assert (step.verb, step.by) == ("resolved", None)
    assert step.text.startswith("not seen since ")


def test_what_a_person_resolved_stays_so_while_it_goes_on(desk: Desk) -> None:
    user, at = User.objects.create(username=f"r-{desk.tenant.slug}"), now()
    goes_on = dear(desk, metric="error_percent", count=0, at=at)
    report([goes_on])
    assert resolve(AlertEvent.objects.get(tenant=desk.tenant), acting_user=user)
    for minute in (5, 15, 25):
        report([replace(goes_on, at=at + timedelta(minutes=minute))])
    assert AlertEvent.objects.filter(tenant=desk.tenant).count() == 1
    report([replace(goes_on, at=at + timedelta(minutes=60))])  # it was away, and is back
    assert AlertEvent.objects.filter(tenant=desk.tenant, resolved_at=None).count() == 1


def test_a_mute_outlasts_its_alert(desk: Desk) -> None:
    user = User.objects.create(username=f"u-{desk.tenant.slug}")
    report([dear(desk)])
    event = AlertEvent.objects.get(tenant=desk.tenant)
    assert mute(event, until=now() + timedelta(days=2), acting_user=user)
    resolve_ended(at=now() + timedelta(hours=2))
    report([dear(desk, at=now() + timedelta(hours=3))])
    assert AlertEvent.objects.get(tenant=desk.tenant, resolved_at=None).state == "muted"


def test_a_stranger_opens_no_more_than_the_most(desk: Desk) -> None:
    for number in range(3):
        report([dear(desk, subject=f"key:{number}-{one}") for one in range(MOST_OPEN)])
    events = AlertEvent.objects.filter(tenant=desk.tenant)
    assert events.count() == MOST_OPEN + 1
    assert sum(events.values_list("count", flat=True)) == 3 * MOST_OPEN
    assert events.get(subject_key=OTHERS).count == 2 * MOST_OPEN


def test_tenants_are_counted_apart(desk: Desk) -> None:
    report([dear(desk), dear(desk, tenant_id=None, subject=f"of {desk.tenant.slug}")])
    assert AlertEvent.objects.get(tenant=desk.tenant).count == 1
    operators = AlertEvent.objects.filter(tenant=None, subject_key=f"of {desk.tenant.slug}")
    assert operators.get().count == 1
    operators.delete()
