"""Concurrency slots of a process that was killed come back by themselves."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from config import resources
from tenants.errors import RateLimitExceeded
from tenants.limits import limiting as limits
from tenants.limits.counting import SLOT_SECONDS
from tenants.limits.limiting import Limiter
from tenants.policy import RateLimits
from tenants.principal import Principal

pytestmark = pytest.mark.usefixtures("loop_resources")

CONCURRENCY = 4
TENANT = 10**17 + 4711
CALLER = Principal(
    tenant_id=TENANT,
    tenant_slug="acme",
    key_id=7,
    key_name="ci",
    key_public_id="abc",
    tenant_limits=RateLimits(concurrency=CONCURRENCY),
    key_limits=RateLimits(concurrency=CONCURRENCY + 1),
)
HOLDER = """
import asyncio, django
django.setup()
from config.resources import resources
from tenants.limits import limiting as limits
from tests.chaos.test_slots import CALLER, CONCURRENCY

async def hold():
    limits.ANSWER_SECONDS = 60  # a busy machine's Redis is slow, not away
    async with resources():
        for _ in range(CONCURRENCY):
            assert (await limits.acquire(CALLER, tokens=1)).is_shared
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


async def test_it_works(monkeypatch: pytest.MonkeyPatch, tests_database_url: str) -> None:
    """Killed with its calls open, it frees nothing; nobody renews the slots, so that a minute later they are nobody's."""
    monkeypatch.setattr(limits, "ANSWER_SECONDS", 60)
    environment = {
        **os.environ,
        "DATABASE_URL": tests_database_url,
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    limiter = Limiter()
    with subprocess.Popen([sys.executable, "-c", HOLDER], env=environment, stdout=subprocess.PIPE) as holder:
        try:
            assert await asyncio.to_thread(holder.stdout.readline) == b"held\n"
            with pytest.raises(RateLimitExceeded):
                await limiter.acquire(CALLER, tokens=1)
        finally:
            holder.send_signal(signal.SIGKILL)
    for scope in limits.scopes_of(CALLER, user=""):
        slots = f"purser:slots:{scope.key}"
        ends = await resources.redis.zrange(slots, 0, -1, withscores=True)
        assert len(ends) == CONCURRENCY
        now, _ = await resources.redis.time()
        assert all(end <= now + SLOT_SECONDS + 1 for _, end in ends)
        # a minute goes by: with nobody there to renew them, their ends lie in the past
        await resources.redis.zadd(slots, {slot: end - 2 * SLOT_SECONDS for slot, end in ends}, xx=True)
    slots_again = [await limiter.acquire(CALLER, tokens=1) for _ in range(CONCURRENCY)]
    assert all(slot.is_shared for slot in slots_again)
    with pytest.raises(RateLimitExceeded):
        await limiter.acquire(CALLER, tokens=1)
    for slot in slots_again:
        await limiter.release(slot)
