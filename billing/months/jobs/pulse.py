"""The connection on which a job says that it lives, how far it is, and what it has made, while another one reads its month.

Invariant: what is said here is committed at once, whatever becomes of the long transaction. Who lost the lease says nothing more:
`LeaseLost` ends the work.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Self, TypeVar

import structlog
from django.db import connection
from django.utils.timezone import now

from billing.models import MonthJob
from billing.months.closing import Watcher
from billing.months.exports import STORED
from billing.months.jobs.bar import counted
from billing.months.parts import MonthReport

T = TypeVar("T")

LEASE: Final = timedelta(seconds=60)
BEAT_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """Another worker has the job by now."""


class Pulse(Watcher):
    """A thread with a connection of its own, for as long as the job runs."""

    def __init__(self, job: MonthJob) -> None:
        self._job, self._worker = job, job.worker
        self._asked: queue.Queue[tuple[Callable[[], Any], Future[Any]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._beat, name=f"month-job-{job.pk}", daemon=True)
        self._is_lost = False
        self.step, self.done, self.total = job.step, job.done, job.total
        self.made, self.files = 0, len(STORED)  # those of a close, unless somebody knows better

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._asked.put(None)
        self._thread.join()

    def told(self, step: str) -> None:
        """Say what is done now. Raises LeaseLost."""
        self.step = step
        self.do(self._say)

    def do(self, work: Callable[[], T]) -> T:
        """What `work` answers, done on this connection, where it is committed. Raises LeaseLost."""
        future: Future[T] = Future()
        self._asked.put((work, future))
        answer = future.result()
        if self._is_lost:
            raise LeaseLost(str(self._job.pk))
        return answer

    def watched(self, label: str, report: MonthReport) -> MonthReport:
        """The report, whose lines are counted when they are read, after the step is told."""
        self.total = self.files * len(report.detail)
        before = self.done = self.made * len(report.detail)
        self.told(f"writing {label}")
        self.made += 1

        def tell(done: int) -> None:
            self.done = before + done
            if self._is_lost:
                raise LeaseLost(str(self._job.pk))

        return replace(report, detail=counted(report.detail, tell)) if report.detail else report

    def _beat(self) -> None:
        try:
            while True:
                try:
                    asked = self._asked.get(timeout=BEAT_SECONDS)
                except queue.Empty:
                    self._try(self._say, Future())
                    continue
                if asked is None:
                    return
                self._try(*asked)
        finally:
            connection.close()

    def _try(self, work: Callable[[], Any], future: Future[Any]) -> None:
        try:
            future.set_result(work())
        except Exception as error:
            log.warning("month_job_not_told", job=str(self._job.pk), error=type(error).__name__)
            connection.close()
            future.set_exception(error)

    def _say(self) -> None:
        ours = MonthJob.objects.filter(pk=self._job.pk, worker=self._worker)
        told = ours.update(leased_until=now() + LEASE, step=self.step[:100], done=self.done, total=self.total)
        self._is_lost |= not told
