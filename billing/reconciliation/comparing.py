"""Reconciliation: compares the provider's own report with the ledger, day by day, and keeps what people decide about it.

Invariant: the ledger is never rewritten. A comparison is made of the live report and the ledger, and making it
again changes nothing; a person's decision is valid until its figures change. A confirmed difference
becomes one adjustment, whichever calls are repeated.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import structlog
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils.timezone import now

from billing.models import CostComparison, CostReport, CostReportLine
from billing.money import EXACT, TWELVE_PLACES
from billing.reconciliation.alerts import notify_of_open_days
from billing.reconciliation.difference_kinds import name_differences
from billing.reconciliation.line_items import LineItem, ModelNames
from billing.reconciliation.provider_reports import ProviderReport
from billing.reconciliation.rows import (
    callers_of,
    covered_days,
    read_sides,
)
from billing.reconciliation.sides import Cell, Verdict
from tenants.models import Tenant

DAY = timedelta(days=1)
ADJUSTMENTS = UUID("6f6b2f0e-52c6-5d0e-9c39-0b7a5b1d8c11")  # the name space of adjustments' ids
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('reconcile ' || %s, 0))"
BOOK = "SELECT billing_book_invoice_difference(%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb)"
Kind, Status, Standing = CostComparison.Kind, CostComparison.Status, CostReportLine.Standing
MOST_COPIES = 30_000
SETTLED_KINDS = frozenset({Kind.MATCH, Kind.ROUNDING, Kind.BOUNDARY})

log = structlog.get_logger(__name__)


class StaleComparison(Exception):
    """The figures are not what the person saw any more: look again."""


@dataclass(frozen=True, slots=True)
class BilledAccount:
    """A provider account as reports name it; `upstreams` is our model names to the provider's."""

    provider: str
    kind: str
    upstreams: Mapping[str, str]


@transaction.atomic
def store_report(
    account: BilledAccount,
    report: ProviderReport,
    *,
    source: str,
    content: bytes,
    days: Collection[date] | None = None,
    file_name: str = "",
    acting_user: User | None = None,
) -> CostReport:
    """Keep a report and let it supersede what was known of its days; ValidationError for one without a day.

    `days` cuts the report to the days that were asked for.
    """
    wanted = report.days if days is None else report.days & frozenset(days)
    if not wanted:
        raise ValidationError("the report covers none of these days")
    first, last = min(wanted), max(wanted)
    if len(wanted) != (last - first).days + 1:
        raise ValidationError("the report leaves days out: reconcile them span by span")
    _lock(account.provider)
    names = ModelNames(dict(account.upstreams))
    rows = _rows_of(report, wanted, names)
    stored = CostReport.objects.create(
        provider=account.provider,
        kind=account.kind,
        source=source,
        first_day=first,
        last_day=last,
        line_count=sum(place.standing != Standing.ELSEWHERE for place in rows),
        total_usd=sum(
            (row.usd for place, row in rows.items() if place.standing != Standing.ELSEWHERE), start=Decimal(0)
        ),
        digest=hashlib.sha256(content).hexdigest(),
        file_name=file_name[:200],
        model_names=dict(account.upstreams),
        fetched_by=acting_user,
    )
    live = CostReportLine.objects.filter(provider=account.provider, day__in=wanted, superseded_at=None)
    live.update(superseded_at=stored.fetched_at)
    CostReportLine.objects.bulk_create(
        CostReportLine(
            report=stored,
            provider=account.provider,
            day=place.day,
            line_item=place.line_item,
            project=place.project,
            model=place.item.model[:128],
            meter=place.item.meter,
            processing=place.item.processing,
            standing=place.standing,
            quantity=row.quantity,
            amount_usd=row.usd,
            copies=row.copies,
        )
        for place, row in rows.items()
    )
    return stored


