"""Asks for work on a month.

Invariant: whoever asks for what is on its way gets the job that is there. A tenant has a bounded number of jobs waiting.
"""

from collections.abc import Iterable
from typing import Any, Final

from celery import current_app
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from billing.models import BillingPeriod, MonthJob
from billing.months.exports import ASKED
from billing.months.report import month_bounds
from tenants.models import Tenant

OPEN: Final = (MonthJob.State.QUEUED, MonthJob.State.RUNNING)
MOST_OPEN: Final = 24  # of one tenant
Kind = MonthJob.Kind


class TooManyJobs(Exception):
    """A tenant has as many jobs waiting as it may."""


class UnknownFormat(ValueError):
    """There are no files of this format."""


def ask_report(
    tenant: Tenant | None,
    *,
    month: str,
    formats: Iterable[str],
    acting_user: User | None = None,
    key_id: int | None = None,
) -> MonthJob:
    """Have the files of a month made; None: those of all tenants. Raises InvalidMonth, UnknownFormat, TooManyJobs.

    A job of this month that has not begun yet makes these, too; one that runs is left alone, and answered.
    """
    wanted = list(dict.fromkeys(formats))
    month_bounds(month, "UTC")
    if unknown := [name for name in wanted if name not in ASKED]:
        raise UnknownFormat(f"no format is called {unknown[0]!r}")
    return _ask(tenant, month, Kind.REPORT, formats=wanted, asked_by=acting_user, key_id=key_id)


def ask_close(period: BillingPeriod, *, acting_user: User | None = None, reason: str = "") -> MonthJob:
    """Have a month closed. Raises TooManyJobs. What forbids it is said by `closing.check_closing`."""
    return _ask(period.tenant, period.label, Kind.CLOSE, asked_by=acting_user, reason=reason[:300])


def ask_for_left_closings() -> int:
    """Have the months closed that were left halfway; how many."""
    left = BillingPeriod.objects.filter(status=BillingPeriod.Status.CLOSING).select_related("tenant")
    busy = set(open_jobs().filter(kind=Kind.CLOSE).values_list("tenant_id", "month"))
    failed = set(
        MonthJob.objects.filter(kind=Kind.CLOSE, state=MonthJob.State.FAILED).values_list(
            "tenant_id", "month"
        )
    )
    asked = [period for period in left if (period.tenant_id, period.label) not in busy | failed]
    for period in asked:
        ask_close(period)
    return len(asked)


def open_jobs() -> QuerySet[MonthJob]:
    """The jobs that are not over."""
    return MonthJob.objects.filter(state__in=OPEN)


def jobs_of(tenant: Tenant | None, *, month: str) -> QuerySet[MonthJob]:
    """The jobs of a month, the newest first."""
    return MonthJob.objects.filter(tenant=tenant, month=month).order_by("-created_at")


def _wake() -> None:
    """Have a worker look now. The schedule looks every minute, so it does not matter whether the broker is there."""
    current_app.send_task("billing.tasks.close_months", expires=60, retry=False)


def _ask(tenant: Tenant | None, month: str, kind: str, **values: Any) -> MonthJob:
    wanted = values.get("formats", [])
    transaction.on_commit(_wake, robust=True)
    try:
        with transaction.atomic():
            if open_jobs().filter(tenant=tenant).count() >= MOST_OPEN:
                raise TooManyJobs(f"{MOST_OPEN} jobs are waiting; try again when some are done")
            return MonthJob.objects.create(tenant=tenant, month=month, kind=kind, **values)
    except IntegrityError:
        there = open_jobs().filter(tenant=tenant, month=month, kind=kind)
    with transaction.atomic():
        job = there.select_for_update().order_by("created_at").first()
        if job is None:  # it ended in between
            return MonthJob.objects.create(tenant=tenant, month=month, kind=kind, **values)
        if job.state == MonthJob.State.QUEUED and not set(wanted) <= set(job.formats):
            job.formats = list(dict.fromkeys([*job.formats, *wanted]))
            job.save(update_fields=["formats"])
    return job
