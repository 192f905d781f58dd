"""Does the jobs of months, one at a time.

Invariant: a job is taken by one conditional UPDATE, and is its worker's until the lease ends. Whatever a worker was doing when it
was killed, the next one comes to the same end: a file that was stored stays, what was written halfway is written over.
"""

import hashlib
from contextlib import AbstractContextManager
from typing import BinaryIO, Final, cast
from uuid import uuid4

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection
from django.db.models import F
from django.utils.timezone import now

from billing.models import BillingPeriod, MonthFile, MonthJob
from billing.months import closing
from billing.months.cuts import Unbalanced
from billing.months.exports import ASKED, Format, name_of
from billing.months.files import fingerprint
from billing.months.jobs.pulse import LEASE, LeaseLost, Pulse
from billing.months.parts import MonthReport
from billing.months.platform import opened_platform
from billing.months.report import InvalidMonth, opened_month
from tenants import contents

MOST_TRIES: Final = 5
PLATFORM: Final = 0  # the number before the names of the platform's contents: no tenant has it
State = MonthJob.State
log = structlog.get_logger(__name__)

# The tenant first whose last job began longest ago.
_TAKE: Final = """
UPDATE billing_monthjob SET state = 'running', worker = %(worker)s, leased_until = %(until)s, tries = tries + 1,
       started_at = coalesce(started_at, %(now)s), made_at = coalesce(made_at, %(now)s)
WHERE id = (
    SELECT j.id FROM billing_monthjob AS j
    WHERE j.state = 'queued' OR (j.state = 'running' AND j.leased_until < %(now)s)
    ORDER BY (SELECT max(o.started_at) FROM billing_monthjob AS o WHERE o.tenant_id IS NOT DISTINCT FROM j.tenant_id)
             NULLS FIRST, j.created_at
    LIMIT 1 FOR UPDATE OF j SKIP LOCKED)
RETURNING id
"""


def count_due(*, most: int) -> int:
    """How many jobs wait for a worker, up to so many."""
    lost = MonthJob.objects.filter(state=State.RUNNING, leased_until__lt=now())
    return (MonthJob.objects.filter(state=State.QUEUED) | lost).order_by()[:most].count()


def work_next() -> MonthJob | None:
    """Do the job whose turn it is; None where none waits."""
    job = _take()
    if job is not None:
        work_on(job)
    return job


def work_on(job: MonthJob) -> None:
    """Do a job that was taken. What is wrong with the month fails it; what is wrong with us leaves it to the next worker."""
    try:
        if job.tries > MOST_TRIES:
            raise closing.CannotClose(f"given up after {MOST_TRIES} workers that were lost")
        with Pulse(job) as pulse:
            if job.kind == MonthJob.Kind.CLOSE:
                _close(job, pulse)
            else:
                _make_files(job, pulse)
    except LeaseLost:
        log.warning("month_job_lost", job=str(job.pk))
    except (closing.CannotClose, Unbalanced, InvalidMonth) as error:
        _end(job, State.FAILED, error=str(error)[:500])
        log.error(
            "month_job_failed", job=str(job.pk), tenant=job.tenant_id, month=job.month, reason=str(error)
        )
    except SoftTimeLimitExceeded:
        _end(job, State.FAILED, error="It took longer than its queue allows.")
        raise
    else:
        _end(job, State.DONE)
        log.info("month_job_done", job=str(job.pk), kind=job.kind, tenant=job.tenant_id, month=job.month)


def _take() -> MonthJob | None:
    moment = now()
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, {"worker": uuid4(), "now": moment, "until": moment + LEASE})
        row = cursor.fetchone()
    return MonthJob.objects.select_related("tenant", "asked_by").get(pk=row[0]) if row else None


def _end(job: MonthJob, state: str, *, error: str = "") -> None:
    """End a job that is still ours. Some files have no lines to count."""
    MonthJob.objects.filter(pk=job.pk, worker=job.worker).update(
        state=state,
        error=error,
        step="",
        worker=None,
        leased_until=None,
        finished_at=now(),
        **({"done": F("total")} if state == State.DONE else {}),
    )
    job.refresh_from_db()


def _close(job: MonthJob, pulse: Pulse) -> None:
    """Close the month, then make what its statement has no file of yet."""
    period = BillingPeriod.objects.select_related("tenant").filter(tenant=job.tenant, label=job.month).first()
    if period is None:
        raise InvalidMonth(f"there is no month {job.month!r} with usage")
    pulse.told("waiting for calls on their way")
    closing.close_period(
        period,
        acting_user=job.asked_by,
        forced_reason=job.reason,
        watcher=pulse,
        keep=lambda file: pulse.do(file.save),
    )


def _make_files(job: MonthJob, pulse: Pulse) -> None:
    pulse.told("reading the ledger")
    with _opened(job) as report:
        _forget_files_of_another_state(job, report, pulse)
        there = set(job.files.values_list("name", flat=True))
        kinds = [(format_name, kind) for format_name in job.formats for kind in ASKED[format_name]]
        pulse.files = len({name_of(report, kind) for _, kind in kinds})
        pulse.made = len(there)
        for format_name, kind in kinds:
            if name_of(report, kind) not in there:
                there.add(name_of(report, kind))
                _make_file(job, format_name, kind, report, pulse)


def _opened(job: MonthJob) -> AbstractContextManager[MonthReport]:
    if job.tenant is None:
        return opened_platform(job.month, made_at=job.made_at)
    return opened_month(job.tenant, month=job.month, made_at=job.made_at)


def _make_file(job: MonthJob, format_name: str, kind: Format, report: MonthReport, pulse: Pulse) -> None:
    name = name_of(report, kind)
    owner = job.tenant_id or PLATFORM
    location = f"{owner}/reports/{job.pk}/{kind.suffix.lstrip('.')}"
    with contents.spool() as out:
        kind.write(pulse.watched(kind.label, report), cast(BinaryIO, out))
        sha256, size = fingerprint(out)
        contents.remove(owner, location)
        contents.save(owner, location, out)
    file = MonthFile(
        job=job, tenant=job.tenant, format=format_name, name=name, content_type=kind.content_type, sha256=sha256,
        size_bytes=size, location=location,
    )  # fmt: skip
    pulse.do(file.save)


def _forget_files_of_another_state(job: MonthJob, report: MonthReport, pulse: Pulse) -> None:
    """The files of a job are of one state of the ledger: what was made of an earlier one is made again."""
    found = sums_of(report)
    if job.fingerprint == found:
        return
    ours = MonthJob.objects.filter(pk=job.pk, worker=job.worker)
    pulse.do(lambda: (job.files.all().delete(), ours.update(fingerprint=found)))


def sums_of(report: MonthReport) -> str:
    """A fingerprint of what the report sums."""
    parts = (report.totals, report.certainty, report.waterfall, report.reconciliation, report.invoice)
    rest = (report.period_status, len(report.detail), [one.totals for one in report.tenants])
    return hashlib.sha256(repr((parts, rest)).encode()).hexdigest()