@transaction.atomic
def compare(
    provider: str, *, first: date, last: date, at: datetime | None = None, is_quiet: bool = False
) -> list[CostComparison]:
    """Compare an account's days and their neighbours, as far as reports cover them; returns those of the span.

    A day that is not over by `at` is compared, but nobody is notified. Four queries and one per row that changed.
    """
    at = at or now()
    _lock(provider)
    covered = covered_days(provider, first=first - 2 * DAY, last=last + 2 * DAY)
    # each is compared together with its own neighbours
    days = {day for day in covered if first - DAY <= day <= last + DAY}
    found, evidence = read_sides(provider, days=covered)
    named = name_differences(found, evidence)
    cells = {key: cell for key, cell in found.items() if key[0] in days}
    verdicts = {key: named[key] for key in cells}
    known = {
        (row.day, row.model, row.meter): row
        for row in CostComparison.objects.filter(provider=provider, day__in=days)
    }
    gone = Verdict(Kind.MATCH, "neither side has it any more", True)
    for key in known.keys() - cells.keys():
        cells[key], verdicts[key] = Cell(), gone
    rows = []
    for key in sorted(cells):
        row = known.get(key) or CostComparison(provider=provider, day=key[0], model=key[1], meter=key[2])
        _take(row, cells[key], verdicts[key], at=at)
        rows.append(row)
    if not is_quiet:
        over = {day for day in days if datetime.combine(day + DAY, time(), UTC) <= at}
        notify_of_open_days([row for row in rows if row.day in over and row.status == Status.OPEN])
    return [row for row in rows if first <= row.day <= last]


@transaction.atomic
def decide(
    row: CostComparison, *, status: str, reason: str, acting_user: User | None = None
) -> CostComparison:
    """Say that a difference is explained or resolved, or open again, and why. Raises ValidationError."""
    if not reason.strip():
        raise ValidationError({"reason": "give a reason: auditors will ask"})
    if status not in Status.values:
        raise ValidationError({"status": f"is one of {', '.join(Status.values)}"})
    locked = _locked(row)
    if locked.kind == Kind.MATCH:
        raise ValidationError("both sides say the same: there is nothing to decide")
    _decide(locked, status=status, reason=reason, acting_user=acting_user)
    return locked


def tenants_of_comparison(row: CostComparison) -> list[Tenant]:
    """Whom a difference may concern: who called its model that day, or else its account."""
    callers = callers_of(row.provider, row.day)
    ids = {tenant_id for tenant_id, model in callers if model == row.model} or {each for each, _ in callers}
    return list(Tenant.objects.filter(pk__in=ids).order_by("slug"))


@transaction.atomic
def book_adjustment(
    row: CostComparison,
    *,
    tenant: Tenant,
    reason: str,
    is_charged: bool = False,
    acting_user: User | None = None,
    at: datetime | None = None,
) -> UUID:
    """Book a confirmed difference as one ledger row of a tenant and resolve the comparison; the row's id.

    Our cost becomes what the provider bills; the tenant pays it too if `is_charged`. The same difference again
    changes nothing. Raises StaleComparison if the figures moved, ValidationError if there is nothing to book.
    """
    if not reason.strip():
        raise ValidationError({"reason": "give a reason: the ledger shows it"})
    _lock(row.provider)
    if datetime.combine(row.day + DAY, time(), UTC) > (at or now()):
        raise ValidationError("the day is not over: the provider may still bill more")
    seen = row.difference_usd
    compare(row.provider, first=row.day, last=row.day, at=at, is_quiet=True)
    fresh = _locked(row)
    if fresh.adjustment_id and not EXACT.quantize(fresh.difference_usd, TWELVE_PLACES):
        return fresh.adjustment_id
    if fresh.difference_usd != seen:
        raise StaleComparison(f"{fresh}: the difference is {fresh.difference_usd.normalize():f} USD now")
    amount = EXACT.quantize(fresh.difference_usd, TWELVE_PLACES)
    if not amount or fresh.kind == Kind.BOUNDARY:
        raise ValidationError(
            "there is nothing to book: the two sides agree once midnight is taken into account"
        )
    fresh.adjustment_id = uuid5(
        ADJUSTMENTS, f"{fresh.pk} {fresh.their_usd.normalize():f} {fresh.our_usd.normalize():f}"
    )
    fresh.adjusted_usd = amount
    quantity = None if fresh.their_quantity is None else fresh.their_quantity - (fresh.our_quantity or 0)
    tags = {"meter": fresh.meter, "quantity": None if quantity is None else f"{quantity.normalize():f}"}
    with connection.cursor() as cursor:
        cursor.execute(
            BOOK,
            (
                fresh.adjustment_id,
                tenant.pk,
                datetime.combine(fresh.day, time(12), UTC),
                amount,
                amount if is_charged else Decimal(0),
                fresh.provider,
                fresh.model,
                f"{fresh.get_kind_display()} against the provider's report of {fresh.day}: {reason.strip()}",
                json.dumps(tags | {"comparison": fresh.pk}),
            ),
        )
    _decide(fresh, status=Status.RESOLVED, reason=reason, acting_user=acting_user)
    compare(fresh.provider, first=fresh.day, last=fresh.day, at=at, is_quiet=True)
    log.info("invoice_difference_booked", comparison=fresh.pk, usd=str(amount), tenant=tenant.slug)
    return fresh.adjustment_id


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a line of a report is kept: lines of one place are one row."""

    day: date
    line_item: str
    project: str
    item: LineItem
    standing: str


@dataclass(slots=True)
class _Row:
    """The sum of a place's lines, and how often one of them is there word for word."""

    usd: Decimal = Decimal(0)
    quantity: Decimal | None = None
    seen: Counter[tuple[Decimal, Decimal | None]] = field(default_factory=Counter)

    @property
    def copies(self) -> int:
        """Above 1 only if the row is one line, several times."""
        return min(next(iter(self.seen.values())), MOST_COPIES) if len(self.seen) == 1 else 1


