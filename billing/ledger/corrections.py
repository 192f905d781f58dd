"""What people write into the ledger by hand: credits and adjustments.

Invariant: an entry is one ledger row in its month, or in the open one after that if it is closed, with its author and its
reason; a closed month is never touched. A credit or adjustment moves what the tenant pays, not what we pay the provider.
"""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils.timezone import now

from billing.models import BillingPeriod, ManualEntry
from tenants.models import Tenant

MOMENT = timedelta(microseconds=1)
BOOK_ENTRY = "SELECT billing_book_entry(%s, %s, %s, %s, %s, %s, %s, %s)"


def credit(
    tenant: Tenant,
    *,
    amount_usd: Decimal,
    reason: str,
    acting_user: User | None = None,
    user_id: str = "",
    cost_center: str = "",
    month: str = "",
    approved_by: User | None = None,
    entry_id: UUID | None = None,
) -> ManualEntry:
    """Give a tenant `amount_usd` back, for a month ("2026-10"; the running one).

    Raises ValidationError for an amount or a month that is none, or without a reason. With an `entry_id` the same credit again
    changes nothing.
    """
    if amount_usd <= 0:
        raise ValidationError({"amount_usd": "a credit is an amount above zero"})
    return _book(
        tenant,
        kind=ManualEntry.Kind.CREDIT,
        amount_usd=-amount_usd,
        reason=reason,
        acting_user=acting_user,
        user_id=user_id,
        cost_center=cost_center,
        month=month,
        approved_by=approved_by,
        entry_id=entry_id,
    )


def adjust(
    tenant: Tenant,
    *,
    amount_usd: Decimal,
    reason: str,
    acting_user: User | None = None,
    user_id: str = "",
    cost_center: str = "",
    month: str = "",
    approved_by: User | None = None,
    entry_id: UUID | None = None,
) -> ManualEntry:
    """Charge a tenant `amount_usd` more, or less if it is negative. Otherwise as `credit`."""
    if amount_usd == 0:
        raise ValidationError({"amount_usd": "an adjustment of nothing is none"})
    return _book(
        tenant,
        kind=ManualEntry.Kind.ADJUSTMENT,
        amount_usd=amount_usd,
        reason=reason,
        acting_user=acting_user,
        user_id=user_id,
        cost_center=cost_center,
        month=month,
        approved_by=approved_by,
        entry_id=entry_id,
    )


def month_of(tenant: Tenant, month: str) -> BillingPeriod | None:
    """The month of a tenant by its name; None for none. Raises ValidationError for one that has not begun, or is none."""
    if not month:
        return None
    period = BillingPeriod.objects.filter(tenant=tenant, label=month, starts_at__lte=now()).first()
    if period is None:
        raise ValidationError({"month": f"{month} is no month of {tenant} so far; one is written as 2026-10"})
    return period


@transaction.atomic
def _book(
    tenant: Tenant,
    *,
    kind: str,
    amount_usd: Decimal,
    reason: str,
    acting_user: User | None,
    user_id: str,
    cost_center: str,
    month: str,
    approved_by: User | None,
    entry_id: UUID | None,
) -> ManualEntry:
    if not reason.strip():
        raise ValidationError({"reason": "give a reason: the statement shows it"})
    if amount_usd != round(amount_usd, 12):
        raise ValidationError({"amount_usd": "the ledger keeps 12 places"})
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)  # the same entry twice takes turns
    if entry_id is not None and (known := ManualEntry.objects.filter(pk=entry_id).first()):
        if (known.tenant_id, known.kind, known.amount_usd) != (tenant.pk, kind, amount_usd):
            raise ValidationError({"entry_id": "another entry has this id"})
        return known
    entry = ManualEntry(
        id=entry_id or uuid4(),
        tenant=tenant,
        kind=kind,
        amount_usd=amount_usd,
        reason=reason.strip(),
        subject="user" if user_id else "cost_center" if cost_center else "tenant",
        subject_value=user_id or cost_center,
        month=month,
        entered_by=acting_user,
        approved_by=approved_by or acting_user,
    )
    period = month_of(tenant, month)
    at = None if period is None else min(period.ends_at - MOMENT, now())
    with connection.cursor() as cursor:
        cursor.execute(
            BOOK_ENTRY, (entry.pk, tenant.pk, kind, amount_usd, entry.reason, user_id, cost_center, at)
        )
        entry.period_id = cursor.fetchone()[0]
    entry.save(force_insert=True)
    return entry
