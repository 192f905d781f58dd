"""The two sides of every bill: what our ledger says, and what the provider's invoice says.

Invariant: reads only, and only what was committed; whatever ends in the background is waited for, with a generous
deadline.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from tests.stack import Stack, get_json

T = TypeVar("T")

PATIENCE_SECONDS = 20.0
OPEN_STATES = ("held", "sent")


def eventually(
    look: Callable[[], T],
    *,
    until: Callable[[T], Any] = bool,
    patience_seconds: float = PATIENCE_SECONDS,
    pause_seconds: float = 0.05,
) -> T:
    """What `look` finds as soon as it is as wanted; fails with the last thing seen."""
    deadline = time.monotonic() + patience_seconds
    while True:
        found = look()
        if until(found):
            return found
        assert time.monotonic() < deadline, f"still {found!r} after {patience_seconds} s"
        time.sleep(pause_seconds)


async def eventually_async(
    look: Callable[[], Awaitable[T]],
    *,
    until: Callable[[T], Any] = bool,
    patience_seconds: float = PATIENCE_SECONDS,
    pause_seconds: float = 0.05,
) -> T:
    """The same in an event loop, which goes on meanwhile."""
    deadline = time.monotonic() + patience_seconds
    while True:
        found = await look()
        if until(found):
            return found
        assert time.monotonic() < deadline, f"still {found!r} after {patience_seconds} s"
        await asyncio.sleep(pause_seconds)


@dataclass
class Books:
    """The tables as an auditor reads them, and the sandbox's log of calls."""

    stack: Stack
    database: str = "default"

    def rows(self, tenant_id: int, **where: Any) -> list[Any]:
        """The tenant's ledger rows, oldest first."""
        from billing.models import UsageRecord

        return list(
            UsageRecord.objects.using(self.database)
            .filter(tenant_id=tenant_id, **where)
            .order_by("occurred_at", "recorded_at")
        )

    def row(self, request_id: str | UUID) -> Any:
        """The only ledger row of a request."""
        from billing.models import UsageRecord

        return UsageRecord.objects.using(self.database).get(request_id=request_id)

    def meters(self, row: Any) -> dict[str, int]:
        """The quantities of a ledger row's lines."""
        from billing.models import UsageLine

        return dict(
            UsageLine.objects.using(self.database).filter(record_id=row.id).values_list("meter", "quantity")
        )

    def attempts(self, tenant_id: int) -> list[Any]:
        """The tenant's attempts in the order they were made."""
        from billing.models import Attempt

        return list(
            Attempt.objects.using(self.database)
            .filter(tenant_id=tenant_id)
            .order_by("occurred_at", "attempt_no")
        )

    def windows(self, tenant_id: int) -> list[Any]:
        """The budget windows of the tenant."""
        from billing.models import BudgetWindow

        return list(BudgetWindow.objects.using(self.database).filter(tenant_id=tenant_id).order_by("pk"))

    def settled(self, tenant_id: int, *, count: int | None = None) -> list[Any]:
        """The tenant's attempts once none is open any more, and there are as many as asked for."""
        return eventually(
            lambda: self.attempts(tenant_id),
            until=lambda attempts: (
                (len(attempts) >= count if count is not None else attempts)
                and not [attempt for attempt in attempts if attempt.state in OPEN_STATES]
            ),
        )

    def log(self, request_id: str | UUID) -> Any:
        """The row of the request log, which is written in the background."""
        from llm.models import RequestLog

        return eventually(
            lambda: RequestLog.objects.using(self.database).filter(request_id=request_id).first()
        )

    def calls(self, **where: Any) -> list[dict[str, Any]]:
        """What the sandbox was called with, oldest first."""
        found: list[dict[str, Any]] = get_json(f"{self.stack.control_url}/calls?{urlencode(where)}")["calls"]
        return found

    def ended_calls(self, *, count: int, **where: Any) -> list[dict[str, Any]]:
        """The same, once there are so many and the sandbox has ended them."""
        return eventually(
            lambda: self.calls(**where),
            until=lambda calls: len(calls) >= count and all(call["status"] is not None for call in calls),
        )

    def check_invoice(self, tenant_id: int, calls: Iterable[dict[str, Any]]) -> None:
        """Assert that the ledger has each call the provider billed, once, by the provider's own figures."""
        invoice = sorted((call["request_id"], call["billed"]) for call in calls if call["billed"])
        booked = sorted(
            (row.upstream_id, self.meters(row))
            for row in self.rows(tenant_id, kind="usage")
            if row.usage_source != "gateway_cache"
        )
        assert booked == invoice

    def check_windows(self, tenant_id: int) -> None:
        """Assert that nothing is held any more, and that what is spent is what the ledger says."""
        rows = self.rows(tenant_id)
        spent = {
            "usd": sum((row.billed_cost for row in rows), Decimal(0)),
            "tokens": sum(
                row.input_tokens + row.cache_read_tokens + row.cache_write_tokens + row.output_tokens
                for row in rows
            ),
        }
        for window in self.windows(tenant_id):
            assert window.held == 0
            if window.unit in spent and not window.subject:
                assert window.spent == spent[window.unit]
