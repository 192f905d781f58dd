"""Telling people that a day's bill does not fit the books.

Invariant: a tenant hears once of an account's day, and of the models it called itself; a bill that no call of
anybody's explains is told to those who used the account lately. An event is written with the comparison it is about.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal

import structlog

from billing.difference_kinds import LEAST_TOLERANCE_USD
from billing.models import AlertEvent, CostComparison
from billing.reconciliation_rows import callers_of, lately_callers_of

METRIC = "reconciliation"

log = structlog.get_logger(__name__)


def tell_of_open_days(rows: Sequence[CostComparison]) -> None:
    """Write an event for each tenant concerned of each day with open differences, unless it was told before."""
    days: dict[tuple[str, date], list[CostComparison]] = defaultdict(list)
    for row in rows:
        days[row.provider, row.day].append(row)
    for (provider, day), found in sorted(days.items()):
        log.warning(
            "bill_differs", provider=provider, day=str(day), kinds=sorted({row.kind for row in found})
        )
        AlertEvent.objects.bulk_create(_events(provider, day, found), ignore_conflicts=True)


def _events(provider: str, day: date, rows: Sequence[CostComparison]) -> Iterator[AlertEvent]:
    callers = callers_of(provider, day)
    told: dict[int, list[CostComparison]] = defaultdict(list)
    for row in rows:
        own = {tenant_id for tenant_id, model in callers if model == row.model}
        everybody = own or {each for each, _ in callers} or lately_callers_of(provider, day)
        for tenant_id in everybody:
            told[tenant_id].append(row)
    if not told:
        log.error("bill_differs_and_nobody_to_tell", provider=provider, day=str(day))
    for tenant_id, found in told.items():
        difference = sum((row.difference_usd for row in found), start=Decimal(0))
        models = ", ".join(sorted({row.model or "no model" for row in found}))
        kinds = ", ".join(sorted({row.get_kind_display() for row in found}))
        yield AlertEvent(
            tenant_id=tenant_id,
            metric=METRIC,
            subject_key=provider,
            window_key=str(day),
            value=round(difference, 12),
            threshold=LEAST_TOLERANCE_USD,
            message=f"The bill of {provider} for {day} differs from the ledger by {difference:.4f} USD: {models} ({kinds})",
        )
