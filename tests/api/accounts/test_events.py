"""A tenant tells what its product did, so that costs can be divided by it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.models import FeatureDay, FeatureEvent
from billing.planning import events as feature_events
from tests.world import Member, World


def post(world: World, *events: dict[str, Any], member: Member | None = None) -> tuple[int, Any]:
    return world.request("POST", "/v1/events", {"events": list(events)}, member=member)


def days(member: Member) -> dict[tuple[str, str], tuple[int, int]]:
    rows = FeatureDay.objects.filter(tenant=member.id)
    return {(row.name, row.feature): (row.events, row.quantity) for row in rows}


def test_it_works(world: World) -> None:
    status, body = post(
        world,
        {"id": "1", "name": "ticket_answered", "feature": "support"},
        {"id": "2", "name": "ticket_answered", "feature": "support", "quantity": 3},
        {"id": "3", "name": "page_translated"},
    )
    assert (status, body) == (201, {"object": "events", "counted": 3, "duplicates": 0})
    assert days(world.acme) == {("ticket_answered", "support"): (2, 4), ("page_translated", ""): (1, 1)}


def test_an_event_counts_once(world: World) -> None:
    event = {"id": "once", "name": "read"}
    assert post(world, event, event)[1] == {"object": "events", "counted": 1, "duplicates": 1}
    assert post(world, event)[1] == {"object": "events", "counted": 0, "duplicates": 1}
    assert days(world.acme) == {("read", ""): (1, 1)}


def test_a_stranger_s_id_is_another_event(world: World) -> None:
    event = {"id": "same", "name": "read"}
    assert post(world, event)[1]["counted"] == 1
    assert post(world, event, member=world.outsider)[1]["counted"] == 1
    assert days(world.acme) == days(world.outsider) == {("read", ""): (1, 1)}


def test_many_senders_at_one_time_count_each_event_once(world: World) -> None:
    events = [{"id": str(n), "name": f"n{n % 3}"} for n in range(60)]
    told: list[int] = []

    def send(turn: int) -> None:
        told.append(post(world, *events[turn:], *events[:turn])[1]["counted"])

    threads = [threading.Thread(target=send, args=(10 * turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(told) == 60
    assert days(world.acme) == {(f"n{n}", ""): (20, 20) for n in range(3)}


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"name": "x"}, "events.0.id"),
        ({"id": "", "name": "x"}, "events.0.id"),
        ({"id": "1", "name": "x" * 101}, "events.0.name"),
        ({"id": "1", "name": "x\x00"}, "events.0.name"),
        ({"id": "1", "name": "x", "quantity": -1}, "events.0.quantity"),
        ({"id": "1", "name": "x", "quantity": 10**12}, "events.0.quantity"),
        ({"id": "1", "name": "x", "colour": "red"}, "events.0.colour"),
        ({"id": "1", "name": "x", "at": "2026-01-01T00:00:00"}, "events.0.at"),
        ({"id": "1", "name": "x", "at": (datetime.now(UTC) - timedelta(days=8)).isoformat()}, "events.0.at"),
        ({"id": "1", "name": "x", "at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, "events.0.at"),
    ],
)
def test_what_is_no_event_is_refused_by_the_name_of_its_field(
    world: World, event: dict[str, Any], field: str
) -> None:
    status, body = post(world, event)
    assert (status, body["error"]["param"]) == (400, field)
    assert days(world.acme) == {}


def test_a_body_has_a_bounded_number_of_events(world: World) -> None:
    status, _ = post(world, *[{"id": str(n), "name": "x"} for n in range(1001)])
    assert status == 400


def test_a_day_has_a_bounded_number_of_names(world: World) -> None:
    names = [{"id": str(n), "name": f"name-{n}"} for n in range(feature_events.MOST_NAMES_A_DAY + 1)]
    status, body = post(world, *names)
    assert (status, body["error"]["code"]) == (400, "invalid_request")
    assert days(world.acme) == {}  # all of a body, or nothing
    assert post(world, *names[:-1])[0] == 201


def test_ids_are_forgotten_when_they_cannot_come_again(make_tenant: Callable[..., Member]) -> None:
    member, today = make_tenant(), datetime.now(UTC)
    for age in (1, 20):
        FeatureEvent.objects.create(
            tenant_id=member.id, event_id=f"of {age} days", day=today.date() - timedelta(days=age)
        )
    feature_events.prune(at=today)
    assert [row.event_id for row in FeatureEvent.objects.filter(tenant=member.id)] == ["of 1 days"]
