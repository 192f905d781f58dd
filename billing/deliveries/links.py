"""Signed links to delivered files, for who has no account with us.

Invariant: a link names one file of one delivery, and ends: by its time, or when its schedule is paused or removed.
"""

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.core import signing
from django.urls import reverse

from billing.deliveries.parcels import Parcel, parcel_of
from billing.models import ReportDelivery
from tenants.wall import inside

GOOD_FOR: Final = timedelta(days=7)
SALT: Final = "billing.deliveries.link"
LONGEST: Final = 300


class LinkEnded(Exception):
    """The link is none of ours, or its time is over."""


def link_to(delivery: ReportDelivery, number: int) -> str:
    """The address of a file of a delivery: the first one is number 0."""
    token = signing.dumps([delivery.tenant_id or 0, delivery.pk, number], salt=SALT, compress=False)
    return f"{settings.SITE_URL}{reverse('delivered_file', args=(token,))}"


def file_of(token: str) -> Parcel:
    """The file that a link leads to. Raises LinkEnded, ContentMissing."""
    if len(token) > LONGEST:
        raise LinkEnded
    try:
        tenant_id, delivery_id, number = signing.loads(token, salt=SALT, max_age=GOOD_FOR)
    except (signing.BadSignature, ValueError):
        raise LinkEnded from None
    if not tenant_id:
        return _found(None, delivery_id, number)
    with inside(tenant_id):
        return _found(tenant_id, delivery_id, number)


def _found(tenant_id: int | None, delivery_id: int, number: int) -> Parcel:
    delivery = ReportDelivery.objects.filter(
        pk=delivery_id, tenant=tenant_id, schedule__is_active=True, state=ReportDelivery.State.DELIVERED
    ).first()
    if delivery is None or not 0 <= number < len(delivery.files):
        raise LinkEnded
    file = delivery.files[number]
    return parcel_of(file["source"], file["id"], tenant_id=tenant_id)
