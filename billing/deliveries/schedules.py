"""Schedules of reports: checked, written, paused, removed.

Invariant: a schedule that is stored can be carried out: its formats exist, its place is one that we may write to. A tenant's own
people never name a folder of this machine, and write e-mails only to the tenant's people.
"""

import re
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils.timezone import now

from billing.deliveries.calendar import next_after
from billing.models import ReportSchedule
from billing.months.exports import ASKED, STORED
from billing.months.files import STATEMENT_FORMAT
from config import egress
from tenants.models import Membership, Tenant
from tenants.people.authors import record_author

MOST_OF_A_TENANT: Final = 20
MOST_ADDRESSES: Final = 10
PACK: Final = ("csv", "xlsx", "pdf", "json", "parquet", "focus")
OF_STATEMENTS: Final = (STATEMENT_FORMAT, *STORED)
UTC: Final = "UTC"
# A part of a path that is no way out, and that every file system and storage takes.
SEGMENT: Final = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9_=.-]{0,99}")
BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
REGION: Final = re.compile(r"[a-z0-9-]{1,40}")
MOST_SEGMENTS: Final = 10
What, When, Kind = ReportSchedule.What, ReportSchedule.When, ReportSchedule.Kind


@transaction.atomic
def save_schedule(
    schedule: ReportSchedule, *, acting_user: User | None = None, by_tenant: bool = False
) -> None:
    """Store a new or a changed schedule. `by_tenant`: a tenant's own people ask for it. Raises ValidationError."""
    if schedule.tenant is not None:
        Tenant.objects.select_for_update(no_key=True).get(pk=schedule.tenant.pk)
    for name in schedule.get_deferred_fields():
        getattr(schedule, name)  # so that the audit log compares what is stored
    is_new = schedule._state.adding
    if is_new and ReportSchedule.objects.filter(tenant=schedule.tenant).count() >= MOST_OF_A_TENANT:
        raise ValidationError(f"there are {MOST_OF_A_TENANT} schedules, as many as there may be")
    schedule.formats = list(dict.fromkeys(schedule.formats))
    schedule.target = schedule.target.strip()
    check(schedule, by_tenant=by_tenant)
    schedule.full_clean(exclude=["created_by"])
    schedule.next_at = _next_at(schedule)
    if is_new:
        schedule.created_by = acting_user
    record_author(schedule, acting_user=acting_user, reason="set")
    schedule.save()


@transaction.atomic
def remove_schedule(schedule: ReportSchedule, *, acting_user: User | None = None) -> None:
    """Remove a schedule with its history; links that it sent end."""
    record_author(schedule, acting_user=acting_user, reason="removed")
    schedule.delete()


def check(schedule: ReportSchedule, *, by_tenant: bool = False) -> None:
    """Raise ValidationError, by field, for what cannot be carried out or may not be asked for."""
    _check_what(schedule)
    if (schedule.when == When.MONTHLY) != (schedule.day is not None):
        words = (
            "which day of the month: 1 to 28" if schedule.when == When.MONTHLY else "only of a monthly one"
        )
        raise ValidationError({"day": words})
    if schedule.kind != Kind.S3 and (schedule.endpoint or schedule.region):
        raise ValidationError({"endpoint": "only of a storage"})
    if schedule.kind == Kind.EMAIL:
        _check_addresses(schedule, by_tenant=by_tenant)
    elif schedule.kind == Kind.FOLDER:
        if by_tenant:
            raise ValidationError({"kind": "only operators deliver into folders"})
        if not settings.REPORTS_FOLDER:
            raise ValidationError({"kind": "this installation has no REPORTS_FOLDER"})
        segments_of(schedule.target)
    else:
        _check_storage(schedule)


def formats_of(schedule: ReportSchedule) -> tuple[str, ...]:
    """The formats of its files."""
    return PACK if schedule.what == What.PACK else tuple(schedule.formats)


def zone_of(schedule: ReportSchedule) -> str:
    """The time zone of its days."""
    return schedule.tenant.timezone if schedule.tenant else UTC


