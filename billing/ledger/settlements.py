"""Books what a call cost: settle, void, record a hit, note progress.

Invariant: an attempt is settled once, whichever calls are repeated; what was bought is written down even if its
client is gone and PostgreSQL is away for a while. If a worker dies meanwhile the reaper ends the attempt.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import orjson
import psycopg
import structlog
import uuid_utils

from billing.budgets.balances import Balance
from billing.budgets.windows import WindowKey
from billing.errors import LedgerUnavailable
from billing.ledger import connection
from billing.ledger.connection import array_literal
from billing.ledger.group_commit import GroupCommit
from billing.ledger.seen_balances import read_balances
from billing.ledger.window_ids import ATTEMPT_SECONDS, ids_of
from billing.prices.rating import Rated
from config.database import storable
from config.values import value_type

__all__ = ["CacheHit", "Settlement", "progress", "record_hit", "settle", "settle_parameters", "void"]

# How long an answer waits for its settlement to be confirmed. It goes on without us after that.
PATIENCE_SECONDS = 2.0
UNKNOWN = 0  # what the functions below say of an attempt that was never admitted

SETTLE = (
    "SELECT outcomes, attempt_windows::text, windows::text FROM"
    " billing_settle(%s::uuid[], %s::text[], %s::numeric[], %s::bigint[], %s::jsonb, %s::jsonb)"
)
VOID = "SELECT outcomes, attempt_windows::text, windows::text FROM billing_void(%s::uuid[], %s::text[])"
RECORD_HITS = "SELECT billing_record_hits(%s::jsonb, %s::bigint[])::text"
PROGRESS = "SELECT billing_progress(%s::uuid[], %s::text[], %s::timestamptz)"

log = structlog.get_logger(__name__)
T = TypeVar("T")


@value_type
class Settlement:
    """How an attempt ended: what it used, what that costs, and what it would have cost without us.

    `usage_source` is `provider` (the provider reported its usage), `estimated` (it was counted, or is a bound) or `manual` (a
    person explained it). `certainty` follows from it where it is not given; `reading` says how the usage was read, and why
    that is not exact.
    `saving` is signed and by kind; list cost less its sum is what is billed. Who, what and when are copied from
    the attempt.
    """

    attempt_id: UUID
    usage_source: str
    rated: Rated
    meters: Mapping[str, int]
    list_cost_usd: Decimal
    saving: Mapping[str, Decimal] = field(default_factory=dict)
    raw_usage: Mapping[str, Any] | None = None
    upstream_id: str = ""
    reasoning_tokens: int = 0
    reason: str = ""
    processing: str | None = None
    service_tier: str = "standard"
    region: str = "global"
    certainty: str = ""
    reading: Mapping[str, Any] | None = None

    @property
    def how_certain(self) -> str:
        """`exact`, `estimated` or `unread`: what has no price is a bound until it has one."""
        if self.rated.is_lump:
            return "unread"
        return self.certainty or ("estimated" if self.usage_source == "estimated" else "exact")


@value_type
class CacheHit:
    """An answer from our caches: nothing was bought. `saving` is what it would have cost, in USD by kind of saving."""

    request_id: UUID
    tenant_id: int
    key_id: int | None
    occurred_at: datetime
    provider: str
    model: str
    cache_state: str
    saving: Mapping[str, Decimal]
    input_tokens: int
    output_tokens: int
    user: str = ""
    feature: str = ""
    windows: tuple[WindowKey, ...] = ()
    dims: Mapping[str, Any] = field(default_factory=dict)
    id: UUID = field(default_factory=lambda: UUID(bytes=uuid_utils.uuid7().bytes))


@dataclass(frozen=True, slots=True)
class _Void:
    attempt_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class _Progress:
    attempt_id: UUID
    facts: Mapping[str, Any]


async def settle(settlement: Settlement) -> list[Balance]:
    """Write an attempt's row into the ledger and give its hold back; the balances after, or none if that takes too
    long to know. Idempotent by attempt; the usage of an attempt that had been estimated becomes a correction."""
    return await _submit_with_timeout(_settlements, settlement)


async def void(attempt_id: UUID, *, reason: str) -> list[Balance]:
    """Give the hold of an attempt back that owes nothing; the balances after, as in `settle`. Idempotent."""
    return await _submit_with_timeout(_voids, _Void(attempt_id, reason))


async def record_hit(hit: CacheHit) -> list[Balance]:
    """Write the row of an answer from our caches: cost 0, and the saving; the balances of its windows. Idempotent."""
    return await _submit_with_timeout(_hits, hit)


async def progress(attempt_id: UUID, facts: Mapping[str, Any]) -> None:
    """Note how far a stream has come, and that it lives: `input_tokens` and `output_tokens`, or `meters`.

    A crash is billed from this. Never raises for PostgreSQL: the next note says more anyway.
    """
    try:
        await _notes.submit(_Progress(attempt_id, facts))
    except (*connection.UNREACHABLE, LedgerUnavailable) as error:
        log.warning("progress_not_noted", error=type(error).__name__)


def settle_parameters(settlements: Sequence[Settlement]) -> tuple[Any, ...]:
    """The parameters of SETTLE. No attempt may be in them twice."""
    lines = [
        {
            "n": number,
            "line_no": line_no,
            "meter": line.meter,
            "quantity": line.quantity,
            "per": line.per,
            "price_id": line.price_id,
            "unit_price": line.unit_price,
            "list_cost": line.list_cost_usd,
            "provider_cost": line.provider_cost_usd,
            "contracted_cost": line.cost_usd,
            "billed_cost": line.cost_usd,
        }
        for number, settlement in enumerate(settlements, 1)
        for line_no, line in enumerate(settlement.rated.lines, 1)
    ]
    records = [_record(settlement) for settlement in settlements]
    tokens = (
        record["input_tokens"]
        + record["cache_read_tokens"]
        + record["cache_write_tokens"]
        + record["output_tokens"]
        for record in records
    )
    states = ("captured" if settlement.how_certain == "exact" else "estimated" for settlement in settlements)
    return (
        array_literal(settlement.attempt_id for settlement in settlements),
        array_literal(states),
        array_literal(settlement.rated.cost_usd for settlement in settlements),
        array_literal(tokens),
        _json(records),
        _json(lines),
    )


def _record(settlement: Settlement) -> dict[str, Any]:
    sums = {"input": 0, "cache_read": 0, "cache_write": 0, "output": 0}
    for meter, quantity in settlement.meters.items():
        for kind in ("input", "cache_read", "cache_write", "output"):
            if meter.startswith(kind):
                sums[kind] += quantity
                break
    return {
        "usage_source": settlement.usage_source,
        "reason": settlement.reason,
        "service_tier": settlement.service_tier,
        "processing": settlement.processing,
        "region": settlement.region,
        "upstream_id": settlement.upstream_id,
        "raw_usage": settlement.raw_usage,
        "input_tokens": sums["input"],
        "cache_read_tokens": sums["cache_read"],
        "cache_write_tokens": sums["cache_write"],
        "output_tokens": sums["output"],
        "reasoning_tokens": settlement.reasoning_tokens,
        "list_cost": settlement.list_cost_usd,
        "provider_cost": settlement.rated.provider_cost_usd,
        "contracted_cost": settlement.rated.cost_usd,
        "saving": settlement.saving,
        "price_status": "unpriced" if settlement.rated.is_lump else "priced",
        "certainty": settlement.how_certain,
        "reading": settlement.reading,
    }


async def _settle_group(settlements: list[Settlement]) -> list[list[Balance] | Exception]:
    # Twice in one group: the first one counts, as it would in two.
    first = {settlement.attempt_id: settlement for settlement in reversed(settlements)}
    parameters = settle_parameters(list(first.values()))
    return await _end_group(SETTLE, parameters, settlements, list(first))


async def _void_group(voids: list[_Void]) -> list[list[Balance] | Exception]:
    first = {void.attempt_id: void.reason for void in reversed(voids)}
    return await _end_group(
        VOID, (array_literal(first), [storable.text(reason) for reason in first.values()]), voids, list(first)
    )


async def _end_group(
    query: str, parameters: tuple[Any, ...], requests: Sequence[Settlement | _Void], ids: list[UUID]
) -> list[list[Balance] | Exception]:
    """Run a function that ends attempts until it has run; what each request's windows hold after."""
    row = await connection.until_done(lambda: connection.call(query, parameters), give_up_at=_deadline())
    outcomes, attempt_windows, windows = row
    balances = read_balances(windows)
    window_ids = dict(zip(ids, orjson.loads(attempt_windows), strict=True))
    for attempt_id, outcome in zip(ids, outcomes, strict=True):
        if outcome == UNKNOWN:
            log.error("attempt_unknown", attempt=str(attempt_id))
    return [
        [balances[window_id] for window_id in window_ids[request.attempt_id] if window_id in balances]
        for request in requests
    ]


