"""Our own calls: what the gateway asks a provider for its caches, apart from the clients' requests.

Invariant: such a call is held and settled like any other, with a state of its own in log and ledger (`savings.OUR_OWN`), on
no user's account, and its cost is taken off what the cache has saved. No tenant pays more for calls of one kind on a day
than its policy says, as far as Redis knows; without Redis there are none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any
from uuid import UUID

import orjson
import structlog
import uuid_utils
from redis.exceptions import RedisError

from config import resources
from config.values import value_type
from llm.calls.call import Call
from llm.calls.headers import CallHeaders
from llm.catalog.snapshot import TenantSnapshot
from llm.wire import Body, Source, WireFormat
from tenants.principal import Principal

_SECONDS_KEPT = 2 * 86_400
_NANO = 10**9

log = structlog.get_logger("purser.cache")


@value_type
class OnBehalfOf:
    """The key in whose name an own call is made, and for which of its requests. It knows nothing of the request's body."""

    principal: Principal
    snapshot: TenantSnapshot
    request_id: UUID


class SpendUnknown(Exception):
    """Redis does not say what was spent today, so nothing may be."""


@dataclass(frozen=True, slots=True)
class DailyBudget:
    """What one tenant's calls of one kind may cost a day, in USD; a day is UTC's."""

    kind: str
    tenant_id: int
    usd_per_day: float

    async def has_room(self) -> bool:
        """Whether another call may be made; raises SpendUnknown."""
        if self.usd_per_day <= 0:
            return False
        try:
            spent = await resources.redis.get(self._key())
        except (RedisError, OSError) as error:
            raise SpendUnknown(type(error).__name__) from error
        return int(spent or 0) < self.usd_per_day * _NANO

    async def may_spend(self) -> bool:
        """The same where it does not matter why not: False too when Redis does not say."""
        try:
            return await self.has_room()
        except SpendUnknown:
            return False

    async def note(self, cost_usd: Decimal) -> None:
        """A call was made. Never raises."""
        if not cost_usd:
            return
        key = self._key()
        try:
            async with resources.redis.pipeline() as pipeline:
                pipeline.incrby(key, int((cost_usd * _NANO).to_integral_value(ROUND_CEILING)))
                pipeline.expire(key, _SECONDS_KEPT)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            log.warning(
                "the cost of one of our own calls is not counted", of=self.kind, kind=type(error).__name__
            )

    def _key(self) -> str:
        return f"purser:{{t{self.tenant_id}}}:{self.kind}:{datetime.now(UTC):%Y-%m-%d}"


def own_call(
    *,
    state: str,
    endpoint: str,
    wire: WireFormat,
    body: Body,
    principal: Principal,
    snapshot: TenantSnapshot,
    headers: CallHeaders | None = None,
    passed_on: Mapping[str, str] | None = None,
    **facts: Any,
) -> Call:
    """A call with our own body, in the name of a key; `facts` are further fields of the Call."""
    return Call(
        request_id=UUID(bytes=uuid_utils.uuid7().bytes),
        received_at=datetime.now(UTC),
        endpoint=endpoint,
        wire=wire,
        source=Source(orjson.dumps(body), body),
        body=body,
        facts=replace(wire.facts(body), user=""),
        headers=replace(headers or CallHeaders(), user="", idempotency_key=""),
        passed_on=passed_on or {},
        principal=replace(principal, user=""),
        snapshot=snapshot,
        cache_state=state,
        **facts,
    )


def cost_of(call: Call) -> Decimal:
    """What a call has cost so far, every attempt of it."""
    return sum((outcome.cost_usd for outcome in call.booked), Decimal(0))
