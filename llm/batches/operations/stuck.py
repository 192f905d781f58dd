"""Whether a batch goes on, and if not, why: in words for an operator.

Invariant: pure. A provider may take a day for a batch that it has accepted; that is not stuck as long as it answers when it
is asked.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings

from llm.models import Batch, BatchJob, BatchProgress

# of what the gateway does itself; the provider is asked at least every ten minutes
FAILURES_IN_A_ROW: Final = 5
OVERTIME: Final = timedelta(minutes=30)  # for the last results after a batch's end
_OURS: Final = {
    Batch.Status.VALIDATING: "its lines are not checked",
    Batch.Status.FINALIZING: "its files are not written",
}


def patience() -> timedelta:
    """How long a step of ours may take without any progress."""
    return timedelta(minutes=settings.BATCH_STUCK_MINUTES)


def why_stuck(batch: Batch, progress: BatchProgress, jobs: Iterable[BatchJob], *, now: datetime) -> str:
    """Why an open batch does not go on; empty if it does, or if it is over."""
    idle = now - progress.progressed_at
    if ours := _OURS.get(Batch.Status(batch.status)):
        return f"For {minutes(idle)} {ours}." if idle > patience() else ""
    if batch.status not in {Batch.Status.IN_PROGRESS, Batch.Status.CANCELLING}:
        return ""
    open_jobs = [job for job in jobs if job.state != BatchJob.State.FINISHED]
    for job in open_jobs:
        if reason := _of_job(job, now=now):
            return reason[:500]
    if idle <= patience():
        return ""
    if now > batch.expires_at + OVERTIME:
        return f"It is past its end since {minutes(now - batch.expires_at)}."
    if not open_jobs:
        return f"For {minutes(idle)} nothing has happened, and no job of it is open."
    unsent = [job for job in open_jobs if job.state != BatchJob.State.SUBMITTED]
    if unsent and idle > 4 * patience():  # an account's queue may be full for a while
        return f"For {minutes(idle)} {unsent[0].provider} has not got its lines."
    return ""


def _of_job(job: BatchJob, *, now: datetime) -> str:
    if job.failures >= FAILURES_IN_A_ROW:
        return f"{job.failures} calls in a row to {job.provider} have failed: {job.last_error}"
    if job.next_look_at and now > job.next_look_at + patience():
        return (
            f"Nobody has asked {job.provider} for {minutes(now - job.next_look_at)}: is the worker running?"
        )
    return ""


def minutes(span: timedelta) -> str:
    """A span for a person: "12 minutes", "3 hours", "2 days"."""
    for unit, seconds in (("day", 86_400), ("hour", 3_600)):
        if (whole := int(span.total_seconds() // seconds)) >= 2:
            return f"{whole} {unit}s"
    whole = int(span.total_seconds() // 60)
    if whole < 1:
        return "less than a minute"
    return "1 minute" if whole == 1 else f"{whole} minutes"