async def _record_hit_group(hits: list[CacheHit]) -> list[list[Balance] | Exception]:
    async def record() -> list[list[Balance] | Exception]:
        ids = await ids_of(window for hit in hits for window in hit.windows)
        row = await connection.call(
            RECORD_HITS, (_json([hit_values(hit) for hit in hits]), array_literal(sorted(ids.values())))
        )
        balances = read_balances(row[0])
        keys = [
            [(window.budget.id, window.subject, window.starts_at) for window in hit.windows] for hit in hits
        ]
        return [[balances[ids[key]] for key in its if ids.get(key) in balances] for its in keys]

    return await connection.until_done(record, give_up_at=_deadline())


def hit_values(hit: CacheHit) -> dict[str, Any]:
    """Its row by the names of the ledger's columns."""
    return {
        **hit.dims,
        "id": hit.id,
        "occurred_at": hit.occurred_at,
        "tenant_id": hit.tenant_id,
        "request_id": hit.request_id,
        "user_id": hit.user,
        "key_id": hit.key_id,
        "feature": hit.feature,
        "provider": hit.provider,
        "model": hit.model,
        "cache_state": hit.cache_state,
        "saved_input_tokens": hit.input_tokens,
        "saved_output_tokens": hit.output_tokens,
        "list_cost": sum(hit.saving.values(), Decimal(0)),
        "saving": dict(hit.saving),
    }


