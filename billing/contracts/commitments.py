"""Minimum commitments: entered, ended, followed; and what was not met is charged when the last month of a span is closed.

Invariant: the unmet rest is one ledger row of its own kind, booked while the month is locked and before it is sealed; so usage,
corrections and adjustments of the span's months and that row together are never less than the commitment. Credits do not count
towards it and are not taken back by it. What is booked for a span later, in later months, changes no true-up.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

import structlog
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Sum
from django.utils.timezone import now

from billing.four_eyes import Approval, require_agreed
from billing.ledger.corrections import BOOK_ENTRY, MOMENT
from billing.models import BillingPeriod, Commitment, StatementLine
from billing.money import plain
from tenants.models import Tenant

KIND: Final = "commitment"
COUNTED: Final = ("usage", "correction", "adjustment")
# Of months that are still open, the ledger says it; of closed ones their statements.
BOOKED: Final = """
SELECT coalesce(sum(billed_cost) FILTER (WHERE kind = ANY (%(counted)s)), 0),
       coalesce(sum(billed_cost) FILTER (WHERE kind = 'commitment'), 0)
FROM billing_usagerecord WHERE tenant_id = %(tenant)s AND period_id = ANY (%(periods)s)
"""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """A span of a commitment so far: `unmet_usd` is what would be charged if it ended now, `charged_usd` what was."""

    first_month: str
    last_month: str
    counted_usd: Decimal
    charged_usd: Decimal
    unmet_usd: Decimal


@transaction.atomic
def set_commitment(
    tenant: Tenant,
    *,
    span: str,
    amount_usd: Decimal,
    first_month: str,
    last_month: str = "",
    acting_user: User | None = None,
    approval: Approval | None = None,
) -> Commitment:
    """Have a tenant pay at least that much in each span; the same again changes nothing. Raises ValidationError, NeedsAnother."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    wanted = Commitment(
        tenant=tenant, span=span, amount_usd=amount_usd, first_month=first_month, last_month=last_month,
        created_by=acting_user,
    )  # fmt: skip
    wanted.full_clean()
    others = Commitment.objects.filter(tenant=tenant)
    same = others.filter(span=span, amount_usd=amount_usd, first_month=first_month).first()
    if same is not None:
        return end_commitment(same, last_month=last_month, acting_user=acting_user, approval=approval)
    for other in others:
        if (not other.last_month or other.last_month >= first_month) and (
            not last_month or other.first_month <= last_month
        ):
            raise ValidationError({"first_month": f"{other} is in the way: end it before"})
    closed = BillingPeriod.objects.filter(tenant=tenant, label__gte=wanted.first_month).exclude(status="open")
    if closed.exists():
        raise ValidationError({"first_month": "that month, or one after it, is closed"})
    require_agreed(
        "commitment",
        tenant=tenant,
        approval=approval,
        summary=f"{tenant} pays at least {wanted}",
        arguments={
            "span": span,
            "amount_usd": amount_usd,
            "first_month": first_month,
            "last_month": last_month,
        },
    )
    wanted._history_user = acting_user  # type: ignore[attr-defined]  # django-simple-history reads it
    wanted.save(force_insert=True)
    return wanted


@transaction.atomic
def end_commitment(
    commitment: Commitment,
    *,
    last_month: str,
    acting_user: User | None = None,
    approval: Approval | None = None,
) -> Commitment:
    """Have a commitment end with a month, which is the last one of a span; empty: not at all. Raises ValidationError,
    NeedsAnother."""
    locked = Commitment.objects.select_for_update().get(pk=commitment.pk)
    if locked.last_month == last_month:
        return locked
    locked.last_month = last_month
    locked.full_clean()
    begun = BillingPeriod.objects.filter(tenant=locked.tenant_id, status="closed").order_by("-label").first()
    if begun is not None and last_month and last_month < begun.label:
        raise ValidationError({"last_month": f"{begun.label} is closed already"})
    require_agreed(
        "commitment_end",
        tenant=locked.tenant,
        approval=approval,
        summary=f"the commitment of {locked.tenant} since {locked.first_month} ends with {last_month or 'no month'}",
        arguments={"commitment": locked.pk, "last_month": last_month},
    )
    locked._history_user = acting_user  # type: ignore[attr-defined]  # django-simple-history reads it
    locked.save(update_fields=["last_month"])
    return locked


def true_up(period: BillingPeriod) -> Decimal:
    """Charge what is not met of the commitment whose span ends with this month; how much.

    The caller has locked the month, which is open, and seals it next. Repeated after a month was opened again, it books what the
    rest has changed by.
    """
    commitment = commitment_of(period.tenant, month=period.label)
    if commitment is None or commitment.spans_until(period.label)[1] != period.label:
        return Decimal(0)
    so_far = progress_of(commitment, month=period.label)
    change = so_far.unmet_usd - so_far.charged_usd
    if not change:
        return change
    reason = (
        f"minimum of {plain(commitment.amount_usd)} USD for {so_far.first_month} to {so_far.last_month}: "
        f"{plain(so_far.counted_usd)} USD were used"
    )
    at = min(period.ends_at - MOMENT, now())
    with connection.cursor() as cursor:
        cursor.execute(BOOK_ENTRY, (uuid4(), period.tenant_id, KIND, change, reason, "", "", at))
    log.info("commitment_charged", tenant=period.tenant_id, month=period.label, usd=str(change))
    return change


def commitment_of(tenant: Tenant, *, month: str) -> Commitment | None:
    """The commitment that a month belongs to."""
    found = Commitment.objects.filter(tenant=tenant, first_month__lte=month).order_by("-first_month")
    return next((one for one in found if one.covers(month)), None)


def progress_of(commitment: Commitment, *, month: str) -> Progress:
    """The span that a month is in, so far. Two queries; the months that are not closed are summed from the ledger."""
    first, last = commitment.spans_until(month)
    periods = BillingPeriod.objects.filter(tenant=commitment.tenant_id, label__gte=first, label__lte=last)
    counted = charged = Decimal(0)
    closed = StatementLine.objects.filter(statement__period__in=periods).order_by()
    for category, exact in closed.values_list("category").annotate(exact=Sum("exact_usd")):
        counted += exact if category in COUNTED else 0
        charged += exact if category == KIND else 0
    unsealed = [period.pk for period in periods if period.status != BillingPeriod.Status.CLOSED]
    with connection.cursor() as cursor:
        arguments: dict[str, Any] = {
            "tenant": commitment.tenant_id,
            "periods": unsealed,
            "counted": list(COUNTED),
        }
        cursor.execute(BOOKED, arguments)
        for_usage, for_commitment = cursor.fetchone()
    counted, charged = counted + for_usage, charged + for_commitment
    return Progress(first, last, counted, charged, max(commitment.amount_usd - counted, Decimal(0)))
