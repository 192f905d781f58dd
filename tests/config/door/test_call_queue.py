"""The queue: who is let in, who waits, who is turned away and what they are told; by itself and on the real server."""

import asyncio
import http.client
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from config.door.call_queue import CallQueue, DepartureRate, TurnedAway
from tests.api.conftest import fresh_question, turns
from tests.books import Books, eventually
from tests.stack import LOCAL, Stack
from tests.tap import tapped
from tests.world import Deployment, Member, World

INSIDE, WAITING = 3, 2


def queue(
    *, inside: int = 1, waiting: int = 1, patience: float = 60, clock: Callable[[], float] | None = None
):
    departures = DepartureRate(clock) if clock else None
    return CallQueue(
        max_running=inside, max_waiting=waiting, max_wait_seconds=patience, departures=departures
    )


async def in_line(queue: CallQueue, count: int) -> list[asyncio.Task[None]]:
    """So many calls that found the queue close and stand in line."""
    tasks = [asyncio.create_task(queue.enter()) for _ in range(count)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return tasks


async def test_it_works() -> None:
    """So many go in, so many wait, the next is turned away; whoever leaves lets the first of the line in."""
    one = queue(inside=2, waiting=2)
    await one.enter()
    await one.enter()
    first, second = await in_line(one, 2)
    with pytest.raises(TurnedAway) as caught:
        await one.enter()
    assert (caught.value.reason, caught.value.inside, caught.value.waiting) == ("full", 2, 2)
    one.leave()
    await first
    assert not second.done()
    one.leave()
    await second
    one.leave()
    one.leave()
    await asyncio.gather(one.enter(), one.enter())


async def test_who_gives_up_waiting_takes_nobody_s_place() -> None:
    one = queue(waiting=3)
    await one.enter()
    first, second, third = await in_line(one, 3)
    second.cancel()
    one.leave()
    await first
    one.leave()
    await third
    one.leave()
    await one.enter()
    assert second.cancelled()


async def test_who_goes_at_the_moment_of_entry_gives_the_place_back() -> None:
    one = queue()
    await one.enter()
    (first,) = await in_line(one, 1)
    one.leave()  # the place is given to the first ...
    first.cancel()  # ... who is gone before it is taken
    await asyncio.gather(first, return_exceptions=True)
    await one.enter()


async def test_nobody_waits_longer_than_the_longest_wait() -> None:
    one = queue(patience=0.01)
    await one.enter()
    with pytest.raises(TurnedAway) as caught:
        await one.enter()
    assert caught.value.reason == "waited"
    one.leave()
    await one.enter()


async def test_the_wait_told_is_how_long_the_line_takes_to_pass() -> None:
    now = 1000.0
    one = queue(inside=20, waiting=5, clock=lambda: now)
    for _ in range(20):
        await one.enter()
    for _ in range(10):
        now += 1
        one.leave()
        await one.enter()
    await in_line(one, 5)
    with pytest.raises(TurnedAway) as caught:
        await one.enter()
    assert caught.value.retry_after_seconds == 6  # one a second leaves; five stand before whoever comes next


async def test_a_line_that_plainly_moves_too_slowly_is_not_joined() -> None:
    now = 1000.0
    one = queue(inside=2, waiting=5, patience=10, clock=lambda: now)
    await one.enter()
    await one.enter()
    now += 29
    one.leave()
    await one.enter()
    with pytest.raises(TurnedAway) as caught:
        await one.enter()
    assert (caught.value.reason, caught.value.retry_after_seconds) == ("slow", 29)


async def test_a_gate_without_a_pace_lets_whoever_fits_join_the_line() -> None:
    now = 1000.0
    one = CallQueue(
        max_running=1,
        max_waiting=5,
        max_wait_seconds=10,
        departures=DepartureRate(lambda: now),
        predicts_wait=False,
    )
    await one.enter()
    now += 29
    one.leave()
    await one.enter()
    await in_line(one, 5)


async def test_without_any_drain_the_longest_wait_is_told() -> None:
    one = queue(waiting=0)
    await one.enter()
    with pytest.raises(TurnedAway) as caught:
        await one.enter()
    assert caught.value.retry_after_seconds == 60


def test_the_drain_forgets_what_is_half_a_minute_old() -> None:
    now = 1000.0
    departures = DepartureRate(lambda: now)
    for _ in range(60):
        departures.note()
    assert departures.per_second() == 60
    now += 15
    assert departures.per_second() == 4
    now += 14
    departures.note()
    assert departures.per_second() == pytest.approx(61 / 29)
    now += 1
    assert departures.per_second() == pytest.approx(1 / 30)
    now += 1000
    assert departures.per_second() == 0


# ---------------------------------------------------------------- on the real server


@pytest.fixture(scope="module")
def narrow(stack: Stack) -> Iterator[str]:
    """A web server of one worker that takes few calls."""
    process, url = stack.start_web(
        workers=1,
        environment={
            "MAX_CALLS_IN_FLIGHT": str(INSIDE),
            "MAX_CALLS_WAITING": str(WAITING),
            "MAX_WAIT_SECONDS": "120",
        },
    )
    yield url
    process.stop()
    stack.processes.remove(process)


def send(url: str, path: str, body: dict[str, Any], *, key: str) -> socket.socket:
    """A call on its way, its answer not read yet."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), timeout=120)
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


def answer_on(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def gauge(url: str, name: str) -> float:
    with LOCAL.open(f"{url}/metrics", timeout=60) as response:
        text = response.read().decode()
    return sum(map(float, re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, flags=re.MULTILINE)))


def fill(url: str, member: Member, deployment: Deployment, stack: ExitStack) -> list[socket.socket]:
    """As many calls as go in and wait, one after the other, so that their order is known."""
    calls = []
    for number in range(1, INSIDE + WAITING + 1):
        body = {
            "model": deployment.model,
            "messages": turns(fresh_question()),
            "stream": True,
            "max_tokens": 50,
        }
        calls.append(stack.enter_context(send(url, "/v1/chat/completions", body, key=member.key)))
        eventually(
            lambda: (gauge(url, "purser_calls_in_flight"), gauge(url, "purser_calls_waiting")),
            until=lambda seen, n=number: seen == (min(n, INSIDE), max(0, n - INSIDE)),
            patience_seconds=60,
        )
    return calls


def test_a_call_too_many_is_told_so_early_in_its_own_envelope(
    world: World, books: Books, make_deployment, narrow: str
) -> None:
    """The queue is full of calls that wait for their provider: the next hears 503 and when to come back, the site, the
    probes and the figures answer as ever, and everybody who was let in or waited gets the whole answer."""
    before = gauge(narrow, "purser_calls_turned_away_total")
    refusals: list[str] = []
    with tapped(world.stack.sandbox_url) as tap, ExitStack() as stack:
        deployment = make_deployment(base_url=f"{tap.url}/v1")
        calls = fill(narrow, world.acme, deployment, stack)
        for path in ("/v1/chat/completions", "/v1/messages"):
            body = {"model": deployment.model, "messages": turns("x" * 100_000), "max_tokens": 9}
            status, headers, content = answer_on(
                stack.enter_context(send(narrow, path, body, key=world.acme.key))
            )
            told = json.loads(content)
            assert status == 503
            assert told["error"]["code"] == "service_unavailable"
            assert ("type" in told) == (path == "/v1/messages")
            assert 1 <= int(headers["retry-after"]) <= 60
            refusals.append(headers["x-request-id"])
            assert f"{INSIDE} calls under way and {WAITING} in line" in told["error"]["message"]
        for probe in ("/healthz", "/readyz", "/admin/login/"):
            with LOCAL.open(f"{narrow}{probe}", timeout=60) as response:
                assert response.status == 200
        assert gauge(narrow, "purser_calls_turned_away_total") == before + 2
        tap.open()
        for call in calls:
            status, _, content = answer_on(call)
            assert status == 200
            assert b"data: [DONE]" in content
        books.settled(world.acme.id, count=INSIDE + WAITING)
    books.check_invoice(world.acme.id, books.ended_calls(count=INSIDE + WAITING, key=deployment.account_key))
    eventually(lambda: gauge(narrow, "purser_calls_in_flight"), until=lambda seen: seen == 0)
    for request_id in refusals:
        log = books.log(request_id)
        assert (log.status, log.error_code) == (503, "service_unavailable")
        assert log.tenant_id in (world.acme.id, None)  # as far as it was remembered: nobody is asked
        facts = log.receipt["refusal"]
        assert (facts["line"], facts["inside"], facts["waiting"]) == ("full", INSIDE, WAITING)
