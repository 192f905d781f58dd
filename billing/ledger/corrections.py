"""What people write into the ledger by hand: credits and adjustments.

Invariant: an entry is one ledger row in the current month, with its author and its reason; a closed month
is never touched. A credit or adjustment moves what the tenant pays, not what we pay the provider.
"""

from decimal import Decimal
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from billing.models import ManualEntry
from tenants.models import Tenant

BOOK_ENTRY = "SELECT billing_book_entry(%s, %s, %s, %s, %s, %s, %s)"


def credit(
    tenant: Tenant,
    *,
    amount_usd: Decimal,
    reason: str,
    acting_user: User | None = None,
    user_id: str = "",
    cost_center: str = "",
    entry_id: UUID | None = None,
) -> ManualEntry:
    """Give a tenant `amount_usd` back. Raises ValidationError for an amount that is none, or without a reason.

    With an `entry_id` the same credit again changes nothing.
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
        entry_id=entry_id,
    )


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
        entered_by=acting_user,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            BOOK_ENTRY, (entry.pk, tenant.pk, kind, amount_usd, entry.reason, user_id, cost_center)
        )
        entry.period_id = cursor.fetchone()[0]
    entry.save(force_insert=True)
    return entry
