"""What limits would have refused is what the limiter does refuse, when the same calls are made again under them."""

from collections import Counter
from typing import Any

import pytest
from openai import RateLimitError

from llm.models import RequestLog
from llm.past.limit_replays import Limits, replay
from llm.past.samples import last_days
from tenants.models import Tenant
from tenants.policy import RateLimits
from tests.books import eventually
from tests.world import Member, World

NO_CACHE = {"cache": {"exact": False, "semantic": "off"}}
CALLERS = ("alice", "bob", "alice") * 5


def make_calls(world: World, member: Member) -> Counter[str]:
    """The same calls, one after the other; how many were refused, by user."""
    client = world.openai(member).with_options(max_retries=0)
    refused: Counter[str] = Counter()
    for number, user in enumerate(CALLERS):
        try:
            client.chat.completions.create(
                model="gpt-4o-mini",
                messages=[{"role": "user", "content": f"{number}. What does my card cost?"}],
                max_tokens=20,
                user=user,
            )
        except RateLimitError:
            refused[user] += 1
    return refused


@pytest.mark.parametrize("whose", ["tenant", "key", "user"])
def test_it_works(world: World, make_tenant: Any, whose: str) -> None:
    past = make_tenant("past", policy=NO_CACHE)
    assert not make_calls(world, past)
    eventually(
        lambda: RequestLog.objects.filter(tenant_id=past.id).count(),
        until=lambda count: count == len(CALLERS),
    )
    tenant = Tenant.objects.get(pk=past.id)
    rpm, none = RateLimits(rpm=4), RateLimits()
    limits = Limits(
        rpm if whose == "tenant" else none,
        {key.pk: rpm for key in tenant.keys.all()} if whose == "key" else {},
        rpm if whose == "user" else none,
    )
    tried = replay(limits, last_days(tenant.pk))
    assert tried.calls == len(CALLERS)
    of_users = {"user_rate_limits": {"rpm": 4}} if whose == "user" else {}
    member = make_tenant(
        "tried",
        policy={**NO_CACHE, **of_users},
        rate_limits={"rpm": 4} if whose == "tenant" else None,
        key={"rate_limits": {"rpm": 4}} if whose == "key" else None,
    )
    refused = make_calls(world, member)
    assert tried.users == refused
    assert tried.refused == len(CALLERS) - (8 if whose == "user" else 4)
