"""The exact cache on a real Redis, and without one."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from caching.circuit import Circuit
from caching.exact import store as exact
from caching.exact.store import ExactKey
from caching.metrics import FAILURES
from caching.scope import Origin
from config import resources
from config.redis_link import RedisLink
from config.running import embedded
from tests.caching.material import answer, ask

pytestmark = pytest.mark.usefixtures("loop_resources")


async def test_it_works(origin: Origin) -> None:
    key = exact.key(ask(secrets.token_hex()), origin=origin)
    assert await exact.get(key) is None
    assert await exact.put(key, answer(), ttl_seconds=60)
    assert await exact.get(key) == answer(stored_at=(await stored(key)).stored_at)


async def test_an_entry_lives_as_long_as_the_policy_says(origin: Origin) -> None:
    key = exact.key(ask("Hello?"), origin=origin)
    await exact.put(key, answer(), ttl_seconds=60)
    assert 0 < await resources.redis.ttl(key.name) <= 60


@pytest.mark.parametrize(
    "change",
    [
        {"stream": True},
        {"user": "alice"},
        {"metadata": {"a": "b"}},
        {"stream_options": {"include_usage": True}},
    ],
)
def test_how_an_answer_travels_is_not_part_of_the_key(origin: Origin, change: dict[str, Any]) -> None:
    assert exact.key(ask("Hi") | change, origin=origin) == exact.key(ask("Hi"), origin=origin)


def test_the_order_of_fields_is_not_part_of_the_key(origin: Origin) -> None:
    body = ask("Hi", temperature=0, tools=[{"type": "function", "function": {"name": "f"}}])
    turned = dict(reversed(body.items()))
    assert exact.key(turned, origin=origin) == exact.key(body, origin=origin)


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.5}, {"tools": []}, {"max_tokens": 5}, {"seed": 1}, {"model": "gpt-4o"}, {"n": 1}],
)
def test_whatever_shapes_the_answer_is_part_of_the_key(origin: Origin, change: dict[str, Any]) -> None:
    assert exact.key(ask("Hi") | change, origin=origin) != exact.key(ask("Hi"), origin=origin)


@pytest.mark.parametrize("dimension", ["circle", "endpoint", "route", "prompt_version", "epoch"])
def test_the_origin_is_part_of_the_key(origin: Origin, dimension: str) -> None:
    changed = replace(origin, **{dimension: "another"})
    assert exact.key(ask("Hi"), origin=changed) != exact.key(ask("Hi"), origin=origin)


def test_a_tenants_keys_share_a_hash_tag_of_their_own(origin: Origin) -> None:
    other = replace(origin, tenant_id=origin.tenant_id + 1)
    names = [exact.key(ask(text), origin=origin).name for text in ("a", "b")]
    assert all(name.startswith(f"purser:{{t{origin.tenant_id}}}:") for name in names)
    assert not exact.key(ask("a"), origin=other).name.startswith(f"purser:{{t{origin.tenant_id}}}:")


@pytest.mark.parametrize(
    ("change", "reason"),
    [({}, ""), ({"temperature": 0}, ""), ({"temperature": 0.2}, "sampled"), ({"temperature": 1.2}, "sampled"),
     ({"n": 3}, "several_answers"), ({"n": 1}, ""), ({"temperature": None}, "")],
)  # fmt: skip
def test_sampled_answers_are_not_reused(change: dict[str, Any], reason: str) -> None:
    assert exact.why_not(ask("Hi") | change) == reason


def test_a_tenant_may_draw_the_line_elsewhere() -> None:
    assert exact.why_not(ask("Hi", temperature=0.3), max_temperature=0.5) == ""
    assert exact.why_not(ask("Hi", temperature=0.7), max_temperature=0.5) == "sampled"


async def test_an_entry_of_another_key_is_not_served(origin: Origin) -> None:
    mine, other = (exact.key(ask(text), origin=origin) for text in ("Mine", "Other"))
    await exact.put(other, answer(), ttl_seconds=60)
    await resources.redis.set(mine.name, await resources.redis.get(other.name) or b"")
    assert await exact.get(mine) is None


async def test_damaged_bytes_are_a_miss(origin: Origin) -> None:
    key = exact.key(ask("Hi"), origin=origin)
    await exact.put(key, answer(), ttl_seconds=60)
    packed = await resources.redis.get(key.name)
    await resources.redis.set(key.name, packed[:-5])
    assert await exact.get(key) is None


async def test_an_answer_too_large_is_not_kept(origin: Origin) -> None:
    noise = secrets.token_hex(1_100_000)
    key = exact.key(ask("Hi"), origin=origin)
    assert not await exact.put(key, answer(noise), ttl_seconds=60)


async def test_a_purge_takes_the_tenants_entries_and_no_others(origin: Origin) -> None:
    other = replace(origin, tenant_id=origin.tenant_id + 1_000_000)
    keys = [exact.key(ask(str(number)), origin=origin) for number in range(3)]
    mini = exact.key(ask("x"), origin=replace(origin, route="auto"))
    foreign = exact.key(ask("x"), origin=other)
    for key in (*keys, mini, foreign):
        await exact.put(key, answer(), ttl_seconds=60)
    assert await exact.purge(origin.tenant_id, route="auto") == 1
    assert await exact.purge(origin.tenant_id) == 3
    assert await exact.get(foreign) is not None
    assert await exact.get(keys[0]) is None


@pytest.fixture
def mortal_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    home = tmp_path_factory.mktemp("redis")
    for folder in (home, *home.parents[:2]):
        folder.chmod(0o755)
    server = embedded.start_redis(Path(home))
    yield server
    server.stop()


async def test_redis_killed_is_skipped_at_once_and_found_again(
    origin: Origin, mortal_redis: embedded.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    circuit = Circuit("redis", timeout_seconds=2, probe=exact.ping, outages=(Exception,), rest_seconds=0.05)
    monkeypatch.setattr(exact, "circuit", circuit)
    working, resources.redis_link = resources.redis_link, RedisLink(mortal_redis.url)
    key = exact.key(ask("Hi"), origin=origin)
    try:
        assert await exact.put(key, answer(), ttl_seconds=60)
        mortal_redis.process.kill()
        mortal_redis.process.wait()
        assert await exact.get(key) is None
        assert circuit.is_open
        assert not await exact.put(key, answer(), ttl_seconds=60)
        assert await exact.get(key) is None
        assert not resources.redis_link.is_connected

        await resources.redis_link.aclose()
        resources.redis_link = working  # Redis is back, empty
        deadline = time.monotonic() + 5
        while circuit.is_open and time.monotonic() < deadline:
            await exact.get(key)
            await asyncio.sleep(0.02)
        assert not circuit.is_open
        assert await exact.put(key, answer(), ttl_seconds=60)
        assert await exact.get(key) is not None
    finally:
        resources.redis_link = working


async def test_a_redis_that_hangs_is_not_waited_for(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = []
    slow = FAILURES.labels("redis", "slow")
    before = slow._value.get()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    circuit = Circuit(
        "redis",
        timeout_seconds=0.02,
        probe=exact.ping,
        outages=(Exception,),
        rest_seconds=30,
        slow_calls_allowed=2,
    )
    monkeypatch.setattr(exact, "circuit", circuit)
    working, resources.redis_link = resources.redis_link, RedisLink(f"redis://127.0.0.1:{port}/0")
    try:
        key = exact.key(ask("Hi"), origin=origin)
        for _ in range(5):
            assert await exact.get(key) is None
        assert circuit.is_open
        assert slow._value.get() == before + 2  # later calls did not even try
        assert len(accepted) == 1
    finally:
        await resources.redis_link.aclose()
        resources.redis_link = working
        server.close()


async def stored(key: ExactKey) -> Any:
    found = await exact.get(key)
    assert found is not None
    return found