def _rows_of(report: ProviderReport, days: Collection[date], names: ModelNames) -> dict[_Place, _Row]:
    """The lines of these days, summed where the provider says the same line twice.

    Those of other projects are kept of the models that the account has: they may be ours, and are not counted.
    """
    rows: dict[_Place, _Row] = defaultdict(_Row)
    for lines, is_elsewhere in ((report.lines, False), (report.elsewhere, True)):
        for line in lines:
            item = names.item(line.item)
            if line.day not in days or (is_elsewhere and item.model not in names.compared):
                continue
            standing = (
                Standing.ELSEWHERE
                if is_elsewhere
                else Standing.CREDIT
                if line.amount_usd < 0
                else Standing.COUNTED
            )
            row = rows[_Place(line.day, line.line_item[:300], line.project[:100], item, standing)]
            quantities = [each for each in (row.quantity, line.quantity) if each is not None]
            row.usd += line.amount_usd
            row.quantity = sum(quantities, start=Decimal(0)) if quantities else None
            row.seen[line.amount_usd, line.quantity] += 1
    return rows


def _take(row: CostComparison, cell: Cell, verdict: Verdict, *, at: datetime) -> None:
    """Bring a row to what was found; a row that says it already is not written."""
    figures: dict[str, Any] = {
        "kind": verdict.kind,
        "cause": verdict.cause,
        "detail": verdict.detail,
        "is_within_tolerance": verdict.is_within_tolerance,
        "our_quantity": cell.ours.quantity,
        "their_quantity": cell.theirs.quantity,
        "our_usd": cell.ours.usd,
        "their_usd": cell.theirs.usd,
        "difference_usd": cell.usd,
    }
    changed = {name for name, value in figures.items() if row.pk is None or getattr(row, name) != value}
    if not changed:
        return
    for name, value in figures.items():
        setattr(row, name, value)
    row.compared_at = at
    is_fine = verdict.kind in SETTLED_KINDS or verdict.is_within_tolerance
    is_decided = row.decided_at is not None
    if is_fine and not is_decided:
        row.status, row.reason = Status.EXPLAINED, verdict.detail or verdict.kind
    elif not is_fine and (not is_decided or "difference_usd" in changed):
        row.status, row.reason, row.decided_by, row.decided_at = Status.OPEN, "", None, None
    row.save()


def _decide(row: CostComparison, *, status: str, reason: str, acting_user: User | None) -> None:
    row.status, row.reason, row.decided_by, row.decided_at = status, reason.strip(), acting_user, now()
    row._history_user = acting_user  # type: ignore[attr-defined]
    row.save()


def _locked(row: CostComparison) -> CostComparison:
    return CostComparison.objects.select_for_update().get(pk=row.pk)


def _lock(provider: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(LOCK, (provider,))
