"""The reaper: ends the attempts that a crash left open.

Invariant: an attempt past its time ends as if its worker had: one that never went out gives its hold back, one
that did is billed from the progress it noted, else at its hold, and says that this is an estimate. Usage that
comes later still makes it a correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.utils.timezone import now

from billing.errors import ModelUnpriced, UnpricedMeter
from billing.ledger.settlements import SETTLE, VOID, Settlement, settle_parameters
from billing.models import Attempt
from billing.prices.book import PriceBook, load_price_book
from billing.prices.rating import Rated, rate

BATCH = 200

# A settlement of one of them at this moment holds its lock: it is skipped then.
TAKE_EXPIRED = """
SELECT id, tenant_id, state, provider, model, processing, occurred_at, hold_usd, hold_tokens, progress, dims
FROM billing_attempt WHERE state IN ('held', 'sent') AND expires_at < %s
ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reaped:
    """What a run ended."""

    voided: int = 0
    estimated: int = 0


@dataclass(frozen=True, slots=True)
class _Expired:
    id: UUID
    tenant_id: int
    state: str
    provider: str
    model: str
    processing: str
    occurred_at: datetime
    hold_usd: Decimal
    hold_tokens: int
    progress: dict[str, Any] | None
    dims: dict[str, Any]


def reap(at: datetime | None = None) -> Reaped:
    """End every attempt that expired before `at` (now), in batches of one transaction each."""
    at = at or now()
    voided = estimated = 0
    while True:
        with transaction.atomic():
            expired = _take_expired(at)
            unsent = [attempt for attempt in expired if attempt.state == "held"]
            sent = [attempt for attempt in expired if attempt.state == "sent"]
            _void(unsent)
            _estimate(sent)
        voided, estimated = voided + len(unsent), estimated + len(sent)
        if len(expired) < BATCH:
            break
    if voided or estimated:
        log.warning("attempts_reaped", voided=voided, estimated=estimated)
    return Reaped(voided, estimated)


def estimate_of(attempt: _Expired, book: PriceBook) -> Settlement:
    """What an attempt that was never settled is billed: its progress, rated; without progress, its hold."""
    progress = attempt.progress or {}
    noted = progress.get("meters") or {
        "input": progress.get("input_tokens", 0),
        "output": progress.get("output_tokens", 0),
    }
    meters = {meter: int(quantity) for meter, quantity in noted.items() if quantity}
    if meters:
        try:
            rates = book.rates(
                attempt.provider, attempt.model, at=attempt.occurred_at, processing=attempt.processing
            )
            return _settlement(attempt, meters, rate(meters, rates), reason="worker lost: progress")
        except (ModelUnpriced, UnpricedMeter):
            pass
    return _settlement(
        attempt, {"output": attempt.hold_tokens}, Rated.bound(attempt.hold_usd), reason="worker lost: hold"
    )


def _settlement(attempt: _Expired, meters: dict[str, int], rated: Rated, *, reason: str) -> Settlement:
    return Settlement(
        attempt_id=attempt.id,
        usage_source="estimated",
        rated=rated,
        meters=meters,
        list_cost_usd=rated.cost_usd,
        reason=reason,
    )


def _take_expired(at: datetime) -> list[_Expired]:
    rows = Attempt.objects.raw(TAKE_EXPIRED, [at, BATCH])
    names = _Expired.__dataclass_fields__
    return [_Expired(**{name: getattr(row, name) for name in names}) for row in rows]


def _void(attempts: Sequence[_Expired]) -> None:
    if attempts:
        ids = [attempt.id for attempt in attempts]
        with connection.cursor() as cursor:
            cursor.execute(VOID, (ids, ["never sent"] * len(ids)))


def _estimate(attempts: Sequence[_Expired]) -> None:
    books = {
        tenant_id: load_price_book(tenant_id) for tenant_id in {attempt.tenant_id for attempt in attempts}
    }
    if attempts:
        settlements = [estimate_of(attempt, books[attempt.tenant_id]) for attempt in attempts]
        with connection.cursor() as cursor:
            cursor.execute(SETTLE, settle_parameters(settlements))
