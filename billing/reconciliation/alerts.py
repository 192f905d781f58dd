"""Notifies people that a day's bill does not match the books.

Invariant: the operators are notified once of every account's day that differs. A tenant is notified once of an
account's day, and of the models it called itself; a bill that no call explains goes to the tenants that recently used
the account. An event is written together with the comparison it is about.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal

import structlog

from billing.models import AlertEvent, CostComparison
from billing.notices import notify_operators
from billing.reconciliation.difference_kinds import LEAST_TOLERANCE_USD
from billing.reconciliation.rows import callers_of, recent_callers_of

METRIC = "reconciliation"

log = structlog.get_logger(__name__)


def notify_of_open_days(rows: Sequence[CostComparison]) -> None:
    """Write an event for each tenant concerned of each day with open differences, unless there is one already."""
    days: dict[tuple[str, date], list[CostComparison]] = defaultdict(list)
    for row in rows:
        days[row.provider, row.day].append(row)
    for (provider, day), found in sorted(days.items()):
        log.warning(
            "bill_differs", provider=provider, day=str(day), kinds=sorted({row.kind for row in found})
        )
        AlertEvent.objects.bulk_create(_events(provider, day, found), ignore_conflicts=True)
        difference = _difference(found)
        notify_operators(
            METRIC,
            _message(provider, day, found),
            subject=provider,
            window=str(day),
            value=difference,
            threshold=LEAST_TOLERANCE_USD,
        )


def _events(provider: str, day: date, rows: Sequence[CostComparison]) -> Iterator[AlertEvent]:
    callers = callers_of(provider, day)
    by_tenant: dict[int, list[CostComparison]] = defaultdict(list)
    for row in rows:
        own = {tenant_id for tenant_id, model in callers if model == row.model}
        concerned = own or {each for each, _ in callers} or recent_callers_of(provider, day)
        for tenant_id in concerned:
            by_tenant[tenant_id].append(row)
    for tenant_id, found in by_tenant.items():
        yield AlertEvent(
            tenant_id=tenant_id,
            metric=METRIC,
            subject_key=provider,
            window_key=str(day),
            value=_difference(found),
            threshold=LEAST_TOLERANCE_USD,
            message=_message(provider, day, found),
        )


def _difference(rows: Sequence[CostComparison]) -> Decimal:
    return round(sum((row.difference_usd for row in rows), start=Decimal(0)), 12)


def _message(provider: str, day: date, rows: Sequence[CostComparison]) -> str:
    models = ", ".join(sorted({row.model or "no model" for row in rows}))
    kinds = ", ".join(sorted({row.why for row in rows}))
    differs = f"The bill of {provider} for {day} differs from the ledger by {_difference(rows):.4f} USD"
    return f"{differs}: {models} ({kinds})"
