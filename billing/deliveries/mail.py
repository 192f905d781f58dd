"""Sends files by e-mail: attached as long as they are small together, else as links that end.

Invariant: a message has the same id each time that it is tried. What a tenant chose as a name makes no header and no markup.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string

from billing.deliveries.links import GOOD_FOR, link_to
from billing.deliveries.parcels import Parcel
from billing.deliveries.schedules import addresses_of
from billing.models import ReportDelivery

MOST_ATTACHED: Final = (
    10 * 1024 * 1024
)  # bytes of all files together; many servers take no more than 25 MB in base64
LONGEST_SUBJECT: Final = 150


def send(delivery: ReportDelivery, parcels: Sequence[Parcel]) -> str:
    """Send a delivery, and answer to whom. Raises OSError, SMTPException, ContentMissing."""
    schedule = delivery.schedule
    is_attached = sum(parcel.size for parcel in parcels) <= MOST_ATTACHED
    whose = delivery.tenant.name if delivery.tenant else "all tenants"
    files = [
        {
            "name": parcel.name,
            "size": filesizeformat(parcel.size),
            "sha256": parcel.sha256,
            "link": "" if is_attached else link_to(delivery, number),
        }
        for number, parcel in enumerate(parcels)
    ]
    context = {
        "schedule": schedule,
        "whose": whose,
        "month": delivery.month,
        "files": files,
        "days": GOOD_FOR.days,
        "is_attached": is_attached,
    }
    subject = " ".join(f"{schedule.get_what_display()} of {whose}, {delivery.month}".split())
    message = EmailMessage(
        subject=subject[:LONGEST_SUBJECT],
        body=render_to_string("email/report.txt", context),
        to=addresses_of(schedule),
        headers={"Message-ID": f"<report-{delivery.pk}@{urlsplit(settings.SITE_URL).hostname}>"},
    )
    if is_attached:
        for parcel in parcels:
            message.attach(parcel.name, b"".join(parcel.pieces()), _exact_type(parcel.content_type))
    message.send()
    return schedule.target


def _exact_type(content_type: str) -> str:
    """The type under which a file arrives byte for byte: texts get other ends of lines on their way."""
    kind = content_type.partition(";")[0]
    return "application/octet-stream" if kind.startswith(("text/", "message/")) else kind
