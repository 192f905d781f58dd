"""From a key to its principal: who is let in, who is told why not, and how fast a change counts."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from tenants import errors
from tenants.keys.authentication import KeyDirectory, credentials_of, identify, recall
from tenants.keys.editing import issue_key, revoke_key, rotate_key
from tenants.models import ApiKey, EndUser, Tenant
from tenants.principal import Principal
from tenants.snapshots.feed import ConfigFeed
from tenants.snapshots.store import SnapshotCache, TenantFacts, load_tenant_facts
from tenants.tenancy import resume_tenant, suspend_tenant
from tests.books import eventually_async
from tests.orm import in_thread
from tests.world import new_tenant


class Worker:
    """What one worker process holds: a feed, a cache and a directory of its own."""

    def __init__(self) -> None:
        self.feed = ConfigFeed()
        self.snapshots: SnapshotCache[TenantFacts] = SnapshotCache(load_tenant_facts, feed=self.feed)
        self.directory = KeyDirectory(feed=self.feed)

    async def identify(
        self, clear: str, *, client_ip: str = "127.0.0.1", at: datetime | None = None
    ) -> Principal:
        principal, _ = await identify(
            clear, client_ip=client_ip, snapshots=self.snapshots, directory=self.directory, at=at
        )
        return principal

    async def knows(self, clear: str) -> bool:
        try:
            await self.identify(clear)
        except errors.ClientError:
            return False
        return True


@pytest.fixture
async def workers(loop_resources: None) -> AsyncIterator[tuple[Worker, Worker]]:
    pair = Worker(), Worker()
    listeners = [asyncio.create_task(worker.feed.listen()) for worker in pair]
    async with asyncio.timeout(5):
        while not all(worker.feed.is_listening for worker in pair):
            await asyncio.sleep(0.01)
    yield pair
    for listener in listeners:
        listener.cancel()
    await asyncio.gather(*listeners, return_exceptions=True)


@pytest.fixture
def acme(committed: None) -> Tenant:
    return new_tenant(rate_limits={"rpm": 9})


@pytest.fixture
def issued(acme: Tenant) -> tuple[ApiKey, str]:
    return issue_key(acme, name="ci", models=["gpt-*", "claude-haiku-4-5"])


async def soon(claim: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the claim holds, a second at most."""
    await eventually_async(claim, patience_seconds=1, pause_seconds=0.005)


async def test_it_works(workers: tuple[Worker, Worker], acme: Tenant, issued: tuple[ApiKey, str]) -> None:
    key, clear = issued
    principal = await workers[0].identify(clear)
    assert (principal.tenant_slug, principal.key_id, principal.key_name) == (acme.slug, key.pk, "ci")
    assert principal.tenant_limits.rpm == 9
    assert principal.may_use("gpt-4o")
    assert not principal.may_use("claude-sonnet-4-5")
    with pytest.raises(errors.ModelNotAllowed):
        principal.require_model("claude-sonnet-4-5")


async def test_a_revoked_key_stops_within_a_second_in_every_worker(
    workers: tuple[Worker, Worker], issued: tuple[ApiKey, str]
) -> None:
    key, clear = issued
    for worker in workers:
        assert await worker.knows(clear)
    await in_thread(revoke_key, key)
    for worker in workers:

        async def is_refused(worker: Worker = worker) -> bool:
            return not await worker.knows(clear)

        await soon(is_refused)
        with pytest.raises(errors.RevokedApiKey):
            await worker.identify(clear)


async def test_two_secrets_live_until_the_grace_ends(
    workers: tuple[Worker, Worker], issued: tuple[ApiKey, str]
) -> None:
    key, first = issued
    assert await workers[0].knows(first)
    second = await in_thread(rotate_key, key, grace=timedelta(minutes=5))

    async def second_is_known() -> bool:
        return await workers[0].knows(second)

    await soon(second_is_known)
    assert await workers[0].knows(first)
    later = datetime.now(UTC) + timedelta(minutes=6)
    with pytest.raises(errors.ExpiredApiKey):
        await workers[0].identify(first, at=later)
    assert await workers[0].identify(second, at=later)


async def test_the_clock_expires_a_key_without_a_message(
    workers: tuple[Worker, Worker], acme: Tenant
) -> None:
    ends_at = datetime.now(UTC) + timedelta(hours=1)
    _, clear = await in_thread(issue_key, acme, name="short", expires_at=ends_at)
    assert await workers[0].identify(clear, at=ends_at - timedelta(seconds=1))
    with pytest.raises(errors.ExpiredApiKey):
        await workers[0].identify(clear, at=ends_at)


async def test_a_suspended_tenant_is_refused_until_it_is_resumed(
    workers: tuple[Worker, Worker], acme: Tenant, issued: tuple[ApiKey, str]
) -> None:
    _, clear = issued

    async def is_known() -> bool:
        return await workers[0].knows(clear)

    async def is_refused() -> bool:
        return not await workers[0].knows(clear)

    assert await is_known()
    await in_thread(suspend_tenant, acme)
    await soon(is_refused)
    with pytest.raises(errors.TenantSuspended):
        await workers[0].identify(clear)
    await in_thread(resume_tenant, acme)
    await soon(is_known)


async def test_a_wrong_secret_hears_only_that_it_is_invalid(
    workers: tuple[Worker, Worker], issued: tuple[ApiKey, str]
) -> None:
    key, clear = issued
    await in_thread(revoke_key, key)
    for wrong in (clear[:-1] + ("a" if clear[-1] != "a" else "b"), "nobody's key", "", "psr_", "x" * 10_000):
        with pytest.raises(errors.InvalidApiKey):
            await workers[0].identify(wrong)


