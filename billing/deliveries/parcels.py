"""The files of a delivery: found where they are, or had made.

Invariant: a closed month's files are its statement's, byte for byte, wherever it has one of the format; everything else is made
by a job of the month. A delivery has all of its files or none.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.files.base import File
from django.utils.timezone import now

from billing.deliveries.schedules import formats_of
from billing.models import MonthFile, MonthJob, ReportDelivery, ReportSchedule, Statement, StatementFile
from billing.months.exports import STORED, certificate_files
from billing.months.files import STATEMENT_FORMAT
from billing.months.jobs.asking import OPEN, TooManyJobs, ask_report
from billing.months.jobs.working import PLATFORM
from tenants import contents

LONGEST_WAIT: Final = timedelta(days=2)


class NotMade(Exception):
    """There will be no such files; the message says why."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One file. `source` and `id` name it: "month" of a `MonthFile`, "statement" of a `StatementFile`."""

    source: str
    id: int
    name: str
    content_type: str
    size: int
    sha256: str
    owner: int = 0
    location: str = ""
    content: bytes | None = None  # of files that are older than their storage

    def opened(self) -> File[Any]:
        """Its bytes as a file. Raises ContentMissing."""
        if self.content is not None:
            return File(io.BytesIO(self.content), name=self.name)
        return contents.opened_now(self.owner, self.location)

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, piece by piece. Raises ContentMissing."""
        with self.opened() as file:
            while piece := file.read(contents.PIECE_BYTES):
                yield piece


def gathered(delivery: ReportDelivery) -> list[Parcel]:
    """All files of a delivery; none as long as some are still being made. Raises NotMade."""
    wanted = formats_of(delivery.schedule)
    statement = Statement.objects.filter(
        tenant=delivery.tenant_id, period__label=delivery.month, period__tenant=delivery.tenant_id
    ).first()
    of_statement = [name for name in wanted if name in (STATEMENT_FORMAT, *STORED)] if statement else []
    if statement and statement.certificate and delivery.schedule.what == ReportSchedule.What.PACK:
        of_statement += certificate_files.FORMATS
    if statement is None and STATEMENT_FORMAT in wanted:
        raise NotMade("the month has no statement")
    stored = _stored(statement, of_statement) if statement else []
    others = [name for name in wanted if name not in of_statement]
    made = _made(delivery, others, closed_at=statement.issued_at if statement else None)
    if stored is not None and made is not None:
        return [*stored, *made]
    if delivery.created_at < now() - LONGEST_WAIT:
        raise NotMade(f"they were not made within {LONGEST_WAIT.days} days")
    return []


def parcel_of(source: str, file_id: int, *, tenant_id: int | None) -> Parcel:
    """A file that was sent, again. Raises ContentMissing where it is there no more."""
    if source == "statement":
        kept = (
            StatementFile.objects.filter(pk=file_id, statement__tenant=tenant_id)
            .select_related("statement")
            .first()
        )
        if kept is not None:
            return _of_statement(kept)
    made = MonthFile.objects.filter(pk=file_id, tenant=tenant_id).first() if source == "month" else None
    if made is None:
        raise contents.ContentMissing(f"{source} {file_id}")
    return _of_month(made)


def _stored(statement: Statement, formats: Sequence[str]) -> list[Parcel] | None:
    """The statement's files; None as long as the close has not made all of them."""
    files = statement.files.filter(format__in=formats).select_related("statement").order_by("format")
    found = [_of_statement(file) for file in files]
    return found if len(found) == len(set(formats)) else None


def _made(
    delivery: ReportDelivery, formats: Sequence[str], *, closed_at: datetime | None
) -> list[Parcel] | None:
    """The files of a job; None as long as it is not done. Of a closed month, what was begun before is of no use."""
    if not formats:
        return []
    job = delivery.job
    if job is not None and job.state in OPEN and set(formats) <= set(job.formats):
        return None
    if job is not None and job.state == MonthJob.State.FAILED:
        raise NotMade(job.error)
    is_late = closed_at is None or (job is not None and job.made_at is not None and job.made_at >= closed_at)
    if job is not None and job.state == MonthJob.State.DONE and is_late and set(formats) <= set(job.formats):
        return [_of_month(file) for file in job.files.filter(format__in=formats)]
    try:
        asked = ask_report(delivery.tenant, month=delivery.month, formats=formats)
    except TooManyJobs:
        return None
    ReportDelivery.objects.filter(pk=delivery.pk).update(job=asked)
    return None


def _of_statement(file: StatementFile) -> Parcel:
    content = None if file.content is None else bytes(file.content)
    size = file.size_bytes or 0 if content is None else len(content)
    return Parcel(
        "statement", file.pk, file.name, file.content_type, size, file.sha256,
        file.statement.tenant_id, file.location, content,
    )  # fmt: skip


def _of_month(file: MonthFile) -> Parcel:
    return Parcel(
        "month", file.pk, file.name, file.content_type, file.size_bytes, file.sha256,
        file.tenant_id or PLATFORM, file.location,
    )  # fmt: skip
