"""Changes a price by hand: a new rate is in force from a moment on; the rate before stays known.

Invariant: no row is edited. The old row is superseded, and two take its place: the old rate until the moment,
the new one from then on, so that every past day still rates as it did. A rate may be revoked before it is in force,
with a reason; afterwards it may not.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.timezone import now

from billing.models import PriceRow
from tenants.people import audit

SUPERSESSION = ("superseded_at", "superseded_reason", "superseded_by")


@transaction.atomic
def set_price(
    row: PriceRow,
    *,
    unit_price: Decimal,
    valid_from: datetime | None = None,
    acting_user: User | None = None,
) -> PriceRow:
    """Have a meter cost `unit_price` per `row.per` from `valid_from` (now) on, and return the new row.

    Raises ValidationError for a row that is superseded, or a moment outside its validity.
    """
    at = valid_from or now()
    current = PriceRow.objects.select_for_update().get(pk=row.pk)
    if current.superseded_at is not None:
        raise ValidationError("this price is superseded; change the one that took its place")
    if at < current.valid_from or (current.valid_to is not None and at >= current.valid_to):
        raise ValidationError({"valid_from": "must lie within the time for which this price is valid"})
    supersede(current, at=now(), acting_user=acting_user)
    if at > current.valid_from:
        _copy(current, valid_to=at)
    return _copy(
        current,
        valid_from=at,
        unit_price=unit_price,
        source="admin",
        source_digest="",
        approved_by=acting_user,
    )


@transaction.atomic
def revoke_price(row: PriceRow, *, reason: str, acting_user: User | None = None) -> PriceRow | None:
    """Revoke a price that is not in force yet. Returns the price that stays in force instead, if there is one.

    The row stays, superseded with the reason. The price before it stays in force until the row would have ended. Raises
    ValidationError for a row that is superseded or has begun, or without a reason.
    """
    current = PriceRow.objects.select_for_update().get(pk=row.pk)
    at = now()
    if not reason.strip():
        raise ValidationError({"reason": "say why"})
    if current.superseded_at is not None:
        raise ValidationError("this price is superseded already")
    if current.valid_from <= at:
        raise ValidationError(
            f"this price counts since {current.valid_from:%Y-%m-%d %H:%M} UTC; set another one instead"
        )
    supersede(current, at=at, reason=reason.strip(), acting_user=acting_user)
    before = _same_as(current).select_for_update().filter(valid_to=current.valid_from).first()
    if before is None:
        return None
    supersede(before, at=at, reason=reason.strip(), acting_user=acting_user)
    return _copy(before, valid_to=current.valid_to)


def supersede(row: PriceRow, *, at: datetime, reason: str = "", acting_user: User | None = None) -> None:
    """End a row for rating from now on; it stays, for who asks what was known when."""
    why: dict[str, Any] = {"superseded_at": at}
    if reason:
        why |= {"superseded_reason": reason, "superseded_by": acting_user}
    PriceRow.objects.filter(pk=row.pk).update(**why)
    audit.changed_in_bulk(row, person=acting_user, reason=reason, superseded_at=at)


def rival_of(row: PriceRow) -> PriceRow | None:
    """Return the live row that prices the same meter in the same context at some moment of `row`'s time."""
    same = _same_as(row).filter(Q(valid_to=None) | Q(valid_to__gt=row.valid_from))
    return (same if row.valid_to is None else same.filter(valid_from__lt=row.valid_to)).first()


def _same_as(row: PriceRow) -> QuerySet[PriceRow]:
    """The other live rows that price the same meter in the same context."""
    identity = ("book", "tenant_id", "provider", "model", "meter", "service_tier", "processing", "region")
    return PriceRow.objects.filter(
        **{name: getattr(row, name) for name in identity},
        above_input_tokens=row.above_input_tokens,
        superseded_at=None,
    ).exclude(pk=row.pk)


def _copy(row: PriceRow, **changes: object) -> PriceRow:
    """Insert the row again, with changes."""
    kept = {
        field.attname: getattr(row, field.attname)
        for field in PriceRow._meta.concrete_fields
        if field.name not in ("id", "recorded_at", *SUPERSESSION, *changes)
    }
    copy = PriceRow(**kept, **changes)
    copy.full_clean()
    copy.save(force_insert=True)
    return copy
