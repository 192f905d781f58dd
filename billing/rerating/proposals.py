"""Re-rating: past usage under a corrected price, proposed, decided by a person, booked as corrections.

Invariant: a proposal lists exactly what its approval books; if the books or the ledger have moved on since, the
approval books nothing. What was booked is never touched, nor is a closed month or its files: differences
go into the month itself while it is open, else into the next open one. Repeating a call changes nothing.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from uuid import uuid4

import structlog
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils.timezone import now

from billing.four_eyes import require_another
from billing.models import PriceCheck, PriceRow, Rerating, ReratingRow, RuleCheck, UsageRecord
from billing.prices.book import load_price_book
from billing.rerating.rows import IN_SPAN, OF_RERATING, CannotRate, RatingDifference, booked, difference_of
from tenants.models import Tenant

BATCH_ROWS = 1000
DELTAS = ("list_delta", "provider_delta", "contracted_delta", "billed_delta")
Status = Rerating.Status
log = structlog.get_logger(__name__)


class NothingToRerate(Exception):
    """The books make of the usage what was booked."""


class StaleProposal(Exception):
    """The books or the ledger have changed since the proposal: propose again."""


@transaction.atomic
def propose_rerating(
    *,
    starts_at: datetime,
    ends_at: datetime,
    reason: str,
    provider: str = "",
    model: str = "",
    tenant: Tenant | None = None,
    acting_user: User | None = None,
) -> Rerating:
    """List the calls of a span that the books rate differently now, and by how much.

    The same differences, still undecided, are the same proposal. Raises NothingToRerate, and ValidationError for
    a span that is none.
    """
    if ends_at <= starts_at:
        raise ValidationError({"ends_at": "must lie after the beginning"})
    span = {"starts_at": starts_at, "ends_at": ends_at, "provider": provider, "model": model}
    proposal = Rerating(tenant=tenant, reason=reason, proposed_by=acting_user, record_count=0, **span)
    for name in DELTAS:
        setattr(proposal, name, Decimal(0))
    proposal.save()
    digest = hashlib.sha256()
    rows: list[ReratingRow] = []
    for found in _differences(_tenant_ids(proposal), proposal, which=IN_SPAN, **span):
        digest.update(found.canonical().encode())
        rows.append(_row(proposal, found))
        proposal.record_count += 1
        for name in DELTAS:
            setattr(proposal, name, getattr(proposal, name) + getattr(found, name))
        if len(rows) == BATCH_ROWS:
            ReratingRow.objects.bulk_create(rows)
            rows.clear()
    ReratingRow.objects.bulk_create(rows)
    proposal.digest = digest.hexdigest()
    if not proposal.record_count:
        raise NothingToRerate(f"nothing to re-rate ({proposal.skipped_count} calls cannot be rated)")
    known = (
        Rerating.objects.filter(status=Status.PROPOSED, digest=proposal.digest)
        .exclude(pk=proposal.pk)
        .first()
    )
    if known is not None:
        proposal.delete()
        return known
    proposal.save()
    log.info(
        "rerating_proposed", rerating=proposal.pk, rows=proposal.record_count, usd=str(proposal.billed_delta)
    )
    return proposal


def propose_for_price(row: PriceRow, *, acting_user: User | None = None) -> Rerating:
    """Propose what a price row changes of the usage it is valid for. Raises NothingToRerate."""
    moment = now()
    return propose_rerating(
        starts_at=row.valid_from,
        ends_at=min(row.valid_to or moment, moment),
        reason=f"price correction: {row}",
        provider=row.provider,
        model=row.model,
        tenant=row.tenant,
        acting_user=acting_user,
    )


@transaction.atomic
def approve_rerating(rerating: Rerating, *, acting_user: User | None = None) -> int:
    """Book the differences of a proposal and return how many rows; 0 if they are booked already.

    Raises StaleProposal if they are not what they were any more, and ValidationError for a rejected one, or one that
    somebody else has to approve (`billing.four_eyes`).
    """
    locked = Rerating.objects.select_for_update().get(pk=rerating.pk)
    if locked.status == Status.APPLIED:
        return 0
    if locked.status == Status.REJECTED:
        raise ValidationError("this re-rating was rejected")
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_lock_rerating(%s)", (locked.pk,))
    rows = ReratingRow.objects.filter(rerating=locked).order_by("tenant_id")
    tenant_ids = rows.values_list("tenant_id", flat=True).distinct()
    require_another(
        Tenant.objects.filter(pk__in=tenant_ids), authors=_authors(locked), approved_by=acting_user
    )
    digest = hashlib.sha256()
    for found in _differences(tenant_ids, locked, which=OF_RERATING, rerating=locked.pk):
        digest.update(found.canonical().encode())
    if digest.hexdigest() != locked.digest:
        raise StaleProposal("prices or usage have changed since it was proposed; propose it again")
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_apply_rerating(%s)", (locked.pk,))
        count = int(cursor.fetchone()[0])
    _decide(locked, Status.APPLIED, acting_user)
    log.info("rerating_applied", rerating=locked.pk, rows=count, usd=str(locked.billed_delta))
    return count


@transaction.atomic
def reject_rerating(rerating: Rerating, *, acting_user: User | None = None) -> bool:
    """Leave the usage as it was booked. False if the proposal was decided before."""
    locked = Rerating.objects.select_for_update().get(pk=rerating.pk)
    if locked.status != Status.PROPOSED:
        return False
    _decide(locked, Status.REJECTED, acting_user)
    return True


def _differences(
    tenant_ids: Iterable[int], proposal: Rerating, *, which: str, **arguments: object
) -> Iterator[RatingDifference]:
    proposal.skipped_count = 0
    for tenant_id in tenant_ids:
        book = load_price_book(tenant_id)
        for call in booked(tenant_id, which=which, **arguments):
            try:
                found = difference_of(call, book)
            except CannotRate:
                proposal.skipped_count += 1
                continue
            if found is not None:
                yield found


def _tenant_ids(proposal: Rerating) -> list[int]:
    """The proposal's tenant, or the tenants with usage in its span: no other books are read."""
    if proposal.tenant:
        return [proposal.tenant.pk]
    span = {"occurred_at__gte": proposal.starts_at, "occurred_at__lt": proposal.ends_at}
    named = {name: value for name in ("provider", "model") if (value := getattr(proposal, name))}
    used = UsageRecord.objects.filter(kind="usage", **span, **named)
    return list(used.order_by("tenant_id").values_list("tenant_id", flat=True).distinct())


def _authors(rerating: Rerating) -> set[int | None]:
    """Who proposed it, and who entered the prices and rules that it comes from."""
    prices = PriceCheck.objects.filter(rerating=rerating).values_list("price__approved_by", flat=True)
    rules = RuleCheck.objects.filter(rerating=rerating).values_list("recorded_by", flat=True)
    return {rerating.proposed_by_id, *prices, *rules} - {None}


def _row(proposal: Rerating, found: RatingDifference) -> ReratingRow:
    names = ("record_id", "occurred_at", "tenant_id", "provider", "model", "saving", "lines", *DELTAS)
    return ReratingRow(
        rerating=proposal, correction_id=uuid4(), **{name: getattr(found, name) for name in names}
    )


def _decide(rerating: Rerating, status: str, acting_user: User | None) -> None:
    rerating.status, rerating.decided_by, rerating.decided_at = status, acting_user, now()
    rerating.save(update_fields=["status", "decided_by", "decided_at"])
