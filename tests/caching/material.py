"""Requests, answers and policies for the tests of the caches."""

from decimal import Decimal
from typing import Any

from caching.answers import CachedAnswer
from caching.scope import Origin
from tenants.models import Tenant
from tenants.policy import CachePolicy

STATIC = CachePolicy(semantic="static", threshold=0.85)
BOUNDED = CachePolicy(semantic="bounded", max_error_rate=0.05)


def origin_of(tenant: Tenant, **changes: str) -> Origin:
    fields = {"circle": "tenant", "endpoint": "chat", "route": "gpt-4o-mini"} | changes
    return Origin(tenant_id=tenant.pk, **fields)


def unchecked() -> float:
    """A draw that leaves every hit unchecked."""
    return 0.99


def checked() -> float:
    """A draw that has every hit checked."""
    return 0.0


def ask(text: str, **changes: Any) -> dict[str, Any]:
    """A chat request whose last turn is `text`."""
    system = {"role": "system", "content": "You are a bank's support desk."}
    return {"model": "gpt-4o-mini", "messages": [system, {"role": "user", "content": text}]} | changes


def answer(text: str = "Wait ten days, then order a new card.", **changes: Any) -> CachedAnswer:
    fields: dict[str, Any] = {
        "body": {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]},
        "endpoint": "chat",
        "model": "gpt-4o-mini",
        "provider": "openai",
        "usage": {"prompt_tokens": 20, "completion_tokens": 9},
        "text": text,
        "list_cost_usd": Decimal("0.000008400000"),
        "cost_usd": Decimal("0.000008400000"),
        "request_id": "0198-test",
    }
    return CachedAnswer(**(fields | changes))
