"""Answers jobs of all tenants in real time, side by side: a tenant's slow ones do not delay another's.

Invariant: no more than MOST_AT_ONCE run in one process, and a place that becomes free goes to the tenant that has the fewest.
Nothing is claimed that is not begun immediately.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog
from django.db import connections
from django.utils import timezone

from config import resources
from config.work import stopping
from llm.calls.call import Call
from llm.catalog.loading import load_snapshot
from llm.jobs import following, online
from llm.jobs.calls import calls_of
from llm.models import DeferredJob

T = TypeVar("T")

MOST_AT_ONCE: Final = 32
CLAIM_SECONDS: Final = (
    300.0  # then no more are begun; whatever still runs ends within the time limit of the queue
)
PAUSE_SECONDS: Final = 0.5  # until the next look, where no answer comes before

log = structlog.get_logger(__name__)


def answer_due() -> None:
    """Answer what is due, and what becomes due meanwhile, until nothing is left or a while has passed."""
    with ThreadPoolExecutor(1, "jobs-database") as database:
        try:
            asyncio.run(_Round(database).go())
        finally:
            database.submit(connections.close_all).result()


@dataclass
class _Round:
    """The jobs that one process answers at the same time. `database`: the one thread that uses the ORM."""

    database: ThreadPoolExecutor
    running: dict["asyncio.Task[following.Delay | None]", DeferredJob] = field(default_factory=dict)

    async def go(self) -> None:
        claim_until = time.monotonic() + CLAIM_SECONDS
        async with resources.resources():
            while True:
                if time.monotonic() < claim_until and not stopping.is_asked():
                    for job, call in await self._by_database(self._claim):
                        self.running[asyncio.create_task(online.answer(job, call))] = job
                if not self.running:
                    return
                ended, _ = await asyncio.wait(
                    self.running, timeout=PAUSE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                await self._take_back(ended)

    async def _take_back(self, ended: "set[asyncio.Task[following.Delay | None]]") -> None:
        delays = []
        for task in ended:
            job = self.running.pop(task)
            if error := task.exception():  # its lease ends, and the ledger says what became of it
                log.error("deferred_call_not_written_down", job=job.public_id, exc_info=error)
            elif delay := task.result():
                delays.append(delay)
        if delays:
            await self._by_database(lambda: following.learn(delays))

    def _claim(self) -> list[tuple[DeferredJob, Call]]:
        """Fill the free places, one for each tenant in turn, with the jobs whose deadlines are next."""
        claimed: list[tuple[DeferredJob, Call]] = []
        have = Counter(job.tenant_id for job in self.running.values())
        waiting = online.due_tenants()
        random.shuffle(waiting)  # where several have the same
        snapshots = {}
        while waiting and len(self.running) + len(claimed) < MOST_AT_ONCE:
            tenant_id = min(waiting, key=lambda one: have[one])
            if tenant_id not in snapshots:
                snapshots[tenant_id] = load_snapshot(tenant_id)
            most = snapshots[tenant_id].policy.deferred.concurrency
            jobs = online.claim(tenant_id, room=1, most=most, now=timezone.now())
            if not jobs:
                waiting.remove(tenant_id)
            have[tenant_id] += len(jobs)
            calls = calls_of(jobs, snapshots[tenant_id])
            claimed += [(job, calls[job.pk]) for job in jobs]
        return claimed

    async def _by_database(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.database, work)