async def _note_group(notes: list[_Progress]) -> list[Exception | None]:
    last = {note.attempt_id: note.facts for note in notes}
    expires_at = datetime.now(UTC) + timedelta(seconds=ATTEMPT_SECONDS)
    await connection.call(
        PROGRESS, (array_literal(last), [_json(facts) for facts in last.values()], expires_at)
    )
    return [None] * len(notes)


async def _submit_with_timeout(group: GroupCommit[T, list[Balance]], request: T) -> list[Balance]:
    """Wait for the group a while. The request is executed all the same, also when the caller is cancelled."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await group.submit(request)
    except TimeoutError:
        return []


def _deadline() -> Callable[[], bool]:
    """True once the attempts' time is up: from then on the reaper ends them."""
    ends = time.monotonic() + ATTEMPT_SECONDS
    return lambda: time.monotonic() > ends


def _json(value: Any) -> str:
    return storable.json_text(value, default=_as_text)


def _as_text(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"no JSON for {type(value).__name__}")


# after that the reaper ends the attempts
_ON_FAULTS: Any = {"apart_on": (psycopg.Error,), "patience_seconds": ATTEMPT_SECONDS}
_settlements: GroupCommit[Settlement, list[Balance]] = GroupCommit(_settle_group, **_ON_FAULTS)
_voids: GroupCommit[_Void, list[Balance]] = GroupCommit(_void_group, **_ON_FAULTS)
_hits: GroupCommit[CacheHit, list[Balance]] = GroupCommit(_record_hit_group, **_ON_FAULTS)
_notes: GroupCommit[_Progress, None] = GroupCommit(_note_group)
