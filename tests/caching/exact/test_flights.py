"""Equal requests of one process share a flight, with Redis and without; no one waits for ever."""

import asyncio
import secrets

import pytest

from caching.circuit import Circuit
from caching.exact import flights
from caching.exact import store as exact
from caching.exact.flights import Flight
from caching.exact.store import ExactKey
from caching.scope import Origin
from config import resources
from config.redis_link import RedisLink
from tests.caching.material import answer, ask

pytestmark = pytest.mark.usefixtures("loop_resources")


@pytest.fixture
def key(origin: Origin) -> ExactKey:
    return exact.key(ask(secrets.token_hex()), origin=origin)


async def lead(key: ExactKey) -> Flight:
    flight = await flights.find(key, timeout_seconds=60)
    assert isinstance(flight, Flight)
    return flight


@pytest.fixture(autouse=True)
def long_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that this busy machine holds up for a while is not taken for dead."""
    monkeypatch.setattr(flights, "LOCK_SECONDS", 60.0)


def leave_process() -> None:
    """What is found from now on is found as another process would find it."""
    flights.flights_here.clear()


async def test_it_works(key: ExactKey) -> None:
    flight = await lead(key)
    waiting = asyncio.create_task(flights.find(key, timeout_seconds=60))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await flight.publish(answer("Here."), is_kept=False)
    found = await waiting
    assert found is not None
    assert found.text == "Here."  # type: ignore[union-attr]
    await (await lead(key)).publish(None)  # nothing was kept, so the next one leads


async def test_without_redis_a_process_still_shares(key: ExactKey, monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = Circuit("redis", timeout_seconds=5, probe=exact.ping, outages=(Exception,), rest_seconds=60)
    monkeypatch.setattr(exact, "circuit", circuit)
    working, resources.redis_link = resources.redis_link, RedisLink("redis://127.0.0.1:1/0")
    try:
        flight = await lead(key)
        waiting = asyncio.create_task(flights.find(key, timeout_seconds=60))
        await asyncio.sleep(0)
        await flight.publish(answer("Here."))
        assert (await waiting).text == "Here."  # type: ignore[union-attr]
    finally:
        resources.redis_link = working


async def test_another_process_is_told_of_a_landing(key: ExactKey) -> None:
    flight = await lead(key)
    leave_process()
    waiting = asyncio.create_task(flights.find(key, timeout_seconds=60))
    while not await resources.redis.exists(flight.waiting):
        assert not waiting.done()
        await asyncio.sleep(0.01)
    await exact.put(key, answer("Here."), ttl_seconds=60)
    await flight.publish(answer("Here."), is_kept=True)
    assert (await waiting).text == "Here."  # type: ignore[union-attr]


async def test_a_lost_message_costs_a_moment(key: ExactKey) -> None:
    flight = await lead(key)
    leave_process()
    waiting = asyncio.create_task(flights.find(key, timeout_seconds=60))
    while not await resources.redis.exists(flight.waiting):
        assert not waiting.done()
        await asyncio.sleep(0.01)
    await resources.redis.delete(flight.lock)  # as if its process had died
    successor = await waiting
    assert isinstance(successor, Flight)
    assert successor.is_leader
    await successor.publish(None)


async def test_patience_ends(key: ExactKey) -> None:
    flight = await lead(key)
    assert await flights.find(key, timeout_seconds=0.05) is None
    leave_process()
    assert await flights.find(key, timeout_seconds=0.05) is None
    await flight.publish(None)


async def test_a_living_leader_keeps_its_lock(key: ExactKey) -> None:
    flight = await lead(key)
    await resources.redis.pexpire(flight.lock, 600_000)
    while await resources.redis.pttl(flight.lock) > 60_000:  # until the next sign of life, a second at most
        await asyncio.sleep(0.05)
    assert await resources.redis.pttl(flight.lock) > 0
    await flight.publish(None)
    assert not await resources.redis.exists(flight.lock)


async def test_a_kept_answer_ends_its_flight_in_every_process(key: ExactKey) -> None:
    flight = await lead(key)
    leave_process()
    waiting = asyncio.create_task(flights.find(key, timeout_seconds=60))
    while not await resources.redis.exists(flight.waiting):
        assert not waiting.done()
        await asyncio.sleep(0.01)
    await flight.keep(answer("Here."), ttl_seconds=60)
    assert (await waiting).text == "Here."  # type: ignore[union-attr]
    assert 0 < await resources.redis.ttl(key.name) <= 60
    assert not await resources.redis.exists(flight.lock, flight.waiting)
    await flight.publish(None)
    assert (await flights.find(key, timeout_seconds=60)).text == "Here."  # type: ignore[union-attr]


async def test_a_flight_ends_though_its_answer_cannot_be_kept(
    key: ExactKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    circuit = Circuit("redis", timeout_seconds=5, probe=exact.ping, outages=())
    monkeypatch.setattr(exact, "circuit", circuit)
    monkeypatch.setattr(exact, "MAX_STORED_BYTES", 10)
    flight = await lead(key)
    await flight.keep(answer("Too long."), ttl_seconds=60)
    assert not await resources.redis.exists(key.name, flight.lock)
    flight = await lead(key)
    monkeypatch.setattr(exact, "MAX_STORED_BYTES", 1000)
    await flight.keep(answer("Redis refuses this."), ttl_seconds=-1)
    assert not await resources.redis.exists(key.name, flight.lock)
