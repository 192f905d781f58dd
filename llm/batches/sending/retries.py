"""Lines that failed and go out again: as another attempt, at another account where there is one.

Invariant: an attempt is over in the ledger before its line gets the next one, which is written down before it is held; a line has
a bounded number of them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import uuid_utils
from django.utils import timezone

from llm.batches.plans.accounts import Accounts
from llm.batches.plans.writing import save_items
from llm.catalog.snapshot import TenantSnapshot
from llm.errors import ModelNotFound
from llm.models import Batch, BatchItem
from llm.providers.kinds.batch_api import LineResult

MOST_ATTEMPTS: Final = 3
FIRST_PAUSE: Final = timedelta(seconds=5)
GROWTH: Final = 6  # of each further pause
# what may go better later; any other refusal the same line would meet again
RETRYABLE: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
NOT_BEGUN: Final = frozenset({"batch_expired", "batch_cancelled"})

_CHANGED: Final = ("attempt_id", "attempt_no", "status", "job_id", "model", "provider", "lane")


def may_go_again(item: BatchItem, result: LineResult, *, batch: Batch) -> bool:
    """Whether a line that was answered so is worth another attempt."""
    if result.answer is not None or (result.error or {}).get("code") in NOT_BEGUN:
        return False
    return result.status in RETRYABLE and has_tries(item, batch=batch)


def has_tries(item: BatchItem, *, batch: Batch) -> bool:
    """Whether there is time and a try left. Lines of deferred calls have none: they go out in real time."""
    is_wanted = not batch.is_gathered and batch.cancelling_at is None and timezone.now() < batch.expires_at
    return is_wanted and item.attempt_no < MOST_ATTEMPTS


def send_again(
    batch: Batch, items: Sequence[BatchItem], *, snapshot: TenantSnapshot, is_elsewhere: bool = False
) -> list[BatchItem]:
    """Give lines, whose attempts are over in the ledger, another one each: to be held, and to get a job. Those that do go
    again: with `is_elsewhere` only where another account takes them."""
    if not items:
        return []
    accounts = Accounts.of(batch, snapshot=snapshot)
    again = []
    for item in items:
        try:
            account = accounts.choose(snapshot.catalog.find(item.model), not_at=item.provider)
        except ModelNotFound:  # it is not served any more
            continue
        if is_elsewhere and account.target.provider == item.provider:
            continue
        item.attempt_id, item.attempt_no = UUID(bytes=uuid_utils.uuid7().bytes), item.attempt_no + 1
        item.status, item.job = BatchItem.Status.PLANNED, None
        item.model, item.provider, item.lane = account.target.model, account.target.provider, account.lane
        again.append(item)
    save_items(again, _CHANGED)
    return again


def not_before(attempt_no: int, *, now: datetime) -> datetime | None:
    """When an attempt may go out; None: immediately."""
    if attempt_no < 2:
        return None
    # an operator may have had it tried more often
    pause: timedelta = FIRST_PAUSE * GROWTH ** (min(attempt_no, MOST_ATTEMPTS) - 2)
    return now + pause
