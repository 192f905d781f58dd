"""Books what a call cost: settle, void, record a hit, note progress.

Invariant: an attempt is settled once, whichever calls are repeated; what was bought is written down even if its
client is gone and PostgreSQL is away for a while. If a worker dies meanwhile the reaper ends the attempt.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import orjson
import structlog
import uuid_utils

from billing.budgets.balances import Balance
from billing.budgets.windows import WindowKey
from billing.errors import LedgerUnavailable
from billing.ledger import connection
from billing.ledger.connection import array_literal
from billing.ledger.ledger_group import WINDOWS, Kind, Outcome, Part
from billing.ledger.window_ids import ATTEMPT_SECONDS, ids_of
from billing.prices.rating import Rated
from config.database import storable
from config.values import value_type

__all__ = ["CacheHit", "Settlement", "progress", "record_hit", "settle", "settle_parameters", "void"]

# How long an answer waits for its settlement to be confirmed. It goes on without us after that.
PATIENCE_SECONDS = 2.0
UNKNOWN = 0  # what the functions below say of an attempt that was never admitted

# for those who end attempts in a transaction of their own
SETTLE = (
    "SELECT settled FROM billing_commit_group(p_settled => %s::uuid[], p_states => %s::text[],"
    " p_usd => %s::numeric[], p_tokens => %s::bigint[], p_records => %s::jsonb, p_lines => %s::jsonb)"
)
VOID = "SELECT voided FROM billing_commit_group(p_voided => %s::uuid[], p_reasons => %s::text[])"
RECORD_HITS = "SELECT FROM billing_commit_group(p_hits => %s::jsonb, p_hit_windows => %s::bigint[])"

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
    return await _submit_with_timeout(SETTLEMENTS, settlement)


async def void(attempt_id: UUID, *, reason: str) -> list[Balance]:
    """Give the hold of an attempt back that owes nothing; the balances after, as in `settle`. Idempotent."""
    return await _submit_with_timeout(VOIDS, _Void(attempt_id, reason))


async def record_hit(hit: CacheHit) -> list[Balance]:
    """Write the row of an answer from our caches: cost 0, and the saving; the balances of its windows. Idempotent."""
    return await _submit_with_timeout(HITS, hit)


async def progress(attempt_id: UUID, facts: Mapping[str, Any]) -> None:
    """Note how far a stream has come, and that it lives: `input_tokens` and `output_tokens`, or `meters`.

    A crash is billed from this. Never raises for PostgreSQL: the next note says more anyway.
    """
    try:
        await NOTES.submit(_Progress(attempt_id, facts))
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


async def _write_settlements(settlements: list[Settlement]) -> Part[list[Balance]]:
    ids = [settlement.attempt_id for settlement in settlements]
    return Part(settle_parameters(settlements), partial(_read_ended, ids, "settled"))


async def _write_voids(voids: list[_Void]) -> Part[list[Balance]]:
    ids = [void.attempt_id for void in voids]
    reasons = [storable.text(void.reason) for void in voids]
    return Part((array_literal(ids), reasons), partial(_read_ended, ids, "voided"))


def _read_ended(ids: list[UUID], column: str, outcome: Outcome) -> list[list[Balance]]:
    for attempt_id, what in zip(ids, outcome.columns[column], strict=True):
        if what == UNKNOWN:
            log.error("attempt_unknown", attempt=str(attempt_id))
    return [
        outcome.balances_of(windows) for windows in orjson.loads(outcome.columns[f"{column}_windows::text"])
    ]


async def _write_hits(hits: list[CacheHit]) -> Part[list[Balance]]:
    ids = await ids_of(window for hit in hits for window in hit.windows)
    parameters = _json([hit_values(hit) for hit in hits]), array_literal(sorted(ids.values()))

    def read(outcome: Outcome) -> list[list[Balance]]:
        keys = [
            [(window.budget.id, window.subject, window.starts_at) for window in hit.windows] for hit in hits
        ]
        return [outcome.balances_of(ids[key] for key in its if key in ids) for its in keys]

    return Part(parameters, read)


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


async def _write_notes(notes: list[_Progress]) -> Part[None]:
    last = {note.attempt_id: note.facts for note in notes}
    expires_at = datetime.now(UTC) + timedelta(seconds=ATTEMPT_SECONDS)
    parameters = array_literal(last), [_json(facts) for facts in last.values()], expires_at
    return Part(parameters, lambda _: [None] * len(notes))


async def _submit_with_timeout(kind: Kind[T, list[Balance]], request: T) -> list[Balance]:
    """Wait for the group a while. The request is executed all the same, also when the caller is cancelled."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await kind.submit(request)
    except TimeoutError:
        return []


def _json(value: Any) -> str:
    return storable.json_text(value, default=_as_text)


def _as_text(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"no JSON for {type(value).__name__}")


def _attempt_of(request: Settlement | _Void) -> UUID:
    return request.attempt_id


SETTLEMENTS: Kind[Settlement, list[Balance]] = Kind(
    (
        ("p_settled", "uuid[]"),
        ("p_states", "text[]"),
        ("p_usd", "numeric[]"),
        ("p_tokens", "bigint[]"),
        ("p_records", "jsonb"),
        ("p_lines", "jsonb"),
    ),
    ("settled", "settled_windows::text", WINDOWS),
    _write_settlements,
    key=_attempt_of,
    patience_seconds=ATTEMPT_SECONDS,  # after that the reaper ends the attempts
)
VOIDS: Kind[_Void, list[Balance]] = Kind(
    (("p_voided", "uuid[]"), ("p_reasons", "text[]")),
    ("voided", "voided_windows::text", WINDOWS),
    _write_voids,
    key=_attempt_of,
    patience_seconds=ATTEMPT_SECONDS,
)
HITS: Kind[CacheHit, list[Balance]] = Kind(
    (("p_hits", "jsonb"), ("p_hit_windows", "bigint[]")),
    (WINDOWS,),
    _write_hits,
    patience_seconds=ATTEMPT_SECONDS,
)
NOTES: Kind[_Progress, None] = Kind(
    (("p_noted", "uuid[]"), ("p_notes", "text[]"), ("p_noted_until", "timestamptz")),
    ("settled",),
    _write_notes,
    rides=True,  # the notes of all open streams of some moments share a transaction
)
