"""Keeps why a call was refused, so that it can be looked up by its request id.

Invariant: every refusal leaves one small row of the request log: code, message, and the numbers it was decided by; never a
prompt. A flood of refusals leaves a bounded number of rows, each tenant's apart from the others'.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from llm import metrics
from llm.calls import request_log
from tenants.errors import ClientError

LONGEST_TEXT = 300
MOST_WORDS = 20
BURST_ROWS, ROWS_PER_SECOND = 500, 5.0
MOST_TENANTS = 10_000


class RowAllowance:
    """How many rows refusals may still leave, per tenant: a burst, then a few a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[int | None, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._left)

    def take(self, tenant_id: int | None) -> bool:
        """Use up one row of the tenant (None: all callers that we could not identify); False when there is none left."""
        now = self._clock()
        left, then = self._left.pop(tenant_id, (float(BURST_ROWS), now))
        left = min(float(BURST_ROWS), left + (now - then) * ROWS_PER_SECOND)
        is_granted = left >= 1
        self._left[tenant_id] = (left - is_granted, now)
        if len(self._left) > MOST_TENANTS:
            self._left.popitem(last=False)
        if not is_granted:
            metrics.UNLOGGED.inc()
        return is_granted


_allowance = RowAllowance()
may_log = _allowance.take


def described(error: ClientError) -> dict[str, Any]:
    """The refusal as a receipt and the admin show it, bounded, however much the client sent: `code`, `status`, `message`,
    `param`, `retry_after_seconds`, and the facts of the error's own class (a budget, a limit, a step)."""
    return {
        "code": error.code,
        "status": error.status,
        "message": error.message[:LONGEST_TEXT],
        "param": error.param[:LONGEST_TEXT] if error.param else None,
        "retry_after_seconds": error.retry_after_seconds,
        **{name: _bounded(value) for name, value in error.facts.items()},
    }


async def log(
    error: ClientError,
    *,
    request_id: UUID,
    at: datetime,
    endpoint: str,
    tenant_id: int | None = None,
    key_id: int | None = None,
) -> None:
    """Leave the row of a call that was refused before it became one: by its key, its body, or a full house."""
    if not may_log(tenant_id):
        return
    known = {
        "object": "receipt",
        "request_id": str(request_id),
        "at": at,
        "endpoint": endpoint[:64],
        "model_asked": "",
    }
    receipt = known | {
        "status": error.status,
        "error_code": error.code,
        "refusal": described(error),
        "steps": [],
        "attempts": [],
        "result": None,
    }
    row = dict.fromkeys(("user", "feature", "model_asked", "model", "provider", "tier", "route_reason"), "")
    zeros = dict.fromkeys(("input_tokens", "output_tokens", "cost_usd", "list_cost_usd", "latency_ms"), 0)
    await request_log.write(
        {
            **row,
            **zeros,
            "request_id": str(request_id),
            "tenant_id": tenant_id,
            "key_id": key_id,
            "at": at,
            "endpoint": endpoint[:64],
            "cache_state": "bypass",
            "status": error.status,
            "error_code": error.code[:64],
            "is_stream": False,
            "receipt": receipt,
        }
    )


def _bounded(value: Any) -> Any:
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    if isinstance(value, list | tuple):
        return [_bounded(item) for item in value[:MOST_WORDS]]
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value