def addresses_of(schedule: ReportSchedule) -> list[str]:
    """The e-mail addresses that it goes to."""
    return [one.strip() for one in schedule.target.split(",") if one.strip()]


def segments_of(path: str) -> list[str]:
    """The folders of a relative path. Raises ValidationError for one that leads out of its root, or might."""
    segments = path.strip("/").split("/") if path.strip("/") else []
    if path.startswith("/") or len(segments) > MOST_SEGMENTS:
        raise ValidationError({"target": f"a relative path of at most {MOST_SEGMENTS} folders"})
    for segment in segments:
        if not SEGMENT.fullmatch(segment):
            raise ValidationError({"target": f"{segment!r}: letters, digits, '-', '_', '=' and '.' only"})
    return segments


def bucket_of(schedule: ReportSchedule) -> tuple[str, list[str]]:
    """The bucket and the folders in it. Raises ValidationError."""
    bucket, _, prefix = schedule.target.removeprefix("s3://").partition("/")
    if not BUCKET.fullmatch(bucket) or ".." in bucket:
        raise ValidationError({"target": "bucket/prefix, such as finance-reports/purser"})
    return bucket, segments_of(prefix)


def _check_what(schedule: ReportSchedule) -> None:
    known: Collection[str] = OF_STATEMENTS if schedule.what == What.STATEMENT else ASKED
    if unknown := [name for name in schedule.formats if name not in known]:
        raise ValidationError({"formats": f"no format is called {unknown[0]!r}"})
    if schedule.what == What.PACK and schedule.formats:
        raise ValidationError({"formats": "a pack has all of them"})
    if schedule.what != What.PACK and not schedule.formats:
        raise ValidationError({"formats": "at least one"})
    if schedule.what == What.STATEMENT and schedule.when != When.CLOSE:
        raise ValidationError({"when": "a statement is there when its month is closed"})
    if schedule.what == What.STATEMENT and schedule.tenant is None:
        raise ValidationError({"what": "statements are of one tenant"})


def _check_addresses(schedule: ReportSchedule, *, by_tenant: bool) -> None:
    addresses = addresses_of(schedule)
    if not 0 < len(addresses) <= MOST_ADDRESSES:
        raise ValidationError({"target": f"one to {MOST_ADDRESSES} e-mail addresses"})
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError:
            raise ValidationError({"target": f"{address!r} is no e-mail address"}) from None
    if by_tenant:
        members = Membership.objects.filter(tenant=schedule.tenant, user__is_active=True)
        known = {email.lower() for email in members.values_list("user__email", flat=True)}
        if strangers := [one for one in addresses if one.lower() not in known]:
            raise ValidationError({"target": f"{strangers[0]} is nobody of yours: invite them first"})


def _check_storage(schedule: ReportSchedule) -> None:
    bucket_of(schedule)
    if schedule.region and not REGION.fullmatch(schedule.region):
        raise ValidationError({"region": "such as eu-central-1"})
    if not (schedule.access_key and schedule.secret_key):
        raise ValidationError({"secret_key": "a storage needs keys of its own"})
    if not schedule.endpoint:
        if not schedule.region:
            raise ValidationError({"region": "Amazon's storage has one, such as eu-central-1"})
        return
    may_be_private = settings.WEBHOOKS_MAY_BE_PRIVATE
    try:
        egress.check_url(schedule.endpoint, may_be_private=may_be_private)
        parts = urlsplit(schedule.endpoint)
    except (egress.AddressRefused, ValueError) as error:
        raise ValidationError({"endpoint": str(error)}) from None
    if parts.username or parts.query or parts.fragment or parts.path.strip("/"):
        raise ValidationError({"endpoint": "scheme and host only"})
    if parts.scheme != "https" and not may_be_private:
        raise ValidationError({"endpoint": "an https:// address is needed"})


def _next_at(schedule: ReportSchedule) -> Any:
    return next_after(
        now(), when=schedule.when, day=schedule.day, hour=schedule.hour, timezone=zone_of(schedule)
    )
