"""Days of a configuration file as moments, in a tenant's time zone.

Invariant: pure. What is written with a time is taken as it is; a time without a zone is the tenant's.
"""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tenants.models import Tenant


def first_moment(day: date | datetime | None, *, tenant: Tenant) -> datetime | None:
    """The first moment of a day."""
    return _moment(day, tenant=tenant, later=timedelta(0))


def last_moment(day: date | datetime | None, *, tenant: Tenant) -> datetime | None:
    """The moment at which a day is over: what is valid through it ends there."""
    return _moment(day, tenant=tenant, later=timedelta(days=1))


def _moment(day: date | datetime | None, *, tenant: Tenant, later: timedelta) -> datetime | None:
    if day is None:
        return None
    zone = ZoneInfo(tenant.timezone)
    if isinstance(day, datetime):
        return day if day.tzinfo else day.replace(tzinfo=zone)
    return datetime.combine(day + later, time.min, tzinfo=zone)