async def test_a_key_issued_after_it_was_tried_is_known_at_once(
    workers: tuple[Worker, Worker], acme: Tenant
) -> None:
    clear = f"tried before it was issued {secrets.token_hex(8)}"
    assert not await workers[0].knows(clear)
    await in_thread(issue_key, acme, name="late", secret=clear)

    async def is_known() -> bool:
        return await workers[0].knows(clear)

    await soon(is_known)


async def test_an_address_outside_the_list_is_refused(workers: tuple[Worker, Worker], acme: Tenant) -> None:
    _, clear = await in_thread(issue_key, acme, name="office", ip_allow_list=["10.1.0.0/16", "2001:db8::/32"])
    for inside in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"):
        assert await workers[0].identify(clear, client_ip=inside)
    for outside in ("10.2.0.1", "", "not an address", "2001:db9::1"):
        with pytest.raises(errors.IpNotAllowed):
            await workers[0].identify(clear, client_ip=outside)


async def test_facts_hold_only_users_with_something_to_say(
    workers: tuple[Worker, Worker], acme: Tenant
) -> None:
    def add_users() -> None:
        EndUser.objects.create(tenant=acme, external_id="alice", cost_center="4711")
        EndUser.objects.create(tenant=acme, external_id="bob")
        EndUser.objects.create(tenant=acme, external_id="charlie", is_active=False)

    await in_thread(add_users)
    facts = await workers[0].snapshots.get(acme.pk)
    assert {name: (user.cost_center, user.is_active) for name, user in facts.users.items()} == {
        "alice": ("4711", True),
        "charlie": ("", False),
    }


async def test_a_hundred_callers_share_one_build(workers: tuple[Worker, Worker], acme: Tenant) -> None:
    builds: list[int] = []

    def build(tenant_id: int) -> TenantFacts:
        builds.append(tenant_id)
        return load_tenant_facts(tenant_id)

    cache = SnapshotCache(build, feed=workers[0].feed)
    facts = await asyncio.gather(*(cache.get(acme.pk) for _ in range(100)))
    assert builds == [acme.pk]
    assert all(one is facts[0] for one in facts)


async def test_a_build_overtaken_by_a_change_is_not_kept(
    workers: tuple[Worker, Worker], acme: Tenant
) -> None:
    builds: list[int] = []
    cache = SnapshotCache(lambda tenant_id: builds.append(tenant_id) or tenant_id, feed=workers[0].feed)
    waiting = asyncio.create_task(cache.get(acme.pk))
    await asyncio.sleep(0)
    cache.drop(str(acme.pk))
    await waiting
    assert len(cache) == 0
    await cache.get(acme.pk)
    assert len(builds) == 2


async def test_a_caller_that_hangs_up_leaves_the_build_to_the_others(
    workers: tuple[Worker, Worker], acme: Tenant
) -> None:
    cache = SnapshotCache(load_tenant_facts, feed=workers[0].feed)
    first, second = asyncio.create_task(cache.get(acme.pk)), asyncio.create_task(cache.get(acme.pk))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).id == acme.pk


async def test_memory_is_bounded(workers: tuple[Worker, Worker]) -> None:
    cache = SnapshotCache(lambda tenant_id: tenant_id, feed=workers[0].feed, max_entries=3)
    for tenant_id in range(10):
        await cache.get(tenant_id)
    assert len(cache) == 3
    directory = KeyDirectory(feed=workers[0].feed, max_unknown=3)
    for number in range(10):
        with pytest.raises(errors.InvalidApiKey):
            await directory.tenant_of(f"x{number}")
    assert directory.unknown_count == 3


async def test_the_feed_comes_back_and_forgets_everything(
    workers: tuple[Worker, Worker], issued: tuple[ApiKey, str]
) -> None:
    worker, (key, clear) = workers[0], issued
    assert await worker.knows(clear)

    def cut_the_listeners_and_revoke() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE 'LISTEN%%'"
            )
        revoke_key(key)

    await in_thread(cut_the_listeners_and_revoke)

    async def is_refused() -> bool:
        return not await worker.knows(clear)

    await soon(is_refused)
    async with asyncio.timeout(5):
        while not worker.feed.is_listening:
            await asyncio.sleep(0.01)


async def test_a_caller_is_recalled_without_asking_anybody(
    workers: tuple[Worker, Worker], acme: Tenant, issued: tuple[ApiKey, str]
) -> None:
    """For the row of a call that found the house full: only who was identified before, with the right secret."""
    (worker, _), (key, clear) = workers, issued

    def recalled(secret: str) -> tuple[int, int] | None:
        known = recall(secret, client_ip="127.0.0.1", snapshots=worker.snapshots, directory=worker.directory)
        return known and (known[0].tenant_id, known[0].key_id)

    assert recalled(clear) is None
    await worker.identify(clear)
    assert recalled(clear) == (acme.pk, key.pk)
    assert recalled(clear[:-1] + ("a" if clear[-1] != "a" else "b")) is None
    assert recalled("") is None


async def test_credentials_stand_in_either_header() -> None:
    assert credentials_of({"authorization": "Bearer psr_a b c"}) == "psr_a b c"
    assert credentials_of({"authorization": "bearer psr_a"}) == "psr_a"
    assert credentials_of({"x-api-key": " psr_a "}) == "psr_a"
    assert credentials_of({"authorization": "Basic abc", "x-api-key": "psr_a"}) == "psr_a"
    assert credentials_of({}) == ""
